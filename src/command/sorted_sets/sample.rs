//! Random members, and walking in steps: ZRANDMEMBER, ZSCAN.

use hashbrown::HashSet;

use super::reply_entries;
use crate::base::number::format_double;
use crate::command::arguments::is_word;
use crate::command::collection_scan::{Found, ScanOptions, parse_cursor};
use crate::command::context::Context;
use crate::command::elements::reply_element_or_null;
use crate::command::error::CommandError;
use crate::command::sample::{SampleCount, choose, is_sparse};
use crate::command::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::keyspace::listpack::Element;
use crate::keyspace::sorted_set::SortedSet;
use crate::resp::Args;

/// ZRANDMEMBER key [count [WITHSCORES]]: a negative count draws so many times, and may draw a member more than once.
fn zrandmember(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let Some(count) = args.get(2) else { return one(cx, args) };
    let count = SampleCount::parse(count)?;
    let with_scores = match args.get(3) {
        None => false,
        Some(option) if args.len() > 4 || !is_word(option, "WITHSCORES") => return Err(CommandError::Syntax),
        Some(_) if count.get() > i64::MAX as u64 / 2 => return Err(CommandError::OutOfRange),
        Some(_) => true,
    };
    let (key, db) = (cx.key(&args[1]), cx.db());
    let Some(set) = cx.core.keyspace.read_as::<SortedSet>(db, key)? else {
        cx.reply.array(0);
        return Ok(());
    };
    let (random, len) = (&mut cx.core.random, set.len());
    let at = |rank: u64| set.walk(rank as usize..rank as usize + 1, false).next();
    match count {
        SampleCount::Repeated(count) => {
            let entries = (0..count).filter_map(|_| at(random.below(len as u64)));
            reply_entries(&mut cx.reply, entries, count as usize, with_scores);
        }
        SampleCount::Distinct(count) => {
            let count = usize::try_from(count).unwrap_or(usize::MAX).min(len);
            if is_sparse(count, len) {
                let mut drawn = HashSet::with_capacity_and_hasher(count, ahash::RandomState::new());
                let ranks = std::iter::repeat_with(|| random.below(len as u64)).filter(|rank| drawn.insert(*rank));
                reply_entries(&mut cx.reply, ranks.take(count).filter_map(at), count, with_scores);
            } else {
                let mut chosen = Vec::with_capacity(count);
                choose(set.iter(), count, len, random, |entry| chosen.push(entry));
                reply_entries(&mut cx.reply, chosen.into_iter(), count, with_scores);
            }
        }
    }
    Ok(())
}

/// A member, or null when there is none.
fn one(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (key, db) = (cx.key(&args[1]), cx.db());
    let set = cx.core.keyspace.read_as::<SortedSet>(db, key)?;
    let random = &mut cx.core.random;
    let drawn = set.and_then(|set| {
        let rank = random.below(set.len() as u64) as usize;
        set.walk(rank..rank + 1, false).next()
    });
    reply_element_or_null(&mut cx.reply, drawn.map(|(member, _)| member));
    Ok(())
}

/// ZSCAN key cursor [MATCH pattern] [COUNT count].
fn zscan(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let cursor = parse_cursor(&args[2])?;
    let (key, db) = (cx.key(&args[1]), cx.db());
    let mut found = Found::default();
    let Some(set) = cx.core.keyspace.read_as::<SortedSet>(db, key)? else {
        found.reply(0, &mut cx.reply);
        return Ok(());
    };
    let options = ScanOptions::parse(args)?;
    if let Some(listpack) = set.listpack() {
        // The compact form's scores are shown as they are written there.
        let mut elements = listpack.iter();
        while let (Some(member), Some(score)) = (elements.next(), elements.next()) {
            if options.wants(member) {
                found.push(member);
                found.push(score);
            }
        }
        found.reply(0, &mut cx.reply);
        return Ok(());
    }
    let mut text = Vec::new();
    let next = set.scan(cursor, options.count, &mut |member, score| {
        if options.wants(member) {
            text.clear();
            format_17_digits(score, &mut text);
            found.push(member);
            found.push(Element::Bytes(&text));
        }
    });
    found.reply(next, &mut cx.reply);
    Ok(())
}

/// Appends a score as C's `%.17g` does, which is how Redis shows the scores of the large form here: the shortest of
/// plain and scientific, 17 digits less the zeros at their end.
fn format_17_digits(score: f64, out: &mut Vec<u8>) {
    if !score.is_finite() {
        return format_double(score, out);
    }
    let text = format!("{score:.16e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let text = if (-4..17).contains(&exponent) {
        format!("{score:.*}", (16 - exponent) as usize)
    } else {
        mantissa.to_owned()
    };
    let shown = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    out.extend_from_slice(shown.as_bytes());
    if !(-4..17).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("e{sign}{:02}", exponent.abs()).as_bytes());
    }
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "zrandmember",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::SortedSet,
        since: "6.2.0",
        summary: "Returns random members of a sorted set.",
        complexity: "O(N*log(M)), N being the number of members returned and M the size of the sorted set",
        syntax: "key [count [WITHSCORES]]",
        run: Run::OnOwner(zrandmember),
    },
    CommandSpec {
        name: "zscan",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::SortedSet,
        since: "2.8.0",
        summary: "Walks over the members of a sorted set and their scores, some with each call.",
        complexity: "O(1) for a call, O(N) in the number of members for the whole walk",
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        run: Run::OnOwner(zscan),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_shown_with_17_digits() {
        let cases = [
            (0.1, "0.10000000000000001"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123456789.125, "123456789.125"),
            (1e-4, "0.0001"),
            (1e-5, "1.0000000000000001e-05"),
            (5e-324, "4.9406564584124654e-324"),
            (1e308, "1e+308"),
            (f64::NEG_INFINITY, "-inf"),
            (0.0, "0"),
        ];
        for (score, expected) in cases {
            let mut text = Vec::new();
            format_17_digits(score, &mut text);
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
    }
}
