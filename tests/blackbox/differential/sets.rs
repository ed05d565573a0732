//! Requests of the set family, and the members that sets and fields that hashes are given.

use super::generate::Compare::{AnyOrder, Exact, SameType};
use super::generate::Row;
use crate::support::random::Random;

/// SPOP takes all or nothing: which of the members go would differ.
pub const ROWS: &[Row] = &[
    (12, "SADD <set> <member>+", Exact),
    (6, "SREM <set> <member>+", Exact),
    (4, "SMOVE <set> <set> <member>", Exact),
    (3, "SISMEMBER <set> <member>", Exact),
    (3, "SMISMEMBER <set> <member>+", Exact),
    (2, "SCARD <set>", Exact),
    (4, "SMEMBERS <set>", AnyOrder),
    (1, "SPOP <set> {100000|0|-1|x|9223372036854775807}", AnyOrder),
    (2, "SRANDMEMBER <set> [<int_small>]", SameType),
    (1, "SRANDMEMBER <set> {100000|0|x|-9223372036854775808}", AnyOrder),
    (3, "{SINTER|SUNION|SDIFF} <set>+", AnyOrder),
    (4, "{SINTERSTORE|SUNIONSTORE|SDIFFSTORE} <set> <set>+", Exact),
    (2, "SINTERCARD {1|2|3|0|x|-1} <set>+ [LIMIT <int>]", Exact),
    (1, "SINTERCARD 2 <set> <set> {LIMIT 1|LIMIT 0|LIMIT -1|LIMIT|LIMIT 1 LIMIT 2|<word>}", Exact),
    (1, "SSCAN <set> <cursor> [MATCH <glob>|COUNT <bad_count>]", SameType),
    (2, "SSCAN <set> 0 COUNT 100000 [MATCH <glob>]", AnyOrder),
    (4, "OBJECT ENCODING <set>", Exact),
    (1, "DEL <set>", Exact),
    (1, "COPY <set> <set> REPLACE", Exact),
    (1, "CONFIG SET set-max-intset-entries {0|2|6|512}", Exact),
    (1, "CONFIG SET set-max-listpack-entries {0|3|8|128}", Exact),
    (1, "CONFIG SET set-max-listpack-value {1|4|20|64}", Exact),
];

const EDGES: &[&str] = &[
    "",
    "0",
    "-1",
    "00",
    "-0",
    "+1",
    "32767",
    "32768",
    "-32769",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    " 1",
    "1.5",
];

/// Few enough that sets overlap.
pub fn member(random: &mut Random) -> Vec<u8> {
    match random.below(20) {
        0..9 => random.below(25).to_string().into_bytes(),
        9..15 => format!("m{}", random.below(25)).into_bytes(),
        15..17 => random.pick(EDGES).as_bytes().to_vec(),
        17 => format!("{:050}", random.below(5)).into_bytes(),
        18 => vec![b'x'; 62 + random.index(5)],
        _ => {
            let len = random.index(3);
            random.bytes(len)
        }
    }
}
