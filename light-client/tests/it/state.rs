//! State proofs, made by another implementation of the tree.

use crate::common::{TestChain, Tree, records, team};
use crate::vectors::compare;
use bizra_light_client::{Client, ProofError, StateProof, VerifiedEntry};
use bizra_types::hash::{Context, Hash, hex};
use bizra_types::json::{Value, canonical};
use bizra_types::proof::FormError;
use bizra_types::proof::state::{StateEntry, StateLeaf, StatePath, key_hash, value_hash};
use borsh::BorshDeserialize;
use jmt::storage::{LeafNode, Node, NodeKey, TreeReader};
use jmt::{JellyfishMerkleTree, KeyHash, OwnedValue, SimpleHasher, Version};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

type Entries = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

/// The other implementation, with the hash of this chain.
#[derive(Default)]
struct Oracle {
    nodes: BTreeMap<NodeKey, Node>,
    values: BTreeMap<KeyHash, OwnedValue>,
    root: Hash,
}

struct Blake3(blake3::Hasher);

impl SimpleHasher for Blake3 {
    fn new() -> Self {
        Self(blake3::Hasher::new_derive_key("bizra 2026 state tree v1"))
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

impl TreeReader for Oracle {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        Ok(self.nodes.get(key).cloned())
    }

    fn get_value_option(&self, _: Version, key: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        Ok(self.values.get(&key).cloned())
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        anyhow::bail!("no test restores a tree")
    }
}

/// What a node of the other implementation's proofs hashes.
#[derive(BorshDeserialize)]
enum Sibling {
    Null,
    Internal([u8; 64]),
    Leaf([u8; 64]),
}

impl Oracle {
    fn new(entries: &Entries) -> Self {
        let mut oracle = Self::default();
        let key = |(family, key): &(u8, Vec<u8>)| KeyHash(key_hash(*family, key).0);
        let values: Vec<_> =
            entries.iter().map(|(entry, value)| (key(entry), Some(value.clone()))).collect();
        let tree = JellyfishMerkleTree::<_, Blake3>::new(&oracle);
        let (root, batch) = tree.put_value_set(values, 0).expect("memory does not fail");
        oracle.nodes = batch.node_batch.nodes().clone();
        oracle.values = entries.iter().map(|(entry, value)| (key(entry), value.clone())).collect();
        oracle.root = Hash(root.0);
        oracle
    }

