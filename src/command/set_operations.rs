//! What is made of several sets: intersections, unions and differences, replied, counted or stored.
//!
//! A key that is not there is an empty set. Which form a stored result has follows from how Redis makes it, so the steps here
//! are its steps: where they begin with an intset, so do these.

use super::arguments::{integer, is_word};
use super::context::Context;
use super::elements::reply_element;
use super::error::CommandError;
use super::sets::{limits, reply_members};
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::config::NotifyFlags;
use crate::keyspace::listpack::Element;
use crate::keyspace::set::{Set, SetForm, SetLimits};
use crate::keyspace::{Key, Keyspace, Value};
use crate::resp::Args;

/// SINTER key [key ...].
fn sinter(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let keys = keys_from(cx, args, 1);
    let sets = sources(&mut cx.core.keyspace, cx.caller.db as usize, &keys)?;
    let Some(sets) = smallest_first(sets) else {
        cx.reply.set(0);
        return Ok(());
    };
    let deferred = cx.reply.begin_set();
    let mut count = 0;
    for member in intersection(&sets) {
        reply_element(&mut cx.reply, member);
        count += 1;
    }
    cx.reply.finish(deferred, count);
    Ok(())
}

/// SINTERCARD numkeys key [key ...] [LIMIT limit]: counts no further than the limit, 0 being none.
fn sintercard(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let given = args.len() - 2;
    let keys_count = integer(&args[1])
        .ok()
        .filter(|count| *count > 0)
        .ok_or(CommandError::text_static("ERR numkeys should be greater than 0"))?;
    let keys_count = usize::try_from(keys_count)
        .ok()
        .filter(|count| *count <= given)
        .ok_or(CommandError::text_static("ERR Number of keys can't be greater than number of args"))?;
    let limit = parse_limit(args, 2 + keys_count)?;
    let keys: Vec<Key<'_>> = args.iter().skip(2).take(keys_count).map(|name| cx.key(name)).collect();
    let sets = sources(&mut cx.core.keyspace, cx.caller.db as usize, &keys)?;
    let count = smallest_first(sets).map_or(0, |sets| intersection(&sets).take(limit).count());
    cx.reply.integer(count as i64);
    Ok(())
}

/// The options of SINTERCARD from `index` on; the last LIMIT counts.
fn parse_limit(args: &Args<'_>, mut index: usize) -> Result<usize, CommandError> {
    let mut limit = 0;
    while let Some(option) = args.get(index) {
        let argument = args.get(index + 1).filter(|_| is_word(option, "LIMIT")).ok_or(CommandError::Syntax)?;
        limit = integer(argument)
            .ok()
            .filter(|limit| *limit >= 0)
            .ok_or(CommandError::text_static("ERR LIMIT can't be negative"))?;
        index += 2;
    }
    Ok(if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) })
}

/// SINTERSTORE destination key [key ...].
fn sinterstore(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let limits = limits(&cx.core.config);
    let keys = keys_from(cx, args, 2);
    let sets = sources(&mut cx.core.keyspace, cx.caller.db as usize, &keys)?;
    let result = smallest_first(sets).map_or_else(Set::default, |sets| {
        let mut result = match sets.first().map(|set| set.form()) {
            Some(SetForm::Integers(_)) => Set::default(),
            _ => Set::small(),
        };
        for member in intersection(&sets) {
            result.add(member, limits);
        }
        result.make_integers(limits);
        result
    });
    store(cx, args, result, "sinterstore");
    Ok(())
}

/// SUNION key [key ...].
fn sunion(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let limits = limits(&cx.core.config);
    let keys = keys_from(cx, args, 1);
    let sets = sources(&mut cx.core.keyspace, cx.caller.db as usize, &keys)?;
    let there: Vec<&Set> = sets.into_iter().flatten().collect();
    match there[..] {
        // Nothing to compare it with: what is big is not copied.
        [only] if matches!(only.form(), SetForm::Large(_)) => reply_members(&mut cx.reply, only),
        _ => reply_members(&mut cx.reply, &union_of(&there, limits)),
    }
    Ok(())
}

/// SUNIONSTORE destination key [key ...].
fn sunionstore(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let limits = limits(&cx.core.config);
    let keys = keys_from(cx, args, 2);
    let sets = sources(&mut cx.core.keyspace, cx.caller.db as usize, &keys)?;
    let there: Vec<&Set> = sets.into_iter().flatten().collect();
    let result = union_of(&there, limits);
    store(cx, args, result, "sunionstore");
    Ok(())
}

