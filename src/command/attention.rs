//! Takes up what the keyspace has noted: tells transactions, waiting clients and subscribers.

use super::core::Core;
use super::tracking;
use crate::config::NotifyFlags;
use crate::keyspace::{Happening, Note, NotesWanted};

/// Takes the notes of the command, or the piece of background work, that has just run. Within a command it is called before an
/// event is published, so that events come in the order of what happened.
#[cold]
pub fn settle(core: &mut Core) {
    take_up(core, |_| {});
}

/// As [`settle`], for work that is no command on some keys: each key that expired is a unit of the journal of its own.
#[cold]
pub fn settle_apart(core: &mut Core) {
    take_up(core, |core| core.journal.close_unit());
}

fn take_up(core: &mut Core, recorded: fn(&mut Core)) {
    for Note { db, key, what } in core.keyspace.take_notes() {
        match what {
            Happening::Changed => {
                core.watches.key_changed(db, &key);
                core.blocked.key_changed(db, &key);
                tracking::key_changed(core, db, &key);
            }
            Happening::Expired => {
                if core.journal.is_on() {
                    // Databases are numbered with 16 bits.
                    core.journal.record_removal(db as u16, &key, core.config.lazyfree_lazy_expire);
                    recorded(core);
                }
                publish(core, NotifyFlags::EXPIRED, "expired", db, &key);
            }
            Happening::Missed => publish(core, NotifyFlags::KEY_MISS, "keymiss", db, &key),
            Happening::Created => publish(core, NotifyFlags::NEW, "new", db, &key),
        }
    }
}

fn publish(core: &mut Core, class: u16, event: &str, db: usize, key: &[u8]) {
    // Databases are numbered with 16 bits.
    core.publish_event(class, event, db as u16, key);
}

/// Asks the keyspace for the notes that the settings and the journal need.
pub fn settings_changed(core: &mut Core) {
    let flags = core.config.notify_keyspace_events;
    let wanted = NotesWanted {
        expired: core.journal.is_on() || flags.has(NotifyFlags::EXPIRED),
        missed: flags.has(NotifyFlags::KEY_MISS),
        created: flags.has(NotifyFlags::NEW),
        ..core.keyspace.notes_wanted()
    };
    core.keyspace.set_notes(wanted);
}