    /// Its proof for a key, in our form.
    fn path(&self, family: u8, key: &[u8]) -> StatePath {
        let place = KeyHash(key_hash(family, key).0);
        let tree = JellyfishMerkleTree::<_, Blake3>::new(self);
        let (value, proof) = tree.get_with_proof(place, 0).expect("memory does not fail");
        let root = jmt::RootHash(self.root.0);
        proof.verify(root, place, value.as_deref()).expect("it believes itself");
        let bytes = borsh::to_vec(&proof).expect("memory does not fail");
        let (leaf, siblings): (Option<[[u8; 32]; 2]>, Vec<Sibling>) =
            borsh::from_slice(&bytes).expect("the layout of its proofs");
        let hash = |kind: &str, node: [u8; 64]| Context::StateTree.hash(&[kind.as_bytes(), &node]);
        let siblings = siblings.into_iter().map(|sibling| match sibling {
            Sibling::Null => Hash(*b"SPARSE_MERKLE_PLACEHOLDER_HASH__"),
            Sibling::Internal(children) => hash("JMT::IntrnalNode", children),
            Sibling::Leaf(hashes) => hash("JMT::LeafNode", hashes),
        });
        let entry = value.map_or_else(
            || {
                StateEntry::Absent(leaf.map(|[key_hash, value_hash]| StateLeaf {
                    key_hash: Hash(key_hash),
                    value_hash: Hash(value_hash),
                }))
            },
            StateEntry::Present,
        );
        StatePath { entry, siblings: siblings.collect() }
    }
}

/// Entries whose values tell them apart.
fn entries(keys: impl IntoIterator<Item = (u8, Vec<u8>)>) -> Entries {
    let value = |(family, key): &(u8, Vec<u8>)| [&[*family], key.as_slice()].concat();
    keys.into_iter().map(|key| (key.clone(), value(&key))).collect()
}

fn twenty() -> Entries {
    entries((0..20).map(|number| (5 + number % 4, vec![number; 3])))
}

/// A chain whose latest block left these entries, and a maker of proofs.
fn chain(entries: &Entries) -> (Client, impl Fn(u8, &[u8]) -> StateProof + use<>) {
    let mut chain = TestChain::new(&team(10, 4));
    let oracle = Oracle::new(entries);
    chain.state_root = oracle.root;
    let head = chain.commit(&Tree::of_records(&records(3)));
    let client = Client::from_genesis(&chain.genesis.to_json()).expect("it is a genesis file");
    let proof = move |family: u8, key: &[u8]| {
        let path = oracle.path(family, key);
        StateProof { family, key: key.to_vec(), path, head: head.clone() }
    };
    (client, proof)
}

/// The first key of family 5, and another where there is such a one, that is absent in this way.
fn absent(entries: &Entries, is_right: fn(&StateEntry) -> bool) -> (u8, Vec<u8>) {
    let oracle = Oracle::new(entries);
    let mut keys = (0..u16::MAX).map(|number| (5, number.to_le_bytes().to_vec()));
    keys.find(|(family, key)| is_right(&oracle.path(*family, key).entry)).expect("there is one")
}

fn at_nothing(entries: &Entries) -> (u8, Vec<u8>) {
    absent(entries, |entry| *entry == StateEntry::Absent(None))
}

fn at_another_leaf(entries: &Entries) -> (u8, Vec<u8>) {
    absent(entries, |entry| matches!(entry, StateEntry::Absent(Some(_))))
}

#[test]
fn every_entry_and_every_absence_is_proven() {
    let entries = twenty();
    let (client, proof) = chain(&entries);
    for family in 4..10 {
        for number in 0..30 {
            let key = vec![number; 3];
            let proof = proof(family, &key);
            let verified = client.verify_state(&proof).expect("it is so");
            let VerifiedEntry { value, head, .. } = verified.clone();
            assert_eq!(value.as_ref(), entries.get(&(family, key)));
            assert_eq!((head.height.get(), head.state_root), (1, proof.head.exec.state_root));
            let (cbor, json) = (proof.to_cbor(), proof.to_json().expect("it is final"));
            assert_eq!(client.verify_state_bytes(&cbor).as_ref(), Ok(&verified));
            assert_eq!(client.verify_state_bytes(&json).as_ref(), Ok(&verified));
            assert_eq!(StateProof::from_json(&json), Ok(proof));
        }
    }
    let (client, proof) = chain(&Entries::new());
    let verified = client.verify_state(&proof(5, b"any")).expect("the tree is empty");
    assert_eq!(verified.value, None);
}

#[test]
fn nothing_of_a_proof_is_free() {
    let entries = twenty();
    let (client, proof) = chain(&entries);
    let present = entries.keys().next().expect("there are twenty").clone();
    for (family, key) in [present, at_nothing(&entries), at_another_leaf(&entries)] {
        let good = proof(family, &key);
        for bytes in [good.to_cbor(), good.to_json().expect("it is final")] {
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut bad = bytes.clone();
                    bad[at] ^= 1 << bit;
                    // What shows that nothing is there may show it of another key.
                    let refused = client.verify_state_bytes(&bad).map_or(true, |entry| {
                        let other = (entry.family, entry.key);
                        let is_true = entry.value.is_none() && !entries.contains_key(&other);
                        is_true && other != (family, key.clone())
                    });
                    assert!(refused, "bit {bit} of byte {at} is free");
                }
            }
            for length in 0..bytes.len() {
                assert!(client.verify_state_bytes(&bytes[..length]).is_err(), "{length} bytes do");
            }
            assert!(client.verify_state_bytes(&[&bytes[..], &[0]].concat()).is_err());
        }
    }
}

