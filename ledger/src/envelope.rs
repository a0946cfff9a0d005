//! The signed envelope, PCI 1.0.0, that carries every record.
//!
//! Its identity is BLAKE3(`bizra-pci-v1:` ‖ RFC 8785 form without
//! `signature`), and the signature is Ed25519 over the raw 32 bytes of that
//! digest. The submitted text need not be canonical; it is read strictly and
//! canonicalised once, and from then on only the canonical bytes exist.
//! Everything refused here is [`Code::Schema`]; signatures are checked by the
//! [`gates`](crate::gates).
//!
//! What the public description leaves open is decided here:
//! - both the submitted text and its canonical form are at most 64 KiB
//!   (`1e15` grows when it is canonicalised);
//! - `state_hash` is 64 lower-case hex digits;
//! - timestamps begin in 1970 and count in milliseconds, cut off;
//! - of the known actions this protocol version executes those of [`Content`],
//!   but `pattern/propagate`, which goes from node to node and never into the
//!   log ([`crate::pattern`]). The others have their sender and their name, but no schema of `data` yet,
//!   and are refused: a record that cannot be executed must not become final,
//!   because it could never be executed later.

use crate::codes::{Code, Rejection};
use crate::evidence::EvidenceFile;
use crate::forms::{Score, Uuid, read_timestamp};
use crate::governance::{GovernanceAction, ReleaseAttest};
use crate::identity::IdentityAction;
use crate::inference::InferenceCommit;
use crate::log::leaf_hash;
use crate::market::MarketAction;
use crate::outcomes::signed_bytes_hash;
use crate::pattern::{Elevation, Pattern};
use crate::session::SessionClose;
use alloc::sync::Arc;
use bizra_types::crypto::{PublicKey, Signature, SignatureCheck};
use bizra_types::envelope::{SIGNED_FIELDS, read_signature, record_digest};
use bizra_types::hash::{ChainId, Hash, RecordDigest};
use bizra_types::json::{Document, Limits, Member, Members, Object, SchemaError, Value, canonical};
use bizra_types::numbers::TimestampMs;

/// Members that `metadata` may hold besides the known ones.
const METADATA_REST_MAX: usize = 8;

/// Bytes of a scalar among them.
const METADATA_SCALAR_SIZE_MAX: usize = 64;

/// An envelope that has the right form. Its signature is not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Identity of the record.
    pub digest: RecordDigest,
    /// Hash of its canonical bytes, its key in storage before execution.
    pub signed_bytes: Hash,
    /// Its leaf in the log.
    pub log_leaf: Hash,
    /// Random name that the sender gave it.
    pub envelope_id: Uuid,
    /// The sender's time.
    pub timestamp: TimestampMs,
    /// The sender's number for this envelope, meant to be used once.
    pub nonce: [u8; 32],
    /// Who sends it.
    pub sender: Sender,
    /// What it does.
    pub content: Content,
    /// The policy it claims to obey.
    pub policy_hash: [u8; 32],
    /// The state it was made from, if the sender says.
    pub state_hash: Option<[u8; 32]>,
    /// Scores and routing.
    pub metadata: Metadata,
    /// Signature of [`Envelope::digest`].
    pub signature: Signature,
}

/// An envelope whose signature is still to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsigned {
    members: Members,
    digest: RecordDigest,
}

/// The sender of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its role.
    pub agent_type: AgentType,
    /// Its name, 1 to 256 bytes.
    pub agent_id: String,
    /// Its key.
    pub public_key: PublicKey,
}

/// The two roles of PCI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentType {
    /// A personal agent: proposes and never commits.
    Pat,
    /// A system agent, here a validator: commits and never proposes an inference.
    Sat,
}

/// The known members of `metadata`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The sender's Ihsān score.
    pub ihsan_score: Score,
    /// The sender's signal-to-noise score.
    pub snr_score: Option<Score>,
    /// How soon the sender wants it.
    pub urgency: Option<Urgency>,
    /// The one chain that may take it.
    pub chain_id: Option<ChainId>,
}

