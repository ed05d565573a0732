//! The gate: every check before a handler, in Redis's order, and the answer to "which core runs this".
//!
//! The connection's core calls `check` once per request; nothing reaches a handler that has not passed here.

use super::arguments::{is_word, text};
use super::client::Client;
use super::cluster::migration;
use super::core::Core;
use super::error::CommandError;
use super::memory_limit::{self, Pressure};
use super::relocation;
use super::replication::Role;
use super::routing::{self, Standing};
use super::spec::{CommandSpec, Flags, Group, Keys, Run};
use super::table::{CommandId, table};
use super::transactions::{self, Queued};
use crate::base::core_id::CoreId;
use crate::base::number::{parse_i64, parse_u64_lenient};
use crate::base::slot::{Slot, key_slot};
use crate::cluster::view::Serving;

use crate::resp::{Args, ArgsBuf, RespVersion};

/// What becomes of a request.
pub enum Verdict {
    Run {
        command: CommandId,
        place: Place,
        slot: Option<Slot>,
        /// Whether it may run depends on which keys are here: its owner sees (`routing`).
        is_slot_open: bool,
    },
    Refused {
        error: CommandError,
        command: Option<CommandId>,
    },
    /// It waits in its client's transaction.
    Queued,
    /// CLIENT PAUSE, or slots on their way: ask again when that has changed.
    Paused,
}

/// Where a request that passed runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The connection's core, with the client at hand.
    Connection,
    Core(CoreId),
    Every,
    /// EXEC of a transaction that may run: see `transactions::plan`.
    Transaction,
}

/// Longest part of an unknown command's name and arguments that is quoted back.
const QUOTED_BYTES_MAX: usize = 128;

/// Passes judgement on a request of the client at `index`.
pub fn check(core: &mut Core, index: u32, args: &Args<'_>) -> Verdict {
    let verdict = judge(core, index, args);
    if let Verdict::Refused { error, command: Some(command) } = &verdict
        && is_exec(command.spec())
    {
        return Verdict::Refused { error: transactions::refuse_exec(core, index, error), command: Some(*command) };
    }
    let client = &mut core.clients[index as usize];
    match &verdict {
        Verdict::Refused { .. } => {
            match &mut client.transaction {
                Some(transaction) => transaction.failed = true,
                // ASKING is for one command, whatever becomes of it.
                None => client.asking = false,
            }
            verdict
        }
        Verdict::Run { command, place, slot, is_slot_open } if client.transaction.is_some() => {
            match queues(command.spec()) {
                true => {
                    let transaction = client.transaction.as_mut().expect("looked at above");
                    // One that will not run needs no more of it; nor does it count then of which slots the later keys are.
                    if !transaction.failed {
                        let queued = Queued { command: *command, slot: *slot, args: ArgsBuf::from(args) };
                        transaction.queue.push(queued);
                    }
                    Verdict::Queued
                }
                false if is_exec(command.spec()) && !client.transaction.as_ref().is_some_and(|t| t.failed) => {
                    Verdict::Run { command: *command, place: Place::Transaction, slot: *slot, is_slot_open: false }
                }
                false if is_watch(command.spec()) => Verdict::Refused {
                    error: CommandError::text_static("ERR WATCH inside MULTI is not allowed"),
                    command: Some(*command),
                },
                false => Verdict::Run { command: *command, place: *place, slot: *slot, is_slot_open: *is_slot_open },
            }
        }
        Verdict::Run { command, place: Place::Core(core), .. } if is_watch(command.spec()) => {
            client.watched_count += args.len() - 1;
            if !client.watch_cores.contains(core) {
                client.watch_cores.push(*core);
                client.has_footprint = true;
            }
            verdict
        }
        _ => verdict,
    }
}

