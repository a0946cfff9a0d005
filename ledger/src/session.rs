//! Sessions: the records of one conversation as a DAG with states.
//!
//! A session is named by its owner, the identity of its sender, and its UUID, so
//! nobody can begin, continue or end a session of somebody else. Each record
//! takes one arrow from the states of its parents to its own:
//!
//! | transition | from | to | parents |
//! |---|---|---|---|
//! | `init` | nothing | init | none |
//! | `activate` | init, committed, resumed, recovered | active | 1 |
//! | `compute` | active | computing | 1 |
//! | `validate` | computing | validated | 1 |
//! | `commit` | validated; as short form nothing, active, committed, resumed | committed | 1, or none from nothing |
//! | `suspend` | active | suspended | 1 |
//! | `resume` | suspended | resumed | 1 |
//! | `fail` | active, computing, validated | failed | 1 |
//! | `recover` | failed | recovered | 1 |
//! | `terminate` | init, active, committed, suspended, failed | terminated | 1 |
//! | `branch` | any but terminated | that of the parent | 1 |
//! | `merge` | active, committed | active | 2 to 64 |
//! | `rollback` | any but failed and terminated | active | 1 |
//!
//! The *heads* of a session are the records that it can go on from. A record
//! follows heads and takes their place, with three exceptions. A branch leaves
//! its parent a head, up to [`HEADS_MAX`] of them. A terminated head leaves,
//! unless it is the last one; then the session is over. A rollback may name any
//! record of a session that is not over, and takes the place of all heads.
//!
//! Beside the parents, each node names the one before it in the order of the
//! log. The hash of the latest node therefore stands for all records of the
//! session, abandoned ones included, and `session/close` puts it, with their
//! count, into the state.
//!
//! Each session has a [`Unit`] that observes the `snr_score` of its records in
//! the order of the log, with the window of the first record's budget.

use crate::codes::{Code, Rejection};
use crate::forms::{Score, Uuid};
use crate::inference::{Fate, PARENTS_MAX, Transition};
use crate::ntu::Unit;
use bizra_types::crypto::PublicKey;
use bizra_types::encode_fields;
use bizra_types::encoding::{Decode, DecodeError, Encode, Reader, encode_list};
use bizra_types::hash::{Context, Hash, RecordDigest};
use bizra_types::json::{Member, SchemaError};
use bizra_types::numbers::{Height, TimestampMs};

/// Most heads of one session.
pub const HEADS_MAX: usize = 64;

/// Names a session; its encoding is the key of its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey {
    /// The identity that may add to it, by its first key.
    pub owner: PublicKey,
    /// The name that the owner gave it.
    pub session_id: Uuid,
}

/// Where a record leaves its branch of the session; the numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// Made, not active yet.
    Init = 1,
    /// Ready for work.
    Active = 2,
    /// A computation runs.
    Computing = 3,
    /// A computation was found good.
    Validated = 4,
    /// A result stands.
    Committed = 5,
    /// Put aside.
    Suspended = 6,
    /// Taken up again.
    Resumed = 7,
    /// Something went wrong.
    Failed = 8,
    /// Put right again.
    Recovered = 9,
    /// Ended.
    Terminated = 10,
}

/// Value of [`Family::Session`](crate::plain::Family::Session): an open session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Records in the log.
    pub records: u64,
    /// Hash of the latest node in the order of the log.
    pub latest: Hash,
    /// What it can go on from, ascending by record; never empty.
    pub heads: Vec<Head>,
    /// What has observed its scores.
    pub unit: Unit,
}

/// A record that a session can go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Head {
    /// The record.
    pub record: RecordDigest,
    /// Where it leaves the session.
    pub state: State,
}

/// Value of [`Family::SessionNode`](crate::plain::Family::SessionNode): a record in its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionNode {
    /// The session.
    pub session: SessionKey,
    /// Records of the session before this one.
    pub clock: u64,
    /// Hash of the node with the clock before; zero for the first.
    pub previous: Hash,
    /// Hashes of the nodes of the parents, in the record's order.
    pub parents: Vec<Hash>,
    /// The arrow.
    pub transition: Transition,
    /// Where it leads.
    pub state: State,
    /// The block that executed the record.
    pub height: Height,
    /// That block's time.
    pub timestamp: TimestampMs,
    /// The Ihsān score as claimed.
    pub ihsan: Score,
    /// The signal-to-noise score as claimed.
    pub snr: Score,
    /// The dimensions on which the FATE gate decided.
    pub fate: Fate,
    /// The belief of the session's unit after this record; as the next two, from 0 to 1 with
    /// [`FRACTION_BITS`](crate::ntu::FRACTION_BITS) after the point.
    pub belief: u64,
    /// The unit's entropy.
    pub entropy: u64,
    /// The unit's potential.
    pub potential: u64,
}

