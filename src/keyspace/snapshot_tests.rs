//! Snapshots against what was there when they began, whatever happens while they are walked.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::model_tests::{MANY, Model, START_MS, apply, check, key_name, keyspace, rare_operation, tagged, text};
use super::*;

/// Database, key, value and expiry of entries.
type Entries = BTreeMap<(usize, Vec<u8>), (Vec<u8>, Option<i64>)>;

/// Keeps what it is given and panics at a key that it has already. Takes values of more than a few bytes in parts of one byte.
#[derive(Clone, Default)]
struct Collector(Rc<RefCell<Entries>>, Rc<RefCell<Option<Begun>>>);

/// An entry of which a part was taken: its text, and how many bytes of it.
struct Begun {
    key: (usize, Vec<u8>),
    value: (Vec<u8>, Option<i64>),
    taken: usize,
}

/// An entry's database and key, and its value and expiry.
type Whole = ((usize, Vec<u8>), (Vec<u8>, Option<i64>));

fn whole(entry: &SnapshotEntry<'_>) -> Whole {
    assert_eq!(entry.slot, key_slot(entry.key));
    let value = (text(entry.value), entry.expiry.map(UnixMillis::get));
    ((entry.db, entry.key.to_vec()), value)
}

impl SnapshotSink for Collector {
    fn entry(&mut self, entry: &SnapshotEntry<'_>) -> usize {
        let (key, value) = whole(entry);
        let length = value.0.len();
        assert!(self.1.borrow().as_ref().is_none_or(|begun| begun.key != key), "the rest of it comes as a part");
        let known = self.0.borrow_mut().insert(key, value);
        assert!(known.is_none(), "each key once");
        length
    }

    fn begin(&mut self, entry: &SnapshotEntry<'_>) -> bool {
        let (key, value) = whole(entry);
        let is_large = value.0.len() > 3;
        if is_large {
            let before = self.1.borrow_mut().replace(Begun { key, value, taken: 0 });
            assert!(before.is_none(), "one after another");
        }
        is_large
    }

    fn part(&mut self, value: Value<'_>, budget: Option<usize>) -> (usize, bool) {
        let mut current = self.1.borrow_mut();
        let begun = current.as_mut().expect("it was begun with");
        assert_eq!(text(value), begun.value.0, "it has not changed since");
        begun.taken += 1;
        if budget.is_some() && begun.taken < begun.value.0.len() {
            return (1, true);
        }
        let Begun { key, value, .. } = current.take().expect("it was begun with");
        let known = self.0.borrow_mut().insert(key, value);
        assert!(known.is_none(), "each key once");
        (1, false)
    }
}

/// All there is, expired keys that nobody has met included.
fn entries_of(keyspace: &Keyspace) -> Entries {
    let mut entries = Entries::new();
    for (db, database) in keyspace.databases.iter().enumerate() {
        let tables = (0..crate::base::slot::SLOTS_COUNT).filter_map(|slot| database.table(slot));
        for entry in tables.flat_map(SlotTable::buckets).flat_map(|bucket| bucket.entries()) {
            entries.insert((db, entry.key().to_vec()), (text(entry.value()), entry.expiry()));
        }
    }
    entries
}

fn begin(keyspace: &mut Keyspace) -> (Collector, Entries) {
    let collector = Collector::default();
    keyspace.begin_snapshot(Box::new(collector.clone()));
    (collector, entries_of(keyspace))
}

fn finish(keyspace: &mut Keyspace) {
    while keyspace.snapshot_slice(100) {}
    assert!(!keyspace.is_in_snapshot());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 100 }, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn a_snapshot_is_what_was_there_when_it_began(
        operations in prop::collection::vec(
            (0usize..2, 0u16..300, rare_operation(), 0usize..400), 1..if cfg!(miri) { 60 } else { 1200 }),
        snapshots in prop::collection::vec((0usize..400, any::<bool>()), 1..4),
    ) {
        let mut keyspace = keyspace(2);
        let mut model = Model { now: START_MS, ..Model::default() };
        let (mut plan, mut current) = (snapshots.into_iter(), None);
        let mut next = plan.next();
        for (number, (db, key, operation, budget)) in operations.into_iter().enumerate() {
            if current.is_none() && !keyspace.is_in_snapshot() && next.is_some_and(|(at, _)| number >= at) {
                current = Some(begin(&mut keyspace));
            }
            apply(&mut keyspace, &mut model, db, &key_name(key), operation);
            if budget < 100 && !keyspace.snapshot_slice(budget)
                && let Some((seen, expected)) = current.take()
            {
                prop_assert_eq!(&*seen.0.borrow(), &expected);
                next = plan.next().map(|(at, _)| (number + at, false));
            } else if budget == 399 && let Some((seen, expected)) = current.take() {
                keyspace.abandon_snapshot();
                let seen = seen.0.borrow();
                prop_assert!(seen.iter().all(|(key, value)| expected.get(key) == Some(value)));
                next = plan.next().map(|(at, _)| (number + at, false));
            }
        }
        finish(&mut keyspace);
        if let Some((seen, expected)) = current {
            prop_assert_eq!(&*seen.0.borrow(), &expected);
        }
        // And the next one finds all parities right.
        let (seen, expected) = begin(&mut keyspace);
        finish(&mut keyspace);
        prop_assert_eq!(&*seen.0.borrow(), &expected);
        check(&keyspace);
    }
}

