//! Random requests of the families that slotcore has, from templates.
//!
//! A template is a request line in which `<key>` and the like are filled in, `{A|B}` is one of the choices, `[A|B]` is
//! none to three of them, and `<key>+` or `<pair>+` is one to five. Some requests are then damaged: an argument too
//! few, too many, doubled or in another place.

use super::bits::{self, BITS};
use crate::support::random::Random;

/// How two replies are compared when their bytes differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compare {
    Exact,
    /// Integers of the same sign that differ by at most so much: what is left until a time, read at two moments.
    Close(i64),
    /// Arrays whose order the server chooses.
    AnyOrder,
    /// Replies of the same type, null or not.
    SameType,
    /// HELLO: version and connection id differ.
    Hello,
    /// Streams: times of pending entries and consumers differ.
    StreamTimes,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub args: Vec<Vec<u8>>,
    pub compare: Compare,
}

/// Two servers act on a relative time at moments this far apart, even on a busy machine.
const APART_MS: i64 = 3000;
const APART_S: i64 = 3;

use Compare::{AnyOrder, Close, Exact, Hello, SameType};

/// Weight, template, comparison.
pub type Row = (u64, &'static str, Compare);

/// Families of collections, each in a file of its own.
const COLLECTIONS: &[&[Row]] = &[
    super::hashes::ROWS,
    super::lists::ROWS,
    super::sets::ROWS,
    super::zsets::ROWS,
    super::geo::ROWS,
    super::streams::ROWS,
];

const STRINGS: &[Row] = &[
    (8, "GET <key>", Exact),
    (10, "SET <key> <val>", Exact),
    (6, "SET <key> <val> [NX|XX|GET|KEEPTTL|EXAT <at_s>|PXAT <at_ms>]", Exact),
    (4, "GETEX <key> [PERSIST|EXAT <at_s>|PXAT <at_ms>]", Exact),
    (3, "GETDEL <key>", Exact),
    (3, "GETSET <key> <val>", Exact),
    (3, "SETNX <key> <val>", Exact),
    (4, "MGET <key>+", Exact),
    (4, "MSET <pair>+", Exact),
    (3, "MSETNX <pair>+", Exact),
    (5, "APPEND <key> <val>", Exact),
    (3, "STRLEN <key>", Exact),
    (4, "GETRANGE <key> <int> <int>", Exact),
    (1, "SUBSTR <key> <int> <int>", Exact),
    (4, "SETRANGE <key> <offset> <val>", Exact),
    (5, "{INCR|DECR} <key>", Exact),
    (5, "{INCRBY|DECRBY} <key> <int>", Exact),
    (5, "INCRBYFLOAT <key> <float>", Exact),
    (3, "LCS <key> <key> [LEN|IDX|MINMATCHLEN <int>|WITHMATCHLEN]", Exact),
];

/// What redis-server 7.0 answers to DUMP for a value of each type, and one payload that is damaged.
const PAYLOADS: &[&[u8]] = &[
    b"\x00\x01x\x0a\x00\x22\x80\x86_\xbd\xe8H\xd0",
    b"\x00\xc0\x05\x0a\x00c/_f\x83/\xb3Q",
    b"\x00\xc3\x09\x1e\x01yy\xe0\x11\x00\x01yy\x0a\x00 \x8ea\x81\xab\xe8\xf8]",
    b"\x12\x01\x02\x0f\x0f\x00\x00\x00\x03\x00\x81a\x02\x81b\x02\x07\x01\xff\x0a\x00\xa4\xd5}\x13~\x93C\x9c",
    b"\x10\x12\x12\x00\x00\x00\x04\x00\x81f\x02\x81v\x02\x81g\x02\x07\x01\xff\x0a\x00g\x0fs\xbad\xa7\xf2\xa2",
    b"\x11\x14\x14\x00\x00\x00\x04\x00\x81a\x02\x01\x01\x81b\x02\x832.5\x04\xff\x0a\x00\xd4Ln\xa4\xf6D\xd9\xd7",
    b"\x0b\x0c\x02\x00\x00\x00\x02\x00\x00\x00\x01\x00\x02\x00\x0a\x00oy8\xb14\xeb .",
    b"\x02\x02\x01b\x01a\x0a\x00u\xd9\x9d\x83^\xf8_e",
    b"\x13\x01\x10\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x1d\x1d\x00\x00\x00\x0a\x00\x01\x01\x00\x01\x01\x01\x81f\x02\x00\x01\x02\x01\x00\x01\x00\x01\x81v\x02\x04\x01\xff\x01\x01\x01\x01\x01\x00\x00\x01\x01\x01g\x00\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x0a\x00\xff\x9a\xd3KH\xb2h\xce",
    b"\x00\x01y\x0a\x00\x22\x80\x86_\xbd\xe8H\xd0",
];

const KEYS: &[Row] = &[
    (4, "{DEL|UNLINK} <key>+", Exact),
    (3, "EXISTS <key>+", Exact),
    (2, "TOUCH <key>+", Exact),
    (2, "TYPE <key>", Exact),
    (4, "EXPIREAT <key> <at_s> [NX|XX|GT|LT]", Exact),
    (5, "PEXPIREAT <key> <at_ms> [NX|XX|GT|LT]", Exact),
    (1, "{EXPIRE|PEXPIRE} <key> <bad_time> [NX|XX|GT|LT]", Exact),
    (2, "{SETEX|PSETEX} <key> <bad_time> <val>", Exact),
    (1, "{SET|GETEX} <key> {EX|PX} <bad_time>", Exact),
    (2, "TTL <key>", Close(APART_S)),
    (2, "PTTL <key>", Close(APART_MS)),
    (2, "{EXPIRETIME|PEXPIRETIME} <key>", Exact),
    (2, "PERSIST <key>", Exact),
    (3, "{RENAME|RENAMENX} <key> <key>", Exact),
    (4, "COPY <key> <key> [REPLACE|DB <copy_db>]", Exact),
    // What is compressed, and how, is the server's own affair.
    (1, "DUMP <key>", SameType),
    (2, "RESTORE <key> 0 <payload> [REPLACE]", Exact),
    (1, "RESTORE <key> <at_ms> <payload> ABSTTL [REPLACE]", Exact),
    (1, "RESTORE <key> {0|x|-1} <payload> [REPLACE|FREQ 300|IDLETIME x|IDLETIME -1]", Exact),
    (2, "MOVE <key> <db>", Exact),
    (1, "SWAPDB <db> <db>", Exact),
    (2, "RANDOMKEY", SameType),
    (2, "KEYS <glob>", AnyOrder),
    (1, "SCAN <cursor> [MATCH <glob>|COUNT <bad_count>|TYPE string]", SameType),
    (2, "DBSIZE", Exact),
    (3, "OBJECT ENCODING <key>", Exact),
    // Whether small integers are shared between keys is the server's own affair.
    (1, "OBJECT REFCOUNT <key>", SameType),
    (1, "OBJECT IDLETIME <key>", SameType),
    (1, "OBJECT FREQ <key>", Exact),
    (1, "OBJECT {HELP|<word>}", SameType),
];

/// Rare, so that keys live long enough to meet many commands.
const FLUSHES: &[Row] = &[(1, "{FLUSHDB|FLUSHALL} [ASYNC|SYNC]", Exact), (3, "FLUSHDB <word>", Exact)];

const CONNECTION: &[Row] = &[
    (3, "PING", Exact),
    (2, "PING <val>", Exact),
    (3, "ECHO <val>", Exact),
    (4, "SELECT <db>", Exact),
    (2, "CLIENT SETNAME <name>", Exact),
    (2, "CLIENT GETNAME", Exact),
    (1, "CLIENT ID", SameType),
    (1, "CLIENT {NO-EVICT ON|NO-EVICT OFF|NO-EVICT <word>|KILL ID <bad_id>|UNPAUSE|LIST TYPE <word>}", Exact),
    (3, "HELLO {2|3}", Hello),
    (1, "HELLO", Hello),
    (1, "HELLO {2|3|<int>} {SETNAME <name>|AUTH default x|<word>}", Hello),
    (1, "HELLO {2|3} AUTH <word> <word>", Hello),
    (1, "RESET", Exact),
    (2, "AUTH <word>", Exact),
    (2, "AUTH {default|<word>} <word>", Exact),
    (2, "<unknown>", Exact),
    (2, "<unknown> <val> <word> <val>", Exact),
    (2, "{CLIENT|CONFIG|OBJECT|MEMORY|SLOWLOG|LATENCY|COMMAND} <unknown> <word>", Exact),
    (2, "COMMAND GETKEYS {GET <key>|MSET <pair>+|LCS <key> <key>|COPY <key> <key>|PING x|<unknown> x}", Exact),
    (1, "CONFIG GET {maxmemory|timeout|<unknown>|maxmemory-polic?}", Exact),
    (1, "CONFIG SET {timeout <bad_time>|maxmemory-policy <word>|<unknown> 1|appendonly <word>}", Exact),
    (1, "SLOWLOG GET <word>", SameType),
    (1, "{SLOWLOG GET -2|LATENCY HISTORY <unknown>|MEMORY USAGE <key> SAMPLES -1}", Exact),
    (1, "MEMORY USAGE <key>", SameType),
    (1, "{READONLY|READWRITE|ASKING}", Exact),
    (2, "CLUSTER KEYSLOT <key>", Exact),
];

const CLUSTER: &[Row] = &[
    (3, "CLUSTER KEYSLOT <key>", Exact),
    (3, "CLUSTER COUNTKEYSINSLOT <slot>", Exact),
    (3, "CLUSTER GETKEYSINSLOT <slot> 1000", AnyOrder),
    (1, "CLUSTER GETKEYSINSLOT <slot> <bad_count>", Exact),
    (1, "CLUSTER {ADDSLOTS|ADDSLOTSRANGE} {<bad_slot>|0 0|5 4}", Exact),
    (1, "CLUSTER {DELSLOTS|DELSLOTSRANGE} {16384|x|0 16384|3 3 x}", Exact),
    (1, "CLUSTER <unknown> <int>", Exact),
    (1, "CLUSTER FLUSHSLOTS <word>", Exact),
];

/// Times relative to now; only in phases of their own, where expire times are compared with a margin.
const RELATIVE: &[Row] = &[
    (5, "SET <key> <val> {EX <rel_s>|PX <rel_ms>} [NX|XX|GET]", Exact),
    (5, "GETEX <key> {EX <rel_s>|PX <rel_ms>}", Exact),
    (5, "SETEX <key> <rel_s> <val>", Exact),
    (5, "PSETEX <key> <rel_ms> <val>", Exact),
    (8, "EXPIRE <key> <rel_s> [NX|XX|GT|LT]", Exact),
    (8, "PEXPIRE <key> <rel_ms> [NX|XX|GT|LT]", Exact),
    (5, "TTL <key>", Close(APART_S)),
    (5, "PTTL <key>", Close(APART_MS)),
    (5, "EXPIRETIME <key>", Close(APART_S)),
    (5, "PEXPIRETIME <key>", Close(APART_MS)),
];

/// Requests on keys that hold other types, made by the test beforehand.
const OTHER_TYPES: &[&str] = &[
    "GET <other>",
    "SET <other> <val> NX",
    "SET <other> <val> NX GET",
    "GETEX <other>",
    "GETDEL <other>",
    "GETSET <other> <val>",
    "SETNX <other> <val>",
    "MGET <key> <other>",
    "APPEND <other> <val>",
    "STRLEN <other>",
    "GETRANGE <other> 0 1",
    "SETRANGE <other> 1 x",
    "INCR <other>",
    "DECRBY <other> 1",
    "INCRBYFLOAT <other> 1",
    "LCS <other> <key>",
    "TYPE <other>",
    "EXISTS <other>",
    "OBJECT ENCODING <other>",
    "PERSIST <other>",
    "SETBIT <other> 1 1",
    "GETBIT <other> 1",
    "BITCOUNT <other> x",
    "BITPOS <other> 1",
    "BITOP AND <key> <key> <other>",
    "BITOP NOT <other> <key>",
    "BITFIELD <other> GET u8 0",
    "BITFIELD <other> SET u8 0 1",
    "BITFIELD_RO <other> GET u8 0",
    "PFADD <other> a",
    "PFCOUNT <other>",
    "PFCOUNT <hll> <other>",
    "PFMERGE <hll> <other>",
    "PFDEBUG ENCODING <other>",
    "PEXPIREAT <other> 33177117420000",
];

pub const EDGE_INTEGERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "10",
    "-5",
    "100",
    "9999",
    "10000",
    "2147483647",
    "-2147483648",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "-9223372036854775809",
    "1.0",
    "1e3",
    " 1",
    "1 ",
    "  1",
    "+1",
    "-0",
    "00",
    "01",
    "0x10",
    "",
    "abc",
    "99999999999999999999999",
    "nan",
];

