//! What a node keeps on disk: one RocksDB, one folder.
//!
//! Two threads write. The driver calls [`Store::persist`], one synced write per
//! step, before anything it vouches for leaves the node. The executor calls
//! [`Store::commit`], one atomic write per commit certificate, unsynced: both
//! go through one write-ahead log, so the next synced write covers it, and a
//! crash before that only means that the same blocks are committed again.
//!
//! | family | key → value |
//! |---|---|
//! | `meta` | layout, chain, committed head |
//! | `safety` | era, key → safety record; of a key only the last one is alive |
//! | `eras` | ended era → who took over, and what ended it |
//! | `batches` | author, sequence, digest → batch, for ever |
//! | `signatures` | as `batches` → our signature of our own batch |
//! | `blocks` | id → block, committed or not |
//! | `uncommitted` | id → height and kind of a block that is not final yet |
//! | `apart` | era, view, id → block that another one became final instead of, for ever |
//! | `heights` | height → id, exec fields, cited batches |
//! | `outcomes` | height → what became of each record |
//! | `certificates` | height → what made that block final |
//! | `kept` | era, view, kind → TC on which a vote rests, or QC of a commit vote, for ever |
//! | `records` | digest → latest judgement, and where the bytes stand |
//! | `by_hash` | hash of signed bytes → judgement of exactly these bytes |
//! | `log` | number → stored hash of the record log |
//! | `plain` | plain family, key → value |
//! | `state` | version, path → node of the state tree |
//! | `stale` | version → nodes that are no part of the state tree since |
//! | `index` | session, sender, model or nothing, log index → digest |
//! | `evidence` | kind, era, accused, hash → two messages of one signer that exclude each other, few of each kind; or 8, era, author, sequence → a batch that no honest validator makes |
//! | `patterns` | pattern, source → an offer that was adopted, as long as it is in memory |
//!
//! Batches are kept for ever: they are what peers catch up from, and a record's
//! bytes are in its batch and nowhere else.
//!
//! A full disk refuses writes and serves reads. What [`Store::persist`] and
//! [`Store::commit`] write is refused before that, while the reserve of
//! [`Store::keep_free`] is still free: RocksDB needs room for what it holds in
//! memory, writes on for a while into what it has set aside, and cannot be
//! opened on a disk without any room. Should the disk run full all the same,
//! RocksDB looks every five seconds whether at least 16 MiB are free again.
//!
//! The write-ahead log is replayed up to the first damaged entry: after a power
//! failure the unsynced tail may be torn anywhere, and refusing to start would
//! turn every power failure into a repair.

mod error;
mod formats;
mod read;
mod write;

pub use error::StorageError;
pub use formats::PatternKey;
pub use read::{ChainPart, IndexKey, LANE_WALK_MAX, StoredOutcome, StoredRecord};
pub use write::{CommittedBlock, EVIDENCE_MAX};

use bizra_consensus::Root;
use bizra_ledger::execution::{Head, genesis_fields};
use bizra_ledger::log;
use bizra_types::encoding::{Decode, DecodeError, Encode};
use bizra_types::execution::ExecFields;
use bizra_types::genesis::Genesis;
use bizra_types::hash::{BlockId, ChainId};
use bizra_types::numbers::Height;
use formats::{LAYOUT, Mark};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRecoveryMode, DEFAULT_COLUMN_FAMILY_NAME, Options, WriteBatch, WriteOptions,
};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

const META: &str = "meta";
const SAFETY: &str = "safety";
const ERAS: &str = "eras";
const BATCHES: &str = "batches";
const SIGNATURES: &str = "signatures";
const BLOCKS: &str = "blocks";
const UNCOMMITTED: &str = "uncommitted";
const APART: &str = "apart";
const HEIGHTS: &str = "heights";
const OUTCOMES: &str = "outcomes";
const CERTIFICATES: &str = "certificates";
const KEPT: &str = "kept";
const RECORDS: &str = "records";
const BY_HASH: &str = "by_hash";
const LOG: &str = "log";
const PLAIN: &str = "plain";
const STATE: &str = "state";
const STALE: &str = "stale";
const INDEX: &str = "index";
const EVIDENCE: &str = "evidence";
const PATTERNS: &str = "patterns";

