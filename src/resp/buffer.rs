//! What waits to be sent: bytes in order, most of them copied into one buffer, large ones shared with the keyspace.
//!
//! A long reply becomes several pieces: what is written is never moved again, and what is sent is given back.

use std::collections::VecDeque;

use bytes::Bytes;

/// A bulk of at least this many bytes is shared instead of copied, when its owner can share it.
pub const SHARED_BYTES_MIN: usize = 16 * 1024;
/// The tail becomes a piece when it has come near the room that a tail behind a piece gets.
const PIECE_MIN_BYTES: usize = 240 * 1024;
const PIECE_ROOM_BYTES: usize = 256 * 1024;
/// An emptied buffer keeps at most this much memory.
const KEPT_CAPACITY_MAX: usize = 64 * 1024;

enum Piece {
    Owned(Vec<u8>),
    Shared(Bytes),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Owned(bytes) => bytes,
            Piece::Shared(bytes) => bytes,
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Piece::Owned(bytes) => bytes.capacity(),
            Piece::Shared(bytes) => bytes.len(),
        }
    }
}

/// An append-only queue of bytes, taken from its front.
#[derive(Default)]
pub struct ReplyBuffer {
    /// Before the tail, in order; only there once something was shared or much was written.
    pieces: VecDeque<Piece>,
    tail: Vec<u8>,
    /// Bytes of the first piece (or of the tail, when it is the first) that have been taken already.
    taken: usize,
    length: usize,
    /// What one reply may come to. Looked at where a piece ends: a reply grows beyond it by less than a piece.
    allowance: Allowance,
}

/// How far the reply that is being written may grow.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Allowance {
    #[default]
    Unlimited,
    /// The length of the buffer from which on what is written is dropped.
    UpTo(usize),
    /// It was reached: the reply is of no use any more.
    Spent,
}

/// A place in a buffer that only grew since.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pieces: usize,
    tail: usize,
    length: usize,
}

