//! The jobs of one core: which keys are on their way, for whom, and who waits for them.
//!
//! Called by the handler of MIGRATE, by `blocking` and by the runtime, which moves the bytes. Never touches a key but in [`end`].

use hashbrown::HashMap;
use slab::Slab;

use super::super::attention;
use super::super::blocking;
use super::super::client::{Caller, ClientRef};
use super::super::core::Core;
use super::super::execute::{self, Call};
use super::super::gate;
use super::super::spec::{CommandSpec, Flags, Run};
use super::super::table::CommandId;
use super::super::transactions::Exec;
use super::dialogue::Outcome;
use super::restore::Restore;
use crate::base::slot::{SlotSet, key_slot};
use crate::config::NotifyFlags;
use crate::keyspace::{Disposal, Key, LoadedValue};
use crate::persist::rdb::Sliced;
use crate::persist::rdb::payload::PayloadError;
use crate::resp::{Args, Reply, ReplyBuffer};

/// What AUTH is sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub user: Option<Vec<u8>>,
    pub password: Vec<u8>,
}

/// Where keys go, and how.
#[derive(Clone, Debug)]
pub struct Order {
    /// A name or an address, and a port, as the client has written them.
    pub host: Vec<u8>,
    pub port: Vec<u8>,
    /// The database there.
    pub db: i64,
    /// How long nothing may move.
    pub timeout_ms: u64,
    /// COPY: the keys stay here, too.
    pub copies: bool,
    /// REPLACE: what is there under their names goes.
    pub replaces: bool,
    pub login: Option<Login>,
}

/// Keys on their way.
#[derive(Debug)]
pub struct Job {
    pub order: Order,
    /// The database here.
    pub db: usize,
    pub keys: Vec<Box<[u8]>>,
    command: CommandId,
    caller: Caller,
    sequence: u32,
}

/// What a handler has left, until it is known who asks.
enum Begun {
    Move { order: Order, db: usize, keys: Vec<Box<[u8]>> },
    Restore(Sliced),
}

/// The jobs of one core.
#[derive(Default)]
pub struct Migrations {
    begun: Option<Begun>,
    jobs: Slab<Job>,
    /// Jobs that nobody has taken up yet.
    fresh: Vec<usize>,
    /// Large values in the making.
    pub(super) restores: Slab<Restore>,
    /// The value of the RESTORE that runs again.
    made: Option<Result<LoadedValue<'static>, PayloadError>>,
    /// How often each key is on its way, in whatever database.
    keys: HashMap<Box<[u8]>, usize>,
    /// Clients of whom requests wait on this core.
    waiting: HashMap<u64, usize>,
    /// Connections to targets, those that are kept for later among them.
    pub sockets_count: usize,
}

impl Migrations {
    pub(super) fn begin(&mut self, order: Order, db: usize, keys: Vec<Box<[u8]>>) {
        self.begun = Some(Begun::Move { order, db, keys });
    }

    /// A RESTORE is to be run again when this value is made.
    pub(in crate::command) fn begin_restore(&mut self, sliced: Sliced) {
        self.begun = Some(Begun::Restore(sliced));
    }

