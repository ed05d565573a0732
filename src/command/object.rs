//! OBJECT: how values are kept. Looks count as reads, but date no access.

use super::context::Context;
use super::error::CommandError;
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::config::MaxmemoryPolicy;
use crate::keyspace::{AccessPolicy, KeyInfo, StringValue, Value};
use crate::resp::Args;

/// Redis keeps one object for each integer from 0 up to here, and shows how it is shared.
const SHARED_INTEGERS_END: i64 = 10_000;
/// What Redis shows for a shared object.
const SHARED_REFCOUNT: i64 = i32::MAX as i64;

/// OBJECT ENCODING key.
fn encoding(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    match look(cx, args) {
        None => cx.reply.null(),
        Some(info) => {
            let name = info.encoding_name;
            cx.reply.bulk(name.as_bytes());
        }
    }
    Ok(())
}

/// OBJECT FREQ key.
fn freq(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let tracked = matches!(cx.core.keyspace.access_policy(), AccessPolicy::Lfu { .. });
    match look(cx, args).map(|info| info.frequency) {
        None => cx.reply.null(),
        Some(_) if !tracked => {
            return Err(CommandError::text_static(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                 switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        Some(frequency) => cx.reply.integer(frequency.into()),
    }
    Ok(())
}

/// OBJECT IDLETIME key, in seconds.
fn idletime(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let tracked = matches!(cx.core.keyspace.access_policy(), AccessPolicy::Lru);
    match look(cx, args).map(|info| info.idle_seconds) {
        None => cx.reply.null(),
        Some(_) if !tracked => {
            return Err(CommandError::text_static(
                "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
                 between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        Some(idle_seconds) => cx.reply.integer(idle_seconds as i64),
    }
    Ok(())
}

/// OBJECT REFCOUNT key. Values have one owner here; small integers answer as Redis's shared ones do.
fn refcount(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let shares = shares_integers(cx);
    match look(cx, args).map(|info| info.value) {
        None => cx.reply.null(),
        Some(Value::String(StringValue::Integer(0..SHARED_INTEGERS_END))) if shares => {
            cx.reply.integer(SHARED_REFCOUNT)
        }
        Some(_) => cx.reply.integer(1),
    }
    Ok(())
}

/// Redis shares no integers when eviction needs an access clock for each key.
fn shares_integers(cx: &Context<'_>) -> bool {
    use MaxmemoryPolicy::{AllkeysLfu, AllkeysLru, VolatileLfu, VolatileLru};
    let clocks = matches!(cx.core.config.maxmemory_policy, VolatileLru | AllkeysLru | VolatileLfu | AllkeysLfu);
    cx.core.config.maxmemory == 0 || !clocks
}

/// OBJECT HELP.
fn help(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    cx.reply.help(
        "OBJECT",
        &[
            "ENCODING <key>",
            "    How the value is encoded in memory.",
            "FREQ <key>",
            "    How often the key is used, on a logarithmic scale that decays with time.",
            "IDLETIME <key>",
            "    Seconds since the key was last used.",
            "REFCOUNT <key>",
            "    References that the value has.",
        ],
    );
    Ok(())
}

fn look<'a>(cx: &'a mut Context<'_>, args: &Args<'_>) -> Option<KeyInfo<'a>> {
    let key = cx.key(&args[2]);
    cx.core.keyspace.inspect(cx.caller.db as usize, key)
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "object",
        arity: Arity::AtLeast(2),
        flags: Flags::NONE,
        keys: Keys::None,
        group: Group::Generic,
        since: "2.2.3",
        summary: "Tells how values are kept.",
        complexity: "Depends on the sub-command.",
        syntax: "",
        run: Run::Container,
    },
    CommandSpec {
        name: "object|encoding",
        arity: Arity::Exactly(3),
        flags: Flags::READONLY,
        keys: Keys::At(2, Access::LOOK),
        group: Group::Generic,
        since: "2.2.3",
        summary: "Returns how the value at a key is encoded.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(encoding),
    },
    CommandSpec {
        name: "object|freq",
        arity: Arity::Exactly(3),
        flags: Flags::READONLY,
        keys: Keys::At(2, Access::LOOK),
        group: Group::Generic,
        since: "4.0.0",
        summary: "Returns how often a key is used, on a logarithmic scale.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(freq),
    },
    CommandSpec {
        name: "object|help",
        arity: Arity::Exactly(2),
        flags: Flags::LOADING.and(Flags::STALE),
        keys: Keys::None,
        group: Group::Generic,
        since: "6.2.0",
        summary: "Lists the sub-commands.",
        complexity: "O(1)",
        syntax: "",
        run: Run::OnConnection(help),
    },
    CommandSpec {
        name: "object|idletime",
        arity: Arity::Exactly(3),
        flags: Flags::READONLY,
        keys: Keys::At(2, Access::LOOK),
        group: Group::Generic,
        since: "2.2.3",
        summary: "Returns how many seconds ago a key was last used.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(idletime),
    },
    CommandSpec {
        name: "object|refcount",
        arity: Arity::Exactly(3),
        flags: Flags::READONLY,
        keys: Keys::At(2, Access::LOOK),
        group: Group::Generic,
        since: "2.2.3",
        summary: "Returns how many references the value at a key has.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(refcount),
    },
];
