//! What the driver and the executor write.

use super::formats::{
    self, BatchRef, BlockEntry, BytesEntry, Mark, NO_SIGNATURE, OutcomeLine, PatternKey,
    RecordEntry, SafetyKey, batch_bytes, record_offsets,
};
use super::read::IndexKey;
use super::{
    APART, BATCHES, BLOCKS, BY_HASH, CERTIFICATES, ChainHead, ERAS, EVIDENCE, HEIGHTS, INDEX, KEPT,
    LOG, OUTCOMES, PATTERNS, PLAIN, RECORDS, SAFETY, SIGNATURES, STALE, STATE, StorageError, Store,
    UNCOMMITTED,
};
use bizra_consensus::{Commit, Evidence, Persist};
use bizra_ledger::codes::Code;
use bizra_ledger::envelope::{Content, Envelope};
use bizra_ledger::evidence::EvidenceFile;
use bizra_ledger::execution::Overlay;
use bizra_ledger::gates::Verdict;
use bizra_ledger::outcomes::Outcome;
use bizra_ledger::state::{self, StaleNodes};
use bizra_types::batch::{BatchHeader, SignedBatch};
use bizra_types::block::Block;
use bizra_types::encoding::{Encode, encode_list};
use bizra_types::hash::BlockId;
use bizra_types::numbers::{Height, LogIndex, StateVersion};
use rocksdb::{Direction, IteratorMode, WriteBatch};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

/// Most pieces of evidence of one kind that are kept against a validator in an era.
pub const EVIDENCE_MAX: usize = 16;

/// A block with what executing it left, ready to be committed.
#[derive(Clone, Copy, Debug)]
pub struct CommittedBlock<'a> {
    /// The block.
    pub block: &'a Block,
    /// The cited batches in the order of execution.
    pub batches: &'a [Arc<SignedBatch>],
    /// The static verdicts on the records of those batches, in the same order.
    pub verdicts: &'a [Arc<[Verdict]>],
    /// What executing it left.
    pub overlay: &'a Overlay,
}

impl Store {
    /// Writes what must be on disk before anything is sent, and syncs, once.
    ///
    /// Our own batches get no signature here, because only what is durable gets
    /// one: the driver signs them now, and on every start those that are found
    /// unsigned, and hands the signatures to [`Store::store_signature`].
    ///
    /// # Errors
    /// [`StorageError::Full`] when only space is missing: nothing counts as
    /// written, and the same call may be tried again. After any other error the
    /// process must stop.
    pub fn persist(&self, persist: &Persist) -> Result<(), StorageError> {
        if persist.is_empty() {
            return Ok(());
        }
        self.check_reserve()?;
        let mut batch = WriteBatch::default();
        for (key, safety) in &persist.safety {
            let place = SafetyKey { era: safety.era, key: *key }.to_bytes();
            batch.put_cf(self.family(SAFETY), place, formats::safety_bytes(safety));
        }
        for certificate in &persist.certificates {
            let key = formats::kept_key(certificate);
            batch.put_cf(self.family(KEPT), key, certificate.to_bytes());
        }
        for closed in &persist.closed {
            let key = closed.era.get().to_be_bytes();
            batch.put_cf(self.family(ERAS), key, formats::closed_bytes(closed));
        }
        let marks: Vec<_> = persist.blocks.iter().map(|it| (it.id(), Mark::of(it))).collect();
        for (block, (id, mark)) in persist.blocks.iter().zip(&marks) {
            batch.put_cf(self.family(BLOCKS), id.as_bytes(), block.to_bytes());
            batch.put_cf(self.family(UNCOMMITTED), id.as_bytes(), mark.to_bytes());
        }
        for signed in &persist.batches {
            let header = signed.header();
            let bytes = batch_bytes(header, signed.signature(), signed.records());
            batch.put_cf(self.family(BATCHES), self.batch_ref(header).key(), bytes);
        }
        for (header, records) in &persist.own_batches {
            let bytes = batch_bytes(header, NO_SIGNATURE, records);
            batch.put_cf(self.family(BATCHES), self.batch_ref(header).key(), bytes);
        }
        for header in &persist.lapsed_batches {
            let place = self.batch_ref(header).key();
            batch.delete_cf(self.family(BATCHES), place);
            batch.delete_cf(self.family(SIGNATURES), place);
        }
        self.write(batch, true)?;
        self.uncommitted().extend(marks);
        Ok(())
    }

