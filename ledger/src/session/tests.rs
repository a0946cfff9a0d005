use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const OWNER: PublicKey = PublicKey([1; 32]);
const KEY: SessionKey = SessionKey { owner: OWNER, session_id: Uuid([7; 16]) };

const fn record(number: u8) -> RecordDigest {
    RecordDigest([number; 32])
}

fn step(number: u8, transition: Transition) -> Step {
    Step {
        record: record(number),
        transition,
        height: Height::new(3),
        timestamp: TimestampMs::new(5),
        ihsan: Score::ONE,
        snr: Score::ONE,
        fate: Fate {
            fidelity: Score::ONE,
            accountability: Score::ONE,
            transparency: Score::ONE,
            ethics: Score::ONE,
        },
        window: 3,
    }
}

/// A session as it grows, and all its nodes.
#[derive(Clone, Default)]
struct Log {
    session: Option<Session>,
    nodes: BTreeMap<RecordDigest, SessionNode>,
}

impl Log {
    fn try_add(
        &mut self,
        number: u8,
        transition: Transition,
        parents: &[u8],
    ) -> Result<(), Rejection> {
        let records: Vec<RecordDigest> = parents.iter().copied().map(record).collect();
        check_parents(self.session.as_ref(), &records, transition)?;
        let parents: Vec<ParentRecord> = records
            .into_iter()
            .map(|record| ParentRecord { record, node: self.nodes.get(&record).cloned() })
            .collect();
        let step = step(number, transition);
        let (session, node) = advance(KEY, self.session.as_ref(), &parents, &step)?;
        self.session = Some(session);
        self.nodes.insert(step.record, node);
        Ok(())
    }

    fn add(mut self, number: u8, transition: Transition, parents: &[u8]) -> Self {
        self.try_add(number, transition, parents).expect("allowed");
        self
    }

    fn refuses(&self, transition: Transition, parents: &[u8]) -> String {
        let rejection = self.clone().try_add(99, transition, parents).expect_err("not allowed");
        assert_eq!(rejection.code, Code::State);
        rejection.to_string()
    }

    fn heads(&self) -> Vec<(u8, State)> {
        let heads = &self.session.as_ref().expect("begun").heads;
        heads.iter().map(|head| (head.record.0[0], head.state)).collect()
    }
}

use Transition::{
    Activate, Branch, Commit, Compute, Fail, Init, Merge, Recover, Resume, Rollback, Suspend,
    Terminate, Validate,
};

/// A log whose one head, record 1, is in this state.
fn in_state(state: State) -> Log {
    let mut log = Log::default().add(1, Init, &[]);
    log.nodes.get_mut(&record(1)).expect("it is there").state = state;
    log.session.as_mut().expect("begun").heads[0].state = state;
    log
}

/// The arrows as the design lists them, and the short form.
fn arrows() -> Vec<(State, Transition, State)> {
    use State as S;
    vec![
        (S::Init, Activate, S::Active),
        (S::Init, Terminate, S::Terminated),
        (S::Active, Compute, S::Computing),
        (S::Active, Suspend, S::Suspended),
        (S::Active, Fail, S::Failed),
        (S::Active, Terminate, S::Terminated),
        (S::Computing, Validate, S::Validated),
        (S::Computing, Fail, S::Failed),
        (S::Validated, Commit, S::Committed),
        (S::Validated, Fail, S::Failed),
        (S::Committed, Activate, S::Active),
        (S::Committed, Terminate, S::Terminated),
        (S::Suspended, Resume, S::Resumed),
        (S::Suspended, Terminate, S::Terminated),
        (S::Resumed, Activate, S::Active),
        (S::Failed, Recover, S::Recovered),
        (S::Failed, Terminate, S::Terminated),
        (S::Recovered, Activate, S::Active),
        (S::Active, Commit, S::Committed),
        (S::Committed, Commit, S::Committed),
        (S::Resumed, Commit, S::Committed),
    ]
}

