//! Strings as a whole: GET and SET in all their forms, MGET and MSET. What works inside a string is in `ranges`,
//! `counters` and `lcs`.

use super::arguments::is_word;
use super::context::Context;
use super::error::CommandError;
use super::set_options::{Clause, Options};
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::base::clock::UnixMillis;
use crate::config::NotifyFlags;
use crate::keyspace::{Entry, KeyspaceStats, StringValue, Value};
use crate::resp::{Args, Reply};

/// GET key.
fn get(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    match cx.core.keyspace.read(cx.caller.db as usize, key) {
        None => {
            cx.reply.null();
            Ok(())
        }
        Some(value) => reply_string(&mut cx.reply, value),
    }
}

/// SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL].
fn set(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    if args.len() > 3 {
        return set_with_options(cx, args);
    }
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    store(&mut entry, args, 2);
    entry.set_expiry(None);
    cx.reply.ok();
    cx.notify(NotifyFlags::STRING, "set", &args[1]);
    Ok(())
}

fn set_with_options(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let options = Options::of_set(args)?;
    let deadline = options.deadline(cx.core.keyspace.now(), "set")?;
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let found = entry.exists();
    if options.get {
        reply_old(&mut cx.reply, &entry)?;
    }
    let goes_on = if found { !options.nx } else { !options.xx };
    if goes_on {
        store(&mut entry, args, 2);
        if !options.keep_ttl {
            entry.set_expiry(deadline);
        }
    }
    if options.get {
        count_lookup(&mut cx.core.keyspace.stats, found);
    } else if goes_on {
        cx.reply.ok();
    } else {
        cx.reply.null();
    }
    if goes_on {
        cx.notify(NotifyFlags::STRING, "set", &args[1]);
    }
    if goes_on && deadline.is_some() {
        cx.notify(NotifyFlags::GENERIC, "expire", &args[1]);
    }
    if goes_on && cx.journals() {
        journal_set(cx, args, &options, deadline);
    }
    Ok(())
}

/// A SET that did something is recorded with the moment of its expiry, whatever form that had, and without GET.
#[cold]
fn journal_set(cx: &mut Context<'_>, args: &Args<'_>, options: &Options<'_>, deadline: Option<UnixMillis>) {
    match (options.expiry, deadline) {
        (Some((Clause::PxAt, _)), _) => {}
        (Some(_), Some(deadline)) => {
            cx.journal_as_number(&[b"SET", &args[1], &args[2], b"PXAT"], deadline.get());
        }
        _ if options.get => {
            let words = args.iter().enumerate().filter(|(at, word)| *at < 3 || !is_word(word, "GET"));
            cx.journal_as(&words.map(|(_, word)| word).collect::<Vec<_>>());
        }
        _ => {}
    }
}

/// SETNX key value: 1 when it was set, 0 when the key was there.
fn setnx(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let absent = !entry.exists();
    if absent {
        store(&mut entry, args, 2);
        cx.notify(NotifyFlags::STRING, "set", &args[1]);
    }
    cx.reply.integer(i64::from(absent));
    Ok(())
}

/// SETEX key seconds value.
fn setex(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let deadline = Clause::Ex.deadline(&args[2], cx.core.keyspace.now(), "setex")?;
    set_until(cx, args, deadline)
}

/// PSETEX key milliseconds value.
fn psetex(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let deadline = Clause::Px.deadline(&args[2], cx.core.keyspace.now(), "psetex")?;
    set_until(cx, args, deadline)
}

fn set_until(cx: &mut Context<'_>, args: &Args<'_>, deadline: UnixMillis) -> CommandResult {
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    store(&mut entry, args, 3);
    entry.set_expiry(Some(deadline));
    cx.reply.ok();
    cx.notify(NotifyFlags::STRING, "set", &args[1]);
    cx.notify(NotifyFlags::GENERIC, "expire", &args[1]);
    cx.journal_as_number(&[b"SET", &args[1], &args[3], b"PXAT"], deadline.get());
    Ok(())
}

/// GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]: GET that may change the expiry. A moment that has passed
/// removes the key.
fn getex(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let options = Options::of_getex(args)?;
    let (now, removes_expired) = (cx.core.keyspace.now(), cx.core.removes_expired());
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let found = entry.exists();
    reply_old(&mut cx.reply, &entry)?;
    let (mut event, mut deadline) = (None, None);
    if found {
        match options.expiry {
            None if options.persist => event = entry.set_expiry(None).then_some("persist"),
            None => {}
            Some((clause, argument)) => {
                let moment = clause.deadline(argument, now, "getex")?;
                deadline = Some(moment);
                if clause.is_absolute() && moment <= now && removes_expired {
                    entry.remove();
                    event = Some("del");
                } else {
                    entry.set_expiry(Some(moment));
                    event = Some("expire");
                }
            }
        }
    }
    count_lookup(&mut cx.core.keyspace.stats, found);
    let Some(event) = event else { return Ok(()) };
    cx.notify(NotifyFlags::GENERIC, event, &args[1]);
    match deadline {
        _ if event == "del" => {
            let in_background = cx.core.config.lazyfree_lazy_expire;
            cx.journal_as_removal(&args[1], in_background);
        }
        Some(deadline) => cx.journal_as_number(&[b"PEXPIREAT", &args[1]], deadline.get()),
        None => cx.journal_as(&[b"PERSIST", &args[1]]),
    }
    Ok(())
}

/// GETDEL key: the value, which is gone then.
fn getdel(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    reply_old(&mut cx.reply, &entry)?;
    let found = entry.remove();
    count_lookup(&mut cx.core.keyspace.stats, found);
    if found {
        cx.notify(NotifyFlags::GENERIC, "del", &args[1]);
        cx.journal_as_removal(&args[1], false);
    }
    Ok(())
}

/// GETSET key value: the old value; an expiry is gone then.
fn getset(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let found = entry.exists();
    reply_old(&mut cx.reply, &entry)?;
    store(&mut entry, args, 2);
    entry.set_expiry(None);
    count_lookup(&mut cx.core.keyspace.stats, found);
    cx.notify(NotifyFlags::STRING, "set", &args[1]);
    cx.journal_with(args, &[(0, b"SET")]);
    Ok(())
}

/// MGET key [key ...]: null for what is not there or no string.
fn mget(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    cx.reply.array(args.len() - 1);
    for name in args.iter().skip(1) {
        let key = cx.key(name);
        match cx.core.keyspace.read(cx.caller.db as usize, key) {
            Some(value) => reply_string(&mut cx.reply, value).unwrap_or_else(|_| cx.reply.null()),
            None => cx.reply.null(),
        }
    }
    Ok(())
}

/// MSET key value [key value ...].
fn mset(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    check_pairs(args, "mset")?;
    store_pairs(cx, args);
    cx.reply.ok();
    Ok(())
}

/// MSETNX key value [key value ...]: all or, when one of the keys is there, none.
fn msetnx(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    check_pairs(args, "msetnx")?;
    for name in args.iter().skip(1).step_by(2) {
        let key = cx.key(name);
        if cx.core.keyspace.peek(cx.caller.db as usize, key).is_some() {
            cx.reply.integer(0);
            return Ok(());
        }
    }
    store_pairs(cx, args);
    cx.reply.integer(1);
    Ok(())
}

fn check_pairs(args: &Args<'_>, command: &'static str) -> CommandResult {
    if args.len().is_multiple_of(2) { Err(CommandError::WrongArity(command.into())) } else { Ok(()) }
}

fn store_pairs(cx: &mut Context<'_>, args: &Args<'_>) {
    for index in (1..args.len()).step_by(2) {
        let key = cx.key(&args[index]);
        let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
        store(&mut entry, args, index + 1);
        entry.set_expiry(None);
        cx.notify(NotifyFlags::STRING, "set", &args[index]);
    }
}

/// Stores an argument as the value: as an integer when it is one, shared when it was received into a buffer of its own.
#[inline]
pub(super) fn store(entry: &mut Entry<'_>, args: &Args<'_>, value_at: usize) {
    match args.shared(value_at) {
        Some(large) => entry.set_shared(large),
        None => entry.set_string(&args[value_at]),
    }
}

