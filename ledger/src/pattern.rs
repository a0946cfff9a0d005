//! Patterns: what one node has learned and offers to the others.
//!
//! | action | sender | `payload.data` | does |
//! |---|---|---|---|
//! | `pattern/propagate` | PAT | [`Pattern`] | offers a pattern; travels by gossip and is no record |
//! | `pattern/elevate` | SAT | `digest` | a validator's vote that an offer is valid for the whole network |
//!
//! **An offer is never in the log.** It is made whenever its metrics have
//! changed, is worth nothing after [`TTL_MS`], and holds free text, which a log
//! that forgets nothing must not hold. Nothing that is agreed on depends on it:
//! what a node thinks of a pattern is its own affair. So `pattern/propagate` has
//! a schema here, and whoever puts it into a batch has put in a record that
//! SCHEMA refuses. The REPLAY gate is not asked: an offer that comes twice
//! changes nothing, because only a better one takes its place.
//!
//! **Adoption.** Upon an offer, a receiver
//! 1. asks the gates SCHEMA, SIGNATURE, TIMESTAMP, ROLE, SNR, IHSAN and POLICY,
//!    as of a record, and whether the ledger knows the key as replaced or
//!    revoked; IHSAN also of the pattern's own `ihsan_score`;
//! 2. checks that the offer agrees with itself: the id is that of the trigger,
//!    the source is the signer, no more successes than uses, times in order and
//!    not after the envelope's own;
//! 3. recomputes from the metrics whether it may be shared at all: elevated by
//!    [`ELEVATION_TRIGGERS_MIN`] triggers, the gain of which has not been lost
//!    since; at least [`SHARED_USES_MIN`] uses; a success rate of at least
//!    [`SHARED_SUCCESS_MIN`];
//! 4. computes its [`Impact`], and keeps it in a [`PatternBook`], by id and
//!    source: one that is known is replaced only by a strictly higher impact.
//!
//! A pattern that was adopted is VALIDATED for this node; `status` in the offer
//! is what its source thinks of it. Metrics are the source's claim, so a node
//! weighs the impact with the source's [reputation](Reputations), and only the
//! votes of validators make an offer VALIDATED for the whole network.
//!
//! **Impact** = min(1, successes/uses × Ihsān × (1 + total SNR delta/uses) ×
//! (½ + ½·min(1, age/24 h))), where 0 uses count as 1. The age is that of
//! `creation_time` at the envelope's own `timestamp`, in whole seconds, cut off.
//! TIMESTAMP keeps that within two minutes of the receiver's clock, and so the
//! impact of an offer is the same at every node and does not change while it
//! lies there: who is still young offers again when it is older. Inputs are
//! integers (scores and SNR delta in parts per million, cut off from their
//! canonical text), the fraction is exact, and is cut off once, to parts per
//! billion.
//!
//! **Votes.** `pattern/elevate` names the digest of the offer's envelope, which
//! binds the content with its source's signature; the text itself stays out of
//! the log, and whether there is such an offer is for the voters to see. Each
//! validator has one vote, which counts like a ballot on a proposal: while it
//! has a seat and is not in [quarantine](crate::reputation). With as many as an
//! amendment needs, counted when a vote comes, the offer is valid for ever. A
//! better offer is another claim, and needs votes of its own.
//!
//! **Two reputations.** That of the ledger is of validators, by their consensus
//! keys, and governs who votes here. Sources are agents, which have none there:
//! theirs is each node's own, [`Reputations`].

use crate::codes::{Code, Rejection};
use crate::envelope::{Content, Envelope};
use crate::forms::{Score, read_millionths, read_timestamp};
use crate::gates::{
    TIMESTAMP_TOLERANCE_MS, check_chain, check_role, check_score, check_scores, check_timestamp,
    verify_signatures,
};
use crate::identity::{KeyEntry, identity_of};
use crate::parameters::LedgerParameters;
use crate::policy::Policies;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use bizra_types::committee::{COMMITTEE_SIZE_MAX, Committee};
use bizra_types::crypto::PublicKey;
use bizra_types::encoding::{Decode, DecodeError, Encode, Reader, encode_list};
use bizra_types::hash::{ChainId, RecordDigest, hex, hex_array};
use bizra_types::json::{Member, SchemaError};
use bizra_types::numbers::{Height, TimestampMs};
use core::cmp::Reverse;
use core::fmt;
use sha2::{Digest as _, Sha256};

