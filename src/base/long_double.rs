//! Extended-precision numbers, for INCRBYFLOAT and HINCRBYFLOAT.
//!
//! Stock Redis adds increments as C `long double`, which on x86-64 has 64 bits of mantissa, and prints the sum with 17
//! decimals. Doubles would show other digits, so this type does the same arithmetic in integers: read a decimal,
//! add, print, each rounded to nearest with ties to even. Nothing else is offered.

use super::number::{FloatBody, scan_float};

/// The longest text that stock reads as a long double, in bytes.
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;
/// The weight of the mantissa's lowest bit in the smallest numbers (subnormal ones included).
const EXPONENT_MIN: i32 = -16445;
/// The weight of the mantissa's lowest bit in the largest numbers.
const EXPONENT_MAX: i32 = 16320;
/// Decimals that stock prints before it trims zeros.
const DECIMALS: usize = 17;
/// Ten to the power of `DECIMALS`.
const DECIMALS_SCALE: u64 = 10u64.pow(DECIMALS as u32);

/// A number with the range and precision of the x87 extended format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `mantissa * 2^exponent`: zero (mantissa 0), normal (top bit set), or subnormal (exponent at its minimum).
    Finite {
        mantissa: u64,
        exponent: i32,
    },
    Infinite,
    NotANumber,
}

impl LongDouble {
    /// Zero, the value of a missing key.
    pub const ZERO: LongDouble = LongDouble { negative: false, kind: Kind::Finite { mantissa: 0, exponent: 0 } };

    /// The number that stock's `string2ld` reads in `text`: what C's `strtold` accepts over all bytes, without leading
    /// white space. `None` for anything else, `nan`, 5120 bytes or more, overflow, and underflow to zero.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let number = scan_float(text)?;
        let kind = match number.body {
            FloatBody::Infinity => {
                return Some(LongDouble { negative: number.negative, kind: Kind::Infinite });
            }
            _ if number.is_zero() => Kind::Finite { mantissa: 0, exponent: 0 },
            FloatBody::Hexadecimal { mantissa, exponent, sticky } => {
                let exponent = i32::try_from(exponent.clamp(-100_000, 100_000)).ok()?;
                round(mantissa, exponent, sticky)
            }
            FloatBody::Decimal { whole, fraction, exponent } => round_decimal(whole, fraction, exponent)?,
        };
        let lost = match kind {
            Kind::Finite { mantissa, .. } => mantissa == 0 && !number.is_zero(),
            _ => true,
        };
        (!lost).then_some(LongDouble { negative: number.negative, kind })
    }

    /// The sum, rounded once. Infinities of both signs give not-a-number.
    #[must_use]
    pub fn plus(self, other: LongDouble) -> LongDouble {
        let (large, small) =
            if self.magnitude_order() >= other.magnitude_order() { (self, other) } else { (other, self) };
        match (large.kind, small.kind) {
            (Kind::NotANumber, _) | (_, Kind::NotANumber) => LongDouble { negative: false, kind: Kind::NotANumber },
            (Kind::Infinite, Kind::Infinite) if large.negative != small.negative => {
                LongDouble { negative: false, kind: Kind::NotANumber }
            }
            (Kind::Infinite, _) | (_, Kind::Infinite) => LongDouble { negative: large.negative, kind: Kind::Infinite },
            (Kind::Finite { mantissa: high, exponent }, Kind::Finite { mantissa: low, exponent: low_exponent }) => {
                if low == 0 {
                    let negative = large.negative && (high != 0 || small.negative);
                    return LongDouble { negative, kind: large.kind };
                }
                // 62 bits below the larger number's lowest are enough to round by, with the rest in `sticky`: a
                // difference that cancels its top bits comes from numbers so close that nothing was shifted out.
                let high = u128::from(high) << 62;
                let (low, sticky) = shift_right_sticky(u128::from(low) << 62, exponent.abs_diff(low_exponent));
                let sum = if large.negative == small.negative { high + low } else { high - low - u128::from(sticky) };
                if sum == 0 {
                    return LongDouble::ZERO;
                }
                LongDouble { negative: large.negative, kind: round(sum, exponent - 62, sticky) }
            }
        }
    }

    /// Whether the number is infinite or not a number, which no key may become.
    pub fn is_nan_or_infinite(self) -> bool {
        !matches!(self.kind, Kind::Finite { .. })
    }

    /// Appends the number as stock shows it to people: 17 decimals, then without trailing zeros and never `-0`; `inf`,
    /// `-inf`, `nan`.
    pub fn format_human(self, out: &mut Vec<u8>) {
        match self.kind {
            Kind::NotANumber => out.extend_from_slice(b"nan"),
            Kind::Infinite => out.extend_from_slice(if self.negative { b"-inf" } else { b"inf" }),
            Kind::Finite { mantissa, exponent } => {
                let start = out.len();
                if self.negative {
                    out.push(b'-');
                }
                if exponent >= 0 {
                    Big::from_shifted(mantissa, exponent.unsigned_abs()).format(out);
                } else {
                    format_fixed(mantissa, exponent.unsigned_abs(), out);
                }
                if out.get(start..) == Some(b"-0") {
                    out.truncate(start);
                    out.push(b'0');
                }
            }
        }
    }

    /// Mantissa and exponent of a finite number, to check tables by.
    #[cfg(test)]
    pub(super) fn parts(self) -> Option<(u64, i32)> {
        match self.kind {
            Kind::Finite { mantissa, exponent } => Some((mantissa, exponent)),
            _ => None,
        }
    }

    /// Orders magnitudes: not-a-number, infinity, then by size. Normal numbers order by exponent first; subnormal
    /// numbers and zero have no larger exponent than any other number that matters.
    fn magnitude_order(self) -> (u8, i32, u64) {
        match self.kind {
            Kind::NotANumber => (3, 0, 0),
            Kind::Infinite => (2, 0, 0),
            Kind::Finite { mantissa: 0, .. } => (0, 0, 0),
            Kind::Finite { mantissa, exponent } => (1, exponent, mantissa),
        }
    }
}

