//! Key files and key folders: what is refused and why, and what survives.

use bizra_keys::file::write_new_file;
use bizra_keys::{
    ConsensusKey, KemKey, Key, KeyFileError, KeyKind, KeyRing, NetworkKey, RingError, VrfKey,
    rotate,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use tempfile::TempDir;

const SECRET: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").file_name().into_string().expect("ASCII"))
        .collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the file is there").permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the file is ours");
}

/// Writes a file of mode 0600 as an editor would, without the crate's help.
fn put(path: &Path, contents: impl AsRef<[u8]>) {
    fs::write(path, contents).expect("the folder is writable");
    set_mode(path, 0o600);
}

fn good_file() -> String {
    format!("bizra-key v1\nkind: consensus\npublic: {PUBLIC}\nsecret: {SECRET}\n")
}

fn error_of(path: &Path) -> String {
    let error = Key::load(path).expect_err("the file is refused").to_string();
    assert!(error.contains(&path.display().to_string()), "names no file: {error}");
    error
}

#[test]
fn a_key_file_is_exactly_four_lines() {
    let folder = folder();
    let path = folder.path().join("consensus.key");
    Key::from_seed(KeyKind::Consensus, &bizra_types::hash::hex_array(SECRET).expect("hex"))
        .write_new(&path)
        .expect("it is written");
    assert_eq!(fs::read_to_string(&path).expect("it is text"), good_file());
}

#[test]
fn every_kind_comes_back_from_its_file() {
    let folder = folder();
    for kind in KeyKind::ALL {
        let path = folder.path().join(kind.as_str());
        let key = Key::generate(kind);
        key.write_new(&path).expect("it is written");
        assert_eq!(mode(&path), 0o600);
        let loaded = Key::load(&path).expect("it is read");
        assert_eq!(loaded.kind(), kind);
        assert_eq!(loaded.public_text(), key.public_text());
    }
    let expected = KeyKind::ALL.map(|kind| kind.as_str().to_owned());
    assert_eq!(names(folder.path()), BTreeSet::from(expected), "nothing else is left behind");
}

#[test]
fn a_loaded_key_signs_as_the_written_one() {
    let folder = folder();
    let path = folder.path().join("key");
    let key = ConsensusKey::generate();
    key.write_new(&path).expect("it is written");
    let loaded = ConsensusKey::load(&path).expect("it is read");
    assert_eq!(loaded.sign(b"a vote"), key.sign(b"a vote"));
}

#[test]
fn any_access_for_group_or_others_is_refused() {
    let folder = folder();
    let path = folder.path().join("key");
    put(&path, good_file());
    for bit in 0..9 {
        set_mode(&path, 0o600 | 1 << bit);
        let open_to_others = bit < 6;
        assert_eq!(Key::load(&path).is_err(), open_to_others, "bit {bit}");
    }
    set_mode(&path, 0o640);
    assert_eq!(
        error_of(&path),
        format!(
            "{0}: mode is 0640 where only the owner may have access: run `chmod 600 {0}`",
            path.display()
        )
    );
    set_mode(&path, 0o400);
    Key::load(&path).expect("read-only is fine");
}

