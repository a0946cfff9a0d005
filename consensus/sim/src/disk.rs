//! The virtual disk: what is written, what is synced, and what a crash leaves.

use bizra_consensus::{Ask, ClosedEra, Commit, Persist, Restored, Root, SafetyRecord};
use bizra_types::batch::{BatchHeader, BatchRecord, SignedBatch};
use bizra_types::block::Block;
use bizra_types::certificate::Certificate;
use bizra_types::crypto::PublicKey;
use bizra_types::hash::{BatchDigest, BlockId, ChainId};
use bizra_types::numbers::{Era, Height, LaneSeq, View};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Blocks in one answer to a peer that is behind; more only to reach a certificate.
const CHAIN_ANSWER_BLOCKS: usize = 32;
/// Batches in one answer.
const BATCH_ANSWER_BATCHES: usize = 256;

/// One entry of the log of writes.
#[derive(Debug)]
pub(crate) enum Write {
    /// What a step persists.
    Persist(Persist),
    /// What a step commits.
    Commit(Box<Commit>),
}

/// A batch as it lies on disk. Our own are signed when they are read: what is
/// not durable has no signature.
#[derive(Clone, Debug)]
pub(crate) enum StoredBatch {
    /// Another's, or our own after it was signed.
    Signed(Arc<SignedBatch>),
    /// Our own.
    Own(BatchHeader, Arc<[BatchRecord]>),
}

/// A block that is final here.
#[derive(Clone, Debug)]
struct Final {
    block: Block,
    /// Each author's range: after the first, up to the second.
    ranges: Vec<(PublicKey, LaneSeq, LaneSeq)>,
    cert: Option<Certificate>,
}

/// Final blocks above a height, each with its batches, and what makes the last
/// of them final.
pub(crate) type Chain = (Vec<(Block, Vec<Arc<SignedBatch>>)>, Certificate);

/// What survives a crash for certain.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The safety records, each under its era.
    pub(crate) safety: BTreeMap<(Era, PublicKey), SafetyRecord>,
    /// What ended earlier eras.
    pub(crate) closed: BTreeMap<Era, ClosedEra>,
    pub(crate) root: Root,
    pub(crate) blocks: BTreeMap<BlockId, Block>,
    /// What votes and commit votes rest on, TCs after QCs.
    kept: BTreeMap<(bool, Era, View), Certificate>,
    /// Blocks beside the final chain: they show who lied, should it have forked.
    apart: BTreeMap<BlockId, Block>,
    batches: BTreeMap<(PublicKey, LaneSeq), Vec<StoredBatch>>,
    /// From height 1.
    chain: Vec<Final>,
    heights: BTreeMap<BlockId, Height>,
}

/// One node's disk: a log of writes, of which a prefix is synced.
///
/// What is not synced reaches the disk in any order, so a crash may damage any
/// of it. After that the log is replayed up to the first damaged entry: what
/// survives is all that was synced and a prefix of the rest.
#[derive(Debug)]
pub(crate) struct Disk {
    stored: Stored,
    unsynced: VecDeque<Write>,
    written: u64,
    synced: u64,
    syncing_to: Option<u64>,
    is_full: bool,
}

/// A batch that has just become durable at its author: its records are accepted.
pub(crate) type Accepted = (BatchHeader, Arc<[BatchRecord]>);

impl Disk {
    /// The disk of a node that never ran, with the records of keys that never
    /// signed.
    pub(crate) fn new(root: Root, keys: &[PublicKey], fresh: &SafetyRecord) -> Self {
        let stored = Stored {
            safety: keys.iter().map(|key| ((fresh.era, *key), fresh.clone())).collect(),
            closed: BTreeMap::new(),
            root,
            blocks: BTreeMap::new(),
            kept: BTreeMap::new(),
            apart: BTreeMap::new(),
            batches: BTreeMap::new(),
            chain: Vec::new(),
            heights: BTreeMap::new(),
        };
        Self {
            stored,
            unsynced: VecDeque::new(),
            written: 0,
            synced: 0,
            syncing_to: None,
            is_full: false,
        }
    }

    /// What is durable.
    pub(crate) const fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Appends a write and returns its number; it is durable once
    /// [`Disk::synced`] has reached that. On a full disk it waits for room.
    pub(crate) fn write(&mut self, write: Write) -> u64 {
        self.unsynced.push_back(write);
        self.written += 1;
        self.written
    }

