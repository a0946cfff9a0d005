//! The verifiable random function behind the leader schedule.
//!
//! `schnorrkel`'s Ristretto VRF, as BABE uses it, in its non-malleable form:
//! one output per key and input. Everything that knows the scheme is in this
//! file and in `p2p-keys`, so that another suite can take its place.

use crate::encoding::Encode;
use crate::hash::{ChainId, Hash};
use crate::numbers::Epoch;
use alloc::vec::Vec;
use schnorrkel::context::SigningContext;
use schnorrkel::vrf::{VRFPreOut, VRFProof};

/// What validators evaluate in epoch E for the seed of epoch E + 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VrfInput {
    /// The chain.
    pub chain_id: ChainId,
    /// The epoch whose seed the output enters.
    pub epoch: Epoch,
    /// The seed of the epoch before that one.
    pub seed: Hash,
}

/// The transcript that prover and verifier share.
#[must_use]
pub fn transcript(input: &VrfInput) -> merlin::Transcript {
    let mut bytes = Vec::new();
    input.chain_id.encode(&mut bytes);
    input.epoch.encode(&mut bytes);
    input.seed.encode(&mut bytes);
    SigningContext::new(b"bizra 2026 vrf v1").bytes(&bytes)
}

/// Whether `output` is the VRF of `input` under `key`.
#[must_use]
pub fn is_good(key: &[u8; 32], input: &VrfInput, output: &[u8; 32], proof: &[u8; 64]) -> bool {
    let Ok(key) = schnorrkel::PublicKey::from_bytes(key) else { return false };
    let Ok(output) = VRFPreOut::from_bytes(output) else { return false };
    let Ok(proof) = VRFProof::from_bytes(proof) else { return false };
    key.vrf_verify(transcript(input), &output, &proof).is_ok()
}
