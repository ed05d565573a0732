//! Keyspace events: what changed, told to whoever has subscribed to `__keyspace@<db>__:<key>` or `__keyevent@<db>__:<event>`.

use super::core::Core;
use super::pubsub;
use crate::config::NotifyFlags;

/// Publishes an event of a class that is switched on.
#[cold]
pub fn publish(core: &mut Core, event: &str, db: u16, key: &[u8]) {
    let flags = core.config.notify_keyspace_events;
    if flags.has(NotifyFlags::KEYSPACE) {
        let channel = [format!("__keyspace@{db}__:").as_bytes(), key].concat();
        pubsub::publish(core, &channel, event.as_bytes());
    }
    if flags.has(NotifyFlags::KEYEVENT) {
        pubsub::publish(core, format!("__keyevent@{db}__:{event}").as_bytes(), key);
    }
}
