//! What a group was given and has not acknowledged: XACK takes it off, XPENDING shows it.

use super::ids::{self, End};
use super::{counting_lookup, no_key_or_group, now_ms, reply_id};
use crate::command::arguments::{integer, is_word};
use crate::command::context::Context;
use crate::command::error::CommandError;
use crate::command::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group as Family, Keys, Run};
use crate::keyspace::stream::{Group, Pending, Stream, StreamId};
use crate::resp::{Args, Reply};

/// XACK key group id [id ...]: how many of the entries waited.
fn xack(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    counting_lookup(cx, args, acknowledge)
}

fn acknowledge(cx: &mut Context<'_>, args: &Args<'_>, found: &mut bool) -> CommandResult {
    let (db, key) = (cx.db(), cx.key(&args[1]));
    let mut entry = cx.core.keyspace.write(db, key);
    *found = entry.exists();
    let mut acknowledged = 0;
    if let Some(group) = entry.collection_mut::<Stream>()?.and_then(|stream| stream.groups.get_mut(&args[2])) {
        let ids = args.iter().skip(3).map(|id| ids::strict(id, 0));
        ids.clone().try_for_each(|id| id.map(drop))?;
        acknowledged = ids.flatten().filter(|id| group.acknowledge(*id)).count();
        if acknowledged > 0 {
            entry.commit_aside(acknowledged as u64);
        }
    }
    cx.reply.integer(acknowledged as i64);
    Ok(())
}

/// XPENDING key group [[IDLE milliseconds] start end count [consumer]]: a summary, or the entries one by one.
fn xpending(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let wanted = match args.len() {
        3 => None,
        6..=9 => Some(Wanted::parse(args)?),
        _ => return Err(CommandError::Syntax),
    };
    let now_ms = now_ms(cx);
    let (db, key) = (cx.db(), cx.key(&args[1]));
    let stream = cx.core.keyspace.read_as::<Stream>(db, key)?;
    let group = stream.and_then(|stream| stream.groups.get(&args[2]));
    let group = group.ok_or_else(|| no_key_or_group(&args[1], &args[2]))?;
    match wanted {
        None => summary(&mut cx.reply, group),
        Some(wanted) => wanted.reply(&mut cx.reply, group, now_ms),
    }
    Ok(())
}

/// How many entries wait, the first and the last of them, and how many for each consumer.
fn summary(reply: &mut Reply<'_>, group: &Group) {
    let pending = group.pending();
    reply.array(4);
    reply.integer(pending.len() as i64);
    let (Some((first, _)), Some((last, _))) = (pending.first_key_value(), pending.last_key_value()) else {
        reply.null();
        reply.null();
        return reply.null_array();
    };
    reply_id(reply, *first);
    reply_id(reply, *last);
    let array = reply.begin_array();
    let mut replied = 0;
    for consumer in group.consumers().filter(|consumer| !consumer.pending().is_empty()) {
        reply.array(2);
        reply.bulk(consumer.name());
        reply.bulk_integer(consumer.pending().len() as i64);
        replied += 1;
    }
    reply.finish(array, replied);
}

/// Which entries are to be shown.
struct Wanted<'a> {
    /// Delivered at least so long ago.
    idle_ms: i64,
    start: StreamId,
    end: StreamId,
    count: u64,
    consumer: Option<&'a [u8]>,
}

impl<'a> Wanted<'a> {
    fn parse(args: &Args<'a>) -> Result<Wanted<'a>, CommandError> {
        let (mut at, mut idle_ms) = (3, 0);
        if is_word(&args[3], "IDLE") {
            idle_ms = integer(&args[4])?;
            if args.len() < 8 {
                return Err(CommandError::Syntax);
            }
            at += 2;
        }
        let count = u64::try_from(integer(&args[at + 2])?).unwrap_or(0);
        let start = ids::interval(&args[at], End::Start)?;
        let end = ids::interval(&args[at + 1], End::Stop)?;
        Ok(Wanted { idle_ms, start, end, count, consumer: args.get(at + 3) })
    }

    fn reply(&self, reply: &mut Reply<'_>, group: &Group, now_ms: i64) {
        let consumer = match self.consumer.map(|name| group.find_consumer(name)) {
            None => None,
            Some(Some(consumer)) => Some(group.consumer(consumer)),
            Some(None) => return reply.array(0),
        };
        if self.start > self.end {
            return reply.array(0);
        }
        let range = self.start..=self.end;
        match consumer {
            None => {
                let entries = group.pending().range(range).map(|(id, pending)| (*id, pending));
                self.reply_entries(reply, group, entries, now_ms);
            }
            Some(consumer) => {
                let ids = consumer.pending().range(range);
                let entries = ids.filter_map(|id| group.pending().get(id).map(|pending| (*id, pending)));
                self.reply_entries(reply, group, entries, now_ms);
            }
        }
    }

    fn reply_entries<'g>(
        &self,
        reply: &mut Reply<'_>,
        group: &Group,
        entries: impl Iterator<Item = (StreamId, &'g Pending)>,
        now_ms: i64,
    ) {
        let idle_ms = |pending: &Pending| now_ms.saturating_sub(pending.delivered_ms);
        let entries = entries.filter(|(_, pending)| self.idle_ms == 0 || idle_ms(pending) >= self.idle_ms);
        let array = reply.begin_array();
        let mut replied = 0;
        for (id, pending) in entries.take(usize::try_from(self.count).unwrap_or(usize::MAX)) {
            reply.array(4);
            reply_id(reply, id);
            reply.bulk(group.consumer(pending.consumer).name());
            reply.integer(idle_ms(pending).max(0));
            reply.integer(pending.deliveries);
            replied += 1;
        }
        reply.finish(array, replied);
    }
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "xack",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE),
        group: Family::Stream,
        since: "5.0.0",
        summary: "Acknowledges entries that a consumer of a group was given.",
        complexity: "O(1) for each entry",
        syntax: "key group id [id ...]",
        run: Run::OnOwner(xack),
    },
    CommandSpec {
        name: "xpending",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Family::Stream,
        since: "5.0.0",
        summary: "Shows the entries that a group was given and has not acknowledged.",
        complexity: "O(N) in the number of entries returned, with IDLE of those looked at, and of consumers in the summary",
        syntax: "key group [[IDLE min-idle-time] start end count [consumer]]",
        run: Run::OnOwner(xpending),
    },
];
