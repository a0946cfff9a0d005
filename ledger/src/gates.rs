//! The gates, and who asks them what.
//!
//! In order, the first failure stops: SCHEMA, SIGNATURE, TIMESTAMP, REPLAY,
//! ROLE, SNR, IHSAN, POLICY, FATE, FORMAL.
//!
//! | gate | admission | receipt | execution |
//! |---|---|---|---|
//! | SCHEMA | any spelling | canonical bytes | verdict of the receipt |
//! | SIGNATURE | yes | in one batch | verdict of the receipt |
//! | TIMESTAMP | against the local clock | against `admitted_at_ms` | verdict of the receipt |
//! | REPLAY | the nonce cache | – | a digest in the log is skipped |
//! | ROLE | yes | – | yes, by the committee of the block's era |
//! | SNR, IHSAN | yes | – | yes, by the parameters in force |
//! | POLICY | yes | – | yes, by the policies in force |
//! | FATE | yes | – | yes, by the parameters in force |
//! | FORMAL, times and proposals | yes | – | yes |
//! | proof of a new key | yes | in one batch | verdict of the receipt |
//! | key and quotas | yes (RATE) | – | yes (STATE) |
//! | FORMAL, state | – | – | yes, by what the blocks before have left |
//! | FORMAL, proposed policies | yes | – | at the end of the votes |
//!
//! Admission leaves the rest of the state to execution: what a record builds on
//! may be on its way in the same lane.
//!
//! Scores are the sender's claim. They are compared as integers in parts per
//! million, cut off from the canonical decimal text.
//!
//! *Admission* is one validator's early advice to the submitter. *Receipt* is
//! static: bytes, `admitted_at_ms` and the chain decide it, so it is the same
//! at every validator and in every year, and is checked once and kept.
//! *Execution* ([`crate::execution`]) reads nothing but those verdicts and the
//! ledger.
//!
//! A key of small order is refused with [`Code::Signature`]: under an all-zero
//! key an all-zero signature would verify every record. Everything else about
//! signatures is ZIP 215.

use crate::codes::{Code, Rejection};
use crate::envelope::{AgentType, AllowedSender, Content, Envelope, Sender};
use crate::fate::check_fate;
use crate::forms::Score;
use crate::governance::Change;
use crate::identity::{IdentityAction, Standing, rotation_message};
use crate::inference::{Fate, InferenceCommit};
use crate::parameters::{LedgerParameters, share};
use crate::policy::Policies;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use bizra_types::committee::Committee;
use bizra_types::crypto::{PublicKey, Signature, SignatureCheck, check_each};
use bizra_types::encoding::{Decode, DecodeError, Encode, Reader, encode_list};
use bizra_types::hash::{ChainId, Hash, RecordDigest};
use bizra_types::numbers::TimestampMs;

/// How far an envelope's time may lie before or after its admission.
pub const TIMESTAMP_TOLERANCE_MS: u64 = 120_000;

/// How long a nonce is remembered.
pub const NONCE_LIFETIME_MS: u64 = 300_000;

/// What the receipt of a batch found out about one record, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The static gates let it pass.
    Good(Arc<Envelope>),
    /// A static gate refused it. This says nothing about its digest: somebody
    /// else's copy may be good.
    Bad(Rejection),
}

/// A submitted record whose form and signature are good. Whoever holds one
/// looks its digest up first, because a known digest is answered with its
/// status, however old its timestamp is; then asks [`Submission::admit`].
#[derive(Clone, Debug)]
pub struct Submission {
    envelope: Envelope,
    bytes: Arc<[u8]>,
}

/// A record that may be put into a batch.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The record.
    pub envelope: Envelope,
    /// Its canonical bytes, which every node keeps and serves.
    pub bytes: Arc<[u8]>,
    /// The clock's time at admission, which belongs beside the record in its batch.
    pub admitted_at: TimestampMs,
}

/// The nonces that were used within [`NONCE_LIFETIME_MS`], and for which record.
///
/// Advice to honest senders, no part of the ledger: it is bounded, drops the
/// oldest when it is full, and is written to disk and read again over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonceCache {
    uses: BTreeMap<NonceKey, (RecordDigest, TimestampMs)>,
    /// The keys of `uses` in the order in which they came.
    order: VecDeque<NonceKey>,
    capacity: usize,
}

