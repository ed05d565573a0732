//! DUMP and RESTORE: one value in the format of RDB files, out of this node and into it.
//!
//! A large value is made in slices between which the core serves others (`migrate::Restore`): RESTORE is run twice then, the first time to
//! look whether it may and to begin, the second time with the value.

use bytes::Bytes;

use super::arguments::{integer, is_word};
use super::context::Context;
use super::error::CommandError;
use super::migrate;
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::base::clock::UnixMillis;
use crate::config::NotifyFlags;
use crate::keyspace::{Digits, Disposal, LoadedValue, StoredAccess};
use crate::persist::rdb::payload::{self, PayloadError};
use crate::persist::rdb::{Encoder, LoadLimits};
use crate::resp::Args;

/// DUMP key: the payload, null when there is no such key.
fn dump(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let mut encoder = Encoder::new(cx.core.config.rdbcompression);
    match cx.core.keyspace.read(cx.caller.db as usize, key) {
        None => cx.reply.null(),
        Some(value) => {
            let mut payload = Vec::new();
            payload::write(value, &mut encoder, &mut payload);
            cx.reply.bulk_shared(&Bytes::from(payload));
        }
    }
    Ok(())
}

/// What stands behind the payload.
#[derive(Clone, Copy, Default)]
struct Options {
    replace: bool,
    /// The time to live is a time.
    absolute: bool,
    access: StoredAccess,
}

impl Options {
    fn parse(args: &Args<'_>) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut index = 4;
        while let Some(option) = args.get(index) {
            let value = args.get(index + 1);
            index += 1;
            match (value, options.access) {
                _ if is_word(option, "REPLACE") => options.replace = true,
                _ if is_word(option, "ABSTTL") => options.absolute = true,
                (Some(value), StoredAccess::Unknown | StoredAccess::Idle { .. }) if is_word(option, "IDLETIME") => {
                    let seconds = u64::try_from(integer(value)?);
                    let seconds = seconds.map_err(|_| error("ERR Invalid IDLETIME value, must be >= 0"))?;
                    options.access = StoredAccess::Idle { seconds };
                    index += 1;
                }
                (Some(value), StoredAccess::Unknown | StoredAccess::Frequency(_)) if is_word(option, "FREQ") => {
                    let frequency = u8::try_from(integer(value)?);
                    let frequency = frequency.map_err(|_| error("ERR Invalid FREQ value, must be >= 0 and <= 255"))?;
                    options.access = StoredAccess::Frequency(frequency);
                    index += 1;
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }
}

fn error(text: &'static str) -> CommandError {
    CommandError::text_static(text)
}

/// RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]: the time to live in milliseconds, 0
/// for none. One that has passed only removes what is there.
fn restore(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let options = Options::parse(args)?;
    let (db, key) = (cx.db(), cx.key(&args[1]));
    if !options.replace && cx.core.keyspace.peek(db, key).is_some() {
        return Err(error("BUSYKEY Target key name already exists."));
    }
    let ttl = integer(&args[2])?;
    if ttl < 0 {
        return Err(error("ERR Invalid TTL value, must be >= 0"));
    }
    let value = match value_of(cx, args) {
        Ok(Some(value)) => value,
        Ok(None) => return Ok(()),
        Err(PayloadError::Footer) => return Err(error("ERR DUMP payload version or checksum are wrong")),
        Err(PayloadError::Value(line)) => {
            // As in Redis only from "verbose" on: a client could fill the log.
            tracing::debug!("RESTORE of key {}: {line}", args[1].escape_ascii());
            return Err(error("ERR Bad data format"));
        }
    };
    let now = cx.core.keyspace.now();
    // A time beyond the end of time wraps around, as in Redis: it has passed.
    let expiry =
        (ttl != 0).then(|| if options.absolute { UnixMillis(ttl) } else { UnixMillis(now.get().wrapping_add(ttl)) });
    if expiry.is_some_and(|expiry| expiry <= now && cx.core.removes_expired()) {
        let disposal = cx.core.keyspace.lazy_free.replaced;
        if cx.core.keyspace.remove(db, key, disposal) {
            cx.notify(NotifyFlags::GENERIC, "del", key.bytes);
            cx.journal_as_removal(key.bytes, disposal == Disposal::Background);
        }
    } else {
        let mut entry = cx.core.keyspace.write(db, key);
        entry.remove();
        entry.set_loaded(value);
        entry.set_expiry(expiry);
        entry.set_access(options.access);
        cx.notify(NotifyFlags::GENERIC, "restore", key.bytes);
        if let Some(expiry) = expiry.filter(|_| !options.absolute && cx.journals()) {
            journal_restored(cx, args, expiry);
        }
    }
    cx.reply.ok();
    Ok(())
}

/// The value of a RESTORE; none when it has begun to be made.
fn value_of<'a>(cx: &mut Context<'_>, args: &Args<'a>) -> Result<Option<LoadedValue<'a>>, PayloadError> {
    if let Some(made) = cx.core.migrations.take_made() {
        return made.map(Some);
    }
    let (limits, trusted) = (LoadLimits::of(&cx.core.config), cx.core.skips_checksums);
    let large = args.shared(3).filter(|_| migrate::may_be_sliced(&cx.caller, args));
    if let Some(payload) = large
        && let Some(sliced) = payload::open_in_slices(&payload, trusted, &limits)?
    {
        cx.core.migrations.begin_restore(sliced);
        return Ok(None);
    }
    payload::open(args.get(3).unwrap_or_default(), trusted)?.value(&limits).map(Some)
}

/// A time to live is recorded as the time that it ends.
#[cold]
fn journal_restored(cx: &mut Context<'_>, args: &Args<'_>, expiry: UnixMillis) {
    let mut digits = Digits::new();
    let mut words: Vec<&[u8]> = args.iter().collect();
    words[2] = digits.format(expiry.get()).as_bytes();
    words.push(b"ABSTTL");
    cx.journal_as(&words);
}

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "dump",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY,
        keys: Keys::At(1, Access::READ),
        group: Group::Generic,
        since: "2.6.0",
        summary: "Returns the value of a key in the format that RESTORE takes.",
        complexity: "O(N) in the size of the value",
        syntax: "key",
        run: Run::OnOwner(dump),
    },
    CommandSpec {
        name: "restore",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::DANGEROUS).and(Flags::SLICED),
        keys: Keys::At(1, Access::WRITE),
        group: Group::Generic,
        since: "2.6.0",
        summary: "Creates a key from what DUMP has returned.",
        complexity: "O(N) in the size of the value; O(N*log(N)) for sorted sets",
        syntax: "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
        run: Run::OnOwner(restore),
    },
    CommandSpec {
        name: "restore-asking",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE
            .and(Flags::DENYOOM)
            .and(Flags::ASKING)
            .and(Flags::DANGEROUS)
            .and(Flags::KEYSPACE)
            .and(Flags::SLICED),
        keys: Keys::At(1, Access::WRITE),
        group: Group::Server,
        since: "3.0.0",
        summary: "RESTORE into a slot that is being imported: what MIGRATE sends.",
        complexity: "O(N) in the size of the value; O(N*log(N)) for sorted sets",
        syntax: "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
        run: Run::OnOwner(restore),
    },
];
