//! Blocks and proposals.

use crate::certificate::{CommitCert, Qc, Tc};
use crate::committee::COMMITTEE_SIZE_MAX;
use crate::crypto::{PublicKey, Signature};
use crate::encode_fields;
use crate::encoding::{Decode, DecodeError, Encode, Reader, encode_list};
use crate::hash::{BatchDigest, BlockId, ChainId, Context, ExecHash, Hash};
use crate::message::{Kind, signed_bytes};
use crate::numbers::{
    Epoch, Era, Height, LaneSeq, ProtocolVersion, TimestampMs, ValidatorIndex, View,
};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Most citations of one block: the authors of two eras.
pub const CITATIONS_MAX: usize = 2 * COMMITTEE_SIZE_MAX;

/// "This author's lane up to here": everything after what the parent chain cites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Citation {
    /// Whose lane.
    pub author: PublicKey,
    /// The last batch of the range.
    pub up_to_seq: LaneSeq,
    /// Digest of that batch; the others follow by `previous`.
    pub digest: BatchDigest,
}

/// A validator's VRF output for a later epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reveal {
    /// Whose.
    pub validator: ValidatorIndex,
    /// The epoch whose seed it enters: that of the block plus two.
    pub epoch: Epoch,
    /// The VRF's pre-output, unique for key and input.
    pub output: [u8; 32],
    /// Proof that it is.
    pub proof: [u8; 64],
}

/// What a filler closes: the block that ended its era, and its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closes {
    /// The closing block.
    pub block: BlockId,
    /// Its exec.
    pub exec: ExecHash,
}

/// What a block's id hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The rules it follows.
    pub protocol_version: ProtocolVersion,
    /// The chain.
    pub chain_id: ChainId,
    /// The committee that orders it.
    pub era: Era,
    /// Distance from genesis.
    pub height: Height,
    /// The view it was proposed in.
    pub view: View,
    /// The block before.
    pub parent: BlockId,
    /// Identity of the certificate that justifies it; zero at genesis.
    pub justify: Hash,
    /// Hash of the list of citations.
    pub citations_root: Hash,
    /// Hash of the list of reveals.
    pub reveals_root: Hash,
    /// Chain time.
    pub timestamp_ms: TimestampMs,
    /// Its leader.
    pub proposer: ValidatorIndex,
    /// Set in fillers only.
    pub closes: Option<Closes>,
}

/// A block: header, justification and what it orders. Consistent by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    id: BlockId,
    header: Header,
    justify: Qc,
    citations: Vec<Citation>,
    reveals: Vec<Reveal>,
}

/// What a proposer decides of a block; the rest of the header follows from it.
#[derive(Clone, Debug)]
pub struct BlockContent {
    /// The rules it follows.
    pub protocol_version: ProtocolVersion,
    /// The chain.
    pub chain_id: ChainId,
    /// Distance from genesis.
    pub height: Height,
    /// The view it is proposed in.
    pub view: View,
    /// The certificate it builds on; its block is the parent.
    pub justify: Qc,
    /// Lane ranges, ascending by author, each author once.
    pub citations: Vec<Citation>,
    /// VRF reveals, ascending by validator, each once.
    pub reveals: Vec<Reveal>,
    /// Chain time.
    pub timestamp_ms: TimestampMs,
    /// The leader.
    pub proposer: ValidatorIndex,
    /// Set in fillers only.
    pub closes: Option<Closes>,
}

impl Header {
    /// The header of the block that everything starts from.
    #[must_use]
    pub fn genesis(
        protocol_version: ProtocolVersion,
        chain_id: ChainId,
        timestamp_ms: TimestampMs,
    ) -> Self {
        Self {
            protocol_version,
            chain_id,
            era: Era::new(1),
            height: Height::ZERO,
            view: View::ZERO,
            parent: BlockId::ZERO,
            justify: Hash::ZERO,
            citations_root: list_root::<Citation>(&[]),
            reveals_root: list_root::<Reveal>(&[]),
            timestamp_ms,
            proposer: ValidatorIndex::ZERO,
            closes: None,
        }
    }

    /// The block's identity.
    #[must_use]
    pub fn id(&self) -> BlockId {
        BlockId(Context::Header.hash(&[&self.to_bytes()]).0)
    }
}

impl Block {
    /// Builds a block.
    ///
    /// # Panics
    /// When citations or reveals are not strictly ascending.
    #[must_use]
    pub fn new(content: BlockContent) -> Self {
        let header = Header {
            protocol_version: content.protocol_version,
            chain_id: content.chain_id,
            era: content.justify.vote.era,
            height: content.height,
            view: content.view,
            parent: content.justify.vote.block,
            justify: content.justify.identity(),
            citations_root: list_root(&content.citations),
            reveals_root: list_root(&content.reveals),
            timestamp_ms: content.timestamp_ms,
            proposer: content.proposer,
            closes: content.closes,
        };
        Self::join(header, content.justify, content.citations, content.reveals)
            .expect("a proposer keeps its lists sorted")
    }