type NonceKey = (PublicKey, [u8; 32]);

impl Verdict {
    /// The record, if it is good.
    #[must_use]
    pub fn envelope(&self) -> Option<&Envelope> {
        match self {
            Self::Good(envelope) => Some(envelope),
            Self::Bad(_) => None,
        }
    }
}

/// The static verdict on one record.
#[must_use]
pub fn check_record(bytes: &[u8], admitted_at: TimestampMs, chain_id: &ChainId) -> Verdict {
    check_records(&[(admitted_at, bytes)], chain_id).remove(0)
}

/// The static verdicts on the records of a batch, in their order. Signatures
/// are verified together, with the same result as one by one.
#[must_use]
pub fn check_records(records: &[(TimestampMs, &[u8])], chain_id: &ChainId) -> Vec<Verdict> {
    let forms = records.iter().map(|(_, bytes)| {
        let envelope = Envelope::parse_canonical(bytes)?;
        check_chain(&envelope, chain_id)?;
        check_logged(&envelope)?;
        Ok(Arc::new(envelope))
    });
    let verified = verify_signatures(forms.collect(), |envelope| envelope);
    let timed = verified.into_iter().zip(records).map(|(envelope, (admitted_at, _))| {
        let envelope = envelope?;
        check_timestamp(&envelope, *admitted_at)?;
        Ok(envelope)
    });
    timed.map(|result| result.map_or_else(Verdict::Bad, Verdict::Good)).collect()
}

impl Submission {
    /// Reads a submitted text: SCHEMA and SIGNATURE.
    ///
    /// # Errors
    /// What the submitter is told.
    pub fn parse(text: &[u8], chain_id: &ChainId) -> Result<Self, Rejection> {
        Self::parse_each(&[text], chain_id).remove(0)
    }

    /// Reads many submitted texts and verifies their signatures together.
    #[must_use]
    pub fn parse_each(texts: &[&[u8]], chain_id: &ChainId) -> Vec<Result<Self, Rejection>> {
        let forms = texts.iter().map(|text| {
            let (envelope, bytes) = Envelope::parse(text)?;
            check_chain(&envelope, chain_id)?;
            check_logged(&envelope)?;
            Ok(Self { envelope, bytes: bytes.into() })
        });
        verify_signatures(forms.collect(), |submission| &submission.envelope)
    }

    /// The identity to look up.
    #[must_use]
    pub const fn digest(&self) -> RecordDigest {
        self.envelope.digest
    }

    /// The key whose [`Standing`] decides.
    #[must_use]
    pub const fn sender(&self) -> PublicKey {
        self.envelope.sender.public_key
    }

    /// Asks the other gates that need no more than the envelope, the clock, the
    /// sender's standing and the rules in force. The caller has looked the
    /// digest up and found it unknown. The nonce is noted only when all gates
    /// let the record pass.
    ///
    /// # Errors
    /// What the submitter is told.
    pub fn admit(
        self,
        now: TimestampMs,
        nonces: &mut NonceCache,
        standing: &Standing,
        committee: &Committee,
        parameters: &LedgerParameters,
        policies: &mut Policies,
    ) -> Result<Admitted, Rejection> {
        let Self { envelope, bytes } = self;
        check_timestamp(&envelope, now)?;
        nonces.check(&envelope, now)?;
        standing.check(&envelope, bytes.len(), now, committee, parameters)?;
        check_role(&envelope, committee)?;
        check_scores(&envelope, parameters)?;
        policies.check(&envelope)?;
        check_content(&envelope, parameters)?;
        if let Content::Governance(action) = &envelope.content {
            let proposer = envelope.sender.public_key;
            action.change().map_or(Ok(()), |it| policies.check_proposed(proposer, it, now))?;
        }
        nonces.note(&envelope, now);
        Ok(Admitted { envelope, bytes, admitted_at: now })
    }
}

/// The ROLE gate, by the committee of the era.
///
/// # Errors
/// [`Code::Role`] when the sender's role may not send the action, or when a
/// system agent is no validator of the committee.
pub fn check_role(envelope: &Envelope, committee: &Committee) -> Result<(), Rejection> {
    check_sender(envelope.action().allowed_sender(), &envelope.sender, committee)
}

