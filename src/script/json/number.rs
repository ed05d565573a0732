//! Numbers as C reads and writes them: `strtod` and `%.14g`, which Lua CJSON leaves them to.
//!
//! `encode` and `decode` call it; it knows neither Lua nor JSON.

use std::io::Write;

/// Appends a number as `%.{precision}g` does; `precision` is 1 to 14.
pub fn write(number: f64, precision: usize, out: &mut Vec<u8>) {
    let exact = number as i64;
    if exact as f64 == number
        && exact.unsigned_abs() < 10_u64.pow(precision as u32)
        && (exact != 0 || number.is_sign_positive())
    {
        out.extend_from_slice(itoa::Buffer::new().format(exact).as_bytes());
    } else if number.is_finite() {
        write_digits(number, precision, out);
    } else {
        let sign: &[u8] = if number.is_sign_negative() { b"-" } else { b"" };
        out.extend_from_slice(sign);
        out.extend_from_slice(if number.is_nan() { b"nan" } else { b"inf" });
    }
}

/// Rust rounds to `precision` digits as C does; where the point goes and which zeros stay is `%g`'s.
fn write_digits(number: f64, precision: usize, out: &mut Vec<u8>) {
    let mut scientific = [0_u8; 32];
    let mut rest = &mut scientific[..];
    // One digit, the point, up to 13 more, `e` and an exponent: never more than the buffer holds.
    let _ = write!(rest, "{:.*e}", precision - 1, number.abs());
    let unused = rest.len();
    let scientific = &scientific[..scientific.len() - unused];
    let at = scientific.iter().position(|&byte| byte == b'e').unwrap_or(scientific.len());
    let exponent: i32 = std::str::from_utf8(&scientific[at + 1..]).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut digits = [b'0'; 16];
    let mut len = 0;
    for &byte in scientific[..at].iter().filter(|byte| byte.is_ascii_digit()) {
        digits[len] = byte;
        len += 1;
    }
    while len > 1 && digits[len - 1] == b'0' {
        len -= 1;
    }
    if number.is_sign_negative() {
        out.push(b'-');
    }
    place_point(&digits[..len], exponent, precision, out);
}

/// Writes the digits of a number between 1 and 10 times ten to the `exponent`.
fn place_point(digits: &[u8], exponent: i32, precision: usize, out: &mut Vec<u8>) {
    let (first, others) = digits.split_at(1);
    if exponent < -4 || exponent >= precision as i32 {
        out.extend_from_slice(first);
        if !others.is_empty() {
            out.push(b'.');
            out.extend_from_slice(others);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        // Writing to a vector cannot fail.
        let _ = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
    } else if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + exponent.unsigned_abs() as usize - 1, b'0');
        out.extend_from_slice(digits);
    } else {
        let whole = exponent as usize + 1;
        if digits.len() <= whole {
            out.extend_from_slice(digits);
            out.resize(out.len() + whole - digits.len(), b'0');
        } else {
            out.extend_from_slice(&digits[..whole]);
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        }
    }
}

/// The number at the start of `text` and how many bytes it takes, as `strtod` reads it; nothing where none stands.
pub fn read(text: &[u8]) -> Option<(f64, usize)> {
    let negative = text.first() == Some(&b'-');
    let signed = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let rest = &text[signed..];
    let (number, len) = if starts_with_word(rest, b"inf") {
        (f64::INFINITY, if starts_with_word(rest, b"infinity") { 8 } else { 3 })
    } else if starts_with_word(rest, b"nan") {
        (f64::NAN, 3 + nan_payload(&rest[3..]))
    } else if let Some(hexadecimal) = read_hexadecimal(rest) {
        hexadecimal
    } else {
        read_decimal(rest)?
    };
    Some((if negative { -number } else { number }, signed + len))
}

