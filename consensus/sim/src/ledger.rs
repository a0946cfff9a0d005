//! A ledger of one rule: the log's root hashes the exec before and the records,
//! and each block adds one to its size. Some records change the committee, the
//! version of the protocol or a parameter.

use crate::keys::Members;
use crate::rng::Rng;
use bizra_consensus::{Activation, Decisions};
use bizra_types::batch::{BatchRecord, SignedBatch};
use bizra_types::block::Header;
use bizra_types::committee::{Committee, Validator};
use bizra_types::execution::{EMPTY_STATE_ROOT, ExecFields, ParameterChange};
use bizra_types::hash::{ExecHash, Hash};
use bizra_types::numbers::{Era, Height, ProtocolVersion};
use std::sync::Arc;

/// Marks a record that changes something, after the record's number.
const CHANGE: &[u8; 8] = b"change::";
/// Where the marker, the kind and the choice stand in such a record.
const MARK_AT: usize = 8;
const KIND_AT: usize = 16;
const CHOICE_AT: usize = 17;
/// Bytes of such a record.
pub(crate) const CHANGE_BYTES: usize = 25;
/// A version comes into force at least so many heights after its decision.
const ACTIVATION_HEIGHTS_MIN: u64 = 2;
/// The version that may come into force.
pub(crate) const NEXT_VERSION: ProtocolVersion = ProtocolVersion::new(2);
/// Parameters that change, and what they may become.
const PARAMETERS: [(&str, [u64; 3]); 9] = [
    ("view_timer_ms_min", [100, 200, 300]),
    ("view_timer_ms_max", [1_000, 2_000, 4_000]),
    ("view_timer_round_trips", [2, 4, 8]),
    ("idle_block_ms", [100, 200, 1_000]),
    ("leader_silence_ms", [200, 600, 1_200]),
    ("clock_ahead_ms", [100, 250, 500]),
    ("unacknowledged_bytes_max", [262_144, 524_288, 1_048_576]),
    ("uncommitted_blocks_max", [4, 8, 64]),
    ("withholding_views", [1, 10, 100]),
];

/// What a record may ask of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Another committee; the choice draws how it differs.
    Committee,
    /// Another version of the protocol; the choice draws from when on.
    Version,
    /// Another value of a parameter; the choice draws which.
    Parameter,
}

/// What the genesis block gives.
pub(crate) fn genesis_fields() -> ExecFields {
    fields(ExecHash::ZERO, Height::ZERO, [])
}

/// Exec of the genesis block.
pub(crate) fn genesis_exec() -> ExecHash {
    genesis_fields().hash()
}

/// What a block at `height` gives on its parent, from the cited batches in order.
pub(crate) fn fields<'a>(
    parent: ExecHash,
    height: Height,
    batches: impl IntoIterator<Item = &'a Arc<SignedBatch>>,
) -> ExecFields {
    let mut hasher = blake3::Hasher::new();
    hasher.update(parent.as_bytes());
    for batch in batches {
        hasher.update(batch.header().records_hash.as_bytes());
    }
    ExecFields {
        parent,
        log_root: Hash(*hasher.finalize().as_bytes()),
        log_size: height.get(),
        state_root: EMPTY_STATE_ROOT,
        plain_digest: Hash::ZERO,
        outcomes_root: Hash::ZERO,
        next_committee: Hash::ZERO,
    }
}

/// Writes a change into a record, after its number.
pub(crate) fn write_change(bytes: &mut [u8], change: Change, choice: u64) {
    bytes[MARK_AT..KIND_AT].copy_from_slice(CHANGE);
    bytes[KIND_AT] = change as u8;
    bytes[CHOICE_AT..CHANGE_BYTES].copy_from_slice(&choice.to_le_bytes());
}

/// What the execution of a block changes: the first record that changes the
/// committee decides, as does the first for the version; parameters all change.
pub(crate) fn decisions(
    members: &Members,
    header: &Header,
    batches: &[Arc<SignedBatch>],
) -> Decisions {
    let mut decisions = Decisions::default();
    let records = batches.iter().flat_map(|batch| batch.records().iter());
    for (change, choice) in records.filter_map(read_change) {
        match change {
            Change::Committee if decisions.next_committee.is_none() => {
                decisions.next_committee = next_committee(members, header.era, choice);
            }
            Change::Version if decisions.activation.is_none() => {
                let wait = ACTIVATION_HEIGHTS_MIN + choice % 16;
                let height = Height::new(header.height.get() + wait);
                decisions.activation = Some(Activation { height, version: NEXT_VERSION });
            }
            Change::Parameter => {
                let mut rng = Rng::new(choice, "parameter");
                let (name, values) = rng.pick(&PARAMETERS);
                decisions.parameters.push(ParameterChange { name, value: rng.pick(&values) });
            }
            Change::Committee | Change::Version => {}
        }
    }
    decisions
}

