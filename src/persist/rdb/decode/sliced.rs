//! A large collection out of a payload, some elements at a time: RESTORE of a million elements would stop its core for a quarter of
//! a second otherwise.
//!
//! Only what is stored element by element, or node by node, is worth it. The elements are checked as they come, as everywhere.

use bytes::Bytes;

use super::super::cursor::Cursor;
use super::super::error::RdbError;
use super::super::types::{
    HASH, LIST_QUICKLIST_2, NODE_PACKED, NODE_PLAIN, SET, SORTED_SET_2, STREAM, STREAM_2, STREAM_3,
};
use super::{LoadLimits, MEMBER_TWICE, listpack, stream};
use crate::keyspace::hash::Hash;
use crate::keyspace::list::{Incoming, List};
use crate::keyspace::listpack::Element;
use crate::keyspace::set::Set;
use crate::keyspace::sorted_set::{AddRules, Added, SortedSet};
use crate::keyspace::stream::{Stream, StreamId};
use crate::keyspace::{Collection, LoadedValue};

/// With fewer elements, or nodes of a list, a value is decoded at once.
const ELEMENTS_MIN: usize = 2048;
const NODES_MIN: usize = 16;

/// A collection in the making.
#[derive(Debug)]
pub struct Sliced {
    bytes: Bytes,
    at: usize,
    left: usize,
    limits: LoadLimits,
    made: Made,
}

#[derive(Debug)]
enum Made {
    Hash(Hash),
    Set(Set),
    SortedSet(SortedSet),
    List(List),
    /// With the type that it was written as, and the greatest id of a node.
    Stream(u8, Stream, StreamId),
}

impl Sliced {
    /// Begins with the value of this type that `bytes` are. `None` where it is not worth it, or not sound at its beginning.
    pub fn begin(kind: u8, bytes: Bytes, limits: &LoadLimits) -> Option<Sliced> {
        let mut cursor = Cursor::new(&bytes);
        let (least, bytes_min) = match kind {
            HASH | SORTED_SET_2 => (ELEMENTS_MIN, 2),
            SET => (ELEMENTS_MIN, 1),
            LIST_QUICKLIST_2 => (NODES_MIN, 1),
            STREAM | STREAM_2 | STREAM_3 => (NODES_MIN, 2),
            _ => return None,
        };
        let left = cursor.count(bytes_min).ok().filter(|count| *count >= least)?;
        let at = bytes.len() - cursor.rest().len();
        let is_small = |entries: u64| left as u64 <= entries;
        let made = match kind {
            HASH if !is_small(limits.hash.entries) => Made::Hash(Hash::large()),
            SET if !is_small(limits.set.intset_entries.max(limits.set.listpack_entries)) => Made::Set(Set::large()),
            SORTED_SET_2 if !is_small(limits.sorted_set.entries) => {
                let mut set = SortedSet::default();
                set.expect(left, 0, limits.sorted_set);
                Made::SortedSet(set)
            }
            LIST_QUICKLIST_2 => Made::List(List::large(limits.list_setting)),
            STREAM | STREAM_2 | STREAM_3 => Made::Stream(kind, Stream::default(), StreamId::MIN),
            _ => return None,
        };
        Some(Sliced { bytes, at, left, limits: *limits, made })
    }

    /// Takes so many elements more, or nodes; whether there are others to come.
    ///
    /// # Errors
    /// The bytes are no such value.
    pub fn go_on(&mut self, count: usize) -> Result<bool, RdbError> {
        let rest = self.bytes.slice(self.at..);
        let mut cursor = Cursor::new(&rest);
        let count = count.min(self.left);
        for _ in 0..count {
            self.made.element(&mut cursor, &self.limits)?;
        }
        self.at += rest.len() - cursor.rest().len();
        self.left -= count;
        Ok(self.left > 0)
    }

    /// The value, once there are no others to come.
    ///
    /// # Errors
    /// There are bytes behind it.
    pub fn finish(self) -> Result<LoadedValue<'static>, RdbError> {
        let mut cursor = Cursor::new(self.bytes.get(self.at..).unwrap_or_default());
        let mut made = self.made;
        if let Made::Stream(kind, stream, last_node) = &mut made {
            stream.log.nodes_taken();
            stream::tail(*kind, &mut cursor, stream, *last_node)?;
        }
        cursor.finish()?;
        let object = match made {
            Made::Hash(hash) => hash.into_object(),
            Made::Set(set) => set.into_object(),
            Made::SortedSet(set) => set.into_object(),
            Made::List(mut list) => {
                list.built(self.limits.list_setting);
                list.into_object()
            }
            Made::Stream(_, stream, _) => stream.into_object(),
        };
        Ok(LoadedValue::Object(Box::new(object)))
    }
}

