use super::*;
use bizra_types::encoding::encode_bytes;
use core::cell::RefCell;
use core::iter::once;
use proptest::prelude::*;
use std::collections::BTreeSet;

type Entries = BTreeMap<(Family, Vec<u8>), Vec<u8>>;
type Write = ((Family, Vec<u8>), Option<Vec<u8>>);

/// A store of nodes with what they should say.
#[derive(Clone)]
struct Store {
    nodes: BTreeMap<Vec<u8>, Vec<u8>>,
    stale: BTreeMap<StateVersion, StaleNodes>,
    tree: StateTree,
    entries: Entries,
    /// Keys that were asked for.
    asked: RefCell<BTreeSet<Vec<u8>>>,
}

impl StateNodes for Store {
    fn state_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.asked.borrow_mut().insert(key.to_vec());
        Ok(self.nodes.get(key).cloned())
    }
}

impl Store {
    fn new() -> Self {
        Self {
            nodes: BTreeMap::new(),
            stale: BTreeMap::new(),
            tree: StateTree::EMPTY,
            entries: BTreeMap::new(),
            asked: RefCell::default(),
        }
    }

    /// A store with this many entries, put there one by one.
    fn with(count: u8) -> Self {
        let mut store = Self::new();
        for number in 0..count {
            store.write(&[(entry_key(number), Some(vec![number; 3]))]);
        }
        store
    }

    /// A version of the tree, as a commit writes it.
    fn write(&mut self, writes: &[Write]) {
        let writes: BTreeMap<_, _> = writes
            .iter()
            .filter(|(key, value)| self.entries.get(key) != value.as_ref())
            .cloned()
            .collect();
        let change = self.change(&writes).expect("memory does not fail");
        assert_eq!(change.is_none(), writes.is_empty());
        for (key, node) in change.nodes {
            assert_eq!(self.nodes.insert(key, node), None, "nodes are never overwritten");
        }
        if !writes.is_empty() {
            assert_eq!(change.tree.version, self.tree.version.next());
            self.stale.insert(change.tree.version, change.stale);
            if let Some(version) = expired(change.tree.version) {
                for key in self.stale.remove(&version).expect("each version has a list").0 {
                    self.nodes.remove(&key).expect("a stale node is there until it expires");
                }
            }
        }
        self.tree = change.tree;
        for (key, value) in writes {
            match value {
                Some(value) => self.entries.insert(key, value),
                None => self.entries.remove(&key),
            };
        }
    }

    fn change(
        &self,
        writes: &BTreeMap<(Family, Vec<u8>), Option<Vec<u8>>>,
    ) -> Result<Change, StorageError> {
        let writes: Vec<_> = writes
            .iter()
            .map(|((family, key), value)| (*family, key.as_slice(), value.as_deref()))
            .collect();
        change(self.tree, &writes, self)
    }

    /// Gives every entry another value.
    fn change_all(&self) -> Result<Change, StorageError> {
        self.change(&self.entries.keys().map(|key| (key.clone(), Some(b"new".to_vec()))).collect())
    }

    fn prove(&self, tree: &StateTree, key: &(Family, Vec<u8>)) -> Result<StatePath, StorageError> {
        prove(tree, key.0, &key.1, self)
    }
}

/// Keys of two families; some families have equal keys.
fn entry_key(number: u8) -> (Family, Vec<u8>) {
    let family = if number.is_multiple_of(2) { Family::Key } else { Family::Licence };
    (family, vec![number / 2; 16])
}

