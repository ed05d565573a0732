//! Moving an element from an end of one list to an end of another: LMOVE, its old name RPOPLPUSH, and both waiting for
//! an element.

use super::super::blocking::{self, Nothing, Timeout, Wait};
use super::super::context::Context;
use super::super::error::CommandError;
use super::super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use super::pops::{end_of, pop_event};
use super::{push_event, uncount_one};
use crate::config::NotifyFlags;
use crate::keyspace::ValueKind;
use crate::keyspace::list::{End, Incoming, Item, List};
use crate::resp::Args;

/// LMOVE source destination LEFT|RIGHT LEFT|RIGHT: the element, null without the source.
fn lmove(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (from, to) = (end_of(&args[3])?, end_of(&args[4])?);
    reply_or_null(cx, args, from, to)
}

/// RPOPLPUSH source destination.
fn rpoplpush(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    reply_or_null(cx, args, End::Back, End::Front)
}

fn reply_or_null(cx: &mut Context<'_>, args: &Args<'_>, from: End, to: End) -> CommandResult {
    if !move_one(cx, &args[1], &args[2], from, to)? {
        cx.reply.null();
    }
    Ok(())
}

/// BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout.
fn blmove(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (from, to) = (end_of(&args[3])?, end_of(&args[4])?);
    let timeout = Timeout::seconds(&args[5])?;
    move_or_wait(cx, args, from, to, timeout, &[b"LMOVE", &args[1], &args[2], &args[3], &args[4]])
}

/// BRPOPLPUSH source destination timeout.
fn brpoplpush(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let timeout = Timeout::seconds(&args[3])?;
    move_or_wait(cx, args, End::Back, End::Front, timeout, &[b"RPOPLPUSH", &args[1], &args[2]])
}

/// `recorded`: the same without waiting.
fn move_or_wait(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    from: End,
    to: End,
    timeout: Timeout,
    recorded: &[&[u8]],
) -> CommandResult {
    if move_one(cx, &args[1], &args[2], from, to)? {
        cx.journal_as(recorded);
        return Ok(());
    }
    let (keys, nothing) = (vec![args[1].to_vec()], Nothing::Null);
    blocking::wait(cx, Wait { keys, kind: ValueKind::List, or_removed: false, timeout, nothing, request: None })
}

/// Moves an element and replies with it; false without the source, and then nothing is written.
///
/// # Errors
/// `WrongType` of either key; of the destination only when there is a source.
fn move_one(cx: &mut Context<'_>, source: &[u8], destination: &[u8], from: End, to: End) -> Result<bool, CommandError> {
    let (db, setting) = (cx.db(), cx.core.config.list_max_listpack_size);
    if source == destination {
        return rotate(cx, source, from, to);
    }
    let (source_key, destination_key) = (cx.key(source), cx.key(destination));
    let wrong = cx.core.keyspace.peek(db, destination_key).is_some_and(|value| value.kind() != ValueKind::List);
    let mut entry = cx.core.keyspace.write(db, source_key);
    let Some(list) = entry.collection_mut::<List>()? else { return Ok(false) };
    if wrong {
        return Err(CommandError::WrongType);
    }
    let element = Taken::from(list, from);
    list.shrunk(setting);
    let gone = entry.commit(1);
    let mut entry = cx.core.keyspace.write(db, destination_key);
    let list = entry.collection_or_new::<List>()?;
    list.grow_for(1, element.incoming().bytes.len(), setting);
    list.push(to, element.incoming());
    entry.commit(1);
    // One change in two keys.
    uncount_one(cx);
    cx.reply.bulk(element.incoming().bytes);
    cx.notify(NotifyFlags::LIST, push_event(to), destination);
    cx.notify(NotifyFlags::LIST, pop_event(from), source);
    if gone {
        cx.notify(NotifyFlags::GENERIC, "del", source);
    }
    Ok(true)
}

/// Moves an element within one list.
fn rotate(cx: &mut Context<'_>, name: &[u8], from: End, to: End) -> Result<bool, CommandError> {
    let (db, key, setting) = (cx.db(), cx.key(name), cx.core.config.list_max_listpack_size);
    let mut entry = cx.core.keyspace.write(db, key);
    let Some(list) = entry.collection_mut::<List>()? else { return Ok(false) };
    let element = Taken::from(list, from);
    list.grow_for(1, element.incoming().bytes.len(), setting);
    list.push(to, element.incoming());
    list.shrunk(setting);
    entry.commit(1);
    cx.reply.bulk(element.incoming().bytes);
    cx.notify(NotifyFlags::LIST, push_event(to), name);
    cx.notify(NotifyFlags::LIST, pop_event(from), name);
    Ok(true)
}

/// An element between two lists.
enum Taken {
    Copied(Vec<u8>),
    Shared(bytes::Bytes),
}

impl Taken {
    /// Takes the element at an end of a list that has one.
    fn from(list: &mut List, end: End) -> Taken {
        let taken = match list.get(if end == End::Front { 0 } else { -1 }) {
            Some(Item::Plain(bytes)) => Taken::Shared(bytes.clone()),
            Some(item) => Taken::Copied(item.to_vec()),
            None => unreachable!("a list that is there has elements"),
        };
        list.remove_end(end, 1);
        taken
    }

    fn incoming(&self) -> Incoming<'_> {
        match self {
            Taken::Copied(bytes) => Incoming::copied(bytes),
            Taken::Shared(bytes) => Incoming { bytes, shared: Some(bytes.clone()) },
        }
    }
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "lmove",
        arity: Arity::Exactly(5),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Pair(1, Access::TAKE, Access::INSERT),
        group: Group::List,
        since: "6.2.0",
        summary: "Moves an element from an end of a list to an end of another and returns it.",
        complexity: "O(1)",
        syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT>",
        run: Run::OnOwner(lmove),
    },
    CommandSpec {
        name: "rpoplpush",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Pair(1, Access::TAKE, Access::INSERT),
        group: Group::List,
        since: "1.2.0",
        summary: "Moves the last element of a list to the front of another and returns it.",
        complexity: "O(1)",
        syntax: "source destination",
        run: Run::OnOwner(rpoplpush),
    },
    CommandSpec {
        name: "blmove",
        arity: Arity::Exactly(6),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::BLOCKING),
        keys: Keys::Pair(1, Access::TAKE, Access::INSERT),
        group: Group::List,
        since: "6.2.0",
        summary: "Moves an element from an end of a list to an end of another; waits until there is one.",
        complexity: "O(1)",
        syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout",
        run: Run::OnOwner(blmove),
    },
    CommandSpec {
        name: "brpoplpush",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::BLOCKING),
        keys: Keys::Pair(1, Access::TAKE, Access::INSERT),
        group: Group::List,
        since: "2.2.0",
        summary: "Moves the last element of a list to the front of another; waits until there is one.",
        complexity: "O(1)",
        syntax: "source destination timeout",
        run: Run::OnOwner(brpoplpush),
    },
];