    /// The value that a RESTORE is run again with.
    pub(in crate::command) fn take_made(&mut self) -> Option<Result<LoadedValue<'static>, PayloadError>> {
        self.made.take()
    }

    /// Lets the next RESTORE have this value; none when there is no more use for it.
    pub(super) fn set_made(&mut self, made: Option<Result<LoadedValue<'static>, PayloadError>>) {
        self.made = made;
    }

    /// Whether the handler that has just run has left a job.
    #[inline]
    pub fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Takes up what the handler has left, for a call that is answered when it has ended. False when it has left nothing.
    pub fn admit(&mut self, call: &Call<'_>, sequence: u32) -> bool {
        match self.begun.take() {
            None => return false,
            Some(Begun::Move { order, db, keys }) => {
                keys.iter().for_each(|key| self.lock(key));
                let job = Job { order, db, keys, command: call.command, caller: call.caller, sequence };
                self.fresh.push(self.jobs.insert(job));
            }
            Some(Begun::Restore(sliced)) => {
                let restore = Restore::new(call, sequence, sliced);
                self.lock(restore.key());
                self.restores.insert(restore);
            }
        }
        true
    }

    /// Whether large values are in the making.
    #[inline]
    pub fn has_restores(&self) -> bool {
        !self.restores.is_empty()
    }

    fn lock(&mut self, key: &[u8]) {
        *self.keys.entry(Box::from(key)).or_default() += 1;
    }

    pub(super) fn unlock(&mut self, key: &[u8]) {
        if let Some(count) = self.keys.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.keys.remove(key);
            }
        }
    }

    /// Jobs that are new.
    pub fn take_fresh(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.fresh)
    }

    #[inline]
    pub fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// # Panics
    /// When the job has ended: our own mistake.
    pub fn job(&self, number: usize) -> &Job {
        &self.jobs[number]
    }

    /// Whether requests have to be looked at before they run.
    #[inline]
    pub fn is_active(&self) -> bool {
        !self.keys.is_empty() || !self.waiting.is_empty()
    }

    /// Whether a key of these slots is on its way.
    pub fn locks_in(&self, slots: &SlotSet) -> bool {
        self.keys.keys().any(|key| slots.contains(key_slot(key)))
    }

    /// SWAPDB: keys on their way have another database now.
    pub fn databases_swapped(&mut self, first: usize, second: usize) {
        for (_, job) in &mut self.jobs {
            job.db = match job.db {
                db if db == first => second,
                db if db == second => first,
                db => db,
            };
        }
    }

    /// Whether a call on this core has to wait: it writes a key on its way, or comes behind one of its client that waits.
    #[cold]
    pub fn holds(&self, call: &Call<'_>) -> bool {
        let spec = call.command.spec();
        matches!(spec.run, Run::OnOwner(_))
            && (self.holds_client(call.caller.client.id) || self.is_written(spec, &call.args))
    }

    /// As [`Migrations::holds`], for a transaction.
    #[cold]
    pub fn holds_transaction(&self, exec: &Exec) -> bool {
        self.holds_client(exec.caller.client.id)
            || exec.queue.iter().any(|queued| self.is_written(queued.command.spec(), &queued.args.as_args()))
    }

    /// Whether requests of a client wait on this core.
    pub fn holds_client(&self, client_id: u64) -> bool {
        self.waiting.contains_key(&client_id)
    }

    /// Whether a request would write a key that is on its way, or may.
    pub fn is_written(&self, spec: &CommandSpec, args: &Args<'_>) -> bool {
        let mut is_written = false;
        if (spec.flags.has(Flags::WRITE) || spec.runs_script()) && !self.keys.is_empty() {
            // Who has no right keys fails by itself.
            let _ = gate::for_each_key(spec, args, &mut |key| {
                is_written |= self.keys.contains_key(key);
                Ok(())
            });
        }
        is_written
    }

    /// A request of this client waits from now on.
    pub fn note_waiting(&mut self, client_id: u64) {
        *self.waiting.entry(client_id).or_default() += 1;
    }

    /// One of them is about to be looked at again.
    pub fn note_released(&mut self, client_id: u64) {
        if let Some(count) = self.waiting.get_mut(&client_id) {
            *count -= 1;
            if *count == 0 {
                self.waiting.remove(&client_id);
            }
        }
    }

    fn remove(&mut self, number: usize) -> Job {
        let job = self.jobs.remove(number);
        job.keys.iter().for_each(|key| self.unlock(key));
        job
    }
}

/// The answer to MIGRATE, and where it goes.
pub struct Answer {
    pub client: ClientRef,
    pub sequence: u32,
    pub reply: Box<ReplyBuffer>,
}

/// Ends a job: removes those of its keys (by their places) that have moved, and makes the answer. Who has waited for them can run.
pub fn end(core: &mut Core, number: usize, moved: &[usize], outcome: Outcome) -> Answer {
    let job = core.migrations.remove(number);
    core.running_client = job.caller.client.id;
    if !job.order.copies {
        remove_keys(core, &job, moved);
    }
    let mut reply = Box::new(ReplyBuffer::new());
    let error = outcome.error();
    core.stats.called(job.command, 0, error.is_some(), false);
    match error {
        Some(error) => execute::refuse(core, None, &error, &mut reply),
        None => Reply::new(&mut reply, job.caller.resp).ok(),
    }
    blocking::look_again(core);
    Answer { client: job.caller.client, sequence: job.sequence, reply }
}

fn remove_keys(core: &mut Core, job: &Job, moved: &[usize]) {
    // Databases are numbered with 16 bits.
    let db_number = job.db as u16;
    let mut words: Vec<&[u8]> = vec![b"DEL"];
    for key in moved.iter().filter_map(|place| job.keys.get(*place)) {
        // Whoever has waited for this need not wait for the memory as well.
        if core.keyspace.remove(job.db, Key::new(key), Disposal::Background) {
            words.push(key);
            core.notify(NotifyFlags::GENERIC, "del", db_number, key);
        }
    }
    if core.keyspace.has_notes() {
        attention::settle(core);
    }
    if words.len() > 1 && core.journal.is_on() {
        core.journal.record(db_number, words.into_iter());
    }
    core.journal.close_unit();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order {
            host: b"h".to_vec(),
            port: b"1".to_vec(),
            db: 0,
            timeout_ms: 1,
            copies: false,
            replaces: false,
            login: None,
        }
    }

    #[test]
    fn clients_wait_until_all_that_they_have_asked_for_is_looked_at() {
        let mut migrations = Migrations::default();
        assert!(!migrations.is_active() && !migrations.has_begun());
        migrations.begin(order(), 3, vec![Box::from(&b"k"[..])]);
        assert!(migrations.has_begun());
        migrations.note_waiting(7);
        migrations.note_waiting(7);
        assert!(migrations.is_active() && migrations.holds_client(7) && !migrations.holds_client(8));
        migrations.note_released(7);
        assert!(migrations.holds_client(7));
        migrations.note_released(7);
        assert!(!migrations.holds_client(7) && !migrations.is_active());
    }
}
