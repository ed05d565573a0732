//! Strings as arrays of bits: SETBIT, GETBIT, BITCOUNT, BITPOS, BITOP. Integers within them are in `bitfield`, the
//! work on the bits themselves in `base::bits`.

use bytes::Bytes;

use super::arguments::{integer, is_word};
use super::context::Context;
use super::error::CommandError;
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use super::strings::string;
use crate::base::bits::{self, Operation};
use crate::base::number::parse_i64;
use crate::config::NotifyFlags;
use crate::keyspace::{Digits, StringValue};
use crate::resp::Args;

/// A bit's place in a string that proto-max-bulk-len allows.
///
/// # Errors
/// The text about bit offsets.
pub(super) fn bit_offset(argument: &[u8], limit_bytes: u64) -> Result<u64, CommandError> {
    parse_i64(argument).and_then(|offset| within(offset, limit_bytes)).ok_or(BAD_OFFSET)
}

/// The offset, if it is none before the string and its byte is within the limit.
pub(super) fn within(offset: i64, limit_bytes: u64) -> Option<u64> {
    u64::try_from(offset).ok().filter(|offset| offset / 8 < limit_bytes)
}

pub(super) const BAD_OFFSET: CommandError =
    CommandError::text_static("ERR bit offset is not an integer or out of range");

/// SETBIT key offset value: the bit that was there. The string grows as needed.
fn setbit(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let offset = bit_offset(&args[2], cx.core.config.proto_max_bulk_len)?;
    let bit = match parse_i64(&args[3]) {
        Some(bit @ (0 | 1)) => bit as u64,
        _ => return Err(CommandError::text_static("ERR bit is not an integer or out of range")),
    };
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    if let Some(value) = entry.value() {
        string(value)?;
    }
    let (before, changed) = entry.update_bytes_if(|bytes| {
        let grew = grow(bytes, offset);
        let before = bits::field(bytes, offset, 1);
        bits::set_field(bytes, offset, 1, bit);
        let changed = grew || before != bit;
        ((before, changed), changed)
    });
    cx.reply.integer(before as i64);
    if changed {
        cx.notify(NotifyFlags::STRING, "setbit", &args[1]);
    }
    Ok(())
}

/// Pads a string with zeros until it has the bit `last`; whether it had to.
pub(super) fn grow(bytes: &mut Vec<u8>, last: u64) -> bool {
    let len = (last / 8) as usize + 1;
    let is_short = bytes.len() < len;
    if is_short {
        bytes.resize(len, 0);
    }
    is_short
}

/// GETBIT key offset: 0 past the end.
fn getbit(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let offset = bit_offset(&args[2], cx.core.config.proto_max_bulk_len)?;
    let key = cx.key(&args[1]);
    let bit = match cx.core.keyspace.read(cx.caller.db as usize, key) {
        Some(value) => bits::field(string(value)?.as_bytes(&mut Digits::new()), offset, 1),
        None => 0,
    };
    cx.reply.integer(bit as i64);
    Ok(())
}

/// BITCOUNT key [start end [BYTE | BIT]]: how many bits are set. A key that is not there has none, whatever the arguments.
fn bitcount(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let Some(value) = cx.core.keyspace.read(cx.caller.db as usize, key) else {
        cx.reply.integer(0);
        return Ok(());
    };
    let mut digits = Digits::new();
    let bytes = string(value)?.as_bytes(&mut digits);
    let count = match args.len() {
        2 => bits::count_ones(bytes),
        4 | 5 => {
            let (start, end) = (integer(&args[2])?, integer(&args[3])?);
            // Looked at before the unit, which may then be anything.
            let is_backwards = start < 0 && end < 0 && start > end;
            if is_backwards {
                0
            } else {
                let unit = args.get(4).map_or(Ok(Unit::Byte), Unit::parse)?;
                let (first, last) = unit.range(start, end, bytes.len()).unwrap_or((1, 0));
                bits::count_ones_between(bytes, first, last)
            }
        }
        _ => return Err(CommandError::Syntax),
    };
    cx.reply.integer(count as i64);
    Ok(())
}

/// BITPOS key bit [start [end [BYTE | BIT]]]: where the first such bit stands, or -1. Zeros follow a string whose range
/// has no given end.
fn bitpos(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let wanted = match integer(&args[2])? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::text_static("ERR The bit argument must be 1 or 0.")),
    };
    let key = cx.key(&args[1]);
    let Some(value) = cx.core.keyspace.read(cx.caller.db as usize, key) else {
        cx.reply.integer(if wanted { -1 } else { 0 });
        return Ok(());
    };
    let mut digits = Digits::new();
    let bytes = string(value)?.as_bytes(&mut digits);
    if args.len() > 6 {
        return Err(CommandError::Syntax);
    }
    let start = args.get(3).map_or(Ok(0), integer)?;
    let unit = args.get(5).map_or(Ok(Unit::Byte), Unit::parse)?;
    let end = args.get(4).map(integer).transpose()?;
    let position = match unit.range(start, end.unwrap_or(-1), bytes.len()) {
        None => -1,
        Some((first, last)) => match bits::find_bit(bytes, wanted, first, last) {
            Some(at) => at as i64,
            None if wanted || end.is_some() => -1,
            None => last as i64 + 1,
        },
    };
    cx.reply.integer(position);
    Ok(())
}

