//! Heartbeats: liveness of an idle peer, and the round trip to it.
//!
//! Every heartbeat carries the number of the last one that came from the other
//! side and how long that one had lain here, so one frame per direction and
//! interval gives both sides a round trip and nothing has to be answered at
//! once. A peer that lies about the time makes itself look nearer or further
//! away, no more: what was held longer than the whole measured time is no
//! measurement.

use bizra_types::encode_fields;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Heartbeats on their way whose echo we still wait for, at most.
const AWAITED_MAX: usize = 16;

/// The body of a heartbeat frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    /// Counts up from 1 on each stream.
    pub(crate) sequence: u64,
    /// The newest sequence heard from the other side, 0 for none.
    pub(crate) echo_of: u64,
    /// Microseconds between hearing that and sending this.
    pub(crate) held_us: u64,
}

encode_fields!(Heartbeat { sequence, echo_of, held_us });

/// Both directions' heartbeats with one peer.
#[derive(Debug, Default)]
pub(crate) struct Heartbeats {
    sequence: u64,
    awaited: VecDeque<(u64, Instant)>,
    heard: Option<(u64, Instant)>,
}

impl Heartbeats {
    /// Our stream to the peer opened anew: no echo of an older one counts.
    pub(crate) fn restart_sending(&mut self) {
        self.sequence = 0;
        self.awaited.clear();
    }

    /// The peer's stream to us opened anew.
    pub(crate) const fn restart_hearing(&mut self) {
        self.heard = None;
    }

    /// The heartbeat to send now.
    pub(crate) fn send(&mut self, now: Instant) -> Heartbeat {
        self.sequence += 1;
        if self.awaited.len() == AWAITED_MAX {
            self.awaited.pop_front();
        }
        self.awaited.push_back((self.sequence, now));
        let (echo_of, held_us) = match self.heard.take() {
            None => (0, 0),
            Some((sequence, at)) => {
                let held = now.saturating_duration_since(at).as_micros();
                (sequence, u64::try_from(held).unwrap_or(u64::MAX))
            }
        };
        Heartbeat { sequence: self.sequence, echo_of, held_us }
    }

    /// Takes a heartbeat in; returns the round trip if it echoes one of ours.
    pub(crate) fn hear(&mut self, heartbeat: Heartbeat, now: Instant) -> Option<Duration> {
        self.heard = Some((heartbeat.sequence, now));
        let index = self.awaited.iter().position(|(sequence, _)| *sequence == heartbeat.echo_of)?;
        let (_, sent_at) = self.awaited[index];
        self.awaited.drain(..=index);
        now.saturating_duration_since(sent_at).checked_sub(Duration::from_micros(heartbeat.held_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    #[test]
    fn the_round_trip_leaves_out_what_the_peer_held() {
        let start = Instant::now();
        let (mut here, mut there) = (Heartbeats::default(), Heartbeats::default());
        let first = here.send(start);
        assert_eq!(there.hear(first, start + ms(20)), None);
        let answer = there.send(start + ms(90));
        assert_eq!(answer, Heartbeat { sequence: 1, echo_of: 1, held_us: 70_000 });
        assert_eq!(here.hear(answer, start + ms(115)), Some(ms(45)));
        let second = here.send(start + ms(200));
        assert_eq!(second.held_us, 85_000);
        assert_eq!(there.hear(second, start + ms(220)), Some(ms(45)));
    }

    #[test]
    fn an_echo_counts_once_and_only_of_this_stream() {
        let start = Instant::now();
        let mut here = Heartbeats::default();
        here.send(start);
        let echo = Heartbeat { sequence: 9, echo_of: 1, held_us: 0 };
        assert_eq!(here.hear(echo, start + ms(1)), Some(ms(1)));
        assert_eq!(here.hear(echo, start + ms(2)), None);
        here.send(start + ms(3));
        here.restart_sending();
        assert_eq!(here.hear(Heartbeat { echo_of: 2, ..echo }, start + ms(4)), None);
    }

    #[test]
    fn a_lie_about_the_holding_time_is_no_measurement() {
        let start = Instant::now();
        let mut here = Heartbeats::default();
        here.send(start);
        let lie = Heartbeat { sequence: 1, echo_of: 1, held_us: u64::MAX };
        assert_eq!(here.hear(lie, start + ms(5)), None);
    }

    #[test]
    fn unanswered_heartbeats_are_bounded() {
        let start = Instant::now();
        let mut here = Heartbeats::default();
        for _ in 0..1000 {
            here.send(start);
        }
        assert_eq!(here.awaited.len(), AWAITED_MAX);
    }
}
