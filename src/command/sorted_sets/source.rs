//! What unions, intersections and differences are made from: sorted sets, and sets, whose members all count 1.

use crate::command::error::CommandError;
use crate::keyspace::listpack::{Digits, Element};
use crate::keyspace::set::{Set, SetIter};
use crate::keyspace::sorted_set::{self, SortedSet};
use crate::keyspace::{Key, Keyspace, Value};

/// The score that members of a set have.
const SCORE_OF_SETS: f64 = 1.0;

/// One of the inputs.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// The key is not there.
    Missing,
    Plain(&'a Set),
    Sorted(&'a SortedSet),
}

/// Looks the keys up to be read, in order.
///
/// # Errors
/// `WrongType`: one of the values is neither a set nor a sorted set.
pub fn look_up<'k>(keyspace: &'k mut Keyspace, db: usize, keys: &[Key<'_>]) -> Result<Vec<Source<'k>>, CommandError> {
    for key in keys {
        Source::of(keyspace.read(db, *key))?;
    }
    let keyspace = &*keyspace;
    keys.iter().map(|key| Source::of(keyspace.view(db, *key))).collect()
}

impl<'a> Source<'a> {
    fn of(value: Option<Value<'a>>) -> Result<Source<'a>, CommandError> {
        let Some(value) = value else { return Ok(Source::Missing) };
        if let Ok(set) = value.collection() {
            return Ok(Source::Plain(set));
        }
        Ok(Source::Sorted(value.collection()?))
    }

    pub fn len(self) -> usize {
        match self {
            Source::Missing => 0,
            Source::Plain(set) => set.len(),
            Source::Sorted(set) => set.len(),
        }
    }

    /// The score of a member, if it is in.
    pub fn score(self, member: Member<'_>) -> Option<f64> {
        match self {
            Source::Missing => None,
            Source::Plain(set) => set.contains(member.as_element()).then_some(SCORE_OF_SETS),
            Source::Sorted(set) => set.score(member.as_element().as_bytes(&mut Digits::new())),
        }
    }

    /// All members with their scores.
    pub fn iter(self) -> Members<'a> {
        match self {
            Source::Missing => Members::Missing,
            Source::Plain(set) => Members::Plain(set.iter()),
            Source::Sorted(set) => Members::Sorted(set.iter()),
        }
    }
}

/// A member where it lies. The same bytes are always the same value, whichever form of which collection has them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Member<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
}

impl<'a> Member<'a> {
    fn of(element: Element<'a>) -> Member<'a> {
        match element.integer() {
            Some(integer) => Member::Integer(integer),
            None => match element {
                Element::Integer(integer) => Member::Integer(integer),
                Element::Bytes(bytes) => Member::Bytes(bytes),
            },
        }
    }

    pub fn as_element(self) -> Element<'a> {
        match self {
            Member::Integer(integer) => Element::Integer(integer),
            Member::Bytes(bytes) => Element::Bytes(bytes),
        }
    }
}

/// Members of a source.
pub enum Members<'a> {
    Missing,
    Plain(SetIter<'a>),
    Sorted(sorted_set::Walk<'a>),
}

impl<'a> Iterator for Members<'a> {
    type Item = (Member<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<(Member<'a>, f64)> {
        match self {
            Members::Missing => None,
            Members::Plain(members) => members.next().map(|member| (Member::of(member), SCORE_OF_SETS)),
            Members::Sorted(entries) => entries.next().map(|(member, score)| (Member::of(member), score)),
        }
    }
}
