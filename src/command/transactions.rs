//! MULTI, EXEC, DISCARD, WATCH, UNWATCH: commands that are queued and then run one after the other with nothing in between.
//!
//! The gate queues requests in the client's [`Transaction`] on its connection's core. EXEC asks [`plan`] where they run:
//! - on one core, the owner of their keys, as one message ([`Exec`], run by [`run`]). Commands about the connection find a copy
//!   of the client there (`Core::guest`), whose settings go back with the reply;
//! - or, where a command in it concerns every core of a node with several, one request after the other as if they had come
//!   outside of a transaction: in order, but not undisturbed.
//!
//! What the client watches decides first: every core on which it watches something is asked.

use super::client::{Caller, Client};
use super::context::Context;
use super::core::{Core, Effect};
use super::error::CommandError;
use super::execute::{self, Call};
use super::gate::{self, Place, Placed};
use super::memory_limit;
use super::monitor;
use super::routing::{self, Standing};
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use super::table::CommandId;
use crate::base::core_id::CoreId;
use crate::base::slot::Slot;
use crate::resp::{Args, ArgsBuf, Reply, ReplyBuffer};

/// A request that was queued.
#[derive(Clone)]
pub struct Queued {
    pub command: CommandId,
    pub slot: Option<Slot>,
    pub args: ArgsBuf,
}

/// What a client has queued since MULTI.
#[derive(Clone, Default)]
pub struct Transaction {
    pub queue: Vec<Queued>,
    /// A request was refused: EXEC will be, too.
    pub failed: bool,
    /// Whether it may run depends on which keys are here (set by `plan`).
    pub is_slot_open: bool,
}

impl Transaction {
    /// Bytes that the queue takes.
    pub fn memory_bytes(&self) -> usize {
        let requests = self.queue.iter().map(|queued| queued.args.as_args().total_bytes());
        requests.sum::<usize>() + self.queue.capacity() * size_of::<Queued>()
    }
}

/// Where a transaction runs.
pub enum Plan {
    Core(CoreId),
    /// One request after the other, each where it belongs.
    Pieces,
}

/// Where the queued requests run now: the cluster may have changed since they were queued.
///
/// # Errors
/// What the gate says of one of them, or that their keys are of different slots.
pub fn plan(core: &Core, caller: &Caller, transaction: &mut Transaction) -> Result<Plan, CommandError> {
    let standing = Standing::of_transaction(caller, &transaction.queue);
    // A node without cluster mode has all keys on its first core.
    let first_has_all = !core.cluster.enabled;
    let (mut owner, mut has_several_owners) = (None, false);
    let (mut concerns_all, mut concerns_keys_of_all) = (false, false);
    let mut common = None;
    for queued in &mut transaction.queue {
        let spec = queued.command.spec();
        let Placed { place, slot, is_slot_open } = gate::place(core, spec, &queued.args.as_args(), standing)?;
        queued.slot = slot;
        transaction.is_slot_open |= is_slot_open;
        if let Some(slot) = slot.filter(|_| !matches!(spec.keys, Keys::SlotNumber(_))) {
            if common.is_some_and(|common| common != slot) {
                return Err(CommandError::CrossSlot);
            }
            common = Some(slot);
        }
        match (spec.run, place) {
            // A slot's number may be of another core than the keys. One without a slot has an error for its client, anywhere.
            (Run::OnOwner(_), Place::Core(core)) if slot.is_some() || first_has_all => {
                has_several_owners |= owner.is_some_and(|owner| owner != core);
                owner = Some(core);
            }
            (Run::OnEveryCore { .. } | Run::OnFirstCoreAfterAll { .. }, _) => {
                let is_about_keys = spec.group == Group::Generic || spec.flags.has(Flags::KEYSPACE);
                concerns_keys_of_all |= is_about_keys;
                concerns_all |= !is_about_keys;
            }
            (Run::OnFirstCore(_), _) => concerns_keys_of_all = true,
            _ => {}
        }
    }
    if core.facts.cores_count == 1 {
        Ok(Plan::Core(core.id))
    } else if concerns_all || has_several_owners || concerns_keys_of_all && !first_has_all {
        Ok(Plan::Pieces)
    } else if first_has_all && (owner.is_some() || concerns_keys_of_all) {
        Ok(Plan::Core(CoreId::FIRST))
    } else {
        Ok(Plan::Core(owner.unwrap_or(core.id)))
    }
}

