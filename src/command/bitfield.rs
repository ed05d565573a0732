//! Integers of any width within strings: BITFIELD and BITFIELD_RO. How one is read and written is in `base::bits`; here is
//! what a request asks for, and what happens to a number that does not fit.

use bytes::Bytes;

use super::arguments::{integer, is_word, text};
use super::bitmaps::{BAD_OFFSET, bit_offset, grow, within};
use super::context::Context;
use super::error::CommandError;
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use super::strings::string;
use crate::base::bits::{self, FIELD_MAX_BITS, mask};
use crate::base::number::parse_i64;
use crate::config::NotifyFlags;
use crate::keyspace::Digits;
use crate::resp::{Args, Reply};

/// BITFIELD key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset
/// increment> ...]: one number for each operation, null for one that failed on overflow.
fn bitfield(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let steps = parse(args, cx.core.config.proto_max_bulk_len)?;
    match steps.iter().filter_map(Step::last_written_bit).max() {
        None => read(cx, args, &steps),
        Some(last) => write(cx, args, &steps, last),
    }
}

/// BITFIELD_RO key [GET encoding offset ...].
fn bitfield_ro(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let steps = parse(args, cx.core.config.proto_max_bulk_len)?;
    if steps.iter().any(|step| step.last_written_bit().is_some()) {
        return Err(CommandError::text_static("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read(cx, args, &steps)
}

/// Steps that only read: a key that is not there is all zeros.
fn read(cx: &mut Context<'_>, args: &Args<'_>, steps: &[Step]) -> CommandResult {
    let key = cx.key(&args[1]);
    let mut digits = Digits::new();
    let bytes = match cx.core.keyspace.read(cx.caller.db as usize, key) {
        Some(value) => string(value)?.as_bytes(&mut digits),
        None => &[],
    };
    cx.reply.array(steps.len());
    for step in steps {
        cx.reply.integer(step.field.read(bytes));
    }
    Ok(())
}

/// Steps some of which write, up to bit `last`: the string has it afterwards, even if all of them fail.
fn write(cx: &mut Context<'_>, args: &Args<'_>, steps: &[Step], last: u64) -> CommandResult {
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    if let Some(value) = entry.value() {
        string(value)?;
    }
    let is_new = !entry.exists();
    let reply = &mut cx.reply;
    reply.array(steps.len());
    let (grew, changed) = entry.update_bytes_if(|bytes| {
        // As in Redis, the string may come or grow and yet count as untouched, when every step fails.
        let grew = grow(bytes, last);
        let mut changed = false;
        for step in steps {
            changed |= step.run(bytes, grew, reply);
        }
        ((grew, changed), changed)
    });
    if changed {
        cx.notify(NotifyFlags::STRING, "setbit", &args[1]);
    } else if grew {
        if is_new {
            entry.set_raw_unseen(Bytes::from(vec![0; (last / 8 + 1) as usize]));
        }
        // Nobody is to see it, but what is replayed must be as long.
        cx.journal_with(args, &[]);
    }
    Ok(())
}

/// Whether the operations of a well-formed request all read (COMMAND GETKEYSANDFLAGS).
pub(super) fn only_reads(args: &Args<'_>) -> bool {
    let mut at = 2;
    while let Some(word) = args.get(at) {
        at += match Word::of(word, args.len() - at - 1) {
            Some(Word::Get) => 3,
            Some(Word::Overflow) => 2,
            Some(Word::Set | Word::IncrBy) | None => return false,
        };
    }
    true
}

// ---- what is asked for --------------------------------------------------------------------------------------------------

/// The word that an operation begins with.
enum Word {
    Get,
    Set,
    IncrBy,
    Overflow,
}

impl Word {
    /// None when it is no such word, or fewer than the arguments it needs are left.
    fn of(argument: &[u8], left: usize) -> Option<Word> {
        let (word, needs) = if is_word(argument, "GET") {
            (Word::Get, 2)
        } else if is_word(argument, "SET") {
            (Word::Set, 3)
        } else if is_word(argument, "INCRBY") {
            (Word::IncrBy, 3)
        } else if is_word(argument, "OVERFLOW") {
            (Word::Overflow, 1)
        } else {
            return None;
        };
        (left >= needs).then_some(word)
    }
}

/// One operation.
struct Step {
    field: Field,
    action: Action,
    overflow: Overflow,
}

#[derive(Clone, Copy)]
enum Action {
    Get,
    Set(i64),
    IncrBy(i64),
}

/// What happens to a number that does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Overflow {
    /// Its low bits are kept.
    Wrap,
    /// The nearest number that fits takes its place.
    Saturate,
    /// Nothing is written.
    Fail,
}

impl Overflow {
    fn parse(argument: &[u8]) -> Result<Overflow, CommandError> {
        if is_word(argument, "WRAP") {
            Ok(Overflow::Wrap)
        } else if is_word(argument, "SAT") {
            Ok(Overflow::Saturate)
        } else if is_word(argument, "FAIL") {
            Ok(Overflow::Fail)
        } else {
            Err(CommandError::text_static("ERR Invalid OVERFLOW type specified"))
        }
    }
}

/// All operations of a request; none of them runs unless all are right.
fn parse(args: &Args<'_>, limit_bytes: u64) -> Result<Vec<Step>, CommandError> {
    let mut steps = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut at = 2;
    while let Some(argument) = args.get(at) {
        let word = Word::of(argument, args.len() - at - 1).ok_or(CommandError::Syntax)?;
        if let Word::Overflow = word {
            overflow = Overflow::parse(&args[at + 1])?;
            at += 2;
            continue;
        }
        let field = Field::parse(&args[at + 1], &args[at + 2], limit_bytes)?;
        let (action, taken) = match word {
            Word::Set => (Action::Set(integer(&args[at + 3])?), 4),
            Word::IncrBy => (Action::IncrBy(integer(&args[at + 3])?), 4),
            Word::Get | Word::Overflow => (Action::Get, 3),
        };
        steps.push(Step { field, action, overflow });
        at += taken;
    }
    Ok(steps)
}

/// An integer's type and place.
#[derive(Clone, Copy)]
struct Field {
    signed: bool,
    /// 1 to 64, unsigned to 63: a reply has no room for more.
    width: u32,
    at: u64,
}

impl Field {
    /// `i8`, `u16` and so on; the offset in bits, or with `#` in integers of this width.
    fn parse(encoding: &[u8], offset: &[u8], limit_bytes: u64) -> Result<Field, CommandError> {
        let (signed, width) = encoding_of(encoding).ok_or(CommandError::text_static(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        ))?;
        let at = match offset.strip_prefix(b"#") {
            None => bit_offset(offset, limit_bytes)?,
            Some(index) => parse_i64(index)
                .and_then(|index| index.checked_mul(i64::from(width)))
                .and_then(|offset| within(offset, limit_bytes))
                .ok_or(BAD_OFFSET)?,
        };
        Ok(Field { signed, width, at })
    }

    fn last_bit(&self) -> u64 {
        self.at + u64::from(self.width) - 1
    }

    fn read(&self, bytes: &[u8]) -> i64 {
        let value = bits::field(bytes, self.at, self.width);
        if self.signed { extend_sign(value, self.width) } else { value as i64 }
    }
}

fn encoding_of(argument: &[u8]) -> Option<(bool, u32)> {
    let (signed, width_max) = match argument.first()? {
        b'i' => (true, FIELD_MAX_BITS),
        b'u' => (false, FIELD_MAX_BITS - 1),
        _ => return None,
    };
    let width = u32::try_from(parse_i64(text(&argument[1..]))?).ok()?;
    (1..=width_max).contains(&width).then_some((signed, width))
}

// ---- what is done -------------------------------------------------------------------------------------------------------

impl Step {
    fn last_written_bit(&self) -> Option<u64> {
        match self.action {
            Action::Get => None,
            Action::Set(_) | Action::IncrBy(_) => Some(self.field.last_bit()),
        }
    }

    /// Does it, answers it; whether the string changed, which it has with every step that writes if it `grew` for them. SET answers the number before, INCRBY the one after.
    fn run(&self, bytes: &mut [u8], grew: bool, reply: &mut Reply<'_>) -> bool {
        let before = self.field.read(bytes);
        let (base, increment) = match self.action {
            Action::Get => {
                reply.integer(before);
                return false;
            }
            Action::Set(value) => (value, 0),
            Action::IncrBy(increment) => (before, increment),
        };
        let Some(after) = self.fit(base, increment) else {
            reply.null();
            return false;
        };
        reply.integer(if let Action::Set(_) = self.action { before } else { after });
        bits::set_field(bytes, self.field.at, self.field.width, after as u64);
        grew || before != after
    }

    /// The sum as it is stored, None when it does not fit and must.
    fn fit(&self, base: i64, increment: i64) -> Option<i64> {
        let Field { signed, width, .. } = self.field;
        let out =
            if signed { signed_overflow(base, increment, width) } else { unsigned_overflow(base, increment, width) };
        let wrapped = base.wrapping_add(increment);
        match (out, self.overflow) {
            (None, _) => Some(wrapped),
            (Some(_), Overflow::Fail) => None,
            (Some(_), Overflow::Wrap) if signed => Some(extend_sign(wrapped as u64 & mask(width), width)),
            (Some(_), Overflow::Wrap) => Some((wrapped as u64 & mask(width)) as i64),
            (Some(out), Overflow::Saturate) => Some(out.limit(signed, width)),
        }
    }
}

/// On which side a number is out of range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Out {
    Above,
    Below,
}

impl Out {
    fn limit(self, signed: bool, width: u32) -> i64 {
        match (self, signed) {
            (Out::Above, true) => max_signed(width),
            (Out::Below, true) => -max_signed(width) - 1,
            (Out::Above, false) => mask(width) as i64,
            (Out::Below, false) => 0,
        }
    }
}

fn max_signed(width: u32) -> i64 {
    (mask(width) >> 1) as i64
}

/// Redis takes a number to SET that is further below than 2^63 from the greatest for one above it, because its distance
/// wraps around. Clients see that with SAT, and so it is kept.
fn signed_overflow(base: i64, increment: i64, width: u32) -> Option<Out> {
    let (max, min) = (max_signed(width), -max_signed(width) - 1);
    let (room_above, room_below) = (max.wrapping_sub(base), min.wrapping_sub(base));
    let narrow = width != FIELD_MAX_BITS;
    if base > max || (narrow || base >= 0 && increment > 0) && increment > room_above {
        Some(Out::Above)
    } else if base < min || (narrow || base < 0 && increment < 0) && increment < room_below {
        Some(Out::Below)
    } else {
        None
    }
}

/// `base` is taken for unsigned: a negative number to SET is far above.
fn unsigned_overflow(base: i64, increment: i64, width: u32) -> Option<Out> {
    let (base, max) = (base as u64, mask(width));
    if base > max || increment > 0 && increment as u64 > max - base {
        Some(Out::Above)
    } else if increment < 0 && increment.unsigned_abs() > base {
        Some(Out::Below)
    } else {
        None
    }
}

fn extend_sign(value: u64, width: u32) -> i64 {
    let unused = FIELD_MAX_BITS - width;
    (value << unused) as i64 >> unused
}

const BITFIELD: CommandSpec = CommandSpec {
    name: "bitfield",
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.and(Flags::DENYOOM),
    keys: Keys::At(1, Access::UPDATE_VARIABLE),
    group: Group::Bitmap,
    since: "3.2.0",
    summary: "Reads, sets and increments integers of any width within a string.",
    complexity: "O(1) for each operation",
    syntax: "key [<GET encoding offset | <[OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment>>> ...]",
    run: Run::OnOwner(bitfield),
};

pub const COMMANDS: &[CommandSpec] = &[
    BITFIELD,
    CommandSpec {
        name: "bitfield_ro",
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::At(1, Access::READ),
        since: "6.0.0",
        summary: "Reads integers of any width within a string.",
        syntax: "key [GET encoding offset [GET encoding offset ...]]",
        run: Run::OnOwner(bitfield_ro),
        ..BITFIELD
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(encoding: &str, overflow: Overflow, base: i64, increment: i64) -> Option<i64> {
        let field = Field::parse(encoding.as_bytes(), b"0", 100).unwrap();
        Step { field, action: Action::Get, overflow }.fit(base, increment)
    }

    #[test]
    fn a_type_is_a_sign_and_a_width() {
        assert_eq!(encoding_of(b"i1"), Some((true, 1)));
        assert_eq!(encoding_of(b"i64"), Some((true, 64)));
        assert_eq!(encoding_of(b"u63"), Some((false, 63)));
        assert_eq!(encoding_of(b"u8\0x"), Some((false, 8)));
        for bad in
            [&b"u64"[..], b"i65", b"i0", b"i-1", b"I8", b"8", b"", b"i", b"i08", b"i 8", b"i99999999999999999999"]
        {
            assert_eq!(encoding_of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_offset_counts_bits_or_integers() {
        let at = |offset: &[u8]| Field::parse(b"u10", offset, 100).map(|field| field.at).ok();
        assert_eq!(at(b"7"), Some(7));
        assert_eq!(at(b"#7"), Some(70));
        assert_eq!(at(b"799"), Some(799));
        assert_eq!(at(b"#79"), Some(790));
        for bad in [&b"800"[..], b"#80", b"-1", b"#-1", b"#", b"##1", b"#9223372036854775807", b"#1000000000000000000"]
        {
            assert_eq!(at(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_wrap_saturate_or_fail() {
        use Overflow::{Fail, Saturate, Wrap};
        let (max, min) = (i64::MAX, i64::MIN);
        for (encoding, base, increment, wrapped, saturated) in [
            ("i8", 127, 1, -128, 127),
            ("i8", -128, -1, 127, -128),
            ("i8", 100, 1000, 76, 127),
            ("i8", 0, min, 0, -128),
            ("i8", -128, max, 127, 127),
            ("i8", 300, 0, 44, 127),
            ("i8", -300, 0, -44, -128),
            ("i8", min, 0, 0, 127),
            ("i63", min, 0, 0, i64::MAX / 2),
            ("i64", max, 1, min, max),
            ("i64", min, -1, max, min),
            ("u8", 255, 1, 0, 255),
            ("u8", 0, -1, 255, 0),
            ("u8", 5, max, 4, 255),
            ("u8", -1, 0, 255, 255),
            ("u63", max, 1, 0, max),
            ("u63", 0, min, 0, 0),
            ("u1", 1, 3, 0, 1),
        ] {
            let name = format!("{encoding} {base} {increment}");
            assert_eq!(fit(encoding, Wrap, base, increment), Some(wrapped), "{name}");
            assert_eq!(fit(encoding, Saturate, base, increment), Some(saturated), "{name}");
            assert_eq!(fit(encoding, Fail, base, increment), None, "{name}");
        }
        for (encoding, base, increment) in [
            ("i8", 126, 1),
            ("i64", min, max),
            ("i64", max, min),
            ("i64", -1, min + 1),
            ("u8", 255, -255),
            ("i1", 0, -1),
        ] {
            for overflow in [Wrap, Saturate, Fail] {
                assert_eq!(fit(encoding, overflow, base, increment), Some(base + increment), "{encoding} {base}");
            }
        }
    }
}
