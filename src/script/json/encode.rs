//! Values to JSON, table by table, with what is open kept on the heap.
//!
//! Called by the table's `encode`. No recursion, and no more than `RESULT_BYTES_MAX` and `Visits` allow: tables that
//! name each other can stand for any amount of text.

use mlua::{Lua, Table, Value};

use super::{InvalidNumbers, Settings, number};
use crate::script::native::{Failure, RESULT_BYTES_MAX, STACK_SLOTS, Visits, to_i32, type_name};

/// The text of a value.
pub(super) fn encode(lua: &Lua, value: &Value, settings: &Settings) -> Result<Vec<u8>, Failure> {
    let mut encoder = Encoder {
        lua,
        settings,
        out: Vec::new(),
        open: Vec::new(),
        nested: None,
        nested_len: 0,
        waiting: 0,
        used: 1,
        visits: Visits::default(),
    };
    encoder.value(value).and_then(|()| encoder.rest()).map_err(|failure| match failure {
        // mlua can refer to about as many tables as the original's stack takes.
        Failure::Lua(mlua::Error::StackError) => too_deep(encoder.open.len() + 1),
        other => other,
    })?;
    Ok(encoder.out)
}

fn too_deep(depth: usize) -> Failure {
    Failure::message(format!("Cannot serialise, excessive nesting ({depth})"))
}

/// A table of which the text is not complete.
enum Open {
    /// Elements are looked up one by one, as many as the last index says.
    Array { table: Table, len: usize, next: usize },
    /// All of the object was read at once, as an iteration cannot be left and resumed.
    Object(Object),
}

/// What was read of an object: its text without the tables in it.
#[derive(Default)]
struct Object {
    text: Vec<u8>,
    /// Where in the text the nested tables belong; they stand in `nested` from `first` on.
    gaps: Vec<usize>,
    first: usize,
    gaps_filled: usize,
    copied: usize,
    /// What went wrong behind the text.
    failure: Option<Failure>,
}

impl Open {
    /// How many slots of the stack the original keeps for it.
    fn slots(&self) -> usize {
        match self {
            Open::Array { .. } => 1,
            Open::Object(_) => 2,
        }
    }
}

struct Encoder<'a> {
    lua: &'a Lua,
    settings: &'a Settings,
    out: Vec<u8>,
    open: Vec<Open>,
    /// The tables that stand in open objects and wait for their turn: in a Lua table, since mlua can refer to some
    /// thousand values only. Made when the first one comes.
    nested: Option<Table>,
    nested_len: usize,
    /// Bytes of open objects that are not in `out` yet.
    waiting: usize,
    /// How many slots of the stack the original would have taken by now.
    used: usize,
    visits: Visits,
}

