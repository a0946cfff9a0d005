//! Proposes two blocks in one view, one to each half, and votes for the one
//! that the half has seen.
//!
//! It hopes for two certificates of one view, and so for two chains. Two
//! quorums share an honest validator, which votes once per view (rule 1): at
//! most one of the two is certified. Whoever sees both has evidence.

use super::{Letter, Lie, Parcel, Stage, changed, is_odd};
use bizra_consensus::Outgoing;
use bizra_types::block::Block;
use bizra_types::hash::BlockId;
use bizra_types::message::Vote;
use bizra_types::numbers::TimestampMs;

/// The last pair of blocks: the replica's, and the one beside it.
#[derive(Debug, Default)]
pub(super) struct EquivocatingLeader {
    pair: Option<(BlockId, Block)>,
}

impl Lie for EquivocatingLeader {
    fn send(&mut self, parcel: Parcel, stage: &mut Stage<'_>) {
        let known = self.pair.as_ref().map(|(first, _)| *first);
        match &parcel.letter {
            Letter::Own(Outgoing::Proposal { block: first, tc }) => {
                if known != Some(first.id()) {
                    self.pair = Some((first.id(), beside(first, stage)));
                }
                let second = self.pair.as_ref().map(|(_, second)| second);
                stage.lie();
                for block in [Some(first), second].into_iter().flatten() {
                    let half = stage.half_of(block.header().view, block.id());
                    let proposal = Outgoing::Proposal { block: block.clone(), tc: tc.clone() };
                    stage.post(parcel.to(&half, proposal));
                }
            }
            Letter::Own(Outgoing::Vote(vote)) if known == Some(vote.block) => {
                let second = self.pair.as_ref().map(|(_, second)| second.id());
                stage.lie();
                for block in [Some(vote.block), second].into_iter().flatten() {
                    let half = stage.half_of(vote.view, block);
                    stage.post(parcel.to(&half, Outgoing::Vote(Vote { block, ..*vote })));
                }
            }
            _ => stage.post(parcel),
        }
    }
}

/// Another block of the same view, which the other half shall believe in: with
/// the same records or with none, and a little later.
fn beside(first: &Block, stage: &mut Stage<'_>) -> Block {
    let is_emptied = stage.rng.chance(300_000);
    let mut second = first.clone();
    while is_odd(second.id()) == is_odd(first.id()) {
        second = changed(&second, |content| {
            if is_emptied {
                content.citations.clear();
            }
            content.timestamp_ms = TimestampMs::new(content.timestamp_ms.get().wrapping_add(1));
        });
    }
    second
}
