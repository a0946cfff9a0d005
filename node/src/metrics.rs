//! The node's metrics: one registry, scraped at the admin port.
//!
//! Names and labels are a contract, listed in `docs/metrics.md`; a test compares
//! that list with a scrape. Counters are registered without their `_total`,
//! which the encoder adds.

use bizra_types::hash::BlockId;
use bizra_types::message::SignedCommitVote;
use bizra_types::numbers::{Era, Height, ValidatorIndex, View};
use lru::LruCache;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::shared::{Mode, NodeStatus};

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper edges of `finality_seconds`. The edge at exactly 3 is the target's.
const FINALITY_BUCKETS: [f64; 20] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0,
    3.0, 5.0, 10.0, 60.0,
];

/// Upper edges of `bizra_fsync_seconds`.
const FSYNC_BUCKETS: [f64; 12] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0];

/// Upper edges of `bizra_api_request_seconds`.
const REQUEST_BUCKETS: [f64; 10] = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 3.0, 30.0];

/// Upper edges of `bizra_pattern_propagation_seconds`. The edge at 0.1 is the target's.
const PROPAGATION_BUCKETS: [f64; 12] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 10.0, 60.0];

/// The kinds of `errors_total` that a scrape shows from the start.
const ERROR_KINDS: [&str; 19] = [
    "answer_form",
    "answer_too_large",
    "committed_lagged",
    "disk_free",
    "disk_full",
    "diverged",
    "input_queue_full",
    "invalid_certified",
    "key_used_elsewhere",
    "message_too_large",
    "no_safety_record",
    "panic",
    "peer_fault",
    "peer_queue_full",
    "proof_form",
    "storage_read",
    "stored_envelope",
    "verify_queue_full",
    "version_unknown",
];

/// Blocks whose votes are remembered; late votes come within a few blocks.
const BLOCKS_SEEN_MAX: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// What became of a record, as `bizra_records_total` counts it. The first two
/// count this node's submitters, the others every record of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordOutcome {
    /// Accepted here: on this node's disk, with a ticket.
    Accepted,
    /// Refused at admission here.
    Refused,
    /// In the log, in a final block.
    Final,
    /// In a final block with a code other than success.
    Rejected,
    /// A copy of a record that the log holds already.
    Skipped,
}

/// What became of an offer of a pattern, as `bizra_pattern_offers_total` counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OfferOutcome {
    /// Adopted: its source had not offered the pattern before.
    New,
    /// Adopted in the place of one with a lower impact.
    Better,
    /// A copy of one that is known.
    Known,
    /// Refused.
    Refused,
}

/// Counters, gauges and histograms of one node. Shared by all tasks.
pub struct Metrics {
    registry: Mutex<Registry>,
    finality_seconds: Histogram,
    errors: Family<KindLabel, Counter>,
    height: Gauge,
    view: Gauge,
    era: Gauge,
    epoch: Gauge,
    leader: Family<ValidatorLabel, Gauge>,
    committed_blocks: Counter,
    view_changes: Counter,
    timeouts: Counter,
    equivocations: Counter,
    missing_validators: Gauge,
    last_signed_height: Family<ValidatorLabel, Gauge>,
    vrf_reveals: Counter,
    records: Family<OutcomeLabel, Counter>,
    lane_bytes: Gauge,
    fsync_seconds: Histogram,
    disk_free_bytes: Gauge,
    mode: Family<ModeLabel, Gauge>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Histogram,
    event_streams: Gauge,
    patterns: Gauge,
    pattern_offers: Family<OutcomeLabel, Counter>,
    pattern_propagation_seconds: Histograms<SpanLabel>,
    seen: Mutex<Seen>,
}

