//! Removing members: ZREM, ZREMRANGEBYRANK, ZREMRANGEBYSCORE, ZREMRANGEBYLEX.

use std::ops::Range;

use super::bounds::{lex_range, ranks, score_range};
use super::names;
use crate::command::arguments::integer;
use crate::command::context::Context;
use crate::command::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::config::NotifyFlags;
use crate::keyspace::sorted_set::SortedSet;
use crate::resp::Args;

/// ZREM key member [member ...].
fn zrem(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    remove(cx, args, "zrem", |set| args.iter().skip(2).filter(|member| set.remove(member).is_some()).count())
}

/// ZREMRANGEBYRANK key start stop.
fn zremrangebyrank(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (start, stop) = (integer(&args[2])?, integer(&args[3])?);
    remove_ranks(cx, args, "zremrangebyrank", |set| ranks(start, stop, set.len()))
}

/// ZREMRANGEBYSCORE key min max.
fn zremrangebyscore(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let range = score_range(&args[2], &args[3])?;
    remove_ranks(cx, args, "zremrangebyscore", |set| set.ranks_by_score(&range))
}

/// ZREMRANGEBYLEX key min max.
fn zremrangebylex(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let range = lex_range(&args[2], &args[3])?;
    remove_ranks(cx, args, "zremrangebylex", |set| set.ranks_by_member(&range, 0, false))
}

fn remove_ranks(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    event: &str,
    ranks: impl Fn(&SortedSet) -> Range<usize>,
) -> CommandResult {
    let (follows, mut members) = (cx.core.journal.follows_values(), Vec::new());
    let removed = remove(cx, args, event, |set| {
        let ranks = ranks(set);
        if follows {
            members = names(set, ranks.clone());
        }
        set.remove_ranks(ranks)
    });
    cx.core.journal.tell_elements(&args[1], members);
    removed
}

/// Removes members and replies how many there were; a set that has become empty goes.
fn remove(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    event: &str,
    change: impl FnOnce(&mut SortedSet) -> usize,
) -> CommandResult {
    let (key, db) = (cx.key(&args[1]), cx.db());
    let mut entry = cx.core.keyspace.write(db, key);
    let removed = entry.collection_mut::<SortedSet>()?.map_or(0, change);
    let is_gone = entry.commit(removed as u64);
    cx.reply.integer(removed as i64);
    if removed > 0 {
        cx.notify(NotifyFlags::ZSET, event, &args[1]);
        if is_gone {
            cx.notify(NotifyFlags::GENERIC, "del", &args[1]);
        }
    }
    Ok(())
}

const REMOVE: Access = Access(&["RW", "delete"]);
const COMPLEXITY: &str = "O(log(N)+M), N being the size of the sorted set and M the number of members removed";

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "zrem",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, REMOVE),
        group: Group::SortedSet,
        since: "1.2.0",
        summary: "Removes members from a sorted set.",
        complexity: "O(M*log(N)), N being the size of the sorted set and M the number of members to be removed",
        syntax: "key member [member ...]",
        run: Run::OnOwner(zrem),
    },
    CommandSpec {
        name: "zremrangebyrank",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE,
        keys: Keys::At(1, REMOVE),
        group: Group::SortedSet,
        since: "2.0.0",
        summary: "Removes the members within a range of ranks.",
        complexity: COMPLEXITY,
        syntax: "key start stop",
        run: Run::OnOwner(zremrangebyrank),
    },
    CommandSpec {
        name: "zremrangebyscore",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE,
        keys: Keys::At(1, REMOVE),
        group: Group::SortedSet,
        since: "1.2.0",
        summary: "Removes the members whose scores are in a range.",
        complexity: COMPLEXITY,
        syntax: "key min max",
        run: Run::OnOwner(zremrangebyscore),
    },
    CommandSpec {
        name: "zremrangebylex",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE,
        keys: Keys::At(1, REMOVE),
        group: Group::SortedSet,
        since: "2.8.9",
        summary: "Removes the members within a range of members.",
        complexity: COMPLEXITY,
        syntax: "key min max",
        run: Run::OnOwner(zremrangebylex),
    },
];
