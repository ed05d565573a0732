//! Values as commands that make them: what a slot's keys are sent to another node as.
//!
//! A string is a SET, a small collection a RESTORE of its packed form, a large one the commands that add its elements, some at a time, so
//! that neither side is long at it. The commands are those of Redis 7 and Valkey. A stream goes as one RESTORE, since no commands make what
//! waits in its groups for entries that are gone; a large one's payload is made in parts.
//!
//! Called by the runtime's part of `cluster::migration`; no I/O.

use crate::base::clock::UnixMillis;
use crate::base::number::format_double;
use crate::keyspace::listpack::{Digits, Element};
use crate::keyspace::{Object, SnapshotEntry, StringValue, Value};
use crate::persist::rdb::payload::Partial;
use crate::persist::rdb::{Encoder, payload};
use crate::resp::{write_head, write_request, write_word};

/// Elements of one command.
const ELEMENTS_MAX: usize = 64;
/// Elements of one command for a list.
const LIST_ELEMENTS_MAX: usize = 1024;
/// Bytes of a command from which on no more elements are added.
const COMMAND_BYTES: usize = 16 << 10;

/// What a RESTORE has beside its key and its payload, at most.
const HEAD_BYTES: usize = 128;
/// Bytes of a payload that are made in one go.
const PAYLOAD_STEP_BYTES: usize = 32 << 10;

/// Where a large value stands that is sent in pieces.
pub struct Piece {
    /// A cursor, or, of a list, how many elements have been sent.
    place: u64,
    /// The last member of a sorted set that was sent.
    last: Option<(f64, Box<[u8]>)>,
    /// Of a stream.
    payload: Option<Partial>,
}

impl Piece {
    /// Elements of a list that have been sent, from its beginning on.
    pub fn sent(&self) -> usize {
        usize::try_from(self.place).unwrap_or(usize::MAX)
    }

    /// Of those that have been sent only so many are there by now, or more have come before them.
    pub fn set_sent(&mut self, count: usize) {
        self.place = count as u64;
    }
}

/// Writes values as commands.
pub struct ValueWriter {
    encoder: Encoder,
    payload: Vec<u8>,
    /// The words of a command behind its name and key: their bytes, and where each ends.
    words: Vec<u8>,
    ends: Vec<usize>,
}

impl Default for ValueWriter {
    fn default() -> ValueWriter {
        // The sender's time is dearer than the bytes.
        ValueWriter { encoder: Encoder::new(false), payload: Vec::new(), words: Vec::new(), ends: Vec::new() }
    }
}

impl ValueWriter {
    /// Whether a value had better be sent in pieces.
    pub fn is_large(value: Value<'_>) -> bool {
        Encoder::is_large(value)
    }

    /// The key with all that there is of it, in place of whatever is there.
    pub fn whole(&mut self, entry: &SnapshotEntry<'_>, out: &mut Vec<u8>) {
        let mut digits = Digits::new();
        let mut number = itoa::Buffer::new();
        let expiry = entry.expiry.map(UnixMillis::get);
        let text = match entry.value {
            Value::String(StringValue::Integer(integer)) => Some(digits.format(integer).as_bytes()),
            Value::String(StringValue::Bytes(bytes)) => Some(bytes),
            Value::String(StringValue::Shared(bytes)) => Some(&bytes[..]),
            Value::Object(_) => None,
        };
        if let Some(text) = text {
            return match expiry {
                None => write_request(out, [&b"SET"[..], entry.key, text].into_iter()),
                Some(expiry) => {
                    let words = [&b"SET"[..], entry.key, text, b"PXAT", number.format(expiry).as_bytes()];
                    write_request(out, words.into_iter());
                }
            };
        }
        self.payload.clear();
        payload::write(entry.value, &mut self.encoder, &mut self.payload);
        let ttl = number.format(expiry.unwrap_or(0));
        let words = [&b"RESTORE"[..], entry.key, ttl.as_bytes(), &self.payload, b"REPLACE", b"ABSTTL"];
        write_request(out, words.into_iter());
        if self.payload.capacity() > COMMAND_BYTES * 16 {
            self.payload = Vec::new();
        }
    }