fn read_change(record: &BatchRecord) -> Option<(Change, u64)> {
    if record.bytes.get(MARK_AT..KIND_AT)? != CHANGE {
        return None;
    }
    let kinds = [Change::Committee, Change::Version, Change::Parameter];
    let kind = kinds.into_iter().find(|kind| *kind as u8 == record.bytes[KIND_AT])?;
    let choice = record.bytes.get(CHOICE_AT..)?.first_chunk()?;
    Some((kind, u64::from_le_bytes(*choice)))
}

/// The committee after that of an era: at most f members come and at most f
/// go, it never gets smaller than the first one, and it is in another order.
/// None when what was drawn cannot be done.
fn next_committee(members: &Members, era: Era, choice: u64) -> Option<Arc<Committee>> {
    let mut rng = Rng::new(choice, "committee");
    let current = members.committee(era);
    let size_min = members.committee(Era::new(1)).size();
    let mut next: Vec<Validator> = current.iter().map(|(_, member)| member.clone()).collect();
    let mut outside: Vec<usize> =
        (0..members.nodes()).filter(|node| members.seat(era, *node).is_none()).collect();
    let count = 1 + rng.index(current.faulty_max());
    match rng.below(6) {
        0 | 1 => {
            for _ in 0..count.min(outside.len()) {
                next.swap_remove(rng.index(next.len()));
                next.push(joiner(members, &mut rng, &mut outside));
            }
        }
        2 => {
            for _ in 0..count.min(outside.len()) {
                next.push(joiner(members, &mut rng, &mut outside));
            }
        }
        3 => {
            for _ in 0..count.min(next.len() - size_min) {
                next.swap_remove(rng.index(next.len()));
            }
        }
        4 => {
            let place = rng.index(next.len());
            let node = members.owner(&next[place].consensus_key).expect("a node's key");
            let is_first = members.keys(node)[0] == next[place].consensus_key;
            next[place] = members.registration(node, is_first)?.clone();
        }
        _ => {
            let earlier: Vec<_> = members.committees_before(era).collect();
            let back = earlier.get(rng.index(earlier.len().max(1)))?;
            next = back.iter().map(|(_, member)| member.clone()).collect();
        }
    }
    for place in (1..next.len()).rev() {
        next.swap(place, rng.index(place + 1));
    }
    let next = Committee::new(next).expect("distinct identities");
    let lacks = |one: &Committee, other: &Committee| {
        one.iter().filter(|(_, member)| other.index_of(&member.consensus_key).is_none()).count()
    };
    let faulty_max = current.faulty_max();
    let (come, go) = (lacks(&next, current), lacks(current, &next));
    (come + go > 0 && come <= faulty_max && go <= faulty_max).then(|| Arc::new(next))
}

/// A node without a seat, under one of its identities.
fn joiner(members: &Members, rng: &mut Rng, outside: &mut Vec<usize>) -> Validator {
    let node = outside.swap_remove(rng.index(outside.len()));
    let is_second = rng.chance(300_000) && members.registration(node, true).is_some();
    members.registration(node, is_second).expect("each node has a first identity").clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keyring;
    use bizra_types::genesis::Parameters;
    use bizra_types::hash::BlockId;
    use bizra_types::verify::EraContext;

    #[test]
    fn committees_change_by_at_most_f_in_every_way_and_come_back() {
        for size in [4, 7] {
            let mut keyring = Keyring::new(1, size, Parameters::default(), true);
            let (mut sizes, mut is_back, mut is_rotated) = (Vec::new(), false, false);
            for choice in 0..300 {
                let members = keyring.members();
                let era = members.newest();
                let Some(next) = next_committee(members, era, choice) else { continue };
                let keys = |committee: &Committee| {
                    let mut keys: Vec<_> =
                        committee.iter().map(|(_, member)| member.consensus_key).collect();
                    keys.sort_unstable();
                    keys
                };
                let before = members.committee(era);
                let (old, new) = (keys(before), keys(&next));
                assert_ne!(old, new);
                let f = before.faulty_max();
                assert!(new.iter().filter(|key| !old.contains(key)).count() <= f);
                assert!(old.iter().filter(|key| !new.contains(key)).count() <= f);
                let mut owners: Vec<_> = new.iter().map(|key| members.owner(key)).collect();
                owners.sort_unstable();
                owners.dedup();
                assert_eq!(owners.len(), new.len(), "each node has one seat at most");
                is_rotated |= new.iter().any(|key| {
                    let node = members.owner(key).expect("a node's key");
                    members.seat(era, node).is_some_and(|(_, other)| other != *key)
                });
                is_back |= members.committees_before(era).any(|it| keys(it) == new);
                sizes.push(new.len());
                keyring.begin(era.next(), EraContext { committee: next, root: BlockId([1; 32]) });
            }
            assert!(is_back && is_rotated);
            assert_eq!(sizes.iter().min(), Some(&size));
            assert!(sizes.iter().max() > Some(&size));
        }
    }
}
