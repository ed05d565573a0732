//! Lists: adding, reading and changing elements. Taking them from an end, blocking or not, is in `pops`, moving them
//! from list to list in `moves`, searching for them in `positions`.

pub mod moves;
pub mod pops;
pub mod positions;

use super::arguments::{integer, is_word};
use super::context::Context;
use super::elements::reply_element;
use super::error::CommandError;
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::config::NotifyFlags;
use crate::keyspace::list::{End, Incoming, Item, List, Side};
use crate::resp::{Args, Reply};

// ---- what the families share --------------------------------------------------------------------------------------------

/// Writes an element as a bulk string.
#[inline]
fn write_item(reply: &mut Reply<'_>, item: Item<'_>) {
    match item {
        Item::Packed(element) => reply_element(reply, element),
        Item::Plain(bytes) => reply.bulk_shared(bytes),
    }
}

/// The argument at `index` as an element.
#[inline]
fn incoming<'a>(args: &'a Args<'_>, index: usize) -> Incoming<'a> {
    Incoming { bytes: &args[index], shared: args.shared(index) }
}

/// The event of an element added at an end.
fn push_event(end: End) -> &'static str {
    match end {
        End::Front => "lpush",
        End::Back => "rpush",
    }
}

/// Counts one change less: of a change that counts for two keys but is one, or for none though it touches a key.
fn uncount_one(cx: &mut Context<'_>) {
    let dirty = &mut cx.core.keyspace.stats.dirty;
    *dirty = dirty.saturating_sub(1);
}

/// First index and length of what `start` and `stop`, both inclusive and negative from the end, mean in a list of `len`
/// elements.
pub(super) fn span(start: i64, stop: i64, len: usize) -> (usize, usize) {
    let forward = |index: i64| if index < 0 { index.saturating_add(len as i64) } else { index };
    let start = forward(start).max(0);
    let stop = forward(stop).min(len as i64 - 1);
    if start > stop {
        return (0, 0);
    }
    // Both are within the list now.
    (start as usize, (stop - start) as usize + 1)
}

// ---- adding -------------------------------------------------------------------------------------------------------------

/// LPUSH key element [element ...]: the new length.
fn lpush(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    push(cx, args, End::Front, true)
}

/// RPUSH key element [element ...].
fn rpush(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    push(cx, args, End::Back, true)
}

/// LPUSHX key element [element ...]: only to a list that is there.
fn lpushx(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    push(cx, args, End::Front, false)
}

/// RPUSHX key element [element ...].
fn rpushx(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    push(cx, args, End::Back, false)
}

fn push(cx: &mut Context<'_>, args: &Args<'_>, end: End, create: bool) -> CommandResult {
    let (db, key, setting) = (cx.db(), cx.key(&args[1]), cx.core.config.list_max_listpack_size);
    let mut entry = cx.core.keyspace.write(db, key);
    if !create && !entry.exists() {
        cx.reply.integer(0);
        return Ok(());
    }
    let list = entry.collection_or_new::<List>()?;
    let added = args.len() - 2;
    let bytes = args.iter().skip(2).map(<[u8]>::len).fold(0, usize::saturating_add);
    list.grow_for(added, bytes, setting);
    (2..args.len()).for_each(|index| list.push(end, incoming(args, index)));
    cx.reply.integer(list.len() as i64);
    entry.commit(added as u64);
    cx.notify(NotifyFlags::LIST, push_event(end), &args[1]);
    Ok(())
}

/// LINSERT key BEFORE|AFTER pivot element: the new length, -1 without the pivot, 0 without the list.
fn linsert(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let side = match &args[2] {
        word if is_word(word, "AFTER") => Side::After,
        word if is_word(word, "BEFORE") => Side::Before,
        _ => return Err(CommandError::Syntax),
    };
    let (db, key, setting) = (cx.db(), cx.key(&args[1]), cx.core.config.list_max_listpack_size);
    let mut entry = cx.core.keyspace.write(db, key);
    let Some(list) = entry.collection_mut::<List>()? else {
        cx.reply.integer(0);
        return Ok(());
    };
    // Before the pivot is found: the encoding changes even if it is not, as in Redis.
    list.grow_for(1, args[4].len(), setting);
    if !list.insert(&args[3], side, incoming(args, 4)) {
        cx.reply.integer(-1);
        return Ok(());
    }
    cx.reply.integer(list.len() as i64);
    entry.commit(1);
    cx.notify(NotifyFlags::LIST, "linsert", &args[1]);
    Ok(())
}

