//! Gossipsub: what everyone may hear.
//!
//! Messages are not signed by gossipsub, which would cost a check per copy;
//! their payloads carry signatures of their own. Identity is a hash of topic
//! and payload, so that a copy is known whoever sends it.

use bizra_types::hash::ChainId;
use bizra_types::json::Limits;
use libp2p::gossipsub::{
    self, Behaviour, ConfigBuilder, IdentTopic, Message, MessageAuthenticity, MessageId,
    PeerScoreParams, PeerScoreThresholds, TopicHash, TopicScoreParams, ValidationMode,
};
use libp2p::metrics::Registry;
use libp2p::{PeerId, gossipsub::MessageAcceptance};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Bytes of a gossip message on any topic, at most.
pub const GOSSIP_SIZE_MAX: usize = 256 << 10;

/// Room for what gossipsub adds to a message.
const ENVELOPE_SIZE_MAX: usize = 4 << 10;

/// What is gossiped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Final heads.
    Heads,
    /// Patterns.
    Patterns,
    /// Proofs of misbehaviour.
    Evidence,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Heads, Self::Patterns, Self::Evidence];

    /// The topic's name, the last part of its full name on the network.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Heads => "heads",
            Self::Patterns => "patterns",
            Self::Evidence => "evidence",
        }
    }

    /// Bytes of a message on this topic, at most. A pattern comes in one signed envelope.
    #[must_use]
    pub const fn message_size_max(self) -> usize {
        match self {
            Self::Heads | Self::Evidence => GOSSIP_SIZE_MAX,
            Self::Patterns => Limits::ENVELOPE.size_max,
        }
    }
}

/// What the owner thinks of a gossip message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Good: pass it on.
    Accept,
    /// Bad signature or schema, which no honest peer passes on: count it against the sender.
    Reject,
    /// Of no use to us, but no fault: do not pass it on.
    Ignore,
}

impl From<Verdict> for MessageAcceptance {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Accept => Self::Accept,
            Verdict::Reject => Self::Reject,
            Verdict::Ignore => Self::Ignore,
        }
    }
}

/// A gossip message that waits for its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GossipId {
    pub(crate) message: MessageId,
    pub(crate) source: PeerId,
}

impl GossipId {
    /// The peer that passed the message to us, not necessarily its author.
    #[must_use]
    pub const fn source(&self) -> PeerId {
        self.source
    }
}

/// The three topics of one chain.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    by_topic: [(Topic, IdentTopic); 3],
}

impl Topics {
    pub(crate) fn new(chain_id: &ChainId) -> Self {
        let full = |topic: Topic| IdentTopic::new(format!("bizra/{chain_id}/{}", topic.as_str()));
        Self { by_topic: Topic::ALL.map(|topic| (topic, full(topic))) }
    }

    pub(crate) fn get(&self, topic: Topic) -> &IdentTopic {
        let found = self.by_topic.iter().find(|(known, _)| *known == topic);
        &found.expect("every topic is listed").1
    }

    pub(crate) fn find(&self, hash: &TopicHash) -> Option<Topic> {
        self.by_topic.iter().find(|(_, topic)| topic.hash() == *hash).map(|(topic, _)| *topic)
    }

    fn hashes(&self) -> HashSet<TopicHash> {
        self.by_topic.iter().map(|(_, topic)| topic.hash()).collect()
    }
}

/// A behaviour that knows only our topics.
pub(crate) type Gossip =
    Behaviour<gossipsub::IdentityTransform, gossipsub::WhitelistSubscriptionFilter>;

/// Builds the behaviour and subscribes to every topic. Explicit peers hear
/// everything at once and are no part of the mesh; they must be so on both
/// sides, or the one side's wish to join the mesh is refused by the other.
pub(crate) fn behaviour(
    topics: &Topics,
    explicit_peers: impl Iterator<Item = PeerId>,
    registry: &mut Registry,
) -> Result<Gossip, String> {
    let config = ConfigBuilder::default()
        .max_transmit_size(GOSSIP_SIZE_MAX + ENVELOPE_SIZE_MAX)
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(message_id)
        .duplicate_cache_time(Duration::from_secs(120))
        .build()
        .map_err(|error| error.to_string())?;
    let filter = gossipsub::WhitelistSubscriptionFilter(topics.hashes());
    let mut gossip =
        Behaviour::new_with_subscription_filter(MessageAuthenticity::Anonymous, config, filter)?
            .with_metrics(registry.sub_registry_with_prefix("gossipsub"), Default::default());
    gossip.with_peer_score(score_params(topics), score_thresholds())?;
    for topic in Topic::ALL {
        gossip.subscribe(topics.get(topic)).map_err(|error| error.to_string())?;
    }
    for peer in explicit_peers {
        gossip.add_explicit_peer(&peer);
    }
    Ok(gossip)
}

fn message_id(message: &Message) -> MessageId {
    let mut hasher = blake3::Hasher::new_derive_key("bizra 2026 gossip message v1");
    hasher.update(message.topic.as_str().as_bytes());
    hasher.update(&[0]);
    hasher.update(&message.data);
    MessageId::new(&hasher.finalize().as_bytes()[..20])
}

/// Scores fall for invalid messages and slow reading only. Delivery counts are
/// left out: the topics are often silent, and silence is no fault. Nodes share
/// an address on purpose when they run on one machine.
fn score_params(topics: &Topics) -> PeerScoreParams {
    let topic = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: 0.9,
        ..TopicScoreParams::default()
    };
    let topics: HashMap<_, _> =
        topics.hashes().into_iter().map(|hash| (hash, topic.clone())).collect();
    PeerScoreParams {
        topics,
        ip_colocation_factor_weight: 0.0,
        slow_peer_weight: -0.2,
        slow_peer_threshold: 10.0,
        ..PeerScoreParams::default()
    }
}

/// The squared count of invalid messages, times ten, is held against these.
fn score_thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: -50.0,
        publish_threshold: -100.0,
        graylist_threshold: -200.0,
        ..PeerScoreThresholds::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &IdentTopic, data: &[u8], source: Option<PeerId>) -> Message {
        Message { source, data: data.to_vec(), sequence_number: None, topic: topic.hash() }
    }

    #[test]
    fn identity_is_topic_and_content_whoever_sends_it() {
        let topics = Topics::new(&ChainId([1; 32]));
        let (heads, evidence) = (topics.get(Topic::Heads), topics.get(Topic::Evidence));
        let id = message_id(&message(heads, b"x", None));
        assert_eq!(message_id(&message(heads, b"x", Some(PeerId::random()))), id);
        assert_ne!(message_id(&message(heads, b"y", None)), id);
        assert_ne!(message_id(&message(evidence, b"x", None)), id);
    }

    #[test]
    fn topics_of_two_chains_differ() {
        let (ours, theirs) = (Topics::new(&ChainId([1; 32])), Topics::new(&ChainId([2; 32])));
        for topic in Topic::ALL {
            assert_eq!(ours.find(&ours.get(topic).hash()), Some(topic));
            assert_eq!(ours.find(&theirs.get(topic).hash()), None);
        }
    }

    #[test]
    fn the_scores_are_accepted_by_the_library() {
        let topics = Topics::new(&ChainId([1; 32]));
        behaviour(&topics, std::iter::once(PeerId::random()), &mut Registry::default()).unwrap();
    }
}
