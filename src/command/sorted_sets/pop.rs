//! Taking members from either end: ZPOPMIN, ZPOPMAX, ZMPOP, and the same waiting for some: BZPOPMIN, BZPOPMAX, BZMPOP.

use super::{Scores, names};
use crate::base::number::parse_i64;
use crate::command::arguments::is_word;
use crate::command::blocking::{Nothing, Timeout, Wait, wait};
use crate::command::context::Context;
use crate::command::elements::reply_element;
use crate::command::error::CommandError;
use crate::command::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::config::NotifyFlags;
use crate::keyspace::ValueKind;
use crate::keyspace::sorted_set::SortedSet;
use crate::resp::{Args, RespVersion};

/// From which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }

    /// The command that takes members from this end of one sorted set, without waiting.
    fn command(self) -> &'static [u8] {
        match self {
            End::Min => b"ZPOPMIN",
            End::Max => b"ZPOPMAX",
        }
    }
}

/// How the members stand in the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Members and scores in turn.
    Flat,
    /// A pair of each member with its score.
    Pairs,
    /// The key, the member, its score.
    KeyAndFlat,
    /// The key, and pairs.
    KeyAndPairs,
}

/// Takes up to `count` members of the first of these keys that is there and replies them; the key and how many they were,
/// `None` when none of the keys is there.
///
/// # Errors `WrongType`: the first that is there is no sorted set.
fn pop_first<'a>(
    cx: &mut Context<'_>,
    keys: impl Iterator<Item = &'a [u8]>,
    end: End,
    count: usize,
    layout: Layout,
) -> Result<Option<(&'a [u8], usize)>, CommandError> {
    for name in keys {
        let (key, db) = (cx.key(name), cx.db());
        let mut entry = cx.core.keyspace.write(db, key);
        let Some(set) = entry.collection_mut::<SortedSet>()? else { continue };
        let count = count.min(set.len());
        let is_max = end == End::Max;
        let ranks = if is_max { set.len() - count..set.len() } else { 0..count };
        match layout {
            Layout::Flat => cx.reply.array(count * 2),
            Layout::Pairs => cx.reply.array(count),
            Layout::KeyAndFlat => {
                cx.reply.array(1 + count * 2);
                cx.reply.bulk(name);
            }
            Layout::KeyAndPairs => {
                cx.reply.array(2);
                cx.reply.bulk(name);
                cx.reply.array(count);
            }
        }
        let mut scores = Scores::default();
        for (member, score) in set.walk(ranks.clone(), is_max) {
            if matches!(layout, Layout::Pairs | Layout::KeyAndPairs) {
                cx.reply.array(2);
            }
            reply_element(&mut cx.reply, member);
            scores.reply(&mut cx.reply, score);
        }
        let members = if cx.core.journal.follows_values() { names(set, ranks.clone()) } else { Vec::new() };
        set.remove_ranks(ranks);
        cx.core.journal.tell_elements(name, members);
        let is_gone = entry.commit(count as u64);
        if count > 0 {
            cx.notify(NotifyFlags::ZSET, end.event(), name);
            if is_gone {
                cx.notify(NotifyFlags::GENERIC, "del", name);
            }
        }
        return Ok(Some((name, count)));
    }
    Ok(None)
}

/// ZPOPMIN key [count].
fn zpopmin(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    pop(cx, args, End::Min)
}

/// ZPOPMAX key [count].
fn zpopmax(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    pop(cx, args, End::Max)
}

fn pop(cx: &mut Context<'_>, args: &Args<'_>, end: End) -> CommandResult {
    let count = match args.get(2) {
        _ if args.len() > 3 => return Err(CommandError::Syntax),
        None => None,
        Some(count) => {
            let count = parse_i64(count).and_then(|count| usize::try_from(count).ok());
            Some(count.ok_or(CommandError::text_static("ERR value is out of range, must be positive"))?)
        }
    };
    let in_pairs = count.is_some() && cx.reply.version() == RespVersion::V3;
    let layout = if in_pairs { Layout::Pairs } else { Layout::Flat };
    if pop_first(cx, args.iter().skip(1).take(1), end, count.unwrap_or(1), layout)?.is_none() {
        cx.reply.array(0);
    }
    Ok(())
}

/// BZPOPMIN key [key ...] timeout.
fn bzpopmin(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    pop_or_wait(cx, args, End::Min)
}

/// BZPOPMAX key [key ...] timeout.
fn bzpopmax(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    pop_or_wait(cx, args, End::Max)
}

fn pop_or_wait(cx: &mut Context<'_>, args: &Args<'_>, end: End) -> CommandResult {
    let timeout = Timeout::seconds(&args[args.len() - 1])?;
    let keys = args.iter().skip(1).take(args.len() - 2);
    if let Some((name, _)) = pop_first(cx, keys.clone(), end, 1, Layout::KeyAndFlat)? {
        cx.journal_as(&[end.command(), name]);
        return Ok(());
    }
    wait_for(cx, keys, timeout)
}

fn wait_for<'a>(cx: &mut Context<'_>, keys: impl Iterator<Item = &'a [u8]>, timeout: Timeout) -> CommandResult {
    let keys = keys.map(<[u8]>::to_vec).collect();
    let nothing = Nothing::NullArray;
    wait(cx, Wait { keys, kind: ValueKind::SortedSet, or_removed: false, timeout, nothing, request: None })
}

