//! Private keys: what they are, how they lie on disk, and what is done with them.
//!
//! This is the only crate that sees a secret. The others ask it to sign, to
//! evaluate or to open, and get public values back.
//!
//! | module | holds |
//! |---|---|
//! | [`keys`] | one type per role, each made from a 32-byte seed of its own |
//! | [`file`](mod@file) | the key file: strict text, mode 0600, written once, rotated safely |
//! | [`ring`] | the keys of a validator in one folder |
//! | [`sealing`] | encryption to a KEM key, for backups and hand-overs |
//!
//! Every role has a key of its own, because one seed that serves both Ed25519
//! and a VRF can give its secret away through equal nonces. [`ring::KeyRing`]
//! refuses two files with one secret.
//!
//! Secrets are wiped from memory when they are dropped and never appear in
//! `Debug` output or in an error, not even in an error about the line of the
//! file that should hold them.

pub mod file;
pub mod keys;
pub mod ring;
pub mod sealing;

pub use file::{KeyFileError, Rotation, rotate};
pub use keys::{
    ConsensusKey, KemKey, KemPublicKey, Key, KeyKind, NetworkKey, SenderKey, UnknownKind, VrfKey,
};
pub use ring::{KeyRing, RingError};
pub use sealing::{SealError, seal};
