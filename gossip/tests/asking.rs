//! Requests and gossip.

mod common;

use bizra_gossip::{
    AnswerTooLarge, Event, Fault, GOSSIP_SIZE_MAX, GossipId, Keypair, PublishError,
    REQUEST_SIZE_MAX, RESPONSE_SIZE_MAX, Reply, RequestError, Topic, TransportKind, Verdict,
};
use bizra_types::hash::ChainId;
use bytes::Bytes;
use common::{Node, config, hostile_gossip, keys, mesh, peer_id, run};
use futures::StreamExt;
use libp2p::gossipsub::{self, IdentTopic};
use libp2p::swarm::SwarmEvent;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

async fn next_request(node: &mut Node) -> (Bytes, Reply) {
    node.wait(|event| match event {
        Event::Request { bytes, reply, .. } => Some((bytes, reply)),
        _ => None,
    })
    .await
}

#[test]
fn requests_are_answered_up_to_their_limits() {
    run(async {
        let mut nodes = mesh(&keys(2), |_| {}).await;
        let peer = nodes[1].peer();
        let asker = nodes[0].network.clone();
        for (request, response) in [(0, 0), (10, 1000), (REQUEST_SIZE_MAX, RESPONSE_SIZE_MAX)] {
            let network = asker.clone();
            let answer =
                tokio::spawn(
                    async move { network.request(peer, vec![1; request].into(), LONG).await },
                );
            let (bytes, reply) = next_request(&mut nodes[1]).await;
            assert_eq!(bytes, vec![1; request]);
            reply.send(vec![2; response].into()).unwrap();
            assert_eq!(answer.await.unwrap().unwrap(), vec![2; response]);
        }
        let size = REQUEST_SIZE_MAX + 1;
        let error = asker.request(peer, vec![0; size].into(), LONG).await.unwrap_err();
        assert_eq!(error, RequestError::TooLarge { size, limit: REQUEST_SIZE_MAX });

        let answer = tokio::spawn(async move { asker.request(peer, Bytes::new(), LONG).await });
        let size = RESPONSE_SIZE_MAX + 1;
        let refused = next_request(&mut nodes[1]).await.1.send(vec![0; size].into());
        assert_eq!(refused, Err(AnswerTooLarge { size, limit: RESPONSE_SIZE_MAX }));
        assert_eq!(answer.await.unwrap().unwrap_err(), RequestError::NoAnswer);
    });
}

#[test]
fn a_request_without_an_answer_says_why() {
    run(async {
        let keys = keys(3);
        let mut nodes = mesh(&keys[..2], |config| {
            config.limits.requests_per_peer_max = 2;
        })
        .await;
        let (peer, asker) = (nodes[1].peer(), nodes[0].network.clone());
        let absent = common::peer_id(&keys[2]);
        let error = asker.request(absent, Bytes::new(), LONG).await.unwrap_err();
        assert_eq!(error, RequestError::NotConnected);
        assert!(asker.connected_peers().into_iter().eq([peer]));

        let network = asker.clone();
        let answer = tokio::spawn(async move { network.request(peer, Bytes::new(), LONG).await });
        drop(next_request(&mut nodes[1]).await.1);
        assert_eq!(answer.await.unwrap().unwrap_err(), RequestError::NoAnswer);

        let short = Duration::from_millis(50);
        let error = asker.request(peer, Bytes::new(), short).await.unwrap_err();
        assert_eq!(error, RequestError::Timeout(short));
    });
}

#[test]
fn requests_of_one_peer_are_bounded_at_both_ends() {
    run(async {
        let keys = keys(2);
        let mut nodes = mesh(&keys, |config| {
            // The first node asks more at once than the second serves.
            let first = config.identity.public() == keys[0].public();
            config.limits.requests_per_peer_max = if first { 3 } else { 2 };
        })
        .await;
        let (peer, asker) = (nodes[1].peer(), nodes[0].network.clone());
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let network = asker.clone();
            asked.spawn(async move { network.request(peer, Bytes::new(), LONG).await });
        }
        // Two are held by the owner, so the third finds no place.
        let held = [next_request(&mut nodes[1]).await, next_request(&mut nodes[1]).await];
        assert_eq!(asked.join_next().await.unwrap().unwrap(), Err(RequestError::Busy));
        for (_, reply) in held {
            reply.send(Bytes::from_static(b"done")).unwrap();
        }
        while let Some(answer) = asked.join_next().await {
            assert_eq!(answer.unwrap().unwrap(), "done");
        }
    });
}

