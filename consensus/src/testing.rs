//! What several tests of this crate share.

use bizra_types::committee::{Committee, Validator};
use bizra_types::crypto::PublicKey;
use bizra_types::hash::Context;

/// So many validators with distinct keys.
pub(crate) fn committee(size: usize) -> Committee {
    let validator = |number: usize| {
        let seed = Context::Seed.hash(&[&number.to_le_bytes()]).0;
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        Validator {
            name: format!("node {number}"),
            peer_id: format!("peer {number}"),
            consensus_key: PublicKey(key.verifying_key().to_bytes()),
            vrf_key: seed,
            kem_key: Vec::new(),
        }
    };
    Committee::new((0..size).map(validator).collect()).expect("distinct keys")
}