impl From<i64> for LongDouble {
    /// Every `i64` is exact.
    fn from(value: i64) -> LongDouble {
        LongDouble { negative: value < 0, kind: round(u128::from(value.unsigned_abs()), 0, false) }
    }
}

/// `value >> count` and whether a bit that was set got lost.
fn shift_right_sticky(value: u128, count: u32) -> (u128, bool) {
    match count {
        0 => (value, false),
        1..=127 => (value >> count, value << (128 - count) != 0),
        _ => (0, value != 0),
    }
}

/// `value * 2^exponent`, a little more when `sticky`, rounded to the nearest number of 64 bits, ties to even.
fn round(value: u128, exponent: i32, sticky: bool) -> Kind {
    if value == 0 {
        return Kind::Finite { mantissa: 0, exponent: 0 };
    }
    let zeros = value.leading_zeros();
    let (value, exponent) = (value << zeros, exponent - zeros.cast_signed());
    // Numbers below the normal range keep fewer bits.
    let drop = (EXPONENT_MIN - exponent).max(64);
    let exponent = exponent + drop;
    let drop = drop.unsigned_abs();
    if drop > 128 {
        return Kind::Finite { mantissa: 0, exponent: 0 };
    }
    let kept = if drop == 128 { 0 } else { (value >> drop) as u64 };
    let lost = if drop == 128 { value } else { value << (128 - drop) };
    const HALF: u128 = 1 << 127;
    let up = lost > HALF || (lost == HALF && (sticky || kept & 1 == 1));
    let (mantissa, exponent) = match kept.checked_add(u64::from(up)) {
        Some(mantissa) => (mantissa, exponent),
        None => (1 << 63, exponent + 1),
    };
    match mantissa {
        0 => Kind::Finite { mantissa: 0, exponent: 0 },
        _ if exponent > EXPONENT_MAX => Kind::Infinite,
        _ => Kind::Finite { mantissa, exponent },
    }
}

/// The decimal number `whole.fraction * 10^exponent` rounded; `None` when it is certainly out of range. Not zero.
fn round_decimal(whole: &[u8], fraction: &[u8], exponent: i64) -> Option<Kind> {
    let digits = || whole.iter().chain(fraction).map(|byte| byte - b'0').skip_while(|&digit| digit == 0);
    let scale = exponent - fraction.len() as i64;
    // The value lies in 10^(order - 1) .. 10^order.
    let order = digits().count() as i64 + scale;
    if !(-4970..=4940).contains(&order) {
        return None;
    }
    let power = u32::try_from(scale.unsigned_abs()).ok()?;
    let mut number = Big::zero();
    digits().for_each(|digit| number.multiply_add(10, u64::from(digit)));
    // 10^n is 5^n * 2^n: only the fives need arithmetic.
    if scale >= 0 {
        (0..power).for_each(|_| number.multiply_add(5, 0));
        let (value, exponent, sticky) = number.top_bits();
        return Some(round(value, exponent + power.cast_signed(), sticky));
    }
    let mut divisor = Big::from_shifted(1, 0);
    (0..power).for_each(|_| divisor.multiply_add(5, 0));
    // Shifted so that the quotient has 66 or 67 bits: 64 to keep, and enough to round by.
    let shift = 66 + divisor.bits() - number.bits();
    let (quotient, sticky) = if shift >= 0 {
        number.shift_left(shift.unsigned_abs());
        number.divide_small_quotient(&divisor)
    } else {
        divisor.shift_left(shift.unsigned_abs());
        number.divide_small_quotient(&divisor)
    };
    Some(round(quotient, -shift - power.cast_signed(), sticky))
}

