//! Persistence: the formats in which data leave memory and come back.
//!
//! `rdb` is the format of snapshots, full synchronisations and single values (DUMP), `aof` that of append-only files. Nothing here
//! does I/O, knows of cores, or reads a clock: bytes and values come in as arguments, whoever calls moves them.

pub mod aof;
pub mod rdb;
