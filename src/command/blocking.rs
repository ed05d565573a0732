//! Blocking commands: a handler that finds nothing leaves its client waiting until a key gets what it wants.
//!
//! A handler is written as if it did not block: it takes what it finds and replies. Only where it finds nothing it ends
//! with [`wait`], writing nothing. When one of the keys gets a value of the right kind, the same handler is run again with
//! the same arguments, for the clients that wait longest first; it either replies now or ends with [`wait`] again.
//!
//! The way of a request that waits: the runtime calls [`run`] instead of `execute::run` for rows with `Flags::BLOCKING`; a
//! [`Wait`] that the handler left becomes a waiter in [`Blocked`] on the core that owns the keys, which marks them in the
//! keyspace. A change of a marked key comes back through `attention::settle`, which calls [`Blocked::key_changed`]; after the command
//! (the whole of a transaction) the runtime calls [`serve`]. The reply leaves as `Effect::Answer` to wherever the client is.

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashMap;
use slab::Slab;

use super::arguments::{integer, is_word};
use super::client::{Caller, CloseReason};
use super::context::Context;
use super::core::{Core, Effect};
use super::error::CommandError;
use super::execute::{self, Call};
use super::routing;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Part, Run};
use super::table::CommandId;
use crate::base::clock::Clock;
use crate::base::long_double::LongDouble;
use crate::base::number::{parse_f64, parse_i64};
use crate::base::slot::{Slot, SlotSet, key_slot};
use crate::keyspace::{Key, Keyspace, ValueKind};
use crate::resp::{Args, ArgsBuf, Reply, ReplyBuffer};

/// What a command that found nothing waits for.
pub struct Wait {
    /// Any of these keys, in the order in which the handler looks at them.
    pub keys: Vec<Vec<u8>>,
    /// Only a value of this kind ends the wait.
    pub kind: ValueKind,
    /// The handler is run again also when a key goes away or changes its kind (XREADGROUP).
    pub or_removed: bool,
    pub timeout: Timeout,
    /// The reply when the client must not wait. When the time is over it is a null array for all who wait for keys.
    pub nothing: Nothing,
    /// What to run in place of the request (XREAD has found out what `$` means).
    pub request: Option<ArgsBuf>,
}

/// The reply that says: nothing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {
    Null,
    NullArray,
    /// Of WAIT: how many replicas have it.
    Replicas {
        count: usize,
        wanted: usize,
    },
    /// Of WAITAOF: how many disks have it, here and of replicas.
    Safe {
        local: usize,
        replicas: usize,
        local_wanted: usize,
        replicas_wanted: usize,
    },
}

/// How long to wait, in milliseconds; `None` for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(pub Option<u64>);

impl Timeout {
    /// Seconds with a fraction, 0 for ever; rounded up to milliseconds.
    ///
    /// # Errors
    /// Redis's texts for what is no number, negative or too large.
    pub fn seconds(argument: &[u8]) -> Result<Timeout, CommandError> {
        let seconds = match parse_f64(argument) {
            Some(seconds) => seconds,
            // Redis reads a wider float.
            None if LongDouble::parse(argument).is_some() => f64::INFINITY,
            None => return Err(CommandError::text_static("ERR timeout is not a float or out of range")),
        };
        let millis = (seconds * 1000.0).ceil();
        if millis >= i64::MAX as f64 {
            return Err(CommandError::text_static("ERR timeout is out of range"));
        }
        Timeout::of(millis as i64)
    }

    /// Whole milliseconds, 0 for ever.
    ///
    /// # Errors
    /// Redis's texts for what is no integer, negative or too large.
    pub fn milliseconds(argument: &[u8]) -> Result<Timeout, CommandError> {
        let millis =
            parse_i64(argument).ok_or(CommandError::text_static("ERR timeout is not an integer or out of range"))?;
        Timeout::of(millis)
    }

