//! Intset: a set of integers, sorted, in one allocation, in the byte format of Redis, so that dumping one is a copy.
//!
//! ```text
//! offset  size  field
//!      0     4  width of an integer in bytes: 2, 4 or 8, little-endian
//!      4     4  integers, little-endian
//!      8     n  the integers, ascending, signed, little-endian
//! ```
//!
//! The width is that of the widest integer ever added: removing does not narrow. Used by sets, which decide when an intset
//! is too long to stay one.

use super::listpack::Damaged;

const HEADER_BYTES: usize = 8;
/// What a set may ask for at most: the count has 32 bits.
pub const INTSET_MAX_LEN: usize = 1 << 30;

/// A sorted set of integers. One that never had an integer has no allocation.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct IntSet {
    /// Exactly the bytes of the format, or nothing.
    bytes: Box<[u8]>,
}

impl IntSet {
    pub fn new() -> IntSet {
        IntSet::default()
    }

    /// Takes over bytes from outside after a look at every integer of them.
    ///
    /// # Errors
    /// `Damaged`: width or count do not add up, or the integers are not ascending.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<IntSet, Damaged> {
        let (width, count) = match bytes.first_chunk::<HEADER_BYTES>() {
            Some(&[a, b, c, d, e, f, g, h]) => (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])),
            None => return Err(Damaged),
        };
        let (width, count) = (width as usize, count as usize);
        let total = count.checked_mul(width).and_then(|contents| contents.checked_add(HEADER_BYTES));
        if !matches!(width, 2 | 4 | 8) || total != Some(bytes.len()) {
            return Err(Damaged);
        }
        let set = IntSet { bytes: bytes.into_boxed_slice() };
        let ascending = set.iter().zip(set.iter().skip(1)).all(|(one, next)| one < next);
        if ascending { Ok(set) } else { Err(Damaged) }
    }

    /// A set of these integers, in any order: one pass and a sort, where adding them one by one would move them all each time.
    pub fn from_integers(mut integers: Vec<i64>) -> IntSet {
        integers.sort_unstable();
        integers.dedup();
        let ends = [integers.first(), integers.last()];
        let width = ends.into_iter().flatten().map(|integer| width_of(*integer)).max().unwrap_or(0);
        if width == 0 {
            return IntSet::new();
        }
        let mut set = IntSet::new();
        let mut bytes = header(width, integers.len());
        for integer in &integers {
            bytes.extend_from_slice(&integer.to_le_bytes()[..width]);
        }
        set.put(bytes, integers.len());
        set
    }

    /// The bytes of the format; none for a set that never had an integer.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes allocated.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub fn len(&self) -> usize {
        match self.bytes.get(4..8).and_then(<[u8]>::first_chunk) {
            Some(count) => u32::from_le_bytes(*count) as usize,
            None => 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The integer at `index` in ascending order.
    #[inline]
    pub fn get(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| self.at(index))
    }

    pub fn min(&self) -> Option<i64> {
        self.get(0)
    }

    pub fn max(&self) -> Option<i64> {
        self.get(self.len().checked_sub(1)?)
    }

    /// All integers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = i64> + Clone + '_ {
        (0..self.len()).map(|index| self.at(index))
    }

    #[inline]
    pub fn contains(&self, integer: i64) -> bool {
        self.search(integer).is_ok()
    }

    /// Adds an integer; whether it is new. The caller holds the length within [`INTSET_MAX_LEN`].
    pub fn add(&mut self, integer: i64) -> bool {
        let width = width_of(integer);
        if width > self.width() {
            self.widen(width);
        }
        let Err(index) = self.search(integer) else { return false };
        let (width, len) = (self.width(), self.len());
        let offset = HEADER_BYTES + index * width;
        let mut bytes = std::mem::take(&mut self.bytes).into_vec();
        bytes.reserve_exact(width);
        let end = bytes.len();
        bytes.resize(end + width, 0);
        bytes.copy_within(offset..end, offset + width);
        bytes[offset..offset + width].copy_from_slice(&integer.to_le_bytes()[..width]);
        self.put(bytes, len + 1);
        true
    }

    /// Removes an integer; whether it was there.
    pub fn remove(&mut self, integer: i64) -> bool {
        let Ok(index) = self.search(integer) else { return false };
        let (width, len) = (self.width(), self.len());
        let offset = HEADER_BYTES + index * width;
        let mut bytes = std::mem::take(&mut self.bytes).into_vec();
        bytes.drain(offset..offset + width);
        self.put(bytes, len - 1);
        true
    }

    /// Where an integer stands, or would.
    fn search(&self, integer: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at(middle).cmp(&integer) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Bytes of one integer; 0 as long as nothing is allocated.
    #[inline]
    fn width(&self) -> usize {
        self.bytes.first().map_or(0, |width| usize::from(*width))
    }

    #[inline]
    fn at(&self, index: usize) -> i64 {
        let width = self.width();
        let place = &self.bytes[HEADER_BYTES + index * width..][..width];
        match place {
            [a, b] => i64::from(i16::from_le_bytes([*a, *b])),
            [a, b, c, d] => i64::from(i32::from_le_bytes([*a, *b, *c, *d])),
            _ => i64::from_le_bytes(*place.first_chunk().expect("the width is 2, 4 or 8")),
        }
    }

    /// Lays all integers out anew in a larger width.
    fn widen(&mut self, width: usize) {
        let len = self.len();
        let mut bytes = header(width, len + 1);
        for integer in self.iter() {
            bytes.extend_from_slice(&integer.to_le_bytes()[..width]);
        }
        self.put(bytes, len);
    }

    fn put(&mut self, mut bytes: Vec<u8>, len: usize) {
        let count = u32::try_from(len).expect("sets keep intsets far below 2^32 integers");
        bytes[4..8].copy_from_slice(&count.to_le_bytes());
        self.bytes = bytes.into_boxed_slice();
    }
}

