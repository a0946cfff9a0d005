//! Proofs as JSON. Optional members are absent, never `null`.

use super::state::{
    STATE_DEPTH_MAX, STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX, StateEntry, StateLeaf, StatePath,
};
use super::{
    ERA_CHANGES_MAX, EraChange, FinalHead, FinalityProof, FormError, INCLUSION_LENGTH_MAX,
    PROOF_JSON_BYTES_MAX, StateProof, VERSION,
};
use crate::batch::RECORD_BYTES_MAX;
use crate::block::{Closes, Header};
use crate::certificate::CommitCert;
use crate::committee::{
    COMMITTEE_SIZE_MAX, Committee, KEM_KEY_BYTES_MAX, NAME_BYTES_MAX, PEER_ID_BYTES_MAX, SignerSet,
    Validator,
};
use crate::crypto::{PublicKey, Signature};
use crate::execution::ExecFields;
use crate::hash::{BlockId, ChainId, ExecHash, Hash, hex, hex_array};
use crate::json::{
    self, Document, Limits, Member, Members, Number, Object, SchemaError, Value, canonical,
};
use crate::message::CommitVote;
use crate::numbers::{Era, Height, LogIndex, ProtocolVersion, TimestampMs, ValidatorIndex, View};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The envelope's own depth, and the proof around it.
const LIMITS: Limits =
    Limits { size_max: PROOF_JSON_BYTES_MAX, depth_max: Limits::ENVELOPE.depth_max + 1 };

impl FinalityProof {
    /// The canonical JSON text.
    ///
    /// # Errors
    /// When the envelope is not canonical JSON, or a number is above 2⁵³ − 1:
    /// of a record that is final, neither can be.
    pub fn to_json(&self) -> Result<Vec<u8>, FormError> {
        Ok(canonical(&self.to_value()?))
    }

    /// Reads JSON that fills `text` to the end.
    ///
    /// # Errors
    /// When the text is not strict JSON of exactly the known members.
    pub fn from_json(text: &[u8]) -> Result<Self, FormError> {
        Self::from_member(&Document::parse(text, LIMITS)?.root())
    }

    /// The proof as a JSON value, to be put into a larger document.
    ///
    /// # Errors
    /// As [`FinalityProof::to_json`].
    pub fn to_value(&self) -> Result<Value, FormError> {
        let envelope = json::parse(&self.envelope, Limits::ENVELOPE)?;
        if !matches!(envelope, Value::Object(_)) || canonical(&envelope) != self.envelope {
            return Err(FormError::Envelope);
        }
        let mut members = head_members(&self.head)?;
        members.extend([
            ("envelope", envelope),
            ("log_index", number("log_index", self.log_index.get())?),
            ("inclusion", write_hashes(&self.inclusion)),
        ]);
        Ok(object(members))
    }

    /// Reads the proof from a larger document.
    ///
    /// # Errors
    /// As [`FinalityProof::from_json`].
    pub fn from_member(member: &Member<'_>) -> Result<Self, FormError> {
        let mut object = member.object()?;
        let envelope_member = object.take("envelope")?;
        let envelope = envelope_member.to_value();
        if !matches!(envelope, Value::Object(_)) {
            return Err(envelope_member.error("must be an object").into());
        }
        let envelope = canonical(&envelope);
        if envelope.len() > RECORD_BYTES_MAX {
            let detail = alloc::format!(
                "has {} bytes in canonical form, where at most {RECORD_BYTES_MAX} are allowed",
                envelope.len()
            );
            return Err(envelope_member.error(detail).into());
        }
        let log_index = LogIndex::new(object.take("log_index")?.unsigned()?);
        let inclusion = read_hashes(&object.take("inclusion")?, INCLUSION_LENGTH_MAX)?;
        let head = read_head(&mut object)?;
        object.finish()?;
        Ok(Self { envelope, log_index, inclusion, head })
    }
}

impl StateProof {
    /// The canonical JSON text.
    ///
    /// # Errors
    /// When a number is above 2⁵³ − 1, which none of a final block can be.
    pub fn to_json(&self) -> Result<Vec<u8>, FormError> {
        Ok(canonical(&self.to_value()?))
    }

    /// Reads JSON that fills `text` to the end.
    ///
    /// # Errors
    /// When the text is not strict JSON of exactly the known members.
    pub fn from_json(text: &[u8]) -> Result<Self, FormError> {
        Self::from_member(&Document::parse(text, LIMITS)?.root())
    }

