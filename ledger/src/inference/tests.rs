use super::*;
use crate::envelope::{Content, Envelope, Unsigned};
use crate::testing::{edit, json, sign, signed, text, unsigned};

fn read(members: &bizra_types::json::Members) -> InferenceCommit {
    let (envelope, _) = Envelope::parse(&sign(members, 7)).expect("the form is right");
    let Content::Inference(inference) = envelope.content else { panic!("an inference") };
    *inference
}

#[test]
fn a_model_call_is_read() {
    let (envelope, _) = Envelope::parse(&signed(7, 1)).expect("good");
    let Content::Inference(inference) = envelope.content else { panic!("an inference") };
    assert_eq!(inference.session_id.to_string(), "0189d3a0-0000-7000-8000-000000000001");
    assert_eq!(inference.transition, Transition::Commit);
    assert_eq!(inference.parents, []);
    assert_eq!(inference.model.name, "tiny");
    assert_eq!(inference.model.evidence, Evidence::HostVerified);
    assert_eq!(inference.tier, ModelTier::Edge);
    assert_eq!(inference.rationale_commitment, None);
    assert_eq!(inference.operation, Operation::Chat);
    assert!(inference.operations.contains(OperationKind::Read));
    assert!(!inference.intent.contains(OperationKind::Read));
    assert_eq!((inference.input_tokens, inference.output_tokens), (12, 34));
    assert_eq!(inference.finished_at.saturating_ms_since(inference.started_at), 1_500);
    assert_eq!(inference.trace_id[15], 0xff);
    assert_eq!(inference.fate.ethics.parts_per_million(), 910_000);
    assert_eq!(inference.budget.tier, BudgetTier::Micro);
    assert_eq!(inference.budget.knowledge_gap.parts_per_million(), 125_000);
}

#[test]
fn optional_and_repeated_members_are_read() {
    let mut members = unsigned(7, 1);
    let parent = |at: u8| RecordDigest([at; 32]);
    let parents: Vec<String> = (0..64).map(|at| format!("\"{}\"", parent(at))).collect();
    let parents = format!("[{}]", parents.join(","));
    edit(&mut members, "payload.data.parents", Some(json(&parents)));
    let rationale = format!("\"{}\"", parent(9));
    edit(&mut members, "payload.data.rationale_commitment", Some(json(&rationale)));
    edit(&mut members, "payload.data.operations", Some(json("[]")));
    let all = r#"["tool","network","shell","edit","write","read","infer"]"#;
    edit(&mut members, "payload.data.intent", Some(json(all)));
    let inference = read(&members);
    assert_eq!(inference.parents.len(), 64);
    assert_eq!(inference.parents[63], parent(63));
    assert_eq!(inference.rationale_commitment, Some([9; 32]));
    assert!(inference.operations.is_empty());
    assert_eq!(inference.intent.len(), 7);
    assert!(inference.intent.intersection(inference.operations).is_empty());
}

#[test]
fn every_choice_has_its_name() {
    let choices: [(&str, &[&str]); 7] = [
        ("tier", &["EDGE", "LOCAL", "POOL"]),
        ("model.evidence", &["configured_claim", "host_verified"]),
        ("finish_reason", &["stop", "length", "content_filter", "tool_call", "error"]),
        ("budget.tier", &["NANO", "MICRO", "MESO", "MACRO", "MEGA"]),
        (
            "operation",
            &[
                "chat",
                "generate_content",
                "text_completion",
                "embeddings",
                "execute_tool",
                "invoke_agent",
                "retrieval",
                "other",
            ],
        ),
        (
            "transition",
            &[
                "init",
                "activate",
                "compute",
                "validate",
                "commit",
                "suspend",
                "resume",
                "fail",
                "recover",
                "terminate",
                "branch",
                "merge",
                "rollback",
            ],
        ),
        ("model.name", &["a", "any name, 128 bytes at most"]),
    ];
    for (path, names) in choices {
        let mut seen = Vec::new();
        for name in names {
            let mut members = unsigned(7, 1);
            edit(&mut members, &format!("payload.data.{path}"), Some((*name).into()));
            let inference = read(&members);
            assert!(!seen.contains(&inference) || *name == names[0], "{path} {name}");
            seen.push(inference);
        }
        assert_eq!(seen.len(), names.len());
    }
}

