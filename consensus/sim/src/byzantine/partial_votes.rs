//! Sends each vote and commit vote to some only, always the same ones for one
//! view, so that some have a certificate that others lack.
//!
//! It hopes to keep validators in different views, or to have a block that is
//! final at one and unknown to the rest. Whoever meets a message of an older
//! view answers with the certificate of its own (rule 4), and commit votes are
//! repeated and answered until all have the certificate (rule 2).

use super::{Letter, Lie, Parcel, Stage};
use bizra_consensus::Outgoing;
use bizra_types::numbers::View;

/// Who hears votes and commit votes of the last view.
#[derive(Debug, Default)]
pub(super) struct PartialVotes {
    voted: (View, Vec<usize>),
    commit_voted: (View, Vec<usize>),
}

impl Lie for PartialVotes {
    fn send(&mut self, mut parcel: Parcel, stage: &mut Stage<'_>) {
        let (chosen, view) = match &parcel.letter {
            Letter::Own(Outgoing::Vote(vote)) => (&mut self.voted, vote.view),
            Letter::Own(Outgoing::CommitVote(vote)) => (&mut self.commit_voted, vote.view),
            _ => return stage.post(parcel),
        };
        if chosen.0 != view {
            let count = 1 + stage.rng.index(stage.size() - 2);
            *chosen = (view, stage.some_peers(count));
        }
        stage.lie();
        parcel.to.retain(|peer| chosen.1.contains(peer));
        stage.post(parcel);
    }
}
