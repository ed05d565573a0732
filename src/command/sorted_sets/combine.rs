//! Several sorted sets (or sets) made one: ZUNION, ZINTER, ZDIFF, the same stored, and ZINTERCARD.
//!
//! Scores are added up in Redis's order, the smallest input first, so that sums of doubles come out the same to the
//! last bit.

use hashbrown::HashMap;

use super::source::{Member, Source, look_up};
use super::{limits, reply_entries, store};
use crate::base::number::{parse_f64, parse_i64};
use crate::command::arguments::{integer, is_word};
use crate::command::context::Context;
use crate::command::error::CommandError;
use crate::command::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::keyspace::Key;
use crate::keyspace::listpack::Digits;
use crate::keyspace::sorted_set::SortedSet;
use crate::resp::Args;

/// What is made of the inputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// How the scores of one member become one.
#[derive(Clone, Copy, Debug)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    /// Infinities of both signs add up to 0.
    fn of(self, score: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => number_or_zero(score + other),
            Aggregate::Min => {
                if other < score {
                    other
                } else {
                    score
                }
            }
            Aggregate::Max => {
                if other > score {
                    other
                } else {
                    score
                }
            }
        }
    }
}

fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// An input with what its scores are multiplied by.
struct Input<'a> {
    source: Source<'a>,
    weight: f64,
}

/// A member of a result.
type Entry<'a> = (Member<'a>, f64);

