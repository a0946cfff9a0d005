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
            assert_eq!(appended.push(leaf_hash(&record(at))), Ok(at));
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
    assert_eq!(appended.push(leaf_hash(b"x")), Err(gone));
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

/// RFC 9162, section 2.1.1: the root of a list of records.
fn root_by_the_rfc(records: &[Vec<u8>]) -> Hash {
    let sha256 = |parts: &[&[u8]]| Hash(<Sha256 as sha2::Digest>::digest(parts.concat()).into());
    match records {
        [] => sha256(&[]),
        [record] => sha256(&[&[0], record]),
        _ => {
            let (left, right) = records.split_at(half(records.len()));
            sha256(&[&[1], &root_by_the_rfc(left).0, &root_by_the_rfc(right).0])
        }
    }
}

/// Section 2.1.3.1: the path of the record at `index`.
fn path_by_the_rfc(index: usize, records: &[Vec<u8>]) -> Vec<Hash> {
    if records.len() == 1 {
        return vec![];
    }
    let split = half(records.len());
    let (left, right) = records.split_at(split);
    let (mut path, sibling) = if index < split {
        (path_by_the_rfc(index, left), right)
    } else {
        (path_by_the_rfc(index - split, right), left)
    };
    path.push(root_by_the_rfc(sibling));
    path
}

/// Section 2.1.4.1: the proof that the list continues its first `from` records, which the verifier
/// knows the root of if they are `whole`.
fn subproof_by_the_rfc(from: usize, records: &[Vec<u8>], whole: bool) -> Vec<Hash> {
    if from == records.len() {
        return if whole { vec![] } else { vec![root_by_the_rfc(records)] };
    }
    let split = half(records.len());
    let (left, right) = records.split_at(split);
    let (mut proof, sibling) = if from <= split {
        (subproof_by_the_rfc(from, left, whole), right)
    } else {
        (subproof_by_the_rfc(from - split, right, false), left)
    };
    proof.push(root_by_the_rfc(sibling));
    proof
}

/// The largest power of two below a count.
fn half(count: usize) -> usize {
    (0..).map(|power| 1 << power).take_while(|power| *power < count).last().expect("two or more")
}

#[test]
fn every_pair_of_a_log_has_the_proofs_of_the_rfc() {
    let records: Vec<Vec<u8>> = (0..33).map(record).collect();
    // Proofs of every older size come from the store of the whole log.
    let stored = stored(33, 5);
    let roots: Vec<Hash> = (0..=33).map(|size| root_by_the_rfc(&records[..size])).collect();
    for (size, newer) in roots.iter().enumerate() {
        let records = &records[..size];
        let to = size as u64;
        assert_eq!(root(to, &stored).as_ref(), Ok(newer));
        for (index, record) in records.iter().enumerate() {
            let at = index as u64;
            let proof = inclusion_proof(to, at, &stored).expect("stored");
            assert_eq!(proof, path_by_the_rfc(index, records), "record {at} of {to}");
            let leaf = leaf_hash(record);
            for (other, root) in roots.iter().enumerate() {
                let is_right = is_included(&proof, to, *root, at, leaf);
                assert_eq!(is_right, other == size, "record {at} of {to} in {other}");
            }
        }
        for (older, root) in roots.iter().enumerate().take(size + 1).skip(1) {
            let from = older as u64;
            let proof = consistency_proof(from, to, &stored).expect("stored");
            assert_eq!(proof, subproof_by_the_rfc(older, records, true), "{from} to {to}");
            for other in &roots[1..] {
                let is_right = is_consistent(&proof, from, *other, to, *newer);
                assert_eq!(is_right, other == root, "{from} to {to}");
            }
        }
    }
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
            appended.push(leaf_hash(&record(at))).expect("stored");
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
