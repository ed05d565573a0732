//! XGROUP: creating and removing consumer groups and consumers, and setting where a group has got to.

use super::{SHRINK, ids, no_group, now_ms, unknown_form};
use crate::command::arguments::{integer, is_word, text};
use crate::command::context::Context;
use crate::command::error::CommandError;
use crate::command::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group as Family, Keys, Run};
use crate::config::NotifyFlags;
use crate::keyspace::stream::{Group, Stream, StreamId};
use crate::resp::Args;

const NO_KEY: CommandError = CommandError::text_static(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to \
     create an empty stream automatically.",
);

/// What may stand behind the id.
#[derive(Default)]
struct Options {
    make_stream: bool,
    entries_read: Option<i64>,
}

impl Options {
    /// MKSTREAM, which only CREATE has, and ENTRIESREAD, which is -1 when the number is not known.
    fn parse(args: &Args<'_>, may_create: bool) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut at = 5;
        while let Some(option) = args.get(at) {
            match args.get(at + 1) {
                _ if may_create && is_word(option, "MKSTREAM") => options.make_stream = true,
                Some(value) if is_word(option, "ENTRIESREAD") => {
                    options.entries_read = match integer(value)? {
                        -1 => None,
                        count @ 0.. => Some(count),
                        _ => {
                            return Err(CommandError::text_static("ERR value for ENTRIESREAD must be positive or -1"));
                        }
                    };
                    at += 1;
                }
                _ => return Err(unknown_form(args, "XGROUP")),
            }
            at += 1;
        }
        Ok(options)
    }
}

/// XGROUP CREATE key group id | $ [MKSTREAM] [ENTRIESREAD count].
fn create(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let options = Options::parse(args, true)?;
    let (db, key) = (cx.db(), cx.key(&args[2]));
    let mut entry = cx.core.keyspace.write(db, key);
    let stream = entry.collection::<Stream>()?;
    if stream.is_none() && !options.make_stream {
        return Err(NO_KEY);
    }
    if args.len() > 8 {
        return Err(unknown_form(args, "XGROUP"));
    }
    let last_id = match text(&args[4]) {
        b"$" => stream.map_or(StreamId::MIN, |stream| stream.log.last_id()),
        _ => ids::strict(&args[4], 0)?,
    };
    if stream.is_some_and(|stream| stream.groups.get(&args[3]).is_some()) {
        return Err(CommandError::text_static("BUSYGROUP Consumer Group name already exists"));
    }
    let group = Group::new(last_id, options.entries_read);
    let is_new = !entry.exists();
    entry.collection_or_new::<Stream>()?.groups.create(&args[3], group);
    if is_new {
        entry.commit(1);
    } else {
        entry.commit_aside(1);
    }
    cx.reply.ok();
    cx.notify(NotifyFlags::STREAM, "xgroup-create", &args[2]);
    Ok(())
}

/// XGROUP SETID key group id | $ [ENTRIESREAD count].
fn setid(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let options = Options::parse(args, false)?;
    let (db, key) = (cx.db(), cx.key(&args[2]));
    let mut entry = cx.core.keyspace.write(db, key);
    let Stream { log, groups } = entry.collection_mut::<Stream>()?.ok_or(NO_KEY)?;
    let group = groups.get_mut(&args[3]).ok_or_else(|| no_group(&args[2], &args[3]))?;
    if args.len() > 7 {
        return Err(unknown_form(args, "XGROUP"));
    }
    group.last_id = match text(&args[4]) {
        b"$" => log.last_id(),
        _ => ids::any(&args[4], 0)?,
    };
    group.entries_read = options.entries_read;
    entry.commit_aside(1);
    cx.reply.ok();
    cx.notify(NotifyFlags::STREAM, "xgroup-setid", &args[2]);
    Ok(())
}

/// XGROUP DESTROY key group: whether it was there. Clients that wait in it are told so.
fn destroy(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (db, key) = (cx.db(), cx.key(&args[2]));
    let mut entry = cx.core.keyspace.write(db, key);
    let destroyed = entry.collection_mut::<Stream>()?.ok_or(NO_KEY)?.groups.remove(&args[3]);
    if destroyed {
        entry.commit_aside(1);
        cx.notify(NotifyFlags::STREAM, "xgroup-destroy", &args[2]);
        cx.core.blocked.key_changed(db, key.bytes);
    }
    cx.reply.integer(i64::from(destroyed));
    Ok(())
}

