//! What the network's tests share: nodes on loopback, and peers that misbehave.

#![allow(dead_code, reason = "every test file uses a part of it")]

use bizra_gossip::{
    Channel, Event, EventReceiver, Hello, Keypair, Multiaddr, Network, NetworkConfig, PeerAddress,
    PeerId, TransportKind,
};
use bizra_types::hash::ChainId;
use bizra_types::numbers::{Era, Height, ProtocolVersion};
use bytes::Bytes;
use futures::StreamExt;
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::{Swarm, SwarmBuilder, gossipsub, tcp, tls, yamux};
use libp2p_stream::Control;
use prometheus_client::registry::Registry;
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;
use tokio::sync::mpsc;

/// A test that hangs longer than this has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a test, which fails if it hangs.
pub(crate) fn run<F: Future<Output = ()>>(test: F) {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, test).await.expect("the test hangs");
    });
}

pub(crate) struct Node {
    pub(crate) network: Network,
    pub(crate) events: EventReceiver,
    pub(crate) registry: Registry,
}

pub(crate) fn hello() -> Hello {
    Hello {
        protocol_version_min: ProtocolVersion::new(1),
        protocol_version_max: ProtocolVersion::new(2),
        chain_id: ChainId([7; 32]),
        era: Era::new(1),
        height: Height::new(42),
    }
}

pub(crate) fn config(identity: &Keypair, validators: &[Keypair]) -> NetworkConfig {
    let validators = validators.iter().map(peer_id).collect();
    let mut config = NetworkConfig::on_loopback(identity.clone(), validators, hello());
    config.listen.push("/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap());
    config
}

pub(crate) fn keys(count: usize) -> Vec<Keypair> {
    (0..count).map(|_| Keypair::generate_ed25519()).collect()
}

/// Keys in the order of their peer ids, the lowest first.
pub(crate) fn sorted_keys(count: usize) -> Vec<Keypair> {
    let mut keys = keys(count);
    keys.sort_by_key(peer_id);
    keys
}

pub(crate) fn peer_id(key: &Keypair) -> PeerId {
    key.public().to_peer_id()
}

impl Node {
    pub(crate) async fn start(config: NetworkConfig) -> Self {
        let mut registry = Registry::default();
        let (network, events) = Network::start(config, &mut registry).await.unwrap();
        Self { network, events, registry }
    }

    /// Sends a message to every validator that it has streams with.
    pub(crate) fn send_all(&self, channel: Channel, message: &Bytes) {
        for status in self.network.status() {
            assert_eq!(self.network.send(&status.peer, channel, message.clone()), Ok(()));
        }
    }

    pub(crate) fn peer(&self) -> PeerId {
        self.network.local_peer()
    }

    /// Where the node listens, the chosen ports included.
    pub(crate) fn addresses(&self) -> Vec<PeerAddress> {
        let peer = self.peer();
        let listeners = self.network.listeners().iter();
        listeners.map(|address| format!("{address}/p2p/{peer}").parse().unwrap()).collect()
    }

    pub(crate) fn address(&self, transport: TransportKind) -> PeerAddress {
        self.addresses().into_iter().find(|address| address.transport == transport).unwrap()
    }

    /// The next event that `wanted` makes something of; others are passed over.
    pub(crate) async fn wait<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            let event = self.events.recv().await.expect("the network runs");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    }

    pub(crate) async fn opened(&mut self, peer: PeerId) {
        self.wait(|event| match event {
            Event::Opened { peer: opened, .. } if opened == peer => Some(()),
            _ => None,
        })
        .await;
    }

    pub(crate) async fn closed(&mut self, peer: PeerId) {
        self.wait(|event| match event {
            Event::Closed { peer: closed } if closed == peer => Some(()),
            _ => None,
        })
        .await;
    }

    pub(crate) async fn message(&mut self) -> (PeerId, Channel, Bytes) {
        self.wait(|event| match event {
            Event::Message { peer, channel, bytes } => Some((peer, channel, bytes)),
            _ => None,
        })
        .await
    }

    /// The value of a metric, by its full name and labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.find_metric(name).unwrap_or_else(|| panic!("no metric {name}"))
    }

    /// The value of a metric that may not be there yet.
    pub(crate) fn find_metric(&self, name: &str) -> Option<f64> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(starts_value))?;
        Some(line.rsplit(' ').next().unwrap().parse().unwrap())
    }
}

fn starts_value(rest: &str) -> bool {
    rest.starts_with(' ')
}

/// Starts nodes and tells each where the others are.
pub(crate) async fn introduce(nodes: &[Node]) {
    let all: Vec<_> = nodes.iter().flat_map(Node::addresses).collect();
    for node in nodes {
        node.network.update_peers(all.clone());
    }
}

/// Waits until every node has heard from every other.
pub(crate) async fn everyone_opened(nodes: &mut [Node]) {
    everyone(nodes, |event| match event {
        Event::Opened { peer, .. } => Some(peer),
        _ => None,
    })
    .await;
}

