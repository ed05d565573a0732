//! CLUSTER MIGRATESLOTS, GETSLOTMIGRATIONS, CANCELSLOTMIGRATIONS, and SYNCSLOTS, which nodes say to one another (`cluster::migration`).
//!
//! The jobs are core 0's. What a connection of another node sends to slots that are on their way passes [`judge`] in place of the gate.
//! SYNCSLOTS does its share on every core, so that whatever came before it over the same connection is done by then.

use super::super::arguments::is_word;
use super::super::client::{Client, ClientRef, MigrationEnd};
use super::super::context::Context;
use super::super::core::{Core, Effect};
use super::super::error::CommandError;
use super::super::gate::{self, Place, Verdict};
use super::super::memory_limit;
use super::super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Part, Run};
use super::{ADMIN, ROW, membership};
use crate::base::core_id::CoreId;
use crate::base::hex::HexId;
use crate::base::number::parse_i64;
use crate::base::slot::{Slot, SlotSet};
use crate::cluster::migration::{Act, End, Event, Job, Moment};
use crate::cluster::node::NodeIndex;
use crate::cluster::state::ClusterState;
use crate::command::node::Node;
use crate::resp::{Args, ArgsBuf};

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "cluster|cancelslotmigrations",
        flags: ADMIN,
        since: "9.0.0",
        summary: "Gives up all moves of slots that this node is the source of.",
        complexity: "O(N) where N is the number of moves",
        run: Run::OnFirstCore(cancel),
        ..ROW
    },
    CommandSpec {
        name: "cluster|getslotmigrations",
        flags: ADMIN,
        since: "9.0.0",
        summary: "Describes moves of slots, under way or lately over.",
        complexity: "O(N) where N is the number of moves",
        run: Run::OnFirstCore(list),
        ..ROW
    },
    CommandSpec {
        name: "cluster|migrateslots",
        arity: Arity::AtLeast(4),
        flags: ADMIN,
        since: "9.0.0",
        summary: "Moves slots of this node to others, with their keys.",
        complexity: "O(N) where N is the number of slots in the ranges",
        syntax: "SLOTSRANGE start-slot end-slot [start-slot end-slot ...] NODE node-id [SLOTSRANGE start-slot end-slot \
                 [start-slot end-slot ...] NODE node-id ...]",
        run: Run::OnFirstCore(migrate),
        ..ROW
    },
    CommandSpec {
        name: "cluster|syncslots",
        arity: Arity::AtLeast(3),
        flags: ADMIN.and(Flags::NO_MULTI),
        since: "9.0.0",
        summary: "What the two ends of a move of slots say to each other.",
        complexity: "Depends on subcommand.",
        run: Run::OnEveryCore { part: note_word, merge: pass_word_on },
        ..ROW
    },
];

/// What is to be done for migrations beyond the data of a core.
pub enum Order {
    /// What the state machine has decided of a job (core 0).
    Do { job: HexId, acts: Vec<Act> },
    /// A client has said a word of the dialogue.
    Word { client: ClientRef, words: ArgsBuf },
    /// What a client at the other end of a migration has sent cannot be done.
    Broken { client: ClientRef, why: String },
    /// The primary, or a file, has told of a job (core 0).
    Known,
}

/// What every core must know of migrations: a snapshot that core 0 publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrationView {
    /// Slots to which writes wait.
    pub held: Option<Box<SlotSet>>,
    /// Slots whose keys are here and are shown to nobody.
    pub hidden: Option<Box<SlotSet>>,
}

/// Takes over a new view.
pub fn follow(core: &mut Core, view: MigrationView) {
    if view.held != core.migration.held {
        core.effects.push(Effect::PauseChanged);
    }
    if view.hidden != core.migration.hidden {
        match &view.hidden {
            Some(slots) => core.keyspace.hide_slots(slots),
            None => core.keyspace.hide_slots(&SlotSet::new()),
        }
    }
    core.migration = view;
}

