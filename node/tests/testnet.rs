//! A network of real processes, from the files to a verified proof.

mod common;

use common::{bizra, init, path};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// A network that is stopped however the test ends.
struct Net {
    folder: tempfile::TempDir,
    up: Child,
}

impl Net {
    fn start(validators: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("net");
        init(&dir, validators);
        let mut up = Command::new(env!("CARGO_BIN_EXE_bizra"))
            .args(["testnet", "up", "--dir", path(&dir)])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let output = up.stdout.take().expect("it was piped");
        BufReader::new(output).read_line(&mut line).expect("readable");
        let net = Self { folder, up };
        assert_eq!(line, "ready\n");
        net
    }

    fn path(&self, name: &str) -> String {
        path(&self.folder.path().join("net").join(name)).to_owned()
    }

    fn kill(&self, node: u32) {
        let pid = std::fs::read_to_string(self.path(&format!("node-{node}/pid"))).expect("a pid");
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, Signal::KILL).expect("it runs");
    }

    fn status(&self) -> (bool, serde_json::Value) {
        let output = bizra(&["testnet", "status", "--dir", &self.path(""), "--json"]);
        let facts = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.success(), facts)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let down = bizra(&["testnet", "down", "--dir", &self.path("")]);
        let up = self.up.kill().and_then(|()| self.up.wait());
        if !std::thread::panicking() {
            assert!(down.status.success() && up.is_ok(), "{down:?} {up:?}");
        }
    }
}

