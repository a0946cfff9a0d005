#![no_main]

use bizra_types::committee::SignerSet;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bizra_fuzz::decodes_exactly::<SignerSet>(bytes));