    /// The last write there is.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// The last write that is durable.
    pub(crate) const fn synced(&self) -> u64 {
        self.synced
    }

    /// Starts to sync all that is written. False when there is nothing or no
    /// room, or a sync is under way: what comes meanwhile goes with the next.
    pub(crate) const fn start_sync(&mut self) -> bool {
        if self.is_full || self.syncing_to.is_some() || self.synced == self.written {
            return false;
        }
        self.syncing_to = Some(self.written);
        true
    }

    /// Ends the sync under way.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn finish_sync(&mut self) -> Vec<Accepted> {
        let up_to = self.syncing_to.take().expect("a sync was started");
        self.settle(up_to)
    }

    /// From now on it takes no writes, or takes them again. A sync under way
    /// has its room already.
    pub(crate) const fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// How many unsynced writes a crash now may leave on disk: all, but for
    /// those that had no room.
    pub(crate) fn unsynced(&self) -> usize {
        if self.is_full {
            let syncing = self.syncing_to.map_or(0, |up_to| up_to - self.synced);
            usize::try_from(syncing).expect("a part of what is in memory")
        } else {
            self.unsynced.len()
        }
    }

    /// A crash: the first `survivors` of the unsynced writes happen to be on
    /// disk, the others never were.
    ///
    /// # Panics
    /// When there are not so many.
    pub(crate) fn crash(&mut self, survivors: usize) -> Vec<Accepted> {
        assert!(survivors <= self.unsynced(), "what had no room is not there");
        let accepted = self.settle(self.synced + survivors as u64);
        self.unsynced.clear();
        self.written = self.synced;
        self.syncing_to = None;
        accepted
    }

    /// Puts old safety records back, or none, which no disk may do.
    pub(crate) fn restore_safety(&mut self, safety: BTreeMap<(Era, PublicKey), SafetyRecord>) {
        self.stored.safety = safety;
    }

    fn settle(&mut self, up_to: u64) -> Vec<Accepted> {
        let mut accepted = Vec::new();
        while self.synced < up_to {
            let write = self.unsynced.pop_front().expect("a sync reaches what was written");
            self.stored.apply(write, &mut accepted);
            self.synced += 1;
        }
        accepted
    }
}

impl StoredBatch {
    pub(crate) fn header(&self) -> &BatchHeader {
        match self {
            Self::Signed(batch) => batch.header(),
            Self::Own(header, _) => header,
        }
    }
}

impl Stored {
    /// The batch with this header, if it is here.
    pub(crate) fn batch(&self, header: &BatchHeader) -> Option<&StoredBatch> {
        self.batches
            .get(&(header.author, header.lane_seq))?
            .iter()
            .find(|batch| batch.header() == header)
    }

    /// A block, final or not.
    pub(crate) fn block(&self, id: &BlockId) -> Option<&Block> {
        self.blocks.get(id).or_else(|| {
            let height = self.heights.get(id)?;
            Some(&self.chain[position(*height)].block)
        })
    }

    /// What the engine gets after a start; `sign` signs our own batches.
    pub(crate) fn restored(
        &self,
        sign: &mut dyn FnMut(&BatchHeader, &Arc<[BatchRecord]>) -> SignedBatch,
    ) -> Restored {
        let uncited = |header: &BatchHeader| {
            let head = self.root.lane_heads.get(&header.author);
            head.is_none_or(|(up_to, _)| header.lane_seq > *up_to)
        };
        let batches = self.batches.values().flatten().filter(|batch| uncited(batch.header()));
        Restored {
            safety: self.safety.iter().map(|((_, key), it)| (*key, it.clone())).collect(),
            root: self.root.clone(),
            closed: self.closed.values().cloned().collect(),
            blocks: self.blocks.values().cloned().collect(),
            batches: batches.map(|batch| signed(batch, sign)).collect(),
        }
    }

    /// The batches that an ask wants, ascending: those down from its digest,
    /// as far as they chain and are here. When there are too many, the last
    /// ones: from them the asker knows the digest of the next.
    pub(crate) fn batches_for(
        &self,
        chain_id: &ChainId,
        (author, after, up_to): (PublicKey, LaneSeq, LaneSeq),
        mut digest: BatchDigest,
        sign: &mut dyn FnMut(&BatchHeader, &Arc<[BatchRecord]>) -> SignedBatch,
    ) -> Vec<Arc<SignedBatch>> {
        let mut found = Vec::new();
        let mut seq = up_to;
        while seq > after && found.len() < BATCH_ANSWER_BATCHES {
            let batch = self
                .batches
                .get(&(author, seq))
                .and_then(|all| all.iter().find(|batch| batch.header().digest(chain_id) == digest));
            let Some(batch) = batch else { break };
            found.push(signed(batch, sign));
            digest = batch.header().previous;
            seq = seq.previous().expect("above another number");
        }
        found.reverse();
        found
    }

