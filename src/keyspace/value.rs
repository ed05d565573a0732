//! Values as handlers see them: borrowed views, valid until the keyspace is used again.

use bytes::Bytes;

use super::object::{Collection, Object, WrongKind};
use crate::base::number::parse_i64;

/// Longest string that OBJECT ENCODING calls "embstr" (Redis: OBJ_ENCODING_EMBSTR_SIZE_LIMIT).
const EMBSTR_MAX_BYTES: usize = 44;

/// The type of a value, as TYPE and SCAN's TYPE option name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueKind {
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Stream,
}

impl ValueKind {
    /// What TYPE answers.
    pub fn type_name(self) -> &'static str {
        match self {
            ValueKind::String => "string",
            ValueKind::List => "list",
            ValueKind::Set => "set",
            ValueKind::SortedSet => "zset",
            ValueKind::Hash => "hash",
            ValueKind::Stream => "stream",
        }
    }
}

/// A value where it lies.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    String(StringValue<'a>),
    Object(&'a Object),
}

impl<'a> Value<'a> {
    pub fn kind(&self) -> ValueKind {
        match self {
            Value::String(_) => ValueKind::String,
            Value::Object(object) => object.kind(),
        }
    }

    /// What TYPE answers.
    pub fn type_name(&self) -> &'static str {
        self.kind().type_name()
    }

    /// The value as a string.
    ///
    /// # Errors
    /// [`WrongKind`]: it is none.
    #[inline]
    pub fn string(self) -> Result<StringValue<'a>, WrongKind> {
        match self {
            Value::String(string) => Ok(string),
            Value::Object(_) => Err(WrongKind),
        }
    }

    /// The value as a collection of one kind.
    ///
    /// # Errors
    /// [`WrongKind`]: it is another.
    #[inline]
    pub fn collection<T: Collection>(self) -> Result<&'a T, WrongKind> {
        match self {
            Value::String(_) => Err(WrongKind),
            Value::Object(object) => T::of(object).ok_or(WrongKind),
        }
    }

    /// What OBJECT ENCODING answers; `raw` is the entry's mark of a string modified in place.
    pub(super) fn encoding_name(&self, raw: bool) -> &'static str {
        match self {
            Value::String(string) => string.encoding_name(raw),
            Value::Object(object) => object.encoding_name(),
        }
    }
}

/// A string where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StringValue<'a> {
    /// A canonical integer.
    Integer(i64),
    /// A short one, inside its entry.
    Bytes(&'a [u8]),
    /// In a buffer that replies may share.
    Shared(&'a Bytes),
}

/// Room for the decimal digits of an integer value; see [`StringValue::as_bytes`].
pub type Digits = itoa::Buffer;

impl<'a> StringValue<'a> {
    /// Length of the string in bytes; of an integer, of its decimal form.
    pub fn len(&self) -> usize {
        match self {
            StringValue::Integer(integer) => decimal_len(*integer),
            StringValue::Bytes(bytes) => bytes.len(),
            StringValue::Shared(bytes) => bytes.len(),
        }
    }

    /// Whether the string is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The string's bytes; an integer is written into `digits` first.
    pub fn as_bytes<'b>(&self, digits: &'b mut Digits) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            StringValue::Integer(integer) => digits.format(integer).as_bytes(),
            StringValue::Bytes(bytes) => bytes,
            StringValue::Shared(bytes) => bytes,
        }
    }

    /// Appends the string's bytes to `out`.
    pub fn copy_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes(&mut Digits::new()));
    }

    /// The string's bytes in a vector of their own.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        self.copy_to(&mut bytes);
        bytes
    }

    /// The integer that the string spells in canonical form, as INCR accepts it (see [`parse_i64`]).
    pub fn integer(&self) -> Option<i64> {
        match self {
            StringValue::Integer(integer) => Some(*integer),
            StringValue::Bytes(bytes) => parse_i64(bytes),
            StringValue::Shared(bytes) => parse_i64(bytes),
        }
    }

    /// What OBJECT ENCODING answers; `raw` is the entry's mark of a string modified in place.
    fn encoding_name(&self, raw: bool) -> &'static str {
        match self {
            StringValue::Integer(_) => "int",
            _ if raw || self.len() > EMBSTR_MAX_BYTES => "raw",
            _ => "embstr",
        }
    }
}

fn decimal_len(integer: i64) -> usize {
    let digits = integer.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    digits + usize::from(integer < 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_of_an_integer_is_that_of_its_digits() {
        for integer in [0, 1, 9, 10, 99, 100, -1, -9, -10, i64::MAX, i64::MIN] {
            assert_eq!(StringValue::Integer(integer).len(), integer.to_string().len(), "{integer}");
        }
    }

    #[test]
    fn encoding_turns_raw_past_44_bytes_or_when_modified() {
        let bytes = [b'x'; 45];
        assert_eq!(StringValue::Bytes(&bytes[..44]).encoding_name(false), "embstr");
        assert_eq!(StringValue::Bytes(&bytes[..44]).encoding_name(true), "raw");
        assert_eq!(StringValue::Bytes(&bytes).encoding_name(false), "raw");
        assert_eq!(StringValue::Integer(1).encoding_name(false), "int");
    }
}
