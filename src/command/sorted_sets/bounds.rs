//! Reading the ends of ranges and scores. Knows nothing about any command.

use crate::base::number::{parse_f64, parse_i64};
use crate::command::arguments::text;
use crate::command::error::CommandError;
use crate::keyspace::sorted_set::{LexBound, LexRange, ScoreRange};

/// A score that is to be set: a double, strictly.
///
/// # Errors
/// `NotAFloat`.
pub fn score(argument: &[u8]) -> Result<f64, CommandError> {
    // An integer, which most are, is read faster.
    let integer = if argument.len() < 16 { parse_i64(argument) } else { None };
    integer.map(|integer| integer as f64).or_else(|| parse_f64(argument)).ok_or(CommandError::NotAFloat)
}

/// `min max` of a range of scores: numbers, with `(` in front of one that does not belong to it.
///
/// # Errors
/// Redis's text for an end that is none.
pub fn score_range(min: &[u8], max: &[u8]) -> Result<ScoreRange, CommandError> {
    let end = |argument: &[u8]| {
        let (is_exclusive, number) = match text(argument) {
            [b'(', number @ ..] => (true, number),
            number => (false, number),
        };
        let number = lenient_f64(number).ok_or(CommandError::text_static("ERR min or max is not a float"))?;
        Ok::<_, CommandError>((number, is_exclusive))
    };
    let ((min, min_exclusive), (max, max_exclusive)) = (end(min)?, end(max)?);
    Ok(ScoreRange { min, max, min_exclusive, max_exclusive })
}

/// A number as C's `strtod` reads it, which is more lenient than what scores must be: white space in front, nothing
/// at all (0), what is too large (infinite) and too small (0).
fn lenient_f64(text: &[u8]) -> Option<f64> {
    let text = match text {
        [] => return Some(0.0),
        text => {
            let spaces = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
            &text[spaces..]
        }
    };
    let is_decimal =
        || text.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    parse_f64(text).or_else(|| if is_decimal() { str::from_utf8(text).ok()?.parse().ok() } else { None })
}

/// `min max` of a range of members: `[` or `(` and the member, `-` for before all, `+` for behind all.
///
/// # Errors
/// Redis's text for an end that is none.
pub fn lex_range<'a>(min: &'a [u8], max: &'a [u8]) -> Result<LexRange<'a>, CommandError> {
    let end = |argument: &'a [u8]| match argument {
        [b'-'] | [b'-', 0, ..] => Some(LexBound::Lowest),
        [b'+'] | [b'+', 0, ..] => Some(LexBound::Highest),
        [b'[', member @ ..] => Some(LexBound::Inclusive(member)),
        [b'(', member @ ..] => Some(LexBound::Exclusive(member)),
        _ => None,
    };
    match (end(min), end(max)) {
        (Some(min), Some(max)) => Ok(LexRange { min, max }),
        _ => Err(CommandError::text_static("ERR min or max not valid string range item")),
    }
}

/// Ranks between two indexes that both belong to the range; negative ones count from the end.
pub fn ranks(start: i64, stop: i64, len: usize) -> std::ops::Range<usize> {
    let len = len as i64;
    let from_front = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let (start, stop) = (from_front(start).max(0), from_front(stop).min(len - 1));
    if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_score_ranges_are_read_leniently() {
        let one = |text: &str| score_range(text.as_bytes(), b"0").map(|range| (range.min, range.min_exclusive)).ok();
        assert_eq!(one("1.5"), Some((1.5, false)));
        assert_eq!(one("(1.5"), Some((1.5, true)));
        assert_eq!(one("-inf"), Some((f64::NEG_INFINITY, false)));
        assert_eq!(one("(+Infinity"), Some((f64::INFINITY, true)));
        assert_eq!(one(""), Some((0.0, false)));
        assert_eq!(one("("), Some((0.0, true)));
        assert_eq!(one("  2"), Some((2.0, false)));
        assert_eq!(one("1e999"), Some((f64::INFINITY, false)));
        assert_eq!(one("1e-999"), Some((0.0, false)));
        assert_eq!(one("0x10"), Some((16.0, false)));
        for bad in ["nan", "x", "1 ", "((1", "[1", "1e", "--1", " ", "e5"] {
            assert_eq!(one(bad), None, "{bad}");
        }
    }

    #[test]
    fn scores_are_read_strictly() {
        assert_eq!(score(b"12"), Ok(12.0));
        assert!(score(b"-0").unwrap().is_sign_negative());
        for bad in ["", " 1", "1 ", "nan", "1e999", "x"] {
            assert_eq!(score(bad.as_bytes()), Err(CommandError::NotAFloat), "{bad}");
        }
    }

    #[test]
    fn ranks_are_cut_at_the_ends() {
        for (start, stop, expected) in
            [(0, -1, 0..5), (-2, -1, 3..5), (-9, 0, 0..1), (1, 99, 1..5), (3, 2, 0..0), (5, 9, 0..0)]
        {
            assert_eq!(ranks(start, stop, 5), expected);
        }
        assert_eq!(ranks(i64::MIN, i64::MAX, 5), 0..5);
        assert_eq!(ranks(0, -1, 0), 0..0);
        assert_eq!(ranks(i64::MIN, i64::MIN, 5), 0..0);
    }
}
