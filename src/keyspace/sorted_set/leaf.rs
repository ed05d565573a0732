//! A leaf of the order tree: a run of scored members in order, packed into few allocations whatever their number.
//!
//! Short members lie one behind the other; long ones are boxed each, so that moving entries never moves many bytes.
//! Used by `tree` alone; knows nothing of other leaves.

use std::cmp::Ordering;
use std::ops::Range;

/// Entries that a leaf holds at most: one bit each in `is_long`.
pub const LEAF_MAX: usize = 64;
/// Longest member that lies among the others.
const INLINE_BYTES_MAX: usize = 64;

/// Offsets of inline members fit their type.
const _: () = assert!(LEAF_MAX * INLINE_BYTES_MAX <= u16::MAX as usize && LEAF_MAX <= u64::BITS as usize);

/// The order of sorted sets: by score, then by the member's bytes. Scores are never NaN.
#[inline]
pub fn order(one: (f64, &[u8]), other: (f64, &[u8])) -> Ordering {
    one.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal).then_with(|| one.1.cmp(other.1))
}

/// Entries in order.
#[derive(Clone, Debug, Default)]
pub struct Leaf {
    scores: Vec<f64>,
    /// Where each entry's member ends in `bytes`; a long one takes none of them.
    ends: Vec<u16>,
    bytes: Vec<u8>,
    /// Bit `i`: the member of entry `i` is the next one of `long`.
    is_long: u64,
    long: Vec<Box<[u8]>>,
}

impl Leaf {
    #[inline]
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// The entry at `index`.
    ///
    /// # Panics
    /// When there is none.
    #[inline]
    pub fn get(&self, index: usize) -> (f64, &[u8]) {
        (self.scores[index], self.member(index))
    }

    #[inline]
    fn member(&self, index: usize) -> &[u8] {
        if self.is_long >> index & 1 == 1 {
            return &self.long[self.long_before(index)];
        }
        &self.bytes[self.offset(index)..usize::from(self.ends[index])]
    }

