//! What scripts find under `redis`, and the functions of ours that `prelude.lua` makes it of.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, MultiValue, Table, Value, Variadic};
use sha1::{Digest, Sha1};

use super::engine::{Demand, Edge, Replication, Supply};
use super::library::Registry;
use super::values::{self, Incoming};
use super::{bits, json, msgpack, native, packing};
use crate::resp::RespVersion;

/// The version of Redis whose commands there are, as text and as a number.
const REDIS_VERSION: &str = "7.2.4";
const REDIS_VERSION_NUMBER: u32 = 0x0007_0204;

/// Functions of Lua that scripts have; `prelude.lua` replaces some.
const BUILTINS: &[&str] = &[
    "xpcall",
    "tostring",
    "getfenv",
    "next",
    "assert",
    "tonumber",
    "rawequal",
    "collectgarbage",
    "type",
    "select",
    "unpack",
    "gcinfo",
    "ipairs",
    "_VERSION",
    "setfenv",
    "error",
    "newproxy",
];

const WRONG_ARGUMENTS: &[u8] = b"ERR wrong number or type of arguments";

/// The longest pattern that is matched: Lua takes some 200 bytes of the stack for each of its items.
const PATTERN_BYTES_MAX: usize = 16 << 10;

/// What `redis.set_repl` takes.
const REPL_AOF: i64 = 1;
const REPL_REPLICA: i64 = 2;

/// What the functions share while a script runs.
#[derive(Clone)]
pub(super) struct Context(Rc<State>);

struct State {
    edge: Edge,
    version: Cell<RespVersion>,
    replication: Cell<Replication>,
    random: RefCell<Random>,
    /// A library's code runs: it has no commands.
    is_loading: Cell<bool>,
    has_failed: Cell<bool>,
}

impl Context {
    pub fn new(edge: Edge, seed: u32) -> Context {
        Context(Rc::new(State {
            edge,
            version: Cell::new(RespVersion::V2),
            replication: Cell::new(Replication::ALL),
            random: RefCell::new(Random::new(seed)),
            is_loading: Cell::new(false),
            has_failed: Cell::new(false),
        }))
    }

    pub fn edge(&self) -> Edge {
        self.0.edge.clone()
    }

    /// Scripts begin with version 2 of the protocol, and all they change goes everywhere.
    pub fn begin_run(&self) {
        self.0.version.set(RespVersion::V2);
        self.0.replication.set(Replication::ALL);
    }

    pub fn version(&self) -> RespVersion {
        self.0.version.get()
    }

    pub fn begin_loading(&self) {
        self.0.is_loading.set(true);
    }

    pub fn end_loading(&self) {
        self.0.is_loading.set(false);
    }
}

/// The generator of C's `lrand48`: the same numbers for the same seed everywhere.
struct Random(u64);

impl Random {
    const MODULUS: u64 = 1 << 48;

    fn new(seed: u32) -> Random {
        Random(u64::from(seed) << 16 | 0x330E)
    }

    /// In [0, 1).
    fn next(&mut self) -> f64 {
        self.0 = (self.0.wrapping_mul(0x5_DEEC_E66D) + 0xB) % Random::MODULUS;
        const MAX: u64 = i32::MAX as u64;
        ((self.0 >> 17) % MAX) as f64 / MAX as f64
    }
}

/// An error that a script can catch: a line with its code.
#[derive(Debug)]
struct ScriptError {
    line: Vec<u8>,
    /// A command was answered with it: it is in the books already.
    is_counted: bool,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&String::from_utf8_lossy(&self.line))
    }
}

impl std::error::Error for ScriptError {}

/// What a function of ours comes to.
type Answer = mlua::Result<Value>;

/// An error with the common code.
fn bad(text: &str) -> Answer {
    let line = [b"ERR ", text.as_bytes()].concat();
    Err(mlua::Error::external(ScriptError { line, is_counted: false }))
}

/// An error text as Lua's own functions raise it: with the position of whoever has called.
fn bad_text(lua: &Lua, text: &str) -> Answer {
    Err(mlua::Error::runtime(format!("{}{text}", caller_position(lua))))
}

/// As Lua's `luaL_where`: nothing where the caller is no Lua code.
fn caller_position(lua: &Lua) -> String {
    let position = lua.inspect_stack(1, |frame| {
        let line = frame.current_line().filter(|line| *line > 0)?;
        let source = frame.source();
        Some(format!("{}:{line}: ", source.short_src.unwrap_or_default()))
    });
    position.flatten().unwrap_or_default()
}

