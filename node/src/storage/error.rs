//! What can go wrong with the data folder, and what to do about it.

use super::formats::LAYOUT;
use bizra_types::hash::ChainId;
use std::path::PathBuf;

/// Why the data folder could not be opened, read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The folder cannot be made or opened.
    #[error(
        "the data folder {} cannot be opened: {detail}; check that the path exists on a mounted \
         disk and that this user may write there",
        .dir.display()
    )]
    Unreadable {
        /// The folder.
        dir: PathBuf,
        /// What the system says.
        detail: String,
    },
    /// Another process has it open.
    #[error(
        "the data folder {} is in use by another process: stop that one first; two nodes must \
         never share a folder or a key",
        .dir.display()
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// It was made by another version of this program.
    #[error(
        "the data folder {} has another layout ({found}) than this program's ({expected}): start \
         the version that wrote it, or begin with an empty folder and a snapshot",
        .dir.display()
    )]
    Layout {
        /// The folder.
        dir: PathBuf,
        /// What the folder has.
        found: String,
        /// What this program reads.
        expected: u32,
    },
    /// It holds another chain.
    #[error(
        "the data folder {} holds chain {found} ({found_name:?}), but the genesis file is that of \
         chain {expected} ({expected_name:?}): give each chain a folder of its own",
        .dir.display()
    )]
    WrongChain {
        /// The folder.
        dir: PathBuf,
        /// The chain in the folder.
        found: ChainId,
        /// Its name.
        found_name: Box<str>,
        /// The chain of the genesis file.
        expected: ChainId,
        /// Its name.
        expected_name: Box<str>,
    },
    /// Its parts contradict each other, or do not decode.
    #[error(
        "the data folder {} is damaged: {what}; keep a copy of it, check the disk, then export \
         the signing state and restore a snapshot into an empty folder",
        .dir.display()
    )]
    Damaged {
        /// The folder.
        dir: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// There is no space left. Reads go on, and so do writes once there is space again.
    #[error(
        "no space is left for the data folder {} ({free} bytes are free; {detail}): make room on \
         its disk",
        .dir.display()
    )]
    Full {
        /// The folder.
        dir: PathBuf,
        /// Bytes that are free on its disk.
        free: u64,
        /// What the system says, or that the reserve is reached.
        detail: String,
    },
    /// Reading or writing failed for any other reason: nobody knows what is on
    /// the disk now, so the process stops.
    #[error(
        "the data folder {} cannot be read or written: {detail}; look into the kernel's log \
         before starting again",
        .dir.display()
    )]
    Io {
        /// The folder.
        dir: PathBuf,
        /// What the system says.
        detail: String,
    },
}

impl StorageError {
    /// Whether only space is missing, so that the same write can be tried again.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    fn full(dir: PathBuf, detail: String) -> Self {
        let free = super::free_bytes(&dir).unwrap_or(0);
        Self::Full { dir, free, detail }
    }

    /// An error of RocksDB while it opens a folder.
    pub(super) fn of_open(dir: PathBuf, error: rocksdb::Error) -> Self {
        let detail = error.into_string();
        // RocksDB has no kind for these: another process, or this one, holds the lock.
        if detail.contains("While lock file") || detail.contains("lock hold by current process") {
            Self::Locked { dir }
        } else if detail.contains("Column families not opened") {
            Self::Layout { dir, found: detail, expected: LAYOUT }
        } else if is_out_of_space(&detail) {
            Self::full(dir, detail)
        } else if detail.starts_with("Corruption") {
            Self::Damaged { dir, what: detail }
        } else {
            Self::Unreadable { dir, detail }
        }
    }

    /// An error of RocksDB in an open folder.
    pub(super) fn of_use(dir: PathBuf, error: rocksdb::Error) -> Self {
        let detail = error.into_string();
        if is_out_of_space(&detail) {
            Self::full(dir, detail)
        } else if detail.starts_with("Corruption") {
            Self::Damaged { dir, what: detail }
        } else {
            Self::Io { dir, detail }
        }
    }
}

/// RocksDB gives out no sub-code, but begins its text with it; a quota that is
/// used up is an ordinary I/O error to it and ends with the system's words.
fn is_out_of_space(detail: &str) -> bool {
    detail.starts_with("IO error: No space left on device")
        || detail.ends_with("Disk quota exceeded")
}
