//! What hostile peers have tried: each message here once stopped, slowed or
//! filled an honest node.

mod harness;

use bizra_consensus::{Ask, Input};
use bizra_types::batch::{BatchHeader, BatchRecord};
use bizra_types::block::{Block, Citation};
use bizra_types::certificate::Certificate;
use bizra_types::hash::BatchDigest;
use bizra_types::message::SignedTimeout;
use bizra_types::numbers::{Height, LaneSeq, TimestampMs, ValidatorIndex, View};
use harness::*;
use std::sync::Arc;

/// any peer, no valid signature needed.
#[test]
fn timeout_with_tc_of_view_max_does_not_panic_the_verifier() {
    let mut cluster = Cluster::new(&[D]);
    let root = cluster.root_qc();
    let mut tc = cluster.tc(view(1), &[(A, root.clone()), (B, root.clone()), (D, root.clone())]);
    tc.view = View::MAX;
    let mut timeout = cluster.timeout(D, view(5), &root, Some(tc));
    timeout.signature.0[0] ^= 1;
    assert!(cluster.verifier.timeout(timeout).is_err());
}

/// a member's proposal.
#[test]
fn proposal_with_tc_of_view_max_does_not_panic_the_verifier() {
    let mut cluster = Cluster::new(&[D]);
    let root = cluster.root_qc();
    let mut tc = cluster.tc(view(1), &[(A, root.clone()), (B, root.clone()), (D, root.clone())]);
    tc.view = View::MAX;
    let block = cluster.block(D, view(1), 1, 5, &root, Vec::new());
    let proposal = cluster.proposal(&block, Some(tc));
    assert!(cluster.verifier.proposal(proposal).is_err());
}

/// a proposal whose TC holds a higher QC than its justification, shown to
/// a replica that does not know that QC.
#[test]
fn proposal_with_a_tc_of_an_unknown_qc_does_not_panic() {
    let mut cluster = Cluster::new(&[A, B, D]);
    let root = cluster.root_qc();
    let first = cluster.block(D, view(1), 1, 5, &root, Vec::new());
    let qc = cluster.qc(&[A, B, D], &first);
    let tc = cluster.tc(view(2), &[(A, qc.clone()), (B, qc.clone()), (D, qc.clone())]);
    let block = cluster.block(D, view(3), 1, 6, &root, Vec::new());
    let proposal = cluster.proposal(&block, Some(tc));
    if let Ok(proposal) = cluster.verifier.proposal(proposal) {
        cluster.step(C, Input::Proposal(proposal));
    }
}

/// a block whose time is in an epoch before its parent's.
#[test]
fn block_of_an_earlier_epoch_does_not_panic() {
    let mut cluster = Cluster::new(&[D, C]);
    cluster.micros = 60_000_000;
    let root = cluster.root_qc();
    let first = cluster.block(D, view(1), 1, 30_000, &root, Vec::new());
    cluster.send_proposal(A, &first, None);
    let qc = cluster.qc(&[B, C, D], &first);
    let bad = cluster.block(D, view(2), 2, 1, &qc, Vec::new());
    cluster.send_proposal(A, &bad, None);
}

/// a block whose time is far in the future must be held at no cost.
#[test]
fn block_of_a_far_epoch_is_cheap() {
    let mut cluster = Cluster::new(&[D]);
    let root = cluster.root_qc();
    // A million years: who counts the epochs until then does not come back.
    let far_ms = 1_000_000 * 365 * 86_400_000;
    let far = cluster.block(D, view(1), 1, far_ms, &root, Vec::new());
    cluster.send_proposal(A, &far, None);
}

/// by citing its own lane to the end, D lifts every bound of that lane.
#[test]
fn lane_bound_holds_whatever_an_uncertified_block_cites() {
    let mut cluster = Cluster::new(&[D]);
    let root = cluster.root_qc();
    let (author, digest) = (cluster.key(D), BatchDigest([9; 32]));
    let citation = Citation { author, up_to_seq: LaneSeq::new(u64::MAX - 1), digest };
    // A proposal of a member that does not lead the view would do as well.
    let block = cluster.block(D, view(1), 1, 5, &root, vec![citation]);
    cluster.send_proposal(A, &block, None);
    let mut held = 0;
    for number in 0..400_u64 {
        let record =
            BatchRecord { admitted_at_ms: TimestampMs::new(1), bytes: vec![7; 200_000].into() };
        let mut previous = [0; 32];
        previous[..8].copy_from_slice(&number.to_le_bytes());
        let records: Arc<[BatchRecord]> = Arc::from([record]);
        let header = BatchHeader::new(
            ERA,
            author,
            LaneSeq::new(1 + number),
            BatchDigest(previous),
            &records,
        );
        let batch = cluster.batch(header, records);
        let input = Input::Batch(cluster.verifier.batch(batch).expect("signed"));
        cluster.step(A, input);
        held = cluster.nodes[A].disk.batches.len();
    }
    assert!(held * 200_000 <= 65 * 1024 * 1024, "{held} batches of 200 kB are held");
}

