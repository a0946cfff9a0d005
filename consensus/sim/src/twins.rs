//! Twins: validators that exist twice, against every partition of every view.
//!
//! After Bano, Sonnino, Chursin, Perelman, Li, Ching, Malkhi, "Twins: BFT
//! Systems Made Robust" (arXiv 2004.10617): a faulty validator is two instances
//! of the honest one, with one key and separate states. Whatever the two say to
//! different sides of a network that falls apart is what an equivocating
//! validator could say; and because both run the real code, nobody has to think
//! of the lies beforehand. What is enumerated is who has a twin, who leads each
//! view, and who can hear whom in it ([`Space`]).
//!
//! A scenario is played in lock-step, one view after the other. In view v
//!
//! 1. each instance of the leader gets a record of its own, so that the blocks
//!    of twins differ, and their batches; the twins' clocks differ too;
//! 2. messages pass within the sides of the view's partition until there are no
//!    more. What crosses it is lost or, if the scenario says so, late; what is
//!    of a later view waits for that;
//! 3. every instance asks for what it lacks, and repeats what it has to;
//! 4. whoever is still in v, or before it, gets to the end of its timer. Time
//!    stands still for those who went on: their leader has not had its turn.
//!
//! Then the network is whole again, and stays it.
//!
//! Leaders need no door in the engine: a chain begins with any seed of the
//! lottery, and epochs are so long that it stays. So leaders come in the orders
//! that the real schedule draws, in which nobody leads twice within n views from
//! a multiple of n on. The one door is [`Replica::ignore_twin`].
//!
//! **What must hold** is what `oracles.rs` demands where validators lie: the
//! twins are the liars. Agreement, order, certificates and results of commits,
//! one voice and a safety record that only grows for each honest validator,
//! evidence against twins alone, and against each that contradicted itself
//! before one validator. After healing all honest validators commit
//! new blocks, stand at one height, and all that they accepted is final.
//!
//! With more than f twins two chains come about. Then agreement is not to be
//! had, and what is judged is whether the liars are named ([`blame`]).

mod blame;
mod space;

pub use blame::{Judgement, Lie, Trial, blame};
pub use space::{Partition, Scenario, Space};

use crate::disk::{Disk, Write, asked_peer};
use crate::keys::{Keyring, START_MS};
use crate::ledger;
use crate::network::{Message, Payload};
use crate::node::{read_answer, sign};
use crate::oracles::{Breach, Checked, Invariant, Oracles};
use crate::trace::{self, Trace};
use bizra_consensus::{
    Ask, Decisions, Effects, EpochState, Execute, Input, Now, Outgoing, Recipients, Replica,
    ReplicaConfig, Root, SafetyRecord, Send, Time,
};
use bizra_types::batch::BatchRecord;
use bizra_types::certificate::{Certificate, Qc};
use bizra_types::execution::ExecFields;
use bizra_types::genesis::Parameters;
use bizra_types::hash::{BlockId, Hash};
use bizra_types::numbers::{Era, TimestampMs};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Nothing here changes the committee.
const ERA: Era = Era::new(1);
/// View timers: no wait but the next is longer.
const VIEW_TIMER_MS: u64 = 1_000;
/// A leader with nothing to order waits so long.
const IDLE_BLOCK_MS: u64 = 100;
/// Epochs are longer than any scenario: the seed of the leaders stays.
const VRF_EPOCH_MS: u64 = 86_400_000;
/// Time after which cited batches are asked for that did not come, in ms, and
/// before whoever lacks the block to build on gives up its view.
const ASK_MS: u64 = 30;
/// Time after which everything is repeated that has to be, in ms.
const REPEAT_MS: u64 = 200;
/// Chain time between two views.
const VIEW_MS: u64 = 1_000;
/// How far the clock of the second instance of a key is ahead.
const TWIN_AHEAD_MS: u64 = 50;
/// Timers that an instance may take to leave one view or time it out: one that
/// starts late, and one that runs.
const TIMERS_PER_VIEW: usize = 2;
/// Messages that may pass before a view comes to rest.
const MESSAGES_MAX: usize = 50_000;
/// Heights that every honest validator must commit anew after healing.
const HEIGHTS_AFTER_HEALING: usize = 2;
/// Repetitions that healing may take: 20 s, as much as twenty views that are lost.
const HEALING_ROUNDS_MAX: usize = 100;
/// Bytes of a record: its number, and something to carry.
const RECORD_BYTES: usize = 40;

