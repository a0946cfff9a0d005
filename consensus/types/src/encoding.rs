//! The one binary layout of everything that is signed or hashed.
//!
//! Integers are little-endian and of fixed width; fixed byte arrays stand
//! bare; lists and byte strings carry a `u32` count before their items; an
//! option is one byte, 0 or 1, and then the value; structs are their fields in
//! order. There are no other choices, so one value has one encoding: decoding
//! refuses trailing bytes, unknown tags and counts above the type's limit, and
//! checks a count against the bytes that are really there before it allocates.

use alloc::vec::Vec;

/// Writes itself in the fixed layout.
pub trait Encode {
    /// Appends the encoding to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// The encoding as a vector of its own.
    fn to_bytes(&self) -> Vec<u8> {
        // About what a fixed layout takes.
        let mut out = Vec::with_capacity(size_of_val(self));
        self.encode(&mut out);
        out
    }
}

/// Reads itself from the fixed layout.
pub trait Decode: Sized {
    /// Reads one value and leaves the reader behind it.
    ///
    /// # Errors
    /// When the bytes are not the encoding of any value.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Reads a value that must fill `bytes` to the end.
    ///
    /// # Errors
    /// As [`Decode::decode`], and when bytes are left over.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

/// Why bytes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ended inside a value.
    #[error("ends after {have} bytes where {need} more are needed")]
    Short {
        /// Bytes that the field asks for.
        need: usize,
        /// Bytes that are left.
        have: usize,
    },
    /// Bytes follow the value.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    /// A count is above the limit of its list.
    #[error("a count of {count} in {what}, where at most {limit} is allowed")]
    TooMany {
        /// Which list.
        what: &'static str,
        /// What the bytes say.
        count: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A tag, bitmap or other field has a value that means nothing.
    #[error("{what} is not valid: {value}")]
    Invalid {
        /// Which field.
        what: &'static str,
        /// The number that was found there.
        value: u64,
    },
    /// Items that have one order only are in another, or one is there twice.
    #[error("{0} do not ascend strictly")]
    Unordered(&'static str),
}

/// A position in borrowed bytes.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes the next `count` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        if count > self.rest.len() {
            return Err(DecodeError::Short { need: count, have: self.rest.len() });
        }
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(taken)
    }

    /// Takes a fixed array.
    ///
    /// # Errors
    /// When fewer bytes are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take returned N bytes"))
    }

    /// Reads a `u32` count, at most `limit`, of items that take at least
    /// `item_size_min` bytes each.
    ///
    /// # Errors
    /// When the count is above the limit or more than the rest can hold.
    pub fn count(
        &mut self,
        what: &'static str,
        limit: usize,
        item_size_min: usize,
    ) -> Result<usize, DecodeError> {
        let count = u32::decode(self)? as usize;
        if count > limit {
            return Err(DecodeError::TooMany { what, count, limit });
        }
        let need = count.saturating_mul(item_size_min);
        if need > self.rest.len() {
            return Err(DecodeError::Short { need, have: self.rest.len() });
        }
        Ok(count)
    }

    /// Reads a byte string of at most `limit` bytes.
    ///
    /// # Errors
    /// When it is longer or the input ends in it.
    pub fn bytes(&mut self, what: &'static str, limit: usize) -> Result<&'a [u8], DecodeError> {
        let count = self.count(what, limit, 1)?;
        self.take(count)
    }

    /// Reads a byte string of at most `limit` bytes that is UTF-8.
    ///
    /// # Errors
    /// As [`Reader::bytes`], and when it is not UTF-8.
    pub fn text(&mut self, what: &'static str, limit: usize) -> Result<&'a str, DecodeError> {
        core::str::from_utf8(self.bytes(what, limit)?)
            .map_err(|error| DecodeError::Invalid { what, value: error.valid_up_to() as u64 })
    }

    /// Reads a list of at most `limit` items of at least `item_size_min` bytes.
    ///
    /// # Errors
    /// When it is longer, or an item is refused.
    pub fn list<T: Decode>(
        &mut self,
        what: &'static str,
        limit: usize,
        item_size_min: usize,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.count(what, limit, item_size_min)?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(T::decode(self)?);
        }
        Ok(items)
    }

    /// Reads a [list](Self::list) of items that ascend strictly by `key`: of a set that has one
    /// encoding only.
    ///
    /// # Errors
    /// As [`Self::list`], and when the items do not ascend.
    pub fn ascending<T: Decode, K: Ord>(
        &mut self,
        what: &'static str,
        limit: usize,
        item_size_min: usize,
        key: impl Fn(&T) -> K,
    ) -> Result<Vec<T>, DecodeError> {
        let items = self.list(what, limit, item_size_min)?;
        if items.is_sorted_by(|left, right| key(left) < key(right)) {
            Ok(items)
        } else {
            Err(DecodeError::Unordered(what))
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// When bytes are left over.
    pub const fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.rest.len())) }
    }
}

/// Appends a byte string with its `u32` length.
///
/// # Panics
/// When it is longer than `u32::MAX`; every byte string of the protocol is bounded far below.
pub fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    u32::try_from(bytes.len()).expect("byte strings are bounded").encode(out);
    out.extend_from_slice(bytes);
}

/// Appends a list with its `u32` count.
///
/// # Panics
/// When it has more than `u32::MAX` items; every list of the protocol is bounded far below.
pub fn encode_list<T: Encode>(items: &[T], out: &mut Vec<u8>) {
    u32::try_from(items.len()).expect("lists are bounded").encode(out);
    for item in items {
        item.encode(out);
    }
}

macro_rules! integer {
    ($($int:ty),*) => {$(
        impl Encode for $int {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }

        impl Decode for $int {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self::from_le_bytes(reader.array()?))
            }
        }
    )*};
}

integer!(u8, u16, u32, u64);

impl<const N: usize> Encode for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<const N: usize> Decode for [u8; N] {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array()
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.encode(out);
            }
        }
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            0 => Ok(None),
            1 => Ok(Some(T::decode(reader)?)),
            tag => Err(DecodeError::Invalid { what: "option tag", value: tag.into() }),
        }
    }
}

/// Implements [`Encode`] and [`Decode`] for a struct as its fields in order.
#[macro_export]
macro_rules! encode_fields {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::encoding::Encode for $name {
            fn encode(&self, out: &mut ::alloc::vec::Vec<u8>) {
                $($crate::encoding::Encode::encode(&self.$field, out);)*
            }
        }

        impl $crate::encoding::Decode for $name {
            fn decode(
                reader: &mut $crate::encoding::Reader<'_>,
            ) -> Result<Self, $crate::encoding::DecodeError> {
                $(let $field = $crate::encoding::Decode::decode(reader)?;)*
                Ok(Self { $($field),* })
            }
        }
    };
}
