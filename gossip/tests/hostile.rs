//! Peers that misbehave, and peers that nobody knows.

mod common;

use bizra_gossip::{Channel, Event, Fault, Keypair};
use bizra_types::encoding::Encode;
use bytes::Bytes;
use common::{Hostile, Node, config, frame, hello, hello_frame, introduce, keys, peer_id, run};
use futures::{AsyncReadExt, AsyncWriteExt};
use std::time::Duration;

const CONSENSUS: &str = "/bizra/consensus/1";
const BULK: &str = "/bizra/bulk/1";

/// Two honest validators and the key of a third that is not.
async fn two_and_a_key(faults_to_ban: u32, ban: Duration) -> (Vec<Node>, Keypair) {
    let keys = keys(3);
    let mut nodes = Vec::new();
    for key in &keys[..2] {
        let mut config = config(key, &keys);
        config.limits.faults_to_ban = faults_to_ban;
        config.limits.ban = ban;
        nodes.push(Node::start(config).await);
    }
    introduce(&nodes).await;
    let peer = nodes[1].peer();
    nodes[0].opened(peer).await;
    (nodes, keys[2].clone())
}

async fn fault_of(node: &mut Node, hostile: &Hostile) -> (Fault, bool) {
    let hostile = hostile.peer();
    node.wait(|event| match event {
        Event::Fault { peer, fault, banned } => {
            assert_eq!(peer, hostile);
            Some((fault, banned))
        }
        Event::Message { .. } => panic!("{event:?}"),
        _ => None,
    })
    .await
}

