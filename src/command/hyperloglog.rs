//! PFADD, PFCOUNT, PFMERGE and what looks inside: PFDEBUG, PFSELFTEST. The bytes of a HyperLogLog, which is a string, are
//! the business of `base::hyperloglog`.

use super::arguments::is_word;
use super::context::Context;
use super::error::CommandError;
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use super::strings::{count_lookup, string};
use crate::base::hyperloglog::{self as hll, Damaged, Encoding, REGISTERS};
use crate::config::NotifyFlags;
use crate::keyspace::{Digits, Entry, Value};
use crate::resp::Args;

const NOT_ONE: CommandError = CommandError::text_static("WRONGTYPE Key is not a valid HyperLogLog string value.");

impl From<Damaged> for CommandError {
    fn from(_: Damaged) -> Self {
        CommandError::text_static("INVALIDOBJ Corrupted HLL object detected")
    }
}

/// Lets a HyperLogLog through.
///
/// # Errors
/// `WrongType` for another type, and a text of its own for another string.
fn encoding(value: Value<'_>) -> Result<Encoding, CommandError> {
    Encoding::of(string(value)?.as_bytes(&mut Digits::new())).ok_or(NOT_ONE)
}

/// PFADD key [element ...]: 1 when a register changed or the key was made.
fn pfadd(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let sparse_max_bytes = cx.core.config.hll_sparse_max_bytes;
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    entry.value().map(encoding).transpose()?;
    let is_new = !entry.exists();
    let changed = entry.update_bytes_if(|bytes| {
        if is_new {
            *bytes = hll::empty();
        }
        match add_all(bytes, args, sparse_max_bytes) {
            Ok(changed) if changed || is_new => {
                hll::forget_count(bytes);
                (Ok(true), true)
            }
            other => (other, false),
        }
    })?;
    cx.reply.integer(i64::from(changed));
    if changed {
        cx.notify(NotifyFlags::STRING, "pfadd", &args[1]);
    }
    Ok(())
}

/// Adds the elements of a PFADD; on error nothing has changed.
fn add_all(bytes: &mut Vec<u8>, args: &Args<'_>, sparse_max_bytes: u64) -> Result<bool, Damaged> {
    // One element is added or not; of several, some may find their register before another does not.
    let before = (args.len() > 3 && hll::is_damaged(bytes)).then(|| bytes.clone());
    let mut changed = false;
    for element in args.iter().skip(2) {
        match hll::add(bytes, element, sparse_max_bytes) {
            Ok(raised) => changed |= raised,
            Err(damaged) => {
                if let Some(before) = before {
                    *bytes = before;
                }
                return Err(damaged);
            }
        }
    }
    Ok(changed)
}

/// PFCOUNT key [key ...]: about how many different elements were added to all of them together.
fn pfcount(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let count = if args.len() == 2 {
        let key = cx.key(&args[1]);
        let entry = cx.core.keyspace.write(cx.caller.db as usize, key);
        let found = entry.exists();
        let count = count_one(entry);
        count_lookup(&mut cx.core.keyspace.stats, found);
        count?
    } else {
        hll::count_merged(&merge(cx, args)?.0)
    };
    cx.reply.integer(count);
    Ok(())
}

/// The count of one key. It is kept in the value, which is a change to it.
fn count_one(mut entry: Entry<'_>) -> Result<i64, CommandError> {
    match entry.value() {
        None => return Ok(0),
        Some(value) => encoding(value)?,
    };
    let count = entry.update_bytes_if(|bytes| match hll::kept_count(bytes) {
        Some(count) => (Ok(count), false),
        None => {
            let count = hll::count(bytes);
            if let Ok(count) = count {
                hll::keep_count(bytes, count);
            }
            (count, count.is_ok())
        }
    })?;
    Ok(count)
}

