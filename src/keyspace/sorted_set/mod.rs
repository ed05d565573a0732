//! Sorted sets: members with scores, in the order of score, then bytes.
//!
//! `packed` is the compact form, a listpack; `large` the one for many or long members, an index and an order tree
//! (`tree`, its leaves in `leaf`). This file chooses between them as Redis 7.2 does, and gives both one face: members
//! are looked for by themselves, by rank, or by a range of scores or members, which is always made ranks first.
//! Called by the commands of sorted sets and of geography; reads no arguments, writes no replies.

mod large;
mod leaf;
mod packed;
mod range;
mod tree;

use std::cmp::Ordering;
use std::ops::Range;

use super::listpack::{Digits, Element, Listpack};

pub use range::{LexBound, LexRange, ScoreRange};

use large::Large;
use packed::Packed;

/// A sorted set. Scores are never NaN.
#[derive(Clone, Debug)]
pub struct SortedSet {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Packed(Packed),
    Large(Box<Large>),
}

impl Default for SortedSet {
    fn default() -> Self {
        SortedSet { form: Form::Packed(Packed::default()) }
    }
}

/// How large the compact form may get (`zset-max-listpack-entries`, `zset-max-listpack-value`).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub entries: u64,
    pub value_bytes: u64,
}

impl Limits {
    fn allow(&self, entries: usize, value_bytes: usize) -> bool {
        entries as u64 <= self.entries && value_bytes as u64 <= self.value_bytes
    }
}

/// What a member must satisfy for [`SortedSet::add`] to touch it.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddRules {
    /// Only members that are not there.
    pub nx: bool,
    /// Only members that are there.
    pub xx: bool,
    /// Only to a greater score, if there.
    pub gt: bool,
    /// Only to a lesser score, if there.
    pub lt: bool,
    /// The score is added to the one that is there.
    pub incr: bool,
}

/// What adding did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Added {
    New(f64),
    Updated(f64),
    /// It had this score.
    Same(f64),
    /// The rules did not allow it.
    Skipped,
}

/// A score would be no number (infinities of both signs added).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotANumber;

impl SortedSet {
    /// Takes over a listpack of members and scores in order (what a dump has).
    pub fn from_listpack(listpack: Listpack) -> SortedSet {
        SortedSet { form: Form::Packed(Packed::of(listpack)) }
    }

    /// A set of members, each given once, in any order; in the compact form if it fits.
    pub fn from_entries<M: AsRef<[u8]>>(mut entries: Vec<(f64, M)>, limits: Limits) -> SortedSet {
        entries.sort_unstable_by(|one, other| leaf::order((one.0, one.1.as_ref()), (other.0, other.1.as_ref())));
        let sorted = entries.iter().map(|(score, member)| (Element::Bytes(member.as_ref()), *score));
        SortedSet::from_sorted(sorted, limits)
    }

    /// A set of members with scores that were stored in any order, in the form that Redis chooses for them when it loads
    /// them. `None` when a member is there twice.
    pub fn from_stored<M: AsRef<[u8]>>(mut entries: Vec<(f64, M)>, limits: Limits) -> Option<SortedSet> {
        entries.sort_unstable_by(|one, other| leaf::order((one.0, one.1.as_ref()), (other.0, other.1.as_ref())));
        let longest = entries.iter().map(|(_, member)| member.as_ref().len()).max().unwrap_or(0);
        let total = entries.iter().fold(0usize, |sum, (_, member)| sum.saturating_add(member.as_ref().len()));
        if limits.allow(entries.len(), longest) && Packed::may_hold(total) {
            let mut packed = Packed::default();
            entries.iter().for_each(|(score, member)| packed.push_back(*score, member.as_ref()));
            packed.listpack().check_unique(2).ok()?;
            return Some(SortedSet { form: Form::Packed(packed) });
        }
        let mut large = Large::default();
        let unique = entries.iter().all(|(score, member)| large.insert(*score, member.as_ref()));
        unique.then_some(SortedSet { form: Form::Large(Box::new(large)) })
    }

