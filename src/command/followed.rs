//! Large values that are sent to another node in pieces while they change: which of their elements have changed since.
//!
//! Whoever sends the pieces *follows* the key from the first of them on. A command that changes elements which it names has them
//! noted, and they are sent again as they are by then, in whatever order: what an element is does not depend on the others. Of a list, what is
//! put to an end of it or taken from there is noted in order, since what was sent is the beginning of the list. Any other change *breaks* it
//! (a range that is removed, another value in its place): the value has to be sent anew. What is recorded of streams is about more
//! than their ends: these are not followed.

use hashbrown::{HashMap, HashSet};

use super::lists::span;
use super::table::table;
use crate::keyspace::{Object, Value};

/// The keys that are followed.
#[derive(Default)]
pub struct Followed(HashMap<Box<[u8]>, Changed>);

/// What has become of a value since its first piece.
#[derive(Debug, Default)]
struct Changed {
    type_name: &'static str,
    elements: HashSet<Box<[u8]>>,
    /// Of a list.
    ends: Vec<ListEnd>,
    length: usize,
    expiry: bool,
    is_broken: bool,
}

/// What has happened to an end of a list.
#[derive(Debug, PartialEq, Eq)]
pub enum ListEnd {
    /// These were put before the first, one after the other.
    Pushed(Vec<Box<[u8]>>),
    /// So many were taken from the beginning.
    Popped(usize),
    /// It is no longer than this, from the beginning on: elements were taken from its end.
    Cut(usize),
}

/// What is to be sent again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub elements: Vec<Box<[u8]>>,
    /// Of a list. What was put to its end is not among it: whoever sends the list comes by.
    pub ends: Vec<ListEnd>,
    /// The expiry was changed.
    pub expiry: bool,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty() && self.ends.is_empty() && !self.expiry
    }
}

impl Followed {
    /// Whether values of this type can be followed.
    pub fn is_possible(value: Value<'_>) -> bool {
        matches!(value, Value::Object(Object::Hash(_) | Object::Set(_) | Object::SortedSet(_) | Object::List(_)))
    }

    /// Follows a key from now on, whose value is to be sent from the beginning.
    pub fn begin(&mut self, key: &[u8], value: Value<'_>) {
        let (type_name, length) = (value.type_name(), list_length(value).unwrap_or(0));
        self.0.insert(key.into(), Changed { type_name, length, ..Changed::default() });
    }

    pub fn end(&mut self, key: &[u8]) {
        self.0.remove(key);
    }

    /// Nothing is followed any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        self.0.contains_key(key)
    }

    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.0.keys().map(|key| &key[..])
    }

    /// What has changed of a key's value since it was last asked for. None when the key is not followed, or its value, if there is one, has
    /// to be sent anew.
    pub fn take(&mut self, key: &[u8], value: Option<Value<'_>>) -> Option<Changes> {
        let changed = self.0.get_mut(key)?;
        let value = value.filter(|value| value.type_name() == changed.type_name && !changed.is_broken)?;
        // A command that was misunderstood here does no harm.
        let is_known = list_length(value).is_none_or(|length| length == changed.length);
        is_known.then(|| Changes {
            elements: changed.elements.drain().collect(),
            ends: std::mem::take(&mut changed.ends),
            expiry: std::mem::take(&mut changed.expiry),
        })
    }

    /// These elements of a key have changed.
    pub(super) fn add_elements(&mut self, key: &[u8], elements: &[Box<[u8]>]) {
        if let Some(changed) = self.0.get_mut(key) {
            changed.elements.extend(elements.iter().cloned());
        }
    }

    /// Takes in a command that is recorded.
    pub fn note(&mut self, words: &[&[u8]]) {
        let Some((name, key)) = words.first().zip(words.get(1)) else { return };
        let name = table().find(name).map_or("", |command| command.spec().name);
        match name {
            "lpush" | "lpushx" | "rpush" | "rpushx" | "lpop" | "rpop" | "ltrim" => {
                if let Some(changed) = self.0.get_mut(*key) {
                    changed.list_changes(name, &words[2..]);
                }
                return;
            }
            "smove" if words.len() == 4 => {
                words[1..3].iter().for_each(|key| self.add_elements(key, &[words[3].into()]));
                return;
            }
            _ => {}
        }
        match changed_elements(name, words) {
            Some(elements) => {
                if let Some(changed) = self.0.get_mut(*key) {
                    changed.elements.extend(elements.into_iter().map(Box::from));
                    changed.expiry |= is_about_expiry(name);
                }
            }
            // Of any key that it may name.
            None => words[1..].iter().for_each(|word| {
                if let Some(changed) = self.0.get_mut(*word) {
                    changed.is_broken = true;
                }
            }),
        }
    }
}

