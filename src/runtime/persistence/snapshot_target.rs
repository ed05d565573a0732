//! Where a snapshot goes: into a file, or to replicas. Core 0 hands the bytes over and hears what became of them in the same way.

use super::snapshot_file::{Retired, SnapshotFile, Written};
use super::snapshot_stream::SnapshotStream;
use crate::base::core_id::CoreId;

/// Where the bytes of a snapshot go.
pub enum SnapshotTarget {
    File(SnapshotFile),
    Replicas(SnapshotStream),
}

impl SnapshotTarget {
    /// Appends bytes of this core.
    pub fn write(&self, core: CoreId, bytes: Vec<u8>) {
        match self {
            SnapshotTarget::File(file) => file.write(core, bytes),
            SnapshotTarget::Replicas(stream) => stream.write(core, bytes),
        }
    }

    /// All was written.
    pub fn finish(&self) {
        match self {
            SnapshotTarget::File(file) => file.finish(),
            SnapshotTarget::Replicas(stream) => stream.finish(),
        }
    }

    /// The next report, if there is one.
    pub fn report(&self) -> Option<Written> {
        match self {
            SnapshotTarget::File(file) => file.report(),
            SnapshotTarget::Replicas(stream) => stream.report(),
        }
    }

    /// Nothing more is to be written.
    pub fn retire(self) -> Retired {
        match self {
            SnapshotTarget::File(file) => file.retire(),
            SnapshotTarget::Replicas(stream) => stream.retire(),
        }
    }

    /// Leaves nothing behind, for the end of the process.
    pub fn remove(self) {
        if let SnapshotTarget::File(file) = self {
            file.remove();
        }
    }
}