#[test]
fn the_schema_is_closed() {
    let required = [
        "session_id",
        "transition",
        "parents",
        "model",
        "model.name",
        "model.digest",
        "model.evidence",
        "tier",
        "input_commitment",
        "output_commitment",
        "operation",
        "operations",
        "intent",
        "parameters_digest",
        "usage",
        "usage.input_tokens",
        "usage.output_tokens",
        "started_at",
        "finished_at",
        "finish_reason",
        "trace_id",
        "fate",
        "fate.f",
        "fate.a",
        "fate.t",
        "fate.e",
        "flags",
        "flags.personal_data",
        "flags.toxicity",
        "flags.violation",
        "budget",
        "budget.tier",
        "budget.depth",
        "budget.tracks",
        "budget.retries",
        "budget.entropy",
        "budget.knowledge_gap",
        "budget.mean_snr",
    ];
    for path in required {
        let path = format!("payload.data.{path}");
        let mut members = unsigned(7, 1);
        edit(&mut members, &path, None);
        let rejection = Unsigned::parse(&text(&members)).expect_err("a member is missing");
        assert_eq!(rejection.to_string(), format!("SCHEMA: `{path}` is missing"));
        edit(&mut members, &path, Some(json("null")));
        let rejection = Unsigned::parse(&text(&members)).expect_err("null is no value");
        assert_eq!(rejection.member, path);
    }
    for object in ["", "model.", "usage.", "fate.", "flags.", "budget."] {
        let path = format!("payload.data.{object}prompt");
        let mut members = unsigned(7, 1);
        edit(&mut members, &path, Some("tell me a secret".into()));
        let rejection = Unsigned::parse(&text(&members)).expect_err("an unknown member");
        assert_eq!(rejection.member, path);
        assert!(rejection.detail.starts_with("is an unknown member"), "{rejection}");
    }
}

#[test]
fn every_value_has_one_form() {
    let digest = format!("\"{}\"", "ab".repeat(32));
    let twice = format!("[{digest},{digest}]");
    let many: Vec<String> =
        (0..65).map(|at: u8| format!("\"{}\"", RecordDigest([at; 32]))).collect();
    let many = format!("[{}]", many.join(","));
    let long = format!("\"{}\"", "n".repeat(129));
    for (path, value, member, detail) in [
        ("session_id", "\"x\"", "session_id", "must be a UUID"),
        ("transition", "\"jump\"", "transition", "must be \"init\" or"),
        ("parents", "{}", "parents", "must be an array"),
        ("parents", "[\"ab\"]", "parents[0]", "must be 64 lower-case hex digits"),
        ("parents", twice.as_str(), "parents[1]", "stands twice among the parents"),
        ("parents", many.as_str(), "parents", "must have at most 64 items, but has 65"),
        ("model.name", long.as_str(), "model.name", "at most 128 bytes, but has 129"),
        ("model.name", "\"\"", "model.name", "a string that is not empty"),
        ("operations", "[\"read\",\"read\"]", "operations[1]", "stands twice in the set"),
        ("operations", "[\"delete\"]", "operations[0]", "must be \"infer\" or"),
        ("intent", "\"read\"", "intent", "must be an array"),
        ("usage.input_tokens", "-1", "usage.input_tokens", "must be an integer from 0"),
        ("usage.output_tokens", "1.5", "usage.output_tokens", "must be an integer from 0"),
        ("trace_id", "\"0011\"", "trace_id", "must be 32 lower-case hex digits"),
        ("started_at", "0", "started_at", "must be a string"),
        ("fate.f", "2", "fate.f", "must be a number from 0 to 1"),
        ("flags.toxicity", "0", "flags.toxicity", "must be true or false"),
        ("budget.entropy", "\"0\"", "budget.entropy", "must be a number from 0 to 1"),
        ("budget.depth", "0.5", "budget.depth", "must be an integer from 0"),
    ] {
        let mut members = unsigned(7, 1);
        edit(&mut members, &format!("payload.data.{path}"), Some(json(value)));
        let rejection = Unsigned::parse(&text(&members)).expect_err(detail);
        assert_eq!(rejection.member, format!("payload.data.{member}"));
        assert!(rejection.detail.contains(detail), "{rejection} lacks {detail}");
    }
}

#[test]
fn a_commitment_is_a_keyed_hash() {
    let salt = [3; 32];
    let mut hasher = blake3::Hasher::new_keyed(&salt);
    hasher.update(b"a short prompt");
    assert_eq!(commitment(&salt, b"a short prompt"), *hasher.finalize().as_bytes());
    assert_ne!(commitment(&salt, b"a short prompt"), commitment(&[4; 32], b"a short prompt"));
}
