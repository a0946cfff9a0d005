//! The light client, judged on chains made up here.

mod blame;
mod checkpoints;
mod common;
mod proofs;
mod tree;
mod vectors;
