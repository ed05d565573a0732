//! HyperLogLogs as Redis keeps them in strings: how many different elements were added, in at most 12304 bytes.
//!
//! An element's hash chooses one of 16384 registers, which keeps the longest run of zeros seen in the rest of such hashes.
//! `sparse` and `dense` are the two forms in which registers are written, `estimate` makes a number of them, `self_test`
//! is PFSELFTEST. Both forms are exchanged with Redis, so what is written here is the same to the byte.
//!
//! ```text
//! "HYLL" | encoding: 0 dense, 1 sparse | 3 bytes not used | last count, 8 bytes, little endian | registers
//! ```
//! The highest bit of the count is set when it is out of date.
//!
//! Called by the commands, with the bytes of a string. Damaged bytes are an error, never a panic.

mod dense;
mod estimate;
mod self_test;
mod sparse;

use dense::DENSE_REGISTERS_BYTES;
pub use self_test::self_test;

/// Bits of a hash that choose the register.
const INDEX_BITS: u32 = 14;
/// How many registers there are.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of a hash in which zeros are counted.
const RUN_BITS: u32 = u64::BITS - INDEX_BITS;

const MAGIC: &[u8; 4] = b"HYLL";
const ENCODING_AT: usize = 4;
const COUNT_AT: usize = 8;
const HEADER_BYTES: usize = 16;
const DENSE_BYTES: usize = HEADER_BYTES + DENSE_REGISTERS_BYTES;
const COUNT_IS_OLD: u64 = 1 << 63;
const HASH_SEED: u64 = 0xadc8_3b19;

const _: () = assert!(DENSE_BYTES == 12304);

/// One value for each register.
pub type Registers = [u8; REGISTERS];

/// How the registers are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// Six bits each.
    Dense,
    /// Runs of equal registers.
    Sparse,
}

/// The runs of the sparse form do not add up to all registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damaged;

/// A HyperLogLog to which nothing was added.
pub fn empty() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + sparse::EMPTY.len());
    bytes.extend_from_slice(MAGIC);
    bytes.resize(HEADER_BYTES, 0);
    bytes[ENCODING_AT] = Encoding::Sparse.wire();
    bytes.extend_from_slice(&sparse::EMPTY);
    bytes
}

impl Encoding {
    const fn wire(self) -> u8 {
        match self {
            Encoding::Dense => 0,
            Encoding::Sparse => 1,
        }
    }

    /// The encoding of a string that is a HyperLogLog, at least by its header; None of any other.
    pub fn of(bytes: &[u8]) -> Option<Encoding> {
        let header = bytes.get(..HEADER_BYTES)?;
        if !header.starts_with(MAGIC) {
            return None;
        }
        match header[ENCODING_AT] {
            0 => (bytes.len() == DENSE_BYTES).then_some(Encoding::Dense),
            1 => Some(Encoding::Sparse),
            _ => None,
        }
    }
}

// The functions below are for strings that `Encoding::of` knows; others panic.

fn split(bytes: &[u8]) -> (Encoding, &[u8]) {
    let encoding = Encoding::of(bytes).expect("the caller has looked at the header");
    (encoding, &bytes[HEADER_BYTES..])
}

fn count_word(bytes: &mut [u8]) -> &mut [u8; 8] {
    bytes[COUNT_AT..].first_chunk_mut().expect("a header has a count")
}

/// The count that was kept, unless elements were added since.
pub fn kept_count(bytes: &[u8]) -> Option<i64> {
    let word = u64::from_le_bytes(*bytes[COUNT_AT..].first_chunk()?);
    (word & COUNT_IS_OLD == 0).then_some(word as i64)
}

/// Keeps a count for the next who asks.
pub fn keep_count(bytes: &mut [u8], count: i64) {
    *count_word(bytes) = count.to_le_bytes();
}

/// Marks the kept count as out of date.
pub fn forget_count(bytes: &mut [u8]) {
    let word = count_word(bytes);
    *word = (u64::from_le_bytes(*word) | COUNT_IS_OLD).to_le_bytes();
}

/// Adds an element; whether a register changed. A sparse one becomes dense when it would be longer than
/// `sparse_max_bytes`, or when a run of zeros is too long for it.
///
/// # Errors
/// `Damaged`: nothing was changed.
pub fn add(bytes: &mut Vec<u8>, element: &[u8], sparse_max_bytes: u64) -> Result<bool, Damaged> {
    let (index, value) = place(element);
    raise(bytes, index, value, sparse_max_bytes)
}

