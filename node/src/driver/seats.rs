//! Who sits where in the committee of each era, and under which peer id.

use bizra_gossip::PeerId;
use bizra_keys::{ConsensusKey, KeyRing};
use bizra_types::committee::Committee;
use bizra_types::crypto::PublicKey;
use bizra_types::numbers::{Era, ValidatorIndex};
use bizra_types::verify::Chain;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

/// The committee of one era as this node meets it.
#[derive(Debug)]
pub(super) struct Seats {
    pub(super) era: Era,
    pub(super) committee: Arc<Committee>,
    /// Our own place, if our keys have one.
    pub(super) me: Option<ValidatorIndex>,
    by_index: BTreeMap<ValidatorIndex, PeerId>,
    by_peer: BTreeMap<PeerId, ValidatorIndex>,
}

/// The committees of all eras up to the one that the engine is in.
#[derive(Debug)]
pub(super) struct Eras(RwLock<BTreeMap<Era, Arc<Seats>>>);

/// Why a node has no place in a committee.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoSeat {
    /// None of its consensus keys is listed.
    #[error("the committee lists none of the consensus keys here")]
    NotListed,
    /// Peers take nothing from a validator that comes under another peer id.
    #[error(
        "the committee lists validator {name} with peer id {listed}, but the network key here is \
         that of {ours}: use the network key that belongs to the consensus key"
    )]
    PeerId {
        /// The validator with our consensus key.
        name: String,
        /// Its peer id by the committee.
        listed: String,
        /// Ours.
        ours: String,
    },
    /// Its reveals would not verify.
    #[error(
        "the committee lists validator {name} with another VRF key than the one here: use the VRF \
         key that belongs to the consensus key"
    )]
    VrfKey {
        /// The validator with our consensus key.
        name: String,
    },
}

/// The place that a node with these keys has in a committee.
///
/// # Errors
/// When it has none. A node that has not caught up yet may meet a committee from
/// before its network or VRF key was changed, and is silent until the next.
pub(crate) fn seat(committee: &Committee, keys: &KeyRing) -> Result<ValidatorIndex, NoSeat> {
    let place = keys.consensus_keys().find_map(|key| committee.index_of(&key.public()));
    let place = place.ok_or(NoSeat::NotListed)?;
    let listed = committee.get(place).expect("found above");
    let (name, ours) = (listed.name.clone(), keys.network.peer_id().to_string());
    if listed.peer_id != ours {
        return Err(NoSeat::PeerId { name, listed: listed.peer_id.clone(), ours });
    }
    if listed.vrf_key != keys.vrf.public() {
        return Err(NoSeat::VrfKey { name });
    }
    Ok(place)
}

impl Seats {
    /// The seats of an era, where `keys` are this node's.
    pub(super) fn new(era: Era, committee: Arc<Committee>, keys: &KeyRing) -> Self {
        let mut by_index = BTreeMap::new();
        for (index, validator) in committee.iter() {
            match validator.peer_id.parse::<PeerId>() {
                Ok(peer) => {
                    by_index.insert(index, peer);
                }
                // The others go on without it.
                Err(_) => tracing::error!(
                    %era,
                    validator = validator.name,
                    peer_id = validator.peer_id,
                    "a validator is listed under a peer id that is none: nobody can reach it"
                ),
            }
        }
        let by_peer = by_index.iter().map(|(index, peer)| (*peer, *index)).collect();
        let me = seat(&committee, keys).ok();
        Self { era, committee, me, by_index, by_peer }
    }

    /// Our own place, and the one of our keys that has it.
    pub(super) fn signer<'a>(
        &self,
        keys: &'a KeyRing,
    ) -> Option<(ValidatorIndex, &'a ConsensusKey)> {
        let me = self.me?;
        Some((me, keys.consensus_of(&self.committee.key(me)?)?))
    }

    /// The peer that has this place.
    pub(super) fn peer(&self, index: ValidatorIndex) -> Option<PeerId> {
        self.by_index.get(&index).copied()
    }

    /// The place that this peer has.
    pub(super) fn place(&self, peer: &PeerId) -> Option<ValidatorIndex> {
        self.by_peer.get(peer).copied()
    }

    /// All peers with a place but ourselves.
    pub(super) fn others(&self) -> impl Iterator<Item = PeerId> {
        let others = self.by_index.iter().filter(|(index, _)| Some(**index) != self.me);
        others.map(|(_, peer)| *peer)
    }
}