impl Encoder<'_> {
    /// Completes all that is open.
    fn rest(&mut self) -> Result<(), Failure> {
        while self.step()? {}
        Ok(())
    }

    /// Goes on with the innermost table until one in it is opened or it ends; false when none is open.
    fn step(&mut self) -> Result<bool, Failure> {
        let Some(open) = self.open.last_mut() else {
            return Ok(false);
        };
        match open {
            Open::Array { table, len, next } => {
                while *next <= *len {
                    if *next > 1 {
                        self.out.push(b',');
                    }
                    let value: Value = table.raw_get(*next)?;
                    *next += 1;
                    match value {
                        Value::Table(table) => {
                            self.table(table)?;
                            return Ok(true);
                        }
                        scalar => put_scalar(
                            &scalar,
                            self.settings,
                            RESULT_BYTES_MAX.saturating_sub(self.waiting),
                            &mut self.out,
                        )?,
                    }
                }
                self.out.push(b']');
            }
            Open::Object(object) => {
                let until = object.gaps.get(object.gaps_filled).copied().unwrap_or(object.text.len());
                self.out.extend_from_slice(&object.text[object.copied..until]);
                self.waiting -= until - object.copied;
                object.copied = until;
                if object.gaps_filled < object.gaps.len() {
                    let place = object.first + object.gaps_filled;
                    object.gaps_filled += 1;
                    let nested: Option<Table> = match &self.nested {
                        Some(all) => all.raw_get(place)?,
                        None => None,
                    };
                    let nested = nested.ok_or_else(|| Failure::message("BUG: a nested table is lost"))?;
                    self.table(nested)?;
                    return Ok(true);
                }
                if let Some(failure) = object.failure.take() {
                    return Err(failure);
                }
                self.nested_len = object.first - 1;
                self.out.push(b'}');
            }
        }
        self.used -= self.open.pop().map_or(0, |open| open.slots());
        Ok(true)
    }

    fn value(&mut self, value: &Value) -> Result<(), Failure> {
        match value {
            Value::Table(table) => self.table(table.clone()),
            scalar => put_scalar(scalar, self.settings, RESULT_BYTES_MAX, &mut self.out),
        }
    }

    /// Opens a table.
    fn table(&mut self, table: Table) -> Result<(), Failure> {
        const SLOTS_WANTED: usize = 3;
        let depth = self.open.len() + 1;
        if depth > self.settings.encode_max_depth as usize || self.used + SLOTS_WANTED > STACK_SLOTS {
            return Err(too_deep(depth));
        }
        self.visits.table()?;
        let open = match self.array_len(&table)? {
            Some(len) => {
                self.visits.elements(len)?;
                self.out.push(b'[');
                Open::Array { table, len, next: 1 }
            }
            None => {
                self.out.push(b'{');
                match self.read_object(&table)? {
                    Some(object) => Open::Object(object),
                    None => return Ok(()),
                }
            }
        };
        self.used += open.slots();
        self.open.push(open);
        Ok(())
    }

    /// The last index of a table that has no keys but indices; nothing for an object, as which an empty table counts.
    /// Counts as 32 bits do, as the original does.
    fn array_len(&self, table: &Table) -> Result<Option<usize>, Failure> {
        let (mut last, mut items) = (0_i32, 0_i32);
        for pair in table.pairs::<Value, bool>() {
            let index = match pair?.0 {
                Value::Integer(index) => index as f64,
                Value::Number(index) => index,
                _ => return Ok(None),
            };
            if index < 1.0 || index.floor() != index {
                return Ok(None);
            }
            if index > f64::from(last) {
                last = to_i32(index);
            }
            items = items.wrapping_add(1);
        }
        let settings = self.settings;
        if settings.sparse_ratio > 0 && last > items.wrapping_mul(settings.sparse_ratio) && last > settings.sparse_safe
        {
            if settings.sparse_convert {
                return Ok(None);
            }
            return Err(cannot(&Value::Table(table.clone()), "excessively sparse array"));
        }
        Ok(usize::try_from(last).ok().filter(|&last| last > 0))
    }

    /// Writes an object up to its end, unless there are tables in it: then its text is taken aside. What fails is told
    /// when all before it has been written, as a nested table might fail first.
    fn read_object(&mut self, table: &Table) -> Result<Option<Object>, Failure> {
        let start = self.out.len();
        let room = RESULT_BYTES_MAX.saturating_sub(self.waiting);
        let mut object = Object { first: self.nested_len + 1, ..Object::default() };
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            self.visits.elements(1)?;
            if self.out.len() > start {
                self.out.push(b',');
            }
            let put = put_key(&key, self.settings, room, &mut self.out).and_then(|()| match value {
                Value::Table(nested) => {
                    object.gaps.push(self.out.len() - start);
                    self.put_aside(nested)
                }
                scalar => put_scalar(&scalar, self.settings, room, &mut self.out),
            });
            if let Err(failure) = put {
                object.failure = Some(failure);
                break;
            }
        }
        if object.gaps.is_empty() {
            self.out.push(b'}');
            return object.failure.map_or(Ok(None), Err);
        }
        object.text = self.out.split_off(start);
        self.waiting += object.text.len();
        Ok(Some(object))
    }

    /// Keeps a table for its turn.
    fn put_aside(&mut self, table: Table) -> Result<(), Failure> {
        self.nested_len += 1;
        let all = match &self.nested {
            Some(all) => all,
            None => self.nested.insert(self.lua.create_table()?),
        };
        Ok(all.raw_set(self.nested_len, table)?)
    }
}

