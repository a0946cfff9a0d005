#![no_main]

use bizra_types::batch::SignedBatch;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bizra_fuzz::decodes_exactly::<SignedBatch>(bytes));
