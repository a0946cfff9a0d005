//! UUIDs, timestamps and scores, each with its one spelling.

use bizra_types::encoding::{Decode, DecodeError, Encode, Reader};
use bizra_types::hash::hex_array;
use bizra_types::json::{Member, SchemaError};
use bizra_types::numbers::TimestampMs;
use core::fmt;

/// A UUID: lower-case hex in groups of 8, 4, 4, 4 and 12.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

/// A score from 0 to 1 in parts per million, cut off.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Score(u32);

/// Whether a text is the libp2p peer id of an Ed25519 key, in its one spelling:
/// base58 (of Bitcoin) of the identity multihash of the encoded public key.
#[must_use]
pub fn is_peer_id(text: &str) -> bool {
    const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    // Identity hash, 36 bytes; a key of type Ed25519, 32 bytes.
    const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
    let mut number = [0_u8; PREFIX.len() + 32];
    // Every number that begins like this has 51 digits, and a 1 stands for its byte 0.
    if text.len() != 52 {
        return false;
    }
    for letter in text.bytes() {
        let Some(digit) = DIGITS.iter().position(|digit| *digit == letter) else { return false };
        let mut carry = digit;
        for byte in number.iter_mut().rev() {
            let sum = usize::from(*byte) * DIGITS.len() + carry;
            [*byte, ..] = sum.to_le_bytes();
            carry = sum >> 8;
        }
        if carry != 0 {
            return false;
        }
    }
    number.starts_with(&PREFIX)
}

impl Uuid {
    /// Reads the one spelling of a UUID, of any version.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 36 || [8, 13, 18, 23].iter().any(|&at| bytes[at] != b'-') {
            return None;
        }
        let mut uuid = [0; 16];
        uuid[..4].copy_from_slice(&hex_array::<4>(text.get(..8)?)?);
        for (place, at) in [(4, 9), (6, 14), (8, 19)] {
            uuid[place..place + 2].copy_from_slice(&hex_array::<2>(text.get(at..at + 4)?)?);
        }
        uuid[10..].copy_from_slice(&hex_array::<6>(text.get(24..)?)?);
        Some(Self(uuid))
    }

    /// Whether it is a random UUID (version 4) of the usual variant.
    #[must_use]
    pub const fn is_version_4(&self) -> bool {
        self.0[6] >> 4 == 4 && self.0[8] >> 6 == 0b10
    }

    /// Reads a member.
    ///
    /// # Errors
    /// When it is no UUID.
    pub fn read(member: &Member<'_>) -> Result<Self, SchemaError> {
        Self::parse(member.string()?)
            .ok_or_else(|| member.error("must be a UUID in lower case, as 8-4-4-4-12 hex digits"))
    }

    /// Reads a member that must be a UUID of version 4.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn read_version_4(member: &Member<'_>) -> Result<Self, SchemaError> {
        let uuid = Self::read(member)?;
        if uuid.is_version_4() {
            Ok(uuid)
        } else {
            Err(member.error("must be a UUID of version 4"))
        }
    }
}

impl Encode for Uuid {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl Decode for Uuid {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.array()?))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Score {
    /// The score 0.
    pub const ZERO: Self = Self(0);
    /// The score 1.
    pub const ONE: Self = Self(1_000_000);

    /// A score of so many parts per million, or `None` above 1.
    #[must_use]
    pub const fn from_parts_per_million(parts: u32) -> Option<Self> {
        if parts <= 1_000_000 { Some(Self(parts)) } else { None }
    }

    /// The score in parts per million.
    #[must_use]
    pub const fn parts_per_million(self) -> u32 {
        self.0
    }

    /// Reads a member.
    ///
    /// # Errors
    /// When it is no number from 0 to 1.
    pub fn read(member: &Member<'_>) -> Result<Self, SchemaError> {
        member.parts_per_million().map(Self)
    }
}

impl Encode for Score {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl Decode for Score {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let parts = u32::decode(reader)?;
        Self::from_parts_per_million(parts)
            .ok_or(DecodeError::Invalid { what: "score", value: parts.into() })
    }
}

/// As a decimal fraction with six digits.
impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl fmt::Debug for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ppm", self.0)
    }
}

