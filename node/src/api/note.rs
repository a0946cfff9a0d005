//! The head of the log as a checkpoint of C2SP: a note that the tools of other
//! transparency logs read, signed by a validator.
//!
//! All validators of a chain speak of one log, so its origin names the chain,
//! and so does the name of every key: the notes of two validators about one
//! size differ in their last line alone, and one note can carry both lines.
//! A note begins with a letter, and whatever else a consensus key signs with
//! the number of a kind, so neither can be taken for the other.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bizra_keys::ConsensusKey;
use bizra_types::crypto::PublicKey;
use bizra_types::hash::{ChainId, Hash, hex};
use sha2::{Digest as _, Sha256};

/// What `signed-note` calls an Ed25519 key.
const ED25519: u8 = 1;

/// The signed note that the log of `size` records has this root.
pub(crate) fn signed(chain: &ChainId, size: u64, root: Hash, key: &ConsensusKey) -> String {
    let origin = origin(chain);
    let text = format!("{origin}\n{size}\n{}\n", BASE64_STANDARD.encode(root.0));
    let mut signature = key_id(&origin, &key.public()).to_vec();
    signature.extend_from_slice(&key.sign(text.as_bytes()).0);
    format!("{text}\n\u{2014} {origin} {}\n", BASE64_STANDARD.encode(signature))
}

/// The key under a validator's notes, as verifiers of notes take it.
pub(crate) fn verifier_key(chain: &ChainId, key: &PublicKey) -> String {
    let origin = origin(chain);
    let id = hex(&key_id(&origin, key));
    format!("{origin}+{id}+{}", BASE64_STANDARD.encode(encoded(key)))
}

/// The name of a chain's log, and of every key that signs its heads.
fn origin(chain: &ChainId) -> String {
    format!("bizra/{chain}")
}

fn key_id(name: &str, key: &PublicKey) -> [u8; 4] {
    let hash = Sha256::new().chain_update(name).chain_update("\n").chain_update(encoded(key));
    let [first, second, third, fourth, ..] = hash.finalize().0;
    [first, second, third, fourth]
}

fn encoded(key: &PublicKey) -> [u8; 33] {
    let mut bytes = [ED25519; 33];
    bytes[1..].copy_from_slice(&key.0);
    bytes
}
