//! The library `struct` (Roberto Ierusalimschy's, as Redis 7.2 bundles it): values to bytes and back by a format.
//!
//! ```text
//! > < !n       big endian, little endian (the default), align to n bytes at most (8 without n; 1 by default)
//! b B h H l L  signed and unsigned integers of 1, 2 and 8 bytes          T     8 bytes, unsigned
//! in In        integers of n bytes, 4 by default                         f d   floats of 4 and 8 bytes
//! cn           n bytes, 1 by default; c0: all of the string, or as many as the number read before
//! s            a string and a zero byte                                  x     a zero byte; a blank says nothing
//! ```
//!
//! Scripts call it through the table; nothing else does.

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use super::native::{Arguments, Failure, RESULT_BYTES_MAX, STACK_SLOTS, add, as_number, to_i64, until_nul};

/// The largest n of `in`.
const INTEGER_BYTES_MAX: usize = 32;

/// The n of `!` without one.
const ALIGNMENT_DEFAULT: i32 = 8;

/// The table `struct`.
pub fn structs(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    add(lua, &library, "pack", pack)?;
    add(lua, &library, "unpack", unpack)?;
    add(lua, &library, "size", size)?;
    Ok(library)
}

/// A format as it is read, with what it has switched so far.
struct Format<'a> {
    rest: &'a [u8],
    big_endian: bool,
    align: usize,
}

impl<'a> Format<'a> {
    fn new(text: &'a [u8]) -> Format<'a> {
        Format { rest: until_nul(text), big_endian: false, align: 1 }
    }

    /// The next option with its size in bytes, 0 for what has none or takes it from the data.
    fn next(&mut self) -> Result<Option<(u8, usize)>, Failure> {
        let Some((&option, rest)) = self.rest.split_first() else {
            return Ok(None);
        };
        self.rest = rest;
        let size = match option {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'f' => 4,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'c' => self.number(1)? as usize,
            b'i' | b'I' => {
                let size = self.number(4)? as usize;
                if size > INTEGER_BYTES_MAX {
                    return Err(Failure::message(format!(
                        "integral size {size} is larger than limit of {INTEGER_BYTES_MAX}"
                    )));
                }
                size
            }
            _ => 0,
        };
        Ok(Some((option, size)))
    }

    /// The number that stands next, never negative; `default` where none does.
    fn number(&mut self, default: i32) -> Result<i32, Failure> {
        let len = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if len == 0 {
            return Ok(default);
        }
        let (digits, rest) = self.rest.split_at(len);
        self.rest = rest;
        let number =
            digits.iter().try_fold(0_i32, |number, digit| number.checked_mul(10)?.checked_add(i32::from(digit - b'0')));
        number.ok_or_else(|| Failure::message("integral size overflow"))
    }

    /// How many bytes bring `place` to where an element of this size may stand. Sizes that are no powers of two are
    /// taken as they come.
    fn padding(&self, place: usize, option: u8, size: usize) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        let size = size.min(self.align);
        let mask = size - 1;
        (size - (place & mask)) & mask
    }

    /// An option that is no element: a switch, a blank, or nothing that is known.
    fn switch(&mut self, option: u8) -> Result<(), Failure> {
        match option {
            b' ' => {}
            b'>' => self.big_endian = true,
            b'<' => self.big_endian = false,
            b'!' => {
                let align = self.number(ALIGNMENT_DEFAULT)?;
                if align.count_ones() != 1 {
                    return Err(Failure::message(format!("alignment {align} is not a power of 2")));
                }
                self.align = align as usize;
            }
            unknown => {
                let mut text = b"invalid format option '".to_vec();
                text.extend([unknown, b'\'']);
                return Err(Failure::argument(1, text));
            }
        }
        Ok(())
    }

    /// Bytes of a little-endian value in the order of the format.
    fn ordered<const N: usize>(&self, mut bytes: [u8; N]) -> [u8; N] {
        if self.big_endian {
            bytes.reverse();
        }
        bytes
    }
}

