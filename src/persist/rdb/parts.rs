//! Large values into bytes, in parts: the walk of a snapshot has a slice of time for each.
//!
//! [`Encoder::begin`] writes what stands before the elements, [`Encoder::go_on`] some elements more. The value must not change in
//! between, which is the caller's to see to. The bytes are those of a value of the same elements, in some order of a file.

use super::encode::{Encoder, put_length, type_of};
use crate::base::clock::UnixMillis;
use crate::keyspace::listpack::Digits;
use crate::keyspace::set::SetForm;
use crate::keyspace::{Object, StoredAccess, Value};

/// A collection with so many elements is large.
const ELEMENTS_MIN: usize = 2048;
/// A list or a stream with so many nodes is; they have some KiB each.
const NODES_MIN: usize = 16;
/// Elements between two looks at what has come out.
const STEP_ELEMENTS: usize = 32;

/// Where a value stands that is encoded in parts.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Elements or nodes of the whole. What a stream has behind its nodes goes with the last of them.
    total: u64,
    /// A cursor, or how many elements or nodes are behind it.
    place: u64,
    /// Elements or nodes to come.
    left: u64,
}

/// The elements, or nodes, of a value that is worth being encoded in parts.
fn parts_count(value: Value<'_>) -> Option<u64> {
    let (count, min) = match value {
        Value::Object(Object::Hash(hash)) if hash.listpack().is_none() => (hash.len(), ELEMENTS_MIN),
        Value::Object(Object::Set(set)) if matches!(set.form(), SetForm::Large(_)) => (set.len(), ELEMENTS_MIN),
        Value::Object(Object::SortedSet(set)) if set.listpack().is_none() => (set.len(), ELEMENTS_MIN),
        Value::Object(Object::List(list)) => (list.parts().count(), NODES_MIN),
        Value::Object(Object::Stream(stream)) => (stream.log.nodes_count(), NODES_MIN),
        _ => return None,
    };
    (count >= min).then_some(count as u64)
}

impl Parts {
    /// Whether this can be the value that was begun with, as far as its size tells.
    pub fn fits(&self, value: Value<'_>) -> bool {
        parts_count(value) == Some(self.total)
    }
}

impl Encoder {
    /// Whether a value is encoded in parts where there is a choice.
    pub fn is_large(value: Value<'_>) -> bool {
        parts_count(value).is_some()
    }

    /// What a file has before the elements of a large value, as [`Encoder::entry`] writes it. `None`, and nothing written, when
    /// the value is not large.
    pub fn begin(
        &mut self,
        key: &[u8],
        value: Value<'_>,
        expiry: Option<UnixMillis>,
        access: StoredAccess,
        out: &mut Vec<u8>,
    ) -> Option<Parts> {
        let left = parts_count(value)?;
        self.entry_head(key, value, expiry, access, out);
        put_length(left, out);
        Some(Parts { total: left, place: 0, left })
    }

    /// As [`Encoder::begin`], with the type of the value alone before its elements: how a payload begins.
    pub fn begin_value(&mut self, value: Value<'_>, out: &mut Vec<u8>) -> Option<Parts> {
        let left = parts_count(value)?;
        out.push(type_of(value));
        put_length(left, out);
        Some(Parts { total: left, place: 0, left })
    }

    /// Writes elements of about `budget` bytes more; whether there are others to come.
    ///
    /// # Panics
    /// When the value has changed since the beginning, and has other elements now.
    pub fn go_on(&mut self, value: Value<'_>, parts: &mut Parts, budget: usize, out: &mut Vec<u8>) -> bool {
        let end = out.len().saturating_add(budget.max(1));
        while parts.left > 0 && out.len() < end {
            self.step(value, parts, out);
        }
        parts.left > 0
    }

