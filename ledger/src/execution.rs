//! Blocks become outcomes, a longer log and an [`ExecHash`].
//!
//! Execution is speculative and total. It reads what is committed ([`Base`]) and
//! the overlays of the uncommitted ancestors ([`Parent`]), and leaves an
//! [`Overlay`] of its own that holds everything that a commit has to write.
//! Nothing is changed before that, so a fork is undone by dropping its overlays.
//!
//! Upon a block, for each record in block order, whose bytes are charged to the
//! author of its batch:
//! 1. A record with a bad static verdict has that code as its outcome, and
//!    nothing else happens: bytes that nobody vouches for do not touch the
//!    status of the digest they claim.
//! 2. Else, if its digest is in the log, because of an earlier block or an
//!    earlier record of this one, the outcome is [`Code::Skipped`]. The first
//!    occurrence in block order is the record, whatever signature it carries.
//! 3. Else the identity of the sender is charged, unless the digest has been
//!    before. If there is none, or it or the author has no room left, the
//!    outcome is [`Code::State`], and nothing else happens: what nobody has paid
//!    for leaves nothing behind.
//! 4. Else the remaining gates judge it. If one refuses it, its code is the
//!    outcome; a record that was refused before is judged afresh.
//! 5. Else its bytes are appended to the log, and the outcome is
//!    [`Code::Success`].
//!
//! What a record changes besides is decided by its action, and written with 5 only.
//! After 4 and 5 the outcome becomes the digest's entry in the plain family
//! [`Family::Outcome`]; the others leave the entry as it is.
//!
//! Before the records a governance epoch may begin, and the reveals of the block
//! are noted. After them the proposals are decided whose time is over. What is
//! decided holds from the next block on: the records of a block are all judged by
//! one set of parameters, policies and validators.
//!
//! What a block changes is bound once, at its end and as the block leaves it: by
//! the homomorphic hash, or by the state tree. Neither knows the order of the
//! writes or what was undone.

mod actions;
mod entries;
mod governance;

use self::actions::Failure;
use self::entries::Entries;
use crate::codes::{Code, Rejection};
use crate::gates::Verdict;
use crate::governance::Governance;
use crate::identity::Usage;
use crate::log::{self, Appended, LogHashes, StorageError, read_layered};
use crate::outcomes::{self, Outcome, OutcomeFlags, signed_bytes_hash};
use crate::parameters::LedgerParameters;
use crate::plain::{Family, LtHash, OutcomeEntry};
use crate::policy::Policies;
use crate::state::{self, StaleNodes, StateNodes, StateTree};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use bizra_types::committee::Committee;
use bizra_types::crypto::PublicKey;
use bizra_types::encoding::Encode;
use bizra_types::execution::{Decisions, ExecFields};
use bizra_types::hash::{ExecHash, Hash, RecordDigest};
use bizra_types::numbers::{
    Height, LogIndex, ProtocolVersion, StateVersion, TimestampMs, ValidatorIndex,
};
use core::cell::RefCell;

/// What is committed.
///
/// Reads must stay consistent while one block is executed, with one exception:
/// an overlay of the [`Parent`] may be flushed meanwhile, because it hides
/// exactly what flushing it changes, and the nodes that expire with it are no
/// part of its tree or of a later one.
pub trait Base: LogHashes + StateNodes {
    /// The last committed block and what it left.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn head(&self) -> Result<Head, StorageError>;

    /// An entry of any family.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn plain(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;
}

/// What a block leaves to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The block's height.
    pub height: Height,
    /// The commitment to everything executed up to it.
    pub exec: ExecHash,
    /// Records in the log.
    pub log_size: u64,
    /// Homomorphic hash of the plain families.
    pub plain: LtHash,
    /// The state tree.
    pub state: StateTree,
}

/// The ledger as a parent block leaves it.
pub struct Parent<'a> {
    base: &'a dyn Base,
    pending: Vec<Arc<Overlay>>,
    head: Head,
}

