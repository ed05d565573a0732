//! The compact form of a sorted set: one listpack with each member followed by its score, in order.
//!
//! Scores are written as Redis writes them there: as an integer where the score is one, which has no negative zero,
//! else as the shortest text. Everything walks the listpack; `SortedSet` holds it small.

use std::ops::Range;

use crate::base::number::{format_double, format_i64, parse_f64};
use crate::keyspace::listpack::{At, Digits, Element, Listpack, Needle, compare};

use super::range::LexRange;

/// More bytes than this are never put into one listpack (Redis: LISTPACK_MAX_SAFETY_SIZE).
const BYTES_MAX: usize = 1 << 30;

/// Members and scores in a listpack.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    listpack: Listpack,
}

impl Packed {
    /// Takes over members and scores that stand in order, one behind the other.
    pub fn of(listpack: Listpack) -> Packed {
        Packed { listpack }
    }

    pub fn listpack(&self) -> &Listpack {
        &self.listpack
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.listpack.len() / 2
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.listpack.is_empty()
    }

    /// Whether a member of so many bytes may still be added.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.listpack.total_bytes().saturating_add(bytes) <= BYTES_MAX
    }

    /// Whether members of so many bytes in all may stand in one listpack.
    pub fn may_hold(bytes: usize) -> bool {
        bytes <= BYTES_MAX
    }

    fn find(&self, member: &[u8]) -> Option<At> {
        self.listpack.find(self.listpack.first()?, Needle::new(member), 1)
    }

    fn score_behind(&self, member: At) -> f64 {
        self.listpack.next(member).map_or(0.0, |at| score_of(self.listpack.get(at)))
    }

    /// The member behind another one.
    fn next(&self, member: At) -> Option<At> {
        self.listpack.next(member).and_then(|score| self.listpack.next(score))
    }

    pub fn score(&self, member: &[u8]) -> Option<f64> {
        Some(self.score_behind(self.find(member)?))
    }

    /// Rank and score of a member.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let found = self.find(member)?;
        let (mut at, mut rank) = (self.listpack.first()?, 0);
        while at < found {
            at = self.next(at)?;
            rank += 1;
        }
        Some((rank, self.score_behind(found)))
    }

    /// Inserts a member that is not there.
    pub fn insert(&mut self, score: f64, member: &[u8]) {
        let mut at = self.listpack.first();
        while let Some(here) = at {
            let other = self.score_behind(here);
            if other > score || (other == score && compare(self.listpack.get(here), member).is_gt()) {
                break;
            }
            at = self.next(here);
        }
        let mut text = Vec::with_capacity(24);
        score_text(score, &mut text);
        match at {
            None => self.push(member, &text),
            Some(at) => {
                let at = self.listpack.insert_before(at, member);
                self.listpack.insert_after(at, &text);
            }
        }
    }

    fn push(&mut self, member: &[u8], score: &[u8]) {
        self.listpack.push_back(member);
        self.listpack.push_back(score);
    }

    /// Appends a member that belongs behind all others.
    pub fn push_back(&mut self, score: f64, member: &[u8]) {
        let mut text = Vec::with_capacity(24);
        score_text(score, &mut text);
        self.push(member, &text);
    }

    /// Removes a member; its score if it was there.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let at = self.find(member)?;
        let score = self.score_behind(at);
        self.listpack.remove_range(at, 2);
        Some(score)
    }

    /// Removes `count` members from a rank on, as many as there are.
    pub fn remove_range(&mut self, rank: usize, count: usize) {
        if let Some(at) = self.seek(rank) {
            self.listpack.remove_range(at, count.saturating_mul(2));
        }
    }

    fn seek(&self, rank: usize) -> Option<At> {
        self.listpack.seek(i64::try_from(rank.checked_mul(2)?).ok()?)
    }

    /// How many members from the first on have scores that satisfy `before`.
    pub fn count_while(&self, before: impl Fn(f64) -> bool) -> usize {
        let scores = self.walk(0, usize::MAX, false).map(|(_, score)| score);
        scores.take_while(|score| before(*score)).count()
    }

    /// The ranks of what a range by members gives when `offset` members of it are skipped. The scores should be the
    /// same; where they are not, what comes out is what looking at one member after the other finds, from the front
    /// or the back.
    pub fn lex_range(&self, range: &LexRange<'_>, offset: usize, reverse: bool) -> Range<usize> {
        let mut digits = (Digits::new(), Digits::new());
        let is_above = |member: Element<'_>, digits: &mut Digits| range.is_above_min(member.as_bytes(digits));
        let is_below = |member: Element<'_>, digits: &mut Digits| range.is_below_max(member.as_bytes(digits));
        let len = self.len();
        let (first, last) = (self.walk(0, 1, false).next(), self.walk(len.saturating_sub(1), 1, true).next());
        let (Some((first, _)), Some((last, _))) = (first, last) else { return 0..0 };
        if range.is_empty() || !is_above(last, &mut digits.0) || !is_below(first, &mut digits.1) {
            return 0..0;
        }
        if reverse {
            let from_back = |rank| self.walk(rank, usize::MAX, true).map(|(member, _)| member);
            let skipped = from_back(len - 1).take_while(|member| !is_below(*member, &mut digits.0)).count();
            let Some(end) = len.checked_sub(skipped).filter(|end| *end > 0) else { return 0..0 };
            if !from_back(end - 1).next().is_some_and(|member| is_above(member, &mut digits.0)) {
                return 0..0;
            }
            let Some(end) = end.checked_sub(offset).filter(|end| *end > 0) else { return 0..0 };
            let count = from_back(end - 1).take_while(|member| is_above(*member, &mut digits.0)).count();
            end - count..end
        } else {
            let from_front = |rank| self.walk(rank, usize::MAX, false).map(|(member, _)| member);
            let start = from_front(0).take_while(|member| !is_above(*member, &mut digits.0)).count();
            if !from_front(start).next().is_some_and(|member| is_below(member, &mut digits.0)) {
                return 0..0;
            }
            let start = start.saturating_add(offset).min(len);
            let count = from_front(start).take_while(|member| is_below(*member, &mut digits.0)).count();
            start..start + count
        }
    }

    /// Up to `count` members from a rank on, downwards when `reverse`.
    pub fn walk(&self, rank: usize, count: usize, reverse: bool) -> Walk<'_> {
        Walk { listpack: &self.listpack, at: self.seek(rank), left: count, reverse }
    }
}