#[test]
fn refusals_of_a_path() {
    let entries = twenty();
    let (client, proof) = chain(&entries);
    let present = entries.keys().next().expect("there are twenty").clone();
    let (another, nothing) = (at_another_leaf(&entries), at_nothing(&entries));
    let refused = |name: &str, bad: &StateProof| {
        let error = client.verify_state(bad).expect_err(name);
        assert!(matches!(error, ProofError::State { .. }), "{name}: {error}");
        client.verify_state_bytes(&bad.to_cbor()).expect_err(name);
    };
    for (family, key) in [&present, &another, &nothing] {
        let good = proof(*family, key);
        let mut bad = good.clone();
        bad.path.siblings.remove(0);
        refused("a sibling is missing", &bad);
        let mut bad = good.clone();
        bad.path.siblings.pop();
        refused("the last sibling is missing", &bad);
        for extra in [Hash::ZERO, Hash(*b"SPARSE_MERKLE_PLACEHOLDER_HASH__")] {
            let mut bad = good.clone();
            bad.path.siblings.insert(0, extra);
            refused("a sibling too many", &bad);
            let mut bad = good.clone();
            bad.path.siblings.push(extra);
            refused("a sibling above the root", &bad);
        }
        let mut bad = good.clone();
        bad.path.siblings.swap(0, 1);
        refused("siblings swapped", &bad);
        let mut bad = good.clone();
        bad.path.siblings = vec![Hash::ZERO; 256];
        refused("as long as can be", &bad);
        bad.path.siblings.push(Hash::ZERO);
        assert!(matches!(
            client.verify_state_bytes(&bad.to_cbor()),
            Err(ProofError::Form(FormError::Length { .. }))
        ));
        refused_longer(&client, &bad);
    }

    let good = proof(present.0, &present.1);
    let leaf = StateLeaf {
        key_hash: key_hash(present.0, &present.1),
        value_hash: value_hash(&entries[&present]),
    };
    let with = |entry: StateEntry| StateProof {
        path: StatePath { entry, ..good.path.clone() },
        ..good.clone()
    };
    refused("there is an entry: nothing", &with(StateEntry::Absent(None)));
    refused("there is an entry: its own leaf", &with(StateEntry::Absent(Some(leaf))));
    refused("another value", &with(StateEntry::Present(b"other".to_vec())));
    refused("another family", &StateProof { family: present.0 + 1, ..good.clone() });

    // The leaf of a key that has its own place elsewhere.
    let (far, key) = entries.keys().last().expect("there are twenty");
    let far = proof(*far, key);
    let StateEntry::Present(value) = &far.path.entry else { panic!("it is there") };
    let leaf = StateLeaf { key_hash: key_hash(far.family, key), value_hash: value_hash(value) };
    let entry = StateEntry::Absent(Some(leaf));
    let path = StatePath { entry, siblings: far.path.siblings.clone() };
    refused("a leaf that is not on the way", &StateProof { path, ..good.clone() });

    let mut bad = good;
    bad.head.exec.state_root = Hash([1; 32]);
    refused("another root", &bad);
    bad.head.exec.state_root = bad.path.root(bad.family, &bad.key).expect("it has one");
    bad.path.entry = StateEntry::Present(b"made up".to_vec());
    bad.head.exec.state_root = bad.path.root(bad.family, &bad.key).expect("it has one");
    let error = client.verify_state(&bad).expect_err("nobody signed it");
    assert!(matches!(error, ProofError::Exec { .. }), "{error}");
}

/// A path of 257 is refused also where no bytes were read.
fn refused_longer(client: &Client, bad: &StateProof) {
    assert_eq!(bad.path.root(bad.family, &bad.key), None);
    client.verify_state(bad).expect_err("a path of 257");
}