#[test]
fn malformed_files_are_refused_with_file_line_and_expectation() {
    let good = good_file();
    let [header, kind, public, secret]: [&str; 4] =
        good.lines().collect::<Vec<_>>().try_into().expect("four lines");
    let upper = SECRET.to_uppercase();
    let kind_line = "expected `kind: ` and the kind of key, found";
    let secret_line = "expected `secret: ` and 64 lower-case hex digits, found";
    #[rustfmt::skip]
    let table: &[(String, usize, &str)] = &[
        (String::new(), 1, "expected `bizra-key v1`, found the end of the file"),
        (header.to_owned(), 1, "expected `bizra-key v1` and a newline, found no newline at the end"),
        (format!("bizra-key v2\n{kind}\n{public}\n{secret}\n"), 1, "expected `bizra-key v1`, found a line of 12"),
        (format!("\u{feff}{good}"), 1, "expected `bizra-key v1`, found a line of 13"),
        (format!("\n{good}"), 1, "expected `bizra-key v1`, found a line of 0"),
        (good.replace('\n', "\r\n"), 1, "expected `bizra-key v1`, found a line of 13"),
        (format!("{header}\n"), 2, &format!("{kind_line} the end of the file")),
        (format!("{header}\n{public}\n{kind}\n{secret}\n"), 2, &format!("{kind_line} a `public:` line of 72")),
        (format!("{header}\nkind:consensus\n{public}\n{secret}\n"), 2, &format!("{kind_line} a `kind:` line of 14")),
        (format!("{header}\nkind: consensu\n{public}\n{secret}\n"), 2, "expected one of network, consensus, vrf, kem, sender after `kind: `, found `consensu`"),
        (format!("{header}\nkind: consensus \n{public}\n{secret}\n"), 2, "sender after `kind: `, found `consensus `"),
        (format!("{header}\nkind: {SECRET}\n{public}\n{secret}\n"), 2, "sender after `kind: `, found 64 other characters"),
        (format!("{header}\n{kind}\n{secret}\n{public}\n"), 3, "expected `public: ` and the public part, found a `secret:` line of 72"),
        (format!("{header}\n{kind}\npublic: \n{secret}\n"), 3, "expected the public part of the secret on line 4, which ends in f707511a, found one that ends in ; they part at character 1"),
        (format!("{header}\n{kind}\n{}\n{secret}\n", public.replace('d', "D")), 3, "which ends in f707511a, found one that ends in f707511a; they part at character 1"),
        (format!("{header}\n{kind}\n{}0\n{secret}\n", &public[..71]), 3, "which ends in f707511a, found one that ends in f7075110; they part at character 64"),
        (format!("{header}\nkind: network\n{public}\n{secret}\n"), 3, "which ends in 7YJgL5pV, found one that ends in f707511a; they part at character 1"),
        (format!("{header}\n{kind}\n{public}\n"), 4, &format!("{secret_line} the end of the file")),
        (format!("{header}\n{kind}\n{public}\n{secret}"), 4, "and a newline, found no newline at the end"),
        (format!("{header}\n{kind}\n{public}\nsecret: {}\n", &SECRET[1..]), 4, &format!("{secret_line} 63 characters")),
        (format!("{header}\n{kind}\n{public}\n{secret}0\n"), 4, &format!("{secret_line} 65 characters")),
        (format!("{header}\n{kind}\n{public}\nsecret: {upper}\n"), 4, &format!("{secret_line} 64 characters that are not all lower-case hex digits")),
        (format!("{header}\n{kind}\n{public}\n{secret} \n"), 4, &format!("{secret_line} 65 characters")),
        (format!("{good}\n"), 5, "expected the end of the file, found a line of 0"),
        (format!("{good}{secret}\n"), 5, "expected the end of the file, found a `secret:` line of 72"),
        (format!("{good}# a note"), 5, "expected the end of the file, found a line of 8"),
    ];
    let folder = folder();
    let path = folder.path().join("consensus.key");
    for (contents, line, expected) in table {
        put(&path, contents);
        let error = error_of(&path);
        let start = format!("{}: line {line}: ", path.display());
        assert!(error.starts_with(&start), "{contents:?}\ngives {error}");
        let rest = &error[start.len()..];
        assert!(rest.contains(expected.trim_end()), "{contents:?}\ngives {rest}\nnot {expected}");
        assert!(!error.contains(&SECRET[..8]), "{contents:?}\nleaks: {error}");
    }
    put(&path, &good);
    Key::load(&path).expect("the file that the table is made of is good");
}

#[test]
fn bytes_that_are_no_text_are_refused_on_their_line() {
    let folder = folder();
    let path = folder.path().join("key");
    put(&path, b"bizra-key v1\nkind: \xff\n");
    assert!(error_of(&path).ends_with("line 2: expected text, found a byte that is not UTF-8"));
}