    fn of(millis: i64) -> Result<Timeout, CommandError> {
        match u64::try_from(millis) {
            Err(_) => Err(CommandError::text_static("ERR timeout is negative")),
            Ok(0) => Ok(Timeout(None)),
            Ok(millis) => Ok(Timeout(Some(millis))),
        }
    }
}

/// Ends a handler that found nothing: its client waits, or is told so at once where it must not wait (in MULTI).
pub fn wait(cx: &mut Context<'_>, wait: Wait) -> CommandResult {
    if cx.caller.must_not_wait {
        wait.nothing.write(&mut cx.reply);
    } else {
        cx.core.wait = Some(wait);
    }
    Ok(())
}

impl Nothing {
    pub(super) fn write(self, reply: &mut Reply<'_>) {
        match self {
            Nothing::Null => reply.null(),
            Nothing::NullArray => reply.null_array(),
            Nothing::Replicas { count, .. } => reply.integer(count as i64),
            Nothing::Safe { local, replicas, .. } => {
                reply.array(2);
                reply.integer(local as i64);
                reply.integer(replicas as i64);
            }
        }
    }

    /// Whether what is counted is enough.
    fn suffices(self) -> bool {
        match self {
            Nothing::Null | Nothing::NullArray => false,
            Nothing::Replicas { count, wanted } => count >= wanted,
            Nothing::Safe { local, replicas, local_wanted, replicas_wanted } => {
                local >= local_wanted && replicas >= replicas_wanted
            }
        }
    }
}

/// A request that waits on this core, whose client may be on another.
struct Waiter {
    command: CommandId,
    caller: Caller,
    slot: Option<Slot>,
    args: ArgsBuf,
    /// The place of the request among its client's.
    sequence: u32,
    wait: Wait,
    /// Monotonic milliseconds.
    deadline_ms: Option<u64>,
    /// Who has come before has a lower one.
    arrival: u64,
}

/// The requests that wait for keys of some slots, on their way to another core: who has come first first.
pub struct MovedWaiters(Vec<Waiter>);

impl MovedWaiters {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The requests that wait on one core.
#[derive(Default)]
pub struct Blocked {
    waiters: Slab<Waiter>,
    arrivals: u64,
    /// Who waits for a key, in the order of arrival.
    by_key: HashMap<(usize, Box<[u8]>), Vec<usize>>,
    by_client: HashMap<u64, usize>,
    deadlines: BTreeSet<(u64, usize)>,
    /// Keys that have changed since the waiters were last looked at.
    ready: VecDeque<(usize, Box<[u8]>)>,
}

/// Who waits, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitFigures {
    /// Clients that wait for a limited time.
    pub with_deadline: usize,
    /// Keys that are waited for.
    pub keys: usize,
    /// Of those, keys whose removal ends a wait, too.
    pub keys_or_removed: usize,
}

impl WaitFigures {
    /// Another core's numbers.
    pub fn add(&mut self, other: WaitFigures) {
        self.with_deadline += other.with_deadline;
        self.keys += other.keys;
        self.keys_or_removed += other.keys_or_removed;
    }
}

impl Blocked {
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Whether keys that somebody waits for have changed.
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next moment, in monotonic milliseconds, when somebody has waited long enough.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// A marked key has changed.
    pub fn key_changed(&mut self, db: usize, key: &[u8]) {
        if self.waiters.is_empty() || self.ready.iter().any(|(other, bytes)| *other == db && **bytes == *key) {
            return;
        }
        let place = (db, Box::from(key));
        if self.by_key.contains_key(&place) {
            self.ready.push_back(place);
        }
    }

    /// What INFO tells.
    pub fn figures(&self) -> WaitFigures {
        let waits_for_removal = |index: &usize| self.waiters[*index].wait.or_removed;
        WaitFigures {
            with_deadline: self.deadlines.len(),
            keys: self.by_key.len(),
            keys_or_removed: self.by_key.values().filter(|waiting| waiting.iter().any(waits_for_removal)).count(),
        }
    }

