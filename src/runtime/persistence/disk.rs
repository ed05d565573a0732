//! The disk as a core's append-only file meets it: writes and fsyncs through the core's own ring, and the seam where tests put
//! faults in.
//!
//! Called by `append_only::writer` alone, which keeps the bytes in their place until the completion. One write and one fsync
//! are under way at a time; nothing here waits.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

use crate::command::persistence::append_only::{DiskFault, DiskOperation, FaultKind};
use crate::runtime::ring::ClientRing;

/// Bytes of one write: the rest is another.
const WRITE_BYTES_MAX: usize = 64 << 20;

/// One core's way to its file.
#[derive(Default)]
pub struct Disk {
    write_fault: Option<DiskFault>,
    sync_fault: Option<DiskFault>,
    /// An fsync that a fault holds back.
    held_sync: Option<RawFd>,
}

impl Disk {
    /// Begins a write, or says at once what became of it: bytes written, or a negated error number. `bytes` must stay where
    /// they are until `Operation::DiskWrite` completes.
    pub fn write(&mut self, ring: &mut ClientRing, file: &File, bytes: &[u8], offset: u64) -> Option<i32> {
        let mut bytes = bytes.get(..WRITE_BYTES_MAX).unwrap_or(bytes);
        match take(&mut self.write_fault) {
            FaultKind::Error(number) => return Some(-number),
            FaultKind::Short => bytes = bytes.get(..bytes.len().div_ceil(2)).unwrap_or(bytes),
            FaultKind::Hold | FaultKind::None => {}
        }
        ring.write_file(file.as_raw_fd(), bytes, offset);
        None
    }

    /// Begins an fsync, or says at once what became of it: 0, or a negated error number. The file must stay open until
    /// `Operation::DiskSync` completes.
    pub fn sync(&mut self, ring: &mut ClientRing, file: &File) -> Option<i32> {
        match take(&mut self.sync_fault) {
            FaultKind::Error(number) => return Some(-number),
            FaultKind::Hold => {
                self.held_sync = Some(file.as_raw_fd());
                return None;
            }
            FaultKind::Short | FaultKind::None => {}
        }
        ring.sync_file(file.as_raw_fd());
        None
    }

    /// From now on the disk has this fault, instead of any other of the same operation.
    pub fn inject(&mut self, ring: &mut ClientRing, fault: DiskFault) {
        let kept = (fault.kind != FaultKind::None).then_some(fault);
        match fault.operation {
            DiskOperation::Write => self.write_fault = kept,
            DiskOperation::Fsync => {
                self.sync_fault = kept;
                if let Some(descriptor) = self.held_sync.take() {
                    ring.sync_file(descriptor);
                }
            }
        }
    }
}

/// The fault for one operation.
#[inline]
fn take(fault: &mut Option<DiskFault>) -> FaultKind {
    let Some(left) = fault else { return FaultKind::None };
    let kind = left.kind;
    left.times -= 1;
    if left.times == 0 {
        *fault = None;
    }
    kind
}
