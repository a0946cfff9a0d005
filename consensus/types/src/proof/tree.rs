//! The record log's Merkle tree, as a verifier needs it: RFC 9162, section 2.1.
//!
//! Inner nodes are SHA-256(1 ‖ left ‖ right), leaves SHA-256(0 ‖ record).

use crate::hash::Hash;
use sha2::{Digest, Sha256};

/// Root of the log that holds nothing: SHA-256 of no bytes.
pub const EMPTY_ROOT: Hash = Hash([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

/// A log as a certificate proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Records in it.
    pub size: u64,
    /// Its root.
    pub root: Hash,
}

/// Hash of a record as a leaf.
#[must_use]
pub fn leaf_hash(record: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(record).finalize().into())
}

/// Hash of two subtrees.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash(
        Sha256::new()
            .chain_update([1])
            .chain_update(left.0)
            .chain_update(right.0)
            .finalize()
            .into(),
    )
}

/// Whether `path`, leaf side first, leads from `leaf` at `index` to the root of
/// `log` (RFC 9162, section 2.1.3.2).
#[must_use]
pub fn is_included(log: &Log, index: u64, leaf: Hash, path: &[Hash]) -> bool {
    if index >= log.size {
        return false;
    }
    let mut position = Position { at: index, last: log.size - 1 };
    let mut root = leaf;
    for sibling in path {
        if position.last == 0 {
            return false;
        }
        match position.side() {
            Side::Left => root = node_hash(sibling, &root),
            Side::Right => root = node_hash(&root, sibling),
        }
        position.ascend();
    }
    position.last == 0 && root == log.root
}

/// Whether `path` shows that `new` continues `old` (RFC 9162, section
/// 2.1.4.2). Of equal sizes, and from the empty log, which every log
/// continues, the path is empty.
#[must_use]
pub fn is_consistent(old: &Log, new: &Log, path: &[Hash]) -> bool {
    if old.size > new.size || (old.size == 0 && old.root != EMPTY_ROOT) {
        return false;
    }
    if old.size == new.size {
        return path.is_empty() && old.root == new.root;
    }
    if old.size == 0 {
        return path.is_empty();
    }
    // The path leaves out the old root where it is a node of the new tree.
    let (first, rest) = if old.size.is_power_of_two() {
        (old.root, path)
    } else if let Some((first, rest)) = path.split_first() {
        (*first, rest)
    } else {
        return false;
    };
    let mut position = Position { at: old.size - 1, last: new.size - 1 };
    while position.at & 1 == 1 {
        position.ascend();
    }
    let (mut old_root, mut new_root) = (first, first);
    for sibling in rest {
        if position.last == 0 {
            return false;
        }
        match position.side() {
            Side::Left => {
                old_root = node_hash(sibling, &old_root);
                new_root = node_hash(sibling, &new_root);
            }
            Side::Right => new_root = node_hash(&new_root, sibling),
        }
        position.ascend();
    }
    position.last == 0 && old_root == old.root && new_root == new.root
}

/// A node of one level: its place, and that of the level's last node. The RFC
/// calls them `fn` and `sn`.
struct Position {
    at: u64,
    last: u64,
}

/// Where a node's sibling stands.
enum Side {
    Left,
    Right,
}

impl Position {
    /// The side of the next sibling, after levels on which the node has none.
    fn side(&mut self) -> Side {
        if self.at & 1 == 0 && self.at != self.last {
            return Side::Right;
        }
        while self.at & 1 == 0 && self.at != 0 {
            self.ascend();
        }
        Side::Left
    }

    const fn ascend(&mut self) {
        self.at >>= 1;
        self.last >>= 1;
    }
}
