//! Numbers in hashes: HINCRBY and HINCRBYFLOAT.

use super::arguments::integer;
use super::context::Context;
use super::error::CommandError;
use super::hashes::limits;
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::base::long_double::LongDouble;
use crate::config::NotifyFlags;
use crate::keyspace::Entry;
use crate::keyspace::hash::{Hash, HashLimits};
use crate::keyspace::listpack::{Digits, Element};
use crate::resp::Args;

/// HINCRBY key field increment: a missing field counts as 0.
fn hincrby(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let delta = integer(&args[3])?;
    let limits = limits(&cx.core.config);
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let before = match value(&entry, &args[2])? {
        None => 0,
        Some(value) => value.integer().ok_or(CommandError::text_static("ERR hash value is not an integer"))?,
    };
    let after = before.checked_add(delta).ok_or(CommandError::IncrementOverflow)?;
    set(&mut entry, &args[2], Digits::new().format(after).as_bytes(), limits)?;
    cx.reply.integer(after);
    cx.notify(NotifyFlags::HASH, "hincrby", &args[1]);
    Ok(())
}

/// HINCRBYFLOAT key field increment: the sum as text, in the precision of an x87 `long double`; a missing field counts as 0.
fn hincrbyfloat(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let delta = LongDouble::parse(&args[3]).ok_or(CommandError::NotAFloat)?;
    if delta.is_nan_or_infinite() {
        return Err(CommandError::text_static("ERR value is NaN or Infinity"));
    }
    let limits = limits(&cx.core.config);
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let before = match value(&entry, &args[2])? {
        None => LongDouble::ZERO,
        Some(value) => LongDouble::parse(value.as_bytes(&mut Digits::new()))
            .ok_or(CommandError::text_static("ERR hash value is not a float"))?,
    };
    let after = before.plus(delta);
    if after.is_nan_or_infinite() {
        return Err(CommandError::NanOrInfinity);
    }
    let mut text = Vec::new();
    after.format_human(&mut text);
    set(&mut entry, &args[2], &text, limits)?;
    cx.reply.bulk(&text);
    cx.notify(NotifyFlags::HASH, "hincrbyfloat", &args[1]);
    cx.journal_with(args, &[(0, b"HSET"), (3, &text)]);
    Ok(())
}

fn value<'e>(entry: &'e Entry<'_>, field: &[u8]) -> Result<Option<Element<'e>>, CommandError> {
    Ok(entry.collection::<Hash>()?.and_then(|hash| hash.get(field)))
}

fn set(entry: &mut Entry<'_>, field: &[u8], value: &[u8], limits: HashLimits) -> CommandResult {
    entry.collection_or_new::<Hash>()?.set(field, value, limits);
    entry.commit(1);
    Ok(())
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "hincrby",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE_AND_RETURN),
        group: Group::Hash,
        since: "2.0.0",
        summary: "Adds a number to the integer in a field of a hash.",
        complexity: "O(1)",
        syntax: "key field increment",
        run: Run::OnOwner(hincrby),
    },
    CommandSpec {
        name: "hincrbyfloat",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE_AND_RETURN),
        group: Group::Hash,
        since: "2.6.0",
        summary: "Adds a number to the floating-point number in a field of a hash.",
        complexity: "O(1)",
        syntax: "key field increment",
        run: Run::OnOwner(hincrbyfloat),
    },
];