/// Every family.
const FAMILIES: [&str; 21] = [
    META,
    SAFETY,
    ERAS,
    BATCHES,
    SIGNATURES,
    BLOCKS,
    UNCOMMITTED,
    APART,
    HEIGHTS,
    OUTCOMES,
    CERTIFICATES,
    KEPT,
    RECORDS,
    BY_HASH,
    LOG,
    PLAIN,
    STATE,
    STALE,
    INDEX,
    EVIDENCE,
    PATTERNS,
];

const META_LAYOUT: &[u8] = b"layout";
const META_CHAIN: &[u8] = b"chain";
const META_NAME: &[u8] = b"name";
const META_ROOT: &[u8] = b"root";
const META_FIELDS: &[u8] = b"fields";
const META_LEDGER: &[u8] = b"ledger";

/// Memory for blocks of data files, in bytes.
const BLOCK_CACHE_SIZE: usize = 64 << 20;
/// Memory for writes that are in the write-ahead log only, all families together, in bytes.
const WRITE_BUFFERS_SIZE: usize = 128 << 20;
/// Memory of one family's writes before they go to a file, in bytes. RocksDB
/// wants this much free space before it leaves a full disk behind.
const FAMILY_BUFFER_SIZE: usize = 16 << 20;
/// Most bytes of write-ahead log to replay at start.
const WRITE_AHEAD_LOG_SIZE_MAX: u64 = 256 << 20;
/// From this size on a value is kept out of compactions, in bytes.
const BLOB_SIZE_MIN: u64 = 4 << 10;

/// A node's data folder. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    db: DB,
    dir: PathBuf,
    genesis: Arc<Genesis>,
    head: RwLock<Arc<ChainHead>>,
    /// What `uncommitted` holds. Looking it up on disk would pass, block after
    /// block, over the traces of all marks deleted lately.
    uncommitted: Mutex<BTreeMap<BlockId, Mark>>,
    /// Bytes of the disk that are not for the chain.
    reserve: AtomicU64,
}

/// The committed head of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// What the engine starts from.
    pub root: Root,
    /// The fields of its exec.
    pub fields: ExecFields,
    /// What the ledger continues from.
    pub ledger: Head,
}

impl ChainHead {
    /// Height of the last committed block.
    #[must_use]
    pub const fn height(&self) -> Height {
        self.root.header.height
    }

    fn genesis(genesis: &Genesis) -> Self {
        let fields = genesis_fields();
        Self { root: Root::genesis(genesis, fields.hash()), fields, ledger: Head::genesis() }
    }
}

impl Store {
    /// Opens the folder, or makes it with the genesis block as its head.
    ///
    /// # Errors
    /// When it cannot be made or opened, is in use, is of another chain or
    /// layout, or when head, log and roots contradict each other. The sentence
    /// says what to do.
    pub fn open(dir: &Path, genesis: &Genesis) -> Result<Self, StorageError> {
        create_folder(dir)?;
        // RocksDB opens the default family in any case, and would do so with larger buffers.
        let families = FAMILIES.into_iter().chain([DEFAULT_COLUMN_FAMILY_NAME]);
        let families = families.map(|name| ColumnFamilyDescriptor::new(name, family_options(name)));
        let db = DB::open_cf_descriptors(&database_options(), dir, families)
            .map_err(|error| StorageError::of_open(dir.to_path_buf(), error))?;
        let head = RwLock::new(Arc::new(ChainHead::genesis(genesis)));
        let inner = Inner {
            db,
            dir: dir.to_path_buf(),
            genesis: Arc::new(genesis.clone()),
            head,
            uncommitted: Mutex::default(),
            reserve: AtomicU64::new(0),
        };
        let store = Self(Arc::new(inner));
        if store.get(META, META_LAYOUT)?.is_none() {
            store.initialise()?;
        }
        store.check_owner()?;
        let head = store.read_head()?;
        store.check_head(&head)?;
        *store.0.head.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(head);
        *store.uncommitted() = store.read_uncommitted()?;
        Ok(store)
    }

    /// The committed head.
    #[must_use]
    pub fn head(&self) -> Arc<ChainHead> {
        Arc::clone(&self.0.head.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Refuses to persist and to commit while fewer than so many bytes of the
    /// disk are free; 0 after opening.
    pub fn keep_free(&self, bytes: u64) {
        self.0.reserve.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that this user may still write to the disk of the folder.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(&self.0.dir)
    }

    /// The chain that the folder holds.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        self.0.genesis.chain_id()
    }

    fn initialise(&self) -> Result<(), StorageError> {
        let genesis = &self.0.genesis;
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family(META), META_CHAIN, genesis.chain_id().as_bytes());
        batch.put_cf(self.family(META), META_NAME, genesis.name.as_bytes());
        batch.put_cf(self.family(META), META_LAYOUT, LAYOUT.to_bytes());
        self.put_head(&mut batch, &ChainHead::genesis(genesis));
        self.write(batch, true)
    }

