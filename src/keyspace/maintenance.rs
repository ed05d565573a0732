//! What concerns many keys: walks, random keys, flushing, slots that move, expiry and freeing in slices.

use super::entry::EntryRef;
use super::expiry::{NEVER, coarse};
use super::garbage::Disposal;
use super::scan::{ScanCursor, scan_table};
use super::table::SlotTable;
use super::value::Value;
use super::{Key, Keyspace};
use crate::base::random::Random;
use crate::base::slot::{SLOTS_COUNT, Slot};

/// Keys that [`Keyspace::average_ttl_ms`] looks at, and buckets where it looks for them.
const TTL_SAMPLE_KEYS: usize = 128;
const TTL_SAMPLE_SLOTS: usize = 32;
/// Draws of a random key that may meet one that has expired and stays.
const KEPT_EXPIRED_ATTEMPTS: usize = 100;

/// Where the expiry cycle goes on.
#[derive(Default)]
pub(super) struct ExpireCursor {
    db: usize,
    slot: usize,
    bucket: usize,
}

/// What one slice of the expiry cycle did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExpireOutcome {
    /// Keys removed.
    pub expired: u64,
    /// The budget ran out before every slot was looked at.
    pub more: bool,
}

pub(super) fn slot_of(index: usize) -> Slot {
    Slot::new(u16::try_from(index).expect("tables are indexed by slots"))
}

