//! Strict JSON, and its canonical form of RFC 8785.
//!
//! What people sign is JSON, so two readers must never see two values in one
//! text. [`parse`] refuses what others tolerate: duplicate keys, invalid UTF-8,
//! a byte order mark, lone surrogates, leading zeros, trailing bytes, nesting
//! beyond a limit, and numbers whose double lies beyond ±(2⁵³ − 1), however
//! they are spelled. `-0` is 0, and what is too small for a double is 0.
//!
//! A [`Document`] is a text that was read, in one pass that copies nothing but what
//! the text spells otherwise, and finds out on the way whether it is canonical.
//! [`Object`] reads a closed schema from it: members are taken by name, and
//! [`Object::finish`] refuses whatever was not asked for.
//!
//! A [`Value`] is for building, changing and writing. It is canonical from the
//! moment it is read: objects are sorted by the UTF-16 code units of their keys,
//! and a number is its ECMAScript text. [`canonical`] therefore only writes, and
//! its output always passes [`parse`] again (under a size limit that allows for it:
//! `1e15` is shorter than its canonical spelling).
//!
//! ```
//! use bizra_types::json::{Document, Limits, SchemaError};
//!
//! let text = br#"{"name":"alpha","weights":[1,2]}"#;
//! let document = Document::parse(text, Limits::ENVELOPE).unwrap();
//! let mut object = document.object()?;
//! let name = object.take("name")?.text(32)?;
//! let weights = object.take("weights")?.items(7)?;
//! let first = weights[0].unsigned()?;
//! object.finish()?;
//! assert_eq!((name, first), ("alpha", 1));
//! # Ok::<(), SchemaError>(())
//! ```

use crate::hash::hex_array;
use alloc::borrow::{Cow, ToOwned};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

/// The largest magnitude a number may have: 2⁵³ − 1.
pub const NUMBER_MAX: f64 = 9_007_199_254_740_991.0;

/// What reading puts up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole text.
    pub size_max: usize,
    /// Containers inside each other; the outermost counts as 1.
    pub depth_max: usize,
}

/// A JSON value, ready to be written in canonical form.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number within ±(2⁵³ − 1).
    Number(Number),
    /// A string, unescaped.
    String(String),
    /// An array.
    Array(Vec<Self>),
    /// An object.
    Object(Members),
}

/// A finite number within ±(2⁵³ − 1), as its canonical text.
#[derive(Clone, PartialEq, Eq)]
pub struct Number(Box<str>);

/// The members of an object: keys unique, in canonical order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members(Vec<(String, Value)>);

/// Why a text is not JSON as we read it, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {fault}")]
pub struct JsonError {
    /// Byte of the text, from 0.
    pub offset: usize,
    /// What is wrong there.
    pub fault: JsonFault,
}

/// What can be wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// The text is longer than the limit.
    #[error("the text has {size} bytes, where at most {limit} are allowed")]
    TooLong {
        /// Bytes of the text.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The text begins with a byte order mark.
    #[error("a byte order mark is not allowed")]
    ByteOrderMark,
    /// The text is not UTF-8.
    #[error("the text is not valid UTF-8")]
    NotUtf8,
    /// The text ends too early.
    #[error("the text ends where {0} was expected")]
    End(&'static str),
    /// Something else was expected.
    #[error("found {found:?} where {expected} was expected")]
    Unexpected {
        /// The character that stands there.
        found: char,
        /// What would have been right.
        expected: &'static str,
    },
    /// Something follows the value.
    #[error("found {0:?} after the end of the value")]
    Trailing(char),
    /// Too many containers inside each other.
    #[error("containers nest deeper than {0}")]
    TooDeep(usize),
    /// A key stands twice in one object.
    #[error("the key {0:?} occurs twice in one object")]
    DuplicateKey(String),
    /// A control character stands in a string as it is.
    #[error("the control character U+{0:04X} must be escaped in a string")]
    ControlCharacter(u8),
    /// A surrogate without its other half.
    #[error("the surrogate \\u{0:04x} stands alone, so the string is not Unicode")]
    LoneSurrogate(u16),
    /// The digits go on after a leading zero.
    #[error("a number must not begin with a needless zero")]
    LeadingZero,
    /// The number is too large for its double to be exact.
    #[error("a number beyond ±9007199254740991 has no exact double")]
    NumberTooLarge,
}

/// Why a JSON value does not fit its schema, and which member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaError {
    /// The member, as `payload.data.parents[2]`; empty for the whole document.
    pub path: String,
    /// What is wrong with it, and what was expected.
    pub detail: String,
}

