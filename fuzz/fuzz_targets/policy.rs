//! Texts that governance would put in force: two who compile one decide alike.

#![no_main]

use bizra_ledger::envelope::{AgentType, Envelope};
use bizra_ledger::policy::{Policy, Projection};
use std::sync::LazyLock;

/// Of an inference, and of something else.
static RECORDS: LazyLock<[Projection; 2]> = LazyLock::new(|| {
    let bytes = bizra_fuzz::known_envelope();
    let envelope = Envelope::parse_canonical(&bytes).expect("it is accepted");
    [Projection::of(&envelope), Projection::of_action("governance/vote", AgentType::Sat)]
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(policy) = Policy::compile(text) else { return };
    let again = Policy::compile(text).expect("it was compiled before");
    for record in &*RECORDS {
        assert_eq!(policy.decide(record), again.decide(record));
    }
});
