use super::*;
use crate::testing::{edit, json, unsigned, with_signature};
use bizra_types::json::Value as Json;
use std::path::{Path, PathBuf};

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/opa")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("the file can be read")
}

/// A policy whose rule `allow` has this body.
fn with_body(body: &str) -> String {
    format!("package bizra.policy\n\ndefault allow := false\n\nallow if {{\n{body}\n}}\n")
}

/// A projection of an inference; `number` walks through all combinations of its small members.
fn inference(number: usize) -> Projection {
    let mut rest = number;
    let mut choose = |count: usize| {
        let choice = rest % count;
        rest /= count;
        choice
    };
    let operations = ["infer", "read", "write", "edit", "shell", "network", "tool"];
    let chosen: Vec<String> =
        operations.iter().filter(|_| choose(2) == 1).map(|name| format!("\"{name}\"")).collect();
    let kinds = [
        "chat",
        "generate_content",
        "text_completion",
        "embeddings",
        "execute_tool",
        "invoke_agent",
        "retrieval",
        "other",
    ];
    let mut members = unsigned(7, 1);
    for (path, value) in [
        ("payload.data.operations", format!("[{}]", chosen.join(","))),
        ("payload.data.operation", format!("\"{}\"", kinds[choose(8)])),
        ("payload.data.tier", format!("\"{}\"", ["EDGE", "LOCAL", "POOL"][choose(3)])),
        (
            "payload.data.model.evidence",
            format!("\"{}\"", ["configured_claim", "host_verified"][choose(2)]),
        ),
        ("payload.data.flags.personal_data", (choose(2) == 1).to_string()),
        ("payload.data.flags.toxicity", (choose(2) == 1).to_string()),
        ("payload.data.flags.violation", (choose(2) == 1).to_string()),
        ("payload.data.model.digest", format!("\"{}\"", ["ab", "cd"][choose(2)].repeat(32))),
        ("sender.agent_type", format!("\"{}\"", ["PAT", "SAT"][choose(2)])),
    ] {
        edit(&mut members, path, Some(json(&value)));
    }
    let bytes = with_signature(&members, 0);
    Projection::of(&Envelope::parse_canonical(&bytes).expect("the form is right"))
}

/// Projections of the other actions.
fn others() -> Vec<Projection> {
    let actions = [
        "session/close",
        "market/join",
        "market/issue",
        "market/buy",
        "market/assess",
        "market/pay",
        "market/release",
        "identity/register",
        "identity/rotate",
        "identity/revoke",
        "governance/propose",
        "governance/vote",
        "release/attest",
        "pattern/propagate",
        "pattern/elevate",
    ];
    let of = |action| {
        [AgentType::Pat, AgentType::Sat].map(|agent_type| Projection::of_action(action, agent_type))
    };
    actions.into_iter().flat_map(of).collect()
}

