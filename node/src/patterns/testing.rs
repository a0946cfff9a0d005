//! Offers and votes for tests.

use bizra_keys::SenderKey;
use bizra_ledger::envelope::Unsigned;
use bizra_ledger::pattern::PatternId;
use bizra_ledger::policy::{DEFAULT_POLICY, PolicyHash};
use bizra_types::hash::{ChainId, RecordDigest};
use bizra_types::numbers::TimestampMs;
use serde_json::{Value, json};
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A key that offers patterns.
pub(crate) fn source(seed: u8) -> SenderKey {
    SenderKey::from_seed(&[seed; 32])
}

/// The signed offer of pattern `number` with this many successes of 100 uses, made at `now`.
pub(crate) fn offer(seed: u8, number: u64, successes: u64, now: TimestampMs) -> Arc<[u8]> {
    changed_offer(seed, number, successes, now, |_| ())
}

/// The same, changed before it is signed.
pub(crate) fn changed_offer(
    seed: u8,
    number: u64,
    successes: u64,
    now: TimestampMs,
    change: impl FnOnce(&mut Value),
) -> Arc<[u8]> {
    let trigger = format!("latency above {number} ms");
    let created = at(now.saturating_sub_ms(2 * 86_400_000));
    let data = json!({
        "pattern_id": PatternId::of(&trigger).to_string(),
        "source_node": source(seed).public().to_string(),
        "trigger_condition": trigger,
        "action": "ask the smaller model first",
        "domain": format!("domain-{}", number % 2),
        "creation_time": created,
        "elevation_count": 4,
        "status": "PROPOSED",
        "ihsan_score": 1,
        "metrics": {
            "uses": 100, "successes": successes, "total_snr_delta": 0.5,
            "total_latency_saved_ms": 4_200,
            "first_used": created, "last_used": at(now.saturating_sub_ms(1_000)),
        },
    });
    let mut envelope = envelope(seed, number, "PAT", "pattern/propagate", data, now);
    change(&mut envelope);
    sign(seed, &envelope)
}

/// The vote of the validator with the key from this seed for an offer.
pub(crate) fn elevation(
    seed: u8,
    offer: RecordDigest,
    chain: &ChainId,
    now: TimestampMs,
) -> Arc<[u8]> {
    let data = json!({ "digest": offer.to_string() });
    let mut envelope = envelope(seed, 1, "SAT", "pattern/elevate", data, now);
    envelope["metadata"]["chain_id"] = json!(chain.to_string());
    sign(seed, &envelope)
}

fn envelope(
    seed: u8,
    nonce: u64,
    agent_type: &str,
    action: &str,
    data: Value,
    now: TimestampMs,
) -> Value {
    let key = source(seed).public().to_string();
    let policy = PolicyHash::of(DEFAULT_POLICY).to_string();
    json!({
        "version": "1.0.0",
        "envelope_id": "123e4567-e89b-42d3-a456-426614174000",
        "timestamp": at(now),
        "nonce": format!("{nonce:064x}"),
        "sender": { "agent_type": agent_type, "agent_id": "agent", "public_key": key },
        "payload": { "action": action, "policy_hash": policy, "data": data },
        "metadata": { "ihsan_score": 0.97 },
    })
}

fn at(time: TimestampMs) -> String {
    let nanoseconds = i128::from(time.get()) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).expect("a time");
    time.format(&Rfc3339).expect("a year of four digits")
}

fn sign(seed: u8, envelope: &Value) -> Arc<[u8]> {
    let unsigned = Unsigned::parse(envelope.to_string().as_bytes()).expect("the form is right");
    let signature = source(seed).sign(unsigned.digest().as_bytes());
    unsigned.with_signature(signature).expect("small enough")
}
