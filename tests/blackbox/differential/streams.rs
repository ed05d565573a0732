//! Requests of the stream family, the words that they are made of, and what of a reply two servers cannot have alike.

use super::generate::Compare::{self, Exact, SameType, StreamTimes};
use super::generate::{Request, Row};
use crate::support::Value;
use crate::support::random::Random;

pub const ROWS: &[Row] = &[
    (30, "XADD <stream> <new_id> <entry>", Exact),
    (
        4,
        "XADD <stream> [NOMKSTREAM|MAXLEN = <few>|MAXLEN ~ <few>|MAXLEN <few>|MINID = <id>|MINID ~ <id>|LIMIT <few>] <new_id> <entry>",
        Exact,
    ),
    (5, "XTRIM <stream> {MAXLEN|MAXLEN =|MAXLEN ~} <few> [LIMIT <few>]", Exact),
    (3, "XTRIM <stream> {MINID|MINID =|MINID ~} <id> [LIMIT <few>]", Exact),
    (6, "XDEL <stream> <id> <id> <id>", Exact),
    // 7.0 lets an empty stream's last id go below one that was deleted.
    (2, "XSETID <stream> <ahead> [ENTRIESADDED <few>|MAXDELETEDID <id>]", Exact),
    (3, "XLEN <stream>", Exact),
    (5, "{XRANGE|XREVRANGE} <stream> <end> <end> [COUNT <few>]", Exact),
    (3, "XRANGE <stream> - <max> [COUNT <few>]", Exact),
    (3, "XREVRANGE <stream> <max> - [COUNT <few>]", Exact),
    (6, "XREAD [COUNT <few>] STREAMS <stream> <stream> <id> {<id>|$}", Exact),
    (1, "XREAD BLOCK {1|-1|x} STREAMS <stream> {$|<id>}", Exact),
    (8, "XGROUP CREATE <stream> <group> {<id>|$|0} [MKSTREAM|ENTRIESREAD <few>]", Exact),
    (2, "XGROUP SETID <stream> <group> {<id>|$|0} [ENTRIESREAD <few>]", Exact),
    (1, "XGROUP {DESTROY <stream> <group>|CREATECONSUMER <stream> <group> <consumer>}", Exact),
    (1, "XGROUP {DELCONSUMER <stream> <group> <consumer>|<word>}", Exact),
    (10, "XREADGROUP GROUP <group> <consumer> [COUNT <few>|NOACK] STREAMS <stream> {>|>|>|<id>}", Exact),
    (3, "XREADGROUP GROUP <group> <consumer> STREAMS <stream> <stream> {>|<id>} >", Exact),
    (1, "XREADGROUP GROUP <group> <consumer> BLOCK 1 STREAMS <stream> >", Exact),
    (5, "XACK <stream> <group> <id> <id> <id>", Exact),
    (3, "XPENDING <stream> <group>", Exact),
    (4, "XPENDING <stream> <group> [IDLE 0|IDLE 100000000|IDLE x] <end> <end> <few>", StreamTimes),
    (2, "XPENDING <stream> <group> - <max> 10 <consumer>", StreamTimes),
    (
        6,
        "XCLAIM <stream> <group> <consumer> <idle> <id> <id> [FORCE|JUSTID|RETRYCOUNT <few>|LASTID <id>|TIME 1000|IDLE 10]",
        Exact,
    ),
    (5, "XAUTOCLAIM <stream> <group> <consumer> <idle> <end> [COUNT <few>|JUSTID]", Exact),
    (3, "XINFO STREAM <stream>", StreamTimes),
    (3, "XINFO STREAM <stream> {FULL|FULL COUNT <few>|FULL COUNT|<word>}", StreamTimes),
    (2, "XINFO GROUPS <stream>", Exact),
    (2, "XINFO CONSUMERS <stream> <group>", StreamTimes),
    (1, "XINFO {<word>|STREAM|GROUPS}", Exact),
    (1, "{XGROUP|XINFO} HELP", SameType),
    (1, "OBJECT ENCODING <stream>", Exact),
    (2, "{DEL|TYPE} <stream>", Exact),
    (1, "COPY <stream> <stream> REPLACE", Exact),
];

const EDGE_IDS: &[&str] = &[
    "0",
    "0-0",
    "0-1",
    "-",
    "+",
    "(",
    "18446744073709551615-18446744073709551615",
    "18446744073709551615",
    "18446744073709551616",
    "5-*",
    "5-",
    "-5",
    "x",
    "",
    " 7-1",
    "07-+1",
    "7--1",
    "7-18446744073709551615",
];

const FEW: &[&str] = &["0", "-1", "x", "", "1.5", "9223372036854775807", "9223372036854775808"];

