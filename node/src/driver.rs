//! The one event loop: inputs to the engine, effects to those who carry them out.
//!
//! ```text
//! network ─▶ inbox (decode, verify) ─▶ ┌────────┐ ─▶ outbox (write, sync, sign, send) ─▶ network
//! API ─▶ submissions ────────────────▶ │ driver │ ─▶ executor (overlays, commits)
//! executor, outbox, fetch ───────────▶ └────────┘ ─▶ fetch (ask peers), heads (gossip)
//! ```
//!
//! The driver's thread owns the replica and waits for nothing but its queue:
//! disk, signatures and network are other threads'. The outbox takes jobs in
//! order and sends nothing of a job before that job is on disk, so a vote that
//! is not durable has no signature. Queues are bounded; when the disk stalls,
//! the outbox's queue fills and the driver waits with it. Only the answers to
//! what the driver itself has asked for (its own messages, executed blocks)
//! come by a queue without a bound of its own, and before all others: whoever
//! works for the driver must never wait for it.

mod fetch;
mod heads;
mod inbox;
mod outbox;
mod seats;
mod waiters;

use crate::executor::{Executor, Job, Report, VERDICTS_SIZE_MAX, Verdicts};
use crate::metrics::Metrics;
use crate::patterns::{self, Pool};
use crate::shared::{
    Committed, Mode, NodeStatus, NotAccepted, Ordered, SUBMISSIONS_MAX, Submission,
};
use crate::storage::{StorageError, Store};
use bizra_consensus::{
    Activation, Alarm, Commit, Effects, Evidence, Input, Now, Replica, ReplicaConfig, Restored,
    StartError, Time,
};
use bizra_gossip::{EventReceiver, Hello, Network, PeerId};
use bizra_keys::KeyRing;
use bizra_types::batch::{BatchHeader, BatchRecord, SignedBatch};
use bizra_types::block::FinalHeader;
use bizra_types::committee::Committee;
use bizra_types::crypto::SignatureMemo;
use bizra_types::genesis::Genesis;
use bizra_types::message::{CommitVote, Vote};
use bizra_types::numbers::{Height, ProtocolVersion, TimestampMs, ValidatorIndex};
use bizra_types::verify::{Chain, Verifier};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use seats::{Eras, Seats};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{broadcast, mpsc, watch};
use waiters::{Waiter, Waiters};

pub(crate) use seats::seat;

/// The oldest version of the protocol that this program knows.
pub const PROTOCOL_VERSION_MIN: ProtocolVersion = ProtocolVersion::new(1);
/// The newest version of the protocol that this program knows.
pub const PROTOCOL_VERSION_MAX: ProtocolVersion = ProtocolVersion::new(1);
/// Inputs that may wait for the engine.
const INPUTS_MAX: usize = 16_384;
/// Jobs that may wait for the disk.
const OUTBOX_JOBS_MAX: usize = 1_024;
/// Good signatures that are remembered.
const SIGNATURE_MEMO_SIZE: usize = 65_536;
/// The driver's state is published at most so often.
const STATUS_INTERVAL: Duration = Duration::from_millis(100);
/// Inputs handled between two looks at the clock for timers and status.
const INPUTS_PER_TURN_MAX: usize = 256;

/// Why a node takes no records while it has no seat.
const NO_SEAT: NotAccepted = NotAccepted::NotAValidator("it is not in the committee");

