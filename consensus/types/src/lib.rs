//! Every object the federation signs, hashes or stores, with its one encoding.
//!
//! The layouts are written down in `docs/formats.md` and pinned by the golden
//! vectors in `tests/vectors/`. Nothing here reads a clock, a disk or a socket,
//! and the crate builds without `std`, so that a light client can carry it.
//!
//! | module | holds |
//! |---|---|
//! | [`numbers`] | `View`, `Height`, `Era`, `Epoch`, … newtypes |
//! | [`hash`] | 32-byte identities and the BLAKE3 context of each kind |
//! | [`encoding`] | the fixed binary layout: `Encode`, `Decode`, `Reader` |
//! | [`crypto`] | Ed25519 keys and signatures, ZIP-215 verification |
//! | [`committee`] | validators, quorum, signer sets |
//! | [`batch`] | lane batches, tickets |
//! | [`block`] | header, block, citations, reveals, proposal |
//! | [`message`] | votes, commit votes, timeouts and what is signed of them |
//! | [`certificate`] | QC, TC, CommitCert |
//! | [`execution`] | the fields of `exec` |
//! | [`verify`] | `Verified<T>`: the only way into the engine |
//! | [`json`] | strict JSON and RFC 8785 |
//! | [`genesis`] | the genesis file and the chain's id |
//! | [`envelope`] | a record's digest and signature |
//! | [`proof`] | proofs of records and of entries of the state, CBOR and JSON |
//! | [`planted`] | known mistakes, in a build for tests only |
//! | [`vrf`] | Ristretto VRF of the leader schedule (feature `vrf`) |

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;
#[cfg(planted_bugs)]
extern crate std;

pub mod batch;
pub mod block;
pub mod certificate;
pub mod committee;
pub mod crypto;
pub mod encoding;
pub mod envelope;
pub mod execution;
pub mod genesis;
pub mod hash;
pub mod json;
pub mod message;
pub mod numbers;
pub mod planted;
pub mod proof;
pub mod verify;
#[cfg(feature = "vrf")]
pub mod vrf;
