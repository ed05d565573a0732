//! Runs a handler that the gate let pass, on whichever core it belongs to, and keeps the books: calls, time, errors,
//! the slow log, the latency monitor.

use super::attention;
use super::client::Caller;
use super::cluster::migration::Order;
use super::context::Context;
use super::core::{Core, Effect};
use super::error::CommandError;
use super::memory_limit;
use super::migrate;
use super::redact::redacted;
use super::replication::own_expiries;
use super::routing;
use super::slot_usage::SlotCost;
use super::slowlog::SlowEntry;
use super::spec::{Flags, Handler, Part, Run};
use super::table::CommandId;
use super::tracking;
use crate::base::slot::Slot;
use crate::resp::{Args, Reply, ReplyBuffer};

/// One request on the core that runs it.
pub struct Call<'a> {
    pub command: CommandId,
    pub caller: Caller,
    pub slot: Option<Slot>,
    pub args: Args<'a>,
}

impl Call<'_> {
    /// Whether its reply may come later: nothing behind it is run before.
    #[inline]
    pub fn may_wait(&self) -> bool {
        const ANY: u32 = Flags::BLOCKING.0 | Flags::LATE.0 | Flags::SLICED.0;
        let flags = self.command.spec().flags;
        flags.0 & ANY != 0 && (!flags.has(Flags::SLICED) || migrate::is_sliced(self))
    }

    /// Whether it is about the keys of the core whose port its client has come to, and of no other.
    pub fn is_for_own_core(&self) -> bool {
        self.caller.is_on_core_port && self.command.spec().flags.has(Flags::BY_CORE)
    }
}

/// One core's share of a command of every core.
pub struct Share {
    pub part: Result<Part, CommandError>,
    /// How long the core was at it.
    pub duration_ns: u64,
}

/// Runs the handler and writes its reply, or the error that it returned, to `output`. A command that needs memory is refused
/// when there is none left, unless it is part of a transaction, which is refused as a whole.
pub fn run(core: &mut Core, call: &Call<'_>, output: &mut ReplyBuffer) {
    if call.caller.is_slot_open
        && let Err(error) = routing::judge_call(core, &call.caller, call.slot, call.command.spec(), &call.args)
    {
        return refuse(core, Some(call.command), &error, output);
    }
    let handler = match call.command.spec().run {
        Run::OnConnection(handler) | Run::ContainerOr(handler) | Run::OnOwner(handler) | Run::OnFirstCore(handler) => {
            handler
        }
        Run::Container | Run::OnEveryCore { .. } | Run::OnFirstCoreAfterAll { .. } => {
            unreachable!("the gate sends these elsewhere")
        }
    };
    if core.config.maxmemory != 0
        && !call.caller.must_not_wait
        && memory_limit::refuses(core, call.command.spec().flags)
    {
        return refuse(core, Some(call.command), &CommandError::OutOfMemory, output);
    }
    if call.caller.is_import {
        return run_import(core, call, output, handler);
    }
    timed(core, call, 0, output, |cx| handler(cx, &call.args));
}

/// Runs what another node has run, for a slot that is on its way here: keys that have expired are there for it. What fails ends the
/// migration.
#[cold]
fn run_import(core: &mut Core, call: &Call<'_>, output: &mut ReplyBuffer, handler: Handler) {
    let mark = output.mark();
    let failed_before = core.stats.commands[call.command.index()].failed;
    core.keyspace.expires_nothing = true;
    timed(core, call, 0, output, |cx| handler(cx, &call.args));
    core.keyspace.expires_nothing = core.disk.loading;
    if core.stats.commands[call.command.index()].failed != failed_before {
        tracing::warn!("Slot migration: the command '{}' failed", call.command.spec().name);
        let why = "Failed to process command during slot migration. Check logs for more information".to_owned();
        core.effects.push(Effect::Migration(Order::Broken { client: call.caller.client, why }));
    }
    output.truncate_to(mark);
}