/// What a node is made of before it runs.
pub struct DriverParts {
    /// The chain.
    pub genesis: Arc<Genesis>,
    /// The node's keys.
    pub keys: Arc<KeyRing>,
    /// The disk.
    pub store: Store,
    /// What the disk held when it was opened.
    pub restored: Restored,
    /// Where committed blocks are announced.
    pub committed: broadcast::Sender<Arc<Committed>>,
    /// Where ordered blocks are announced.
    pub ordered: broadcast::Sender<Arc<Ordered>>,
    /// The network.
    pub network: Network,
    /// What the network hears.
    pub events: EventReceiver,
    /// Records that passed admission.
    pub submissions: mpsc::Receiver<Submission>,
    /// The patterns that the disk held.
    pub patterns: Pool,
    /// What the API asks about patterns.
    pub pattern_asks: mpsc::Receiver<patterns::Ask>,
    /// Where the state is published.
    pub status: watch::Sender<NodeStatus>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// A running driver. It stops when [`Driver::stop`] is called or its disk fails.
pub struct Driver {
    context: Arc<Context>,
    events: Sender<Event>,
    thread: std::thread::JoinHandle<()>,
    outbox: std::thread::JoinHandle<()>,
    patterns: std::thread::JoinHandle<()>,
    inbox: [std::thread::JoinHandle<()>; 2],
}

/// What reaches the driver's thread.
enum Event {
    Input(Box<Input>),
    Submission(Submission),
    /// Somebody was heard, and nothing else has happened since.
    Heard,
    Stop,
}

/// What the driver's helpers share.
struct Context {
    genesis: Arc<Genesis>,
    keys: Arc<KeyRing>,
    store: Store,
    network: Network,
    verifier: Mutex<Verifier>,
    verdicts: Arc<Verdicts>,
    eras: Eras,
    metrics: Arc<Metrics>,
    events: Sender<Event>,
    answers: Sender<Input>,
    /// What height each validator had when its stream opened last.
    hellos: Mutex<BTreeMap<PeerId, Height>>,
    /// Who was heard since the engine was told last, with the round trip if measured.
    heard: Mutex<BTreeMap<PeerId, Option<Duration>>>,
    /// The last certified and the last committed vote: who says the same later
    /// tells nothing new, and its signature is not worth checking.
    decided: Mutex<Decided>,
    disk_unwritable: AtomicBool,
    /// The node ends: what waits for room on the disk waits no longer.
    is_stopping: AtomicBool,
}

/// See [`Context::decided`].
#[derive(Default)]
struct Decided {
    vote: Option<Vote>,
    commit_vote: Option<CommitVote>,
}

impl Driver {
    /// Starts the driver's threads and tasks.
    ///
    /// # Errors
    /// When the engine cannot start from what the disk held.
    ///
    /// # Panics
    /// Outside a tokio runtime, or when the system gives no thread.
    pub fn start(parts: DriverParts) -> Result<Self, StartError> {
        let DriverParts { genesis, keys, store, restored, .. } = parts;
        let (events, queue) = crossbeam_channel::bounded(INPUTS_MAX);
        let (answers, answer_queue) = crossbeam_channel::unbounded();
        let chain = restored.chain(&genesis)?;
        let own_keys = keys.consensus_keys().map(|key| key.public()).collect();
        let eras = Eras::of_chain(&chain, &keys);
        let verifier = Verifier::new(chain, SignatureMemo::new(SIGNATURE_MEMO_SIZE));
        let verdicts = Arc::new(judge(&store, &parts.metrics));
        let context = Arc::new(Context {
            genesis: Arc::clone(&genesis),
            eras,
            keys,
            store,
            network: parts.network,
            verifier: Mutex::new(verifier),
            verdicts,
            metrics: parts.metrics,
            events: events.clone(),
            answers,
            hellos: Mutex::default(),
            heard: Mutex::default(),
            decided: Mutex::default(),
            disk_unwritable: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        });
        let (jobs, outbox_queue) = crossbeam_channel::bounded(OUTBOX_JOBS_MAX);
        let outbox = spawn("outbox", {
            let context = Arc::clone(&context);
            move || outbox::run(&context, &outbox_queue)
        });
        let fetcher = fetch::Fetcher::start(&context);
        let heads = heads::Heads::start(&context);
        let (heard_patterns, patterns) =
            patterns::start(parts.patterns, context.network.clone(), parts.pattern_asks);
        let inbox = inbox::start(&context, parts.events, heads.heard, heard_patterns);
        forward(&context, parts.submissions);
        let executor = Executor::start(
            context.store.clone(),
            &genesis,
            Arc::clone(&context.verdicts),
            parts.committed,
            parts.ordered,
            {
                let context = Arc::clone(&context);
                move |report| on_report(&context, report)
            },
        );

        let clock = Clock::start();
        let version_max = PROTOCOL_VERSION_MAX;
        let config = ReplicaConfig { keys: own_keys, version_max, genesis };
        let own_context = Arc::clone(&context);
        let (replica, effects) = Replica::new(&config, restored, clock.now())?;
        let thread = spawn("driver", move || {
            let mut turn = Loop {
                replica,
                clock,
                seats: context.eras.now(),
                context,
                jobs,
                executor,
                fetcher,
                heads: heads.committed,
                status: parts.status,
                published: Instant::now(),
                waiters: Waiters::default(),
            };
            turn.carry_out(effects);
            turn.run(&answer_queue, &queue);
        });
        Ok(Self { context: own_context, events, thread, outbox, patterns, inbox })
    }

