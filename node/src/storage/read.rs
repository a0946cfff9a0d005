//! What the engine starts from, and what peers and the API ask for.

use super::formats::{
    self, BATCH_HEADER_SIZE, BatchRef, BlockEntry, BytesEntry, INVALID_BATCH, Mark, NO_SIGNATURE,
    OutcomeLine, PatternKey, RecordEntry, SIGNATURE_SIZE, SafetyKey,
};
use super::{
    APART, BATCHES, BLOCKS, BY_HASH, CERTIFICATES, ERAS, EVIDENCE, HEIGHTS, INDEX, KEPT, LOG,
    OUTCOMES, PATTERNS, PLAIN, RECORDS, SAFETY, SIGNATURES, STATE, StorageError, Store,
    UNCOMMITTED,
};
use bizra_consensus::{ClosedEra, Evidence, Restored};
use bizra_ledger::codes::Code;
use bizra_ledger::execution::{Base, Head};
use bizra_ledger::forms::Uuid;
use bizra_ledger::governance::Governance;
use bizra_ledger::log::{self, LogError, LogHashes, StorageError as LedgerError};
use bizra_ledger::parameters::LedgerParameters;
use bizra_ledger::plain::Family;
use bizra_ledger::policy::{PolicyInForce, PolicyText};
use bizra_ledger::state::{self, StateNodes};
use bizra_types::batch::SignedBatch;
use bizra_types::block::{Block, Header};
use bizra_types::certificate::{Certificate, CommitCert};
use bizra_types::committee::{Committee, SignerSet};
use bizra_types::crypto::PublicKey;
use bizra_types::encoding::{Decode, DecodeError, Encode};
use bizra_types::execution::ExecFields;
use bizra_types::genesis::Parameters;
use bizra_types::hash::{BatchDigest, BlockId, Hash, RecordDigest};
use bizra_types::numbers::{Era, Height, LaneSeq, LogIndex, TimestampMs, View};
use bizra_types::proof::{EraChange, FinalHead, FinalityProof, StateProof};
use rocksdb::{Direction, IteratorMode};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use crate::audit::export::{ExportedBatch, ExportedBlock, ExportedOutcome, Frame};
use crate::shared::Committed;

/// Most batches of a lane that are read at once for a peer.
pub const LANE_WALK_MAX: usize = 4_096;

/// Final blocks in a row, for a peer that is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainPart {
    /// The blocks, ascending, each with the batches it cites, in the order of execution.
    pub blocks: Vec<(Block, Vec<SignedBatch>)>,
    /// What made the last block final.
    pub certificate: Certificate,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredOutcome {
    /// Its identity; none for bytes that nobody vouches for.
    pub digest: Option<RecordDigest>,
    /// The block that judged it.
    pub height: Height,
    /// The judgement; [`Code::Success`] is final, anything else rejected.
    pub code: Code,
    /// Its place in the log, if it is there.
    pub log_index: Option<LogIndex>,
}

/// A record that a final block judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// What became of it.
    pub outcome: StoredOutcome,
    /// Canonical bytes of the signed envelope.
    pub bytes: Arc<[u8]>,
}

/// What records in the log can be found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexKey {
    /// Every record.
    All,
    /// The records of a session.
    Session(Uuid),
    /// The records of a sender.
    Sender(PublicKey),
    /// The records of a model, by the hash of its weights.
    Model([u8; 32]),
}

impl IndexKey {
    fn prefix(&self) -> Vec<u8> {
        let (tag, bytes): (u8, &[u8]) = match self {
            Self::All => (0, &[]),
            Self::Session(uuid) => (1, &uuid.0),
            Self::Sender(key) => (2, &key.0),
            Self::Model(digest) => (3, digest),
        };
        [&[tag], bytes].concat()
    }

    /// The key of the record at `index`.
    pub(super) fn at(&self, index: LogIndex) -> Vec<u8> {
        let mut key = self.prefix();
        key.extend_from_slice(&index.get().to_be_bytes());
        key
    }
}

/// Where an entry of a plain family stands.
pub(super) fn plain_key(family: Family, key: &[u8]) -> Vec<u8> {
    [&[family.number()], key].concat()
}

