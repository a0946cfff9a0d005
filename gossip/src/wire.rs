//! What travels on direct streams and in questions: one tag byte, then the
//! fixed encoding of the object.
//!
//! Decoding bounds everything before it allocates; whether a message is *true*
//! is decided by [`bizra_types::verify::Verifier`].

use bizra_types::batch::SignedBatch;
use bizra_types::block::{Block, Reveal, SignedProposal};
use bizra_types::certificate::Certificate;
use bizra_types::crypto::PublicKey;
use bizra_types::encoding::{Decode, DecodeError, Encode, Reader, encode_list};
use bizra_types::hash::{BatchDigest, BlockId};
use bizra_types::message::{BatchAck, BatchHint, SignedCommitVote, SignedTimeout, SignedVote};
use bizra_types::numbers::{Era, Height, LaneSeq, ValidatorIndex};
use bytes::Bytes;

/// Most batches in one answer.
pub const ANSWER_BATCHES_MAX: usize = 65_536;
/// Most blocks in one answer.
pub const ANSWER_BLOCKS_MAX: usize = 65_536;

/// A message between validators on a direct stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A leader's block.
    Proposal(SignedProposal),
    /// A vote.
    Vote(SignedVote),
    /// A commit vote.
    CommitVote(SignedCommitVote),
    /// A timeout.
    Timeout(SignedTimeout),
    /// A certificate by itself.
    Certificate(Certificate),
    /// A VRF output.
    Reveal(Reveal),
    /// A batch of the sender's lane.
    Batch(SignedBatch),
    /// The sender has a batch on its disk.
    BatchAck(BatchAck),
    /// The sender knows of something to propose.
    BatchHint(BatchHint),
}

/// What a node asks another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Batches of a lane, from after `after` up to `up_to` with `digest`.
    Batches {
        /// Whose lane.
        author: PublicKey,
        /// What the asker has.
        after: LaneSeq,
        /// The last one wanted.
        up_to: LaneSeq,
        /// Its digest; the others follow by `previous`.
        digest: BatchDigest,
    },
    /// One block.
    Block {
        /// Its id.
        block: BlockId,
    },
    /// Final blocks from after `above` towards `target`.
    Chain {
        /// A block that is final somewhere.
        target: BlockId,
        /// The height that is final at the asker.
        above: Height,
    },
    /// How an era ended.
    End {
        /// The era.
        era: Era,
    },
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Batches, ascending.
    Batches(Vec<SignedBatch>),
    /// A block.
    Block(Block),
    /// Final blocks.
    Chain(ChainPart),
    /// The certificate that ended an era.
    End(Certificate),
}

/// Final blocks in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainPart {
    /// The blocks, ascending, each with the batches it cites.
    pub blocks: Vec<(Block, Vec<SignedBatch>)>,
    /// What made the last one final.
    pub certificate: Certificate,
}

macro_rules! frame {
    ($name:ident) => {
        impl $name {
            /// The bytes to send.
            #[must_use]
            pub fn encode(&self) -> Bytes {
                self.to_bytes().into()
            }

            /// Reads received bytes.
            ///
            /// # Errors
            /// When they are not one whole message.
            pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                Self::from_bytes(bytes)
            }
        }
    };
}

macro_rules! tagged {
    ($name:ident: $what:literal { $($tag:literal => $variant:ident),* $(,)? }) => {
        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(inner) => {
                        out.push($tag);
                        inner.encode(out);
                    })*
                }
            }
        }

        impl Decode for $name {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                match u8::decode(reader)? {
                    $($tag => Ok(Self::$variant(Decode::decode(reader)?)),)*
                    tag => Err(DecodeError::Invalid { what: $what, value: tag.into() }),
                }
            }
        }

        frame!($name);
    };
}

tagged!(Message: "message tag" {
    1 => Proposal,
    2 => Vote,
    3 => CommitVote,
    4 => Timeout,
    5 => Certificate,
    6 => Reveal,
    7 => Batch,
    8 => BatchAck,
    9 => BatchHint,
});

