//! The frame of a single value, as DUMP gives it out and RESTORE takes it.

use bytes::Bytes;

use super::checksum::Checksum;
use super::cursor::Cursor;
use super::decode::{LoadLimits, Sliced, decode_value};
use super::encode::{Encoder, string_head};
use super::parts::Parts;
use super::types::{Format, OP_FUNCTION, OP_FUNCTION_PRE_GA, WRITTEN_VERSION, form_name};
use crate::keyspace::{LoadedValue, StringValue, Value};

/// Version and checksum.
const FOOTER_BYTES: usize = 10;

/// Why a payload is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PayloadError {
    /// The version is too new, or the checksum is another.
    Footer,
    /// The value is damaged, of a type that is not known, or a collection without elements: a line for the log.
    Value(String),
}

/// Appends the payload of a value.
pub fn write(value: Value<'_>, encoder: &mut Encoder, out: &mut Vec<u8>) {
    let start = out.len();
    encoder.value(value, out);
    out.extend_from_slice(&WRITTEN_VERSION.to_le_bytes());
    let checksum = Checksum::of(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// A string of so many bytes is shared with its key instead of copied, and not compressed.
const SHARED_BYTES_MIN: usize = 64 << 10;
/// Bytes that are summed up in the time in which one byte is encoded.
const SUMMED_PER_ENCODED: usize = 16;

/// The payload of a large value, made in parts. The value must be the same each time.
pub struct Partial {
    content: Content,
    pieces: Vec<Bytes>,
    length: usize,
    checksum: Checksum,
}

enum Content {
    Elements(Parts),
    /// A string, and how many bytes of it are in the checksum.
    Text(Bytes, usize),
}

impl Partial {
    /// Begins with a value that is worth it; `None` for any other.
    pub fn begin(value: Value<'_>, encoder: &mut Encoder) -> Option<Partial> {
        let mut head = Vec::new();
        let content = match value {
            Value::String(StringValue::Shared(bytes)) if bytes.len() >= SHARED_BYTES_MIN => {
                string_head(bytes.len(), &mut head);
                Content::Text(bytes.clone(), 0)
            }
            value => Content::Elements(encoder.begin_value(value, &mut head)?),
        };
        let mut partial = Partial { content, pieces: Vec::new(), length: 0, checksum: Checksum::new() };
        partial.push(Bytes::from(head));
        Some(partial)
    }

    /// Whether this can be the value that was begun with, as far as its size tells.
    pub fn fits(&self, value: Value<'_>) -> bool {
        match (&self.content, value) {
            (Content::Elements(parts), value) => parts.fits(value),
            (Content::Text(bytes, _), Value::String(StringValue::Shared(now))) => bytes.as_ptr() == now.as_ptr(),
            (Content::Text(..), _) => false,
        }
    }

    /// Goes on for about `budget` bytes; what that comes to, in bytes encoded, and whether there is more to do.
    ///
    /// # Panics
    /// When the value has changed.
    pub fn go_on(&mut self, value: Value<'_>, encoder: &mut Encoder, budget: usize) -> (usize, bool) {
        match &mut self.content {
            Content::Elements(parts) => {
                let mut piece = Vec::new();
                let more = encoder.go_on(value, parts, budget, &mut piece);
                let made = piece.len();
                self.push(Bytes::from(piece));
                (made, more)
            }
            Content::Text(bytes, summed) => {
                let begin = *summed;
                let end = bytes.len().min(begin.saturating_add(budget.max(1).saturating_mul(SUMMED_PER_ENCODED)));
                *summed = end;
                let (piece, more) = (bytes.slice(begin..end), end < bytes.len());
                self.push(piece);
                ((end - begin) / SUMMED_PER_ENCODED + 1, more)
            }
        }
    }

    fn push(&mut self, piece: Bytes) {
        self.checksum.update(&piece);
        self.length += piece.len();
        self.pieces.push(piece);
    }

    /// The length of the payload and its pieces, once there is no more to do.
    pub fn finish(mut self) -> (usize, Vec<Bytes>) {
        let version = WRITTEN_VERSION.to_le_bytes();
        self.checksum.update(&version);
        let footer = [&version[..], &self.checksum.value().to_le_bytes()].concat();
        self.length += footer.len();
        self.pieces.push(Bytes::from(footer));
        (self.length, self.pieces)
    }
}

/// Appends the payload of libraries of functions (FUNCTION DUMP).
pub fn write_functions<'c>(codes: impl Iterator<Item = &'c [u8]>, encoder: &mut Encoder, out: &mut Vec<u8>) {
    let start = out.len();
    codes.for_each(|code| super::file::function(code, encoder, out));
    out.extend_from_slice(&WRITTEN_VERSION.to_le_bytes());
    let checksum = Checksum::of(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// The type and the bytes of the value in a payload. `trusted`: whatever its checksum is (a switch for tests).
///
/// # Errors
/// [`PayloadError::Footer`].
pub fn open(payload: &[u8], trusted: bool) -> Result<Sealed<'_>, PayloadError> {
    let footer = payload.len().checked_sub(FOOTER_BYTES).and_then(|at| payload.split_at_checked(at));
    let (body, footer) = footer.ok_or(PayloadError::Footer)?;
    let (Some((version, sum)), Some(summed)) = (footer.split_first_chunk(), payload.get(..payload.len() - 8)) else {
        return Err(PayloadError::Footer);
    };
    let format = Format::of_payload(u16::from_le_bytes(*version)).ok_or(PayloadError::Footer)?;
    let is_whole = || sum == Checksum::of(summed).to_le_bytes();
    if trusted || is_whole() { Ok(Sealed { body, format }) } else { Err(PayloadError::Footer) }
}

/// As [`open`] and [`Sealed::value`], for a value so large that it is made in slices; `None` for any other.
///
/// # Errors
/// [`PayloadError::Footer`].
pub fn open_in_slices(payload: &Bytes, trusted: bool, limits: &LoadLimits) -> Result<Option<Sliced>, PayloadError> {
    let Sealed { body, format } = open(payload, trusted)?;
    let Some((&kind, bytes)) = body.split_first() else { return Ok(None) };
    Ok(Sliced::begin(kind, payload.slice_ref(bytes), limits).filter(|_| format.has_type(kind)))
}

/// A payload whose frame is sound.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    body: &'a [u8],
    format: Format,
}

impl<'a> Sealed<'a> {
    /// The code of each library in the payload.
    ///
    /// # Errors
    /// Redis's text for what is no library.
    pub fn functions(&self) -> Result<Vec<Vec<u8>>, &'static str> {
        let mut cursor = Cursor::new(self.body);
        let mut codes = Vec::new();
        while !cursor.rest().is_empty() {
            match cursor.byte() {
                Ok(OP_FUNCTION) => {}
                Ok(OP_FUNCTION_PRE_GA) => return Err("Pre-GA function format not supported"),
                Ok(_) => return Err("given type is not a function"),
                Err(_) => return Err("can not read data type"),
            }
            let code = cursor.string().map_err(|_| "Failed loading library code")?;
            codes.push(code.into_owned());
        }
        Ok(codes)
    }

    /// The value.
    ///
    /// # Errors
    /// [`PayloadError::Value`].
    pub fn value(&self, limits: &LoadLimits) -> Result<LoadedValue<'a>, PayloadError> {
        let Some((&kind, bytes)) = self.body.split_first() else {
            return Err(PayloadError::Value("the payload has no value".to_owned()));
        };
        if !self.format.has_type(kind) {
            return Err(PayloadError::Value(format!("no type of values has the number {kind}")));
        }
        let name = form_name(kind);
        match decode_value(kind, bytes, limits) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(PayloadError::Value(format!("{name} integrity check failed: there are no elements"))),
            Err(error) => Err(PayloadError::Value(format!("{name} integrity check failed: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::hash::{Hash, HashLimits};
    use crate::keyspace::{Object, StringValue};

    fn made(value: Value<'_>, budget: usize) -> Option<Vec<u8>> {
        let mut encoder = Encoder::new(true);
        let mut partial = Partial::begin(value, &mut encoder)?;
        loop {
            assert!(partial.fits(value));
            if !partial.go_on(value, &mut encoder, budget).1 {
                break;
            }
        }
        let (length, pieces) = partial.finish();
        let bytes = pieces.concat();
        assert_eq!(bytes.len(), length);
        Some(bytes)
    }

    #[test]
    fn a_payload_made_in_parts_is_opened_as_any_other() {
        let limits = LoadLimits::of(&crate::config::Config::default());
        let text = Bytes::from(vec![b'x'; 300_000]);
        let string = Value::String(StringValue::Shared(&text));
        let mut hash = Hash::large();
        for number in 0..5000u32 {
            hash.set(number.to_string().as_bytes(), b"value", HashLimits { entries: 0, value_bytes: 0 });
        }
        let object = Object::Hash(hash);
        for value in [string, Value::Object(&object)] {
            for budget in [1, 900, usize::MAX] {
                let bytes = made(value, budget).expect("large");
                let opened = open(&bytes, false).and_then(|sealed| sealed.value(&limits)).expect("sound");
                match (opened, value) {
                    (LoadedValue::Bytes(bytes), Value::String(_)) => assert!(*bytes == *text),
                    (LoadedValue::Object(loaded), Value::Object(Object::Hash(hash))) => {
                        let Object::Hash(loaded) = *loaded else { panic!("no hash") };
                        assert_eq!(loaded.len(), hash.len());
                        assert!(hash.iter().all(|(field, _)| loaded.contains(&field.to_vec())));
                    }
                    _ => panic!("another kind of value"),
                }
            }
        }
        assert!(made(Value::String(StringValue::Integer(7)), 1).is_none());
        assert!(!Partial::begin(string, &mut Encoder::new(true)).unwrap().fits(Value::Object(&object)));
    }
}
