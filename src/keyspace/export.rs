//! Slots on their way to another node: a walk over one slot, and which of its keys change meanwhile.
//!
//! Who sends a slot's keys walks through them while writes go on, and then sends once more those that were *touched*: changed, created
//! or removed since the walk began. All keys of a slot are on one core, so that between two requests there is a moment at which the
//! rest can be sent; from then on what changes the slot is sent instead (the journal has it).
//!
//! The place of a walk is one in the order of hashes, as for SCAN: a key that is there throughout is visited, and one that is not
//! is touched. Called by the runtime's part of `cluster::migration`.

use hashbrown::HashSet;

use super::scan::{Position, scan_table};
use super::table::KeyHash;
use super::{Key, Keyspace, SnapshotEntry};
use crate::base::clock::UnixMillis;
use crate::base::slot::{Slot, SlotSet};

/// Where a walk over a slot goes on.
#[derive(Clone, Copy, Debug)]
pub struct SlotPlace(Position);

impl SlotPlace {
    pub const BEGIN: SlotPlace = SlotPlace(Position::START);
}

/// Keys of one slot that have changed.
pub(super) struct Touched {
    slot: Slot,
    keys: HashSet<Box<[u8]>>,
}

impl Keyspace {
    /// Hides the keys of these slots, and of no others, from whoever looks through keys, counts them, expires or evicts them. Who names
    /// a key finds it.
    pub fn hide_slots(&mut self, slots: &SlotSet) {
        self.databases.iter_mut().for_each(|database| database.hide(slots));
    }

    /// Keys of a database that are hidden.
    pub fn hidden_len(&self, db: usize) -> u64 {
        self.databases[db].hidden_len()
    }

    /// From now on keys of this slot that change are noted, and of no other.
    pub fn note_touched_of(&mut self, slot: Option<Slot>) {
        self.touched = slot.map(|slot| Box::new(Touched { slot, keys: HashSet::new() }));
    }

    /// The keys that were noted since the last call.
    pub fn take_touched(&mut self) -> Vec<Box<[u8]>> {
        self.touched.as_mut().map_or(Vec::new(), |touched| touched.keys.drain().collect())
    }

    /// How many there are.
    pub fn touched_count(&self) -> usize {
        self.touched.as_ref().map_or(0, |touched| touched.keys.len())
    }

    /// Whether this key is one of them.
    pub fn is_touched(&self, key: &[u8]) -> bool {
        self.touched.as_ref().is_some_and(|touched| touched.keys.contains(key))
    }

    /// Notes a key of the slot, which has changed, or has to be sent again all the same.
    #[cold]
    pub fn note_touched(&mut self, key: Key<'_>) {
        if let Some(touched) = self.touched.as_mut().filter(|touched| touched.slot == key.slot)
            && !touched.keys.contains(key.bytes)
        {
            touched.keys.insert(key.bytes.into());
        }
    }

    /// Visits at least `count` entries of the slot from a place on, expired or not, and where to go on; `None` at the end.
    pub fn walk_slot(
        &self,
        db: usize,
        slot: Slot,
        from: SlotPlace,
        count: usize,
        visit: &mut dyn FnMut(&SnapshotEntry<'_>),
    ) -> Option<SlotPlace> {
        let table = self.databases[db].table(slot.index()).filter(|table| !table.is_empty())?;
        let next = scan_table(table, from.0, count, &self.hasher, &mut |entry| {
            visit(&SnapshotEntry {
                db,
                slot,
                key: entry.key(),
                value: entry.value(),
                expiry: entry.expiry().map(UnixMillis),
                idle_seconds: self.access.idle_seconds(entry.access()),
                frequency: self.access.frequency(entry.access()),
            });
        });
        next.map(SlotPlace)
    }

    /// An entry as it is, expired or not. Neither counts nor dates anything.
    pub fn entry_as_it_is(&self, db: usize, key: Key<'_>) -> Option<SnapshotEntry<'_>> {
        let table = self.databases[db].table(key.slot.index())?;
        let entry = table.entry(table.find(self.hasher.hash(key.bytes), key.bytes)?);
        Some(SnapshotEntry {
            db,
            slot: key.slot,
            key: entry.key(),
            value: entry.value(),
            expiry: entry.expiry().map(UnixMillis),
            idle_seconds: self.access.idle_seconds(entry.access()),
            frequency: self.access.frequency(entry.access()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{AccessPolicy, Disposal, KeyspaceOptions};

    fn set(keyspace: &mut Keyspace, key: &str, value: &str) {
        keyspace.write(0, Key::new(key.as_bytes())).set_string(value.as_bytes());
    }

    fn keyspace() -> Keyspace {
        let access = AccessPolicy::Lru;
        let mut keyspace = Keyspace::new(KeyspaceOptions { databases: 1, hash_seeds: [1, 2, 3, 4], access });
        keyspace.set_clock(UnixMillis(1_700_000_000_000), false);
        keyspace
    }

    #[test]
    fn what_a_walk_does_not_visit_is_touched() {
        let mut keyspace = keyspace();
        let key = |number: u32| format!("{{t}}{number}");
        let slot = Key::new(b"{t}").slot;
        (0..3000).for_each(|number| set(&mut keyspace, &key(number), "old"));
        keyspace.note_touched_of(Some(slot));
        let (mut place, mut seen, mut round) = (Some(SlotPlace::BEGIN), HashSet::new(), 0);
        while let Some(from) = place {
            place = keyspace.walk_slot(0, slot, from, 10, &mut |entry| {
                seen.insert(entry.key.to_vec());
            });
            // Enough come and go for buckets to split and merge.
            (0..30).for_each(|n| set(&mut keyspace, &key(10_000 + round * 30 + n), "new"));
            (0..20).for_each(|n| {
                let key = key((round * 37 + n) % 3000);
                keyspace.remove(0, Key::new(key.as_bytes()), Disposal::Now);
            });
            set(&mut keyspace, "elsewhere", "x");
            round += 1;
        }
        assert!(round > 50);
        let touched: HashSet<Vec<u8>> = keyspace.take_touched().into_iter().map(Vec::from).collect();
        assert!(!touched.contains(&b"elsewhere"[..]) && keyspace.touched_count() == 0);
        let mut missing = 0;
        keyspace.walk_slot(0, slot, SlotPlace::BEGIN, usize::MAX, &mut |entry| {
            missing += usize::from(!seen.contains(entry.key) && !touched.contains(entry.key));
        });
        assert_eq!(missing, 0);
    }

    #[test]
    fn hidden_keys_are_found_by_name_alone() {
        let mut keyspace = keyspace();
        let slot = Key::new(b"a").slot;
        keyspace.hide_slots(&[slot].into_iter().collect());
        set(&mut keyspace, "a", "1");
        set(&mut keyspace, "b", "2");
        assert_eq!((keyspace.len(0), keyspace.hidden_len(0), keyspace.slot_len(0, slot)), (1, 1, 1));
        assert!(keyspace.read(0, Key::new(b"a")).is_some());
        let mut seen = Vec::new();
        keyspace.for_each(0, &mut |_, key, _| seen.push(key.to_vec()));
        assert_eq!(seen, [b"b"]);
        keyspace.hide_slots(&SlotSet::new());
        assert_eq!((keyspace.len(0), keyspace.hidden_len(0)), (2, 0));
    }
}
