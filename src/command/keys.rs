//! Whole keys, whatever their values: removing, counting, naming, copying and moving them. Times are in `expire`, walks
//! over all keys in `scan`.

use super::arguments::{int, is_word};
use super::context::Context;
use super::error::CommandError;
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::config::NotifyFlags;
use crate::keyspace::Disposal;
use crate::resp::Args;

/// DEL key [key ...]: how many were there.
fn del(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let disposal = if cx.core.config.lazyfree_lazy_user_del { Disposal::Background } else { Disposal::Now };
    remove(cx, args, disposal)
}

/// UNLINK key [key ...]: DEL that frees large values later.
fn unlink(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    remove(cx, args, Disposal::Background)
}

fn remove(cx: &mut Context<'_>, args: &Args<'_>, disposal: Disposal) -> CommandResult {
    let mut removed = 0;
    for name in args.iter().skip(1) {
        let key = cx.key(name);
        if cx.core.keyspace.remove(cx.caller.db as usize, key, disposal) {
            removed += 1;
            cx.notify(NotifyFlags::GENERIC, "del", name);
        }
    }
    cx.reply.integer(removed);
    Ok(())
}

/// EXISTS key [key ...]: a key named twice counts twice.
fn exists(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let mut found = 0;
    for name in args.iter().skip(1) {
        let key = cx.key(name);
        found += i64::from(cx.core.keyspace.inspect(cx.caller.db as usize, key).is_some());
    }
    cx.reply.integer(found);
    Ok(())
}

/// TOUCH key [key ...]: dates the last access; how many are there.
fn touch(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let mut found = 0;
    // The command is there to date accesses, whatever CLIENT NO-TOUCH says.
    cx.core.keyspace.no_touch = false;
    for name in args.iter().skip(1) {
        let key = cx.key(name);
        found += i64::from(cx.core.keyspace.read(cx.caller.db as usize, key).is_some());
    }
    cx.reply.integer(found);
    Ok(())
}

/// TYPE key.
fn type_of(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let info = cx.core.keyspace.inspect(cx.caller.db as usize, key);
    cx.reply.simple(info.map_or("none", |info| info.value.type_name()));
    Ok(())
}

/// RENAME key newkey.
fn rename(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    rename_unless(cx, args, false)?;
    cx.reply.ok();
    Ok(())
}

/// RENAMENX key newkey: 0 when the new name is taken, also by the key itself.
fn renamenx(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let renamed = rename_unless(cx, args, true)?;
    cx.reply.integer(i64::from(renamed));
    Ok(())
}

/// Whether the key got its new name. Value, expiry and access word go with it.
fn rename_unless(cx: &mut Context<'_>, args: &Args<'_>, taken: bool) -> Result<bool, CommandError> {
    let db = cx.db();
    let (from, to) = (cx.key(&args[1]), cx.key(&args[2]));
    let keyspace = &mut cx.core.keyspace;
    if keyspace.peek(db, from).is_none() {
        return Err(CommandError::NoSuchKey);
    }
    if from.bytes == to.bytes || (taken && keyspace.peek(db, to).is_some()) {
        return Ok(false);
    }
    let entry = keyspace.take(db, from).ok_or(CommandError::NoSuchKey)?;
    keyspace.put(db, to, entry);
    cx.notify(NotifyFlags::GENERIC, "rename_from", from.bytes);
    cx.notify(NotifyFlags::GENERIC, "rename_to", to.bytes);
    Ok(true)
}

