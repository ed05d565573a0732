//! How the value of a directive is read, shown and written back: one kind per shape of value.
//!
//! Owns the readers of numbers, memory sizes, percentages, octal modes, yes/no, texts and choices. The rows of
//! the table (`table.rs`) name a kind each; the values that consist of several words have theirs in `words.rs`.
//! Called by the file reader, CONFIG SET, CONFIG GET and CONFIG REWRITE, always through the row. It never
//! looks at another directive and never applies anything.

use super::line::quoted;
use super::number::{bytes_of, strtoll, with_unit};
use crate::base::number::parse_i64;
use std::marker::PhantomData;

/// Where a value comes from. `save` adds up over the lines of a file, but is replaced by CONFIG SET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file, of stdin or of the command line; `first` until the directive has been seen once.
    Line { first: bool },
    /// CONFIG SET.
    Command,
}

/// What CONFIG REWRITE does about one directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// The directive must be absent from the file: its old lines go away.
    Absent,
    /// The lines that stand for the value. A forced line is added where the old file has none to replace.
    Lines(Vec<Line>),
}

/// One line that CONFIG REWRITE proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The line without its end, name included.
    pub text: Vec<u8>,
    /// Whether it is written even though the old file does not name the directive.
    pub forced: bool,
}

impl Rewrite {
    /// The usual case: `name value`, forced unless the value is the default.
    pub fn line(name: &str, value: &[u8], forced: bool) -> Rewrite {
        Rewrite::Lines(vec![Line::new(name, value, forced)])
    }
}

impl Line {
    /// `name value`.
    pub fn new(name: &str, value: &[u8], forced: bool) -> Line {
        let mut text = Vec::with_capacity(name.len().saturating_add(value.len()).saturating_add(1));
        text.extend_from_slice(name.as_bytes());
        text.push(b' ');
        text.extend_from_slice(value);
        Line { text, forced }
    }
}

/// A shape of value: how its words are read and how it is shown.
pub trait Kind {
    /// What the field of [`super::Config`] holds.
    type Value: PartialEq;

    /// Reads the words that follow the name. `old` is the value so far. The error is Redis's reason text.
    fn parse(&self, words: &[Vec<u8>], old: &Self::Value, origin: Origin) -> Result<Self::Value, String>;

    /// The value as CONFIG GET shows it.
    fn format(&self, value: &Self::Value) -> Vec<u8>;

    /// The value as CONFIG REWRITE writes it.
    fn rewrite(&self, name: &str, value: &Self::Value, default: &Self::Value) -> Rewrite {
        Rewrite::line(name, &self.format(value), value != default)
    }
}

/// The single word of a directive that takes one.
pub fn single(words: &[Vec<u8>]) -> Result<&[u8], String> {
    match words {
        [word] => Ok(word),
        _ => Err("wrong number of arguments".to_owned()),
    }
}

/// A word that must be text.
pub fn text(word: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(word).map_err(|_| "argument must be valid UTF-8".to_owned())
}

/// yes or no.
pub struct YesNo;

impl Kind for YesNo {
    type Value = bool;

    fn parse(&self, words: &[Vec<u8>], _old: &bool, _origin: Origin) -> Result<bool, String> {
        let word = single(words)?;
        if word.eq_ignore_ascii_case(b"yes") {
            Ok(true)
        } else if word.eq_ignore_ascii_case(b"no") {
            Ok(false)
        } else {
            Err("argument must be 'yes' or 'no'".to_owned())
        }
    }

    fn format(&self, value: &bool) -> Vec<u8> {
        if *value { b"yes".to_vec() } else { b"no".to_vec() }
    }
}

/// yes or no, of which this build refuses yes, with the given reason.
pub struct NoOnly(pub &'static str);

impl Kind for NoOnly {
    type Value = bool;

    fn parse(&self, words: &[Vec<u8>], old: &bool, origin: Origin) -> Result<bool, String> {
        match YesNo.parse(words, old, origin)? {
            true => Err(self.0.to_owned()),
            false => Ok(false),
        }
    }

    fn format(&self, value: &bool) -> Vec<u8> {
        YesNo.format(value)
    }
}

/// The notation of a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// Decimal digits without leading zeros, with `-` where the range allows it.
    Integer,
    /// Bytes, with an optional unit: b, k, kb, m, mb, g, gb (k is 1000, kb is 1024).
    Memory,
    /// Octal digits: permissions.
    Octal,
}

/// A number between `min` and `max`, both included.
pub struct Number<T> {
    notation: Notation,
    min: i128,
    max: i128,
    value: PhantomData<T>,
}