const EDGE_FLOATS: &[&str] = &[
    "0",
    "1",
    "-1",
    "0.1",
    "-0.1",
    "3.0",
    "1e3",
    "5.0e3",
    "1e-5",
    "1E2",
    "1e17",
    "1e-17",
    "123456789.123456789",
    "1e308",
    "-1e308",
    "1e400",
    "1e4000",
    "1e5000",
    "inf",
    "-inf",
    "+inf",
    "nan",
    "0x10",
    "0x1p4",
    "1.",
    ".5",
    "+1.5",
    "-0",
    "-0.0",
    " 1",
    "1 ",
    "",
    "abc",
    "1,5",
    "1e",
    "9007199254740993",
    "18446744073709551616",
    "0.30000000000000004",
    "3.14159",
];

const RELATIVE_WORDS: &[&[u8]] = &[b"EX", b"PX", b"EXPIRE", b"PEXPIRE", b"SETEX", b"PSETEX"];

const WORDS: &[&str] =
    &["bogus", "", "NX", "XX", "EX", "GET", "a b", "x\ny", "on", "default", "*", "0", "-1", "string"];

const GLOBS: &[&str] = &[
    "*", "k*", "k?", "k[0-5]", "k[^0-5]", "*a*", "\\k1", "k[", "[", "", "nothing", "k[5-0]", "**", "?", "*{t1}*",
    "k\\", "[k]1",
];

