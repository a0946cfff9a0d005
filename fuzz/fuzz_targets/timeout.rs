#![no_main]

use bizra_types::message::SignedTimeout;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bizra_fuzz::decodes_exactly::<SignedTimeout>(bytes));