    /// Stops the engine and writes out what is queued, if the disk has room. The
    /// network must have been shut down: it is what the inbox and the patterns wait
    /// for. No thread of the driver has the database open afterwards; one that closed
    /// it while the process ends would find the locks of RocksDB gone, and abort.
    pub fn stop(self) {
        self.context.is_stopping.store(true, Ordering::Relaxed);
        // A full queue means that it is busy; the stop waits its turn.
        let _ = self.events.send(Event::Stop);
        let _ = self.thread.join();
        let _ = self.outbox.join();
        let _ = self.patterns.join();
        for thread in self.inbox {
            let _ = thread.join();
        }
    }
}

/// Who may have direct streams with a node that starts from this chain.
pub(crate) fn stream_peers(chain: &Chain, keys: &KeyRing) -> std::collections::BTreeSet<PeerId> {
    Eras::of_chain(chain, keys).stream_peers()
}

struct Loop {
    replica: Replica,
    clock: Clock,
    /// Those of the era that the replica is in.
    seats: Arc<Seats>,
    context: Arc<Context>,
    jobs: Sender<outbox::Job>,
    executor: Executor,
    fetcher: fetch::Fetcher,
    heads: watch::Sender<Option<Arc<FinalHeader>>>,
    status: watch::Sender<NodeStatus>,
    published: Instant,
    waiters: Waiters,
}

impl Loop {
    fn run(&mut self, answers: &Receiver<Input>, queue: &Receiver<Event>) {
        loop {
            let timer = match self.replica.deadline() {
                Some(deadline) => {
                    let wait = deadline.micros_since(self.clock.now().time);
                    crossbeam_channel::after(Duration::from_micros(wait))
                }
                None => crossbeam_channel::never(),
            };
            let event = crossbeam_channel::select_biased! {
                recv(answers) -> input => input.map(|input| Event::Input(Box::new(input))),
                recv(queue) -> event => event,
                recv(timer) -> _ => Ok(Event::Input(Box::new(Input::Wake))),
            };
            // Before all else: it decides whether a leader counts as silent.
            self.note_heard();
            match event {
                Ok(event) => {
                    if self.handle(event).is_stop() {
                        return;
                    }
                }
                Err(_) => return,
            }
            for _ in 0..INPUTS_PER_TURN_MAX {
                if let Ok(input) = answers.try_recv() {
                    self.step(input);
                } else if let Ok(event) = queue.try_recv() {
                    if self.handle(event).is_stop() {
                        return;
                    }
                } else {
                    break;
                }
            }
            self.publish();
        }
    }

    fn handle(&mut self, event: Event) -> Turn {
        match event {
            Event::Input(input) => self.step(*input),
            Event::Submission(submission) => self.submit(submission),
            Event::Heard => {}
            Event::Stop => return Turn::Stop,
        }
        Turn::GoOn
    }

    fn note_heard(&mut self) {
        let heard = core::mem::take(&mut *self.context.heard());
        for (peer, round_trip) in heard {
            let Some(peer) = self.seats.place(&peer) else { continue };
            let round_trip_micros =
                round_trip.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
            self.step(Input::Heard { peer, round_trip_micros });
        }
    }

    fn step(&mut self, input: Input) {
        let effects = self.replica.step(self.clock.now(), input);
        self.carry_out(effects);
    }

    fn submit(&mut self, submission: Submission) {
        let Submission { bytes, digest, admitted_at_ms, reply } = submission;
        let refusal = if self.seats.me.is_none() {
            Some(NO_SEAT)
        } else if self.context.disk_unwritable.load(Ordering::Relaxed) {
            Some(NotAccepted::DiskUnwritable)
        } else if self.replica.status().is_stopped {
            Some(NotAccepted::NotAValidator("it executed a block differently from the others"))
        } else if !self.replica.can_admit(bytes.len()) {
            Some(NotAccepted::LaneFull)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            let _ = reply.send(Err(refusal));
            return;
        }
        self.waiters.push(Waiter { digest, admitted_at_ms, reply });
        self.step(Input::Record(BatchRecord { admitted_at_ms, bytes }));
    }