    /// What [`Ask::Chain`] wants: final blocks above a height, of one era:
    /// before the asker has its end it can use nothing of the next. None when
    /// there are none.
    pub(crate) fn chain_above(
        &self,
        above: Height,
        sign: &mut dyn FnMut(&BatchHeader, &Arc<[BatchRecord]>) -> SignedBatch,
    ) -> Option<Chain> {
        let rest = self.chain.get(position(above.next())..)?;
        let era = rest.first()?.block.header().era;
        let rest = &rest[..rest.partition_point(|it| it.block.header().era == era)];
        let certified = |item: &(usize, &Final)| item.1.cert.is_some();
        let within = rest.iter().enumerate().take(CHAIN_ANSWER_BLOCKS).rfind(certified);
        let (last, end) = within.or_else(|| rest.iter().enumerate().find(certified))?;
        let cert = end.cert.clone()?;
        let mut blocks = Vec::new();
        for item in &rest[..=last] {
            let mut batches = Vec::new();
            for (author, after, up_to) in &item.ranges {
                for all in self.batches.range((*author, after.next())..=(*author, *up_to)) {
                    batches.extend(all.1.iter().map(|batch| signed(batch, sign)));
                }
            }
            blocks.push((item.block.clone(), batches));
        }
        Some((blocks, cert))
    }

    /// The certificates on which votes rest.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Certificate> {
        self.kept.values()
    }

    /// The blocks that are not final: above the head, and beside the final chain.
    pub(crate) fn blocks_apart(&self) -> impl Iterator<Item = &Block> {
        self.blocks.values().chain(self.apart.values())
    }

    /// The final blocks, from height 1, each with what makes it final by itself.
    pub(crate) fn finals(&self) -> impl Iterator<Item = (&Block, Option<&Certificate>)> {
        self.chain.iter().map(|it| (&it.block, it.cert.as_ref()))
    }

    fn apply(&mut self, write: Write, accepted: &mut Vec<Accepted>) {
        match write {
            Write::Persist(persist) => {
                for batch in persist.batches {
                    self.add_batch(StoredBatch::Signed(batch));
                }
                for (header, records) in persist.own_batches {
                    self.add_batch(StoredBatch::Own(header, Arc::clone(&records)));
                    accepted.push((header, records));
                }
                for header in persist.lapsed_batches {
                    if let Some(all) = self.batches.get_mut(&(header.author, header.lane_seq)) {
                        all.retain(|batch| *batch.header() != header);
                    }
                }
                for block in persist.blocks {
                    self.add_block(block);
                }
                for (key, safety) in persist.safety {
                    self.safety.insert((safety.era, key), safety);
                }
                for certificate in persist.certificates {
                    let (is_tc, (era, view)) = match &certificate {
                        Certificate::Tc(tc) => (true, tc.rank()),
                        Certificate::Qc(qc) => (false, qc.rank()),
                        other => unreachable!("no vote rests on {other:?}"),
                    };
                    self.kept.insert((is_tc, era, view), certificate);
                }
                for closed in persist.closed {
                    self.closed.insert(closed.era, closed);
                }
            }
            Write::Commit(commit) => self.commit(*commit),
        }
    }

    fn add_batch(&mut self, batch: StoredBatch) {
        let header = *batch.header();
        let all = self.batches.entry((header.author, header.lane_seq)).or_default();
        if all.iter().all(|other| *other.header() != header) {
            all.push(batch);
        }
    }

    fn add_block(&mut self, block: Block) {
        if block.header().height > self.root.header.height {
            self.blocks.insert(block.id(), block);
        }
    }

    /// One atomic write: the blocks become final, and what they decide against goes.
    fn commit(&mut self, commit: Commit) {
        let mut heads = self.root.lane_heads.clone();
        let last = commit.blocks.len().saturating_sub(1);
        for (number, (block, _)) in commit.blocks.into_iter().enumerate() {
            let mut ranges = Vec::new();
            for citation in block.citations() {
                let head = (citation.up_to_seq, citation.digest);
                let before = heads.insert(citation.author, head).map(|(seq, _)| seq);
                ranges.push((citation.author, before.unwrap_or_default(), citation.up_to_seq));
            }
            self.heights.insert(block.id(), block.header().height);
            let cert = commit.root.certificate().filter(|_| number == last);
            self.chain.push(Final { block, ranges, cert });
        }
        let height = commit.root.header.height;
        self.root = commit.root;
        let over = self.blocks.extract_if(.., |_, block| block.header().height <= height);
        self.apart.extend(over.filter(|(id, _)| !self.heights.contains_key(id)));
    }
}

