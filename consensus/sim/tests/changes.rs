//! Runs in which committee and version change under faults, and every rule holds.

use bizra_sim::{Options, Report, run};

fn changing(seed: u64, validators: usize) -> Options {
    Options { views_min: 60, faults_min: 10, changes: true, ..Options::new(seed, validators) }
}

fn kept(options: Options) -> Report {
    let command = options.command();
    let report = run(options);
    assert_eq!(report.breach, None, "{command}");
    report
}

/// Runs seeds and says how many eras ended.
fn handovers(seeds: u64, validators: usize) -> u64 {
    (0..seeds).map(|seed| kept(changing(seed, validators)).eras - 1).sum()
}

#[test]
fn four_validators_keep_every_rule_while_the_committee_changes() {
    assert!(handovers(40, 4) > 100);
}

#[test]
fn seven_validators_keep_every_rule_while_the_committee_changes() {
    assert!(handovers(15, 7) > 30);
}

#[test]
fn committees_change_where_nothing_fails() {
    for validators in [4, 7] {
        let eras: u64 = (0..4)
            .map(|seed| kept(Options { faults_min: 0, ..changing(seed, validators) }).eras)
            .sum();
        assert!(eras > 8, "{eras} eras of four runs of {validators}");
    }
}

/// Every commit holds the parameters of the chain: the rules compare them.
#[test]
fn parameters_change_on_the_way() {
    for (seed, validators) in [(14, 4), (26, 4), (38, 7)] {
        let report = kept(Options::new(seed, validators));
        assert!(report.parameter_changes > 0, "seed {seed}");
    }
}
