//! Handing over to another committee: each test takes one way in which an era
//! could end wrongly, or strand somebody.

mod harness;

use bizra_consensus::{
    Activation, Alarm, Ask, Decisions, Input, Recipients, Replica, ReplicaConfig, Restored,
    StartError,
};
use bizra_types::batch::{BatchHeader, BatchRecord};
use bizra_types::block::Block;
use bizra_types::certificate::{Certificate, Qc};
use bizra_types::crypto::PublicKey;
use bizra_types::execution::ParameterChange;
use bizra_types::genesis::Parameters;
use bizra_types::message::BatchAck;
use bizra_types::numbers::{Era, Height, ProtocolVersion, TimestampMs};
use harness::*;

const NEXT: Era = Era::new(2);

/// A cluster whose first block, by D, ends the era in favour of `next`; A has it.
fn closing(leaders: &[usize], next: &[usize]) -> (Cluster, Block, Qc) {
    let mut cluster = Cluster::new(leaders);
    let root = cluster.root_qc();
    let block = cluster.block(D, view(1), 1, 5, &root, Vec::new());
    cluster.decisions.insert(block.id(), takes_over(next));
    cluster.send_proposal(A, &block, None);
    let qc = cluster.qc(&[B, C, D], &block);
    (cluster, block, qc)
}

fn takes_over(next: &[usize]) -> Decisions {
    Decisions { next_committee: Some(Cluster::committee(next)), ..Decisions::default() }
}

/// The alarm of A without its record of an era.
fn no_record(cluster: &Cluster, era: Era) -> Alarm {
    Alarm::NoSafetyRecord { era, key: cluster.key(A) }
}

/// Whether A signs anything within a view timer.
fn signs(cluster: &mut Cluster) -> bool {
    cluster.pass(&[A], 5_000);
    !cluster.timeouts_of(A).is_empty()
}

fn era_of(cluster: &Cluster, node: usize) -> Era {
    cluster.nodes[node].replica.status().era
}

#[test]
fn a_qc_does_not_end_an_era_and_a_commit_certificate_does() {
    let (mut cluster, block, qc) = closing(&[D], &[A, B, C, E]);
    cluster.send_certificate(A, Certificate::Qc(qc));
    assert_eq!(era_of(&cluster, A), ERA);
    assert_eq!(cluster.commit_votes_of(A).len(), 1);

    let cert = cluster.commit_cert(&[B, C, D], &block);
    let before = cluster.record(A, ERA).clone();
    cluster.send_certificate(A, Certificate::Commit(cert.clone()));
    let status = cluster.nodes[A].replica.status();
    assert_eq!((status.era, status.view, status.block), (NEXT, view(1), block.id()));
    assert_eq!(cluster.committed_by(A), [block.id()]);
    assert_eq!(*cluster.record(A, ERA), before, "the old record is frozen, not gone");
    assert_eq!(cluster.record(A, NEXT).high_qc, Qc::root(NEXT, block.id(), 4));
    let disk = &cluster.nodes[A].disk;
    assert_eq!(disk.closed[0].certificate, Certificate::Commit(cert));
}

#[test]
fn a_filler_ends_the_era_and_is_never_final() {
    let (mut cluster, block, qc) = closing(&[D, B], &[A, B, C, E]);
    cluster.send_certificate(A, Certificate::Qc(qc.clone()));
    let filler = cluster.filler(B, view(2), &block, 6, &qc);
    cluster.send_proposal(A, &filler, None);
    let filler_qc = cluster.qc(&[B, C, D], &filler);
    cluster.send_certificate(A, Certificate::Qc(filler_qc));
    assert_eq!(cluster.votes_of(A).len(), 2, "for the block and for its filler");
    let vote = cluster.commit_votes_of(A)[1].vote;
    assert_eq!((vote.block, vote.exec), (filler.id(), exec_of(block.id())));

    let cert = cluster.commit_cert(&[B, C, D], &filler);
    cluster.send_certificate(A, Certificate::Commit(cert.clone()));
    let status = cluster.nodes[A].replica.status();
    assert_eq!((status.era, status.block), (NEXT, block.id()), "the era starts on what was closed");
    assert_eq!(cluster.committed_by(A), [block.id()]);
    let certificate = Certificate::Filler(cert, *filler.header());
    let disk = &cluster.nodes[A].disk;
    assert_eq!(disk.closed[0].certificate, certificate);
    assert_eq!(cluster.record(A, NEXT).high_qc, Qc::root(NEXT, block.id(), 4));
    // What is kept proves the block final, and nothing is served as its head.
    let root = &cluster.nodes[A].commits[0].root;
    assert_eq!(root.certificate().as_ref(), Some(&certificate));
    assert_eq!(root.final_header(), None);

    // That certificate is enough for C, which never saw the filler.
    cluster.send_proposal(C, &block, None);
    cluster.send_certificate(C, certificate);
    assert_eq!(era_of(&cluster, C), NEXT);
    assert_eq!(cluster.committed_by(C), [block.id()]);
}

