//! Parts of strings: APPEND, STRLEN, GETRANGE (SUBSTR), SETRANGE.

use super::arguments::integer;
use super::context::Context;
use super::error::CommandError;
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use super::strings::{store, string};
use crate::config::NotifyFlags;
use crate::keyspace::{Digits, StringValue};
use crate::resp::Args;

/// APPEND key value: the new length.
fn append(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let length = match entry.value() {
        None => {
            store(&mut entry, args, 2);
            args[2].len()
        }
        Some(value) => {
            let before = string(value)?.len();
            check_length(before, args[2].len(), cx.core.config.proto_max_bulk_len)?;
            entry.append(&args[2])
        }
    };
    cx.reply.integer(length as i64);
    cx.notify(NotifyFlags::STRING, "append", &args[1]);
    Ok(())
}

/// STRLEN key: 0 for a key that is not there.
fn strlen(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let length = match cx.core.keyspace.read(cx.caller.db as usize, key) {
        Some(value) => string(value)?.len(),
        None => 0,
    };
    cx.reply.integer(length as i64);
    Ok(())
}

/// GETRANGE key start end: both ends belong to the part; negative ones count from the end of the string.
fn getrange(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (start, end) = (integer(&args[2])?, integer(&args[3])?);
    let key = cx.key(&args[1]);
    let Some(value) = cx.core.keyspace.read(cx.caller.db as usize, key) else {
        cx.reply.bulk(b"");
        return Ok(());
    };
    let value = string(value)?;
    let part = part_of(start, end, value.len());
    match value {
        StringValue::Shared(bytes) => cx.reply.bulk_shared(&bytes.slice(part)),
        _ => cx.reply.bulk(&value.as_bytes(&mut Digits::new())[part]),
    }
    Ok(())
}

/// The bytes that GETRANGE means, within `0..length`.
fn part_of(start: i64, end: i64, length: usize) -> std::ops::Range<usize> {
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let from_start = |index: i64| -> usize {
        let distance = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
        if index < 0 { length.saturating_sub(distance) } else { distance }
    };
    let (start, end) = (from_start(start), from_start(end).saturating_add(1).min(length));
    if start < end { start..end } else { 0..0 }
}

/// SETRANGE key offset value: the new length. An empty value changes nothing.
fn setrange(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let offset =
        usize::try_from(integer(&args[2])?).map_err(|_| CommandError::text_static("ERR offset is out of range"))?;
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let before = entry.value().map_or(Ok(0), |value| string(value).map(|value| value.len()))?;
    let length = if args[3].is_empty() {
        before
    } else {
        check_length(offset, args[3].len(), cx.core.config.proto_max_bulk_len)?;
        entry.overwrite(offset, &args[3])
    };
    cx.reply.integer(length as i64);
    if !args[3].is_empty() {
        cx.notify(NotifyFlags::STRING, "setrange", &args[1]);
    }
    Ok(())
}

/// Holds a string within proto-max-bulk-len.
fn check_length(length: usize, more: usize, limit_bytes: u64) -> CommandResult {
    match length.checked_add(more) {
        Some(total) if total as u64 <= limit_bytes => Ok(()),
        _ => Err(CommandError::StringTooLong),
    }
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "append",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::INSERT),
        group: Group::String,
        since: "2.0.0",
        summary: "Adds bytes to the end of a string.",
        complexity: "O(1) on average, in the length of what is added",
        syntax: "key value",
        run: Run::OnOwner(append),
    },
    CommandSpec {
        name: "strlen",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::LOOK),
        group: Group::String,
        since: "2.2.0",
        summary: "Returns the length of a string in bytes.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(strlen),
    },
    CommandSpec {
        name: "getrange",
        arity: Arity::Exactly(4),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::String,
        since: "2.4.0",
        summary: "Returns a part of a string.",
        complexity: "O(N) in the length of the part",
        syntax: "key start end",
        run: Run::OnOwner(getrange),
    },
    CommandSpec {
        name: "substr",
        arity: Arity::Exactly(4),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::String,
        since: "1.0.0",
        summary: "Returns a part of a string; the old name of GETRANGE.",
        complexity: "O(N) in the length of the part",
        syntax: "key start end",
        run: Run::OnOwner(getrange),
    },
    CommandSpec {
        name: "setrange",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::At(1, Access::CHANGE),
        group: Group::String,
        since: "2.2.0",
        summary: "Overwrites a part of a string, which grows as needed.",
        complexity: "O(N) in the length of the value, and of the zeros before it",
        syntax: "key offset value",
        run: Run::OnOwner(setrange),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_cut_at_the_ends_of_the_string() {
        let cases = [
            (0, -1, 5, 0..5),
            (1, 3, 5, 1..4),
            (-3, -1, 5, 2..5),
            (-100, 1, 5, 0..2),
            (0, 100, 5, 0..5),
            (-1, -100, 5, 0..0),
            (-100, -99, 5, 0..1),
            (3, 2, 5, 0..0),
            (5, 9, 5, 0..0),
            (0, 0, 0, 0..0),
            (-1, -1, 0, 0..0),
            (i64::MIN, i64::MAX, 5, 0..5),
            (i64::MAX, i64::MAX, 5, 0..0),
            (i64::MIN, i64::MIN, 5, 0..1),
        ];
        for (start, end, length, part) in cases {
            assert_eq!(part_of(start, end, length), part, "{start} {end} {length}");
        }
    }

    #[test]
    fn lengths_are_checked_without_overflow() {
        assert_eq!(check_length(10, 2, 12), Ok(()));
        assert_eq!(check_length(10, 3, 12), Err(CommandError::StringTooLong));
        assert_eq!(check_length(usize::MAX, 1, u64::MAX), Err(CommandError::StringTooLong));
    }
}
