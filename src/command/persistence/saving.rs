//! Snapshots: SAVE, BGSAVE, LASTSAVE, and when `save` makes one due.

/// What is known of snapshots; core 0's.
#[derive(Default)]
pub struct Saving {}
