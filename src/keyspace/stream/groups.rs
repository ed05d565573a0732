//! Consumer groups of a stream: how far each has read, who its consumers are, and which entries wait to be acknowledged.
//!
//! A pending entry stands once in its group, by id, and names its consumer by a small number; each consumer has the set of
//! its own ids. Both are changed together and only here.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use slab::Slab;

use super::id::StreamId;
use super::log::Log;

/// The groups of a stream by name. Most streams have none: that takes no memory.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    #[expect(clippy::box_collection, reason = "three words more in every object, for groups that few streams have")]
    by_name: Option<Box<BTreeMap<Box<[u8]>, Group>>>,
}

impl Groups {
    pub fn len(&self) -> usize {
        self.by_name.as_ref().map_or(0, |groups| groups.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, name: &[u8]) -> Option<&Group> {
        self.by_name.as_ref()?.get(name)
    }

    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.by_name.as_mut()?.get_mut(name)
    }

    /// Groups in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Group)> {
        self.by_name.iter().flat_map(|groups| groups.iter()).map(|(name, group)| (&**name, group))
    }

    /// Adds a group; false when there is one of this name.
    pub fn create(&mut self, name: &[u8], group: Group) -> bool {
        let groups = self.by_name.get_or_insert_default();
        if groups.contains_key(name) {
            return false;
        }
        groups.insert(name.into(), group);
        true
    }

    /// Removes a group; whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.by_name.as_mut().is_some_and(|groups| groups.remove(name).is_some())
    }

    /// Bytes allocated, about.
    pub fn memory_bytes(&self) -> usize {
        self.iter().map(|(name, group)| name.len() + group.memory_bytes()).sum()
    }

    /// Frees groups, for `Object::dismantle`.
    pub(super) fn dismantle(&mut self, budget: &mut usize) -> bool {
        let Some(groups) = &mut self.by_name else { return true };
        while let Some(mut first) = groups.first_entry() {
            if !first.get_mut().dismantle(budget) {
                return false;
            }
            first.remove();
        }
        true
    }
}

/// A consumer's number within its group; another consumer may get it once this one is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerId(u32);

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// When it was delivered last, in unix milliseconds.
    pub delivered_ms: i64,
    pub deliveries: i64,
    pub consumer: ConsumerId,
}

#[derive(Clone, Debug)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it last asked for something, in unix milliseconds.
    pub seen_ms: i64,
    /// When it last got something new, in unix milliseconds; -1 for never.
    pub active_ms: i64,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Ids of the entries that wait for it.
    pub fn pending(&self) -> &BTreeSet<StreamId> {
        &self.pending
    }
}

/// A consumer group.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The last entry that was delivered.
    pub last_id: StreamId,
    /// How many entries of the stream were read, deleted ones included; `None` when that is not known.
    pub entries_read: Option<i64>,
    pending: BTreeMap<StreamId, Pending>,
    consumers: Slab<Consumer>,
    by_name: BTreeMap<Box<[u8]>, ConsumerId>,
}

impl Group {
    pub fn new(last_id: StreamId, entries_read: Option<i64>) -> Group {
        Group { last_id, entries_read, ..Group::default() }
    }

    /// Entries that wait to be acknowledged.
    pub fn pending(&self) -> &BTreeMap<StreamId, Pending> {
        &self.pending
    }

