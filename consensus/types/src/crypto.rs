//! Ed25519 keys and signatures with one verification rule, ZIP-215.
//!
//! A single check goes through `ed25519-zebra`, a batch through the sum of the
//! same equation over all its signatures, so both accept exactly the same;
//! `ed25519-dalek`'s batch does not agree with its own single check, so it
//! decides nothing here. Keys of small order verify messages that nobody signed
//! and are refused when a key is registered or read.

use crate::encoding::{Decode, DecodeError, Encode, Reader};
use crate::hash::{Context, Hash, hex_array};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity as _, VartimeMultiscalarMul as _};
use sha2::{Digest as _, Sha512};

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

    /// The point and the scalar, as bytes.
    fn halves(&self) -> [[u8; 32]; 2] {
        [0, 32].map(|at| *self.0[at..].first_chunk().expect("64 bytes are twice 32"))
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

/// Whether the sum of all the equations holds, each times a coefficient of 128 bits drawn from the
/// batch itself: no ambient randomness, and an attacker who changes a signature changes all
/// coefficients.
///
/// With R and s the halves of a signature, A its key, B the base point and k = SHA-512(R ‖ A ‖
/// message), the equation of each (ZIP-215) is 8 R + 8 k A − 8 s B = 0, where R and A may be any
/// encoding of a point and s is below the order of B. The terms of each key become one.
fn batch_is_good<'a>(checks: impl Iterator<Item = &'a SignatureCheck<'a>> + Clone) -> bool {
    let mut seed = Context::Signature.hasher();
    for check in checks.clone() {
        seed.update(check.memo_key().as_bytes());
    }
    let mut coefficients = seed.finalize_xof();
    let mut of_base = Scalar::ZERO;
    let mut of_keys: BTreeMap<PublicKey, Scalar> = BTreeMap::new();
    let (mut scalars, mut points) = (Vec::new(), Vec::new());
    for check in checks {
        let [commitment, response] = check.signature.halves();
        let Some(point) = CompressedEdwardsY(commitment).decompress() else { return false };
        let response: Option<Scalar> = Scalar::from_canonical_bytes(response).into();
        let Some(response) = response else { return false };
        let hasher = Sha512::new().chain_update(commitment).chain_update(check.key.0);
        let challenge = Scalar::from_hash(hasher.chain_update(check.message));
        let mut coefficient = [0; 16];
        coefficients.fill(&mut coefficient);
        let coefficient = Scalar::from(u128::from_le_bytes(coefficient));
        of_base -= coefficient * response;
        *of_keys.entry(check.key).or_default() += coefficient * challenge;
        scalars.push(coefficient);
        points.push(point);
    }
    scalars.extend(of_keys.values().copied().chain([of_base]));
    let Some(keys) = points_of(of_keys.keys()) else { return false };
    points.extend(keys.into_iter().chain([ED25519_BASEPOINT_POINT]));
    EdwardsPoint::vartime_multiscalar_mul(&scalars, &points).mul_by_cofactor().is_identity()
}

/// The points of keys, or `None` if one is no point. To compute one takes as long as a fifth of
/// a signature in a batch, and most senders come again.
#[cfg(feature = "std")]
fn points_of<'a>(keys: impl Iterator<Item = &'a PublicKey>) -> Option<Vec<EdwardsPoint>> {
    static MEMO: std::sync::Mutex<PointMemo> = std::sync::Mutex::new(PointMemo::new());
    let lock = || MEMO.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let known: Vec<(PublicKey, Option<EdwardsPoint>)> = {
        let mut memo = lock();
        keys.map(|key| (*key, memo.get(key))).collect()
    };
    // Others need not wait for what is computed.
    let mut points = Vec::with_capacity(known.len());
    let mut new = Vec::new();
    for (key, point) in known {
        points.push(match point {
            Some(point) => point,
            None => {
                let point = CompressedEdwardsY(key.0).decompress()?;
                new.push((key, point));
                point
            }
        });
    }
    if !new.is_empty() {
        let mut memo = lock();
        new.into_iter().for_each(|(key, point)| memo.insert(key, point));
    }
    Some(points)
}

/// The points of keys, or `None` if one is no point.
#[cfg(not(feature = "std"))]
fn points_of<'a>(keys: impl Iterator<Item = &'a PublicKey>) -> Option<Vec<EdwardsPoint>> {
    keys.map(|key| CompressedEdwardsY(key.0).decompress()).collect()
}

/// The points of the keys met last, at most twice [`PointMemo::GENERATION_SIZE`]. What is not in
/// it is computed again, to the same result.
#[cfg(feature = "std")]
struct PointMemo {
    young: BTreeMap<PublicKey, EdwardsPoint>,
    old: BTreeMap<PublicKey, EdwardsPoint>,
}

#[cfg(feature = "std")]
impl PointMemo {
    /// With 200 bytes or more each, both together are about 2 MB.
    const GENERATION_SIZE: usize = 4_096;

    const fn new() -> Self {
        Self { young: BTreeMap::new(), old: BTreeMap::new() }
    }