impl ReplyBuffer {
    pub const fn new() -> ReplyBuffer {
        ReplyBuffer { pieces: VecDeque::new(), tail: Vec::new(), taken: 0, length: 0, allowance: Allowance::Unlimited }
    }

    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.length += bytes.len();
        self.close_long_tail();
    }

    /// Appends through a closure that pushes to the end of the vector.
    #[inline]
    pub fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.tail.len();
        write(&mut self.tail);
        self.length += self.tail.len() - before;
        self.close_long_tail();
    }

    #[inline]
    fn close_long_tail(&mut self) {
        if self.tail.len() >= PIECE_MIN_BYTES {
            self.close_tail();
        }
    }

    #[cold]
    fn close_tail(&mut self) {
        if self.allowance == Allowance::Spent {
            self.length -= self.tail.len();
            self.tail.clear();
            return;
        }
        let tail = std::mem::replace(&mut self.tail, Vec::with_capacity(PIECE_ROOM_BYTES));
        self.pieces.push_back(Piece::Owned(tail));
        self.spend();
    }

    /// Appends bytes without copying them.
    pub fn push_shared(&mut self, bytes: Bytes) {
        if bytes.is_empty() || self.allowance == Allowance::Spent {
            return;
        }
        self.length += bytes.len();
        if !self.tail.is_empty() {
            self.pieces.push_back(Piece::Owned(std::mem::take(&mut self.tail)));
        }
        self.pieces.push_back(Piece::Shared(bytes));
        self.spend();
    }

    /// Notes when the allowance is used up.
    fn spend(&mut self) {
        if let Allowance::UpTo(length) = self.allowance
            && self.length > length
        {
            self.allowance = Allowance::Spent;
        }
    }

    /// Lets what follows grow by about `bytes` at most; what is written beyond is dropped, until `end_allowance`.
    pub fn allow(&mut self, bytes: usize) {
        self.allowance = Allowance::UpTo(self.length.saturating_add(bytes));
    }

    /// Whether something was dropped, or will be: whoever writes may stop.
    #[inline]
    pub fn is_cut_off(&self) -> bool {
        self.allowance == Allowance::Spent
    }

    /// Ends what `allow` began; true when the reply was cut off.
    pub fn end_allowance(&mut self) -> bool {
        std::mem::take(&mut self.allowance) == Allowance::Spent
    }

    /// Bytes that wait.
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.length
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Capacity held, shared bytes counted whole.
    pub fn memory_bytes(&self) -> usize {
        let pieces: usize = self.pieces.iter().map(Piece::memory_bytes).sum();
        pieces + self.tail.capacity()
    }

    /// The pieces to send, in order, at most `max` of them.
    pub fn slices(&self, max: usize) -> impl Iterator<Item = &[u8]> {
        let all = self.pieces.iter().map(Piece::bytes).chain(std::iter::once(self.tail.as_slice()));
        let taken = self.taken;
        all.enumerate()
            .map(move |(index, bytes)| if index == 0 { &bytes[taken..] } else { bytes })
            .filter(|bytes| !bytes.is_empty())
            .take(max)
    }

    /// Drops `count` bytes from the front.
    pub fn advance(&mut self, mut count: usize) {
        assert!(count <= self.length);
        self.length -= count;
        while let Some(first) = self.pieces.front() {
            let left = first.bytes().len() - self.taken;
            if count < left {
                self.taken += count;
                return;
            }
            count -= left;
            self.taken = 0;
            self.pieces.pop_front();
        }
        self.taken += count;
        if self.taken == self.tail.len() {
            self.taken = 0;
            self.tail.clear();
            if self.tail.capacity() > KEPT_CAPACITY_MAX {
                self.tail = Vec::new();
            }
        }
    }

    /// Moves `count` bytes from the front to the end of `other`; shared pieces stay shared.
    pub fn drain_into(&mut self, other: &mut ReplyBuffer, mut count: usize) {
        assert!(count <= self.length);
        if self.pieces.is_empty() {
            other.extend(&self.tail[self.taken..self.taken + count]);
            self.advance(count);
            return;
        }
        while count > 0 {
            let step = match self.pieces.front() {
                None => {
                    other.extend(&self.tail[self.taken..self.taken + count]);
                    count
                }
                Some(Piece::Owned(bytes)) => {
                    let step = (bytes.len() - self.taken).min(count);
                    other.extend(&bytes[self.taken..self.taken + step]);
                    step
                }
                Some(Piece::Shared(bytes)) => {
                    let step = (bytes.len() - self.taken).min(count);
                    other.push_shared(bytes.slice(self.taken..self.taken + step));
                    step
                }
            };
            self.advance(step);
            count -= step;
        }
    }

    pub fn mark(&self) -> Mark {
        Mark { pieces: self.pieces.len(), tail: self.tail.len(), length: self.length }
    }

    /// Takes back everything appended since the mark.
    pub fn truncate_to(&mut self, mark: Mark) {
        if self.pieces.len() > mark.pieces {
            self.tail = match self.pieces.drain(mark.pieces..).next() {
                Some(Piece::Owned(bytes)) if mark.tail > 0 => bytes,
                _ => Vec::new(),
            };
        }
        self.tail.truncate(mark.tail);
        self.length = mark.length;
    }

    /// Inserts bytes at the mark: the header of an array whose length was not known before.
    pub fn insert_at(&mut self, mark: Mark, bytes: &[u8]) {
        if self.is_cut_off() {
            // The place may be among what was dropped.
            return;
        }
        self.length += bytes.len();
        let target = match self.pieces.get_mut(mark.pieces) {
            None => &mut self.tail,
            Some(Piece::Owned(owned)) => owned,
            Some(Piece::Shared(_)) => {
                assert!(mark.tail == 0, "bytes before a shared piece are a piece of their own");
                self.pieces.insert(mark.pieces, Piece::Owned(bytes.to_vec()));
                return;
            }
        };
        // What comes after the mark moves up once; it was written a moment ago and is in the cache.
        let moved = target.len() - mark.tail;
        target.resize(target.len() + bytes.len(), 0);
        target.copy_within(mark.tail..mark.tail + moved, mark.tail + bytes.len());
        target[mark.tail..mark.tail + bytes.len()].copy_from_slice(bytes);
    }

    /// Empties it; a buffer that has grown large gives its memory back.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.taken = 0;
        self.length = 0;
        self.tail.clear();
        if self.tail.capacity() > KEPT_CAPACITY_MAX {
            self.tail = Vec::new();
        }
    }

    /// Gives all memory back: an idle connection holds none.
    pub fn release(&mut self) {
        assert!(self.is_empty());
        *self = ReplyBuffer::new();
    }

    /// Everything in one vector, for tests and logs.
    pub fn to_vec(&self) -> Vec<u8> {
        self.slices(usize::MAX).flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed() -> ReplyBuffer {
        let mut buffer = ReplyBuffer::new();
        buffer.extend(b"ab");
        buffer.push_shared(Bytes::from_static(b"CDE"));
        buffer.push_shared(Bytes::from_static(b"FG"));
        buffer.extend(b"hi");
        buffer
    }

    #[test]
    fn bytes_come_out_in_order_however_they_are_taken() {
        for first in 0..=9 {
            for second in 0..=9 - first {
                let mut buffer = mixed();
                let mut out = ReplyBuffer::new();
                buffer.drain_into(&mut out, first);
                buffer.drain_into(&mut out, second);
                assert_eq!(out.to_vec(), &b"abCDEFGhi"[..first + second]);
                assert_eq!(buffer.to_vec(), &b"abCDEFGhi"[first + second..]);
                buffer.advance(buffer.len_bytes());
                assert!(buffer.is_empty());
            }
        }
    }

    #[test]
    fn truncation_takes_back_what_came_after_the_mark() {
        let mut buffer = ReplyBuffer::new();
        buffer.extend(b"ab");
        let mark = buffer.mark();
        buffer.extend(b"cd");
        buffer.push_shared(Bytes::from_static(b"EF"));
        buffer.extend(b"g");
        buffer.truncate_to(mark);
        assert_eq!(buffer.to_vec(), b"ab");
        buffer.extend(b"z");
        assert_eq!(buffer.to_vec(), b"abz");
        let mut buffer = ReplyBuffer::new();
        buffer.push_shared(Bytes::from_static(b"EF"));
        let mark = buffer.mark();
        buffer.push_shared(Bytes::from_static(b"GH"));
        buffer.truncate_to(mark);
        assert_eq!(buffer.to_vec(), b"EF");
        assert_eq!(buffer.len_bytes(), 2);
    }

    #[test]
    fn what_goes_beyond_the_allowance_is_dropped() {
        for shared in [false, true] {
            let mut buffer = ReplyBuffer::new();
            buffer.extend(b"before");
            let mark = buffer.mark();
            buffer.allow(1 << 20);
            for _ in 0..100 {
                let value = vec![b'x'; 100_000];
                if shared {
                    buffer.push_shared(Bytes::from(value))
                } else {
                    buffer.extend(&value)
                }
                let nested = buffer.mark();
                buffer.extend(b"y");
                buffer.insert_at(nested, b"z");
            }
            assert!(buffer.is_cut_off());
            assert!(
                (1 << 20..(1 << 20) + 2 * PIECE_ROOM_BYTES).contains(&buffer.len_bytes()),
                "{}",
                buffer.len_bytes()
            );
            assert!(buffer.memory_bytes() < 3 << 20);
            assert!(buffer.end_allowance() && !buffer.is_cut_off());
            assert_eq!(buffer.to_vec().len(), buffer.len_bytes());
            // The end of one reply; the next is another matter.
            buffer.truncate_to(mark);
            buffer.allow(1 << 20);
            buffer.extend(b" and after");
            assert!(!buffer.end_allowance());
            assert_eq!(buffer.to_vec(), b"before and after");
        }
    }

    #[test]
    fn a_header_is_inserted_where_the_mark_was() {
        for shared_before in [false, true] {
            for shared_after in [false, true] {
                let mut buffer = ReplyBuffer::new();
                if shared_before {
                    buffer.push_shared(Bytes::from_static(b"AB"));
                } else {
                    buffer.extend(b"AB");
                }
                let mark = buffer.mark();
                if shared_after {
                    buffer.push_shared(Bytes::from_static(b"cd"));
                }
                buffer.extend(b"ef");
                buffer.insert_at(mark, b"*1");
                let expected: &[u8] = if shared_after { b"AB*1cdef" } else { b"AB*1ef" };
                assert_eq!(buffer.to_vec(), expected, "{shared_before} {shared_after}");
                assert_eq!(buffer.len_bytes(), expected.len());
            }
        }
    }
}