/// Runs one core's share of a command that concerns every core. Calls are counted by `merge`.
pub fn run_part(core: &mut Core, call: &Call<'_>) -> Share {
    let (Run::OnEveryCore { part, .. } | Run::OnFirstCoreAfterAll { part, .. }) = call.command.spec().run else {
        unreachable!("only rows that say so have parts")
    };
    if core.is_busy() && !call.command.spec().flags.has(Flags::ALLOW_BUSY) {
        return Share { part: Err(core.busy_error()), duration_ns: 0 };
    }
    let mut scratch = ReplyBuffer::new();
    core.keyspace.no_touch = call.caller.no_touch;
    let reply = Reply::new(&mut scratch, call.caller.resp);
    core.running_client = call.caller.client.id;
    let part = part(&mut Context { core, caller: call.caller, reply, slot: call.slot }, &call.args);
    // Keys that a walk happens to meet have nothing to do with one another.
    if core.keyspace.has_notes() && !call.command.spec().flags.has(Flags::TOUCHES_ARBITRARY_KEYS) {
        attention::settle(core);
    }
    core.settle();
    if core.journal.is_on() {
        core.journal.end_request(false, call.caller.db, call.args.iter());
    }
    let ended_ns = core.nanos.now_ns();
    let duration_ns = ended_ns.saturating_sub(core.stats.last_instant_ns);
    core.stats.last_instant_ns = ended_ns;
    Share { part, duration_ns }
}

/// Writes the reply of a command that every core has done its share of, in the order of the cores' numbers. The call took
/// as long as the slowest share and the merging.
pub fn merge(core: &mut Core, call: &Call<'_>, shares: Vec<Share>, output: &mut ReplyBuffer) {
    let (Run::OnEveryCore { merge, .. } | Run::OnFirstCoreAfterAll { merge, .. }) = call.command.spec().run else {
        unreachable!("only rows that say so have parts")
    };
    let slowest_ns = shares.iter().map(|share| share.duration_ns).max().unwrap_or(0);
    let parts: Result<Vec<Part>, CommandError> = shares.into_iter().map(|share| share.part).collect();
    timed(core, call, slowest_ns, output, |cx| merge(cx, &call.args, parts?));
}

/// Runs a command of an append-only file, or this core's share of one. It has no client and keeps no books. Like Redis,
/// it says what fails and goes on: the file was written by a node that had accepted the command.
pub fn replay(core: &mut Core, call: &Call<'_>, scratch: &mut ReplyBuffer) {
    let mark = scratch.mark();
    core.running_client = call.caller.client.id;
    let reply = Reply::new(scratch, call.caller.resp);
    let mut cx = Context { core, caller: call.caller, reply, slot: call.slot };
    let outcome = match call.command.spec().run {
        Run::OnOwner(handler) | Run::OnFirstCore(handler) => handler(&mut cx, &call.args),
        Run::OnEveryCore { part, .. } | Run::OnFirstCoreAfterAll { part, .. } => part(&mut cx, &call.args).map(|_| ()),
        _ => unreachable!("only what has a destination is replayed"),
    };
    scratch.truncate_to(mark);
    if let Err(error) = outcome {
        tracing::warn!(
            "== CRITICAL == This server is sending an error to its AOF-loading-client: '{}' after processing the \
             command '{}'",
            String::from_utf8_lossy(&error.line()),
            call.command.spec().name
        );
    }
    if core.keyspace.has_notes() {
        attention::settle(core);
    }
}

/// Refused before it ran: the error is the reply, and the row's `rejected` counts it.
pub fn refuse(core: &mut Core, command: Option<CommandId>, error: &CommandError, output: &mut ReplyBuffer) {
    if let Some(command) = command {
        core.stats.commands[command.index()].rejected += 1;
    }
    write_error(core, error, output);
}

fn write_error(core: &mut Core, error: &CommandError, output: &mut ReplyBuffer) {
    let line = error.line();
    if !std::mem::take(&mut core.scripting.is_error_counted) {
        core.stats.error(&line);
    }
    Reply::new(output, crate::resp::RespVersion::V2).error(&line);
}