fn check_sender(
    allowed: AllowedSender,
    sender: &Sender,
    committee: &Committee,
) -> Result<(), Rejection> {
    let fail = |member: &str, detail: &str| Err(Rejection::new(Code::Role, member, detail));
    match (allowed, sender.agent_type) {
        (AllowedSender::Pat, AgentType::Sat) => {
            fail("sender.agent_type", "must be \"PAT\" for this action")
        }
        (AllowedSender::Sat, AgentType::Pat) => {
            fail("sender.agent_type", "must be \"SAT\" for this action")
        }
        (_, AgentType::Sat) if committee.index_of(&sender.public_key).is_none() => {
            fail("sender.public_key", "must be the key of a validator of the current committee")
        }
        _ => Ok(()),
    }
}

/// The gates after IHSAN as far as they need no state: FATE and the order of
/// times of an inference, who may revoke, what may be proposed, and what evidence
/// proves. Returns the dimensions on which FATE decided.
///
/// # Errors
/// As [`check_fate`], [`check_times`], [`Change::check`] and
/// [`EvidenceFile::check`](crate::evidence::EvidenceFile::check); [`Code::Role`] when somebody
/// else's key would be revoked, or a validator would revoke without governance; [`Code::Schema`]
/// when it is no record of the log.
pub fn check_content(
    envelope: &Envelope,
    parameters: &LedgerParameters,
) -> Result<Option<Fate>, Rejection> {
    match &envelope.content {
        Content::Inference(inference) => {
            let fate = check_fate(envelope, inference, parameters)?;
            check_times(inference)?;
            Ok(Some(fate))
        }
        Content::Identity(action) => {
            let sender = &envelope.sender;
            if sender.agent_type == AgentType::Sat {
                let detail = "must be \"PAT\" here; validators revoke through governance";
                return Err(Rejection::new(Code::Role, "sender.agent_type", detail));
            }
            action.check(sender.public_key)?;
            Ok(None)
        }
        Content::Governance(action) => {
            action.change().map_or(Ok(()), Change::check)?;
            Ok(None)
        }
        Content::Evidence(evidence) => {
            evidence.check(&envelope.own_chain())?;
            Ok(None)
        }
        Content::Pattern(_) => check_logged(envelope).map(|()| None),
        Content::SessionClose(_)
        | Content::Market(_)
        | Content::Release(_)
        | Content::Elevation(_) => Ok(None),
    }
}

/// The gates SNR and IHSAN.
///
/// # Errors
/// [`Code::Snr`] when an inference has no `snr_score`, or a record one that is
/// too low; [`Code::Ihsan`] when `ihsan_score` is too low.
pub fn check_scores(envelope: &Envelope, parameters: &LedgerParameters) -> Result<(), Rejection> {
    let metadata = &envelope.metadata;
    let snr = match envelope.content {
        Content::Inference(_) => Some(snr_of(envelope)?),
        _ => metadata.snr_score,
    };
    if let Some(snr) = snr {
        check_score(Code::Snr, "metadata.snr_score", snr, parameters.snr_min_ppm)?;
    }
    let (ihsan, least_ppm) = (metadata.ihsan_score, parameters.ihsan_min_ppm);
    check_score(Code::Ihsan, "metadata.ihsan_score", ihsan, least_ppm)
}

pub(crate) fn check_score(
    code: Code,
    member: &str,
    score: Score,
    least_ppm: u64,
) -> Result<(), Rejection> {
    let least = share(least_ppm);
    if score < least {
        let detail = format!("must be at least {least}, but is {score}");
        return Err(Rejection::new(code, member, detail));
    }
    Ok(())
}

/// The signal-to-noise score that an inference must have.
pub(crate) fn snr_of(envelope: &Envelope) -> Result<Score, Rejection> {
    envelope.metadata.snr_score.ok_or_else(|| {
        let detail = "is missing, and an inference needs it";
        Rejection::new(Code::Snr, "metadata.snr_score", detail)
    })
}

/// The part of FORMAL that needs no state: an inference does not end before it begins.
///
/// # Errors
/// [`Code::Invariant`].
pub fn check_times(inference: &InferenceCommit) -> Result<(), Rejection> {
    let early_ms = inference.started_at.saturating_ms_since(inference.finished_at);
    if early_ms > 0 {
        let detail =
            format!("must not lie before `payload.data.started_at`, but does by {early_ms} ms");
        return Err(Rejection::new(Code::Invariant, "payload.data.finished_at", detail));
    }
    Ok(())
}

