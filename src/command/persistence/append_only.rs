//! The append-only files: BGREWRITEAOF, WAITAOF, and when a rewrite is due.

/// What is known of the append-only files; core 0's.
#[derive(Default)]
pub struct AppendOnly {}
