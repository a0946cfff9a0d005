//! What a node leaves beside its keys: a lock while it runs, and a mark for each
//! chain that they sign on.

use anyhow::{Context as _, bail};
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

/// That these keys have signed on no chain of this id yet, so that a validator
/// without a safety record may begin with an empty one. An emptied data folder
/// alone looks like that of a validator that never ran.
///
/// # Errors
/// When they have, or nobody can tell.
pub(crate) fn expect_unused(
    keys_dir: &Path,
    chain: &ChainId,
    data_dir: &Path,
) -> anyhow::Result<()> {
    let path = mark_path(keys_dir, chain);
    let is_marked = path
        .try_exists()
        .with_context(|| format!("cannot tell whether {} is there", path.display()))?;
    if is_marked {
        bail!(
            "the data folder {} has no safety record, but {} says that these keys have signed on \
             this chain: a validator that forgot what it signed must not sign again; restore the \
             whole data folder, or rotate the consensus key",
            data_dir.display(),
            path.display()
        );
    }
    Ok(())
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
    fn keys_that_signed_on_a_chain_start_without_a_record_on_others_only() {
        let keys = tempfile::tempdir().expect("a folder");
        let (data, chain, other) = (Path::new("data"), ChainId([1; 32]), ChainId([2; 32]));
        expect_unused(keys.path(), &chain, data).expect("unused");
        mark(keys.path(), &chain).expect("writable");
        mark(keys.path(), &chain).expect("it may be there");
        let error = expect_unused(keys.path(), &chain, data).expect_err("used").to_string();
        assert!(error.contains("data folder data has no safety record"), "{error}");
        assert!(error.contains(&format!("signs-on-{chain}")), "{error}");
        expect_unused(keys.path(), &other, data).expect("unused");
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