    /// Consumers in the order of their names.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = &Consumer> {
        self.by_name.values().map(|id| self.consumer(*id))
    }

    pub fn find_consumer(&self, name: &[u8]) -> Option<ConsumerId> {
        self.by_name.get(name).copied()
    }

    /// # Panics
    /// When the consumer is gone: pending entries never name one that is.
    pub fn consumer(&self, id: ConsumerId) -> &Consumer {
        &self.consumers[id.0 as usize]
    }

    /// As [`Group::consumer`], to set its times.
    pub fn consumer_mut(&mut self, id: ConsumerId) -> &mut Consumer {
        &mut self.consumers[id.0 as usize]
    }

    /// The consumer of this name, and whether it had to be created.
    pub fn consumer_or_new(&mut self, name: &[u8], now_ms: i64) -> (ConsumerId, bool) {
        if let Some(id) = self.find_consumer(name) {
            return (id, false);
        }
        let consumer = Consumer { name: name.into(), seen_ms: now_ms, active_ms: -1, pending: BTreeSet::new() };
        let id = ConsumerId(u32::try_from(self.consumers.insert(consumer)).expect("fewer than 2^32 consumers"));
        self.by_name.insert(name.into(), id);
        (id, true)
    }

    /// Removes a consumer with all that waits for it; how many entries that were, `None` when there is no such consumer.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let id = self.by_name.remove(name)?;
        let consumer = self.consumers.remove(id.0 as usize);
        for entry in &consumer.pending {
            self.pending.remove(entry);
        }
        Some(consumer.pending.len())
    }

    /// Notes that the group has read on to `id`, if that is news, and keeps count of what it has read.
    pub fn advance(&mut self, log: &Log, id: StreamId) {
        if id <= self.last_id {
            return;
        }
        match self.entries_read {
            Some(read) if !log.has_gaps_from(id) => self.entries_read = Some(read.wrapping_add(1)),
            _ if log.entries_added() > 0 => self.entries_read = log.entries_added_up_to(id),
            _ => {}
        }
        self.last_id = id;
    }

    /// How many entries are there for the group to read; `None` when that cannot be told.
    pub fn lag(&self, log: &Log) -> Option<i64> {
        let added = log.entries_added().cast_signed();
        if added == 0 {
            return Some(0);
        }
        match self.entries_read {
            Some(read) if !log.has_gaps_from(self.last_id) => Some(added.wrapping_sub(read)),
            _ => log.entries_added_up_to(self.last_id).map(|read| added.wrapping_sub(read)),
        }
    }

    /// The entry waits for the consumer, delivered for the first time, whoever had it before.
    pub fn deliver(&mut self, id: StreamId, consumer: ConsumerId, now_ms: i64) {
        self.assign(id, Pending { delivered_ms: now_ms, deliveries: 1, consumer });
        self.consumer_mut(consumer).active_ms = now_ms;
    }

    /// A pending entry was given to its consumer once more.
    pub fn redeliver(&mut self, id: StreamId, now_ms: i64) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.delivered_ms = now_ms;
            pending.deliveries = pending.deliveries.wrapping_add(1);
        }
    }

    /// Makes `pending` what is known of an entry, and moves it to its consumer.
    pub fn assign(&mut self, id: StreamId, pending: Pending) {
        match self.pending.entry(id) {
            Entry::Vacant(place) => {
                place.insert(pending);
            }
            Entry::Occupied(mut place) => {
                let old = place.insert(pending);
                if old.consumer == pending.consumer {
                    return;
                }
                self.consumers[old.consumer.0 as usize].pending.remove(&id);
            }
        }
        self.consumers[pending.consumer.0 as usize].pending.insert(id);
    }

    /// The entry waits no longer; whether it did.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        self.consumers[pending.consumer.0 as usize].pending.remove(&id);
        true
    }

    /// Bytes allocated, about: both orders of pending entries with the maps' spare places.
    fn memory_bytes(&self) -> usize {
        let pending = self.pending.len() * (2 * size_of::<StreamId>() + size_of::<Pending>()) * 3 / 2;
        let names: usize = self.by_name.keys().map(|name| 2 * name.len()).sum();
        let consumers = self.by_name.len() * (size_of::<Consumer>() + size_of::<(Box<[u8]>, ConsumerId)>() * 3 / 2);
        size_of::<Group>() + pending + names + consumers
    }

    /// Frees what is pending, then one consumer after the other. Whether all is gone.
    fn dismantle(&mut self, budget: &mut usize) -> bool {
        while *budget > 0 && self.pending.pop_first().is_some() {
            *budget -= 1;
        }
        while *budget > 0
            && let Some(consumer) = self.by_name.first_entry()
        {
            let pending = &mut self.consumers[consumer.get().0 as usize].pending;
            while *budget > 0 && pending.pop_first().is_some() {
                *budget -= 1;
            }
            if pending.is_empty() {
                *budget = budget.saturating_sub(1);
                self.consumers.remove(consumer.remove().0 as usize);
            }
        }
        self.pending.is_empty() && self.by_name.is_empty()
    }
}