/// The part of SCHEMA that depends on the chain.
pub(crate) fn check_chain(envelope: &Envelope, chain_id: &ChainId) -> Result<(), Rejection> {
    match envelope.metadata.chain_id {
        Some(other) if other != *chain_id => Err(Rejection::new(
            Code::Schema,
            "metadata.chain_id",
            format!("must be {chain_id}, the chain of this network, but is {other}"),
        )),
        _ => Ok(()),
    }
}

/// The part of SCHEMA that an offer to other nodes fails: it is no record of the log.
fn check_logged(envelope: &Envelope) -> Result<(), Rejection> {
    match envelope.content {
        Content::Pattern(_) => Err(Rejection::new(
            Code::Schema,
            "payload.action",
            "is an offer to other nodes, which the log does not hold",
        )),
        _ => Ok(()),
    }
}

/// The SIGNATURE gate over whatever came through SCHEMA: of each envelope that
/// of its sender, and of a rotation also that of the new key.
pub(crate) fn verify_signatures<T>(
    mut items: Vec<Result<T, Rejection>>,
    envelope: impl Fn(&T) -> &Envelope,
) -> Vec<Result<T, Rejection>> {
    for item in &mut items {
        if let Err(rejection) = item.as_ref().map_or(Ok(()), |it| check_keys(envelope(it))) {
            *item = Err(rejection);
        }
    }
    let rotations: Vec<Rotation> =
        items.iter().flatten().filter_map(|it| Rotation::of(envelope(it))).collect();
    let signatures = items.iter().flatten().map(|it| envelope(it).signature_check());
    let checks: Vec<SignatureCheck<'_>> =
        signatures.chain(rotations.iter().map(Rotation::signature_check)).collect();
    let good = check_each(&checks);
    let (signed, proven) = good.split_at(good.len() - rotations.len());
    let (mut signed, mut proven) = (signed.iter(), proven.iter());
    for item in &mut items {
        let Ok(it) = item else { continue };
        let next_of = |good: &mut core::slice::Iter<'_, bool>| {
            *good.next().expect("one answer for each check")
        };
        // Both answers are taken, whatever the first one is.
        let is_signed = next_of(&mut signed);
        let is_proven = Rotation::of(envelope(it)).is_none() || next_of(&mut proven);
        if !is_signed {
            let detail = "is not the sender's signature over the digest of the record";
            *item = Err(Rejection::new(Code::Signature, "signature.value", detail));
        } else if !is_proven {
            let detail = "is not the new key's signature of the rotation";
            *item = Err(Rejection::new(Code::Signature, "payload.data.proof", detail));
        }
    }
    items
}

/// Refuses keys under which anything verifies.
fn check_keys(envelope: &Envelope) -> Result<(), Rejection> {
    let new_key = match envelope.content {
        Content::Identity(IdentityAction::Rotate { new_key, .. }) => Some(new_key),
        _ => None,
    };
    let keys = [
        ("sender.public_key", Some(envelope.sender.public_key)),
        ("payload.data.new_key", new_key),
    ];
    for (member, key) in keys {
        if key.is_some_and(|key| key.is_small_order()) {
            let detail = "is a key of small order, under which anything verifies";
            return Err(Rejection::new(Code::Signature, member, detail));
        }
    }
    Ok(())
}

/// The new key of an `identity/rotate`, with what it must have signed.
struct Rotation {
    new_key: PublicKey,
    message: Hash,
    proof: Signature,
}

impl Rotation {
    fn of(envelope: &Envelope) -> Option<Self> {
        let Content::Identity(IdentityAction::Rotate { new_key, proof }) = envelope.content else {
            return None;
        };
        let message =
            rotation_message(&envelope.own_chain(), &envelope.sender.public_key, &new_key);
        Some(Self { new_key, message, proof })
    }

    const fn signature_check(&self) -> SignatureCheck<'_> {
        let Self { new_key, message, proof } = self;
        SignatureCheck { key: *new_key, message: message.as_bytes(), signature: *proof }
    }
}

