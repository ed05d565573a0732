//! The id of a stream's entry: milliseconds and a sequence number.
//!
//! Owns order, neighbours and the text form. Reading what clients write as an id is the commands' business.

use std::io::Write;

/// The longest id as text: two numbers of 20 digits and a dash.
const TEXT_BYTES_MAX: usize = 41;

/// An id; `ms` is compared first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    pub ms: u64,
    pub seq: u64,
}

impl StreamId {
    /// No entry has this one.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    pub const fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    pub fn is_zero(self) -> bool {
        self == StreamId::MIN
    }

    /// The smallest id behind this one; `None` behind the last.
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { ms: self.ms, seq }),
            None => self.ms.checked_add(1).map(|ms| StreamId { ms, seq: 0 }),
        }
    }

    /// The greatest id before this one; `None` before the first.
    pub fn previous(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { ms: self.ms, seq }),
            None => self.ms.checked_sub(1).map(|ms| StreamId { ms, seq: u64::MAX }),
        }
    }

    /// Milliseconds and sequence from `base` to this id, as nodes keep them: the sequence may go down while the
    /// milliseconds go up, and both wrap.
    pub(super) fn relative_to(self, base: StreamId) -> (i64, i64) {
        (self.ms.wrapping_sub(base.ms).cast_signed(), self.seq.wrapping_sub(base.seq).cast_signed())
    }

    /// The id that stands `ms` and `seq` from this one.
    pub(super) fn plus(self, ms: i64, seq: i64) -> StreamId {
        StreamId { ms: self.ms.wrapping_add(ms.cast_unsigned()), seq: self.seq.wrapping_add(seq.cast_unsigned()) }
    }

    /// Writes `ms-seq` into `text`.
    pub fn format(self, text: &mut IdText) -> &[u8] {
        let mut rest = text.0.as_mut_slice();
        let mut digits = itoa::Buffer::new();
        // Room for the longest id is there, so that writing into the slice does not fail.
        let mut put = |bytes: &[u8]| rest.write_all(bytes).expect("an id fits its text");
        put(digits.format(self.ms).as_bytes());
        put(b"-");
        put(digits.format(self.seq).as_bytes());
        let left = rest.len();
        &text.0[..TEXT_BYTES_MAX - left]
    }
}

/// Room for an id as text; see [`StreamId::format`].
pub struct IdText([u8; TEXT_BYTES_MAX]);

impl IdText {
    pub fn new() -> IdText {
        IdText([0; TEXT_BYTES_MAX])
    }
}

impl Default for IdText {
    fn default() -> IdText {
        IdText::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_carry_over_into_the_milliseconds_and_end_at_the_edges() {
        assert_eq!(StreamId::new(1, 2).next(), Some(StreamId::new(1, 3)));
        assert_eq!(StreamId::new(1, u64::MAX).next(), Some(StreamId::new(2, 0)));
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(StreamId::new(2, 0).previous(), Some(StreamId::new(1, u64::MAX)));
        assert_eq!(StreamId::MIN.previous(), None);
    }

    #[test]
    fn text_is_both_numbers_with_a_dash() {
        let text = |id: StreamId| String::from_utf8(id.format(&mut IdText::new()).to_vec()).unwrap();
        assert_eq!(text(StreamId::MIN), "0-0");
        assert_eq!(text(StreamId::new(1526919030474, 55)), "1526919030474-55");
        assert_eq!(text(StreamId::MAX), "18446744073709551615-18446744073709551615");
    }

    #[test]
    fn what_is_kept_relative_comes_back() {
        let base = StreamId::new(5, 100);
        for id in [base, StreamId::new(5, 101), StreamId::new(6, 0), StreamId::MAX, StreamId::MIN] {
            let (ms, seq) = id.relative_to(base);
            assert_eq!(base.plus(ms, seq), id);
        }
    }
}