/// A text that was read, and whether it is canonical.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    text: &'a str,
    is_canonical: bool,
    /// All values, as they stand in the text.
    tokens: Vec<Token<'a>>,
    /// The members of all objects, those of each together and in canonical order.
    entries: Vec<Entry<'a>>,
}

/// A scalar with its meaning, or the head of a container, which the values that it holds follow.
#[derive(Clone, Debug)]
enum Token<'a> {
    Null,
    Bool(bool),
    /// Its canonical text.
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    Array {
        count: usize,
        /// Tokens of the whole array, with this one.
        span: usize,
    },
    Object {
        /// The first of its entries.
        first: usize,
        count: usize,
        /// Tokens of the whole object, with this one.
        span: usize,
    },
}

/// A member of an object.
#[derive(Clone, Debug)]
struct Entry<'a> {
    key: Cow<'a, str>,
    /// Byte of the text at which the key begins.
    offset: usize,
    /// The token of the value.
    value_at: usize,
}

/// Takes the members of an object by name and refuses those nobody asked for.
#[derive(Debug)]
#[must_use = "finish() refuses unknown members"]
pub struct Object<'a> {
    whole: Member<'a>,
    entries: &'a [Entry<'a>],
    asked: Vec<&'a str>,
    /// A bit for each of the first members that was asked for.
    found: u128,
}

/// One value of a document, and its place there.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    document: &'a Document<'a>,
    /// Its token.
    at: usize,
}

impl Limits {
    /// What an envelope may be: 64 KiB, depth 32.
    pub const ENVELOPE: Self = Self { size_max: 64 * 1024, depth_max: 32 };
}

/// Reads one value that fills `text` to the end.
///
/// # Errors
/// When the text is not strict JSON or exceeds a limit.
pub fn parse(text: &[u8], limits: Limits) -> Result<Value, JsonError> {
    Document::parse(text, limits).map(|document| document.root().to_value())
}

/// The canonical bytes of a value (RFC 8785).
#[must_use]
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_value(value, &mut out);
    out
}

impl<'a> Document<'a> {
    /// Reads one value that fills `text` to the end.
    ///
    /// # Errors
    /// When the text is not strict JSON or exceeds a limit.
    pub fn parse(text: &'a [u8], limits: Limits) -> Result<Self, JsonError> {
        let fail = |offset, fault| Err(JsonError { offset, fault });
        if text.len() > limits.size_max {
            return fail(
                limits.size_max,
                JsonFault::TooLong { size: text.len(), limit: limits.size_max },
            );
        }
        if text.starts_with(b"\xef\xbb\xbf") {
            return fail(0, JsonFault::ByteOrderMark);
        }
        let text = match core::str::from_utf8(text) {
            Ok(text) => text,
            Err(error) => return fail(error.valid_up_to(), JsonFault::NotUtf8),
        };
        let mut parser = Parser {
            text,
            at: 0,
            depth: 0,
            depth_max: limits.depth_max,
            is_canonical: true,
            // Of an envelope, one is made of 20 bytes and more.
            tokens: Vec::with_capacity(text.len() / 16),
            entries: Vec::with_capacity(text.len() / 16),
            open: Vec::with_capacity(32),
        };
        parser.skip_space();
        parser.value()?;
        parser.skip_space();
        if let Some(found) = parser.next_char() {
            return fail(parser.at, JsonFault::Trailing(found));
        }
        let Parser { is_canonical, tokens, entries, .. } = parser;
        Ok(Self { text, is_canonical, tokens, entries })
    }

