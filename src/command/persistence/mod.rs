//! What is on disk: snapshots (RDB), append-only files (AOF), loading both.
//!
//! Handlers do no I/O. Their side of persistence is here: the commands (SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE, WAITAOF), the
//! state that INFO tells, and the view of it that every core has. The work itself is done by `runtime/persistence`, to
//! which handlers speak through `Effect`s and which reports back into [`Persistence`] on core 0.
//!
//! - `saving`: snapshots and when they are due
//! - `append_only`: the append-only files
//! - `loading`: what is read at the start; `replay`: where the commands of a file run

pub mod append_only;
pub mod loading;
pub mod replay;
pub mod saving;

use super::error::CommandError;
use crate::config::Config;

/// The node's state of persistence, owned by core 0.
#[derive(Default)]
pub struct Persistence {
    pub saving: saving::Saving,
    pub append_only: append_only::AppendOnly,
    pub loading: loading::Loading,
}

/// What every core must know of the node's files before it lets a request pass: a snapshot that core 0 publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskView {
    /// Data are being loaded: only commands with `Flags::LOADING` pass.
    pub loading: bool,
    /// The append-only files have what is being replaced by a primary's data: nothing is recorded in them, and they are begun anew.
    pub replaces_files: bool,
    /// Why commands that write are refused, if they are.
    pub refusal: Option<WriteRefusal>,
}

/// Why nothing may be changed: it could not be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteRefusal {
    /// The last snapshot failed, and `stop-writes-on-bgsave-error` says so.
    Snapshot,
    /// The append-only file cannot be written, for this reason of the system.
    AppendOnly(String),
}

impl Persistence {
    /// What every core must know now. `old` is what they know.
    pub fn view(&self, config: &Config, old: &DiskView) -> DiskView {
        let snapshot = self.saving.refuses_writes(config).then_some(WriteRefusal::Snapshot);
        let append_only = self.append_only.failure().map(|reason| WriteRefusal::AppendOnly(reason.to_owned()));
        DiskView { loading: old.loading, replaces_files: old.replaces_files, refusal: snapshot.or(append_only) }
    }

    /// Whether the append-only file is being rewritten, which takes the place of a snapshot.
    pub fn is_rewriting(&self) -> bool {
        self.append_only.is_rewriting()
    }
}

impl WriteRefusal {
    /// Redis's error.
    pub fn error(&self) -> CommandError {
        match self {
            WriteRefusal::Snapshot => CommandError::text_static(
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
                 Commands that may modify the data set are disabled, because this instance is configured to report \
                 errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the \
                 Redis logs for details about the RDB error.",
            ),
            WriteRefusal::AppendOnly(reason) => {
                CommandError::formatted(format!("MISCONF Errors writing to the AOF file: {reason}"))
            }
        }
    }
}