/// Bytes of a trigger condition, at most.
pub const TRIGGER_SIZE_MAX: usize = 2_048;

/// Bytes of an action, at most.
pub const ACTION_SIZE_MAX: usize = 8_192;

/// Bytes of a domain, at most.
pub const DOMAIN_SIZE_MAX: usize = 128;

/// Uses of a pattern, at most; it keeps the product of [`Impact::of`] within 128 bits.
pub const USES_MAX: u64 = 1_000_000_000;

/// How long an offer is worth something, from its envelope's time on, in ms: 168 h.
pub const TTL_MS: u64 = 168 * 3_600_000;

/// A use with at least this SNR delta counts as a trigger.
pub const ELEVATION_SNR_DELTA_MIN: Score = share(100_000);

/// Triggers that elevate a pattern, so that its node may propose it.
pub const ELEVATION_TRIGGERS_MIN: u64 = 3;

/// Uses before which a pattern is not shared.
pub const SHARED_USES_MIN: u64 = 3;

/// Success rate below which a pattern is not shared.
pub const SHARED_SUCCESS_MIN: Score = share(800_000);

/// Reputation of a source that nobody knows.
pub const REPUTATION_START: Score = share(500_000);

/// Reputation below which nothing is taken from a source.
pub const REPUTATION_MIN: Score = share(300_000);

/// What an adopted offer adds to the reputation of its source, in parts per million.
const GOOD_PPM: u32 = 10_000;

/// A reputation that has just changed does not rise, in ms: an hour.
const GOOD_INTERVAL_MS: u64 = 3_600_000;

/// What an offer that no honest source makes takes from it, in parts per million.
const BAD_PPM: u32 = 50_000;

/// Sources whose reputation is remembered, at most; about 100 bytes each.
const REPUTATIONS_MAX: usize = 4_096;

/// The age from which on a pattern's impact is whole, in seconds: a day.
const GROWN_UP_S: u64 = 86_400;

const MILLION: u64 = 1_000_000;
const BILLION: u32 = 1_000_000_000;

/// The name of a pattern: the first 8 bytes of SHA-256 of its trigger condition, written `sape_`
/// and 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PatternId(pub [u8; 8]);

/// `payload.data` of `pattern/propagate`; its `source_node` is the sender's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Its name.
    pub id: PatternId,
    /// When it applies.
    pub trigger_condition: String,
    /// What to do then.
    pub action: String,
    /// The field that it belongs to.
    pub domain: String,
    /// When its source found it.
    pub created_at: TimestampMs,
    /// Uses with an SNR delta of at least [`ELEVATION_SNR_DELTA_MIN`].
    pub elevation_count: u64,
    /// What its source thinks of it.
    pub status: Status,
    /// Its Ihsān score.
    pub ihsan: Score,
    /// How it has done.
    pub metrics: Metrics,
}

/// How a pattern stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// `LOCAL`: not elevated yet.
    Local,
    /// `PROPOSED`: offered to others.
    Proposed,
    /// `VALIDATED`
    Validated,
    /// `REJECTED`
    Rejected,
    /// `DEPRECATED`
    Deprecated,
}

/// How a pattern has done at its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// How often it was used.
    pub uses: u64,
    /// How often that succeeded.
    pub successes: u64,
    /// Sum of what it added to signal-to-noise scores, in parts per million.
    pub total_snr_delta_ppm: u64,
    /// Sum of the time that it saved, in ms.
    pub total_latency_saved_ms: u64,
    /// When it was used first.
    pub first_used: TimestampMs,
    /// When it was used last.
    pub last_used: TimestampMs,
}

/// How much a pattern is worth, from 0 to 1 in parts per billion, cut off.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Impact(u32);

