#![no_main]

use bizra_types::committee::Committee;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bizra_fuzz::decodes_exactly::<Committee>(bytes));
