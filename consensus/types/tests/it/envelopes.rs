//! A record's digest and signature, against values computed elsewhere.

use bizra_types::crypto::{PublicKey, Signature, SignatureCheck};
use bizra_types::envelope::record_digest;
use bizra_types::hash::hex_array;
use ed25519_dalek::{Signer as _, SigningKey};

#[test]
fn digests_are_the_published_ones() {
    for (text, digest) in [
        (
            r#"{"a":1,"b":2,"c":{"y":25,"z":26}}"#,
            "40fb015001564b0590e58f6c149c8ada51d1a96155a58a5662f2001bbc021e47",
        ),
        (
            r#"{"action":"test","data":{}}"#,
            "68221877d91dc7de3352bee31762935ef630dd986383d24799adb80cba60db8d",
        ),
    ] {
        assert_eq!(record_digest(&[text.as_bytes()]).to_string(), digest);
        let (left, right) = text.as_bytes().split_at(5);
        assert_eq!(record_digest(&[left, right]).to_string(), digest, "in pieces");
    }
}

/// The key of RFC 8032, section 7.1, test 1.
#[test]
fn the_raw_digest_is_what_is_signed() {
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let key = SigningKey::from_bytes(&hex_array(seed).expect("it is hex"));
    let digest = record_digest(&[br#"{"a":1,"b":2,"c":{"y":25,"z":26}}"#]);
    let signature = Signature(key.sign(digest.as_bytes()).to_bytes());
    assert_eq!(
        signature.to_string(),
        "abbeeefb329f0a31b7dd225bcc45f7bf8299eeb7570f3ef0ee0a85929617623d\
         d6f804558d6d61f6fa4f45c249db13ac54f11effe6c3ce0a488d47337f68780d"
    );
    let key = PublicKey(key.verifying_key().to_bytes());
    assert!(SignatureCheck { key, message: digest.as_bytes(), signature }.is_good());
    let text = digest.to_string();
    assert!(!SignatureCheck { key, message: text.as_bytes(), signature }.is_good());
}
