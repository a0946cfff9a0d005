//! How values are laid out on disk: the protocol's fixed encoding throughout.
//!
//! Keys that must sort by number hold it in big-endian order; everything else
//! is as `docs/formats.md` has it.

use bizra_consensus::{
    Activation, ClosedEra, EpochState, Evidence, Opening, Root, SafetyRecord, Versions,
};
use bizra_ledger::execution::Head;
use bizra_ledger::pattern::PatternId;
use bizra_types::batch::{BatchHeader, BatchRecord, SignedBatch};
use bizra_types::block::Block;
use bizra_types::certificate::{Certificate, CommitCert, Qc, Tc};
use bizra_types::committee::COMMITTEE_SIZE_MAX;
use bizra_types::crypto::{PublicKey, Signature};
use bizra_types::encode_fields;
use bizra_types::encoding::{Decode, DecodeError, Encode, Reader, encode_list};
use bizra_types::execution::ExecFields;
use bizra_types::genesis::Parameters;
use bizra_types::hash::{BatchDigest, BlockId, RecordDigest};
use bizra_types::numbers::{Era, Height, LaneSeq, LogIndex, ValidatorIndex, View};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The layout of the folder: what is written where and how.
pub(super) const LAYOUT: u32 = 5;

/// Bytes of an encoded [`BatchHeader`]; the signature follows.
pub(super) const BATCH_HEADER_SIZE: usize = 124;
/// Bytes of a signature.
pub(super) const SIGNATURE_SIZE: usize = 64;
/// The tag of evidence that is one batch; those of [`evidence_bytes`] are below.
pub(super) const INVALID_BATCH: u8 = 8;
/// Stands for the signature of our own batches until they are signed. No key
/// that a committee may have verifies anything under it.
pub(super) const NO_SIGNATURE: Signature = Signature([0; SIGNATURE_SIZE]);

/// Authors with a lane: those of every era so far.
const LANES_MAX: usize = 64 * COMMITTEE_SIZE_MAX;
/// Batches that one block can cite.
const BLOCK_BATCHES_MAX: usize = 1 << 20;
/// Records that one block can hold.
const BLOCK_RECORDS_MAX: usize = 1 << 24;

/// Where a safety record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SafetyKey {
    pub(super) era: Era,
    /// The key that signs by it.
    pub(super) key: PublicKey,
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchRef {
    pub(super) author: PublicKey,
    pub(super) lane_seq: LaneSeq,
    pub(super) digest: BatchDigest,
}

/// Where an adopted offer stands: its pattern, and who offers it.
pub type PatternKey = (PatternId, PublicKey);

/// The bytes of a [`PatternKey`].
pub(super) fn pattern_key((id, source): &PatternKey) -> Vec<u8> {
    [&id.0[..], &source.0].concat()
}

/// Reads [`pattern_key`].
pub(super) fn read_pattern_key(bytes: &[u8]) -> Result<PatternKey, DecodeError> {
    let mut reader = Reader::new(bytes);
    let key = (PatternId(Decode::decode(&mut reader)?), Decode::decode(&mut reader)?);
    reader.finish()?;
    Ok(key)
}

/// A committed block, by height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BlockEntry {
    pub(super) id: BlockId,
    pub(super) fields: ExecFields,
    /// The cited batches in the order of execution.
    pub(super) batches: Vec<BatchRef>,
}

/// A block that is not final yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) height: Height,
    /// 1 for a filler, else 0.
    pub(super) is_filler: u8,
}

/// What became of one record of a committed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutcomeLine {
    pub(super) digest: Option<RecordDigest>,
    pub(super) code: u8,
    pub(super) flags: u8,
    pub(super) log_index: Option<LogIndex>,
}

/// The latest judgement of a record and where its bytes stand: inside their
/// batch, so that they are on disk once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordEntry {
    pub(super) batch: BatchRef,
    /// Of the record's first byte in the stored batch.
    pub(super) offset: u32,
    /// Of the record, in bytes.
    pub(super) length: u32,
    pub(super) height: Height,
    pub(super) line: OutcomeLine,
}

/// The judgement of certain signed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BytesEntry {
    pub(super) height: Height,
    pub(super) line: OutcomeLine,
}

encode_fields!(SafetyKey { era, key });
encode_fields!(BatchRef { author, lane_seq, digest });
encode_fields!(Mark { height, is_filler });
encode_fields!(OutcomeLine { digest, code, flags, log_index });
encode_fields!(RecordEntry { batch, offset, length, height, line });
encode_fields!(BytesEntry { height, line });

impl BatchRef {
    /// Where this batch stands.
    pub(super) fn key(&self) -> [u8; 72] {
        let mut key = [0; 72];
        key[..32].copy_from_slice(&self.author.0);
        key[32..40].copy_from_slice(&self.lane_seq.get().to_be_bytes());
        key[40..].copy_from_slice(&self.digest.0);
        key
    }
}