/// struct.pack(format, value...)
fn pack(arguments: &Arguments<'_>) -> Result<LuaString, Failure> {
    let format = arguments.string(1)?;
    let format = format.as_bytes();
    let mut format = Format::new(&format);
    let mut values = Values { arguments, next: 2 };
    let mut packed = Vec::new();
    while let Some((option, size)) = format.next()? {
        let padding = format.padding(packed.len(), option, size);
        packed.resize(packed.len() + padding, 0);
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                put_integer(values.number()?, size, format.big_endian, &mut packed);
            }
            b'x' => packed.push(0),
            b'f' => packed.extend(format.ordered((values.number()? as f32).to_le_bytes())),
            b'd' => packed.extend(format.ordered(values.number()?.to_le_bytes())),
            b'c' | b's' => put_string(values.string()?, option, size, values.next, &mut packed)?,
            _ => format.switch(option)?,
        }
    }
    Ok(arguments.lua.create_string(&packed)?)
}

/// The arguments to pack, one after the other. Behind them stands a nil, so a missing one is called nil.
struct Values<'a> {
    arguments: &'a Arguments<'a>,
    next: usize,
}

impl Values<'_> {
    /// The position of the next one.
    fn advance(&mut self, expected: &str) -> Result<usize, Failure> {
        let position = self.next;
        self.next += 1;
        if position > self.arguments.count() {
            return Err(Failure::argument(position, format!("{expected} expected, got nil")));
        }
        Ok(position)
    }

    fn number(&mut self) -> Result<f64, Failure> {
        let position = self.advance("number")?;
        self.arguments.number(position)
    }

    fn string(&mut self) -> Result<LuaString, Failure> {
        let position = self.advance("string")?;
        self.arguments.string(position)
    }
}

/// The low `size` bytes of a number's integer part; what lies above 64 bits is zero, for negative numbers too.
fn put_integer(number: f64, size: usize, big_endian: bool, packed: &mut Vec<u8>) {
    let start = packed.len();
    let bits = to_u64(number).to_le_bytes();
    packed.extend((0..size).map(|place| bits.get(place).copied().unwrap_or(0)));
    if big_endian {
        packed[start..].reverse();
    }
}

/// A C cast to unsigned as x86-64 does it: negative numbers as the signed ones they are, 0 for what is too large.
fn to_u64(number: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if number >= HALF { to_i64(number - HALF).cast_unsigned() ^ (1 << 63) } else { to_i64(number).cast_unsigned() }
}

/// `position` is where a string that is too short is reported: one behind its own.
fn put_string(
    string: LuaString,
    option: u8,
    size: usize,
    position: usize,
    packed: &mut Vec<u8>,
) -> Result<(), Failure> {
    let string = string.as_bytes();
    let size = if size == 0 { string.len() } else { size };
    let bytes = string.get(..size).ok_or_else(|| Failure::argument(position, "string too short"))?;
    if packed.len() + bytes.len() >= RESULT_BYTES_MAX {
        return Err(Failure::memory());
    }
    packed.extend_from_slice(bytes);
    if option == b's' {
        packed.push(0);
    }
    Ok(())
}

/// struct.unpack(format, data [, position]): the values, and the position behind the last one.
fn unpack(arguments: &Arguments<'_>) -> Result<MultiValue, Failure> {
    const TOO_MANY: &str = "too many results";
    let format = arguments.string(1)?;
    let data = arguments.string(2)?;
    let start = arguments.integer_or(3, 1)?.cast_unsigned() as usize;
    let mut place = start.checked_sub(1).ok_or_else(|| Failure::argument(3, "offset must be 1 or greater"))?;
    let (format, data) = (format.as_bytes(), data.as_bytes());
    let mut format = Format::new(&format);
    let mut results = Vec::new();
    while let Some((option, size)) = format.next()? {
        // A place may be any number that a script names: what wraps is out of the data, or in it and as good as any.
        place = place.wrapping_add(format.padding(place, option, size));
        let mut bytes = part(&data, place, size)?;
        if arguments.count() + results.len() + 2 > STACK_SLOTS {
            return Err(Failure::stack(TOO_MANY));
        }
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                results.push(Value::Number(get_integer(bytes, format.big_endian, option.is_ascii_lowercase())));
            }
            b'f' => results.push(Value::Number(f64::from(f32::from_le_bytes(format.ordered(fixed(bytes)))))),
            b'd' => results.push(Value::Number(f64::from_le_bytes(format.ordered(fixed(bytes))))),
            b'x' => {}
            b'c' => {
                if size == 0 {
                    bytes = part(&data, place, previous_size(arguments.lua, &mut results)?)?;
                }
                results.push(string(arguments.lua, bytes).map_err(|failure| failure.or_stack(TOO_MANY))?);
            }
            b's' => {
                let rest = &data[place..];
                let len = memchr::memchr(0, rest).ok_or_else(|| Failure::message("unfinished string in data"))?;
                bytes = &rest[..=len];
                results.push(string(arguments.lua, &rest[..len]).map_err(|failure| failure.or_stack(TOO_MANY))?);
            }
            _ => format.switch(option)?,
        }
        place = place.wrapping_add(bytes.len());
    }
    results.push(Value::Number(place.wrapping_add(1).cast_signed() as f64));
    Ok(MultiValue::from_vec(results))
}

