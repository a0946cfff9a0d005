//! The key file.
//!
//! ```text
//! bizra-key v1
//! kind: consensus
//! public: d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a
//! secret: <64 lower-case hex digits>
//! ```
//!
//! Four lines, each ended by a newline, nothing else. The public part is there
//! for people and is checked against the secret, so that a file that was put
//! together by hand or damaged on the way is noticed before it signs.

use crate::keys::{Key, KeyKind};
use bizra_types::hash::{hex, hex_array};
use rustix::fs::{FlockOperation, OFlags, flock};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The first line of every key file.
pub const HEADER: &str = "bizra-key v1";

/// No key file is longer. The longest has the 2,432 digits of a KEM key.
const FILE_BYTES_MAX: usize = 4096;

/// Why a key file was not read or not written. Every message names the file
/// and none carries a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The operating system refused.
    #[error("{}: cannot {action}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the operating system said.
        reason: io::Error,
    },
    /// A folder, pipe or device stands where a key file should be.
    #[error("{}: expected a regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner could read or change the file.
    #[error(
        "{}: mode is {mode:04o} where only the owner may have access: run `chmod 600 {}`",
        path.display(), path.display()
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is longer than any key file.
    #[error("{}: longer than the {limit} bytes that a key file has at most", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// What is allowed.
        limit: usize,
    },
    /// A line is not what the format asks for.
    #[error("{}: line {line}: expected {expected}, found {found}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the format asks for there.
        expected: String,
        /// What is there, described rather than quoted: it may be a secret.
        found: String,
    },
    /// The public part does not belong to the secret.
    #[error(
        "{}: line 3: expected the public part of the secret on line 4, \
         which ends in {derived}, found one that ends in {written}; \
         they part at character {differs_at}",
        path.display()
    )]
    PublicMismatch {
        /// The file.
        path: PathBuf,
        /// The last 8 characters of what the secret makes.
        derived: String,
        /// The last 8 characters of what the file says.
        written: String,
        /// The first character in which the two differ, counted from 1.
        differs_at: usize,
    },
    /// The file holds a good key of another kind.
    #[error("{}: expected a {expected} key, found a {found} key", path.display())]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// The kind that was asked for.
        expected: KeyKind,
        /// The kind in the file.
        found: KeyKind,
    },
    /// Something is there already, and nothing is ever overwritten.
    #[error("{}: exists already and is not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Another process is rotating a key in the same folder.
    #[error("{}: another rotation is under way in this folder", path.display())]
    Busy {
        /// The file whose rotation was refused.
        path: PathBuf,
    },
}

/// What a rotation did.
#[derive(Debug)]
pub struct Rotation {
    /// The key that was there.
    pub old: Key,
    /// The key that is there now, of the same kind.
    pub new: Key,
    /// Where the old key lies.
    pub retired: PathBuf,
}

/// Puts a new key of the same kind in the file's place and keeps the old one
/// beside it as `FILE.retired-` and the first 8 hex digits of its public key.
/// Durable when it returns.
///
/// At every moment the path holds a whole key, the old or the new one; if the
/// machine stops in between, running it again completes it.
///
/// # Errors
/// When the file is not a good key file, another rotation runs in the folder,
/// a different key lies under the retired name, or the disk refuses.
pub fn rotate(path: impl AsRef<Path>) -> Result<Rotation, KeyFileError> {
    let asked = path.as_ref();
    let is_link = fs::symlink_metadata(asked).is_ok_and(|data| data.file_type().is_symlink());
    let path = if is_link {
        fs::canonicalize(asked).map_err(io_error(asked, "follow the link"))?
    } else {
        asked.to_owned()
    };
    // Two rotations at once would both report a new key, and one would be lost.
    let folder = open_folder(&path)?;
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(KeyFileError::Busy { path }),
        Err(errno) => return Err(io_error(&path, "lock its folder")(errno.into())),
    }
    let old = Key::load(&path)?;
    let new = Key::generate(old.kind());
    let temporary = Temporary::write(
        &path,
        0o600,
        key_text(new.kind(), &new.public_text(), &new.seed()).as_bytes(),
    )?;

    let mut retired = OsString::from(&path);
    retired.push(format!(".retired-{}", old.short_id()));
    let retired = PathBuf::from(retired);
    match fs::hard_link(&path, &retired) {
        Ok(()) => {}
        // A rotation that was cut short got this far; a good key with the same
        // public part is the same key.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if Key::load(&retired)?.public_text() != old.public_text() {
                return Err(KeyFileError::Exists { path: retired });
            }
        }
        Err(error) => return Err(io_error(&retired, "keep the old key")(error)),
    }
    sync_folder(&folder, &path)?;
    temporary.replace(&path)?;
    sync_folder(&folder, &path)?;
    Ok(Rotation { old, new, retired })
}