/// XGROUP CREATECONSUMER key group consumer: whether it was not there yet.
fn create_consumer(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let now_ms = now_ms(cx);
    let (db, key) = (cx.db(), cx.key(&args[2]));
    let mut entry = cx.core.keyspace.write(db, key);
    let groups = &mut entry.collection_mut::<Stream>()?.ok_or(NO_KEY)?.groups;
    let group = groups.get_mut(&args[3]).ok_or_else(|| no_group(&args[2], &args[3]))?;
    let (_, is_created) = group.consumer_or_new(&args[4], now_ms);
    if is_created {
        entry.commit_aside(1);
        cx.notify(NotifyFlags::STREAM, "xgroup-createconsumer", &args[2]);
    }
    cx.reply.integer(i64::from(is_created));
    Ok(())
}

/// XGROUP DELCONSUMER key group consumer: how many entries waited for it; they wait no longer.
fn delete_consumer(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (db, key) = (cx.db(), cx.key(&args[2]));
    let mut entry = cx.core.keyspace.write(db, key);
    let groups = &mut entry.collection_mut::<Stream>()?.ok_or(NO_KEY)?.groups;
    let group = groups.get_mut(&args[3]).ok_or_else(|| no_group(&args[2], &args[3]))?;
    let pending = group.remove_consumer(&args[4]);
    if pending.is_some() {
        entry.commit_aside(1);
        cx.notify(NotifyFlags::STREAM, "xgroup-delconsumer", &args[2]);
    }
    cx.reply.integer(pending.unwrap_or(0) as i64);
    Ok(())
}

/// XGROUP HELP.
fn help(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    cx.reply.help(
        "XGROUP",
        &[
            "CREATE <key> <groupname> <id|$> [option]",
            "    Create a new consumer group. Options are:",
            "    * MKSTREAM",
            "      Create the empty stream if it does not exist.",
            "    * ENTRIESREAD entries_read",
            "      Set the group's entries_read counter (internal use).",
            "CREATECONSUMER <key> <groupname> <consumer>",
            "    Create a new consumer in the specified group.",
            "DELCONSUMER <key> <groupname> <consumer>",
            "    Remove the specified consumer.",
            "DESTROY <key> <groupname>",
            "    Remove the specified group.",
            "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
            "    Set the current group ID and entries_read counter.",
        ],
    );
    Ok(())
}

const XGROUP: CommandSpec = CommandSpec {
    name: "xgroup",
    arity: Arity::AtLeast(2),
    flags: Flags::NONE,
    keys: Keys::None,
    group: Family::Stream,
    since: "5.0.0",
    summary: "Consumer groups.",
    complexity: "Depends on the sub-command",
    syntax: "",
    run: Run::Container,
};

pub const COMMANDS: &[CommandSpec] = &[
    XGROUP,
    CommandSpec {
        name: "xgroup|create",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::At(2, Access::INSERT),
        summary: "Creates a consumer group.",
        complexity: "O(1)",
        syntax: "key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]",
        run: Run::OnOwner(create),
        ..XGROUP
    },
    CommandSpec {
        name: "xgroup|createconsumer",
        arity: Arity::Exactly(5),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::At(2, Access::INSERT),
        since: "6.2.0",
        summary: "Creates a consumer in a group.",
        complexity: "O(1)",
        syntax: "key group consumer",
        run: Run::OnOwner(create_consumer),
        ..XGROUP
    },
    CommandSpec {
        name: "xgroup|delconsumer",
        arity: Arity::Exactly(5),
        flags: Flags::WRITE,
        keys: Keys::At(2, SHRINK),
        summary: "Removes a consumer from its group, with all that waits for it.",
        complexity: "O(N) in the number of entries that wait for the consumer",
        syntax: "key group consumer",
        run: Run::OnOwner(delete_consumer),
        ..XGROUP
    },
    CommandSpec {
        name: "xgroup|destroy",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE,
        keys: Keys::At(2, SHRINK),
        summary: "Removes a consumer group.",
        complexity: "O(N) in the number of entries that wait in the group",
        syntax: "key group",
        run: Run::OnOwner(destroy),
        ..XGROUP
    },
    CommandSpec {
        name: "xgroup|help",
        arity: Arity::Exactly(2),
        flags: Flags::LOADING.and(Flags::STALE),
        summary: "Lists the sub-commands.",
        complexity: "O(1)",
        run: Run::OnConnection(help),
        ..XGROUP
    },
    CommandSpec {
        name: "xgroup|setid",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE,
        keys: Keys::At(2, Access::CHANGE),
        summary: "Sets the last entry that a group was given.",
        complexity: "O(1)",
        syntax: "key group <id | $> [ENTRIESREAD entries-read]",
        run: Run::OnOwner(setid),
        ..XGROUP
    },
];
