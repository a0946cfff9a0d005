//! Judges an export anew, with nothing but the genesis file.
//!
//! Every certificate is verified against the committee of its era, which the
//! blocks before it have decided on; every batch is verified, and must be the
//! one that its block cites; every record is executed by what executes it in a
//! node, on a ledger in memory; and everything that the export says of the
//! result is compared with it. The first difference ends it.
//!
//! That it was a proposer's turn, and that reveals are good, is vouched for by
//! the quorum that signed the block.

use super::export::{
    End, ExportError, ExportedBatch, ExportedBlock, ExportedOutcome, Frame, Frames, Place,
};
use crate::executor::{Verdicts, run_block};
use bizra_consensus::Versions;
use bizra_ledger::execution::{Overlay, Parent, genesis_exec};
use bizra_ledger::memory::MemoryLedger;
use bizra_ledger::outcomes::{self, Outcome, OutcomeFlags};
use bizra_ledger::policy::Policies;
use bizra_types::batch::SignedBatch;
use bizra_types::block::{Citation, Header};
use bizra_types::certificate::Certificate;
use bizra_types::committee::Committee;
use bizra_types::crypto::{PublicKey, SignatureMemo};
use bizra_types::execution::ExecFields;
use bizra_types::genesis::Genesis;
use bizra_types::hash::{BatchDigest, BlockId, ChainId, ExecHash, RecordDigest};
use bizra_types::numbers::{Era, Height, LaneSeq};
use bizra_types::verify::{EraContext, Fault, Verifier};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::sync::Arc;

/// Good signatures that are remembered: certificates of a block repeat in its child.
const SIGNATURES_MAX: usize = 8_192;

/// How far a replay is, and in the end what was found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The chain.
    pub chain_id: ChainId,
    /// Height of the last block that was executed.
    pub height: Height,
    /// That block.
    pub block: BlockId,
    /// Its exec.
    pub exec: ExecHash,
    /// Its era.
    pub era: Era,
    /// Records that were executed, whatever became of them.
    pub records: u64,
    /// Records in the log.
    pub log_size: u64,
    /// Commit certificates that were verified.
    pub certificates: u64,
    /// Bytes of the export that were read.
    pub bytes: u64,
}

/// Why an export is not what it should be, and where.
#[derive(Debug)]
pub struct Refusal {
    /// The frame.
    pub place: Place,
    /// The block that is being read, else the last one that was.
    pub height: Height,
    /// Its identity.
    pub block: BlockId,
    /// What is wrong.
    pub finding: Finding,
}

/// What is wrong with an export.
#[derive(Debug, thiserror::Error)]
pub enum Finding {
    /// It is no export, or a damaged one.
    #[error("{0}")]
    Form(#[from] ExportError),
    /// A signature or a form that nobody honest would have let pass.
    #[error("does not verify: {0}")]
    Fault(#[from] Fault),
    /// Something stands where something else should.
    #[error("{what} is {found}, where {expected} is expected")]
    Other {
        /// What of it.
        what: &'static str,
        /// What the export has.
        found: String,
        /// What it should have.
        expected: String,
    },
    /// A block breaks this rule.
    #[error("{0}")]
    Rule(&'static str),
    /// Executing the block comes to something else.
    #[error("{0}")]
    Difference(Box<Difference>),
}

/// What executing a block came to, other than the export says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The first field of exec that differs.
    pub field: &'static str,
    /// Its value in the export.
    pub found: String,
    /// Its value after execution.
    pub expected: String,
    /// The first record that was judged otherwise, if one was.
    pub record: Option<RecordDifference>,
}

/// A record that was judged otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordDifference {
    /// Its place in the block, from 0.
    pub at: usize,
    /// Its digest, if its bytes are those of a record.
    pub digest: Option<RecordDigest>,
    /// Its outcome in the export.
    pub found: ExportedOutcome,
    /// Its outcome after execution.
    pub expected: ExportedOutcome,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, height, block, finding } = self;
        write!(f, "{place}, block {height} ({block}): {finding}")
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, found, expected, record } = self;
        write!(f, "`exec.{field}` is {found}, but executing the block gives {expected}")?;
        let Some(RecordDifference { at, digest, found, expected }) = record else { return Ok(()) };
        let digest = digest.map_or_else(|| "of no digest".to_owned(), |it| it.to_string());
        write!(
            f,
            "; record {at} of the block ({digest}) has the outcome {} there, and {} here",
            told(*found),
            told(*expected)
        )
    }
}

fn told(ExportedOutcome { code, flags }: ExportedOutcome) -> String {
    format!("{} ({}), flags {flags}", code.number(), code.name())
}

