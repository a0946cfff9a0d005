#![no_main]

use bizra_types::json::{Document, Limits, canonical, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = Document::parse(bytes, Limits::ENVELOPE) {
        let value = document.root().to_value();
        let text = canonical(&value);
        assert_eq!(document.is_canonical(), text == bytes);
        // 1e15 is shorter than its canonical spelling.
        let limits = Limits { size_max: usize::MAX, ..Limits::ENVELOPE };
        assert_eq!(parse(&text, limits).as_ref(), Ok(&value));
    }
});
