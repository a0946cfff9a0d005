//! Faults planted in the harness that the oracles must find: a check that
//! never fails proves nothing.

use bizra_sim::{Behaviour, Invariant, Options, Report, Sabotage, run};

fn sabotaged(seed: u64, sabotage: Sabotage, muted: &[Invariant]) -> Report {
    run(options(seed, sabotage, muted))
}

fn options(seed: u64, sabotage: Sabotage, muted: &[Invariant]) -> Options {
    Options {
        views_min: 60,
        faults_min: 40,
        changes: false,
        sabotage: Some(sabotage),
        muted: muted.to_vec(),
        ..Options::new(seed, 4)
    }
}

fn broken_rules(sabotage: Sabotage, muted: &[Invariant], seeds: u64) -> Vec<Invariant> {
    let reports = (0..seeds).map(|seed| sabotaged(seed, sabotage, muted));
    reports.filter_map(|report| Some(report.breach?.0.invariant)).collect()
}

#[test]
fn sending_before_the_sync_is_seen_at_once() {
    let found = broken_rules(Sabotage::SendBeforeSync, &[], 3);
    assert_eq!(found, [Invariant::PersistBeforeSend; 3]);
}

#[test]
fn sending_before_the_sync_and_a_crash_make_a_double_vote() {
    let found = broken_rules(Sabotage::SendBeforeSync, &[Invariant::PersistBeforeSend], 30);
    assert!(found.contains(&Invariant::OneVoice), "{found:?}");
}

#[test]
fn a_safety_record_from_a_backup_makes_a_double_vote() {
    let muted = [Invariant::PersistBeforeSend];
    let found = broken_rules(Sabotage::ForgetfulDisk, &muted, 30);
    assert!(found.contains(&Invariant::OneVoice), "{found:?}");
}

#[test]
fn what_nobody_signed_is_refused() {
    for seed in 0..5 {
        let report = sabotaged(seed, Sabotage::ForgingNetwork, &[]);
        assert_eq!(report.breach, None, "seed {seed}");
        assert!(report.refused > 300, "{} forgeries", report.refused);
    }
}

#[test]
fn a_node_whose_ledger_differs_is_seen_at_its_first_commit_vote() {
    let found = broken_rules(Sabotage::OtherExec(2), &[], 3);
    assert_eq!(found, [Invariant::Execution; 3]);
}

/// Without faults: while another is dead as well, no quorum comes to a result,
/// and nobody can tell who is right.
#[test]
fn a_node_whose_ledger_differs_raises_the_alarm_and_stops() {
    for seed in 0..5 {
        let muted = [Invariant::Execution, Invariant::Evidence];
        let usual = options(seed, Sabotage::OtherExec(2), &muted);
        let report = run(Options { faults_min: 0, ..usual });
        let (breach, _) = report.breach.expect("the other result is noticed");
        assert_eq!(breach.invariant, Invariant::NoAlarm, "{breach:?}");
        assert!(breach.detail.contains("node 2: Diverged"), "{breach:?}");
    }
}

/// It signed what no quorum finds, and that is evidence against it.
#[test]
fn a_node_whose_ledger_differs_is_accused_and_that_is_noticed() {
    let found =
        broken_rules(Sabotage::OtherExec(2), &[Invariant::Execution, Invariant::NoAlarm], 3);
    assert_eq!(found, [Invariant::Evidence; 3]);
}

#[test]
fn a_node_that_stopped_for_good_is_missed() {
    let muted = [Invariant::Execution, Invariant::NoAlarm, Invariant::Evidence];
    let report = sabotaged(1, Sabotage::OtherExec(2), &muted);
    assert!(!report.alarms.is_empty());
    let (breach, _) = report.breach.expect("it commits nothing any more");
    assert_eq!(breach.invariant, Invariant::Liveness, "{breach:?}");
}

#[test]
fn accepted_records_that_nobody_gets_are_missed() {
    let found = broken_rules(Sabotage::MuteLane(1), &[], 3);
    assert!(found.contains(&Invariant::AcceptedIsKept), "{found:?}");
}

/// With one liar more than f two chains come about, and are seen.
#[test]
fn more_liars_than_f_fork_the_chain() {
    let forked = (0..40).any(|seed| {
        let options = Options {
            views_min: 60,
            faults_min: 0,
            byzantine: 2,
            behaviours: vec![Behaviour::EquivocatingLeader, Behaviour::EquivocatingVoter],
            ..Options::new(seed, 4)
        };
        let breach = run(options).breach;
        breach.is_some_and(|(breach, _)| breach.invariant == Invariant::Agreement)
    });
    assert!(forked);
}
