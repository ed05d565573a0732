//! Walks over all keys of a database: SCAN, KEYS, RANDOMKEY, DBSIZE. Every core does its share; in standalone mode those
//! of all cores but the first are empty. On a core's own port that core alone is asked.

use super::arguments::{integer, is_word, text};
use super::context::Context;
use super::error::CommandError;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Part, Run};
use crate::base::glob;
use crate::base::number::parse_u64_lenient;
use crate::base::slot::Slot;
use crate::keyspace::ScanCursor;
use crate::resp::{Args, Reply};

/// Keys that SCAN looks at when it is not told.
const COUNT_DEFAULT: usize = 10;

/// Keys found on one core, in order of their slots, as the bulk strings of a reply.
#[derive(Default)]
struct Found {
    bulks: Vec<u8>,
    slots: Vec<FoundInSlot>,
}

struct FoundInSlot {
    slot: Slot,
    keys_count: usize,
    /// Where the slot's keys end in `bulks`.
    end: usize,
}

impl Found {
    fn push(&mut self, slot: Slot, key: &[u8]) {
        Reply::append_bulk(&mut self.bulks, key);
        let end = self.bulks.len();
        match self.slots.last_mut() {
            Some(last) if last.slot == slot => {
                last.keys_count += 1;
                last.end = end;
            }
            _ => self.slots.push(FoundInSlot { slot, keys_count: 1, end }),
        }
    }

    /// Forgets the keys of the slots from `slot` on.
    fn cut_at(&mut self, slot: usize) {
        let kept = self.slots.partition_point(|found| found.slot.index() < slot);
        self.slots.truncate(kept);
        self.bulks.truncate(self.slots.last().map_or(0, |last| last.end));
    }

    fn keys_count(&self) -> usize {
        self.slots.iter().map(|found| found.keys_count).sum()
    }
}

fn reply_found(reply: &mut Reply<'_>, all: &[Found]) {
    reply.array(all.iter().map(Found::keys_count).sum());
    all.iter().for_each(|found| reply.raw(&found.bulks));
}

/// SCAN's arguments.
struct Scan<'a> {
    cursor: ScanCursor,
    count: usize,
    pattern: Option<&'a [u8]>,
    type_name: Option<&'a [u8]>,
}

impl<'a> Scan<'a> {
    fn parse(args: &Args<'a>) -> Result<Scan<'a>, CommandError> {
        let mut scan = Scan {
            cursor: parse_cursor(&args[1]).ok_or(CommandError::InvalidCursor)?,
            count: COUNT_DEFAULT,
            pattern: None,
            type_name: None,
        };
        let mut index = 2;
        while let Some(option) = args.get(index) {
            let argument = args.get(index + 1).ok_or(CommandError::Syntax)?;
            if is_word(option, "COUNT") {
                let count = integer(argument)?;
                scan.count = usize::try_from(count).ok().filter(|n| *n > 0).ok_or(CommandError::Syntax)?;
            } else if is_word(option, "MATCH") {
                scan.pattern = (argument != b"*").then_some(argument);
            } else if is_word(option, "TYPE") {
                scan.type_name = Some(text(argument));
            } else {
                return Err(CommandError::Syntax);
            }
            index += 2;
        }
        Ok(scan)
    }

    /// A type that nothing has, or that nobody knows, matches no key.
    fn wants(&self, key: &[u8], type_name: &str) -> bool {
        self.type_name.is_none_or(|wanted| wanted.eq_ignore_ascii_case(type_name.as_bytes()))
            && self.pattern.is_none_or(|pattern| glob::matches(pattern, key, false))
    }
}

/// As C's `strtoul` reads it: nothing at all is 0.
fn parse_cursor(argument: &[u8]) -> Option<ScanCursor> {
    match text(argument) {
        b"" => Some(ScanCursor::START),
        digits => parse_u64_lenient(digits).map(ScanCursor::new),
    }
}

struct ScanShare {
    found: Found,
    /// Where this core goes on.
    next: ScanCursor,
}

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]: up to `count` keys of each core.
fn scan_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let scan = Scan::parse(args)?;
    let mut found = Found::default();
    let next = cx.core.keyspace.scan(cx.caller.db as usize, scan.cursor, scan.count, &mut |slot, key, value| {
        if scan.wants(key, value.type_name()) {
            found.push(slot, key);
        }
    });
    Ok(Part::new(ScanShare { found, next }))
}

/// The walk goes on at the lowest of the positions where cores stopped. Slots have one owner each, so whatever
/// another core found from that slot on is left for the next call, and nothing is passed over.
fn scan_merge(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let mut shares: Vec<ScanShare> = parts.into_iter().map(Part::take).collect();
    let stopped = shares.iter().map(|share| share.next).filter(|next| *next != ScanCursor::START);
    let next = stopped.min().unwrap_or(ScanCursor::START);
    if next != ScanCursor::START {
        for share in shares.iter_mut().filter(|share| share.next != next) {
            share.found.cut_at(next.slot_index());
        }
    }
    cx.reply.array(2);
    cx.reply.bulk_integer(next.get() as i64);
    let found: Vec<Found> = shares.into_iter().map(|share| share.found).collect();
    reply_found(&mut cx.reply, &found);
    Ok(())
}