/// Whether a transaction queues it: all but what ends, or ends the connection of, a transaction.
fn queues(spec: &CommandSpec) -> bool {
    !matches!(spec.name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
}

#[cold]
fn is_held_by_pause(core: &Core, client: &Client, spec: &CommandSpec, args: &Args<'_>) -> bool {
    const WRITES: u32 = Flags::WRITE.0 | Flags::MAY_REPLICATE.0;
    let writes = |spec: &CommandSpec, args: &Args<'_>| {
        spec.flags.0 & WRITES != 0 && !(spec.runs_script() && core.scripting.only_reads(spec, args))
    };
    let mut queue = client.transaction.iter().flat_map(|transaction| &transaction.queue);
    let executes_writes =
        spec.name == "exec" && queue.any(|queued| writes(queued.command.spec(), &queued.args.as_args()));
    core.pause.holds(writes(spec, args) || executes_writes, core.clock.unix()) && !client.monitor
}

fn is_exec(spec: &CommandSpec) -> bool {
    spec.group == Group::Transactions && spec.name == "exec"
}

#[inline]
fn is_watch(spec: &CommandSpec) -> bool {
    spec.group == Group::Transactions && spec.name == "watch"
}

fn judge(core: &mut Core, index: u32, args: &Args<'_>) -> Verdict {
    let command = match find(args) {
        Ok(command) => command,
        Err(refusal) => return refusal,
    };
    let spec = command.spec();
    let client = &core.clients[index as usize];
    if let Some(error) = refusal(core, client, spec) {
        return Verdict::Refused { error, command: Some(command) };
    }
    let Placed { place, slot, is_slot_open } = match place(core, spec, args, Standing::of_request(client, spec)) {
        Ok(found) => found,
        Err(error) => return Verdict::Refused { error, command: Some(command) },
    };
    // What is queued takes memory too, whatever it does.
    let queues_up = client.transaction.is_some() && !matches!(spec.name, "exec" | "discard" | "quit" | "reset");
    if queues_up && core.config.maxmemory != 0 && memory_limit::relieve(core) == Pressure::Full {
        return Verdict::Refused { error: CommandError::OutOfMemory, command: Some(command) };
    }
    let client = &core.clients[index as usize];
    let refused = disk_refusal(core, client, spec)
        .or_else(|| (lacks_replicas(core) && writes(client, spec)).then_some(CommandError::NoReplicas))
        .or_else(|| replica_refusal(core, client, spec))
        .or_else(|| listening_refusal(client, spec, args))
        .or_else(|| stale_refusal(core, client, spec))
        .or_else(|| (core.disk.loading && !spec.flags.has(Flags::LOADING)).then_some(CommandError::Loading))
        .or_else(|| (core.is_busy() && !spec.flags.has(Flags::ALLOW_BUSY)).then(|| core.busy_error()));
    if let Some(error) = refused {
        return Verdict::Refused { error, command: Some(command) };
    }
    if core.pause.until(core.clock.unix()).is_some() && is_held_by_pause(core, client, spec, args) {
        return Verdict::Paused;
    }
    if core.migration.held.is_some() && migration::is_held(core, client, spec, slot) {
        return Verdict::Paused;
    }
    if core.relocation.is_some() && relocation::is_held(core, client, spec, slot) {
        return Verdict::Paused;
    }
    Verdict::Run { command, place, slot, is_slot_open }
}

/// Finds the row and checks the number of arguments.
#[inline]
pub(super) fn find(args: &Args<'_>) -> Result<CommandId, Verdict> {
    let Some(mut command) = args.get(0).and_then(|name| table().find(name)) else {
        return Err(Verdict::Refused { error: unknown_command(args), command: None });
    };
    if command.spec().run.is_container() {
        let container = command;
        // A container alone falls through to the arity check of its own row.
        if let Some(sub) = args.get(1) {
            command = table().find_sub(container, sub).ok_or_else(|| Verdict::Refused {
                error: unknown_subcommand(sub, container.spec().name),
                command: None,
            })?;
        }
    }
    let spec = command.spec();
    if !spec.arity.accepts(args.len()) || matches!(spec.run, Run::Container) {
        return Err(Verdict::Refused { error: CommandError::WrongArity(spec.name.into()), command: Some(command) });
    }
    Ok(command)
}