    /// The block's identity.
    #[must_use]
    pub fn id(&self) -> BlockId {
        self.0.id
    }

    /// What the identity hashes.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.0.header
    }

    /// The certificate of the parent.
    #[must_use]
    pub fn justify(&self) -> &Qc {
        &self.0.justify
    }

    /// Lane ranges, ascending by author.
    #[must_use]
    pub fn citations(&self) -> &[Citation] {
        &self.0.citations
    }

    /// VRF reveals, ascending by validator.
    #[must_use]
    pub fn reveals(&self) -> &[Reveal] {
        &self.0.reveals
    }

    /// Whether it is a filler of a closing era.
    #[must_use]
    pub fn is_filler(&self) -> bool {
        self.0.header.closes.is_some()
    }

    fn join(
        header: Header,
        justify: Qc,
        citations: Vec<Citation>,
        reveals: Vec<Reveal>,
    ) -> Result<Self, DecodeError> {
        let invalid = |what, value: usize| Err(DecodeError::Invalid { what, value: value as u64 });
        if !citations.is_sorted_by(|left, right| left.author < right.author) {
            return invalid("order of citations", citations.len());
        }
        if !reveals.is_sorted_by(|left, right| left.validator < right.validator) {
            return invalid("order of reveals", reveals.len());
        }
        if header.era != justify.vote.era
            || header.parent != justify.vote.block
            || header.justify != justify.identity()
            || header.citations_root != list_root(&citations)
            || header.reveals_root != list_root(&reveals)
        {
            return invalid("agreement of a header with its body", 0);
        }
        Ok(Self(Arc::new(Inner { id: header.id(), header, justify, citations, reveals })))
    }
}

fn list_root<T: Encode>(items: &[T]) -> Hash {
    let mut bytes = Vec::new();
    encode_list(items, &mut bytes);
    Context::List.hash(&[&bytes])
}

impl Encode for Block {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.header.encode(out);
        self.0.justify.encode(out);
        encode_list(&self.0.citations, out);
        encode_list(&self.0.reveals, out);
    }
}

impl Decode for Block {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let header = Header::decode(reader)?;
        let justify = Qc::decode(reader)?;
        let citations = reader.list("citations", CITATIONS_MAX, 72)?;
        let reveals = reader.list("reveals", COMMITTEE_SIZE_MAX, 106)?;
        Self::join(header, justify, citations, reveals)
    }
}

/// A leader's offer of a block for a view.
///
/// The signature covers view and block id; the TC proves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedProposal {
    /// The block; its header names view and proposer.
    pub block: Block,
    /// TC of the view before, when the block's justification is older than that.
    pub tc: Option<Tc>,
    /// Over [`proposal_signed_bytes`].
    pub signature: Signature,
}

/// The header of a final block and the certificate that makes it final, as
/// nodes gossip it.
///
/// What follows the header are the certificate's own signatures; nobody signs
/// the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalHeader {
    /// The block's header. Never that of a filler.
    pub header: Header,
    /// The block's own commit certificate.
    pub commit: CommitCert,
}

/// The bytes that a leader signs to propose `header`.
#[must_use]
pub fn proposal_signed_bytes(header: &Header) -> Vec<u8> {
    proposal_bytes(&header.chain_id, header.era, header.view, header.id())
}

/// As [`proposal_signed_bytes`], from the four facts it covers.
#[must_use]
pub fn proposal_bytes(chain_id: &ChainId, era: Era, view: View, block: BlockId) -> Vec<u8> {
    struct Fields(View, BlockId);
    impl Encode for Fields {
        fn encode(&self, out: &mut Vec<u8>) {
            self.0.encode(out);
            self.1.encode(out);
        }
    }
    signed_bytes(Kind::Proposal, chain_id, era, &Fields(view, block))
}

encode_fields!(Citation { author, up_to_seq, digest });
encode_fields!(Reveal { validator, epoch, output, proof });
encode_fields!(Closes { block, exec });
encode_fields!(Header {
    protocol_version,
    chain_id,
    era,
    height,
    view,
    parent,
    justify,
    citations_root,
    reveals_root,
    timestamp_ms,
    proposer,
    closes,
});
encode_fields!(SignedProposal { block, tc, signature });
encode_fields!(FinalHeader { header, commit });