/// What came of a scenario.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The rule that was broken, if one was.
    pub breach: Option<Breach>,
    /// Heights that were final before healing.
    pub commits: u64,
    /// Twins whom an honest validator has proven guilty.
    pub named: u64,
    /// Messages that were delivered.
    pub events: u64,
    /// Hash over all events.
    pub trace_hash: Hash,
    /// All events as text, if they were kept.
    pub trace: Vec<String>,
}

/// Plays a scenario to its end or its first breach. `is_traced` keeps every
/// event as a line of text.
#[must_use]
pub fn play(scenario: &Scenario, is_traced: bool) -> Outcome {
    let mut stage = Stage::new(scenario, is_traced, &[]);
    let result = catch_unwind(AssertUnwindSafe(|| stage.play()));
    Outcome {
        breach: stage.oracles.on_end(result).err().map(|breach| *breach),
        commits: stage.commits,
        named: stage.oracles.named().count() as u64,
        events: stage.trace.events(),
        trace_hash: stage.trace.hash(),
        trace: stage.trace.take_lines(),
    }
}

/// One process: a validator, or one of two that share its key.
#[derive(Debug)]
struct Instance {
    identity: usize,
    replica: Replica,
    disk: Disk,
    execs: BTreeMap<BlockId, ExecFields>,
    time: Time,
    clock_ahead_ms: u64,
}

/// A message on its way between two instances.
#[derive(Debug)]
struct Flight {
    from: usize,
    to: usize,
    message: Arc<Message>,
}

struct Stage<'a> {
    scenario: &'a Scenario,
    keyring: Keyring,
    oracles: Oracles,
    may_fork: bool,
    trace: Trace,
    instances: Vec<Instance>,
    flights: VecDeque<Flight>,
    /// Messages of views that have not had their turn, and late ones.
    waiting: Vec<Flight>,
    /// The view that is played, from 1 on; none once the network is whole.
    view: Option<usize>,
    wall_ms: u64,
    commits: u64,
}

impl<'a> Stage<'a> {
    /// A stage on which some rules are not judged. Without agreement there is
    /// no common chain to judge commits by, so none is.
    fn new(scenario: &'a Scenario, is_traced: bool, muted: &[Invariant]) -> Self {
        let parameters = Parameters {
            view_timer_ms_min: VIEW_TIMER_MS,
            view_timer_ms_max: VIEW_TIMER_MS,
            idle_block_ms: IDLE_BLOCK_MS,
            vrf_epoch_ms: VRF_EPOCH_MS,
            ..Parameters::default()
        };
        let keyring = Keyring::new(0, scenario.validators(), parameters, false);
        let twins = scenario.twins().iter().copied().collect();
        let oracles = Oracles::new(&keyring, muted.to_vec(), twins);
        Self {
            scenario,
            keyring,
            oracles,
            may_fork: muted.contains(&Invariant::Agreement),
            trace: Trace::new(is_traced),
            instances: Vec::new(),
            flights: VecDeque::new(),
            waiting: Vec::new(),
            view: Some(1),
            wall_ms: START_MS.get() + VIEW_MS,
            commits: 0,
        }
    }

    // ---- the course of a scenario ----

    fn play(&mut self) -> Checked {
        self.play_views()?;
        self.commits = self.oracles.height() as u64;
        self.heal()
    }

    fn play_views(&mut self) -> Checked {
        for number in 0..self.scenario.instances() {
            self.start(number)?;
        }
        for view in 1..=self.scenario.views() {
            self.play_view(view)?;
        }
        Ok(())
    }