#[test]
fn bad_frames_are_noted_and_disturb_nobody_else() {
    run(async {
        let (mut nodes, key) = two_and_a_key(1000, Duration::from_secs(60)).await;
        let target = nodes[0].peer();
        let address = nodes[0].address(bizra_gossip::TransportKind::Tcp);
        let mut hostile = Hostile::start(key, &address);
        let too_large = |channel: Channel| Fault::FrameTooLarge {
            size: u32::MAX as usize,
            limit: channel.message_size_max() + 1,
        };
        let hello = hello_frame(&hello());
        let with_hello = |rest: &[u8]| [&hello[..], rest].concat();
        let cases = [
            (CONSENSUS, with_hello(&u32::MAX.to_le_bytes()), too_large(Channel::Consensus)),
            (BULK, with_hello(&u32::MAX.to_le_bytes()), too_large(Channel::Bulk)),
            (CONSENSUS, with_hello(&0_u32.to_le_bytes()), Fault::Garbage),
            (CONSENSUS, with_hello(&frame(9, b"unknown kind")), Fault::Garbage),
            (CONSENSUS, with_hello(&frame(1, b"short heartbeat")), Fault::Garbage),
            (BULK, with_hello(&frame(1, &[0; 24])), Fault::Garbage),
            (CONSENSUS, with_hello(&hello), Fault::Garbage),
            (CONSENSUS, frame(0, b"no hello"), Fault::Garbage),
            (CONSENSUS, frame(2, b"no hello either"), Fault::Garbage),
            (
                CONSENSUS,
                257_u32.to_le_bytes().to_vec(),
                Fault::FrameTooLarge { size: 257, limit: 256 },
            ),
            (CONSENSUS, with_hello(&frame(0, b"cut off")[..8]), Fault::Truncated),
            (BULK, hello[..3].to_vec(), Fault::Truncated),
        ];
        for (protocol, bytes, expected) in cases {
            let mut stream = hostile.open(target, protocol).await;
            stream.write_all(&bytes).await.unwrap();
            // The end of the stream, while the connection lives on.
            stream.close().await.unwrap();
            let (fault, banned) = fault_of(&mut nodes[0], &hostile).await;
            assert_eq!(fault, expected);
            assert!(!banned);
        }
        let peer = nodes[0].peer();
        for channel in Channel::ALL {
            nodes[1].network.send(&peer, channel, Bytes::from_static(b"fine")).unwrap();
            assert_eq!(nodes[0].message().await.2, "fine");
        }
        assert_eq!(nodes[0].metric(r#"bizra_gossip_faults_total{reason="garbage"}"#), 7.0);
        assert_eq!(nodes[0].metric(r#"bizra_gossip_faults_total{reason="too_large"}"#), 3.0);
        assert_eq!(nodes[0].metric(r#"bizra_gossip_faults_total{reason="truncated"}"#), 2.0);
    });
}

#[test]
fn repeated_faults_ban_and_the_peer_comes_back_without_a_restart() {
    run(async {
        let (mut nodes, key) = two_and_a_key(3, Duration::from_millis(300)).await;
        let target = nodes[0].peer();
        let address = nodes[0].address(bizra_gossip::TransportKind::Tcp);
        let mut hostile = Hostile::start(key, &address);
        for expected in [false, false, true] {
            let mut stream = hostile.open(target, CONSENSUS).await;
            stream.write_all(&frame(9, b"")).await.unwrap();
            assert_eq!(fault_of(&mut nodes[0], &hostile).await, (Fault::Garbage, expected));
        }
        hostile.closed().await;
        // It goes on dialling, is refused during the ban and admitted after it.
        let peer = hostile.peer();
        let opener = tokio::spawn(async move {
            loop {
                let mut stream = hostile.open(target, CONSENSUS).await;
                let mut answer = [0];
                if stream.write_all(&hello_frame(&hello())).await.is_ok()
                    && stream.read_exact(&mut answer).await.is_ok()
                {
                    return (hostile, stream, answer);
                }
            }
        });
        nodes[0].opened(peer).await;
        assert_eq!(opener.await.unwrap().2, [1]);
        assert!(
            nodes[0].metric(r#"bizra_gossip_refused_connections_total{reason="banned"}"#) >= 1.0
        );
    });
}

#[test]
fn an_unknown_peer_is_refused() {
    run(async {
        let (nodes, _) = two_and_a_key(3, Duration::from_secs(60)).await;
        let address = nodes[0].address(bizra_gossip::TransportKind::Tcp);
        let mut stranger = Hostile::start(Keypair::generate_ed25519(), &address);
        stranger.closed().await;
        stranger.closed().await;
        let refused = r#"bizra_gossip_refused_connections_total{reason="unknown"}"#;
        assert!(nodes[0].metric(refused) >= 1.0);
        assert_eq!(nodes[0].metric("bizra_gossip_peers"), 1.0);
    });
}

#[test]
fn a_follower_may_connect_but_opens_no_direct_stream() {
    run(async {
        let keys = keys(2);
        let mut open = config(&keys[0], &keys);
        open.followers_allowed = true;
        open.limits.followers_max = 1;
        let node = Node::start(open).await;
        let address = node.address(bizra_gossip::TransportKind::Tcp);
        let mut follower = Hostile::start(Keypair::generate_ed25519(), &address);
        for protocol in [CONSENSUS, BULK] {
            let mut stream = follower.open(node.peer(), protocol).await;
            stream.write_all(&hello_frame(&hello())).await.unwrap();
            let mut answer = [0];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, [4]);
        }
        let mut second = Hostile::start(Keypair::generate_ed25519(), &address);
        second.closed().await;
        let refused = r#"bizra_gossip_refused_connections_total{reason="followers"}"#;
        assert!(node.metric(refused) >= 1.0);
        assert_eq!(node.metric("bizra_gossip_peers"), 1.0);
    });
}

#[test]
fn a_peer_without_a_common_version_is_told_so() {
    run(async {
        let (mut nodes, key) = two_and_a_key(3, Duration::from_secs(60)).await;
        let target = nodes[0].peer();
        let address = nodes[0].address(bizra_gossip::TransportKind::Tcp);
        let mut hostile = Hostile::start(key, &address);
        let mut old = hello();
        old.protocol_version_min = bizra_types::numbers::ProtocolVersion::new(3);
        old.protocol_version_max = bizra_types::numbers::ProtocolVersion::new(4);
        let mut stream = hostile.open(target, CONSENSUS).await;
        stream.write_all(&hello_frame(&old)).await.unwrap();
        let mut answer = [0];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [3]);
        let reason = nodes[0]
            .wait(|event| match event {
                Event::Incompatible { reason, .. } => Some(reason),
                _ => None,
            })
            .await;
        assert_eq!(reason.to_string(), "it runs protocol versions 3 to 4, we run 1 to 2");
    });
}

#[test]
fn a_second_stream_of_one_channel_replaces_the_first() {
    run(async {
        let (mut nodes, key) = two_and_a_key(3, Duration::from_secs(60)).await;
        let target = nodes[0].peer();
        let address = nodes[0].address(bizra_gossip::TransportKind::Tcp);
        let mut hostile = Hostile::start(key, &address);
        let mut first = hostile.open(target, BULK).await;
        let mut second = hostile.open(target, BULK).await;
        second.write_all(&hello_frame(&hello())).await.unwrap();
        second.write_all(&frame(0, b"second")).await.unwrap();
        assert_eq!(nodes[0].message().await.2, "second");
        let mut rest = Vec::new();
        // Closed or reset, but not answered.
        let _ = first.read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "{rest:?}");
    });
}

#[test]
fn the_layer_above_can_report_a_fault_too() {
    run(async {
        let (mut nodes, key) = two_and_a_key(1, Duration::from_secs(60)).await;
        let address = nodes[0].address(bizra_gossip::TransportKind::Tcp);
        let mut hostile = Hostile::start(key, &address);
        let target = nodes[0].peer();
        let mut stream = hostile.open(target, CONSENSUS).await;
        stream.write_all(&hello_frame(&hello())).await.unwrap();
        nodes[0].opened(hostile.peer()).await;
        nodes[0].network.report_fault(peer_id(&hostile.key), "a vote of nobody");
        let fault = fault_of(&mut nodes[0], &hostile).await;
        assert_eq!(fault, (Fault::Message("a vote of nobody"), true));
        hostile.closed().await;
        nodes[0].closed(hostile.peer()).await;
    });
}

#[test]
fn a_hello_is_what_the_formats_say() {
    let mut expected = vec![1, 0, 2, 0];
    expected.extend_from_slice(&[7; 32]);
    expected.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&[42, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(hello().to_bytes(), expected);
}