/// Raises a register to `value`; whether it was lower.
fn raise(bytes: &mut Vec<u8>, index: usize, value: u8, sparse_max_bytes: u64) -> Result<bool, Damaged> {
    match split(bytes).0 {
        Encoding::Dense => Ok(dense::raise(&mut bytes[HEADER_BYTES..], index, value)),
        Encoding::Sparse => match sparse::raise(bytes, index, value, sparse_max_bytes)? {
            sparse::Raised::Done(changed) => Ok(changed),
            sparse::Raised::NoRoom => {
                make_dense(bytes)?;
                Ok(dense::raise(&mut bytes[HEADER_BYTES..], index, value))
            }
        },
    }
}

/// Raises every register to what `registers` say.
///
/// # Errors
/// `Damaged`; some registers may have been raised.
pub fn raise_all(bytes: &mut Vec<u8>, registers: &Registers, sparse_max_bytes: u64) -> Result<(), Damaged> {
    for (index, value) in registers.iter().enumerate().filter(|(_, value)| **value != 0) {
        raise(bytes, index, *value, sparse_max_bytes)?;
    }
    Ok(())
}

/// Raises `registers` to those of a string: what is known of both sets together.
///
/// # Errors
/// `Damaged`; some registers may have been raised.
pub fn merge_into(registers: &mut Registers, bytes: &[u8]) -> Result<(), Damaged> {
    match split(bytes) {
        (Encoding::Dense, packed) => {
            registers.iter_mut().zip(dense::values(packed)).for_each(|(old, new)| *old = (*old).max(new));
            Ok(())
        }
        (Encoding::Sparse, runs) => sparse::for_each_run(runs, |range, value| {
            registers[range].iter_mut().for_each(|old| *old = (*old).max(value))
        }),
    }
}

/// About how many different elements were added.
///
/// # Errors
/// `Damaged`.
pub fn count(bytes: &[u8]) -> Result<i64, Damaged> {
    let mut histogram = estimate::Histogram::default();
    match split(bytes) {
        (Encoding::Dense, packed) => dense::values(packed).for_each(|value| histogram.add(value, 1)),
        (Encoding::Sparse, runs) => {
            sparse::for_each_run(runs, |range, value| histogram.add(value, range.len() as u32))?;
        }
    }
    Ok(histogram.estimate())
}

/// About how many different elements were added to what was merged into `registers`.
pub fn count_merged(registers: &Registers) -> i64 {
    let mut histogram = estimate::Histogram::default();
    registers.iter().for_each(|value| histogram.add(*value, 1));
    histogram.estimate()
}

/// Do the runs of a sparse one add up? A dense one is never damaged.
pub fn is_damaged(bytes: &[u8]) -> bool {
    match split(bytes) {
        (Encoding::Dense, _) => false,
        (Encoding::Sparse, runs) => sparse::for_each_run(runs, |_, _| ()).is_err(),
    }
}

/// Writes a sparse one in the dense form; whether it was sparse. Keeps the count.
///
/// # Errors
/// `Damaged`: nothing was changed.
pub fn make_dense(bytes: &mut Vec<u8>) -> Result<bool, Damaged> {
    let (Encoding::Sparse, runs) = split(bytes) else { return Ok(false) };
    let mut made = vec![0; DENSE_BYTES];
    let (header, packed) = made.split_at_mut(HEADER_BYTES);
    sparse::for_each_run(runs, |range, value| {
        if value != 0 {
            range.for_each(|index| dense::set(packed, index, value));
        }
    })?;
    header.copy_from_slice(&bytes[..HEADER_BYTES]);
    header[ENCODING_AT] = Encoding::Dense.wire();
    *bytes = made;
    Ok(true)
}

/// The values of the registers in their order, of a dense one.
pub fn register_values(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    dense::values(&bytes[HEADER_BYTES..])
}

/// The runs of a sparse one in PFDEBUG DECODE's notation.
pub fn describe_runs(bytes: &[u8]) -> String {
    sparse::describe(&bytes[HEADER_BYTES..])
}

/// The register that an element's hash chooses, and its run: how many zeros come before the first one, and that one.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur(element, HASH_SEED);
    // A one behind the last bit ends the longest run.
    let rest = hash >> INDEX_BITS | 1 << RUN_BITS;
    ((hash & (REGISTERS as u64 - 1)) as usize, rest.trailing_zeros() as u8 + 1)
}

