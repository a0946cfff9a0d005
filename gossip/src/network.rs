//! The handle of the network, and the swarm task behind it.

use crate::config::{NetworkConfig, PeerAddress, TransportKind};
use crate::dialler::{Dial, Dialler};
use crate::handshake::Hello;
use crate::links::{Inbound, Links, host_of};
use crate::mailbox::{Event, EventReceiver, mailbox};
use crate::metrics::{Metrics, PeerLabel};
use crate::multiplexer::BufferedYamux;
use crate::queue::SendError;
use crate::requests::{self, RequestError, Slots};
use crate::roster::{Fault, Refused, Roster, Verdict as Standing};
use crate::streams::{self, Channel, Common, Notice, Shared, StreamPeer};
use crate::topics::{self, GOSSIP_SIZE_MAX, Gossip, GossipId, Topic, Topics, Verdict};
use bytes::Bytes;
use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::metrics::{Metrics as SwarmMetrics, Recorder, Registry};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{
    ConnectionId, DialError, ListenError, NetworkBehaviour, Stream, StreamProtocol, SwarmEvent,
};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, gossipsub, ping, tcp, tls};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::error::Error;
use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::num::NonZeroU8;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

/// Notices of stream tasks that wait for the swarm task; the tasks wait with them.
const NOTICES_MAX: usize = 1024;

/// Gossip commands that wait for the swarm task, at most.
const GOSSIP_COMMANDS_MAX: usize = 1024;

/// Commands and notices handled before the swarm has its turn again.
const BATCH_MAX: usize = 64;

/// How long a stream that ended inside a frame waits for its connection to die
/// too, which makes it a crash and no fault.
const EARLY_END_GRACE: Duration = Duration::from_millis(500);

/// Streams that ended inside a frame and wait for that, at most.
const EARLY_ENDS_MAX: usize = 1024;

/// Tasks that politely refuse a stream, at most; more streams are just closed.
const REFUSALS_MAX: usize = 64;

/// Streams on one connection, at most, open and in negotiation.
const STREAMS_PER_CONNECTION_MAX: usize = 256;

/// A dead connection without heartbeats is found by pings this often.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Warnings about refused connections are this far apart.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Why the network did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// What the system says.
        reason: String,
    },
    /// The port of an address is taken.
    #[error("cannot listen on {address}: the port is in use by another process")]
    PortInUse {
        /// The address.
        address: Multiaddr,
    },
    /// There is nothing to listen on.
    #[error("no address to listen on is configured")]
    NoListener,
    /// The keys of all connections would be written to a file.
    #[error("SSLKEYLOGFILE is set: the transport would write the keys of its connections to {0:?}")]
    KeyLog(std::ffi::OsString),
    /// The transport could not be built.
    #[error("the transport could not be built: {0}")]
    Transport(String),
    /// Gossipsub could not be built.
    #[error("gossipsub could not be built: {0}")]
    Gossip(String),
}

/// Why a gossip message was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The message is above the limit.
    #[error("a gossip message of {size} bytes where at most {limit} are allowed")]
    TooLarge {
        /// Bytes of the message.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The same message was published or heard not long ago.
    #[error("the message is known already")]
    Duplicate,
    /// No connected peer wants the topic.
    #[error("no peer listens to {}", .0.as_str())]
    NoPeers(Topic),
    /// Too many commands wait, or the network has stopped.
    #[error("the network is busy or has stopped")]
    Busy,
    /// Anything else that gossipsub says.
    #[error("gossipsub refused it: {0}")]
    Other(String),
}

/// How things stand with one validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Who.
    pub peer: PeerId,
    /// Whether there is a connection.
    pub connected: bool,
    /// Whether it has taken up our consensus stream.
    pub consensus_open: bool,
    /// Whether it has taken up our bulk stream.
    pub bulk_open: bool,
    /// The newest measured round trip.
    pub round_trip: Option<Duration>,
}

/// The network. Clones share it; it stops when the last one is dropped.
#[derive(Clone)]
pub struct Network {
    common: Arc<Common>,
    slots: Arc<Slots>,
    request_protocol: StreamProtocol,
    listeners: Arc<[Multiaddr]>,
    /// Bounded by what the owner does by hand.
    control: mpsc::UnboundedSender<Control>,
    gossip: mpsc::Sender<GossipCommand>,
}