/// Replays an export. `progress` is called after every block.
///
/// # Errors
/// The first thing in it that is not as the genesis file and the blocks before
/// it demand.
pub fn replay(
    source: impl Read,
    genesis: &Genesis,
    mut progress: impl FnMut(&Replayed),
) -> Result<Replayed, Refusal> {
    let mut replay = Replay::new(genesis);
    let refused = |place, replay: &Replay<'_>, finding| Refusal {
        place,
        height: replay.at().0,
        block: replay.at().1,
        finding,
    };
    let (mut frames, chain_id) = Frames::open(source)
        .map_err(|error| refused(Place::default(), &replay, Finding::Form(error)))?;
    if chain_id != genesis.chain_id() {
        let finding = other("the chain", &chain_id, &genesis.chain_id());
        return Err(refused(Place::default(), &replay, finding));
    }
    loop {
        let frame = frames.next_frame();
        let place = frames.place();
        let taken = match frame {
            Ok(Some(frame)) => replay.take(frame),
            Ok(None) => Err(ExportError::NoEnd.into()),
            Err(error) => Err(error.into()),
        };
        let state = taken.map_err(|finding| refused(place, &replay, finding))?;
        replay.so_far.bytes = frames.read();
        match state {
            State::Open => {}
            State::Executed => progress(&replay.so_far),
            State::Ended => break,
        }
    }
    let after = match frames.next_frame() {
        Ok(None) => return Ok(replay.so_far),
        Ok(Some(frame)) => other("what follows the end", &frame.name(), &"nothing"),
        Err(error) => error.into(),
    };
    Err(refused(frames.place(), &replay, after))
}

fn other(what: &'static str, found: &dyn fmt::Display, expected: &dyn fmt::Display) -> Finding {
    Finding::Other { what, found: found.to_string(), expected: expected.to_string() }
}

fn same<T: PartialEq + fmt::Display>(
    what: &'static str,
    found: T,
    expected: T,
) -> Result<(), Finding> {
    if found == expected { Ok(()) } else { Err(other(what, &found, &expected)) }
}

fn unexpected(frame: &'static str, expected: &'static str) -> Finding {
    other("the frame", &frame, &expected)
}

/// What a frame led to.
enum State {
    /// More of the same block, or of what makes it final, may follow.
    Open,
    /// A block was executed.
    Executed,
    /// The export is complete.
    Ended,
}

struct Replay<'a> {
    genesis: &'a Genesis,
    verifier: Verifier,
    verdicts: Verdicts,
    policies: Policies,
    ledger: MemoryLedger,
    versions: Versions,
    lane_heads: BTreeMap<PublicKey, LaneHead>,
    /// The last block that was executed.
    last: Header,
    /// Whether a certificate has made it final.
    is_final: bool,
    /// Who takes over, if it ends its era and is not final yet.
    next_committee: Option<Arc<Committee>>,
    /// The block whose batches are being read.
    open: Option<OpenBlock>,
    so_far: Replayed,
}

type LaneHead = (LaneSeq, BatchDigest);

/// A block some of whose batches have not been read yet.
struct OpenBlock {
    exported: Box<ExportedBlock>,
    batches: Vec<Arc<SignedBatch>>,
    outcomes: Vec<ExportedOutcome>,
    /// Bytes of the records of those batches.
    bytes: u64,
    /// Citations that have been followed to their end.
    done: usize,
}

impl OpenBlock {
    fn citation(&self) -> Option<&Citation> {
        self.exported.block.citations().get(self.done)
    }
}

impl<'a> Replay<'a> {
    fn new(genesis: &'a Genesis) -> Self {
        let chain_id = genesis.chain_id();
        let last = genesis.header();
        Self {
            genesis,
            verifier: Verifier::new(genesis.chain(), SignatureMemo::new(SIGNATURES_MAX)),
            // Nothing is judged twice here, so nothing needs to be remembered.
            // Who lied is for the nodes to say.
            verdicts: Verdicts::new(chain_id, 0, |_| ()),
            policies: Policies::new(genesis.policies.iter().map(|policy| &*policy.rego)),
            ledger: MemoryLedger::genesis(),
            versions: Versions::of(genesis.protocol_version),
            lane_heads: BTreeMap::new(),
            last,
            is_final: true,
            next_committee: None,
            open: None,
            so_far: Replayed {
                chain_id,
                height: last.height,
                block: last.id(),
                exec: genesis_exec(),
                era: last.era,
                records: 0,
                log_size: 0,
                certificates: 0,
                bytes: 0,
            },
        }
    }

