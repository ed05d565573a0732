//! Ids of 40 characters: node ids, run ids, replication ids.
//!
//! Kept as the 40 bytes that stand in files, replies and bus messages, never decoded.

use super::random::Random;
use std::fmt;

/// How many characters an id has.
pub const HEX_ID_LEN: usize = 40;

/// An id of 40 characters, lower-case hexadecimal when it is one of ours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HexId([u8; HEX_ID_LEN]);

impl HexId {
    /// Forty zeros: "no id" in replication (`master_replid2`).
    pub const ZEROS: HexId = HexId([b'0'; HEX_ID_LEN]);

    /// A new random id.
    pub fn random(random: &mut Random) -> HexId {
        let mut bytes = [0u8; HEX_ID_LEN / 2];
        random.fill(&mut bytes);
        let mut id = [0u8; HEX_ID_LEN];
        for (pair, byte) in id.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        HexId(id)
    }

    /// The id written as `text`: exactly 40 characters of `0-9a-z` (stock accepts every lower-case letter); else `None`.
    pub fn parse(text: &[u8]) -> Option<HexId> {
        let id: [u8; HEX_ID_LEN] = text.try_into().ok()?;
        id.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()).then_some(HexId(id))
    }

    /// The 40 characters.
    pub const fn as_bytes(&self) -> &[u8; HEX_ID_LEN] {
        &self.0
    }

    /// The 40 characters as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("an id is ASCII")
    }
}

impl fmt::Display for HexId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

impl fmt::Debug for HexId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "HexId({})", self.as_str())
    }
}

/// Appends `bytes` in lower-case hexadecimal.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

const fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_are_forty_hexadecimal_characters() {
        let mut random = Random::new(3);
        let id = HexId::random(&mut random);
        assert!(id.as_bytes().iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        assert_ne!(id, HexId::random(&mut random));
        assert_eq!(HexId::parse(id.as_bytes()), Some(id));
        assert_eq!(id.to_string().len(), 40);
    }

    #[test]
    fn ids_of_other_shapes_are_refused() {
        assert_eq!(HexId::parse(b""), None);
        assert_eq!(HexId::parse(&[b'0'; 39]), None);
        assert_eq!(HexId::parse(&[b'A'; 40]), None);
        assert_eq!(HexId::parse(&[b'0'; 40]), Some(HexId::ZEROS));
    }

    #[test]
    fn encode_writes_two_digits_a_byte() {
        let mut out = Vec::new();
        encode(&[0x00, 0x9f, 0xff], &mut out);
        assert_eq!(out, b"009fff");
    }
}