/// Calls the handler and keeps the books; `spent_ns` is what the call has taken before.
#[inline]
fn timed(
    core: &mut Core,
    call: &Call<'_>,
    spent_ns: u64,
    output: &mut ReplyBuffer,
    handler: impl FnOnce(&mut Context<'_>) -> Result<(), CommandError>,
) {
    let begun_ns = core.stats.last_instant_ns;
    let mark = output.mark();
    core.keyspace.no_touch = call.caller.no_touch;
    core.running_client = call.caller.client.id;
    let dirty_before = core.keyspace.stats.dirty;
    let sent_before = output.len_bytes();
    let reply_bytes_max = reply_bytes_max(core, &call.caller);
    reply_bytes_max.inspect(|bytes| output.allow(*bytes));
    let reply = Reply::new(output, call.caller.resp);
    let mut cx = Context { core, caller: call.caller, reply, slot: call.slot };
    let outcome = handler(&mut cx);
    if reply_bytes_max.is_some() && output.end_allowance() && outcome.is_ok() && call.caller.wants_reply {
        core.effects.push(Effect::Overran(call.caller.client));
    }
    let failed = outcome.is_err();
    if let Err(error) = outcome {
        output.truncate_to(mark);
        write_error(core, &error, output);
    }
    if core.keyspace.has_notes() {
        attention::settle(core);
    }
    if core.journal.is_on() {
        let changed = core.keyspace.stats.dirty != dirty_before;
        core.journal.end_request(changed, call.caller.db, call.args.iter());
    }
    if call.caller.tracks {
        tracking::remember(core, call);
    }
    if core.replication.role.is_replica() && call.command.spec().flags.has(Flags::WRITE) && !core.obeys() {
        own_expiries::written(core, call);
    }
    let ended_ns = core.nanos.now_ns();
    let duration_ns = ended_ns.saturating_sub(begun_ns) + spent_ns;
    core.stats.last_instant_ns = ended_ns;
    if core.wait.is_some() || core.migrations.has_begun() || core.is_busy() {
        return; // counted when it is answered
    }
    core.stats.called(call.command, duration_ns, failed, core.config.latency_tracking);
    if core.slot_usage.is_measured() {
        note_usage(core, call, duration_ns, output.len_bytes() - sent_before);
    }
    if duration_ns >= core.slow_threshold_ns {
        note_slow(core, call, duration_ns);
    }
}

/// The length from which on a reply by itself is more than its client may have waiting (client-output-buffer-limit). Who
/// speaks version 3 may be a subscriber, which has another limit; only the client's core knows.
#[inline]
fn reply_bytes_max(core: &Core, caller: &Caller) -> Option<usize> {
    let limits = &core.config.client_output_buffer_limit;
    let bytes = match (limits.normal.hard_bytes, limits.pubsub.hard_bytes) {
        (0, _) => return None,
        (normal, _) if caller.resp == crate::resp::RespVersion::V2 => normal,
        (_, 0) => return None,
        (normal, subscriber) => normal.max(subscriber),
    };
    usize::try_from(bytes).ok()
}

/// Counts what the call has cost for its slot. A script's own duration covers what it calls.
#[inline(never)]
fn note_usage(core: &mut Core, call: &Call<'_>, duration_ns: u64, reply_bytes: usize) {
    let Some(slot) = call.slot.filter(|_| !core.in_script) else { return };
    let cost = SlotCost {
        cpu_ns: duration_ns,
        received_bytes: call.args.wire_bytes() as u64,
        sent_bytes: if call.caller.wants_reply { reply_bytes as u64 } else { 0 },
    };
    core.slot_usage.add(slot, cost);
}

/// The call took long enough for the slow log or the latency monitor, or both.
#[cold]
fn note_slow(core: &mut Core, call: &Call<'_>, duration_ns: u64) {
    let duration_us = duration_ns / 1000;
    let flags = call.command.spec().flags;
    let slower_than = core.config.slowlog_log_slower_than;
    if slower_than >= 0 && duration_us >= slower_than as u64 && !flags.has(Flags::SKIP_SLOWLOG) {
        let shown = redacted(call.command.spec(), &call.args);
        let shown = shown.as_ref().map_or(call.args, |args| args.as_args());
        let entry = Box::new(SlowEntry::new(core.clock.unix_us(), duration_us, &shown));
        core.effects.push(Effect::Slow { client: call.caller.client, entry });
    }
    core.note_latency(if flags.has(Flags::FAST) { "fast-command" } else { "command" }, duration_ns);
}
