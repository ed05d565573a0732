//! Values into bytes.
//!
//! Called by the snapshot walk for entries and by DUMP for single values, on the core that owns the key. What is packed in memory
//! is copied; what is not goes element by element. Sets have no packed form in version 10 but for integers.

use super::lzf::Compressor;
use super::types::*;
use crate::base::clock::UnixMillis;
use crate::base::number::parse_i64;
use crate::keyspace::hash::Hash;
use crate::keyspace::list::{List, Part};
use crate::keyspace::listpack::{Digits, Listpack};
use crate::keyspace::set::{Set, SetForm};
use crate::keyspace::sorted_set::SortedSet;
use crate::keyspace::stream::{Consumer, Group, Stream, StreamId};
use crate::keyspace::{Object, StoredAccess, StringValue, Value};

/// Longer strings are not tried as integers: none of 32 bits is.
const INTEGER_TEXT_MAX: usize = 11;
/// Shorter strings do not get smaller (Redis has the same limit).
const COMPRESSED_MIN: usize = 21;
/// What compression must save at least.
const SAVED_MIN: usize = 4;

/// Writes values, one after another, each at the end of the bytes handed in. It keeps what compressing them needs.
#[derive(Default)]
pub struct Encoder {
    /// `rdbcompression`.
    compress: bool,
    compressor: Compressor,
    /// A listpack for one large element.
    scratch: Vec<u8>,
}

impl Encoder {
    pub fn new(compress: bool) -> Encoder {
        Encoder { compress, ..Encoder::default() }
    }

    /// A key with all that a file has of it. An `access` that is not known is left out.
    pub fn entry(
        &mut self,
        key: &[u8],
        value: Value<'_>,
        expiry: Option<UnixMillis>,
        access: StoredAccess,
        out: &mut Vec<u8>,
    ) {
        self.entry_head(key, value, expiry, access, out);
        self.content(value, out);
    }

    /// What stands before the value.
    pub(super) fn entry_head(
        &mut self,
        key: &[u8],
        value: Value<'_>,
        expiry: Option<UnixMillis>,
        access: StoredAccess,
        out: &mut Vec<u8>,
    ) {
        if let Some(expiry) = expiry {
            out.push(OP_EXPIRY_MS);
            put_i64(expiry.get(), out);
        }
        match access {
            StoredAccess::Unknown => {}
            StoredAccess::Idle { seconds } => {
                out.push(OP_IDLE);
                put_length(seconds, out);
            }
            StoredAccess::Frequency(counter) => out.extend_from_slice(&[OP_FREQ, counter]),
        }
        out.push(type_of(value));
        self.string(key, out);
    }

    /// The value alone, behind its type.
    pub fn value(&mut self, value: Value<'_>, out: &mut Vec<u8>) {
        out.push(type_of(value));
        self.content(value, out);
    }

