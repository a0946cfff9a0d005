//! Evidence as a record carries it, said again by a validator whose key is known.

#![no_main]

use bizra_fuzz::{CHAIN, public_key, sign};
use bizra_ledger::evidence::{EvidenceFile, Statement};
use bizra_types::json::{Limits, canonical, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(data) = parse(bytes, Limits::ENVELOPE) else { return };
    let Ok(mut file) = EvidenceFile::read(&data.root()) else { return };
    let written = file.to_data();
    assert_eq!(EvidenceFile::read(&written.root()).as_ref(), Ok(&file));
    assert_eq!(canonical(&written), canonical(&data));
    file.accused = public_key();
    for signed in [Some(&mut file.first), file.second.as_mut()].into_iter().flatten() {
        if let Statement::Batch(header) = &mut signed.statement {
            header.author = file.accused;
        }
        signed.signature = sign(&signed.statement.signed_bytes(&CHAIN));
    }
    if file.check(&CHAIN).is_ok() {
        // Whoever repeats itself is honest.
        assert_ne!(file.second.map(|second| second.statement), Some(file.first.statement));
    }
});
