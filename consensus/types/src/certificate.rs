//! QC, TC and CommitCert.
//!
//! A certificate's identity hashes its message and signers, never signature
//! bytes: under ZIP-215 one message can carry many good signatures of one key.

use crate::block::Header;
use crate::committee::{COMMITTEE_SIZE_MAX, SignerSet};
use crate::crypto::Signature;
use crate::encoding::{Decode, DecodeError, Encode, Reader};
use crate::hash::{BlockId, Context, Hash};
use crate::message::{CommitVote, Timeout, Vote};
use crate::numbers::{Era, View};
use alloc::vec::Vec;

/// Quorum certificate: a quorum voted for `block` in `view`.
///
/// The certificate of view 0 is canonical and unsigned: it certifies the block
/// an era starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qc {
    /// What everyone signed.
    pub vote: Vote,
    /// Who signed.
    pub signers: SignerSet,
    /// One signature per signer, in the order of their indices.
    pub signatures: Vec<Signature>,
}

/// Commit certificate: a quorum commit-voted `block` with one execution result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitCert {
    /// What everyone signed.
    pub vote: CommitVote,
    /// Who signed.
    pub signers: SignerSet,
    /// One signature per signer, in the order of their indices.
    pub signatures: Vec<Signature>,
}

/// Timeout certificate: a quorum left `view`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tc {
    /// The committee that left it.
    pub era: Era,
    /// The view that was left.
    pub view: View,
    /// Who signed.
    pub signers: SignerSet,
    /// Each signer's high-QC view, in the order of their indices.
    pub high_qc_views: Vec<View>,
    /// One signature per signer, in the order of their indices.
    pub signatures: Vec<Signature>,
    /// A certificate of the highest of those views.
    pub high_qc: Qc,
}

/// Any certificate, as one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// A quorum certificate.
    Qc(Qc),
    /// A timeout certificate.
    Tc(Tc),
    /// A commit certificate.
    Commit(CommitCert),
    /// A commit certificate of a filler, with the filler's header: it makes
    /// final what the filler closes.
    Filler(CommitCert, Header),
}

impl Certificate {
    /// The era of those who signed it.
    #[must_use]
    pub const fn era(&self) -> Era {
        match self {
            Self::Qc(qc) => qc.vote.era,
            Self::Tc(tc) => tc.era,
            Self::Commit(cert) | Self::Filler(cert, _) => cert.vote.era,
        }
    }

    /// The block that it makes final, with the commit certificate that does so:
    /// for a filler the block that it closes. None for one that makes none final,
    /// and for a header that is no filler's.
    #[must_use]
    pub fn made_final(&self) -> Option<(BlockId, &CommitCert)> {
        match self {
            Self::Commit(cert) => Some((cert.vote.block, cert)),
            Self::Filler(cert, header) => Some((header.closes?.block, cert)),
            Self::Qc(_) | Self::Tc(_) => None,
        }
    }
}

impl Qc {
    /// The canonical certificate of the block that an era starts from.
    #[must_use]
    pub fn root(era: Era, block: BlockId, committee_size: usize) -> Self {
        Self {
            vote: Vote { era, view: View::ZERO, block },
            signers: SignerSet::empty(committee_size),
            signatures: Vec::new(),
        }
    }

    /// Era and view, by which certificates rank.
    #[must_use]
    pub const fn rank(&self) -> (Era, View) {
        (self.vote.era, self.vote.view)
    }

    /// Hash over message and signers.
    #[must_use]
    pub fn identity(&self) -> Hash {
        Context::Certificate.hash(&[&[1], &self.vote.to_bytes(), &self.signers.to_bytes()])
    }
}

impl CommitCert {
    /// Era and view, by which certificates rank.
    #[must_use]
    pub const fn rank(&self) -> (Era, View) {
        (self.vote.era, self.vote.view)
    }
}