/// Reads `YYYY-MM-DDTHH:MM:SS[.f]Z` with 1 to 9 fraction digits: RFC 3339 in
/// UTC, from 1970 on, without leap seconds. What is below a millisecond is cut
/// off.
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<TimestampMs> {
    let text = text.strip_suffix('Z')?;
    if !text.is_ascii() {
        return None;
    }
    let (whole, fraction) = match text.split_once('.') {
        None => (text, ""),
        Some((whole, fraction)) if (1..=9).contains(&fraction.len()) => (whole, fraction),
        Some(_) => return None,
    };
    let bytes = whole.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if bytes.len() != 19 || separators.iter().any(|&(at, separator)| bytes[at] != separator) {
        return None;
    }
    let year = digits(&whole[0..4])?;
    let month = digits(&whole[5..7])?;
    let day = digits(&whole[8..10])?;
    let hour = digits(&whole[11..13])?;
    let minute = digits(&whole[14..16])?;
    let second = digits(&whole[17..19])?;
    let date_is_valid = year >= 1970
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day);
    if !date_is_valid || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    digits(fraction)?;
    let ms = (0..3).fold(0, |ms, place| {
        10 * ms + fraction.as_bytes().get(place).map_or(0, |digit| u64::from(digit - b'0'))
    });
    let days = days_before_year(year) - days_before_year(1970)
        + (1..month).map(|month| days_in_month(year, month)).sum::<u64>()
        + day
        - 1;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(TimestampMs::new(seconds * 1_000 + ms))
}

/// Reads a timestamp member.
///
/// # Errors
/// When it is anything else.
pub fn read_timestamp(member: &Member<'_>) -> Result<TimestampMs, SchemaError> {
    parse_timestamp(member.string()?).ok_or_else(|| {
        member.error("must be a UTC time from 1970 on, as 2026-01-31T12:00:00Z or with a fraction")
    })
}

/// Reads a number from 0 to `max` in millionths, cut off from its canonical decimal text, as
/// scores are.
///
/// # Errors
/// When it is anything else.
///
/// # Panics
/// When `max` in millionths has more than 64 bits.
pub fn read_millionths(member: &Member<'_>, max: u64) -> Result<u64, SchemaError> {
    assert!(max <= u64::MAX / 1_000_000, "the largest number fits");
    let number = member.number()?;
    millionths(number, max)
        .ok_or_else(|| member.error(format!("must be a number from 0 to {max}, but is {number}")))
}

fn millionths(text: &str, max: u64) -> Option<u64> {
    if text.starts_with('-') {
        return None;
    }
    // ECMAScript writes 1e-7 for what is below one millionth.
    if text.contains("e-") {
        return Some(0);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = digits(whole)?;
    // A fraction in canonical text is not zero.
    if whole > max || (whole == max && !fraction.is_empty()) {
        return None;
    }
    let parts = (0..6).fold(0, |parts, place| {
        10 * parts + fraction.as_bytes().get(place).map_or(0, |digit| u64::from(digit - b'0'))
    });
    Some(whole * 1_000_000 + parts)
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| 10 * number + u64::from(digit - b'0'))
    })
}