impl Store {
    /// What the engine needs to go on where it stopped. Our own batches that
    /// were not signed before the stop have a signature of zeros.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn restored(&self) -> Result<Restored, StorageError> {
        let root = self.head().root.clone();
        let mut blocks = Vec::new();
        for (id, mark) in self.uncommitted().clone() {
            if mark.is_over(root.header.height) {
                continue;
            }
            let block = self.block(id)?;
            blocks.push(block.ok_or_else(|| self.damaged(format!("block {id} is missing")))?);
        }
        blocks.sort_by_key(|block| (block.header().era, block.header().view));
        let safety = self.all(SAFETY, |place, bytes| {
            Ok((SafetyKey::from_bytes(place)?.key, formats::read_safety(bytes)?))
        })?;
        let closed = self.all(ERAS, |_, bytes| formats::read_closed(bytes))?;
        let mut batches = Vec::new();
        let mut lanes = self.0.db.raw_iterator_cf(self.family(BATCHES));
        lanes.seek_to_first();
        while let Some(key) = lanes.key() {
            let found = self.batch_key(key)?;
            let cited = root.lane_heads.get(&found.author).map_or(LaneSeq::ZERO, |head| head.0);
            if found.lane_seq <= cited {
                let next = BatchRef {
                    author: found.author,
                    lane_seq: cited.next(),
                    digest: BatchDigest::ZERO,
                };
                lanes.seek(next.key());
                continue;
            }
            let bytes = lanes.value().expect("an iterator with a key has a value").to_vec();
            batches.push(Arc::new(self.signed_batch(&found, bytes)?));
            lanes.next();
        }
        lanes.status().map_err(|error| self.failure(error))?;
        Ok(Restored { safety, root, closed, blocks, batches })
    }

    /// The marks of blocks that are not final yet.
    pub(super) fn read_uncommitted(&self) -> Result<BTreeMap<BlockId, Mark>, StorageError> {
        let marks = self.0.db.iterator_cf(self.family(UNCOMMITTED), IteratorMode::Start);
        marks
            .map(|entry| {
                let (id, mark) = entry.map_err(|error| self.failure(error))?;
                Ok((self.decode(UNCOMMITTED, &id)?, self.decode(UNCOMMITTED, &mark)?))
            })
            .collect()
    }

    /// How an era ended, if it did.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn closed(&self, era: Era) -> Result<Option<ClosedEra>, StorageError> {
        let Some(bytes) = self.get(ERAS, &era.get().to_be_bytes())? else { return Ok(None) };
        formats::read_closed(&bytes).map(Some).map_err(|error| self.decoding(ERAS, error))
    }

    /// All entries of a family, ascending by key.
    fn all<T>(
        &self,
        family: &str,
        read: impl Fn(&[u8], &[u8]) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, StorageError> {
        let entries = self.0.db.iterator_cf(self.family(family), IteratorMode::Start);
        entries
            .map(|entry| {
                let (key, bytes) = entry.map_err(|error| self.failure(error))?;
                read(&key, &bytes).map_err(|error| self.decoding(family, error))
            })
            .collect()
    }

    /// A batch.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn batch(
        &self,
        author: PublicKey,
        lane_seq: LaneSeq,
        digest: BatchDigest,
    ) -> Result<Option<SignedBatch>, StorageError> {
        Ok(self.batch_at(&BatchRef { author, lane_seq, digest })?.map(|(batch, _)| batch))
    }

    /// The batches of a lane from after `after` up to the one with this
    /// sequence and digest, ascending. Of those that are here the last ones:
    /// at most [`LANE_WALK_MAX`], and what fits into `size_max` bytes, but at
    /// least one. Whoever asks follows the lane backwards from its digest, so
    /// each answer brings it on, however short.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn batches(
        &self,
        author: PublicKey,
        after: LaneSeq,
        up_to: LaneSeq,
        digest: BatchDigest,
        size_max: usize,
    ) -> Result<Vec<SignedBatch>, StorageError> {
        let mut found = VecDeque::new();
        let mut size = 0;
        let mut place = BatchRef { author, lane_seq: up_to, digest };
        while place.lane_seq > after && found.len() < LANE_WALK_MAX {
            let Some((batch, batch_size)) = self.batch_at(&place)? else { break };
            size += batch_size;
            if size > size_max && !found.is_empty() {
                break;
            }
            let previous = batch.header().previous;
            found.push_front(batch);
            let Some(before) = place.lane_seq.previous() else { break };
            place = BatchRef { author, lane_seq: before, digest: previous };
        }
        Ok(found.into())
    }

    /// A block, final or not.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn block(&self, id: BlockId) -> Result<Option<Block>, StorageError> {
        self.get_decoded(BLOCKS, id.as_bytes())
    }

    /// The final block at a height; none at genesis and above the head.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn block_at(&self, height: Height) -> Result<Option<Block>, StorageError> {
        let Some(entry) = self.block_entry(height)? else { return Ok(None) };
        self.final_block(&entry).map(Some)
    }

    /// What executing the final block at a height gave.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn exec_at(&self, height: Height) -> Result<Option<ExecFields>, StorageError> {
        Ok(self.block_entry(height)?.map(|entry| entry.fields))
    }

    /// The final block at a height as those who wait for records hear of it.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn committed_at(&self, height: Height) -> Result<Option<Committed>, StorageError> {
        let Some(block) = self.block_at(height)? else { return Ok(None) };
        let lines = self.outcome_lines(height)?;
        let header = block.header();
        Ok(Some(Committed {
            height,
            block: block.id(),
            view: header.view,
            timestamp_ms: header.timestamp_ms,
            proposer: header.proposer,
            records: lines.iter().map(|line| (line.digest, line.code, line.log_index)).collect(),
        }))
    }

    /// The first certified height from `height` on, and what made it final.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn certificate_at_or_after(
        &self,
        height: Height,
    ) -> Result<Option<(Height, Certificate)>, StorageError> {
        let start = height.get().to_be_bytes();
        let mode = IteratorMode::From(&start, Direction::Forward);
        let Some(item) = self.0.db.iterator_cf(self.family(CERTIFICATES), mode).next() else {
            return Ok(None);
        };
        let (key, value) = item.map_err(|error| self.failure(error))?;
        Ok(Some((self.height_key(CERTIFICATES, &key)?, self.decode(CERTIFICATES, &value)?)))
    }

    /// What shows who lied, should the chain have forked, and that it did: the
    /// certificates kept here of an era's views from `from` to before `to`, and
    /// the QCs of these views in final blocks, each ascending, and those in
    /// blocks of these views and of `to` that are not final; and the headers of
    /// all these blocks, and of the final one before them.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn certificates_of_views(
        &self,
        era: Era,
        from: View,
        to: View,
    ) -> Result<(Vec<Certificate>, Vec<Header>), StorageError> {
        let mut found = Vec::new();
        let (start, end) = (formats::kept_prefix(era, from), formats::kept_prefix(era, to));
        let mode = IteratorMode::From(&start, Direction::Forward);
        for item in self.0.db.iterator_cf(self.family(KEPT), mode) {
            let (key, value) = item.map_err(|error| self.failure(error))?;
            if *key >= end[..] {
                break;
            }
            found.push(self.decode(KEPT, &value)?);
        }
        // That of view 0 is no certificate that anybody signed.
        let first = self.first_justified((era, from.max(View::new(1))))?;
        // The block before is the first one of these views itself.
        let before = first.get().saturating_sub(2).max(1);
        let mut headers = Vec::new();
        let mut qcs = Vec::new();
        for height in before.. {
            let Some(block) = self.block_at(Height::new(height))? else { break };
            if block.justify().rank() >= (era, to) {
                break;
            }
            headers.push(*block.header());
            qcs.extend((height >= first.get()).then(|| block.justify().clone()));
        }
        for block in self.blocks_apart(era, from, to)? {
            headers.push(*block.header());
            let qc = block.justify();
            qcs.extend((qc.vote.view > View::ZERO).then(|| qc.clone()));
        }
        for qc in qcs.into_iter().map(Certificate::Qc) {
            if !found.contains(&qc) {
                found.push(qc);
            }
        }
        Ok((found, headers))
    }

    /// The blocks here of an era's views from `from` to `to` that are not final:
    /// not yet, or because others are.
    fn blocks_apart(&self, era: Era, from: View, to: View) -> Result<Vec<Block>, StorageError> {
        let uncommitted: Vec<BlockId> = self.uncommitted().keys().copied().collect();
        let mut found = Vec::new();
        for id in uncommitted {
            let block = self.block(id)?;
            found.extend(block.filter(|block| {
                let header = block.header();
                header.era == era && (from..=to).contains(&header.view)
            }));
        }
        let (start, last) = (formats::kept_prefix(era, from), formats::kept_prefix(era, to));
        let mode = IteratorMode::From(&start, Direction::Forward);
        for item in self.0.db.iterator_cf(self.family(APART), mode) {
            let (key, value) = item.map_err(|error| self.failure(error))?;
            if *key > last[..] && !key.starts_with(&last) {
                break;
            }
            found.push(self.decode(APART, &value)?);
        }
        Ok(found)
    }

    /// The first height whose block is justified by a QC of at least this era
    /// and view, or the one above the head: they only grow along the chain.
    fn first_justified(&self, rank: (Era, View)) -> Result<Height, StorageError> {
        self.first_block(|block| block.justify().rank() >= rank)
    }

    /// The first height whose block is so, or the one above the head, where all
    /// after the first are so too.
    fn first_block(&self, is_so: impl Fn(&Block) -> bool) -> Result<Height, StorageError> {
        let (mut first, mut end) = (1, self.head().height().get() + 1);
        while first < end {
            let middle = first + (end - first) / 2;
            let block = self.block_at(Height::new(middle))?;
            let block = block.ok_or_else(|| self.damaged(format!("block {middle} is gone")))?;
            if is_so(&block) {
                end = middle;
            } else {
                first = middle + 1;
            }
        }
        Ok(Height::new(first))
    }

    /// The final blocks from after `above` towards `target`, with their
    /// batches, and what made the last one final: as many certified blocks
    /// as fit into `size_max` bytes, and at least those up to the first
    /// certificate, but none of another era than the first: whoever asks cannot
    /// verify those before it knows how that era ended. Once all this has more
    /// than `batches_size_max` bytes the other batches are left out, and are to
    /// be asked for by themselves. A target that is not final here stands for
    /// the head. None when nothing above is final here.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn chain_from(
        &self,
        above: Height,
        target: BlockId,
        size_max: usize,
        batches_size_max: usize,
    ) -> Result<Option<ChainPart>, StorageError> {
        let mut last = self.head().height();
        if let Some(block) = self.block(target)? {
            let height = block.header().height;
            if self.block_entry(height)?.is_some_and(|entry| entry.id == target) {
                last = height;
            }
        }
        let mut part: Option<ChainPart> = None;
        let mut size = 0;
        let mut next = above.next();
        while next <= last {
            // The target need not be certified itself: the next one above it is.
            let Some((certified, certificate)) = self.certificate_at_or_after(next)? else { break };
            let mut blocks: Vec<(Block, _)> = Vec::new();
            while next <= certified {
                let entry = self.block_entry(next)?;
                let entry = entry.ok_or_else(|| self.damaged(format!("block {next} is gone")))?;
                let block = self.final_block(&entry)?;
                let mut batches = Vec::new();
                for place in &entry.batches {
                    if size > batches_size_max {
                        break;
                    }
                    let (batch, batch_size) = self.batch_at(place)?.ok_or_else(|| {
                        self.damaged(format!("batch {} of block {next} is gone", place.digest))
                    })?;
                    size += batch_size;
                    batches.push(batch);
                }
                size += block.to_bytes().len();
                blocks.push((block, batches));
                next = next.next();
            }
            match &mut part {
                Some(_) if size > size_max => break,
                // The last block of an era has a certificate, so no run of blocks
                // up to one is of two.
                Some(part) if era_of(&part.blocks) != era_of(&blocks) => break,
                Some(part) => {
                    part.blocks.extend(blocks);
                    part.certificate = certificate;
                }
                None => part = Some(ChainPart { blocks, certificate }),
            }
            if size > size_max {
                break;
            }
        }
        Ok(part)
    }

    /// The final blocks from after `above` up to the first certified one from `to`
    /// on, as an export has them: as many as [`Store::chain_from`] gives at once.
    /// Empty when nothing above is final here.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn exported(
        &self,
        above: Height,
        to: Height,
        size_max: usize,
    ) -> Result<Vec<Frame>, StorageError> {
        // What is not final here stands for the head.
        let target = self.block_entry(to)?.map_or(BlockId::ZERO, |entry| entry.id);
        // An export has every batch.
        let part = self.chain_from(above, target, size_max, usize::MAX)?;
        let Some(part) = part else { return Ok(Vec::new()) };
        let mut frames = Vec::new();
        for (block, batches) in part.blocks {
            let height = block.header().height;
            let gone = || self.damaged(format!("the result of block {height} is gone"));
            let exec = self.exec_at(height)?.ok_or_else(gone)?;
            let lines = self.outcome_lines(height)?;
            let mut lines = lines.iter();
            frames.push(Frame::Block(Box::new(ExportedBlock { block, exec })));
            for batch in batches {
                let lines = lines.by_ref().take(batch.records().len());
                let outcomes = lines.map(|line| {
                    let code = self.code(line)?;
                    Ok(ExportedOutcome { code, flags: line.flags })
                });
                let outcomes = outcomes.collect::<Result<Vec<_>, StorageError>>()?;
                if outcomes.len() < batch.records().len() {
                    return Err(gone());
                }
                frames.push(Frame::Batch(ExportedBatch { batch, outcomes }));
            }
        }
        frames.push(Frame::Certificate(part.certificate));
        Ok(frames)
    }

    /// A record that a final block judged, by its digest: the one in the log,
    /// else the one that was judged last.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn record(&self, digest: &RecordDigest) -> Result<Option<StoredRecord>, StorageError> {
        let Some(entry) = self.get_decoded::<RecordEntry>(RECORDS, digest.as_bytes())? else {
            return Ok(None);
        };
        let batch = self.0.db.get_pinned_cf(self.family(BATCHES), entry.batch.key());
        let batch = batch.map_err(|error| self.failure(error))?;
        let start = entry.offset as usize;
        let range = start..start + entry.length as usize;
        let bytes = batch.as_ref().and_then(|batch| batch.get(range));
        let bytes =
            bytes.ok_or_else(|| self.damaged(format!("the bytes of record {digest} are gone")))?;
        let outcome = self.outcome(entry.height, &entry.line)?;
        Ok(Some(StoredRecord { outcome, bytes: bytes.into() }))
    }

    /// What became of certain signed bytes, by
    /// [`signed_bytes_hash`](bizra_ledger::outcomes::signed_bytes_hash).
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn outcome_of_bytes(&self, hash: &Hash) -> Result<Option<StoredOutcome>, StorageError> {
        let entry = self.get_decoded::<BytesEntry>(BY_HASH, hash.as_bytes())?;
        entry.map(|entry| self.outcome(entry.height, &entry.line)).transpose()
    }

    /// At most `limit` records in the log with these indices, ascending.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn search(
        &self,
        key: IndexKey,
        indices: Range<LogIndex>,
        limit: usize,
    ) -> Result<Vec<(LogIndex, RecordDigest)>, StorageError> {
        let (prefix, start) = (key.prefix(), key.at(indices.start));
        let mode = IteratorMode::From(&start, Direction::Forward);
        let mut found = Vec::new();
        for item in self.0.db.iterator_cf(self.family(INDEX), mode) {
            let (key, value) = item.map_err(|error| self.failure(error))?;
            let Some(index) = key.strip_prefix(prefix.as_slice()) else { break };
            let index = index
                .try_into()
                .map(|index| LogIndex::new(u64::from_be_bytes(index)))
                .map_err(|_| self.damaged(format!("a key of `{INDEX}` of {} bytes", key.len())))?;
            if index >= indices.end || found.len() == limit {
                break;
            }
            found.push((index, self.decode(INDEX, &value)?));
        }
        Ok(found)
    }

    /// The index of the first record that the block at `height`, or one after
    /// it, puts into the log: the size of the log before it.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn first_index_from(&self, height: Height) -> Result<LogIndex, StorageError> {
        let Some(before) = height.previous().filter(|it| *it > Height::ZERO) else {
            return Ok(LogIndex::ZERO);
        };
        let fields = self.exec_at(before)?.unwrap_or(self.head().fields);
        Ok(LogIndex::new(fields.log_size))
    }

    /// The height of the first block whose time is `time` or later, or the one
    /// above the head.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn first_height_from(&self, time: TimestampMs) -> Result<Height, StorageError> {
        self.first_block(|block| block.header().timestamp_ms >= time)
    }

    /// The proof that a record is final, against the first certified block since
    /// it was executed. None for a record that is not in the log.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn finality_proof(
        &self,
        digest: &RecordDigest,
    ) -> Result<Option<FinalityProof>, StorageError> {
        let Some(record) = self.record(digest)? else { return Ok(None) };
        let Some(log_index) = record.outcome.log_index else { return Ok(None) };
        let Some(head) = self.final_head(record.outcome.height)? else { return Ok(None) };
        let inclusion = log::inclusion_proof(head.exec.log_size, log_index.get(), self);
        let inclusion = inclusion.map_err(|error| self.damaged(error.to_string()))?;
        let envelope = record.bytes.to_vec();
        Ok(Some(FinalityProof { envelope, log_index, inclusion, head }))
    }

    /// The proof that the first certified block from `height` on is final, with
    /// signatures of exactly a quorum.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn final_head(&self, height: Height) -> Result<Option<FinalHead>, StorageError> {
        let Some((height, certificate)) = self.certificate_at_or_after(height)? else {
            return Ok(None);
        };
        let entry = self.block_entry(height)?;
        let entry = entry.ok_or_else(|| self.damaged(format!("block {height} is gone")))?;
        let header = *self.final_block(&entry)?.header();
        let eras = self.era_changes(header.era)?;
        let first = &*self.0.genesis.committee;
        let committee = eras.last().map_or(first, |change| &change.committee);
        let (commit, filler) = self.trimmed(&certificate, committee.quorum())?;
        Ok(Some(FinalHead { exec: entry.fields, header, filler, commit, eras }))
    }

    /// How each era before `era` ended, as proofs carry it.
    fn era_changes(&self, era: Era) -> Result<Vec<EraChange>, StorageError> {
        let mut changes = Vec::new();
        let mut ended = Era::new(1);
        while ended < era {
            let gone = |what| self.damaged(format!("{what} of era {ended} is gone"));
            let closed = self.closed(ended)?.ok_or_else(|| gone("the end"))?;
            let last = self.block(closed.last_block())?.ok_or_else(|| gone("the last block"))?;
            let header = *last.header();
            let entry = self.block_entry(header.height)?.ok_or_else(|| gone("the last block"))?;
            let quorum = changes
                .last()
                .map_or(self.0.genesis.committee.quorum(), |it: &EraChange| it.committee.quorum());
            let (commit, filler) = self.trimmed(&closed.certificate, quorum)?;
            let committee = Committee::clone(&closed.next);
            changes.push(EraChange { header, exec: entry.fields, committee, filler, commit });
            ended = ended.next();
        }
        Ok(changes)
    }

    /// The commit certificate with the signatures of its first `quorum` signers,
    /// and the header of the filler, if it is one's.
    fn trimmed(
        &self,
        certificate: &Certificate,
        quorum: usize,
    ) -> Result<(CommitCert, Option<Header>), StorageError> {
        let (cert, filler) = match certificate {
            Certificate::Commit(cert) => (cert, None),
            Certificate::Filler(cert, header) => (cert, Some(*header)),
            Certificate::Qc(_) | Certificate::Tc(_) => {
                return Err(self.damaged(format!("`{CERTIFICATES}` holds what is no commit")));
            }
        };
        let size = cert.signers.committee_size();
        let commit = CommitCert {
            vote: cert.vote,
            signers: SignerSet::of(size, cert.signers.iter().take(quorum)),
            signatures: cert.signatures.iter().take(quorum).copied().collect(),
        };
        Ok((commit, filler))
    }

    /// An entry of the ledger as the last final block has left it.
    ///
    /// # Errors
    /// When the folder cannot be read, or the entry is damaged.
    pub fn entry<T: Decode>(&self, family: Family, key: &[u8]) -> Result<Option<T>, StorageError> {
        self.get_decoded(PLAIN, &plain_key(family, key))
    }

    /// The governed numbers that judge the next block's records.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn ledger_parameters(&self) -> Result<LedgerParameters, StorageError> {
        LedgerParameters::read(|family, key| Base::plain(self, family, key))
            .map_err(|error| self.damaged(error.0))
    }

    /// The policies that governance has in force, the latest last, with the names
    /// that it gave them; none while those of the genesis file are.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn governed_policies(&self) -> Result<Vec<(PolicyInForce, Option<String>)>, StorageError> {
        let governance: Governance = self.entry(Family::Governance, &[])?.unwrap_or_default();
        let named = governance.policies.into_iter().map(|policy| {
            let text = self.entry::<PolicyText>(Family::Policy, &policy.hash.0)?;
            Ok((policy, text.map(|text| text.name)))
        });
        named.collect()
    }

    /// Every governed number with its value after the last final block: those of
    /// the engine, where the genesis file's hold until governance decides
    /// otherwise, and those of the ledger.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn parameters(
        &self,
        of_genesis: &Parameters,
    ) -> Result<Vec<(&'static str, u64)>, StorageError> {
        let of_engine = of_genesis.iter().map(|(name, value)| {
            let place = plain_key(Family::Parameter, name.as_bytes());
            Ok((name, self.get_decoded(PLAIN, &place)?.unwrap_or(value)))
        });
        let of_ledger = LedgerParameters::read(|family, key| Base::plain(self, family, key));
        let of_ledger = of_ledger.map_err(|error| self.damaged(error.0))?;
        of_engine.chain(of_ledger.iter().map(Ok)).collect()
    }

    /// The proof of what the state has for a key after the last final block, or
    /// that it has nothing. None at genesis.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn state_proof(
        &self,
        family: Family,
        key: &[u8],
    ) -> Result<Option<StateProof>, StorageError> {
        let committed = self.head();
        let Some(head) = self.final_head(committed.height())? else { return Ok(None) };
        let path = state::prove(&committed.ledger.state, family, key, self);
        let path = path.map_err(|error| self.damaged(error.0))?;
        Ok(Some(StateProof { family: family.number(), key: key.to_vec(), path, head }))
    }

    /// The proof that the log of `to` records continues the one of `from`.
    ///
    /// # Errors
    /// [`LogError::Shrinks`] when `from` is above `to`, [`LogError::NotInLog`]
    /// when `to` is above the size of the log.
    pub fn consistency(&self, from: u64, to: u64) -> Result<Vec<Hash>, LogError> {
        let size = self.head().fields.log_size;
        if to > size {
            return Err(LogError::NotInLog { index: to.saturating_sub(1), size });
        }
        log::consistency_proof(from, to, self)
    }

    /// Who ordered an era; none of one that has not begun here.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn committee_of(&self, era: Era) -> Result<Option<Arc<Committee>>, StorageError> {
        match era.previous() {
            Some(before) if before >= Era::new(1) => {
                Ok(self.closed(before)?.map(|closed| closed.next))
            }
            _ => Ok(Some(Arc::clone(&self.0.genesis.committee))),
        }
    }

    /// All evidence that is two messages, in no particular order; at most `limit` pieces.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn evidence(&self, limit: usize) -> Result<Vec<Evidence>, StorageError> {
        let mut found = Vec::new();
        for item in self.0.db.iterator_cf(self.family(EVIDENCE), IteratorMode::Start).take(limit) {
            let (key, bytes) = item.map_err(|error| self.failure(error))?;
            if key.starts_with(&[INVALID_BATCH]) {
                break;
            }
            let evidence = formats::read_evidence(&bytes);
            found.push(evidence.map_err(|error| self.decoding(EVIDENCE, error))?);
        }
        Ok(found)
    }

    /// Batches with a record that no honest validator takes, those of the latest eras first; at
    /// most `limit`.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn invalid_batches(&self, limit: usize) -> Result<Vec<SignedBatch>, StorageError> {
        let mut found = Vec::new();
        for item in self.0.db.iterator_cf(self.family(EVIDENCE), IteratorMode::End).take(limit) {
            let (key, bytes) = item.map_err(|error| self.failure(error))?;
            if !key.starts_with(&[INVALID_BATCH]) {
                break;
            }
            found.push(self.decode(EVIDENCE, &bytes)?);
        }
        Ok(found)
    }

    /// The offers of patterns that were adopted, as [`Store::keep_pattern`] has left them.
    ///
    /// # Errors
    /// When the folder cannot be read or is damaged.
    pub fn patterns(&self) -> Result<BTreeMap<PatternKey, Box<[u8]>>, StorageError> {
        let mut found = BTreeMap::new();
        for item in self.0.db.iterator_cf(self.family(PATTERNS), IteratorMode::Start) {
            let (key, bytes) = item.map_err(|error| self.failure(error))?;
            let key = formats::read_pattern_key(&key);
            found.insert(key.map_err(|error| self.decoding(PATTERNS, error))?, bytes);
        }
        Ok(found)
    }

    pub(super) fn block_entry(&self, height: Height) -> Result<Option<BlockEntry>, StorageError> {
        self.get_decoded(HEIGHTS, &height.get().to_be_bytes())
    }

    fn final_block(&self, entry: &BlockEntry) -> Result<Block, StorageError> {
        let block = self.block(entry.id)?;
        block.ok_or_else(|| self.damaged(format!("final block {} is gone", entry.id)))
    }

    /// A batch, and its size in bytes.
    fn batch_at(&self, place: &BatchRef) -> Result<Option<(SignedBatch, usize)>, StorageError> {
        let Some(bytes) = self.get(BATCHES, &place.key())? else { return Ok(None) };
        let size = bytes.len();
        Ok(Some((self.signed_batch(place, bytes)?, size)))
    }

    /// Reads a batch, and its signature from where our own are kept.
    fn signed_batch(
        &self,
        place: &BatchRef,
        mut bytes: Vec<u8>,
    ) -> Result<SignedBatch, StorageError> {
        let signature = BATCH_HEADER_SIZE..BATCH_HEADER_SIZE + SIGNATURE_SIZE;
        if bytes.get(signature.clone()) == Some(&NO_SIGNATURE.0)
            && let Some(own) = self.get(SIGNATURES, &place.key())?
        {
            if own.len() != SIGNATURE_SIZE {
                return Err(self.damaged(format!("a signature of {} bytes", own.len())));
            }
            bytes[signature].copy_from_slice(&own);
        }
        self.decode(BATCHES, &bytes)
    }

    fn batch_key(&self, key: &[u8]) -> Result<BatchRef, StorageError> {
        let bad = || self.damaged(format!("a key of `{BATCHES}` of {} bytes", key.len()));
        let (author, rest) = key.split_first_chunk::<32>().ok_or_else(bad)?;
        let (lane_seq, digest) = rest.split_first_chunk::<8>().ok_or_else(bad)?;
        Ok(BatchRef {
            author: PublicKey(*author),
            lane_seq: LaneSeq::new(u64::from_be_bytes(*lane_seq)),
            digest: BatchDigest(digest.try_into().map_err(|_| bad())?),
        })
    }

    fn height_key(&self, family: &str, key: &[u8]) -> Result<Height, StorageError> {
        let bytes = key.try_into();
        let bytes = bytes
            .map_err(|_| self.damaged(format!("a key of `{family}` of {} bytes", key.len())))?;
        Ok(Height::new(u64::from_be_bytes(bytes)))
    }

    /// What became of each record of a final block.
    fn outcome_lines(&self, height: Height) -> Result<Vec<OutcomeLine>, StorageError> {
        let lines = self.get(OUTCOMES, &height.get().to_be_bytes())?;
        let lines = lines
            .ok_or_else(|| self.damaged(format!("the outcomes of block {height} are gone")))?;
        formats::read_lines(&lines).map_err(|error| self.decoding(OUTCOMES, error))
    }

    fn code(&self, line: &OutcomeLine) -> Result<Code, StorageError> {
        Code::from_number(line.code)
            .ok_or_else(|| self.damaged(format!("an outcome code of {}", line.code)))
    }

    fn outcome(&self, height: Height, line: &OutcomeLine) -> Result<StoredOutcome, StorageError> {
        let code = self.code(line)?;
        Ok(StoredOutcome { digest: line.digest, height, code, log_index: line.log_index })
    }
}