#[test]
fn a_certificate_beside_the_header_of_another_filler_is_refused() {
    let (mut cluster, block, qc) = closing(&[D, B], &[A, B, C, E]);
    let filler = cluster.filler(B, view(2), &block, 6, &qc);
    let another = cluster.filler(B, view(2), &block, 7, &qc);
    let cert = cluster.commit_cert(&[B, C, D], &filler);
    let plain = cluster.commit_cert(&[B, C, D], &block);
    for (cert, header) in [(&cert, another.header()), (&plain, block.header())] {
        let certificate = Certificate::Filler(cert.clone(), *header);
        assert!(cluster.verifier.certificate(certificate).is_err());
    }
    let certificate = Certificate::Filler(cert, *filler.header());
    assert!(cluster.verifier.certificate(certificate).is_ok());
}

#[test]
fn only_its_fillers_get_votes_on_a_closing_block() {
    let (mut cluster, block, qc) = closing(&[D, B], &[A, B, C, E]);
    cluster.send_certificate(A, Certificate::Qc(qc.clone()));
    let ordinary = cluster.block(B, view(2), 2, 6, &qc, Vec::new());
    cluster.send_proposal(A, &ordinary, None);
    assert_eq!(cluster.votes_of(A).len(), 1, "only for the closing block");

    let (mut cluster, _, qc) = closing(&[D, B], &[A, B, C, E]);
    cluster.send_certificate(A, Certificate::Qc(qc.clone()));
    let other = cluster.block(D, view(1), 1, 7, &cluster.root_qc(), Vec::new());
    let of_another = cluster.filler(B, view(2), &other, 6, &qc);
    cluster.send_proposal(A, &of_another, None);
    assert_eq!(cluster.votes_of(A).len(), 1);

    // And no filler on a block that closes nothing.
    let mut cluster = Cluster::new(&[D, B]);
    let root = cluster.root_qc();
    let plain = cluster.block(D, view(1), 1, 5, &root, Vec::new());
    cluster.send_proposal(A, &plain, None);
    let qc = cluster.qc(&[B, C, D], &plain);
    let filler = cluster.filler(B, view(2), &plain, 6, &qc);
    cluster.send_proposal(A, &filler, None);
    assert_eq!(cluster.votes_of(A).len(), 1);
    assert_eq!(block.header().height, filler.header().height);
}

#[test]
fn nothing_is_voted_on_a_block_before_its_execution_tells_whether_it_closes() {
    let mut cluster = Cluster::new(&[D, B]);
    let root = cluster.root_qc();
    let block = cluster.block(D, view(1), 1, 5, &root, Vec::new());
    cluster.decisions.insert(block.id(), takes_over(&[A, B, C, E]));
    cluster.slow.insert(block.id());
    cluster.send_proposal(A, &block, None);
    let qc = cluster.qc(&[B, C, D], &block);
    let ordinary = cluster.block(B, view(2), 2, 6, &qc, Vec::new());
    cluster.send_proposal(A, &ordinary, None);
    assert_eq!(cluster.votes_of(A).len(), 1);
    cluster.finish(A, &block);
    assert_eq!(cluster.votes_of(A).len(), 1, "now it is known to be no filler");
}

