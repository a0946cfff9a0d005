//! Encodings: golden vectors, and properties that hold for all values. What is
//! verified: each rule alone.

mod committees;
mod envelopes;
mod proofs;
mod properties;
mod samples;
mod signatures;
mod vectors;
mod verification;
