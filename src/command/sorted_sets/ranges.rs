//! Ranges by rank, score or member: ZRANGE with its older forms, and ZRANGESTORE.

use std::ops::Range;

use super::bounds::{lex_range, ranks, score_range};
use super::{limits, reply_entries, store};
use crate::command::arguments::{integer, is_word};
use crate::command::context::Context;
use crate::command::error::CommandError;
use crate::command::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::keyspace::listpack::Digits;
use crate::keyspace::sorted_set::{AddRules, LexRange, ScoreRange, SortedSet};
use crate::resp::Args;

/// By what a range is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Member,
}

/// What a command says by its name, before any option.
#[derive(Clone, Copy, Default)]
struct Form {
    /// Where the key of the sorted set stands.
    key_at: usize,
    /// None: an option may say it.
    by: Option<By>,
    reverse: Option<bool>,
    is_store: bool,
}

const ZRANGE: Form = Form { key_at: 1, by: None, reverse: None, is_store: false };

/// The ends of a range.
enum Ends<'a> {
    Ranks(i64, i64),
    Scores(ScoreRange),
    Members(LexRange<'a>),
}

/// All arguments of a range.
struct Query<'a> {
    ends: Ends<'a>,
    reverse: bool,
    with_scores: bool,
    /// Members of the range to be left out; negative: all of them.
    offset: i64,
    /// Negative: no limit.
    limit: i64,
}

