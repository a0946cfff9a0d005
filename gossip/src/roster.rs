//! Who may connect, who may open direct streams, and who misbehaved.
//!
//! Pure: the caller gives the time.

use crate::Limits;
use libp2p::PeerId;
use lru::LruCache;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Instant;

/// Peers whose faults are remembered, at most; the least recent is forgotten.
const FAULTY_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the peer is neither listed nor a validator")]
    Unknown,
    #[error("the peer is banned for its faults")]
    Banned,
    #[error("{0} followers are connected already")]
    TooManyFollowers(usize),
    #[error("{0} connections from unlisted addresses are in their handshake already")]
    TooManyPending(usize),
}

impl Refused {
    /// The metric's label.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Banned => "banned",
            Self::TooManyFollowers(_) => "followers",
            Self::TooManyPending(_) => "pending",
        }
    }
}

/// Something that only a faulty peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A frame's length is above the channel's limit.
    #[error("a frame of {size} bytes where at most {limit} are allowed")]
    FrameTooLarge {
        /// Bytes that the frame claims.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A frame is empty, of an unknown kind, or its body is not what its kind says.
    #[error("a frame that cannot be read")]
    Garbage,
    /// A stream was closed inside a frame while its connection lived on.
    #[error("a frame that ended early")]
    Truncated,
    /// A gossip message was rejected by its reader.
    #[error("a gossip message that was rejected")]
    Gossip,
    /// The layer above could not accept a message; it says why.
    #[error("{0}")]
    Message(&'static str),
}

impl Fault {
    /// The metric's label.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::FrameTooLarge { .. } => "too_large",
            Self::Garbage => "garbage",
            Self::Truncated => "truncated",
            Self::Gossip => "gossip",
            Self::Message(_) => "message",
        }
    }
}

/// What a fault led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Noted,
    Banned,
}

#[derive(Debug)]
struct Record {
    faults: u32,
    since: Instant,
    banned_until: Option<Instant>,
}

/// Members and their standing.
#[derive(Debug)]
pub(crate) struct Roster {
    local: PeerId,
    listed: BTreeSet<PeerId>,
    validators: BTreeSet<PeerId>,
    followers_allowed: bool,
    limits: Limits,
    records: LruCache<PeerId, Record>,
}

impl Roster {
    pub(crate) fn new(
        local: PeerId,
        listed: BTreeSet<PeerId>,
        validators: BTreeSet<PeerId>,
        followers_allowed: bool,
        limits: Limits,
    ) -> Self {
        let records = LruCache::new(FAULTY_MAX);
        Self { local, listed, validators, followers_allowed, limits, records }
    }

    pub(crate) fn set_listed(&mut self, listed: BTreeSet<PeerId>) {
        self.listed = listed;
    }

    pub(crate) fn set_validators(&mut self, validators: BTreeSet<PeerId>) {
        self.validators = validators;
    }

    /// Whether the peer is listed or a validator, so that it takes no follower's place.
    pub(crate) fn is_member(&self, peer: &PeerId) -> bool {
        self.listed.contains(peer) || self.validators.contains(peer)
    }

    /// Whether there are direct streams between the peer and us.
    pub(crate) fn has_streams(&self, peer: &PeerId) -> bool {
        *peer != self.local
            && self.validators.contains(&self.local)
            && self.validators.contains(peer)
    }

    /// The validators that we have direct streams with.
    pub(crate) fn stream_peers(&self) -> impl Iterator<Item = PeerId> {
        self.validators.iter().filter(|peer| self.has_streams(peer)).copied()
    }

    /// Whether the peer may be connected now.
    pub(crate) fn admit(
        &mut self,
        peer: &PeerId,
        followers: usize,
        now: Instant,
    ) -> Result<(), Refused> {
        if self.banned_until(peer, now).is_some() {
            return Err(Refused::Banned);
        }
        if self.is_member(peer) {
            return Ok(());
        }
        if !self.followers_allowed {
            return Err(Refused::Unknown);
        }
        if followers >= self.limits.followers_max {
            return Err(Refused::TooManyFollowers(followers));
        }
        Ok(())
    }

