//! What goes wrong, drawn from the seed.

use crate::network::Trouble;
use crate::rng::Rng;

/// Where in the driver's order a crash comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CrashPoint {
    /// At once.
    Now,
    /// When the next sync should end: some of its writes are on disk, some not.
    BeforeSync,
    /// After the next sync, before anything it covers is sent.
    AfterSync,
    /// After the next sync and after some messages have left, but not all.
    MidSend,
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
    /// Syncs of one disk take so many times as long, for so long.
    SlowDisk(usize, u64, u64),
}

/// How a run is plagued. Durations in µs.
#[derive(Debug)]
pub(crate) struct Faults {
    rng: Rng,
    size: usize,
    /// From one fault to the next, on average.
    interval_micros: u64,
}

impl Faults {
    /// The plagues of a seed.
    pub(crate) fn new(seed: u64, size: usize) -> Self {
        let mut rng = Rng::new(seed, "faults");
        let interval_micros = rng.pick(&[20_000, 100_000, 400_000]);
        Self { rng, size, interval_micros }
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

    /// The next fault. `idle` are the nodes that run and may be stopped, none
    /// when f nodes are stopped already.
    pub(crate) fn draw(&mut self, idle: &[usize]) -> Fault {
        let length = self.duration();
        let anyone = self.rng.index(self.size);
        match self.rng.below(100) {
            0..10 => Fault::Network(Trouble::Loss(self.rng.between(1, 40) * 10_000), length),
            10..18 => {
                Fault::Network(Trouble::Duplication(self.rng.between(1, 50) * 10_000), length)
            }
            18..28 => Fault::Network(Trouble::Tail(self.rng.between(1, 50) * 10_000), length),
            28..44 => Fault::Network(Trouble::Cut(self.cut()), length),
            44..72 if !idle.is_empty() => {
                let point = self.rng.pick(&[
                    CrashPoint::Now,
                    CrashPoint::BeforeSync,
                    CrashPoint::BeforeSync,
                    CrashPoint::AfterSync,
                    CrashPoint::MidSend,
                ]);
                Fault::Crash(self.rng.pick(idle), point, length)
            }
            72..82 if !idle.is_empty() => Fault::Pause(self.rng.pick(idle), length),
            82..90 => Fault::ClockJump(anyone, self.skew()),
            90..97 => Fault::SlowDisk(anyone, self.rng.between(2, 100), length),
            97 => Fault::PowerCut(length),
            _ => Fault::Network(Trouble::Loss(50_000), length),
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
}