#[test]
fn every_arrow_is_allowed_and_no_other() {
    let arrows = arrows();
    for from in State::ALL {
        for transition in
            [Activate, Compute, Validate, Commit, Suspend, Resume, Fail, Recover, Terminate]
        {
            let arrow = arrows.iter().find(|arrow| (arrow.0, arrow.1) == (from, transition));
            match arrow {
                Some((_, _, to)) => {
                    let log = in_state(from).add(2, transition, &[1]);
                    assert_eq!(log.heads(), [(2, *to)], "{from:?} {transition:?}");
                }
                None => {
                    let sentence = in_state(from).refuses(transition, &[1]);
                    assert!(
                        sentence.starts_with("STATE: `payload.data.transition` leads from ")
                            && sentence.ends_with(&format!(
                                "but `payload.data.parents[0]` is {}",
                                from.name()
                            )),
                        "{sentence}"
                    );
                }
            }
        }
    }
}

#[test]
fn branches_merges_and_rollbacks_have_their_states() {
    for from in State::ALL {
        let branched = in_state(from).try_add(2, Branch, &[1]);
        assert_eq!(branched.is_ok(), from != State::Terminated, "{from:?}");
        let merges = matches!(from, State::Active | State::Committed);
        if from != State::Terminated {
            let mut log = in_state(from).add(2, Branch, &[1]);
            assert_eq!(log.heads(), [(1, from), (2, from)]);
            assert_eq!(log.try_add(3, Merge, &[2, 1]).is_ok(), merges, "{from:?}");
            if merges {
                assert_eq!(log.heads(), [(3, State::Active)]);
            }
        }
        let rolls = !matches!(from, State::Failed | State::Terminated);
        assert_eq!(in_state(from).try_add(2, Rollback, &[1]).is_ok(), rolls, "{from:?}");
    }
}

#[test]
fn a_session_begins_once() {
    let log = Log::default().add(1, Commit, &[]);
    assert_eq!(log.heads(), [(1, State::Committed)]);
    assert_eq!(log.session.as_ref().map(|session| session.records), Some(1));
    for transition in [Init, Commit] {
        assert_eq!(
            log.refuses(transition, &[]),
            "STATE: `payload.data.parents` must name a record of the session, which has begun \
             already"
        );
    }
    assert_eq!(
        log.refuses(Init, &[1]),
        "STATE: `payload.data.parents` must be empty with this transition, but has 1 records"
    );
}

#[test]
fn each_transition_has_its_count_of_parents() {
    let log = Log::default().add(1, Commit, &[]).add(2, Branch, &[1]).add(3, Branch, &[1]);
    for (transition, parents, expected) in [
        (Activate, &[][..], "name 1 record with this transition, but has 0 records"),
        (Branch, &[1, 2], "name 1 record with this transition, but has 2 records"),
        (Rollback, &[], "name 1 record with this transition, but has 0 records"),
        (Commit, &[1, 2], "name at most 1 record with this transition, but has 2 records"),
        (Merge, &[], "name at least 2 records with this transition, but has 0 records"),
        (Merge, &[1], "name at least 2 records with this transition, but has 1 records"),
    ] {
        assert_eq!(
            log.refuses(transition, parents),
            format!("STATE: `payload.data.parents` must {expected}")
        );
    }
    assert_eq!(log.add(4, Merge, &[3, 1, 2]).heads(), [(4, State::Active)]);
}

#[test]
fn parents_are_of_the_session_and_in_the_log() {
    let mut log = Log::default().add(1, Commit, &[]);
    assert_eq!(
        log.refuses(Activate, &[2]),
        "STATE: `payload.data.parents[0]` must be a head of this session of the sender: a record \
         in the log that no other follows; only `branch`, from its heads, and `rollback` make a \
         second way"
    );
    assert_eq!(
        log.refuses(Rollback, &[2]),
        "STATE: `payload.data.parents[0]` must be an inference that is in the log, but is not"
    );
    let node = log.nodes[&record(1)].clone();
    let strangers = [
        SessionKey { owner: PublicKey([2; 32]), ..KEY },
        SessionKey { session_id: Uuid([8; 16]), ..KEY },
    ];
    for session in strangers {
        log.nodes.insert(record(2), SessionNode { session, ..node.clone() });
        assert_eq!(
            log.refuses(Rollback, &[2]),
            "STATE: `payload.data.parents[0]` must be a record of this session of the sender, but \
             is of another"
        );
    }
}

