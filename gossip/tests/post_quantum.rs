//! The key exchange of both transports is the hybrid X25519MLKEM768, seen on
//! the wire of real connections and in the library's own configurations, and
//! classical Noise finds no one to talk to.

mod common;

use bizra_gossip::{Keypair, PeerAddress, TransportKind};
use common::{Node, config, keys, peer_id, port, run};
use futures::StreamExt;
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::{SwarmBuilder, tcp, yamux};
use rustls::quic::{Keys, Version};
use rustls::{ClientConnection, NamedGroup, ServerConnection, Side};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;

/// IANA's number of X25519MLKEM768.
const HYBRID: u16 = 0x11EC;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const KEY_SHARE: u16 = 51;

/// A cursor that panics at the end: what is parsed here is trusted.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn number(&mut self, size: usize) -> usize {
        self.take(size).iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    fn vector(&mut self, length_size: usize) -> Bytes<'a> {
        let length = self.number(length_size);
        Bytes(self.take(length))
    }
}

/// The groups of the key shares in a ClientHello or ServerHello, in their order.
fn key_share_groups(handshake: &[u8], expected: u8) -> Vec<u16> {
    let mut message = Bytes(handshake);
    assert_eq!(message.number(1), usize::from(expected));
    let mut hello = message.vector(3);
    hello.take(2 + 32);
    hello.vector(1);
    if expected == CLIENT_HELLO {
        hello.vector(2);
        hello.vector(1);
    } else {
        hello.take(3);
    }
    let mut extensions = hello.vector(2);
    while !extensions.0.is_empty() {
        let kind = extensions.number(2) as u16;
        let mut body = extensions.vector(2);
        if kind != KEY_SHARE {
            continue;
        }
        if expected == SERVER_HELLO {
            return vec![body.number(2) as u16];
        }
        let mut shares = body.vector(2);
        let mut groups = Vec::new();
        while !shares.0.is_empty() {
            groups.push(shares.number(2) as u16);
            shares.vector(2);
        }
        return groups;
    }
    panic!("no key share");
}

/// Starts a node that can be reached by the relay's port only, and one that dials it there.
async fn two_nodes_through(relay: impl AsyncFnOnce(u16) -> u16, transport: TransportKind) {
    let keys = keys(2);
    let target = Node::start(config(&keys[0], &keys)).await;
    let mut dialler = Node::start(config(&keys[1], &keys)).await;
    let here = relay(port(&target.address(transport).address)).await;
    let path = match transport {
        TransportKind::Tcp => format!("tcp/{here}"),
        TransportKind::Quic => format!("udp/{here}/quic-v1"),
    };
    let address = format!("/ip4/127.0.0.1/{path}/p2p/{}", target.peer());
    dialler.network.update_peers(vec![address.parse::<PeerAddress>().unwrap()]);
    dialler.opened(target.peer()).await;
}

/// Copies one direction and tells what passes.
fn tap(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    seen: mpsc::UnboundedSender<Vec<u8>>,
) {
    tokio::spawn(async move {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            // The test may have seen enough.
            let _ = seen.send(buffer[..count].to_vec());
            if to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    });
}

/// What passed in the clear before TLS, and the first TLS handshake message.
fn split_tcp(bytes: &[u8]) -> (Vec<String>, Vec<u8>) {
    let mut bytes = Bytes(bytes);
    let mut offers = Vec::new();
    while bytes.0[0] != 0x16 {
        let line = bytes.vector(1);
        offers.push(String::from_utf8(line.0.to_vec()).unwrap().trim_end().to_owned());
    }
    bytes.take(3);
    (offers, bytes.vector(2).0.to_vec())
}

