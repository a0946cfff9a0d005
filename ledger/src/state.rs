//! The state tree: what changes rarely and others ask about, under one root.
//!
//! It is a Jellyfish Merkle tree, hashed with BLAKE3, over the entries of the
//! families that [`Family::is_in_tree`] names. Its root goes into every `exec`,
//! so whoever has the certificate of a block can be shown one entry, or that
//! there is none.
//!
//! An inner node stands for four levels of the binary tree: it has up to sixteen
//! children, one for each nibble that can follow in the key hash. A leaf stands
//! as high as it can, so below each inner node there are two entries or more.
//! A block goes through the tree once, and reads, hashes and writes each node
//! that it changes once, however many of the entries below it change.
//!
//! A block that changes entries makes a new version, and one that changes none
//! leaves root and version as they are, which costs nothing. A version shares
//! with the one before every node that did not change: nodes are stored under
//! the version that wrote them and their path, are never overwritten, and are
//! *stale* from the version on that replaced them. They are kept for
//! [`STATE_VERSIONS_KEPT`] versions, so that proofs of a version can still be
//! made while later ones are committed.
//!
//! A stored node is a checksum, a byte that says which kind it is, and then
//! - of a leaf: the key hash, the hash of the value, the value, so that each
//!   version that is kept has its values;
//! - of an inner node: for each of its sixteen children 0, or 1 with its hash,
//!   its version, and 0 if it is a leaf, else 1 and how many entries are below
//!   it; then the number of its children, and of the entries below it.
//!
//! Numbers are little-endian `u64`. Damage is an error wherever it is met.

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
use core::mem::take;

/// Versions of the tree of which proofs can be made: the latest and those before it.
pub const STATE_VERSIONS_KEPT: u64 = 256;

/// Bytes of the checksum before a stored node.
const CHECKSUM_SIZE: usize = 8;

/// What an inner node begins with, after its checksum.
const INNER: u8 = 1;

/// What a leaf begins with, after its checksum.
const LEAF: u8 = 2;

/// Bytes of a stored leaf before its value.
const LEAF_SIZE: usize = CHECKSUM_SIZE + 1 + 32 + 32;

/// Bytes of a stored inner node with sixteen inner children.
const INNER_SIZE_MAX: usize = CHECKSUM_SIZE + 1 + 16 * (1 + 32 + 8 + 1 + 8) + 8 + 8;

/// Nibbles of a key hash.
const NIBBLES: usize = 64;

/// Bytes of a node's longest key: the version, the length of the path, the path.
const NODE_KEY_SIZE_MAX: usize = 8 + 1 + NIBBLES / 2;

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

