//! Keeps its votes, its commit votes or both to itself.
//!
//! It hopes that no quorum comes about. A quorum is n − f: it never needs a
//! vote of those who lie.

use super::{Letter, Lie, Parcel, Stage};
use crate::rng::Rng;
use bizra_consensus::Outgoing;

/// What is kept back.
#[derive(Debug)]
pub(super) struct VoteWithholding {
    votes: bool,
    commit_votes: bool,
}

impl VoteWithholding {
    /// One kind or both.
    pub(super) fn new(rng: &mut Rng) -> Self {
        let (votes, commit_votes) = rng.pick(&[(true, false), (false, true), (true, true)]);
        Self { votes, commit_votes }
    }
}

impl Lie for VoteWithholding {
    fn send(&mut self, parcel: Parcel, stage: &mut Stage<'_>) {
        match parcel.letter {
            Letter::Own(Outgoing::Vote(_)) if self.votes => stage.lie(),
            Letter::Own(Outgoing::CommitVote(_)) if self.commit_votes => stage.lie(),
            _ => stage.post(parcel),
        }
    }
}
