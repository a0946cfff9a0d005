//! Finality proofs: what a stranger needs to believe that a record is final,
//! with nothing but the genesis file; and [state proofs](StateProof), which show
//! in the same way what an entry of the state is, or that there is none.
//!
//! A proof has two forms of one meaning. *CBOR* (RFC 8949, section 4.2) is
//! what machines keep: arrays of definite length, integers in their shortest
//! form, byte strings that hold the fixed binary encodings of this crate, and
//! nothing else, so one proof has one encoding. *JSON* is what people read:
//! the same fields by name, hashes as lower-case hex, the envelope as the
//! object it is. Unknown members are refused; white space, the order of
//! members and the spelling of numbers mean nothing. Both layouts are written
//! down in `docs/formats.md`.
//!
//! Nothing here judges a proof: that is the light client's work, with the tree
//! arithmetic of [`tree`] and [`state`].

mod cbor;
mod people;
pub mod state;
pub mod tree;

use crate::batch::RECORD_BYTES_MAX;
use crate::block::Header;
use crate::certificate::CommitCert;
use crate::committee::Committee;
use crate::encoding::{Decode, DecodeError};
use crate::execution::ExecFields;
use crate::hash::Hash;
use crate::json::{JsonError, SchemaError};
use crate::numbers::LogIndex;
use alloc::vec::Vec;
use cbor::{Reader, Writer};
pub use state::StateProof;

/// Largest proof in CBOR, in bytes. Only era changes can make a proof large:
/// seven validators with all their keys take about 11 KiB per change.
pub const PROOF_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Largest proof in JSON, in bytes: hex and names take less than four times as much.
pub const PROOF_JSON_BYTES_MAX: usize = 4 * PROOF_BYTES_MAX;

/// Most era changes of one proof.
pub const ERA_CHANGES_MAX: usize = 4096;

/// Most hashes of an inclusion path: a log has fewer than 2⁶⁴ records.
pub const INCLUSION_LENGTH_MAX: usize = 64;

/// The version of both forms.
const VERSION: u64 = 1;

/// Proof that a record is final: it is in the log of a final block.
///
/// The block may be any block since the record was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalityProof {
    /// Canonical bytes of the signed envelope.
    pub envelope: Vec<u8>,
    /// Index of the record in the log.
    pub log_index: LogIndex,
    /// RFC 9162 path from the record's leaf to the log's root, leaf side first.
    pub inclusion: Vec<Hash>,
    /// The final block and the log as it stands after it.
    pub head: FinalHead,
}

/// Proof that a block is final, and what executing it gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalHead {
    /// What executing the block gave.
    pub exec: ExecFields,
    /// The block's header. Never that of a filler.
    pub header: Header,
    /// Header of the filler that was certified in the block's stead, if the
    /// block ended its era and has no commit certificate of its own.
    pub filler: Option<Header>,
    /// Commit certificate of the block, or of the filler.
    pub commit: CommitCert,
    /// Every change of the committee since genesis, in order.
    pub eras: Vec<EraChange>,
}

/// One change of the committee: the final block that ended an era.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EraChange {
    /// Header of the block that ended the era.
    pub header: Header,
    /// What executing it gave; `next_committee` is the hash of `committee`.
    pub exec: ExecFields,
    /// The committee of the era that follows.
    pub committee: Committee,
    /// Header of the filler that was certified in the block's stead, if any.
    pub filler: Option<Header>,
    /// Commit certificate of the block, or of the filler, by the era's own committee.
    pub commit: CommitCert,
}

