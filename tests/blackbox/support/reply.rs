//! Replies of RESP2 and RESP3 as values, each with the bytes it came in, and a short text form for tables.
//!
//! The text form: `+OK`, `-ERR why`, `:7`, `'bulk'` (other bytes as `\xHH`), `nil` (null bulk), `nil*` (null array),
//! `null` (RESP3), `#t`, `,1.5`, `(123` (big number), `=txt:...`, `[a, b]`, `{k: v}`, `~[a]`, `>[push]`.

use std::fmt;
use std::io;

/// One reply and the bytes that carried it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub raw: Vec<u8>,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    NullBulk,
    NullArray,
    Null,
    Array(Vec<Value>),
    Bool(bool),
    Double(String),
    BigNumber(String),
    Verbatim(String, Vec<u8>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    BulkError(Vec<u8>),
}

const DEPTH_MAX: u32 = 32;

impl Value {
    pub fn integer(&self) -> i64 {
        match self {
            Value::Integer(number) => *number,
            other => panic!("expected an integer, got {other}"),
        }
    }

    /// The bytes of a bulk, simple or verbatim string.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Value::Bulk(bytes) | Value::Verbatim(_, bytes) => bytes,
            Value::Simple(text) => text.as_bytes(),
            other => panic!("expected a string, got {other}"),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    pub fn items(&self) -> &[Value] {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => items,
            other => panic!("expected an array, got {other}"),
        }
    }

    /// The value beside `name` in a map, or in a flat array of names and values as RESP2 has it.
    pub fn field(&self, name: &str) -> Option<&Value> {
        let is_name =
            |value: &Value| matches!(value, Value::Bulk(_) | Value::Simple(_)) && value.bytes() == name.as_bytes();
        match self {
            Value::Map(pairs) => pairs.iter().find(|(key, _)| is_name(key)).map(|(_, value)| value),
            Value::Array(items) => {
                items.chunks(2).find(|pair| pair.len() == 2 && is_name(&pair[0])).map(|pair| &pair[1])
            }
            other => panic!("expected a map, got {other}"),
        }
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_) | Value::BulkError(_))
    }

    pub fn is_nil(&self) -> bool {
        matches!(self, Value::Null | Value::NullBulk | Value::NullArray)
    }
}

fn quoted(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::from("'");
    for &byte in bytes {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'\\' => out.push_str("\\\\"),
            b'\'' => out.push_str("\\'"),
            0x20..=0x7e => out.push(char::from(byte)),
            _ => write!(out, "\\x{byte:02x}").expect("writing to a string"),
        }
    }
    out.push('\'');
    out
}

fn list(out: &mut fmt::Formatter<'_>, open: &str, items: &[Value]) -> fmt::Result {
    write!(out, "{open}")?;
    for (index, item) in items.iter().enumerate() {
        write!(out, "{}{item}", if index == 0 { "" } else { ", " })?;
    }
    write!(out, "]")
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Simple(text) => write!(out, "+{text}"),
            Value::Error(text) => write!(out, "-{text}"),
            Value::Integer(number) => write!(out, ":{number}"),
            Value::Bulk(bytes) => write!(out, "{}", quoted(bytes)),
            Value::BulkError(bytes) => write!(out, "!{}", quoted(bytes)),
            Value::NullBulk => write!(out, "nil"),
            Value::NullArray => write!(out, "nil*"),
            Value::Null => write!(out, "null"),
            Value::Bool(yes) => write!(out, "#{}", if *yes { 't' } else { 'f' }),
            Value::Double(text) => write!(out, ",{text}"),
            Value::BigNumber(text) => write!(out, "({text}"),
            Value::Verbatim(kind, bytes) => write!(out, "={kind}:{}", quoted(bytes)),
            Value::Array(items) => list(out, "[", items),
            Value::Set(items) => list(out, "~[", items),
            Value::Push(items) => list(out, ">[", items),
            Value::Map(pairs) => {
                write!(out, "{{")?;
                for (index, (key, value)) in pairs.iter().enumerate() {
                    write!(out, "{}{key}: {value}", if index == 0 { "" } else { ", " })?;
                }
                write!(out, "}}")
            }
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(out)
    }
}

impl std::ops::Deref for Reply {
    type Target = Value;
    fn deref(&self) -> &Value {
        &self.value
    }
}

