//! XINFO: what there is to know about a stream, its groups and their consumers.

use super::{at_most, no_group, now_ms, reply_entries, reply_entry, reply_id, reply_known, unknown_form};
use crate::command::arguments::{integer, is_word};
use crate::command::context::Context;
use crate::command::error::CommandError;
use crate::command::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group as Family, Keys, Run};
use crate::keyspace::stream::{Consumer, Group, Log, Stream, StreamId};
use crate::resp::{Args, Reply};

/// Entries of each list that FULL shows where no COUNT is given.
const FULL_COUNT_DEFAULT: u64 = 10;

/// XINFO STREAM key [FULL [COUNT count]].
fn stream(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (db, key) = (cx.db(), cx.key(&args[2]));
    let stream = cx.core.keyspace.read_as::<Stream>(db, key)?.ok_or(CommandError::NoSuchKey)?;
    let count = full_count(args)?;
    let (log, reply) = (&stream.log, &mut cx.reply);
    reply.map(if count.is_some() { 9 } else { 10 });
    field(reply, "length", log.len() as i64);
    // Redis counts the nodes of a radix tree here; ours is another tree, of which the root and the stream's nodes are told.
    field(reply, "radix-tree-keys", log.nodes_count() as i64);
    field(reply, "radix-tree-nodes", log.nodes_count() as i64 + 1);
    id_field(reply, "last-generated-id", log.last_id());
    id_field(reply, "max-deleted-entry-id", log.max_deleted_id());
    field(reply, "entries-added", log.entries_added().cast_signed());
    id_field(reply, "recorded-first-entry-id", log.first_id());
    match count {
        None => short_form(reply, stream),
        Some(count) => full_form(reply, stream, count),
    }
    Ok(())
}

/// FULL with its COUNT (0: all), `None` without it.
fn full_count(args: &Args<'_>) -> Result<Option<u64>, CommandError> {
    let is_full = |at: usize| is_word(&args[at], "FULL");
    match args.len() {
        3 => Ok(None),
        4 if is_full(3) => Ok(Some(FULL_COUNT_DEFAULT)),
        6 if is_full(3) && is_word(&args[4], "COUNT") => {
            Ok(Some(u64::try_from(integer(&args[5])?).unwrap_or(FULL_COUNT_DEFAULT)))
        }
        _ => Err(unknown_form(args, "XINFO")),
    }
}

/// The number of groups, and the entries at either end.
fn short_form(reply: &mut Reply<'_>, stream: &Stream) {
    let log = &stream.log;
    field(reply, "groups", stream.groups.len() as i64);
    let first = log.range(StreamId::MIN, StreamId::MAX).next();
    let last = log.range_back(StreamId::MIN, StreamId::MAX).next();
    for (name, entry) in [("first-entry", first), ("last-entry", last)] {
        reply.bulk(name.as_bytes());
        match entry {
            Some(entry) => reply_entry(reply, &entry),
            None => reply.null(),
        }
    }
}

/// Entries, groups, and what each was given.
fn full_form(reply: &mut Reply<'_>, stream: &Stream, count: u64) {
    reply.bulk(b"entries");
    reply_entries(reply, stream.log.range(StreamId::MIN, StreamId::MAX), count);
    reply.bulk(b"groups");
    reply.array(stream.groups.len());
    for (name, group) in stream.groups.iter() {
        full_group(reply, &stream.log, name, group, count);
    }
}

fn full_group(reply: &mut Reply<'_>, log: &Log, name: &[u8], group: &Group, count: u64) {
    reply.map(7);
    bulk_field(reply, "name", name);
    id_field(reply, "last-delivered-id", group.last_id);
    reply.bulk(b"entries-read");
    reply_known(reply, group.entries_read);
    reply.bulk(b"lag");
    reply_known(reply, group.lag(log));
    field(reply, "pel-count", group.pending().len() as i64);
    reply.bulk(b"pending");
    reply.array(group.pending().len().min(at_most(count)));
    for (id, pending) in group.pending().iter().take(at_most(count)) {
        reply.array(4);
        reply_id(reply, *id);
        reply.bulk(group.consumer(pending.consumer).name());
        reply.integer(pending.delivered_ms);
        reply.integer(pending.deliveries);
    }
    reply.bulk(b"consumers");
    let consumers = group.consumers();
    reply.array(consumers.len());
    consumers.for_each(|consumer| full_consumer(reply, group, consumer, count));
}

fn full_consumer(reply: &mut Reply<'_>, group: &Group, consumer: &Consumer, count: u64) {
    reply.map(5);
    bulk_field(reply, "name", consumer.name());
    field(reply, "seen-time", consumer.seen_ms);
    field(reply, "active-time", consumer.active_ms);
    field(reply, "pel-count", consumer.pending().len() as i64);
    reply.bulk(b"pending");
    reply.array(consumer.pending().len().min(at_most(count)));
    for id in consumer.pending().iter().take(at_most(count)) {
        let pending = group.pending().get(id).expect("what waits for a consumer waits in its group");
        reply.array(3);
        reply_id(reply, *id);
        reply.integer(pending.delivered_ms);
        reply.integer(pending.deliveries);
    }
}

