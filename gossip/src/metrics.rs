//! The network's own metrics, beside those that libp2p registers.

use crate::Channel;
use libp2p::PeerId;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::atomic::AtomicU64;

/// Upper edges of the propagation histogram, in seconds.
const PROPAGATION_BUCKETS: [f64; 12] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0, 10.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ChannelLabel {
    pub(crate) channel: Channel,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct DropLabels {
    pub(crate) channel: Channel,
    pub(crate) reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    pub(crate) reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct PeerLabel {
    pub(crate) peer: String,
}

impl EncodeLabelValue for Channel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

/// Counters and gauges, shared by all tasks.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) peers: Gauge,
    pub(crate) mesh_peers: Gauge,
    pub(crate) banned_total: Counter,
    pub(crate) sent_bytes: Family<ChannelLabel, Counter>,
    pub(crate) received_bytes: Family<ChannelLabel, Counter>,
    pub(crate) sent_messages: Family<ChannelLabel, Counter>,
    pub(crate) received_messages: Family<ChannelLabel, Counter>,
    pub(crate) drops: Family<DropLabels, Counter>,
    pub(crate) refused: Family<ReasonLabel, Counter>,
    pub(crate) gossip_ignored: Family<ReasonLabel, Counter>,
    pub(crate) faults: Family<ReasonLabel, Counter>,
    pub(crate) dial_failures: Family<PeerLabel, Counter>,
    pub(crate) round_trip: Family<PeerLabel, Gauge<f64, AtomicU64>>,
    pub(crate) propagation: Histogram,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            peers: Gauge::default(),
            mesh_peers: Gauge::default(),
            banned_total: Counter::default(),
            sent_bytes: Family::default(),
            received_bytes: Family::default(),
            sent_messages: Family::default(),
            received_messages: Family::default(),
            drops: Family::default(),
            refused: Family::default(),
            gossip_ignored: Family::default(),
            faults: Family::default(),
            dial_failures: Family::default(),
            round_trip: Family::default(),
            propagation: Histogram::new(PROPAGATION_BUCKETS),
        };
        let registry = registry.sub_registry_with_prefix("bizra_gossip");
        registry.register("peers", "Connected peers", metrics.peers.clone());
        registry.register(
            "mesh_peers",
            "Validators to which the consensus stream is open",
            metrics.mesh_peers.clone(),
        );
        registry.register("bans", "Bans imposed on faulty peers", metrics.banned_total.clone());
        registry.register(
            "sent_bytes",
            "Bytes written to direct streams",
            metrics.sent_bytes.clone(),
        );
        registry.register(
            "received_bytes",
            "Bytes of messages read from direct streams",
            metrics.received_bytes.clone(),
        );
        registry.register(
            "sent_messages",
            "Messages written to direct streams",
            metrics.sent_messages.clone(),
        );
        registry.register(
            "received_messages",
            "Messages read from direct streams",
            metrics.received_messages.clone(),
        );
        registry.register(
            "queue_drops",
            "Messages not sent or not delivered because a queue was full or they were stale",
            metrics.drops.clone(),
        );
        registry.register("refused_connections", "Connections refused", metrics.refused.clone());
        registry.register(
            "ignored_messages",
            "Gossip messages that nobody looked at, because their peer sends too many or too many \
             wait",
            metrics.gossip_ignored.clone(),
        );
        registry.register("faults", "Faults of peers", metrics.faults.clone());
        registry.register(
            "dial_failures",
            "Dials that came to nothing",
            metrics.dial_failures.clone(),
        );
        registry.register(
            "round_trip_seconds",
            "Newest measured round trip to a validator",
            metrics.round_trip.clone(),
        );
        registry.register(
            "propagation_seconds",
            "Age of a final block when its head arrived by gossip",
            metrics.propagation.clone(),
        );
        for channel in Channel::ALL {
            let label = ChannelLabel { channel };
            for family in [
                &metrics.sent_bytes,
                &metrics.received_bytes,
                &metrics.sent_messages,
                &metrics.received_messages,
            ] {
                drop(family.get_or_create(&label));
            }
            for reason in ["full", "stale"] {
                drop(metrics.drops.get_or_create(&DropLabels { channel, reason }));
            }
        }
        for reason in ["unknown", "banned", "followers", "pending", "handshake"] {
            drop(metrics.refused.get_or_create(&ReasonLabel { reason }));
        }
        for reason in ["rate", "full"] {
            drop(metrics.gossip_ignored.get_or_create(&ReasonLabel { reason }));
        }
        metrics
    }

    pub(crate) fn dropped(&self, channel: Channel, reason: &'static str, count: usize) {
        if count > 0 {
            self.drops.get_or_create(&DropLabels { channel, reason }).inc_by(count as u64);
        }
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn gossip_ignored(&self, reason: &'static str) {
        self.gossip_ignored.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn fault(&self, reason: &'static str) {
        self.faults.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn sent(&self, channel: Channel, messages: usize, bytes: usize) {
        let label = ChannelLabel { channel };
        self.sent_bytes.get_or_create(&label).inc_by(bytes as u64);
        self.sent_messages.get_or_create(&label).inc_by(messages as u64);
    }

    pub(crate) fn received(&self, channel: Channel, bytes: usize) {
        let label = ChannelLabel { channel };
        self.received_bytes.get_or_create(&label).inc_by(bytes as u64);
        self.received_messages.get_or_create(&label).inc();
    }

    /// The gauge of one peer's round trip, to keep: finding it takes time.
    pub(crate) fn round_trip_of(&self, peer: &PeerId) -> Gauge<f64, AtomicU64> {
        self.round_trip.get_or_create(&PeerLabel { peer: peer.to_string() }).clone()
    }
}