    /// Layout and chain, in this order: another layout may name its chain elsewhere.
    fn check_owner(&self) -> Result<(), StorageError> {
        let found: u32 = self.decode(META, &self.meta(META_LAYOUT)?)?;
        if found != LAYOUT {
            let (dir, found) = (self.0.dir.clone(), found.to_string());
            return Err(StorageError::Layout { dir, found, expected: LAYOUT });
        }
        let found: ChainId = self.decode(META, &self.meta(META_CHAIN)?)?;
        if found != self.chain_id() {
            return Err(StorageError::WrongChain {
                dir: self.0.dir.clone(),
                found,
                found_name: String::from_utf8_lossy(&self.meta(META_NAME)?).into(),
                expected: self.chain_id(),
                expected_name: self.0.genesis.name.as_str().into(),
            });
        }
        Ok(())
    }

    fn read_head(&self) -> Result<ChainHead, StorageError> {
        let damaged = |error| self.decoding(META, error);
        Ok(ChainHead {
            root: formats::read_root(&self.meta(META_ROOT)?).map_err(damaged)?,
            fields: self.decode(META, &self.meta(META_FIELDS)?)?,
            ledger: formats::read_ledger(&self.meta(META_LEDGER)?).map_err(damaged)?,
        })
    }

    /// Head, certificate, block, log and plain hash must tell one story.
    fn check_head(&self, head: &ChainHead) -> Result<(), StorageError> {
        let ChainHead { root, fields, ledger } = head;
        let height = root.header.height;
        let id = root.header.id();
        if root.exec != fields.hash() {
            return Err(self.disagree("exec of the head", &root.exec, &fields.hash()));
        }
        if ledger.exec != root.exec || ledger.height != height {
            return Err(self.disagree(
                "the ledger's head",
                &format!("{} at height {}", ledger.exec, ledger.height),
                &format!("{} at height {height}", root.exec),
            ));
        }
        if ledger.log_size != fields.log_size {
            return Err(self.disagree("the size of the log", &ledger.log_size, &fields.log_size));
        }
        if ledger.plain.digest() != fields.plain_digest {
            let (found, expected) = (ledger.plain.digest(), fields.plain_digest);
            return Err(self.disagree("the hash of the plain families", &found, &expected));
        }
        if ledger.state.root != fields.state_root {
            let (found, expected) = (ledger.state.root, fields.state_root);
            return Err(self.disagree("the root of the state tree", &found, &expected));
        }
        let log_root = log::root(ledger.log_size, self).map_err(|error| self.damaged(error.0))?;
        if log_root != fields.log_root {
            return Err(self.disagree("the root of the log", &log_root, &fields.log_root));
        }
        let next_number = log::stored_hash_count(ledger.log_size);
        if self.get(LOG, &next_number.to_be_bytes())?.is_some() {
            return Err(self.damaged(format!(
                "the log has hashes after those of the {} records of the head",
                ledger.log_size
            )));
        }
        if height == Height::ZERO {
            if id != self.0.genesis.header().id() {
                return Err(self.disagree("the genesis block", &id, &self.0.genesis.header().id()));
            }
            return Ok(());
        }
        let entry = self.block_entry(height)?;
        let entry = entry.ok_or_else(|| self.damaged(format!("block {height} is missing")))?;
        if entry.id != id {
            return Err(self.disagree("the block at the head's height", &entry.id, &id));
        }
        match &root.cert {
            Some(cert) if cert.vote.exec == root.exec => Ok(()),
            Some(cert) => {
                Err(self.disagree("exec in the head's certificate", &cert.vote.exec, &root.exec))
            }
            None => Err(self.damaged(format!("the head at height {height} has no certificate"))),
        }
    }

    fn put_head(&self, batch: &mut WriteBatch, head: &ChainHead) {
        let meta = self.family(META);
        batch.put_cf(meta, META_ROOT, formats::root_bytes(&head.root));
        batch.put_cf(meta, META_FIELDS, head.fields.to_bytes());
        batch.put_cf(meta, META_LEDGER, formats::ledger_bytes(&head.ledger));
    }

