//! Submitters that wait for the batch of their record.

use crate::shared::NotAccepted;
use bizra_types::batch::SignedTicket;
use bizra_types::hash::RecordDigest;
use bizra_types::numbers::TimestampMs;
use std::collections::VecDeque;
use tokio::sync::oneshot;

/// A submitter that waits for its ticket.
pub(super) struct Waiter {
    pub(super) digest: RecordDigest,
    pub(super) admitted_at_ms: TimestampMs,
    pub(super) reply: oneshot::Sender<Result<SignedTicket, NotAccepted>>,
}

/// Submitters in the order of their records, which is that of the lane.
#[derive(Default)]
pub(super) struct Waiters {
    waiting: VecDeque<Waiter>,
    /// Records at the front of the lane whose submitters were sent away.
    unawaited: usize,
}

impl Waiters {
    /// Adds the submitter of the record that was admitted last.
    pub(super) fn push(&mut self, waiter: Waiter) {
        self.waiting.push_back(waiter);
    }

    /// The submitters of the next records of the lane, as many as `records`. Before them stand
    /// those that nobody waits for.
    pub(super) fn take(&mut self, records: usize) -> Vec<Waiter> {
        let skipped = self.unawaited.min(records);
        self.unawaited -= skipped;
        let records = (records - skipped).min(self.waiting.len());
        self.waiting.drain(..records).collect()
    }

    /// Sends everybody away: this node closes no batch any more. Their records stay in the lane,
    /// and are in its next batch should the node get a seat again.
    pub(super) fn refuse(&mut self, reason: NotAccepted) {
        self.unawaited += self.waiting.len();
        for waiter in self.waiting.drain(..) {
            // It may have gone by itself.
            let _ = waiter.reply.send(Err(reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = oneshot::Receiver<Result<SignedTicket, NotAccepted>>;

    fn waiter(number: u8) -> (Waiter, Answer) {
        let (reply, answer) = oneshot::channel();
        let digest = RecordDigest([number; 32]);
        (Waiter { digest, admitted_at_ms: TimestampMs::new(0), reply }, answer)
    }

    fn digests(taken: &[Waiter]) -> Vec<u8> {
        taken.iter().map(|waiter| waiter.digest.0[0]).collect()
    }

    #[test]
    fn each_is_answered_with_the_batch_of_its_record() {
        let mut waiters = Waiters::default();
        let _answers: Vec<Answer> = (0..3)
            .map(|number| {
                let (waiter, answer) = waiter(number);
                waiters.push(waiter);
                answer
            })
            .collect();
        assert_eq!(digests(&waiters.take(2)), [0, 1]);
        assert_eq!(digests(&waiters.take(5)), [2]);
    }

    #[test]
    fn who_is_sent_away_takes_nobody_elses_place() {
        let mut waiters = Waiters::default();
        let (first, mut answer) = waiter(1);
        waiters.push(first);
        let reason = NotAccepted::NotAValidator("it is not in the committee");
        waiters.refuse(reason);
        assert_eq!(answer.try_recv().expect("answered").err(), Some(reason));
        // It has a seat again: the old record is in the first batch, the new one in the second.
        let (second, _second) = waiter(2);
        waiters.push(second);
        assert!(waiters.take(1).is_empty());
        assert_eq!(digests(&waiters.take(1)), [2]);
    }
}