    fn start(&mut self, number: usize) -> Checked {
        let identity = self.scenario.identity(number);
        let genesis = Arc::clone(self.keyring.genesis());
        let usual = Root::genesis(&genesis, ledger::genesis_exec());
        let epoch = EpochState { seed: self.scenario.seed(), ..usual.epoch };
        let root = Root { epoch, ..usual };
        let root_qc = Qc::root(ERA, root.header.id(), self.scenario.validators());
        let keys = self.keyring.members().keys(identity);
        let disk = Disk::new(root.clone(), &keys, &SafetyRecord::new(root_qc, None));
        let restored = disk.stored().restored(&mut |_, _| unreachable!("the disk is new"));
        self.oracles.on_start(identity, disk.stored());
        let config = ReplicaConfig { keys, version_max: genesis.protocol_version, genesis };
        let is_second = number >= self.scenario.validators();
        let clock_ahead_ms = if is_second { TWIN_AHEAD_MS } else { 0 };
        let time = Time::default();
        let wall = self.wall(clock_ahead_ms);
        let (mut replica, effects) =
            Replica::new(&config, restored, Now { time, wall }).expect("there is but one era");
        if self.scenario.twins().contains(&identity) {
            replica.ignore_twin();
        }
        let execs = BTreeMap::from([(root.header.id(), ledger::genesis_fields())]);
        self.instances.push(Instance { identity, replica, disk, execs, time, clock_ahead_ms });
        self.carry_out(number, effects)
    }

    fn play_view(&mut self, view: usize) -> Checked {
        self.view = Some(view);
        self.wall_ms += VIEW_MS;
        self.note(11, 0, view as u64, || format!("view {view}"));
        let leader = self.scenario.leader(view);
        for number in 0..self.instances.len() {
            if self.instances[number].identity == leader {
                self.admit(number)?;
            }
        }
        for flight in std::mem::take(&mut self.waiting) {
            self.dispatch(flight);
        }
        self.deliver()?;
        for ms in [ASK_MS, REPEAT_MS] {
            for number in 0..self.instances.len() {
                self.wait(number, ms)?;
            }
            self.deliver()?;
        }
        // Whoever is behind may catch up view by view.
        for _ in 0..=TIMERS_PER_VIEW * view {
            let late: Vec<_> =
                (0..self.instances.len()).filter(|number| self.is_late(*number, view)).collect();
            if late.is_empty() {
                return Ok(());
            }
            for number in late {
                self.wait(number, VIEW_TIMER_MS)?;
            }
            self.deliver()?;
        }
        self.oracles.breach(Invariant::Liveness, || {
            format!("somebody neither leaves view {view} nor times it out\n{}", self.describe())
        })
    }

    /// Whether an instance is in this view or before it and does not want to
    /// leave. Whoever does can only wait for others.
    fn is_late(&self, number: usize, view: usize) -> bool {
        let Instance { identity, disk, .. } = &self.instances[number];
        let (_, key) = self.keyring.members().seat(ERA, *identity).expect("a member");
        let record = &disk.stored().safety[&(ERA, key)];
        let left = record.last_timeout.as_ref().map(|(timeout, _)| timeout.view);
        record.current_view.get() <= view as u64 && left != Some(record.current_view)
    }

    /// The network is whole: honest validators commit anew, and everything that
    /// they accepted becomes final everywhere.
    fn heal(&mut self) -> Checked {
        self.view = None;
        self.note(11, 0, 0, || "the network is whole".to_string());
        self.oracles.on_healed(false);
        self.flights.extend(std::mem::take(&mut self.waiting));
        let honest = self.scenario.honest();
        let goal = self.oracles.height() + HEIGHTS_AFTER_HEALING;
        for round in 0..HEALING_ROUNDS_MAX {
            self.deliver()?;
            let lowest = honest.iter().map(|number| self.oracles.height_of(*number)).min();
            let is_high = lowest.is_none_or(|lowest| lowest >= goal);
            let is_level = lowest.is_none_or(|lowest| lowest == self.oracles.height());
            if is_high && is_level && self.oracles.unfinal() == 0 {
                return Ok(());
            }
            if !is_high {
                self.admit(honest[round % honest.len()])?;
            }
            self.repeat()?;
        }
        self.oracles.breach(Invariant::Liveness, || {
            format!(
                "height {goal} was to be reached, and {} records are not final\n{}{}",
                self.oracles.unfinal(),
                self.oracles.describe_unfinal(),
                self.describe()
            )
        })
    }