fn signed(
    batch: &StoredBatch,
    sign: &mut dyn FnMut(&BatchHeader, &Arc<[BatchRecord]>) -> SignedBatch,
) -> Arc<SignedBatch> {
    match batch {
        StoredBatch::Signed(batch) => Arc::clone(batch),
        StoredBatch::Own(header, records) => Arc::new(sign(header, records)),
    }
}

fn position(height: Height) -> usize {
    let before = height.previous().expect("final blocks start at height 1");
    usize::try_from(before.get()).expect("a run is short")
}

/// Whom an ask goes to.
pub(crate) const fn asked_peer(ask: &Ask) -> bizra_types::numbers::ValidatorIndex {
    match ask {
        Ask::Batches { peer, .. }
        | Ask::Block { peer, .. }
        | Ask::End { peer, .. }
        | Ask::Chain { peer, .. } => *peer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keyring;
    use bizra_types::certificate::Qc;
    use bizra_types::genesis::Parameters;
    use bizra_types::hash::ExecHash;

    const ERA: Era = Era::new(1);

    fn record_of(view: u64, keyring: &Keyring) -> SafetyRecord {
        let root = Qc::root(ERA, keyring.genesis().header().id(), 4);
        SafetyRecord { current_view: View::new(view), ..SafetyRecord::new(root, None) }
    }

    fn persist_of(view: u64, keyring: &Keyring) -> Write {
        let safety = vec![(key(keyring), record_of(view, keyring))];
        Write::Persist(Persist { safety, ..Persist::default() })
    }

    fn key(keyring: &Keyring) -> PublicKey {
        keyring.members().keys(0)[0]
    }

    fn view(disk: &Disk) -> u64 {
        let records: Vec<_> = disk.stored().safety.values().collect();
        assert_eq!(records.len(), 1);
        records[0].current_view.get()
    }

    #[test]
    fn a_crash_loses_what_was_not_synced_from_the_end() {
        let keyring = Keyring::new(1, 4, Parameters::default(), false);
        let root = Root::genesis(keyring.genesis(), ExecHash::ZERO);
        let mut disk = Disk::new(root, &[key(&keyring)], &record_of(1, &keyring));
        disk.write(persist_of(2, &keyring));
        assert!(disk.start_sync());
        disk.write(persist_of(3, &keyring));
        disk.write(persist_of(4, &keyring));
        assert!(!disk.start_sync(), "one sync at a time");
        assert_eq!(view(&disk), 1);
        disk.finish_sync();
        assert_eq!((view(&disk), disk.synced(), disk.written()), (2, 1, 3));
        disk.crash(1);
        assert_eq!((view(&disk), disk.synced(), disk.written()), (3, 2, 2));
        assert!(!disk.start_sync(), "nothing is left to sync");
    }

    #[test]
    fn a_full_disk_ends_its_sync_and_keeps_nothing_of_what_comes_after() {
        let keyring = Keyring::new(1, 4, Parameters::default(), false);
        let root = Root::genesis(keyring.genesis(), ExecHash::ZERO);
        let mut disk = Disk::new(root, &[key(&keyring)], &record_of(1, &keyring));
        disk.write(persist_of(2, &keyring));
        assert!(disk.start_sync());
        disk.set_full(true);
        disk.write(persist_of(3, &keyring));
        assert_eq!(disk.unsynced(), 1, "the sync has its room");
        disk.finish_sync();
        assert_eq!((view(&disk), disk.unsynced()), (2, 0));
        assert!(!disk.start_sync(), "no room");
        disk.set_full(false);
        assert!(disk.start_sync());
        disk.finish_sync();
        assert_eq!(view(&disk), 3);
        disk.set_full(true);
        disk.write(persist_of(4, &keyring));
        disk.crash(0);
        assert_eq!((view(&disk), disk.synced(), disk.written()), (3, 2, 2));
    }
}