/// What of a block is executed.
#[derive(Clone, Copy, Debug)]
pub struct BlockInput<'a> {
    /// One more than the parent's.
    pub height: Height,
    /// The block's time, the only clock of execution.
    pub timestamp: TimestampMs,
    /// The version of the protocol that it follows, as its header says.
    pub protocol_version: ProtocolVersion,
    /// The validators of the block's era.
    pub committee: &'a Committee,
    /// The validators whose VRF reveals it holds, by their places in that committee.
    pub reveals: &'a [ValidatorIndex],
    /// The records of the cited batches, in the order of the citations.
    pub records: &'a [BlockRecord],
}

/// A record of a block.
#[derive(Clone, Debug)]
pub struct BlockRecord {
    /// The validator whose batch it stands in.
    pub author: PublicKey,
    /// The bytes as they stand in their batch.
    pub bytes: Arc<[u8]>,
    /// What their receipt found out.
    pub verdict: Verdict,
}

/// The result of executing one block: everything that its commit has to write.
#[derive(Clone, Debug)]
pub struct Overlay {
    fields: ExecFields,
    head: Head,
    timestamp: TimestampMs,
    first_log_hash: u64,
    log_hashes: Vec<Hash>,
    /// What the block sets; nothing where it only read.
    plain: Entries<Option<Option<Vec<u8>>>>,
    state: state::Change,
    outcomes: Vec<Outcome>,
    decisions: Decisions,
}

/// The fields of `exec` at height 0: an empty log, an empty state tree, no
/// plain entries, no outcomes, and the committee of the genesis file.
#[must_use]
pub fn genesis_fields() -> ExecFields {
    ExecFields {
        parent: ExecHash::ZERO,
        log_root: log::EMPTY_ROOT,
        log_size: 0,
        state_root: StateTree::EMPTY.root,
        plain_digest: LtHash::new().digest(),
        outcomes_root: outcomes::EMPTY_ROOT,
        next_committee: Hash::ZERO,
    }
}

/// `exec` at height 0.
#[must_use]
pub fn genesis_exec() -> ExecHash {
    genesis_fields().hash()
}

/// Executes a block on its parent. `policies` are those of the chain's genesis file, brought to the
/// state of any block; here they follow that of the parent.
///
/// # Errors
/// When the store fails. There is no other failure: a bad record has a code.
///
/// # Panics
/// When the block's height is not one more than the parent's, or it holds a reveal of nobody in
/// its committee.
pub fn execute(
    parent: &Parent<'_>,
    block: &BlockInput<'_>,
    policies: &mut Policies,
) -> Result<Overlay, StorageError> {
    assert_eq!(block.height, parent.head.height.next(), "a block follows its parent");
    let mut draft = Draft::new(parent, block, policies)?;
    draft.note_reveals(block)?;
    let mut outcomes = Vec::with_capacity(block.records.len());
    for record in block.records {
        outcomes.push(draft.judge(record, block)?);
    }
    draft.finish(block, outcomes)
}

impl Head {
    /// The head of a chain that has its genesis block alone.
    #[must_use]
    pub fn genesis() -> Self {
        Self {
            height: Height::ZERO,
            exec: genesis_exec(),
            log_size: 0,
            plain: LtHash::new(),
            state: StateTree::EMPTY,
        }
    }
}

impl<'a> Parent<'a> {
    /// The ledger after `pending`, the uncommitted ancestors from the oldest to
    /// the parent, on top of what is committed. Ancestors that were committed
    /// since may still be among them.
    ///
    /// # Errors
    /// When the store cannot be read.
    ///
    /// # Panics
    /// When `pending` is not a chain, or does not continue what is committed.
    pub fn new(base: &'a dyn Base, pending: Vec<Arc<Overlay>>) -> Result<Self, StorageError> {
        for pair in pending.windows(2) {
            assert_eq!(pair[1].fields.parent, pair[0].head.exec, "pending overlays are a chain");
        }
        let committed = base.head()?;
        let head = match pending.as_slice() {
            [] => committed,
            [oldest, .., newest] | [oldest @ newest] => {
                let continues = oldest.fields.parent == committed.exec
                    || pending.iter().any(|overlay| overlay.head.exec == committed.exec);
                assert!(continues, "pending overlays continue what is committed");
                newest.head.clone()
            }
        };
        Ok(Self { base, pending, head })
    }