    /// When the peer's ban ends, if it is banned.
    pub(crate) fn banned_until(&mut self, peer: &PeerId, now: Instant) -> Option<Instant> {
        self.records.peek(peer)?.banned_until.filter(|until| now < *until)
    }

    /// Notes a fault.
    pub(crate) fn fault(&mut self, peer: PeerId, now: Instant) -> Verdict {
        let window = self.limits.fault_window;
        let record = self.records.get_or_insert_mut(peer, || Record {
            faults: 0,
            since: now,
            banned_until: None,
        });
        if now.saturating_duration_since(record.since) > window {
            record.faults = 0;
            record.since = now;
        }
        record.faults += 1;
        if record.faults < self.limits.faults_to_ban {
            return Verdict::Noted;
        }
        record.faults = 0;
        record.since = now;
        record.banned_until = Some(now + self.limits.ban);
        Verdict::Banned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn peers(count: usize) -> Vec<PeerId> {
        (0..count).map(|_| PeerId::random()).collect()
    }

    fn roster(local: PeerId, validators: &[PeerId], followers_allowed: bool) -> Roster {
        let limits = Limits { followers_max: 2, ..Limits::default() };
        Roster::new(
            local,
            BTreeSet::new(),
            validators.iter().copied().collect(),
            followers_allowed,
            limits,
        )
    }

    #[test]
    fn members_may_connect_and_others_only_as_followers() {
        let (all, now) = (peers(3), Instant::now());
        let mut closed = roster(all[0], &all[..2], false);
        assert_eq!(closed.admit(&all[1], 0, now), Ok(()));
        assert_eq!(closed.admit(&all[2], 0, now), Err(Refused::Unknown));
        closed.set_listed(BTreeSet::from([all[2]]));
        assert_eq!(closed.admit(&all[2], 0, now), Ok(()));

        let mut open = roster(all[0], &all[..2], true);
        assert_eq!(open.admit(&all[2], 1, now), Ok(()));
        assert_eq!(open.admit(&all[2], 2, now), Err(Refused::TooManyFollowers(2)));
        assert_eq!(open.admit(&all[1], 2, now), Ok(()));
    }

    #[test]
    fn streams_join_validators_only() {
        let all = peers(3);
        let validator = roster(all[0], &all[..2], true);
        assert!(validator.has_streams(&all[1]));
        assert!(!validator.has_streams(&all[0]));
        assert!(!validator.has_streams(&all[2]));
        let follower = roster(all[2], &all[..2], true);
        assert!(!follower.has_streams(&all[0]));
        assert_eq!(follower.stream_peers().count(), 0);
    }

    #[test]
    fn repeated_faults_ban_for_a_time() {
        let (all, start) = (peers(2), Instant::now());
        let mut roster = roster(all[0], &all, false);
        assert_eq!(roster.fault(all[1], start), Verdict::Noted);
        assert_eq!(roster.fault(all[1], start), Verdict::Noted);
        assert_eq!(roster.admit(&all[1], 0, start), Ok(()));
        assert_eq!(roster.fault(all[1], start), Verdict::Banned);
        assert_eq!(roster.admit(&all[1], 0, start), Err(Refused::Banned));
        let later = start + Duration::from_secs(60);
        assert_eq!(roster.admit(&all[1], 0, later), Ok(()));
        assert_eq!(roster.fault(all[1], later), Verdict::Noted);
    }

    #[test]
    fn rare_faults_are_forgiven() {
        let (all, mut now) = (peers(2), Instant::now());
        let mut roster = roster(all[0], &all, false);
        for _ in 0..20 {
            assert_eq!(roster.fault(all[1], now), Verdict::Noted);
            now += Duration::from_secs(31);
        }
    }

    #[test]
    fn the_memory_of_faults_is_bounded() {
        let (all, now) = (peers(1), Instant::now());
        let mut roster = roster(all[0], &all, true);
        for _ in 0..FAULTY_MAX.get() + 10 {
            roster.fault(PeerId::random(), now);
        }
        assert_eq!(roster.records.len(), FAULTY_MAX.get());
    }
}
