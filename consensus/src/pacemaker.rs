//! When to leave a view: timers, round trips, and the early skip of a silent leader.

use crate::effects::Time;
use bizra_types::genesis::Parameters;
use bizra_types::numbers::{ValidatorIndex, View};
use std::collections::BTreeMap;

/// Assumed round trip before one was measured, in µs.
const ROUND_TRIP_MICROS_DEFAULT: u64 = 20_000;
/// Shortest round trip that anything waits for, in µs: below it the wait
/// would be the scheduler's, not the network's.
const ROUND_TRIP_MICROS_MIN: u64 = 1_000;
/// A leader's every so-many-th turn gets a full timer even if nothing is heard
/// from it, so that one whose messages reach only some is not skipped for ever.
const SKIP_EXEMPT_TURNS: u64 = 256;
/// Most steps of × 1.5 that a timer may have grown: enough to get from the
/// usual floor to the usual maximum, and no more to undo afterwards.
const BACKOFF_STEPS_MAX: u32 = 14;

/// Timers of the current view and what is known of the peers.
#[derive(Debug)]
pub(crate) struct Pacemaker {
    parameters: Parameters,
    committee_size: usize,
    quorum: usize,
    me: Option<ValidatorIndex>,
    started: Time,
    entered: Time,
    timer_from: Option<Time>,
    backoff_steps: u32,
    full_timer_ran: bool,
    heard: BTreeMap<ValidatorIndex, Time>,
    round_trips: BTreeMap<ValidatorIndex, u64>,
}

impl Pacemaker {
    pub(crate) const fn new(
        parameters: Parameters,
        committee_size: usize,
        quorum: usize,
        me: Option<ValidatorIndex>,
        now: Time,
    ) -> Self {
        Self {
            parameters,
            committee_size,
            quorum,
            me,
            started: now,
            entered: now,
            timer_from: None,
            backoff_steps: 0,
            full_timer_ran: false,
            heard: BTreeMap::new(),
            round_trips: BTreeMap::new(),
        }
    }

    /// Our own place: nobody skips itself.
    pub(crate) const fn seat(&mut self, me: Option<ValidatorIndex>) {
        self.me = me;
    }

    /// Begins an era: timers start anew, and what is known of the validators
    /// that stay is kept. `places` gives their old places by the new ones; who
    /// is new counts as heard now.
    pub(crate) fn begin_era(
        &mut self,
        now: Time,
        places: &[Option<ValidatorIndex>],
        quorum: usize,
        me: Option<ValidatorIndex>,
    ) {
        let next = Self::new(self.parameters, places.len(), quorum, me, self.started);
        let before = core::mem::replace(self, next);
        self.entered = now;
        for (place, old) in places.iter().enumerate() {
            let place = ValidatorIndex::new(u16::try_from(place).expect("committees are bounded"));
            let heard = old.map_or(Some(now), |old| before.heard.get(&old).copied());
            if let Some(heard) = heard {
                self.heard.insert(place, heard);
            }
            if let Some(trip) = old.and_then(|old| before.round_trips.get(&old)) {
                self.round_trips.insert(place, *trip);
            }
        }
    }

    /// Enters a view. `by_tc` starts the timer at once, and makes it longer if
    /// the view before was left after a full timer.
    pub(crate) fn enter(&mut self, now: Time, by_tc: bool) {
        if by_tc && self.full_timer_ran {
            self.backoff_steps = (self.backoff_steps + 1).min(BACKOFF_STEPS_MAX);
        }
        self.full_timer_ran = false;
        self.entered = now;
        self.timer_from = by_tc.then_some(now);
    }

    pub(crate) const fn entered(&self) -> Time {
        self.entered
    }

    pub(crate) const fn is_timer_running(&self) -> bool {
        self.timer_from.is_some()
    }

    pub(crate) const fn start_timer(&mut self, now: Time) {
        if self.timer_from.is_none() {
            self.timer_from = Some(now);
        }
    }

    /// When the view is over for want of progress.
    pub(crate) fn timer_end(&self) -> Option<Time> {
        self.timer_from.map(|from| from.plus_micros(self.timer_micros()))
    }

