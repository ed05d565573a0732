//! One bucket of a map: its entries in one buffer, without an allocation for each.
//!
//! ```text
//! tags           slots x 1 byte     a part of each key's hash
//! key lengths    slots x 1 byte     255: a large entry, which has an allocation of its own
//! value lengths  slots x 1 byte     not there as long as all values are empty
//! data                              keys, each followed by its value, in the order of the tags
//! free
//! ```
//!
//! An entry is found by its tag; where its data begins is the sum of the lengths in front of it, which costs less than
//! keeping offsets does. The numbers that describe the layout stand beside the pointer, so that nothing waits for
//! the buffer but the search itself.

use std::mem::take;

use crate::keyspace::entry::{room_for, size_class};

/// Key and value of at most so many bytes together stand in the buffer.
pub const INLINE_MAX_BYTES: usize = 128;
/// The number of entries has 16 bits.
pub const MAX_ENTRIES: usize = u16::MAX as usize;
/// In place of a key length.
const LARGE: u8 = u8::MAX;
const _: () = assert!(INLINE_MAX_BYTES < LARGE as usize);

/// A large entry: the length of its key, the key, the value.
type LargeEntry = Box<[u8]>;
const LARGE_HEADER_BYTES: usize = 8;

/// The large entries of a bucket, in the order of their tags.
#[derive(Clone, Debug, Default)]
struct LargeEntries(Vec<LargeEntry>);

/// What the large entries of a map come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LargeFigures {
    pub count: usize,
    pub bytes: usize,
}

impl LargeFigures {
    fn add(&mut self, entry: &LargeEntry) {
        self.count += 1;
        self.bytes += size_class(entry.len());
    }

    fn subtract(&mut self, entry: &LargeEntry) {
        self.count -= 1;
        self.bytes -= size_class(entry.len());
    }
}

/// Entries whose hashes have the same lowest bits.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    bytes: Box<[u8]>,
    large: Option<Box<LargeEntries>>,
    count: u16,
    slots: u16,
    /// Bytes of data; the highest bit says whether there are value lengths.
    data: u32,
}

const _: () = assert!(size_of::<Bucket>() == 32);
const HAS_VALUES: u32 = 1 << 31;

/// Where an entry stands. Valid until the bucket changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    index: usize,
    /// Where its data begins, unless it is large.
    offset: usize,
}

impl Bucket {
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Bytes allocated, without those of large entries.
    pub fn memory_bytes(&self) -> usize {
        let list = |large: &LargeEntries| size_of::<LargeEntries>() + large.0.capacity() * size_of::<LargeEntry>();
        self.bytes.len() + self.large.as_deref().map_or(0, list)
    }

    /// Where the key stands.
    #[inline]
    pub fn find(&self, tag: u8, key: &[u8]) -> Option<Place> {
        memchr::memchr_iter(tag, self.tags()).find_map(|index| match self.key_lengths()[index] {
            LARGE => (split_large(self.large_entry(index)).0 == key).then_some(Place { index, offset: 0 }),
            length if usize::from(length) == key.len() => {
                let offset = self.offset_of(index);
                (self.bytes[offset..offset + key.len()] == *key).then_some(Place { index, offset })
            }
            _ => None,
        })
    }

    /// The value of the entry at a place, whose key has this length.
    #[inline]
    pub fn value(&self, place: Place, key_length: usize) -> &[u8] {
        if self.is_large(place.index) {
            return split_large(self.large_entry(place.index)).1;
        }
        let start = place.offset + key_length;
        &self.bytes[start..start + self.value_length(place.index)]
    }

    /// The entry at an index, if there are as many.
    pub fn nth(&self, index: usize) -> Option<(&[u8], &[u8])> {
        if index >= self.len() {
            return None;
        }
        if self.is_large(index) {
            return Some(split_large(self.large_entry(index)));
        }
        let offset = self.offset_of(index);
        let (key_length, value_length) = (usize::from(self.key_lengths()[index]), self.value_length(index));
        Some(self.bytes[offset..offset + key_length + value_length].split_at(key_length))
    }

