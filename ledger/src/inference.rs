//! `inference/commit`: commitments to a model call, never its words.
//!
//! The schema is closed and has no free text beside the model's name, so that
//! prompts cannot leak into a log that forgets nothing. Every member is
//! required but `rationale_commitment`; sets are arrays in any order in which
//! nothing stands twice, and may be empty.

use crate::forms::{Score, Uuid, read_timestamp};
use bizra_types::encode_fields;
use bizra_types::encoding::{Decode, DecodeError, Encode, Reader};
use bizra_types::hash::RecordDigest;
use bizra_types::json::{Member, SchemaError};
use bizra_types::numbers::TimestampMs;

/// Most parents that a record may name.
pub const PARENTS_MAX: usize = 64;

/// One model call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferenceCommit {
    /// The session it belongs to.
    pub session_id: Uuid,
    /// The arrow of the session's state machine it takes.
    pub transition: Transition,
    /// The records of the session it follows; none twice.
    pub parents: Vec<RecordDigest>,
    /// Which weights, and how sure.
    pub model: Model,
    /// How large the model is.
    pub tier: ModelTier,
    /// Salted commitment to the input.
    pub input_commitment: [u8; 32],
    /// Salted commitment to the output.
    pub output_commitment: [u8; 32],
    /// Salted commitment to the reasons.
    pub rationale_commitment: Option<[u8; 32]>,
    /// What was done, by OpenTelemetry's names.
    pub operation: Operation,
    /// What the call touched.
    pub operations: OperationSet,
    /// What it was meant to touch.
    pub intent: OperationSet,
    /// Hash of the sampling parameters.
    pub parameters_digest: [u8; 32],
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// When it began.
    pub started_at: TimestampMs,
    /// When it ended.
    pub finished_at: TimestampMs,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The OpenTelemetry trace.
    pub trace_id: [u8; 16],
    /// The sender's own judgement.
    pub fate: Fate,
    /// The call had to do with personal data.
    pub has_personal_data: bool,
    /// The output is toxic.
    pub has_toxicity: bool,
    /// A rule was violated.
    pub has_violation: bool,
    /// What the budget is computed from.
    pub budget: Budget,
}

/// The model of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name, 1 to 128 bytes.
    pub name: String,
    /// Hash of its weights.
    pub digest: [u8; 32],
    /// What the digest rests on.
    pub evidence: Evidence,
}

/// What a model's digest rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// `configured_claim`
    ConfiguredClaim,
    /// `host_verified`
    HostVerified,
}

/// How large a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ModelTier {
    /// `EDGE`
    Edge,
    /// `LOCAL`
    Local,
    /// `POOL`
    Pool,
}

/// The arrows of a session's state machine; see [`crate::session`]. The numbers are part of the
/// format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Transition {
    /// `init`
    Init = 1,
    /// `activate`
    Activate = 2,
    /// `compute`
    Compute = 3,
    /// `validate`
    Validate = 4,
    /// `commit`
    Commit = 5,
    /// `suspend`
    Suspend = 6,
    /// `resume`
    Resume = 7,
    /// `fail`
    Fail = 8,
    /// `recover`
    Recover = 9,
    /// `terminate`
    Terminate = 10,
    /// `branch`
    Branch = 11,
    /// `merge`
    Merge = 12,
    /// `rollback`
    Rollback = 13,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `chat`
    Chat,
    /// `generate_content`
    GenerateContent,
    /// `text_completion`
    TextCompletion,
    /// `embeddings`
    Embeddings,
    /// `execute_tool`
    ExecuteTool,
    /// `invoke_agent`
    InvokeAgent,
    /// `retrieval`
    Retrieval,
    /// `other`
    Other,
}

/// One kind of thing that a call can touch; its number is its bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum OperationKind {
    /// `infer`
    Infer,
    /// `read`
    Read,
    /// `write`
    Write,
    /// `edit`
    Edit,
    /// `shell`
    Shell,
    /// `network`
    Network,
    /// `tool`
    Tool,
}

/// A set of [`OperationKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OperationSet(u8);

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FinishReason {
    /// `stop`
    Stop,
    /// `length`
    Length,
    /// `content_filter`
    ContentFilter,
    /// `tool_call`
    ToolCall,
    /// `error`
    Error,
}

/// Fidelity, accountability, transparency and ethics as the sender claims them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// F
    pub fidelity: Score,
    /// A
    pub accountability: Score,
    /// T
    pub transparency: Score,
    /// E
    pub ethics: Score,
}

