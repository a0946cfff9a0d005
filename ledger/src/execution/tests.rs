mod forks;
mod identities;
mod state;

use super::*;
use crate::codes::Rejection;
use crate::envelope::Envelope;
use crate::forms::Score;
use crate::identity::rotation_message;
use crate::market::{Account, Market};
use crate::memory::MemoryLedger;
use crate::ntu::Unit;
use crate::pattern::PatternVotes;
use crate::policy::{DEFAULT_POLICY, PolicyHash};
use crate::reputation::Reputation;
use crate::session::{ClosedSession, SessionNode};
use crate::testing::{
    CHAIN, TIMESTAMP_MS, committee, edit, json, key, offer, public, unsigned, with_signature,
};

use bizra_types::encoding::Decode as _;
use bizra_types::hash::hex;
use bizra_types::json::Value;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ed25519_dalek::Signer as _;
use proptest::prelude::*;
use sha2::Sha256;
use std::sync::LazyLock;

/// A record whose signature, good or not, consists of `signature`; receipt is
/// taken to have found it good.
fn good(nonce: u64, signature: u8) -> BlockRecord {
    judged(with_signature(&unsigned(7, nonce), signature))
}

/// A system agent that proposes an inference.
fn wrong_role(nonce: u64) -> BlockRecord {
    let mut members = unsigned(7, nonce);
    edit(&mut members, "sender.agent_type", Some("SAT".into()));
    judged(with_signature(&members, 0))
}

fn judged(bytes: Arc<[u8]>) -> BlockRecord {
    let envelope = Envelope::parse_canonical(&bytes).expect("the form is right");
    BlockRecord { author: public(200), bytes, verdict: Verdict::Good(Arc::new(envelope)) }
}

/// A copy of a good record that receipt refused.
fn forged(nonce: u64, signature: u8) -> BlockRecord {
    let rejection = Rejection::new(Code::Signature, "signature.value", "is forged");
    BlockRecord { verdict: Verdict::Bad(rejection), ..good(nonce, signature) }
}

fn digest(record: &BlockRecord) -> RecordDigest {
    Envelope::parse_canonical(&record.bytes).expect("the form is right").digest
}

static COMMITTEE: LazyLock<Committee> = LazyLock::new(|| committee([200]));

fn block(height: u64, records: &[BlockRecord]) -> BlockInput<'_> {
    let timestamp = TimestampMs::new(TIMESTAMP_MS + height);
    BlockInput {
        height: Height::new(height),
        timestamp,
        protocol_version: ProtocolVersion::new(1),
        committee: &COMMITTEE,
        reveals: &[],
        records,
    }
}

/// Those of the design, as a node has them after its start.
fn policies() -> Policies {
    Policies::new([DEFAULT_POLICY])
}

/// Those, for tests of many histories: compiling them takes longer than many a block.
static POLICIES: LazyLock<Policies> = LazyLock::new(policies);

fn run(
    base: &MemoryLedger,
    pending: &[Arc<Overlay>],
    height: u64,
    records: &[BlockRecord],
) -> Arc<Overlay> {
    let parent = Parent::new(base, pending.to_vec()).expect("memory does not fail");
    Arc::new(
        execute(&parent, &block(height, records), &mut policies()).expect("memory does not fail"),
    )
}

fn codes(overlay: &Overlay) -> Vec<Code> {
    overlay.outcomes().iter().map(|outcome| outcome.code).collect()
}

