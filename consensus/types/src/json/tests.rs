use super::*;
use alloc::vec;
use proptest::prelude::*;

fn canonical_text(text: &str) -> String {
    let value = parse(text.as_bytes(), Limits::ENVELOPE).expect("the text is strict JSON");
    String::from_utf8(canonical(&value)).expect("canonical text is UTF-8")
}

/// RFC 8785, appendix B.
#[test]
fn numbers_print_as_ecmascript_does() {
    for (bits, text) in [
        (0x0000_0000_0000_0000, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ] {
        let double = f64::from_bits(bits);
        assert_eq!(Number::from_finite(double).text(), text);
        assert_eq!(Number::new(double).is_some(), double.abs() < 9_007_199_254_740_992.0, "{text}");
    }
    assert_eq!(Number::new(f64::NAN), None);
    assert_eq!(Number::new(f64::INFINITY), None);
}

/// RFC 8785, section 3.2.2, less the number that is too large for us.
#[test]
fn strings_and_literals_are_written_as_the_rfc_shows() {
    assert_eq!(
        canonical_text(
            r#"{
                "numbers": [333333333.33333329, 4.50, 2e-3, 0.000000000000000000000000001],
                "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
                "literals": [null, true, false]
            }"#
        ),
        concat!(
            r#"{"literals":[null,true,false],"#,
            r#""numbers":[333333333.3333333,4.5,0.002,1e-27],"#,
            r#""string":"€$\u000f\nA'B\"\\\\\"/"}"#
        )
    );
    assert_eq!(
        canonical_text("\"\\b\\t\\n\\f\\r\\u007f\\u0000\""),
        "\"\\b\\t\\n\\f\\r\u{7f}\\u0000\""
    );
}

#[test]
fn nothing_is_escaped_but_what_must_be() {
    for code in (0..0x100).chain([0x2028, 0xfeff, 0x1_f600]) {
        let character = char::from_u32(code).expect("no surrogate");
        let escaped = match character {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\u{8}' => "\\b".to_owned(),
            '\t' => "\\t".to_owned(),
            '\n' => "\\n".to_owned(),
            '\u{c}' => "\\f".to_owned(),
            '\r' => "\\r".to_owned(),
            '\0'..='\u{1f}' => format!("\\u{code:04x}"),
            other => other.to_string(),
        };
        let value = Value::String(character.to_string());
        let text = canonical(&value);
        assert_eq!(core::str::from_utf8(&text), Ok(format!("\"{escaped}\"").as_str()));
        assert_eq!(parse(&text, Limits::ENVELOPE), Ok(value));
        let raw = format!("\"{character}\"");
        let needs_escape = escaped != character.to_string();
        assert_eq!(parse(raw.as_bytes(), Limits::ENVELOPE).is_err(), needs_escape, "U+{code:04X}");
    }
}

/// RFC 8785, section 3.2.3.
#[test]
fn keys_are_sorted_by_utf16_code_units() {
    let value = parse(
        br#"{
            "\u20ac": "Euro Sign",
            "\r": "Carriage Return",
            "\ufb33": "Hebrew Letter Dalet With Dagesh",
            "1": "One",
            "\ud83d\ude00": "Emoji: Grinning Face",
            "\u0080": "Control",
            "\u00f6": "Latin Small Letter O With Diaeresis"
        }"#,
        Limits::ENVELOPE,
    )
    .expect("the RFC's example is strict JSON");
    let Value::Object(members) = value else { panic!("not an object") };
    let keys: Vec<&str> = members.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["\r", "1", "\u{80}", "\u{f6}", "\u{20ac}", "\u{1f600}", "\u{fb33}"]);
}

