//! What the tests of whole processes share.

#![allow(dead_code, reason = "each test file uses its part")]

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};

/// Runs the program to its end.
pub(crate) fn bizra(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bizra")).args(arguments).output().expect("it starts")
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Writes keys, genesis and configuration of so many validators.
pub(crate) fn init(dir: &Path, validators: &str) {
    let base_port = free_base_port().to_string();
    let init = bizra(&[
        "testnet",
        "init",
        "--validators",
        validators,
        "--dir",
        path(dir),
        "--base-port",
        &base_port,
    ]);
    assert!(init.status.success(), "{init:?}");
}

/// A block of ports that are free now, away from those that systems hand out.
fn free_base_port() -> u16 {
    let is_free = |port| {
        TcpListener::bind(("127.0.0.1", port)).is_ok()
            && UdpSocket::bind(("127.0.0.1", port)).is_ok()
    };
    let first = 20_000 + 100 * u16::try_from(std::process::id() % 100).expect("small");
    (first..32_000)
        .step_by(100)
        .find(|base| (*base..base + 40).all(is_free))
        .expect("40 free ports")
}