    pub fn iter(&self) -> Iter<'_> {
        Iter { bucket: Some(self), index: 0, offset: self.data_start(), large_index: 0 }
    }

    /// Adds an entry whose key is not there.
    pub fn push(&mut self, tag: u8, key: &[u8], value: &[u8], figures: &mut LargeFigures) {
        if is_large(key, value) {
            let entry = join_large(key, value);
            figures.add(&entry);
            self.push_large(tag, entry);
        } else {
            self.push_inline(tag, key, value);
        }
    }

    /// Gives the entry at a place, whose tag and key these are, another value.
    pub fn replace(&mut self, place: Place, tag: u8, key: &[u8], value: &[u8], figures: &mut LargeFigures) {
        if self.is_large(place.index) || is_large(key, value) {
            if let Some(old) = self.large_value_mut(place.index, key.len())
                && old.len() == value.len()
            {
                old.copy_from_slice(value);
                return;
            }
            self.remove(place, figures);
            self.push(tag, key, value, figures);
            return;
        }
        let (old, new) = (self.value_length(place.index), value.len());
        if old == new {
            let start = place.offset + key.len();
            self.bytes[start..start + new].copy_from_slice(value);
            return;
        }
        let data_bytes = self.data_bytes() - old + new;
        self.make_room(self.len(), data_bytes.max(self.data_bytes()), true);
        let start = self.offset_of(place.index) + key.len();
        let end = self.data_start() + self.data_bytes();
        self.bytes.copy_within(start + old..end, start + new);
        self.bytes[start..start + new].copy_from_slice(value);
        let slots = usize::from(self.slots);
        self.bytes[2 * slots + place.index] = new as u8;
        self.set_data_bytes(data_bytes);
        if new < old {
            self.give_back();
        }
    }

    pub fn remove(&mut self, place: Place, figures: &mut LargeFigures) {
        let Place { index, offset } = place;
        if self.is_large(index) {
            let nth = self.large_before(index);
            if let Some(large) = &mut self.large {
                figures.subtract(&large.0.remove(nth));
                if large.0.is_empty() {
                    self.large = None;
                } else if large.0.capacity() / 4 > large.0.len() {
                    large.0.shrink_to_fit();
                }
            }
        } else {
            let removed = usize::from(self.key_lengths()[index]) + self.value_length(index);
            let end = self.data_start() + self.data_bytes();
            self.bytes.copy_within(offset + removed..end, offset);
            self.set_data_bytes(self.data_bytes() - removed);
        }
        let (slots, count) = (usize::from(self.slots), self.len());
        for array in 0..self.arrays() {
            let start = array * slots;
            self.bytes.copy_within(start + index + 1..start + count, start + index);
        }
        self.count -= 1;
        self.give_back();
    }

    /// Removes the entries for which `keeps` is false; the order of the others stays.
    pub fn retain(&mut self, mut keeps: impl FnMut(&[u8], &[u8]) -> bool, figures: &mut LargeFigures) {
        let kept: Vec<bool> = self.iter().map(|(key, value)| keeps(key, value)).collect();
        if kept.iter().all(|kept| *kept) {
            return;
        }
        self.retain_large(&kept, figures);
        let (slots, arrays) = (usize::from(self.slots), self.arrays());
        let (mut count, mut from, mut to) = (0, self.data_start(), self.data_start());
        for (index, kept) in kept.iter().enumerate() {
            let length = inline_length(self.key_lengths()[index]) + self.value_length(index);
            if *kept {
                (0..arrays).for_each(|array| self.bytes[array * slots + count] = self.bytes[array * slots + index]);
                self.bytes.copy_within(from..from + length, to);
                to += length;
                count += 1;
            }
            from += length;
        }
        self.set_data_bytes(to - self.data_start());
        self.count = count as u16;
        self.give_back();
    }

    /// The part of `retain` that concerns the large entries; their marks are still there.
    fn retain_large(&mut self, kept: &[bool], figures: &mut LargeFigures) {
        let Some(mut large) = self.large.take() else { return };
        let mut kept = kept.iter().enumerate().filter(|(index, _)| self.is_large(*index)).map(|(_, kept)| *kept);
        large.0.retain(|entry| {
            let keeps = kept.next().unwrap_or(true);
            if !keeps {
                figures.subtract(entry);
            }
            keeps
        });
        if !large.0.is_empty() {
            large.0.shrink_to_fit();
            self.large = Some(large);
        }
    }

    /// Moves the entries whose keys go up to a bucket of their own.
    pub fn split(&mut self, goes_up: impl FnMut(&[u8]) -> bool) -> Bucket {
        let old = take(self);
        let up: Vec<bool> = old.iter().map(|(key, _)| key).map(goes_up).collect();
        let mut halves = [(0, 0); 2];
        for ((key_length, value_length), up) in old.lengths().zip(&up) {
            let half = &mut halves[usize::from(*up)];
            half.0 += 1;
            half.1 += key_length + value_length;
        }
        let mut upper = Bucket::default();
        self.make_room(halves[0].0, halves[0].1, old.has_values());
        upper.make_room(halves[1].0, halves[1].1, old.has_values());
        old.hand_over([self, &mut upper], |index| up[index]);
        upper
    }

    /// Takes over all entries of another bucket.
    pub fn merge(&mut self, other: Bucket) {
        if other.count == 0 {
            return;
        }
        let (count, data_bytes) = (self.len() + other.len(), self.data_bytes() + other.data_bytes());
        self.make_room(count, data_bytes, self.has_values() || other.has_values());
        other.hand_over([self, &mut Bucket::default()], |_| false);
    }

    /// Moves every entry to one of two buckets; their order stays.
    fn hand_over(mut self, targets: [&mut Bucket; 2], goes_up: impl Fn(usize) -> bool) {
        let large = self.large.take();
        let mut large = large.into_iter().flat_map(|large| large.0);
        let mut offset = self.data_start();
        for (index, (key_length, value_length)) in self.lengths().enumerate() {
            let target = &mut *targets[usize::from(goes_up(index))];
            if self.is_large(index) {
                target.push_large(self.tags()[index], large.next().expect("a large entry for each mark"));
            } else {
                let (key, value) = self.bytes[offset..offset + key_length + value_length].split_at(key_length);
                target.push_inline(self.tags()[index], key, value);
                offset += key_length + value_length;
            }
        }
    }

    fn push_inline(&mut self, tag: u8, key: &[u8], value: &[u8]) {
        let data_bytes = self.data_bytes() + key.len() + value.len();
        self.make_room(self.len() + 1, data_bytes, self.has_values() || !value.is_empty());
        let start = self.data_start() + self.data_bytes();
        self.bytes[start..start + key.len()].copy_from_slice(key);
        self.bytes[start + key.len()..start + key.len() + value.len()].copy_from_slice(value);
        self.set_data_bytes(data_bytes);
        self.push_numbers(tag, key.len() as u8, value.len() as u8);
    }

    fn push_large(&mut self, tag: u8, entry: LargeEntry) {
        self.make_room(self.len() + 1, self.data_bytes(), self.has_values());
        self.large.get_or_insert_default().0.push(entry);
        self.push_numbers(tag, LARGE, 0);
    }

    fn push_numbers(&mut self, tag: u8, key_length: u8, value_length: u8) {
        let (slots, count) = (usize::from(self.slots), self.len());
        for (array, number) in [tag, key_length, value_length].into_iter().take(self.arrays()).enumerate() {
            self.bytes[array * slots + count] = number;
        }
        self.count += 1;
    }

    /// Lays the bucket out anew if it has no room for so many entries and bytes of data in all.
    #[inline]
    fn make_room(&mut self, count: usize, data_bytes: usize, has_values: bool) {
        let fits = count <= usize::from(self.slots)
            && self.data_start() + data_bytes <= self.bytes.len()
            && (self.has_values() || !has_values);
        if !fits {
            self.lay_out(count, data_bytes, self.has_values() || has_values);
        }
    }

    /// Moves everything into a buffer for so many entries and bytes of data, and what more the allocator gives for it.
    fn lay_out(&mut self, count: usize, data_bytes: usize, has_values: bool) {
        if count == 0 {
            return;
        }
        let arrays = 2 + usize::from(has_values);
        let needed = count * arrays + data_bytes;
        let capacity = room_for(needed);
        let more = (capacity - needed) / (data_bytes / count + arrays);
        let slots = (count + more).min(MAX_ENTRIES);
        assert!(slots >= count, "the map splits a bucket before it is full");
        let mut bytes = vec![0; capacity].into_boxed_slice();
        for array in 0..self.arrays() {
            let from = array * usize::from(self.slots);
            bytes[array * slots..][..self.len()].copy_from_slice(&self.bytes[from..from + self.len()]);
        }
        let (start, length) = (self.data_start(), self.data_bytes());
        bytes[slots * arrays..][..length].copy_from_slice(&self.bytes[start..start + length]);
        self.bytes = bytes;
        self.slots = slots as u16;
        self.data = length as u32 | if has_values { HAS_VALUES } else { 0 };
    }

    /// Gives back what removing has left over, once it is a quarter.
    fn give_back(&mut self) {
        if self.count == 0 {
            *self = Bucket::default();
            return;
        }
        let used = self.arrays() * self.len() + self.data_bytes();
        if room_for(used) <= self.bytes.len() / 4 * 3 {
            self.lay_out(self.len(), self.data_bytes(), self.has_values());
        }
    }

    #[inline]
    fn has_values(&self) -> bool {
        self.data & HAS_VALUES != 0
    }

    #[inline]
    fn arrays(&self) -> usize {
        2 + usize::from(self.has_values())
    }

    #[inline]
    fn data_bytes(&self) -> usize {
        (self.data & !HAS_VALUES) as usize
    }

    fn set_data_bytes(&mut self, bytes: usize) {
        self.data = self.data & HAS_VALUES | bytes as u32;
    }

    #[inline]
    fn data_start(&self) -> usize {
        usize::from(self.slots) * self.arrays()
    }

    #[inline]
    fn tags(&self) -> &[u8] {
        &self.bytes[..self.len()]
    }

    #[inline]
    fn key_lengths(&self) -> &[u8] {
        &self.bytes[usize::from(self.slots)..][..self.len()]
    }

    #[inline]
    fn value_lengths(&self) -> &[u8] {
        if self.has_values() { &self.bytes[2 * usize::from(self.slots)..][..self.len()] } else { &[] }
    }

    #[inline]
    fn value_length(&self, index: usize) -> usize {
        self.value_lengths().get(index).map_or(0, |length| usize::from(*length))
    }

    #[inline]
    fn is_large(&self, index: usize) -> bool {
        self.key_lengths()[index] == LARGE
    }

    /// Bytes of each entry's key and value in the data.
    fn lengths(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let keys = self.key_lengths().iter().map(|length| inline_length(*length));
        keys.enumerate().map(|(index, key_length)| (key_length, self.value_length(index)))
    }

    /// Where the data of an entry begins that is not large.
    #[inline]
    fn offset_of(&self, index: usize) -> usize {
        let (keys, values) = (self.key_lengths(), self.value_lengths());
        let values = &values[..index.min(values.len())];
        let keys = keys[..index].iter().map(|length| inline_length(*length) as u32).sum::<u32>();
        let values = values.iter().map(|length| u32::from(*length)).sum::<u32>();
        self.data_start() + (keys + values) as usize
    }

    fn large_entry(&self, index: usize) -> &[u8] {
        let large = self.large.as_deref().expect("a large entry for each mark");
        &large.0[self.large_before(index)]
    }

    /// The value of an entry if it is large.
    fn large_value_mut(&mut self, index: usize, key_length: usize) -> Option<&mut [u8]> {
        if !self.is_large(index) {
            return None;
        }
        let nth = self.large_before(index);
        self.large.as_deref_mut()?.0.get_mut(nth)?.get_mut(LARGE_HEADER_BYTES + key_length..)
    }

    /// How many large entries stand in front.
    fn large_before(&self, index: usize) -> usize {
        self.key_lengths()[..index].iter().filter(|length| **length == LARGE).count()
    }
}

