//! The library `cjson` (Lua CJSON 2.1.0 as Redis 7.2 bundles it): values to JSON and back.
//!
//! This file owns the table and the settings, which scripts change and which last as long as the table; `encode` and
//! `decode` do the work and `number` knows how C reads and writes numbers. Scripts call it through the table; nothing else
//! does, and no metamethod is ever called.

mod decode;
mod encode;
mod number;

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use super::native::{Arguments, Failure, add, until_nul};

/// What scripts can change, with the values it begins with in Redis.
#[derive(Clone, Copy)]
struct Settings {
    /// Whether an array with too many holes becomes an object; else it is an error.
    sparse_convert: bool,
    /// An array has too many holes if its last index is above this many times its elements; 0: never.
    sparse_ratio: i32,
    /// But not up to this last index.
    sparse_safe: i32,
    encode_max_depth: i32,
    decode_max_depth: i32,
    encode_invalid_numbers: InvalidNumbers,
    /// Whether `decode` takes what C reads as a number and JSON does not: hexadecimal, infinite, `+1`.
    decode_invalid_numbers: bool,
    /// Digits, 1 to 14.
    number_precision: i32,
    /// Without effect here: the buffer of `encode` is never kept.
    keep_buffer: bool,
}

/// What `encode` does with numbers that JSON does not have.
#[derive(Clone, Copy, PartialEq)]
enum InvalidNumbers {
    Refuse,
    Write,
    Null,
}

const DEFAULTS: Settings = Settings {
    sparse_convert: false,
    sparse_ratio: 2,
    sparse_safe: 10,
    encode_max_depth: 1000,
    decode_max_depth: 1000,
    encode_invalid_numbers: InvalidNumbers::Refuse,
    decode_invalid_numbers: true,
    number_precision: 14,
    keep_buffer: true,
};

/// The table `cjson`, with settings of its own.
pub fn cjson(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let settings = Rc::new(Cell::new(DEFAULTS));

    let shared = settings.clone();
    add(lua, &library, "encode", move |arguments| encode(arguments, &shared.get()))?;
    let shared = settings.clone();
    add(lua, &library, "decode", move |arguments| decode(arguments, &shared.get()))?;
    for (name, arguments_max, set) in SETTERS {
        let shared = settings.clone();
        add(lua, &library, name, move |arguments| {
            if arguments.count() > *arguments_max {
                return Err(Failure::argument(arguments_max + 1, "found too many arguments"));
            }
            // What was set stays so when a later argument is at fault.
            let mut settings = shared.get();
            let result = set(arguments, &mut settings);
            shared.set(settings);
            result
        })?;
    }
    add(lua, &library, "new", |arguments| Ok(cjson(arguments.lua)?))?;
    library.raw_set("null", Value::NULL)?;
    library.raw_set("_NAME", "cjson")?;
    library.raw_set("_VERSION", "2.1.0")?;
    Ok(library)
}

type Setter = fn(&Arguments<'_>, &mut Settings) -> Result<MultiValue, Failure>;

/// The functions that change settings: name, how many arguments they take. They answer with what holds after the call,
/// and change nothing for arguments that are nil or missing.
const SETTERS: &[(&str, usize, Setter)] = &[
    ("encode_sparse_array", 3, |arguments, settings| {
        let convert = switch(arguments, 1, &mut settings.sparse_convert)?;
        let ratio = integer(arguments, 2, 0, i32::MAX, &mut settings.sparse_ratio)?;
        let safe = integer(arguments, 3, 0, i32::MAX, &mut settings.sparse_safe)?;
        Ok(MultiValue::from_vec(vec![convert, ratio, safe]))
    }),
    ("encode_max_depth", 1, |arguments, settings| {
        one(integer(arguments, 1, 1, i32::MAX, &mut settings.encode_max_depth))
    }),
    ("decode_max_depth", 1, |arguments, settings| {
        one(integer(arguments, 1, 1, i32::MAX, &mut settings.decode_max_depth))
    }),
    ("encode_number_precision", 1, |arguments, settings| {
        one(integer(arguments, 1, 1, 14, &mut settings.number_precision))
    }),
    ("encode_keep_buffer", 1, |arguments, settings| one(switch(arguments, 1, &mut settings.keep_buffer))),
    ("decode_invalid_numbers", 1, |arguments, settings| {
        one(switch(arguments, 1, &mut settings.decode_invalid_numbers))
    }),
    ("encode_invalid_numbers", 1, encode_invalid_numbers),
];

fn one(value: Result<Value, Failure>) -> Result<MultiValue, Failure> {
    Ok(MultiValue::from_vec(vec![value?]))
}

/// A setting that is a number. A C int: of a larger number its low 32 bits are taken, and a wrong one is said to be the
/// first argument.
fn integer(
    arguments: &Arguments<'_>,
    position: usize,
    min: i32,
    max: i32,
    setting: &mut i32,
) -> Result<Value, Failure> {
    if !matches!(arguments.value(position), None | Some(Value::Nil)) {
        let value = arguments.integer(position)? as i32;
        if !(min..=max).contains(&value) {
            return Err(Failure::argument(1, format!("expected integer between {min} and {max}")));
        }
        *setting = value;
    }
    Ok(Value::Integer(i64::from(*setting)))
}

/// A setting that is on or off, by a boolean or by these words.
fn switch(arguments: &Arguments<'_>, position: usize, setting: &mut bool) -> Result<Value, Failure> {
    match arguments.value(position) {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(value)) => *setting = *value,
        Some(_) => *setting = choice(arguments, position, &["off", "on"])? == 1,
    }
    Ok(Value::Boolean(*setting))
}

