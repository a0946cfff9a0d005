#![no_main]

use bizra_types::json::{Limits, canonical, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = parse(bytes, Limits::ENVELOPE) {
        let text = canonical(&value);
        // 1e15 is shorter than its canonical spelling.
        let limits = Limits { size_max: usize::MAX, ..Limits::ENVELOPE };
        assert_eq!(parse(&text, limits).as_ref(), Ok(&value));
    }
});