#[test]
fn only_heads_are_followed_and_a_rollback_goes_back_anywhere() {
    let log = Log::default()
        .add(1, Commit, &[])
        .add(2, Commit, &[1])
        .add(3, Activate, &[2])
        .add(4, Branch, &[3])
        .add(5, Fail, &[3]);
    for transition in [Commit, Branch] {
        assert!(log.refuses(transition, &[1]).contains("[0]` must be a head of this session"));
    }
    assert_eq!(log.heads(), [(4, State::Active), (5, State::Failed)]);
    let log = log.add(6, Rollback, &[1]);
    assert_eq!(log.heads(), [(6, State::Active)]);
    assert_eq!(log.nodes[&record(6)].clock, 5);
    assert_eq!(log.nodes[&record(6)].parents, [log.nodes[&record(1)].hash(&record(1))]);
    assert_eq!(log.nodes[&record(6)].previous, log.nodes[&record(5)].hash(&record(5)));
    assert!(log.refuses(Commit, &[4]).contains("must be a head"));
}

#[test]
fn a_terminated_branch_leaves_and_the_last_one_ends_the_session() {
    let log = Log::default().add(1, Commit, &[]).add(2, Branch, &[1]).add(3, Terminate, &[1]);
    assert_eq!(log.heads(), [(2, State::Committed)]);
    let log = log.add(4, Terminate, &[2]);
    assert_eq!(log.heads(), [(4, State::Terminated)]);
    assert!(log.refuses(Branch, &[4]).contains("is terminated"));
    assert!(log.refuses(Rollback, &[4]).contains("is terminated"));
    assert_eq!(
        log.refuses(Rollback, &[1]),
        "STATE: `payload.data.session_id` must be of a session that is not over, but all of it is \
         terminated"
    );
}

#[test]
fn heads_are_bounded() {
    let mut log = Log::default().add(1, Commit, &[]);
    for number in 2..=64 {
        log = log.add(number, Branch, &[number - 1]);
    }
    assert_eq!(log.heads().len(), HEADS_MAX);
    assert_eq!(
        log.refuses(Branch, &[5]),
        "STATE: `payload.data.transition` must not make a session of more than 64 heads"
    );
    let all: Vec<u8> = (1..=64).collect();
    assert_eq!(log.add(65, Merge, &all).heads(), [(65, State::Active)]);
}

#[test]
fn closing_needs_the_count() {
    let log = Log::default().add(1, Commit, &[]).add(2, Branch, &[1]);
    let close = |records| SessionClose { session_id: KEY.session_id, records };
    let height = Height::new(9);
    let session = log.session.as_ref();
    assert_eq!(
        close(2).close(session, height),
        Ok(ClosedSession { records: 2, head: log.nodes[&record(2)].hash(&record(2)), height })
    );
    assert_eq!(
        close(1).close(session, height).expect_err("one was forgotten").to_string(),
        "STATE: `payload.data.records` must be 2, the session's records in the log, but is 1"
    );
    assert_eq!(
        close(1).close(None, height).expect_err("no session").to_string(),
        "STATE: `payload.data.session_id` must be an open session of the sender"
    );
    let entry = ClosedSession { records: 2, head: Hash::ZERO, height };
    assert_eq!(
        closed(&entry).to_string(),
        "STATE: `payload.data.session_id` must be an open session, but was closed at height 9"
    );
}

