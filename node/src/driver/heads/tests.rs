use super::*;
use crate::storage::testing::{genesis, validator_key};
use bizra_gossip::{
    Event, EventReceiver, Fault, Hello, Keypair, Network, NetworkConfig, PeerAddress,
};
use bizra_types::block::{Closes, Header};
use bizra_types::certificate::CommitCert;
use bizra_types::committee::SignerSet;
use bizra_types::crypto::SignatureMemo;
use bizra_types::genesis::Genesis;
use bizra_types::hash::{BlockId, ChainId, ExecHash};
use bizra_types::message::CommitVote;
use bizra_types::numbers::{Era, View};
use prometheus_client::registry::Registry;
use std::collections::BTreeSet;

const VALIDATORS: u8 = 4;
const SIGNERS: [u8; 3] = [0, 1, 3];

/// A final head of this height and proposer, after `change` was made to its
/// header; the certificate is that of the changed one.
fn head_with(height: u64, proposer: u16, change: impl FnOnce(&mut Header)) -> FinalHeader {
    let genesis = genesis("heads");
    let mut header = Header {
        height: Height::new(height),
        view: View::new(height + 7),
        proposer: ValidatorIndex::new(proposer),
        ..genesis.header()
    };
    change(&mut header);
    let Header { era, view, .. } = header;
    let vote = CommitVote { era, view, block: header.id(), exec: ExecHash([5; 32]) };
    let message = vote.signed_bytes(&genesis.chain_id());
    let signers = SIGNERS.map(|index| ValidatorIndex::new(index.into()));
    let commit = CommitCert {
        vote,
        signers: SignerSet::of(VALIDATORS.into(), signers),
        signatures: SIGNERS.map(|index| validator_key(index).sign(&message)).to_vec(),
    };
    FinalHeader { header, commit }
}

fn head(height: u64, proposer: u16) -> FinalHeader {
    head_with(height, proposer, |_| {})
}

fn verifier(genesis: &Genesis) -> Verifier {
    Verifier::new(genesis.chain(), SignatureMemo::new(64))
}

fn judged(announced: u64, bytes: &[u8]) -> Result<(), Useless> {
    let genesis = genesis("heads");
    judge(&mut verifier(&genesis), Height::new(announced), bytes).map(|_| ())
}

#[test]
fn news_is_accepted_and_what_is_old_ignored() {
    let bytes = head(8, 2).to_bytes();
    assert_eq!(judged(7, &bytes), Ok(()));
    assert_eq!(judged(8, &bytes), Err(Useless::Old));
    let later_era = head_with(8, 2, |header| header.era = Era::new(2));
    assert_eq!(judged(7, &later_era.to_bytes()), Err(Useless::LaterEra(Era::new(2))));
}

#[test]
fn what_only_a_faulty_peer_sends_is_rejected() {
    let good = head(8, 2);
    let changed = |change: fn(&mut FinalHeader)| {
        let mut head = good.clone();
        change(&mut head);
        head.to_bytes()
    };
    let forgeries = [
        ("nothing", Vec::new()),
        ("a trailing byte", [good.to_bytes().as_slice(), &[0]].concat()),
        ("a changed signature", changed(|head| head.commit.signatures[1].0[0] ^= 1)),
        ("another header than is certified", changed(|head| head.header.height = Height::new(9))),
        ("another result than was signed", changed(|head| head.commit.vote.exec.0[0] ^= 1)),
        ("too few signers", {
            let mut few = good.clone();
            let two = SIGNERS[..2].iter().map(|index| ValidatorIndex::new((*index).into()));
            few.commit.signers = SignerSet::of(VALIDATORS.into(), two);
            few.commit.signatures.pop();
            few.to_bytes()
        }),
        ("another chain", {
            head_with(8, 2, |header| header.chain_id = ChainId([9; 32])).to_bytes()
        }),
        ("a filler", {
            let closes = Closes { block: BlockId([1; 32]), exec: ExecHash([2; 32]) };
            head_with(8, 2, |header| header.closes = Some(closes)).to_bytes()
        }),
    ];
    for (what, bytes) in forgeries {
        assert_eq!(judged(7, &bytes), Err(Useless::Rejected), "{what}");
    }
}

fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

/// The turns of validator 2.
fn turns() -> (Turns, Instant) {
    (Turns::new(Some(ValidatorIndex::new(2))), Instant::now())
}

fn committed(turns: &mut Turns, height: u64, proposer: u16, now: Instant) {
    turns.on_committed(Arc::new(head(height, proposer)), now);
}

fn taken(turns: &mut Turns, now: Instant) -> Option<u64> {
    turns.take(now).map(|head| head.header.height.get())
}

#[test]
fn the_proposer_announces_at_once_and_then_in_intervals_the_newest() {
    let (mut turns, start) = turns();
    assert_eq!(turns.due(), None);
    committed(&mut turns, 1, 2, start);
    assert_eq!(taken(&mut turns, start), Some(1));
    assert_eq!(turns.due(), None);

    committed(&mut turns, 2, 2, start + ms(10));
    committed(&mut turns, 3, 2, start + ms(20));
    assert_eq!(turns.due(), Some(start + ANNOUNCE_INTERVAL));
    assert_eq!(taken(&mut turns, start + ms(199)), None);
    assert_eq!(taken(&mut turns, start + ms(200)), Some(3));
}