    /// What the parent block leaves.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// An entry of any family.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn plain(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        for overlay in self.pending.iter().rev() {
            if let Some(Some(value)) = overlay.plain.get(family, key) {
                return Ok(value.clone());
            }
        }
        self.base.plain(family, key)
    }

    /// The parameters in force.
    ///
    /// # Errors
    /// When the store cannot be read, or holds a damaged entry.
    pub fn parameters(&self) -> Result<LedgerParameters, StorageError> {
        LedgerParameters::read(|family, key| self.plain(family, key))
    }

    /// The latest judgement of a record.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn outcome(&self, digest: &RecordDigest) -> Result<Option<OutcomeEntry>, StorageError> {
        let bytes = self.plain(Family::Outcome, OutcomeEntry::key(digest))?;
        bytes.map(|bytes| Family::Outcome.decode_entry(&bytes)).transpose()
    }
}

impl LogHashes for Parent<'_> {
    fn log_hashes(&self, numbers: &[u64]) -> Result<Vec<Hash>, StorageError> {
        read_through(&self.pending, self.base, numbers)
    }
}

impl StateNodes for Parent<'_> {
    fn state_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let pending = self.pending.iter().rev();
        match pending.filter_map(|overlay| overlay.state.nodes.get(key)).next() {
            Some(node) => Ok(Some(node.clone())),
            None => self.base.state_node(key),
        }
    }
}

impl core::fmt::Debug for Parent<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Parent")
            .field("pending", &self.pending.len())
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl Overlay {
    /// The fields of `exec`.
    #[must_use]
    pub const fn fields(&self) -> &ExecFields {
        &self.fields
    }

    /// `exec` of the block.
    #[must_use]
    pub const fn exec(&self) -> ExecHash {
        self.head.exec
    }

    /// What the block leaves to the next, to be written at commit.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The block's time.
    #[must_use]
    pub const fn timestamp(&self) -> TimestampMs {
        self.timestamp
    }

    /// What the block changes in the rules of ordering.
    #[must_use]
    pub const fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    /// The outcome of each record, in block order.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The outcomes that a commit writes under the hash of the signed bytes: all
    /// but those that were skipped, because the bytes that came first may be
    /// the same.
    pub fn judged(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.code != Code::Skipped)
    }

    /// The records that this block puts into the log: their place in the block,
    /// and in the log, ascending.
    pub fn logged(&self) -> impl Iterator<Item = (usize, LogIndex)> {
        self.outcomes.iter().enumerate().filter_map(|(at, outcome)| {
            (outcome.code == Code::Success).then_some(())?;
            Some((at, outcome.log_index?))
        })
    }

    /// The proof that the outcome at this place belongs to `outcomes_root`.
    #[must_use]
    pub fn outcome_proof(&self, at: usize) -> Option<Vec<Hash>> {
        let leaves: Vec<Hash> = self.outcomes.iter().map(Outcome::leaf).collect();
        outcomes::inclusion_proof(&leaves, at)
    }

    /// New stored hashes of the log with their numbers.
    pub fn log_hashes(&self) -> impl Iterator<Item = (u64, &Hash)> {
        (self.first_log_hash..).zip(&self.log_hashes)
    }

    /// Entries to put, or to delete where there is no value.
    pub fn plain_writes(&self) -> impl Iterator<Item = (Family, &[u8], Option<&[u8]>)> {
        self.plain
            .iter()
            .filter_map(|(family, key, value)| Some((family, key, value.as_ref()?.as_deref())))
    }

    /// Nodes of the state tree to put, by their keys. None of them is there already.
    pub fn state_nodes(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.state.nodes.iter().map(|(key, node)| (key.as_slice(), node.as_slice()))
    }

    /// If the block changes the state tree, its new version, and the nodes that are no part of the
    /// tree since: to be put under the version, until [`state::expired`] names it.
    #[must_use]
    pub fn stale_nodes(&self) -> Option<(StateVersion, &StaleNodes)> {
        (!self.state.is_none()).then_some((self.state.tree.version, &self.state.stale))
    }
}

