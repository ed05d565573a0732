//! A map from bytes to bytes for the large forms of hashes, sets and sorted sets: lean, and without a pause however far
//! it grows.
//!
//! Linear hashing over buckets of a few dozen entries, each bucket one buffer ([`bucket`]). With `n` buckets, an entry stands in
//! the bucket that the lowest bits of its hash name: as many bits as count to `n`, one less where that would be `n` or
//! more. So growing by one bucket splits one other, shrinking by one merges two, and nothing else moves. The buckets
//! stand in segments, which are never copied either.
//!
//! Used by `hash`, `set` and `sorted_set`, which decide what keys and values mean. Each map has a secret of its own in its
//! hash. Nothing here knows limits or configuration.

mod bucket;

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hasher};

use super::object::extrapolate;
use crate::base::random::Random;
use bucket::{Bucket, LargeFigures};

/// Entries per bucket, on average over all buckets, from which on the map grows: those about to be split hold up to twice
/// as many, those just split half. More would take longer to search, fewer weigh more.
const LOAD_MAX: usize = if cfg!(test) { 4 } else { 16 };
/// Entries per bucket on average below which the map shrinks.
const LOAD_MIN: usize = LOAD_MAX / 4;
/// More in one bucket make the map grow whatever its load.
const BUCKET_MAX_ENTRIES: usize = if cfg!(test) { 64 } else { bucket::MAX_ENTRIES };
/// Draws that may meet no entry before they are counted instead. A map of usual shape gets here once in 10^8 times.
const RANDOM_DRAWS_MAX: usize = 256;
/// Buckets that stand together.
const SEGMENT_BUCKETS: usize = if cfg!(test) { 8 } else { 256 };
/// Bits of the hash in a scan cursor: more than a map has bits of buckets, and few enough for a double.
const CURSOR_BITS: u32 = 48;

/// Keys and values, both any bytes; a set has empty values.
#[derive(Clone, Debug, Default)]
pub struct PackedMap {
    /// All but the last are full. None as long as nothing was inserted.
    segments: Vec<Vec<Bucket>>,
    buckets_count: usize,
    len: usize,
    /// No bucket has more entries: what random draws go by.
    fullest: usize,
    large: LargeFigures,
    hasher: ahash::RandomState,
}

impl PackedMap {
    pub fn new() -> PackedMap {
        PackedMap::default()
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at `key`.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        if self.len == 0 {
            return None;
        }
        let hash = self.hash(key);
        let bucket = self.bucket(self.bucket_of(hash));
        bucket.find(tag_of(hash), key).map(|place| bucket.value(place, key.len()))
    }

    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Sets the value at `key`; true when the key is new. A value of the same length is written over the old one.
    pub fn insert(&mut self, key: &[u8], value: &[u8]) -> bool {
        if self.buckets_count == 0 {
            self.push_bucket(Bucket::default());
        }
        let (hash, mut large) = (self.hash(key), self.large);
        let bucket = self.bucket_mut(self.bucket_of(hash));
        let found = bucket.find(tag_of(hash), key);
        match found {
            Some(place) => {
                bucket.replace(place, tag_of(hash), key, value, &mut large);
                self.large = large;
            }
            None => self.push(hash, key, value),
        }
        found.is_none()
    }

    /// Adds an entry whose key is not there.
    fn push(&mut self, hash: u64, key: &[u8], value: &[u8]) {
        let mut index = self.bucket_of(hash);
        // Only who chooses keys by what scans have told of their hashes gets a bucket this full.
        while self.bucket(index).len() >= BUCKET_MAX_ENTRIES {
            self.grow();
            index = self.bucket_of(hash);
        }
        let mut large = self.large;
        let bucket = self.bucket_mut(index);
        bucket.push(tag_of(hash), key, value, &mut large);
        let count = bucket.len();
        self.large = large;
        self.fullest = self.fullest.max(count);
        self.len += 1;
        if self.len > self.buckets_count * LOAD_MAX {
            self.grow();
        }
    }

