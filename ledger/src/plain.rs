//! Families of entries, and the hash that binds the plain ones.
//!
//! All entries are stored flat, key by key, and read in one way. What changes
//! rarely and others ask about is also in the [state tree](crate::state). What
//! changes with every record is not: the *plain* families are bound by one
//! homomorphic hash, so that a put costs two expansions and not a path of a
//! tree, a divergence shows in the next `exec`, and a snapshot can be verified
//! whole.
//!
//! The hash is LtHash with 1,024 lanes of 16 bits: each entry is expanded by BLAKE3
//! to 2,048 bytes, little-endian lanes are added, and wrap. The order of
//! changes does not matter, and what is taken out leaves no trace.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use bizra_types::encoding::{Decode, DecodeError, Encode, Reader};
use bizra_types::hash::{Context, Hash, RecordDigest};
use bizra_types::numbers::{Height, LogIndex};
use core::fmt;

use crate::codes::Code;
use crate::log::StorageError;
use crate::outcomes::OutcomeFlags;

/// Lanes of an [`LtHash`].
const LANES: usize = 1_024;

/// Bytes of an [`LtHash`].
pub const LT_HASH_SIZE: usize = 2 * LANES;

macro_rules! families {
    ($($(#[$doc:meta])* $name:ident = $number:literal in $place:ident,)*) => {
        /// The families of entries; each has a number that is part of the format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Family {
            $($(#[$doc])* $name = $number,)*
        }

        impl Family {
            /// Every family.
            pub const ALL: [Self; [$($number),*].len()] = [$(Self::$name),*];

            const fn place(self) -> Place {
                match self {
                    $(Self::$name => Place::$place,)*
                }
            }
        }
    };
}

families! {
    /// [`OutcomeEntry`] by record digest: the latest judgement of each record
    /// that passed the static gates and was paid for, and with
    /// [`Code::Success`] its place in the log.
    Outcome = 1 in Plain,
    /// A governed number (`u64`) by the name of the parameter; see
    /// [`crate::parameters`].
    Parameter = 2 in Tree,
    /// An open [`Session`](crate::session::Session) by its
    /// [`SessionKey`](crate::session::SessionKey).
    Session = 3 in Plain,
    /// The [`SessionNode`](crate::session::SessionNode) of an inference by record digest.
    SessionNode = 4 in Plain,
    /// A [`ClosedSession`](crate::session::ClosedSession) by its
    /// [`SessionKey`](crate::session::SessionKey).
    ClosedSession = 5 in Tree,
    /// The one [`Market`](crate::market::Market), by the empty key.
    Market = 6 in Tree,
    /// An [`Account`](crate::market::Account) by its owner's key.
    Account = 7 in Tree,
    /// A [`Licence`](crate::market::Licence) by its UUID.
    Licence = 8 in Tree,
    /// [`Holdings`](crate::market::Holdings) by the number of the resource.
    Holdings = 9 in Tree,
    /// A [`KeyEntry`](crate::identity::KeyEntry) by the key.
    Key = 10 in Tree,
    /// The [`IdentityUsage`](crate::identity::IdentityUsage) of an identity by its first key.
    Usage = 11 in Plain,
    /// The [`Usage`](crate::identity::Usage) of the author of batches by its key.
    AuthorUsage = 12 in Plain,
    /// The one [`Governance`](crate::governance::Governance), by the empty key.
    Governance = 13 in Tree,
    /// An open [`Proposal`](crate::governance::Proposal) by record digest.
    Proposal = 14 in Tree,
    /// The [`Ballots`](crate::governance::Ballots) on an open proposal by its digest.
    Ballots = 15 in Tree,
    /// A [`ClosedProposal`](crate::governance::ClosedProposal) by record digest.
    ClosedProposal = 16 in Tree,
    /// A [`PolicyText`](crate::policy::PolicyText) that governance put in force, by its hash.
    Policy = 17 in Tree,
    /// The latest [`Committee`](bizra_types::committee::Committee) that governance decided on, by
    /// the empty key; none while it is that of the genesis file.
    Committee = 18 in Tree,
    /// The first height (`u64`) of a protocol version, by its number (`u16`).
    Activation = 19 in Tree,
    /// A validator's [`Attestation`](crate::governance::Attestation) of a release, by its key and
    /// the name of the release.
    Release = 20 in Tree,
    /// The [`Reputation`](crate::reputation::Reputation) of a validator by its key.
    Reputation = 21 in Tree,
    /// The [`PatternVotes`](crate::pattern::PatternVotes) for an offer by the digest of its
    /// envelope.
    Pattern = 22 in Tree,
    /// [`FiledEvidence`](crate::evidence::FiledEvidence) by what it has proven: the key of the
    /// accused, the number of its [`Kind`](crate::evidence::Kind), and the place that an honest
    /// validator signs once.
    Evidence = 23 in Tree,
}

/// Something of each entry, by family and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ByFamily<T>([BTreeMap<Key<'static>, T>; Family::ALL.len()]);

/// A key in a map, ordered as its bytes are. Most keys differ in what they begin with, which is
/// kept as numbers: so a search seldom has to follow a pointer to compare.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key<'a> {
    /// The first 16 bytes, big-endian, zeros where there are fewer.
    first: [u64; 2],
    bytes: Cow<'a, [u8]>,
}

/// What binds the entries of a family.
enum Place {
    /// The homomorphic hash.
    Plain,
    /// The state tree.
    Tree,
}

/// Homomorphic hash of a set of entries.
#[derive(Clone, PartialEq, Eq)]
pub struct LtHash(Box<[u16; LANES]>);

/// Value of [`Family::Outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutcomeEntry {
    /// What became of the record.
    pub code: Code,
    /// What else was noted.
    pub flags: OutcomeFlags,
    /// The block that said so.
    pub height: Height,
    /// Its place in the log, if it is there.
    pub log_index: Option<LogIndex>,
}

impl Family {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its name in paths and for people: lower case, words joined by `_`.
    #[must_use]
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    /// Whether the [state tree](crate::state) holds its entries, and not the homomorphic hash.
    #[must_use]
    pub const fn is_in_tree(self) -> bool {
        matches!(self.place(), Place::Tree)
    }

    /// Decodes an entry of this family.
    ///
    /// # Errors
    /// When it is damaged.
    pub(crate) fn decode_entry<T: Decode>(self, bytes: &[u8]) -> Result<T, StorageError> {
        T::from_bytes(bytes)
            .map_err(|error| StorageError(format!("an entry of the {self:?} family {error}")))
    }
}

impl<'a> Key<'a> {
    /// The key with these bytes.
    pub(crate) fn new(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        let bytes = bytes.into();
        let mut first = [0; 16];
        let size = bytes.len().min(first.len());
        first[..size].copy_from_slice(&bytes[..size]);
        let first = u128::from_be_bytes(first);
        Self { first: [(first >> 64) as u64, first as u64], bytes }
    }

    /// What a map has under the key, which need not own its bytes for that.
    pub(crate) fn find_in<T>(&self, map: &'a BTreeMap<Key<'static>, T>) -> Option<&'a T> {
        let map: &'a BTreeMap<Self, T> = map;
        map.get(self)
    }
}

