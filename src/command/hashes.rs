//! Hashes: fields set, read, removed, listed and drawn. Their numbers are in `hash_numbers`.

use hashbrown::HashSet;

use super::arguments::is_word;
use super::collection_scan::{Found, ScanOptions, parse_cursor};
use super::context::Context;
use super::elements::{reply_element, reply_element_or_null};
use super::error::CommandError;
use super::sample::{SampleCount, choose, draw, is_sparse, while_wanted};
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::base::random::Random;
use crate::config::{Config, NotifyFlags};
use crate::keyspace::hash::{Hash, HashLimits};
use crate::keyspace::listpack::{Digits, Element};
use crate::resp::{Args, Reply, RespVersion};

/// When hashes leave their small form, by the configuration.
pub(super) fn limits(config: &Config) -> HashLimits {
    HashLimits { entries: config.hash_max_listpack_entries, value_bytes: config.hash_max_listpack_value }
}

/// HSET key field value [field value ...]: how many fields are new.
fn hset(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let added = set_all(cx, args, "hset")?;
    cx.reply.integer(added as i64);
    Ok(())
}

/// HMSET key field value [field value ...].
fn hmset(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    set_all(cx, args, "hmset")?;
    cx.reply.ok();
    Ok(())
}

fn set_all(cx: &mut Context<'_>, args: &Args<'_>, command: &'static str) -> Result<u64, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity(command.into()));
    }
    let limits = limits(&cx.core.config);
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let hash = entry.collection_or_new::<Hash>()?;
    hash.make_room(args.iter().skip(2), limits);
    let mut added = 0;
    for index in (2..args.len()).step_by(2) {
        added += u64::from(hash.set(&args[index], &args[index + 1], limits));
    }
    entry.commit((args.len() - 2) as u64 / 2);
    cx.notify(NotifyFlags::HASH, "hset", &args[1]);
    Ok(added)
}

/// HSETNX key field value: 1 when it was set, 0 when the field was there.
fn hsetnx(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let limits = limits(&cx.core.config);
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let hash = entry.collection_or_new::<Hash>()?;
    let absent = !hash.contains(&args[2]);
    if absent {
        hash.make_room(args.iter().skip(2), limits);
        hash.set(&args[2], &args[3], limits);
    }
    entry.commit(u64::from(absent));
    cx.reply.integer(i64::from(absent));
    if absent {
        cx.notify(NotifyFlags::HASH, "hset", &args[1]);
    }
    Ok(())
}

/// HGET key field.
fn hget(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let hash = cx.core.keyspace.read_as::<Hash>(cx.caller.db as usize, key)?;
    reply_element_or_null(&mut cx.reply, hash.and_then(|hash| hash.get(&args[2])));
    Ok(())
}

/// HMGET key field [field ...]: null for a field that is not there.
fn hmget(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let hash = cx.core.keyspace.read_as::<Hash>(cx.caller.db as usize, key)?;
    cx.reply.array(args.len() - 2);
    for field in args.iter().skip(2) {
        reply_element_or_null(&mut cx.reply, hash.and_then(|hash| hash.get(field)));
    }
    Ok(())
}

/// HGETALL key: every field with its value.
fn hgetall(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let hash = cx.core.keyspace.read_as::<Hash>(cx.caller.db as usize, key)?;
    cx.reply.map(hash.map_or(0, Hash::len));
    for (field, value) in hash.into_iter().flat_map(Hash::iter) {
        reply_element(&mut cx.reply, field);
        reply_element(&mut cx.reply, value);
    }
    Ok(())
}

/// HKEYS key: every field.
fn hkeys(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    reply_one_side(cx, args, |(field, _)| field)
}

/// HVALS key: the value of every field.
fn hvals(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    reply_one_side(cx, args, |(_, value)| value)
}

fn reply_one_side(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    side: for<'e> fn((Element<'e>, Element<'e>)) -> Element<'e>,
) -> CommandResult {
    let key = cx.key(&args[1]);
    let hash = cx.core.keyspace.read_as::<Hash>(cx.caller.db as usize, key)?;
    cx.reply.array(hash.map_or(0, Hash::len));
    hash.into_iter().flat_map(Hash::iter).for_each(|pair| reply_element(&mut cx.reply, side(pair)));
    Ok(())
}

/// HLEN key: how many fields there are.
fn hlen(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let hash = cx.core.keyspace.read_as::<Hash>(cx.caller.db as usize, key)?;
    cx.reply.integer(hash.map_or(0, Hash::len) as i64);
    Ok(())
}

