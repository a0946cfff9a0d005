//! The voting rules as tables. All blocks stand on this tree:
//!
//! ```text
//! view   0      1      2      3      4
//!        root ─ b1 ─── b2 ──┐
//!          │      │         └ (a block of view 3 justified by QC(2))
//!          │      └───── a block of view 3 or 4 justified by QC(1), with a TC
//!          └──────────── a block of view 3 justified by QC(0), with a TC
//! ```

use super::*;
use bizra_types::block::BlockContent;
use bizra_types::committee::SignerSet;
use bizra_types::hash::ChainId;
use bizra_types::numbers::{Height, ProtocolVersion, TimestampMs, ValidatorIndex};

const ERA: Era = Era::new(1);

fn qc_of(era: Era, view: u64) -> Qc {
    let block = BlockId([u8::try_from(view).expect("small"); 32]);
    let vote = Vote { era, view: View::new(view), block };
    Qc { vote, signers: SignerSet::empty(4), signatures: Vec::new() }
}

fn qc(view: u64) -> Qc {
    qc_of(ERA, view)
}

fn tc(view: u64, high_qc_views: &[u64]) -> Tc {
    Tc {
        era: ERA,
        view: View::new(view),
        signers: SignerSet::empty(4),
        high_qc_views: high_qc_views.iter().map(|view| View::new(*view)).collect(),
        signatures: Vec::new(),
        high_qc: qc(high_qc_views.iter().copied().max().expect("a quorum")),
    }
}

fn block_in(era: Era, view: u64, justify: u64) -> Block {
    Block::new(BlockContent {
        protocol_version: ProtocolVersion::new(1),
        chain_id: ChainId::ZERO,
        height: Height::new(justify + 1),
        view: View::new(view),
        justify: qc_of(era, justify),
        citations: Vec::new(),
        reveals: Vec::new(),
        timestamp_ms: TimestampMs::new(view),
        proposer: ValidatorIndex::ZERO,
        closes: None,
    })
}

fn block(view: u64, justify: u64) -> Block {
    block_in(ERA, view, justify)
}

/// In view 3, entered by QC(2); voted, timed out and commit-voted as given, 0 for never.
fn record(voted: u64, timed_out: u64, committed: u64) -> SafetyRecord {
    let at = |view: u64| (view > 0).then(|| View::new(view));
    let mut record = SafetyRecord::new(qc(0), None);
    record.current_view = View::new(3);
    record.high_qc = qc(2);
    record.last_voted = at(voted).map(|view| Vote { era: ERA, view, block: BlockId([0xbb; 32]) });
    record.last_timeout =
        at(timed_out).map(|view| (Timeout { era: ERA, view, high_qc_view: View::ZERO }, qc(0)));
    record.last_commit_vote = at(committed).map(|view| CommitVote {
        era: ERA,
        view,
        block: BlockId([0xcc; 32]),
        exec: ExecHash::ZERO,
    });
    record
}

#[test]
fn rule_1_each_condition_alone() {
    let by_tc = Some(tc(2, &[0, 1, 1]));
    let mut other_era = tc(2, &[0, 1, 1]);
    other_era.era = Era::new(2);
    let rows = [
        ("QC of the view before", record(2, 2, 2), block(3, 2), None, true),
        ("TC of the view before", record(2, 2, 2), block(3, 1), by_tc.clone(), true),
        ("justified above the TC's QCs", record(2, 2, 0), block(3, 2), by_tc.clone(), true),
        ("nothing signed yet", record(0, 0, 0), block(3, 2), None, true),
        ("of an earlier view", record(0, 0, 0), block(2, 1), None, false),
        ("of a later view", record(0, 0, 0), block(4, 3), None, false),
        ("voted in this view", record(3, 0, 0), block(3, 2), None, false),
        ("voted in a later view", record(4, 0, 0), block(3, 2), None, false),
        ("timed this view out", record(0, 3, 0), block(3, 2), None, false),
        ("timed a later view out", record(0, 4, 0), block(3, 2), None, false),
        ("old QC and no TC", record(0, 0, 0), block(3, 1), None, false),
        ("TC of an older view", record(0, 0, 0), block(3, 1), Some(tc(1, &[0, 0, 0])), false),
        ("TC of this view", record(0, 0, 0), block(3, 1), Some(tc(3, &[1, 1, 1])), false),
        ("below one QC of the TC", record(0, 0, 0), block(3, 0), by_tc, false),
        ("TC of another era", record(0, 0, 0), block(3, 1), Some(other_era), false),
        ("block of another era", record(0, 0, 0), block_in(Era::new(2), 3, 2), None, false),
    ];
    for (name, record, block, tc, expected) in rows {
        let safety = Safety::restored(record);
        assert_eq!(safety.can_vote(&block, tc.as_ref()), expected, "{name}");
    }
}

