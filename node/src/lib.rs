//! The node as a library: the binary `bizra` is a thin shell around it.

extern crate alloc;

pub mod api;
pub mod audit;
pub mod config;
pub mod driver;
pub mod executor;
mod fail;
mod key_use;
pub mod metrics;
pub mod patterns;
pub mod run;
pub mod shared;
pub mod storage;
