//! The client: what it knows, and how it judges a proof.

use crate::checkpoint::Checkpoint;
use crate::error::{AdvanceError, CheckpointError, ProofError};
use alloc::vec::Vec;
use bizra_types::block::Header;
use bizra_types::certificate::CommitCert;
use bizra_types::committee::Committee;
use bizra_types::crypto::{PublicKey, SignatureMemo};
use bizra_types::envelope::SignedEnvelope;
use bizra_types::execution::ExecFields;
use bizra_types::genesis::{Genesis, GenesisError};
use bizra_types::hash::{BlockId, ChainId, Hash, RecordDigest};
use bizra_types::numbers::{Era, Height, LogIndex, TimestampMs};
use bizra_types::proof::tree::{self, Log};
use bizra_types::proof::{FinalHead, FinalityProof, StateProof};
use bizra_types::verify::quorum_signatures;

/// Judges proofs of one chain.
#[derive(Clone, Debug)]
pub struct Client {
    genesis: Genesis,
    checkpoint: Checkpoint,
}

/// A record that is final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRecord {
    /// Identity of the record.
    pub digest: RecordDigest,
    /// Who signed it.
    pub public_key: PublicKey,
    /// Its place in the log.
    pub log_index: LogIndex,
    /// Canonical bytes of the signed envelope.
    pub envelope: Vec<u8>,
    /// The final block the proof is against: the record's own or a later one.
    pub head: VerifiedHead,
}

/// What the state had for a key after a final block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedEntry {
    /// Number of the family.
    pub family: u8,
    /// The key.
    pub key: Vec<u8>,
    /// The value; `None` when there was no entry.
    pub value: Option<Vec<u8>>,
    /// The final block.
    pub head: VerifiedHead,
}

/// A block that is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedHead {
    /// Its era.
    pub era: Era,
    /// Its height.
    pub height: Height,
    /// Its identity.
    pub block: BlockId,
    /// Chain time of the block.
    pub timestamp_ms: TimestampMs,
    /// The log after it.
    pub log: Log,
    /// Root of the state tree after it.
    pub state_root: Hash,
}

impl Client {
    /// A client that knows the genesis file and nothing else.
    ///
    /// # Errors
    /// When the bytes are no genesis file.
    pub fn from_genesis(genesis: &[u8]) -> Result<Self, GenesisError> {
        Genesis::parse(genesis).map(Self::new)
    }

    /// A client that knows the genesis file, which was read already.
    #[must_use]
    pub fn new(genesis: Genesis) -> Self {
        let checkpoint = Checkpoint::of_genesis(&genesis);
        Self { genesis, checkpoint }
    }

    /// This client, believing in a checkpoint that it kept or that it was
    /// given by someone it trusts.
    ///
    /// # Errors
    /// When the checkpoint is of another chain, or of none that this genesis
    /// file can have.
    pub fn with_checkpoint(self, pinned: Checkpoint) -> Result<Self, CheckpointError> {
        let known = Checkpoint::of_genesis(&self.genesis);
        if pinned.chain_id != known.chain_id {
            let (found, expected) = (pinned.chain_id, known.chain_id);
            return Err(CheckpointError::Chain { found, expected });
        }
        let is_possible = pinned.era >= known.era
            && (pinned.era > known.era
                || (pinned.era_root, pinned.committee) == (known.era_root, known.committee))
            && (pinned.height > known.height || pinned == known)
            && (pinned.log.size > 0 || pinned.log.root == tree::EMPTY_ROOT);
        if !is_possible {
            let (era, height) = (pinned.era, pinned.height);
            return Err(CheckpointError::Impossible { era, height });
        }
        Ok(Self { checkpoint: pinned, ..self })
    }

    /// The chain.
    #[must_use]
    pub const fn chain_id(&self) -> ChainId {
        self.genesis.chain_id()
    }

    /// The genesis file.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// What this client believes in. It moves only by [`Client::advance`].
    #[must_use]
    pub const fn checkpoint(&self) -> Checkpoint {
        self.checkpoint
    }