pub fn starts_with_word(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// The length of `(chars)`, which may follow a NaN.
fn nan_payload(text: &[u8]) -> usize {
    if text.first() != Some(&b'(') {
        return 0;
    }
    let len = 1 + count(&text[1..], |byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if text.get(len) == Some(&b')') { len + 1 } else { 0 }
}

fn count(text: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    text.iter().take_while(|&&byte| belongs(byte)).count()
}

/// Digits, perhaps with a point and an exponent; of an exponent without digits nothing is taken.
fn read_decimal(text: &[u8]) -> Option<(f64, usize)> {
    let whole = count(text, |byte| byte.is_ascii_digit());
    let mut len = whole;
    let mut digits = whole;
    if text.get(len) == Some(&b'.') {
        let fraction = count(&text[len + 1..], |byte| byte.is_ascii_digit());
        digits += fraction;
        len += 1 + fraction;
    }
    if digits == 0 {
        return None;
    }
    len += exponent(&text[len..], b'e').map_or(0, |(_, len)| len);
    // Up to 18 digits and nothing else are an integer that rounds but once.
    if len == whole && whole <= 18 {
        let integer = text[..len].iter().fold(0_u64, |integer, digit| integer * 10 + u64::from(digit - b'0'));
        return Some((integer as f64, len));
    }
    let number = std::str::from_utf8(&text[..len]).ok()?.parse().ok()?;
    Some((number, len))
}

/// What an exponent counts as at most: more than any number of digits makes up for, and far from overflow.
const EXPONENT_MAX: i64 = 1 << 50;

/// The exponent that `mark` begins and its length.
fn exponent(text: &[u8], mark: u8) -> Option<(i64, usize)> {
    if text.first()?.to_ascii_lowercase() != mark {
        return None;
    }
    let negative = text.get(1) == Some(&b'-');
    let start = if matches!(text.get(1), Some(b'-' | b'+')) { 2 } else { 1 };
    let len = count(&text[start..], |byte| byte.is_ascii_digit());
    if len == 0 {
        return None;
    }
    let value = text[start..start + len]
        .iter()
        .fold(0_i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX));
    Some((if negative { -value } else { value }, start + len))
}

/// `0x`, digits with perhaps a point, perhaps `p` and a binary exponent. Nothing when no digit follows: then the zero
/// alone is the number.
fn read_hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    if !starts_with_word(text, b"0x") {
        return None;
    }
    // The first 60 bits, whether anything but zeros came behind them, and where the point is to go.
    let (mut bits, mut more, mut scale) = (0_u64, false, 0_i64);
    let (mut len, mut digits, mut point) = (2, 0, false);
    while let Some(&byte) = text.get(len) {
        if byte == b'.' && !point {
            point = true;
        } else if let Some(digit) = char::from(byte).to_digit(16) {
            digits += 1;
            if bits >> 56 == 0 {
                bits = bits << 4 | u64::from(digit);
                scale -= if point { 4 } else { 0 };
            } else {
                more |= digit != 0;
                scale += if point { 0 } else { 4 };
            }
        } else {
            break;
        }
        len += 1;
    }
    if digits == 0 {
        return None;
    }
    if let Some((power, taken)) = exponent(&text[len..], b'p') {
        scale += power;
        len += taken;
    }
    Some((scaled(bits << 1 | u64::from(more), scale - 1), len))
}