/// An offer whose form and signature are good.
#[derive(Clone, Debug)]
pub struct SignedOffer {
    envelope: Envelope,
    bytes: Arc<[u8]>,
}

/// An offer that may be adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    envelope: Envelope,
    bytes: Arc<[u8]>,
    impact: Impact,
}

/// What became of an offer that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// Its source had not offered this pattern before.
    New,
    /// It took the place of an offer with a lower impact.
    Better,
    /// It is there already.
    Known,
}

/// How much a [`PatternBook`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookLimits {
    /// Offers in all.
    pub offers_max: usize,
    /// Offers of one source.
    pub offers_per_source_max: usize,
}

/// The offers that a node has adopted: of each source one for each pattern.
///
/// When there is no room, the offer with the lowest impact leaves, which can be the new one; of
/// equal ones the youngest. No source has more than its part of the room: impact is computed from
/// what a source says of itself, so one that lies well would otherwise throw out everybody else,
/// and so it throws out nobody but itself. Keys cost nothing, so this bounds a source and not a
/// person; what bounds that is who may connect and how much a peer may send.
#[derive(Clone, Debug)]
pub struct PatternBook {
    offers: BTreeMap<(PatternId, PublicKey), Offer>,
    limits: BookLimits,
}

/// What this node has seen of the sources of patterns: from 0 to 1 for each key.
///
/// It begins at [`REPUTATION_START`], rises by 0.01 with an offer that is adopted and falls by
/// 0.05 with one that its own signer must have known to be wrong. It rises at most once an hour,
/// because offers cost nothing and a reputation must. Only signed offers count, so nobody loses by
/// what others send. What has not changed for [`TTL_MS`] is forgotten.
#[derive(Clone, Debug, Default)]
pub struct Reputations {
    known: BTreeMap<PublicKey, (Score, TimestampMs)>,
}

/// `payload.data` of `pattern/elevate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elevation {
    /// The envelope of the offer.
    pub digest: RecordDigest,
}

/// Value of [`Family::Pattern`](crate::plain::Family::Pattern), by the digest of the offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatternVotes {
    /// Validators that have voted for it, ascending.
    pub voters: Vec<PublicKey>,
    /// The block that made it valid for the whole network.
    pub validated_at: Option<Height>,
}

impl PatternId {
    /// The name of the pattern with this trigger condition.
    #[must_use]
    pub fn of(trigger_condition: &str) -> Self {
        let hash = Sha256::digest(trigger_condition);
        Self(*hash.first_chunk().expect("a hash has 32 bytes"))
    }

    /// Reads the one spelling of a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_prefix("sape_").and_then(hex_array).map(Self)
    }
}

impl fmt::Display for PatternId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sape_{}", hex(&self.0))
    }
}

impl fmt::Debug for PatternId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Pattern {
    /// Reads `payload.data` of an envelope of this sender.
    ///
    /// # Errors
    /// When a member is missing, unknown or of another form, the id is not that of the trigger
    /// condition, or the source is not the sender.
    pub fn read(data: &Member<'_>, sender: PublicKey) -> Result<Self, SchemaError> {
        let mut object = data.object()?;
        let trigger_member = object.take("trigger_condition")?;
        let trigger_condition = trigger_member.text(TRIGGER_SIZE_MAX)?.to_owned();
        let id_member = object.take("pattern_id")?;
        let id = PatternId::of(&trigger_condition);
        if PatternId::parse(id_member.string()?) != Some(id) {
            let detail = format!("must be {id}, the name of the pattern with this trigger");
            return Err(id_member.error(detail));
        }
        let source_member = object.take("source_node")?;
        if PublicKey(source_member.hex()?) != sender {
            return Err(source_member.error(format!("must be {sender}, the key of the sender")));
        }
        let pattern = Self {
            id,
            trigger_condition,
            action: object.take("action")?.text(ACTION_SIZE_MAX)?.to_owned(),
            domain: object.take("domain")?.text(DOMAIN_SIZE_MAX)?.to_owned(),
            created_at: read_timestamp(&object.take("creation_time")?)?,
            elevation_count: object.take("elevation_count")?.unsigned_in(0..=USES_MAX)?,
            status: object.take("status")?.one_of(STATUSES)?,
            ihsan: Score::read(&object.take("ihsan_score")?)?,
            metrics: Metrics::read(&object.take("metrics")?)?,
        };
        object.finish()?;
        Ok(pattern)
    }