fn encode_invalid_numbers(arguments: &Arguments<'_>, settings: &mut Settings) -> Result<MultiValue, Failure> {
    const CHOICES: [InvalidNumbers; 3] = [InvalidNumbers::Refuse, InvalidNumbers::Write, InvalidNumbers::Null];
    let setting = &mut settings.encode_invalid_numbers;
    match arguments.value(1) {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(value)) => *setting = CHOICES[usize::from(*value)],
        Some(_) => *setting = CHOICES[choice(arguments, 1, &["off", "on", "null"])?],
    }
    match *setting {
        InvalidNumbers::Null => one(Ok(Value::String(arguments.lua.create_string("null")?))),
        other => one(Ok(Value::Boolean(other == InvalidNumbers::Write))),
    }
}

/// Which of `words` an argument is (`luaL_checkoption`).
fn choice(arguments: &Arguments<'_>, position: usize, words: &[&str]) -> Result<usize, Failure> {
    let word = arguments.string(position)?;
    let word = word.as_bytes();
    let word = until_nul(&word);
    words.iter().position(|choice| choice.as_bytes() == word).ok_or_else(|| {
        let mut text = b"invalid option '".to_vec();
        text.extend_from_slice(word);
        text.push(b'\'');
        Failure::argument(position, text)
    })
}

fn only_argument<'a>(arguments: &'a Arguments<'_>) -> Result<&'a Value, Failure> {
    match arguments.value(1) {
        Some(value) if arguments.count() == 1 => Ok(value),
        _ => Err(Failure::argument(1, "expected 1 argument")),
    }
}

fn encode(arguments: &Arguments<'_>, settings: &Settings) -> Result<LuaString, Failure> {
    let text = encode::encode(arguments.lua, only_argument(arguments)?, settings)?;
    Ok(arguments.lua.create_string(&text)?)
}

fn decode(arguments: &Arguments<'_>, settings: &Settings) -> Result<Value, Failure> {
    only_argument(arguments)?;
    let text = arguments.string(1)?;
    let text = text.as_bytes();
    // A document begins with an ASCII character, which is enough to tell.
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(Failure::message("JSON parser does not support UTF-16 or UTF-32"));
    }
    decode::decode(arguments.lua, until_nul(&text), settings)
}

#[cfg(test)]
mod tests {
    use super::super::native::testing::check;

