//! Lanes: each validator's chain of record batches, and what of them a block
//! may cite.
//!
//! Bounds: own records that wait for a batch [`PENDING_BYTES_MAX`]; batches of
//! one author that no final block cites [`LANE_BYTES_MAX`]. A full lane pushes
//! back to whoever submits; what a block already cites is taken beyond the bound.

use crate::block_tree::LaneHeads;
use crate::effects::Evidence;
use bizra_types::batch::{
    BATCH_BYTES_MAX, BatchHeader, BatchRecord, RECORD_BYTES_MAX, RECORD_OVERHEAD_BYTES, SignedBatch,
};
use bizra_types::block::Citation;
use bizra_types::committee::Committee;
use bizra_types::crypto::PublicKey;
use bizra_types::hash::{BatchDigest, ChainId};
use bizra_types::numbers::{Era, LaneSeq, TimestampMs, ValidatorIndex, View};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Most bytes of own records that wait for their batch.
const PENDING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most bytes of batches of one author that no final block cites.
const LANE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a batch costs beside its records, in bytes of memory.
const BATCH_OVERHEAD_BYTES: usize = 512;
/// Batches that are acknowledged to everyone when their author begins to be
/// cited with acknowledgements only.
const ACKS_AT_ONCE_MAX: usize = 1_024;
/// Batches kept per place of a lane: the second proves equivocation and may
/// be the one that gets cited.
const BATCHES_PER_SEQ_MAX: usize = 2;

/// All lanes.
#[derive(Debug)]
pub(crate) struct Lanes {
    chain_id: ChainId,
    lanes: BTreeMap<PublicKey, Lane>,
    pending: VecDeque<BatchRecord>,
    pending_bytes: usize,
    /// Our last batch went out to be stored and signed and is not back.
    is_closing: bool,
    /// Authors that may be cited only with acknowledgements, until a view.
    withholding: BTreeMap<PublicKey, View>,
    /// Who stands in the committee of this era.
    members: BTreeSet<PublicKey>,
}

#[derive(Debug, Default)]
struct Lane {
    batches: BTreeMap<LaneSeq, Vec<Held>>,
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    digest: BatchDigest,
    batch: Arc<SignedBatch>,
    acks: BTreeSet<ValidatorIndex>,
}

/// What a batch counts towards [`LANE_BYTES_MAX`]: its records, and a share
/// that bounds the number of tiny ones.
fn cost(batch: &SignedBatch) -> usize {
    batch.header().records_bytes as usize + BATCH_OVERHEAD_BYTES
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// It is new: store it, then acknowledge it.
    New,
    /// It was here: acknowledge it again.
    Known,
    /// It is new, and contradicts another of its author.
    Equivocated(Box<Evidence>),
    /// There is no room for it now, or its place is final.
    Refused,
}

/// Whether a block's citations can be followed.
#[derive(Clone, Debug)]
pub(crate) enum Resolution {
    /// The batches in order of execution.
    Ready(Vec<Arc<SignedBatch>>),
    /// These are missing.
    Missing(Vec<MissingBatches>),
    /// The block breaks this rule.
    Invalid(&'static str),
}

/// A gap in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MissingBatches {
    pub(crate) author: PublicKey,
    pub(crate) after: LaneSeq,
    pub(crate) up_to: LaneSeq,
    pub(crate) digest: BatchDigest,
}

/// What limits a leader's citations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CitationLimits {
    pub(crate) view: View,
    pub(crate) era: Era,
    pub(crate) newest_ms_max: TimestampMs,
    pub(crate) bytes_max: u64,
    pub(crate) unacknowledged_bytes_max: u64,
    pub(crate) quorum: usize,
    pub(crate) one_honest: usize,
}

