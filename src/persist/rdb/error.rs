//! Why bytes are no RDB.

use std::borrow::Cow;
use std::fmt;

/// Where the damage was met, and what it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RdbError {
    /// Bytes from the start of the file, or of the value where only that was given.
    pub offset: u64,
    pub reason: Cow<'static, str>,
}

impl RdbError {
    pub(super) fn new(offset: usize, reason: impl Into<Cow<'static, str>>) -> RdbError {
        RdbError { offset: offset as u64, reason: reason.into() }
    }

    /// The same for bytes that begin `base` bytes further on.
    pub fn shifted(self, base: u64) -> RdbError {
        RdbError { offset: self.offset.saturating_add(base), ..self }
    }
}

impl fmt::Display for RdbError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "offset {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for RdbError {}
