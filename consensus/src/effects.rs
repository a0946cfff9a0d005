//! What goes into the engine and what comes out: its whole boundary.

use bizra_types::batch::{BatchHeader, BatchRecord, SignedBatch};
use bizra_types::block::{Block, FinalHeader, Header, Reveal, SignedProposal};
use bizra_types::certificate::{Certificate, CommitCert, Qc, Tc};
use bizra_types::committee::Committee;
use bizra_types::crypto::PublicKey;
pub use bizra_types::execution::{Activation, Decisions};
use bizra_types::genesis::{Genesis, Parameters};
use bizra_types::hash::{BatchDigest, BlockId, ExecHash};
use bizra_types::message::{
    BatchAck, BatchHint, CommitVote, SignedCommitVote, SignedTimeout, SignedVote, Timeout, Vote,
};
use bizra_types::numbers::{
    Era, Height, LaneSeq, ProtocolVersion, TimestampMs, ValidatorIndex, View,
};
use bizra_types::verify::{Chain, EraContext, From, Verified};
use bizra_types::vrf::VrfInput;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::schedule::EpochState;

/// Microseconds of a clock that never goes back, from any start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// A reading of `micros` microseconds.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The reading in microseconds.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// This time plus `micros` microseconds, at most the largest time.
    #[must_use]
    pub const fn plus_micros(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// This time plus `ms` milliseconds, at most the largest time.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        self.plus_micros(ms.saturating_mul(1_000))
    }

    /// Microseconds since `earlier`, 0 if that is later.
    #[must_use]
    pub const fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Both clocks, read at once by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For timers: never goes back.
    pub time: Time,
    /// For timestamps: may jump.
    pub wall: TimestampMs,
}

/// Everything that can happen to a replica.
#[derive(Clone, Debug)]
pub enum Input {
    /// A leader offers a block.
    Proposal(Verified<SignedProposal>),
    /// A validator votes for a block.
    Vote(Verified<SignedVote>),
    /// A validator votes to commit a block.
    CommitVote(Verified<SignedCommitVote>),
    /// A validator leaves a view.
    Timeout(Verified<SignedTimeout>),
    /// A certificate by itself.
    Certificate(Verified<Certificate>),
    /// A validator's VRF output.
    Reveal(Verified<Reveal>),
    /// A batch of anybody's lane.
    Batch(Verified<SignedBatch>),
    /// A peer has a batch on its disk.
    BatchAck(Verified<From<BatchAck>>),
    /// A peer knows of something to propose.
    BatchHint(Verified<From<BatchHint>>),
    /// A record admitted here; only while [`Replica::can_admit`](crate::Replica::can_admit).
    Record(BatchRecord),
    /// An authenticated sign of life, with a round trip in µs if one was measured.
    Heard {
        /// The peer.
        peer: ValidatorIndex,
        /// Microseconds there and back.
        round_trip_micros: Option<u64>,
    },
    /// A peer speaks of an era that the driver's verifier does not know: either
    /// the era here has ended, or the peer lies.
    LaterEra {
        /// The era that it speaks of.
        era: Era,
        /// Its place in the committee of the era here, if it has one.
        peer: Option<ValidatorIndex>,
    },
    /// Answer to [`Effects::execute`].
    Executed {
        /// The block.
        block: BlockId,
        /// What it came to.
        exec: ExecHash,
        /// What it changes in the rules of ordering.
        decisions: Decisions,
    },
    /// Answer to [`Ask::Block`] or [`Ask::Chain`]. The driver has made sure that
    /// it is what was asked for: a block that a certificate names, or an
    /// ancestor of one that came with its own certificate.
    Block(Verified<Block>),
    /// The deadline passed.
    Wake,
}

/// Which version of the protocol blocks follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The one in force.
    pub current: ProtocolVersion,
    /// The one that was decided and is not in force yet. A later decision
    /// replaces it.
    pub next: Option<Activation>,
}

