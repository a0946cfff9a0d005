//! Honest nodes: the mesh, the direct streams, and coming back.

mod common;

use bizra_gossip::{
    Channel, Event, Incompatible, Network, NetworkConfig, PeerAddress, SendError, TransportKind,
};
use bizra_types::hash::ChainId;
use bytes::Bytes;
use common::{
    Node, PATIENCE, config, everyone_closed, everyone_opened, introduce, keys, mesh, peer_id, port,
    run, sorted_keys,
};
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

fn numbered(channel: Channel, number: u32, size: usize) -> Bytes {
    let mut bytes = vec![channel as u8; size];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes.into()
}

fn number(bytes: &Bytes) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

#[test]
fn seven_nodes_mesh_up_and_their_messages_arrive_in_order() {
    run(async {
        // However slow the machine, nothing is dropped for its age here.
        let patient = |config: &mut NetworkConfig| config.limits.queue_age_max = PATIENCE;
        let mut nodes = mesh(&keys(7), patient).await;
        const CONSENSUS: u32 = 200;
        const BULK: u32 = 20;
        for node in &nodes {
            for i in 0..CONSENSUS {
                let size = if i == 100 { Channel::Consensus.message_size_max() } else { 200 };
                let message = numbered(Channel::Consensus, i, size);
                node.send_all(Channel::Consensus, &message);
            }
            for i in 0..BULK {
                let size = if i == 10 { Channel::Bulk.message_size_max() } else { 100_000 };
                let message = numbered(Channel::Bulk, i, size);
                node.send_all(Channel::Bulk, &message);
            }
        }
        for node in &mut nodes {
            let mut next = HashMap::new();
            for _ in 0..6 * (CONSENSUS + BULK) {
                let (peer, channel, bytes) = node.message().await;
                let next: &mut u32 = next.entry((peer, channel)).or_default();
                assert_eq!(number(&bytes), *next, "from {peer} on {channel}");
                assert!(bytes[4..].iter().all(|byte| *byte == channel as u8));
                *next += 1;
            }
            assert_eq!(next.len(), 12);
            assert_eq!(node.metric("bizra_gossip_peers"), 6.0);
        }
        for node in &nodes {
            assert_eq!(node.metric("bizra_gossip_mesh_peers"), 6.0);
            assert!(node.network.status().iter().all(|peer| peer.consensus_open && peer.bulk_open));
        }
    });
}

#[test]
fn nodes_that_know_only_their_quic_addresses_mesh_up() {
    run(async {
        let keys = keys(3);
        let mut nodes = Vec::new();
        for key in &keys {
            nodes.push(Node::start(config(key, &keys)).await);
        }
        let quic: Vec<_> = nodes.iter().map(|node| node.address(TransportKind::Quic)).collect();
        for node in &nodes {
            node.network.update_peers(quic.clone());
        }
        everyone_opened(&mut nodes).await;
        let message = numbered(Channel::Bulk, 0, 3_000_000);
        nodes[0].send_all(Channel::Bulk, &message);
        for node in &mut nodes[1..] {
            assert_eq!(node.message().await.2, message);
        }
    });
}