impl<T> ByFamily<T> {
    /// Nothing of any entry.
    pub(crate) const fn new() -> Self {
        Self([const { BTreeMap::new() }; Family::ALL.len()])
    }

    pub(crate) fn get<'a>(&'a self, family: Family, key: &'a [u8]) -> Option<&'a T> {
        Key::new(key).find_in(&self.0[Self::place(family)])
    }

    pub(crate) fn insert(&mut self, family: Family, key: &[u8], value: T) -> Option<T> {
        self.0[Self::place(family)].insert(Key::new(key.to_vec()), value)
    }

    pub(crate) fn remove(&mut self, family: Family, key: &[u8]) -> Option<T> {
        self.0[Self::place(family)].remove(&Key::new(key.to_vec()))
    }

    /// By family and key, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Family, &[u8], &T)> {
        Family::ALL.into_iter().zip(&self.0).flat_map(|(family, entries)| {
            entries.iter().map(move |(key, value)| (family, &*key.bytes, value))
        })
    }

    /// Numbers begin with 1 and leave none out, as [`Family::ALL`] lists them.
    const fn place(family: Family) -> usize {
        family as usize - 1
    }
}

impl LtHash {
    /// The hash of no entries: all lanes 0.
    #[must_use]
    pub fn new() -> Self {
        Self(Box::new([0; LANES]))
    }

    /// Puts an entry in that is not there.
    pub fn add(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.each_lane(family, key, value, u16::wrapping_add);
    }

    /// Takes an entry out that is there.
    pub fn remove(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.each_lane(family, key, value, u16::wrapping_sub);
    }

    /// The `plain_digest` of `exec`: a hash of the 2,048 bytes.
    #[must_use]
    pub fn digest(&self) -> Hash {
        Context::PlainDigest.hash(&[&self.to_bytes()])
    }

    /// Generic, so that the lanes are changed many at a time.
    fn each_lane(
        &mut self,
        family: Family,
        key: &[u8],
        value: &[u8],
        change: impl Fn(u16, u16) -> u16,
    ) {
        let key_size = u32::try_from(key.len()).expect("a key is short");
        let mut element = [0; LT_HASH_SIZE];
        let mut hasher = Context::PlainElement.hasher();
        hasher.update(&[family.number()]).update(&key_size.to_le_bytes());
        hasher.update(key).update(value);
        hasher.finalize_xof().fill(&mut element);
        for (lane, bytes) in self.0.iter_mut().zip(element.chunks_exact(2)) {
            *lane = change(*lane, u16::from_le_bytes([bytes[0], bytes[1]]));
        }
    }
}

