//! The cluster: a queue of events in virtual time, and the course of a run.
//!
//! A run is rounds of faults, healing and proof of life, until enough views
//! and faults have passed. All that happens follows from the options.

use crate::byzantine::{Behaviour, Liar};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::faults::{CrashPoint, Fault, FaultKind, Faults};
use crate::keys::{Keyring, START_MS, VALIDATORS_MAX};
use crate::ledger::{self, CHANGE_BYTES, Change};
use crate::network::{Message, Network, Payload};
use crate::node::Node;
use crate::oracles::{Breach, Checked, Invariant, Oracles};
use crate::rng::Rng;
use crate::trace::{self, Trace};
use crate::wan::Finality;
use bizra_consensus::{Decisions, Input, Root, SafetyRecord};
use bizra_types::batch::BatchRecord;
use bizra_types::certificate::Qc;
use bizra_types::crypto::PublicKey;
use bizra_types::genesis::Parameters;
use bizra_types::hash::{BlockId, ExecHash, Hash};
use bizra_types::message::SignedVote;
use bizra_types::numbers::{Era, View};
use bizra_types::planted::Bug;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Whether this build holds bugs to plant.
pub const HAS_BUGS: bool = cfg!(planted_bugs);
/// Every node tells the others that it lives this often.
const HEARTBEAT_MICROS: u64 = 100_000;
/// Once healed, each step of the proof of life takes at most so long.
///
/// View timers are at most [`VIEW_TIMER_MS_MAX`], clocks were ahead by some
/// seconds and a message was late by at most 20 s.
pub const LIVENESS_MICROS_MAX: u64 = 30_000_000;
/// So long after healing it is known who is dead, and what got lost is there
/// again, in µs.
pub const SETTLING_MICROS: u64 = 1_000_000;
/// The last proof of life of a run goes on until that settled, others so often
/// in a million,
const SETTLED_PER_MILLION: u64 = 100_000;
/// and then for so long, in µs,
const SETTLED_MICROS: u64 = 1_000_000;
/// or for so many heights.
const SETTLED_HEIGHTS: usize = 20;
/// Longest view timer, in ms.
const VIEW_TIMER_MS_MAX: u64 = 4_000;
/// Heights that every living node must commit anew after healing.
const HEIGHTS_AFTER_HEALING: usize = 3;
/// Committees change from runs of this size on: one may fail.
const CHANGING_MIN: usize = 4;
/// Where committees change, parameters do so too in the runs whose seed has this
/// remainder: the others go on finding what they found before there were any.
const PARAMETER_SEEDS: (u64, u64) = (12, 2);
/// Of faults, so many in a million are the one that takes the safety records
/// of the node that is to lose them.
const AMNESIA_PER_MILLION: u64 = 150_000;
/// How long a node without its records is down, in µs.
const AMNESIA_DOWN_MICROS: u64 = 50_000;
/// A record is handed in so often on average. Many records cost much and show
/// little, so that few runs have them.
const RECORD_INTERVALS_MICROS: [u64; 10] =
    [1_000, 5_000, 5_000, 20_000, 20_000, 20_000, 100_000, 100_000, 100_000, 100_000];
/// Between two faults of a run without liars there are about so many records
/// at most.
const RECORDS_PER_FAULT_MAX: u64 = 20;
/// After healing, where nobody lies, a record is handed in so often on average,
/// unless it is rarer in the run.
const RECORD_INTERVAL_MICROS_HEALED: u64 = 20_000;
/// Healthy clocks differ by at most so much.
const SKEW_MICROS_MAX: i64 = 20_000;

/// What to simulate. The same options give the same run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// Size of the committee, 1 to [`VALIDATORS_MAX`].
    pub validators: usize,
    /// The run goes on until so many views have passed.
    pub views_min: u64,
    /// The run goes on until so many faults have been injected; 0 for a healthy run.
    pub faults_min: u64,
    /// The kinds of faults that are drawn; all when empty. Amnesia is of no use
    /// here, and some others need a committee of four.
    pub fault_kinds: Vec<FaultKind>,
    /// How many validators lie. Beyond f the rules may break.
    pub byzantine: usize,
    /// The ways in which each of them lies; drawn for each when empty.
    pub behaviours: Vec<Behaviour>,
    /// Whether committee, version and parameters change on the way, and a node may know no
    /// new version or lose its safety records. Not where validators lie.
    pub changes: bool,
    /// A fault that no node may survive unnoticed, planted to prove the oracles.
    pub sabotage: Option<Sabotage>,
    /// Rules that are not judged, so that a test can look at the ones behind.
    pub muted: Vec<Invariant>,
    /// A known mistake of the engine, in a build with `--cfg planted_bugs`.
    pub bug: Option<Bug>,
    /// Whether every event is kept as a line of text.
    pub is_traced: bool,
}