/// The first whole reply in `bytes` and its length, `None` while more bytes are needed.
/// Errors: bytes that are not RESP, so that a test never takes garbage for a reply.
pub fn parse(bytes: &[u8]) -> io::Result<Option<(Value, usize)>> {
    let mut cursor = Cursor { bytes, at: 0 };
    Ok(cursor.value(0)?.map(|value| (value, cursor.at)))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

fn malformed(what: &str, bytes: &[u8]) -> io::Error {
    let shown = &bytes[..bytes.len().min(80)];
    io::Error::new(io::ErrorKind::InvalidData, format!("not RESP ({what}): {}", quoted(shown)))
}

impl Cursor<'_> {
    fn line(&mut self) -> io::Result<Option<String>> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
            return Ok(None);
        };
        if end == 0 || rest[end - 1] != b'\r' {
            return Err(malformed("a line without CR", rest));
        }
        self.at += end + 1;
        Ok(Some(String::from_utf8_lossy(&rest[..end - 1]).into_owned()))
    }

    fn bulk(&mut self, len: usize) -> io::Result<Option<Vec<u8>>> {
        let rest = &self.bytes[self.at..];
        if rest.len() < len + 2 {
            return Ok(None);
        }
        if &rest[len..len + 2] != b"\r\n" {
            return Err(malformed("a bulk that does not end where it says", rest));
        }
        self.at += len + 2;
        Ok(Some(rest[..len].to_vec()))
    }

    fn many(&mut self, count: usize, depth: u32) -> io::Result<Option<Vec<Value>>> {
        let mut items = Vec::new();
        for _ in 0..count {
            match self.value(depth + 1)? {
                Some(item) => items.push(item),
                None => return Ok(None),
            }
        }
        Ok(Some(items))
    }

    fn value(&mut self, depth: u32) -> io::Result<Option<Value>> {
        if depth > DEPTH_MAX {
            return Err(malformed("too deep", &self.bytes[self.at..]));
        }
        let start = self.at;
        let Some(line) = self.line()? else { return Ok(None) };
        let bad = |what: &str| malformed(what, &self.bytes[start..]);
        let mut chars = line.chars();
        let kind = chars.next().ok_or_else(|| bad("an empty line"))?;
        let rest = chars.as_str();
        let length = || rest.parse::<usize>().map_err(|_| bad("a length"));
        Ok(Some(match kind {
            '+' => Value::Simple(rest.to_owned()),
            '-' => Value::Error(rest.to_owned()),
            ':' => Value::Integer(rest.parse().map_err(|_| bad("an integer"))?),
            ',' => Value::Double(rest.to_owned()),
            '(' => Value::BigNumber(rest.to_owned()),
            '#' => match rest {
                "t" => Value::Bool(true),
                "f" => Value::Bool(false),
                _ => return Err(bad("a boolean")),
            },
            '_' if rest.is_empty() => Value::Null,
            '$' if rest == "-1" => Value::NullBulk,
            '*' if rest == "-1" => Value::NullArray,
            '$' | '=' | '!' => {
                let len = length()?;
                let Some(bytes) = self.bulk(len)? else { return Ok(None) };
                match kind {
                    '$' => Value::Bulk(bytes),
                    '!' => Value::BulkError(bytes),
                    _ if bytes.len() >= 4 && bytes[3] == b':' => {
                        Value::Verbatim(String::from_utf8_lossy(&bytes[..3]).into_owned(), bytes[4..].to_vec())
                    }
                    _ => return Err(malformed("a verbatim string", &self.bytes[start..])),
                }
            }
            '*' | '~' | '>' => {
                let count = length()?;
                let Some(items) = self.many(count, depth)? else {
                    return Ok(None);
                };
                match kind {
                    '*' => Value::Array(items),
                    '~' => Value::Set(items),
                    _ => Value::Push(items),
                }
            }
            '%' | '|' => {
                let count = length()?;
                let Some(items) = self.many(count.saturating_mul(2), depth)? else {
                    return Ok(None);
                };
                if kind == '|' {
                    // An attribute stands before the reply it describes; the tests look at the reply.
                    return self.value(depth + 1);
                }
                let mut items = items.into_iter();
                let mut pairs = Vec::new();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    pairs.push((key, value));
                }
                Value::Map(pairs)
            }
            _ => return Err(bad("an unknown type byte")),
        }))
    }
}