    /// Keeps our signature of our own batch, for peers that ask for the batch.
    /// Not synced: a signature that is lost is made again.
    ///
    /// # Errors
    /// As [`Store::persist`].
    pub fn store_signature(&self, signed: &SignedBatch) -> Result<(), StorageError> {
        let key = self.batch_ref(signed.header()).key();
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family(SIGNATURES), key, signed.signature().0);
        self.write(batch, false)
    }

    /// Keeps evidence against a validator, unless there are [`EVIDENCE_MAX`]
    /// pieces of the same kind and era against it: one proves what it is, and a
    /// liar can make as many as it likes. The same evidence is kept once. Not synced.
    ///
    /// # Errors
    /// As [`Store::persist`].
    pub fn store_evidence(&self, evidence: &Evidence) -> Result<(), StorageError> {
        self.check_reserve()?;
        let bytes = formats::evidence_bytes(evidence);
        let offence = formats::offence_key(evidence);
        if !self.has_room_for_evidence(&offence)? {
            return Ok(());
        }
        let mut batch = WriteBatch::default();
        let key = [&offence[..], &blake3::hash(&bytes).as_bytes()[..]].concat();
        batch.put_cf(self.family(EVIDENCE), key, bytes);
        self.write(batch, false)
    }

    /// Keeps a batch with a record that no honest validator takes, as evidence against
    /// its author, and says whether it does: one for each place of its lane, at most
    /// [`EVIDENCE_MAX`] of an era, and none that cannot be filed, because its signature
    /// is not good, its records are, or no envelope has room for them. Not synced.
    ///
    /// # Errors
    /// As [`Store::persist`].
    pub fn store_invalid_batch(&self, signed: &SignedBatch) -> Result<bool, StorageError> {
        let offence = formats::invalid_batches_key(signed.header());
        let key = [&offence[..], &signed.header().lane_seq.get().to_be_bytes()].concat();
        if self.contains(EVIDENCE, &key)? || !self.has_room_for_evidence(&offence)? {
            return Ok(false);
        }
        let file = EvidenceFile::of_batch(signed);
        if !file.fits() || file.check(&self.chain_id()).is_err() {
            return Ok(false);
        }
        self.check_reserve()?;
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family(EVIDENCE), key, signed.to_bytes());
        self.write(batch, false)?;
        Ok(true)
    }

    /// Keeps the canonical bytes of an offer that was adopted, if there is one, and forgets those
    /// with the other keys. Not synced.
    ///
    /// # Errors
    /// As [`Store::persist`].
    pub fn keep_pattern(
        &self,
        adopted: Option<(&PatternKey, &[u8])>,
        gone: &[PatternKey],
    ) -> Result<(), StorageError> {
        self.check_reserve()?;
        let family = self.family(PATTERNS);
        let mut batch = WriteBatch::default();
        for key in gone {
            batch.delete_cf(family, formats::pattern_key(key));
        }
        if let Some((key, bytes)) = adopted {
            batch.put_cf(family, formats::pattern_key(key), bytes);
        }
        self.write(batch, false)
    }

    fn has_room_for_evidence(&self, offence: &[u8]) -> Result<bool, StorageError> {
        let mode = IteratorMode::From(offence, Direction::Forward);
        let mut kept = self.0.db.iterator_cf(self.family(EVIDENCE), mode);
        for _ in 0..EVIDENCE_MAX {
            match kept.next() {
                Some(Ok((key, _))) if key.starts_with(offence) => {}
                Some(Err(error)) => return Err(self.failure(error)),
                Some(Ok(_)) | None => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Writes blocks that became final, in one atomic write, and moves the head.
    /// Uncommitted blocks that can no longer become final are dropped.
    ///
    /// Not synced: the next synced write covers it, and until then a crash
    /// brings the head before back, from which the engine commits again.
    ///
    /// # Errors
    /// [`StorageError::Full`] when only space is missing: nothing counts as
    /// written, and the same call may be tried again. After any other error the
    /// process must stop.
    ///
    /// # Panics
    /// When the blocks do not follow the head, or are not those of the commit.
    pub fn commit(
        &self,
        commit: &Commit,
        blocks: &[CommittedBlock<'_>],
    ) -> Result<(), StorageError> {
        self.check_reserve()?;
        let last = blocks.last().expect("a commit has blocks");
        assert_eq!(commit.root.header.id(), last.block.id(), "the root is the last block");
        assert_eq!(commit.root.exec, last.overlay.exec(), "the root has the exec of this node");
        let mut batch = WriteBatch::default();
        let mut height = self.head().height();
        let mut ids = BTreeSet::new();
        for committed in blocks {
            assert_eq!(committed.block.header().height, height.next(), "commits leave no gap");
            height = height.next();
            ids.insert(committed.block.id());
            self.put_block(&mut batch, committed)?;
        }
        let certificate = commit.root.certificate().expect("a committed block has one");
        let place = height.get().to_be_bytes();
        batch.put_cf(self.family(CERTIFICATES), place, certificate.to_bytes());
        let over = self.drop_forks(&mut batch, height, &ids)?;
        let head = ChainHead {
            root: commit.root.clone(),
            fields: *last.overlay.fields(),
            ledger: last.overlay.head().clone(),
        };
        self.put_head(&mut batch, &head);
        self.write(batch, false)?;
        self.uncommitted().retain(|id, _| !over.contains(id));
        *self.0.head.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(head);
        Ok(())
    }

    fn put_block(
        &self,
        batch: &mut WriteBatch,
        committed: &CommittedBlock<'_>,
    ) -> Result<(), StorageError> {
        let CommittedBlock { block, batches, verdicts, overlay } = committed;
        let height = block.header().height;
        let entry = BlockEntry {
            id: block.id(),
            fields: *overlay.fields(),
            batches: batches.iter().map(|signed| self.batch_ref(signed.header())).collect(),
        };
        // What came by catch-up may never have been persisted.
        if !self.contains(BLOCKS, block.id().as_bytes())? {
            batch.put_cf(self.family(BLOCKS), block.id().as_bytes(), block.to_bytes());
        }
        for (signed, place) in batches.iter().zip(&entry.batches) {
            if !self.contains(BATCHES, &place.key())? {
                let bytes = batch_bytes(signed.header(), signed.signature(), signed.records());
                batch.put_cf(self.family(BATCHES), place.key(), bytes);
            }
        }
        batch.put_cf(self.family(HEIGHTS), height.get().to_be_bytes(), entry.to_bytes());
        let lines: Vec<OutcomeLine> = overlay.outcomes().iter().map(line).collect();
        let mut lines_bytes = Vec::new();
        encode_list(&lines, &mut lines_bytes);
        batch.put_cf(self.family(OUTCOMES), height.get().to_be_bytes(), lines_bytes);
        let mut outcomes = overlay.outcomes().iter();
        for ((signed, place), verdicts) in batches.iter().zip(&entry.batches).zip(*verdicts) {
            let offsets = record_offsets(signed.records());
            for ((record, offset), verdict) in signed.records().iter().zip(offsets).zip(&**verdicts)
            {
                let outcome = outcomes.next().expect("every record has an outcome");
                let place = Place { batch: *place, offset, length: record.bytes.len(), height };
                self.put_record(batch, outcome, &place, verdict.envelope());
            }
        }
        assert!(outcomes.next().is_none(), "every outcome has a record");
        for (number, hash) in overlay.log_hashes() {
            batch.put_cf(self.family(LOG), number.to_be_bytes(), hash.as_bytes());
        }
        for (key, node) in overlay.state_nodes() {
            batch.put_cf(self.family(STATE), key, node);
        }
        if let Some((version, stale)) = overlay.stale_nodes() {
            batch.put_cf(self.family(STALE), version.get().to_be_bytes(), stale.to_bytes());
            if let Some(expired) = state::expired(version) {
                self.drop_expired(batch, expired)?;
            }
        }
        for (family, key, value) in overlay.plain_writes() {
            let key = super::read::plain_key(family, key);
            match value {
                Some(value) => batch.put_cf(self.family(PLAIN), key, value),
                None => batch.delete_cf(self.family(PLAIN), key),
            }
        }
        Ok(())
    }

    /// Deletes the nodes of the state tree that no version that is kept has any more.
    fn drop_expired(
        &self,
        batch: &mut WriteBatch,
        expired: StateVersion,
    ) -> Result<(), StorageError> {
        let place = expired.get().to_be_bytes();
        let stale = self.get_decoded::<StaleNodes>(STALE, &place)?;
        for key in stale.into_iter().flat_map(|stale| stale.0) {
            batch.delete_cf(self.family(STATE), key);
        }
        batch.delete_cf(self.family(STALE), place);
        Ok(())
    }

    fn put_record(
        &self,
        batch: &mut WriteBatch,
        outcome: &Outcome,
        place: &Place,
        envelope: Option<&Envelope>,
    ) {
        if outcome.code == Code::Skipped {
            return;
        }
        let line = line(outcome);
        let entry = BytesEntry { height: place.height, line };
        batch.put_cf(self.family(BY_HASH), outcome.signed_bytes.as_bytes(), entry.to_bytes());
        let Some(digest) = outcome.digest else { return };
        let small = |size| u32::try_from(size).expect("a batch is at most 256 KiB");
        let entry = RecordEntry {
            batch: place.batch,
            offset: small(place.offset),
            length: small(place.length),
            height: place.height,
            line,
        };
        batch.put_cf(self.family(RECORDS), digest.as_bytes(), entry.to_bytes());
        if let (Code::Success, Some(index)) = (outcome.code, outcome.log_index) {
            let envelope = envelope.expect("only a good record gets into the log");
            for key in index_keys(envelope, index) {
                batch.put_cf(self.family(INDEX), key, digest.as_bytes());
            }
        }
    }

    /// Takes away the marks of what is final now and, with their blocks, of
    /// what never will be, and says whose marks.
    fn drop_forks(
        &self,
        batch: &mut WriteBatch,
        height: Height,
        committed: &BTreeSet<BlockId>,
    ) -> Result<BTreeSet<BlockId>, StorageError> {
        let mut over = self.uncommitted().clone();
        over.retain(|_, mark| mark.is_over(height));
        for (id, mark) in &over {
            batch.delete_cf(self.family(UNCOMMITTED), id.as_bytes());
            let is_final = committed.contains(id)
                || self.block_entry(mark.height)?.is_some_and(|entry| entry.id == *id);
            if !is_final && let Some(block) = self.block(*id)? {
                // Should the other one be final somewhere, it shows who lied.
                batch.put_cf(self.family(APART), formats::apart_key(&block), block.to_bytes());
                batch.delete_cf(self.family(BLOCKS), id.as_bytes());
            }
        }
        Ok(over.into_keys().collect())
    }

    pub(super) fn batch_ref(&self, header: &BatchHeader) -> BatchRef {
        BatchRef {
            author: header.author,
            lane_seq: header.lane_seq,
            digest: header.digest(&self.chain_id()),
        }
    }
}

/// Where the bytes of a record stand.
struct Place {
    batch: BatchRef,
    offset: usize,
    length: usize,
    height: Height,
}

fn line(outcome: &Outcome) -> OutcomeLine {
    OutcomeLine {
        digest: outcome.digest,
        code: outcome.code.number(),
        flags: outcome.flags.0,
        log_index: outcome.log_index,
    }
}

/// Everything a record in the log can be found by.
fn index_keys(envelope: &Envelope, index: LogIndex) -> Vec<Vec<u8>> {
    let mut keys = vec![IndexKey::All, IndexKey::Sender(envelope.sender.public_key)];
    match &envelope.content {
        Content::Inference(inference) => {
            keys.push(IndexKey::Session(inference.session_id));
            keys.push(IndexKey::Model(inference.model.digest));
        }
        Content::SessionClose(close) => keys.push(IndexKey::Session(close.session_id)),
        Content::Market(_)
        | Content::Identity(_)
        | Content::Governance(_)
        | Content::Release(_)
        | Content::Pattern(_)
        | Content::Elevation(_)
        | Content::Evidence(_) => {}
    }
    keys.into_iter().map(|key| key.at(index)).collect()
}
