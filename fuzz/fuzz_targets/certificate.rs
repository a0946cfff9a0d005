#![no_main]

use bizra_types::certificate::Certificate;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bizra_fuzz::decodes_exactly::<Certificate>(bytes));