/// Bytes of a key in the data, by its mark.
#[inline]
fn inline_length(mark: u8) -> usize {
    if mark == LARGE { 0 } else { usize::from(mark) }
}

fn is_large(key: &[u8], value: &[u8]) -> bool {
    key.len() + value.len() > INLINE_MAX_BYTES
}

fn join_large(key: &[u8], value: &[u8]) -> LargeEntry {
    [&(key.len() as u64).to_le_bytes()[..], key, value].concat().into_boxed_slice()
}

fn split_large(entry: &[u8]) -> (&[u8], &[u8]) {
    let (header, rest) = entry.split_first_chunk::<LARGE_HEADER_BYTES>().expect("a large entry has a header");
    rest.split_at(u64::from_le_bytes(*header) as usize)
}

/// Entries of a bucket.
#[derive(Clone)]
pub struct Iter<'a> {
    bucket: Option<&'a Bucket>,
    index: usize,
    offset: usize,
    large_index: usize,
}

impl Iter<'_> {
    /// Of no bucket.
    pub fn empty() -> Self {
        Iter { bucket: None, index: 0, offset: 0, large_index: 0 }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let bucket = self.bucket?;
        let mark = *bucket.key_lengths().get(self.index)?;
        let value_length = bucket.value_length(self.index);
        self.index += 1;
        if mark == LARGE {
            let entry = bucket.large.as_deref()?.0.get(self.large_index)?;
            self.large_index += 1;
            return Some(split_large(entry));
        }
        let start = self.offset;
        self.offset += usize::from(mark) + value_length;
        Some(bucket.bytes[start..self.offset].split_at(usize::from(mark)))
    }
}

#[cfg(test)]
impl Bucket {
    /// Asserts everything that must hold between calls.
    pub fn check(&self) {
        assert!(self.len() <= usize::from(self.slots));
        assert!(self.data_start() + self.data_bytes() <= self.bytes.len());
        assert_eq!(self.lengths().map(|(key, value)| key + value).sum::<usize>(), self.data_bytes());
        let marks = self.key_lengths().iter().filter(|mark| **mark == LARGE).count();
        assert_eq!(marks, self.large.as_deref().map_or(0, |large| large.0.len()));
        assert!(self.large.is_none() || marks > 0);
        assert!(self.iter().all(|(key, value)| is_large(key, value) || key.len() + value.len() <= INLINE_MAX_BYTES));
    }

    pub fn large_figures(&self) -> LargeFigures {
        let mut figures = LargeFigures::default();
        self.large.iter().flat_map(|large| &large.0).for_each(|entry| figures.add(entry));
        figures
    }
}
