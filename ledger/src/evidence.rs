//! Evidence: what a validator signed and must not have signed, or promised and did not keep.
//!
//! Anybody files it, as `evidence/file`, and whoever executes the record checks it: signatures by
//! the key of the accused, and a contradiction that stands in what was signed.
//!
//! | `kind` | its other members | proves |
//! |---|---|---|
//! | `proposals`, `votes`, `commit_votes` | `first`, `second` | two blocks, or results, in one view |
//! | `timeouts` | `first`, `second` | two accounts of the highest QC in one view |
//! | `batches` | `first`, `second` | two batches at one place of a lane |
//! | `hidden_qc` | `first`, `second` | a commit vote, and a timeout that hides the QC it rests on |
//! | `invalid_record` | `batch`, `records` | a batch with a record that no honest validator takes |
//! | `ticket` | `ticket` | a record that was promised an outcome and has none |
//! | `other_exec` | `first`, `certificate` | a commit vote for a final block with another `exec` |
//!
//! `first`, `second`, `batch` and `ticket` are objects of `statement`, the hex of the encoded
//! fields that were signed (`docs/formats.md`), and `signature`. A ticket's statement begins with
//! the era. `records` is the hex of the batch's encoded records; a batch that is larger than an
//! envelope has no place here. `certificate` is the hex of the encoded `CommitCert` of the block,
//! by validators of the committee that orders the record that files it: the state does not hold
//! the committees before, so a lie of another era must be filed before its committee changes.
//!
//! What is proven is an *offence*, and each is punished once, however often and with whatever
//! messages it is shown. A contradiction or an invalid record is a lie
//! ([`Reputation::after_equivocation`](crate::reputation::Reputation::after_equivocation)). A
//! broken promise costs less and silences nobody
//! ([`Reputation::after_broken_promise`](crate::reputation::Reputation::after_broken_promise)): a
//! sender whose room is used up elsewhere can bring it about.
//!
//! The accused must be a validator, or have been one under this key. No policy forbids evidence:
//! those whom it concerns could outlaw it.

use crate::codes::{Code, Rejection};
use crate::gates::check_records;
use bizra_types::batch::{
    BATCH_BYTES_MAX, BatchHeader, BatchRecord, RECORD_BYTES_MAX, RECORD_OVERHEAD_BYTES,
    SignedBatch, Ticket,
};
use bizra_types::block::proposal_bytes;
use bizra_types::certificate::CommitCert;
use bizra_types::committee::Committee;
use bizra_types::crypto::{PublicKey, Signature, SignatureCheck, SignatureMemo};
use bizra_types::encode_fields;
use bizra_types::encoding::{Decode, DecodeError, Encode, Reader, encode_list};
use bizra_types::hash::{ChainId, Context, RecordDigest, hex, unhex};
use bizra_types::json::{Member, Members, Object, SchemaError, Value, canonical};
use bizra_types::message::{CommitVote, Timeout, Vote};
use bizra_types::numbers::{Era, Height, TimestampMs};
use bizra_types::verify::quorum_signatures;

/// Bytes of an envelope that are left to whatever is not `payload.data`.
const ENVELOPE_REST_BYTES: usize = 2_048;

/// What a piece of evidence shows; the numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Two proposals in one view.
    Proposals = 1,
    /// Two votes in one view.
    Votes = 2,
    /// Two commit votes in one view.
    CommitVotes = 3,
    /// Two timeouts of one view with different high QCs.
    Timeouts = 4,
    /// Two batches at one place of a lane.
    Batches = 5,
    /// A commit vote, and a timeout that hides its QC.
    HiddenQc = 6,
    /// A batch with a record that no honest validator takes.
    InvalidRecord = 7,
    /// A promise that was not kept.
    Ticket = 8,
    /// A commit vote for a final block with another `exec`.
    OtherExec = 9,
}

impl Kind {
    /// Every kind with its name.
    pub const NAMES: &[(&'static str, Self)] = &[
        ("proposals", Self::Proposals),
        ("votes", Self::Votes),
        ("commit_votes", Self::CommitVotes),
        ("timeouts", Self::Timeouts),
        ("batches", Self::Batches),
        ("hidden_qc", Self::HiddenQc),
        ("invalid_record", Self::InvalidRecord),
        ("ticket", Self::Ticket),
        ("other_exec", Self::OtherExec),
    ];
}

/// What a validator signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    /// A proposal, of which era, view and block are signed.
    Proposal(Vote),
    /// A vote.
    Vote(Vote),
    /// A commit vote.
    CommitVote(CommitVote),
    /// A timeout.
    Timeout(Timeout),
    /// The header of a batch.
    Batch(BatchHeader),
    /// A ticket, and the era of its signer.
    Ticket(Era, Ticket),
}

