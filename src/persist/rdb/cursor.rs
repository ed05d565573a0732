//! Reading the pieces of the format: lengths, strings, numbers.
//!
//! ```text
//! length   00llllll                        6 bits
//!          01llllll llllllll               14 bits
//!          10000000, 4 bytes               32 bits, big-endian
//!          10000001, 8 bytes               64 bits, big-endian
//! string   length, bytes
//!          11000000, 1 byte                an integer: its decimal digits
//!          11000001, 2 bytes, 11000010, 4 bytes    the same, little-endian
//!          11000011, length, length, bytes         compressed to the first length from the second
//! ```
//!
//! [`Cursor`] reads bytes that are all there and makes values of them; [`string_end`] and [`length`] serve who only looks for
//! ends and may have to wait for more. No announced length is believed: what is allocated is bounded by the bytes at hand.

use std::borrow::Cow;

use super::error::RdbError;
use super::lzf;
use super::types::{ENCODED_INT8, ENCODED_INT16, ENCODED_INT32, ENCODED_LZF};

/// Why a scan cannot go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// Only with so many bytes in all.
    More(u64),
    /// At no time.
    Damage(&'static str),
}

const CUT_OFF: &str = "the data end in the middle of a value";

/// What a length field holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Prefix {
    Length(u64),
    /// The string that follows is encoded in this way.
    Encoded(u8),
}

/// The length field at `at`, and where it ends.
#[inline]
fn prefix(bytes: &[u8], at: usize) -> Result<(Prefix, usize), Stop> {
    let rest = bytes.get(at..).unwrap_or_default();
    let more = |size: usize| Stop::More(at as u64 + size as u64);
    let first = *rest.first().ok_or_else(|| more(1))?;
    let (value, size) = match first {
        0..0x40 => (u64::from(first), 1),
        0x40..0x80 => {
            let second = *rest.get(1).ok_or_else(|| more(2))?;
            (u64::from(first & 0x3f) << 8 | u64::from(second), 2)
        }
        0x80 => {
            let value = rest.get(1..).and_then(<[u8]>::first_chunk).ok_or_else(|| more(5))?;
            (u64::from(u32::from_be_bytes(*value)), 5)
        }
        0x81 => {
            let value = rest.get(1..).and_then(<[u8]>::first_chunk).ok_or_else(|| more(9))?;
            (u64::from_be_bytes(*value), 9)
        }
        0x82..0xc0 => return Err(Stop::Damage("a length has an unknown form")),
        0xc0.. => return Ok((Prefix::Encoded(first & 0x3f), at + 1)),
    };
    Ok((Prefix::Length(value), at + size))
}

/// The length at `at`, and where it ends.
#[inline]
pub(super) fn length(bytes: &[u8], at: usize) -> Result<(u64, usize), Stop> {
    match prefix(bytes, at)? {
        (Prefix::Length(length), end) => Ok((length, end)),
        (Prefix::Encoded(_), _) => Err(Stop::Damage("a string stands where a length belongs")),
    }
}

/// Where the string at `at` ends, whether its bytes are there yet or not.
#[inline]
pub(super) fn string_end(bytes: &[u8], at: usize) -> Result<u64, Stop> {
    let (prefix, at) = prefix(bytes, at)?;
    let (at, size) = match prefix {
        Prefix::Length(length) => (at, length),
        Prefix::Encoded(ENCODED_INT8) => (at, 1),
        Prefix::Encoded(ENCODED_INT16) => (at, 2),
        Prefix::Encoded(ENCODED_INT32) => (at, 4),
        Prefix::Encoded(ENCODED_LZF) => {
            let (compressed, at) = length(bytes, at)?;
            let (_, at) = length(bytes, at)?;
            (at, compressed)
        }
        Prefix::Encoded(_) => return Err(Stop::Damage("a string has an unknown encoding")),
    };
    (at as u64).checked_add(size).ok_or(Stop::Damage("a string announces more bytes than there can be"))
}

/// A string as it was stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Text<'a> {
    Integer(i32),
    Bytes(Cow<'a, [u8]>),
}

impl<'a> Text<'a> {
    pub fn into_bytes(self) -> Cow<'a, [u8]> {
        match self {
            Text::Integer(integer) => Cow::Owned(itoa::Buffer::new().format(integer).as_bytes().to_vec()),
            Text::Bytes(bytes) => bytes,
        }
    }
}

