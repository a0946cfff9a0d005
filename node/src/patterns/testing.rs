//! Offers for tests.

use bizra_keys::SenderKey;
use bizra_ledger::envelope::Unsigned;
use bizra_ledger::pattern::PatternId;
use bizra_ledger::policy::{DEFAULT_POLICY, PolicyHash};
use bizra_types::numbers::TimestampMs;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A key that offers patterns.
pub(crate) fn source(seed: u8) -> SenderKey {
    SenderKey::from_seed(&[seed; 32])
}

/// The signed offer of pattern `number` with this many successes of 100 uses, made at `now`.
pub(crate) fn offer(seed: u8, number: u64, successes: u64, now: TimestampMs) -> Arc<[u8]> {
    let trigger = format!("latency above {number} ms");
    let at = |time: TimestampMs| {
        let nanoseconds = i128::from(time.get()) * 1_000_000;
        let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).expect("a time");
        time.format(&Rfc3339).expect("a year of four digits")
    };
    let (created, used) = (now.saturating_sub_ms(2 * 86_400_000), now.saturating_sub_ms(1_000));
    let text = format!(
        r#"{{
            "version": "1.0.0",
            "envelope_id": "123e4567-e89b-42d3-a456-426614174000",
            "timestamp": "{now}",
            "nonce": "{number:064x}",
            "sender": {{"agent_type": "PAT", "agent_id": "agent", "public_key": "{key}"}},
            "payload": {{
                "action": "pattern/propagate",
                "policy_hash": "{policy}",
                "data": {{
                    "pattern_id": "{id}",
                    "source_node": "{key}",
                    "trigger_condition": "{trigger}",
                    "action": "ask the smaller model first",
                    "domain": "domain-{domain}",
                    "creation_time": "{created}",
                    "elevation_count": 4,
                    "status": "PROPOSED",
                    "ihsan_score": 1,
                    "metrics": {{
                        "uses": 100, "successes": {successes}, "total_snr_delta": 0.5,
                        "total_latency_saved_ms": 4200,
                        "first_used": "{created}", "last_used": "{used}"
                    }}
                }}
            }},
            "metadata": {{"ihsan_score": 0.97}}
        }}"#,
        now = at(now),
        key = source(seed).public(),
        policy = PolicyHash::of(DEFAULT_POLICY),
        id = PatternId::of(&trigger),
        domain = number % 2,
        created = at(created),
        used = at(used),
    );
    let unsigned = Unsigned::parse(text.as_bytes()).expect("the form is right");
    let signature = source(seed).sign(unsigned.digest().as_bytes());
    unsigned.with_signature(signature).expect("small enough")
}