    #[test]
    fn values_are_encoded() {
        check(
            "cjson",
            super::cjson,
            &[
                (
                    "return cjson.encode({1, 'a', true, false, cjson.null, {}, {{}}})",
                    r#"[1,"a",true,false,null,{},[{}]]"#,
                ),
                ("return cjson.encode({a = {b = {1, {c = 2}}}})", r#"{"a":{"b":[1,{"c":2}]}}"#),
                (
                    "return cjson.encode({[1] = 1, [3] = 3}), cjson.encode({[1] = 1, x = 2})",
                    r#"[1,null,3] {"1":1,"x":2}"#,
                ),
                ("return cjson.encode(nil), cjson.encode('x'), cjson.encode(0.1)", r#"null "x" 0.1"#),
                (
                    r#"return cjson.encode('a/b"\\\n\t\r\b\f\0\31\127\255')"#,
                    r#""a\/b\"\\\n\t\r\b\f\u0000\u001f\u007f\xff""#,
                ),
                ("return cjson.encode({[1.5] = 1}), cjson.encode({[-1] = 1})", r#"{"1.5":1} {"-1":1}"#),
                ("return cjson.encode({[2^31] = 1})", r#"{"2147483648":1}"#),
                ("local t = {1, {2}, 3} return cjson.encode({t, x = 1, t}) == cjson.encode({t, t, x = 1})", "true"),
            ],
        );
    }

    #[test]
    fn what_json_lacks_is_refused() {
        check(
            "cjson",
            super::cjson,
            &[
                ("return pcall(cjson.encode, type)", "false Cannot serialise function: type not supported"),
                (
                    "return pcall(cjson.encode, {[true] = 1})",
                    "false Cannot serialise boolean: table key must be a number or string",
                ),
                ("return pcall(cjson.encode, {0/0})", "false Cannot serialise number: must not be NaN or Inf"),
                ("return pcall(cjson.encode, {[1/0] = 1})", "false Cannot serialise number: must not be NaN or Inf"),
                ("return pcall(cjson.encode, {[11] = 1})", "false Cannot serialise table: excessively sparse array"),
                ("return pcall(cjson.encode)", "false bad argument #1 to '?' (expected 1 argument)"),
                (
                    "local t = {} t[1] = t return pcall(cjson.encode, t)",
                    "false Cannot serialise, excessive nesting (1001)",
                ),
                (
                    "local t = {} t.t = t return pcall(cjson.encode, t)",
                    "false Cannot serialise, excessive nesting (1001)",
                ),
                // What comes first in the text fails first.
                (
                    "return pcall(cjson.encode, {{{type}}, {[true] = 1}, coroutine.create(function() end)})",
                    "false Cannot serialise function: type not supported",
                ),
                (
                    "local t = {a = {[true] = 1}} t = {t} return pcall(cjson.encode, {x = t})",
                    "false Cannot serialise boolean: table key must be a number or string",
                ),
            ],
        );
    }

    #[test]
    fn tables_that_stand_for_too_much_are_refused() {
        check(
            "cjson",
            super::cjson,
            &[
                ("local t = {s = ('x'):rep(1e6)} t.t = t return pcall(cjson.encode, t)", "false not enough memory"),
                ("local t = {('x'):rep(1e6)} t[2] = t return pcall(cjson.encode, t)", "false not enough memory"),
                (
                    "cjson.encode_sparse_array(false, 0) return pcall(cjson.encode, {[2^31 - 1] = 1})",
                    "false not enough memory",
                ),
            ],
        );
    }

    #[test]
    fn documents_are_decoded() {
        check(
            "cjson",
            super::cjson,
            &[
                (
                    r#"local t = cjson.decode('{"a":[1,{"b":"c"}],"d":null,"e":{}}')
                    return t.a[1], t.a[2].b, t.d == cjson.null, next(t.e)"#,
                    "1 c true nil",
                ),
                (
                    r"return cjson.decode(' [ ] '), cjson.decode('true'), cjson.decode('\t12\n'), cjson.decode(1.5)",
                    "table true 12 1.5",
                ),
                (
                    r#"return cjson.decode('"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\\/\\b\\f\\n\\r\\t\\"\\\\"')"#,
                    r#"A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80/\x08\x0c\x0a\x0d\x09"\"#,
                ),
                (r#"return cjson.decode('"\255\1\127"'), cjson.decode('12\0{')"#, r"\xff\x01\x7f 12"),
                (
                    "return cjson.decode('0x1F'), cjson.decode('-Infinity'), cjson.decode('+1'), cjson.decode('01')",
                    "31 -inf 1 1",
                ),
                (r#"local t = cjson.decode('{"a":1,"a":2}') return t.a"#, "2"),
                (r"local t = cjson.decode(('['):rep(1000) .. (']'):rep(1000)) return t", "table"),
            ],
        );
    }

    #[test]
    fn bad_documents_are_refused() {
        let expected = |what: &str| format!("false Expected {what}");
        check(
            "cjson",
            super::cjson,
            &[
                ("return pcall(cjson.decode, '')", &expected("value but found T_END at character 1")),
                ("return pcall(cjson.decode, '[1,]')", &expected("value but found T_ARR_END at character 4")),
                (
                    "return pcall(cjson.decode, '[1 2]')",
                    &expected("comma or array end but found T_NUMBER at character 4"),
                ),
                (
                    r#"return pcall(cjson.decode, '{"a":1]')"#,
                    &expected("comma or object end but found T_ARR_END at character 7"),
                ),
                (r#"return pcall(cjson.decode, '{"a" 1}')"#, &expected("colon but found T_NUMBER at character 6")),
                (
                    "return pcall(cjson.decode, '{1:1}')",
                    &expected("object key string but found T_NUMBER at character 2"),
                ),
                ("return pcall(cjson.decode, '1 2')", &expected("the end but found T_NUMBER at character 3")),
                ("return pcall(cjson.decode, '[tru]')", &expected("value but found invalid token at character 2")),
                ("return pcall(cjson.decode, '-')", &expected("value but found invalid number at character 1")),
                (
                    r#"return pcall(cjson.decode, '"abc')"#,
                    &expected("value but found unexpected end of string at character 5"),
                ),
                (
                    r#"return pcall(cjson.decode, '"\\x"')"#,
                    &expected("value but found invalid escape code at character 2"),
                ),
                (
                    r#"return pcall(cjson.decode, '"a\\ud83d"')"#,
                    &expected("value but found invalid unicode escape code at character 3"),
                ),
                (
                    r#"return pcall(cjson.decode, '"\\ude00\\ud83d"')"#,
                    &expected("value but found invalid unicode escape code at character 2"),
                ),
                (r"return pcall(cjson.decode, '1\0')", "false JSON parser does not support UTF-16 or UTF-32"),
                (
                    "return pcall(cjson.decode, ('['):rep(1001))",
                    "false Found too many nested data structures (1001) at character 1001",
                ),
                (
                    r#"cjson.decode_max_depth(1e9) return pcall(cjson.decode, ('{"a":'):rep(1e6))"#,
                    "false Found too many nested data structures (4000) at character 19996",
                ),
                (
                    "return cjson.decode({})",
                    "error: user_script:1: bad argument #1 to 'decode' (string expected, got table)",
                ),
            ],
        );
    }

    #[test]
    fn settings_change_and_answer() {
        check(
            "cjson",
            super::cjson,
            &[
                ("return cjson.encode_sparse_array()", "false 2 10"),
                ("return cjson.encode_sparse_array('on', 3, '5')", "true 3 5"),
                ("cjson.encode_sparse_array(true) return cjson.encode({[11] = 1})", r#"{"11":1}"#),
                ("cjson.encode_sparse_array(true, 0) return #cjson.encode({[100] = 1})", "498"),
                // The first argument holds although the second is wrong.
                (
                    "return cjson.encode_sparse_array(), pcall(cjson.encode_sparse_array, true, -1)",
                    "false false bad argument #1 to '?' (expected integer between 0 and 2147483647)",
                ),
                ("pcall(cjson.encode_sparse_array, true, -1) return cjson.encode_sparse_array()", "true 2 10"),
                (
                    "return cjson.encode_max_depth(), cjson.decode_max_depth(), cjson.encode_keep_buffer()",
                    "1000 1000 true",
                ),
                (
                    "return pcall(cjson.encode_max_depth, 1, 2)",
                    "false bad argument #2 to '?' (found too many arguments)",
                ),
                (
                    "cjson.decode_max_depth(1) return pcall(cjson.decode, '[[]]')",
                    "false Found too many nested data structures (2) at character 2",
                ),
                ("return cjson.encode_number_precision(3), cjson.encode(3.14159)", "3 3.14"),
                (
                    "return pcall(cjson.encode_number_precision, 15)",
                    "false bad argument #1 to '?' (expected integer between 1 and 14)",
                ),
                (
                    "return cjson.encode_invalid_numbers(), cjson.encode_invalid_numbers('null'), cjson.encode({1/0})",
                    "false null [null]",
                ),
                ("return cjson.encode_invalid_numbers(true), cjson.encode({1/0, -1/0, 0/0})", "true [inf,-inf,nan]"),
                (
                    "return pcall(cjson.encode_invalid_numbers, 'x')",
                    "false bad argument #1 to '?' (invalid option 'x')",
                ),
                (
                    "return cjson.decode_invalid_numbers(false), pcall(cjson.decode, '[nan]')",
                    "false false Expected value but found invalid token at character 2",
                ),
                (
                    "cjson.decode_invalid_numbers('off') return pcall(cjson.decode, '0x1')",
                    "false Expected value but found invalid number at character 1",
                ),
                (
                    "local x = cjson.new() x.encode_max_depth(5) return x.encode_max_depth(), cjson.encode_max_depth()",
                    "5 1000",
                ),
                ("return cjson._NAME, cjson._VERSION, type(cjson.null)", "cjson 2.1.0 userdata"),
            ],
        );
    }
}