/// What execution knows of a record that enters a session.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The record.
    pub record: RecordDigest,
    /// The arrow it takes.
    pub transition: Transition,
    /// The block that executes it.
    pub height: Height,
    /// That block's time.
    pub timestamp: TimestampMs,
    /// The Ihsān score as claimed.
    pub ihsan: Score,
    /// The signal-to-noise score as claimed.
    pub snr: Score,
    /// The dimensions on which the FATE gate decided.
    pub fate: Fate,
    /// Window of the unit, in observations, if the record begins the session.
    pub window: u16,
}

/// A parent as the log knows it.
#[derive(Clone, Debug)]
pub struct ParentRecord {
    /// The record.
    pub record: RecordDigest,
    /// Its node, if it is in the log and in a session.
    pub node: Option<SessionNode>,
}

/// Value of [`Family::ClosedSession`](crate::plain::Family::ClosedSession): with it, nothing
/// can be left out when a session is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedSession {
    /// Records of the session in the log.
    pub records: u64,
    /// Hash of its latest node.
    pub head: Hash,
    /// The block that closed it.
    pub height: Height,
}

/// `payload.data` of `session/close`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionClose {
    /// The session of the sender that takes no more records.
    pub session_id: Uuid,
    /// How many records it has, so that it is not closed while one is on its way.
    pub records: u64,
}

impl SessionClose {
    /// Reads `payload.data`.
    ///
    /// # Errors
    /// When a member is missing, unknown or of another form.
    pub fn read(data: &Member<'_>) -> Result<Self, SchemaError> {
        let mut object = data.object()?;
        let close = Self {
            session_id: Uuid::read(&object.take("session_id")?)?,
            records: object.take("records")?.unsigned()?,
        };
        object.finish()?;
        Ok(close)
    }

    /// Closes a session.
    ///
    /// # Errors
    /// [`Code::State`] when there is no such open session, or it has another count of records.
    pub fn close(
        &self,
        session: Option<&Session>,
        height: Height,
    ) -> Result<ClosedSession, Rejection> {
        let Some(session) = session else {
            return Err(refused(
                "payload.data.session_id",
                "must be an open session of the sender",
            ));
        };
        if self.records != session.records {
            let (own, claimed) = (session.records, self.records);
            let detail =
                format!("must be {own}, the session's records in the log, but is {claimed}");
            return Err(refused("payload.data.records", detail));
        }
        Ok(ClosedSession { records: session.records, head: session.latest, height })
    }
}

/// The refusal of whatever comes to a closed session.
#[must_use]
pub fn closed(session: &ClosedSession) -> Rejection {
    let detail = format!("must be an open session, but was closed at height {}", session.height);
    refused("payload.data.session_id", detail)
}

/// What can be said of a record's parents before any is read: their count, and but for a
/// rollback that they are heads. So whoever names 64 records that are none makes nobody read them.
///
/// # Errors
/// [`Code::State`].
pub fn check_parents(
    session: Option<&Session>,
    parents: &[RecordDigest],
    transition: Transition,
) -> Result<(), Rejection> {
    check_count(session, parents.len(), transition)?;
    if transition == Transition::Rollback {
        return Ok(());
    }
    let heads = session.map_or(&[][..], |session| &session.heads);
    for (at, parent) in parents.iter().enumerate() {
        if heads.iter().all(|head| head.record != *parent) {
            let detail = "must be a head of this session of the sender: a record in the log that \
                          no other follows; only `branch`, from its heads, and `rollback` make a \
                          second way";
            return Err(refused(format!("payload.data.parents[{at}]"), detail));
        }
    }
    Ok(())
}

