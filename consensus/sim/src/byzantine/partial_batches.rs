//! Shows each of its batches to f + 1 validators and answers no question for one.
//!
//! It hopes that a leader cites what the others cannot get, so that nobody
//! votes. Voters fetch cited batches from the leader and from each other, and
//! once f + 1 timeouts report the author, leaders cite it only with f + 1
//! acknowledgements.

use super::{Letter, Lie, Parcel, Stage};
use crate::keys::index;
use bizra_consensus::{Ask, Outgoing};
use bizra_types::numbers::LaneSeq;

/// Who sees the batch at a place of the lane.
#[derive(Debug, Default)]
pub(super) struct PartialBatches {
    shown: (LaneSeq, Vec<usize>),
}

impl Lie for PartialBatches {
    fn send(&mut self, mut parcel: Parcel, stage: &mut Stage<'_>) {
        if let Letter::Own(Outgoing::Batch { header, .. }) = &parcel.letter {
            if self.shown.0 != header.lane_seq {
                self.shown = (header.lane_seq, stage.some_peers(stage.one_honest()));
            }
            stage.lie();
            parcel.to.retain(|peer| self.shown.1.contains(peer));
        }
        stage.post(parcel);
    }

    fn answers(&mut self, ask: &Ask, stage: &mut Stage<'_>) -> bool {
        let own = stage.committee().key(index(stage.me));
        let is_own = matches!(ask, Ask::Batches { author, .. } if Some(*author) == own);
        if is_own {
            stage.lie();
        }
        !is_own
    }
}
