#![no_main]

use bizra_types::proof::{FinalHead, FinalityProof, StateProof};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(proof) = FinalityProof::from_cbor(bytes) {
        assert_eq!(proof.to_cbor(), bytes);
        if let Ok(text) = proof.to_json() {
            assert_eq!(FinalityProof::from_json(&text), Ok(proof));
        }
    }
    if let Ok(proof) = StateProof::from_cbor(bytes) {
        assert_eq!(proof.to_cbor(), bytes);
        if let Ok(text) = proof.to_json() {
            assert_eq!(StateProof::from_json(&text), Ok(proof));
        }
    }
    if let Ok(head) = FinalHead::from_cbor(bytes) {
        assert_eq!(head.to_cbor(), bytes);
    }
});
