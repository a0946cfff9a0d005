//! Traces that fork or stall an engine that lacks one rule: here the rule is
//! in place, and the attack fails. A, B and C are replicas, D lies.
//!
//! The numbers are those of the design's list.

mod harness;

use bizra_types::block::Block;
use bizra_types::certificate::Certificate;
use bizra_types::verify::Fault;
use harness::{A, B, C, Cluster, D, exec_of, view};

/// View 1, which D leads: it proposes b1 on genesis, and these replicas get it
/// and vote.
fn first_block(cluster: &mut Cluster, receivers: &[usize]) -> Block {
    let root = cluster.root_qc();
    let block = cluster.block(D, view(1), 1, 5, &root, Vec::new());
    for receiver in receivers {
        cluster.send_proposal(*receiver, &block, None);
        assert_eq!(cluster.votes_of(*receiver).len(), 1, "a good proposal gets a vote");
    }
    block
}

/// Gives each of these replicas the votes of the others and of D.
fn spread_votes(cluster: &mut Cluster, block: &Block, voters: &[usize], receivers: &[usize]) {
    for receiver in receivers {
        for voter in voters {
            let vote = cluster.vote(*voter, block);
            cluster.send_vote(*receiver, vote);
        }
    }
}

/// Lets the view timer of these replicas run out.
fn time_out(cluster: &mut Cluster, nodes: &[usize]) {
    cluster.pass(nodes, 1_400);
}

/// Trace 1: Without the check in rule 2, A would commit-vote for what it timed out.
#[test]
fn who_timed_a_view_out_never_commit_votes_in_it() {
    let mut cluster = Cluster::new(&[D, C]);
    let root = cluster.root_qc();
    let first = first_block(&mut cluster, &[A, B]);
    time_out(&mut cluster, &[A, C]);
    assert_eq!(cluster.timeouts_of(A)[0].timeout.view, view(1));
    assert_eq!(cluster.timeouts_of(C)[0].timeout.high_qc_view, view(0));

    spread_votes(&mut cluster, &first, &[A, B, D], &[A, B]);
    assert_eq!(cluster.high_qc_view_of(A), view(1));
    assert_eq!(cluster.high_qc_view_of(B), view(1));
    assert_eq!(cluster.commit_votes_of(A), [], "A timed view 1 out");
    assert_eq!(cluster.commit_votes_of(B).len(), 1, "B did not");

    // D helps both: it commit-votes for b1, and completes TC(1).
    for node in [A, B, C] {
        for voter in [B, D] {
            let vote = cluster.commit_vote(voter, &first);
            cluster.send_commit_vote(node, vote);
        }
    }
    let tc = cluster.tc(view(1), &[(A, root.clone()), (C, root.clone()), (D, root.clone())]);
    cluster.send_certificate(C, Certificate::Tc(tc.clone()));
    let second = cluster.proposals_of(C)[0].block.clone();
    assert_eq!(second.justify(), &root, "C never saw QC(1)");
    cluster.send_proposal(A, &second, Some(tc));
    spread_votes(&mut cluster, &second, &[A, C, D], &[A, C]);
    for node in [A, C] {
        for voter in [A, C, D] {
            let vote = cluster.commit_vote(voter, &second);
            cluster.send_commit_vote(node, vote);
        }
    }
    assert_eq!(cluster.committed_by(A), [second.id()]);
    assert_eq!(cluster.committed_by(B), [], "two commit votes are no quorum of four");
    assert_eq!(cluster.committed_by(C), [second.id()]);
}

