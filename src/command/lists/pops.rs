//! Taking elements from the ends of lists: LPOP, RPOP, LMPOP, and the same waiting for an element.

use super::super::arguments::{integer, is_word};
use super::super::blocking::{self, Nothing, Timeout, Wait};
use super::super::context::Context;
use super::super::error::CommandError;
use super::super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use super::write_item;
use crate::config::NotifyFlags;
use crate::keyspace::ValueKind;
use crate::keyspace::list::{End, List};
use crate::resp::{Args, Reply};

/// LPOP key [count].
fn lpop(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    pop(cx, args, End::Front)
}

/// RPOP key [count].
fn rpop(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    pop(cx, args, End::Back)
}

/// One element, or an array of up to `count`; the null of the one or the other without the list.
fn pop(cx: &mut Context<'_>, args: &Args<'_>, end: End) -> CommandResult {
    let count = match args.get(2) {
        _ if args.len() > 3 => {
            return Err(CommandError::WrongArity(if end == End::Front { "lpop".into() } else { "rpop".into() }));
        }
        None => None,
        Some(count) => Some(positive(count)?),
    };
    let taken = match count {
        None => take(cx, &args[1], end, 1, write_one)?,
        Some(count) => take(cx, &args[1], end, count, write_some)?,
    };
    match (taken, count) {
        (Some(_), _) => {}
        (None, None) => cx.reply.null(),
        (None, Some(_)) => cx.reply.null_array(),
    }
    Ok(())
}

/// A count that is not negative.
fn positive(argument: &[u8]) -> Result<usize, CommandError> {
    let count = integer(argument).ok().and_then(|count| usize::try_from(count).ok());
    count.ok_or(CommandError::text_static("ERR value is out of range, must be positive"))
}

/// A number of at least one, else the error with `text`.
fn at_least_one(argument: &[u8], text: &'static str) -> Result<usize, CommandError> {
    let number = integer(argument).ok().and_then(|number| usize::try_from(number).ok());
    number.filter(|number| *number > 0).ok_or(CommandError::text_static(text))
}

/// Shows up to `count` elements from an end of the list at a key to `write`, which replies, then removes them; how many they
/// were. `None` without a list; nothing is written then.
fn take(
    cx: &mut Context<'_>,
    name: &[u8],
    end: End,
    count: usize,
    write: impl FnOnce(&mut Reply<'_>, &List, End, usize),
) -> Result<Option<usize>, CommandError> {
    let (db, key, setting) = (cx.db(), cx.key(name), cx.core.config.list_max_listpack_size);
    let mut entry = cx.core.keyspace.write(db, key);
    let Some(list) = entry.collection_mut::<List>()? else { return Ok(None) };
    let count = count.min(list.len());
    write(&mut cx.reply, list, end, count);
    if count == 0 {
        return Ok(Some(0));
    }
    list.remove_end(end, count);
    list.shrunk(setting);
    let gone = entry.commit(count as u64);
    cx.notify(NotifyFlags::LIST, pop_event(end), name);
    if gone {
        cx.notify(NotifyFlags::GENERIC, "del", name);
    }
    Ok(Some(count))
}

/// The command that takes elements from an end.
fn pop_command(end: End) -> &'static [u8] {
    match end {
        End::Front => b"LPOP",
        End::Back => b"RPOP",
    }
}

/// The event of an element taken from an end.
pub(super) fn pop_event(end: End) -> &'static str {
    match end {
        End::Front => "lpop",
        End::Back => "rpop",
    }
}

/// The element at an end.
fn write_one(reply: &mut Reply<'_>, list: &List, end: End, _count: usize) {
    match list.get(if end == End::Front { 0 } else { -1 }) {
        Some(item) => write_item(reply, item),
        None => reply.null(),
    }
}

/// Elements in the order in which they are taken.
fn write_some(reply: &mut Reply<'_>, list: &List, end: End, count: usize) {
    reply.array(count);
    match end {
        End::Front => list.range(0, count).for_each(|item| write_item(reply, item)),
        End::Back => list.range(list.len() - count, count).rev().for_each(|item| write_item(reply, item)),
    }
}

// ---- several keys -------------------------------------------------------------------------------------------------------

/// What LMPOP and BLMPOP are asked for.
struct ManyPop {
    /// Where the keys begin, and how many there are.
    first: usize,
    keys_count: usize,
    end: End,
    count: usize,
}

impl ManyPop {
    /// Reads `numkeys key [key ...] LEFT|RIGHT [COUNT count]` from index `at` on.
    fn parse(args: &Args<'_>, at: usize) -> Result<ManyPop, CommandError> {
        let keys_count = at_least_one(&args[at], "ERR numkeys should be greater than 0")?;
        let end_at = keys_count.checked_add(at + 1).ok_or(CommandError::Syntax)?;
        let end = end_of(args.get(end_at).ok_or(CommandError::Syntax)?)?;
        let mut count = None;
        let mut index = end_at + 1;
        while let Some(option) = args.get(index) {
            match args.get(index + 1) {
                Some(number) if count.is_none() && is_word(option, "COUNT") => {
                    count = Some(at_least_one(number, "ERR count should be greater than 0")?);
                }
                _ => return Err(CommandError::Syntax),
            }
            index += 2;
        }
        Ok(ManyPop { first: at + 1, keys_count, end, count: count.unwrap_or(1) })
    }

