//! More than f liars: the chain forks, and the proofs of both sides name them.

use bizra_sim::twins::{Judgement, Lie, Scenario, blame};
use std::collections::BTreeMap;

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
    let trial = blame(&Scenario::new(4, &[0, 1], &[0], &[sides]), true);
    assert_eq!(trial.breach, None);
    let is_named = |it: &Judgement| matches!(it, Judgement::Named { liars: 2, by, .. } if by.contains(&Lie::CommitVotes));
    assert!(trial.judgements.iter().any(is_named), "{:?}", trial.judgements);
}

/// Validator 2 commits in view 1, and 3 in view 2, which it entered by a TC.
#[test]
fn of_two_views_the_timeouts_between_name_who_hid_the_first() {
    let first = vec![0, 0, 0, 1, 2, 3];
    let second = vec![0, 1, 2, 3, 3, 3];
    let scenario = Scenario::new(4, &[0, 1], &[0, 1], &[first, second]);
    let trial = blame(&scenario, true);
    assert_eq!(trial.breach, None);
    let is_named = |it: &Judgement| matches!(it, Judgement::Named { liars: 2, by, .. } if by.contains(&Lie::Timeouts));
    assert!(trial.judgements.iter().all(is_named), "{:?}", trial.judgements);
    assert!(!trial.judgements.is_empty(), "2 and 3 commit different blocks");
    let judgements = blame(&scenario, false).judgements;
    assert!(judgements.contains(&Judgement::CertificatesNeeded), "{judgements:?}");
}

/// What names who lied here is a TC that came beside a proposal, and not the one
/// by which the view was entered, or a QC under a commit vote that later QCs
/// followed: the safety record has neither.
#[test]
fn what_votes_rested_on_names_the_liars_when_messages_are_late() {
    each_names((4, 2), [604, 614, 1_826, 2_941, 3_910], Scenario::late);
}

/// Late messages leave the two with no height at which both hold a certificate
/// of their own block.
#[test]
fn proofs_of_different_heights_name_the_liars_by_the_headers_between() {
    let judgements = each_names((4, 2), [735, 3_841, 4_763], Scenario::late);
    let by_headers = |it: &Judgement| matches!(it, Judgement::Named { by_headers: true, .. });
    assert!(judgements.iter().any(by_headers), "{judgements:?}");
}

/// Plays drawn scenarios; each forks, and all pairs name f + 1.
fn each_names<const COUNT: usize>(
    (validators, liars): (usize, usize),
    numbers: [u64; COUNT],
    change: fn(Scenario) -> Scenario,
) -> Vec<Judgement> {
    let judged = numbers.map(|number| {
        let scenario = change(Scenario::sample(validators, liars, 7, number));
        let trial = blame(&scenario, true);
        assert_eq!(trial.breach, None, "number {number}: {scenario}");
        assert!(!trial.judgements.is_empty(), "number {number} does not fork: {scenario}");
        let is_named = |it: &Judgement| matches!(it, Judgement::Named { .. });
        assert!(trial.judgements.iter().all(is_named), "number {number}: {:?}", trial.judgements);
        trial.judgements
    });
    judged.concat()
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
