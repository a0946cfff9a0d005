//! A ledger held in memory, for simulations, tests and tools.

use crate::execution::{Base, Head, Overlay};
use crate::log::{LogHashes, StorageError};
use crate::plain::{ByFamily, Family, Key, LtHash};
use crate::state::{self, StaleNodes, StateNodes};
use alloc::collections::BTreeMap;
use bizra_types::hash::Hash;
use bizra_types::numbers::StateVersion;

/// What is committed, in maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLedger {
    head: Head,
    log_hashes: Vec<Hash>,
    plain: ByFamily<Vec<u8>>,
    state_nodes: BTreeMap<Key<'static>, Vec<u8>>,
    stale_nodes: BTreeMap<StateVersion, StaleNodes>,
}

impl MemoryLedger {
    /// The ledger at genesis.
    #[must_use]
    pub fn genesis() -> Self {
        Self {
            head: Head::genesis(),
            log_hashes: Vec::new(),
            plain: ByFamily::new(),
            state_nodes: BTreeMap::new(),
            stale_nodes: BTreeMap::new(),
        }
    }

    /// Writes what a block left.
    ///
    /// # Panics
    /// When the block does not follow the last one.
    pub fn commit(&mut self, overlay: &Overlay) {
        assert_eq!(overlay.fields().parent, self.head.exec, "blocks are committed in order");
        for (number, hash) in overlay.log_hashes() {
            assert_eq!(number, self.log_hashes.len() as u64, "stored hashes are dense");
            self.log_hashes.push(*hash);
        }
        for (family, key, value) in overlay.plain_writes() {
            match value {
                Some(value) => self.plain.insert(family, key, value.to_vec()),
                None => self.plain.remove(family, key),
            };
        }
        for (key, node) in overlay.state_nodes() {
            let old = self.state_nodes.insert(Key::new(key.to_vec()), node.to_vec());
            assert_eq!(old, None, "a node of the state tree is written once");
        }
        if let Some((version, stale)) = overlay.stale_nodes() {
            self.stale_nodes.insert(version, stale.clone());
            let expired = state::expired(version).and_then(|it| self.stale_nodes.remove(&it));
            for key in expired.iter().flat_map(|stale| &stale.0) {
                self.state_nodes.remove(&Key::new(key.clone()));
            }
        }
        self.head = overlay.head().clone();
    }

    /// Sets an entry that no block has set.
    #[cfg(test)]
    pub(crate) fn seed(
        &mut self,
        family: Family,
        key: &[u8],
        value: &impl bizra_types::encoding::Encode,
    ) {
        let value = value.to_bytes();
        if family.is_in_tree() {
            let writes = [(family, key, Some(value.as_slice()))];
            let change = state::change(self.head.state, &writes, self);
            let state::Change { tree, nodes, stale } = change.expect("memory does not fail");
            self.head.state = tree;
            self.state_nodes.extend(nodes.into_iter().map(|(key, node)| (Key::new(key), node)));
            self.stale_nodes.insert(tree.version, stale);
            self.plain.insert(family, key, value);
            return;
        }
        if let Some(old) = self.plain.insert(family, key, value.clone()) {
            self.head.plain.remove(family, key, &old);
        }
        self.head.plain.add(family, key, &value);
    }

    /// The hash of the plain families, computed anew from all their entries.
    #[must_use]
    pub fn recomputed_plain(&self) -> LtHash {
        let mut hash = LtHash::new();
        for (family, key, value) in self.plain_entries().filter(|entry| !entry.0.is_in_tree()) {
            hash.add(family, key, value);
        }
        hash
    }

    /// The entries of all families, by family and key.
    pub fn plain_entries(&self) -> impl Iterator<Item = (Family, &[u8], &[u8])> {
        self.plain.iter().map(|(family, key, value)| (family, key, value.as_slice()))
    }
}

impl LogHashes for MemoryLedger {
    fn log_hashes(&self, numbers: &[u64]) -> Result<Vec<Hash>, StorageError> {
        numbers
            .iter()
            .map(|number| {
                let hash = usize::try_from(*number).ok().and_then(|at| self.log_hashes.get(at));
                hash.copied()
                    .ok_or_else(|| StorageError(format!("stored hash {number} is missing")))
            })
            .collect()
    }
}

impl StateNodes for MemoryLedger {
    fn state_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(Key::new(key).find_in(&self.state_nodes).cloned())
    }
}

impl Base for MemoryLedger {
    fn head(&self) -> Result<Head, StorageError> {
        Ok(self.head.clone())
    }

    fn plain(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.plain.get(family, key).cloned())
    }
}
