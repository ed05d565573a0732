//! Random numbers for eviction counters, RANDOMKEY and ids: xoshiro256++, seeded, one generator per core.
//!
//! Deterministic for a given seed, so that simulations replay. Not for secrets.

use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Read;

/// A generator of uniform random numbers.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// A generator whose whole sequence follows from `seed`.
    pub fn new(seed: u64) -> Random {
        // splitmix64 spreads the seed; its outputs are never all zero, which xoshiro could not leave.
        let mut counter = seed;
        let state = std::array::from_fn(|_| {
            counter = counter.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = counter;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        });
        Random { state }
    }

    /// A generator seeded by the operating system, so that no two nodes draw the same ids.
    pub fn from_entropy() -> Random {
        let mut bytes = [0u8; 32];
        if File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).is_err() {
            // No /dev in this container: the standard library's hash keys come from the system's generator too.
            for chunk in bytes.as_chunks_mut::<8>().0 {
                *chunk = std::hash::RandomState::new().build_hasher().finish().to_le_bytes();
            }
        }
        let mut random = Random::new(1);
        for (word, chunk) in random.state.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word ^= u64::from_le_bytes(*chunk);
        }
        if random.state == [0; 4] {
            random = Random::new(1);
        }
        random
    }

    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// The next 32 random bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// A number in `0..end`, uniform but for at most one part in 2^64 / `end`; 0 when `end` is 0.
    #[inline]
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(end)) >> 64) as u64
    }

    /// A number in `[0, 1)` with 53 random bits.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Fills `bytes` with random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.iter_mut().zip(word).for_each(|(byte, new)| *byte = new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_follows_the_published_generator() {
        // Reference output of xoshiro256++ for the state 1, 2, 3, 4.
        let mut random = Random { state: [1, 2, 3, 4] };
        let first: Vec<u64> = (0..4).map(|_| random.next_u64()).collect();
        assert_eq!(first, [41943041, 58720359, 3588806011781223, 3591011842654386]);
    }

    #[test]
    fn same_seed_same_sequence() {
        let (mut one, mut other) = (Random::new(7), Random::new(7));
        assert_eq!(one.next_u64(), other.next_u64());
        assert_ne!(Random::new(8).next_u64(), Random::new(7).next_u64());
        assert_ne!(Random::from_entropy().next_u64(), Random::from_entropy().next_u64());
    }

    #[test]
    fn below_stays_below_and_reaches_all() {
        let mut random = Random::new(1);
        let mut seen = [0u32; 10];
        for _ in 0..10_000 {
            seen[random.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|&times| (800..1200).contains(&times)), "{seen:?}");
        assert_eq!(random.below(0), 0);
        assert!((0.0..1.0).contains(&random.unit()));
    }

    #[test]
    fn fill_reaches_the_last_byte() {
        let mut bytes = [0u8; 13];
        (0..8).for_each(|_| {
            let before = bytes[12];
            Random::new(u64::from(before) + 3).fill(&mut bytes);
        });
        assert_ne!(bytes[12], 0);
    }
}