    fn step(&mut self, value: Value<'_>, parts: &mut Parts, out: &mut Vec<u8>) {
        let (mut digits, mut count) = (Digits::new(), 0);
        let left = parts.left as usize;
        match value {
            Value::Object(Object::Hash(hash)) => {
                parts.place = hash.scan(parts.place, STEP_ELEMENTS, &mut |field, value| {
                    self.string(field.as_bytes(&mut digits), out);
                    self.string(value.as_bytes(&mut digits), out);
                    count += 1;
                });
            }
            Value::Object(Object::Set(set)) => {
                parts.place = set.scan(parts.place, STEP_ELEMENTS, &mut |member| {
                    self.string(member.as_bytes(&mut digits), out);
                    count += 1;
                });
            }
            // From the greatest to the smallest, as everywhere.
            Value::Object(Object::SortedSet(set)) => {
                for (member, score) in set.walk(left.saturating_sub(STEP_ELEMENTS)..left, true) {
                    self.string(member.as_bytes(&mut digits), out);
                    out.extend_from_slice(&score.to_le_bytes());
                    count += 1;
                }
                parts.place += count;
            }
            Value::Object(Object::List(list)) => {
                if let Some(part) = list.parts().nth(parts.place as usize) {
                    self.node(part, out);
                    count += 1;
                }
                parts.place += 1;
            }
            Value::Object(Object::Stream(stream)) => {
                if let Some((id, listpack)) = stream.log.nth_node(parts.place as usize) {
                    self.stream_node(id, listpack, out);
                    count += 1;
                }
                parts.place += 1;
                if left == 1 {
                    self.stream_tail(stream, out);
                }
            }
            Value::String(_) => {}
        }
        parts.left = parts.left.checked_sub(count).expect("no more elements than at the beginning");
        // Buckets of a table may be empty; the end of it is the end of the elements.
        let is_at_end =
            parts.place == 0 || count == 0 && !matches!(value, Value::Object(Object::Hash(_) | Object::Set(_)));
        assert!(parts.left == 0 || !is_at_end, "a value does not change while it is encoded");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::hash::Hash;
    use crate::keyspace::list::{End, Incoming, List};
    use crate::keyspace::set::{Set, SetLimits};
    use crate::keyspace::sorted_set::{Limits, SortedSet};
    use crate::keyspace::stream::{Group, NodeLimits, Pending, Stream, StreamId};
    use crate::persist::rdb::decode::{LoadLimits, decode_value};

    const LIMITS: LoadLimits = LoadLimits {
        hash: crate::keyspace::hash::HashLimits { entries: 5, value_bytes: 20 },
        set: SetLimits { intset_entries: 6, listpack_entries: 4, listpack_value_bytes: 20 },
        sorted_set: Limits { entries: 4, value_bytes: 20 },
        list_setting: 4,
    };

    fn word(number: usize) -> Vec<u8> {
        format!("word {number}").into_bytes()
    }

    fn objects(count: usize) -> Vec<Object> {
        let (mut hash, mut set, mut list) = (Hash::large(), Set::large(), List::large(-2));
        for number in 0..count {
            hash.set(&word(number), &[b'v'; 30], LIMITS.hash);
            set.add(crate::keyspace::listpack::Element::Bytes(&word(number)), LIMITS.set);
            list.push(End::Back, Incoming::copied(&[word(number), vec![b'.'; 40]].concat()));
        }
        let scores = (0..count).map(|number| ((number % 77) as f64, word(number))).collect();
        let sorted = SortedSet::from_entries(scores, LIMITS.sorted_set);
        let stream = Object::Stream(stream(count));
        vec![Object::Hash(hash), Object::Set(set), Object::List(list), Object::SortedSet(sorted), stream]
    }

    /// With a group in which half of the entries wait.
    fn stream(count: usize) -> Stream {
        let mut stream = Stream::default();
        let mut group = Group::new(StreamId::new(count as u64, 1), Some(count as i64));
        let (consumer, _) = group.consumer_or_new(b"consumer", 5);
        for number in 1..=count as u64 {
            let value = word(number as usize);
            let words = [&b"field"[..], &value].into_iter();
            stream.log.append(StreamId::new(number, 1), words, NodeLimits { bytes: 4096, entries: 100 });
            if number % 2 == 0 {
                group.assign(StreamId::new(number, 1), Pending { delivered_ms: 9, deliveries: 2, consumer });
            }
        }
        assert!(stream.groups.create(b"group", group));
        stream
    }

    fn content(object: &Object) -> Vec<Vec<u8>> {
        let mut parts: Vec<Vec<u8>> = match object {
            Object::Hash(hash) => hash.iter().map(|(field, value)| [field.to_vec(), value.to_vec()].concat()).collect(),
            Object::Set(set) => set.iter().map(|member| member.to_vec()).collect(),
            Object::SortedSet(set) => {
                set.iter().map(|(member, score)| [member.to_vec(), score.to_string().into_bytes()].concat()).collect()
            }
            Object::List(list) => return list.iter().map(|item| item.to_vec()).collect(),
            Object::Stream(_) => {
                let mut bytes = Vec::new();
                Encoder::new(true).value(Value::Object(object), &mut bytes);
                return vec![bytes];
            }
        };
        parts.sort();
        parts
    }

    #[test]
    fn the_parts_of_a_large_value_are_the_value() {
        for object in objects(if cfg!(miri) { 3000 } else { 9000 }) {
            let value = Value::Object(&object);
            for budget in [1, 1000, usize::MAX] {
                let (mut encoder, mut bytes, mut calls) = (Encoder::new(true), Vec::new(), 1);
                let mut parts = encoder.begin(b"key", value, None, StoredAccess::Unknown, &mut bytes).expect("large");
                while encoder.go_on(value, &mut parts, budget, &mut bytes) {
                    calls += 1;
                }
                assert!(calls > 8 || budget == usize::MAX && calls == 1, "{calls}");
                assert_eq!(bytes[1..5], *b"\x03key");
                let loaded = decode_value(bytes[0], &bytes[5..], &LIMITS).unwrap().expect("a value");
                let crate::keyspace::LoadedValue::Object(loaded) = loaded else { panic!("a string") };
                assert_eq!(content(&loaded), content(&object));
            }
        }
    }

    #[test]
    fn what_is_small_is_written_whole() {
        for object in objects(100) {
            let mut bytes = Vec::new();
            let value = Value::Object(&object);
            assert!(Encoder::new(true).begin(b"key", value, None, StoredAccess::Unknown, &mut bytes).is_none());
            assert!(bytes.is_empty() && !Encoder::is_large(value));
        }
    }
}