/// SDIFF key [key ...]: what is in the first set only.
fn sdiff(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let limits = limits(&cx.core.config);
    let keys = keys_from(cx, args, 1);
    let sets = sources(&mut cx.core.keyspace, cx.caller.db as usize, &keys)?;
    let plan = Difference::plan(&sets);
    if let Difference::Ask { first, others } = &plan
        && matches!(first.form(), SetForm::Large(_))
    {
        // What is big goes out without a copy in between.
        let deferred = cx.reply.begin_set();
        let mut count = 0;
        for member in only_in(first, others) {
            reply_element(&mut cx.reply, member);
            count += 1;
        }
        cx.reply.finish(deferred, count);
    } else {
        reply_members(&mut cx.reply, &plan.result(limits));
    }
    Ok(())
}

/// SDIFFSTORE destination key [key ...].
fn sdiffstore(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let limits = limits(&cx.core.config);
    let keys = keys_from(cx, args, 2);
    let sets = sources(&mut cx.core.keyspace, cx.caller.db as usize, &keys)?;
    let result = Difference::plan(&sets).result(limits);
    store(cx, args, result, "sdiffstore");
    Ok(())
}

fn keys_from<'a>(cx: &Context<'_>, args: &Args<'a>, first: usize) -> Vec<Key<'a>> {
    args.iter().skip(first).map(|name| cx.key(name)).collect()
}

/// The sets at these keys, looked up to be read; `None` for a key that is not there.
///
/// # Errors
/// `WrongType`: one of the values is no set.
fn sources<'k>(keyspace: &'k mut Keyspace, db: usize, keys: &[Key<'_>]) -> Result<Vec<Option<&'k Set>>, CommandError> {
    for key in keys {
        keyspace.read_as::<Set>(db, *key)?;
    }
    let keyspace = &*keyspace;
    let sets = keys.iter().map(|key| keyspace.view(db, *key).map(Value::collection).transpose());
    Ok(sets.collect::<Result<_, _>>()?)
}

/// The sets in order of their size, `None` when one of them is not there.
fn smallest_first(sets: Vec<Option<&Set>>) -> Option<Vec<&Set>> {
    let mut sets = sets.into_iter().collect::<Option<Vec<&Set>>>()?;
    sets.sort_by_key(|set| set.len());
    Some(sets)
}

/// The members of the first set that are in all others.
fn intersection<'s>(sets: &'s [&'s Set]) -> impl Iterator<Item = Element<'s>> {
    let (first, others) = sets.split_first().map_or((None, sets), |(first, others)| (Some(*first), others));
    let is_in = move |member: &Element<'_>, set: &&Set| {
        first.is_some_and(|first| std::ptr::eq(first, *set)) || set.contains(*member)
    };
    first.into_iter().flat_map(Set::iter).filter(move |member| others.iter().all(|set| is_in(member, set)))
}

/// All members of all sets.
pub(super) fn union_of(sets: &[&Set], limits: SetLimits) -> Set {
    let largest = sets.iter().enumerate().max_by_key(|(_, set)| set.len());
    let (mut union, copied) = match largest {
        // Whatever the others have, it comes to the large form; and a copy costs less than its members one by one.
        Some((index, set)) if set.is_beyond_small_forms(limits) => ((*set).clone(), Some(index)),
        _ => (Set::default(), None),
    };
    let others = sets.iter().enumerate().filter(|(index, _)| Some(*index) != copied);
    for member in others.flat_map(|(_, set)| set.iter()) {
        union.add(member, limits);
    }
    union
}

/// How a difference is made. Redis takes what is less work, and so do we: the form of the result follows from it.
enum Difference<'s> {
    Empty,
    /// Every other set is asked for each member of the first.
    Ask {
        first: &'s Set,
        others: Vec<&'s Set>,
    },
    /// The members of the others are removed from a copy of the first.
    Remove {
        first: &'s Set,
        others: Vec<&'s Set>,
    },
}

