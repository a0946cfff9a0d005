//! Votes, commit votes and timeouts, and the bytes that are signed of anything.
//!
//! Every signature covers kind tag ‖ chain id ‖ era ‖ fields, so that no
//! signature can be carried to another kind, chain or committee.

use crate::batch::BatchHeader;
use crate::certificate::{Qc, Tc};
use crate::crypto::{PublicKey, Signature};
use crate::encode_fields;
use crate::encoding::{Decode, DecodeError, Encode, Reader, encode_list};
use crate::hash::{BatchDigest, BlockId, ChainId, ExecHash};
use crate::numbers::{Era, LaneSeq, ValidatorIndex, View};
use crate::planted::{Bug, is_planted};
use alloc::vec::Vec;

/// Most authors that one timeout may name as missing.
pub const MISSING_AUTHORS_MAX: usize = 64;

/// What a signature is for: the first byte of what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A leader's proposal of a block.
    Proposal = 1,
    /// A vote for a block.
    Vote = 2,
    /// A vote to commit a certified and executed block.
    CommitVote = 3,
    /// A vote to leave a view.
    Timeout = 4,
    /// A batch of an author's lane.
    Batch = 5,
    /// The promise given with `accepted`.
    Ticket = 6,
    /// The head of the log, for those who follow by gossip.
    LogHead = 7,
}

/// The bytes that a signature of `kind` covers.
#[must_use]
pub fn signed_bytes(kind: Kind, chain_id: &ChainId, era: Era, fields: &impl Encode) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(160);
    bytes.push(kind as u8);
    chain_id.encode(&mut bytes);
    era.encode(&mut bytes);
    fields.encode(&mut bytes);
    bytes
}

/// "This block may be built upon."
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vote {
    /// The committee that votes.
    pub era: Era,
    /// The view the block was proposed in.
    pub view: View,
    /// The block.
    pub block: BlockId,
}

/// "I hold a certificate for this block, never timed out its view, and executed it to this."
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitVote {
    /// The committee that votes.
    pub era: Era,
    /// The view the block was certified in.
    pub view: View,
    /// The block.
    pub block: BlockId,
    /// What executing it gave.
    pub exec: ExecHash,
}

/// "I leave this view; the highest certificate that I hold is of that view."
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeout {
    /// The committee that votes.
    pub era: Era,
    /// The view to leave.
    pub view: View,
    /// View of the highest QC the signer held at that moment; below `view`.
    pub high_qc_view: View,
}

/// A vote with its signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedVote {
    /// What was signed.
    pub vote: Vote,
    /// Who signed.
    pub signer: ValidatorIndex,
    /// Over [`Vote::signed_bytes`].
    pub signature: Signature,
}

/// A commit vote with its signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedCommitVote {
    /// What was signed.
    pub vote: CommitVote,
    /// Who signed.
    pub signer: ValidatorIndex,
    /// Over [`CommitVote::signed_bytes`].
    pub signature: Signature,
}

/// A timeout with its signer, and beside it, unsigned, what a lagging peer needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTimeout {
    /// What was signed.
    pub timeout: Timeout,
    /// Who signed.
    pub signer: ValidatorIndex,
    /// Over [`Timeout::signed_bytes`].
    pub signature: Signature,
    /// The certificate of `high_qc_view`.
    pub high_qc: Qc,
    /// TC of the view before, unless `high_qc` is of that view: without one of
    /// the two nobody can have entered the view, and the message is invalid.
    pub entry_tc: Option<Tc>,
    /// Authors whose cited batches the signer could not get in this view.
    pub missing: Vec<PublicKey>,
}

/// "Your batch is on my disk."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchAck {
    /// Whose lane.
    pub author: PublicKey,
    /// Which batch.
    pub lane_seq: LaneSeq,
    /// Its digest.
    pub digest: BatchDigest,
}

/// "There is this to propose": sent to a leader by those who start a view timer for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHint {
    /// The view whose leader is meant.
    pub view: View,
    /// Whose lane.
    pub author: PublicKey,
    /// Which batch.
    pub lane_seq: LaneSeq,
    /// Its digest.
    pub digest: BatchDigest,
}

macro_rules! signed {
    ($name:ident, $kind:ident) => {
        impl $name {
            /// The bytes that its signer signs.
            #[must_use]
            pub fn signed_bytes(&self, chain_id: &ChainId) -> Vec<u8> {
                let bytes = signed_bytes(Kind::$kind, chain_id, self.era, self);
                without_planted(Kind::$kind, bytes)
            }
        }
    };
}

/// What is signed, where no bug is planted; else a vote's without its view or
/// its era.
fn without_planted(kind: Kind, mut bytes: Vec<u8>) -> Vec<u8> {
    // Kind, chain and era, then the fields: era, view and block.
    const ERA: core::ops::Range<usize> = 33..41;
    const VIEW: core::ops::Range<usize> = 49..57;
    if kind == Kind::Vote && is_planted(Bug::SignatureWithoutView) {
        bytes.drain(VIEW);
    }
    if kind == Kind::Vote && is_planted(Bug::SignatureWithoutEra) {
        bytes.drain(ERA);
        bytes.drain(ERA);
    }
    bytes
}

signed!(Vote, Vote);
signed!(CommitVote, CommitVote);
signed!(Timeout, Timeout);
signed!(BatchHeader, Batch);

encode_fields!(Vote { era, view, block });
encode_fields!(CommitVote { era, view, block, exec });
encode_fields!(Timeout { era, view, high_qc_view });
encode_fields!(SignedVote { vote, signer, signature });
encode_fields!(SignedCommitVote { vote, signer, signature });
encode_fields!(BatchAck { author, lane_seq, digest });
encode_fields!(BatchHint { view, author, lane_seq, digest });

impl Encode for SignedTimeout {
    fn encode(&self, out: &mut Vec<u8>) {
        self.timeout.encode(out);
        self.signer.encode(out);
        self.signature.encode(out);
        self.high_qc.encode(out);
        self.entry_tc.encode(out);
        encode_list(&self.missing, out);
    }
}

impl Decode for SignedTimeout {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            timeout: Timeout::decode(reader)?,
            signer: ValidatorIndex::decode(reader)?,
            signature: Signature::decode(reader)?,
            high_qc: Qc::decode(reader)?,
            entry_tc: Option::decode(reader)?,
            missing: reader.list("missing authors", MISSING_AUTHORS_MAX, 32)?,
        })
    }
}