/// Ways to break the harness on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Messages leave as soon as they are made, synced or not.
    SendBeforeSync,
    /// After a crash the safety record of an earlier start is back.
    ForgetfulDisk,
    /// The network adds changed copies of what is sent, and votes of the era
    /// before as ones of this.
    ForgingNetwork,
    /// One node's ledger comes to other results.
    OtherExec(usize),
    /// One node's batches never reach anybody.
    MuteLane(usize),
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The options' seed.
    pub seed: u64,
    /// The rule that was broken, if one was, and the number of the event.
    pub breach: Option<(Breach, u64)>,
    /// Views that passed.
    pub views: u64,
    /// Heights that were committed.
    pub commits: u64,
    /// Faults that were injected.
    pub faults: u64,
    /// How often each kind really came about. A crash that was injected may
    /// find no occasion before healing.
    pub fault_kinds: BTreeMap<FaultKind, u64>,
    /// Records that became final.
    pub records: u64,
    /// Records that were accepted and cannot become final, because their
    /// validator left and the era after ended.
    pub lapsed: u64,
    /// Events.
    pub events: u64,
    /// Virtual time, in µs.
    pub virtual_micros: u64,
    /// Eras that began.
    pub eras: u64,
    /// Parameters that final blocks have changed.
    pub parameter_changes: u64,
    /// Forgeries and lies that the verifier or a driver refused.
    pub refused: u64,
    /// The validators that lied: each with its behaviours, and how often.
    pub liars: Vec<(usize, Vec<(Behaviour, u64)>)>,
    /// Liars whom an honest node has proven guilty.
    pub named: Vec<usize>,
    /// Once healing has settled, how many views it took from one final block to
    /// the next: the number of blocks by number of views.
    pub view_gaps: BTreeMap<u64, u64>,
    /// The same before that, the first counted from healing.
    pub healing_view_gaps: BTreeMap<u64, u64>,
    /// How long each proof of life took, in µs.
    pub recovery_micros: Vec<u64>,
    /// Alarms, while [`Invariant::NoAlarm`] was muted.
    pub alarms: Vec<String>,
    /// Hash over all events.
    pub trace_hash: Hash,
    /// All events as text, if they were kept.
    pub trace: Vec<String>,
}

/// Something that happens at a virtual time.
#[derive(Debug)]
pub(crate) enum Event {
    Deliver { from: usize, to: usize, message: Arc<Message> },
    Heard { from: usize, to: usize, round_trip_micros: u64 },
    Heartbeat { node: usize },
    Synced { node: usize, incarnation: u32 },
    Executed { node: usize, incarnation: u32, result: Box<(BlockId, ExecHash, Decisions)> },
    Wake { node: usize, incarnation: u32 },
    Record,
    Change,
    Fault { phase: u64 },
    Remedy { id: u64 },
}

#[derive(Debug)]
struct Scheduled {
    at_micros: u64,
    sequence: u64,
    event: Event,
}

/// What ends a fault.
#[derive(Clone, Copy, Debug)]
enum Remedy {
    EndTrouble,
    Restart(usize),
    Resume(usize),
    FastDisk(usize),
    FreeDisk(usize),
    StopDrift(usize),
}

/// The node that does not lie and yet counts among the f, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weakness {
    None,
    /// Its program knows the first version only.
    OldProgram(usize),
    /// Its disk loses the safety records at some time.
    Amnesia(usize),
}

/// The virtual cluster.
pub(crate) struct Cluster {
    pub(crate) options: Options,
    pub(crate) now_micros: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) keyring: Keyring,
    pub(crate) oracles: Oracles,
    pub(crate) rng: Rng,
    pub(crate) sync_micros: u64,
    /// Whether validators publish VRF outputs. In three runs of four they do
    /// not, as in an outage: proofs are real and cost more than all the rest.
    pub(crate) are_reveals_made: bool,
    pub(crate) refused: u64,
    pub(crate) liars: BTreeMap<usize, Liar>,
    pub(crate) weakness: Weakness,
    /// Votes that a forging network keeps for the next era.
    pub(crate) overheard: BTreeMap<(usize, Era, View), SignedVote>,
    /// Draws all that runs with changes have beyond others.
    pub(crate) change_rng: Rng,
    is_changing: bool,
    change_interval_micros: u64,
    /// Whether a record that brings the next version in is still to be made.
    is_version_due: bool,
    are_parameters_due: bool,
    recovery_micros: Vec<u64>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    sequence: u64,
    network: Network,
    faults: Faults,
    faults_injected: u64,
    fault_kinds: BTreeMap<FaultKind, u64>,
    phase: u64,
    remedies: Vec<(u64, Remedy)>,
    remedy_id: u64,
    record_interval_micros: u64,
    record_bytes_max: u64,
    are_records_made: bool,
    /// Since faults ended, until they begin again.
    is_healed: bool,
    /// While time to finality is measured.
    pub(crate) finality: Option<Finality>,
    trace: Trace,
}