    /// How much it is worth at this time.
    #[must_use]
    pub fn impact(&self, now: TimestampMs) -> Impact {
        Impact::of(&self.metrics, self.ihsan, now.saturating_ms_since(self.created_at))
    }

    /// Whether it agrees with itself, in an envelope of this time.
    ///
    /// # Errors
    /// [`Code::Invariant`].
    pub fn check_consistent(&self, timestamp: TimestampMs) -> Result<(), Rejection> {
        let Metrics { uses, successes, total_snr_delta_ppm, first_used, last_used, .. } =
            self.metrics;
        for (member, count) in [
            ("metrics.successes", successes),
            ("metrics.total_snr_delta", total_snr_delta_ppm.div_ceil(MILLION)),
            ("elevation_count", self.elevation_count),
        ] {
            if count > uses {
                let detail = format!("must be at most `metrics.uses`, which is {uses}");
                return Err(invariant(member, detail));
            }
        }
        let latest = timestamp.saturating_add_ms(TIMESTAMP_TOLERANCE_MS);
        for (member, earlier, later, what) in [
            ("metrics.first_used", self.created_at, first_used, "before `creation_time`"),
            ("metrics.last_used", first_used, last_used, "before `metrics.first_used`"),
            ("metrics.last_used", last_used, latest, "after the envelope's time and 120000 ms"),
        ] {
            let wrong_ms = earlier.saturating_ms_since(later);
            if wrong_ms > 0 {
                let detail = format!("must not lie {what}, but does by {wrong_ms} ms");
                return Err(invariant(member, detail));
            }
        }
        Ok(())
    }

    /// Whether its source may share it, as far as its metrics tell.
    ///
    /// # Errors
    /// [`Code::Ihsan`] when its Ihsān score is too low, else [`Code::Invariant`].
    pub fn check_shared(&self, parameters: &LedgerParameters) -> Result<(), Rejection> {
        let least_ppm = parameters.ihsan_min_ppm;
        check_score(Code::Ihsan, "payload.data.ihsan_score", self.ihsan, least_ppm)?;
        if !matches!(self.status, Status::Proposed | Status::Validated) {
            let detail = "must be \"PROPOSED\" or \"VALIDATED\" for a pattern that is offered";
            return Err(invariant("status", detail));
        }
        let Metrics { uses, successes, total_snr_delta_ppm, .. } = self.metrics;
        for (member, count, least) in [
            ("elevation_count", self.elevation_count, ELEVATION_TRIGGERS_MIN),
            ("metrics.uses", uses, SHARED_USES_MIN),
        ] {
            if count < least {
                let detail = format!("must be at least {least}, but is {count}");
                return Err(invariant(member, detail));
            }
        }
        let gain_ppm =
            ELEVATION_TRIGGERS_MIN * u64::from(ELEVATION_SNR_DELTA_MIN.parts_per_million());
        if total_snr_delta_ppm < gain_ppm {
            let detail = format!(
                "must be at least {ELEVATION_SNR_DELTA_MIN} for each of {ELEVATION_TRIGGERS_MIN} \
                 triggers"
            );
            return Err(invariant("metrics.total_snr_delta", detail));
        }
        if successes * MILLION < uses * u64::from(SHARED_SUCCESS_MIN.parts_per_million()) {
            let detail = format!(
                "must be at least {SHARED_SUCCESS_MIN} of `metrics.uses`, but is {successes} of \
                 {uses}"
            );
            return Err(invariant("metrics.successes", detail));
        }
        Ok(())
    }
}

