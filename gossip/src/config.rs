//! What a network is started with: addresses, members and limits.

use crate::handshake::Hello;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

/// Everything that [`crate::Network::start`] needs to know.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The network key; its public half is the node's peer id.
    pub identity: Keypair,
    /// Where to listen: `/ip4/…/tcp/…` and `/ip4/…/udp/…/quic-v1`. Port 0 lets the system choose.
    pub listen: Vec<Multiaddr>,
    /// The peers to stay connected to, as `peers.json` lists them. Our own entry is skipped.
    pub peers: Vec<PeerAddress>,
    /// Who may open consensus and bulk streams. We open them only if we are among these.
    pub validators: BTreeSet<PeerId>,
    /// Whether peers that are neither listed nor validators may connect, for gossip and requests.
    pub followers_allowed: bool,
    /// What we say of ourselves when a stream opens.
    pub hello: Hello,
    /// The transport that is dialled first; the other follows when it fails.
    pub dial_first: TransportKind,
    /// Times and bounds.
    pub limits: Limits,
}

impl NetworkConfig {
    /// A network that no other machine reaches: it listens at a free TCP port of the loopback and
    /// knows no peers yet.
    #[must_use]
    pub fn on_loopback(identity: Keypair, validators: BTreeSet<PeerId>, hello: Hello) -> Self {
        let listen = Multiaddr::empty().with(Protocol::Ip4(Ipv4Addr::LOCALHOST));
        Self {
            identity,
            listen: vec![listen.with(Protocol::Tcp(0))],
            peers: Vec::new(),
            validators,
            followers_allowed: false,
            hello,
            dial_first: TransportKind::Tcp,
            limits: Limits::default(),
        }
    }
}

/// Times and bounds of the network. The defaults suit seven validators.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A peer to which nothing was sent for this long is sent a heartbeat.
    pub heartbeat_interval: Duration,
    /// A connection whose consensus stream was silent for this long is closed and dialled anew.
    pub silence_max: Duration,
    /// First pause between two dials of one address; doubles with each failure.
    pub dial_backoff_min: Duration,
    /// Longest pause between two dials of one address.
    pub dial_backoff_max: Duration,
    /// How long the peer with the higher id leaves dialling to the other.
    pub dial_grace: Duration,
    /// Time for a connection's handshakes, and for opening a stream.
    pub handshake_timeout: Duration,
    /// Connected peers that are neither listed nor validators, at most.
    pub followers_max: usize,
    /// Connections that are in their handshake and come from addresses not listed, at most.
    pub pending_strangers_max: usize,
    /// Faults within [`Limits::fault_window`] that lead to a ban.
    pub faults_to_ban: u32,
    /// Time over which faults are counted.
    pub fault_window: Duration,
    /// How long a ban lasts.
    pub ban: Duration,
    /// Frames that wait for one peer's consensus stream, at most.
    pub consensus_queue_frames_max: usize,
    /// Bytes that wait for one peer's consensus stream, at most.
    pub consensus_queue_bytes_max: usize,
    /// Frames that wait for one peer's bulk stream, at most.
    pub bulk_queue_frames_max: usize,
    /// Bytes that wait for one peer's bulk stream, at most.
    pub bulk_queue_bytes_max: usize,
    /// A frame that waited longer than this for its stream is dropped.
    pub queue_age_max: Duration,
    /// Consensus frames of one peer that are read per second, at most; more wait in its stream.
    pub consensus_frames_per_second_max: u32,
    /// Gossip messages of one topic that one peer passes to us per second, at most; more are
    /// ignored.
    pub gossip_per_second_max: u32,
    /// Requests of one peer that are answered at the same time, and ours to it.
    pub requests_per_peer_max: usize,
    /// Time to read a request, and to answer it.
    pub request_serve_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(200),
            silence_max: Duration::from_secs(5),
            dial_backoff_min: Duration::from_millis(100),
            dial_backoff_max: Duration::from_secs(3),
            dial_grace: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(5),
            followers_max: 128,
            pending_strangers_max: 64,
            faults_to_ban: 3,
            fault_window: Duration::from_secs(60),
            ban: Duration::from_secs(60),
            consensus_queue_frames_max: 1024,
            consensus_queue_bytes_max: 8 << 20,
            bulk_queue_frames_max: 256,
            bulk_queue_bytes_max: 64 << 20,
            queue_age_max: Duration::from_secs(10),
            consensus_frames_per_second_max: 10_000,
            gossip_per_second_max: 200,
            requests_per_peer_max: 8,
            request_serve_timeout: Duration::from_secs(30),
        }
    }
}

