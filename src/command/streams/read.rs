//! Reading on from an id in several streams, waiting for entries if need be: XREAD, and XREADGROUP for a consumer of a group.
//!
//! Both look at all streams before they reply or change anything, then go over them again to give out what is there. Where
//! nothing is, and BLOCK was given, the client waits and the handler is run again (`blocking`).

use super::recorded::Recorded;
use super::{at_most, ids, no_group_to_read, now_ms, reply_entries, reply_entry, reply_id};
use crate::command::arguments::{integer, is_word, text};
use crate::command::blocking::{self, Nothing, Timeout, Wait};
use crate::command::context::Context;
use crate::command::error::CommandError;
use crate::command::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::config::NotifyFlags;
use crate::keyspace::ValueKind;
use crate::keyspace::stream::{self, ConsumerId, IdText, Log, Stream, StreamId};
use crate::resp::{Args, ArgsBuf, Deferred, Reply, RespVersion};

/// XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...].
fn xread(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let request = Request::parse(args, None)?;
    request.may_wait(cx, args)?;
    for (name, after) in request.streams(args) {
        let (db, key) = (cx.db(), cx.key(name));
        let stream = cx.core.keyspace.read_as::<Stream>(db, key)?;
        read_after(after, stream)?;
    }
    let mut answer = Answer::default();
    for (name, after) in request.streams(args) {
        let (db, key) = (cx.db(), cx.key(name));
        let Some(stream) = cx.core.keyspace.read_as::<Stream>(db, key)? else { continue };
        let after = read_after(after, Some(stream))?;
        if has_more(&stream.log, after) {
            answer.begin_stream(&mut cx.reply, name);
            let start = after.next().unwrap_or(StreamId::MAX);
            reply_entries(&mut cx.reply, stream.log.range(start, StreamId::MAX), request.count);
        }
    }
    if answer.finish(&mut cx.reply) {
        return Ok(());
    }
    let Some(timeout) = request.block else {
        cx.reply.null_array();
        return Ok(());
    };
    let resolved = resolved(cx, args, &request);
    blocking::wait(cx, request.wait(args, timeout, resolved))
}

/// XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]. An id asks
/// for what the consumer has not acknowledged since, `>` for what no consumer got yet.
fn xreadgroup(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let mut names = None;
    let request = Request::parse(args, Some(&mut names))?;
    request.may_wait(cx, args)?;
    let (group, consumer) = names.ok_or(CommandError::text_static("ERR Missing GROUP option for XREADGROUP"))?;
    for (name, after) in request.streams(args) {
        let (db, key) = (cx.db(), cx.key(name));
        let stream = cx.core.keyspace.read_as::<Stream>(db, key)?;
        if stream.is_none_or(|stream| stream.groups.get(group).is_none()) {
            return Err(no_group_to_read(name, group));
        }
        group_after(after)?;
    }
    let mut answer = Answer::default();
    for (name, after) in request.streams(args) {
        let after = group_after(after)?;
        read_as_consumer(cx, &request, &mut answer, name, after, group, consumer)?;
    }
    // As in Redis, of a consumer that got nothing nobody is told.
    cx.journal_nothing();
    if answer.finish(&mut cx.reply) {
        return Ok(());
    }
    match request.block {
        Some(timeout) => blocking::wait(cx, Wait { or_removed: true, ..request.wait(args, timeout, None) }),
        None => {
            cx.reply.null_array();
            Ok(())
        }
    }
}

/// The options, and where keys and ids stand.
struct Request {
    /// 0: all.
    count: u64,
    block: Option<Timeout>,
    no_ack: bool,
    first_key: usize,
    keys_count: usize,
}

impl Request {
    /// Reads the options; `group`, which only XREADGROUP has, gets the names of group and consumer.
    fn parse<'a>(
        args: &Args<'a>,
        mut group: Option<&mut Option<(&'a [u8], &'a [u8])>>,
    ) -> Result<Request, CommandError> {
        let mut request = Request { count: 0, block: None, no_ack: false, first_key: 0, keys_count: 0 };
        let mut at = 1;
        while let Some(option) = args.get(at) {
            let value = args.get(at + 1);
            match (value, args.get(at + 2)) {
                (Some(value), _) if is_word(option, "BLOCK") => {
                    request.block = Some(Timeout::milliseconds(value)?);
                    at += 1;
                }
                (Some(value), _) if is_word(option, "COUNT") => {
                    request.count = u64::try_from(integer(value)?).unwrap_or(0);
                    at += 1;
                }
                (Some(_), _) if is_word(option, "STREAMS") => {
                    request.first_key = at + 1;
                    let words_count = args.len() - request.first_key;
                    if !words_count.is_multiple_of(2) {
                        return Err(unbalanced(group.is_some()));
                    }
                    request.keys_count = words_count / 2;
                    break;
                }
                (Some(name), Some(consumer)) if is_word(option, "GROUP") => {
                    *group.as_deref_mut().ok_or(ONLY_FOR_GROUPS[0].clone())? = Some((name, consumer));
                    at += 2;
                }
                _ if is_word(option, "NOACK") => {
                    group.as_ref().ok_or(ONLY_FOR_GROUPS[1].clone())?;
                    request.no_ack = true;
                }
                _ => return Err(CommandError::Syntax),
            }
            at += 1;
        }
        if request.first_key == 0 { Err(CommandError::Syntax) } else { Ok(request) }
    }

    /// Each key with the id that was given for it.
    fn streams<'a>(&self, args: &Args<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let keys = args.iter().skip(self.first_key).take(self.keys_count);
        keys.zip(args.iter().skip(self.first_key + self.keys_count))
    }

    /// Scripts do not even ask to wait.
    fn may_wait(&self, cx: &Context<'_>, args: &Args<'_>) -> CommandResult {
        if self.block.is_none() || !cx.core.in_script {
            return Ok(());
        }
        Err(CommandError::quoting("ERR ", &args[0], " command is not allowed with BLOCK option from scripts"))
    }

    fn wait(&self, args: &Args<'_>, timeout: Timeout, request: Option<ArgsBuf>) -> Wait {
        Wait {
            keys: self.streams(args).map(|(key, _)| key.to_vec()).collect(),
            kind: ValueKind::Stream,
            or_removed: false,
            timeout,
            nothing: Nothing::NullArray,
            request,
        }
    }
}