/// Runs one seed to its end or its first breach.
///
/// # Panics
/// When a bug is to be planted in a build that holds none.
#[must_use]
pub fn run(options: Options) -> Report {
    assert!(HAS_BUGS || options.bug.is_none(), "bugs need a build with --cfg planted_bugs");
    #[cfg(planted_bugs)]
    bizra_types::planted::plant(options.bug);
    let seed = options.seed;
    let mut cluster = Cluster::new(options, None);
    let result = catch_unwind(AssertUnwindSafe(|| cluster.run()));
    let checked = cluster.oracles.on_end(result);
    Report {
        seed,
        breach: checked.err().map(|breach| (*breach, cluster.trace.events())),
        views: cluster.oracles.views(),
        commits: cluster.oracles.height() as u64,
        faults: cluster.faults_injected,
        fault_kinds: cluster.fault_kinds,
        records: cluster.oracles.finals() as u64,
        lapsed: cluster.oracles.lapsed() as u64,
        events: cluster.trace.events(),
        virtual_micros: cluster.now_micros,
        eras: cluster.keyring.members().newest().get(),
        parameter_changes: cluster.oracles.parameter_changes(),
        refused: cluster.refused,
        liars: cluster.liars.iter().map(|(node, liar)| (*node, liar.lies().collect())).collect(),
        named: cluster.oracles.named().collect(),
        view_gaps: cluster.oracles.view_gaps().clone(),
        healing_view_gaps: cluster.oracles.healing_view_gaps().clone(),
        recovery_micros: cluster.recovery_micros,
        alarms: cluster.oracles.alarms().to_vec(),
        trace_hash: cluster.trace.hash(),
        trace: cluster.trace.take_lines(),
    }
}

impl Options {
    /// A run of this seed with the usual amount of views and faults.
    #[must_use]
    pub const fn new(seed: u64, validators: usize) -> Self {
        Self {
            seed,
            validators,
            views_min: 200,
            faults_min: 20,
            fault_kinds: Vec::new(),
            byzantine: 0,
            behaviours: Vec::new(),
            changes: seed % 3 == 2,
            sabotage: None,
            muted: Vec::new(),
            bug: None,
            is_traced: false,
        }
    }

    /// A run in which a known mistake is planted, and what it takes for that to
    /// show: liars, a committee that changes, a network that forges.
    #[must_use]
    pub fn planted(bug: Bug, seed: u64, validators: usize) -> Self {
        let usual = Self { bug: Some(bug), ..Self::new(seed, validators) };
        let lying = |behaviours: &[Behaviour]| Self {
            byzantine: (validators - 1) / 3,
            behaviours: behaviours.to_vec(),
            ..usual.clone()
        };
        match bug {
            Bug::TcWithoutHighestQc => lying(&[Behaviour::StaleCertificates]),
            Bug::SignatureWithoutView => lying(&[Behaviour::RelabelledCertificates]),
            Bug::EvidenceDropsFirst => lying(&[Behaviour::EquivocatingVoter]),
            Bug::UnboundedFutureViews => lying(&[Behaviour::Flooder]),
            Bug::SignatureWithoutEra => {
                Self { changes: true, sabotage: Some(Sabotage::ForgingNetwork), ..usual }
            }
            Bug::StrandedStragglers
            | Bug::FillerInChain
            | Bug::EraEndsOnQc
            | Bug::EraStartsOnFiller
            | Bug::UnexecutedParent
            | Bug::EndedEraForgotten
            | Bug::AnySafetyRecord => Self { changes: true, ..usual },
            _ => usual,
        }
    }

    /// The command that repeats the run.
    #[must_use]
    pub fn command(&self) -> String {
        let mut command = format!(
            "bizra-sim --seed {} --validators {} --views {} --faults {}",
            self.seed, self.validators, self.views_min, self.faults_min
        );
        if self.byzantine > 0 {
            let _ = write!(command, " --byzantine {}", self.byzantine);
        }
        if let Some(bug) = self.bug {
            let _ = write!(command, " --bug {}", bug.name());
        }
        for behaviour in &self.behaviours {
            let _ = write!(command, " --behaviour {behaviour}");
        }
        for kind in &self.fault_kinds {
            let _ = write!(command, " --fault {kind}");
        }
        if self.is_changing() {
            command.push_str(" --changes true");
        } else {
            command.push_str(" --changes false");
        }
        command
    }

    /// Whether committee and version do change.
    const fn is_changing(&self) -> bool {
        self.changes && self.byzantine == 0 && self.validators >= CHANGING_MIN
    }
}

