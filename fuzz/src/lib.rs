//! What the fuzz targets share.

use bizra_light_client::Client;
use bizra_types::encoding::{Decode, Encode};

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
