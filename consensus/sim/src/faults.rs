//! What goes wrong, drawn from the seed.

use crate::network::Trouble;
use crate::rng::Rng;
use std::fmt;

/// What can go wrong, as it is drawn and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum FaultKind {
    /// Messages are lost.
    Loss,
    /// Messages come twice.
    Duplication,
    /// Messages come much later than the rest.
    Tail,
    /// Some do not hear each other, or one does not hear the other.
    Cut,
    /// Such a cut comes and goes many times.
    Flapping,
    /// Single directions are slow for long.
    SlowLinks,
    /// A process dies at any time.
    CrashNow,
    /// A process dies before it writes what a step decided.
    CrashBeforeWrite,
    /// A process dies between a write and its sync; the machine does not, so
    /// what was written is there though nobody ever vouched for it.
    CrashBeforeSync,
    /// A machine dies between a write and its sync, and the writes are gone.
    LostWrites,
    /// A machine dies between a write and its sync, and some of the writes are
    /// gone: the log is replayed up to the first damaged entry.
    TornWrites,
    /// A sync fails: the process stops, and what it covered may be there or not.
    FailedSync,
    /// A process dies between a sync and the first message that it covers.
    CrashAfterSync,
    /// A process dies when some messages of a sync have left.
    CrashMidSend,
    /// All machines die at once.
    PowerCut,
    /// A process stands still, as under SIGSTOP: nothing comes from it, nobody
    /// is told, and what is sent to it waits for it.
    Pause,
    /// A wall clock jumps.
    ClockJump,
    /// A wall clock goes too fast or too slowly, and its skew grows.
    ClockDrift,
    /// Syncs of one disk take longer.
    SlowDisk,
    /// A disk takes no writes for a while: the node is silent, not dead.
    FullDisk,
    /// A disk loses the safety records. At most one node of a run does.
    #[value(skip)]
    Amnesia,
}

/// How often each kind is drawn, of 100 draws.
const WEIGHTS: [(FaultKind, u64); 20] = [
    (FaultKind::Loss, 9),
    (FaultKind::Duplication, 7),
    (FaultKind::Tail, 8),
    (FaultKind::Cut, 10),
    (FaultKind::Flapping, 6),
    (FaultKind::SlowLinks, 6),
    (FaultKind::CrashNow, 4),
    (FaultKind::CrashBeforeWrite, 4),
    (FaultKind::CrashBeforeSync, 4),
    (FaultKind::LostWrites, 4),
    (FaultKind::TornWrites, 4),
    (FaultKind::FailedSync, 3),
    (FaultKind::CrashAfterSync, 4),
    (FaultKind::CrashMidSend, 4),
    (FaultKind::PowerCut, 1),
    (FaultKind::Pause, 7),
    (FaultKind::ClockJump, 5),
    (FaultKind::ClockDrift, 4),
    (FaultKind::SlowDisk, 4),
    (FaultKind::FullDisk, 2),
];

/// Where in the driver's order a crash comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CrashPoint {
    /// At once.
    Now,
    /// When a step decided something that must be written.
    BeforeWrite,
    /// When a sync should end.
    Sync(AtSync),
    /// After the next sync, before anything it covers is sent.
    AfterSync,
    /// After the next sync and after some messages have left, but not all.
    MidSend,
}

/// What a crash at the end of a sync leaves of what is written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtSync {
    /// All of it.
    Kept,
    /// Nothing.
    Lost,
    /// Some, when there are several writes.
    Torn,
    /// Nobody knows: the sync itself failed.
    Failed,
}

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// To messages, for so long.
    Network(Trouble, u64),
    /// A process dies at some point and is started again after so long.
    Crash(usize, CrashPoint, u64),
    /// All processes die at once and are started again after about so long.
    PowerCut(u64),
    /// A process stands still for so long and then goes on.
    Pause(usize, u64),
    /// A wall clock jumps to so far ahead or behind.
    ClockJump(usize, i64),
    /// A wall clock gains so many millionths, or loses them, for so long.
    ClockDrift(usize, i64, u64),
    /// Syncs of one disk take so many times as long, for so long.
    SlowDisk(usize, u64, u64),
    /// A disk is full for so long.
    FullDisk(usize, u64),
}