#[test]
fn genesis_is_pinned() {
    let fields = genesis_fields();
    assert_eq!(
        fields.log_root.to_string(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert_eq!(fields.state_root.as_bytes(), b"SPARSE_MERKLE_PLACEHOLDER_HASH__");
    assert_eq!(
        fields.plain_digest.as_bytes(),
        &blake3::derive_key("bizra 2026 plain digest v1", &[0; 2_048])
    );
    let zero = [0; 32];
    assert_eq!(
        (fields.parent.0, fields.outcomes_root.0, fields.next_committee.0),
        (zero, zero, zero)
    );
    assert_eq!(fields.log_size, 0);
    let mut bytes = Vec::new();
    for part in [
        fields.parent.0,
        fields.log_root.0,
        [0; 32],
        fields.state_root.0,
        fields.plain_digest.0,
        fields.outcomes_root.0,
        fields.next_committee.0,
    ] {
        bytes.extend_from_slice(&part);
    }
    // The log's size is a u64 after its root.
    bytes.drain(64..64 + 24);
    assert_eq!(genesis_exec().0, blake3::derive_key("bizra 2026 exec v1", &bytes));
    assert_eq!(
        genesis_exec().to_string(),
        "d07c09d4d15adb92bbad4c1b523e8176fa1f1ee9cd42c0ee2f1c51a3803c03ad"
    );
    assert_eq!(Head::genesis().exec, genesis_exec());
}

#[test]
fn an_empty_block_changes_nothing_but_its_place() {
    let base = MemoryLedger::genesis();
    let overlay = run(&base, &[], 1, &[]);
    assert_eq!(*overlay.fields(), ExecFields { parent: genesis_exec(), ..genesis_fields() });
    assert_ne!(overlay.exec(), genesis_exec());
    assert_eq!(overlay.exec(), overlay.fields().hash());
    assert_eq!(overlay.head().height, Height::new(1));
    assert_eq!(overlay.timestamp().get(), TIMESTAMP_MS + 1);
    assert_eq!(overlay.log_hashes().count(), 0);
    assert_eq!(overlay.plain_writes().count(), 0);
    assert_eq!(overlay.outcome_proof(0), None);
}

#[test]
fn the_first_occurrence_in_block_order_is_the_record() {
    let base = MemoryLedger::genesis();
    let records = [forged(1, 9), good(1, 2), good(1, 3), good(1, 2), good(2, 0)];
    let overlay = run(&base, &[], 1, &records);
    use Code::{Signature, Skipped, Success};
    assert_eq!(codes(&overlay), [Signature, Success, Skipped, Skipped, Success]);
    let places: Vec<Option<u64>> =
        overlay.outcomes().iter().map(|outcome| outcome.log_index.map(LogIndex::get)).collect();
    assert_eq!(places, [None, Some(0), Some(0), Some(0), Some(1)]);
    let logged: Vec<(usize, u64)> = overlay.logged().map(|(at, index)| (at, index.get())).collect();
    assert_eq!(logged, [(1, 0), (4, 1)]);
    let judged: Vec<Code> = overlay.judged().map(|outcome| outcome.code).collect();
    assert_eq!(judged, [Signature, Success, Success]);

    let next =
        run(&base, core::slice::from_ref(&overlay), 2, &[good(2, 8), good(1, 3), good(3, 0)]);
    assert_eq!(codes(&next), [Skipped, Skipped, Success]);

    // The leaf of the log is the copy that came first.
    let parent = Parent::new(&base, vec![overlay, next.clone()]).expect("memory does not fail");
    for (index, record) in [(0, good(1, 2)), (1, good(2, 0)), (2, good(3, 0))] {
        let proof = log::inclusion_proof(3, index, &parent).expect("memory does not fail");
        let leaf = log::leaf_hash(&record.bytes);
        assert!(log::is_included(&proof, 3, next.fields().log_root, index, leaf));
    }
}

#[test]
fn a_forged_copy_does_not_touch_the_status_of_its_digest() {
    let base = MemoryLedger::genesis();
    let status = |pending: &[Arc<Overlay>]| {
        let parent = Parent::new(&base, pending.to_vec()).expect("memory does not fail");
        parent.outcome(&digest(&good(1, 0))).expect("memory does not fail")
    };
    let first = run(&base, &[], 1, &[forged(1, 0)]);
    assert_eq!(first.outcomes()[0].digest, None);
    assert_eq!(status(core::slice::from_ref(&first)), None);
    // All that it leaves is a charge of the batch's author.
    let written: Vec<Family> = first.plain_writes().map(|(family, ..)| family).collect();
    assert_eq!(written, [Family::AuthorUsage]);

    // The very bytes that were refused may come again with a good verdict,
    // because another validator admitted them at another time.
    let second = run(&base, core::slice::from_ref(&first), 2, &[good(1, 0)]);
    let entry = OutcomeEntry {
        code: Code::Success,
        flags: OutcomeFlags(0),
        height: Height::new(2),
        log_index: Some(LogIndex::new(0)),
    };
    assert_eq!(codes(&second), [Code::Success]);
    let third = run(&base, &[first.clone(), second.clone()], 3, &[forged(1, 0), good(1, 1)]);
    assert_eq!(codes(&third), [Code::Signature, Code::Skipped]);
    assert_eq!(status(&[first, second, third]), Some(entry));
}

#[test]
fn a_rejected_record_is_stored_with_its_code_and_judged_afresh() {
    let mut base = MemoryLedger::genesis();
    let record = wrong_role(1);
    for height in 1..4 {
        let overlay = run(&base, &[], height, &[record.clone(), good(height, 0)]);
        assert_eq!(codes(&overlay), [Code::Role, Code::Success]);
        base.commit(&overlay);
        let parent = Parent::new(&base, vec![]).expect("memory does not fail");
        let entry = parent.outcome(&digest(&record)).expect("memory does not fail");
        let expected = OutcomeEntry {
            code: Code::Role,
            flags: OutcomeFlags(0),
            height: Height::new(height),
            log_index: None,
        };
        assert_eq!(entry, Some(expected));
        assert_eq!(base.recomputed_plain(), parent.head().plain);
        assert_eq!(parent.head().log_size, height);
    }
    // The rejected record is in no session.
    let of = |family| base.plain_entries().filter(|entry| entry.0 == family).count();
    assert_eq!(of(Family::Outcome), 4);
    assert_eq!((of(Family::Session), of(Family::SessionNode)), (3, 3));
}

/// A record with one member changed.
fn changed(nonce: u64, path: &str, value: &str) -> BlockRecord {
    let mut members = unsigned(7, nonce);
    edit(&mut members, path, Some(json(value)));
    judged(with_signature(&members, 0))
}

#[test]
fn each_gate_of_execution_gives_its_code() {
    let base = MemoryLedger::genesis();
    let records = [
        changed(1, "metadata.snr_score", "0.84"),
        changed(2, "metadata.ihsan_score", "0.94"),
        changed(3, "payload.data.fate.e", "0.8"),
        changed(4, "payload.data.finished_at", "\"2026-11-22T01:46:00Z\""),
        changed(5, "metadata.ihsan_score", "0.95"),
    ];
    let overlay = run(&base, &[], 1, &records);
    use Code::{Fate, Ihsan, Invariant, Snr, Success};
    assert_eq!(codes(&overlay), [Snr, Ihsan, Fate, Invariant, Success]);
    assert_eq!(overlay.fields().log_size, 1);
}

/// A ledger in which governance has changed one parameter.
struct Governed(&'static str, u64);

impl LogHashes for Governed {
    fn log_hashes(&self, numbers: &[u64]) -> Result<Vec<Hash>, StorageError> {
        MemoryLedger::genesis().log_hashes(numbers)
    }
}

impl StateNodes for Governed {
    fn state_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        MemoryLedger::genesis().state_node(key)
    }
}

impl Base for Governed {
    fn head(&self) -> Result<Head, StorageError> {
        Ok(Head::genesis())
    }

    fn plain(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let is_governed = family == Family::Parameter && key == self.0.as_bytes();
        Ok(is_governed.then(|| self.1.to_bytes()))
    }
}

#[test]
fn governed_parameters_decide() {
    let code = |base: &dyn Base, record: BlockRecord| {
        let parent = Parent::new(base, vec![]).expect("the head can be read");
        execute(&parent, &block(1, &[record]), &mut policies()).map(|overlay| codes(&overlay)[0])
    };
    let low_snr = || changed(1, "metadata.snr_score", "0.906");
    assert_eq!(code(&MemoryLedger::genesis(), low_snr()), Ok(Code::Success));
    assert_eq!(code(&Governed("snr_min_ppm", 906_001), low_snr()), Ok(Code::Snr));
    assert_eq!(code(&Governed("ihsan_min_ppm", 970_001), good(1, 0)), Ok(Code::Ihsan));
    assert_eq!(code(&Governed("fate_min_ppm", 990_000), good(1, 0)), Ok(Code::Fate));
    assert_eq!(
        code(&Governed("fate_min_ppm", 0), good(1, 0)),
        Err(StorageError("the parameter fate_min_ppm is 0, outside 1..=1000000".into()))
    );
}

/// A record of key 7 and session 1 with these transition and parents.
fn in_session(nonce: u64, transition: &str, parents: &[&BlockRecord]) -> BlockRecord {
    let mut members = unsigned(7, nonce);
    let parents: Vec<String> =
        parents.iter().map(|parent| format!("\"{}\"", digest(parent))).collect();
    for (path, value) in [
        ("session_id", "\"0189d3a0-0000-7000-8000-000000000001\"".to_owned()),
        ("transition", format!("\"{transition}\"")),
        ("parents", format!("[{}]", parents.join(","))),
    ] {
        edit(&mut members, &format!("payload.data.{path}"), Some(json(&value)));
    }
    judged(with_signature(&members, 0))
}

/// Key `seed` closes session 1, which has so many records by its count.
fn closing(seed: u8, nonce: u64, records: u64) -> BlockRecord {
    let mut members = unsigned(seed, nonce);
    let data =
        format!(r#"{{"session_id":"0189d3a0-0000-7000-8000-000000000001","records":{records}}}"#);
    edit(&mut members, "payload.action", Some("session/close".into()));
    edit(&mut members, "payload.data", Some(json(&data)));
    edit(&mut members, "metadata.snr_score", None);
    edit(&mut members, "metadata.chain_id", Some(CHAIN.to_string().as_str().into()));
    judged(with_signature(&members, 0))
}

fn session_key(seed: u8) -> Vec<u8> {
    let mut key = public(seed).0.to_vec();
    key.extend_from_slice(&[0x01, 0x89, 0xd3, 0xa0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1]);
    key
}

#[test]
fn a_session_grows_over_blocks_and_within_one() {
    let base = MemoryLedger::genesis();
    let first = in_session(1, "init", &[]);
    let second = in_session(2, "activate", &[&first]);
    let third = in_session(3, "commit", &[&second]);
    let fourth = in_session(4, "branch", &[&third]);
    use Code::{State, Success};
    // What comes before its parent is refused, and judged afresh when it comes again.
    let one = run(&base, &[], 1, &[second.clone(), first.clone(), second.clone()]);
    assert_eq!(codes(&one), [State, Success, Success]);
    let two = run(&base, core::slice::from_ref(&one), 2, &[third.clone(), fourth]);
    assert_eq!(codes(&two), [Success, Success]);
    let again = in_session(5, "activate", &[&first]);
    let other = good(6, 0);
    let stranger = in_session(7, "merge", &[&third, &other]);
    let three = run(&base, &[one, two], 3, &[again, other, stranger]);
    assert_eq!(codes(&three), [State, Success, State]);
}

#[test]
fn a_closed_session_takes_no_more() {
    let mut base = MemoryLedger::genesis();
    let first = in_session(1, "commit", &[]);
    let second = in_session(2, "commit", &[&first]);
    let records = [
        first.clone(),
        closing(7, 10, 2),
        second.clone(),
        closing(8, 11, 2),
        closing(7, 12, 2),
        in_session(3, "commit", &[&second]),
        in_session(4, "commit", &[]),
        closing(7, 13, 2),
    ];
    let overlay = run(&base, &[], 1, &records);
    use Code::{State, Success};
    assert_eq!(codes(&overlay), [Success, State, Success, State, Success, State, State, State]);
    base.commit(&overlay);
    let parent = Parent::new(&base, vec![]).expect("memory does not fail");
    let node = parent.plain(Family::SessionNode, &digest(&second).0).expect("readable");
    let node = SessionNode::from_bytes(&node.expect("a node")).expect("undamaged");
    let closed = parent.plain(Family::ClosedSession, &session_key(7)).expect("readable");
    let expected =
        ClosedSession { records: 2, head: node.hash(&digest(&second)), height: Height::new(1) };
    assert_eq!(closed, Some(expected.to_bytes()));
    assert_eq!(parent.plain(Family::Session, &session_key(7)), Ok(None));
    assert_eq!(base.recomputed_plain(), parent.head().plain);
}

#[test]
fn nobody_disturbs_the_session_of_another() {
    let base = MemoryLedger::genesis();
    let mine = in_session(1, "commit", &[]);
    let mut members = unsigned(8, 1);
    let parents = format!("[\"{}\"]", digest(&mine));
    edit(&mut members, "payload.data.parents", Some(json(&parents)));
    let theirs = judged(with_signature(&members, 0));
    // The same name begins a session of their own.
    let own = judged(with_signature(&unsigned(8, 1), 0));
    let overlay = run(&base, &[], 1, &[mine, theirs, closing(8, 2, 1), own]);
    use Code::{State, Success};
    assert_eq!(codes(&overlay), [Success, State, State, Success]);
}

#[test]
fn a_breached_budget_is_noted_and_refuses_nothing() {
    let base = MemoryLedger::genesis();
    let records = [
        // One of each limit of MICRO but the confidence, which is 0.92 there.
        changed(1, "payload.data.budget.tier", "\"NANO\""),
        changed(2, "metadata.snr_score", "0.92"),
        changed(3, "payload.data.usage.output_tokens", "489"),
    ];
    let overlay = run(&base, &[], 1, &records);
    let flags: Vec<_> = overlay.outcomes().iter().map(|outcome| outcome.flags).collect();
    assert_eq!(flags, [OutcomeFlags::BUDGET, OutcomeFlags::default(), OutcomeFlags::BUDGET]);
    assert_eq!(codes(&overlay), [Code::Success; 3]);
}

/// A market action of a key.
fn trading(seed: u8, nonce: u64, verb: &str, members: &str) -> BlockRecord {
    let mut envelope = unsigned(seed, nonce);
    edit(&mut envelope, "payload.action", Some(format!("market/{verb}").as_str().into()));
    edit(&mut envelope, "payload.data", Some(json(members)));
    edit(&mut envelope, "metadata.chain_id", Some(CHAIN.to_string().as_str().into()));
    judged(with_signature(&envelope, 0))
}

#[test]
fn a_market_grows_over_blocks_and_within_one() {
    let id = r#""licence_id":"123e4567-e89b-42d3-a456-426614174000""#;
    let issue = format!(r#"{{{id},"resource":"gpu","quantity":4,"value":100}}"#);
    let buy = format!(r#"{{{id},"price":100,"value":30}}"#);
    let bare = format!("{{{id}}}");
    let base = Governed("market_endowment", 1_000);
    let run = |pending: &[Arc<Overlay>], height, records: &[BlockRecord]| {
        let parent = Parent::new(&base, pending.to_vec()).expect("the head can be read");
        Arc::new(
            execute(&parent, &block(height, records), &mut policies())
                .expect("memory does not fail"),
        )
    };
    let first = [
        trading(1, 1, "issue", &issue),
        trading(1, 2, "join", "{}"),
        trading(2, 1, "join", "{}"),
        trading(1, 3, "issue", &issue),
        trading(1, 4, "buy", &buy),
    ];
    let one = run(&[], 1, &first);
    use Code::{InvalidTransaction, Success};
    assert_eq!(codes(&one), [InvalidTransaction, Success, Success, Success, InvalidTransaction]);
    let second =
        [trading(2, 2, "buy", &buy), trading(1, 5, "pay", &bare), trading(2, 3, "release", &bare)];
    let two = run(core::slice::from_ref(&one), 2, &second);
    assert_eq!(codes(&two), [Success, InvalidTransaction, Success]);
    let parent = Parent::new(&base, vec![one, two]).expect("the head can be read");
    let of = |family, key: &[u8]| parent.plain(family, key).expect("readable").expect("an entry");
    let market = Market::from_bytes(&of(Family::Market, &[])).expect("undamaged");
    let balance = |seed| {
        let account = Account::from_bytes(&of(Family::Account, &public(seed).0));
        account.expect("undamaged").balance
    };
    assert_eq!((balance(1), balance(2)), (1_100, 900));
    assert_eq!((market.accounts, market.pool), (2, 0));
    assert_eq!(of(Family::Holdings, &[2]), [0; 4]);
    let licence = [
        0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x42, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40,
        0x00,
    ];
    assert_eq!(parent.plain(Family::Licence, &licence), Ok(None));
}

/// An identity action of a key.
fn identifying(seed: u8, nonce: u64, verb: &str, data: &str) -> BlockRecord {
    let mut envelope = unsigned(seed, nonce);
    edit(&mut envelope, "payload.action", Some(format!("identity/{verb}").as_str().into()));
    edit(&mut envelope, "payload.data", Some(json(data)));
    edit(&mut envelope, "metadata.chain_id", Some(CHAIN.to_string().as_str().into()));
    judged(with_signature(&envelope, 0))
}

/// Key `to` takes the place of key `from`.
fn rotating(from: u8, to: u8, nonce: u64) -> BlockRecord {
    let message = rotation_message(&CHAIN, &public(from), &public(to));
    let proof = key(to).sign(message.as_bytes()).to_bytes();
    let data = format!(r#"{{"new_key":"{}","proof":"{}"}}"#, public(to), hex(&proof));
    identifying(from, nonce, "rotate", &data)
}

fn revoking(seed: u8, nonce: u64, key: u8) -> BlockRecord {
    identifying(seed, nonce, "revoke", &format!(r#"{{"key":"{}"}}"#, public(key)))
}

/// A record of a key in session 1.
fn of_key(seed: u8, nonce: u64, parents: &[&BlockRecord]) -> BlockRecord {
    let mut members = unsigned(seed, nonce);
    let parents: Vec<String> =
        parents.iter().map(|parent| format!("\"{}\"", digest(parent))).collect();
    let parents = format!("[{}]", parents.join(","));
    let session = json("\"0189d3a0-0000-7000-8000-000000000001\"");
    edit(&mut members, "payload.data.session_id", Some(session));
    edit(&mut members, "payload.data.parents", Some(json(&parents)));
    judged(with_signature(&members, 0))
}

#[test]
fn a_session_outlives_the_key_that_began_it() {
    let base = MemoryLedger::genesis();
    let first = of_key(1, 1, &[]);
    let second = of_key(2, 1, &[&first]);
    use Code::{Role, State, Success};
    for (record, expected) in [
        (first.clone(), Success),
        (rotating(1, 2, 2), State),
        (identifying(1, 3, "register", "{}"), Success),
        (identifying(1, 4, "register", "{}"), State),
        (second.clone(), State),
        (rotating(1, 2, 5), Success),
        (of_key(1, 6, &[&first]), State),
        (second.clone(), Success),
        (rotating(2, 1, 2), State),
        (revoking(3, 1, 2), Role),
        (revoking(2, 3, 2), Success),
        (of_key(2, 4, &[&second]), State),
        (identifying(2, 5, "register", "{}"), State),
    ]
    .into_iter()
    .scan(Vec::new(), |before: &mut Vec<BlockRecord>, (record, expected)| {
        before.push(record);
        Some((before.clone(), expected))
    }) {
        let overlay = run(&base, &[], 1, &record);
        assert_eq!(codes(&overlay).last(), Some(&expected), "record {}", record.len());
    }
}

#[test]
fn a_key_that_is_in_use_takes_the_place_of_none() {
    let base = MemoryLedger::genesis();
    let records = [
        identifying(1, 1, "register", "{}"),
        of_key(2, 1, &[]),
        rotating(1, 2, 2),
        rotating(1, 3, 3),
    ];
    use Code::{State, Success};
    assert_eq!(codes(&run(&base, &[], 1, &records)), [Success, Success, State, Success]);
}

#[test]
fn a_validator_revokes_through_governance_alone() {
    // The usual policy would refuse it first.
    let open = "package bizra.policy\nimport rego.v1\ndefault allow := true\n";
    let mut envelope = unsigned(1, 1);
    let hash = PolicyHash::of(open).to_string();
    edit(&mut envelope, "payload.policy_hash", Some(hash.as_str().into()));
    edit(&mut envelope, "sender.agent_type", Some("SAT".into()));
    edit(&mut envelope, "payload.action", Some("identity/revoke".into()));
    edit(&mut envelope, "payload.data", Some(json(&format!(r#"{{"key":"{}"}}"#, public(1)))));
    edit(&mut envelope, "metadata.chain_id", Some(CHAIN.to_string().as_str().into()));
    let records = [judged(with_signature(&envelope, 0))];
    let base = MemoryLedger::genesis();
    let parent = Parent::new(&base, vec![]).expect("memory does not fail");
    let committee = committee([1]);
    let input = BlockInput { committee: &committee, ..block(1, &records) };
    let mut policies = Policies::new([open]);
    assert_eq!(policies.errors().count(), 0);
    let overlay = execute(&parent, &input, &mut policies).expect("memory does not fail");
    assert_eq!(codes(&overlay), [Code::Role]);
}

/// A vote for the offer with this digest.
fn elevating_as(agent_type: &str, seed: u8, nonce: u64, offer: [u8; 32]) -> BlockRecord {
    let mut envelope = unsigned(seed, nonce);
    edit(&mut envelope, "sender.agent_type", Some(agent_type.into()));
    edit(&mut envelope, "payload.action", Some("pattern/elevate".into()));
    let data = format!(r#"{{"digest":"{}"}}"#, hex(&offer));
    edit(&mut envelope, "payload.data", Some(json(&data)));
    edit(&mut envelope, "metadata.chain_id", Some(CHAIN.to_string().as_str().into()));
    judged(with_signature(&envelope, 0))
}

fn elevating(seed: u8, nonce: u64, offer: [u8; 32]) -> BlockRecord {
    elevating_as("SAT", seed, nonce, offer)
}

#[test]
fn validators_elevate_a_pattern_over_blocks() {
    let committee = committee(1..=7);
    let base = MemoryLedger::genesis();
    let run = |pending: &[Arc<Overlay>], height, records: &[BlockRecord]| {
        let parent = Parent::new(&base, pending.to_vec()).expect("memory does not fail");
        let input = BlockInput { committee: &committee, ..block(height, records) };
        Arc::new(execute(&parent, &input, &mut policies()).expect("memory does not fail"))
    };
    let votes = |pending: &[Arc<Overlay>], offer: [u8; 32]| {
        let parent = Parent::new(&base, pending.to_vec()).expect("memory does not fail");
        let entry = parent.plain(Family::Pattern, &offer).expect("readable");
        entry.map(|bytes| PatternVotes::from_bytes(&bytes).expect("undamaged"))
    };
    let (offer, other) = ([5; 32], [6; 32]);
    use Code::{Role, State, Success};
    let first = run(
        &[],
        1,
        &[
            elevating(7, 1, offer),
            elevating(7, 2, offer),
            elevating_as("PAT", 2, 9, offer),
            elevating(8, 1, offer),
            elevating(1, 1, offer),
            elevating(1, 2, other),
        ],
    );
    assert_eq!(codes(&first), [Success, State, Role, Role, Success, Success]);
    let pending = [first];
    let expected = PatternVotes {
        voters: {
            let mut voters = vec![public(1), public(7)];
            voters.sort_unstable();
            voters
        },
        validated_at: None,
    };
    assert_eq!(votes(&pending, offer), Some(expected));
    let second = run(
        &pending,
        2,
        &[
            elevating(2, 1, offer),
            elevating(3, 1, offer),
            elevating(4, 1, offer),
            elevating(5, 1, offer),
            elevating(3, 2, other),
        ],
    );
    assert_eq!(codes(&second), [Success, Success, Success, State, Success]);
    let [first] = pending;
    let pending = [first, second];
    let validated = votes(&pending, offer).expect("it was voted for");
    assert_eq!((validated.voters.len(), validated.validated_at), (5, Some(Height::new(2))));
    let waiting = votes(&pending, other).expect("it was voted for");
    assert_eq!((waiting.voters.len(), waiting.validated_at), (2, None));
}

#[test]
fn a_vote_for_a_pattern_does_not_count_in_quarantine() {
    let committee = committee(1..=4);
    let mut base = MemoryLedger::genesis();
    let offer = [5; 32];
    let run = |base: &MemoryLedger, height, records: &[BlockRecord]| {
        let parent = Parent::new(base, vec![]).expect("memory does not fail");
        let input = BlockInput { committee: &committee, ..block(height, records) };
        execute(&parent, &input, &mut policies()).expect("memory does not fail")
    };
    let validated_at = |base: &MemoryLedger| {
        let entry = base.plain(Family::Pattern, &offer).expect("memory does not fail");
        PatternVotes::from_bytes(&entry.expect("it was voted for")).expect("whole").validated_at
    };
    base.commit(&run(&base, 1, &[elevating(1, 1, offer), elevating(2, 1, offer)]));
    let caught = Reputation::default().after_equivocation();
    base.seed(Family::Reputation, &public(1).0, &caught);
    base.seed(Family::Reputation, &public(3).0, &caught);
    let overlay = run(&base, 2, &[elevating(3, 1, offer), elevating(4, 1, offer)]);
    assert_eq!(codes(&overlay), [Code::State, Code::Success]);
    base.commit(&overlay);
    // Of those who have voted, 1 is not heard: two of four are not enough.
    assert_eq!(validated_at(&base), None);
    base.seed(Family::Reputation, &public(3).0, &Reputation::default());
    base.commit(&run(&base, 3, &[elevating(3, 2, offer)]));
    assert_eq!(validated_at(&base), Some(Height::new(3)));
}

#[test]
fn an_offer_is_refused_whatever_its_receipt_said() {
    let base = MemoryLedger::genesis();
    let overlay = run(&base, &[], 1, &[judged(with_signature(&offer(7, 1), 0))]);
    assert_eq!(codes(&overlay), [Code::Schema]);
    assert_eq!(overlay.fields().log_size, 0);
}

#[test]
fn governed_quotas_and_registration_hold() {
    let run = |base: &Governed, records: &[BlockRecord]| {
        let parent = Parent::new(base, vec![]).expect("the head can be read");
        codes(&execute(&parent, &block(1, records), &mut policies()).expect("memory does not fail"))
    };
    use Code::{State, Success};
    let registered = Governed("registered_only", 1);
    let register = identifying(7, 2, "register", "{}");
    assert_eq!(run(&registered, &[good(1, 0), register, good(1, 0)]), [State, Success, Success]);
    // A record has some 2,000 bytes.
    let limited = Governed("identity_bytes_max", 65_536);
    let records: Vec<BlockRecord> = (0..40).map(|nonce| good(nonce, 0)).collect();
    let outcomes = run(&limited, &records);
    let room = 65_536 / records[0].bytes.len();
    assert!(0 < room && room < 40);
    assert!(outcomes[..room].iter().all(|code| *code == Success));
    assert!(outcomes[room..].iter().all(|code| *code == State));
    // A validator whose room is used up leaves that of others alone.
    let limited_author = Governed("author_bytes_max", 1_048_576);
    let many: Vec<BlockRecord> = (0..700).map(|nonce| good(nonce, 0)).collect();
    let author_room = 1_048_576 / many[0].bytes.len();
    let through_another = BlockRecord { author: public(201), ..good(699, 1) };
    let outcomes = run(&limited_author, &[many, vec![through_another]].concat());
    assert!(author_room < 700);
    assert_eq!(outcomes.iter().filter(|code| **code == Success).count(), author_room + 1);
    assert_eq!(outcomes[699..], [State, Success]);

    // Whoever is out of room can still revoke.
    let revoked = [records, vec![revoking(7, 50, 7)]].concat();
    assert_eq!(run(&limited, &revoked).last(), Some(&Success));
    // And through a validator that is, if the key is a registered one.
    let through_full = |records: &[BlockRecord]| {
        let filler = (0..700).map(|nonce| good(nonce, 0));
        let records: Vec<BlockRecord> =
            records[..1].iter().cloned().chain(filler).chain(records[1..].to_vec()).collect();
        run(&limited_author, &records)[701..].to_vec()
    };
    let register = identifying(8, 1, "register", "{}");
    let revocations = [register, revoking(8, 2, 8), revoking(8, 3, 8), revoking(9, 1, 9)];
    assert_eq!(through_full(&revocations), [Success, State, State]);
}

/// What a key's identity and the author of the tests' batches have used, and which families an
/// overlay writes.
fn charges(overlay: &Overlay, seed: u8) -> (Option<u64>, Option<u64>, Vec<Family>) {
    let used = |family: Family, key: PublicKey| {
        let mut writes = overlay.plain_writes();
        let (.., value) = writes.find(|write| write.0 == family && write.1 == key.0)?;
        let bytes = &value.expect("not deleted")[..16];
        Some(Usage::from_bytes(bytes).expect("undamaged").bytes)
    };
    let families = overlay.plain_writes().map(|(family, ..)| family).collect();
    (used(Family::Usage, public(seed)), used(Family::AuthorUsage, public(200)), families)
}

#[test]
fn what_is_refused_is_charged_too() {
    let base = MemoryLedger::genesis();
    let size = |record: &BlockRecord| record.bytes.len() as u64;
    let (refused, forgery) = (wrong_role(1), forged(2, 0));
    let one = run(&base, &[], 1, &[refused.clone(), forgery.clone()]);
    assert_eq!(codes(&one), [Code::Role, Code::Signature]);
    let both = size(&refused) + size(&forgery);
    let families = vec![Family::Outcome, Family::Usage, Family::AuthorUsage];
    assert_eq!(charges(&one, 7), (Some(size(&refused)), Some(both), families.clone()));
    // A digest is charged once to its identity, who cannot help being copied, and each time to
    // the author, who can.
    let two = run(&base, core::slice::from_ref(&one), 2, core::slice::from_ref(&refused));
    let expected = (Some(size(&refused)), Some(both + size(&refused)), families);
    assert_eq!(charges(&two, 7), expected);
}

#[test]
fn what_nobody_pays_for_leaves_nothing() {
    let written = |base: &dyn Base, records: &[BlockRecord]| {
        let parent = Parent::new(base, vec![]).expect("the head can be read");
        let overlay =
            execute(&parent, &block(1, records), &mut policies()).expect("memory does not fail");
        let outcomes = overlay.plain_writes().filter(|(family, ..)| *family == Family::Outcome);
        (codes(&overlay), outcomes.count())
    };
    // Refused records use up the room of their identity like any other, and what comes then
    // leaves no outcome and is not for free when it comes again.
    let refused: Vec<BlockRecord> = (0..40).map(wrong_role).collect();
    let room = 65_536 / refused[0].bytes.len();
    let limited = Governed("identity_bytes_max", 65_536);
    let again = refused[room..].to_vec();
    let (codes, outcomes) = written(&limited, &[refused, again].concat());
    assert_eq!(outcomes, room);
    assert!(codes[..room].iter().all(|code| *code == Code::Role));
    assert!(codes[room..].iter().all(|code| *code == Code::State));

    // As do those of an author; and no key that speaks for nobody leaves an outcome.
    let many: Vec<BlockRecord> = (0..700).map(wrong_role).collect();
    let (_, outcomes) = written(&Governed("author_bytes_max", 1_048_576), &many);
    assert_eq!(outcomes, 1_048_576 / many[0].bytes.len());
    let (codes, outcomes) = written(&Governed("registered_only", 1), &[good(1, 0)]);
    assert_eq!((codes, outcomes), (vec![Code::State], 0));
}

/// A ledger that counts how many session nodes are read.
struct Counting(MemoryLedger, core::cell::Cell<usize>);

impl LogHashes for Counting {
    fn log_hashes(&self, numbers: &[u64]) -> Result<Vec<Hash>, StorageError> {
        self.0.log_hashes(numbers)
    }
}

impl StateNodes for Counting {
    fn state_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.0.state_node(key)
    }
}

impl Base for Counting {
    fn head(&self) -> Result<Head, StorageError> {
        self.0.head()
    }

    fn plain(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.1.set(self.1.get() + usize::from(family == Family::SessionNode));
        self.0.plain(family, key)
    }
}

#[test]
fn parents_that_are_no_heads_are_not_read() {
    let strangers: Vec<BlockRecord> = (100..164).map(|nonce| good(nonce, 0)).collect();
    let first = in_session(1, "commit", &[]);
    let records = [
        in_session(2, "merge", &strangers.iter().collect::<Vec<_>>()),
        in_session(3, "commit", &strangers.iter().take(2).collect::<Vec<_>>()),
        first.clone(),
        in_session(4, "merge", &[&first, &strangers[0]]),
    ];
    let base = Counting(MemoryLedger::genesis(), core::cell::Cell::new(0));
    let parent = Parent::new(&base, vec![]).expect("memory does not fail");
    let overlay =
        execute(&parent, &block(1, &records), &mut policies()).expect("memory does not fail");
    use Code::{State, Success};
    assert_eq!(codes(&overlay), [State, State, Success, State]);
    // What a put replaces is read too.
    assert_eq!(base.1.get(), 1);
}

/// The records of the demonstration, as it signs and submits them.
#[test]
fn the_records_of_the_demonstration_are_executed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/demo/records.ndjson");
    let text = std::fs::read_to_string(path).expect("readable");
    let records: Vec<BlockRecord> = text
        .lines()
        .zip(0..)
        .map(|(line, nonce)| {
            let Value::Object(record) = json(line) else { panic!("a record is an object") };
            let mut members = unsigned(7, nonce);
            for path in ["payload.action", "payload.data", "metadata"] {
                let (outer, inner) = path.split_once('.').unwrap_or((path, ""));
                let value = match record.get(outer) {
                    Some(Value::Object(object)) if !inner.is_empty() => object.get(inner),
                    other => other,
                };
                edit(&mut members, path, value.cloned());
            }
            judged(with_signature(&members, 0))
        })
        .collect();
    assert_eq!(records.len(), 600);
    let overlay = run(&MemoryLedger::genesis(), &[], 1, &records);
    for outcome in overlay.outcomes() {
        assert_eq!((outcome.code, outcome.flags), (Code::Success, OutcomeFlags::default()));
    }
}

#[test]
fn outcomes_prove_themselves() {
    let base = MemoryLedger::genesis();
    let records = [good(1, 0), forged(2, 0), wrong_role(3), good(1, 1), good(4, 0)];
    let overlay = run(&base, &[], 1, &records);
    for (at, record) in records.iter().enumerate() {
        let outcome = &overlay.outcomes()[at];
        assert_eq!(outcome.signed_bytes, signed_bytes_hash(&record.bytes));
        let proof = overlay.outcome_proof(at).expect("a record of the block");
        let root = overlay.fields().outcomes_root;
        assert!(outcomes::is_included(&proof, records.len(), root, at, outcome.leaf()));
    }
}

/// A store that can be read no more, after its head.
struct Broken;

impl LogHashes for Broken {
    fn log_hashes(&self, _numbers: &[u64]) -> Result<Vec<Hash>, StorageError> {
        Err(StorageError("the disk is gone".into()))
    }
}

impl StateNodes for Broken {
    fn state_node(&self, _key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Err(StorageError("the disk is gone".into()))
    }
}

impl Base for Broken {
    fn head(&self) -> Result<Head, StorageError> {
        Ok(Head { log_size: 3, ..Head::genesis() })
    }

    fn plain(&self, _family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let is_known = key == digest(&good(1, 0)).as_bytes();
        Ok(is_known.then(|| vec![17]))
    }
}

#[test]
fn a_failing_store_is_no_outcome() {
    let parent = Parent::new(&Broken, vec![]).expect("the head can be read");
    let gone = Err(StorageError("the disk is gone".into()));
    assert_eq!(execute(&parent, &block(1, &[good(2, 0)]), &mut policies()).map(drop), gone);
    assert_eq!(execute(&parent, &block(1, &[]), &mut policies()).map(drop), gone);
    assert_eq!(
        execute(&parent, &block(1, &[good(1, 0)]), &mut policies())
            .expect_err("a damaged entry")
            .to_string(),
        "the ledger's storage failed: an entry of the Outcome family outcome code is not valid: 17"
    );
}

#[test]
#[should_panic(expected = "a block follows its parent")]
fn a_block_of_another_height_is_our_own_fault() {
    run(&MemoryLedger::genesis(), &[], 2, &[]);
}

#[test]
#[should_panic(expected = "pending overlays are a chain")]
fn overlays_of_two_forks_are_our_own_fault() {
    let base = MemoryLedger::genesis();
    let one = run(&base, &[], 1, &[good(1, 0)]);
    let other = run(&base, &[], 1, &[good(2, 0)]);
    run(&base, &[one, other], 2, &[]);
}

#[test]
#[should_panic(expected = "pending overlays continue what is committed")]
fn overlays_of_a_dropped_fork_are_our_own_fault() {
    let mut base = MemoryLedger::genesis();
    let one = run(&base, &[], 1, &[good(1, 0)]);
    let other = run(&base, &[], 1, &[good(2, 0)]);
    base.commit(&one);
    run(&base, &[other], 2, &[]);
}

/// What the rules say, replayed from genesis along one branch, with no overlay,
/// no incremental hash and no code of ours but the encodings.
#[derive(Clone, Default)]
struct Model {
    leaves: Vec<Arc<[u8]>>,
    /// Code, height and place in the log by digest.
    status: BTreeMap<RecordDigest, (u8, u64, Option<u64>)>,
    /// Bytes charged to key 7 and to the author.
    charged: (u64, u64),
    /// The numbers of the good records, each in a session of its own.
    nonces: BTreeMap<RecordDigest, u64>,
    codes: Vec<u8>,
    exec: Option<ExecHash>,
}

impl Model {
    fn step(&mut self, height: u64, records: &[BlockRecord]) -> ExecFields {
        self.codes.clear();
        for record in records {
            let size = record.bytes.len() as u64;
            self.charged.1 += size;
            let code = match &record.verdict {
                Verdict::Bad(rejection) => rejection.code.number(),
                Verdict::Good(envelope) => {
                    if !self.status.contains_key(&envelope.digest) {
                        self.charged.0 += size;
                    }
                    let is_logged = matches!(self.status.get(&envelope.digest), Some((0, ..)));
                    let is_system = record.bytes.windows(5).any(|text| text == b"\"SAT\"");
                    match (is_logged, is_system) {
                        (true, _) => 255,
                        (false, true) => {
                            self.status.insert(envelope.digest, (11, height, None));
                            11
                        }
                        (false, false) => {
                            let nonce = envelope.nonce[24..].try_into().expect("8 bytes");
                            self.nonces.insert(envelope.digest, u64::from_be_bytes(nonce));
                            let index = self.leaves.len() as u64;
                            self.status.insert(envelope.digest, (0, height, Some(index)));
                            self.leaves.push(record.bytes.clone());
                            0
                        }
                    }
                }
            };
            self.codes.push(code);
        }
        let fields = ExecFields {
            parent: self.exec.unwrap_or_else(genesis_exec),
            log_root: self.log_root(),
            log_size: self.leaves.len() as u64,
            state_root: StateTree::EMPTY.root,
            plain_digest: self.plain_digest(),
            outcomes_root: self.outcomes_root(records),
            next_committee: Hash::ZERO,
        };
        self.exec = Some(fields.hash());
        fields
    }

    fn log_root(&self) -> Hash {
        if self.leaves.is_empty() {
            return log::EMPTY_ROOT;
        }
        let mut tree = MemoryBackedTree::<Sha256, Arc<[u8]>>::new();
        for leaf in &self.leaves {
            tree.push(leaf.clone());
        }
        Hash(tree.root().as_bytes()[..].try_into().expect("32 bytes"))
    }

    fn plain_digest(&self) -> Hash {
        let mut lanes = [0u16; 1_024];
        let mut elements = Vec::new();
        for (digest, (code, height, index)) in &self.status {
            let mut element = vec![1, 32, 0, 0, 0];
            element.extend_from_slice(&digest.0);
            element.extend_from_slice(&[*code, 0]);
            element.extend_from_slice(&height.to_le_bytes());
            element.push(u8::from(index.is_some()));
            element.extend(index.iter().flat_map(|index| index.to_le_bytes()));
            elements.push(element);
            if *code == 0 {
                elements.extend(session_elements(digest, self.nonces[digest], *height));
            }
        }
        for (family, key, bytes) in
            [(11, public(7), self.charged.0), (12, public(200), self.charged.1)]
        {
            if bytes > 0 {
                let mut usage = [&[family, 32, 0, 0, 0], &key.0[..]].concat();
                usage.extend_from_slice(&(TIMESTAMP_MS / 86_400_000).to_le_bytes());
                usage.extend_from_slice(&bytes.to_le_bytes());
                if family == 11 {
                    usage.extend_from_slice(&(self.leaves.len() as u64).to_le_bytes());
                }
                elements.push(usage);
            }
        }
        for element in elements {
            let mut hasher = blake3::Hasher::new_derive_key("bizra 2026 plain element v1");
            hasher.update(&element);
            let mut stream = hasher.finalize_xof();
            for lane in &mut lanes {
                let mut bytes = [0; 2];
                stream.fill(&mut bytes);
                *lane = lane.wrapping_add(u16::from_le_bytes(bytes));
            }
        }
        let bytes: Vec<u8> = lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect();
        Hash(blake3::derive_key("bizra 2026 plain digest v1", &bytes))
    }

    /// The tree from the leaves up: pairs are joined, and an odd last one moves up.
    fn outcomes_root(&self, records: &[BlockRecord]) -> Hash {
        let derive = |context, parts: &[u8]| blake3::derive_key(context, parts);
        let mut level: Vec<[u8; 32]> = records
            .iter()
            .zip(&self.codes)
            .map(|(record, code)| {
                let key = derive("bizra 2026 signed bytes v1", &record.bytes);
                derive("bizra 2026 outcome leaf v1", &[&key[..], &[*code, 0]].concat())
            })
            .collect();
        while level.len() > 1 {
            level = level
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => {
                        derive("bizra 2026 outcome node v1", &[*left, *right].concat())
                    }
                    odd => odd[0],
                })
                .collect();
        }
        Hash(level.first().copied().unwrap_or([0; 32]))
    }
}

/// The entries of a session whose one record is this, byte by byte.
fn session_elements(digest: &RecordDigest, nonce: u64, height: u64) -> [Vec<u8>; 2] {
    let mut unit = Unit::new(5);
    unit.observe(Score::from_parts_per_million(930_000).expect("a share"));
    let mut key = public(7).0.to_vec();
    key.extend_from_slice(&[0x01, 0x89, 0xd3, 0xa0, 0, 0, 0x70, 0, 0x80, 0]);
    key.extend_from_slice(&nonce.to_be_bytes()[2..]);

    // Clock, the node before, no parents, `commit`, committed.
    let mut node = [&key[..], &[0; 8 + 32 + 4], &[5, 5]].concat();
    node.extend_from_slice(&height.to_le_bytes());
    node.extend_from_slice(&(TIMESTAMP_MS + height).to_le_bytes());
    for score in [970_000_u32, 930_000, 1_000_000, 1_000_000, 900_000, 910_000] {
        node.extend_from_slice(&score.to_le_bytes());
    }
    for fraction in [unit.belief(), 0, unit.belief()] {
        node.extend_from_slice(&fraction.to_le_bytes());
    }
    let hash = blake3::derive_key("bizra 2026 session node v1", &[&digest.0[..], &node].concat());

    // One record, one head, and the unit: window, belief, its change, one value.
    let mut session = [&[1, 0, 0, 0, 0, 0, 0, 0], &hash[..], &[1, 0, 0, 0]].concat();
    session.extend_from_slice(&[&digest.0[..], &[5], &[5, 0]].concat());
    session.extend_from_slice(&unit.belief().to_le_bytes());
    session.extend_from_slice(&(unit.belief() - (1 << 47)).to_le_bytes());
    session.extend_from_slice(&[1, 0, 0, 0]);
    session.extend_from_slice(&930_000_u32.to_le_bytes());
    [
        [&[3, 48, 0, 0, 0], &key[..], &session].concat(),
        [&[4, 32, 0, 0, 0], &digest.0[..], &node].concat(),
    ]
}

/// A block of the tree of forks.
struct Node {
    parent: Option<usize>,
    overlay: Arc<Overlay>,
    model: Model,
    records: Vec<BlockRecord>,
}

/// One step of a generated history.
#[derive(Clone, Debug)]
enum Step {
    /// Execute a block on one of the live blocks.
    Extend { parent: prop::sample::Index, records: Vec<(u8, u64, u8)> },
    /// Commit the next block on the way to one of the live blocks, and drop
    /// every fork that is not on it.
    Commit { towards: prop::sample::Index },
}

fn any_step() -> impl Strategy<Value = Step> {
    let record = (0u8..8, 0u64..6, 0u8..3);
    prop_oneof![
        3 => (any::<prop::sample::Index>(), prop::collection::vec(record, 0..6))
            .prop_map(|(parent, records)| Step::Extend { parent, records }),
        1 => any::<prop::sample::Index>().prop_map(|towards| Step::Commit { towards }),
    ]
}

/// Blocks from genesis, which is left out, to `node`.
fn path(nodes: &[Node], node: Option<usize>) -> Vec<usize> {
    let mut path = Vec::new();
    let mut at = node;
    while let Some(node) = at {
        path.push(node);
        at = nodes[node].parent;
    }
    path.reverse();
    path
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn overlays_are_the_linear_replay_and_forks_leave_no_trace(
        steps in prop::collection::vec(any_step(), 1..24)
    ) {
        let mut ledger = MemoryLedger::genesis();
        let mut nodes: Vec<Node> = Vec::new();
        let mut committed: Vec<usize> = Vec::new();
        // Live blocks: the last committed one and what descends from it.
        let mut live: Vec<Option<usize>> = vec![None];
        for step in steps {
            match step {
                Step::Extend { parent, records } => {
                    let parent = *parent.get(&live);
                    let records: Vec<BlockRecord> = records
                        .into_iter()
                        .map(|(kind, nonce, signature)| match kind {
                            0 => forged(nonce, signature),
                            1 => wrong_role(nonce),
                            _ => good(nonce, signature),
                        })
                        .collect();
                    let path = path(&nodes, parent);
                    let height = path.len() as u64 + 1;
                    let all: Vec<Arc<Overlay>> =
                        path.iter().map(|node| nodes[*node].overlay.clone()).collect();
                    let overlay = run(&ledger, &all[committed.len()..], height, &records);
                    // Ancestors that were flushed meanwhile do not disturb.
                    let again = run(&ledger, &all, height, &records);
                    prop_assert_eq!(overlay.fields(), again.fields());

                    let mut model = parent.map_or_else(Model::default, |at| nodes[at].model.clone());
                    let fields = model.step(height, &records);
                    prop_assert_eq!(*overlay.fields(), fields);
                    let codes: Vec<u8> = codes(&overlay).into_iter().map(Code::number).collect();
                    prop_assert_eq!(&codes, &model.codes);
                    for (digest, (code, height, index)) in &model.status {
                        let parent = Parent::new(&ledger, [all.clone(), vec![overlay.clone()]].concat())
                            .expect("memory does not fail");
                        let entry = parent.outcome(digest).expect("memory does not fail");
                        prop_assert_eq!(entry, Some(OutcomeEntry {
                            code: Code::from_number(*code).expect("a code"),
                            flags: OutcomeFlags(0),
                            height: Height::new(*height),
                            log_index: index.map(LogIndex::new),
                        }));
                    }
                    live.push(Some(nodes.len()));
                    nodes.push(Node { parent, overlay, model, records });
                }
                Step::Commit { towards } => {
                    let path = path(&nodes, *towards.get(&live));
                    let Some(next) = path.get(committed.len()).copied() else { continue };
                    ledger.commit(&nodes[next].overlay);
                    committed.push(next);
                    live.retain(|node| {
                        self::path(&nodes, *node).get(committed.len() - 1) == Some(&next)
                    });

                    // The same blocks without any fork, each on what is committed.
                    let mut straight = MemoryLedger::genesis();
                    for (height, node) in (1..).zip(&committed) {
                        let overlay = run(&straight, &[], height, &nodes[*node].records);
                        straight.commit(&overlay);
                    }
                    prop_assert_eq!(&ledger, &straight);
                    let head = ledger.head().expect("memory does not fail");
                    prop_assert_eq!(ledger.recomputed_plain(), head.plain);
                }
            }
        }
    }
}
