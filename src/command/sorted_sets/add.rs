//! Adding members and changing scores: ZADD, ZINCRBY.

use super::bounds::score;
use super::limits;
use crate::command::arguments::is_word;
use crate::command::context::Context;
use crate::command::error::CommandError;
use crate::command::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::config::NotifyFlags;
use crate::keyspace::sorted_set::{AddRules, Added, SortedSet};
use crate::resp::Args;

/// ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...].
fn zadd(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    add(cx, args, AddRules::default())
}

/// ZINCRBY key increment member: takes ZADD's options too, as Redis does, where its three arguments leave room for
/// them.
fn zincrby(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    add(cx, args, AddRules { incr: true, ..AddRules::default() })
}

struct Options {
    rules: AddRules,
    /// Count members whose score has changed, too.
    changed: bool,
    /// Where scores and members begin.
    first: usize,
}

impl Options {
    fn parse(args: &Args<'_>, rules: AddRules) -> Result<Options, CommandError> {
        let mut options = Options { rules, changed: false, first: 2 };
        while let Some(option) = args.get(options.first) {
            match () {
                _ if is_word(option, "NX") => options.rules.nx = true,
                _ if is_word(option, "XX") => options.rules.xx = true,
                _ if is_word(option, "CH") => options.changed = true,
                _ if is_word(option, "INCR") => options.rules.incr = true,
                _ if is_word(option, "GT") => options.rules.gt = true,
                _ if is_word(option, "LT") => options.rules.lt = true,
                _ => break,
            }
            options.first += 1;
        }
        let count = args.len() - options.first;
        if count == 0 || count % 2 == 1 {
            return Err(CommandError::Syntax);
        }
        let AddRules { nx, xx, gt, lt, incr } = options.rules;
        if nx && xx {
            return Err(CommandError::text_static("ERR XX and NX options at the same time are not compatible"));
        }
        if (nx && (gt || lt)) || (gt && lt) {
            let text = "ERR GT, LT, and/or NX options at the same time are not compatible";
            return Err(CommandError::text_static(text));
        }
        if incr && count > 2 {
            return Err(CommandError::text_static("ERR INCR option supports a single increment-element pair"));
        }
        Ok(options)
    }
}

fn add(cx: &mut Context<'_>, args: &Args<'_>, rules: AddRules) -> CommandResult {
    let Options { rules, changed, first } = Options::parse(args, rules)?;
    // All scores are looked at before the first is set.
    let first_score = score(&args[first])?;
    for index in (first + 2..args.len()).step_by(2) {
        score(&args[index])?;
    }
    let scored = (first..args.len()).step_by(2).map(|index| {
        let score = if index == first { first_score } else { score(&args[index]).unwrap_or_default() };
        (score, &args[index + 1])
    });
    let Done { new, updated, last } = apply(cx, &args[1], rules, scored)?;
    match last {
        _ if !rules.incr => cx.reply.integer(if changed { new + updated } else { new } as i64),
        Added::New(score) | Added::Updated(score) | Added::Same(score) => cx.reply.double(score),
        Added::Skipped => cx.reply.null(),
    }
    Ok(())
}

/// What was done.
pub struct Done {
    pub new: u64,
    pub updated: u64,
    /// With the last member.
    last: Added,
}

/// Adds members with their scores, at least one, as the rules allow, and publishes that. Replies nothing.
///
/// # Errors
/// `WrongType`, or that a score would be no number; nothing has changed.
pub fn apply<'a>(
    cx: &mut Context<'_>,
    name: &[u8],
    rules: AddRules,
    scored: impl ExactSizeIterator<Item = (f64, &'a [u8])> + Clone,
) -> Result<Done, CommandError> {
    let (key, db, limits) = (cx.key(name), cx.db(), limits(cx));
    let mut done = Done { new: 0, updated: 0, last: Added::Skipped };
    let mut entry = cx.core.keyspace.write(db, key);
    let set = if rules.xx { entry.collection_mut()? } else { Some(entry.collection_or_new::<SortedSet>()?) };
    let Some(set) = set else { return Ok(done) };
    let first_bytes = scored.clone().next().map_or(0, |(_, member)| member.len());
    set.expect(scored.len(), first_bytes, limits);
    for (score, member) in scored {
        let Ok(added) = set.add(score, member, rules, limits) else {
            entry.commit(0);
            return Err(CommandError::text_static("ERR resulting score is not a number (NaN)"));
        };
        match added {
            Added::New(_) => done.new += 1,
            Added::Updated(_) => done.updated += 1,
            Added::Same(_) | Added::Skipped => {}
        }
        done.last = added;
    }
    let changes = done.new + done.updated;
    entry.commit(changes);
    if changes > 0 {
        cx.notify(NotifyFlags::ZSET, if rules.incr { "zincr" } else { "zadd" }, name);
    }
    Ok(done)
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "zadd",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE),
        group: Group::SortedSet,
        since: "1.2.0",
        summary: "Adds members to a sorted set, or changes their scores.",
        complexity: "O(log(N)) for each member, N being the size of the sorted set",
        syntax: "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
        run: Run::OnOwner(zadd),
    },
    CommandSpec {
        name: "zincrby",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::CHANGE_AND_RETURN),
        group: Group::SortedSet,
        since: "1.2.0",
        summary: "Adds a number to the score of a member.",
        complexity: "O(log(N)), N being the size of the sorted set",
        syntax: "key increment member",
        run: Run::OnOwner(zincrby),
    },
];