    /// Whether the text is the canonical form of what it says.
    #[must_use]
    pub const fn is_canonical(&self) -> bool {
        self.is_canonical
    }

    /// The value, for schemas that are no object.
    #[must_use]
    pub fn root(&self) -> Member<'_> {
        Member { document: self, at: 0 }
    }

    /// Begins to read an object as the whole document.
    ///
    /// # Errors
    /// When the value is no object.
    pub fn object(&self) -> Result<Object<'_>, SchemaError> {
        self.root().object()
    }

    /// The text before and after the member `name` of the outermost object and one comma beside it:
    /// together the canonical form of the object without the member. There is nothing after a
    /// member that does not exist.
    ///
    /// # Panics
    /// When the text is not canonical.
    #[must_use]
    pub fn around(&self, name: &str) -> [&'a [u8]; 2] {
        assert!(self.is_canonical, "what is cut from the text is its canonical form");
        let text = self.text.as_bytes();
        let entries = self.root().entries();
        let Some(place) = entries.iter().position(|entry| entry.key == name) else {
            return [text, &[]];
        };
        let (start, next) = (entries[place].offset, entries.get(place + 1));
        match (place, next) {
            (0, Some(next)) => [&text[..start], &text[next.offset..]],
            (0, None) => [&text[..start], b"}"],
            (_, Some(next)) => [&text[..start - 1], &text[next.offset - 1..]],
            (_, None) => [&text[..start - 1], b"}"],
        }
    }
}

impl Token<'_> {
    /// Tokens of the value that begins with this one.
    const fn span(&self) -> usize {
        match self {
            Self::Array { span, .. } | Self::Object { span, .. } => *span,
            _ => 1,
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array { .. } => "an array",
            Self::Object { .. } => "an object",
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Number(Number::from_finite(value.into()))
    }
}

impl Number {
    /// The number for a double, or `None` if it is not finite or its magnitude
    /// is above [`NUMBER_MAX`].
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        (value.abs() <= NUMBER_MAX).then(|| Self::from_finite(value))
    }

    /// The number for an integer up to 2⁵³ − 1, or `None` above.
    #[must_use]
    pub fn from_unsigned(value: u64) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "new() refuses what is not exact")]
        let double = value as f64;
        Self::new(double)
    }

    fn from_finite(value: f64) -> Self {
        // Adding zero turns −0 into 0, which the canonical text cannot tell apart.
        Self(ryu_js::Buffer::new().format_finite(value + 0.0).into())
    }

    /// The double.
    #[must_use]
    pub fn get(&self) -> f64 {
        self.0.parse().expect("JSON's numbers are a part of what Rust reads as numbers")
    }

    /// The canonical text, as ECMAScript prints the double.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The number as an unsigned integer, if it is one (`1.0` and `1e0` are).
    #[must_use]
    pub fn as_unsigned(&self) -> Option<u64> {
        as_unsigned(&self.0)
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Members {
    /// Sorts members into canonical order.
    ///
    /// # Errors
    /// When a key stands twice, that key.
    pub fn new(mut members: Vec<(String, Value)>) -> Result<Self, String> {
        members.sort_by(|(left, _), (right, _)| order(left, right));
        for pair in members.windows(2) {
            if pair[0].0 == pair[1].0 {
                return Err(pair[0].0.clone());
            }
        }
        Ok(Self(members))
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Sets the value of a key, and gives back the one before.
    pub fn insert(&mut self, name: &str, value: Value) -> Option<Value> {
        match self.0.binary_search_by(|(key, _)| order(key, name)) {
            Ok(at) => Some(core::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (name.to_owned(), value));
                None
            }
        }
    }

    /// Takes a key out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.0.binary_search_by(|(key, _)| order(key, name)).ok()?;
        Some(self.0.remove(at).1)
    }

    /// The members in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// How many members there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl core::error::Error for SchemaError {}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "the document {}", self.detail)
        } else {
            write!(f, "`{}` {}", self.path, self.detail)
        }
    }
}