impl Versions {
    /// A version with nothing to follow it.
    #[must_use]
    pub const fn of(current: ProtocolVersion) -> Self {
        Self { current, next: None }
    }

    /// The version that a block at `height` follows.
    #[must_use]
    pub fn at(&self, height: Height) -> ProtocolVersion {
        self.next.filter(|next| next.height <= height).map_or(self.current, |next| next.version)
    }

    /// What holds after a block at `height`.
    #[must_use]
    pub fn after(&self, height: Height, decisions: &Decisions) -> Self {
        let next = decisions.activation.or(self.next).filter(|next| next.height > height);
        Self { current: self.at(height), next }
    }
}

/// What the driver does after a step, in the order of the fields.
#[must_use]
#[derive(Debug, Default)]
pub struct Effects {
    /// Write and sync, once, before anything in `send` leaves. On failure the
    /// process stops.
    pub persist: Persist,
    /// Sign what needs a signature, send, and give `All` back to this replica.
    pub send: Vec<Send>,
    /// Blocks to run on their parent's overlay; the answer is [`Input::Executed`].
    pub execute: Vec<Execute>,
    /// Blocks to commit, ascending, each once.
    pub commit: Vec<Commit>,
    /// What is missing here and where to get it. Asked again until it comes.
    pub ask: Vec<Ask>,
    /// Facts about others that should be impossible, and about this node that
    /// somebody must look at.
    pub alarms: Vec<Alarm>,
}

/// What must be on disk before anything is sent.
#[derive(Clone, Debug, Default)]
pub struct Persist {
    /// The safety records that changed, each under the key that signs by it,
    /// ascending by era: one, but two where an era ends. Those of earlier eras
    /// and of other keys stay on disk.
    pub safety: Vec<(PublicKey, SafetyRecord)>,
    /// What ended the era before, in the write that begins the next one.
    pub closed: Vec<ClosedEra>,
    /// The TCs on which votes rest, and the QCs on which commit votes do. They
    /// are kept for ever: should the chain fork, they show whose lie it was.
    pub certificates: Vec<Certificate>,
    /// Blocks that were voted for or certified.
    pub blocks: Vec<Block>,
    /// Batches of others.
    pub batches: Vec<Arc<SignedBatch>>,
    /// Batches of our own, to be signed once this is durable.
    pub own_batches: Vec<(BatchHeader, Arc<[BatchRecord]>)>,
    /// Batches of others to be deleted, of a first step only: no block can cite
    /// them any more, and nothing was said of them since the start.
    pub lapsed_batches: Vec<BatchHeader>,
}

impl Persist {
    /// Adds what the next step wants on disk, so that one write does for both.
    pub fn join(&mut self, next: Self) {
        let Self { safety, closed, certificates, blocks, batches, own_batches, lapsed_batches } =
            next;
        for (key, record) in safety {
            let is_older = |it: &(PublicKey, SafetyRecord)| (it.0, it.1.era) == (key, record.era);
            self.safety.retain(|earlier| !is_older(earlier));
            self.safety.push((key, record));
        }
        self.closed.extend(closed);
        self.certificates.extend(certificates);
        self.blocks.extend(blocks);
        self.batches.extend(batches);
        self.own_batches.extend(own_batches);
        self.lapsed_batches.extend(lapsed_batches);
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.safety.is_empty()
            && self.closed.is_empty()
            && self.certificates.is_empty()
            && self.blocks.is_empty()
            && self.batches.is_empty()
            && self.own_batches.is_empty()
            && self.lapsed_batches.is_empty()
    }
}

