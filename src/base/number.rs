//! Numbers as stock Redis reads and writes them: integers, doubles, and doubles in replies.
//!
//! What a client may write as a number, and how a number looks in a reply, is part of the contract; the functions here
//! take the bytes of an argument or a value and follow Redis 7.2's `string2ll`, `string2ull`, `string2d` and `d2string`.
//! Numbers of 80 bits (INCRBYFLOAT) are in `long_double`.

use super::grisu::digits_of;

/// More bytes than this are no 64-bit integer: a sign and twenty digits.
const INTEGER_BYTES_MAX: usize = 20;

/// A signed integer exactly as stock's `string2ll` reads it: an optional `-`, then digits without leading zeros.
/// No `+`, no spaces, no `-0`; `None` for anything else and outside the range of `i64`.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'0'] => Some(0),
        [b'-', digits @ ..] if text.len() <= INTEGER_BYTES_MAX => {
            let magnitude = parse_magnitude(digits)?;
            (magnitude <= i64::MIN.unsigned_abs()).then(|| magnitude.wrapping_neg().cast_signed())
        }
        _ => i64::try_from(parse_magnitude(text)?).ok(),
    }
}

/// An unsigned integer by the same strict rules as `parse_i64`.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text == b"0" { Some(0) } else { parse_magnitude(text) }
}

/// Digits that begin with 1-9 and fit `u64`.
#[inline]
fn parse_magnitude(digits: &[u8]) -> Option<u64> {
    let (&first, rest) = digits.split_first()?;
    if !matches!(first, b'1'..=b'9') || rest.len() >= INTEGER_BYTES_MAX {
        return None;
    }
    let mut value = u64::from(first - b'0');
    for &byte in rest {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// An unsigned integer as C's `strtoul` reads it, without leading white space: SCAN cursors and the parts of stream
/// ids. A sign and leading zeros are allowed, a negative number wraps, all bytes must be used.
pub fn parse_u64_lenient(text: &[u8]) -> Option<u64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(if negative { value.wrapping_neg() } else { value })
}

/// Appends an integer in decimal.
#[inline]
pub fn format_i64(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A double as stock's `string2d` reads it: what C's `strtod` accepts over all bytes, without leading white space.
/// That is decimal or hexadecimal with an optional sign, fraction and exponent, `inf` and `infinity` in any case.
/// `None` for `nan`, for what overflows, and for what is not zero but too small to be anything else.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let number = scan_float(text)?;
    let magnitude = match number.body {
        FloatBody::Infinity => {
            return Some(if number.negative { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        FloatBody::Decimal { .. } => {
            // The standard library rounds correctly and accepts everything that the scan lets through.
            let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
            value.abs()
        }
        FloatBody::Hexadecimal { mantissa, exponent, sticky } => hexadecimal_f64(mantissa, exponent, sticky),
    };
    if magnitude.is_infinite() || (magnitude == 0.0 && !number.is_zero()) {
        return None;
    }
    Some(if number.negative { -magnitude } else { magnitude })
}

/// `mantissa * 2^exponent` (a little more when `sticky`) rounded to the nearest double, ties to even.
fn hexadecimal_f64(mantissa: u128, exponent: i64, sticky: bool) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let zeros = mantissa.leading_zeros();
    let wide = mantissa << zeros;
    let (mantissa, sticky) = ((wide >> 64) as u64, sticky || wide as u64 != 0);
    // The value is mantissa * 2^exponent with the top bit set; its leading bit has the weight 2^(exponent + 63).
    let exponent = exponent.saturating_sub(i64::from(zeros)).saturating_add(64);
    if exponent > 1023 - 63 {
        return f64::INFINITY;
    }
    if exponent < -1074 - 64 {
        return 0.0;
    }
    let shift = (-1074 - exponent).max(11) as u32;
    let (kept, lost) = if shift >= 64 {
        (0, if shift == 64 { mantissa } else { 1 })
    } else {
        (mantissa >> shift, mantissa << (64 - shift))
    };
    const HALF: u64 = 1 << 63;
    let up = lost > HALF || (lost == HALF && (sticky || kept & 1 == 1));
    let rounded = kept + u64::from(up);
    // At most 2^53, hence exact; each of the two factors is a power of two within range.
    let scale = exponent + i64::from(shift);
    let half = scale / 2;
    rounded as f64 * 2f64.powi(half as i32) * 2f64.powi((scale - half) as i32)
}

/// A floating-point number taken apart, before rounding.
pub(super) struct ScannedFloat<'a> {
    pub negative: bool,
    pub body: FloatBody<'a>,
}

/// What stands behind the sign.
pub(super) enum FloatBody<'a> {
    Infinity,
    /// Digits before and after the point, and the power of ten behind `e`, clamped to what can matter.
    Decimal {
        whole: &'a [u8],
        fraction: &'a [u8],
        exponent: i64,
    },
    /// `mantissa * 2^exponent`, a little more when `sticky`.
    Hexadecimal {
        mantissa: u128,
        exponent: i64,
        sticky: bool,
    },
}

impl ScannedFloat<'_> {
    pub fn is_zero(&self) -> bool {
        match &self.body {
            FloatBody::Infinity => false,
            FloatBody::Decimal { whole, fraction, .. } => whole.iter().chain(*fraction).all(|&byte| byte == b'0'),
            FloatBody::Hexadecimal { mantissa, sticky, .. } => *mantissa == 0 && !*sticky,
        }
    }
}

