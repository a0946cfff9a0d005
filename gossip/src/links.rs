//! The swarm's behaviour for direct streams and requests: it admits
//! connections, opens streams on the newest connection of a peer, and hands
//! incoming streams up. It never drops a stream by itself.

use crate::roster::{Refused, Roster};
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished, ListenFailure};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, NotifyHandler, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol,
    THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Connections with one peer, at most: one of each transport, and one that
/// replaces a connection whose death was not noticed yet, from either side.
const CONNECTIONS_PER_PEER_MAX: usize = 4;

/// Streams that wait to be opened on one connection, at most.
const PENDING_OPENS_MAX: usize = 64;

/// Addresses of listed peers that are remembered, at most.
const LISTED_HOSTS_MAX: usize = 4096;

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("the peer is not connected")]
    NotConnected,
    #[error("the peer does not speak {0}")]
    Unsupported(StreamProtocol),
    #[error("the connection failed: {0}")]
    Connection(String),
}

/// Where the opened stream is to be sent.
pub(crate) type OpenReply = oneshot::Sender<Result<Stream, OpenError>>;

/// A stream that a peer opened.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) peer: PeerId,
    pub(crate) connection: ConnectionId,
    pub(crate) protocol: StreamProtocol,
    pub(crate) stream: Stream,
}

/// One established connection.
#[derive(Clone, Copy, Debug)]
struct Link {
    id: ConnectionId,
    dialled_by_us: bool,
}

pub(crate) struct Links {
    pub(crate) roster: Roster,
    protocols: Arc<[StreamProtocol]>,
    handshake_timeout: Duration,
    /// Oldest first.
    links: HashMap<PeerId, Vec<Link>>,
    followers: HashSet<PeerId>,
    /// Addresses of listed peers, whose handshakes are never refused for others'.
    listed_hosts: HashSet<IpAddr>,
    pending_strangers: HashSet<ConnectionId>,
    pending_strangers_max: usize,
    actions: VecDeque<ToSwarm<Inbound, Open>>,
    waker: Option<Waker>,
}

impl Links {
    pub(crate) fn new(
        roster: Roster,
        protocols: Arc<[StreamProtocol]>,
        handshake_timeout: Duration,
        pending_strangers_max: usize,
    ) -> Self {
        Self {
            roster,
            protocols,
            handshake_timeout,
            links: HashMap::new(),
            followers: HashSet::new(),
            listed_hosts: HashSet::new(),
            pending_strangers: HashSet::new(),
            pending_strangers_max,
            actions: VecDeque::new(),
            waker: None,
        }
    }

    /// Notes where listed peers listen.
    pub(crate) fn set_listed_hosts(&mut self, hosts: HashSet<IpAddr>) {
        self.listed_hosts = hosts;
    }

    /// Adds one address of a listed peer, found by name.
    pub(crate) fn add_listed_host(&mut self, host: IpAddr) {
        if self.listed_hosts.len() < LISTED_HOSTS_MAX {
            self.listed_hosts.insert(host);
        }
    }

    /// Counts followers anew after members changed.
    pub(crate) fn recount_followers(&mut self) {
        let peers = self.links.keys();
        self.followers = peers.filter(|peer| !self.roster.is_member(peer)).copied().collect();
    }

    /// How many connections there are with the peer.
    pub(crate) fn connections(&self, peer: &PeerId) -> usize {
        self.links.get(peer).map_or(0, Vec::len)
    }

    /// The newest connection with the peer.
    pub(crate) fn newest(&self, peer: &PeerId) -> Option<ConnectionId> {
        self.links.get(peer)?.last().map(|link| link.id)
    }

    /// Every connected peer.
    pub(crate) fn connected(&self) -> impl Iterator<Item = &PeerId> {
        self.links.keys()
    }

    /// Whether this connection is established.
    pub(crate) fn is_established(&self, peer: &PeerId, connection: ConnectionId) -> bool {
        self.links.get(peer).is_some_and(|links| links.iter().any(|link| link.id == connection))
    }

    /// Opens a stream on the newest connection with the peer, or on the one named.
    pub(crate) fn open(
        &mut self,
        peer: PeerId,
        connection: Option<ConnectionId>,
        protocol: StreamProtocol,
        reply: OpenReply,
    ) {
        let connection = match connection {
            Some(connection) => self.is_established(&peer, connection).then_some(connection),
            None => self.newest(&peer),
        };
        let Some(connection) = connection else {
            // Whoever asked may have given up, and then needs no answer.
            let _ = reply.send(Err(OpenError::NotConnected));
            return;
        };
        self.actions.push_back(ToSwarm::NotifyHandler {
            peer_id: peer,
            handler: NotifyHandler::One(connection),
            event: Open { protocol, reply },
        });
        self.wake();
    }

    /// Closes one connection.
    pub(crate) fn close(&mut self, peer: PeerId, connection: ConnectionId) {
        self.actions.push_back(ToSwarm::CloseConnection {
            peer_id: peer,
            connection: libp2p::swarm::CloseConnection::One(connection),
        });
        self.wake();
    }