impl Changed {
    /// Takes in a command that is about an end of a list, without its name and key.
    fn list_changes(&mut self, name: &str, words: &[&[u8]]) {
        let number = |word: &[u8]| str::from_utf8(word).ok()?.parse::<i64>().ok();
        match (name, words) {
            ("rpush" | "rpushx", elements) => self.length += elements.len(),
            ("lpush" | "lpushx", elements) => {
                self.length += elements.len();
                self.ends.push(ListEnd::Pushed(elements.iter().map(|word| Box::from(*word)).collect()));
            }
            ("ltrim", [start, stop]) => match (number(start), number(stop)) {
                (Some(start), Some(stop)) => {
                    let (first, kept) = span(start, stop, self.length);
                    self.shorten(first, self.length - first - kept);
                }
                _ => self.is_broken = true,
            },
            (_, counts) => match counts.first().map_or(Some(1), |count| number(count)) {
                Some(count @ 0..) if name == "lpop" => self.shorten(count as usize, 0),
                Some(count @ 0..) => self.shorten(0, count as usize),
                _ => self.is_broken = true,
            },
        }
    }

    /// So many elements of a list have gone from its beginning, and from its end, as far as there were so many.
    fn shorten(&mut self, first: usize, last: usize) {
        let first = first.min(self.length);
        self.length -= first;
        if first > 0 {
            self.ends.push(ListEnd::Popped(first));
        }
        let last = last.min(self.length);
        self.length -= last;
        if last > 0 {
            self.ends.push(ListEnd::Cut(self.length));
        }
    }
}

fn list_length(value: Value<'_>) -> Option<usize> {
    match value {
        Value::Object(Object::List(list)) => Some(list.len()),
        _ => None,
    }
}

fn is_about_expiry(name: &str) -> bool {
    matches!(name, "expire" | "pexpire" | "expireat" | "pexpireat" | "persist")
}

