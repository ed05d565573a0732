//! Strings of bits: counting, finding, combining, and integers of any width at any bit.
//!
//! Bit 0 is the highest bit of the first byte, as SETBIT counts. Whole strings are worked on in words of 64 bits.
//! Called by the bitmap commands; knows nothing of keys or replies.

/// What a string of bits is combined with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    And,
    Or,
    Xor,
    /// Of one string alone.
    Not,
}

const WORD_BYTES: usize = 8;
/// Bytes that are combined at a time, so that the result stays in the nearest cache while all sources pass.
const BLOCK_BYTES: usize = 16 << 10;
/// The widest integer, and the bytes over which it may lie.
pub const FIELD_MAX_BITS: u32 = 64;
const FIELD_MAX_BYTES: usize = 9;

/// Four words that the compiler keeps in vector registers.
type Lanes = [u64; 4];
const LANES_BYTES: usize = size_of::<Lanes>();

/// How many bits are set.
///
/// Adds up vectors bit by bit (carry-save adders, after Harley and Seal), so that only one in eight has its bits counted.
pub fn count_ones(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<{ 8 * LANES_BYTES }>();
    let (mut ones, mut twos, mut fours) = (Lanes::default(), Lanes::default(), Lanes::default());
    let mut eights_count = 0;
    for block in blocks {
        let (vectors, _) = block.as_chunks::<LANES_BYTES>();
        let mut carries_of_two = [Lanes::default(); 4];
        for (carry, pair) in carries_of_two.iter_mut().zip(vectors.as_chunks::<2>().0) {
            (ones, *carry) = add_bits(ones, lanes(&pair[0]), lanes(&pair[1]));
        }
        let [first, second, third, fourth] = carries_of_two;
        let (sum, low) = add_bits(twos, first, second);
        let (sum, high) = add_bits(sum, third, fourth);
        twos = sum;
        let (sum, eights) = add_bits(fours, low, high);
        fours = sum;
        eights_count += count_lanes(&eights);
    }
    8 * eights_count + 4 * count_lanes(&fours) + 2 * count_lanes(&twos) + count_lanes(&ones) + count_words(rest)
}

fn lanes(bytes: &[u8; LANES_BYTES]) -> Lanes {
    let (words, _) = bytes.as_chunks::<WORD_BYTES>();
    std::array::from_fn(|lane| u64::from_ne_bytes(words[lane]))
}

/// The sum of three bits in each place: what stays and what is carried.
fn add_bits(a: Lanes, b: Lanes, c: Lanes) -> (Lanes, Lanes) {
    let sum = std::array::from_fn(|lane| a[lane] ^ b[lane] ^ c[lane]);
    let carry = std::array::from_fn(|lane| (a[lane] & b[lane]) | ((a[lane] ^ b[lane]) & c[lane]));
    (sum, carry)
}

fn count_lanes(lanes: &Lanes) -> u64 {
    lanes.iter().map(|word| u64::from(word.count_ones())).sum()
}

