//! The table of one slot: extendible hashing over buckets.
//!
//! A small slot is one bucket, inline. A larger one has a directory indexed by the top `depth` bits of the hash. A
//! bucket of a lesser depth `d` covers `2^(depth - d)` places; it stands in the first of them, and the others hold
//! empty aliases that tell its depth. A full bucket splits in two by the next bit of the hash; two siblings that
//! became small merge. So no operation ever rehashes more than one bucket, however large the slot; only the
//! directory itself (16 bytes for about 90 keys) is copied when it doubles or halves.
//!
//! Used by the keyspace, which hashes the keys, keeps the counts of the database and decides what is expired. A
//! table owns its entries and is moved between cores as a whole: all cores hash with the same seeds.

use super::bucket::{BUCKET_MAX_ENTRIES, Bucket};
use super::entry::{EntryBox, EntryRef};
use super::expiry::NEVER;
use super::object::Object;
use crate::base::random::Random;

/// Most bits of the hash that choose a bucket: what fits in a scan cursor. 2^28 buckets hold 2 * 10^10 keys; past that
/// the buckets themselves grow.
pub(super) const MAX_DEPTH: u8 = if cfg!(test) { 8 } else { 28 };
/// Sibling buckets merge when they hold this many entries together.
const MERGE_MAX_ENTRIES: usize = 48;
/// How many entries ahead of the one that it visits a walk asks the memory for.
const WALK_AHEAD: usize = 8;

/// Computes the hash of a key.
pub(super) trait KeyHash {
    fn hash(&self, key: &[u8]) -> u64;
}

/// The part of the hash that orders the entries of a bucket.
#[inline]
pub(super) fn tag_of(hash: u64) -> u16 {
    hash as u16
}

/// Where an entry stands. Valid until the table changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    bucket: usize,
    index: usize,
}

/// What becomes of an entry that the walk of a snapshot has visited, and of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visited {
    GoOn,
    Stop,
    /// The entry is to be visited again.
    StopUnmarked,
}

/// All keys of one slot of one database.
pub struct SlotTable {
    root: Root,
    len: u64,
    volatile: u64,
}

enum Root {
    One(Bucket),
    Many(Box<Directory>),
}

struct Directory {
    depth: u8,
    /// How many buckets have the directory's full depth; without any it halves.
    deepest: usize,
    /// 2^depth buckets and aliases.
    buckets: Vec<Bucket>,
}

const _: () = assert!(size_of::<SlotTable>() == 32);
/// Tables move between cores.
const _: fn() = || {
    fn moves_between_threads<T: Send>() {}
    moves_between_threads::<SlotTable>();
};

impl Default for SlotTable {
    fn default() -> Self {
        SlotTable::new()
    }
}

impl SlotTable {
    /// An empty table, without an allocation.
    pub const fn new() -> Self {
        SlotTable { root: Root::One(Bucket::new(0)), len: 0, volatile: 0 }
    }

    /// Keys, expired ones that nobody met yet included.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keys that have an expiry.
    pub fn volatile_len(&self) -> u64 {
        self.volatile
    }

    /// Bytes of arrays and directory, without the table itself and its entries.
    pub(super) fn overhead_bytes(&self) -> usize {
        let buckets = self.buckets().iter();
        let arrays: usize = buckets.map(Bucket::allocated_bytes).sum();
        match &self.root {
            Root::One(_) => arrays,
            Root::Many(directory) => {
                arrays + size_of::<Directory>() + directory.buckets.capacity() * size_of::<Bucket>()
            }
        }
    }

    /// The buckets in order of their hash prefixes; aliases among them are empty.
    pub(super) fn buckets(&self) -> &[Bucket] {
        match &self.root {
            Root::One(bucket) => std::slice::from_ref(bucket),
            Root::Many(directory) => &directory.buckets,
        }
    }

    /// The index in [`SlotTable::buckets`] of the bucket in which keys with `hash` belong.
    #[inline]
    pub(super) fn bucket_index(&self, hash: u64) -> usize {
        match &self.root {
            Root::One(_) => 0,
            Root::Many(directory) => directory.owner((hash >> (64 - u32::from(directory.depth))) as usize),
        }
    }

    /// The bucket in which keys with `hash` belong.
    #[inline]
    pub(super) fn bucket_at(&self, hash: u64) -> &Bucket {
        self.bucket(self.bucket_index(hash))
    }