/// The table that `prelude.lua` is given.
pub(super) fn functions(lua: &Lua, context: &Context) -> mlua::Result<Table> {
    let raw = lua.create_table()?;
    raw.set("describe", lua.create_function(|lua, value: Value| described(lua, value))?)?;
    raw.set("where", lua.create_function(|lua, ()| Ok(position(lua)))?)?;
    raw.set("compile", lua.create_function(compile)?)?;
    let state = context.clone();
    raw.set("random", lua.create_function(move |lua, limits: MultiValue| state.random(lua, &limits))?)?;
    let state = context.clone();
    raw.set("randomseed", lua.create_function(move |lua, seed: Value| state.seed(lua, &seed))?)?;
    raw.set("pattern_bytes_max", PATTERN_BYTES_MAX)?;
    raw.set("globals", lua.globals())?;
    raw.set("builtins", lua.create_sequence_from(BUILTINS.iter().copied())?)?;
    raw.set("redis", redis_functions(lua, context)?)?;
    raw.set("constants", constants(lua)?)?;
    let libraries = lua.create_table()?;
    libraries.set("cjson", json::cjson(lua)?)?;
    libraries.set("cmsgpack", msgpack::cmsgpack(lua)?)?;
    libraries.set("struct", packing::structs(lua)?)?;
    libraries.set("bit", bits::bit(lua)?)?;
    raw.set("libraries", libraries)?;
    Ok(raw)
}

fn constants(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (name, value) in [
        ("LOG_DEBUG", 0),
        ("LOG_VERBOSE", 1),
        ("LOG_NOTICE", 2),
        ("LOG_WARNING", 3),
        ("REPL_NONE", 0),
        ("REPL_AOF", REPL_AOF),
        ("REPL_SLAVE", REPL_REPLICA),
        ("REPL_REPLICA", REPL_REPLICA),
        ("REPL_ALL", REPL_AOF | REPL_REPLICA),
        ("REDIS_VERSION_NUM", i64::from(REDIS_VERSION_NUMBER)),
    ] {
        table.set(name, value)?;
    }
    table.set("REDIS_VERSION", REDIS_VERSION)?;
    Ok(table)
}

/// `redis.call` and its like.
fn redis_functions(lua: &Lua, context: &Context) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let add = |name: &str, f: fn(&Context, &Lua, &[Value]) -> Answer| {
        let state = context.clone();
        let function = lua.create_function(move |lua, values: Variadic<Value>| f(&state, lua, &values))?;
        table.set(name, function)
    };
    // A failing command fails its script.
    add("call", |context, lua, values| match context.call(lua, values)? {
        Value::Table(table) if context.has_failed() => {
            let line = text_of(&table.raw_get("err")?).unwrap_or_default();
            let is_counted = matches!(table.raw_get("ignore_error_stats_update")?, Value::Boolean(true));
            Err(mlua::Error::external(ScriptError { line, is_counted }))
        }
        value => Ok(value),
    })?;
    add("pcall", |context, lua, values| context.call(lua, values))?;
    add("log", Context::log)?;
    add("sha1hex", |_, lua, values| match values {
        [value] => lua.create_string(digest(&text_of(value).unwrap_or_default())).map(Value::String),
        _ => bad("wrong number of arguments"),
    })?;
    add("error_reply", |_, lua, values| match values {
        [Value::String(text)] => values::error_table(lua, &error_line_of(&text.as_bytes())).map(Value::Table),
        _ => values::error_table(lua, WRONG_ARGUMENTS).map(Value::Table),
    })?;
    add("status_reply", |_, lua, values| match values {
        [Value::String(text)] => {
            let reply = lua.create_table()?;
            reply.raw_set("ok", text.clone())?;
            Ok(Value::Table(reply))
        }
        _ => values::error_table(lua, WRONG_ARGUMENTS).map(Value::Table),
    })?;
    add("set_repl", Context::set_repl)?;
    add("setresp", Context::set_version)?;
    add("acl_check_cmd", Context::check)?;
    Ok(table)
}

/// What only scripts have; the debugger, to which these belong, is not there.
pub(super) fn for_scripts(lua: &Lua) -> mlua::Result<Function> {
    lua.create_function(|lua, redis: Table| {
        redis.set("replicate_commands", lua.create_function(|_, ()| Ok(true))?)?;
        redis.set("breakpoint", lua.create_function(|_, ()| Ok(false))?)?;
        redis.set("debug", lua.create_function(|_, _: MultiValue| Ok(()))?)
    })
}

/// What only libraries have.
pub(super) fn for_libraries(lua: &Lua, registry: &Registry) -> mlua::Result<Function> {
    let registry = registry.clone();
    lua.create_function(move |lua, redis: Table| {
        let registry = registry.clone();
        let function = lua.create_function(move |_, values: Variadic<Value>| match registry.register(&values) {
            Ok(()) => Ok(Value::Nil),
            Err(text) => bad(&text),
        })?;
        redis.set("register_function", function)
    })
}

