//! Strings.

use super::context::Context;
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::keyspace::Value;
use crate::resp::Args;

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
        summary: "Sets the string at a key.",
        complexity: "O(1)",
        syntax: "key value",
        run: Run::OnOwner(set),
    },
];

/// GET key.
fn get(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    match cx.core.keyspace.read(cx.caller.db as usize, key) {
        None => cx.reply.null(),
        Some(Value::Integer(value)) => cx.reply.bulk_integer(value),
        Some(Value::Bytes(bytes)) => cx.reply.bulk(bytes),
        Some(Value::Shared(bytes)) => cx.reply.bulk_shared(bytes),
    }
    Ok(())
}

/// SET key value.
fn set(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    match args.shared(2) {
        Some(large) => entry.set_shared(large),
        None => entry.set_string(&args[2]),
    }
    entry.set_expiry(None);
    cx.reply.ok();
    Ok(())
}
