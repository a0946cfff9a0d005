//! Runs in which up to f validators lie and every rule must hold for the others.

use bizra_sim::{Behaviour, Options, Report, run};

fn with_liars(seed: u64, validators: usize, behaviours: &[Behaviour]) -> Options {
    Options {
        views_min: 20,
        faults_min: 5,
        byzantine: (validators - 1) / 3,
        behaviours: behaviours.to_vec(),
        ..Options::new(seed, validators)
    }
}

fn kept(options: Options) -> Report {
    let command = options.command();
    let report = run(options);
    assert_eq!(report.breach, None, "{command}");
    report
}

/// Each way to lie by itself: the rules hold, and the liars did lie.
#[test]
fn no_behaviour_alone_breaks_a_rule() {
    for behaviour in Behaviour::ALL {
        for (validators, seeds) in [(4, 2), (7, 1)] {
            let mut lies = 0;
            for seed in 0..seeds {
                let report = kept(with_liars(seed, validators, &[behaviour]));
                assert_eq!(report.liars.len(), (validators - 1) / 3);
                lies +=
                    report.liars.iter().flat_map(|(_, all)| all).map(|(_, lies)| lies).sum::<u64>();
            }
            assert!(lies > 0, "{behaviour} of {validators} never lied");
        }
    }
}

#[test]
fn four_validators_keep_every_rule_with_a_liar_and_faults() {
    for seed in 0..30 {
        kept(with_liars(seed, 4, &[]));
    }
}

#[test]
fn seven_validators_keep_every_rule_with_two_liars_and_faults() {
    for seed in 0..10 {
        kept(with_liars(seed, 7, &[]));
    }
}

/// Whoever contradicts itself before one validator is proven guilty.
#[test]
fn liars_that_contradict_themselves_are_named() {
    for behaviour in [
        Behaviour::EquivocatingLeader,
        Behaviour::EquivocatingVoter,
        Behaviour::HiddenCertificates,
        Behaviour::WrongExec,
        Behaviour::BadBatches,
        Behaviour::Flooder,
    ] {
        let is_named = (0..4).any(|seed| {
            let report = kept(with_liars(seed, 4, &[behaviour]));
            report.named == [report.liars[0].0]
        });
        assert!(is_named, "{behaviour}");
    }
}

/// What is no contradiction accuses nobody.
#[test]
fn silence_is_no_evidence() {
    for behaviour in [
        Behaviour::SilentLeader,
        Behaviour::VoteWithholding,
        Behaviour::PartialVotes,
        Behaviour::PartialBatches,
        Behaviour::RevealWithholding,
    ] {
        let report = kept(with_liars(1, 7, &[behaviour]));
        assert_eq!(report.named, [], "{behaviour}");
    }
}

/// Messages of another chain or era, and those that others signed.
#[test]
fn what_is_of_elsewhere_is_refused() {
    let report = kept(with_liars(2, 4, &[Behaviour::Replayer]));
    assert!(report.refused > 0, "nothing was refused");
}

#[test]
fn the_same_seed_gives_the_same_lies() {
    for validators in [4, 7] {
        let options = Options { is_traced: true, ..with_liars(5, validators, &[]) };
        let (first, second) = (run(options.clone()), run(options));
        assert_eq!(first.trace, second.trace);
        assert_eq!(first.trace_hash, second.trace_hash);
        assert_eq!(first.liars, second.liars);
        let honest = Options { byzantine: 0, ..with_liars(5, validators, &[]) };
        assert_ne!(first.trace_hash, run(honest).trace_hash);
    }
}
