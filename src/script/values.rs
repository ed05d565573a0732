//! Replies as Lua values, and Lua values as replies (the tables in Redis's "Lua API reference").

use mlua::{Lua, Table, Value};

use crate::base::number::{format_double, parse_i64};
use crate::resp::{ArgsBuf, Reply, ReplyBuffer, RespVersion};

/// How deep tables may be nested in a reply: about where Lua's own stack ends in Redis.
const DEPTH_MAX: usize = 1000;
/// The arguments of one command together: twice what one may have (proto-max-bulk-len).
const ARGUMENTS_BYTES_MAX: usize = 1 << 30;

/// The arguments of `redis.call` as a request.
///
/// # Errors
/// The text for the script.
pub fn request(values: impl IntoIterator<Item = Value>) -> Result<ArgsBuf, &'static str> {
    let mut args = ArgsBuf::default();
    let (mut count, mut total_bytes) = (0, 0usize);
    for value in values {
        match value {
            Value::String(bytes) => {
                let bytes = bytes.as_bytes();
                total_bytes += bytes.len();
                if total_bytes > ARGUMENTS_BYTES_MAX {
                    return Err("Lua redis lib command arguments are too long");
                }
                args.push(&bytes);
            }
            Value::Integer(number) => args.push(itoa::Buffer::new().format(number).as_bytes()),
            Value::Number(number) => {
                let mut text = Vec::with_capacity(24);
                format_double(number, &mut text);
                args.push(&text);
            }
            _ => return Err("Lua redis lib command arguments must be strings or integers"),
        }
        count += 1;
    }
    if count == 0 {
        return Err("Please specify at least one argument for this redis lib call");
    }
    Ok(args)
}

/// An error as scripts know it: a table with its text, which begins with a code.
pub fn error_table(lua: &Lua, line: &[u8]) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 2)?;
    table.raw_set("err", lua.create_string(line)?)?;
    Ok(table)
}

/// The error that was counted when its command failed.
pub fn counted_error(lua: &Lua, line: &[u8]) -> mlua::Result<Table> {
    // Redis's own replies without a code are given the common one.
    let line = if line.contains(&b' ') { line.to_vec() } else { [b"ERR ", line].concat() };
    let table = error_table(lua, &line)?;
    table.raw_set("ignore_error_stats_update", true)?;
    Ok(table)
}

/// The bytes of one reply, read from the front.
pub struct Incoming<'b> {
    bytes: &'b [u8],
}