impl Mark {
    /// The mark of a block.
    pub(super) fn of(block: &Block) -> Self {
        Self { height: block.header().height, is_filler: u8::from(block.is_filler()) }
    }

    /// Whether nothing can come of the block once `head` is final. A filler has
    /// the height of the block it closes and outlives that one's commit.
    pub(super) fn is_over(self, head: Height) -> bool {
        self.height < head || self.height == head && self.is_filler == 0
    }
}

impl Encode for BlockEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        self.fields.encode(out);
        encode_list(&self.batches, out);
    }
}

impl Decode for BlockEntry {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: BlockId::decode(reader)?,
            fields: ExecFields::decode(reader)?,
            batches: reader.list("batches of a block", BLOCK_BATCHES_MAX, 72)?,
        })
    }
}

/// The outcomes of a block.
pub(super) fn read_lines(bytes: &[u8]) -> Result<Vec<OutcomeLine>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let lines = reader.list("outcomes of a block", BLOCK_RECORDS_MAX, 4)?;
    reader.finish()?;
    Ok(lines)
}

/// A batch as [`SignedBatch`] encodes itself.
pub(super) fn batch_bytes(
    header: &BatchHeader,
    signature: Signature,
    records: &[BatchRecord],
) -> Vec<u8> {
    let records_size = header.records_bytes as usize;
    let mut out = Vec::with_capacity(BATCH_HEADER_SIZE + SIGNATURE_SIZE + records_size);
    header.encode(&mut out);
    signature.encode(&mut out);
    encode_list(records, &mut out);
    out
}

/// Where each record's bytes begin in the stored batch.
pub(super) fn record_offsets(records: &[BatchRecord]) -> impl Iterator<Item = usize> + '_ {
    let mut end = BATCH_HEADER_SIZE + SIGNATURE_SIZE + 4;
    records.iter().map(move |record| {
        let offset = end + bizra_types::batch::RECORD_OVERHEAD_BYTES;
        end = offset + record.bytes.len();
        offset
    })
}

/// Where the certificates and the blocks of a view stand that are kept; the kind
/// or the id follows.
pub(super) fn kept_prefix(era: Era, view: View) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&era.get().to_be_bytes());
    key[8..].copy_from_slice(&view.get().to_be_bytes());
    key
}

/// Where a block stands that another one became final instead of.
pub(super) fn apart_key(block: &Block) -> Vec<u8> {
    let header = block.header();
    [&kept_prefix(header.era, header.view)[..], block.id().as_bytes()].concat()
}

/// Where a certificate stands on which a vote rests.
pub(super) fn kept_key(certificate: &Certificate) -> Vec<u8> {
    let ((era, view), kind) = match certificate {
        Certificate::Qc(qc) => (qc.rank(), 1),
        Certificate::Tc(tc) => (tc.rank(), 2),
        other => unreachable!("no vote rests on {other:?}"),
    };
    [&kept_prefix(era, view)[..], &[kind]].concat()
}

/// The safety record: its fields in order.
pub(super) fn safety_bytes(safety: &SafetyRecord) -> Vec<u8> {
    let SafetyRecord {
        era,
        current_view,
        last_voted,
        last_timeout,
        last_commit_vote,
        last_proposal,
        last_batch,
        high_qc,
        high_tc,
    } = safety;
    let mut out = Vec::new();
    era.encode(&mut out);
    current_view.encode(&mut out);
    last_voted.encode(&mut out);
    encode_pair(last_timeout.as_ref(), &mut out);
    last_commit_vote.encode(&mut out);
    encode_pair(last_proposal.as_ref(), &mut out);
    encode_pair(last_batch.as_ref(), &mut out);
    high_qc.encode(&mut out);
    high_tc.encode(&mut out);
    out
}

/// Reads [`safety_bytes`].
pub(super) fn read_safety(bytes: &[u8]) -> Result<SafetyRecord, DecodeError> {
    let mut reader = Reader::new(bytes);
    let safety = SafetyRecord {
        era: Decode::decode(&mut reader)?,
        current_view: Decode::decode(&mut reader)?,
        last_voted: Decode::decode(&mut reader)?,
        last_timeout: decode_pair(&mut reader)?,
        last_commit_vote: Decode::decode(&mut reader)?,
        last_proposal: decode_pair(&mut reader)?,
        last_batch: decode_pair(&mut reader)?,
        high_qc: Qc::decode(&mut reader)?,
        high_tc: Option::<Tc>::decode(&mut reader)?,
    };
    reader.finish()?;
    Ok(safety)
}

