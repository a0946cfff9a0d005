#![no_main]

use bizra_light_client::Client;
use std::sync::LazyLock;

/// A genesis file and a proof that holds, from the golden vectors.
static KNOWN: LazyLock<(Client, Vec<u8>)> = LazyLock::new(bizra_fuzz::known_proof);

// Bytes as they are, then as damage to a proof that holds: place and mask.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (client, good) = &*KNOWN;
    let _ = client.verify_bytes(bytes);
    let mut proof = good.clone();
    for damage in bytes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([damage[0], damage[1]])) % proof.len();
        proof[at] ^= damage[2];
    }
    assert_eq!(client.verify_bytes(&proof).is_ok(), proof == *good);
});