impl<'a> Object<'a> {
    /// Takes a member that must be there.
    ///
    /// # Errors
    /// When it is missing.
    pub fn take(&mut self, name: &'a str) -> Result<Member<'a>, SchemaError> {
        self.take_optional(name).ok_or_else(|| self.error(name, "is missing"))
    }

    /// Takes a member that may be absent. A `null` is a value, and no typed
    /// accessor accepts it.
    pub fn take_optional(&mut self, name: &'a str) -> Option<Member<'a>> {
        self.asked.push(name);
        // One after the other: objects are small, and most keys differ in their length.
        let place = self.entries.iter().position(|entry| entry.key == name)?;
        if place < 128 {
            self.found |= 1 << place;
        }
        Some(Member { at: self.entries[place].value_at, ..self.whole })
    }

    /// Takes all members that were not asked for, in canonical order, for the
    /// few schemas that leave room for them.
    pub fn take_rest(&mut self) -> Vec<(&'a str, Member<'a>)> {
        let rest = self.rest();
        self.asked.extend(rest.iter().map(|(name, _)| *name));
        rest
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// When there is a member that was not asked for.
    pub fn finish(self) -> Result<(), SchemaError> {
        if self.found.count_ones() as usize == self.entries.len() {
            return Ok(());
        }
        match self.rest().first() {
            None => Ok(()),
            Some((name, _)) => {
                let known = self.asked.join(", ");
                Err(self.error(name, format!("is an unknown member; known here: {known}")))
            }
        }
    }

    /// An error that names a member of this object.
    pub fn error(&self, name: &str, detail: impl Into<Cow<'static, str>>) -> SchemaError {
        let mut path = self.whole.path();
        push_name(&mut path, name);
        SchemaError { path, detail: detail.into().into_owned() }
    }

    /// The members that were not asked for, in canonical order.
    fn rest(&self) -> Vec<(&'a str, Member<'a>)> {
        self.whole.members().filter(|(name, _)| !self.asked.contains(name)).collect()
    }
}

impl<'a> Member<'a> {
    fn token(&self) -> &'a Token<'a> {
        &self.document.tokens[self.at]
    }

    /// The members of an object; none of anything else.
    fn entries(&self) -> &'a [Entry<'a>] {
        match *self.token() {
            Token::Object { first, count, .. } => &self.document.entries[first..first + count],
            _ => &[],
        }
    }

    /// The members of an object in canonical order; none of anything else.
    fn members(self) -> impl Iterator<Item = (&'a str, Self)> {
        self.entries().iter().map(move |it| (&*it.key, Self { at: it.value_at, ..self }))
    }

    /// The value by itself.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self.token() {
            Token::Null => Value::Null,
            Token::Bool(value) => Value::Bool(*value),
            Token::Number(text) => Value::Number(Number(text.as_ref().into())),
            Token::String(text) => Value::String(text.to_string()),
            Token::Array { .. } => Value::Array(self.each_item().map(|it| it.to_value()).collect()),
            Token::Object { .. } => {
                let members = self.members().map(|(key, it)| (key.to_owned(), it.to_value()));
                Value::Object(Members(members.collect()))
            }
        }
    }

    /// The path that leads here.
    #[must_use]
    pub fn path(&self) -> String {
        let mut path = String::new();
        let mut way = self.document.root();
        while way.at != self.at {
            let holds_it = |it: &Self| (it.at..it.at + it.token().span()).contains(&self.at);
            if let Some((name, member)) = way.members().find(|(_, it)| holds_it(it)) {
                push_name(&mut path, name);
                way = member;
            } else {
                let (place, item) = way
                    .each_item()
                    .enumerate()
                    .find(|(_, it)| holds_it(it))
                    .expect("what is no item is a member");
                path += &format!("[{place}]");
                way = item;
            }
        }
        path
    }

    /// An error that names this member. `detail` continues the sentence that
    /// begins with its name.
    pub fn error(&self, detail: impl Into<Cow<'static, str>>) -> SchemaError {
        SchemaError { path: self.path(), detail: detail.into().into_owned() }
    }