    /// Removes `key`; whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        if self.len == 0 {
            return false;
        }
        let (hash, mut large) = (self.hash(key), self.large);
        let bucket = self.bucket_mut(self.bucket_of(hash));
        let Some(place) = bucket.find(tag_of(hash), key) else { return false };
        bucket.remove(place, &mut large);
        self.large = large;
        self.len -= 1;
        if self.len < self.buckets_count * LOAD_MIN && self.buckets_count > 1 {
            self.shrink();
        }
        true
    }

    /// Removes the entries for which `keeps` is false. Passes over all of them in the order of memory, which for many costs
    /// far less than to look each up.
    pub fn retain(&mut self, mut keeps: impl FnMut(&[u8], &[u8]) -> bool) {
        let (mut large, mut len) = (self.large, 0);
        for bucket in self.segments.iter_mut().flatten() {
            bucket.retain(&mut keeps, &mut large);
            len += bucket.len();
        }
        (self.large, self.len) = (large, len);
        while self.len < self.buckets_count * LOAD_MIN && self.buckets_count > 1 {
            let before = self.buckets_count;
            self.shrink();
            if self.buckets_count == before {
                return;
            }
        }
    }

    /// Every entry once, in no particular order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { segments: self.segments.iter(), buckets: [].iter(), entries: bucket::Iter::empty() }
    }

    /// Any entry, each with the same probability; `None` when there is none.
    pub fn random(&self, random: &mut Random) -> Option<(&[u8], &[u8])> {
        if self.len == 0 {
            return None;
        }
        // A place in a bucket as full as the fullest is drawn until there is an entry in it: every few draws, as a rule.
        for _ in 0..RANDOM_DRAWS_MAX {
            let bucket = self.bucket(random.below(self.buckets_count as u64) as usize);
            if let Some(entry) = bucket.nth(random.below(self.fullest as u64) as usize) {
                return Some(entry);
            }
        }
        let mut nth = random.below(self.len as u64) as usize;
        for bucket in self.segments.iter().flatten() {
            match nth.checked_sub(bucket.len()) {
                None => return bucket.nth(nth),
                Some(left) => nth = left,
            }
        }
        None
    }

    /// Visits entries from `cursor` (0 at the beginning) on until about `count` were visited; returns where to go on, 0 at the
    /// end. An entry that is there from the first call to the last is visited at least once.
    ///
    /// The walk is in order of the hashes read backwards, bit by bit. There a bucket is one stretch, a split one two
    /// stretches side by side: the cursor, a place in that order, means the same however many buckets there are, and all
    /// that is in front of it has been visited.
    pub fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(&[u8], &[u8])) -> u64 {
        if self.len == 0 {
            return 0;
        }
        let mut place = cursor << (u64::BITS - CURSOR_BITS);
        let mut visited = 0;
        loop {
            let index = self.bucket_of(place.reverse_bits());
            let bucket = self.bucket(index);
            bucket.iter().for_each(|(key, value)| visit(key, value));
            // A bucket that is empty costs a little, too.
            visited += bucket.len().max(1);
            let stretch = u64::MAX.checked_shr(self.depth_of(index)).unwrap_or(0);
            match (place | stretch).checked_add(1) {
                None => return 0,
                Some(next) => place = next,
            }
            if visited >= count {
                return place >> (u64::BITS - CURSOR_BITS);
            }
        }
    }

    /// Bytes allocated; see `Object::memory_bytes`.
    pub fn memory_bytes(&self, samples: usize) -> usize {
        let segments = self.segments.iter().map(|segment| segment.capacity() * size_of::<Bucket>()).sum::<usize>();
        let buckets = self.segments.iter().flatten().map(|bucket| (bucket.len(), bucket.memory_bytes()));
        let buckets = extrapolate(buckets, self.len, samples);
        self.segments.capacity() * size_of::<Vec<Bucket>>() + segments + buckets + self.large.bytes
    }

    /// Allocations, about.
    pub fn free_effort(&self) -> usize {
        self.buckets_count + self.large.count
    }

    /// Frees buckets from the last, one for each of `budget`, which it takes them off; true when none is left. The map is of no
    /// other use after.
    pub fn dismantle(&mut self, budget: &mut usize) -> bool {
        while let Some(segment) = self.segments.last_mut() {
            let kept = segment.len().saturating_sub(*budget);
            *budget -= segment.len() - kept;
            segment.truncate(kept);
            if kept > 0 {
                return false;
            }
            self.segments.pop();
        }
        true
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    /// The bucket in which keys with `hash` belong. There must be buckets.
    #[inline]
    fn bucket_of(&self, hash: u64) -> usize {
        let half = 1 << self.buckets_count.ilog2();
        let index = hash as usize & (2 * half - 1);
        if index < self.buckets_count { index } else { index - half }
    }

    /// How many bits of a hash say that it belongs in this bucket.
    fn depth_of(&self, index: usize) -> u32 {
        let bits = self.buckets_count.ilog2();
        let half = 1 << bits;
        bits + u32::from(index >= half || index + half < self.buckets_count)
    }

    #[inline]
    fn bucket(&self, index: usize) -> &Bucket {
        &self.segments[index / SEGMENT_BUCKETS][index % SEGMENT_BUCKETS]
    }

    #[inline]
    fn bucket_mut(&mut self, index: usize) -> &mut Bucket {
        &mut self.segments[index / SEGMENT_BUCKETS][index % SEGMENT_BUCKETS]
    }

    /// One bucket more, which takes its entries from the one whose turn it is.
    fn grow(&mut self) {
        let bit = self.buckets_count.ilog2();
        let hasher = self.hasher.clone();
        let goes_up = |key: &[u8]| {
            let mut hasher = hasher.build_hasher();
            hasher.write(key);
            hasher.finish() >> bit & 1 == 1
        };
        let upper = self.bucket_mut(self.buckets_count - (1 << bit)).split(goes_up);
        self.push_bucket(upper);
    }

    /// One bucket less: the last one goes back to where it came from, unless both together were too full.
    fn shrink(&mut self) {
        let last = self.buckets_count - 1;
        let lower = last - (1 << last.ilog2());
        if self.bucket(last).len() + self.bucket(lower).len() > BUCKET_MAX_ENTRIES / 2 {
            return;
        }
        let Some(last) = self.segments.last_mut().and_then(Vec::pop) else { return };
        if self.segments.last().is_some_and(Vec::is_empty) {
            self.segments.pop();
            if self.segments.capacity() / 4 > self.segments.len() {
                self.segments.shrink_to_fit();
            }
        }
        self.buckets_count -= 1;
        let lower = self.bucket_mut(lower);
        lower.merge(last);
        let count = lower.len();
        self.fullest = self.fullest.max(count);
    }

    fn push_bucket(&mut self, bucket: Bucket) {
        match self.segments.last_mut() {
            Some(segment) if segment.len() < SEGMENT_BUCKETS => segment.push(bucket),
            Some(_) => {
                let mut segment = Vec::with_capacity(SEGMENT_BUCKETS);
                segment.push(bucket);
                self.segments.push(segment);
            }
            None => self.segments.push(vec![bucket]),
        }
        self.buckets_count += 1;
    }
}

/// The part of a hash that tells most keys of a bucket apart; the other end of it chooses the bucket.
#[inline]
fn tag_of(hash: u64) -> u8 {
    (hash >> (u64::BITS - u8::BITS)) as u8
}

/// Entries of a map, bucket by bucket.
#[derive(Clone)]
pub struct Iter<'a> {
    segments: std::slice::Iter<'a, Vec<Bucket>>,
    buckets: std::slice::Iter<'a, Bucket>,
    entries: bucket::Iter<'a>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Some(entry);
            }
            match self.buckets.next() {
                Some(bucket) => self.entries = bucket.iter(),
                None => self.buckets = self.segments.next()?.iter(),
            }
        }
    }
}