impl<'b> Incoming<'b> {
    pub fn new(bytes: &'b [u8]) -> Incoming<'b> {
        Incoming { bytes }
    }

    fn line(&mut self) -> Option<(u8, &'b [u8])> {
        let end = memchr::memchr(b'\n', self.bytes)?;
        let line = self.bytes[..end].strip_suffix(b"\r")?;
        self.bytes = &self.bytes[end + 1..];
        line.split_first().map(|(kind, rest)| (*kind, rest))
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest.strip_prefix(b"\r\n")?;
        Some(taken)
    }

    /// The next value; `None` where the reply was cut off.
    pub fn value(&mut self, lua: &Lua) -> mlua::Result<Option<Value>> {
        let Some((kind, line)) = self.line() else { return Ok(None) };
        let string = |bytes: &[u8]| lua.create_string(bytes).map(Value::String);
        let number = parse_i64(line);
        let value = match kind {
            b':' => integer(number.unwrap_or(0)),
            b'+' => one(lua, "ok", string(line)?)?,
            b'-' => Value::Table(counted_error(lua, line)?),
            b'$' if number == Some(-1) => Value::Boolean(false),
            b'*' if number == Some(-1) => Value::Boolean(false),
            b'_' => Value::Nil,
            b'#' => Value::Boolean(line == b"t"),
            b',' => one(lua, "double", Value::Number(double(line)))?,
            b'(' => one(lua, "big_number", string(line)?)?,
            b'$' | b'=' => {
                let Some(bytes) =
                    number.and_then(|length| usize::try_from(length).ok()).and_then(|length| self.take(length))
                else {
                    return Ok(None);
                };
                if kind == b'$' { string(bytes)? } else { verbatim(lua, bytes)? }
            }
            b'*' | b'>' => return self.array(lua, number.unwrap_or(0)),
            b'%' => return self.map(lua, number.unwrap_or(0)),
            b'~' => return self.set(lua, number.unwrap_or(0)),
            b'|' => {
                for _ in 0..number.unwrap_or(0).saturating_mul(2) {
                    if self.value(lua)?.is_none() {
                        return Ok(None);
                    }
                }
                return self.value(lua);
            }
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    fn array(&mut self, lua: &Lua, length: i64) -> mlua::Result<Option<Value>> {
        let table = lua.create_table()?;
        for index in 1..=length {
            let Some(value) = self.value(lua)? else { return Ok(None) };
            table.raw_set(index, value)?;
        }
        Ok(Some(Value::Table(table)))
    }

    fn map(&mut self, lua: &Lua, pairs: i64) -> mlua::Result<Option<Value>> {
        let table = lua.create_table()?;
        for _ in 0..pairs {
            let (Some(key), Some(value)) = (self.value(lua)?, self.value(lua)?) else { return Ok(None) };
            table.raw_set(key, value)?;
        }
        one(lua, "map", Value::Table(table)).map(Some)
    }

    fn set(&mut self, lua: &Lua, length: i64) -> mlua::Result<Option<Value>> {
        let table = lua.create_table()?;
        for _ in 0..length {
            let Some(member) = self.value(lua)? else { return Ok(None) };
            table.raw_set(member, true)?;
        }
        one(lua, "set", Value::Table(table)).map(Some)
    }
}

/// A Lua number, which is a double.
fn integer(value: i64) -> Value {
    Value::Number(value as f64)
}

fn double(text: &[u8]) -> f64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

fn one(lua: &Lua, field: &str, value: Value) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(field, value)?;
    Ok(Value::Table(table))
}

fn verbatim(lua: &Lua, bytes: &[u8]) -> mlua::Result<Value> {
    let (format, text) = bytes.split_at_checked(4).unwrap_or((b"txt:", bytes));
    let table = lua.create_table_with_capacity(0, 2)?;
    table.raw_set("string", lua.create_string(text)?)?;
    table.raw_set("format", lua.create_string(&format[..3])?)?;
    one(lua, "verbatim_string", Value::Table(table))
}

/// Writes what a script has returned. `version` is the one that the script speaks, which decides about booleans.
pub fn write_reply(value: &Value, version: RespVersion, reply: &mut Reply<'_>) -> mlua::Result<()> {
    write(value, version, reply, 0)
}

fn write(value: &Value, version: RespVersion, reply: &mut Reply<'_>, depth: usize) -> mlua::Result<()> {
    match value {
        Value::String(bytes) => reply.bulk(&bytes.as_bytes()),
        Value::Boolean(truth) if version == RespVersion::V3 => reply.boolean(*truth),
        Value::Boolean(true) => reply.integer(1),
        Value::Integer(number) => reply.integer(*number),
        Value::Number(number) => reply.integer(truncated(*number)),
        Value::Table(_) if depth >= DEPTH_MAX => reply.error("ERR reached lua stack limit"),
        Value::Table(table) => return write_table(table, version, reply, depth),
        _ => reply.null(),
    }
    Ok(())
}

/// As C converts it: what is no 64-bit integer is the least one.
fn truncated(number: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&number) { number as i64 } else { i64::MIN }
}

fn text_of(table: &Table, field: &str) -> mlua::Result<Option<Vec<u8>>> {
    let value: Value = table.raw_get(field)?;
    Ok(if let Value::String(text) = value { Some(text.as_bytes().to_vec()) } else { None })
}

fn write_table(table: &Table, version: RespVersion, reply: &mut Reply<'_>, depth: usize) -> mlua::Result<()> {
    if let Some(line) = text_of(table, "err")? {
        reply.error(line);
        return Ok(());
    }
    if let Some(line) = text_of(table, "ok")? {
        reply.status(&line);
        return Ok(());
    }
    match table.raw_get("double")? {
        Value::Number(number) => {
            reply.double(number);
            return Ok(());
        }
        Value::Integer(number) => {
            reply.double(number as f64);
            return Ok(());
        }
        _ => {}
    }
    if let Some(digits) = text_of(table, "big_number")? {
        let digits: String = String::from_utf8_lossy(&digits).replace(['\r', '\n'], " ");
        reply.big_number(&digits);
        return Ok(());
    }
    if let Value::Table(verbatim) = table.raw_get("verbatim_string")?
        && let (Some(format), Some(text)) = (text_of(&verbatim, "format")?, text_of(&verbatim, "string")?)
    {
        // Three letters, whatever there is.
        let format: String = (0..3).map(|at| format.get(at).map_or(' ', |byte| char::from(byte & 0x7f))).collect();
        reply.verbatim(&format, &text);
        return Ok(());
    }
    if let Value::Table(map) = table.raw_get("map")? {
        let pairs = map.pairs::<Value, Value>().collect::<mlua::Result<Vec<_>>>()?;
        reply.map(pairs.len());
        for (key, value) in &pairs {
            write(key, version, reply, depth + 1)?;
            write(value, version, reply, depth + 1)?;
        }
        return Ok(());
    }
    if let Value::Table(set) = table.raw_get("set")? {
        let members = set.pairs::<Value, Value>().collect::<mlua::Result<Vec<_>>>()?;
        reply.set(members.len());
        for (member, _) in &members {
            write(member, version, reply, depth + 1)?;
        }
        return Ok(());
    }
    write_array(table, version, reply, depth)
}

/// What stands before the first place that is empty.
fn write_array(table: &Table, version: RespVersion, reply: &mut Reply<'_>, depth: usize) -> mlua::Result<()> {
    let deferred = reply.begin_array();
    let mut length = 0;
    loop {
        let value: Value = table.raw_get(length + 1)?;
        if value == Value::Nil {
            break;
        }
        write(&value, version, reply, depth + 1)?;
        length += 1;
    }
    reply.finish(deferred, length);
    Ok(())
}

/// An error reply in place of any other.
pub fn error_reply(line: &[u8]) -> ReplyBuffer {
    let mut buffer = ReplyBuffer::new();
    Reply::new(&mut buffer, RespVersion::V2).error(line);
    buffer
}
