//! The packed formats of Redis before 7.0: ziplists and zipmaps.
//!
//! ```text
//! ziplist  bytes in all (4), offset of the last entry (4), entries (2, 65535: count them), entry ..., 255
//! entry    length of the entry before: 1 byte, or 254 and 4 bytes; then
//!          00llllll                  string, 6 bits of length
//!          01llllll llllllll         string, 14 bits, big-endian
//!          10......, 4 bytes         string, 32 bits, big-endian
//!          11000000, 11010000, 11100000, 11110000, 11111110    integer of 2, 4, 8, 3, 1 bytes
//!          1111iiii                  integer i - 1, i from 1 to 13
//! zipmap   pairs (1, from 254 on: count them), pair ..., 255
//! pair     length: 1 byte, or 254 and 4 bytes; field; length; unused bytes (1); value; those unused bytes
//! ```
//!
//! All numbers little-endian unless it says otherwise. Nobody writes these formats any more.

use crate::keyspace::listpack::{Element, Listpack, Needle};

const HEADER_BYTES: usize = 10;
const END: u8 = 255;
/// In front of a length of four bytes.
const LONG: u8 = 254;
const COUNT_UNKNOWN: u16 = u16::MAX;

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// The elements of a ziplist as a listpack; `None` when something in it does not add up.
pub(super) fn of_ziplist(bytes: &[u8]) -> Option<Listpack> {
    let elements = elements(bytes)?;
    let mut listpack = Listpack::new();
    listpack.push_back_all(elements.iter().map(|element| Needle::from(*element)));
    Some(listpack)
}

fn elements(bytes: &[u8]) -> Option<Vec<Element<'_>>> {
    let total = u32_at(bytes, 0)? as usize;
    let last = u32_at(bytes, 4)? as usize;
    let count = u16::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
    if total != bytes.len() || total <= HEADER_BYTES || bytes.last() != Some(&END) {
        return None;
    }
    let body = &bytes[..total - 1];
    let mut elements = Vec::new();
    let (mut at, mut before, mut start) = (HEADER_BYTES, 0, HEADER_BYTES);
    while at < body.len() {
        start = at;
        let (previous, length) = previous_length(body, at)?;
        let (element, size) = element(body, at + length)?;
        if previous != before {
            return None;
        }
        before = length + size;
        at += before;
        elements.push(element);
    }
    let counted = count == COUNT_UNKNOWN || usize::from(count) == elements.len();
    (at == body.len() && start == last && counted).then_some(elements)
}

/// What an entry says of the length of the one before, and how many bytes that takes.
fn previous_length(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    match *bytes.get(at)? {
        LONG => Some((u32_at(bytes, at + 1)? as usize, 5)),
        END => None,
        short => Some((short.into(), 1)),
    }
}

/// The element whose encoding begins at `at`, and the bytes it takes from there.
fn element(bytes: &[u8], at: usize) -> Option<(Element<'_>, usize)> {
    let rest = bytes.get(at..)?;
    let (&first, data) = rest.split_first()?;
    let (length, head) = match first >> 6 {
        0 => (usize::from(first & 0x3f), 1),
        1 => (usize::from(first & 0x3f) << 8 | usize::from(*data.first()?), 2),
        2 => (u32::from_be_bytes(*data.first_chunk()?) as usize, 5),
        _ => return integer(first, data).map(|(integer, size)| (Element::Integer(integer), 1 + size)),
    };
    let string = rest.get(head..)?.get(..length)?;
    Some((Element::Bytes(string), head + length))
}

fn integer(encoding: u8, data: &[u8]) -> Option<(i64, usize)> {
    Some(match encoding {
        0xc0 => (i16::from_le_bytes(*data.first_chunk()?).into(), 2),
        0xd0 => (i32::from_le_bytes(*data.first_chunk()?).into(), 4),
        0xe0 => (i64::from_le_bytes(*data.first_chunk()?), 8),
        0xf0 => {
            let [a, b, c] = *data.first_chunk()?;
            ((i32::from_le_bytes([0, a, b, c]) >> 8).into(), 3)
        }
        0xfe => (i8::from_le_bytes(*data.first_chunk()?).into(), 1),
        0xf1..=0xfd => (i64::from(encoding & 0x0f) - 1, 0),
        _ => return None,
    })
}

/// The pairs of a zipmap; `None` when something in it does not add up.
pub(super) fn pairs_of_zipmap(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let (&count, rest) = bytes.split_first()?;
    let (&END, mut rest) = rest.split_last()? else { return None };
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (length, behind) = zipmap_length(rest)?;
        let (field, behind) = behind.split_at_checked(length)?;
        let (length, behind) = zipmap_length(behind)?;
        let (&unused, behind) = behind.split_first()?;
        let (value, behind) = behind.split_at_checked(length)?;
        rest = behind.get(unused.into()..)?;
        pairs.push((field, value));
    }
    (count >= LONG || usize::from(count) == pairs.len()).then_some(pairs)
}