fn string(lua: &Lua, bytes: &[u8]) -> Result<Value, Failure> {
    Ok(Value::String(lua.create_string(bytes)?))
}

/// The `size` bytes at `place`, which may be the end of the data when the size is 0.
fn part(data: &[u8], place: usize, size: usize) -> Result<&[u8], Failure> {
    let end = place.checked_add(size);
    end.and_then(|end| data.get(place..end)).ok_or_else(|| Failure::argument(2, "data string too short"))
}

/// The bytes of a float, whose option gave `part` this size.
fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

/// The length that `c0` takes off the results.
fn previous_size(lua: &Lua, results: &mut Vec<Value>) -> Result<usize, Failure> {
    let size = match results.last() {
        None => None,
        Some(value) => as_number(lua, value)?,
    };
    let size = size.ok_or_else(|| Failure::message("format 'c0' needs a previous size"))?;
    results.pop();
    Ok(to_u64(size) as usize)
}

/// An integer of 0 to 32 bytes, of which the last 64 bits count. The sign bit is that of the size modulo 64, as the
/// processor shifts, and fills all above it.
fn get_integer(bytes: &[u8], big_endian: bool, signed: bool) -> f64 {
    let append = |bits: u64, byte: &u8| bits << 8 | u64::from(*byte);
    let bits = if big_endian { bytes.iter().fold(0, append) } else { bytes.iter().rev().fold(0, append) };
    if !signed {
        return bits as f64;
    }
    let above = u64::MAX.wrapping_shl((bytes.len() as u32 * 8).wrapping_sub(1));
    let bits = if bits & above != 0 { bits | above } else { bits };
    bits.cast_signed() as f64
}

/// struct.size(format): for formats in which all is of fixed size. Letters that mean nothing pass, as in Redis.
fn size(arguments: &Arguments<'_>) -> Result<f64, Failure> {
    let format = arguments.string(1)?;
    let format = format.as_bytes();
    let mut format = Format::new(&format);
    let mut place = 0_usize;
    while let Some((option, size)) = format.next()? {
        place = place.wrapping_add(format.padding(place, option, size));
        match option {
            b's' => return Err(Failure::argument(1, "option 's' has no fixed size")),
            b'c' if size == 0 => return Err(Failure::argument(1, "option 'c0' has no fixed size")),
            option if option.is_ascii_alphanumeric() => {}
            option => format.switch(option)?,
        }
        place = place.wrapping_add(size);
    }
    Ok(place.cast_signed() as f64)
}

#[cfg(test)]
mod tests {
    use super::super::native::testing::check;