/// the last batch of a lane that is filled to the brim is lost to everyone.
#[test]
fn an_own_batch_is_never_refused() {
    let mut cluster = Cluster::new(&[D]);
    let bytes = 60_000;
    for _ in 0..1_500 {
        if cluster.nodes[A].replica.can_admit(bytes) {
            admit(&mut cluster, bytes);
        }
    }
    // Whatever still fits: as long as the own node refuses its own batch, this
    // never ends, and each record gets a ticket and no block.
    let mut small = 60_000;
    for _ in 0..200 {
        if cluster.nodes[A].replica.can_admit(small) {
            admit(&mut cluster, small);
        } else {
            small = (small / 2).max(1);
        }
    }
    let made = cluster.nodes[A].disk.batches.len();
    let disk: usize = cluster.nodes[A]
        .disk
        .batches
        .iter()
        .map(|batch| batch.header().records_bytes as usize + 512)
        .sum();
    let held = cluster.nodes[A].replica.status().lane_bytes;
    assert_eq!(held, disk, "{made} batches were made, not all are held");
}

fn admit(cluster: &mut Cluster, bytes: usize) {
    let record = BatchRecord { admitted_at_ms: TimestampMs::new(1), bytes: vec![7; bytes].into() };
    cluster.step(A, Input::Record(record));
    cluster.nodes[A].sent.clear();
}

/// a relayed copy without its TC (which no signature covers) does not keep
/// the leader's own from getting a vote.
#[test]
fn a_stripped_copy_of_a_proposal_does_no_harm() {
    let mut cluster = Cluster::new(&[D, B]);
    let root = cluster.root_qc();
    let tc = cluster.tc(view(1), &[(B, root.clone()), (C, root.clone()), (D, root.clone())]);
    cluster.send_certificate(A, Certificate::Tc(tc.clone()));
    let block = cluster.block(B, view(2), 1, 5, &root, Vec::new());
    let stripped = cluster.proposal(&block, None);
    if let Ok(stripped) = cluster.verifier.proposal(stripped) {
        cluster.step(A, Input::Proposal(stripped));
    }
    cluster.send_proposal(A, &block, Some(tc));
    assert_eq!(cluster.votes_of(A).len(), 1, "B's proposal is good");
}

/// one culprit in one view is one alarm.
#[test]
fn repeated_equivocation_is_one_alarm() {
    let mut cluster = Cluster::new(&[D]);
    let root = cluster.root_qc();
    for time in 1..100 {
        let block = cluster.block(D, view(1), 1, time, &root, Vec::new());
        let vote = cluster.vote(D, &block);
        cluster.send_vote(A, vote);
        cluster.send_vote(A, vote);
    }
    assert_eq!(cluster.nodes[A].alarms.len(), 1);
}

/// after a halt of many epochs the reveals of the next epoch are taken.
#[test]
fn follower_sends_nothing() {
    use bizra_consensus::*;
    let mut cluster = Cluster::new(&[D]);
    let config = ReplicaConfig {
        genesis: Arc::clone(&cluster.genesis),
        keys: Vec::new(),
        version_max: cluster.genesis.protocol_version,
    };
    let restored = Restored {
        safety: Vec::new(),
        closed: Vec::new(),
        root: Root::genesis(&cluster.genesis, exec_of(cluster.genesis.header().id())),
        blocks: Vec::new(),
        batches: Vec::new(),
    };
    let (mut follower, _) =
        Replica::new(&config, restored, cluster.now()).expect("there is but one era");
    let batch = cluster.first_batch(D);
    let input = Input::Batch(cluster.verifier.batch(batch).expect("signed"));
    let effects = follower.step(cluster.now(), input);
    assert!(effects.send.is_empty(), "{:?}", effects.send);
}