/// Whether a request has to wait: it writes to a slot that is being handed over, or to all slots.
#[cold]
pub fn is_held(core: &Core, client: &Client, spec: &CommandSpec, slot: Option<Slot>) -> bool {
    const WRITES: u32 = Flags::WRITE.0 | Flags::MAY_REPLICATE.0;
    let Some(held) = &core.migration.held else { return false };
    let is_one = |spec: &CommandSpec, slot: Option<Slot>| {
        let is_about_data = spec.group != Group::PubSub && spec.flags.0 & WRITES != 0;
        is_about_data && slot.is_none_or(|slot| held.contains(slot))
    };
    let slot_at = |spec: &CommandSpec, slot: Option<Slot>, args: &Args<'_>| slot.or_else(|| first_slot(spec, args));
    match spec.name {
        "exec" => client.transaction.iter().flat_map(|transaction| &transaction.queue).any(|queued| {
            let spec = queued.command.spec();
            is_one(spec, slot_at(spec, queued.slot, &queued.args.as_args()))
        }),
        _ => client.transaction.is_none() && is_one(spec, slot),
    }
}

fn first_slot(spec: &CommandSpec, args: &Args<'_>) -> Option<Slot> {
    let key = gate::key_indexes(spec, args).ok()?.first().copied()?;
    args.get(key).map(crate::base::slot::key_slot)
}

// ---- of an operator -----------------------------------------------------------------------------------------------

fn moment(core: &Core) -> Moment {
    Moment { ms: core.clock.monotonic_us() / 1000, unix_s: core.clock.unix().seconds() }
}

fn refused(text: &'static str) -> CommandError {
    CommandError::text_static(text)
}

/// Whether a migration may begin on this node.
fn check_node(state: &ClusterState) -> CommandResult {
    if !state.myself().is_primary() {
        return Err(refused("ERR Slot migration can only be used on primary nodes."));
    }
    if state.has_importing() {
        return Err(refused("ERR Slots are being manually imported"));
    }
    if state.has_migrating() {
        return Err(refused("ERR Slots are being manually migrated"));
    }
    Ok(())
}

/// Slot ranges behind SLOTSRANGE, all of one node.
struct Ranges {
    list: Vec<(Slot, Slot)>,
    owner: NodeIndex,
    /// The first argument behind them.
    end: usize,
}

impl Ranges {
    /// Reads pairs of slots until an argument is no number. `state`: none where it does not matter whose they are.
    fn parse(state: Option<&ClusterState>, args: &Args<'_>, begin: usize) -> Result<Ranges, CommandError> {
        let mut ranges = Ranges { list: Vec::new(), owner: NodeIndex::MYSELF, end: begin };
        let slot = |digits: &[u8]| parse_i64(digits).and_then(Slot::checked).ok_or(CommandError::InvalidSlot);
        let mut owner = None;
        while let Some(first) = args.get(ranges.end).filter(|word| parse_i64(word).is_some()) {
            let first = slot(first)?;
            let last = args.get(ranges.end + 1).ok_or(refused("ERR No end slot for final slot range"))?;
            let last = slot(last)?;
            if first > last {
                return Err(CommandError::formatted(format!(
                    "ERR Start slot number {first} is greater than end slot number {last}."
                )));
            }
            for number in first.get()..=last.get() {
                let Some(state) = state else { break };
                let serves = state
                    .owner(Slot::new(number))
                    .ok_or_else(|| CommandError::formatted(format!("ERR Slot {number} has no node served.")))?;
                if *owner.get_or_insert(serves) != serves {
                    return Err(refused("ERR Requested slots span multiple shards"));
                }
            }
            if let Some((a, b)) = ranges.list.iter().find(|(a, b)| *a <= last && first <= *b) {
                return Err(CommandError::formatted(format!(
                    "ERR Slot range {first}-{last} overlaps with previous range {a}-{b}."
                )));
            }
            ranges.list.push((first, last));
            ranges.end += 2;
        }
        if ranges.list.is_empty() {
            return Err(refused("ERR No slot ranges specified"));
        }
        ranges.owner = owner.unwrap_or(NodeIndex::MYSELF);
        Ok(ranges)
    }

    fn slots(&self) -> SlotSet {
        self.list.iter().flat_map(|(first, last)| (first.get()..=last.get()).map(Slot::new)).collect()
    }
}