#[test]
fn consensus_passes_while_bulk_is_stuck() {
    run(async {
        let patient = |config: &mut NetworkConfig| config.limits.queue_age_max = PATIENCE;
        let mut nodes = mesh(&keys(2), patient).await;
        let (mut receiver, mut sender) = (nodes.remove(1), nodes.remove(0));
        // The receiver's owner takes nothing, so what it can hold is bounded
        // and bulk stands still in the end.
        let flood = Bytes::from(vec![0; Channel::Bulk.message_size_max()]);
        let mut accepted = 0;
        loop {
            match sender.network.send(&receiver.peer(), Channel::Bulk, flood.clone()) {
                Ok(()) => accepted += 1,
                Err(SendError::Full { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let vote = Bytes::from_static(b"vote");
        sender.network.send(&receiver.peer(), Channel::Consensus, vote.clone()).unwrap();
        // Echoes of heartbeats that were sent after the vote: the consensus
        // stream moves although bulk does not.
        let mut echoes = 0;
        while echoes < 4 {
            sender
                .wait(|event| match event {
                    Event::Heard { round_trip: Some(_), .. } => Some(()),
                    _ => None,
                })
                .await;
            echoes += 1;
        }
        let (mut consensus_before, mut bulk_before) = (0, 0);
        receiver
            .wait(|event| match event {
                Event::Message { bytes, .. } if bytes == vote => Some(()),
                Event::Message { channel: Channel::Bulk, .. } => {
                    bulk_before += 1;
                    None
                }
                _ => {
                    consensus_before += 1;
                    None
                }
            })
            .await;
        assert!(bulk_before <= consensus_before / 64, "{bulk_before} of bulk went first");
        for _ in bulk_before..accepted {
            assert_eq!(receiver.message().await.2.len(), flood.len());
        }
        assert_eq!(
            sender.metric(r#"bizra_gossip_queue_drops_total{channel="bulk",reason="full"}"#),
            1.0
        );
    });
}

#[test]
fn a_peer_is_read_no_further_while_the_owner_holds_its_messages() {
    run(async {
        let patient = |config: &mut NetworkConfig| config.limits.queue_age_max = PATIENCE;
        let mut nodes = mesh(&keys(3), patient).await;
        let (sender, other) = (nodes[1].peer(), nodes[2].peer());
        let receiver = nodes[0].peer();
        let message = Bytes::from(vec![1; Channel::Bulk.message_size_max() / 2]);
        const SENT: usize = 12;
        for _ in 0..SENT {
            nodes[1].network.send(&receiver, Channel::Bulk, message.clone()).unwrap();
        }
        // The owner holds what its sender has a share for, and then the other
        // validator's message comes through although the first has more to say.
        let mut held = Vec::new();
        while held.len() < 7 {
            let (peer, _, bytes) = nodes[0].message().await;
            assert_eq!(peer, sender);
            held.push(bytes);
        }
        nodes[2].network.send(&receiver, Channel::Bulk, Bytes::from_static(b"mine")).unwrap();
        let (peer, _, bytes) = nodes[0].message().await;
        assert_eq!((peer, &bytes[..]), (other, &b"mine"[..]));
        let mut received = held.len();
        held.clear();
        while received < SENT {
            assert_eq!(nodes[0].message().await.0, sender);
            received += 1;
        }
    });
}

#[test]
fn heartbeats_measure_the_round_trip_of_idle_peers() {
    run(async {
        let mut nodes = mesh(&keys(2), |_| {}).await;
        for node in &mut nodes {
            let round_trip = node
                .wait(|event| match event {
                    Event::Heard { round_trip, .. } => round_trip,
                    _ => None,
                })
                .await;
            assert!(round_trip < Duration::from_secs(5), "{round_trip:?}");
            assert!(node.network.status()[0].round_trip.is_some());
        }
    });
}

#[test]
fn a_node_that_restarts_elsewhere_is_found_by_the_new_list() {
    run(async {
        let keys = sorted_keys(2);
        // Once the node with the lower id restarts, once the one with the higher.
        for restarted in [0, 1] {
            let mut nodes = mesh(&keys, |_| {}).await;
            let gone = nodes.remove(restarted);
            let mut stayed = nodes.remove(0);
            gone.network.shutdown().await;
            stayed.closed(gone.peer()).await;
            drop(gone);

            let again = Node::start(config(&keys[restarted], &keys)).await;
            let mut nodes = [stayed, again];
            introduce(&nodes).await;
            let [stayed, again] = &mut nodes;
            again.opened(stayed.peer()).await;
            stayed.opened(again.peer()).await;
            stayed
                .network
                .send(&again.peer(), Channel::Consensus, Bytes::from_static(b"welcome"))
                .unwrap();
            assert_eq!(again.message().await.2, "welcome");
        }
    });
}

#[test]
fn the_owner_learns_that_the_network_stopped() {
    run(async {
        let keys = keys(2);
        let mut node = Node::start(config(&keys[0], &keys)).await;
        let handle = node.network.clone();
        handle.shutdown().await;
        while node.events.recv().await.is_some() {}
        handle.shutdown().await;
        assert_eq!(handle.connected(), 0);
    });
}

/// A line between two nodes that can be cut.
async fn line(to: u16) -> (u16, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap().port();
    let (whole, whole_receiver) = watch::channel(true);
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut whole = whole_receiver.clone();
            tokio::spawn(async move {
                if !*whole.borrow_and_update() {
                    return;
                }
                let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _ = whole.wait_for(|whole| !*whole) => {}
                }
            });
        }
    });
    (here, whole)
}

#[test]
fn when_all_links_are_cut_and_mended_the_mesh_returns_without_a_restart() {
    run(async {
        let keys = keys(3);
        let mut nodes = Vec::new();
        let mut cuts = Vec::new();
        let mut addresses = Vec::new();
        for key in &keys {
            let node = Node::start(config(key, &keys)).await;
            let (here, cut) = line(port(&node.address(TransportKind::Tcp).address)).await;
            let text = format!("/ip4/127.0.0.1/tcp/{here}/p2p/{}", node.peer());
            addresses.push(text.parse::<PeerAddress>().unwrap());
            cuts.push(cut);
            nodes.push(node);
        }
        for node in &nodes {
            node.network.update_peers(addresses.clone());
        }
        everyone_opened(&mut nodes).await;
        for cut in &cuts {
            cut.send_replace(false);
        }
        everyone_closed(&mut nodes).await;
        for cut in &cuts {
            cut.send_replace(true);
        }
        everyone_opened(&mut nodes).await;
        let message = Bytes::from_static(b"again");
        nodes[0].send_all(Channel::Bulk, &message);
        for node in &mut nodes[1..] {
            assert_eq!(node.message().await.2, message);
        }
    });
}

#[test]
fn a_connection_that_falls_silent_is_closed_and_made_anew() {
    run(async {
        let keys = keys(2);
        let silent = |limits: &mut bizra_gossip::Limits| {
            limits.silence_max = Duration::from_millis(500);
        };
        let mut first = config(&keys[0], &keys);
        silent(&mut first.limits);
        let mut second = config(&keys[1], &keys);
        // The second node never sends a heartbeat, as if its machine had stopped.
        second.limits.heartbeat_interval = Duration::from_secs(3600);
        let mut nodes = [Node::start(first).await, Node::start(second).await];
        introduce(&nodes).await;
        let peer = nodes[1].peer();
        for _ in 0..2 {
            nodes[0].opened(peer).await;
            nodes[0].closed(peer).await;
        }
    });
}

#[test]
fn nodes_of_two_chains_refuse_each_other_and_say_why() {
    run(async {
        let keys = keys(2);
        let ours = common::hello();
        let mut theirs = ours;
        theirs.chain_id = ChainId([8; 32]);
        let mut other = config(&keys[1], &keys);
        other.hello = theirs;
        let mut nodes = [Node::start(config(&keys[0], &keys)).await, Node::start(other).await];
        introduce(&nodes).await;
        let peer = nodes[1].peer();
        nodes[0].network.send(&peer, Channel::Consensus, Bytes::from_static(b"x")).unwrap();
        for (node, ours, theirs) in
            [(0, ours.chain_id, theirs.chain_id), (1, theirs.chain_id, ours.chain_id)]
        {
            let reason = nodes[node]
                .wait(|event| match event {
                    Event::Incompatible { reason, .. } => Some(reason),
                    Event::Message { .. } | Event::Opened { .. } => panic!("{event:?}"),
                    _ => None,
                })
                .await;
            assert_eq!(reason, Incompatible::Chain { ours, theirs });
        }
    });
}

#[test]
fn an_absent_peer_fills_its_queue_and_a_stranger_has_none() {
    run(async {
        let keys = keys(3);
        let mut config = config(&keys[0], &keys[..2]);
        config.limits.consensus_queue_frames_max = 5;
        let node = Node::start(config).await;
        let send = |key| {
            let message = Bytes::from_static(b"x");
            node.network.send(&peer_id(key), Channel::Consensus, message)
        };
        for _ in 0..5 {
            send(&keys[1]).unwrap();
        }
        let full = SendError::Full { channel: Channel::Consensus, frames: 5, bytes: 5 };
        assert_eq!(send(&keys[1]), Err(full));
        assert_eq!(send(&keys[2]), Err(SendError::NoStream));
    });
}

#[test]
fn a_validator_that_joins_is_served_and_one_that_leaves_is_let_go() {
    run(async {
        let keys = keys(3);
        let mut nodes = Vec::new();
        for key in &keys {
            nodes.push(Node::start(config(key, &keys[..2])).await);
        }
        // The third is listed and so connected, but is no validator yet.
        introduce(&nodes).await;
        let (first, second) = (nodes[0].peer(), nodes[1].peer());
        nodes[0].opened(second).await;
        nodes[1].opened(first).await;
        for node in &nodes {
            node.network.update_validators(common::peer_ids(&keys));
        }
        let third = nodes[2].peer();
        nodes[0].opened(third).await;
        nodes[2].opened(first).await;

        // The second leaves: it is neither listed nor a validator any more.
        let listed: Vec<_> = [&nodes[0], &nodes[2]].into_iter().flat_map(Node::addresses).collect();
        nodes[0].network.update_peers(listed);
        nodes[0].network.update_validators([first, third].into());
        nodes[0].closed(second).await;
        let error = nodes[0].network.send(&second, Channel::Bulk, Bytes::new());
        assert_eq!(error, Err(SendError::NoStream));
        nodes[0].network.send(&third, Channel::Bulk, Bytes::from_static(b"stay")).unwrap();
        assert_eq!(nodes[2].message().await.2, "stay");
    });
}

#[test]
fn a_port_that_is_taken_is_refused_by_name() {
    run(async {
        let keys = keys(2);
        let first = Node::start(config(&keys[0], &keys)).await;
        for transport in TransportKind::ALL {
            // The first listens on both transports; the second is left one to choose.
            let taken = first.address(transport).address;
            let mut second = config(&keys[1], &keys);
            second.listen.retain(|free| TransportKind::of(free) != Some(transport));
            second.listen.push(taken.clone());
            let error = Network::start(second, &mut Registry::default()).await.err().unwrap();
            assert_eq!(
                error.to_string(),
                format!("cannot listen on {taken}: the port is in use by another process")
            );
        }
    });
}

#[test]
fn an_address_of_another_machine_is_refused_with_the_reason() {
    run(async {
        let keys = keys(1);
        for address in ["/ip4/192.0.2.1/tcp/0", "/ip4/192.0.2.1/udp/0/quic-v1"] {
            let mut elsewhere = config(&keys[0], &keys);
            elsewhere.listen = vec![address.parse().unwrap()];
            let error = Network::start(elsewhere, &mut Registry::default()).await.err().unwrap();
            assert_eq!(
                error.to_string(),
                format!(
                    "cannot listen on {address}: Cannot assign requested address (os error 99)"
                )
            );
        }
    });
}
