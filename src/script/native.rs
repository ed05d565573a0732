//! Functions for scripts, made from Rust: arguments checked as Lua's auxiliary library checks them, and failures with the
//! texts it makes.
//!
//! Owns what `luaL_checknumber`, `luaL_argerror` and `luaL_error` are to a library in C: which values count as a number
//! or a string, how the argument at fault is named, and the place in the script before the text (`user_script:1: `). The
//! libraries in this folder call it. It keeps no state and never runs code of a script.
//!
//! A failed function raises an error of mlua's around a `Raised`, since nothing else can be raised from Rust without
//! `unsafe`; whoever catches errors for a script (`pcall` and its kin) gives it the bytes of `text_of` instead.

use mlua::{Function, IntoLuaMulti, Lua, LuaString, MultiValue, Table, Value};

/// How many values the stack of one native function holds (`LUAI_MAXCSTACK`); what would take more fails in Redis too.
pub const STACK_SLOTS: usize = 8000;

/// The most bytes that a library makes of a script's values, which can be few and name each other many times. Redis goes
/// on until the machine has no memory left. Little in unit tests, which come to the limit.
pub const RESULT_BYTES_MAX: usize = if cfg!(test) { 4 << 20 } else { 512 << 20 };

/// How much a library still visits in one call. It ends calls on tables that name each other, which would take hours;
/// what is spent before that takes seconds, and without sharing it could not stand in a gigabyte.
pub struct Visits {
    left: usize,
}

impl Visits {
    const MAX: usize = if cfg!(test) { 1 << 20 } else { 64 << 20 };

    /// What a table costs besides the one for each element.
    const TABLE: usize = 8;

    pub fn table(&mut self) -> Result<(), Failure> {
        self.elements(Visits::TABLE)
    }

    pub fn elements(&mut self, count: usize) -> Result<(), Failure> {
        self.left = self.left.checked_sub(count).ok_or_else(Failure::memory)?;
        Ok(())
    }
}

impl Default for Visits {
    fn default() -> Visits {
        Visits { left: Visits::MAX }
    }
}

/// Why a function has no result.
#[derive(Debug)]
pub enum Failure {
    /// A text of the library's (`luaL_error`).
    Message(Vec<u8>),
    /// What is wrong with the argument at this position (`luaL_argerror`), from 1; 0 speaks of all of them.
    Argument(usize, Vec<u8>),
    /// Something that mlua could not do.
    Lua(mlua::Error),
}

impl Failure {
    pub fn message(text: impl Into<Vec<u8>>) -> Failure {
        Failure::Message(text.into())
    }

    pub fn argument(position: usize, text: impl Into<Vec<u8>>) -> Failure {
        Failure::Argument(position, text.into())
    }

    /// What Lua raises when it cannot allocate; it names no place in the script.
    pub fn memory() -> Failure {
        Failure::Lua(mlua::Error::MemoryError("not enough memory".to_owned()))
    }

    /// A stack that is full, `what` being who wanted more of it (`luaL_checkstack`).
    pub fn stack(what: &str) -> Failure {
        Failure::Message(format!("stack overflow ({what})").into_bytes())
    }

    /// The same failure, but `stack(what)` where mlua has no place for another reference.
    pub fn or_stack(self, what: &str) -> Failure {
        match self {
            Failure::Lua(mlua::Error::StackError) => Failure::stack(what),
            other => other,
        }
    }

    /// The error to return to mlua from the function that failed: the place and the function's name are those of the
    /// call that runs now.
    fn raise(self, lua: &Lua) -> mlua::Error {
        let mut text = place(lua);
        match self {
            Failure::Lua(error) => return error,
            Failure::Message(message) => text.extend(message),
            Failure::Argument(position, reason) => {
                text.extend(about_argument(lua, position).into_bytes());
                text.extend(b" (");
                text.extend(reason);
                text.push(b')');
            }
        }
        mlua::Error::external(Raised { text })
    }
}

impl From<mlua::Error> for Failure {
    fn from(error: mlua::Error) -> Failure {
        Failure::Lua(error)
    }
}

/// The text of a raised error: bytes, as it may quote the script's.
#[derive(Clone, Debug)]
pub struct Raised {
    text: Vec<u8>,
}

impl std::fmt::Display for Raised {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(&self.text))
    }
}

impl std::error::Error for Raised {}

/// The text that a script sees of an error, without mlua's own words around it.
pub fn text_of(error: &mlua::Error) -> Vec<u8> {
    if let Some(raised) = error.downcast_ref::<Raised>() {
        return raised.text.clone();
    }
    let mut error = error;
    loop {
        match error {
            mlua::Error::CallbackError { cause, .. } | mlua::Error::WithContext { cause, .. } => error = cause,
            mlua::Error::RuntimeError(text) | mlua::Error::MemoryError(text) => return text.clone().into_bytes(),
            mlua::Error::SyntaxError { message, .. } => return message.clone().into_bytes(),
            mlua::Error::StackError => return b"stack overflow".to_vec(),
            other => return other.to_string().into_bytes(),
        }
    }
}

