#![no_main]

use bizra_types::proof::{FinalityProof, StateProof};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(proof) = FinalityProof::from_json(bytes) {
        assert_eq!(FinalityProof::from_cbor(&proof.to_cbor()).as_ref(), Ok(&proof));
        let text = proof.to_json().expect("what was read can be written");
        assert_eq!(FinalityProof::from_json(&text), Ok(proof));
    }
    if let Ok(proof) = StateProof::from_json(bytes) {
        assert_eq!(StateProof::from_cbor(&proof.to_cbor()).as_ref(), Ok(&proof));
        let text = proof.to_json().expect("what was read can be written");
        assert_eq!(StateProof::from_json(&text), Ok(proof));
    }
});
