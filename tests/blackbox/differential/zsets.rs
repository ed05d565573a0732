//! Requests of the sorted set family, and the scores and ends of ranges that they are given.

use super::generate::Compare::{AnyOrder, Exact, SameType};
use super::generate::Row;
use crate::support::random::Random;

/// `<zset>` has any scores. `<lexset>` has all scores 0: what ranges of members give otherwise is Redis's own affair.
pub const ROWS: &[Row] = &[
    (12, "ZADD <zset> <score_member>+", Exact),
    (6, "ZADD <zset> [NX|XX|GT|LT|CH] <score_member>+", Exact),
    (4, "ZADD <zset> [NX|XX|GT|LT|CH] INCR <score> <member>", Exact),
    (6, "ZINCRBY <zset> <score> <member>", Exact),
    (8, "ZADD <lexset> <zero_member>+", Exact),
    (5, "ZREM <zset> <member>+", Exact),
    (2, "ZREM <lexset> <member>+", Exact),
    (2, "ZREMRANGEBYRANK <zset> <int_small> <int_small>", Exact),
    (2, "ZREMRANGEBYSCORE <zset> <score_end> <score_end>", Exact),
    (2, "ZREMRANGEBYLEX <lexset> <lex_end> <lex_end>", Exact),
    (2, "ZCARD <zset>", Exact),
    (3, "ZCOUNT <zset> <score_end> <score_end>", Exact),
    (3, "ZLEXCOUNT <lexset> <lex_end> <lex_end>", Exact),
    (3, "ZSCORE <zset> <member>", Exact),
    (2, "ZMSCORE <zset> <member>+", Exact),
    (4, "{ZRANK|ZREVRANK} <zset> <member>", Exact),
    (1, "{ZRANK|ZREVRANK} <zset> <member> {WITHSCORE|<word>}", Exact),
    (5, "{ZRANGE|ZREVRANGE} <zset> <int_small> <int_small> [WITHSCORES]", Exact),
    (3, "ZRANGE <zset> <int_small> <int_small> [REV|WITHSCORES|LIMIT 0 -1|LIMIT 0 1]", Exact),
    (
        5,
        "{ZRANGEBYSCORE|ZREVRANGEBYSCORE} <zset> <score_end> <score_end> [WITHSCORES|LIMIT <int_small> <int_small>]",
        Exact,
    ),
    (4, "ZRANGE <zset> <score_end> <score_end> BYSCORE [REV|WITHSCORES|LIMIT <int_small> <int_small>|BYLEX]", Exact),
    (4, "{ZRANGEBYLEX|ZREVRANGEBYLEX} <lexset> <lex_end> <lex_end> [LIMIT <int_small> <int_small>]", Exact),
    (4, "ZRANGE <lexset> <lex_end> <lex_end> BYLEX [REV|LIMIT <int_small> <int_small>|WITHSCORES]", Exact),
    (2, "ZRANGESTORE <zset> <zset> <int_small> <int_small> [REV]", Exact),
    (2, "ZRANGESTORE <zset> <zset> <score_end> <score_end> BYSCORE [REV|LIMIT <int_small> <int_small>]", Exact),
    (2, "ZRANGESTORE <zset> <lexset> <lex_end> <lex_end> BYLEX [REV|LIMIT <int_small> <int_small>|WITHSCORES]", Exact),
    (
        3,
        "{ZUNION|ZINTER} 2 <zset> {<zset>|<set>|<lexset>} [WITHSCORES|AGGREGATE MIN|AGGREGATE MAX|AGGREGATE SUM]",
        Exact,
    ),
    (3, "{ZUNION|ZINTER} 3 <zset> <set> <zset> WEIGHTS <score> <score> <score> [WITHSCORES|AGGREGATE MAX]", Exact),
    (2, "ZDIFF {1|2|3} <zset>+ [WITHSCORES]", Exact),
    (
        3,
        "{ZUNIONSTORE|ZINTERSTORE} <zset> 2 <zset> {<zset>|<set>} [AGGREGATE MIN|AGGREGATE MAX|AGGREGATE <word>]",
        Exact,
    ),
    (2, "{ZUNIONSTORE|ZINTERSTORE} <zset> 2 <zset> <lexset> WEIGHTS <score> <score> [AGGREGATE MAX]", Exact),
    (2, "ZDIFFSTORE <zset> {1|2} <zset> <zset>", Exact),
    (2, "ZINTERCARD 2 <zset> {<zset>|<set>} [LIMIT <int_small>]", Exact),
    (1, "{ZUNION|ZINTER|ZDIFF|ZINTERCARD} {0|-1|x|5|9223372036854775807} <zset>+", Exact),
    (4, "{ZPOPMIN|ZPOPMAX} <zset> [<int_small>]", Exact),
    (2, "ZMPOP {1|2|0|x|9223372036854775807} <zset> {MIN|MAX|<zset> MIN} [COUNT <int_small>]", Exact),
    // Never such that they would wait.
    (1, "{BZPOPMIN|BZPOPMAX} <zset> <zset> {x|-1|nan}", Exact),
    (1, "BZMPOP {-1|x} {1|0|x|3} <zset> {MIN|MAX|x} [COUNT <int_small>]", Exact),
    (1, "ZRANDMEMBER <zset> [<int_small>|<int_small> WITHSCORES]", SameType),
    (
        1,
        "ZRANDMEMBER <zset> {100000|100000 WITHSCORES|0|x|-9223372036854775808|9223372036854775807 WITHSCORES}",
        AnyOrder,
    ),
    (1, "ZSCAN <zset> <cursor> [MATCH <glob>|COUNT <bad_count>]", SameType),
    (2, "ZSCAN <zset> 0 COUNT 100000 [MATCH <glob>]", AnyOrder),
    (4, "OBJECT ENCODING {<zset>|<lexset>}", Exact),
    (1, "DEL {<zset>|<lexset>}", Exact),
    (1, "COPY <zset> <zset> REPLACE", Exact),
    (1, "CONFIG SET zset-max-listpack-entries {0|2|5|12|128}", Exact),
    (1, "CONFIG SET zset-max-listpack-value {1|4|20|64}", Exact),
];

