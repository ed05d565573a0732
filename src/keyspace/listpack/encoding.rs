//! How one element is laid out in a listpack: see the module for the bytes.

use super::Element;

/// An element's encoding and data.
pub(super) struct Encoded<'a> {
    pub head: &'a [u8],
    pub data: &'a [u8],
}

impl Encoded<'_> {
    pub fn size(&self) -> usize {
        self.head.len() + self.data.len()
    }
}

/// Room for the longest encoding without a string's data: an integer of 64 bits.
pub(super) const SCRATCH_BYTES: usize = 9;

pub(super) fn encoded<'a>(element: &Element<'a>, scratch: &'a mut [u8; SCRATCH_BYTES]) -> Encoded<'a> {
    let (length, data) = match *element {
        Element::Integer(integer) => (encode_integer(integer, scratch), &[][..]),
        Element::Bytes(bytes) => (encode_length(bytes.len(), scratch), bytes),
    };
    Encoded { head: &scratch[..length], data }
}

pub(super) fn encode_integer(integer: i64, out: &mut [u8; SCRATCH_BYTES]) -> usize {
    let little = integer.to_le_bytes();
    let (mark, bytes) = match integer {
        0..=127 => {
            out[0] = integer as u8;
            return 1;
        }
        -4096..=4095 => {
            let bits = (integer & 0x1fff) as u16;
            out[0] = 0b1100_0000 | (bits >> 8) as u8;
            out[1] = bits as u8;
            return 2;
        }
        -0x8000..=0x7fff => (0b1111_0001, 2),
        -0x80_0000..=0x7f_ffff => (0b1111_0010, 3),
        -0x8000_0000..=0x7fff_ffff => (0b1111_0011, 4),
        _ => (0b1111_0100, 8),
    };
    out[0] = mark;
    out[1..=bytes].copy_from_slice(&little[..bytes]);
    1 + bytes
}

pub(super) fn encode_length(length: usize, out: &mut [u8; SCRATCH_BYTES]) -> usize {
    if length < 64 {
        out[0] = 0b1000_0000 | length as u8;
        1
    } else if length < 4096 {
        out[0] = 0b1110_0000 | (length >> 8) as u8;
        out[1] = length as u8;
        2
    } else {
        let length = u32::try_from(length).expect("arguments are shorter than 4 GiB");
        out[0] = 0b1111_0000;
        out[1..5].copy_from_slice(&length.to_le_bytes());
        5
    }
}

/// The element that `bytes` begin with, of a listpack of ours.
#[inline]
pub(super) fn decode(bytes: &[u8]) -> Element<'_> {
    let first = bytes[0];
    let sign_extended = |count: usize| {
        let mut little = [if bytes[count] & 0x80 == 0 { 0 } else { 0xff }; 8];
        little[..count].copy_from_slice(&bytes[1..=count]);
        Element::Integer(i64::from_le_bytes(little))
    };
    match first >> 4 {
        0..=7 => Element::Integer(i64::from(first)),
        8..=11 => {
            let length = usize::from(first & 0x3f);
            Element::Bytes(&bytes[1..1 + length])
        }
        12 | 13 => {
            let bits = i64::from(first & 0x1f) << 8 | i64::from(bytes[1]);
            Element::Integer((bits << 51) >> 51)
        }
        14 => {
            let length = usize::from(first & 0x0f) << 8 | usize::from(bytes[1]);
            Element::Bytes(&bytes[2..2 + length])
        }
        _ => match first & 0x0f {
            0 => {
                let length = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
                Element::Bytes(&bytes[5..5 + length])
            }
            1 => sign_extended(2),
            2 => sign_extended(3),
            3 => sign_extended(4),
            4 => sign_extended(8),
            _ => unreachable!("listpacks are checked when they come in"),
        },
    }
}

/// Bytes of the encoding and data that `bytes` begin with; None when they are cut off or no element.
#[inline]
pub(super) fn checked_size(bytes: &[u8]) -> Option<usize> {
    let first = *bytes.first()?;
    let size = match first >> 4 {
        0..=7 => 1,
        8..=11 => 1 + usize::from(first & 0x3f),
        12 | 13 => 2,
        14 => 2 + (usize::from(first & 0x0f) << 8 | usize::from(*bytes.get(1)?)),
        _ => match first & 0x0f {
            0 => {
                let length = bytes.get(1..5)?.first_chunk::<4>()?;
                5 + u32::from_le_bytes(*length) as usize
            }
            1 => 3,
            2 => 4,
            3 => 5,
            4 => 9,
            _ => return None,
        },
    };
    (size + backlen_size(size) <= bytes.len()).then_some(size)
}

/// Bytes of the backward length of `size`.
#[inline]
pub(super) fn backlen_size(size: usize) -> usize {
    match size {
        0..=127 => 1,
        128..16383 => 2,
        16383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

pub(super) fn encode_backlen(size: usize, out: &mut [u8]) {
    let last = out.len() - 1;
    for (index, byte) in out.iter_mut().enumerate() {
        let bits = (size >> (7 * (last - index))) as u8 & 0x7f;
        *byte = if index == 0 { bits } else { bits | 0x80 };
    }
}

/// The backward length that `bytes` end with, and how many bytes it takes.
#[inline]
pub(super) fn decode_backlen(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut size = 0;
    for (index, byte) in bytes.iter().rev().take(5).enumerate() {
        size |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((size, index + 1));
        }
    }
    None
}
