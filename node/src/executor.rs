//! The thread that runs blocks: it owns the ledger's overlays.
//!
//! The driver hands it [`Job`]s in the order in which the engine emitted them
//! and hears [`Report`]s. A block is executed on its parent's overlay, or on
//! what is committed if the parent is the head; a commit flushes overlays
//! through [`Store::commit`] and drops those of forks.
//!
//! After a start there are no overlays: the engine asks again for every block
//! that was not committed, and the execution is a function of blocks and head,
//! so the answers are the same. For the same reason a commit that a crash undid
//! is simply made again.
//!
//! Signatures and schemas of records are checked once, by whoever holds a batch
//! first, in [`Verdicts`]; the executor checks what nobody has checked yet.

use crate::fail::{self, Point};
use crate::shared::{Committed, Ordered};
use crate::storage::{CommittedBlock, StorageError, Store};
use bizra_consensus::{Commit, Decisions, Execute};
use bizra_ledger::codes::Code;
use bizra_ledger::execution::{BlockInput, BlockRecord, Overlay, Parent, execute};
use bizra_ledger::gates::{Verdict, check_records};
use bizra_ledger::log::StorageError as LedgerError;
use bizra_ledger::policy::Policies;
use bizra_types::batch::SignedBatch;
use bizra_types::block::Block;
use bizra_types::committee::Committee;
use bizra_types::genesis::Genesis;
use bizra_types::hash::{BatchDigest, BlockId, ChainId, ExecHash};
use crossbeam_channel::{Receiver, Sender};
use lru::LruCache;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::broadcast;

/// Jobs that may wait. The engine has far fewer uncommitted blocks.
pub const JOBS_MAX: usize = 1_024;
/// Bytes of records whose verdicts are remembered.
pub const VERDICTS_SIZE_MAX: usize = 64 << 20;
/// How long a full disk gets before the same write is tried again.
const FULL_DISK_RETRY: Duration = Duration::from_secs(1);

/// What the executor is asked to do.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a queue of a few moves each job once")]
pub enum Job {
    /// Run a block of the era with this committee; answered by [`Report::Executed`].
    Execute(Execute, Arc<Committee>),
    /// A block has a QC: its records and those of its ancestors are ordered.
    Certified(BlockId),
    /// Flush blocks that were run before; answered by [`Report::Committed`].
    Commit(Commit),
}

/// What the executor has to say, in the order of the jobs.
#[derive(Clone, Debug)]
pub enum Report {
    /// A block was run.
    Executed {
        /// The block.
        block: BlockId,
        /// What it came to.
        exec: ExecHash,
        /// What it changes for the blocks after it.
        decisions: Decisions,
    },
    /// A block is in the store; each once, ascending. Those who listen on the
    /// broadcast channel hear the same.
    Committed(Arc<Committed>),
    /// The disk is full: the executor waits for space and takes no more jobs
    /// until then. Said once per outage.
    DiskFull(StorageError),
    /// The write that the full disk refused went through.
    DiskWritable,
    /// The store failed for good and the thread has ended: the process must stop.
    Failed(StorageError),
    /// The thread has come upon a bug of ours and ended: the process must stop.
    Panicked,
}

/// A running executor. Dropping it ends the thread after the job at hand.
#[derive(Debug)]
pub struct Executor {
    jobs: Option<Sender<Job>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Static verdicts on the records of batches, computed once per node and
/// remembered for the batches that were used last. Shared by all threads.
pub struct Verdicts {
    chain_id: ChainId,
    size_max: usize,
    known: Mutex<Known>,
    on_invalid: Box<dyn Fn(&SignedBatch) + Send + Sync>,
}

struct Known {
    batches: LruCache<BatchDigest, (Arc<[Verdict]>, usize)>,
    size: usize,
}

impl Executor {
    /// Starts the thread. `report` is called on it and must not block for long.
    ///
    /// # Panics
    /// When the system gives no thread.
    #[must_use]
    pub fn start(
        store: Store,
        genesis: &Genesis,
        verdicts: Arc<Verdicts>,
        committed: broadcast::Sender<Arc<Committed>>,
        ordered: broadcast::Sender<Arc<Ordered>>,
        report: impl FnMut(Report) + Send + 'static,
    ) -> Self {
        let (jobs, queue) = crossbeam_channel::bounded(JOBS_MAX);
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let worker = Worker {
            store,
            verdicts,
            policies: Policies::new(genesis.policies.iter().map(|policy| &*policy.rego)),
            committed,
            ordered,
            report: Box::new(report),
            executed: BTreeMap::new(),
            certified: None,
            stopped,
        };
        let thread = thread::Builder::new()
            .name("executor".to_string())
            .spawn(move || worker.run(&queue))
            .expect("the system gives a thread at start");
        Self { jobs: Some(jobs), stop: Some(stop), thread: Some(thread) }
    }