    /// Where the member of the entry at `index` begins in `bytes`.
    #[inline]
    fn offset(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| usize::from(self.ends[before]))
    }

    #[inline]
    fn long_before(&self, index: usize) -> usize {
        (self.is_long & below(index)).count_ones() as usize
    }

    /// How many entries from the first on satisfy `before`, which holds for none behind one that it does not hold for.
    #[inline]
    pub fn count_while(&self, before: &impl Fn(f64, &[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            let (score, member) = self.get(middle);
            if before(score, member) { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Where the entry stands, or where it would.
    pub fn find(&self, score: f64, member: &[u8]) -> Result<usize, usize> {
        let at = self.count_while(&|s, m| order((s, m), (score, member)).is_lt());
        let is_there = at < self.len() && order(self.get(at), (score, member)).is_eq();
        if is_there { Ok(at) } else { Err(at) }
    }

    /// Puts an entry at `index` in front of the one that is there. The leaf is not full.
    pub fn insert(&mut self, index: usize, score: f64, member: &[u8]) {
        assert!(self.len() < LEAF_MAX, "a full leaf is split first");
        let (low, high) = (self.is_long & below(index), self.is_long & !below(index));
        let start = self.offset(index);
        self.is_long = low | high << 1;
        let length = if member.len() > INLINE_BYTES_MAX {
            self.is_long |= 1 << index;
            self.long.insert(low.count_ones() as usize, member.into());
            0
        } else {
            self.open_gap(start, member.len());
            self.bytes[start..start + member.len()].copy_from_slice(member);
            member.len()
        };
        reserve(&mut self.scores, 1);
        self.scores.insert(index, score);
        reserve(&mut self.ends, 1);
        self.ends.insert(index, start as u16);
        self.ends[index..].iter_mut().for_each(|end| *end += length as u16);
    }

    fn open_gap(&mut self, at: usize, length: usize) {
        let before = self.bytes.len();
        reserve(&mut self.bytes, length);
        self.bytes.resize(before + length, 0);
        self.bytes.copy_within(at..before, at + length);
    }

    /// Removes the entries of a range.
    pub fn remove(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let (start, end) = (self.offset(range.start), self.offset(range.end));
        self.long.drain(self.long_before(range.start)..self.long_before(range.end));
        let high = if range.end < LEAF_MAX { self.is_long >> range.end } else { 0 };
        self.is_long = self.is_long & below(range.start) | high << range.start;
        self.bytes.drain(start..end);
        self.scores.drain(range.clone());
        self.ends.drain(range.clone());
        self.ends[range.start..].iter_mut().for_each(|offset| *offset -= (end - start) as u16);
        self.give_back();
    }

    /// Cuts off the entries from `index` on.
    pub fn split_off(&mut self, index: usize) -> Leaf {
        let (start, long) = (self.offset(index), self.long_before(index));
        let mut tail = Leaf {
            scores: self.scores.split_off(index),
            ends: self.ends.split_off(index),
            bytes: self.bytes.split_off(start),
            is_long: if index < LEAF_MAX { self.is_long >> index } else { 0 },
            long: self.long.split_off(long),
        };
        tail.ends.iter_mut().for_each(|end| *end -= start as u16);
        self.is_long &= below(index);
        self.give_back();
        tail
    }

    /// Takes over the entries of the leaf behind it; both fit one.
    pub fn append(&mut self, mut other: Leaf) {
        assert!(self.len() + other.len() <= LEAF_MAX, "leaves are merged when they fit");
        let (count, start) = (self.len(), self.bytes.len() as u16);
        self.is_long |= if count < LEAF_MAX { other.is_long << count } else { 0 };
        self.scores.append(&mut other.scores);
        self.ends.extend(other.ends.iter().map(|end| end + start));
        self.bytes.append(&mut other.bytes);
        self.long.append(&mut other.long);
    }

    /// Returns memory when less than half of it is used.
    fn give_back(&mut self) {
        if self.bytes.len() < self.bytes.capacity() / 2 {
            self.bytes.shrink_to_fit();
        }
        if self.len() < self.scores.capacity() / 2 {
            self.scores.shrink_to_fit();
            self.ends.shrink_to_fit();
            self.long.shrink_to_fit();
        }
    }

    /// Gives back what growing has left over: no more entries are expected here.
    pub fn shrink_to_fit(&mut self) {
        self.scores.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.bytes.shrink_to_fit();
        self.long.shrink_to_fit();
    }

    /// Bytes allocated, besides the leaf itself.
    pub fn memory_bytes(&self) -> usize {
        let long: usize = self.long.iter().map(|member| member.len()).sum();
        self.scores.capacity() * size_of::<f64>()
            + self.ends.capacity() * size_of::<u16>()
            + self.bytes.capacity()
            + self.long.capacity() * size_of::<Box<[u8]>>()
            + long
    }

    /// Members with an allocation of their own.
    pub fn long_count(&self) -> usize {
        self.long.len()
    }
}

/// The bits below `index`.
#[inline]
fn below(index: usize) -> u64 {
    if index < LEAF_MAX { (1 << index) - 1 } else { u64::MAX }
}

/// Makes room for `more` elements; grows by a quarter, as a leaf's size is bounded.
#[inline]
fn reserve<T>(vec: &mut Vec<T>, more: usize) {
    if vec.capacity() - vec.len() < more {
        vec.reserve_exact(more.max(vec.len() / 4).max(32 / size_of::<T>()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(leaf: &Leaf) -> Vec<(f64, Vec<u8>)> {
        (0..leaf.len()).map(|index| leaf.get(index)).map(|(score, member)| (score, member.to_vec())).collect()
    }

    /// Members of every kind of length, long ones among them.
    fn member(number: usize) -> Vec<u8> {
        let length = [0, 1, 16, 64, 65, 200][number % 6];
        let mut member = vec![b'm'; length];
        member.extend_from_slice(number.to_string().as_bytes());
        member
    }

    #[test]
    fn a_leaf_keeps_long_and_short_members_apart_and_in_order() {
        let (mut leaf, mut model) = (Leaf::default(), Vec::new());
        for number in 0..LEAF_MAX {
            let index = number * 7 % (model.len() + 1);
            leaf.insert(index, number as f64, &member(number));
            model.insert(index, (number as f64, member(number)));
            assert_eq!(entries(&leaf), model);
        }
        for (at, expected) in [(0, 64), (64, 0), (31, 33), (5, 59)] {
            let (mut head, mut copy) = (leaf.clone(), leaf.clone());
            let tail = head.split_off(at);
            assert_eq!((tail.len(), entries(&tail)), (expected, model[at..].to_vec()));
            assert_eq!(entries(&head), model[..at]);
            head.append(tail);
            assert_eq!(entries(&head), model);
            copy.remove(at / 2..at);
            let mut shorter = model.clone();
            shorter.drain(at / 2..at);
            assert_eq!(entries(&copy), shorter);
        }
        leaf.remove(0..LEAF_MAX);
        assert_eq!((leaf.len(), leaf.long_count()), (0, 0));
    }

    #[test]
    fn entries_are_found_by_score_then_bytes() {
        let mut leaf = Leaf::default();
        for (index, (score, member)) in [(-1.0, "z"), (0.0, "a"), (0.0, "b"), (2.0, "")].into_iter().enumerate() {
            leaf.insert(index, score, member.as_bytes());
        }
        assert_eq!(leaf.find(0.0, b"b"), Ok(2));
        assert_eq!(leaf.find(-0.0, b"b"), Ok(2), "zeros are equal");
        assert_eq!(leaf.find(0.0, b"ab"), Err(2));
        assert_eq!(leaf.find(f64::INFINITY, b""), Err(4));
        assert_eq!(leaf.find(f64::NEG_INFINITY, b"x"), Err(0));
    }
}