#[test]
fn a_vote_is_recorded_and_excludes_another() {
    let mut safety = Safety::restored(record(0, 0, 0));
    let vote = safety.vote(&block(3, 2), None);
    assert_eq!(vote, Vote { era: ERA, view: View::new(3), block: block(3, 2).id() });
    assert_eq!(safety.take_changed().expect("changed").last_voted, Some(vote));
    assert_eq!(safety.take_changed(), None, "it is handed out once");
    let by_tc = tc(2, &[0, 1, 1]);
    assert!(!safety.can_vote(&block(3, 1), Some(&by_tc)), "another block of this view");
    assert!(!safety.can_vote(&block(3, 2), None), "nor the same again: it is repeated instead");
}

#[test]
fn rule_2_each_condition_alone() {
    let rows = [
        ("certified, not left", record(0, 0, 0), 2, true),
        ("an older view was left", record(0, 1, 1), 2, true),
        ("a lower view, the QC being higher", record(0, 0, 0), 1, true),
        ("this view was left", record(0, 2, 0), 2, false),
        ("a later view was left", record(0, 3, 0), 2, false),
        ("commit-voted in this view", record(0, 0, 2), 2, false),
        ("commit-voted in a later view", record(0, 0, 3), 2, false),
        ("the QC is not in the record", record(0, 0, 0), 3, false),
        ("the root needs no vote", record(0, 0, 0), 0, false),
    ];
    for (name, record, view, expected) in rows {
        let safety = Safety::restored(record);
        assert_eq!(safety.can_commit_vote(View::new(view)), expected, "{name}");
    }
}

#[test]
fn rule_4_each_condition_alone() {
    let rows = [
        ("never left a view", record(0, 0, 0), true),
        ("left the view before", record(0, 2, 0), true),
        ("voted in this view", record(3, 0, 0), true),
        ("left this view", record(0, 3, 0), false),
        ("left a later view", record(0, 4, 0), false),
    ];
    for (name, record, expected) in rows {
        assert_eq!(Safety::restored(record).can_time_out(), expected, "{name}");
    }
}

#[test]
fn a_timeout_names_the_highest_qc_and_ends_the_view() {
    let mut safety = Safety::restored(record(0, 0, 0));
    let timeout = safety.time_out();
    let expected = Timeout { era: ERA, view: View::new(3), high_qc_view: View::new(2) };
    assert_eq!(timeout, expected);
    assert!(!safety.can_time_out());
    assert!(!safety.can_vote(&block(3, 2), None));
    assert!(!safety.can_propose());
    assert!(!safety.can_commit_vote(View::new(2)), "view 2 is before the view that was left");
    // The QC of the view that was left comes late.
    assert!(safety.observe_qc(&qc(3)));
    assert_eq!(safety.view(), View::new(4));
    assert!(!safety.can_commit_vote(View::new(3)));
    assert_eq!(safety.record().last_timeout, Some((timeout, qc(2))), "the same bytes again");
}

#[test]
fn rule_5_one_proposal_per_view_and_none_after_leaving_it() {
    let proposed = |view: u64| {
        let mut record = record(0, 0, 0);
        record.last_proposal = Some((View::new(view), BlockId::ZERO));
        record
    };
    let rows = [
        ("never proposed", record(0, 0, 0), true),
        ("proposed in the view before", proposed(2), true),
        ("voted in this view", record(3, 0, 0), true),
        ("proposed in this view", proposed(3), false),
        ("proposed in a later view", proposed(4), false),
        ("left this view", record(0, 3, 0), false),
    ];
    for (name, record, expected) in rows {
        assert_eq!(Safety::restored(record).can_propose(), expected, "{name}");
    }
    let mut safety = Safety::restored(record(0, 0, 0));
    safety.propose(&block(3, 2));
    assert_eq!(safety.last_proposal_view(), View::new(3));
    assert!(!safety.can_propose());
}

