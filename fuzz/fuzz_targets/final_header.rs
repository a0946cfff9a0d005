#![no_main]

use bizra_types::block::FinalHeader;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bizra_fuzz::decodes_exactly::<FinalHeader>(bytes));