    /// Notes that the timer ran out.
    pub(crate) const fn on_timer_end(&mut self) {
        self.full_timer_ran = true;
    }

    /// Progress shrinks the timer again, and may change the parameters.
    pub(crate) const fn on_commit(&mut self, parameters: Parameters) {
        self.parameters = parameters;
        self.backoff_steps = self.backoff_steps.saturating_sub(1);
    }

    /// Length of the view timer in µs: max(floor, k round trips) × 1.5 per
    /// view lost in full, at most the governed maximum.
    pub(crate) fn timer_micros(&self) -> u64 {
        let floor = self.parameters.view_timer_ms_min.saturating_mul(1_000);
        let trips = self.round_trip_micros().saturating_mul(self.parameters.view_timer_round_trips);
        let longest = self.parameters.view_timer_ms_max.saturating_mul(1_000);
        let mut length = floor.max(trips);
        for _ in 0..self.backoff_steps {
            length = (length + length / 2).min(longest);
        }
        length.min(longest)
    }

    /// Something authenticated came from `peer`.
    pub(crate) fn on_heard(&mut self, now: Time, peer: ValidatorIndex, round_trip: Option<u64>) {
        self.heard.insert(peer, now);
        if let Some(micros) = round_trip {
            // An eighth of the news, as TCP does (RFC 6298).
            let smoothed = match self.round_trips.get(&peer) {
                Some(old) => old - old / 8 + micros / 8,
                None => micros,
            };
            self.round_trips.insert(peer, smoothed);
        }
    }

    /// Round trip to the quorum-th nearest validator in µs, this one counted.
    pub(crate) fn round_trip_micros(&self) -> u64 {
        let mut trips: Vec<u64> = self.round_trips.values().copied().collect();
        trips.sort_unstable();
        let needed = self.quorum.saturating_sub(1);
        let trip = match needed.checked_sub(1) {
            None => 0,
            Some(place) => trips.get(place).copied().unwrap_or(ROUND_TRIP_MICROS_DEFAULT),
        };
        trip.max(ROUND_TRIP_MICROS_MIN)
    }

    /// Rule 7: whether a silent leader's view may be left now.
    pub(crate) fn can_skip(&self, now: Time, view: View, leader: ValidatorIndex) -> bool {
        self.skip_time(view, leader).is_some_and(|time| now >= time) && self.is_quorum_heard(now)
    }

    /// When [`Self::can_skip`] may become true, if nothing comes from the leader.
    pub(crate) fn skip_time(&self, view: View, leader: ValidatorIndex) -> Option<Time> {
        let turn = view.get() / self.committee_size as u64;
        if Some(leader) == self.me || turn % SKIP_EXEMPT_TURNS == SKIP_EXEMPT_TURNS - 1 {
            return None;
        }
        let silence_ms = self.parameters.leader_silence_ms;
        let heard = self.heard.get(&leader).copied().unwrap_or(self.started);
        Some(self.entered.max(heard.plus_ms(silence_ms)).max(self.started.plus_ms(silence_ms)))
    }

    /// Whether a quorum, this validator counted, was heard within the silence span.
    pub(crate) fn is_quorum_heard(&self, now: Time) -> bool {
        let span = self.parameters.leader_silence_ms.saturating_mul(1_000);
        let recent = self.heard.values().filter(|time| now.micros_since(**time) <= span).count();
        recent + usize::from(self.me.is_some()) >= self.quorum
    }

    /// Validators heard within the silence span.
    pub(crate) fn heard_since(&self, now: Time) -> impl Iterator<Item = ValidatorIndex> + '_ {
        let span = self.parameters.leader_silence_ms.saturating_mul(1_000);
        self.heard
            .iter()
            .filter(move |(_, time)| now.micros_since(**time) <= span)
            .map(|(peer, _)| *peer)
    }

    /// Whether anything came from `peer` after a time.
    pub(crate) fn is_heard_after(&self, peer: ValidatorIndex, time: Time) -> bool {
        self.heard.get(&peer).is_some_and(|heard| *heard > time)
    }
}

#[cfg(test)]
mod tests;