    fn mismatch(&self, expected: &str) -> SchemaError {
        let found = match self.token() {
            Token::String(text) => format!("{:?}", shortened(text)),
            Token::Number(text) => text.to_string(),
            other => other.kind().to_owned(),
        };
        self.error(format!("must be {expected}, but is {found}"))
    }

    /// A string that is not empty.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn string(&self) -> Result<&'a str, SchemaError> {
        match self.token() {
            Token::String(text) if !text.is_empty() => Ok(text),
            _ => Err(self.mismatch("a string that is not empty")),
        }
    }

    /// A string of 1 to `size_max` bytes of UTF-8.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn text(&self, size_max: usize) -> Result<&'a str, SchemaError> {
        let text = self.string()?;
        if text.len() > size_max {
            return Err(
                self.error(format!("must have at most {size_max} bytes, but has {}", text.len()))
            );
        }
        Ok(text)
    }

    /// `2 N` lower-case hex digits.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn hex<const N: usize>(&self) -> Result<[u8; N], SchemaError> {
        self.string()
            .ok()
            .and_then(hex_array)
            .ok_or_else(|| self.mismatch(&format!("{} lower-case hex digits", 2 * N)))
    }

    /// One of a few strings, each with its meaning.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, SchemaError> {
        if let Token::String(text) = self.token()
            && let Some((_, meaning)) = choices.iter().find(|(name, _)| name == text)
        {
            return Ok(*meaning);
        }
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
        Err(self.mismatch(&names.join(" or ")))
    }

    /// Exactly this string.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn literal(&self, text: &str) -> Result<(), SchemaError> {
        self.one_of(&[(text, ())])
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn boolean(&self) -> Result<bool, SchemaError> {
        match self.token() {
            Token::Bool(value) => Ok(*value),
            _ => Err(self.mismatch("true or false")),
        }
    }

    /// The canonical text of a number.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn number(&self) -> Result<&'a str, SchemaError> {
        self.as_number().ok_or_else(|| self.mismatch("a number"))
    }

    fn as_number(&self) -> Option<&'a str> {
        match self.token() {
            Token::Number(text) => Some(text),
            _ => None,
        }
    }

    /// An integer from 0 to 2⁵³ − 1 (`1.0` and `1e0` are integers).
    ///
    /// # Errors
    /// When it is anything else.
    pub fn unsigned(&self) -> Result<u64, SchemaError> {
        self.as_number()
            .and_then(as_unsigned)
            .ok_or_else(|| self.mismatch("an integer from 0 to 9007199254740991"))
    }

    /// An integer from `range`, both ends included.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn unsigned_in(&self, range: core::ops::RangeInclusive<u64>) -> Result<u64, SchemaError> {
        self.as_number().and_then(as_unsigned).filter(|value| range.contains(value)).ok_or_else(
            || self.mismatch(&format!("an integer from {} to {}", range.start(), range.end())),
        )
    }

    /// A number from 0 to 1, in parts per million, cut off from the canonical decimal text, so that
    /// everyone computes the same.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parts_per_million(&self) -> Result<u32, SchemaError> {
        self.as_number()
            .and_then(as_parts_per_million)
            .ok_or_else(|| self.mismatch("a number from 0 to 1"))
    }

    /// Begins to read an object.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn object(&self) -> Result<Object<'a>, SchemaError> {
        if !matches!(self.token(), Token::Object { .. }) {
            return Err(self.mismatch("an object"));
        }
        let entries = self.entries();
        Ok(Object { whole: *self, entries, asked: Vec::with_capacity(entries.len()), found: 0 })
    }

    /// The items of an array of at most `count_max`.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn items(&self, count_max: usize) -> Result<Vec<Self>, SchemaError> {
        match *self.token() {
            Token::Array { count, .. } if count > count_max => {
                Err(self.error(format!("must have at most {count_max} items, but has {count}")))
            }
            Token::Array { .. } => Ok(self.each_item().collect()),
            _ => Err(self.mismatch("an array")),
        }
    }

    /// The items of an array; none of anything else.
    fn each_item(self) -> impl Iterator<Item = Self> {
        let count = match self.token() {
            Token::Array { count, .. } => *count,
            _ => 0,
        };
        let mut next = self.at + 1;
        (0..count).map(move |_| {
            let item = Self { at: next, ..self };
            next += item.token().span();
            item
        })
    }
}

