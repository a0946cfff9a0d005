//! The binary as people and scripts use it.

use bizra_keys::{KemKey, Key, KeyKind};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

struct Answer {
    code: i32,
    out: String,
    err: String,
}

impl Answer {
    #[track_caller]
    fn good(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "stdout: {}", self.out);
        self.out
    }

    #[track_caller]
    fn json(self) -> Value {
        serde_json::from_str(&self.good()).expect("the answer is JSON")
    }

    /// Checks exit code and reason, and that nothing was printed as a result.
    #[track_caller]
    fn fails(self, code: i32, reason: &str) {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "stderr: {}", self.err);
        assert!(self.err.contains(reason), "no {reason:?} in: {}", self.err);
    }
}

/// Runs the binary in a folder; the arguments are split at spaces.
fn run(folder: &TempDir, arguments: &str) -> Answer {
    let output = Command::new(env!("CARGO_BIN_EXE_bizra-p2p"))
        .args(arguments.split_whitespace())
        .current_dir(folder.path())
        .output()
        .expect("the binary starts");
    Answer {
        code: output.status.code().expect("it is not killed"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).expect("the file is there").permissions().mode() & 0o7777
}

#[test]
fn keygen_writes_a_private_file_and_prints_the_public_part() {
    let folder = folder();
    for kind in KeyKind::ALL {
        let path = folder.path().join(kind.as_str());
        let out = run(&folder, &format!("keygen --out {kind} --kind {kind}")).good();
        let key = Key::load(&path).expect("a good key");
        assert_eq!(key.kind(), kind);
        assert_eq!(mode(&path), 0o600);
        assert_eq!(out, format!("kind: {kind}\npublic: {}\nfile: {kind}\n", key.public_text()));
    }
    run(&folder, "keygen --out default").good();
    let key = Key::load(folder.path().join("default")).expect("a good key");
    assert_eq!(key.kind(), KeyKind::Network);
}

#[test]
fn keygen_overwrites_nothing() {
    let folder = folder();
    run(&folder, "keygen --out key").good();
    let before = fs::read(folder.path().join("key")).expect("it is there");
    run(&folder, "keygen --out key").fails(1, "key: exists already and is not overwritten");
    assert_eq!(fs::read(folder.path().join("key")).expect("it is there"), before);
    run(&folder, "keygen --out no/key").fails(1, "no/key: cannot open its folder");
}

#[test]
fn peerid_and_multiaddr_are_those_of_the_key() {
    let folder = folder();
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let seed = bizra_types::hash::hex_array(seed).expect("hex");
    let key = Key::from_seed(KeyKind::Network, &seed);
    key.write_new(folder.path().join("key")).expect("it is written");
    let peer = "12D3KooWQK1wnefoLrcVHbbnf5tLzbopUd3K3bFAoJpA7YJgL5pV";
    assert_eq!(run(&folder, "peerid --key key").good(), format!("{peer}\n"));
    assert_eq!(run(&folder, "peerid --key key --json").json()["peer_id"], peer);

    let table = [
        ("--ip 203.0.113.20 --port 7010", "/ip4/203.0.113.20/tcp/7010"),
        ("--ip 203.0.113.20", "/ip4/203.0.113.20/tcp/7000"),
        ("--ip 2001:db8::1 --port 7000", "/ip6/2001:db8::1/tcp/7000"),
        ("--ip 127.0.0.1 --port 7001 --quic", "/ip4/127.0.0.1/udp/7001/quic-v1"),
    ];
    for (arguments, address) in table {
        let expected = format!("{address}/p2p/{peer}");
        let arguments = format!("multiaddr --key key {arguments}");
        assert_eq!(run(&folder, &arguments).good(), format!("{expected}\n"));
        assert_eq!(run(&folder, &format!("{arguments} --json")).json()["multiaddr"], *expected);
    }
}

#[test]
fn a_key_of_another_kind_has_no_peer_id() {
    let folder = folder();
    run(&folder, "keygen --out key --kind vrf").good();
    let reason = "key: expected a network key, found a vrf key";
    run(&folder, "peerid --key key").fails(1, reason);
    run(&folder, "multiaddr --key key --ip 127.0.0.1").fails(1, reason);
}

#[test]
fn inspect_checks_the_file_and_never_shows_the_secret() {
    let folder = folder();
    for kind in KeyKind::ALL {
        let made = run(&folder, &format!("keygen --out {kind} --kind {kind} --json"));
        let text = fs::read_to_string(folder.path().join(kind.as_str())).expect("text");
        let secret = text.lines().last().and_then(|line| line.strip_prefix("secret: "));
        let secret = secret.expect("the last line is the secret");
        assert!(!made.out.contains(secret));
        let (made, shown) = (made.json(), run(&folder, &format!("inspect {kind} --json")));
        assert!(!shown.out.contains(secret));
        assert_eq!(shown.json(), made);
        assert_eq!(made["kind"], kind.as_str());
        assert!(!run(&folder, &format!("inspect {kind}")).good().contains(secret));
    }
    let path = folder.path().join("kem");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("it is ours");
    run(&folder, "inspect kem").fails(1, "kem: mode is 0644");
    run(&folder, "inspect kem").fails(1, "run `chmod 600 kem`");
    fs::write(folder.path().join("vrf"), "bizra-key v1\nkind: vrf\n").expect("it is ours");
    run(&folder, "inspect vrf").fails(1, "vrf: line 3: expected `public: `");
    run(&folder, "inspect missing").fails(1, "missing: cannot open");
}

#[test]
fn a_sealed_file_opens_with_mode_0600_and_only_with_its_key() {
    let folder = folder();
    let public = run(&folder, "keygen --out kem --kind kem --json").json();
    let public = public["public"].as_str().expect("text").to_owned();
    run(&folder, "keygen --out other --kind kem").good();
    fs::write(folder.path().join("plain"), "a backup").expect("writable");

    let sealed = run(&folder, &format!("seal --to {public} --in plain --out sealed --json")).json();
    let bytes = fs::read(folder.path().join("sealed")).expect("it is there");
    assert_eq!(sealed["bytes"], bytes.len());
    let opened = run(&folder, "unseal --key kem --in sealed --out opened").good();
    assert_eq!(opened, "opened: 8 bytes\n");
    let path = folder.path().join("opened");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "a backup");
    assert_eq!(mode(&path), 0o600);

    run(&folder, "unseal --key other --in sealed --out no").fails(1, "sealed: sealed to the key");
    run(&folder, "unseal --key kem --in plain --out no").fails(1, "plain: not a sealed file");
    run(&folder, "unseal --key kem --in sealed --out opened").fails(1, "opened: exists already");
    run(&folder, &format!("seal --to {public} --in plain --out sealed"))
        .fails(1, "sealed: exists already");
    run(&folder, &format!("seal --to {public} --in missing --out no"))
        .fails(1, "missing: cannot read");
    run(&folder, "keygen --out network").good();
    run(&folder, "unseal --key network --in sealed --out no").fails(1, "expected a kem key");

    let mut changed = bytes;
    *changed.last_mut().expect("it is not empty") ^= 1;
    fs::write(folder.path().join("changed"), changed).expect("writable");
    run(&folder, "unseal --key kem --in changed --out no")
        .fails(1, "changed: changed since it was sealed");
    assert!(!folder.path().join("no").exists(), "a refusal writes nothing");
}