/// A statement with the signature of the accused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What was signed.
    pub statement: Statement,
    /// Over [`Statement::signed_bytes`].
    pub signature: Signature,
}

/// `payload.data` of `evidence/file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceFile {
    /// The consensus key of whom it accuses.
    pub accused: PublicKey,
    /// What it shows.
    pub kind: Kind,
    /// `first`, `batch` or `ticket`.
    pub first: Signed,
    /// `second`, where two statements exclude each other.
    pub second: Option<Signed>,
    /// `records`, else none.
    pub records: Vec<BatchRecord>,
    /// `certificate`, of the block that `first` is about.
    pub certificate: Option<CommitCert>,
}

/// Value of [`Family::Evidence`](crate::plain::Family::Evidence), by the offence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiledEvidence {
    /// The record that proved it.
    pub record: RecordDigest,
    /// The block that executed it.
    pub height: Height,
}

impl Statement {
    /// The bytes that its signer signs.
    #[must_use]
    pub fn signed_bytes(&self, chain_id: &ChainId) -> Vec<u8> {
        match self {
            Self::Proposal(Vote { era, view, block }) => {
                proposal_bytes(chain_id, *era, *view, *block)
            }
            Self::Vote(vote) => vote.signed_bytes(chain_id),
            Self::CommitVote(vote) => vote.signed_bytes(chain_id),
            Self::Timeout(timeout) => timeout.signed_bytes(chain_id),
            Self::Batch(header) => header.signed_bytes(chain_id),
            Self::Ticket(era, ticket) => ticket.signed_bytes(chain_id, *era),
        }
    }

    /// What of it an honest validator says once, encoded.
    fn place(&self) -> Vec<u8> {
        match self {
            Self::Proposal(Vote { era, view, .. })
            | Self::Vote(Vote { era, view, .. })
            | Self::CommitVote(CommitVote { era, view, .. })
            | Self::Timeout(Timeout { era, view, .. }) => {
                [era.to_bytes(), view.to_bytes()].concat()
            }
            Self::Batch(header) => header.lane_seq.to_bytes(),
            Self::Ticket(_, ticket) => ticket.digest.to_bytes(),
        }
    }

    /// The statements of a kind, the first and the second.
    fn decode(kind: Kind, is_first: bool, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            Kind::Proposals => Self::Proposal(Decode::decode(reader)?),
            Kind::Votes => Self::Vote(Decode::decode(reader)?),
            Kind::CommitVotes | Kind::OtherExec => Self::CommitVote(Decode::decode(reader)?),
            Kind::Timeouts => Self::Timeout(Decode::decode(reader)?),
            Kind::Batches | Kind::InvalidRecord => Self::Batch(Decode::decode(reader)?),
            Kind::HiddenQc if is_first => Self::CommitVote(Decode::decode(reader)?),
            Kind::HiddenQc => Self::Timeout(Decode::decode(reader)?),
            Kind::Ticket => {
                let era = Decode::decode(reader)?;
                Self::Ticket(era, Decode::decode(reader)?)
            }
        })
    }
}

impl Encode for Statement {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Proposal(vote) | Self::Vote(vote) => vote.encode(out),
            Self::CommitVote(vote) => vote.encode(out),
            Self::Timeout(timeout) => timeout.encode(out),
            Self::Batch(header) => header.encode(out),
            Self::Ticket(era, ticket) => {
                era.encode(out);
                ticket.encode(out);
            }
        }
    }
}

impl EvidenceFile {
    /// That the author of a batch signed a record that no honest validator takes.
    #[must_use]
    pub fn of_batch(batch: &SignedBatch) -> Self {
        let header = *batch.header();
        Self {
            accused: header.author,
            kind: Kind::InvalidRecord,
            first: Signed { statement: Statement::Batch(header), signature: batch.signature() },
            second: None,
            records: batch.records().to_vec(),
            certificate: None,
        }
    }

    /// Whether an envelope has room for it, whose agent id and metadata are no longer than they
    /// have to be.
    #[must_use]
    pub fn fits(&self) -> bool {
        canonical(&self.to_data()).len() + ENVELOPE_REST_BYTES <= RECORD_BYTES_MAX
    }

