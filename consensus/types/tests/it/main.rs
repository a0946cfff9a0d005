//! Encodings: golden vectors, and properties that hold for all values.

mod envelopes;
mod proofs;
mod properties;
mod samples;
mod vectors;