    /// The removal of a key.
    pub fn removal(key: &[u8], out: &mut Vec<u8>) {
        write_request(out, [&b"UNLINK"[..], key].into_iter());
    }

    /// Begins with a large value. [`ValueWriter::go_on`] follows until there is no more.
    pub fn begin(key: &[u8], out: &mut Vec<u8>) -> Piece {
        ValueWriter::removal(key, out);
        Piece { place: 0, last: None, payload: None }
    }

    /// Some more of a large value; whether there is still more. With the last of it goes the expiry. A stream has not changed since the
    /// beginning; of others elements may have, which are sent besides ([`ValueWriter::elements`], [`ValueWriter::before_list`] and
    /// [`ValueWriter::from_list`]).
    pub fn go_on(&mut self, entry: &SnapshotEntry<'_>, piece: &mut Piece, out: &mut Vec<u8>) -> bool {
        let mut digits = Digits::new();
        self.words.clear();
        self.ends.clear();
        let (name, more) = match entry.value {
            Value::Object(Object::Hash(hash)) => {
                piece.place = hash.scan(piece.place, ELEMENTS_MAX, &mut |field, value| {
                    self.word(field.as_bytes(&mut digits));
                    self.word(value.as_bytes(&mut digits));
                });
                (&b"HSET"[..], piece.place != 0)
            }
            Value::Object(Object::Set(set)) => {
                piece.place = set.scan(piece.place, ELEMENTS_MAX, &mut |member| {
                    self.word(member.as_bytes(&mut digits));
                });
                (&b"SADD"[..], piece.place != 0)
            }
            Value::Object(Object::SortedSet(set)) => {
                // From the greatest on, as everywhere.
                let end = piece.last.as_ref().map_or(set.len(), |(score, member)| set.count_before(*score, member));
                let begin = end.saturating_sub(ELEMENTS_MAX);
                let mut score_text = Vec::new();
                for (member, score) in set.walk(begin..end, true) {
                    score_text.clear();
                    format_double(score, &mut score_text);
                    self.word(&score_text);
                    self.word(member.as_bytes(&mut digits));
                }
                let last = set.walk(begin..end.min(begin + 1), false).next();
                piece.last = last.map(|(member, score)| (score, member.as_bytes(&mut digits).into()));
                (&b"ZADD"[..], begin > 0)
            }
            Value::Object(Object::List(list)) => {
                let begin = usize::try_from(piece.place).unwrap_or(usize::MAX);
                for item in list.range(begin, LIST_ELEMENTS_MAX) {
                    piece.place += 1;
                    self.word(item.as_bytes(&mut digits));
                    if self.words.len() >= COMMAND_BYTES {
                        break;
                    }
                }
                (&b"RPUSH"[..], piece.place < list.len() as u64)
            }
            Value::Object(Object::Stream(_)) => return self.go_on_with_payload(entry, piece, out),
            Value::String(_) => {
                self.whole(entry, out);
                return false;
            }
        };
        self.write_words(name, entry.key, out);
        if !more && entry.expiry.is_some() {
            ValueWriter::expiry(entry, out);
        }
        more
    }