/// How a run is plagued. Durations in µs.
#[derive(Debug)]
pub(crate) struct Faults {
    rng: Rng,
    size: usize,
    /// From one fault to the next, on average.
    interval_micros: u64,
    /// What is drawn, and how often.
    weights: Vec<(FaultKind, u64)>,
}

impl FaultKind {
    /// Whether it stops a node, of which at most f are stopped at a time.
    const fn is_stopping(self) -> bool {
        match self {
            Self::CrashNow
            | Self::CrashBeforeWrite
            | Self::CrashBeforeSync
            | Self::LostWrites
            | Self::TornWrites
            | Self::FailedSync
            | Self::CrashAfterSync
            | Self::CrashMidSend
            | Self::Pause => true,
            Self::Loss
            | Self::Duplication
            | Self::Tail
            | Self::Cut
            | Self::Flapping
            | Self::SlowLinks
            | Self::PowerCut
            | Self::ClockJump
            | Self::ClockDrift
            | Self::SlowDisk
            | Self::FullDisk
            | Self::Amnesia => false,
        }
    }
}

impl fmt::Display for FaultKind {
    /// The name by which the command line knows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match clap::ValueEnum::to_possible_value(self) {
            Some(value) => f.write_str(value.get_name()),
            None => f.write_str("amnesia"),
        }
    }
}

impl CrashPoint {
    /// What such a crash is counted as.
    pub(crate) const fn kind(self) -> FaultKind {
        match self {
            Self::Now => FaultKind::CrashNow,
            Self::BeforeWrite => FaultKind::CrashBeforeWrite,
            Self::Sync(AtSync::Kept) => FaultKind::CrashBeforeSync,
            Self::Sync(AtSync::Lost) => FaultKind::LostWrites,
            Self::Sync(AtSync::Torn) => FaultKind::TornWrites,
            Self::Sync(AtSync::Failed) => FaultKind::FailedSync,
            Self::AfterSync => FaultKind::CrashAfterSync,
            Self::MidSend => FaultKind::CrashMidSend,
        }
    }
}

impl Faults {
    /// The plagues of a seed: of these kinds, of all when there are none.
    pub(crate) fn new(seed: u64, size: usize, kinds: &[FaultKind]) -> Self {
        let mut rng = Rng::new(seed, "faults");
        let interval_micros = rng.pick(&[20_000, 100_000, 100_000, 400_000]);
        let is_drawn = |kind: &FaultKind| kinds.is_empty() || kinds.contains(kind);
        let weights: Vec<_> = WEIGHTS.into_iter().filter(|(kind, _)| is_drawn(kind)).collect();
        assert!(!weights.is_empty(), "none of {kinds:?} can be drawn");
        Self { rng, size, interval_micros, weights }
    }

    /// A fault begins so often on average.
    pub(crate) const fn interval_micros(&self) -> u64 {
        self.interval_micros
    }

    /// How long to wait for the next fault.
    pub(crate) fn pause_micros(&mut self) -> u64 {
        self.rng.below(2 * self.interval_micros) + 1
    }

    /// How long a time of faults lasts.
    pub(crate) fn phase_micros(&mut self) -> u64 {
        self.rng.between(5, 30) * self.interval_micros
    }

    /// Whom a healing leaves dead at first: at most f, often nobody.
    pub(crate) fn left_dead(&mut self) -> Vec<usize> {
        let most = (self.size as u64 - 1) / 3;
        let count = self.rng.below(most + 1);
        let mut dead: Vec<usize> = (0..count).map(|_| self.rng.index(self.size)).collect();
        dead.sort_unstable();
        dead.dedup();
        dead
    }

    /// The next fault, if one is possible. `idle` are the nodes that run and
    /// may be stopped, none when f nodes are stopped already.
    pub(crate) fn draw(&mut self, idle: &[usize]) -> Option<(FaultKind, Fault)> {
        let is_possible = |kind: FaultKind| !idle.is_empty() || !kind.is_stopping();
        let possible: Vec<_> =
            self.weights.iter().copied().filter(|(kind, _)| is_possible(*kind)).collect();
        let total = possible.iter().map(|(_, weight)| weight).sum();
        if total == 0 {
            return None;
        }
        let mut place = self.rng.below(total);
        let chosen = possible.into_iter().find(|(_, weight)| {
            let is_here = place < *weight;
            place = place.saturating_sub(*weight);
            is_here
        });
        let (kind, _) = chosen.expect("below the sum of all weights");
        Some((kind, self.fault(kind, idle)))
    }

