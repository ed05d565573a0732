//! Hash slots: the number of a slot, the slot of a key, and sets of slots.
//!
//! Used by the dispatcher (every key of every command), the keyspace and the cluster. Knows nothing of who owns a slot.

use std::fmt;

/// How many hash slots a cluster has (cluster specification, "Key distribution model").
pub const SLOTS_COUNT: usize = 16384;

/// The size of a slot bitmap on the cluster bus and in `SlotSet`.
pub const SLOT_BITMAP_BYTES: usize = SLOTS_COUNT / 8;

/// One of the 16384 hash slots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot of a number that our own code made. Panics when it is not below 16384.
    #[inline]
    pub const fn new(number: u16) -> Slot {
        assert!((number as usize) < SLOTS_COUNT, "slot out of range");
        Slot(number)
    }

    /// The slot of a number from outside (a command, a bus message, a file); `None` when it is not in 0..16384.
    #[inline]
    pub const fn checked(number: i64) -> Option<Slot> {
        if number >= 0 && number < SLOTS_COUNT as i64 { Some(Slot(number as u16)) } else { None }
    }

    /// The slot's number, 0..16384.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The slot's number as an index into a table of `SLOTS_COUNT` entries.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// All slots in ascending order.
    pub fn all() -> impl DoubleEndedIterator<Item = Slot> + ExactSizeIterator {
        (0..SLOTS_COUNT as u16).map(Slot)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Slot({})", self.0)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

/// The slot of a key (cluster specification, "Key distribution model" and "Hash tags").
#[inline]
pub fn key_slot(key: &[u8]) -> Slot {
    Slot(crc16(hash_tag(key)) & (SLOTS_COUNT as u16 - 1))
}

/// The part of a key that is hashed: what stands between the first `{` and the first `}` after it when that is not
/// empty, else the whole key.
#[inline]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    match position_of(key, b'{') {
        None => key,
        Some(open) => tag_after(key, open),
    }
}

/// The first `{` of a short key is looked for eight bytes at a time: a call of `memchr` costs more than the hash itself.
#[inline]
fn position_of(key: &[u8], wanted: u8) -> Option<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = key.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let different = u64::from_le_bytes(*word) ^ (LOW * wanted as u64);
        let zeros = different.wrapping_sub(LOW) & !different & (LOW << 7);
        if zeros != 0 {
            return Some(number * 8 + zeros.trailing_zeros() as usize / 8);
        }
    }
    let inside = rest.iter().position(|&byte| byte == wanted)?;
    Some(words.len() * 8 + inside)
}

fn tag_after(key: &[u8], open: usize) -> &[u8] {
    let after = key.get(open + 1..).unwrap_or_default();
    match memchr::memchr(b'}', after) {
        None | Some(0) => key,
        Some(close) => after.get(..close).unwrap_or(key),
    }
}

/// `TABLES[n][b]`: what byte `b` adds to the checksum when `n` more bytes follow it.
static TABLES: [[u16; 256]; 16] = tables();

const fn tables() -> [[u16; 256]; 16] {
    let mut tables = [[0u16; 256]; 16];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut row = 1;
    while row < 16 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[row - 1][byte];
            tables[row][byte] = (before << 8) ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        row += 1;
    }
    tables
}

/// CRC16/XMODEM (polynomial 0x1021, initial value 0), sixteen, eight, four, then one byte at a time: the table look-ups
/// of one step do not wait for each other, those of the byte-wise loop do.
#[inline]
pub fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let (blocks, rest) = bytes.as_chunks::<16>();
    for block in blocks {
        crc = step(crc, block);
    }
    let (halves, rest) = rest.as_chunks::<8>();
    for half in halves {
        crc = step(crc, half);
    }
    let (quarters, rest) = rest.as_chunks::<4>();
    for quarter in quarters {
        crc = step(crc, quarter);
    }
    for &byte in rest {
        crc = (crc << 8) ^ TABLES[0][((crc >> 8) as u8 ^ byte) as usize];
    }
    crc
}

#[inline(always)]
fn step<const N: usize>(crc: u16, block: &[u8; N]) -> u16 {
    const { assert!(N >= 2 && N <= 16) };
    let [high, low] = crc.to_be_bytes();
    let mut next = TABLES[N - 1][(block[0] ^ high) as usize] ^ TABLES[N - 2][(block[1] ^ low) as usize];
    for (number, &byte) in block.iter().enumerate().skip(2) {
        next ^= TABLES[N - 1 - number][byte as usize];
    }
    next
}