/// Goes on with a path to a member.
fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(&shortened(name));
}

/// A canonical number as an unsigned integer.
fn as_unsigned(text: &str) -> Option<u64> {
    // Integers up to 2⁵³ − 1 are printed without an exponent.
    text.bytes()
        .all(|digit| digit.is_ascii_digit())
        .then(|| text.parse().expect("at most 16 digits, because numbers are at most 2^53 - 1"))
}

/// A canonical number from 0 to 1 in parts per million, cut off.
fn as_parts_per_million(text: &str) -> Option<u32> {
    match text {
        "0" => return Some(0),
        "1" => return Some(1_000_000),
        // ECMAScript writes 1e-7 for what is below one part per million.
        text if text.contains("e-") && !text.starts_with('-') => return Some(0),
        _ => {}
    }
    let digits = text.strip_prefix("0.")?.as_bytes();
    Some((0..6).fold(0, |parts, place| {
        10 * parts + digits.get(place).map_or(0, |digit| u32::from(digit - b'0'))
    }))
}

/// The order of RFC 8785: by UTF-16 code units.
///
/// UTF-8 bytes have that order too, but for the characters beyond U+FFFF: their
/// surrogates come before U+E000, their leading bytes (0xf0 to 0xf4) after that
/// of U+E000 to U+FFFF (0xee and 0xef).
fn order(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    match left.iter().zip(right).find(|(left, right)| left != right) {
        None => left.len().cmp(&right.len()),
        Some((0xee | 0xef, 0xf0..)) => Ordering::Greater,
        Some((0xf0.., 0xee | 0xef)) => Ordering::Less,
        Some((left, right)) => left.cmp(right),
    }
}

/// What an error repeats of a hostile text: at most its first 64 characters.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(64) {
        None => text.to_string(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    depth_max: usize,
    /// Whether all that was read is spelled as the canonical form spells it.
    is_canonical: bool,
    tokens: Vec<Token<'a>>,
    entries: Vec<Entry<'a>>,
    /// The members so far of the objects that are being read, outermost first.
    open: Vec<Entry<'a>>,
}