impl Cluster {
    /// A cluster that does not run yet. Its parameters are drawn unless given.
    pub(crate) fn new(options: Options, parameters: Option<Parameters>) -> Self {
        let Options { seed, validators: size, .. } = options;
        assert!((1..=VALIDATORS_MAX).contains(&size), "a committee of {size}");
        let byzantine = options.byzantine;
        assert!(byzantine <= size, "{byzantine} liars of {size}");
        let liars = Liar::draw(seed, size, byzantine, &options.behaviours);
        let mut rng = Rng::new(seed, "cluster");
        let is_wide = rng.chance(250_000);
        let drawn = Parameters {
            view_timer_ms_min: rng.pick(&[100, 300]),
            view_timer_ms_max: VIEW_TIMER_MS_MAX,
            idle_block_ms: rng.pick(&[200, 1_000]),
            uncommitted_blocks_max: rng.pick(&[4, 8, 64]),
            ..Parameters::default()
        };
        let parameters = parameters.unwrap_or(drawn);
        let is_changing = options.is_changing();
        let keyring = Keyring::new(seed, size, parameters, is_changing);
        let size = keyring.members().nodes();
        let are_liars = liars.keys().copied().collect();
        let oracles = Oracles::new(&keyring, options.muted.clone(), are_liars);
        let mut change_rng = Rng::new(seed, "changes");
        let someone = change_rng.index(options.validators);
        let weakness = match change_rng.below(4) {
            0 if is_changing => Weakness::OldProgram(someone),
            1 if is_changing => Weakness::Amnesia(someone),
            _ => Weakness::None,
        };
        let is_version_due =
            matches!(weakness, Weakness::OldProgram(_)) || change_rng.chance(500_000);
        let change_interval_micros = change_rng.pick(&[200_000, 1_000_000, 4_000_000]);
        let root = Root::genesis(keyring.genesis(), ledger::genesis_exec());
        let root_qc = Qc::root(Era::new(1), root.header.id(), options.validators);
        let fresh = SafetyRecord::new(root_qc, None);
        let nodes = (0..size).map(|node| {
            let drift_ppm = i64::try_from(rng.below(400)).expect("a small number") - 200;
            let clock = Clock::new(0, rng.below(1 << 40), drift_ppm, START_MS, 0);
            let keys = keyring.members().keys(node);
            Node::new(Disk::new(root.clone(), &keys, &fresh), clock, keyring.genesis().chain())
        });
        let nodes = nodes.collect();
        let are_reveals_needed = liars.values().any(Liar::needs_reveals);
        let are_reveals_made = rng.chance(250_000) || are_reveals_needed;
        let sync_micros = rng.pick(&[100, 1_000, 5_000]);
        let per_record = if is_wide { 10 } else { 1 };
        let faults = Faults::new(seed, size, &options.fault_kinds);
        let mut record_interval_micros = per_record * rng.pick(&RECORD_INTERVALS_MICROS);
        if options.faults_min > 0 && liars.is_empty() {
            let least = faults.interval_micros() / RECORDS_PER_FAULT_MAX;
            record_interval_micros = record_interval_micros.max(least);
        }
        let record_bytes_max = rng.pick(&[100, 100, 100, 60_000]);
        Self {
            now_micros: 0,
            nodes,
            keyring,
            oracles,
            rng,
            sync_micros,
            are_reveals_made,
            refused: 0,
            liars,
            weakness,
            overheard: BTreeMap::new(),
            change_rng,
            is_changing,
            change_interval_micros,
            is_version_due,
            are_parameters_due: is_changing && seed % PARAMETER_SEEDS.0 == PARAMETER_SEEDS.1,
            recovery_micros: Vec::new(),
            queue: BinaryHeap::new(),
            sequence: 0,
            network: Network::new(seed, size, is_wide),
            faults,
            faults_injected: 0,
            fault_kinds: BTreeMap::new(),
            phase: 0,
            remedies: Vec::new(),
            remedy_id: 0,
            record_interval_micros,
            record_bytes_max,
            are_records_made: true,
            is_healed: false,
            finality: None,
            trace: Trace::new(options.is_traced),
            options,
        }
    }