/// Keys of nodes that are no part of the tree from a version on, ascending.
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
    let mut entries: Vec<Entry> = writes
        .iter()
        .map(|(family, key, value)| {
            let (key_size, value_size) = (key.len(), value.map_or(0, <[u8]>::len));
            assert!(
                key_size <= STATE_KEY_BYTES_MAX && value_size <= STATE_VALUE_BYTES_MAX,
                "an entry of {key_size} and {value_size} bytes has no proof"
            );
            let place = key_hash(family.number(), key);
            Entry { place, leaf: value.map(|value| Leaf::new(place, value)) }
        })
        .collect();
    entries.sort_unstable_by_key(|entry| entry.place);
    let version = tree.version.next();
    let mut update =
        Update { store, version, path: Vec::new(), nodes: Vec::new(), stale: Vec::new() };
    let old = (!tree.is_empty()).then_some((tree.version, tree.root));
    let root = match update.subtree(old, &mut entries)? {
        Subtree::Empty => EMPTY_STATE_ROOT,
        Subtree::Leaf(leaf) => {
            let root = leaf.hash;
            update.put(leaf.node);
            root
        }
        Subtree::Inner(root) => root.hash,
    };
    let Update { nodes, mut stale, .. } = update;
    stale.sort_unstable();
    Ok(Change {
        tree: StateTree { version, root },
        nodes: nodes.into_iter().collect(),
        stale: StaleNodes(stale),
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

/// What a block does at a place of the tree: with a leaf it puts it there, else it takes out what
/// is there.
#[derive(Default)]
struct Entry {
    place: Hash,
    leaf: Option<Leaf>,
}

/// A leaf that is not stored yet, because it may still move up.
struct Leaf {
    hash: Hash,
    /// As it is stored, but for the checksum.
    node: Vec<u8>,
}

impl Leaf {
    fn new(key_hash: Hash, value: &[u8]) -> Self {
        let value_hash = value_hash(value);
        let mut node = Vec::with_capacity(LEAF_SIZE + value.len());
        node.extend_from_slice(&[0; CHECKSUM_SIZE]);
        node.push(LEAF);
        node.extend_from_slice(&key_hash.0);
        node.extend_from_slice(&value_hash.0);
        node.extend_from_slice(value);
        Self { hash: StateLeaf { key_hash, value_hash }.hash(), node }
    }
}

/// What a block leaves below a place of the tree.
enum Subtree {
    Empty,
    /// One entry.
    Leaf(Leaf),
    /// Several entries; all nodes are stored.
    Inner(Child),
}

/// A block's way through the tree.
struct Update<'a, S: ?Sized> {
    store: &'a S,
    /// The version that it makes.
    version: StateVersion,
    /// The nibbles from the root to the node that is being changed.
    path: Vec<u8>,
    /// New nodes with their keys.
    nodes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys of what they replace.
    stale: Vec<Vec<u8>>,
}

impl<S: StateNodes + ?Sized> Update<'_, S> {
    /// Changes what is below the path, of which this is the version and hash, if there is anything.
    /// The entries are at least one, ascend, and have their places below the path.
    fn subtree(
        &mut self,
        old: Option<(StateVersion, Hash)>,
        entries: &mut [Entry],
    ) -> Result<Subtree, StorageError> {
        let Some((version, hash)) = old else { return self.grow(entries) };
        let (place, node) = match self.replace(version)? {
            (Node::Inner(children), _) => return self.children(children, entries),
            (Node::Leaf(place), stored) => (place, stored),
        };
        match entries.binary_search_by_key(&place, |entry| entry.place) {
            Ok(_) => self.grow(entries),
            Err(at) => {
                let mut entries: Vec<Entry> = entries.iter_mut().map(take).collect();
                entries.insert(at, Entry { place, leaf: Some(Leaf { hash, node }) });
                self.grow(&mut entries)
            }
        }
    }

    /// Puts entries where nothing is.
    fn grow(&mut self, entries: &mut [Entry]) -> Result<Subtree, StorageError> {
        match entries {
            [entry] => Ok(entry.leaf.take().map_or(Subtree::Empty, Subtree::Leaf)),
            _ => self.children(Children::default(), entries),
        }
    }

    /// Changes the children of an inner node.
    fn children(
        &mut self,
        mut children: Children,
        entries: &mut [Entry],
    ) -> Result<Subtree, StorageError> {
        let depth = self.path.len();
        let mut leaves = Vec::new();
        for entries in entries
            .chunk_by_mut(|one, next| nibble(&one.place, depth) == nibble(&next.place, depth))
        {
            let at = nibble(&entries[0].place, depth);
            let child = &mut children.0[usize::from(at)];
            let old = child.take().map(|child| (child.version, child.hash));
            self.path.push(at);
            match self.subtree(old, entries)? {
                Subtree::Empty => {}
                Subtree::Leaf(leaf) => leaves.push((at, leaf)),
                Subtree::Inner(inner) => *child = Some(inner),
            }
            self.path.pop();
        }
        match (children.below(0, 16), leaves.len()) {
            (Below::Nothing, 0) => return Ok(Subtree::Empty),
            (Below::Nothing, 1) => {
                let (_, leaf) = leaves.remove(0);
                return Ok(Subtree::Leaf(leaf));
            }
            (Below::One(at, Child { hash, version, .. }), 0) => {
                self.path.push(at);
                let (_, node) = self.replace(version)?;
                self.path.pop();
                return Ok(Subtree::Leaf(Leaf { hash, node }));
            }
            _ => {}
        }
        for (at, leaf) in leaves {
            let child = Child { hash: leaf.hash, version: self.version, entries: None };
            children.0[usize::from(at)] = Some(child);
            self.path.push(at);
            self.put(leaf.node);
            self.path.pop();
        }
        let mut node = Vec::with_capacity(INNER_SIZE_MAX);
        node.extend_from_slice(&[0; CHECKSUM_SIZE]);
        node.push(INNER);
        children.encode(&mut node);
        self.put(node);
        let (hash, entries) = (children.hash(0, 16), Some(children.entries()));
        Ok(Subtree::Inner(Child { hash, version: self.version, entries }))
    }

    /// Reads the node at the path, which the block replaces.
    fn replace(&mut self, version: StateVersion) -> Result<(Node, Vec<u8>), StorageError> {
        let key = node_key(version, &self.path);
        let read = read_node(self.store, &key)?;
        self.stale.push(key);
        Ok(read)
    }

    /// Stores a node at the path, which has room for its checksum at the beginning.
    fn put(&mut self, mut node: Vec<u8>) {
        let key = node_key(self.version, &self.path);
        let (place, rest) = node.split_at_mut(CHECKSUM_SIZE);
        place.copy_from_slice(&checksum(&key, rest));
        self.nodes.push((key, node));
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
    let (mut version, mut path) = (tree.version, Vec::new());
    loop {
        let children = match read_node(store, &node_key(version, &path))? {
            (Node::Inner(children), _) => children,
            (Node::Leaf(key_hash), stored) => {
                let value = &stored[LEAF_SIZE..];
                return Ok(if key_hash == *place {
                    StateEntry::Present(value.to_vec())
                } else {
                    let value_hash = value_hash(value);
                    StateEntry::Absent(Some(StateLeaf { key_hash, value_hash }))
                });
            }
        };
        match children.towards(nibble(place, path.len()), siblings) {
            None => return Ok(StateEntry::Absent(None)),
            Some((at, child)) => {
                path.push(at);
                version = child.version;
            }
        }
    }
}

/// A node that was read.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it was read")]
enum Node {
    Inner(Children),
    /// The leaf with this key hash.
    Leaf(Hash),
}

impl Decode for Node {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            INNER => Children::decode(reader).map(Self::Inner),
            LEAF => {
                let place = Hash::decode(reader)?;
                let _value_hash = Hash::decode(reader)?;
                Ok(Self::Leaf(place))
            }
            other => Err(DecodeError::Invalid { what: "kind of node", value: other.into() }),
        }
    }
}

