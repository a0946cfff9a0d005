use super::*;
use crate::envelope::Content;
use crate::testing::{edit, json, sign, unsigned};
use bizra_types::json::Members;
use proptest::prelude::*;

fn judge(members: &Members) -> Result<Fate, Rejection> {
    let (envelope, _) = Envelope::parse(&sign(members, 7)).expect("the form is right");
    let Content::Inference(inference) = &envelope.content else { panic!("an inference") };
    check_fate(&envelope, inference, &LedgerParameters::default())
}

/// A record that does best in all dimensions, and then these members.
fn record(changes: &[(&str, &str)]) -> Members {
    let mut members = unsigned(7, 1);
    let rationale = format!("\"{}\"", "ab".repeat(32));
    let best = [
        ("payload.data.operations", r#"["infer"]"#),
        ("payload.data.intent", r#"["infer"]"#),
        ("payload.data.rationale_commitment", rationale.as_str()),
        ("payload.data.fate", r#"{"f":1,"a":1,"t":1,"e":1}"#),
        ("metadata.snr_score", "1"),
    ];
    for (path, value) in best.iter().chain(changes) {
        edit(&mut members, path, Some(json(value)));
    }
    members
}

fn parts(fate: Fate) -> [u32; 4] {
    fate.named().map(|(_, score)| score.parts_per_million())
}

#[test]
fn each_dimension_is_recomputed() {
    let one = 1_000_000;
    for (changes, expected) in [
        (&[][..], [one; 4]),
        (&[("payload.data.intent", r#"["infer","read"]"#)], [850_000, one, one, one]),
        (&[("payload.data.intent", r#"["read","edit","infer"]"#)], [800_000, one, one, one]),
        (&[("payload.data.intent", r#"["read","edit"]"#)], [700_000, one, one, one]),
        (&[("payload.data.operations", r#"["infer","read"]"#)], [one; 4]),
        (&[("metadata.snr_score", "0.9000019")], [one, one, one, 900_001]),
        (&[("payload.data.flags.personal_data", "true")], [one, one, one, 500_000]),
        (&[("payload.data.flags.toxicity", "true")], [one, one, one, 300_000]),
        (&[("payload.data.flags.violation", "true")], [one, one, one, 100_000]),
        (
            &[
                (
                    "payload.data.flags",
                    r#"{"personal_data":true,"toxicity":true,"violation":true}"#,
                ),
                ("metadata.snr_score", "0.999999"),
            ],
            [one, one, one, 14_999],
        ),
    ] {
        let (envelope, _) = Envelope::parse(&sign(&record(changes), 7)).expect("good");
        let Content::Inference(inference) = &envelope.content else { panic!("an inference") };
        let snr = envelope.metadata.snr_score.expect("it is there");
        assert_eq!(parts(recomputed(&envelope, inference, snr)), expected, "{changes:?}");
    }
    for (absent, expected) in [
        ("metadata.urgency", [one, 900_000, one, one]),
        ("payload.data.rationale_commitment", [one, one, 900_000, one]),
    ] {
        let mut members = record(&[]);
        edit(&mut members, absent, None);
        assert_eq!(judge(&members).map(parts), Ok(expected), "{absent}");
    }
}

#[test]
fn the_lower_of_claim_and_recomputation_decides() {
    for (member, at) in [("f", 0), ("a", 1), ("t", 2), ("e", 3)] {
        let path = format!("payload.data.fate.{member}");
        // 0.82 ≥ 0.95⁴ = 0.81450625 > 0.81.
        let mut expected = [1_000_000; 4];
        expected[at] = 820_000;
        assert_eq!(judge(&record(&[(&path, "0.82")])).map(parts), Ok(expected));
        let rejection = judge(&record(&[(&path, "0.81")])).expect_err("too low");
        assert_eq!(
            rejection.to_string(),
            format!(
                "FATE: `{path}` is the weakest dimension with 0.810000, the lower of claim and \
                 recomputation; the geometric mean of all four must be at least 0.950000, but is \
                 0.948683"
            )
        );
        let rejection = judge(&record(&[(&path, "0")])).expect_err("zero blocks");
        assert!(rejection.detail.contains("with 0.000000"), "{rejection}");
    }
}

#[test]
fn the_strictest_operation_sets_the_threshold() {
    // All but E are 1, so E = t⁴ is the edge.
    for (operations, at, below) in [
        (r#"["infer"]"#, "0.814507", "0.814506"),
        (r#"["tool"]"#, "0.814507", "0.814506"),
        (r#"["network","read"]"#, "0.814507", "0.814506"),
        (r#"["write","read"]"#, "0.849347", "0.849346"),
        (r#"["edit","infer"]"#, "0.849347", "0.849346"),
        (r#"["read","shell","edit"]"#, "0.922369", "0.922368"),
        (r#"["read"]"#, "0.6561", "0.656099"),
    ] {
        let with = |ethics| {
            let mut members = record(&[("payload.data.operations", operations)]);
            edit(&mut members, "payload.data.intent", Some(json(operations)));
            edit(&mut members, "payload.data.fate.e", Some(json(ethics)));
            judge(&members)
        };
        assert!(with(at).is_ok(), "{operations}");
        let rejection = with(below).expect_err(operations);
        assert_eq!((rejection.code, &*rejection.member), (Code::Fate, "payload.data.fate.e"));
    }
}

#[test]
fn what_was_meant_and_not_done_costs_fidelity() {
    // The threshold of no operations is that of an inference.
    let rejection = judge(&record(&[("payload.data.operations", "[]")])).expect_err("F is 0.7");
    assert_eq!(rejection.member, "payload.data.fate.f");
    assert!(rejection.detail.contains("must be at least 0.950000"), "{rejection}");
}

#[test]
fn without_an_intent_everything_fails() {
    let members =
        record(&[("payload.data.intent", "[]"), ("payload.data.operations", r#"["read"]"#)]);
    assert_eq!(
        judge(&members).expect_err("no intent").to_string(),
        "FATE: `payload.data.intent` must name what was meant: without it fidelity, the dimension \
         f, fails"
    );
}

#[test]
fn the_weakest_dimension_is_named_and_the_first_of_equals() {
    for (claim, weakest) in [
        (r#"{"f":0.5,"a":0.5,"t":0.5,"e":0.5}"#, "f"),
        (r#"{"f":0.5,"a":0.4,"t":0.4,"e":0.5}"#, "a"),
        (r#"{"f":0.5,"a":0.4,"t":0.3,"e":0.5}"#, "t"),
        (r#"{"f":0.5,"a":0.4,"t":0.3,"e":0.2}"#, "e"),
    ] {
        let rejection = judge(&record(&[("payload.data.fate", claim)])).expect_err("too low");
        assert_eq!(rejection.member, format!("payload.data.fate.{weakest}"));
    }
}

#[test]
fn governed_thresholds_hold() {
    let members = record(&[("payload.data.fate.e", "0.5")]);
    let bytes = sign(&members, 7);
    let (envelope, _) = Envelope::parse(&bytes).expect("good");
    let Content::Inference(inference) = &envelope.content else { panic!("an inference") };
    let lenient = LedgerParameters { fate_min_ppm: 800_000, ..LedgerParameters::default() };
    assert!(check_fate(&envelope, inference, &lenient).is_ok());
    assert!(check_fate(&envelope, inference, &LedgerParameters::default()).is_err());
}

proptest! {
    #[test]
    fn the_gate_is_the_geometric_mean(scores in prop::array::uniform4(0u32..=1_000_000)) {
        let score = |at: usize| share(scores[at].into());
        let fate = Fate {
            fidelity: score(0),
            accountability: score(1),
            transparency: score(2),
            ethics: score(3),
        };
        let product: f64 = scores.iter().map(|parts| f64::from(*parts) / 1e6).product();
        let mean = product.powf(0.25) * 1e6;
        let composite = f64::from(fate.composite().parts_per_million());
        prop_assert!((composite - mean).abs() < 1.1, "{composite} {mean}");
        let root = u128::from(fate.composite().parts_per_million());
        prop_assert!(root.pow(4) <= fate.product() && fate.product() < (root + 1).pow(4));
    }
}
