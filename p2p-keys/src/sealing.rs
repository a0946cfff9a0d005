//! Encryption of a file to a KEM key.
//!
//! HPKE (RFC 9180) in base mode with X-Wing, HKDF-SHA256 and
//! ChaCha20-Poly1305, so that it stays closed unless both X25519 and
//! ML-KEM-768 fall. Anyone can seal to a public key: an opened file says
//! nothing about who sealed it.
//!
//! | bytes | holds |
//! |---|---|
//! | 14 | `bizra-seal v1` and a newline |
//! | 8 | the first bytes of the recipient's public key |
//! | 1,120 | the encapsulated key |
//! | the rest | the ciphertext and its 16-byte tag |
//!
//! The first two fields are authenticated with the ciphertext.

use crate::keys::KemPublicKey;
use bizra_types::hash::hex;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};
use zeroize::Zeroizing;

/// The most that one sealed file carries: it is worked on in memory.
pub const PLAIN_BYTES_MAX: usize = 64 << 20;

/// Bytes by which a sealed file is longer than what it carries.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + ENCAPSULATED_BYTES + TAG_BYTES;

const MAGIC: &[u8; 14] = b"bizra-seal v1\n";
const INFO: &[u8] = b"bizra seal v1";
const RECIPIENT_BYTES: usize = 8;
const HEADER_BYTES: usize = MAGIC.len() + RECIPIENT_BYTES;
const ENCAPSULATED_BYTES: usize = 1120;
const TAG_BYTES: usize = 16;

type Private = <XWing as Kem>::PrivateKey;
type Encapsulated = <XWing as Kem>::EncappedKey;

/// Why bytes were not sealed or not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The bytes do not begin as a sealed file does.
    #[error("not a sealed file: expected it to begin with `bizra-seal v1`")]
    NotSealed,
    /// The bytes end too soon.
    #[error("{have} bytes are too few: expected at least {need}")]
    Short {
        /// The least a sealed file has.
        need: usize,
        /// What is there.
        have: usize,
    },
    /// There is more than one sealed file carries.
    #[error("{size} bytes are too many: at most {limit} are sealed in one file")]
    TooLong {
        /// What is there.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The file was sealed to another key.
    #[error("sealed to the key that begins with {sealed_to}, not to this one, {ours}")]
    OtherRecipient {
        /// The first 16 hex digits of the recipient's public key.
        sealed_to: String,
        /// Those of the key that was to open it.
        ours: String,
    },
    /// The bytes were changed after sealing.
    #[error("changed since it was sealed")]
    Changed,
}

/// Seals `plain` to a public key, with fresh randomness: the same input gives
/// other bytes every time.
///
/// # Errors
/// When `plain` has more than [`PLAIN_BYTES_MAX`] bytes.
///
/// # Panics
/// When the operating system has no randomness to give.
pub fn seal(recipient: &KemPublicKey, plain: &[u8]) -> Result<Vec<u8>, SealError> {
    if plain.len() > PLAIN_BYTES_MAX {
        return Err(SealError::TooLong { size: plain.len(), limit: PLAIN_BYTES_MAX });
    }
    let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD_BYTES);
    sealed.extend_from_slice(MAGIC);
    sealed.extend_from_slice(&recipient.as_bytes()[..RECIPIENT_BYTES]);
    let (encapsulated, ciphertext) = hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeS::Base,
        &recipient.to_hpke(),
        INFO,
        plain,
        &sealed,
    )
    .expect("the key was checked and the length is far below the cipher's limit");
    sealed.extend_from_slice(&encapsulated.to_bytes());
    sealed.extend_from_slice(&ciphertext);
    Ok(sealed)
}

pub(crate) fn unseal(
    private: &Private,
    public: &KemPublicKey,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let Some(rest) = sealed.strip_prefix(MAGIC) else {
        return Err(SealError::NotSealed);
    };
    if sealed.len() < OVERHEAD_BYTES {
        return Err(SealError::Short { need: OVERHEAD_BYTES, have: sealed.len() });
    }
    if sealed.len() > PLAIN_BYTES_MAX + OVERHEAD_BYTES {
        let limit = PLAIN_BYTES_MAX + OVERHEAD_BYTES;
        return Err(SealError::TooLong { size: sealed.len(), limit });
    }
    let (sealed_to, rest) = rest.split_at(RECIPIENT_BYTES);
    let ours = &public.as_bytes()[..RECIPIENT_BYTES];
    if sealed_to != ours {
        return Err(SealError::OtherRecipient { sealed_to: hex(sealed_to), ours: hex(ours) });
    }
    let (encapsulated, ciphertext) = rest.split_at(ENCAPSULATED_BYTES);
    let encapsulated = Encapsulated::from_bytes(encapsulated).map_err(|_| SealError::Changed)?;
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeR::Base,
        private,
        &encapsulated,
        INFO,
        ciphertext,
        &sealed[..HEADER_BYTES],
    )
    .map(Zeroizing::new)
    .map_err(|_| SealError::Changed)
}
