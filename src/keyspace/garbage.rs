//! What was unlinked and waits to be freed in slices.

use std::collections::VecDeque;

use super::entry::EntryBox;
use super::table::SlotTable;

/// When the memory of what was removed is given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposal {
    /// Before the call returns.
    Now,
    /// In slices, by `Keyspace::free_slice`, unless that would be more work than freeing it at once.
    Background,
}

/// First in, first out.
#[derive(Default)]
pub(super) struct Garbage {
    tables: VecDeque<Vec<SlotTable>>,
    pending: u64,
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

    /// A single entry. Strings are freed at once: that costs no more than to queue them.
    pub fn dispose_entry(&mut self, entry: EntryBox, _disposal: Disposal) {
        drop(entry);
    }

    /// Frees up to `budget` entries; returns how many it freed.
    pub fn free(&mut self, budget: usize) -> u64 {
        let mut freed = 0;
        while freed < budget as u64 {
            let Some(tables) = self.tables.front_mut() else {
                break;
            };
            let Some(table) = tables.last_mut() else {
                self.tables.pop_front();
                continue;
            };
            if table.pop().is_some() {
                freed += 1;
            } else {
                tables.pop();
            }
        }
        self.pending -= freed;
        if self.pending == 0 {
            self.tables.clear();
        }
        freed
    }
}
