//! WATCH on one core: which of its keys clients watch, and whose have changed.
//!
//! The connection's core remembers on which cores a client watches something (`Client::watch_cores`); what is watched, and whether it
//! was touched, is known where the keys are, so that EXEC is decided without a race.

use hashbrown::HashMap;

use crate::base::slot::{SlotSet, key_slot};
use crate::keyspace::{Key, Keyspace};

/// Everything watched on one core.
#[derive(Default)]
pub struct Watches {
    by_key: HashMap<(usize, Box<[u8]>), Vec<u64>>,
    by_client: HashMap<u64, Watching>,
}

/// What one client watches.
#[derive(Default)]
struct Watching {
    keys: Vec<Watched>,
    touched: bool,
}

/// A key that a client watches.
struct Watched {
    place: (usize, Box<[u8]>),
    /// It was there when the watch began: its expiry is a change. One that was not and has come since has been noted then.
    was_there: bool,
}

/// What clients watch of some slots, on its way to another core.
pub struct MovedWatches(Vec<MovedWatch>);

struct MovedWatch {
    client_id: u64,
    watched: Watched,
    /// Something that the client watches was touched.
    touched: bool,
}

impl Watches {
    /// Takes out what clients watch of these slots.
    pub fn take_slots(&mut self, keyspace: &mut Keyspace, slots: &SlotSet) -> MovedWatches {
        let mut moved = Vec::new();
        if self.by_client.is_empty() {
            return MovedWatches(moved);
        }
        let is_among = |place: &(usize, Box<[u8]>)| slots.contains(key_slot(&place.1));
        self.by_key.retain(|place, _| !is_among(place));
        for (client_id, watching) in &mut self.by_client {
            let touched = watching.touched;
            for watched in watching.keys.extract_if(.., |watched| is_among(&watched.place)) {
                keyspace.unmark(watched.place.0, &watched.place.1);
                moved.push(MovedWatch { client_id: *client_id, watched, touched });
            }
        }
        MovedWatches(moved)
    }

    /// Puts in what clients have watched on another core.
    pub fn put_slots(&mut self, keyspace: &mut Keyspace, moved: MovedWatches) {
        for MovedWatch { client_id, watched, touched } in moved.0 {
            let watching = self.by_client.entry(client_id).or_default();
            watching.touched |= touched;
            keyspace.mark(watched.place.0, &watched.place.1);
            self.by_key.entry(watched.place.clone()).or_default().push(client_id);
            watching.keys.push(watched);
        }
    }

    /// Watches a key for a client. One that is there but expired counts as not there.
    pub fn add(&mut self, keyspace: &mut Keyspace, db: usize, key: Key<'_>, client_id: u64) {
        let place = (db, Box::from(key.bytes));
        let watching = self.by_client.entry(client_id).or_default();
        if watching.keys.iter().any(|watched| watched.place == place) {
            return;
        }
        let was_there = keyspace.peek(db, key).is_some();
        keyspace.mark(db, key.bytes);
        watching.keys.push(Watched { place: place.clone(), was_there });
        self.by_key.entry(place).or_default().push(client_id);
    }

    /// A marked key has changed.
    pub fn key_changed(&mut self, db: usize, key: &[u8]) {
        if self.by_client.is_empty() {
            return;
        }
        for client_id in self.by_key.get(&(db, Box::from(key))).into_iter().flatten() {
            if let Some(watching) = self.by_client.get_mut(client_id) {
                watching.touched = true;
            }
        }
    }

    /// Looks at the client's keys once more, so that those whose time has come go, and count as touched once the notes of that
    /// are settled.
    pub fn refresh(&self, keyspace: &mut Keyspace, client_id: u64) {
        let watched = self.by_client.get(&client_id).into_iter().flat_map(|watching| &watching.keys);
        for Watched { place: (db, key), .. } in watched.filter(|watched| watched.was_there) {
            keyspace.peek(*db, Key::new(key));
        }
    }

    /// Ends all watches of a client. True when nothing that it watched was touched.
    pub fn end(&mut self, keyspace: &mut Keyspace, client_id: u64) -> bool {
        let Some(watching) = self.by_client.remove(&client_id) else { return true };
        for Watched { place, .. } in watching.keys {
            keyspace.unmark(place.0, &place.1);
            if let Some(clients) = self.by_key.get_mut(&place) {
                clients.retain(|other| *other != client_id);
                if clients.is_empty() {
                    self.by_key.remove(&place);
                }
            }
        }
        !watching.touched
    }
}
