//! Validators, quorums and sets of signers.

use crate::crypto::PublicKey;
use crate::encoding::{Decode, DecodeError, Encode, Reader, encode_bytes, encode_list};
use crate::hash::{Context, Hash};
use crate::numbers::ValidatorIndex;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// Most validators of one committee.
pub const COMMITTEE_SIZE_MAX: usize = 1024;
/// Longest name of a validator, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest peer id and KEM key, in bytes.
pub(crate) const PEER_ID_BYTES_MAX: usize = 128;
pub(crate) const KEM_KEY_BYTES_MAX: usize = 2048;

/// One member of a committee, as the genesis file or a committee change names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    /// For people; at most 64 bytes.
    pub name: String,
    /// libp2p peer id, base58.
    pub peer_id: String,
    /// Signs votes, batches and tickets.
    pub consensus_key: PublicKey,
    /// Ristretto public key of the leader lottery.
    pub vrf_key: [u8; 32],
    /// Recipients' key for sealed files; may be empty.
    pub kem_key: Vec<u8>,
}

/// The validators of one era, in their fixed order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committee {
    validators: Vec<Validator>,
}

/// Why a list of validators is no committee.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitteeError {
    /// Nobody, or too many.
    #[error("a committee of {0} validators, where 1 to {COMMITTEE_SIZE_MAX} are allowed")]
    Size(usize),
    /// A key that anyone could sign for, or that is no point.
    #[error("validator {0} has a consensus key that is not a usable Ed25519 key")]
    Key(String),
    /// A name, peer id or key that stands twice.
    #[error("validator {0} has the name, the peer id or a key of another")]
    Repeated(String),
}

impl Committee {
    /// Checks a list of validators.
    ///
    /// # Errors
    /// When it is empty or too long, a key is unusable or anything stands twice.
    pub fn new(validators: Vec<Validator>) -> Result<Self, CommitteeError> {
        if validators.is_empty() || validators.len() > COMMITTEE_SIZE_MAX {
            return Err(CommitteeError::Size(validators.len()));
        }
        for (position, validator) in validators.iter().enumerate() {
            if !validator.consensus_key.is_usable() {
                return Err(CommitteeError::Key(validator.name.to_string()));
            }
            if validators[..position].iter().any(|other| {
                other.name == validator.name
                    || other.peer_id == validator.peer_id
                    || other.consensus_key == validator.consensus_key
                    || other.vrf_key == validator.vrf_key
            }) {
                return Err(CommitteeError::Repeated(validator.name.to_string()));
            }
        }
        Ok(Self { validators })
    }

    /// How many validators are registered; never how many are alive.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.validators.len()
    }

    /// ⌊2n/3⌋ + 1: any two quorums share an honest validator.
    #[must_use]
    pub const fn quorum(&self) -> usize {
        self.size() * 2 / 3 + 1
    }

    /// f: how many may lie or be gone.
    #[must_use]
    pub const fn faulty_max(&self) -> usize {
        (self.size() - 1) / 3
    }

    /// f + 1: at least one of so many is honest.
    #[must_use]
    pub const fn one_honest(&self) -> usize {
        self.faulty_max() + 1
    }

    /// The validator at `index`.
    #[must_use]
    pub fn get(&self, index: ValidatorIndex) -> Option<&Validator> {
        self.validators.get(usize::from(index.get()))
    }

    /// The consensus key at `index`.
    #[must_use]
    pub fn key(&self, index: ValidatorIndex) -> Option<PublicKey> {
        self.get(index).map(|validator| validator.consensus_key)
    }

    /// Where a consensus key stands.
    #[must_use]
    pub fn index_of(&self, key: &PublicKey) -> Option<ValidatorIndex> {
        self.iter().find(|(_, validator)| validator.consensus_key == *key).map(|(index, _)| index)
    }

    /// All validators with their positions.
    pub fn iter(&self) -> impl Iterator<Item = (ValidatorIndex, &Validator)> {
        self.validators.iter().enumerate().map(|(position, validator)| {
            let position = u16::try_from(position).expect("committees are bounded");
            (ValidatorIndex::new(position), validator)
        })
    }

    /// All positions.
    pub fn indices(&self) -> impl Iterator<Item = ValidatorIndex> + use<> {
        (0..u16::try_from(self.size()).expect("committees are bounded")).map(ValidatorIndex::new)
    }

    /// Hash of the list, as `next_committee` of an exec names it.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Context::Committee.hash(&[&self.to_bytes()])
    }
}