impl Default for LtHash {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LtHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LtHash({:?})", self.digest())
    }
}

impl Encode for LtHash {
    fn encode(&self, out: &mut Vec<u8>) {
        for lane in self.0.iter() {
            out.extend_from_slice(&lane.to_le_bytes());
        }
    }
}

impl Decode for LtHash {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.take(LT_HASH_SIZE)?;
        let mut hash = Self::new();
        for (lane, bytes) in hash.0.iter_mut().zip(bytes.chunks_exact(2)) {
            *lane = u16::from_le_bytes([bytes[0], bytes[1]]);
        }
        Ok(hash)
    }
}

impl OutcomeEntry {
    /// The key of a record.
    #[must_use]
    pub const fn key(digest: &RecordDigest) -> &[u8; 32] {
        digest.as_bytes()
    }
}

impl Encode for OutcomeEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.code.number(), self.flags.0]);
        self.height.encode(out);
        self.log_index.encode(out);
    }
}

impl Decode for OutcomeEntry {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = u8::decode(reader)?;
        let code = Code::from_number(number)
            .ok_or(DecodeError::Invalid { what: "outcome code", value: number.into() })?;
        Ok(Self {
            code,
            flags: OutcomeFlags(u8::decode(reader)?),
            height: Decode::decode(reader)?,
            log_index: Decode::decode(reader)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn families_are_numbered_without_a_gap() {
        for (family, number) in Family::ALL.into_iter().zip(1..) {
            assert_eq!(family.number(), number);
        }
    }

    #[test]
    fn an_element_is_bound_to_key_and_value() {
        let hash_of = |key: &[u8], value: &[u8]| {
            let mut hash = LtHash::new();
            hash.add(Family::Outcome, key, value);
            hash.digest()
        };
        let digests = [hash_of(b"ab", b"c"), hash_of(b"a", b"bc"), hash_of(b"", b"abc")];
        assert_ne!(digests[0], digests[1]);
        assert_ne!(digests[1], digests[2]);
        assert_ne!(LtHash::new().digest(), hash_of(b"", b""));
    }

    #[test]
    fn the_element_is_the_xof_of_family_key_and_value() {
        let mut hasher = blake3::Hasher::new_derive_key("bizra 2026 plain element v1");
        hasher.update(b"\x01\x03\x00\x00\x00keyvalue");
        let mut element = [0; 2_048];
        hasher.finalize_xof().fill(&mut element);
        let mut hash = LtHash::new();
        hash.add(Family::Outcome, b"key", b"value");
        assert_eq!(hash.to_bytes(), element);
        assert_eq!(
            hash.digest().as_bytes(),
            &blake3::derive_key("bizra 2026 plain digest v1", &element)
        );
    }

    #[test]
    fn keys_are_ordered_as_their_bytes() {
        let mut keys: Vec<Vec<u8>> = vec![];
        for size in [0, 1, 7, 8, 9, 15, 16, 17, 32] {
            for last in [0, 1, 255] {
                let mut key = vec![0; size];
                key.extend((size > 0).then_some(last));
                keys.push(key);
            }
        }
        for one in &keys {
            for other in &keys {
                let order = Key::new(one).cmp(&Key::new(other));
                assert_eq!(order, one.cmp(other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn an_entry_with_an_unknown_code_is_refused() {
        let entry = OutcomeEntry {
            code: Code::Success,
            flags: OutcomeFlags(0),
            height: Height::new(7),
            log_index: Some(LogIndex::new(3)),
        };
        let mut bytes = entry.to_bytes();
        assert_eq!(OutcomeEntry::from_bytes(&bytes), Ok(entry));
        bytes[0] = 17;
        assert_eq!(
            OutcomeEntry::from_bytes(&bytes),
            Err(DecodeError::Invalid { what: "outcome code", value: 17 })
        );
    }

    proptest! {
        #[test]
        fn the_hash_knows_the_set_and_not_its_history(
            keys in prop::collection::btree_set(any::<u16>(), 0..12),
            gone in prop::collection::btree_set(any::<u16>(), 0..6),
        ) {
            let add = |hash: &mut LtHash, key: u16| {
                hash.add(Family::Outcome, &key.to_le_bytes(), b"value");
            };
            let mut straight = LtHash::new();
            for key in &keys {
                add(&mut straight, *key);
            }
            let mut detour = LtHash::new();
            for key in &gone {
                detour.add(Family::Outcome, &key.to_le_bytes(), b"older");
            }
            for key in keys.iter().rev() {
                add(&mut detour, *key);
            }
            prop_assert_eq!(straight == detour, gone.is_empty());
            for key in &gone {
                detour.remove(Family::Outcome, &key.to_le_bytes(), b"older");
            }
            prop_assert_eq!(&straight, &detour);
            prop_assert_eq!(LtHash::from_bytes(&straight.to_bytes()), Ok(straight));
        }
    }
}