#[test]
fn a_file_longer_than_any_key_is_refused() {
    let folder = folder();
    let path = folder.path().join("key");
    put(&path, good_file() + &"#".repeat(5000));
    assert!(matches!(Key::load(&path), Err(KeyFileError::TooLong { limit: 4096, .. })));
    assert!(error_of(&path).contains("4096 bytes"));
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let folder = folder();
    let pipe = folder.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe can be made");
    for path in [folder.path(), &pipe] {
        assert!(matches!(Key::load(path), Err(KeyFileError::NotAFile { .. })), "{path:?}");
        assert!(error_of(path).ends_with("expected a regular file"));
    }
    let missing = folder.path().join("missing.key");
    assert!(error_of(&missing).contains("cannot open"));
}

#[test]
fn another_kind_of_key_is_refused() {
    let folder = folder();
    let path = folder.path().join("key");
    VrfKey::generate().write_new(&path).expect("it is written");
    let error = NetworkKey::load(&path).expect_err("it is no network key").to_string();
    assert_eq!(error, format!("{}: expected a network key, found a vrf key", path.display()));
}

#[test]
fn nothing_is_overwritten() {
    let folder = folder();
    let file = folder.path().join("file");
    let dangling = folder.path().join("link");
    put(&file, "precious");
    symlink("nowhere", &dangling).expect("a link can be made");
    for path in [&file, &dangling] {
        let error = Key::generate(KeyKind::Kem).write_new(path).expect_err("it exists");
        assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()));
    }
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "precious");
    assert_eq!(names(folder.path()), BTreeSet::from(["file".to_owned(), "link".to_owned()]));
}

#[test]
fn a_write_that_fails_names_the_file() {
    let folder = folder();
    for name in ["missing/key", ".."] {
        let path = folder.path().join(name);
        let error = Key::generate(KeyKind::Network).write_new(&path).expect_err("it cannot be");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
    assert!(names(folder.path()).is_empty());
}

#[test]
fn of_many_writers_one_wins_and_the_file_is_whole() {
    let folder = folder();
    let path = folder.path().join("key");
    let barrier = Barrier::new(8);
    let winners: Vec<String> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let key = Key::generate(KeyKind::Consensus);
                    barrier.wait();
                    key.write_new(&path).is_ok().then(|| key.public_text())
                })
            })
            .collect();
        writers.into_iter().filter_map(|writer| writer.join().expect("no panic")).collect()
    });
    let kept = Key::load(&path).expect("the file is whole").public_text();
    assert_eq!(winners, [kept]);
    assert_eq!(names(folder.path()), BTreeSet::from(["key".to_owned()]));
}

#[test]
fn a_plain_write_has_the_mode_that_was_asked_for() {
    let folder = folder();
    let path = folder.path().join("data");
    write_new_file(&path, 0o600, b"plain").expect("it is written");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read(&path).expect("it is there"), b"plain");
}

#[test]
fn a_rotation_replaces_the_key_and_keeps_the_old_one() {
    let folder = folder();
    for kind in KeyKind::ALL {
        let path = folder.path().join(kind.as_str());
        let before = Key::generate(kind);
        before.write_new(&path).expect("it is written");
        let rotation = rotate(&path).expect("it rotates");
        assert_eq!(rotation.old.public_text(), before.public_text());
        assert_ne!(rotation.new.public_text(), before.public_text());
        assert_eq!(rotation.new.kind(), kind);
        assert_eq!(
            rotation.retired,
            PathBuf::from(format!("{}.retired-{}", path.display(), before.short_id()))
        );
        let now = Key::load(&path).expect("the new key is good");
        assert_eq!(now.public_text(), rotation.new.public_text());
        let kept = Key::load(&rotation.retired).expect("the old key is good");
        assert_eq!(kept.public_text(), before.public_text());
        assert_eq!((mode(&path), mode(&rotation.retired)), (0o600, 0o600));
    }
    assert_eq!(names(folder.path()).len(), 2 * KeyKind::ALL.len());
}

