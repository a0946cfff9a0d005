//! What waits for one peer's stream: bounded by count, bytes and age.

use crate::{Channel, Limits};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The receiver is not a validator, or we are not.
    #[error("there are no direct streams to this peer")]
    NoStream,
    /// The message is above the channel's limit.
    #[error("a message of {size} bytes on {channel}, where at most {limit} are allowed")]
    TooLarge {
        /// Which channel.
        channel: Channel,
        /// Bytes of the message.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The peer does not take its messages fast enough, or is away.
    #[error("{frames} frames of {bytes} bytes wait already on {channel}")]
    Full {
        /// Which channel.
        channel: Channel,
        /// Frames that wait.
        frames: usize,
        /// Bytes that wait.
        bytes: usize,
    },
}

/// One peer's queue of one channel.
#[derive(Debug)]
pub(crate) struct Queue {
    channel: Channel,
    frames_max: usize,
    bytes_max: usize,
    age_max: Duration,
    waiting: Mutex<Waiting>,
    /// Woken when something was put in.
    pub(crate) filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<(Instant, Bytes)>,
    bytes: usize,
}

impl Queue {
    pub(crate) fn new(channel: Channel, limits: &Limits) -> Self {
        let (frames_max, bytes_max) = match channel {
            Channel::Consensus => {
                (limits.consensus_queue_frames_max, limits.consensus_queue_bytes_max)
            }
            Channel::Bulk => (limits.bulk_queue_frames_max, limits.bulk_queue_bytes_max),
        };
        Self {
            channel,
            frames_max,
            bytes_max,
            age_max: limits.queue_age_max,
            waiting: Mutex::default(),
            filled: Notify::new(),
        }
    }

    /// Puts a message at the end. Returns how many stale ones made room.
    pub(crate) fn push(&self, message: Bytes, now: Instant) -> Result<usize, SendError> {
        let limit = self.channel.message_size_max();
        if message.len() > limit {
            return Err(SendError::TooLarge { channel: self.channel, size: message.len(), limit });
        }
        let stale = {
            let mut waiting = self.waiting.lock().expect("no holder panics");
            let stale = waiting.drop_stale(now, self.age_max);
            if waiting.frames.len() >= self.frames_max
                || waiting.bytes + message.len() > self.bytes_max
            {
                return Err(SendError::Full {
                    channel: self.channel,
                    frames: waiting.frames.len(),
                    bytes: waiting.bytes,
                });
            }
            waiting.bytes += message.len();
            waiting.frames.push_back((now, message));
            stale
        };
        self.filled.notify_one();
        Ok(stale)
    }

    /// Moves messages of together about `bytes_max` into `out`, at least one if
    /// any waits. Returns how many stale ones were dropped.
    pub(crate) fn take(&self, bytes_max: usize, out: &mut Vec<Bytes>, now: Instant) -> usize {
        let mut waiting = self.waiting.lock().expect("no holder panics");
        let stale = waiting.drop_stale(now, self.age_max);
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some((_, message)) = waiting.frames.pop_front() else { break };
            waiting.bytes -= message.len();
            bytes += message.len();
            out.push(message);
        }
        stale
    }
}

impl Waiting {
    fn drop_stale(&mut self, now: Instant, age_max: Duration) -> usize {
        let mut stale = 0;
        while let Some((queued_at, message)) = self.frames.front() {
            if now.saturating_duration_since(*queued_at) <= age_max {
                break;
            }
            self.bytes -= message.len();
            self.frames.pop_front();
            stale += 1;
        }
        stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        let limits = Limits {
            consensus_queue_frames_max: 3,
            consensus_queue_bytes_max: 100,
            queue_age_max: Duration::from_secs(10),
            ..Limits::default()
        };
        Queue::new(Channel::Consensus, &limits)
    }

    fn take(queue: &Queue, bytes_max: usize, now: Instant) -> Vec<usize> {
        let mut out = Vec::new();
        queue.take(bytes_max, &mut out, now);
        out.iter().map(Bytes::len).collect()
    }

    #[test]
    fn a_full_queue_refuses_by_count_and_by_bytes() {
        let (queue, now) = (queue(), Instant::now());
        let message = |size| Bytes::from(vec![0; size]);
        queue.push(message(40), now).unwrap();
        queue.push(message(50), now).unwrap();
        let full = SendError::Full { channel: Channel::Consensus, frames: 2, bytes: 90 };
        assert_eq!(queue.push(message(11), now), Err(full));
        queue.push(message(10), now).unwrap();
        let full = SendError::Full { channel: Channel::Consensus, frames: 3, bytes: 100 };
        assert_eq!(queue.push(message(0), now), Err(full));
        assert_eq!(take(&queue, usize::MAX, now), [40, 50, 10]);
        queue.push(message(100), now).unwrap();
    }

    #[test]
    fn what_is_taken_is_about_what_was_asked_for() {
        let (queue, now) = (queue(), Instant::now());
        for size in [30, 31, 32] {
            queue.push(Bytes::from(vec![0; size]), now).unwrap();
        }
        assert_eq!(take(&queue, 31, now), [30, 31]);
        assert_eq!(take(&queue, 1, now), [32]);
        assert_eq!(take(&queue, 1, now), [0; 0]);
    }

    #[test]
    fn stale_messages_make_room() {
        let (queue, start) = (queue(), Instant::now());
        for _ in 0..3 {
            queue.push(Bytes::from_static(b"old"), start).unwrap();
        }
        let later = start + Duration::from_secs(11);
        assert_eq!(queue.push(Bytes::from_static(b"young"), later), Ok(3));
        assert_eq!(take(&queue, usize::MAX, later), [5]);
    }

    #[test]
    fn a_message_above_the_limit_of_its_channel_is_refused() {
        let limit = Channel::Consensus.message_size_max();
        let error = SendError::TooLarge { channel: Channel::Consensus, size: limit + 1, limit };
        assert_eq!(queue().push(Bytes::from(vec![0; limit + 1]), Instant::now()), Err(error));
    }
}