/// How soon a sender wants its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// `REAL_TIME`
    RealTime,
    /// `NEAR_REAL_TIME`
    NearRealTime,
    /// `BATCH`
    Batch,
    /// `DEFERRED`
    Deferred,
}

/// The actions with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// `inference/commit`
    InferenceCommit,
    /// `session/close`
    SessionClose,
    /// `pattern/propagate`
    PatternPropagate,
    /// `pattern/elevate`
    PatternElevate,
    /// `identity/register`
    IdentityRegister,
    /// `identity/rotate`
    IdentityRotate,
    /// `identity/revoke`
    IdentityRevoke,
    /// Any `market/…`
    Market,
    /// `governance/propose`
    GovernancePropose,
    /// `governance/vote`
    GovernanceVote,
    /// `release/attest`
    ReleaseAttest,
    /// `evidence/file`
    EvidenceFile,
}

/// Which role may send an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedSender {
    /// Personal agents alone.
    Pat,
    /// Validators of the committee alone.
    Sat,
    /// Both; a system agent must be a validator of the committee.
    Either,
}

/// `payload.data`, read by the schema of its action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// `inference/commit`
    Inference(Box<InferenceCommit>),
    /// `session/close`
    SessionClose(SessionClose),
    /// `market/…`
    Market(MarketAction),
    /// `identity/register`, `identity/rotate` or `identity/revoke`
    Identity(IdentityAction),
    /// `governance/propose` or `governance/vote`
    Governance(GovernanceAction),
    /// `release/attest`
    Release(ReleaseAttest),
    /// `pattern/propagate`, which is no record of the log
    Pattern(Box<Pattern>),
    /// `pattern/elevate`
    Elevation(Elevation),
    /// `evidence/file`
    Evidence(Box<EvidenceFile>),
}

impl Content {
    /// The name of the action.
    #[must_use]
    pub const fn action_name(&self) -> &'static str {
        match self {
            Self::Inference(_) => "inference/commit",
            Self::SessionClose(_) => "session/close",
            Self::Market(action) => action.name(),
            Self::Identity(IdentityAction::Register) => "identity/register",
            Self::Identity(IdentityAction::Rotate { .. }) => "identity/rotate",
            Self::Identity(IdentityAction::Revoke { .. }) => "identity/revoke",
            Self::Governance(action) => action.name(),
            Self::Release(_) => "release/attest",
            Self::Pattern(_) => "pattern/propagate",
            Self::Elevation(_) => "pattern/elevate",
            Self::Evidence(_) => "evidence/file",
        }
    }
}

impl Envelope {
    /// Reads an envelope in any spelling, and gives its canonical bytes beside it.
    ///
    /// # Errors
    /// [`Code::Schema`], with the member at fault.
    pub fn parse(text: &[u8]) -> Result<(Self, Vec<u8>), Rejection> {
        let document = Document::parse(text, Limits::ENVELOPE)?;
        if document.is_canonical() {
            return Ok((Self::read(&document, text)?, text.to_vec()));
        }
        let value = document.root().to_value();
        if !matches!(value, Value::Object(_)) {
            return Err(no_object());
        }
        let bytes = canonical(&value);
        check_size(&bytes)?;
        let envelope = Self::read(&Document::parse(&bytes, Limits::ENVELOPE)?, &bytes)?;
        Ok((envelope, bytes))
    }

    /// The chain it is for.
    ///
    /// # Panics
    /// When its action is for any chain.
    pub(crate) fn own_chain(&self) -> ChainId {
        self.metadata.chain_id.expect("the schema of an action that is for one chain wants it")
    }