#[test]
fn the_projection_is_closed_and_says_nothing_else() {
    assert_eq!(
        inference(0b000_0011).to_json(),
        format!(
            r#"{{"action":"inference/commit","agent_type":"PAT","operation":"chat","operations":["infer","read"],"tier":"EDGE","model":{{"digest":"{}","evidence":"configured_claim"}},"flags":{{"personal_data":false,"toxicity":false,"violation":false}}}}"#,
            "ab".repeat(32)
        )
    );
    assert_eq!(others()[1].to_json(), r#"{"action":"session/close","agent_type":"SAT"}"#);
    // Strict JSON for every value of every member, and each combination another text.
    let texts: std::collections::BTreeSet<String> =
        (0..49_152).step_by(5).map(|number| inference(number).to_json()).collect();
    assert_eq!(texts.len(), 9_831);
    for text in texts.iter().chain(&others().iter().map(Projection::to_json).collect::<Vec<_>>()) {
        let Json::Object(members) = json(text) else { panic!("{text} is no object") };
        assert!(matches!(members.len(), 2 | 7), "{text}");
    }
    // Nothing but these members tells two records apart.
    let mut other = unsigned(8, 2);
    edit(&mut other, "payload.data.operations", Some(json("[\"read\",\"infer\"]")));
    let envelope = Envelope::parse(&with_signature(&other, 0)).expect("the form is right").0;
    let same = inference(0b000_0011 + (1 << 7) * 24);
    assert_eq!(Projection::of(&envelope), same);
}

#[test]
fn a_record_names_a_policy_in_force_that_allows_it() {
    let strict = with_body("\tinput.tier == \"POOL\"");
    let broken = "package bizra.policy\nallow := 1 + 1\n";
    let mut policies = Policies::new([DEFAULT_POLICY, strict.as_str(), broken]);
    let errors: Vec<PolicyHash> = policies.errors().map(|error| error.hash).collect();
    assert_eq!(errors, [PolicyHash::of(broken)]);
    let mut check = |hash: PolicyHash| {
        let mut members = unsigned(7, 1);
        edit(&mut members, "payload.policy_hash", Some(hash.to_string().as_str().into()));
        let bytes = with_signature(&members, 0);
        let envelope = Envelope::parse_canonical(&bytes).expect("the form is right");
        policies.check(&envelope).map_err(|rejection| {
            assert_eq!(rejection.code, Code::Policy);
            rejection.to_string()
        })
    };
    assert_eq!(check(PolicyHash::of(DEFAULT_POLICY)), Ok(()));
    for (hash, sentence) in [
        (PolicyHash([0xab; 32]), "must name a policy in force, but names another"),
        (PolicyHash::of(&strict), "names a policy that does not allow the record"),
        (PolicyHash::of(broken), "names a policy that cannot decide on the record"),
    ] {
        let expected = format!("POLICY: `payload.policy_hash` {sentence}, {hash}");
        // The second time it is remembered.
        assert_eq!(check(hash), Err(expected.clone()));
        assert_eq!(check(hash), Err(expected));
    }
}

#[test]
fn what_is_remembered_is_what_is_decided() {
    let mut policies = Policies::new([DEFAULT_POLICY]);
    let policy = Policy::compile(DEFAULT_POLICY).expect("a policy");
    for round in 0..2 {
        for number in (0..49_152).step_by(997) {
            let projection = inference(number);
            let remembered = policies.memo.get(&(policy.hash(), projection)).copied();
            assert_eq!(remembered.is_some(), round == 1);
            let decision = policies.decide(policy.hash(), projection);
            assert_eq!(decision, Some(policy.decide(&projection)));
        }
    }
    assert_eq!(policies.decide(PolicyHash([0; 32]), others()[0]), None);
    // A full memory is emptied, and decides as before.
    let mut digest = [0_u8; 32];
    for number in 0..MEMO_MAX {
        digest[..8].copy_from_slice(&(number as u64).to_le_bytes());
        policies.memo.insert((PolicyHash(digest), others()[0]), Decision::Denied);
        if policies.memo.len() >= MEMO_MAX {
            break;
        }
    }
    let decision = policies.decide(policy.hash(), others()[0]);
    assert_eq!((decision, policies.memo.len()), (Some(Decision::Allowed), 1));
}

#[test]
fn what_takes_too_long_is_undecided() {
    let digits = r#"["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]"#;
    let looping = |depth: usize| {
        let loops: String = (0..depth).map(|at| format!("\tsome v{at} in {digits}\n")).collect();
        with_body(&format!("{loops}\tv0 == \"none\""))
    };
    let decide = |depth: usize| {
        let policy = Policy::compile(&looping(depth)).expect("a policy");
        policy.decide(&others()[0])
    };
    assert_eq!(decide(2), Decision::Denied);
    for depth in [5, 6, 12] {
        assert_eq!(decide(depth), Decision::Undecided, "{depth} loops");
    }
    // Rules that need each other do so to a bounded depth, and never in a circle.
    let chain: String = (1..RULES - 1).map(|at| format!("r{at} if r{}\n", at + 1)).collect();
    let chain =
        with_body("\tr1") + &chain + &format!("r{} if input.agent_type == \"PAT\"\n", RULES - 1);
    let policy = Policy::compile(&chain).expect_err("one rule too many");
    assert!(policy.detail.contains("more than 64 rules"), "{policy}");
    let shorter = chain.replace("r1 if r2\n", "").replace("\tr1", "\tr2");
    let policy = Policy::compile(&shorter).expect("a policy");
    assert_eq!(policy.decide(&others()[0]), Decision::Allowed);
    for circle in ["r1 if r1\n", "r1 if r2\nr2 if r1\n", "r1 if { not r2 }\nr2 if { not r1 }\n"] {
        let error = Policy::compile(&(with_body("\tr1") + circle)).expect_err("a circle");
        assert!(error.detail.contains("a circle of rules, among allow, r1"), "{error}");
    }
    let error = Policy::compile(&with_body("\tallow")).expect_err("itself");
    assert!(error.detail.contains("a circle of rules, among allow"), "{error}");
}

/// With `allow` and its default, one more than there may be.
const RULES: usize = subset::RULES_MAX;

#[test]
fn only_true_allows_and_contradictions_do_not() {
    let text = "package bizra.policy\n\nallow := true if input.action == \"market/join\"\n\n\
                allow := false if input.agent_type == \"PAT\"\n";
    let policy = Policy::compile(text).expect("a policy");
    let decisions: Vec<Decision> = others()[..4].iter().map(|it| policy.decide(it)).collect();
    use Decision::{Allowed, Denied};
    assert_eq!(decisions, [Denied, Denied, Denied, Allowed]);
    for value in ["\"true\"", "1", "[true]"] {
        let text = format!("package bizra.policy\n\nallow := {value}\n");
        assert_eq!(Policy::compile(&text).expect("a policy").decide(&others()[0]), Denied);
    }
}

#[test]
fn only_the_subset_is_a_policy() {
    for body in [
        "\tinput.action == \"a\"",
        "\tinput.action != \"a\"\n\tnot input.flags.violation",
        "\tsome x in input.operations\n\tx in {\"read\", \"infer\"}",
        "\tevery x in input.operations { x == \"infer\" }",
        "\tx := input.operations\n\tcount(x) <= 3\n\tx[0] == \"infer\"",
        "\tinput.operations[_] == \"shell\"",
        "\tstartswith(input.model.digest, \"ab\")\n\tcontains(input.action, \"/\")",
    ] {
        Policy::compile(&with_body(body)).expect(body);
    }
    for (body, detail) in [
        ("\ttime.now_ns() > 0", "a call of `time.now_ns`"),
        ("\trand.intn(\"a\", 3) == 1", "a call of `rand.intn`"),
        ("\thttp.send({\"url\": \"a\"})", "a call of `http.send`"),
        ("\tregex.match(\"a\", input.action)", "a call of `regex.match`"),
        ("\tsprintf(\"a\", []) == \"a\"", "a call of `sprintf`"),
        ("\tconcat(\"\", [\"a\"]) == \"a\"", "a call of `concat`"),
        ("\tnumbers.range(1, 100000)[_] == 3", "a call of `numbers.range`"),
        ("\ttrace(\"a\")", "a call of `trace`"),
        ("\t1 + 1 == 2", "'+'"),
        ("\t3 * 3 == 9", "'*'"),
        ("\tx := -1", "'-'"),
        ("\t1.5 > 1", "no natural number"),
        ("\t1e3 > 1", "no natural number"),
        ("\t9007199254740993 > 1", "no natural number"),
        ("\tcount([x | x := 1]) == 1", "'|'"),
        ("\tx := [input, input]", "a constant is wanted"),
        ("\tx := {input.action}", "a constant is wanted"),
        ("\tx := {\"a\": 1}", "expression of the kind Object"),
        ("\t[x, y] = [1, 2]", "a name is wanted"),
        ("\tsome x\n\tinput.operations[x]", "a statement of the kind SomeVars"),
        ("\tsome x, y in input.operations", "a loop over keys"),
        ("\tinput.action == \"a\" with input as 1", "`with`"),
        ("\tdata.bizra.policy.allow", "`data`"),
        ("\tdata[\"a\"]", "`data`"),
        ("\tx := data", "`data`"),
        ("\tnull", "expression of the kind Null"),
        ("\tinput.action == `a`", "'`'"),
        ("\tinput.action == \"a", "does not end"),
        ("\tinput.action == \u{201c}a\u{201d}", "not allowed in a policy"),
        ("\tinput.action == \"a\" # the end\u{0}", "the character \\u{0}"),
        ("\tinput.action == \"a\" # the end\r", "the character \\u{d}"),
        ("\tinput.action == \"a\u{85}\"", "the character \\u{85}"),
        ("\tinput.action == \"a\" # \u{202e}", "the character \\u{202e}"),
    ] {
        let error = Policy::compile(&with_body(body)).expect_err(body);
        assert!(error.detail.contains(detail), "{body}: {error}");
    }
    for (text, detail) in [
        ("package other\n\nallow := true\n", "another package"),
        ("package bizra.policy\n\nimport data.x\n\nallow := true\n", "an import"),
        ("package bizra.policy\n\nallow := input.action\n", "a constant is wanted"),
        ("package bizra.policy\n\nallow contains input if true\n", "a constant is wanted"),
        ("package bizra.policy\n\nf(x) := 1 if x == 1\n\nallow := true\n", "a function"),
        ("package bizra.policy\n\na.b := 1\n\nallow := true\n", "a name is wanted"),
        ("package bizra.policy\n\na[\"b\"] := 1\n\nallow := true\n", "a name is wanted"),
        ("package bizra.policy\n\nother := true\n", ""),
        ("", ""),
        ("allow := true", ""),
    ] {
        let error = Policy::compile(text).expect_err(text);
        assert!(error.detail.contains(detail), "{text}: {error}");
    }
}

/// What makes recursive readers run out of stack is refused before one sees it.
#[test]
fn deep_texts_are_refused_and_harm_nobody() {
    for (open, close) in [("[", "]"), ("(", ")"), ("{", "}"), ("{\n", "}\n"), ("a[", "]")] {
        let deep = with_body(&(open.repeat(2_000) + &close.repeat(2_000)));
        let error = Policy::compile(&deep).expect_err("too deep");
        assert!(error.detail.contains("nests more than 8 brackets"), "{error}");
    }
    for part in [
        "a.",
        "a ==",
        "a == \n",
        "a in ",
        "in\n",
        "not ",
        "not\n",
        "a[0]",
        "{1} == ",
        "x :=",
        "a\n.",
        "(1) == \n\n",
        "every x in ",
        "f(1).",
        "a\n==",
    ] {
        let long = with_body(&format!("a == {}1", part.repeat(1_000)));
        let error = Policy::compile(&long).expect_err("too long");
        let expected = ["a statement of more than", "where 16384 are allowed"];
        assert!(expected.iter().any(|it| error.detail.contains(it)), "{part:?}: {error}");
    }
    // What repeats at one depth is long and not deep.
    let many = with_body(&format!("\tinput.action in {{{}}}", "\"a\",\n".repeat(2_000)));
    Policy::compile(&many).expect("a policy");
    Policy::compile(&with_body(&"\ttrue\n".repeat(50))).expect("a policy");
    for text in ["}", ")", "allow := true\n]"] {
        let error = Policy::compile(text).expect_err("not balanced");
        assert!(error.detail.contains("closes a bracket that is not open"), "{error}");
    }
    let large = with_body(&"\ttrue\n".repeat(3_000));
    let error = Policy::compile(&large).expect_err("too large");
    assert!(error.detail.contains("where 16384 are allowed"), "{error}");
}

/// The engine keys some of its maps by addresses, which differ from run to run. What it
/// compiles must not.
#[test]
fn a_policy_compiles_to_one_program() {
    let first = Policy::compile(DEFAULT_POLICY).expect("a policy").program;
    let mut heap = Vec::new();
    for round in 0..40_usize {
        heap.push(vec![round; 1 + round * 37 % 101]);
        let again = Policy::compile(DEFAULT_POLICY).expect("a policy").program;
        assert_eq!(format!("{:?}", again.instructions), format!("{:?}", first.instructions));
        assert_eq!(again.literals, first.literals);
        if round % 3 == 0 {
            heap.swap_remove(0);
        }
    }
}

/// The files of `configs/opa` with their own tests, in the engine's other evaluator.
#[test]
fn the_tests_in_rego_pass() {
    for (name, count) in [("policies", 13), ("host", 7)] {
        let mut engine = Engine::new();
        for name in [name.to_owned(), format!("{name}_test")] {
            let path = configs().join(format!("{name}.rego"));
            engine.add_policy(name, read(&path)).expect("Rego");
        }
        let package = if name == "host" { "host" } else { "policy" };
        let rules = format!("data.bizra.{package}_test");
        let text = read(&configs().join(format!("{name}_test.rego")));
        let tests: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("test_"))
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(tests.len(), count, "tests of {name}");
        for test in tests {
            let value = engine.eval_rule(format!("{rules}.{test}")).expect(test);
            assert_eq!(value, Value::Bool(true), "{test}");
        }
    }
}

