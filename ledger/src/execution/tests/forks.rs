//! Records of every kind that a personal agent may send, in trees of blocks of which all but one
//! chain is dropped.

use super::*;
use crate::market::{Holdings, Licence, SUPPLY};
use crate::session::{Session, SessionNode};
use crate::state::tests::root_of;
use std::collections::BTreeSet;

/// A block of the tree.
struct Node {
    parent: Option<usize>,
    overlay: Arc<Overlay>,
    records: Vec<BlockRecord>,
}

#[derive(Clone, Debug)]
enum Act {
    /// Key, session, arrow, and which heads it follows.
    Infer(u8, u8, &'static str, Vec<prop::sample::Index>),
    /// Key and session.
    Close(u8, u8),
    Trade(u8, &'static str, u8, u64),
    Register(u8),
    Rotate(u8, u8),
    Revoke(u8),
    /// A record that was in any block before, perhaps one of another fork.
    Again(prop::sample::Index),
    Forged,
}

/// One step of a generated history.
#[derive(Clone, Debug)]
enum Step {
    /// Execute a block on one of the live blocks.
    Extend { parent: prop::sample::Index, acts: Vec<Act> },
    /// Drop a live block, which nothing follows then.
    Drop { block: prop::sample::Index },
    /// Commit the next block on the way to one of the live blocks, and drop every fork beside it.
    Commit { towards: prop::sample::Index },
}

const ARROWS: [&str; 13] = [
    "init",
    "activate",
    "compute",
    "validate",
    "commit",
    "suspend",
    "resume",
    "fail",
    "recover",
    "terminate",
    "branch",
    "merge",
    "rollback",
];

fn any_act() -> impl Strategy<Value = Act> {
    let (key, session) = (|| 1_u8..5, || 0_u8..2);
    let heads = prop::collection::vec(any::<prop::sample::Index>(), 1..4);
    let verb = prop::sample::select(vec![
        "join", "issue", "issue", "buy", "buy", "assess", "pay", "release",
    ]);
    prop_oneof![
        8 => (key(), session(), prop::sample::select(ARROWS.to_vec()), heads)
            .prop_map(|(key, session, arrow, heads)| Act::Infer(key, session, arrow, heads)),
        1 => (key(), session()).prop_map(|(key, session)| Act::Close(key, session)),
        6 => (key(), verb, 0_u8..4, 1_u64..60)
            .prop_map(|(key, verb, licence, amount)| Act::Trade(key, verb, licence, amount)),
        2 => key().prop_map(Act::Register),
        1 => (key(), 5_u8..9).prop_map(|(from, to)| Act::Rotate(from, to)),
        1 => key().prop_map(Act::Revoke),
        4 => any::<prop::sample::Index>().prop_map(Act::Again),
        1 => Just(Act::Forged),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let acts = prop::collection::vec(any_act(), 0..8);
    prop_oneof![
        4 => (any::<prop::sample::Index>(), acts)
            .prop_map(|(parent, acts)| Step::Extend { parent, acts }),
        1 => any::<prop::sample::Index>().prop_map(|block| Step::Drop { block }),
        1 => any::<prop::sample::Index>().prop_map(|towards| Step::Commit { towards }),
    ]
}

fn session_id(session: u8) -> String {
    format!("0189d3a0-0000-7000-8000-0000000000{session:02x}")
}

/// The record of an act, with a number of its own. It knows what the parent of its block has left,
/// so that enough of the records are good.
fn record_of(act: &Act, number: u64, parent: &Parent<'_>, sent: &[BlockRecord]) -> BlockRecord {
    let read = |family, key: &[u8]| parent.plain(family, key).expect("memory does not fail");
    let session_of = |key: u8, session: u8| {
        let mut entry_key = public(key).0.to_vec();
        entry_key.extend_from_slice(&session_key(key)[32..47]);
        entry_key.push(session);
        let entry = read(Family::Session, &entry_key)?;
        Some(Session::from_bytes(&entry).expect("undamaged"))
    };
    match act {
        Act::Infer(key, session, arrow, choices) => {
            let heads = session_of(*key, *session).map_or_else(Vec::new, |it| it.heads);
            let is_first = matches!(*arrow, "init" | "commit") && heads.is_empty();
            let count = if *arrow == "merge" { choices.len() } else { usize::from(!is_first) };
            let parents: BTreeSet<String> = choices[..count]
                .iter()
                .map(|at| match (*arrow, heads.as_slice()) {
                    ("rollback", _) | (_, []) if !sent.is_empty() => digest(at.get(sent)),
                    (_, []) => RecordDigest([7; 32]),
                    (_, heads) => at.get(heads).record,
                })
                .map(|digest| format!("\"{digest}\""))
                .collect();
            let parents: Vec<String> = parents.into_iter().collect();
            let mut members = unsigned(*key, number);
            for (path, value) in [
                ("session_id", format!("\"{}\"", session_id(*session))),
                ("transition", format!("\"{arrow}\"")),
                ("parents", format!("[{}]", parents.join(","))),
            ] {
                edit(&mut members, &format!("payload.data.{path}"), Some(json(&value)));
            }
            judged(with_signature(&members, 0))
        }
        Act::Close(key, session) => {
            let records = session_of(*key, *session).map_or(1, |it| it.records);
            let mut members = unsigned(*key, number);
            let id = session_id(*session);
            let data = format!(r#"{{"session_id":"{id}","records":{records}}}"#);
            edit(&mut members, "payload.action", Some("session/close".into()));
            edit(&mut members, "payload.data", Some(json(&data)));
            edit(&mut members, "metadata.chain_id", Some(CHAIN.to_string().as_str().into()));
            judged(with_signature(&members, 0))
        }
        Act::Trade(key, "join", ..) => trading(*key, number, "join", "{}"),
        Act::Trade(key, verb, licence, amount) => {
            let mut id = [0x44; 16];
            (id[15], id[8]) = (*licence, 0x84);
            let known = read(Family::Licence, &id)
                .map(|entry| Licence::from_bytes(&entry).expect("undamaged"));
            let price = known.map_or(*amount, |known| known.value);
            let id = format!("44444444-4444-4444-8444-4444444444{licence:02x}");
            let rest = match *verb {
                "issue" => format!(r#","resource":"gpu","quantity":{amount},"value":{amount}"#),
                "buy" => format!(r#","price":{price},"value":{amount}"#),
                "assess" => format!(r#","value":{amount}"#),
                _ => String::new(),
            };
            trading(*key, number, verb, &format!(r#"{{"licence_id":"{id}"{rest}}}"#))
        }
        Act::Register(key) => identifying(*key, number, "register", "{}"),
        Act::Rotate(from, to) => rotating(*from, *to, number),
        Act::Revoke(key) => revoking(*key, number, *key),
        Act::Again(at) if !sent.is_empty() => at.get(sent).clone(),
        Act::Again(_) | Act::Forged => forged(number, 0),
    }
}

/// What must be so after any chain of blocks, from its entries alone.
fn check_entries(ledger: &MemoryLedger) {
    let head = ledger.head().expect("memory does not fail");
    assert_eq!(ledger.recomputed_plain(), head.plain);
    let in_tree = ledger.plain_entries().filter(|entry| entry.0.is_in_tree());
    assert_eq!(root_of(in_tree), head.state.root);

    let (mut credits, mut undrawn, mut accounts, mut total) = (SUPPLY, None, 0, 0_u128);
    let mut held: BTreeMap<PublicKey, u64> = BTreeMap::new();
    let mut holdings = Holdings::default();
    let (mut in_sessions, mut inferences) = (0, 0);
    let (mut logged, mut charged) = (0, 0);
    for (family, key, value) in ledger.plain_entries() {
        match family {
            Family::Market => {
                let market = Market::from_bytes(value).expect("undamaged");
                credits = market.reserve + market.pool + market.undrawn;
                undrawn = Some((market.undrawn, market.dividend, market.accounts));
            }
            Family::Account => {
                let account = Account::from_bytes(value).expect("undamaged");
                total += u128::from(account.balance);
                accounts += 1;
            }
            Family::Licence => {
                let licence = Licence::from_bytes(value).expect("undamaged");
                *held.entry(licence.holder).or_default() += licence.quantity;
            }
            Family::Holdings => holdings = Holdings::from_bytes(value).expect("undamaged"),
            Family::Session => {
                in_sessions += Session::from_bytes(value).expect("undamaged").records
            }
            Family::ClosedSession => {
                in_sessions += ClosedSession::from_bytes(value).expect("undamaged").records;
            }
            Family::SessionNode => {
                SessionNode::from_bytes(value).expect("undamaged");
                inferences += 1;
            }
            Family::Outcome => {
                let entry = OutcomeEntry::from_bytes(value).expect("undamaged");
                assert_eq!(entry.log_index.is_some(), entry.code == Code::Success);
                logged += u64::from(entry.code == Code::Success);
            }
            Family::Usage => {
                charged +=
                    crate::identity::IdentityUsage::from_bytes(value).expect("undamaged").logged;
            }
            _ => assert!(matches!(family, Family::Key | Family::AuthorUsage | Family::Parameter)),
        }
        assert!(!key.is_empty() || family == Family::Market);
    }
    assert_eq!(total + u128::from(credits), u128::from(SUPPLY));
    assert_eq!(undrawn.map_or(0, |it| it.2), accounts);
    assert_eq!(holdings.0, held);
    assert_eq!(in_sessions, inferences);
    assert_eq!((logged, charged), (head.log_size, head.log_size));
}

/// A ledger whose market has something to endow accounts with.
fn genesis() -> MemoryLedger {
    let mut ledger = MemoryLedger::genesis();
    ledger.seed(Family::Parameter, b"market_endowment", &100_u64);
    ledger
}

fn run_with(
    policies: &mut Policies,
    base: &MemoryLedger,
    pending: &[Arc<Overlay>],
    height: u64,
    records: &[BlockRecord],
) -> Arc<Overlay> {
    let parent = Parent::new(base, pending.to_vec()).expect("memory does not fail");
    // Half a day from block to block, so that taxes, dividends and quotas are at work.
    let timestamp = TimestampMs::new(TIMESTAMP_MS + height * 43_200_000);
    let input = BlockInput { timestamp, ..block(height, records) };
    Arc::new(execute(&parent, &input, policies).expect("memory does not fail"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_a_dropped_fork_does_leaves_no_trace(
        steps in prop::collection::vec(any_step(), 8..40)
    ) {
        let (mut ledger, mut straight) = (genesis(), genesis());
        // One for all forks, and one that has seen none.
        let (mut policies, mut straight_policies) = (POLICIES.clone(), POLICIES.clone());
        let mut nodes: Vec<Node> = Vec::new();
        let mut sent: Vec<BlockRecord> = Vec::new();
        let mut committed: Vec<usize> = Vec::new();
        let mut live: Vec<Option<usize>> = vec![None];
        let path = |nodes: &[Node], node: Option<usize>| {
            let mut path: Vec<usize> =
                core::iter::successors(node, |node| nodes[*node].parent).collect();
            path.reverse();
            path
        };
        // In the end the longest chain that is left is committed.
        let ends = steps.len();
        let steps = steps.into_iter().map(Some).chain(core::iter::repeat_n(None, ends));
        for step in steps {
            let towards = match step {
                Some(Step::Extend { parent, acts }) => {
                    let parent = *parent.get(&live);
                    let path = path(&nodes, parent);
                    let height = path.len() as u64 + 1;
                    let pending: Vec<Arc<Overlay>> =
                        path[committed.len()..].iter().map(|at| nodes[*at].overlay.clone()).collect();
                    let view = Parent::new(&ledger, pending.clone()).expect("memory does not fail");
                    let mut records = Vec::new();
                    for act in &acts {
                        let record = record_of(act, sent.len() as u64, &view, &sent);
                        if matches!(record.verdict, Verdict::Good(_)) {
                            sent.push(record.clone());
                        }
                        records.push(record);
                    }
                    let overlay = run_with(&mut policies, &ledger, &pending, height, &records);
                    live.push(Some(nodes.len()));
                    nodes.push(Node { parent, overlay, records });
                    continue;
                }
                Some(Step::Drop { block }) => {
                    let dropped = *block.get(&live);
                    // The last committed block stays, whatever happens to what follows it.
                    if dropped != committed.last().copied() {
                        live.retain(|node| {
                            !path(&nodes, *node).contains(&dropped.expect("it is no genesis"))
                        });
                    }
                    continue;
                }
                Some(Step::Commit { towards }) => *towards.get(&live),
                None => *live.iter().max_by_key(|node| path(&nodes, **node).len()).expect("one"),
            };
            let Some(next) = path(&nodes, towards).get(committed.len()).copied() else { continue };
            let Node { overlay, records, .. } = &nodes[next];
            ledger.commit(overlay);
            committed.push(next);
            live.retain(|node| path(&nodes, *node).get(committed.len() - 1) == Some(&next));

            let height = committed.len() as u64;
            let alone = run_with(&mut straight_policies, &straight, &[], height, records);
            straight.commit(&alone);
            prop_assert_eq!(overlay.fields(), alone.fields());
            prop_assert_eq!(overlay.outcomes(), alone.outcomes());
            prop_assert!(overlay.plain_writes().eq(alone.plain_writes()));
            prop_assert!(overlay.state_nodes().eq(alone.state_nodes()));
            prop_assert_eq!(&ledger, &straight);
            check_entries(&ledger);
        }
    }
}

/// A chain of all these records, whose `exec` stays what it is.
#[test]
fn a_chain_is_pinned() {
    let mut base = genesis();
    let issue = r#"{"licence_id":"44444444-4444-4444-8444-444444444401","resource":"gpu","quantity":7,"value":40}"#;
    let buy = r#"{"licence_id":"44444444-4444-4444-8444-444444444401","price":40,"value":60}"#;
    let release = r#"{"licence_id":"44444444-4444-4444-8444-444444444401"}"#;
    let first = in_session(1, "init", &[]);
    let second = in_session(2, "activate", &[&first]);
    let third = in_session(3, "branch", &[&second]);
    let blocks = [
        vec![
            first,
            forged(2, 1),
            wrong_role(3),
            trading(1, 4, "join", "{}"),
            trading(2, 5, "join", "{}"),
            trading(1, 6, "issue", issue),
            identifying(1, 7, "register", "{}"),
            second.clone(),
        ],
        vec![],
        vec![
            third.clone(),
            second.clone(),
            wrong_role(3),
            rotating(1, 3, 8),
            trading(2, 9, "buy", buy),
            in_session(10, "merge", &[&third, &second]),
            changed(11, "payload.data.usage.output_tokens", "489"),
        ],
        (20..140).map(|nonce| good(nonce, 0)).collect(),
        vec![
            in_session(12, "rollback", &[&second]),
            closing(7, 13, 5),
            trading(2, 14, "release", release),
            revoking(3, 15, 3),
            in_session(16, "commit", &[&third]),
        ],
    ];
    let mut all = Vec::new();
    for (height, records) in (1..).zip(&blocks) {
        let overlay = run_with(&mut policies(), &base, &[], height, records);
        all.extend(codes(&overlay).into_iter().filter(|code| *code != Code::Success));
        base.commit(&overlay);
        check_entries(&base);
    }
    use Code::{Role, Signature, Skipped, State};
    assert_eq!(all, [Signature, Role, Skipped, Role, State]);
    assert_eq!(
        base.head().expect("memory does not fail").exec.to_string(),
        "56c36c4cb1b5a872f39c2eaccd3e956e0c3fb3ced461d7171c1ce50f4088d313"
    );
}
