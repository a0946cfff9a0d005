//! 32-byte identities, and which hash makes each.
//!
//! Everything is BLAKE3 in key-derivation mode with a context string of its
//! own, so that no bytes mean two things. The one exception is the record log,
//! which is SHA-256 as RFC 9162 wants it.

use crate::encoding::{Decode, DecodeError, Encode, Reader};
use alloc::vec::Vec;
use blake3::hazmat::{ContextKey, HasherExt as _, hash_derive_key_context};
use core::fmt;

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// All bytes zero: "none", where the format says so.
            pub const ZERO: Self = Self([0; 32]);

            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Reads 64 lower-case hex digits.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                hex_array(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0[..4], f)
            }
        }

        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.0);
            }
        }

        impl Decode for $name {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self(reader.array()?))
            }
        }
    };
}

identity!(
    /// A hash with no narrower meaning.
    Hash
);
identity!(
    /// Hash of the canonical genesis file: names the chain.
    ChainId
);
identity!(
    /// Hash of a block's header.
    BlockId
);
identity!(
    /// Identity of a batch: hash of what its author signs.
    BatchDigest
);
identity!(
    /// Identity of an envelope: BLAKE3 of its canonical form without the signature.
    RecordDigest
);
identity!(
    /// Chained commitment to everything executed up to a block.
    ExecHash
);

/// The BLAKE3 context of each kind of hash.
///
/// The strings are part of the format: they never change and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// [`ChainId`] of a canonical genesis file.
    Genesis,
    /// [`BlockId`] of a header.
    Header,
    /// A root over a list of encoded items.
    List,
    /// Identity of a certificate.
    Certificate,
    /// [`BatchDigest`] of a batch.
    Batch,
    /// [`ExecHash`] of execution fields.
    Exec,
    /// Hash of a committee list.
    Committee,
    /// A VRF epoch's seed.
    Seed,
    /// The stream that shuffles the leader schedule.
    Schedule,
    /// Storage key of signed envelope bytes.
    SignedBytes,
    /// A leaf of the outcomes tree.
    OutcomeLeaf,
    /// An inner node of the outcomes tree.
    OutcomeNode,
    /// One element of the homomorphic hash of the plain families.
    PlainElement,
    /// Digest of the whole homomorphic hash.
    PlainDigest,
    /// The place of an entry in the state tree.
    StateKey,
    /// A value, a leaf or an inner node of the state tree.
    StateTree,
    /// Checksum of a stored node of the state tree.
    StateNode,
    /// A record's node in the DAG of its session.
    SessionNode,
    /// What a new key signs to take the place of an old one.
    KeyRotation,
    /// A remembered good signature.
    Signature,
}

/// How many contexts there are.
#[cfg(feature = "std")]
const CONTEXTS: usize = Context::Signature as usize + 1;

impl Context {
    /// The context string.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Genesis => "bizra 2026 genesis v1",
            Self::Header => "bizra 2026 header v1",
            Self::List => "bizra 2026 list v1",
            Self::Certificate => "bizra 2026 certificate v1",
            Self::Batch => "bizra 2026 batch v1",
            Self::Exec => "bizra 2026 exec v1",
            Self::Committee => "bizra 2026 committee v1",
            Self::Seed => "bizra 2026 seed v1",
            Self::Schedule => "bizra 2026 schedule v1",
            Self::SignedBytes => "bizra 2026 signed bytes v1",
            Self::OutcomeLeaf => "bizra 2026 outcome leaf v1",
            Self::OutcomeNode => "bizra 2026 outcome node v1",
            Self::PlainElement => "bizra 2026 plain element v1",
            Self::PlainDigest => "bizra 2026 plain digest v1",
            Self::StateKey => "bizra 2026 state key v1",
            Self::StateTree => "bizra 2026 state tree v1",
            Self::StateNode => "bizra 2026 state node v1",
            Self::SessionNode => "bizra 2026 session node v1",
            Self::KeyRotation => "bizra 2026 key rotation v1",
            Self::Signature => "bizra 2026 signature v1",
        }
    }

    /// A hasher that has absorbed the context.
    #[must_use]
    pub fn hasher(self) -> blake3::Hasher {
        blake3::Hasher::new_from_context_key(&self.key())
    }

    /// What BLAKE3 makes of the context string, which takes as long as a short hash.
    #[cfg(feature = "std")]
    fn key(self) -> ContextKey {
        static KEYS: [std::sync::OnceLock<ContextKey>; CONTEXTS] =
            [const { std::sync::OnceLock::new() }; CONTEXTS];
        *KEYS[self as usize].get_or_init(|| hash_derive_key_context(self.as_str()))
    }

    /// What BLAKE3 makes of the context string.
    #[cfg(not(feature = "std"))]
    fn key(self) -> ContextKey {
        hash_derive_key_context(self.as_str())
    }

    /// Hash of the parts, one after the other. Parts carry no lengths of their
    /// own: all but the last must be of fixed size or encoded.
    #[must_use]
    pub fn hash(self, parts: &[&[u8]]) -> Hash {
        let mut hasher = self.hasher();
        for part in parts {
            hasher.update(part);
        }
        Hash(*hasher.finalize().as_bytes())
    }
}

/// Lower-case hex of any bytes.
#[must_use]
pub fn hex(bytes: &[u8]) -> alloc::string::String {
    struct Hex<'a>(&'a [u8]);
    impl fmt::Display for Hex<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_hex(self.0, f)
        }
    }
    alloc::format!("{}", Hex(bytes))
}

/// Reads exactly `2 N` lower-case hex digits.
#[must_use]
pub fn hex_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let (mut out, mut all) = ([0; N], 0);
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| HEX_DIGITS[usize::from(digit)]);
        all |= high | low;
        *byte = high << 4 | low;
    }
    (all < 16).then_some(out)
}

/// The value of each hex digit, and 255 for what is none.
const HEX_DIGITS: [u8; 256] = {
    let (mut digits, mut at) = ([255; 256], 0_u8);
    while at < 255 {
        if let Some(value) = hex_digit(at) {
            digits[at as usize] = value;
        }
        at += 1;
    }
    digits
};

/// Reads any number of bytes from lower-case hex.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(hex_digit(*high)? << 4 | hex_digit(*low)?));
    bytes.collect::<Option<_>>().filter(|_| rest.is_empty())
}

const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in bytes {
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}
