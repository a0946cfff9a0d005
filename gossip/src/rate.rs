//! How much comes from one peer in a second.

use std::time::{Duration, Instant};

/// Counts within seconds that begin with the first count after the last has ended.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second_max: u32,
    second_start: Instant,
    count: u32,
}

impl Rate {
    pub(crate) const fn new(per_second_max: u32, now: Instant) -> Self {
        Self { per_second_max, second_start: now, count: 0 }
    }

    /// Counts one; returns how long to wait when the second is used up.
    pub(crate) fn count(&mut self, now: Instant) -> Option<Duration> {
        let elapsed = now.saturating_duration_since(self.second_start);
        if elapsed >= Duration::from_secs(1) {
            self.second_start = now;
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        if self.count <= self.per_second_max {
            return None;
        }
        Some(Duration::from_secs(1).saturating_sub(elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_pauses_to_the_end_of_its_second() {
        let start = Instant::now();
        let mut rate = Rate::new(2, start);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(rate.count(at(0)), None);
        assert_eq!(rate.count(at(100)), None);
        assert_eq!(rate.count(at(300)), Some(Duration::from_millis(700)));
        assert_eq!(rate.count(at(1000)), None);
        assert_eq!(rate.count(at(1000)), None);
        assert!(rate.count(at(1001)).is_some());
    }
}
