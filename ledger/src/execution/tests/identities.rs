//! Random records of a few keys, against the rules of identities and quotas in other words.

use super::*;
use crate::identity::{IdentityUsage, KeyEntry, KeyState};

/// Length of an epoch, the shortest that can be governed.
const EPOCH_MS: u64 = 3_600_000;

/// Room of an identity, and of an author, in an epoch: the smallest that can be governed.
const ROOMS: (u64, u64) = (65_536, 1_048_576);

/// What the keys and authors of the tests have used at first, in the epoch of the first blocks: a
/// few records are left to each.
const USED: [(u8, u64); 2] = [(1, ROOMS.0 - 9_000), (2, ROOMS.0 - 30_000)];
const USED_BY_AUTHORS: [(u8, u64); 2] = [(200, ROOMS.1 - 25_000), (201, ROOMS.1 - 90_000)];

#[derive(Clone, Debug)]
enum Act {
    Infer(u8),
    Register(u8),
    Rotate(u8, u8),
    Revoke(u8, u8),
    /// A record that was there before.
    Again(prop::sample::Index),
    /// The same, with a signature that receipt has refused.
    Forge(prop::sample::Index),
}

/// A record, and what it does.
#[derive(Clone)]
struct Sent {
    act: Act,
    record: BlockRecord,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    Valid,
    Replaced,
    Revoked,
}

#[derive(Default)]
struct Model {
    registered_only: bool,
    epoch: u64,
    /// Identity and worth of each key that is known.
    keys: BTreeMap<u8, (u8, Worth)>,
    /// Epoch, bytes in it, and records in the log, by identity.
    identities: BTreeMap<u8, (u64, u64, u64)>,
    /// Epoch and bytes in it, by author.
    authors: BTreeMap<u8, (u64, u64)>,
    /// Code of what was judged, by digest.
    outcomes: BTreeMap<RecordDigest, Code>,
}

impl Model {
    fn judge(&mut self, act: &Act, author: u8, record: &BlockRecord) -> Code {
        let size = record.bytes.len() as u64;
        let has_room = self.charge_author(author, size);
        let (key, digest) = match act {
            Act::Infer(key) | Act::Register(key) | Act::Rotate(key, _) | Act::Revoke(key, _) => {
                (*key, digest(record))
            }
            Act::Again(_) | Act::Forge(_) => unreachable!("looked up before"),
        };
        if matches!(record.verdict, Verdict::Bad(_)) {
            return Code::Signature;
        }
        if self.outcomes.get(&digest) == Some(&Code::Success) {
            return Code::Skipped;
        }
        let known = self.keys.get(&key).copied();
        let is_revocation = matches!(act, Act::Revoke(..));
        let is_exempt = is_revocation && matches!(known, Some((_, Worth::Valid)));
        let identity = match known {
            Some((identity, Worth::Valid)) => identity,
            Some(_) => return Code::State,
            None if self.registered_only && !matches!(act, Act::Register(_)) => return Code::State,
            None => key,
        };
        if !has_room && !is_exempt {
            return Code::State;
        }
        let (mut epoch, mut bytes, logged) =
            self.identities.get(&identity).copied().unwrap_or_default();
        if !is_revocation && !self.outcomes.contains_key(&digest) {
            if epoch != self.epoch {
                (epoch, bytes) = (self.epoch, 0);
            }
            bytes += size;
            if bytes > ROOMS.0 {
                return Code::State;
            }
        }
        let code = self.act(act, identity);
        let is_logged = code == Code::Success;
        self.identities.insert(identity, (epoch, bytes, logged + u64::from(is_logged)));
        if has_room || is_logged {
            self.outcomes.insert(digest, code);
        }
        code
    }

    fn charge_author(&mut self, author: u8, size: u64) -> bool {
        let (epoch, bytes) = self.authors.get(&author).copied().unwrap_or_default();
        let bytes = if epoch == self.epoch { bytes + size } else { size };
        if bytes <= ROOMS.1 {
            self.authors.insert(author, (self.epoch, bytes));
        }
        bytes <= ROOMS.1
    }

    fn act(&mut self, act: &Act, identity: u8) -> Code {
        match *act {
            Act::Register(key) => {
                if self.keys.contains_key(&key) {
                    return Code::State;
                }
                self.keys.insert(key, (identity, Worth::Valid));
            }
            Act::Rotate(from, to) => {
                let has_records = self.identities.get(&to).is_some_and(|used| used.2 > 0);
                if !self.keys.contains_key(&from) || self.keys.contains_key(&to) || has_records {
                    return Code::State;
                }
                self.keys.insert(from, (identity, Worth::Replaced));
                self.keys.insert(to, (identity, Worth::Valid));
            }
            Act::Revoke(key, other) if key != other => return Code::Role,
            Act::Revoke(key, _) => {
                self.keys.insert(key, (identity, Worth::Revoked));
            }
            Act::Infer(_) | Act::Again(_) | Act::Forge(_) => {}
        }
        Code::Success
    }
}

fn any_act() -> impl Strategy<Value = Act> {
    let key = || 1_u8..6;
    prop_oneof![
        6 => key().prop_map(Act::Infer),
        3 => key().prop_map(Act::Register),
        3 => (key(), key()).prop_map(|(from, to)| Act::Rotate(from, to)),
        1 => (key(), key()).prop_map(|(key, other)| Act::Revoke(key, other)),
        1 => key().prop_map(|key| Act::Revoke(key, key)),
        4 => any::<prop::sample::Index>().prop_map(Act::Again),
        1 => any::<prop::sample::Index>().prop_map(Act::Forge),
    ]
}