/// The root: its fields in order, maps as lists ascending by key.
pub(super) fn root_bytes(root: &Root) -> Vec<u8> {
    let Root { header, exec, lane_heads, epoch, cert, versions, parameters, opening } = root;
    let mut out = Vec::new();
    header.encode(&mut out);
    exec.encode(&mut out);
    let heads: Vec<BatchRef> = lane_heads
        .iter()
        .map(|(author, (lane_seq, digest))| BatchRef {
            author: *author,
            lane_seq: *lane_seq,
            digest: *digest,
        })
        .collect();
    encode_list(&heads, &mut out);
    let EpochState { epoch, seed, next_seed, reveals } = epoch;
    epoch.encode(&mut out);
    seed.encode(&mut out);
    next_seed.encode(&mut out);
    let reveals: Vec<RevealEntry> = reveals
        .iter()
        .map(|(validator, output)| RevealEntry { validator: *validator, output: *output })
        .collect();
    encode_list(&reveals, &mut out);
    cert.encode(&mut out);
    versions.current.encode(&mut out);
    encode_pair(versions.next.map(|next| (next.height, next.version)).as_ref(), &mut out);
    for (_, value) in parameters.iter() {
        value.encode(&mut out);
    }
    match opening {
        None => out.push(0),
        Some(Opening { committee, filler }) => {
            out.push(1);
            committee.encode(&mut out);
            filler.encode(&mut out);
        }
    }
    out
}

/// Reads [`root_bytes`].
pub(super) fn read_root(bytes: &[u8]) -> Result<Root, DecodeError> {
    let mut reader = Reader::new(bytes);
    let header = Decode::decode(&mut reader)?;
    let exec = Decode::decode(&mut reader)?;
    let heads = reader.ascending("lane heads", LANES_MAX, 72, |head: &BatchRef| head.author)?;
    let lane_heads: BTreeMap<_, _> =
        heads.iter().map(|head| (head.author, (head.lane_seq, head.digest))).collect();
    let epoch = Decode::decode(&mut reader)?;
    let seed = Decode::decode(&mut reader)?;
    let next_seed = Decode::decode(&mut reader)?;
    let key = |reveal: &RevealEntry| reveal.validator;
    let reveals = reader.ascending("reveals of an epoch", COMMITTEE_SIZE_MAX, 34, key)?;
    let reveals = reveals.iter().map(|reveal| (reveal.validator, reveal.output)).collect();
    let cert = Option::<CommitCert>::decode(&mut reader)?;
    let current = Decode::decode(&mut reader)?;
    let next = decode_pair(&mut reader)?;
    let versions =
        Versions { current, next: next.map(|(height, version)| Activation { height, version }) };
    let mut parameters = Parameters::default();
    for (name, range) in Parameters::RANGES {
        let value = Decode::decode(&mut reader)?;
        if !range.contains(&value) {
            return Err(DecodeError::Invalid { what: name, value });
        }
        parameters.set(name, value);
    }
    let opening = match u8::decode(&mut reader)? {
        0 => None,
        1 => Some(Opening {
            committee: Arc::new(Decode::decode(&mut reader)?),
            filler: Decode::decode(&mut reader)?,
        }),
        tag => return Err(DecodeError::Invalid { what: "opening of an era", value: tag.into() }),
    };
    reader.finish()?;
    let epoch = EpochState { epoch, seed, next_seed, reveals };
    Ok(Root { header, exec, lane_heads, epoch, cert, versions, parameters, opening })
}

/// An ended era: its number, who took over, and what ended it.
pub(super) fn closed_bytes(closed: &ClosedEra) -> Vec<u8> {
    let ClosedEra { era, next, certificate } = closed;
    let mut out = Vec::new();
    era.encode(&mut out);
    next.encode(&mut out);
    certificate.encode(&mut out);
    out
}

/// Reads [`closed_bytes`].
pub(super) fn read_closed(bytes: &[u8]) -> Result<ClosedEra, DecodeError> {
    let mut reader = Reader::new(bytes);
    let closed = ClosedEra {
        era: Decode::decode(&mut reader)?,
        next: Arc::new(Decode::decode(&mut reader)?),
        certificate: Decode::decode(&mut reader)?,
    };
    reader.finish()?;
    Ok(closed)
}

/// The ledger's head: its fields in order.
pub(super) fn ledger_bytes(head: &Head) -> Vec<u8> {
    let Head { height, exec, log_size, plain, state } = head;
    let mut out = Vec::new();
    height.encode(&mut out);
    exec.encode(&mut out);
    log_size.encode(&mut out);
    plain.encode(&mut out);
    state.encode(&mut out);
    out
}

/// Reads [`ledger_bytes`].
pub(super) fn read_ledger(bytes: &[u8]) -> Result<Head, DecodeError> {
    let mut reader = Reader::new(bytes);
    let head = Head {
        height: Decode::decode(&mut reader)?,
        exec: Decode::decode(&mut reader)?,
        log_size: Decode::decode(&mut reader)?,
        plain: Decode::decode(&mut reader)?,
        state: Decode::decode(&mut reader)?,
    };
    reader.finish()?;
    Ok(head)
}