/// Whether A votes for a filler on a filler, both of which came before the
/// closing block was executed. Its leader chooses the time so that its id comes
/// before its parent's.
fn votes_for_early_filler(closes_what_was_certified: bool) -> bool {
    let mut cluster = Cluster::new(&[D, B, C]);
    let root = cluster.root_qc();
    let block = cluster.block(D, view(1), 1, 5, &root, Vec::new());
    let other = cluster.block(D, view(1), 1, 6, &root, Vec::new());
    cluster.decisions.insert(block.id(), takes_over(&[A, B, C, E]));
    cluster.slow.insert(block.id());
    cluster.send_proposal(A, &block, None);
    let qc = cluster.qc(&[B, C, D], &block);
    let filler = cluster.filler(B, view(2), &block, 7, &qc);
    cluster.send_proposal(A, &filler, None);
    let qc = cluster.qc(&[B, C, D], &filler);
    let closed = if closes_what_was_certified { &block } else { &other };
    let second = (8..)
        .map(|time| cluster.filler(C, view(3), closed, time, &qc))
        .find(|second| second.id() < filler.id())
        .expect("half of the ids are smaller");
    cluster.send_proposal(A, &second, None);
    assert_eq!(cluster.view_of(A), view(3));
    cluster.finish(A, &block);
    cluster.votes_of(A).iter().any(|vote| vote.vote.block == second.id())
}

#[test]
fn a_filler_gets_no_vote_before_what_it_closes_was_compared() {
    assert!(votes_for_early_filler(true));
    assert!(!votes_for_early_filler(false));
}

/// The write that begins an era is durable, the commit that ended the one
/// before is lost in the crash.
#[test]
fn nothing_of_an_ended_era_is_signed_after_a_restart() {
    let (mut cluster, block, _) = closing(&[D], &[A, B, C, E]);
    let cert = cluster.commit_cert(&[B, C, D], &block);
    cluster.send_certificate(A, Certificate::Commit(cert));
    let root = Qc::root(NEXT, block.id(), 4);
    cluster.pass(&[A], 5_000);
    let timeouts = cluster.timeouts_of(A);
    assert!(timeouts.iter().any(|timeout| timeout.high_qc == root), "A signs in the new era");

    cluster.nodes[A].disk.root = None;
    let record = cluster.record(A, NEXT).clone();
    cluster.slow.insert(block.id());
    cluster.restart(A);
    cluster.pass(&[A], 5_000);
    assert_eq!(era_of(&cluster, A), ERA);
    let signed = cluster.votes_of(A).len() + cluster.timeouts_of(A).len();
    assert_eq!(signed + cluster.commit_votes_of(A).len(), 0);

    cluster.finish(A, &block);
    assert_eq!(era_of(&cluster, A), NEXT, "what ended the era is on disk too");
    assert_eq!(cluster.nodes[A].replica.status().view, record.current_view);
    assert_eq!(cluster.record(A, NEXT).last_timeout, record.last_timeout);
}

/// The commit that ended the era is durable, the write that was to begin the
/// next is lost in the crash.
#[test]
fn the_last_commit_of_an_era_is_enough_to_begin_the_next() {
    let mut cluster = Cluster::new(&[D]);
    cluster.end_era(A, &[B, C, D], &[A, B, E, D]);
    let key = cluster.key(A);
    let disk = &mut cluster.nodes[A].disk;
    disk.safety.remove(&(NEXT, key));
    let closed = core::mem::take(&mut disk.closed);
    cluster.restart(A);
    assert_eq!(cluster.nodes[A].alarms, [], "nothing was signed in that era");
    assert_eq!(cluster.nodes[A].disk.closed, closed, "it is written again");
    assert!(signs(&mut cluster));
    cluster.restart(A);
    cluster.end_era(A, &[B, E, D], &[A, B, C, D]);
    assert_eq!(cluster.nodes[A].replica.committee(), &Cluster::committee(&[A, B, C, D]));
}

