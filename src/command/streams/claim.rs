//! Taking over what another consumer was given and has not acknowledged: XCLAIM by id, XAUTOCLAIM whatever has waited long.

use super::ids::{self, End};
use super::recorded::Recorded;
use super::{SHRINK, counting_lookup, no_key_or_group, now_ms, reply_entry, reply_id};
use crate::base::number::parse_i64;
use crate::command::arguments::is_word;
use crate::command::context::Context;
use crate::command::error::CommandError;
use crate::command::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group as Family, Keys, Run};
use crate::config::NotifyFlags;
use crate::keyspace::stream::{Entry, Group, Pending, Stream, StreamId};
use crate::resp::{Args, Reply};

/// XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-ms] [RETRYCOUNT count] [FORCE] [JUSTID]
/// [LASTID id]: the entries that are the consumer's now. Entries that were deleted since are forgotten.
fn xclaim(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    counting_lookup(cx, args, claim)
}

fn claim(cx: &mut Context<'_>, args: &Args<'_>, found: &mut bool) -> CommandResult {
    let now_ms = now_ms(cx);
    let (db, key) = (cx.db(), cx.key(&args[1]));
    let mut entry = cx.core.keyspace.write(db, key);
    *found = entry.exists();
    let stream = entry.collection_mut::<Stream>()?;
    let missing = || no_key_or_group(&args[1], &args[2]);
    let Stream { log, groups } = stream.ok_or_else(missing)?;
    let group = groups.get_mut(&args[2]).ok_or_else(missing)?;
    let min_idle_ms = min_idle_ms(&args[4], "ERR Invalid min-idle-time argument for XCLAIM")?;
    let options = ClaimOptions::parse(args, now_ms)?;

    // A last id counts as a change of its own only where no change of an entry tells of it.
    let mut lone_last_id = options.last_id > group.last_id;
    group.last_id = group.last_id.max(options.last_id);
    let (consumer, is_created) = group.consumer_or_new(&args[3], now_ms);
    group.consumer_mut(consumer).seen_ms = now_ms;
    let array = cx.reply.begin_array();
    let (mut replied, mut changes) = (0, u64::from(is_created));
    let mut recorded = Recorded::new(cx.core.journal.is_on());
    for word in args.iter().skip(5).take(options.ids_count) {
        let id = ids::strict(word, 0)?;
        let pending = group.pending().get(&id).copied();
        let Some(live) = log.get(id) else {
            if let Some(pending) = pending {
                recorded.claim(word, group, &pending);
                group.acknowledge(id);
                changes += 1;
                lone_last_id = false;
            }
            continue;
        };
        let deliveries = match pending {
            Some(pending) if min_idle_ms > 0 && now_ms.saturating_sub(pending.delivered_ms) < min_idle_ms => continue,
            Some(pending) => pending.deliveries,
            None if options.force => 1,
            None => continue,
        };
        let deliveries = options.deliveries(deliveries);
        let pending = Pending { delivered_ms: options.delivered_ms, deliveries, consumer };
        group.assign(id, pending);
        group.consumer_mut(consumer).active_ms = now_ms;
        recorded.claim(word, group, &pending);
        reply_claimed(&mut cx.reply, &live, options.just_id);
        replied += 1;
        changes += 1;
        lone_last_id = false;
    }
    cx.reply.finish(array, replied);
    changes += u64::from(lone_last_id);
    if lone_last_id {
        recorded.place_of(group);
    }
    if changes > 0 {
        entry.commit_aside(changes);
    }
    if is_created {
        cx.notify(NotifyFlags::STREAM, "xgroup-createconsumer", &args[1]);
    }
    recorded.record(cx, &args[1], &args[2]);
    Ok(())
}