    /// Hands effects on, in the order of their fields.
    fn carry_out(&mut self, effects: Effects) {
        self.follow_era(&effects.commit);
        let Effects { persist, send, execute, commit, ask, alarms } = effects;
        if let Some((_, safety)) = persist.safety.last() {
            let vote = safety.high_qc.vote;
            if self.context.decided().vote.replace(vote) != Some(vote) {
                self.executor.submit(Job::Certified(vote.block));
            }
        }
        let in_batches = persist.own_batches.iter().map(|(_, records)| records.len()).sum();
        // After a restart a batch can hold records that nobody waits for.
        let waiters = self.waiters.take(in_batches);
        if self.seats.me.is_none() {
            self.waiters.refuse(NO_SEAT);
        }
        let seats = Arc::clone(&self.seats);
        let evidence = alarms.iter().filter_map(|alarm| match alarm {
            Alarm::Equivocation(evidence) => Some(Evidence::clone(evidence)),
            _ => None,
        });
        let job = outbox::Job { seats, persist, send, waiters, evidence: evidence.collect() };
        if !job.is_empty() && self.jobs.send(job).is_err() {
            // The outbox ends only with the process.
            return;
        }
        for block in execute {
            // The step may have ended the era of the block.
            let seats = self.context.eras.of(block.block.header().era);
            let seats = seats.expect("the engine runs blocks of eras that began here");
            self.executor.submit(Job::Execute(block, Arc::clone(&seats.committee)));
        }
        for commit in commit {
            self.context.decided().commit_vote = Some(commit.cert.vote);
            self.context.metrics.block_committed(
                commit.root.header.height,
                commit.root.epoch.epoch.get(),
                commit.blocks.iter().map(|(block, _)| block.reveals().len()).sum(),
            );
            if let Some(head) = commit.root.final_header() {
                self.heads.send_replace(Some(Arc::new(head)));
            }
            self.executor.submit(Job::Commit(commit));
        }
        for ask in ask {
            self.fetcher.ask(&self.seats, ask);
        }
        for alarm in alarms {
            self.raise(&alarm);
        }
    }

    /// Opens the era to the verifier that the replica has begun with these
    /// commits, and gives everyone the place that it has there.
    fn follow_era(&mut self, commits: &[Commit]) {
        for ended in commits.iter().filter_map(|commit| commit.root.ended()) {
            let (era, opened) = ended.opens();
            let mut verifier = self.context.verifier();
            if verifier.chain().newest() < era {
                verifier.add_era(era, opened);
            }
        }
        let era = self.replica.era();
        if era == self.seats.era {
            return;
        }
        let context = &self.context;
        let committee = Arc::clone(self.replica.committee());
        if let Err(reason) = seat(&committee, &context.keys) {
            tracing::warn!(%era, %reason, "this node has no seat");
        }
        self.seats = Arc::new(Seats::new(era, committee, &context.keys));
        context.eras.begin(Arc::clone(&self.seats));
        context.network.update_validators(context.eras.stream_peers());
        tracing::info!(
            %era,
            validators = self.seats.committee.size(),
            has_seat = self.seats.me.is_some(),
            "an era begins"
        );
    }

    fn raise(&self, alarm: &Alarm) {
        match alarm {
            Alarm::Equivocation(evidence) => {
                self.context.metrics.equivocation();
                let (kind, signer, at) = offence(evidence);
                tracing::error!(
                    kind,
                    signer,
                    at,
                    "a validator signed two things that exclude each other"
                );
            }
            Alarm::Diverged { block, theirs, ours } => {
                self.context.metrics.error("diverged");
                tracing::error!(
                    %block, %theirs, %ours,
                    "a quorum executed this block to another result: this node signs nothing \
                     more; stop it, keep its data folder for the post-mortem, and bring it back \
                     with a rotated key: an empty folder has forgotten what the old one signed"
                );
            }
            Alarm::InvalidCertified { block, rule } => {
                self.context.metrics.error("invalid_certified");
                tracing::error!(%block, rule, "a certified block breaks a rule: signing nothing more");
            }
            Alarm::NoSafetyRecord { era, key } => {
                self.context.metrics.error("no_safety_record");
                tracing::error!(
                    %era, %key,
                    "there is no record of what this validator signed: it signs nothing; rotate \
                     its key"
                );
            }
            Alarm::VersionUnknown(Activation { height, version }) => {
                self.context.metrics.error("version_unknown");
                tracing::error!(
                    %height, %version,
                    "from this height on the chain follows a version of the protocol that this \
                     program does not know: it stops before; install the next release"
                );
            }
            Alarm::KeyUsedElsewhere { view } => {
                self.context.metrics.error("key_used_elsewhere");
                tracing::error!(
                    %view,
                    "this validator's key signed in this view, and not here: either a second \
                     process runs with the same key, or an old data folder was put back; signing \
                     nothing more. Stop one of the two; a key whose record is lost must be rotated"
                );
            }
        }
    }

