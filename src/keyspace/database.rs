//! One database on one core: a table for each slot, and what is known about all of them together.

use super::table::SlotTable;
use crate::base::slot::{SLOTS_COUNT, SlotSet};

/// Slots of one word of a bitmap, which are also one group of [`Database::len_by_group`].
const GROUP_SLOTS: usize = u64::BITS as usize;
const GROUPS_COUNT: usize = SLOTS_COUNT / GROUP_SLOTS;

/// Tables and counts. The arrays are allocated with the first key and stay.
#[derive(Default)]
pub(super) struct Database {
    tables: Vec<SlotTable>,
    /// Slots that have keys, and those that have keys with an expiry: one bit each.
    occupied: Vec<u64>,
    volatile: Vec<u64>,
    /// Keys of each 64 slots, to find the slot of the n-th key; and those with an expiry.
    len_by_group: Vec<u64>,
    volatile_by_group: Vec<u64>,
    len: u64,
    volatile_len: u64,
    /// Slots whose keys are here and are shown to nobody: no count and no bitmap above has them. And those of them with keys, one
    /// bit each. Both are empty while there are none.
    hidden: Vec<u64>,
    hidden_occupied: Vec<u64>,
    hidden_len: u64,
    /// The number that it had when the last snapshot began: SWAPDB exchanges whole databases.
    pub cut_number: usize,
}

impl Database {
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn volatile_len(&self) -> u64 {
        self.volatile_len
    }

    #[inline]
    pub fn table(&self, slot: usize) -> Option<&SlotTable> {
        self.tables.get(slot)
    }

    /// For changes that leave the numbers of keys and of volatile keys as they are.
    #[inline]
    pub fn table_mut(&mut self, slot: usize) -> Option<&mut SlotTable> {
        self.tables.get_mut(slot)
    }

    /// For changes of any kind: the counts follow.
    pub fn edit<R>(&mut self, slot: usize, change: impl FnOnce(&mut SlotTable) -> R) -> R {
        if self.tables.is_empty() {
            self.allocate();
        }
        let table = &mut self.tables[slot];
        let (len, volatile) = (table.len(), table.volatile_len());
        let result = change(table);
        let (new_len, new_volatile) = (table.len(), table.volatile_len());
        let (group, bit) = (slot / GROUP_SLOTS, 1 << (slot % GROUP_SLOTS));
        if self.hidden.get(group).is_some_and(|word| word & bit != 0) {
            self.hidden_len = self.hidden_len - len + new_len;
            set_bit(&mut self.hidden_occupied[group], bit, new_len > 0);
            return result;
        }
        if new_len != len {
            self.len = self.len - len + new_len;
            self.len_by_group[group] = self.len_by_group[group] - len + new_len;
            set_bit(&mut self.occupied[group], bit, new_len > 0);
        }
        if new_volatile != volatile {
            self.volatile_len = self.volatile_len - volatile + new_volatile;
            self.volatile_by_group[group] = self.volatile_by_group[group] - volatile + new_volatile;
            set_bit(&mut self.volatile[group], bit, new_volatile > 0);
        }
        result
    }

    fn allocate(&mut self) {
        self.tables.resize_with(SLOTS_COUNT, SlotTable::new);
        self.occupied = vec![0; GROUPS_COUNT];
        self.volatile = vec![0; GROUPS_COUNT];
        self.len_by_group = vec![0; GROUPS_COUNT];
        self.volatile_by_group = vec![0; GROUPS_COUNT];
    }

    /// The first slot from `from` on that has keys.
    pub fn next_occupied(&self, from: usize) -> Option<usize> {
        next_bit(&self.occupied, from)
    }

    /// The first slot from `from` on that has keys with an expiry.
    pub fn next_volatile(&self, from: usize) -> Option<usize> {
        next_bit(&self.volatile, from)
    }