/// The header without the count, with room for so many integers behind it.
fn header(width: usize, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + count * width);
    bytes.extend_from_slice(&(width as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes
}

fn width_of(integer: i64) -> usize {
    if i16::try_from(integer).is_ok() {
        2
    } else if i32::try_from(integer).is_ok() {
        4
    } else {
        8
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_are_those_of_the_format() {
        let mut set = IntSet::new();
        assert_eq!(set.as_bytes(), b"");
        for integer in [5, -2, 300] {
            assert!(set.add(integer));
        }
        assert_eq!(set.as_bytes(), [2, 0, 0, 0, 3, 0, 0, 0, 0xfe, 0xff, 5, 0, 0x2c, 1]);
        assert!(set.add(-70_000));
        let wide = [4, 0, 0, 0, 4, 0, 0, 0, 0x90, 0xee, 0xfe, 0xff, 0xfe, 0xff, 0xff, 0xff, 5, 0, 0, 0, 0x2c, 1, 0, 0];
        assert_eq!(set.as_bytes(), wide);
        assert!(set.remove(-70_000));
        assert_eq!(set.as_bytes()[0], 4, "removing does not narrow");
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let mut set = IntSet::new();
        for integer in [1, 2, 70_000] {
            set.add(integer);
        }
        let good = set.as_bytes().to_vec();
        assert_eq!(IntSet::from_bytes(good.clone()), Ok(set));
        for cut in 0..good.len() {
            assert_eq!(IntSet::from_bytes(good[..cut].to_vec()), Err(Damaged));
        }
        for (at, byte) in [(0, 3), (0, 2), (3, 1), (4, 4), (7, 0xff), (8, 2), (8, 3)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(IntSet::from_bytes(bad), Err(Damaged), "{byte} at {at}");
        }
    }

    fn any_integer() -> impl Strategy<Value = i64> {
        prop_oneof![-20i64..20, -40_000i64..40_000, any::<i64>(), Just(i64::MIN), Just(i64::MAX)]
    }

    proptest! {
        #[test]
        fn does_what_a_sorted_set_does(steps in proptest::collection::vec((any::<bool>(), any_integer()), 0..80)) {
            let (mut set, mut model) = (IntSet::new(), BTreeSet::new());
            for (add, integer) in steps {
                if add {
                    prop_assert_eq!(set.add(integer), model.insert(integer));
                } else {
                    prop_assert_eq!(set.remove(integer), model.remove(&integer));
                }
                prop_assert_eq!(set.contains(integer), model.contains(&integer));
                prop_assert!(set.iter().eq(model.iter().copied()));
                prop_assert_eq!((set.min(), set.max()), (model.first().copied(), model.last().copied()));
            }
            if !set.as_bytes().is_empty() {
                prop_assert_eq!(IntSet::from_bytes(set.as_bytes().to_vec()), Ok(set));
            }
            let at_once = IntSet::from_integers(model.iter().rev().chain(&model).copied().collect());
            prop_assert!(at_once.iter().eq(model.iter().copied()));
        }
    }
}