impl<'a> Parser<'a> {
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next_char(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip_space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
            self.is_canonical = false;
        }
    }

    fn fail<T>(&self, offset: usize, fault: JsonFault) -> Result<T, JsonError> {
        Err(JsonError { offset, fault })
    }

    /// What stands here is not `expected`.
    fn unexpected<T>(&self, expected: &'static str) -> Result<T, JsonError> {
        let fault = self
            .next_char()
            .map_or(JsonFault::End(expected), |found| JsonFault::Unexpected { found, expected });
        self.fail(self.at, fault)
    }

    fn value(&mut self) -> Result<(), JsonError> {
        let token = match self.byte() {
            Some(b'{') => return self.members(),
            Some(b'[') => return self.array(),
            Some(b'"') => match self.plain_string() {
                Some(text) => Token::String(Cow::Borrowed(text)),
                None => Token::String(Cow::Owned(self.escaped_string()?)),
            },
            Some(b'-' | b'0'..=b'9') => Token::Number(self.number()?),
            Some(b't') => self.word("true", Token::Bool(true))?,
            Some(b'f') => self.word("false", Token::Bool(false))?,
            Some(b'n') => self.word("null", Token::Null)?,
            _ => return self.unexpected("a value"),
        };
        self.tokens.push(token);
        Ok(())
    }

    fn word(&mut self, word: &'static str, token: Token<'a>) -> Result<Token<'a>, JsonError> {
        for expected in word.bytes() {
            if self.byte() != Some(expected) {
                return self.unexpected(word);
            }
            self.at += 1;
        }
        Ok(token)
    }

    /// Enters a container, and gives the place of its head.
    fn enter(&mut self) -> Result<usize, JsonError> {
        if self.depth == self.depth_max {
            return self.fail(self.at, JsonFault::TooDeep(self.depth_max));
        }
        self.depth += 1;
        self.at += 1;
        self.skip_space();
        self.tokens.push(Token::Null);
        Ok(self.tokens.len() - 1)
    }

    fn array(&mut self) -> Result<(), JsonError> {
        let head = self.enter()?;
        let mut count = 0;
        if self.byte() != Some(b']') {
            loop {
                self.value()?;
                count += 1;
                self.skip_space();
                match self.byte() {
                    Some(b',') => self.at += 1,
                    Some(b']') => break,
                    _ => return self.unexpected("`,` or `]`"),
                }
                self.skip_space();
            }
        }
        self.at += 1;
        self.depth -= 1;
        self.tokens[head] = Token::Array { count, span: self.tokens.len() - head };
        Ok(())
    }

    fn members(&mut self) -> Result<(), JsonError> {
        let head = self.enter()?;
        let first_open = self.open.len();
        let mut is_sorted = true;
        if self.byte() != Some(b'}') {
            loop {
                if self.byte() != Some(b'"') {
                    return self.unexpected("a key");
                }
                let offset = self.at;
                let key = match self.plain_string() {
                    Some(key) => Cow::Borrowed(key),
                    None => Cow::Owned(self.escaped_string()?),
                };
                let last = self.open[first_open..].last();
                is_sorted &= last.is_none_or(|last| order(&last.key, &key).is_lt());
                self.open.push(Entry { key, offset, value_at: self.tokens.len() });
                self.skip_space();
                if self.byte() != Some(b':') {
                    return self.unexpected("`:`");
                }
                self.at += 1;
                self.skip_space();
                self.value()?;
                self.skip_space();
                match self.byte() {
                    Some(b',') => self.at += 1,
                    Some(b'}') => break,
                    _ => return self.unexpected("`,` or `}`"),
                }
                self.skip_space();
            }
        }
        self.at += 1;
        self.depth -= 1;
        if !is_sorted {
            self.is_canonical = false;
            // The sort is stable, so of two equal keys the later one stands second.
            self.open[first_open..].sort_by(|left, right| order(&left.key, &right.key));
            for pair in self.open[first_open..].windows(2) {
                if pair[0].key == pair[1].key {
                    let fault = JsonFault::DuplicateKey(shortened(&pair[1].key));
                    return self.fail(pair[1].offset, fault);
                }
            }
        }
        let first = self.entries.len();
        self.entries.extend(self.open.drain(first_open..));
        let (count, span) = (self.entries.len() - first, self.tokens.len() - head);
        self.tokens[head] = Token::Object { first, count, span };
        Ok(())
    }

    /// A string that ends before any escape, if one stands here.
    fn plain_string(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.at + 1..];
        let size = plain_size(rest.as_bytes());
        if rest.as_bytes().get(size) != Some(&b'"') {
            return None;
        }
        self.at += size + 2;
        Some(&rest[..size])
    }

    fn escaped_string(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut out = self.plain_text().to_owned();
        loop {
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    let escape_at = self.at;
                    let character = self.escape()?;
                    self.is_canonical &=
                        escape_of(character) == self.text.as_bytes()[escape_at..self.at];
                    out.push(character);
                }
                Some(control) => {
                    return self.fail(self.at, JsonFault::ControlCharacter(control));
                }
                None => return self.unexpected("the end of a string"),
            }
            out.push_str(self.plain_text());
        }
    }

    /// What stands here of a string before a quote, an escape or a control character.
    fn plain_text(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let end = plain_size(rest.as_bytes());
        self.at += end;
        &rest[..end]
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let start = self.at;
        self.at += 1;
        let plain = match self.byte() {
            Some(same @ (b'"' | b'\\' | b'/')) => char::from(same),
            Some(b'b') => '\u{8}',
            Some(b't') => '\t',
            Some(b'n') => '\n',
            Some(b'f') => '\u{c}',
            Some(b'r') => '\r',
            Some(b'u') => {
                self.at += 1;
                let unit = self.code_unit()?;
                let lone = JsonError { offset: start, fault: JsonFault::LoneSurrogate(unit) };
                return match unit {
                    0xd800..=0xdbff => {
                        if !self.text[self.at..].starts_with("\\u") {
                            return Err(lone);
                        }
                        self.at += 2;
                        let low = self.code_unit()?;
                        char::decode_utf16([unit, low]).next().and_then(Result::ok).ok_or(lone)
                    }
                    _ => char::from_u32(unit.into()).ok_or(lone),
                };
            }
            _ => return self.unexpected("one of `\"\\/bfnrtu` after a backslash"),
        };
        self.at += 1;
        Ok(plain)
    }

    fn code_unit(&mut self) -> Result<u16, JsonError> {
        let mut unit = 0;
        for _ in 0..4 {
            let Some(digit) = self.byte().and_then(|byte| char::from(byte).to_digit(16)) else {
                return self.unexpected("a hex digit");
            };
            unit = unit << 4 | digit as u16;
            self.at += 1;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        let integer_at = self.at;
        self.digits()?;
        if self.at > integer_at + 1 && self.text.as_bytes()[integer_at] == b'0' {
            return self.fail(integer_at, JsonFault::LeadingZero);
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.digits()?;
        }
        let spelled = &self.text[start..self.at];
        if is_plain_decimal(spelled) {
            return Ok(Cow::Borrowed(spelled));
        }
        let double = spelled.parse().expect("JSON's numbers are a part of what Rust reads");
        let Some(Number(canonical)) = Number::new(double) else {
            return self.fail(start, JsonFault::NumberTooLarge);
        };
        if *canonical == *spelled {
            return Ok(Cow::Borrowed(spelled));
        }
        self.is_canonical = false;
        Ok(Cow::Owned(canonical.into()))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.unexpected("a digit") } else { Ok(()) }
    }
}