/// `clients/vectors/policy.json`: what these policies decide, for a second engine to compare
/// (`scripts/cross-check-policy.py`). `UPDATE_DOCS=1 cargo test -p bizra-ledger` writes it anew.
#[test]
fn the_decisions_are_written_down() {
    let policies = [
        DEFAULT_POLICY.to_owned(),
        with_body("\tinput.operations[_] == \"shell\"\n\tinput.tier < \"LOCAL\""),
        with_body("\tevery x in input.operations { x in {\"infer\", \"read\"} }"),
        with_body("\tcount(input.operations) > 2\n\tnot input.flags.toxicity"),
        with_body("\tsome x in input.operations\n\tsome y in input.operations\n\tx > y"),
        with_body("\tstartswith(input.action, \"market/\")\n\tendswith(input.action, \"e\")"),
        with_body(
            "\tx := input.model.digest\n\tcontains(x, \"bab\")\n\tinput.operations[1] != \"read\"",
        ),
        "package bizra.policy\n\nallow := false if input.flags.violation\n\nelse := true if \
         input.agent_type == \"PAT\"\n"
            .to_owned(),
    ];
    let mut lines = Vec::new();
    for (at, text) in policies.iter().enumerate() {
        let policy = Policy::compile(text).expect(text);
        let inferences = (at..98_304).step_by(1_013).map(inference);
        let cases: Vec<String> = inferences
            .chain(others())
            .map(|projection| {
                let decision = policy.decide(&projection);
                assert_ne!(decision, Decision::Undecided, "{text} {}", projection.to_json());
                let is_allowed = decision == Decision::Allowed;
                format!("    {{\"allow\": {is_allowed}, \"input\": {}}}", projection.to_json())
            })
            .collect();
        let allowed = cases.iter().filter(|case| case.contains("\"allow\": true")).count();
        assert!(0 < allowed && allowed < cases.len(), "{text} decides nothing");
        let policy = serde_json::to_string(text).expect("a string");
        let cases = cases.join(",\n");
        lines.push(format!("  {{\"policy\": {policy}, \"cases\": [\n{cases}\n  ]}}"));
    }
    let page = format!("[\n{}\n]\n", lines.join(",\n"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/vectors/policy.json");
    #[expect(clippy::disallowed_methods, reason = "a test may be told to write its vectors")]
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).expect("the vectors can be written");
    }
    assert!(read(&path) == page, "UPDATE_DOCS=1 writes {} anew", path.display());
}

#[test]
fn policies_may_go_to_the_thread_that_asks_them() {
    const fn check_sent<T: Send>() {}
    const { check_sent::<Policies>() };
}