/// HSTRLEN key field: 0 for a field that is not there.
fn hstrlen(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let hash = cx.core.keyspace.read_as::<Hash>(cx.caller.db as usize, key)?;
    let value = hash.and_then(|hash| hash.get(&args[2]));
    cx.reply.integer(value.map_or(0, |value| value.as_bytes(&mut Digits::new()).len()) as i64);
    Ok(())
}

/// HEXISTS key field.
fn hexists(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let hash = cx.core.keyspace.read_as::<Hash>(cx.caller.db as usize, key)?;
    cx.reply.integer(i64::from(hash.is_some_and(|hash| hash.contains(&args[2]))));
    Ok(())
}

/// HDEL key field [field ...]: how many were there.
fn hdel(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let mut removed = 0;
    if let Some(hash) = entry.collection_mut::<Hash>()? {
        removed = args.iter().skip(2).map(|field| u64::from(hash.remove(field))).sum();
    }
    let emptied = entry.commit(removed);
    cx.reply.integer(removed as i64);
    if removed > 0 {
        cx.notify(NotifyFlags::HASH, "hdel", &args[1]);
    }
    if emptied {
        cx.notify(NotifyFlags::GENERIC, "del", &args[1]);
    }
    Ok(())
}

/// HSCAN key cursor [MATCH pattern] [COUNT count].
fn hscan(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let cursor = parse_cursor(&args[2])?;
    let key = cx.key(&args[1]);
    let mut found = Found::default();
    let mut next = 0;
    if let Some(hash) = cx.core.keyspace.read_as::<Hash>(cx.caller.db as usize, key)? {
        let options = ScanOptions::parse(args)?;
        next = hash.scan(cursor, options.count, &mut |field, value| {
            if options.wants(field) {
                found.push(field);
                found.push(value);
            }
        });
    }
    found.reply(next, &mut cx.reply);
    Ok(())
}

/// HRANDFIELD key [count [WITHVALUES]]: one field, or an array of them.
fn hrandfield(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let Some(count) = args.get(2) else {
        let key = cx.key(&args[1]);
        let hash = cx.core.keyspace.read_as::<Hash>(cx.caller.db as usize, key)?;
        let drawn = hash.and_then(|hash| hash.random(&mut cx.core.random));
        reply_element_or_null(&mut cx.reply, drawn.map(|(field, _)| field));
        return Ok(());
    };
    let count = SampleCount::parse(count)?;
    let with_values = match args.get(3) {
        None => false,
        Some(option) if args.len() == 4 && is_word(option, "WITHVALUES") => true,
        Some(_) => return Err(CommandError::Syntax),
    };
    if with_values && count.get() > i64::MAX as u64 / 2 {
        return Err(CommandError::OutOfRange);
    }
    let key = cx.key(&args[1]);
    match cx.core.keyspace.read_as::<Hash>(cx.caller.db as usize, key)? {
        None => cx.reply.array(0),
        Some(hash) => reply_drawn(&mut cx.reply, hash, count, with_values, &mut cx.core.random),
    }
    Ok(())
}