/// Appends `mantissa / 2^shift` with 17 decimals, rounded to nearest with ties to even, without trailing zeros.
fn format_fixed(mantissa: u64, shift: u32, out: &mut Vec<u8>) {
    let whole = if shift < 64 { mantissa >> shift } else { 0 };
    let part = if shift < 64 { mantissa & ((1 << shift) - 1) } else { mantissa };
    // Below 2^64 * 10^17 < 2^121, so that a shift of 128 or more leaves less than a half.
    let scaled = u128::from(part) * u128::from(DECIMALS_SCALE);
    let mut decimals = 0;
    if shift < 128 {
        decimals = (scaled >> shift) as u64;
        let lost = scaled << (128 - shift);
        const HALF: u128 = 1 << 127;
        decimals += u64::from(lost > HALF || (lost == HALF && decimals & 1 == 1));
    }
    let whole = whole + decimals / DECIMALS_SCALE;
    let decimals = decimals % DECIMALS_SCALE;
    out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    if decimals != 0 {
        out.push(b'.');
        let text = format!("{decimals:017}");
        out.extend_from_slice(text.trim_end_matches('0').as_bytes());
    }
}

/// A natural number of any size, least significant word first, without leading zero words.
struct Big {
    words: Vec<u64>,
}

impl Big {
    fn zero() -> Big {
        Big { words: Vec::new() }
    }

    fn from_shifted(value: u64, shift: u32) -> Big {
        let mut number = Big { words: if value == 0 { Vec::new() } else { vec![value] } };
        number.shift_left(shift);
        number
    }

    /// How many bits the number has.
    fn bits(&self) -> i32 {
        let last = self.words.last().map_or(64, |word| word.leading_zeros());
        (self.words.len() as i32) * 64 - if self.words.is_empty() { 0 } else { last.cast_signed() }
    }

    /// `self * factor + addend`.
    fn multiply_add(&mut self, factor: u64, addend: u64) {
        let mut carry = addend;
        for word in &mut self.words {
            let product = u128::from(*word) * u128::from(factor) + u128::from(carry);
            *word = product as u64;
            carry = (product >> 64) as u64;
        }
        if carry != 0 {
            self.words.push(carry);
        }
    }

    fn shift_left(&mut self, count: u32) {
        if self.words.is_empty() {
            return;
        }
        let bits = count % 64;
        if bits != 0 {
            self.multiply_add(1 << bits, 0);
        }
        self.words.splice(0..0, std::iter::repeat_n(0, count as usize / 64));
    }

    /// The number as (top 128 bits, exponent of their lowest bit, whether bits below them are set).
    fn top_bits(&self) -> (u128, i32, bool) {
        let lower = self.words.len().saturating_sub(3);
        let (below, top) = self.words.split_at(lower);
        let word = |at: usize| u128::from(top.get(at).copied().unwrap_or(0));
        let lost = below.iter().any(|&word| word != 0);
        let base = lower as i32 * 64;
        match top.len() {
            0..=2 => (word(1) << 64 | word(0), base, lost),
            _ => {
                // At least 65 bits of three words fit: drop as many low bits as the top word needs.
                let drop = 64 - top[2].leading_zeros();
                let low = word(1) << 64 | word(0);
                let (kept, sticky) = shift_right_sticky(low, drop);
                (word(2) << (128 - drop) | kept, base + drop.cast_signed(), lost || sticky)
            }
        }
    }

    /// `self / divisor` for a quotient below 2^127, and whether a remainder is left. Bit by bit: the quotient is short.
    fn divide_small_quotient(&mut self, divisor: &Big) -> (u128, bool) {
        let steps = (self.bits() - divisor.bits()).max(0).unsigned_abs();
        let mut divisor = Big { words: divisor.words.clone() };
        divisor.shift_left(steps);
        let mut quotient = 0u128;
        for step in 0..=steps {
            quotient <<= 1;
            if self.at_least(&divisor) {
                self.subtract(&divisor);
                quotient |= 1;
            }
            if step < steps {
                divisor.halve();
            }
        }
        (quotient, !self.words.is_empty())
    }

    fn at_least(&self, other: &Big) -> bool {
        match self.words.len().cmp(&other.words.len()) {
            std::cmp::Ordering::Equal => self.words.iter().rev().ge(other.words.iter().rev()),
            order => order.is_gt(),
        }
    }

