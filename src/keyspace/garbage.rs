//! What was unlinked and waits to be freed in slices.

use std::collections::VecDeque;

use super::entry::EntryBox;
use super::object::Object;
use super::table::SlotTable;
use super::value::Value;

/// A collection that takes more allocations than this is worth freeing later (Redis's LAZYFREE_THRESHOLD).
const BACKGROUND_EFFORT_MIN: usize = 64;

/// When the memory of what was removed is given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposal {
    /// Before the call returns.
    Now,
    /// In slices, by `Keyspace::free_slice`, unless that would be more work than freeing it at once.
    Background,
}

/// How what nobody asked to be removed is freed: the `lazyfree-lazy-...` settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LazyFree {
    /// Keys whose time has come.
    pub expired: Disposal,
    /// Values that a command replaces.
    pub replaced: Disposal,
}

impl Default for LazyFree {
    fn default() -> LazyFree {
        LazyFree { expired: Disposal::Now, replaced: Disposal::Now }
    }
}

/// Single values and whole tables, each first in, first out.
#[derive(Default)]
pub(super) struct Garbage {
    values: VecDeque<Waiting>,
    tables: VecDeque<Vec<SlotTable>>,
    pending: u64,
}

/// A value that waits.
enum Waiting {
    Entry(EntryBox),
    Object(Object),
}

impl Garbage {
    /// Entries that wait.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    pub fn dispose_tables(&mut self, tables: Vec<SlotTable>, disposal: Disposal) {
        if disposal == Disposal::Background {
            self.pending += tables.iter().map(SlotTable::len).sum::<u64>();
            self.tables.push_back(tables);
        }
    }

    /// A single entry. Only one with a large collection waits: for the others that costs no more than to queue them.
    pub fn dispose_entry(&mut self, entry: EntryBox, disposal: Disposal) {
        if disposal == Disposal::Background && effort(&entry) > BACKGROUND_EFFORT_MIN {
            self.wait(Waiting::Entry(entry));
        }
    }

    /// Takes a large collection out of its entry, whose value is about to be replaced.
    pub fn dispose_content(&mut self, object: &mut Object) {
        if object.free_effort() > BACKGROUND_EFFORT_MIN {
            let object = std::mem::replace(object, Object::Set(Default::default()));
            self.wait(Waiting::Object(object));
        }
    }

    fn wait(&mut self, waiting: Waiting) {
        self.pending += 1;
        self.values.push_back(waiting);
    }

    /// Frees entries that take up to `budget` allocations, one collection more at most; returns how many it freed.
    pub fn free(&mut self, budget: usize) -> u64 {
        let (mut freed, mut spent) = (0, 0);
        while spent < budget
            && let Some(cost) = self.free_one()
        {
            freed += 1;
            spent += cost;
        }
        self.pending -= freed;
        if self.pending == 0 {
            self.tables.clear();
        }
        freed
    }

    /// Frees one value, and says how many allocations it took.
    fn free_one(&mut self) -> Option<usize> {
        if let Some(waiting) = self.values.pop_front() {
            return Some(match waiting {
                Waiting::Entry(entry) => effort(&entry),
                Waiting::Object(object) => object.free_effort(),
            });
        }
        loop {
            let tables = self.tables.front_mut()?;
            match tables.last_mut().map(SlotTable::pop) {
                Some(Some(entry)) => return Some(effort(&entry)),
                Some(None) => drop(tables.pop()),
                None => drop(self.tables.pop_front()),
            }
        }
    }
}

/// How many allocations freeing the entry takes, about; at least 1.
fn effort(entry: &EntryBox) -> usize {
    match entry.borrow().value() {
        Value::Object(object) => object.free_effort().max(1),
        Value::String(_) => 1,
    }
}
