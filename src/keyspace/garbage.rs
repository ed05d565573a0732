//! What was unlinked and waits to be freed in slices.

use std::collections::VecDeque;

use super::entry::EntryBox;
use super::object::Object;
use super::table::SlotTable;
use super::value::Value;

/// A collection whose freeing takes more allocations than this goes to the background.
const EFFORT_MAX: usize = 64;

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

/// First in, first out.
#[derive(Default)]
pub(super) struct Garbage {
    tables: VecDeque<Vec<SlotTable>>,
    /// Big collections; the first may be half gone.
    objects: VecDeque<Object>,
    pending: u64,
    /// The first of what waits has just come: who removed it is answered before the work on it begins.
    is_new: bool,
}

impl Garbage {
    /// Entries that wait.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    pub fn dispose_tables(&mut self, tables: Vec<SlotTable>, disposal: Disposal) {
        if disposal == Disposal::Background {
            self.add(tables.iter().map(SlotTable::len).sum());
            self.tables.push_back(tables);
        }
    }

    /// A single entry. Strings and small collections are freed at once: that costs no more than to queue them.
    pub fn dispose_entry(&mut self, entry: EntryBox, disposal: Disposal) {
        if disposal == Disposal::Background && self.queue_if_big(entry) {
            self.add(1);
        }
    }

    fn add(&mut self, entries: u64) {
        self.is_new |= self.pending == 0;
        self.pending += entries;
    }

    /// Takes a large collection out of its entry, whose value is about to be replaced.
    pub fn dispose_content(&mut self, object: &mut Object) {
        if object.free_effort() > EFFORT_MAX {
            self.objects.push_back(std::mem::replace(object, Object::Set(Default::default())));
            self.add(1);
        }
    }

    /// Frees the entry, or queues what is big of it; whether it did the latter.
    fn queue_if_big(&mut self, mut entry: EntryBox) -> bool {
        let is_big = matches!(entry.borrow().value(), Value::Object(object) if object.free_effort() > EFFORT_MAX);
        let big = if is_big { entry.take_object() } else { None };
        self.objects.extend(big);
        is_big
    }

    /// Frees up to `budget` allocations, about; returns how many entries are gone with them. The first call after nothing has
    /// waited frees nothing: it comes in the turn of the command, before its reply leaves.
    pub fn free(&mut self, mut budget: usize) -> u64 {
        let mut freed = 0;
        if std::mem::take(&mut self.is_new) {
            return 0;
        }
        while budget > 0 {
            if let Some(object) = self.objects.front_mut() {
                if object.dismantle(&mut budget) {
                    self.objects.pop_front();
                    freed += 1;
                }
                continue;
            }
            let Some(tables) = self.tables.front_mut() else {
                break;
            };
            let Some(table) = tables.last_mut() else {
                self.tables.pop_front();
                continue;
            };
            let Some(entry) = table.pop() else {
                tables.pop();
                continue;
            };
            budget -= 1;
            freed += u64::from(!self.queue_if_big(entry));
        }
        self.pending -= freed;
        if self.pending == 0 {
            self.tables.clear();
        }
        freed
    }
}

#[cfg(test)]
mod tests {
    use super::super::Collection;
    use super::super::entry::NewValue;
    use super::super::hash::{Hash, HashLimits};
    use super::super::list::List;
    use super::super::sorted_set::SortedSet;
    use super::super::stream::Stream;
    use super::*;

    const ELEMENTS: usize = 20_000;
    const LIMITS: HashLimits = HashLimits { entries: 128, value_bytes: 64 };

    fn entry(object: Object) -> EntryBox {
        EntryBox::new(b"key", NewValue::Object(Box::new(object)), false, None, 0)
    }

    /// Frees everything in slices of 10 and returns how many there were.
    fn slices_of(garbage: &mut Garbage) -> usize {
        let mut slices = 0;
        while garbage.pending() > 0 {
            garbage.free(10);
            slices += 1;
            assert!(slices < 2 * ELEMENTS, "each slice leaves less to do");
        }
        slices
    }

    fn big_hash() -> Hash {
        let mut hash = Hash::default();
        (0..ELEMENTS).for_each(|number| {
            hash.set(number.to_string().as_bytes(), b"value", LIMITS);
        });
        hash
    }

    #[test]
    fn a_big_collection_goes_in_slices() {
        let mut garbage = Garbage::default();
        garbage.dispose_entry(entry(big_hash().into_object()), Disposal::Background);
        assert_eq!(garbage.pending(), 1);
        assert!(slices_of(&mut garbage) > 10);
        assert_eq!(garbage.pending(), 0);
    }

    #[test]
    fn the_turn_that_removes_frees_nothing_yet_unless_something_waits_already() {
        let mut garbage = Garbage::default();
        let tables = || {
            let mut tables = Vec::new();
            tables.resize_with(1, SlotTable::default);
            tables
        };
        garbage.dispose_entry(entry(big_hash().into_object()), Disposal::Background);
        assert_eq!((garbage.free(usize::MAX), garbage.pending()), (0, 1));
        garbage.dispose_entry(entry(big_hash().into_object()), Disposal::Background);
        assert_eq!((garbage.free(usize::MAX), garbage.pending()), (2, 0));
        garbage.dispose_tables(tables(), Disposal::Background);
        assert_eq!((garbage.free(1), garbage.pending()), (0, 0));
    }

    #[test]
    fn small_ones_and_those_removed_at_once_do_not_wait() {
        let mut garbage = Garbage::default();
        garbage.dispose_entry(entry(List::default().into_object()), Disposal::Background);
        garbage.dispose_entry(entry(SortedSet::default().into_object()), Disposal::Background);
        garbage.dispose_entry(entry(Stream::default().into_object()), Disposal::Background);
        garbage.dispose_entry(entry(big_hash().into_object()), Disposal::Now);
        assert_eq!(garbage.pending(), 0);
    }
}