/// Bytes of a string before a quote, an escape or a control character, eight at a time.
fn plain_size(text: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // The high bit of each byte that is below `limit`, and perhaps of some after the first of those.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGHS;
    let mut size = 0;
    while let Some(bytes) = text[size..].first_chunk() {
        let word = u64::from_le_bytes(*bytes);
        let (quote, escape) = (ONES * u64::from(b'"'), ONES * u64::from(b'\\'));
        let ends = below(word, 0x20) | below(word ^ quote, 1) | below(word ^ escape, 1);
        if ends != 0 {
            return size + ends.trailing_zeros() as usize / 8;
        }
        size += bytes.len();
    }
    let end = |&byte: &u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    text[size..].iter().position(end).map_or(text.len(), |at| size + at)
}

/// Whether a number is certainly spelled as ECMAScript would: a decimal of at most 15 digits, in
/// which none is needless, of no less than a millionth. No two such decimals are the same double,
/// so each is the shortest of its own.
fn is_plain_decimal(text: &str) -> bool {
    if text.len() > 15 || text == "-0" || text.contains(['e', 'E']) {
        return false;
    }
    match text.split_once('.') {
        None => true,
        Some((whole, fraction)) => {
            let is_tiny = matches!(whole, "0" | "-0") && fraction.starts_with("000000");
            !is_tiny && !fraction.ends_with('0')
        }
    }
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => out.extend_from_slice(number.text().as_bytes()),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_value(item, out);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (at, (key, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                write_value(value, out);
            }
            out.push(b'}');
        }
    }
}

/// What stands for a character in a canonical string.
fn escape_of(character: char) -> Vec<u8> {
    let mut quoted = Vec::new();
    write_string(character.encode_utf8(&mut [0; 4]), &mut quoted);
    quoted[1..quoted.len() - 1].to_vec()
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            0x00..0x20 => 0,
            _ => continue,
        };
        out.extend_from_slice(&bytes[start..at]);
        if short == 0 {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(&[b'\\', short]);
        }
        start = at + 1;
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests;
