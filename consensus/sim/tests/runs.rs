//! Runs of the real engine in which every rule must hold.

use bizra_sim::{Options, Report, run};
use std::sync::atomic::{AtomicU64, Ordering};

fn healthy(seed: u64, validators: usize) -> Options {
    Options { views_min: 100, faults_min: 0, changes: false, ..Options::new(seed, validators) }
}

fn plagued(seed: u64, validators: usize) -> Options {
    Options { views_min: 30, faults_min: 10, ..Options::new(seed, validators) }
}

fn assert_kept(options: &Options, report: &Report) {
    let command = options.command();
    assert_eq!(report.breach, None, "{command}");
}

/// Runs seeds on all cores.
fn assert_seeds_kept(seeds: u64, validators: usize) {
    let next = AtomicU64::new(0);
    let faults = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let options = plagued(seed, validators);
                    let report = run(options.clone());
                    assert_kept(&options, &report);
                    faults.fetch_add(report.faults, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(faults.into_inner() >= 10 * seeds, "every seed injects its faults");
}

#[test]
fn a_healthy_cluster_commits_every_view_and_every_record() {
    for validators in [4, 7] {
        for seed in 0..8 {
            let options = healthy(seed, validators);
            let report = run(options.clone());
            assert_kept(&options, &report);
            assert!(report.views >= 100, "{report:?}");
            // The last view or two may be under way.
            assert!(report.commits + 2 >= report.views, "a view was lost: {report:?}");
            assert!(report.records > 0, "{report:?}");
        }
    }
}

#[test]
fn one_validator_is_a_quorum_of_itself() {
    let options = Options { views_min: 20, faults_min: 0, ..Options::new(3, 1) };
    assert_kept(&options, &run(options.clone()));
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_does_not() {
    for validators in [4, 7] {
        let first = run(Options { is_traced: true, ..plagued(5, validators) });
        let second = run(Options { is_traced: true, ..plagued(5, validators) });
        assert_eq!(first.trace_hash, second.trace_hash);
        assert_eq!(first.trace, second.trace);
        assert_eq!(first.trace.len() as u64, first.events);
        assert_ne!(first.trace_hash, run(plagued(6, validators)).trace_hash);
    }
}

#[test]
fn keeping_the_trace_as_text_changes_nothing() {
    let kept = run(Options { is_traced: true, ..plagued(9, 4) });
    let hashed = run(plagued(9, 4));
    assert_eq!(kept.trace_hash, hashed.trace_hash);
    assert!(hashed.trace.is_empty());
}

/// The only holder of a commit certificate lacked its block, and those who had
/// the block lacked the certificate: neither could help the other.
#[test]
fn a_certificate_without_its_block_reaches_those_with_the_block() {
    for (seed, views_min, faults_min) in [(20_019, 20, 25), (1_051, 60, 20)] {
        let options = Options { views_min, faults_min, ..Options::new(seed, 4) };
        assert_kept(&options, &run(options.clone()));
    }
}

#[test]
fn four_validators_keep_every_rule_under_faults() {
    assert_seeds_kept(200, 4);
}

#[test]
fn seven_validators_keep_every_rule_under_faults() {
    assert_seeds_kept(80, 7);
}

/// Of three live validators one lacked a block. It asked a dead one, then one whose answer got
/// lost, and waited 200 ms for each, while the others gave up nine views that needed its vote.
#[test]
fn what_got_lost_is_asked_of_everybody_before_many_views_are() {
    let options = Options::new(48_389, 4);
    assert_kept(&options, &run(options.clone()));
}