/// XINFO GROUPS key.
fn groups(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (db, key) = (cx.db(), cx.key(&args[2]));
    let stream = cx.core.keyspace.read_as::<Stream>(db, key)?.ok_or(CommandError::NoSuchKey)?;
    let reply = &mut cx.reply;
    reply.array(stream.groups.len());
    for (name, group) in stream.groups.iter() {
        reply.map(6);
        bulk_field(reply, "name", name);
        field(reply, "consumers", group.consumers().len() as i64);
        field(reply, "pending", group.pending().len() as i64);
        id_field(reply, "last-delivered-id", group.last_id);
        reply.bulk(b"entries-read");
        reply_known(reply, group.entries_read);
        reply.bulk(b"lag");
        reply_known(reply, group.lag(&stream.log));
    }
    Ok(())
}

/// XINFO CONSUMERS key group.
fn consumers(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let now_ms = now_ms(cx);
    let (db, key) = (cx.db(), cx.key(&args[2]));
    let stream = cx.core.keyspace.read_as::<Stream>(db, key)?.ok_or(CommandError::NoSuchKey)?;
    let group = stream.groups.get(&args[3]).ok_or_else(|| no_group(&args[2], &args[3]))?;
    let (reply, consumers) = (&mut cx.reply, group.consumers());
    reply.array(consumers.len());
    for consumer in consumers {
        let inactive_ms = match consumer.active_ms {
            -1 => -1,
            active_ms => now_ms.saturating_sub(active_ms),
        };
        reply.map(4);
        bulk_field(reply, "name", consumer.name());
        field(reply, "pending", consumer.pending().len() as i64);
        field(reply, "idle", now_ms.saturating_sub(consumer.seen_ms).max(0));
        field(reply, "inactive", inactive_ms);
    }
    Ok(())
}

fn field(reply: &mut Reply<'_>, name: &str, value: i64) {
    reply.bulk(name.as_bytes());
    reply.integer(value);
}

fn bulk_field(reply: &mut Reply<'_>, name: &str, value: &[u8]) {
    reply.bulk(name.as_bytes());
    reply.bulk(value);
}

fn id_field(reply: &mut Reply<'_>, name: &str, id: StreamId) {
    reply.bulk(name.as_bytes());
    reply_id(reply, id);
}

/// XINFO HELP.
fn help(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    cx.reply.help(
        "XINFO",
        &[
            "CONSUMERS <key> <groupname>",
            "    Show consumers of <groupname>.",
            "GROUPS <key>",
            "    Show the stream consumer groups.",
            "STREAM <key> [FULL [COUNT <count>]",
            "    Show information about the stream.",
        ],
    );
    Ok(())
}

const XINFO: CommandSpec = CommandSpec {
    name: "xinfo",
    arity: Arity::AtLeast(2),
    flags: Flags::NONE,
    keys: Keys::None,
    group: Family::Stream,
    since: "5.0.0",
    summary: "What there is to know about streams.",
    complexity: "Depends on the sub-command",
    syntax: "",
    run: Run::Container,
};

pub const COMMANDS: &[CommandSpec] = &[
    XINFO,
    CommandSpec {
        name: "xinfo|consumers",
        arity: Arity::Exactly(4),
        flags: Flags::READONLY,
        keys: Keys::At(2, Access::READ),
        summary: "Lists the consumers of a group.",
        complexity: "O(N) in the number of consumers",
        syntax: "key group",
        run: Run::OnOwner(consumers),
        ..XINFO
    },
    CommandSpec {
        name: "xinfo|groups",
        arity: Arity::Exactly(3),
        flags: Flags::READONLY,
        keys: Keys::At(2, Access::READ),
        summary: "Lists the consumer groups of a stream.",
        complexity: "O(N) in the number of groups",
        syntax: "key",
        run: Run::OnOwner(groups),
        ..XINFO
    },
    CommandSpec {
        name: "xinfo|help",
        arity: Arity::Exactly(2),
        flags: Flags::LOADING.and(Flags::STALE),
        summary: "Lists the sub-commands.",
        complexity: "O(1)",
        run: Run::OnConnection(help),
        ..XINFO
    },
    CommandSpec {
        name: "xinfo|stream",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::At(2, Access::READ),
        summary: "Describes a stream.",
        complexity: "O(1), with FULL O(N) in the number of entries, groups and consumers shown",
        syntax: "key [FULL [COUNT count]]",
        run: Run::OnOwner(stream),
        ..XINFO
    },
];