/// What XREAD has not: GROUP and NOACK.
const ONLY_FOR_GROUPS: [CommandError; 2] = [
    CommandError::text_static("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead."),
    CommandError::text_static("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead."),
];

fn unbalanced(is_group: bool) -> CommandError {
    CommandError::text_static(if is_group {
        "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified."
    } else {
        "ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified."
    })
}

/// The id behind which XREAD reads; `$` is the last one that the stream has given.
fn read_after(after: &[u8], stream: Option<&Stream>) -> Result<StreamId, CommandError> {
    match text(after) {
        b"$" => Ok(stream.map_or(StreamId::MIN, |stream| stream.log.last_id())),
        b">" => Err(CommandError::text_static(
            "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
        )),
        _ => ids::strict(after, 0),
    }
}

/// From where XREADGROUP reads: the consumer's own entries behind an id, or, `None`, what is new to the group.
fn group_after(after: &[u8]) -> Result<Option<StreamId>, CommandError> {
    match text(after) {
        b"$" => Err(CommandError::text_static(
            "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer \
             by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty \
             result set.",
        )),
        b">" => Ok(None),
        // Redis keeps `>` as the last possible id, and does not tell that id from it.
        _ => Ok(Some(ids::strict(after, 0)?).filter(|id| *id != StreamId::MAX)),
    }
}

fn has_more(log: &Log, after: StreamId) -> bool {
    log.last_live_id().is_some_and(|last| last > after)
}

/// The request with the ids that `$` stands for now, when it has any.
fn resolved(cx: &mut Context<'_>, args: &Args<'_>, request: &Request) -> Option<ArgsBuf> {
    request.streams(args).find(|(_, after)| text(after) == b"$")?;
    let mut resolved: ArgsBuf = args.iter().take(request.first_key + request.keys_count).collect();
    for (name, after) in request.streams(args) {
        if text(after) != b"$" {
            resolved.push(after);
            continue;
        }
        let (db, key) = (cx.db(), cx.key(name));
        let stream = cx.core.keyspace.peek(db, key).and_then(|value| value.collection::<Stream>().ok());
        let last_id = stream.map_or(StreamId::MIN, |stream| stream.log.last_id());
        resolved.push(last_id.format(&mut IdText::new()));
    }
    Some(resolved)
}

/// The streams of a reply: a map since version 3, pairs before. Begun by the first one that has something.
#[derive(Default)]
struct Answer {
    begun: Option<Deferred>,
    streams: usize,
}

impl Answer {
    fn begin_stream(&mut self, reply: &mut Reply<'_>, name: &[u8]) {
        let is_map = reply.version() == RespVersion::V3;
        if self.begun.is_none() {
            self.begun = Some(if is_map { reply.begin_map() } else { reply.begin_array() });
        }
        if !is_map {
            reply.array(2);
        }
        reply.bulk(name);
        self.streams += 1;
    }

    /// Ends the reply; whether there is any.
    fn finish(self, reply: &mut Reply<'_>) -> bool {
        let Some(begun) = self.begun else { return false };
        reply.finish(begun, self.streams);
        true
    }
}

