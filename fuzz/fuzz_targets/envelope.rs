#![no_main]

use bizra_types::envelope::SignedEnvelope;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = SignedEnvelope::verify(bytes);
});