/// The registers of all keys of the call together, and whether one of them was dense.
fn merge(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(hll::Registers, bool), CommandError> {
    let mut registers = [0; REGISTERS];
    let mut any_dense = false;
    for name in args.iter().skip(1) {
        let key = cx.key(name);
        if let Some(value) = cx.core.keyspace.read(cx.caller.db as usize, key) {
            any_dense |= encoding(value)? == Encoding::Dense;
            hll::merge_into(&mut registers, string(value)?.as_bytes(&mut Digits::new()))?;
        }
    }
    Ok((registers, any_dense))
}

/// PFMERGE destkey [sourcekey ...]: adds the sources to the destination, which is made if it is not there.
fn pfmerge(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let sparse_max_bytes = cx.core.config.hll_sparse_max_bytes;
    let (registers, any_dense) = merge(cx, args)?;
    let key = cx.key(&args[1]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let is_new = !entry.exists();
    entry.update_bytes(|bytes| {
        if is_new {
            *bytes = hll::empty();
        }
        if any_dense {
            hll::make_dense(bytes)?;
        }
        hll::raise_all(bytes, &registers, sparse_max_bytes)?;
        hll::forget_count(bytes);
        Ok::<(), Damaged>(())
    })?;
    cx.reply.ok();
    cx.notify(NotifyFlags::STRING, "pfadd", &args[1]);
    Ok(())
}

/// PFDEBUG GETREG | DECODE | ENCODING | TODENSE key. GETREG makes it dense too.
fn pfdebug(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[2]);
    let mut entry = cx.core.keyspace.write(cx.caller.db as usize, key);
    let form = match entry.value() {
        None => return Err(CommandError::text_static("ERR The specified key does not exist")),
        Some(value) => encoding(value)?,
    };
    let reply = &mut cx.reply;
    // Whoever looks inside gets a string of its own in Redis: it is "raw" from then on.
    let mut look = |look: &mut dyn FnMut(&mut Vec<u8>) -> Result<bool, Damaged>| {
        entry.update_bytes_if(|bytes| match look(bytes) {
            Ok(changed) => (Ok(changed), changed),
            Err(damaged) => (Err(damaged), false),
        })
    };
    if is_word(&args[1], "GETREG") {
        look(&mut |bytes| {
            let changed = hll::make_dense(bytes)?;
            reply.array(REGISTERS);
            hll::register_values(bytes).for_each(|value| reply.integer(i64::from(value)));
            Ok(changed)
        })?;
    } else if is_word(&args[1], "DECODE") {
        look(&mut |bytes| {
            if form == Encoding::Sparse {
                reply.bulk(hll::describe_runs(bytes).as_bytes());
            }
            Ok(false)
        })?;
        if form == Encoding::Dense {
            return Err(CommandError::text_static("ERR HLL encoding is not sparse"));
        }
    } else if is_word(&args[1], "ENCODING") {
        look(&mut |_| Ok(false))?;
        reply.simple(if form == Encoding::Dense { "dense" } else { "sparse" });
    } else if is_word(&args[1], "TODENSE") {
        let changed = look(&mut hll::make_dense)?;
        reply.integer(i64::from(changed));
    } else {
        look(&mut |_| Ok(false))?;
        return Err(CommandError::quoting("ERR Unknown PFDEBUG subcommand '", &args[1], "'"));
    }
    Ok(())
}

/// PFSELFTEST: takes seconds, during which the core does nothing else.
fn pfselftest(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    hll::self_test(&mut cx.core.random, cx.core.config.hll_sparse_max_bytes)
        .map_err(|what| CommandError::formatted(format!("ERR TESTFAILED {what}")))?;
    cx.reply.ok();
    Ok(())
}

const PFADD: CommandSpec = CommandSpec {
    name: "pfadd",
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
    keys: Keys::At(1, Access::INSERT),
    group: Group::HyperLogLog,
    since: "2.8.9",
    summary: "Adds elements to a HyperLogLog, which is made if it is not there.",
    complexity: "O(1) for each element",
    syntax: "key [element ...]",
    run: Run::OnOwner(pfadd),
};

pub const COMMANDS: &[CommandSpec] = &[
    PFADD,
    CommandSpec {
        name: "pfcount",
        flags: Flags::READONLY.and(Flags::MAY_REPLICATE),
        keys: Keys::Range { first: 1, last: -1, step: 1, access: Access::READ_AND_CHANGE },
        summary: "Estimates how many different elements were added to HyperLogLogs.",
        complexity: "O(1) for one key, which keeps its count; O(N) in the number of keys otherwise",
        syntax: "key [key ...]",
        run: Run::OnOwner(pfcount),
        ..PFADD
    },
    CommandSpec {
        name: "pfmerge",
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Into(1, Access::MERGE),
        summary: "Adds HyperLogLogs to another one.",
        complexity: "O(N) in the number of HyperLogLogs",
        syntax: "destkey [sourcekey ...]",
        run: Run::OnOwner(pfmerge),
        ..PFADD
    },
    CommandSpec {
        name: "pfdebug",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::ADMIN),
        keys: Keys::At(2, Access::READ_AND_CHANGE),
        summary: "Looks inside a HyperLogLog.",
        complexity: "N/A",
        syntax: "subcommand key",
        run: Run::OnOwner(pfdebug),
        ..PFADD
    },
    CommandSpec {
        name: "pfselftest",
        arity: Arity::Exactly(1),
        flags: Flags::ADMIN,
        keys: Keys::None,
        summary: "Tests the HyperLogLogs themselves.",
        complexity: "N/A",
        syntax: "",
        run: Run::OnConnection(pfselftest),
        ..PFADD
    },
];
