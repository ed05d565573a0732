//! Values out of their bytes.
//!
//! Called on the core that owns the key, with what the reader cut out of a file or a client sent with RESTORE. A value comes
//! out in the form that Redis gives it when it loads it: what is packed stays packed unless it has too many elements for the
//! configuration of today, what was stored element by element is packed if it is small.
//!
//! Strings and most collections are read here, `packed` has the formats of old versions, `stream` streams, `sliced` what is too large to be
//! made at once.

mod packed;
mod sliced;
mod stream;

use bytes::Bytes;

use super::cursor::{Cursor, Text};
use super::error::RdbError;
use super::grammar::{SCORE_INFINITY, SCORE_NAN, SCORE_NEGATIVE_INFINITY};
use super::types::*;
use crate::base::number::parse_f64;
use crate::config::Config;
use crate::keyspace::hash::{Hash, HashLimits};
use crate::keyspace::intset::IntSet;
use crate::keyspace::list::{End, Incoming, List};
use crate::keyspace::listpack::{Digits, Element, Listpack};
use crate::keyspace::set::{Set, SetLimits};
use crate::keyspace::sorted_set::{Limits as SortedSetLimits, SortedSet};
use crate::keyspace::{Collection, LoadedValue};

pub use sliced::Sliced;

/// When collections leave their small forms, by the configuration.
#[derive(Clone, Copy, Debug)]
pub struct LoadLimits {
    pub hash: HashLimits,
    pub set: SetLimits,
    pub sorted_set: SortedSetLimits,
    /// `list-max-listpack-size`.
    pub list_setting: i32,
}

impl LoadLimits {
    pub fn of(config: &Config) -> LoadLimits {
        LoadLimits {
            hash: HashLimits { entries: config.hash_max_listpack_entries, value_bytes: config.hash_max_listpack_value },
            set: SetLimits {
                intset_entries: config.set_max_intset_entries,
                listpack_entries: config.set_max_listpack_entries,
                listpack_value_bytes: config.set_max_listpack_value,
            },
            sorted_set: SortedSetLimits {
                entries: config.zset_max_listpack_entries,
                value_bytes: config.zset_max_listpack_value,
            },
            list_setting: config.list_max_listpack_size,
        }
    }
}

/// The value of type `kind` that `bytes` are, all of them. `None`: a collection without elements, which Redis passes over
/// when it loads a file and refuses when a client sends it.
///
/// # Errors
/// The bytes are no such value; the offset counts from their beginning.
#[inline]
pub fn decode_value<'a>(kind: u8, bytes: &'a [u8], limits: &LoadLimits) -> Result<Option<LoadedValue<'a>>, RdbError> {
    let mut cursor = Cursor::new(bytes);
    let value = if kind == STRING { Some(string(&mut cursor)?) } else { collection(kind, &mut cursor, limits)? };
    cursor.finish()?;
    Ok(value)
}

fn string<'a>(cursor: &mut Cursor<'a>) -> Result<LoadedValue<'a>, RdbError> {
    Ok(match cursor.text()? {
        Text::Integer(integer) => LoadedValue::Integer(integer.into()),
        Text::Bytes(bytes) => LoadedValue::Bytes(bytes),
    })
}