/// a second process with A's key, or an old record that was put back: A learns
/// it from the first certificate and signs nothing more.
#[test]
fn a_signature_of_ours_that_we_never_gave_stops_us() {
    use bizra_consensus::Alarm;
    let mut cluster = Cluster::new(&[D, B]);
    let root = cluster.root_qc();
    let first = cluster.block(D, view(1), 1, 5, &root, Vec::new());
    let qc = cluster.qc(&[A, B, D], &first);
    cluster.send_certificate(A, Certificate::Qc(qc.clone()));
    assert_eq!(cluster.nodes[A].alarms, [Alarm::KeyUsedElsewhere { view: view(1) }]);
    let second = cluster.block(B, view(2), 2, 6, &qc, Vec::new());
    cluster.send_proposal(A, &first, None);
    cluster.send_proposal(A, &second, None);
    cluster.pass(&[A], 5_000);
    assert!(cluster.votes_of(A).is_empty() && cluster.timeouts_of(A).is_empty());

    cluster.send_proposal(C, &first, None);
    cluster.send_certificate(C, Certificate::Qc(qc));
    cluster.send_proposal(C, &second, None);
    assert_eq!(cluster.votes_of(C).len(), 2, "C's key is in none of them");
    assert!(cluster.nodes[C].alarms.is_empty());
}

/// a commit vote with a result that the certificate refutes, before it or after.
#[test]
fn another_result_for_a_final_block_is_evidence() {
    use bizra_consensus::{Alarm, Evidence};
    use bizra_types::hash::ExecHash;
    for is_late in [false, true] {
        let mut cluster = Cluster::new(&[D]);
        let root = cluster.root_qc();
        let block = cluster.block(D, view(1), 1, 5, &root, Vec::new());
        let cert = cluster.commit_cert(&[A, B, C], &block);
        let lie = cluster.commit_vote_for(D, &block, ExecHash([9; 32]));
        cluster.send_proposal(C, &block, None);
        let qc = cluster.qc(&[A, B, C], &block);
        cluster.send_certificate(C, Certificate::Qc(qc));
        if is_late {
            cluster.send_certificate(C, Certificate::Commit(cert.clone()));
        }
        cluster.send_commit_vote(C, lie);
        cluster.send_certificate(C, Certificate::Commit(cert.clone()));
        let evidence = Box::new(Evidence::OtherExec(lie, cert));
        assert_eq!(cluster.nodes[C].alarms, [Alarm::Equivocation(evidence)], "late: {is_late}");
    }
}

/// D keeps its batch from B and C. A told D alone that it has it: the other leaders
/// must know as soon as they may cite D with acknowledgements only.
#[test]
fn what_is_here_of_a_withheld_lane_is_acknowledged_to_all() {
    use bizra_consensus::Recipients;
    use bizra_types::message::BatchAck;
    let mut cluster = Cluster::new(&[D]);
    let (root, author) = (cluster.root_qc(), cluster.key(D));
    let batch = cluster.first_batch(D);
    let digest = batch.header().digest(&cluster.genesis.chain_id());
    let ack = BatchAck { author, lane_seq: batch.header().lane_seq, digest };
    cluster.send_batch(A, batch);
    let to_author = (Recipients::One(index(D)), ack);
    for (node, acks) in [(B, vec![to_author]), (C, vec![to_author, (Recipients::All, ack)])] {
        let timeout = cluster.timeout(node, view(1), &root, None);
        cluster.send_timeout(A, SignedTimeout { missing: vec![author], ..timeout });
        assert_eq!(cluster.acks_of(A), acks, "after the report of node {node}");
    }
}

/// hints of one sender take one place, whatever they name.
#[test]
fn hints_of_one_peer_do_not_crowd_out_the_others() {
    use bizra_consensus::Ask;
    use bizra_types::message::BatchHint;
    let mut cluster = Cluster::new(&[A]);
    let author = cluster.key(D);
    let mut hint = |from: usize, number: u8| {
        let hint = BatchHint {
            view: view(1),
            author,
            lane_seq: LaneSeq::new(1),
            digest: BatchDigest([number; 32]),
        };
        let hint = cluster.verifier.batch_hint(ERA, index(from), hint).expect("a member");
        cluster.step(A, Input::BatchHint(hint));
    };
    for number in 0..20 {
        hint(D, number);
    }
    hint(B, 100);
    cluster.pass(&[A], 100);
    let asked: Vec<_> = cluster.nodes[A]
        .asked
        .iter()
        .filter_map(|ask| match ask {
            Ask::Batches { digest, peer, .. } => Some((digest.0[0], *peer)),
            Ask::Block { .. } | Ask::Chain { .. } | Ask::End { .. } => None,
        })
        .collect();
    assert_eq!(asked, [(0, index(D)), (100, index(B))]);
}

