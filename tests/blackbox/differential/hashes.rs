//! Requests of the hash family.

use super::generate::Compare::{AnyOrder, Exact, SameType};
use super::generate::Row;

pub const ROWS: &[Row] = &[
    (10, "HSET <hash> <field_value>+", Exact),
    (2, "HMSET <hash> <field_value>+", Exact),
    (4, "HSETNX <hash> <field> <val>", Exact),
    (6, "HGET <hash> <field>", Exact),
    (3, "HMGET <hash> <field>+", Exact),
    (3, "HGETALL <hash>", AnyOrder),
    (2, "{HKEYS|HVALS} <hash>", AnyOrder),
    (2, "HLEN <hash>", Exact),
    (2, "HSTRLEN <hash> <field>", Exact),
    (2, "HEXISTS <hash> <field>", Exact),
    (6, "HDEL <hash> <field>+", Exact),
    (4, "HINCRBY <hash> <field> <int>", Exact),
    (4, "HINCRBYFLOAT <hash> <field> <float>", Exact),
    (2, "HRANDFIELD <hash> [<int_small>|<int_small> WITHVALUES]", SameType),
    (
        1,
        "HRANDFIELD <hash> {100000|100000 WITHVALUES|0|x|-9223372036854775808|9223372036854775807 WITHVALUES}",
        AnyOrder,
    ),
    (1, "HSCAN <hash> <cursor> [MATCH <glob>|COUNT <bad_count>]", SameType),
    (2, "HSCAN <hash> 0 COUNT 100000 [MATCH <glob>]", AnyOrder),
    (3, "OBJECT ENCODING <hash>", Exact),
    (1, "DEL <hash>", Exact),
    (1, "COPY <hash> <hash> REPLACE", Exact),
    (1, "CONFIG SET hash-max-listpack-entries {0|2|5|512}", Exact),
    (1, "CONFIG SET hash-max-listpack-value {4|20|64}", Exact),
];