fn unknown_command(args: &Args<'_>) -> CommandError {
    let mut line = b"ERR unknown command '".to_vec();
    line.extend_from_slice(clip(args.get(0).unwrap_or_default(), QUOTED_BYTES_MAX));
    line.extend_from_slice(b"', with args beginning with: ");
    let begun = line.len();
    for argument in args.iter().skip(1) {
        let quoted = line.len() - begun;
        if quoted >= QUOTED_BYTES_MAX {
            break;
        }
        line.push(b'\'');
        line.extend_from_slice(clip(argument, QUOTED_BYTES_MAX - quoted));
        line.extend_from_slice(b"' ");
    }
    CommandError::Text(line.into())
}

fn unknown_subcommand(given: &[u8], container: &str) -> CommandError {
    let after = format!("'. Try {} HELP.", container.to_uppercase());
    CommandError::quoting("ERR unknown subcommand '", clip(given, QUOTED_BYTES_MAX), &after)
}

/// Redis quotes C strings: up to a NUL, and so many bytes at most.
fn clip(bytes: &[u8], length: usize) -> &[u8] {
    text(&bytes[..bytes.len().min(length)])
}

/// The checks that do not depend on the keys.
#[inline]
fn refusal(core: &Core, client: &Client, spec: &CommandSpec) -> Option<CommandError> {
    if spec.flags.has(Flags::PROTECTED) && !debug_allowed(core, client) {
        return Some(CommandError::text_static(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it \
             from a local connection, otherwise you need to set this option in the configuration file, and then \
             restart the server.",
        ));
    }
    if client.transaction.is_some() && (spec.flags.has(Flags::NO_MULTI) || spec.flags.has(Flags::LATE)) {
        return Some(CommandError::text_static("ERR Command not allowed inside a transaction"));
    }
    if !client.authenticated && !core.config.requirepass.is_empty() && !spec.flags.has(Flags::NO_AUTH) {
        return Some(CommandError::NoAuth);
    }
    None
}

/// Nothing is changed that could not be kept. PING says so, too: it is how clients look whether a node is well.
#[inline]
fn disk_refusal(core: &Core, client: &Client, spec: &CommandSpec) -> Option<CommandError> {
    let refusal = core.disk.refusal.as_ref()?;
    (writes(client, spec) || spec.name == "ping").then(|| refusal.error())
}

/// A replica is written to by its primary alone, unless the settings say otherwise.
#[inline]
fn replica_refusal(core: &Core, client: &Client, spec: &CommandSpec) -> Option<CommandError> {
    let is_only_read = core.replication.role.is_replica() && core.config.replica_read_only;
    (is_only_read && writes(client, spec)).then_some(CommandError::ReadOnly)
}

/// A replica without its primary may have old data, and does not show them if the settings say so.
#[inline]
fn stale_refusal(core: &Core, client: &Client, spec: &CommandSpec) -> Option<CommandError> {
    let is_stale = core.replication.role == Role::Replica { is_linked: false } && !core.config.replica_serve_stale_data;
    let is_refused = is_stale && any_of(client, spec, |spec| !spec.flags.has(Flags::STALE));
    is_refused.then_some(CommandError::text_static(
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    ))
}

/// Whether the command writes, or one that EXEC is about to run.
fn writes(client: &Client, spec: &CommandSpec) -> bool {
    any_of(client, spec, |spec| spec.flags.has(Flags::WRITE))
}

/// Whether this holds for the command, or for one that EXEC is about to run.
#[cold]
fn any_of(client: &Client, spec: &CommandSpec, holds: fn(&CommandSpec) -> bool) -> bool {
    let queue = client.transaction.iter().flat_map(|transaction| &transaction.queue);
    holds(spec) || is_exec(spec) && queue.map(|queued| queued.command.spec()).any(holds)
}

