//! Frames of the direct streams.
//!
//! A frame is a `u32` length, little-endian, and that many bytes, the first of
//! which is the kind. The length is compared with the channel's limit before
//! anything is allocated, and memory grows with the bytes that really arrive.

use bizra_types::encoding::{Decode, DecodeError, Encode, Reader};
use futures::{AsyncRead, AsyncReadExt};
use std::io;
use std::time::Duration;

/// First byte of a frame that carries a message of the layer above.
pub(crate) const KIND_MESSAGE: u8 = 0;
/// First byte of a frame that carries a [`crate::heartbeat::Heartbeat`].
pub(crate) const KIND_HEARTBEAT: u8 = 1;
/// First byte of the first frame, which carries a [`crate::handshake::Hello`].
pub(crate) const KIND_HELLO: u8 = 2;

/// First byte of a request.
pub(crate) const KIND_REQUEST: u8 = 3;
/// First byte of a request's answer.
pub(crate) const KIND_ANSWER: u8 = 4;
/// The only byte of the answer to a request for something that is not here.
pub(crate) const KIND_NO_ANSWER: u8 = 5;
/// The only byte of the answer to a request that comes at a bad time.
pub(crate) const KIND_BUSY: u8 = 6;

/// Bytes of a frame's length field.
pub(crate) const LENGTH_SIZE: usize = 4;

/// Memory that is set aside for a frame before its bytes arrive.
const FIRST_ALLOCATION_MAX: usize = 64 << 10;

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The length is above the limit.
    #[error("a frame of {size} bytes where at most {limit} are allowed")]
    TooLarge { size: usize, limit: usize },
    /// The length is zero, so the frame has no kind.
    #[error("a frame without a kind")]
    Empty,
    /// The stream ended inside a frame.
    #[error("the stream ended with {missing} bytes of a frame missing")]
    Truncated { missing: usize },
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads frames from a byte stream.
pub(crate) struct FrameReader<S> {
    stream: S,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    silence_max: Option<Duration>,
}

impl<S: AsyncRead + Unpin> FrameReader<S> {
    pub(crate) fn new(stream: S, buffer_size: usize) -> Self {
        let buffer = vec![0; buffer_size].into_boxed_slice();
        Self { stream, buffer, start: 0, end: 0, silence_max: None }
    }

    /// From now on a stream that brings no byte for this long, if any time is given, has failed with
    /// [`io::ErrorKind::TimedOut`].
    pub(crate) const fn set_silence_max(&mut self, silence_max: Option<Duration>) {
        self.silence_max = silence_max;
    }

    /// The stream beneath.
    pub(crate) const fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The next frame with its kind byte, of at most `limit` bytes, or `None`
    /// when the stream ended between two frames.
    ///
    /// Not cancel-safe: a reader whose future was dropped is of no more use.
    pub(crate) async fn next(&mut self, limit: usize) -> Result<Option<Vec<u8>>, FrameError> {
        let mut length = [0; LENGTH_SIZE];
        let mut have = 0;
        while have < LENGTH_SIZE {
            if self.start == self.end && !self.fill().await? {
                return if have == 0 {
                    Ok(None)
                } else {
                    Err(FrameError::Truncated { missing: LENGTH_SIZE - have })
                };
            }
            let count = (LENGTH_SIZE - have).min(self.end - self.start);
            length[have..have + count]
                .copy_from_slice(&self.buffer[self.start..self.start + count]);
            have += count;
            self.start += count;
        }
        let size = u32::from_le_bytes(length) as usize;
        if size > limit {
            return Err(FrameError::TooLarge { size, limit });
        }
        if size == 0 {
            return Err(FrameError::Empty);
        }
        let mut frame = Vec::with_capacity(size.min(FIRST_ALLOCATION_MAX));
        while frame.len() < size {
            if self.start == self.end && !self.fill().await? {
                return Err(FrameError::Truncated { missing: size - frame.len() });
            }
            let count = (size - frame.len()).min(self.end - self.start);
            frame.extend_from_slice(&self.buffer[self.start..self.start + count]);
            self.start += count;
        }
        Ok(Some(frame))
    }

