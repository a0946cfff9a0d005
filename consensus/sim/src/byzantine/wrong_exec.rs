//! Commit-votes for another result of execution than came out, to all or to half.
//!
//! It hopes for a certificate over a false result, or for two. A certificate
//! needs a quorum of equal commit votes, hence f + 1 honest ones, and those
//! name what they executed.

use super::{Letter, Lie, Parcel, Stage};
use bizra_consensus::Outgoing;

/// Nothing to remember.
#[derive(Debug)]
pub(super) struct WrongExec;

impl Lie for WrongExec {
    fn send(&mut self, parcel: Parcel, stage: &mut Stage<'_>) {
        let Letter::Own(Outgoing::CommitVote(vote)) = &parcel.letter else {
            return stage.post(parcel);
        };
        let mut wrong = *vote;
        wrong.exec.0[0] ^= 1;
        stage.lie();
        if stage.rng.chance(500_000) {
            stage.post(parcel.with(Outgoing::CommitVote(wrong)));
        } else {
            let [some, others] = stage.halves(vote.view.get());
            stage.post(parcel.to(&some, Outgoing::CommitVote(*vote)));
            stage.post(parcel.to(&others, Outgoing::CommitVote(wrong)));
        }
    }
}