/// Writes bytes to a new file of the given mode, whole or not at all. Durable
/// when it returns.
///
/// # Errors
/// When something exists at `path` already, or the disk refuses; then nothing
/// has been left behind.
pub fn write_new_file(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), KeyFileError> {
    let folder = open_folder(path)?;
    let temporary = Temporary::write(path, mode, bytes)?;
    temporary.publish(path)?;
    sync_folder(&folder, path).inspect_err(|_| {
        // The caller is told that nothing was written; the first error is the
        // one to report.
        let _ = fs::remove_file(path);
    })
}

pub(crate) fn write_key(
    path: &Path,
    kind: KeyKind,
    public: &str,
    seed: &[u8; 32],
) -> Result<(), KeyFileError> {
    write_new_file(path, 0o600, key_text(kind, public, seed).as_bytes())
}

pub(crate) fn read_key(path: &Path) -> Result<Key, KeyFileError> {
    // Without O_NONBLOCK, opening a pipe would wait for its writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(io_error(path, "open"))?;
    // Asked of the open file: the path could be exchanged in between.
    let metadata = file.metadata().map_err(io_error(path, "read its mode"))?;
    if !metadata.is_file() {
        return Err(KeyFileError::NotAFile { path: path.to_owned() });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Permissions { path: path.to_owned(), mode });
    }
    // Room for all from the start: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 1));
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(io_error(path, "read"))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(KeyFileError::TooLong { path: path.to_owned(), limit: FILE_BYTES_MAX });
    }
    parse(path, &bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Key, KeyFileError> {
    let malformed = |line: usize, expected: &str, found: String| KeyFileError::Malformed {
        path: path.to_owned(),
        line,
        expected: expected.to_owned(),
        found,
    };
    let text = str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        malformed(line, "text", "a byte that is not UTF-8".to_owned())
    })?;
    let mut lines = text.split_inclusive('\n');
    let mut next_line = |number: usize, prefix: &str, expected: &str| match lines.next() {
        None => Err(malformed(number, expected, "the end of the file".to_owned())),
        Some(line) => match line.strip_suffix('\n') {
            None => Err(malformed(
                number,
                &format!("{expected} and a newline"),
                "no newline at the end".to_owned(),
            )),
            Some(line) => {
                line.strip_prefix(prefix).ok_or_else(|| malformed(number, expected, describe(line)))
            }
        },
    };

    let version = next_line(1, "", "`bizra-key v1`")?;
    if version != HEADER {
        return Err(malformed(1, "`bizra-key v1`", describe(version)));
    }
    let kind = next_line(2, "kind: ", "`kind: ` and the kind of key")?;
    let kind = kind.parse::<KeyKind>().map_err(|_| {
        let expected = "one of network, consensus, vrf, kem, sender after `kind: `";
        // Too short to be a secret, so it may be quoted.
        let found = match kind.chars().count() {
            0..=16 => format!("`{}`", kind.escape_debug()),
            count => format!("{count} other characters"),
        };
        malformed(2, expected, found)
    })?;
    let public = next_line(3, "public: ", "`public: ` and the public part")?;
    let secret_expected = "`secret: ` and 64 lower-case hex digits";
    let secret = next_line(4, "secret: ", secret_expected)?;
    let seed = hex_array::<32>(secret).map(Zeroizing::new).ok_or_else(|| {
        let found = match secret.chars().count() {
            64 => "64 characters that are not all lower-case hex digits".to_owned(),
            count => format!("{count} characters"),
        };
        malformed(4, secret_expected, found)
    })?;
    if let Some(line) = lines.next() {
        return Err(malformed(5, "the end of the file", describe(line.trim_end_matches('\n'))));
    }
    let key = Key::from_seed(kind, &seed);
    let derived = key.public_text();
    if public != derived {
        return Err(KeyFileError::PublicMismatch {
            path: path.to_owned(),
            derived: last_characters(&derived),
            written: last_characters(public),
            differs_at: 1 + derived.chars().zip(public.chars()).take_while(|(a, b)| a == b).count(),
        });
    }
    Ok(key)
}