impl Status {
    /// Its name in an offer.
    #[must_use]
    pub fn name(self) -> &'static str {
        let known = STATUSES.iter().find(|(_, status)| *status == self);
        known.map(|(name, _)| *name).expect("every status has a name, as a test shows")
    }
}

impl Metrics {
    fn read(member: &Member<'_>) -> Result<Self, SchemaError> {
        let mut object = member.object()?;
        let metrics = Self {
            uses: object.take("uses")?.unsigned_in(0..=USES_MAX)?,
            successes: object.take("successes")?.unsigned_in(0..=USES_MAX)?,
            total_snr_delta_ppm: read_millionths(&object.take("total_snr_delta")?, USES_MAX)?,
            total_latency_saved_ms: object.take("total_latency_saved_ms")?.unsigned()?,
            first_used: read_timestamp(&object.take("first_used")?)?,
            last_used: read_timestamp(&object.take("last_used")?)?,
        };
        object.finish()?;
        Ok(metrics)
    }
}

impl Impact {
    /// The impact of a pattern of this age.
    ///
    /// # Panics
    /// When a number is larger than the schema allows.
    #[must_use]
    pub fn of(metrics: &Metrics, ihsan: Score, age_ms: u64) -> Self {
        let Metrics { uses, successes, total_snr_delta_ppm, .. } = *metrics;
        let largest = uses.max(successes).max(total_snr_delta_ppm / MILLION);
        assert!(largest <= USES_MAX, "{largest} uses, where the schema allows {USES_MAX}");
        let [uses, successes, snr_delta_ppm] =
            [uses.max(1), successes, total_snr_delta_ppm].map(u128::from);
        let (million, grown_up_s) = (u128::from(MILLION), u128::from(GROWN_UP_S));
        let age_s = u128::from(age_ms / 1_000).min(grown_up_s);
        let ihsan_ppm = u128::from(ihsan.parts_per_million());
        let product =
            successes * ihsan_ppm * (uses * million + snr_delta_ppm) * (grown_up_s + age_s);
        // Ihsān and SNR delta are millionths, and the result is billionths.
        let whole = uses * uses * 1_000 * 2 * grown_up_s;
        let parts = u32::try_from(product / whole).unwrap_or(BILLION);
        Self(parts.min(BILLION))
    }

    /// The impact in parts per billion.
    #[must_use]
    pub const fn parts_per_billion(self) -> u32 {
        self.0
    }

    /// What a node goes by when it chooses: the impact times the reputation of the source.
    #[must_use]
    pub fn weighed(self, reputation: Score) -> u64 {
        u64::from(self.0) * u64::from(reputation.parts_per_million())
    }
}

/// As a decimal fraction with nine digits.
impl fmt::Display for Impact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / BILLION, self.0 % BILLION)
    }
}

impl fmt::Debug for Impact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ppb", self.0)
    }
}

impl SignedOffer {
    /// Reads an offer in any spelling: SCHEMA and SIGNATURE.
    ///
    /// # Errors
    /// [`Code::Schema`] and [`Code::Signature`].
    pub fn parse(text: &[u8], chain_id: &ChainId) -> Result<Self, Rejection> {
        let (envelope, bytes) = Envelope::parse(text)?;
        Self::verify(envelope, bytes.into(), chain_id)
    }

    /// The same of canonical bytes alone, as nodes pass them on: in another spelling one offer
    /// could be sent for ever.
    ///
    /// # Errors
    /// As [`SignedOffer::parse`], and when the bytes are not canonical.
    pub fn parse_canonical(bytes: &[u8], chain_id: &ChainId) -> Result<Self, Rejection> {
        Self::verify(Envelope::parse_canonical(bytes)?, bytes.into(), chain_id)
    }

    fn verify(envelope: Envelope, bytes: Arc<[u8]>, chain_id: &ChainId) -> Result<Self, Rejection> {
        check_chain(&envelope, chain_id)?;
        if !matches!(envelope.content, Content::Pattern(_)) {
            let detail = "must be \"pattern/propagate\" for an offer to other nodes";
            return Err(Rejection::new(Code::Schema, "payload.action", detail));
        }
        let envelope = verify_signatures(vec![Ok(envelope)], |envelope| envelope).remove(0)?;
        Ok(Self { envelope, bytes })
    }