impl Message {
    /// The era whose places it speaks of; none for what stands in whatever era
    /// its reader is in.
    #[must_use]
    pub fn era(&self) -> Option<Era> {
        Some(match self {
            Self::Proposal(proposal) => proposal.block.header().era,
            Self::Vote(vote) => vote.vote.era,
            Self::CommitVote(vote) => vote.vote.era,
            Self::Timeout(timeout) => timeout.timeout.era,
            Self::Certificate(certificate) => certificate.era(),
            Self::Batch(batch) => batch.header().era,
            Self::Reveal(_) | Self::BatchAck(_) | Self::BatchHint(_) => return None,
        })
    }

    /// Who signed it, if that must be its sender: nobody passes on what others
    /// signed, because a copy could be stripped of the certificates beside the
    /// signed part.
    #[must_use]
    pub fn signer(&self) -> Option<ValidatorIndex> {
        Some(match self {
            Self::Proposal(proposal) => proposal.block.header().proposer,
            Self::Vote(vote) => vote.signer,
            Self::CommitVote(vote) => vote.signer,
            Self::Timeout(timeout) => timeout.signer,
            Self::Reveal(reveal) => reveal.validator,
            Self::Certificate(_) | Self::Batch(_) | Self::BatchAck(_) | Self::BatchHint(_) => {
                return None;
            }
        })
    }
}

frame!(Request);
frame!(Response);

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Batches { author, after, up_to, digest } => {
                out.push(1);
                author.encode(out);
                after.encode(out);
                up_to.encode(out);
                digest.encode(out);
            }
            Self::Block { block } => {
                out.push(2);
                block.encode(out);
            }
            Self::Chain { target, above } => {
                out.push(3);
                target.encode(out);
                above.encode(out);
            }
            Self::End { era } => {
                out.push(4);
                era.encode(out);
            }
        }
    }
}

impl Decode for Request {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            1 => Ok(Self::Batches {
                author: Decode::decode(reader)?,
                after: Decode::decode(reader)?,
                up_to: Decode::decode(reader)?,
                digest: Decode::decode(reader)?,
            }),
            2 => Ok(Self::Block { block: Decode::decode(reader)? }),
            3 => {
                Ok(Self::Chain { target: Decode::decode(reader)?, above: Decode::decode(reader)? })
            }
            4 => Ok(Self::End { era: Decode::decode(reader)? }),
            tag => Err(DecodeError::Invalid { what: "request tag", value: tag.into() }),
        }
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Batches(batches) => {
                out.push(1);
                encode_list(batches, out);
            }
            Self::Block(block) => {
                out.push(2);
                block.encode(out);
            }
            Self::Chain(part) => {
                out.push(3);
                let count = u32::try_from(part.blocks.len()).expect("answers are bounded");
                count.encode(out);
                for (block, batches) in &part.blocks {
                    block.encode(out);
                    encode_list(batches, out);
                }
                part.certificate.encode(out);
            }
            Self::End(certificate) => {
                out.push(4);
                certificate.encode(out);
            }
        }
    }
}

impl Decode for Response {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            1 => Ok(Self::Batches(reader.list("batches", ANSWER_BATCHES_MAX, 128)?)),
            2 => Ok(Self::Block(Block::decode(reader)?)),
            3 => {
                let count = reader.count("blocks", ANSWER_BLOCKS_MAX, 256)?;
                let mut blocks = Vec::with_capacity(count);
                for _ in 0..count {
                    let block = Block::decode(reader)?;
                    blocks.push((block, reader.list("batches", ANSWER_BATCHES_MAX, 128)?));
                }
                Ok(Self::Chain(ChainPart { blocks, certificate: Decode::decode(reader)? }))
            }
            4 => Ok(Self::End(Certificate::decode(reader)?)),
            tag => Err(DecodeError::Invalid { what: "response tag", value: tag.into() }),
        }
    }
}

#[cfg(test)]
mod tests;
