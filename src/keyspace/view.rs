//! Looking at several values side by side: what commands with more than one source need.

use super::table::KeyHash;
use super::{Key, Keyspace, Value};

impl Keyspace {
    /// The value of a key, without any effect at all, so that values of several keys can be held at once: no statistics, no
    /// access date, and an expired key stays where it is, though it is not shown. Callers have come by [`Keyspace::read`]
    /// before.
    pub fn view(&self, db: usize, key: Key<'_>) -> Option<Value<'_>> {
        let table = self.databases[db].table(key.slot.index())?;
        let place = table.find(self.hasher.hash(key.bytes), key.bytes)?;
        let entry = table.entry(place);
        let expired = entry.expiry().is_some_and(|expiry| self.is_due(expiry));
        if expired { None } else { Some(entry.value()) }
    }
}