#[test]
fn tcp_connections_agree_on_the_hybrid_key_exchange() {
    run(async {
        let (up, mut up_seen) = mpsc::unbounded_channel();
        let (down, mut down_seen) = mpsc::unbounded_channel();
        let relay = async move |to: u16| {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let here = listener.local_addr().unwrap().port();
            tokio::spawn(async move {
                let (near, _) = listener.accept().await.unwrap();
                let far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let ((near_read, near_write), (far_read, far_write)) =
                    (near.into_split(), far.into_split());
                tap(near_read, far_write, up);
                tap(far_read, near_write, down);
            });
            here
        };
        two_nodes_through(relay, TransportKind::Tcp).await;
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        while let Ok(bytes) = up_seen.try_recv() {
            sent.extend(bytes);
        }
        while let Ok(bytes) = down_seen.try_recv() {
            received.extend(bytes);
        }
        let (offers, client_hello) = split_tcp(&sent);
        assert_eq!(offers, ["/multistream/1.0.0", "/tls/1.0.0"]);
        assert_eq!(key_share_groups(&client_hello, CLIENT_HELLO)[0], HYBRID);
        let (answers, server_hello) = split_tcp(&received);
        assert_eq!(answers, ["/multistream/1.0.0", "/tls/1.0.0"]);
        assert_eq!(key_share_groups(&server_hello, SERVER_HELLO), [HYBRID]);
    });
}

/// Reads a QUIC variable-length integer.
fn varint(bytes: &mut Bytes<'_>) -> usize {
    let first = bytes.number(1);
    let more = (1 << (first >> 6)) - 1;
    bytes.take(more).iter().fold(first & 0x3f, |number, byte| number << 8 | usize::from(*byte))
}

/// What one side of a QUIC handshake said in its Initial packets.
struct Initials {
    keys: Keys,
    crypto: BTreeMap<usize, Vec<u8>>,
}

impl Initials {
    fn new(client_connection_id: &[u8], side: Side) -> Self {
        let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
        let suite = suite.tls13().unwrap().quic_suite().unwrap();
        // The keys of the other side are those that open what this side sent.
        let reader = if side == Side::Client { Side::Server } else { Side::Client };
        let keys = suite.keys(client_connection_id, reader, Version::V1);
        Self { keys, crypto: BTreeMap::new() }
    }

    /// Takes in every Initial packet of a datagram (RFC 9000, section 17.2.2; RFC 9001, section 5).
    fn take_in(&mut self, datagram: &[u8]) {
        let mut rest = datagram;
        while rest.first().is_some_and(|first| first & 0x80 != 0) {
            let is_initial = rest[0] & 0x30 == 0;
            let mut packet = Bytes(rest);
            packet.take(1 + 4);
            packet.vector(1);
            packet.vector(1);
            if is_initial {
                let token_length = varint(&mut packet);
                packet.take(token_length);
            }
            let length = varint(&mut packet);
            let number_at = rest.len() - packet.0.len();
            let end = number_at + length;
            if is_initial {
                self.open(rest[..end].to_vec(), number_at);
            }
            rest = &rest[end..];
        }
    }

    fn open(&mut self, mut packet: Vec<u8>, number_at: usize) {
        let protection = &self.keys.remote.header;
        let sample_at = number_at + 4;
        let sample = packet[sample_at..sample_at + protection.sample_len()].to_vec();
        let (head, body) = packet.split_at_mut(number_at);
        protection.decrypt_in_place(&sample, &mut head[0], &mut body[..4]).unwrap();
        let number_size = usize::from(head[0] & 3) + 1;
        let number = Bytes(&body[..number_size]).number(number_size) as u64;
        let (header, payload) = packet.split_at_mut(number_at + number_size);
        let header = header.to_vec();
        let payload = self.keys.remote.packet.decrypt_in_place(number, &header, payload).unwrap();
        let mut frames = Bytes(payload);
        while !frames.0.is_empty() {
            match varint(&mut frames) {
                0 | 1 => {}
                2 => {
                    varint(&mut frames);
                    varint(&mut frames);
                    let ranges = varint(&mut frames);
                    for _ in 0..1 + 2 * ranges {
                        varint(&mut frames);
                    }
                }
                6 => {
                    let offset = varint(&mut frames);
                    let length = varint(&mut frames);
                    self.crypto.insert(offset, frames.take(length).to_vec());
                }
                kind => panic!("a frame of kind {kind} in an Initial packet"),
            }
        }
    }

    /// The bytes of the handshake, once they are there without a gap.
    fn handshake(&self) -> Vec<u8> {
        let mut whole = Vec::new();
        for (offset, bytes) in &self.crypto {
            assert!(*offset <= whole.len(), "a gap at {}", whole.len());
            whole.truncate(*offset);
            whole.extend_from_slice(bytes);
        }
        whole
    }
}