    fn get(&mut self, key: &PublicKey) -> Option<EdwardsPoint> {
        if let Some(point) = self.young.get(key) {
            return Some(*point);
        }
        let point = self.old.remove(key)?;
        self.insert(*key, point);
        Some(point)
    }

    fn insert(&mut self, key: PublicKey, point: EdwardsPoint) {
        if self.young.len() >= Self::GENERATION_SIZE {
            self.old = core::mem::take(&mut self.young);
        }
        self.young.insert(key, point);
    }
}

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
    use alloc::vec;
    use curve25519_dalek::constants::{ED25519_BASEPOINT_COMPRESSED, EIGHT_TORSION};

    const MESSAGE: &[u8] = b"what is signed";

    /// A signature whose key and point are off by points of small order, which ZIP-215 allows, and
    /// its scalar by `error`.
    fn shifted(
        key_by: EdwardsPoint,
        point_by: EdwardsPoint,
        error: u64,
    ) -> SignatureCheck<'static> {
        let (secret, nonce) = (Scalar::from(7_u64), Scalar::from(11_u64));
        let key = PublicKey((ED25519_BASEPOINT_POINT * secret + key_by).compress().0);
        let point = (ED25519_BASEPOINT_POINT * nonce + point_by).compress().0;
        let hasher = Sha512::new().chain_update(point).chain_update(key.0).chain_update(MESSAGE);
        let response = nonce + Scalar::from_hash(hasher) * secret + Scalar::from(error);
        let signature = [point, response.to_bytes()].concat();
        let signature = Signature(signature.try_into().expect("twice 32 bytes"));
        SignatureCheck { key, message: MESSAGE, signature }
    }

    /// All at once, each twice beside a good one, and one by one.
    fn assert_judged_alike(checks: &[SignatureCheck<'_>], expected: bool) {
        let good = shifted(EIGHT_TORSION[0], EIGHT_TORSION[0], 0);
        assert_eq!(batch_is_good(checks.iter()), expected);
        for check in checks {
            assert_eq!(check.is_good(), expected, "{check:?}");
            assert_eq!(batch_is_good([good, *check, *check].iter()), expected, "{check:?}");
            assert_eq!(check_each(&[good, *check]), [true, expected], "{check:?}");
        }
    }

    #[test]
    fn a_batch_takes_what_a_single_check_takes() {
        let mut good = Vec::new();
        for key_by in EIGHT_TORSION {
            good.extend(EIGHT_TORSION.map(|point_by| shifted(key_by, point_by, 0)));
        }
        assert_judged_alike(&good, true);
        // Every encoding of every pair of small order, which signs everything with the scalar 0.
        let small: Vec<[u8; 32]> =
            SMALL_ORDER.iter().flat_map(|y| [0, 0x80].map(|sign| with_sign(*y, sign))).collect();
        let mut good = Vec::new();
        for key in &small {
            for point in &small {
                let signature = [*point, [0; 32]].concat().try_into().expect("twice 32 bytes");
                let signature = Signature(signature);
                good.push(SignatureCheck { key: PublicKey(*key), message: MESSAGE, signature });
            }
        }
        assert_judged_alike(&good, true);
    }

    const fn with_sign(mut y: [u8; 32], sign: u8) -> [u8; 32] {
        y[31] |= sign;
        y
    }

    #[test]
    fn a_batch_refuses_what_a_single_check_refuses() {
        let good = shifted(EIGHT_TORSION[0], EIGHT_TORSION[0], 0);
        let edited = |at: usize, bytes: [u8; 32]| {
            let mut signature = good.signature;
            signature.0[at..at + 32].copy_from_slice(&bytes);
            SignatureCheck { signature, ..good }
        };
        // The scalar with the order of the base point added, which is below 2^253.
        let order = (-Scalar::ONE).to_bytes();
        let [_, response] = good.signature.halves();
        let (mut larger, mut carry) = ([0; 32], 1);
        for at in 0..32 {
            let sum = u16::from(response[at]) + u16::from(order[at]) + carry;
            [larger[at], _] = sum.to_le_bytes();
            carry = sum >> 8;
        }
        let bad = vec![
            shifted(EIGHT_TORSION[0], EIGHT_TORSION[0], 1),
            shifted(EIGHT_TORSION[1], EIGHT_TORSION[5], 8),
            SignatureCheck { message: b"what is signeD", ..good },
            SignatureCheck { key: PublicKey([2; 32]), ..good },
            edited(0, [2; 32]),
            edited(32, larger),
            edited(32, [0xff; 32]),
        ];
        assert_judged_alike(&bad, false);
    }

    #[test]
    #[cfg(feature = "std")]
    fn keys_met_again_are_remembered_and_others_forgotten() {
        let key = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(number as u64).to_le_bytes());
            PublicKey(key)
        };
        let mut memo = PointMemo::new();
        for number in 0..4 * PointMemo::GENERATION_SIZE {
            memo.insert(key(number), ED25519_BASEPOINT_POINT);
            assert!(memo.get(&key(0)).is_some(), "it was met a moment ago");
            assert!(memo.young.len() + memo.old.len() <= 2 * PointMemo::GENERATION_SIZE);
        }
        assert!(memo.get(&key(1)).is_none(), "it was met once, long ago");
    }

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