/// Members and scores in order, from a place on.
#[derive(Clone)]
pub struct Walk<'a> {
    listpack: &'a Listpack,
    /// The next member.
    at: Option<At>,
    left: usize,
    reverse: bool,
}

impl<'a> Iterator for Walk<'a> {
    type Item = (Element<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<(Element<'a>, f64)> {
        let at = self.at.filter(|_| self.left > 0)?;
        self.left -= 1;
        let score = self.listpack.next(at)?;
        self.at = if self.reverse {
            self.listpack.previous(at).and_then(|score| self.listpack.previous(score))
        } else {
            self.listpack.next(score)
        };
        Some((self.listpack.get(at), score_of(self.listpack.get(score))))
    }
}

/// Appends a score as a listpack has it.
pub fn score_text(score: f64, out: &mut Vec<u8>) {
    if score == 0.0 { format_i64(0, out) } else { format_double(score, out) }
}

/// A score read back; what is none, which only damaged data has, counts as 0.
#[inline]
fn score_of(element: Element<'_>) -> f64 {
    match element {
        Element::Integer(integer) => integer as f64,
        Element::Bytes(text) => parse_f64(text).unwrap_or(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::range::LexBound;
    use super::*;

    fn packed(entries: &[(f64, &str)]) -> Packed {
        let mut packed = Packed::default();
        entries.iter().for_each(|(score, member)| packed.insert(*score, member.as_bytes()));
        packed
    }

    fn texts(packed: &Packed) -> Vec<String> {
        packed.listpack.iter().map(|element| String::from_utf8(element.to_vec()).unwrap()).collect()
    }

    #[test]
    fn members_stand_in_order_with_scores_as_redis_writes_them() {
        let packed = packed(&[(1.5, "b"), (-0.0, "z"), (f64::INFINITY, "9"), (1.5, "a"), (1e19, "x"), (3e17, "10")]);
        let expected = ["z", "0", "a", "1.5", "b", "1.5", "10", "300000000000000000", "x", "1e+19", "9", "inf"];
        assert_eq!(texts(&packed), expected);
        assert_eq!(packed.rank(b"10"), Some((3, 3e17)));
        assert_eq!((packed.rank(b"1"), packed.score(b"1.5")), (None, None), "scores are no members");
        assert!(packed.score(b"z").unwrap().is_sign_positive());
    }

    #[test]
    fn ranges_of_members_are_looked_for_from_either_end() {
        let packed = packed(&[(0.0, "a"), (0.0, "b"), (0.0, "c"), (0.0, "d")]);
        let range = |min, max, offset, reverse| packed.lex_range(&LexRange { min, max }, offset, reverse);
        use LexBound::*;
        assert_eq!(range(Lowest, Highest, 0, false), 0..4);
        assert_eq!(range(Exclusive(b"a"), Inclusive(b"c"), 0, false), 1..3);
        assert_eq!(range(Exclusive(b"a"), Inclusive(b"c"), 1, false), 2..3);
        assert_eq!(range(Exclusive(b"a"), Inclusive(b"c"), 1, true), 1..2);
        assert_eq!(range(Exclusive(b"a"), Inclusive(b"c"), 9, true), 0..0);
        assert!(range(Exclusive(b"a"), Inclusive(b"c"), 9, false).is_empty());
        assert_eq!(range(Inclusive(b"x"), Highest, 0, false), 0..0);
        assert_eq!(range(Inclusive(b"bb"), Exclusive(b"c"), 0, true), 0..0);
    }
}