    /// `self - other`, which is not larger.
    fn subtract(&mut self, other: &Big) {
        let mut borrow = false;
        for (at, word) in self.words.iter_mut().enumerate() {
            let taken = other.words.get(at).copied().unwrap_or(0);
            let (next, first) = word.overflowing_sub(taken);
            let (next, second) = next.overflowing_sub(u64::from(borrow));
            (*word, borrow) = (next, first || second);
        }
        assert!(!borrow, "a larger number was subtracted");
        self.trim();
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for word in self.words.iter_mut().rev() {
            let low = *word & 1;
            *word = *word >> 1 | carry << 63;
            carry = low;
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }

    /// Appends the number in decimal.
    fn format(mut self, out: &mut Vec<u8>) {
        const CHUNK: u64 = 10_000_000_000_000_000_000;
        let mut chunks = Vec::new();
        while !self.words.is_empty() {
            let mut rest = 0u64;
            for word in self.words.iter_mut().rev() {
                let value = u128::from(rest) << 64 | u128::from(*word);
                *word = (value / u128::from(CHUNK)) as u64;
                rest = (value % u128::from(CHUNK)) as u64;
            }
            self.trim();
            chunks.push(rest);
        }
        let mut buffer = itoa::Buffer::new();
        out.extend_from_slice(buffer.format(chunks.pop().unwrap_or(0)).as_bytes());
        for chunk in chunks.iter().rev() {
            out.extend_from_slice(format!("{chunk:019}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> LongDouble {
        LongDouble::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text} is a number"))
    }

    fn shown(number: LongDouble) -> String {
        let mut out = Vec::new();
        number.format_human(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn sum(one: &str, other: &str) -> String {
        shown(number(one).plus(number(other)))
    }

    #[test]
    fn sums_look_as_stock_shows_them() {
        assert_eq!(sum("10.5", "0.1"), "10.6");
        assert_eq!(sum("3.0e3", "200"), "3200");
        assert_eq!(sum("1.2345", "1.2345"), "2.469");
        assert_eq!(sum("5.0e3", "2.0e2"), "5200");
        assert_eq!(sum("1", "-1"), "0");
        assert_eq!(sum("-0", "-0"), "0");
        assert_eq!(sum("9223372036854775807", "1"), "9223372036854775808");
        assert_eq!(sum("17179869184", "0.1"), "17179869184.09999999962747097");
        assert_eq!(sum("1e-20", "0"), "0");
        assert_eq!(sum("-1e-20", "0"), "0");
        assert_eq!(sum("1", "-1e-18"), "1");
    }

    #[test]
    fn not_every_text_is_a_number() {
        for text in ["", " 1", "1 ", "nan", "1e5000", "1e-5000", "0x", "1,5", "--1", "0x1p20000", "0x1p-17000"] {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(LongDouble::parse(&[b'1'; 5120]), None);
        assert_eq!(LongDouble::parse(&[b'0'; 5119]), Some(LongDouble::ZERO));
        assert_eq!(shown(number("-inf")), "-inf");
        assert_eq!(shown(number("0x1.8p1")), "3");
        assert!(number("inf").plus(number("-inf")).is_nan_or_infinite());
        assert!(number("1e4932").plus(number("1e4932")).is_nan_or_infinite());
        assert!(!number("3.6e-4951").is_nan_or_infinite());
    }

    #[test]
    fn the_range_ends_where_the_format_ends() {
        assert!(LongDouble::parse(b"1.18973149535723176502e4932").is_some());
        assert!(LongDouble::parse(b"1.18973149535723176509e4932").is_none());
        assert!(LongDouble::parse(b"1.8e-4951").is_none());
        assert!(LongDouble::parse(b"1.9e-4951").is_some());
        assert!(shown(number("1e4000")).starts_with("999999999999999999996546387309962378493249"));
    }

    #[test]
    fn integers_are_exact() {
        for value in [0, 1, -1, i64::MAX, i64::MIN] {
            assert_eq!(shown(LongDouble::from(value)), value.to_string());
            assert_eq!(LongDouble::from(value), number(&value.to_string()));
        }
    }

    proptest! {
        #[test]
        fn decimals_of_seventeen_digits_read_back(whole in 0u64..100, decimals in 0u64..100_000_000_000_000) {
            let text = format!("{whole}.{decimals:014}");
            let trimmed = text.trim_end_matches('0').trim_end_matches('.');
            prop_assert_eq!(shown(number(&text)), trimmed);
        }

        #[test]
        fn adding_commutes_and_undoes(one: i64, other: i64) {
            let (a, b) = (LongDouble::from(one), LongDouble::from(other));
            prop_assert_eq!(a.plus(b), b.plus(a));
            prop_assert_eq!(shown(LongDouble::from(one >> 1).plus(LongDouble::from(other >> 1))), ((one >> 1) + (other >> 1)).to_string());
        }

        #[test]
        fn no_text_panics(text in "[-+]?[0-9]{0,30}[.]?[0-9]{0,30}(e[-+]?[0-9]{1,5})?") {
            if let Some(number) = LongDouble::parse(text.as_bytes()) {
                let mut out = Vec::new();
                number.plus(number).format_human(&mut out);
            }
        }
    }
}