/// A set of slots as a bitmap of 2048 bytes: slot `s` is bit `s % 8` of byte `s / 8`, as on the cluster bus.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet {
    words: [u64; SLOTS_COUNT / 64],
}

impl Default for SlotSet {
    fn default() -> Self {
        Self::new()
    }
}

impl SlotSet {
    /// The empty set.
    pub const fn new() -> SlotSet {
        SlotSet { words: [0; SLOTS_COUNT / 64] }
    }

    /// The set of all 16384 slots.
    pub const fn full() -> SlotSet {
        SlotSet { words: [u64::MAX; SLOTS_COUNT / 64] }
    }

    /// The set whose bitmap in the bus's layout is `bitmap`.
    pub fn from_bytes(bitmap: &[u8; SLOT_BITMAP_BYTES]) -> SlotSet {
        let mut set = SlotSet::new();
        let (chunks, _) = bitmap.as_chunks::<8>();
        for (word, chunk) in set.words.iter_mut().zip(chunks) {
            *word = u64::from_le_bytes(*chunk);
        }
        set
    }

    /// The bitmap in the bus's layout.
    pub fn to_bytes(&self) -> [u8; SLOT_BITMAP_BYTES] {
        let mut bitmap = [0u8; SLOT_BITMAP_BYTES];
        let (chunks, _) = bitmap.as_chunks_mut::<8>();
        for (chunk, word) in chunks.iter_mut().zip(&self.words) {
            *chunk = word.to_le_bytes();
        }
        bitmap
    }

    /// Adds a slot; true when it was not in the set.
    pub fn insert(&mut self, slot: Slot) -> bool {
        let (word, bit) = self.word_mut(slot);
        let was_absent = *word & bit == 0;
        *word |= bit;
        was_absent
    }

    /// Takes a slot out; true when it was in the set.
    pub fn remove(&mut self, slot: Slot) -> bool {
        let (word, bit) = self.word_mut(slot);
        let was_present = *word & bit != 0;
        *word &= !bit;
        was_present
    }

    /// Whether the slot is in the set.
    #[inline]
    pub fn contains(&self, slot: Slot) -> bool {
        self.words[slot.index() / 64] & (1 << (slot.index() % 64)) != 0
    }

    /// The set as a bitmap: slot `s` is bit `s % 64` of word `s / 64`.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Whether a slot is in both sets.
    pub fn overlaps(&self, other: &SlotSet) -> bool {
        self.words.iter().zip(&other.words).any(|(one, other)| one & other != 0)
    }

    /// How many slots are in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether no slot is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The slots of this set that are not in the other.
    pub fn without(&self, other: &SlotSet) -> SlotSet {
        let mut left = self.clone();
        left.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= !other);
        left
    }

    /// The slots that are in both sets.
    pub fn common(&self, other: &SlotSet) -> SlotSet {
        let mut common = self.clone();
        common.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
        common
    }

    /// Empties the set.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// The slots in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        let mut next = 0;
        std::iter::from_fn(move || {
            let slot = self.next_from(next, 0)?;
            next = slot + 1;
            Some(Slot(slot as u16))
        })
    }

    /// The maximal runs of consecutive slots in ascending order, each as (first, last), both in the set.
    pub fn ranges(&self) -> impl Iterator<Item = (Slot, Slot)> + '_ {
        let mut next = 0;
        std::iter::from_fn(move || {
            let first = self.next_from(next, 0)?;
            next = self.next_from(first, u64::MAX).unwrap_or(SLOTS_COUNT);
            Some((Slot(first as u16), Slot((next - 1) as u16)))
        })
    }

    /// The first number from `start` on that is in the set or, with all bits in `flipped`, that is not. A word at a time: nodes.conf is
    /// written, and the slots of packets are looked at, for each slot that moves.
    fn next_from(&self, start: usize, flipped: u64) -> Option<usize> {
        let mut number = start / 64;
        let mut word = (self.words.get(number)? ^ flipped) & (u64::MAX << (start % 64));
        while word == 0 {
            number += 1;
            word = self.words.get(number)? ^ flipped;
        }
        Some(number * 64 + word.trailing_zeros() as usize)
    }

    fn word_mut(&mut self, slot: Slot) -> (&mut u64, u64) {
        (&mut self.words[slot.index() / 64], 1 << (slot.index() % 64))
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> SlotSet {
        let mut set = SlotSet::new();
        set.extend(slots);
        set
    }
}

