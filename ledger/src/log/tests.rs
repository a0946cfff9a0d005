use super::*;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::Sha256;

type Oracle = MemoryBackedTree<Sha256, Vec<u8>>;

/// Stored hashes in a vector.
#[derive(Default)]
struct Stored(Vec<Hash>);

impl LogHashes for Stored {
    fn log_hashes(&self, numbers: &[u64]) -> Result<Vec<Hash>, StorageError> {
        let hash = |number: &u64| self.0.get(usize::try_from(*number).ok()?).copied();
        numbers
            .iter()
            .map(|number| hash(number).ok_or_else(|| StorageError(format!("no hash {number}"))))
            .collect()
    }
}

/// A store whose every read fails.
struct Broken;

impl LogHashes for Broken {
    fn log_hashes(&self, _numbers: &[u64]) -> Result<Vec<Hash>, StorageError> {
        Err(StorageError("the disk is gone".into()))
    }
}

/// A store that answers with fewer hashes than were asked for.
struct Short;

impl LogHashes for Short {
    fn log_hashes(&self, numbers: &[u64]) -> Result<Vec<Hash>, StorageError> {
        Ok(vec![Hash::ZERO; numbers.len() - 1])
    }
}

fn record(at: u64) -> Vec<u8> {
    format!("record {at}").into_bytes()
}

/// A stored log of `size` records, appended in runs of `run`.
fn stored(size: u64, run: u64) -> Stored {
    let mut stored = Stored::default();
    let mut at = 0;
    while at < size {
        let mut appended = Appended::new(at, &stored);
        for _ in 0..run.min(size - at) {
            assert_eq!(appended.push(&record(at)), Ok(at));
            at += 1;
        }
        assert_eq!(appended.size(), at);
        let (first, hashes) = appended.into_hashes();
        assert_eq!(first, stored.0.len() as u64);
        stored.0.extend(hashes);
    }
    stored
}

fn concatenated(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(|hash| hash.0).collect()
}

#[test]
fn the_empty_log_is_the_hash_of_nothing() {
    let mut hasher = <Sha256 as sha2::Digest>::new();
    sha2::Digest::update(&mut hasher, b"");
    assert_eq!(EMPTY_ROOT.as_bytes(), &<[u8; 32]>::from(sha2::Digest::finalize(hasher)));
    assert_eq!(root(0, &Broken), Ok(EMPTY_ROOT), "an empty log reads nothing");
    assert_eq!(stored_hash_count(0), 0);
}

#[test]
fn a_failing_store_is_an_error_and_not_a_root() {
    let gone = StorageError("the disk is gone".into());
    assert_eq!(root(3, &Broken), Err(gone.clone()));
    assert_eq!(inclusion_proof(3, 1, &Broken), Err(gone.clone().into()));
    assert_eq!(consistency_proof(1, 3, &Broken), Err(gone.clone().into()));
    let mut appended = Appended::new(3, &Broken);
    assert_eq!(appended.push(b"x"), Err(gone));
    assert_eq!((appended.size(), appended.into_hashes().1.len()), (3, 0));
    assert_eq!(
        root(3, &Short).expect_err("too few").to_string(),
        "the ledger's storage failed: 2 stored hashes were asked for, 1 came"
    );
    let hole = Stored(stored(3, 1).0[..2].to_vec());
    assert_eq!(root(3, &hole), Err(StorageError("no hash 2".into())));
}

#[test]
fn proofs_outside_the_log_are_not_made() {
    let stored = stored(3, 1);
    assert_eq!(
        inclusion_proof(3, 3, &stored).expect_err("no such record").to_string(),
        "record 3 is not in a log of 3 records"
    );
    assert_eq!(
        consistency_proof(3, 2, &stored).expect_err("backwards").to_string(),
        "a log of 2 records does not continue one of 3"
    );
    assert_eq!(consistency_proof(0, 3, &stored), Ok(vec![]));
    assert_eq!(consistency_proof(3, 3, &stored), Ok(vec![]));
    let root = root(3, &stored).expect("stored");
    assert!(is_consistent(&[], 0, EMPTY_ROOT, 3, root));
    assert!(is_consistent(&[], 0, EMPTY_ROOT, 0, EMPTY_ROOT));
    assert!(!is_consistent(&[], 0, EMPTY_ROOT, 0, root));
    assert!(!is_consistent(&[], 0, root, 3, root));
    assert!(!is_consistent(&[], 4, root, 3, root));
    assert!(!is_included(&[], 3, root, 3, leaf_hash(&record(3))));
}

proptest! {
    #[test]
    fn it_is_the_tree_of_another_implementation(size in 1u64..70, run in 1u64..9) {
        let stored = stored(size, run);
        let mut oracle = Oracle::new();
        let mut roots = vec![EMPTY_ROOT];
        for at in 0..size {
            oracle.push(record(at));
            let theirs = oracle.root();
            let ours = root(at + 1, &stored).expect("stored");
            prop_assert_eq!(&ours.0[..], &theirs.as_bytes()[..]);
            roots.push(ours);
        }
        prop_assert_eq!(stored.0.len() as u64, stored_hash_count(size));
        let newest = roots[roots.len() - 1];
        for at in 0..size {
            let index = usize::try_from(at).expect("small");
            let proof = inclusion_proof(size, at, &stored).expect("stored");
            let theirs = oracle.prove_inclusion(index);
            prop_assert_eq!(concatenated(&proof), theirs.as_bytes());
            prop_assert!(is_included(&proof, size, newest, at, leaf_hash(&record(at))));
            prop_assert!(!is_included(&proof, size, newest, at, leaf_hash(b"other")));
            prop_assert!(!is_included(&proof, size, roots[index], at, leaf_hash(&record(at))));

            let from = at + 1;
            let proof = consistency_proof(from, size, &stored).expect("stored");
            let theirs = oracle.prove_consistency(usize::try_from(size - from).expect("small"));
            prop_assert_eq!(concatenated(&proof), theirs.as_bytes());
            let from_root = roots[index + 1];
            prop_assert!(is_consistent(&proof, from, from_root, size, newest));
            prop_assert!(!is_consistent(&proof, from, roots[index], size, newest));
        }
    }

    #[test]
    fn pending_records_give_the_same_root(size in 0u64..40, more in 0u64..20) {
        let whole = stored(size + more, 1);
        let older = stored(size, 3);
        let mut appended = Appended::new(size, &older);
        for at in size..size + more {
            appended.push(&record(at)).expect("stored");
        }
        prop_assert_eq!(appended.root(), root(size + more, &whole));
        for at in 0..size + more {
            prop_assert_eq!(
                inclusion_proof(size + more, at, &appended),
                inclusion_proof(size + more, at, &whole)
            );
        }
        let (first, hashes) = appended.into_hashes();
        let first = usize::try_from(first).expect("small");
        prop_assert_eq!(&whole.0[first..], &hashes[..]);
        prop_assert_eq!(&whole.0[..first], &older.0[..]);
    }
}
