//! The tree's arithmetic against another implementation of RFC 9162.

use crate::common::Tree;
use bizra_types::hash::Hash;
use bizra_types::proof::tree::{EMPTY_ROOT, Log, is_consistent, is_included, leaf_hash};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

/// Larger than the fourth power of two, so that all shapes occur.
const SIZE: usize = 37;

type Oracle = MemoryBackedTree<Sha256, Vec<u8>>;

fn leaf(index: usize) -> Vec<u8> {
    vec![u8::try_from(index).expect("a small tree"); 3]
}

fn oracle(size: usize) -> Oracle {
    let mut tree = Oracle::new();
    for index in 0..size {
        tree.push(leaf(index));
    }
    tree
}

fn log(tree: &Oracle) -> Log {
    Log { size: tree.len(), root: Hash((*tree.root().as_bytes()).into()) }
}

fn hashes(bytes: &[u8]) -> Vec<Hash> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    assert!(rest.is_empty());
    hashes.iter().map(|hash| Hash(*hash)).collect()
}

#[test]
fn the_empty_root_is_the_hash_of_nothing() {
    assert_eq!(EMPTY_ROOT, Hash(Sha256::digest([]).into()));
}

#[test]
fn inclusion_agrees_with_another_implementation() {
    for size in 1..=SIZE {
        let oracle = oracle(size);
        let log = log(&oracle);
        let own = Tree::new((0..size).map(|index| leaf_hash(&leaf(index))).collect());
        assert_eq!(own.root(), log.root, "the tests' own tree");
        for index in 0..size {
            let path = hashes(oracle.prove_inclusion(index).as_bytes());
            assert_eq!(own.path(index), path, "the tests' own path");
            // Exactly one leaf and one index go with a path.
            for other in 0..size + 3 {
                let leaf = leaf_hash(&leaf(index));
                let is_right = other == index;
                assert_eq!(is_included(&log, other as u64, leaf, &path), is_right);
            }
            let longer = [path.as_slice(), &[Hash::ZERO]].concat();
            assert!(!is_included(&log, index as u64, leaf_hash(&leaf(index)), &longer));
            if let Some((_, shorter)) = path.split_last() {
                assert!(!is_included(&log, index as u64, leaf_hash(&leaf(index)), shorter));
            }
        }
    }
}

#[test]
fn consistency_agrees_with_another_implementation() {
    let logs: Vec<_> = (1..=SIZE).map(|size| log(&oracle(size))).collect();
    for new in &logs {
        let tree = oracle(usize::try_from(new.size).expect("a small tree"));
        for old in &logs {
            if old.size >= new.size {
                assert_eq!(is_consistent(old, new, &[]), old.size == new.size);
                continue;
            }
            let additions = usize::try_from(new.size - old.size).expect("a small tree");
            let path = hashes(tree.prove_consistency(additions).as_bytes());
            assert!(is_consistent(old, new, &path), "{} to {}", old.size, new.size);
            // Nothing else goes with the path.
            for other in &logs {
                assert_eq!(is_consistent(other, new, &path), other == old);
            }
            assert!(!is_consistent(old, &Log { size: new.size, root: old.root }, &path));
            for at in 0..path.len() {
                let mut bad = path.clone();
                bad[at].0[31] ^= 1;
                assert!(!is_consistent(old, new, &bad));
                bad = path.clone();
                bad.remove(at);
                assert!(!is_consistent(old, new, &bad));
            }
            assert!(!is_consistent(old, new, &[path.as_slice(), &[Hash::ZERO]].concat()));
        }
    }
}

#[test]
fn every_log_continues_the_empty_one() {
    let empty = Log { size: 0, root: EMPTY_ROOT };
    let some = log(&oracle(5));
    assert!(is_consistent(&empty, &some, &[]) && is_consistent(&empty, &empty, &[]));
    assert!(!is_consistent(&empty, &some, &[Hash::ZERO]));
    assert!(!is_consistent(&Log { size: 0, root: Hash::ZERO }, &some, &[]));
    assert!(!is_consistent(&some, &empty, &[]));
}

proptest! {
    #[test]
    fn hostile_sizes_and_paths_end_in_a_verdict(
        old in any::<u64>(),
        new in any::<u64>(),
        root in any::<[u8; 32]>(),
        path in proptest::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        let path: Vec<_> = path.into_iter().map(Hash).collect();
        let log = Log { size: new, root: Hash(root) };
        prop_assert!(!is_included(&log, old, Hash::ZERO, &path));
        let before = Log { size: old, root: Hash::ZERO };
        prop_assert!(!is_consistent(&before, &log, &path));
    }
}
