//! What a certificate proves of the executed state, and what execution changes in the rules of
//! ordering.

use crate::committee::Committee;
use crate::encode_fields;
use crate::encoding::Encode;
use crate::hash::{Context, ExecHash, Hash};
use crate::numbers::{Height, ProtocolVersion};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Root of the state tree while it holds nothing, and hash of every place in it
/// that is empty: the placeholder of Jellyfish Merkle trees.
pub const EMPTY_STATE_ROOT: Hash = Hash(*b"SPARSE_MERKLE_PLACEHOLDER_HASH__");

/// The fields of `exec`, the commitment to everything executed up to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecFields {
    /// `exec` of the parent block; zero at genesis.
    pub parent: ExecHash,
    /// RFC 9162 root of the log (SHA-256).
    pub log_root: Hash,
    /// Records in the log.
    pub log_size: u64,
    /// Root of the authenticated state tree.
    pub state_root: Hash,
    /// Digest of the plain families.
    pub plain_digest: Hash,
    /// Merkle root over the outcomes of this block's records.
    pub outcomes_root: Hash,
    /// Hash of the committee that takes over after this block; zero when unset.
    pub next_committee: Hash,
}

/// What the execution of a block changes for the blocks after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// The committee that takes over: the block ends its era.
    pub next_committee: Option<Arc<Committee>>,
    /// Another version of the protocol, from a later height on.
    pub activation: Option<Activation>,
    /// Other numbers for the engine, in the order decided.
    pub parameters: Vec<ParameterChange>,
}

/// A number of the engine's that governance has decided anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterChange {
    /// Which of [`Parameters`].
    pub name: &'static str,
    /// What it is from now on.
    pub value: u64,
}

/// A version that comes into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activation {
    /// The first height that follows it.
    pub height: Height,
    /// The version.
    pub version: ProtocolVersion,
}

impl ExecFields {
    /// The commitment.
    #[must_use]
    pub fn hash(&self) -> ExecHash {
        ExecHash(Context::Exec.hash(&[&self.to_bytes()]).0)
    }
}

encode_fields!(ExecFields {
    parent,
    log_root,
    log_size,
    state_root,
    plain_digest,
    outcomes_root,
    next_committee,
});
