use super::*;
use crate::testing::committee;
use bizra_types::hash::{BlockId, ExecHash};
use bizra_types::message::{CommitVote, Timeout, Vote};
use bizra_types::numbers::Era;

const ERA: Era = Era::new(1);

fn vote(signer: u16, view: u64, block: u8) -> SignedVote {
    let vote = Vote { era: ERA, view: View::new(view), block: BlockId([block; 32]) };
    let signature = Signature([u8::try_from(signer).expect("small"); 64]);
    SignedVote { vote, signer: ValidatorIndex::new(signer), signature }
}

fn commit_vote(signer: u16, view: u64, exec: u8) -> SignedCommitVote {
    let vote = CommitVote {
        era: ERA,
        view: View::new(view),
        block: BlockId([1; 32]),
        exec: ExecHash([exec; 32]),
    };
    let signature = Signature([u8::try_from(signer).expect("small"); 64]);
    SignedCommitVote { vote, signer: ValidatorIndex::new(signer), signature }
}

fn timeout(signer: u16, view: u64, high_qc_view: u64) -> SignedTimeout {
    let high_qc_view = View::new(high_qc_view);
    let vote = Vote { era: ERA, view: high_qc_view, block: BlockId([3; 32]) };
    SignedTimeout {
        timeout: Timeout { era: ERA, view: View::new(view), high_qc_view },
        signer: ValidatorIndex::new(signer),
        signature: Signature([u8::try_from(signer).expect("small"); 64]),
        high_qc: Qc { vote, signers: SignerSet::empty(4), signatures: Vec::new() },
        entry_tc: None,
        missing: Vec::new(),
    }
}

const NOW: View = View::new(100);

#[test]
fn exactly_a_quorum_of_the_registered_makes_each_certificate_once() {
    for (size, quorum) in [(1, 1), (2, 2), (3, 3), (4, 3), (7, 5), (10, 7)] {
        let committee = committee(usize::from(size));
        let mut votes = Votes::default();
        for signer in 0..size {
            let qc = votes.add_vote(&committee, NOW, vote(signer, 100, 1));
            let cert = votes.add_commit_vote(&committee, NOW, commit_vote(signer, 99, 1));
            let tc = votes.add_timeout(&committee, NOW, timeout(signer, 100, 99));
            let is_quorum = signer + 1 == quorum;
            assert_eq!(matches!(qc, Change::Certified(_)), is_quorum, "{signer} of {size}");
            assert_eq!(matches!(cert, Change::Certified(_)), is_quorum, "{signer} of {size}");
            assert_eq!(matches!(tc, Change::Certified(_)), is_quorum, "{signer} of {size}");
            if let (Change::Certified(qc), Change::Certified(cert), Change::Certified(tc)) =
                (qc, cert, tc)
            {
                for (signers, signatures) in [
                    (qc.signers, qc.signatures),
                    (cert.signers, cert.signatures),
                    (tc.signers, tc.signatures),
                ] {
                    assert_eq!(signers.count(), usize::from(quorum));
                    let bytes: Vec<_> = signatures.iter().map(|it| u16::from(it.0[0])).collect();
                    assert_eq!(bytes, (0..quorum).collect::<Vec<_>>(), "in order of indices");
                }
            }
        }
    }
}

#[test]
fn only_equal_votes_count_together() {
    let committee = committee(4);
    let mut votes = Votes::default();
    assert_eq!(votes.add_vote(&committee, NOW, vote(0, 100, 1)), Change::Counted);
    assert_eq!(votes.add_vote(&committee, NOW, vote(1, 100, 2)), Change::Counted);
    assert_eq!(votes.add_vote(&committee, NOW, vote(2, 100, 1)), Change::Counted);
    let change = votes.add_vote(&committee, NOW, vote(3, 100, 1));
    let Change::Certified(qc) = change else { panic!("{change:?}") };
    assert_eq!(qc.vote, vote(0, 100, 1).vote);
    assert!(!qc.signers.contains(ValidatorIndex::new(1)));
    let all: Vec<_> = (0..4).map(ValidatorIndex::new).collect();
    assert_eq!(votes.voters(View::new(100)), all, "who voted, for whatever");

    // Commit votes for one block with another result are not equal.
    for (signer, exec) in [(0, 1), (1, 2), (2, 1)] {
        let change = votes.add_commit_vote(&committee, NOW, commit_vote(signer, 99, exec));
        assert_eq!(change, Change::Counted);
    }
}

