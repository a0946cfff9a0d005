//! Envelopes, with a signature and without, as the gates and other nodes read them.

#![no_main]

use bizra_fuzz::{CHAIN, sign};
use bizra_ledger::envelope::{Content, Envelope, Unsigned};
use bizra_ledger::gates::check_record;
use bizra_ledger::pattern::SignedOffer;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let strict = Envelope::parse_canonical(bytes);
    match Envelope::parse(bytes) {
        Ok((envelope, canonical)) => {
            assert_eq!(strict.is_ok(), canonical == bytes);
            assert_eq!(Envelope::parse_canonical(&canonical), Ok(envelope));
        }
        Err(_) => assert!(strict.is_err()),
    }
    let Ok(unsigned) = Unsigned::parse(bytes) else { return };
    let digest = unsigned.digest();
    // It may be too long with its signature.
    let Ok(signed) = unsigned.with_signature(sign(digest.as_bytes())) else { return };
    let envelope = Envelope::parse_canonical(&signed).expect("what was written is read");
    assert_eq!(envelope.digest, digest);
    if let Some(good) = check_record(&signed, envelope.timestamp, &CHAIN).envelope() {
        assert_eq!(good, &envelope);
    }
    let offer = SignedOffer::parse_canonical(&signed, &CHAIN);
    if let Content::Pattern(pattern) = &envelope.content {
        let _ = pattern.check_consistent(envelope.timestamp);
        assert!(pattern.impact(envelope.timestamp).parts_per_billion() <= 1_000_000_000);
    } else {
        assert!(offer.is_err());
    }
});