/// What a validator must never forget, or it might sign two different things.
///
/// It is not part of a snapshot: a restored old record is how validators come
/// to double-sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafetyRecord {
    /// The era it belongs to.
    pub era: Era,
    /// The view this validator is in.
    pub current_view: View,
    /// The last vote.
    pub last_voted: Option<Vote>,
    /// The last timeout, with its high QC beside it.
    pub last_timeout: Option<(Timeout, Qc)>,
    /// The last commit vote.
    pub last_commit_vote: Option<CommitVote>,
    /// The last proposal: its block, which stands among the blocks.
    pub last_proposal: Option<(View, BlockId)>,
    /// The last batch of our own lane.
    pub last_batch: Option<(LaneSeq, BatchDigest)>,
    /// The highest QC.
    pub high_qc: Qc,
    /// The highest TC.
    pub high_tc: Option<Tc>,
}

/// Who shall get a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// All validators, this one included: it comes back as an input.
    All,
    /// One other validator.
    One(ValidatorIndex),
    /// A member of an earlier committee that may not stand in this one.
    Former(PublicKey),
}

/// A message to send.
#[derive(Clone, Debug)]
pub struct Send {
    /// To whom.
    pub to: Recipients,
    /// What.
    pub message: Outgoing,
}

/// A message without its signature: only what is durable gets one.
#[derive(Clone, Debug)]
pub enum Outgoing {
    /// To be signed by the consensus key.
    Proposal {
        /// The block.
        block: Block,
        /// TC of the view before, if that is how it was entered.
        tc: Option<Tc>,
    },
    /// To be signed by the consensus key.
    Vote(Vote),
    /// To be signed by the consensus key.
    CommitVote(CommitVote),
    /// To be signed by the consensus key.
    Timeout {
        /// What is signed.
        timeout: Timeout,
        /// The certificate it names.
        high_qc: Qc,
        /// TC of the view before, unless `high_qc` is of that view.
        entry_tc: Option<Tc>,
        /// Authors whose cited batches are missing here.
        missing: Vec<PublicKey>,
    },
    /// To be signed by the consensus key.
    Batch {
        /// What is signed.
        header: BatchHeader,
        /// Its records.
        records: Arc<[BatchRecord]>,
    },
    /// To be evaluated with the VRF key.
    Reveal(VrfInput),
    /// Proves itself.
    Certificate(Certificate),
    /// Goes over an authenticated stream and proves nothing to third parties.
    BatchAck(BatchAck),
    /// As [`Outgoing::BatchAck`].
    BatchHint(BatchHint),
}

/// A block to run.
#[derive(Clone, Debug)]
pub struct Execute {
    /// The block; its parent has been executed.
    pub block: Block,
    /// The cited batches in the order of execution.
    pub batches: Vec<Arc<SignedBatch>>,
}

/// Blocks that became final by one certificate.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The blocks, ascending, each with its exec.
    pub blocks: Vec<(Block, ExecHash)>,
    /// The certificate of the last one.
    pub cert: CommitCert,
    /// Where the engine starts from after a restart; written with the blocks.
    /// [`Root::certificate`] is to be kept for the block's height: it is what
    /// others are sent and proofs are made of, also when the block of a filler
    /// is gone. [`Root::ended`] opens the next era to the verifier.
    pub root: Root,
}

/// The committed head, with all that the engine carries along the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Header of the last committed block.
    pub header: Header,
    /// Its exec.
    pub exec: ExecHash,
    /// Where each lane stands.
    pub lane_heads: BTreeMap<PublicKey, (LaneSeq, BatchDigest)>,
    /// Seeds and reveals.
    pub epoch: EpochState,
    /// What made it final; none at genesis.
    pub cert: Option<CommitCert>,
    /// Which version of the protocol the next blocks follow.
    pub versions: Versions,
    /// The numbers that this replica goes by.
    pub parameters: Parameters,
    /// Set when the head closed its era.
    pub opening: Option<Opening>,
}

/// What a closing block leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Who orders what comes after.
    pub committee: Arc<Committee>,
    /// Header of the filler whose certificate made the block final, if it was
    /// not one of its own.
    pub filler: Option<Header>,
}

