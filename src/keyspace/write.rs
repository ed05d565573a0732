//! The write door: one key, looked up once, to be changed.

use bytes::Bytes;

use super::entry::{EntryBox, NewValue, fits_embedded};
use super::table::Place;
use super::value::{Digits, Value};
use super::{Collection, Disposal, Key, Keyspace, LoadedValue, StoredAccess, WrongKind};
use crate::base::clock::UnixMillis;
use crate::base::number::parse_i64;

/// A key that is about to be changed, there or not. All changes through one door count as one in `stats.dirty`.
///
/// Values replaced keep the key's expiry; a new key has none. Dates the access of what it writes.
pub struct Entry<'a> {
    keyspace: &'a mut Keyspace,
    db: usize,
    key: Key<'a>,
    hash: u64,
    /// Where the key stands, if it is there.
    place: Option<Place>,
    counted: bool,
}

impl<'a> Entry<'a> {
    #[inline]
    pub(super) fn new(keyspace: &'a mut Keyspace, db: usize, key: Key<'a>, hash: u64, place: Option<Place>) -> Self {
        Entry { keyspace, db, key, hash, place, counted: false }
    }

    /// Whether the key is there.
    #[inline]
    pub fn exists(&self) -> bool {
        self.place.is_some()
    }

    /// The value, `None` when the key is not there.
    pub fn value(&self) -> Option<Value<'_>> {
        self.entry().map(|entry| entry.value())
    }

    /// When the key expires; `None` when it never does or is not there.
    pub fn expiry(&self) -> Option<UnixMillis> {
        self.entry()?.expiry().map(UnixMillis)
    }

    /// Stores a string, as an integer when it is a canonical one (SET and its like).
    pub fn set_string(&mut self, bytes: &[u8]) {
        match parse_i64(bytes) {
            Some(integer) => self.set_integer(integer),
            None => self.store_bytes(bytes, false),
        }
    }

    /// Stores a string as SET does, without copying it when it is big.
    pub fn set_shared(&mut self, bytes: Bytes) {
        if fits_embedded(self.key.bytes.len(), bytes.len()) {
            self.set_string(&bytes);
        } else {
            self.store(NewValue::Heap(bytes), false);
        }
    }

    /// Stores a string that is not looked at for an integer (what INCRBYFLOAT leaves).
    pub fn set_plain(&mut self, bytes: &[u8]) {
        self.store_bytes(bytes, false);
    }

    /// Stores a string that OBJECT ENCODING calls "raw" whatever its length (what SETRANGE and the like create).
    pub fn set_raw(&mut self, bytes: &[u8]) {
        self.store_bytes(bytes, true);
    }

    /// As [`Entry::set_raw`], without copying what is big (what BITOP and PFMERGE make).
    pub fn set_raw_shared(&mut self, bytes: Bytes) {
        if fits_embedded(self.key.bytes.len(), bytes.len()) {
            self.store(NewValue::Embedded(&bytes), true);
        } else {
            self.store(NewValue::Heap(bytes), true);
        }
    }

    /// As [`Entry::set_raw_shared`], but it counts as no change, and nobody who watches the key or waits for it is told.
    pub fn set_raw_unseen(&mut self, bytes: Bytes) {
        if fits_embedded(self.key.bytes.len(), bytes.len()) {
            self.place_value(NewValue::Embedded(&bytes), true, false);
        } else {
            self.place_value(NewValue::Heap(bytes), true, false);
        }
    }

    /// Stores an integer. Never allocates when the value was one.
    pub fn set_integer(&mut self, integer: i64) {
        self.store(NewValue::Integer(integer), false);
    }

    /// Appends to the string, or stores `bytes` as SET does when the key is not there. Returns the new length. Amortised, a
    /// big value costs what is appended, unless a reply not yet sent shares it.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        if !self.exists() {
            self.set_string(bytes);
            return bytes.len();
        }
        self.update_bytes(|value| {
            value.extend_from_slice(bytes);
            value.len()
        })
    }

    /// Writes `bytes` at `offset`, padding with zeros up to there; creates the key when it is not there. Returns the new
    /// length. The caller holds `offset + bytes.len()` within its limit.
    pub fn overwrite(&mut self, offset: usize, bytes: &[u8]) -> usize {
        self.update_bytes(|value| {
            let end = offset + bytes.len();
            if value.len() < end {
                value.resize(end, 0);
            }
            value[offset..end].copy_from_slice(bytes);
            value.len()
        })
    }

    /// Changes the string's bytes in place (those of an empty string when the key is not there); it is "raw" after. Big values
    /// are not copied, unless a reply not yet sent shares them.
    pub fn update_bytes<R>(&mut self, change: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.update_bytes_if(|bytes| (change(bytes), true))
    }

    /// As [`Entry::update_bytes`], for what may leave all as it was: `change` also says whether it changed the bytes. If not,
    /// no change counts and no key is created; a string that is there is "raw" all the same.
    pub fn update_bytes_if<R>(&mut self, change: impl FnOnce(&mut Vec<u8>) -> (R, bool)) -> R {
        if let Some(heap) = self.take_heap() {
            let mut bytes = Vec::from(heap);
            let (result, changed) = change(&mut bytes);
            if fits_embedded(self.key.bytes.len(), bytes.len()) {
                self.place_value(NewValue::Embedded(&bytes), true, changed);
            } else {
                self.place_value(NewValue::Heap(Bytes::from(bytes)), true, changed);
            }
            return result;
        }
        let mut scratch = std::mem::take(&mut self.keyspace.scratch);
        scratch.clear();
        if let Some(Value::String(value)) = self.value() {
            scratch.extend_from_slice(value.as_bytes(&mut Digits::new()));
        }
        let (result, changed) = change(&mut scratch);
        if !changed && !self.exists() {
            self.keyspace.scratch = scratch;
        } else if fits_embedded(self.key.bytes.len(), scratch.len()) {
            self.place_value(NewValue::Embedded(&scratch), true, changed);
            self.keyspace.scratch = scratch;
        } else {
            self.place_value(NewValue::Heap(Bytes::from(scratch)), true, changed);
        }
        result
    }

    /// The value as a collection of one kind; `None` when the key is not there.
    ///
    /// # Errors
    /// [`WrongKind`]: it is of another kind.
    pub fn collection<T: Collection>(&self) -> Result<Option<&T>, WrongKind> {
        self.value().map(Value::collection).transpose()
    }

    /// The collection to be changed; `None` when the key is not there. What was changed is noted with [`Entry::commit`].
    ///
    /// # Errors
    /// [`WrongKind`]: the value is of another kind.
    pub fn collection_mut<T: Collection>(&mut self) -> Result<Option<&mut T>, WrongKind> {
        let Some(place) = self.place else { return Ok(None) };
        let table = self.keyspace.databases[self.db].table_mut(self.key.slot.index());
        let Some(object) = table.and_then(|table| table.object_mut(place)) else { return Err(WrongKind) };
        T::of_mut(object).map(Some).ok_or(WrongKind)
    }

    /// The collection to be changed, an empty one when the key is not there. [`Entry::commit`] must follow: it notes the
    /// change, and removes the key if the collection has stayed empty.
    ///
    /// # Errors
    /// [`WrongKind`]: the value is of another kind.
    pub fn collection_or_new<T: Collection>(&mut self) -> Result<&mut T, WrongKind> {
        if self.place.is_none() {
            let entry = EntryBox::new(
                self.key.bytes,
                NewValue::Object(Box::new(T::default().into_object())),
                false,
                None,
                self.keyspace.access.fresh(),
            );
            self.place = Some(self.keyspace.put_in(self.db, self.key.slot, self.hash, entry));
            self.keyspace.created(self.db, self.key);
        }
        Ok(self.collection_mut()?.expect("it is there now"))
    }

    /// Stores a collection in place of what is there; the expiry stays. One without elements removes the key instead.
    pub fn set_collection<T: Collection>(&mut self, collection: T) {
        let object = collection.into_object();
        if object.is_spent() {
            self.remove();
        } else {
            self.store(NewValue::Object(Box::new(object)), false);
        }
    }

    /// Notes that the collection was changed in `changes` places (0: not at all), and removes the key when it is empty now.
    /// True when it was removed.
    pub fn commit(&mut self, changes: u64) -> bool {
        let Some(place) = self.place else { return false };
        let entry = self.entry().map(|entry| entry.value());
        let spent = matches!(entry, Some(Value::Object(object)) if object.is_spent());
        if spent {
            let entry = self.keyspace.cut_out(self.db, self.key.slot, place);
            self.keyspace.garbage.dispose_entry(entry, Disposal::Now);
            self.place = None;
        }
        if changes > 0 {
            self.counted = true;
            self.keyspace.changed(self.db, self.key, changes);
        }
        spent
    }

    /// Notes changes beside the value, which those who watch the key or wait for it do not see: what the groups of a stream know.
    pub fn commit_aside(&mut self, changes: u64) {
        if changes > 0 && self.place.is_some() {
            self.counted = true;
            self.keyspace.changed_aside(self.key, changes);
        }
    }

    /// Sets, changes or removes the expiry; whether the key is there and its expiry changed.
    pub fn set_expiry(&mut self, expiry: Option<UnixMillis>) -> bool {
        let Some(place) = self.place else {
            return false;
        };
        if self.expiry() == expiry {
            return false;
        }
        let expiry = expiry.map(UnixMillis::get);
        self.keyspace.databases[self.db].edit(self.key.slot.index(), |table| table.set_expiry(place, expiry));
        self.changed();
        true
    }

    /// Removes the key; whether it was there. The door stays usable for a new value.
    pub fn remove(&mut self) -> bool {
        let Some(place) = self.place else {
            return false;
        };
        let entry = self.keyspace.cut_out(self.db, self.key.slot, place);
        self.keyspace.garbage.dispose_entry(entry, self.keyspace.lazy_free.replaced);
        self.place = None;
        self.changed();
        true
    }

    /// Stores what was loaded in place of what is there; the expiry stays. Not for a collection without elements.
    pub fn set_loaded(&mut self, value: LoadedValue<'_>) {
        value.place(self.key.bytes.len(), |value| self.store(value, false));
    }

    /// Dates the last access back, or sets the access counter (RESTORE ... IDLETIME, FREQ).
    pub fn set_access(&mut self, access: StoredAccess) {
        let word = self.keyspace.access.stored(access);
        self.with_entry(|entry| entry.set_access(word));
    }

    #[inline]
    fn entry(&self) -> Option<super::entry::EntryRef<'_>> {
        let place = self.place?;
        let table = self.keyspace.databases[self.db].table(self.key.slot.index())?;
        Some(table.entry(place))
    }

    fn with_entry<R>(&mut self, change: impl FnOnce(&mut EntryBox) -> R) -> Option<R> {
        let place = self.place?;
        let table = self.keyspace.databases[self.db].table_mut(self.key.slot.index())?;
        Some(table.with_entry(place, change))
    }

    fn take_heap(&mut self) -> Option<Bytes> {
        self.with_entry(EntryBox::take_heap).flatten()
    }

    fn store_bytes(&mut self, bytes: &[u8], raw: bool) {
        if fits_embedded(self.key.bytes.len(), bytes.len()) {
            self.store(NewValue::Embedded(bytes), raw);
        } else {
            self.store(NewValue::Heap(Bytes::copy_from_slice(bytes)), raw);
        }
    }

    #[inline]
    fn store(&mut self, value: NewValue<'_>, raw: bool) {
        self.place_value(value, raw, true);
    }

    /// Puts the value where the key's value stands. Only one that `changed` dates the access and counts.
    #[inline]
    fn place_value(&mut self, value: NewValue<'_>, raw: bool, changed: bool) {
        let keyspace = &mut *self.keyspace;
        let slot = self.key.slot.index();
        match self.place {
            Some(place) => {
                let access = keyspace.access;
                if let Some(table) = keyspace.databases[self.db].table_mut(slot) {
                    if keyspace.lazy_free.replaced == Disposal::Background
                        && let Some(object) = table.object_mut(place)
                    {
                        keyspace.garbage.dispose_content(object);
                    }
                    table.with_entry(place, |entry| {
                        entry.set_value(value, raw);
                        if changed {
                            entry.set_access(access.rewritten(entry.borrow().access()));
                        }
                    });
                }
            }
            None => {
                let access = keyspace.access.fresh();
                let entry = EntryBox::new(self.key.bytes, value, raw, None, access);
                self.place = Some(keyspace.put_in(self.db, self.key.slot, self.hash, entry));
                keyspace.created(self.db, self.key);
            }
        }
        if changed {
            self.changed();
        }
    }

    fn changed(&mut self) {
        let dirty = u64::from(!self.counted);
        self.counted = true;
        self.keyspace.changed(self.db, self.key, dirty);
    }
}

