//! A record's digest and signature, against values computed elsewhere; and
//! what is no signed envelope.

use crate::samples::{CHAIN, public, sign};
use bizra_types::crypto::{PublicKey, Signature, SignatureCheck};
use bizra_types::envelope::{EnvelopeError, SIGNED_FIELDS, SignedEnvelope, record_digest};
use bizra_types::hash::{RecordDigest, hex_array};
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

/// An envelope without its signature, and its digest.
fn unsigned(metadata: &str, key: PublicKey) -> (String, RecordDigest) {
    let sender = format!(r#"{{"public_key":"{key}"}}"#);
    let text = format!(r#"{{"metadata":{metadata},"payload":{{}},"sender":{sender}}}"#);
    let digest = record_digest(&[text.as_bytes()]);
    (text, digest)
}

/// The envelope with this member `signature`.
fn joined(unsigned: &str, signature: &str) -> Vec<u8> {
    let open = unsigned.strip_suffix('}').expect("it is an object");
    format!(r#"{open},"signature":{signature}}}"#).into_bytes()
}

fn member(algorithm: &str, fields: &[&str], signature: Signature) -> String {
    let fields: Vec<_> = fields.iter().map(|name| format!("\"{name}\"")).collect();
    let fields = fields.join(",");
    format!(r#"{{"algorithm":"{algorithm}","signed_fields":[{fields}],"value":"{signature}"}}"#)
}

#[test]
fn an_envelope_is_signed_by_its_sender() {
    for (metadata, chain_id) in
        [("{}".to_owned(), None), (format!(r#"{{"chain_id":"{CHAIN}"}}"#), Some(CHAIN))]
    {
        let (text, digest) = unsigned(&metadata, public(0));
        let signature = sign(0, digest.as_bytes());
        let bytes = joined(&text, &member("ed25519", &SIGNED_FIELDS, signature));
        let expected = SignedEnvelope { digest, public_key: public(0), signature, chain_id };
        assert_eq!(SignedEnvelope::verify(&bytes), Ok(expected));

        let by_another = member("ed25519", &SIGNED_FIELDS, sign(1, digest.as_bytes()));
        let verdict = SignedEnvelope::verify(&joined(&text, &by_another));
        assert_eq!(verdict, Err(EnvelopeError::Signature));
        let (other, _) = unsigned(&metadata.replace('}', " }"), public(0));
        let bytes = joined(&other, &member("ed25519", &SIGNED_FIELDS, signature));
        let at = other.find(" }").expect("a space was put in");
        assert_eq!(SignedEnvelope::verify(&bytes), Err(EnvelopeError::NotCanonical(at)));
    }
    // The neutral point, by which the neutral signature verifies whatever one likes.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    let (text, digest) = unsigned("{}", PublicKey(neutral));
    let (key, signature) = (PublicKey(neutral), Signature(signature));
    assert!(SignatureCheck { key, message: digest.as_bytes(), signature }.is_good());
    let bytes = joined(&text, &member("ed25519", &SIGNED_FIELDS, signature));
    assert_eq!(SignedEnvelope::verify(&bytes), Err(EnvelopeError::SmallOrder(key)));
}

#[test]
fn a_signature_says_how_it_was_made_and_of_what() {
    let (text, digest) = unsigned("{}", public(0));
    let signature = sign(0, digest.as_bytes());
    let mut swapped = SIGNED_FIELDS;
    swapped.swap(0, 1);
    let longer = [SIGNED_FIELDS.as_slice(), &["more"]].concat();
    let good = member("ed25519", &SIGNED_FIELDS, signature);
    let bad = [
        ("another algorithm", member("ed448", &SIGNED_FIELDS, signature)),
        ("a field less", member("ed25519", &SIGNED_FIELDS[..6], signature)),
        ("a field more", member("ed25519", &longer, signature)),
        ("another order", member("ed25519", &swapped, signature)),
        ("another member", good.replace(r#","value""#, r#","time":1,"value""#)),
        ("no value", good.replace("value", "worth")),
    ];
    assert!(SignedEnvelope::verify(&joined(&text, &good)).is_ok());
    for (name, member) in bad {
        let verdict = SignedEnvelope::verify(&joined(&text, &member));
        assert!(matches!(verdict, Err(EnvelopeError::Schema(_))), "{name}: {verdict:?}");
    }
}
