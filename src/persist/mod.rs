//! What stands in files: formats only. Nothing here opens, writes or waits for one.
//!
//! - `aof`: the append-only files' manifest and names

pub mod aof;