impl Encode for Validator {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self.name.as_bytes(), out);
        encode_bytes(self.peer_id.as_bytes(), out);
        self.consensus_key.encode(out);
        out.extend_from_slice(&self.vrf_key);
        encode_bytes(&self.kem_key, out);
    }
}

impl Decode for Validator {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: reader.text("validator name", NAME_BYTES_MAX)?.to_string(),
            peer_id: reader.text("peer id", PEER_ID_BYTES_MAX)?.to_string(),
            consensus_key: PublicKey::decode(reader)?,
            vrf_key: reader.array()?,
            kem_key: reader.bytes("KEM key", KEM_KEY_BYTES_MAX)?.to_vec(),
        })
    }
}

impl Encode for Committee {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_list(&self.validators, out);
    }
}

impl Decode for Committee {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let validators = reader.list("committee", COMMITTEE_SIZE_MAX, 76)?;
        let size = validators.len() as u64;
        Self::new(validators).map_err(|_| DecodeError::Invalid { what: "committee", value: size })
    }
}

/// A subset of a committee, one bit each, lowest index in the lowest bit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignerSet {
    committee_size: u16,
    bits: Vec<u8>,
}

impl SignerSet {
    /// The empty subset of a committee of `committee_size`.
    ///
    /// # Panics
    /// When the size is above [`COMMITTEE_SIZE_MAX`].
    #[must_use]
    pub fn empty(committee_size: usize) -> Self {
        assert!(committee_size <= COMMITTEE_SIZE_MAX, "a committee of {committee_size}");
        Self {
            committee_size: u16::try_from(committee_size).expect("checked above"),
            bits: vec![0; committee_size.div_ceil(8)],
        }
    }

    /// The subset with these members.
    ///
    /// # Panics
    /// When a member is outside the committee.
    #[must_use]
    pub fn of(committee_size: usize, members: impl IntoIterator<Item = ValidatorIndex>) -> Self {
        let mut set = Self::empty(committee_size);
        for member in members {
            set.insert(member);
        }
        set
    }

    /// Adds a member.
    ///
    /// # Panics
    /// When it is outside the committee.
    pub fn insert(&mut self, member: ValidatorIndex) {
        assert!(member.get() < self.committee_size, "{member} is outside the committee");
        self.bits[usize::from(member.get() / 8)] |= 1 << (member.get() % 8);
    }

    /// Whether `member` is in the set.
    #[must_use]
    pub fn contains(&self, member: ValidatorIndex) -> bool {
        self.bits
            .get(usize::from(member.get() / 8))
            .is_some_and(|byte| byte & 1 << (member.get() % 8) != 0)
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = ValidatorIndex> + '_ {
        (0..self.committee_size).map(ValidatorIndex::new).filter(|index| self.contains(*index))
    }

    /// How many members.
    #[must_use]
    pub fn count(&self) -> usize {
        self.bits.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    /// The size of the committee it is a subset of.
    #[must_use]
    pub fn committee_size(&self) -> usize {
        usize::from(self.committee_size)
    }
}

impl Encode for SignerSet {
    fn encode(&self, out: &mut Vec<u8>) {
        self.committee_size.encode(out);
        out.extend_from_slice(&self.bits);
    }
}

impl Decode for SignerSet {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let committee_size = u16::decode(reader)?;
        let size = usize::from(committee_size);
        if size > COMMITTEE_SIZE_MAX {
            return Err(DecodeError::TooMany {
                what: "signer bitmap",
                count: size,
                limit: COMMITTEE_SIZE_MAX,
            });
        }
        let bits = reader.take(size.div_ceil(8))?.to_vec();
        if !size.is_multiple_of(8) && bits.last().is_some_and(|last| last >> (size % 8) != 0) {
            return Err(DecodeError::Invalid {
                what: "unused bits of a signer bitmap",
                value: bits.last().copied().unwrap_or(0).into(),
            });
        }
        Ok(Self { committee_size, bits })
    }
}
