//! Takes up what the keyspace has noted: tells transactions, waiting clients and subscribers.

use super::core::Core;
use super::tracking;
use crate::config::NotifyFlags;
use crate::keyspace::{Happening, Note, NotesWanted};

/// Takes the notes of the command, or the piece of background work, that has just run. Within a command it is called before an
/// event is published, so that events come in the order of what happened.
#[cold]
pub fn settle(core: &mut Core) {
    for Note { db, key, what } in core.keyspace.take_notes() {
        match what {
            Happening::Changed => {
                core.watches.key_changed(db, &key);
                core.blocked.key_changed(db, &key);
                tracking::key_changed(core, db, &key);
            }
            Happening::Expired => publish(core, NotifyFlags::EXPIRED, "expired", db, &key),
            Happening::Missed => publish(core, NotifyFlags::KEY_MISS, "keymiss", db, &key),
            Happening::Created => publish(core, NotifyFlags::NEW, "new", db, &key),
        }
    }
}

fn publish(core: &mut Core, class: u16, event: &str, db: usize, key: &[u8]) {
    // Databases are numbered with 16 bits.
    core.publish_event(class, event, db as u16, key);
}

/// Asks the keyspace for the notes that the settings need.
pub fn settings_changed(core: &mut Core) {
    let flags = core.config.notify_keyspace_events;
    let wanted = NotesWanted {
        expired: flags.has(NotifyFlags::EXPIRED),
        missed: flags.has(NotifyFlags::KEY_MISS),
        created: flags.has(NotifyFlags::NEW),
        ..core.keyspace.notes_wanted()
    };
    core.keyspace.set_notes(wanted);
}
