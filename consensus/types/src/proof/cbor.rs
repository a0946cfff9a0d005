//! The little of CBOR that proofs use, in its deterministic form.

use super::{FormError, VERSION, decode_field};
use crate::encoding::{Decode, Encode};
use crate::hash::Hash;
use alloc::vec::Vec;

const UNSIGNED: u8 = 0;
const BYTES: u8 = 2;
const ARRAY: u8 = 4;
const NULL: u8 = 0xf6;

/// Writes items one after the other.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn array(&mut self, count: usize) {
        self.head(ARRAY, count as u64);
    }

    pub(super) fn unsigned(&mut self, value: u64) {
        self.head(UNSIGNED, value);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.head(BYTES, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A byte string that holds hashes, end to end.
    pub(super) fn hashes(&mut self, hashes: &[Hash]) {
        self.head(BYTES, hashes.len() as u64 * 32);
        self.0.extend(hashes.iter().flat_map(|hash| hash.0));
    }

    /// A byte string that holds a value's own encoding.
    pub(super) fn encoded(&mut self, value: &impl Encode) {
        self.bytes(&value.to_bytes());
    }

    pub(super) fn optional(&mut self, value: Option<&impl Encode>) {
        match value {
            None => self.0.push(NULL),
            Some(value) => self.encoded(value),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn head(&mut self, major: u8, value: u64) {
        let (argument, width) = match value {
            0..=23 => (value.to_be_bytes()[7], 0),
            24..=0xff => (24, 1),
            0x100..=0xffff => (25, 2),
            0x1_0000..=0xffff_ffff => (26, 4),
            _ => (27, 8),
        };
        self.0.push(major << 5 | argument);
        self.0.extend_from_slice(&value.to_be_bytes()[8 - width..]);
    }
}

/// Reads what [`Writer`] writes, and nothing else.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8], limit: usize) -> Result<Self, FormError> {
        if bytes.len() > limit {
            return Err(FormError::TooLong { size: bytes.len(), limit });
        }
        Ok(Self { bytes, at: 0 })
    }

    /// An array of exactly `expected` items.
    pub(super) fn array(&mut self, what: &'static str, expected: u64) -> Result<(), FormError> {
        let offset = self.at;
        let value = self.head(what, ARRAY)?;
        if value == expected {
            Ok(())
        } else {
            Err(FormError::Length { offset, what, value, expected })
        }
    }

    /// An array of at most `limit` items: how many.
    pub(super) fn array_at_most(
        &mut self,
        what: &'static str,
        limit: usize,
    ) -> Result<usize, FormError> {
        let offset = self.at;
        let value = self.head(what, ARRAY)?;
        at_most(offset, what, value, limit)
    }

    pub(super) fn version(&mut self) -> Result<(), FormError> {
        match self.unsigned("the version")? {
            VERSION => Ok(()),
            other => Err(FormError::Version(other)),
        }
    }

    pub(super) fn unsigned(&mut self, what: &'static str) -> Result<u64, FormError> {
        self.head(what, UNSIGNED)
    }

    pub(super) fn unsigned_at_most(
        &mut self,
        what: &'static str,
        limit: u64,
    ) -> Result<u64, FormError> {
        let offset = self.at;
        match self.unsigned(what)? {
            value if value <= limit => Ok(value),
            value => Err(FormError::Limit { offset, what, value, limit }),
        }
    }

    pub(super) fn bytes(
        &mut self,
        what: &'static str,
        limit: usize,
    ) -> Result<&'a [u8], FormError> {
        let offset = self.at;
        let value = self.head(what, BYTES)?;
        let count = at_most(offset, what, value, limit)?;
        self.take(what, count)
    }

    /// A byte string that holds whole hashes, at most `limit`.
    pub(super) fn hashes(
        &mut self,
        what: &'static str,
        limit: usize,
    ) -> Result<Vec<Hash>, FormError> {
        let offset = self.at;
        let bytes = self.bytes(what, limit * 32)?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        if rest.is_empty() {
            Ok(hashes.iter().map(|hash| Hash(*hash)).collect())
        } else {
            let (value, expected) = (bytes.len() as u64, hashes.len() as u64 * 32);
            Err(FormError::Length { offset, what, value, expected })
        }
    }

    /// A byte string that holds a value's own encoding.
    pub(super) fn decoded<T: Decode>(&mut self, what: &'static str) -> Result<T, FormError> {
        decode_field(what, self.bytes(what, usize::MAX)?)
    }

    pub(super) fn optional<T: Decode>(
        &mut self,
        what: &'static str,
    ) -> Result<Option<T>, FormError> {
        if self.bytes.get(self.at) == Some(&NULL) {
            self.at += 1;
            return Ok(None);
        }
        self.decoded(what).map(Some)
    }

    pub(super) const fn finish(self) -> Result<(), FormError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            rest => Err(FormError::Trailing(rest)),
        }
    }

    fn head(&mut self, what: &'static str, major: u8) -> Result<u64, FormError> {
        let offset = self.at;
        let found = self.take(what, 1)?[0];
        let argument = found & 0x1f;
        if found >> 5 != major || argument > 27 {
            return Err(FormError::Item { offset, what, found });
        }
        let (width, least) = match argument {
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            _ => return Ok(argument.into()),
        };
        let value = self.take(what, width)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        if value < least {
            return Err(FormError::NotShortest { offset, what, value });
        }
        Ok(value)
    }

    fn take(&mut self, what: &'static str, count: usize) -> Result<&'a [u8], FormError> {
        let rest = &self.bytes[self.at..];
        if count > rest.len() {
            return Err(FormError::End { offset: self.bytes.len(), what });
        }
        self.at += count;
        Ok(&rest[..count])
    }
}

fn at_most(
    offset: usize,
    what: &'static str,
    value: u64,
    limit: usize,
) -> Result<usize, FormError> {
    match usize::try_from(value) {
        Ok(count) if count <= limit => Ok(count),
        _ => Err(FormError::Length { offset, what, value, expected: limit as u64 }),
    }
}