/// Takes apart what `strtod` and `strtold` accept over all of `text`; `None` for anything else and for `nan`.
pub(super) fn scan_float(text: &[u8]) -> Option<ScannedFloat<'_>> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let body = if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
        FloatBody::Infinity
    } else if let [b'0', b'x' | b'X', rest @ ..] = rest {
        scan_hexadecimal(rest)?
    } else {
        let (whole, fraction, rest) = scan_digits(rest, |byte| byte.is_ascii_digit())?;
        FloatBody::Decimal { whole, fraction, exponent: scan_exponent(rest, b'e')? }
    };
    Some(ScannedFloat { negative, body })
}

/// Splits `digits [. digits] rest`; at least one digit on either side of the point.
fn scan_digits(text: &[u8], is_digit: impl Fn(u8) -> bool) -> Option<(&[u8], &[u8], &[u8])> {
    let run = |text: &[u8]| text.iter().position(|&byte| !is_digit(byte)).unwrap_or(text.len());
    let (whole, rest) = text.split_at(run(text));
    let (fraction, rest) = match rest {
        [b'.', behind @ ..] => behind.split_at(run(behind)),
        _ => (&rest[..0], rest),
    };
    (!whole.is_empty() || !fraction.is_empty()).then_some((whole, fraction, rest))
}

/// The exponent behind `letter` (either case), or 0 when nothing is left; clamped to a million million.
fn scan_exponent(text: &[u8], letter: u8) -> Option<i64> {
    const CLAMP: i64 = 1_000_000_000_000;
    let Some((&first, rest)) = text.split_first() else {
        return Some(0);
    };
    if !first.eq_ignore_ascii_case(&letter) {
        return None;
    }
    let (negative, digits) = match rest {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        _ => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0i64, |value, &digit| (value * 10 + i64::from(digit - b'0')).min(CLAMP));
    Some(if negative { -value } else { value })
}

fn scan_hexadecimal<'a>(text: &[u8]) -> Option<FloatBody<'a>> {
    let (whole, fraction, rest) = scan_digits(text, |byte| byte.is_ascii_hexdigit())?;
    let mut exponent = scan_exponent(rest, b'p')?;
    let (mut mantissa, mut sticky) = (0u128, false);
    for (number, &byte) in whole.iter().chain(fraction).enumerate() {
        let digit = u128::from((byte as char).to_digit(16)?);
        if mantissa >> 124 == 0 {
            mantissa = mantissa << 4 | digit;
            exponent -= if number >= whole.len() { 4 } else { 0 };
        } else {
            sticky |= digit != 0;
            exponent += if number < whole.len() { 4 } else { 0 };
        }
    }
    Some(FloatBody::Hexadecimal { mantissa, exponent, sticky })
}

/// Appends a double as replies show it in RESP2 (inside a bulk string) and as stock's `d2string` writes it: integers
/// without a point, `inf`, `-inf`, `nan`, `-0`, else few digits that read back as the same double.
pub fn format_double(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if let Some(integer) = exact_integer(value) {
        format_i64(integer, out);
    } else {
        format_digits(value, out);
    }
}

/// Appends a double as RESP3 shows it behind `,`: since 7.2 the same text as in RESP2.
pub fn format_double_resp3(value: f64, out: &mut Vec<u8>) {
    format_double(value, out);
}

/// Appends a double by its digits alone, as stock's `fpconv_dtoa` does where no reply is written: a large integer with few
/// digits becomes scientific, unlike in [`format_double`].
pub fn format_double_by_digits(value: f64, out: &mut Vec<u8>) {
    if value == 0.0 || !value.is_finite() { format_double(value, out) } else { format_digits(value, out) }
}

/// The double as an integer when it is one and lies within half of the range of `i64` (stock's `double2ll`).
fn exact_integer(value: f64) -> Option<i64> {
    const HALF: f64 = (i64::MAX / 2) as f64;
    if !(-HALF..=HALF).contains(&value) {
        return None;
    }
    let integer = value as i64;
    (integer as f64 == value).then_some(integer)
}

