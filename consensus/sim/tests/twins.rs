//! Twins up to f, against which every rule must hold, and beyond f, where two
//! chains come about and must be seen.

use bizra_sim::Invariant;
use bizra_sim::twins::{Outcome, Scenario, Space, play};

fn kept(scenario: &Scenario, name: &str) -> Outcome {
    let outcome = play(scenario, false);
    assert_eq!(outcome.breach, None, "{name}: {scenario}");
    outcome
}

/// Everything that can happen to four in two views.
#[test]
fn four_validators_keep_every_rule_in_all_scenarios_of_two_views() {
    let space = Space::new(4, 1, 2);
    let numbers = space.numbers().expect("few");
    let played = (0..numbers).filter_map(|number| {
        let scenario = space.scenario(number)?;
        Some(kept(&scenario, &format!("4 validators, 2 views, number {number}")))
    });
    let played: Vec<_> = played.collect();
    assert!(played.iter().any(|outcome| outcome.commits == 2), "nothing was ever final");
    assert!(played.iter().any(|outcome| outcome.commits == 0), "no partition did any harm");
    assert!(played.iter().any(|outcome| outcome.named > 0), "no twin was proven guilty");
}

/// Numbers that are far apart, of the scenarios that `bizra-sim twins` plays all.
#[test]
fn four_validators_keep_every_rule_in_scenarios_of_four_views() {
    let space = Space::new(4, 1, 4);
    for number in (0..space.numbers().expect("they have numbers")).step_by(211) {
        if let Some(scenario) = space.scenario(number) {
            kept(&scenario, &format!("4 validators, 4 views, number {number}"));
        }
    }
}

#[test]
fn four_validators_keep_every_rule_in_drawn_scenarios() {
    for number in 0..400 {
        let scenario = Scenario::sample(4, 1, 7, number);
        kept(&scenario, &format!("4 validators, 7 views, sample {number}"));
        kept(&scenario.late(), &format!("4 validators, 7 views, sample {number}, late"));
    }
}

#[test]
fn seven_validators_with_two_twins_keep_every_rule_in_drawn_scenarios() {
    for number in 0..100 {
        let scenario = Scenario::sample(7, 2, 7, number);
        kept(&scenario, &format!("7 validators, 7 views, sample {number}"));
        kept(&scenario.late(), &format!("7 validators, 7 views, sample {number}, late"));
    }
}

/// An instance that is behind comes through two views in the turn of one, each
/// by its timer.
#[test]
fn whoever_is_behind_catches_up_view_by_view() {
    kept(&Scenario::sample(4, 1, 7, 2_016), "4 validators, 7 views, sample 2016");
    kept(&Scenario::sample(4, 1, 7, 2_178).late(), "4 validators, 7 views, sample 2178, late");
}

/// Two of four exist twice: instances 4 and 5 are the twins of 0 and 1. Each
/// side has a quorum, and a leader.
#[test]
fn one_twin_more_than_f_forks_the_chain_and_that_is_seen() {
    let sides = vec![0, 0, 0, 1, 1, 1];
    let outcome = play(&Scenario::new(4, &[0, 1], &[0], &[sides]), false);
    let breach = outcome.breach.expect("2 and 3 commit different blocks");
    assert_eq!(breach.invariant, Invariant::Agreement, "{breach:?}");
}

/// The same, where each side commits in a view of its own.
#[test]
fn a_fork_over_two_views_is_seen() {
    let first = vec![0, 0, 0, 1, 2, 3];
    let second = vec![0, 1, 2, 3, 3, 3];
    let outcome = play(&Scenario::new(4, &[0, 1], &[0, 1], &[first, second]), false);
    let breach = outcome.breach.expect("2 commits in view 1 and 3 in view 2");
    assert_eq!(breach.invariant, Invariant::Agreement, "{breach:?}");
}

#[test]
fn the_same_scenario_gives_the_same_events() {
    let scenario = Scenario::sample(4, 1, 5, 3);
    let (first, second) = (play(&scenario, true), play(&scenario, true));
    assert_eq!(first.trace, second.trace);
    assert_eq!(first.trace_hash, second.trace_hash);
    assert_ne!(first.trace_hash, play(&Scenario::sample(4, 1, 5, 4), false).trace_hash);
}
