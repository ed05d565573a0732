//! The walk of a snapshot: all entries as they were at one moment, the *cut*, while writes go on.
//!
//! Nothing is copied and nothing is kept beside the entries. Each carries one bit, the parity of the last snapshot that has
//! it behind it. [`Keyspace::begin_snapshot`] turns the keyspace's parity, and with that every entry is one that
//! the snapshot still has to see. From then on
//! - an entry about to change, or to go, is handed to the sink first and takes the new parity ([`Keyspace::keep`] at the
//!   write door, [`Keyspace::cut_out`] where it leaves its table);
//! - a new one is born with the new parity ([`Keyspace::put_in`]): the snapshot passes it over;
//! - [`Keyspace::snapshot_slice`] goes through databases, slots and buckets and hands out what still has the old parity.
//!
//! So each entry is handed out once, whoever comes to it first. The place where the walk stands is a place in the order of
//! hashes, as for SCAN: buckets before it hold nothing of the old parity, however they split or merge meanwhile, and
//! a bucket that is visited twice has nothing more to give.
//!
//! A large value, of which the sink says that it is one, is handed out in parts, with time for others in between. Until the last
//! one it keeps the old parity; when it is about to change, the sink gets the rest at once.
//!
//! A slot that is wanted elsewhere is walked through first ([`Keyspace::walk_first`]); the walk in its order passes it over later. Only
//! then does it go to another core (`moved`).
//!
//! What it costs: while no snapshot is under way one test of a pointer for each write. While one is, the first write to a
//! key encodes the key's whole old value (what the walk has not handed out of it), which with a value of many megabytes is a
//! pause that its size decides. FLUSHALL and FLUSHDB hand nothing out: the tables that they remove are set aside for the
//! walk, and freed as it goes through them.
//!
//! Called by the runtime; the sink, which is its too, knows what becomes of the entries.

use std::collections::VecDeque;

use super::access::AccessClock;
use super::entry::{EntryBox, EntryRef};
use super::garbage::{Disposal, Garbage};
use super::maintenance::slot_of;
use super::table::{KeyHash, Place, SlotTable, Visited};
use super::{Keyspace, Value};
use crate::base::clock::UnixMillis;
use crate::base::slot::{Slot, SlotSet};

/// What visiting an entry counts as beside the bytes that it gives.
const VISIT_BYTES: usize = 16;

/// One entry as it was at the cut.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotEntry<'a> {
    /// The number that its database had then.
    pub db: usize,
    pub slot: Slot,
    pub key: &'a [u8],
    pub value: Value<'a>,
    /// It may have passed: nobody had met the key yet.
    pub expiry: Option<UnixMillis>,
    /// As in [`super::KeyInfo`]; accesses since the cut count.
    pub idle_seconds: u64,
    pub frequency: u8,
}