/// A plain number.
pub const fn integer<T>(min: i128, max: i128) -> Number<T> {
    Number { notation: Notation::Integer, min, max, value: PhantomData }
}

/// A size in bytes.
pub const fn memory<T>(min: i128, max: i128) -> Number<T> {
    Number { notation: Notation::Memory, min, max, value: PhantomData }
}

/// File permissions in octal; `max` is a plain number here, and octal in the error text.
pub const fn octal<T>(min: i128, max: i128) -> Number<T> {
    Number { notation: Notation::Octal, min, max, value: PhantomData }
}

impl<T> Number<T> {
    fn out_of_range(&self) -> String {
        match self.notation {
            Notation::Octal => format!("argument must be between {:o} and {:o} inclusive", self.min, self.max),
            _ => format!("argument must be between {} and {} inclusive", self.min, self.max),
        }
    }
}

impl<T: Copy + PartialEq + TryFrom<i128> + Into<i128>> Kind for Number<T> {
    type Value = T;

    fn parse(&self, words: &[Vec<u8>], _old: &T, _origin: Origin) -> Result<T, String> {
        let word = single(words)?;
        let number = match self.notation {
            Notation::Memory => bytes_of(word).map(i128::from).ok_or("argument must be a memory value")?,
            Notation::Octal => {
                strtoll(word, 8).map(i128::from).ok_or("argument couldn't be parsed as an octal number")?
            }
            Notation::Integer => {
                parse_i64(word).map(i128::from).ok_or("argument couldn't be parsed into an integer")?
            }
        };
        if number < self.min || number > self.max {
            return Err(self.out_of_range());
        }
        T::try_from(number).map_err(|_| self.out_of_range())
    }

    fn format(&self, value: &T) -> Vec<u8> {
        let number: i128 = (*value).into();
        match self.notation {
            Notation::Octal => format!("{number:o}").into_bytes(),
            _ => number.to_string().into_bytes(),
        }
    }

    fn rewrite(&self, name: &str, value: &T, default: &T) -> Rewrite {
        let shown = match self.notation {
            Notation::Memory => with_unit((*value).into()).into_bytes(),
            _ => self.format(value),
        };
        Rewrite::line(name, &shown, value != default)
    }
}

/// A size in bytes, or a share of `maxmemory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BytesOrPercent {
    /// Bytes; 0 is no limit.
    Bytes(u64),
    /// Percent of `maxmemory`, 1 to 100.
    Percent(u8),
}

/// A size in bytes up to `i64::MAX`, or `N%` with N up to 100.
pub struct MemoryOrPercent;

impl Kind for MemoryOrPercent {
    type Value = BytesOrPercent;

    fn parse(&self, words: &[Vec<u8>], _old: &BytesOrPercent, _origin: Origin) -> Result<BytesOrPercent, String> {
        let word = single(words)?;
        if let Some(bytes) = bytes_of(word) {
            return match i64::try_from(bytes) {
                Ok(_) => Ok(BytesOrPercent::Bytes(bytes)),
                Err(_) => Err(format!("argument must be between -100 and {} inclusive", i64::MAX)),
            };
        }
        match word.strip_suffix(b"%").and_then(parse_i64) {
            Some(0) => Ok(BytesOrPercent::Bytes(0)),
            Some(percent @ 1..=100) => Ok(BytesOrPercent::Percent(percent as u8)),
            Some(101..) => Err("percentage argument must be less or equal to 100".to_owned()),
            _ => Err("argument must be a memory or percent value".to_owned()),
        }
    }

    fn format(&self, value: &BytesOrPercent) -> Vec<u8> {
        match value {
            BytesOrPercent::Bytes(bytes) => bytes.to_string().into_bytes(),
            BytesOrPercent::Percent(percent) => format!("{percent}%").into_bytes(),
        }
    }

    fn rewrite(&self, name: &str, value: &BytesOrPercent, default: &BytesOrPercent) -> Rewrite {
        let shown = match value {
            BytesOrPercent::Bytes(bytes) => with_unit(i128::from(*bytes)).into_bytes(),
            BytesOrPercent::Percent(_) => self.format(value),
        };
        Rewrite::line(name, &shown, value != default)
    }
}

/// A text: a path, a name, a list that another part of the server reads.
pub struct Text {
    /// An empty text stands for "not set": CONFIG REWRITE leaves the line out.
    pub unset_when_empty: bool,
    /// Refuses a text, with the reason.
    pub check: fn(&str) -> Result<(), &'static str>,
}

/// A text that may be empty.
pub const fn text_or_empty() -> Text {
    Text { unset_when_empty: false, check: |_| Ok(()) }
}

