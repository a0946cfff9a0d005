//! The state tree: what changes rarely and others ask about, under one root.
//!
//! It is a Jellyfish Merkle tree (of the crate `jmt`, hashed with BLAKE3) over
//! the entries of the families that [`Family::is_in_tree`] names. Its root goes
//! into every `exec`, so whoever has the certificate of a block can be shown
//! one entry, or that there is none.
//!
//! A block that changes entries makes a new version, and one that changes none
//! leaves root and version as they are, which costs nothing. A version shares
//! with the one before every node that did not change: nodes are stored under
//! the version that wrote them and their path, are never overwritten, and are
//! *stale* from the version on that replaced them. They are kept for
//! [`STATE_VERSIONS_KEPT`] versions, so that proofs of a version can still be
//! made while later ones are committed.
//!
//! A stored node is a checksum, the node, and in a leaf the entry's value: so
//! each version that is kept has its values, and damage is an error wherever it
//! is met.

use crate::log::StorageError;
use crate::plain::Family;
use alloc::collections::BTreeMap;
use bizra_types::encode_fields;
use bizra_types::encoding::{Decode, DecodeError, Encode, Reader, encode_bytes};
use bizra_types::execution::EMPTY_STATE_ROOT;
use bizra_types::hash::{Context, Hash, hex};
use bizra_types::numbers::StateVersion;
use bizra_types::proof::state::{
    STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX, StateEntry, StateLeaf, StatePath, key_hash,
    node_hash, value_hash,
};
use borsh::BorshDeserialize as _;
use core::cell::RefCell;
use jmt::storage::{LeafNode, Node, NodeKey, TreeReader};
use jmt::{JellyfishMerkleTree, KeyHash, OwnedValue, SimpleHasher, Version};

/// Versions of the tree of which proofs can be made: the latest and those before it.
pub const STATE_VERSIONS_KEPT: u64 = 256;

/// Bytes of the checksum before a stored node.
const CHECKSUM_SIZE: usize = 8;

/// Bytes of a node's longest key: the version, the length of the path, the path.
const NODE_KEY_SIZE_MAX: usize = 8 + 1 + 32;

/// Most nodes that one block can replace.
const STALE_NODES_MAX: usize = 1 << 24;

/// Nodes of the state tree by their keys.
pub trait StateNodes {
    /// The stored node with this key, as [`Overlay::state_nodes`] gave it, unless it is gone.
    ///
    /// # Errors
    /// When the store cannot be read.
    ///
    /// [`Overlay::state_nodes`]: crate::execution::Overlay::state_nodes
    fn state_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;
}

/// The state tree as a block leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateTree {
    /// How many blocks have changed it.
    pub version: StateVersion,
    /// Its root, the `state_root` of `exec`.
    pub root: Hash,
}

encode_fields!(StateTree { version, root });

/// Keys of nodes that are no part of the tree from a version on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StaleNodes(pub Vec<Vec<u8>>);

/// An entry to set, or to take out where there is no value.
pub(crate) type Write<'a> = (Family, &'a [u8], Option<&'a [u8]>);

/// What a block does to the tree.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The tree after it.
    pub(crate) tree: StateTree,
    /// New nodes by their keys.
    pub(crate) nodes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What they replace.
    pub(crate) stale: StaleNodes,
}

/// The version whose stale nodes are deleted with the commit of version `latest`, if any is old
/// enough: no version that is kept has a node that is stale since then. Versions follow each other
/// without a gap, so each is named once.
#[must_use]
pub fn expired(latest: StateVersion) -> Option<StateVersion> {
    Some(oldest_kept(latest)).filter(|version| *version > StateVersion::ZERO)
}

/// The oldest version of which proofs can be made once `latest` is committed.
#[must_use]
pub const fn oldest_kept(latest: StateVersion) -> StateVersion {
    StateVersion::new(latest.next().get().saturating_sub(STATE_VERSIONS_KEPT))
}

/// The way from an entry, or from where it would be, to the root of the tree.
///
/// # Errors
/// When the store fails, or does not hold this version of the tree, because it is damaged or the
/// version is no longer kept.
pub fn prove<S: StateNodes + ?Sized>(
    tree: &StateTree,
    family: Family,
    key: &[u8],
    store: &S,
) -> Result<StatePath, StorageError> {
    let mut siblings = Vec::new();
    let entry = descend(tree, &key_hash(family.number(), key), store, &mut siblings)?;
    siblings.reverse();
    let path = StatePath { entry, siblings };
    match path.root(family.number(), key) {
        Some(root) if root == tree.root => Ok(path),
        _ => Err(StorageError(format!(
            "version {} of the state tree has another root than {}",
            tree.version, tree.root
        ))),
    }
}

