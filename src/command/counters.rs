//! Numbers in strings: INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT.

use super::arguments::integer;
use super::context::Context;
use super::error::CommandError;
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use super::strings::string;
use crate::base::long_double::LongDouble;
use crate::config::NotifyFlags;
use crate::keyspace::Digits;
use crate::resp::Args;

/// INCR key.
fn incr(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    add(cx, args, 1)
}

/// DECR key.
fn decr(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    add(cx, args, -1)
}

/// INCRBY key increment.
fn incrby(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    add(cx, args, integer(&args[2])?)
}

/// DECRBY key decrement.
fn decrby(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let delta = integer(&args[2])?.checked_neg();
    add(cx, args, delta.ok_or(CommandError::text_static("ERR decrement would overflow"))?)
}

/// Adds a signed 64-bit `delta`; a missing key counts as 0. The expiry stays.
/// Errors: `WrongType`, `NotAnInteger`, `IncrementOverflow`; on error nothing changes.
#[inline]
fn add(cx: &mut Context<'_>, args: &Args<'_>, delta: i64) -> CommandResult {
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let before = match entry.value() {
        None => 0,
        Some(value) => string(value)?.integer().ok_or(CommandError::NotAnInteger)?,
    };
    let after = before.checked_add(delta).ok_or(CommandError::IncrementOverflow)?;
    entry.set_integer(after);
    cx.reply.integer(after);
    cx.notify(NotifyFlags::STRING, "incrby", &args[1]);
    Ok(())
}

/// INCRBYFLOAT key increment: the sum as text, in the precision of an x87 `long double`; a missing key counts as 0.
fn incrbyfloat(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let before = match entry.value() {
        None => LongDouble::ZERO,
        Some(value) => LongDouble::parse(string(value)?.as_bytes(&mut Digits::new())).ok_or(CommandError::NotAFloat)?,
    };
    let delta = LongDouble::parse(&args[2]).ok_or(CommandError::NotAFloat)?;
    let after = before.plus(delta);
    if after.is_nan_or_infinite() {
        return Err(CommandError::NanOrInfinity);
    }
    let mut text = Vec::new();
    after.format_human(&mut text);
    entry.set_plain(&text);
    cx.reply.bulk(&text);
    cx.notify(NotifyFlags::STRING, "incrbyfloat", &args[1]);
    cx.journal_as(&[b"SET", &args[1], &text, b"KEEPTTL"]);
    Ok(())
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "incr",
        arity: Arity::Exactly(2),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE_AND_RETURN),
        group: Group::String,
        since: "1.0.0",
        summary: "Adds one to the integer at a key.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(incr),
    },
    CommandSpec {
        name: "decr",
        arity: Arity::Exactly(2),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE_AND_RETURN),
        group: Group::String,
        since: "1.0.0",
        summary: "Subtracts one from the integer at a key.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(decr),
    },
    CommandSpec {
        name: "incrby",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE_AND_RETURN),
        group: Group::String,
        since: "1.0.0",
        summary: "Adds to the integer at a key.",
        complexity: "O(1)",
        syntax: "key increment",
        run: Run::OnOwner(incrby),
    },
    CommandSpec {
        name: "decrby",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE_AND_RETURN),
        group: Group::String,
        since: "1.0.0",
        summary: "Subtracts from the integer at a key.",
        complexity: "O(1)",
        syntax: "key decrement",
        run: Run::OnOwner(decrby),
    },
    CommandSpec {
        name: "incrbyfloat",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE_AND_RETURN),
        group: Group::String,
        since: "2.6.0",
        summary: "Adds to the floating-point number at a key.",
        complexity: "O(1)",
        syntax: "key increment",
        run: Run::OnOwner(incrbyfloat),
    },
];