    fn publish(&mut self) {
        let status = self.replica.status();
        let is_news = self.status.borrow().height != status.height;
        if !is_news && self.published.elapsed() < STATUS_INTERVAL {
            return;
        }
        if is_news {
            let network = &self.context.network;
            let (era, height) = (status.era, status.height);
            network.update_hello(Hello { era, height, ..network.hello() });
        }
        self.published = Instant::now();
        let me = self.seats.me;
        let heard = status.heard.iter().copied().chain(me).collect();
        let mode = match () {
            () if status.is_quorum_heard => Mode::Federated,
            () if status.heard.is_empty() => Mode::Offline,
            () => Mode::LocalOnly,
        };
        let committee = Arc::clone(&self.seats.committee);
        let waiting_for = waiting_for(&status, &committee);
        let synced = {
            let before = self.status.borrow();
            let has_followed = is_news
                && before.mode == Mode::Federated
                && !status.is_behind
                && status.height >= self.context.height_elsewhere();
            status.is_quorum_heard && (before.synced || has_followed)
        };
        let status = NodeStatus {
            committee,
            me,
            era: status.era,
            view: status.view,
            leader: status.leader,
            height: status.height,
            block: status.block,
            exec: status.exec,
            high_qc_view: status.high_qc_view,
            voted: status.voted,
            timed_out: status.timed_out,
            heard,
            peers: self.context.network.connected(),
            mode,
            waiting_for,
            diverged: status.is_stopped,
            disk_unwritable: self.context.disk_unwritable.load(Ordering::Relaxed),
            synced,
            catching_up: status.is_behind,
            lane_bytes: status.lane_bytes,
        };
        self.context.metrics.status(&status);
        self.status.send_replace(status);
    }
}

/// Verdicts on records, which keep a batch that no honest validator makes as evidence.
fn judge(store: &Store, metrics: &Arc<Metrics>) -> Verdicts {
    let (store, metrics) = (store.clone(), Arc::clone(metrics));
    Verdicts::new(store.chain_id(), VERDICTS_SIZE_MAX, move |batch| {
        keep_invalid(&store, &metrics, batch);
    })
}

fn keep_invalid(store: &Store, metrics: &Metrics, batch: &SignedBatch) {
    match store.store_invalid_batch(batch) {
        Ok(true) => {
            metrics.equivocation();
            let BatchHeader { author, lane_seq, .. } = batch.header();
            tracing::error!(
                %author, %lane_seq,
                "a validator signed a batch with a record that no honest one takes"
            );
        }
        Ok(false) => {}
        Err(error) => tracing::error!(%error, "evidence could not be stored"),
    }
}

/// What evidence is of, the validator by its place or key, and where: in which
/// view, or at which place of its lane.
fn offence(evidence: &Evidence) -> (&'static str, String, u64) {
    match evidence {
        Evidence::Votes(vote, _) => ("votes", vote.signer.to_string(), vote.vote.view.get()),
        Evidence::CommitVotes(vote, _) => {
            ("commit_votes", vote.signer.to_string(), vote.vote.view.get())
        }
        Evidence::Timeouts(timeout, _) => {
            ("timeouts", timeout.signer.to_string(), timeout.timeout.view.get())
        }
        Evidence::Proposals(proposal, _) => {
            let header = proposal.block.header();
            ("proposals", header.proposer.to_string(), header.view.get())
        }
        Evidence::Batches(batch, _) => {
            let header = batch.header();
            ("batches", header.author.to_string(), header.lane_seq.get())
        }
        Evidence::HiddenQc(vote, _) => ("hidden_qc", vote.signer.to_string(), vote.vote.view.get()),
        Evidence::OtherExec(vote, _) => {
            ("other_exec", vote.signer.to_string(), vote.vote.view.get())
        }
    }
}

fn waiting_for(status: &bizra_consensus::Status, committee: &Committee) -> String {
    let name = |index: ValidatorIndex| {
        committee.get(index).map_or_else(|| index.to_string(), |member| member.name.clone())
    };
    if status.is_stopped {
        return "an operator: this node signs nothing more".to_owned();
    }
    if !status.is_quorum_heard {
        let heard = status.heard.len() + 1;
        return format!("a quorum: {heard} of the {} needed are heard", committee.quorum());
    }
    if status.is_behind {
        return "final blocks that others have".to_owned();
    }
    match status.leader {
        None => "the block that the highest certificate names".to_owned(),
        Some(leader) if status.voted.is_empty() => format!("a proposal of {}", name(leader)),
        Some(_) => format!("votes: {} of {}", status.voted.len(), committee.quorum()),
    }
}

enum Turn {
    GoOn,
    Stop,
}

impl Turn {
    const fn is_stop(&self) -> bool {
        matches!(self, Self::Stop)
    }
}

impl Context {
    /// Hands the engine the answer to something it asked for; never waits.
    fn answer(&self, input: Input) {
        // The queue closes only when the node stops.
        let _ = self.answers.send(input);
    }