/// What stands behind the ids of XCLAIM.
struct ClaimOptions {
    ids_count: usize,
    delivered_ms: i64,
    retry_count: Option<i64>,
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

impl ClaimOptions {
    fn parse(args: &Args<'_>, now_ms: i64) -> Result<ClaimOptions, CommandError> {
        let ids_count = args.iter().skip(5).take_while(|id| ids::strict(id, 0).is_ok()).count();
        let mut options = ClaimOptions {
            ids_count,
            delivered_ms: now_ms,
            retry_count: None,
            force: false,
            just_id: false,
            last_id: StreamId::MIN,
        };
        let mut at = 5 + ids_count;
        while let Some(option) = args.get(at) {
            let value = args.get(at + 1);
            at += match value {
                _ if is_word(option, "FORCE") => {
                    options.force = true;
                    1
                }
                _ if is_word(option, "JUSTID") => {
                    options.just_id = true;
                    1
                }
                Some(idle) if is_word(option, "IDLE") => {
                    let idle = number(idle, "ERR Invalid IDLE option argument for XCLAIM")?;
                    options.delivered_ms = now_ms.wrapping_sub(idle);
                    2
                }
                Some(time) if is_word(option, "TIME") => {
                    options.delivered_ms = number(time, "ERR Invalid TIME option argument for XCLAIM")?;
                    2
                }
                Some(count) if is_word(option, "RETRYCOUNT") => {
                    let count = number(count, "ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
                    options.retry_count = Some(count).filter(|count| *count >= 0);
                    2
                }
                Some(id) if is_word(option, "LASTID") => {
                    options.last_id = ids::strict(id, 0)?;
                    2
                }
                _ => return Err(CommandError::quoting("ERR Unrecognized XCLAIM option '", option, "'")),
            };
        }
        // Clients may reckon a time that has not come yet; now is as good.
        if options.delivered_ms < 0 || options.delivered_ms > now_ms {
            options.delivered_ms = now_ms;
        }
        Ok(options)
    }

    /// A delivery more, unless a number was given or only ids are wanted.
    fn deliveries(&self, before: i64) -> i64 {
        let counted = before.wrapping_add(i64::from(!self.just_id));
        self.retry_count.unwrap_or(counted)
    }
}

/// XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]: where to go on, the entries that are the
/// consumer's now, and the ids of those that were deleted since and are forgotten.
fn xautoclaim(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    counting_lookup(cx, args, claim_idle)
}

fn claim_idle(cx: &mut Context<'_>, args: &Args<'_>, found: &mut bool) -> CommandResult {
    let now_ms = now_ms(cx);
    let (db, key) = (cx.db(), cx.key(&args[1]));
    let mut entry = cx.core.keyspace.write(db, key);
    *found = entry.exists();
    let options = AutoOptions::parse(args)?;
    let missing = || no_key_or_group(&args[1], &args[2]);
    let Stream { log, groups } = entry.collection_mut::<Stream>()?.ok_or_else(missing)?;
    let group = groups.get_mut(&args[2]).ok_or_else(missing)?;

    let (consumer, is_created) = group.consumer_or_new(&args[3], now_ms);
    group.consumer_mut(consumer).seen_ms = now_ms;
    let mut attempts = options.count.saturating_mul(ATTEMPTS_PER_ENTRY);
    let (mut claimed, mut deleted) = (Vec::new(), Vec::new());
    let mut recorded = Recorded::new(cx.core.journal.is_on());
    let mut next = first_pending(group, Some(options.start));
    while let Some((id, pending)) = next.filter(|_| attempts > 0 && claimed.len() + deleted.len() < options.count) {
        attempts -= 1;
        if log.get(id).is_none() {
            recorded.claim_of(id, group);
            group.acknowledge(id);
            deleted.push(id);
        } else if options.min_idle_ms == 0 || now_ms.saturating_sub(pending.delivered_ms) >= options.min_idle_ms {
            let deliveries = pending.deliveries.wrapping_add(i64::from(!options.just_id));
            group.assign(id, Pending { delivered_ms: now_ms, deliveries, consumer });
            group.consumer_mut(consumer).active_ms = now_ms;
            recorded.claim_of(id, group);
            claimed.push(id);
        }
        next = first_pending(group, id.next());
    }

    cx.reply.array(3);
    reply_id(&mut cx.reply, next.map_or(StreamId::MIN, |(id, _)| id));
    cx.reply.array(claimed.len());
    for entry in claimed.iter().filter_map(|id| log.get(*id)) {
        reply_claimed(&mut cx.reply, &entry, options.just_id);
    }
    cx.reply.array(deleted.len());
    deleted.iter().for_each(|id| reply_id(&mut cx.reply, *id));
    let changes = (claimed.len() + deleted.len()) as u64 + u64::from(is_created);
    if changes > 0 {
        entry.commit_aside(changes);
    }
    if is_created {
        cx.notify(NotifyFlags::STREAM, "xgroup-createconsumer", &args[1]);
    }
    recorded.record(cx, &args[1], &args[2]);
    Ok(())
}

/// How many entries XAUTOCLAIM looks at for each that it may return.
const ATTEMPTS_PER_ENTRY: usize = 10;
/// Entries that XAUTOCLAIM returns where no COUNT is given, and at most.
const COUNT_DEFAULT: usize = 100;
const COUNT_MAX: i64 = i64::MAX / 16;

/// What XAUTOCLAIM is to look for.
struct AutoOptions {
    min_idle_ms: i64,
    start: StreamId,
    count: usize,
    just_id: bool,
}

impl AutoOptions {
    fn parse(args: &Args<'_>) -> Result<AutoOptions, CommandError> {
        let min_idle_ms = min_idle_ms(&args[4], "ERR Invalid min-idle-time argument for XAUTOCLAIM")?;
        let start = ids::interval(&args[5], End::Start)?;
        let mut options = AutoOptions { min_idle_ms, start, count: COUNT_DEFAULT, just_id: false };
        let mut at = 6;
        while let Some(option) = args.get(at) {
            match args.get(at + 1) {
                Some(count) if is_word(option, "COUNT") => {
                    let count = parse_i64(count).filter(|count| (1..=COUNT_MAX).contains(count));
                    let count = count.ok_or(CommandError::text_static("ERR COUNT must be > 0"))?;
                    options.count = usize::try_from(count).unwrap_or(usize::MAX);
                    at += 1;
                }
                _ if is_word(option, "JUSTID") => options.just_id = true,
                _ => return Err(CommandError::Syntax),
            }
            at += 1;
        }
        Ok(options)
    }
}

/// The first entry from `from` on that waits.
fn first_pending(group: &Group, from: Option<StreamId>) -> Option<(StreamId, Pending)> {
    group.pending().range(from?..).next().map(|(id, pending)| (*id, *pending))
}

/// A claimed entry, or its id only.
fn reply_claimed(reply: &mut Reply<'_>, entry: &Entry<'_>, just_id: bool) {
    if just_id { reply_id(reply, entry.id()) } else { reply_entry(reply, entry) }
}

/// An entry is taken over when it was delivered at least so long ago; negative is 0.
fn min_idle_ms(argument: &[u8], error: &'static str) -> Result<i64, CommandError> {
    number(argument, error).map(|idle| idle.max(0))
}

fn number(argument: &[u8], error: &'static str) -> Result<i64, CommandError> {
    parse_i64(argument).ok_or(CommandError::text_static(error))
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "xclaim",
        arity: Arity::AtLeast(6),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE),
        group: Family::Stream,
        since: "5.0.0",
        summary: "Gives a consumer entries that wait for another one of its group.",
        complexity: "O(log N) in the number of entries that wait in the group, for each entry",
        syntax: "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
        run: Run::OnOwner(xclaim),
    },
    CommandSpec {
        name: "xautoclaim",
        arity: Arity::AtLeast(6),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, SHRINK),
        group: Family::Stream,
        since: "6.2.0",
        summary: "Gives a consumer entries that have waited long for others of its group.",
        complexity: "O(1) if COUNT is small",
        syntax: "key group consumer min-idle-time start [COUNT count] [JUSTID]",
        run: Run::OnOwner(xautoclaim),
    },
];