/// Takes the entries of a snapshot, each once, in no order.
pub trait SnapshotSink {
    /// Returns how many bytes it made of the entry: what slices are measured by.
    fn entry(&mut self, entry: &SnapshotEntry<'_>) -> usize;

    /// Begins with an entry that is to be handed out in parts. False when it is to be handed out whole.
    fn begin(&mut self, entry: &SnapshotEntry<'_>) -> bool;

    /// Takes about so many bytes more of the entry that it has begun with, or the rest, for which a request waits. How many it
    /// made, and whether there is more of it. Others may have been handed out since, whole.
    fn part(&mut self, value: Value<'_>, budget: Option<usize>) -> (usize, bool);
}

/// How the keyspace stands to snapshots.
#[derive(Default)]
pub(super) struct Snapshot {
    /// What entries carry that the last snapshot has behind it.
    parity: bool,
    walk: Option<Box<Walk>>,
}

/// A snapshot under way.
struct Walk {
    /// None once the snapshot was given up: the rest of the walk only sets parities right.
    sink: Option<Box<dyn SnapshotSink>>,
    /// By its number at the cut.
    db: usize,
    slot: usize,
    /// Where in the slot's hash space.
    hash: u64,
    /// What the sink has a part of. It has the old parity, and is where it was.
    open: Option<OpenEntry>,
    /// Tables that were flushed before the walk came to them.
    flushed: VecDeque<FlushedTables>,
    /// Slots of the first database that are walked through out of turn, with where in the hash space of the first of them that
    /// goes on; and those that have been.
    urgent: VecDeque<Slot>,
    urgent_hash: u64,
    walked: SlotSet,
}

struct OpenEntry {
    /// The number of its database at the cut.
    db: usize,
    slot: usize,
    hash: u64,
    key: Box<[u8]>,
}

struct FlushedTables {
    db: usize,
    /// The slot of the first table.
    first_slot: usize,
    tables: Vec<SlotTable>,
    disposal: Disposal,
}

impl Walk {
    /// Whether nothing of a slot of the first database is still to be seen.
    fn has_passed(&self, slot: Slot) -> bool {
        let is_open = self.open.as_ref().is_some_and(|open| open.slot == slot.index());
        !is_open && (self.db > 0 || self.slot > slot.index() || self.walked.contains(slot))
    }

    /// Hands out an entry that is about to change or to go, or the rest of it.
    fn give(&mut self, db: usize, slot: Slot, entry: EntryRef<'_>, access: &AccessClock) {
        let (index, key) = (slot.index(), entry.key());
        if let Some(sink) = &mut self.sink {
            match self.open.take_if(|open| open.db == db && open.slot == index && *open.key == *key) {
                Some(_) => _ = sink.part(entry.value(), None),
                None => _ = sink.entry(&facts(db, slot, entry, access)),
            }
        }
    }

    /// Hands out the rest of the entry that the sink has a part of, if it is in one of these tables.
    fn end_open(&mut self, db: usize, first_slot: usize, tables: &mut [SlotTable], parity: bool) {
        let (Some(open), Some(sink)) = (&self.open, &mut self.sink) else { return };
        let table = open.slot.checked_sub(first_slot).and_then(|index| tables.get_mut(index));
        if let Some(table) = table.filter(|_| open.db == db)
            && let Some(place) = table.find(open.hash, &open.key)
        {
            sink.part(table.entry(place).value(), None);
            table.with_entry(place, |entry| entry.set_cut(parity));
            self.open = None;
        }
    }

    /// Goes on with what was flushed. False when nothing is left of it.
    fn flushed_step(&mut self, parity: bool, garbage: &mut Garbage, access: &AccessClock, left: &mut usize) -> bool {
        let Some(front) = self.flushed.front_mut() else { return false };
        let Some(table) = front.tables.last_mut() else {
            self.flushed.pop_front();
            return true;
        };
        let Some(entry) = table.pop() else {
            front.tables.pop();
            *left = left.saturating_sub(1);
            return true;
        };
        let (db, disposal) = (front.db, front.disposal);
        let slot = slot_of(front.first_slot + front.tables.len() - 1);
        let mut spent = VISIT_BYTES;
        if entry.borrow().cut() != parity
            && let Some(sink) = &mut self.sink
        {
            spent += sink.entry(&facts(db, slot, entry.borrow(), access));
        }
        garbage.dispose_entry(entry, disposal);
        *left = left.saturating_sub(spent);
        true
    }
}

fn facts<'a>(db: usize, slot: Slot, entry: EntryRef<'a>, access: &AccessClock) -> SnapshotEntry<'a> {
    SnapshotEntry {
        db,
        slot,
        key: entry.key(),
        value: entry.value(),
        expiry: entry.expiry().map(UnixMillis),
        idle_seconds: access.idle_seconds(entry.access()),
        frequency: access.frequency(entry.access()),
    }
}

impl Snapshot {
    /// Takes flushed tables, if a snapshot has yet to see what is in them; else they come back.
    pub fn keep_tables(
        &mut self,
        db: usize,
        first_slot: usize,
        mut tables: Vec<SlotTable>,
        disposal: Disposal,
    ) -> Option<Vec<SlotTable>> {
        match &mut self.walk {
            Some(walk) if walk.sink.is_some() => {
                walk.end_open(db, first_slot, &mut tables, self.parity);
                walk.flushed.push_back(FlushedTables { db, first_slot, tables, disposal });
                None
            }
            _ => Some(tables),
        }
    }

