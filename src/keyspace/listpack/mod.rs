//! Listpack: a sequence of strings and integers in one allocation, in the byte format of Redis, so that dumping a small
//! collection is a copy.
//!
//! ```text
//! offset  size  field
//!      0     4  bytes in all, little-endian
//!      4     2  elements, little-endian; 65535: more than that, count them
//!      6     n  elements
//!           1   0xff
//!
//! element = encoding and data, then the length of those two, readable backwards (1 to 5 bytes)
//!   0xxxxxxx                  integer 0..=127
//!   10xxxxxx                  string, 6 bits of length
//!   110xxxxx x                integer of 13 bits, signed
//!   1110xxxx x                string, 12 bits of length
//!   11110000 llll             string, 32 bits of length, little-endian
//!   11110001 .. 11110100      integer of 16, 24, 32, 64 bits, little-endian
//! ```
//!
//! Strings that spell a canonical integer are kept as that integer. Used by the collections of the keyspace; knows nothing of what
//! the elements mean, and leaves the limits (elements, bytes) to them.

mod adopted;
mod encoding;
mod room;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use encoding::{
    Encoded, SCRATCH_BYTES, backlen_size, checked_size, decode, decode_backlen, encode_backlen, encode_integer, encoded,
};

use crate::base::number::parse_i64;
use room::Room;

const HEADER_BYTES: usize = 6;
const END: u8 = 0xff;
/// The first byte of a string with 6 bits of length: so long, its backward length takes one byte.
const SHORT_STRING: u8 = 0b1000_0000;
const SHORT_STRING_MASK: u8 = 0b1100_0000;
/// Element counts from here on are not kept in the header.
const COUNT_UNKNOWN: u16 = u16::MAX;
/// Longest integer as text, with its sign.
const INTEGER_TEXT_MAX: usize = 20;

/// An element where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Element<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
}

/// Room for the digits of an integer; see [`Element::as_bytes`].
pub type Digits = itoa::Buffer;

impl<'a> Element<'a> {
    /// The element's bytes; an integer is written into `digits` first.
    #[inline]
    pub fn as_bytes<'b>(&self, digits: &'b mut Digits) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            Element::Integer(integer) => digits.format(integer).as_bytes(),
            Element::Bytes(bytes) => bytes,
        }
    }

    /// The element's bytes in a vector of their own.
    pub fn to_vec(&self) -> Vec<u8> {
        self.as_bytes(&mut Digits::new()).to_vec()
    }

    /// The integer that the element spells, if it does.
    pub fn integer(&self) -> Option<i64> {
        match *self {
            Element::Integer(integer) => Some(integer),
            Element::Bytes(bytes) => parse_i64(bytes),
        }
    }

    /// Whether the element is these bytes.
    #[inline]
    pub fn is(&self, bytes: &[u8]) -> bool {
        match *self {
            Element::Bytes(ours) => ours == bytes,
            Element::Integer(integer) => {
                bytes.len() <= INTEGER_TEXT_MAX && Digits::new().format(integer).as_bytes() == bytes
            }
        }
    }
}

/// Bytes on their way in, once looked at: searching for the same needle many times parses it once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needle<'a> {
    element: Element<'a>,
}

impl<'a> Needle<'a> {
    pub fn new(bytes: &'a [u8]) -> Needle<'a> {
        let integer = if bytes.len() <= INTEGER_TEXT_MAX { parse_i64(bytes) } else { None };
        Needle { element: integer.map_or(Element::Bytes(bytes), Element::Integer) }
    }

    pub fn from_integer(integer: i64) -> Needle<'a> {
        Needle { element: Element::Integer(integer) }
    }

    /// Whether an element is what is searched for.
    #[inline]
    pub fn is(&self, element: Element<'_>) -> bool {
        self.element == element
    }

    /// As it would stand in a listpack.
    pub fn element(&self) -> Element<'a> {
        self.element
    }
}

