//! The record log: an append-only Merkle tree as RFC 9162 wants it (SHA-256).
//!
//! A leaf is the canonical bytes of a signed envelope. Every hash of a complete
//! subtree is stored once and never changes; hashes are numbered densely in the
//! order in which they come to exist ([`tlog_tiles::stored_hash_index`]), so
//! that a block adds one contiguous run of them, and a store is a map from a
//! number to 32 bytes.

use bizra_types::hash::Hash;
use core::cell::RefCell;

/// Root of the log that holds nothing: SHA-256 of no bytes.
pub const EMPTY_ROOT: Hash = Hash(tlog_tiles::EMPTY_HASH.0);

/// Stored hashes by their number.
pub trait LogHashes {
    /// The hashes of these numbers, in their order.
    ///
    /// # Errors
    /// When the store cannot be read, or does not hold one of them.
    fn log_hashes(&self, numbers: &[u64]) -> Result<Vec<Hash>, StorageError>;
}

/// The store under the ledger failed. Never an outcome: the caller stops.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger's storage failed: {0}")]
pub struct StorageError(pub String);

/// Why a log proof was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The record is not in a log of this size.
    #[error("record {index} is not in a log of {size} records")]
    NotInLog {
        /// The record asked for.
        index: u64,
        /// Records in the log.
        size: u64,
    },
    /// The older log is larger than the newer one.
    #[error("a log of {to} records does not continue one of {from}")]
    Shrinks {
        /// Records in the log called older.
        from: u64,
        /// Records in the log called newer.
        to: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Stored hashes that a log of `size` records has; also the number of the next one.
#[must_use]
pub fn stored_hash_count(size: u64) -> u64 {
    tlog_tiles::stored_hash_count(size)
}

/// Hash of a leaf.
#[must_use]
pub fn leaf_hash(record: &[u8]) -> Hash {
    Hash(tlog_tiles::record_hash(record).0)
}

/// Root of the log of `size` records.
///
/// # Errors
/// When the store fails.
pub fn root<S: LogHashes + ?Sized>(size: u64, store: &S) -> Result<Hash, StorageError> {
    let adapter = Adapter::new(store);
    let result = tlog_tiles::tree_hash(size, &adapter);
    adapter.settle(result).map(|root| Hash(root.0))
}

/// The path from record `index` to the root of the log of `size` records, leaf
/// side first.
///
/// # Errors
/// When there is no such record, or the store fails.
pub fn inclusion_proof<S: LogHashes + ?Sized>(
    size: u64,
    index: u64,
    store: &S,
) -> Result<Vec<Hash>, LogError> {
    if index >= size {
        return Err(LogError::NotInLog { index, size });
    }
    let adapter = Adapter::new(store);
    let result = tlog_tiles::prove_record(size, index, &adapter);
    Ok(adapter.settle(result)?.into_iter().map(|hash| Hash(hash.0)).collect())
}

/// The proof that the log of `to` records continues the one of `from` records.
/// It is empty when the sizes are equal, and when the older log is empty, which
/// every log continues.
///
/// # Errors
/// When `from` is larger than `to`, or the store fails.
pub fn consistency_proof<S: LogHashes + ?Sized>(
    from: u64,
    to: u64,
    store: &S,
) -> Result<Vec<Hash>, LogError> {
    if from > to {
        return Err(LogError::Shrinks { from, to });
    }
    if from == 0 {
        return Ok(Vec::new());
    }
    let adapter = Adapter::new(store);
    let result = tlog_tiles::prove_tree(to, from, &adapter);
    Ok(adapter.settle(result)?.into_iter().map(|hash| Hash(hash.0)).collect())
}

/// Whether the proof shows that the log with this root holds the leaf at `index`.
#[must_use]
pub fn is_included(proof: &[Hash], size: u64, root: Hash, index: u64, leaf: Hash) -> bool {
    let proof = proof.iter().map(|hash| tlog_tiles::Hash(hash.0)).collect();
    let (root, leaf) = (tlog_tiles::Hash(root.0), tlog_tiles::Hash(leaf.0));
    tlog_tiles::check_record(&proof, size, root, index, leaf).is_ok()
}

/// Whether the proof shows that the log (`to`, `to_root`) continues the log
/// (`from`, `from_root`).
#[must_use]
pub fn is_consistent(proof: &[Hash], from: u64, from_root: Hash, to: u64, to_root: Hash) -> bool {
    if from == 0 {
        return proof.is_empty() && from_root == EMPTY_ROOT && (to > 0 || to_root == EMPTY_ROOT);
    }
    let proof = proof.iter().map(|hash| tlog_tiles::Hash(hash.0)).collect();
    let (from_root, to_root) = (tlog_tiles::Hash(from_root.0), tlog_tiles::Hash(to_root.0));
    tlog_tiles::check_tree(&proof, to, to_root, from, from_root).is_ok()
}

/// Records appended to a stored log, not stored themselves yet.
#[derive(Debug)]
pub struct Appended<'a, S: ?Sized> {
    store: &'a S,
    size: u64,
    first_number: u64,
    hashes: Vec<Hash>,
}

