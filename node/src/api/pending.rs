//! Records that were accepted here and are not final yet: their tickets, who
//! waits for them, and how long they take.
//!
//! The store knows a record from the block on in which it was executed; until
//! then it lies in this node's lane, whose bound is this map's bound. One task
//! follows the committed blocks, counts what they hold, takes records out and
//! wakes those who wait. A waiter then reads the store, which the executor
//! writes before it announces a block, so that a wake-up too many does no harm.

use bizra_ledger::codes::Code;
use bizra_ledger::envelope::Envelope;
use bizra_types::batch::SignedTicket;
use bizra_types::hash::RecordDigest;
use bizra_types::numbers::Height;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot, watch};
use tokio::time::Instant;
use tracing::warn;

use crate::metrics::RecordOutcome;
use crate::shared::{Committed, NotAccepted, Ordered, Shared};
use crate::storage::StorageError;

/// The map of pending records. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    records: Arc<Mutex<HashMap<RecordDigest, PendingRecord>>>,
    seats: Arc<Semaphore>,
}

/// Room for one waiter.
#[derive(Debug)]
pub(crate) struct Seat(
    #[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit,
);

/// How far a record has come on its way into the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The driver has it and has not answered.
    Submitted,
    /// It is on disk. Tickets of records that were found on disk at the start
    /// are with their submitters alone.
    Accepted(Option<SignedTicket>),
    /// The driver did not take it.
    Refused(NotAccepted),
}

/// A record between its admission and its block.
#[derive(Debug)]
struct PendingRecord {
    bytes: Arc<[u8]>,
    progress: watch::Receiver<Progress>,
    admitted: Instant,
    /// Height of the block with a QC that it stands in.
    ordered: Option<Height>,
    waiters: Vec<Waiter>,
}

/// Somebody who waits for a record.
#[derive(Debug)]
struct Waiter {
    /// Whether it is enough that the record is ordered.
    for_order: bool,
    wake: oneshot::Sender<()>,
}

/// What is known of a pending record.
#[derive(Clone, Debug)]
pub(crate) struct PendingView {
    /// Canonical bytes of the envelope.
    pub(crate) bytes: Arc<[u8]>,
    /// How far it has come into the lane.
    pub(crate) progress: watch::Receiver<Progress>,
    /// Height of the block with a QC that it stands in.
    pub(crate) ordered: Option<Height>,
}

impl Pending {
    /// Nothing pending; at most `waiters_max` will ever wait at once.
    pub(crate) fn new(waiters_max: usize) -> Self {
        Self { records: Arc::default(), seats: Arc::new(Semaphore::new(waiters_max)) }
    }

    /// Room to wait, if there is any. To be asked for before a record is submitted.
    pub(crate) fn seat(&self) -> Result<Seat, TryAcquireError> {
        Arc::clone(&self.seats).try_acquire_owned().map(Seat)
    }

    /// A record was admitted and goes to the driver. To be called before the
    /// driver has it, because its block may come soon.
    pub(crate) fn insert(
        &self,
        digest: RecordDigest,
        bytes: Arc<[u8]>,
        progress: watch::Receiver<Progress>,
    ) {
        let admitted = Instant::now();
        let record =
            PendingRecord { bytes, progress, admitted, ordered: None, waiters: Vec::new() };
        self.lock().insert(digest, record);
    }

