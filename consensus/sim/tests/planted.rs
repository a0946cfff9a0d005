//! Known mistakes of the engine, each of which the simulator must find.
//!
//! Only in a build with `--cfg planted_bugs`: `make planted` makes it.
#![cfg(planted_bugs)]

use bizra_sim::{Bug, Invariant, Options, run};

/// One test for each bug: that so many seeds with so many validators find it,
/// as a breach of one of these rules.
macro_rules! planted {
    ($($name:ident: $bug:ident, $validators:literal, $seeds:literal, [$($rule:ident),*];)*) => {
        const TESTED: &[Bug] = &[$(Bug::$bug,)*];

        $(
            #[test]
            fn $name() {
                assert_found(Bug::$bug, $validators, $seeds, &[$(Invariant::$rule,)*]);
            }
        )*
    };
}

planted! {
    vote_before_persist: VoteBeforePersist, 4, 3, [PersistBeforeSend];
    qc_not_durable: QcNotDurable, 4, 3, [PersistBeforeSend];
    tc_not_durable: TcNotDurable, 4, 3, [SafetyRecord];
    vote_after_timeout: VoteAfterTimeout, 4, 10, [SafetyRecord];
    commit_vote_after_timeout: CommitVoteAfterTimeout, 4, 10, [SafetyRecord];
    older_timeout: OlderTimeout, 4, 10, [SafetyRecord];
    timeout_without_tc: TimeoutWithoutTc, 4, 3, [WellFormed];
    rank_by_arrival: RankByArrival, 4, 10, [SafetyRecord];
    tc_without_highest_qc: TcWithoutHighestQc, 4, 10, [Justification];
    two_chain_commit: TwoChainCommit, 4, 3, [CommitCertificate];
    quorum_of_live_peers: QuorumOfLivePeers, 4, 10, [CommitCertificate, Certificates];
    duplicate_votes_counted: DuplicateVotesCounted, 4, 10, [CommitCertificate, Certificates];
    signature_without_view: SignatureWithoutView, 4, 3, [Certificates, NoAlarm, Evidence];
    signature_without_era: SignatureWithoutEra, 4, 3, [Certificates, Evidence];
    commit_in_wrong_order: CommitInWrongOrder, 4, 3, [CommitOrder];
    recommit_after_skipped_views: RecommitAfterSkippedViews, 4, 3, [CommitOrder];
    evidence_drops_first: EvidenceDropsFirst, 4, 10, [LiarsAreNamed];
    old_safety_record: OldSafetyRecord, 4, 10, [PersistBeforeSend, OneVoice, NoAlarm];
    schedule_from_uncertified: ScheduleFromUncertified, 4, 10, [OneLeader];
    leaking_overlay: LeakingOverlay, 4, 10, [Execution, Agreement];
    unbounded_future_views: UnboundedFutureViews, 4, 10, [Bounded];
    vote_before_batches: VoteBeforeBatches, 4, 3, [PersistBeforeSend];
    stranded_stragglers: StrandedStragglers, 4, 10, [Liveness];
    filler_in_chain: FillerInChain, 4, 10, [CommitOrder, Handover];
    era_ends_on_qc: EraEndsOnQc, 4, 10, [CommitCertificate];
    era_starts_on_filler: EraStartsOnFiller, 4, 10, [WellFormed];
    unexecuted_parent: UnexecutedParent, 4, 10, [PersistBeforeSend, NoAlarm];
    ended_era_forgotten: EndedEraForgotten, 4, 60, [EndedEra];
    any_safety_record: AnySafetyRecord, 4, 60, [Amnesia, NoAlarm];
}

#[test]
fn every_bug_has_a_test() {
    assert_eq!(TESTED, Bug::ALL);
}

/// Runs seeds until one finds the bug, each also without it: then every rule
/// must hold.
fn assert_found(bug: Bug, validators: usize, seeds: u64, rules: &[Invariant]) {
    for seed in 0..seeds {
        let options = Options::planted(bug, seed, validators);
        let command = options.command();
        let without = run(Options { bug: None, ..options.clone() });
        assert_eq!(without.breach, None, "{command}, but without the bug");
        if let Some((breach, _)) = run(options).breach {
            assert!(rules.contains(&breach.invariant), "{command}: {breach:?}");
            return;
        }
    }
    panic!("{} is not found in {seeds} seeds", bug.name());
}
