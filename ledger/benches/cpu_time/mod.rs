//! Time that the thread had a core, instead of the clock's: a busy machine changes it little.

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use std::time::Duration;

/// What the scheduler has given to the thread, on Linux; a reading costs some 10 µs, which a sample
/// of many milliseconds does not show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuTime;

impl CpuTime {
    fn now() -> Duration {
        // The account is brought up to date whenever the thread is scheduled anew.
        std::thread::yield_now();
        let account = std::fs::read_to_string("/proc/thread-self/schedstat").expect("on Linux");
        let nanoseconds = account.split(' ').next().and_then(|time| time.parse().ok());
        Duration::from_nanos(nanoseconds.expect("the first number is the time"))
    }
}

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        Self::now()
    }

    fn end(&self, start: Duration) -> Duration {
        Self::now() - start
    }

    fn add(&self, left: &Duration, right: &Duration) -> Duration {
        *left + *right
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        static WALL_TIME: WallTime = WallTime;
        WALL_TIME.formatter()
    }
}
