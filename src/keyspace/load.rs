//! The door for loading: values that come from a file, under keys that are new.
//!
//! Called for every key of a data set, millions of times in a row: it counts no change, notes nothing and dates no access.
//! Whoever replaces keys that clients know goes through [`Keyspace::write`] and [`Entry::set_loaded`](super::Entry::set_loaded).

use std::borrow::Cow;

use bytes::Bytes;

use super::entry::{EntryBox, NewValue, fits_embedded};
use super::table::KeyHash;
use super::{Key, Keyspace, Object, StoredAccess};
use crate::base::clock::UnixMillis;
use crate::base::number::parse_i64;

/// A value that was read and belongs to no key yet.
#[derive(Clone, Debug)]
pub enum LoadedValue<'a> {
    Integer(i64),
    /// A string; one that spells a canonical integer is kept as that.
    Bytes(Cow<'a, [u8]>),
    /// A collection with at least one element, or a stream.
    Object(Box<Object>),
}

impl LoadedValue<'_> {
    /// Hands the value to `store` in the form in which the entry of a key of `key_len` bytes has it.
    #[inline]
    pub(super) fn place<R>(self, key_len: usize, store: impl FnOnce(NewValue<'_>) -> R) -> R {
        match self {
            LoadedValue::Integer(integer) => store(NewValue::Integer(integer)),
            LoadedValue::Object(object) => store(NewValue::Object(object)),
            LoadedValue::Bytes(bytes) => match parse_i64(&bytes) {
                Some(integer) => store(NewValue::Integer(integer)),
                None if fits_embedded(key_len, bytes.len()) => store(NewValue::Embedded(&bytes)),
                None => store(NewValue::Heap(Bytes::from(bytes.into_owned()))),
            },
        }
    }
}

impl Keyspace {
    /// Puts a value under a key, expired or not. False when the key is there already: then nothing has changed.
    pub fn load(
        &mut self,
        db: usize,
        key: Key<'_>,
        value: LoadedValue<'_>,
        expiry: Option<UnixMillis>,
        access: StoredAccess,
    ) -> bool {
        let hash = self.hasher.hash(key.bytes);
        if self.databases[db].table(key.slot.index()).is_some_and(|table| table.find(hash, key.bytes).is_some()) {
            return false;
        }
        let (expiry, access) = (expiry.map(UnixMillis::get), self.access.stored(access));
        let entry = value.place(key.bytes.len(), |value| EntryBox::new(key.bytes, value, false, expiry, access));
        self.put_in(db, key.slot, hash, entry);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::list::{End, Incoming, List};
    use crate::keyspace::{AccessPolicy, Collection, KeyspaceOptions};

    fn keyspace(access: AccessPolicy) -> Keyspace {
        let mut keyspace = Keyspace::new(KeyspaceOptions { databases: 1, hash_seeds: [1, 2, 3, 4], access });
        keyspace.set_clock(UnixMillis(1_700_000_000_000), false);
        keyspace
    }

    fn bytes(text: &str) -> LoadedValue<'_> {
        LoadedValue::Bytes(Cow::Borrowed(text.as_bytes()))
    }

    #[test]
    fn loading_counts_and_notes_nothing() {
        let mut keyspace = keyspace(AccessPolicy::Lru);
        keyspace.mark(0, b"k");
        let expiry = Some(UnixMillis(1_800_000_000_000));
        assert!(keyspace.load(0, Key::new(b"k"), bytes("12"), expiry, StoredAccess::Idle { seconds: 9 }));
        assert!(!keyspace.load(0, Key::new(b"k"), bytes("other"), None, StoredAccess::Unknown));
        assert!(!keyspace.has_notes() && keyspace.stats == Default::default());
        let info = keyspace.peek_info(0, Key::new(b"k")).unwrap();
        assert_eq!((info.encoding_name, info.expiry, info.idle_seconds), ("int", expiry, 9));
        assert_eq!((keyspace.len(0), keyspace.volatile_len(0)), (1, 1));
    }

    #[test]
    fn values_of_all_kinds_are_kept_as_commands_keep_them() {
        let mut keyspace = keyspace(AccessPolicy::Lfu { log_factor: 10, decay_minutes: 1 });
        let mut list = List::default();
        list.push(End::Back, Incoming::copied(b"x"));
        let long = "x".repeat(5000);
        for (key, value, encoding) in [
            ("integer", LoadedValue::Integer(-7), "int"),
            ("short", bytes("abc"), "embstr"),
            ("long", bytes(&long), "raw"),
            ("list", LoadedValue::Object(Box::new(list.into_object())), "listpack"),
        ] {
            let key = Key::new(key.as_bytes());
            assert!(keyspace.load(0, key, value.clone(), None, StoredAccess::Frequency(77)));
            let info = keyspace.peek_info(0, key).unwrap();
            assert_eq!((info.encoding_name, info.frequency), (encoding, 77));
            keyspace.write(0, key).set_loaded(value);
            assert_eq!(keyspace.peek_info(0, key).unwrap().encoding_name, encoding);
        }
        assert_eq!(keyspace.stats.dirty, 4);
        let idle = StoredAccess::Idle { seconds: 5 };
        assert!(keyspace.load(0, Key::new(b"idle"), bytes("x"), None, idle));
        assert_eq!(keyspace.peek_info(0, Key::new(b"idle")).unwrap().frequency, 5, "as a new key's");
    }
}
