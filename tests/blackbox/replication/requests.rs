//! Random writes of every type, above all those that reach a replica in another form than the client sent.
//!
//! In a template `{A|B}` is one of the choices and a word in angle brackets is filled in: `<s>`, `<l>`, `<h>`, `<t>`, `<z>`,
//! `<x>`, `<p>`, `<b>` and `<g>` name a string, list, hash, set, sorted set, stream, HyperLogLog, bitmap and geo key, `<n>` a counter,
//! `<f>` a float, and `<any>` one of all. Scores are halves of small integers: their digests are the same in every version.

use crate::support::random::Random;

/// Keys of each type: few enough to meet often, enough that a database is not a handful.
const KEYS_OF_A_TYPE: u64 = 60;

/// Weight and template.
type Row = (u64, &'static str);

const ROWS: &[Row] = &[
    (12, "SET <s> <v>"),
    (4, "SET <s> <v> {NX|XX|KEEPTTL|GET|XX GET|NX GET}"),
    (4, "SET <s> <v> {EX <rel_s>|PX <rel_ms>|EXAT <far_s>|PXAT <far_ms>|PXAT 1} {XX|NX|GET}"),
    (3, "SET <s> <v> {EX <rel_s>|PX <rel_ms>|EXAT <far_s>|PXAT <far_ms>}"),
    (2, "{SETEX <s> <rel_s> <v>|PSETEX <s> <rel_ms> <v>|SETNX <s> <v>|GETSET <s> <v>|GETDEL <s>}"),
    (4, "GETEX <s> {EX <rel_s>|PX <rel_ms>|EXAT <far_s>|PXAT <far_ms>|PERSIST|EXAT 1}"),
    (2, "{MSET <s> <v> <s> <v> <n> 7|MSETNX <s> <v> <s> <v>}"),
    (3, "{APPEND <s> <v>|SETRANGE <s> <small> <v>}"),
    (4, "{INCR <n>|DECR <n>|INCRBY <n> <small>|DECRBY <n> <small>}"),
    (4, "INCRBYFLOAT <f> {0.1|-3.75|1e3|0.001}"),
    (4, "{SETBIT <b> <small> {0|1}|BITOP {AND|OR|XOR} <b> <b> <b>|BITOP NOT <b> <b>}"),
    (3, "BITFIELD <b> SET u8 <small> <small> INCRBY i5 <small> 3 OVERFLOW FAIL INCRBY u2 3 3"),
    (1, "BITFIELD <b> GET u8 0"),
    (4, "{PFADD <p> <v> <v>|PFMERGE <p> <p> <p>|PFCOUNT <p>|PFCOUNT <p> <p>}"),
    (10, "{LPUSH|RPUSH} <l> <v> <v> <v>"),
    (3, "{LPUSHX|RPUSHX} <l> <v>"),
    (5, "{LPOP|RPOP} <l> {1|2|5}"),
    (3, "{LTRIM <l> 0 20|LTRIM <l> -10 -1|LSET <l> 0 <v>|LREM <l> 1 a|LINSERT <l> BEFORE a <v>}"),
    (3, "{LMOVE <l> <l> LEFT RIGHT|RPOPLPUSH <l> <l>|LMPOP 2 <l> <l> LEFT COUNT 2}"),
    (2, "{BLPOP <l> 0.001|BRPOP <l> <l> 0.001|BLMOVE <l> <l> RIGHT LEFT 0.001|BLMPOP 0.001 2 <l> <l> RIGHT COUNT 2}"),
    (8, "HSET <h> <m> <v> <m> <v> <m> <v>"),
    (4, "{HDEL <h> <m> <m>|HSETNX <h> <m> <v>|HINCRBY <h> number <small>}"),
    (4, "HINCRBYFLOAT <h> float {0.1|2.5|-7e2}"),
    (8, "SADD <t> <m> <m> <m> <small>"),
    (3, "{SREM <t> <m> <m>|SMOVE <t> <t> <m>}"),
    (6, "{SPOP <t>|SPOP <t> 2|SPOP <t> 4|SPOP <t> 1000}"),
    (3, "{SINTERSTORE|SUNIONSTORE|SDIFFSTORE} <t> <t> <t>"),
    (8, "ZADD <z> <score> <m> <score> <m> <score> <m>"),
    (4, "{ZADD <z> {NX|XX|GT|LT|CH|GT CH} <score> <m>|ZADD <z> INCR <score> <m>|ZINCRBY <z> <score> <m>}"),
    (4, "{ZPOPMIN <z>|ZPOPMAX <z> 2|ZMPOP 2 <z> <z> MIN COUNT 3|ZREM <z> <m> <m>}"),
    (2, "{BZPOPMIN <z> <z> 0.001|BZPOPMAX <z> 0.001|BZMPOP 0.001 2 <z> <z> MAX COUNT 2}"),
    (2, "{ZREMRANGEBYRANK <z> 0 1|ZREMRANGEBYSCORE <z> 0 <score>|ZREMRANGEBYLEX <z> - +}"),
    (3, "{ZUNIONSTORE|ZINTERSTORE} <z> 2 <z> <t> {WEIGHTS 2 0.5|AGGREGATE MAX|AGGREGATE SUM}"),
    (2, "{ZRANGESTORE <z> <z> 0 5|ZDIFFSTORE <z> 2 <z> <z>}"),
    (4, "GEOADD <g> {13.361389 38.115556|15.087269 37.502669|2.3522 48.8566|-0.1278 51.5074} <m>"),
    (3, "{GEOSEARCHSTORE <z> <g> FROMLONLAT 15 37 BYRADIUS 1500 km|GEORADIUS <g> 15 37 900 km STORE <z>}"),
    (10, "XADD <x> * <m> <v>"),
    (4, "XADD <x> {MAXLEN ~ 50|MAXLEN 30|MINID ~ 1-1|NOMKSTREAM|MAXLEN ~ 10 LIMIT 5} * <m> <v> <m> <v>"),
    (2, "{XTRIM <x> MAXLEN ~ 20|XTRIM <x> MAXLEN 10|XDEL <x> 1-1|XADD <x> 99999999999999-* a b}"),
    (3, "XGROUP CREATE <x> {g1|g2} {0|$} MKSTREAM"),
    (2, "XGROUP {CREATECONSUMER <x> g1 c3|DELCONSUMER <x> g1 c2|SETID <x> g1 0|SETID <x> g2 $|DESTROY <x> g2}"),
    (8, "XREADGROUP GROUP {g1|g2} {c1|c2} COUNT {1|3|10} STREAMS <x> >"),
    (2, "XREADGROUP GROUP g1 c1 {NOACK|COUNT 2 NOACK} STREAMS <x> <x> > >"),
    (1, "XREADGROUP GROUP g2 c2 BLOCK 1 STREAMS <x> >"),
    (4, "XAUTOCLAIM <x> {g1|g2} {c1|c2|c3} 0 0 COUNT {1|5|100}"),
    (2, "XAUTOCLAIM <x> g1 c2 0 - COUNT 5 JUSTID"),
    (6, "{DEL|UNLINK} <any>"),
    (2, "{DEL|UNLINK} <any> <any> <any>"),
    (6, "{EXPIRE <any> <rel_s>|PEXPIRE <any> <rel_ms>|EXPIREAT <any> <far_s>|PEXPIREAT <any> <far_ms>}"),
    (3, "{EXPIRE <any> <far_rel> {NX|XX|GT|LT}|EXPIRE <any> -1|EXPIREAT <any> 1|PERSIST <any>}"),
    (3, "{RENAME|RENAMENX} <any> <any>"),
    (3, "{COPY <any> <any> REPLACE|COPY <any> <any> DB <db>|COPY <any> <any> DB <db> REPLACE}"),
    (2, "MOVE <any> <db>"),
    (2, "{SORT <l> ALPHA STORE <l>|SORT <t> ALPHA DESC STORE <l>|SORT <z> BY nosort STORE <l>}"),
    (4, "{EXISTS|TYPE|TTL|OBJECT ENCODING} <any>"),
    (4, "GET <s>"),
    (3, "SELECT <db>"),
];

/// Rare: what is there lives long enough to be met.
const RARE: &[Row] = &[
    (6, "SWAPDB <db> <db>"),
    (2, "FLUSHDB {ASYNC|SYNC}"),
    (1, "FLUSHALL {ASYNC|SYNC}"),
    (8, "SET <s> <big>"),
    (4, "RPUSH <l> <big> <big>"),
    (4, "HSET <h> <m> <big>"),
    (3, "SETRANGE <s> 200000 <v>"),
    (3, "SETBIT <b> 900000 1"),
];

const RARE_PER_MILLE: u64 = 4;
const SMALL: u64 = 200;
const FAR_MS: u64 = 33_177_117_420_000;

/// One random request; `SELECT` among them, so that a connection changes databases.
pub fn next(random: &mut Random) -> Vec<Vec<u8>> {
    let rows = if random.below(1000) < RARE_PER_MILLE { RARE } else { ROWS };
    one_of(rows, random)
}

/// A random request that takes away the keys it names, at most.
pub fn next_that_leaves_the_rest(random: &mut Random) -> Vec<Vec<u8>> {
    one_of(ROWS, random)
}

fn one_of(rows: &[Row], random: &mut Random) -> Vec<Vec<u8>> {
    let mut at = random.below(rows.iter().map(|row| row.0).sum());
    for (weight, template) in rows {
        if at < *weight {
            return fill(random, template);
        }
        at -= weight;
    }
    unreachable!("the weights sum up to more than what was drawn")
}

/// The words of one request: first the choices are made, from the innermost on, then words are filled in.
pub fn fill(random: &mut Random, template: &str) -> Vec<Vec<u8>> {
    let mut line = template.to_owned();
    while let Some(close) = line.find('}') {
        let open = line[..close].rfind('{').expect("an open brace before a closing one");
        let choices: Vec<&str> = line[open + 1..close].split('|').collect();
        let chosen = random.pick(&choices).to_owned();
        line.replace_range(open..=close, &chosen);
    }
    line.split_whitespace().map(|word| word_of(random, word)).collect()
}

/// A key of the type that the letter says.
fn key(random: &mut Random, letter: &str) -> String {
    // Some keys are met far more often than others.
    let bound = if random.chance(50) { KEYS_OF_A_TYPE / 6 } else { KEYS_OF_A_TYPE };
    format!("{letter}{}", random.below(bound))
}

fn word_of(random: &mut Random, word: &str) -> Vec<u8> {
    let Some(name) = word.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) else {
        return word.as_bytes().to_vec();
    };
    match name {
        "any" => {
            let letter = random.pick(&["s", "l", "h", "t", "z", "x", "p", "b", "g", "n", "f"]);
            key(random, letter)
        }
        "v" => return value(random),
        "big" => {
            let len = 20_000 + random.index(200_000);
            return random.bytes(len);
        }
        "m" => random.pick(&["a", "b", "c", "d", "e", "f", "g", "member-that-is-longer-than-the-others"]).to_owned(),
        "small" => random.below(SMALL).to_string(),
        "score" => format!("{}{}", random.below(SMALL), random.pick(&["", ".5"])),
        "db" => random.below(4).to_string(),
        "rel_s" => (1 + random.below(3)).to_string(),
        "rel_ms" => (1 + random.below(400)).to_string(),
        "far_rel" => (100_000 + random.below(100_000)).to_string(),
        "far_ms" => (FAR_MS + random.below(1_000_000)).to_string(),
        "far_s" => (FAR_MS / 1000 + random.below(1_000_000)).to_string(),
        letter => key(random, letter),
    }
    .into_bytes()
}

fn value(random: &mut Random) -> Vec<u8> {
    match random.below(20) {
        0 => random.bytes(100),
        1 => Vec::new(),
        2 => vec![b'r'; 70 + random.index(1000)],
        3..8 => random.below(100_000).to_string().into_bytes(),
        _ => random.pick(&["a", "b", "c", "hello", "one of the longer values"]).as_bytes().to_vec(),
    }
}

/// Each template fills to words without braces and brackets, whichever choices are made.
#[test]
fn templates_leave_nothing_open() {
    let mut random = Random::new(1);
    for (_, template) in ROWS.iter().chain(RARE) {
        for _ in 0..20 {
            let words = fill(&mut random, template);
            let open = |word: &Vec<u8>| word.len() < 10 && word.iter().any(|byte| b"{}<|".contains(byte));
            let named = words.iter().skip(1).all(|word| !open(word) || word.first() == Some(&b'<'));
            assert!(named && !words[0].contains(&b'{'), "{template}: {words:?}");
        }
    }
}