enum Control {
    Peers(Vec<PeerAddress>),
    Validators(BTreeSet<PeerId>),
    Fault { peer: PeerId, fault: Fault },
    Shutdown(oneshot::Sender<()>),
}

enum GossipCommand {
    Publish { topic: Topic, bytes: Bytes, reply: oneshot::Sender<Result<(), PublishError>> },
    Report { id: GossipId, verdict: Verdict },
}

impl Network {
    /// Listens, starts dialling, and returns the handle and what will happen.
    ///
    /// Metrics, libp2p's own too, are added to `registry`.
    ///
    /// # Errors
    /// When an address cannot be listened on, or the transport cannot be built.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(
        config: NetworkConfig,
        registry: &mut Registry,
    ) -> Result<(Self, EventReceiver), StartError> {
        if let Some(file) = std::env::var_os("SSLKEYLOGFILE") {
            return Err(StartError::KeyLog(file));
        }
        if config.listen.is_empty() {
            return Err(StartError::NoListener);
        }
        let local = config.identity.public().to_peer_id();
        let topics = Topics::new(&config.hello.chain_id);
        let request_protocol = requests::protocol(&config.hello.chain_id);
        let own_metrics = Metrics::new(registry);
        let swarm_metrics = SwarmMetrics::new(registry);
        let mut swarm = build_swarm(&config, &topics, &request_protocol, registry)?;
        let listeners = listen(&mut swarm, &config.listen).await?;
        tracing::info!(%local, ?listeners, "network listens");

        let (mailbox, events) = mailbox();
        let (notices, notices_receiver) = mpsc::channel(NOTICES_MAX);
        let (control, control_receiver) = mpsc::unbounded_channel();
        let (gossip, gossip_receiver) = mpsc::channel(GOSSIP_COMMANDS_MAX);
        let common = Arc::new(Common {
            local,
            epoch: streams::epoch(),
            limits: config.limits.clone(),
            hello: RwLock::new(config.hello),
            peers: RwLock::default(),
            connected: RwLock::default(),
            metrics: own_metrics,
            notices,
        });
        let mut task = SwarmTask {
            swarm,
            swarm_metrics,
            topics,
            request_protocol: request_protocol.clone(),
            dialler: Dialler::new(local, config.dial_first, config.limits.clone()),
            dials: HashMap::new(),
            slots: Slots::new(config.limits.requests_per_peer_max),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            tasks: JoinSet::new(),
            writers: HashMap::new(),
            readers: HashMap::new(),
            opened: HashSet::new(),
            early_ends: VecDeque::new(),
            refusal_logged_at: None,
            resolved: mpsc::unbounded_channel(),
            shared: Arc::new(Shared { common: Arc::clone(&common), mailbox }),
        };
        task.set_stream_peers();
        task.set_peers(&config.peers);
        tokio::spawn(task.run(control_receiver, gossip_receiver, notices_receiver));
        let network = Self {
            slots: Arc::new(Slots::new(config.limits.requests_per_peer_max)),
            common,
            request_protocol,
            listeners: listeners.into(),
            control,
            gossip,
        };
        Ok((network, events))
    }

    /// Our peer id.
    #[must_use]
    pub fn local_peer(&self) -> PeerId {
        self.common.local
    }

    /// The addresses that we listen on, with the ports that the system chose.
    #[must_use]
    pub fn listeners(&self) -> &[Multiaddr] {
        &self.listeners
    }

    /// Queues a message for a validator. Never blocks. A message that is under
    /// way when its connection dies may be lost.
    ///
    /// # Errors
    /// When there are no direct streams to the peer, the message is above the
    /// channel's limit, or the queue is full.
    pub fn send(&self, peer: &PeerId, channel: Channel, message: Bytes) -> Result<(), SendError> {
        let peers = self.common.peers.read().expect("no holder panics");
        let peer = peers.get(peer).ok_or(SendError::NoStream)?;
        let metrics = &self.common.metrics;
        match peer.queue(channel).push(message, Instant::now()) {
            Ok(stale) => {
                metrics.dropped(channel, "stale", stale);
                Ok(())
            }
            Err(error) => {
                if matches!(error, SendError::Full { .. }) {
                    metrics.dropped(channel, "full", 1);
                }
                Err(error)
            }
        }
    }

    /// Asks a connected peer and waits for its answer. The answer is not checked.
    ///
    /// # Errors
    /// When the request is too large, the peer is not connected, has no answer,
    /// or none came in `timeout`.
    pub async fn request(
        &self,
        peer: PeerId,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, RequestError> {
        let protocol = self.request_protocol.clone();
        requests::request(&self.common, &self.slots, peer, protocol, &request, timeout).await
    }

    /// Gossips a message to everyone. We do not hear it ourselves.
    ///
    /// # Errors
    /// When it is too large, known already, or nobody listens.
    pub async fn publish(&self, topic: Topic, message: Bytes) -> Result<(), PublishError> {
        if message.len() > GOSSIP_SIZE_MAX {
            return Err(PublishError::TooLarge { size: message.len(), limit: GOSSIP_SIZE_MAX });
        }
        let (reply, published) = oneshot::channel();
        let command = GossipCommand::Publish { topic, bytes: message, reply };
        self.gossip.try_send(command).map_err(|_| PublishError::Busy)?;
        published.await.unwrap_or(Err(PublishError::Busy))
    }

    /// Says what a gossip message was worth; only an accepted one is passed on.
    /// A message not reported on within a few seconds is forgotten.
    pub fn report(&self, id: GossipId, verdict: Verdict) {
        // A verdict that finds no room counts as Ignore.
        let _ = self.gossip.try_send(GossipCommand::Report { id, verdict });
    }

    /// Notes that a peer sent what no honest peer sends.
    pub fn report_fault(&self, peer: PeerId, fault: &'static str) {
        self.control(Control::Fault { peer, fault: Fault::Message(fault) });
    }

    /// Replaces the list of peers: new ones are dialled, those gone are let go
    /// unless they are validators.
    pub fn update_peers(&self, peers: Vec<PeerAddress>) {
        self.control(Control::Peers(peers));
    }

    /// Replaces the set of validators.
    pub fn update_validators(&self, validators: BTreeSet<PeerId>) {
        self.control(Control::Validators(validators));
    }

    /// Replaces what we say of ourselves on streams opened from now on. The
    /// chain cannot change.
    ///
    /// # Panics
    /// When the chain is another one.
    pub fn update_hello(&self, hello: Hello) {
        let mut current = self.common.hello.write().expect("no holder panics");
        assert_eq!(current.chain_id, hello.chain_id, "a node does not change its chain");
        *current = hello;
    }

    /// What we say of ourselves on streams opened from now on.
    #[must_use]
    pub fn hello(&self) -> Hello {
        self.common.hello()
    }

    /// How things stand with each validator that we have direct streams with.
    #[must_use]
    pub fn status(&self) -> Vec<PeerStatus> {
        let peers = self.common.peers.read().expect("no holder panics");
        let mut status: Vec<_> = peers
            .values()
            .map(|peer| PeerStatus {
                peer: peer.peer,
                connected: peer.connection.borrow().is_some(),
                consensus_open: peer.is_open(Channel::Consensus),
                bulk_open: peer.is_open(Channel::Bulk),
                round_trip: peer.round_trip(),
            })
            .collect();
        status.sort_by_key(|status| status.peer);
        status
    }

    /// How many peers are connected, followers included.
    #[must_use]
    pub fn connected(&self) -> usize {
        usize::try_from(self.common.metrics.peers.get()).unwrap_or(0)
    }

    /// Every connected peer, followers included: whom a request can reach.
    #[must_use]
    pub fn connected_peers(&self) -> BTreeSet<PeerId> {
        self.common.connected.read().expect("no holder panics").clone()
    }

    /// Whether peers are connected that are no validators, and so hear only
    /// what is passed on to them.
    #[must_use]
    pub fn has_followers(&self) -> bool {
        let peers = self.common.peers.read().expect("no holder panics");
        let validators = peers.values().filter(|peer| peer.connection.borrow().is_some()).count();
        self.connected() > validators
    }

    /// Notes how old a final block was when its head arrived here by gossip.
    pub fn observe_propagation(&self, time: Duration) {
        self.common.metrics.propagation.observe(time.as_secs_f64());
    }

    /// Closes all connections and returns when that is done.
    pub async fn shutdown(&self) {
        let (reply, done) = oneshot::channel();
        self.control(Control::Shutdown(reply));
        // An error means that the task is gone already.
        let _ = done.await;
    }

    fn control(&self, command: Control) {
        // After a shutdown there is nobody left to command.
        let _ = self.control.send(command);
    }
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    links: Links,
    gossip: Gossip,
    ping: ping::Behaviour,
}

