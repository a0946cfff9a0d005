//! What the fuzz targets share.

use bizra_light_client::Client;
use bizra_types::crypto::{PublicKey, Signature};
use bizra_types::encoding::{Decode, Encode};
use bizra_types::hash::ChainId;
use ed25519_dalek::{Signer, SigningKey};
use std::sync::LazyLock;

/// The chain on which [`sign`] signs.
pub const CHAIN: ChainId = ChainId([0xc4; 32]);

/// The key with which `seeds.py` names the senders of envelopes.
static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_bytes(&[7; 32]));

/// The public half of the key that [`sign`] uses.
#[must_use]
pub fn public_key() -> PublicKey {
    PublicKey(KEY.verifying_key().to_bytes())
}

/// A signature of the key that everyone knows.
#[must_use]
pub fn sign(bytes: &[u8]) -> Signature {
    Signature(KEY.sign(bytes).to_bytes())
}

/// Bytes that decode are the encoding of their value.
///
/// # Panics
/// When they are not.
pub fn decodes_exactly<T: Encode + Decode>(bytes: &[u8]) {
    if let Ok(value) = T::from_bytes(bytes) {
        assert_eq!(value.to_bytes(), bytes);
    }
}

/// A client and a proof that it accepts, from the golden vectors.
///
/// # Panics
/// When the vectors are damaged.
#[must_use]
pub fn known_proof() -> (Client, Vec<u8>) {
    let vectors = include_str!("../../light-client/tests/vectors/proofs.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).expect("the vectors are JSON");
    let chain = &vectors["chains"][1];
    let genesis = chain["genesis"].as_str().expect("a genesis file is text");
    let proof = chain["accepted"][0]["cbor"].as_str().expect("a proof is hex");
    let byte = |at| u8::from_str_radix(&proof[at..at + 2], 16).expect("a proof is hex");
    let proof: Vec<u8> = (0..proof.len()).step_by(2).map(byte).collect();
    let client = Client::from_genesis(genesis.as_bytes()).expect("it is a genesis file");
    client.verify_bytes(&proof).expect("it is final");
    (client, proof)
}

/// The canonical bytes of an envelope of `inference/commit` that is accepted,
/// from the golden vectors.
///
/// # Panics
/// When the vectors are damaged.
#[must_use]
pub fn known_envelope() -> Vec<u8> {
    let vectors = include_str!("../../clients/vectors/pci.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).expect("the vectors are JSON");
    vectors["cases"][0]["canonical"].as_str().expect("the first case is accepted").into()
}