    /// Hands in a job. Blocks only when [`JOBS_MAX`] jobs wait, which happens
    /// only while the disk is full. After [`Report::Failed`] or
    /// [`Report::Panicked`] jobs are ignored.
    pub fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // The thread ends early only with a report why.
            drop(jobs.send(job));
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.stop = None;
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            panic!("the executor thread panicked");
        }
    }
}

impl Verdicts {
    /// An empty memory for a chain, of at most `size_max` bytes of records.
    /// `on_invalid` is told of each batch with a record that no honest validator
    /// takes, when its verdicts are computed; its signature may be anything.
    #[must_use]
    pub fn new(
        chain_id: ChainId,
        size_max: usize,
        on_invalid: impl Fn(&SignedBatch) + Send + Sync + 'static,
    ) -> Self {
        let known = Known { batches: LruCache::unbounded(), size: 0 };
        Self { chain_id, size_max, known: Mutex::new(known), on_invalid: Box::new(on_invalid) }
    }

    /// The verdicts on a batch's records, in their order: remembered, or
    /// computed now, which takes tens of microseconds per record.
    pub fn check_batch(&self, batch: &SignedBatch) -> Arc<[Verdict]> {
        let digest = batch.header().digest(&self.chain_id);
        if let Some((verdicts, _)) = self.known().batches.get(&digest) {
            return Arc::clone(verdicts);
        }
        // Not under the lock: two threads may do the same work, with the same result.
        let records: Vec<_> = batch
            .records()
            .iter()
            .map(|record| (record.admitted_at_ms, &record.bytes[..]))
            .collect();
        let verdicts: Arc<[Verdict]> = check_records(&records, &self.chain_id).into();
        self.remember(digest, Arc::clone(&verdicts), batch.header().records_bytes as usize);
        if verdicts.iter().any(|verdict| verdict.envelope().is_none()) {
            (self.on_invalid)(batch);
        }
        verdicts
    }