    /// These elements of a hash, a set or a sorted set as they are now, where there are such, and the removal of the others.
    pub fn elements(&mut self, entry: &SnapshotEntry<'_>, elements: &[Box<[u8]>], out: &mut Vec<u8>) {
        let Value::Object(object) = entry.value else { return };
        let (add, remove) = match object {
            Object::Hash(_) => (&b"HSET"[..], &b"HDEL"[..]),
            Object::Set(_) => (&b"SADD"[..], &b"SREM"[..]),
            Object::SortedSet(_) => (&b"ZADD"[..], &b"ZREM"[..]),
            Object::List(_) | Object::Stream(_) => return,
        };
        let mut digits = Digits::new();
        for some in elements.chunks(ELEMENTS_MAX) {
            self.words.clear();
            self.ends.clear();
            let mut gone = Vec::new();
            for element in some {
                match object {
                    Object::Hash(hash) if let Some(value) = hash.get(element) => {
                        self.word(element);
                        self.word(value.as_bytes(&mut digits));
                    }
                    Object::Set(set) if set.contains(Element::Bytes(element)) => self.word(element),
                    Object::SortedSet(set) if let Some(score) = set.score(element) => {
                        let mut text = Vec::new();
                        format_double(score, &mut text);
                        self.word(&text);
                        self.word(element);
                    }
                    _ => gone.push(&element[..]),
                }
            }
            self.write_words(add, entry.key, out);
            if !gone.is_empty() {
                write_request(out, [&[remove, entry.key], &gone[..]].concat().into_iter());
            }
        }
    }

    /// Elements that were put before those of a list that have been sent.
    pub fn before_list(key: &[u8], elements: &[Box<[u8]>], out: &mut Vec<u8>) {
        let words: Vec<&[u8]> =
            [&b"LPUSH"[..], key].into_iter().chain(elements.iter().map(|element| &element[..])).collect();
        write_request(out, words.into_iter());
    }

    /// So many of the elements of a list that have been sent are no longer there: the first of them, or the last.
    pub fn from_list(key: &[u8], count: usize, are_first: bool, out: &mut Vec<u8>) {
        if count > 0 {
            let (name, mut number) = (if are_first { &b"LPOP"[..] } else { b"RPOP" }, itoa::Buffer::new());
            write_request(out, [name, key, number.format(count).as_bytes()].into_iter());
        }
    }

    /// The expiry as it is now.
    pub fn expiry(entry: &SnapshotEntry<'_>, out: &mut Vec<u8>) {
        let mut number = itoa::Buffer::new();
        match entry.expiry {
            Some(expiry) => {
                write_request(out, [&b"PEXPIREAT"[..], entry.key, number.format(expiry.get()).as_bytes()].into_iter());
            }
            None => write_request(out, [&b"PERSIST"[..], entry.key].into_iter()),
        }
    }

    /// A command of the words that have been gathered, if there are any.
    fn write_words(&self, name: &[u8], key: &[u8], out: &mut Vec<u8>) {
        if self.ends.is_empty() {
            return;
        }
        let words = (0..self.ends.len()).map(|at| {
            let begin = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
            self.words.get(begin..self.ends[at]).unwrap_or_default()
        });
        let all: Vec<&[u8]> = [name, key].into_iter().chain(words).collect();
        write_request(out, all.into_iter());
    }

    /// Nothing is sent before the payload is whole: what others send over the same connection must not come into the middle of it.
    fn go_on_with_payload(&mut self, entry: &SnapshotEntry<'_>, piece: &mut Piece, out: &mut Vec<u8>) -> bool {
        let Some(mut payload) = piece.payload.take().or_else(|| Partial::begin(entry.value, &mut self.encoder)) else {
            self.whole(entry, out);
            return false;
        };
        let (_, more) = payload.go_on(entry.value, &mut self.encoder, PAYLOAD_STEP_BYTES);
        if more {
            piece.payload = Some(payload);
            return true;
        }
        let mut number = itoa::Buffer::new();
        let ttl = number.format(entry.expiry.map_or(0, UnixMillis::get));
        let (length, pieces) = payload.finish();
        out.reserve(length + entry.key.len() + HEAD_BYTES);
        write_head(out, 6);
        for word in [&b"RESTORE"[..], entry.key, ttl.as_bytes()] {
            write_word(out, [word].into_iter());
        }
        write_word(out, pieces.iter().map(|piece| &piece[..]));
        for word in [&b"REPLACE"[..], b"ABSTTL"] {
            write_word(out, [word].into_iter());
        }
        false
    }

    fn word(&mut self, bytes: &[u8]) {
        self.words.extend_from_slice(bytes);
        self.ends.push(self.words.len());
    }
}
