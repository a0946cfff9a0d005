//! The light client, judged on chains made up here.

mod blame;
mod checkpoints;
mod common;
mod proofs;
mod state;
mod tree;
mod vectors;
