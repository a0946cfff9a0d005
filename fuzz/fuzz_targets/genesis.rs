#![no_main]

use bizra_types::genesis::Genesis;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(genesis) = Genesis::parse(bytes) {
        let again = Genesis::parse(&genesis.to_json()).expect("what was written is read");
        assert_eq!(again.chain_id(), genesis.chain_id());
    }
});