impl<'a> From<Element<'a>> for Needle<'a> {
    /// Of a listpack's or another set's element: integers are not parsed again.
    fn from(element: Element<'a>) -> Needle<'a> {
        match element {
            Element::Integer(_) => Needle { element },
            Element::Bytes(bytes) => Needle::new(bytes),
        }
    }
}

/// Where an element begins. Valid until the listpack changes in front of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct At(usize);

/// Why bytes are no listpack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damaged;

/// An owned listpack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listpack {
    bytes: Room,
}

impl Default for Listpack {
    fn default() -> Self {
        Listpack::new()
    }
}

impl Listpack {
    /// Without elements.
    pub fn new() -> Listpack {
        Listpack { bytes: Room::with_capacity(&[HEADER_BYTES as u8 + 1, 0, 0, 0, 0, 0, END], 16) }
    }

    /// Takes over bytes from outside after a look at every element of them.
    ///
    /// # Errors
    /// `Damaged`: a length, a count or an encoding does not add up.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Listpack, Damaged> {
        let total = bytes.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize).ok_or(Damaged)?;
        if bytes.len() < HEADER_BYTES + 1 || total != bytes.len() || bytes.last() != Some(&END) {
            return Err(Damaged);
        }
        let (mut at, mut count) = (HEADER_BYTES, 0usize);
        let end = bytes.len() - 1;
        while at < end {
            let size = checked_size(&bytes[at..end]).ok_or(Damaged)?;
            let (backlen, backlen_bytes) = decode_backlen(&bytes[..at + size + backlen_size(size)]).ok_or(Damaged)?;
            if backlen != size || backlen_bytes != backlen_size(size) {
                return Err(Damaged);
            }
            at += size + backlen_bytes;
            count += 1;
        }
        let kept = u16::from_le_bytes([bytes[4], bytes[5]]);
        if at != end || (kept != COUNT_UNKNOWN && usize::from(kept) != count) {
            return Err(Damaged);
        }
        Ok(Listpack { bytes: bytes.into() })
    }

    /// Writes the bytes of a listpack of one string over what is in `out`.
    pub fn write_single(string: &[u8], out: &mut Vec<u8>) {
        let mut listpack = Listpack::new();
        listpack.push_back(string);
        out.clear();
        out.extend_from_slice(listpack.as_bytes());
    }

    /// The bytes of the format.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of the format, header and end included.
    #[inline]
    pub fn total_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes allocated.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives back what growing has left over.
    pub fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Elements. Walks a listpack of more than 65534.
    #[inline]
    pub fn len(&self) -> usize {
        match u16::from_le_bytes([self.bytes[4], self.bytes[5]]) {
            COUNT_UNKNOWN => self.iter().count(),
            count => usize::from(count),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER_BYTES + 1
    }

    /// Bytes that an element takes in a listpack: how collections reckon whether it fits.
    pub fn element_bytes(bytes: &[u8]) -> usize {
        let mut scratch = [0; SCRATCH_BYTES];
        let size = encoded(&Needle::new(bytes).element, &mut scratch).size();
        size + backlen_size(size)
    }

    /// The first element.
    #[inline]
    pub fn first(&self) -> Option<At> {
        self.checked(HEADER_BYTES)
    }

    /// The last element.
    #[inline]
    pub fn last(&self) -> Option<At> {
        self.before(self.end())
    }

    #[inline]
    pub fn next(&self, at: At) -> Option<At> {
        self.checked(at.0 + self.entry_bytes(at))
    }

    #[inline]
    pub fn previous(&self, at: At) -> Option<At> {
        self.before(at.0)
    }

    /// The element at `index`, from the end when negative (-1 is the last). Walks from the nearer end.
    pub fn seek(&self, index: i64) -> Option<At> {
        let len = self.len() as i64;
        let forward = if index < 0 { index.checked_add(len)? } else { index };
        if !(0..len).contains(&forward) {
            return None;
        }
        if forward <= len / 2 {
            let mut at = self.first()?;
            for _ in 0..forward {
                at = self.next(at)?;
            }
            Some(at)
        } else {
            let mut at = self.last()?;
            for _ in forward + 1..len {
                at = self.previous(at)?;
            }
            Some(at)
        }
    }

    #[inline]
    pub fn get(&self, at: At) -> Element<'_> {
        decode(&self.bytes[at.0..])
    }

    /// Elements in order, from either end.
    pub fn iter(&self) -> Iter<'_> {
        Iter { listpack: self, front: HEADER_BYTES, back: self.end() }
    }

    /// Elements in order from `at` on.
    pub fn iter_from(&self, at: At) -> Iter<'_> {
        Iter { listpack: self, front: at.0, back: self.end() }
    }

    /// The first element from `from` on that is the needle, looking at every `skip + 1`th only (1: keys of pairs).
    pub fn find(&self, from: At, needle: Needle<'_>, skip: usize) -> Option<At> {
        let (bytes, end) = (&self.bytes[..], self.end());
        let (mut at, mut skipped) = (from.0, skip);
        while at < end {
            let is_wanted = skipped == skip;
            skipped = if is_wanted { 0 } else { skipped + 1 };
            // Most elements are short strings: a look at their length and last byte rules nearly all of them out.
            let first = bytes[at];
            if first & SHORT_STRING_MASK == SHORT_STRING {
                let length = usize::from(first & !SHORT_STRING_MASK);
                let data = &bytes[at + 1..at + 1 + length];
                if is_wanted
                    && let Element::Bytes(wanted) = needle.element
                    && wanted.len() == length
                    && data.last() == wanted.last()
                    && data == wanted
                {
                    return Some(At(at));
                }
                at += length + 2;
            } else {
                if is_wanted && self.get(At(at)) == needle.element {
                    return Some(At(at));
                }
                at += self.entry_bytes(At(at));
            }
        }
        None
    }

    pub fn push_back(&mut self, bytes: &[u8]) -> At {
        self.splice(self.end(), 0, Some(Needle::new(bytes).element), 1)
    }

    pub fn push_front(&mut self, bytes: &[u8]) -> At {
        self.splice(HEADER_BYTES, 0, Some(Needle::new(bytes).element), 1)
    }

    pub fn push_back_integer(&mut self, integer: i64) -> At {
        self.splice(self.end(), 0, Some(Element::Integer(integer)), 1)
    }

    /// Inserts in front of `at`; returns where the new element stands.
    pub fn insert_before(&mut self, at: At, bytes: &[u8]) -> At {
        self.splice(at.0, 0, Some(Needle::new(bytes).element), 1)
    }

    /// Inserts behind `at`; returns where the new element stands.
    pub fn insert_after(&mut self, at: At, bytes: &[u8]) -> At {
        let behind = at.0 + self.entry_bytes(at);
        self.splice(behind, 0, Some(Needle::new(bytes).element), 1)
    }

    /// Puts another element in place of the one at `at`, which keeps its place.
    pub fn replace(&mut self, at: At, bytes: &[u8]) -> At {
        let old = self.entry_bytes(at);
        self.splice(at.0, old, Some(Needle::new(bytes).element), 0)
    }

    pub fn replace_integer(&mut self, at: At, integer: i64) -> At {
        let old = self.entry_bytes(at);
        self.splice(at.0, old, Some(Element::Integer(integer)), 0)
    }

    /// Removes the element; returns the one behind it.
    pub fn remove(&mut self, at: At) -> Option<At> {
        self.remove_range(at, 1)
    }

    /// Removes up to `count` elements from `at` on; returns the one behind them.
    pub fn remove_range(&mut self, at: At, count: usize) -> Option<At> {
        let (mut end, mut removed) = (Some(at), 0);
        while removed < count
            && let Some(here) = end
        {
            end = self.next(here);
            removed += 1;
        }
        let old = end.map_or(self.end(), |end| end.0) - at.0;
        self.splice(at.0, old, None, -(removed as i64));
        self.checked(at.0)
    }

    /// Cuts off what stands from `at` on and returns it as a listpack of its own.
    pub fn split_off(&mut self, at: At) -> Listpack {
        let mut tail = Listpack::new();
        let count = self.iter_from(at).count();
        tail.bytes.truncate(HEADER_BYTES);
        tail.bytes.extend_from_slice(&self.bytes[at.0..]);
        tail.finish(count);
        let left = self.len() - count;
        self.bytes.truncate(at.0);
        self.bytes.extend_from_slice(&[END]);
        self.finish(left);
        tail
    }

    /// Appends all elements of another one.
    pub fn append(&mut self, other: &Listpack) {
        let count = self.len() + other.len();
        self.bytes.truncate(self.end());
        self.bytes.extend_from_slice(&other.bytes[HEADER_BYTES..]);
        self.finish(count);
    }

    /// Replaces `old` bytes at `offset` by an element or nothing; the number of elements changes by `change`.
    fn splice(&mut self, offset: usize, old: usize, new: Option<Element<'_>>, change: i64) -> At {
        let mut scratch = [0; SCRATCH_BYTES];
        let count = if change == 0 { None } else { Some((self.len() as i64 + change) as usize) };
        let (encoding, size) = match &new {
            None => (Encoded { head: &[], data: &[] }, 0),
            Some(element) => {
                let encoding = encoded(element, &mut scratch);
                let size = encoding.size();
                (encoding, size + backlen_size(size))
            }
        };
        self.bytes.resize_gap(offset, old, size);
        if size > 0 {
            let (head, data) = (encoding.head, encoding.data);
            let place = &mut self.bytes[offset..offset + size];
            place[..head.len()].copy_from_slice(head);
            place[head.len()..head.len() + data.len()].copy_from_slice(data);
            encode_backlen(head.len() + data.len(), &mut place[head.len() + data.len()..]);
        }
        match count {
            Some(count) => self.finish(count),
            None => self.finish_length(),
        }
        At(offset)
    }

    fn finish(&mut self, count: usize) {
        let count = u16::try_from(count).unwrap_or(COUNT_UNKNOWN);
        self.bytes[4..6].copy_from_slice(&count.to_le_bytes());
        self.finish_length();
    }

    fn finish_length(&mut self) {
        let total = u32::try_from(self.bytes.len()).expect("collections keep listpacks far below 4 GiB");
        self.bytes[..4].copy_from_slice(&total.to_le_bytes());
    }

    #[inline]
    fn end(&self) -> usize {
        self.bytes.len() - 1
    }

    #[inline]
    fn checked(&self, offset: usize) -> Option<At> {
        (offset < self.end()).then_some(At(offset))
    }

    #[inline]
    fn before(&self, offset: usize) -> Option<At> {
        if offset <= HEADER_BYTES {
            return None;
        }
        let (size, backlen_bytes) = decode_backlen(&self.bytes[..offset])?;
        Some(At(offset - backlen_bytes - size))
    }

    /// Bytes of the element at `at` with its backward length.
    #[inline]
    fn entry_bytes(&self, at: At) -> usize {
        let size = checked_size(&self.bytes[at.0..]).expect("positions are of elements");
        size + backlen_size(size)
    }

    /// Elements in order from `from` on, up to the one in front of `until` (`None`: to the end).
    pub fn iter_between(&self, from: At, until: Option<At>) -> Iter<'_> {
        Iter { listpack: self, front: from.0, back: until.map_or(self.end(), |until| until.0) }
    }

    /// Removes elements that are the needle: passes over the first `skip` of them, then removes up to `max`. Returns how many
    /// it removed. One pass, however many there are.
    pub fn remove_matching(&mut self, needle: Needle<'_>, skip: usize, max: usize) -> usize {
        let count = self.len();
        let (mut skip, mut removed) = (skip, 0);
        // What stays is moved to the front in runs: up to `written` it has its place, from `run` on it waits for one.
        let (mut written, mut run) = (HEADER_BYTES, HEADER_BYTES);
        let mut at = self.first();
        while removed < max
            && let Some(found) = at.and_then(|at| self.find(at, needle, 0))
        {
            let behind = found.0 + self.entry_bytes(found);
            at = self.checked(behind);
            if skip > 0 {
                skip -= 1;
                continue;
            }
            self.bytes.copy_within(run..found.0, written);
            written += found.0 - run;
            run = behind;
            removed += 1;
        }
        if removed > 0 {
            self.bytes.copy_within(run.., written);
            let left = self.bytes.len() - (run - written);
            self.bytes.truncate(left);
            self.finish(count - removed);
        }
        removed
    }

    /// Gives back memory when removing has left much of it unused.
    pub fn trim(&mut self) {
        let (length, capacity) = (self.bytes.len(), self.bytes.capacity());
        if capacity - length > length / 2 + 16 {
            self.bytes.shrink_to_fit();
        }
    }

    /// Puts an integer in place of the element at `at`, and moves nothing where it takes as many bytes: for counters in front
    /// of much else.
    pub fn overwrite_integer(&mut self, at: At, integer: i64) {
        let mut scratch = [0; SCRATCH_BYTES];
        let length = encode_integer(integer, &mut scratch);
        let old = checked_size(&self.bytes[at.0..]).expect("positions are of elements");
        if length == old {
            self.bytes[at.0..at.0 + length].copy_from_slice(&scratch[..length]);
        } else {
            self.replace_integer(at, integer);
        }
    }

    /// Appends several elements and makes room for them once.
    pub fn push_back_all<'a>(&mut self, elements: impl Iterator<Item = Needle<'a>> + Clone) {
        let mut scratch = [0; SCRATCH_BYTES];
        let (mut more, mut added) = (0, 0);
        // Not loops: chains of iterators are walked faster from inside.
        elements.clone().for_each(|needle| {
            let size = encoded(&needle.element, &mut scratch).size();
            more += size + backlen_size(size);
            added += 1;
        });
        let mut at = self.end();
        self.bytes.resize_gap(at, 0, more);
        let bytes = &mut self.bytes[..];
        elements.for_each(|needle| {
            let Encoded { head, data } = encoded(&needle.element, &mut scratch);
            let size = head.len() + data.len();
            let end = at + size + backlen_size(size);
            let (encoding, backlen) = bytes[at..end].split_at_mut(size);
            encoding[..head.len()].copy_from_slice(head);
            encoding[head.len()..].copy_from_slice(data);
            encode_backlen(size, backlen);
            at = end;
        });
        // What is not counted stays uncounted: counting would walk all elements at every call.
        match u16::from_le_bytes([self.bytes[4], self.bytes[5]]) {
            COUNT_UNKNOWN => self.finish_length(),
            count => self.finish(usize::from(count) + added),
        }
    }
}

/// Compares as bytes, whatever form the elements have.
pub fn compare(ours: Element<'_>, theirs: &[u8]) -> Ordering {
    ours.as_bytes(&mut Digits::new()).cmp(theirs)
}

/// Elements of a listpack, from either end.
#[derive(Clone)]
pub struct Iter<'a> {
    listpack: &'a Listpack,
    front: usize,
    back: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        if self.front >= self.back {
            return None;
        }
        let at = At(self.front);
        self.front += self.listpack.entry_bytes(at);
        Some(self.listpack.get(at))
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<Element<'a>> {
        if self.front >= self.back {
            return None;
        }
        let at = self.listpack.before(self.back)?;
        self.back = at.0;
        Some(self.listpack.get(at))
    }
}
