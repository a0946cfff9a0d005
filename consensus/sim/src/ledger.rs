//! A ledger of one rule: an exec hashes its parent's and the records.

use bizra_types::batch::SignedBatch;
use bizra_types::hash::ExecHash;
use std::sync::Arc;

/// Exec of the genesis block.
pub(crate) fn genesis_exec() -> ExecHash {
    ExecHash(*blake3::hash(b"genesis").as_bytes())
}

/// Exec of a block on its parent, from the cited batches in order.
pub(crate) fn exec<'a>(
    parent: ExecHash,
    batches: impl IntoIterator<Item = &'a Arc<SignedBatch>>,
) -> ExecHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(parent.as_bytes());
    for batch in batches {
        for record in batch.records().iter() {
            hasher.update(&record.bytes);
        }
    }
    ExecHash(*hasher.finalize().as_bytes())
}
