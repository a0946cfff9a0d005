//! What validators send to each other. The files are compiled here by
//! themselves: they need nothing of the network, which takes minutes to build.

#![no_main]
#![allow(dead_code, unreachable_pub, reason = "each file uses its part")]

extern crate alloc;

#[path = "../../gossip/src"]
mod gossip {
    pub(crate) mod frame;
    pub(crate) mod handshake;
    pub(crate) mod heartbeat;
    pub(crate) mod wire;
}

use bizra_fuzz::decodes_exactly;
use bizra_types::encoding::{Decode, Encode};
use futures::executor::block_on;
use futures::io::Cursor;
use gossip::frame::{FrameReader, KIND_HEARTBEAT, KIND_HELLO, decode_body, push_frame};
use gossip::handshake::Hello;
use gossip::heartbeat::Heartbeat;
use gossip::wire::{Message, Request, Response};

/// Largest frame, in bytes.
const LIMIT: usize = 1024;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decodes_exactly::<Message>(bytes);
    decodes_exactly::<Request>(bytes);
    decodes_exactly::<Response>(bytes);
    body_is_exact::<Hello>(KIND_HELLO, bytes);
    body_is_exact::<Heartbeat>(KIND_HEARTBEAT, bytes);
    let frames = frames(bytes, 64);
    assert_eq!(self::frames(bytes, 1), frames);
    let mut written = Vec::new();
    for frame in &frames {
        push_frame(frame[0], &frame[1..], &mut written);
    }
    assert!(bytes.starts_with(&written));
});

fn body_is_exact<T: Decode + Encode>(kind: u8, frame: &[u8]) {
    if let Ok(value) = decode_body::<T>(kind, frame) {
        assert_eq!([&[kind][..], &value.to_bytes()].concat(), frame);
    }
}

/// The whole frames that bytes begin with, read through a buffer of this size.
fn frames(bytes: &[u8], buffer_size: usize) -> Vec<Vec<u8>> {
    let mut reader = FrameReader::new(Cursor::new(bytes), buffer_size);
    std::iter::from_fn(|| block_on(reader.next(LIMIT)).ok().flatten()).collect()
}
