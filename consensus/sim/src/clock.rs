//! Each node's two clocks, as functions of virtual time.

use bizra_consensus::{Now, Time};
use bizra_types::numbers::TimestampMs;

/// The clocks of one node. Virtual time is in µs from the start of the run.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// Virtual time at which the process started.
    born_micros: u64,
    /// Reading of the monotonic clock then.
    origin_micros: u64,
    /// How much faster than virtual time the monotonic clock goes.
    drift_ppm: i64,
    /// Wall clock at the start of the run, were it right.
    start: TimestampMs,
    /// How far the wall clock is ahead at `skewed_micros`.
    skew_micros: i64,
    skewed_micros: u64,
    /// How much faster than virtual time it goes from then on.
    wall_drift_ppm: i64,
}

impl Clock {
    /// Clocks of a process that starts at `born_micros`.
    pub(crate) const fn new(
        born_micros: u64,
        origin_micros: u64,
        drift_ppm: i64,
        start: TimestampMs,
        skew_micros: i64,
    ) -> Self {
        Self {
            born_micros,
            origin_micros,
            drift_ppm,
            start,
            skew_micros,
            skewed_micros: 0,
            wall_drift_ppm: 0,
        }
    }

    /// A new process on the same machine: another start of the monotonic clock.
    pub(crate) const fn restart(&mut self, born_micros: u64, origin_micros: u64) {
        self.born_micros = born_micros;
        self.origin_micros = origin_micros;
    }

    /// Sets how far the wall clock is ahead, negative when it is behind, and
    /// ends its drift.
    pub(crate) const fn set_skew(&mut self, skew_micros: i64) {
        self.skew_micros = skew_micros;
        self.wall_drift_ppm = 0;
    }

    /// From now on the wall clock gains so many millionths of the time that
    /// passes, or loses them.
    pub(crate) fn drift(&mut self, at_micros: u64, ppm: i64) {
        self.skew_micros = self.skew(at_micros);
        self.skewed_micros = at_micros;
        self.wall_drift_ppm = ppm;
    }

    /// What the node reads at this virtual time.
    pub(crate) fn now(&self, at_micros: u64) -> Now {
        let wall = at_micros.saturating_add_signed(self.skew(at_micros)) / 1_000;
        Now { time: self.monotonic(at_micros), wall: self.start.saturating_add_ms(wall) }
    }

    /// The first virtual time at which the monotonic clock has reached `time`.
    pub(crate) fn when(&self, time: Time) -> u64 {
        let elapsed = u128::from(time.as_micros().saturating_sub(self.origin_micros));
        let rate = u128::from(1_000_000_u64.saturating_add_signed(self.drift_ppm));
        let virtual_elapsed = u64::try_from(elapsed * 1_000_000 / rate).unwrap_or(u64::MAX);
        let mut at = self.born_micros.saturating_add(virtual_elapsed);
        while at < u64::MAX && self.monotonic(at) < time {
            at += 1;
        }
        at
    }

    fn skew(&self, at_micros: u64) -> i64 {
        let drifting = i64::try_from(at_micros.saturating_sub(self.skewed_micros));
        let drifting = drifting.expect("a run lasts hours at most");
        self.skew_micros + drifting * self.wall_drift_ppm / 1_000_000
    }

    fn monotonic(&self, at_micros: u64) -> Time {
        let elapsed = u128::from(at_micros.saturating_sub(self.born_micros));
        let rate = u128::from(1_000_000_u64.saturating_add_signed(self.drift_ppm));
        let scaled = u64::try_from(elapsed * rate / 1_000_000).unwrap_or(u64::MAX);
        Time::from_micros(self.origin_micros.saturating_add(scaled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_at_its_virtual_time_and_not_before() {
        for drift_ppm in [-200, 0, 150] {
            let clock = Clock::new(5_000, 77, drift_ppm, TimestampMs::new(1_000), 0);
            for ahead in [0, 1, 999, 1_000_000, 12_345_678] {
                let deadline = clock.now(9_000).time.plus_micros(ahead);
                let at = clock.when(deadline);
                assert!(clock.now(at).time >= deadline, "{drift_ppm} {ahead}");
                assert!(clock.now(at - 1).time < deadline, "{drift_ppm} {ahead}");
            }
        }
    }

    #[test]
    fn a_drifting_clock_goes_away_and_stays_away_until_it_is_set() {
        let mut clock = Clock::new(0, 0, 0, TimestampMs::new(0), 0);
        let wall = |clock: &Clock, at| clock.now(at).wall.get();
        clock.drift(1_000_000, 100_000);
        assert_eq!(wall(&clock, 1_000_000), 1_000);
        assert_eq!(wall(&clock, 2_000_000), 2_100);
        clock.drift(2_000_000, 0);
        assert_eq!(wall(&clock, 5_000_000), 5_100);
        clock.drift(5_000_000, -500_000);
        clock.set_skew(7_000);
        assert_eq!(wall(&clock, 9_000_000), 9_007);
    }

    #[test]
    fn the_wall_clock_jumps_and_the_other_does_not() {
        let mut clock = Clock::new(0, 0, 0, TimestampMs::new(1_000), 0);
        let before = clock.now(3_000_000);
        clock.set_skew(-2_000_000);
        let after = clock.now(3_000_000);
        assert_eq!(before.wall, TimestampMs::new(4_000));
        assert_eq!(after.wall, TimestampMs::new(2_000));
        assert_eq!(before.time, after.time);
    }
}