#[test]
fn nodes_of_another_chain_cannot_ask() {
    run(async {
        let keys = keys(2);
        let mut other = config(&keys[1], &keys);
        other.hello.chain_id = ChainId([8; 32]);
        let mut nodes = [Node::start(config(&keys[0], &keys)).await, Node::start(other).await];
        common::introduce(&nodes).await;
        nodes[0].wait(|event| matches!(event, Event::Incompatible { .. }).then_some(())).await;
        let error = nodes[0].network.request(nodes[1].peer(), Bytes::new(), LONG).await;
        assert!(matches!(error, Err(RequestError::Unsupported(_))), "{error:?}");
    });
}

async fn next_gossip(node: &mut Node) -> (GossipId, Topic, Bytes) {
    node.wait(|event| match event {
        Event::Gossip { id, topic, bytes } => Some((id, topic, bytes)),
        _ => None,
    })
    .await
}

/// Waits until this many peers have told the node that they listen to a topic.
/// Gossipsub says it by its metric only.
async fn listeners(node: &Node, topic: Topic, count: usize) {
    let chain_id = common::hello().chain_id;
    let name =
        format!("gossipsub_topic_peers_counts{{hash=\"bizra/{chain_id}/{}\"}}", topic.as_str());
    while node.find_metric(&name) != Some(count as f64) {
        tokio::task::yield_now().await;
    }
}

async fn publish(node: &Node, topic: Topic, message: &'static [u8]) {
    node.network.publish(topic, Bytes::from_static(message)).await.unwrap();
}

#[test]
fn gossip_is_passed_on_only_when_it_was_accepted() {
    run(async {
        // A line: the first and the third know only the second.
        let keys: Vec<Keypair> = keys(3);
        let mut nodes = Vec::new();
        for key in &keys {
            let mut config = config(key, std::slice::from_ref(&keys[1]));
            config.followers_allowed = true;
            nodes.push(Node::start(config).await);
        }
        let middle = nodes[1].address(TransportKind::Tcp);
        nodes[0].network.update_peers(vec![middle.clone()]);
        nodes[2].network.update_peers(vec![middle]);
        let first = nodes[0].peer();

        for topic in Topic::ALL {
            listeners(&nodes[0], topic, 1).await;
            listeners(&nodes[1], topic, 2).await;
        }
        publish(&nodes[0], Topic::Evidence, b"bad").await;
        let (id, topic, bytes) = next_gossip(&mut nodes[1]).await;
        assert_eq!((id.source(), topic, &bytes[..]), (first, Topic::Evidence, &b"bad"[..]));
        nodes[1].network.report(id, Verdict::Reject);
        let fault = nodes[1]
            .wait(|event| match event {
                Event::Fault { peer, fault, .. } => Some((peer, fault)),
                _ => None,
            })
            .await;
        assert_eq!(fault, (first, Fault::Gossip));

        publish(&nodes[0], Topic::Patterns, b"useless").await;
        let (id, ..) = next_gossip(&mut nodes[1]).await;
        nodes[1].network.report(id, Verdict::Ignore);

        publish(&nodes[0], Topic::Heads, b"good").await;
        let (id, ..) = next_gossip(&mut nodes[1]).await;
        nodes[1].network.report(id, Verdict::Accept);
        let (id, topic, bytes) = next_gossip(&mut nodes[2]).await;
        assert_eq!((topic, &bytes[..]), (Topic::Heads, &b"good"[..]));
        assert_eq!(id.source(), nodes[1].peer());

        let again = nodes[0].network.publish(Topic::Heads, Bytes::from_static(b"good")).await;
        assert_eq!(again, Err(PublishError::Duplicate));
    });
}