/// CLUSTER MIGRATESLOTS SLOTSRANGE first last [first last ...] NODE id [SLOTSRANGE ... NODE id ...].
fn migrate(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    check_node(membership(cx)?.state())?;
    let node = cx.core.node();
    let Some(state) = node.cluster.as_deref().map(|cluster| cluster.state()) else { return Ok(()) };
    let source = state.myself().id;
    let mut wanted: Vec<(Ranges, HexId)> = Vec::new();
    let mut at = 2;
    while let Some(word) = args.get(at) {
        if !is_word(word, "SLOTSRANGE") {
            return Err(CommandError::Syntax);
        }
        let ranges = Ranges::parse(Some(state), args, at + 1)?;
        if ranges.owner != NodeIndex::MYSELF {
            return Err(refused("ERR Slots are not served by this node."));
        }
        let slots = ranges.slots();
        for slot in slots.iter() {
            if node.migrations.open(End::Export).any(|job| job.slots.contains(slot)) {
                return Err(CommandError::formatted(format!("ERR I am already migrating slot {slot}.")));
            }
        }
        if wanted.iter().any(|(other, _)| other.slots().overlaps(&slots)) {
            return Err(refused("ERR Slot ranges in migrations overlap"));
        }
        let (Some(word), Some(id)) = (args.get(ranges.end), args.get(ranges.end + 1)) else {
            return Err(CommandError::Syntax);
        };
        if !is_word(word, "NODE") {
            return Err(CommandError::Syntax);
        }
        if id.len() != source.as_bytes().len() {
            return Err(CommandError::quoting("ERR Invalid node name: ", id, ""));
        }
        let target = HexId::parse(id).filter(|id| state.find(id).is_some());
        let target = target.ok_or_else(|| CommandError::quoting("ERR Unknown node name: ", id, ""))?;
        if target == source {
            return Err(refused("ERR Target node can not be this node."));
        }
        at = ranges.end + 2;
        wanted.push((ranges, target));
    }
    let now = moment(cx.core);
    for (ranges, target) in wanted {
        let name = HexId::random(&mut cx.core.random);
        cx.core.node().migrations.begin_export(now, name, ranges.list, source, target);
        cx.core.effects.push(Effect::Migration(Order::Do { job: name, acts: vec![Act::Connect] }));
    }
    cx.reply.ok();
    Ok(())
}

/// CLUSTER GETSLOTMIGRATIONS: a map for each job, the latest first. The last two of its fields are slotcore's own.
fn list(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    membership(cx)?;
    let Node { migrations, .. } = cx.core.node.as_deref().ok_or(CommandError::ClusterDisabled)?;
    cx.reply.array(migrations.len());
    for job in migrations.iter() {
        describe(&mut cx.reply, job);
    }
    Ok(())
}