fn build_swarm(
    config: &NetworkConfig,
    topics: &Topics,
    request_protocol: &StreamProtocol,
    registry: &mut Registry,
) -> Result<Swarm<Behaviour>, StartError> {
    let local = config.identity.public().to_peer_id();
    let limits = &config.limits;
    let roster = Roster::new(
        local,
        config.peers.iter().map(|peer| peer.peer).collect(),
        config.validators.clone(),
        config.followers_allowed,
        limits.clone(),
    );
    let gossip =
        topics::behaviour(topics, roster.stream_peers(), registry).map_err(StartError::Gossip)?;
    let protocols = Arc::new([
        Channel::Consensus.protocol(),
        Channel::Bulk.protocol(),
        request_protocol.clone(),
    ]);
    let links =
        Links::new(roster, protocols, limits.handshake_timeout, limits.pending_strangers_max);
    let ping = ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL));
    let behaviour = Behaviour { links, gossip, ping };
    let multiplexer = || BufferedYamux::new(STREAMS_PER_CONNECTION_MAX);
    // TLS alone: offering classical Noise beside it would let an attacker on the
    // line have both sides choose it.
    let swarm = SwarmBuilder::with_existing_identity(config.identity.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default(), tls::Config::new, multiplexer)
        .map_err(|error| StartError::Transport(error.to_string()))?
        .with_quic_config(|mut quic| {
            quic.handshake_timeout = limits.handshake_timeout;
            quic.max_concurrent_stream_limit = STREAMS_PER_CONNECTION_MAX as u32;
            quic
        })
        .with_bandwidth_metrics(registry)
        .with_behaviour(|_| Ok(behaviour))
        .map_err(|error| StartError::Transport(error.to_string()))?
        .with_swarm_config(|swarm| {
            swarm.with_max_negotiating_inbound_streams(STREAMS_PER_CONNECTION_MAX)
        })
        .with_connection_timeout(limits.handshake_timeout)
        .build();
    Ok(swarm)
}