/// A block in the middle of its execution.
struct Draft<'a> {
    parent: &'a Parent<'a>,
    parameters: LedgerParameters,
    /// As the parent left it.
    parent_governance: Governance,
    /// As this block leaves it; written at its end.
    governance: Governance,
    policies: &'a mut Policies,
    log: Appended<'a, Parent<'a>>,
    entries: RefCell<Entries<DraftEntry>>,
    /// What the authors of this block's batches have used, written at its end.
    authors: BTreeMap<PublicKey, Usage>,
}

/// An entry that was read or set; where there is no value, it is none.
#[derive(Clone, Debug)]
struct DraftEntry {
    /// What the parent has, once it was asked: nothing is read from it twice.
    old: Option<Option<Vec<u8>>>,
    /// What this block sets.
    new: Option<Option<Vec<u8>>>,
}

impl<'a> Draft<'a> {
    fn new(
        parent: &'a Parent<'a>,
        block: &BlockInput<'_>,
        policies: &'a mut Policies,
    ) -> Result<Self, StorageError> {
        let plain = |family, key: &[u8]| parent.plain(family, key);
        let governance = Governance::read(plain)?;
        policies.follow(&governance.policies, block.timestamp, plain)?;
        Ok(Self {
            parent,
            parameters: parent.parameters()?,
            parent_governance: governance.clone(),
            governance,
            policies,
            log: Appended::new(parent.head.log_size, parent),
            entries: RefCell::new(Entries::new()),
            authors: BTreeMap::new(),
        })
    }

    fn finish(
        mut self,
        block: &BlockInput<'_>,
        outcomes: Vec<Outcome>,
    ) -> Result<Overlay, StorageError> {
        self.write_authors();
        let decisions = self.decide(block)?;
        let (plain, state) = self.bind()?;
        let leaves: Vec<Hash> = outcomes.iter().map(Outcome::leaf).collect();
        let fields = ExecFields {
            parent: self.parent.head.exec,
            log_root: self.log.root()?,
            log_size: self.log.size(),
            state_root: state.tree.root,
            plain_digest: plain.digest(),
            outcomes_root: outcomes::root(&leaves),
            next_committee: decisions.next_committee.as_ref().map_or(Hash::ZERO, |it| it.hash()),
        };
        let head = Head {
            height: block.height,
            exec: fields.hash(),
            log_size: fields.log_size,
            plain,
            state: state.tree,
        };
        let (first_log_hash, log_hashes) = self.log.into_hashes();
        Ok(Overlay {
            fields,
            head,
            timestamp: block.timestamp,
            first_log_hash,
            log_hashes,
            plain: self.entries.into_inner().map(|entry| entry.new),
            state,
            outcomes,
            decisions,
        })
    }

    /// Puts each entry that is another now than at the parent into the hash or into the tree: what
    /// was overwritten within the block is not hashed at all.
    fn bind(&self) -> Result<(LtHash, state::Change), StorageError> {
        let mut plain = self.parent.head.plain.clone();
        let mut writes = Vec::new();
        let entries = self.entries.borrow();
        for (family, key, entry) in entries.iter() {
            let Some(value) = &entry.new else { continue };
            let old = match &entry.old {
                Some(old) => old,
                None => &self.parent.plain(family, key)?,
            };
            let (old, value) = (old.as_deref(), value.as_deref());
            if old == value {
                continue;
            }
            if family.is_in_tree() {
                writes.push((family, key, value));
                continue;
            }
            if let Some(old) = old {
                plain.remove(family, key, old);
            }
            if let Some(value) = value {
                plain.add(family, key, value);
            }
        }
        let state = state::change(self.parent.head.state, &writes, self.parent)?;
        Ok((plain, state))
    }

