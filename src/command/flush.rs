//! FLUSHDB and FLUSHALL: every core drops what it has. And the slots that have gone to another node, with their keys.

use super::arguments::is_word;
use super::cluster::migration;
use super::context::Context;
use super::core::{Core, Effect};
use super::error::CommandError;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Part, Run};
use super::tracking;
use crate::base::core_id::CoreId;
use crate::base::slot::{SLOTS_COUNT, Slot, SlotSet};
use crate::cluster::migration::Event;
use crate::config::NotifyFlags;
use crate::keyspace::Disposal;
use crate::resp::Args;

/// FLUSHDB [ASYNC | SYNC].
fn flushdb_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let db = cx.db();
    flush(cx, args, Some(db))
}

/// FLUSHALL [ASYNC | SYNC].
fn flushall_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    flush(cx, args, None)
}

/// Whether the option says that the memory is freed later; none without one.
///
/// # Errors
/// Redis's text for another option.
fn in_background(args: &Args<'_>) -> Result<Option<bool>, CommandError> {
    match (args.get(1), args.len()) {
        (None, _) => Ok(None),
        (Some(option), 2) if is_word(option, "ASYNC") => Ok(Some(true)),
        (Some(option), 2) if is_word(option, "SYNC") => Ok(Some(false)),
        _ => Err(CommandError::Syntax),
    }
}

fn flush(cx: &mut Context<'_>, args: &Args<'_>, db: Option<usize>) -> Result<Part, CommandError> {
    let in_background = in_background(args)?.unwrap_or(cx.core.config.lazyfree_lazy_user_flush);
    let disposal = if in_background { Disposal::Background } else { Disposal::Now };
    if cx.caller.is_on_core_port && cx.core.facts.cores_count > 1 {
        flush_own_slots(cx.core, disposal);
        return Ok(Part::done());
    }
    record_flush(cx, args);
    end_migrations(cx.core);
    tracking::flushed(cx.core);
    let removed = cx.core.keyspace.flush(db, disposal);
    if let Some(node) = cx.core.node.as_mut().filter(|_| db.is_none()) {
        node.persistence.saving.note_flush(&node.config);
    }
    if removed > 0 && !in_background {
        cx.core.effects.push(Effect::PurgeMemory);
    }
    Ok(Part::done())
}

/// Drops the keys of this core alone. No word of Redis says that of some slots, so replicas, files, a node that slots are on their
/// way to and whoever has copies are told of each key. What has come from another node and is shown to nobody yet stays: it is not
/// of this node's slots.
fn flush_own_slots(core: &mut Core, disposal: Disposal) {
    let hidden = core.migration.hidden.clone();
    let is_shown = |slot: &Slot| hidden.as_ref().is_none_or(|hidden| !hidden.contains(*slot));
    let is_recorded = core.journal.is_on();
    let is_told = is_recorded || core.keyspace.notes_wanted().changed;
    for slot in Slot::all().filter(is_shown) {
        if core.keyspace.slot_len(0, slot) == 0 {
            continue;
        }
        let keys = if is_told { core.keyspace.slot_keys(0, slot) } else { Vec::new() };
        core.keyspace.flush_slot(0, slot, disposal);
        core.settle();
        tell_removals(core, &keys, is_recorded, disposal);
    }
    if disposal == Disposal::Now {
        core.effects.push(Effect::PurgeMemory);
    }
}

/// What was sent to another node is no more, and what came from one neither (core 0).
fn end_migrations(core: &mut Core) {
    let jobs = core.node.iter().flat_map(|node| node.migrations.under_way());
    let jobs: Vec<_> = jobs.map(|job| job.name).collect();
    jobs.iter().for_each(|job| migration::event(core, job, Event::Flushed));
}

/// A flush is recorded even where nothing was left to go, as in Redis, and once for all cores: by the share of the first one,
/// which has all keys outside of cluster mode, so that the record stands among those of its commands where the flush took
/// place. Where several cores have keys it must not stand in the file of one, where it would remove what a reader has read from the
/// others': there each core goes on to a new file, and core 0 tells the log when all have flushed.
fn record_flush(cx: &mut Context<'_>, args: &Args<'_>) {
    if cx.core.config.cluster_enabled && cx.core.facts.cores_count > 1 {
        // What is loaded is recorded already.
        if !cx.core.disk.loading {
            cx.core.effects.push(Effect::Flushed);
        }
    } else if cx.core.id == CoreId::FIRST {
        cx.journal_with(args, &[]);
    }
}