/// The head tells who orders the next block only where it ended its era itself.
#[test]
fn nobody_starts_without_the_end_of_every_era_before() {
    let mut cluster = Cluster::new(&[D]);
    let first = cluster.end_era(A, &[B, C, D], &[A, B, E, D]);
    let root = Qc::root(NEXT, first.id(), 4);
    let block = cluster.block(B, view(1), 2, 50, &root, Vec::new());
    cluster.send_block(A, &block);
    let cert = cluster.commit_cert(&[B, E, D], &block);
    cluster.send_certificate(A, Certificate::Commit(cert));
    assert_eq!(cluster.nodes[A].replica.status().height, Height::new(2));
    let disk = &mut cluster.nodes[A].disk;
    let closed = core::mem::take(&mut disk.closed);
    let config = ReplicaConfig {
        genesis: cluster.genesis.clone(),
        keys: vec![cluster.key(A)],
        version_max: ProtocolVersion::new(1),
    };
    let restored = cluster.restored(&cluster.nodes[A].disk);
    let refused = Replica::new(&config, restored.clone(), cluster.now()).map(|_| ());
    assert_eq!(refused, Err(StartError::EndUnknown { head: NEXT, ended: ERA }));
    let restored = Restored { closed, ..restored };
    assert!(Replica::new(&config, restored, cluster.now()).is_ok());
}

/// Of a later era, of an earlier one, of another key: what A must have is that
/// of the last era in which its key had a seat.
#[test]
fn only_the_last_record_of_the_very_key_lets_it_sign() {
    let started = |change: fn(&mut Disk, PublicKey)| {
        let mut cluster = Cluster::new(&[D]);
        cluster.end_era(A, &[B, C, D], &[A, B, E, D]);
        let key = cluster.key(A);
        change(&mut cluster.nodes[A].disk, key);
        cluster.restart(A);
        let alarms = cluster.nodes[A].alarms.clone();
        let is_refused = alarms == [no_record(&cluster, NEXT)];
        assert!(is_refused || alarms.is_empty(), "{alarms:?}");
        assert_eq!(signs(&mut cluster), !is_refused);
        // In the era after, the key is as unknown as before.
        cluster.nodes[A].sent.clear();
        cluster.end_era(A, &[B, E, D], &[A, B, C, D]);
        assert_eq!(signs(&mut cluster), !is_refused);
        !is_refused
    };
    assert!(started(|_, _| {}));
    assert!(started(|disk, key| disk.safety.retain(|(era, of), _| (*era, *of) == (NEXT, key))));
    assert!(!started(|disk, key| disk.safety.retain(|(era, of), _| (*era, *of) == (ERA, key))));
    assert!(!started(|disk, key| disk.safety.retain(|(_, of), _| *of != key)));
}

/// Both the commit and the records of the era after are gone: the certificate on
/// disk tells that it began.
#[test]
fn a_record_of_an_era_that_ended_does_not_count_before_its_commit_is_back_either() {
    let (mut cluster, block, _) = closing(&[D], &[A, B, C, E]);
    let cert = cluster.commit_cert(&[B, C, D], &block);
    cluster.send_certificate(A, Certificate::Commit(cert));
    let key = cluster.key(A);
    let disk = &mut cluster.nodes[A].disk;
    disk.root = None;
    disk.safety.remove(&(NEXT, key));
    cluster.restart(A);
    assert_eq!(era_of(&cluster, A), NEXT);
    assert!(!signs(&mut cluster));
    assert!(cluster.nodes[A].alarms.contains(&no_record(&cluster, NEXT)));
}

/// The only holder of the certificate leaves the committee with it.
#[test]
fn who_has_left_still_tells_the_others_how_the_era_ended() {
    let (mut cluster, block, _) = closing(&[D], &[B, C, D, E]);
    let cert = cluster.commit_cert(&[B, C, D], &block);
    cluster.send_certificate(A, Certificate::Commit(cert.clone()));
    assert_eq!(era_of(&cluster, A), NEXT);
    cluster.nodes[A].sent.clear();
    cluster.pass(&[A], 5_000);
    assert!(cluster.timeouts_of(A).is_empty(), "A has no place in the new committee");

    let timeout = cluster.timeout(D, view(1), &cluster.root_qc(), None);
    cluster.send_timeout(A, timeout);
    let answers: Vec<_> = cluster.nodes[A]
        .sent
        .iter()
        .filter_map(|(to, input)| match input {
            Input::Certificate(certificate) => Some((*to, certificate.get().clone())),
            _ => None,
        })
        .collect();
    let to = Recipients::Former(cluster.key(D));
    assert_eq!(answers, [(to, Certificate::Commit(cert))]);
}

