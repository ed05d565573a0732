//! Lists.

/// A list.
#[derive(Clone, Debug, Default)]
pub struct List {}

impl List {
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
