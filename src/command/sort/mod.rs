//! SORT and SORT_RO: the elements of a list, a set or a sorted set in order, or what keys named after them hold.
//!
//! `options` reads what is asked for, `pattern` looks values up. The elements are copied out first, because looking up the
//! values of other keys may change the keyspace (expiry, access dates); sorting moves indexes only.
//!
//! Text is compared byte by byte up to a NUL, as Redis does in the C locale.

mod options;
mod pattern;

use std::cmp::Ordering;

use super::arguments::{is_word, text};
use super::context::Context;
use super::error::CommandError;
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::base::number::parse_f64;
use crate::config::NotifyFlags;
use crate::keyspace::list::{DEFAULT_SETTING, End, Incoming, List};
use crate::keyspace::listpack::Digits;
use crate::keyspace::sorted_set::SortedSet;
use crate::keyspace::{Object, StringValue, Value, ValueKind};
use crate::resp::{Args, Reply};
use options::Options;
use pattern::{Found, Pattern};

/// SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA] [STORE destination].
fn sort(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    run(cx, args, true)
}

/// SORT_RO: SORT without STORE.
fn sort_ro(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    run(cx, args, false)
}

fn run(cx: &mut Context<'_>, args: &Args<'_>, may_store: bool) -> CommandResult {
    let mut options = Options::parse(args, may_store, cx.core.cluster.enabled)?;
    let (elements, wanted) = gather(cx, &args[1], &mut options)?;
    let order = if options.unsorted { Vec::new() } else { sorted(cx, &elements, &options, wanted.end)? };
    let chosen = wanted.map(|place| elements.get(order.get(place).copied().unwrap_or(place)));
    match options.store {
        None => reply(cx, chosen, &options.get),
        Some(destination) => store(cx, chosen, &options.get, destination),
    }
    Ok(())
}

// ---- elements -----------------------------------------------------------------------------------------------------------

/// Texts one behind the other.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }
}

/// Copies the elements out: all of them, or those that are wanted where the order of the key stays. Also says at which
/// places the wanted ones stand once the elements are in order.
///
/// # Errors
/// `WrongType`.
fn gather(
    cx: &mut Context<'_>,
    name: &[u8],
    options: &mut Options<'_>,
) -> Result<(Texts, std::ops::Range<usize>), CommandError> {
    let (db, key) = (cx.db(), cx.key(name));
    let mut texts = Texts::default();
    let mut digits = Digits::new();
    let object = match cx.core.keyspace.read(db, key) {
        None => return Ok((texts, 0..0)),
        Some(Value::Object(object)) => object,
        Some(Value::String(_)) => return Err(CommandError::WrongType),
    };
    let is_sorted_set = object.kind() == ValueKind::SortedSet;
    match object {
        Object::List(list) if options.unsorted => {
            let wanted = options.range(list.len());
            let items = match options.descending {
                false => list.range(wanted.start, wanted.len()),
                true => list.range(list.len() - wanted.end, wanted.len()),
            };
            let mut push = |item: crate::keyspace::list::Item<'_>| texts.push(item.as_bytes(&mut digits));
            if options.descending { items.rev().for_each(&mut push) } else { items.for_each(&mut push) }
        }
        Object::SortedSet(set) if options.unsorted => {
            let (len, wanted) = (set.len(), options.range(set.len()));
            let ranks = if options.descending { len - wanted.end..len - wanted.start } else { wanted };
            let members = set.walk(ranks, options.descending);
            members.for_each(|(member, _)| texts.push(member.as_bytes(&mut digits)));
        }
        Object::List(list) => list.iter().for_each(|item| texts.push(item.as_bytes(&mut digits))),
        Object::SortedSet(set) => set.iter().for_each(|(member, _)| texts.push(member.as_bytes(&mut digits))),
        Object::Set(set) => {
            // What is stored must not depend on the order in which this set happens to have its members.
            if options.unsorted && (options.store.is_some() || cx.core.in_script) {
                (options.unsorted, options.alpha, options.by) = (false, true, None);
            }
            set.iter().for_each(|member| texts.push(member.as_bytes(&mut digits)));
            let wanted = options.range(texts.len());
            return Ok((texts, wanted));
        }
        Object::Hash(_) | Object::Stream(_) => return Err(CommandError::WrongType),
    }
    if is_sorted_set {
        enlarge(cx, name);
    }
    let wanted = if options.unsorted { 0..texts.len() } else { options.range(texts.len()) };
    Ok((texts, wanted))
}

/// Redis makes a sorted set large for good before it sorts it, and OBJECT ENCODING tells.
fn enlarge(cx: &mut Context<'_>, name: &[u8]) {
    let (db, key, limits) = (cx.db(), cx.key(name), super::sorted_sets::limits(cx));
    let mut entry = cx.core.keyspace.write(db, key);
    if let Ok(Some(set)) = entry.collection_mut::<SortedSet>() {
        set.expect(usize::MAX, 0, limits);
    }
}

// ---- order --------------------------------------------------------------------------------------------------------------