/// MurmurHash64A by Austin Appleby, reading words as little endian.
fn murmur(bytes: &[u8], seed: u64) -> u64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        word = (word ^ word >> SHIFT).wrapping_mul(MULTIPLIER);
        hash = (hash ^ word).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ hash >> SHIFT).wrapping_mul(MULTIPLIER);
    hash ^ hash >> SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: u64 = 1 << 20;

    fn filled(elements: std::ops::Range<u32>, sparse_max_bytes: u64) -> Vec<u8> {
        let mut bytes = empty();
        for element in elements {
            add(&mut bytes, element.to_string().as_bytes(), sparse_max_bytes).unwrap();
        }
        bytes
    }

    #[test]
    fn both_forms_hold_the_same_registers() {
        for count_of in [0, 1, 2, 10, 100, 1000, 5000] {
            let (sparse, dense) = (filled(0..count_of, ROOMY), filled(0..count_of, 0));
            let (mut of_sparse, mut of_dense) = ([0; REGISTERS], [0; REGISTERS]);
            merge_into(&mut of_sparse, &sparse).unwrap();
            merge_into(&mut of_dense, &dense).unwrap();
            assert!(of_sparse == of_dense, "{count_of}");
            assert_eq!(count(&sparse), count(&dense));
            assert_eq!(count_merged(&of_sparse), count(&dense).unwrap());
            let mut made_dense = sparse.clone();
            assert_eq!(make_dense(&mut made_dense), Ok(true));
            if count_of > 0 {
                assert_eq!(Encoding::of(&dense), Some(Encoding::Dense));
                assert!(made_dense[HEADER_BYTES..] == dense[HEADER_BYTES..], "{count_of}");
            }
        }
    }

    #[test]
    fn counts_are_close_to_what_was_added() {
        for (added, margin) in [(0, 0), (1, 0), (10, 1), (1000, 30), (50_000, 1500)] {
            let counted = count(&filled(0..added, 3000)).unwrap();
            assert!(counted.abs_diff(i64::from(added)) <= margin, "{added} counted as {counted}");
        }
    }

    #[test]
    fn a_merge_counts_both_sets_once() {
        let (a, b) = (filled(0..3000, 3000), filled(2000..5000, 3000));
        let mut registers = [0; REGISTERS];
        merge_into(&mut registers, &a).unwrap();
        merge_into(&mut registers, &b).unwrap();
        let together = filled(0..5000, 3000);
        assert_eq!(count_merged(&registers), count(&together).unwrap());
        let mut raised = empty();
        raise_all(&mut raised, &registers, 3000).unwrap();
        assert_eq!(count(&raised), count(&together));
    }

    #[test]
    fn a_kept_count_lasts_until_it_is_forgotten() {
        let mut bytes = empty();
        assert_eq!(kept_count(&bytes), Some(0));
        keep_count(&mut bytes, 77);
        assert_eq!(kept_count(&bytes), Some(77));
        forget_count(&mut bytes);
        assert_eq!(kept_count(&bytes), None);
        assert_eq!(bytes[COUNT_AT], 77);
        assert_eq!(bytes[COUNT_AT + 7], 0x80);
    }

    #[test]
    fn only_a_right_header_makes_a_hyperloglog() {
        let good = empty();
        assert_eq!(Encoding::of(&good), Some(Encoding::Sparse));
        let dense = filled(0..1, 0);
        assert_eq!(Encoding::of(&dense), Some(Encoding::Dense));
        assert_eq!(Encoding::of(&dense[..DENSE_BYTES - 1]), None);
        assert_eq!(Encoding::of(&good[..HEADER_BYTES - 1]), None);
        assert_eq!(Encoding::of(b""), None);
        let mut bad = good.clone();
        bad[ENCODING_AT] = 2;
        assert_eq!(Encoding::of(&bad), None);
        let mut bad = good;
        bad[0] = b'h';
        assert_eq!(Encoding::of(&bad), None);
    }

    #[test]
    fn damaged_runs_are_refused_and_left_alone() {
        let random = &mut crate::base::random::Random::new(5);
        let good = filled(0..200, ROOMY);
        for _ in 0..3000 {
            let mut bytes = good.clone();
            for _ in 0..1 + random.below(4) {
                let at = HEADER_BYTES + random.below((good.len() - HEADER_BYTES) as u64) as usize;
                bytes[at] = random.next_u32() as u8;
            }
            bytes.truncate(bytes.len() - random.below(3) as usize);
            let before = bytes.clone();
            let damaged = is_damaged(&bytes);
            assert_eq!(count(&bytes).is_err(), damaged);
            if make_dense(&mut bytes).is_err() {
                assert!(damaged && bytes == before);
            }
            let mut bytes = before.clone();
            if add(&mut bytes, &random.next_u64().to_le_bytes(), 100).is_err() {
                assert!(damaged && bytes == before);
            }
        }
    }

    #[test]
    fn hashes_are_those_of_the_published_function() {
        // From a PFADD of these elements to a redis-server: the opcodes tell register and run.
        for (element, described) in [
            ("", "Z:5938 v:2,1 Z:10445"),
            ("a", "Z:12711 v:2,1 Z:3672"),
            ("1234567", "Z:10327 v:3,1 Z:6056"),
            ("12345678", "Z:10579 v:3,1 Z:5804"),
            ("123456789abcdef", "Z:1977 v:3,1 Z:14406"),
        ] {
            let mut bytes = empty();
            add(&mut bytes, element.as_bytes(), ROOMY).unwrap();
            assert_eq!(describe_runs(&bytes), described, "{element}");
        }
    }
}