    /// Takes out who waits for keys of these slots. Nothing that they wait for may be ready.
    pub fn take_slots(&mut self, keyspace: &mut Keyspace, slots: &SlotSet) -> MovedWaiters {
        assert!(self.ready.is_empty(), "who can be served is served first");
        let is_among = |key: &Vec<u8>| slots.contains(key_slot(key));
        // Of one slot, all of them.
        let among = self.waiters.iter().filter(|(_, waiter)| waiter.wait.keys.first().is_some_and(is_among));
        let among: Vec<usize> = among.map(|(index, _)| index).collect();
        let mut moved: Vec<Waiter> = among.into_iter().map(|index| self.remove(keyspace, index)).collect();
        moved.sort_by_key(|waiter| waiter.arrival);
        MovedWaiters(moved)
    }

    /// Puts in who has waited on another core.
    pub fn put_slots(&mut self, keyspace: &mut Keyspace, moved: MovedWaiters) {
        moved.0.into_iter().for_each(|waiter| self.add(keyspace, waiter));
    }

    fn add(&mut self, keyspace: &mut Keyspace, mut waiter: Waiter) {
        self.arrivals += 1;
        waiter.arrival = self.arrivals;
        let (db, client) = (usize::from(waiter.caller.db), waiter.caller.client.id);
        let index = self.waiters.vacant_key();
        for key in &waiter.wait.keys {
            let waiting = self.by_key.entry((db, key.as_slice().into())).or_default();
            if waiting.last() != Some(&index) {
                waiting.push(index);
                keyspace.mark(db, key);
            }
        }
        if let Some(deadline_ms) = waiter.deadline_ms {
            self.deadlines.insert((deadline_ms, index));
        }
        self.by_client.insert(client, index);
        self.waiters.insert(waiter);
    }

    fn remove(&mut self, keyspace: &mut Keyspace, index: usize) -> Waiter {
        let waiter = self.waiters.remove(index);
        let db = usize::from(waiter.caller.db);
        for key in &waiter.wait.keys {
            let place = (db, Box::from(key.as_slice()));
            let Some(waiting) = self.by_key.get_mut(&place) else { continue };
            let before = waiting.len();
            waiting.retain(|other| *other != index);
            if waiting.len() < before {
                keyspace.unmark(db, key);
            }
            if waiting.is_empty() {
                self.by_key.remove(&place);
            }
        }
        if let Some(deadline_ms) = waiter.deadline_ms {
            self.deadlines.remove(&(deadline_ms, index));
        }
        self.by_client.remove(&waiter.caller.client.id);
        waiter
    }
}

/// Runs a command that may block, or is answered late. False when it waits now, without a reply.
pub fn run(core: &mut Core, call: &Call<'_>, sequence: u32, output: &mut ReplyBuffer) -> bool {
    execute::run(core, call, output);
    if core.migrations.admit(call, sequence) {
        return false;
    }
    let Some(mut wait) = core.wait.take() else { return true };
    let args = wait.request.take().unwrap_or_else(|| ArgsBuf::from(&call.args));
    let now_ms = core.clock.monotonic_us() / 1000;
    let deadline_ms = wait.timeout.0.map(|timeout_ms| now_ms.saturating_add(timeout_ms));
    let (command, caller, slot) = (call.command, call.caller, call.slot);
    let waiter = Waiter { command, caller, slot, args, sequence, wait, deadline_ms, arrival: 0 };
    core.blocked.add(&mut core.keyspace, waiter);
    false
}

/// Keys can be written again that could not for a while: everybody who waits is looked at as if all keys had changed.
pub fn look_again(core: &mut Core) {
    let waited: Vec<(usize, Box<[u8]>)> = core.blocked.by_key.keys().cloned().collect();
    waited.iter().for_each(|(db, key)| core.blocked.key_changed(*db, key));
}

