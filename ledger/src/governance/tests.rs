//! A chain of blocks governs itself here; [`model`] says the same in other words.

mod evidence;
mod model;

use super::*;
use crate::envelope::{Content, Envelope};
use crate::execution::{BlockInput, BlockRecord, Overlay, Parent, execute};
use crate::gates::Verdict;
use crate::memory::MemoryLedger;
use crate::policy::{DEFAULT_POLICY, Policies, PolicyHash};
use crate::reputation::{QUARANTINE_EPOCHS, Reputation};
use crate::testing::{
    CHAIN, TIMESTAMP_MS, committee, edit, json, public, text, unsigned, validator, with_signature,
};
use alloc::sync::Arc;
use bizra_types::execution::{Decisions, ParameterChange};
use bizra_types::hash::hex;
use bizra_types::json::{Document, Limits, Value, canonical, parse};
use bizra_types::numbers::{TimestampMs, ValidatorIndex};

use Code::{Invariant, Policy as PolicyCode, Role, State, Success};

/// A policy that lets everything pass, so that the other gates are seen.
const OPEN_POLICY: &str = "package bizra.policy\n\ndefault allow := true\n";

/// Short periods: an amendment of height h is voted on in h + 3 to h + 5, an emergency in h + 2.
const PERIODS: [(&str, u64); 4] = [
    ("deliberation_blocks", 2),
    ("voting_blocks", 3),
    ("emergency_deliberation_blocks", 1),
    ("emergency_voting_blocks", 1),
];

/// A chain whose blocks are committed one by one.
#[derive(Clone)]
struct World {
    ledger: MemoryLedger,
    policies: Policies,
    committee: Committee,
    height: u64,
    now: u64,
    nonce: u64,
}

impl World {
    fn new(seeds: impl IntoIterator<Item = u8>) -> Self {
        let mut ledger = MemoryLedger::genesis();
        for (name, value) in PERIODS {
            ledger.seed(Family::Parameter, name.as_bytes(), &value);
        }
        Self {
            ledger,
            policies: Policies::new([DEFAULT_POLICY]),
            committee: committee(seeds),
            height: 0,
            now: TIMESTAMP_MS,
            nonce: 0,
        }
    }

    /// A record of a key in a role.
    fn record(&mut self, role: &str, seed: u8, action: &str, data: &Value) -> BlockRecord {
        self.nonce += 1;
        let mut members = unsigned(seed, self.nonce);
        edit(&mut members, "sender.agent_type", Some(role.into()));
        edit(&mut members, "payload.action", Some(action.into()));
        edit(&mut members, "payload.data", Some(data.clone()));
        edit(&mut members, "metadata.snr_score", None);
        edit(&mut members, "metadata.chain_id", Some(CHAIN.to_string().as_str().into()));
        judged(with_signature(&members, 0))
    }