#[test]
fn the_published_hashes_come_out() {
    let text = canonical_text(r#" { "c": {"z": 26.0, "y": 2.5e1}, "b": 2, "a": 1 } "#);
    assert_eq!(text, r#"{"a":1,"b":2,"c":{"y":25,"z":26}}"#);
    assert_eq!(
        blake3::hash(text.as_bytes()).to_hex().as_str(),
        "483cc9d1ada8d40c3955d041e2d74336ed3e8dc5a995f3b52698d204bc22a077"
    );
    let prefixed = format!("bizra-pci-v1:{text}");
    assert_eq!(
        blake3::hash(prefixed.as_bytes()).to_hex().as_str(),
        "40fb015001564b0590e58f6c149c8ada51d1a96155a58a5662f2001bbc021e47"
    );
}

#[test]
fn what_is_not_strict_json_is_refused_with_its_place() {
    let mut nested = "[".repeat(33);
    nested.push_str(&"]".repeat(33));
    let long = format!("\"{}\"", "x".repeat(64 * 1024));
    let cases: Vec<(&[u8], &str)> = vec![
        (b"", "at byte 0: the text ends where a value was expected"),
        (b"  ", "at byte 2: the text ends where a value was expected"),
        (b"\xef\xbb\xbf1", "at byte 0: a byte order mark is not allowed"),
        (b"\"\xff\"", "at byte 1: the text is not valid UTF-8"),
        (b"\"\xed\xa0\x80\"", "at byte 1: the text is not valid UTF-8"),
        (b"\"\xc0\x80\"", "at byte 1: the text is not valid UTF-8"),
        (b"1 2", "at byte 2: found '2' after the end of the value"),
        (b"{} x", "at byte 3: found 'x' after the end of the value"),
        (b"\x0c1", "at byte 0: found '\\u{c}' where a value was expected"),
        ("\u{a0}1".as_bytes(), "at byte 0: found '\\u{a0}' where a value was expected"),
        (b"nul", "at byte 3: the text ends where null was expected"),
        (b"tru3", "at byte 3: found '3' where true was expected"),
        (b"NaN", "at byte 0: found 'N' where a value was expected"),
        (b"[1,]", "at byte 3: found ']' where a value was expected"),
        (b"[1", "at byte 2: the text ends where `,` or `]` was expected"),
        (b"[1;2]", "at byte 2: found ';' where `,` or `]` was expected"),
        (b"{a:1}", "at byte 1: found 'a' where a key was expected"),
        (b"{\"a\":1,}", "at byte 7: found '}' where a key was expected"),
        (b"{\"a\" 1}", "at byte 5: found '1' where `:` was expected"),
        (b"{\"a\":1 \"b\":2}", "at byte 7: found '\"' where `,` or `}` was expected"),
        (b"{\"a\":1,\"\\u0061\":2}", "at byte 7: the key \"a\" occurs twice in one object"),
        (b"[{\"b\":1,\"a\":1,\"b\":1}]", "at byte 14: the key \"b\" occurs twice in one object"),
        (b"\"a\nb\"", "at byte 2: the control character U+000A must be escaped in a string"),
        (b"\"abc", "at byte 4: the text ends where the end of a string was expected"),
        (
            b"\"\\x\"",
            "at byte 2: found 'x' where one of `\"\\/bfnrtu` after a backslash was expected",
        ),
        (b"\"\\u12g4\"", "at byte 5: found 'g' where a hex digit was expected"),
        (b"\"\\u+123\"", "at byte 3: found '+' where a hex digit was expected"),
        (
            b"\"\\ud800\"",
            "at byte 1: the surrogate \\ud800 stands alone, so the string is not Unicode",
        ),
        (
            b"\"\\udc00\"",
            "at byte 1: the surrogate \\udc00 stands alone, so the string is not Unicode",
        ),
        (
            b"\"a\\ud800\\u0041\"",
            "at byte 2: the surrogate \\ud800 stands alone, so the string is not Unicode",
        ),
        (b"01", "at byte 0: a number must not begin with a needless zero"),
        (b"-00.5", "at byte 1: a number must not begin with a needless zero"),
        (b"+1", "at byte 0: found '+' where a value was expected"),
        (b".5", "at byte 0: found '.' where a value was expected"),
        (b"-", "at byte 1: the text ends where a digit was expected"),
        (b"-x", "at byte 1: found 'x' where a digit was expected"),
        (b"1.", "at byte 2: the text ends where a digit was expected"),
        (b"1.e5", "at byte 2: found 'e' where a digit was expected"),
        (b"1e", "at byte 2: the text ends where a digit was expected"),
        (b"1e+", "at byte 3: the text ends where a digit was expected"),
        (b"0x10", "at byte 1: found 'x' after the end of the value"),
        (b"[9007199254740992]", "at byte 1: a number beyond ±9007199254740991 has no exact double"),
        (b"-9007199254740992", "at byte 0: a number beyond ±9007199254740991 has no exact double"),
        (b"9007199254740991.5", "at byte 0: a number beyond ±9007199254740991 has no exact double"),
        (
            b"9.007199254740992e15",
            "at byte 0: a number beyond ±9007199254740991 has no exact double",
        ),
        (
            b"1e999999999999999999",
            "at byte 0: a number beyond ±9007199254740991 has no exact double",
        ),
        (nested.as_bytes(), "at byte 32: containers nest deeper than 32"),
        (
            long.as_bytes(),
            "at byte 65536: the text has 65538 bytes, where at most 65536 are allowed",
        ),
    ];
    for (text, error) in cases {
        let shown = String::from_utf8_lossy(&text[..text.len().min(40)]);
        match parse(text, Limits::ENVELOPE) {
            Ok(value) => panic!("{shown} was read as {value:?}"),
            Err(found) => assert_eq!(found.to_string(), error, "for {shown}"),
        }
    }
}

#[test]
fn numbers_at_the_edge_are_read() {
    for (text, canonical) in [
        ("-0", "0"),
        ("-0.0e-7", "0"),
        ("1e-400", "0"),
        ("-1e-99999999999999999999", "0"),
        ("0e99999999999999999999", "0"),
        ("9007199254740991", "9007199254740991"),
        ("-9007199254740991.4", "-9007199254740991"),
        ("9.007199254740991E+15", "9007199254740991"),
        ("4.9406564584124654e-324", "5e-324"),
        ("0.1e1", "1"),
        ("10", "10"),
        ("1e15", "1000000000000000"),
    ] {
        assert_eq!(canonical_text(text), canonical);
    }
    let mut nested = "[".repeat(32);
    nested.push_str(&"]".repeat(32));
    assert_eq!(canonical_text(&nested), nested);
}

#[test]
fn integers_and_parts_per_million_come_from_the_canonical_text() {
    for (text, unsigned, parts) in [
        ("0", Some(0), Some(0)),
        ("-0", Some(0), Some(0)),
        ("1", Some(1), Some(1_000_000)),
        ("1.0", Some(1), Some(1_000_000)),
        ("1e0", Some(1), Some(1_000_000)),
        ("2", Some(2), None),
        ("-1", None, None),
        ("-0.5", None, None),
        ("-1e-9", None, None),
        ("0.95", None, Some(950_000)),
        ("0.9500009", None, Some(950_000)),
        ("0.9499999999", None, Some(949_999)),
        ("0.99999999999999999", Some(1), Some(1_000_000)),
        ("0.9999999999999999", None, Some(999_999)),
        ("0.000001", None, Some(1)),
        ("0.00000199", None, Some(1)),
        ("1e-7", None, Some(0)),
        ("5e-324", None, Some(0)),
        ("1.000001", None, None),
        ("9007199254740991", Some(9_007_199_254_740_991), None),
    ] {
        let value = parse(text.as_bytes(), Limits::ENVELOPE).expect("a number");
        let Value::Number(number) = &value else { panic!("not a number") };
        assert_eq!(number.as_unsigned(), unsigned, "{text}");
        let document = Document::parse(text.as_bytes(), Limits::ENVELOPE).expect("a number");
        assert_eq!(document.root().unsigned().ok(), unsigned, "{text}");
        assert_eq!(document.root().parts_per_million().ok(), parts, "{text}");
    }
    assert_eq!(Number::from_unsigned(1 << 53), None);
    assert_eq!(Number::from_unsigned((1 << 53) + 1), None);
    assert_eq!(
        Number::from_unsigned((1 << 53) - 1).and_then(|number| number.as_unsigned()),
        Some((1 << 53) - 1)
    );
}

#[test]
fn one_member_can_be_cut_out() {
    for (text, name, rest) in [
        (r#"{"a":"x","b":{"a":1},"c":[3]}"#, "a", r#"{"b":{"a":1},"c":[3]}"#),
        (r#"{"a":"x","b":{"a":1},"c":[3]}"#, "b", r#"{"a":"x","c":[3]}"#),
        (r#"{"a":"x","b":{"a":1},"c":[3]}"#, "c", r#"{"a":"x","b":{"a":1}}"#),
        (r#"{"a":"x","b":{"a":1},"c":[3]}"#, "d", r#"{"a":"x","b":{"a":1},"c":[3]}"#),
        (r#"{"a":null}"#, "a", "{}"),
        ("{}", "a", "{}"),
        (r#"[{"a":1}]"#, "a", r#"[{"a":1}]"#),
    ] {
        let document = Document::parse(text.as_bytes(), Limits::ENVELOPE).expect("strict");
        assert_eq!(document.around(name).concat(), rest.as_bytes(), "{text} without {name}");
    }
}

#[test]
#[should_panic(expected = "canonical form")]
fn nothing_is_cut_out_of_another_spelling() {
    let document = Document::parse(br#"{"b":1,"a":2}"#, Limits::ENVELOPE).expect("strict");
    let _ = document.around("a");
}

#[test]
fn members_keep_their_order_when_edited() {
    let twice = vec![("a".to_owned(), Value::Null), ("a".to_owned(), Value::Null)];
    assert_eq!(Members::new(twice), Err("a".to_owned()));
    let mut members = Members::default();
    assert!(members.is_empty());
    members.insert("\u{fb33}", Value::Null);
    members.insert("\u{1f600}", true.into());
    assert_eq!(members.insert("a", "x".into()), None);
    assert_eq!(members.insert("a", 7.into()), Some("x".into()));
    assert_eq!(members.remove("b"), None);
    assert_eq!(
        String::from_utf8(canonical(&Value::Object(members.clone()))).as_deref(),
        Ok("{\"a\":7,\"\u{1f600}\":true,\"\u{fb33}\":null}")
    );
    assert_eq!(members.remove("\u{fb33}"), Some(Value::Null));
    assert_eq!((members.len(), members.get("\u{fb33}")), (2, None));
}

#[test]
fn schema_errors_name_the_member_and_what_was_expected() {
    type Read = fn(&Member<'_>) -> Result<(), SchemaError>;
    let cases: [(&str, Read, &str); 17] = [
        ("1", |m| m.string().map(drop), "must be a string that is not empty, but is 1"),
        ("\"\"", |m| m.string().map(drop), "must be a string that is not empty, but is \"\""),
        ("null", |m| m.string().map(drop), "must be a string that is not empty, but is null"),
        ("\"äöü\"", |m| m.text(5).map(drop), "must have at most 5 bytes, but has 6"),
        ("\"AB\"", |m| m.hex::<1>().map(drop), "must be 2 lower-case hex digits, but is \"AB\""),
        ("\"abc\"", |m| m.hex::<1>().map(drop), "must be 2 lower-case hex digits, but is \"abc\""),
        (
            "\"c\"",
            |m| m.one_of(&[("a", 1), ("b", 2)]).map(drop),
            "must be \"a\" or \"b\", but is \"c\"",
        ),
        ("[]", |m| m.literal("1.0.0"), "must be \"1.0.0\", but is an array"),
        ("0", |m| m.boolean().map(drop), "must be true or false, but is 0"),
        ("{}", |m| m.number().map(drop), "must be a number, but is an object"),
        (
            "1.5",
            |m| m.unsigned().map(drop),
            "must be an integer from 0 to 9007199254740991, but is 1.5",
        ),
        ("8", |m| m.unsigned_in(1..=7).map(drop), "must be an integer from 1 to 7, but is 8"),
        ("1.1", |m| m.parts_per_million().map(drop), "must be a number from 0 to 1, but is 1.1"),
        ("true", |m| m.object().map(drop), "must be an object, but is a boolean"),
        ("{}", |m| m.items(1).map(drop), "must be an array, but is an object"),
        ("[1,2]", |m| m.items(1).map(drop), "must have at most 1 items, but has 2"),
        ("1", |m| Err(m.error("is odd")), "is odd"),
    ];
    for (value, read, detail) in cases {
        let text = format!("{{\"outer\":{{\"list\":[0,{value}]}}}}");
        let document = Document::parse(text.as_bytes(), Limits::ENVELOPE).expect("strict JSON");
        let mut object = document.object().expect("an object");
        let mut outer = object.take("outer").and_then(|outer| outer.object()).expect("an object");
        let list = outer.take("list").and_then(|list| list.items(2)).expect("an array");
        let error = read(&list[1]).expect_err(detail);
        assert_eq!(error, SchemaError { path: "outer.list[1]".into(), detail: detail.into() });
    }
}

#[test]
fn unknown_and_missing_members_are_named() {
    // In an order of its own: the first in canonical order is named.
    let text = br#"{"z":0,"y":0,"a":1,"b":{"f":4,"d":3,"c":2}}"#;
    let document = Document::parse(text, Limits::ENVELOPE).expect("strict");
    let mut object = document.object().expect("an object");
    assert_eq!(object.take("x").expect_err("missing").to_string(), "`x` is missing");
    assert!(object.take_optional("w").is_none());
    object.take("a").expect("is there");
    let mut inner = object.take("b").and_then(|b| b.object()).expect("an object");
    inner.take("c").expect("is there");
    assert_eq!(
        inner.finish().expect_err("d is left").to_string(),
        "`b.d` is an unknown member; known here: c"
    );
    let rest = object.take_rest();
    assert_eq!(rest.len(), 2);
    assert_eq!((rest[0].0, rest[1].0), ("y", "z"));
    assert_eq!((rest[1].1.path().as_str(), rest[1].1.unsigned()), ("z", Ok(0)));
    object.finish().expect("all are taken");

    let number = Document::parse(b"1", Limits::ENVELOPE).expect("strict");
    assert_eq!(
        number.object().expect_err("no object").to_string(),
        "the document must be an object, but is 1"
    );
}

#[test]
fn a_path_leads_through_objects_and_arrays() {
    let text = br#"{"a":{"b":[0,[1,{"c":2}],{}],"d":{}},"e":3}"#;
    let document = Document::parse(text, Limits::ENVELOPE).expect("strict");
    let paths: Vec<String> =
        (0..document.tokens.len()).map(|at| Member { document: &document, at }.path()).collect();
    let expected =
        ["", "a", "a.b", "a.b[0]", "a.b[1]", "a.b[1][0]", "a.b[1][1]", "a.b[1][1].c", "a.b[2]"];
    assert_eq!(paths, [&expected[..], &["a.d", "e"]].concat());
}

/// What `serde_json` reads, as our value; numbers as doubles.
fn translate(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => {
            let double = number.as_f64().expect("serde_json keeps numbers as doubles or integers");
            Value::Number(Number::new(double).expect("our reader accepted it"))
        }
        serde_json::Value::String(text) => Value::String(text.clone()),
        serde_json::Value::Array(items) => Value::Array(items.iter().map(translate).collect()),
        serde_json::Value::Object(members) => Value::Object(
            Members::new(
                members.iter().map(|(key, value)| (key.clone(), translate(value))).collect(),
            )
            .expect("a map has no key twice"),
        ),
    }
}

fn arbitrary_value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<f64>().prop_filter_map("beyond the limit", Number::new),
        (-1.0..=1.0).prop_filter_map("finite", Number::new),
        any::<u32>().prop_filter_map("finite", |value| Number::from_unsigned(value.into())),
    ];
    let key = prop_oneof!["[a-c]{0,2}", "\\PC{0,3}", "[\u{e000}-\u{10ffff}]{1,2}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number.prop_map(Value::Number),
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map(key.clone(), inner, 0..6).prop_map(|members| {
                let members = members.into_iter().collect();
                Value::Object(Members::new(members).expect("a map has no key twice"))
            }),
        ]
    })
}

/// Whether reading notices that a text is canonical, and where its members stand.
fn check_around(text: &[u8], value: &Value) {
    let limits = Limits { size_max: usize::MAX, depth_max: 32 };
    let document = Document::parse(text, limits).expect("it was read before");
    assert_eq!(document.root().to_value(), *value);
    assert_eq!(document.is_canonical(), canonical(value) == text);
    let (true, Value::Object(members)) = (document.is_canonical(), value) else { return };
    for name in members.iter().map(|(name, _)| name).chain(["no such member"]) {
        let mut without = members.clone();
        without.remove(name);
        let without = canonical(&Value::Object(without));
        assert_eq!(document.around(name).concat(), without, "{name:?}");
    }
}

/// Whether we and `serde_json` read a text alike, but for what only we refuse.
fn check_reading(text: &[u8]) {
    let theirs: Result<serde_json::Value, _> = serde_json::from_slice(text);
    match (parse(text, Limits::ENVELOPE), theirs) {
        (Ok(ours), Ok(theirs)) => {
            check_around(text, &ours);
            assert_eq!(ours, translate(&theirs));
        }
        (Ok(ours), Err(error)) => panic!("we read {ours:?}: {error}"),
        (Err(error), Ok(_)) => assert!(
            matches!(error.fault, JsonFault::DuplicateKey(_) | JsonFault::NumberTooLarge),
            "only we refuse: {error}"
        ),
        (Err(_), Err(_)) => {}
    }
}

#[test]
fn only_the_canonical_spelling_is_canonical() {
    for (text, is_canonical) in [
        (r#"{"a":1,"b":[true,"x"]}"#, true),
        (r#"{"b":[true,"x"],"a":1}"#, false),
        (r#"{"a":1,"b":[true, "x"]}"#, false),
        (r#"{"a":1.0,"b":[true,"x"]}"#, false),
        (r#" {"a":1}"#, false),
        ("{\"a\":1}\n", false),
        (r#""\n\u000f\\\"""#, true),
        (r#""\u000F""#, false),
        (r#""\u000a""#, false),
        (r#""\/""#, false),
        (r#""\u0041""#, false),
        (r#""\ud83d\ude00""#, false),
        ("-0", false),
        ("1e3", false),
        ("{}", true),
    ] {
        let value = parse(text.as_bytes(), Limits::ENVELOPE).expect("the text is strict JSON");
        assert_eq!(canonical(&value) == text.as_bytes(), is_canonical, "{text}");
        check_around(text.as_bytes(), &value);
    }
}

proptest! {
    #[test]
    fn the_order_is_that_of_utf16(
        left in "[a\u{ff}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}]{0,4}",
        right in "[a\u{ff}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}]{0,4}",
    ) {
        prop_assert_eq!(order(&left, &right), left.encode_utf16().cmp(right.encode_utf16()));
    }

    #[test]
    fn any_order_is_that_of_utf16(left in any::<String>(), right in any::<String>()) {
        prop_assert_eq!(order(&left, &right), left.encode_utf16().cmp(right.encode_utf16()));
    }

    #[test]
    fn canonical_text_reads_back_as_the_same_value(value in arbitrary_value()) {
        let text = canonical(&value);
        let again = parse(&text, Limits { size_max: usize::MAX, depth_max: 32 });
        prop_assert_eq!(again.as_ref(), Ok(&value));
        let theirs: serde_json::Value = serde_json::from_slice(&text).expect("valid JSON");
        prop_assert_eq!(translate(&theirs), value.clone());
        check_around(&text, &value);
    }

    #[test]
    fn another_spelling_has_the_same_canonical_text(value in arbitrary_value()) {
        // serde_json orders, escapes and prints numbers in its own way.
        let theirs: serde_json::Value =
            serde_json::from_slice(&canonical(&value)).expect("valid JSON");
        let pretty = serde_json::to_vec_pretty(&theirs).expect("values can be written");
        let limits = Limits { size_max: usize::MAX, depth_max: 32 };
        prop_assert_eq!(parse(&pretty, limits), Ok(value.clone()));
        check_around(&pretty, &value);
        let compact = serde_json::to_vec(&theirs).expect("values can be written");
        check_around(&compact, &value);
    }

    #[test]
    fn a_decimal_reads_as_the_nearest_double(
        text in "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?"
    ) {
        let theirs: Option<f64> = serde_json::from_str(&text).ok();
        match parse(text.as_bytes(), Limits::ENVELOPE) {
            Ok(Value::Number(number)) => {
                prop_assert_eq!(Some(number.get()), theirs);
                check_around(text.as_bytes(), &Value::Number(number));
            }
            Ok(_) => prop_assert!(false, "not a number"),
            Err(error) => {
                prop_assert_eq!(error.fault, JsonFault::NumberTooLarge);
                prop_assert!(theirs.is_none_or(|double| double.abs() > NUMBER_MAX));
            }
        }
    }

    #[test]
    fn what_we_read_others_read_alike(text in prop_oneof![
        "[\\[\\]{}\":,0-9eE.+\\-a-c \\\\untrfls]{0,24}",
        "\\{(\"[ab]\":[0-9\"\\[\\]{}]{1,3},?){0,4}\\}",
        "\"(\\\\u[dD][89a-fA-F][0-9a-f]{2}|\\\\[a-z]|\\PC){0,4}\"",
    ]) {
        check_reading(text.as_bytes());
    }

    #[test]
    fn a_changed_text_is_read_alike(
        value in arbitrary_value(),
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..3, "[\\[\\]{}\":,0-9eE.+\\-a-c \\\\u\u{1f}é]"),
            1..4,
        ),
    ) {
        let mut text = canonical(&value);
        for (at, kind, new) in changes {
            let at = at.index(text.len() + 1);
            let end = (at + usize::from(kind > 0)).min(text.len());
            let new = if kind < 2 { new.as_bytes() } else { b"" };
            text.splice(at..end, new.iter().copied());
        }
        check_reading(&text);
    }

    #[test]
    fn a_plain_decimal_is_its_own_canonical_text(
        text in "-?(0|[1-9][0-9]{0,15})(\\.0{0,7}[0-9]{1,14})?"
    ) {
        let double: f64 = text.parse().expect("a number");
        let is_canonical = Number::new(double).is_some_and(|number| number.text() == text);
        // What is longer or tiny is left to the general rule.
        let is_short = text.len() <= 15 && (double == 0.0 || double.abs() >= 1e-6);
        prop_assert_eq!(is_plain_decimal(&text), is_short && is_canonical);
    }

    #[test]
    fn a_string_ends_where_its_first_special_byte_stands(
        text in prop::collection::vec(
            prop_oneof![4 => any::<u8>(), 1 => Just(b'"'), 1 => 0x1e..0x23_u8, 20 => 0x20..0x7f_u8],
            0..40,
        ),
    ) {
        let end = text.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\');
        prop_assert_eq!(plain_size(&text), end.unwrap_or(text.len()));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(value) = parse(&bytes, Limits::ENVELOPE) {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
            prop_assert_eq!(parse(&canonical(&value), Limits::ENVELOPE), Ok(value));
        }
    }
}