    /// Puts an event into the queue.
    pub(crate) fn push(&mut self, delay_micros: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Scheduled {
            at_micros: self.now_micros.saturating_add(delay_micros),
            sequence: self.sequence,
            event,
        }));
    }

    /// Hands a message to the network.
    pub(crate) fn transmit(&mut self, from: usize, to: usize, message: &Arc<Message>, extra: u64) {
        for delay in self.network.route(self.now_micros, from, to).into_iter().flatten() {
            self.push(delay + extra, Event::Deliver { from, to, message: Arc::clone(message) });
        }
    }

    /// A fault has come about: a node dies at this point.
    pub(crate) fn crash(
        &mut self,
        node: usize,
        point: CrashPoint,
        survivors: usize,
        down_micros: u64,
    ) -> Checked {
        self.count(point.kind());
        self.kill_for(node, survivors, down_micros)
    }

    /// Kills a node and has it started again after `down_micros`.
    pub(crate) fn kill_for(&mut self, node: usize, survivors: usize, down_micros: u64) -> Checked {
        self.kill(node, survivors)?;
        self.remedy_after(down_micros, Remedy::Restart(node));
        Ok(())
    }

    // ---- the course of a run ----

    /// Sets the world to be as it is given instead of as it was drawn.
    pub(crate) fn set_out(
        &mut self,
        network: Network,
        sync_micros: u64,
        record_interval_micros: u64,
        record_bytes_max: u64,
    ) {
        self.network = network;
        self.sync_micros = sync_micros;
        self.record_interval_micros = record_interval_micros;
        self.record_bytes_max = record_bytes_max;
    }

    /// From now on nobody hands in records.
    pub(crate) const fn stop_records(&mut self) {
        self.are_records_made = false;
    }

    /// Starts all nodes.
    pub(crate) fn begin(&mut self) -> Checked {
        for node in 0..self.nodes.len() {
            let skew = self.healthy_skew();
            self.nodes[node].clock.set_skew(skew);
            self.push(self.now_micros, Event::Heartbeat { node });
            self.start(node)?;
        }
        self.push(0, Event::Record);
        if self.is_changing {
            self.push(self.change_interval_micros, Event::Change);
        }
        Ok(())
    }

    fn run(&mut self) -> Checked {
        self.begin()?;
        loop {
            if self.options.faults_min > 0 {
                self.faults_phase()?;
                self.heal_phase()?;
            } else {
                let views_min = self.options.views_min;
                let end = self.now_micros + self.options.views_min * 1_000_000;
                self.run_until(end, |cluster| cluster.oracles.views() >= views_min)?;
            }
            self.drain_phase()?;
            if self.is_enough() {
                return Ok(());
            }
        }
    }

    /// Whether it has seen the views and the faults that it was to see.
    fn is_enough(&self) -> bool {
        let Options { views_min, faults_min, .. } = self.options;
        self.oracles.views() >= views_min && self.faults_injected >= faults_min
    }

    fn faults_phase(&mut self) -> Checked {
        self.phase += 1;
        self.is_healed = false;
        self.oracles.on_plagued();
        let phase = self.phase;
        let pause = self.faults.pause_micros();
        self.push(pause, Event::Fault { phase });
        let end = self.now_micros + self.faults.phase_micros();
        self.run_until(end, Self::is_enough)
    }

    /// All faults end, but up to f nodes stay dead for now: the others must go
    /// on without them.
    fn heal_phase(&mut self) -> Checked {
        self.phase += 1;
        self.is_healed = true;
        let dead = self.left_dead();
        self.note_phase(&format!("heal, without {dead:?}"));
        for (id, remedy) in std::mem::take(&mut self.remedies) {
            if !matches!(remedy, Remedy::Restart(node) if dead.contains(&node)) {
                self.apply_remedy(id, remedy)?;
            }
        }
        for node in 0..self.nodes.len() {
            self.nodes[node].armed = None;
            let skew = self.healthy_skew();
            self.nodes[node].clock.set_skew(skew);
        }
        for node in &dead {
            if self.nodes[*node].replica().is_some() {
                let survivors = self.nodes[*node].disk.unsynced();
                self.kill(*node, survivors)?;
            }
        }
        if dead.is_empty() {
            return Ok(());
        }
        let living: Vec<_> = self.reliable().filter(|node| !dead.contains(node)).collect();
        self.expect_progress(&living)?;
        self.note_phase("heal the rest");
        for node in dead {
            self.restart(node)?;
        }
        Ok(())
    }

    /// Whom healing leaves dead at first: together with whoever else fails at
    /// most the f of the first committee, which none after it goes below.
    fn left_dead(&mut self) -> Vec<usize> {
        let mut dead = self.faults.left_dead();
        let failing = self.nodes.len() - self.reliable().count();
        let mut spare = ((self.options.validators - 1) / 3).saturating_sub(failing);
        dead.retain(|node| {
            let is_reliable = self.is_reliable(*node);
            let is_left = !is_reliable || spare > 0;
            spare -= usize::from(is_reliable && is_left);
            is_left
        });
        dead
    }

    /// Whether a node lies.
    pub(crate) fn is_liar(&self, node: usize) -> bool {
        self.liars.contains_key(&node)
    }

    /// Whether a node neither lies nor has another weakness: all of them must
    /// live after healing.
    fn is_reliable(&self, node: usize) -> bool {
        let is_weak = match self.weakness {
            Weakness::None => false,
            Weakness::OldProgram(weak) | Weakness::Amnesia(weak) => weak == node,
        };
        !is_weak && !self.is_liar(node)
    }

    /// Whether a node has a seat in the newest committee.
    fn is_member(&self, node: usize) -> bool {
        let members = self.keyring.members();
        members.seat(members.newest(), node).is_some()
    }

    fn reliable(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|node| self.is_reliable(*node))
    }

    /// All live: all must commit, then members come to rest at one height with
    /// every accepted record final.
    fn drain_phase(&mut self) -> Checked {
        self.note_phase("drain");
        let all: Vec<_> = self.reliable().collect();
        self.expect_progress(&all)?;
        self.are_records_made = false;
        let start = self.oracles.height();
        let is_drained = |cluster: &Self| {
            let height = cluster.oracles.height();
            cluster.oracles.unfinal() == 0
                && all.iter().all(|node| {
                    // Who has no seat hears of some heads only, and of each a while later.
                    let least = if cluster.is_member(*node) { height } else { start };
                    cluster.oracles.height_of(*node) >= least
                })
                && cluster.is_settled()
        };
        let end = self.now_micros + LIVENESS_MICROS_MAX;
        self.run_until(end, is_drained)?;
        self.are_records_made = true;
        if is_drained(self) {
            if !self.is_enough() {
                return Ok(());
            }
            // Who is not at the head is not at rest.
            let height = self.oracles.height();
            let resting = all.iter().filter(|node| self.oracles.height_of(**node) == height);
            let mut replicas =
                resting.filter_map(|node| Some((*node, self.nodes[*node].replica()?)));
            return replicas.try_for_each(|it| self.oracles.on_rest(it.0, it.1));
        }
        let unfinal = self.oracles.unfinal();
        let invariant = if unfinal > 0 { Invariant::AcceptedIsKept } else { Invariant::Liveness };
        self.oracles.breach(invariant, || {
            let (batches, nodes) = (self.oracles.describe_unfinal(), self.describe_nodes());
            format!("{unfinal} accepted records are not final\n{batches}{nodes}")
        })
    }

    /// Whether every reliable member of the newest committee votes in its era,
    /// and a weak node has said what it lacks.
    fn is_settled(&self) -> bool {
        let era = self.keyring.members().newest();
        let mut members = self.reliable().filter(|node| self.is_member(*node));
        let is_aware = match self.weakness {
            Weakness::None => true,
            Weakness::OldProgram(node) => self.oracles.is_aware_of_version(node),
            Weakness::Amnesia(node) => {
                let seat = self.keyring.members().seat(era, node);
                seat.is_none_or(|(_, key)| self.oracles.is_aware_of_amnesia(&key))
            }
        };
        is_aware && (!self.is_changing || members.all(|node| self.oracles.votes_in(node, era)))
    }

    /// [`Invariant::Liveness`]: these nodes commit new heights in time.
    fn expect_progress(&mut self, living: &[usize]) -> Checked {
        let wanted: Vec<_> = living
            .iter()
            .map(|node| (*node, self.oracles.height_of(*node) + HEIGHTS_AFTER_HEALING))
            .collect();
        let is_met = |cluster: &Self| {
            wanted.iter().all(|(node, height)| cluster.oracles.height_of(*node) >= *height)
        };
        let start = self.now_micros;
        self.oracles.on_healed(false);
        self.run_until(start + LIVENESS_MICROS_MAX, is_met)?;
        if is_met(self) {
            self.recovery_micros.push(self.now_micros - start);
            let is_last = self.is_enough() && living.len() == self.reliable().count();
            if is_last || self.rng.chance(SETTLED_PER_MILLION) {
                self.run_until(self.now_micros.max(start + SETTLING_MICROS), |_| false)?;
                self.oracles.on_healed(true);
                let height = self.oracles.height() + SETTLED_HEIGHTS;
                let end = self.now_micros + SETTLED_MICROS;
                self.run_until(end, |cluster| cluster.oracles.height() >= height)?;
            }
            return Ok(());
        }
        self.oracles.breach(Invariant::Liveness, || {
            format!("no progress of {wanted:?}\n{}", self.describe_nodes())
        })
    }

    fn describe_nodes(&self) -> String {
        let lines = self.nodes.iter().enumerate().map(|(number, node)| {
            let height = self.oracles.height_of(number);
            let status = node.replica().map(bizra_consensus::Replica::status);
            format!("node {number} height {height} of {}: {status:?}\n", self.oracles.height())
        });
        lines.collect()
    }

    fn healthy_skew(&mut self) -> i64 {
        let range = u64::try_from(2 * SKEW_MICROS_MAX).expect("a positive number");
        i64::try_from(self.rng.below(range)).expect("a small number") - SKEW_MICROS_MAX
    }

    // ---- events ----

    /// Applies events until a virtual time, or until `is_done`.
    pub(crate) fn run_until(
        &mut self,
        end_micros: u64,
        is_done: impl Fn(&Self) -> bool,
    ) -> Checked {
        while !is_done(self) {
            let next = self.queue.peek().map_or(u64::MAX, |scheduled| scheduled.0.at_micros);
            if next > end_micros {
                self.now_micros = end_micros;
                return Ok(());
            }
            let Reverse(scheduled) = self.queue.pop().expect("just seen");
            self.now_micros = scheduled.at_micros;
            self.apply(scheduled.event)?;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) -> Checked {
        let Some(node) = event.node() else { return self.apply_to_cluster(event) };
        if self.nodes[node].is_paused {
            self.nodes[node].deferred.push(event);
            return Ok(());
        }
        if !self.nodes[node].is_running()
            || event.incarnation().is_some_and(|number| number != self.nodes[node].incarnation)
        {
            return Ok(());
        }
        match event {
            Event::Deliver { from, to, message } => self.deliver(from, to, &message),
            Event::Heard { from, to, round_trip_micros } => {
                self.note(2, to, from as u64, || format!("heard {from}"));
                let round_trip_micros = Some(round_trip_micros);
                let seat = self.keyring.members().seat(self.nodes[to].era(), from);
                let Some((peer, _)) = seat else { return Ok(()) };
                self.step(to, Input::Heard { peer, round_trip_micros })
            }
            Event::Synced { node, .. } => {
                self.note(3, node, 0, || "synced".to_string());
                self.synced(node)
            }
            Event::Executed { node, result, .. } => {
                let (block, exec, decisions) = *result;
                let input = Input::Executed { block, exec, decisions };
                self.note(4, node, trace::fingerprint(&input), || trace::describe(&input));
                self.step(node, input)
            }
            Event::Wake { node, .. } => {
                if !self.is_wake_wanted(node) {
                    return Ok(());
                }
                self.note(5, node, 0, || "wake".to_string());
                self.wake(node)
            }
            Event::Heartbeat { .. }
            | Event::Record
            | Event::Change
            | Event::Fault { .. }
            | Event::Remedy { .. } => {
                unreachable!("events of the cluster are applied apart")
            }
        }
    }

    fn apply_to_cluster(&mut self, event: Event) -> Checked {
        match event {
            Event::Heartbeat { node } => {
                self.push(HEARTBEAT_MICROS, Event::Heartbeat { node });
                self.heartbeat(node);
                if self.is_liar(node) && self.nodes[node].is_running() {
                    self.lie(node, Liar::tick)?;
                }
                Ok(())
            }
            Event::Record => {
                let mut interval = self.record_interval_micros;
                // Liars lie on after healing: there the views are worth their cost.
                if self.is_healed && self.liars.is_empty() {
                    interval = interval.max(RECORD_INTERVAL_MICROS_HEALED);
                }
                let delay = 1 + self.rng.below(2 * interval);
                self.push(delay, Event::Record);
                self.record()
            }
            Event::Change => {
                let delay = 1 + self.change_rng.below(2 * self.change_interval_micros);
                self.push(delay, Event::Change);
                self.change()
            }
            Event::Fault { phase } if phase == self.phase => {
                let pause = self.faults.pause_micros();
                self.push(pause, Event::Fault { phase });
                self.inject()
            }
            Event::Remedy { id } => {
                let found = self.remedies.iter().position(|(other, _)| *other == id);
                let Some(found) = found else { return Ok(()) };
                let (id, remedy) = self.remedies.swap_remove(found);
                self.apply_remedy(id, remedy)
            }
            _ => Ok(()),
        }
    }

    fn deliver(&mut self, from: usize, to: usize, message: &Message) -> Checked {
        match &message.payload {
            Payload::Input(input) => {
                self.note(1, to, message.fingerprint, || {
                    format!("from {from}: {}", trace::describe(input))
                });
                self.hear(from, to, input)
            }
            Payload::Ask(ask) => {
                self.note(6, to, message.fingerprint, || format!("from {from}: {ask:?}"));
                self.answer(to, from, ask);
                Ok(())
            }
            Payload::Answer(inputs) => {
                for input in inputs {
                    self.note(7, to, trace::fingerprint(input), || {
                        format!("answer of {from}: {}", trace::describe(input))
                    });
                    self.hear(from, to, input)?;
                }
                Ok(())
            }
        }
    }

    fn heartbeat(&mut self, node: usize) {
        if !self.nodes[node].is_running() {
            return;
        }
        for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
            for delay in self.network.route(self.now_micros, node, peer).into_iter().flatten() {
                let round_trip_micros = 2 * delay;
                self.push(delay, Event::Heard { from: node, to: peer, round_trip_micros });
            }
        }
    }

    fn record(&mut self) -> Checked {
        if !self.are_records_made {
            return Ok(());
        }
        let node = self.rng.index(self.nodes.len());
        let length = self.rng.between(40, self.record_bytes_max) as usize;
        if self.can_admit(node, length) { self.admit(node, vec![0; length]) } else { Ok(()) }
    }

    /// Hands in a record that changes committee, version or parameters.
    fn change(&mut self) -> Checked {
        let node = self.change_rng.index(self.nodes.len());
        let choice = self.change_rng.next();
        let is_version = self.change_rng.chance(300_000) && self.is_version_due;
        if !self.are_records_made || !self.can_admit(node, CHANGE_BYTES) {
            return Ok(());
        }
        self.is_version_due &= !is_version;
        let change = match choice % 3 {
            _ if is_version => Change::Version,
            0 => Change::Committee,
            _ if self.are_parameters_due => Change::Parameter,
            _ => Change::Committee,
        };
        let mut bytes = vec![0; CHANGE_BYTES];
        ledger::write_change(&mut bytes, change, choice);
        self.admit(node, bytes)
    }

    /// Whether a node takes a record. What a weak one accepts may never be final.
    fn can_admit(&self, node: usize, length: usize) -> bool {
        let this = &self.nodes[node];
        let can_admit = this.replica().is_some_and(|replica| replica.can_admit(length));
        !this.is_paused && can_admit && (self.is_reliable(node) || self.is_liar(node))
    }

    fn admit(&mut self, node: usize, mut bytes: Vec<u8>) -> Checked {
        let number = self.oracles.new_record();
        let length = bytes.len();
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        let admitted_at_ms = self.nodes[node].clock.now(self.now_micros).wall;
        if let Some(finality) = &mut self.finality {
            finality.on_record(number, self.now_micros);
        }
        self.note(8, node, number, || format!("record {number} of {length} bytes"));
        self.step(node, Input::Record(BatchRecord { admitted_at_ms, bytes: bytes.into() }))
    }

    // ---- faults ----

    fn inject(&mut self) -> Checked {
        let running = (0..self.nodes.len()).filter(|node| self.nodes[*node].is_running());
        let mut idle: Vec<_> = running.collect();
        let stopped = self.nodes.len() - idle.len();
        if stopped >= (self.nodes.len() - 1) / 3 {
            idle.clear();
        }
        let Some((kind, fault)) = self.faults.draw(&idle) else { return Ok(()) };
        self.faults_injected += 1;
        // What a crash waits for may not come.
        if !matches!(fault, Fault::Crash(..)) {
            self.count(kind);
        }
        self.note(9, 0, self.faults_injected, || format!("fault: {fault:?}"));
        if let Weakness::Amnesia(node) = self.weakness
            && !self.oracles.is_anybody_amnesiac()
            && self.change_rng.chance(AMNESIA_PER_MILLION)
        {
            self.forget(node)?;
        }
        match fault {
            Fault::Network(trouble, length) => {
                let id = self.remedy_after(length, Remedy::EndTrouble);
                self.network.start(id, trouble);
            }
            Fault::Crash(node, CrashPoint::Now, length) => {
                let survivors = self.rng.index(self.nodes[node].disk.unsynced() + 1);
                self.crash(node, CrashPoint::Now, survivors, length)?;
            }
            Fault::Crash(node, point, length) => self.nodes[node].armed = Some((point, length)),
            Fault::PowerCut(length) => {
                for node in 0..self.nodes.len() {
                    if self.nodes[node].replica().is_some() {
                        let survivors = self.rng.index(self.nodes[node].disk.unsynced() + 1);
                        let length = self.rng.between(length / 2, length);
                        self.kill_for(node, survivors, length)?;
                    }
                }
            }
            Fault::Pause(node, length) => {
                self.nodes[node].is_paused = true;
                self.remedy_after(length, Remedy::Resume(node));
            }
            Fault::ClockJump(node, skew) => self.nodes[node].clock.set_skew(skew),
            Fault::ClockDrift(node, ppm, length) => {
                self.nodes[node].clock.drift(self.now_micros, ppm);
                self.remedy_after(length, Remedy::StopDrift(node));
            }
            Fault::SlowDisk(node, factor, length) => {
                self.nodes[node].sync_factor = factor;
                self.remedy_after(length, Remedy::FastDisk(node));
            }
            Fault::FullDisk(node, length) => {
                self.nodes[node].disk.set_full(true);
                self.remedy_after(length, Remedy::FreeDisk(node));
            }
        }
        Ok(())
    }

    fn count(&mut self, kind: FaultKind) {
        *self.fault_kinds.entry(kind).or_default() += 1;
    }

    /// A node dies, and its disk comes back without safety records: without any,
    /// or without those since some era, as from an export.
    fn forget(&mut self, node: usize) -> Checked {
        self.note(14, node, 0, || "loses its safety records".to_string());
        self.count(FaultKind::Amnesia);
        if self.nodes[node].replica().is_some() {
            let survivors = self.nodes[node].disk.unsynced();
            self.kill_for(node, survivors, AMNESIA_DOWN_MICROS)?;
        }
        let all = self.nodes[node].disk.stored().safety.clone();
        let newest = all.last_key_value().map(|((era, _), _)| *era).unwrap_or_default();
        let from = Era::new(self.change_rng.below(newest.get() + 1));
        let mut kept = all.clone();
        kept.retain(|(era, _), _| *era < from);
        let mut lost = self.keyring.members().keys(node);
        lost.retain(|key| {
            let last = |(era, of): &(Era, PublicKey)| (of == key).then_some(*era);
            all.keys().filter_map(last).max() != kept.keys().filter_map(last).max()
        });
        self.nodes[node].disk.restore_safety(kept);
        self.oracles.on_amnesia(lost);
        Ok(())
    }

    fn remedy_after(&mut self, delay_micros: u64, remedy: Remedy) -> u64 {
        self.remedy_id += 1;
        let id = self.remedy_id;
        self.remedies.push((id, remedy));
        self.push(delay_micros, Event::Remedy { id });
        id
    }

    fn apply_remedy(&mut self, id: u64, remedy: Remedy) -> Checked {
        self.note(10, 0, id, || format!("remedy: {remedy:?}"));
        match remedy {
            Remedy::EndTrouble => self.network.end(id),
            Remedy::Restart(node) => self.restart(node)?,
            Remedy::Resume(node) => {
                self.nodes[node].is_paused = false;
                for event in std::mem::take(&mut self.nodes[node].deferred) {
                    self.push(0, event);
                }
            }
            Remedy::FastDisk(node) => self.nodes[node].sync_factor = 1,
            Remedy::FreeDisk(node) => {
                self.nodes[node].disk.set_full(false);
                self.sync(node);
            }
            Remedy::StopDrift(node) => self.nodes[node].clock.drift(self.now_micros, 0),
        }
        Ok(())
    }

    fn restart(&mut self, node: usize) -> Checked {
        if self.nodes[node].replica().is_some() {
            return Ok(());
        }
        let origin = self.rng.below(1 << 40);
        self.nodes[node].clock.restart(self.now_micros, origin);
        self.start(node)
    }

    fn note(&mut self, kind: u8, node: usize, content: u64, describe: impl FnOnce() -> String) {
        self.trace.note(self.now_micros, kind, node, content, describe);
    }

    /// A liar has lied, so often in all.
    pub(crate) fn note_lies(&mut self, node: usize, lies: u64) {
        self.note(12, node, lies, || format!("has lied {lies} times"));
    }

    fn note_phase(&mut self, text: &str) {
        let phase = self.phase;
        self.note(11, 0, phase, || format!("phase: {text}"));
    }
}

impl Event {
    /// The node whose process it concerns.
    const fn node(&self) -> Option<usize> {
        match self {
            Self::Deliver { to, .. } | Self::Heard { to, .. } => Some(*to),
            Self::Synced { node, .. } | Self::Executed { node, .. } | Self::Wake { node, .. } => {
                Some(*node)
            }
            Self::Heartbeat { .. }
            | Self::Record
            | Self::Change
            | Self::Fault { .. }
            | Self::Remedy { .. } => None,
        }
    }

    /// The process it concerns, when it means nothing to the next.
    const fn incarnation(&self) -> Option<u32> {
        match self {
            Self::Synced { incarnation, .. }
            | Self::Executed { incarnation, .. }
            | Self::Wake { incarnation, .. } => Some(*incarnation),
            _ => None,
        }
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_micros, self.sequence).cmp(&(other.at_micros, other.sequence))
    }
}