impl Made {
    fn element(&mut self, cursor: &mut Cursor<'_>, limits: &LoadLimits) -> Result<(), RdbError> {
        let start = cursor.clone();
        let is_new = match self {
            Made::Hash(hash) => {
                let (field, value) = (cursor.string()?, cursor.string()?);
                hash.set(&field, &value, limits.hash)
            }
            Made::Set(set) => set.add(Element::Bytes(&cursor.string()?), limits.set),
            Made::SortedSet(set) => {
                let member = cursor.string()?;
                let score = cursor.array().map(f64::from_le_bytes)?;
                if score.is_nan() {
                    return Err(start.error("a score is not a number"));
                }
                let added = set.add(score, &member, AddRules::default(), limits.sorted_set);
                matches!(added, Ok(Added::New(_)))
            }
            Made::List(list) => {
                match cursor.length()? {
                    NODE_PACKED => list.append_part(listpack(cursor)?),
                    NODE_PLAIN => {
                        let element = cursor.string()?;
                        if element.is_empty() {
                            return Err(start.error("a node of a list has no bytes"));
                        }
                        let bytes = Bytes::from(element.into_owned());
                        list.append_apart(Incoming { bytes: &bytes, shared: Some(bytes.clone()) });
                    }
                    _ => return Err(start.error("a node of a list is neither packed nor plain")),
                }
                true
            }
            Made::Stream(_, stream, last_node) => {
                let (id, listpack) = stream::node(cursor)?;
                *last_node = id.max(*last_node);
                stream.log.take_node(id, listpack).map_err(|_| start.error(stream::NODE_DAMAGED))?;
                true
            }
        };
        if is_new { Ok(()) } else { Err(start.error(MEMBER_TWICE)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::list::End;
    use crate::keyspace::stream::{Group, NodeLimits, Pending};
    use crate::keyspace::{Object, Value};
    use crate::persist::rdb::{Encoder, decode_value};

    fn limits() -> LoadLimits {
        LoadLimits::of(&crate::config::Config::default())
    }

    fn objects(count: usize) -> Vec<Object> {
        let limits = limits();
        let (mut hash, mut set, mut list) = (Hash::large(), Set::large(), List::large(-2));
        let word = |number: usize| format!("word {number}").into_bytes();
        for number in 0..count {
            hash.set(&word(number), b"value", limits.hash);
            set.add(Element::Bytes(&word(number)), limits.set);
            list.push(End::Back, Incoming::copied(&[word(number), vec![b'.'; 60]].concat()));
        }
        let scores = (0..count).map(|number| ((number % 77) as f64, word(number))).collect();
        let sorted = SortedSet::from_entries(scores, limits.sorted_set);
        let mut stream = Stream::default();
        let mut group = Group::new(StreamId::new(7, 7), Some(3));
        let (consumer, _) = group.consumer_or_new(b"consumer", 5);
        for number in 1..=count as u64 {
            let value = word(number as usize);
            let words = [&b"field"[..], &value].into_iter();
            stream.log.append(StreamId::new(number, 1), words, NodeLimits { bytes: 4096, entries: 50 });
            group.assign(StreamId::new(number, 1), Pending { delivered_ms: 9, deliveries: 2, consumer });
        }
        assert!(stream.groups.create(b"group", group));
        let stream = Object::Stream(stream);
        vec![Object::Hash(hash), Object::Set(set), Object::List(list), Object::SortedSet(sorted), stream]
    }

    fn bytes_of(object: &Object) -> (u8, Bytes) {
        let mut bytes = Vec::new();
        Encoder::new(true).value(Value::Object(object), &mut bytes);
        (bytes[0], Bytes::from(bytes.split_off(1)))
    }

    fn again(value: LoadedValue<'_>) -> (u8, Bytes) {
        let LoadedValue::Object(object) = value else { panic!("a string") };
        let (kind, bytes) = bytes_of(&object);
        let mut bytes = bytes.to_vec();
        // Hashes and sets come in an order of their own.
        bytes.sort_unstable();
        (kind, Bytes::from(bytes))
    }

    #[test]
    fn what_is_made_in_slices_is_what_is_made_at_once() {
        for object in objects(if cfg!(miri) { 2100 } else { 5000 }) {
            let (kind, bytes) = bytes_of(&object);
            let whole = decode_value(kind, &bytes, &limits()).unwrap().unwrap();
            for count in [1, 100, usize::MAX] {
                let mut sliced = Sliced::begin(kind, bytes.clone(), &limits()).expect("large");
                while sliced.go_on(count).unwrap() {}
                assert_eq!(again(sliced.finish().unwrap()), again(whole.clone()));
            }
        }
    }

    #[test]
    fn what_is_damaged_is_found_wherever_it_is() {
        for object in objects(3000) {
            let (kind, bytes) = bytes_of(&object);
            let outcome = |bytes: Vec<u8>| {
                let Some(mut sliced) = Sliced::begin(kind, Bytes::from(bytes), &limits()) else { return false };
                loop {
                    match sliced.go_on(64) {
                        Ok(true) => {}
                        Ok(false) => return sliced.finish().is_ok(),
                        Err(_) => return false,
                    }
                }
            };
            assert!(outcome(bytes.to_vec()));
            assert!(!outcome(bytes[..bytes.len() - 1].to_vec()));
            assert!(!outcome([&bytes[..], b"x"].concat()));
            assert!(!outcome(bytes[..bytes.len() / 2].to_vec()));
        }
        // The same element twice.
        let mut twice = vec![0x80, 0, 0, 0x10, 0];
        (0..4096u32).for_each(|number| twice.extend_from_slice(&[3, b'a', (number >> 8) as u8, number as u8]));
        assert!(Sliced::begin(SET, Bytes::from(twice.clone()), &limits()).unwrap().go_on(4096).is_ok());
        let end = twice.len();
        twice[end - 1] -= 1;
        assert!(Sliced::begin(SET, Bytes::from(twice), &limits()).unwrap().go_on(4096).is_err());
    }

    #[test]
    fn small_values_and_other_types_are_decoded_at_once() {
        for object in objects(100) {
            let (kind, bytes) = bytes_of(&object);
            assert!(Sliced::begin(kind, bytes, &limits()).is_none());
        }
        assert!(Sliced::begin(HASH, Bytes::new(), &limits()).is_none());
        // A count that there are not the bytes for.
        assert!(Sliced::begin(HASH, Bytes::from_static(b"\x80\xff\xff\xff\xff"), &limits()).is_none());
    }
}