    #[test]
    fn values_are_packed_as_the_format_says() {
        check(
            "struct",
            super::structs,
            &[
                (
                    r"return struct.pack('bBhHlLT', -1, 255, -2, 65535, -3, 1, 2)",
                    concat!(
                        r"\xff\xff\xfe\xff\xff\xff\xfd\xff\xff\xff\xff\xff\xff\xff",
                        r"\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00"
                    ),
                ),
                (
                    r"return struct.pack('>i<i i3 >I2', 1, 1, -2, 258)",
                    r"\x00\x00\x00\x01\x01\x00\x00\x00\xfe\xff\xff\x01\x02",
                ),
                (r"return struct.pack('i10', -1)", r"\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00"),
                (r"return struct.pack('<f>d', 0.5, 1)", r"\x00\x00\x00??\xf0\x00\x00\x00\x00\x00\x00"),
                (r"return struct.pack('sc0c2xs', 'ab', 'cd', 'efg', '')", r"ab\x00cdef\x00\x00"),
                (
                    r"return struct.pack('!4bi', 1, 2), #struct.pack('!bd', 1, 2)",
                    r"\x01\x00\x00\x00\x02\x00\x00\x00 16",
                ),
                (r"return struct.pack('LL', 2^64, 1e300)", &r"\x00".repeat(16)),
                (r"return struct.pack('l', 0/0)", r"\x00\x00\x00\x00\x00\x00\x00\x80"),
            ],
        );
    }

    #[test]
    fn bytes_are_unpacked_as_the_format_says() {
        check(
            "struct",
            super::structs,
            &[
                (r"return struct.unpack('bBh', '\255\255\254\255')", "-1 255 -2 5"),
                (r"return struct.unpack('>I2<I2', '\1\2\1\2')", "258 513 5"),
                (r"return struct.unpack('i3i9', '\255\255\255\1\0\0\0\0\0\0\0\255')", "-1 1 13"),
                (r"return struct.unpack('sBc0c1', 'ab\0\2cde')", "ab cd e 8"),
                (r"return struct.unpack('c1c0', '2ab')", "ab 4"),
                (r"return struct.unpack('<f', '\0\0\0\63'), struct.unpack('i0', '')", "0.5 0 1"),
                (r"return struct.unpack('!4bi', '\1\0\0\0\2\0\0\0')", "1 2 9"),
                (r"return struct.unpack('b', '\1\2\3', 3)", "3 4"),
                (r"return struct.unpack('', 'abc', 100), struct.unpack('', '', -1)", "100 -1"),
                ("return struct.size('bhilT!8bd'), struct.size('z'), struct.size('c3 i5')", "32 0 8"),
            ],
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let argument = |position, reason| format!("false bad argument #{position} to '?' ({reason})");
        check(
            "struct",
            super::structs,
            &[
                ("return pcall(struct.pack, 'i33')", "false integral size 33 is larger than limit of 32"),
                ("return pcall(struct.pack, 'c2147483648')", "false integral size overflow"),
                ("return pcall(struct.pack, '!3')", "false alignment 3 is not a power of 2"),
                ("return pcall(struct.pack, '\\200')", &argument(1, r"invalid format option '\xc8'")),
                ("return pcall(struct.pack, 'bb', 1)", &argument(3, "number expected, got nil")),
                ("return pcall(struct.pack, 'c5', 'abc')", &argument(3, "string too short")),
                ("return pcall(struct.unpack, 'i', 'abc')", &argument(2, "data string too short")),
                ("return pcall(struct.unpack, 'b', 'abc', -3)", &argument(2, "data string too short")),
                ("return pcall(struct.unpack, 'c2147483647', 'abc', 2)", &argument(2, "data string too short")),
                ("return pcall(struct.unpack, 'b', 'abc', 0)", &argument(3, "offset must be 1 or greater")),
                ("return pcall(struct.unpack, 'bc0', '\\9abc')", &argument(2, "data string too short")),
                ("return pcall(struct.unpack, 'bc0', '\\255abc')", &argument(2, "data string too short")),
                ("return pcall(struct.unpack, 'c0', 'abc')", "false format 'c0' needs a previous size"),
                ("return pcall(struct.unpack, 's', 'abc')", "false unfinished string in data"),
                (
                    "return pcall(struct.unpack, ('b'):rep(9000), ('a'):rep(9000))",
                    "false stack overflow (too many results)",
                ),
                ("return pcall(struct.size, 's')", &argument(1, "option 's' has no fixed size")),
                ("return pcall(struct.size, 'c0')", &argument(1, "option 'c0' has no fixed size")),
            ],
        );
    }

    #[test]
    fn what_strings_add_up_to_is_bounded() {
        let all = "local s = ('x'):rep(1000000) return pcall(struct.pack, 'ssssss', s, s, s, s, s, s)";
        check("struct", super::structs, &[(all, "false not enough memory")]);
    }
}
