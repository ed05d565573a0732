//! Slots that go to another core of this node: their tables are taken out here and put in there, whole, whatever is in them.
//!
//! Cores agree on the hash seeds and begin the same snapshots, so that a table fits into any core's keyspace as it is. While a
//! snapshot is under way a slot stays until the walk has been through it ([`Keyspace::walk_first`]): from then on all its entries are
//! behind that snapshot, on whichever core, and no core's walk sees one of them twice or never.
//!
//! What others keep about keys (marks) is theirs to take along. Called by `command::relocation`.

use super::Keyspace;
use super::table::SlotTable;
use crate::base::slot::{Slot, SlotSet};

/// The tables of some slots, on their way between two keyspaces.
pub struct MovedTables(Vec<MovedTable>);

struct MovedTable {
    db: usize,
    slot: Slot,
    table: SlotTable,
}

impl MovedTables {
    /// Keys in all of them.
    pub fn keys_count(&self) -> u64 {
        self.0.iter().map(|moved| moved.table.len()).sum()
    }
}

impl Keyspace {
    /// Takes the tables of these slots out. It takes the same time for a slot of one key as for one of a million.
    ///
    /// # Panics
    /// When a snapshot has still to see one of them: ask [`Keyspace::has_walked`] before.
    pub fn take_slots(&mut self, slots: &SlotSet) -> MovedTables {
        assert!(self.has_walked(slots), "a slot stays until the walk has been through it");
        let mut moved = Vec::new();
        for (db, database) in self.databases.iter_mut().enumerate() {
            for slot in slots.iter() {
                if database.table(slot.index()).is_some_and(|table| !table.is_empty()) {
                    let table = database.edit(slot.index(), std::mem::take);
                    moved.push(MovedTable { db, slot, table });
                }
            }
        }
        MovedTables(moved)
    }

    /// Puts tables of another core in.
    ///
    /// # Panics
    /// When there are keys of one of the slots here already: a slot is on one core.
    pub fn put_slots(&mut self, moved: MovedTables) {
        for MovedTable { db, slot, mut table } in moved.0 {
            self.snapshot.adopt(&mut table);
            self.databases[db].edit(slot.index(), |place| {
                assert!(place.is_empty(), "a slot has its keys on one core");
                *place = table;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::base::clock::UnixMillis;
    use crate::keyspace::{AccessPolicy, Key, KeyspaceOptions, SnapshotEntry, SnapshotSink, Value};

    fn keyspace() -> Keyspace {
        let access = AccessPolicy::Lru;
        let mut keyspace = Keyspace::new(KeyspaceOptions { databases: 1, hash_seeds: [1, 2, 3, 4], access });
        keyspace.set_clock(UnixMillis(1_700_000_000_000), false);
        keyspace
    }

    fn set(keyspace: &mut Keyspace, key: &str, value: &str) {
        keyspace.write(0, Key::new(key.as_bytes())).set_string(value.as_bytes());
    }

    fn slots(keys: &[&str]) -> SlotSet {
        keys.iter().map(|key| Key::new(key.as_bytes()).slot).collect()
    }

    #[test]
    fn a_slot_goes_with_its_counts_and_comes_back() {
        let (mut from, mut to) = (keyspace(), keyspace());
        (0..3000).for_each(|number| set(&mut from, &format!("{{a}}{number}"), "v"));
        (0..10).for_each(|number| set(&mut from, &format!("{{b}}{number}"), "v"));
        from.write(0, Key::new(b"{a}7")).set_expiry(Some(UnixMillis(1_800_000_000_000)));
        let moved = from.take_slots(&slots(&["a", "c"]));
        assert_eq!((moved.keys_count(), from.len(0), from.volatile_len(0)), (3000, 10, 0));
        to.put_slots(moved);
        assert_eq!((to.len(0), to.volatile_len(0), to.slot_len(0, Key::new(b"a").slot)), (3000, 1, 3000));
        assert!(to.read(0, Key::new(b"{a}2999")).is_some() && from.read(0, Key::new(b"{a}2999")).is_none());
        set(&mut to, "{a}3000", "v");
        from.put_slots(to.take_slots(&slots(&["a"])));
        assert_eq!((from.len(0), to.len(0)), (3011, 0));
    }

    /// Counts what it is handed, by key.
    struct Counts(Rc<RefCell<Vec<Vec<u8>>>>);

    impl SnapshotSink for Counts {
        fn entry(&mut self, entry: &SnapshotEntry<'_>) -> usize {
            self.0.borrow_mut().push([entry.key, b"=", &digits(entry.value)].concat());
            16
        }

        fn begin(&mut self, _: &SnapshotEntry<'_>) -> bool {
            false
        }

        fn part(&mut self, _: Value<'_>, _: Option<usize>) -> (usize, bool) {
            unreachable!("nothing is begun")
        }
    }

    fn digits(value: Value<'_>) -> Vec<u8> {
        match value {
            Value::String(string) => string.to_vec(),
            Value::Object(_) => unreachable!("only strings"),
        }
    }

    #[test]
    fn slots_that_move_during_a_walk_are_in_it_once() {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        for seed in 0..200 {
            let mut random = crate::base::random::Random::new(seed);
            let mut cores = [keyspace(), keyspace()];
            let mut owner = [0, 1, 0, 1, 0, 1, 0];
            let mut expected = Vec::new();
            for (name, owner) in names.iter().zip(owner) {
                for number in 0..random.below(400) {
                    let key = format!("{{{name}}}{number}");
                    set(&mut cores[owner], &key, "1");
                    expected.push(format!("{key}=1").into_bytes());
                }
            }
            let seen = Rc::new(RefCell::new(Vec::new()));
            cores.iter_mut().for_each(|core| core.begin_snapshot(Box::new(Counts(seen.clone()))));
            let mut wanted: Option<usize> = None;
            while cores.iter().any(Keyspace::is_in_snapshot) || wanted.is_some() {
                let index = random.below(2) as usize;
                cores[index].snapshot_slice(1 + random.below(2000) as usize);
                let slot = random.below(7) as usize;
                let key = format!("{{{}}}{}", names[slot], random.below(500));
                set(&mut cores[owner[slot]], &key, "2");
                let at = *wanted.get_or_insert(random.below(7) as usize);
                let moving = slots(&[names[at]]);
                let from = owner[at];
                if cores[from].walk_first(&moving) {
                    let moved = cores[from].take_slots(&moving);
                    cores[1 - from].put_slots(moved);
                    owner[at] = 1 - from;
                    wanted = None;
                }
            }
            let mut seen = seen.take();
            seen.sort_unstable();
            expected.sort_unstable();
            assert!(seen == expected, "seed {seed}: {} of {}", seen.len(), expected.len());
        }
    }
}
