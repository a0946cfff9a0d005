//! Why a proof, a checkpoint or a step forward is refused.

use bizra_types::envelope::EnvelopeError;
use bizra_types::hash::{BlockId, ChainId, ExecHash, Hash};
use bizra_types::json::{JsonError, SchemaError};
use bizra_types::numbers::{Era, Height, LogIndex, View};
use bizra_types::proof::FormError;
use bizra_types::verify::Fault;

/// Why a proof does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The bytes are no proof.
    #[error("not a proof: {0}")]
    Form(#[from] FormError),
    /// The record is no signed envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The record names another chain.
    #[error("the envelope is for chain {found}, not for {expected}")]
    EnvelopeChain {
        /// The chain it names.
        found: ChainId,
        /// The client's chain.
        expected: ChainId,
    },
    /// The path does not lead from the record to the log's root.
    #[error(
        "the inclusion path does not lead from record {index} to the root of the log of {size}"
    )]
    Inclusion {
        /// Where the record is said to stand.
        index: LogIndex,
        /// Records in the log.
        size: u64,
    },
    /// The path does not lead from the entry, or from where it would be, to the state's root.
    #[error(
        "no path leads from the entry of family {family} with this key to the state root {root}"
    )]
    State {
        /// The entry's family.
        family: u8,
        /// Root of the state tree after the block.
        root: Hash,
    },
    /// A block of another chain.
    #[error("a block is of chain {found}, not of {expected}")]
    Chain {
        /// The chain its header names.
        found: ChainId,
        /// The client's chain.
        expected: ChainId,
    },
    /// A block or certificate of another era than its place in the proof has.
    #[error("a block or certificate of era {found} stands where era {expected} is due")]
    Era {
        /// The era it names.
        found: Era,
        /// The era that is due.
        expected: Era,
    },
    /// Heights do not grow from one committee change to the next.
    #[error("height {found} follows an era that ended at height {previous}")]
    Height {
        /// The later height.
        found: Height,
        /// Where the era before ended.
        previous: Height,
    },
    /// The log shrinks from one committee change to the next.
    #[error("a log of {found} records follows an era that ended with {previous}")]
    LogSize {
        /// The later size.
        found: u64,
        /// The size at the end of the era before.
        previous: u64,
    },
    /// The block is a filler, and so never final.
    #[error("the block at height {0} is a filler")]
    Filler(Height),
    /// The filler does not close the block, with its exec and at its height.
    #[error("the filler at height {0} does not close the block")]
    FillerClosesOther(Height),
    /// There is a filler, but the block ends no era.
    #[error("a filler stands beside a block that ends no era")]
    FillerWithoutEnd,
    /// The certificate is for another block.
    #[error("the certificate is for block {found}, not for {expected}")]
    Block {
        /// The block it names.
        found: BlockId,
        /// The block, or the filler in its stead.
        expected: BlockId,
    },
    /// The certificate is of another view than its block.
    #[error("the certificate is of view {found}, the block of view {expected}")]
    View {
        /// The view the certificate names.
        found: View,
        /// The view the header names.
        expected: View,
    },
    /// The certificate is for another result.
    #[error("the certificate is for exec {certified}, the fields hash to {fields}")]
    Exec {
        /// The exec that was signed.
        certified: ExecHash,
        /// Hash of the fields.
        fields: ExecHash,
    },
    /// More signatures than a quorum: each beyond would be a bit that is free.
    #[error("{signers} signatures, where a proof carries exactly the quorum of {quorum}")]
    Signers {
        /// Signatures in the certificate.
        signers: usize,
        /// The quorum.
        quorum: usize,
    },
    /// The certificate's bitmap or signatures are wrong.
    #[error("the certificate: {0}")]
    Certificate(#[from] Fault),
    /// The committee of a change is not the one that was signed.
    #[error("the committee hashes to {found}, the era before named {expected}")]
    Committee {
        /// Hash of the list in the proof.
        found: Hash,
        /// What `next_committee` says; zero if the block ends no era.
        expected: Hash,
    },
    /// The proof ends in an era before the checkpoint's, whose keys may be stolen by now.
    #[error(
        "a proof of era {found}, where the checkpoint is of era {checkpoint}: ask for one against a later block"
    )]
    OldEra {
        /// The proof's era.
        found: Era,
        /// The checkpoint's era.
        checkpoint: Era,
    },
    /// The proof leads to another start of the checkpoint's era.
    #[error(
        "era {era} starts from block {found} with committee {committee}, the checkpoint knows another"
    )]
    OtherHistory {
        /// The checkpoint's era.
        era: Era,
        /// The root that the proof leads to.
        found: BlockId,
        /// The hash of the committee that the proof leads to.
        committee: Hash,
    },
    /// It cannot be of one chain with the checkpoint.
    #[error(
        "at height {height} and log size {size} the proof shows another chain than the checkpoint"
    )]
    SplitView {
        /// The proof's height.
        height: Height,
        /// The proof's log size.
        size: u64,
    },
}

/// Why a checkpoint does not move.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdvanceError {
    /// The proof does not hold.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The new head is behind the checkpoint.
    #[error(
        "height {found} with a log of {size} is behind the checkpoint: height {checkpoint}, log of {checkpoint_size}"
    )]
    Behind {
        /// The new height.
        found: Height,
        /// The new log size.
        size: u64,
        /// The checkpoint's height.
        checkpoint: Height,
        /// The checkpoint's log size.
        checkpoint_size: u64,
    },
    /// The new log does not continue the checkpoint's.
    #[error("nothing shows that the log of {to} records continues the checkpoint's of {from}")]
    Inconsistent {
        /// The checkpoint's log size.
        from: u64,
        /// The new log size.
        to: u64,
    },
}

/// Why a checkpoint is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not JSON, or not strict JSON.
    #[error("checkpoint: {0}")]
    Json(#[from] JsonError),
    /// A member is missing, unknown or of the wrong form.
    #[error("checkpoint: {0}")]
    Schema(#[from] SchemaError),
    /// Of another chain.
    #[error("a checkpoint of chain {found}, not of {expected}")]
    Chain {
        /// The chain it names.
        found: ChainId,
        /// The chain of the genesis file.
        expected: ChainId,
    },
    /// It contradicts the genesis file or itself.
    #[error("a checkpoint of era {era} at height {height} that no chain of this genesis file has")]
    Impossible {
        /// Its era.
        era: Era,
        /// Its height.
        height: Height,
    },
}