/// An era that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedEra {
    /// The era.
    pub era: Era,
    /// Who took over.
    pub next: Arc<Committee>,
    /// What made its last block final: [`Certificate::Commit`] or
    /// [`Certificate::Filler`]. Nodes may hold different ones.
    pub certificate: Certificate,
}

/// Something that is missing here, and who may have it, by places in the
/// committee of the era that the replica is in. Where the driver has no way to
/// that validator, any other peer will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// Batches of a lane, from after `after` up to `up_to` with `digest`. An
    /// answer that is cut short holds the last ones: lanes are followed
    /// backwards from the digest.
    Batches {
        /// Whose lane.
        author: PublicKey,
        /// What is here already.
        after: LaneSeq,
        /// The last one wanted.
        up_to: LaneSeq,
        /// Its digest.
        digest: BatchDigest,
        /// Whom to ask.
        peer: ValidatorIndex,
    },
    /// A certified block.
    Block {
        /// Its id.
        block: BlockId,
        /// Whom to ask.
        peer: ValidatorIndex,
    },
    /// How an era ended: the certificate of its [`ClosedEra`]. The answer is
    /// [`Input::Certificate`], verified as any other against the committee of
    /// that era. What ends nothing does no harm: then the peer lied.
    End {
        /// The era.
        era: Era,
        /// Whom to ask.
        peer: ValidatorIndex,
    },
    /// The final blocks from after `above` towards `target`, ascending, each
    /// followed by its batches, then what made the last one final, as
    /// [`Root::certificate`] has it. They end with the era in which they begin:
    /// nothing of the next can be verified before.
    Chain {
        /// A block that is final somewhere.
        target: BlockId,
        /// The height that is final here.
        above: Height,
        /// Whom to ask.
        peer: ValidatorIndex,
    },
}

/// Something that should not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Proof that a validator signed two things that exclude each other.
    Equivocation(Box<Evidence>),
    /// A quorum executed a block to another result than this node did: it
    /// stops signing until it is rebuilt.
    Diverged {
        /// The block.
        block: BlockId,
        /// What the quorum says.
        theirs: ExecHash,
        /// What came out here.
        ours: ExecHash,
    },
    /// A certified block breaks a rule that a quorum should have checked:
    /// more than f validators are faulty, or this node is.
    InvalidCertified {
        /// The block.
        block: BlockId,
        /// The rule.
        rule: &'static str,
    },
    /// A certificate or a final block holds a signature of this validator's
    /// key that its record does not know: another process signs with it, or an
    /// older record was put back. This node signs nothing more.
    KeyUsedElsewhere {
        /// The view in which the key signed.
        view: View,
    },
    /// This validator's key has a seat in the era, and its record of the last
    /// era in which it had one is not on disk, or it never had a seat and there
    /// is no record that says so: it cannot know what it signed. It signs
    /// nothing with that key, in no era; the key must be rotated.
    NoSafetyRecord {
        /// The era.
        era: Era,
        /// The key.
        key: PublicKey,
    },
    /// The next block follows a version of the protocol that this program does
    /// not know: it can neither judge nor execute it, and waits to be replaced.
    VersionUnknown(Activation),
}

/// A signed message of one validator and another of its own, or a certificate,
/// that exclude each other, both whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "evidence is rare and always boxed")]
pub enum Evidence {
    /// Two votes in one view.
    Votes(SignedVote, SignedVote),
    /// Two commit votes in one view.
    CommitVotes(SignedCommitVote, SignedCommitVote),
    /// Two timeouts of one view with different high QCs.
    Timeouts(SignedTimeout, SignedTimeout),
    /// Two blocks proposed in one view.
    Proposals(SignedProposal, SignedProposal),
    /// Two batches at one place of a lane.
    Batches(Arc<SignedBatch>, Arc<SignedBatch>),
    /// A commit vote for a view, and a timeout of that or a later view that
    /// hides the certificate the commit vote needs: the lie that forks.
    HiddenQc(SignedCommitVote, SignedTimeout),
    /// A commit vote for a final block with another exec than its certificate.
    OtherExec(SignedCommitVote, CommitCert),
}

