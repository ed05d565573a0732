//! The append-only files at work: `folder` has the files and their manifest, once per node; `writer` brings what a core has
//! recorded into its own incremental file.

pub mod folder;
pub mod writer;

pub use folder::{AppendFile, Folder, Loaded};
pub use writer::Writer;

use crate::command::persistence::append_only::DiskFault;

/// What a core's writer is told to do at the end of a turn.
pub enum Order {
    /// Go on with this file: what is recorded from this position of the journal on belongs there.
    Open { file: Box<AppendFile>, position: u64 },
    /// The disk has a fault, for tests.
    Fault(DiskFault),
}