const fn is_leap_year(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap_year(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of all years from 1 up to the one before.
const fn days_before_year(year: u64) -> u64 {
    let past = year - 1;
    past * 365 + past / 4 - past / 100 + past / 400
}

#[cfg(test)]
mod tests {
    use super::*;
    use bizra_types::json::{Document, Limits};
    use proptest::prelude::*;

    #[test]
    fn peer_ids_have_one_form() {
        let of_zeros = "12D3KooW9pNAk8aiBuGVQtWRdbkLmo5qVL3e2h5UxbN2Nz9ttwiw";
        for text in [
            of_zeros,
            // Of the key in RFC 8032, section 7.1, test 1.
            "12D3KooWQK1wnefoLrcVHbbnf5tLzbopUd3K3bFAoJpA7YJgL5pV",
            // The largest there is.
            "12D3KooWT3gYEvLJyx1FyyHqrmvdy1tMjpgxmu9aSeKMEuafQtyC",
        ] {
            assert!(is_peer_id(text), "{text}");
        }
        let (shorter, longer) = (&of_zeros[..51], format!("{of_zeros}1"));
        for text in [
            "",
            "peer-1",
            shorter,
            &longer,
            &of_zeros.replace("12D", " 2D"),
            &of_zeros.replace("12D", "22D"),
            // What comes before the first and after the last.
            "12D3KooW9pNAk8aiBuGVQtWRdbkLmo5qVL3e2h5UxbN2Nz9ttwiv",
            "12D3KooWT3gYEvLJyx1FyyHqrmvdy1tMjpgxmu9aSeKMEuafQtyD",
            // No digits of base58.
            &of_zeros.replace('9', "0"),
            &of_zeros.replace('9', "l"),
            &of_zeros.replace("9p", "é"),
            // No number of so few bytes.
            &"z".repeat(52),
            // Of a key of another type, and of the hash of a long one.
            "16L9GT7or8p86pt8SLohtKkYjMypwh8Hp4QaRTxgDggdQuyoNX6RV",
            "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        ] {
            assert!(!is_peer_id(text), "{text}");
        }
    }

    #[test]
    fn timestamps_have_one_form() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.001Z", 1),
            ("1970-01-01T00:00:00.0019999Z", 1),
            ("2000-02-29T23:59:59.5Z", 951_868_799_500),
            ("2026-11-22T01:46:03.123456789Z", 1_795_311_963_123),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ] {
            assert_eq!(parse_timestamp(text), Some(TimestampMs::new(ms)), "{text}");
        }
        for text in [
            "",
            "Z",
            "1969-12-31T23:59:59Z",
            "2026-11-22T01:46:03",
            "2026-11-22T01:46:03z",
            "2026-11-22t01:46:03Z",
            "2026-11-22 01:46:03Z",
            "2026-11-22T01:46:03+00:00",
            "2026-11-22T01:46:03.Z",
            "2026-11-22T01:46:03.1234567890Z",
            "2026-11-22T01:46:03.12a4Z",
            "2026-11-22T01:46:03,5Z",
            "2026-11-22T01:46:03.5.5Z",
            "2026-11-22T01:46:60Z",
            "2026-11-22T01:60:00Z",
            "2026-11-22T24:00:00Z",
            "2026-00-22T01:46:03Z",
            "2026-13-22T01:46:03Z",
            "2026-11-31T01:46:03Z",
            "2026-11-00T01:46:03Z",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "+026-02-29T00:00:00Z",
            "2026-1-022T01:46:03Z",
            "10000-01-01T00:00:00Z",
            "2026-11-22T01:46:0\u{663}Z",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn uuids_have_one_form() {
        let text = "123e4567-e89b-42d3-a456-426614174000";
        let uuid = Uuid::parse(text).expect("a UUID");
        assert_eq!(uuid.to_string(), text);
        assert!(uuid.is_version_4());
        for other in
            ["123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-42d3-c456-426614174000"]
        {
            assert!(!Uuid::parse(other).expect("a UUID").is_version_4());
        }
        for text in [
            "",
            "123E4567-e89b-42d3-a456-426614174000",
            "123e4567e89b42d3a456426614174000",
            "{123e4567-e89b-42d3-a456-426614174000}",
            "123e4567-e89b-42d3-a456-42661417400",
            "123e4567-e89b-42d3-a456-4266141740-0",
            "123e4567-e89b-42d3-a45-6426614174000",
            "123e4567-e89b-42d3-a456-42661417400é",
        ] {
            assert_eq!(Uuid::parse(text), None, "{text}");
        }
    }

    #[test]
    fn scores_end_at_one() {
        assert_eq!(Score::from_parts_per_million(1_000_000), Some(Score::ONE));
        assert_eq!(Score::from_parts_per_million(1_000_001), None);
    }

    #[test]
    fn millionths_are_cut_off_from_the_canonical_text() {
        for (text, millionths) in [
            ("0", Some(0)),
            ("-0.0", Some(0)),
            ("1e-7", Some(0)),
            ("5e-324", Some(0)),
            ("0.000001999", Some(1)),
            ("0.3", Some(300_000)),
            ("2.50", Some(2_500_000)),
            ("12.3456789", Some(12_345_678)),
            ("99.9999999", Some(99_999_999)),
            ("1e2", Some(100_000_000)),
            ("100.0000001", None),
            ("101", None),
            ("9007199254740991", None),
            ("-1", None),
            ("-1e-9", None),
            ("\"1\"", None),
            ("null", None),
        ] {
            let document = Document::parse(text.as_bytes(), Limits::ENVELOPE).expect("strict JSON");
            let read = read_millionths(&document.root(), 100);
            assert_eq!(read.as_ref().ok(), millionths.as_ref(), "{text}: {read:?}");
        }
    }

    #[test]
    fn scores_are_shown_as_decimals() {
        for (parts, text) in [(0, "0.000000"), (42, "0.000042"), (1_000_000, "1.000000")] {
            let score = Score::from_parts_per_million(parts).expect("at most one");
            assert_eq!(score.to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn days_follow_each_other(days in 0u64..2_932_895) {
            let (first, second) = (civil(days), civil(days + 1));
            let ms = parse_timestamp(&format!("{first}T00:00:00Z")).expect("a day");
            prop_assert_eq!(ms.get(), days * 86_400_000);
            prop_assert!(first < second);
        }

        #[test]
        fn no_text_makes_the_readers_panic(text in "\\PC{0,40}|[0-9T:.\u{e9}-]{18,31}Z") {
            prop_assert!(parse_timestamp(&text).is_none_or(|time| time.get() < 253_402_300_800_000));
            prop_assert!(Uuid::parse(&text).is_none_or(|uuid| uuid.to_string() == text));
        }
    }

    /// The date of a day since 1970, counted by the other way round: from the
    /// first of March of year 0.
    fn civil(days: u64) -> String {
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        format!("{year:04}-{month:02}-{day:02}")
    }
}