/// What stands for a placeholder of this family; ids are near `last_ms`, which goes up as entries are added.
pub fn words(token: &str, random: &mut Random, last_ms: &mut u64) -> Option<Vec<Vec<u8>>> {
    let near = |random: &mut Random| {
        let ms = last_ms.saturating_sub(random.below(40));
        if random.chance(80) { format!("{ms}-{}", random.below(3)) } else { ms.to_string() }
    };
    let word = match token {
        "<new_id>" if random.chance(85) => {
            *last_ms += random.below(2);
            format!("{last_ms}-*")
        }
        "<ahead>" => {
            *last_ms += 1;
            last_ms.to_string()
        }
        "<new_id>" | "<id>" if random.chance(95) => near(random),
        "<new_id>" | "<id>" => random.pick(EDGE_IDS).to_owned(),
        "<end>" => match random.below(10) {
            0..4 => random.pick(&["-", "+"]).to_owned(),
            4 => random.pick(EDGE_IDS).to_owned(),
            5 => format!("({}", near(random)),
            _ => near(random),
        },
        "<max>" => "+".to_owned(),
        "<few>" if random.chance(90) => random.below(12).to_string(),
        "<few>" => random.pick(FEW).to_owned(),
        "<idle>" => random.pick(&["0", "0", "0", "100000000", "-1", "x"]).to_owned(),
        "<group>" => format!("g{}", random.below(2)),
        "<consumer>" => random.pick(&["ann", "bob", "c\r\n", ""]).to_owned(),
        "<entry>" => return Some(entry(random)),
        _ => return None,
    };
    Some(vec![word.into_bytes()])
}

/// Names and values: mostly the same names, so that some entries share them with their node.
fn entry(random: &mut Random) -> Vec<Vec<u8>> {
    let value = |random: &mut Random| match random.below(8) {
        0..4 => (random.below(600).cast_signed() - 300).to_string().into_bytes(),
        4 => vec![b'x'; 60 + random.index(10)],
        5 if random.chance(20) => vec![b'y'; 4090 + random.index(10)],
        _ => {
            let len = random.index(6);
            random.bytes(len)
        }
    };
    match random.below(10) {
        0..6 => vec![b"f".to_vec(), value(random)],
        6..8 => vec![b"f".to_vec(), value(random), b"7".to_vec(), value(random)],
        8 => vec![value(random), value(random)],
        // One too few or one too many.
        _ => (0..random.index(5)).map(|_| value(random)).collect(),
    }
}

/// What is sent before a request: 7.0 creates the consumer of these only when there is something for it.
pub fn before(args: &[Vec<u8>]) -> Vec<Request> {
    let is = |name: &[u8]| args[0].eq_ignore_ascii_case(name);
    let (keys, names) = if is(b"XREADGROUP") {
        let first = args.iter().position(|arg| arg == b"STREAMS").map_or(args.len(), |streams| streams + 1);
        (&args[first..first + (args.len() - first) / 2], &args[2..4])
    } else if is(b"XCLAIM") || is(b"XAUTOCLAIM") {
        (&args[1..2], &args[2..4])
    } else {
        return Vec::new();
    };
    let create = |key: &Vec<u8>| {
        let words: [&[u8]; 5] = [b"XGROUP", b"CREATECONSUMER", key, &names[0], &names[1]];
        Request { args: words.map(<[u8]>::to_vec).to_vec(), compare: Compare::Exact }
    };
    keys.iter().map(create).collect()
}

/// Fields of XINFO that are left out: times, what 7.0 does not tell, and how a radix tree has split.
const OWN_FIELDS: &[&[u8]] = &[b"idle", b"inactive", b"seen-time", b"active-time", b"radix-tree-nodes"];

/// The reply without times: those under a name, and those in the rows of pending entries.
pub fn without_times(value: &Value) -> Value {
    let is_own = |name: &Value| matches!(name, Value::Bulk(name) if OWN_FIELDS.contains(&name.as_slice()));
    match value {
        Value::Array(items) => match items.as_slice() {
            [Value::Bulk(id), Value::Bulk(consumer), Value::Integer(_), deliveries] => {
                Value::Array(vec![Value::Bulk(id.clone()), Value::Bulk(consumer.clone()), deliveries.clone()])
            }
            [Value::Bulk(id), Value::Integer(_), deliveries @ Value::Integer(_)] => {
                Value::Array(vec![Value::Bulk(id.clone()), deliveries.clone()])
            }
            items => {
                let mut kept: Vec<Value> = Vec::new();
                let mut items = items.iter();
                while let Some(item) = items.next() {
                    if is_own(item) {
                        items.next();
                    } else {
                        kept.push(without_times(item));
                    }
                }
                Value::Array(kept)
            }
        },
        Value::Map(pairs) => {
            let kept = pairs.iter().filter(|(name, _)| !is_own(name));
            Value::Map(kept.map(|(name, value)| (name.clone(), without_times(value))).collect())
        }
        other => other.clone(),
    }
}
