//! A validator's process dies at every point around a write, again and again,
//! and what it signs before and after never contradicts itself.
//!
//! Three of four validators are real processes; the fourth is this test, which
//! signs nothing and collects what the others send to all. Without it every
//! quorum needs all three: the network stands still until the one that died is
//! back, so that it must sign on what its disk holds.

mod common;

use bizra_gossip::wire::Message;
use bizra_gossip::{Event, Hello, Network, NetworkConfig, parse_peers};
use bizra_keys::KeyRing;
use bizra_types::certificate::Qc;
use bizra_types::crypto::Signature;
use bizra_types::genesis::Genesis;
use bizra_types::hash::{BatchDigest, BlockId, ChainId, ExecHash};
use bizra_types::message::{CommitVote, SignedCommitVote, SignedTimeout, Timeout, Vote};
use bizra_types::numbers::{Era, LaneSeq, ValidatorIndex, View};
use common::{init, path};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Every point, and how often it is passed before the process dies there: just
/// started, and after some blocks.
const DEATHS: [(&str, [u32; 3]); 8] = [
    ("BeforeWrite", [0, 7, 60]),
    ("AfterWrite", [0, 7, 60]),
    ("MidSend", [0, 7, 90]),
    ("AfterSend", [0, 7, 60]),
    ("BeforeSignature", [0, 3, 12]),
    ("AfterSignature", [0, 3, 12]),
    ("BeforeCommit", [0, 3, 12]),
    ("AfterCommit", [0, 3, 12]),
];
/// The validator that dies.
const VICTIM: u16 = 2;
/// Who collects.
const COLLECTOR: u16 = 3;
/// From a start to the next death or vote nothing takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What each validator signed, by what it may sign once.
#[derive(Default)]
struct Collected {
    proposals: BTreeMap<(ValidatorIndex, Era, View), BlockId>,
    votes: BTreeMap<(ValidatorIndex, Era, View), Vote>,
    commit_votes: BTreeMap<(ValidatorIndex, Era, View), CommitVote>,
    timeouts: BTreeMap<(ValidatorIndex, Era, View), Timeout>,
    batches: BTreeMap<(ValidatorIndex, LaneSeq), BatchDigest>,
}

impl Collected {
    /// Takes a message that came from its signer.
    ///
    /// # Errors
    /// When the signer contradicts what it signed before.
    fn add(
        &mut self,
        from: ValidatorIndex,
        chain: &ChainId,
        message: &Message,
    ) -> Result<(), String> {
        match message {
            Message::Proposal(it) => {
                let header = it.block.header();
                once(&mut self.proposals, (from, header.era, header.view), it.block.id())
            }
            Message::Vote(it) => once(&mut self.votes, (from, it.vote.era, it.vote.view), it.vote),
            Message::CommitVote(it) => {
                once(&mut self.commit_votes, (from, it.vote.era, it.vote.view), it.vote)?;
                self.expect_no_lie(from)
            }
            Message::Timeout(it) => {
                let timeout = it.timeout;
                once(&mut self.timeouts, (from, timeout.era, timeout.view), timeout)?;
                self.expect_no_lie(from)
            }
            Message::Batch(it) => {
                let header = it.header();
                once(&mut self.batches, (from, header.lane_seq), header.digest(chain))
            }
            Message::Certificate(_)
            | Message::Reveal(_)
            | Message::BatchAck(_)
            | Message::BatchHint(_) => Ok(()),
        }
    }

    /// Whoever commit-voted in a view never leaves a view from there on with a
    /// certificate of an earlier one.
    fn expect_no_lie(&self, from: ValidatorIndex) -> Result<(), String> {
        let of = |key: &(ValidatorIndex, Era, View)| key.0 == from;
        for (_, vote) in self.commit_votes.iter().filter(|(key, _)| of(key)) {
            for (_, timeout) in self.timeouts.iter().filter(|(key, _)| of(key)) {
                let is_later = timeout.era == vote.era && timeout.view >= vote.view;
                if is_later && timeout.high_qc_view < vote.view {
                    return Err(format!("validator {from} sent {vote:?} and {timeout:?}"));
                }
            }
        }
        Ok(())
    }

    fn last_commit_vote(&self, of: ValidatorIndex) -> Option<View> {
        let votes = self.commit_votes.keys().filter(|(signer, _, _)| *signer == of);
        votes.map(|(_, _, view)| *view).max()
    }
}

fn once<K: Ord + Debug, V: PartialEq + Debug>(
    known: &mut BTreeMap<K, V>,
    key: K,
    value: V,
) -> Result<(), String> {
    match known.get(&key) {
        Some(before) if *before != value => {
            Err(format!("{key:?} signed {before:?} and then {value:?}"))
        }
        _ => {
            known.insert(key, value);
            Ok(())
        }
    }
}

/// A real validator, killed when the test ends.
struct Process(Child);