#[test]
fn buckets_may_split_and_merge_while_they_are_walked() {
    let mut keyspace = keyspace(1);
    (0..MANY / 8).for_each(|number| keyspace.write(0, Key::new(&tagged(number))).set_integer(0));
    let mut random = Random::new(11);
    for wave in 0..4 {
        let (seen, expected) = begin(&mut keyspace);
        let mut calls = 0;
        while keyspace.snapshot_slice(1000) {
            calls += 1;
            let first = random.below((MANY / 4) as u64) as usize;
            for number in first..first + 700 {
                let name = tagged(number);
                match (wave + calls / 40) % 2 {
                    0 => keyspace.write(0, Key::new(&name)).set_integer(calls),
                    _ => _ = keyspace.remove(0, Key::new(&name), Disposal::Now),
                }
            }
        }
        assert!(cfg!(miri) || calls > 20, "{calls}");
        assert_eq!(*seen.0.borrow(), expected);
        check(&keyspace);
    }
}

#[test]
fn a_flush_leaves_its_keys_to_the_walk_and_frees_them_with_it() {
    let mut keyspace = keyspace(2);
    for db in 0..2 {
        (0..1000).for_each(|number| keyspace.write(db, Key::new(&key_name(number))).set_integer(0));
    }
    let (seen, expected) = begin(&mut keyspace);
    keyspace.snapshot_slice(500);
    assert_eq!(keyspace.flush(None, Disposal::Background), 2000);
    keyspace.swap_databases(0, 1);
    keyspace.write(1, Key::new(b"new")).set_integer(1);
    assert_eq!((keyspace.len(0), keyspace.len(1)), (0, 1));
    finish(&mut keyspace);
    assert_eq!(*seen.0.borrow(), expected);
    assert_eq!(Rc::strong_count(&seen.0), 1, "the sink is dropped");
}

#[test]
fn an_abandoned_snapshot_frees_what_was_flushed_and_another_may_follow() {
    let mut keyspace = keyspace(1);
    (0..1000).for_each(|number| keyspace.write(0, Key::new(&key_name(number))).set_integer(0));
    let (seen, _) = begin(&mut keyspace);
    keyspace.flush(None, Disposal::Background);
    (0..50).for_each(|number| keyspace.write(0, Key::new(&key_name(number))).set_integer(0));
    keyspace.abandon_snapshot();
    assert_eq!((keyspace.lazyfree_pending(), Rc::strong_count(&seen.0)), (1000, 1));
    finish(&mut keyspace);
    assert!(seen.0.borrow().is_empty());
    let (seen, expected) = begin(&mut keyspace);
    finish(&mut keyspace);
    assert_eq!((seen.0.borrow().len(), expected.len()), (50, 50));
}

#[test]
fn collections_are_handed_out_as_they_were() {
    use super::listpack::Element;
    use super::set::{Set, SetLimits};
    struct Lengths(Rc<RefCell<Vec<usize>>>);
    impl SnapshotSink for Lengths {
        fn entry(&mut self, entry: &SnapshotEntry<'_>) -> usize {
            self.0.borrow_mut().push(entry.value.collection::<Set>().unwrap().len());
            0
        }

        fn begin(&mut self, _: &SnapshotEntry<'_>) -> bool {
            false
        }

        fn part(&mut self, _: Value<'_>, _: Option<usize>) -> (usize, bool) {
            unreachable!("nothing was begun with")
        }
    }
    let limits = SetLimits { intset_entries: 512, listpack_entries: 128, listpack_value_bytes: 64 };
    let mut keyspace = keyspace(1);
    let add = |keyspace: &mut Keyspace, member: &[u8]| {
        let mut entry = keyspace.write(0, Key::new(b"set"));
        entry.collection_or_new::<Set>().unwrap().add(Element::Bytes(member), limits);
        entry.commit(1);
    };
    add(&mut keyspace, b"one");
    let lengths = Rc::new(RefCell::new(Vec::new()));
    keyspace.begin_snapshot(Box::new(Lengths(lengths.clone())));
    add(&mut keyspace, b"two");
    add(&mut keyspace, b"three");
    finish(&mut keyspace);
    assert_eq!(*lengths.borrow(), [1]);
}