    /// A set of members, each given once, that come in order; in the compact form if it fits.
    pub fn from_sorted<'a>(entries: impl Iterator<Item = (Element<'a>, f64)> + Clone, limits: Limits) -> SortedSet {
        let mut digits = Digits::new();
        let (mut count, mut longest, mut total) = (0, 0, 0usize);
        for (member, _) in entries.clone() {
            let bytes = member.as_bytes(&mut digits).len();
            (count, longest, total) = (count + 1, bytes.max(longest), total.saturating_add(bytes));
        }
        if limits.allow(count, longest) && Packed::may_hold(total) {
            let mut packed = Packed::default();
            entries.for_each(|(member, score)| packed.push_back(score, member.as_bytes(&mut digits)));
            return SortedSet { form: Form::Packed(packed) };
        }
        let mut large = Large::default();
        entries.for_each(|(member, score)| {
            large.insert(score, member.as_bytes(&mut digits));
        });
        SortedSet { form: Form::Large(Box::new(large)) }
    }

    /// Makes it large if so many members are about to come, or the first of them into an empty one is that long.
    pub fn expect(&mut self, entries: usize, first_bytes: usize, limits: Limits) {
        let value_bytes = if self.is_empty() { first_bytes } else { 0 };
        if !limits.allow(entries, value_bytes) {
            self.grow_large();
        }
    }

    fn grow_large(&mut self) -> &mut Large {
        if let Form::Packed(packed) = &self.form {
            let mut large = Box::<Large>::default();
            let mut digits = Digits::new();
            packed.walk(0, usize::MAX, false).for_each(|(member, score)| {
                large.insert(score, member.as_bytes(&mut digits));
            });
            self.form = Form::Large(large);
        }
        match &mut self.form {
            Form::Large(large) => large,
            Form::Packed(_) => unreachable!("it was made large"),
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Packed(packed) => packed.len(),
            Form::Large(large) => large.len(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        match &self.form {
            Form::Packed(packed) => packed.is_empty(),
            Form::Large(large) => large.len() == 0,
        }
    }

    /// What OBJECT ENCODING answers.
    pub fn encoding_name(&self) -> &'static str {
        match self.form {
            Form::Packed(_) => "listpack",
            Form::Large(_) => "skiplist",
        }
    }

    /// The compact form's bytes, members and scores in turn.
    pub fn listpack(&self) -> Option<&Listpack> {
        match &self.form {
            Form::Packed(packed) => Some(packed.listpack()),
            Form::Large(_) => None,
        }
    }

    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.form {
            Form::Packed(packed) => packed.score(member),
            Form::Large(large) => large.score(member),
        }
    }

    /// A member's place in the order: by score, then by bytes.
    pub fn order(one: (f64, &[u8]), other: (f64, &[u8])) -> Ordering {
        leaf::order(one, other)
    }

    /// How many members come before this place in the order, whether a member stands there or not.
    pub fn count_before(&self, score: f64, member: &[u8]) -> usize {
        match &self.form {
            Form::Packed(packed) => {
                let mut digits = Digits::new();
                let mut members = packed.walk(0, usize::MAX, false);
                let is_before = |(other, there): (Element<'_>, f64)| {
                    leaf::order((there, other.as_bytes(&mut digits)), (score, member)).is_lt()
                };
                members.by_ref().map(is_before).take_while(|is_before| *is_before).count()
            }
            Form::Large(large) => large.count_before(score, member),
        }
    }

    /// Rank, counted from the lowest, and score of a member.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match &self.form {
            Form::Packed(packed) => packed.rank(member),
            Form::Large(large) => large.rank(member),
        }
    }

    /// Adds a member or changes its score, as the rules allow. `score` is a number.
    ///
    /// # Errors
    /// [`NotANumber`]: the sum would be none; nothing has changed.
    pub fn add(&mut self, score: f64, member: &[u8], rules: AddRules, limits: Limits) -> Result<Added, NotANumber> {
        let Some(current) = self.score(member) else {
            if rules.xx {
                return Ok(Added::Skipped);
            }
            self.insert(score, member, limits);
            return Ok(Added::New(score));
        };
        if rules.nx {
            return Ok(Added::Skipped);
        }
        let score = if rules.incr { current + score } else { score };
        if score.is_nan() {
            return Err(NotANumber);
        }
        if (rules.lt && score >= current) || (rules.gt && score <= current) {
            return Ok(Added::Skipped);
        }
        if score == current {
            return Ok(Added::Same(score));
        }
        match &mut self.form {
            Form::Packed(packed) => {
                packed.remove(member);
                packed.insert(score, member);
            }
            Form::Large(large) => large.update(current, score, member),
        }
        Ok(Added::Updated(score))
    }

    /// Inserts a member that is not there.
    fn insert(&mut self, score: f64, member: &[u8], limits: Limits) {
        match &mut self.form {
            Form::Packed(packed) if limits.allow(packed.len() + 1, member.len()) && packed.has_room(member.len()) => {
                packed.insert(score, member);
            }
            Form::Packed(_) => {
                self.grow_large().insert(score, member);
            }
            Form::Large(large) => {
                large.insert(score, member);
            }
        }
    }

    /// Removes a member; its score if it was there.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.form {
            Form::Packed(packed) => packed.remove(member),
            Form::Large(large) => large.remove(member),
        }
    }

    /// Removes the members of these ranks; how many there were.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) -> usize {
        let before = self.len();
        match &mut self.form {
            Form::Packed(packed) => packed.remove_range(ranks.start, ranks.len()),
            Form::Large(large) => large.remove_range(ranks.start, ranks.len()),
        }
        before - self.len()
    }

    /// The ranks of the members whose scores are in a range.
    pub fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        let count = |before: &dyn Fn(f64) -> bool| match &self.form {
            Form::Packed(packed) => packed.count_while(before),
            Form::Large(large) => large.count_while(before),
        };
        let start = count(&|score| !range.is_above_min(score));
        start..count(&|score| range.is_below_max(score)).max(start)
    }

    /// The ranks of the members in a range, without the first `offset` of them (the last, when `reverse`).
    ///
    /// The scores should all be the same. Where they are not, a set in compact form gives what Redis gives.
    pub fn ranks_by_member(&self, range: &LexRange<'_>, offset: usize, reverse: bool) -> Range<usize> {
        match &self.form {
            Form::Packed(packed) => packed.lex_range(range, offset, reverse),
            Form::Large(large) => large.lex_range(range, offset, reverse),
        }
    }

    /// The members of these ranks with their scores, the last one first when `reverse`.
    pub fn walk(&self, ranks: Range<usize>, reverse: bool) -> Walk<'_> {
        let ranks = ranks.start..ranks.end.min(self.len());
        let start = if reverse { ranks.end.saturating_sub(1) } else { ranks.start };
        match &self.form {
            Form::Packed(packed) => Walk::Packed(packed.walk(start, ranks.len(), reverse)),
            Form::Large(large) => Walk::Large(large.walk(start, ranks.len(), reverse)),
        }
    }

    /// All members with their scores, in order.
    pub fn iter(&self) -> Walk<'_> {
        self.walk(0..self.len(), false)
    }

    /// Visits members from `cursor` (0 at the beginning) on, all of the compact form and about `count` of the large
    /// one; returns where to go on, 0 at the end. A member that is there from first to last is visited at least once.
    pub fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(Element<'_>, f64)) -> u64 {
        match &self.form {
            Form::Packed(packed) => {
                packed.walk(0, usize::MAX, false).for_each(|(member, score)| visit(member, score));
                0
            }
            Form::Large(large) => large.scan(cursor, count, &mut |member, score| visit(Element::Bytes(member), score)),
        }
    }

    /// Bytes allocated; see `Object::memory_bytes`.
    pub fn memory_bytes(&self, samples: usize) -> usize {
        match &self.form {
            Form::Packed(packed) => packed.listpack().memory_bytes(),
            Form::Large(large) => large.memory_bytes(samples),
        }
    }

    /// Allocations, about.
    pub fn free_effort(&self) -> usize {
        match &self.form {
            Form::Packed(_) => 1,
            Form::Large(large) => large.free_effort(),
        }
    }

    /// Frees parts, for `Object::dismantle`.
    pub(in crate::keyspace) fn dismantle(&mut self, budget: &mut usize) -> bool {
        if let Form::Large(large) = &mut self.form { large.dismantle(budget) } else { true }
    }
}

/// Members with their scores, in order.
#[derive(Clone)]
pub enum Walk<'a> {
    Packed(packed::Walk<'a>),
    Large(tree::Walk<'a>),
}

impl<'a> Iterator for Walk<'a> {
    type Item = (Element<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<(Element<'a>, f64)> {
        match self {
            Walk::Packed(walk) => walk.next(),
            Walk::Large(walk) => walk.next().map(|(score, member)| (Element::Bytes(member), score)),
        }
    }
}

#[cfg(test)]
mod tests;