/// What one call leaves for another.
struct Seen {
    /// The newest committed height.
    height: Option<Height>,
    view: (Era, View),
    /// Names of the validators, by index.
    names: Vec<String>,
    /// Who voted for a block that is not committed yet.
    early_votes: LruCache<BlockId, BTreeSet<ValidatorIndex>>,
    /// Heights of the newest committed blocks, for votes that come late.
    heights: LruCache<BlockId, Height>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ValidatorLabel {
    validator: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SpanLabel {
    span: &'static str,
}

/// From a pattern's source to this node.
const END_TO_END: SpanLabel = SpanLabel { span: "end_to_end" };
/// What this node adds to the way to others.
const HOP: SpanLabel = SpanLabel { span: "hop" };

/// A histogram for each label.
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModeLabel {
    mode: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: u16,
}

impl Metrics {
    /// All metrics at zero, in a registry of their own.
    #[must_use]
    pub fn new() -> Self {
        Self::with_registry(Registry::default())
    }

    /// All metrics at zero, beside those that are in the registry already.
    #[must_use]
    pub fn with_registry(registry: Registry) -> Self {
        let metrics = Self {
            registry: Mutex::new(registry),
            finality_seconds: Histogram::new(FINALITY_BUCKETS),
            errors: Family::default(),
            height: Gauge::default(),
            view: Gauge::default(),
            era: Gauge::default(),
            epoch: Gauge::default(),
            leader: Family::default(),
            committed_blocks: Counter::default(),
            view_changes: Counter::default(),
            timeouts: Counter::default(),
            equivocations: Counter::default(),
            missing_validators: Gauge::default(),
            last_signed_height: Family::default(),
            vrf_reveals: Counter::default(),
            records: Family::default(),
            lane_bytes: Gauge::default(),
            fsync_seconds: Histogram::new(FSYNC_BUCKETS),
            disk_free_bytes: Gauge::default(),
            mode: Family::default(),
            requests: Family::default(),
            request_seconds: Histogram::new(REQUEST_BUCKETS),
            event_streams: Gauge::default(),
            patterns: Gauge::default(),
            pattern_offers: Family::default(),
            pattern_propagation_seconds: Family::new_with_constructor(|| {
                Histogram::new(PROPAGATION_BUCKETS)
            }),
            seen: Mutex::new(Seen {
                height: None,
                view: (Era::ZERO, View::ZERO),
                names: Vec::new(),
                early_votes: LruCache::new(BLOCKS_SEEN_MAX),
                heights: LruCache::new(BLOCKS_SEEN_MAX),
            }),
        };
        metrics.register(|registry| metrics.register_all(registry));
        // A counter that is absent until its first event has no rate for that event.
        for kind in ERROR_KINDS {
            drop(metrics.errors.get_or_create(&KindLabel { kind }));
        }
        for outcome in RecordOutcome::ALL {
            let label = OutcomeLabel { outcome: outcome.as_str() };
            drop(metrics.records.get_or_create(&label));
        }
        for outcome in OfferOutcome::ALL {
            let label = OutcomeLabel { outcome: outcome.as_str() };
            drop(metrics.pattern_offers.get_or_create(&label));
        }
        for span in [END_TO_END, HOP] {
            drop(metrics.pattern_propagation_seconds.get_or_create(&span));
        }
        metrics
    }

    /// Lets another part of the node register metrics of its own.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The scrape: OpenMetrics text, [`CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        self.register(|registry| text::encode(&mut text, registry))
            .expect("writing to a string does not fail");
        text
    }

    /// A record that was accepted here became final so long after its acceptance.
    pub fn finality(&self, time: Duration) {
        self.finality_seconds.observe(time.as_secs_f64());
    }

    /// A fault of this node or its surroundings. `kind` is one of a few fixed
    /// words, never text from outside.
    pub fn error(&self, kind: &'static str) {
        self.errors.get_or_create(&KindLabel { kind }).inc();
    }

    /// A timeout vote was signed.
    pub fn timeout_signed(&self) {
        self.timeouts.inc();
    }

    /// Evidence against a validator was found.
    pub fn equivocation(&self) {
        self.equivocations.inc();
    }

    /// A synced write took so long.
    pub fn fsync(&self, time: Duration) {
        self.fsync_seconds.observe(time.as_secs_f64());
    }

    /// What became of one record.
    pub fn record(&self, outcome: RecordOutcome) {
        self.records.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
    }

    /// Blocks were committed up to this height, in this VRF epoch and with so
    /// many reveals. To be called in ascending order.
    pub fn block_committed(&self, height: Height, epoch: u64, reveals: usize) {
        let mut seen = self.seen();
        let before = seen.height.unwrap_or(height.previous().unwrap_or_default());
        self.committed_blocks.inc_by(height.get().saturating_sub(before.get()));
        seen.height = Some(height.max(before));
        self.height.set(gauge_value(height.get()));
        self.epoch.set(gauge_value(epoch));
        self.vrf_reveals.inc_by(reveals as u64);
    }

    /// A commit vote was verified.
    pub fn signed(&self, vote: &SignedCommitVote) {
        let mut seen = self.seen();
        match seen.heights.get(&vote.vote.block).copied() {
            Some(height) => self.set_signed(&seen, height, vote.signer),
            None => {
                let block = vote.vote.block;
                let signers = seen.early_votes.get_or_insert_mut(block, BTreeSet::new);
                signers.insert(vote.signer);
            }
        }
    }

    /// A block was committed whose certificate has these signers, if it has one of its own.
    pub fn certified(
        &self,
        block: BlockId,
        height: Height,
        signers: impl IntoIterator<Item = ValidatorIndex>,
    ) {
        let mut seen = self.seen();
        seen.heights.put(block, height);
        let early = seen.early_votes.pop(&block).unwrap_or_default();
        for signer in early.into_iter().chain(signers) {
            self.set_signed(&seen, height, signer);
        }
    }

    /// The driver published its state.
    pub fn status(&self, status: &NodeStatus) {
        let committee = &status.committee;
        self.height.set(gauge_value(status.height.get()));
        self.view.set(gauge_value(status.view.get()));
        self.era.set(gauge_value(status.era.get()));
        self.lane_bytes.set(gauge_value(status.lane_bytes as u64));
        let missing = committee.size().saturating_sub(status.heard.len());
        self.missing_validators.set(gauge_value(missing as u64));
        for (index, validator) in committee.iter() {
            let label = ValidatorLabel { validator: validator.name.clone() };
            let leads = status.leader == Some(index);
            self.leader.get_or_create(&label).set(i64::from(leads));
        }
        for mode in [Mode::Federated, Mode::LocalOnly, Mode::Offline] {
            let label = ModeLabel { mode: mode_name(mode) };
            self.mode.get_or_create(&label).set(i64::from(status.mode == mode));
        }
        let mut seen = self.seen();
        seen.height.get_or_insert(status.height);
        let (era, view) = seen.view;
        if status.era != era || seen.names.is_empty() {
            seen.names = committee.iter().map(|(_, validator)| validator.name.clone()).collect();
        }
        if status.era == era && status.view > view {
            self.view_changes.inc_by(status.view.get() - view.get());
        }
        seen.view = (status.era, status.view);
    }

    /// Bytes free for the node on its data disk.
    pub fn disk_free(&self, bytes: u64) {
        self.disk_free_bytes.set(gauge_value(bytes));
    }

    /// An HTTP request was answered. `route` is the pattern, never the path itself.
    pub fn request(&self, route: &str, status: u16, time: Duration) {
        self.requests.get_or_create(&RequestLabels { route: route.to_owned(), status }).inc();
        self.request_seconds.observe(time.as_secs_f64());
    }

    /// An event stream opened (`true`) or closed.
    pub fn event_stream(&self, opened: bool) {
        self.event_streams.inc_by(if opened { 1 } else { -1 });
    }

    /// An offer of a pattern was judged.
    pub fn offer(&self, outcome: OfferOutcome) {
        let label = OutcomeLabel { outcome: outcome.as_str() };
        self.pattern_offers.get_or_create(&label).inc();
    }

    /// Offers of patterns that are kept.
    pub fn patterns(&self, count: usize) {
        self.patterns.set(gauge_value(count as u64));
    }

    /// A pattern that came from another node was adopted, so long after its envelope's time.
    pub fn pattern_propagated(&self, age: Duration) {
        let histogram = self.pattern_propagation_seconds.get_or_create(&END_TO_END);
        histogram.observe(age.as_secs_f64());
    }

    /// A pattern that came from another node was passed on, so long after it had come.
    pub fn pattern_passed_on(&self, delay: Duration) {
        self.pattern_propagation_seconds.get_or_create(&HOP).observe(delay.as_secs_f64());
    }

    fn set_signed(&self, seen: &Seen, height: Height, signer: ValidatorIndex) {
        let Some(name) = seen.names.get(usize::from(signer.get())) else { return };
        let label = ValidatorLabel { validator: name.clone() };
        let gauge = self.last_signed_height.get_or_create(&label);
        if gauge.get() < gauge_value(height.get()) {
            gauge.set(gauge_value(height.get()));
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register_all(&self, registry: &mut Registry) {
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("bizra_build", "The build that runs", build);
        registry.register(
            "finality_seconds",
            "Time from a record's acceptance here to its finality",
            self.finality_seconds.clone(),
        );
        registry.register("errors", "Faults of this node by kind", self.errors.clone());
        registry.register("bizra_records", "Records by what became of them", self.records.clone());
        registry.register(
            "bizra_lane_bytes",
            "Bytes of records in this node's lane that are not final",
            self.lane_bytes.clone(),
        );
        registry.register(
            "bizra_fsync_seconds",
            "Time of one synced write",
            self.fsync_seconds.clone(),
        );
        registry.register(
            "bizra_disk_free_bytes",
            "Bytes free on the data disk",
            self.disk_free_bytes.clone(),
        );
        registry.register("bizra_mode", "1 for the mode the node is in", self.mode.clone());
        registry.register(
            "bizra_vrf_reveals",
            "VRF reveals in committed blocks",
            self.vrf_reveals.clone(),
        );
        registry.register(
            "bizra_api_requests",
            "HTTP requests answered, by route and status",
            self.requests.clone(),
        );
        registry.register(
            "bizra_api_request_seconds",
            "Time to answer an HTTP request",
            self.request_seconds.clone(),
        );
        registry.register(
            "bizra_api_event_streams",
            "Event streams open now",
            self.event_streams.clone(),
        );
        registry.register("bizra_patterns", "Patterns that are kept", self.patterns.clone());
        registry.register(
            "bizra_pattern_offers",
            "Offers of patterns by what became of them",
            self.pattern_offers.clone(),
        );
        registry.register(
            "bizra_pattern_propagation_seconds",
            "Of patterns that other nodes sent: end_to_end from the timestamp in the envelope, by \
             its source's clock, to the adoption here, by this node's; hop from arrival here until \
             passed on",
            self.pattern_propagation_seconds.clone(),
        );
        self.register_consensus(registry.sub_registry_with_prefix("bizra_consensus"));
    }

    fn register_consensus(&self, registry: &mut Registry) {
        registry.register("height", "Height of the committed head", self.height.clone());
        registry.register("view", "Current view", self.view.clone());
        registry.register("era", "Current era", self.era.clone());
        registry.register("epoch", "VRF epoch of the committed head", self.epoch.clone());
        registry.register("leader", "1 for the leader of the current view", self.leader.clone());
        registry.register(
            "committed_blocks",
            "Blocks committed since the start",
            self.committed_blocks.clone(),
        );
        registry.register(
            "view_changes",
            "Views entered since the start, with or without a timeout",
            self.view_changes.clone(),
        );
        registry.register("timeouts", "Timeout votes signed", self.timeouts.clone());
        registry.register(
            "equivocations",
            "Evidence found against validators",
            self.equivocations.clone(),
        );
        registry.register(
            "missing_validators",
            "Validators not heard within the last second",
            self.missing_validators.clone(),
        );
        registry.register(
            "validator_last_signed_height",
            "Height of the newest final block that the validator commit-voted for",
            self.last_signed_height.clone(),
        );
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl RecordOutcome {
    /// Every outcome.
    pub const ALL: [Self; 5] =
        [Self::Accepted, Self::Refused, Self::Final, Self::Rejected, Self::Skipped];

    /// The value of the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Final => "final",
            Self::Rejected => "rejected",
            Self::Skipped => "skipped",
        }
    }
}

impl OfferOutcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::New, Self::Better, Self::Known, Self::Refused];

    /// The value of the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Better => "better",
            Self::Known => "known",
            Self::Refused => "refused",
        }
    }
}

/// The name of a mode in metrics and answers.
#[must_use]
pub const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Federated => "federated",
        Mode::LocalOnly => "local_only",
        Mode::Offline => "offline",
    }
}

fn gauge_value(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
