//! What a handler gets: its core, who asks, and where the reply goes.

use super::client::{Caller, Client};
use super::core::Core;
use crate::base::slot::Slot;
use crate::keyspace::Key;
use crate::resp::Reply;

/// One call of one command. The fields are borrowed apart, so that `cx.core.keyspace` and `cx.reply` are used side by side.
pub struct Context<'a> {
    pub core: &'a mut Core,
    pub caller: Caller,
    pub reply: Reply<'a>,
    /// The slot that the gate computed; in cluster mode all keys of a command share it.
    pub slot: Option<Slot>,
}

impl Context<'_> {
    /// A key with its slot, computed only where the gate had no need to.
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        match self.slot {
            Some(slot) => Key { bytes, slot },
            None => Key::new(bytes),
        }
    }

    /// The database that the client has selected.
    #[inline]
    pub fn db(&self) -> usize {
        self.caller.db as usize
    }

    /// Publishes an event of a key of the selected database, if its class (a constant of `NotifyFlags`) is switched on.
    #[inline]
    pub fn notify(&mut self, class: u16, event: &str, key: &[u8]) {
        self.core.notify(class, event, self.caller.db, key);
    }

    /// The client itself. Only for commands that run on its connection's core.
    ///
    /// # Panics
    /// When the row says that the command runs elsewhere: our own mistake.
    pub fn client(&mut self) -> &mut Client {
        self.core.own_client(self.caller.client).expect("a connection command runs where its client is")
    }
}
