//! Loading: how far it is, and what was read.

/// What is known of loading; core 0's.
#[derive(Default)]
pub struct Loading {}
