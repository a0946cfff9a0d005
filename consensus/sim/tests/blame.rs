//! More than f liars: the chain forks, and the proofs of both sides name them.

use bizra_sim::twins::{Judgement, Lie, Scenario, blame};
use std::collections::{BTreeMap, BTreeSet};

/// What came of drawn scenarios, and which kinds of lies alone named f + 1, how often.
fn judged(
    (validators, liars): (usize, usize),
    scenarios: std::ops::Range<u64>,
    change: fn(Scenario) -> Scenario,
    shows_timeouts: bool,
) -> (Vec<Judgement>, BTreeMap<Lie, usize>) {
    let mut judgements = Vec::new();
    let mut kinds = BTreeMap::new();
    for number in scenarios {
        let scenario = change(Scenario::sample(validators, liars, 7, number));
        let trial = blame(&scenario, shows_timeouts);
        assert_eq!(trial.breach, None, "{validators}, {liars}, number {number}: {scenario}");
        judgements.extend(trial.judgements);
    }
    for judgement in &judgements {
        if let Judgement::Named { by, .. } = judgement {
            for lie in by {
                *kinds.entry(*lie).or_default() += 1;
            }
        }
    }
    (judgements, kinds)
}

/// All are named, and each kind of lie is what names some.
fn all_are_named((validators, liars): (usize, usize), change: fn(Scenario) -> Scenario) {
    let (judgements, kinds) = judged((validators, liars), 0..200, change, true);
    assert!(!judgements.is_empty(), "nothing forked");
    let is_named = |it: &Judgement| matches!(it, Judgement::Named { .. });
    assert!(judgements.iter().all(is_named), "{judgements:?}");
    for lie in [Lie::CommitVotes, Lie::Votes, Lie::Timeouts] {
        assert!(kinds.contains_key(&lie), "{lie:?} never named anybody: {kinds:?}");
    }
}

#[test]
fn two_of_four_are_named() {
    all_are_named((4, 2), |scenario| scenario);
    all_are_named((4, 2), Scenario::late);
}

#[test]
fn three_of_seven_are_named() {
    all_are_named((7, 3), |scenario| scenario);
}

#[test]
fn four_of_seven_are_named() {
    all_are_named((7, 4), |scenario| scenario);
}

/// Instances 4 and 5 are the twins of 0 and 1; each side has a quorum.
#[test]
fn of_one_view_the_commit_votes_name_who_gave_both() {
    let sides = vec![0, 0, 0, 1, 1, 1];
    let trial = blame(&Scenario::new(4, &[0, 1], &[0], &[sides]), false);
    assert_eq!(trial.breach, None);
    let [Judgement::Named { liars: 2, by, by_all: false }] = trial.judgements.as_slice() else {
        panic!("2 and 3 commit different blocks: {:?}", trial.judgements)
    };
    assert!(by.contains(&Lie::CommitVotes), "{by:?}");
}

/// Validator 2 commits in view 1, and 3 in view 2, which it entered by a TC.
#[test]
fn of_two_views_the_timeouts_between_name_who_hid_the_first() {
    let first = vec![0, 0, 0, 1, 2, 3];
    let second = vec![0, 1, 2, 3, 3, 3];
    let scenario = Scenario::new(4, &[0, 1], &[0, 1], &[first, second]);
    let trial = blame(&scenario, true);
    assert_eq!(trial.breach, None);
    let by = BTreeSet::from([Lie::Timeouts]);
    assert_eq!(trial.judgements, [Judgement::Named { liars: 2, by, by_all: false }]);
    assert_eq!(blame(&scenario, false).judgements, [Judgement::CertificatesNeeded]);
}

#[test]
fn without_timeouts_some_forks_name_nobody_and_none_names_the_honest() {
    let (with, _) = judged((4, 2), 0..200, |scenario| scenario, true);
    let (without, _) = judged((4, 2), 0..200, |scenario| scenario, false);
    assert_eq!(with.len(), without.len());
    assert!(without.contains(&Judgement::CertificatesNeeded), "{without:?}");
    assert!(without.iter().any(|it| matches!(it, Judgement::Named { .. })), "{without:?}");
}

/// With two honest ones left of seven, what names the liars may be kept by
/// nobody; but nobody honest is ever named.
#[test]
fn five_of_seven_name_nobody_honest() {
    let (judgements, _) = judged((7, 5), 0..100, |scenario| scenario, true);
    assert!(judgements.iter().any(|it| matches!(it, Judgement::Named { .. })), "{judgements:?}");
}
