//! Encodings: golden vectors, and properties that hold for all values.

mod proofs;
mod envelopes;
mod properties;
mod samples;
mod vectors;
