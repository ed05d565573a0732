//! Registers of six bits each, packed from the lowest bit of the first byte on.
//!
//! ```text
//! byte 0    byte 1    byte 2       (highest bit left)
//! 11000000  22221111  33333322     digits: the register that the bit belongs to
//! ```

use super::REGISTERS;

const REGISTER_BITS: usize = 6;
const REGISTER_MAX: u8 = (1 << REGISTER_BITS) - 1;
/// Four registers take three bytes.
const GROUP_BYTES: usize = 3;

pub(super) const DENSE_REGISTERS_BYTES: usize = REGISTERS * REGISTER_BITS / 8;

/// All values in their order.
pub(super) fn values(packed: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let (groups, _) = packed.as_chunks::<GROUP_BYTES>();
    groups.iter().flat_map(|[first, second, third]| {
        let group = u32::from_le_bytes([*first, *second, *third, 0]);
        [0, 6, 12, 18].map(|shift| (group >> shift) as u8 & REGISTER_MAX)
    })
}

/// The bytes that a register lies in, as one number, and how far from its right end. The last one has no second byte
/// and needs none.
fn locate(packed: &[u8], index: usize) -> (usize, usize, u16) {
    let bit = index * REGISTER_BITS;
    let at = bit / 8;
    let pair = u16::from_le_bytes([packed[at], packed.get(at + 1).copied().unwrap_or(0)]);
    (at, bit % 8, pair)
}

pub(super) fn get(packed: &[u8], index: usize) -> u8 {
    let (_, shift, pair) = locate(packed, index);
    (pair >> shift) as u8 & REGISTER_MAX
}

pub(super) fn set(packed: &mut [u8], index: usize, value: u8) {
    let (at, shift, pair) = locate(packed, index);
    let pair = pair & !(u16::from(REGISTER_MAX) << shift) | u16::from(value & REGISTER_MAX) << shift;
    let [low, high] = pair.to_le_bytes();
    packed[at] = low;
    if let Some(byte) = packed.get_mut(at + 1) {
        *byte = high;
    }
}

/// Raises a register to `value`; whether it was lower.
pub(super) fn raise(packed: &mut [u8], index: usize, value: u8) -> bool {
    let is_lower = get(packed, index) < value;
    if is_lower {
        set(packed, index, value);
    }
    is_lower
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    #[test]
    fn registers_do_not_touch_each_other() {
        let mut random = Random::new(1);
        let mut packed = vec![0; DENSE_REGISTERS_BYTES];
        let mut expected = vec![0; REGISTERS];
        for _ in 0..3 {
            for (index, value) in expected.iter_mut().enumerate() {
                *value = random.next_u32() as u8 & REGISTER_MAX;
                set(&mut packed, index, *value);
            }
            assert!(values(&packed).eq(expected.iter().copied()));
            assert!((0..REGISTERS).all(|index| get(&packed, index) == expected[index]));
        }
    }

    #[test]
    fn a_register_only_rises() {
        let mut packed = vec![0; DENSE_REGISTERS_BYTES];
        for index in [0, 1, 2, 3, REGISTERS - 1] {
            assert!(raise(&mut packed, index, 9));
            assert!(!raise(&mut packed, index, 9));
            assert!(!raise(&mut packed, index, 3));
            assert!(raise(&mut packed, index, 51));
            assert_eq!(get(&packed, index), 51);
        }
    }
}
