//! Sealed files: they open for their recipient, unchanged, and for nobody else.

use bizra_keys::sealing::{OVERHEAD_BYTES, PLAIN_BYTES_MAX};
use bizra_keys::{KemKey, KemPublicKey, SealError, seal};
use bizra_types::hash::hex_array;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable as _, Kem, OpModeS, Serializable as _};

/// Of the encapsulated key, the last byte carries the one bit that X25519
/// ignores; X-Wing must bind it all the same.
const LAST_X25519_BYTE: usize = 14 + 8 + 1120 - 1;

#[test]
fn what_is_sealed_opens() {
    let key = KemKey::generate();
    for size in [0, 1, 15, 16, 17, 4096, 1 << 20] {
        let plain: Vec<u8> = (0..size).map(|index: usize| (index % 251) as u8).collect();
        let sealed = seal(key.public(), &plain).expect("it is short");
        assert_eq!(sealed.len(), plain.len() + OVERHEAD_BYTES);
        assert_eq!(*key.unseal(&sealed).expect("it opens"), plain);
    }
}

#[test]
fn a_file_of_the_first_version_still_opens() {
    let key = KemKey::from_seed(&[42; 32]);
    let sealed = include_str!("vectors/sealed-v1.hex").trim_end();
    let sealed: [u8; OVERHEAD_BYTES + 22] = hex_array(sealed).expect("the vector is hex");
    assert_eq!(*key.unseal(&sealed).expect("it opens"), b"the first sealed file\n");
}

#[test]
fn sealing_twice_gives_different_bytes() {
    let key = KemKey::generate();
    let one = seal(key.public(), b"a backup").expect("it is short");
    let two = seal(key.public(), b"a backup").expect("it is short");
    let same = one[22..].iter().zip(&two[22..]).filter(|(left, right)| left == right).count();
    assert!(same < 50, "of {} bytes {same} are alike", one.len());
}

#[test]
fn a_changed_bit_anywhere_is_refused() {
    let key = KemKey::generate();
    let sealed = seal(key.public(), b"a backup").expect("it is short");
    let one_bit_per_byte = (0..sealed.len()).map(|byte| (byte, byte % 8));
    let whole_last_byte = (0..8).map(|bit| (LAST_X25519_BYTE, bit));
    for (byte, bit) in one_bit_per_byte.chain(whole_last_byte) {
        let mut changed = sealed.clone();
        changed[byte] ^= 1 << bit;
        let error = key.unseal(&changed).expect_err("a bit was changed");
        let expected = match byte {
            0..14 => matches!(error, SealError::NotSealed),
            14..22 => matches!(error, SealError::OtherRecipient { .. }),
            _ => error == SealError::Changed,
        };
        assert!(expected, "byte {byte}, bit {bit}: {error}");
    }
}

#[test]
fn the_format_is_what_its_description_says_and_the_header_is_authenticated() {
    let key = KemKey::generate();
    let public = <XWing as Kem>::PublicKey::from_bytes(key.public().as_bytes()).expect("a key");
    let header = [b"bizra-seal v1\n", &key.public().as_bytes()[..8]].concat();
    let by_hand = |info: &[u8], authenticated: &[u8]| {
        let (encapsulated, ciphertext) =
            hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, XWing>(
                &OpModeS::Base,
                &public,
                info,
                b"a backup",
                authenticated,
            )
            .expect("it seals");
        [header.as_slice(), &encapsulated.to_bytes(), &ciphertext].concat()
    };
    let sealed = by_hand(b"bizra seal v1", &header);
    assert_eq!(*key.unseal(&sealed).expect("it opens"), b"a backup");
    assert_eq!(key.unseal(&by_hand(b"bizra seal v1", b"")), Err(SealError::Changed));
    assert_eq!(key.unseal(&by_hand(b"bizra seal v2", &header)), Err(SealError::Changed));
}

#[test]
fn a_cut_or_lengthened_file_is_refused() {
    let key = KemKey::generate();
    let sealed = seal(key.public(), b"a backup").expect("it is short");
    for length in 0..sealed.len() {
        key.unseal(&sealed[..length]).expect_err("the end is missing");
    }
    let mut longer = sealed;
    longer.push(0);
    assert_eq!(key.unseal(&longer), Err(SealError::Changed));
}

#[test]
fn another_key_is_told_whose_file_it_is() {
    let (ours, theirs) = (KemKey::generate(), KemKey::generate());
    let sealed = seal(theirs.public(), b"a backup").expect("it is short");
    let expected = SealError::OtherRecipient {
        sealed_to: theirs.public().to_string()[..16].to_owned(),
        ours: ours.public().to_string()[..16].to_owned(),
    };
    assert_eq!(ours.unseal(&sealed), Err(expected));
}

#[test]
fn more_than_the_limit_is_refused_both_ways() {
    let key = KemKey::generate();
    let size = PLAIN_BYTES_MAX + 1;
    let plain = vec![0; size];
    assert_eq!(
        seal(key.public(), &plain),
        Err(SealError::TooLong { size, limit: PLAIN_BYTES_MAX })
    );
    let mut sealed = b"bizra-seal v1\n".to_vec();
    sealed.resize(size + OVERHEAD_BYTES, 0);
    assert!(matches!(key.unseal(&sealed), Err(SealError::TooLong { .. })));
}

#[test]
fn public_keys_are_read_strictly() {
    let text = KemKey::generate().public().to_string();
    assert_eq!(KemPublicKey::from_hex(&text).map(|key| key.to_string()), Some(text.clone()));
    // A coefficient of 4095 is no residue of 3329.
    let not_reduced = format!("ffffff{}", &text[6..]);
    for bad in ["", &text[2..], &text.to_uppercase(), &format!("{text}00"), &not_reduced] {
        assert!(KemPublicKey::from_hex(bad).is_none(), "{} characters", bad.len());
    }
}
