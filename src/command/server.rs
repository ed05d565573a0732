//! Commands about the node.

use super::context::Context;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Part, Run};
use crate::config::{Config, MaxmemoryPolicy};
use crate::keyspace::AccessPolicy;
use crate::resp::Args;

pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "dbsize",
    arity: Arity::Exactly(1),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: Keys::None,
    group: Group::Server,
    since: "1.0.0",
    summary: "Counts the keys of the database.",
    complexity: "O(1)",
    syntax: "",
    run: Run::OnEveryCore { part: dbsize_part, merge: dbsize_merge },
}];

fn dbsize_part(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, super::error::CommandError> {
    let db = cx.db();
    Ok(Part::new(cx.core.keyspace.len(db)))
}

fn dbsize_merge(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let total: u64 = parts.into_iter().map(|part| part.take::<u64>()).sum();
    cx.reply.integer(total as i64);
    Ok(())
}

/// The access clock that the eviction policy wants kept.
pub fn access_policy(config: &Config) -> AccessPolicy {
    match config.maxmemory_policy {
        MaxmemoryPolicy::VolatileLfu | MaxmemoryPolicy::AllkeysLfu => AccessPolicy::Lfu {
            log_factor: config.lfu_log_factor as u32,
            decay_minutes: config.lfu_decay_time as u32,
        },
        _ => AccessPolicy::Lru,
    }
}
