//! Keys, signatures, and the memory of good ones.

use crate::samples::{public, sign};
use bizra_types::crypto::{PublicKey, Signature, SignatureCheck, SignatureMemo, check_each};

const MESSAGE: &[u8] = b"what is signed";

fn good(index: u16) -> SignatureCheck<'static> {
    SignatureCheck { key: public(index), message: MESSAGE, signature: sign(index, MESSAGE) }
}

/// Another's signature under the name of `index`.
fn forged(index: u16) -> SignatureCheck<'static> {
    SignatureCheck { key: public(index), ..good(index + 1) }
}

#[test]
fn each_signature_is_judged_by_itself() {
    for bad in 0_u32..1 << 5 {
        let is_good = |index: u16| bad >> index & 1 == 0;
        let check = |index| if is_good(index) { good(index) } else { forged(index) };
        let checks: Vec<_> = (0..5).map(check).collect();
        let expected: Vec<_> = (0..5).map(is_good).collect();
        assert_eq!(check_each(&checks), expected);
        assert_eq!(SignatureMemo::new(0).all_good(&checks), bad == 0, "{bad:05b}");
    }
    assert!(check_each(&[]).is_empty());
    assert!(SignatureMemo::new(0).all_good(&[]));
}

#[test]
fn a_signature_is_of_its_key_and_message() {
    assert!(good(0).is_good());
    assert!(!forged(0).is_good());
    assert!(!SignatureCheck { message: b"what is signeD", ..good(0) }.is_good());
    assert!(!SignatureCheck { key: PublicKey([2; 32]), ..good(0) }.is_good(), "no point");
}

/// A batch adds the signatures up, each times a coefficient that nobody chose:
/// whoever makes two of which the errors cancel gains nothing.
#[test]
fn errors_do_not_cancel() {
    let shifted = |index: u16, by: i128| {
        let mut check = good(index);
        let scalar = check.signature.0[32..48].try_into().expect("16 bytes");
        let scalar = u128::from_le_bytes(scalar).wrapping_add_signed(by);
        check.signature.0[32..48].copy_from_slice(&scalar.to_le_bytes());
        check
    };
    let checks = [shifted(0, 1), shifted(1, -1)];
    assert!(!SignatureMemo::new(0).all_good(&checks));
    assert_eq!(check_each(&checks), [false, false]);
}

/// What was found good is known; what was found bad, or beside something bad, is not.
#[test]
fn only_good_signatures_are_remembered() {
    let mut memo = SignatureMemo::new(10);
    assert!(!memo.all_good(&[forged(0)]));
    assert!(!memo.all_good(&[forged(0)]), "and not only once");
    assert!(!memo.all_good(&[good(1), forged(0)]));
    memo.remember(&forged(0));
    assert!(memo.all_good(&[good(1), forged(0)]), "it believes whoever told it");
    for other in [
        SignatureCheck { key: public(5), ..forged(0) },
        SignatureCheck { message: b"", ..forged(0) },
        SignatureCheck { signature: good(5).signature, ..forged(0) },
    ] {
        assert!(!memo.all_good(&[other]), "{other:?}");
    }
}

#[test]
fn the_memo_holds_the_last_ones_and_no_more_than_it_should() {
    let messages: Vec<_> = (0..300_u64).map(u64::to_le_bytes).collect();
    // Signatures that are not good tell what is remembered from what is checked.
    let bad = forged(0);
    let numbered = |number: usize| SignatureCheck { message: &messages[number], ..bad };
    let mut memo = SignatureMemo::new(100);
    for number in 0..messages.len() {
        memo.remember(&numbered(number));
        let is_known = |memo: &mut SignatureMemo, back: usize| {
            number.checked_sub(back).is_none_or(|at| memo.all_good(&[numbered(at)]))
        };
        assert!((0..50).all(|back| is_known(&mut memo, back)), "the last 50 after {number}");
        assert!(number < 102 || !is_known(&mut memo, 102), "no more than 102 after {number}");
    }
}

#[test]
fn a_memo_without_room_still_checks() {
    let mut memo = SignatureMemo::new(0);
    memo.remember(&forged(0));
    assert!(memo.all_good(&[good(1), good(2), good(3)]));
    assert!(!memo.all_good(&[forged(0)]), "it was forgotten");
}

/// The eight points of small order in their plain encodings, and one of the
/// neutral point's other encodings (y = p + 1).
#[test]
fn keys_of_small_order_are_no_keys() {
    let small = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for text in small {
        let key = PublicKey::from_hex(text).expect("it is hex");
        assert!(key.is_small_order() && !key.is_usable(), "{text}");
    }
    assert!(public(0).is_usable() && !public(0).is_small_order());
    let no_point = PublicKey([2; 32]);
    assert!(!no_point.is_usable() && !no_point.is_small_order());
}

#[test]
fn keys_and_signatures_are_written_as_lower_case_hex() {
    let (key, signature) = (public(0), sign(0, MESSAGE));
    assert_eq!(PublicKey::from_hex(&key.to_string()), Some(key));
    assert_eq!(Signature::from_hex(&signature.to_string()), Some(signature));
    assert_eq!(format!("{key:?}"), key.to_string()[..8]);
    assert_eq!(format!("{signature:?}"), signature.to_string()[..8]);
    assert_eq!(PublicKey::from_hex(&key.to_string().to_uppercase()), None);
    assert_eq!(PublicKey::from_hex(&key.to_string()[1..]), None);
    assert_eq!(Signature::from_hex(&key.to_string()), None);
}
