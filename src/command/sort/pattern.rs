//! The patterns of SORT's BY and GET: from an element to the value of a key.
//!
//! Redis reads patterns as C strings: `*` and `->` are looked for up to the first NUL.

use super::super::arguments::text;
use crate::keyspace::hash::Hash;
use crate::keyspace::listpack::{Digits, Element};
use crate::keyspace::{Key, Keyspace, StringValue, Value};

/// A pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// Without `*`: no value.
    Constant,
    /// The key is the element between the two; the value is the key's, or that of a field of it.
    Key { before: &'a [u8], behind: &'a [u8], field: Option<&'a [u8]> },
}

/// A value that a pattern led to.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    String(StringValue<'a>),
    Element(Element<'a>),
}

impl<'a> Found<'a> {
    /// The bytes; an integer is written into `digits` first.
    pub fn as_bytes<'b>(self, digits: &'b mut Digits) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Found::String(StringValue::Integer(integer)) => digits.format(integer).as_bytes(),
            Found::String(StringValue::Bytes(bytes)) => bytes,
            Found::String(StringValue::Shared(bytes)) => bytes,
            Found::Element(Element::Integer(integer)) => digits.format(integer).as_bytes(),
            Found::Element(Element::Bytes(bytes)) => bytes,
        }
    }
}

impl<'a> Pattern<'a> {
    pub fn new(pattern: &'a [u8]) -> Pattern<'a> {
        let seen = text(pattern);
        if seen == b"#" {
            return Pattern::Element;
        }
        let Some(star) = seen.iter().position(|byte| *byte == b'*') else { return Pattern::Constant };
        let arrow = seen[star + 1..].windows(2).position(|pair| pair == b"->").map(|at| star + 1 + at);
        // An arrow with nothing behind it belongs to the key.
        let arrow = arrow.filter(|at| at + 2 < seen.len());
        Pattern::Key {
            before: &pattern[..star],
            behind: &pattern[star + 1..arrow.unwrap_or(pattern.len())],
            field: arrow.map(|at| &pattern[at + 2..]),
        }
    }

    /// Whether it has a `*`; `#` has none.
    pub fn depends_on_element(&self) -> bool {
        matches!(self, Pattern::Key { .. })
    }

    /// The value for an element; `None` when there is none, or of another kind. `name` is room for the key.
    pub fn look_up<'k>(
        &self,
        keyspace: &'k mut Keyspace,
        db: usize,
        element: &'k [u8],
        name: &mut Vec<u8>,
    ) -> Option<Found<'k>> {
        let (before, behind, field) = match *self {
            Pattern::Element => return Some(Found::Element(Element::Bytes(element))),
            Pattern::Constant => return None,
            Pattern::Key { before, behind, field } => (before, behind, field),
        };
        name.clear();
        [before, element, behind].iter().for_each(|part| name.extend_from_slice(part));
        match (keyspace.read(db, Key::new(name))?, field) {
            (Value::String(string), None) => Some(Found::String(string)),
            (value @ Value::Object(_), Some(field)) => value.collection::<Hash>().ok()?.get(field).map(Found::Element),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_cut_at_its_star_and_its_arrow() {
        let key = |before, behind, field| Pattern::Key { before, behind, field };
        let cases: &[(&[u8], Pattern<'_>)] = &[
            (b"#", Pattern::Element),
            (b"#\0x", Pattern::Element),
            (b"##", Pattern::Constant),
            (b"", Pattern::Constant),
            (b"nosort", Pattern::Constant),
            (b"a\0*", Pattern::Constant),
            (b"*", key(b"", b"", None)),
            (b"w_*", key(b"w_", b"", None)),
            (b"w_*_x*", key(b"w_", b"_x*", None)),
            (b"h_*->f", key(b"h_", b"", Some(b"f"))),
            (b"h_*_x->f->g", key(b"h_", b"_x", Some(b"f->g"))),
            (b"h_*->", key(b"h_", b"->", None)),
            (b"->*", key(b"->", b"", None)),
            (b"*->\0f", key(b"", b"->\0f", None)),
            (b"*->f\0g", key(b"", b"", Some(b"f\0g"))),
        ];
        for (pattern, expected) in cases {
            assert_eq!(Pattern::new(pattern), *expected, "{}", String::from_utf8_lossy(pattern));
        }
    }
}