#[test]
fn rotate_prints_both_public_parts() {
    let folder = folder();
    let old = run(&folder, "keygen --out key --kind consensus --json").json();
    let old = old["public"].as_str().expect("text").to_owned();
    let facts = run(&folder, "rotate --key key --json").json();
    let retired = format!("key.retired-{}", &old[..8]);
    assert_eq!(facts["kind"], "consensus");
    assert_eq!(facts["old_public"], *old);
    assert_eq!(facts["retired"], *retired);
    let new = facts["new_public"].as_str().expect("text").to_owned();
    assert_eq!(run(&folder, "inspect key --json").json()["public"], *new);
    assert_eq!(run(&folder, &format!("inspect {retired} --json")).json()["public"], *old);

    let text = run(&folder, "rotate --key key").good();
    let newest = run(&folder, "inspect key --json").json();
    assert_eq!(
        text,
        format!(
            "kind: consensus\nold public: {new}\nnew public: {}\nretired: key.retired-{}\n",
            newest["public"].as_str().expect("text"),
            &new[..8]
        )
    );
    run(&folder, "rotate --key missing").fails(1, "missing: cannot open");
}

#[test]
fn wrong_use_ends_with_2_and_names_the_nearest_right_word() {
    let folder = folder();
    let kem = KemKey::from_seed(&[1; 32]).public().to_string();
    let table = [
        ("", "Usage"),
        ("keygn --out key", "'keygen'"),
        ("keygen --ouut key", "'--out'"),
        ("keygen --out key --kind consensu", "'consensus'"),
        ("keygen", "--out <FILE>"),
        ("peerid --kye key", "'--key'"),
        ("multiaddr --key key --pi 127.0.0.1", "'--ip'"),
        ("inspect key --secret", "unexpected argument '--secret'"),
        ("multiaddr --key key --ip 300.1.1.1", "invalid value '300.1.1.1'"),
        ("multiaddr --key key --ip 0.0.0.0", "peers cannot dial 0.0.0.0"),
        ("multiaddr --key key --ip :: --port 7000", "peers cannot dial ::"),
        ("multiaddr --key key --ip 127.0.0.1 --port 0", "0 is not in 1..=65535"),
        ("multiaddr --key key --ip 127.0.0.1 --port 70000", "70000 is not in 1..=65535"),
        ("seal --to abcd --in a --out b", "expected 2432 lower-case hex digits"),
        (&format!("seal --to {} --in a --out b", kem.to_uppercase()), "not a KEM public key"),
    ];
    for (arguments, reason) in table {
        run(&folder, arguments).fails(2, reason);
    }
    assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
}

#[test]
fn help_and_version_end_with_0() {
    let folder = folder();
    for verb in ["keygen", "peerid", "multiaddr", "inspect", "seal", "unseal", "rotate"] {
        assert!(run(&folder, "--help").good().contains(&format!("\n  {verb} ")), "{verb}");
        run(&folder, &format!("{verb} --help")).good();
    }
    let version = run(&folder, "--version").good();
    assert_eq!(version, format!("bizra-p2p {}\n", env!("CARGO_PKG_VERSION")));
}
