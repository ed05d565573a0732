//! Reading a stream by ids: XLEN, XRANGE, XREVRANGE.

use super::ids::{self, End};
use super::reply_entries;
use crate::command::arguments::{integer, is_word};
use crate::command::context::Context;
use crate::command::error::CommandError;
use crate::command::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::keyspace::stream::Stream;
use crate::resp::Args;

/// XLEN key: 0 for a key that is not there.
fn xlen(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (db, key) = (cx.db(), cx.key(&args[1]));
    let length = cx.core.keyspace.read_as::<Stream>(db, key)?.map_or(0, |stream| stream.log.len());
    cx.reply.integer(length as i64);
    Ok(())
}

/// XRANGE key start end [COUNT count].
fn xrange(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    range(cx, args, 2, 3)
}

/// XREVRANGE key end start [COUNT count].
fn xrevrange(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    range(cx, args, 3, 2)
}

/// Which end comes first says the direction.
fn range(cx: &mut Context<'_>, args: &Args<'_>, start_at: usize, end_at: usize) -> CommandResult {
    let start = ids::interval(&args[start_at], End::Start)?;
    let end = ids::interval(&args[end_at], End::Stop)?;
    let count = count_option(args)?;
    let (db, key) = (cx.db(), cx.key(&args[1]));
    let Some(stream) = cx.core.keyspace.read_as::<Stream>(db, key)? else {
        cx.reply.array(0);
        return Ok(());
    };
    // A count of 0 asks for nothing; without one, everything is wanted.
    let wanted = match count {
        Some(0) => {
            cx.reply.null_array();
            return Ok(());
        }
        count => count.unwrap_or(0),
    };
    if start_at < end_at {
        reply_entries(&mut cx.reply, stream.log.range(start, end), wanted);
    } else {
        reply_entries(&mut cx.reply, stream.log.range_back(start, end), wanted);
    }
    Ok(())
}

/// COUNT, 0 when it is negative; the last one counts.
fn count_option(args: &Args<'_>) -> Result<Option<u64>, CommandError> {
    let mut count = None;
    let mut at = 4;
    while let Some(option) = args.get(at) {
        let value = args.get(at + 1).filter(|_| is_word(option, "COUNT")).ok_or(CommandError::Syntax)?;
        count = Some(u64::try_from(integer(value)?).unwrap_or(0));
        at += 2;
    }
    Ok(count)
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "xlen",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::LOOK),
        group: Group::Stream,
        since: "5.0.0",
        summary: "Returns the number of entries in a stream.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(xlen),
    },
    CommandSpec {
        name: "xrange",
        arity: Arity::AtLeast(4),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Stream,
        since: "5.0.0",
        summary: "Returns the entries of a stream whose ids are in a range.",
        complexity: "O(N) in the number of entries returned",
        syntax: "key start end [COUNT count]",
        run: Run::OnOwner(xrange),
    },
    CommandSpec {
        name: "xrevrange",
        arity: Arity::AtLeast(4),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Stream,
        since: "5.0.0",
        summary: "Returns the entries of a stream whose ids are in a range, the last one first.",
        complexity: "O(N) in the number of entries returned",
        syntax: "key end start [COUNT count]",
        run: Run::OnOwner(xrevrange),
    },
];