/// The elements of the first key that a command may have changed, when it has changed nothing else.
fn changed_elements<'a>(name: &str, words: &[&'a [u8]]) -> Option<Vec<&'a [u8]>> {
    let from = |first: usize, step: usize| Some(words.iter().skip(first).step_by(step).copied().collect());
    match name {
        "hset" | "hmset" => from(2, 2),
        "hsetnx" | "hincrby" | "hincrbyfloat" => from(2, usize::MAX),
        "hdel" | "sadd" | "srem" | "zrem" => from(2, 1),
        "zincrby" => from(3, usize::MAX),
        "zadd" => {
            let is_option = |word: &&&[u8]| {
                ["NX", "XX", "GT", "LT", "CH", "INCR"].iter().any(|option| word.eq_ignore_ascii_case(option.as_bytes()))
            };
            let options = words.iter().skip(2).take_while(is_option).count();
            from(2 + options + 1, 2)
        }
        // Whoever takes members by their place in the order says which (`Journal::tell_elements`).
        "zpopmin" | "zpopmax" | "zremrangebyrank" | "zremrangebyscore" | "zremrangebylex" => Some(Vec::new()),
        name if is_about_expiry(name) => Some(Vec::new()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::list::{End, Incoming, List};
    use crate::keyspace::{AccessPolicy, Key, Keyspace, KeyspaceOptions};

    /// Runs `test` with a hash under this key.
    fn with_hash(test: impl FnOnce(&mut Followed, Value<'_>, Value<'_>)) {
        let options = KeyspaceOptions { databases: 1, hash_seeds: [1, 2, 3, 4], access: AccessPolicy::Lru };
        let mut keyspace = Keyspace::new(options);
        keyspace.write(0, Key::new(b"string")).set_string(b"value");
        let hash = Object::Hash(Default::default());
        let string = keyspace.entry_as_it_is(0, Key::new(b"string")).expect("it is there");
        let mut followed = Followed::default();
        followed.begin(b"key", Value::Object(&hash));
        test(&mut followed, Value::Object(&hash), string.value);
    }

    fn note(followed: &mut Followed, line: &str) {
        followed.note(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    }

    fn elements(followed: &mut Followed, value: Value<'_>) -> Option<(Vec<String>, bool)> {
        let changes = followed.take(b"key", Some(value))?;
        let mut names: Vec<String> =
            changes.elements.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        names.sort();
        Some((names, changes.expiry))
    }

    #[test]
    fn elements_are_those_that_a_command_names() {
        for (line, names) in [
            ("HSET key f 1 g 2", "f g"),
            ("hmset key f 1", "f"),
            ("HSETNX key f 1", "f"),
            ("HINCRBY key f 5", "f"),
            ("HINCRBYFLOAT key f 5.5", "f"),
            ("HDEL key f g h", "f g h"),
            ("SADD key a b", "a b"),
            ("SREM key a", "a"),
            ("ZADD key 1 a 2 b", "a b"),
            ("zadd key gt ch 1 a 2 b", "a b"),
            ("ZADD key INCR 1 nx", "nx"),
            ("ZINCRBY key 1 a", "a"),
            ("ZREM key a b", "a b"),
            ("SMOVE key other m", "m"),
            ("SMOVE other key m", "m"),
            ("ZPOPMIN key 5", ""),
            ("ZREMRANGEBYSCORE key -inf 5", ""),
            // Of another key, whose elements may be called as they like.
            ("HSET other key 1", ""),
        ] {
            with_hash(|followed, value, _| {
                note(followed, line);
                let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
                assert_eq!(elements(followed, value), Some((names, false)), "{line}");
            });
        }
    }

    #[test]
    fn whatever_else_is_done_to_it_breaks_it() {
        for line in
            ["DEL key", "UNLINK a key", "RENAME other key", "SUNIONSTORE key other", "RESTORE key 0 x", "NOSUCH key"]
        {
            with_hash(|followed, value, _| {
                note(followed, "HSET key f 1");
                note(followed, line);
                assert_eq!(elements(followed, value), None, "{line}");
                assert!(followed.contains(b"key"));
            });
        }
        with_hash(|followed, value, string| {
            assert_eq!(elements(followed, string), None, "another type");
            assert_eq!(followed.take(b"key", None), None, "it has gone");
            note(followed, "DEL other");
            assert_eq!(elements(followed, value), Some((Vec::new(), false)));
        });
    }

    #[test]
    fn ends_of_a_list_are_told_in_order_and_its_length_is_kept_in_mind() {
        let list = |length: usize| {
            let mut list = List::default();
            (0..length).for_each(|_| list.push(End::Back, Incoming::copied(b"x")));
            Object::List(list)
        };
        let mut followed = Followed::default();
        followed.begin(b"key", Value::Object(&list(5)));
        for line in
            ["RPUSH key a b", "LPUSH key c d", "lpop key", "RPOP key 3", "LPOP key 99", "RPUSH other x", "LPOP key 0"]
        {
            note(&mut followed, line);
        }
        assert_eq!(followed.take(b"key", Some(Value::Object(&list(5)))), None, "it should be empty by now");
        note(&mut followed, "RPUSH key e f");
        let changes = followed.take(b"key", Some(Value::Object(&list(2)))).expect("it is followed");
        let pushed = ListEnd::Pushed(vec![b"c".as_slice().into(), b"d".as_slice().into()]);
        assert_eq!(changes.ends, [pushed, ListEnd::Popped(1), ListEnd::Cut(5), ListEnd::Popped(5)]);
        for (line, ends) in [
            ("LTRIM key 0 -1", vec![]),
            ("LTRIM key 1 -3", vec![ListEnd::Popped(1), ListEnd::Cut(7)]),
            ("LTRIM key -2 9", vec![ListEnd::Popped(5)]),
            ("LTRIM key 5 1", vec![ListEnd::Cut(0)]),
        ] {
            if line.ends_with("-3") {
                note(&mut followed, "RPUSH key 1 2 3 4 5 6 7 8");
            }
            note(&mut followed, line);
            let length = followed.0[b"key".as_slice()].length;
            let changes = followed.take(b"key", Some(Value::Object(&list(length)))).expect("it is followed");
            assert_eq!(changes.ends, ends, "{line}");
        }
        note(&mut followed, "RPUSH key e f");
        note(&mut followed, "LSET key 0 x");
        assert_eq!(followed.take(b"key", Some(Value::Object(&list(2)))), None);
    }

    #[test]
    fn changes_are_told_once() {
        with_hash(|followed, value, _| {
            note(followed, "HSET key f 1");
            note(followed, "HSET key f 2");
            note(followed, "PEXPIREAT key 1");
            assert_eq!(elements(followed, value), Some((vec!["f".to_owned()], true)));
            assert_eq!(elements(followed, value), Some((Vec::new(), false)));
            followed.end(b"key");
            note(followed, "HSET key f 3");
            assert_eq!(elements(followed, value), None);
            assert!(followed.is_empty());
        });
    }
}