/// Whom A asked for a block, in this order.
fn asked_for(cluster: &Cluster, wanted: &Block) -> Vec<ValidatorIndex> {
    let asked = cluster.nodes[A].asked.iter();
    let peers = asked.filter_map(|ask| match ask {
        Ask::Block { block, peer } if *block == wanted.id() => Some(*peer),
        _ => None,
    });
    peers.collect()
}

/// C was slow when A asked. Everybody is asked once, soon; and again only after
/// two of the quorum's round trips, which are short once D is near.
#[test]
fn who_is_slow_does_not_keep_us_from_asking_the_others() {
    let mut cluster = Cluster::new(&[D, C]);
    let hears = |cluster: &mut Cluster, peer, micros| {
        cluster.step(A, Input::Heard { peer: index(peer), round_trip_micros: Some(micros) });
    };
    hears(&mut cluster, B, 1_000);
    hears(&mut cluster, C, 2_000_000);
    let root = cluster.root_qc();
    let first = cluster.block(D, view(1), 1, 5, &root, Vec::new());
    let qc = cluster.qc(&[B, C, D], &first);
    let second = cluster.block(C, view(2), 2, 6, &qc, Vec::new());
    cluster.send_proposal(A, &second, None);
    assert_eq!(asked_for(&cluster, &first).len(), 1);
    cluster.pass(&[A], 2_000);
    let mut once = asked_for(&cluster, &first);
    once.sort_unstable();
    assert_eq!(once, [B, C, D].map(index));
    hears(&mut cluster, D, 1_000);
    cluster.pass(&[A], 300);
    assert_eq!(asked_for(&cluster, &first).len(), 4);
}

/// B was heard a moment ago, but has just died: it is asked first once, and not
/// for everything that A lacks.
#[test]
fn who_owes_an_answer_and_is_silent_is_asked_last() {
    let mut cluster = Cluster::new(&[D]);
    for peer in [B, C, D] {
        let heard = Input::Heard { peer: index(peer), round_trip_micros: Some(1_000) };
        cluster.step(A, heard);
    }
    let root = cluster.root_qc();
    let first = cluster.block(D, view(1), 1, 5, &root, Vec::new());
    let qc = cluster.qc(&[B, C, D], &first);
    let leader = cluster.leader(view(2));
    let second = cluster.block(leader, view(2), 2, 6, &qc, Vec::new());
    let qc = cluster.qc(&[B, C, D], &second);
    cluster.send_certificate(A, Certificate::Qc(qc));
    cluster.pass(&[A], 30);
    assert_eq!(asked_for(&cluster, &second), [B, C].map(index));
    let heard = Input::Heard { peer: index(C), round_trip_micros: Some(1_000) };
    cluster.step(A, heard);
    cluster.send_block(A, &second);
    assert_eq!(asked_for(&cluster, &first), [index(C)]);
}

/// D orders records where A, which was told of no commit, may vote for none:
/// A asks for what made the blocks before final.
#[test]
fn a_leader_that_knows_more_final_blocks_is_asked_for_them() {
    let mut cluster = Cluster::new(&[D]);
    let mut justify = cluster.root_qc();
    let mut height = 0;
    // What A led, A knows.
    while height < cluster.genesis.parameters.uncommitted_blocks_max
        || cluster.leader(view(height + 1)) == A
    {
        height += 1;
        cluster.micros = 1_000 * height;
        let leader = cluster.leader(view(height));
        let block = cluster.block(leader, view(height), height, height, &justify, Vec::new());
        justify = cluster.qc(&[B, C, D], &block);
        cluster.send_certificate(A, Certificate::Qc(justify.clone()));
        cluster.send_block(A, &block);
    }
    assert_eq!(cluster.high_qc_view_of(A), view(height));
    let (author, next) = (cluster.key(D), height + 1);
    let leader = cluster.leader(view(next));
    let chains = |cluster: &Cluster| {
        let is_chain = |ask: &&Ask| matches!(ask, Ask::Chain { .. });
        cluster.nodes[A].asked.iter().filter(is_chain).copied().collect::<Vec<_>>()
    };
    assert_eq!(chains(&cluster), []);
    let citation = Citation { author, up_to_seq: LaneSeq::new(1), digest: BatchDigest([9; 32]) };
    let block = cluster.block(leader, view(next), next, next, &justify, vec![citation]);
    cluster.send_proposal(A, &block, None);
    let (target, above, peer) = (justify.vote.block, Height::ZERO, index(leader));
    assert_eq!(chains(&cluster), [Ask::Chain { target, above, peer }]);
}