impl Eras {
    /// The eras of a chain, of which the last is the one that the engine starts
    /// in, for a node with these keys.
    pub(super) fn of_chain(chain: &Chain, keys: &KeyRing) -> Self {
        Self::new(chain.eras().map(|(era, it)| Seats::new(era, Arc::clone(&it.committee), keys)))
    }

    /// The eras in `eras`, of which the last is the one that the engine starts in.
    ///
    /// # Panics
    /// When there is none.
    pub(super) fn new(eras: impl Iterator<Item = Seats>) -> Self {
        let eras: BTreeMap<_, _> = eras.map(|seats| (seats.era, Arc::new(seats))).collect();
        assert!(!eras.is_empty(), "a chain has a first era");
        Self(RwLock::new(eras))
    }

    /// The era that the engine is in.
    pub(super) fn now(&self) -> Arc<Seats> {
        let eras = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(eras.last_key_value().expect("there is a first era").1)
    }

    /// An era that began here.
    pub(super) fn of(&self, era: Era) -> Option<Arc<Seats>> {
        let eras = self.0.read().unwrap_or_else(PoisonError::into_inner);
        eras.get(&era).cloned()
    }

    /// The peer that had a place with this key last.
    pub(super) fn owner(&self, key: &PublicKey) -> Option<PeerId> {
        let eras = self.0.read().unwrap_or_else(PoisonError::into_inner);
        eras.values().rev().find_map(|seats| seats.peer(seats.committee.index_of(key)?))
    }

    /// Begins an era.
    pub(super) fn begin(&self, seats: Arc<Seats>) {
        let mut eras = self.0.write().unwrap_or_else(PoisonError::into_inner);
        eras.insert(seats.era, seats);
    }

