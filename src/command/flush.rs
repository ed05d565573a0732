//! FLUSHDB and FLUSHALL: every core drops what it has.

use super::arguments::is_word;
use super::context::Context;
use super::core::Effect;
use super::error::CommandError;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Part, Run};
use super::tracking;
use crate::base::core_id::CoreId;
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
    record_flush(cx, args);
    let disposal = if in_background { Disposal::Background } else { Disposal::Now };
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

fn flush_merge(cx: &mut Context<'_>, _: &Args<'_>, _: Vec<Part>) -> CommandResult {
    cx.reply.ok();
    Ok(())
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "flushdb",
        arity: Arity::AtLeast(1),
        flags: Flags::WRITE.and(Flags::DANGEROUS).and(Flags::KEYSPACE),
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
        flags: Flags::WRITE.and(Flags::DANGEROUS).and(Flags::KEYSPACE),
        keys: Keys::None,
        group: Group::Server,
        since: "1.0.0",
        summary: "Removes all keys of all databases.",
        complexity: "O(N) in the number of keys",
        syntax: "[ASYNC | SYNC]",
        run: Run::OnEveryCore { part: flushall_part, merge: flush_merge },
    },
];
