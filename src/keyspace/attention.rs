//! What becomes of keys, noted for those who care: clients that wait for a key, watch it or keep a copy of it, and
//! subscribers of keyspace events.
//!
//! The command layer says which keys it wants to hear of ([`super::Keyspace::mark`]) and which other notes
//! ([`super::Keyspace::set_notes`]), and takes the notes after each command. While nobody cares a change costs one test of a
//! flag here, one with marks somewhere a look-up in the table of marks.

use hashbrown::HashTable;

/// Something that happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub db: usize,
    pub key: Box<[u8]>,
    pub what: Happening,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Value or expiry changed, or the key came or went; noted for marked keys.
    Changed,
    /// The key went because its time had come.
    Expired,
    /// The key was looked up for reading and is not there.
    Missed,
    /// The key is new.
    Created,
}

/// Which happenings are noted whatever the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotesWanted {
    /// Every change of every key (clients that track key prefixes).
    pub changed: bool,
    pub expired: bool,
    pub missed: bool,
    pub created: bool,
}

/// The notes of one core.
#[derive(Default)]
pub(super) struct Attention {
    marks: HashTable<Mark>,
    wanted: NotesWanted,
    /// Something is marked, or every change is wanted.
    notes_changes: bool,
    notes: Vec<Note>,
}

/// A key that was marked so and so often.
struct Mark {
    db: usize,
    key: Box<[u8]>,
    hash: u64,
    count: u32,
}

impl Mark {
    fn is(&self, db: usize, key: &[u8]) -> bool {
        self.db == db && *self.key == *key
    }
}

impl Attention {
    /// `hash`: of database and key together, the same one each time.
    pub fn mark(&mut self, db: usize, key: &[u8], hash: u64) {
        match self.marks.find_mut(hash, |mark| mark.is(db, key)) {
            Some(mark) => mark.count += 1,
            None => {
                let mark = Mark { db, key: key.into(), hash, count: 1 };
                self.marks.insert_unique(hash, mark, |mark| mark.hash);
            }
        }
        self.notes_changes = true;
    }

    /// Takes one mark back.
    pub fn unmark(&mut self, db: usize, key: &[u8], hash: u64) {
        if let Ok(mut found) = self.marks.find_entry(hash, |mark| mark.is(db, key)) {
            found.get_mut().count -= 1;
            if found.get().count == 0 {
                found.remove();
            }
        }
        self.notes_changes = self.wanted.changed || !self.marks.is_empty();
    }

    /// The keys of a database that are marked.
    pub fn marked(&self, db: usize) -> Vec<Box<[u8]>> {
        self.marks.iter().filter(|mark| mark.db == db).map(|mark| mark.key.clone()).collect()
    }

    pub fn set_wanted(&mut self, wanted: NotesWanted) {
        self.wanted = wanted;
        self.notes_changes = wanted.changed || !self.marks.is_empty();
    }

    pub fn wanted(&self) -> NotesWanted {
        self.wanted
    }

    /// Whether changes are noted at all: the hash of the key is worth computing.
    #[inline]
    pub fn notes_changes(&self) -> bool {
        self.notes_changes
    }

    #[cold]
    pub fn note_change(&mut self, db: usize, key: &[u8], hash: u64) {
        if self.wanted.changed || self.marks.find(hash, |mark| mark.is(db, key)).is_some() {
            self.note(db, key, Happening::Changed);
        }
    }

    #[cold]
    pub fn note(&mut self, db: usize, key: &[u8], what: Happening) {
        self.notes.push(Note { db, key: key.into(), what });
    }

    #[inline]
    pub fn has_notes(&self) -> bool {
        !self.notes.is_empty()
    }

    pub fn take(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }
}