    /// Who has signed it.
    #[must_use]
    pub const fn source(&self) -> PublicKey {
        self.envelope.sender.public_key
    }

    /// Asks the other gates by this clock, and whether the pattern may be shared. `key` is what
    /// the ledger says of its [source](SignedOffer::source); parameters, policies and committee are
    /// those of the latest state.
    ///
    /// # Errors
    /// What is wrong with it; never [`Code::Schema`] or [`Code::Signature`].
    pub fn check(
        self,
        now: TimestampMs,
        key: Option<&KeyEntry>,
        committee: &Committee,
        parameters: &LedgerParameters,
        policies: &mut Policies,
    ) -> Result<Offer, Rejection> {
        let Self { envelope, bytes } = self;
        check_timestamp(&envelope, now)?;
        identity_of(&envelope.sender, key, false, committee, parameters)?;
        check_role(&envelope, committee)?;
        check_scores(&envelope, parameters)?;
        policies.check(&envelope)?;
        let pattern = pattern_of(&envelope);
        pattern.check_consistent(envelope.timestamp)?;
        pattern.check_shared(parameters)?;
        Ok(Self { envelope, bytes }.checked_before())
    }

    /// The offer, if it was adopted here before. What has changed since is not asked, as nothing
    /// is of an offer that has stayed in memory.
    #[must_use]
    pub fn checked_before(self) -> Offer {
        let Self { envelope, bytes } = self;
        let impact = pattern_of(&envelope).impact(envelope.timestamp);
        Offer { envelope, bytes, impact }
    }
}

impl Offer {
    /// What is offered.
    #[must_use]
    pub fn pattern(&self) -> &Pattern {
        pattern_of(&self.envelope)
    }

    /// Who offers it.
    #[must_use]
    pub const fn source(&self) -> PublicKey {
        self.envelope.sender.public_key
    }

    /// The digest of its envelope.
    #[must_use]
    pub const fn digest(&self) -> RecordDigest {
        self.envelope.digest
    }

    /// The time of its envelope.
    #[must_use]
    pub const fn timestamp(&self) -> TimestampMs {
        self.envelope.timestamp
    }

    /// Its canonical bytes, which nodes pass on.
    #[must_use]
    pub const fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// How much it is worth.
    #[must_use]
    pub const fn impact(&self) -> Impact {
        self.impact
    }

    /// Whether it is still worth something.
    #[must_use]
    pub const fn is_alive(&self, now: TimestampMs) -> bool {
        now.saturating_ms_since(self.envelope.timestamp) < TTL_MS
    }

    /// By what a [`PatternBook`] knows it: its pattern, and who offers it.
    #[must_use]
    pub fn key(&self) -> (PatternId, PublicKey) {
        (self.pattern().id, self.source())
    }

    /// The order in which offers leave a full book.
    const fn rank(&self) -> (Impact, Reverse<TimestampMs>, RecordDigest) {
        (self.impact, Reverse(self.envelope.timestamp), self.envelope.digest)
    }
}

fn pattern_of(envelope: &Envelope) -> &Pattern {
    match &envelope.content {
        Content::Pattern(pattern) => pattern,
        _ => unreachable!("an offer is made of a pattern, as its constructor checks"),
    }
}

impl Default for BookLimits {
    /// A thousand offers, of one source at most a tenth.
    fn default() -> Self {
        Self { offers_max: 1_000, offers_per_source_max: 100 }
    }
}

impl PatternBook {
    /// An empty book.
    ///
    /// # Panics
    /// When a limit is 0.
    #[must_use]
    pub const fn new(limits: BookLimits) -> Self {
        assert!(limits.offers_max > 0 && limits.offers_per_source_max > 0, "room for something");
        Self { offers: BTreeMap::new(), limits }
    }