/// Says what a line looks like without quoting it: lines that changed places
/// must not carry a secret into a log.
fn describe(line: &str) -> String {
    let length = line.chars().count();
    for label in ["kind", "public", "secret"] {
        if line.strip_prefix(label).is_some_and(|rest| rest.starts_with(':')) {
            return format!("a `{label}:` line of {length} characters");
        }
    }
    format!("a line of {length} characters")
}

fn last_characters(text: &str) -> String {
    let skipped = text.chars().count().saturating_sub(8);
    text.chars().skip(skipped).collect()
}

fn key_text(kind: KeyKind, public: &str, seed: &[u8; 32]) -> Zeroizing<String> {
    // Room for all from the start: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX));
    let secret = Zeroizing::new(hex(seed));
    writeln!(text, "{HEADER}\nkind: {kind}\npublic: {public}\nsecret: {}", *secret)
        .expect("writing to a string cannot fail");
    text
}

/// A synced file under a name of its own, removed again unless it was put in
/// its place.
struct Temporary {
    path: PathBuf,
    in_place: bool,
}

impl Temporary {
    fn write(target: &Path, mode: u32, bytes: &[u8]) -> Result<Self, KeyFileError> {
        let Some(name) = target.file_name() else {
            let reason = io::Error::new(io::ErrorKind::InvalidInput, "the path names no file");
            return Err(io_error(target, "write")(reason));
        };
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| io_error(target, "get randomness")(io::Error::other(error)))?;
        let mut temporary_name = OsString::from(".");
        temporary_name.push(name);
        temporary_name.push(format!(".{}.tmp", hex(&random)));
        let path = target.with_file_name(temporary_name);

        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .map_err(io_error(target, "write beside it"))?;
        let temporary = Self { path, in_place: false };
        file.write_all(bytes).map_err(io_error(target, "write"))?;
        file.sync_all().map_err(io_error(target, "sync"))?;
        Ok(temporary)
    }

    /// Gives the file its name, if nothing has it. A link, because a rename
    /// would overwrite what another process has put there meanwhile.
    fn publish(self, target: &Path) -> Result<(), KeyFileError> {
        fs::hard_link(&self.path, target).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: target.to_owned() },
            _ => io_error(target, "put in place")(error),
        })
    }

    fn replace(mut self, target: &Path) -> Result<(), KeyFileError> {
        fs::rename(&self.path, target).map_err(io_error(target, "put in place"))?;
        self.in_place = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.in_place {
            // Nobody could act on a failure: the file is private and the
            // reason why it was not needed is already being reported.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn open_folder(path: &Path) -> Result<File, KeyFileError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(folder).map_err(io_error(path, "open its folder"))
}

/// Without this, a name may be gone after a crash although the file is synced.
fn sync_folder(folder: &File, path: &Path) -> Result<(), KeyFileError> {
    folder.sync_all().map_err(io_error(path, "sync its folder"))
}

fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |reason| KeyFileError::Io { path, action, reason }
}
