//! What follows each opcode and each type of value, as tables, and the scan that finds the end of it.
//!
//! The scan looks at lengths only and makes nothing. It stops where bytes are missing and goes on there once they have come,
//! so that a value of any size is passed over once.

use super::cursor::{Stop, length, string_end};
use super::types::*;

/// One piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    String,
    Length,
    Bytes(u8),
    /// A number as text, behind a byte with its length or what it is instead.
    Score,
    /// A length, and that many times these parts.
    Repeat(&'static [Part]),
}

use Part::{Bytes, Length, Repeat, Score, String};

/// Bytes of a time in milliseconds, a double, and the id of an entry of a stream.
const TIME: Part = Bytes(8);
const DOUBLE: Part = Bytes(8);
const ENTRY_ID: Part = Bytes(16);

const STRINGS: &[Part] = &[Repeat(&[String])];
const PAIRS: &[Part] = &[Repeat(&[String, String])];
/// Nodes with their ids.
const NODES: Part = Repeat(&[String, String]);
/// An entry that waits: id, time, deliveries.
const PENDING: Part = Repeat(&[ENTRY_ID, TIME, Length]);
const OWN_PENDING: Part = Repeat(&[ENTRY_ID]);
/// Name, time seen, ids of what waits for it.
const CONSUMERS: Part = Repeat(&[String, TIME, OWN_PENDING]);
const CONSUMERS_3: Part = Repeat(&[String, TIME, TIME, OWN_PENDING]);

/// What a value of a type consists of; `None` for types that there are none of, or only with modules.
pub(super) fn value_parts(kind: u8) -> Option<&'static [Part]> {
    Some(match kind {
        STRING | HASH_ZIPMAP | LIST_ZIPLIST | SET_INTSET | SORTED_SET_ZIPLIST | HASH_ZIPLIST | HASH_LISTPACK
        | SORTED_SET_LISTPACK | SET_LISTPACK => &[String],
        LIST | SET | LIST_QUICKLIST => STRINGS,
        HASH => PAIRS,
        SORTED_SET => &[Repeat(&[String, Score])],
        SORTED_SET_2 => &[Repeat(&[String, DOUBLE])],
        LIST_QUICKLIST_2 => &[Repeat(&[Length, String])],
        HASH_WITH_EXPIRIES => &[Repeat(&[String, String, TIME])],
        // Nodes, length, last id; groups: name, last id, what waits, consumers.
        STREAM => &[NODES, Length, Length, Length, Repeat(&[String, Length, Length, PENDING, CONSUMERS])],
        STREAM_2 => &[
            NODES,
            Length,
            Length,
            Length,
            Length,
            Length,
            Length,
            Length,
            Length,
            Repeat(&[String, Length, Length, Length, PENDING, CONSUMERS]),
        ],
        STREAM_3 => &[
            NODES,
            Length,
            Length,
            Length,
            Length,
            Length,
            Length,
            Length,
            Length,
            Repeat(&[String, Length, Length, Length, PENDING, CONSUMERS_3]),
        ],
        _ => return None,
    })
}

/// What follows an opcode, of those of modules and before a module's value the part that names the module; `None` for no
/// opcodes.
pub(super) fn opcode_parts(opcode: u8) -> Option<&'static [Part]> {
    Some(match opcode {
        OP_SLOT_IMPORT => &[String, Repeat(&[Length, Length])],
        OP_SLOT_INFO => &[Length, Length, Length],
        OP_FUNCTION => &[String],
        OP_IDLE | OP_SELECT_DB => &[Length],
        OP_FREQ => &[Bytes(1)],
        OP_AUX => &[String, String],
        OP_RESIZE_DB => &[Length, Length],
        OP_EXPIRY_MS => &[TIME],
        OP_EXPIRY_S => &[Bytes(4)],
        MODULE => &[String, Length],
        OP_MODULE_AUX => &[Length],
        OP_EOF => &[],
        _ => return None,
    })
}

/// Lengths of scores that are no lengths: not a number, and the infinities.
pub(super) const SCORE_NAN: u8 = 253;
pub(super) const SCORE_INFINITY: u8 = 254;
pub(super) const SCORE_NEGATIVE_INFINITY: u8 = 255;