    /// The proof as a JSON value, to be put into a larger document.
    ///
    /// # Errors
    /// As [`StateProof::to_json`].
    pub fn to_value(&self) -> Result<Value, FormError> {
        let mut members = head_members(&self.head)?;
        members.extend([
            ("family", u32::from(self.family).into()),
            ("key", text(&hex(&self.key))),
            ("siblings", write_hashes(&self.path.siblings)),
        ]);
        match &self.path.entry {
            StateEntry::Present(value) => members.push(("value", text(&hex(value)))),
            StateEntry::Absent(None) => {}
            StateEntry::Absent(Some(other)) => {
                let other = object([
                    ("key_hash", text(&other.key_hash.to_string())),
                    ("value_hash", text(&other.value_hash.to_string())),
                ]);
                members.push(("other", other));
            }
        }
        Ok(object(members))
    }

    /// Reads the proof from a larger document.
    ///
    /// # Errors
    /// As [`StateProof::from_json`].
    pub fn from_member(member: &Member<'_>) -> Result<Self, FormError> {
        let mut object = member.object()?;
        let family = object.take("family")?.unsigned_in(0..=u8::MAX.into())?;
        let key = bytes(&object.take("key")?, STATE_KEY_BYTES_MAX)?;
        let siblings = read_hashes(&object.take("siblings")?, STATE_DEPTH_MAX)?;
        let entry = match (object.take_optional("value"), object.take_optional("other")) {
            (Some(_), Some(other)) => {
                return Err(other.error("must be left out where there is a value").into());
            }
            (Some(value), None) => StateEntry::Present(bytes(&value, STATE_VALUE_BYTES_MAX)?),
            (None, None) => StateEntry::Absent(None),
            (None, Some(other)) => {
                let mut object = other.object()?;
                let leaf = StateLeaf {
                    key_hash: Hash(object.take("key_hash")?.hex()?),
                    value_hash: Hash(object.take("value_hash")?.hex()?),
                };
                object.finish()?;
                StateEntry::Absent(Some(leaf))
            }
        };
        let head = read_head(&mut object)?;
        object.finish()?;
        Ok(Self {
            family: u8::try_from(family).expect("the range is that of u8"),
            key,
            path: StatePath { entry, siblings },
            head,
        })
    }
}

impl FinalHead {
    /// The canonical JSON text.
    ///
    /// # Errors
    /// When a number is above 2⁵³ − 1, which none of a final block can be.
    pub fn to_json(&self) -> Result<Vec<u8>, FormError> {
        Ok(canonical(&self.to_value()?))
    }

    /// Reads JSON that fills `text` to the end.
    ///
    /// # Errors
    /// When the text is not strict JSON of exactly the known members.
    pub fn from_json(text: &[u8]) -> Result<Self, FormError> {
        Self::from_member(&Document::parse(text, LIMITS)?.root())
    }

    /// The head as a JSON value, to be put into a larger document.
    ///
    /// # Errors
    /// As [`FinalHead::to_json`].
    pub fn to_value(&self) -> Result<Value, FormError> {
        Ok(object(head_members(self)?))
    }

    /// Reads the head from a larger document.
    ///
    /// # Errors
    /// As [`FinalHead::from_json`].
    pub fn from_member(member: &Member<'_>) -> Result<Self, FormError> {
        let mut object = member.object()?;
        let head = read_head(&mut object)?;
        object.finish()?;
        Ok(head)
    }
}

fn head_members(head: &FinalHead) -> Result<Vec<(&'static str, Value)>, FormError> {
    let mut members = Vec::from([
        ("version", number("version", VERSION)?),
        ("exec", write_exec(&head.exec)?),
        ("header", write_header(&head.header)?),
        ("commit", write_commit(&head.commit)?),
        ("eras", Value::Array(head.eras.iter().map(write_change).collect::<Result<_, _>>()?)),
    ]);
    if let Some(filler) = &head.filler {
        members.push(("filler", write_header(filler)?));
    }
    Ok(members)
}

fn read_head(object: &mut Object<'_>) -> Result<FinalHead, FormError> {
    let version = object.take("version")?.unsigned()?;
    if version != VERSION {
        return Err(FormError::Version(version));
    }
    let exec = read_exec(&object.take("exec")?)?;
    let header = read_header(&object.take("header")?)?;
    let filler = object.take_optional("filler").map(|member| read_header(&member)).transpose()?;
    let commit = read_commit(&object.take("commit")?)?;
    let eras = object
        .take("eras")?
        .items(ERA_CHANGES_MAX)?
        .iter()
        .map(read_change)
        .collect::<Result<_, _>>()?;
    Ok(FinalHead { exec, header, filler, commit, eras })
}

fn write_hashes(hashes: &[Hash]) -> Value {
    Value::Array(hashes.iter().map(|hash| text(&hash.to_string())).collect())
}

fn read_hashes(member: &Member<'_>, count_max: usize) -> Result<Vec<Hash>, SchemaError> {
    member.items(count_max)?.iter().map(|hash| hash.hex().map(Hash)).collect()
}