impl LogHashes for Store {
    fn log_hashes(&self, numbers: &[u64]) -> Result<Vec<Hash>, LedgerError> {
        let keys: Vec<[u8; 8]> = numbers.iter().map(|number| number.to_be_bytes()).collect();
        let values = self.0.db.batched_multi_get_cf(self.family(LOG), &keys, false);
        values
            .into_iter()
            .zip(numbers)
            .map(|(value, number)| {
                let value = value.map_err(|error| LedgerError(error.into_string()))?;
                let value =
                    value.ok_or_else(|| LedgerError(format!("stored hash {number} is missing")))?;
                Hash::from_bytes(&value)
                    .map_err(|error| LedgerError(format!("stored hash {number}: {error}")))
            })
            .collect()
    }
}

impl StateNodes for Store {
    fn state_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LedgerError> {
        self.get(STATE, key).map_err(|error| LedgerError(error.to_string()))
    }
}

impl Base for Store {
    fn head(&self) -> Result<Head, LedgerError> {
        Ok(Self::head(self).ledger.clone())
    }

    fn plain(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, LedgerError> {
        self.get(PLAIN, &plain_key(family, key)).map_err(|error| LedgerError(error.to_string()))
    }
}

fn era_of<T>(blocks: &[(Block, T)]) -> Option<Era> {
    blocks.first().map(|(block, _)| block.header().era)
}
