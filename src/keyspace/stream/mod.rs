//! Streams.

/// A stream.
#[derive(Clone, Debug, Default)]
pub struct Stream {}

impl Stream {
    /// What OBJECT ENCODING answers.
    pub fn encoding_name(&self) -> &'static str {
        "listpack"
    }

    pub fn is_empty(&self) -> bool {
        true
    }

    /// Bytes allocated.
    pub fn memory_bytes(&self) -> usize {
        0
    }

    /// Allocations, about.
    pub fn free_effort(&self) -> usize {
        1
    }
}
