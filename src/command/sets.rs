//! Sets: members added, removed, asked for, moved, listed and drawn. What works on several sets is in `set_operations`.

use hashbrown::HashSet;

use super::arguments::integer;
use super::collection_scan::{Found, ScanOptions, parse_cursor};
use super::context::Context;
use super::elements::{reply_element, reply_element_or_null};
use super::error::CommandError;
use super::sample::{SampleCount, choose, draw, is_sparse, while_wanted};
use super::set_operations::union_of;
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::base::random::Random;
use crate::config::{Config, NotifyFlags};
use crate::keyspace::Digits;
use crate::keyspace::listpack::Element;
use crate::keyspace::set::{Set, SetForm, SetLimits};
use crate::resp::{Args, Reply};

/// When sets leave their small forms, by the configuration.
pub(super) fn limits(config: &Config) -> SetLimits {
    SetLimits {
        intset_entries: config.set_max_intset_entries,
        listpack_entries: config.set_max_listpack_entries,
        listpack_value_bytes: config.set_max_listpack_value,
    }
}

/// SADD key member [member ...]: how many are new.
fn sadd(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let limits = limits(&cx.core.config);
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let set = entry.collection_or_new::<Set>()?;
    let count = args.len() - 2;
    if set.is_empty() {
        *set = Set::for_first(&args[2], count, limits);
    } else {
        set.make_room(count, limits);
    }
    let added = args.iter().skip(2).map(|member| u64::from(set.add(Element::Bytes(member), limits))).sum();
    entry.commit(added);
    cx.reply.integer(added as i64);
    if added > 0 {
        cx.notify(NotifyFlags::SET, "sadd", &args[1]);
    }
    Ok(())
}

/// SREM key member [member ...]: how many were there.
fn srem(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let mut removed = 0;
    if let Some(set) = entry.collection_mut::<Set>()? {
        removed = args.iter().skip(2).map(|member| u64::from(set.remove(Element::Bytes(member)))).sum();
    }
    let emptied = entry.commit(removed);
    cx.reply.integer(removed as i64);
    if removed > 0 {
        cx.notify(NotifyFlags::SET, "srem", &args[1]);
    }
    if emptied {
        cx.notify(NotifyFlags::GENERIC, "del", &args[1]);
    }
    Ok(())
}

/// SMOVE source destination member: whether the member was in the source.
fn smove(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let limits = limits(&cx.core.config);
    let db = cx.caller.db as usize;
    let member = Element::Bytes(&args[3]);
    let (source, destination) = (cx.key(&args[1]), cx.key(&args[2]));
    let found = match cx.core.keyspace.write(db, source).value() {
        None => false,
        Some(value) => {
            let found = value.collection::<Set>()?.contains(member);
            cx.core.keyspace.write(db, destination).collection::<Set>()?;
            found
        }
    };
    cx.reply.integer(i64::from(found));
    if !found || source.bytes == destination.bytes {
        return Ok(());
    }
    let mut entry = cx.core.keyspace.write(db, source);
    if let Some(set) = entry.collection_mut::<Set>()? {
        set.remove(member);
    }
    let emptied = entry.commit(1);
    cx.notify(NotifyFlags::SET, "srem", &args[1]);
    if emptied {
        cx.notify(NotifyFlags::GENERIC, "del", &args[1]);
    }
    let mut entry = cx.core.keyspace.write(db, destination);
    let set = entry.collection_or_new::<Set>()?;
    if set.is_empty() {
        *set = Set::for_first(&args[3], 1, limits);
    }
    let added = set.add(member, limits);
    entry.commit(u64::from(added));
    if added {
        cx.notify(NotifyFlags::SET, "sadd", &args[2]);
    }
    Ok(())
}

/// SISMEMBER key member.
fn sismember(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let set = cx.core.keyspace.read_as::<Set>(cx.caller.db as usize, key)?;
    cx.reply.integer(i64::from(set.is_some_and(|set| set.contains(Element::Bytes(&args[2])))));
    Ok(())
}