fn cannot(value: &Value, why: &str) -> Failure {
    Failure::message(format!("Cannot serialise {}: {why}", type_name(value)))
}

fn put_key(key: &Value, settings: &Settings, room: usize, out: &mut Vec<u8>) -> Result<(), Failure> {
    match key {
        Value::Integer(_) | Value::Number(_) => {
            out.push(b'"');
            put_scalar(key, settings, room, out)?;
            out.push(b'"');
        }
        Value::String(_) => put_scalar(key, settings, room, out)?,
        other => return Err(cannot(other, "table key must be a number or string")),
    }
    out.push(b':');
    Ok(())
}

/// Appends anything but a table, so that `out` has at most some bytes more than `room`.
fn put_scalar(value: &Value, settings: &Settings, room: usize, out: &mut Vec<u8>) -> Result<(), Failure> {
    match value {
        Value::String(string) => put_string(&string.as_bytes(), room, out)?,
        Value::Integer(integer) => put_number(*integer as f64, value, settings, out)?,
        Value::Number(number) => put_number(*number, value, settings, out)?,
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        Value::Nil => out.extend_from_slice(b"null"),
        Value::LightUserData(pointer) if pointer.0.is_null() => out.extend_from_slice(b"null"),
        other => return Err(cannot(other, "type not supported")),
    }
    if out.len() > room { Err(Failure::memory()) } else { Ok(()) }
}

fn put_number(number: f64, value: &Value, settings: &Settings, out: &mut Vec<u8>) -> Result<(), Failure> {
    match settings.encode_invalid_numbers {
        _ if number.is_finite() => {}
        InvalidNumbers::Refuse => return Err(cannot(value, "must not be NaN or Inf")),
        InvalidNumbers::Null => {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        // Its sign is not for a reader of JSON.
        InvalidNumbers::Write if number.is_nan() => {
            out.extend_from_slice(b"nan");
            return Ok(());
        }
        InvalidNumbers::Write => {}
    }
    number::write(number, settings.number_precision as usize, out);
    Ok(())
}

/// The letter of a byte's escape, `u` for one by its code, 0 where the byte stands for itself.
const ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        escapes[byte] = b'u';
        byte += 1;
    }
    escapes[0x7f] = b'u';
    escapes[8] = b'b';
    escapes[b'\t' as usize] = b't';
    escapes[b'\n' as usize] = b'n';
    escapes[12] = b'f';
    escapes[b'\r' as usize] = b'r';
    escapes[b'"' as usize] = b'"';
    escapes[b'\\' as usize] = b'\\';
    escapes[b'/' as usize] = b'/';
    escapes
};

fn put_string(bytes: &[u8], room: usize, out: &mut Vec<u8>) -> Result<(), Failure> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if out.len().saturating_add(bytes.len()) > room {
        return Err(Failure::memory());
    }
    out.push(b'"');
    let mut rest = bytes;
    while let Some(plain) = rest.iter().position(|&byte| ESCAPES[usize::from(byte)] != 0) {
        let byte = rest[plain];
        out.extend_from_slice(&rest[..plain]);
        match ESCAPES[usize::from(byte)] {
            b'u' => {
                let digit = |digit: u8| DIGITS[usize::from(digit)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            }
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        rest = &rest[plain + 1..];
        if out.len() > room {
            return Err(Failure::memory());
        }
    }
    out.extend_from_slice(rest);
    out.push(b'"');
    Ok(())
}