fn count_words(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<WORD_BYTES>();
    let in_words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    in_words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// How many bits are set among those from `first` to `last`, both included and within `bytes`.
pub fn count_ones_between(bytes: &[u8], first: u64, last: u64) -> u64 {
    let Some(Edges { start, end, head, tail }) = Edges::of(bytes, first, last) else { return 0 };
    if start == end {
        return u64::from((bytes[start] & head & tail).count_ones());
    }
    let edges = (bytes[start] & head).count_ones() + (bytes[end] & tail).count_ones();
    u64::from(edges) + count_ones(&bytes[start + 1..end])
}

/// Where the first bit stands that is `wanted`, among those from `first` to `last`, both included and within `bytes`.
pub fn find_bit(bytes: &[u8], wanted: bool, first: u64, last: u64) -> Option<u64> {
    let Edges { start, end, head, tail } = Edges::of(bytes, first, last)?;
    let flip = if wanted { 0 } else { u8::MAX };
    let in_byte = |at: usize, mask: u8| {
        let found = (bytes[at] ^ flip) & mask;
        (found != 0).then(|| at as u64 * 8 + u64::from(found.leading_zeros()))
    };
    if start == end {
        return in_byte(start, head & tail);
    }
    let whole = |at: usize| in_byte(at, u8::MAX);
    in_byte(start, head)
        .or_else(|| first_other_byte(&bytes[start + 1..end], flip).and_then(|at| whole(start + 1 + at)))
        .or_else(|| in_byte(end, tail))
}

/// The index of the first byte that is not `byte`.
fn first_other_byte(bytes: &[u8], byte: u8) -> Option<usize> {
    let same = u64::from_ne_bytes([byte; WORD_BYTES]);
    let (vectors, _) = bytes.as_chunks::<LANES_BYTES>();
    let skipped = vectors.iter().take_while(|vector| lanes(vector) == [same; 4]).count() * LANES_BYTES;
    bytes[skipped..].iter().position(|other| *other != byte).map(|at| skipped + at)
}

/// A range of bits as bytes: the first and last one, and which of their bits belong to it.
struct Edges {
    start: usize,
    end: usize,
    head: u8,
    tail: u8,
}

impl Edges {
    /// None for an empty range and for one that begins past the end; what reaches past it is cut.
    fn of(bytes: &[u8], first: u64, last: u64) -> Option<Edges> {
        let last = last.min((bytes.len() as u64 * 8).checked_sub(1)?);
        if first > last {
            return None;
        }
        let head = u8::MAX >> (first % 8);
        let tail = u8::MAX << (7 - last % 8);
        Some(Edges { start: (first / 8) as usize, end: (last / 8) as usize, head, tail })
    }
}

/// The sources combined bit by bit; those shorter than the longest count as if zeros followed. The result is as long as
/// the longest.
pub fn combine(operation: Operation, sources: &[&[u8]]) -> Vec<u8> {
    let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
    let mut result = vec![0; len];
    let Some((first, others)) = sources.split_first() else { return result };
    for (index, block) in result.chunks_mut(BLOCK_BYTES).enumerate() {
        let start = index * BLOCK_BYTES;
        let end = start + block.len();
        let first = part(first, start, end);
        block[..first.len()].copy_from_slice(first);
        for source in others {
            combine_block(operation, block, part(source, start, end));
        }
        if operation == Operation::Not {
            block.iter_mut().for_each(|byte| *byte = !*byte);
        }
    }
    result
}

/// What there is of `bytes` from `start` to `end`.
fn part(bytes: &[u8], start: usize, end: usize) -> &[u8] {
    let end = end.min(bytes.len());
    &bytes[start.min(end)..end]
}

/// Combines `block` with a source that may be shorter.
fn combine_block(operation: Operation, block: &mut [u8], source: &[u8]) {
    let (common, rest) = block.split_at_mut(source.len());
    match operation {
        Operation::And => {
            each_word(common, source, |a, b| a & b);
            rest.fill(0);
        }
        Operation::Or => each_word(common, source, |a, b| a | b),
        Operation::Xor => each_word(common, source, |a, b| a ^ b),
        Operation::Not => {}
    }
}

/// Applies `function` to two strings of the same length.
#[inline]
fn each_word(target: &mut [u8], source: &[u8], function: impl Fn(u64, u64) -> u64) {
    let (target_words, target_rest) = target.as_chunks_mut::<WORD_BYTES>();
    let (source_words, source_rest) = source.as_chunks::<WORD_BYTES>();
    for (target, source) in target_words.iter_mut().zip(source_words) {
        *target = function(u64::from_ne_bytes(*target), u64::from_ne_bytes(*source)).to_ne_bytes();
    }
    for (target, source) in target_rest.iter_mut().zip(source_rest) {
        *target = function(u64::from(*target), u64::from(*source)) as u8;
    }
}

/// The unsigned integer of `width` bits (1 to 64) at bit `at`; zeros follow the end of `bytes`.
pub fn field(bytes: &[u8], at: u64, width: u32) -> u64 {
    let mut window = [0; size_of::<u128>()];
    let start = usize::try_from(at / 8).unwrap_or(usize::MAX).min(bytes.len());
    let there = &bytes[start..bytes.len().min(start.saturating_add(FIELD_MAX_BYTES))];
    window[..there.len()].copy_from_slice(there);
    let from_right = u128::BITS - (at % 8) as u32 - width;
    ((u128::from_be_bytes(window) >> from_right) as u64) & mask(width)
}

/// Writes the low `width` bits (1 to 64) of `value` at bit `at`, up to the end of `bytes`.
pub fn set_field(bytes: &mut [u8], at: u64, width: u32, value: u64) {
    let start = usize::try_from(at / 8).unwrap_or(usize::MAX).min(bytes.len());
    let end = bytes.len().min(start.saturating_add(FIELD_MAX_BYTES));
    let there = &mut bytes[start..end];
    let mut window = [0; size_of::<u128>()];
    window[..there.len()].copy_from_slice(there);
    let from_right = u128::BITS - (at % 8) as u32 - width;
    let kept = u128::from_be_bytes(window) & !(u128::from(mask(width)) << from_right);
    let changed = kept | (u128::from(value & mask(width)) << from_right);
    there.copy_from_slice(&changed.to_be_bytes()[..there.len()]);
}

/// The low `width` bits set.
pub fn mask(width: u32) -> u64 {
    u64::MAX >> (FIELD_MAX_BITS - width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    fn random_bytes(random: &mut Random, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        random.fill(&mut bytes);
        bytes
    }

    fn bit(bytes: &[u8], at: u64) -> bool {
        bytes.get((at / 8) as usize).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1)
    }

    #[test]
    fn counts_and_finds_what_a_walk_over_the_bits_finds() {
        let mut random = Random::new(1);
        for len in [0, 1, 2, 7, 8, 9, 31, 33, 255, 256, 257, 1000] {
            let bytes = random_bytes(&mut random, len);
            let bits = len as u64 * 8;
            assert_eq!(count_ones(&bytes), (0..bits).filter(|at| bit(&bytes, *at)).count() as u64, "{len}");
            for _ in 0..50 {
                let (first, last) = (random.below(bits + 9), random.below(bits + 9));
                let range = || (first..=last).filter(|at| *at < bits);
                let ones = range().filter(|at| bit(&bytes, *at)).count() as u64;
                assert_eq!(count_ones_between(&bytes, first, last), ones, "{len} {first} {last}");
                for wanted in [false, true] {
                    let found = range().find(|at| bit(&bytes, *at) == wanted);
                    assert_eq!(find_bit(&bytes, wanted, first, last), found, "{len} {first} {last} {wanted}");
                }
            }
        }
    }

    #[test]
    fn a_lone_bit_is_found_wherever_it_stands() {
        for at in (0..4000).step_by(7) {
            for wanted in [false, true] {
                let mut bytes = vec![if wanted { 0 } else { 0xff }; 500];
                bytes[at / 8] ^= 0x80 >> (at % 8);
                assert_eq!(find_bit(&bytes, wanted, 0, 3999), Some(at as u64));
                assert_eq!(find_bit(&bytes, wanted, at as u64 + 1, 3999), None);
            }
        }
    }

    #[test]
    fn sources_of_any_length_combine_as_if_zeros_followed() {
        let mut random = Random::new(2);
        for lengths in [&[3, 3][..], &[0, 20, 7], &[40_000, 16_384, 39_999, 8], &[5], &[0, 0]] {
            let sources: Vec<Vec<u8>> = lengths.iter().map(|len| random_bytes(&mut random, *len)).collect();
            let slices: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
            let longest = lengths.iter().copied().max().unwrap_or(0);
            let fold = |at: usize, function: fn(u8, u8) -> u8| {
                sources.iter().map(|source| source.get(at).copied().unwrap_or(0)).reduce(function).unwrap()
            };
            for (operation, function) in [
                (Operation::And, (|a, b| a & b) as fn(u8, u8) -> u8),
                (Operation::Or, |a, b| a | b),
                (Operation::Xor, |a, b| a ^ b),
            ] {
                let expected: Vec<u8> = (0..longest).map(|at| fold(at, function)).collect();
                assert!(combine(operation, &slices) == expected, "{operation:?} {lengths:?}");
            }
        }
        assert_eq!(combine(Operation::Not, &[b"\x00\xf0\xff"]), b"\xff\x0f\x00");
        assert_eq!(combine(Operation::Or, &[]), b"");
    }

    #[test]
    fn a_field_reads_what_was_written_and_leaves_its_neighbours() {
        let mut random = Random::new(3);
        for _ in 0..5000 {
            let mut bytes = random_bytes(&mut random, 20);
            let before = bytes.clone();
            let width = 1 + random.below(64) as u32;
            let at = random.below(160 - u64::from(width) + 1);
            let value = random.next_u64();
            set_field(&mut bytes, at, width, value);
            assert_eq!(field(&bytes, at, width), value & mask(width));
            let inside = at..at + u64::from(width);
            for index in (0..160).filter(|index| !inside.contains(index)) {
                assert_eq!(bit(&bytes, index), bit(&before, index));
            }
        }
    }

    #[test]
    fn a_field_past_the_end_is_zero() {
        assert_eq!(field(b"\xff", 4, 8), 0xf0);
        assert_eq!(field(b"\xff", 8, 64), 0);
        assert_eq!(field(b"\xff", u64::MAX, 1), 0);
        assert_eq!(field(b"", 0, 64), 0);
    }
}