impl Process {
    fn start(dir: &Path, number: u16, die_at: Option<&str>) -> Self {
        let folder = dir.join(format!("node-{number}"));
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("log.txt"))
            .expect("writable");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bizra"));
        command.args(["run", "--config", path(&folder.join("config.toml"))]);
        command.stdout(Stdio::null()).stderr(log);
        if let Some(order) = die_at {
            command.env("DIE_AT", order);
        }
        Self(command.spawn().expect("it starts"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have died already.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// The collector in the fourth seat; says each message with its sender.
async fn collect(dir: PathBuf, messages: mpsc::Sender<(ValidatorIndex, Message)>) {
    let genesis = std::fs::read(dir.join("genesis.json")).expect("readable");
    let genesis = Genesis::parse(&genesis).expect("a genesis file");
    let keys = KeyRing::load(dir.join(format!("node-{COLLECTOR}/keys"))).expect("keys");
    let peers = std::fs::read_to_string(dir.join("peers.json")).expect("readable");
    let peers = parse_peers(&peers).expect("peers");
    let me = keys.network.peer_id();
    let listen = peers.iter().filter(|it| it.peer == me).map(|it| it.address.clone()).collect();
    let validators = genesis.committee.iter().map(|it| it.1.peer_id.parse().expect("one"));
    let (identity, hello) = (keys.network.keypair().clone(), Hello::at_genesis(&genesis));
    let config = NetworkConfig {
        listen,
        peers,
        ..NetworkConfig::on_loopback(identity, validators.collect(), hello)
    };
    let mut registry = prometheus_client::registry::Registry::default();
    let (network, mut events) = Network::start(config, &mut registry).await.expect("it starts");
    while let Some(event) = events.recv().await {
        let Event::Message { peer, bytes, .. } = event else { continue };
        let peer = peer.to_string();
        let from = genesis.committee.iter().find(|(_, validator)| validator.peer_id == peer);
        let from = from.expect("only validators are heard").0;
        let message = Message::decode(&bytes).expect("an honest validator's message");
        if messages.send((from, message)).is_err() {
            break;
        }
    }
    network.shutdown().await;
}

/// Records for the three real validators, as long as the test lasts. It asks the
/// first one which policies are in force.
fn start_load(dir: &Path) -> Process {
    let listens = [0, 1, VICTIM].map(|number| {
        let config = std::fs::read_to_string(dir.join(format!("node-{number}/config.toml")));
        let config: toml::Table = config.expect("readable").parse().expect("TOML");
        config["api"]["listen"].as_str().expect("an address").to_owned()
    });
    while TcpStream::connect(&listens[0]).is_err() {
        std::thread::yield_now();
    }
    let endpoints = listens.map(|listen| format!("http://{listen}"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_bizra"));
    command.args(["load", "--rate", "30", "--duration", "600", "--json", "--endpoint"]);
    command.args(endpoints).stdout(Stdio::null()).stderr(Stdio::null());
    Process(command.spawn().expect("it starts"))
}

#[test]
fn two_signatures_that_contradict_each_other_are_noticed() {
    let (mut collected, chain) = (Collected::default(), ChainId([0; 32]));
    let from = ValidatorIndex::new(0);
    let mut add = |message| collected.add(from, &chain, &message);
    let vote = |view, byte| {
        let vote = CommitVote {
            era: Era::new(1),
            view: View::new(view),
            block: BlockId([byte; 32]),
            exec: ExecHash([0; 32]),
        };
        Message::CommitVote(SignedCommitVote { vote, signer: from, signature: Signature([0; 64]) })
    };
    let genesis_qc = Qc::root(Era::new(1), BlockId([0; 32]), 4);
    let timeout = |view, high| {
        Message::Timeout(SignedTimeout {
            timeout: Timeout {
                era: Era::new(1),
                view: View::new(view),
                high_qc_view: View::new(high),
            },
            signer: from,
            signature: Signature([0; 64]),
            high_qc: genesis_qc.clone(),
            entry_tc: None,
            missing: Vec::new(),
        })
    };
    assert_eq!(add(vote(5, 1)), Ok(()));
    assert_eq!(add(vote(5, 1)), Ok(()), "the same again");
    assert!(add(vote(5, 2)).is_err());
    assert_eq!(add(timeout(4, 3)), Ok(()), "of a view before");
    assert_eq!(add(timeout(6, 5)), Ok(()));
    assert!(add(timeout(6, 4)).is_err());
    assert!(add(timeout(7, 4)).is_err(), "it hides the certificate that it commit-voted on");
}

#[test]
fn a_validator_that_dies_at_any_point_never_contradicts_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("net");
    init(&dir, "4");
    let genesis = std::fs::read(dir.join("genesis.json")).expect("readable");
    let chain = Genesis::parse(&genesis).expect("a genesis file").chain_id();
    let (sender, messages) = mpsc::channel();
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.spawn(collect(dir.clone(), sender));
    let others: Vec<_> = [0, 1].map(|number| Process::start(&dir, number, None)).into();

    let mut collected = Collected::default();
    // Waits a little for something to take.
    let take = |collected: &mut Collected| {
        let first = messages.recv_timeout(Duration::from_millis(10)).ok();
        for (from, message) in first.into_iter().chain(messages.try_iter()) {
            collected.add(from, &chain, &message).expect("nobody contradicts itself");
        }
    };
    let mut load = start_load(&dir);
    for (point, counts) in DEATHS {
        for count in counts {
            let mut victim = Process::start(&dir, VICTIM, Some(&format!("{point}:{count}")));
            let deadline = Instant::now() + PATIENCE;
            let ended = loop {
                take(&mut collected);
                assert!(Instant::now() < deadline, "{point}:{count} is not passed");
                assert!(load.0.try_wait().expect("it is ours").is_none(), "the load ended");
                if let Some(ended) = victim.0.try_wait().expect("it is ours") {
                    break ended;
                }
            };
            let log = || std::fs::read_to_string(dir.join(format!("node-{VICTIM}/log.txt")));
            assert!(ended.code().is_none(), "{point}:{count}: {ended}\n{}", log().expect("a log"));
        }
    }
    take(&mut collected);
    let victim_place = ValidatorIndex::new(VICTIM);
    let before = collected.last_commit_vote(victim_place);
    assert!(before.is_some(), "it voted between its deaths");
    let _victim = Process::start(&dir, VICTIM, None);
    let deadline = Instant::now() + PATIENCE;
    while collected.last_commit_vote(victim_place) <= before {
        take(&mut collected);
        assert!(Instant::now() < deadline, "it votes no more");
    }
    drop((load, others));
    runtime.shutdown_background();
}