/// A value with its expiry and access word, outside of any table.
pub struct OwnedEntry(pub(super) EntryBox);

impl OwnedEntry {
    /// The value.
    pub fn value(&self) -> Value<'_> {
        self.0.borrow().value()
    }

    /// When it expires.
    pub fn expiry(&self) -> Option<UnixMillis> {
        self.0.borrow().expiry().map(UnixMillis)
    }

    /// Sets, changes or removes the expiry.
    pub fn set_expiry(&mut self, expiry: Option<UnixMillis>) {
        self.0.set_expiry(expiry.map(UnixMillis::get));
    }
}

impl Clone for OwnedEntry {
    fn clone(&self) -> Self {
        let entry = self.0.borrow();
        OwnedEntry(entry.duplicate(entry.key()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{AccessPolicy, KeyspaceOptions};

    fn keyspace() -> Keyspace {
        Keyspace::new(KeyspaceOptions { databases: 1, hash_seeds: [1, 2, 3, 4], access: AccessPolicy::Lru })
    }

    #[test]
    fn an_update_that_changes_nothing_counts_nothing() {
        let mut keyspace = keyspace();
        let key = Key::new(b"k");
        assert_eq!(keyspace.write(0, key).update_bytes_if(|bytes| (bytes.len(), false)), 0);
        assert!(!keyspace.write(0, key).exists());
        for value in [&b"short"[..], &[b'x'; 5000]] {
            keyspace.write(0, key).set_string(value);
            let dirty = keyspace.stats.dirty;
            keyspace.set_clock(UnixMillis(keyspace.now().get() + 10_000), false);
            keyspace.no_touch = true;
            let read = keyspace.write(0, key).update_bytes_if(|bytes| (bytes.clone(), false));
            keyspace.no_touch = false;
            assert_eq!((read.as_slice(), keyspace.stats.dirty), (value, dirty));
            let info = keyspace.peek_info(0, key).unwrap();
            assert_eq!((info.encoding_name, info.idle_seconds), ("raw", 10));
        }
    }

    #[test]
    fn an_update_that_changes_something_counts_once() {
        let mut keyspace = keyspace();
        let key = Key::new(b"k");
        for len in [1, 5000, 3] {
            let dirty = keyspace.stats.dirty;
            keyspace.write(0, key).update_bytes_if(|bytes| {
                bytes.resize(len, b'x');
                ((), true)
            });
            assert_eq!(keyspace.stats.dirty, dirty + 1);
            assert_eq!(
                keyspace.write(0, key).value().and_then(|value| value.string().ok()).map(|value| value.to_vec()),
                Some(vec![b'x'; len])
            );
        }
    }
}