impl<'s> Difference<'s> {
    fn plan(sets: &[Option<&'s Set>]) -> Difference<'s> {
        let Some((Some(first), others)) = sets.split_first() else { return Difference::Empty };
        let mut others: Vec<&Set> = others.iter().copied().flatten().collect();
        if others.iter().any(|set| std::ptr::eq(*set, *first)) {
            return Difference::Empty;
        }
        // Asking often stops early: half the price.
        let asking = first.len().saturating_mul(1 + others.len()) / 2;
        let removing = others.iter().map(|set| set.len()).fold(first.len(), usize::saturating_add);
        if asking <= removing {
            others.sort_by_key(|set| std::cmp::Reverse(set.len()));
            Difference::Ask { first, others }
        } else {
            Difference::Remove { first, others }
        }
    }

    fn result(&self, limits: SetLimits) -> Set {
        let mut result = Set::default();
        match self {
            Difference::Empty => {}
            Difference::Ask { first, others } => {
                for member in only_in(first, others) {
                    result.add(member, limits);
                }
            }
            Difference::Remove { first, others } => {
                for member in first.iter() {
                    result.add(member, limits);
                }
                for member in others.iter().flat_map(|set| set.iter()) {
                    if result.is_empty() {
                        break;
                    }
                    result.remove(member);
                }
            }
        }
        result
    }
}

/// The members of the first set that are in none of the others.
fn only_in<'s>(first: &'s Set, others: &'s [&'s Set]) -> impl Iterator<Item = Element<'s>> {
    first.iter().filter(move |member| !others.iter().any(|set| set.contains(*member)))
}

/// Puts a result in place of whatever is at the first argument; an empty one removes it. Replies how many members it has.
fn store(cx: &mut Context<'_>, args: &Args<'_>, result: Set, event: &'static str) {
    let count = result.len();
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let existed = entry.exists();
    entry.set_collection(result);
    entry.set_expiry(None);
    cx.reply.integer(count as i64);
    if count > 0 {
        cx.notify(NotifyFlags::SET, event, &args[1]);
    } else if existed {
        cx.notify(NotifyFlags::GENERIC, "del", &args[1]);
    }
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "sinter",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY,
        keys: Keys::Range { first: 1, last: -1, step: 1, access: Access::READ },
        group: Group::Set,
        since: "1.0.0",
        summary: "Returns the members that all of several sets have.",
        complexity: "O(N*M) with N the size of the smallest set and M the number of sets",
        syntax: "key [key ...]",
        run: Run::OnOwner(sinter),
    },
    CommandSpec {
        name: "sintercard",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::Counted { count_at: 1, access: Access::READ },
        group: Group::Set,
        since: "7.0.0",
        summary: "Counts the members that all of several sets have.",
        complexity: "O(N*M) with N the size of the smallest set and M the number of sets",
        syntax: "numkeys key [key ...] [LIMIT limit]",
        run: Run::OnOwner(sintercard),
    },
    CommandSpec {
        name: "sinterstore",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Into(1, Access::CHANGE),
        group: Group::Set,
        since: "1.0.0",
        summary: "Stores the members that all of several sets have.",
        complexity: "O(N*M) with N the size of the smallest set and M the number of sets",
        syntax: "destination key [key ...]",
        run: Run::OnOwner(sinterstore),
    },
    CommandSpec {
        name: "sunion",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY,
        keys: Keys::Range { first: 1, last: -1, step: 1, access: Access::READ },
        group: Group::Set,
        since: "1.0.0",
        summary: "Returns the members that any of several sets has.",
        complexity: "O(N) in the number of members of all sets",
        syntax: "key [key ...]",
        run: Run::OnOwner(sunion),
    },
    CommandSpec {
        name: "sunionstore",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Into(1, Access::WRITE),
        group: Group::Set,
        since: "1.0.0",
        summary: "Stores the members that any of several sets has.",
        complexity: "O(N) in the number of members of all sets",
        syntax: "destination key [key ...]",
        run: Run::OnOwner(sunionstore),
    },
    CommandSpec {
        name: "sdiff",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY,
        keys: Keys::Range { first: 1, last: -1, step: 1, access: Access::READ },
        group: Group::Set,
        since: "1.0.0",
        summary: "Returns the members that only the first of several sets has.",
        complexity: "O(N) in the number of members of all sets",
        syntax: "key [key ...]",
        run: Run::OnOwner(sdiff),
    },
    CommandSpec {
        name: "sdiffstore",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Into(1, Access::WRITE),
        group: Group::Set,
        since: "1.0.0",
        summary: "Stores the members that only the first of several sets has.",
        complexity: "O(N) in the number of members of all sets",
        syntax: "destination key [key ...]",
        run: Run::OnOwner(sdiffstore),
    },
];