/// The root of these entries by the definition: no tree and no update.
pub(crate) fn root_of<'a>(entries: impl Iterator<Item = (Family, &'a [u8], &'a [u8])>) -> Hash {
    fn subtree(leaves: &[([u8; 32], [u8; 32])], depth: usize) -> [u8; 32] {
        match leaves {
            [] => *b"SPARSE_MERKLE_PLACEHOLDER_HASH__",
            [(_, leaf)] => *leaf,
            _ => {
                let is_left = |(key, _): &([u8; 32], _)| key[depth / 8] << (depth % 8) & 0x80 == 0;
                let (left, right) = leaves.split_at(leaves.partition_point(is_left));
                let (left, right) = (subtree(left, depth + 1), subtree(right, depth + 1));
                derive("tree", &[b"JMT::IntrnalNode", &left, &right])
            }
        }
    }
    let mut leaves: Vec<_> = entries
        .map(|(family, key, value)| {
            let key = derive("key", &[&[family.number()], key]);
            (key, derive("tree", &[b"JMT::LeafNode", &key, &derive("tree", &[value])]))
        })
        .collect();
    leaves.sort_unstable();
    Hash(subtree(&leaves, 0))
}

fn derive(what: &str, parts: &[&[u8]]) -> [u8; 32] {
    blake3::derive_key(&format!("bizra 2026 state {what} v1"), &parts.concat())
}

#[test]
fn an_empty_tree_proves_that_there_is_nothing() {
    let store = Store::new();
    let path = store.prove(&StateTree::EMPTY, &entry_key(0)).expect("memory does not fail");
    assert_eq!(path, StatePath { entry: StateEntry::Absent(None), siblings: vec![] });
    assert_eq!(store.tree.root.as_bytes(), b"SPARSE_MERKLE_PLACEHOLDER_HASH__");
    assert!(store.change(&BTreeMap::new()).expect("memory does not fail").is_none());
}

#[test]
fn a_tree_that_was_emptied_can_grow_again() {
    let mut store = Store::with(5);
    let clear: Vec<_> = store.entries.keys().map(|key| (key.clone(), None)).collect();
    store.write(&clear);
    assert_eq!(store.tree, StateTree { version: StateVersion::new(6), ..StateTree::EMPTY });
    store.write(&[(entry_key(3), Some(b"back".to_vec()))]);
    let path = store.prove(&store.tree, &entry_key(3)).expect("memory does not fail");
    assert_eq!(path.entry, StateEntry::Present(b"back".to_vec()));
    let path = store.prove(&store.tree, &entry_key(4)).expect("memory does not fail");
    assert!(matches!(path.entry, StateEntry::Absent(Some(_))));
}

#[test]
fn pruning_keeps_what_the_window_needs_and_nothing_else() {
    let mut store = Store::new();
    let mut versions = vec![(store.tree, store.entries.clone())];
    let mut random = 1_u64;
    for _ in 0..3 * STATE_VERSIONS_KEPT {
        // A generator of our own, so that the history is the same in every run.
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as u8
        };
        let writes: Vec<_> = (0..1 + next() % 3)
            .map(|_| (entry_key(next() % 24), (next() % 3 > 0).then(|| vec![next(); 4])))
            .collect();
        let before = store.tree;
        store.write(&writes);
        if store.tree != before {
            versions.push((store.tree, store.entries.clone()));
        }
    }
    assert!(versions.len() as u64 > 2 * STATE_VERSIONS_KEPT);
    for (at, (tree, _)) in versions.iter().enumerate() {
        assert_eq!(tree.version.get(), at as u64);
    }
    let oldest = oldest_kept(store.tree.version);
    let (gone, kept) = versions.split_at(usize::try_from(oldest.get()).expect("it is small"));
    assert_eq!(kept.len() as u64, STATE_VERSIONS_KEPT);

    store.asked.take();
    for (tree, entries) in kept {
        for key in (0..24).map(entry_key) {
            let path = store.prove(tree, &key).expect("this version is kept");
            assert_eq!(path.entry.value(), entries.get(&key).map(Vec::as_slice));
        }
    }
    let stored: BTreeSet<_> = store.nodes.keys().cloned().collect();
    assert_eq!(store.asked.take(), stored);
    for (tree, _) in gone.iter().filter(|(tree, _)| !tree.is_empty()) {
        let error = store.prove(tree, &entry_key(0)).expect_err("this version is gone");
        let root = hex(&node_key(tree.version, &[]));
        assert_eq!(error.0, format!("node {root} of the state tree is missing"));
    }
}