    fn fault(&mut self, kind: FaultKind, idle: &[usize]) -> Fault {
        let length = self.duration();
        let node = match kind.is_stopping() {
            true => self.rng.pick(idle),
            false => self.rng.index(self.size),
        };
        let network = |trouble| Fault::Network(trouble, length);
        let crash = |point| Fault::Crash(node, point, length);
        match kind {
            FaultKind::Loss => network(Trouble::Loss(self.rng.between(1, 40) * 10_000)),
            FaultKind::Duplication => {
                network(Trouble::Duplication(self.rng.between(1, 50) * 10_000))
            }
            FaultKind::Tail => network(Trouble::Tail(self.rng.between(1, 50) * 10_000)),
            FaultKind::Cut => network(Trouble::Cut(self.cut())),
            FaultKind::Flapping => {
                let half_period_micros = length / self.rng.between(8, 40) + 1;
                network(Trouble::Flapping { cut: self.cut(), half_period_micros })
            }
            FaultKind::SlowLinks => Fault::Network(Trouble::Slow(self.slow()), 4 * length),
            FaultKind::CrashNow => crash(CrashPoint::Now),
            FaultKind::CrashBeforeWrite => crash(CrashPoint::BeforeWrite),
            FaultKind::CrashBeforeSync => crash(CrashPoint::Sync(AtSync::Kept)),
            FaultKind::LostWrites => crash(CrashPoint::Sync(AtSync::Lost)),
            FaultKind::TornWrites => crash(CrashPoint::Sync(AtSync::Torn)),
            FaultKind::FailedSync => crash(CrashPoint::Sync(AtSync::Failed)),
            FaultKind::CrashAfterSync => crash(CrashPoint::AfterSync),
            FaultKind::CrashMidSend => crash(CrashPoint::MidSend),
            FaultKind::PowerCut => Fault::PowerCut(length),
            FaultKind::Pause => Fault::Pause(node, length),
            FaultKind::ClockJump => Fault::ClockJump(node, self.skew()),
            FaultKind::ClockDrift => {
                let ppm = self.rng.pick(&[1_000, 50_000, 300_000]);
                let ppm = if self.rng.chance(500_000) { -ppm } else { ppm };
                Fault::ClockDrift(node, ppm, 2 * length)
            }
            FaultKind::SlowDisk => Fault::SlowDisk(node, self.rng.between(2, 100), length),
            FaultKind::FullDisk => Fault::FullDisk(node, length),
            FaultKind::Amnesia => unreachable!("it has no weight: the cluster draws it"),
        }
    }

    /// From some ms to some seconds, short ones more often.
    fn duration(&mut self) -> u64 {
        let shift = self.rng.heads(7);
        self.rng.between(5_000, 40_000) << shift
    }

    /// Mostly some tenths of a second, sometimes seconds.
    fn skew(&mut self) -> i64 {
        let most = self.rng.pick(&[100_000, 600_000, 600_000, 3_000_000]);
        let micros = i64::try_from(self.rng.below(most)).expect("a few seconds");
        if self.rng.chance(500_000) { -micros } else { micros }
    }

    /// Two sides that do not hear each other, or single directions that fail.
    fn cut(&mut self) -> Vec<Vec<bool>> {
        let mut cut = vec![vec![false; self.size]; self.size];
        if self.rng.chance(600_000) {
            let sides: Vec<bool> = (0..self.size).map(|_| self.rng.chance(500_000)).collect();
            let one_way = self.rng.chance(250_000);
            for from in 0..self.size {
                for to in 0..self.size {
                    cut[from][to] = sides[from] != sides[to] && !(one_way && sides[from]);
                }
            }
        } else {
            let per_million = self.rng.pick(&[100_000, 300_000]);
            for row in &mut cut {
                for direction in row {
                    *direction = self.rng.chance(per_million);
                }
            }
        }
        cut
    }

    /// What each direction takes longer, in µs: some of them some tenths of a
    /// second, the others nothing.
    fn slow(&mut self) -> Vec<Vec<u64>> {
        let per_million = self.rng.pick(&[100_000, 300_000]);
        let extra = |rng: &mut Rng| match rng.chance(per_million) {
            true => rng.between(20_000, 800_000),
            false => 0,
        };
        let size = self.size;
        (0..size).map(|_| (0..size).map(|_| extra(&mut self.rng)).collect()).collect()
    }
}