fn write_change(change: &EraChange) -> Result<Value, FormError> {
    let mut members = Vec::from([
        ("header", write_header(&change.header)?),
        ("exec", write_exec(&change.exec)?),
        (
            "committee",
            Value::Array(change.committee.iter().map(|(_, one)| write_validator(one)).collect()),
        ),
        ("commit", write_commit(&change.commit)?),
    ]);
    if let Some(filler) = &change.filler {
        members.push(("filler", write_header(filler)?));
    }
    Ok(object(members))
}

fn read_change(member: &Member<'_>) -> Result<EraChange, SchemaError> {
    let mut object = member.object()?;
    let header = read_header(&object.take("header")?)?;
    let exec = read_exec(&object.take("exec")?)?;
    let committee_member = object.take("committee")?;
    let validators = committee_member
        .items(COMMITTEE_SIZE_MAX)?
        .iter()
        .map(read_validator)
        .collect::<Result<_, _>>()?;
    let committee = Committee::new(validators)
        .map_err(|error| committee_member.error(alloc::format!("is no committee: {error}")))?;
    let filler = object.take_optional("filler").map(|member| read_header(&member)).transpose()?;
    let commit = read_commit(&object.take("commit")?)?;
    object.finish()?;
    Ok(EraChange { header, exec, committee, filler, commit })
}

fn write_exec(exec: &ExecFields) -> Result<Value, FormError> {
    Ok(object([
        ("parent", text(&exec.parent.to_string())),
        ("log_root", text(&exec.log_root.to_string())),
        ("log_size", number("log_size", exec.log_size)?),
        ("state_root", text(&exec.state_root.to_string())),
        ("plain_digest", text(&exec.plain_digest.to_string())),
        ("outcomes_root", text(&exec.outcomes_root.to_string())),
        ("next_committee", text(&exec.next_committee.to_string())),
    ]))
}

fn read_exec(member: &Member<'_>) -> Result<ExecFields, SchemaError> {
    let mut object = member.object()?;
    let exec = ExecFields {
        parent: ExecHash(object.take("parent")?.hex()?),
        log_root: Hash(object.take("log_root")?.hex()?),
        log_size: object.take("log_size")?.unsigned()?,
        state_root: Hash(object.take("state_root")?.hex()?),
        plain_digest: Hash(object.take("plain_digest")?.hex()?),
        outcomes_root: Hash(object.take("outcomes_root")?.hex()?),
        next_committee: Hash(object.take("next_committee")?.hex()?),
    };
    object.finish()?;
    Ok(exec)
}

fn write_header(header: &Header) -> Result<Value, FormError> {
    let mut members = Vec::from([
        ("protocol_version", number("protocol_version", header.protocol_version.get().into())?),
        ("chain_id", text(&header.chain_id.to_string())),
        ("era", number("era", header.era.get())?),
        ("height", number("height", header.height.get())?),
        ("view", number("view", header.view.get())?),
        ("parent", text(&header.parent.to_string())),
        ("justify", text(&header.justify.to_string())),
        ("citations_root", text(&header.citations_root.to_string())),
        ("reveals_root", text(&header.reveals_root.to_string())),
        ("timestamp_ms", number("timestamp_ms", header.timestamp_ms.get())?),
        ("proposer", number("proposer", header.proposer.get().into())?),
    ]);
    if let Some(closes) = &header.closes {
        let closes = object([
            ("block", text(&closes.block.to_string())),
            ("exec", text(&closes.exec.to_string())),
        ]);
        members.push(("closes", closes));
    }
    Ok(object(members))
}

fn read_header(member: &Member<'_>) -> Result<Header, SchemaError> {
    let mut object = member.object()?;
    let header = Header {
        protocol_version: ProtocolVersion::new(small(&object.take("protocol_version")?, u16::MAX)?),
        chain_id: ChainId(object.take("chain_id")?.hex()?),
        era: Era::new(object.take("era")?.unsigned()?),
        height: Height::new(object.take("height")?.unsigned()?),
        view: View::new(object.take("view")?.unsigned()?),
        parent: BlockId(object.take("parent")?.hex()?),
        justify: Hash(object.take("justify")?.hex()?),
        citations_root: Hash(object.take("citations_root")?.hex()?),
        reveals_root: Hash(object.take("reveals_root")?.hex()?),
        timestamp_ms: TimestampMs::new(object.take("timestamp_ms")?.unsigned()?),
        proposer: ValidatorIndex::new(small(&object.take("proposer")?, u16::MAX)?),
        closes: object.take_optional("closes").map(|member| read_closes(&member)).transpose()?,
    };
    object.finish()?;
    Ok(header)
}

fn read_closes(member: &Member<'_>) -> Result<Closes, SchemaError> {
    let mut object = member.object()?;
    let closes = Closes {
        block: BlockId(object.take("block")?.hex()?),
        exec: ExecHash(object.take("exec")?.hex()?),
    };
    object.finish()?;
    Ok(closes)
}