/// Whether fewer replicas keep up than `min-replicas-to-write` asks for.
#[inline]
pub(super) fn lacks_replicas(core: &Core) -> bool {
    let config = &core.config;
    let is_asked = config.min_replicas_to_write > 0 && config.min_replicas_max_lag > 0;
    is_asked
        && !core.replication.role.is_replica()
        && core.replication.good_replicas < config.min_replicas_to_write as usize
}

/// A client that listens, in version 2 of the protocol, could not tell replies from messages.
#[inline]
fn listening_refusal(client: &Client, spec: &CommandSpec, args: &Args<'_>) -> Option<CommandError> {
    let listens = client.is_listening() && client.resp == RespVersion::V2;
    let allowed = spec.is_subscription() || matches!(spec.name, "ping" | "quit" | "reset");
    if !listens || allowed {
        return None;
    }
    Some(CommandError::quoting(
        "ERR Can't execute '",
        &args.get(0).unwrap_or_default().to_ascii_lowercase(),
        "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
    ))
}

fn debug_allowed(core: &Core, client: &Client) -> bool {
    core.config.enable_debug_command.allows(client.is_local())
}

/// Where a command runs whose keys do not decide it.
#[inline]
pub fn place_without_keys(run: Run) -> Place {
    match run {
        Run::OnConnection(_) | Run::Container | Run::ContainerOr(_) => Place::Connection,
        Run::OnFirstCore(_) | Run::OnFirstCoreAfterAll { .. } | Run::OnOwner(_) => Place::Core(CoreId::FIRST),
        Run::OnEveryCore { .. } => Place::Every,
    }
}

/// The core that runs a command.
pub(super) struct Placed {
    pub place: Place,
    /// Of its keys, where the gate had to compute it.
    pub slot: Option<Slot>,
    pub is_slot_open: bool,
}

/// Where a command runs, if it is this node that answers for its keys.
#[inline]
pub(super) fn place(
    core: &Core,
    spec: &CommandSpec,
    args: &Args<'_>,
    standing: Standing<'_>,
) -> Result<Placed, CommandError> {
    let settled = |place, slot| Ok(Placed { place, slot, is_slot_open: false });
    let place = place_without_keys(spec.run);
    if let Keys::SlotNumber(at) = spec.keys {
        // What is no slot goes to the handler all the same: it has the error for it.
        let slot = args.get(at).and_then(parse_i64).and_then(Slot::checked);
        return settled(slot.map_or(place, |slot| Place::Core(core.owners.owner(slot))), slot);
    }
    if !core.cluster.enabled {
        return settled(place, None);
    }
    let Some(slot) = common_slot(core, spec, args)? else {
        return settled(place, None);
    };
    let is_slot_open = routing::serve(core, slot, standing)?;
    let place = if let Run::OnOwner(_) = spec.run { Place::Core(core.owners.owner(slot)) } else { place };
    Ok(Placed { place, slot: Some(slot), is_slot_open })
}

/// The slot that all keys share, None for a command without keys. A first key whose slot nobody owns is refused before
/// the others are looked at.
#[inline]
fn common_slot(core: &Core, spec: &CommandSpec, args: &Args<'_>) -> Result<Option<Slot>, CommandError> {
    let bound = |slot| match core.cluster.serving(slot) {
        Serving::Nobody => Err(CommandError::ClusterDownUnbound),
        _ => Ok(slot),
    };
    if let Keys::At(at, _) = spec.keys {
        return Ok(args.get(at).map(key_slot));
    }
    let mut common = None;
    for_each_key(spec, args, &mut |key| {
        let slot = key_slot(key);
        match common {
            None => common = Some(bound(slot)?),
            Some(common) if common != slot => return Err(CommandError::CrossSlot),
            Some(_) => {}
        }
        Ok(())
    })?;
    Ok(common)
}

