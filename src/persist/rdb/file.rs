//! The frame of a file: what stands before, between and behind the entries.
//!
//! Every function appends to the bytes it is given. Sections that several cores have written may stand one behind the other, each
//! with [`select_database`] of its own: a database may be selected as often as one likes.

use super::checksum::Checksum;
use super::encode::{Encoder, put_length};
use super::types::*;

/// What a file says of itself, in the order in which Redis does.
#[derive(Clone, Debug)]
pub struct FileFacts<'a> {
    /// `redis-ver`.
    pub server_version: &'a str,
    /// `ctime`: when it was written, in seconds since the unix epoch.
    pub created_s: i64,
    /// `used-mem`: bytes.
    pub used_memory: u64,
    /// Where in the stream of a primary the data stand.
    pub replication: Option<ReplicationFacts<'a>>,
    /// `aof-base`: commands follow in other files.
    pub aof_base: bool,
    /// Slots that are on their way here, each as `SLOT_IMPORT_FACT` has it.
    pub slot_imports: Vec<String>,
}

/// A place in the stream of a primary.
#[derive(Clone, Debug)]
pub struct ReplicationFacts<'a> {
    /// `repl-stream-db`: the database selected there; -1 for none.
    pub stream_db: i64,
    /// `repl-id`: 40 hexadecimal digits.
    pub id: &'a str,
    /// `repl-offset`.
    pub offset: i64,
}

/// The name of a fact of slotcore: the name of a migration, and the ranges of slots whose keys it brings: `name 0-5 9-9`. Valkey has an
/// opcode for this, at which a Redis node would stop; a fact that it does not know it passes over.
pub const SLOT_IMPORT_FACT: &str = "slotcore-slot-import";

/// Magic and facts.
pub fn header(facts: &FileFacts<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("REDIS{WRITTEN_VERSION:04}").as_bytes());
    let mut fact = |name: &str, value: &str| auxiliary(name.as_bytes(), value.as_bytes(), out);
    fact("redis-ver", facts.server_version);
    fact("redis-bits", &usize::BITS.to_string());
    fact("ctime", &facts.created_s.to_string());
    fact("used-mem", &facts.used_memory.to_string());
    if let Some(replication) = &facts.replication {
        fact("repl-stream-db", &replication.stream_db.to_string());
        fact("repl-id", replication.id);
        fact("repl-offset", &replication.offset.to_string());
    }
    fact("aof-base", if facts.aof_base { "1" } else { "0" });
    facts.slot_imports.iter().for_each(|import| fact(SLOT_IMPORT_FACT, import));
}

/// A fact of any name. Whoever reads the file passes over names that it does not know.
pub fn auxiliary(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let mut encoder = Encoder::default();
    out.push(OP_AUX);
    encoder.string(name, out);
    encoder.string(value, out);
}

/// The source of a library of functions.
pub fn function(code: &[u8], encoder: &mut Encoder, out: &mut Vec<u8>) {
    out.push(OP_FUNCTION);
    encoder.string(code, out);
}

/// The database of the entries that follow.
pub fn select_database(db: usize, out: &mut Vec<u8>) {
    out.push(OP_SELECT_DB);
    put_length(db as u64, out);
}

/// How many keys the selected database has, and how many of them expire: a hint.
pub fn resize_database(keys: u64, volatile: u64, out: &mut Vec<u8>) {
    out.push(OP_RESIZE_DB);
    put_length(keys, out);
    put_length(volatile, out);
}

/// The end of the file. `checksum`: of all bytes before; `None` with `rdbchecksum no`.
pub fn footer(checksum: Option<Checksum>, out: &mut Vec<u8>) {
    out.push(OP_EOF);
    let sum = checksum.map_or(0, |mut checksum| {
        checksum.update(&[OP_EOF]);
        checksum.value()
    });
    out.extend_from_slice(&sum.to_le_bytes());
}
