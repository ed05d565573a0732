//! Slots whose keys have all gone in one moment, while those who care about each key hear of it in parts.
//!
//! For slots that are another node's now: nobody finds the keys here any more from [`Keyspace::set_slot_aside`] on, which takes the same time
//! whatever is in the slot. Whoever called it takes their names with [`Keyspace::take_leavers`], and their memory is given back on the way.
//! `command::flush` does both, and sees to it that all names of a slot are told before a key can come to it again. A flush of all keys is
//! told as that: names that are left are nobody's business then.

use std::collections::VecDeque;

use super::Keyspace;
use super::garbage::Disposal;
use super::table::SlotTable;
use crate::base::slot::Slot;

/// First in, first out.
#[derive(Default)]
pub(super) struct Leavers(VecDeque<(Slot, SlotTable)>);

impl Keyspace {
    /// Takes all keys of a slot of database 0 out; how many there are.
    ///
    /// # Panics
    /// While a snapshot is under way: it may have still to see them.
    pub fn set_slot_aside(&mut self, slot: Slot) -> u64 {
        assert!(!self.is_in_snapshot(), "a snapshot has still to see the keys");
        self.note_marked(0, Some(slot));
        let table = self.databases[0].edit(slot.index(), std::mem::take);
        let removed = table.len();
        self.stats.dirty += removed;
        if removed > 0 {
            self.leavers.0.push_back((slot, table));
        }
        removed
    }

    /// Slots with names that are still to be told, in their order. One that was set aside twice comes twice.
    pub fn leaving_slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.leavers.0.iter().map(|(slot, _)| *slot)
    }

    /// The names of up to `max` of the keys that have been set aside: of this slot, or of the first. Empty when that has no more.
    pub fn take_leavers(&mut self, slot: Option<Slot>, max: usize) -> Vec<Box<[u8]>> {
        let mut names = Vec::new();
        let of_slot = |(of, _): &(Slot, SlotTable)| slot.is_none_or(|slot| slot == *of);
        while names.len() < max
            && let Some(at) = self.leavers.0.iter().position(of_slot)
        {
            match self.leavers.0[at].1.pop() {
                Some(entry) => {
                    names.push(entry.borrow().key().into());
                    self.garbage.dispose_entry(entry, Disposal::Background);
                }
                None => _ = self.leavers.0.remove(at),
            }
        }
        names
    }

    /// All keys are flushed: who cares about one of them hears that.
    pub(super) fn forget_leavers(&mut self, disposal: Disposal) {
        let tables = self.leavers.0.drain(..).map(|(_, table)| table).collect::<Vec<_>>();
        if !tables.is_empty() {
            self.garbage.dispose_tables(tables, disposal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Key;
    use super::super::model_tests::{check, keyspace};
    use super::*;

    fn with_keys(count: usize) -> (Keyspace, Slot) {
        let mut keyspace = keyspace(1);
        for name in (0..count).map(|number| format!("{{tag}}{number}")).chain(["other".to_owned()]) {
            keyspace.write(0, Key::new(name.as_bytes())).set_string(b"v");
        }
        (keyspace, Key::new(b"{tag}").slot)
    }

    #[test]
    fn all_go_at_once_and_each_is_told_once() {
        let (mut keyspace, slot) = with_keys(1000);
        assert_eq!(keyspace.set_slot_aside(slot), 1000);
        assert_eq!((keyspace.len(0), keyspace.slot_len(0, slot)), (1, 0));
        check(&keyspace);
        let mut names = Vec::new();
        while keyspace.leaving_slots().next().is_some() {
            let part = keyspace.take_leavers(None, 64);
            assert!(part.len() <= 64);
            names.extend(part);
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 1000);
        assert_eq!(keyspace.set_slot_aside(slot), 0);
        assert!(keyspace.leaving_slots().next().is_none());
    }

    #[test]
    fn one_slot_can_be_told_before_the_others_and_a_flush_ends_all() {
        let (mut keyspace, slot) = with_keys(10);
        let other = Key::new(b"other").slot;
        keyspace.set_slot_aside(slot);
        keyspace.set_slot_aside(other);
        assert_eq!(keyspace.take_leavers(Some(other), usize::MAX), [b"other".as_slice().into()]);
        assert_eq!(keyspace.leaving_slots().collect::<Vec<_>>(), [slot]);
        keyspace.flush(None, Disposal::Background);
        assert_eq!(keyspace.lazyfree_pending(), 10);
        assert_eq!(keyspace.take_leavers(None, usize::MAX), Vec::<Box<[u8]>>::new());
    }
}