/// The value as a bulk string.
///
/// # Errors
/// `WrongType`: the value is no string.
#[inline]
pub(super) fn reply_string(reply: &mut Reply<'_>, value: Value<'_>) -> CommandResult {
    match string(value)? {
        StringValue::Integer(integer) => reply.bulk_integer(integer),
        StringValue::Bytes(bytes) => reply.bulk(bytes),
        StringValue::Shared(bytes) => reply.bulk_shared(bytes),
    }
    Ok(())
}

/// Lets a string through.
///
/// # Errors
/// `WrongType`: the value is no string.
#[inline]
pub(super) fn string(value: Value<'_>) -> Result<StringValue<'_>, CommandError> {
    Ok(value.string()?)
}

/// The value at the write door as a bulk string, or null.
fn reply_old(reply: &mut Reply<'_>, entry: &Entry<'_>) -> CommandResult {
    match entry.value() {
        Some(value) => reply_string(reply, value),
        None => {
            reply.null();
            Ok(())
        }
    }
}

/// Commands that read through the write door count as readers all the same.
pub(super) fn count_lookup(stats: &mut KeyspaceStats, found: bool) {
    stats.hits += u64::from(found);
    stats.misses += u64::from(!found);
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "get",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::READ),
        group: Group::String,
        since: "1.0.0",
        summary: "Returns the string at a key.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(get),
    },
    CommandSpec {
        name: "set",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::At(1, Access::UPDATE_VARIABLE),
        group: Group::String,
        since: "1.0.0",
        summary: "Sets the string at a key, whatever was there before.",
        complexity: "O(1)",
        syntax: "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        run: Run::OnOwner(set),
    },
    CommandSpec {
        name: "getex",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE_AND_RETURN),
        group: Group::String,
        since: "6.2.0",
        summary: "Returns the string at a key and changes when it expires.",
        complexity: "O(1)",
        syntax: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
        run: Run::OnOwner(getex),
    },
    CommandSpec {
        name: "getdel",
        arity: Arity::Exactly(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, Access::TAKE),
        group: Group::String,
        since: "6.2.0",
        summary: "Returns the string at a key and removes the key.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(getdel),
    },
    CommandSpec {
        name: "getset",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE_AND_RETURN),
        group: Group::String,
        since: "1.0.0",
        summary: "Sets the string at a key and returns the one before.",
        complexity: "O(1)",
        syntax: "key value",
        run: Run::OnOwner(getset),
    },
    CommandSpec {
        name: "setnx",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::REPLACE),
        group: Group::String,
        since: "1.0.0",
        summary: "Sets the string at a key that is not there yet.",
        complexity: "O(1)",
        syntax: "key value",
        run: Run::OnOwner(setnx),
    },
    CommandSpec {
        name: "setex",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::At(1, Access::WRITE),
        group: Group::String,
        since: "2.0.0",
        summary: "Sets a string that expires after some seconds.",
        complexity: "O(1)",
        syntax: "key seconds value",
        run: Run::OnOwner(setex),
    },
    CommandSpec {
        name: "psetex",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::At(1, Access::WRITE),
        group: Group::String,
        since: "2.6.0",
        summary: "Sets a string that expires after some milliseconds.",
        complexity: "O(1)",
        syntax: "key milliseconds value",
        run: Run::OnOwner(psetex),
    },
    CommandSpec {
        name: "mget",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::Range { first: 1, last: -1, step: 1, access: Access::READ },
        group: Group::String,
        since: "1.0.0",
        summary: "Returns the strings at several keys.",
        complexity: "O(N) in the number of keys",
        syntax: "key [key ...]",
        run: Run::OnOwner(mget),
    },
    CommandSpec {
        name: "mset",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Range { first: 1, last: -1, step: 2, access: Access::WRITE },
        group: Group::String,
        since: "1.0.1",
        summary: "Sets the strings at several keys.",
        complexity: "O(N) in the number of keys",
        syntax: "key value [key value ...]",
        run: Run::OnOwner(mset),
    },
    CommandSpec {
        name: "msetnx",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Range { first: 1, last: -1, step: 2, access: Access::REPLACE },
        group: Group::String,
        since: "1.0.1",
        summary: "Sets the strings at several keys if none of them is there yet.",
        complexity: "O(N) in the number of keys",
        syntax: "key value [key value ...]",
        run: Run::OnOwner(msetnx),
    },
];
