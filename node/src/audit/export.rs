//! The file of an export: a head, frames, and an end (`docs/formats.md`, §10).
//!
//! A block comes before the batches that it cites, which come in the order of
//! execution; a certificate comes after the last block that it makes final.
//! A frame is bounded, so a reader needs memory for one at a time, however
//! long the file is and whatever it claims.

use bizra_ledger::codes::Code;
use bizra_types::batch::{BATCH_BYTES_MAX, RECORD_OVERHEAD_BYTES, SignedBatch};
use bizra_types::block::Block;
use bizra_types::certificate::Certificate;
use bizra_types::encode_fields;
use bizra_types::encoding::{Decode, DecodeError, Encode, Reader as Bytes, encode_list};
use bizra_types::execution::ExecFields;
use bizra_types::hash::{BlockId, ChainId};
use bizra_types::numbers::Height;
use std::fmt;
use std::io::{self, Read, Write};

/// The first bytes of every export.
const MAGIC: [u8; 8] = *b"bizra-ex";
/// The version of the format that is written and read here.
const VERSION: u16 = 1;
/// Most bytes of a frame, its length not counted: more than the largest block
/// or batch can have.
pub const FRAME_BYTES_MAX: usize = 512 * 1024;
/// Most records of one batch.
const BATCH_RECORDS_MAX: usize = BATCH_BYTES_MAX / RECORD_OVERHEAD_BYTES;

/// One piece of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A final block.
    Block(Box<ExportedBlock>),
    /// A batch that the block before cites.
    Batch(ExportedBatch),
    /// What makes the block before final.
    Certificate(Certificate),
    /// The last frame: what the export reaches to.
    End(End),
}

/// A final block, and what executing it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedBlock {
    /// The block.
    pub block: Block,
    /// What the exporting node says that executing it came to.
    pub exec: ExecFields,
}

/// A batch, and what became of its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedBatch {
    /// The batch.
    pub batch: SignedBatch,
    /// What the exporting node says that became of each record, in their order.
    pub outcomes: Vec<ExportedOutcome>,
}

/// What became of one record: what its leaf of the outcomes tree covers beside
/// its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportedOutcome {
    /// The code.
    pub code: Code,
    /// Bits as in [`OutcomeFlags`](bizra_ledger::outcomes::OutcomeFlags).
    pub flags: u8,
}

/// What an export reaches to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Height of the last block.
    pub height: Height,
    /// The last block; genesis where there is none above it.
    pub block: BlockId,
}

encode_fields!(ExportedBlock { block, exec });
encode_fields!(End { height, block });

impl Frame {
    /// What it is called in messages.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Block(_) => "a block",
            Self::Batch(_) => "a batch",
            Self::Certificate(_) => "a certificate",
            Self::End(_) => "the end",
        }
    }

    /// Appends the frame with its length.
    ///
    /// # Panics
    /// When it is longer than [`FRAME_BYTES_MAX`], which no frame of valid parts is.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        self.encode(out);
        let size = out.len() - start - 4;
        assert!(size <= FRAME_BYTES_MAX, "a frame of {size} bytes");
        let size = u32::try_from(size).expect("checked above");
        out[start..start + 4].copy_from_slice(&size.to_le_bytes());
    }
}

impl Encode for Frame {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Block(block) => {
                out.push(1);
                block.encode(out);
            }
            Self::Batch(batch) => {
                out.push(2);
                batch.encode(out);
            }
            Self::Certificate(certificate) => {
                out.push(3);
                certificate.encode(out);
            }
            Self::End(end) => {
                out.push(4);
                end.encode(out);
            }
        }
    }
}

impl Decode for Frame {
    fn decode(reader: &mut Bytes<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            1 => Ok(Self::Block(Box::new(Decode::decode(reader)?))),
            2 => Ok(Self::Batch(Decode::decode(reader)?)),
            3 => Ok(Self::Certificate(Decode::decode(reader)?)),
            4 => Ok(Self::End(Decode::decode(reader)?)),
            tag => Err(DecodeError::Invalid { what: "kind of a frame", value: tag.into() }),
        }
    }
}

impl Encode for ExportedBatch {
    fn encode(&self, out: &mut Vec<u8>) {
        self.batch.encode(out);
        encode_list(&self.outcomes, out);
    }
}

impl Decode for ExportedBatch {
    fn decode(reader: &mut Bytes<'_>) -> Result<Self, DecodeError> {
        let batch = SignedBatch::decode(reader)?;
        let outcomes: Vec<_> = reader.list("outcomes of a batch", BATCH_RECORDS_MAX, 2)?;
        if outcomes.len() != batch.records().len() {
            let value = outcomes.len() as u64;
            return Err(DecodeError::Invalid { what: "count of a batch's outcomes", value });
        }
        Ok(Self { batch, outcomes })
    }
}