/// A hears of an era of which it can verify nothing, and nothing else.
#[test]
fn who_hears_of_a_later_era_asks_everybody_once_how_its_own_ended() {
    let (mut cluster, block, _) = closing(&[D], &[A, B, C, E]);
    let speaks = Input::LaterEra { era: NEXT, peer: Some(index(C)) };
    cluster.step(A, Input::LaterEra { era: ERA, peer: Some(index(C)) });
    assert_eq!(cluster.nodes[A].asked, [], "that is its own");
    cluster.step(A, speaks.clone());
    cluster.step(A, speaks.clone());
    let end_of = |peer| Ask::End { era: ERA, peer: index(peer) };
    assert_eq!(cluster.nodes[A].asked, [end_of(C)], "the speaker first, and with a pace");
    cluster.pass(&[A], 20_000);
    let mut asked = cluster.nodes[A].asked.clone();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked, [end_of(B), end_of(C), end_of(D)]);
    assert!(cluster.nodes[A].asked.len() <= 4, "then it waits to hear of it again");

    cluster.step(A, speaks);
    let cert = cluster.commit_cert(&[B, C, D], &block);
    cluster.send_certificate(A, Certificate::Commit(cert));
    assert_eq!(era_of(&cluster, A), NEXT);
    cluster.nodes[A].asked.clear();
    cluster.pass(&[A], 5_000);
    assert_eq!(cluster.nodes[A].asked, []);
}

/// The same place is C's in era 1 and E's in era 2.
#[test]
fn stragglers_of_two_eras_at_one_place_are_both_answered() {
    let mut cluster = Cluster::new(&[D]);
    let first = cluster.end_era(A, &[B, C, D], &[A, B, E, D]);
    cluster.end_era(A, &[B, E, D], &[A, B, C, D]);
    cluster.nodes[A].sent.clear();
    let late = cluster.timeout(C, view(1), &cluster.root_qc(), None);
    let later = cluster.timeout(E, view(1), &Qc::root(NEXT, first.id(), 4), None);
    assert_eq!(late.signer, later.signer);
    cluster.send_timeout(A, late);
    cluster.send_timeout(A, later);
    let answered: Vec<_> = cluster.nodes[A].sent.iter().map(|(to, _)| *to).collect();
    assert_eq!(answered, [C, E].map(|node| Recipients::Former(cluster.key(node))));
}

/// The batches on the disk of A.
fn on_disk(cluster: &Cluster) -> Vec<BatchHeader> {
    cluster.nodes[A].disk.batches.iter().map(|batch| *batch.header()).collect()
}

/// D's batch can be cited for one era after D left, and then no more.
#[test]
fn what_has_lapsed_is_deleted_at_the_next_start() {
    let mut cluster = Cluster::new(&[D]);
    let batch = cluster.first_batch(D);
    let header = *batch.header();
    cluster.send_batch(A, batch);
    cluster.end_era(A, &[B, C, D], &[A, B, C, E]);
    assert_eq!(on_disk(&cluster), [header]);
    cluster.end_era(A, &[B, C, E], &[A, B, C, D]);
    assert_eq!(on_disk(&cluster), [header], "D is back, and its lane goes on");
    cluster.end_era(A, &[B, C, D], &[A, B, C, E]);
    assert_eq!(on_disk(&cluster), [header], "an acknowledgement of it may be under way");
    cluster.restart(A);
    assert_eq!(on_disk(&cluster), []);
}

/// What A says of a batch may leave when the era in which A said it has ended.
#[test]
fn what_is_acknowledged_is_on_disk_also_where_an_era_ends() {
    let mut cluster = Cluster::new(&[D]);
    let batch = cluster.first_batch(D);
    let (header, author) = (*batch.header(), cluster.key(D));
    cluster.end_era(A, &[B, C, D], &[A, B, C, E]);
    cluster.send_batch(A, batch);
    cluster.end_era(A, &[B, C, E], &[A, B, E, C]);
    let digest = header.digest(&cluster.genesis.chain_id());
    let ack = BatchAck { author, lane_seq: header.lane_seq, digest };
    assert_eq!(cluster.acks_of(A), [(Recipients::Former(author), ack)]);
    assert_eq!(on_disk(&cluster), [header], "it has lapsed, and was promised to be there");
}