fn zipmap_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [LONG, rest @ ..] => Some((u32_at(rest, 0)? as usize, rest.get(4..)?)),
        [END, ..] | [] => None,
        [short, rest @ ..] => Some((usize::from(*short), rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ziplist of entries given as encoding and data.
    fn ziplist(entries: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; 8];
        bytes.extend_from_slice(&(entries.len() as u16).to_le_bytes());
        let (mut before, mut last) = (0usize, HEADER_BYTES);
        for entry in entries {
            last = bytes.len();
            if before < 254 {
                bytes.push(before as u8);
            } else {
                bytes.push(LONG);
                bytes.extend_from_slice(&(before as u32).to_le_bytes());
            }
            bytes.extend_from_slice(entry);
            before = bytes.len() - last;
        }
        bytes.push(END);
        let total = bytes.len() as u32;
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        bytes[4..8].copy_from_slice(&(last as u32).to_le_bytes());
        bytes
    }

    fn texts(bytes: &[u8]) -> Option<Vec<String>> {
        let listpack = of_ziplist(bytes)?;
        Some(listpack.iter().map(|element| String::from_utf8(element.to_vec()).unwrap()).collect())
    }

    #[test]
    fn entries_of_all_encodings_are_read() {
        let long = [&[0x41, 0x2c][..], &[b'x'; 300]].concat();
        let longer = [&[0x80, 0, 0, 0x40, 0][..], &[b'y'; 16384]].concat();
        let bytes = ziplist(&[
            b"\x03abc",
            &long,
            &longer,
            &[0xc0, 0xff, 0xff],
            &[0xd0, 0, 0, 0, 0x80],
            &[0xe0, 0, 0, 0, 0, 0, 0, 0, 0x80],
            &[0xf0, 0, 0, 0x80],
            &[0xfe, 0x80],
            &[0xf1],
            &[0xfd],
            b"\x0212",
        ]);
        let texts = texts(&bytes).unwrap();
        assert_eq!((texts[0].as_str(), texts[1].len(), texts[2].len()), ("abc", 300, 16384));
        let numbers = ["-1", "-2147483648", "-9223372036854775808", "-8388608", "-128", "0", "12", "12"];
        assert_eq!(texts[3..], numbers);
    }

    #[test]
    fn a_ziplist_of_another_server_is_read_as_it_is_documented() {
        let bytes = [0x0f, 0, 0, 0, 0x0c, 0, 0, 0, 2, 0, 0, 0xf3, 2, 0xf6, 0xff];
        assert_eq!(texts(&bytes).unwrap(), ["2", "5"]);
        assert_eq!(texts(&ziplist(&[])).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_damaged_ziplist_is_refused_and_none_panics() {
        let good = ziplist(&[b"\x03abc", &[0xc0, 1, 2], &[0xf5]]);
        assert!(of_ziplist(&good).is_some());
        for at in 0..good.len() {
            for byte in 0..=255 {
                let mut bad = good.clone();
                bad[at] = byte;
                of_ziplist(&bad);
            }
            assert!(of_ziplist(&good[..at]).is_none());
        }
        for (at, byte) in [(0, 1), (4, 10), (8, 2), (10, 1), (11, 4), (15, 4), (16, 0xff)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(of_ziplist(&bad).is_none(), "{byte} at {at}");
        }
    }

    #[test]
    fn zipmaps_are_read() {
        let bytes = b"\x02\x03foo\x03\x02barxx\x05hello\x05\x00world\xff";
        let pairs = pairs_of_zipmap(bytes).unwrap();
        assert_eq!(pairs, [(&b"foo"[..], &b"bar"[..]), (b"hello", b"world")]);
        let long = [&b"\x01\xfe\x2c\x01\x00\x00"[..], &[b'f'; 300], b"\x01\x00v\xff"].concat();
        assert_eq!(pairs_of_zipmap(&long).unwrap()[0].0.len(), 300);
        assert_eq!(pairs_of_zipmap(b"\x00\xff"), Some(vec![]));
        for cut in 0..bytes.len() {
            assert_eq!(pairs_of_zipmap(&bytes[..cut]), None);
        }
        for at in 0..bytes.len() {
            for byte in 0..=255 {
                let mut bad = bytes.to_vec();
                bad[at] = byte;
                pairs_of_zipmap(&bad);
            }
        }
        assert_eq!(pairs_of_zipmap(b"\x02\x03foo\x03\x00bar\xff"), None, "the count is wrong");
    }
}
