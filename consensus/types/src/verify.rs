//! From what a peer sent to what the engine may believe.
//!
//! [`Verified<T>`] has one constructor, in this file: whoever holds one knows
//! that its signatures, its certificates' signatures and its shape were
//! checked against the committee of its era. What only the engine can judge
//! (views, parents, times) is judged there.

use crate::batch::SignedBatch;
use crate::block::{Block, FinalHeader, Reveal, SignedProposal, proposal_signed_bytes};
use crate::certificate::{Certificate, CommitCert, Qc, Tc};
use crate::committee::{Committee, SignerSet};
use crate::crypto::{PublicKey, Signature, SignatureCheck, SignatureMemo};
use crate::hash::{BlockId, ChainId};
use crate::message::{
    BatchAck, BatchHint, MISSING_AUTHORS_MAX, SignedCommitVote, SignedTimeout, SignedVote,
};
use crate::numbers::{Era, ValidatorIndex, View};
use crate::planted::{Bug, is_planted};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Data whose signatures and shape have been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// The checked data.
    pub const fn get(&self) -> &T {
        &self.0
    }

    /// The checked data, by value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl Verified<FinalHeader> {
    /// The certificate alone: it was checked with the header.
    #[must_use]
    pub fn into_certificate(self) -> Verified<Certificate> {
        Verified(Certificate::Commit(self.0.commit))
    }
}

/// A message of an authenticated peer that carries no signature of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From<T> {
    /// The peer, by its place in the committee.
    pub sender: ValidatorIndex,
    /// What it said.
    pub message: T,
}

/// What is known of the chain: its id, and the committee and root of each era.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The chain.
    pub chain_id: ChainId,
    eras: BTreeMap<Era, EraContext>,
}

/// One era: who votes, and the block it starts from.
#[derive(Clone, Debug)]
pub struct EraContext {
    /// Who votes.
    pub committee: Arc<Committee>,
    /// The block that the canonical certificate of view 0 certifies.
    pub root: BlockId,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Of an era that this node does not know (yet).
    #[error("era {0} is not known here")]
    Era(Era),
    /// Of another chain.
    #[error("for chain {0}")]
    Chain(ChainId),
    /// The signer is no member of the era's committee.
    #[error("signer {0} is no member of the committee")]
    Signer(ValidatorIndex),
    /// The author of a batch is no member of its era's committee.
    #[error("author {0} is no member of the committee")]
    Author(PublicKey),
    /// A signature does not verify.
    #[error("a signature does not verify")]
    Signature,
    /// A certificate has too few signers, or a bitmap of another size.
    #[error(
        "a certificate of {signers} signers of {committee}, where {quorum} of {expected} are needed"
    )]
    Quorum {
        /// Signers in its bitmap.
        signers: usize,
        /// Size its bitmap claims.
        committee: usize,
        /// Signers that are needed.
        quorum: usize,
        /// Size of the committee.
        expected: usize,
    },
    /// Fields contradict each other.
    #[error("{0}")]
    Inconsistent(&'static str),
}

impl Fault {
    /// Whether only a faulty peer can have sent it. A message of an unknown
    /// era may come from an honest peer that is ahead.
    #[must_use]
    pub const fn is_misbehaviour(&self) -> bool {
        !matches!(self, Self::Era(_))
    }
}

impl Chain {
    /// A chain in its first era.
    #[must_use]
    pub fn new(chain_id: ChainId, committee: Arc<Committee>, genesis: BlockId) -> Self {
        let first = EraContext { committee, root: genesis };
        Self { chain_id, eras: BTreeMap::from([(Era::new(1), first)]) }
    }

    /// The era's context.
    ///
    /// # Errors
    /// When the era is not known.
    pub fn era(&self, era: Era) -> Result<&EraContext, Fault> {
        self.eras.get(&era).ok_or(Fault::Era(era))
    }

    /// The last era known.
    #[must_use]
    pub fn newest(&self) -> Era {
        *self.eras.last_key_value().expect("there is a first era").0
    }

    /// The eras that are known, ascending.
    pub fn eras(&self) -> impl Iterator<Item = (Era, &EraContext)> {
        self.eras.iter().map(|(era, context)| (*era, context))
    }

