//! Signs a second batch for each place of its lane, with records that are none
//! or of a time far ahead, and shows one to each half.
//!
//! It hopes for blocks that some can never vote for, or for validators that
//! execute different records. A citation names its batch by digest, both are
//! kept and handed out, and what is wrong with a record shows at execution, for
//! all alike. Two batches of one place are evidence; a batch that is ahead of
//! its time is left out by leaders (rule 8).

use super::{Letter, Lie, Parcel, Stage};
use bizra_consensus::Outgoing;
use bizra_types::batch::{BatchHeader, BatchRecord};
use bizra_types::numbers::{LaneSeq, TimestampMs};
use std::sync::Arc;

/// An hour, in ms.
const FAR_AHEAD_MS: u64 = 3_600_000;

/// The last pair of batches.
#[derive(Debug, Default)]
pub(super) struct BadBatches {
    last: Option<Pair>,
}

#[derive(Debug)]
struct Pair {
    seq: LaneSeq,
    header: BatchHeader,
    records: Arc<[BatchRecord]>,
    halves: [Vec<usize>; 2],
}

impl Lie for BadBatches {
    fn send(&mut self, parcel: Parcel, stage: &mut Stage<'_>) {
        let Letter::Own(Outgoing::Batch { header, records }) = &parcel.letter else {
            return stage.post(parcel);
        };
        if self.last.as_ref().is_none_or(|pair| pair.seq != header.lane_seq) {
            self.last = Some(Pair::new(header, stage));
        }
        let Some(pair) = &self.last else { return };
        stage.lie();
        let good = Outgoing::Batch { header: *header, records: Arc::clone(records) };
        let bad = Outgoing::Batch { header: pair.header, records: Arc::clone(&pair.records) };
        stage.post(parcel.to(&pair.halves[0], good));
        stage.post(parcel.to(&pair.halves[1], bad));
    }
}

impl Pair {
    fn new(header: &BatchHeader, stage: &mut Stage<'_>) -> Self {
        let now = stage.now.wall;
        let admitted_at_ms = match stage.rng.below(4) {
            0 => now.saturating_add_ms(FAR_AHEAD_MS),
            1 => TimestampMs::ZERO,
            _ => now,
        };
        let length = stage.rng.index(20);
        let bytes = stage.noise()[..length].into();
        let records: Arc<[BatchRecord]> = Arc::new([BatchRecord { admitted_at_ms, bytes }]);
        let BatchHeader { era, author, lane_seq: seq, previous, .. } = *header;
        let header = BatchHeader::new(era, author, seq, previous, &records);
        Self { seq, header, records, halves: stage.halves(seq.get()) }
    }
}
