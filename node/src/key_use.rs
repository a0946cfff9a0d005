//! What a node leaves beside its keys: a lock while it runs, and a mark for each
//! consensus key and chain that it signs on.

use anyhow::Context as _;
use bizra_types::crypto::PublicKey;
use bizra_types::hash::ChainId;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a start waits for the process before it to be gone: one that was
/// killed holds its lock until the system has closed its files.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// From one try to get the lock to the next.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Two processes with one key would sign two different things: the second one
/// on this machine is refused here, unless the first ends within `patience`.
///
/// # Errors
/// When another process holds the lock, or the file cannot be made.
pub(crate) fn lock(keys_dir: &Path, patience: Duration) -> anyhow::Result<File> {
    let path = keys_dir.join("in-use.lock");
    let file = File::create(&path)
        .with_context(|| format!("the lock {} cannot be made", path.display()))?;
    let end = Instant::now() + patience;
    let mut locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
    while locked == Err(Errno::WOULDBLOCK) && Instant::now() < end {
        std::thread::sleep(LOCK_PAUSE);
        locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
    }
    locked.with_context(|| {
        format!(
            "the keys in {} are in use by another process: two nodes must never share a key; \
             stop the other one first",
            keys_dir.display()
        )
    })?;
    Ok(file)
}

/// The mark that a consensus key signs on a chain, if it is there. One of
/// earlier releases names no key, and so stands for every key beside it.
///
/// # Errors
/// When nobody can tell.
pub(crate) fn found_mark(
    keys_dir: &Path,
    chain: &ChainId,
    key: &PublicKey,
) -> anyhow::Result<Option<PathBuf>> {
    for path in [mark_path(keys_dir, chain, key), keys_dir.join(format!("signs-on-{chain}"))] {
        let is_there = path
            .try_exists()
            .with_context(|| format!("cannot tell whether {} is there", path.display()))?;
        if is_there {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Leaves the mark that a consensus key signs on a chain. To be called once the
/// safety record is on disk: a crash in between leaves a record without a mark,
/// and the next start makes up for it.
///
/// # Errors
/// When the mark cannot be written or synced.
pub(crate) fn mark(keys_dir: &Path, chain: &ChainId, key: &PublicKey) -> anyhow::Result<()> {
    let path = mark_path(keys_dir, chain, key);
    let write = || {
        if path.try_exists()? {
            return Ok(());
        }
        let mut file = File::create(&path)?;
        writeln!(
            file,
            "The consensus key {key} signs on chain {chain}.\nA node that finds this file and no \
             safety record of the key in its data folder does not sign with it: it would forget \
             what it signed."
        )?;
        file.sync_all()?;
        File::open(keys_dir)?.sync_all()
    };
    write().with_context(|| format!("the mark {} cannot be made", path.display()))
}

fn mark_path(keys_dir: &Path, chain: &ChainId, key: &PublicKey) -> PathBuf {
    keys_dir.join(format!("signs-on-{chain}-{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_has_the_keys_and_the_next_waits_for_its_end() {
        let keys = tempfile::tempdir().expect("a folder");
        let first = lock(keys.path(), Duration::ZERO).expect("nobody has them");
        let refused = lock(keys.path(), Duration::ZERO).expect_err("the first has them");
        assert!(refused.to_string().contains("in use by another process"), "{refused:#}");
        let folder = keys.path().to_path_buf();
        let second = std::thread::spawn(move || lock(&folder, Duration::from_secs(60)));
        drop(first);
        second.join().expect("no panic").expect("the first is gone");
    }

    #[test]
    fn a_key_is_marked_for_each_chain_by_itself() {
        let keys = tempfile::tempdir().expect("a folder");
        let (chain, other) = (ChainId([1; 32]), ChainId([2; 32]));
        let (key, next) = (PublicKey([3; 32]), PublicKey([4; 32]));
        let found = |chain, key| found_mark(keys.path(), chain, key).expect("readable");
        assert_eq!(found(&chain, &key), None);
        mark(keys.path(), &chain, &key).expect("writable");
        mark(keys.path(), &chain, &key).expect("it may be there");
        let path = keys.path().join(format!("signs-on-{chain}-{key}"));
        assert_eq!(found(&chain, &key), Some(path));
        assert_eq!(found(&other, &key), None);
        assert_eq!(found(&chain, &next), None);

        let of_any_key = keys.path().join(format!("signs-on-{chain}"));
        File::create(&of_any_key).expect("writable");
        assert_eq!(found(&chain, &next), Some(of_any_key));
    }
}
