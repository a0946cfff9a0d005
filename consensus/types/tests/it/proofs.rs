//! The forms of a proof: what they refuse, and how much they may ask for.

use crate::samples::{Stream, commit_cert, exec};
use bizra_types::batch::{BATCH_BYTES_MAX, RECORD_BYTES_MAX};
use bizra_types::block::{CITATIONS_MAX, Header};
use bizra_types::hash::{ChainId, Hash};
use bizra_types::numbers::{LogIndex, ProtocolVersion, TimestampMs};
use bizra_types::proof::state::{
    STATE_DEPTH_MAX, STATE_VALUE_BYTES_MAX, StateEntry, StateLeaf, StatePath, key_hash,
};
use bizra_types::proof::{
    FinalHead, FinalityProof, FormError, INCLUSION_LENGTH_MAX, PROOF_BYTES_MAX,
    PROOF_JSON_BYTES_MAX, StateProof,
};

fn proof() -> FinalityProof {
    let header = Header::genesis(ProtocolVersion::new(1), ChainId([0xc4; 32]), TimestampMs::new(7));
    let head =
        FinalHead { exec: exec(), header, filler: None, commit: commit_cert(), eras: Vec::new() };
    FinalityProof {
        envelope: br#"{"a":[1,0.5,"\n"]}"#.to_vec(),
        log_index: LogIndex::new(23),
        inclusion: vec![Hash([9; 32]), Hash([8; 32])],
        head,
    }
}

/// Where the items of [`proof`] begin: after the head of the array, the
/// version, and the envelope of 18 bytes.
const VERSION: usize = 1;
const ENVELOPE: usize = 2;
const INDEX: usize = ENVELOPE + 1 + 18;
const INCLUSION: usize = INDEX + 1;
const EXEC: usize = INCLUSION + 2 + 64;

#[test]
fn the_layout_is_the_documented_one() {
    let bytes = proof().to_cbor();
    assert_eq!(bytes[0], 0x89, "an array of nine");
    assert_eq!(bytes[VERSION], 1);
    assert_eq!(bytes[ENVELOPE], 0x40 | 18);
    assert_eq!(bytes[INDEX], 23);
    assert_eq!(bytes[INCLUSION..INCLUSION + 2], [0x58, 64]);
    assert_eq!(bytes[EXEC..EXEC + 2], [0x58, 200]);
    assert_eq!(bytes[EXEC + 202..EXEC + 204], [0x58, 197]);
    assert_eq!(bytes[EXEC + 204 + 197], 0xf6, "no filler");
    assert_eq!(bytes[EXEC + 204 + 198..EXEC + 204 + 201], [0x59, 0x01, 0x93]);
    assert_eq!(bytes.last(), Some(&0x80), "no era changes");
}

#[test]
fn only_the_shortest_spelling_is_read() {
    let spellings: [(usize, &[u8]); 9] = [
        (0, &[0x98, 9]),
        (0, &[0x9f]),
        (VERSION, &[0x18, 1]),
        (VERSION, &[0x19, 0, 1]),
        (ENVELOPE, &[0x58, 18]),
        (INDEX, &[0x18, 23]),
        (INDEX, &[0x1a, 0, 0, 0, 23]),
        (INDEX, &[0x1b, 0, 0, 0, 0, 0, 0, 0, 23]),
        (INDEX, &[0xc2, 0x41, 23]),
    ];
    for (at, spelling) in spellings {
        let mut bad = proof().to_cbor();
        bad.splice(at..=at, spelling.iter().copied());
        let error = FinalityProof::from_cbor(&bad).expect_err("a longer spelling");
        assert!(
            matches!(error, FormError::NotShortest { .. } | FormError::Item { .. }),
            "{spelling:02x?}: {error}"
        );
    }
    let mut bad = proof().to_cbor();
    bad.splice(INCLUSION..INCLUSION + 2, [0x59, 0, 64]);
    assert!(matches!(
        FinalityProof::from_cbor(&bad),
        Err(FormError::NotShortest { value: 64, .. })
    ));
    // A number that needs the wide spelling gets it.
    for index in [24, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 1 << 32, u64::MAX] {
        let wide = FinalityProof { log_index: LogIndex::new(index), ..proof() };
        assert_eq!(FinalityProof::from_cbor(&wide.to_cbor()), Ok(wide));
    }
}