#[test]
fn the_hash_of_a_node_covers_every_field() {
    let log = Log::default().add(1, Commit, &[]).add(2, Activate, &[1]);
    let node = log.nodes[&record(2)].clone();
    let hash = node.hash(&record(2));
    let with = |change: fn(&mut SessionNode)| {
        let mut changed = node.clone();
        change(&mut changed);
        assert_ne!(changed, node);
        changed.hash(&record(2))
    };
    let mut hashes = vec![
        hash,
        node.hash(&record(3)),
        with(|node| node.session.owner = PublicKey([9; 32])),
        with(|node| node.session.session_id = Uuid([9; 16])),
        with(|node| node.clock = 9),
        with(|node| node.previous = Hash([9; 32])),
        with(|node| node.parents.push(Hash([9; 32]))),
        with(|node| node.parents[0] = Hash([9; 32])),
        with(|node| node.transition = Suspend),
        with(|node| node.state = State::Failed),
        with(|node| node.height = Height::new(9)),
        with(|node| node.timestamp = TimestampMs::new(9)),
        with(|node| node.ihsan = Score::ZERO),
        with(|node| node.snr = Score::ZERO),
        with(|node| node.fate.fidelity = Score::ZERO),
        with(|node| node.fate.accountability = Score::ZERO),
        with(|node| node.fate.transparency = Score::ZERO),
        with(|node| node.fate.ethics = Score::ZERO),
        with(|node| node.belief += 1),
        with(|node| node.entropy += 1),
        with(|node| node.potential += 1),
    ];
    let count = hashes.len();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
}

#[test]
fn entries_have_one_encoding() {
    let log = Log::default().add(1, Commit, &[]).add(2, Branch, &[1]);
    let session = log.session.expect("begun");
    assert_eq!(Session::from_bytes(&session.to_bytes()), Ok(session.clone()));
    let node = &log.nodes[&record(2)];
    assert_eq!(SessionNode::from_bytes(&node.to_bytes()).as_ref(), Ok(node));

    let mut bytes = session.to_bytes();
    // The state of the second head.
    bytes[8 + 32 + 4 + 2 * 33 - 1] = 11;
    assert_eq!(
        Session::from_bytes(&bytes),
        Err(DecodeError::Invalid { what: "session state", value: 11 })
    );
    assert_eq!(
        Transition::from_bytes(&[14]),
        Err(DecodeError::Invalid { what: "transition", value: 14 })
    );
    assert_eq!(
        Score::from_bytes(&1_000_001_u32.to_bytes()),
        Err(DecodeError::Invalid { what: "score", value: 1_000_001 })
    );
}

#[test]
fn a_unit_observes_the_session() {
    let mut expected = Unit::new(3);
    let mut log = Log::default();
    for number in 1..=5 {
        log = if number == 1 {
            log.add(1, Commit, &[])
        } else {
            log.add(number, Commit, &[number - 1])
        };
        expected.observe(Score::ONE);
        let node = &log.nodes[&record(number)];
        assert_eq!(
            (node.belief, node.entropy, node.potential),
            (expected.belief(), expected.entropy(), expected.potential())
        );
    }
    assert_eq!(log.session.expect("begun").unit, expected);
}

/// The heads by the words of the design, from the list of all records.
fn heads_of(records: &[(u8, Transition, Vec<u8>, State)]) -> Vec<(u8, State)> {
    let last_rollback =
        records.iter().rposition(|(_, transition, ..)| *transition == Rollback).unwrap_or(0);
    let live = &records[last_rollback..];
    let is_followed = |number: u8| {
        live.iter().any(|(_, transition, parents, _)| {
            !matches!(transition, Branch | Rollback) && parents.contains(&number)
        })
    };
    let mut heads: Vec<(u8, State)> = live
        .iter()
        .filter(|(number, ..)| !is_followed(*number))
        .map(|(number, _, _, state)| (*number, *state))
        .collect();
    if heads.iter().any(|(_, state)| *state != State::Terminated) {
        heads.retain(|(_, state)| *state != State::Terminated);
    } else if let Some(last) = heads.pop() {
        // The session is over with the last to go.
        heads = vec![last];
    }
    heads
}

