//! The gates of admission, off the async threads.
//!
//! One thread reads submitted texts, as many at once as have come, because
//! signatures are cheaper to verify together. It alone decides whether a digest
//! is new, so two submissions of one record in the same moment are one record
//! with one ticket.

use bizra_ledger::codes::{Code, Rejection};
use bizra_ledger::envelope::Envelope;
use bizra_ledger::execution::Base as _;
use bizra_ledger::gates::{
    Admitted, NONCE_LIFETIME_MS, NonceCache, Submission as Submitted, TIMESTAMP_TOLERANCE_MS,
};
use bizra_ledger::governance::Governance;
use bizra_ledger::identity::Standing;
use bizra_ledger::log::StorageError as LedgerError;
use bizra_ledger::parameters::LedgerParameters;
use bizra_ledger::policy::Policies;
use bizra_types::crypto::PublicKey;
use bizra_types::encoding::Encode as _;
use bizra_types::hash::RecordDigest;
use bizra_types::numbers::{LogIndex, TimestampMs};
use bytes::Bytes;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

use super::ApiError;
use super::pending::{Pending, Progress};
use crate::metrics::RecordOutcome;
use crate::shared::{NotAccepted, Shared, Submission};
use crate::storage::{IndexKey, StorageError, StoredRecord};

/// Texts that may wait for the thread.
const JOBS_MAX: usize = 4_096;
/// Texts whose signatures are verified together.
const BATCH_MAX: usize = 64;
/// Nonces remembered; about 250 bytes each.
const NONCES_MAX: usize = 100_000;
/// Records that are read at once, from the end of the log, to know their nonces.
const PAGE: u64 = 256;
/// The driver has gone away.
const STOPPING: NotAccepted = NotAccepted::NotAValidator("it is stopping");

/// What became of a submitted text.
#[derive(Debug)]
pub(crate) enum Decision {
    /// A gate refused it.
    Rejected(Rejection),
    /// It has been executed.
    Known(RecordDigest, StoredRecord),
    /// It is on its way into the lane, or there already.
    Submitted(RecordDigest, watch::Receiver<Progress>),
    /// The store could not be asked.
    Failed(StorageError),
}

/// There is no room for another text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

/// The door to the thread.
#[derive(Clone, Debug)]
pub(crate) struct Admission(Arc<Door>);

#[derive(Debug)]
struct Door {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Job {
    text: Bytes,
    reply: oneshot::Sender<Decision>,
}

/// What the thread works with.
struct Worker {
    shared: Shared,
    pending: Pending,
    runtime: Handle,
    policies: Policies,
    nonces: NonceCache,
}

impl Admission {
    /// Starts the thread; it ends with the last clone of the door.
    ///
    /// # Errors
    /// When the store cannot be read, or the system has no thread to give.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn start(shared: Shared, pending: Pending) -> Result<Self, ApiError> {
        let (jobs, queue) = mpsc::channel(JOBS_MAX);
        let policies = shared.genesis.policies.iter().map(|policy| &*policy.rego);
        let worker = Worker {
            policies: Policies::new(policies),
            nonces: known_nonces(&shared, &pending, now())?,
            shared,
            pending,
            runtime: Handle::current(),
        };
        let thread = thread::Builder::new().name("admission".to_owned());
        let thread = thread.spawn(move || worker.run(queue)).map_err(ApiError::Thread)?;
        Ok(Self(Arc::new(Door { jobs: Some(jobs), thread: Some(thread) })))
    }

    fn jobs(&self) -> &mpsc::Sender<Job> {
        self.0.jobs.as_ref().expect("taken only when the last clone is dropped")
    }

    /// Hands a text to the gates, if there is room.
    pub(crate) async fn decide(&self, text: Bytes) -> Result<Decision, Busy> {
        let (reply, decision) = oneshot::channel();
        self.jobs().try_send(Job { text, reply }).map_err(|_| Busy)?;
        decision.await.map_err(|_| Busy)
    }

    /// Hands a text to the gates once there is room. Texts are decided in the
    /// order in which this is awaited; the decision comes later.
    pub(crate) async fn enqueue(&self, text: Bytes) -> oneshot::Receiver<Decision> {
        let (reply, decision) = oneshot::channel();
        // Without a thread the receiver finds its sender dropped, and says so.
        drop(self.jobs().send(Job { text, reply }).await);
        decision
    }
}

/// The thread has the database open: whoever lets go of the door waits for it,
/// so that nothing reads while the process ends.
impl Drop for Door {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the admission thread panicked");
        }
    }
}

