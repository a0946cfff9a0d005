//! Ed25519 keys and signatures with one verification rule, ZIP-215.
//!
//! Single and batch verification through `ed25519-zebra` accept exactly the
//! same signatures; `ed25519-dalek`'s batch does not agree with its own single
//! check, so it decides nothing here. Keys of small order verify messages that
//! nobody signed and are refused when a key is registered or read.

use crate::encoding::{Decode, DecodeError, Encode, Reader};
use crate::hash::{Context, Hash, hex_array};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;
use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_zebra::{VerificationKeyBytes, batch};

/// y of the points of small order, in each encoding: 0, 1, −1, the two of order 8, and 0 and 1
/// again with the prime of the field added.
const SMALL_ORDER: [[u8; 32]; 7] = [
    bytes(0x00, 0x00, 0x00),
    bytes(0x01, 0x00, 0x00),
    bytes(0xec, 0xff, 0x7f),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    bytes(0xed, 0xff, 0x7f),
    bytes(0xee, 0xff, 0x7f),
];

const fn bytes(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

/// An Ed25519 public key as bytes; not necessarily a point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// An Ed25519 signature as bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub [u8; 64]);

/// One signature to check.
#[derive(Clone, Copy, Debug)]
pub struct SignatureCheck<'a> {
    /// Who is said to have signed.
    pub key: PublicKey,
    /// What was signed, as it stands.
    pub message: &'a [u8],
    /// The signature.
    pub signature: Signature,
}

/// A bounded memory of signatures that are known to be good, so that each is
/// verified once per node: a vote that later returns inside a certificate
/// costs one hash.
///
/// It remembers key, message and signature together, never a certificate's
/// identity, which leaves signature bytes out. The simulator fills one with
/// what its validators signed, and so runs the real checks without curves.
#[derive(Debug)]
pub struct SignatureMemo {
    young: BTreeSet<Hash>,
    old: BTreeSet<Hash>,
    generation_size: usize,
}

impl PublicKey {
    /// Whether the key is a point of the curve that is not of small order.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        CompressedEdwardsY(self.0).decompress().is_some_and(|point| !point.is_small_order())
    }

    /// Whether the key is a point of small order, in any encoding of it.
    #[must_use]
    pub fn is_small_order(&self) -> bool {
        let mut y = self.0;
        // The sign of x.
        y[31] &= 0x7f;
        SMALL_ORDER.contains(&y)
    }

    /// Reads 64 lower-case hex digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        hex_array(text).map(Self)
    }
}

impl Signature {
    /// Reads 128 lower-case hex digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        hex_array(text).map(Self)
    }
}

impl SignatureCheck<'_> {
    /// Whether the signature is good (ZIP-215).
    #[must_use]
    pub fn is_good(&self) -> bool {
        ed25519_zebra::VerificationKey::try_from(self.key.0).is_ok_and(|key| {
            key.verify(&ed25519_zebra::Signature::from_bytes(&self.signature.0), self.message)
                .is_ok()
        })
    }

    fn memo_key(&self) -> Hash {
        Context::Signature.hash(&[&self.key.0, &self.signature.0, self.message])
    }
}

impl SignatureMemo {
    /// A memo that holds between `capacity / 2` and `capacity` signatures.
    #[must_use]
    pub const fn new(capacity: usize) -> Self {
        Self { young: BTreeSet::new(), old: BTreeSet::new(), generation_size: capacity / 2 + 1 }
    }

    /// Notes a signature as good. Only after it was verified or made here.
    pub fn remember(&mut self, check: &SignatureCheck<'_>) {
        self.insert(check.memo_key());
    }

    /// Whether all are good: known ones by memory, the rest in one batch.
    /// Good ones are remembered.
    pub fn all_good(&mut self, checks: &[SignatureCheck<'_>]) -> bool {
        let mut unknown = Vec::new();
        for check in checks {
            let key = check.memo_key();
            if !self.young.contains(&key) && !self.old.contains(&key) {
                unknown.push((key, check));
            }
        }
        let good = match unknown.as_slice() {
            [] => true,
            [(_, check)] => check.is_good(),
            many => batch_is_good(many.iter().map(|(_, check)| *check)),
        };
        if good {
            for (key, _) in unknown {
                self.insert(key);
            }
        }
        good
    }

    fn insert(&mut self, key: Hash) {
        if self.young.len() >= self.generation_size {
            self.old = core::mem::take(&mut self.young);
        }
        self.young.insert(key);
    }
}

/// Which of the signatures are good: one batch, and on failure halves of it
/// down to single checks, so that few bad ones cost little.
#[must_use]
pub fn check_each(checks: &[SignatureCheck<'_>]) -> Vec<bool> {
    let mut good = Vec::with_capacity(checks.len());
    bisect(checks, &mut good);
    good
}

fn bisect(checks: &[SignatureCheck<'_>], good: &mut Vec<bool>) {
    match checks {
        [] => {}
        [check] => good.push(check.is_good()),
        _ if batch_is_good(checks.iter()) => good.extend(checks.iter().map(|_| true)),
        _ => {
            let (left, right) = checks.split_at(checks.len() / 2);
            bisect(left, good);
            bisect(right, good);
        }
    }
}

/// Batch verification with coefficients drawn from the batch itself: no
/// ambient randomness, and an attacker who changes a signature changes all
/// coefficients.
fn batch_is_good<'a>(checks: impl Iterator<Item = &'a SignatureCheck<'a>> + Clone) -> bool {
    let mut seed = Context::Signature.hasher();
    let mut verifier = batch::Verifier::new();
    for check in checks {
        seed.update(check.memo_key().as_bytes());
        verifier.queue(batch::Item::from((
            VerificationKeyBytes::from(check.key.0),
            ed25519_zebra::Signature::from_bytes(&check.signature.0),
            check.message,
        )));
    }
    verifier.verify(SeededRng(seed.finalize_xof())).is_ok()
}

/// The batch's own hash, stretched.
struct SeededRng(blake3::OutputReader);

impl rand_core::TryRng for SeededRng {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for SeededRng {}

macro_rules! byte_array {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&crate::hash::hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&crate::hash::hex(&self.0[..4]))
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

byte_array!(PublicKey);
byte_array!(Signature);

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::constants::{ED25519_BASEPOINT_COMPRESSED, EIGHT_TORSION};

    #[test]
    fn the_list_has_every_encoding_of_small_order() {
        let is_small = |bytes: [u8; 32]| {
            CompressedEdwardsY(bytes).decompress().is_some_and(|point| point.is_small_order())
        };
        let mut count = 0;
        for y in SMALL_ORDER {
            for sign in [0, 0x80] {
                let mut key = y;
                key[31] |= sign;
                assert!(is_small(key) && PublicKey(key).is_small_order(), "{key:?}");
                count += 1;
            }
        }
        assert_eq!(count, 14);
        // Whatever decompresses to one of the eight is its encoding, or that with the prime added,
        // which leaves 255 bits for y below 19 alone.
        for point in EIGHT_TORSION {
            assert!(PublicKey(point.compress().0).is_small_order());
        }
        for first in 0..=255 {
            for (middle, last) in [(0, 0), (0, 0x80), (0xff, 0x7f), (0xff, 0xff)] {
                let key = bytes(first, middle, last);
                assert_eq!(PublicKey(key).is_small_order(), is_small(key), "{key:?}");
            }
        }
        let good = PublicKey(ED25519_BASEPOINT_COMPRESSED.0);
        assert!(!good.is_small_order() && good.is_usable());
        assert!(!PublicKey([0; 32]).is_usable());
    }
}