    /// Finds the records that were accepted before the last stop and wait still.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn restore(&self, shared: &Shared) -> Result<(), StorageError> {
        let Some(key) = shared.own_key() else { return Ok(()) };
        for batch in shared.store.restored()?.batches {
            if batch.header().author != key {
                continue;
            }
            for record in batch.records().iter() {
                let Ok(envelope) = Envelope::parse_canonical(&record.bytes) else { continue };
                if shared.store.record(&envelope.digest)?.is_none() {
                    let (_, progress) = watch::channel(Progress::Accepted(None));
                    self.insert(envelope.digest, Arc::clone(&record.bytes), progress);
                }
            }
        }
        Ok(())
    }

    /// Canonical bytes of all pending records.
    pub(crate) fn texts(&self) -> Vec<Arc<[u8]>> {
        self.lock().values().map(|record| Arc::clone(&record.bytes)).collect()
    }

    /// The driver did not take a record.
    pub(crate) fn remove(&self, digest: &RecordDigest) {
        self.lock().remove(digest);
    }

    /// What is known of a record that is pending.
    pub(crate) fn get(&self, digest: &RecordDigest) -> Option<PendingView> {
        let records = self.lock();
        let record = records.get(digest)?;
        Some(PendingView {
            bytes: Arc::clone(&record.bytes),
            progress: record.progress.clone(),
            ordered: record.ordered,
        })
    }

    /// Resolves once the record is no longer pending, or, if that is enough,
    /// once it is ordered: at once when it is so already.
    pub(crate) async fn settled(&self, _seat: &Seat, digest: &RecordDigest, for_order: bool) {
        let woken = match self.lock().get_mut(digest) {
            None => return,
            Some(record) if for_order && record.ordered.is_some() => return,
            Some(record) => {
                let (wake, woken) = oneshot::channel();
                // Those who gave up leave nothing but a closed channel.
                record.waiters.retain(|waiter| !waiter.wake.is_closed());
                record.waiters.push(Waiter { for_order, wake });
                woken
            }
        };
        // The sender is dropped when the wait is over; there is no other message.
        let _ = woken.await;
    }

    /// Follows the ordered and the committed blocks until `shutdown` turns true
    /// or the executor is gone. The receivers are from before the first record
    /// was pending.
    pub(crate) async fn follow(
        self,
        shared: Shared,
        mut ordered: broadcast::Receiver<Arc<Ordered>>,
        mut committed: broadcast::Receiver<Arc<Committed>>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let mut status = shared.status.clone();
        shared.metrics.status(&status.borrow_and_update());
        loop {
            let block = tokio::select! {
                _ = shutdown.wait_for(|ends| *ends) => return,
                changed = status.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    shared.metrics.status(&status.borrow_and_update());
                    continue;
                }
                block = ordered.recv() => match block {
                    Ok(block) => {
                        self.order(&block);
                        continue;
                    }
                    // What was missed is woken by its commit.
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return,
                },
                block = committed.recv() => block,
            };
            let outcome = match block {
                Ok(block) => {
                    self.settle(&shared, &block);
                    count(&shared, &block)
                }
                Err(RecvError::Lagged(blocks)) => {
                    shared.metrics.error("committed_lagged");
                    warn!(blocks, "committed blocks came faster than they could be counted");
                    self.sweep(&shared)
                }
                Err(RecvError::Closed) => return,
            };
            if let Err(error) = outcome {
                shared.metrics.error("storage_read");
                warn!(%error, "a committed block was not counted");
            }
        }
    }

    fn order(&self, block: &Ordered) {
        let mut records = self.lock();
        for digest in &block.records {
            if let Some(record) = records.get_mut(digest) {
                record.ordered = Some(block.height);
                record.waiters.retain(|waiter| !waiter.for_order);
            }
        }
    }

    fn settle(&self, shared: &Shared, block: &Committed) {
        let mut records = self.lock();
        for (digest, code, _) in &block.records {
            let outcome = match Code::from_number(*code) {
                Some(Code::Success) => RecordOutcome::Final,
                Some(Code::Skipped) => RecordOutcome::Skipped,
                _ => RecordOutcome::Rejected,
            };
            shared.metrics.record(outcome);
            // Dropping a record wakes its waiters.
            if let Some(record) = digest.and_then(|digest| records.remove(&digest))
                && outcome == RecordOutcome::Final
            {
                shared.metrics.finality(record.admitted.elapsed());
            }
        }
    }

    /// Takes out whatever was executed in blocks that were not seen.
    fn sweep(&self, shared: &Shared) -> Result<(), StorageError> {
        let digests: Vec<RecordDigest> = self.lock().keys().copied().collect();
        for digest in digests {
            if shared.store.record(&digest)?.is_some() {
                self.lock().remove(&digest);
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RecordDigest, PendingRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts who made a block final, which only the store tells.
fn count(shared: &Shared, block: &Committed) -> Result<(), StorageError> {
    let certificate = shared.store.certificate_at_or_after(block.height)?;
    let own = certificate.filter(|(height, _)| *height == block.height);
    let cert = own.as_ref().and_then(|(_, certificate)| certificate.made_final());
    let signers = cert.into_iter().flat_map(|(_, cert)| cert.signers.iter());
    shared.metrics.certified(block.block, block.height, signers);
    Ok(())
}
