//! The append-only files as a folder has them: which there are, in which order they are read, and how they are called.
//!
//! A folder of Redis 7 or later: one base file (an RDB file, or commands), then incremental files with commands, listed in a
//! manifest. This node writes one incremental file for each core that owns slots; to others that is one sequence.

pub mod manifest;
pub mod reader;
pub mod values;

pub use manifest::{FileEntry, Manifest, ManifestError};
pub use reader::{CommandReader, Damage, Mark, Step, Units};
pub use values::{Piece, ValueWriter};

/// The RDB file of a node without keys, marked as the base of append-only files, with its checksum.
pub const EMPTY_BASE: &[u8] = b"REDIS0010\xfa\x08aof-base\xc0\x01\xff\xfd\xbd\xc2\x76\x36\x10\x52\x05";

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::rdb::{ChecksumVerdict, ReaderOptions, Record, RecordReader};

    /// Whether it is read to its end.
    fn is_whole(bytes: &[u8]) -> bool {
        let mut reader = RecordReader::new(ReaderOptions { checksum: true, total_bytes: Some(bytes.len() as u64) });
        let mut batch = reader.batch(bytes);
        loop {
            match batch.next_record() {
                Ok(Some(Record::End(verdict))) => return verdict == ChecksumVerdict::Matches,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return false,
            }
        }
    }

    #[test]
    fn no_byte_of_the_empty_base_can_be_another() {
        assert!(is_whole(EMPTY_BASE));
        for at in 0..EMPTY_BASE.len() {
            for flip in 1..=255 {
                let mut damaged = EMPTY_BASE.to_vec();
                damaged[at] ^= flip;
                assert!(!is_whole(&damaged), "byte {at} ^ {flip}");
            }
        }
    }
}