/// Trace 2: A TC whose highest QC is left out, or is not heeded.
#[test]
fn a_timeout_certificate_binds_to_its_highest_qc() {
    let mut cluster = Cluster::new(&[A, B, D]);
    let root = cluster.root_qc();
    cluster.pass(&[A], 1_000);
    let first = cluster.proposals_of(A)[0].block.clone();
    for node in [B, C] {
        cluster.send_proposal(node, &first, None);
    }
    spread_votes(&mut cluster, &first, &[A, B, D], &[A, B, C]);
    // B alone learns that it is final: the others could still leave it.
    for voter in [A, C, D] {
        let vote = cluster.commit_vote(voter, &first);
        cluster.send_commit_vote(B, vote);
    }
    assert_eq!(cluster.committed_by(B), [first.id()]);
    time_out(&mut cluster, &[A, C]);
    let qc = cluster.qc(&[A, B, D], &first);
    let tc = cluster.tc(view(2), &[(A, qc.clone()), (C, qc.clone()), (D, qc.clone())]);
    let on_genesis = cluster.block(D, view(3), 1, 7, &root, Vec::new());

    let mut without = tc.clone();
    without.high_qc = root.clone();
    let proposal = cluster.proposal(&on_genesis, Some(without.clone()));
    let without_its_highest = Fault::Inconsistent("a TC without the highest QC of its signers");
    assert_eq!(cluster.verifier.proposal(proposal).unwrap_err(), without_its_highest);
    let alone = cluster.verifier.certificate(Certificate::Tc(without));
    assert_eq!(alone.unwrap_err(), without_its_highest);

    let votes_before = cluster.votes_of(A).len();
    for node in [A, B, C] {
        cluster.send_certificate(node, Certificate::Tc(tc.clone()));
        assert_eq!(cluster.view_of(node), view(3));
        assert_eq!(cluster.nodes[node].alarms, [], "it may still sign");
        // With the TC in the open the block must not get a vote.
        let proposal = cluster.proposal(&on_genesis, Some(tc.clone()));
        if let Ok(proposal) = cluster.verifier.proposal(proposal) {
            cluster.step(node, bizra_consensus::Input::Proposal(proposal));
        }
        assert_eq!(cluster.votes_of(node).len(), votes_before, "it goes back behind QC(1)");
    }
}

/// Trace 3: If the QC under a commit vote were not durable, a crash would hide it.
#[test]
fn a_crash_after_the_commit_vote_does_not_hide_the_qc() {
    let mut cluster = Cluster::new(&[D, C]);
    let first = first_block(&mut cluster, &[A, B]);
    spread_votes(&mut cluster, &first, &[A, B, D], &[A, B]);
    for node in [A, B] {
        assert_eq!(cluster.commit_votes_of(node)[0].vote.exec, exec_of(first.id()));
        let before = cluster.commit_votes_of(node)[0];
        cluster.restart(node);
        assert_eq!(cluster.commit_votes_of(node), [before], "the same again, and nothing else");
    }
    time_out(&mut cluster, &[A, B]);
    for node in [A, B] {
        let timeouts = cluster.timeouts_of(node);
        assert!(!timeouts.is_empty(), "the timer of view 2 ran out");
        for timeout in timeouts {
            assert_eq!(timeout.timeout.view, view(2), "view 1 is over for ever");
            assert_eq!(timeout.timeout.high_qc_view, view(1), "and its QC is named");
        }
    }
}

/// Trace 4: If an older timeout could replace a newer one, A would commit-vote in a
/// view that it left.
#[test]
fn an_older_view_is_not_timed_out_after_a_newer_one() {
    let mut cluster = Cluster::new(&[C, D]);
    let root = cluster.root_qc();
    let tc = cluster.tc(view(1), &[(B, root.clone()), (C, root.clone()), (D, root.clone())]);
    cluster.send_certificate(A, Certificate::Tc(tc.clone()));
    time_out(&mut cluster, &[A]);
    assert_eq!(cluster.timeouts_of(A)[0].timeout.view, view(2));

    for node in [B, C, D] {
        let timeout = cluster.timeout(node, view(1), &root, None);
        cluster.send_timeout(A, timeout);
    }
    time_out(&mut cluster, &[A]);
    assert!(
        cluster.timeouts_of(A).iter().all(|timeout| timeout.timeout.view == view(2)),
        "f + 1 timeouts of view 1 do not lead back there"
    );
    let block = cluster.block(D, view(2), 1, 6, &root, Vec::new());
    cluster.send_proposal(A, &block, Some(tc));
    assert_eq!(cluster.votes_of(A), [], "view 2 was left");
    let qc = cluster.qc(&[B, C, D], &block);
    cluster.send_certificate(A, Certificate::Qc(qc));
    assert_eq!(cluster.high_qc_view_of(A), view(2));
    assert_eq!(cluster.commit_votes_of(A), [], "view 2 was left");
}