/// EXEC of a transaction that needs memory while there is none left.
pub fn out_of_memory() -> CommandError {
    let reason = CommandError::OutOfMemory.text();
    CommandError::formatted(format!("EXECABORT Transaction discarded because of: {reason}"))
}

/// A transaction on its way to the core that runs it.
pub struct Exec {
    pub caller: Caller,
    /// EXEC itself.
    pub command: CommandId,
    pub queue: Vec<Queued>,
    /// A copy of the client, when commands about the connection are queued, or monitors want to know where they come from, and
    /// the transaction runs on another core.
    pub guest: Option<Box<Client>>,
    /// The client watches keys of the core that runs it.
    pub watches: bool,
}

impl Exec {
    /// Whether a queued command is about the connection.
    pub fn needs_client(queue: &[Queued]) -> bool {
        queue.iter().any(|queued| matches!(queued.command.spec().run, Run::OnConnection(_) | Run::ContainerOr(_)))
    }
}

/// Whether what a client watches on this core is untouched; it watches nothing here after.
pub fn end_watches(core: &mut Core, client_id: u64) -> bool {
    core.watches.refresh(&mut core.keyspace, client_id);
    if core.keyspace.has_notes() {
        super::attention::settle_apart(core);
    }
    core.watches.end(&mut core.keyspace, client_id)
}

/// The reply to EXEC when a watched key was touched.
pub fn write_aborted(caller: &Caller, output: &mut ReplyBuffer) {
    Reply::new(output, caller.resp).null_array();
}

/// Refuses a transaction that has waited on the core that runs it.
pub fn refuse_late(core: &mut Core, exec: &Exec, error: &CommandError, output: &mut ReplyBuffer) {
    if exec.watches {
        end_watches(core, exec.caller.client.id);
    }
    execute::refuse(core, Some(exec.command), error, output);
}

/// Runs all requests of a transaction, unless a key that its client watches was touched.
pub fn run(core: &mut Core, exec: &mut Exec, output: &mut ReplyBuffer) {
    if exec.caller.is_slot_open
        && let Err(error) = routing::judge_transaction(core, &exec.caller, &exec.queue)
    {
        if exec.watches {
            end_watches(core, exec.caller.client.id);
        }
        return execute::refuse(core, Some(exec.command), &error, output);
    }
    if exec.watches && !end_watches(core, exec.caller.client.id) {
        return write_aborted(&exec.caller, output);
    }
    exec.caller.is_slot_open = false;
    core.guest = exec.guest.take();
    core.journal.begin_transaction();
    Reply::new(output, exec.caller.resp).array(exec.queue.len());
    for queued in &exec.queue {
        let mut caller = exec.caller;
        if let Some(client) = core.own_client(exec.caller.client) {
            caller = Caller { db: client.db, resp: client.resp, no_touch: client.no_touch, ..caller };
        }
        caller.must_not_wait = true;
        let call = Call { command: queued.command, caller, slot: queued.slot, args: queued.args.as_args() };
        if !core.monitors.is_empty() {
            monitor::feed_script(core, &call);
        }
        match call.command.spec().run {
            Run::OnEveryCore { .. } | Run::OnFirstCoreAfterAll { .. } => {
                let share = execute::run_part(core, &call);
                execute::merge(core, &call, vec![share], output);
            }
            _ => execute::run(core, &call, output),
        }
        if !core.monitors.is_empty() {
            monitor::feed(core, &call);
        }
    }
    if !core.monitors.is_empty() {
        let args: ArgsBuf = [exec.command.spec().name].into_iter().collect();
        let call = Call { command: exec.command, caller: exec.caller, slot: None, args: args.as_args() };
        monitor::feed(core, &call);
    }
    core.journal.end_transaction();
    exec.guest = core.guest.take();
}