    /// Reads an envelope that must be in canonical form, which is found out while it is read:
    /// nothing is written again unless it is not.
    ///
    /// # Errors
    /// As [`Envelope::parse`], and when the bytes are not canonical.
    pub fn parse_canonical(bytes: &[u8]) -> Result<Self, Rejection> {
        let document = Document::parse(bytes, Limits::ENVELOPE)?;
        if document.is_canonical() {
            return Self::read(&document, bytes);
        }
        let (_, canonical) = Self::parse(bytes)?;
        let differ = canonical.iter().zip(bytes).position(|(left, right)| left != right);
        let at = differ.unwrap_or_else(|| canonical.len().min(bytes.len()));
        let detail = format!("is not in canonical form (RFC 8785) from byte {at} on");
        Err(Rejection::new(Code::Schema, "", detail))
    }

    /// `bytes` are what was read, and canonical.
    fn read(document: &Document<'_>, bytes: &[u8]) -> Result<Self, Rejection> {
        let mut object = document.object().map_err(|_| no_object())?;
        let form = Form::read(&mut object)?;
        let signature = read_signature(&object.take("signature")?)?;
        object.finish()?;
        Ok(Self {
            digest: record_digest(&document.around("signature")),
            signed_bytes: signed_bytes_hash(bytes),
            log_leaf: leaf_hash(bytes),
            envelope_id: form.envelope_id,
            timestamp: form.timestamp,
            nonce: form.nonce,
            sender: form.sender,
            content: form.content,
            policy_hash: form.policy_hash,
            state_hash: form.state_hash,
            metadata: form.metadata,
            signature,
        })
    }

    /// What the record does.
    #[must_use]
    pub const fn action(&self) -> Action {
        match self.content {
            Content::Inference(_) => Action::InferenceCommit,
            Content::SessionClose(_) => Action::SessionClose,
            Content::Market(_) => Action::Market,
            Content::Identity(IdentityAction::Register) => Action::IdentityRegister,
            Content::Identity(IdentityAction::Rotate { .. }) => Action::IdentityRotate,
            Content::Identity(IdentityAction::Revoke { .. }) => Action::IdentityRevoke,
            Content::Governance(GovernanceAction::Propose { .. }) => Action::GovernancePropose,
            Content::Governance(GovernanceAction::Vote { .. }) => Action::GovernanceVote,
            Content::Release(_) => Action::ReleaseAttest,
            Content::Pattern(_) => Action::PatternPropagate,
            Content::Elevation(_) => Action::PatternElevate,
            Content::Evidence(_) => Action::EvidenceFile,
        }
    }

    /// The signature with what it must cover.
    #[must_use]
    pub const fn signature_check(&self) -> SignatureCheck<'_> {
        SignatureCheck {
            key: self.sender.public_key,
            message: self.digest.as_bytes(),
            signature: self.signature,
        }
    }
}

impl Unsigned {
    /// Reads an envelope without `signature` that is otherwise complete.
    ///
    /// # Errors
    /// [`Code::Schema`], with the member at fault.
    pub fn parse(text: &[u8]) -> Result<Self, Rejection> {
        let document = Document::parse(text, Limits::ENVELOPE)?;
        let mut object = document.object()?;
        Form::read(&mut object)?;
        object.finish()?;
        let value = document.root().to_value();
        let digest = record_digest(&[&canonical(&value)]);
        let Value::Object(members) = value else { unreachable!("it was read as an object") };
        Ok(Self { members, digest })
    }

    /// What must be signed: the raw bytes of this digest.
    #[must_use]
    pub const fn digest(&self) -> RecordDigest {
        self.digest
    }

    /// The canonical bytes of the signed envelope. The signature is not checked.
    ///
    /// # Errors
    /// When the signed envelope exceeds its size.
    pub fn with_signature(mut self, signature: Signature) -> Result<Arc<[u8]>, Rejection> {
        let member = |name: &str, value| (name.to_owned(), value);
        let signature = Members::new(vec![
            member("algorithm", "ed25519".into()),
            member("value", signature.to_string().as_str().into()),
            member("signed_fields", Value::Array(SIGNED_FIELDS.map(Value::from).to_vec())),
        ])
        .expect("the three names differ");
        self.members.insert("signature", Value::Object(signature));
        let bytes = canonical(&Value::Object(self.members));
        check_size(&bytes)?;
        Ok(bytes.into())
    }
}