fn collection(
    kind: u8,
    cursor: &mut Cursor<'_>,
    limits: &LoadLimits,
) -> Result<Option<LoadedValue<'static>>, RdbError> {
    fn loaded<T: Collection>(collection: Option<T>) -> Option<LoadedValue<'static>> {
        collection.map(|collection| LoadedValue::Object(Box::new(collection.into_object())))
    }
    Ok(match kind {
        LIST => loaded(list(cursor, limits)?),
        SET => loaded(set(cursor, limits)?),
        SORTED_SET => loaded(sorted_set(cursor, score_of_text, limits)?),
        SORTED_SET_2 => loaded(sorted_set(cursor, |cursor| cursor.array().map(f64::from_le_bytes), limits)?),
        HASH => loaded(hash(cursor, limits, |_| Ok(()))?),
        HASH_WITH_EXPIRIES => loaded(hash(cursor, limits, no_expiry)?),
        HASH_ZIPMAP => loaded(hash_of_zipmap(cursor, limits)?),
        LIST_ZIPLIST => loaded(list_of_ziplist(cursor, limits)?),
        SET_INTSET => loaded(Some(set_of_intset(cursor, limits)?)),
        SORTED_SET_ZIPLIST => loaded(sorted_set_of(listpack_of_ziplist(cursor)?, cursor, limits)?),
        HASH_ZIPLIST => loaded(hash_of(listpack_of_ziplist(cursor)?, cursor, limits)?),
        LIST_QUICKLIST => loaded(quicklist(cursor, limits, |_| Ok(NODE_PACKED), listpack_of_ziplist)?),
        LIST_QUICKLIST_2 => loaded(quicklist(cursor, limits, |cursor| cursor.length(), listpack)?),
        HASH_LISTPACK => loaded(hash_of(listpack(cursor)?, cursor, limits)?),
        SORTED_SET_LISTPACK => loaded(sorted_set_of(listpack(cursor)?, cursor, limits)?),
        SET_LISTPACK => loaded(set_of_listpack(listpack(cursor)?, cursor, limits)?),
        STREAM | STREAM_2 | STREAM_3 => loaded(Some(stream::stream(kind, cursor)?)),
        _ => return Err(cursor.error("the type of the value is not known")),
    })
}

// ---- stored element by element --------------------------------------------------------------------------------------

fn list(cursor: &mut Cursor<'_>, limits: &LoadLimits) -> Result<Option<List>, RdbError> {
    let count = cursor.count(1)?;
    let mut list = List::large(limits.list_setting);
    for _ in 0..count {
        list.push(End::Back, Incoming::copied(&cursor.string()?));
    }
    list.built(limits.list_setting);
    Ok((count > 0).then_some(list))
}

const MEMBER_TWICE: &str = "a member stands twice in a set";

fn set(cursor: &mut Cursor<'_>, limits: &LoadLimits) -> Result<Option<Set>, RdbError> {
    let whole = cursor.clone();
    let count = cursor.count(1)?;
    let set = if count as u64 > limits.set.intset_entries {
        let mut set = Set::large();
        for _ in 0..count {
            if !set.add(Element::Bytes(&cursor.string()?), limits.set) {
                return Err(whole.error(MEMBER_TWICE));
            }
        }
        set
    } else {
        let members = (0..count).map(|_| cursor.string()).collect::<Result<Vec<_>, _>>()?;
        let set = Set::from_members(members.iter().map(|member| &**member), limits.set);
        set.ok_or_else(|| whole.error(MEMBER_TWICE))?
    };
    Ok((count > 0).then_some(set))
}