#[test]
fn a_repeated_message_is_nothing_new() {
    let committee = committee(4);
    let mut votes = Votes::default();
    for is_new in [true, false, false] {
        assert_eq!(votes.is_known(&commit_vote(0, 99, 1)), !is_new, "again: it asks for an answer");
        let qc = votes.add_vote(&committee, NOW, vote(0, 100, 1));
        let cert = votes.add_commit_vote(&committee, NOW, commit_vote(0, 99, 1));
        let tc = votes.add_timeout(&committee, NOW, timeout(0, 100, 99));
        assert_eq!(qc, if is_new { Change::Counted } else { Change::Nothing });
        assert_eq!(cert, if is_new { Change::Counted } else { Change::Nothing });
        assert_eq!(tc, if is_new { Change::Counted } else { Change::Nothing });
    }
    assert_eq!(votes.timeouts(View::new(100)).count(), 1);
    assert!(!votes.is_known(&commit_vote(0, 99, 2)), "another result is another vote");
}

#[test]
fn equivocation_keeps_the_first() {
    let committee = committee(4);
    let mut votes = Votes::default();
    let _ = votes.add_vote(&committee, NOW, vote(0, 100, 1));
    for block in [2, 3] {
        let evidence = Evidence::Votes(vote(0, 100, 1), vote(0, 100, block));
        let change = votes.add_vote(&committee, NOW, vote(0, 100, block));
        assert_eq!(change, Change::Equivocated(Box::new(evidence)));
    }
    let _ = votes.add_commit_vote(&committee, NOW, commit_vote(0, 99, 1));
    let evidence = Evidence::CommitVotes(commit_vote(0, 99, 1), commit_vote(0, 99, 2));
    let change = votes.add_commit_vote(&committee, NOW, commit_vote(0, 99, 2));
    assert_eq!(change, Change::Equivocated(Box::new(evidence)));
    let _ = votes.add_timeout(&committee, NOW, timeout(0, 100, 99));
    let change = votes.add_timeout(&committee, NOW, timeout(0, 100, 99));
    assert_eq!(change, Change::Nothing);
    let _ = votes.add_timeout(&committee, NOW, timeout(1, 100, 98));
    let evidence = Evidence::Timeouts(timeout(1, 100, 98), timeout(1, 100, 97));
    let change = votes.add_timeout(&committee, NOW, timeout(1, 100, 97));
    assert_eq!(change, Change::Equivocated(Box::new(evidence)));
    // The second counts for nothing: two more make the quorum of the first.
    let _ = votes.add_vote(&committee, NOW, vote(1, 100, 2));
    let change = votes.add_vote(&committee, NOW, vote(2, 100, 2));
    assert_eq!(change, Change::Counted, "0 voted for block 1");
}