    /// Judges a proof in either form.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify_bytes(&self, proof: &[u8]) -> Result<VerifiedRecord, ProofError> {
        self.verify(&FinalityProof::from_either(proof)?)
    }

    /// Judges a proof.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&self, proof: &FinalityProof) -> Result<VerifiedRecord, ProofError> {
        // The cheap check first: most of what is damaged ends here.
        let exec = &proof.head.exec;
        let log = Log { size: exec.log_size, root: exec.log_root };
        let leaf = tree::leaf_hash(&proof.envelope);
        if !tree::is_included(&log, proof.log_index.get(), leaf, &proof.inclusion) {
            let (index, size) = (proof.log_index, log.size);
            return Err(ProofError::Inclusion { index, size });
        }
        let head = self.verify_head(&proof.head)?;
        let envelope = SignedEnvelope::verify(&proof.envelope)?;
        let expected = self.chain_id();
        match envelope.chain_id {
            Some(found) if found != expected => Err(ProofError::EnvelopeChain { found, expected }),
            _ => Ok(VerifiedRecord {
                digest: envelope.digest,
                public_key: envelope.public_key,
                log_index: proof.log_index,
                envelope: proof.envelope.clone(),
                head,
            }),
        }
    }

    /// Judges a state proof in either form.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify_state_bytes(&self, proof: &[u8]) -> Result<VerifiedEntry, ProofError> {
        self.verify_state(&StateProof::from_either(proof)?)
    }

    /// Judges a state proof.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify_state(&self, proof: &StateProof) -> Result<VerifiedEntry, ProofError> {
        let StateProof { family, key, path, head } = proof;
        let root = head.exec.state_root;
        if path.root(*family, key) != Some(root) {
            return Err(ProofError::State { family: *family, root });
        }
        let head = self.verify_head(head)?;
        let value = path.entry.value().map(<[u8]>::to_vec);
        Ok(VerifiedEntry { family: *family, key: key.clone(), value, head })
    }

    /// Judges whether a block is final.
    ///
    /// # Errors
    /// What is wrong with the proof.
    pub fn verify_head(&self, head: &FinalHead) -> Result<VerifiedHead, ProofError> {
        self.follow(head).map(|(head, _)| head)
    }

    /// Moves the checkpoint to a final block whose log continues the
    /// checkpoint's. `consistency` is the RFC 9162 proof from the checkpoint's
    /// log size to the head's; it is empty when the two are equal or the
    /// former is 0. On error the checkpoint stays.
    ///
    /// # Errors
    /// When the head is not final, is behind the checkpoint, or shows another
    /// log.
    pub fn advance(
        &mut self,
        head: &FinalHead,
        consistency: &[Hash],
    ) -> Result<VerifiedHead, AdvanceError> {
        let (head, era) = self.follow(head)?;
        let known = &self.checkpoint;
        if head.height < known.height || head.log.size < known.log.size {
            return Err(AdvanceError::Behind {
                found: head.height,
                size: head.log.size,
                checkpoint: known.height,
                checkpoint_size: known.log.size,
            });
        }
        if !tree::is_consistent(&known.log, &head.log, consistency) {
            return Err(AdvanceError::Inconsistent { from: known.log.size, to: head.log.size });
        }
        self.checkpoint = Checkpoint {
            chain_id: known.chain_id,
            era: head.era,
            era_root: era.root,
            committee: era.committee,
            height: head.height,
            block: head.block,
            log: head.log,
        };
        Ok(head)
    }

    /// Follows the eras from genesis to the head, and checks them against the
    /// checkpoint.
    fn follow(&self, head: &FinalHead) -> Result<(VerifiedHead, EraStart), ProofError> {
        let chain_id = self.chain_id();
        let known = &self.checkpoint;
        let mut committee: &Committee = &self.genesis.committee;
        let mut start = EraStart {
            era: Era::new(1),
            root: self.genesis.header().id(),
            committee: committee.hash(),
            height: Height::ZERO,
            log_size: 0,
        };
        for change in &head.eras {
            let block = Certified {
                header: &change.header,
                exec: &change.exec,
                filler: change.filler.as_ref(),
                commit: &change.commit,
            };
            block.check(&chain_id, &start, committee)?;
            if start.era == known.era {
                check_beside(known, &change.header, &change.exec)?;
            }
            let found = change.committee.hash();
            if change.exec.next_committee != found {
                let expected = change.exec.next_committee;
                return Err(ProofError::Committee { found, expected });
            }
            committee = &change.committee;
            start = EraStart {
                era: start.era.next(),
                root: change.header.id(),
                committee: found,
                height: change.header.height,
                log_size: change.exec.log_size,
            };
            if start.era == known.era {
                start.check_against(known)?;
            }
        }
        let FinalHead { exec, header, filler, commit, eras: _ } = head;
        let block = Certified { header, exec, filler: filler.as_ref(), commit };
        block.check(&chain_id, &start, committee)?;
        if start.era < known.era {
            return Err(ProofError::OldEra { found: start.era, checkpoint: known.era });
        }
        let head = VerifiedHead {
            era: start.era,
            height: header.height,
            block: header.id(),
            timestamp_ms: header.timestamp_ms,
            log: Log { size: exec.log_size, root: exec.log_root },
            state_root: exec.state_root,
        };
        check_beside(known, header, exec)?;
        Ok((head, start))
    }
}