/// Listens and waits until each address is bound.
async fn listen(
    swarm: &mut Swarm<Behaviour>,
    addresses: &[Multiaddr],
) -> Result<Vec<Multiaddr>, StartError> {
    let refuse =
        |address: &Multiaddr, reason| StartError::Listen { address: address.clone(), reason };
    // All before the first is taken: an IPv6 address may stand for its IPv4 neighbour.
    for address in addresses {
        if TransportKind::of(address).is_none() {
            return Err(refuse(address, "it is neither TCP nor QUIC version 1".to_owned()));
        }
        probe(address).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => StartError::PortInUse { address: address.clone() },
            _ => refuse(address, error.to_string()),
        })?;
    }
    let mut pending: HashMap<ListenerId, Multiaddr> = HashMap::new();
    for address in addresses {
        let listening = swarm.listen_on(address.clone());
        let id = listening.map_err(|error| refuse(address, causes(&error)))?;
        pending.insert(id, address.clone());
    }
    let mut bound = Vec::new();
    while !pending.is_empty() {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { listener_id, address } => {
                pending.remove(&listener_id);
                bound.push(address);
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                if let Some(address) = pending.remove(&listener_id) {
                    let reason = match reason {
                        Ok(()) => "the listener closed".to_owned(),
                        Err(error) => causes(&error),
                    };
                    return Err(StartError::Listen { address, reason });
                }
            }
            // Connections that come this early are kept; a stream on one is closed,
            // and the peer opens it again.
            _ => {}
        }
    }
    Ok(bound)
}

/// Binds an address and lets it go again. libp2p shares its TCP port with
/// whoever asks for that too, so that two nodes could listen on one port and
/// each would get some of the connections; a plain socket shares it with nobody.
fn probe(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let host = match parts.next() {
        Some(Protocol::Ip4(host)) => IpAddr::from(host),
        Some(Protocol::Ip6(host)) => IpAddr::from(host),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) => TcpListener::bind((host, port)).map(drop),
        Some(Protocol::Udp(port)) => UdpSocket::bind((host, port)).map(drop),
        _ => Ok(()),
    }
}

