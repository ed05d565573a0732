//! LZF: the compression of strings in RDB files.
//!
//! ```text
//! 000lllll                      l + 1 bytes as they are follow
//! lllooooo oooooooo             l + 2 bytes (l from 1 to 6) that stood o + 1 bytes before
//! 111ooooo llllllll oooooooo    l + 9 bytes, the same
//! ```

/// The longest run of bytes as they are.
const LITERALS_MAX: usize = 32;
/// The shortest and the longest reference.
const MATCH_MIN: usize = 3;
const MATCH_MAX: usize = 264;
/// How far back a reference may point.
const DISTANCE_MAX: usize = 1 << 13;
/// Places of the table of what stood where: no more than a few for each byte of the input.
const TABLE_BITS: std::ops::RangeInclusive<u32> = 6..=14;
/// After so many bytes without a match they are looked at more and more sparsely.
const PATIENCE_BITS: u32 = 6;

/// Compresses one string after another; the same string always to the same bytes.
#[derive(Default)]
pub(super) struct Compressor {
    /// By hash of three bytes: where they stood, plus one.
    table: Vec<u32>,
    out: Vec<u8>,
}

impl Compressor {
    /// The input compressed, `None` when that takes more than `bytes_max`.
    pub fn compress(&mut self, input: &[u8], bytes_max: usize) -> Option<&[u8]> {
        u32::try_from(input.len()).ok()?;
        let bits = (input.len() | 1).ilog2().saturating_add(1).clamp(*TABLE_BITS.start(), *TABLE_BITS.end());
        self.table.clear();
        self.table.resize(1 << bits, 0);
        self.out.clear();
        let (mut at, mut literals_from) = (0, 0);
        while let Some([a, b, c]) = input[at..].first_chunk() {
            let word = u32::from_le_bytes([*a, *b, *c, 0]);
            let place = &mut self.table[(word.wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize];
            let candidate = std::mem::replace(place, at as u32 + 1) as usize;
            let Some(length) = candidate.checked_sub(1).and_then(|from| match_length(input, from, at)) else {
                at += 1 + ((at - literals_from) >> PATIENCE_BITS);
                if at > input.len() {
                    break;
                }
                continue;
            };
            self.put_literals(&input[literals_from..at]);
            self.put_match(length, at + 1 - candidate);
            at += length;
            literals_from = at;
            if self.out.len() > bytes_max {
                return None;
            }
        }
        self.put_literals(&input[literals_from..]);
        (self.out.len() <= bytes_max).then_some(&self.out)
    }

    fn put_literals(&mut self, literals: &[u8]) {
        for run in literals.chunks(LITERALS_MAX) {
            self.out.push(run.len() as u8 - 1);
            self.out.extend_from_slice(run);
        }
    }

    fn put_match(&mut self, length: usize, distance: usize) {
        let (length, offset) = (length - 2, distance - 1);
        let high = (offset >> 8) as u8;
        if length < 7 {
            self.out.push((length as u8) << 5 | high);
        } else {
            self.out.extend_from_slice(&[7 << 5 | high, (length - 7) as u8]);
        }
        self.out.push(offset as u8);
    }
}

/// How many bytes are the same at both places; `None` when too few, or the first is too far back.
fn match_length(input: &[u8], from: usize, at: usize) -> Option<usize> {
    if at - from > DISTANCE_MAX {
        return None;
    }
    let pairs = input[from..].iter().zip(&input[at..]).take(MATCH_MAX);
    let length = pairs.take_while(|(one, other)| one == other).count();
    (length >= MATCH_MIN).then_some(length)
}

/// The most bytes that so many compressed ones can stand for.
pub(super) fn expanded_max(compressed_bytes: usize) -> usize {
    compressed_bytes.div_ceil(3).saturating_mul(MATCH_MAX)
}

/// The string of `length` bytes that `compressed` stands for; `None` when it stands for none.
pub(super) fn decompress(compressed: &[u8], length: usize) -> Option<Vec<u8>> {
    if length > expanded_max(compressed.len()) {
        return None;
    }
    let mut out = Vec::with_capacity(length);
    let mut rest = compressed;
    while let [control, behind @ ..] = rest {
        let control = usize::from(*control);
        rest = if control < LITERALS_MAX {
            let (literals, behind) = behind.split_at_checked(control + 1)?;
            out.extend_from_slice(literals);
            behind
        } else {
            let (count, low, behind) = match (control >> 5, behind) {
                (7, [more, low, behind @ ..]) => (9 + usize::from(*more), *low, behind),
                (short @ 1..7, [low, behind @ ..]) => (short + 2, *low, behind),
                _ => return None,
            };
            let distance = ((control & 0x1f) << 8 | usize::from(low)) + 1;
            repeat(&mut out, distance, count, length)?;
            behind
        };
        if out.len() > length {
            return None;
        }
    }
    (out.len() == length).then_some(out)
}

/// Appends `count` bytes that begin `distance` before the end, those just appended included.
fn repeat(out: &mut Vec<u8>, distance: usize, count: usize, length: usize) -> Option<()> {
    let from = out.len().checked_sub(distance)?;
    if out.len() + count > length {
        return None;
    }
    let mut left = count;
    while left > 0 {
        let piece = left.min(out.len() - from);
        out.extend_from_within(from..from + piece);
        left -= piece;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_bytes_are_read() {
        assert_eq!(decompress(&[0, b'a', 0xe0, 255, 0], 265), Some(vec![b'a'; 265]));
        assert_eq!(decompress(&[1, b'a', b'b', 0x40, 1], 6), Some(b"ababab".to_vec()));
        assert_eq!(decompress(&[2, b'x', b'y', b'z'], 3), Some(b"xyz".to_vec()));
        assert_eq!(decompress(&[], 0), Some(vec![]));
    }

    #[test]
    fn damaged_bytes_are_refused() {
        for (compressed, length) in [
            (&[1, b'a'][..], 2),
            (&[0, b'a', 0x20, 1], 4),
            (&[0x20, 0], 3),
            (&[0, b'a', 0xe0, 255], 265),
            (&[0, b'a', 0xe0], 10),
            (&[0, b'a', 0x20, 0], 3),
            (&[0, b'a', 0x20, 0], 5),
            (&[0, b'a'], usize::MAX),
            (&[], 1),
        ] {
            assert_eq!(decompress(compressed, length), None, "{compressed:?} {length}");
        }
    }

    #[test]
    fn what_repeats_shrinks_and_what_does_not_is_given_up() {
        let mut compressor = Compressor::default();
        let zeros = vec![0; 100_000];
        let compressed = compressor.compress(&zeros, usize::MAX).unwrap().to_vec();
        assert!(compressed.len() < 1200, "{}", compressed.len());
        assert_eq!(decompress(&compressed, zeros.len()), Some(zeros));
        let text = b"hello hello hello hello".to_vec();
        let compressed = compressor.compress(&text, text.len() - 4).unwrap().to_vec();
        assert_eq!(decompress(&compressed, text.len()), Some(text));
        assert_eq!(compressor.compress(b"abcdefghijklmnopqrstuvwxyz", 22), None);
    }

    proptest! {
        #[test]
        fn everything_comes_back(
            pieces in proptest::collection::vec((proptest::collection::vec(0u8..4, 0..40), 1usize..30), 0..40),
        ) {
            let input: Vec<u8> = pieces.iter().flat_map(|(piece, times)| piece.repeat(*times)).collect();
            let mut compressor = Compressor::default();
            let compressed = compressor.compress(&input, usize::MAX).unwrap().to_vec();
            prop_assert!(input.len() <= expanded_max(compressed.len()));
            prop_assert_eq!(compressor.compress(&input, usize::MAX).unwrap(), &compressed);
            prop_assert_eq!(decompress(&compressed, input.len()), Some(input));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), length in 0usize..2000) {
            if let Some(out) = decompress(&bytes, length) {
                prop_assert_eq!(out.len(), length);
            }
        }
    }
}