/// Where a record leads that the design allows after these; `None` for one that it does not.
fn state_after(
    records: &[(u8, Transition, Vec<u8>, State)],
    transition: Transition,
    parents: &[u8],
) -> Option<State> {
    let has_its_parents = match (transition, parents.len()) {
        (Init | Commit, 0) => records.is_empty(),
        (Merge, count) => count >= 2,
        (Init, _) => false,
        (_, count) => count == 1,
    };
    let heads = heads_of(records);
    let is_over = heads.iter().all(|(_, state)| *state == State::Terminated);
    if !has_its_parents || transition == Rollback && is_over {
        return None;
    }
    let state_of = |parent: &u8| {
        let is_head = heads.iter().any(|(number, _)| number == parent);
        let known = records.iter().find(|(number, ..)| number == parent)?;
        (is_head || transition == Rollback).then_some(known.3)
    };
    let from: Vec<State> = parents.iter().map(state_of).collect::<Option<_>>()?;
    let to = |from: &State| match transition {
        Branch => (*from != State::Terminated && heads.len() < 64).then_some(*from),
        Merge => matches!(from, State::Active | State::Committed).then_some(State::Active),
        Rollback => (!matches!(from, State::Failed | State::Terminated)).then_some(State::Active),
        _ => arrows().iter().find(|arrow| (arrow.0, arrow.1) == (*from, transition)).map(|it| it.2),
    };
    match (transition, from.as_slice()) {
        (Init, _) => Some(State::Init),
        (Commit, []) => Some(State::Committed),
        _ => from.iter().map(to).collect::<Option<Vec<State>>>()?.pop(),
    }
}

proptest! {
    #[test]
    fn a_session_is_what_its_records_make_of_it(
        steps in prop::collection::vec(
            (
                prop::sample::select(vec![
                    Init, Activate, Compute, Validate, Commit, Suspend, Resume, Fail, Recover,
                    Terminate, Branch, Branch, Merge, Rollback,
                ]),
                prop::collection::vec((0_u8..8, any::<prop::sample::Index>()), 0..4),
            ),
            1..200,
        )
    ) {
        let mut log = Log::default();
        let mut records = Vec::new();
        for (transition, choices) in steps {
            let number = u8::try_from(records.len()).expect("few");
            let heads = heads_of(&records);
            // Mostly heads, and now and then any number, one that nothing has included.
            let mut parents: Vec<u8> = Vec::new();
            let count = match transition {
                Init => 0,
                Merge => choices.len(),
                _ => 1,
            };
            for (chance, at) in choices.into_iter().take(count) {
                let parent = match chance {
                    0 => at.index(usize::from(number) + 1) as u8,
                    _ if heads.is_empty() => continue,
                    _ => at.get(&heads).0,
                };
                if !parents.contains(&parent) {
                    parents.push(parent);
                }
            }
            let before = log.session.clone();
            let expected = state_after(&records, transition, &parents);
            let result = log.try_add(number, transition, &parents);
            prop_assert_eq!(
                result.is_ok(), expected.is_some(),
                "{:?} {:?} after {:?}: {:?}", transition, parents, records, result
            );
            let Some(state) = expected else {
                prop_assert_eq!(&log.session, &before);
                continue;
            };
            let node = &log.nodes[&record(number)];
            let hash_of = |number: &u8| log.nodes[&record(*number)].hash(&record(*number));
            prop_assert_eq!((node.state, node.clock), (state, u64::from(number)));
            let previous = number.checked_sub(1).map_or(Hash::ZERO, |before| hash_of(&before));
            prop_assert_eq!(node.previous, previous);
            prop_assert_eq!(&node.parents, &parents.iter().map(hash_of).collect::<Vec<_>>());
            records.push((number, transition, parents, state));
            prop_assert_eq!(log.heads(), heads_of(&records));

            let session = log.session.as_ref();
            let count = records.len() as u64;
            for records in count - 1..=count + 1 {
                let close = SessionClose { session_id: KEY.session_id, records };
                let closed = close.close(session, Height::new(9)).ok();
                let entry = ClosedSession { records, head: hash_of(&number), height: Height::new(9) };
                prop_assert_eq!(closed, (records == count).then_some(entry));
            }
        }
    }
}