/// Whether a block of the checkpoint's era or a later one may be of one chain
/// with it: height and log grow together, and the era did not end before.
fn check_beside(known: &Checkpoint, header: &Header, exec: &ExecFields) -> Result<(), ProofError> {
    let log = Log { size: exec.log_size, root: exec.log_root };
    let by_height = header.height.cmp(&known.height);
    let by_size = log.size.cmp(&known.log.size);
    if (by_height.is_eq() && (header.id(), log) != (known.block, known.log))
        || (by_size.is_eq() && log.root != known.log.root)
        || (by_size.is_ne() && by_size != by_height)
        || (by_height.is_lt() && exec.next_committee != Hash::ZERO)
    {
        return Err(ProofError::SplitView { height: header.height, size: log.size });
    }
    Ok(())
}

/// Where an era begins.
struct EraStart {
    era: Era,
    root: BlockId,
    committee: Hash,
    height: Height,
    log_size: u64,
}

impl EraStart {
    fn check_against(&self, known: &Checkpoint) -> Result<(), ProofError> {
        if (self.root, self.committee) == (known.era_root, known.committee) {
            Ok(())
        } else {
            let (era, found, committee) = (self.era, self.root, self.committee);
            Err(ProofError::OtherHistory { era, found, committee })
        }
    }
}

/// A block with all that makes it final.
struct Certified<'a> {
    header: &'a Header,
    exec: &'a ExecFields,
    filler: Option<&'a Header>,
    commit: &'a CommitCert,
}

impl Certified<'_> {
    /// Whether a quorum of the era's committee committed the block with this
    /// result: itself, or a filler that closes it.
    fn check(
        &self,
        chain_id: &ChainId,
        start: &EraStart,
        committee: &Committee,
    ) -> Result<(), ProofError> {
        let Self { header, exec, filler, commit } = *self;
        for block in core::iter::once(header).chain(filler) {
            if block.chain_id != *chain_id {
                let (found, expected) = (block.chain_id, *chain_id);
                return Err(ProofError::Chain { found, expected });
            }
            self.check_era(block.era, start.era)?;
        }
        self.check_era(commit.vote.era, start.era)?;
        if header.closes.is_some() {
            return Err(ProofError::Filler(header.height));
        }
        if header.height <= start.height {
            let (found, previous) = (header.height, start.height);
            return Err(ProofError::Height { found, previous });
        }
        if exec.log_size < start.log_size {
            let (found, previous) = (exec.log_size, start.log_size);
            return Err(ProofError::LogSize { found, previous });
        }
        let fields = exec.hash();
        let certified = match filler {
            None => header,
            Some(_) if exec.next_committee == Hash::ZERO => {
                return Err(ProofError::FillerWithoutEnd);
            }
            Some(filler) => {
                let closes = filler.closes.map(|closes| (closes.block, closes.exec));
                if closes != Some((header.id(), fields)) || filler.height != header.height {
                    return Err(ProofError::FillerClosesOther(filler.height));
                }
                filler
            }
        };
        let expected = certified.id();
        if commit.vote.block != expected {
            return Err(ProofError::Block { found: commit.vote.block, expected });
        }
        if commit.vote.view != certified.view {
            let (found, expected) = (commit.vote.view, certified.view);
            return Err(ProofError::View { found, expected });
        }
        if commit.vote.exec != fields {
            return Err(ProofError::Exec { certified: commit.vote.exec, fields });
        }
        let (signers, quorum) = (commit.signers.count(), committee.quorum());
        if signers > quorum {
            return Err(ProofError::Signers { signers, quorum });
        }
        let message = commit.vote.signed_bytes(chain_id);
        let messages = core::iter::repeat(message.as_slice());
        // Forgetful: nothing is verified twice here.
        let mut memo = SignatureMemo::new(0);
        let CommitCert { signers, signatures, .. } = commit;
        Ok(quorum_signatures(&mut memo, committee, signers, signatures, messages)?)
    }

    fn check_era(&self, found: Era, expected: Era) -> Result<(), ProofError> {
        if found == expected { Ok(()) } else { Err(ProofError::Era { found, expected }) }
    }
}