#[test]
fn json_members_are_the_known_ones() {
    let entries = twenty();
    let (_, proof) = chain(&entries);
    let present = entries.keys().next().expect("there are twenty").clone();
    let (another, nothing) = (at_another_leaf(&entries), at_nothing(&entries));
    for (family, key) in [present, another, nothing] {
        let good = proof(family, &key).to_value().expect("it is final");
        let Value::Object(members) = &good else { panic!("a proof is an object") };
        for name in members.iter().map(|(name, _)| name.to_owned()) {
            let mut bad = members.clone();
            bad.remove(&name);
            let read = StateProof::from_json(&canonical(&Value::Object(bad)));
            match name.as_str() {
                "value" | "other" => {
                    assert_eq!(read.expect("it says so").path.entry, StateEntry::Absent(None));
                }
                _ => assert!(read.expect_err("missing").to_string().contains("is missing")),
            }
        }
        let mut bad = members.clone();
        bad.insert("note", "hello".into());
        let error = StateProof::from_json(&canonical(&Value::Object(bad))).expect_err("unknown");
        assert!(error.to_string().contains("`note` is an unknown member"), "{error}");
    }
    let (family, key) = at_another_leaf(&entries);
    let Ok(Value::Object(good)) = proof(family, &key).to_value() else { panic!("it is final") };
    for (name, value, complaint) in [
        ("value", "00".into(), "`other` must be left out where there is a value"),
        ("key", "0".into(), "must be lower-case hex digits"),
        ("key", "AA".into(), "must be lower-case hex digits"),
        ("family", 256_u32.into(), "`family`"),
        ("key", "00".repeat(257).as_str().into(), "`key`"),
    ] {
        let mut bad = good.clone();
        bad.insert(name, value);
        let error = StateProof::from_json(&canonical(&Value::Object(bad))).expect_err(name);
        assert!(error.to_string().contains(complaint), "{error}");
    }
}

#[test]
fn the_cbor_is_the_documented_one() {
    let entries = twenty();
    let (_, proof) = chain(&entries);
    let ((family, key), value) = entries.iter().next().expect("there are twenty");
    let good = proof(*family, key);
    let bytes = good.to_cbor();
    assert_eq!(bytes[..3], [0x8a, 1, *family]);
    assert_eq!(bytes[3..7], [&[0x43], key.as_slice()].concat());
    assert_eq!(bytes[7..9], [0x81, 0x44]);
    assert_eq!(bytes[9..13], value[..]);
    let size = 32 * good.path.siblings.len();
    assert_eq!(bytes[13..15], [0x58, u8::try_from(size).expect("a short path")]);
    assert_eq!(bytes[15 + size..15 + size + 2], [0x58, 200]);
    let (family, key) = at_nothing(&entries);
    assert_eq!(proof(family, &key).to_cbor()[6], 0x80);
    let (family, key) = at_another_leaf(&entries);
    assert_eq!(proof(family, &key).to_cbor()[6..9], [0x82, 0x58, 32]);

    for (at, from, to) in
        [(2, 1, &[0x19, 1, 0][..]), (7, 1, &[0x83]), (7, 1, &[0xf6]), (13, 2, &[0x58, 33])]
    {
        let mut bad = bytes.clone();
        bad.splice(at..at + from, to.iter().copied());
        StateProof::from_cbor(&bad).expect_err("another layout");
    }
    assert!(matches!(
        StateProof::from_cbor(&[&[0x8a, 1, 0x19, 1, 0], &bytes[3..]].concat()),
        Err(FormError::Limit { offset: 2, value: 256, limit: 255, .. })
    ));
}