impl Lanes {
    pub(crate) const fn new(chain_id: ChainId) -> Self {
        Self {
            chain_id,
            lanes: BTreeMap::new(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            is_closing: false,
            withholding: BTreeMap::new(),
            members: BTreeSet::new(),
        }
    }

    /// Whether a batch may be cited in an era: of whoever has left for one era
    /// more, of a member for ever. Its lane could not go on otherwise.
    pub(crate) fn is_timely(&self, header: &BatchHeader, era: Era) -> bool {
        header.era <= era && (header.era.next() >= era || self.members.contains(&header.author))
    }

    /// Whether a batch may not be cited any more in an era, nor in one after it
    /// unless its author comes back.
    pub(crate) fn has_lapsed(&self, header: &BatchHeader, era: Era) -> bool {
        header.era < era && !self.is_timely(header, era)
    }

    /// Whether a record of `bytes` may be admitted.
    pub(crate) fn can_admit(&self, me: &PublicKey, bytes: usize) -> bool {
        let lane = self.lanes.get(me).map_or(0, |lane| lane.bytes);
        bytes <= RECORD_BYTES_MAX
            && self.pending_bytes + bytes + RECORD_OVERHEAD_BYTES <= PENDING_BYTES_MAX
            && lane + self.pending_bytes + bytes + BATCH_OVERHEAD_BYTES <= LANE_BYTES_MAX
    }

    /// Bytes of our own records that are not final.
    pub(crate) fn own_bytes(&self, me: &PublicKey) -> usize {
        self.pending_bytes + self.lanes.get(me).map_or(0, |lane| lane.bytes)
    }

    /// Queues an admitted record for the next batch.
    pub(crate) fn admit(&mut self, record: BatchRecord) {
        self.pending_bytes += record.bytes.len() + RECORD_OVERHEAD_BYTES;
        self.pending.push_back(record);
    }

    /// The next batch of our lane: as soon as the one before has been sent,
    /// with all that waits, at most [`BATCH_BYTES_MAX`].
    pub(crate) fn close(
        &mut self,
        era: Era,
        me: PublicKey,
        last: (LaneSeq, BatchDigest),
    ) -> Option<(BatchHeader, Arc<[BatchRecord]>)> {
        if self.is_closing || self.pending.is_empty() {
            return None;
        }
        let mut records = Vec::new();
        let mut bytes = 4;
        while let Some(record) = self.pending.front() {
            let size = record.bytes.len() + RECORD_OVERHEAD_BYTES;
            if bytes + size > BATCH_BYTES_MAX {
                break;
            }
            bytes += size;
            self.pending_bytes -= size;
            records.extend(self.pending.pop_front());
        }
        self.is_closing = true;
        Some((BatchHeader::new(era, me, last.0.next(), last.1, &records), records.into()))
    }

    /// Our own batch is stored and signed: the next may close.
    pub(crate) const fn on_own_batch_sent(&mut self) {
        self.is_closing = false;
    }

    /// Takes in a batch of anybody's lane. `is_cited`: a block names it, or it
    /// is our own, which was promised to its submitters already.
    pub(crate) fn accept(
        &mut self,
        heads: &LaneHeads,
        batch: &Arc<SignedBatch>,
        is_cited: bool,
    ) -> Accepted {
        let header = batch.header();
        let digest = header.digest(&self.chain_id);
        let final_seq = heads.get(&header.author).map(|head| head.0).unwrap_or_default();
        if header.lane_seq <= final_seq {
            return Accepted::Refused;
        }
        let lane = self.lanes.entry(header.author).or_default();
        let held = lane.batches.entry(header.lane_seq).or_default();
        if held.iter().any(|held| held.digest == digest) {
            return Accepted::Known;
        }
        let bytes = cost(batch);
        let full = lane.bytes + bytes > LANE_BYTES_MAX || held.len() >= BATCHES_PER_SEQ_MAX;
        if full && !is_cited {
            if held.is_empty() {
                lane.batches.remove(&header.lane_seq);
            }
            return Accepted::Refused;
        }
        lane.bytes += bytes;
        let first = held.first().map(|first| Arc::clone(&first.batch));
        held.push(Held { digest, batch: Arc::clone(batch), acks: BTreeSet::new() });
        match first {
            None => Accepted::New,
            Some(first) => {
                let evidence = Evidence::Batches(first, Arc::clone(batch));
                Accepted::Equivocated(Box::new(evidence))
            }
        }
    }

    /// Notes that a peer stores a batch.
    pub(crate) fn on_ack(
        &mut self,
        author: &PublicKey,
        seq: LaneSeq,
        digest: BatchDigest,
        peer: ValidatorIndex,
    ) {
        if let Some(held) = self.held_mut(author, seq, digest) {
            held.acks.insert(peer);
        }
    }

    /// Whether a batch is here.
    pub(crate) fn has(&self, author: &PublicKey, seq: LaneSeq, digest: BatchDigest) -> bool {
        self.held(author, seq, digest).is_some()
    }

    /// An author whose batches f + 1 validators could not get is cited only
    /// with acknowledgements until `until`. When that begins, what is here of
    /// its lane: every leader must learn now that it is.
    pub(crate) fn withhold(
        &mut self,
        author: PublicKey,
        view: View,
        until: View,
    ) -> Vec<(LaneSeq, BatchDigest)> {
        let was_withholding = self.is_withholding(&author, view);
        self.withholding.insert(author, until);
        match self.lanes.get(&author) {
            Some(lane) if !was_withholding => lane
                .batches
                .iter()
                .flat_map(|(seq, held)| held.iter().map(|held| (*seq, held.digest)))
                .take(ACKS_AT_ONCE_MAX)
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Whether acknowledgements of this author's batches matter to every leader.
    pub(crate) fn is_withholding(&self, author: &PublicKey, view: View) -> bool {
        self.withholding.get(author).is_some_and(|until| view < *until)
    }

    /// What a leader may cite on a parent with these lane heads: per author
    /// the next batches in a row, taken in turns so that a busy lane does not
    /// crowd out the others; who comes first changes with the view.
    pub(crate) fn citable(&self, heads: &LaneHeads, limits: &CitationLimits) -> Vec<Citation> {
        let mut tips: BTreeMap<PublicKey, (LaneSeq, BatchDigest)> = BTreeMap::new();
        let mut open: Vec<(PublicKey, (LaneSeq, BatchDigest))> = self
            .lanes
            .keys()
            .map(|author| (*author, heads.get(author).copied().unwrap_or_default()))
            .collect();
        let first = (limits.view.get() % (open.len() as u64).max(1)) as usize;
        open.rotate_left(first);
        let mut bytes = 0;
        let mut unacknowledged = 0;
        while !open.is_empty() {
            open.retain_mut(|(author, at)| {
                let Some(next) = self.successor(author, *at) else { return false };
                let header = next.batch.header();
                let size = u64::from(header.records_bytes);
                let acks = next.acks.len() + 1;
                let extra = if acks >= limits.quorum { 0 } else { size };
                if header.newest_ms > limits.newest_ms_max
                    || !self.is_timely(header, limits.era)
                    || bytes + size > limits.bytes_max
                    || unacknowledged + extra > limits.unacknowledged_bytes_max
                    || (self.is_withholding(author, limits.view)
                        && next.acks.len() < limits.one_honest)
                {
                    return false;
                }
                bytes += size;
                unacknowledged += extra;
                *at = (header.lane_seq, next.digest);
                tips.insert(*author, *at);
                true
            });
        }
        let citation = |(author, (up_to_seq, digest))| Citation { author, up_to_seq, digest };
        tips.into_iter().map(citation).collect()
    }

    /// Follows a block's citations from the lane heads of its parent.
    pub(crate) fn resolve(
        &self,
        heads: &LaneHeads,
        citations: &[Citation],
        era: Era,
        bytes_max: u64,
    ) -> Resolution {
        let mut batches = Vec::new();
        let mut missing = Vec::new();
        let mut bytes = 0;
        for citation in citations {
            let head = heads.get(&citation.author).copied().unwrap_or_default();
            if citation.up_to_seq <= head.0 {
                return Resolution::Invalid("a citation goes back in its lane");
            }
            let mut range = Vec::new();
            let mut at = (citation.up_to_seq, citation.digest);
            while at.0 > head.0 {
                let Some(held) = self.held(&citation.author, at.0, at.1) else {
                    missing.push(MissingBatches {
                        author: citation.author,
                        after: head.0,
                        up_to: at.0,
                        digest: at.1,
                    });
                    break;
                };
                let header = held.batch.header();
                if !self.is_timely(header, era) {
                    return Resolution::Invalid("a cited batch is of another era");
                }
                bytes += u64::from(header.records_bytes);
                if bytes > bytes_max {
                    return Resolution::Invalid("cites more bytes than a block may");
                }
                range.push(Arc::clone(&held.batch));
                let before = at.0.previous().expect("lane positions start at 1");
                at = (before, header.previous);
            }
            if at.0 == head.0 && at.1 != head.1 {
                return Resolution::Invalid("a citation does not continue its lane");
            }
            range.reverse();
            batches.extend(range);
        }
        if missing.is_empty() { Resolution::Ready(batches) } else { Resolution::Missing(missing) }
    }

    /// Our oldest batch after `heads`, with the peers that have not acknowledged it.
    pub(crate) fn oldest_unacknowledged(
        &self,
        heads: &LaneHeads,
        me: &PublicKey,
    ) -> Option<(Arc<SignedBatch>, &BTreeSet<ValidatorIndex>)> {
        let head = heads.get(me).copied().unwrap_or_default();
        let held = self.successor(me, head)?;
        Some((Arc::clone(&held.batch), &held.acks))
    }

    /// Begins an era: places in the committee mean other validators now, and
    /// what may not be cited any more goes, and is returned. Our own stays,
    /// because whoever comes back goes on with its lane.
    pub(crate) fn begin_era(
        &mut self,
        era: Era,
        committee: &Committee,
        own: &[PublicKey],
    ) -> Vec<BatchHeader> {
        self.members = committee.iter().map(|(_, member)| member.consensus_key).collect();
        self.withholding.clear();
        let mut lapsed = Vec::new();
        let mut lanes = core::mem::take(&mut self.lanes);
        for lane in lanes.values_mut() {
            for all in lane.batches.values_mut() {
                all.retain(|held| {
                    let header = held.batch.header();
                    let is_kept = !self.has_lapsed(header, era) || own.contains(&header.author);
                    if !is_kept {
                        lane.bytes -= cost(&held.batch);
                        lapsed.push(*header);
                    }
                    is_kept
                });
                for held in all {
                    held.acks.clear();
                }
            }
            lane.batches.retain(|_, held| !held.is_empty());
        }
        self.lanes = lanes;
        lapsed
    }

    /// Forgets what the committed head cites.
    pub(crate) fn commit(&mut self, heads: &LaneHeads) {
        for (author, (seq, _)) in heads {
            let Some(lane) = self.lanes.get_mut(author) else { continue };
            let kept = lane.batches.split_off(&seq.next());
            let dropped = core::mem::replace(&mut lane.batches, kept);
            for held in dropped.into_values().flatten() {
                lane.bytes -= cost(&held.batch);
            }
        }
    }

    /// The batch that continues a lane from `head`.
    fn successor(&self, author: &PublicKey, head: (LaneSeq, BatchDigest)) -> Option<&Held> {
        let held = self.lanes.get(author)?.batches.get(&head.0.next())?;
        held.iter().find(|held| held.batch.header().previous == head.1)
    }

    fn held(&self, author: &PublicKey, seq: LaneSeq, digest: BatchDigest) -> Option<&Held> {
        let held = self.lanes.get(author)?.batches.get(&seq)?;
        held.iter().find(|held| held.digest == digest)
    }

    fn held_mut(
        &mut self,
        author: &PublicKey,
        seq: LaneSeq,
        digest: BatchDigest,
    ) -> Option<&mut Held> {
        let held = self.lanes.get_mut(author)?.batches.get_mut(&seq)?;
        held.iter_mut().find(|held| held.digest == digest)
    }
}

#[cfg(test)]
mod tests;
