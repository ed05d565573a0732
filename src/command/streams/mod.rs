//! Streams: a file for each of what one does with them. `append` adds, trims and deletes, `ranges` and `read` give entries out,
//! `groups` has XGROUP, `pending` and `claim` work on what groups have not acknowledged, `info` has XINFO; `ids` and `trim`
//! read arguments, `recorded` is what the journal is told of groups.

pub mod append;
pub mod claim;
pub mod groups;
mod ids;
pub mod info;
pub mod pending;
pub mod ranges;
pub mod read;
mod recorded;
mod trim;

use super::arguments::text;
use super::context::Context;
use super::error::CommandError;
use super::spec::{Access, CommandResult};
use crate::keyspace::listpack::Element;
use crate::keyspace::stream::{Entry, IdText, StreamId};
use crate::resp::{Args, Reply};

/// What commands do with a key whose stream they only make smaller.
const SHRINK: Access = Access(&["RW", "delete"]);

/// The longest part of a sub-command's name that is quoted back.
const QUOTED_BYTES_MAX: usize = 128;

fn reply_id(reply: &mut Reply<'_>, id: StreamId) {
    reply.bulk(id.format(&mut IdText::new()));
}

/// Id, and names and values in turn.
fn reply_entry(reply: &mut Reply<'_>, entry: &Entry<'_>) {
    reply.array(2);
    reply_id(reply, entry.id());
    let fields = entry.fields();
    reply.array(2 * fields.len());
    for (name, value) in fields {
        reply_element(reply, name);
        reply_element(reply, value);
    }
}

fn reply_element(reply: &mut Reply<'_>, element: Element<'_>) {
    match element {
        Element::Integer(integer) => reply.bulk_integer(integer),
        Element::Bytes(bytes) => reply.bulk(bytes),
    }
}

/// The entries, at most `count` of them (0: all); how many they were.
fn reply_entries<'a>(reply: &mut Reply<'_>, entries: impl Iterator<Item = Entry<'a>>, count: u64) -> usize {
    let array = reply.begin_array();
    let mut replied = 0;
    for entry in entries.take(at_most(count)) {
        reply_entry(reply, &entry);
        replied += 1;
    }
    reply.finish(array, replied);
    replied
}

/// A count as a limit: 0 is none.
fn at_most(count: u64) -> usize {
    if count == 0 { usize::MAX } else { usize::try_from(count).unwrap_or(usize::MAX) }
}

/// An integer, or null where nothing is known.
fn reply_known(reply: &mut Reply<'_>, number: Option<i64>) {
    match number {
        Some(number) => reply.integer(number),
        None => reply.null(),
    }
}

/// An error text with two arguments of the call in it, each up to its first NUL.
fn quoting_two(before: &str, first: &[u8], between: &str, second: &[u8], after: &str) -> CommandError {
    let parts = [before.as_bytes(), text(first), between.as_bytes(), text(second), after.as_bytes()];
    CommandError::Text(parts.concat().into())
}

/// The key or its group is not there.
fn no_key_or_group(key: &[u8], group: &[u8]) -> CommandError {
    quoting_two("NOGROUP No such key '", key, "' or consumer group '", group, "'")
}

/// As [`no_key_or_group`], for XREADGROUP.
fn no_group_to_read(key: &[u8], group: &[u8]) -> CommandError {
    let after = "' in XREADGROUP with GROUP option";
    quoting_two("NOGROUP No such key '", key, "' or consumer group '", group, after)
}

/// The key has no such group.
fn no_group(key: &[u8], group: &[u8]) -> CommandError {
    quoting_two("NOGROUP No such consumer group '", group, "' for key name '", key, "'")
}

/// The arguments are none that the sub-command knows.
fn unknown_form(args: &Args<'_>, container: &str) -> CommandError {
    let given = text(&args[1]);
    let after = format!("'. Try {container} HELP.");
    let given = &given[..given.len().min(QUOTED_BYTES_MAX)];
    CommandError::quoting("ERR unknown subcommand or wrong number of arguments for '", given, &after)
}

/// Milliseconds since the unix epoch, the same throughout a call.
fn now_ms(cx: &Context<'_>) -> i64 {
    cx.core.keyspace.now().get()
}

/// Runs a handler that uses the write door where Redis reads before it changes: it counts as a reader all the same, whatever
/// becomes of it. The handler says whether the key was there.
fn counting_lookup(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    handler: fn(&mut Context<'_>, &Args<'_>, &mut bool) -> CommandResult,
) -> CommandResult {
    let mut found = false;
    let result = handler(cx, args, &mut found);
    cx.core.keyspace.stats.hits += u64::from(found);
    cx.core.keyspace.stats.misses += u64::from(!found);
    result
}
