use super::*;
use crate::driver::seats::Eras;
use crate::driver::{Decided, judge};
use crate::metrics::Metrics;
use crate::storage::Store;
use crate::storage::testing::{TestChain, genesis, record, validator_key};
use bizra_gossip::{Event, EventReceiver, Hello, Network, NetworkConfig};
use bizra_keys::KeyRing;
use bizra_types::batch::{BatchHeader, BatchRecord};
use bizra_types::certificate::{Certificate, Qc};
use bizra_types::committee::{Committee, Validator};
use bizra_types::crypto::SignatureMemo;
use bizra_types::hash::{BatchDigest, BlockId};
use bizra_types::message::Vote;
use bizra_types::numbers::{LaneSeq, TimestampMs, ValidatorIndex, View};
use bizra_types::verify::Verifier;
use prometheus_client::registry::Registry;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

const ERA: Era = Era::new(1);

async fn network(keys: &KeyRing, validators: &[PeerId]) -> (Network, EventReceiver) {
    let (identity, hello) = (keys.network.keypair().clone(), Hello::at_genesis(&genesis("outbox")));
    let config = NetworkConfig::on_loopback(identity, validators.iter().copied().collect(), hello);
    Network::start(config, &mut Registry::default()).await.expect("it listens")
}

/// A committee whose first member is reached under `peer`, and none of whose is ours.
fn committee(peer: PeerId) -> Arc<Committee> {
    let member = |number: u8| Validator {
        name: format!("validator-{number}"),
        peer_id: if number == 0 { peer } else { PeerId::random() }.to_string(),
        consensus_key: validator_key(number).public(),
        vrf_key: [number; 32],
        kem_key: Vec::new(),
    };
    Arc::new(Committee::new((0..4).map(member).collect()).expect("a committee"))
}

fn context(keys: KeyRing, peer: PeerId, network: Network, dir: &Path) -> Context {
    let genesis = Arc::new(genesis("outbox"));
    // Nobody listens to the engine's inputs here.
    let (events, _) = crossbeam_channel::bounded(1);
    let (answers, _) = crossbeam_channel::unbounded();
    let verifier = Verifier::new(genesis.chain(), SignatureMemo::new(16));
    let store = Store::open(dir, &genesis).expect("the folder opens");
    let metrics = Arc::new(Metrics::new());
    Context {
        eras: Eras::new([Seats::new(ERA, committee(peer), &keys)].into_iter()),
        keys: Arc::new(keys),
        verdicts: Arc::new(judge(&store, &metrics)),
        store,
        network,
        verifier: Mutex::new(verifier),
        metrics,
        genesis,
        events,
        answers,
        hellos: Mutex::default(),
        heard: Mutex::default(),
        decided: Mutex::new(Decided::default()),
        disk_unwritable: AtomicBool::new(false),
        is_stopping: AtomicBool::new(false),
    }
}