#[test]
fn after_a_crash_the_record_allows_nothing_different() {
    let mut safety = Safety::restored(record(0, 0, 0));
    safety.propose(&block(3, 2));
    let vote = safety.vote(&block(3, 2), None);
    let commit_vote = safety.commit_vote(View::new(2), BlockId([2; 32]), ExecHash([5; 32]));
    let timeout = safety.time_out();
    let stored = safety.take_changed().expect("all of it changed the record");
    let safety = Safety::restored(stored);
    assert_eq!(safety.record().last_voted, Some(vote));
    assert_eq!(safety.record().last_commit_vote, Some(commit_vote));
    assert_eq!(safety.record().last_timeout, Some((timeout, qc(2))));
    assert_eq!(safety.record().last_proposal, Some((View::new(3), block(3, 2).id())));
    let by_tc = tc(2, &[0, 1, 1]);
    assert!(!safety.can_vote(&block(3, 1), Some(&by_tc)));
    assert!(!safety.can_commit_vote(View::new(2)));
    assert!(!safety.can_time_out());
    assert!(!safety.can_propose());
}

#[test]
fn certificates_move_the_view_forward_only() {
    let mut safety = Safety::restored(record(0, 0, 0));
    assert!(!safety.observe_qc(&qc(1)), "a lower QC changes nothing");
    assert_eq!((safety.view(), safety.take_changed()), (View::new(3), None));
    safety.observe_tc(&tc(2, &[0, 1, 2]));
    assert_eq!((safety.view(), safety.take_changed()), (View::new(3), None));
    assert_eq!(safety.entry_tc(), None, "entered by QC(2)");
    safety.observe_tc(&tc(5, &[2, 2, 2]));
    assert_eq!(safety.view(), View::new(6));
    assert_eq!(safety.entry_tc(), Some(&tc(5, &[2, 2, 2])));
    assert!(safety.observe_qc(&qc(4)), "higher, but of a view that is over");
    assert_eq!(safety.view(), View::new(6));
    assert_eq!(safety.entry_tc(), Some(&tc(5, &[2, 2, 2])));
    assert!(safety.observe_qc(&qc(5)), "the view has both certificates");
    assert_eq!(safety.entry_tc(), None, "and the QC is enough");
}

#[test]
fn a_certificate_of_the_current_view_ends_it() {
    let mut safety = Safety::restored(record(0, 0, 0));
    assert!(!safety.observe_qc(&qc(2)), "one as high as ours is not higher");
    assert_eq!((safety.view(), safety.take_changed()), (View::new(3), None));
    safety.observe_tc(&tc(3, &[1, 2, 2]));
    assert_eq!(safety.view(), View::new(4));
    let stored = safety.take_changed().expect("the TC is needed to show how the view was entered");
    assert_eq!((stored.current_view, stored.high_tc), (View::new(4), Some(tc(3, &[1, 2, 2]))));
    assert!(safety.observe_qc(&qc(4)));
    assert_eq!(safety.view(), View::new(5));
    let stored = safety.take_changed().expect("so is the QC");
    assert_eq!((stored.current_view, stored.high_qc), (View::new(5), qc(4)));
}

#[test]
fn an_era_begins_with_nothing_signed() {
    let last_batch = Some((LaneSeq::new(7), BatchDigest([7; 32])));
    let mut safety = Safety::begun(qc_of(Era::new(2), 0), last_batch);
    assert_eq!((safety.era(), safety.view()), (Era::new(2), View::new(1)));
    let views = [
        safety.last_voted_view(),
        safety.last_timeout_view(),
        safety.last_commit_vote_view(),
        safety.last_proposal_view(),
    ];
    assert_eq!(views, [View::ZERO; 4]);
    assert_eq!(safety.entry_tc(), None, "the canonical certificate is of the view before");
    let stored = safety.take_changed().expect("it is not on disk yet");
    assert_eq!(stored, SafetyRecord::new(qc_of(Era::new(2), 0), last_batch));
    assert_eq!(stored.last_batch, last_batch, "lanes run on");
}

#[test]
fn the_record_tells_what_was_signed_last() {
    let mut safety = Safety::restored(record(1, 2, 3));
    safety.record.last_proposal = Some((View::new(4), BlockId::ZERO));
    let views = [
        safety.last_voted_view(),
        safety.last_timeout_view(),
        safety.last_commit_vote_view(),
        safety.last_proposal_view(),
    ];
    assert_eq!(views, [1, 2, 3, 4].map(View::new));
}