/// What a range counts in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    fn parse(argument: &[u8]) -> Result<Unit, CommandError> {
        if is_word(argument, "BIT") {
            Ok(Unit::Bit)
        } else if is_word(argument, "BYTE") {
            Ok(Unit::Byte)
        } else {
            Err(CommandError::Syntax)
        }
    }

    /// The first and the last bit of a range, both included, in a string of `len` bytes; None when it is empty. Negative
    /// ends count from the end of the string.
    fn range(self, start: i64, end: i64, len: usize) -> Option<(u64, u64)> {
        let unit_bits = match self {
            Unit::Byte => 8,
            Unit::Bit => 1,
        };
        let total = len as u64 * (8 / unit_bits);
        let from_start = |index: i64| match u64::try_from(index) {
            Ok(index) => index,
            Err(_) => total.saturating_sub(index.unsigned_abs()),
        };
        let (start, end) = (from_start(start), from_start(end).min(total.checked_sub(1)?));
        (start <= end).then(|| (start * unit_bits, end * unit_bits + unit_bits - 1))
    }
}

/// BITOP <AND | OR | XOR | NOT> destkey key [key ...]: the length of what it stores. Of empty strings alone it stores
/// nothing and removes the destination.
fn bitop(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let operation = [("AND", Operation::And), ("OR", Operation::Or), ("XOR", Operation::Xor), ("NOT", Operation::Not)]
        .into_iter()
        .find(|(name, _)| is_word(&args[1], name))
        .map(|(_, operation)| operation)
        .ok_or(CommandError::Syntax)?;
    if operation == Operation::Not && args.len() != 4 {
        return Err(CommandError::text_static("ERR BITOP NOT must be called with a single source key."));
    }
    let mut sources = Vec::with_capacity(args.len() - 3);
    for name in args.iter().skip(3) {
        let key = cx.key(name);
        sources.push(match cx.core.keyspace.read(cx.caller.db as usize, key) {
            None => Bytes::new(),
            Some(value) => match string(value)? {
                StringValue::Shared(bytes) => bytes.clone(),
                short => Bytes::copy_from_slice(short.as_bytes(&mut Digits::new())),
            },
        });
    }
    let slices: Vec<&[u8]> = sources.iter().map(|source| &source[..]).collect();
    let result = bits::combine(operation, &slices);
    let length = result.len();
    let key = cx.key(&args[2]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let removed = if length == 0 {
        entry.remove()
    } else {
        entry.set_raw_shared(Bytes::from(result));
        entry.set_expiry(None);
        false
    };
    cx.reply.integer(length as i64);
    if length > 0 {
        cx.notify(NotifyFlags::STRING, "set", &args[2]);
    } else if removed {
        cx.notify(NotifyFlags::GENERIC, "del", &args[2]);
    }
    Ok(())
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "setbit",
        arity: Arity::Exactly(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::At(1, Access::CHANGE_AND_RETURN),
        group: Group::Bitmap,
        since: "2.2.0",
        summary: "Sets or clears one bit of a string, which grows as needed.",
        complexity: "O(1)",
        syntax: "key offset value",
        run: Run::OnOwner(setbit),
    },
    CommandSpec {
        name: "getbit",
        arity: Arity::Exactly(3),
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::READ),
        group: Group::Bitmap,
        since: "2.2.0",
        summary: "Returns one bit of a string.",
        complexity: "O(1)",
        syntax: "key offset",
        run: Run::OnOwner(getbit),
    },
    CommandSpec {
        name: "bitcount",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Bitmap,
        since: "2.6.0",
        summary: "Counts the bits that are set in a string or a part of it.",
        complexity: "O(N) in the length of the part",
        syntax: "key [start end [BYTE | BIT]]",
        run: Run::OnOwner(bitcount),
    },
    CommandSpec {
        name: "bitpos",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Bitmap,
        since: "2.8.7",
        summary: "Finds the first bit that is set, or clear, in a string or a part of it.",
        complexity: "O(N) in the length of the part",
        syntax: "key bit [start [end [BYTE | BIT]]]",
        run: Run::OnOwner(bitpos),
    },
    CommandSpec {
        name: "bitop",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Into(2, Access::WRITE),
        group: Group::Bitmap,
        since: "2.6.0",
        summary: "Combines strings bit by bit and stores the result.",
        complexity: "O(N) in the length of the strings together",
        syntax: "<AND | OR | XOR | NOT> destkey key [key ...]",
        run: Run::OnOwner(bitop),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_the_ends_of_the_string() {
        let cases = [
            (Unit::Byte, 0, -1, 3, Some((0, 23))),
            (Unit::Byte, 1, 1, 3, Some((8, 15))),
            (Unit::Byte, -2, 100, 3, Some((8, 23))),
            (Unit::Byte, -100, -100, 3, Some((0, 7))),
            (Unit::Byte, 2, 1, 3, None),
            (Unit::Byte, 3, 5, 3, None),
            (Unit::Byte, 0, -1, 0, None),
            (Unit::Bit, 0, -1, 3, Some((0, 23))),
            (Unit::Bit, 5, 9, 3, Some((5, 9))),
            (Unit::Bit, -3, -2, 3, Some((21, 22))),
            (Unit::Bit, i64::MIN, i64::MAX, 3, Some((0, 23))),
            (Unit::Bit, i64::MAX, i64::MAX, 3, None),
        ];
        for (unit, start, end, len, range) in cases {
            assert_eq!(unit.range(start, end, len), range, "{unit:?} {start} {end} {len}");
        }
    }

    #[test]
    fn an_offset_is_held_within_the_limit() {
        assert_eq!(bit_offset(b"4294967295", 512 << 20), Ok(u32::MAX.into()));
        for bad in [&b"4294967296"[..], b"-1", b"", b"x", b"1.0", b"9223372036854775808"] {
            assert_eq!(bit_offset(bad, 512 << 20), Err(BAD_OFFSET));
        }
    }
}