/// The gate refuses EXEC itself: its transaction is over, if there is one, and so are the watches. Returns what EXEC answers.
pub(super) fn refuse_exec(core: &mut Core, index: u32, error: &CommandError) -> CommandError {
    let own = core.id;
    let client = &mut core.clients[index as usize];
    client.transaction = None;
    let cores = std::mem::take(&mut client.watch_cores);
    let client = client.caller(own).client;
    if !cores.is_empty() {
        core.effects.push(Effect::Unwatch { client, cores });
    }
    let line = error.line();
    let why = line.strip_prefix(b"ERR ").unwrap_or(&line);
    CommandError::Text([b"EXECABORT Transaction discarded because of: ", why].concat().into())
}

/// MULTI. The gate lets no second one through to here but with its own error.
fn multi(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let asking = cx.caller.asking;
    let client = cx.client();
    if client.transaction.is_some() {
        return Err(CommandError::text_static("ERR MULTI calls can not be nested"));
    }
    client.transaction = Some(Box::default());
    // Said before a transaction, ASKING is for all of it.
    client.asking = asking;
    cx.reply.ok();
    Ok(())
}

/// EXEC where there is nothing to run: the runtime takes a transaction that can be run before it comes to this.
fn exec(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let Some(mut transaction) = cx.client().transaction.take() else {
        return Err(CommandError::text_static("ERR EXEC without MULTI"));
    };
    forget_watches(cx);
    // What the cluster has against it is said first.
    plan(cx.core, &cx.caller, &mut transaction)?;
    if memory_limit::refuses_transaction(cx.core, &transaction) {
        return Err(out_of_memory());
    }
    Err(CommandError::text_static("EXECABORT Transaction discarded because of previous errors."))
}

/// DISCARD.
fn discard(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    if cx.client().transaction.take().is_none() {
        return Err(CommandError::text_static("ERR DISCARD without MULTI"));
    }
    forget_watches(cx);
    cx.reply.ok();
    Ok(())
}

/// WATCH key [key ...], on the core that owns the keys.
fn watch(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (db, client_id) = (cx.db(), cx.caller.client.id);
    for name in args.iter().skip(1) {
        let key = cx.key(name);
        let core = &mut *cx.core;
        core.watches.add(&mut core.keyspace, db, key, client_id);
    }
    cx.reply.ok();
    Ok(())
}

/// UNWATCH.
fn unwatch(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    forget_watches(cx);
    cx.reply.ok();
    Ok(())
}

/// Ends the watches of the client wherever it has some.
pub(super) fn forget_watches(cx: &mut Context<'_>) {
    let client = cx.caller.client;
    let cores = std::mem::take(&mut cx.client().watch_cores);
    cx.client().watched_count = 0;
    if !cores.is_empty() {
        cx.core.effects.push(Effect::Unwatch { client, cores });
    }
}

const TRANSACTION: CommandSpec = CommandSpec {
    name: "",
    arity: Arity::Exactly(1),
    flags: Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST).and(Flags::ALLOW_BUSY),
    keys: Keys::None,
    group: Group::Transactions,
    since: "1.2.0",
    summary: "",
    complexity: "O(1)",
    syntax: "",
    run: Run::Container,
};

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "multi",
        summary: "Begins a transaction: what follows is queued.",
        run: Run::OnConnection(multi),
        ..TRANSACTION
    },
    CommandSpec {
        name: "exec",
        flags: Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::SKIP_SLOWLOG),
        summary: "Runs what was queued.",
        complexity: "Depends on the commands.",
        run: Run::OnConnection(exec),
        ..TRANSACTION
    },
    CommandSpec {
        name: "discard",
        since: "2.0.0",
        summary: "Forgets what was queued.",
        complexity: "O(N) in the number of queued commands",
        run: Run::OnConnection(discard),
        ..TRANSACTION
    },
    CommandSpec {
        name: "watch",
        arity: Arity::AtLeast(2),
        keys: Keys::Range { first: 1, last: -1, step: 1, access: Access::LOOK },
        since: "2.2.0",
        summary: "Lets the next EXEC run only if these keys have not changed.",
        complexity: "O(1) for each key",
        syntax: "key [key ...]",
        run: Run::OnOwner(watch),
        ..TRANSACTION
    },
    CommandSpec {
        name: "unwatch",
        since: "2.2.0",
        summary: "Forgets the keys that are watched.",
        run: Run::OnConnection(unwatch),
        ..TRANSACTION
    },
];