/// `bits * 2^scale`, rounded once: to even at the precision that the result's magnitude leaves.
fn scaled(bits: u64, scale: i64) -> f64 {
    if bits == 0 {
        return 0.0;
    }
    let len = 64 - i64::from(bits.leading_zeros());
    let top = scale + len - 1;
    if top > 1023 {
        return f64::INFINITY;
    }
    // The place of the last bit that the result has: 52 below the top one, or the smallest that there is.
    let last = (top - 52).max(-1074);
    let drop = last - scale;
    let significand = match drop {
        ..=0 => (bits << -drop) as f64,
        1..=63 => {
            let (kept, half) = (bits >> drop, 1_u64 << (drop - 1));
            let dropped = bits & ((1 << drop) - 1);
            let up = dropped > half || (dropped == half && kept & 1 == 1);
            (kept + u64::from(up)) as f64
        }
        64 if bits > 1 << 63 => 1.0,
        _ => 0.0,
    };
    // Two exact steps, as a power of two below the normal ones has no reciprocal.
    let half = (last / 2) as i32;
    significand * 2_f64.powi(half) * 2_f64.powi(last as i32 - half)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(number: f64, precision: usize) -> String {
        let mut out = Vec::new();
        write(number, precision, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn numbers_are_written_as_printf_does() {
        for (number, precision, expected) in [
            (0.0, 14, "0"),
            (-0.0, 14, "-0"),
            (1.0, 14, "1"),
            (-120.0, 14, "-120"),
            (0.1, 14, "0.1"),
            (1.0 / 3.0, 14, "0.33333333333333"),
            (99_999_999_999_999.0, 14, "99999999999999"),
            (1e14, 14, "1e+14"),
            (123_456_789_012_345.0, 14, "1.2345678901234e+14"),
            (0.0001, 14, "0.0001"),
            (0.00001, 14, "1e-05"),
            (5e-324, 14, "4.9406564584125e-324"),
            (f64::MAX, 14, "1.7976931348623e+308"),
            (99.95, 3, "100"),
            (999.5, 3, "1e+03"),
            (0.5, 1, "0.5"),
            (25.0, 1, "2e+01"),
            (123.456, 4, "123.5"),
            (f64::INFINITY, 14, "inf"),
            (f64::NEG_INFINITY, 14, "-inf"),
        ] {
            assert_eq!(written(number, precision), expected, "{number} {precision}");
        }
    }

    #[test]
    fn numbers_are_read_as_strtod_does() {
        for (text, number, len) in [
            ("0", 0.0, 1),
            ("-12x", -12.0, 3),
            ("+5", 5.0, 2),
            ("1.", 1.0, 2),
            (".5", 0.5, 2),
            ("1.5e3,", 1500.0, 5),
            ("1e", 1.0, 1),
            ("1e+", 1.0, 1),
            ("007", 7.0, 3),
            ("1e999", f64::INFINITY, 5),
            ("9007199254740993", 9_007_199_254_740_992.0, 16),
            ("99999999999999999999", 1e20, 20),
            ("0x", 0.0, 1),
            ("0x10", 16.0, 4),
            ("-0X.8p1", -1.0, 7),
            ("0x1p", 1.0, 3),
            ("0x1p-1074", 5e-324, 9),
            ("0x1p-1075", 0.0, 9),
            ("0x1.8p-1075", 5e-324, 11),
            ("0x1p99999999999999999999", f64::INFINITY, 24),
            ("0x1p-99999999999999999999", 0.0, 25),
            ("0x20000000000001", 9_007_199_254_740_992.0, 16),
            ("0x20000000000001000000000000000000001p-92", 9_007_199_254_740_994.0 / 256.0, 41),
            ("inf]", f64::INFINITY, 3),
            ("-Infinity", f64::NEG_INFINITY, 9),
            ("infinit", f64::INFINITY, 3),
        ] {
            assert_eq!(read(text.as_bytes()), Some((number, len)), "{text}");
        }
        for (text, len) in [("nan", 3), ("-NaN(1_a)", 9), ("nan(-)", 3), ("nan(1", 3)] {
            let (number, taken) = read(text.as_bytes()).expect(text);
            assert_eq!(
                (number.is_nan(), number.is_sign_negative(), taken),
                (true, text.starts_with('-'), len),
                "{text}"
            );
        }
        for text in ["", "-", "+", ".", "e5", "in", "x", "-.e1"] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn hexadecimal_numbers_round_once() {
        for bits in [1_u64, 3, 0x1234_5678_9abc_def0, u64::MAX, (1 << 54) + 2, (1 << 54) + 6, (1 << 60) - 1] {
            let text = format!("{bits:#x}");
            assert_eq!(read(text.as_bytes()), Some((bits as f64, text.len())), "{text}");
        }
    }
}