    async fn fill(&mut self) -> io::Result<bool> {
        self.start = 0;
        self.end = 0;
        let read = self.stream.read(&mut self.buffer);
        self.end = match self.silence_max {
            None => read.await?,
            Some(silence_max) => tokio::time::timeout(silence_max, read).await??,
        };
        Ok(self.end > 0)
    }
}

/// Appends the header of a frame whose body has `body_size` bytes.
///
/// # Panics
/// When the body is longer than a `u32` can say; every channel's limit is far below.
pub(crate) fn push_header(kind: u8, body_size: usize, out: &mut Vec<u8>) {
    let size = u32::try_from(body_size + 1).expect("frames are bounded");
    size.encode(out);
    out.push(kind);
}

/// Appends a whole frame.
pub(crate) fn push_frame(kind: u8, body: &[u8], out: &mut Vec<u8>) {
    push_header(kind, body.len(), out);
    out.extend_from_slice(body);
}

/// Reads the body of a frame of the given kind.
pub(crate) fn decode_body<T: Decode>(kind: u8, frame: &[u8]) -> Result<T, DecodeError> {
    let mut reader = Reader::new(frame);
    let found = u8::decode(&mut reader)?;
    if found != kind {
        return Err(DecodeError::Invalid { what: "frame kind", value: found.into() });
    }
    let value = T::decode(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::io::Cursor;

    fn read_all(bytes: &[u8], limit: usize, buffer_size: usize) -> Vec<Result<Vec<u8>, String>> {
        let mut reader = FrameReader::new(Cursor::new(bytes.to_vec()), buffer_size);
        let mut frames = Vec::new();
        loop {
            match block_on(reader.next(limit)) {
                Ok(Some(frame)) => frames.push(Ok(frame)),
                Ok(None) => return frames,
                Err(error) => {
                    frames.push(Err(error.to_string()));
                    return frames;
                }
            }
        }
    }

    #[test]
    fn frames_are_found_whatever_the_buffer_cuts() {
        let mut bytes = Vec::new();
        push_frame(KIND_MESSAGE, b"first", &mut bytes);
        push_frame(KIND_HEARTBEAT, b"", &mut bytes);
        push_frame(KIND_MESSAGE, &[7; 300], &mut bytes);
        for buffer_size in [1, 2, 3, 7, 64, 4096] {
            let frames = read_all(&bytes, 301, buffer_size);
            assert_eq!(frames.len(), 3, "buffer of {buffer_size}");
            assert_eq!(frames[0].as_deref(), Ok(&b"\0first"[..]));
            assert_eq!(frames[1].as_deref(), Ok(&[KIND_HEARTBEAT][..]));
            assert_eq!(frames[2].as_ref().map(Vec::len), Ok(301));
        }
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_its_bytes() {
        let frames = read_all(&u32::MAX.to_le_bytes(), 1 << 20, 64);
        let expected = "a frame of 4294967295 bytes where at most 1048576 are allowed";
        assert_eq!(frames, [Err(expected.to_owned())]);
    }

    #[test]
    fn frames_that_end_early_or_are_empty_are_refused() {
        let mut bytes = Vec::new();
        push_frame(KIND_MESSAGE, b"whole", &mut bytes);
        for cut in 1..bytes.len() {
            let frames = read_all(&bytes[..cut], 100, 64);
            assert!(frames[0].as_ref().unwrap_err().contains("missing"), "cut at {cut}");
        }
        assert_eq!(read_all(&[0; 4], 100, 64), [Err("a frame without a kind".to_owned())]);
    }

    #[test]
    fn a_large_claim_takes_no_memory_before_its_bytes_arrive() {
        let mut bytes = (8_u32 << 20).to_le_bytes().to_vec();
        bytes.push(KIND_MESSAGE);
        let frames = read_all(&bytes, 8 << 20, 64);
        let expected = "the stream ended with 8388607 bytes of a frame missing";
        assert_eq!(frames, [Err(expected.to_owned())]);
    }
}
