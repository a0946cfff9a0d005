//! Envelopes for tests.

use crate::envelope::Unsigned;
use crate::policy::{DEFAULT_POLICY, PolicyHash};
use alloc::sync::Arc;
use bizra_types::committee::{Committee, Validator};
use bizra_types::crypto::{PublicKey, Signature};
use bizra_types::hash::{ChainId, hex};
use bizra_types::json::{Limits, Members, Value, canonical, parse};
use ed25519_dalek::{Signer as _, SigningKey};

/// The chain of the tests.
pub(crate) const CHAIN: ChainId = ChainId([0xc4; 32]);

/// `timestamp` of [`unsigned`], in milliseconds.
pub(crate) const TIMESTAMP_MS: u64 = 1_795_311_963_123;

/// A key pair from a seed.
pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// The public half of [`key`].
pub(crate) fn public(seed: u8) -> PublicKey {
    PublicKey(key(seed).verifying_key().to_bytes())
}

/// The validator with the key from this seed.
pub(crate) fn validator(seed: u8) -> Validator {
    Validator {
        name: format!("validator-{seed}"),
        peer_id: peer_id(seed),
        consensus_key: public(seed),
        vrf_key: [seed; 32],
        kem_key: vec![seed; 1_216],
    }
}

/// The peer id of the network key whose public half repeats this byte.
pub(crate) fn peer_id(byte: u8) -> String {
    const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut rest = [&[0x24, 0x08, 0x01, 0x12, 0x20][..], &[byte; 32]].concat();
    let mut digits = Vec::new();
    while rest.iter().any(|byte| *byte != 0) {
        let mut remainder = 0;
        for byte in &mut rest {
            let sum = remainder * 256 + usize::from(*byte);
            *byte = u8::try_from(sum / 58).expect("the remainder is below 58");
            remainder = sum % 58;
        }
        digits.push(char::from(DIGITS[remainder]));
    }
    // For the byte 0 in front.
    digits.push('1');
    digits.into_iter().rev().collect()
}

/// The committee of the validators from these seeds.
pub(crate) fn committee(seeds: impl IntoIterator<Item = u8>) -> Committee {
    Committee::new(seeds.into_iter().map(validator).collect()).expect("the keys are good")
}

/// A good envelope without its signature, of the key with this seed, and a
/// session of its own; `nonce` makes it differ from others.
pub(crate) fn unsigned(seed: u8, nonce: u64) -> Members {
    let text = format!(
        r#"{{
            "version": "1.0.0",
            "envelope_id": "123e4567-e89b-42d3-a456-426614174000",
            "timestamp": "2026-11-22T01:46:03.123456789Z",
            "nonce": "{nonce:064x}",
            "sender": {{"agent_type": "PAT", "agent_id": "agent-{seed}", "public_key": "{key}"}},
            "payload": {{
                "action": "inference/commit",
                "policy_hash": "{policy}",
                "data": {{
                    "session_id": "0189d3a0-0000-7000-8000-{session:012x}",
                    "transition": "commit",
                    "parents": [],
                    "model": {{"name": "tiny", "digest": "{hash}", "evidence": "host_verified"}},
                    "tier": "EDGE",
                    "input_commitment": "{hash}",
                    "output_commitment": "{hash}",
                    "operation": "chat",
                    "operations": ["infer", "read"],
                    "intent": ["infer"],
                    "parameters_digest": "{hash}",
                    "usage": {{"input_tokens": 12, "output_tokens": 34}},
                    "started_at": "2026-11-22T01:46:01Z",
                    "finished_at": "2026-11-22T01:46:02.5Z",
                    "finish_reason": "stop",
                    "trace_id": "00112233445566778899aabbccddeeff",
                    "fate": {{"f": 1, "a": 1, "t": 0.95, "e": 0.91}},
                    "flags": {{"personal_data": false, "toxicity": false, "violation": false}},
                    "budget": {{
                        "tier": "MICRO", "depth": 1, "tracks": 1, "retries": 0,
                        "entropy": 0.25, "knowledge_gap": 0.125, "mean_snr": 0.9
                    }}
                }}
            }},
            "metadata": {{"ihsan_score": 0.97, "snr_score": 0.93, "urgency": "REAL_TIME"}}
        }}"#,
        key = public(seed),
        hash = hex(&[0xab; 32]),
        policy = PolicyHash::of(DEFAULT_POLICY),
        session = nonce & 0xffff_ffff_ffff,
    );
    match parse(text.as_bytes(), Limits::ENVELOPE) {
        Ok(Value::Object(members)) => members,
        other => panic!("the template is not an object: {other:?}"),
    }
}

/// Replaces the member at a path such as `payload.data.tier`, or takes it out.
pub(crate) fn edit(members: &mut Members, path: &str, value: Option<Value>) {
    match path.split_once('.') {
        None => match value {
            Some(value) => drop(members.insert(path, value)),
            None => drop(members.remove(path)),
        },
        Some((name, rest)) => {
            let Some(Value::Object(mut inner)) = members.remove(name) else {
                panic!("{name} is not an object")
            };
            edit(&mut inner, rest, value);
            members.insert(name, Value::Object(inner));
        }
    }
}

/// The value of a JSON text.
pub(crate) fn json(text: &str) -> Value {
    parse(text.as_bytes(), Limits::ENVELOPE).expect("the test's text is strict JSON")
}

/// The canonical text of an object.
pub(crate) fn text(members: &Members) -> Vec<u8> {
    canonical(&Value::Object(members.clone()))
}

/// Signs a complete envelope.
pub(crate) fn sign(members: &Members, seed: u8) -> Arc<[u8]> {
    let unsigned = Unsigned::parse(&text(members)).expect("the form is right");
    let signature = key(seed).sign(unsigned.digest().as_bytes());
    unsigned.with_signature(Signature(signature.to_bytes())).expect("small enough")
}

/// The same record under a signature that is not good.
pub(crate) fn with_signature(members: &Members, byte: u8) -> Arc<[u8]> {
    let unsigned = Unsigned::parse(&text(members)).expect("the form is right");
    unsigned.with_signature(Signature([byte; 64])).expect("small enough")
}

/// A good envelope.
pub(crate) fn signed(seed: u8, nonce: u64) -> Arc<[u8]> {
    sign(&unsigned(seed, nonce), seed)
}
