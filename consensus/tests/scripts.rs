//! Drawn scripts of a lying validator and a careless network: whatever the
//! bytes, three honest replicas neither panic nor part. The fuzzer plays the
//! same scripts, and grows them.

mod harness;

use bizra_types::hash::Context;
use harness::script::{Shown, play};

/// Scripts that are drawn, and their length.
const SCRIPTS: u64 = 400;
const SCRIPT_SIZE: usize = 512;

fn draw(number: u64) -> Vec<u8> {
    let block = |at: u64| Context::Seed.hash(&[&number.to_le_bytes(), &at.to_le_bytes()]).0;
    (0..).flat_map(block).take(SCRIPT_SIZE).collect()
}

#[test]
fn no_script_makes_honest_replicas_part() {
    let mut all = Shown::default();
    for number in 0..SCRIPTS {
        let shown = play(&draw(number));
        all.heights += shown.heights;
        all.alarms += shown.alarms;
        all.certificates += shown.certificates;
    }
    println!("{SCRIPTS} scripts: {all:?}");
    let least = usize::try_from(SCRIPTS).expect("few") / 4;
    assert!(all.heights >= least && all.alarms >= least && all.certificates >= least, "{all:?}");
}