    /// Reads `payload.data`.
    ///
    /// # Errors
    /// When a member is missing, unknown or of another form.
    pub fn read(data: &Member<'_>) -> Result<Self, SchemaError> {
        let mut object = data.object()?;
        let accused = PublicKey(object.take("accused")?.hex()?);
        let kind = object.take("kind")?.one_of(Kind::NAMES)?;
        let first = read_signed(&mut object, kind.first(), kind, true)?;
        let second = match kind {
            Kind::InvalidRecord | Kind::Ticket | Kind::OtherExec => None,
            _ => Some(read_signed(&mut object, "second", kind, false)?),
        };
        let records = match kind {
            Kind::InvalidRecord => {
                let limit = BATCH_BYTES_MAX / RECORD_OVERHEAD_BYTES;
                read_hex(&object.take("records")?, |reader| {
                    reader.list("records of a batch", limit, RECORD_OVERHEAD_BYTES)
                })?
            }
            _ => Vec::new(),
        };
        let certificate = match kind {
            Kind::OtherExec => Some(read_hex(&object.take("certificate")?, Decode::decode)?),
            _ => None,
        };
        object.finish()?;
        Ok(Self { accused, kind, first, second, records, certificate })
    }

    /// `payload.data` that is read as this.
    #[must_use]
    pub fn to_data(&self) -> Value {
        let object = |members: Vec<(&str, Value)>| {
            let members = members.into_iter().map(|(name, value)| (name.to_owned(), value));
            Value::Object(Members::new(members.collect()).expect("the names differ"))
        };
        let text = |text: &str| Value::from(text);
        let signed = |signed: &Signed| {
            object(vec![
                ("statement", text(&hex(&signed.statement.to_bytes()))),
                ("signature", text(&signed.signature.to_string())),
            ])
        };
        let mut members = vec![
            ("accused", text(&self.accused.to_string())),
            ("kind", text(self.kind.name())),
            (self.kind.first(), signed(&self.first)),
        ];
        members.extend(self.second.as_ref().map(|second| ("second", signed(second))));
        if self.kind == Kind::InvalidRecord {
            let mut bytes = Vec::new();
            encode_list(&self.records, &mut bytes);
            members.push(("records", text(&hex(&bytes))));
        }
        let certificate = self.certificate.as_ref();
        members.extend(certificate.map(|it| ("certificate", text(&hex(&it.to_bytes())))));
        object(members)
    }

    /// What can be said without the state: that the accused signed what is shown, and that no
    /// honest validator does.
    ///
    /// # Errors
    /// [`Code::Evidence`].
    pub fn check(&self, chain_id: &ChainId) -> Result<(), Rejection> {
        self.check_signed(self.kind.first(), &self.first, chain_id)?;
        if let Some(second) = &self.second {
            self.check_signed("second", second, chain_id)?;
            return self.check_contradiction(&self.first.statement, &second.statement);
        }
        match (&self.first.statement, &self.certificate) {
            (Statement::Batch(header), _) => self.check_batch(header, chain_id),
            (Statement::CommitVote(vote), Some(certificate)) => check_exec(vote, &certificate.vote),
            _ => Ok(()),
        }
    }

    /// That the block which it shows as final is: that a quorum of these validators has signed its
    /// certificate.
    ///
    /// # Errors
    /// [`Code::Evidence`].
    pub fn check_final(&self, chain_id: &ChainId, committee: &Committee) -> Result<(), Rejection> {
        let Some(CommitCert { vote, signers, signatures }) = &self.certificate else {
            return Ok(());
        };
        let message = vote.signed_bytes(chain_id);
        let messages = core::iter::repeat(message.as_slice());
        // Forgetful: nobody shows it twice, and what execution says must not hang on what was seen.
        let mut memo = SignatureMemo::new(0);
        quorum_signatures(&mut memo, committee, signers, signatures, messages).map_err(|fault| {
            let detail = format!(
                "must be of a quorum of the validators who order this record, on this chain, but: \
                 {fault}"
            );
            refused("payload.data.certificate", detail)
        })
    }

    /// What is proven, as the key of its entry: the accused, the kind, and what an honest validator
    /// says once.
    #[must_use]
    pub fn offence(&self) -> Vec<u8> {
        [&self.accused.0[..], &[self.kind as u8], &self.first.statement.place()].concat()
    }

    /// The promise that it says was not kept.
    #[must_use]
    pub const fn promise(&self) -> Option<&Ticket> {
        match &self.first.statement {
            Statement::Ticket(_, ticket) => Some(ticket),
            _ => None,
        }
    }

    fn check_signed(
        &self,
        member: &str,
        signed: &Signed,
        chain_id: &ChainId,
    ) -> Result<(), Rejection> {
        let message = signed.statement.signed_bytes(chain_id);
        let check =
            SignatureCheck { key: self.accused, message: &message, signature: signed.signature };
        if check.is_good() {
            return Ok(());
        }
        let detail = "must be that of the accused over the statement, on this chain";
        Err(refused(format!("payload.data.{member}.signature"), detail))
    }

