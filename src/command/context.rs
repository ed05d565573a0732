//! What a handler gets: its core, who asks, and where the reply goes.

use super::client::{Caller, Client};
use super::core::Core;
use super::journal::removal;
use crate::base::slot::Slot;
use crate::keyspace::Key;
use crate::resp::{Args, Reply};

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

    /// Whether what this call changes is recorded: only then is it worth finding words for [`Context::journal_as`].
    #[inline]
    pub fn journals(&self) -> bool {
        self.core.journal.is_on()
    }

    /// Records a command in place of the request; called several times, several. For a handler that has changed something
    /// which running the request again might not bring about.
    pub fn journal_as(&mut self, words: &[&[u8]]) {
        if self.journals() {
            // Keys that expired on the way went before.
            if self.core.keyspace.has_notes() {
                super::attention::settle(self.core);
            }
            self.core.journal.replace_request();
            self.core.journal.record(self.caller.db, words.iter().copied());
        }
    }

    /// As [`Context::journal_as`], where the last word is a number.
    pub fn journal_as_number(&mut self, words: &[&[u8]], number: i64) {
        if self.journals() {
            let mut digits = itoa::Buffer::new();
            let words = [words, &[digits.format(number).as_bytes()]].concat();
            self.journal_as(&words);
        }
    }

    /// As [`Context::journal_as`], for a key that is gone.
    pub fn journal_as_removal(&mut self, key: &[u8], in_background: bool) {
        self.journal_as(&[removal(in_background), key]);
    }

    /// Records the request with other words at some of its places.
    pub fn journal_with(&mut self, args: &Args<'_>, replaced: &[(usize, &[u8])]) {
        if self.journals() {
            let mut words: Vec<&[u8]> = args.iter().collect();
            replaced.iter().for_each(|(at, word)| words[*at] = word);
            self.journal_as(&words);
        }
    }

    /// Keeps the request out of the journal: what it came to was recorded, or nobody needs to know.
    #[inline]
    pub fn journal_nothing(&mut self) {
        if self.journals() {
            self.core.journal.replace_request();
        }
    }

    /// The client itself. Only for commands that run on its connection's core.
    ///
    /// # Panics
    /// When the row says that the command runs elsewhere: our own mistake.
    pub fn client(&mut self) -> &mut Client {
        self.core.own_client(self.caller.client).expect("a connection command runs where its client is")
    }
}