#[test]
fn other_items_are_refused() {
    let replaced = |at: usize, byte: u8| {
        let mut bad = proof().to_cbor();
        bad[at] = byte;
        FinalityProof::from_cbor(&bad).expect_err("another item")
    };
    for array in [0x80, 0x86, 0x88, 0x8a] {
        assert!(matches!(replaced(0, array), FormError::Length { expected: 9, .. }));
    }
    for (at, bytes) in [
        // Text, a map, a tag, a negative number, a float, reserved and indefinite lengths.
        (0, [0xa9, 0x69, 0x9c, 0xbf].as_slice()),
        (VERSION, &[0x21, 0x61, 0xf5, 0xf6, 0x1c, 0x1f]),
        (ENVELOPE, &[0x72, 0x5f, 0x5c, 0xf6]),
        (INDEX, &[0x37, 0xf6, 0xf7, 0xfb]),
        (EXEC, &[0x78, 0xf6, 0x98]),
        (EXEC + 204 + 197, &[0xf7, 0xf4, 0x00, 0xa0]),
    ] {
        for byte in bytes {
            let error = replaced(at, *byte);
            assert!(matches!(error, FormError::Item { .. }), "0x{byte:02x} at {at}: {error}");
        }
    }
    assert_eq!(replaced(VERSION, 2), FormError::Version(2));
    assert_eq!(replaced(VERSION, 0), FormError::Version(0));
}