/// The TIMESTAMP gate.
pub(crate) fn check_timestamp(
    envelope: &Envelope,
    admitted_at: TimestampMs,
) -> Result<(), Rejection> {
    let fail = |code, distance_ms: u64, direction: &str| {
        let detail = format!(
            "must be within {TIMESTAMP_TOLERANCE_MS} ms of the time of admission, but lies \
             {distance_ms} ms {direction}"
        );
        Err(Rejection::new(code, "timestamp", detail))
    };
    let age_ms = admitted_at.saturating_ms_since(envelope.timestamp);
    let lead_ms = envelope.timestamp.saturating_ms_since(admitted_at);
    if age_ms > TIMESTAMP_TOLERANCE_MS {
        fail(Code::Stale, age_ms, "before")
    } else if lead_ms > TIMESTAMP_TOLERANCE_MS {
        fail(Code::Future, lead_ms, "after")
    } else {
        Ok(())
    }
}

impl NonceCache {
    /// An empty cache of at most `capacity` nonces, about 250 bytes each.
    ///
    /// # Panics
    /// When `capacity` is 0.
    #[must_use]
    pub const fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a nonce cache must hold something");
        Self { uses: BTreeMap::new(), order: VecDeque::new(), capacity }
    }

    /// Nonces in it, expired ones included that nobody has asked about since.
    #[must_use]
    pub fn len(&self) -> usize {
        self.uses.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }

    /// Reads what [`NonceCache::to_bytes`](Encode::to_bytes) wrote; of more than `capacity`
    /// nonces the latest are kept.
    ///
    /// # Errors
    /// When the bytes are something else.
    pub fn restore(bytes: &[u8], capacity: usize) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let uses: Vec<NonceUse> = reader.list("nonces", usize::MAX, 32 + 32 + 32 + 8)?;
        reader.finish()?;
        let mut cache = Self::new(capacity);
        for NonceUse { key, nonce, digest, seen_at } in uses {
            cache.insert((key, nonce), digest, seen_at);
        }
        Ok(cache)
    }

    /// The REPLAY gate of admission.
    fn check(&self, envelope: &Envelope, now: TimestampMs) -> Result<(), Rejection> {
        match self.uses.get(&nonce_key(envelope)) {
            Some((digest, seen_at))
                if *digest != envelope.digest
                    && now.saturating_ms_since(*seen_at) < NONCE_LIFETIME_MS =>
            {
                Err(Rejection::new(
                    Code::NonceReplay,
                    "nonce",
                    format!("was used by this key for the record {digest} a short while ago"),
                ))
            }
            _ => Ok(()),
        }
    }

    fn note(&mut self, envelope: &Envelope, now: TimestampMs) {
        while let Some(oldest) = self.order.front()
            && now.saturating_ms_since(self.uses[oldest].1) >= NONCE_LIFETIME_MS
        {
            self.drop_oldest();
        }
        self.insert(nonce_key(envelope), envelope.digest, now);
    }

    fn insert(&mut self, key: NonceKey, digest: RecordDigest, seen_at: TimestampMs) {
        if self.uses.insert(key, (digest, seen_at)).is_some() {
            self.order.retain(|known| *known != key);
        }
        self.order.push_back(key);
        if self.order.len() > self.capacity {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(key) = self.order.pop_front() {
            self.uses.remove(&key);
        }
    }
}

/// The oldest first, so that a cache that is read again forgets in the same order.
impl Encode for NonceCache {
    fn encode(&self, out: &mut Vec<u8>) {
        let uses: Vec<NonceUse> = self
            .order
            .iter()
            .map(|key| {
                let (digest, seen_at) = self.uses[key];
                NonceUse { key: key.0, nonce: key.1, digest, seen_at }
            })
            .collect();
        encode_list(&uses, out);
    }
}

/// One entry of the cache on disk.
struct NonceUse {
    key: PublicKey,
    nonce: [u8; 32],
    digest: RecordDigest,
    seen_at: TimestampMs,
}

impl Encode for NonceUse {
    fn encode(&self, out: &mut Vec<u8>) {
        self.key.encode(out);
        out.extend_from_slice(&self.nonce);
        self.digest.encode(out);
        self.seen_at.encode(out);
    }
}

impl Decode for NonceUse {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            key: Decode::decode(reader)?,
            nonce: reader.array()?,
            digest: Decode::decode(reader)?,
            seen_at: Decode::decode(reader)?,
        })
    }
}

const fn nonce_key(envelope: &Envelope) -> NonceKey {
    (envelope.sender.public_key, envelope.nonce)
}

#[cfg(test)]
mod tests;