/// SMISMEMBER key member [member ...]: an answer for each.
fn smismember(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let set = cx.core.keyspace.read_as::<Set>(cx.caller.db as usize, key)?;
    cx.reply.array(args.len() - 2);
    for member in args.iter().skip(2) {
        cx.reply.integer(i64::from(set.is_some_and(|set| set.contains(Element::Bytes(member)))));
    }
    Ok(())
}

/// SCARD key: how many members there are.
fn scard(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let set = cx.core.keyspace.read_as::<Set>(cx.caller.db as usize, key)?;
    cx.reply.integer(set.map_or(0, Set::len) as i64);
    Ok(())
}

/// SMEMBERS key: every member.
fn smembers(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    match cx.core.keyspace.read_as::<Set>(cx.caller.db as usize, key)? {
        None => cx.reply.set(0),
        Some(set) => reply_members(&mut cx.reply, set),
    }
    Ok(())
}

/// Every member, as a set.
pub(super) fn reply_members(reply: &mut Reply<'_>, set: &Set) {
    reply.set(set.len());
    set.iter().for_each(|member| reply_element(reply, member));
}

/// SSCAN key cursor [MATCH pattern] [COUNT count].
fn sscan(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let cursor = parse_cursor(&args[2])?;
    let key = cx.key(&args[1]);
    let mut found = Found::default();
    let mut next = 0;
    if let Some(set) = cx.core.keyspace.read_as::<Set>(cx.caller.db as usize, key)? {
        let options = ScanOptions::parse(args)?;
        next = set.scan(cursor, options.count, &mut |member| {
            if options.wants(member) {
                found.push(member);
            }
        });
    }
    found.reply(next, &mut cx.reply);
    Ok(())
}

/// SPOP key [count]: one random member or a set of them, which are gone then.
fn spop(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    match args.len() {
        2 => spop_one(cx, args),
        3 => spop_several(cx, args),
        _ => Err(CommandError::Syntax),
    }
}

fn spop_one(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let random = &mut cx.core.random;
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let Some(set) = entry.collection_mut::<Set>()? else {
        cx.reply.null();
        return Ok(());
    };
    let popped = pop(set, random, &mut cx.reply);
    let emptied = entry.commit(1);
    cx.notify(NotifyFlags::SET, "spop", &args[1]);
    if emptied {
        cx.notify(NotifyFlags::GENERIC, "del", &args[1]);
    }
    if let Some(member) = popped {
        cx.journal_as(&[b"SREM", &args[1], member.element().as_bytes(&mut Digits::new())]);
    }
    Ok(())
}

/// Takes a random member out and replies it.
fn pop(set: &mut Set, random: &mut Random, reply: &mut Reply<'_>) -> Option<OwnedMember> {
    let drawn = set.random(random).map(|member| match member {
        Element::Integer(integer) => OwnedMember::Integer(integer),
        Element::Bytes(bytes) => OwnedMember::Bytes(bytes.to_vec()),
    });
    if let Some(drawn) = &drawn {
        reply_element(reply, drawn.element());
        set.remove(drawn.element());
    }
    drawn
}

/// A member on its way out of its set.
enum OwnedMember {
    Integer(i64),
    Bytes(Vec<u8>),
}

impl OwnedMember {
    fn element(&self) -> Element<'_> {
        match self {
            OwnedMember::Integer(integer) => Element::Integer(*integer),
            OwnedMember::Bytes(bytes) => Element::Bytes(bytes),
        }
    }
}

