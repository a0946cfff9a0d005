//! Something of each entry that a block in the middle of its execution reads or sets.

use crate::plain::{ByFamily, Family};

/// Something of entries. They lie in the order in which they came, so that what is found can be
/// changed without a key of its own for the search.
#[derive(Clone, Debug)]
pub(super) struct Entries<T> {
    places: ByFamily<usize>,
    list: Vec<T>,
}

impl<T> Entries<T> {
    pub(super) const fn new() -> Self {
        Self { places: ByFamily::new(), list: Vec::new() }
    }

    pub(super) fn get(&self, family: Family, key: &[u8]) -> Option<&T> {
        self.places.get(family, key).map(|place| &self.list[*place])
    }

    pub(super) fn get_mut(&mut self, family: Family, key: &[u8]) -> Option<&mut T> {
        self.places.get(family, key).map(|place| &mut self.list[*place])
    }

    /// Adds an entry of which there was nothing.
    pub(super) fn add(&mut self, family: Family, key: &[u8], value: T) {
        let known = self.places.insert(family, key, self.list.len());
        assert_eq!(known, None, "an entry is added once");
        self.list.push(value);
    }

    /// By family and key, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Family, &[u8], &T)> {
        self.places.iter().map(|(family, key, place)| (family, key, &self.list[*place]))
    }

    pub(super) fn map<U>(self, change: impl FnMut(T) -> U) -> Entries<U> {
        Entries { places: self.places, list: self.list.into_iter().map(change).collect() }
    }
}