    /// As `next_occupied`, with those that are hidden.
    pub fn next_held(&self, from: usize) -> Option<usize> {
        let hidden = next_bit(&self.hidden_occupied, from);
        match (self.next_occupied(from), hidden) {
            (Some(shown), Some(hidden)) => Some(shown.min(hidden)),
            (shown, hidden) => shown.or(hidden),
        }
    }

    /// Keys of hidden slots.
    pub fn hidden_len(&self) -> u64 {
        self.hidden_len
    }

    /// Hides the keys of these slots and of no others.
    pub fn hide(&mut self, slots: &SlotSet) {
        let wanted = if slots.is_empty() { Vec::new() } else { slots.words().to_vec() };
        if wanted == self.hidden {
            return;
        }
        let is_in = |words: &[u64], slot: usize| {
            words.get(slot / GROUP_SLOTS).is_some_and(|word| word >> (slot % GROUP_SLOTS) & 1 == 1)
        };
        let old = std::mem::take(&mut self.hidden);
        let changed: Vec<usize> = (0..SLOTS_COUNT).filter(|slot| is_in(&old, *slot) != is_in(&wanted, *slot)).collect();
        // Each table goes out as what it was and comes in as what it is.
        self.hidden = old;
        let mut tables: Vec<(usize, SlotTable)> = Vec::new();
        for slot in changed {
            if self.tables.get(slot).is_some_and(|table| !table.is_empty()) {
                tables.push((slot, self.edit(slot, std::mem::take)));
            }
        }
        self.hidden_occupied.resize(wanted.len(), 0);
        self.hidden = wanted;
        for (slot, table) in tables {
            self.edit(slot, |place| *place = table);
        }
    }

    /// The slot of the n-th key (from 0) in order of slots.
    pub fn slot_of_nth(&self, n: u64) -> Option<usize> {
        self.nth(n, &self.len_by_group, SlotTable::len)
    }

    /// The slot of the n-th key that has an expiry (from 0) in order of slots.
    pub fn slot_of_nth_volatile(&self, n: u64) -> Option<usize> {
        self.nth(n, &self.volatile_by_group, SlotTable::volatile_len)
    }

    fn nth(&self, n: u64, by_group: &[u64], count: fn(&SlotTable) -> u64) -> Option<usize> {
        let mut left = n;
        let mut is_here = |count: u64| {
            let here = left < count;
            left -= if here { 0 } else { count };
            here
        };
        let group = by_group.iter().position(|&count| is_here(count))?;
        let slots = group * GROUP_SLOTS..(group + 1) * GROUP_SLOTS;
        slots.into_iter().find(|&slot| is_here(count(&self.tables[slot])))
    }

    /// Takes all tables out; the database is empty after. One that has been used keeps the arrays it had: else its next key would
    /// cost half a megabyte, which matters where memory is limited.
    pub fn take_tables(&mut self) -> Vec<SlotTable> {
        let mut fresh = Database { cut_number: self.cut_number, ..Database::default() };
        fresh.hidden_occupied = vec![0; self.hidden_occupied.len()];
        fresh.hidden = std::mem::take(&mut self.hidden);
        let tables = std::mem::replace(self, fresh).tables;
        if !tables.is_empty() {
            self.allocate();
        }
        tables
    }

    /// Bytes of everything but the entries.
    pub fn overhead_bytes(&self) -> usize {
        let groups = self.len_by_group.len() + self.volatile_by_group.len();
        let bitmaps = (self.occupied.len() + self.volatile.len() + groups) * size_of::<u64>();
        let occupied = std::iter::successors(self.next_occupied(0), |slot| self.next_occupied(slot + 1));
        let tables: usize = occupied.map(|slot| self.tables[slot].overhead_bytes()).sum();
        bitmaps + self.tables.len() * size_of::<SlotTable>() + tables
    }
}

