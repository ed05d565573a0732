//! The library `cmsgpack` (lua-cmsgpack 0.4.0 as Redis 7.2 bundles it): values to MessagePack and back.
//!
//! Owns the choice of formats: the shortest integer, a float where it is exact, an array for a table whose keys are 1 to
//! n, a map for any other. Scripts call it through the table; nothing else does, and no metamethod is ever called.

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use super::native::{Arguments, Failure, RESULT_BYTES_MAX, STACK_SLOTS, Visits, add, to_i64};

/// How deep tables are written; what is deeper becomes nil, which ends cycles too.
const NESTING_MAX: usize = 16;

/// What is said of data with more values, or deeper ones, than a stack has slots for.
const TOO_MANY: &str = "too many return values at once; use unpack_one or unpack_limit instead.";

/// The table `cmsgpack`.
pub fn cmsgpack(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    add(lua, &library, "pack", pack)?;
    add(lua, &library, "unpack", |arguments| unpack(arguments, None))?;
    add(lua, &library, "unpack_one", |arguments| {
        let offset = arguments.integer_or(2, 0)?;
        unpack(arguments, Some(Window { limit: 1, offset }))
    })?;
    add(lua, &library, "unpack_limit", |arguments| {
        let limit = arguments.integer(2)?;
        let offset = arguments.integer_or(3, 0)?;
        unpack(arguments, Some(Window { limit, offset }))
    })?;
    library.raw_set("_NAME", "cmsgpack")?;
    library.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    library.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    library.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(library)
}

/// cmsgpack.pack(value...): what each value becomes, one behind the other.
fn pack(arguments: &Arguments<'_>) -> Result<LuaString, Failure> {
    if arguments.count() == 0 {
        return Err(Failure::argument(0, "MessagePack pack needs input."));
    }
    // The original copies the arguments on the stack.
    if arguments.count() > STACK_SLOTS / 2 {
        return Err(Failure::argument(0, "Too many arguments for MessagePack pack."));
    }
    let mut packer = Packer { packed: Vec::new(), visits: Visits::default() };
    for position in 1..=arguments.count() {
        packer.value(arguments.value(position).unwrap_or(&Value::Nil), NESTING_MAX)?;
    }
    Ok(arguments.lua.create_string(&packer.packed)?)
}

/// What `pack` has written.
struct Packer {
    packed: Vec<u8>,
    visits: Visits,
}

impl Packer {
    /// Appends a value; tables in it may be nested `levels` deep, which bounds the recursion.
    fn value(&mut self, value: &Value, levels: usize) -> Result<(), Failure> {
        match value {
            Value::String(string) => put_string(&string.as_bytes(), &mut self.packed)?,
            Value::Boolean(value) => self.packed.push(if *value { 0xc3 } else { 0xc2 }),
            Value::Integer(integer) => put_integer(*integer, &mut self.packed),
            Value::Number(number) => put_number(*number, &mut self.packed),
            Value::Table(table) if levels > 0 => self.table(table, levels - 1)?,
            _ => self.packed.push(0xc0),
        }
        if self.packed.len() > RESULT_BYTES_MAX { Err(Failure::memory()) } else { Ok(()) }
    }

    fn table(&mut self, table: &Table, levels: usize) -> Result<(), Failure> {
        self.visits.table()?;
        if let Some(len) = array_len(table)? {
            self.visits.elements(len)?;
            self.packed.extend_from_slice(Header::of(len, 0x90, 0xdc)?.as_bytes());
            for index in 1..=len {
                self.value(&table.raw_get(index)?, levels)?;
            }
            return Ok(());
        }
        // How many pairs there are is known at their end, and with it the length of the header before them.
        let start = self.packed.len();
        let mut len = 0;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            self.visits.elements(1)?;
            self.value(&key, levels)?;
            self.value(&value, levels)?;
            len += 1;
        }
        self.packed.splice(start..start, Header::of(len, 0x80, 0xde)?.as_bytes().iter().copied());
        Ok(())
    }
}

/// The length of a table whose keys are 1 to n without a gap, an empty one included; nothing for any other.
fn array_len(table: &Table) -> Result<Option<usize>, Failure> {
    let (mut count, mut largest) = (0_usize, 0_i32);
    for pair in table.pairs::<Value, bool>() {
        let Value::Integer(index) = pair?.0 else {
            return Ok(None);
        };
        match i32::try_from(index) {
            Ok(index) if index > 0 => largest = largest.max(index),
            _ => return Ok(None),
        }
        count += 1;
    }
    Ok((largest as usize == count).then_some(count))
}