    /// Time passes until everybody repeats what it has to.
    fn repeat(&mut self) -> Checked {
        self.wall_ms += REPEAT_MS;
        for number in 0..self.instances.len() {
            self.wait(number, REPEAT_MS)?;
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let lines = self.instances.iter().enumerate().map(|(number, instance)| {
            let status = instance.replica.status();
            format!("instance {number} of {}: {status:?}\n", instance.identity)
        });
        lines.collect()
    }

    // ---- what happens to an instance ----

    /// Hands in a record, if there is room.
    fn admit(&mut self, number: usize) -> Checked {
        let this = &self.instances[number];
        if !this.replica.can_admit(RECORD_BYTES) {
            return Ok(());
        }
        let record = self.oracles.new_record();
        let mut bytes = vec![0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&record.to_le_bytes());
        let admitted_at_ms = self.wall(this.clock_ahead_ms);
        self.note(8, number, record, || format!("record {record}"));
        self.step(number, Input::Record(BatchRecord { admitted_at_ms, bytes: bytes.into() }))
    }

    /// Lets time pass for an instance.
    fn wait(&mut self, number: usize, ms: u64) -> Checked {
        let time = &mut self.instances[number].time;
        *time = time.plus_ms(ms);
        self.note(5, number, ms, || format!("{ms} ms pass"));
        self.step(number, Input::Wake)
    }

    fn wall(&self, ahead_ms: u64) -> TimestampMs {
        TimestampMs::new(self.wall_ms + ahead_ms)
    }

    fn step(&mut self, number: usize, input: Input) -> Checked {
        let wall = self.wall(self.instances[number].clock_ahead_ms);
        let this = &mut self.instances[number];
        let effects = this.replica.step(Now { time: this.time, wall }, input);
        self.carry_out(number, effects)
    }

    /// Carries out effects in the order of their fields; a sync takes no time.
    fn carry_out(&mut self, number: usize, effects: Effects) -> Checked {
        let Effects { persist, send, execute, commit, ask, alarms } = effects;
        let this = &mut self.instances[number];
        let node = this.identity;
        for (key, safety) in &persist.safety {
            self.oracles.on_safety(node, *key, safety)?;
        }
        if !persist.is_empty() {
            this.disk.write(Write::Persist(persist));
        }
        for commit in commit {
            if !self.may_fork {
                self.oracles.on_commit(node, &commit)?;
            }
            this.disk.write(Write::Commit(Box::new(commit)));
        }
        for alarm in &alarms {
            self.oracles.on_alarm(node, alarm)?;
        }
        if this.disk.start_sync() {
            for (header, records) in this.disk.finish_sync() {
                let batch = self.keyring.sign_batch(header, records);
                self.oracles.on_accepted(Arc::new(batch))?;
            }
        }
        for send in send {
            self.send(number, send)?;
        }
        for ask in ask {
            let peer = usize::from(asked_peer(&ask).get());
            let message = Arc::new(Message::of_ask(ask));
            self.transmit(number, |identity| identity == peer, &message);
        }
        for execute in execute {
            let input = self.execute(number, &execute);
            self.step(number, input)?;
        }
        Ok(())
    }

    fn execute(&mut self, number: usize, execute: &Execute) -> Input {
        let execs = &mut self.instances[number].execs;
        let block = execute.block.id();
        let header = execute.block.header();
        let parent = execs[&header.parent].hash();
        let fields = ledger::fields(parent, header.height, &execute.batches);
        execs.insert(block, fields);
        Input::Executed { block, exec: fields.hash(), decisions: Decisions::default() }
    }

    // ---- what passes between them ----

    fn send(&mut self, number: usize, send: Send) -> Checked {
        // VRF outputs stay away: proofs are real, and cost more than all the rest.
        if matches!(send.message, Outgoing::Reveal(_)) {
            return Ok(());
        }
        let node = self.instances[number].identity;
        let chain_id = self.keyring.chain_id();
        let signed = sign(&mut self.keyring, node, ERA, send.message, chain_id);
        let input = match signed.expect("everybody is a member") {
            Ok(input) => input,
            Err(fault) => {
                return self.oracles.breach(Invariant::WellFormed, || {
                    format!("instance {number} sends what peers refuse: {fault}")
                });
            }
        };
        self.oracles.on_sent(node, &input, &self.instances[number].disk)?;
        let message = Arc::new(Message::of(input));
        match send.to {
            Recipients::All => {
                self.dispatch(Flight { from: number, to: number, message: Arc::clone(&message) });
                self.transmit(number, |_| true, &message);
            }
            Recipients::One(place) => {
                self.transmit(number, |identity| identity == usize::from(place.get()), &message);
            }
            Recipients::Former(_) => unreachable!("the committee never changes"),
        }
        Ok(())
    }

    /// Sends to all other instances of these validators.
    fn transmit(&mut self, from: usize, is_for: impl Fn(usize) -> bool, message: &Arc<Message>) {
        for to in 0..self.scenario.instances() {
            if to != from && is_for(self.scenario.identity(to)) {
                self.dispatch(Flight { from, to, message: Arc::clone(message) });
            }
        }
    }

    /// What is of a later view waits, what crosses the partition is lost or late.
    fn dispatch(&mut self, flight: Flight) {
        let Flight { from, to, ref message } = flight;
        let Some(view) = self.view.filter(|_| from != to) else {
            return self.flights.push_back(flight);
        };
        let is_early = view_of(message) > view as u64;
        if !is_early && self.scenario.are_together(view, from, to) {
            self.flights.push_back(flight);
        } else if is_early || self.scenario.is_late() {
            self.waiting.push(flight);
        }
    }

    /// Delivers until nothing is on its way.
    fn deliver(&mut self) -> Checked {
        let end = self.trace.events() + MESSAGES_MAX as u64;
        while let Some(Flight { from, to, message }) = self.flights.pop_front() {
            match &message.payload {
                Payload::Input(input) => {
                    self.note(1, to, message.fingerprint, || {
                        format!("from {from}: {}", trace::describe(input))
                    });
                    self.hear(to, input)?;
                }
                Payload::Ask(ask) => {
                    self.note(6, to, message.fingerprint, || format!("from {from}: {ask:?}"));
                    self.answer(to, from, ask);
                }
                Payload::Answer(inputs) => {
                    for input in inputs {
                        self.note(7, to, trace::fingerprint(input), || {
                            format!("answer of {from}: {}", trace::describe(input))
                        });
                        self.hear(to, input)?;
                    }
                }
            }
            if self.trace.events() > end {
                return self.oracles.breach(Invariant::Bounded, || {
                    format!("more than {MESSAGES_MAX} messages in a moment\n{}", self.describe())
                });
            }
        }
        Ok(())
    }

    fn hear(&mut self, number: usize, input: &Input) -> Checked {
        self.step(number, input.clone())?;
        self.oracles.on_heard(self.instances[number].identity, input)
    }

    fn answer(&mut self, number: usize, asker: usize, ask: &Ask) {
        let stored = self.instances[number].disk.stored();
        let inputs = read_answer(&mut self.keyring, stored, ask);
        if !inputs.is_empty() {
            let message = Arc::new(Message::answer(inputs));
            self.dispatch(Flight { from: number, to: asker, message });
        }
    }

    fn note(&mut self, kind: u8, number: usize, content: u64, describe: impl FnOnce() -> String) {
        let since_start = self.wall_ms - START_MS.get();
        self.trace.note(since_start * 1_000, kind, number, content, describe);
    }
}

/// The view that a message is about; 0 if it is about none.
fn view_of(message: &Message) -> u64 {
    let Payload::Input(input) = &message.payload else { return 0 };
    let view = match &**input {
        Input::Proposal(it) => it.get().block.header().view,
        Input::Vote(it) => it.get().vote.view,
        Input::CommitVote(it) => it.get().vote.view,
        Input::Timeout(it) => it.get().timeout.view,
        Input::Certificate(it) => match it.get() {
            Certificate::Qc(qc) => qc.vote.view,
            Certificate::Tc(tc) => tc.view,
            Certificate::Commit(cert) | Certificate::Filler(cert, _) => cert.vote.view,
        },
        _ => return 0,
    };
    view.get()
}