/// A and C time view 1 out; only A sees D's timeout, enters view 2 by TC(1)
/// and times it out as well. Whatever A has sent so far is lost.
fn one_ahead() -> Cluster {
    let mut cluster = Cluster::new(&[D, B]);
    let root = cluster.root_qc();
    time_out(&mut cluster, &[A, C]);
    for node in [C, D] {
        let timeout = cluster.timeout(node, view(1), &root, None);
        cluster.send_timeout(A, timeout);
    }
    assert_eq!(cluster.view_of(A), view(2));
    time_out(&mut cluster, &[A]);
    assert_eq!(cluster.timeouts_of(A).last().map(|it| it.timeout.view), Some(view(2)));
    assert_eq!(cluster.view_of(C), view(1));
    cluster.nodes[A].sent.clear();
    cluster
}

/// The last timeout that A sent again brings B and C into view 2.
fn assert_timeouts_bring_others_along(cluster: &mut Cluster) {
    let again = cluster.timeouts_of(A).last().cloned().expect("the timeout is repeated");
    assert_eq!(again.timeout.view, view(2));
    for node in [B, C] {
        cluster.send_timeout(node, again.clone());
        assert_eq!(cluster.view_of(node), view(2), "the timeout carries TC(1)");
    }
    // Without D: A, B and C are a quorum, and the chain goes on to view 3.
    time_out(cluster, &[B, C]);
    for node in [B, C] {
        let timeout = cluster.timeouts_of(node).last().cloned().expect("timed out");
        assert_eq!(timeout.timeout.view, view(2));
        cluster.send_timeout(A, timeout);
    }
    assert_eq!(cluster.view_of(A), view(3));
}

/// Trace 5: If the TC were not durable, A would come back in a view that nobody else
/// can enter.
#[test]
fn a_crash_after_entry_by_tc_does_not_strand_the_others() {
    let mut cluster = one_ahead();
    cluster.restart(A);
    assert_eq!(cluster.view_of(A), view(2));
    assert_timeouts_bring_others_along(&mut cluster);
}

/// Trace 6: The same without a crash, if timeouts carried no certificate.
#[test]
fn a_lost_certificate_is_inside_every_repeated_timeout() {
    let mut cluster = one_ahead();
    cluster.pass(&[A], 500);
    assert_timeouts_bring_others_along(&mut cluster);
}

/// Trace 7: Two certificates in a row commit nothing without commit votes.
#[test]
fn certificates_alone_commit_nothing() {
    let mut cluster = Cluster::new(&[D, C]);
    let first = first_block(&mut cluster, &[A, B]);
    let first_qc = cluster.qc(&[A, B, D], &first);
    let second = cluster.block(C, view(2), 2, 6, &first_qc, Vec::new());
    let second_qc = cluster.qc(&[A, B, D], &second);
    for node in [A, B] {
        cluster.send_proposal(node, &second, None);
        cluster.send_certificate(node, Certificate::Qc(second_qc.clone()));
        assert_eq!(cluster.high_qc_view_of(node), view(2));
        assert_eq!(cluster.commit_votes_of(node).len(), 2, "it is executed, and says so");
        assert_eq!(cluster.committed_by(node), [], "a certificate orders, and no more");
    }
}

/// Each trace with its rule taken out: it must fail.
#[cfg(planted_bugs)]
#[test]
fn each_trace_fails_without_its_rule() {
    use bizra_types::planted::Bug;
    let traces: [(Bug, fn()); 8] = [
        (Bug::CommitVoteAfterTimeout, who_timed_a_view_out_never_commit_votes_in_it),
        (Bug::TcWithoutHighestQc, a_timeout_certificate_binds_to_its_highest_qc),
        (Bug::QcNotDurable, a_crash_after_the_commit_vote_does_not_hide_the_qc),
        (Bug::OlderTimeout, an_older_view_is_not_timed_out_after_a_newer_one),
        (Bug::VoteAfterTimeout, an_older_view_is_not_timed_out_after_a_newer_one),
        (Bug::TcNotDurable, a_crash_after_entry_by_tc_does_not_strand_the_others),
        (Bug::TimeoutWithoutTc, a_lost_certificate_is_inside_every_repeated_timeout),
        (Bug::TwoChainCommit, certificates_alone_commit_nothing),
    ];
    for (bug, trace) in traces {
        harness::assert_fails_with(bug, trace);
    }
}