/// Drops this core's keys of slots that are another node's now, in one go as in Redis, so that nothing written since can be meant.
/// What follows from each removal, for the log, for trackers and for listeners, follows in parts ([`tell_dropped`]), and the memory is freed
/// behind it. The keys of all slots go as with FLUSHALL.
pub fn drop_slots(core: &mut Core, slots: &SlotSet) {
    if slots.count() == SLOTS_COUNT {
        return drop_all(core);
    }
    end_dropping(core, |slot| slots.contains(slot));
    let notes_events = core.config.notify_keyspace_events.has(NotifyFlags::GENERIC);
    // Whoever these slots are on their way to has them by now, or drops them itself.
    let is_told = core.journal.is_kept() || notes_events || core.keyspace.notes_wanted().changed;
    let is_walked = core.keyspace.is_in_snapshot();
    for slot in slots.iter().filter(|slot| core.keyspace.slot_len(0, *slot) > 0).collect::<Vec<_>>() {
        match is_told {
            true if !is_walked => _ = core.keyspace.set_slot_aside(slot),
            true => {
                // The walk of a snapshot takes the keys over: it has still to see them.
                let keys = core.keyspace.slot_keys(0, slot);
                core.keyspace.flush_slot(0, slot, Disposal::Background);
                tell_of_dropped(core, &keys);
            }
            false => _ = core.keyspace.flush_slot(0, slot, Disposal::Background),
        }
        core.settle();
    }
}

/// Goes on with what follows from dropped keys: of so many of them at most. Whether there was any.
pub fn tell_dropped(core: &mut Core, keys_max: usize) -> bool {
    let keys = core.keyspace.take_leavers(None, keys_max);
    tell_of_dropped(core, &keys);
    !keys.is_empty()
}

/// What follows from the keys that were dropped of these slots follows now: keys are to come to them again.
pub fn end_dropping(core: &mut Core, ends: impl Fn(Slot) -> bool) {
    let slots: Vec<Slot> = core.keyspace.leaving_slots().filter(|slot| ends(*slot)).collect();
    for slot in slots {
        let keys = core.keyspace.take_leavers(Some(slot), usize::MAX);
        tell_of_dropped(core, &keys);
    }
}

fn tell_of_dropped(core: &mut Core, keys: &[Box<[u8]>]) {
    tell_removals(core, keys, core.journal.is_kept(), Disposal::Now);
    keys.iter().for_each(|key| core.notify(NotifyFlags::GENERIC, "del", 0, key));
}

/// Tells whoever reads the journal, if they are to hear of it, and whoever has copies of them, that these keys are no more.
fn tell_removals(core: &mut Core, keys: &[Box<[u8]>], is_recorded: bool, disposal: Disposal) {
    for key in keys {
        if is_recorded {
            core.journal.record_removal(0, key, disposal == Disposal::Background);
            core.journal.close_unit();
        }
        if core.keyspace.notes_wanted().changed {
            tracking::key_changed(core, 0, key);
        }
    }
}

fn drop_all(core: &mut Core) {
    if core.config.cluster_enabled && core.facts.cores_count > 1 {
        core.effects.push(Effect::Flushed);
    } else if core.journal.is_on() {
        core.journal.record(0, [&b"FLUSHALL"[..]].into_iter());
        core.journal.close_unit();
    }
    tracking::flushed(core);
    core.keyspace.flush(None, Disposal::Background);
    core.settle();
    if let Some(node) = core.node.as_mut() {
        node.persistence.saving.note_flush(&node.config);
    }
}

fn flush_merge(cx: &mut Context<'_>, _: &Args<'_>, _: Vec<Part>) -> CommandResult {
    cx.reply.ok();
    Ok(())
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "flushdb",
        arity: Arity::AtLeast(1),
        flags: Flags::WRITE.and(Flags::DANGEROUS).and(Flags::KEYSPACE).and(Flags::BY_CORE),
        keys: Keys::None,
        group: Group::Server,
        since: "1.0.0",
        summary: "Removes all keys of the database.",
        complexity: "O(N) in the number of keys of the database",
        syntax: "[ASYNC | SYNC]",
        run: Run::OnEveryCore { part: flushdb_part, merge: flush_merge },
    },
    CommandSpec {
        name: "flushall",
        arity: Arity::AtLeast(1),
        flags: Flags::WRITE.and(Flags::DANGEROUS).and(Flags::KEYSPACE).and(Flags::BY_CORE),
        keys: Keys::None,
        group: Group::Server,
        since: "1.0.0",
        summary: "Removes all keys of all databases.",
        complexity: "O(N) in the number of keys",
        syntax: "[ASYNC | SYNC]",
        run: Run::OnEveryCore { part: flushall_part, merge: flush_merge },
    },
];
