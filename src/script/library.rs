//! What scripts and libraries say of themselves: the first line (`#!lua ...`), flags, and the functions that a library registers.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Function, Table, Value};

use crate::base::words::split_words;

/// What a script or function says that it does or does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FunctionFlags(u8);

impl FunctionFlags {
    pub const NO_WRITES: FunctionFlags = FunctionFlags(1);
    pub const ALLOW_OOM: FunctionFlags = FunctionFlags(1 << 1);
    pub const ALLOW_STALE: FunctionFlags = FunctionFlags(1 << 2);
    pub const NO_CLUSTER: FunctionFlags = FunctionFlags(1 << 3);
    pub const ALLOW_CROSS_SLOT: FunctionFlags = FunctionFlags(1 << 4);

    const NAMES: &[(FunctionFlags, &str)] = &[
        (FunctionFlags::NO_WRITES, "no-writes"),
        (FunctionFlags::ALLOW_OOM, "allow-oom"),
        (FunctionFlags::ALLOW_STALE, "allow-stale"),
        (FunctionFlags::NO_CLUSTER, "no-cluster"),
        (FunctionFlags::ALLOW_CROSS_SLOT, "allow-cross-slot-keys"),
    ];

    pub fn has(self, flag: FunctionFlags) -> bool {
        self.0 & flag.0 == flag.0
    }

    /// Those that are set, in Redis's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        FunctionFlags::NAMES.iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| *name)
    }

    fn add(&mut self, name: &[u8]) -> bool {
        let found = FunctionFlags::NAMES.iter().find(|(_, known)| known.as_bytes() == name);
        found.map(|(flag, _)| self.0 |= flag.0).is_some()
    }
}

/// The first line of a script that has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shebang {
    /// `None` for a script of before Redis 7, which says nothing of itself.
    pub flags: Option<FunctionFlags>,
    /// How many bytes the line has, without its end: the code behind it keeps its line numbers.
    pub length_bytes: usize,
}

impl Shebang {
    /// Of a script for EVAL.
    ///
    /// # Errors
    /// Redis's text for what it does not understand.
    pub fn of_script(code: &[u8]) -> Result<Shebang, String> {
        if !code.starts_with(b"#!") {
            return Ok(Shebang::default());
        }
        let length_bytes = memchr::memchr(b'\n', code).ok_or("Invalid script shebang")?;
        let words = split_words(&code[..length_bytes]).filter(|words| !words.is_empty());
        let words = words.ok_or("Invalid engine in script shebang")?;
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if words[0] != b"#!lua" {
            return Err(format!("Unexpected engine in script shebang: {}", shown(&words[0])));
        }
        let mut flags = FunctionFlags::default();
        for word in &words[1..] {
            let Some(names) = word.strip_prefix(b"flags=") else {
                return Err(format!("Unknown lua shebang option: {}", shown(word)));
            };
            for name in names.split(|byte| *byte == b',').filter(|_| !names.is_empty()) {
                if !flags.add(name) {
                    return Err(format!("Unexpected flag in script shebang: {}", shown(name)));
                }
            }
        }
        Ok(Shebang { flags: Some(flags), length_bytes })
    }

    /// Of a library: its name, and where its code begins.
    ///
    /// # Errors
    /// Redis's text for what it does not understand.
    pub fn of_library(code: &[u8]) -> Result<(Vec<u8>, usize), Vec<u8>> {
        let failed = |text: &str| Err(text.as_bytes().to_vec());
        if !code.starts_with(b"#!") {
            return failed("Missing library metadata");
        }
        let Some(end) = memchr::memchr(b'\n', code) else { return failed("Invalid library metadata") };
        let Some(words) = split_words(&code[..end]).filter(|words| !words.is_empty()) else {
            return failed("Invalid library metadata");
        };
        let mut name = None;
        for word in &words[1..] {
            let given = word.split_at_checked(5).filter(|(key, _)| key.eq_ignore_ascii_case(b"name="));
            match given {
                Some(_) if name.is_some() => {
                    return failed("Invalid metadata value, name argument was given multiple times");
                }
                Some((_, given)) => name = Some(given.to_vec()),
                None => return Err([b"Invalid metadata value given: ", word.as_slice()].concat()),
            }
        }
        let Some(name) = name else { return failed("Library name was not given") };
        if !is_name(&name) {
            return failed(BAD_NAME);
        }
        let engine = &words[0][2..];
        if !engine.eq_ignore_ascii_case(b"lua") {
            return Err([b"Engine '", engine, b"' not found"].concat());
        }
        Ok((name, end))
    }
}

const BAD_NAME: &str =
    "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// A function of a library, without its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionFacts {
    pub name: Vec<u8>,
    pub description: Option<Vec<u8>>,
    pub flags: FunctionFlags,
}

/// What the library whose code runs has registered so far.
#[derive(Clone, Default)]
pub(super) struct Registry(Rc<RefCell<Option<Registered>>>);

type Registered = Vec<(FunctionFacts, Function)>;

impl Registry {
    pub fn begin(&self) {
        *self.0.borrow_mut() = Some(Vec::new());
    }

    pub fn end(&self) -> Registered {
        self.0.borrow_mut().take().unwrap_or_default()
    }