/// Puts entries into the tree, or takes them out where there is no value. Each
/// must be another one than the tree has, and none be there twice.
///
/// # Panics
/// When a key or value is too long for a proof.
pub(crate) fn change<S: StateNodes + ?Sized>(
    tree: StateTree,
    writes: &[Write<'_>],
    store: &S,
) -> Result<Change, StorageError> {
    if writes.is_empty() {
        return Ok(Change { tree, nodes: BTreeMap::new(), stale: StaleNodes::default() });
    }
    let mut values = BTreeMap::new();
    for (family, key, value) in writes {
        let (key_size, value_size) = (key.len(), value.map_or(0, <[u8]>::len));
        assert!(
            key_size <= STATE_KEY_BYTES_MAX && value_size <= STATE_VALUE_BYTES_MAX,
            "an entry of {key_size} and {value_size} bytes has no proof"
        );
        values.insert(KeyHash(key_hash(family.number(), key).0), *value);
    }
    let version = tree.version.next();
    let lender = Lender { tree, store, leaves: RefCell::default() };
    let (root, batch) = JellyfishMerkleTree::<_, Hasher>::new(&lender)
        .put_value_set(
            values.iter().map(|(key, value)| (*key, value.map(<[u8]>::to_vec))),
            version.get(),
        )
        .map_err(|error| match error.downcast() {
            Ok(failure) => failure,
            Err(error) => StorageError(format!("the state tree: {error:#}")),
        })?;
    let leaves = lender.leaves.into_inner();
    let value_of = |leaf: &LeafNode| {
        let written = values.get(&leaf.key_hash()).copied().flatten();
        let moved = || leaves.get(&leaf.key_hash()).map(Vec::as_slice);
        written.or_else(moved).expect("a leaf that the block does not write was read to move it")
    };
    let nodes = batch.node_batch.nodes().iter().filter_map(|(key, node)| {
        let value = match node {
            // Stands for the tree that has become empty: its root says so.
            Node::Null => return None,
            Node::Internal(_) => &[],
            Node::Leaf(leaf) => value_of(leaf),
        };
        let key = key_bytes(key);
        let bytes = stored_node(&key, node, value);
        Some((key, bytes))
    });
    let stale = batch.stale_node_index_batch.iter().map(|stale| key_bytes(&stale.node_key));
    Ok(Change {
        tree: StateTree { version, root: Hash(root.0) },
        nodes: nodes.collect(),
        stale: StaleNodes(stale.collect()),
    })
}

impl StateTree {
    /// The tree that holds nothing, as at genesis.
    pub const EMPTY: Self = Self { version: StateVersion::ZERO, root: EMPTY_STATE_ROOT };

    /// Whether it holds nothing. An empty tree has no nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root == EMPTY_STATE_ROOT
    }
}

impl Change {
    /// Whether the tree is the one before.
    pub(crate) fn is_none(&self) -> bool {
        self.nodes.is_empty() && self.stale.0.is_empty()
    }
}

impl Encode for StaleNodes {
    fn encode(&self, out: &mut Vec<u8>) {
        u32::try_from(self.0.len()).expect("a block replaces fewer nodes").encode(out);
        for key in &self.0 {
            encode_bytes(key, out);
        }
    }
}

impl Decode for StaleNodes {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count("stale nodes", STALE_NODES_MAX, 4)?;
        let key = |reader: &mut Reader<'_>| {
            reader.bytes("the key of a node", NODE_KEY_SIZE_MAX).map(<[u8]>::to_vec)
        };
        (0..count).map(|_| key(reader)).collect::<Result<_, _>>().map(Self)
    }
}

/// The hash of the tree's nodes and values.
struct Hasher(blake3::Hasher);

impl SimpleHasher for Hasher {
    fn new() -> Self {
        Self(Context::StateTree.hasher())
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// Lends a tree to `jmt`, and keeps the values of the leaves that it reads: a
/// leaf that moves takes its value along.
struct Lender<'a, S: ?Sized> {
    tree: StateTree,
    store: &'a S,
    leaves: RefCell<BTreeMap<KeyHash, Vec<u8>>>,
}

impl<S: StateNodes + ?Sized> TreeReader for Lender<'_, S> {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        if self.tree.is_empty() && key.nibble_path().is_empty() {
            return Ok(Some(Node::Null));
        }
        // `jmt` would take a node that is missing for an empty subtree.
        let (node, value) = read_node(self.store, &key_bytes(key))?;
        if let Node::Leaf(leaf) = &node {
            self.leaves.borrow_mut().insert(leaf.key_hash(), value);
        }
        Ok(Some(node))
    }

    fn get_value_option(&self, _: Version, _: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        anyhow::bail!("a change of the tree reads no values")
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        anyhow::bail!("a change of the tree restores none")
    }
}