    /// Who may have direct streams: the members of this era, and those of the
    /// one before, who may not know yet that theirs has ended.
    pub(super) fn stream_peers(&self) -> BTreeSet<PeerId> {
        let eras = self.0.read().unwrap_or_else(PoisonError::into_inner);
        eras.values().rev().take(2).flat_map(|seats| seats.by_peer.keys().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::validator_key;
    use bizra_types::committee::Validator;
    use bizra_types::hash::{BlockId, ChainId};
    use bizra_types::verify::EraContext;

    fn member(number: u8) -> Validator {
        Validator {
            name: format!("validator-{number}"),
            peer_id: PeerId::random().to_string(),
            consensus_key: validator_key(number).public(),
            vrf_key: [number; 32],
            kem_key: Vec::new(),
        }
    }

    /// The keys of a validator, and how a committee lists it.
    fn with_keys(number: u8) -> (KeyRing, Validator) {
        let keys = KeyRing { consensus: validator_key(number), ..KeyRing::generate() };
        let peer_id = keys.network.peer_id().to_string();
        let listed = Validator { peer_id, vrf_key: keys.vrf.public(), ..member(number) };
        (keys, listed)
    }

    /// A committee, one in which its first member is gone and another has come,
    /// the one that is gone, and the keys of one that stays.
    fn committees() -> (Arc<Committee>, Arc<Committee>, Validator, KeyRing) {
        let (keys, me) = with_keys(1);
        let mut members = vec![member(0), me, member(2), member(3)];
        let first = Committee::new(members.clone()).expect("a committee");
        let gone = members.remove(0);
        members.push(member(9));
        let second = Committee::new(members).expect("a committee");
        (Arc::new(first), Arc::new(second), gone, keys)
    }

    #[test]
    fn places_belong_to_an_era() {
        let (first, second, gone, keys) = committees();
        let key = keys.consensus.public();
        let seats = |era, committee: &Arc<Committee>| {
            Seats::new(Era::new(era), Arc::clone(committee), &keys)
        };
        let eras = Eras::new([seats(1, &first)].into_iter());
        let gone_peer: PeerId = gone.peer_id.parse().expect("a peer id");
        assert_eq!(eras.now().place(&gone_peer), first.index_of(&gone.consensus_key));
        assert_eq!(eras.now().others().count(), first.size() - 1);

        eras.begin(Arc::new(seats(2, &second)));
        let now = eras.now();
        assert_eq!((now.era, now.me), (Era::new(2), second.index_of(&key)));
        assert_eq!(now.place(&gone_peer), None);
        let before = eras.of(Era::new(1)).expect("it was");
        assert_eq!(before.place(&gone_peer), first.index_of(&gone.consensus_key));
        assert_eq!(eras.owner(&gone.consensus_key), Some(gone_peer));
        assert_eq!(eras.stream_peers().len(), first.size() + 1);

        eras.begin(Arc::new(seats(3, &second)));
        assert!(!eras.stream_peers().contains(&gone_peer));
        assert_eq!(eras.owner(&gone.consensus_key), Some(gone_peer));
        assert!(eras.of(Era::new(4)).is_none());
    }

    /// Whoever stopped right after it had left may be the only one that can tell
    /// the others how their era ended.
    #[test]
    fn a_start_opens_streams_to_the_era_before_as_well() {
        let (first, second, gone, keys) = committees();
        let mut chain = Chain::new(ChainId([1; 32]), first, BlockId([1; 32]));
        chain.add_era(Era::new(2), EraContext { committee: second, root: BlockId([2; 32]) });
        let gone: PeerId = gone.peer_id.parse().expect("a peer id");
        assert!(crate::driver::stream_peers(&chain, &keys).contains(&gone));
    }

    #[test]
    fn a_seat_is_taken_with_the_keys_that_the_committee_lists() {
        let (keys, listed) = with_keys(1);
        let committee = |first: Validator| {
            Committee::new(vec![first, member(2), member(3), member(4)]).expect("a committee")
        };
        let place = Ok(ValidatorIndex::ZERO);
        assert_eq!(seat(&committee(listed.clone()), &keys), place);
        assert_eq!(seat(&committee(member(5)), &keys), Err(NoSeat::NotListed));

        // A committee of before the network or the VRF key was changed.
        let other_peer = committee(Validator { peer_id: member(1).peer_id, ..listed.clone() });
        assert!(matches!(seat(&other_peer, &keys), Err(NoSeat::PeerId { .. })));
        let seats = Seats::new(Era::new(1), Arc::new(other_peer), &keys);
        assert_eq!(seats.me, None);
        assert!(seats.signer(&keys).is_none());
        let other_vrf = committee(Validator { vrf_key: [7; 32], ..listed.clone() });
        let name = listed.name.clone();
        assert_eq!(seat(&other_vrf, &keys), Err(NoSeat::VrfKey { name }));

        // The key is being replaced by the next.
        let next = validator_key(8);
        let keys = KeyRing { next_consensus: Some(next.clone()), ..keys };
        let rotated = Validator { consensus_key: next.public(), ..listed.clone() };
        for (listed, key) in [(listed, keys.consensus.public()), (rotated, next.public())] {
            let seats = Seats::new(Era::new(1), Arc::new(committee(listed)), &keys);
            let (me, signer) = seats.signer(&keys).expect("a seat");
            assert_eq!((me, signer.public()), (ValidatorIndex::ZERO, key));
        }
    }

    #[test]
    fn a_peer_id_that_is_none_costs_its_owner_the_seat_alone() {
        let (first, ..) = committees();
        let mut members: Vec<_> = first.iter().map(|(_, it)| it.clone()).collect();
        members[0].peer_id = "nobody".to_owned();
        let committee = Arc::new(Committee::new(members).expect("a committee"));
        let seats = Seats::new(Era::new(1), committee, &KeyRing::generate());
        assert_eq!(seats.others().count(), 3);
        assert_eq!(seats.peer(ValidatorIndex::ZERO), None);
    }
}