/// What the 7-3-6-9 budget is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The tier asked for.
    pub tier: BudgetTier,
    /// Depth of reasoning.
    pub depth: u64,
    /// Parallel tracks.
    pub tracks: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Entropy of the input.
    pub entropy: Score,
    /// How much was not known.
    pub knowledge_gap: Score,
    /// Mean signal-to-noise score.
    pub mean_snr: Score,
}

/// Tiers of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BudgetTier {
    /// `NANO`
    Nano,
    /// `MICRO`
    Micro,
    /// `MESO`
    Meso,
    /// `MACRO`
    Macro,
    /// `MEGA`
    Mega,
}

/// Commits to bytes: BLAKE3 keyed by a salt that is used for nothing else.
/// Without the salt, a short prompt could be guessed from its hash.
#[must_use]
pub fn commitment(salt: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(salt, bytes).as_bytes()
}

impl InferenceCommit {
    /// Reads `payload.data`.
    ///
    /// # Errors
    /// When a member is missing, unknown or of another form.
    pub fn read(data: &Member<'_>) -> Result<Self, SchemaError> {
        let mut object = data.object()?;
        let mut usage = object.take("usage")?.object()?;
        let mut flags = object.take("flags")?.object()?;
        let inference = Self {
            session_id: Uuid::read(&object.take("session_id")?)?,
            transition: object.take("transition")?.one_of(TRANSITIONS)?,
            parents: read_parents(&object.take("parents")?)?,
            model: Model::read(&object.take("model")?)?,
            tier: object.take("tier")?.one_of(MODEL_TIERS)?,
            input_commitment: object.take("input_commitment")?.hex()?,
            output_commitment: object.take("output_commitment")?.hex()?,
            rationale_commitment: object
                .take_optional("rationale_commitment")
                .map(|member| member.hex())
                .transpose()?,
            operation: object.take("operation")?.one_of(OPERATIONS)?,
            operations: OperationSet::read(&object.take("operations")?)?,
            intent: OperationSet::read(&object.take("intent")?)?,
            parameters_digest: object.take("parameters_digest")?.hex()?,
            input_tokens: usage.take("input_tokens")?.unsigned()?,
            output_tokens: usage.take("output_tokens")?.unsigned()?,
            started_at: read_timestamp(&object.take("started_at")?)?,
            finished_at: read_timestamp(&object.take("finished_at")?)?,
            finish_reason: object.take("finish_reason")?.one_of(&[
                ("stop", FinishReason::Stop),
                ("length", FinishReason::Length),
                ("content_filter", FinishReason::ContentFilter),
                ("tool_call", FinishReason::ToolCall),
                ("error", FinishReason::Error),
            ])?,
            trace_id: object.take("trace_id")?.hex()?,
            fate: Fate::read(&object.take("fate")?)?,
            has_personal_data: flags.take("personal_data")?.boolean()?,
            has_toxicity: flags.take("toxicity")?.boolean()?,
            has_violation: flags.take("violation")?.boolean()?,
            budget: Budget::read(&object.take("budget")?)?,
        };
        usage.finish()?;
        flags.finish()?;
        object.finish()?;
        Ok(inference)
    }
}

impl Model {
    fn read(member: &Member<'_>) -> Result<Self, SchemaError> {
        let mut object = member.object()?;
        let model = Self {
            name: object.take("name")?.text(128)?.to_owned(),
            digest: object.take("digest")?.hex()?,
            evidence: object.take("evidence")?.one_of(EVIDENCE)?,
        };
        object.finish()?;
        Ok(model)
    }
}

impl Operation {
    /// Its name in a record.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(OPERATIONS, self)
    }
}

impl ModelTier {
    /// Its name in a record.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(MODEL_TIERS, self)
    }
}

impl Evidence {
    /// Its name in a record.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(EVIDENCE, self)
    }
}

impl OperationSet {
    /// The names of what is in the set, in the order of their bits.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let known = OPERATION_KINDS.iter().filter(move |(_, kind)| self.contains(*kind));
        known.map(|(name, _)| *name)
    }

    /// Whether a kind is in the set.
    #[must_use]
    pub const fn contains(self, kind: OperationKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// How many kinds are in the set.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn read(member: &Member<'_>) -> Result<Self, SchemaError> {
        let mut set = Self::default();
        for item in member.items(OPERATION_KINDS.len())? {
            let kind = item.one_of(OPERATION_KINDS)?;
            if set.contains(kind) {
                return Err(item.error("stands twice in the set"));
            }
            set.0 |= 1 << kind as u8;
        }
        Ok(set)
    }
}