/// An error with all that led to it: libp2p leaves the causes out of its texts.
fn causes(error: &dyn Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        // Some errors say nothing themselves, some repeat their cause.
        if !text.is_empty() && !texts.iter().any(|before| before.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}

/// Routes between the swarm and the stream tasks, and does nothing else.
struct SwarmTask {
    swarm: Swarm<Behaviour>,
    swarm_metrics: SwarmMetrics,
    topics: Topics,
    request_protocol: StreamProtocol,
    dialler: Dialler,
    dials: HashMap<ConnectionId, (PeerId, TransportKind)>,
    slots: Slots,
    refusals: Arc<Semaphore>,
    tasks: JoinSet<()>,
    writers: HashMap<PeerId, [AbortHandle; 2]>,
    readers: HashMap<(PeerId, Channel), AbortHandle>,
    /// Peers whose consensus stream opened since they connected.
    opened: HashSet<PeerId>,
    early_ends: VecDeque<(Instant, PeerId, ConnectionId)>,
    refusal_logged_at: Option<Instant>,
    /// Bounded by the dials under way.
    resolved: (mpsc::UnboundedSender<Dial>, mpsc::UnboundedReceiver<Dial>),
    shared: Arc<Shared>,
}

impl SwarmTask {
    async fn run(
        mut self,
        mut control: mpsc::UnboundedReceiver<Control>,
        mut gossip: mpsc::Receiver<GossipCommand>,
        mut notices: mpsc::Receiver<Notice>,
    ) {
        loop {
            self.on_time(Instant::now());
            while self.tasks.try_join_next().is_some() {}
            let due = self.next_due();
            tokio::select! {
                command = control.recv() => match command {
                    Some(Control::Shutdown(done)) => {
                        drop(self);
                        // Whoever asked may have given up waiting.
                        let _ = done.send(());
                        return;
                    }
                    Some(command) => self.on_control(command),
                    // The last handle is gone.
                    None => return,
                },
                Some(command) = gossip.recv() => {
                    self.on_gossip_command(command);
                    for _ in 1..BATCH_MAX {
                        let Ok(command) = gossip.try_recv() else { break };
                        self.on_gossip_command(command);
                    }
                }
                Some(notice) = notices.recv() => {
                    self.on_notice(notice);
                    for _ in 1..BATCH_MAX {
                        let Ok(notice) = notices.try_recv() else { break };
                        self.on_notice(notice);
                    }
                }
                Some(dial) = self.resolved.1.recv() => self.dial_resolved(dial),
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                () = sleep_until(due) => {}
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let early_end = self.early_ends.front().map(|(due, ..)| *due);
        [self.dialler.next_due(), early_end].into_iter().flatten().min()
    }

    fn on_time(&mut self, now: Instant) {
        for dial in self.dialler.take_due(now) {
            self.dial(dial);
        }
        while let Some((due, peer, connection)) = self.early_ends.front().copied() {
            if due > now {
                break;
            }
            self.early_ends.pop_front();
            if self.links().is_established(&peer, connection) {
                self.on_fault(peer, Fault::Truncated);
            }
        }
    }

    fn on_control(&mut self, command: Control) {
        match command {
            Control::Peers(peers) => {
                tracing::info!(count = peers.len(), "list of peers replaced");
                self.set_peers(&peers);
                self.let_strangers_go();
            }
            Control::Validators(validators) => {
                tracing::info!(count = validators.len(), "validators replaced");
                self.set_validators(validators);
                self.let_strangers_go();
            }
            Control::Fault { peer, fault } => self.on_fault(peer, fault),
            Control::Shutdown(_) => unreachable!("run ends on it"),
        }
    }

    fn on_gossip_command(&mut self, command: GossipCommand) {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        match command {
            GossipCommand::Publish { topic, bytes, reply } => {
                let published = gossip.publish(self.topics.get(topic).hash(), bytes);
                let answer = match published {
                    Ok(_) => Ok(()),
                    Err(gossipsub::PublishError::Duplicate) => Err(PublishError::Duplicate),
                    Err(gossipsub::PublishError::NoPeersSubscribedToTopic) => {
                        Err(PublishError::NoPeers(topic))
                    }
                    Err(error) => Err(PublishError::Other(error.to_string())),
                };
                // Whoever asked may have given up waiting.
                let _ = reply.send(answer);
            }
            GossipCommand::Report { id, verdict } => {
                gossip.report_message_validation_result(&id.message, &id.source, verdict.into());
                if verdict == Verdict::Reject {
                    self.on_fault(id.source, Fault::Gossip);
                }
            }
        }
    }

    fn on_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Open { peer, connection, protocol, reply } => {
                self.links_mut().open(peer, connection, protocol, reply);
            }
            Notice::Fault { peer, fault } => self.on_fault(peer, fault),
            Notice::EndedEarly { peer, connection } => {
                if self.early_ends.len() < EARLY_ENDS_MAX {
                    let due = Instant::now() + EARLY_END_GRACE;
                    self.early_ends.push_back((due, peer, connection));
                }
            }
            Notice::Silent { peer, connection } => {
                if self.links().is_established(&peer, connection) {
                    tracing::info!(%peer, "the connection fell silent and is closed");
                    self.links_mut().close(peer, connection);
                }
            }
            Notice::Opened { peer } => {
                if self.links().connections(&peer) > 0 {
                    self.opened.insert(peer);
                } else {
                    self.shared.mailbox.notice(Event::Closed { peer });
                }
            }
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        self.swarm_metrics.record(&event);
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Links(inbound)) => self.on_inbound(inbound),
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => {
                self.swarm_metrics.record(&event);
                self.on_gossip(event);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => {
                self.swarm_metrics.record(&event);
                if let Err(error @ (ping::Failure::Timeout | ping::Failure::Other { .. })) =
                    event.result
                {
                    tracing::info!(peer = %event.peer, %error, "ping failed: connection closed");
                    self.links_mut().close(event.peer, event.connection);
                }
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                tracing::info!(
                    peer = %peer_id, address = %endpoint.get_remote_address(), "connected"
                );
                if let Some((peer, transport)) = self.dials.remove(&connection_id) {
                    self.dialler.on_dial_succeeded(&peer, transport);
                }
                self.dialler.on_connected(&peer_id, Instant::now());
                self.on_connections_changed(peer_id);
            }
            SwarmEvent::ConnectionClosed { peer_id, cause, num_established, .. } => {
                let cause = cause.map_or_else(|| "closed".to_owned(), |cause| cause.to_string());
                tracing::info!(peer = %peer_id, cause, remaining = num_established, "disconnected");
                self.dialler.on_disconnected(&peer_id, Instant::now());
                self.on_connections_changed(peer_id);
                if num_established == 0 && self.opened.remove(&peer_id) {
                    self.shared.mailbox.notice(Event::Closed { peer: peer_id });
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some((peer, transport)) = self.dials.remove(&connection_id) {
                    self.on_dial_failed(peer, transport, &error);
                }
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, peer_id, error, .. } => {
                self.on_refused(&send_back_addr, peer_id, &error);
            }
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::error!(?addresses, ?reason, "a listener closed");
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener failed to accept");
            }
            _ => {}
        }
    }

    fn on_connections_changed(&mut self, peer: PeerId) {
        let links = &self.swarm.behaviour().links;
        self.shared.metrics.peers.set(links.connected().count() as i64);
        {
            let mut connected = self.shared.connected.write().expect("no holder panics");
            if links.newest(&peer).is_some() {
                connected.insert(peer);
            } else {
                connected.remove(&peer);
            }
        }
        if let Some(stream_peer) = self.shared.peer(&peer) {
            stream_peer.connection.send_if_modified(|current| {
                let newest = links.newest(&peer);
                let changed = *current != newest;
                *current = newest;
                changed
            });
        }
    }

    fn on_inbound(&mut self, Inbound { peer, connection, protocol, stream }: Inbound) {
        if protocol == self.request_protocol {
            match self.slots.try_take(peer) {
                Some(slot) => {
                    self.tasks.spawn(requests::serve(Arc::clone(&self.shared), peer, stream, slot));
                }
                None => self.refuse(requests::refuse, stream),
            }
            return;
        }
        let channel = Channel::ALL.into_iter().find(|channel| channel.protocol() == protocol);
        let channel = channel.expect("only our protocols are negotiated");
        let Some(stream_peer) = self.shared.peer(&peer) else {
            self.shared.metrics.refused("not_validator");
            tracing::debug!(%peer, %channel, "stream refused: the peer is no validator here");
            self.refuse(streams::refuse_stream, stream);
            return;
        };
        let reader = self.tasks.spawn(streams::read_stream(
            Arc::clone(&self.shared),
            stream_peer,
            connection,
            channel,
            stream,
        ));
        if let Some(replaced) = self.readers.insert((peer, channel), reader) {
            replaced.abort();
        }
    }

    fn refuse<F>(&mut self, refusal: impl FnOnce(Arc<Shared>, Stream) -> F, stream: Stream)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
            let refusal = refusal(Arc::clone(&self.shared), stream);
            self.tasks.spawn(async move {
                refusal.await;
                drop(permit);
            });
        }
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                let id = GossipId { message: message_id, source: propagation_source };
                let Some(topic) = self.topics.find(&message.topic) else { return };
                let bytes = message.data.into();
                let event = Event::Gossip { id: id.clone(), topic, bytes };
                if self.shared.mailbox.gossip(event).is_err() {
                    self.swarm.behaviour_mut().gossip.report_message_validation_result(
                        &id.message,
                        &id.source,
                        gossipsub::MessageAcceptance::Ignore,
                    );
                }
            }
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                tracing::debug!(peer = %peer_id, "the peer is slow to take gossip");
            }
            _ => {}
        }
    }

    fn on_fault(&mut self, peer: PeerId, fault: Fault) {
        if peer == self.shared.local {
            return;
        }
        let now = Instant::now();
        let links = &mut self.swarm.behaviour_mut().links;
        // A peer that is banned already may have left more behind.
        let known = links.roster.banned_until(&peer, now).is_none();
        let banned = known && links.roster.fault(peer, now) == Standing::Banned;
        self.shared.metrics.fault(fault.label());
        tracing::warn!(%peer, banned, "fault of a peer: {fault}");
        if banned {
            self.shared.metrics.banned_total.inc();
            links.close_all(peer);
            if let Some(until) = links.roster.banned_until(&peer, now) {
                self.dialler.hold_until(&peer, until);
            }
        }
        self.shared.mailbox.notice(Event::Fault { peer, fault, banned });
    }

    fn on_refused(&mut self, address: &Multiaddr, peer: Option<PeerId>, error: &ListenError) {
        let refused = match error {
            ListenError::Denied { cause } => cause.downcast_ref::<Refused>().copied(),
            _ => None,
        };
        self.shared.metrics.refused(refused.map_or("handshake", Refused::label));
        let reason = refused.map_or_else(|| error.to_string(), |refused| refused.to_string());
        let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
        let now = Instant::now();
        // Anybody can knock; the log is not theirs to fill.
        if self.refusal_logged_at.is_none_or(|at| now - at >= REFUSAL_LOG_INTERVAL) {
            self.refusal_logged_at = Some(now);
            tracing::warn!(%address, peer, "connection refused: {reason}");
        } else {
            tracing::debug!(%address, peer, "connection refused: {reason}");
        }
    }

    fn dial(&mut self, dial: Dial) {
        let named = dial.addresses.iter().any(|address| host_of(address).is_none());
        if !named {
            self.dial_resolved(dial);
            return;
        }
        let (resolved, limit) = (self.resolved.0.clone(), self.shared.limits.handshake_timeout);
        self.tasks.spawn(async move {
            let Dial { peer, transport, addresses } = dial;
            let addresses = tokio::time::timeout(limit, resolve(addresses)).await;
            let addresses = addresses.unwrap_or_default();
            // Without a swarm task nobody dials.
            let _ = resolved.send(Dial { peer, transport, addresses });
        });
    }

    fn dial_resolved(&mut self, dial: Dial) {
        let Dial { peer, transport, addresses } = dial;
        for host in addresses.iter().filter_map(host_of) {
            self.links_mut().add_listed_host(host);
        }
        // A port of its own for each dial: a shared one would make two peers
        // that dial each other at once meet in the middle.
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(addresses)
            .override_dial_concurrency_factor(NonZeroU8::MIN)
            .allocate_new_port()
            .build();
        let connection = options.connection_id();
        self.dials.insert(connection, (peer, transport));
        if let Err(error) = self.swarm.dial(options) {
            self.dials.remove(&connection);
            self.on_dial_failed(peer, transport, &error);
        }
    }

    fn on_dial_failed(&mut self, peer: PeerId, transport: TransportKind, error: &DialError) {
        match error {
            DialError::WrongPeerId { obtained, address } => {
                tracing::warn!(%peer, %obtained, %address, "another peer answers at this address");
            }
            _ => tracing::debug!(%peer, ?transport, %error, "dial failed"),
        }
        self.dialler.on_failed(&peer, transport, Instant::now());
        let label = PeerLabel { peer: peer.to_string() };
        self.shared.metrics.dial_failures.get_or_create(&label).inc();
    }

    fn set_peers(&mut self, peers: &[PeerAddress]) {
        let hosts: HashSet<IpAddr> =
            peers.iter().filter_map(|peer| host_of(&peer.address)).collect();
        let links = &mut self.swarm.behaviour_mut().links;
        links.set_listed_hosts(hosts);
        links.roster.set_listed(peers.iter().map(|peer| peer.peer).collect());
        let now = Instant::now();
        self.dialler.set_peers(peers, |peer| links.connections(peer), now);
        for PeerAddress { peer, .. } in peers {
            if let Some(until) = links.roster.banned_until(peer, now) {
                self.dialler.hold_until(peer, until);
            }
        }
    }

    fn set_validators(&mut self, validators: BTreeSet<PeerId>) {
        let Behaviour { links, gossip, .. } = self.swarm.behaviour_mut();
        let old: BTreeSet<_> = links.roster.stream_peers().collect();
        links.roster.set_validators(validators);
        let new: BTreeSet<_> = links.roster.stream_peers().collect();
        for peer in old.difference(&new) {
            gossip.remove_explicit_peer(peer);
        }
        for peer in new.difference(&old) {
            gossip.add_explicit_peer(peer);
        }
        self.set_stream_peers();
    }

    /// Starts and stops stream tasks so that they match the roster.
    fn set_stream_peers(&mut self) {
        let wanted: BTreeSet<_> = self.links().roster.stream_peers().collect();
        let gone: Vec<_> =
            self.writers.keys().filter(|peer| !wanted.contains(peer)).copied().collect();
        for peer in gone {
            for task in self.writers.remove(&peer).into_iter().flatten() {
                task.abort();
            }
            for channel in Channel::ALL {
                if let Some(task) = self.readers.remove(&(peer, channel)) {
                    task.abort();
                }
            }
            self.shared.peers.write().expect("no holder panics").remove(&peer);
            let label = PeerLabel { peer: peer.to_string() };
            self.shared.metrics.round_trip.remove(&label);
        }
        for peer in wanted {
            if self.writers.contains_key(&peer) {
                continue;
            }
            let stream_peer =
                Arc::new(StreamPeer::new(peer, &self.shared.limits, &self.shared.metrics));
            let mut peers = self.shared.peers.write().expect("no holder panics");
            peers.insert(peer, Arc::clone(&stream_peer));
            drop(peers);
            let writers = Channel::ALL.map(|channel| {
                self.tasks.spawn(streams::write_for_ever(
                    Arc::clone(&self.shared),
                    Arc::clone(&stream_peer),
                    channel,
                ))
            });
            self.writers.insert(peer, writers);
            self.on_connections_changed(peer);
        }
    }

    /// Closes connections that would not be admitted any more.
    fn let_strangers_go(&mut self) {
        let links = self.links_mut();
        links.recount_followers();
        let now = Instant::now();
        let connected: Vec<_> = links.connected().copied().collect();
        for peer in connected {
            if links.roster.admit(&peer, 0, now).is_err() {
                links.close_all(peer);
            }
        }
    }

    fn links(&self) -> &Links {
        &self.swarm.behaviour().links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.swarm.behaviour_mut().links
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Replaces names by the addresses that they stand for at this moment, so that
/// a peer which moved is found again.
async fn resolve(addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
    let mut resolved = Vec::new();
    for address in addresses {
        let mut parts = address.iter();
        let name = match parts.next() {
            Some(name @ (Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_))) => name,
            _ => {
                resolved.push(address);
                continue;
            }
        };
        let rest: Multiaddr = parts.collect();
        let (host, wants_v4, wants_v6) = match &name {
            Protocol::Dns4(host) => (host, true, false),
            Protocol::Dns6(host) => (host, false, true),
            Protocol::Dns(host) => (host, true, true),
            _ => continue,
        };
        match tokio::net::lookup_host((host.as_ref(), 0)).await {
            Ok(found) => {
                for found in found.map(|found| found.ip()) {
                    if (found.is_ipv4() && wants_v4) || (found.is_ipv6() && wants_v6) {
                        let start = Multiaddr::from(found);
                        resolved.push(start.into_iter().chain(rest.iter()).collect());
                    }
                }
            }
            Err(error) => tracing::debug!(%host, %error, "a peer's name was not found"),
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::TransportError;

    #[test]
    fn an_error_is_told_with_its_causes() {
        let cause = io::Error::other("the cable is cut");
        // It says nothing itself.
        assert_eq!(causes(&TransportError::Other(cause)), "the cable is cut");
        let error = StartError::Listen { address: Multiaddr::empty(), reason: "of it".to_owned() };
        assert_eq!(causes(&io::Error::other(error)), "cannot listen on : of it");
    }
}
