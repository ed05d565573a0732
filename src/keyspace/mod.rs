//! The keyspace of one core: keys, values, expiries, access clocks of the slots that the core owns.
//!
//! For each database an array of 16384 tables, one for each slot, so that a slot is counted, listed, flushed and
//! handed to another core by itself. `table` and `bucket` find entries, `entry` lays one out in memory, `write` is
//! the door through which all values change, `scan`, `snapshot`, `expiry`, `eviction`, `garbage`, `access` and `database`
//! are what their names say.
//!
//! Handlers come in by three doors: [`Keyspace::read`] (expiry, hit and miss counts, access clock),
//! [`Keyspace::inspect`] and [`Keyspace::peek`] (fewer of those), and [`Keyspace::write`]. Every change of any
//! kind passes `Keyspace::changed`. The runtime sets the clock once per turn and gives expiry and freeing their slices.
//!
//! [`Keyspace::load`] is a fourth door, for what comes from a file while nobody looks yet.
//!
//! Nothing here reads a clock, blocks, or knows of other cores, connections or commands. The index of a database
//! is the caller's to check: one out of range panics.
//!
//! Strings live in their entries; collections are an `Object` each: `list`, `hash`, `set`, `sorted_set`, `stream`, most of them
//! on `listpack` while they are small. `garbage` decides whether freeing one is work for the background; `leavers` has the keys of slots
//! that have left.

mod access;
mod attention;
mod bucket;
mod database;
mod entry;
mod eviction;
mod expiry;
mod export;
mod garbage;
pub mod hash;
pub mod intset;
mod leavers;
pub mod list;
pub mod listpack;
mod load;
mod maintenance;
mod moved;
mod object;
pub mod packed_map;
mod scan;
pub mod set;
mod snapshot;
pub mod sorted_set;
pub mod stream;
mod table;
mod value;
mod view;
mod write;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod snapshot_tests;

use std::hash::{BuildHasher, Hasher};

use crate::base::clock::UnixMillis;
use crate::base::random::Random;
use crate::base::slot::{Slot, key_slot};

pub use access::{AccessPolicy, StoredAccess};
pub use attention::{Happening, Note, NotesWanted};
pub use eviction::{Evicted, EvictionOrder, EvictionRule};
pub use export::SlotPlace;
pub use garbage::{Disposal, LazyFree};
pub use load::LoadedValue;
pub use maintenance::ExpireOutcome;
pub use moved::MovedTables;
pub use object::{Collection, Object, WrongKind};
pub use scan::ScanCursor;
pub use snapshot::{SnapshotEntry, SnapshotSink};
pub use table::SlotTable;
pub use value::{Digits, StringValue, Value, ValueKind};
pub use write::{Entry, OwnedEntry};

use access::AccessClock;
use attention::Attention;
use database::Database;
use eviction::EvictionPool;
use garbage::Garbage;
use leavers::Leavers;
use snapshot::Snapshot;
use table::{KeyHash, Place, tag_of};

/// The most keys that one call of [`Keyspace::prefetch`] considers.
pub const PREFETCH_MAX_KEYS: usize = 32;

/// A key with its slot, computed once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key<'a> {
    pub bytes: &'a [u8],
    pub slot: Slot,
}

impl<'a> Key<'a> {
    /// Computes the slot (hash tags count).
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Key { bytes, slot: key_slot(bytes) }
    }
}

/// What a keyspace is made with.
#[derive(Clone, Copy, Debug)]
pub struct KeyspaceOptions {
    /// `databases`; 1 in cluster mode.
    pub databases: usize,
    /// Secret, random, the same on all cores of the node: slots move between cores.
    pub hash_seeds: [u64; 4],
    pub access: AccessPolicy,
}

/// Counters of one core; INFO adds them up.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct KeyspaceStats {
    /// Look-ups for reading that found a key.
    pub hits: u64,
    /// Look-ups for reading that found none, or one that was expired.
    pub misses: u64,
    /// Keys removed because their time had come.
    pub expired_keys: u64,
    /// Changes since the start: one for each use of the write door that changed something, for each key removed or
    /// put, for each key flushed.
    pub dirty: u64,
    /// Entries freed in the background.
    pub lazyfreed_objects: u64,
    /// Keys removed to make room.
    pub evicted_keys: u64,
}