    /// The block that is being read, else the last one.
    fn at(&self) -> (Height, BlockId) {
        match &self.open {
            Some(open) => (open.exported.block.header().height, open.exported.block.id()),
            None => (self.so_far.height, self.so_far.block),
        }
    }

    fn take(&mut self, frame: Frame) -> Result<State, Finding> {
        let name = frame.name();
        match (frame, self.open.take()) {
            (Frame::Block(exported), None) => {
                self.check_block(&exported)?;
                let (batches, outcomes) = (Vec::new(), Vec::new());
                self.go_on(OpenBlock { exported, batches, outcomes, bytes: 0, done: 0 })
            }
            (Frame::Batch(exported), Some(mut open)) => {
                let added = self.add_batch(&mut open, exported);
                match added {
                    Ok(()) => self.go_on(open),
                    Err(finding) => {
                        self.open = Some(open);
                        Err(finding)
                    }
                }
            }
            (Frame::Certificate(certificate), None) => {
                self.finalise(certificate)?;
                Ok(State::Open)
            }
            (Frame::End(end), None) => {
                self.end(end)?;
                Ok(State::Ended)
            }
            (_, Some(open)) => {
                self.open = Some(open);
                Err(unexpected(name, "a batch that the block cites"))
            }
            (Frame::Batch(_), None) => Err(unexpected(name, "a block, a certificate or the end")),
        }
    }

    /// What of a block does not depend on its batches.
    fn check_block(&mut self, exported: &ExportedBlock) -> Result<(), Finding> {
        if self.next_committee.is_some() {
            return Err(unexpected("a block", "the certificate that ends the era"));
        }
        let block = &exported.block;
        let (header, last) = (block.header(), &self.last);
        same("the height of the block", header.height, last.height.next())?;
        same("the parent of the block", header.parent, last.id())?;
        same("the era of the block", header.era, self.verifier.chain().newest())?;
        let version = self.versions.at(header.height);
        same("the protocol version of the block", header.protocol_version, version)?;
        if header.timestamp_ms <= last.timestamp_ms {
            return Err(Finding::Rule("the time of the block is not after its parent's"));
        }
        if block.is_filler() {
            return Err(Finding::Rule("the block is a filler, and no part of the chain"));
        }
        let heads = &self.lane_heads;
        let goes_back = |it: &Citation| it.up_to_seq <= lane_head(heads, &it.author).0;
        if block.citations().iter().any(goes_back) {
            return Err(Finding::Rule("the block cites what was cited before"));
        }
        self.verifier.block(block.clone())?;
        Ok(())
    }

    /// Executes the block if all its batches are there.
    fn go_on(&mut self, open: OpenBlock) -> Result<State, Finding> {
        if open.citation().is_some() {
            self.open = Some(open);
            return Ok(State::Open);
        }
        let executed = self.execute(&open);
        if executed.is_err() {
            self.open = Some(open);
        }
        executed.map(|()| State::Executed)
    }

    /// Takes in the batch that must come next.
    fn add_batch(&mut self, open: &mut OpenBlock, exported: ExportedBatch) -> Result<(), Finding> {
        let ExportedBatch { batch, outcomes } = exported;
        let header = *batch.header();
        let citation = *open.citation().expect("an open block waits for a batch");
        let (last, digest) = lane_head(&self.lane_heads, &citation.author);
        same("the author of the batch", header.author, citation.author)?;
        same("the place of the batch in its lane", header.lane_seq, last.next())?;
        same("the batch before this one in its lane", header.previous, digest)?;
        open.bytes = open.bytes.saturating_add(header.records_bytes.into());
        if open.bytes > self.genesis.parameters.block_bytes_max {
            return Err(Finding::Rule("the block cites more bytes than a block may"));
        }
        if header.newest_ms > open.exported.block.header().timestamp_ms {
            return Err(Finding::Rule("the block cites a record admitted after its own time"));
        }
        let digest = header.digest(&self.so_far.chain_id);
        if header.lane_seq == citation.up_to_seq {
            same("the batch", digest, citation.digest)?;
            open.done += 1;
        }
        let batch = self.verifier.batch(batch)?.into_inner();
        self.lane_heads.insert(header.author, (header.lane_seq, digest));
        open.batches.push(Arc::new(batch));
        open.outcomes.extend(outcomes);
        Ok(())
    }