    /// A string: as an integer if it is one of 32 bits, compressed if that helps, else as it is.
    pub(super) fn string(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if bytes.len() <= INTEGER_TEXT_MAX
            && let Some(integer) = parse_i64(bytes).and_then(|integer| i32::try_from(integer).ok())
        {
            return put_integer(integer, out);
        }
        if self.compress
            && bytes.len() >= COMPRESSED_MIN
            && let Some(compressed) = self.compressor.compress(bytes, bytes.len() - SAVED_MIN)
        {
            out.push(0xc0 | ENCODED_LZF);
            put_length(compressed.len() as u64, out);
            put_length(bytes.len() as u64, out);
            return out.extend_from_slice(compressed);
        }
        put_length(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }

    fn content(&mut self, value: Value<'_>, out: &mut Vec<u8>) {
        match value {
            Value::String(StringValue::Integer(integer)) => match i32::try_from(integer) {
                Ok(integer) => put_integer(integer, out),
                Err(_) => self.string(Digits::new().format(integer).as_bytes(), out),
            },
            Value::String(StringValue::Bytes(bytes)) => self.string(bytes, out),
            Value::String(StringValue::Shared(bytes)) => self.string(bytes, out),
            Value::Object(Object::List(list)) => self.list(list, out),
            Value::Object(Object::Set(set)) => self.set(set, out),
            Value::Object(Object::SortedSet(set)) => self.sorted_set(set, out),
            Value::Object(Object::Hash(hash)) => self.hash(hash, out),
            Value::Object(Object::Stream(stream)) => self.stream(stream, out),
        }
    }

    fn listpack(&mut self, listpack: &Listpack, out: &mut Vec<u8>) {
        self.string(listpack.as_bytes(), out);
    }

    fn list(&mut self, list: &List, out: &mut Vec<u8>) {
        put_length(list.parts().count() as u64, out);
        list.parts().for_each(|part| self.node(part, out));
    }

    /// A node of a list. A large element of its own becomes a listpack of one, which is what Redis makes of it, unless it is so
    /// large that Redis keeps it apart as well.
    pub(super) fn node(&mut self, part: Part<'_>, out: &mut Vec<u8>) {
        const APART_MIN: usize = 1 << 30;
        match part {
            Part::Packed(listpack) => {
                put_length(NODE_PACKED, out);
                self.listpack(listpack, out);
            }
            Part::Plain(bytes) if bytes.len() >= APART_MIN => {
                put_length(NODE_PLAIN, out);
                self.string(bytes, out);
            }
            Part::Plain(bytes) => {
                put_length(NODE_PACKED, out);
                let mut scratch = std::mem::take(&mut self.scratch);
                Listpack::write_single(bytes, &mut scratch);
                self.string(&scratch, out);
                scratch.clear();
                scratch.shrink_to(SCRATCH_KEPT_MAX);
                self.scratch = scratch;
            }
        }
    }

    fn set(&mut self, set: &Set, out: &mut Vec<u8>) {
        if let SetForm::Integers(integers) = set.form() {
            return self.string(integers.as_bytes(), out);
        }
        put_length(set.len() as u64, out);
        let mut digits = Digits::new();
        for member in set.iter() {
            self.string(member.as_bytes(&mut digits), out);
        }
    }

    /// From the greatest to the smallest, as Redis writes them: it inserts fastest in that order.
    fn sorted_set(&mut self, set: &SortedSet, out: &mut Vec<u8>) {
        if let Some(listpack) = set.listpack() {
            return self.listpack(listpack, out);
        }
        put_length(set.len() as u64, out);
        let mut digits = Digits::new();
        for (member, score) in set.walk(0..set.len(), true) {
            self.string(member.as_bytes(&mut digits), out);
            out.extend_from_slice(&score.to_le_bytes());
        }
    }

    fn hash(&mut self, hash: &Hash, out: &mut Vec<u8>) {
        if let Some(listpack) = hash.listpack() {
            return self.listpack(listpack, out);
        }
        put_length(hash.len() as u64, out);
        let mut digits = Digits::new();
        for (field, value) in hash.iter() {
            self.string(field.as_bytes(&mut digits), out);
            self.string(value.as_bytes(&mut digits), out);
        }
    }

    fn stream(&mut self, stream: &Stream, out: &mut Vec<u8>) {
        put_length(stream.log.nodes_count() as u64, out);
        stream.log.nodes().for_each(|(id, listpack)| self.stream_node(id, listpack, out));
        self.stream_tail(stream, out);
    }

    pub(super) fn stream_node(&mut self, id: StreamId, listpack: &Listpack, out: &mut Vec<u8>) {
        self.string(&id_bytes(id), out);
        self.listpack(listpack, out);
    }

    /// What stands behind the nodes: counters and groups.
    pub(super) fn stream_tail(&mut self, stream: &Stream, out: &mut Vec<u8>) {
        let log = &stream.log;
        put_length(log.len(), out);
        for id in [log.last_id(), log.first_id(), log.max_deleted_id()] {
            put_id(id, out);
        }
        put_length(log.entries_added(), out);
        put_length(stream.groups.len() as u64, out);
        for (name, group) in stream.groups.iter() {
            self.string(name, out);
            self.group(group, out);
        }
    }

    fn group(&mut self, group: &Group, out: &mut Vec<u8>) {
        put_id(group.last_id, out);
        put_length(group.entries_read.map_or(ENTRIES_READ_UNKNOWN, i64::cast_unsigned), out);
        put_length(group.pending().len() as u64, out);
        for (id, pending) in group.pending() {
            out.extend_from_slice(&id_bytes(*id));
            put_i64(pending.delivered_ms, out);
            put_length(pending.deliveries.cast_unsigned(), out);
        }
        put_length(group.consumers().len() as u64, out);
        group.consumers().for_each(|consumer| self.consumer(consumer, out));
    }

    fn consumer(&mut self, consumer: &Consumer, out: &mut Vec<u8>) {
        self.string(consumer.name(), out);
        put_i64(consumer.seen_ms, out);
        put_length(consumer.pending().len() as u64, out);
        for id in consumer.pending() {
            out.extend_from_slice(&id_bytes(*id));
        }
    }
}

/// What a scratch buffer keeps from one value to the next.
const SCRATCH_KEPT_MAX: usize = 64 << 10;

/// The type under which a value is written.
pub(super) fn type_of(value: Value<'_>) -> u8 {
    match value {
        Value::String(_) => STRING,
        Value::Object(Object::List(_)) => LIST_QUICKLIST_2,
        Value::Object(Object::Set(set)) => match set.form() {
            SetForm::Integers(_) => SET_INTSET,
            SetForm::Small(_) | SetForm::Large(_) => SET,
        },
        Value::Object(Object::SortedSet(set)) if set.listpack().is_some() => SORTED_SET_LISTPACK,
        Value::Object(Object::SortedSet(_)) => SORTED_SET_2,
        Value::Object(Object::Hash(hash)) if hash.listpack().is_some() => HASH_LISTPACK,
        Value::Object(Object::Hash(_)) => HASH,
        Value::Object(Object::Stream(_)) => STREAM_2,
    }
}

/// What stands before the bytes of a string that is written as it is: its type and its length.
pub(super) fn string_head(length: usize, out: &mut Vec<u8>) {
    out.push(STRING);
    put_length(length as u64, out);
}

/// A length in the shortest form.
#[inline]
pub(super) fn put_length(length: u64, out: &mut Vec<u8>) {
    match length {
        0..0x40 => out.push(length as u8),
        0x40..0x4000 => out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

/// An integer where a string stands.
fn put_integer(integer: i32, out: &mut Vec<u8>) {
    if let Ok(small) = i8::try_from(integer) {
        out.extend_from_slice(&[0xc0 | ENCODED_INT8, small.cast_unsigned()]);
    } else if let Ok(small) = i16::try_from(integer) {
        out.push(0xc0 | ENCODED_INT16);
        out.extend_from_slice(&small.to_le_bytes());
    } else {
        out.push(0xc0 | ENCODED_INT32);
        out.extend_from_slice(&integer.to_le_bytes());
    }
}

fn put_i64(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_id(id: StreamId, out: &mut Vec<u8>) {
    put_length(id.ms, out);
    put_length(id.seq, out);
}

fn id_bytes(id: StreamId) -> [u8; 16] {
    (u128::from(id.ms) << 64 | u128::from(id.seq)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(bytes: &[u8], compress: bool) -> Vec<u8> {
        let mut out = Vec::new();
        Encoder::new(compress).string(bytes, &mut out);
        out
    }

    #[test]
    fn strings_have_the_bytes_that_redis_writes() {
        for (text, bytes) in [
            (&b""[..], &b"\x00"[..]),
            (b"abc", b"\x03abc"),
            (b"0", b"\xc0\x00"),
            (b"-128", b"\xc0\x80"),
            (b"128", b"\xc1\x80\x00"),
            (b"-32769", b"\xc2\xff\x7f\xff\xff"),
            (b"2147483647", b"\xc2\xff\xff\xff\x7f"),
            (b"2147483648", b"\x0a2147483648"),
            (b"007", b"\x03007"),
        ] {
            assert_eq!(string(text, true), bytes, "{}", text.escape_ascii());
        }
        assert_eq!(string(&[b'x'; 70], false)[..3], [0x40, 70, b'x']);
        assert_eq!(string(&[b'a'; 21], true), b"\xc3\x05\x15\x00a\xe0\x0b\x00");
        assert_eq!(string(&[b'a'; 20], true)[0], 20);
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        let of = |length| {
            let mut out = Vec::new();
            put_length(length, &mut out);
            out
        };
        assert_eq!(of(63), [63]);
        assert_eq!(of(64), [0x40, 64]);
        assert_eq!(of(16383), [0x7f, 0xff]);
        assert_eq!(of(16384), [0x80, 0, 0, 0x40, 0]);
        assert_eq!(of(1 << 32), [0x81, 0, 0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn an_entry_says_what_is_known_of_it() {
        let mut out = Vec::new();
        let value = Value::String(StringValue::Integer(7));
        let expiry = Some(UnixMillis(0x0102));
        Encoder::new(true).entry(b"k", value, expiry, StoredAccess::Idle { seconds: 100 }, &mut out);
        assert_eq!(out, b"\xfc\x02\x01\x00\x00\x00\x00\x00\x00\xf8\x40\x64\x00\x01k\xc0\x07");
        out.clear();
        Encoder::new(true).entry(b"12", value, None, StoredAccess::Frequency(200), &mut out);
        assert_eq!(out, b"\xf9\xc8\x00\xc0\x0c\xc0\x07");
    }
}
