//! The append-only files, as commands see them: what INFO tells of each core's file, why writes are refused, and the faults that
//! tests put into the disk.
//!
//! The files are written by `runtime/persistence/append_only`, which keeps these figures up to date.

use crate::base::core_id::CoreId;

/// What one core tells of its append-only file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendFigures {
    /// It has one.
    pub is_open: bool,
    /// Bytes in it, or on their way. On core 0 with those of the files that came before.
    pub size_bytes: u64,
    /// As `size_bytes`, as of the start or the last rewrite.
    pub base_bytes: u64,
    /// Recorded and not written.
    pub buffer_bytes: u64,
    /// 1 while an fsync is under way.
    pub syncs_pending: u64,
    /// How often the disk was so slow that replies had to wait although `appendfsync` is `everysec`.
    pub syncs_delayed: u64,
    /// The last write, or the last fsync, failed.
    pub is_failing: bool,
}

impl AppendFigures {
    /// Another core's.
    pub fn add(&mut self, other: AppendFigures) {
        self.is_open |= other.is_open;
        self.size_bytes += other.size_bytes;
        self.base_bytes += other.base_bytes;
        self.buffer_bytes += other.buffer_bytes;
        self.syncs_pending += other.syncs_pending;
        self.syncs_delayed += other.syncs_delayed;
        self.is_failing |= other.is_failing;
    }
}

/// What is known of the append-only files; core 0's.
#[derive(Default)]
pub struct AppendOnly {
    /// The cores whose file cannot be written, with the system's reasons.
    failing: Vec<(CoreId, String)>,
}

impl AppendOnly {
    /// A core's file cannot be written, or can be again.
    pub fn core_reports(&mut self, core: CoreId, failure: Option<String>) {
        self.failing.retain(|(other, _)| *other != core);
        self.failing.extend(failure.map(|reason| (core, reason)));
    }

    /// Why commands that write are refused, if they are.
    pub fn failure(&self) -> Option<&str> {
        self.failing.first().map(|(_, reason)| reason.as_str())
    }
}

/// DEBUG DISK-FAULT: what the disk shall do instead of what it is asked, so that tests see what the node makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskFault {
    pub operation: DiskOperation,
    pub kind: FaultKind,
    /// For so many operations.
    pub times: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskOperation {
    Write,
    Fsync,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It fails with this number.
    Error(i32),
    /// It writes only half.
    Short,
    /// It does not begin until another fault, or none, takes the place of this one.
    Hold,
    /// It works.
    None,
}
