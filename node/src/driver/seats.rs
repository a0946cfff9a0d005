//! Who sits where in the committee of each era, and under which peer id.

use bizra_gossip::PeerId;
use bizra_types::committee::Committee;
use bizra_types::crypto::PublicKey;
use bizra_types::numbers::{Era, ValidatorIndex};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

/// The committee of one era as this node meets it.
#[derive(Debug)]
pub(super) struct Seats {
    pub(super) era: Era,
    pub(super) committee: Arc<Committee>,
    /// Our own place, if our key has one.
    pub(super) me: Option<ValidatorIndex>,
    by_index: BTreeMap<ValidatorIndex, PeerId>,
    by_peer: BTreeMap<PeerId, ValidatorIndex>,
}

/// The committees of all eras up to the one that the engine is in.
#[derive(Debug)]
pub(super) struct Eras(RwLock<BTreeMap<Era, Arc<Seats>>>);

impl Seats {
    /// The seats of an era, where `key` is this node's.
    pub(super) fn new(era: Era, committee: Arc<Committee>, key: &PublicKey) -> Self {
        let by_index: BTreeMap<_, _> = committee
            .iter()
            .filter_map(|(index, validator)| Some((index, validator.peer_id.parse().ok()?)))
            .collect();
        let by_peer = by_index.iter().map(|(index, peer)| (*peer, *index)).collect();
        let me = committee.index_of(key);
        Self { era, committee, me, by_index, by_peer }
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

    /// A committee, one in which its first member is gone and another has come,
    /// and the one that is gone.
    fn committees() -> (Arc<Committee>, Arc<Committee>, Validator) {
        let member = |number: u8| Validator {
            name: format!("validator-{number}"),
            peer_id: PeerId::random().to_string(),
            consensus_key: validator_key(number).public(),
            vrf_key: [number; 32],
            kem_key: Vec::new(),
        };
        let mut members: Vec<_> = (0..4).map(member).collect();
        let first = Committee::new(members.clone()).expect("a committee");
        let gone = members.remove(0);
        members.push(member(9));
        let second = Committee::new(members).expect("a committee");
        (Arc::new(first), Arc::new(second), gone)
    }

    #[test]
    fn places_belong_to_an_era() {
        let (first, second, gone) = committees();
        let key = validator_key(1).public();
        let seats = |era, committee: &Arc<Committee>| {
            Seats::new(Era::new(era), Arc::clone(committee), &key)
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
}