    /// Gives all entries of a table from another keyspace the parity of this one. They have one parity there, too.
    pub fn adopt(&self, table: &mut SlotTable) {
        let first = table.buckets().iter().flat_map(|bucket| bucket.entries()).next();
        if first.is_some_and(|entry| entry.cut() != self.parity) {
            mark_table(table, self.parity, &mut |_| {});
        }
    }
}

/// Gives all entries of a table a parity, and shows those to `visit` that had the other.
fn mark_table(table: &mut SlotTable, parity: bool, visit: &mut dyn FnMut(EntryRef<'_>)) {
    let mut next = Some(0);
    while let Some(hash) = next {
        table.mark_bucket(hash, parity, &mut 0, &mut |entry| {
            visit(entry);
            Visited::GoOn
        });
        next = table.hash_behind(hash);
    }
}

impl Keyspace {
    /// Begins a snapshot of what is in the keyspace now.
    ///
    /// # Panics
    /// While another is under way.
    pub fn begin_snapshot(&mut self, sink: Box<dyn SnapshotSink>) {
        assert!(!self.is_in_snapshot(), "one snapshot at a time");
        for (number, database) in self.databases.iter_mut().enumerate() {
            database.cut_number = number;
        }
        self.snapshot.parity = !self.snapshot.parity;
        let walk = Walk {
            sink: Some(sink),
            db: 0,
            slot: 0,
            hash: 0,
            open: None,
            flushed: VecDeque::new(),
            urgent: VecDeque::new(),
            urgent_hash: 0,
            walked: SlotSet::new(),
        };
        self.snapshot.walk = Some(Box::new(walk));
    }

    /// Whether a snapshot is under way, or one that was given up has not been cleared away.
    #[inline]
    pub fn is_in_snapshot(&self) -> bool {
        self.snapshot.walk.is_some()
    }

    /// Gives the snapshot up: nothing more is handed out. [`Keyspace::snapshot_slice`] is to be called until it has nothing
    /// more to do all the same.
    pub fn abandon_snapshot(&mut self) {
        if let Some(walk) = &mut self.snapshot.walk {
            (walk.sink, walk.open) = (None, None);
            for flushed in walk.flushed.drain(..) {
                self.garbage.dispose_tables(flushed.tables, flushed.disposal);
            }
        }
    }

    /// Hands out entries of about `budget` bytes; whether there is more to do. When there is not the snapshot is
    /// complete and the sink is dropped.
    pub fn snapshot_slice(&mut self, budget: usize) -> bool {
        let Some(mut walk) = self.snapshot.walk.take() else { return false };
        let mut left = budget.max(1);
        while left > 0 {
            if walk.open.is_some() {
                self.open_step(&mut walk, &mut left);
                continue;
            }
            if walk.flushed_step(self.snapshot.parity, &mut self.garbage, &self.access, &mut left) {
                continue;
            }
            if let Some(slot) = walk.urgent.front().copied() {
                self.urgent_step(&mut walk, slot, &mut left);
                continue;
            }
            if !self.walk_step(&mut walk, &mut left) {
                return false;
            }
        }
        self.snapshot.walk = Some(walk);
        true
    }

    /// Has the walk of a snapshot under way go through these slots of the first database before others; whether it has been through
    /// all of them, or there is none.
    pub fn walk_first(&mut self, slots: &SlotSet) -> bool {
        if self.has_walked(slots) {
            return true;
        }
        let Some(walk) = &mut self.snapshot.walk else { return true };
        for slot in slots.iter() {
            if !walk.has_passed(slot) && !walk.urgent.contains(&slot) {
                walk.urgent.push_back(slot);
            }
        }
        false
    }

    /// Whether no snapshot under way has still to see an entry of these slots of the first database.
    pub fn has_walked(&self, slots: &SlotSet) -> bool {
        self.snapshot.walk.as_ref().is_none_or(|walk| slots.iter().all(|slot| walk.has_passed(slot)))
    }

    /// Goes on in one bucket of a slot that is walked through out of turn.
    fn urgent_step(&mut self, walk: &mut Walk, slot: Slot, left: &mut usize) {
        let in_turn = (walk.db, walk.slot, walk.hash);
        (walk.db, walk.slot, walk.hash) = (0, slot.index(), walk.urgent_hash);
        let has_keys = self.databases.iter().any(|database| {
            database.cut_number == 0 && database.table(slot.index()).is_some_and(|table| !table.is_empty())
        });
        if has_keys {
            self.bucket_step(walk, slot.index(), left);
        }
        let is_through = !has_keys || walk.slot != slot.index();
        walk.urgent_hash = if is_through { 0 } else { walk.hash };
        (walk.db, walk.slot, walk.hash) = in_turn;
        if is_through {
            walk.urgent.pop_front();
            walk.walked.insert(slot);
        }
    }

    /// Goes on in one bucket. False when all databases are done.
    fn walk_step(&mut self, walk: &mut Walk, left: &mut usize) -> bool {
        let Some(database) = self.databases.iter().find(|database| database.cut_number == walk.db) else {
            return false;
        };
        let Some(slot) = database.next_held(walk.slot) else {
            (walk.db, walk.slot, walk.hash) = (walk.db + 1, 0, 0);
            return true;
        };
        if slot != walk.slot {
            (walk.slot, walk.hash) = (slot, 0);
        }
        self.bucket_step(walk, slot, left);
        true
    }

    /// Goes on where the walk stands, in a slot that has keys.
    fn bucket_step(&mut self, walk: &mut Walk, slot: usize, left: &mut usize) {
        let database = self.databases.iter_mut().find(|database| database.cut_number == walk.db);
        let Some(table) = database.and_then(|database| database.table_mut(slot)) else { return };
        let (db, access, sink) = (walk.db, &self.access, &mut walk.sink);
        let (mut skipped, mut large) = (1, None);
        let through = table.mark_bucket(walk.hash, self.snapshot.parity, &mut skipped, &mut |entry| {
            let mut spent = VISIT_BYTES;
            if let Some(sink) = sink {
                let facts = facts(db, slot_of(slot), entry, access);
                if sink.begin(&facts) {
                    large = Some(Box::from(facts.key));
                    return Visited::StopUnmarked;
                }
                spent += sink.entry(&facts);
            }
            *left = left.saturating_sub(spent);
            if *left > 0 { Visited::GoOn } else { Visited::Stop }
        });
        walk.open = large.map(|key: Box<[u8]>| OpenEntry { db, slot, hash: self.hasher.hash(&key), key });
        *left = left.saturating_sub(skipped * VISIT_BYTES);
        if through {
            match table.hash_behind(walk.hash) {
                Some(hash) => walk.hash = hash,
                None => (walk.slot, walk.hash) = (slot + 1, 0),
            }
        }
    }

    /// Hands out a part of the entry that the sink has begun with.
    fn open_step(&mut self, walk: &mut Walk, left: &mut usize) {
        let (Some(open), Some(sink)) = (&walk.open, &mut walk.sink) else { return };
        let database = self.databases.iter_mut().find(|database| database.cut_number == open.db);
        let table = database.and_then(|database| database.table_mut(open.slot));
        let found = table.and_then(|table| Some((table.find(open.hash, &open.key)?, table)));
        let (place, table) = found.expect("an entry does not go before the sink has all of it");
        let (given, more) = sink.part(table.entry(place).value(), Some(*left));
        *left = left.saturating_sub(VISIT_BYTES + given);
        if !more {
            table.with_entry(place, |entry| entry.set_cut(self.snapshot.parity));
            walk.open = None;
        }
    }

    /// An entry in its table is about to change: a snapshot that has yet to see it sees it now.
    #[inline]
    pub(super) fn keep(&mut self, db: usize, slot: Slot, place: Place) {
        if self.snapshot.walk.is_some() {
            self.keep_in_place(db, slot, place);
        }
    }

    #[cold]
    fn keep_in_place(&mut self, db: usize, slot: Slot, place: Place) {
        let Snapshot { parity, walk: Some(walk) } = &mut self.snapshot else { return };
        let number = self.databases[db].cut_number;
        let Some(table) = self.databases[db].table_mut(slot.index()) else { return };
        if table.entry(place).cut() != *parity {
            walk.give(number, slot, table.entry(place), &self.access);
            table.with_entry(place, |entry| entry.set_cut(*parity));
        }
    }

    /// The same for an entry that has just left its table.
    #[inline]
    pub(super) fn keep_removed(&mut self, db: usize, slot: Slot, entry: &EntryBox) {
        let Snapshot { parity, walk: Some(walk) } = &mut self.snapshot else { return };
        if entry.borrow().cut() != *parity {
            walk.give(self.databases[db].cut_number, slot, entry.borrow(), &self.access);
        }
    }

    /// The same for all entries of a slot.
    pub(super) fn keep_slot(&mut self, db: usize, slot: Slot) {
        let Snapshot { parity, walk: Some(walk) } = &mut self.snapshot else { return };
        let (number, access) = (self.databases[db].cut_number, &self.access);
        let Some(table) = self.databases[db].table_mut(slot.index()) else { return };
        mark_table(table, *parity, &mut |entry| {
            walk.give(number, slot, entry, access);
        });
    }

    /// Takes an entry out of its table: the one way in which entries leave one by one.
    #[inline]
    pub(super) fn cut_out(&mut self, db: usize, slot: Slot, place: Place) -> EntryBox {
        let entry = self.databases[db].edit(slot.index(), |table| table.remove(place));
        self.keep_removed(db, slot, &entry);
        entry
    }

    /// Puts an entry into its table, whose key is not there: the one way in which entries come one by one.
    #[inline]
    pub(super) fn put_in(&mut self, db: usize, slot: Slot, hash: u64, mut entry: EntryBox) -> Place {
        entry.set_cut(self.snapshot.parity);
        let hasher = &self.hasher;
        self.databases[db].edit(slot.index(), |table| table.insert(hash, entry, hasher))
    }
}
