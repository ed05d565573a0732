//! The append-only files at work: `folder` has the files and their manifest, once per node; `writer` brings what a core has
//! recorded into its own incremental file.

pub mod folder;
pub mod writer;

pub use folder::{AppendFile, Folder, Loaded};
pub use writer::Writer;

use crate::persist::aof::FileEntry;

use crate::base::core_id::CoreId;
use crate::command::persistence::append_only::DiskFault;

/// Why a core has gone on to another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchKind {
    /// What came before will be in the base of a rewrite.
    Cut,
    /// What came before was removed.
    Flush,
    /// Slots have come from another core, in the relocation of this number: what follows must stand behind that core's file.
    HandOver(u64),
}

/// Work on the folder, done by a thread of its own.
#[derive(Clone)]
pub enum FolderJob {
    /// Files for these cores. `replaces`: nothing that was before is needed, on any core. `commits`: the manifest is to name them.
    Add { cores: Vec<CoreId>, is_for_all: bool, replaces: bool, commits: bool },
    /// A rewrite has put this base in its place; incremental files before this number are not needed.
    Rebase { base: FileEntry, first: u64 },
    /// `aof-disable-auto-gc` is this now: files that are no longer needed stay, or go.
    KeepHistory(bool),
}

/// What a core's writer is told to do at the end of a turn.
pub enum Order {
    /// Go on with this file: what is recorded from this position of the journal on belongs there.
    Open { file: Box<AppendFile>, position: u64 },
    /// The next of the files that bytes wait for: the manifest leads to it.
    File(Box<AppendFile>),
    /// These bytes are the last of the file; what follows this position of the journal belongs to the next, which comes later.
    Switch { last: Vec<u8>, position: u64 },
    /// Somebody waits for the journal to be safe up to this position: `everysec` does not wait for the second.
    SyncUntil(u64),
    /// A base of so many bytes has taken the place of all files before the one written to.
    Rebased { base_bytes: u64 },
    /// The disk has a fault, for tests.
    Fault(DiskFault),
}
