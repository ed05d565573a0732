//! The large form of a sorted set, which OBJECT ENCODING calls "skiplist": an index from member to score, and an
//! order tree.

use std::ops::Range;

use crate::keyspace::packed_map::PackedMap;

use super::leaf::order;
use super::range::LexRange;
use super::tree::{OrderTree, Walk};

/// Members with their scores, found by member and by rank.
#[derive(Clone, Debug, Default)]
pub struct Large {
    /// Member to score, the eight bytes of the double.
    index: PackedMap,
    tree: OrderTree,
}

/// Of a set of `n` members, `n` divided by this are so many that passing over the whole index costs less than looking each up.
const MANY_PART: usize = 8;

fn score_of(bytes: &[u8]) -> f64 {
    bytes.first_chunk().map_or(0.0, |bytes| f64::from_le_bytes(*bytes))
}

impl Large {
    #[inline]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.index.get(member).map(score_of)
    }

    /// Rank and score of a member.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(member)?;
        Some((self.tree.rank(score, member), score))
    }

    /// Inserts a member that is not there. False when it was: then the set is of no use any more.
    pub fn insert(&mut self, score: f64, member: &[u8]) -> bool {
        let is_new = self.index.insert(member, &score.to_le_bytes());
        self.tree.insert(score, member);
        is_new
    }

    /// Changes the score of a member from what it was.
    pub fn update(&mut self, old: f64, score: f64, member: &[u8]) {
        self.tree.remove(old, member);
        self.insert(score, member);
    }

    /// Removes a member; its score if it was there.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let score = self.score(member)?;
        self.index.remove(member);
        self.tree.remove(score, member);
        Some(score)
    }

    /// Removes `count` members from a rank on, as many as there are.
    pub fn remove_range(&mut self, rank: usize, count: usize) {
        if count.min(self.len().saturating_sub(rank)) >= self.len() / MANY_PART {
            let ends = [rank, rank.saturating_add(count)].map(|rank| self.entry_at(rank));
            let is_before = |entry: (f64, &[u8]), end: &Option<(f64, Box<[u8]>)>| {
                end.as_ref().is_none_or(|(score, member)| order(entry, (*score, member)).is_lt())
            };
            self.index.retain(|member, score| {
                let entry = (score_of(score), member);
                is_before(entry, &ends[0]) || !is_before(entry, &ends[1])
            });
            self.tree.remove_range(rank, count, |_, _| {});
            return;
        }
        let index = &mut self.index;
        self.tree.remove_range(rank, count, |_, member| {
            index.remove(member);
        });
    }

    /// A copy of the entry of a rank; `None` behind the last.
    fn entry_at(&self, rank: usize) -> Option<(f64, Box<[u8]>)> {
        self.walk(rank, 1, false).next().map(|(score, member)| (score, member.into()))
    }

    /// How many members from the first on have scores that satisfy `before`.
    pub fn count_while(&self, before: impl Fn(f64) -> bool) -> usize {
        self.tree.count_while(|score, _| before(score))
    }

    /// How many members come before this place in the order.
    pub fn count_before(&self, score: f64, member: &[u8]) -> usize {
        self.tree.count_while(|there, other| order((there, other), (score, member)).is_lt())
    }

    /// The ranks of a range by members, when the scores are all the same; some ranks when they are not, but none, as in Redis, when
    /// the last member is below the range or the first above it.
    pub fn lex_range(&self, range: &LexRange<'_>, offset: usize, reverse: bool) -> Range<usize> {
        let (first, last) = (self.walk(0, 1, false).next(), self.walk(self.len().saturating_sub(1), 1, true).next());
        let (Some((_, first)), Some((_, last))) = (first, last) else { return 0..0 };
        if range.is_empty() || !range.is_above_min(last) || !range.is_below_max(first) {
            return 0..0;
        }
        let start = self.tree.count_while(|_, member| !range.is_above_min(member));
        let end = self.tree.count_while(|_, member| range.is_below_max(member)).max(start);
        let offset = offset.min(end - start);
        if reverse { start..end - offset } else { start + offset..end }
    }

    /// Up to `count` members from a rank on, downwards when `reverse`.
    pub fn walk(&self, rank: usize, count: usize, reverse: bool) -> Walk<'_> {
        self.tree.walk(rank, count, reverse)
    }

    /// Visits members from `cursor` on, about `count` of them; see [`PackedMap::scan`].
    pub fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(&[u8], f64)) -> u64 {
        self.index.scan(cursor, count, &mut |member, score| visit(member, score_of(score)))
    }

    /// Bytes allocated; see `Object::memory_bytes`.
    pub fn memory_bytes(&self, samples: usize) -> usize {
        size_of::<Large>() + self.index.memory_bytes(samples) + self.tree.memory_bytes(samples)
    }

    /// Allocations, about.
    pub fn free_effort(&self) -> usize {
        1 + self.index.free_effort() + self.tree.free_effort()
    }

    /// Frees parts, for `Object::dismantle`.
    pub fn dismantle(&mut self, budget: &mut usize) -> bool {
        self.index.dismantle(budget) && self.tree.dismantle(budget)
    }

    #[cfg(test)]
    pub fn check(&self) {
        self.tree.check();
        assert_eq!(self.index.len(), self.tree.len());
        self.tree.walk(0, usize::MAX, false).for_each(|(score, member)| assert_eq!(self.score(member), Some(score)));
    }
}
