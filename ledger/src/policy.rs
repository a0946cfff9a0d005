//! The POLICY gate: governed Rego, the same at every validator and in every year.
//!
//! A record names its policy by BLAKE3 of the policy's text. The policy must be
//! in force, and its rule `data.bizra.policy.allow` must be `true` for the
//! [`Projection`] of the record. Everything else, an error or a bound that is
//! exceeded included, is a refusal with [`Code::Policy`]: what cannot be decided
//! is rejected.
//!
//! Rego decides in consensus here, so:
//! - A policy is text in a [`subset`] of Rego that has no built-in beyond those
//!   of [`subset::BUILTINS`], no arithmetic and no way to make a value larger
//!   than its text or its input. In force are those of the genesis file, whose
//!   hash is the chain's id, until governance puts another in force: then that
//!   one, and those before it while their grace lasts.
//! - The engine is regorus at one version, which belongs to the protocol version
//!   like any other rule. It is built without its standard library, so that it
//!   has neither clock nor hash map, and without the features behind the
//!   built-ins that are not allowed anyway.
//! - An evaluation may take [`INSTRUCTIONS_MAX`] instructions of its virtual
//!   machine, counted and not timed.
//! - The input is a closed projection of few values. Its decisions are
//!   remembered, so most records cost a look-up.

pub mod subset;

use self::subset::POLICY_SIZE_MAX;
use crate::codes::{Code, Rejection};
use crate::envelope::{AgentType, Content, Envelope};
use crate::governance::Change;
use crate::inference::{Evidence, InferenceCommit, ModelTier, Operation, OperationSet};
use crate::log::StorageError;
use crate::plain::Family;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use bizra_types::crypto::PublicKey;
use bizra_types::encode_fields;
use bizra_types::encoding::{Decode, DecodeError, Encode, Reader, encode_bytes};
use bizra_types::hash::hex;
use bizra_types::numbers::{Height, TimestampMs};
use core::fmt;
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::RegoVM;
use regorus::rvm::program::Program;
use regorus::{Engine, Value};

/// Instructions of the virtual machine that one evaluation may take.
pub const INSTRUCTIONS_MAX: usize = 10_000;

/// Longest name of a policy, in bytes.
pub const POLICY_NAME_SIZE_MAX: usize = 128;

/// Decisions that are remembered; about 200 bytes each.
const MEMO_MAX: usize = 8_192;

/// How often a validator may have admission look at a text, in ms.
pub const TEXT_INTERVAL_MS: u64 = 10_000;

/// The rule that decides.
const ENTRY_POINT: &str = "data.bizra.policy.allow";

/// The policy of new networks: `configs/opa/policies.rego`.
pub const DEFAULT_POLICY: &str = include_str!("../../configs/opa/policies.rego");

/// The name of a policy: BLAKE3 of its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyHash(pub [u8; 32]);

/// A policy that governance has in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyInForce {
    /// The policy.
    pub hash: PolicyHash,
    /// The latest time at which records may name it, if another has taken its place.
    pub until: Option<TimestampMs>,
}

/// Value of [`Family::Policy`], by the policy's hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyText {
    /// For people.
    pub name: String,
    /// The text.
    pub rego: String,
    /// The block that put it in force.
    pub height: Height,
}

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy {hash}: {detail}")]
pub struct PolicyError {
    /// The policy.
    pub hash: PolicyHash,
    /// What is wrong with it.
    pub detail: String,
}

/// A policy that can be evaluated.
#[derive(Clone)]
pub struct Policy {
    hash: PolicyHash,
    program: Arc<Program>,
}

/// What a policy sees of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Projection {
    action: &'static str,
    agent_type: AgentType,
    inference: Option<InferenceProjection>,
}

/// What it sees besides of an `inference/commit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct InferenceProjection {
    operation: Operation,
    operations: OperationSet,
    tier: ModelTier,
    model_digest: [u8; 32],
    model_evidence: Evidence,
    has_personal_data: bool,
    has_toxicity: bool,
    has_violation: bool,
}

/// What came of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The policy allows the record.
    Allowed,
    /// It does not.
    Denied,
    /// It took too long, failed, or is none.
    Undecided,
}

/// The policies in force, with the decisions that they have taken. Two of the same policies
/// always decide alike, whatever they remember.
#[derive(Clone, Debug)]
pub struct Policies {
    genesis: BTreeMap<PolicyHash, Result<Policy, PolicyError>>,
    /// Those in force that governance has put there.
    governed: BTreeMap<PolicyHash, Result<Policy, PolicyError>>,
    in_force: BTreeSet<PolicyHash>,
    memo: BTreeMap<(PolicyHash, Projection), Decision>,
    /// When each validator had a text looked at, within [`TEXT_INTERVAL_MS`].
    texts: BTreeMap<PublicKey, TimestampMs>,
}

impl PolicyHash {
    /// The name of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(blake3::hash(text.as_bytes()).into())
    }
}