// ---- reading ------------------------------------------------------------------------------------------------------------

/// LLEN key.
fn llen(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (db, key) = (cx.db(), cx.key(&args[1]));
    let length = cx.core.keyspace.read_as::<List>(db, key)?.map_or(0, List::len);
    cx.reply.integer(length as i64);
    Ok(())
}

/// LINDEX key index: null when there is no such element. A missing key is answered before the index is looked at.
fn lindex(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (db, key) = (cx.db(), cx.key(&args[1]));
    let item = match cx.core.keyspace.read_as::<List>(db, key)? {
        None => None,
        Some(list) => list.get(integer(&args[2])?),
    };
    match item {
        Some(item) => write_item(&mut cx.reply, item),
        None => cx.reply.null(),
    }
    Ok(())
}

/// LRANGE key start stop.
fn lrange(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (start, stop) = (integer(&args[2])?, integer(&args[3])?);
    let (db, key) = (cx.db(), cx.key(&args[1]));
    let Some(list) = cx.core.keyspace.read_as::<List>(db, key)? else {
        cx.reply.array(0);
        return Ok(());
    };
    let (first, count) = span(start, stop, list.len());
    cx.reply.array(count);
    list.range(first, count).for_each(|item| write_item(&mut cx.reply, item));
    Ok(())
}

// ---- changing -----------------------------------------------------------------------------------------------------------

/// LSET key index element. Of the errors, a missing key comes first.
fn lset(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (db, key, setting) = (cx.db(), cx.key(&args[1]), cx.core.config.list_max_listpack_size);
    let mut entry = cx.core.keyspace.write(db, key);
    let list = entry.collection_mut::<List>()?.ok_or(CommandError::NoSuchKey)?;
    let index = integer(&args[2])?;
    list.grow_for(1, args[3].len(), setting);
    if !list.set(index, incoming(args, 3)) {
        return Err(CommandError::IndexOutOfRange);
    }
    list.shrunk(setting);
    entry.commit(1);
    cx.reply.ok();
    cx.notify(NotifyFlags::LIST, "lset", &args[1]);
    Ok(())
}

/// LREM key count element: removes the first `count` of them, the last ones when negative, all when 0; how many it removed.
fn lrem(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let count = integer(&args[2])?;
    let (nearest, max) = match usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) {
        0 => (End::Front, usize::MAX),
        max if count < 0 => (End::Back, max),
        max => (End::Front, max),
    };
    let (db, key, setting) = (cx.db(), cx.key(&args[1]), cx.core.config.list_max_listpack_size);
    let mut entry = cx.core.keyspace.write(db, key);
    let Some(list) = entry.collection_mut::<List>()? else {
        cx.reply.integer(0);
        return Ok(());
    };
    let removed = list.remove_matching(&args[3], nearest, max);
    cx.reply.integer(removed as i64);
    if removed > 0 {
        list.shrunk(setting);
        let gone = entry.commit(removed as u64);
        cx.notify(NotifyFlags::LIST, "lrem", &args[1]);
        if gone {
            cx.notify(NotifyFlags::GENERIC, "del", &args[1]);
        }
    }
    Ok(())
}