#[test]
fn a_retired_kem_key_still_opens_what_was_sealed_to_it() {
    let folder = folder();
    let path = folder.path().join("kem.key");
    let key = KemKey::generate();
    key.write_new(&path).expect("it is written");
    let sealed = bizra_keys::seal(key.public(), b"a backup").expect("it is short");
    let rotation = rotate(&path).expect("it rotates");
    KemKey::load(&path).expect("it is read").unseal(&sealed).expect_err("sealed to the old key");
    let old = KemKey::load(rotation.retired).expect("it is read");
    assert_eq!(*old.unseal(&sealed).expect("it opens"), b"a backup");
}

#[test]
fn a_rotation_that_was_cut_short_is_completed_by_the_next() {
    let folder = folder();
    let path = folder.path().join("key");
    let key = Key::generate(KeyKind::Consensus);
    key.write_new(&path).expect("it is written");
    let retired = folder.path().join(format!("key.retired-{}", key.short_id()));
    fs::hard_link(&path, &retired).expect("as the machine stopped after this step");
    let rotation = rotate(&path).expect("it goes on");
    assert_eq!(Key::load(&retired).expect("it is kept").public_text(), key.public_text());
    assert_eq!(Key::load(&path).expect("it is new").public_text(), rotation.new.public_text());
}

#[test]
fn a_rotation_never_overwrites_another_key_under_the_retired_name() {
    let folder = folder();
    let path = folder.path().join("key");
    let key = Key::generate(KeyKind::Consensus);
    key.write_new(&path).expect("it is written");
    let retired = folder.path().join(format!("key.retired-{}", key.short_id()));
    let stranger = Key::generate(KeyKind::Consensus);
    stranger.write_new(&retired).expect("it is written");
    let error = rotate(&path).expect_err("the name is taken");
    assert!(matches!(&error, KeyFileError::Exists { path } if *path == retired), "{error}");
    assert_eq!(Key::load(&path).expect("as before").public_text(), key.public_text());
    assert_eq!(Key::load(&retired).expect("as before").public_text(), stranger.public_text());
    assert_eq!(names(folder.path()).len(), 2);
}

#[test]
fn a_bad_key_is_not_rotated() {
    let folder = folder();
    let path = folder.path().join("key");
    put(&path, good_file());
    set_mode(&path, 0o644);
    let error = rotate(&path).expect_err("others can read it");
    assert!(matches!(error, KeyFileError::Permissions { mode: 0o644, .. }), "{error}");
    assert_eq!(names(folder.path()), BTreeSet::from(["key".to_owned()]));
}

#[test]
fn rotating_a_link_changes_the_file_behind_it() {
    let folder = folder();
    let target = folder.path().join("target");
    let link = folder.path().join("link");
    Key::generate(KeyKind::Sender).write_new(&target).expect("it is written");
    symlink("target", &link).expect("a link can be made");
    let rotation = rotate(&link).expect("it rotates");
    let behind = Key::load(&target).expect("it is read").public_text();
    assert_eq!(behind, rotation.new.public_text());
    assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
}

#[test]
fn rotations_at_once_lose_no_key() {
    let folder = folder();
    let path = folder.path().join("key");
    let first = Key::generate(KeyKind::Consensus);
    first.write_new(&path).expect("it is written");
    let barrier = Barrier::new(6);
    let mut reported: BTreeSet<String> = std::thread::scope(|scope| {
        let rotations: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    match rotate(&path) {
                        Ok(rotation) => Some(rotation.new.public_text()),
                        Err(KeyFileError::Busy { .. }) => None,
                        Err(error) => panic!("{error}"),
                    }
                })
            })
            .collect();
        rotations.into_iter().filter_map(|rotation| rotation.join().expect("no panic")).collect()
    });
    assert!(!reported.is_empty(), "one of them gets the lock");
    reported.insert(first.public_text());
    let on_disk: BTreeSet<String> = names(folder.path())
        .iter()
        .map(|name| Key::load(folder.path().join(name)).expect("a good key").public_text())
        .collect();
    assert_eq!(on_disk, reported);
}