impl<'a, S: LogHashes + ?Sized> Appended<'a, S> {
    /// Nothing appended yet to the log of `size` records in `store`.
    #[must_use]
    pub fn new(size: u64, store: &'a S) -> Self {
        Self { store, size, first_number: stored_hash_count(size), hashes: Vec::new() }
    }

    /// Appends a record, of which this is the [leaf](leaf_hash), and gives its index.
    ///
    /// # Errors
    /// When the store fails; then nothing was appended.
    pub fn push(&mut self, leaf: Hash) -> Result<u64, StorageError> {
        let (index, count) = (self.size, self.hashes.len());
        let mut node = tlog_tiles::Hash(leaf.0);
        self.hashes.push(leaf);
        // It completes one subtree for each 1 at the end of its index.
        for level in 0..index.trailing_ones() as u8 {
            let left = tlog_tiles::stored_hash_index(level, (index >> level) - 1);
            match self.log_hash(left) {
                Ok(left) => node = tlog_tiles::node_hash(tlog_tiles::Hash(left.0), node),
                Err(failure) => {
                    self.hashes.truncate(count);
                    return Err(failure);
                }
            }
            self.hashes.push(Hash(node.0));
        }
        self.size += 1;
        Ok(index)
    }

    /// One stored hash; most that appending asks for were appended before.
    fn log_hash(&self, number: u64) -> Result<Hash, StorageError> {
        let new = number.checked_sub(self.first_number).and_then(|at| usize::try_from(at).ok());
        match new {
            Some(at) => Ok(self.hashes[at]),
            None => {
                let found = self.store.log_hashes(&[number])?;
                found.first().copied().ok_or_else(|| missing(number))
            }
        }
    }

    /// Records in the log with the appended ones.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Root with the appended records.
    ///
    /// # Errors
    /// When the store fails.
    pub fn root(&self) -> Result<Hash, StorageError> {
        root(self.size, self)
    }

    /// The number of the first new hash, and the new hashes that follow from it.
    #[must_use]
    pub fn into_hashes(self) -> (u64, Vec<Hash>) {
        (self.first_number, self.hashes)
    }
}

impl<S: LogHashes + ?Sized> LogHashes for Appended<'_, S> {
    fn log_hashes(&self, numbers: &[u64]) -> Result<Vec<Hash>, StorageError> {
        read_layered(numbers, self.first_number, &self.hashes, |older| self.store.log_hashes(older))
    }
}

/// Reads hashes from `first_number` on from `hashes`, and the ones before through `older`.
pub(crate) fn read_layered(
    numbers: &[u64],
    first_number: u64,
    hashes: &[Hash],
    older: impl FnOnce(&[u64]) -> Result<Vec<Hash>, StorageError>,
) -> Result<Vec<Hash>, StorageError> {
    let old_numbers: Vec<u64> =
        numbers.iter().copied().filter(|number| *number < first_number).collect();
    let old_hashes = if old_numbers.is_empty() { Vec::new() } else { older(&old_numbers)? };
    let mut old_hashes = old_hashes.into_iter();
    numbers
        .iter()
        .map(|number| {
            let hash = match number.checked_sub(first_number) {
                None => old_hashes.next(),
                Some(at) => usize::try_from(at).ok().and_then(|at| hashes.get(at)).copied(),
            };
            hash.ok_or_else(|| missing(*number))
        })
        .collect()
}

fn missing(number: u64) -> StorageError {
    StorageError(format!("stored hash {number} is missing"))
}

/// Lends a store to `tlog_tiles` and keeps its failure.
struct Adapter<'a, S: ?Sized> {
    store: &'a S,
    failure: RefCell<Option<StorageError>>,
}

impl<'a, S: LogHashes + ?Sized> Adapter<'a, S> {
    const fn new(store: &'a S) -> Self {
        Self { store, failure: RefCell::new(None) }
    }

    /// Turns the result of tree arithmetic into ours. The arithmetic fails only
    /// through the store, because sizes and indexes were checked before.
    fn settle<T>(self, result: Result<T, tlog_tiles::Error>) -> Result<T, StorageError> {
        result.map_err(|error| {
            let failure = self.failure.into_inner();
            failure.unwrap_or_else(|| panic!("the tree's arithmetic failed: {error}"))
        })
    }
}

impl<S: LogHashes + ?Sized> tlog_tiles::HashReader for Adapter<'_, S> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        let hashes = self.store.log_hashes(indexes).and_then(|hashes| {
            if hashes.len() == indexes.len() {
                Ok(hashes)
            } else {
                let (want, have) = (indexes.len(), hashes.len());
                Err(StorageError(format!("{want} stored hashes were asked for, {have} came")))
            }
        });
        match hashes {
            Ok(hashes) => Ok(hashes.into_iter().map(|hash| tlog_tiles::Hash(hash.0)).collect()),
            Err(failure) => {
                *self.failure.borrow_mut() = Some(failure);
                Err(tlog_tiles::Error::IndexesNotInTree)
            }
        }
    }
}

#[cfg(test)]
mod tests;