    /// Offers in it, expired ones included that were not asked for since.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offers.is_empty()
    }

    /// Whether there is an offer of this [key](Offer::key).
    #[must_use]
    pub fn contains(&self, key: &(PatternId, PublicKey)) -> bool {
        self.offers.contains_key(key)
    }

    /// Takes an offer in, and lets go of those that have expired.
    ///
    /// # Errors
    /// [`Code::Stale`] when it has expired itself; [`Code::State`] when its source has offered
    /// this pattern with an impact that is not lower, or there is no room for its impact.
    pub fn adopt(&mut self, offer: Offer, now: TimestampMs) -> Result<Adoption, Rejection> {
        self.offers.retain(|_, known| known.is_alive(now));
        if !offer.is_alive(now) {
            let detail = format!("must be at most {TTL_MS} ms old");
            return Err(Rejection::new(Code::Stale, "timestamp", detail));
        }
        let key = offer.key();
        if let Some(known) = self.offers.get(&key) {
            if known.digest() == offer.digest() {
                return Ok(Adoption::Known);
            }
            if offer.impact <= known.impact {
                let detail = format!(
                    "must show an impact above {}, that of the offer which is known, but shows {}",
                    known.impact, offer.impact
                );
                return Err(Rejection::new(Code::State, "payload.data.metrics", detail));
            }
            self.offers.insert(key, offer);
            return Ok(Adoption::Better);
        }
        let of_source = self.offers.values().filter(|known| known.source() == offer.source());
        if of_source.clone().count() >= self.limits.offers_per_source_max {
            let lowest = of_source.min_by_key(|known| known.rank());
            self.make_room(lowest.map(|known| (known.key(), known.rank())), &offer)?;
        } else if self.offers.len() >= self.limits.offers_max {
            let lowest = self.offers.values().min_by_key(|known| known.rank());
            self.make_room(lowest.map(|known| (known.key(), known.rank())), &offer)?;
        }
        self.offers.insert(key, offer);
        Ok(Adoption::New)
    }

    /// What is known, the best by impact and reputation of the source first.
    #[must_use]
    pub fn find(
        &self,
        domain: Option<&str>,
        id: Option<PatternId>,
        reputations: &Reputations,
        now: TimestampMs,
    ) -> Vec<&Offer> {
        let is_wanted = |offer: &&Offer| {
            offer.is_alive(now)
                && domain.is_none_or(|domain| offer.pattern().domain == domain)
                && id.is_none_or(|id| offer.pattern().id == id)
        };
        let mut found: Vec<&Offer> = self.offers.values().filter(is_wanted).collect();
        found.sort_by_cached_key(|offer| {
            let reputation = reputations.of(&offer.source(), now);
            Reverse((offer.impact.weighed(reputation), offer.rank()))
        });
        found
    }

    /// The offer of a pattern that this node goes by.
    #[must_use]
    pub fn best(
        &self,
        id: PatternId,
        reputations: &Reputations,
        now: TimestampMs,
    ) -> Option<&Offer> {
        self.find(None, Some(id), reputations, now).first().copied()
    }

    /// Lets the lowest go, unless the new one is lower.
    fn make_room(&mut self, lowest: Option<Lowest>, offer: &Offer) -> Result<(), Rejection> {
        let Some((key, rank)) = lowest else { return Ok(()) };
        if offer.rank() < rank {
            let detail = format!(
                "must show an impact above {}, the lowest for which there is room, but shows {}",
                rank.0, offer.impact
            );
            return Err(Rejection::new(Code::State, "payload.data.metrics", detail));
        }
        self.offers.remove(&key);
        Ok(())
    }
}

/// An offer that is to leave, and its rank.
type Lowest = ((PatternId, PublicKey), (Impact, Reverse<TimestampMs>, RecordDigest));

impl Reputations {
    /// The reputation of a source.
    #[must_use]
    pub fn of(&self, source: &PublicKey, now: TimestampMs) -> Score {
        match self.known.get(source) {
            Some((score, changed_at)) if now.saturating_ms_since(*changed_at) < TTL_MS => *score,
            _ => REPUTATION_START,
        }
    }

