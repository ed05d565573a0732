//! RDB: Redis's binary format for a data set, and for one value in DUMP and RESTORE.
//!
//! ```text
//! file     magic (9 bytes), item ..., EOF, CRC64 of all before it (8 bytes, little-endian, 0 for none; from version 5 on)
//! item     opcode and what belongs to it, or: type of the value, key, value
//! payload  type of the value, value, version (2 bytes, little-endian), CRC64 of all before it    (DUMP)
//! ```
//!
//! Written is version 10, which Redis from 7.0 on and every Valkey load: [`file`] has the frame of a file, [`Encoder`] values
//! and entries. Read are versions 1 to 12 of Redis and version 80 of Valkey, as far as no modules are needed: a
//! [`RecordReader`] cuts a file into records and finds the ends of values without a look inside, so that one core can deal them
//! out to those that own the keys; [`decode_value`] makes the value there. [`payload`] is the frame of a single value.
//!
//! Everything read is checked in full, whatever `sanitize-dump-payload` says: nothing damaged is loaded in silence, and what is
//! allocated stays in proportion to the bytes at hand. An [`RdbError`] says where the damage is and what it is.

mod checksum;
mod cursor;
mod decode;
mod encode;
mod error;
pub mod file;
mod grammar;
mod lzf;
mod parts;
pub mod payload;
mod reader;
mod types;

#[cfg(test)]
mod tests;

pub use checksum::Checksum;
pub use decode::{LoadLimits, Sliced, decode_value};
pub use encode::Encoder;
pub use error::RdbError;
pub use parts::Parts;
pub use reader::{Batch, ChecksumVerdict, KeyRecord, Progress, ReaderOptions, Record, RecordReader};
pub use types::{Format, WRITTEN_VERSION, form_name};