    /// `redis.register_function` with these arguments.
    ///
    /// # Errors
    /// Redis's text.
    pub fn register(&self, values: &[Value]) -> Result<(), String> {
        let mut registered = self.0.borrow_mut();
        let Some(registered) = registered.as_mut() else {
            return Err("redis.register_function can only be called on FUNCTION LOAD command".to_owned());
        };
        let (facts, function) = match values {
            [named] => from_table(named)?,
            [name, function] => from_two(name, function)?,
            _ => return Err("wrong number of arguments to redis.register_function".to_owned()),
        };
        if !is_name(&facts.name) {
            return Err(BAD_NAME.to_owned());
        }
        if registered.iter().any(|(known, _)| known.name.eq_ignore_ascii_case(&facts.name)) {
            return Err("Function already exists in the library".to_owned());
        }
        registered.push((facts, function));
        Ok(())
    }
}

/// What Lua takes for a string.
fn text(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(_) | Value::Number(_) => value.to_string().ok().map(String::into_bytes),
        _ => None,
    }
}

fn from_two(name: &Value, function: &Value) -> Result<(FunctionFacts, Function), String> {
    let name = text(name).ok_or("first argument to redis.register_function must be a string")?;
    let Value::Function(function) = function else {
        return Err("second argument to redis.register_function must be a function".to_owned());
    };
    let facts = FunctionFacts { name, description: None, flags: FunctionFlags::default() };
    Ok((facts, function.clone()))
}

fn from_table(named: &Value) -> Result<(FunctionFacts, Function), String> {
    let Value::Table(named) = named else {
        return Err("calling redis.register_function with a single argument is only applicable to Lua table \
                    (representing named arguments)."
            .to_owned());
    };
    let (mut name, mut description, mut callback, mut flags) = (None, None, None, FunctionFlags::default());
    for pair in named.pairs::<Value, Value>() {
        let (key, value) = pair.map_err(|error| error.to_string())?;
        let Some(key) = text(&key) else {
            return Err("named argument key given to redis.register_function is not a string".to_owned());
        };
        let string = |what: &str| {
            text(&value).ok_or_else(|| format!("{what} argument given to redis.register_function must be a string"))
        };
        match key.to_ascii_lowercase().as_slice() {
            b"function_name" => name = Some(string("function_name")?),
            b"description" => description = Some(string("description")?),
            b"callback" => match value {
                Value::Function(function) => callback = Some(function),
                _ => return Err("callback argument given to redis.register_function must be a function".to_owned()),
            },
            b"flags" => match &value {
                Value::Table(names) => flags = read_flags(names)?,
                _ => {
                    return Err("flags argument to redis.register_function must be a table representing function \
                                flags"
                        .to_owned());
                }
            },
            _ => return Err("unknown argument given to redis.register_function".to_owned()),
        }
    }
    let name = name.ok_or("redis.register_function must get a function name argument")?;
    let callback = callback.ok_or("redis.register_function must get a callback argument")?;
    Ok((FunctionFacts { name, description, flags }, callback))
}

fn read_flags(names: &Table) -> Result<FunctionFlags, String> {
    let mut flags = FunctionFlags::default();
    for place in 1.. {
        let name: Value = names.raw_get(place).map_err(|error| error.to_string())?;
        if name == Value::Nil {
            break;
        }
        let name = text(&name).map(|name| name.to_ascii_lowercase());
        if !name.is_some_and(|name| flags.add(&name)) {
            return Err("unknown flag given".to_owned());
        }
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_script_has_flags_or_is_refused() {
        let of = |code: &str| Shebang::of_script(code.as_bytes());
        assert_eq!(of("return 1"), Ok(Shebang { flags: None, length_bytes: 0 }));
        assert_eq!(of("#!lua\nreturn 1").unwrap().flags, Some(FunctionFlags::default()));
        let both = of("#!lua flags=no-writes,allow-stale\nreturn 1").unwrap();
        let names: Vec<&str> = both.flags.unwrap().names().collect();
        assert_eq!((names, both.length_bytes), (vec!["no-writes", "allow-stale"], 33));
        for (code, text) in [
            ("#!lua", "Invalid script shebang"),
            ("#!not-lua\n", "Unexpected engine in script shebang: #!not-lua"),
            ("#!lua badger=data\n", "Unknown lua shebang option: badger=data"),
            ("#!lua flags=allow-what\n", "Unexpected flag in script shebang: allow-what"),
            ("#!lua \"\n", "Invalid engine in script shebang"),
        ] {
            assert_eq!(of(code), Err(text.to_owned()), "{code}");
        }
    }

    #[test]
    fn the_first_line_of_a_library_has_its_name() {
        let of = |code: &str| Shebang::of_library(code.as_bytes());
        assert_eq!(of("#!lua name=a_1\nx"), Ok((b"a_1".to_vec(), 14)));
        for (code, text) in [
            ("x", "Missing library metadata"),
            ("#!lua name=a", "Invalid library metadata"),
            ("#!lua name=a name=b\n", "Invalid metadata value, name argument was given multiple times"),
            ("#!lua foo=b\n", "Invalid metadata value given: foo=b"),
            ("#!lua\n", "Library name was not given"),
            ("#!bad name=a\n", "Engine 'bad' not found"),
            ("#!lua name=a-b\n", BAD_NAME),
        ] {
            assert_eq!(of(code), Err(text.as_bytes().to_vec()), "{code}");
        }
    }
}