impl PolicyInForce {
    /// Whether records may name it at this time.
    #[must_use]
    pub fn is_in_force(&self, now: TimestampMs) -> bool {
        self.until.is_none_or(|until| now <= until)
    }
}

impl fmt::Display for PolicyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for PolicyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyHash({self})")
    }
}

impl Policy {
    /// Compiles a text.
    ///
    /// # Errors
    /// When it is not in the [`subset`], or has no rule `allow`.
    pub fn compile(text: &str) -> Result<Self, PolicyError> {
        let hash = PolicyHash::of(text);
        let fail = |detail: String| PolicyError { hash, detail };
        subset::check_text(text).map_err(fail)?;
        let mut engine = Engine::new();
        engine
            .add_policy("policy.rego".to_owned(), text.to_owned())
            .map_err(|error| fail(error.to_string()))?;
        let tree = engine.get_ast_as_json().map_err(|error| fail(error.to_string()))?;
        subset::check_tree(&tree).map_err(fail)?;
        let compiled = engine
            .compile_with_entrypoint(&ENTRY_POINT.into())
            .map_err(|error| fail(error.to_string()))?;
        let program = Compiler::compile_from_policy(&compiled, &[ENTRY_POINT])
            .map_err(|error| fail(error.to_string()))?;
        Ok(Self { hash, program })
    }

    /// Its name.
    #[must_use]
    pub const fn hash(&self) -> PolicyHash {
        self.hash
    }

    /// Evaluates it, in a virtual machine that has seen nothing before.
    #[must_use]
    pub fn decide(&self, projection: &Projection) -> Decision {
        let mut machine = RegoVM::new();
        machine.load_program(Arc::clone(&self.program));
        machine.set_max_instructions(INSTRUCTIONS_MAX);
        let input = Value::from_json_str(&projection.to_json());
        machine.set_input(input.expect("the projection is JSON"));
        if machine.set_data(Value::new_object()).is_err() {
            return Decision::Undecided;
        }
        match machine.execute() {
            Ok(Value::Bool(true)) => Decision::Allowed,
            Ok(_) => Decision::Denied,
            Err(_) => Decision::Undecided,
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy({})", self.hash)
    }
}

impl Projection {
    /// What a policy sees of a record.
    #[must_use]
    pub fn of(envelope: &Envelope) -> Self {
        let inference = match &envelope.content {
            Content::Inference(inference) => Some(InferenceProjection::of(inference)),
            Content::SessionClose(_)
            | Content::Market(_)
            | Content::Identity(_)
            | Content::Governance(_)
            | Content::Release(_)
            | Content::Pattern(_)
            | Content::Elevation(_)
            | Content::Evidence(_) => None,
        };
        Self {
            action: envelope.content.action_name(),
            agent_type: envelope.sender.agent_type,
            inference,
        }
    }

    /// What a policy sees of a record that is no inference.
    #[must_use]
    pub const fn of_action(action: &'static str, agent_type: AgentType) -> Self {
        Self { action, agent_type, inference: None }
    }

    /// The `input` of the policy. Operations stand in the order of their bits.
    #[must_use]
    pub fn to_json(&self) -> String {
        let agent_type = match self.agent_type {
            AgentType::Pat => "PAT",
            AgentType::Sat => "SAT",
        };
        let mut text = format!(r#"{{"action":"{}","agent_type":"{agent_type}""#, self.action);
        if let Some(inference) = &self.inference {
            let operations: Vec<String> =
                inference.operations.names().map(|name| format!("\"{name}\"")).collect();
            text += &format!(
                r#","operation":"{}","operations":[{}],"tier":"{}","model":{{"digest":"{}","evidence":"{}"}},"flags":{{"personal_data":{},"toxicity":{},"violation":{}}}"#,
                inference.operation.name(),
                operations.join(","),
                inference.tier.name(),
                hex(&inference.model_digest),
                inference.model_evidence.name(),
                inference.has_personal_data,
                inference.has_toxicity,
                inference.has_violation,
            );
        }
        text + "}"
    }
}

impl InferenceProjection {
    fn of(inference: &InferenceCommit) -> Self {
        Self {
            operation: inference.operation,
            operations: inference.operations,
            tier: inference.tier,
            model_digest: inference.model.digest,
            model_evidence: inference.model.evidence,
            has_personal_data: inference.has_personal_data,
            has_toxicity: inference.has_toxicity,
            has_violation: inference.has_violation,
        }
    }
}

impl Policies {
    /// The policies of the genesis file, all in force. A text that is no policy is so all the
    /// same, and allows nothing; see [`Policies::errors`].
    #[must_use]
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let genesis: BTreeMap<_, _> =
            texts.into_iter().map(|text| (PolicyHash::of(text), Policy::compile(text))).collect();
        let in_force = genesis.keys().copied().collect();
        let (governed, memo, texts) = Default::default();
        Self { genesis, governed, in_force, memo, texts }
    }