impl Action {
    /// The action of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "inference/commit" => Self::InferenceCommit,
            "session/close" => Self::SessionClose,
            "pattern/propagate" => Self::PatternPropagate,
            "pattern/elevate" => Self::PatternElevate,
            "identity/register" => Self::IdentityRegister,
            "identity/rotate" => Self::IdentityRotate,
            "identity/revoke" => Self::IdentityRevoke,
            "governance/propose" => Self::GovernancePropose,
            "governance/vote" => Self::GovernanceVote,
            "release/attest" => Self::ReleaseAttest,
            "evidence/file" => Self::EvidenceFile,
            other if other.strip_prefix("market/").is_some_and(|rest| !rest.is_empty()) => {
                Self::Market
            }
            _ => return None,
        })
    }

    /// Who may send it. A personal agent revokes its own key, a system agent any.
    #[must_use]
    pub const fn allowed_sender(self) -> AllowedSender {
        match self {
            Self::InferenceCommit
            | Self::SessionClose
            | Self::PatternPropagate
            | Self::IdentityRegister
            | Self::IdentityRotate
            | Self::Market => AllowedSender::Pat,
            Self::GovernancePropose
            | Self::GovernanceVote
            | Self::PatternElevate
            | Self::ReleaseAttest => AllowedSender::Sat,
            Self::IdentityRevoke | Self::EvidenceFile => AllowedSender::Either,
        }
    }

    /// Whether it may go to any chain, so that `metadata.chain_id` is optional.
    #[must_use]
    pub const fn is_for_any_chain(self) -> bool {
        matches!(self, Self::InferenceCommit | Self::PatternPropagate)
    }
}

/// Everything but the signature.
struct Form {
    envelope_id: Uuid,
    timestamp: TimestampMs,
    nonce: [u8; 32],
    sender: Sender,
    content: Content,
    policy_hash: [u8; 32],
    state_hash: Option<[u8; 32]>,
    metadata: Metadata,
}

impl Form {
    fn read(document: &mut Object<'_>) -> Result<Self, SchemaError> {
        document.take("version")?.literal("1.0.0")?;
        let envelope_id = Uuid::read_version_4(&document.take("envelope_id")?)?;
        let timestamp = read_timestamp(&document.take("timestamp")?)?;
        let nonce = document.take("nonce")?.hex()?;
        let sender = Sender::read(&document.take("sender")?)?;

        let mut payload = document.take("payload")?.object()?;
        let action_member = payload.take("action")?;
        let action = Action::from_name(action_member.text(256)?)
            .ok_or_else(|| action_member.error("is not an action of this protocol"))?;
        let data = payload.take("data")?;
        let policy_hash = payload.take("policy_hash")?.hex()?;
        let state_hash =
            payload.take_optional("state_hash").map(|member| member.hex()).transpose()?;
        payload.finish()?;

        let metadata_member = document.take("metadata")?;
        let metadata = Metadata::read(&metadata_member)?;
        if metadata.chain_id.is_none() && !action.is_for_any_chain() {
            return Err(SchemaError {
                path: "metadata.chain_id".to_owned(),
                detail: "is missing, and this action needs it".to_owned(),
            });
        }
        let content = match action {
            Action::InferenceCommit => {
                Some(Content::Inference(Box::new(InferenceCommit::read(&data)?)))
            }
            Action::SessionClose => Some(Content::SessionClose(SessionClose::read(&data)?)),
            Action::Market => MarketAction::read(action_member.text(256)?, &data)
                .transpose()?
                .map(Content::Market),
            Action::IdentityRegister => {
                Some(Content::Identity(IdentityAction::read_register(&data)?))
            }
            Action::IdentityRotate => Some(Content::Identity(IdentityAction::read_rotate(&data)?)),
            Action::IdentityRevoke => Some(Content::Identity(IdentityAction::read_revoke(&data)?)),
            Action::GovernancePropose => {
                Some(Content::Governance(GovernanceAction::read_propose(&data)?))
            }
            Action::GovernanceVote => {
                Some(Content::Governance(GovernanceAction::read_vote(&data)?))
            }
            Action::ReleaseAttest => Some(Content::Release(ReleaseAttest::read(&data)?)),
            Action::PatternPropagate => {
                Some(Content::Pattern(Box::new(Pattern::read(&data, sender.public_key)?)))
            }
            Action::PatternElevate => Some(Content::Elevation(Elevation::read(&data)?)),
            Action::EvidenceFile => Some(Content::Evidence(Box::new(EvidenceFile::read(&data)?))),
        };
        let content = content.ok_or_else(|| {
            action_member.error("is an action that this protocol version does not execute")
        })?;
        Ok(Self {
            envelope_id,
            timestamp,
            nonce,
            sender,
            content,
            policy_hash,
            state_hash,
            metadata,
        })
    }
}