/// What the elements are sorted by, in the order of the elements.
enum Weights {
    Numbers(Vec<f64>),
    /// The elements themselves.
    Own,
    /// Texts elsewhere; the one at each element's index, if it has one.
    Texts(Texts, Vec<Option<usize>>),
}

/// Indexes of the elements in order, at least for the first `wanted` places.
///
/// # Errors
/// Something that is to be sorted by number is none.
fn sorted(
    cx: &mut Context<'_>,
    elements: &Texts,
    options: &Options<'_>,
    wanted: usize,
) -> Result<Vec<usize>, CommandError> {
    let weights = match (options.alpha, &options.by) {
        (true, None) => Weights::Own,
        (true, Some(by)) => texts(cx, elements, by),
        (false, by) => Weights::Numbers(numbers(cx, elements, by.as_ref())?),
    };
    let exact = options.store.is_some();
    let compare = |one: &usize, other: &usize| {
        let ordering = weights.compare(elements, *one, *other, exact);
        // Equal ones stay in the order in which they came.
        if options.descending { ordering.reverse() } else { ordering }.then(one.cmp(other))
    };
    let mut order: Vec<usize> = (0..elements.len()).collect();
    if wanted < order.len() {
        order.select_nth_unstable_by(wanted, compare);
        order.truncate(wanted);
    }
    order.sort_unstable_by(compare);
    Ok(order)
}

impl Weights {
    /// Compares two elements. `exact`: beyond a NUL, too, so that what is stored is the same on every node.
    fn compare(&self, elements: &Texts, one: usize, other: usize, exact: bool) -> Ordering {
        let compare = |one: &[u8], other: &[u8]| if exact { one.cmp(other) } else { text(one).cmp(text(other)) };
        match self {
            Weights::Numbers(numbers) => {
                let ordering = numbers[one].partial_cmp(&numbers[other]).unwrap_or(Ordering::Equal);
                ordering.then_with(|| elements.get(one).cmp(elements.get(other)))
            }
            Weights::Own => compare(elements.get(one), elements.get(other)),
            Weights::Texts(texts, places) => match (places[one], places[other]) {
                (Some(one), Some(other)) => compare(texts.get(one), texts.get(other)),
                (one, other) => one.is_some().cmp(&other.is_some()),
            },
        }
    }
}

/// The numbers that elements, or the values that a pattern leads to, spell; 0 where there is no value.
fn numbers(cx: &mut Context<'_>, elements: &Texts, by: Option<&Pattern<'_>>) -> Result<Vec<f64>, CommandError> {
    let (db, mut name, mut digits) = (cx.db(), Vec::new(), Digits::new());
    let mut all_spelled = true;
    let mut number = |text: &[u8]| {
        let number = spelled(text);
        all_spelled &= number.is_some();
        number.unwrap_or(0.0)
    };
    let numbers = (0..elements.len()).map(|index| {
        let element = elements.get(index);
        match by {
            None => number(element),
            Some(by) => match by.look_up(&mut cx.core.keyspace, db, element, &mut name) {
                Some(found) => number(found.as_bytes(&mut digits)),
                None => 0.0,
            },
        }
    });
    let numbers = numbers.collect();
    if all_spelled {
        Ok(numbers)
    } else {
        Err(CommandError::text_static("ERR One or more scores can't be converted into double"))
    }
}

/// A number as C's `strtod` reads it: after white space, up to a NUL. An empty text is 0.
fn spelled(bytes: &[u8]) -> Option<f64> {
    let text = text(bytes);
    if text.is_empty() {
        return Some(0.0);
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let begin = text.iter().position(|byte| !is_space(byte))?;
    parse_f64(&text[begin..]).filter(|number| !number.is_subnormal())
}

/// The texts that a pattern leads to.
fn texts(cx: &mut Context<'_>, elements: &Texts, by: &Pattern<'_>) -> Weights {
    let (db, mut name, mut digits) = (cx.db(), Vec::new(), Digits::new());
    let mut texts = Texts::default();
    let places = (0..elements.len()).map(|index| {
        let found = by.look_up(&mut cx.core.keyspace, db, elements.get(index), &mut name)?;
        texts.push(found.as_bytes(&mut digits));
        Some(texts.len() - 1)
    });
    let places = places.collect();
    Weights::Texts(texts, places)
}

// ---- results ------------------------------------------------------------------------------------------------------------

/// Replies the elements, or for each what the patterns lead to.
fn reply<'e>(cx: &mut Context<'_>, chosen: impl ExactSizeIterator<Item = &'e [u8]>, get: &[Pattern<'_>]) {
    let (db, mut name) = (cx.db(), Vec::new());
    cx.reply.array(chosen.len() * get.len().max(1));
    for element in chosen {
        if get.is_empty() {
            cx.reply.bulk(element);
        }
        for pattern in get {
            write_found(&mut cx.reply, pattern.look_up(&mut cx.core.keyspace, db, element, &mut name));
        }
    }
}

fn write_found(reply: &mut Reply<'_>, found: Option<Found<'_>>) {
    match found {
        None => reply.null(),
        Some(Found::String(StringValue::Shared(bytes))) => reply.bulk_shared(bytes),
        Some(found) => reply.bulk(found.as_bytes(&mut Digits::new())),
    }
}