impl<'a> Query<'a> {
    fn parse(args: &Args<'a>, form: Form) -> Result<Query<'a>, CommandError> {
        let (mut by, mut reverse, mut with_scores) = (form.by, form.reverse, false);
        let (mut offset, mut limit) = (0, -1);
        let mut index = form.key_at + 3;
        while let Some(option) = args.get(index) {
            index += 1;
            if !form.is_store && is_word(option, "WITHSCORES") {
                with_scores = true;
            } else if is_word(option, "LIMIT")
                && let (Some(first), Some(second)) = (args.get(index), args.get(index + 1))
            {
                (offset, limit) = (integer(first)?, integer(second)?);
                index += 2;
            } else if form.reverse.is_none() && reverse.is_none() && is_word(option, "REV") {
                reverse = Some(true);
            } else if by.is_none() && is_word(option, "BYLEX") {
                by = Some(By::Member);
            } else if by.is_none() && is_word(option, "BYSCORE") {
                by = Some(By::Score);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err(CommandError::text_static(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Member {
            return Err(CommandError::text_static(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        let (first, second) =
            (args.get(form.key_at + 1).unwrap_or_default(), args.get(form.key_at + 2).unwrap_or_default());
        let (min, max) = if reverse { (second, first) } else { (first, second) };
        let ends = match by {
            By::Rank => Ends::Ranks(integer(first)?, integer(second)?),
            By::Score => Ends::Scores(score_range(min, max)?),
            By::Member => Ends::Members(lex_range(min, max)?),
        };
        Ok(Query { ends, reverse, with_scores, offset, limit })
    }

    /// The ranks that are asked for.
    fn ranks(&self, set: &SortedSet) -> Range<usize> {
        let offset = match usize::try_from(self.offset) {
            Ok(offset) => offset,
            Err(_) if matches!(self.ends, Ends::Ranks(..)) => 0,
            Err(_) => return 0..0,
        };
        let found = match &self.ends {
            Ends::Ranks(start, stop) => {
                let counted = ranks(*start, *stop, set.len());
                return if self.reverse { set.len() - counted.end..set.len() - counted.start } else { counted };
            }
            Ends::Scores(range) => skipped(set.ranks_by_score(range), offset, self.reverse),
            Ends::Members(range) => set.ranks_by_member(range, offset, self.reverse),
        };
        let left_out = usize::try_from(self.limit).map_or(0, |limit| found.len().saturating_sub(limit));
        if self.reverse { found.start + left_out..found.end } else { found.start..found.end - left_out }
    }
}

/// Without the first `offset`; without the last, when `reverse`.
fn skipped(range: Range<usize>, offset: usize, reverse: bool) -> Range<usize> {
    let offset = offset.min(range.len());
    if reverse { range.start..range.end - offset } else { range.start + offset..range.end }
}

fn range(cx: &mut Context<'_>, args: &Args<'_>, form: Form) -> CommandResult {
    let query = Query::parse(args, form)?;
    let (key, db) = (cx.key(&args[form.key_at]), cx.db());
    let Some(set) = cx.core.keyspace.read_as::<SortedSet>(db, key)? else {
        cx.reply.array(0);
        return Ok(());
    };
    let ranks = query.ranks(set);
    reply_entries(&mut cx.reply, set.walk(ranks.clone(), query.reverse), ranks.len(), query.with_scores);
    Ok(())
}

/// ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES].
fn zrange(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    range(cx, args, ZRANGE)
}

/// ZREVRANGE key start stop [WITHSCORES].
fn zrevrange(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    range(cx, args, Form { by: Some(By::Rank), reverse: Some(true), ..ZRANGE })
}

/// ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count].
fn zrangebyscore(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    range(cx, args, Form { by: Some(By::Score), reverse: Some(false), ..ZRANGE })
}

/// ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count].
fn zrevrangebyscore(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    range(cx, args, Form { by: Some(By::Score), reverse: Some(true), ..ZRANGE })
}

/// ZRANGEBYLEX key min max [LIMIT offset count].
fn zrangebylex(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    range(cx, args, Form { by: Some(By::Member), reverse: Some(false), ..ZRANGE })
}

/// ZREVRANGEBYLEX key max min [LIMIT offset count].
fn zrevrangebylex(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    range(cx, args, Form { by: Some(By::Member), reverse: Some(true), ..ZRANGE })
}

/// ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count].
fn zrangestore(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let form = Form { key_at: 2, is_store: true, ..ZRANGE };
    let query = Query::parse(args, form)?;
    let (key, db, limits) = (cx.key(&args[2]), cx.db(), limits(cx));
    let mut result = SortedSet::default();
    if let Some(set) = cx.core.keyspace.read_as::<SortedSet>(db, key)? {
        let ranks = query.ranks(set);
        if matches!(query.ends, Ends::Ranks(..)) {
            result.expect(ranks.len(), 0, limits);
        }
        // One after the other, as Redis does: what comes before the result has become large loses the sign of a zero.
        let mut digits = Digits::new();
        for (member, score) in set.walk(ranks, query.reverse) {
            result.add(score, member.as_bytes(&mut digits), AddRules::default(), limits).expect("scores are numbers");
        }
    }
    store(cx, &args[1], result, "zrangestore", 1);
    Ok(())
}

const COMPLEXITY: &str = "O(log(N)+M), N being the size of the sorted set and M the number of members returned";

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "zrange",
        arity: Arity::AtLeast(4),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::SortedSet,
        since: "1.2.0",
        summary: "Returns the members within a range of ranks, scores or members.",
        complexity: COMPLEXITY,
        syntax: "key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
        run: Run::OnOwner(zrange),
    },
    CommandSpec {
        name: "zrevrange",
        arity: Arity::AtLeast(4),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::SortedSet,
        since: "1.2.0",
        summary: "Returns the members within a range of ranks, the highest score first.",
        complexity: COMPLEXITY,
        syntax: "key start stop [WITHSCORES]",
        run: Run::OnOwner(zrevrange),
    },
    CommandSpec {
        name: "zrangebyscore",
        arity: Arity::AtLeast(4),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::SortedSet,
        since: "1.0.5",
        summary: "Returns the members whose scores are in a range.",
        complexity: COMPLEXITY,
        syntax: "key min max [WITHSCORES] [LIMIT offset count]",
        run: Run::OnOwner(zrangebyscore),
    },
    CommandSpec {
        name: "zrevrangebyscore",
        arity: Arity::AtLeast(4),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::SortedSet,
        since: "2.2.0",
        summary: "Returns the members whose scores are in a range, the highest first.",
        complexity: COMPLEXITY,
        syntax: "key max min [WITHSCORES] [LIMIT offset count]",
        run: Run::OnOwner(zrevrangebyscore),
    },
    CommandSpec {
        name: "zrangebylex",
        arity: Arity::AtLeast(4),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::SortedSet,
        since: "2.8.9",
        summary: "Returns the members within a range of members.",
        complexity: COMPLEXITY,
        syntax: "key min max [LIMIT offset count]",
        run: Run::OnOwner(zrangebylex),
    },
    CommandSpec {
        name: "zrevrangebylex",
        arity: Arity::AtLeast(4),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::SortedSet,
        since: "2.8.9",
        summary: "Returns the members within a range of members, the last one first.",
        complexity: COMPLEXITY,
        syntax: "key max min [LIMIT offset count]",
        run: Run::OnOwner(zrevrangebylex),
    },
    CommandSpec {
        name: "zrangestore",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Pair(1, Access::WRITE, Access::READ),
        group: Group::SortedSet,
        since: "6.2.0",
        summary: "Stores the members within a range of ranks, scores or members under another key.",
        complexity: "O(log(N)+M), N being the size of the sorted set and M the number of members stored",
        syntax: "dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
        run: Run::OnOwner(zrangestore),
    },
];
