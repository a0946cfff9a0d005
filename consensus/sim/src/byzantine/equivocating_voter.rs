//! Votes and commit-votes for all blocks of a view, unseen: for the two that
//! another liar proposed, or else for one that does not exist.
//!
//! It hopes that each half counts its vote for another block, so that two
//! certificates of one view come about. As long as at most f do so, one of the
//! two lacks a quorum of voters who vote once (rule 1); of two votes of one
//! validator the first counts, and both together are evidence. A quorum that it
//! helps to still has f + 1 honest voters, who hold the bytes.

use super::{Letter, Lie, Parcel, Stage};
use bizra_consensus::{Input, Outgoing};
use bizra_types::hash::BlockId;
use bizra_types::message::{CommitVote, Vote};
use bizra_types::numbers::View;

/// The last vote of its replica.
#[derive(Debug, Default)]
pub(super) struct EquivocatingVoter {
    voted: Option<Vote>,
}

impl Lie for EquivocatingVoter {
    fn send(&mut self, parcel: Parcel, stage: &mut Stage<'_>) {
        match &parcel.letter {
            Letter::Own(Outgoing::Vote(vote)) => {
                self.voted = Some(*vote);
                for block in others(vote.view, vote.block, stage).into_iter().chain([vote.block]) {
                    let half = stage.half_of(vote.view, block);
                    stage.post(parcel.to(&half, Outgoing::Vote(Vote { block, ..*vote })));
                }
            }
            Letter::Own(Outgoing::CommitVote(vote)) => {
                for block in others(vote.view, vote.block, stage).into_iter().chain([vote.block]) {
                    let half = stage.half_of(vote.view, block);
                    let vote = CommitVote { block, ..*vote };
                    stage.post(parcel.to(&half, Outgoing::CommitVote(vote)));
                }
            }
            _ => stage.post(parcel),
        }
    }

    /// The second block of a view may come when the first has its vote.
    fn hear(&mut self, input: &Input, stage: &mut Stage<'_>) {
        let (Input::Proposal(proposal), Some(voted)) = (input, self.voted) else { return };
        let block = &proposal.get().block;
        if block.header().view == voted.view && block.id() != voted.block {
            stage.lie();
            let half = stage.half_of(voted.view, block.id());
            let to = stage.peers().into_iter().filter(|peer| half.contains(peer)).collect();
            stage.tell(to, Outgoing::Vote(Vote { block: block.id(), ..voted }));
        }
    }
}

/// The other blocks of a view to vote for: those that were proposed, or
/// sometimes one that was not, for the other half.
fn others(view: View, block: BlockId, stage: &mut Stage<'_>) -> Vec<BlockId> {
    let proposals = stage.memory.proposals.get(&view).into_iter().flatten();
    let ids = proposals.map(|proposal| proposal.block.id());
    let mut others: Vec<_> = ids.filter(|id| *id != block).collect();
    if others.is_empty() && stage.rng.chance(300_000) {
        let mut other = BlockId(stage.noise());
        other.0[0] = !block.0[0];
        others.push(other);
    }
    if !others.is_empty() {
        stage.lie();
    }
    others
}
