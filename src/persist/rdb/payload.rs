//! The frame of a single value, as DUMP gives it out and RESTORE takes it.

use super::checksum::Checksum;
use super::decode::{LoadLimits, decode_value};
use super::encode::Encoder;
use super::types::{Format, WRITTEN_VERSION, form_name};
use crate::keyspace::{LoadedValue, Value};

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

/// A payload whose frame is sound.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    body: &'a [u8],
    format: Format,
}

impl<'a> Sealed<'a> {
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
