#![no_main]

use bizra_light_client::Checkpoint;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(checkpoint) = Checkpoint::from_json(bytes) {
        assert_eq!(Checkpoint::from_json(&checkpoint.to_json()), Ok(checkpoint));
    }
});