/// Expire times in the far future: the same on both servers to the millisecond.
const FUTURE_MS: u64 = 33_177_117_420_000;

pub struct Generator {
    random: Random,
    cluster: bool,
    /// Keys of other types that both servers made.
    pub others: Vec<String>,
    /// Whether this phase uses times relative to now.
    pub relative: bool,
    tag: u64,
    /// While a transaction is made, its tag is that of all requests.
    tag_is_held: bool,
    /// Where the ids of streams have got to.
    stream_ms: u64,
}

impl Generator {
    pub fn new(seed: u64, cluster: bool) -> Self {
        let others = Vec::new();
        Self { random: Random::new(seed), cluster, others, relative: false, tag: 0, tag_is_held: false, stream_ms: 0 }
    }

    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// From now on all requests are about keys of one tag.
    pub fn hold_tag(&mut self) {
        self.tag = self.random.below(6);
        self.tag_is_held = true;
    }

    pub fn let_tag_go(&mut self) {
        self.tag_is_held = false;
    }

    /// One request from a template, compared to the byte.
    pub fn line(&mut self, template: &str) -> Request {
        Request { args: self.fill(template), compare: Exact }
    }

    /// The next request, with a second one where the first leaves a key behind whose time has passed: asked for, it
    /// is gone on both servers at once and counts do not depend on when each would have found it.
    pub fn next(&mut self) -> Vec<Request> {
        if !self.tag_is_held {
            self.tag = self.random.below(6);
        }
        if !self.others.is_empty() && self.random.chance(4) {
            let template = self.random.pick(OTHER_TYPES);
            return vec![self.line(template)];
        }
        let rows = match self.random.below(100) {
            _ if self.random.chance(40) => self.random.pick(COLLECTIONS),
            0..38 => STRINGS,
            38..52 => BITS,
            52..80 => KEYS,
            80..92 if self.relative => RELATIVE,
            80..90 if self.cluster => CLUSTER,
            99 if self.random.chance(20) => FLUSHES,
            _ => CONNECTION,
        };
        let (_, template, compare) = self.weighted(rows);
        let mut args = self.fill(template);
        let compare = match (*template, self.relative) {
            ("{EXPIRETIME|PEXPIRETIME} <key>", true) => Close(APART_MS),
            _ => *compare,
        };
        // A damaged CLUSTER could drop slots, a damaged CLIENT kill the test's own connections, a damaged CONFIG list all.
        // 7.0 runs the options of HELLO one by one and 7.2 all or none: more than one bad option shows that.
        // 7.2 cuts an index of LSET to 32 bits and sets another element. RESTORE without ABSTTL would count from each server's now.
        const WHOLE: &[&[u8]] =
            &[b"CLUSTER", b"CLIENT", b"CONFIG", b"SLOWLOG", b"LATENCY", b"MEMORY", b"HELLO", b"LSET", b"RESTORE"];
        // And one of these could take different members on each side, ask for two billion, stop half-way, or wait.
        const RANDOM: &[&[u8]] = &[
            b"SPOP",
            b"SRANDMEMBER",
            b"HRANDFIELD",
            b"ZRANDMEMBER",
            b"SSCAN",
            b"HSCAN",
            b"ZSCAN",
            b"BZPOPMIN",
            b"BZPOPMAX",
            b"BZMPOP",
            b"BLPOP",
            b"BRPOP",
            b"BLMPOP",
            b"BLMOVE",
            b"BRPOPLPUSH",
        ];
        // 7.0 creates consumers later, and a huge count of XAUTOCLAIM is a matter of the machine's memory.
        const STREAMS: &[&[u8]] = &[b"XREADGROUP", b"XCLAIM", b"XAUTOCLAIM"];
        let whole = [WHOLE, RANDOM, STREAMS].iter().any(|names| names.contains(&args[0].as_slice()));
        if !whole && self.random.chance(6) {
            self.damage(&mut args);
        }
        if self.random.chance(15) {
            self.change_case(&mut args);
        }
        let leaves_expired = args.len() > 2
            && args[0].eq_ignore_ascii_case(b"set")
            && args.iter().any(|arg| arg.to_ascii_uppercase().ends_with(b"AT"));
        let mut requests = super::streams::before(&args);
        requests.push(Request { args, compare });
        if leaves_expired {
            let key = requests[0].args[1].clone();
            requests.push(Request { args: vec![b"EXISTS".to_vec(), key], compare: Exact });
        }
        requests
    }