    /// Takes from the first of the lists that is there; false when none is.
    fn run(&self, cx: &mut Context<'_>, args: &Args<'_>) -> Result<bool, CommandError> {
        for name in args.iter().skip(self.first).take(self.keys_count) {
            let write = |reply: &mut Reply<'_>, list: &List, end: End, count: usize| {
                reply.array(2);
                reply.bulk(name);
                write_some(reply, list, end, count);
            };
            if let Some(taken) = take(cx, name, self.end, self.count, write)? {
                cx.journal_as_number(&[pop_command(self.end), name], taken as i64);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// LEFT or RIGHT.
pub(super) fn end_of(argument: &[u8]) -> Result<End, CommandError> {
    if is_word(argument, "RIGHT") {
        Ok(End::Back)
    } else if is_word(argument, "LEFT") {
        Ok(End::Front)
    } else {
        Err(CommandError::Syntax)
    }
}

/// LMPOP numkeys key [key ...] LEFT|RIGHT [COUNT count]: the key and the elements.
fn lmpop(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    if !ManyPop::parse(args, 1)?.run(cx, args)? {
        cx.reply.null_array();
    }
    Ok(())
}

// ---- waiting ------------------------------------------------------------------------------------------------------------

/// BLPOP key [key ...] timeout: the key and the element.
fn blpop(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    pop_or_wait(cx, args, End::Front)
}

/// BRPOP key [key ...] timeout.
fn brpop(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    pop_or_wait(cx, args, End::Back)
}

fn pop_or_wait(cx: &mut Context<'_>, args: &Args<'_>, end: End) -> CommandResult {
    let keys_count = args.len() - 2;
    let timeout = Timeout::seconds(&args[args.len() - 1])?;
    for name in args.iter().skip(1).take(keys_count) {
        let write = |reply: &mut Reply<'_>, list: &List, end: End, count: usize| {
            reply.array(2);
            reply.bulk(name);
            write_one(reply, list, end, count);
        };
        if take(cx, name, end, 1, write)?.is_some() {
            cx.journal_as(&[pop_command(end), name]);
            return Ok(());
        }
    }
    wait(cx, args, 1, keys_count, timeout)
}

/// BLMPOP timeout numkeys key [key ...] LEFT|RIGHT [COUNT count].
fn blmpop(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let asked = ManyPop::parse(args, 2)?;
    let timeout = Timeout::seconds(&args[1])?;
    if asked.run(cx, args)? {
        return Ok(());
    }
    wait(cx, args, asked.first, asked.keys_count, timeout)
}

/// Waits until one of the keys holds a list.
fn wait(cx: &mut Context<'_>, args: &Args<'_>, first: usize, count: usize, timeout: Timeout) -> CommandResult {
    let keys = args.iter().skip(first).take(count).map(<[u8]>::to_vec).collect();
    let nothing = Nothing::NullArray;
    blocking::wait(cx, Wait { keys, kind: ValueKind::List, or_removed: false, timeout, nothing, request: None })
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "lpop",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, Access::TAKE),
        group: Group::List,
        since: "1.0.0",
        summary: "Removes the first elements of a list and returns them.",
        complexity: "O(N) in the number of elements returned",
        syntax: "key [count]",
        run: Run::OnOwner(lpop),
    },
    CommandSpec {
        name: "rpop",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, Access::TAKE),
        group: Group::List,
        since: "1.0.0",
        summary: "Removes the last elements of a list and returns them.",
        complexity: "O(N) in the number of elements returned",
        syntax: "key [count]",
        run: Run::OnOwner(rpop),
    },
    CommandSpec {
        name: "lmpop",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE,
        keys: Keys::Counted { count_at: 1, access: Access::TAKE },
        group: Group::List,
        since: "7.0.0",
        summary: "Removes elements from an end of the first list that is there and returns them.",
        complexity: "O(N+M) in the number of keys and of elements returned",
        syntax: "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        run: Run::OnOwner(lmpop),
    },
    CommandSpec {
        name: "blpop",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::BLOCKING),
        keys: Keys::Range { first: 1, last: -2, step: 1, access: Access::TAKE },
        group: Group::List,
        since: "2.0.0",
        summary: "Removes the first element of a list and returns it; waits until there is one.",
        complexity: "O(N) in the number of keys",
        syntax: "key [key ...] timeout",
        run: Run::OnOwner(blpop),
    },
    CommandSpec {
        name: "brpop",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::BLOCKING),
        keys: Keys::Range { first: 1, last: -2, step: 1, access: Access::TAKE },
        group: Group::List,
        since: "2.0.0",
        summary: "Removes the last element of a list and returns it; waits until there is one.",
        complexity: "O(N) in the number of keys",
        syntax: "key [key ...] timeout",
        run: Run::OnOwner(brpop),
    },
    CommandSpec {
        name: "blmpop",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE.and(Flags::BLOCKING),
        keys: Keys::Counted { count_at: 2, access: Access::TAKE },
        group: Group::List,
        since: "7.0.0",
        summary: "Removes elements from an end of the first list that is there and returns them; waits until there is one.",
        complexity: "O(N+M) in the number of keys and of elements returned",
        syntax: "timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        run: Run::OnOwner(blmpop),
    },
];