#[test]
fn a_ring_is_made_once_and_comes_back() {
    let folder = folder();
    let keys = folder.path().join("node-0").join("keys");
    let made = KeyRing::create(&keys).expect("it is made");
    assert_eq!(mode(&keys), 0o700);
    let expected = ["network.key", "consensus.key", "vrf.key", "kem.key"].map(str::to_owned);
    assert_eq!(names(&keys), BTreeSet::from(expected));
    let publics = |ring: &KeyRing| {
        (
            ring.network.peer_id(),
            ring.consensus.public(),
            ring.vrf.public(),
            ring.kem.public().clone(),
        )
    };
    let loaded = KeyRing::load(&keys).expect("it is read");
    assert_eq!(publics(&loaded), publics(&made));

    let error = KeyRing::create(&keys).expect_err("it is there already").to_string();
    assert!(error.contains("network.key"), "{error}");
    assert_eq!(publics(&KeyRing::load(&keys).expect("untouched")), publics(&made));
}

#[test]
fn a_ring_that_cannot_be_completed_leaves_no_half() {
    let folder = folder();
    put(&folder.path().join("vrf.key"), "precious");
    let error = KeyRing::create(folder.path()).expect_err("a file is there").to_string();
    assert!(error.contains("vrf.key"), "{error}");
    assert_eq!(names(folder.path()), BTreeSet::from(["vrf.key".to_owned()]));
    assert_eq!(fs::read_to_string(folder.path().join("vrf.key")).expect("it is there"), "precious");
}

#[test]
fn a_ring_names_the_file_at_fault() {
    for name in ["network.key", "consensus.key", "vrf.key", "kem.key"] {
        let folder = folder();
        KeyRing::create(folder.path()).expect("it is made");
        let path = folder.path().join(name);
        set_mode(&path, 0o604);
        let error = KeyRing::load(folder.path()).expect_err("others can read it").to_string();
        assert!(error.starts_with(&format!("{}: mode is 0604", path.display())), "{error}");
        fs::remove_file(&path).expect("it is ours");
        let error = KeyRing::load(folder.path()).expect_err("it is missing").to_string();
        assert!(error.starts_with(&format!("{}: cannot open", path.display())), "{error}");
    }
}

#[test]
fn a_ring_has_a_second_consensus_key_while_the_first_is_replaced() {
    let folder = folder();
    let made = KeyRing::create(folder.path()).expect("it is made");
    let next = ConsensusKey::from_seed(&[6; 32]);
    assert!(made.consensus_of(&next.public()).is_none());
    next.write_new(folder.path().join("next-consensus.key")).expect("it is written");
    let ring = KeyRing::load(folder.path()).expect("it is read");
    let publics: Vec<_> = ring.consensus_keys().map(ConsensusKey::public).collect();
    assert_eq!(publics, [made.consensus.public(), next.public()]);
    for public in publics {
        assert_eq!(ring.consensus_of(&public).map(ConsensusKey::public), Some(public));
    }
    set_mode(&folder.path().join("next-consensus.key"), 0o640);
    KeyRing::load(folder.path()).expect_err("others can read it");
}

#[test]
fn a_ring_refuses_keys_in_each_others_place() {
    let folder = folder();
    KeyRing::create(folder.path()).expect("it is made");
    let path = folder.path().join("consensus.key");
    fs::copy(folder.path().join("network.key"), &path).expect("it is ours");
    let error = KeyRing::load(folder.path()).expect_err("it is a network key").to_string();
    assert_eq!(error, format!("{}: expected a consensus key, found a network key", path.display()));
}

#[test]
fn a_ring_refuses_one_secret_in_two_roles() {
    let folder = folder();
    KeyRing::create(folder.path()).expect("it is made");
    for name in ["consensus.key", "vrf.key"] {
        fs::remove_file(folder.path().join(name)).expect("it is ours");
    }
    ConsensusKey::from_seed(&[6; 32])
        .write_new(folder.path().join("consensus.key"))
        .expect("it is written");
    VrfKey::from_seed(&[6; 32]).write_new(folder.path().join("vrf.key")).expect("it is written");
    let error = KeyRing::load(folder.path()).expect_err("one secret, two roles");
    let RingError::SharedSecret { first, second } = &error else { panic!("{error}") };
    assert_eq!(
        (first.as_path(), second.as_path()),
        (folder.path().join("consensus.key").as_path(), folder.path().join("vrf.key").as_path())
    );
}