/// Walks from the root to the place of a key, and collects the siblings.
fn descend<S: StateNodes + ?Sized>(
    tree: &StateTree,
    place: &Hash,
    store: &S,
    siblings: &mut Vec<Hash>,
) -> Result<StateEntry, StorageError> {
    if tree.is_empty() {
        return Ok(StateEntry::Absent(None));
    }
    let (mut version, mut path) = (tree.version.get(), Vec::new());
    loop {
        let key = node_key(version, &path);
        let children = match read_node(store, &key)? {
            (Node::Leaf(leaf), value) => {
                let key_hash = Hash(leaf.key_hash().0);
                return Ok(if key_hash == *place {
                    StateEntry::Present(value)
                } else {
                    let value_hash = value_hash(&value);
                    StateEntry::Absent(Some(StateLeaf { key_hash, value_hash }))
                });
            }
            (Node::Internal(node), _) => {
                Children::new(node.children_sorted().map(|(at, child)| {
                    let (hash, is_leaf) = (Hash(child.hash), child.is_leaf());
                    (u8::from(at), Child { hash, version: child.version, is_leaf })
                }))
            }
            (Node::Null, _) => return Err(damaged(&key)),
        };
        let nibbles = place.0.get(path.len() / 2).map(|byte| [byte >> 4, byte & 15]);
        let nibble = nibbles.ok_or_else(|| damaged(&key))?[path.len() % 2];
        match children.towards(nibble, siblings) {
            None => return Ok(StateEntry::Absent(None)),
            Some((at, child)) => {
                path.push(at);
                version = child.version;
            }
        }
    }
}

/// A child of an inner node.
#[derive(Clone, Copy)]
struct Child {
    hash: Hash,
    version: Version,
    is_leaf: bool,
}

/// What is below some of the sixteen places of an inner node.
enum Below {
    Nothing,
    /// One child that stands for all of them, with its place.
    One(u8, Child),
    Several,
}

/// The children of an inner node, which stands for four levels of the binary tree.
struct Children([Option<Child>; 16]);

impl Children {
    fn new(children: impl Iterator<Item = (u8, Child)>) -> Self {
        let mut places = [None; 16];
        for (at, child) in children {
            places[usize::from(at)] = Some(child);
        }
        Self(places)
    }

    /// The child on the way to a place, with its own place; `None` if the way ends where nothing
    /// is. The siblings of the levels between are appended.
    fn towards(&self, place: u8, siblings: &mut Vec<Hash>) -> Option<(u8, Child)> {
        for width in [8, 4, 2, 1] {
            let start = place & !(width - 1);
            siblings.push(self.hash(start ^ width, width));
            match self.below(start, width) {
                Below::Nothing => return None,
                Below::One(at, child) => return Some((at, child)),
                Below::Several => {}
            }
        }
        unreachable!("a single place has at most one child")
    }

    /// Hash of the subtree over `width` places from `start` on.
    fn hash(&self, start: u8, width: u8) -> Hash {
        match self.below(start, width) {
            Below::Nothing => EMPTY_STATE_ROOT,
            Below::One(_, child) => child.hash,
            Below::Several => {
                let half = width / 2;
                node_hash(&self.hash(start, half), &self.hash(start + half, half))
            }
        }
    }

    fn below(&self, start: u8, width: u8) -> Below {
        let places = start..start + width;
        let mut found = places.filter_map(|at| Some((at, self.0[usize::from(at)]?)));
        match (found.next(), found.next()) {
            (None, _) => Below::Nothing,
            (Some((at, child)), None) if width == 1 || child.is_leaf => Below::One(at, child),
            _ => Below::Several,
        }
    }
}

/// Reads a node, and its entry's value if it is a leaf.
fn read_node<S: StateNodes + ?Sized>(
    store: &S,
    key: &[u8],
) -> Result<(Node, Vec<u8>), StorageError> {
    let stored = store
        .state_node(key)?
        .ok_or_else(|| StorageError(format!("node {} of the state tree is missing", hex(key))))?;
    let (found, mut node) = stored.split_at_checked(CHECKSUM_SIZE).ok_or_else(|| damaged(key))?;
    if found != checksum(key, node) {
        return Err(damaged(key));
    }
    let decoded = Node::deserialize(&mut node).map_err(|_| damaged(key))?;
    Ok((decoded, node.to_vec()))
}

fn damaged(key: &[u8]) -> StorageError {
    StorageError(format!("node {} of the state tree is damaged", hex(key)))
}

fn stored_node(key: &[u8], node: &Node, value: &[u8]) -> Vec<u8> {
    let mut bytes = borsh::to_vec(node).expect("a vector takes all that is written to it");
    bytes.extend_from_slice(value);
    [&checksum(key, &bytes), bytes.as_slice()].concat()
}

/// Of the key too, so that a node is not taken for another.
fn checksum(key: &[u8], node: &[u8]) -> [u8; CHECKSUM_SIZE] {
    let mut prefix = Vec::new();
    encode_bytes(key, &mut prefix);
    let hash = Context::StateNode.hash(&[&prefix, node]);
    *hash.0.first_chunk().expect("a hash is longer")
}

/// The key of a node that `jmt` names.
fn key_bytes(key: &NodeKey) -> Vec<u8> {
    let path: Vec<u8> = key.nibble_path().nibbles().map(u8::from).collect();
    node_key(key.version(), &path)
}

/// The key of a node: version, big-endian so that nodes sort by it, number of nibbles, and the
/// nibbles, two to a byte.
fn node_key(version: Version, path: &[u8]) -> Vec<u8> {
    let mut key = version.to_be_bytes().to_vec();
    key.push(u8::try_from(path.len()).expect("a path has at most 64 nibbles"));
    key.extend(path.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).unwrap_or(&0)));
    key
}

#[cfg(test)]
pub(crate) mod tests;