    fn judge(
        &mut self,
        record: &BlockRecord,
        block: &BlockInput<'_>,
    ) -> Result<Outcome, StorageError> {
        let flags = OutcomeFlags::default();
        let charged = self.charge_author(record, block)?;
        let envelope = match &record.verdict {
            Verdict::Bad(rejection) => {
                let (signed_bytes, code) = (signed_bytes_hash(&record.bytes), rejection.code);
                return Ok(Outcome { signed_bytes, digest: None, code, flags, log_index: None });
            }
            Verdict::Good(envelope) => envelope,
        };
        let signed_bytes = envelope.signed_bytes;
        let digest = Some(envelope.digest);
        let key = OutcomeEntry::key(&envelope.digest);
        let known = self.read::<OutcomeEntry>(Family::Outcome, key)?;
        if let Some(known) = known
            && known.code == Code::Success
        {
            let (code, log_index) = (Code::Skipped, known.log_index);
            return Ok(Outcome { signed_bytes, digest, code, flags, log_index });
        }
        let size = record.bytes.len();
        let payer = match &charged {
            Err(rejection) if !self.is_exempt(envelope, block.committee)? => Err(rejection.clone()),
            _ => self.payer(envelope, size, known.is_none(), block)?,
        };
        let mut payer = match payer {
            Ok(payer) => payer,
            Err(Rejection { code, .. }) => {
                return Ok(Outcome { signed_bytes, digest, code, flags, log_index: None });
            }
        };
        let (code, flags, log_index) = match self.act(envelope, payer.identity, block) {
            Err(Failure::Storage(error)) => return Err(error),
            Err(Failure::Refused(rejection)) => (rejection.code, flags, None),
            Ok(flags) => {
                let index = LogIndex::new(self.log.push(envelope.log_leaf)?);
                payer.usage.logged += 1;
                (Code::Success, flags, Some(index))
            }
        };
        self.put(Family::Usage, &payer.identity.0, Some(payer.usage.to_bytes()));
        if charged.is_ok() || code == Code::Success {
            let entry = OutcomeEntry { code, flags, height: block.height, log_index };
            self.put(Family::Outcome, key, Some(entry.to_bytes()));
        }
        Ok(Outcome { signed_bytes, digest, code, flags, log_index })
    }

    /// Looks at an entry.
    fn plain<T>(
        &self,
        family: Family,
        key: &[u8],
        look: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Result<T, StorageError> {
        if let Some(DraftEntry { old, new }) = self.entries.borrow().get(family, key) {
            let value = new.as_ref().or(old.as_ref()).expect("it was read or set");
            return Ok(look(value.as_deref()));
        }
        let value = self.parent.plain(family, key)?;
        let result = look(value.as_deref());
        let entry = DraftEntry { old: Some(value), new: None };
        self.entries.borrow_mut().add(family, key, entry);
        Ok(result)
    }

    /// Sets an entry, or deletes it.
    fn put(&mut self, family: Family, key: &[u8], value: Option<Vec<u8>>) {
        let (entries, new) = (self.entries.get_mut(), Some(value));
        match entries.get_mut(family, key) {
            Some(entry) => entry.new = new,
            None => entries.add(family, key, DraftEntry { old: None, new }),
        }
    }
}

fn read_through(
    pending: &[Arc<Overlay>],
    base: &dyn Base,
    numbers: &[u64],
) -> Result<Vec<Hash>, StorageError> {
    match pending.split_last() {
        None => base.log_hashes(numbers),
        Some((newest, older)) => {
            read_layered(numbers, newest.first_log_hash, &newest.log_hashes, |numbers| {
                read_through(older, base, numbers)
            })
        }
    }
}

#[cfg(test)]
mod tests;