fn describe(reply: &mut crate::resp::Reply<'_>, job: &Job) {
    let nodes = job.target.zip(job.source);
    reply.map(if nodes.is_some() { 14 } else { 12 });
    let mut text = |name: &str, value: &str| {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    };
    text("name", job.name.as_str());
    text("operation", if job.end == End::Import { "IMPORT" } else { "EXPORT" });
    text("slot_ranges", &job.ranges_text());
    if let Some((target, source)) = nodes {
        text("target_node", target.as_str());
        text("source_node", source.as_str());
    }
    for (name, seconds) in
        [("create_time", job.created_s), ("last_update_time", job.updated_s), ("last_ack_time", job.acked_s)]
    {
        reply.bulk(name.as_bytes());
        reply.integer(seconds);
    }
    for (name, value) in [("state", job.state.name()), ("message", &job.message)] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    // Nothing is forked.
    let counts = [
        ("cow_size", 0),
        ("remaining_repl_size", job.waiting_bytes()),
        ("sent_keys", job.sent_keys),
        ("sent_bytes", job.sent_bytes),
    ];
    for (name, count) in counts {
        reply.bulk(name.as_bytes());
        reply.integer(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// CLUSTER CANCELSLOTMIGRATIONS.
fn cancel(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    membership(cx)?;
    let exports: Vec<HexId> = cx.core.node().migrations.open(End::Export).map(|job| job.name).collect();
    if exports.is_empty() {
        return Err(refused("ERR No migrations ongoing"));
    }
    exports.iter().for_each(|job| event(cx.core, job, Event::Cancelled));
    tracing::info!("Canceled all in progress slot migrations (user request)");
    cx.reply.ok();
    Ok(())
}

/// Tells a job of an event, and sees to it that what follows is done (core 0).
pub fn event(core: &mut Core, job: &HexId, event: Event) {
    let now = moment(core);
    let node = core.node();
    let limits = node.migration_limits();
    let acts = node.migrations.handle(now, &limits, job, event);
    if !acts.is_empty() {
        core.effects.push(Effect::Migration(Order::Do { job: *job, acts }));
    }
}

// ---- of other nodes -------------------------------------------------------------------------------------------------

/// SYNCSLOTS on each core. Where it is run again, by a replica or from a file, it tells of a job of another node, or of an earlier
/// time; core 0 takes note.
fn note_word(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    if cx.core.id == CoreId::FIRST && cx.core.obeys() && cx.core.cluster.enabled {
        cx.journal_with(args, &[]);
        note_known(cx.core, args)?;
    }
    Ok(Part::done())
}

fn note_known(core: &mut Core, args: &Args<'_>) -> CommandResult {
    let now = moment(core);
    if is_word(&args[2], "ESTABLISH") {
        let Establish { name: Some(name), ranges: Some(ranges), .. } = Establish::parse(None, args)? else {
            return Err(CommandError::Syntax);
        };
        core.node().migrations.note_import(now, name, ranges.list);
    } else if is_word(&args[2], "FINISH") {
        let Finish { name, succeeded, message } = Finish::parse(args)?;
        let node = core.node();
        let limits = node.migration_limits();
        node.migrations.note_end(now, &limits, &name, succeeded, message);
    }
    core.effects.push(Effect::Migration(Order::Known));
    Ok(())
}

/// SYNCSLOTS from a client: core 0 hears it, and answers, if at all, with a line of its own.
fn pass_word_on(cx: &mut Context<'_>, args: &Args<'_>, _: Vec<Part>) -> CommandResult {
    if !cx.core.cluster.enabled {
        return Err(CommandError::ClusterDisabled);
    }
    let order = Order::Word { client: cx.caller.client, words: ArgsBuf::from(args) };
    cx.core.effects.push(Effect::Migration(order));
    Ok(())
}

/// ESTABLISH's fields, in any order.
#[derive(Default)]
struct Establish {
    source: Option<HexId>,
    name: Option<HexId>,
    ranges: Option<Ranges>,
}

impl Establish {
    fn parse(state: Option<&ClusterState>, args: &Args<'_>) -> Result<Establish, CommandError> {
        let mut fields = Establish::default();
        let mut at = 3;
        let id_at = |at: usize| args.get(at).and_then(HexId::parse).ok_or(CommandError::Syntax);
        while let Some(word) = args.get(at) {
            if is_word(word, "SOURCE") && fields.source.is_none() {
                let id = id_at(at + 1)?;
                at += 2;
                // A replica need not know the same nodes.
                let Some(state) = state else { continue };
                match state.find(&id) {
                    None => return Err(refused("ERR Target node does not know the source node")),
                    Some(NodeIndex::MYSELF) => return Err(refused("ERR Source node is target node itself")),
                    Some(_) => fields.source = Some(id),
                }
            } else if is_word(word, "NAME") && fields.name.is_none() {
                fields.name = Some(id_at(at + 1)?);
                at += 2;
            } else if is_word(word, "SLOTSRANGE") && fields.ranges.is_none() {
                let ranges = Ranges::parse(state, args, at + 1)?;
                at = ranges.end;
                fields.ranges = Some(ranges);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(fields)
    }
}

/// FINISH's fields.
struct Finish {
    name: HexId,
    succeeded: bool,
    message: String,
}

impl Finish {
    fn parse(args: &Args<'_>) -> Result<Finish, CommandError> {
        let (mut name, mut state, mut message) = (None, None, None);
        for at in (3..args.len()).step_by(2) {
            let (word, value) = (&args[at], args.get(at + 1).ok_or(CommandError::Syntax)?);
            if is_word(word, "STATE") && state.is_none() {
                state = match value {
                    value if is_word(value, "SUCCESS") => Some(true),
                    value if is_word(value, "FAILED") => Some(false),
                    _ => return Err(CommandError::Syntax),
                };
            } else if is_word(word, "NAME") && name.is_none() {
                name = Some(HexId::parse(value).ok_or(CommandError::Syntax)?);
            } else if is_word(word, "MESSAGE") && message.is_none() {
                message = Some(String::from_utf8_lossy(value).into_owned());
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let (Some(name), Some(succeeded)) = (name, state) else { return Err(CommandError::Syntax) };
        Ok(Finish { name, succeeded, message: message.unwrap_or_default() })
    }
}

/// Another node wants to send slots to this one: the job's name, and its slots (core 0).
///
/// # Errors
/// Valkey's text; nothing has changed then.
pub fn establish(core: &mut Core, args: &Args<'_>) -> Result<(HexId, Box<SlotSet>), CommandError> {
    let now = moment(core);
    let node = core.node();
    let state = node.cluster.as_deref().ok_or(CommandError::ClusterDisabled)?.state();
    check_node(state)?;
    let fields = Establish::parse(Some(state), args)?;
    let (Some(source), Some(name), Some(ranges)) = (fields.source, fields.name, fields.ranges) else {
        return Err(CommandError::Syntax);
    };
    let slots = Box::new(ranges.slots());
    if node.migrations.open(End::Import).any(|job| job.slots.overlaps(&slots)) {
        return Err(refused("ERR Slot is already being imported on the target by a different migration"));
    }
    if state.find(&source) != Some(ranges.owner) {
        return Err(refused("ERR Target node does not agree about current slot ownership"));
    }
    if node.migrations.get(&name).is_some() {
        return Err(CommandError::Syntax);
    }
    let target = state.myself().id;
    node.migrations.begin_import(now, name, ranges.list, source, target);
    Ok((name, slots))
}

/// FINISH from somebody who is not this node's primary.
pub fn finish_refusal(core: &mut Core, args: &Args<'_>) -> CommandError {
    match Finish::parse(args) {
        Ok(finish) if core.node().migrations.get(&finish.name).is_none() => refused("ERR No such slot migration job"),
        Ok(_) => refused("ERR CLUSTER SYNCSLOTS FINISH should only be used by the primary of a node"),
        Err(error) => error,
    }
}

/// Passes judgement on what the other end of a migration sends: words of the dialogue, and from a source, commands that write to the
/// slots that are on their way here.
pub fn judge(core: &mut Core, index: u32, args: &Args<'_>) -> Verdict {
    let command = match gate::find(args) {
        Ok(command) => command,
        Err(refusal) => return refusal,
    };
    let spec = command.spec();
    let run = |place, slot| Verdict::Run { command, place, slot, is_slot_open: false };
    let refusal = |error| Verdict::Refused { error, command: Some(command) };
    if spec.name == "cluster|syncslots" {
        return run(Place::Every, None);
    }
    let Some(MigrationEnd::Import { slots, .. }) = core.clients[index as usize].migration.as_deref() else {
        return refusal(refused("ERR only CLUSTER SYNCSLOTS comes from a target"));
    };
    if matches!(spec.name, "ping" | "select") {
        return run(Place::Connection, None);
    }
    let Run::OnOwner(_) = spec.run else { return refusal(refused("ERR not a command about a key")) };
    let mut common = None;
    let outcome = gate::for_each_key(spec, args, &mut |key| {
        let slot = crate::base::slot::key_slot(key);
        match *common.get_or_insert(slot) == slot && slots.contains(slot) {
            true => Ok(()),
            false => Err(refused("ERR not a key of the slots that are imported")),
        }
    });
    let slot = match (outcome, common) {
        (Err(error), _) => return refusal(error),
        (Ok(()), None) => return refusal(refused("ERR a command without a key")),
        (Ok(()), Some(slot)) => slot,
    };
    if core.config.maxmemory != 0 && memory_limit::refuses(core, spec.flags) {
        return refusal(CommandError::OutOfMemory);
    }
    run(Place::Core(core.owners.owner(slot)), Some(slot))
}
