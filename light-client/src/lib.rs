//! Checks from bytes that a record is final, or what an entry of the state is,
//! with nothing but the genesis file.
//!
//! A [`Client`] reads no clock, no disk and no network, and holds no secrets;
//! it builds without `std`, so a browser can run it. [`Client::verify`] judges
//! a finality proof, [`Client::verify_state`] a state proof. It believes nothing but signatures: every era's committee
//! is the one that the committee before it signed, from genesis on; that two
//! committees overlap proves nothing. Every bit of a proof is covered by a
//! check, so a proof that verifies is the proof that was made.
//!
//! A proof alone shows what a quorum signed, and two quorums with more than f
//! liars between them can sign two histories. Against that a client keeps a
//! [`Checkpoint`]: [`Client::advance`] moves it forward and demands a
//! consistency proof, so that a log that shrinks, forks or shows itself
//! differently to others is found out. A checkpoint that came from elsewhere
//! can be pinned with [`Client::with_checkpoint`]: then the keys of committees
//! before it, stolen or sold, are worth nothing.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod blame;
mod checkpoint;
mod client;
mod error;

pub use bizra_types::envelope::EnvelopeError;
pub use bizra_types::genesis::GenesisError;
pub use bizra_types::proof::{EraChange, FinalHead, FinalityProof, FormError, StateProof};
pub use blame::{Comparison, Offence};
pub use checkpoint::Checkpoint;
pub use client::{Client, VerifiedEntry, VerifiedHead, VerifiedRecord};
pub use error::{AdvanceError, CheckpointError, ProofError};