/// The arguments that ZMPOP and BZMPOP have in common.
struct Several {
    /// Where the keys stand.
    first: usize,
    keys_count: usize,
    end: End,
    count: usize,
}

impl Several {
    fn parse(args: &Args<'_>, count_at: usize) -> Result<Several, CommandError> {
        let positive = |argument: &[u8], text| {
            let number = parse_i64(argument).filter(|number| *number > 0);
            number.map(|number| number as usize).ok_or(CommandError::text_static(text))
        };
        let keys_count = positive(&args[count_at], "ERR numkeys should be greater than 0")?;
        let first = count_at + 1;
        let end_at = first.checked_add(keys_count).ok_or(CommandError::Syntax)?;
        let end = match args.get(end_at) {
            Some(word) if is_word(word, "MIN") => End::Min,
            Some(word) if is_word(word, "MAX") => End::Max,
            _ => return Err(CommandError::Syntax),
        };
        let (mut count, mut index) = (None, end_at + 1);
        while let Some(option) = args.get(index) {
            let argument = args.get(index + 1).filter(|_| count.is_none() && is_word(option, "COUNT"));
            count = Some(positive(argument.ok_or(CommandError::Syntax)?, "ERR count should be greater than 0")?);
            index += 2;
        }
        Ok(Several { first, keys_count, end, count: count.unwrap_or(1) })
    }

    fn keys<'a>(&self, args: &Args<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        args.iter().skip(self.first).take(self.keys_count)
    }

    /// Takes members of the first of the sorted sets that is there; false when none is.
    fn run(&self, cx: &mut Context<'_>, args: &Args<'_>) -> Result<bool, CommandError> {
        let popped = pop_first(cx, self.keys(args), self.end, self.count, Layout::KeyAndPairs)?;
        if let Some((name, count)) = popped {
            cx.journal_as_number(&[self.end.command(), name], count as i64);
        }
        Ok(popped.is_some())
    }
}

/// ZMPOP numkeys key [key ...] MIN | MAX [COUNT count].
fn zmpop(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    if !Several::parse(args, 1)?.run(cx, args)? {
        cx.reply.null_array();
    }
    Ok(())
}

/// BZMPOP timeout numkeys key [key ...] MIN | MAX [COUNT count].
fn bzmpop(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let several = Several::parse(args, 2)?;
    let timeout = Timeout::seconds(&args[1])?;
    if several.run(cx, args)? {
        return Ok(());
    }
    wait_for(cx, several.keys(args), timeout)
}

const COMPLEXITY: &str = "O(log(N)+M), N being the size of the sorted set and M the number of members taken";
const SEVERAL: &str =
    "O(K)+O(log(N)+M), K being the number of keys, N the size of the sorted set and M the members taken";

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "zpopmin",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, Access::TAKE),
        group: Group::SortedSet,
        since: "5.0.0",
        summary: "Takes the members with the lowest scores out of a sorted set.",
        complexity: COMPLEXITY,
        syntax: "key [count]",
        run: Run::OnOwner(zpopmin),
    },
    CommandSpec {
        name: "zpopmax",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, Access::TAKE),
        group: Group::SortedSet,
        since: "5.0.0",
        summary: "Takes the members with the highest scores out of a sorted set.",
        complexity: COMPLEXITY,
        syntax: "key [count]",
        run: Run::OnOwner(zpopmax),
    },
    CommandSpec {
        name: "zmpop",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE,
        keys: Keys::Counted { count_at: 1, access: Access::TAKE },
        group: Group::SortedSet,
        since: "7.0.0",
        summary: "Takes members from either end of the first of several sorted sets that is there.",
        complexity: SEVERAL,
        syntax: "numkeys key [key ...] <MIN | MAX> [COUNT count]",
        run: Run::OnOwner(zmpop),
    },
    CommandSpec {
        name: "bzpopmin",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::FAST).and(Flags::BLOCKING),
        keys: Keys::Range { first: 1, last: -2, step: 1, access: Access::TAKE },
        group: Group::SortedSet,
        since: "5.0.0",
        summary: "Takes the member with the lowest score, and waits for one if there is none.",
        complexity: "O(log(N)), N being the size of the sorted set",
        syntax: "key [key ...] timeout",
        run: Run::OnOwner(bzpopmin),
    },
    CommandSpec {
        name: "bzpopmax",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::FAST).and(Flags::BLOCKING),
        keys: Keys::Range { first: 1, last: -2, step: 1, access: Access::TAKE },
        group: Group::SortedSet,
        since: "5.0.0",
        summary: "Takes the member with the highest score, and waits for one if there is none.",
        complexity: "O(log(N)), N being the size of the sorted set",
        syntax: "key [key ...] timeout",
        run: Run::OnOwner(bzpopmax),
    },
    CommandSpec {
        name: "bzmpop",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE.and(Flags::BLOCKING),
        keys: Keys::Counted { count_at: 2, access: Access::TAKE },
        group: Group::SortedSet,
        since: "7.0.0",
        summary: "Takes members from either end of the first of several sorted sets, and waits if none is there.",
        complexity: SEVERAL,
        syntax: "timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
        run: Run::OnOwner(bzmpop),
    },
];
