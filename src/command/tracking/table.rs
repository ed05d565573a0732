//! Who keeps copies of which keys, as far as one core knows.
//!
//! Keys read by clients in default mode are known where the keys are: their owner remembers the reader and marks the key. Prefixes
//! of clients in broadcasting mode are known on every core, and every core tells of its own keys.

use bytes::Bytes;
use hashbrown::HashMap;

use crate::base::slot::{Slot, SlotSet, key_slot};
use crate::command::client::ClientRef;
use crate::keyspace::Keyspace;

/// Who has read the keys of one slot. Kept by slot, so that those of one are found without looking at the others.
type SlotReaders = HashMap<(usize, Bytes), HashMap<u64, ClientRef>>;

/// Who has read keys of some slots, on its way to another core.
pub struct MovedReaders(Vec<(Slot, SlotReaders)>);

/// The tables of one core.
#[derive(Default)]
pub struct TrackingTable {
    readers: HashMap<Slot, SlotReaders>,
    keys_count: usize,
    readers_count: usize,
    prefixes: HashMap<Bytes, Prefix>,
    /// Some prefix has gathered keys.
    has_news: bool,
}

/// Who listens to a prefix, and the keys that have changed since they were told, each with the client that changed it last.
#[derive(Default)]
struct Prefix {
    clients: HashMap<u64, ClientRef>,
    changed: HashMap<Bytes, u64>,
}

/// Keys to be told to clients, each with the client that changed it (0: none).
pub struct Changes {
    pub to: Vec<ClientRef>,
    pub keys: Vec<(Bytes, u64)>,
}

impl TrackingTable {
    /// Keys that somebody has read.
    pub fn keys_count(&self) -> usize {
        self.keys_count
    }

    /// Pairs of such a key and a client.
    pub fn items_count(&self) -> usize {
        self.readers_count
    }

    /// Prefixes that somebody listens to.
    pub fn prefixes_count(&self) -> usize {
        self.prefixes.len()
    }

    pub fn has_prefixes(&self) -> bool {
        !self.prefixes.is_empty()
    }

    /// A client has read a key of this core.
    pub fn remember(&mut self, keyspace: &mut Keyspace, db: usize, key: &[u8], client: ClientRef) {
        let of_slot = self.readers.entry(key_slot(key)).or_default();
        let readers = of_slot.entry((db, Bytes::copy_from_slice(key))).or_default();
        if readers.is_empty() {
            keyspace.mark(db, key);
            self.keys_count += 1;
        }
        if readers.insert(client.id, client).is_none() {
            self.readers_count += 1;
        }
    }

    /// A key has changed, by this client (0: by none): returns who has read it, and gathers it for those who listen to its
    /// prefixes.
    pub fn key_changed(&mut self, keyspace: &mut Keyspace, db: usize, key: &[u8], by: u64) -> Vec<ClientRef> {
        for (prefix, listeners) in &mut self.prefixes {
            if key.starts_with(prefix) {
                listeners.changed.insert(Bytes::copy_from_slice(key), by);
                self.has_news = true;
            }
        }
        if self.readers.is_empty() {
            return Vec::new();
        }
        self.forget(keyspace, &(db, Bytes::copy_from_slice(key)))
    }

    /// Forgets a key and returns who has read it.
    fn forget(&mut self, keyspace: &mut Keyspace, place: &(usize, Bytes)) -> Vec<ClientRef> {
        let slot = key_slot(&place.1);
        let Some(of_slot) = self.readers.get_mut(&slot) else { return Vec::new() };
        let Some(readers) = of_slot.remove(place) else { return Vec::new() };
        if of_slot.is_empty() {
            self.readers.remove(&slot);
        }
        keyspace.unmark(place.0, &place.1);
        self.keys_count -= 1;
        self.readers_count -= readers.len();
        readers.into_values().collect()
    }

    /// Takes out who has read keys of these slots.
    pub fn take_slots(&mut self, keyspace: &mut Keyspace, slots: &SlotSet) -> MovedReaders {
        let mut moved = Vec::new();
        if self.readers.is_empty() {
            return MovedReaders(moved);
        }
        for slot in slots.iter() {
            let Some(of_slot) = self.readers.remove(&slot) else { continue };
            for ((db, key), readers) in &of_slot {
                keyspace.unmark(*db, key);
                self.readers_count -= readers.len();
            }
            self.keys_count -= of_slot.len();
            moved.push((slot, of_slot));
        }
        MovedReaders(moved)
    }

    /// Puts in who has read them on another core.
    pub fn put_slots(&mut self, keyspace: &mut Keyspace, moved: MovedReaders) {
        for (slot, of_slot) in moved.0 {
            for ((db, key), readers) in &of_slot {
                keyspace.mark(*db, key);
                self.readers_count += readers.len();
            }
            self.keys_count += of_slot.len();
            let before = self.readers.insert(slot, of_slot);
            assert!(before.is_none(), "a slot's keys are read on one core");
        }
    }

    /// Forgets any one key while there are more than `keys_max`, and returns it with who has read it.
    pub fn forget_excess(&mut self, keyspace: &mut Keyspace, keys_max: usize) -> Option<(Bytes, Vec<ClientRef>)> {
        if self.keys_count <= keys_max {
            return None;
        }
        let place = self.readers.values().next()?.keys().next()?.clone();
        let readers = self.forget(keyspace, &place);
        Some((place.1, readers))
    }

    /// Forgets all keys: they have been flushed.
    pub fn clear(&mut self, keyspace: &mut Keyspace) {
        for (db, key) in std::mem::take(&mut self.readers).into_values().flat_map(HashMap::into_keys) {
            keyspace.unmark(db, &key);
        }
        (self.keys_count, self.readers_count) = (0, 0);
    }

    /// The client listens to a prefix from now on.
    pub fn add_prefix(&mut self, prefix: &[u8], client: ClientRef) {
        self.prefixes.entry(Bytes::copy_from_slice(prefix)).or_default().clients.insert(client.id, client);
    }

    /// The client no longer listens to a prefix.
    pub fn remove_prefix(&mut self, prefix: &[u8], client_id: u64) {
        if let Some(listeners) = self.prefixes.get_mut(prefix) {
            listeners.clients.remove(&client_id);
            if listeners.clients.is_empty() {
                self.prefixes.remove(prefix);
            }
        }
    }

    /// The client no longer listens to any prefix.
    pub fn remove_client(&mut self, client_id: u64) {
        self.prefixes.retain(|_, listeners| {
            listeners.clients.remove(&client_id);
            !listeners.clients.is_empty()
        });
    }

    /// Whether there is something to tell those who listen to prefixes.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.has_news
    }

    /// What has changed under each prefix since the last call.
    pub fn take_news(&mut self) -> Vec<Changes> {
        self.has_news = false;
        let changed = self.prefixes.values_mut().filter(|listeners| !listeners.changed.is_empty());
        changed
            .map(|listeners| Changes {
                to: listeners.clients.values().copied().collect(),
                keys: std::mem::take(&mut listeners.changed).into_iter().collect(),
            })
            .collect()
    }
}
