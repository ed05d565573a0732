//! The append-only files as a folder has them: which there are, in which order they are read, and how they are called.
//!
//! A folder of Redis 7 or later: one base file (an RDB file, or commands), then incremental files with commands, listed in a
//! manifest. This node writes one incremental file for each core that owns slots; to others that is one sequence.

pub mod manifest;
pub mod reader;

pub use manifest::{FileEntry, Manifest, ManifestError};
pub use reader::{CommandReader, Damage, Mark, Step, Units};

/// The RDB file of a node without keys, marked as the base of append-only files, without a checksum.
pub const EMPTY_BASE: &[u8] = b"REDIS0010\xfa\x08aof-base\xc0\x01\xff\0\0\0\0\0\0\0\0";

/// The manifest's name: `appendonly.aof.manifest`.
pub fn manifest_name(append_file_name: &str) -> String {
    format!("{append_file_name}.manifest")
}

/// The name of a base file that is an RDB file: `appendonly.aof.1.base.rdb`.
pub fn base_name(append_file_name: &str, sequence: u64) -> String {
    format!("{append_file_name}.{sequence}.base.rdb")
}

/// The name of an incremental file: `appendonly.aof.1.incr.aof`.
pub fn increment_name(append_file_name: &str, sequence: u64) -> String {
    format!("{append_file_name}.{sequence}.incr.aof")
}

/// A line between two commands that says when what follows was written, as `aof-timestamp-enabled` has it.
pub fn timestamp(unix_s: i64) -> String {
    format!("#TS:{unix_s}\r\n")
}