impl Sender {
    fn read(member: &Member<'_>) -> Result<Self, SchemaError> {
        let mut sender = member.object()?;
        let agent_type = sender
            .take("agent_type")?
            .one_of(&[("PAT", AgentType::Pat), ("SAT", AgentType::Sat)])?;
        let agent_id = sender.take("agent_id")?.text(256)?.to_owned();
        let public_key = PublicKey(sender.take("public_key")?.hex()?);
        sender.finish()?;
        Ok(Self { agent_type, agent_id, public_key })
    }
}

impl Metadata {
    fn read(member: &Member<'_>) -> Result<Self, SchemaError> {
        let mut metadata = member.object()?;
        let ihsan_score = Score::read(&metadata.take("ihsan_score")?)?;
        let snr_score =
            metadata.take_optional("snr_score").map(|score| Score::read(&score)).transpose()?;
        let urgency = metadata
            .take_optional("urgency")
            .map(|urgency| {
                urgency.one_of(&[
                    ("REAL_TIME", Urgency::RealTime),
                    ("NEAR_REAL_TIME", Urgency::NearRealTime),
                    ("BATCH", Urgency::Batch),
                    ("DEFERRED", Urgency::Deferred),
                ])
            })
            .transpose()?;
        let chain_id =
            metadata.take_optional("chain_id").map(|id| id.hex()).transpose()?.map(ChainId);
        let rest = metadata.take_rest();
        if rest.len() > METADATA_REST_MAX {
            return Err(member.error(format!(
                "may hold {METADATA_REST_MAX} members besides the known ones, but holds {}",
                rest.len()
            )));
        }
        for (name, scalar) in rest {
            check_metadata_rest(name, &scalar)?;
        }
        metadata.finish()?;
        Ok(Self { ihsan_score, snr_score, urgency, chain_id })
    }
}

fn check_metadata_rest(name: &str, scalar: &Member<'_>) -> Result<(), SchemaError> {
    let is_name = (1..=32).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if !is_name {
        return Err(scalar.error("must have a name of 1 to 32 characters from a-z, 0-9 and _"));
    }
    match scalar.to_value() {
        // The canonical text of a number has at most 25 bytes.
        Value::Bool(_) | Value::Number(_) => Ok(()),
        Value::String(_) => scalar.text(METADATA_SCALAR_SIZE_MAX).map(drop),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(scalar.error("must be a string, a number or a boolean"))
        }
    }
}

fn no_object() -> Rejection {
    Rejection::new(Code::Schema, "", "must be a JSON object")
}

fn check_size(bytes: &[u8]) -> Result<(), Rejection> {
    if bytes.len() > Limits::ENVELOPE.size_max {
        let detail = format!(
            "has {} bytes in canonical form, where at most {} are allowed",
            bytes.len(),
            Limits::ENVELOPE.size_max
        );
        return Err(Rejection::new(Code::Schema, "", detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