/// Adds a record to its session, `None` if it has no record yet. [`check_parents`] has let its
/// parents pass.
///
/// # Errors
/// [`Code::State`] when a parent is not there, or the arrow is not allowed from there.
///
/// # Panics
/// When a session has more than 2⁶⁴ records, or the window is none of a unit.
pub fn advance(
    key: SessionKey,
    session: Option<&Session>,
    parents: &[ParentRecord],
    step: &Step,
) -> Result<(Session, SessionNode), Rejection> {
    let nodes = nodes_of(key, parents)?;
    let old_heads = session.map_or(&[][..], |session| &session.heads);
    let state = next_state(step.transition, &nodes)?;
    let heads = next_heads(old_heads, parents, step, state)?;
    let mut unit = session.map_or_else(|| Unit::new(step.window), |session| session.unit.clone());
    unit.observe(step.snr);
    let node = SessionNode {
        session: key,
        clock: session.map_or(0, |session| session.records),
        previous: session.map_or(Hash::ZERO, |session| session.latest),
        parents: parents
            .iter()
            .zip(&nodes)
            .map(|(parent, node)| node.hash(&parent.record))
            .collect(),
        transition: step.transition,
        state,
        height: step.height,
        timestamp: step.timestamp,
        ihsan: step.ihsan,
        snr: step.snr,
        fate: step.fate,
        belief: unit.belief(),
        entropy: unit.entropy(),
        potential: unit.potential(),
    };
    let session = Session { records: node.clock + 1, latest: node.hash(&step.record), heads, unit };
    Ok((session, node))
}

impl SessionNode {
    /// Commits to the record and to every field; recomputing it from the stored
    /// fields verifies them.
    #[must_use]
    pub fn hash(&self, record: &RecordDigest) -> Hash {
        Context::SessionNode.hash(&[record.as_bytes(), &self.to_bytes()])
    }
}

fn nodes_of(key: SessionKey, parents: &[ParentRecord]) -> Result<Vec<&SessionNode>, Rejection> {
    let known = parents.iter().enumerate().map(|(at, parent)| match &parent.node {
        Some(node) if node.session == key => Ok(node),
        Some(_) => {
            let detail = "must be a record of this session of the sender, but is of another";
            Err(refused(format!("payload.data.parents[{at}]"), detail))
        }
        None => {
            let detail = "must be an inference that is in the log, but is not";
            Err(refused(format!("payload.data.parents[{at}]"), detail))
        }
    });
    known.collect()
}

/// How many parents a transition has.
fn check_count(
    session: Option<&Session>,
    count: usize,
    transition: Transition,
) -> Result<(), Rejection> {
    let refuse = |expected: &str| {
        let detail = format!("must {expected} with this transition, but has {count} records");
        Err(refused("payload.data.parents", detail))
    };
    match (transition, count) {
        (Transition::Init | Transition::Commit, 0) => {
            if session.is_some() {
                let detail = "must name a record of the session, which has begun already";
                return Err(refused("payload.data.parents", detail));
            }
            Ok(())
        }
        (Transition::Init, _) => refuse("be empty"),
        (Transition::Merge, 0 | 1) => refuse("name at least 2 records"),
        (Transition::Merge, _) | (_, 1) => Ok(()),
        (Transition::Commit, _) => refuse("name at most 1 record"),
        _ => refuse("name 1 record"),
    }
}

/// Where the arrow leads, if it may start there.
fn next_state(transition: Transition, parents: &[&SessionNode]) -> Result<State, Rejection> {
    use State::{
        Active, Committed, Computing, Failed, Init, Recovered, Resumed, Suspended, Terminated,
        Validated,
    };
    let (from, to): (&[State], Option<State>) = match transition {
        Transition::Init => (&[], Some(Init)),
        Transition::Activate => (&[Init, Committed, Resumed, Recovered], Some(Active)),
        Transition::Compute => (&[Active], Some(Computing)),
        Transition::Validate => (&[Computing], Some(Validated)),
        Transition::Commit => (&[Validated, Active, Committed, Resumed], Some(Committed)),
        Transition::Suspend => (&[Active], Some(Suspended)),
        Transition::Resume => (&[Suspended], Some(Resumed)),
        Transition::Fail => (&[Active, Computing, Validated], Some(Failed)),
        Transition::Recover => (&[Failed], Some(Recovered)),
        Transition::Terminate => (&[Init, Active, Committed, Suspended, Failed], Some(Terminated)),
        Transition::Branch => (
            &[Init, Active, Computing, Validated, Committed, Suspended, Resumed, Failed, Recovered],
            None,
        ),
        Transition::Merge => (&[Active, Committed], Some(Active)),
        Transition::Rollback => (
            &[Init, Active, Computing, Validated, Committed, Suspended, Resumed, Recovered],
            Some(Active),
        ),
    };
    for (at, parent) in parents.iter().enumerate() {
        if !from.contains(&parent.state) {
            let allowed: Vec<&str> = from.iter().map(|state| state.name()).collect();
            let detail = format!(
                "leads from {}, but `payload.data.parents[{at}]` is {}",
                allowed.join(" or "),
                parent.state.name()
            );
            return Err(refused("payload.data.transition", detail));
        }
    }
    Ok(to.unwrap_or_else(|| parents[0].state))
}