    /// Adds an era that follows the last one known.
    ///
    /// # Panics
    /// When it does not follow: eras are never skipped or redefined.
    pub fn add_era(&mut self, era: Era, context: EraContext) {
        assert_eq!(era, self.newest().next(), "eras follow one another");
        self.eras.insert(era, context);
    }
}

/// Checks what peers send, each signature once.
#[derive(Debug)]
pub struct Verifier {
    chain: Chain,
    memo: SignatureMemo,
}

impl Verifier {
    /// A verifier for a chain. `memo` may already know signatures.
    #[must_use]
    pub const fn new(chain: Chain, memo: SignatureMemo) -> Self {
        Self { chain, memo }
    }

    /// What is known of the chain.
    #[must_use]
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Adds an era that follows the last one known.
    ///
    /// # Panics
    /// When it does not follow.
    pub fn add_era(&mut self, era: Era, context: EraContext) {
        self.chain.add_era(era, context);
    }

    /// The memory of good signatures, to note one that was made here.
    pub const fn memo(&mut self) -> &mut SignatureMemo {
        &mut self.memo
    }

    /// Checks a proposal: proposer's signature, justification, TC.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn proposal(
        &mut self,
        proposal: SignedProposal,
    ) -> Result<Verified<SignedProposal>, Fault> {
        let header = proposal.block.header();
        self.block_shape(&proposal.block)?;
        let key = self.signer_key(header.era, header.proposer)?;
        self.signature(key, &proposal_signed_bytes(header), proposal.signature)?;
        self.qc_signatures(proposal.block.justify())?;
        if let Some(tc) = &proposal.tc {
            if (tc.era, Some(tc.view)) != (header.era, header.view.previous()) {
                return Err(Fault::Inconsistent("a proposal carries the TC of another view"));
            }
            self.tc_signatures(tc)?;
        }
        let justify = proposal.block.justify().vote.view;
        let is_direct = Some(justify) == header.view.previous();
        let is_old = |tc: &Tc| justify < tc.high_qc.vote.view;
        if !is_direct
            && proposal.tc.as_ref().is_none_or(is_old)
            && !is_planted(Bug::TcWithoutHighestQc)
        {
            return Err(Fault::Inconsistent("a proposal that no rule lets anybody vote for"));
        }
        Ok(Verified(proposal))
    }

    /// Checks a block that was asked for: shape and justification.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn block(&mut self, block: Block) -> Result<Verified<Block>, Fault> {
        self.block_shape(&block)?;
        self.qc_signatures(block.justify())?;
        Ok(Verified(block))
    }

    /// Checks a vote.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn vote(&mut self, vote: SignedVote) -> Result<Verified<SignedVote>, Fault> {
        let key = self.signer_key(vote.vote.era, vote.signer)?;
        if vote.vote.view == View::ZERO {
            return Err(Fault::Inconsistent("a vote in view 0"));
        }
        self.signature(key, &vote.vote.signed_bytes(&self.chain.chain_id), vote.signature)?;
        Ok(Verified(vote))
    }

    /// Checks a commit vote.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn commit_vote(
        &mut self,
        vote: SignedCommitVote,
    ) -> Result<Verified<SignedCommitVote>, Fault> {
        let key = self.signer_key(vote.vote.era, vote.signer)?;
        if vote.vote.view == View::ZERO {
            return Err(Fault::Inconsistent("a commit vote in view 0"));
        }
        self.signature(key, &vote.vote.signed_bytes(&self.chain.chain_id), vote.signature)?;
        Ok(Verified(vote))
    }

    /// Checks a timeout and the certificates beside it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn timeout(&mut self, timeout: SignedTimeout) -> Result<Verified<SignedTimeout>, Fault> {
        let signed = timeout.timeout;
        let key = self.signer_key(signed.era, timeout.signer)?;
        if signed.view == View::ZERO || signed.high_qc_view >= signed.view {
            return Err(Fault::Inconsistent("a timeout whose high QC is not of an earlier view"));
        }
        if timeout.high_qc.rank() != (signed.era, signed.high_qc_view) {
            return Err(Fault::Inconsistent("a timeout beside another high QC than it names"));
        }
        if timeout.missing.len() > MISSING_AUTHORS_MAX {
            return Err(Fault::Inconsistent("a timeout that names too many authors"));
        }
        let entry = match &timeout.entry_tc {
            None => signed.high_qc_view,
            Some(tc) if tc.era == signed.era => tc.view,
            Some(_) => return Err(Fault::Inconsistent("a timeout beside a TC of another era")),
        };
        if Some(entry) != signed.view.previous() && !is_planted(Bug::TimeoutWithoutTc) {
            return Err(Fault::Inconsistent(
                "a timeout without the certificate of its view's entry",
            ));
        }
        self.signature(key, &signed.signed_bytes(&self.chain.chain_id), timeout.signature)?;
        self.qc_signatures(&timeout.high_qc)?;
        if let Some(tc) = &timeout.entry_tc {
            self.tc_signatures(tc)?;
        }
        Ok(Verified(timeout))
    }

    /// Checks a certificate.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn certificate(
        &mut self,
        certificate: Certificate,
    ) -> Result<Verified<Certificate>, Fault> {
        match &certificate {
            Certificate::Qc(qc) => self.qc_signatures(qc)?,
            Certificate::Tc(tc) => self.tc_signatures(tc)?,
            Certificate::Commit(cert) => self.commit_cert_signatures(cert)?,
            Certificate::Filler(cert, header) => {
                let vote = &cert.vote;
                if (header.id(), header.era, header.view) != (vote.block, vote.era, vote.view)
                    || header.closes.map(|closes| closes.exec) != Some(vote.exec)
                {
                    return Err(Fault::Inconsistent(
                        "a certificate of a filler beside another header than its own",
                    ));
                }
                self.commit_cert_signatures(cert)?;
            }
        }
        Ok(Verified(certificate))
    }

    /// Checks a final header: its certificate is good and names it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn final_header(&mut self, head: FinalHeader) -> Result<Verified<FinalHeader>, Fault> {
        let FinalHeader { header, commit } = &head;
        if header.chain_id != self.chain.chain_id {
            return Err(Fault::Chain(header.chain_id));
        }
        if header.closes.is_some() {
            return Err(Fault::Inconsistent("a filler as a final header"));
        }
        let named = (commit.vote.era, commit.vote.view, commit.vote.block);
        if named != (header.era, header.view, header.id()) {
            return Err(Fault::Inconsistent("a final header beside another block's certificate"));
        }
        self.commit_cert_signatures(commit)?;
        Ok(Verified(head))
    }

    /// Checks a batch: its author is a validator of the batch's era and signed it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn batch(&mut self, batch: SignedBatch) -> Result<Verified<SignedBatch>, Fault> {
        let header = batch.header();
        let committee = &self.chain.era(header.era)?.committee;
        if committee.index_of(&header.author).is_none() {
            return Err(Fault::Author(header.author));
        }
        let message = header.signed_bytes(&self.chain.chain_id);
        self.signature(header.author, &message, batch.signature())?;
        Ok(Verified(batch))
    }

    /// Checks that a reveal is of a member. Its proof needs the chain's seed
    /// and is checked by the engine.
    ///
    /// # Errors
    /// When the validator is no member of `era`.
    pub fn reveal(&self, era: Era, reveal: Reveal) -> Result<Verified<Reveal>, Fault> {
        self.signer_key(era, reveal.validator)?;
        Ok(Verified(reveal))
    }

    /// An acknowledgement from an authenticated peer.
    ///
    /// # Errors
    /// When the peer is no member of `era`.
    pub fn batch_ack(
        &self,
        era: Era,
        sender: ValidatorIndex,
        message: BatchAck,
    ) -> Result<Verified<From<BatchAck>>, Fault> {
        self.signer_key(era, sender)?;
        Ok(Verified(From { sender, message }))
    }

    /// A hint from an authenticated peer.
    ///
    /// # Errors
    /// When the peer is no member of `era`.
    pub fn batch_hint(
        &self,
        era: Era,
        sender: ValidatorIndex,
        message: BatchHint,
    ) -> Result<Verified<From<BatchHint>>, Fault> {
        self.signer_key(era, sender)?;
        Ok(Verified(From { sender, message }))
    }

    fn block_shape(&self, block: &Block) -> Result<(), Fault> {
        let header = block.header();
        if header.chain_id != self.chain.chain_id {
            return Err(Fault::Chain(header.chain_id));
        }
        self.signer_key(header.era, header.proposer)?;
        if header.view == View::ZERO || block.justify().vote.view >= header.view {
            return Err(Fault::Inconsistent(
                "a block whose justification is not of an earlier view",
            ));
        }
        for reveal in block.reveals() {
            self.signer_key(header.era, reveal.validator)?;
        }
        if block.is_filler() && !(block.citations().is_empty() && block.reveals().is_empty()) {
            return Err(Fault::Inconsistent("a filler that orders something"));
        }
        Ok(())
    }

    fn signer_key(&self, era: Era, signer: ValidatorIndex) -> Result<PublicKey, Fault> {
        self.chain.era(era)?.committee.key(signer).ok_or(Fault::Signer(signer))
    }

    fn signature(
        &mut self,
        key: PublicKey,
        message: &[u8],
        signature: Signature,
    ) -> Result<(), Fault> {
        let check = SignatureCheck { key, message, signature };
        if self.memo.all_good(&[check]) { Ok(()) } else { Err(Fault::Signature) }
    }

    fn qc_signatures(&mut self, qc: &Qc) -> Result<(), Fault> {
        let era = self.chain.era(qc.vote.era)?;
        if qc.vote.view == View::ZERO {
            return if *qc == Qc::root(qc.vote.era, era.root, era.committee.size()) {
                Ok(())
            } else {
                Err(Fault::Inconsistent("a QC of view 0 that is not the era's root"))
            };
        }
        let message = qc.vote.signed_bytes(&self.chain.chain_id);
        let messages = core::iter::repeat(message.as_slice());
        quorum_signatures(&mut self.memo, &era.committee, &qc.signers, &qc.signatures, messages)
    }

    fn commit_cert_signatures(&mut self, cert: &CommitCert) -> Result<(), Fault> {
        let era = self.chain.era(cert.vote.era)?;
        let message = cert.vote.signed_bytes(&self.chain.chain_id);
        let messages = core::iter::repeat(message.as_slice());
        quorum_signatures(&mut self.memo, &era.committee, &cert.signers, &cert.signatures, messages)
    }

    fn tc_signatures(&mut self, tc: &Tc) -> Result<(), Fault> {
        let era = self.chain.era(tc.era)?;
        let highest = tc.high_qc_views.iter().max().copied().unwrap_or_default();
        if highest >= tc.view || tc.high_qc.rank() != (tc.era, highest) {
            return Err(Fault::Inconsistent("a TC without the highest QC of its signers"));
        }
        let messages: Vec<_> =
            tc.timeouts().map(|timeout| timeout.signed_bytes(&self.chain.chain_id)).collect();
        let messages = messages.iter().map(Vec::as_slice);
        quorum_signatures(&mut self.memo, &era.committee, &tc.signers, &tc.signatures, messages)?;
        self.qc_signatures(&tc.high_qc)
    }
}

