//! What a node keeps on disk, and the file that an auditor is given.

#![no_main]
#![allow(dead_code, unreachable_pub, reason = "each file uses its part")]

extern crate alloc;

#[path = "../../node/src/audit/export.rs"]
mod export;
#[path = "../../node/src/storage/formats.rs"]
mod formats;

use bizra_fuzz::decodes_exactly;
use bizra_types::encoding::DecodeError;
use export::{Frame, Frames, write_head};
use formats::{BatchRef, BlockEntry, BytesEntry, Mark, RecordEntry, SafetyKey};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decodes_exactly::<SafetyKey>(bytes);
    decodes_exactly::<BatchRef>(bytes);
    decodes_exactly::<BlockEntry>(bytes);
    decodes_exactly::<Mark>(bytes);
    decodes_exactly::<RecordEntry>(bytes);
    decodes_exactly::<BytesEntry>(bytes);
    is_read_exactly(bytes, formats::read_safety, formats::safety_bytes);
    is_read_exactly(bytes, formats::read_closed, formats::closed_bytes);
    is_read_exactly(bytes, formats::read_ledger, formats::ledger_bytes);
    is_read_exactly(bytes, formats::read_evidence, formats::evidence_bytes);
    if let Ok(root) = formats::read_root(bytes) {
        // Its maps are read in any order and written in one.
        let written = formats::root_bytes(&root);
        is_read_exactly(&written, formats::read_root, formats::root_bytes);
    }
    decodes_exactly::<Frame>(bytes);
    let Ok((mut frames, chain_id)) = Frames::open(bytes) else { return };
    let mut written = Vec::new();
    write_head(&chain_id, &mut written).expect("memory does not fail");
    while let Ok(Some(frame)) = frames.next_frame() {
        frame.write_to(&mut written);
    }
    assert!(bytes.starts_with(&written));
});

fn is_read_exactly<T>(
    bytes: &[u8],
    read: fn(&[u8]) -> Result<T, DecodeError>,
    write: fn(&T) -> Vec<u8>,
) {
    if let Ok(value) = read(bytes) {
        assert_eq!(write(&value), bytes);
    }
}