/// A's disk is slow: its batch is durable only in the second era without A. When A
/// is back, that batch is sent, and the lane goes on after it.
#[test]
fn an_own_batch_that_was_durable_late_is_sent_when_its_author_is_back() {
    let mut cluster = Cluster::new(&[D]);
    let record = BatchRecord { admitted_at_ms: TimestampMs::new(1), bytes: [7; 40].into() };
    let now = cluster.now();
    let effects = cluster.nodes[A].replica.step(now, Input::Record(record.clone()));
    let (header, records) = effects.persist.own_batches[0].clone();
    let batch = cluster.batch(header, records);
    cluster.end_era(A, &[B, C, D], &[B, C, D, E]);
    cluster.end_era(A, &[B, C, D], &[C, D, E, B]);
    cluster.nodes[A].disk.batches.push(batch.clone().into());
    cluster.send_batch(A, batch);
    cluster.end_era(A, &[B, C, D], &[A, B, C, D]);
    cluster.nodes[A].sent.clear();
    cluster.pass(&[A], 5_000);
    let is_sent = cluster.nodes[A].sent.iter().any(|(to, input)| {
        *to == Recipients::One(index(B))
            && matches!(input, Input::Batch(batch) if *batch.get().header() == header)
    });
    assert!(is_sent, "{:?}", cluster.nodes[A].sent);
    cluster.step(A, Input::Record(record));
    let next = on_disk(&cluster).pop().expect("the first is there");
    let digest = header.digest(&cluster.genesis.chain_id());
    assert_eq!((next.lane_seq, next.previous), (header.lane_seq.next(), digest));
}

#[test]
fn who_leaves_accepts_no_record_once_that_is_certified() {
    let (mut cluster, _, qc) = closing(&[D], &[B, C, D, E]);
    assert!(cluster.nodes[A].replica.can_admit(100));
    cluster.send_certificate(A, Certificate::Qc(qc.clone()));
    assert!(!cluster.nodes[A].replica.can_admit(100));
    let (mut cluster, ..) = closing(&[D], &[A, B, C, E]);
    cluster.send_certificate(A, Certificate::Qc(qc));
    assert!(cluster.nodes[A].replica.can_admit(100), "A stays");
}

#[test]
fn a_validator_whose_record_is_gone_signs_nothing() {
    let mut cluster = Cluster::new(&[D]);
    cluster.add(A, Disk::default());
    assert_eq!(cluster.nodes[A].alarms, [no_record(&cluster, ERA)]);
    let root = cluster.root_qc();
    let block = cluster.block(D, view(1), 1, 5, &root, Vec::new());
    cluster.send_proposal(A, &block, None);
    cluster.pass(&[A], 5_000);
    assert!(cluster.nodes[A].sent.is_empty(), "{:?}", cluster.nodes[A].sent);
}

/// What is written without one would pass for a fresh record after the next start.
#[test]
fn a_validator_whose_record_is_gone_signs_nothing_after_another_restart_either() {
    let mut cluster = Cluster::new(&[D]);
    cluster.add(A, Disk::default());
    assert!(cluster.nodes[A].disk.safety.is_empty());
    cluster.restart(A);
    assert_eq!(cluster.nodes[A].alarms, [no_record(&cluster, ERA)]);
    cluster.pass(&[A], 5_000);
    assert!(cluster.nodes[A].sent.is_empty(), "{:?}", cluster.nodes[A].sent);
}

/// As above, of a validator that left: it has no record of a later era.
#[test]
fn who_has_left_signs_nothing_of_the_ended_era_after_a_restart() {
    let (mut cluster, block, _) = closing(&[D], &[B, C, D, E]);
    let cert = cluster.commit_cert(&[B, C, D], &block);
    cluster.send_certificate(A, Certificate::Commit(cert));
    cluster.nodes[A].disk.root = None;
    cluster.slow.insert(block.id());
    cluster.nodes[A].sent.clear();
    cluster.restart(A);
    cluster.pass(&[A], 5_000);
    assert_eq!(era_of(&cluster, A), ERA);
    let signed = cluster.votes_of(A).len() + cluster.timeouts_of(A).len();
    assert_eq!(signed + cluster.commit_votes_of(A).len(), 0);
    cluster.finish(A, &block);
    assert_eq!(era_of(&cluster, A), NEXT);
}

