//! The sub-commands of DEBUG that look at keys or make them. Each core looks at its own.

use super::digest::Digest;
use crate::base::clock::{UnixMillis, lru_clock};
use crate::command::arguments::integer;
use crate::command::context::Context;
use crate::command::error::CommandError;
use crate::command::info::DatabaseFigures;
use crate::command::spec::{CommandResult, Part};
use crate::keyspace::{Digits, Key, Object, ScanCursor, StringValue, Value};
use crate::resp::Args;

/// Keys looked at between two changes of the cursor.
const SLICE_KEYS: usize = 1000;

/// The key, if this core owns its slot.
fn own_key<'k>(cx: &Context<'_>, bytes: &'k [u8]) -> Option<Key<'k>> {
    let key = Key::new(bytes);
    (cx.core.owners.owner(key.slot) == cx.core.id).then_some(key)
}

// ---- digests ----------------------------------------------------------------------------------------------------

/// What a core has of each database: how many keys, and their digests together.
type DatabaseDigests = Vec<(u64, Digest)>;

/// DEBUG DIGEST, one core's share.
pub fn digest_part(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    let databases = cx.core.keyspace.databases();
    let digests: DatabaseDigests = (0..databases).map(|db| digest_database(cx, db)).collect();
    Ok(Part::new(digests))
}

fn digest_database(cx: &mut Context<'_>, db: usize) -> (u64, Digest) {
    let keyspace = &mut cx.core.keyspace;
    let (mut count, mut sum, mut cursor) = (0, Digest::default(), ScanCursor::START);
    loop {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        cursor = keyspace.scan(db, cursor, SLICE_KEYS, &mut |_, key, _| keys.push(key.to_vec()));
        for bytes in &keys {
            if let Some(info) = keyspace.peek_info(db, Key::new(bytes)) {
                let mut digest = Digest::default();
                digest.mix(bytes);
                digest.mix_value(&info.value, info.expiry);
                sum.add_digest(digest);
                count += 1;
            }
        }
        if cursor == ScanCursor::START {
            return (count, sum);
        }
    }
}

/// DEBUG DIGEST.
pub fn digest(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let mut databases: DatabaseDigests = Vec::new();
    for share in parts.into_iter().map(Part::take::<DatabaseDigests>) {
        databases.resize(databases.len().max(share.len()), (0, Digest::default()));
        for (ours, theirs) in databases.iter_mut().zip(share) {
            ours.0 += theirs.0;
            ours.1.combine(theirs.1);
        }
    }
    let mut whole = Digest::default();
    for (db, (count, digest)) in databases.into_iter().enumerate() {
        if count > 0 {
            whole.mix_number(db as u32);
            whole.combine(digest);
        }
    }
    cx.reply.simple(&whole.hex());
    Ok(())
}

/// DEBUG DIGEST-VALUE key [key ...], one core's share: what it has of them.
pub fn digest_value_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let db = cx.db();
    let digest = |bytes: &[u8]| {
        let key = own_key(cx, bytes)?;
        let info = cx.core.keyspace.peek_info(db, key)?;
        let mut digest = Digest::default();
        digest.mix_value(&info.value, info.expiry);
        Some(digest)
    };
    let digests: Vec<Option<Digest>> = args.iter().skip(2).map(digest).collect();
    Ok(Part::new(digests))
}

/// DEBUG DIGEST-VALUE key [key ...]: zeros for a key that is not there.
pub fn digest_value(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let mut digests = vec![Digest::default(); args.len() - 2];
    for share in parts.into_iter().map(Part::take::<Vec<Option<Digest>>>) {
        for (digest, found) in digests.iter_mut().zip(share) {
            *digest = found.unwrap_or(*digest);
        }
    }
    cx.reply.array(digests.len());
    digests.into_iter().for_each(|digest| cx.reply.simple(&digest.hex()));
    Ok(())
}

// ---- one key ----------------------------------------------------------------------------------------------------

/// What the owner of a key tells of it.
struct ObjectFigures {
    address: usize,
    encoding_name: &'static str,
    serialized_bytes: usize,
    lru: u32,
    idle_seconds: u64,
}

/// The share of sub-commands about one key: what it is like, from the core that has it.
pub fn object_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let db = cx.db();
    let now = cx.core.clock.unix();
    let Some(key) = own_key(cx, &args[2]) else {
        return Ok(Part::new(None::<ObjectFigures>));
    };
    let figures = cx.core.keyspace.peek_info(db, key).map(|info| ObjectFigures {
        address: address_of(&info.value),
        encoding_name: info.encoding_name,
        serialized_bytes: serialized_bytes(&info.value),
        lru: lru_clock(UnixMillis(now.get() - info.idle_seconds.cast_signed() * 1000)),
        idle_seconds: info.idle_seconds,
    });
    Ok(Part::new(figures))
}

fn found(parts: Vec<Part>) -> Result<ObjectFigures, CommandError> {
    parts.into_iter().find_map(Part::take::<Option<ObjectFigures>>).ok_or(CommandError::NoSuchKey)
}

/// Where a value lies; 0 for an integer, which has no bytes.
fn address_of(value: &Value<'_>) -> usize {
    match value {
        Value::String(StringValue::Integer(_)) => 0,
        Value::String(StringValue::Bytes(bytes)) => bytes.as_ptr().addr(),
        Value::String(StringValue::Shared(bytes)) => bytes.as_ptr().addr(),
        Value::Object(object) => std::ptr::from_ref::<Object>(object).addr(),
    }
}