impl Worker {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(BATCH_MAX);
        while queue.blocking_recv_many(&mut jobs, BATCH_MAX) > 0 {
            let texts: Vec<&[u8]> = jobs.iter().map(|job: &Job| &*job.text).collect();
            let submitted = Submitted::parse_each(&texts, &self.shared.genesis.chain_id());
            // Once for all of them: a block in between would have changed the rules as well
            // a moment later.
            let store = &self.shared.store;
            let plain = |family, key: &[u8]| store.plain(family, key);
            let parameters = Governance::read(plain).and_then(|governance| {
                self.policies.follow(&governance.policies, now(), plain)?;
                LedgerParameters::read(plain)
            });
            for (job, submitted) in jobs.drain(..).zip(submitted) {
                let decision = self.decide(submitted, &parameters);
                if let Decision::Rejected(_) = decision {
                    self.shared.metrics.record(RecordOutcome::Refused);
                }
                // The client may be gone; its record goes its way all the same.
                drop(job.reply.send(decision));
            }
        }
    }

    fn decide(
        &mut self,
        submitted: Result<Submitted, Rejection>,
        parameters: &Result<LedgerParameters, LedgerError>,
    ) -> Decision {
        let submitted = match submitted {
            Ok(submitted) => submitted,
            Err(rejection) => return Decision::Rejected(rejection),
        };
        let digest = submitted.digest();
        // In this order: a record stops being pending only when the store knows it.
        if let Some(pending) = self.pending.get(&digest) {
            return Decision::Submitted(digest, pending.progress);
        }
        match self.shared.store.record(&digest) {
            // A rejected digest is judged afresh when it comes again.
            Ok(Some(record)) if record.outcome.log_index.is_some() => {
                return Decision::Known(digest, record);
            }
            Ok(_) => {}
            Err(error) => return Decision::Failed(error),
        }
        let standing = self.standing(submitted.sender());
        let (parameters, standing) = match (parameters, &standing) {
            (Ok(parameters), Ok(standing)) => (parameters, standing),
            (Err(error), _) | (_, Err(error)) => {
                let detail = format!("cannot be judged here: {error}");
                return Decision::Rejected(Rejection::new(Code::Internal, "", detail));
            }
        };
        let committee = Arc::clone(&self.shared.status.borrow().committee);
        let admitted = submitted.admit(
            now(),
            &mut self.nonces,
            standing,
            &committee,
            parameters,
            &mut self.policies,
        );
        match admitted {
            Ok(admitted) => Decision::Submitted(digest, self.submit(digest, admitted)),
            Err(rejection) => Decision::Rejected(rejection),
        }
    }

    /// What the ledger says of a sender and of this validator, whose lane holds records that are
    /// not charged yet.
    fn standing(&self, sender: PublicKey) -> Result<Standing, LedgerError> {
        let author = self.shared.own_key();
        let waiting_bytes = self.shared.status.borrow().lane_bytes;
        let store = &self.shared.store;
        Standing::read(sender, author, waiting_bytes, |family, key| store.plain(family, key))
    }

    /// Hands a record to the driver and sees to it that its answer reaches
    /// everyone who asked, also when the first client hangs up.
    fn submit(&self, digest: RecordDigest, admitted: Admitted) -> watch::Receiver<Progress> {
        let (reply, answer) = oneshot::channel();
        let (publish, progress) = watch::channel(Progress::Submitted);
        if self.shared.status.borrow().disk_unwritable {
            // The driver says the same, but may itself be waiting for the disk.
            publish.send_replace(Progress::Refused(NotAccepted::DiskUnwritable));
            return progress;
        }
        let Admitted { bytes, admitted_at, .. } = admitted;
        self.pending.insert(digest, Arc::clone(&bytes), progress.clone());
        let submission = Submission { bytes, digest, admitted_at_ms: admitted_at, reply };
        if let Err(error) = self.shared.submissions.try_send(submission) {
            self.pending.remove(&digest);
            publish.send_replace(Progress::Refused(match error {
                TrySendError::Full(_) => NotAccepted::LaneFull,
                TrySendError::Closed(_) => STOPPING,
            }));
            return progress;
        }
        let pending = self.pending.clone();
        let metrics = Arc::clone(&self.shared.metrics);
        self.runtime.spawn(async move {
            match answer.await.unwrap_or(Err(STOPPING)) {
                Ok(ticket) => {
                    metrics.record(RecordOutcome::Accepted);
                    publish.send_replace(Progress::Accepted(Some(ticket)));
                }
                Err(refused) => {
                    pending.remove(&digest);
                    publish.send_replace(Progress::Refused(refused));
                }
            }
        });
        progress
    }
}

/// The nonces that were used before the last stop: every record that was
/// accepted is on disk, pending or in the log, so they need no file of their own.
fn known_nonces(
    shared: &Shared,
    pending: &Pending,
    now: TimestampMs,
) -> Result<NonceCache, StorageError> {
    let mut texts = pending.texts();
    let mut end = shared.store.head().fields.log_size;
    while end > 0 && texts.len() < NONCES_MAX {
        let start = end.saturating_sub(PAGE);
        let indices = LogIndex::new(start)..LogIndex::new(end);
        let mut is_recent = false;
        for (_, digest) in shared.store.search(IndexKey::All, indices, usize::MAX)? {
            let Some(record) = shared.store.record(&digest)? else { continue };
            let admitted = Envelope::parse(&record.bytes)
                .is_ok_and(|(envelope, _)| seen_at(&envelope, now).is_some());
            if admitted {
                is_recent = true;
                texts.push(record.bytes);
            }
        }
        if !is_recent {
            break;
        }
        end = start;
    }
    let mut uses: Vec<(TimestampMs, Envelope)> = texts
        .iter()
        .filter_map(|text| Envelope::parse(text).ok())
        .filter_map(|(envelope, _)| Some((seen_at(&envelope, now)?, envelope)))
        .collect();
    uses.sort_by_key(|(seen_at, _)| *seen_at);
    let mut bytes = Vec::new();
    u32::try_from(uses.len()).expect("bounded by a page and the pending").encode(&mut bytes);
    for (seen_at, envelope) in &uses {
        envelope.sender.public_key.encode(&mut bytes);
        envelope.nonce.encode(&mut bytes);
        envelope.digest.encode(&mut bytes);
        seen_at.encode(&mut bytes);
    }
    Ok(NonceCache::restore(&bytes, NONCES_MAX).expect("the layout is that of the cache"))
}

/// The latest time at which a record can have been admitted, if its nonce still counts.
fn seen_at(envelope: &Envelope, now: TimestampMs) -> Option<TimestampMs> {
    let latest = envelope.timestamp.saturating_add_ms(TIMESTAMP_TOLERANCE_MS).min(now);
    (now.saturating_ms_since(latest) < NONCE_LIFETIME_MS).then_some(latest)
}

/// This node's clock.
pub(crate) fn now() -> TimestampMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs::new(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