/// KEYS pattern.
fn keys_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let pattern = &args[1];
    let all = pattern == b"*";
    let mut found = Found::default();
    cx.core.keyspace.for_each(cx.caller.db as usize, &mut |slot, key, _| {
        if all || glob::matches(pattern, key, false) {
            found.push(slot, key);
        }
    });
    Ok(Part::new(found))
}

fn keys_merge(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let found: Vec<Found> = parts.into_iter().map(Part::take).collect();
    reply_found(&mut cx.reply, &found);
    Ok(())
}

/// A core's number of keys, and one of them.
struct RandomShare {
    keys_count: u64,
    key: Option<Vec<u8>>,
}

/// RANDOMKEY.
fn randomkey_part(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    let (db, core) = (cx.caller.db as usize, &mut *cx.core);
    let key = core.keyspace.random_key(db, &mut core.random);
    Ok(Part::new(RandomShare { keys_count: core.keyspace.len(db), key }))
}

/// Each core weighs as much as it has keys.
fn randomkey_merge(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let shares: Vec<RandomShare> = parts.into_iter().map(Part::take).collect();
    let total = shares.iter().map(|share| share.keys_count).sum();
    let mut left = cx.core.random.below(total);
    for share in shares {
        match share.key {
            Some(key) if left < share.keys_count => {
                cx.reply.bulk(&key);
                return Ok(());
            }
            _ => left = left.saturating_sub(share.keys_count),
        }
    }
    cx.reply.null();
    Ok(())
}

/// DBSIZE: expired keys that nobody has met yet count.
fn dbsize_part(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    Ok(Part::new(cx.core.keyspace.len(cx.caller.db as usize)))
}

fn dbsize_merge(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let total: u64 = parts.into_iter().map(Part::take::<u64>).sum();
    cx.reply.integer(total as i64);
    Ok(())
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "scan",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY.and(Flags::TOUCHES_ARBITRARY_KEYS).and(Flags::BY_CORE),
        keys: Keys::None,
        group: Group::Generic,
        since: "2.8.0",
        summary: "Walks over the keys of the database, some with each call.",
        complexity: "O(1) for a call, O(N) in the number of keys for the whole walk",
        syntax: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        run: Run::OnEveryCore { part: scan_part, merge: scan_merge },
    },
    CommandSpec {
        name: "keys",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.and(Flags::DANGEROUS).and(Flags::BY_CORE),
        keys: Keys::None,
        group: Group::Generic,
        since: "1.0.0",
        summary: "Returns the names of all keys that match a pattern.",
        complexity: "O(N) in the number of keys of the database",
        syntax: "pattern",
        run: Run::OnEveryCore { part: keys_part, merge: keys_merge },
    },
    CommandSpec {
        name: "randomkey",
        arity: Arity::Exactly(1),
        flags: Flags::READONLY.and(Flags::TOUCHES_ARBITRARY_KEYS).and(Flags::BY_CORE),
        keys: Keys::None,
        group: Group::Generic,
        since: "1.0.0",
        summary: "Returns the name of a random key.",
        complexity: "O(1)",
        syntax: "",
        run: Run::OnEveryCore { part: randomkey_part, merge: randomkey_merge },
    },
    CommandSpec {
        name: "dbsize",
        arity: Arity::Exactly(1),
        flags: Flags::READONLY.and(Flags::FAST).and(Flags::KEYSPACE).and(Flags::BY_CORE),
        keys: Keys::None,
        group: Group::Server,
        since: "1.0.0",
        summary: "Counts the keys of the database.",
        complexity: "O(1)",
        syntax: "",
        run: Run::OnEveryCore { part: dbsize_part, merge: dbsize_merge },
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::ArgsBuf;

    fn error_of(line: &str) -> Option<CommandError> {
        let args: ArgsBuf = line.split(' ').collect();
        Scan::parse(&args.as_args()).err()
    }

    #[test]
    fn scans_arguments_are_refused_as_redis_does() {
        for line in ["scan x", "scan 1x", "scan -"] {
            assert_eq!(error_of(line), Some(CommandError::InvalidCursor), "{line}");
        }
        for line in ["scan 0 count 0", "scan 0 count -1", "scan 0 count", "scan 0 match", "scan 0 x y"] {
            assert_eq!(error_of(line), Some(CommandError::Syntax), "{line}");
        }
        assert_eq!(error_of("scan 0 count x"), Some(CommandError::NotAnInteger));
        assert_eq!(error_of("scan 18446744073709551615 match a* count 1 type nonsense"), None);
    }

    #[test]
    fn what_lies_behind_the_cut_is_left_for_the_next_call() {
        let mut found = Found::default();
        for (slot, key) in [(1, "a"), (1, "b"), (7, "c"), (9, "d")] {
            found.push(Slot::new(slot), key.as_bytes());
        }
        assert_eq!(found.keys_count(), 4);
        found.cut_at(9);
        assert_eq!((found.keys_count(), found.bulks.as_slice()), (3, &b"$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"[..]));
        found.cut_at(2);
        assert_eq!(found.keys_count(), 2);
        found.cut_at(0);
        assert_eq!((found.keys_count(), found.bulks.len()), (0, 0));
    }
}