const SCORES: &[&str] = &[
    "inf",
    "-inf",
    "+inf",
    "Infinity",
    "nan",
    "-0",
    "0",
    "1e19",
    "1e17",
    "-1e300",
    "9007199254740993",
    "4611686018427387904",
    "9223372036854775807",
    "0x10",
    ".5",
    "5.",
    "",
    "x",
    " 1",
    "1 ",
    "1e400",
    "0.0001220703125",
];

pub fn score(random: &mut Random) -> Vec<u8> {
    let number = random.below(24).cast_signed() - 8;
    match random.below(20) {
        0..12 => number.to_string().into_bytes(),
        12..17 => format!("{}.{}", number, random.pick(&["5", "25", "125", "75"])).into_bytes(),
        17..19 => random.below(1 << 53).to_string().into_bytes(),
        _ => random.pick(SCORES).as_bytes().to_vec(),
    }
}

pub fn score_end(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0 => b"-inf".to_vec(),
        1 => b"+inf".to_vec(),
        2..4 => [b"(".to_vec(), score(random)].concat(),
        _ => score(random),
    }
}

pub fn lex_end(random: &mut Random) -> Vec<u8> {
    let sign = match random.below(12) {
        0..2 => return b"-".to_vec(),
        2..4 => return b"+".to_vec(),
        4 => return random.pick(&["", "x", "-x", "+x", "[", "("]).as_bytes().to_vec(),
        5..9 => b"[",
        _ => b"(",
    };
    [sign.to_vec(), super::sets::member(random)].concat()
}