/// An answer, read until the other side hangs up; none if there is none.
fn get(endpoint: &str, path: &str) -> Option<String> {
    let address = endpoint.strip_prefix("http://")?.trim_end_matches('/');
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn records_become_final_and_provable_and_one_death_of_four_loses_nothing() {
    let net = Net::start("4");
    let (all_ready, facts) = net.status();
    assert!(all_ready, "{facts}");
    let api = facts["nodes"][0]["api"].as_str().expect("text").to_owned();

    net.kill(3);
    let load =
        bizra(&["load", "--rate", "20", "--duration", "2", "--testnet", &net.path(""), "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&load.stdout).expect("JSON");
    assert!(load.status.success(), "{report}");
    assert_eq!((&report["sent"], &report["final"]), (&40.into(), &40.into()), "{report}");

    // Who says that it is ready has what the others had when it was started.
    let (_, facts) = net.status();
    let target = facts["nodes"][0]["status"]["height"].as_u64().expect("a number");
    let again = Command::new(env!("CARGO_BIN_EXE_bizra"))
        .args(["testnet", "up", "--dir", &net.path(""), "--node", "3"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let admin = facts["nodes"][3]["admin"].as_str().expect("text");
    while !get(admin, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
        std::thread::yield_now();
    }
    let status = get(admin, "/debug/consensus").expect("it is ready");
    let (_, body) = status.split_once("\r\n\r\n").expect("a body");
    let status: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert!(status["height"].as_u64() >= Some(target), "{target}: {status}");
    let again = again.wait_with_output().expect("it ends");
    assert!(again.status.success(), "{again:?}");
    assert_eq!(again.stdout, b"ready\n");
    let twice = bizra(&["testnet", "up", "--dir", &net.path(""), "--node", "3"]);
    assert_eq!(twice.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&twice.stderr).contains("node 3 runs already"));

    // A record of our own, signed and waited for, and its proof.
    let key = bizra_keys::SenderKey::generate();
    key.write_new(net.path("sender.key")).expect("written");
    let mut records = include_str!("../../configs/demo/records.ndjson").lines();
    let mut write_next = || {
        std::fs::write(net.path("unsigned"), records.next().expect("a record")).expect("written");
    };
    write_next();
    let (signed, proof) = (net.path("signed"), net.path("proof.cbor"));
    let sign = bizra(&[
        "record",
        "sign",
        &net.path("unsigned"),
        "--key",
        &net.path("sender.key"),
        "--out",
        &signed,
        "--endpoint",
        &api,
        "--json",
    ]);
    assert!(sign.status.success(), "{sign:?}");
    let facts: serde_json::Value = serde_json::from_slice(&sign.stdout).expect("JSON");
    let digest = facts["digest"].as_str().expect("text");
    let submit = bizra(&["submit", &signed, "--wait", "final", "--endpoint", &api]);
    assert!(submit.status.success(), "{submit:?}");
    let get = bizra(&["proof", "get", digest, "--endpoint", &api, "--out", &proof]);
    assert!(get.status.success(), "{get:?}");

    // One that waits for less is told of it: a certificate comes before finality.
    let mut ordered = 0;
    for number in 0..20 {
        let (unsigned, signed) = (net.path("unsigned"), net.path(&format!("signed-{number}")));
        let (key, endpoint) = (net.path("sender.key"), api.as_str());
        write_next();
        let sign = ["record", "sign", &unsigned, "--key", &key, "--out", &signed];
        assert!(bizra(&[&sign[..], &["--endpoint", endpoint]].concat()).status.success());
        let submit = bizra(&["submit", &signed, "--wait", "ordered", "--endpoint", endpoint]);
        assert!(submit.status.success(), "{submit:?}");
        ordered += usize::from(String::from_utf8_lossy(&submit.stdout).contains(" ordered "));
    }
    assert!(ordered > 0, "none of 20 was told of its certificate");

    let verify = |proof: &str| {
        bizra(&["proof", "verify", proof, "--genesis", &net.path("genesis.json")]).status.code()
    };
    assert_eq!(verify(&proof), Some(0));
    let mut bytes = std::fs::read(&proof).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&proof, bytes).expect("written");
    assert_eq!(verify(&proof), Some(1));

    // The whole chain, taken away and judged anew, and one with a bit flipped in its middle.
    let export = net.path("chain.export");
    let take = |more: &[&str]| {
        let arguments = ["audit", "export", "--endpoint", &api, "--out", &export, "--json"];
        bizra(&[&arguments[..], more].concat())
    };
    let judge = || {
        let genesis = net.path("genesis.json");
        let output = bizra(&["audit", "replay", &export, "--genesis", &genesis, "--json"]);
        let facts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.code(), facts)
    };
    let taken = take(&[]);
    assert!(taken.status.success(), "{taken:?}");
    let taken: serde_json::Value = serde_json::from_slice(&taken.stdout).expect("JSON");
    assert!(taken["height"].as_u64() >= Some(target) && taken["blocks"] == taken["height"]);
    let (code, facts) = judge();
    assert_eq!((code, &facts["replayed"]), (Some(0), &true.into()), "{facts}");
    for name in ["chain_id", "height", "block_id", "blocks", "records"] {
        assert_eq!(facts[name], taken[name], "{name}: {facts}");
    }
    // What was waited for until it was ordered may not be final yet.
    assert!(facts["log_size"].as_u64() >= Some(41), "{facts}");
    let mut bytes = std::fs::read(&export).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&export, bytes).expect("written");
    let (code, facts) = judge();
    assert_eq!((code, &facts["replayed"]), (Some(1), &false.into()), "{facts}");
    // What executing a block shows is shown by the last of its batches: not before the damage, and
    // not when all has been read.
    assert!(facts["blocks"].as_u64() < taken["blocks"].as_u64(), "{facts}");
    assert_eq!(take(&["--to", "1"]).status.code(), Some(0));
    assert_eq!(judge().0, Some(0));
    assert_eq!(take(&["--to", "1000000000"]).status.code(), Some(2));

    // A validator whose data folder was emptied forgot what it signed.
    net.kill(3);
    let data = net.path("node-3/data");
    std::fs::remove_dir_all(&data).and_then(|()| std::fs::create_dir(&data)).expect("emptied");
    let forgetful = bizra(&["testnet", "up", "--dir", &net.path(""), "--node", "3"]);
    let said = String::from_utf8_lossy(&forgetful.stderr);
    assert_eq!(forgetful.status.code(), Some(1), "{said}");
    assert!(said.contains("must not sign again"), "{said}");
}