#[test]
fn lengths_are_checked_before_anything_is_made() {
    let spliced = |range: core::ops::Range<usize>, bytes: &[u8]| {
        let mut bad = proof().to_cbor();
        bad.splice(range, bytes.iter().copied());
        FinalityProof::from_cbor(&bad).expect_err("too long")
    };
    let huge = [0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert!(matches!(spliced(ENVELOPE..ENVELOPE + 1, &huge), FormError::Length { .. }));
    assert!(matches!(spliced(INCLUSION..INCLUSION + 2, &huge), FormError::Length { .. }));
    let missing = [0x5a, 0xff, 0xff, 0xff, 0xff];
    assert!(matches!(spliced(EXEC..EXEC + 2, &missing), FormError::End { .. }));
    assert!(matches!(
        spliced(ENVELOPE..ENVELOPE + 1, &[0x5a, 0, 1, 0, 1]),
        FormError::Length { value: 65_537, expected: 65_536, .. }
    ));
    assert!(matches!(
        spliced(INCLUSION..INCLUSION + 2, &[0x58, 63]),
        FormError::Length { value: 63, expected: 32, .. }
    ));
    let length = proof().to_cbor().len();
    assert!(matches!(
        spliced(length - 1..length, &[0x99, 0x10, 0x01]),
        FormError::Length { value: 4097, expected: 4096, .. }
    ));
    assert!(matches!(spliced(length - 1..length, &[0x99, 0x10, 0x00]), FormError::End { .. }));
    let size = PROOF_BYTES_MAX + 1;
    assert_eq!(
        FinalityProof::from_cbor(&vec![0; size]),
        Err(FormError::TooLong { size, limit: PROOF_BYTES_MAX })
    );
    let long = FinalityProof { inclusion: vec![Hash::ZERO; INCLUSION_LENGTH_MAX], ..proof() };
    assert_eq!(FinalityProof::from_cbor(&long.to_cbor()).as_ref(), Ok(&long));
    let longer = FinalityProof { inclusion: vec![Hash::ZERO; INCLUSION_LENGTH_MAX + 1], ..long };
    assert!(FinalityProof::from_cbor(&longer.to_cbor()).is_err());
}

#[test]
fn what_a_field_holds_is_its_whole_encoding() {
    let mut bad = proof().to_cbor();
    bad[EXEC + 1] = 201;
    bad.insert(EXEC + 2 + 200, 0);
    let error = FinalityProof::from_cbor(&bad).expect_err("a byte too many in exec");
    assert_eq!(error.to_string(), "exec: 1 bytes follow the value");
    let mut bad = proof().to_cbor();
    bad.push(0xf6);
    assert_eq!(FinalityProof::from_cbor(&bad), Err(FormError::Trailing(1)));
}

#[test]
fn a_head_is_no_proof_and_a_proof_no_head() {
    assert!(FinalHead::from_cbor(&proof().to_cbor()).is_err());
    assert!(FinalityProof::from_cbor(&proof().head.to_cbor()).is_err());
    let text = proof().to_json().expect("the numbers are small");
    assert!(FinalHead::from_json(&text).is_err());
    let text = proof().head.to_json().expect("the numbers are small");
    assert!(FinalityProof::from_json(&text).is_err());
}

#[test]
fn either_form_is_read() {
    let proof = proof();
    let (head, state) = (&proof.head, Stream::new(3, 1 << 52).state_proof());
    let spaced = |text: Vec<u8>| [b" \n\t", text.as_slice()].concat();
    let numbers = "the numbers are small";
    for bytes in [proof.to_cbor(), spaced(proof.to_json().expect(numbers))] {
        assert_eq!(FinalityProof::from_either(&bytes).as_ref(), Ok(&proof));
    }
    for bytes in [head.to_cbor(), spaced(head.to_json().expect(numbers))] {
        assert_eq!(FinalHead::from_either(&bytes).as_ref(), Ok(head));
    }
    for bytes in [state.to_cbor(), spaced(state.to_json().expect(numbers))] {
        assert_eq!(StateProof::from_either(&bytes).as_ref(), Ok(&state));
    }
    assert!(FinalityProof::from_either(b"").is_err());
}

#[test]
fn a_family_is_a_byte() {
    let mut proof = Stream::new(3, u64::MAX).state_proof();
    proof.family = 255;
    let mut bytes = proof.to_cbor();
    assert_eq!(bytes[2..4], [0x18, 255]);
    assert_eq!(StateProof::from_cbor(&bytes), Ok(proof));
    bytes.splice(2..4, [0x19, 1, 0]);
    assert_eq!(
        StateProof::from_cbor(&bytes),
        Err(FormError::Limit { offset: 2, what: "the family", value: 256, limit: 255 })
    );
}

#[test]
fn a_path_in_the_state_is_no_longer_than_a_keys_hash() {
    let place = key_hash(7, b"key");
    let mut far = StateLeaf { key_hash: place, value_hash: Hash::ZERO };
    // It parts from the key's way at the last of 256 bits.
    far.key_hash.0[31] ^= 1;
    let entries = [
        (StateEntry::Present(b"value".to_vec()), 256),
        (StateEntry::Absent(None), 256),
        (StateEntry::Absent(Some(far)), 255),
    ];
    assert_eq!(
        entries.each_ref().map(|(entry, _)| entry.value()),
        [Some(&b"value"[..]), None, None]
    );
    for (entry, deepest) in entries {
        for depth in [0, 1, 255, 256, 257, 300] {
            let path = StatePath { entry: entry.clone(), siblings: vec![Hash([1; 32]); depth] };
            assert_eq!(path.root(7, b"key").is_some(), depth <= deepest, "{depth}: {entry:?}");
        }
    }
}

/// Part of the format: who writes must know what is read.
#[test]
fn the_limits_are_the_documented_ones() {
    assert_eq!(PROOF_BYTES_MAX, 8_388_608);
    assert_eq!(PROOF_JSON_BYTES_MAX, 33_554_432);
    assert_eq!(STATE_VALUE_BYTES_MAX, 1_048_576);
    assert_eq!((INCLUSION_LENGTH_MAX, STATE_DEPTH_MAX), (64, 256));
    assert_eq!((RECORD_BYTES_MAX, BATCH_BYTES_MAX, CITATIONS_MAX), (65_536, 262_144, 2_048));
}

#[test]
fn json_carries_every_field() {
    for seed in 0..100 {
        let mut proof = Stream::new(seed, (1 << 53) - 1).proof();
        proof.envelope = br#"{"a":[1,0.5,"\n"]}"#.to_vec();
        let text = proof.to_json().expect("JSON has these numbers");
        assert_eq!(FinalityProof::from_json(&text).as_ref(), Ok(&proof));
        assert_eq!(FinalityProof::from_json(&text).and_then(|proof| proof.to_json()), Ok(text));
    }
    let large = Stream::new(1, u64::MAX).proof();
    assert!(matches!(large.head.to_json(), Err(FormError::Number { .. })));
}