    /// The buckets whose keys' hashes begin with the `depth` bits `prefix`. The bucket of this prefix must be at least as
    /// deep.
    pub(super) fn buckets_with_prefix(&self, prefix: u64, depth: u8) -> &[Bucket] {
        match &self.root {
            Root::One(bucket) => std::slice::from_ref(bucket),
            Root::Many(directory) => {
                let span = directory.span(depth);
                let first = prefix as usize * span;
                &directory.buckets[first..first + span]
            }
        }
    }

    #[inline]
    fn bucket(&self, index: usize) -> &Bucket {
        match &self.root {
            Root::One(bucket) => bucket,
            Root::Many(directory) => &directory.buckets[index],
        }
    }

    #[inline]
    fn bucket_mut(&mut self, index: usize) -> &mut Bucket {
        match &mut self.root {
            Root::One(bucket) => bucket,
            Root::Many(directory) => &mut directory.buckets[index],
        }
    }

    /// Where `key` stands.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<Place> {
        let bucket = self.bucket_index(hash);
        let index = self.bucket(bucket).find(tag_of(hash), |entry| entry.key() == key)?;
        Some(Place { bucket, index })
    }

    #[inline]
    pub(super) fn entry(&self, place: Place) -> EntryRef<'_> {
        self.bucket(place.bucket).entry(place.index)
    }

    /// Lends an entry out to be changed in anything but its key and expiry.
    #[inline]
    pub(super) fn with_entry<R>(&mut self, place: Place, change: impl FnOnce(&mut EntryBox) -> R) -> R {
        self.bucket_mut(place.bucket).with_entry(place.index, change)
    }

    /// The collection at a place, to be changed.
    pub(super) fn object_mut(&mut self, place: Place) -> Option<&mut Object> {
        self.bucket_mut(place.bucket).object_mut(place.index)
    }

    /// Bytes of the bucket's array for each of its entries: an entry's share of the table.
    pub(super) fn share_bytes(&self, place: Place) -> usize {
        let bucket = self.bucket(place.bucket);
        bucket.allocated_bytes().div_ceil(bucket.len().max(1))
    }

    /// An entry, `None` in an empty table. Every entry of a bucket is equally likely, and every bucket by the share of the
    /// hash space that it covers.
    pub(super) fn random_entry(&self, random: &mut Random) -> Option<Place> {
        if self.len == 0 {
            return None;
        }
        loop {
            let bucket = self.bucket_index(random.next_u64());
            let len = self.bucket(bucket).len();
            if len > 0 {
                let index = random.below(len as u64) as usize;
                return Some(Place { bucket, index });
            }
        }
    }

    /// An entry that has an expiry, `None` where there is none. Roughly every one is equally likely; where they are rare
    /// among many it looks at bucket after bucket.
    pub(super) fn random_volatile_entry(&self, random: &mut Random) -> Option<Place> {
        if self.volatile == 0 {
            return None;
        }
        let buckets = self.buckets();
        let first = random.below(buckets.len() as u64) as usize;
        (first..buckets.len()).chain(0..first).find_map(|bucket| {
            let entries = &buckets[bucket];
            if entries.min_expiry() == NEVER {
                return None;
            }
            let from = random.below(entries.len().max(1) as u64) as usize;
            let mut indexes = (from..entries.len()).chain(0..from);
            let index = indexes.find(|index| entries.entry(*index).expiry().is_some())?;
            Some(Place { bucket, index })
        })
    }

    /// Sets, changes or removes the expiry (Unix milliseconds).
    pub(super) fn set_expiry(&mut self, place: Place, expiry: Option<i64>) {
        let before = self.entry(place).expiry().is_some();
        let bucket = self.bucket_mut(place.bucket);
        bucket.with_entry(place.index, |entry| entry.set_expiry(expiry));
        if let Some(expiry) = expiry {
            bucket.note_expiry(expiry);
        }
        self.volatile = self.volatile + u64::from(expiry.is_some()) - u64::from(before);
    }

    /// Inserts an entry whose key has `hash` and is not in the table.
    pub(super) fn insert(&mut self, hash: u64, entry: EntryBox, hasher: &impl KeyHash) -> Place {
        let mut bucket = self.bucket_index(hash);
        while self.bucket(bucket).len() >= BUCKET_MAX_ENTRIES && self.bucket(bucket).depth() < MAX_DEPTH {
            self.split(bucket, hasher);
            bucket = self.bucket_index(hash);
        }
        self.len += 1;
        self.volatile += u64::from(entry.borrow().expiry().is_some());
        let tag = tag_of(hash);
        let place = Place { bucket, index: self.bucket(bucket).lower_bound(tag) };
        self.bucket_mut(bucket).insert(place.index, tag, entry);
        place
    }

    pub(super) fn remove(&mut self, place: Place) -> EntryBox {
        let entry = self.bucket_mut(place.bucket).remove(place.index);
        self.count_removed(&entry);
        self.merge_around(place.bucket);
        entry
    }

    fn count_removed(&mut self, entry: &EntryBox) {
        self.len -= 1;
        self.volatile -= u64::from(entry.borrow().expiry().is_some());
    }

    /// Removes what is due in one bucket and hands it to `removed`. Returns how many entries it looked at.
    pub(super) fn remove_due(
        &mut self,
        bucket_index: usize,
        is_due: impl Fn(i64) -> bool,
        removed: &mut dyn FnMut(EntryBox),
    ) -> usize {
        let visited = self.bucket(bucket_index).len();
        let mut index = visited;
        let mut any = false;
        while index > 0 {
            index -= 1;
            let bucket = self.bucket_mut(bucket_index);
            if bucket.entry(index).expiry().is_some_and(&is_due) {
                let entry = bucket.remove(index);
                self.count_removed(&entry);
                removed(entry);
                any = true;
            }
        }
        self.bucket_mut(bucket_index).refresh_min_expiry();
        if any {
            self.merge_around(bucket_index);
        }
        visited
    }

    /// Visits those entries of the bucket with the keys of `hash` that do not carry `cut`, and gives it to them after, unless
    /// `visit` wants to see them again. Stops when it says so; returns whether it went through all. Entries that carry it
    /// count as `skipped`.
    pub(super) fn mark_bucket(
        &mut self,
        hash: u64,
        cut: bool,
        skipped: &mut usize,
        visit: &mut dyn FnMut(EntryRef<'_>) -> Visited,
    ) -> bool {
        let index = self.bucket_index(hash);
        let bucket = self.bucket_mut(index);
        for at in 0..bucket.len() {
            bucket.prefetch_at(at + WALK_AHEAD);
            if bucket.entry(at).cut() == cut {
                *skipped += 1;
                continue;
            }
            let visited = visit(bucket.entry(at));
            if visited == Visited::StopUnmarked {
                return false;
            }
            bucket.with_entry(at, |entry| entry.set_cut(cut));
            if visited == Visited::Stop {
                return false;
            }
        }
        true
    }

    /// The lowest hash behind the bucket with the keys of `hash`; `None` behind the last one.
    pub(super) fn hash_behind(&self, hash: u64) -> Option<u64> {
        let bits_left = u64::BITS - u32::from(self.bucket_at(hash).depth());
        let next = hash.checked_shr(bits_left)? + 1;
        next.checked_shl(bits_left).filter(|behind| behind >> bits_left == next)
    }

    /// Takes any one entry out, cheapest first: for freeing in slices. The table is not to be searched after.
    pub(super) fn pop(&mut self) -> Option<EntryBox> {
        loop {
            match &mut self.root {
                Root::One(bucket) => {
                    let entry = bucket.pop()?;
                    self.count_removed(&entry);
                    return Some(entry);
                }
                Root::Many(directory) => {
                    let Some(last) = directory.buckets.last_mut() else {
                        self.root = Root::One(Bucket::new(0));
                        continue;
                    };
                    if let Some(entry) = last.pop() {
                        self.count_removed(&entry);
                        return Some(entry);
                    }
                    directory.buckets.pop();
                }
            }
        }
    }

    /// Splits a bucket in two by the next bit of its keys' hashes.
    fn split(&mut self, index: usize, hasher: &impl KeyHash) {
        let bit = 63 - u32::from(self.bucket(index).depth());
        let goes_up = |entry: EntryRef<'_>| hasher.hash(entry.key()) >> bit & 1 == 1;
        match &mut self.root {
            Root::One(bucket) => {
                let upper = bucket.split(goes_up);
                let lower = std::mem::replace(bucket, Bucket::new(0));
                self.root = Root::Many(Box::new(Directory { depth: 1, deepest: 2, buckets: vec![lower, upper] }));
            }
            Root::Many(directory) => directory.split(index, goes_up),
        }
    }

    /// Merges the bucket with its sibling as long as both together are small.
    fn merge_around(&mut self, index: usize) {
        if let Root::Many(directory) = &mut self.root
            && let Some(only) = directory.merge_around(index)
        {
            self.root = Root::One(only);
        }
    }
}