/// Waits until every node has lost every other.
pub(crate) async fn everyone_closed(nodes: &mut [Node]) {
    everyone(nodes, |event| match event {
        Event::Closed { peer } => Some(peer),
        _ => None,
    })
    .await;
}

async fn everyone(nodes: &mut [Node], wanted: impl Fn(Event) -> Option<PeerId>) {
    let all: HashSet<_> = nodes.iter().map(Node::peer).collect();
    for node in nodes {
        let mut missing = all.clone();
        missing.remove(&node.peer());
        while !missing.is_empty() {
            let found = node.wait(&wanted).await;
            missing.remove(&found);
        }
    }
}

/// Validators that are all connected to each other, in the order of `keys`.
pub(crate) async fn mesh(keys: &[Keypair], change: impl Fn(&mut NetworkConfig)) -> Vec<Node> {
    let mut nodes = Vec::new();
    for key in keys {
        let mut config = config(key, keys);
        change(&mut config);
        nodes.push(Node::start(config).await);
    }
    introduce(&nodes).await;
    everyone_opened(&mut nodes).await;
    nodes
}

/// A peer with a valid key that speaks libp2p but not as an honest node does.
pub(crate) struct Hostile {
    pub(crate) key: Keypair,
    pub(crate) control: Control,
    closed: mpsc::UnboundedReceiver<()>,
}

impl Hostile {
    /// Connects by TCP and connects again whenever it is hung up on.
    pub(crate) fn start(key: Keypair, target: &PeerAddress) -> Self {
        let mut swarm = hostile_swarm(&key);
        let control = swarm.behaviour().new_control();
        let (closed_sender, closed) = mpsc::unbounded_channel();
        let target = target.clone();
        tokio::spawn(async move {
            loop {
                let options = DialOpts::peer_id(target.peer)
                    .addresses(vec![target.address.clone()])
                    .allocate_new_port()
                    .build();
                if swarm.dial(options).is_err() {
                    return;
                }
                loop {
                    match swarm.select_next_some().await {
                        SwarmEvent::ConnectionClosed { .. } => {
                            if closed_sender.send(()).is_err() {
                                return;
                            }
                            break;
                        }
                        SwarmEvent::OutgoingConnectionError { .. } => break,
                        _ => {}
                    }
                }
            }
        });
        Self { key, control, closed }
    }

    pub(crate) fn peer(&self) -> PeerId {
        peer_id(&self.key)
    }

    /// Waits until the node hangs up.
    pub(crate) async fn closed(&mut self) {
        self.closed.recv().await.expect("the hostile peer runs");
    }

    /// Opens a stream and sends the hello and then `bytes`, as soon as a connection serves.
    pub(crate) async fn open(&mut self, target: PeerId, protocol: &'static str) -> libp2p::Stream {
        loop {
            // A connection that is just being closed serves no more.
            let protocol = libp2p::StreamProtocol::new(protocol);
            if let Ok(stream) = self.control.open_stream(target, protocol).await {
                return stream;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn hostile_swarm(key: &Keypair) -> Swarm<libp2p_stream::Behaviour> {
    SwarmBuilder::with_existing_identity(key.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default(), tls::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| libp2p_stream::Behaviour::new())
        .unwrap()
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(PATIENCE))
        .build()
}

/// A peer that gossips whatever it likes, on its way to the target by TCP.
pub(crate) fn hostile_gossip(key: &Keypair, target: &PeerAddress) -> Swarm<gossipsub::Behaviour> {
    let config = gossipsub::ConfigBuilder::default()
        .max_transmit_size(8 << 20)
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        // Without an author the usual ids of all messages are one.
        .message_id_fn(|message| gossipsub::MessageId::new(blake3::hash(&message.data).as_bytes()))
        .build()
        .unwrap();
    let gossip =
        gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Anonymous, config).unwrap();
    let mut swarm = SwarmBuilder::with_existing_identity(key.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default(), tls::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| gossip)
        .unwrap()
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(PATIENCE))
        .build();
    let options = DialOpts::peer_id(target.peer).addresses(vec![target.address.clone()]);
    swarm.dial(options.build()).unwrap();
    swarm
}

/// One frame of a direct stream.
pub(crate) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len() + 1).unwrap().to_le_bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(body);
    bytes
}

/// The frame that opens a direct stream.
pub(crate) fn hello_frame(hello: &Hello) -> Vec<u8> {
    use bizra_types::encoding::Encode;
    frame(2, &hello.to_bytes())
}

/// The set of the keys' peer ids.
pub(crate) fn peer_ids(keys: &[Keypair]) -> BTreeSet<PeerId> {
    keys.iter().map(peer_id).collect()
}

/// The port of an address of either transport.
pub(crate) fn port(address: &Multiaddr) -> u16 {
    use libp2p::multiaddr::Protocol;
    address
        .iter()
        .find_map(|part| match part {
            Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
            _ => None,
        })
        .unwrap()
}