#[test]
fn a_hidden_qc_is_found_whichever_comes_first() {
    let committee = committee(4);
    // (view of the commit vote, timed out, high QC named, is it the lie that forks)
    let rows = [
        (99, 99, 98, true),
        (99, 100, 98, true),
        (99, 110, 98, true),
        (99, 100, 99, false),
        (99, 98, 97, false),
    ];
    fn evidence<C>(change: Change<C>) -> Option<Evidence> {
        match change {
            Change::Equivocated(evidence) => Some(*evidence),
            Change::Nothing | Change::Counted | Change::Certified(_) => None,
        }
    }
    for (committed, left, named, is_lie) in rows {
        let (vote, timeout) = (commit_vote(0, committed, 1), timeout(0, left, named));
        let lie = is_lie.then(|| Evidence::HiddenQc(vote, timeout.clone()));
        let mut votes = Votes::default();
        let _ = votes.add_commit_vote(&committee, NOW, vote);
        let second = votes.add_timeout(&committee, NOW, timeout.clone());
        assert_eq!(evidence(second), lie, "vote first: {committed} {left} {named}");
        let mut votes = Votes::default();
        let _ = votes.add_timeout(&committee, NOW, timeout);
        let second = votes.add_commit_vote(&committee, NOW, vote);
        assert_eq!(evidence(second), lie, "timeout first: {committed} {left} {named}");
        // Somebody else's timeout proves nothing.
        let change = votes.add_commit_vote(&committee, NOW, commit_vote(1, committed, 1));
        assert_eq!(change, Change::Counted);
    }
}

#[test]
fn views_far_away_are_not_kept() {
    let committee = committee(4);
    let mut votes = Votes::default();
    for (view, is_kept) in [(67, false), (68, true), (100, true), (116, true), (117, false)] {
        let expected = |kept: bool| assert_eq!(kept, is_kept, "view {view}");
        expected(votes.add_vote(&committee, NOW, vote(0, view, 1)) == Change::Counted);
        let change = votes.add_commit_vote(&committee, NOW, commit_vote(1, view, 1));
        expected(change == Change::Counted);
        let change = votes.add_timeout(&committee, NOW, timeout(2, view, view - 1));
        expected(change == Change::Counted);
    }
    let change = votes.add_vote(&committee, View::MAX, vote(0, u64::MAX, 1));
    assert_eq!(change, Change::Counted, "the bounds do not run over");
    votes.enter(View::new(101));
    assert_eq!(votes.voters(View::new(68)), [], "what is too far behind is forgotten");
    assert_eq!(votes.voters(View::new(100)), [ValidatorIndex::ZERO]);
}

#[test]
fn late_messages_still_make_certificates() {
    let committee = committee(4);
    let mut votes = Votes::default();
    for signer in 0..2 {
        let _ = votes.add_commit_vote(&committee, NOW, commit_vote(signer, 100, 1));
        let _ = votes.add_vote(&committee, NOW, vote(signer, 100, 1));
    }
    let later = View::new(130);
    votes.enter(later);
    let change = votes.add_commit_vote(&committee, later, commit_vote(2, 100, 1));
    assert!(matches!(change, Change::Certified(_)), "{change:?}");
    let change = votes.add_vote(&committee, later, vote(2, 100, 1));
    assert!(matches!(change, Change::Certified(_)), "{change:?}");
}

#[test]
fn a_timeout_certificate_has_each_view_and_the_highest_qc() {
    let committee = committee(4);
    let mut votes = Votes::default();
    let _ = votes.add_timeout(&committee, NOW, timeout(3, 100, 97));
    let _ = votes.add_timeout(&committee, NOW, timeout(0, 100, 99));
    let change = votes.add_timeout(&committee, NOW, timeout(2, 100, 98));
    let Change::Certified(tc) = change else { panic!("{change:?}") };
    let views: Vec<_> = tc.high_qc_views.iter().map(|view| view.get()).collect();
    assert_eq!(views, [99, 98, 97], "in the order of the signers 0, 2, 3");
    assert_eq!(tc.high_qc, timeout(0, 100, 99).high_qc);
    assert_eq!((tc.era, tc.view), (ERA, View::new(100)));
}

fn signed_by(signers: [u16; 3]) -> (SignerSet, Vec<Signature>) {
    let signatures = signers.map(|signer| vote(signer, 1, 1).signature).to_vec();
    (SignerSet::of(4, signers.map(ValidatorIndex::new)), signatures)
}

