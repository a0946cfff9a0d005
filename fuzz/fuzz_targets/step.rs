#![no_main]
//! Three honest replicas and a liar: the bytes say what happens.

#[path = "../../consensus/tests/harness/mod.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = harness::script::play(bytes);
});