impl Directory {
    /// The place in which the bucket that covers place `index` stands.
    #[inline]
    fn owner(&self, index: usize) -> usize {
        let shift = self.depth - self.buckets[index].depth();
        index >> shift << shift
    }

    /// How many places a bucket of this depth covers.
    fn span(&self, depth: u8) -> usize {
        1 << (self.depth - depth)
    }

    fn split(&mut self, index: usize, goes_up: impl FnMut(EntryRef<'_>) -> bool) {
        let mut index = index;
        if self.buckets[index].depth() == self.depth {
            self.double();
            index *= 2;
        }
        let depth = self.buckets[index].depth() + 1;
        let span = self.span(depth);
        let upper = self.buckets[index].split(goes_up);
        self.buckets[index + span] = upper;
        self.set_depth(index..index + 2 * span, depth);
        if depth == self.depth {
            self.deepest += 2;
        }
    }

    fn set_depth(&mut self, places: std::ops::Range<usize>, depth: u8) {
        for bucket in &mut self.buckets[places] {
            bucket.set_depth(depth);
        }
    }

    fn double(&mut self) {
        let mut buckets = Vec::with_capacity(self.buckets.len() * 2);
        for bucket in self.buckets.drain(..) {
            let alias = Bucket::new(bucket.depth());
            buckets.push(bucket);
            buckets.push(alias);
        }
        self.buckets = buckets;
        self.depth += 1;
        self.deepest = 0;
    }

    /// Returns the bucket when only one is left.
    fn merge_around(&mut self, index: usize) -> Option<Bucket> {
        let mut index = index;
        loop {
            let depth = self.buckets[index].depth();
            let span = self.span(depth);
            let (lower, upper) = (index & !span, index | span);
            let (low, high) = (&self.buckets[lower], &self.buckets[upper]);
            if low.depth() != high.depth() || low.len() + high.len() > MERGE_MAX_ENTRIES {
                return None;
            }
            let sibling = std::mem::replace(&mut self.buckets[upper], Bucket::new(depth));
            self.buckets[lower].merge(sibling);
            self.set_depth(lower..lower + 2 * span, depth - 1);
            if depth == self.depth {
                self.deepest -= 2;
            }
            index = lower;
            while self.deepest == 0 {
                if self.depth == 1 {
                    return Some(self.buckets.swap_remove(0));
                }
                self.halve();
                index /= 2;
            }
        }
    }

    fn halve(&mut self) {
        self.buckets = self.buckets.drain(..).step_by(2).collect();
        self.depth -= 1;
        self.deepest = self.buckets.iter().filter(|bucket| bucket.depth() == self.depth).count();
    }
}

#[cfg(test)]
impl SlotTable {
    /// Asserts everything that must hold between calls.
    pub(super) fn check(&self, hasher: &impl KeyHash) {
        let (mut len, mut volatile, mut deepest) = (0, 0, 0);
        let depth = match &self.root {
            Root::One(bucket) => {
                assert_eq!(bucket.depth(), 0);
                0
            }
            Root::Many(directory) => {
                assert!((1..=MAX_DEPTH).contains(&directory.depth));
                assert_eq!(directory.buckets.len(), 1 << directory.depth);
                directory.depth
            }
        };
        for (index, bucket) in self.buckets().iter().enumerate() {
            assert!(bucket.depth() <= depth);
            let span = 1usize << (depth - bucket.depth());
            if index % span != 0 {
                assert_eq!(bucket.len(), 0, "an alias is empty");
                assert_eq!(bucket.depth(), self.buckets()[index / span * span].depth());
                continue;
            }
            deepest += usize::from(bucket.depth() == depth);
            assert!(bucket.len() <= BUCKET_MAX_ENTRIES || bucket.depth() == MAX_DEPTH);
            let mut last_tag = 0;
            for (position, entry) in bucket.entries().enumerate() {
                let hash = hasher.hash(entry.key());
                assert_eq!(self.bucket_index(hash), index);
                assert_eq!(bucket.tag(position), tag_of(hash));
                assert!(last_tag <= tag_of(hash));
                last_tag = tag_of(hash);
                len += 1;
                if let Some(expiry) = entry.expiry() {
                    volatile += 1;
                    assert!(bucket.min_expiry() <= super::expiry::coarse(expiry));
                }
            }
        }
        assert_eq!((len, volatile), (self.len, self.volatile));
        if let Root::Many(directory) = &self.root {
            assert_eq!(deepest, directory.deepest);
            assert!(deepest > 0);
        }
    }
}