/// Where the caller of the running function stands, `user_script:1: `; nothing when the caller is not Lua code.
fn place(lua: &Lua) -> Vec<u8> {
    let place = lua.inspect_stack(1, |caller| {
        let line = caller.current_line().filter(|&line| line > 0)?;
        let source = caller.source().short_src?;
        Some(format!("{source}:{line}: "))
    });
    place.flatten().unwrap_or_default().into_bytes()
}

/// `bad argument #1 to 'decode'`; a method's own object does not count.
fn about_argument(lua: &Lua, position: usize) -> String {
    let (name, is_method) = lua
        .inspect_stack(0, |running| {
            let names = running.names();
            (names.name.map(|name| name.into_owned()), names.name_what == Some("method"))
        })
        .unwrap_or_default();
    let name = name.unwrap_or_else(|| "?".to_owned());
    match (position, is_method) {
        (1, true) => format!("calling '{name}' on bad self"),
        (position, true) => format!("bad argument #{} to '{name}'", position as i64 - 1),
        (position, false) => format!("bad argument #{position} to '{name}'"),
    }
}

/// The arguments of one call.
pub struct Arguments<'a> {
    pub lua: &'a Lua,
    values: MultiValue,
}

impl Arguments<'_> {
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// The argument at `position`, from 1; nothing where the call has fewer.
    pub fn value(&self, position: usize) -> Option<&Value> {
        self.values.get(position.checked_sub(1)?)
    }

    /// A number, or a string that reads as one.
    pub fn number(&self, position: usize) -> Result<f64, Failure> {
        let number = match self.value(position) {
            None => None,
            Some(value) => as_number(self.lua, value)?,
        };
        number.ok_or_else(|| self.type_error(position, "number"))
    }

    pub fn integer(&self, position: usize) -> Result<i64, Failure> {
        Ok(to_i64(self.number(position)?))
    }

    /// `default` where the argument is missing or nil.
    pub fn integer_or(&self, position: usize, default: i64) -> Result<i64, Failure> {
        match self.value(position) {
            None | Some(Value::Nil) => Ok(default),
            Some(_) => self.integer(position),
        }
    }

    /// A string, or a number as Lua writes it.
    pub fn string(&self, position: usize) -> Result<LuaString, Failure> {
        let string = match self.value(position) {
            Some(Value::String(string)) => Some(string.clone()),
            Some(number @ (Value::Integer(_) | Value::Number(_))) => self.lua.coerce_string(number.clone())?,
            _ => None,
        };
        string.ok_or_else(|| self.type_error(position, "string"))
    }

    pub fn type_error(&self, position: usize, expected: &str) -> Failure {
        let found = self.value(position).map_or("no value", type_name);
        Failure::argument(position, format!("{expected} expected, got {found}"))
    }
}

/// What `lua_tonumber` makes of a value, nothing for one that `lua_isnumber` denies.
pub fn as_number(lua: &Lua, value: &Value) -> mlua::Result<Option<f64>> {
    match value {
        Value::Integer(integer) => Ok(Some(*integer as f64)),
        Value::Number(number) => Ok(Some(*number)),
        Value::String(_) => lua.coerce_number(value.clone()),
        _ => Ok(None),
    }
}

/// The type as Lua names it.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

/// A C cast to a 64-bit integer as x86-64 does it: towards zero, and the smallest one for what does not fit.
pub fn to_i64(number: f64) -> i64 {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if (-END..END).contains(&number) { number as i64 } else { i64::MIN }
}

/// The same for 32 bits.
pub fn to_i32(number: f64) -> i32 {
    if number > -2_147_483_649.0 && number < 2_147_483_648.0 { number as i32 } else { i32::MIN }
}

/// The bytes of a string up to its first NUL, where C would see its end.
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    match memchr::memchr(0, bytes) {
        Some(end) => &bytes[..end],
        None => bytes,
    }
}