impl Extend<Slot> for SlotSet {
    fn extend<I: IntoIterator<Item = Slot>>(&mut self, slots: I) {
        for slot in slots {
            self.insert(slot);
        }
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.ranges().map(|(first, last)| first.get()..=last.get())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn crc16_of_the_specifications_example() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(crc16(b""), 0);
    }

    #[test]
    fn hash_tags_follow_the_specification() {
        assert_eq!(key_slot(b"foo").get(), 12182);
        assert_eq!(key_slot(b"{user1000}.following"), key_slot(b"{user1000}.followers"));
        let cases: [(&[u8], &[u8]); 9] = [
            (b"{user1000}.following", b"user1000"),
            (b"foo{}{bar}", b"foo{}{bar}"),
            (b"foo{{bar}}zap", b"{bar"),
            (b"foo{bar}{zap}", b"bar"),
            (b"foo{bar", b"foo{bar"),
            (b"foo}bar{", b"foo}bar{"),
            (b"}{a}", b"a"),
            (b"longer than eight bytes {tag} and more", b"tag"),
            (b"", b""),
        ];
        for (key, tag) in cases {
            assert_eq!(hash_tag(key), tag, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn numbers_from_outside_are_checked() {
        assert_eq!(Slot::checked(16383).map(Slot::get), Some(16383));
        assert_eq!(Slot::checked(16384), None);
        assert_eq!(Slot::checked(-1), None);
        assert_eq!(Slot::all().len(), SLOTS_COUNT);
    }

    #[test]
    fn slot_set_keeps_ranges() {
        let mut set: SlotSet = [0, 1, 2, 63, 64, 65, 100, 16382, 16383].map(Slot::new).into_iter().collect();
        let ranges: Vec<_> = set.ranges().map(|(first, last)| (first.get(), last.get())).collect();
        assert_eq!(ranges, [(0, 2), (63, 65), (100, 100), (16382, 16383)]);
        assert!(!set.insert(Slot::new(100)));
        assert!(set.remove(Slot::new(100)) && !set.remove(Slot::new(100)));
        assert_eq!(set.count(), 8);
        assert_eq!(SlotSet::full().ranges().collect::<Vec<_>>(), [(Slot::new(0), Slot::new(16383))]);
        assert_eq!(SlotSet::full().count(), SLOTS_COUNT);
        set.clear();
        assert!(set.is_empty());
    }

    #[test]
    fn slot_set_has_the_bus_layout() {
        let set: SlotSet = [Slot::new(9), Slot::new(16383)].into_iter().collect();
        let bitmap = set.to_bytes();
        assert_eq!((bitmap[1], bitmap[2047]), (2, 128));
        assert_eq!(SlotSet::from_bytes(&bitmap), set);
    }

    proptest! {
        #[test]
        fn crc16_equals_the_reference(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(crc16(&bytes), ::crc16::State::<::crc16::XMODEM>::calculate(&bytes));
        }

        #[test]
        fn hash_tag_equals_the_plain_search(key in proptest::collection::vec(prop_oneof![Just(b'{'), Just(b'}'), Just(b'z'), any::<u8>()], 0..40)) {
            let expected = key.iter().position(|&b| b == b'{').and_then(|open| {
                let close = key[open + 1..].iter().position(|&b| b == b'}')?;
                (close > 0).then(|| &key[open + 1..open + 1 + close])
            });
            prop_assert_eq!(hash_tag(&key), expected.unwrap_or(&key));
        }

        #[test]
        fn slot_set_behaves_as_a_set(numbers in proptest::collection::btree_set(0u16..16384, 0..300)) {
            let set: SlotSet = numbers.iter().copied().map(Slot::new).collect();
            prop_assert_eq!(set.count(), numbers.len());
            prop_assert!(set.iter().map(Slot::get).eq(numbers.iter().copied()));
            let spread: Vec<u16> = set.ranges().flat_map(|(a, b)| a.get()..=b.get()).collect();
            prop_assert!(spread.iter().copied().eq(numbers.iter().copied()));
            prop_assert_eq!(SlotSet::from_bytes(&set.to_bytes()), set);
        }

        #[test]
        fn slots_of_two_sets_are_told_apart(
            one in proptest::collection::btree_set(0u16..300, 0..300),
            other in proptest::collection::btree_set(0u16..300, 0..300),
        ) {
            let [first, second] = [&one, &other].map(|set| set.iter().copied().map(Slot::new).collect::<SlotSet>());
            prop_assert!(first.without(&second).iter().map(Slot::get).eq(one.difference(&other).copied()));
            prop_assert!(first.common(&second).iter().map(Slot::get).eq(one.intersection(&other).copied()));
        }
    }
}