    fn propose(&mut self, seed: u8, procedure: &str, change: &Value) -> BlockRecord {
        let mut data = object(r#"{"change":{}}"#);
        edit(&mut data, "procedure", Some(procedure.into()));
        edit(&mut data, "change", Some(change.clone()));
        self.record("SAT", seed, "governance/propose", &Value::Object(data))
    }

    fn vote(&mut self, seed: u8, proposal: RecordDigest, choice: &str) -> BlockRecord {
        let data = json(&format!(r#"{{"proposal":"{proposal}","choice":"{choice}"}}"#));
        self.record("SAT", seed, "governance/vote", &data)
    }

    fn votes(&mut self, seeds: &[u8], proposal: RecordDigest, choice: &str) -> Vec<BlockRecord> {
        seeds.iter().map(|seed| self.vote(*seed, proposal, choice)).collect()
    }

    /// The overlay of a block with these records and reveals.
    fn execute(&mut self, records: &[BlockRecord], reveals: &[ValidatorIndex]) -> Overlay {
        let parent = Parent::new(&self.ledger, vec![]).expect("memory does not fail");
        let input = BlockInput {
            height: Height::new(self.height + 1),
            timestamp: TimestampMs::new(self.now),
            protocol_version: ProtocolVersion::new(1),
            committee: &self.committee,
            reveals,
            records,
        };
        execute(&parent, &input, &mut self.policies).expect("memory does not fail")
    }

    fn block_with(&mut self, records: &[BlockRecord], reveals: &[ValidatorIndex]) -> Overlay {
        let overlay = self.execute(records, reveals);
        self.ledger.commit(&overlay);
        self.height += 1;
        self.now += 1_000;
        let next = overlay.decisions().next_committee.clone();
        let hash = next.as_ref().map_or(Hash::ZERO, |next| next.hash());
        assert_eq!(overlay.fields().next_committee, hash);
        if let Some(next) = next {
            assert_eq!(self.entry::<Committee>(Family::Committee, &[]).as_ref(), Some(&*next));
            self.committee = (*next).clone();
        }
        assert_eq!(self.ledger.recomputed_plain(), overlay.head().plain);
        overlay
    }

    fn block(&mut self, records: &[BlockRecord]) -> Overlay {
        self.block_with(records, &[])
    }

    /// The codes of a block.
    fn codes(&mut self, records: &[BlockRecord]) -> Vec<Code> {
        self.block(records).outcomes().iter().map(|outcome| outcome.code).collect()
    }

    /// The code of a record in a block of its own that is not committed.
    fn code(&mut self, record: BlockRecord) -> Code {
        self.execute(&[record], &[]).outcomes()[0].code
    }

    fn blocks(&mut self, count: u64) {
        for _ in 0..count {
            self.block(&[]);
        }
    }

    fn entry<T: Decode>(&self, family: Family, key: &[u8]) -> Option<T> {
        let parent = Parent::new(&self.ledger, vec![]).expect("memory does not fail");
        let bytes = parent.plain(family, key).expect("memory does not fail")?;
        Some(T::from_bytes(&bytes).expect("undamaged"))
    }

    /// How a proposal ended, and when.
    fn ending(&self, proposal: RecordDigest) -> Option<(Ending, u64)> {
        let closed: Option<ClosedProposal> = self.entry(Family::ClosedProposal, &proposal.0);
        let is_open = self.entry::<Proposal>(Family::Proposal, &proposal.0).is_some();
        assert_ne!(is_open, closed.is_some(), "open or closed");
        closed.map(|closed| (closed.ending, closed.closed_at.get()))
    }

    /// Opens an amendment, which must be taken.
    fn open(&mut self, seed: u8, change: &Value) -> RecordDigest {
        let record = self.propose(seed, "amendment", change);
        let digest = digest(&record);
        assert_eq!(self.codes(&[record]), [Success]);
        digest
    }

    /// Opens an amendment, has these approve it, and goes on to its end.
    fn decide(&mut self, seed: u8, change: &Value, approvals: &[u8]) -> (Ending, Overlay) {
        let proposal = self.open(seed, change);
        self.blocks(2);
        let votes = self.votes(approvals, proposal, "approve");
        assert_eq!(self.codes(&votes), vec![Success; votes.len()]);
        self.blocks(1);
        let last = self.block(&[]);
        let (ending, height) = self.ending(proposal).expect("its time is over");
        assert_eq!(height, self.height);
        (ending, last)
    }

    /// Puts a change into force, which must be possible.
    fn enact(&mut self, change: &Value) -> Overlay {
        let seeds: Vec<u8> =
            (1..=254).filter(|seed| self.committee.index_of(&public(*seed)).is_some()).collect();
        let (ending, overlay) = self.decide(seeds[0], change, &seeds);
        assert_eq!(ending, Ending::Enacted);
        overlay
    }
}

fn judged(bytes: Arc<[u8]>) -> BlockRecord {
    let envelope = Envelope::parse_canonical(&bytes).expect("the form is right");
    BlockRecord { author: public(1), bytes, verdict: Verdict::Good(Arc::new(envelope)) }
}

fn digest(record: &BlockRecord) -> RecordDigest {
    record.verdict.envelope().expect("a good record").digest
}

fn object(text: &str) -> bizra_types::json::Members {
    let Value::Object(members) = json(text) else { panic!("{text} is no object") };
    members
}

fn parameter(name: &str, value: u64) -> Value {
    json(&format!(r#"{{"kind":"parameter","name":"{name}","value":{value}}}"#))
}

fn policy(rego: &str) -> Value {
    let rego = serde_json::to_string(rego).expect("a string");
    json(&format!(r#"{{"kind":"policy","name":"next","rego":{rego}}}"#))
}

fn version(version: u64, height: u64) -> Value {
    json(&format!(r#"{{"kind":"version","version":{version},"height":{height}}}"#))
}

fn revocation(key: PublicKey) -> Value {
    json(&format!(r#"{{"kind":"revocation","key":"{key}"}}"#))
}

/// A change of the committee; those who are put are validators under these names.
fn seats(put: &[Validator], remove: &[&str]) -> Value {
    let put: Vec<String> = put
        .iter()
        .map(|it| {
            format!(
                r#"{{"name":"{}","peer_id":"{}","consensus_key":"{}","vrf_key":"{}","kem_key":"{}"}}"#,
                it.name,
                it.peer_id,
                it.consensus_key,
                hex(&it.vrf_key),
                hex(&it.kem_key)
            )
        })
        .collect();
    let remove: Vec<String> = remove.iter().map(|name| format!("\"{name}\"")).collect();
    json(&format!(
        r#"{{"kind":"committee","put":[{}],"remove":[{}]}}"#,
        put.join(","),
        remove.join(",")
    ))
}

fn change_of(value: &Value) -> Change {
    let text = format!(
        r#"{{"procedure":"amendment","change":{}}}"#,
        String::from_utf8(canonical(value)).expect("JSON is text")
    );
    let document = Document::parse(text.as_bytes(), Limits::ENVELOPE).expect("strict JSON");
    match GovernanceAction::read_propose(&document.root()).expect("the form is right") {
        GovernanceAction::Propose { change, .. } => *change,
        GovernanceAction::Vote { .. } => unreachable!("it proposes"),
    }
}

/// The refusal of a record of the key of seed 1 by its form.
fn refusal(action: &str, data: &str) -> String {
    let mut members = unsigned(1, 1);
    edit(&mut members, "payload.action", Some(action.into()));
    edit(&mut members, "payload.data", Some(json(data)));
    edit(&mut members, "metadata.chain_id", Some(CHAIN.to_string().as_str().into()));
    let rejection = crate::envelope::Unsigned::parse(&text(&members)).expect_err(data);
    assert_eq!(rejection.code, Code::Schema);
    rejection.to_string()
}

#[test]
fn schemas_are_closed() {
    let key = "ab".repeat(32);
    let kinds = [
        r#"{"kind":"parameter","name":"snr_min_ppm","value":1}"#.to_owned(),
        r#"{"kind":"policy","name":"a","rego":"b"}"#.to_owned(),
        r#"{"kind":"committee","put":[],"remove":["a"]}"#.to_owned(),
        r#"{"kind":"version","version":2,"height":9}"#.to_owned(),
        format!(r#"{{"kind":"revocation","key":"{key}"}}"#),
    ];
    for kind in &kinds {
        let Value::Object(members) = json(kind) else { panic!("an object") };
        let names: Vec<String> = members.iter().map(|(name, _)| name.to_owned()).collect();
        for name in &names {
            let mut without = members.clone();
            without.remove(name);
            let without = String::from_utf8(canonical(&Value::Object(without))).expect("text");
            let data = format!(r#"{{"procedure":"amendment","change":{without}}}"#);
            assert_eq!(
                refusal("governance/propose", &data),
                format!("SCHEMA: `payload.data.change.{name}` is missing")
            );
        }
        let mut with = members.clone();
        with.insert("extra", Value::Bool(true));
        let with = String::from_utf8(canonical(&Value::Object(with))).expect("text");
        let data = format!(r#"{{"procedure":"amendment","change":{with}}}"#);
        let sentence = refusal("governance/propose", &data);
        assert!(sentence.contains("`payload.data.change.extra`"), "{sentence}");
    }
    for (action, data, member) in [
        ("governance/propose", format!(r#"{{"change":{}}}"#, kinds[0]), "procedure"),
        ("governance/propose", r#"{"procedure":"emergency"}"#.into(), "change"),
        (
            "governance/propose",
            format!(r#"{{"procedure":"coup","change":{}}}"#, kinds[0]),
            "procedure",
        ),
        (
            "governance/propose",
            r#"{"procedure":"emergency","change":{"kind":"coup"}}"#.into(),
            "change.kind",
        ),
        (
            "governance/propose",
            r#"{"procedure":"emergency","change":{"kind":"version","version":0,"height":9}}"#
                .into(),
            "change.version",
        ),
        (
            "governance/propose",
            r#"{"procedure":"emergency","change":{"kind":"version","version":65536,"height":9}}"#
                .into(),
            "change.version",
        ),
        (
            "governance/propose",
            format!(
                r#"{{"procedure":"emergency","change":{{"kind":"policy","name":"a","rego":"{}"}}}}"#,
                "x".repeat(POLICY_SIZE_MAX + 1)
            ),
            "change.rego",
        ),
        (
            "governance/propose",
            r#"{"procedure":"emergency","change":{"kind":"committee","put":[{}],"remove":[]}}"#
                .into(),
            "change.put[0].name",
        ),
        ("governance/vote", format!(r#"{{"proposal":"{key}"}}"#), "choice"),
        ("governance/vote", r#"{"choice":"veto"}"#.into(), "proposal"),
        ("governance/vote", format!(r#"{{"proposal":"{key}","choice":"abstain"}}"#), "choice"),
        ("governance/vote", r#"{"proposal":"ab","choice":"veto"}"#.into(), "proposal"),
        ("governance/vote", format!(r#"{{"proposal":"{key}","choice":"veto","why":"no"}}"#), "why"),
        (
            "release/attest",
            format!(
                r#"{{"release":"a b","artefacts_root":"{key}","rego_hash":"{key}","infrastructure_hash":"{key}"}}"#
            ),
            "release",
        ),
        (
            "release/attest",
            format!(r#"{{"release":"1.0.0","artefacts_root":"{key}","rego_hash":"{key}"}}"#),
            "infrastructure_hash",
        ),
    ] {
        let sentence = refusal(action, &data);
        assert!(sentence.starts_with(&format!("SCHEMA: `payload.data.{member}` ")), "{sentence}");
    }
}

#[test]
fn what_cannot_be_governed_is_refused_in_words() {
    let change_sentence = |change: &Value| {
        let change = change_of(change);
        let result = change.check().and_then(|()| change.check_policy());
        result.map_err(|rejection| rejection.to_string())
    };
    assert_eq!(change_sentence(&parameter("ihsan_min_ppm", 950_000)), Ok(()));
    assert_eq!(change_sentence(&policy(OPEN_POLICY)), Ok(()));
    let small_order = Validator { consensus_key: PublicKey([0; 32]), ..validator(9) };
    let mut torsion = [0; 32];
    torsion[0] = 1;
    let neutral = Validator { consensus_key: PublicKey(torsion), ..validator(9) };
    let no_point = Validator { consensus_key: PublicKey([2; 32]), ..validator(9) };
    assert!(!no_point.consensus_key.is_small_order());
    let shut = "package bizra.policy\n\ndefault allow := false\n\nallow if input.action == \
                \"governance/propose\"\n";
    for (change, sentence) in [
        (
            parameter("ihsan_min_ppm", 949_999),
            "INVARIANT: `payload.data.change.value` must be from 950000 to 1000000 for this \
             parameter, but is 949999",
        ),
        (
            parameter("amendment_min_ppm", 670_000),
            "STATE: `payload.data.change.name` must be the name of a governed parameter, but there \
             is none of this name",
        ),
        (
            parameter("emergency_min_ppm", 849_999),
            "INVARIANT: `payload.data.change.value` must be from 850000 to 1000000 for this \
             parameter, but is 849999",
        ),
        (
            parameter("veto_min_ppm", 329_999),
            "INVARIANT: `payload.data.change.value` must be from 330000 to 500000 for this \
             parameter, but is 329999",
        ),
        (
            parameter("deliberation_blocks", 0),
            "INVARIANT: `payload.data.change.value` must be from 1 to 604800 for this parameter, \
             but is 0",
        ),
        (
            parameter("sat_may_propose", 1),
            "STATE: `payload.data.change.name` must be the name of a governed parameter, but \
             there is none of this name",
        ),
        (
            parameter("vrf_epoch_ms", 3_000),
            "STATE: `payload.data.change.name` must be a governed parameter, but the genesis file \
             sets this one for ever",
        ),
        (
            parameter("view_timer_ms_min", 9),
            "INVARIANT: `payload.data.change.value` must be from 10 to 60000 for this parameter, \
             but is 9",
        ),
        (
            policy("package bizra.policy\nallow := 1 + 1\n"),
            "INVARIANT: `payload.data.change.rego` must be a policy, but ",
        ),
        (policy("allow"), "INVARIANT: `payload.data.change.rego` must be a policy, but "),
        (
            policy("package bizra.policy\n\ndefault allow := false\n"),
            "INVARIANT: `payload.data.change.rego` must allow validators governance/propose, or \
             nothing could change it",
        ),
        (
            policy(shut),
            "INVARIANT: `payload.data.change.rego` must allow validators governance/vote, or \
             nothing could change it",
        ),
        (
            seats(&[], &[]),
            "INVARIANT: `payload.data.change` must name somebody in `put` or `remove`, but changes \
             nothing",
        ),
        (
            seats(&[validator(9)], &["validator-9"]),
            "INVARIANT: `payload.data.change` must name each validator once, but names \
             validator-9 again",
        ),
        (
            seats(&[], &["validator-1", "validator-1"]),
            "INVARIANT: `payload.data.change` must name each validator once, but names \
             validator-1 again",
        ),
        (
            seats(&[validator(8), small_order], &[]),
            "INVARIANT: `payload.data.change.put[1].consensus_key` must be a point of the curve \
             that is not of small order",
        ),
        (
            seats(&[validator(8), Validator { peer_id: "peer-9".into(), ..validator(9) }], &[]),
            "INVARIANT: `payload.data.change.put[1].peer_id` must be the libp2p peer id of an \
             Ed25519 key, like 12D3KooW…",
        ),
        (
            seats(&[neutral], &[]),
            "INVARIANT: `payload.data.change.put[0].consensus_key` must be a point of the curve \
             that is not of small order",
        ),
        (
            seats(&[no_point], &[]),
            "INVARIANT: `payload.data.change.put[0].consensus_key` must be a point of the curve \
             that is not of small order",
        ),
    ] {
        let refusal = change_sentence(&change).expect_err(sentence);
        assert!(refusal.starts_with(sentence), "{refusal}");
    }
    // No range of a parameter is wider than what the votes rest on.
    let range = |name: &str| {
        let found = LedgerParameters::RANGES.iter().find(|(known, _)| *known == name);
        *found.expect("a parameter").1.start()
    };
    let floors = ["ihsan_min_ppm", "emergency_min_ppm", "veto_min_ppm"];
    assert_eq!(floors.map(range), [950_000, 850_000, 330_000]);
    // A name means one parameter.
    for (name, _) in genesis::Parameters::default().iter() {
        assert!(LedgerParameters::RANGES.iter().all(|(known, _)| *known != name), "{name}");
    }
}

#[test]
fn a_number_of_the_engine_reaches_the_engine() {
    let mut world = World::new(1..=7);
    let last = world.enact(&parameter("idle_block_ms", 500));
    let change = ParameterChange { name: "idle_block_ms", value: 500 };
    let expected = Decisions { parameters: vec![change], ..Decisions::default() };
    assert_eq!(*last.decisions(), expected);
    assert_eq!(*world.block(&[]).decisions(), Decisions::default(), "once");
    let last = world.enact(&parameter("gini_max_ppm", 1));
    assert_eq!(*last.decisions(), Decisions::default(), "the ledger's are none of the engine's");
}

#[test]
fn votes_count_when_their_validators_have_no_room_left() {
    let mut world = World::new(1..=7);
    world.ledger.seed(Family::Parameter, b"author_bytes_max", &1_048_576_u64);
    let filler: Vec<BlockRecord> = (0..700)
        .map(|number| judged(with_signature(&unsigned(50, 1_000_000 + number), 0)))
        .collect();
    world.block(&filler);
    let late = judged(with_signature(&unsigned(50, 1), 0));
    assert_eq!(world.codes(&[late]), [State], "no author has room");
    let (ending, _) = world.decide(2, &parameter("gini_max_ppm", 1), &[1, 2, 3, 4, 5]);
    assert_eq!(ending, Ending::Enacted);
    let outsider = world.propose(50, "amendment", &parameter("gini_max_ppm", 2));
    assert_eq!(world.codes(&[outsider]), [State], "who has no seat needs room as before");
}

#[test]
fn a_committee_fits_into_an_entry_of_the_state() {
    let member = |number: u16| {
        let mut seed = [0; 32];
        seed[..2].copy_from_slice(&number.to_le_bytes());
        let key = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key();
        Validator {
            name: format!("validator-{number}"),
            peer_id: format!("peer-{number}"),
            consensus_key: PublicKey(key.to_bytes()),
            vrf_key: seed,
            kem_key: vec![7; 1_216],
        }
    };
    let committee =
        |count: u16| Committee::new((1..=count).map(member).collect()).expect("all are distinct");
    let size = |count: u16| committee(count).to_bytes().len();
    let most = (700..800).find(|count| size(count + 1) > STATE_VALUE_BYTES_MAX).expect("one");
    let current = committee(most);
    let refused = changed_committee(&current, &[member(most + 1)], &[]).expect_err("too many");
    let sentence = "INVARIANT: `payload.data.change.put` must leave a committee of at most 1048576";
    assert!(refused.to_string().starts_with(sentence), "{refused}");
    let rotated = Validator { vrf_key: [255; 32], ..member(1) };
    let next = changed_committee(&current, &[rotated], &[]).expect("it gets no larger");
    assert_eq!(next.size(), usize::from(most));
}

#[test]
fn thresholds_are_shares_of_the_registered() {
    let parameters = LedgerParameters::default();
    for (size, amendment, emergency, veto) in [
        (1, 1, 1, 1),
        (3, 3, 3, 1),
        (4, 3, 4, 2),
        (5, 4, 5, 2),
        (7, 5, 6, 3),
        (10, 7, 9, 4),
        (13, 9, 12, 5),
        (100, 67, 85, 34),
        (200, 134, 170, 67),
    ] {
        let committee = committee(1..=size);
        let expected = Thresholds { amendment, emergency, veto };
        assert_eq!(Thresholds::of(&committee, &parameters), expected, "{size}");
        assert!(expected.veto > committee.faulty_max() && expected.amendment >= committee.quorum());
    }
    let strict =
        LedgerParameters { emergency_min_ppm: 1_000_000, veto_min_ppm: 500_000, ..parameters };
    let expected = Thresholds { amendment: 5, emergency: 7, veto: 4 };
    assert_eq!(Thresholds::of(&committee(1..=7), &strict), expected);
}

/// Whatever governance has made of its numbers, those who are there when f are gone can amend, and
/// neither the f nor as many liars as there may be can stop them.
#[test]
fn an_amendment_passes_without_those_who_may_be_gone() {
    for parameter_max in [false, true] {
        let mut parameters = LedgerParameters::default();
        if parameter_max {
            let all: BTreeMap<&str, u64> = LedgerParameters::RANGES
                .iter()
                .map(|(name, range)| (*name, *range.end()))
                .collect();
            let entries = |_: Family, key: &[u8]| {
                let name = core::str::from_utf8(key).expect("a name");
                Ok(Some(all[name].to_bytes()))
            };
            parameters = LedgerParameters::read(entries).expect("each is within its range");
        }
        for size in 4..=200 {
            let committee = committee(1..=size);
            let gone = committee.faulty_max();
            let there = committee.size() - gone;
            let thresholds = Thresholds::of(&committee, &parameters);
            let tally = |approvals: usize| Tally {
                approvals: u16::try_from(approvals).expect("small"),
                vetoes: u16::try_from(gone).expect("small"),
            };
            assert!(thresholds.is_approved(Procedure::Amendment, tally(there)), "{size}");
            assert!(!thresholds.is_vetoed(tally(there)), "{size}");
            // Nor do fewer than an honest majority of the honest ones decide.
            assert!(!thresholds.is_approved(Procedure::Amendment, tally(there - 1)), "{size}");
            assert!(3 * thresholds.amendment > 2 * committee.size(), "{size}");
        }
    }
}

/// The same on a chain: a lasting deadlock is undone by whoever is left.
#[test]
fn governance_goes_on_with_as_many_gone_as_may_be() {
    for size in [4, 5, 7, 10, 100] {
        let mut world = World::new(1..=size);
        let everybody: Vec<u8> = (1..=size).collect();
        for (name, most) in [("emergency_min_ppm", 1_000_000), ("veto_min_ppm", 500_000)] {
            let (ending, _) = world.decide(1, &parameter(name, most), &everybody);
            assert_eq!(ending, Ending::Enacted, "{name} with {size}");
        }
        let (gone, left) = everybody.split_at(world.committee.faulty_max());
        // They make room for others, as many as one record can name.
        let names: Vec<String> = gone.iter().take(8).map(|it| validator(*it).name).collect();
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        let joiners: Vec<Validator> = (101..).take(names.len()).map(validator).collect();
        let change = seats(&joiners, &names);
        let (ending, _) = world.decide(left[0], &change, &left[1..]);
        assert_eq!(ending, Ending::Refused, "one fewer than n - f, with {size}");
        let (ending, last) = world.decide(left[0], &change, left);
        assert_eq!(ending, Ending::Enacted, "with {size}");
        assert!(last.decisions().next_committee.is_some());
    }
}

#[test]
fn a_committee_changes_by_a_few_at_a_time() {
    let seven = committee(1..=7);
    let names = |committee: &Committee| -> Vec<String> {
        committee.iter().map(|(_, it)| it.name.clone()).collect()
    };
    let rotated = Validator { name: "validator-3".into(), ..validator(9) };
    let next = changed_committee(&seven, &[validator(8), rotated.clone()], &["validator-5".into()])
        .expect("two leave and two join");
    assert_eq!(
        names(&next),
        ["1", "2", "3", "4", "6", "7", "8"].map(|number| format!("validator-{number}"))
    );
    assert_eq!(next.key(ValidatorIndex::new(2)), Some(public(9)));

    let change = |current: &Committee, put: &[Validator], remove: &[&str]| {
        let remove: Vec<String> = remove.iter().map(|name| (*name).to_owned()).collect();
        changed_committee(current, put, &remove).map(|next| next.size())
    };
    assert_eq!(change(&seven, &[], &["validator-1", "validator-2"]), Ok(5));
    assert_eq!(change(&seven, &[validator(8), validator(9)], &[]), Ok(9));
    assert_eq!(change(&committee(1..=4), &[validator(8)], &["validator-1"]), Ok(4));
    let copy = |seed: u8| Validator { name: "other".into(), ..validator(seed) };
    let same_peer = Validator { peer_id: validator(1).peer_id, ..validator(9) };
    let same_vrf = Validator { vrf_key: [1; 32], ..validator(9) };
    for (current, put, remove, sentence) in [
        (
            &seven,
            vec![],
            vec!["validator-1", "validator-2", "validator-3"],
            "INVARIANT: `payload.data.change` must change at most 2 of 7 validators at once, but \
             changes 3",
        ),
        (
            &seven,
            vec![validator(8), validator(9), validator(10)],
            vec![],
            "INVARIANT: `payload.data.change` must change at most 2 of 7 validators at once, but \
             changes 3",
        ),
        (
            &seven,
            vec![rotated.clone()],
            vec!["validator-1", "validator-2"],
            "INVARIANT: `payload.data.change` must change at most 2 of 7 validators at once, but \
             changes 3",
        ),
        (
            &committee(1..=3),
            vec![validator(8)],
            vec![],
            "INVARIANT: `payload.data.change` must change at most 0 of 3 validators at once, but \
             changes 1",
        ),
        (
            &committee(1..=4),
            vec![],
            vec!["validator-1"],
            "INVARIANT: `payload.data.change` must leave at least 4 validators, but leaves 3",
        ),
        (
            &seven,
            vec![],
            vec!["validator-8"],
            "STATE: `payload.data.change.remove[0]` must be the name of a member of the committee",
        ),
        (
            &seven,
            vec![validator(3)],
            vec![],
            "STATE: `payload.data.change.put[0]` must change the member, but is the same as now",
        ),
        (
            &seven,
            vec![copy(1)],
            vec![],
            "INVARIANT: `payload.data.change.put` must make a committee, but makes validator \
             other has the name, the peer id or a key of another",
        ),
        (
            &seven,
            vec![same_peer],
            vec![],
            "INVARIANT: `payload.data.change.put` must make a committee, but makes validator \
             validator-9 has the name, the peer id or a key of another",
        ),
        (
            &seven,
            vec![same_vrf],
            vec![],
            "INVARIANT: `payload.data.change.put` must make a committee, but makes validator \
             validator-9 has the name, the peer id or a key of another",
        ),
    ] {
        let refusal = change(current, &put, &remove).expect_err(sentence);
        assert_eq!(refusal.to_string(), sentence);
    }
}

#[test]
fn an_amendment_goes_through_its_periods() {
    let mut world = World::new(1..=7);
    let raised = parameter("snr_min_ppm", 940_000);
    let proposal = world.open(1, &raised);
    let entry: Proposal = world.entry(Family::Proposal, &proposal.0).expect("it is open");
    let heights = [entry.opened_at, entry.deliberated_until, entry.decided_at].map(Height::get);
    assert_eq!(heights, [1, 3, 6]);
    let governance: Governance = world.entry(Family::Governance, &[]).expect("it is open");
    assert_eq!(governance.open.len(), 1);

    // Heights 2 and 3 deliberate.
    for _ in 2..=3 {
        let votes = world.votes(&[1, 2], proposal, "approve");
        assert_eq!(world.codes(&votes), [State, State]);
    }
    let votes = world.votes(&[1, 2, 3], proposal, "approve");
    assert_eq!(world.codes(&votes), [Success; 3]);
    // A record whose claimed SNR is 0.93 passes until the block that decides.
    let mut votes = world.votes(&[3], proposal, "reject");
    votes.extend(world.votes(&[4, 5, 3], proposal, "approve"));
    assert_eq!(world.codes(&votes), [Success; 4]);
    let inference = || judged(with_signature(&unsigned(9, 1_000), 0));
    let late = world.vote(6, proposal, "approve");
    assert_eq!(world.codes(&[inference(), late]), [Success; 2]);

    assert_eq!(world.ending(proposal), Some((Ending::Enacted, 6)));
    let closed: ClosedProposal = world.entry(Family::ClosedProposal, &proposal.0).expect("ended");
    assert_eq!(closed.tally, Tally { approvals: 6, vetoes: 0 });
    assert_eq!((closed.proposer, closed.opened_at.get()), (public(1), 1));
    assert_eq!(world.entry::<Ballots>(Family::Ballots, &proposal.0), None);
    assert_eq!(world.entry(Family::Governance, &[]), Some(Governance::default()));
    let after = judged(with_signature(&unsigned(9, 1_001), 0));
    let votes = [world.vote(7, proposal, "approve"), world.vote(7, proposal, "veto")];
    assert_eq!(world.codes(&[vec![after], votes.to_vec()].concat()), [Code::Snr, State, State]);
    assert_eq!(world.entry(Family::Parameter, b"snr_min_ppm"), Some(940_000_u64));
}

#[test]
fn thresholds_are_met_exactly_or_missed() {
    for (size, amendment, emergency, veto) in [(4, 3, 4, 2), (7, 5, 6, 3), (10, 7, 9, 4)] {
        let all: Vec<u8> = (1..=size).collect();
        for (procedure, needed, blocks) in
            [("amendment", amendment, 3), ("emergency", emergency, 1)]
        {
            for (approvals, expected) in
                [(needed, Ending::Enacted), (needed - 1, Ending::Refused), (0, Ending::Refused)]
            {
                let mut world = World::new(1..=size);
                let record = world.propose(2, procedure, &parameter("gini_max_ppm", 1));
                let proposal = digest(&record);
                world.block(&[record]);
                world.blocks(if procedure == "amendment" { 2 } else { 1 });
                // The rest is against it, and as many veto as may.
                let (for_it, rest) = all.split_at(approvals);
                let mut votes = world.votes(for_it, proposal, "approve");
                let (vetoes, against) = rest.split_at(rest.len().min(veto - 1));
                votes.extend(world.votes(vetoes, proposal, "veto"));
                votes.extend(world.votes(against, proposal, "reject"));
                assert_eq!(world.codes(&votes), vec![Success; votes.len()]);
                world.blocks(blocks - 1);
                let (ending, _) = world.ending(proposal).expect("its time is over");
                assert_eq!(ending, expected, "{procedure} of {size} with {approvals}");
                let gini: Option<u64> = world.entry(Family::Parameter, b"gini_max_ppm");
                assert_eq!(gini, (expected == Ending::Enacted).then_some(1));
            }
        }
        for (vetoes, expected) in [(veto - 1, None), (veto, Some((Ending::Vetoed, 2)))] {
            let mut world = World::new(1..=size);
            let proposal = world.open(2, &parameter("gini_max_ppm", 1));
            let votes = world.votes(&all[..vetoes], proposal, "veto");
            assert_eq!(world.codes(&votes), vec![Success; vetoes]);
            assert_eq!(world.ending(proposal), expected, "{vetoes} of {size}");
        }
    }
}

#[test]
fn a_veto_ends_a_proposal_at_once() {
    let mut world = World::new(1..=7);
    let proposal = world.open(1, &parameter("gini_max_ppm", 1));
    // A veto may be taken back once others may approve; the last word counts.
    let votes = world.votes(&[1, 2], proposal, "veto");
    assert_eq!(world.codes(&votes), [Success; 2]);
    world.blocks(1);
    let mut votes = world.votes(&[2], proposal, "approve");
    votes.extend(world.votes(&[3], proposal, "veto"));
    assert_eq!(world.codes(&votes), [Success; 2]);
    assert_eq!(world.ending(proposal), None);
    // Nothing after the last of the three reaches it, not even in the same block.
    let mut votes = world.votes(&[2, 3, 4, 5, 6, 7], proposal, "approve");
    votes.insert(1, world.vote(4, proposal, "veto"));
    votes.insert(1, world.vote(3, proposal, "veto"));
    votes.insert(3, world.vote(5, proposal, "veto"));
    let codes = world.codes(&votes);
    assert_eq!(codes, [Success, Success, Success, State, State, State, State, State, State]);
    assert_eq!(world.ending(proposal), Some((Ending::Vetoed, 5)));
    world.blocks(3);
    assert_eq!(world.entry::<u64>(Family::Parameter, b"gini_max_ppm"), None);
    // Its proposer has room again.
    world.open(1, &parameter("gini_max_ppm", 1));
}

#[test]
fn strangers_have_no_say() {
    let mut world = World::new(1..=4);
    let proposal = world.open(1, &parameter("gini_max_ppm", 1));
    world.blocks(2);
    let change = parameter("gini_max_ppm", 2);
    let mut data = object(r#"{"procedure":"amendment"}"#);
    data.insert("change", change.clone());
    let vote = json(&format!(r#"{{"proposal":"{proposal}","choice":"approve"}}"#));
    let attest = attest_data("1.0.0");
    for (role, seed) in [("PAT", 1), ("PAT", 9), ("SAT", 9)] {
        let records = [
            world.record(role, seed, "governance/propose", &Value::Object(data.clone())),
            world.record(role, seed, "governance/vote", &vote),
            world.record(role, seed, "release/attest", &attest),
        ];
        assert_eq!(world.codes(&records), [Role; 3]);
    }
    let unknown = world.vote(1, RecordDigest([7; 32]), "approve");
    assert_eq!(world.code(unknown), State);
    world.blocks(3);
    assert_eq!(world.ending(proposal).map(|(ending, _)| ending), Some(Ending::Refused));
}

#[test]
fn no_policy_lets_roles_change_places() {
    let mut world = World::new(1..=4);
    world.enact(&policy(OPEN_POLICY));
    let hash = PolicyHash::of(OPEN_POLICY).to_string();
    let mut codes = Vec::new();
    for (role, action, data) in [
        ("SAT", "inference/commit", None),
        ("PAT", "governance/vote", Some(r#"{"proposal":"HASH","choice":"veto"}"#)),
        ("PAT", "inference/commit", None),
    ] {
        let mut members = unsigned(1, 900 + codes.len() as u64);
        edit(&mut members, "sender.agent_type", Some(role.into()));
        edit(&mut members, "payload.action", Some(action.into()));
        edit(&mut members, "payload.policy_hash", Some(hash.as_str().into()));
        edit(&mut members, "metadata.chain_id", Some(CHAIN.to_string().as_str().into()));
        if let Some(data) = data {
            let data = json(&data.replace("HASH", &"ab".repeat(32)));
            edit(&mut members, "payload.data", Some(data));
        }
        codes.push(world.code(judged(with_signature(&members, 0))));
    }
    assert_eq!(codes, [Role, Role, Success]);
}

#[test]
fn a_validator_has_one_proposal_of_each_procedure() {
    let mut world = World::new(1..=4);
    let change = parameter("gini_max_ppm", 1);
    let records = ["amendment", "amendment", "emergency", "emergency"]
        .map(|procedure| world.propose(1, procedure, &change));
    assert_eq!(world.codes(&records), [Success, State, Success, State]);
    let mut records = Vec::new();
    for seed in 2..=4 {
        records.push(world.propose(seed, "amendment", &change));
        records.push(world.propose(seed, "emergency", &change));
    }
    assert_eq!(world.codes(&records), [Success; 6]);
    let governance: Governance = world.entry(Family::Governance, &[]).expect("they are open");
    assert_eq!(governance.open.len(), 8);
    let full = governance.check_room(public(9), Procedure::Amendment, &world.committee);
    assert_eq!(
        full.expect_err("two for each seat").to_string(),
        "STATE: the record must wait, because 8 proposals are open"
    );
    // The emergency of validator 1 ends at height 3, and leaves room.
    world.blocks(1);
    let again = world.propose(1, "emergency", &change);
    assert_eq!(world.codes(&[again]), [Success]);
}

#[test]
fn an_impossible_proposal_is_not_opened() {
    let mut world = World::new(1..=7);
    let invariants = [
        parameter("ihsan_min_ppm", 900_000),
        parameter("veto_min_ppm", 0),
        seats(&[validator(8), validator(9), validator(10)], &[]),
        seats(&[Validator { name: "twin".into(), ..validator(1) }], &[]),
        seats(&[Validator { consensus_key: PublicKey([0; 32]), ..validator(8) }], &[]),
    ];
    let states = [
        parameter("block_bytes_max", 262_144),
        parameter("anything", 1),
        seats(&[], &["validator-9"]),
        version(1, 100),
        version(3, 100),
        version(2, 6),
    ];
    let records: Vec<BlockRecord> =
        invariants.iter().chain(&states).map(|it| world.propose(1, "amendment", it)).collect();
    let codes = [vec![Invariant; invariants.len()], vec![State; states.len()]].concat();
    assert_eq!(world.codes(&records), codes);
    let left: Vec<Family> = world.ledger.plain_entries().map(|(family, ..)| family).collect();
    let expected = [Family::Outcome, Family::Parameter, Family::Usage, Family::AuthorUsage];
    assert!(left.iter().all(|family| expected.contains(family)), "{left:?}");
}

#[test]
fn of_two_committees_in_one_block_the_first_takes_over() {
    let mut world = World::new(1..=7);
    let first = world.propose(1, "amendment", &seats(&[validator(8)], &[]));
    let second = world.propose(2, "amendment", &seats(&[validator(9)], &[]));
    let third = world.propose(3, "amendment", &parameter("gini_max_ppm", 5));
    let proposals = [digest(&first), digest(&second), digest(&third)];
    assert_eq!(world.codes(&[first, second, third]), [Success; 3]);
    world.blocks(4);
    let votes: Vec<BlockRecord> = proposals
        .into_iter()
        .flat_map(|proposal| world.votes(&[1, 2, 3, 4, 5], proposal, "approve"))
        .collect();
    let overlay = world.block(&votes);
    let endings = proposals.map(|proposal| world.ending(proposal).map(|(ending, _)| ending));
    assert_eq!(endings, [Some(Ending::Enacted), Some(Ending::Void), Some(Ending::Enacted)]);
    let next = overlay.decisions().next_committee.as_ref().expect("the era ends");
    assert_eq!(**next, committee(1..=8));
    assert_eq!(overlay.fields().next_committee, committee(1..=8).hash());
    // The next block ends no era.
    assert_eq!(world.block(&[]).fields().next_committee, Hash::ZERO);
}

#[test]
fn a_change_that_was_overtaken_is_void() {
    let mut world = World::new(1..=7);
    let rotate = |seed| {
        let name = "validator-7".to_owned();
        seats(&[Validator { name, ..validator(seed) }], &[])
    };
    let removal = world.open(1, &seats(&[], &["validator-7"]));
    let replacement = world.open(2, &seats(&[validator(8)], &["validator-7"]));
    world.blocks(2);
    let mut votes = world.votes(&[1, 2, 3, 4, 5], removal, "approve");
    votes.extend(world.votes(&[1, 2, 3, 4, 5], replacement, "approve"));
    world.block(&votes);
    world.blocks(1);
    assert_eq!(world.ending(removal), Some((Ending::Enacted, 6)));
    let last = world.block(&[]);
    assert_eq!(world.ending(replacement), Some((Ending::Void, 7)));
    assert_eq!(last.decisions(), &Decisions::default());
    assert_eq!(world.committee.size(), 6);
    // Whoever is gone can be rotated no more, but may join again.
    let record = world.propose(1, "amendment", &seats(&[], &["validator-7"]));
    assert_eq!(world.code(record), State);
    let record = world.propose(1, "amendment", &rotate(9));
    assert_eq!(world.code(record), Success);
}

#[test]
fn leavers_take_their_ballots_along() {
    let mut world = World::new(1..=7);
    let rotated = Validator { name: "validator-7".into(), ..validator(9) };
    let change = world.open(1, &seats(&[validator(8), rotated], &["validator-6"]));
    world.blocks(1);
    let proposal = world.open(2, &parameter("gini_max_ppm", 1));
    let votes = world.votes(&[1, 2, 3, 4, 5], change, "approve");
    world.block(&votes);
    world.block(&[]);
    // Two who leave and three who stay are enough, if they stay.
    let votes = world.votes(&[1, 2, 3, 6, 7], proposal, "approve");
    let overlay = world.block(&votes);
    assert_eq!(world.ending(change), Some((Ending::Enacted, 6)));
    let next = overlay.decisions().next_committee.clone().expect("the era ends");
    assert_eq!(next.size(), 7);
    let ballots: Ballots = world.entry(Family::Ballots, &proposal.0).expect("three stay");
    assert_eq!(ballots.0.into_keys().collect::<BTreeSet<_>>(), [1, 2, 3].map(public).into());
    let votes = [world.vote(6, proposal, "approve"), world.vote(7, proposal, "approve")];
    assert_eq!(world.codes(&votes), [Role, Role]);
    // The joiner and the new key have a say in the new era.
    let votes = [world.vote(8, proposal, "approve"), world.vote(9, proposal, "approve")];
    assert_eq!(world.codes(&votes), [Success, Success]);
    assert_eq!(world.ending(proposal), Some((Ending::Enacted, 8)));

    let mut world = World::new(1..=7);
    let change = world.open(1, &seats(&[], &["validator-6", "validator-7"]));
    world.blocks(1);
    let proposal = world.open(2, &parameter("gini_max_ppm", 1));
    let votes = world.votes(&[1, 2, 3, 4, 5], change, "approve");
    world.block(&votes);
    world.block(&[]);
    let votes = world.votes(&[1, 2, 3, 6, 7], proposal, "approve");
    world.block(&votes);
    world.blocks(2);
    // Three of the five who are left, where four are needed.
    assert_eq!(world.ending(proposal), Some((Ending::Refused, 8)));
}

#[test]
fn the_committee_of_the_deciding_block_counts() {
    // A change and another proposal are decided at once: the leaver's ballot still counts.
    let mut world = World::new(1..=4);
    let change = world.propose(1, "amendment", &seats(&[validator(8)], &["validator-4"]));
    let other = world.propose(2, "amendment", &parameter("gini_max_ppm", 1));
    let proposals = [digest(&change), digest(&other)];
    world.block(&[change, other]);
    world.blocks(2);
    let mut votes = world.votes(&[1, 2, 4], proposals[0], "approve");
    votes.extend(world.votes(&[1, 2, 4], proposals[1], "approve"));
    world.block(&votes);
    world.blocks(2);
    for proposal in proposals {
        assert_eq!(world.ending(proposal), Some((Ending::Enacted, 6)));
    }
}

#[test]
fn a_policy_comes_into_force_and_the_old_one_has_its_grace() {
    let mut world = World::new(1..=4);
    world.ledger.seed(Family::Parameter, b"policy_grace_ms", &10_000_u64);
    let of = |world: &mut World, rego: &str| {
        world.nonce += 1;
        let mut members = unsigned(9, world.nonce);
        let hash = PolicyHash::of(rego).to_string();
        edit(&mut members, "payload.policy_hash", Some(hash.as_str().into()));
        let record = judged(with_signature(&members, 0));
        world.code(record)
    };
    // Weights of any kind may talk, but only on the edge.
    let strict = DEFAULT_POLICY.replace("not denied", "not denied\n\tinput.tier == \"POOL\"");
    assert_eq!(of(&mut world, &strict), PolicyCode);
    world.enact(&policy(&strict));
    let enacted_at = world.now - 1_000;
    let text: crate::policy::PolicyText =
        world.entry(Family::Policy, &PolicyHash::of(&strict).0).expect("its bytes are kept");
    assert_eq!(
        (text.name.as_str(), &text.rego, text.height.get()),
        ("next", &strict, world.height)
    );
    let mut loose = unsigned(9, 5_000);
    let hash = PolicyHash::of(&strict).to_string();
    edit(&mut loose, "payload.policy_hash", Some(hash.as_str().into()));
    edit(&mut loose, "payload.data.tier", Some("POOL".into()));
    assert_eq!(world.code(judged(with_signature(&loose, 0))), Success);
    assert_eq!(of(&mut world, &strict), PolicyCode);
    for (now, expected) in [(enacted_at + 10_000, Success), (enacted_at + 10_001, PolicyCode)] {
        world.now = now;
        assert_eq!(of(&mut world, DEFAULT_POLICY), expected);
    }
    // Validators name a policy in force too, and what was in force may be so again.
    let vote_by = |world: &mut World, rego: &str, record: BlockRecord| {
        let envelope = record.verdict.envelope().expect("good");
        let Value::Object(mut members) = parse(&record.bytes, Limits::ENVELOPE).expect("canonical")
        else {
            panic!("an object")
        };
        assert!(matches!(envelope.content, Content::Governance(_)));
        members.remove("signature");
        let hash = PolicyHash::of(rego).to_string();
        edit(&mut members, "payload.policy_hash", Some(hash.as_str().into()));
        let record = judged(with_signature(&members, 0));
        let digest = digest(&record);
        (world.codes(&[record]), digest)
    };
    let stale = world.propose(1, "amendment", &policy(DEFAULT_POLICY));
    assert_eq!(world.code(stale.clone()), PolicyCode);
    let (codes, proposal) = vote_by(&mut world, &strict, stale);
    assert_eq!(codes, [Success]);
    world.blocks(2);
    for seed in 1..=3 {
        let vote = world.vote(seed, proposal, "approve");
        assert_eq!(vote_by(&mut world, &strict, vote).0, [Success]);
    }
    assert_eq!(world.ending(proposal).map(|(ending, _)| ending), Some(Ending::Enacted));
    assert_eq!(of(&mut world, DEFAULT_POLICY), Success);
    let governance: Governance = world.entry(Family::Governance, &[]).expect("policies");
    let until: Vec<bool> = governance.policies.iter().map(|it| it.until.is_some()).collect();
    assert_eq!(until, [true, false]);
    assert_eq!(governance.policies[1].hash, PolicyHash::of(DEFAULT_POLICY));
    // The text of a policy goes with its grace.
    world.now += 20_000;
    world.enact(&policy(OPEN_POLICY));
    let gone: Option<crate::policy::PolicyText> =
        world.entry(Family::Policy, &PolicyHash::of(&strict).0);
    assert_eq!(gone, None);
}

#[test]
fn a_text_that_is_no_policy_is_void_however_many_approve() {
    let mut world = World::new(1..=4);
    for text in
        ["package bizra.policy\nallow := 1 + 1\n", "package bizra.policy\n\nallow := false\n"]
    {
        let (ending, overlay) = world.decide(1, &policy(text), &[1, 2, 3, 4]);
        assert_eq!(ending, Ending::Void);
        assert!(overlay.plain_writes().all(|(family, ..)| family != Family::Policy));
        assert_eq!(world.entry(Family::Governance, &[]), Some(Governance::default()));
    }
    assert_eq!(world.code(judged(with_signature(&unsigned(9, 700), 0))), Success);
}

#[test]
fn policies_follow_each_fork() {
    let mut world = World::new(1..=4);
    let before = world.clone();
    world.enact(&policy(OPEN_POLICY));
    let mut open = unsigned(9, 5_000);
    let hash = PolicyHash::of(OPEN_POLICY).to_string();
    edit(&mut open, "payload.policy_hash", Some(hash.as_str().into()));
    let record = || judged(with_signature(&open, 0));
    let mut fork = World { policies: world.policies.clone(), ..before };
    for _ in 0..2 {
        assert_eq!(world.code(record()), Success);
        // The other fork has never heard of it.
        fork.policies = world.policies.clone();
        assert_eq!(fork.code(record()), PolicyCode);
        world.policies = fork.policies.clone();
    }
    let missing = world.policies.follow(
        &[crate::policy::PolicyInForce { hash: PolicyHash([7; 32]), until: None }],
        TimestampMs::new(1),
        |_, _| Ok(None),
    );
    assert!(missing.expect_err("no text").0.contains("is missing"));
}

#[test]
fn a_version_is_activated_at_its_height() {
    let mut world = World::new(1..=4);
    // Decided at the end of height 6.
    let overlay = world.enact(&version(2, 7));
    let activation = Activation { height: Height::new(7), version: ProtocolVersion::new(2) };
    assert_eq!(overlay.decisions().activation, Some(activation));
    assert_eq!(overlay.decisions().next_committee, None);
    assert_eq!(overlay.fields().next_committee, Hash::ZERO);
    let height: Option<Height> =
        world.entry(Family::Activation, &ProtocolVersion::new(2).to_bytes());
    assert_eq!(height, Some(Height::new(7)));
    assert_eq!(world.block(&[]).decisions().activation, None);

    let activation = |version, height| Activation {
        version: ProtocolVersion::new(version),
        height: Height::new(height),
    };
    let check = |activation| {
        let current = ProtocolVersion::new(1);
        let result = check_activation(activation, current, Height::new(9));
        result.map_err(|rejection| rejection.to_string())
    };
    assert_eq!(check(activation(2, 10)), Ok(()));
    for version in [0, 1, 3] {
        assert_eq!(
            check(activation(version, 10)),
            Err(format!(
                "STATE: `payload.data.change.version` must be the one after 1, but is {version}"
            ))
        );
    }
    assert_eq!(
        check(activation(2, 9)),
        Err(
            "STATE: `payload.data.change.height` must lie after 9, where the proposal is decided, \
             but is 9"
                .into()
        )
    );
}

#[test]
fn governance_revokes_any_key_but_silences_no_validator() {
    let mut world = World::new(1..=4);
    let inference = |nonce| judged(with_signature(&unsigned(9, nonce), 0));
    assert_eq!(world.codes(&[inference(500)]), [Success]);
    world.enact(&revocation(public(9)));
    assert_eq!(world.codes(&[inference(501)]), [State]);
    let entry: KeyEntry = world.entry(Family::Key, &public(9).0).expect("it is revoked");
    let height = Height::new(world.height - 1);
    assert_eq!(entry, KeyEntry { identity: public(9), state: KeyState::Revoked, height });
    let again = world.propose(1, "amendment", &revocation(public(9)));
    assert_eq!(world.code(again), State);
    assert_eq!(
        revoked(public(9), Some(&entry), Height::new(8)).expect_err("it is none").to_string(),
        format!(
            "STATE: `payload.data.change.key` must be a valid key, but is none since height {height}"
        )
    );
    // The key of an identity that it does not name.
    let owned = KeyEntry { identity: public(5), state: KeyState::Valid, height: Height::new(2) };
    let revoked = revoked(public(6), Some(&owned), Height::new(8)).expect("it is valid");
    assert_eq!((revoked.identity, revoked.state), (public(5), KeyState::Revoked));

    // A validator's key, and a rule that nobody of them is registered for.
    world.enact(&revocation(public(1)));
    world.enact(&parameter("registered_only", 1));
    world.enact(&parameter("registered_only", 0));
    // As an identity it is worth nothing.
    assert_eq!(world.codes(&[judged(with_signature(&unsigned(1, 600), 0))]), [State]);
}

fn attest_data(release: &str) -> Value {
    let hash = |byte: u8| hex(&[byte; 32]);
    json(&format!(
        r#"{{"release":"{release}","artefacts_root":"{}","rego_hash":"{}","infrastructure_hash":"{}"}}"#,
        hash(1),
        hash(2),
        hash(3)
    ))
}

#[test]
fn each_validator_attests_to_releases() {
    let mut world = World::new(1..=4);
    let records = [
        world.record("SAT", 1, "release/attest", &attest_data("1.2.0-rc.1")),
        world.record("SAT", 2, "release/attest", &attest_data("1.2.0-rc.1")),
        world.record("SAT", 2, "release/attest", &attest_data("1.2.0")),
    ];
    assert_eq!(world.codes(&records), [Success; 3]);
    let entry = |world: &World, seed, name: &str| -> Option<Attestation> {
        world.entry(Family::Release, &[&public(seed).0[..], name.as_bytes()].concat())
    };
    let expected = Attestation {
        artefacts_root: Hash([1; 32]),
        rego_hash: Hash([2; 32]),
        infrastructure_hash: Hash([3; 32]),
        height: Height::new(1),
    };
    assert_eq!(entry(&world, 1, "1.2.0-rc.1"), Some(expected));
    assert_eq!(entry(&world, 2, "1.2.0"), Some(expected));
    assert_eq!(entry(&world, 1, "1.2.0"), None);
    // The latest word of a validator counts.
    let again = world.record("SAT", 1, "release/attest", &attest_data("1.2.0-rc.1"));
    world.block(&[again]);
    assert_eq!(entry(&world, 1, "1.2.0-rc.1").map(|it| it.height), Some(Height::new(2)));
}

#[test]
fn reputation_follows_presence() {
    let day_ms = LedgerParameters::default().governance_epoch_ms;
    let mut world = World::new(1..=4);
    let index = ValidatorIndex::new;
    let score = |world: &World, seed| {
        let reputation: Option<Reputation> = world.entry(Family::Reputation, &public(seed).0);
        reputation.map(|it| it.score)
    };
    // Before the first reveal days pass without a trace.
    world.block(&[]);
    world.now += 3 * day_ms;
    world.block(&[]);
    assert_eq!(world.entry::<Governance>(Family::Governance, &[]), None);
    // Validators 1 and 3 reveal, one of them twice.
    world.block_with(&[], &[index(0), index(2)]);
    let overlay = world.block_with(&[], &[index(0)]);
    assert_eq!(overlay.plain_writes().count(), 0, "once in an epoch is enough");
    assert_eq!((score(&world, 1), score(&world, 2)), (Some(500), None));
    world.now += day_ms;
    world.block(&[]);
    assert_eq!([1, 2, 3, 4].map(|it| score(&world, it)), [1_475, 475, 1_475, 475].map(Some));
    // Days without any block are one.
    world.now += 5 * day_ms;
    world.block_with(&[], &[index(1)]);
    world.now += day_ms;
    world.block(&[]);
    assert_eq!(score(&world, 1), Some(1_475 * 95 / 100 * 95 / 100));
    assert_eq!(score(&world, 2), Some(475 * 95 / 100 * 95 / 100 + 1_000));

    // A rotated key goes on where the old one was, and what it had been stays in no second place.
    let rotated = Validator { name: "validator-2".into(), ..validator(9) };
    world.enact(&seats(&[rotated], &[]));
    assert_eq!(score(&world, 9), Some(475 * 95 / 100 * 95 / 100 + 1_000));
    assert_eq!(score(&world, 2), None);

    let parameters = LedgerParameters::default();
    let best = Reputation { score: 100_000, seen_in: Some(7), quarantine_epochs: 0 };
    assert_eq!(best.after(7, &parameters).score, 96_000);
    let generous = LedgerParameters { reputation_participation: 100_000, ..parameters };
    assert_eq!(best.after(7, &generous).score, 100_000);
    assert_eq!(best.after(8, &generous).score, 95_000);
    assert_eq!(Reputation { score: 0, ..best }.after(8, &parameters).score, 0);
}

#[test]
fn an_equivocator_is_in_quarantine() {
    let parameters = LedgerParameters::default();
    let before = Reputation { score: 7_000, seen_in: Some(3), quarantine_epochs: 0 };
    let mut caught = before.after_equivocation();
    assert_eq!(caught, Reputation { score: 2_000, quarantine_epochs: 4, ..before });
    assert_eq!(caught.after_equivocation().score, 0);
    for epochs in (0..QUARANTINE_EPOCHS).rev() {
        assert!(caught.is_in_quarantine());
        let score = caught.score;
        caught = caught.after(3, &parameters);
        assert_eq!((caught.score, caught.quarantine_epochs), (score * 95 / 100, epochs));
    }
    assert!(!caught.is_in_quarantine());
    assert_eq!(caught.after(3, &parameters).score, caught.score * 95 / 100 + 1_000);

    let mut world = World::new(1..=4);
    let proposal = world.open(1, &parameter("gini_max_ppm", 1));
    let votes = world.votes(&[4], proposal, "veto");
    world.block(&votes);
    world.ledger.seed(Family::Reputation, &public(4).0, &caught.after_equivocation());
    // What it had said counts no more, nor what it would say now.
    let vetoes = [world.vote(4, proposal, "veto"), world.vote(3, proposal, "veto")];
    assert_eq!(world.codes(&vetoes), [State, Success]);
    assert_eq!(world.ending(proposal), None);
    let change = parameter("gini_max_ppm", 2);
    let records = [
        world.propose(4, "amendment", &change),
        world.record("SAT", 4, "release/attest", &attest_data("1.0.0")),
    ];
    assert_eq!(world.codes(&records), [State, State]);
    // The committee still has four seats, so the three others must agree.
    let votes = world.votes(&[1, 2, 3], proposal, "approve");
    assert_eq!(world.codes(&votes), [Success; 3]);
    world.blocks(1);
    assert_eq!(world.ending(proposal), Some((Ending::Enacted, 6)));
    let closed: ClosedProposal = world.entry(Family::ClosedProposal, &proposal.0).expect("ended");
    assert_eq!(closed.tally, Tally { approvals: 3, vetoes: 0 });
}

#[test]
fn entries_have_one_encoding() {
    for change in [
        parameter("snr_min_ppm", 860_000),
        policy(DEFAULT_POLICY),
        seats(&[validator(8)], &["validator-1", "validator-2"]),
        version(2, 100),
        revocation(public(9)),
    ] {
        let proposal = Proposal::new(
            public(1),
            Procedure::Emergency,
            change_of(&change),
            Height::new(5),
            &LedgerParameters::default(),
        );
        let bytes = proposal.to_bytes();
        assert_eq!(Proposal::from_bytes(&bytes), Ok(proposal));
        for at in 0..bytes.len() {
            assert!(Proposal::from_bytes(&bytes[..at]).is_err());
        }
    }
    let revoke = Change::Revocation { key: public(9) }.to_bytes();
    assert_eq!(revoke, [&[5], &public(9).0[..]].concat());
    let version = change_of(&version(2, 100)).to_bytes();
    assert_eq!(version, [4, 2, 0, 100, 0, 0, 0, 0, 0, 0, 0]);
    let unknown = Change::from_bytes(&[6]);
    assert_eq!(unknown, Err(DecodeError::Invalid { what: "kind of change", value: 6 }));
    assert_eq!(Choice::from_bytes(&[4]), Err(DecodeError::Invalid { what: "choice", value: 4 }));
    for (name, ending) in Ending::NAMES {
        assert_eq!(Ending::from_bytes(&ending.to_bytes()), Ok(*ending));
        assert_eq!(ending.name(), *name);
    }
    let ballots = Ballots([(public(2), Choice::Approve), (public(1), Choice::Veto)].into());
    let mut bytes = ballots.to_bytes();
    assert_eq!(Ballots::from_bytes(&bytes), Ok(ballots));
    let (first, second) = bytes[4..].split_at_mut(33);
    first.swap_with_slice(second);
    let unsorted = Err(DecodeError::Unordered("ballots"));
    assert_eq!(Ballots::from_bytes(&bytes), unsorted);
    bytes.copy_within(4..37, 37);
    assert_eq!(Ballots::from_bytes(&bytes), unsorted);
    let damaged = Governance::read(|_, _| Ok(Some(vec![1])));
    assert!(damaged.expect_err("one byte").0.contains("Governance family"));
}
