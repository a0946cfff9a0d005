//! Proposes blocks whose time is one after their parent's, or as far ahead as
//! the rules allow, or a little or much farther.
//!
//! It hopes to split the voters by their clocks, to hold chain time back or to
//! push it and its epochs ahead. Rule 8 bounds both sides; a proposal that is
//! early for a clock is held until its time comes, and the view timer runs on.

use super::{Letter, Lie, Parcel, Stage, changed, vote_for_replacement};
use bizra_consensus::Outgoing;
use bizra_types::block::Block;
use bizra_types::hash::BlockId;
use bizra_types::numbers::TimestampMs;

/// The last block that was proposed in another's place.
#[derive(Debug, Default)]
pub(super) struct EdgeTimestamps {
    replaced: Option<(BlockId, Block)>,
}

impl EdgeTimestamps {
    fn replace(&mut self, block: &Block, stage: &mut Stage<'_>) -> Block {
        if let Some((_, other)) = self.replaced.as_ref().filter(|(id, _)| *id == block.id()) {
            return other.clone();
        }
        let parent = stage.memory.block(block.header().parent);
        let parent_ms = parent.map(|parent| parent.header().timestamp_ms.get());
        let genesis_ms = stage.keyring.genesis().time_ms.get();
        let parent_ms = parent_ms.unwrap_or(genesis_ms);
        let latest_ms = stage.now.wall.get() + stage.keyring.genesis().parameters.clock_ahead_ms;
        let timestamp_ms = match stage.rng.below(12) {
            0..5 => parent_ms + 1,
            5..9 => latest_ms,
            9 => latest_ms + stage.rng.between(1, 60),
            10 => stage.rng.pick(&[latest_ms + 3_600_000, u64::MAX]),
            _ => parent_ms,
        };
        // Whatever was admitted later than the block may not be in it.
        let is_early = timestamp_ms < block.header().timestamp_ms.get();
        let is_emptied = is_early && stage.rng.chance(700_000);
        let other = changed(block, |content| {
            content.timestamp_ms = TimestampMs::new(timestamp_ms);
            if is_emptied {
                content.citations.clear();
            }
        });
        self.replaced = Some((block.id(), other.clone()));
        other
    }
}

impl Lie for EdgeTimestamps {
    fn send(&mut self, parcel: Parcel, stage: &mut Stage<'_>) {
        match &parcel.letter {
            Letter::Own(Outgoing::Proposal { block, tc }) => {
                let block = self.replace(block, stage);
                stage.lie();
                stage.post(parcel.with(Outgoing::Proposal { block, tc: tc.clone() }));
            }
            Letter::Own(Outgoing::Vote(vote)) => {
                let vote = vote_for_replacement(*vote, self.replaced.as_ref());
                stage.post(parcel.with(Outgoing::Vote(vote)));
            }
            _ => stage.post(parcel),
        }
    }
}