/// Serves those who wait for keys that have changed, the longest waiting first, until nobody can be served.
pub fn serve(core: &mut Core) {
    // Keys may have expired while the command that made them ready took its time.
    core.set_clock(Clock::read());
    while let Some((db, key)) = core.blocked.ready.pop_front() {
        let waiting = core.blocked.by_key.get(&(db, key.clone())).cloned().unwrap_or_default();
        for index in waiting {
            let Some(waiter) = core.blocked.waiters.get(index) else { continue };
            let kind = core.keyspace.glance(db, Key::new(&key)).map(|value| value.kind());
            if kind == Some(waiter.wait.kind) || waiter.wait.or_removed && kind != Some(waiter.wait.kind) {
                serve_one(core, index);
            }
        }
    }
}

/// Runs the waiter's request again.
fn serve_one(core: &mut Core, index: usize) {
    let waiter = &mut core.blocked.waiters[index];
    let args = std::mem::take(&mut waiter.args);
    let (command, caller, slot) = (waiter.command, waiter.caller, waiter.slot);
    let call = Call { command, caller, slot, args: args.as_args() };
    if core.migrations.is_active() && core.migrations.holds(&call) {
        core.blocked.waiters[index].args = args;
        return;
    }
    let mut reply = Box::new(ReplyBuffer::new());
    core.stats.last_instant_ns = core.nanos.now_ns();
    let effects_before = core.effects.len();
    let position_before = core.journal.position();
    execute::run(core, &call, &mut reply);
    if core.wait.take().is_some() {
        core.blocked.waiters[index].args = args;
        return;
    }
    let recorded = core.journal.position() != position_before;
    answer(core, index, reply, recorded);
    // The reply comes before what the command tells its own client, as it does for one that did not wait.
    core.effects[effects_before..].rotate_right(1);
}

/// Ends a wait with a reply.
fn answer(core: &mut Core, index: usize, reply: Box<ReplyBuffer>, recorded: bool) {
    let waiter = core.blocked.remove(&mut core.keyspace, index);
    core.effects.push(Effect::Answer { to: waiter.caller.client, sequence: waiter.sequence, reply, recorded });
}

/// Ends the waits whose time is over.
pub fn time_out(core: &mut Core) {
    let now_ms = core.clock.monotonic_us() / 1000;
    while let Some((deadline_ms, index)) = core.blocked.deadlines.first().copied()
        && deadline_ms <= now_ms
    {
        nothing_came(core, index);
    }
}

fn nothing_came(core: &mut Core, index: usize) {
    let waiter = &core.blocked.waiters[index];
    let mut reply = Box::new(ReplyBuffer::new());
    let nothing = match waiter.wait.nothing {
        Nothing::Null | Nothing::NullArray => Nothing::NullArray,
        counts => counts,
    };
    nothing.write(&mut Reply::new(&mut reply, waiter.caller.resp));
    let command = waiter.command;
    core.stats.called(command, 0, false, false);
    answer(core, index, reply, false);
}

/// What a client of WAITAOF has written is on this node's disk, or never will be, because there are no more append-only files.
pub fn is_safe(core: &mut Core, client_id: u64, has_files: bool) {
    let Some(index) = core.blocked.by_client.get(&client_id).copied() else { return };
    let waiter = &mut core.blocked.waiters[index];
    let Nothing::Safe { local, .. } = &mut waiter.wait.nothing else { return };
    if !has_files {
        return refuse(core, index, &super::persistence::append_only::no_files());
    }
    *local = 1;
    if waiter.wait.nothing.suffices() {
        nothing_came(core, index);
    }
}

/// So many replicas have what a client of WAIT or WAITAOF has written.
pub fn replicas_have(core: &mut Core, client_id: u64, now_count: usize) {
    let Some(index) = core.blocked.by_client.get(&client_id).copied() else { return };
    let nothing = &mut core.blocked.waiters[index].wait.nothing;
    match nothing {
        Nothing::Replicas { count, .. } => *count = now_count,
        Nothing::Safe { replicas, .. } => *replicas = now_count,
        Nothing::Null | Nothing::NullArray => return,
    }
    if nothing.suffices() {
        nothing_came(core, index);
    }
}

