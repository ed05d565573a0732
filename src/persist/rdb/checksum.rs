//! The CRC64 of RDB files and payloads: Jones's polynomial, reflected, from 0 and without a final change.

use crc_fast::{CrcAlgorithm, Digest};

/// A checksum of bytes that come in pieces. Pieces of some KiB are summed ten times as fast as those of some bytes.
#[derive(Clone)]
pub struct Checksum(Digest);

impl Default for Checksum {
    fn default() -> Self {
        Checksum(Digest::new(CrcAlgorithm::Crc64Redis))
    }
}

impl Checksum {
    pub fn new() -> Checksum {
        Checksum::default()
    }

    /// The checksum of `bytes`.
    pub fn of(bytes: &[u8]) -> u64 {
        let mut checksum = Checksum::new();
        checksum.update(bytes);
        checksum.value()
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_one_of_redis() {
        assert_eq!(Checksum::of(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(Checksum::of(b""), 0);
    }

    #[test]
    fn pieces_make_the_same_sum_as_the_whole() {
        let bytes: Vec<u8> = (0..5000u32).map(|index| ((index * 7) >> 3) as u8).collect();
        for size in [1, 7, 64, 4096] {
            let mut checksum = Checksum::new();
            bytes.chunks(size).for_each(|chunk| checksum.update(chunk));
            assert_eq!(checksum.value(), Checksum::of(&bytes));
        }
    }
}