/// Bytes that are all there, and how far they are read. Errors tell the offset of the piece that is wrong.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    /// An error about what begins here.
    pub fn error(&self, reason: &'static str) -> RdbError {
        RdbError::new(self.at, reason)
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn stopped(&self, stop: &Stop) -> RdbError {
        match stop {
            Stop::More(_) => self.error(CUT_OFF),
            Stop::Damage(reason) => self.error(reason),
        }
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], RdbError> {
        let taken = self.rest().get(..count).ok_or_else(|| self.error(CUT_OFF))?;
        self.at += count;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let taken = *self.rest().first_chunk::<N>().ok_or_else(|| self.error(CUT_OFF))?;
        self.at += N;
        Ok(taken)
    }

    pub fn byte(&mut self) -> Result<u8, RdbError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Milliseconds since the unix epoch, or another signed number of 8 bytes.
    pub fn millis(&mut self) -> Result<i64, RdbError> {
        self.array().map(i64::from_le_bytes)
    }

    pub fn length(&mut self) -> Result<u64, RdbError> {
        let (length, end) = length(self.bytes, self.at).map_err(|stop| self.stopped(&stop))?;
        self.at = end;
        Ok(length)
    }

    /// The number of things that follow, each of which takes at least `bytes_min` bytes.
    pub fn count(&mut self, bytes_min: usize) -> Result<usize, RdbError> {
        let start = self.at;
        let announced = self.length()?;
        match usize::try_from(announced) {
            Ok(count) if count <= self.rest().len() / bytes_min.max(1) => Ok(count),
            _ => Err(RdbError::new(start, "more elements are announced than there are bytes for")),
        }
    }

    /// A string as it was stored.
    #[inline]
    pub fn text(&mut self) -> Result<Text<'a>, RdbError> {
        let (prefix, end) = prefix(self.bytes, self.at).map_err(|stop| self.stopped(&stop))?;
        let start = self.at;
        self.at = end;
        let integer = match prefix {
            Prefix::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                return self.take(length).map(|bytes| Text::Bytes(Cow::Borrowed(bytes)));
            }
            Prefix::Encoded(ENCODED_INT8) => i32::from(i8::from_le_bytes(self.array()?)),
            Prefix::Encoded(ENCODED_INT16) => i32::from(i16::from_le_bytes(self.array()?)),
            Prefix::Encoded(ENCODED_INT32) => i32::from_le_bytes(self.array()?),
            Prefix::Encoded(ENCODED_LZF) => {
                let (compressed, length) = (self.length()?, self.length()?);
                let sizes = usize::try_from(compressed).ok().zip(usize::try_from(length).ok());
                let (compressed, length) = sizes.ok_or_else(|| self.error(CUT_OFF))?;
                let string = lzf::decompress(self.take(compressed)?, length);
                let string = string.ok_or_else(|| RdbError::new(start, "a compressed string is damaged"))?;
                return Ok(Text::Bytes(Cow::Owned(string)));
            }
            Prefix::Encoded(_) => return Err(RdbError::new(start, "a string has an unknown encoding")),
        };
        Ok(Text::Integer(integer))
    }

    /// A string's bytes.
    #[inline]
    pub fn string(&mut self) -> Result<Cow<'a, [u8]>, RdbError> {
        self.text().map(Text::into_bytes)
    }

    /// Checks that nothing is left.
    pub fn finish(&self) -> Result<(), RdbError> {
        if self.rest().is_empty() { Ok(()) } else { Err(self.error("bytes are left behind the value")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_all_forms_are_read() {
        for (bytes, length) in [
            (&[0x3f][..], 63),
            (&[0x40, 0x40], 64),
            (&[0x7f, 0xff], 16383),
            (&[0x80, 0, 1, 0, 0], 65536),
            (&[0x81, 0, 0, 0, 1, 0, 0, 0, 0], 1 << 32),
        ] {
            assert_eq!(super::length(bytes, 0), Ok((length, bytes.len())));
            for cut in 0..bytes.len() {
                let needs = if cut == 0 { 1 } else { bytes.len() as u64 };
                assert_eq!(super::length(&bytes[..cut], 0), Err(Stop::More(needs)));
            }
        }
        assert!(matches!(super::length(&[0x82, 0, 0, 0, 0], 0), Err(Stop::Damage(_))));
        assert!(matches!(super::length(&[0xc0, 0], 0), Err(Stop::Damage(_))));
    }

    #[test]
    fn strings_of_all_forms_are_read_and_skipped() {
        for (bytes, string) in [
            (&b"\x03abc"[..], &b"abc"[..]),
            (b"\x00", b""),
            (b"\xc0\x85", b"-123"),
            (b"\xc1\x00\x80", b"-32768"),
            (b"\xc2\xff\xff\xff\x7f", b"2147483647"),
            (b"\xc3\x04\x06\x01ab\x40\x01", b""),
            (b"\xc3\x05\x06\x01ab\x40\x01", b"ababab"),
        ] {
            let mut cursor = Cursor::new(bytes);
            if string.is_empty() && bytes.len() > 1 {
                assert!(cursor.string().is_err());
                continue;
            }
            assert_eq!(cursor.string().unwrap(), string);
            assert_eq!(cursor.finish(), Ok(()));
            assert_eq!(string_end(bytes, 0), Ok(bytes.len() as u64));
            for cut in 0..bytes.len() {
                assert!(Cursor::new(&bytes[..cut]).string().is_err());
            }
        }
        assert!(Cursor::new(b"\xc4").string().is_err());
        let huge = b"\x81\xff\xff\xff\xff\xff\xff\xff\xff";
        assert!(matches!(string_end(huge, 0), Err(Stop::Damage(_))));
        assert!(Cursor::new(huge).string().is_err());
    }

    #[test]
    fn counts_are_held_against_the_bytes_at_hand() {
        assert_eq!(Cursor::new(b"\x02abcd").count(2), Ok(2));
        let error = Cursor::new(b"\x03abcd").count(2).unwrap_err();
        assert_eq!(error.to_string(), "offset 0: more elements are announced than there are bytes for");
        assert_eq!(error.shifted(100).offset, 100);
    }
}