/// COPY source destination [DB db] [REPLACE].
fn copy(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (mut target_db, mut replace) = (cx.db(), false);
    let mut index = 3;
    while let Some(option) = args.get(index) {
        index += 1;
        if is_word(option, "REPLACE") {
            replace = true;
        } else if is_word(option, "DB") && index < args.len() {
            target_db = database(cx, int(&args[index])?)?;
            index += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    if cx.core.cluster.enabled && (cx.db(), target_db) != (0, 0) {
        return Err(CommandError::text_static("ERR Copying to another database is not allowed in cluster mode"));
    }
    let db = cx.db();
    let (from, to) = (cx.key(&args[1]), cx.key(&args[2]));
    if db == target_db && from.bytes == to.bytes {
        return Err(CommandError::SameObject);
    }
    let keyspace = &mut cx.core.keyspace;
    let free = keyspace.read(db, from).is_some() && (replace || keyspace.peek(target_db, to).is_none());
    let copied = if free { keyspace.copy(db, from) } else { None };
    cx.reply.integer(i64::from(copied.is_some()));
    if let Some(entry) = copied {
        cx.core.keyspace.put(target_db, to, entry);
        cx.core.notify(NotifyFlags::GENERIC, "copy_to", target_db as u16, to.bytes);
    }
    Ok(())
}

/// MOVE key db: 0 when the key is not there, or there already.
fn move_to(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    if cx.core.cluster.enabled {
        return Err(CommandError::text_static("ERR MOVE is not allowed in cluster mode"));
    }
    let db = cx.db();
    let target_db = database(cx, int(&args[2])?)?;
    if db == target_db {
        return Err(CommandError::SameObject);
    }
    let key = cx.key(&args[1]);
    let keyspace = &mut cx.core.keyspace;
    let free = keyspace.peek(target_db, key).is_none();
    let taken = if free { keyspace.take(db, key) } else { None };
    cx.reply.integer(i64::from(taken.is_some()));
    if let Some(entry) = taken {
        cx.core.keyspace.put(target_db, key, entry);
        cx.notify(NotifyFlags::GENERIC, "move_from", key.bytes);
        cx.core.notify(NotifyFlags::GENERIC, "move_to", target_db as u16, key.bytes);
    }
    Ok(())
}

/// SWAPDB index1 index2. Only core 0 has keys where there are several databases.
fn swapdb(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    if cx.core.cluster.enabled {
        return Err(CommandError::text_static("ERR SWAPDB is not allowed in cluster mode"));
    }
    let number = |at: usize, error: &'static str| int(&args[at]).map_err(|_| CommandError::text_static(error));
    let first = number(1, "ERR invalid first DB index")?;
    let second = number(2, "ERR invalid second DB index")?;
    let (first, second) = (database(cx, first)?, database(cx, second)?);
    cx.core.keyspace.swap_databases(first, second);
    cx.core.migrations.databases_swapped(first, second);
    cx.reply.ok();
    Ok(())
}

/// The number of a database that there is.
///
/// # Errors
/// `InvalidDbIndex`.
fn database(cx: &Context<'_>, number: i32) -> Result<usize, CommandError> {
    usize::try_from(number).ok().filter(|db| *db < cx.core.keyspace.databases()).ok_or(CommandError::InvalidDbIndex)
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "del",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE,
        keys: Keys::Range { first: 1, last: -1, step: 1, access: Access::REMOVE },
        group: Group::Generic,
        since: "1.0.0",
        summary: "Removes keys.",
        complexity: "O(N) in the number of keys, and of the elements of their values",
        syntax: "key [key ...]",
        run: Run::OnOwner(del),
    },
    CommandSpec {
        name: "unlink",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::Range { first: 1, last: -1, step: 1, access: Access::REMOVE },
        group: Group::Generic,
        since: "4.0.0",
        summary: "Removes keys and frees their values later.",
        complexity: "O(N) in the number of keys",
        syntax: "key [key ...]",
        run: Run::OnOwner(unlink),
    },
    CommandSpec {
        name: "exists",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::Range { first: 1, last: -1, step: 1, access: Access::LOOK },
        group: Group::Generic,
        since: "1.0.0",
        summary: "Counts how many of the keys are there.",
        complexity: "O(N) in the number of keys",
        syntax: "key [key ...]",
        run: Run::OnOwner(exists),
    },
    CommandSpec {
        name: "type",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::LOOK),
        group: Group::Generic,
        since: "1.0.0",
        summary: "Returns the type of the value at a key.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(type_of),
    },
    CommandSpec {
        name: "touch",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::Range { first: 1, last: -1, step: 1, access: Access::LOOK },
        group: Group::Generic,
        since: "3.2.1",
        summary: "Dates the last access of keys and counts those that are there.",
        complexity: "O(N) in the number of keys",
        syntax: "key [key ...]",
        run: Run::OnOwner(touch),
    },
    CommandSpec {
        name: "rename",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE,
        keys: Keys::Pair(1, Access::TAKE, Access::WRITE),
        group: Group::Generic,
        since: "1.0.0",
        summary: "Gives a key another name, whatever had it before.",
        complexity: "O(1)",
        syntax: "key newkey",
        run: Run::OnOwner(rename),
    },
    CommandSpec {
        name: "renamenx",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::Pair(1, Access::TAKE, Access::REPLACE),
        group: Group::Generic,
        since: "1.0.0",
        summary: "Gives a key another name that is free.",
        complexity: "O(1)",
        syntax: "key newkey",
        run: Run::OnOwner(renamenx),
    },
    CommandSpec {
        name: "copy",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Pair(1, Access::READ, Access::WRITE),
        group: Group::Generic,
        since: "6.2.0",
        summary: "Copies the value and the expiry of a key to another.",
        complexity: "O(N) in the number of elements; O(1) for strings",
        syntax: "source destination [DB destination-db] [REPLACE]",
        run: Run::OnOwner(copy),
    },
    CommandSpec {
        name: "move",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE_AND_RETURN),
        group: Group::Generic,
        since: "1.0.0",
        summary: "Moves a key to another database.",
        complexity: "O(1)",
        syntax: "key db",
        run: Run::OnOwner(move_to),
    },
    CommandSpec {
        name: "swapdb",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::FAST).and(Flags::DANGEROUS).and(Flags::KEYSPACE),
        keys: Keys::None,
        group: Group::Server,
        since: "4.0.0",
        summary: "Exchanges the contents of two databases.",
        complexity: "O(1)",
        syntax: "index1 index2",
        run: Run::OnFirstCore(swapdb),
    },
];
