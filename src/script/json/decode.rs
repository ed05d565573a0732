//! JSON to values: a tokenizer that takes what Lua CJSON's takes, and a parser that keeps what is open on the heap.
//!
//! Called by the table's `decode`. The text ends at its first NUL; the caller has cut it there. No recursion, and nothing
//! is allocated that the text does not pay for.

use mlua::{Lua, LuaString, Table, Value};

use super::{Settings, number};
use crate::script::native::{Failure, STACK_SLOTS};

/// The value of a whole document.
pub(super) fn decode(lua: &Lua, text: &[u8], settings: &Settings) -> Result<Value, Failure> {
    let reader = Reader { text, at: 0, start: 0, invalid_numbers: settings.decode_invalid_numbers, string: Vec::new() };
    Parser { lua, reader, open: Vec::new(), used: 1, depth_max: settings.decode_max_depth }.document()
}

/// A piece of the text.
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    /// Its bytes are in the reader.
    String,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    /// What is wrong.
    Error(&'static str),
}

impl Token {
    /// As errors name it.
    fn name(&self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::String => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Error(what) => what,
        }
    }
}

/// The text, cut into tokens.
struct Reader<'a> {
    text: &'a [u8],
    /// Where the next token is looked for.
    at: usize,
    /// Where the last token began, or what is wrong with it.
    start: usize,
    invalid_numbers: bool,
    /// The last string, without its escapes.
    string: Vec<u8>,
}

impl Reader<'_> {
    fn next(&mut self) -> Token {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.start = self.at;
        let Some(&byte) = self.text.get(self.at) else {
            return Token::End;
        };
        match byte {
            b'{' => self.single(Token::ObjectBegin),
            b'}' => self.single(Token::ObjectEnd),
            b'[' => self.single(Token::ArrayBegin),
            b']' => self.single(Token::ArrayEnd),
            b',' => self.single(Token::Comma),
            b':' => self.single(Token::Colon),
            b'"' => self.quoted(),
            b'-' | b'0'..=b'9' if !self.invalid_numbers && self.is_invalid_number() => Token::Error("invalid number"),
            b'-' | b'0'..=b'9' => self.number(),
            b't' | b'f' | b'n' | b'N' | b'i' | b'I' | b'+' => self.word(),
            _ => Token::Error("invalid token"),
        }
    }

    fn single(&mut self, token: Token) -> Token {
        self.at += 1;
        token
    }

    fn word(&mut self) -> Token {
        let rest = &self.text[self.at..];
        let (len, token) = if rest.starts_with(b"true") {
            (4, Token::Boolean(true))
        } else if rest.starts_with(b"false") {
            (5, Token::Boolean(false))
        } else if rest.starts_with(b"null") {
            (4, Token::Null)
        } else if self.invalid_numbers && self.is_invalid_number() {
            return self.number();
        } else {
            return Token::Error("invalid token");
        };
        self.at += len;
        token
    }

    /// Whether what begins here is a number for C but not for JSON.
    fn is_invalid_number(&self) -> bool {
        let rest = &self.text[self.at..];
        let digits = match rest.first() {
            Some(b'+') => return true,
            Some(b'-') => &rest[1..],
            _ => rest,
        };
        match digits {
            [b'0', b'x' | b'X' | b'0'..=b'9', ..] => true,
            [first, ..] if *first > b'9' => {
                number::starts_with_word(digits, b"inf") || number::starts_with_word(digits, b"nan")
            }
            _ => false,
        }
    }

    fn number(&mut self) -> Token {
        match number::read(&self.text[self.at..]) {
            Some((number, len)) => {
                self.at += len;
                Token::Number(number)
            }
            None => Token::Error("invalid number"),
        }
    }

    /// A string, put into `self.string`.
    fn quoted(&mut self) -> Token {
        self.at += 1;
        self.string.clear();
        loop {
            let rest = &self.text[self.at..];
            let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
            self.string.extend_from_slice(&rest[..plain]);
            self.at += plain;
            let failed = match rest.get(plain) {
                None => "unexpected end of string",
                Some(b'"') => return self.single(Token::String),
                Some(_) => match self.escape(rest.get(plain + 1).copied()) {
                    Ok(()) => continue,
                    Err(what) => what,
                },
            };
            self.start = self.at;
            return Token::Error(failed);
        }
    }

    /// Appends what an escape stands for; `self.at` is at its backslash and stays there when it stands for nothing.
    fn escape(&mut self, letter: Option<u8>) -> Result<(), &'static str> {
        let byte = match letter {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 8,
            Some(b't') => b'\t',
            Some(b'n') => b'\n',
            Some(b'f') => 12,
            Some(b'r') => b'\r',
            Some(b'u') => {
                let (character, len) = self.unicode_escape().ok_or("invalid unicode escape code")?;
                self.string.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                self.at += len;
                return Ok(());
            }
            _ => return Err("invalid escape code"),
        };
        self.string.push(byte);
        self.at += 2;
        Ok(())
    }

    /// The character of `\uXXXX`, or of two that are a surrogate pair, and the length of all that.
    fn unicode_escape(&self) -> Option<(char, usize)> {
        const ESCAPE_BYTES: usize = 6;
        let unit = |at: usize| -> Option<u32> {
            let escape = self.text.get(at..)?.get(..ESCAPE_BYTES)?;
            let digits = escape.strip_prefix(b"\\u")?;
            digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
        };
        let first = unit(self.at)?;
        if !(0xd800..0xe000).contains(&first) {
            return Some((char::from_u32(first)?, ESCAPE_BYTES));
        }
        let second = unit(self.at + ESCAPE_BYTES)?;
        if first >= 0xdc00 || !(0xdc00..0xe000).contains(&second) {
            return None;
        }
        let code = 0x10000 + ((first & 0x3ff) << 10 | (second & 0x3ff));
        Some((char::from_u32(code)?, 2 * ESCAPE_BYTES))
    }
}