/// What there is to know about a key besides its value.
#[derive(Clone, Copy, Debug)]
pub struct KeyInfo<'a> {
    pub value: Value<'a>,
    pub expiry: Option<UnixMillis>,
    /// What OBJECT ENCODING answers.
    pub encoding_name: &'static str,
    /// Seconds since the last access; meaningful under [`AccessPolicy::Lru`].
    pub idle_seconds: u64,
    /// The access counter, decayed; meaningful under [`AccessPolicy::Lfu`].
    pub frequency: u8,
}

struct Seeded(ahash::RandomState);

impl KeyHash for Seeded {
    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(key);
        hasher.finish()
    }
}

/// All keys of one core.
pub struct Keyspace {
    pub stats: KeyspaceStats,
    /// While set, reads and writes leave access clocks alone (CLIENT NO-TOUCH).
    pub no_touch: bool,
    /// While set, keys whose time has come stay and are there for all: what is loaded tells itself what has gone.
    pub expires_nothing: bool,
    /// How what expires and what is replaced is freed.
    pub lazy_free: LazyFree,
    databases: Vec<Database>,
    hasher: Seeded,
    now: UnixMillis,
    /// Keys that have expired are not there for readers, but stay (CLIENT PAUSE).
    keeps_expired: bool,
    access: AccessClock,
    random: Random,
    garbage: Garbage,
    leavers: Leavers,
    eviction: EvictionPool,
    attention: Attention,
    expire_cursor: maintenance::ExpireCursor,
    snapshot: Snapshot,
    touched: Option<Box<export::Touched>>,
    /// A buffer for strings while they are changed.
    scratch: Vec<u8>,
}

impl Keyspace {
    /// An empty keyspace whose clock stands at 0 until [`Keyspace::set_clock`].
    pub fn new(options: KeyspaceOptions) -> Self {
        let KeyspaceOptions { databases, hash_seeds: [a, b, c, d], access } = options;
        let now = UnixMillis(0);
        Keyspace {
            stats: KeyspaceStats::default(),
            no_touch: false,
            expires_nothing: false,
            lazy_free: LazyFree::default(),
            databases: std::iter::repeat_with(Database::default).take(databases).collect(),
            hasher: Seeded(ahash::RandomState::with_seeds(a, b, c, d)),
            now,
            keeps_expired: false,
            access: AccessClock::new(access, now),
            random: Random::new(a ^ b.rotate_left(32)),
            garbage: Garbage::default(),
            leavers: Leavers::default(),
            eviction: EvictionPool::default(),
            attention: Attention::default(),
            expire_cursor: maintenance::ExpireCursor::default(),
            snapshot: Snapshot::default(),
            touched: None,
            scratch: Vec::new(),
        }
    }

    /// Sets the time by which keys expire and accesses are dated: once per turn. While `keeps_expired` nothing but a change
    /// removes a key that has expired; reading one finds nothing all the same.
    pub fn set_clock(&mut self, now: UnixMillis, keeps_expired: bool) {
        self.now = now;
        self.keeps_expired = keeps_expired;
        self.access = AccessClock::new(self.access.policy(), now);
    }

    /// The time of this turn.
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    /// Changes what access words record from now on; those written before are read as if it had always been so.
    pub fn set_access_policy(&mut self, policy: AccessPolicy) {
        self.access = AccessClock::new(policy, self.now);
    }

    /// What access words record.
    pub fn access_policy(&self) -> AccessPolicy {
        self.access.policy()
    }

    /// How many databases there are.
    pub fn databases(&self) -> usize {
        self.databases.len()
    }