/// A lane belongs to a key: under another one it begins at its start, and goes
/// on where it was when the old one comes back.
#[test]
fn a_rotated_key_begins_a_lane_of_its_own() {
    let (mut cluster, block, _) = closing(&[D], &[rotated(A), B, C, D]);
    let record = || {
        let admitted_at_ms = bizra_types::numbers::TimestampMs::new(1);
        Input::Record(bizra_types::batch::BatchRecord { admitted_at_ms, bytes: [7; 40].into() })
    };
    let batches = |cluster: &Cluster| -> Vec<_> {
        let batches = cluster.nodes[A].disk.batches.iter().map(|batch| *batch.header());
        batches.map(|header| (header.author, header.lane_seq.get(), header.previous)).collect()
    };
    cluster.step(A, record());
    let cert = cluster.commit_cert(&[B, C, D], &block);
    cluster.send_certificate(A, Certificate::Commit(cert));
    assert_eq!(era_of(&cluster, A), NEXT);
    cluster.step(A, record());
    cluster.restart(A);
    cluster.step(A, record());
    let (old, new) = (cluster.key(A), cluster.key(rotated(A)));
    let found = batches(&cluster);
    let places: Vec<_> = found.iter().map(|(author, seq, _)| (*author, *seq)).collect();
    assert_eq!(places, [(old, 1), (new, 1), (new, 2)]);
    assert_eq!(found[1].2, bizra_types::hash::BatchDigest::ZERO);
}

/// A and C execute that nobody is to time out soon; for C alone it becomes final.
#[test]
fn parameters_change_when_their_block_is_final() {
    let mut cluster = Cluster::new(&[D, B, C]);
    let root = cluster.root_qc();
    let block = cluster.block(D, view(1), 1, 5, &root, Vec::new());
    let later = |name| ParameterChange { name, value: 60_000 };
    let parameters = ["view_timer_ms_min", "leader_silence_ms"].map(later).to_vec();
    cluster.decisions.insert(block.id(), Decisions { parameters, ..Decisions::default() });
    let qc = cluster.qc(&[B, C, D], &block);
    for node in [A, C] {
        cluster.send_proposal(node, &block, None);
        cluster.send_certificate(node, Certificate::Qc(qc.clone()));
    }
    let cert = cluster.commit_cert(&[B, C, D], &block);
    cluster.send_certificate(C, Certificate::Commit(cert));
    assert_eq!(cluster.committed_by(C), [block.id()]);
    let of_genesis = cluster.genesis.parameters;
    let decided = Parameters { view_timer_ms_min: 60_000, leader_silence_ms: 60_000, ..of_genesis };
    assert_eq!(cluster.nodes[C].commits[0].root.parameters, decided);
    cluster.pass(&[A, C], 5_000);
    assert!(!cluster.timeouts_of(A).is_empty(), "for A nothing has changed yet");
    assert!(cluster.timeouts_of(C).is_empty());
    cluster.restart(C);
    cluster.pass(&[C], 5_000);
    assert!(cluster.timeouts_of(C).is_empty(), "what was decided outlives a restart");
}