/// What the session can go on from after the record.
fn next_heads(
    old: &[Head],
    parents: &[ParentRecord],
    step: &Step,
    state: State,
) -> Result<Vec<Head>, Rejection> {
    let is_parent = |head: &Head| parents.iter().any(|parent| parent.record == head.record);
    let mut heads: Vec<Head> = match step.transition {
        Transition::Branch => old.to_vec(),
        Transition::Rollback => {
            if old.iter().all(|head| head.state == State::Terminated) {
                let detail = "must be of a session that is not over, but all of it is terminated";
                return Err(refused("payload.data.session_id", detail));
            }
            Vec::new()
        }
        _ => old.iter().copied().filter(|head| !is_parent(head)).collect(),
    };
    if heads.is_empty() || state != State::Terminated {
        let head = Head { record: step.record, state };
        let at = heads.partition_point(|other| *other < head);
        heads.insert(at, head);
    }
    if heads.len() > HEADS_MAX {
        let detail = format!("must not make a session of more than {HEADS_MAX} heads");
        return Err(refused("payload.data.transition", detail));
    }
    Ok(heads)
}

fn refused(member: impl Into<String>, detail: impl Into<String>) -> Rejection {
    Rejection::new(Code::State, member, detail)
}

impl State {
    /// Every state, by its number.
    pub const ALL: [Self; 10] = [
        Self::Init,
        Self::Active,
        Self::Computing,
        Self::Validated,
        Self::Committed,
        Self::Suspended,
        Self::Resumed,
        Self::Failed,
        Self::Recovered,
        Self::Terminated,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Active => "active",
            Self::Computing => "computing",
            Self::Validated => "validated",
            Self::Committed => "committed",
            Self::Suspended => "suspended",
            Self::Resumed => "resumed",
            Self::Failed => "failed",
            Self::Recovered => "recovered",
            Self::Terminated => "terminated",
        }
    }
}

impl Encode for State {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
}

impl Decode for State {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = u8::decode(reader)?;
        let state = Self::ALL.into_iter().find(|state| *state as u8 == number);
        state.ok_or(DecodeError::Invalid { what: "session state", value: number.into() })
    }
}

encode_fields!(SessionKey { owner, session_id });
encode_fields!(Head { record, state });
encode_fields!(ClosedSession { records, head, height });

impl Encode for Session {
    fn encode(&self, out: &mut Vec<u8>) {
        self.records.encode(out);
        self.latest.encode(out);
        encode_list(&self.heads, out);
        self.unit.encode(out);
    }
}

impl Decode for Session {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            records: Decode::decode(reader)?,
            latest: Decode::decode(reader)?,
            heads: reader.list("session heads", HEADS_MAX, 33)?,
            unit: Decode::decode(reader)?,
        })
    }
}

impl Encode for SessionNode {
    fn encode(&self, out: &mut Vec<u8>) {
        self.session.encode(out);
        self.clock.encode(out);
        self.previous.encode(out);
        encode_list(&self.parents, out);
        self.transition.encode(out);
        self.state.encode(out);
        self.height.encode(out);
        self.timestamp.encode(out);
        self.ihsan.encode(out);
        self.snr.encode(out);
        self.fate.encode(out);
        for fraction in [self.belief, self.entropy, self.potential] {
            fraction.encode(out);
        }
    }
}

impl Decode for SessionNode {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            session: Decode::decode(reader)?,
            clock: Decode::decode(reader)?,
            previous: Decode::decode(reader)?,
            parents: reader.list("parents of a session node", PARENTS_MAX, 32)?,
            transition: Decode::decode(reader)?,
            state: Decode::decode(reader)?,
            height: Decode::decode(reader)?,
            timestamp: Decode::decode(reader)?,
            ihsan: Decode::decode(reader)?,
            snr: Decode::decode(reader)?,
            fate: Decode::decode(reader)?,
            belief: Decode::decode(reader)?,
            entropy: Decode::decode(reader)?,
            potential: Decode::decode(reader)?,
        })
    }
}

#[cfg(test)]
mod tests;