    /// Whether offers of a source are taken.
    ///
    /// # Errors
    /// [`Code::State`] when its reputation is too low.
    pub fn check(&self, source: &PublicKey, now: TimestampMs) -> Result<(), Rejection> {
        let reputation = self.of(source, now);
        if reputation < REPUTATION_MIN {
            let detail = format!(
                "must have a reputation of at least {REPUTATION_MIN} here, but has {reputation}, \
                 because of offers that were wrong"
            );
            return Err(Rejection::new(Code::State, "sender.public_key", detail));
        }
        Ok(())
    }

    /// Notes what became of a signed offer.
    pub fn note(&mut self, source: PublicKey, outcome: Result<Adoption, Code>, now: TimestampMs) {
        let parts = self.of(&source, now).parts_per_million();
        let has_rested = self
            .known
            .get(&source)
            .is_none_or(|(_, changed_at)| now.saturating_ms_since(*changed_at) >= GOOD_INTERVAL_MS);
        let parts = match outcome {
            Ok(Adoption::New | Adoption::Better) if has_rested => parts + GOOD_PPM,
            Err(Code::Invariant | Code::Ihsan) => parts.saturating_sub(BAD_PPM),
            Ok(_) | Err(_) => return,
        };
        let score = Score::from_parts_per_million(parts).unwrap_or(Score::ONE);
        self.known.insert(source, (score, now));
        if self.known.len() > REPUTATIONS_MAX {
            let oldest = self.known.iter().min_by_key(|(key, (_, at))| (*at, **key));
            let oldest = oldest.map(|(key, _)| *key).expect("there are many");
            self.known.remove(&oldest);
        }
    }
}

impl Elevation {
    /// Reads `payload.data`.
    ///
    /// # Errors
    /// When a member is missing, unknown or of another form.
    pub fn read(data: &Member<'_>) -> Result<Self, SchemaError> {
        let mut object = data.object()?;
        let digest = RecordDigest(object.take("digest")?.hex()?);
        object.finish()?;
        Ok(Self { digest })
    }

    /// The votes with that of one more validator of this committee. Those of validators that have
    /// left it are dropped.
    ///
    /// # Errors
    /// [`Code::State`] when the validator has voted already, or no vote is needed any more.
    pub fn vote(
        &self,
        voter: PublicKey,
        votes: PatternVotes,
        committee: &Committee,
    ) -> Result<PatternVotes, Rejection> {
        let refuse = |member, detail| Err(Rejection::new(Code::State, member, detail));
        if let Some(height) = votes.validated_at {
            let detail =
                format!("must not be validated already, but is since the block at height {height}");
            return refuse("payload.data.digest", detail);
        }
        let mut voters = votes.voters;
        voters.retain(|known| committee.index_of(known).is_some());
        let Err(place) = voters.binary_search(&voter) else {
            let detail = format!("must not have voted for {} already", self.digest);
            return refuse("sender.public_key", detail);
        };
        voters.insert(place, voter);
        Ok(PatternVotes { voters, validated_at: None })
    }
}

impl Encode for PatternVotes {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_list(&self.voters, out);
        self.validated_at.encode(out);
    }
}

impl Decode for PatternVotes {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let voters =
            reader.ascending("voters", COMMITTEE_SIZE_MAX, 32, |voter: &PublicKey| *voter)?;
        Ok(Self { voters, validated_at: Decode::decode(reader)? })
    }
}

fn invariant(member: &str, detail: impl Into<String>) -> Rejection {
    Rejection::new(Code::Invariant, format!("payload.data.{member}"), detail)
}

const fn share(parts: u32) -> Score {
    Score::from_parts_per_million(parts).expect("at most one million parts per million")
}

const STATUSES: &[(&str, Status)] = &[
    ("LOCAL", Status::Local),
    ("PROPOSED", Status::Proposed),
    ("VALIDATED", Status::Validated),
    ("REJECTED", Status::Rejected),
    ("DEPRECATED", Status::Deprecated),
];

#[cfg(test)]
mod tests;