/// Evidence: a tag, then both messages whole.
pub(super) fn evidence_bytes(evidence: &Evidence) -> Vec<u8> {
    fn both(tag: u8, first: &impl Encode, second: &impl Encode) -> Vec<u8> {
        let mut out = vec![tag];
        first.encode(&mut out);
        second.encode(&mut out);
        out
    }
    match evidence {
        Evidence::Votes(first, second) => both(1, first, second),
        Evidence::CommitVotes(first, second) => both(2, first, second),
        Evidence::Timeouts(first, second) => both(3, first, second),
        Evidence::Proposals(first, second) => both(4, first, second),
        Evidence::Batches(first, second) => both(5, first.as_ref(), second.as_ref()),
        Evidence::HiddenQc(vote, timeout) => both(6, vote, timeout),
        Evidence::OtherExec(vote, cert) => both(7, vote, cert),
    }
}

/// What evidence has in common that is of one kind and era and against one
/// validator: the tag of [`evidence_bytes`], the era, and the place in its
/// committee, for batches the key.
pub(super) fn offence_key(evidence: &Evidence) -> Vec<u8> {
    let of_place = |tag: u8, era: Era, place: ValidatorIndex| {
        [&[tag][..], &era.get().to_be_bytes(), &place.get().to_be_bytes()].concat()
    };
    match evidence {
        Evidence::Votes(vote, _) => of_place(1, vote.vote.era, vote.signer),
        Evidence::CommitVotes(vote, _) => of_place(2, vote.vote.era, vote.signer),
        Evidence::Timeouts(timeout, _) => of_place(3, timeout.timeout.era, timeout.signer),
        Evidence::Proposals(proposal, _) => {
            let header = proposal.block.header();
            of_place(4, header.era, header.proposer)
        }
        Evidence::Batches(batch, _) => {
            let header = batch.header();
            [&[5][..], &header.era.get().to_be_bytes(), &header.author.0].concat()
        }
        Evidence::HiddenQc(vote, _) => of_place(6, vote.vote.era, vote.signer),
        Evidence::OtherExec(vote, _) => of_place(7, vote.vote.era, vote.signer),
    }
}

/// What invalid batches of one author and era have in common: as [`offence_key`], with a tag that no
/// [`Evidence`] has.
pub(super) fn invalid_batches_key(header: &BatchHeader) -> Vec<u8> {
    [&[INVALID_BATCH][..], &header.era.get().to_be_bytes(), &header.author.0].concat()
}

/// Reads [`evidence_bytes`].
pub(super) fn read_evidence(bytes: &[u8]) -> Result<Evidence, DecodeError> {
    let mut reader = Reader::new(bytes);
    let reader_ref = &mut reader;
    let evidence = match u8::decode(reader_ref)? {
        1 => Evidence::Votes(Decode::decode(reader_ref)?, Decode::decode(reader_ref)?),
        2 => Evidence::CommitVotes(Decode::decode(reader_ref)?, Decode::decode(reader_ref)?),
        3 => Evidence::Timeouts(Decode::decode(reader_ref)?, Decode::decode(reader_ref)?),
        4 => Evidence::Proposals(Decode::decode(reader_ref)?, Decode::decode(reader_ref)?),
        5 => Evidence::Batches(
            SignedBatch::decode(reader_ref)?.into(),
            SignedBatch::decode(reader_ref)?.into(),
        ),
        6 => Evidence::HiddenQc(Decode::decode(reader_ref)?, Decode::decode(reader_ref)?),
        7 => Evidence::OtherExec(Decode::decode(reader_ref)?, Decode::decode(reader_ref)?),
        tag => return Err(DecodeError::Invalid { what: "evidence tag", value: tag.into() }),
    };
    reader.finish()?;
    Ok(evidence)
}

struct RevealEntry {
    validator: ValidatorIndex,
    output: [u8; 32],
}

encode_fields!(RevealEntry { validator, output });

fn encode_pair<A: Encode, B: Encode>(pair: Option<&(A, B)>, out: &mut Vec<u8>) {
    match pair {
        None => out.push(0),
        Some((first, second)) => {
            out.push(1);
            first.encode(out);
            second.encode(out);
        }
    }
}

fn decode_pair<A: Decode, B: Decode>(
    reader: &mut Reader<'_>,
) -> Result<Option<(A, B)>, DecodeError> {
    match u8::decode(reader)? {
        0 => Ok(None),
        1 => Ok(Some((A::decode(reader)?, B::decode(reader)?))),
        tag => Err(DecodeError::Invalid { what: "option tag", value: tag.into() }),
    }
}
