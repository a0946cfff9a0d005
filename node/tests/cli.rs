//! The program as its users see it: what it prints, and its exit code.

use std::path::Path;
use std::process::{Command, Output};

fn bizra(arguments: &[&str]) -> Output {
    bizra_with(arguments, &[])
}

fn bizra_with(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bizra"))
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .expect("the program starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("the program exits")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// One chain of the vectors that the light client is tested with.
fn vector_chain() -> serde_json::Value {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../light-client/tests/vectors/proofs.json");
    let text = std::fs::read_to_string(file).expect("the vectors are there");
    let vectors: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    vectors["chains"][0].clone()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex"))
        .collect()
}

#[test]
fn misspelt_verbs_and_flags_are_wrong_use_and_name_the_right_one() {
    for (arguments, right) in [
        (&["laod"][..], "load"),
        (&["testnet", "int"], "init"),
        (&["load", "--rate", "1", "--duraton", "1"], "--duration"),
        (&["proof", "verify", "x", "--gneesis", "y"], "--genesis"),
        (&["run", "--api-lisetn", "x"], "--api-listen"),
        (&["submit", "x", "--wait", "finale"], "final"),
        (&["patterns", "elevat"], "elevate"),
    ] {
        let output = bizra(arguments);
        let said = text(&output.stderr);
        assert_eq!(code(&output), 2, "{arguments:?}: {said}");
        assert!(said.contains(&format!("'{right}'")), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_node_does_not_start_on_a_misspelt_key_or_variable() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "\ndata_dri = \"x\"\n").expect("written");
    let output = bizra_with(
        &["run", "--config", path(&file), "--log-format", "xml"],
        &[("BIZRA_API_LISTNE", "127.0.0.1:1")],
    );
    let said = text(&output.stderr);
    assert_eq!(code(&output), 2, "{said}");
    for complaint in [
        "config.toml:2: unknown key data_dri; did you mean data_dir?",
        "BIZRA_API_LISTNE; did you mean BIZRA_API_LISTEN?",
        "--log-format: log.format must be \"text\" or \"json\", not \"xml\"",
    ] {
        assert!(said.contains(complaint), "{complaint:?} is not in {said}");
    }
}

#[test]
fn a_broken_genesis_file_is_told_once_and_not_because_of_a_scripts_variable() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = folder.path().join("net");
    let output = bizra(&["testnet", "init", "--validators", "1", "--dir", path(&net)]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let genesis = net.join("genesis.json");
    let whole = std::fs::read(&genesis).expect("a genesis file");
    std::fs::write(&genesis, &whole[..1000]).expect("written");
    let config = net.join("node-0/config.toml");
    let arguments = ["run", "--config", path(&config), "--log-level", "off"];
    let output = bizra_with(&arguments, &[("BIZRA_BIN", "x"), ("BIZRA_P2P_BIN", "x")]);
    let said = text(&output.stderr);
    assert_eq!(code(&output), 1, "{said}");
    assert!(said.contains("genesis.json: genesis file: at byte 1000: "), "{said}");
    assert_eq!(said.matches("at byte").count(), 1, "{said}");
}

#[test]
fn config_check_tells_true_from_false() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = folder.path().join("net");
    let output = bizra(&["testnet", "init", "--validators", "1", "--dir", path(&net), "--json"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let config = net.join("node-0/config.toml");

    let output = bizra(&["config", "check", "--config", path(&config), "--json"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stdout));
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(facts["valid"], true);
    assert_eq!(facts["effective"]["api.listen"], "127.0.0.1:7002");
    assert_eq!(facts["effective"]["log.level"], "info");

    std::fs::write(net.join("peers.json"), "{\"bootnodes\": [\"x\"]}").expect("written");
    let output = bizra(&["config", "check", "--config", path(&config), "--json"]);
    assert_eq!(code(&output), 1);
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(facts["valid"], false);
    assert_eq!(facts["problems"].as_array().expect("a list").len(), 1, "{facts}");
}

#[test]
fn a_proof_verifies_in_both_forms_and_a_changed_one_does_not() {
    let chain = vector_chain();
    let folder = tempfile::tempdir().expect("a folder");
    let (genesis, file) = (folder.path().join("genesis.json"), folder.path().join("proof"));
    std::fs::write(&genesis, chain["genesis"].as_str().expect("text")).expect("written");
    let verify = |proof: &[u8]| {
        std::fs::write(&file, proof).expect("written");
        let output =
            bizra(&["proof", "verify", path(&file), "--genesis", path(&genesis), "--json"]);
        let facts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        (code(&output), facts)
    };

    let accepted = &chain["accepted"][0];
    let cbor = unhex(accepted["cbor"].as_str().expect("hex"));
    let json = accepted["json"].as_str().expect("text");
    for proof in [&cbor[..], json.as_bytes()] {
        let (code, facts) = verify(proof);
        assert_eq!((code, &facts["verified"]), (0, &true.into()), "{facts}");
        assert_eq!(facts["digest"], accepted["digest"]);
        assert_eq!(facts["chain_id"], chain["chain_id"]);
    }

    let rejected = &chain["rejected"][0];
    let (code, facts) = verify(&unhex(rejected["cbor"].as_str().expect("hex")));
    assert_eq!((code, &facts["verified"]), (1, &false.into()), "{facts}");
    assert_eq!(facts["reason"], rejected["error"]);

    let mut changed = cbor;
    *changed.last_mut().expect("not empty") ^= 1;
    assert_eq!(verify(&changed).0, 1);
}

#[test]
fn a_proof_that_cannot_be_read_is_not_verified() {
    let output = bizra(&["proof", "verify", "/nonexistent", "--genesis", "/nonexistent"]);
    assert_eq!(code(&output), 1);
    assert!(text(&output.stderr).contains("/nonexistent"));
}

#[test]
fn what_is_no_export_is_refused_and_says_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let (net, file) = (folder.path().join("net"), folder.path().join("chain.export"));
    let output = bizra(&["testnet", "init", "--validators", "1", "--dir", path(&net)]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let genesis = net.join("genesis.json");
    let replay = |more: &[&str]| {
        let arguments = ["audit", "replay", path(&file), "--genesis", path(&genesis)];
        bizra(&[&arguments[..], more].concat())
    };
    let output = replay(&[]);
    assert_eq!(code(&output), 1);
    assert!(text(&output.stderr).contains("chain.export"), "{}", text(&output.stderr));

    std::fs::write(&file, "not an export at all").expect("written");
    let output = replay(&["--json"]);
    assert_eq!(code(&output), 1);
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&facts["replayed"], &facts["frame"]), (&false.into(), &0.into()), "{facts}");
    let reason = facts["reason"].as_str().expect("text");
    assert!(reason.starts_with("the head of the file, block 0 "), "{reason}");
    assert!(reason.ends_with(": is not the beginning of an export"), "{reason}");
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    let output = replay(&[]);
    assert_eq!(text(&output.stdout).trim_end(), format!("not as it should be: {reason}"));
    assert_eq!(code(&bizra(&["audit", "replay", path(&file)])), 2);
    assert_eq!(code(&bizra(&["audit", "export", "--out", path(&file), "--to", "0"])), 2);
}

#[test]
fn a_vote_for_a_pattern_needs_a_pattern_and_the_key_of_a_validator() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sender.key");
    bizra_keys::SenderKey::generate().write_new(&file).expect("written");
    for (pattern, expected, complaint) in [
        ("sape_1", 2, "a pattern is the digest of an offer"),
        ("sape_0123456789abcdef", 1, "sender"),
    ] {
        let output = bizra(&["patterns", "elevate", pattern, "--key", path(&file)]);
        let said = text(&output.stderr);
        assert_eq!(code(&output), expected, "{said}");
        assert!(said.contains(complaint), "{complaint:?} is not in {said}");
    }
    let output = bizra(&["patterns", "--domain", "x", "elevate", "sape_0123456789abcdef"]);
    assert_eq!(code(&output), 2, "{}", text(&output.stderr));
}

#[test]
fn completions_know_the_verbs() {
    for shell in ["bash", "zsh", "fish"] {
        let output = bizra(&["completions", shell]);
        assert_eq!(code(&output), 0);
        assert!(text(&output.stdout).contains("testnet"), "{shell}");
    }
}
