//! What the federation agrees on: which records count, and what they change.
//!
//! Everything here is a pure function of its arguments. The crate reads no
//! clock, disk, socket or randomness, decides nothing by floating point, and
//! does not know the consensus engine; the driver hands blocks in and flushes
//! what comes out.
//!
//! A record is a signed PCI envelope. It meets the [`gates`] three times: at
//! admission (one validator, its own clock, an answer to the submitter), at the
//! receipt of a batch (every validator, static, a [`gates::Verdict`] per record)
//! and at [`execution`] (every validator, from those verdicts and the ledger
//! alone, a [`codes::Code`] per record).
//!
//! | module | holds |
//! |---|---|
//! | [`forms`] | UUIDs, timestamps and scores as envelopes spell them |
//! | [`codes`] | reject codes, [`codes::Rejection`] |
//! | [`envelope`] | the PCI envelope, its digest and signature |
//! | [`inference`] | the closed schema of `inference/commit` |
//! | [`policy`] | the POLICY gate: governed Rego |
//! | [`parameters`] | governed numbers with the values of the design |
//! | [`fate`] | the four dimensions of an inference |
//! | [`ntu`] | the unit that observes a session's scores |
//! | [`budget`] | the 7-3-6-9 budget |
//! | [`session`] | the DAG of a session's records, `session/close` |
//! | [`identity`] | keys that are registered, replaced and revoked; quotas |
//! | [`governance`] | proposals, votes and what they change |
//! | [`reputation`] | who of the validators was there, and who lied |
//! | [`market`] | licences, their tax, and how unequally they may be held |
//! | [`pattern`] | what nodes offer to each other, and which of it validators vote for |
//! | [`gates`] | admission and receipt, the nonce cache |
//! | [`log`] | the RFC 9162 record log over stored hashes |
//! | [`outcomes`] | the tree over a block's outcomes |
//! | [`plain`] | families of entries, and the homomorphic hash of the plain ones |
//! | [`state`] | the authenticated tree over the other entries, and proofs from it |
//! | [`execution`] | blocks on overlays |
//! | [`memory`] | a ledger held in memory |

extern crate alloc;

pub mod budget;
pub mod codes;
pub mod envelope;
pub mod evidence;
pub mod execution;
pub mod fate;
pub mod forms;
pub mod gates;
pub mod governance;
pub mod identity;
pub mod inference;
pub mod log;
pub mod market;
pub mod memory;
pub mod ntu;
pub mod outcomes;
pub mod parameters;
pub mod pattern;
pub mod plain;
pub mod policy;
pub mod reputation;
pub mod session;
pub mod state;

#[cfg(test)]
mod testing;
