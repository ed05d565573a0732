//! Ids as clients write them: `ms-seq`, `ms` alone, `-` and `+`, `(` for an open end, `ms-*` for a sequence to be chosen.

use crate::base::number::{parse_i64, parse_u64_lenient};
use crate::command::arguments::text;
use crate::command::error::CommandError;
use crate::keyspace::stream::StreamId;

/// A longer argument is no id.
const ID_BYTES_MAX: usize = 127;

const INVALID: CommandError = CommandError::text_static("ERR Invalid stream ID specified as stream command argument");

/// An id that leaves its sequence number open, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddedId {
    Exact(StreamId),
    /// `ms-*`
    Milliseconds(u64),
}

/// An id; a lone number of milliseconds has sequence number `missing_seq`. `-` and `+` are the first and the last id.
///
/// # Errors
/// The text for what is no id.
pub(super) fn any(argument: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    match text(argument) {
        b"-" if argument.len() <= ID_BYTES_MAX => Ok(StreamId::MIN),
        b"+" if argument.len() <= ID_BYTES_MAX => Ok(StreamId::MAX),
        _ => strict(argument, missing_seq),
    }
}

/// As [`any`], without `-` and `+`.
///
/// # Errors
/// The text for what is no id.
pub(super) fn strict(argument: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    let (ms, seq) = parts(argument)?;
    let seq = seq.map_or(Some(missing_seq), part).ok_or(INVALID)?;
    Ok(StreamId::new(ms, seq))
}

/// As [`strict`], where the sequence number may be `*`.
///
/// # Errors
/// The text for what is no id.
pub(super) fn added(argument: &[u8]) -> Result<AddedId, CommandError> {
    match parts(argument)? {
        (ms, Some(b"*")) => Ok(AddedId::Milliseconds(ms)),
        _ => strict(argument, 0).map(AddedId::Exact),
    }
}

/// One end of a range that includes its ends: an id, or `(` and the id beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Start,
    Stop,
}

/// Reads an end of a range: the first or last id that belongs to it.
///
/// # Errors
/// The text for what is no id, or for an open end at the edge of all ids.
pub(super) fn interval(argument: &[u8], end: End) -> Result<StreamId, CommandError> {
    let missing_seq = if end == End::Start { 0 } else { u64::MAX };
    let id = match argument.split_first() {
        Some((b'(', id)) if !id.is_empty() => strict(id, missing_seq)?,
        _ => return any(argument, missing_seq),
    };
    match end {
        End::Start => id.next().ok_or(CommandError::text_static("ERR invalid start ID for the interval")),
        End::Stop => id.previous().ok_or(CommandError::text_static("ERR invalid end ID for the interval")),
    }
}

/// Milliseconds, and what stands behind the first dash.
fn parts(argument: &[u8]) -> Result<(u64, Option<&[u8]>), CommandError> {
    if argument.len() > ID_BYTES_MAX {
        return Err(INVALID);
    }
    let id = text(argument);
    let mut halves = id.splitn(2, |byte| *byte == b'-');
    let ms = halves.next().and_then(part).ok_or(INVALID)?;
    Ok((ms, halves.next()))
}

/// One of the two numbers, as C's `strtoull` reads it, but for a plain negative one.
fn part(digits: &[u8]) -> Option<u64> {
    if let Some(number) = parse_i64(digits) {
        return u64::try_from(number).ok();
    }
    let blanks = digits.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    parse_u64_lenient(&digits[blanks..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64, seq: u64) -> StreamId {
        StreamId::new(ms, seq)
    }

    #[test]
    fn ids_are_read_as_redis_reads_them() {
        let cases: &[(&[u8], Option<StreamId>)] = &[
            (b"5-3", Some(id(5, 3))),
            (b"5", Some(id(5, 7))),
            (b"0-0", Some(id(0, 0))),
            (b"18446744073709551615-18446744073709551615", Some(StreamId::MAX)),
            (b"18446744073709551616-0", None),
            (b"-", None),
            (b"+", None),
            (b"", None),
            (b"5-", None),
            (b"-5", None),
            (b"5-3-1", None),
            (b"5-*", None),
            (b"x", None),
            (b" 5-03", Some(id(5, 3))),
            (b"+5-+3", Some(id(5, 3))),
            (b"5--3", None),
            (b"5--03", Some(id(5, 3u64.wrapping_neg()))),
            (b"5-3 ", None),
            (b"5-3\0x", Some(id(5, 3))),
        ];
        for (argument, expected) in cases {
            assert_eq!(strict(argument, 7).ok(), *expected, "{}", argument.escape_ascii());
        }
        assert_eq!(strict(&[b'0'; 127], 7), Ok(id(0, 7)));
        assert_eq!(strict(&[b'0'; 128], 7), Err(INVALID));
    }

    #[test]
    fn ends_of_ranges_may_be_open() {
        assert_eq!(interval(b"-", End::Start), Ok(StreamId::MIN));
        assert_eq!(interval(b"+", End::Stop), Ok(StreamId::MAX));
        assert_eq!(interval(b"5", End::Start), Ok(id(5, 0)));
        assert_eq!(interval(b"5", End::Stop), Ok(id(5, u64::MAX)));
        assert_eq!(interval(b"(5", End::Start), Ok(id(5, 1)));
        assert_eq!(interval(b"(5-0", End::Stop), Ok(id(4, u64::MAX)));
        assert_eq!(interval(b"(5", End::Stop), Ok(id(5, u64::MAX - 1)));
        for wrong in [&b"("[..], b"(-", b"(+", b"((5", b"(0-0"] {
            assert!(interval(wrong, End::Stop).is_err(), "{}", wrong.escape_ascii());
        }
        assert!(interval(b"(18446744073709551615-18446744073709551615", End::Start).is_err());
    }

    #[test]
    fn only_an_added_id_may_leave_its_sequence_open() {
        assert_eq!(added(b"5-*"), Ok(AddedId::Milliseconds(5)));
        assert_eq!(added(b"5-1"), Ok(AddedId::Exact(id(5, 1))));
        assert_eq!(added(b"5"), Ok(AddedId::Exact(id(5, 0))));
        assert!(added(b"5-**").is_err() && added(b"*").is_err() && added(b"-").is_err());
    }
}