/// A function that scripts call; what `body` fails with is raised in the script.
pub fn function<R, F>(lua: &Lua, body: F) -> mlua::Result<Function>
where
    R: IntoLuaMulti,
    F: Fn(&Arguments<'_>) -> Result<R, Failure> + 'static,
{
    lua.create_function(move |lua, values: MultiValue| {
        body(&Arguments { lua, values }).map_err(|failure| failure.raise(lua))
    })
}

/// Puts `body` into a library's table under `name`.
pub fn add<R, F>(lua: &Lua, library: &Table, name: &str, body: F) -> mlua::Result<()>
where
    R: IntoLuaMulti,
    F: Fn(&Arguments<'_>) -> Result<R, Failure> + 'static,
{
    library.raw_set(name, function(lua, body)?)
}

/// Snippets run in a bare Lua, for the tests of the libraries.
#[cfg(test)]
pub(super) mod testing {
    use mlua::{Lua, MultiValue, Table, Value};

    /// Runs each snippet by itself, with the library under `name` and a `pcall` that gives errors as texts, and compares
    /// what it returns: strings as they are but for bytes such as `\xff` and `\x0a`, tables by their type.
    pub fn check(name: &str, library: fn(&Lua) -> mlua::Result<Table>, snippets: &[(&str, &str)]) {
        for (snippet, expected) in snippets {
            let lua = Lua::new();
            lua.globals().set(name, library(&lua).expect("a library")).expect("a global");
            install_pcall(&lua);
            let results = lua.load(*snippet).set_name("@user_script").eval::<MultiValue>();
            let shown: Vec<String> = match &results {
                Ok(values) => values.iter().map(show).collect(),
                Err(error) => vec![format!("error: {}", printable(&super::text_of(error)))],
            };
            assert_eq!(shown.join(" "), *expected, "{snippet}");
        }
    }

    fn install_pcall(lua: &Lua) {
        let text = lua.create_function(|lua, error: Value| match error {
            Value::Error(error) => Ok(Value::String(lua.create_string(super::text_of(&error))?)),
            other => Ok(other),
        });
        let source = "local pcall, text = ...
            local function results(ok, ...)
                if ok then return ok, ... end
                return ok, text((...))
            end
            return function(...) return results(pcall(...)) end";
        let stock: mlua::Function = lua.globals().get("pcall").expect("pcall");
        let ours: mlua::Function = lua.load(source).call((stock, text.expect("a function"))).expect("a pcall");
        lua.globals().set("pcall", ours).expect("a global");
    }

    fn printable(bytes: &[u8]) -> String {
        let show = |&byte: &u8| match byte {
            b' '..=b'~' => char::from(byte).to_string(),
            other => format!("\\x{other:02x}"),
        };
        bytes.iter().map(show).collect()
    }

    fn show(value: &Value) -> String {
        match value {
            Value::String(string) => printable(&string.as_bytes()),
            Value::Table(_) => "table".to_owned(),
            other => other.to_string().expect("a value that has a text"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(lua: &Lua) -> mlua::Result<Table> {
        let library = lua.create_table()?;
        add(lua, &library, "fail", |_| Err::<(), _>(Failure::message(b"no\xff".to_vec())))?;
        add(lua, &library, "number", |arguments| arguments.number(2))?;
        add(lua, &library, "integer", |arguments| Ok(arguments.integer_or(1, 7)? as f64))?;
        add(lua, &library, "string", |arguments| arguments.string(1))?;
        Ok(library)
    }

    #[test]
    fn errors_name_the_place_and_the_function_as_lua_does() {
        testing::check(
            "lib",
            library,
            &[
                ("return pcall(lib.fail)", r"false no\xff"),
                ("return lib.fail()", r"error: user_script:1: no\xff"),
                ("\nlocal x = lib.fail()", r"error: user_script:2: no\xff"),
                ("return pcall(function() return lib.fail() end)", r"false user_script:1: no\xff"),
                ("return pcall(lib.number, 1)", "false bad argument #2 to '?' (number expected, got no value)"),
                ("lib.number(1, {})", "error: user_script:1: bad argument #2 to 'number' (number expected, got table)"),
                (
                    "local other = lib.number other(1, 'x')",
                    "error: user_script:1: bad argument #2 to 'other' (number expected, got string)",
                ),
                ("lib:number()", "error: user_script:1: bad argument #1 to 'number' (number expected, got no value)"),
                ("lib:string()", "error: user_script:1: calling 'string' on bad self (string expected, got table)"),
                (
                    "return coroutine.wrap(function() return pcall(lib.string) end)()",
                    "false bad argument #1 to '?' (string expected, got no value)",
                ),
            ],
        );
    }

    #[test]
    fn numbers_and_strings_pass_for_each_other() {
        testing::check(
            "lib",
            library,
            &[
                ("return lib.number(0, ' 0x10 '), lib.number(0, 1.5)", "16 1.5"),
                ("return lib.string(12), lib.string(0.1), lib.string('a\\0b')", r"12 0.1 a\x00b"),
                ("return lib.integer(), lib.integer(nil), lib.integer(-1.9), lib.integer('3')", "7 7 -1 3"),
                ("return lib.integer(1e300) == -2^63, lib.integer(0/0) == -2^63", "true true"),
            ],
        );
    }

    #[test]
    fn casts_are_those_of_the_processor() {
        for (number, wide, narrow) in [
            (1.9, 1, 1),
            (-1.9, -1, -1),
            (2_147_483_648.0, 1 << 31, i32::MIN),
            (-2_147_483_648.9, -1 << 31, i32::MIN),
            (9.3e18, i64::MIN, i32::MIN),
            (f64::NAN, i64::MIN, i32::MIN),
            (f64::NEG_INFINITY, i64::MIN, i32::MIN),
        ] {
            assert_eq!((to_i64(number), to_i32(number)), (wide, narrow), "{number}");
        }
    }
}