/// Parts that are being passed over.
#[derive(Clone, Debug)]
struct Frame {
    parts: &'static [Part],
    next: usize,
    /// How often the parts still come, this time included.
    left: u64,
}

/// A scan, resumable. Frames are at most as deep as the tables: four.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    frames: Vec<Frame>,
}

impl Scan {
    /// Begins with parts that come once.
    pub fn start(&mut self, parts: &'static [Part]) {
        self.frames.clear();
        self.frames.push(Frame { parts, next: 0, left: 1 });
    }

    /// Goes on at `at`, and moves it behind what has been passed. `bytes_max`: what there will ever be of the bytes.
    ///
    /// # Errors
    /// What is missing, or wrong. When something is missing the scan may go on with more bytes.
    #[inline]
    pub fn run(&mut self, bytes: &[u8], at: &mut usize, bytes_max: u64) -> Result<(), Stop> {
        let reach = |end: u64| match usize::try_from(end) {
            Ok(end) if end <= bytes.len() => Ok(end),
            _ if end > bytes_max => Err(Stop::Damage("more is announced than there is")),
            _ => Err(Stop::More(end)),
        };
        while let Some(frame) = self.frames.last_mut() {
            let Some(part) = frame.parts.get(frame.next) else {
                frame.left -= 1;
                frame.next = 0;
                if frame.left == 0 {
                    self.frames.pop();
                }
                continue;
            };
            let end = match part {
                String => reach(string_end(bytes, *at)?)?,
                Length => length(bytes, *at)?.1,
                Bytes(count) => reach(*at as u64 + u64::from(*count))?,
                Score => {
                    let first = bytes.get(*at).ok_or(Stop::More(*at as u64 + 1))?;
                    let count = if *first < SCORE_NAN { u64::from(*first) } else { 0 };
                    reach(*at as u64 + 1 + count)?
                }
                Repeat(parts) => {
                    let (count, end) = length(bytes, *at)?;
                    if count > bytes_max.saturating_sub(end as u64) {
                        return Err(Stop::Damage("more elements are announced than there are bytes for"));
                    }
                    frame.next += 1;
                    *at = end;
                    if count > 0 {
                        self.frames.push(Frame { parts, next: 0, left: count });
                    }
                    continue;
                }
            };
            frame.next += 1;
            *at = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_goes_on_where_it_stopped() {
        // A sorted set of two: "a" 1.5, "b" infinity; and a byte behind it.
        let bytes = b"\x02\x01a\x031.5\x01b\xfe\xff";
        let mut scan = Scan::default();
        let mut at = 0;
        scan.start(value_parts(SORTED_SET).unwrap());
        for cut in 0..bytes.len() - 1 {
            let before = at;
            match scan.run(&bytes[..cut], &mut at, u64::MAX) {
                Err(Stop::More(wanted)) => assert!(wanted > cut as u64 && at >= before),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(scan.run(bytes, &mut at, u64::MAX), Ok(()));
        assert_eq!(at, bytes.len() - 1);
    }

    #[test]
    fn what_cannot_fit_is_refused_at_once() {
        let run = |kind, bytes: &[u8], max| {
            let mut scan = Scan::default();
            scan.start(value_parts(kind).unwrap());
            scan.run(bytes, &mut 0, max)
        };
        assert_eq!(run(STRING, b"\x05ab", 6), Err(Stop::More(6)));
        assert!(matches!(run(STRING, b"\x05ab", 5), Err(Stop::Damage(_))));
        assert!(matches!(run(SET, b"\x05", 5), Err(Stop::Damage(_))));
        assert_eq!(run(SET, b"\x05", 6), Err(Stop::More(2)));
    }

    #[test]
    fn every_type_has_its_parts_but_for_modules() {
        for kind in 0..=255u8 {
            assert_eq!(value_parts(kind).is_some(), matches!(kind, 0..=5 | 9..=22), "{kind}");
            assert!(value_parts(kind).is_none() || opcode_parts(kind).is_none());
        }
    }
}
