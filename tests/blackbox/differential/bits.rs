//! Rows and words for bitmaps and HyperLogLogs. What is compared byte for byte is the string behind them too: GET of every
//! key stands at the end of each phase.

use super::generate::Compare::Exact;
use super::generate::Row;
use crate::support::random::Random;

pub const BITS: &[Row] = &[
    (12, "SETBIT <key> <bit_at> {0|1|0|1|<int>}", Exact),
    (4, "GETBIT <key> <bit_at>", Exact),
    (4, "BITCOUNT <key>", Exact),
    (6, "BITCOUNT <key> <range_end> <range_end> [BYTE|BIT|BIT|<word>]", Exact),
    (3, "BITPOS <key> {0|1|<int>}", Exact),
    (2, "BITPOS <key> {0|1} <range_end>", Exact),
    (6, "BITPOS <key> {0|1} <range_end> <range_end> [BYTE|BIT|BIT|<word>]", Exact),
    (6, "BITOP {AND|OR|XOR|and|<word>} <key> <key>+", Exact),
    (2, "BITOP NOT <key> <key>", Exact),
    (1, "BITOP NOT <key> <key>+", Exact),
    (3, "BITFIELD <key> GET <field_type> <field_at>", Exact),
    (6, "BITFIELD <key> SET <field_type> <field_at> <field_value>", Exact),
    (6, "BITFIELD <key> OVERFLOW {WRAP|SAT|FAIL|<word>} INCRBY <field_type> <field_at> <field_value>", Exact),
    (6, "BITFIELD <key> OVERFLOW {SAT|FAIL} SET <field_type> <field_at> <field_value>", Exact),
    (
        6,
        "BITFIELD <key> SET <field_type> <field_at> <field_value> [OVERFLOW SAT|OVERFLOW FAIL] INCRBY <field_type> <field_at> \
         <field_value> GET <field_type> <field_at>",
        Exact,
    ),
    (2, "BITFIELD_RO <key> [GET <field_type> <field_at>|GET u8 #0|OVERFLOW SAT|SET u8 0 1]", Exact),
    (
        2,
        "COMMAND GETKEYS {BITOP AND <key> <key> <key>|PFMERGE <hll> <hll>|BITFIELD <key> GET u1 0|PFCOUNT <key> <key>}",
        Exact,
    ),
    (8, "PFADD <hll> <element> <element>", Exact),
    (8, "PFADD <hll> <elements>", Exact),
    (3, "PFADD {<key>|<hll>} <element>", Exact),
    (1, "PFADD {<key>|<hll>}", Exact),
    (4, "PFCOUNT <hll>", Exact),
    (3, "PFCOUNT <hll> <hll> [<hll>|<bad_hll>|<key>]", Exact),
    (2, "PFCOUNT {<key>|<bad_hll>}", Exact),
    (3, "PFMERGE <hll> [<hll>|<hll>|<bad_hll>|<key>]", Exact),
    (1, "PFMERGE <key> [<hll>]", Exact),
    (1, "PFDEBUG GETREG {<hll>|<bad_hll>}", Exact),
    (3, "PFDEBUG {DECODE|ENCODING} {<hll>|<bad_hll>}", Exact),
    (1, "PFDEBUG {TODENSE|<word>} {<hll>|<key>|<bad_hll>}", Exact),
    (3, "GET {<hll>|<bad_hll>}", Exact),
    (1, "OBJECT ENCODING {<hll>|<bad_hll>}", Exact),
    (1, "DEL <hll>", Exact),
    (3, "COPY <hll> <bad_hll> REPLACE", Exact),
    (2, "SETRANGE <bad_hll> <hll_at> <val>", Exact),
    (1, "APPEND <bad_hll> <val>", Exact),
    // One element each: with more, Redis may have added some before it finds the damage.
    (3, "PFADD <bad_hll> <element>", Exact),
];

const BIT_EDGES: &[&str] =
    &["-1", "4294967296", "9223372036854775807", "-9223372036854775808", "x", "", "1.5", " 1", "007"];
const FIELD_EDGES: &[&str] =
    &["#-1", "#x", "#", "##1", "#9223372036854775807", "#4294967296", "-1", "4294967296", "x", ""];
const TYPE_EDGES: &[&str] = &["u64", "i65", "i0", "u0", "i-1", "I8", "8", "i", "", "u1.5", "i08", "x8"];
const RANGE_EDGES: &[&str] = &["9223372036854775807", "-9223372036854775808", "9223372036854775808", "x", "", "-0"];

/// Elements of a PFADD: many, so that a HyperLogLog becomes dense in the course of a phase.
pub fn elements(random: &mut Random) -> Vec<Vec<u8>> {
    let most = if random.chance(20) { 700 } else { 40 };
    (0..random.index(most)).map(|_| element(random).into_bytes()).collect()
}

fn element(random: &mut Random) -> String {
    // The width of the text is every remainder of eight.
    let number = random.below(100_000);
    format!("{number:0width$}", width = 1 + random.index(17))
}

/// The placeholders of these rows; None for any other word.
pub fn word(random: &mut Random, token: &str) -> Option<String> {
    let small = |random: &mut Random| {
        let size = [8, 80, 800, 8000][random.index(4)];
        random.below(size)
    };
    let is_edge = random.chance(6);
    Some(match token {
        "<bit_at>" if is_edge => random.pick(BIT_EDGES).to_owned(),
        "<bit_at>" => small(random).to_string(),
        "<field_at>" if is_edge => random.pick(FIELD_EDGES).to_owned(),
        "<field_at>" if random.chance(40) => format!("#{}", random.below(20)),
        "<field_at>" => small(random).to_string(),
        "<field_type>" if is_edge => random.pick(TYPE_EDGES).to_owned(),
        "<field_type>" if random.chance(50) => {
            random.pick(&["u8", "i8", "i64", "u63", "i63", "u1", "i1", "i16"]).to_owned()
        }
        "<field_type>" => format!("{}{}", random.pick(&["i", "u"]), 1 + random.below(63)),
        "<field_value>" => match random.below(10) {
            0 => random.pick(super::generate::EDGE_INTEGERS).to_owned(),
            1..4 => random.next().cast_signed().to_string(),
            _ => (small(random).cast_signed() - 400).to_string(),
        },
        "<range_end>" if is_edge => random.pick(RANGE_EDGES).to_owned(),
        "<range_end>" => {
            let size = [10, 300][random.index(2)];
            let end = random.below(size).cast_signed();
            if random.chance(40) { (-end).to_string() } else { end.to_string() }
        }
        "<hll_at>" => {
            let size = [17, 2000][random.index(2)];
            random.below(size).to_string()
        }
        "<element>" => element(random),
        _ => return None,
    })
}