fn spop_several(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let count = integer(&args[2])
        .ok()
        .and_then(|count| usize::try_from(count).ok())
        .ok_or(CommandError::text_static("ERR value is out of range, must be positive"))?;
    let limits = limits(&cx.core.config);
    let key = cx.key(&args[1]);
    let random = &mut cx.core.random;
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let Some(set) = entry.collection_mut::<Set>()?.filter(|_| count > 0) else {
        cx.reply.set(0);
        return Ok(());
    };
    let popped = count.min(set.len());
    let left = set.len() - popped;
    let mut gone = Gone(cx.core.journal.is_on().then(Vec::new));
    if left == 0 {
        reply_all(&mut cx.reply, set, limits);
        *set = Set::default();
    } else if popped < left.saturating_mul(KEEP_FACTOR) || stays_large(set, left, limits) {
        cx.reply.set(popped);
        pop_few(set, popped, random, &mut cx.reply, &mut gone);
    } else {
        let kept = take_kept(set, left, limits, random);
        reply_members(&mut cx.reply, set);
        set.iter().for_each(|member| gone.note(member));
        *set = kept;
    }
    let emptied = entry.commit(popped as u64);
    cx.notify(NotifyFlags::SET, "spop", &args[1]);
    if emptied {
        cx.notify(NotifyFlags::GENERIC, "del", &args[1]);
        let in_background = cx.core.config.lazyfree_lazy_server_del;
        cx.journal_as_removal(&args[1], in_background);
    }
    gone.record(cx, &args[1]);
    Ok(())
}

/// Members that a set has lost to chance, kept while the journal is on.
struct Gone(Option<Vec<Vec<u8>>>);

impl Gone {
    /// The most members that one SREM names.
    const AT_ONCE: usize = 1024;

    fn note(&mut self, member: Element<'_>) {
        if let Some(gone) = &mut self.0 {
            gone.push(member.to_vec());
        }
    }

    fn record(self, cx: &mut Context<'_>, key: &[u8]) {
        for members in self.0.unwrap_or_default().chunks(Gone::AT_ONCE) {
            let words = [&b"SREM"[..], key].into_iter().chain(members.iter().map(Vec::as_slice));
            cx.journal_as(&words.collect::<Vec<_>>());
        }
    }
}

/// Every member, in the order in which SUNION would have them.
fn reply_all(reply: &mut Reply<'_>, set: &Set, limits: SetLimits) {
    match set.form() {
        SetForm::Large(_) => reply_members(reply, set),
        _ => reply_members(reply, &union_of(&[set], limits)),
    }
}

/// Whether what is left of a set is too much for its small forms: such a set is not made anew, so that scans of it go on.
fn stays_large(set: &Set, left: usize, limits: SetLimits) -> bool {
    matches!(set.form(), SetForm::Large(_)) && left as u64 > limits.listpack_entries
}

/// When at least this many times as many members go as stay, it is those that stay that are drawn.
const KEEP_FACTOR: usize = 5;

fn pop_few(set: &mut Set, count: usize, random: &mut Random, reply: &mut Reply<'_>, gone: &mut Gone) {
    if !matches!(set.form(), SetForm::Small(_)) {
        for member in (0..count).filter_map(|_| pop(set, random, reply)) {
            gone.note(member.element());
        }
        return;
    }
    let total = set.len();
    let mut drawn = Vec::with_capacity(count);
    choose(set.iter(), count, total, random, |member| drawn.push(member.to_vec()));
    for member in drawn {
        let member = Element::Bytes(&member);
        reply_element(reply, member);
        set.remove(member);
        gone.note(member);
    }
}

/// Takes `count` random members out into a set of their own, which begins in a small form: so does the set that stays
/// behind in Redis.
fn take_kept(set: &mut Set, count: usize, limits: SetLimits, random: &mut Random) -> Set {
    let mut kept = if matches!(set.form(), SetForm::Integers(_)) { Set::default() } else { Set::small() };
    let total = set.len();
    choose(set.iter(), count, total, random, |member| {
        kept.add(member, limits);
    });
    kept.iter().for_each(|member| {
        set.remove(member);
    });
    kept
}