    fn remember(&self, digest: BatchDigest, verdicts: Arc<[Verdict]>, size: usize) {
        let mut known = self.known();
        if let Some((_, replaced)) = known.batches.put(digest, (verdicts, size)) {
            known.size -= replaced;
        }
        known.size += size;
        while known.size > self.size_max {
            match known.batches.pop_lru() {
                Some((_, (_, size))) => known.size -= size,
                None => break,
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A block that was run and is not committed.
struct Executed {
    block: Block,
    batches: Vec<Arc<SignedBatch>>,
    verdicts: Vec<Arc<[Verdict]>>,
    overlay: Arc<Overlay>,
    /// Whether it was announced as ordered.
    is_ordered: bool,
}

struct Worker {
    store: Store,
    verdicts: Arc<Verdicts>,
    policies: Policies,
    committed: broadcast::Sender<Arc<Committed>>,
    ordered: broadcast::Sender<Arc<Ordered>>,
    report: Box<dyn FnMut(Report) + Send>,
    executed: BTreeMap<BlockId, Executed>,
    /// The block of the highest QC, which may not have been run yet.
    certified: Option<BlockId>,
    /// Closed when nobody needs the thread any more.
    stopped: Receiver<()>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        if thread::panicking() {
            (self.report)(Report::Panicked);
        }
    }
}

/// Why the thread ends.
enum End {
    Stopped,
    Failed(StorageError),
}

impl Worker {
    fn run(mut self, queue: &Receiver<Job>) {
        for job in queue {
            let done = match job {
                Job::Execute(job, committee) => self.execute(job, &committee),
                Job::Certified(block) => {
                    self.certified = Some(block);
                    self.announce_ordered();
                    Ok(())
                }
                Job::Commit(job) => self.commit(&job),
            };
            match done {
                Ok(()) => {}
                Err(End::Stopped) => return,
                Err(End::Failed(error)) => return (self.report)(Report::Failed(error)),
            }
        }
    }

    fn execute(&mut self, job: Execute, committee: &Committee) -> Result<(), End> {
        let Execute { block, batches } = job;
        let id = block.id();
        if let Some(known) = self.executed.get(&id) {
            let (exec, decisions) = (known.overlay.exec(), known.overlay.decisions().clone());
            (self.report)(Report::Executed { block: id, exec, decisions });
            return Ok(());
        }
        let header = block.header();
        let head = self.store.head();
        if header.height <= head.height() {
            return self.answer_from_store(&block);
        }
        let pending = self.ancestors(header.parent, head.root.header.id());
        let verdicts: Vec<_> = batches.iter().map(|it| self.verdicts.check_batch(it)).collect();
        let overlay = Parent::new(&self.store, pending)
            .and_then(|parent| {
                let policies = &mut self.policies;
                run_block(&parent, &block, &batches, &verdicts, committee, policies)
            })
            .map_err(|error| self.read_failure(error))?;
        let (exec, decisions) = (overlay.exec(), overlay.decisions().clone());
        let overlay = Arc::new(overlay);
        let executed = Executed { block, batches, verdicts, overlay, is_ordered: false };
        self.executed.insert(id, executed);
        (self.report)(Report::Executed { block: id, exec, decisions });
        if self.certified == Some(id) {
            self.announce_ordered();
        }
        Ok(())
    }

    /// Announces the certified block and its ancestors that are not final, each once.
    fn announce_ordered(&mut self) {
        let mut next = self.certified;
        while let Some(executed) = next.and_then(|id| self.executed.get_mut(&id)) {
            if executed.is_ordered {
                return;
            }
            executed.is_ordered = true;
            let header = executed.block.header();
            let outcomes = executed.overlay.outcomes().iter();
            let records = outcomes
                .filter(|outcome| outcome.code == Code::Success)
                .filter_map(|outcome| outcome.digest)
                .collect();
            // Nobody may be listening.
            drop(self.ordered.send(Arc::new(Ordered { height: header.height, records })));
            next = Some(header.parent);
        }
    }

    /// A block at or below the head: final, or of a fork that nobody needs.
    fn answer_from_store(&mut self, block: &Block) -> Result<(), End> {
        let height = block.header().height;
        let known = self.store.block_at(height).map_err(End::Failed)?;
        if known.is_some_and(|known| known.id() == block.id()) {
            let fields = self.store.exec_at(height).map_err(End::Failed)?;
            let exec = fields.expect("a final block has exec fields").hash();
            // The engine has committed it, and builds on what it left already.
            let decisions = Decisions::default();
            (self.report)(Report::Executed { block: block.id(), exec, decisions });
        } else {
            tracing::debug!(%height, block = %block.id(), "not executed: the block is of a fork");
        }
        Ok(())
    }

    /// The overlays from after the head up to `parent`, oldest first.
    fn ancestors(&self, parent: BlockId, head: BlockId) -> Vec<Arc<Overlay>> {
        let mut overlays = Vec::new();
        let mut next = parent;
        while next != head {
            let executed = self.executed.get(&next);
            let executed = executed.unwrap_or_else(|| {
                panic!("block {next} is neither the head nor executed, but has a child to run")
            });
            overlays.push(Arc::clone(&executed.overlay));
            next = executed.block.header().parent;
        }
        overlays.reverse();
        overlays
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), End> {
        let head = self.store.head().height();
        let mut blocks = Vec::with_capacity(commit.blocks.len());
        for (block, exec) in &commit.blocks {
            let height = block.header().height;
            if height <= head {
                let known = self.store.block_at(height).map_err(End::Failed)?;
                assert_eq!(
                    known.map(|known| known.id()),
                    Some(block.id()),
                    "another block is final at height {height}"
                );
                continue;
            }
            let executed = self.executed.get(&block.id());
            let executed =
                executed.unwrap_or_else(|| panic!("block {} was not executed", block.id()));
            assert_eq!(executed.overlay.exec(), *exec, "exec of block {}", block.id());
            blocks.push(CommittedBlock {
                block,
                batches: &executed.batches,
                verdicts: &executed.verdicts,
                overlay: &executed.overlay,
            });
        }
        if blocks.is_empty() {
            return Ok(());
        }
        fail::at(Point::BeforeCommit);
        let mut is_full = false;
        while let Err(error) = self.store.commit(commit, &blocks) {
            if !error.is_full() {
                return Err(End::Failed(error));
            }
            if !is_full {
                (self.report)(Report::DiskFull(error));
                is_full = true;
            }
            if self.stopped.recv_timeout(FULL_DISK_RETRY)
                == Err(crossbeam_channel::RecvTimeoutError::Disconnected)
            {
                return Err(End::Stopped);
            }
        }
        fail::at(Point::AfterCommit);
        if is_full {
            (self.report)(Report::DiskWritable);
        }
        for block in &blocks {
            let committed = Arc::new(committed(block));
            // Nobody may be listening.
            drop(self.committed.send(Arc::clone(&committed)));
            (self.report)(Report::Committed(committed));
        }
        self.drop_forks();
        Ok(())
    }

    /// Keeps what descends from the head and nothing else.
    fn drop_forks(&mut self) {
        let head = self.store.head().root.header.id();
        let mut by_height: Vec<_> = self
            .executed
            .values()
            .map(|executed| {
                let header = executed.block.header();
                (header.height, executed.block.id(), header.parent)
            })
            .collect();
        by_height.sort_unstable();
        let mut alive = BTreeSet::from([head]);
        for (_, id, parent) in by_height {
            if alive.contains(&parent) {
                alive.insert(id);
            }
        }
        alive.remove(&head);
        self.executed.retain(|id, _| alive.contains(id));
    }

    fn read_failure(&self, error: LedgerError) -> End {
        End::Failed(StorageError::Io { dir: self.store.dir().to_path_buf(), detail: error.0 })
    }
}

/// Runs a block on its parent. `verdicts` are those on the records of its batches, `committee` is
/// that of its era.
///
/// # Errors
/// When the ledger under the parent cannot be read.
pub(crate) fn run_block(
    parent: &Parent<'_>,
    block: &Block,
    batches: &[Arc<SignedBatch>],
    verdicts: &[Arc<[Verdict]>],
    committee: &Committee,
    policies: &mut Policies,
) -> Result<Overlay, LedgerError> {
    let records: Vec<BlockRecord> = batches
        .iter()
        .zip(verdicts)
        .flat_map(|(batch, verdicts)| {
            let author = batch.header().author;
            batch.records().iter().zip(verdicts.iter()).map(move |(record, verdict)| {
                let (bytes, verdict) = (Arc::clone(&record.bytes), verdict.clone());
                BlockRecord { author, bytes, verdict }
            })
        })
        .collect();
    let reveals: Vec<_> = block.reveals().iter().map(|reveal| reveal.validator).collect();
    let header = block.header();
    let input = BlockInput {
        height: header.height,
        timestamp: header.timestamp_ms,
        protocol_version: header.protocol_version,
        committee,
        reveals: &reveals,
        records: &records,
    };
    execute(parent, &input, policies)
}

fn committed(committed: &CommittedBlock<'_>) -> Committed {
    let CommittedBlock { block, overlay, .. } = committed;
    let header = block.header();
    let records = overlay
        .outcomes()
        .iter()
        .map(|outcome| (outcome.digest, outcome.code.number(), outcome.log_index))
        .collect();
    Committed {
        height: header.height,
        block: block.id(),
        view: header.view,
        timestamp_ms: header.timestamp_ms,
        proposer: header.proposer,
        records,
    }
}

#[cfg(test)]
mod tests;