impl Fate {
    fn read(member: &Member<'_>) -> Result<Self, SchemaError> {
        let mut object = member.object()?;
        let fate = Self {
            fidelity: Score::read(&object.take("f")?)?,
            accountability: Score::read(&object.take("a")?)?,
            transparency: Score::read(&object.take("t")?)?,
            ethics: Score::read(&object.take("e")?)?,
        };
        object.finish()?;
        Ok(fate)
    }
}

impl Budget {
    fn read(member: &Member<'_>) -> Result<Self, SchemaError> {
        let mut object = member.object()?;
        let budget = Self {
            tier: object.take("tier")?.one_of(&[
                ("NANO", BudgetTier::Nano),
                ("MICRO", BudgetTier::Micro),
                ("MESO", BudgetTier::Meso),
                ("MACRO", BudgetTier::Macro),
                ("MEGA", BudgetTier::Mega),
            ])?,
            depth: object.take("depth")?.unsigned()?,
            tracks: object.take("tracks")?.unsigned()?,
            retries: object.take("retries")?.unsigned()?,
            entropy: Score::read(&object.take("entropy")?)?,
            knowledge_gap: Score::read(&object.take("knowledge_gap")?)?,
            mean_snr: Score::read(&object.take("mean_snr")?)?,
        };
        object.finish()?;
        Ok(budget)
    }
}

impl Encode for Transition {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
}

impl Decode for Transition {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = u8::decode(reader)?;
        let known = TRANSITIONS.iter().find(|(_, transition)| *transition as u8 == number);
        known
            .map(|(_, transition)| *transition)
            .ok_or(DecodeError::Invalid { what: "transition", value: number.into() })
    }
}

encode_fields!(Fate { fidelity, accountability, transparency, ethics });

fn read_parents(member: &Member<'_>) -> Result<Vec<RecordDigest>, SchemaError> {
    let mut parents = Vec::new();
    for item in member.items(PARENTS_MAX)? {
        let parent = RecordDigest(item.hex()?);
        if parents.contains(&parent) {
            return Err(item.error("stands twice among the parents"));
        }
        parents.push(parent);
    }
    Ok(parents)
}

const TRANSITIONS: &[(&str, Transition)] = &[
    ("init", Transition::Init),
    ("activate", Transition::Activate),
    ("compute", Transition::Compute),
    ("validate", Transition::Validate),
    ("commit", Transition::Commit),
    ("suspend", Transition::Suspend),
    ("resume", Transition::Resume),
    ("fail", Transition::Fail),
    ("recover", Transition::Recover),
    ("terminate", Transition::Terminate),
    ("branch", Transition::Branch),
    ("merge", Transition::Merge),
    ("rollback", Transition::Rollback),
];

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    let known = names.iter().find(|(_, named)| *named == value);
    known.map(|(name, _)| *name).expect("every value has a name, as a test shows")
}

const MODEL_TIERS: &[(&str, ModelTier)] =
    &[("EDGE", ModelTier::Edge), ("LOCAL", ModelTier::Local), ("POOL", ModelTier::Pool)];

const EVIDENCE: &[(&str, Evidence)] =
    &[("configured_claim", Evidence::ConfiguredClaim), ("host_verified", Evidence::HostVerified)];

const OPERATIONS: &[(&str, Operation)] = &[
    ("chat", Operation::Chat),
    ("generate_content", Operation::GenerateContent),
    ("text_completion", Operation::TextCompletion),
    ("embeddings", Operation::Embeddings),
    ("execute_tool", Operation::ExecuteTool),
    ("invoke_agent", Operation::InvokeAgent),
    ("retrieval", Operation::Retrieval),
    ("other", Operation::Other),
];

const OPERATION_KINDS: &[(&str, OperationKind)] = &[
    ("infer", OperationKind::Infer),
    ("read", OperationKind::Read),
    ("write", OperationKind::Write),
    ("edit", OperationKind::Edit),
    ("shell", OperationKind::Shell),
    ("network", OperationKind::Network),
    ("tool", OperationKind::Tool),
];

#[cfg(test)]
mod tests;