impl Context {
    /// Whether the last call has failed.
    fn has_failed(&self) -> bool {
        self.0.has_failed.get()
    }

    /// Has a command run; an error is a table.
    fn call(&self, lua: &Lua, values: &[Value]) -> Answer {
        self.0.has_failed.set(true);
        let error = |text: &str| values::error_table(lua, &[b"ERR ", text.as_bytes()].concat()).map(Value::Table);
        if self.0.is_loading.get() {
            return error("redis.call/pcall can only be called inside a script invocation");
        }
        let args = match values::request(values.iter().cloned()) {
            Ok(args) => args,
            Err(text) => return error(text),
        };
        let demand = Demand::Call { args, version: self.version(), replication: self.0.replication.get() };
        match self.0.edge.ask(demand) {
            Supply::Reply(bytes) => {
                self.0.has_failed.set(bytes.first() == Some(&b'-'));
                match Incoming::new(&bytes).value(lua)? {
                    Some(value) => Ok(value),
                    None => {
                        self.0.has_failed.set(true);
                        error("the reply is larger than the script's client may be sent")
                    }
                }
            }
            Supply::Refused(text) => {
                let line = text.strip_prefix(b"-").map_or_else(|| [b"ERR ", &*text].concat(), <[u8]>::to_vec);
                values::counted_error(lua, &line).map(Value::Table)
            }
            _ => unreachable!("a call is answered with a reply"),
        }
    }

    fn log(&self, lua: &Lua, values: &[Value]) -> Answer {
        let [level, parts @ ..] = values else {
            return bad("redis.log() requires two arguments or more.");
        };
        if parts.is_empty() {
            return bad("redis.log() requires two arguments or more.");
        }
        let Some(level) = number_of(lua, level) else {
            return bad("First argument must be a number (log level).");
        };
        if !(0.0..4.0).contains(&level) {
            return bad("Invalid debug level.");
        }
        let parts: Vec<Vec<u8>> = parts.iter().filter_map(text_of).collect();
        self.0.edge.ask(Demand::Log { level: level as u8, line: parts.join(&b' ') });
        Ok(Value::Nil)
    }

    fn set_repl(&self, lua: &Lua, values: &[Value]) -> Answer {
        if self.0.is_loading.get() {
            return bad("redis.set_repl can only be called inside a script invocation");
        }
        let [flags] = values else { return bad("redis.set_repl() requires one argument.") };
        let flags = number_of(lua, flags).unwrap_or(0.0) as i64;
        if flags & !(REPL_AOF | REPL_REPLICA) != 0 {
            return bad("Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.");
        }
        self.0.replication.set(Replication { to_file: flags & REPL_AOF != 0, to_replicas: flags & REPL_REPLICA != 0 });
        Ok(Value::Nil)
    }

    fn set_version(&self, lua: &Lua, values: &[Value]) -> Answer {
        if self.0.is_loading.get() {
            return bad("redis.setresp can only be called inside a script invocation");
        }
        let [version] = values else { return bad("redis.setresp() requires one argument.") };
        self.0.version.set(match number_of(lua, version).unwrap_or(0.0) as i64 {
            2 => RespVersion::V2,
            3 => RespVersion::V3,
            _ => return bad("RESP version must be 2 or 3."),
        });
        Ok(Value::Nil)
    }

    fn check(&self, _: &Lua, values: &[Value]) -> Answer {
        if self.0.is_loading.get() {
            return bad("redis.acl_check_cmd can only be called inside a script invocation");
        }
        let args = match values::request(values.iter().cloned()) {
            Ok(args) => args,
            Err(text) => return bad(text),
        };
        match self.0.edge.ask(Demand::Check(args)) {
            Supply::Flag(may) => Ok(Value::Boolean(may)),
            _ => bad("Invalid command passed to redis.acl_check_cmd()"),
        }
    }

    /// `math.random`, as Lua's own but for where the numbers come from.
    fn random(&self, lua: &Lua, limits: &MultiValue) -> Answer {
        let drawn = self.0.random.borrow_mut().next();
        let mut numbers = Vec::new();
        for (place, limit) in limits.iter().enumerate() {
            let Some(number) = number_of(lua, limit) else {
                let text =
                    format!("bad argument #{} to 'random' (number expected, got {})", place + 1, limit.type_name());
                return bad_text(lua, &text);
            };
            numbers.push(number.trunc());
        }
        let number = match numbers.as_slice() {
            [] => drawn,
            [most] if *most >= 1.0 => (drawn * most).floor() + 1.0,
            [least, most] if least <= most => (drawn * (most - least + 1.0)).floor() + least,
            [_] => return bad_text(lua, "bad argument #1 to 'random' (interval is empty)"),
            [_, _] => return bad_text(lua, "bad argument #2 to 'random' (interval is empty)"),
            _ => return bad_text(lua, "wrong number of arguments"),
        };
        Ok(Value::Number(number))
    }