fn hash(
    cursor: &mut Cursor<'_>,
    limits: &LoadLimits,
    mut behind: impl FnMut(&mut Cursor<'_>) -> Result<(), RdbError>,
) -> Result<Option<Hash>, RdbError> {
    const FIELD_TWICE: &str = "a field stands twice in a hash";
    let whole = cursor.clone();
    let count = cursor.count(2)?;
    let mut pair = || {
        let pair = (cursor.string()?, cursor.string()?);
        behind(cursor)?;
        Ok(pair)
    };
    let hash = if count as u64 > limits.hash.entries {
        let mut hash = Hash::large();
        for _ in 0..count {
            let (field, value) = pair()?;
            if !hash.set(&field, &value, limits.hash) {
                return Err(whole.error(FIELD_TWICE));
            }
        }
        hash
    } else {
        let pairs = (0..count).map(|_| pair()).collect::<Result<Vec<_>, _>>()?;
        let hash = Hash::from_pairs(pairs.iter().map(|(field, value)| (&**field, &**value)), limits.hash);
        hash.ok_or_else(|| whole.error(FIELD_TWICE))?
    };
    Ok((count > 0).then_some(hash))
}

/// Valkey's expiry of a field: there must be none, because it could not be kept.
fn no_expiry(cursor: &mut Cursor<'_>) -> Result<(), RdbError> {
    let field = cursor.error("a field of a hash has an expiry of its own, which is not supported");
    if cursor.millis()? == NO_FIELD_EXPIRY { Ok(()) } else { Err(field) }
}

fn sorted_set(
    cursor: &mut Cursor<'_>,
    mut score: impl FnMut(&mut Cursor<'_>) -> Result<f64, RdbError>,
    limits: &LoadLimits,
) -> Result<Option<SortedSet>, RdbError> {
    let whole = cursor.clone();
    let count = cursor.count(2)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let member = cursor.string()?;
        let start = cursor.clone();
        let score = score(cursor)?;
        if score.is_nan() {
            return Err(start.error("a score is not a number"));
        }
        entries.push((score, member));
    }
    let set = SortedSet::from_stored(entries, limits.sorted_set).ok_or_else(|| whole.error(MEMBER_TWICE))?;
    Ok((count > 0).then_some(set))
}

/// A score as old versions wrote it.
fn score_of_text(cursor: &mut Cursor<'_>) -> Result<f64, RdbError> {
    let start = cursor.clone();
    Ok(match cursor.byte()? {
        SCORE_NAN => f64::NAN,
        SCORE_INFINITY => f64::INFINITY,
        SCORE_NEGATIVE_INFINITY => f64::NEG_INFINITY,
        length => {
            let text = cursor.take(length.into())?;
            parse_f64(text).ok_or_else(|| start.error("a score is not a number"))?
        }
    })
}

// ---- stored packed --------------------------------------------------------------------------------------------------

/// A listpack, checked, with its numbers as numbers.
fn listpack(cursor: &mut Cursor<'_>) -> Result<Listpack, RdbError> {
    let start = cursor.clone();
    let listpack = Listpack::from_bytes(cursor.string()?.into_owned());
    listpack.map(Listpack::into_canonical).map_err(|_| start.error("a listpack is damaged"))
}

fn listpack_of_ziplist(cursor: &mut Cursor<'_>) -> Result<Listpack, RdbError> {
    let start = cursor.clone();
    packed::of_ziplist(&cursor.string()?).ok_or_else(|| start.error("a ziplist is damaged"))
}

fn set_of_intset(cursor: &mut Cursor<'_>, limits: &LoadLimits) -> Result<Set, RdbError> {
    let start = cursor.clone();
    let integers = IntSet::from_bytes(cursor.string()?.into_owned()).ok().filter(|integers| !integers.is_empty());
    let integers = integers.ok_or_else(|| start.error("an intset is damaged"))?;
    if integers.len() as u64 <= limits.set.intset_entries {
        return Ok(Set::from_intset(integers));
    }
    let mut set = Set::large();
    integers.iter().for_each(|integer| {
        set.add(Element::Integer(integer), limits.set);
    });
    Ok(set)
}

fn set_of_listpack(listpack: Listpack, cursor: &Cursor<'_>, limits: &LoadLimits) -> Result<Option<Set>, RdbError> {
    listpack.check_unique(1).map_err(|_| cursor.error(MEMBER_TWICE))?;
    if listpack.is_empty() {
        return Ok(None);
    }
    if listpack.len() as u64 <= limits.set.listpack_entries {
        return Ok(Some(Set::from_listpack(listpack)));
    }
    let mut set = Set::large();
    listpack.iter().for_each(|member| {
        set.add(member, limits.set);
    });
    Ok(Some(set))
}

fn hash_of(listpack: Listpack, cursor: &Cursor<'_>, limits: &LoadLimits) -> Result<Option<Hash>, RdbError> {
    const NOT_PAIRS: &str = "a packed hash has a field twice, or one without a value";
    listpack.check_unique(2).map_err(|_| cursor.error(NOT_PAIRS))?;
    if listpack.is_empty() {
        return Ok(None);
    }
    let small = listpack.len() as u64 / 2 <= limits.hash.entries;
    let hash = Hash::from_listpack(listpack).ok_or_else(|| cursor.error(NOT_PAIRS))?;
    if small {
        return Ok(Some(hash));
    }
    let mut large = Hash::large();
    let (mut one, mut other) = (Digits::new(), Digits::new());
    for (field, value) in hash.iter() {
        large.set(field.as_bytes(&mut one), value.as_bytes(&mut other), limits.hash);
    }
    Ok(Some(large))
}

fn sorted_set_of(listpack: Listpack, cursor: &Cursor<'_>, limits: &LoadLimits) -> Result<Option<SortedSet>, RdbError> {
    listpack
        .check_unique(2)
        .map_err(|_| cursor.error("a packed sorted set has a member twice, or one without a score"))?;
    if listpack.is_empty() {
        return Ok(None);
    }
    let count = listpack.len() / 2;
    let (mut elements, mut digits) = (listpack.iter(), [Digits::new(), Digits::new()]);
    let [earlier, later] = &mut digits;
    let mut before: Option<(f64, Element<'_>)> = None;
    let mut is_ordered = true;
    while let (Some(member), Some(score)) = (elements.next(), elements.next()) {
        let score = score_of(score).ok_or_else(|| cursor.error("a score is not a number"))?;
        is_ordered &= before.is_none_or(|(lower, smaller)| {
            SortedSet::order((lower, smaller.as_bytes(earlier)), (score, member.as_bytes(later))).is_lt()
        });
        before = Some((score, member));
    }
    if is_ordered && count as u64 <= limits.sorted_set.entries {
        return Ok(Some(SortedSet::from_listpack(listpack)));
    }
    let mut entries = Vec::with_capacity(count);
    let mut elements = listpack.iter();
    while let (Some(member), Some(score)) = (elements.next(), elements.next()) {
        entries.push((score_of(score).unwrap_or_default(), member.to_vec()));
    }
    // The length of members matters only where they are added one by one.
    let limits = SortedSetLimits { value_bytes: u64::MAX, ..limits.sorted_set };
    Ok(SortedSet::from_stored(entries, limits))
}

fn score_of(element: Element<'_>) -> Option<f64> {
    match element {
        Element::Integer(integer) => Some(integer as f64),
        Element::Bytes(text) => parse_f64(text),
    }
}

fn hash_of_zipmap(cursor: &mut Cursor<'_>, limits: &LoadLimits) -> Result<Option<Hash>, RdbError> {
    let start = cursor.clone();
    let bytes = cursor.string()?;
    let pairs = packed::pairs_of_zipmap(&bytes).ok_or_else(|| start.error("a zipmap is damaged"))?;
    if pairs.is_empty() {
        return Ok(None);
    }
    let hash = Hash::from_pairs(pairs.iter().copied(), limits.hash);
    hash.ok_or_else(|| start.error("a field stands twice in a zipmap")).map(Some)
}

/// A list that was one ziplist. It is large at first, however short it is: so Redis has it.
fn list_of_ziplist(cursor: &mut Cursor<'_>, limits: &LoadLimits) -> Result<Option<List>, RdbError> {
    let listpack = listpack_of_ziplist(cursor)?;
    let mut list = List::large(limits.list_setting);
    for element in listpack.iter() {
        list.push(End::Back, Incoming::copied(element.as_bytes(&mut Digits::new())));
    }
    Ok((!listpack.is_empty()).then_some(list))
}

fn quicklist(
    cursor: &mut Cursor<'_>,
    limits: &LoadLimits,
    mut container: impl FnMut(&mut Cursor<'_>) -> Result<u64, RdbError>,
    mut packed: impl FnMut(&mut Cursor<'_>) -> Result<Listpack, RdbError>,
) -> Result<Option<List>, RdbError> {
    let count = cursor.count(1)?;
    let mut list = List::large(limits.list_setting);
    for _ in 0..count {
        let start = cursor.clone();
        match container(cursor)? {
            NODE_PACKED => list.append_part(packed(cursor)?),
            NODE_PLAIN => {
                let element = cursor.string()?;
                if element.is_empty() {
                    return Err(start.error("a node of a list has no bytes"));
                }
                let shared = Some(Bytes::from(element.into_owned()));
                let bytes = shared.clone().unwrap_or_default();
                list.append_apart(Incoming { bytes: &bytes, shared });
            }
            _ => return Err(start.error("a node of a list is neither packed nor plain")),
        }
    }
    list.built(limits.list_setting);
    Ok((!list.is_empty()).then_some(list))
}