/// What a node has on disk when it starts.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The safety records, each with its key, at most one of a key and an era.
    /// A key signs nothing without that of the last era in which it had a seat;
    /// one that never had a seat begins with [`SafetyRecord::new`].
    pub safety: Vec<(PublicKey, SafetyRecord)>,
    /// The committed head.
    pub root: Root,
    /// Eras that ended: all before that of the head. One more may be that of
    /// the head, if it ended and the commit of its last block was lost; and that
    /// may lack if the commit was written and what ended the era was lost.
    pub closed: Vec<ClosedEra>,
    /// Blocks that were voted for or certified and are not final.
    pub blocks: Vec<Block>,
    /// Batches that no final block cites.
    pub batches: Vec<Arc<SignedBatch>>,
}

/// Why a replica cannot start from what is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Without the end of every era before that of the head it is not known who
    /// orders the blocks after the head.
    #[error("the head is followed by era {head}, and how era {ended} ended is not on disk")]
    EndUnknown {
        /// The era that the next block belongs to.
        head: Era,
        /// The earlier era whose end is missing.
        ended: Era,
    },
}

impl Root {
    /// What made the head final, such that it can be sent and proven by: with
    /// the header of the filler, if it was one. None at genesis.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        let cert = self.cert.clone()?;
        Some(match self.opening.as_ref().and_then(|opening| opening.filler) {
            Some(header) => Certificate::Filler(cert, header),
            None => Certificate::Commit(cert),
        })
    }

    /// The head as nodes gossip it. None at genesis, and of a block that has no
    /// certificate of its own, because a filler of it was certified.
    #[must_use]
    pub fn final_header(&self) -> Option<FinalHeader> {
        let commit = self.cert.clone().filter(|cert| cert.vote.block == self.header.id())?;
        Some(FinalHeader { header: self.header, commit })
    }

    /// The era that the head closed, if it closed its own.
    #[must_use]
    pub fn ended(&self) -> Option<ClosedEra> {
        let next = Arc::clone(&self.opening.as_ref()?.committee);
        Some(ClosedEra { era: self.header.era, next, certificate: self.certificate()? })
    }
}

impl ClosedEra {
    /// The block that ended the era, and with which the next one starts.
    ///
    /// # Panics
    /// When the certificate is one that ends no era.
    #[must_use]
    pub fn last_block(&self) -> BlockId {
        self.certificate.made_final().expect("an era ends by a commit").0
    }

    /// The era that began with it, as a verifier takes it in.
    #[must_use]
    pub fn opens(&self) -> (Era, EraContext) {
        let context = EraContext { committee: Arc::clone(&self.next), root: self.last_block() };
        (self.era.next(), context)
    }
}

impl Restored {
    /// The eras up to the one that follows the head: what a verifier must know
    /// at the start. Later ones it learns from [`Commit::root`].
    ///
    /// # Errors
    /// When the end of an era before is not on disk.
    pub fn chain(&self, genesis: &Genesis) -> Result<Chain, StartError> {
        let last = self.root.ended();
        let head = last.as_ref().map_or(self.root.header.era, |last| last.era.next());
        let mut chain = genesis.chain();
        while chain.newest() < head {
            let ended = chain.newest();
            let closed = self.closed.iter().chain(&last).find(|closed| closed.era == ended);
            let (era, context) = closed.ok_or(StartError::EndUnknown { head, ended })?.opens();
            chain.add_era(era, context);
        }
        Ok(chain)
    }

    /// The end of an era that the head tells of, and that was lost in the crash
    /// with the write that was to begin the next: nothing was signed in that.
    pub(crate) fn lost_end(&self) -> Option<ClosedEra> {
        self.root.ended().filter(|last| self.closed.iter().all(|closed| closed.era != last.era))
    }
}