    /// What is wrong with them: a network should not begin with such policies.
    pub fn errors(&self) -> impl Iterator<Item = &PolicyError> {
        self.genesis.values().filter_map(|policy| policy.as_ref().err())
    }

    /// The policies of the genesis file, ascending.
    pub(crate) fn of_genesis(&self) -> impl Iterator<Item = PolicyHash> {
        self.genesis.keys().copied()
    }

    /// Brings into force what a state has in force at a time, where `policies` are those of its
    /// [`Governance`](crate::governance::Governance) and `plain` reads it. What was in force before
    /// does not matter, so one value serves every fork.
    ///
    /// # Errors
    /// When `plain` fails, or the text of a policy is missing or damaged.
    pub fn follow(
        &mut self,
        policies: &[PolicyInForce],
        now: TimestampMs,
        plain: impl Fn(Family, &[u8]) -> Result<Option<Vec<u8>>, StorageError>,
    ) -> Result<(), StorageError> {
        self.in_force = if policies.is_empty() {
            self.of_genesis().collect()
        } else {
            let in_force = policies.iter().filter(|policy| policy.is_in_force(now));
            in_force.map(|policy| policy.hash).collect()
        };
        self.governed.retain(|hash, _| self.in_force.contains(hash));
        for hash in &self.in_force {
            if self.genesis.contains_key(hash) || self.governed.contains_key(hash) {
                continue;
            }
            let missing = || StorageError(format!("the text of the policy {hash} is missing"));
            let bytes = plain(Family::Policy, &hash.0)?.ok_or_else(missing)?;
            let text: PolicyText = Family::Policy.decode_entry(&bytes)?;
            self.governed.insert(*hash, Policy::compile(&text.rego));
        }
        Ok(())
    }

    /// The POLICY gate. Evidence must name a policy in force, and none of them forbids it.
    ///
    /// # Errors
    /// [`Code::Policy`] when the record names a policy that is not in force, or that does not
    /// allow it.
    pub fn check(&mut self, envelope: &Envelope) -> Result<(), Rejection> {
        let hash = PolicyHash(envelope.policy_hash);
        let refuse = |detail: &str| {
            Err(Rejection::new(Code::Policy, "payload.policy_hash", format!("{detail}, {hash}")))
        };
        match self.decide(hash, Projection::of(envelope)) {
            None => refuse("must name a policy in force, but names another"),
            Some(Decision::Allowed) => Ok(()),
            // A majority could outlaw the proof of its lies.
            Some(_) if matches!(envelope.content, Content::Evidence(_)) => Ok(()),
            Some(Decision::Denied) => refuse("names a policy that does not allow the record"),
            Some(Decision::Undecided) => refuse("names a policy that cannot decide on the record"),
        }
    }

    /// The policy that a change proposes, if it does, for admission: compiling one takes up to a
    /// tenth of a second, so a validator has one looked at in [`TEXT_INTERVAL_MS`].
    ///
    /// # Errors
    /// [`Code::Rate`], or as [`Change::check_policy`].
    pub fn check_proposed(
        &mut self,
        proposer: PublicKey,
        change: &Change,
        now: TimestampMs,
    ) -> Result<(), Rejection> {
        if !matches!(change, Change::Policy { .. }) {
            return Ok(());
        }
        self.texts.retain(|_, at| now.saturating_ms_since(*at) < TEXT_INTERVAL_MS && *at <= now);
        if self.texts.contains_key(&proposer) {
            let detail =
                format!("must wait: a validator may propose one policy in {TEXT_INTERVAL_MS} ms");
            return Err(Rejection::new(Code::Rate, "payload.data.change.rego", detail));
        }
        self.texts.insert(proposer, now);
        change.check_policy()
    }

    /// Evaluates a policy in force, or remembers.
    fn decide(&mut self, hash: PolicyHash, projection: Projection) -> Option<Decision> {
        self.in_force.get(&hash)?;
        let policy = self.genesis.get(&hash).or_else(|| self.governed.get(&hash))?;
        let key = (hash, projection);
        if let Some(decision) = self.memo.get(&key) {
            return Some(*decision);
        }
        let decision = match policy {
            Ok(policy) => policy.decide(&projection),
            Err(_) => Decision::Undecided,
        };
        // Whoever fills it with digests of models costs others one evaluation each.
        if self.memo.len() >= MEMO_MAX {
            self.memo.clear();
        }
        self.memo.insert(key, decision);
        Some(decision)
    }
}

impl Encode for PolicyHash {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl Decode for PolicyHash {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.array()?))
    }
}

impl Encode for PolicyText {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self.name.as_bytes(), out);
        encode_bytes(self.rego.as_bytes(), out);
        self.height.encode(out);
    }
}

impl Decode for PolicyText {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: reader.text("policy name", POLICY_NAME_SIZE_MAX)?.to_owned(),
            rego: reader.text("policy", POLICY_SIZE_MAX)?.to_owned(),
            height: Decode::decode(reader)?,
        })
    }
}

encode_fields!(PolicyInForce { hash, until });

#[cfg(test)]
mod tests;
