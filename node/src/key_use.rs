//! What a node leaves beside its keys: a lock while it runs, and a mark for each
//! chain that they sign on.

use anyhow::Context as _;
use bizra_types::hash::ChainId;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Two processes with one key would sign two different things: the second one
/// on this machine is refused here.
///
/// # Errors
/// When another process holds the lock, or the file cannot be made.
pub(crate) fn lock(keys_dir: &Path) -> anyhow::Result<File> {
    let path = keys_dir.join("in-use.lock");
    let file = File::create(&path)
        .with_context(|| format!("the lock {} cannot be made", path.display()))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).with_context(|| {
        format!(
            "the keys in {} are in use by another process: two nodes must never share a key; \
             stop the other one first",
            keys_dir.display()
        )
    })?;
    Ok(file)
}

/// The mark that these keys sign on a chain, if it is there.
///
/// # Errors
/// When nobody can tell.
pub(crate) fn found_mark(keys_dir: &Path, chain: &ChainId) -> anyhow::Result<Option<PathBuf>> {
    let path = mark_path(keys_dir, chain);
    let is_there = path
        .try_exists()
        .with_context(|| format!("cannot tell whether {} is there", path.display()))?;
    Ok(is_there.then_some(path))
}

/// Leaves the mark that these keys sign on a chain. To be called once the safety
/// record is on disk: a crash in between leaves a record without a mark, and the
/// next start makes up for it.
///
/// # Errors
/// When the mark cannot be written or synced.
pub(crate) fn mark(keys_dir: &Path, chain: &ChainId) -> anyhow::Result<()> {
    let path = mark_path(keys_dir, chain);
    let write = || {
        if path.try_exists()? {
            return Ok(());
        }
        let mut file = File::create(&path)?;
        writeln!(
            file,
            "The keys beside this file sign on chain {chain}.\nA node that finds this file and no \
             safety record in its data folder does not start: it would forget what it signed."
        )?;
        file.sync_all()?;
        File::open(keys_dir)?.sync_all()
    };
    write().with_context(|| format!("the mark {} cannot be made", path.display()))
}

fn mark_path(keys_dir: &Path, chain: &ChainId) -> PathBuf {
    keys_dir.join(format!("signs-on-{chain}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_marked_for_each_chain_by_itself() {
        let keys = tempfile::tempdir().expect("a folder");
        let (chain, other) = (ChainId([1; 32]), ChainId([2; 32]));
        let found = |chain| found_mark(keys.path(), chain).expect("readable");
        assert_eq!(found(&chain), None);
        mark(keys.path(), &chain).expect("writable");
        mark(keys.path(), &chain).expect("it may be there");
        assert_eq!(found(&chain), Some(keys.path().join(format!("signs-on-{chain}"))));
        assert_eq!(found(&other), None);
    }

    #[test]
    fn the_second_process_with_these_keys_is_refused() {
        let keys = tempfile::tempdir().expect("a folder");
        let first = lock(keys.path()).expect("free");
        let error = lock(keys.path()).expect_err("taken").to_string();
        assert!(error.contains("in use by another process"), "{error}");
        drop(first);
        lock(keys.path()).expect("free again");
    }
}
