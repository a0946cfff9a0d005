//! Batches of the lanes, and tickets.
//!
//! A batch's author signs its header, which names the records by hash: two
//! headers of one lane position are proof of equivocation without any record.

use crate::crypto::{PublicKey, Signature};
use crate::encode_fields;
use crate::encoding::{Decode, DecodeError, Encode, Reader, encode_bytes, encode_list};
use crate::hash::{BatchDigest, ChainId, Context, Hash, RecordDigest};
use crate::message::{Kind, signed_bytes};
use crate::numbers::{Era, LaneSeq, TimestampMs, ValidatorIndex};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Largest signed envelope, in bytes.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Largest batch: the encoded records of one batch, in bytes.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;
/// What a record adds to its own bytes in a batch: time and length.
pub const RECORD_OVERHEAD_BYTES: usize = 12;

/// A record as its author's lane carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRecord {
    /// When its author admitted it, by the author's clock; that of its ticket.
    pub admitted_at_ms: TimestampMs,
    /// Canonical bytes of the signed envelope.
    pub bytes: Arc<[u8]>,
}

/// What the author of a batch signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The author's era when it made the batch.
    pub era: Era,
    /// Whose lane.
    pub author: PublicKey,
    /// Position in the lane, from 1.
    pub lane_seq: LaneSeq,
    /// Digest of the batch before; zero for the first.
    pub previous: BatchDigest,
    /// Hash of the encoded records.
    pub records_hash: Hash,
    /// Length of the encoded records, in bytes.
    pub records_bytes: u32,
    /// The latest `admitted_at_ms` of its records: no block that cites the batch is earlier.
    pub newest_ms: TimestampMs,
}

/// A batch of records with its author's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBatch {
    header: BatchHeader,
    signature: Signature,
    records: Arc<[BatchRecord]>,
}

impl BatchHeader {
    /// The header of a batch of these records.
    ///
    /// # Panics
    /// When there are none, or more than [`BATCH_BYTES_MAX`] bytes of them.
    #[must_use]
    pub fn new(
        era: Era,
        author: PublicKey,
        lane_seq: LaneSeq,
        previous: BatchDigest,
        records: &[BatchRecord],
    ) -> Self {
        let mut bytes = Vec::new();
        encode_list(records, &mut bytes);
        assert!(!records.is_empty() && bytes.len() <= BATCH_BYTES_MAX, "{} bytes", bytes.len());
        Self {
            era,
            author,
            lane_seq,
            previous,
            records_hash: Context::List.hash(&[&bytes]),
            records_bytes: u32::try_from(bytes.len()).expect("checked above"),
            newest_ms: newest(records),
        }
    }

    /// Identity of the batch.
    #[must_use]
    pub fn digest(&self, chain_id: &ChainId) -> BatchDigest {
        BatchDigest(Context::Batch.hash(&[&self.signed_bytes(chain_id)]).0)
    }
}

impl SignedBatch {
    /// Joins a header with its records and signature.
    ///
    /// # Errors
    /// When the header is not that of the records.
    pub fn new(
        header: BatchHeader,
        signature: Signature,
        records: Arc<[BatchRecord]>,
    ) -> Result<Self, DecodeError> {
        let mut bytes = Vec::new();
        encode_list(&records, &mut bytes);
        let whole = !records.is_empty()
            && bytes.len() <= BATCH_BYTES_MAX
            && bytes.len() == header.records_bytes as usize
            && header.newest_ms == newest(&records)
            && header.records_hash == Context::List.hash(&[&bytes]);
        if whole {
            Ok(Self { header, signature, records })
        } else {
            Err(DecodeError::Invalid { what: "records of a batch", value: bytes.len() as u64 })
        }
    }

    /// What was signed.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The author's signature over [`BatchHeader::signed_bytes`].
    #[must_use]
    pub const fn signature(&self) -> Signature {
        self.signature
    }

    /// The records, in order; never empty.
    #[must_use]
    pub const fn records(&self) -> &Arc<[BatchRecord]> {
        &self.records
    }
}

fn newest(records: &[BatchRecord]) -> TimestampMs {
    records.iter().map(|record| record.admitted_at_ms).max().unwrap_or_default()
}

impl Encode for BatchRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        self.admitted_at_ms.encode(out);
        encode_bytes(&self.bytes, out);
    }
}

impl Decode for BatchRecord {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let admitted_at_ms = TimestampMs::decode(reader)?;
        let bytes = reader.bytes("record", RECORD_BYTES_MAX)?.into();
        Ok(Self { admitted_at_ms, bytes })
    }
}

impl Encode for SignedBatch {
    fn encode(&self, out: &mut Vec<u8>) {
        self.header.encode(out);
        self.signature.encode(out);
        encode_list(&self.records, out);
    }
}

impl Decode for SignedBatch {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let header = BatchHeader::decode(reader)?;
        let signature = Signature::decode(reader)?;
        let limit = BATCH_BYTES_MAX / RECORD_OVERHEAD_BYTES;
        let records: Vec<BatchRecord> =
            reader.list("records of a batch", limit, RECORD_OVERHEAD_BYTES)?;
        Self::new(header, signature, records.into())
    }
}

/// A validator's signed promise that a record will get an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The record.
    pub digest: RecordDigest,
    /// When it was admitted, by the validator's clock.
    pub admitted_at_ms: TimestampMs,
    /// When an outcome must exist.
    pub deadline_ms: TimestampMs,
}

/// A ticket with its signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedTicket {
    /// The promise.
    pub ticket: Ticket,
    /// The signer's era.
    pub era: Era,
    /// Who promises.
    pub signer: ValidatorIndex,
    /// Over [`Ticket::signed_bytes`].
    pub signature: Signature,
}

impl Ticket {
    /// The bytes that the validator signs.
    #[must_use]
    pub fn signed_bytes(&self, chain_id: &ChainId, era: Era) -> Vec<u8> {
        signed_bytes(Kind::Ticket, chain_id, era, self)
    }
}

encode_fields!(BatchHeader {
    era,
    author,
    lane_seq,
    previous,
    records_hash,
    records_bytes,
    newest_ms,
});
encode_fields!(Ticket { digest, admitted_at_ms, deadline_ms });
encode_fields!(SignedTicket { ticket, era, signer, signature });