/// An array or object whose end has not come.
enum Open {
    Array { table: Table, next: usize },
    Object { table: Table, key: Vec<u8> },
}

impl Open {
    /// How many slots of the stack the original keeps for it: the table, and the key whose value is read.
    fn slots(&self) -> usize {
        match self {
            Open::Array { .. } => 1,
            Open::Object { .. } => 2,
        }
    }
}

struct Parser<'a> {
    lua: &'a Lua,
    reader: Reader<'a>,
    open: Vec<Open>,
    /// How many slots of the stack the original would have taken by now.
    used: usize,
    depth_max: i32,
}

impl Parser<'_> {
    fn document(mut self) -> Result<Value, Failure> {
        let mut token = self.reader.next();
        loop {
            let Some(mut value) = self.begin(&mut token)? else {
                continue;
            };
            // The value is whole; so may be what it ends.
            loop {
                if self.open.is_empty() {
                    return match self.reader.next() {
                        Token::End => Ok(value),
                        other => Err(self.expected("the end", &other)),
                    };
                }
                match self.put(value)? {
                    Some(closed) => value = closed,
                    None => break,
                }
            }
            token = self.reader.next();
            if let Some(Open::Object { .. }) = self.open.last() {
                token = self.key(token)?;
            }
        }
    }

    /// The value that `token` begins; nothing when it opened something, of which `token` then begins the first value.
    fn begin(&mut self, token: &mut Token) -> Result<Option<Value>, Failure> {
        match token {
            Token::String => Ok(Some(Value::String(self.lua.create_string(&self.reader.string)?))),
            Token::Number(number) => Ok(Some(Value::Number(*number))),
            Token::Boolean(value) => Ok(Some(Value::Boolean(*value))),
            Token::Null => Ok(Some(Value::NULL)),
            Token::ArrayBegin => {
                let table = self.descend(2)?;
                *token = self.reader.next();
                if let Token::ArrayEnd = token {
                    return Ok(Some(Value::Table(table)));
                }
                self.open(Open::Array { table, next: 1 });
                Ok(None)
            }
            Token::ObjectBegin => {
                let table = self.descend(3)?;
                let first = self.reader.next();
                if let Token::ObjectEnd = first {
                    return Ok(Some(Value::Table(table)));
                }
                self.open(Open::Object { table, key: Vec::new() });
                *token = self.key(first)?;
                Ok(None)
            }
            other => Err(self.expected("value", other)),
        }
    }

    fn open(&mut self, open: Open) {
        self.used += open.slots();
        self.open.push(open);
    }

    /// A table for what is nested once more, unless that is too deep: by the setting, or for the stack of the original,
    /// of which it asks for `slots`.
    fn descend(&mut self, slots: usize) -> Result<Table, Failure> {
        let depth = self.open.len() + 1;
        let too_deep = || {
            let at = self.reader.at;
            Failure::message(format!("Found too many nested data structures ({depth}) at character {at}"))
        };
        if depth > self.depth_max as usize || self.used + slots > STACK_SLOTS {
            return Err(too_deep());
        }
        self.lua.create_table().map_err(|error| match error {
            mlua::Error::StackError => too_deep(),
            other => other.into(),
        })
    }

    /// Keeps the key that `token` is; the token behind the colon, with which its value begins.
    fn key(&mut self, token: Token) -> Result<Token, Failure> {
        match token {
            Token::String => {}
            other => return Err(self.expected("object key string", &other)),
        }
        if let Some(Open::Object { key, .. }) = self.open.last_mut() {
            std::mem::swap(key, &mut self.reader.string);
        }
        match self.reader.next() {
            Token::Colon => Ok(self.reader.next()),
            other => Err(self.expected("colon", &other)),
        }
    }

    /// Puts a value where it belongs. With a comma behind it nothing is whole yet; else the table that it completed.
    fn put(&mut self, value: Value) -> Result<Option<Value>, Failure> {
        let after = match self.open.last_mut() {
            Some(Open::Array { table, next }) => {
                table.raw_set(*next, value)?;
                *next += 1;
                "comma or array end"
            }
            Some(Open::Object { table, key }) => {
                table.raw_set(LuaString::wrap(key.as_slice()), value)?;
                "comma or object end"
            }
            None => return Ok(Some(value)),
        };
        let token = self.reader.next();
        match (&token, self.open.last()) {
            (Token::Comma, _) => Ok(None),
            (Token::ArrayEnd, Some(Open::Array { .. })) | (Token::ObjectEnd, Some(Open::Object { .. })) => {
                let closed = self.open.pop();
                self.used -= closed.as_ref().map_or(0, Open::slots);
                Ok(closed.map(|(Open::Array { table, .. } | Open::Object { table, .. })| Value::Table(table)))
            }
            _ => Err(self.expected(after, &token)),
        }
    }

    fn expected(&self, what: &str, found: &Token) -> Failure {
        let (name, at) = (found.name(), self.reader.start + 1);
        Failure::message(format!("Expected {what} but found {name} at character {at}"))
    }
}