    /// Looks a key up to read its value: removes it when it is expired, counts a hit or a miss, and dates the access
    /// unless `no_touch`.
    #[inline]
    pub fn read(&mut self, db: usize, key: Key<'_>) -> Option<Value<'_>> {
        let hash = self.hasher.hash(key.bytes);
        let Some(place) = self.look(db, key, hash) else {
            self.missed(db, key);
            return None;
        };
        self.stats.hits += 1;
        self.touch(db, key, place);
        let table = self.databases[db].table(key.slot.index())?;
        Some(table.entry(place).value())
    }

    /// As [`Keyspace::read`], for a collection of one kind.
    ///
    /// # Errors
    /// [`WrongKind`]: the value is of another kind.
    #[inline]
    pub fn read_as<T: Collection>(&mut self, db: usize, key: Key<'_>) -> Result<Option<&T>, WrongKind> {
        self.read(db, key).map(Value::collection).transpose()
    }

    /// Looks a key up to tell about it (EXISTS, TYPE, TTL, OBJECT): removes it when it is expired and counts a hit or a miss,
    /// but dates no access.
    pub fn inspect(&mut self, db: usize, key: Key<'_>) -> Option<KeyInfo<'_>> {
        let hash = self.hasher.hash(key.bytes);
        let Some(place) = self.look(db, key, hash) else {
            self.missed(db, key);
            return None;
        };
        self.stats.hits += 1;
        self.info(db, key, place)
    }

    /// As [`Keyspace::inspect`], without counting (DEBUG OBJECT).
    pub fn peek_info(&mut self, db: usize, key: Key<'_>) -> Option<KeyInfo<'_>> {
        let hash = self.hasher.hash(key.bytes);
        let place = self.look(db, key, hash)?;
        self.info(db, key, place)
    }

    /// Looks a key up unnoticed: removes it when it is expired, but neither counts nor dates anything.
    pub fn peek(&mut self, db: usize, key: Key<'_>) -> Option<Value<'_>> {
        let hash = self.hasher.hash(key.bytes);
        let place = self.look(db, key, hash)?;
        let table = self.databases[db].table(key.slot.index())?;
        Some(table.entry(place).value())
    }

    /// The value at a key that has not expired. Neither counts nor dates anything, and leaves a key that has expired where it is.
    pub fn glance(&self, db: usize, key: Key<'_>) -> Option<Value<'_>> {
        let table = self.databases[db].table(key.slot.index())?;
        let entry = table.entry(table.find(self.hasher.hash(key.bytes), key.bytes)?);
        (!entry.expiry().is_some_and(|expiry| self.is_due(expiry))).then(|| entry.value())
    }

    /// Fetches into the cache what looking these keys up will need: worth it from about four keys on, before the commands of
    /// a pipeline run one after another. Changes nothing. Of more than [`PREFETCH_MAX_KEYS`] keys the rest is ignored.
    pub fn prefetch(&self, db: usize, keys: &[Key<'_>]) {
        let Some(database) = self.databases.get(db) else {
            return;
        };
        let mut found = [(0, None); PREFETCH_MAX_KEYS];
        // Three passes, so that the waits of all keys for memory overlap: tables, words, entries.
        for (key, (hash, table)) in keys.iter().zip(&mut found) {
            *hash = self.hasher.hash(key.bytes);
            *table = database.table(key.slot.index());
        }
        for (hash, table) in found.iter().take(keys.len()) {
            if let Some(table) = table {
                table.bucket_at(*hash).prefetch_words(tag_of(*hash));
            }
        }
        for (hash, table) in found.iter().take(keys.len()) {
            if let Some(table) = table {
                table.bucket_at(*hash).prefetch_entry(tag_of(*hash));
            }
        }
    }

    /// The write door: looks a key up once to change it. An expired key is removed first; one that is there has its
    /// access dated unless `no_touch`.
    #[inline]
    pub fn write<'a>(&'a mut self, db: usize, key: Key<'a>) -> Entry<'a> {
        let hash = self.hasher.hash(key.bytes);
        let place = self.locate(db, key, hash);
        if let Some(place) = place {
            self.keep(db, key.slot, place);
            self.touch(db, key, place);
        }
        Entry::new(self, db, key, hash, place)
    }

    /// Removes a key; whether it was there. An expired one was not.
    pub fn remove(&mut self, db: usize, key: Key<'_>, disposal: Disposal) -> bool {
        let hash = self.hasher.hash(key.bytes);
        let Some(place) = self.locate(db, key, hash) else {
            return false;
        };
        let entry = self.cut_out(db, key.slot, place);
        self.garbage.dispose_entry(entry, disposal);
        self.changed(db, key, 1);
        true
    }

    /// Takes a key out with its value, expiry and access word, to be put elsewhere. Counts no change: [`Keyspace::put`]
    /// does (RENAME and MOVE are one change each).
    pub fn take(&mut self, db: usize, key: Key<'_>) -> Option<OwnedEntry> {
        let hash = self.hasher.hash(key.bytes);
        let place = self.locate(db, key, hash)?;
        let entry = self.cut_out(db, key.slot, place);
        self.changed(db, key, 0);
        Some(OwnedEntry(entry))
    }

    /// A copy of value and expiry with a fresh access word (COPY). Big values share their buffer until one is changed.
    pub fn copy(&mut self, db: usize, key: Key<'_>) -> Option<OwnedEntry> {
        let hash = self.hasher.hash(key.bytes);
        let place = self.look(db, key, hash)?;
        let table = self.databases[db].table(key.slot.index())?;
        let mut entry = table.entry(place).duplicate(key.bytes);
        entry.set_access(self.access.fresh());
        Some(OwnedEntry(entry))
    }

    /// Puts what was taken or copied under a key, in place of what is there.
    pub fn put(&mut self, db: usize, key: Key<'_>, owned: OwnedEntry) {
        let hash = self.hasher.hash(key.bytes);
        if let Some(place) = self.locate(db, key, hash) {
            let old = self.cut_out(db, key.slot, place);
            self.garbage.dispose_entry(old, self.lazy_free.replaced);
        }
        let entry = owned.0.rekeyed(key.bytes);
        self.put_in(db, key.slot, hash, entry);
        self.created(db, key);
        self.changed(db, key, 1);
    }

    /// Notes every change of this key from now on, until [`Keyspace::unmark`] is called as often as this.
    pub fn mark(&mut self, db: usize, key: &[u8]) {
        self.attention.mark(db, key, self.mark_of(db, key));
    }

    /// Takes one mark back.
    pub fn unmark(&mut self, db: usize, key: &[u8]) {
        self.attention.unmark(db, key, self.mark_of(db, key));
    }

    /// Chooses what is noted whatever the key.
    pub fn set_notes(&mut self, wanted: NotesWanted) {
        self.attention.set_wanted(wanted);
    }

    /// What is noted whatever the key.
    pub fn notes_wanted(&self) -> NotesWanted {
        self.attention.wanted()
    }

    /// Whether something was noted since the last [`Keyspace::take_notes`].
    #[inline]
    pub fn has_notes(&self) -> bool {
        self.attention.has_notes()
    }

    /// What was noted, in order.
    pub fn take_notes(&mut self) -> Vec<Note> {
        self.attention.take()
    }

    fn mark_of(&self, db: usize, key: &[u8]) -> u64 {
        self.hasher.hash(key) ^ (db as u64).rotate_left(48)
    }

    /// Notes those of the marked keys that are there, of one slot or of all: a flush or a swap of databases is about to
    /// take them, or has brought them.
    fn note_marked(&mut self, db: usize, slot: Option<Slot>) {
        if !self.attention.notes_changes() {
            return;
        }
        for bytes in self.attention.marked(db) {
            let key = Key::new(&bytes);
            let hash = self.hasher.hash(key.bytes);
            let table = self.databases[db].table(key.slot.index());
            let found = table.and_then(|table| table.find(hash, key.bytes).map(|place| table.entry(place)));
            let is_there = found.is_some_and(|entry| !entry.expiry().is_some_and(|expiry| self.is_due(expiry)));
            if is_there && slot.is_none_or(|slot| slot == key.slot) {
                self.attention.note(db, key.bytes, Happening::Changed);
            }
        }
    }

    #[inline]
    fn missed(&mut self, db: usize, key: Key<'_>) {
        self.stats.misses += 1;
        if self.attention.wanted().missed {
            self.attention.note(db, key.bytes, Happening::Missed);
        }
    }

    #[inline]
    fn created(&mut self, db: usize, key: Key<'_>) {
        if self.attention.wanted().created {
            self.attention.note(db, key.bytes, Happening::Created);
        }
    }

    /// Keys of a database on this core, expired ones that nobody met yet included.
    pub fn len(&self, db: usize) -> u64 {
        self.databases[db].len()
    }

    /// Whether a database has no key on this core.
    pub fn is_empty(&self, db: usize) -> bool {
        self.len(db) == 0
    }

    /// Keys that have an expiry.
    pub fn volatile_len(&self, db: usize) -> u64 {
        self.databases[db].volatile_len()
    }

    /// Keys of one slot.
    pub fn slot_len(&self, db: usize, slot: Slot) -> u64 {
        self.databases[db].table(slot.index()).map_or(0, SlotTable::len)
    }

    /// Bytes that a key takes: its entry, its value (see `Object::memory_bytes`), its share of the table. Neither counts nor dates
    /// anything.
    pub fn memory_usage(&mut self, db: usize, key: Key<'_>, samples: usize) -> Option<usize> {
        let hash = self.hasher.hash(key.bytes);
        let place = self.look(db, key, hash)?;
        let table = self.databases[db].table(key.slot.index())?;
        let entry = table.entry(place);
        let buffer = match entry.value() {
            Value::String(StringValue::Shared(bytes)) => entry::size_class(bytes.len()),
            Value::String(StringValue::Integer(_) | StringValue::Bytes(_)) => 0,
            Value::Object(object) => size_of::<Object>() + object.memory_bytes(samples),
        };
        Some(entry.allocated_bytes() + buffer + table.share_bytes(place))
    }

    /// Bytes of tables and directories of a database, without entries (MEMORY STATS). Visits every bucket.
    pub fn overhead_bytes(&self, db: usize) -> usize {
        self.databases[db].overhead_bytes()
    }

    #[inline]
    fn is_due(&self, expiry: i64) -> bool {
        self.now.get() > expiry && !self.expires_nothing
    }

    /// As [`Keyspace::locate`] for readers, who leave an expired key where it is while `keeps_expired`.
    #[inline]
    fn look(&mut self, db: usize, key: Key<'_>, hash: u64) -> Option<Place> {
        if !self.keeps_expired {
            return self.locate(db, key, hash);
        }
        let table = self.databases[db].table(key.slot.index())?;
        let place = table.find(hash, key.bytes)?;
        let expired = table.entry(place).expiry().is_some_and(|expiry| self.is_due(expiry));
        (!expired).then_some(place)
    }

    /// Where a key stands that is there and not expired; removes an expired one.
    #[inline]
    fn locate(&mut self, db: usize, key: Key<'_>, hash: u64) -> Option<Place> {
        let table = self.databases[db].table(key.slot.index())?;
        let place = table.find(hash, key.bytes)?;
        if table.entry(place).expiry().is_some_and(|expiry| self.is_due(expiry)) {
            self.expire(db, key, place);
            return None;
        }
        Some(place)
    }

    fn info(&self, db: usize, key: Key<'_>, place: Place) -> Option<KeyInfo<'_>> {
        let entry = self.databases[db].table(key.slot.index())?.entry(place);
        let value = entry.value();
        Some(KeyInfo {
            value,
            expiry: entry.expiry().map(UnixMillis),
            encoding_name: value.encoding_name(entry.is_raw()),
            idle_seconds: self.access.idle_seconds(entry.access()),
            frequency: self.access.frequency(entry.access()),
        })
    }

    #[inline]
    fn touch(&mut self, db: usize, key: Key<'_>, place: Place) {
        if self.no_touch {
            return;
        }
        if let Some(table) = self.databases[db].table_mut(key.slot.index()) {
            let old = table.entry(place).access();
            let new = self.access.touched(old, || self.random.next_u32());
            // Under LRU a key is dated once a second: most reads leave the entry's cache line clean.
            if new != old {
                table.with_entry(place, |entry| entry.set_access(new));
            }
        }
    }

    #[cold]
    fn expire(&mut self, db: usize, key: Key<'_>, place: Place) {
        let entry = self.cut_out(db, key.slot, place);
        self.garbage.dispose_entry(entry, self.lazy_free.expired);
        self.stats.expired_keys += 1;
        self.changed(db, key, 0);
        self.note_expired(db, key);
    }

    fn note_expired(&mut self, db: usize, key: Key<'_>) {
        if self.attention.wanted().expired {
            self.attention.note(db, key.bytes, Happening::Expired);
        }
    }

    /// Every change of any key passes here, after it happened: the place for WATCH and whoever waits for a key. What must
    /// see an entry before it changes is in [`Keyspace::keep`], [`Keyspace::cut_out`] and [`Keyspace::put_in`]. `dirty`: how many
    /// changes it counts as.
    #[inline]
    fn changed(&mut self, db: usize, key: Key<'_>, dirty: u64) {
        self.stats.dirty += dirty;
        if self.touched.is_some() {
            self.note_touched(key);
        }
        if self.attention.notes_changes() {
            let hash = self.mark_of(db, key.bytes);
            self.attention.note_change(db, key.bytes, hash);
        }
    }

    /// The same for a change that neither WATCH nor who waits for the key sees.
    fn changed_aside(&mut self, key: Key<'_>, dirty: u64) {
        self.stats.dirty += dirty;
        if self.touched.is_some() {
            self.note_touched(key);
        }
    }
}