/// LTRIM key start stop: keeps that part only.
fn ltrim(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let (start, stop) = (integer(&args[2])?, integer(&args[3])?);
    let (db, key, setting) = (cx.db(), cx.key(&args[1]), cx.core.config.list_max_listpack_size);
    let mut entry = cx.core.keyspace.write(db, key);
    let Some(list) = entry.collection_mut::<List>()? else {
        cx.reply.ok();
        return Ok(());
    };
    let before = list.len();
    let (first, kept) = span(start, stop, before);
    list.remove_range(first + kept, before - first - kept);
    list.remove_range(0, first);
    list.shrunk(setting);
    let removed = before - kept;
    // The key is touched even when nothing is cut off.
    let gone = entry.commit(removed.max(1) as u64);
    if removed == 0 {
        uncount_one(cx);
    }
    cx.notify(NotifyFlags::LIST, "ltrim", &args[1]);
    if gone {
        cx.notify(NotifyFlags::GENERIC, "del", &args[1]);
    }
    cx.reply.ok();
    Ok(())
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "lpush",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::INSERT),
        group: Group::List,
        since: "1.0.0",
        summary: "Adds elements at the front of a list, which is made if need be.",
        complexity: "O(N) in the number of elements added",
        syntax: "key element [element ...]",
        run: Run::OnOwner(lpush),
    },
    CommandSpec {
        name: "rpush",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::INSERT),
        group: Group::List,
        since: "1.0.0",
        summary: "Adds elements at the end of a list, which is made if need be.",
        complexity: "O(N) in the number of elements added",
        syntax: "key element [element ...]",
        run: Run::OnOwner(rpush),
    },
    CommandSpec {
        name: "lpushx",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::INSERT),
        group: Group::List,
        since: "2.2.0",
        summary: "Adds elements at the front of a list that is there.",
        complexity: "O(N) in the number of elements added",
        syntax: "key element [element ...]",
        run: Run::OnOwner(lpushx),
    },
    CommandSpec {
        name: "rpushx",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        keys: Keys::At(1, Access::INSERT),
        group: Group::List,
        since: "2.2.0",
        summary: "Adds elements at the end of a list that is there.",
        complexity: "O(N) in the number of elements added",
        syntax: "key element [element ...]",
        run: Run::OnOwner(rpushx),
    },
    CommandSpec {
        name: "linsert",
        arity: Arity::Exactly(5),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::At(1, Access::INSERT),
        group: Group::List,
        since: "2.2.0",
        summary: "Inserts an element beside another one.",
        complexity: "O(N) in the number of elements in front of the other one",
        syntax: "key <BEFORE | AFTER> pivot element",
        run: Run::OnOwner(linsert),
    },
    CommandSpec {
        name: "llen",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::LOOK),
        group: Group::List,
        since: "1.0.0",
        summary: "Returns the length of a list.",
        complexity: "O(1)",
        syntax: "key",
        run: Run::OnOwner(llen),
    },
    CommandSpec {
        name: "lindex",
        arity: Arity::Exactly(3),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::List,
        since: "1.0.0",
        summary: "Returns the element at an index.",
        complexity: "O(1) near the ends, else O(N/M) in the length N of the list, of which M fit into one node",
        syntax: "key index",
        run: Run::OnOwner(lindex),
    },
    CommandSpec {
        name: "lrange",
        arity: Arity::Exactly(4),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::List,
        since: "1.0.0",
        summary: "Returns a part of a list.",
        complexity: "O(N) in the number of elements returned, and finding the first one",
        syntax: "key start stop",
        run: Run::OnOwner(lrange),
    },
    CommandSpec {
        name: "lset",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::At(1, Access::CHANGE),
        group: Group::List,
        since: "1.0.0",
        summary: "Replaces the element at an index.",
        complexity: "O(1) near the ends, else O(N/M) in the length N of the list, of which M fit into one node",
        syntax: "key index element",
        run: Run::OnOwner(lset),
    },
    CommandSpec {
        name: "lrem",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE,
        keys: Keys::At(1, Access::REMOVE_SOME),
        group: Group::List,
        since: "1.0.0",
        summary: "Removes elements that are equal to one.",
        complexity: "O(N) in the length of the list",
        syntax: "key count element",
        run: Run::OnOwner(lrem),
    },
    CommandSpec {
        name: "ltrim",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE,
        keys: Keys::At(1, Access::REMOVE_SOME),
        group: Group::List,
        since: "1.0.0",
        summary: "Removes what is outside of a part of a list.",
        complexity: "O(N) in the number of elements removed",
        syntax: "key start stop",
        run: Run::OnOwner(ltrim),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_cut_at_the_ends_of_the_list() {
        let cases = [
            (0, -1, 5, (0, 5)),
            (1, 3, 5, (1, 3)),
            (-3, -2, 5, (2, 2)),
            (-100, 1, 5, (0, 2)),
            (3, 100, 5, (3, 2)),
            (3, 2, 5, (0, 0)),
            (5, 9, 5, (0, 0)),
            (0, -6, 5, (0, 0)),
            (0, 0, 0, (0, 0)),
            (i64::MIN, i64::MAX, 5, (0, 5)),
            (i64::MAX, i64::MAX, 5, (0, 0)),
            (i64::MIN, i64::MIN, 5, (0, 0)),
        ];
        for (start, stop, len, expected) in cases {
            assert_eq!(span(start, stop, len), expected, "{start} {stop} {len}");
        }
    }
}