/// Bytes of a value in an RDB file without compression, which comes with the files; of a collection what it takes in memory.
fn serialized_bytes(value: &Value<'_>) -> usize {
    match value {
        Value::String(string) => serialized_string_bytes(string),
        Value::Object(object) => object.memory_bytes(usize::MAX),
    }
}

fn serialized_string_bytes(value: &StringValue<'_>) -> usize {
    let digits = &mut Digits::new();
    let bytes = value.as_bytes(digits);
    let integer = value.integer().filter(|_| bytes.len() <= 11).and_then(|integer| i32::try_from(integer).ok());
    match (integer, bytes.len()) {
        (Some(-128..=127), _) => 2,
        (Some(-32_768..=32_767), _) => 3,
        (Some(_), _) => 5,
        (None, length @ 0..64) => 1 + length,
        (None, length @ 64..16_384) => 2 + length,
        (None, length) => 5 + length,
    }
}

/// DEBUG OBJECT key.
pub fn object(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let ObjectFigures { address, encoding_name, serialized_bytes, lru, idle_seconds } = found(parts)?;
    cx.reply.simple(&format!(
        "Value at:{address:#x} refcount:1 encoding:{encoding_name} serializedlength:{serialized_bytes} lru:{lru} lru_seconds_idle:{idle_seconds}"
    ));
    Ok(())
}

/// DEBUG LISTPACK key: no type that exists yet is kept in one.
pub fn listpack(_: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    found(parts)?;
    Err(CommandError::text_static("ERR Not a listpack encoded object."))
}

/// DEBUG HTSTATS-KEY key [full]: no type that exists yet has a table of its own.
pub fn key_tables(_: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    found(parts)?;
    Err(CommandError::text_static("ERR The value stored at the specified key is not represented using an hash table"))
}

// ---- tables -----------------------------------------------------------------------------------------------------

fn database(cx: &Context<'_>, args: &Args<'_>) -> Result<usize, CommandError> {
    let db = usize::try_from(integer(&args[2])?).ok().filter(|db| *db < cx.core.keyspace.databases());
    db.ok_or(CommandError::text_static("ERR Out of range database"))
}

/// DEBUG HTSTATS dbid [full], one core's share.
pub fn tables_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let db = database(cx, args)?;
    Ok(Part::new(DatabaseFigures {
        keys: cx.core.keyspace.len(db),
        volatile_keys: cx.core.keyspace.volatile_len(db),
        ..DatabaseFigures::default()
    }))
}

/// DEBUG HTSTATS dbid [full]. Each slot has a table of its own and expiries lie in their entries; what is shown is the
/// size of Redis's two tables with as many keys.
pub fn tables(cx: &mut Context<'_>, _: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let (mut keys, mut volatile_keys) = (0, 0);
    for share in parts.into_iter().map(Part::take::<DatabaseFigures>) {
        keys += share.keys;
        volatile_keys += share.volatile_keys;
    }
    let text = format!("[Dictionary HT]\n{}[Expires HT]\n{}", table_lines(keys), table_lines(volatile_keys));
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn table_lines(keys: u64) -> String {
    if keys == 0 {
        return "Hash table 0 stats (main hash table):\nNo stats available for empty dictionaries\n".to_owned();
    }
    let size = keys.next_power_of_two().max(4);
    format!("Hash table 0 stats (main hash table):\n table size: {size}\n number of elements: {keys}\n")
}

// ---- many keys --------------------------------------------------------------------------------------------------

/// DEBUG POPULATE count [prefix] [size], one core's share: the keys that it owns. Keys that are there stay as they are.
pub fn populate(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    const WRONG: CommandError = CommandError::text_static("ERR value is out of range, must be positive");
    let number = |at: usize| match args.get(at).map(integer) {
        None => Ok(0),
        Some(number) => number.ok().and_then(|number| u64::try_from(number).ok()).ok_or(WRONG),
    };
    let (count, size) = (number(2)?, number(4)?);
    let size = usize::try_from(size)
        .ok()
        .filter(|size| *size as u64 <= cx.core.config.proto_max_bulk_len)
        .ok_or(CommandError::StringTooLong)?;
    let prefix = args.get(3).unwrap_or(b"key");
    let db = cx.db();
    for index in 0..count {
        let bytes = [prefix, b":", index.to_string().as_bytes()].concat();
        let Some(key) = own_key(cx, &bytes) else { continue };
        let mut entry = cx.core.keyspace.write(db, key);
        if !entry.exists() {
            let mut value = format!("value:{index}").into_bytes();
            if size > 0 {
                value.resize(size, 0);
            }
            entry.set_plain(&value);
        }
    }
    Ok(Part::done())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_as_long_in_a_file_as_redis_says() {
        let cases: &[(StringValue<'_>, usize)] = &[
            (StringValue::Integer(-128), 2),
            (StringValue::Integer(128), 3),
            (StringValue::Integer(40_000), 5),
            (StringValue::Integer(3_000_000_000), 11),
            (StringValue::Bytes(b"hello"), 6),
            (StringValue::Bytes(b""), 1),
            (StringValue::Bytes(b"7"), 2),
            (StringValue::Bytes(&[b'x'; 64]), 66),
        ];
        for (value, bytes) in cases {
            assert_eq!(serialized_string_bytes(value), *bytes, "{value:?}");
        }
    }
}