/// Puts a list of them in place of what is at `destination`, and replies its length. An empty one removes the key.
fn store<'e>(
    cx: &mut Context<'_>,
    chosen: impl ExactSizeIterator<Item = &'e [u8]>,
    get: &[Pattern<'_>],
    destination: &[u8],
) {
    let (db, mut name, mut digits) = (cx.db(), Vec::new(), Digits::new());
    let setting = cx.core.config.list_max_listpack_size;
    // In nodes of the default size, whatever the setting: so does Redis, and it shows in the encoding later.
    let mut list = List::large(DEFAULT_SETTING);
    for element in chosen {
        if get.is_empty() {
            list.push(End::Back, Incoming::copied(element));
        }
        for pattern in get {
            let found = pattern.look_up(&mut cx.core.keyspace, db, element, &mut name);
            let shared = match found {
                Some(Found::String(StringValue::Shared(bytes))) => Some(bytes.clone()),
                _ => None,
            };
            let bytes = found.map_or(&b""[..], |found| found.as_bytes(&mut digits));
            list.push(End::Back, Incoming { bytes, shared });
        }
    }
    list.built(setting);
    let count = list.len();
    let key = cx.key(destination);
    let mut entry = cx.core.keyspace.write(db, key);
    if count > 0 {
        entry.set_collection(list);
        entry.set_expiry(None);
        // Storing has counted one.
        entry.commit(count as u64 - 1);
        cx.notify(NotifyFlags::LIST, "sortstore", destination);
    } else if entry.remove() {
        cx.notify(NotifyFlags::GENERIC, "del", destination);
    }
    cx.reply.integer(count as i64);
}

// ---- rows ---------------------------------------------------------------------------------------------------------------

/// The key that is sorted, and the one behind the last STORE.
fn keys(args: &Args<'_>, found: &mut Vec<usize>) -> Result<(), CommandError> {
    let mut destination = None;
    let mut index = 2;
    while let Some(word) = args.get(index) {
        index += match word {
            _ if is_word(word, "LIMIT") => 2,
            _ if is_word(word, "GET") || is_word(word, "BY") => 1,
            _ => {
                if is_word(word, "STORE") && index + 1 < args.len() {
                    destination = Some(index + 1);
                }
                0
            }
        } + 1;
    }
    found.push(1);
    found.extend(destination);
    Ok(())
}

/// The key that is sorted.
fn key(_args: &Args<'_>, found: &mut Vec<usize>) -> Result<(), CommandError> {
    found.push(1);
    Ok(())
}

const SORT: CommandSpec = CommandSpec {
    name: "sort",
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::DANGEROUS).and(Flags::SORTS),
    keys: Keys::AtAndFound { at: 1, access: Access::READ, finder: keys, more: &[Access::READ, Access::WRITE] },
    group: Group::Generic,
    since: "1.0.0",
    summary: "Sorts a list, a set or a sorted set, and returns or stores the result.",
    complexity: "O(N+M*log(M)) with N elements of which M are returned, O(N) where the order stays",
    syntax: "key [BY by-pattern] [LIMIT offset count] [GET get-pattern [GET get-pattern ...]] [ASC | DESC] [ALPHA] \
             [STORE destination]",
    run: Run::OnOwner(sort),
};

pub const COMMANDS: &[CommandSpec] = &[
    SORT,
    CommandSpec {
        name: "sort_ro",
        flags: Flags::READONLY.and(Flags::DANGEROUS).and(Flags::SORTS),
        keys: Keys::AtAndFound { at: 1, access: Access::READ, finder: key, more: &[Access::READ] },
        since: "7.0.0",
        summary: "Returns a list, a set or a sorted set in order.",
        syntax: "key [BY by-pattern] [LIMIT offset count] [GET get-pattern [GET get-pattern ...]] [ASC | DESC] [ALPHA]",
        run: Run::OnOwner(sort_ro),
        ..SORT
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::ArgsBuf;

    #[test]
    fn numbers_are_read_as_strtod_does() {
        for (text, number) in [
            (&b""[..], Some(0.0)),
            (b"12", Some(12.0)),
            (b" \t\n12", Some(12.0)),
            (b"12 ", None),
            (b" ", None),
            (b"12\0abc", Some(12.0)),
            (b"\0abc", Some(0.0)),
            (b"-inf", Some(f64::NEG_INFINITY)),
            (b"0x10", Some(16.0)),
            (b"nan", None),
            (b"1e400", None),
            (b"1e-310", None),
            (b"abc", None),
        ] {
            assert_eq!(spelled(text), number, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn the_last_store_names_the_second_key() {
        let found = |line: &str| {
            let args: ArgsBuf = line.split(' ').collect();
            let mut found = Vec::new();
            keys(&args.as_args(), &mut found).unwrap();
            found
        };
        assert_eq!(found("sort k"), [1]);
        assert_eq!(found("sort k store a"), [1, 3]);
        assert_eq!(found("sort k store a desc STORE b"), [1, 6]);
        assert_eq!(found("sort k by store get store limit store store"), [1]);
        assert_eq!(found("sort k alpha store"), [1]);
    }
}