/// One stream of XREADGROUP. The consumer is created even when there is nothing for it.
fn read_as_consumer(
    cx: &mut Context<'_>,
    request: &Request,
    answer: &mut Answer,
    name: &[u8],
    after: Option<StreamId>,
    group_name: &[u8],
    consumer_name: &[u8],
) -> CommandResult {
    let now_ms = now_ms(cx);
    // Redis has looked the key up once more by now.
    cx.core.keyspace.stats.hits += 1;
    let (db, key) = (cx.db(), cx.key(name));
    let mut entry = cx.core.keyspace.write(db, key);
    let Some(Stream { log, groups }) = entry.collection_mut::<Stream>()? else { return Ok(()) };
    let Some(group) = groups.get_mut(group_name) else { return Ok(()) };
    let mut recorded = Recorded::new(cx.core.journal.is_on());
    let (consumer, is_created) = group.consumer_or_new(consumer_name, now_ms);
    group.consumer_mut(consumer).seen_ms = now_ms;
    let is_served = after.is_some() || has_more(log, group.last_id);
    if is_served {
        answer.begin_stream(&mut cx.reply, name);
        match after {
            Some(after) => reply_own(&mut cx.reply, log, group, consumer, after, request.count, now_ms),
            None => reply_new(&mut cx.reply, log, group, consumer, request, now_ms, &mut recorded),
        }
    }
    entry.commit_aside(u64::from(is_created) + u64::from(is_served));
    if is_created {
        cx.notify(NotifyFlags::STREAM, "xgroup-createconsumer", name);
        if request.no_ack {
            // Otherwise what it was given tells of it.
            cx.journal_as(&[b"XGROUP", b"CREATECONSUMER", name, group_name, consumer_name]);
        }
    }
    recorded.record(cx, name, group_name);
    Ok(())
}

/// Entries behind the last one that the group was given; they wait for the consumer then, unless NOACK.
fn reply_new(
    reply: &mut Reply<'_>,
    log: &Log,
    group: &mut stream::Group,
    consumer: ConsumerId,
    request: &Request,
    now_ms: i64,
    recorded: &mut Recorded,
) {
    let start = group.last_id.next().unwrap_or(StreamId::MAX);
    let array = reply.begin_array();
    let mut replied = 0;
    for entry in log.range(start, StreamId::MAX).take(at_most(request.count)) {
        group.advance(log, entry.id());
        reply_entry(reply, &entry);
        if !request.no_ack {
            group.deliver(entry.id(), consumer, now_ms);
            recorded.claim_of(entry.id(), group);
        }
        replied += 1;
    }
    reply.finish(array, replied);
    if request.no_ack && replied > 0 {
        recorded.place_of(group);
    }
}

/// Entries behind `after` that wait for the consumer, delivered once more; without fields when they were deleted since.
fn reply_own(
    reply: &mut Reply<'_>,
    log: &Log,
    group: &mut stream::Group,
    consumer: ConsumerId,
    after: StreamId,
    count: u64,
    now_ms: i64,
) {
    let array = reply.begin_array();
    let mut replied = 0;
    let mut start = after.next();
    while let Some(from) = start.filter(|_| replied < at_most(count)) {
        let Some(id) = group.consumer(consumer).pending().range(from..).next().copied() else { break };
        match log.get(id) {
            Some(entry) => {
                reply_entry(reply, &entry);
                group.redeliver(id, now_ms);
            }
            None => {
                reply.array(2);
                reply_id(reply, id);
                reply.null_array();
            }
        }
        replied += 1;
        start = id.next();
    }
    reply.finish(array, replied);
}

/// Finds the keys as the handlers do; where they would find an error, there are none.
fn find_keys(args: &Args<'_>, found: &mut Vec<usize>) -> Result<(), CommandError> {
    let mut at = 1;
    while let Some(option) = args.get(at) {
        match () {
            _ if is_word(option, "BLOCK") || is_word(option, "COUNT") => at += 2,
            _ if is_word(option, "GROUP") => at += 3,
            _ if is_word(option, "NOACK") => at += 1,
            _ if is_word(option, "STREAMS") => {
                let words_count = args.len() - at - 1;
                if words_count.is_multiple_of(2) {
                    found.extend(at + 1..at + 1 + words_count / 2);
                }
                break;
            }
            _ => break,
        }
    }
    Ok(())
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "xread",
        arity: Arity::AtLeast(4),
        flags: Flags::BLOCKING.and(Flags::READONLY),
        keys: Keys::Behind { word: "STREAMS", from: 1, finder: find_keys, access: Access::READ },
        group: Group::Stream,
        since: "5.0.0",
        summary: "Returns the entries of several streams behind given ids, and waits for them if need be.",
        complexity: "O(N) in the number of entries returned, for each stream",
        syntax: "[COUNT count] [BLOCK milliseconds] STREAMS <key [key ...] id [id ...]>",
        run: Run::OnOwner(xread),
    },
    CommandSpec {
        name: "xreadgroup",
        arity: Arity::AtLeast(7),
        flags: Flags::BLOCKING.and(Flags::WRITE),
        keys: Keys::Behind { word: "STREAMS", from: 4, finder: find_keys, access: Access::READ },
        group: Group::Stream,
        since: "5.0.0",
        summary: "Returns new entries of several streams to a consumer of a group, or those that it has not acknowledged.",
        complexity: "O(N) in the number of entries returned, for each stream",
        syntax: "GROUP <group consumer> [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS <key [key ...] id [id ...]>",
        run: Run::OnOwner(xreadgroup),
    },
];