/// What a command says by its name.
#[derive(Clone, Copy)]
struct Form {
    name: &'static str,
    operation: Operation,
    /// Where the number of keys stands.
    count_at: usize,
    result: ResultKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ResultKind {
    Members,
    Stored,
    Count,
}

/// What stands behind the keys.
struct Options {
    /// One for each key; none when they are all 1.
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    limit: usize,
}

impl Options {
    fn parse(args: &Args<'_>, mut index: usize, keys_count: usize, form: Form) -> Result<Options, CommandError> {
        let mut options =
            Options { weights: Vec::new(), aggregate: Aggregate::Sum, with_scores: false, limit: usize::MAX };
        let has_scores = form.operation != Operation::Difference && form.result != ResultKind::Count;
        while let Some(option) = args.get(index) {
            let left = args.len() - index;
            index += 1;
            if has_scores && left > keys_count && is_word(option, "WEIGHTS") {
                let weight =
                    |argument| parse_f64(argument).ok_or(CommandError::text_static("ERR weight value is not a float"));
                options.weights = args.iter().skip(index).take(keys_count).map(weight).collect::<Result<_, _>>()?;
                index += keys_count;
            } else if has_scores && left >= 2 && is_word(option, "AGGREGATE") {
                options.aggregate = match &args[index] {
                    word if is_word(word, "SUM") => Aggregate::Sum,
                    word if is_word(word, "MIN") => Aggregate::Min,
                    word if is_word(word, "MAX") => Aggregate::Max,
                    _ => return Err(CommandError::Syntax),
                };
                index += 1;
            } else if form.result == ResultKind::Members && is_word(option, "WITHSCORES") {
                options.with_scores = true;
            } else if form.result == ResultKind::Count && left >= 2 && is_word(option, "LIMIT") {
                let limit = parse_i64(&args[index]).and_then(|limit| usize::try_from(limit).ok());
                let limit = limit.ok_or(CommandError::text_static("ERR LIMIT can't be negative"))?;
                options.limit = if limit == 0 { usize::MAX } else { limit };
                index += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

fn combine(cx: &mut Context<'_>, args: &Args<'_>, form: Form) -> CommandResult {
    let Form { name, operation, count_at, result } = form;
    let keys_count = integer(&args[count_at])?;
    if keys_count < 1 {
        return Err(CommandError::formatted(format!("ERR at least 1 input key is needed for '{name}' command")));
    }
    let first = count_at + 1;
    let keys_count = usize::try_from(keys_count).ok().filter(|count| *count <= args.len() - first);
    let keys_count = keys_count.ok_or(CommandError::Syntax)?;
    let keys: Vec<Key<'_>> = args.iter().skip(first).take(keys_count).map(|name| cx.key(name)).collect();
    let (db, limits) = (cx.db(), limits(cx));
    let sources = look_up(&mut cx.core.keyspace, db, &keys)?;
    let options = Options::parse(args, first + keys_count, keys_count, form)?;
    let weights = options.weights.iter().copied().chain(std::iter::repeat(1.0));
    let mut inputs: Vec<Input<'_>> =
        sources.into_iter().zip(weights).map(|(source, weight)| Input { source, weight }).collect();
    if operation != Operation::Difference {
        inputs.sort_by_key(|input| input.source.len());
    }
    if result == ResultKind::Count {
        let mut count = 0;
        intersection(&inputs, options.aggregate, &mut |_| {
            count += 1;
            count < options.limit
        });
        cx.reply.integer(count as i64);
        return Ok(());
    }
    let mut entries = match operation {
        Operation::Union => union(&inputs, options.aggregate),
        Operation::Difference => difference(&inputs),
        Operation::Intersection => {
            let mut entries = Vec::new();
            intersection(&inputs, options.aggregate, &mut |entry| {
                entries.push(entry);
                true
            });
            entries
        }
    };
    entries.sort_unstable_by(|one, other| {
        let (mut digits, mut other_digits) = (Digits::new(), Digits::new());
        let (member, other_member) = (one.0.as_element(), other.0.as_element());
        let other = (other.1, other_member.as_bytes(&mut other_digits));
        SortedSet::order((one.1, member.as_bytes(&mut digits)), other)
    });
    let sorted = entries.iter().map(|(member, score)| (member.as_element(), *score));
    if result == ResultKind::Stored {
        let set = SortedSet::from_sorted(sorted, limits);
        store(cx, &args[1], set, name, 1);
    } else {
        reply_entries(&mut cx.reply, sorted, entries.len(), options.with_scores);
    }
    Ok(())
}

fn union<'a>(inputs: &[Input<'a>], aggregate: Aggregate) -> Vec<Entry<'a>> {
    let largest = inputs.iter().map(|input| input.source.len()).max().unwrap_or(0);
    let mut scores: HashMap<Member<'a>, f64, ahash::RandomState> = HashMap::default();
    scores.reserve(largest);
    for Input { source, weight } in inputs {
        for (member, score) in source.iter() {
            let score = number_or_zero(weight * score);
            scores.entry(member).and_modify(|sum| *sum = aggregate.of(*sum, score)).or_insert(score);
        }
    }
    scores.into_iter().collect()
}

/// Visits what is in all inputs, the smallest of which comes first, until `visit` has had enough.
fn intersection<'a>(inputs: &[Input<'a>], aggregate: Aggregate, visit: &mut dyn FnMut(Entry<'a>) -> bool) {
    let Some((first, others)) = inputs.split_first() else { return };
    'members: for (member, score) in first.source.iter() {
        let mut sum = number_or_zero(first.weight * score);
        for Input { source, weight } in others {
            let Some(score) = source.score(member) else { continue 'members };
            sum = aggregate.of(sum, score * weight);
        }
        if !visit((member, sum)) {
            return;
        }
    }
}

/// What is in the first input and in none of the others: either each member is looked for in the others, or those of
/// the others are taken out of a copy of the first, whichever is less work.
fn difference<'a>(inputs: &[Input<'a>]) -> Vec<Entry<'a>> {
    let Some((first, others)) = inputs.split_first() else { return Vec::new() };
    let others: Vec<Source<'a>> = others.iter().map(|input| input.source).filter(|source| source.len() > 0).collect();
    let in_others: usize = others.iter().map(|source| source.len()).sum();
    let look_ups = first.source.len().saturating_mul(others.len());
    if look_ups / 2 <= first.source.len().saturating_add(in_others) {
        let is_left = |entry: &Entry<'a>| others.iter().all(|source| source.score(entry.0).is_none());
        return first.source.iter().filter(is_left).collect();
    }
    let mut left: HashMap<Member<'a>, f64, ahash::RandomState> = first.source.iter().collect();
    for source in others {
        for (member, _) in source.iter() {
            left.remove(&member);
        }
        if left.is_empty() {
            break;
        }
    }
    left.into_iter().collect()
}