#[test]
fn state_proofs_are_the_recorded_ones() {
    let entries = twenty();
    let (client, proof) = chain(&entries);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("JSON is UTF-8");
    let present = entries.keys().nth(7).expect("there are twenty").clone();
    let named = [
        ("an entry", present.clone()),
        ("no entry: its place is empty", at_nothing(&entries)),
        ("no entry: another leaf is at its place", at_another_leaf(&entries)),
    ];
    let accepted = named.map(|(name, (family, key))| {
        let proof = proof(family, &key);
        let verified = client.verify_state(&proof).expect(name);
        json!({
            "name": name,
            "family": family,
            "key": hex(&key),
            "key_hash": key_hash(family, &key).to_string(),
            "value": verified.value.map(|value| hex(&value)),
            "state_root": verified.head.state_root.to_string(),
            "height": verified.head.height.get(),
            "cbor": hex(&proof.to_cbor()),
            "json": text(proof.to_json().expect(name)),
        })
    });
    let good = proof(present.0, &present.1);
    let mut value = good.clone();
    value.path.entry = StateEntry::Present(b"another".to_vec());
    let mut absent = good.clone();
    absent.path.entry = StateEntry::Absent(None);
    let mut sibling = good.clone();
    sibling.path.siblings.insert(0, Hash(*b"SPARSE_MERKLE_PLACEHOLDER_HASH__"));
    let mut short = good.clone();
    short.path.siblings.pop();
    let mut signature = good.clone();
    signature.head.commit.signatures.swap(0, 1);
    let rejected = [
        ("another value", value.to_cbor()),
        ("an entry denied", absent.to_cbor()),
        ("a sibling too many", sibling.to_cbor()),
        ("a sibling missing", short.to_cbor()),
        ("signatures swapped", signature.to_cbor()),
        ("trailing byte", [good.to_cbor(), vec![0]].concat()),
    ]
    .map(|(name, bytes)| {
        let error = client.verify_state_bytes(&bytes).expect_err(name);
        json!({ "name": name, "cbor": hex(&bytes), "error": error.to_string() })
    });
    let entries: Vec<_> = entries
        .iter()
        .map(|((family, key), value)| json!([family, hex(key), hex(value)]))
        .collect();
    let value = json!({
        "genesis": text(client.genesis().to_json()),
        "entries": entries,
        "accepted": accepted,
        "rejected": rejected,
    });
    compare("state.json", &value);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn paths_of_the_other_implementation_hold_and_nothing_near_them(
        keys in prop::collection::btree_set((0_u8..3, 0_u8..40), 0..40),
        asked in (0_u8..4, 0_u8..44),
        bit in 0_usize..256,
    ) {
        let entries = entries(keys.into_iter().map(|(family, key)| (family, vec![key])));
        let oracle = Oracle::new(&entries);
        let (family, key) = (asked.0, vec![asked.1]);
        let good = oracle.path(family, &key);
        prop_assert_eq!(good.entry.value(), entries.get(&(family, key.clone())).map(Vec::as_slice));
        prop_assert_eq!(good.root(family, &key), Some(oracle.root));
        let leads_there = |path: &StatePath| path.root(family, &key) == Some(oracle.root);

        for at in 0..good.siblings.len() {
            let mut bad = good.clone();
            bad.siblings[at].0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!leads_there(&bad));
            let mut bad = good.clone();
            bad.siblings.remove(at);
            prop_assert!(!leads_there(&bad));
            let mut bad = good.clone();
            bad.siblings.insert(at, oracle.root);
            prop_assert!(!leads_there(&bad));
        }
        let mut bad = good.clone();
        match &mut bad.entry {
            StateEntry::Present(value) => value[0] ^= 1 << (bit % 8),
            StateEntry::Absent(None) => bad.entry = StateEntry::Present(vec![]),
            StateEntry::Absent(Some(leaf)) if bit % 2 == 0 => leaf.key_hash.0[bit / 8] ^= 1,
            StateEntry::Absent(Some(leaf)) => leaf.value_hash.0[bit / 8] ^= 1,
        }
        prop_assert!(!leads_there(&bad));
    }
}