/// A child of an inner node.
#[derive(Clone, Copy)]
struct Child {
    hash: Hash,
    version: StateVersion,
    /// How many entries are below it; none are counted of a leaf.
    entries: Option<u64>,
}

encode_fields!(Child { hash, version, entries });

/// What is below some of the sixteen places of an inner node.
enum Below {
    Nothing,
    /// One child that stands for all of them, with its place.
    One(u8, Child),
    Several,
}

/// The children of an inner node, which stands for four levels of the binary tree.
#[derive(Default)]
struct Children([Option<Child>; 16]);

impl Children {
    /// How many entries are below them.
    fn entries(&self) -> u64 {
        self.0.iter().flatten().map(|child| child.entries.unwrap_or(1)).sum()
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
            (Some((at, child)), None) if width == 1 || child.entries.is_none() => {
                Below::One(at, child)
            }
            _ => Below::Several,
        }
    }
}

impl Encode for Children {
    fn encode(&self, out: &mut Vec<u8>) {
        for child in &self.0 {
            child.encode(out);
        }
        (self.0.iter().flatten().count() as u64).encode(out);
        self.entries().encode(out);
    }
}

impl Decode for Children {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut children = Self::default();
        for child in &mut children.0 {
            *child = Decode::decode(reader)?;
        }
        // The counts at the end follow from the children.
        Ok(children)
    }
}

/// Reads a node, and what is stored of it.
fn read_node<S: StateNodes + ?Sized>(
    store: &S,
    key: &[u8],
) -> Result<(Node, Vec<u8>), StorageError> {
    let stored = store
        .state_node(key)?
        .ok_or_else(|| StorageError(format!("node {} of the state tree is missing", hex(key))))?;
    let (found, node) = stored.split_at_checked(CHECKSUM_SIZE).ok_or_else(|| damaged(key))?;
    if found != checksum(key, node) {
        return Err(damaged(key));
    }
    let node = Node::decode(&mut Reader::new(node)).map_err(|_| damaged(key))?;
    Ok((node, stored))
}

fn damaged(key: &[u8]) -> StorageError {
    StorageError(format!("node {} of the state tree is damaged", hex(key)))
}

/// Of the key too, so that a node is not taken for another.
fn checksum(key: &[u8], node: &[u8]) -> [u8; CHECKSUM_SIZE] {
    let key_size = u32::try_from(key.len()).expect("a key has at most 41 bytes");
    let hash = Context::StateNode.hash(&[&key_size.to_le_bytes(), key, node]);
    *hash.0.first_chunk().expect("a hash is longer")
}

/// The key of a node: version, big-endian so that nodes sort by it, number of nibbles, and the
/// nibbles, two to a byte.
fn node_key(version: StateVersion, path: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(8 + 1 + path.len().div_ceil(2));
    key.extend_from_slice(&version.get().to_be_bytes());
    key.push(u8::try_from(path.len()).expect("a path has at most 64 nibbles"));
    key.extend(path.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).unwrap_or(&0)));
    key
}

/// The nibble of a key hash that chooses the child of an inner node at this depth.
fn nibble(place: &Hash, depth: usize) -> u8 {
    let byte = place.0[depth / 2];
    if depth.is_multiple_of(2) { byte >> 4 } else { byte & 15 }
}

#[cfg(test)]
pub(crate) mod tests;
