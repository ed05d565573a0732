//! The replicas of this node: PSYNC and SYNC, REPLCONF, WAIT.

/// Core 0's list of them.
#[derive(Default)]
pub struct Replicas {}