const REPLY: Form = Form { name: "", operation: Operation::Union, count_at: 1, result: ResultKind::Members };
const STORE: Form = Form { name: "", operation: Operation::Union, count_at: 2, result: ResultKind::Stored };

/// ZUNION numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX] [WITHSCORES].
fn zunion(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    combine(cx, args, Form { name: "zunion", ..REPLY })
}

/// ZINTER, with the arguments of ZUNION.
fn zinter(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    combine(cx, args, Form { name: "zinter", operation: Operation::Intersection, ..REPLY })
}

/// ZDIFF numkeys key [key ...] [WITHSCORES].
fn zdiff(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    combine(cx, args, Form { name: "zdiff", operation: Operation::Difference, ..REPLY })
}

/// ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX].
fn zunionstore(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    combine(cx, args, Form { name: "zunionstore", ..STORE })
}

/// ZINTERSTORE, with the arguments of ZUNIONSTORE.
fn zinterstore(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    combine(cx, args, Form { name: "zinterstore", operation: Operation::Intersection, ..STORE })
}

/// ZDIFFSTORE destination numkeys key [key ...].
fn zdiffstore(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    combine(cx, args, Form { name: "zdiffstore", operation: Operation::Difference, ..STORE })
}

/// ZINTERCARD numkeys key [key ...] [LIMIT limit]: counts no further than the limit, 0 being none.
fn zintercard(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let form = Form { name: "zintercard", operation: Operation::Intersection, result: ResultKind::Count, ..REPLY };
    combine(cx, args, form)
}

const STORE_KEYS: Keys = Keys::IntoCounted { into: 1, count_at: 2 };
const UNION: &str = "O(N)+O(M*log(M)), N being the members of all inputs and M those of the result";
const INTERSECTION: &str = "O(N*K)+O(M*log(M)), N being the size of the smallest of K inputs and M that of the result";
const DIFFERENCE: &str = "O(L)+O(M*log(M)), L being the members of all inputs and M those of the result";

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "zunion",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::Counted { count_at: 1, access: Access::READ },
        group: Group::SortedSet,
        since: "6.2.0",
        summary: "Returns the union of several sorted sets.",
        complexity: UNION,
        syntax: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        run: Run::OnOwner(zunion),
    },
    CommandSpec {
        name: "zinter",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::Counted { count_at: 1, access: Access::READ },
        group: Group::SortedSet,
        since: "6.2.0",
        summary: "Returns the intersection of several sorted sets.",
        complexity: INTERSECTION,
        syntax: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        run: Run::OnOwner(zinter),
    },
    CommandSpec {
        name: "zdiff",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::Counted { count_at: 1, access: Access::READ },
        group: Group::SortedSet,
        since: "6.2.0",
        summary: "Returns what the first of several sorted sets has and the others have not.",
        complexity: DIFFERENCE,
        syntax: "numkeys key [key ...] [WITHSCORES]",
        run: Run::OnOwner(zdiff),
    },
    CommandSpec {
        name: "zunionstore",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: STORE_KEYS,
        group: Group::SortedSet,
        since: "2.0.0",
        summary: "Stores the union of several sorted sets.",
        complexity: UNION,
        syntax: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        run: Run::OnOwner(zunionstore),
    },
    CommandSpec {
        name: "zinterstore",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: STORE_KEYS,
        group: Group::SortedSet,
        since: "2.0.0",
        summary: "Stores the intersection of several sorted sets.",
        complexity: INTERSECTION,
        syntax: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        run: Run::OnOwner(zinterstore),
    },
    CommandSpec {
        name: "zdiffstore",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: STORE_KEYS,
        group: Group::SortedSet,
        since: "6.2.0",
        summary: "Stores what the first of several sorted sets has and the others have not.",
        complexity: DIFFERENCE,
        syntax: "destination numkeys key [key ...]",
        run: Run::OnOwner(zdiffstore),
    },
    CommandSpec {
        name: "zintercard",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::Counted { count_at: 1, access: Access::READ },
        group: Group::SortedSet,
        since: "7.0.0",
        summary: "Counts the members that several sorted sets have in common.",
        complexity: "O(N*K), N being the size of the smallest of K inputs",
        syntax: "numkeys key [key ...] [LIMIT limit]",
        run: Run::OnOwner(zintercard),
    },
];