    fn check_contradiction(&self, first: &Statement, second: &Statement) -> Result<(), Rejection> {
        let excludes = match (first, second) {
            (Statement::CommitVote(vote), Statement::Timeout(timeout)) => {
                vote.era == timeout.era
                    && vote.view <= timeout.view
                    && timeout.high_qc_view < vote.view
            }
            (Statement::Batch(one), Statement::Batch(other)) => {
                one.author == self.accused
                    && other.author == self.accused
                    && one.lane_seq == other.lane_seq
                    && one != other
            }
            _ => first.place() == second.place() && first != second,
        };
        if excludes {
            return Ok(());
        }
        let detail = "must exclude `first`, but an honest validator may sign both";
        Err(refused("payload.data.second", detail))
    }

    fn check_batch(&self, header: &BatchHeader, chain_id: &ChainId) -> Result<(), Rejection> {
        let mut bytes = Vec::new();
        encode_list(&self.records, &mut bytes);
        let is_whole = header.records_hash == Context::List.hash(&[&bytes]);
        if header.author != self.accused || !is_whole {
            let detail = "must be those of the batch, and the batch one of the accused";
            return Err(refused("payload.data.records", detail));
        }
        let records: Vec<_> =
            self.records.iter().map(|it| (it.admitted_at_ms, &it.bytes[..])).collect();
        if check_records(&records, chain_id).iter().all(|it| it.envelope().is_some()) {
            let detail = "must hold one that no honest validator takes, but each is good";
            return Err(refused("payload.data.records", detail));
        }
        Ok(())
    }
}

impl Kind {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, kind)| *kind == self);
        named.expect("every kind has a name").0
    }

    /// The member with the first statement.
    const fn first(self) -> &'static str {
        match self {
            Self::InvalidRecord => "batch",
            Self::Ticket => "ticket",
            _ => "first",
        }
    }
}

/// Whether a commit vote gives a final block another `exec`, given what the others signed.
fn check_exec(vote: &CommitVote, others: &CommitVote) -> Result<(), Rejection> {
    if vote.exec != others.exec && *others == (CommitVote { exec: others.exec, ..*vote }) {
        return Ok(());
    }
    let detail = "must be of the block and view of `first`, with another `exec`";
    Err(refused("payload.data.certificate", detail))
}

/// Whether a promise was broken: its time is over, and the record has no outcome.
///
/// # Errors
/// [`Code::Evidence`].
pub fn check_broken(
    promise: &Ticket,
    has_outcome: bool,
    now: TimestampMs,
) -> Result<(), Rejection> {
    if now <= promise.deadline_ms {
        let detail = format!(
            "must be a promise whose time is over, but it ends at {} and chain time is {now}",
            promise.deadline_ms
        );
        return Err(refused("payload.data.ticket", detail));
    }
    if has_outcome {
        let detail = "must be a promise that was not kept, but the record has an outcome";
        return Err(refused("payload.data.ticket", detail));
    }
    Ok(())
}

/// The refusal of evidence against somebody who was never a validator.
pub(crate) fn not_a_validator() -> Rejection {
    refused("payload.data.accused", "must be the key of a validator, but is of none")
}

/// The refusal of an offence that was proven before.
pub(crate) fn filed_before(filed: &FiledEvidence) -> Rejection {
    let detail = format!(
        "must prove what was not proven before, but record {} did at height {}",
        filed.record, filed.height
    );
    Rejection::new(Code::State, "payload.data", detail)
}

fn refused(member: impl Into<String>, detail: impl Into<String>) -> Rejection {
    Rejection::new(Code::Evidence, member, detail)
}

fn read_signed<'a>(
    object: &mut Object<'a>,
    name: &'a str,
    kind: Kind,
    is_first: bool,
) -> Result<Signed, SchemaError> {
    let mut signed = object.take(name)?.object()?;
    let statement =
        read_hex(&signed.take("statement")?, |reader| Statement::decode(kind, is_first, reader))?;
    let signature = Signature(signed.take("signature")?.hex()?);
    signed.finish()?;
    Ok(Signed { statement, signature })
}

/// Reads the hex of something encoded, to its end.
fn read_hex<T>(
    member: &Member<'_>,
    decode: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<T, SchemaError> {
    let bytes = unhex(member.string()?).ok_or_else(|| member.error("must be lower-case hex"))?;
    let mut reader = Reader::new(&bytes);
    let read = decode(&mut reader).and_then(|value| reader.finish().map(|()| value));
    read.map_err(|error| member.error(format!("must be what its kind encodes, but {error}")))
}

encode_fields!(FiledEvidence { record, height });
