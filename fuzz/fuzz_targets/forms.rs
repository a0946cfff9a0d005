//! The spellings of names and times.

#![no_main]

use bizra_ledger::forms::{Uuid, is_peer_id, parse_timestamp};
use bizra_ledger::pattern::PatternId;
use bizra_types::numbers::TimestampMs;

/// The end of the year 9999.
const END: TimestampMs = TimestampMs::new(253_402_300_800_000);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(uuid) = Uuid::parse(text) {
        assert_eq!(uuid.to_string(), text);
    }
    if let Some(pattern) = PatternId::parse(text) {
        assert_eq!(pattern.to_string(), text);
    }
    if let Some(time) = parse_timestamp(text) {
        assert!(time < END);
    }
    if is_peer_id(text) {
        assert!(text.starts_with("12D3KooW"));
    }
});