#[test]
fn others_announce_only_what_stays_unannounced() {
    let (mut turns, start) = turns();
    committed(&mut turns, 1, 0, start);
    assert_eq!(turns.due(), Some(start + SILENCE_MAX));
    turns.on_announced(Height::new(1), start + ms(30));
    assert_eq!(turns.due(), None);

    // The second is never announced, whatever comes after it.
    committed(&mut turns, 2, 1, start + ms(100));
    committed(&mut turns, 3, 3, start + ms(900));
    assert_eq!(turns.due(), Some(start + ms(100) + SILENCE_MAX));
    assert_eq!(taken(&mut turns, start + ms(1100)), Some(3));
    assert_eq!(turns.due(), None);
}

#[test]
fn what_others_announced_first_is_not_announced_again() {
    let (mut turns, start) = turns();
    turns.on_announced(Height::new(5), start);
    committed(&mut turns, 4, 2, start + ms(1));
    committed(&mut turns, 5, 2, start + ms(2));
    assert_eq!(turns.due(), None);
    assert!(!turns.is_news(Height::new(5)));
    assert!(turns.is_news(Height::new(6)));
    committed(&mut turns, 6, 2, start + ms(3));
    assert_eq!(turns.due(), Some(start + ANNOUNCE_INTERVAL));
}

#[test]
fn a_follower_announces_nothing() {
    let mut turns = Turns::new(None);
    let start = Instant::now();
    committed(&mut turns, 1, 0, start);
    assert_eq!(turns.due(), None);
}

struct Node {
    network: Network,
    events: EventReceiver,
    verifier: Verifier,
    registry: Registry,
}

impl Node {
    async fn start(identity: &Keypair, validators: BTreeSet<bizra_gossip::PeerId>) -> Self {
        let genesis = genesis("heads");
        let hello = Hello::at_genesis(&genesis);
        let config = NetworkConfig::on_loopback(identity.clone(), validators, hello);
        let mut registry = Registry::default();
        let (network, events) = Network::start(config, &mut registry).await.unwrap();
        Self { network, events, verifier: verifier(&genesis), registry }
    }

    fn address(&self) -> PeerAddress {
        let (address, peer) = (&self.network.listeners()[0], self.network.local_peer());
        format!("{address}/p2p/{peer}").parse().unwrap()
    }

    /// Judges the next head that comes.
    async fn judged(&mut self) -> Result<Verified<FinalHeader>, Useless> {
        loop {
            if let Event::Gossip { id, topic: Topic::Heads, bytes } = self.next().await {
                let judged = judge(&mut self.verifier, Height::ZERO, &bytes);
                let verdict = judged.as_ref().err().map(|useless| useless.verdict());
                self.network.report(id, verdict.unwrap_or(Verdict::Accept));
                return judged;
            }
        }
    }

    async fn next(&mut self) -> Event {
        self.events.recv().await.expect("the network runs")
    }

    /// Waits until so many peers listen, which gossipsub says by its metric only.
    async fn listeners(&self, count: usize) {
        let chain_id = genesis("heads").chain_id();
        let line =
            format!("gossipsub_topic_peers_counts{{hash=\"bizra/{chain_id}/heads\"}} {count}");
        loop {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
            if text.lines().any(|found| found == line) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn publish(&self, head: &FinalHeader) {
        self.network.publish(Topic::Heads, head.to_bytes().into()).await.unwrap();
    }
}

/// A line: the first and the last know only the one in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_reaches_all_and_a_forged_one_counts_against_its_sender() {
    let keys: Vec<_> = (0..3).map(|_| Keypair::generate_ed25519()).collect();
    let peers: Vec<_> = keys.iter().map(|key| key.public().to_peer_id()).collect();
    let first = Node::start(&keys[0], [peers[0], peers[1]].into()).await;
    let mut middle = Node::start(&keys[1], peers.iter().copied().collect()).await;
    let mut last = Node::start(&keys[2], [peers[1], peers[2]].into()).await;
    first.network.update_peers(vec![middle.address()]);
    last.network.update_peers(vec![middle.address()]);

    first.listeners(1).await;
    middle.listeners(2).await;

    let good = head(2, 0);
    first.publish(&good).await;
    assert_eq!(middle.judged().await.unwrap().get(), &good);
    assert_eq!(last.judged().await.unwrap().get(), &good);

    let mut forged = head(3, 0);
    forged.commit.signatures[0].0[40] ^= 1;
    first.publish(&forged).await;
    assert_eq!(middle.judged().await, Err(Useless::Rejected));
    loop {
        if let Event::Fault { peer, fault, banned } = middle.next().await {
            assert_eq!((peer, fault, banned), (peers[0], Fault::Gossip, false));
            break;
        }
    }
    // The next head comes, and the forged one did not come before it.
    let next = head(4, 0);
    first.publish(&next).await;
    assert_eq!(middle.judged().await.unwrap().get(), &next);
    assert_eq!(last.judged().await.unwrap().get(), &next);
}