/// Calls `visit` for each key of the command, in order.
///
/// # Errors
/// What `visit` says, or the finder of a row whose arguments do not add up.
pub fn for_each_key(
    spec: &CommandSpec,
    args: &Args<'_>,
    visit: &mut dyn FnMut(&[u8]) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    for index in key_indexes(spec, args)? {
        if let Some(key) = args.get(index) {
            visit(key)?;
        }
    }
    Ok(())
}

/// How many keys the count at an index names: digits count up to where they end, as for C's `atoi`. `None` for none, and for
/// more than there are arguments: the handler has the error for it.
pub fn keys_count(args: &Args<'_>, count_at: usize) -> Option<usize> {
    let text = args.get(count_at)?.trim_ascii_start();
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let digits = text.iter().position(|byte| !byte.is_ascii_digit()).map_or(text, |end| &text[..end]);
    let count = parse_u64_lenient(digits).and_then(|count| usize::try_from(count).ok())?;
    (0..args.len().saturating_sub(count_at)).contains(&count).then_some(count)
}

/// The argument indexes of the command's keys. Indexes past the end do not occur.
pub fn key_indexes(spec: &CommandSpec, args: &Args<'_>) -> Result<Vec<usize>, CommandError> {
    let count = args.len();
    let mut indexes = match spec.keys {
        Keys::None | Keys::SlotNumber(_) => Vec::new(),
        Keys::At(at, _) => vec![at],
        Keys::Pair(at, _, _) => vec![at, at + 1],
        Keys::Range { first, last, step, .. } => {
            let last = if last < 0 { count as isize + last } else { last };
            (first..=last.max(0) as usize).step_by(step).collect()
        }
        Keys::Into(at, _) => (at..count).collect(),
        Keys::Counted { count_at, .. } => {
            let first = count_at + 1;
            (first..first + keys_count(args, count_at).unwrap_or(0)).collect()
        }
        Keys::IntoCounted { into, count_at } => {
            let (first, keys_count) = (count_at + 1, keys_count(args, count_at).unwrap_or(0));
            let into = (keys_count > 0).then_some(into);
            into.into_iter().chain(first..first + keys_count).collect()
        }
        // Redis looks from the same place on for all of them, whatever the specification says.
        Keys::AndStore { .. } => std::iter::once(1).chain(stored_key(args, STORE_FROM)).collect(),
        Keys::AtAndFound { finder, .. }
        | Keys::Behind { finder, .. }
        | Keys::AtOrBehind { finder, .. }
        | Keys::Found { finder, .. } => {
            let mut found = Vec::new();
            finder(args, &mut found)?;
            found
        }
    };
    indexes.retain(|index| *index < count);
    Ok(indexes)
}

/// Where the options of the shortest command with STORE begin.
const STORE_FROM: usize = 5;

/// The last key behind STORE or STOREDIST.
fn stored_key(args: &Args<'_>, from: usize) -> Option<usize> {
    let (mut index, mut found) = (from, None);
    while let Some(option) = args.get(index) {
        if index + 1 < args.len() && (is_word(option, "STORE") || is_word(option, "STOREDIST")) {
            index += 1;
            found = Some(index);
        }
        index += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::ArgsBuf;

    #[test]
    fn a_count_names_keys_as_far_as_it_is_a_number_and_they_are_there() {
        for (line, count) in [
            ("lmpop 2 a b left", Some(2)),
            ("lmpop 02x a b left", Some(2)),
            ("lmpop +1.5 a b left", Some(1)),
            ("lmpop 0 a b left", Some(0)),
            ("lmpop 3 a b left", Some(3)),
            ("lmpop 4 a b left", None),
            ("lmpop -1 a b left", None),
            ("lmpop x a b left", None),
            ("lmpop 99999999999999999999 a b left", None),
            ("lmpop", None),
        ] {
            let args: ArgsBuf = line.split(' ').collect();
            assert_eq!(keys_count(&args.as_args(), 1), count, "{line}");
        }
    }
}