    /// Hands the engine something new; waits while its queue is full. Not for
    /// the threads that the driver itself waits for.
    fn input(&self, input: Input) {
        // The queue closes only when the node stops.
        let _ = self.events.send(Event::Input(Box::new(input)));
    }

    /// Notes that a validator was heard. The engine is told when it next has
    /// something to do, or by [`Self::tell_heard`].
    fn note_heard(&self, peer: PeerId, round_trip: Option<Duration>) {
        let mut heard = self.heard();
        let noted = heard.entry(peer).or_default();
        *noted = round_trip.or(*noted);
    }

    /// Wakes the engine if it was not told yet who was heard.
    fn tell_heard(&self) {
        if !self.heard().is_empty() {
            // A full queue wakes it as well.
            let _ = self.events.try_send(Event::Heard);
        }
    }

    /// A height that at least one honest validator had when it connected. What
    /// waited for us in the others' queues is older.
    fn height_elsewhere(&self) -> Height {
        let seats = self.eras.now();
        let mut heights: Vec<_> = {
            let hellos = self.hellos();
            let members = hellos.iter().filter(|(peer, _)| seats.place(peer).is_some());
            members.map(|(_, height)| *height).collect()
        };
        heights.sort_unstable();
        let place = heights.len().checked_sub(seats.committee.one_honest());
        place.map_or(Height::ZERO, |place| heights[place])
    }

    fn hellos(&self) -> MutexGuard<'_, BTreeMap<PeerId, Height>> {
        self.hellos.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) -> MutexGuard<'_, BTreeMap<PeerId, Option<Duration>>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Self::input`] for what may be lost under overload.
    fn try_input(&self, input: Input) {
        if let Err(TrySendError::Full(_)) = self.events.try_send(Event::Input(Box::new(input))) {
            self.metrics.error("input_queue_full");
        }
    }

    fn decided(&self) -> MutexGuard<'_, Decided> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verifier(&self) -> MutexGuard<'_, Verifier> {
        // A panic inside leaves only the memo half filled, which is harmless.
        self.verifier.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The node's two clocks.
#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn now(self) -> Now {
        let micros = u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now { time: Time::from_micros(micros), wall: wall_clock() }
    }
}

/// Waits for a moment, or for ever.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => core::future::pending().await,
    }
}

/// Milliseconds since the Unix epoch by the system's clock.
#[must_use]
pub fn wall_clock() -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Brings what the executor says to where it belongs.
fn on_report(context: &Context, report: Report) {
    match report {
        Report::Executed { block, exec, decisions } => {
            context.answer(Input::Executed { block, exec, decisions });
        }
        // Those who wait for a record listen on the broadcast channel.
        Report::Committed(_) => {}
        Report::DiskFull(error) => {
            context.metrics.error("disk_full");
            context.disk_unwritable.store(true, Ordering::Relaxed);
            tracing::error!(%error, "final blocks wait for room on the disk");
        }
        Report::DiskWritable => {
            context.disk_unwritable.store(false, Ordering::Relaxed);
            tracing::warn!("the disk has room again");
        }
        Report::Failed(error) => stop_for_good(&error),
        Report::Panicked => {
            tracing::error!("stopping: the executor met a bug of ours; its log says which");
            std::process::exit(1);
        }
    }
}

/// Nobody knows what is on a disk that failed a write: going on could sign
/// something twice.
fn stop_for_good(error: &StorageError) -> ! {
    tracing::error!(%error, "stopping: check the disk, then start the node again");
    std::process::exit(1);
}

/// Brings the API's submissions into the one queue.
fn forward(context: &Arc<Context>, mut submissions: mpsc::Receiver<Submission>) {
    spawn("submissions", {
        let events = context.events.clone();
        move || {
            while let Some(submission) = submissions.blocking_recv() {
                if events.send(Event::Submission(submission)).is_err() {
                    return;
                }
            }
        }
    });
    const { assert!(SUBMISSIONS_MAX <= INPUTS_MAX, "submissions fit into the engine's queue") };
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .expect("the system has room for a node's few threads")
}
