//! A map from bytes to bytes for the large forms of hashes, sets and sorted sets.

use hashbrown::HashMap;

use crate::base::random::Random;

/// Keys and values, both any bytes; a set has empty values.
#[derive(Clone, Debug, Default)]
pub struct PackedMap {
    entries: HashMap<Box<[u8]>, Box<[u8]>, ahash::RandomState>,
}

impl PackedMap {
    pub fn new() -> PackedMap {
        PackedMap::default()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value at `key`.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.entries.get(key).map(|value| &**value)
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Sets the value at `key`; true when the key is new.
    pub fn insert(&mut self, key: &[u8], value: &[u8]) -> bool {
        self.entries.insert(key.into(), value.into()).is_none()
    }

    /// Removes `key`; whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.entries.remove(key).is_some()
    }

    /// Every entry once, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Any entry, each with the same probability; `None` when there is none.
    pub fn random(&self, random: &mut Random) -> Option<(&[u8], &[u8])> {
        let nth = random.below(self.len().max(1) as u64) as usize;
        self.iter().nth(nth)
    }

    /// Visits entries from `cursor` (0 at the beginning) on until about `count` were visited; returns where to go on, 0 at the
    /// end. An entry that is there from the first call to the last is visited at least once.
    pub fn scan(&self, _cursor: u64, _count: usize, visit: &mut dyn FnMut(&[u8], &[u8])) -> u64 {
        self.iter().for_each(|(key, value)| visit(key, value));
        0
    }

    /// Bytes allocated.
    pub fn memory_bytes(&self) -> usize {
        self.iter().map(|(key, value)| key.len() + value.len() + 32).sum()
    }

    /// Allocations, about.
    pub fn free_effort(&self) -> usize {
        self.len()
    }
}