#[test]
fn what_is_stored_keeps_its_bytes() {
    let mut store = Store::with(40);
    store.write(&[(entry_key(3), None)]);
    let set = |number: u8| (entry_key(number), Some(vec![number; 9]));
    store.write(&[set(3), set(7), (entry_key(8), None), (entry_key(9), None), set(50), set(51)]);
    let mut bytes = Vec::new();
    for (key, node) in &store.nodes {
        encode_bytes(key, &mut bytes);
        encode_bytes(node, &mut bytes);
    }
    for stale in store.stale.values() {
        stale.encode(&mut bytes);
    }
    let hash = Context::List.hash(&[&bytes]).to_string();
    assert_eq!(hash, "1257fba02313e1dcd675b76e4a73939c1f0166d2ce7744cfdc07d10eb8d75fcb");
}

#[test]
fn large_blocks_leave_the_tree_of_their_entries() {
    let key = |number: u32| (Family::Key, number.to_le_bytes().to_vec());
    let mut store = Store::new();
    for block in 0..5_u8 {
        let first = 600 * u32::from(block);
        let puts = (first..first + 800).map(|number| (key(number), Some(vec![block; 9])));
        // A third of what earlier blocks have put is taken out again.
        let outs = (0..first).filter(|number| number % 3 == u32::from(block) % 3);
        let outs = outs.map(|number| (key(number), None));
        store.write(&puts.chain(outs).collect::<Vec<_>>());
        let entries = store.entries.iter();
        let root = root_of(entries.map(|((family, key), value)| (*family, &key[..], &value[..])));
        assert_eq!(store.tree.root, root);
    }
    assert!(store.entries.len() > 1_000, "{} entries", store.entries.len());
    // Whatever is stored and not replaced yet is part of the tree.
    let change = store.change_all().expect("nothing is damaged");
    let stale: BTreeSet<_> =
        store.stale.values().chain([&change.stale]).flat_map(|it| &it.0).collect();
    assert!(stale.into_iter().eq(store.nodes.keys()));
    let clear: Vec<_> = store.entries.keys().map(|key| (key.clone(), None)).collect();
    store.write(&clear);
    assert!(store.tree.is_empty());
}

#[test]
fn each_version_expires_once() {
    let kept = STATE_VERSIONS_KEPT;
    let expired = |latest| expired(StateVersion::new(latest)).map(StateVersion::get);
    assert!((0..kept).all(|latest| expired(latest).is_none()));
    assert!((1..1_000).all(|version| expired(version + kept - 1) == Some(version)));
    assert_eq!([0, kept - 1, kept].map(|at| oldest_kept(StateVersion::new(at)).get()), [0, 0, 1]);
}

#[test]
fn damage_is_an_error_and_no_panic() {
    let store = Store::with(20);
    let count = store.change_all().expect("nothing is damaged").stale.0.len();
    let live: BTreeSet<_> =
        store.change_all().expect("nothing is damaged").stale.0.into_iter().collect();
    assert!(live.len() == count && count > 20, "{count} nodes");
    let keys: Vec<_> = (0..22).map(entry_key).collect();
    let good: Vec<_> = keys.iter().map(|key| store.prove(&store.tree, key)).collect();
    for (number, key) in live.iter().enumerate() {
        let node = &store.nodes[key];
        for at in 0..node.len() {
            let mut damaged = store.clone();
            damaged.nodes.get_mut(key).expect("it is there")[at] ^= 1 << (at % 8);
            let error = damaged.change_all().expect_err("a damaged node");
            assert_eq!(error, super::damaged(key));
        }
        let other = live.iter().cycle().nth(number + 1).expect("it is a cycle");
        let replacements =
            [None, Some(vec![]), Some(node[..7].to_vec()), Some(store.nodes[other].clone())];
        for replacement in replacements {
            let mut damaged = store.clone();
            match replacement {
                None => drop(damaged.nodes.remove(key)),
                Some(bytes) => drop(damaged.nodes.insert(key.clone(), bytes)),
            }
            damaged.change_all().expect_err("a wrong node");
            let proofs: Vec<_> = keys.iter().map(|key| damaged.prove(&store.tree, key)).collect();
            assert!(proofs.iter().zip(&good).all(|(now, good)| now.is_err() || now == good));
            assert!(proofs.iter().any(Result::is_err));
        }
    }
    let other = StateTree { root: Hash([7; 32]), ..store.tree };
    let error = store.prove(&other, &keys[0]).expect_err("another root");
    assert!(error.0.starts_with("version 20 of the state tree has another root than 0707"));
}