/// The bytes before the elements of something.
struct Header {
    bytes: [u8; 5],
    len: usize,
}

impl Header {
    /// For `len` elements or pairs: `short` for up to 15 of them, `long` with 16 bits, `long + 1` with 32.
    fn of(len: usize, short: u8, long: u8) -> Result<Header, Failure> {
        let mut bytes = [0; 5];
        if len <= 15 {
            bytes[0] = short | len as u8;
            return Ok(Header { bytes, len: 1 });
        }
        if let Ok(len) = u16::try_from(len) {
            bytes[0] = long;
            bytes[1..3].copy_from_slice(&len.to_be_bytes());
            return Ok(Header { bytes, len: 3 });
        }
        let len = u32::try_from(len).map_err(|_| Failure::memory())?;
        bytes[0] = long + 1;
        bytes[1..].copy_from_slice(&len.to_be_bytes());
        Ok(Header { bytes, len: 5 })
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn put_string(bytes: &[u8], packed: &mut Vec<u8>) -> Result<(), Failure> {
    if packed.len() + bytes.len() > RESULT_BYTES_MAX {
        return Err(Failure::memory());
    }
    match bytes.len() {
        len @ 0..32 => packed.push(0xa0 | len as u8),
        len @ 32..0x100 => packed.extend([0xd9, len as u8]),
        // More than a short header counts to: 0xda with 16 bits or 0xdb with 32.
        len => packed.extend_from_slice(Header::of(len, 0, 0xda)?.as_bytes()),
    }
    packed.extend_from_slice(bytes);
    Ok(())
}

/// An integer where the number is one that 64 bits hold, else the shorter float that is exact.
fn put_number(number: f64, packed: &mut Vec<u8>) {
    let single = number as f32;
    if number.is_finite() && to_i64(number) as f64 == number {
        put_integer(to_i64(number), packed);
    } else if f64::from(single) == number {
        packed.push(0xca);
        packed.extend(single.to_be_bytes());
    } else {
        packed.push(0xcb);
        packed.extend(number.to_be_bytes());
    }
}

fn put_integer(integer: i64, packed: &mut Vec<u8>) {
    let (code, len) = match integer {
        -32..=0x7f => return packed.push(integer as u8),
        0x80..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        0x1_0000_0000.. => (0xcf, 8),
        -0x80..-32 => (0xd0, 1),
        -0x8000..-0x80 => (0xd1, 2),
        -0x8000_0000..-0x8000 => (0xd2, 4),
        ..-0x8000_0000 => (0xd3, 8),
    };
    packed.push(code);
    packed.extend(&integer.to_be_bytes()[8 - len..]);
}

/// What part of the data to unpack, as a script asks: at most `limit` values, from `offset`.
struct Window {
    limit: i64,
    offset: i64,
}

/// All values of the data; or those of a window, behind the offset at which the next one begins, -1 at the end.
fn unpack(arguments: &Arguments<'_>, window: Option<Window>) -> Result<MultiValue, Failure> {
    let data = arguments.string(1)?;
    let data = data.as_bytes();
    // The functions that take a window drop its arguments before anything is unpacked.
    let held = if window.is_some() { 1 } else { arguments.count() };
    // A window of nothing at the start counts as none.
    let window = window.filter(|window| window.limit != 0 || window.offset != 0);
    let (limit, offset) = match &window {
        None => (i64::from(i32::MAX), 0),
        Some(Window { limit, offset }) => (*limit, check_offset(*limit, *offset, data.len())?),
    };
    let mut reader = Reader { lua: arguments.lua, rest: &data[offset..] };
    let mut results = Vec::new();
    if window.is_some() {
        results.push(Value::Nil);
    }
    let mut unpacked = 0;
    while !reader.rest.is_empty() && unpacked < limit {
        let value = reader.value(held + unpacked as usize).map_err(|failure| failure.or_stack(TOO_MANY))?;
        results.push(value);
        unpacked += 1;
    }
    if let (Some(_), Some(next)) = (window, results.first_mut()) {
        *next = Value::Integer(if reader.rest.is_empty() { -1 } else { (data.len() - reader.rest.len()) as i64 });
    }
    Ok(MultiValue::from_vec(results))
}

/// The offset, unless it or the limit makes no sense. The text about a negative one gives the length for the limit.
fn check_offset(limit: i64, offset: i64, len: usize) -> Result<usize, Failure> {
    if limit < 0 || offset < 0 {
        return Err(Failure::message(format!(
            "Invalid request to unpack with offset of {} and limit of {}.",
            offset as i32, len as i32
        )));
    }
    match usize::try_from(offset) {
        Ok(offset) if offset <= len => Ok(offset),
        _ => Err(Failure::message(format!("Start offset {} greater than input length {}.", offset as i32, len as i32))),
    }
}

/// Cuts values off the front of the data.
struct Reader<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
}

/// A collection that waits for the values that stand behind it.
enum Open {
    Array { table: Table, len: u32, next: u32 },
    Map { table: Table, left: u32, key: Option<Value> },
}

impl Open {
    /// How many slots the original keeps for it while it reads the next value.
    fn slots(&self) -> usize {
        match self {
            Open::Array { .. } | Open::Map { key: Some(_), .. } => 2,
            Open::Map { key: None, .. } => 1,
        }
    }
}

/// What stands at the front.
enum Item {
    Value(Value),
    Array(u32),
    Map(u32),
}

impl Reader<'_> {
    /// The next value with all that is in it. `used` slots are taken; collections take more of them as they nest.
    fn value(&mut self, mut used: usize) -> Result<Value, Failure> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            if self.rest.is_empty() {
                return Err(missing());
            }
            if used >= STACK_SLOTS {
                return Err(Failure::stack(TOO_MANY));
            }
            let collection = match self.item()? {
                Item::Value(value) => {
                    if let Some(value) = self.close(&mut open, &mut used, value)? {
                        return Ok(value);
                    }
                    continue;
                }
                Item::Array(_) if used + 1 >= STACK_SLOTS => {
                    return Err(Failure::stack("in function mp_decode_to_lua_array"));
                }
                Item::Array(len) => Open::Array { table: self.lua.create_table()?, len, next: 1 },
                Item::Map(len) => Open::Map { table: self.lua.create_table()?, left: len, key: None },
            };
            match collection {
                Open::Array { table, len: 0, .. } | Open::Map { table, left: 0, .. } => {
                    if let Some(value) = self.close(&mut open, &mut used, Value::Table(table))? {
                        return Ok(value);
                    }
                }
                collection => {
                    used += collection.slots();
                    open.push(collection);
                }
            }
        }
    }

    /// Puts a value where it belongs, and what is full thereby where that belongs; the value of all if none is left open.
    fn close(&mut self, open: &mut Vec<Open>, used: &mut usize, value: Value) -> Result<Option<Value>, Failure> {
        let mut value = value;
        while let Some(collection) = open.last_mut() {
            *used -= collection.slots();
            let full = match collection {
                Open::Array { table, len, next } => {
                    table.raw_set(*next, value)?;
                    *next = next.saturating_add(1);
                    *next > *len
                }
                Open::Map { table, left, key } => match key.take() {
                    None => {
                        *key = Some(value);
                        false
                    }
                    Some(key) => {
                        set(table, key, value)?;
                        *left -= 1;
                        *left == 0
                    }
                },
            };
            if !full {
                *used += collection.slots();
                return Ok(None);
            }
            value = match open.pop() {
                Some(Open::Array { table, .. } | Open::Map { table, .. }) => Value::Table(table),
                None => Value::Nil,
            };
        }
        Ok(Some(value))
    }

    /// Takes what stands at the front, but of a collection only the header.
    fn item(&mut self) -> Result<Item, Failure> {
        let code = u8::from_be_bytes(self.take()?);
        let value = match code {
            0x00..=0x7f => Value::Integer(i64::from(code)),
            0xe0..=0xff => Value::Integer(i64::from(code.cast_signed())),
            0x80..=0x8f => return Ok(Item::Map(u32::from(code & 0x0f))),
            0x90..=0x9f => return Ok(Item::Array(u32::from(code & 0x0f))),
            0xa0..=0xbf => self.string(u32::from(code & 0x1f))?,
            0xc0 => Value::Nil,
            0xc2 => Value::Boolean(false),
            0xc3 => Value::Boolean(true),
            0xca => Value::Number(f64::from(f32::from_be_bytes(self.take()?))),
            0xcb => Value::Number(f64::from_be_bytes(self.take()?)),
            0xcc => Value::Integer(i64::from(u8::from_be_bytes(self.take()?))),
            0xcd => Value::Integer(i64::from(u16::from_be_bytes(self.take()?))),
            0xce => Value::Integer(i64::from(u32::from_be_bytes(self.take()?))),
            // Read as signed, as the original does.
            0xcf | 0xd3 => Value::Integer(i64::from_be_bytes(self.take()?)),
            0xd0 => Value::Integer(i64::from(i8::from_be_bytes(self.take()?))),
            0xd1 => Value::Integer(i64::from(i16::from_be_bytes(self.take()?))),
            0xd2 => Value::Integer(i64::from(i32::from_be_bytes(self.take()?))),
            0xd9 => {
                let len = u8::from_be_bytes(self.take()?);
                self.string(u32::from(len))?
            }
            0xda => {
                let len = u16::from_be_bytes(self.take()?);
                self.string(u32::from(len))?
            }
            0xdb => {
                let len = u32::from_be_bytes(self.take()?);
                self.string(len)?
            }
            0xdc => return Ok(Item::Array(u32::from(u16::from_be_bytes(self.take()?)))),
            0xdd => return Ok(Item::Array(u32::from_be_bytes(self.take()?))),
            0xde => return Ok(Item::Map(u32::from(u16::from_be_bytes(self.take()?)))),
            0xdf => return Ok(Item::Map(u32::from_be_bytes(self.take()?))),
            0xc1 | 0xc4..=0xc9 | 0xd4..=0xd8 => return Err(Failure::message("Bad data format in input.")),
        };
        Ok(Item::Value(value))
    }

    fn string(&mut self, len: u32) -> Result<Value, Failure> {
        let (string, rest) = self.rest.split_at_checked(len as usize).ok_or_else(missing)?;
        self.rest = rest;
        Ok(Value::String(self.lua.create_string(string)?))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(missing)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

fn missing() -> Failure {
    Failure::message("Missing bytes in input.")
}

/// `table[key] = value`, with Lua's errors for keys that no table has, which name no place.
fn set(table: &Table, key: Value, value: Value) -> Result<(), Failure> {
    match key {
        Value::Nil => Err(mlua::Error::RuntimeError("table index is nil".to_owned()).into()),
        Value::Number(number) if number.is_nan() => {
            Err(mlua::Error::RuntimeError("table index is NaN".to_owned()).into())
        }
        key => Ok(table.raw_set(key, value)?),
    }
}

#[cfg(test)]
mod tests {
    use super::super::native::testing::check;

    #[test]
    fn values_take_their_shortest_format() {
        check(
            "cmsgpack",
            super::cmsgpack,
            &[
                (
                    "return cmsgpack.pack(0, 127, 128, 255, 256, 65536, 2^32)",
                    concat!(
                        r"\x00\x7f\xcc\x80\xcc\xff\xcd\x01\x00\xce\x00\x01\x00\x00",
                        r"\xcf\x00\x00\x00\x01\x00\x00\x00\x00"
                    ),
                ),
                (
                    "return cmsgpack.pack(-1, -32, -33, -129, -32769, -2^31 - 1)",
                    concat!(
                        r"\xff\xe0\xd0\xdf\xd1\xff\x7f\xd2\xff\xff\x7f\xff",
                        r"\xd3\xff\xff\xff\xff\x7f\xff\xff\xff"
                    ),
                ),
                (
                    "return cmsgpack.pack(0.5, 0.1, 2^63, -0)",
                    r"\xca?\x00\x00\x00\xcb?\xb9\x99\x99\x99\x99\x99\x9a\xca_\x00\x00\x00\x00",
                ),
                ("return cmsgpack.pack(true, false, nil, 'a', type)", r"\xc3\xc2\xc0\xa1a\xc0"),
                ("return cmsgpack.pack(('a'):rep(32)):sub(1, 3)", r"\xd9 a"),
                ("return cmsgpack.pack(('a'):rep(256)):sub(1, 4)", r"\xda\x01\x00a"),
                ("return cmsgpack.pack(('a'):rep(65536)):sub(1, 6)", r"\xdb\x00\x01\x00\x00a"),
                ("return cmsgpack.pack({}, {1, 2}, {a = 1}, {[2] = 1})", r"\x90\x92\x01\x02\x81\xa1a\x01\x81\x02\x01"),
                ("local t = {} for i = 1, 16 do t[i] = 0 end return cmsgpack.pack(t):sub(1, 4)", r"\xdc\x00\x10\x00"),
                ("local t = {} for i = 1, 16 do t[-i] = 0 end return cmsgpack.pack(t):sub(1, 3)", r"\xde\x00\x10"),
                ("local t = {} t[1] = t return cmsgpack.pack(t)", &(r"\x91".repeat(16) + r"\xc0")),
                ("return pcall(cmsgpack.pack)", "false bad argument #0 to '?' (MessagePack pack needs input.)"),
            ],
        );
    }

    #[test]
    fn values_come_back() {
        check(
            "cmsgpack",
            super::cmsgpack,
            &[
                (
                    r"return cmsgpack.unpack('\1\204\255\208\128\206\255\255\255\255\192\195')",
                    "1 255 -128 4294967295 nil true",
                ),
                (r"return cmsgpack.unpack('\207\255\255\255\255\255\255\255\255')", "-1"),
                (r"return cmsgpack.unpack('\202\63\0\0\0\203\63\240\0\0\0\0\0\0')", "0.5 1"),
                (r"return cmsgpack.unpack('\161a\217\1b\218\0\1c\219\0\0\0\1d')", "a b c d"),
                (r"local t = cmsgpack.unpack('\147\1\192\3') return t[1], t[2], t[3]", "1 nil 3"),
                (r"local t = cmsgpack.unpack('\130\161a\145\5\1\128') return t.a[1], t[1], next(t[1])", "5 table nil"),
                (r"return cmsgpack.unpack(''), cmsgpack.unpack_one('')", "nil -1"),
                (r"return cmsgpack.unpack_one('\1\2')", "1 1"),
                (r"return cmsgpack.unpack_one('\1\2', 1)", "-1 2"),
                (r"return cmsgpack.unpack_limit('\1\2\3', 2)", "2 1 2"),
                (r"return cmsgpack.unpack_limit('\1\2\3', 0, 1)", "1"),
                (r"return cmsgpack.unpack_limit('\1\2\3', 0)", "1 2 3"),
            ],
        );
    }

    #[test]
    fn bad_data_is_refused() {
        let missing = "false Missing bytes in input.";
        check(
            "cmsgpack",
            super::cmsgpack,
            &[
                (r"return pcall(cmsgpack.unpack, '\193')", "false Bad data format in input."),
                (r"return pcall(cmsgpack.unpack, '\205\1')", missing),
                (r"return pcall(cmsgpack.unpack, '\219\255\255\255\255a')", missing),
                (r"return pcall(cmsgpack.unpack, '\221\255\255\255\255a')", missing),
                (r"return pcall(cmsgpack.unpack, '\129\1')", missing),
                (r"return pcall(cmsgpack.unpack, '\129\192\1')", "false table index is nil"),
                (r"return pcall(cmsgpack.unpack, '\129\203\127\248\0\0\0\0\0\0\1')", "false table index is NaN"),
                (r"return pcall(cmsgpack.unpack, ('\145'):rep(3000))", missing),
                (
                    r"return pcall(cmsgpack.unpack, ('\145'):rep(1000000))",
                    "false stack overflow (in function mp_decode_to_lua_array)",
                ),
                (
                    r"return pcall(cmsgpack.unpack, ('\1'):rep(9000))",
                    &format!("false stack overflow ({})", super::TOO_MANY),
                ),
                (r"return pcall(cmsgpack.unpack_one, '\1', 2)", "false Start offset 2 greater than input length 1."),
                (
                    r"return pcall(cmsgpack.unpack_limit, '\1', -1, 0)",
                    "false Invalid request to unpack with offset of 0 and limit of 1.",
                ),
            ],
        );
    }

    #[test]
    fn tables_that_stand_for_too_much_are_refused() {
        let all = "local t = {('x'):rep(1000)} for i = 2, 1000 do t[i] = t end return pcall(cmsgpack.pack, t)";
        check("cmsgpack", super::cmsgpack, &[(all, "false not enough memory")]);
    }
}