/// Whether at least a quorum of the registered committee signed, each its message.
///
/// # Errors
/// When the bitmap is of another size, signers are too few or a signature is bad.
pub fn quorum_signatures<'a>(
    memo: &mut SignatureMemo,
    committee: &Committee,
    signers: &SignerSet,
    signatures: &[Signature],
    messages: impl Iterator<Item = &'a [u8]>,
) -> Result<(), Fault> {
    let count = signers.count();
    if signers.committee_size() != committee.size()
        || !is_quorum(count, committee)
        || signatures.len() != count
    {
        return Err(Fault::Quorum {
            signers: count,
            committee: signers.committee_size(),
            quorum: committee.quorum(),
            expected: committee.size(),
        });
    }
    let checks: Vec<_> = signers
        .iter()
        .zip(signatures)
        .zip(messages)
        .map(|((signer, signature), message)| SignatureCheck {
            key: committee.key(signer).expect("the bitmap has the committee's size"),
            message,
            signature: *signature,
        })
        .collect();
    if checks.len() == count && memo.all_good(&checks) { Ok(()) } else { Err(Fault::Signature) }
}

fn is_quorum(count: usize, committee: &Committee) -> bool {
    count >= committee.quorum()
        || is_planted(Bug::QuorumOfLivePeers)
        || is_planted(Bug::DuplicateVotesCounted)
}
