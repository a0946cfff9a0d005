//! The state tree, as a verifier needs it, and proofs of what it holds.
//!
//! It is a Jellyfish Merkle tree: a binary tree over the 256 bits of the hash
//! of family and key, in which a subtree with one leaf is that leaf, and an
//! empty one a placeholder. So every key leads, bit by bit, to one place, where
//! there is its own leaf, or the leaf of another key, or nothing; and what is
//! there, with the siblings on the way back, gives the root.

use super::cbor::{Reader, Writer};
use super::{FinalHead, FormError, PROOF_BYTES_MAX, VERSION, is_json};
use crate::execution::EMPTY_STATE_ROOT;
use crate::hash::{Context, Hash};
use alloc::vec::Vec;

/// Longest key of an entry, in bytes.
pub const STATE_KEY_BYTES_MAX: usize = 256;

/// Longest value of an entry, in bytes.
pub const STATE_VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Most siblings of a path: a key's hash has 256 bits.
pub const STATE_DEPTH_MAX: usize = 256;

/// What a leaf hashes before the hashes of key and value.
const LEAF: &[u8] = b"JMT::LeafNode";

/// What an inner node hashes before its children; the tree's makers wanted 16 bytes.
const NODE: &[u8] = b"JMT::IntrnalNode";

/// Proof that the state, as a final block left it, has a certain entry for a
/// key, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateProof {
    /// Number of the entry's family.
    pub family: u8,
    /// Its key.
    pub key: Vec<u8>,
    /// What the tree has at the key's place.
    pub path: StatePath,
    /// The final block after which it is so.
    pub head: FinalHead,
}

/// What stands at a key's place in the tree, and the way from there to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatePath {
    /// What is there.
    pub entry: StateEntry,
    /// The siblings on the way, leaf side first.
    pub siblings: Vec<Hash>,
}

/// What the tree has for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateEntry {
    /// The entry with this value.
    Present(Vec<u8>),
    /// No entry: the key's place is empty, or this leaf of another key is there.
    Absent(Option<StateLeaf>),
}

/// A leaf of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateLeaf {
    /// [`key_hash`] of its entry.
    pub key_hash: Hash,
    /// [`value_hash`] of its entry.
    pub value_hash: Hash,
}

/// The place of an entry: the tree is walked by the bits of this hash, the
/// highest of the first byte first.
#[must_use]
pub fn key_hash(family: u8, key: &[u8]) -> Hash {
    Context::StateKey.hash(&[&[family], key])
}

/// What a leaf holds of a value.
#[must_use]
pub fn value_hash(value: &[u8]) -> Hash {
    Context::StateTree.hash(&[value])
}

/// Hash of two subtrees, of which at least one is not empty.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    // In one piece, which is hashed where it is; several would first be copied together.
    let mut bytes = [0; NODE.len() + 32 + 32];
    let (name, children) = bytes.split_at_mut(NODE.len());
    name.copy_from_slice(NODE);
    children[..32].copy_from_slice(&left.0);
    children[32..].copy_from_slice(&right.0);
    Context::StateTree.hash(&[&bytes])
}

impl StateLeaf {
    /// Hash of the leaf as a node of the tree.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Context::StateTree.hash(&[LEAF, &self.key_hash.0, &self.value_hash.0])
    }
}

impl StateEntry {
    /// The value, if there is one.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent(_) => None,
        }
    }
}

impl StatePath {
    /// The root to which the path leads for this key, if it can be one of this key.
    #[must_use]
    pub fn root(&self, family: u8, key: &[u8]) -> Option<Hash> {
        let place = key_hash(family, key);
        let depth = self.siblings.len();
        let start = match &self.entry {
            _ if depth > STATE_DEPTH_MAX => return None,
            StateEntry::Present(value) => {
                StateLeaf { key_hash: place, value_hash: value_hash(value) }.hash()
            }
            StateEntry::Absent(None) => EMPTY_STATE_ROOT,
            StateEntry::Absent(Some(other)) => {
                // Where their ways part before the leaf, it says nothing about this key.
                let is_on_the_way =
                    (0..depth).all(|at| bit(&other.key_hash, at) == bit(&place, at));
                if other.key_hash == place || !is_on_the_way {
                    return None;
                }
                other.hash()
            }
        };
        let levels = (0..depth).rev().zip(&self.siblings);
        Some(levels.fold(start, |node, (level, sibling)| {
            if bit(&place, level) { node_hash(sibling, &node) } else { node_hash(&node, sibling) }
        }))
    }
}

/// Whether the way goes right at a depth below 256.
fn bit(place: &Hash, depth: usize) -> bool {
    place.0[depth / 8] >> (7 - depth % 8) & 1 == 1
}

impl StateProof {
    /// The one CBOR encoding.
    ///
    /// # Panics
    /// When a certificate has not one signature per signer.
    #[must_use]
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(10);
        writer.unsigned(VERSION);
        writer.unsigned(self.family.into());
        writer.bytes(&self.key);
        match &self.path.entry {
            StateEntry::Absent(None) => writer.array(0),
            StateEntry::Present(value) => {
                writer.array(1);
                writer.bytes(value);
            }
            StateEntry::Absent(Some(other)) => {
                writer.array(2);
                writer.encoded(&other.key_hash);
                writer.encoded(&other.value_hash);
            }
        }
        writer.hashes(&self.path.siblings);
        self.head.write(&mut writer);
        writer.finish()
    }

    /// Reads CBOR that fills `bytes` to the end.
    ///
    /// # Errors
    /// When the bytes are not the encoding of a proof.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, FormError> {
        let mut reader = Reader::new(bytes, PROOF_BYTES_MAX)?;
        reader.array("a state proof", 10)?;
        reader.version()?;
        let family = reader.unsigned_at_most("the family", u8::MAX.into())?;
        let key = reader.bytes("the key", STATE_KEY_BYTES_MAX)?.to_vec();
        let entry = match reader.array_at_most("the entry", 2)? {
            0 => StateEntry::Absent(None),
            1 => StateEntry::Present(reader.bytes("the value", STATE_VALUE_BYTES_MAX)?.to_vec()),
            _ => StateEntry::Absent(Some(StateLeaf {
                key_hash: reader.decoded("the hash of another key")?,
                value_hash: reader.decoded("the hash of another value")?,
            })),
        };
        let siblings = reader.hashes("the siblings", STATE_DEPTH_MAX)?;
        let head = FinalHead::read(&mut reader)?;
        reader.finish()?;
        Ok(Self {
            family: u8::try_from(family).expect("the limit is that of u8"),
            key,
            path: StatePath { entry, siblings },
            head,
        })
    }

    /// Reads either form, as [`FinalityProof::from_either`](super::FinalityProof::from_either)
    /// does.
    ///
    /// # Errors
    /// When the bytes are not a proof.
    pub fn from_either(bytes: &[u8]) -> Result<Self, FormError> {
        if is_json(bytes) { Self::from_json(bytes) } else { Self::from_cbor(bytes) }
    }
}
