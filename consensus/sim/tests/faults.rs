//! Each kind of fault by itself and all together: they really come about, and
//! after each the cluster goes on.

use bizra_sim::{FaultKind, Options, run};
use clap::ValueEnum as _;
use std::collections::BTreeMap;

/// Healing after each time of faults leads to commits everywhere: the oracles
/// demand it, and each proof of life is counted.
#[test]
fn every_kind_comes_about_and_healing_after_it_leads_to_commits() {
    for kind in FaultKind::value_variants().iter().copied() {
        let (mut count, mut seed) = (0, 0);
        while count < 5 {
            assert!(seed < 20, "{kind}: {count} in {seed} seeds");
            let options = Options {
                views_min: 20,
                faults_min: 8,
                fault_kinds: vec![kind],
                changes: false,
                ..Options::new(seed, 4)
            };
            let command = options.command();
            let report = run(options);
            assert_eq!(report.breach, None, "{command}");
            assert!(!report.recovery_micros.is_empty(), "{command}");
            assert!(report.fault_kinds.keys().eq([&kind]) || report.fault_kinds.is_empty());
            count += report.fault_kinds.get(&kind).copied().unwrap_or_default();
            seed += 1;
        }
    }
}

#[test]
fn a_few_seeds_meet_every_kind() {
    let mut counts: BTreeMap<FaultKind, u64> = BTreeMap::new();
    for seed in 0..40 {
        let options = Options { views_min: 30, changes: true, ..Options::new(seed, 4) };
        let command = options.command();
        let report = run(options);
        assert_eq!(report.breach, None, "{command}");
        for (kind, count) in report.fault_kinds {
            *counts.entry(kind).or_default() += count;
        }
    }
    let kinds = FaultKind::value_variants().iter().chain([&FaultKind::Amnesia]);
    let missing: Vec<_> = kinds.filter(|kind| !counts.contains_key(kind)).collect();
    assert!(missing.is_empty(), "{missing:?} did not come about: {counts:?}");
}