/// The two transports, both with the post-quantum hybrid key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransportKind {
    /// TLS 1.3 on TCP with the yamux multiplexer.
    Tcp,
    /// QUIC version 1 on UDP.
    Quic,
}

impl TransportKind {
    /// Both, in no order of preference.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Quic];

    /// The transport of an address, or `None` if it is neither.
    #[must_use]
    pub fn of(address: &Multiaddr) -> Option<Self> {
        let mut parts = address.iter();
        let host = parts.next()?;
        if !matches!(
            host,
            Protocol::Ip4(_)
                | Protocol::Ip6(_)
                | Protocol::Dns(_)
                | Protocol::Dns4(_)
                | Protocol::Dns6(_)
        ) {
            return None;
        }
        let kind = match (parts.next()?, parts.next()) {
            (Protocol::Tcp(_), None) => Self::Tcp,
            (Protocol::Udp(_), Some(Protocol::QuicV1)) => Self::Quic,
            _ => return None,
        };
        parts.next().is_none().then_some(kind)
    }
}

/// Where one peer listens, written `/ip4/203.0.113.20/tcp/7000/p2p/12D3K…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Who.
    pub peer: PeerId,
    /// Where, without the `/p2p/…` part.
    pub address: Multiaddr,
    /// Which transport the address is of.
    pub transport: TransportKind,
}

impl FromStr for PeerAddress {
    type Err = PeerAddressError;

    fn from_str(text: &str) -> Result<Self, PeerAddressError> {
        let refuse = |reason| PeerAddressError::Refused { address: text.to_owned(), reason };
        let mut address: Multiaddr =
            text.parse().map_err(|_| refuse("it is not a multiaddress"))?;
        let Some(Protocol::P2p(peer)) = address.pop() else {
            return Err(refuse("it does not end with /p2p/ and a peer id"));
        };
        let transport = TransportKind::of(&address).ok_or_else(|| {
            refuse("it is neither /ip4|ip6|dns/…/tcp/PORT nor /ip4|ip6|dns/…/udp/PORT/quic-v1")
        })?;
        Ok(Self { peer, address, transport })
    }
}

/// Why a list of peers was refused.
#[derive(Debug, thiserror::Error)]
pub enum PeerAddressError {
    /// One address cannot be used.
    #[error("peer address {address:?} cannot be used: {reason}")]
    Refused {
        /// The address as written.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file is not `{"bootnodes": ["…"]}`.
    #[error("the list of peers is not {{\"bootnodes\": [\"…\"]}}: {0}")]
    Json(#[from] serde_json::Error),
}

/// Reads the text of a `peers.json`.
///
/// # Errors
/// When it is not the expected JSON, or one of its addresses cannot be used.
pub fn parse_peers(json: &str) -> Result<Vec<PeerAddress>, PeerAddressError> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct PeersFile {
        bootnodes: Vec<String>,
    }
    let file: PeersFile = serde_json::from_str(json)?;
    file.bootnodes.iter().map(|text| text.parse()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

    #[test]
    fn addresses_of_both_transports_are_read() {
        for (text, transport) in [
            (format!("/ip4/203.0.113.20/tcp/7000/p2p/{PEER}"), TransportKind::Tcp),
            (format!("/ip6/::1/udp/7001/quic-v1/p2p/{PEER}"), TransportKind::Quic),
            (format!("/dns4/node-1/tcp/7000/p2p/{PEER}"), TransportKind::Tcp),
        ] {
            let address: PeerAddress = text.parse().unwrap();
            assert_eq!(address.transport, transport, "{text}");
            assert_eq!(address.peer.to_string(), PEER);
        }
    }

    #[test]
    fn addresses_that_cannot_be_dialled_are_refused() {
        for text in [
            "203.0.113.20:7000".to_owned(),
            "/ip4/203.0.113.20/tcp/7000".to_owned(),
            format!("/ip4/203.0.113.20/udp/7000/p2p/{PEER}"),
            format!("/ip4/203.0.113.20/tcp/7000/ws/p2p/{PEER}"),
            format!("/memory/1/p2p/{PEER}"),
        ] {
            let error = text.parse::<PeerAddress>().unwrap_err();
            assert!(error.to_string().contains(&text), "{error}");
        }
    }

    #[test]
    fn a_list_of_peers_with_a_stray_key_is_refused() {
        let good = format!(r#"{{"bootnodes": ["/ip4/127.0.0.1/tcp/1/p2p/{PEER}"]}}"#);
        assert_eq!(parse_peers(&good).unwrap().len(), 1);
        let stray = good.replace("}", r#", "bootnode": []}"#);
        assert!(parse_peers(&stray).unwrap_err().to_string().contains("bootnode"));
    }
}