    fn seed(&self, lua: &Lua, seed: &Value) -> Answer {
        let Some(seed) = number_of(lua, seed) else {
            let text = format!("bad argument #1 to 'randomseed' (number expected, got {})", seed.type_name());
            return bad_text(lua, &text);
        };
        *self.0.random.borrow_mut() = Random::new(seed as i64 as u32);
        Ok(Value::Nil)
    }
}

/// What Lua takes for a number.
fn number_of(lua: &Lua, value: &Value) -> Option<f64> {
    lua.coerce_number(value.clone()).ok().flatten()
}

/// What Lua takes for a string.
fn text_of(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(number) => Some(number.to_string().into_bytes()),
        Value::Number(_) => value.to_string().ok().map(String::into_bytes),
        _ => None,
    }
}

/// `redis.sha1hex`, and the digest that names a script.
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha1::digest(bytes).iter().fold(String::with_capacity(40), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The line of an error that a script makes of a text: what has no code gets the common one.
fn error_line_of(text: &[u8]) -> Vec<u8> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.contains(&b' ') { text.to_vec() } else { [b"ERR ", text].concat() }
}

/// The text of an error, without what the crate adds.
pub(super) fn message(error: &mlua::Error) -> Vec<u8> {
    error.downcast_ref::<ScriptError>().map_or_else(|| native::text_of(error), |error| error.line.clone())
}

/// Any value that was raised: errors of ours as a table with their line, Lua's own as their text.
fn described(lua: &Lua, value: Value) -> mlua::Result<Value> {
    let Value::Error(error) = &value else { return Ok(value) };
    if let Some(error) = error.downcast_ref::<ScriptError>() {
        let table = values::error_table(lua, &error.line)?;
        if error.is_counted {
            table.raw_set("ignore_error_stats_update", true)?;
        }
        return Ok(Value::Table(table));
    }
    lua.create_string(message(error)).map(Value::String)
}

/// The script's line that runs now, functions of ours left aside.
fn position(lua: &Lua) -> (Option<String>, Option<usize>) {
    for level in 0.. {
        let found = lua.inspect_stack(level, |frame| {
            let source = frame.source();
            (source.what, source.source.map(|source| source.into_owned()), frame.current_line())
        });
        match found {
            None => break,
            Some((what, Some(source), Some(line))) if what != "C" && source != "=prelude" => {
                return (Some(source), Some(line));
            }
            Some(_) => {}
        }
    }
    (None, None)
}

/// `loadstring`, for text.
fn compile(lua: &Lua, (code, name): (mlua::LuaString, Option<mlua::LuaString>)) -> mlua::Result<(Value, Value)> {
    let code = code.as_bytes().to_vec();
    let name = name.map_or_else(|| String::from_utf8_lossy(&code).into_owned(), |name| name.to_string_lossy());
    match lua.load(code).set_name(name).set_mode(ChunkMode::Text).into_function() {
        Ok(function) => Ok((Value::Function(function), Value::Nil)),
        Err(error) => Ok((Value::Nil, Value::String(lua.create_string(message(&error))?))),
    }
}

/// The line of an error that has ended a script, and whether it is in the books already.
pub(super) fn error_line(problem: &Value) -> mlua::Result<(Vec<u8>, bool)> {
    let Value::Table(table) = problem else {
        return Ok((b"ERR execution failure".to_vec(), false));
    };
    let line: Value = table.raw_get("err")?;
    let is_counted = matches!(table.raw_get("ignore_error_stats_update")?, Value::Boolean(true));
    Ok((text_of(&line).unwrap_or_else(|| b"ERR execution failure".to_vec()), is_counted))
}

/// Adds which script it was, and where.
pub(super) fn add_position(line: &mut Vec<u8>, problem: &Value, name: &[u8]) -> mlua::Result<()> {
    let Value::Table(table) = problem else { return Ok(()) };
    if let (Some(source), Some(at)) = (text_of(&table.raw_get("source")?), text_of(&table.raw_get("line")?)) {
        for part in [b" script: ", name, b", on ", &source, b":", &at, b"."] {
            line.extend_from_slice(part);
        }
    }
    Ok(())
}