    fn weighted(&mut self, rows: &'static [Row]) -> &'static Row {
        let mut at = self.random.below(rows.iter().map(|row| row.0).sum());
        for row in rows {
            if at < row.0 {
                return row;
            }
            at -= row.0;
        }
        unreachable!("the weights add up")
    }

    fn damage(&mut self, args: &mut Vec<Vec<u8>>) {
        let at = self.random.index(args.len());
        match self.random.below(5) {
            0 => {
                args.pop();
            }
            1 => args.push(self.random.pick(WORDS).as_bytes().to_vec()),
            2 => args.insert(at, args[at].clone()),
            // Not where an edge could become an expire time of a few milliseconds.
            3 if at > 0 && !args.iter().any(|arg| RELATIVE_WORDS.contains(&arg.as_slice())) => {
                args[at] = self.random.pick(EDGE_INTEGERS).as_bytes().to_vec()
            }
            4 if at > 0 => {
                args.remove(at);
            }
            _ => args.push(b"extra".to_vec()),
        }
        if args.is_empty() {
            args.push(b"PING".to_vec());
        }
    }

    fn change_case(&mut self, args: &mut [Vec<u8>]) {
        let word = &mut args[0];
        for byte in word {
            if self.random.chance(50) {
                *byte = if byte.is_ascii_uppercase() { byte.to_ascii_lowercase() } else { byte.to_ascii_uppercase() };
            }
        }
    }

    fn fill(&mut self, template: &str) -> Vec<Vec<u8>> {
        let mut args = Vec::new();
        let mut rest = template.trim();
        while !rest.is_empty() {
            rest = rest.trim_start();
            let end = match rest.as_bytes()[0] {
                b'{' => rest.find('}').expect("a closed choice") + 1,
                b'[' => rest.find(']').expect("a closed list of options") + 1,
                _ => rest.find(' ').unwrap_or(rest.len()),
            };
            let (token, later) = rest.split_at(end);
            rest = later;
            if let Some(inner) = token.strip_prefix('{') {
                let choices: Vec<&str> = inner.trim_end_matches('}').split('|').collect();
                let choice = self.random.pick(&choices);
                args.extend(self.fill(choice));
            } else if let Some(inner) = token.strip_prefix('[') {
                let choices: Vec<&str> = inner.trim_end_matches(']').split('|').collect();
                // Mostly none or one: more of them rarely go together.
                for _ in 0..[0, 1, 1, 1, 2, 3][self.random.index(6)] {
                    let choice = self.random.pick(&choices);
                    args.extend(self.fill(choice));
                }
            } else if token == "<elements>" {
                args.extend(bits::elements(&mut self.random));
            } else if let Some(name) = token.strip_suffix('+') {
                for _ in 0..1 + self.random.below(5) {
                    match name {
                        "<pair>" => args.extend([self.key(), self.value()]),
                        "<field_value>" => args.extend([self.word("<field>"), self.value()]),
                        "<score_member>" => args.extend([self.word("<score>"), self.word("<member>")]),
                        "<zero_member>" => args.extend([b"0".to_vec(), self.word("<member>")]),
                        token => args.push(self.word(token)),
                    }
                }
            } else if token == "<position>" {
                args.extend(super::geo::position(&mut self.random));
            } else if let Some(words) = super::streams::words(token, &mut self.random, &mut self.stream_ms) {
                args.extend(words);
            } else {
                args.push(self.word(token));
            }
        }
        args
    }

    fn word(&mut self, token: &str) -> Vec<u8> {
        let text = match token {
            "<key>" => return self.key(),
            "<hash>" | "<set>" if self.random.chance(3) => return self.key(),
            "<zset>" if self.random.chance(3) => return self.key(),
            "<hash>" => return self.key_of('f'),
            "<zset>" => return self.key_of('z'),
            "<lexset>" => return self.key_of('y'),
            "<geo>" => return self.key_of('g'),
            "<length>" => return super::geo::length(&mut self.random),
            "<score>" => return super::zsets::score(&mut self.random),
            "<score_end>" => return super::zsets::score_end(&mut self.random),
            "<lex_end>" => return super::zsets::lex_end(&mut self.random),
            "<set>" => return self.key_of('s'),
            "<field>" | "<member>" => return super::sets::member(&mut self.random),
            "<stream>" if self.random.chance(3) => return self.key(),
            "<stream>" => return self.key_of('x'),
            "<val>" => return self.value(),
            "<payload>" => return PAYLOADS[self.random.index(PAYLOADS.len())].to_vec(),
            "<list>" if self.random.chance(3) => return self.key(),
            "<list>" => return self.key_of('l'),
            "<elem>" if self.random.chance(70) => {
                self.random.pick(&["a", "b", "c", "1", "2", "-300", "70000", "xx"]).to_owned()
            }
            "<elem>" => return self.value(),
            "<at>" if self.random.chance(90) => (self.random.below(16).cast_signed() - 6).to_string(),
            "<at>" => self.random.pick(&["2147483647", "-2147483648", "100", "x", "", "1.0"]).to_owned(),
            "<other>" => {
                let at = self.random.index(self.others.len());
                self.others[at].clone()
            }
            "<int>" | "<offset>" if self.random.chance(60) => {
                let size = [10, 100, 1000][self.random.index(3)];
                let number = self.random.below(size).cast_signed();
                if token == "<int>" && self.random.chance(40) { (-number).to_string() } else { number.to_string() }
            }
            // An offset of 100 MB would be carried out; the edges are far beyond the limit or invalid.
            "<offset>" => self.random.pick(&["-1", "536870912", "9223372036854775807", "0", "x", "", "1.5"]).to_owned(),
            "<int>" => self.random.pick(EDGE_INTEGERS).to_owned(),
            // Counts of random elements: no reply is to be huge.
            "<int_small>" => self.random.pick(&["0", "1", "2", "5", "-1", "-3", "100", "x", "", "1.5"]).to_owned(),
            "<float>" if self.random.chance(50) => {
                let digits = self.random.below(1_000_000).to_string();
                let decimals = self.random.below(100_000_000);
                format!("{}{digits}.{decimals}", if self.random.chance(50) { "-" } else { "" })
            }
            "<float>" => self.random.pick(EDGE_FLOATS).to_owned(),
            "<at_ms>" | "<at_s>" => {
                let ms = match self.random.below(10) {
                    0 => return self.random.pick(EDGE_INTEGERS).as_bytes().to_vec(),
                    1 => 1 + self.random.below(1_000_000_000),
                    _ => FUTURE_MS + self.random.below(50) * 1500,
                };
                if token == "<at_s>" { (ms / 1000).to_string() } else { ms.to_string() }
            }
            // Apart from each other by more than the servers are, so that GT and LT decide alike.
            "<rel_s>" => ((1 + self.random.below(1_000_000)) * 1000).to_string(),
            "<rel_ms>" => ((1 + self.random.below(1_000_000)) * 1_000_000).to_string(),
            "<bad_time>" => self
                .random
                .pick(&["0", "-1", "x", "", "9223372036854775807", "-9223372036854775808", "1.5", " 5"])
                .to_owned(),
            "<bad_count>" => self.random.pick(&["0", "-1", "x", "", "9223372036854775808"]).to_owned(),
            "<bad_id>" => self.random.pick(&["0", "-1", "x", "", "99999999999"]).to_owned(),
            "<bad_slot>" => self.random.pick(&["16384", "-1", "x", "", "0", "99999999999"]).to_owned(),
            "<slot>" => match self.random.below(5) {
                0 => self.random.pick(&["0", "16383", "16384", "-1", "x"]).to_owned(),
                // The slots of the tags that keys use.
                _ => self.random.pick(&["13724", "9597", "5470", "1343", "13600", "9473", "12182"]).to_owned(),
            },
            "<db>" => match self.random.below(12) {
                0 => self.random.pick(&["16", "-1", "x", "", "9223372036854775808", "1.0"]).to_owned(),
                1 => "15".to_owned(),
                _ => self.random.below(3).to_string(),
            },
            // 7.2 refuses every other database of a cluster node while it reads the options, 7.0 after it has read them.
            "<copy_db>" if self.cluster => self.random.pick(&["0", "0", "x", ""]).to_owned(),
            "<copy_db>" => return self.word("<db>"),
            "<cursor>" => self.random.pick(&["x", "", "-1x", "1.5", "0"]).to_owned(),
            "<glob>" => self.random.pick(GLOBS).to_owned(),
            "<word>" => self.random.pick(WORDS).to_owned(),
            "<name>" => self.random.pick(&["me", "you-2", "a b", "x\ny", "", "name!"]).to_owned(),
            "<unknown>" => self.random.pick(&["XNOSUCH", "xget", "X\r\nY", "Xé", "X'Y"]).to_owned(),
            "<hll>" | "<bad_hll>" => return self.hyperloglog_key(token),
            other => bits::word(&mut self.random, other).unwrap_or_else(|| other.to_owned()),
        };
        text.into_bytes()
    }

    /// In cluster mode the keys of one request mostly share a tag.
    fn key(&mut self) -> Vec<u8> {
        if self.cluster && self.random.chance(97) {
            let tag = if self.random.chance(96) { self.tag } else { self.random.below(6) };
            return format!("{{t{tag}}}{}", self.random.below(6)).into_bytes();
        }
        match self.random.below(40) {
            0 => Vec::new(),
            1 => b"\x00\r\n\xff".to_vec(),
            2 => vec![b'k'; 300],
            3 => b"key with spaces".to_vec(),
            _ => format!("k{}", self.random.below(24)).into_bytes(),
        }
    }

    /// Keys of their own, so that they live long enough to fill up; those that are damaged on purpose are others.
    fn hyperloglog_key(&mut self, token: &str) -> Vec<u8> {
        let tag = if self.cluster { format!("{{t{}}}", self.tag) } else { String::new() };
        let name = if token == "<hll>" { "kh" } else { "kbad" };
        format!("{tag}{name}{}", self.random.below(3)).into_bytes()
    }

    /// One of a few keys that mostly hold the same type.
    fn key_of(&mut self, letter: char) -> Vec<u8> {
        let number = self.random.below(6);
        if self.cluster { format!("{{t{}}}{letter}{number}", self.tag) } else { format!("k{letter}{number}") }
            .into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        match self.random.below(20) {
            0..5 => self.random.below(20_000).to_string().into_bytes(),
            5..8 => self.random.pick(EDGE_INTEGERS).as_bytes().to_vec(),
            8..11 => self.random.pick(EDGE_FLOATS).as_bytes().to_vec(),
            11 => vec![b'x'; 43 + self.random.index(4)],
            12..15 => {
                let len = self.random.index(60);
                (0..len).map(|_| b"abcd"[self.random.index(4)]).collect()
            }
            15 if self.random.chance(20) => {
                let len = self.random.index(3000);
                self.random.bytes(len)
            }
            _ => {
                let len = self.random.index(30);
                self.random.bytes(len)
            }
        }
    }
}