#[test]
#[should_panic(expected = "an era starts from its canonical certificate")]
fn no_era_starts_from_a_certificate_of_votes() {
    let _ = SafetyRecord::new(qc(1), None);
}

#[test]
#[should_panic(expected = "the entry certificate is of the view before")]
fn a_view_is_not_entered_by_an_older_tc() {
    let mut record = record(0, 0, 0);
    record.current_view = View::new(6);
    record.high_tc = Some(tc(4, &[2, 2, 2]));
    let _ = Safety::restored(record).entry_tc();
}

#[test]
#[should_panic(expected = "certificates of other eras end before")]
fn a_qc_of_another_era_moves_nothing() {
    Safety::restored(record(0, 0, 0)).observe_qc(&qc_of(Era::new(2), 3));
}

#[test]
#[should_panic(expected = "certificates of other eras end before")]
fn a_tc_of_another_era_moves_nothing() {
    let tc = Tc { era: Era::new(2), ..tc(3, &[2, 2, 2]) };
    Safety::restored(record(0, 0, 0)).observe_tc(&tc);
}

#[test]
#[should_panic(expected = "its QC comes first")]
fn a_tc_never_hides_a_higher_qc() {
    Safety::restored(record(0, 0, 0)).observe_tc(&tc(4, &[2, 2, 3]));
}

#[test]
fn lanes_are_chains() {
    let header = |seq: u64, previous: u8| BatchHeader {
        era: ERA,
        author: bizra_types::crypto::PublicKey([1; 32]),
        lane_seq: LaneSeq::new(seq),
        previous: BatchDigest([previous; 32]),
        records_hash: bizra_types::hash::Hash::ZERO,
        records_bytes: 4,
        newest_ms: TimestampMs::new(1),
    };
    let mut safety = Safety::restored(record(0, 0, 0));
    safety.extend_lane(&header(1, 0), BatchDigest([1; 32]));
    safety.extend_lane(&header(2, 1), BatchDigest([2; 32]));
    let last = safety.take_changed().expect("changed").last_batch;
    assert_eq!(last, Some((LaneSeq::new(2), BatchDigest([2; 32]))));
}

#[test]
#[should_panic(expected = "lanes are chains")]
fn a_place_of_the_lane_is_taken_once() {
    let mut safety = Safety::restored(record(0, 0, 0));
    let header = BatchHeader {
        era: ERA,
        author: bizra_types::crypto::PublicKey([1; 32]),
        lane_seq: LaneSeq::new(1),
        previous: BatchDigest::ZERO,
        records_hash: bizra_types::hash::Hash::ZERO,
        records_bytes: 4,
        newest_ms: TimestampMs::new(1),
    };
    safety.extend_lane(&header, BatchDigest([1; 32]));
    safety.extend_lane(&header, BatchDigest([2; 32]));
}

#[test]
#[should_panic(expected = "rule 1")]
fn voting_against_rule_1_is_a_bug_here() {
    Safety::restored(record(3, 0, 0)).vote(&block(3, 2), None);
}

#[test]
#[should_panic(expected = "rule 2")]
fn commit_voting_against_rule_2_is_a_bug_here() {
    let mut safety = Safety::restored(record(0, 2, 0));
    let _ = safety.commit_vote(View::new(2), BlockId::ZERO, ExecHash::ZERO);
}

#[test]
#[should_panic(expected = "rule 4")]
fn timing_out_against_rule_4_is_a_bug_here() {
    let _ = Safety::restored(record(0, 3, 0)).time_out();
}

#[test]
#[should_panic(expected = "a QC moves the view beyond its own")]
fn a_view_whose_qc_is_known_is_not_timed_out() {
    let mut record = record(0, 0, 0);
    record.high_qc = qc(3);
    let _ = Safety::restored(record).time_out();
}

#[test]
#[should_panic(expected = "rule 5")]
fn proposing_twice_is_a_bug_here() {
    let mut safety = Safety::restored(record(0, 0, 0));
    safety.propose(&block(3, 2));
    safety.propose(&block(3, 1));
}

#[test]
#[should_panic(expected = "rule 5")]
fn proposing_for_another_view_is_a_bug_here() {
    Safety::restored(record(0, 0, 0)).propose(&block(4, 2));
}