#[cfg(test)]
impl Database {
    /// Asserts everything that must hold between calls.
    pub fn check(&self, hasher: &impl super::table::KeyHash) {
        let (mut len, mut volatile, mut hidden) = (0, 0, 0);
        for (slot, table) in self.tables.iter().enumerate() {
            if !table.is_empty() {
                table.check(hasher);
            }
            let is_set = |words: &[u64]| words[slot / GROUP_SLOTS] >> (slot % GROUP_SLOTS) & 1 == 1;
            if !self.hidden.is_empty() && is_set(&self.hidden) {
                assert!(!is_set(&self.occupied) && !is_set(&self.volatile));
                assert_eq!(is_set(&self.hidden_occupied), !table.is_empty());
                hidden += table.len();
                continue;
            }
            assert_eq!(is_set(&self.occupied), !table.is_empty());
            assert_eq!(is_set(&self.volatile), table.volatile_len() > 0);
            len += table.len();
            volatile += table.volatile_len();
        }
        assert_eq!((len, volatile, hidden), (self.len, self.volatile_len, self.hidden_len));
        assert_eq!(self.len_by_group.iter().sum::<u64>(), len);
        assert_eq!(self.volatile_by_group.iter().sum::<u64>(), volatile);
    }
}

fn set_bit(word: &mut u64, bit: u64, on: bool) {
    *word = if on { *word | bit } else { *word & !bit };
}

fn next_bit(words: &[u64], from: usize) -> Option<usize> {
    let first = from / GROUP_SLOTS;
    let mut mask = u64::MAX << (from % GROUP_SLOTS);
    for (group, word) in words.iter().enumerate().skip(first) {
        let word = word & mask;
        if word != 0 {
            return Some(group * GROUP_SLOTS + word.trailing_zeros() as usize);
        }
        mask = u64::MAX;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sum;

    impl super::super::table::KeyHash for Sum {
        fn hash(&self, key: &[u8]) -> u64 {
            key.iter().fold(7, |sum: u64, byte| sum.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(*byte))
        }
    }

    #[test]
    fn what_is_hidden_is_in_no_count_and_comes_back_as_it_was() {
        use super::super::entry::{EntryBox, NewValue};
        use super::super::table::KeyHash;
        let mut database = Database::default();
        let put = |database: &mut Database, slot: usize, key: &[u8]| {
            let expiry = (slot % 2 == 1).then_some(5);
            let entry = EntryBox::new(key, NewValue::Integer(1), false, expiry, 0);
            database.edit(slot, |table| table.insert(Sum.hash(key), entry, &Sum));
        };
        let slots = |list: &[u16]| list.iter().copied().map(crate::base::slot::Slot::new).collect::<SlotSet>();
        database.hide(&slots(&[5, 6]));
        (0..10).for_each(|slot| put(&mut database, slot, b"a"));
        (4..6).for_each(|slot| put(&mut database, slot, b"b"));
        database.check(&Sum);
        assert_eq!((database.len(), database.volatile_len(), database.hidden_len()), (9, 4, 3));
        assert_eq!(
            (database.next_occupied(5), database.next_held(5), database.next_volatile(4)),
            (Some(7), Some(5), Some(7))
        );
        database.hide(&slots(&[6, 9]));
        database.check(&Sum);
        assert_eq!((database.len(), database.volatile_len(), database.hidden_len()), (10, 5, 2));
        let tables = database.take_tables();
        assert_eq!(tables.iter().map(SlotTable::len).sum::<u64>(), 12);
        put(&mut database, 9, b"c");
        assert_eq!((database.len(), database.hidden_len()), (0, 1));
        database.hide(&SlotSet::new());
        database.check(&Sum);
        assert_eq!((database.len(), database.volatile_len(), database.hidden_len()), (1, 1, 0));
    }

    #[test]
    fn next_bit_crosses_words_and_ends() {
        let words = [0, 1 << 63, 0, 1];
        assert_eq!(next_bit(&words, 0), Some(127));
        assert_eq!(next_bit(&words, 127), Some(127));
        assert_eq!(next_bit(&words, 128), Some(192));
        assert_eq!(next_bit(&words, 193), None);
        assert_eq!(next_bit(&words, 500), None);
        assert_eq!(next_bit(&[], 0), None);
    }
}