fn write_commit(commit: &CommitCert) -> Result<Value, FormError> {
    let size = commit.signers.committee_size() as u64;
    let signers = commit.signers.iter().map(|signer| u32::from(signer.get()).into());
    let signatures = commit.signatures.iter().map(|signature| text(&signature.to_string()));
    Ok(object([
        ("era", number("era", commit.vote.era.get())?),
        ("view", number("view", commit.vote.view.get())?),
        ("block", text(&commit.vote.block.to_string())),
        ("exec", text(&commit.vote.exec.to_string())),
        ("committee_size", number("committee_size", size)?),
        ("signers", Value::Array(signers.collect())),
        ("signatures", Value::Array(signatures.collect())),
    ]))
}

fn read_commit(member: &Member<'_>) -> Result<CommitCert, SchemaError> {
    let mut object = member.object()?;
    let vote = CommitVote {
        era: Era::new(object.take("era")?.unsigned()?),
        view: View::new(object.take("view")?.unsigned()?),
        block: BlockId(object.take("block")?.hex()?),
        exec: ExecHash(object.take("exec")?.hex()?),
    };
    let size_max = u16::try_from(COMMITTEE_SIZE_MAX).expect("it is 1024");
    let committee_size = small(&object.take("committee_size")?, size_max)?;
    let mut signers = SignerSet::empty(committee_size.into());
    let mut first_free = 0;
    for signer_member in object.take("signers")?.items(committee_size.into())? {
        let signer = small(&signer_member, u16::MAX)?;
        if signer < first_free || signer >= committee_size {
            return Err(signer_member.error("must be a larger one than before, of the committee"));
        }
        signers.insert(ValidatorIndex::new(signer));
        first_free = signer + 1;
    }
    let signatures_member = object.take("signatures")?;
    let signatures = signatures_member
        .items(committee_size.into())?
        .iter()
        .map(|signature| signature.hex().map(Signature))
        .collect::<Result<Vec<_>, _>>()?;
    if signatures.len() != signers.count() {
        let (have, need) = (signatures.len(), signers.count());
        return Err(signatures_member.error(alloc::format!("must be {need}, but are {have}")));
    }
    object.finish()?;
    Ok(CommitCert { vote, signers, signatures })
}

fn write_validator(validator: &Validator) -> Value {
    object([
        ("name", text(&validator.name)),
        ("peer_id", text(&validator.peer_id)),
        ("consensus_key", text(&validator.consensus_key.to_string())),
        ("vrf_key", text(&hex(&validator.vrf_key))),
        ("kem_key", text(&hex(&validator.kem_key))),
    ])
}

fn read_validator(member: &Member<'_>) -> Result<Validator, SchemaError> {
    let mut object = member.object()?;
    let kem_key = bytes(&object.take("kem_key")?, KEM_KEY_BYTES_MAX)?;
    let validator = Validator {
        name: short_text(&object.take("name")?, NAME_BYTES_MAX)?.to_string(),
        peer_id: short_text(&object.take("peer_id")?, PEER_ID_BYTES_MAX)?.to_string(),
        consensus_key: PublicKey(object.take("consensus_key")?.hex()?),
        vrf_key: object.take("vrf_key")?.hex()?,
        kem_key,
    };
    object.finish()?;
    Ok(validator)
}

/// Bytes of any number up to a limit.
fn bytes(member: &Member<'_>, size_max: usize) -> Result<Vec<u8>, SchemaError> {
    short_text(member, 2 * size_max)?
        .as_bytes()
        .chunks(2)
        .map(|pair| core::str::from_utf8(pair).ok().and_then(hex_array::<1>).map(|[byte]| byte))
        .collect::<Option<_>>()
        .ok_or_else(|| member.error("must be lower-case hex digits"))
}

/// A string that may be empty, as those of a committee's encoding.
fn short_text<'a>(member: &Member<'a>, size_max: usize) -> Result<&'a str, SchemaError> {
    match member.to_value() {
        Value::String(text) if text.is_empty() => Ok(""),
        _ => member.text(size_max),
    }
}

fn small(member: &Member<'_>, max: u16) -> Result<u16, SchemaError> {
    let value = member.unsigned_in(0..=max.into())?;
    Ok(u16::try_from(value).expect("the range is within u16"))
}

fn object(members: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let members: Vec<(String, Value)> =
        members.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    Value::Object(Members::new(members).expect("member names are distinct"))
}

fn text(text: &str) -> Value {
    Value::String(text.to_string())
}

fn number(what: &'static str, value: u64) -> Result<Value, FormError> {
    Number::from_unsigned(value).map(Value::Number).ok_or(FormError::Number { what, value })
}