impl Encode for ExportedOutcome {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.code.number(), self.flags]);
    }
}

impl Decode for ExportedOutcome {
    fn decode(reader: &mut Bytes<'_>) -> Result<Self, DecodeError> {
        let [code, flags] = reader.array()?;
        let invalid = DecodeError::Invalid { what: "code of an outcome", value: code.into() };
        Ok(Self { code: Code::from_number(code).ok_or(invalid)?, flags })
    }
}

/// Writes what stands before the frames.
///
/// # Errors
/// When the file cannot be written.
pub fn write_head(chain_id: &ChainId, out: &mut impl Write) -> io::Result<()> {
    let mut head = MAGIC.to_vec();
    VERSION.encode(&mut head);
    chain_id.encode(&mut head);
    out.write_all(&head)
}

/// Where in an export something stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Which frame, counted from 1; 0 is the head.
    pub frame: u64,
    /// Bytes of the file before it.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.frame {
            0 => f.write_str("the head of the file"),
            frame => write!(f, "frame {frame} at byte {}", self.offset),
        }
    }
}

/// Why an export cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The disk or the network failed.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The file is something else.
    #[error("is not the beginning of an export")]
    Magic,
    /// The file is of another version of this format.
    #[error("is of version {found} of the format, where {VERSION} is expected")]
    Version {
        /// What the file says.
        found: u16,
    },
    /// The file ends within something.
    #[error("is cut off: {need} bytes are expected, and {have} are there")]
    CutOff {
        /// Bytes that are expected.
        need: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// The file has frames and no end.
    #[error("is missing: the file stops before its end")]
    NoEnd,
    /// A frame claims to be longer than any can be.
    #[error("is {size} bytes long, where at most {FRAME_BYTES_MAX} are allowed")]
    TooLong {
        /// What it claims.
        size: usize,
    },
    /// A frame is not the encoding of anything.
    #[error("cannot be understood: {0}")]
    Decode(#[from] DecodeError),
}

/// Reads frames, one at a time.
#[derive(Debug)]
pub struct Frames<R> {
    source: R,
    buffer: Vec<u8>,
    place: Place,
    read: u64,
}

impl<R: Read> Frames<R> {
    /// Reads the head of an export, and says of which chain it is.
    ///
    /// # Errors
    /// When it is no export, or of another version.
    pub fn open(source: R) -> Result<(Self, ChainId), ExportError> {
        let mut frames = Self::bare(source);
        let magic = frames.take(MAGIC.len())?;
        if magic != MAGIC {
            return Err(ExportError::Magic);
        }
        let found = u16::from_bytes(frames.take(2)?)?;
        if found != VERSION {
            return Err(ExportError::Version { found });
        }
        let chain_id = ChainId::from_bytes(frames.take(32)?)?;
        Ok((frames, chain_id))
    }

    /// Reads frames that have no head before them.
    pub const fn bare(source: R) -> Self {
        let place = Place { frame: 0, offset: 0 };
        Self { source, buffer: Vec::new(), place, read: 0 }
    }

    /// Where the frame stands that was read last, or that could not be read.
    #[must_use]
    pub const fn place(&self) -> Place {
        self.place
    }

    /// Bytes read so far.
    #[must_use]
    pub const fn read(&self) -> u64 {
        self.read
    }

    /// The next frame; none where the source ends.
    ///
    /// # Errors
    /// When the source fails, or what it gives is no frame.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ExportError> {
        self.place = Place { frame: self.place.frame + 1, offset: self.read };
        let size = match self.take(4) {
            Ok(size) => u32::from_bytes(size)? as usize,
            Err(ExportError::CutOff { have: 0, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if size > FRAME_BYTES_MAX {
            return Err(ExportError::TooLong { size });
        }
        Ok(Some(Frame::from_bytes(self.take(size)?)?))
    }

    /// The next bytes. Memory is taken for those that are there, not for those
    /// that are claimed.
    fn take(&mut self, need: usize) -> Result<&[u8], ExportError> {
        self.buffer.clear();
        let limit = u64::try_from(need).expect("a usize fits");
        let have = self.source.by_ref().take(limit).read_to_end(&mut self.buffer)?;
        self.read += have as u64;
        if have < need {
            return Err(ExportError::CutOff { need, have });
        }
        Ok(&self.buffer)
    }
}