#[test]
fn validators_gossip_to_each_other_and_large_messages_pass() {
    run(async {
        let mut nodes = mesh(&keys(4), |_| {}).await;
        let alone = Node::start(config(&Keypair::generate_ed25519(), &[])).await;
        let error = alone.network.publish(Topic::Heads, Bytes::new()).await;
        assert_eq!(error, Err(PublishError::NoPeers(Topic::Heads)));

        for (topic, limit) in [
            (Topic::Heads, GOSSIP_SIZE_MAX),
            (Topic::Patterns, 64 << 10),
            (Topic::Evidence, GOSSIP_SIZE_MAX),
        ] {
            listeners(&nodes[0], topic, 3).await;
            publish(&nodes[0], topic, vec![9; limit].leak()).await;
            for node in &mut nodes[1..] {
                let (id, heard, bytes) = next_gossip(node).await;
                assert_eq!((heard, bytes.len()), (topic, limit));
                node.network.report(id, Verdict::Accept);
            }
            let size = limit + 1;
            let error = nodes[0].network.publish(topic, vec![0; size].into()).await;
            assert_eq!(error, Err(PublishError::TooLarge { size, limit }));
        }
    });
}

#[test]
fn a_peer_that_gossips_too_fast_is_ignored_on_that_topic_alone() {
    const FLOOD: usize = 200;
    run(async {
        let per_second_max = 3;
        let mut nodes = mesh(&keys(2), |config| {
            config.limits.gossip_per_second_max = per_second_max;
        })
        .await;
        for topic in Topic::ALL {
            listeners(&nodes[0], topic, 1).await;
        }
        let begun = Instant::now();
        for number in 0..FLOOD {
            let message = Bytes::from(number.to_le_bytes().to_vec());
            nodes[0].network.publish(Topic::Patterns, message).await.unwrap();
        }
        publish(&nodes[0], Topic::Heads, b"head").await;
        // What one peer sends comes in order, so the head ends the flood.
        let mut heard = Vec::new();
        loop {
            let (id, topic, bytes) = next_gossip(&mut nodes[1]).await;
            nodes[1].network.report(id, Verdict::Accept);
            match topic {
                Topic::Heads => break,
                _ => heard.push(usize::from_le_bytes(bytes[..].try_into().unwrap())),
            }
        }
        let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
        assert!(heard.is_sorted());
        assert_eq!(heard[..3], [0, 1, 2]);
        let ignored = nodes[1].metric(r#"bizra_gossip_ignored_messages_total{reason="rate"}"#);
        assert_eq!(heard.len() as f64 + ignored, FLOOD as f64);
        assert!(heard.len() <= seconds * per_second_max as usize, "{} in {seconds} s", heard.len());
        // It is no fault: an honest peer passes on what others send.
        assert_eq!(nodes[1].find_metric(r#"bizra_gossip_faults_total{reason="gossip"}"#), None);
    });
}

#[test]
fn a_pattern_that_is_too_large_counts_against_its_sender() {
    run(async {
        let key = Keypair::generate_ed25519();
        let mut config = config(&key, std::slice::from_ref(&key));
        config.followers_allowed = true;
        let mut node = Node::start(config).await;
        let hostile = Keypair::generate_ed25519();
        let mut swarm = hostile_gossip(&hostile, &node.address(TransportKind::Tcp));
        let chain_id = common::hello().chain_id;
        let topic = IdentTopic::new(format!("bizra/{chain_id}/patterns"));
        swarm.behaviour_mut().subscribe(&topic).unwrap();
        loop {
            if let SwarmEvent::Behaviour(gossipsub::Event::Subscribed { topic: heard, .. }) =
                swarm.select_next_some().await
                && heard == topic.hash()
            {
                break;
            }
        }
        for size in [Topic::Patterns.message_size_max(), Topic::Patterns.message_size_max() + 1] {
            swarm.behaviour_mut().publish(topic.clone(), vec![7; size]).unwrap();
        }
        let running = tokio::spawn(async move { while swarm.next().await.is_some() {} });
        // Which of them comes first is not said: gossip waits in a queue of its own.
        let (mut sizes, mut fault) = (Vec::new(), None);
        while sizes.is_empty() || fault.is_none() {
            node.wait(|event| match event {
                Event::Gossip { topic: Topic::Patterns, bytes, .. } => {
                    sizes.push(bytes.len());
                    Some(())
                }
                Event::Fault { peer, fault: found, .. } => {
                    fault = Some((peer, found));
                    Some(())
                }
                _ => None,
            })
            .await;
        }
        assert_eq!(sizes, [Topic::Patterns.message_size_max()]);
        assert_eq!(fault, Some((peer_id(&hostile), Fault::Gossip)));
        running.abort();
    });
}