    fn uncommitted(&self) -> MutexGuard<'_, BTreeMap<BlockId, Mark>> {
        self.0.uncommitted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meta(&self, key: &[u8]) -> Result<Vec<u8>, StorageError> {
        let value = self.get(META, key)?;
        value.ok_or_else(|| self.damaged(format!("`{}` is missing", String::from_utf8_lossy(key))))
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.0.db.cf_handle(name).expect("every family is opened with the folder")
    }

    fn get(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.0.db.get_cf(self.family(family), key).map_err(|error| self.failure(error))
    }

    fn contains(&self, family: &str, key: &[u8]) -> Result<bool, StorageError> {
        let value = self.0.db.get_pinned_cf(self.family(family), key);
        Ok(value.map_err(|error| self.failure(error))?.is_some())
    }

    fn decode<T: Decode>(&self, family: &str, bytes: &[u8]) -> Result<T, StorageError> {
        T::from_bytes(bytes).map_err(|error| self.decoding(family, error))
    }

    fn get_decoded<T: Decode>(&self, family: &str, key: &[u8]) -> Result<Option<T>, StorageError> {
        let value = self.0.db.get_pinned_cf(self.family(family), key);
        let value = value.map_err(|error| self.failure(error))?;
        value.map(|bytes| self.decode(family, &bytes)).transpose()
    }

    /// Whether the reserve is free. Asked at each write: it takes a microsecond,
    /// and nothing has to be kept up to date.
    fn check_reserve(&self) -> Result<(), StorageError> {
        let reserve = self.0.reserve.load(Ordering::Relaxed);
        match self.free_bytes() {
            Ok(free) if free < reserve => Err(StorageError::Full {
                dir: self.0.dir.clone(),
                free,
                detail: format!("{reserve} are kept in reserve"),
            }),
            // A disk that cannot say this has its say about the write itself.
            _ => Ok(()),
        }
    }

    fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), StorageError> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.0.db.write_opt(batch, &options).map_err(|error| self.failure(error))
    }

    fn failure(&self, error: rocksdb::Error) -> StorageError {
        StorageError::of_use(self.0.dir.clone(), error)
    }

    pub(crate) fn damaged(&self, what: String) -> StorageError {
        StorageError::Damaged { dir: self.0.dir.clone(), what }
    }

    fn decoding(&self, family: &str, error: DecodeError) -> StorageError {
        self.damaged(format!("an entry of `{family}`: {error}"))
    }

    fn disagree(
        &self,
        what: &str,
        found: &dyn fmt::Display,
        expected: &dyn fmt::Display,
    ) -> StorageError {
        self.damaged(format!("{what} is {found}, but the rest says {expected}"))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("dir", &self.0.dir)
            .field("height", &self.head().height())
            .finish_non_exhaustive()
    }
}

fn free_bytes(dir: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Makes the folder and syncs the entry that its parent has of it.
fn create_folder(dir: &Path) -> Result<(), StorageError> {
    let unreadable = |error: std::io::Error| StorageError::Unreadable {
        dir: dir.to_path_buf(),
        detail: error.to_string(),
    };
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(unreadable)?;
    let parent = dir.canonicalize().map_err(unreadable)?;
    if let Some(parent) = parent.parent() {
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(unreadable)?;
    }
    Ok(())
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_db_write_buffer_size(WRITE_BUFFERS_SIZE);
    options.set_max_total_wal_size(WRITE_AHEAD_LOG_SIZE_MAX);
    // The executor's writes wait for the outbox's syncs, far longer than spinning pays.
    options.set_enable_write_thread_adaptive_yield(false);
    options.set_max_open_files(512);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(8 << 20);
    options
}

fn family_options(name: &str) -> Options {
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_SIZE / FAMILIES.len()));
    if matches!(name, RECORDS | BY_HASH | PLAIN) {
        tables.set_bloom_filter(10.0, false);
    }
    let mut options = Options::default();
    options.set_write_buffer_size(FAMILY_BUFFER_SIZE);
    options.set_block_based_table_factory(&tables);
    // Hashes and signatures do not compress.
    options.set_compression_type(match name {
        BATCHES | BLOCKS | HEIGHTS | OUTCOMES | RECORDS | INDEX | EVIDENCE | PATTERNS => {
            DBCompressionType::Lz4
        }
        _ => DBCompressionType::None,
    });
    if name == BATCHES {
        options.set_enable_blob_files(true);
        options.set_min_blob_size(BLOB_SIZE_MIN);
        options.set_blob_compression_type(DBCompressionType::Lz4);
    }
    options
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