/// Appends the digits of a finite double other than zero in the layout of 7.2 (its `fpconv`): plain while
/// the exponent is small, else scientific with a sign and at least one digit of exponent.
fn format_digits(value: f64, out: &mut Vec<u8>) {
    let digits = digits_of(value.abs());
    let (digits, scale) = (digits.as_bytes(), digits.scale);
    if value < 0.0 {
        out.push(b'-');
    }
    let count = digits.len() as i32;
    let exponent = (scale + count - 1).abs();
    if scale >= 0 && exponent < count + 7 {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', scale as usize));
    } else if scale < 0 && (scale > -7 || exponent < 4) {
        let whole = count + scale;
        if whole <= 0 {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', -whole as usize));
            out.extend_from_slice(digits);
        } else {
            let (before, after) = digits.split_at(whole as usize);
            out.extend_from_slice(before);
            out.push(b'.');
            out.extend_from_slice(after);
        }
    } else {
        let (first, rest) = digits.split_at(1);
        out.extend_from_slice(first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        out.extend_from_slice(if scale + count - 1 < 0 { b"e-" } else { b"e+" });
        format_i64(i64::from(exponent), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn double(value: f64) -> String {
        let mut out = Vec::new();
        format_double(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn integers_are_read_strictly() {
        let good: [(&str, i64); 6] = [
            ("0", 0),
            ("7", 7),
            ("-1", -1),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("1000000000000000000", 1_000_000_000_000_000_000),
        ];
        for (text, value) in good {
            assert_eq!(parse_i64(text.as_bytes()), Some(value), "{text}");
        }
        let bad = [
            "",
            "-",
            "-0",
            "00",
            "01",
            "+1",
            " 1",
            "1 ",
            "1a",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "99999999999999999999",
            "100000000000000000000",
            "--1",
            "1\0",
        ];
        for text in bad {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"0"), Some(0));
        assert_eq!(parse_u64(b"-1"), None);
    }

    #[test]
    fn cursors_are_read_leniently() {
        assert_eq!(parse_u64_lenient(b"007"), Some(7));
        assert_eq!(parse_u64_lenient(b"+7"), Some(7));
        assert_eq!(parse_u64_lenient(b"-1"), Some(u64::MAX));
        assert_eq!(parse_u64_lenient(b""), None);
        assert_eq!(parse_u64_lenient(b"+"), None);
        assert_eq!(parse_u64_lenient(b"7x"), None);
        assert_eq!(parse_u64_lenient(b"18446744073709551616"), None);
    }

    #[test]
    fn doubles_are_read_as_strtod_does() {
        let good: [(&str, f64); 12] = [
            ("1", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("+1.5e3", 1500.0),
            ("-inf", f64::NEG_INFINITY),
            ("InFiNiTy", f64::INFINITY),
            ("0x10", 16.0),
            ("0x1.8p1", 3.0),
            ("-0x.1p-1", -0.03125),
            ("0e999999999999999999999", 0.0),
            ("4.9e-324", 5e-324),
            ("0x1p-1074", 5e-324),
        ];
        for (text, value) in good {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
        let bad = [
            "",
            " 1",
            "1 ",
            "nan",
            "-nan",
            "nan(1)",
            "1e",
            "1e+",
            ".",
            "e5",
            "0x",
            "0x.",
            "0xp1",
            "0x1p",
            "1e400",
            "-1e400",
            "1e-400",
            "0x1p1024",
            "0x1p-1080",
            "1_0",
            "infi",
            "1\0",
            "++1",
        ];
        for text in bad {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn doubles_look_as_in_replies() {
        let cases: [(f64, &str); 22] = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-3.0, "-3"),
            (0.1, "0.1"),
            (10.5, "10.5"),
            (1.0 / 3.0, "0.3333333333333333"),
            (1e20, "1e+20"),
            (1234567.12345678, "1.23456712345678e+6"),
            (-1e300, "-1e+300"),
            (1e-7, "1e-7"),
            (1e-6, "0.000001"),
            (1.5e-7, "1.5e-7"),
            (123456789.125, "123456789.125"),
            (3.0e18, "3000000000000000000"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (12345678901234567890.0, "12345678901234567000"),
            (0.00012345, "1.2345e-4"),
        ];
        for (value, text) in cases {
            assert_eq!(double(value), text);
        }
    }

    proptest! {
        #[test]
        fn integers_read_back(value: i64) {
            let mut out = Vec::new();
            format_i64(value, &mut out);
            prop_assert_eq!(parse_i64(&out), Some(value));
        }

        #[test]
        fn strict_integers_are_the_canonical_ones(text in "-?[0-9]{0,21}") {
            let expected = text.parse::<i64>().ok().filter(|value| value.to_string() == text);
            prop_assert_eq!(parse_i64(text.as_bytes()), expected);
        }

        #[test]
        fn doubles_read_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(parse_f64(double(value).as_bytes()), Some(value));
        }

        #[test]
        fn hexadecimal_doubles_are_exact(bits: u64) {
            let value = f64::from_bits(bits & (u64::MAX >> 1));
            prop_assume!(value.is_finite());
            let biased = bits << 1 >> 53;
            let mantissa = bits & ((1 << 52) - 1) | if biased > 0 { 1 << 52 } else { 0 };
            let text = format!("0x{:x}p{}", mantissa, biased.max(1) as i64 - 1075);
            prop_assert_eq!(parse_f64(text.as_bytes()), Some(value));
        }

        #[test]
        fn no_text_panics(text in proptest::collection::vec(prop_oneof![Just(b'e'), Just(b'.'), Just(b'0'), Just(b'x'), Just(b'-'), any::<u8>()], 0..30)) {
            parse_i64(&text);
            parse_u64(&text);
            parse_u64_lenient(&text);
            parse_f64(&text);
        }
    }
}