/// CLIENT UNBLOCK: ends the wait of a client as if its time were over, or with an error. False when it does not wait here.
pub fn unblock(core: &mut Core, client_id: u64, with_error: bool) -> bool {
    let Some(index) = core.blocked.by_client.get(&client_id).copied() else { return false };
    if with_error {
        let error = CommandError::text_static("UNBLOCKED client unblocked via CLIENT UNBLOCK");
        refuse(core, index, &error);
    } else {
        nothing_came(core, index);
    }
    true
}

/// Whom this node does not serve any more, as the cluster is now, waits elsewhere.
pub fn redirect(core: &mut Core) {
    let waiters = core.blocked.waiters.iter();
    let redirected = waiters.filter_map(|(index, waiter)| {
        // Of one slot, all of them.
        let key = waiter.wait.keys.first()?;
        let judgement = routing::judge_waiter(core, &waiter.caller, waiter.command.spec(), key);
        Some((index, judgement.err()?))
    });
    let redirected: Vec<(usize, CommandError)> = redirected.collect();
    redirected.into_iter().for_each(|(index, error)| refuse(core, index, &error));
}

/// Ends a wait with an error.
fn refuse(core: &mut Core, index: usize, error: &CommandError) {
    let mut reply = Box::new(ReplyBuffer::new());
    let command = core.blocked.waiters[index].command;
    core.stats.called(command, 0, true, false);
    execute::refuse(core, None, error, &mut reply);
    answer(core, index, reply, false);
}

/// The node is a replica from now on: what clients wait for might never come, or come from elsewhere. They are told so and go.
pub fn role_changed(core: &mut Core) {
    let waiting: Vec<usize> = core.blocked.waiters.iter().map(|(index, _)| index).collect();
    const ERROR: CommandError = CommandError::text_static(
        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    );
    waiting.into_iter().for_each(|index| refuse(core, index, &ERROR));
    let own = core.clients.iter().filter(|(_, client)| client.blocked && !client.is_replica);
    let own: Vec<u32> = own.map(|(index, _)| index as u32).collect();
    core.effects.extend(own.into_iter().map(|index| Effect::Close { index, reason: CloseReason::AfterReply }));
}

/// The client has gone: nobody waits for the answer.
pub fn forget(core: &mut Core, client_id: u64) {
    if let Some(index) = core.blocked.by_client.get(&client_id).copied() {
        core.blocked.remove(&mut core.keyspace, index);
    }
}

/// CLIENT UNBLOCK client-id [TIMEOUT | ERROR], on every core: a client waits on one of them.
fn unblock_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let with_error = match (args.get(3), args.len()) {
        (None, _) => false,
        (Some(reason), 4) if is_word(reason, "TIMEOUT") => false,
        (Some(reason), 4) if is_word(reason, "ERROR") => true,
        _ => return Err(CommandError::text_static("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
    };
    let client_id = integer(&args[2])?;
    let unblocked = u64::try_from(client_id).is_ok_and(|client_id| unblock(cx.core, client_id, with_error));
    Ok(Part::new(unblocked))
}

fn unblock_merge(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let unblocked = parts.into_iter().any(Part::take::<bool>);
    cx.reply.integer(i64::from(unblocked));
    Ok(())
}

pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "client|unblock",
    arity: Arity::AtLeast(3),
    flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE),
    keys: Keys::None,
    group: Group::Connection,
    since: "5.0.0",
    summary: "Ends the wait of a client in a blocking command.",
    complexity: "O(log N) in the number of waiting clients",
    syntax: "client-id [TIMEOUT | ERROR]",
    run: Run::OnEveryCore { part: unblock_part, merge: unblock_merge },
}];
