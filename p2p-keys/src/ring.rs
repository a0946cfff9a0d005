//! The keys of a validator in one folder.

use crate::file::KeyFileError;
use crate::keys::{ConsensusKey, KemKey, Key, NetworkKey, VrfKey};
use bizra_types::crypto::PublicKey;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// File name of the network key in a key folder.
pub const NETWORK_FILE: &str = "network.key";
/// File name of the consensus key in a key folder.
pub const CONSENSUS_FILE: &str = "consensus.key";
/// File name of the consensus key that is to replace the one in
/// [`CONSENSUS_FILE`], while there is one.
pub const NEXT_CONSENSUS_FILE: &str = "next-consensus.key";
/// File name of the VRF key in a key folder.
pub const VRF_FILE: &str = "vrf.key";
/// File name of the KEM key in a key folder.
pub const KEM_FILE: &str = "kem.key";

/// All keys that a validator runs with.
#[derive(Clone, Debug)]
pub struct KeyRing {
    /// Its identity towards peers, in `network.key`.
    pub network: NetworkKey,
    /// Its votes, in `consensus.key`.
    pub consensus: ConsensusKey,
    /// What signs its votes from the era on whose committee lists it in place of
    /// the other, in `next-consensus.key`, if that is there.
    pub next_consensus: Option<ConsensusKey>,
    /// Its part in the leader schedule, in `vrf.key`.
    pub vrf: VrfKey,
    /// What backups are sealed to, in `kem.key`.
    pub kem: KemKey,
}

/// Why a key folder was not read or not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// One of the files is at fault.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// Two files hold one secret; every role needs a key of its own.
    #[error(
        "{} and {} hold the same secret, and a secret that serves two roles can leak: \
         replace both",
        first.display(), second.display()
    )]
    SharedSecret {
        /// One of the two.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The folder cannot be made.
    #[error("{}: cannot make the folder: {reason}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        reason: io::Error,
    },
}

impl KeyRing {
    /// Four new keys from the operating system's randomness.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    #[must_use]
    pub fn generate() -> Self {
        Self {
            network: NetworkKey::generate(),
            consensus: ConsensusKey::generate(),
            next_consensus: None,
            vrf: VrfKey::generate(),
            kem: KemKey::generate(),
        }
    }

    /// Reads the four files of a folder, and the next consensus key if it is
    /// there.
    ///
    /// # Errors
    /// When one of the four is missing, or a file is open to others, malformed or of the wrong kind,
    /// or two hold the same secret.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, RingError> {
        let folder = folder.as_ref();
        let next_consensus = match ConsensusKey::load(folder.join(NEXT_CONSENSUS_FILE)) {
            Ok(key) => Some(key),
            Err(KeyFileError::Io { reason, .. }) if reason.kind() == io::ErrorKind::NotFound => {
                None
            }
            Err(error) => return Err(error.into()),
        };
        let ring = Self {
            network: NetworkKey::load(folder.join(NETWORK_FILE))?,
            consensus: ConsensusKey::load(folder.join(CONSENSUS_FILE))?,
            next_consensus,
            vrf: VrfKey::load(folder.join(VRF_FILE))?,
            kem: KemKey::load(folder.join(KEM_FILE))?,
        };
        let files = ring.files();
        for (index, (first, one)) in files.iter().enumerate() {
            for (second, other) in &files[index + 1..] {
                if one.seed() == other.seed() {
                    return Err(RingError::SharedSecret {
                        first: folder.join(first),
                        second: folder.join(second),
                    });
                }
            }
        }
        Ok(ring)
    }

    /// Makes four new keys and writes them to a folder, which is made with
    /// mode 0700 if it is not there. Durable when it returns.
    ///
    /// # Errors
    /// When one of the files exists already or the disk refuses; the files
    /// that this call had written are then removed again.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub fn create(folder: impl AsRef<Path>) -> Result<Self, RingError> {
        let folder = folder.as_ref();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|reason| RingError::Folder { path: folder.to_owned(), reason })?;
        let ring = Self::generate();
        let mut written = Vec::new();
        for (name, key) in ring.files() {
            let path = folder.join(name);
            if let Err(error) = key.write_new(&path) {
                for path in written {
                    // Fresh keys that nobody has seen; the error above is the
                    // one to report.
                    let _ = std::fs::remove_file(path);
                }
                return Err(error.into());
            }
            written.push(path);
        }
        Ok(ring)
    }

    /// The consensus keys: the one in use, then the next.
    pub fn consensus_keys(&self) -> impl Iterator<Item = &ConsensusKey> {
        core::iter::once(&self.consensus).chain(&self.next_consensus)
    }

    /// The consensus key with this public half, if it is one of ours.
    #[must_use]
    pub fn consensus_of(&self, public: &PublicKey) -> Option<&ConsensusKey> {
        self.consensus_keys().find(|key| key.public() == *public)
    }

    fn files(&self) -> Vec<(&'static str, Key)> {
        let mut files = vec![
            (NETWORK_FILE, self.network.clone().into()),
            (CONSENSUS_FILE, self.consensus.clone().into()),
            (VRF_FILE, self.vrf.clone().into()),
            (KEM_FILE, self.kem.clone().into()),
        ];
        files.extend(self.next_consensus.clone().map(|key| (NEXT_CONSENSUS_FILE, key.into())));
        files
    }
}