impl Keyspace {
    /// Visits keys from `cursor` on until `count` were visited (a bucket more at most) or the database ends, and
    /// returns where to go on, [`ScanCursor::START`] at the end. A key that is there from the first call to the last is
    /// visited at least once, as a rule once, whatever else comes and goes. Expired keys are removed instead of
    /// visited, and count.
    pub fn scan(
        &mut self,
        db: usize,
        cursor: ScanCursor,
        count: usize,
        visit: &mut dyn FnMut(Slot, &[u8], &Value<'_>),
    ) -> ScanCursor {
        let mut expired = Vec::new();
        let next = self.scan_entries(db, cursor, count, &mut |slot, entry| {
            if entry.expiry().is_some_and(|expiry| self.is_due(expiry)) {
                expired.push((slot, entry.key().to_vec()));
            } else {
                visit(slot, entry.key(), &entry.value());
            }
        });
        for (slot, key) in expired {
            self.peek(db, Key { bytes: &key, slot });
        }
        next
    }

    fn scan_entries(
        &self,
        db: usize,
        cursor: ScanCursor,
        count: usize,
        visit: &mut dyn FnMut(Slot, EntryRef<'_>),
    ) -> ScanCursor {
        let database = &self.databases[db];
        let mut left = count.max(1);
        let mut next = database.next_occupied(cursor.slot_index());
        while let Some(slot) = next {
            if left == 0 {
                return ScanCursor::at_slot(slot);
            }
            let Some(table) = database.table(slot) else {
                break;
            };
            let at = ScanCursor::at_slot(slot).max(cursor);
            let mut visited = 0;
            let stopped = scan_table(table, at.position(), left, &self.hasher, &mut |entry| {
                visited += 1;
                visit(slot_of(slot), entry);
            });
            if let Some(position) = stopped {
                return ScanCursor::at(slot, position);
            }
            left = left.saturating_sub(visited);
            next = database.next_occupied(slot + 1);
        }
        ScanCursor::START
    }

    /// Visits all keys of a database that are not expired, in order of slots.
    pub fn for_each(&self, db: usize, visit: &mut dyn FnMut(Slot, &[u8], &Value<'_>)) {
        let mut next = self.databases[db].next_occupied(0);
        while let Some(slot) = next {
            self.for_each_in_slot(db, slot_of(slot), usize::MAX, &mut |key, value| {
                visit(slot_of(slot), key, value);
            });
            next = self.databases[db].next_occupied(slot + 1);
        }
    }

    /// Visits up to `limit` keys of a slot that are not expired.
    pub fn for_each_in_slot(&self, db: usize, slot: Slot, limit: usize, visit: &mut dyn FnMut(&[u8], &Value<'_>)) {
        let Some(table) = self.databases[db].table(slot.index()) else {
            return;
        };
        table
            .buckets()
            .iter()
            .flat_map(|bucket| bucket.entries())
            .filter(|entry| !entry.expiry().is_some_and(|expiry| self.is_due(expiry)))
            .take(limit)
            .for_each(|entry| visit(entry.key(), &entry.value()));
    }

    /// A key that is not expired, roughly each with the same probability; removes expired ones that it meets.
    pub fn random_key(&mut self, db: usize, random: &mut Random) -> Option<Vec<u8>> {
        for attempt in 0.. {
            let database = &self.databases[db];
            let slot = database.slot_of_nth(random.below(database.len()))?;
            let table = database.table(slot)?;
            let place = table.random_entry(random)?;
            let entry = table.entry(place);
            let key = entry.key().to_vec();
            if !entry.expiry().is_some_and(|expiry| self.is_due(expiry)) {
                return Some(key);
            }
            if self.keeps_expired {
                // All may have expired: rather one that has than to look for ever.
                if attempt == KEPT_EXPIRED_ATTEMPTS {
                    return Some(key);
                }
                continue;
            }
            self.expire(db, Key { bytes: &key, slot: slot_of(slot) }, place);
        }
        None
    }

    /// Milliseconds that volatile keys have left on average, from a sample; 0 without volatile keys.
    pub fn average_ttl_ms(&self, db: usize) -> i64 {
        let database = &self.databases[db];
        let (mut sum, mut keys) = (0i128, 0i128);
        let mut next = database.next_volatile(0);
        for _ in 0..TTL_SAMPLE_SLOTS {
            let Some(table) = next.and_then(|slot| database.table(slot)) else {
                break;
            };
            let volatile = table.buckets().iter().filter(|bucket| bucket.min_expiry() != NEVER);
            let expiries = volatile.take(2).flat_map(|bucket| bucket.entries()).filter_map(|entry| entry.expiry());
            for expiry in expiries.take(TTL_SAMPLE_KEYS / TTL_SAMPLE_SLOTS) {
                sum += i128::from(expiry) - i128::from(self.now.get());
                keys += 1;
            }
            next = next.and_then(|slot| database.next_volatile(slot + 1));
        }
        let average = sum.checked_div(keys).unwrap_or(0).max(0);
        i64::try_from(average).unwrap_or(i64::MAX)
    }

    /// Removes all keys of one database or of all; how many there were, expired ones included.
    pub fn flush(&mut self, db: Option<usize>, disposal: Disposal) -> u64 {
        let range = db.map_or(0..self.databases.len(), |db| db..db + 1);
        range.clone().for_each(|db| self.note_marked(db, None));
        let mut removed = 0;
        for database in &mut self.databases[range] {
            removed += database.len();
            let tables = database.take_tables();
            if let Some(tables) = self.snapshot.keep_tables(database.cut_number, 0, tables, disposal) {
                self.garbage.dispose_tables(tables, disposal);
            }
        }
        if db.is_none_or(|db| db == 0) {
            self.forget_leavers(disposal);
        }
        self.stats.dirty += removed;
        removed
    }

    /// All keys of a slot, expired ones that nobody met yet included.
    pub fn slot_keys(&self, db: usize, slot: Slot) -> Vec<Box<[u8]>> {
        let Some(table) = self.databases[db].table(slot.index()) else { return Vec::new() };
        table.buckets().iter().flat_map(|bucket| bucket.entries()).map(|entry| entry.key().into()).collect()
    }

    /// Removes all keys of one slot; how many there were.
    pub fn flush_slot(&mut self, db: usize, slot: Slot, disposal: Disposal) -> u64 {
        self.note_marked(db, Some(slot));
        let table = self.databases[db].edit(slot.index(), std::mem::take);
        let removed = table.len();
        let number = self.databases[db].cut_number;
        if let Some(tables) = self.snapshot.keep_tables(number, slot.index(), vec![table], disposal) {
            self.garbage.dispose_tables(tables, disposal);
        }
        self.stats.dirty += removed;
        removed
    }

    /// Exchanges the contents of two databases: one change. A database and itself: one change that touches no key.
    pub fn swap_databases(&mut self, a: usize, b: usize) {
        self.stats.dirty += 1;
        if a == b {
            return;
        }
        // What was under a name and what is there now: both may matter to whoever watches it.
        [a, b].into_iter().for_each(|db| self.note_marked(db, None));
        self.databases.swap(a, b);
        [a, b].into_iter().for_each(|db| self.note_marked(db, None));
    }

    /// Takes a slot out as a whole, for another core. Counts no change. While a snapshot is walked, the slot's entries are
    /// handed out first.
    pub fn take_slot(&mut self, db: usize, slot: Slot) -> SlotTable {
        if self.slot_len(db, slot) == 0 {
            return SlotTable::new();
        }
        self.keep_slot(db, slot);
        self.databases[db].edit(slot.index(), std::mem::take)
    }

    /// Puts a slot in that another core with the same hash seeds gave; the slot must be empty here.
    pub fn put_slot(&mut self, db: usize, slot: Slot, mut table: SlotTable) {
        assert_eq!(self.slot_len(db, slot), 0, "a slot has one owner");
        if !table.is_empty() {
            self.snapshot.adopt(&mut table);
            self.databases[db].edit(slot.index(), |place| *place = table);
        }
    }

    /// Frees up to `budget` entries that were removed in the background; whether more are left.
    pub fn free_slice(&mut self, budget: usize) -> bool {
        self.stats.lazyfreed_objects += self.garbage.free(budget);
        self.garbage.pending() > 0
    }

    /// Entries that wait to be freed.
    pub fn lazyfree_pending(&self) -> u64 {
        self.garbage.pending()
    }

    /// Removes keys whose time has come and tells `expired` about each (database, slot, key). Goes on where the last
    /// call stopped, at most once around all slots of all databases. `budget` limits the buckets looked at plus the
    /// entries of those in which something is due, and is passed by a bucket (128 entries) at most.
    pub fn expire_cycle(&mut self, budget: usize, expired: &mut dyn FnMut(usize, Slot, &[u8])) -> ExpireOutcome {
        if self.expires_nothing {
            return ExpireOutcome { expired: 0, more: false };
        }
        let before = self.stats.expired_keys;
        let mut left = budget;
        let mut ahead = self.databases.len() * SLOTS_COUNT;
        let more = loop {
            let (db, from) = (self.expire_cursor.db, self.expire_cursor.slot);
            match self.databases[db].next_volatile(from) {
                Some(slot) => {
                    let Some(rest) = ahead.checked_sub(slot - from + 1) else {
                        break false;
                    };
                    if slot != from {
                        self.expire_cursor = ExpireCursor { db, slot, bucket: 0 };
                    }
                    if !self.expire_in_slot(db, slot, &mut left, expired) {
                        break true;
                    }
                    ahead = rest;
                    self.expire_cursor = ExpireCursor { db, slot: slot + 1, bucket: 0 };
                }
                None => {
                    let Some(rest) = ahead.checked_sub(SLOTS_COUNT.saturating_sub(from)) else {
                        break false;
                    };
                    ahead = rest;
                    let db = (db + 1) % self.databases.len();
                    self.expire_cursor = ExpireCursor { db, slot: 0, bucket: 0 };
                    if ahead == 0 {
                        break false;
                    }
                }
            }
        };
        ExpireOutcome { expired: self.stats.expired_keys - before, more }
    }

    /// Goes through the buckets of one slot from the cursor on. Returns false when the budget ran out before the end.
    fn expire_in_slot(
        &mut self,
        db: usize,
        slot: usize,
        left: &mut usize,
        expired: &mut dyn FnMut(usize, Slot, &[u8]),
    ) -> bool {
        let now = self.now.get();
        loop {
            let buckets = self.databases[db].table(slot).map_or(&[][..], SlotTable::buckets);
            let Some(bucket) = buckets.get(self.expire_cursor.bucket) else {
                return true;
            };
            let Some(rest) = left.checked_sub(1) else {
                return false;
            };
            *left = rest;
            if bucket.min_expiry() != NEVER && bucket.min_expiry() <= coarse(now) {
                let mut removed = Vec::new();
                let bucket = self.expire_cursor.bucket;
                let visited = self.databases[db].edit(slot, |table| {
                    table.remove_due(bucket, |expiry| now > expiry, &mut |entry| removed.push(entry))
                });
                *left = left.saturating_sub(visited);
                for entry in removed {
                    self.keep_removed(db, slot_of(slot), &entry);
                    let key = Key { bytes: entry.borrow().key(), slot: slot_of(slot) };
                    expired(db, key.slot, key.bytes);
                    self.stats.expired_keys += 1;
                    self.changed(db, key, 0);
                    self.note_expired(db, key);
                    self.garbage.dispose_entry(entry, self.lazy_free.expired);
                }
            }
            self.expire_cursor.bucket += 1;
        }
    }
}
