//! Who leads which view: VRF epochs, their seeds, and the permutation schedule.
//!
//! In epoch E each validator publishes its VRF output for epoch E + 2; the
//! outputs that blocks of E include make that epoch's seed:
//! `seed(E+2) = H(seed(E+1) ‖ E+2 ‖ sorted (validator, output))`. Without any,
//! the seed evolves by hash alone and the chain goes on. The schedule is a row
//! of Fisher–Yates permutations, so within an epoch everyone leads once per n
//! views: whoever withholds a reveal can only change the order, never a share.
//!
//! All of it is read off a block's own ancestors, so two nodes that know the
//! same parent agree on the leader.

use bizra_types::block::Reveal;
use bizra_types::committee::Committee;
use bizra_types::encoding::Encode;
use bizra_types::hash::{ChainId, Context, Hash};
use bizra_types::numbers::{Epoch, TimestampMs, ValidatorIndex, View};
use bizra_types::vrf::{self, VrfInput};
use std::collections::BTreeMap;

/// Remembered good reveals, bounded.
const CACHE_SIZE_MAX: usize = 64;

/// The lottery's state after a block: seeds of its epoch and the next, and the
/// reveals that blocks of its epoch have included so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochState {
    /// The block's epoch.
    pub epoch: Epoch,
    /// Seed of that epoch.
    pub seed: Hash,
    /// Seed of the epoch after.
    pub next_seed: Hash,
    /// Outputs that will make the seed of the epoch after next.
    pub reveals: BTreeMap<ValidatorIndex, [u8; 32]>,
}

/// Epochs, leaders and reveal checks, with the reveals that were found good.
#[derive(Debug)]
pub struct Schedule {
    chain_id: ChainId,
    genesis_ms: TimestampMs,
    epoch_ms: u64,
    good_reveals: BTreeMap<(Epoch, ValidatorIndex), (Hash, Reveal)>,
}

impl EpochState {
    /// The state after the genesis block: seeds 0 and 1 are hashes of chain and number.
    #[must_use]
    pub fn genesis(chain_id: &ChainId) -> Self {
        let seed = |epoch: u64| Context::Seed.hash(&[chain_id.as_bytes(), &epoch.to_le_bytes()]);
        Self { epoch: Epoch::ZERO, seed: seed(0), next_seed: seed(1), reveals: BTreeMap::new() }
    }

    /// The state with which an epoch that is not before this one begins.
    ///
    /// # Panics
    /// When `epoch` is before this one: chain time never goes back.
    #[must_use]
    pub fn enter(&self, epoch: Epoch) -> Self {
        assert!(epoch >= self.epoch, "{epoch:?} is before {:?}", self.epoch);
        let mut state = self.clone();
        while state.epoch < epoch {
            let target = state.epoch.next().next();
            let mut reveals = Vec::new();
            for (validator, output) in &state.reveals {
                validator.encode(&mut reveals);
                reveals.extend_from_slice(output);
            }
            let seed = Context::Seed.hash(&[
                state.next_seed.as_bytes(),
                &target.get().to_le_bytes(),
                &reveals,
            ]);
            state = Self {
                epoch: state.epoch.next(),
                seed: state.next_seed,
                next_seed: seed,
                reveals: BTreeMap::new(),
            };
        }
        state
    }

    /// What validators evaluate in this epoch.
    #[must_use]
    pub const fn reveal_input(&self, chain_id: ChainId) -> VrfInput {
        VrfInput { chain_id, epoch: self.epoch.next().next(), seed: self.next_seed }
    }
}

impl Schedule {
    /// The schedule of a chain whose epochs last `epoch_ms` ms.
    #[must_use]
    pub const fn new(chain_id: ChainId, genesis_ms: TimestampMs, epoch_ms: u64) -> Self {
        Self { chain_id, genesis_ms, epoch_ms, good_reveals: BTreeMap::new() }
    }

    /// Begins an era: places in the committee mean other keys now.
    pub(crate) fn begin_era(&mut self) {
        self.good_reveals.clear();
    }

    /// The epoch of the views that a block justifies: that of the block's time.
    #[must_use]
    pub const fn epoch_after(&self, timestamp_ms: TimestampMs) -> Epoch {
        Epoch::new(timestamp_ms.saturating_ms_since(self.genesis_ms) / self.epoch_ms)
    }

    /// The leader of `view` under a seed.
    #[must_use]
    pub fn leader(committee: &Committee, seed: Hash, view: View) -> ValidatorIndex {
        let size = committee.size() as u64;
        let row = permutation(seed, view.get() / size, committee.indices().collect());
        row[usize::try_from(view.get() % size).expect("below the committee's size")]
    }

    /// Whether a reveal proves its validator's output for the epoch that
    /// `state` prepares.
    pub fn is_reveal_good(
        &mut self,
        committee: &Committee,
        state: &EpochState,
        reveal: &Reveal,
    ) -> bool {
        let input = state.reveal_input(self.chain_id);
        if reveal.epoch != input.epoch {
            return false;
        }
        let Some(validator) = committee.get(reveal.validator) else { return false };
        let key = (reveal.epoch, reveal.validator);
        if self.good_reveals.get(&key) == Some(&(input.seed, *reveal)) {
            return true;
        }
        let good = vrf::is_good(&validator.vrf_key, &input, &reveal.output, &reveal.proof);
        if good {
            if self.good_reveals.len() >= CACHE_SIZE_MAX.max(2 * committee.size()) {
                self.good_reveals.pop_first();
            }
            self.good_reveals.insert(key, (input.seed, *reveal));
        }
        good
    }
}

/// Fisher–Yates with numbers from a hash stream; rejection keeps every order
/// equally likely.
fn permutation(seed: Hash, row: u64, mut members: Vec<ValidatorIndex>) -> Vec<ValidatorIndex> {
    let mut hasher = Context::Schedule.hasher();
    hasher.update(seed.as_bytes()).update(&row.to_le_bytes());
    let mut stream = hasher.finalize_xof();
    let mut block = [0; 64];
    let mut left: &[u8] = &[];
    for last in (1..members.len()).rev() {
        let range = last as u64 + 1;
        let limit = u64::MAX - u64::MAX % range;
        let draw = loop {
            if left.is_empty() {
                stream.fill(&mut block);
                left = &block;
            }
            let (bytes, rest) = left.split_first_chunk().expect("eight draws to a block");
            left = rest;
            let draw = u64::from_le_bytes(*bytes);
            if draw < limit {
                break draw % range;
            }
        };
        members.swap(last, usize::try_from(draw).expect("below the committee's size"));
    }
    members
}

#[cfg(test)]
mod tests;