    /// Closes all connections with the peer.
    pub(crate) fn close_all(&mut self, peer: PeerId) {
        if self.links.contains_key(&peer) {
            self.actions.push_back(ToSwarm::CloseConnection {
                peer_id: peer,
                connection: libp2p::swarm::CloseConnection::All,
            });
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn admit(&mut self, peer: &PeerId) -> Result<Handler, ConnectionDenied> {
        let followers = self.followers.len() - usize::from(self.followers.contains(peer));
        self.roster.admit(peer, followers, Instant::now()).map_err(ConnectionDenied::new)?;
        Ok(Handler {
            protocols: Arc::clone(&self.protocols),
            handshake_timeout: self.handshake_timeout,
            opens: VecDeque::new(),
            inbound: VecDeque::new(),
            waker: None,
        })
    }

    fn on_established(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        if !self.roster.is_member(&peer) {
            self.followers.insert(peer);
        }
        let dialled_by_us = endpoint.is_dialer();
        let links = self.links.entry(peer).or_default();
        // A second connection dialled by the peer means that the peer does not
        // know the first any more; it restarted, or its end was cut. The peer
        // with both would wait in vain for an answer on the older one.
        let mut dead: Vec<_> = links
            .iter()
            .filter(|link| !dialled_by_us && !link.dialled_by_us)
            .map(|link| link.id)
            .collect();
        links.push(Link { id, dialled_by_us });
        if links.len() - dead.len() > CONNECTIONS_PER_PEER_MAX {
            dead.push(links[0].id);
        }
        for connection in dead {
            self.close(peer, connection);
        }
    }

    fn on_closed(&mut self, peer: PeerId, id: ConnectionId) {
        if let Some(links) = self.links.get_mut(&peer) {
            links.retain(|link| link.id != id);
            if links.is_empty() {
                self.links.remove(&peer);
                self.followers.remove(&peer);
            }
        }
    }
}

/// The IP address that a multiaddress begins with.
pub(crate) fn host_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(host) => Some(host.into()),
        Protocol::Ip6(host) => Some(host.into()),
        _ => None,
    }
}

impl NetworkBehaviour for Links {
    type ConnectionHandler = Handler;
    type ToSwarm = Inbound;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        if host_of(remote).is_some_and(|host| self.listed_hosts.contains(&host)) {
            return Ok(());
        }
        let pending = self.pending_strangers.len();
        if pending >= self.pending_strangers_max {
            return Err(ConnectionDenied::new(Refused::TooManyPending(pending)));
        }
        self.pending_strangers.insert(connection);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.pending_strangers.remove(&connection);
        self.admit(&peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _connection: ConnectionId,
        peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(&peer)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => self.on_established(peer_id, connection_id, endpoint),
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.on_closed(peer_id, connection_id);
            }
            FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.pending_strangers.remove(&connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        (stream, protocol): THandlerOutEvent<Self>,
    ) {
        let inbound = Inbound { peer, connection, protocol, stream };
        self.actions.push_back(ToSwarm::GenerateEvent(inbound));
        self.wake();
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.actions.pop_front() {
            Some(action) => Poll::Ready(action),
            None => {
                self.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Asks a connection to open a stream.
#[derive(Debug)]
pub(crate) struct Open {
    protocol: StreamProtocol,
    reply: OpenReply,
}

/// The part of [`Links`] that lives with each connection.
pub(crate) struct Handler {
    protocols: Arc<[StreamProtocol]>,
    handshake_timeout: Duration,
    opens: VecDeque<Open>,
    inbound: VecDeque<(Stream, StreamProtocol)>,
    waker: Option<Waker>,
}

impl Handler {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = (Stream, StreamProtocol);
    type InboundProtocol = Protocols;
    type OutboundProtocol = Protocols;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = (StreamProtocol, OpenReply);

    fn listen_protocol(&self) -> SubstreamProtocol<Protocols, ()> {
        SubstreamProtocol::new(Protocols(Arc::clone(&self.protocols)), ())
            .with_timeout(self.handshake_timeout)
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Protocols, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if let Some(stream) = self.inbound.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(stream));
        }
        while let Some(Open { protocol, reply }) = self.opens.pop_front() {
            if reply.is_closed() {
                continue;
            }
            let upgrade = Protocols(Arc::new([protocol.clone()]));
            let protocol = SubstreamProtocol::new(upgrade, (protocol, reply))
                .with_timeout(self.handshake_timeout);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, open: Open) {
        if self.opens.len() >= PENDING_OPENS_MAX {
            let full = OpenError::Connection("too many streams wait to be opened".to_owned());
            // Whoever asked may have given up, and then needs no answer.
            let _ = open.reply.send(Err(full));
            return;
        }
        self.opens.push_back(open);
        self.wake();
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Protocols, Protocols, (), Self::OutboundOpenInfo>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol, ..
            }) => {
                self.inbound.push_back(protocol);
                self.wake();
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (stream, _),
                info: (_, reply),
            }) => {
                // Whoever asked may have given up; the stream is then closed.
                let _ = reply.send(Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError {
                info: (protocol, reply),
                error,
            }) => {
                let error = match error {
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported(protocol),
                    StreamUpgradeError::Timeout => {
                        OpenError::Connection("opening the stream took too long".to_owned())
                    }
                    StreamUpgradeError::Io(error) => OpenError::Connection(error.to_string()),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                // Whoever asked may have given up, and then needs no answer.
                let _ = reply.send(Err(error));
            }
            _ => {}
        }
    }
}

/// Negotiates one of several protocols and passes the stream through.
#[derive(Clone, Debug)]
pub(crate) struct Protocols(Arc<[StreamProtocol]>);

impl UpgradeInfo for Protocols {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        Vec::from(&*self.0).into_iter()
    }
}

impl InboundUpgrade<Stream> for Protocols {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

impl OutboundUpgrade<Stream> for Protocols {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}
