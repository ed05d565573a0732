//! Numbers that only the configuration writes in their way: sizes with units, and numbers as C's `strtoll` takes them.
//!
//! Called by the kinds of values. Plain integers are read by `base::number`.

/// Reads a size with its unit as Redis does: an empty number is 0, and what exceeds 64 bits is the largest number.
pub fn bytes_of(word: &[u8]) -> Option<u64> {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, unit) = word.split_at_checked(digits)?;
    let unit: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    if digits.len() >= 128 {
        return None;
    }
    let number = digits
        .iter()
        .fold(0u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit.saturating_sub(b'0'))));
    Some(number.saturating_mul(unit))
}

/// A size in the largest unit that shows it exactly, as CONFIG REWRITE writes it.
pub fn with_unit(bytes: i128) -> String {
    for (unit, name) in [(1i128 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")] {
        if bytes != 0 && bytes.checked_rem(unit) == Some(0) {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}

/// Reads a number as C's `strtoll` does when the whole word must be used up: leading blanks and a sign are
/// fine, the empty word is 0, and what does not fit becomes the nearest limit.
pub fn strtoll(word: &[u8], base: u32) -> Option<i64> {
    if word.is_empty() {
        return Some(0);
    }
    let word = word.trim_ascii_start();
    let (negative, digits) = match word {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, word),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = 0i64;
    for byte in digits {
        let digit = i64::from(char::from(*byte).to_digit(base)?);
        number = number.saturating_mul(i64::from(base));
        number = if negative { number.saturating_sub(digit) } else { number.saturating_add(digit) };
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_units_are_decimal_without_b_and_binary_with_it() {
        let table: &[(&str, Option<u64>)] = &[
            ("100", Some(100)),
            ("100b", Some(100)),
            ("1k", Some(1000)),
            ("1Kb", Some(1024)),
            ("2m", Some(2_000_000)),
            ("2MB", Some(2 << 20)),
            ("3g", Some(3_000_000_000)),
            ("3gb", Some(3 << 30)),
            ("", Some(0)),
            ("-1", None),
            ("1 gb", None),
            ("1tb", None),
            ("99999999999999999999gb", Some(u64::MAX)),
        ];
        for (word, bytes) in table {
            assert_eq!(bytes_of(word.as_bytes()), *bytes, "{word}");
        }
    }

    #[test]
    fn strtoll_takes_the_whole_word() {
        let table: &[(&str, u32, Option<i64>)] = &[
            ("", 10, Some(0)),
            (" +12", 10, Some(12)),
            ("-5", 10, Some(-5)),
            ("5x", 10, None),
            ("-", 10, None),
            (" ", 10, None),
            ("0777", 8, Some(0o777)),
            ("8", 8, None),
            ("99999999999999999999", 10, Some(i64::MAX)),
        ];
        for (word, base, number) in table {
            assert_eq!(strtoll(word.as_bytes(), *base), *number, "{word:?}");
        }
    }

    #[test]
    fn sizes_are_written_in_their_largest_exact_unit() {
        for (bytes, shown) in [(0, "0"), (1, "1"), (1024, "1kb"), (1 << 20, "1mb"), (3 << 30, "3gb"), (1025, "1025")] {
            assert_eq!(with_unit(bytes), shown);
        }
    }
}