fn qc_by(signers: [u16; 3], view: u64, block: u8) -> Qc {
    let (set, signatures) = signed_by(signers);
    Qc { vote: vote(0, view, block).vote, signers: set, signatures }
}

fn commit_cert_by(signers: [u16; 3], view: u64, exec: u8) -> CommitCert {
    let (set, signatures) = signed_by(signers);
    CommitCert { vote: commit_vote(0, view, exec).vote, signers: set, signatures }
}

#[test]
fn a_vote_that_only_others_saw_is_evidence_by_way_of_the_certificate() {
    let committee = committee(4);
    let qc = qc_by([0, 1, 3], 100, 2);
    let lie = Evidence::Votes(vote(1, 100, 1), vote(1, 100, 2));
    // The vote first.
    let mut votes = Votes::default();
    let _ = votes.add_vote(&committee, NOW, vote(0, 100, 2));
    let _ = votes.add_vote(&committee, NOW, vote(1, 100, 1));
    assert_eq!(votes.add_qc(NOW, &qc), [lie]);
    // The certificate first.
    let mut votes = Votes::default();
    assert_eq!(votes.add_qc(NOW, &qc), []);
    assert_eq!(votes.add_qc(NOW, &qc), []);
    assert_eq!(votes.add_vote(&committee, NOW, vote(0, 100, 2)), Change::Nothing);
    let lie = Evidence::Votes(vote(1, 100, 2), vote(1, 100, 1));
    let change = votes.add_vote(&committee, NOW, vote(1, 100, 1));
    assert_eq!(change, Change::Equivocated(Box::new(lie)));
    assert_eq!(votes.add_vote(&committee, NOW, vote(2, 100, 1)), Change::Counted);
    assert_eq!(votes.add_qc(NOW, &qc_by([0, 1, 3], 117, 2)), [], "far away");
    assert_eq!(votes.voters(View::new(117)), []);
}

#[test]
fn a_commit_certificate_tells_on_its_signers() {
    let committee = committee(4);
    let cert = commit_cert_by([0, 1, 3], 99, 1);
    // Another exec, and another block of that view.
    let (other_exec, mut other_block) = (commit_vote(2, 99, 7), commit_vote(3, 99, 1));
    other_block.vote.block = BlockId([8; 32]);
    let both = Evidence::CommitVotes(commit_vote(3, 99, 1), other_block);
    let exec = Evidence::OtherExec(other_exec, cert.clone());
    assert_eq!(contradiction(&other_exec, &cert), Some(exec.clone()));
    assert_eq!(contradiction(&other_block, &cert), Some(both.clone()));
    assert_eq!(contradiction(&commit_vote(2, 99, 1), &cert), None);
    assert_eq!(contradiction(&commit_vote(2, 98, 7), &cert), None);
    let by_another = SignedCommitVote { signer: ValidatorIndex::new(2), ..other_block };
    assert_eq!(contradiction(&by_another, &cert), None, "2 did not sign the certificate");

    // A timeout that hides the QC of the certificate's view.
    let hidden = timeout(1, 100, 98);
    let lie = Evidence::HiddenQc(commit_vote(1, 99, 1), hidden.clone());
    assert_eq!(hides(&hidden, &cert), Some(lie.clone()));
    for (signer, view, high) in [(2, 100, 98), (1, 100, 99), (1, 98, 97)] {
        assert_eq!(hides(&timeout(signer, view, high), &cert), None, "{signer} {view} {high}");
    }
    assert!(hides(&timeout(1, 99, 98), &cert).is_some(), "the view itself counts");

    let mut votes = Votes::default();
    let _ = votes.add_commit_vote(&committee, NOW, other_exec);
    let _ = votes.add_commit_vote(&committee, NOW, other_block);
    let _ = votes.add_timeout(&committee, NOW, hidden);
    let _ = votes.add_timeout(&committee, NOW, timeout(2, 100, 98));
    assert_eq!(votes.against(&cert), [exec, both, lie]);
}