    fn execute(&mut self, open: &OpenBlock) -> Result<(), Finding> {
        let ExportedBlock { block, exec } = &*open.exported;
        let verdicts: Vec<_> =
            open.batches.iter().map(|batch| self.verdicts.check_batch(batch)).collect();
        let header = block.header();
        let committee = Arc::clone(&self.verifier.chain().era(header.era)?.committee);
        let overlay = Parent::new(&self.ledger, Vec::new())
            .and_then(|parent| {
                let policies = &mut self.policies;
                run_block(&parent, block, &open.batches, &verdicts, &committee, policies)
            })
            .expect("a ledger in memory can be read");
        if let Some(difference) = difference(exec, &open.outcomes, &overlay) {
            return Err(Finding::Difference(Box::new(difference)));
        }
        self.ledger.commit(&overlay);
        let decisions = overlay.decisions();
        self.versions = self.versions.after(header.height, decisions);
        self.next_committee = decisions.next_committee.clone();
        self.last = *header;
        self.is_final = false;
        self.so_far = Replayed {
            height: header.height,
            block: block.id(),
            exec: overlay.exec(),
            era: header.era,
            records: self.so_far.records + overlay.outcomes().len() as u64,
            log_size: overlay.fields().log_size,
            ..self.so_far
        };
        Ok(())
    }

    /// A certificate that makes the last block final, and with it all before.
    fn finalise(&mut self, certificate: Certificate) -> Result<(), Finding> {
        if self.is_final {
            return Err(unexpected("a certificate", "a block or the end"));
        }
        let Some((block, cert)) = certificate.made_final() else {
            return Err(Finding::Rule("the certificate makes no block final"));
        };
        same("the block of the certificate", block, self.so_far.block)?;
        same("the exec of the certificate", cert.vote.exec, self.so_far.exec)?;
        match &certificate {
            Certificate::Filler(_, filler) => {
                if self.next_committee.is_none() {
                    return Err(Finding::Rule("a filler closes a block that ends no era"));
                }
                same("the height of the filler", filler.height, self.last.height)?;
                same("the chain of the filler", filler.chain_id, self.so_far.chain_id)?;
            }
            _ => same("the view of the certificate", cert.vote.view, self.last.view)?,
        }
        same("the era of the certificate", certificate.era(), self.last.era)?;
        self.verifier.certificate(certificate)?;
        self.so_far.certificates += 1;
        self.is_final = true;
        if let Some(committee) = self.next_committee.take() {
            let context = EraContext { committee, root: self.so_far.block };
            self.verifier.add_era(self.last.era.next(), context);
        }
        Ok(())
    }

    fn end(&self, end: End) -> Result<(), Finding> {
        if !self.is_final {
            return Err(unexpected("the end", "a certificate of the last block"));
        }
        same("the last height", end.height, self.so_far.height)?;
        same("the last block", end.block, self.so_far.block)
    }
}

fn lane_head(heads: &BTreeMap<PublicKey, LaneHead>, author: &PublicKey) -> LaneHead {
    heads.get(author).copied().unwrap_or_default()
}

/// The first difference between what an export says of a block and what
/// executing it came to.
fn difference(
    exec: &ExecFields,
    listed: &[ExportedOutcome],
    overlay: &Overlay,
) -> Option<Difference> {
    let both = || listed.iter().copied().zip(overlay.outcomes());
    let record = both().enumerate().find_map(|(at, (found, outcome))| {
        let expected = ExportedOutcome { code: outcome.code, flags: outcome.flags.0 };
        let digest = outcome.digest;
        (found != expected).then_some(RecordDifference { at, digest, found, expected })
    });
    let differs = |field, found: &dyn fmt::Display, expected: &dyn fmt::Display| {
        let (found, expected) = (found.to_string(), expected.to_string());
        (found != expected).then_some(Difference { field, found, expected, record })
    };
    let listed_root = || {
        let leaf = |(listed, outcome): (ExportedOutcome, &Outcome)| {
            outcomes::leaf(&outcome.signed_bytes, listed.code, OutcomeFlags(listed.flags))
        };
        outcomes::root(&both().map(leaf).collect::<Vec<_>>())
    };
    let mine = overlay.fields();
    differs("parent", &exec.parent, &mine.parent)
        .or_else(|| differs("log_root", &exec.log_root, &mine.log_root))
        .or_else(|| differs("log_size", &exec.log_size, &mine.log_size))
        .or_else(|| differs("state_root", &exec.state_root, &mine.state_root))
        .or_else(|| differs("plain_digest", &exec.plain_digest, &mine.plain_digest))
        .or_else(|| differs("outcomes_root", &exec.outcomes_root, &mine.outcomes_root))
        .or_else(|| differs("next_committee", &exec.next_committee, &mine.next_committee))
        // The fields agree, and the outcomes listed beside the records are not theirs.
        .or_else(|| {
            record.and_then(|_| differs("outcomes_root", &listed_root(), &mine.outcomes_root))
        })
}

#[cfg(test)]
mod tests;