/// A text that counts as not set while it is empty.
pub const fn text_or_unset() -> Text {
    Text { unset_when_empty: true, check: |_| Ok(()) }
}

impl Text {
    /// The same with a check of its own.
    pub const fn checked(self, check: fn(&str) -> Result<(), &'static str>) -> Text {
        Text { unset_when_empty: self.unset_when_empty, check }
    }
}

impl Kind for Text {
    type Value = String;

    fn parse(&self, words: &[Vec<u8>], _old: &String, _origin: Origin) -> Result<String, String> {
        let word = text(single(words)?)?;
        (self.check)(word)?;
        Ok(word.to_owned())
    }

    fn format(&self, value: &String) -> Vec<u8> {
        value.as_bytes().to_vec()
    }

    fn rewrite(&self, name: &str, value: &String, default: &String) -> Rewrite {
        if self.unset_when_empty && value.is_empty() {
            return Rewrite::Absent;
        }
        Rewrite::line(name, &quoted(value.as_bytes()), value != default)
    }
}

/// A password or a user name: any bytes; empty is not set.
pub struct Secret;

impl Kind for Secret {
    type Value = Vec<u8>;

    fn parse(&self, words: &[Vec<u8>], _old: &Vec<u8>, _origin: Origin) -> Result<Vec<u8>, String> {
        Ok(single(words)?.to_vec())
    }

    fn format(&self, value: &Vec<u8>) -> Vec<u8> {
        value.clone()
    }

    fn rewrite(&self, name: &str, value: &Vec<u8>, _default: &Vec<u8>) -> Rewrite {
        if value.is_empty() {
            return Rewrite::Absent;
        }
        Rewrite::line(name, &quoted(value), true)
    }
}

/// A type whose values have names in the configuration. Made by the `choices!` macro of `choice.rs`.
pub trait Named: Copy + PartialEq + 'static {
    /// Every accepted name, in the order that error texts list them.
    const NAMES: &'static [(&'static str, Self)];
}

/// One name out of a list, in any letter case.
pub struct Choice<T>(pub PhantomData<T>);

/// One name out of the list of `T`.
pub const fn choice<T>() -> Choice<T> {
    Choice(PhantomData)
}

impl<T: Named> Kind for Choice<T> {
    type Value = T;

    fn parse(&self, words: &[Vec<u8>], _old: &T, _origin: Origin) -> Result<T, String> {
        let found = match words {
            [word] => T::NAMES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())),
            _ => None,
        };
        found.map(|(_, value)| *value).ok_or_else(|| must_be_one_of(T::NAMES.iter().map(|(name, _)| *name)))
    }

    fn format(&self, value: &T) -> Vec<u8> {
        T::NAMES.iter().find(|(_, one)| one == value).map_or("unknown", |(name, _)| name).as_bytes().to_vec()
    }
}

/// The reason that lists what would have been right.
pub fn must_be_one_of(names: impl Iterator<Item = &'static str>) -> String {
    let names: Vec<&str> = names.collect();
    format!("argument(s) must be one of the following: {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(word: &str) -> Vec<Vec<u8>> {
        vec![word.as_bytes().to_vec()]
    }

    #[test]
    fn numbers_out_of_range_name_the_range() {
        let kind = integer::<u16>(0, 65535);
        let error = kind.parse(&words("65536"), &0, Origin::Command).unwrap_err();
        assert_eq!(error, "argument must be between 0 and 65535 inclusive");
        let error = octal::<u32>(0, 0o777).parse(&words("1000"), &0, Origin::Command).unwrap_err();
        assert_eq!(error, "argument must be between 0 and 777 inclusive");
        let error = integer::<u32>(1, i128::from(u32::MAX)).parse(&words("-1"), &1, Origin::Command).unwrap_err();
        assert_eq!(error, "argument must be between 1 and 4294967295 inclusive");
    }

    #[test]
    fn a_limit_is_a_size_or_a_percentage() {
        let parse = |word| MemoryOrPercent.parse(&words(word), &BytesOrPercent::Bytes(0), Origin::Command);
        assert_eq!(parse("1gb"), Ok(BytesOrPercent::Bytes(1 << 30)));
        assert_eq!(parse("5%"), Ok(BytesOrPercent::Percent(5)));
        assert_eq!(parse("0%"), Ok(BytesOrPercent::Bytes(0)));
        assert_eq!(parse("101%").unwrap_err(), "percentage argument must be less or equal to 100");
        for word in ["-5", "-5%", "%", "x"] {
            assert_eq!(parse(word).unwrap_err(), "argument must be a memory or percent value", "{word}");
        }
    }
}
