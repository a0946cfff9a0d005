//! Breaks every ban on the standard library once. `scripts/lint-bites.sh`
//! expects clippy to name each of them.

#![allow(missing_docs, unused)]

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, RandomState};

pub fn clocks() {
    std::time::Instant::now().elapsed();
    std::time::SystemTime::now().elapsed();
    std::thread::sleep(std::time::Duration::ZERO);
    std::thread::spawn(|| ());
}

pub fn environment() {
    std::env::var("X");
    std::env::var_os("X");
    std::env::vars();
    std::env::vars_os();
    std::env::args();
    std::env::args_os();
    std::env::current_dir();
}

pub fn order(map: HashMap<u8, u8>, set: HashSet<u8>, state: RandomState, hasher: DefaultHasher) {}