/// A version that A's program does not know comes into force after the next block.
#[test]
fn a_program_that_lacks_the_next_version_stops_before_it() {
    let mut cluster = Cluster::new(&[D, B, C]);
    let root = cluster.root_qc();
    let first = cluster.block(D, view(1), 1, 5, &root, Vec::new());
    let activation = Activation { height: Height::new(3), version: ProtocolVersion::new(2) };
    let decisions = Decisions { activation: Some(activation), ..Decisions::default() };
    cluster.decisions.insert(first.id(), decisions);
    cluster.send_proposal(A, &first, None);
    let qc = cluster.qc(&[B, C, D], &first);
    let second = cluster.block(B, view(2), 2, 6, &qc, Vec::new());
    cluster.send_proposal(A, &second, None);
    assert_eq!(cluster.votes_of(A).len(), 2, "version 1 is still in force at height 2");
    assert!(cluster.nodes[A].alarms.is_empty());
    let qc = cluster.qc(&[B, C, D], &second);
    let of_version_1 = cluster.block(C, view(3), 3, 7, &qc, Vec::new());
    cluster.send_proposal(A, &of_version_1, None);
    assert_eq!(cluster.nodes[A].alarms, [Alarm::VersionUnknown(activation)]);
    cluster.pass(&[A], 5_000);
    assert_eq!(cluster.votes_of(A).len(), 2);
    assert!(cluster.timeouts_of(A).is_empty());
}

/// Nothing of it could become final here, and there is no end to it.
#[test]
fn a_program_that_lacks_the_next_version_takes_in_nothing_of_it() {
    let mut cluster = Cluster::new(&[D, B, C]);
    let root = cluster.root_qc();
    let first = cluster.block(D, view(1), 1, 5, &root, Vec::new());
    let activation = Activation { height: Height::new(2), version: ProtocolVersion::new(2) };
    let decisions = Decisions { activation: Some(activation), ..Decisions::default() };
    cluster.decisions.insert(first.id(), decisions);
    cluster.send_proposal(A, &first, None);
    let mut qc = cluster.qc(&[B, C, D], &first);
    let second = cluster.block_of_version(2, B, view(2), 2, 6, &qc, Vec::new());
    cluster.send_proposal(A, &second, None);
    assert_eq!(cluster.nodes[A].alarms, [Alarm::VersionUnknown(activation)]);
    cluster.nodes[A].asked.clear();
    let mut parent = second;
    for number in 3..30 {
        qc = cluster.qc(&[B, C, D], &parent);
        cluster.send_certificate(A, Certificate::Qc(qc.clone()));
        cluster.send_block(A, &parent);
        parent = cluster.block_of_version(2, B, view(number), number, 4 + number, &qc, Vec::new());
    }
    cluster.pass(&[A], 1_000);
    assert_eq!(cluster.nodes[A].disk.blocks.len(), 2, "what was here when it stopped");
    assert_eq!(cluster.nodes[A].asked, []);

    // What was decided before still becomes final.
    let cert = cluster.commit_cert(&[B, C, D], &first);
    cluster.send_certificate(A, Certificate::Commit(cert));
    assert_eq!(cluster.committed_by(A), [first.id()]);
}

#[test]
fn a_block_of_a_version_that_is_not_in_force_gets_no_vote() {
    let mut cluster = Cluster::new(&[D]);
    let root = cluster.root_qc();
    let block = cluster.block_of_version(2, D, view(1), 1, 5, &root, Vec::new());
    cluster.send_proposal(A, &block, None);
    assert!(cluster.votes_of(A).is_empty());
    assert!(cluster.nodes[A].alarms.is_empty(), "its leader is at fault, not this program");
}

/// Trace 8: each way in which an era could end wrongly, with its rule taken
/// out: the test must fail.
#[cfg(planted_bugs)]
#[test]
fn each_handover_fails_without_its_rule() {
    use bizra_types::planted::Bug;
    let traces: [(Bug, fn()); 7] = [
        (Bug::FillerInChain, a_filler_ends_the_era_and_is_never_final),
        (Bug::EraStartsOnFiller, a_filler_ends_the_era_and_is_never_final),
        (Bug::EraEndsOnQc, a_qc_does_not_end_an_era_and_a_commit_certificate_does),
        (
            Bug::UnexecutedParent,
            nothing_is_voted_on_a_block_before_its_execution_tells_whether_it_closes,
        ),
        (Bug::EndedEraForgotten, nothing_of_an_ended_era_is_signed_after_a_restart),
        (Bug::AnySafetyRecord, only_the_last_record_of_the_very_key_lets_it_sign),
        (Bug::StrandedStragglers, who_has_left_still_tells_the_others_how_the_era_ended),
    ];
    for (bug, trace) in traces {
        assert_fails_with(bug, trace);
    }
}