/// SRANDMEMBER key [count]: one random member or an array of them.
fn srandmember(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let count = args.get(2).map(SampleCount::parse).transpose()?;
    let key = cx.key(&args[1]);
    let set = cx.core.keyspace.read_as::<Set>(cx.caller.db as usize, key)?;
    match (set, count) {
        (set, None) => {
            reply_element_or_null(&mut cx.reply, set.and_then(|set| set.random(&mut cx.core.random)));
        }
        (None, Some(_)) => cx.reply.array(0),
        (Some(set), Some(SampleCount::Repeated(count))) => {
            cx.reply.array(usize::try_from(count).unwrap_or(usize::MAX));
            if count > 1 && matches!(set.form(), SetForm::Small(_)) {
                draw(set.iter(), count, &mut cx.core.random, |member| {
                    reply_element(&mut cx.reply, member);
                    while_wanted(&cx.reply)
                });
                return Ok(());
            }
            for member in (0..count).filter_map(|_| set.random(&mut cx.core.random)) {
                reply_element(&mut cx.reply, member);
                if cx.reply.is_cut_off() {
                    break;
                }
            }
        }
        (Some(set), Some(SampleCount::Distinct(count))) => {
            let count = usize::try_from(count).map_or(set.len(), |count| count.min(set.len()));
            reply_distinct(&mut cx.reply, set, count, &mut cx.core.random);
        }
    }
    Ok(())
}

fn reply_distinct(reply: &mut Reply<'_>, set: &Set, count: usize, random: &mut Random) {
    reply.array(count);
    if matches!(set.form(), SetForm::Large(_)) && is_sparse(count, set.len()) {
        let mut seen: HashSet<&[u8], ahash::RandomState> = HashSet::default();
        while seen.len() < count
            && let Some(Element::Bytes(member)) = set.random(random)
        {
            if seen.insert(member) {
                reply.bulk(member);
            }
        }
    } else {
        choose(set.iter(), count, set.len(), random, |member| reply_element(reply, member));
    }
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "sadd",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::INSERT),
        group: Group::Set,
        since: "1.0.0",
        summary: "Adds members to a set.",
        complexity: "O(N) in the number of members named",
        syntax: "key member [member ...]",
        run: Run::OnOwner(sadd),
    },
    CommandSpec {
        name: "srem",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, Access::REMOVE_SOME),
        group: Group::Set,
        since: "1.0.0",
        summary: "Removes members of a set.",
        complexity: "O(N) in the number of members named",
        syntax: "key member [member ...]",
        run: Run::OnOwner(srem),
    },
    CommandSpec {
        name: "smove",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::Pair(1, Access::TAKE, Access::INSERT),
        group: Group::Set,
        since: "1.0.0",
        summary: "Moves a member from one set to another.",
        complexity: "O(1)",
        syntax: "source destination member",
        run: Run::OnOwner(smove),
    },
    CommandSpec {
        name: "sismember",
        arity: Arity::Exactly(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::LOOK),
        group: Group::Set,
        since: "1.0.0",
        summary: "Says whether a set has a member.",
        complexity: "O(1)",
        syntax: "key member",
        run: Run::OnOwner(sismember),
    },
    CommandSpec {
        name: "smismember",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::READ),
        group: Group::Set,
        since: "6.2.0",
        summary: "Says of several members whether a set has them.",
        complexity: "O(N) in the number of members named",
        syntax: "key member [member ...]",
        run: Run::OnOwner(smismember),
    },
    CommandSpec {
        name: "scard",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::LOOK),
        group: Group::Set,
        since: "1.0.0",
        summary: "Counts the members of a set.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(scard),
    },
    CommandSpec {
        name: "smembers",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Set,
        since: "1.0.0",
        summary: "Returns every member of a set.",
        complexity: "O(N) in the number of members",
        syntax: "key",
        run: Run::OnOwner(smembers),
    },
    CommandSpec {
        name: "sscan",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Set,
        since: "2.8.0",
        summary: "Walks over the members of a set, some with each call.",
        complexity: "O(1) for a call, O(N) in the number of members for the whole walk",
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        run: Run::OnOwner(sscan),
    },
    CommandSpec {
        name: "spop",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::FAST),
        keys: Keys::At(1, Access::TAKE),
        group: Group::Set,
        since: "1.0.0",
        summary: "Removes random members of a set and returns them.",
        complexity: "O(1) without a count, O(N) in the count with one",
        syntax: "key [count]",
        run: Run::OnOwner(spop),
    },
    CommandSpec {
        name: "srandmember",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Set,
        since: "1.0.0",
        summary: "Returns members of a set drawn at random.",
        complexity: "O(1) without a count, O(N) in the count with one",
        syntax: "key [count]",
        run: Run::OnOwner(srandmember),
    },
];
