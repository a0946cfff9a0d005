//! The tree over a block's outcomes, whose root goes into `exec`.
//!
//! Its shape is that of RFC 9162: a list of n > 1 leaves splits at the largest
//! power of two below n. The hashes are BLAKE3 with a context each for leaves
//! and inner nodes. A block without records has a root of 32 zero bytes.

use crate::codes::Code;
use bizra_types::hash::{Context, Hash, RecordDigest};
use bizra_types::numbers::LogIndex;

/// Root over no outcomes.
pub const EMPTY_ROOT: Hash = Hash::ZERO;

/// What became of one record of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Hash of the record's signed bytes, its key in storage before execution.
    pub signed_bytes: Hash,
    /// Its identity, unless a static gate refused it: bytes that nobody vouches
    /// for speak for no digest.
    pub digest: Option<RecordDigest>,
    /// What became of it.
    pub code: Code,
    /// What else is to be noted.
    pub flags: OutcomeFlags,
    /// Where the record stands in the log: with [`Code::Success`] since this
    /// block, with [`Code::Skipped`] since earlier.
    pub log_index: Option<LogIndex>,
}

/// Facts about a record that do not refuse it, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OutcomeFlags(pub u8);

impl OutcomeFlags {
    /// The inference took more than its budget allows; see [`crate::budget`].
    pub const BUDGET: Self = Self(1);
}

impl Outcome {
    /// The leaf of this outcome: signed bytes, code and flags.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        leaf(&self.signed_bytes, self.code, self.flags)
    }
}

/// Key of a record in storage before execution.
#[must_use]
pub fn signed_bytes_hash(bytes: &[u8]) -> Hash {
    Context::SignedBytes.hash(&[bytes])
}

/// A leaf of the tree.
#[must_use]
pub fn leaf(signed_bytes: &Hash, code: Code, flags: OutcomeFlags) -> Hash {
    Context::OutcomeLeaf.hash(&[signed_bytes.as_bytes(), &[code.number(), flags.0]])
}

/// Root over leaves in the order of their records.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(&root(left), &root(right))
        }
    }
}

/// The path from leaf `index` to the root, leaf side first; `None` when there is
/// no such leaf.
#[must_use]
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let mut proof = Vec::new();
    collect_path(leaves, index, &mut proof);
    Some(proof)
}

/// Whether the proof shows that the tree of `count` leaves with this root holds
/// the leaf at `index`.
#[must_use]
pub fn is_included(proof: &[Hash], count: usize, root: Hash, index: usize, leaf: Hash) -> bool {
    index < count && implied_root(proof, count, index, leaf) == Some(root)
}

/// The root that a proof leads to, if it has the right length.
fn implied_root(proof: &[Hash], count: usize, index: usize, leaf: Hash) -> Option<Hash> {
    if count == 1 {
        return proof.is_empty().then_some(leaf);
    }
    let (top, below) = proof.split_last()?;
    let split = split(count);
    Some(if index < split {
        node(&implied_root(below, split, index, leaf)?, top)
    } else {
        node(top, &implied_root(below, count - split, index - split, leaf)?)
    })
}

fn collect_path(leaves: &[Hash], index: usize, proof: &mut Vec<Hash>) {
    if leaves.len() == 1 {
        return;
    }
    let split = split(leaves.len());
    let (left, right) = leaves.split_at(split);
    if index < split {
        collect_path(left, index, proof);
        proof.push(root(right));
    } else {
        collect_path(right, index - split, proof);
        proof.push(root(left));
    }
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Context::OutcomeNode.hash(&[left.as_bytes(), right.as_bytes()])
}

/// The largest power of two below a count of at least 2.
const fn split(count: usize) -> usize {
    1 << (count - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|at| Context::List.hash(&[&at.to_le_bytes()])).collect()
    }

    #[test]
    fn small_trees_have_the_shape_of_the_rfc() {
        let [a, b, c, d, e] = leaves(5).try_into().expect("five leaves");
        assert_eq!(root(&[]), Hash([0; 32]));
        assert_eq!(root(&[a]), a);
        assert_eq!(root(&[a, b]), node(&a, &b));
        assert_eq!(root(&[a, b, c]), node(&node(&a, &b), &c));
        let four = node(&node(&a, &b), &node(&c, &d));
        assert_eq!(root(&[a, b, c, d]), four);
        assert_eq!(root(&[a, b, c, d, e]), node(&four, &e));
        assert_ne!(node(&a, &b), node(&b, &a));
    }

    #[test]
    fn a_leaf_covers_bytes_code_and_flags() {
        let bytes = signed_bytes_hash(b"record");
        let good = leaf(&bytes, Code::Success, OutcomeFlags::default());
        assert_ne!(good, leaf(&signed_bytes_hash(b"other"), Code::Success, OutcomeFlags(0)));
        assert_ne!(good, leaf(&bytes, Code::Schema, OutcomeFlags(0)));
        assert_ne!(good, leaf(&bytes, Code::Success, OutcomeFlags(1)));
    }

    proptest! {
        #[test]
        fn every_leaf_proves_itself_and_nothing_else(
            count in 1usize..40, at in any::<prop::sample::Index>(), bit in 0usize..256
        ) {
            let leaves = leaves(count);
            let (root, index) = (root(&leaves), at.index(count));
            let proof = inclusion_proof(&leaves, index).expect("in the tree");
            prop_assert!(is_included(&proof, count, root, index, leaves[index]));
            prop_assert_eq!(inclusion_proof(&leaves, count), None);

            let mut other = leaves[index];
            other.0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!is_included(&proof, count, root, index, other));
            for wrong in (0..count + 2).filter(|wrong| *wrong != index) {
                prop_assert!(!is_included(&proof, count, root, wrong, leaves[index]));
            }
            let mut longer = proof.clone();
            longer.push(root);
            prop_assert!(!is_included(&longer, count, root, index, leaves[index]));
            if !proof.is_empty() {
                prop_assert!(!is_included(&proof[1..], count, root, index, leaves[index]));
                let mut forged = proof.clone();
                forged[bit % proof.len()].0[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(!is_included(&forged, count, root, index, leaves[index]));
            }
        }
    }
}
