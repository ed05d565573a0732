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

use std::cmp::Ordering;

use super::entry::room_for;
use crate::base::number::parse_i64;

const HEADER_BYTES: usize = 6;
const END: u8 = 0xff;
/// Element counts from here on are not kept in the header.
const COUNT_UNKNOWN: u16 = u16::MAX;
/// Longest integer as text, with its sign.
const INTEGER_TEXT_MAX: usize = 20;

/// An element where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    bytes: Vec<u8>,
}

impl Default for Listpack {
    fn default() -> Self {
        Listpack::new()
    }
}

impl Listpack {
    /// Without elements.
    pub fn new() -> Listpack {
        let mut bytes = Vec::with_capacity(16);
        bytes.extend_from_slice(&[HEADER_BYTES as u8 + 1, 0, 0, 0, 0, 0, END]);
        Listpack { bytes }
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
        Ok(Listpack { bytes })
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
        let mut at = Some(from);
        while let Some(here) = at {
            if self.get(here) == needle.element {
                return Some(here);
            }
            at = self.next(here);
            for _ in 0..skip {
                at = at.and_then(|there| self.next(there));
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
        tail.bytes.pop();
        tail.bytes.extend_from_slice(&self.bytes[at.0..]);
        tail.finish(count);
        let left = self.len() - count;
        self.bytes.truncate(at.0);
        self.bytes.push(END);
        self.finish(left);
        tail
    }

    /// Appends all elements of another one.
    pub fn append(&mut self, other: &Listpack) {
        let count = self.len() + other.len();
        self.bytes.pop();
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
        let tail = self.bytes.len() - offset - old;
        if size > old {
            self.grow(size - old);
        }
        self.bytes.copy_within(offset + old..offset + old + tail, offset + size);
        self.bytes.truncate(offset + size + tail);
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

    /// Makes the bytes longer by `more`, in steps of the allocator's classes.
    fn grow(&mut self, more: usize) {
        let length = self.bytes.len();
        if length + more > self.bytes.capacity() {
            self.bytes.reserve_exact(room_for(length + more) - length);
        }
        self.bytes.resize(length + more, 0);
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
            self.bytes.truncate(self.bytes.len() - (run - written));
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
        for needle in elements.clone() {
            let size = encoded(&needle.element, &mut scratch).size();
            more += size + backlen_size(size);
            added += 1;
        }
        let mut at = self.end();
        self.grow(more);
        for needle in elements {
            let Encoded { head, data } = encoded(&needle.element, &mut scratch);
            let size = head.len() + data.len();
            let end = at + size + backlen_size(size);
            let (encoding, backlen) = self.bytes[at..end].split_at_mut(size);
            encoding[..head.len()].copy_from_slice(head);
            encoding[head.len()..].copy_from_slice(data);
            encode_backlen(size, backlen);
            at = end;
        }
        self.bytes[at] = END;
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

/// An element's encoding and data.
struct Encoded<'a> {
    head: &'a [u8],
    data: &'a [u8],
}

impl Encoded<'_> {
    fn size(&self) -> usize {
        self.head.len() + self.data.len()
    }
}

/// Room for the longest encoding without a string's data: an integer of 64 bits.
const SCRATCH_BYTES: usize = 9;

fn encoded<'a>(element: &Element<'a>, scratch: &'a mut [u8; SCRATCH_BYTES]) -> Encoded<'a> {
    let (length, data) = match *element {
        Element::Integer(integer) => (encode_integer(integer, scratch), &[][..]),
        Element::Bytes(bytes) => (encode_length(bytes.len(), scratch), bytes),
    };
    Encoded { head: &scratch[..length], data }
}

fn encode_integer(integer: i64, out: &mut [u8; SCRATCH_BYTES]) -> usize {
    let little = integer.to_le_bytes();
    let (mark, bytes) = match integer {
        0..=127 => {
            out[0] = integer as u8;
            return 1;
        }
        -4096..=4095 => {
            let bits = (integer & 0x1fff) as u16;
            out[0] = 0b1100_0000 | (bits >> 8) as u8;
            out[1] = bits as u8;
            return 2;
        }
        -0x8000..=0x7fff => (0b1111_0001, 2),
        -0x80_0000..=0x7f_ffff => (0b1111_0010, 3),
        -0x8000_0000..=0x7fff_ffff => (0b1111_0011, 4),
        _ => (0b1111_0100, 8),
    };
    out[0] = mark;
    out[1..=bytes].copy_from_slice(&little[..bytes]);
    1 + bytes
}

fn encode_length(length: usize, out: &mut [u8; SCRATCH_BYTES]) -> usize {
    if length < 64 {
        out[0] = 0b1000_0000 | length as u8;
        1
    } else if length < 4096 {
        out[0] = 0b1110_0000 | (length >> 8) as u8;
        out[1] = length as u8;
        2
    } else {
        let length = u32::try_from(length).expect("arguments are shorter than 4 GiB");
        out[0] = 0b1111_0000;
        out[1..5].copy_from_slice(&length.to_le_bytes());
        5
    }
}

/// The element that `bytes` begin with, of a listpack of ours.
#[inline]
fn decode(bytes: &[u8]) -> Element<'_> {
    let first = bytes[0];
    let sign_extended = |count: usize| {
        let mut little = [if bytes[count] & 0x80 == 0 { 0 } else { 0xff }; 8];
        little[..count].copy_from_slice(&bytes[1..=count]);
        Element::Integer(i64::from_le_bytes(little))
    };
    match first >> 4 {
        0..=7 => Element::Integer(i64::from(first)),
        8..=11 => {
            let length = usize::from(first & 0x3f);
            Element::Bytes(&bytes[1..1 + length])
        }
        12 | 13 => {
            let bits = i64::from(first & 0x1f) << 8 | i64::from(bytes[1]);
            Element::Integer((bits << 51) >> 51)
        }
        14 => {
            let length = usize::from(first & 0x0f) << 8 | usize::from(bytes[1]);
            Element::Bytes(&bytes[2..2 + length])
        }
        _ => match first & 0x0f {
            0 => {
                let length = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
                Element::Bytes(&bytes[5..5 + length])
            }
            1 => sign_extended(2),
            2 => sign_extended(3),
            3 => sign_extended(4),
            4 => sign_extended(8),
            _ => unreachable!("listpacks are checked when they come in"),
        },
    }
}

/// Bytes of the encoding and data that `bytes` begin with; None when they are cut off or no element.
#[inline]
fn checked_size(bytes: &[u8]) -> Option<usize> {
    let first = *bytes.first()?;
    let size = match first >> 4 {
        0..=7 => 1,
        8..=11 => 1 + usize::from(first & 0x3f),
        12 | 13 => 2,
        14 => 2 + (usize::from(first & 0x0f) << 8 | usize::from(*bytes.get(1)?)),
        _ => match first & 0x0f {
            0 => {
                let length = bytes.get(1..5)?.first_chunk::<4>()?;
                5 + u32::from_le_bytes(*length) as usize
            }
            1 => 3,
            2 => 4,
            3 => 5,
            4 => 9,
            _ => return None,
        },
    };
    (size + backlen_size(size) <= bytes.len()).then_some(size)
}

/// Bytes of the backward length of `size`.
#[inline]
fn backlen_size(size: usize) -> usize {
    match size {
        0..=127 => 1,
        128..16383 => 2,
        16383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

fn encode_backlen(size: usize, out: &mut [u8]) {
    let last = out.len() - 1;
    for (index, byte) in out.iter_mut().enumerate() {
        let bits = (size >> (7 * (last - index))) as u8 & 0x7f;
        *byte = if index == 0 { bits } else { bits | 0x80 };
    }
}

/// The backward length that `bytes` end with, and how many bytes it takes.
#[inline]
fn decode_backlen(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut size = 0;
    for (index, byte) in bytes.iter().rev().take(5).enumerate() {
        size |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((size, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(listpack: &Listpack) -> Vec<Vec<u8>> {
        listpack.iter().map(|element| element.to_vec()).collect()
    }

    fn checked(listpack: &Listpack) {
        assert_eq!(Listpack::from_bytes(listpack.as_bytes().to_vec()).as_ref(), Ok(listpack));
    }

    #[test]
    fn bytes_are_those_of_the_format() {
        let mut listpack = Listpack::new();
        for text in ["1024", "400", "-5", "hello", "0", "32768", "-8388608", "4294967296"] {
            listpack.push_back(text.as_bytes());
        }
        #[rustfmt::skip]
        let expected = [
            45, 0, 0, 0, 8, 0,
            0xc4, 0x00, 2,
            0xc1, 0x90, 2,
            0xdf, 0xfb, 2,
            0x85, b'h', b'e', b'l', b'l', b'o', 6,
            0, 1,
            0xf2, 0x00, 0x80, 0x00, 4,
            0xf2, 0x00, 0x00, 0x80, 4,
            0xf4, 0, 0, 0, 0, 1, 0, 0, 0, 9,
            0xff,
        ];
        assert_eq!(listpack.as_bytes()[..], expected[..]);
        checked(&listpack);
    }

    #[test]
    fn integers_are_kept_as_such_only_in_canonical_form() {
        let mut listpack = Listpack::new();
        for text in ["007", "-0", "+1", "9223372036854775807", "9223372036854775808", "-9223372036854775808", ""] {
            listpack.push_back(text.as_bytes());
        }
        let integers: Vec<bool> = listpack.iter().map(|element| matches!(element, Element::Integer(_))).collect();
        assert_eq!(integers, [false, false, false, true, false, true, false]);
        checked(&listpack);
    }

    #[test]
    fn more_elements_than_the_header_counts_are_counted() {
        let mut listpack = Listpack::new();
        for number in 0..70_000 {
            listpack.push_back_integer(number % 100);
        }
        assert_eq!(listpack.len(), 70_000);
        let at = listpack.seek(10_000).unwrap();
        listpack.remove_range(at, 50_000);
        assert_eq!(listpack.len(), 20_000);
        checked(&listpack);
    }

    #[test]
    fn several_elements_are_appended_as_one_after_another() {
        let words: [&[u8]; 5] = [b"", b"12", b"-70000", &[b'x'; 70], &[b'y'; 5000]];
        let (mut at_once, mut singly) = (Listpack::new(), Listpack::new());
        for _ in 0..3 {
            at_once.push_back_all(words.into_iter().map(Needle::new).chain([Needle::from_integer(7)]));
            for word in words {
                singly.push_back(word);
            }
            singly.push_back_integer(7);
        }
        assert_eq!(at_once, singly);
        at_once.push_back_all((0..70_000).map(|number| Needle::from_integer(number % 100)));
        at_once.push_back_all([Needle::new(b"last")].into_iter());
        assert_eq!(at_once.len(), 70_019);
        checked(&at_once);
    }

    #[test]
    fn an_overwritten_integer_is_a_replaced_one() {
        let numbers = [0, 127, 128, -1, 4095, -4096, 4096, 40_000, -8_388_608, i64::from(i32::MAX), i64::MIN];
        for (old, new) in numbers.iter().flat_map(|old| numbers.map(|new| (*old, new))) {
            let mut overwritten = Listpack::new();
            overwritten.push_back_all([Needle::from_integer(old), Needle::new(b"behind")].into_iter());
            let mut replaced = overwritten.clone();
            let at = replaced.first().unwrap();
            overwritten.overwrite_integer(at, new);
            replaced.replace_integer(at, new);
            assert_eq!(overwritten, replaced, "{old} {new}");
        }
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let mut listpack = Listpack::new();
        listpack.push_back(b"abc");
        listpack.push_back(b"100000");
        let good = listpack.as_bytes();
        for index in 0..good.len() {
            for flip in [1u8, 0x40, 0x80, 0xff] {
                let mut bad = good.to_vec();
                bad[index] ^= flip;
                if let Ok(other) = Listpack::from_bytes(bad) {
                    texts(&other);
                }
            }
            assert_eq!(Listpack::from_bytes(good[..index].to_vec()), Err(Damaged));
        }
    }

    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            any::<i64>().prop_map(|number| number.to_string().into_bytes()),
            (-70_000i64..70_000).prop_map(|number| number.to_string().into_bytes()),
            proptest::collection::vec(any::<u8>(), 0..80),
            (60usize..5000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
            (16370usize..16390, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        ]
    }

    #[derive(Clone, Debug)]
    enum Step {
        PushBack(Vec<u8>),
        PushFront(Vec<u8>),
        Insert(usize, Vec<u8>, bool),
        Replace(usize, Vec<u8>),
        Remove(usize, usize),
        SplitAndJoin(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any_bytes().prop_map(Step::PushBack),
            any_bytes().prop_map(Step::PushFront),
            (any::<usize>(), any_bytes(), any::<bool>()).prop_map(|(i, b, after)| Step::Insert(i, b, after)),
            (any::<usize>(), any_bytes()).prop_map(|(i, b)| Step::Replace(i, b)),
            (any::<usize>(), 1usize..4).prop_map(|(i, n)| Step::Remove(i, n)),
            any::<usize>().prop_map(Step::SplitAndJoin),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn does_what_a_vector_of_strings_does(steps in proptest::collection::vec(any_step(), 1..60)) {
            let mut listpack = Listpack::new();
            let mut model: Vec<Vec<u8>> = Vec::new();
            for step in steps {
                let place = |index: usize| index % model.len().max(1);
                match step {
                    Step::PushBack(bytes) => {
                        listpack.push_back(&bytes);
                        model.push(bytes);
                    }
                    Step::PushFront(bytes) => {
                        listpack.push_front(&bytes);
                        model.insert(0, bytes);
                    }
                    Step::Insert(index, bytes, after) if !model.is_empty() => {
                        let index = place(index);
                        let at = listpack.seek(index as i64).unwrap();
                        let new = if after { listpack.insert_after(at, &bytes) } else { listpack.insert_before(at, &bytes) };
                        prop_assert!(listpack.get(new).is(&bytes));
                        model.insert(index + usize::from(after), bytes);
                    }
                    Step::Replace(index, bytes) if !model.is_empty() => {
                        let index = place(index);
                        let at = listpack.seek(index as i64 - model.len() as i64).unwrap();
                        listpack.replace(at, &bytes);
                        model[index] = bytes;
                    }
                    Step::Remove(index, count) if !model.is_empty() => {
                        let index = place(index);
                        let at = listpack.seek(index as i64).unwrap();
                        let next = listpack.remove_range(at, count);
                        model.drain(index..(index + count).min(model.len()));
                        prop_assert_eq!(next.map(|at| listpack.get(at).to_vec()), model.get(index).cloned());
                    }
                    Step::SplitAndJoin(index) if !model.is_empty() => {
                        let at = listpack.seek(place(index) as i64).unwrap();
                        let tail = listpack.split_off(at);
                        checked(&tail);
                        checked(&listpack);
                        listpack.append(&tail);
                    }
                    _ => {}
                }
                checked(&listpack);
                prop_assert_eq!(listpack.len(), model.len());
            }
            prop_assert_eq!(texts(&listpack), model.clone());
            let backwards: Vec<Vec<u8>> = listpack.iter().rev().map(|element| element.to_vec()).collect();
            prop_assert_eq!(backwards, model.iter().rev().cloned().collect::<Vec<_>>());
            for (index, bytes) in model.iter().enumerate() {
                let found = listpack.first().and_then(|first| listpack.find(first, Needle::new(bytes), 0)).unwrap();
                let expected = model.iter().position(|other| other == bytes).unwrap();
                prop_assert_eq!(Some(found), listpack.seek(expected as i64));
                prop_assert!(expected <= index);
                prop_assert_eq!(compare(listpack.get(found), bytes), Ordering::Equal);
            }
        }
    }
}