/// Fields drawn at random; with their values flat in version 2 and as pairs in version 3.
fn reply_drawn(reply: &mut Reply<'_>, hash: &Hash, count: SampleCount, with_values: bool, random: &mut Random) {
    let total = hash.len();
    let replied = match count {
        SampleCount::Distinct(count) => usize::try_from(count).map_or(total, |count| count.min(total)),
        SampleCount::Repeated(count) => usize::try_from(count).unwrap_or(usize::MAX),
    };
    let nested = with_values && reply.version() == RespVersion::V3;
    reply.array(if with_values && !nested { replied.saturating_mul(2) } else { replied });
    let mut reply_pair = |(field, value): (Element<'_>, Element<'_>)| {
        if nested {
            reply.array(2);
        }
        reply_element(reply, field);
        if with_values {
            reply_element(reply, value);
        }
        while_wanted(reply)
    };
    match count {
        SampleCount::Repeated(count) if hash.listpack().is_some() && count > 1 => {
            draw(hash.iter(), count, random, reply_pair);
        }
        SampleCount::Repeated(_) => {
            let _ = (0..replied).filter_map(|_| hash.random(random)).try_for_each(reply_pair);
        }
        SampleCount::Distinct(_) if hash.listpack().is_none() && is_sparse(replied, total) => {
            let mut seen: HashSet<&[u8], ahash::RandomState> = HashSet::default();
            while seen.len() < replied
                && let Some((Element::Bytes(field), value)) = hash.random(random)
            {
                if seen.insert(field) {
                    let _ = reply_pair((Element::Bytes(field), value));
                }
            }
        }
        SampleCount::Distinct(_) => choose(hash.iter(), replied, total, random, |pair| {
            let _ = reply_pair(pair);
        }),
    }
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "hset",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE),
        group: Group::Hash,
        since: "2.0.0",
        summary: "Sets fields of a hash.",
        complexity: "O(N) in the number of fields named",
        syntax: "key field value [field value ...]",
        run: Run::OnOwner(hset),
    },
    CommandSpec {
        name: "hmset",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE),
        group: Group::Hash,
        since: "2.0.0",
        summary: "Sets several fields of a hash; the old name of HSET.",
        complexity: "O(N) in the number of fields named",
        syntax: "key field value [field value ...]",
        run: Run::OnOwner(hmset),
    },
    CommandSpec {
        name: "hsetnx",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::INSERT),
        group: Group::Hash,
        since: "2.0.0",
        summary: "Sets a field of a hash that is not there yet.",
        complexity: "O(1)",
        syntax: "key field value",
        run: Run::OnOwner(hsetnx),
    },
    CommandSpec {
        name: "hget",
        arity: Arity::Exactly(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::READ),
        group: Group::Hash,
        since: "2.0.0",
        summary: "Returns the value of a field of a hash.",
        complexity: "O(1)",
        syntax: "key field",
        run: Run::OnOwner(hget),
    },
    CommandSpec {
        name: "hmget",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::READ),
        group: Group::Hash,
        since: "2.0.0",
        summary: "Returns the values of several fields of a hash.",
        complexity: "O(N) in the number of fields named",
        syntax: "key field [field ...]",
        run: Run::OnOwner(hmget),
    },
    CommandSpec {
        name: "hgetall",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Hash,
        since: "2.0.0",
        summary: "Returns every field of a hash with its value.",
        complexity: "O(N) in the number of fields",
        syntax: "key",
        run: Run::OnOwner(hgetall),
    },
    CommandSpec {
        name: "hkeys",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Hash,
        since: "2.0.0",
        summary: "Returns every field of a hash.",
        complexity: "O(N) in the number of fields",
        syntax: "key",
        run: Run::OnOwner(hkeys),
    },
    CommandSpec {
        name: "hvals",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Hash,
        since: "2.0.0",
        summary: "Returns the value of every field of a hash.",
        complexity: "O(N) in the number of fields",
        syntax: "key",
        run: Run::OnOwner(hvals),
    },
    CommandSpec {
        name: "hlen",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::LOOK),
        group: Group::Hash,
        since: "2.0.0",
        summary: "Counts the fields of a hash.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(hlen),
    },
    CommandSpec {
        name: "hstrlen",
        arity: Arity::Exactly(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::LOOK),
        group: Group::Hash,
        since: "3.2.0",
        summary: "Returns the length of the value of a field in bytes.",
        complexity: "O(1)",
        syntax: "key field",
        run: Run::OnOwner(hstrlen),
    },
    CommandSpec {
        name: "hexists",
        arity: Arity::Exactly(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::LOOK),
        group: Group::Hash,
        since: "2.0.0",
        summary: "Says whether a hash has a field.",
        complexity: "O(1)",
        syntax: "key field",
        run: Run::OnOwner(hexists),
    },
    CommandSpec {
        name: "hdel",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, Access::REMOVE_SOME),
        group: Group::Hash,
        since: "2.0.0",
        summary: "Removes fields of a hash.",
        complexity: "O(N) in the number of fields named",
        syntax: "key field [field ...]",
        run: Run::OnOwner(hdel),
    },
    CommandSpec {
        name: "hscan",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Hash,
        since: "2.8.0",
        summary: "Walks over the fields of a hash, some with each call.",
        complexity: "O(1) for a call, O(N) in the number of fields for the whole walk",
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        run: Run::OnOwner(hscan),
    },
    CommandSpec {
        name: "hrandfield",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Hash,
        since: "6.2.0",
        summary: "Returns fields of a hash drawn at random.",
        complexity: "O(N) in the number of fields returned",
        syntax: "key [count [WITHVALUES]]",
        run: Run::OnOwner(hrandfield),
    },
];
