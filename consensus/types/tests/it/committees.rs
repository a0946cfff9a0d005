//! Who is a committee, what a quorum of it is, and sets of its members.

use crate::samples::{committee, public, signers, validator};
use bizra_types::committee::{COMMITTEE_SIZE_MAX, Committee, CommitteeError, SignerSet, Validator};
use bizra_types::crypto::PublicKey;
use bizra_types::numbers::ValidatorIndex;
use ed25519_dalek::SigningKey;

const fn index(number: u16) -> ValidatorIndex {
    ValidatorIndex::new(number)
}

fn numbered(number: usize) -> Validator {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    let key = SigningKey::from_bytes(&seed);
    Validator {
        name: format!("validator-{number}"),
        peer_id: format!("peer-{number}"),
        consensus_key: PublicKey(key.verifying_key().to_bytes()),
        vrf_key: seed,
        kem_key: Vec::new(),
    }
}

#[test]
fn quorums_are_of_the_registered() {
    // Two quorums of n share one that does not lie, and n − f are a quorum.
    for size in 1..=30 {
        let committee = Committee::new((0..size).map(numbered).collect()).expect("distinct");
        let (quorum, liars) = (committee.quorum(), committee.faulty_max());
        assert_eq!(committee.size(), size);
        assert_eq!(liars, (size - 1) / 3);
        assert_eq!(committee.one_honest(), liars + 1);
        assert!(2 * quorum - size > liars && quorum <= size - liars, "{quorum} of {size}");
        assert_eq!(quorum, 2 * size / 3 + 1);
    }
}

#[test]
fn members_are_found_by_place_and_by_key() {
    let committee = committee(4);
    assert_eq!(committee.get(index(3)), Some(&validator(3)));
    assert_eq!(committee.get(index(4)), None);
    assert_eq!(committee.key(index(3)), Some(public(3)));
    assert_eq!(committee.key(index(4)), None);
    assert_eq!(committee.index_of(&public(2)), Some(index(2)));
    assert_eq!(committee.index_of(&public(4)), None);
    assert!(committee.indices().eq((0..4).map(index)));
    assert!(committee.iter().map(|(at, _)| at).eq(committee.indices()));
}

#[test]
fn nothing_stands_twice_in_a_committee() {
    let with = |change: fn(&mut Validator, Validator)| {
        let mut last = validator(2);
        change(&mut last, validator(0));
        Committee::new(vec![validator(0), validator(1), last])
    };
    assert!(with(|_, _| {}).is_ok());
    assert!(with(|last, first| last.kem_key = first.kem_key).is_ok(), "it may be empty");
    let repeated = Err(CommitteeError::Repeated("validator-2".to_owned()));
    assert_eq!(with(|last, first| last.peer_id = first.peer_id), repeated);
    assert_eq!(with(|last, first| last.consensus_key = first.consensus_key), repeated);
    assert_eq!(with(|last, first| last.vrf_key = first.vrf_key), repeated);
    let of_name = Err(CommitteeError::Repeated("validator-0".to_owned()));
    assert_eq!(with(|last, first| last.name = first.name), of_name);
    let unusable = Err(CommitteeError::Key("validator-2".to_owned()));
    assert_eq!(with(|last, _| last.consensus_key = PublicKey([2; 32])), unusable);
}

#[test]
fn a_committee_has_members_and_not_too_many() {
    assert_eq!(Committee::new(Vec::new()), Err(CommitteeError::Size(0)));
    let mut validators: Vec<_> = (0..COMMITTEE_SIZE_MAX).map(numbered).collect();
    assert!(Committee::new(validators.clone()).is_ok());
    validators.push(numbered(COMMITTEE_SIZE_MAX));
    assert_eq!(Committee::new(validators), Err(CommitteeError::Size(COMMITTEE_SIZE_MAX + 1)));
}

#[test]
fn a_set_has_the_members_that_were_put_in() {
    for size in [1, 7, 8, 9, 16, 100] {
        for step in 1..=size {
            let members: Vec<_> = (0..size).step_by(usize::from(step)).collect();
            let set = signers(usize::from(size), &members);
            let contained: Vec<_> = (0..2 * size).filter(|at| set.contains(index(*at))).collect();
            assert_eq!(contained, members);
            assert!(set.iter().eq(members.iter().copied().map(index)));
            assert_eq!(set.count(), members.len());
            assert_eq!(set.committee_size(), usize::from(size));
        }
    }
    let mut set = SignerSet::empty(9);
    set.insert(index(8));
    set.insert(index(8));
    assert_eq!(set, signers(9, &[8]), "twice is once");
}

#[test]
#[should_panic(expected = "is outside the committee")]
fn nobody_outside_the_committee_enters_a_set() {
    // It would fit into the bitmap's last byte.
    SignerSet::empty(7).insert(index(7));
}

#[test]
fn the_largest_set() {
    let size = COMMITTEE_SIZE_MAX;
    let set = SignerSet::of(size, (0..1024).map(index));
    assert_eq!(set.count(), size);
}

#[test]
#[should_panic(expected = "a committee of 1025")]
fn no_set_is_of_more_than_the_largest_committee() {
    let _ = SignerSet::empty(COMMITTEE_SIZE_MAX + 1);
}
