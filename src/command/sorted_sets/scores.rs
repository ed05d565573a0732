//! Looking at scores and ranks of members, and counting: ZSCORE, ZMSCORE, ZRANK, ZREVRANK, ZCARD, ZCOUNT, ZLEXCOUNT.

use super::bounds::{lex_range, score_range};
use crate::command::arguments::is_word;
use crate::command::context::Context;
use crate::command::error::CommandError;
use crate::command::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::keyspace::sorted_set::SortedSet;
use crate::resp::Args;

/// ZCARD key.
fn zcard(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    reply_count(cx, args, SortedSet::len)
}

/// ZCOUNT key min max.
fn zcount(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let range = score_range(&args[2], &args[3])?;
    reply_count(cx, args, |set| set.ranks_by_score(&range).len())
}

/// ZLEXCOUNT key min max.
fn zlexcount(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let range = lex_range(&args[2], &args[3])?;
    reply_count(cx, args, |set| set.ranks_by_member(&range, 0, false).len())
}

/// Replies a number of members; 0 for a key that is not there.
fn reply_count(cx: &mut Context<'_>, args: &Args<'_>, count: impl Fn(&SortedSet) -> usize) -> CommandResult {
    let (key, db) = (cx.key(&args[1]), cx.db());
    let count = cx.core.keyspace.read_as::<SortedSet>(db, key)?.map_or(0, count);
    cx.reply.integer(count as i64);
    Ok(())
}

/// ZSCORE key member.
fn zscore(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (key, db) = (cx.key(&args[1]), cx.db());
    let set = cx.core.keyspace.read_as::<SortedSet>(db, key)?;
    match set.and_then(|set| set.score(&args[2])) {
        Some(score) => cx.reply.double(score),
        None => cx.reply.null(),
    }
    Ok(())
}

/// ZMSCORE key member [member ...].
fn zmscore(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (key, db) = (cx.key(&args[1]), cx.db());
    let set = cx.core.keyspace.read_as::<SortedSet>(db, key)?;
    cx.reply.array(args.len() - 2);
    for member in args.iter().skip(2) {
        match set.and_then(|set| set.score(member)) {
            Some(score) => cx.reply.double(score),
            None => cx.reply.null(),
        }
    }
    Ok(())
}

/// ZRANK key member [WITHSCORE].
fn zrank(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    rank(cx, args, "zrank", |rank, _| rank)
}

/// ZREVRANK key member [WITHSCORE]: counted from the highest.
fn zrevrank(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    rank(cx, args, "zrevrank", |rank, len| len - 1 - rank)
}

fn rank(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    command: &'static str,
    counted: impl Fn(usize, usize) -> usize,
) -> CommandResult {
    let with_score = match args.get(3) {
        _ if args.len() > 4 => return Err(CommandError::WrongArity(command.into())),
        Some(option) if !is_word(option, "WITHSCORE") => return Err(CommandError::Syntax),
        option => option.is_some(),
    };
    let (key, db) = (cx.key(&args[1]), cx.db());
    let set = cx.core.keyspace.read_as::<SortedSet>(db, key)?;
    let found = set.and_then(|set| set.rank(&args[2]).map(|(rank, score)| (counted(rank, set.len()), score)));
    match found {
        Some((rank, score)) if with_score => {
            cx.reply.array(2);
            cx.reply.integer(rank as i64);
            cx.reply.double(score);
        }
        Some((rank, _)) => cx.reply.integer(rank as i64),
        None if with_score => cx.reply.null_array(),
        None => cx.reply.null(),
    }
    Ok(())
}

const LOGARITHMIC: &str = "O(log(N)), N being the size of the sorted set";

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "zcard",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::LOOK),
        group: Group::SortedSet,
        since: "1.2.0",
        summary: "Counts the members of a sorted set.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(zcard),
    },
    CommandSpec {
        name: "zcount",
        arity: Arity::Exactly(4),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::READ),
        group: Group::SortedSet,
        since: "2.0.0",
        summary: "Counts the members whose scores are in a range.",
        complexity: LOGARITHMIC,
        syntax: "key min max",
        run: Run::OnOwner(zcount),
    },
    CommandSpec {
        name: "zlexcount",
        arity: Arity::Exactly(4),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::READ),
        group: Group::SortedSet,
        since: "2.8.9",
        summary: "Counts the members within a range of members.",
        complexity: LOGARITHMIC,
        syntax: "key min max",
        run: Run::OnOwner(zlexcount),
    },
    CommandSpec {
        name: "zscore",
        arity: Arity::Exactly(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::READ),
        group: Group::SortedSet,
        since: "1.2.0",
        summary: "Returns the score of a member.",
        complexity: "O(1)",
        syntax: "key member",
        run: Run::OnOwner(zscore),
    },
    CommandSpec {
        name: "zmscore",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::READ),
        group: Group::SortedSet,
        since: "6.2.0",
        summary: "Returns the scores of several members.",
        complexity: "O(N) in the number of members asked for",
        syntax: "key member [member ...]",
        run: Run::OnOwner(zmscore),
    },
    CommandSpec {
        name: "zrank",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::READ),
        group: Group::SortedSet,
        since: "2.0.0",
        summary: "Returns how many members stand before one, the lowest score first.",
        complexity: LOGARITHMIC,
        syntax: "key member [WITHSCORE]",
        run: Run::OnOwner(zrank),
    },
    CommandSpec {
        name: "zrevrank",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::READ),
        group: Group::SortedSet,
        since: "2.0.0",
        summary: "Returns how many members stand before one, the highest score first.",
        complexity: LOGARITHMIC,
        syntax: "key member [WITHSCORE]",
        run: Run::OnOwner(zrevrank),
    },
];
