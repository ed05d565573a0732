//! The library `bit` (Lua BitOp 1.0.2 as Redis 7.2 bundles it): operations on 32-bit integers.
//!
//! Numbers are taken modulo 2^32 and results are signed. Scripts call it through the table; nothing else does.

use mlua::{Lua, LuaString, Table};

use super::native::{Arguments, Failure, add};

/// Adding 2^52 + 2^51 leaves a number's integer part in the low bits of the mantissa, rounded to even.
const SHIFT_INTO_MANTISSA: f64 = 6_755_399_441_055_744.0;

/// The table `bit`.
pub fn bit(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    add(lua, &library, "tobit", |arguments| result(bits(arguments, 1)?))?;
    add(lua, &library, "bnot", |arguments| result(!bits(arguments, 1)?))?;
    add(lua, &library, "bswap", |arguments| result(bits(arguments, 1)?.swap_bytes()))?;
    add(lua, &library, "tohex", to_hex)?;
    for (name, operation) in FOLDS {
        add(lua, &library, name, move |arguments| fold(arguments, *operation))?;
    }
    for (name, operation) in SHIFTS {
        add(lua, &library, name, move |arguments| {
            let (value, count) = (bits(arguments, 1)?, bits(arguments, 2)?);
            result(operation(value, count & 31))
        })?;
    }
    Ok(library)
}

type Operation = fn(u32, u32) -> u32;

/// What combines any number of arguments.
const FOLDS: &[(&str, Operation)] = &[("band", |a, b| a & b), ("bor", |a, b| a | b), ("bxor", |a, b| a ^ b)];

/// What moves bits; the count is below 32.
const SHIFTS: &[(&str, Operation)] = &[
    ("lshift", |value, count| value << count),
    ("rshift", |value, count| value >> count),
    ("arshift", |value, count| (value.cast_signed() >> count).cast_unsigned()),
    ("rol", u32::rotate_left),
    ("ror", u32::rotate_right),
];

/// The low 32 bits of an argument; no number is an error.
fn bits(arguments: &Arguments<'_>, position: usize) -> Result<u32, Failure> {
    Ok((arguments.number(position)? + SHIFT_INTO_MANTISSA).to_bits() as u32)
}

fn result(bits: u32) -> Result<f64, Failure> {
    Ok(f64::from(bits.cast_signed()))
}

/// The first argument is looked at first, then the others from the last: which of two bad ones is named depends on it.
fn fold(arguments: &Arguments<'_>, operation: Operation) -> Result<f64, Failure> {
    let mut value = bits(arguments, 1)?;
    for position in (2..=arguments.count()).rev() {
        value = operation(value, bits(arguments, position)?);
    }
    result(value)
}

/// tohex(x [, n]): the last `n` digits, 8 by default and at most; capitals for a negative `n`.
fn to_hex(arguments: &Arguments<'_>) -> Result<LuaString, Failure> {
    let value = bits(arguments, 1)?;
    let digits = match arguments.value(2) {
        None => 8,
        Some(_) => bits(arguments, 2)?.cast_signed(),
    };
    let text = if digits < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
    let len = (digits.unsigned_abs() as usize).min(text.len());
    Ok(arguments.lua.create_string(&text[text.len() - len..])?)
}

#[cfg(test)]
mod tests {
    use super::super::native::testing::check;

    #[test]
    fn operations_are_those_of_bitop() {
        check(
            "bit",
            super::bit,
            &[
                ("return bit.tobit(0xffffffff), bit.tobit(0x180000000), bit.tobit('12')", "-1 -2147483648 12"),
                ("return bit.tobit(0.5), bit.tobit(1.5), bit.tobit(2.5)", "0 2 2"),
                ("return bit.bnot(0), bit.bnot(0x12345678)", "-1 -305419897"),
                ("return bit.band(0xff, 0x3c, 0x18), bit.bor(1, 2, 4), bit.bxor(5, 1, 8)", "24 7 12"),
                ("return bit.band(7)", "7"),
                ("return bit.lshift(1, 31), bit.lshift(1, 32), bit.lshift(1, -1)", "-2147483648 1 -2147483648"),
                ("return bit.rshift(-1, 28), bit.arshift(-256, 4), bit.arshift(256, 4)", "15 -16 16"),
                ("return bit.rol(0x80000001, 1), bit.ror(1, 1), bit.rol(5, 0)", "3 -2147483648 5"),
                ("return bit.tohex(bit.bswap(0x12345678))", "78563412"),
                ("return bit.tohex(255), bit.tohex(255, 2), bit.tohex(255, -4), bit.tohex(1, 0)", "000000ff ff 00FF "),
                ("return bit.tohex(1, 100), bit.tohex(171, -2^31)", "00000001 000000AB"),
            ],
        );
    }

    #[test]
    fn what_is_no_number_is_refused() {
        check(
            "bit",
            super::bit,
            &[
                ("return pcall(bit.tobit)", "false bad argument #1 to '?' (number expected, got no value)"),
                ("return pcall(bit.tohex, 1, nil)", "false bad argument #2 to '?' (number expected, got nil)"),
                ("return pcall(bit.band, 1, {}, 'x')", "false bad argument #3 to '?' (number expected, got string)"),
                ("return bit.rol(1)", "error: user_script:1: bad argument #2 to 'rol' (number expected, got no value)"),
            ],
        );
    }
}