#[test]
fn a_failure_of_the_store_comes_through() {
    struct Broken;
    impl StateNodes for Broken {
        fn state_node(&self, _key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
            Err(StorageError("the disk is gone".into()))
        }
    }
    let tree = Store::with(3).tree;
    let writes = [(Family::Key, [1; 32].as_slice(), Some([2].as_slice()))];
    let gone = StorageError("the disk is gone".into());
    assert_eq!(change(tree, &writes, &Broken).expect_err("the store fails"), gone);
    assert_eq!(prove(&tree, Family::Key, &[1; 32], &Broken).expect_err("the store fails"), gone);
}

#[test]
#[should_panic(expected = "an entry of 257 and 0 bytes has no proof")]
fn what_no_proof_can_carry_is_our_own_fault() {
    let _ = change(StateTree::EMPTY, &[(Family::Key, &[0; 257], None)], &Store::new());
}

#[test]
fn lists_of_stale_nodes_have_one_encoding() {
    let stale = StaleNodes(vec![
        node_key(StateVersion::new(7), &[]),
        node_key(StateVersion::new(6), &[1, 2, 3]),
    ]);
    let bytes = stale.to_bytes();
    assert_eq!(
        hex(&bytes),
        "02000000\
         09000000000000000000000700\
         0b0000000000000000000006031230"
    );
    assert_eq!(StaleNodes::from_bytes(&bytes), Ok(stale));
    assert!(StaleNodes::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    assert!(StaleNodes::from_bytes(&[255; 8]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_version_is_the_tree_of_its_entries(
        blocks in prop::collection::vec(
            prop::collection::btree_map(0_u8..40, prop::option::weighted(0.7, 0_u8..4), 0..12),
            1..12,
        )
    ) {
        let mut store = Store::new();
        for block in blocks {
            let writes: Vec<_> = block
                .into_iter()
                .map(|(key, value)| (entry_key(key), value.map(|value| vec![value; 5])))
                .collect();
            store.write(&writes);
            let entries = store.entries.iter();
            let root = root_of(entries.map(|((family, key), value)| (*family, &key[..], &value[..])));
            prop_assert_eq!(store.tree.root, root);
            for key in (0..42).map(entry_key) {
                let path = store.prove(&store.tree, &key).expect("memory does not fail");
                prop_assert_eq!(path.entry.value(), store.entries.get(&key).map(Vec::as_slice));
                prop_assert_eq!(path.root(key.0.number(), &key.1), Some(root));
                // It shows nothing of any other key.
                for other in (0..42).map(entry_key).filter(|other| *other != key) {
                    let shown = path.root(other.0.number(), &other.1) == Some(root);
                    let is_shared = matches!(&path.entry, StateEntry::Absent(_))
                        && !store.entries.contains_key(&other);
                    prop_assert!(!shown || is_shared);
                }
                let longer = once(EMPTY_STATE_ROOT).chain(path.siblings.iter().copied());
                let longer = StatePath { siblings: longer.collect(), ..path.clone() };
                prop_assert_ne!(longer.root(key.0.number(), &key.1), Some(root));
            }
        }
    }
}