/// A member that slept through the end of an era depends on it that whoever has
/// left tells what it knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_seat_a_node_sends_what_proves_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let (keys, other) = (KeyRing::generate(), KeyRing::generate());
    let peers = [keys.network.peer_id(), other.network.peer_id()];
    let (ours, mut our_events) = network(&keys, &peers).await;
    let (theirs, mut their_events) = network(&other, &peers).await;
    let address = format!("{}/p2p/{}", theirs.listeners()[0], peers[1]);
    ours.update_peers(vec![address.parse().expect("an address")]);
    while !matches!(our_events.recv().await.expect("it runs"), Event::Opened { .. }) {}

    let own_key = keys.consensus.public();
    let context = context(keys, peers[1], ours, dir.path());
    let seats = context.eras.now();
    assert_eq!(seats.me, None);
    let chain_id = context.genesis.chain_id();
    let block = context.genesis.header().id();
    let certificate = Certificate::Qc(Qc::root(ERA, block, 4));
    let record = BatchRecord { admitted_at_ms: TimestampMs::new(1), bytes: [1].into() };
    let records: Arc<[BatchRecord]> = [record].into();
    let header = BatchHeader::new(ERA, own_key, LaneSeq::new(1), BatchDigest::ZERO, &records);
    let vote = Vote { era: ERA, view: View::new(1), block: BlockId([1; 32]) };
    let first = ValidatorIndex::ZERO;
    for (to, message) in [
        (Recipients::One(first), Outgoing::Vote(vote)),
        (Recipients::Former(validator_key(0).public()), Outgoing::Certificate(certificate.clone())),
        (Recipients::One(first), Outgoing::Batch { header, records: Arc::clone(&records) }),
    ] {
        deliver(&context, &seats, Send { to, message });
    }

    let (mut consensus, mut bulk) = (None, None);
    while consensus.is_none() || bulk.is_none() {
        if let Event::Message { channel, bytes, .. } = their_events.recv().await.expect("it runs") {
            let message = Message::decode(&bytes).expect("it is whole");
            match channel {
                Channel::Consensus => consensus.get_or_insert(message),
                Channel::Bulk => bulk.get_or_insert(message),
            };
        }
    }
    // The vote would have come before it.
    assert_eq!(consensus, Some(Message::Certificate(certificate)));
    let Some(Message::Batch(batch)) = bulk else { panic!("a batch was sent, not {bulk:?}") };
    assert_eq!(batch.header(), &header);
    let (key, signature) = (own_key, batch.signature());
    let check = SignatureCheck { key, message: &header.signed_bytes(&chain_id), signature };
    assert!(check.is_good());
}

#[tokio::test]
async fn evidence_is_kept_by_the_outbox() {
    let dir = tempfile::tempdir().expect("a folder");
    let keys = KeyRing::generate();
    let (network, _events) = network(&keys, &[]).await;
    let context = context(keys, PeerId::random(), network, dir.path());
    let vote = |byte| SignedVote {
        vote: Vote { era: ERA, view: View::new(2), block: BlockId([byte; 32]) },
        signer: ValidatorIndex::ZERO,
        signature: Signature([8; 64]),
    };
    let evidence = Evidence::Votes(vote(1), vote(2));
    let (jobs, queue) = crossbeam_channel::bounded(1);
    let job = Job {
        seats: context.eras.now(),
        persist: Persist::default(),
        send: Vec::new(),
        waiters: Vec::new(),
        evidence: vec![evidence.clone()],
    };
    assert!(!job.is_empty());
    jobs.send(job).expect("there is room");
    drop(jobs);
    run(&context, &queue);
    assert_eq!(context.store.evidence(2), Ok(vec![evidence]));
}

/// Whoever meets a batch first, the inbox or the executor, asks for its verdicts.
#[tokio::test]
async fn a_batch_that_no_honest_validator_makes_is_kept_when_it_is_judged() {
    let dir = tempfile::tempdir().expect("a folder");
    let keys = KeyRing::generate();
    let (network, _events) = network(&keys, &[]).await;
    let context = context(keys, PeerId::random(), network, dir.path());
    let mut chain = TestChain::new("outbox");
    let good = chain.batch(1, &[record(1)]);
    let bad = chain.batch(1, &[record(2), b"{}".as_slice().into()]);
    for batch in [&good, &bad, &bad] {
        context.verdicts.check_batch(batch);
    }
    assert_eq!(context.store.invalid_batches(9), Ok(vec![SignedBatch::clone(&bad)]));
    // After a restart it is judged anew, and is no news.
    judge(&context.store, &context.metrics).check_batch(&bad);
    assert_eq!(context.store.invalid_batches(9).map(|it| it.len()), Ok(1));
    let counter = "bizra_consensus_equivocations_total 1";
    let told = context.metrics.encode();
    assert!(told.lines().any(|line| line == counter), "{told}");
}