/// The record of an act with a number of its own; one that was there before if the act says so.
fn sent(act: &Act, number: u64, before: &[Sent]) -> Option<Sent> {
    let record = match act {
        Act::Infer(key) => judged(with_signature(&unsigned(*key, number), 0)),
        Act::Register(key) => identifying(*key, number, "register", "{}"),
        Act::Rotate(from, to) => rotating(*from, *to, number),
        Act::Revoke(key, other) => revoking(*key, number, *other),
        Act::Again(at) | Act::Forge(at) => {
            let Sent { act: first, record } = before.get(at.index(before.len().max(1)))?;
            let mut record = record.clone();
            if matches!(act, Act::Forge(_)) {
                let rejection = Rejection::new(Code::Signature, "signature.value", "is forged");
                record.verdict = Verdict::Bad(rejection);
            }
            return Some(Sent { act: first.clone(), record });
        }
    };
    Some(Sent { act: act.clone(), record })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn keys_speak_and_pay_as_the_model_says(
        registered_only in any::<bool>(),
        blocks in prop::collection::vec(
            (
                prop_oneof![3 => Just(0_u64), 1 => Just(EPOCH_MS)],
                prop::collection::vec((any_act(), 200_u8..202), 0..24),
            ),
            1..6,
        )
    ) {
        let mut ledger = MemoryLedger::genesis();
        for (name, value) in [
            ("governance_epoch_ms", EPOCH_MS),
            ("identity_bytes_max", ROOMS.0),
            ("author_bytes_max", ROOMS.1),
            ("registered_only", u64::from(registered_only)),
        ] {
            ledger.seed(Family::Parameter, name.as_bytes(), &value);
        }
        let mut now = TimestampMs::new(TIMESTAMP_MS);
        let epoch = now.get() / EPOCH_MS;
        let mut model = Model { registered_only, epoch, ..Model::default() };
        for (seed, bytes) in USED {
            let usage = IdentityUsage { judged: Usage { epoch, bytes }, logged: 0 };
            ledger.seed(Family::Usage, &public(seed).0, &usage);
            model.identities.insert(seed, (epoch, bytes, 0));
        }
        for (seed, bytes) in USED_BY_AUTHORS {
            ledger.seed(Family::AuthorUsage, &public(seed).0, &Usage { epoch, bytes });
            model.authors.insert(seed, (epoch, bytes));
        }

        let mut before: Vec<Sent> = Vec::new();
        let mut policies = POLICIES.clone();
        for (height, (elapsed_ms, acts)) in (1..).zip(blocks) {
            now = TimestampMs::new(now.get() + elapsed_ms);
            model.epoch = now.get() / EPOCH_MS;
            let (mut records, mut expected) = (Vec::new(), Vec::new());
            for (act, author) in acts {
                let Some(mut sent) = sent(&act, before.len() as u64, &before) else { continue };
                sent.record.author = public(author);
                expected.push(model.judge(&sent.act, author, &sent.record));
                records.push(sent.record.clone());
                if !matches!(act, Act::Forge(_)) {
                    before.push(sent);
                }
            }
            let input = BlockInput { timestamp: now, ..block(height, &records) };
            let parent = Parent::new(&ledger, vec![]).expect("memory does not fail");
            let overlay = execute(&parent, &input, &mut policies).expect("memory does not fail");
            prop_assert_eq!(codes(&overlay), expected);
            ledger.commit(&overlay);

            let entries = |family| {
                let entries = ledger.plain_entries().filter(move |entry| entry.0 == family);
                entries.map(|(_, key, value)| (key.to_vec(), value.to_vec()))
            };
            let keys: BTreeMap<Vec<u8>, (PublicKey, KeyState)> = entries(Family::Key)
                .map(|(key, value)| {
                    let entry = KeyEntry::from_bytes(&value).expect("undamaged");
                    (key, (entry.identity, entry.state))
                })
                .collect();
            let expected = model.keys.iter().map(|(key, (identity, worth))| {
                let state = match worth {
                    Worth::Valid => KeyState::Valid,
                    Worth::Replaced => KeyState::Replaced,
                    Worth::Revoked => KeyState::Revoked,
                };
                (public(*key).0.to_vec(), (public(*identity), state))
            });
            prop_assert_eq!(keys, expected.collect());
            let used: BTreeMap<Vec<u8>, Vec<u8>> = entries(Family::Usage).collect();
            let expected = model.identities.iter().map(|(key, (epoch, bytes, logged))| {
                let judged = Usage { epoch: *epoch, bytes: *bytes };
                (public(*key).0.to_vec(), IdentityUsage { judged, logged: *logged }.to_bytes())
            });
            prop_assert_eq!(used, expected.collect());
            let used: BTreeMap<Vec<u8>, Vec<u8>> = entries(Family::AuthorUsage).collect();
            let expected = model.authors.iter().map(|(key, (epoch, bytes))| {
                (public(*key).0.to_vec(), Usage { epoch: *epoch, bytes: *bytes }.to_bytes())
            });
            prop_assert_eq!(used, expected.collect());
            let outcomes: BTreeMap<Vec<u8>, u8> =
                entries(Family::Outcome).map(|(key, value)| (key, value[0])).collect();
            let expected = model.outcomes.iter().map(|(key, code)| (key.0.to_vec(), code.number()));
            prop_assert_eq!(outcomes, expected.collect());
        }
    }
}
