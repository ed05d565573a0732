//! Changing what a stream holds: XADD, XTRIM, XDEL, XSETID.

use super::ids::{self, AddedId};
use super::trim::{Command, ExactWords, Options};
use super::{SHRINK, reply_id};
use crate::command::arguments::{integer, is_word};
use crate::command::context::Context;
use crate::command::error::CommandError;
use crate::command::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::config::NotifyFlags;
use crate::keyspace::stream::{IdText, Log, NODE_BYTES_MAX, NodeLimits, Stream, StreamId};
use crate::resp::Args;

/// XADD key [NOMKSTREAM] [MAXLEN | MINID [= | ~] threshold [LIMIT count]] * | id field value [field value ...]: the id.
fn xadd(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let config = &cx.core.config;
    let limits = NodeLimits { bytes: config.stream_node_max_bytes, entries: config.stream_node_max_entries };
    let options = Options::parse(args, Command::Add, limits.entries, cx.core.obeys())?;
    let first_word = options.id_at + 1;
    let words_count = args.len().saturating_sub(first_word);
    if words_count < 2 || !words_count.is_multiple_of(2) {
        return Err(CommandError::WrongArity("xadd".into()));
    }
    if options.id == Some(AddedId::Exact(StreamId::MIN)) {
        return Err(CommandError::text_static("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let now_ms = super::now_ms(cx);
    let (db, key) = (cx.db(), cx.key(&args[1]));
    let mut entry = cx.core.keyspace.write(db, key);
    let stream = entry.collection::<Stream>()?;
    if stream.is_none() && options.no_stream {
        cx.reply.null();
        return Ok(());
    }
    let id = stream.map_or_else(
        || choose_id(&Log::default(), options.id, now_ms),
        |stream| choose_id(&stream.log, options.id, now_ms),
    )?;
    let words = args.iter().skip(first_word);
    if words.clone().map(|word| word.len() as u64).sum::<u64>() > NODE_BYTES_MAX {
        return Err(CommandError::text_static("ERR Elements are too large to be stored"));
    }
    let stream = entry.collection_or_new::<Stream>()?;
    stream.log.append(id, words, limits);
    let trimmed = options.trim.map_or(0, |trim| stream.log.trim(&trim));
    let exact = if cx.core.journal.is_on() { options.exact_words(&stream.log) } else { None };
    reply_id(&mut cx.reply, id);
    entry.commit(1);
    cx.notify(NotifyFlags::STREAM, "xadd", &args[1]);
    if trimmed > 0 {
        cx.notify(NotifyFlags::STREAM, "xtrim", &args[1]);
    }
    if cx.journals() {
        journal_add(cx, args, &options, id, exact);
    }
    Ok(())
}

/// What was added is recorded with its id, and what was cut off exactly.
#[cold]
fn journal_add(cx: &mut Context<'_>, args: &Args<'_>, options: &Options, id: StreamId, exact: Option<ExactWords>) {
    let mut text = IdText::new();
    let mut replaced: Vec<(usize, &[u8])> = exact.iter().flat_map(ExactWords::places).collect();
    if !matches!(options.id, Some(AddedId::Exact(_))) {
        replaced.push((options.id_at, id.format(&mut text)));
    }
    cx.journal_with(args, &replaced);
}

/// The id of a new entry.
fn choose_id(log: &Log, wanted: Option<AddedId>, now_ms: i64) -> Result<StreamId, CommandError> {
    let last = log.last_id();
    if last == StreamId::MAX {
        return Err(CommandError::text_static(
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        ));
    }
    let id = match wanted {
        None => log.next_id(now_ms.cast_unsigned()),
        Some(AddedId::Exact(id)) => Some(id),
        Some(AddedId::Milliseconds(ms)) if ms == last.ms => last.seq.checked_add(1).map(|seq| StreamId::new(ms, seq)),
        Some(AddedId::Milliseconds(ms)) => Some(StreamId::new(ms, 0)),
    };
    id.filter(|id| *id > last).ok_or(CommandError::text_static(
        "ERR The ID specified in XADD is equal or smaller than the target stream top item",
    ))
}

/// XTRIM key MAXLEN | MINID [= | ~] threshold [LIMIT count]: how many entries went.
fn xtrim(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let options = Options::parse(args, Command::Trim, cx.core.config.stream_node_max_entries, cx.core.obeys())?;
    let (db, key) = (cx.db(), cx.key(&args[1]));
    let mut entry = cx.core.keyspace.write(db, key);
    let (mut trimmed, mut exact) = (0, None);
    if let (Some(stream), Some(trim)) = (entry.collection_mut::<Stream>()?, options.trim) {
        trimmed = stream.log.trim(&trim);
        exact = if cx.core.journal.is_on() { options.exact_words(&stream.log) } else { None };
    }
    if trimmed > 0 {
        entry.commit(trimmed);
        cx.notify(NotifyFlags::STREAM, "xtrim", &args[1]);
        if let Some(exact) = exact {
            cx.journal_with(args, &exact.places());
        }
    }
    cx.reply.integer(trimmed as i64);
    Ok(())
}

/// XDEL key id [id ...]: how many of the entries were there.
fn xdel(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (db, key) = (cx.db(), cx.key(&args[1]));
    let mut entry = cx.core.keyspace.write(db, key);
    let Some(stream) = entry.collection_mut::<Stream>()? else {
        cx.reply.integer(0);
        return Ok(());
    };
    let ids = args.iter().skip(2).map(|id| ids::strict(id, 0));
    ids.clone().try_for_each(|id| id.map(drop))?;
    let deleted = stream.log.delete(ids.flatten());
    if deleted > 0 {
        entry.commit(deleted);
        cx.notify(NotifyFlags::STREAM, "xdel", &args[1]);
    }
    cx.reply.integer(deleted as i64);
    Ok(())
}

/// XSETID key last-id [ENTRIESADDED count] [MAXDELETEDID id].
fn xsetid(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let last_id = ids::strict(&args[2], 0)?;
    let (entries_added, max_deleted_id) = setid_options(args, last_id)?;
    let (db, key) = (cx.db(), cx.key(&args[1]));
    let mut entry = cx.core.keyspace.write(db, key);
    let log = &mut entry.collection_mut::<Stream>()?.ok_or(CommandError::NoSuchKey)?.log;
    check_setid(log, last_id, entries_added)?;
    log.set_ids(last_id, entries_added, max_deleted_id);
    entry.commit_aside(1);
    cx.reply.ok();
    cx.notify(NotifyFlags::STREAM, "xsetid", &args[1]);
    Ok(())
}

/// A deleted id of 0-0 is none.
fn setid_options(args: &Args<'_>, last_id: StreamId) -> Result<(Option<u64>, Option<StreamId>), CommandError> {
    let (mut entries_added, mut max_deleted_id) = (None, None);
    let mut at = 3;
    while let Some(option) = args.get(at) {
        let value = args.get(at + 1).ok_or(CommandError::Syntax)?;
        match () {
            _ if is_word(option, "ENTRIESADDED") => {
                let count = u64::try_from(integer(value)?);
                let count = count.map_err(|_| CommandError::text_static("ERR entries_added must be positive"))?;
                entries_added = Some(count);
            }
            _ if is_word(option, "MAXDELETEDID") => {
                let id = ids::strict(value, 0)?;
                if last_id < id {
                    return Err(CommandError::text_static(
                        "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                    ));
                }
                max_deleted_id = Some(id).filter(|id| !id.is_zero());
            }
            _ => return Err(CommandError::Syntax),
        }
        at += 2;
    }
    Ok((entries_added, max_deleted_id))
}

/// Ids must go on growing, and more entries than were added cannot be there.
fn check_setid(log: &Log, last_id: StreamId, entries_added: Option<u64>) -> CommandResult {
    let refuse = |text| Err(CommandError::text_static(text));
    if last_id < log.max_deleted_id() {
        return refuse("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id");
    }
    if log.last_live_id().is_some_and(|live| last_id < live) {
        return refuse("ERR The ID specified in XSETID is smaller than the target stream top item");
    }
    if entries_added.is_some_and(|added| added < log.len()) {
        return refuse("ERR The entries_added specified in XSETID is smaller than the target stream length");
    }
    Ok(())
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "xadd",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE),
        group: Group::Stream,
        since: "5.0.0",
        summary: "Adds an entry to a stream, which it creates if need be.",
        complexity: "O(1), and O(N) in the number of entries that trimming removes",
        syntax: "key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]",
        run: Run::OnOwner(xadd),
    },
    CommandSpec {
        name: "xtrim",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE,
        keys: Keys::At(1, SHRINK),
        group: Group::Stream,
        since: "5.0.0",
        summary: "Removes the oldest entries of a stream.",
        complexity: "O(N) in the number of entries removed",
        syntax: "key <<MAXLEN | MINID> [= | ~] threshold [LIMIT count]>",
        run: Run::OnOwner(xtrim),
    },
    CommandSpec {
        name: "xdel",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, SHRINK),
        group: Group::Stream,
        since: "5.0.0",
        summary: "Removes entries from a stream by their ids.",
        complexity: "O(1) for each entry, whatever the size of the stream",
        syntax: "key id [id ...]",
        run: Run::OnOwner(xdel),
    },
    CommandSpec {
        name: "xsetid",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE),
        group: Group::Stream,
        since: "5.0.0",
        summary: "Sets the last id and the counters of a stream, as replication needs it.",
        complexity: "O(1)",
        syntax: "key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
        run: Run::OnOwner(xsetid),
    },
];