#[test]
fn quic_connections_agree_on_the_hybrid_key_exchange() {
    run(async {
        let (seen, mut datagrams) = mpsc::unbounded_channel();
        let relay = async move |to: u16| {
            let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            far.connect(("127.0.0.1", to)).await.unwrap();
            let here = near.local_addr().unwrap().port();
            tokio::spawn(async move {
                let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
                let mut dialler: Option<SocketAddr> = None;
                loop {
                    let (side, datagram) = tokio::select! {
                        received = near.recv_from(&mut up) => {
                            let (count, from) = received.unwrap();
                            dialler = Some(from);
                            far.send(&up[..count]).await.unwrap();
                            (Side::Client, up[..count].to_vec())
                        }
                        received = far.recv(&mut down) => {
                            // The target may have gone at the end of the test.
                            let Ok(count) = received else { return };
                            let to = dialler.expect("the dialler spoke first");
                            near.send_to(&down[..count], to).await.unwrap();
                            (Side::Server, down[..count].to_vec())
                        }
                    };
                    // The test may have seen enough.
                    let _ = seen.send((side, datagram));
                }
            });
            here
        };
        two_nodes_through(relay, TransportKind::Quic).await;
        let mut sides: Option<(Initials, Initials)> = None;
        while let Ok((side, datagram)) = datagrams.try_recv() {
            let (client, server) = sides.get_or_insert_with(|| {
                let mut packet = Bytes(&datagram);
                packet.take(1 + 4);
                let id = packet.vector(1).0;
                (Initials::new(id, Side::Client), Initials::new(id, Side::Server))
            });
            match side {
                Side::Client => client.take_in(&datagram),
                Side::Server => server.take_in(&datagram),
            }
        }
        let (client, server) = sides.unwrap();
        assert_eq!(key_share_groups(&client.handshake(), CLIENT_HELLO)[0], HYBRID);
        assert_eq!(key_share_groups(&server.handshake(), SERVER_HELLO), [HYBRID]);
    });
}

#[test]
fn the_configurations_of_both_transports_agree_on_the_hybrid_key_exchange() {
    let (client_key, server_key) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let client_config =
        libp2p_tls::make_client_config(&client_key, Some(peer_id(&server_key))).unwrap();
    let server_config = libp2p_tls::make_server_config(&server_key).unwrap();
    let name = "127.0.0.1".try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(client_config), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server_config)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut line = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut line).unwrap();
        }
        let mut line = &line[..];
        while !line.is_empty() {
            server.read_tls(&mut line).unwrap();
            server.process_new_packets().unwrap();
        }
        let mut line = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut line).unwrap();
        }
        let mut line = &line[..];
        while !line.is_empty() {
            client.read_tls(&mut line).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    for group in [client.negotiated_key_exchange_group(), server.negotiated_key_exchange_group()] {
        assert_eq!(group.unwrap().name(), NamedGroup::X25519MLKEM768);
    }
}

#[test]
fn a_peer_that_offers_only_classical_noise_is_refused() {
    run(async {
        let keys = keys(2);
        let node = Node::start(config(&keys[0], &keys)).await;
        let address = node.address(TransportKind::Tcp);
        // The key is that of a validator: only the transport is wrong.
        let mut swarm = SwarmBuilder::with_existing_identity(keys[1].clone())
            .with_tokio()
            .with_tcp(tcp::Config::default(), libp2p_noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| libp2p_stream::Behaviour::new())
            .unwrap()
            .build();
        let options = DialOpts::peer_id(address.peer).addresses(vec![address.address]).build();
        swarm.dial(options).unwrap();
        let error = loop {
            match swarm.select_next_some().await {
                SwarmEvent::OutgoingConnectionError { error, .. } => break error,
                SwarmEvent::ConnectionEstablished { .. } => panic!("Noise was accepted"),
                _ => {}
            }
        };
        assert!(format!("{error:?}").contains("Failed"), "{error:?}");
        assert_eq!(node.metric("bizra_gossip_peers"), 0.0);
    });
}