/// Why bytes are no proof, or why a proof cannot be written as JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Longer than any proof.
    #[error("a proof of {size} bytes, where at most {limit} are allowed")]
    TooLong {
        /// Bytes that came.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The bytes end inside an item.
    #[error("the proof ends at byte {offset}, inside {what}")]
    End {
        /// Bytes of the proof.
        offset: usize,
        /// Which field.
        what: &'static str,
    },
    /// Another CBOR item than the field has.
    #[error("at byte {offset}: {what} does not begin with 0x{found:02x}")]
    Item {
        /// Byte of the proof, from 0.
        offset: usize,
        /// Which field.
        what: &'static str,
        /// The first byte of the item.
        found: u8,
    },
    /// A CBOR number that has a shorter spelling.
    #[error("at byte {offset}: {value} in {what} is not spelled in the shortest form")]
    NotShortest {
        /// Byte of the proof, from 0.
        offset: usize,
        /// Which field.
        what: &'static str,
        /// The number.
        value: u64,
    },
    /// A count or length that the field cannot have.
    #[error("at byte {offset}: {what} of length {value}, where {expected} is expected")]
    Length {
        /// Byte of the proof, from 0.
        offset: usize,
        /// Which field.
        what: &'static str,
        /// What the bytes say.
        value: u64,
        /// What is expected, or the most that is allowed.
        expected: u64,
    },
    /// A number that the field cannot have.
    #[error("at byte {offset}: {what} of {value}, where at most {limit} is allowed")]
    Limit {
        /// Byte of the proof, from 0.
        offset: usize,
        /// Which field.
        what: &'static str,
        /// The number.
        value: u64,
        /// What is allowed.
        limit: u64,
    },
    /// A version that this code does not know.
    #[error("a proof of version {0}, where {VERSION} is known")]
    Version(u64),
    /// Bytes follow the proof.
    #[error("{0} bytes follow the proof")]
    Trailing(usize),
    /// A field's bytes are not the encoding of its type.
    #[error("{what}: {error}")]
    Field {
        /// Which field.
        what: &'static str,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// Not JSON, or not strict JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A member is missing, unknown or of the wrong form.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The envelope's bytes are not the canonical form of a JSON object.
    #[error("the envelope is not the canonical form (RFC 8785) of a JSON object")]
    Envelope,
    /// JSON has no exact number for it.
    #[error("{what} of {value} is above 9007199254740991, which JSON cannot carry")]
    Number {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
}

impl FinalHead {
    /// The committee that made the block final, where `first` is that of the genesis file.
    #[must_use]
    pub fn committee<'a>(&'a self, first: &'a Committee) -> &'a Committee {
        self.eras.last().map_or(first, |change| &change.committee)
    }
}

impl FinalityProof {
    /// The one CBOR encoding.
    ///
    /// # Panics
    /// When a certificate has not one signature per signer.
    #[must_use]
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(9);
        writer.unsigned(VERSION);
        writer.bytes(&self.envelope);
        writer.unsigned(self.log_index.get());
        writer.hashes(&self.inclusion);
        self.head.write(&mut writer);
        writer.finish()
    }

    /// Reads CBOR that fills `bytes` to the end.
    ///
    /// # Errors
    /// When the bytes are not the encoding of a proof.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, FormError> {
        let mut reader = Reader::new(bytes, PROOF_BYTES_MAX)?;
        reader.array("a finality proof", 9)?;
        reader.version()?;
        let envelope = reader.bytes("the envelope", RECORD_BYTES_MAX)?.to_vec();
        let log_index = LogIndex::new(reader.unsigned("the log index")?);
        let inclusion = reader.hashes("the inclusion path", INCLUSION_LENGTH_MAX)?;
        let head = FinalHead::read(&mut reader)?;
        reader.finish()?;
        Ok(Self { envelope, log_index, inclusion, head })
    }

    /// Reads either form: JSON if the first byte that is no white space is a
    /// brace, CBOR otherwise.
    ///
    /// # Errors
    /// When the bytes are not a proof.
    pub fn from_either(bytes: &[u8]) -> Result<Self, FormError> {
        if is_json(bytes) { Self::from_json(bytes) } else { Self::from_cbor(bytes) }
    }
}

impl FinalHead {
    /// The one CBOR encoding.
    ///
    /// # Panics
    /// When a certificate has not one signature per signer.
    #[must_use]
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(6);
        writer.unsigned(VERSION);
        self.write(&mut writer);
        writer.finish()
    }

    /// Reads CBOR that fills `bytes` to the end.
    ///
    /// # Errors
    /// When the bytes are not the encoding of a head.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, FormError> {
        let mut reader = Reader::new(bytes, PROOF_BYTES_MAX)?;
        reader.array("a final head", 6)?;
        reader.version()?;
        let head = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(head)
    }

    /// Reads either form, as [`FinalityProof::from_either`] does.
    ///
    /// # Errors
    /// When the bytes are not a head.
    pub fn from_either(bytes: &[u8]) -> Result<Self, FormError> {
        if is_json(bytes) { Self::from_json(bytes) } else { Self::from_cbor(bytes) }
    }

    fn write(&self, writer: &mut Writer) {
        writer.encoded(&self.exec);
        writer.encoded(&self.header);
        writer.optional(self.filler.as_ref());
        writer.encoded(&self.commit);
        writer.array(self.eras.len());
        for change in &self.eras {
            writer.array(5);
            writer.encoded(&change.header);
            writer.encoded(&change.exec);
            writer.encoded(&change.committee);
            writer.optional(change.filler.as_ref());
            writer.encoded(&change.commit);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, FormError> {
        let exec = reader.decoded("exec")?;
        let header = reader.decoded("the header")?;
        let filler = reader.optional("the filler")?;
        let commit = reader.decoded("the commit certificate")?;
        let count = reader.array_at_most("the era changes", ERA_CHANGES_MAX)?;
        // Not reserved: a count costs two bytes, a change several hundred.
        let mut eras = Vec::new();
        for _ in 0..count {
            reader.array("an era change", 5)?;
            eras.push(EraChange {
                header: reader.decoded("the header of an era change")?,
                exec: reader.decoded("exec of an era change")?,
                committee: reader.decoded("the committee of an era change")?,
                filler: reader.optional("the filler of an era change")?,
                commit: reader.decoded("the commit certificate of an era change")?,
            });
        }
        Ok(Self { exec, header, filler, commit, eras })
    }
}

fn is_json(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// Reads a field's own encoding from its byte string.
fn decode_field<T: Decode>(what: &'static str, bytes: &[u8]) -> Result<T, FormError> {
    T::from_bytes(bytes).map_err(|error| FormError::Field { what, error })
}
