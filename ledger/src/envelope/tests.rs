use super::*;
use crate::policy::{DEFAULT_POLICY, PolicyHash};
use crate::testing::{
    edit, json, key, offer, public, sign, signed, text, unsigned, with_signature,
};
use bizra_types::hash::hex;
use ed25519_dalek::{Signer as _, SigningKey};
use proptest::prelude::*;

#[test]
fn the_published_digests_come_out() {
    for (canonical, digest) in [
        (
            r#"{"a":1,"b":2,"c":{"y":25,"z":26}}"#,
            "40fb015001564b0590e58f6c149c8ada51d1a96155a58a5662f2001bbc021e47",
        ),
        (
            r#"{"action":"test","data":{}}"#,
            "68221877d91dc7de3352bee31762935ef630dd986383d24799adb80cba60db8d",
        ),
    ] {
        assert_eq!(record_digest(&[canonical.as_bytes()]).to_string(), digest);
        let (left, right) = canonical.as_bytes().split_at(7);
        assert_eq!(record_digest(&[left, right]).to_string(), digest);
    }
}

/// The key of RFC 8032, test 1, over the raw digest.
#[test]
fn the_published_signature_comes_out() {
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let key = SigningKey::from_bytes(&bizra_types::hash::hex_array(seed).expect("64 digits"));
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

#[test]
fn a_good_envelope_is_read() {
    let bytes = signed(7, 1);
    let (envelope, canonical) = Envelope::parse(&bytes).expect("good");
    assert_eq!(canonical, &*bytes);
    assert_eq!(Envelope::parse_canonical(&bytes), Ok(envelope.clone()));
    assert_eq!(envelope.timestamp.get(), 1_795_311_963_123);
    assert_eq!(envelope.nonce[31], 1);
    assert_eq!(envelope.sender.agent_id, "agent-7");
    assert_eq!(envelope.sender.public_key, public(7));
    assert_eq!(envelope.sender.agent_type, AgentType::Pat);
    assert_eq!(envelope.action(), Action::InferenceCommit);
    assert_eq!(envelope.policy_hash, PolicyHash::of(DEFAULT_POLICY).0);
    assert_eq!(envelope.state_hash, None);
    assert_eq!(envelope.metadata.ihsan_score.parts_per_million(), 970_000);
    assert_eq!(envelope.metadata.urgency, Some(Urgency::RealTime));
    assert!(envelope.signature_check().is_good());
}

#[test]
fn the_digest_leaves_the_signature_out() {
    let members = unsigned(7, 1);
    let digest = record_digest(&[&text(&members)]);
    for bytes in [sign(&members, 7), sign(&members, 8), with_signature(&members, 0)] {
        let (envelope, _) = Envelope::parse(&bytes).expect("the form is right");
        assert_eq!(envelope.digest, digest);
    }
    let mut other = members;
    edit(&mut other, "metadata.note", Some(true.into()));
    assert_ne!(record_digest(&[&text(&other)]), digest);
}

#[test]
fn another_spelling_is_the_same_record_but_not_canonical() {
    let bytes = signed(7, 1);
    let canonical = core::str::from_utf8(&bytes).expect("UTF-8");
    let respelled = [
        format!(" {canonical}\n"),
        canonical.replacen("\"agent_id\"", "\"\\u0061gent_id\"", 1),
        canonical.replacen("\"t\":0.95", "\"t\":95e-2", 1),
        serde_json::to_string_pretty(
            &serde_json::from_str::<serde_json::Value>(canonical).expect("JSON"),
        )
        .expect("values can be written"),
    ];
    for other in respelled {
        assert_ne!(other, canonical);
        let (envelope, again) = Envelope::parse(other.as_bytes()).expect("strict JSON");
        assert_eq!(again, &*bytes);
        assert!(envelope.signature_check().is_good());
        let rejection = Envelope::parse_canonical(other.as_bytes()).expect_err("not canonical");
        assert_eq!(rejection.code, Code::Schema);
        assert!(rejection.detail.starts_with("is not in canonical form"), "{rejection}");
    }
    let rejection = Envelope::parse_canonical(format!("{canonical} ").as_bytes());
    let detail = format!("is not in canonical form (RFC 8785) from byte {} on", bytes.len());
    assert_eq!(rejection, Err(Rejection::new(Code::Schema, "", detail)));
}

#[test]
fn every_member_has_one_form() {
    let long_key = format!("\"{}\"", "k".repeat(257));
    let cases = [
        ("version", None, "`version` is missing"),
        ("version", Some("1"), "`version` must be \"1.0.0\", but is 1"),
        ("version", Some("\"1.0.1\""), "`version` must be \"1.0.0\", but is \"1.0.1\""),
        ("extra", Some("1"), "`extra` is an unknown member"),
        ("envelope_id", Some("\"123E4567-e89b-42d3-a456-426614174000\""), "must be a UUID"),
        ("envelope_id", Some("\"123e4567-e89b-12d3-a456-426614174000\""), "of version 4"),
        ("timestamp", Some("\"2026-11-22T01:46:03+00:00\""), "`timestamp` must be a UTC time"),
        ("timestamp", Some("1795311963"), "`timestamp` must be a string"),
        ("nonce", Some("\"00\""), "`nonce` must be 64 lower-case hex digits"),
        ("nonce", Some("null"), "`nonce` must be 64 lower-case hex digits, but is null"),
        ("sender", Some("[]"), "`sender` must be an object"),
        ("sender.agent_type", Some("\"pat\""), "must be \"PAT\" or \"SAT\", but is \"pat\""),
        ("sender.agent_id", Some("\"\""), "`sender.agent_id` must be a string that is not empty"),
        ("sender.agent_id", Some(long_key.as_str()), "at most 256 bytes, but has 257"),
        ("sender.public_key", None, "`sender.public_key` is missing"),
        ("sender.role", Some("1"), "`sender.role` is an unknown member"),
        ("payload", None, "`payload` is missing"),
        ("payload.action", Some("\"inference/commit \""), "is not an action of this protocol"),
        ("payload.action", Some("\"market/\""), "is not an action of this protocol"),
        ("payload.action", Some(long_key.as_str()), "at most 256 bytes, but has 257"),
        ("payload.action", Some("\"session/close\""), "`metadata.chain_id` is missing"),
        ("payload.action", Some("\"pattern/propagate\""), "`payload.data.trigger_condition` is"),
        ("payload.data", None, "`payload.data` is missing"),
        ("payload.data", Some("1"), "`payload.data` must be an object"),
        ("payload.policy_hash", None, "`payload.policy_hash` is missing"),
        ("payload.policy_hash", Some("\"\""), "must be 64 lower-case hex digits"),
        ("payload.state_hash", Some("null"), "`payload.state_hash` must be 64 lower-case hex"),
        ("payload.note", Some("1"), "`payload.note` is an unknown member"),
        ("metadata", None, "`metadata` is missing"),
        ("metadata.ihsan_score", None, "`metadata.ihsan_score` is missing"),
        ("metadata.ihsan_score", Some("1.0000001"), "must be a number from 0 to 1"),
        ("metadata.snr_score", Some("-1e-9"), "must be a number from 0 to 1"),
        ("metadata.snr_score", Some("\"0.9\""), "must be a number from 0 to 1"),
        ("metadata.urgency", Some("\"NOW\""), "`metadata.urgency` must be \"REAL_TIME\" or"),
        ("metadata.chain_id", Some("\"\""), "`metadata.chain_id` must be 64 lower-case hex"),
        ("metadata.Note", Some("1"), "must have a name of 1 to 32 characters"),
        ("metadata.", Some("1"), "must have a name of 1 to 32 characters"),
        ("metadata.a23456789012345678901234567890123", Some("1"), "must have a name of 1 to 32"),
        ("metadata.note", Some("\"\""), "`metadata.note` must be a string that is not empty"),
        ("metadata.note", Some("null"), "must be a string, a number or a boolean"),
        ("metadata.note", Some("[]"), "must be a string, a number or a boolean"),
        ("metadata.note", Some("{}"), "must be a string, a number or a boolean"),
    ];
    for (path, value, message) in cases {
        let mut members = unsigned(7, 1);
        edit(&mut members, path, value.map(json));
        let rejection = Unsigned::parse(&text(&members)).expect_err(message);
        assert_eq!(rejection.code, Code::Schema);
        assert!(rejection.to_string().contains(message), "{rejection} lacks {message}");
    }
}

#[test]
fn optional_members_are_read_when_they_are_there() {
    let mut members = unsigned(7, 1);
    edit(&mut members, "payload.state_hash", Some(hex(&[1; 32]).as_str().into()));
    edit(&mut members, "metadata.chain_id", Some(hex(&[2; 32]).as_str().into()));
    edit(&mut members, "metadata.urgency", None);
    edit(&mut members, "metadata.snr_score", None);
    edit(&mut members, "sender.agent_type", Some("SAT".into()));
    let (envelope, _) = Envelope::parse(&sign(&members, 7)).expect("the form is right");
    assert_eq!(envelope.state_hash, Some([1; 32]));
    assert_eq!(envelope.metadata.chain_id, Some(ChainId([2; 32])));
    assert_eq!((envelope.metadata.urgency, envelope.metadata.snr_score), (None, None));
    assert_eq!(envelope.sender.agent_type, AgentType::Sat);
}

#[test]
fn metadata_has_room_for_eight_more() {
    let mut members = unsigned(7, 1);
    let values = ["true", "0.1", "-9007199254740991", "5e-324"];
    for at in 0..8 {
        edit(&mut members, &format!("metadata.note_{at}"), Some(json(values[at % 4])));
    }
    let full = format!("\"{}\"", "ä".repeat(32));
    edit(&mut members, "metadata.note_0", Some(json(&full)));
    Unsigned::parse(&text(&members)).expect("eight more scalars");

    let long = format!("\"{}x\"", "ä".repeat(32));
    edit(&mut members, "metadata.note_0", Some(json(&long)));
    let rejection = Unsigned::parse(&text(&members)).expect_err("65 bytes");
    assert_eq!(
        rejection.to_string(),
        "SCHEMA: `metadata.note_0` must have at most 64 bytes, but has 65"
    );
    edit(&mut members, "metadata.note_0", Some(json("1")));
    edit(&mut members, "metadata.note_8", Some(json("1")));
    let rejection = Unsigned::parse(&text(&members)).expect_err("nine more");
    assert_eq!(
        rejection.to_string(),
        "SCHEMA: `metadata` may hold 8 members besides the known ones, but holds 9"
    );
}

#[test]
fn the_signature_has_one_form() {
    let Value::Object(good) = json(core::str::from_utf8(&signed(7, 1)).expect("UTF-8")) else {
        panic!("an envelope is an object")
    };
    let fields = r#"["version","envelope_id","timestamp","nonce","sender","payload","metadata"]"#;
    let other_order = fields.replace(r#""nonce","sender""#, r#""sender","nonce""#);
    let longer = fields.replace(']', r#","signature"]"#);
    let shorter = fields.replace(r#","metadata"]"#, "]");
    let cases = [
        ("signature", None, "`signature` is missing"),
        ("signature", Some("\"00\""), "`signature` must be an object"),
        ("signature.algorithm", Some("\"Ed25519\""), "`signature.algorithm` must be \"ed25519\""),
        ("signature.value", Some("\"AB\""), "`signature.value` must be 128 lower-case hex digits"),
        ("signature.signed_fields", None, "`signature.signed_fields` is missing"),
        (
            "signature.signed_fields",
            Some(other_order.as_str()),
            "`signature.signed_fields[3]` must be \"nonce\", but is \"sender\"",
        ),
        ("signature.signed_fields", Some(longer.as_str()), "must have at most 7 items, but has 8"),
        ("signature.signed_fields", Some(shorter.as_str()), "must list version, envelope_id"),
        ("signature.note", Some("1"), "`signature.note` is an unknown member"),
    ];
    for (path, value, message) in cases {
        let mut members = good.clone();
        edit(&mut members, path, value.map(json));
        let rejection = Envelope::parse(&text(&members)).expect_err(message);
        assert_eq!(rejection.code, Code::Schema);
        assert!(rejection.to_string().contains(message), "{rejection} lacks {message}");
    }
    assert!(Unsigned::parse(&text(&good)).is_err(), "a signed envelope is not unsigned");
}

#[test]
fn size_and_depth_are_bounded() {
    let mut members = unsigned(7, 1);
    // Each number grows from 4 bytes to 16 when it is canonicalised.
    let numbers = vec!["1e15"; 5_000].join(",");
    edit(&mut members, "payload.data.parents", Some(json(&format!("[{numbers}]"))));
    let short =
        core::str::from_utf8(&text(&members)).expect("UTF-8").replace("000000000000000", "e15");
    assert!(short.len() < 64 * 1024);
    let rejection = Envelope::parse(short.as_bytes()).expect_err("too long in canonical form");
    assert!(rejection.detail.contains("in canonical form, where at most 65536"), "{rejection}");

    let long = format!("{short}{}", " ".repeat(64 * 1024 + 1 - short.len()));
    let rejection = Envelope::parse(long.as_bytes()).expect_err("too long");
    assert!(rejection.detail.contains("65537 bytes, where at most 65536"), "{rejection}");

    let mut members = unsigned(7, 1);
    let nested = format!("{}{}", "[".repeat(31), "]".repeat(31));
    edit(&mut members, "metadata.note", Some(json(&nested)));
    let rejection = Envelope::parse(&text(&members)).expect_err("metadata is the second level");
    assert!(rejection.detail.contains("nest deeper than 32"), "{rejection}");

    assert_eq!(
        Envelope::parse(b"[]").expect_err("an array").to_string(),
        "SCHEMA: the record must be a JSON object"
    );
    assert_eq!(
        Envelope::parse(b"{\"a\":1,\"a\":1}").expect_err("a key twice").to_string(),
        "SCHEMA: the record is not strict JSON: at byte 7: the key \"a\" occurs twice in one object"
    );
}

#[test]
fn known_actions_have_their_sender() {
    use AllowedSender::{Either, Pat, Sat};
    let close = r#"{"session_id":"0189d3a0-0000-7000-8000-000000000001","records":1}"#;
    let rotate = format!(r#"{{"new_key":"{}","proof":"{}"}}"#, "ab".repeat(32), "ab".repeat(64));
    let revoke = format!(r#"{{"key":"{}"}}"#, "ab".repeat(32));
    let propose = format!(
        r#"{{"procedure":"amendment","change":{{"kind":"revocation","key":"{}"}}}}"#,
        "ab".repeat(32)
    );
    let vote = format!(r#"{{"proposal":"{}","choice":"veto"}}"#, "ab".repeat(32));
    let attest = format!(
        r#"{{"release":"1.0.0","artefacts_root":"{0}","rego_hash":"{0}","infrastructure_hash":"{0}"}}"#,
        "ab".repeat(32)
    );
    let elevate = format!(r#"{{"digest":"{}"}}"#, "ab".repeat(32));
    let offer = match offer(7, 1).get("payload") {
        Some(Value::Object(payload)) => payload.get("data").map(canonical),
        _ => None,
    };
    let offer = String::from_utf8(offer.expect("an offer has data")).expect("UTF-8");
    let evidence = format!(
        r#"{{"accused":"{}","kind":"ticket","ticket":{{"statement":"{}","signature":"{}"}}}}"#,
        "ab".repeat(32),
        "00".repeat(56),
        "ab".repeat(64)
    );
    for (name, sender, is_for_any_chain, data) in [
        ("inference/commit", Pat, true, None),
        ("session/close", Pat, false, Some(close)),
        ("pattern/propagate", Pat, true, Some(&offer)),
        ("identity/register", Pat, false, Some("{}")),
        ("identity/rotate", Pat, false, Some(&rotate)),
        ("identity/revoke", Either, false, Some(&revoke)),
        ("market/join", Pat, false, Some("{}")),
        ("market/acquire", Pat, false, None),
        ("governance/propose", Sat, false, Some(&propose)),
        ("governance/vote", Sat, false, Some(&vote)),
        ("pattern/elevate", Sat, false, Some(&elevate)),
        ("release/attest", Sat, false, Some(&attest)),
        ("evidence/file", Either, false, Some(&evidence)),
    ] {
        let action = Action::from_name(name).expect(name);
        assert_eq!(
            (action.allowed_sender(), action.is_for_any_chain()),
            (sender, is_for_any_chain)
        );
        // What cannot be executed is not accepted before it can.
        let mut members = unsigned(7, 1);
        edit(&mut members, "payload.action", Some(name.into()));
        edit(&mut members, "metadata.chain_id", Some(hex(&[2; 32]).as_str().into()));
        if let Some(data) = data {
            edit(&mut members, "payload.data", Some(json(data)));
        }
        match Unsigned::parse(&text(&members)) {
            Ok(_) => assert!(name == "inference/commit" || data.is_some(), "{name}"),
            Err(rejection) => {
                assert_eq!(data, None, "{rejection}");
                assert_eq!(
                    rejection.to_string(),
                    "SCHEMA: `payload.action` is an action that this protocol version does not \
                     execute"
                );
            }
        }
    }
    for name in ["", "market", "inference", "Inference/commit", "inference/commit/x"] {
        assert_eq!(Action::from_name(name), None);
    }
}

#[test]
fn a_session_is_closed_by_a_closed_schema() {
    let with = |path: &str, value: Option<&str>| {
        let mut members = unsigned(7, 1);
        let data = r#"{"session_id":"0189d3a0-0000-7000-8000-000000000001","records":1}"#;
        edit(&mut members, "payload.action", Some("session/close".into()));
        edit(&mut members, "payload.data", Some(json(data)));
        edit(&mut members, "metadata.chain_id", Some(hex(&[2; 32]).as_str().into()));
        edit(&mut members, path, value.map(json));
        Unsigned::parse(&text(&members)).map(drop)
    };
    assert_eq!(with("payload.data.records", Some("0")), Ok(()));
    for (path, value, message) in [
        ("payload.data.session_id", None, "`payload.data.session_id` is missing"),
        ("payload.data.session_id", Some("\"x\""), "must be a UUID"),
        ("payload.data.records", None, "`payload.data.records` is missing"),
        ("payload.data.records", Some("-1"), "must be an integer from 0"),
        ("payload.data.records", Some("null"), "must be an integer from 0"),
        ("payload.data.why", Some("1"), "`payload.data.why` is an unknown member"),
        ("metadata.chain_id", None, "`metadata.chain_id` is missing, and this action needs it"),
    ] {
        let rejection = with(path, value).expect_err(message);
        assert_eq!(rejection.code, Code::Schema);
        assert!(rejection.to_string().contains(message), "{rejection} lacks {message}");
    }
}

#[test]
fn identities_are_changed_by_closed_schemas() {
    let (key, proof) = (format!("\"{}\"", "ab".repeat(32)), format!("\"{}\"", "ab".repeat(64)));
    let with = |verb: &str, data: &str| {
        let mut members = unsigned(7, 1);
        edit(&mut members, "payload.action", Some(format!("identity/{verb}").as_str().into()));
        edit(&mut members, "payload.data", Some(json(data)));
        edit(&mut members, "metadata.chain_id", Some(hex(&[2; 32]).as_str().into()));
        Unsigned::parse(&text(&members)).map(drop)
    };
    let rotate = |new_key: &str, proof: &str| {
        with("rotate", &format!(r#"{{"new_key":{new_key},"proof":{proof}}}"#))
    };
    for (result, message) in [
        (with("register", "1"), "`payload.data` must be an object"),
        (with("register", r#"{"key":1}"#), "`payload.data.key` is an unknown member"),
        (with("revoke", "{}"), "`payload.data.key` is missing"),
        (with("revoke", r#"{"key":"ab"}"#), "`payload.data.key` must be 64 lower-case hex"),
        (
            with("revoke", &format!(r#"{{"key":{key},"why":1}}"#)),
            "`payload.data.why` is an unknown",
        ),
        (rotate("\"ab\"", &proof), "`payload.data.new_key` must be 64 lower-case hex digits"),
        (rotate(&key, &key), "`payload.data.proof` must be 128 lower-case hex digits"),
        (with("rotate", &format!(r#"{{"new_key":{key}}}"#)), "`payload.data.proof` is missing"),
        (with("rotate", &format!(r#"{{"proof":{proof}}}"#)), "`payload.data.new_key` is missing"),
        (
            with("rotate", &format!(r#"{{"new_key":{key},"old":1,"proof":{proof}}}"#)),
            "`payload.data.old` is an unknown member",
        ),
    ] {
        let rejection = result.expect_err(message);
        assert_eq!(rejection.code, Code::Schema);
        assert!(rejection.to_string().contains(message), "{rejection} lacks {message}");
    }
    assert_eq!(rotate(&key, &proof), Ok(()));
}

proptest! {
    #[test]
    fn no_flipped_byte_is_another_good_record(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let good = signed(7, 1);
        let mut bytes = good.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(envelope) = Envelope::parse_canonical(&bytes) {
            prop_assert!(!envelope.signature_check().is_good());
        }
    }

    #[test]
    fn what_is_signed_reads_back(seed in 1u8..9, nonce in any::<u64>(), note in "\\PC{1,16}") {
        let mut members = unsigned(seed, nonce);
        edit(&mut members, "metadata.note", Some(note.as_str().into()));
        let bytes = sign(&members, seed);
        let envelope = Envelope::parse_canonical(&bytes).expect("canonical");
        prop_assert_eq!(envelope.digest, record_digest(&[&text(&members)]));
        prop_assert!(envelope.signature_check().is_good());
        prop_assert_eq!(envelope.sender.public_key.0, key(seed).verifying_key().to_bytes());
    }
}