impl Tc {
    /// Each signer's timeout, in the order of their indices.
    pub fn timeouts(&self) -> impl Iterator<Item = Timeout> + '_ {
        self.high_qc_views.iter().map(|high_qc_view| Timeout {
            era: self.era,
            view: self.view,
            high_qc_view: *high_qc_view,
        })
    }

    /// Era and view, by which certificates rank.
    #[must_use]
    pub const fn rank(&self) -> (Era, View) {
        (self.era, self.view)
    }
}

impl Encode for Qc {
    fn encode(&self, out: &mut Vec<u8>) {
        self.vote.encode(out);
        encode_signatures(&self.signers, &self.signatures, out);
    }
}

impl Decode for Qc {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let vote = Vote::decode(reader)?;
        let (signers, signatures) = decode_signatures(reader)?;
        Ok(Self { vote, signers, signatures })
    }
}

impl Encode for CommitCert {
    fn encode(&self, out: &mut Vec<u8>) {
        self.vote.encode(out);
        encode_signatures(&self.signers, &self.signatures, out);
    }
}

impl Decode for CommitCert {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let vote = CommitVote::decode(reader)?;
        let (signers, signatures) = decode_signatures(reader)?;
        Ok(Self { vote, signers, signatures })
    }
}

impl Encode for Tc {
    fn encode(&self, out: &mut Vec<u8>) {
        self.era.encode(out);
        self.view.encode(out);
        encode_signatures(&self.signers, &self.signatures, out);
        assert_eq!(self.signers.count(), self.high_qc_views.len(), "one view per signer");
        for view in &self.high_qc_views {
            view.encode(out);
        }
        self.high_qc.encode(out);
    }
}

impl Decode for Tc {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let era = Era::decode(reader)?;
        let view = View::decode(reader)?;
        let (signers, signatures) = decode_signatures(reader)?;
        let mut high_qc_views = Vec::with_capacity(signers.count());
        for _ in 0..signers.count() {
            high_qc_views.push(View::decode(reader)?);
        }
        let high_qc = Qc::decode(reader)?;
        Ok(Self { era, view, signers, high_qc_views, signatures, high_qc })
    }
}

impl Encode for Certificate {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Qc(qc) => {
                out.push(1);
                qc.encode(out);
            }
            Self::Tc(tc) => {
                out.push(2);
                tc.encode(out);
            }
            Self::Commit(cert) => {
                out.push(3);
                cert.encode(out);
            }
            Self::Filler(cert, header) => {
                out.push(4);
                cert.encode(out);
                header.encode(out);
            }
        }
    }
}

impl Decode for Certificate {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            1 => Ok(Self::Qc(Qc::decode(reader)?)),
            2 => Ok(Self::Tc(Tc::decode(reader)?)),
            3 => Ok(Self::Commit(CommitCert::decode(reader)?)),
            4 => Ok(Self::Filler(CommitCert::decode(reader)?, Header::decode(reader)?)),
            tag => Err(DecodeError::Invalid { what: "certificate tag", value: tag.into() }),
        }
    }
}

/// The count of signatures is that of the bitmap and not written again.
fn encode_signatures(signers: &SignerSet, signatures: &[Signature], out: &mut Vec<u8>) {
    assert_eq!(signers.count(), signatures.len(), "one signature per signer");
    signers.encode(out);
    for signature in signatures {
        signature.encode(out);
    }
}

fn decode_signatures(reader: &mut Reader<'_>) -> Result<(SignerSet, Vec<Signature>), DecodeError> {
    let signers = SignerSet::decode(reader)?;
    let count = signers.count();
    assert!(count <= COMMITTEE_SIZE_MAX, "a bitmap bounds its members");
    if count * 64 > reader.remaining() {
        return Err(DecodeError::Short { need: count * 64, have: reader.remaining() });
    }
    let mut signatures = Vec::with_capacity(count);
    for _ in 0..count {
        signatures.push(Signature::decode(reader)?);
    }
    Ok((signers, signatures))
}
