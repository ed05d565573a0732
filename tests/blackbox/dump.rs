//! DUMP and RESTORE: replies as tables, payloads that go to a redis-server and back, and damaged ones.

use crate::support::events::{ALL_EVENTS, check_published};
use crate::support::random::Random;
use crate::support::{Client, Reply, Server, Value, check, number_from_env, on_both, on_both_with};

/// The string "x".
const X: &str = r#""\x00\x01x\x0a\x00\x22\x80\x86_\xbd\xe8H\xd0""#;

const BUSY: &str = "-BUSYKEY Target key name already exists.";
const FOOTER: &str = "-ERR DUMP payload version or checksum are wrong";
const BAD: &str = "-ERR Bad data format";
const SYNTAX: &str = "-ERR syntax error";
const NOT_AN_INTEGER: &str = "-ERR value is not an integer or out of range";

/// A line with the payload of "x" in place of `@`.
fn with_x(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(line, reply)| (line.replace('@', X), (*reply).to_owned())).collect()
}

fn check_with_x(client: &mut Client, rows: &[(&str, &str)]) {
    let rows = with_x(rows);
    let rows: Vec<(&str, &str)> = rows.iter().map(|(line, reply)| (line.as_str(), reply.as_str())).collect();
    check(client, &rows);
}

#[test]
fn restore_creates_what_dump_returned() {
    on_both(|server| {
        check_with_x(
            &mut server.connect(),
            &[
                ("DUMP missing", "nil"),
                ("RESTORE k 0 @", "+OK"),
                ("GET k", "'x'"),
                ("TTL k", ":-1"),
                ("RESTORE k 0 @", BUSY),
                ("RESTORE k 1000000 @ REPLACE", "+OK"),
                ("TTL k", ":1000"),
                ("RESTORE k 0 @ replace", "+OK"),
                ("TTL k", ":-1"),
                ("RESTORE-ASKING k 4102444800000 @ REPLACE ABSTTL", "+OK"),
                ("PEXPIRETIME k", ":4102444800000"),
                ("RESTORE k 5 @ REPLACE ABSTTL", "+OK"),
                ("EXISTS k", ":0"),
                ("RESTORE k 5 @ ABSTTL", "+OK"),
                ("EXISTS k", ":0"),
                ("RESTORE k 0 @ IDLETIME 1000", "+OK"),
                ("OBJECT IDLETIME k", ":1000"),
                ("RESTORE k 0 @ REPLACE FREQ 7", "+OK"),
                ("OBJECT IDLETIME k", ":0"),
                ("RPUSH l a", ":1"),
                ("RESTORE l 0 @ REPLACE", "+OK"),
                ("TYPE l", "+string"),
            ],
        );
    });
}

#[test]
fn what_is_wrong_is_refused_in_the_order_of_redis() {
    on_both(|server| {
        check_with_x(
            &mut server.connect(),
            &[
                ("SET k old", "+OK"),
                ("DUMP", "-ERR wrong number of arguments for 'dump' command"),
                ("RESTORE k 0", "-ERR wrong number of arguments for 'restore' command"),
                ("RESTORE k x y NO", SYNTAX),
                ("RESTORE k x y", BUSY),
                ("RESTORE n x y", NOT_AN_INTEGER),
                ("RESTORE n -1 y", "-ERR Invalid TTL value, must be >= 0"),
                ("RESTORE n 0 y", FOOTER),
                ("RESTORE n 0 @ IDLETIME", SYNTAX),
                ("RESTORE n 0 @ IDLETIME x", NOT_AN_INTEGER),
                ("RESTORE n 0 @ IDLETIME -1", "-ERR Invalid IDLETIME value, must be >= 0"),
                ("RESTORE n 0 @ FREQ -1", "-ERR Invalid FREQ value, must be >= 0 and <= 255"),
                ("RESTORE n 0 @ FREQ 256", "-ERR Invalid FREQ value, must be >= 0 and <= 255"),
                ("RESTORE n 0 @ IDLETIME 1 FREQ 1", SYNTAX),
                ("RESTORE n 0 @ FREQ 1 IDLETIME 1", SYNTAX),
                (r#"RESTORE n 0 "\x00\x01x\x0a\x00\x22\x80\x86_\xbd\xe8H\xd1""#, FOOTER),
                (r#"RESTORE n 0 "\x00\x01y\x0a\x00\x22\x80\x86_\xbd\xe8H\xd0""#, FOOTER),
                (r#"RESTORE n 0 "\x00\x01x\xff\x00\x22\x80\x86_\xbd\xe8H\xd0""#, FOOTER),
                (r#"RESTORE n 0 """#, FOOTER),
                ("GET k", "'old'"),
                ("EXISTS n", ":0"),
            ],
        );
    });
}

#[test]
fn restoring_is_published_and_counted() {
    let restore = format!("RESTORE k 0 {X}");
    let again = format!("RESTORE k 0 {X} REPLACE");
    let expired = format!("RESTORE k 1 {X} REPLACE ABSTTL");
    let expired_alone = format!("RESTORE k 1 {X} ABSTTL");
    on_both_with(ALL_EVENTS, |server| {
        check_published(
            server,
            &[
                ("DUMP k", "", 0),
                (&restore, "new:k restore:k", 1),
                (&restore, "", 0),
                (&again, "new:k restore:k", 1),
                (&expired, "del:k", 1),
                (&expired_alone, "", 0),
            ],
        );
    });
}

#[test]
fn restoring_wakes_who_waits_and_ends_watches() {
    let list = r#""\x12\x01\x02\x0a\x0a\x00\x00\x00\x01\x00\x81x\x02\xff\x0a\x00""#;
    on_both_with(&["--enable-debug-command", "yes"], |server| {
        let (client, waiting) = (&mut server.connect(), &mut server.connect());
        client.must("DEBUG SET-SKIP-CHECKSUM-VALIDATION 1");
        let list = format!("{}xxxxxxxx\"", &list[..list.len() - 1]);
        waiting.send(b"BLPOP q 10\r\n");
        assert!(crate::support::holds_within(std::time::Duration::from_secs(5), || {
            client.info_number("blocked_clients") == 1
        }));
        client.must(&format!("RESTORE q 0 {list}"));
        assert_eq!(waiting.read().to_string(), "['q', 'x']");
        let watching = waiting;
        watching.must("WATCH w");
        client.must(&format!("RESTORE w 0 {X}"));
        watching.must("MULTI");
        watching.must("PING");
        assert!(watching.line("EXEC").value.is_nil());
    });
}

/// Payloads of every encoding that some version has written, with version 9 and whatever checksum: what they hold.
const ENCODINGS: &[(&str, &str, &str)] = &[
    (r"\x00\xc0\x85", "GET k", "'-123'"),
    (r"\x00\xc3\x05\x06\x01ab\x40\x01", "GET k", "'ababab'"),
    (r"\x01\x03\x01a\xc0\x07\x01b", "LRANGE k 0 -1", "['a', '7', 'b']"),
    (r"\x02\x02\xc0\x05\xc0\x03", "SMEMBERS k", "['3', '5']"),
    (r"\x03\x03\x01a\x031.5\x01b\xfe\x01c\xff", "ZRANGE k 0 -1 WITHSCORES", "['c', '-inf', 'a', '1.5', 'b', 'inf']"),
    (r"\x04\x01\x01f\x01v", "HGETALL k", "['f', 'v']"),
    (r"\x05\x01\x01a\x00\x00\x00\x00\x00\x00\xf8\x3f", "ZRANGE k 0 -1 WITHSCORES", "['a', '1.5']"),
    (r"\x09\x0c\x02\x01f\x01\x00v\x01g\x01\x00w\xff", "HGETALL k", "['f', 'v', 'g', 'w']"),
    (r"\x0a\x0f\x0f\x00\x00\x00\x0c\x00\x00\x00\x02\x00\x00\xf3\x02\xf6\xff", "LRANGE k 0 -1", "['2', '5']"),
    (r"\x0b\x0c\x02\x00\x00\x00\x02\x00\x00\x00\x03\x00\x05\x00", "SMEMBERS k", "['3', '5']"),
    (r"\x0c\x0f\x0f\x00\x00\x00\x0c\x00\x00\x00\x02\x00\x00\xf3\x02\xf6\xff", "ZRANGE k 0 -1 WITHSCORES", "['2', '5']"),
    (r"\x0d\x0f\x0f\x00\x00\x00\x0c\x00\x00\x00\x02\x00\x00\xf3\x02\xf6\xff", "HGETALL k", "['2', '5']"),
    (r"\x0e\x01\x0f\x0f\x00\x00\x00\x0c\x00\x00\x00\x02\x00\x00\xf3\x02\xf6\xff", "LRANGE k 0 -1", "['2', '5']"),
    (r"\x10\x0d\x0d\x00\x00\x00\x02\x00\x81f\x02\x81v\x02\xff", "HGETALL k", "['f', 'v']"),
    (r"\x11\x0c\x0c\x00\x00\x00\x02\x00\x81f\x02\x07\x01\xff", "ZRANGE k 0 -1 WITHSCORES", "['f', '7']"),
    (r"\x12\x02\x01\x03abc\x02\x0a\x0a\x00\x00\x00\x01\x00\x81x\x02\xff", "LRANGE k 0 -1", "['abc', 'x']"),
];

#[test]
fn payloads_of_every_encoding_are_taken() {
    on_both_with(&["--enable-debug-command", "yes"], |server| {
        let client = &mut server.connect();
        client.must("DEBUG SET-SKIP-CHECKSUM-VALIDATION 1");
        for (payload, line, expected) in ENCODINGS {
            client.must(&format!(r#"RESTORE k 0 "{payload}\x09\x0012345678" REPLACE"#));
            assert_eq!(client.must(line).to_string(), *expected, "{payload}");
        }
        client.must("DEBUG SET-SKIP-CHECKSUM-VALIDATION 0");
        let (payload, ..) = ENCODINGS[0];
        assert_eq!(client.line(&format!(r#"RESTORE n 0 "{payload}\x09\x0012345678""#)).to_string(), FOOTER);
    });
}

#[test]
fn collections_without_elements_are_refused() {
    on_both_with(&["--enable-debug-command", "yes"], |server| {
        let client = &mut server.connect();
        client.must("DEBUG SET-SKIP-CHECKSUM-VALIDATION 1");
        for payload in [r"\x01\x00", r"\x02\x00", r"\x04\x00", r"\x05\x00", r"\x12\x00", r"\x07\x00", r"\x63\x00"] {
            let reply = client.line(&format!(r#"RESTORE k 0 "{payload}\x09\x0012345678""#));
            assert_eq!(reply.to_string(), BAD, "{payload}");
        }
    });
}

#[test]
fn the_log_says_what_is_wrong_with_a_refused_value() {
    on_both_with(&["--enable-debug-command", "yes", "--loglevel", "verbose"], |server| {
        let client = &mut server.connect();
        client.must("DEBUG SET-SKIP-CHECKSUM-VALIDATION 1");
        for (kind, said) in [
            (r"\x09", "Zipmap"),
            (r"\x0b", "Intset"),
            (r"\x0c", "Zset ziplist"),
            (r"\x0d", "Hash ziplist"),
            (r"\x10", "Hash listpack"),
            (r"\x11", "Zset listpack"),
        ] {
            let reply = client.line(&format!(r#"RESTORE k 0 "{kind}\x02ab\x09\x0012345678""#));
            assert_eq!(reply.to_string(), BAD, "{said}");
            let said = format!("{said} integrity check failed");
            assert!(server.log().contains(&said), "no '{said}' in {}", server.log());
        }
    });
}

/// What 7.2 has added, which the 7.0 in this test does not read.
#[test]
fn payloads_of_newer_servers_are_taken() {
    let server = Server::slotcore(&["--enable-debug-command", "yes"]);
    let client = &mut server.connect();
    client.must("DEBUG SET-SKIP-CHECKSUM-VALIDATION 1");
    let set = r"\x14\x0a\x0a\x00\x00\x00\x01\x00\x81x\x02\xff";
    let hash = r"\x16\x01\x01f\x01v\xff\xff\xff\xff\xff\xff\xff\xff";
    check(
        client,
        &[
            (&format!(r#"RESTORE s 0 "{set}\x0b\x0012345678""#), "+OK"),
            ("SMEMBERS s", "['x']"),
            ("OBJECT ENCODING s", "'listpack'"),
            (&format!(r#"RESTORE h 0 "{hash}\x50\x0012345678""#), "+OK"),
            ("HGETALL h", "['f', 'v']"),
            (&format!(r#"RESTORE i 0 "{hash}\x0c\x0012345678""#), BAD),
            (&format!(r#"RESTORE i 0 "{set}\x0d\x0012345678""#), FOOTER),
        ],
    );
}

// ---- exchange with redis-server -------------------------------------------------------------------------------------

/// What a key holds, in an order that does not depend on the server.
fn content(client: &mut Client, key: &str) -> String {
    let kind = client.must(&format!("TYPE {key}")).to_string();
    let shown = |value: Value| value.to_string();
    match kind.as_str() {
        "+string" => shown(client.must(&format!("GET {key}"))),
        "+list" => shown(client.must(&format!("LRANGE {key} 0 -1"))),
        // 7.0 shows scores with more digits than 7.2.
        "+zset" => {
            let entries = client.must(&format!("ZRANGE {key} 0 -1 WITHSCORES"));
            let score = |value: &Value| value.text().parse::<f64>().expect("a score");
            let entries = entries.items().chunks(2).map(|pair| format!("{}={:?}", pair[0], score(&pair[1])));
            entries.collect::<Vec<_>>().join(" ")
        }
        "+set" => {
            let members = client.must(&format!("SMEMBERS {key}"));
            let mut members: Vec<String> = members.items().iter().map(Value::to_string).collect();
            members.sort();
            members.join(" ")
        }
        "+hash" => {
            let pairs = client.must(&format!("HGETALL {key}"));
            let mut pairs: Vec<String> =
                pairs.items().chunks(2).map(|pair| format!("{}={}", pair[0], pair[1])).collect();
            pairs.sort();
            pairs.join(" ")
        }
        "+stream" => {
            let full = client.must(&format!("XINFO STREAM {key} FULL COUNT 0"));
            let names = ["length", "last-generated-id", "max-deleted-entry-id", "entries-added", "entries"];
            let mut parts = fields(&full, &names);
            for group in full.field("groups").expect("groups").items() {
                parts.extend(fields(
                    group,
                    &["name", "last-delivered-id", "entries-read", "lag", "pel-count", "pending"],
                ));
                for consumer in group.field("consumers").expect("consumers").items() {
                    parts.extend(fields(consumer, &["name", "seen-time", "pel-count", "pending"]));
                }
            }
            parts.join(" ")
        }
        other => panic!("{key} is {other}"),
    }
}

fn fields(value: &Value, names: &[&str]) -> Vec<String> {
    names.iter().filter_map(|name| value.field(name).map(|field| format!("{name}: {field}"))).collect()
}

fn encoding(client: &mut Client, key: &str) -> String {
    client.must(&format!("OBJECT ENCODING {key}")).text()
}

fn dump(client: &mut Client, key: &str) -> Vec<u8> {
    client.must(&format!("DUMP {key}")).bytes().to_vec()
}

fn restore(client: &mut Client, key: &str, payload: &[u8]) -> Reply {
    client.cmd(&[&b"RESTORE"[..], key.as_bytes(), b"0", payload, b"REPLACE"])
}

/// Takes the value to the other server and back to another key of the first; it is the same everywhere, and kept at home as
/// it was before.
fn there_and_back(home: &mut Client, abroad: &mut Client, key: &str) {
    let original = content(home, key);
    let payload = dump(home, key);
    assert_eq!(restore(abroad, key, &payload).to_string(), "+OK", "{key}");
    assert_same(&content(abroad, key), &original, "there");
    let payload = dump(abroad, key);
    assert_eq!(restore(home, "back", &payload).to_string(), "+OK", "{key}");
    assert_same(&content(home, "back"), &original, "back");
    assert_eq!(encoding(home, "back"), encoding(home, key), "{key}");
}

/// Shows where two long texts part.
fn assert_same(one: &str, other: &str, place: &str) {
    let part = |text: &str, at: usize| text.chars().skip(at.saturating_sub(20)).take(60).collect::<String>();
    let at = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    assert!(one == other, "{place}, at {at}\n  {}\n  {}", part(one, at), part(other, at));
}

/// Lines that make a value under `key` of a kind, with `count` elements of about `bytes` bytes.
fn value_of(random: &mut Random, kind: &str, key: &str, count: u64, bytes: u64) -> Vec<Vec<Vec<u8>>> {
    let word = |random: &mut Random| -> Vec<u8> {
        match random.below(6) {
            0 => (random.below(400) as i64 - 200).to_string().into_bytes(),
            1 => random.next().cast_signed().to_string().into_bytes(),
            2 => vec![b'a' + random.below(3) as u8; 1 + random.index(2 * bytes as usize + 1)],
            _ => {
                let length = 1 + random.index(bytes as usize + 1);
                random.bytes(length)
            }
        }
    };
    let request =
        |words: Vec<Vec<u8>>| [kind.as_bytes().to_vec(), key.as_bytes().to_vec()].into_iter().chain(words).collect();
    let score = |random: &mut Random| match random.below(4) {
        0 => random.below(100).to_string(),
        1 => "-inf".to_owned(),
        2 => format!("{}.{}", random.below(1000), random.below(1000)),
        _ => format!("{}e{}", random.below(10_000), random.below(30) as i64 - 15),
    };
    (0..count)
        .map(|index| {
            let words = match kind {
                "SET" | "RPUSH" | "SADD" => vec![word(random)],
                "HSET" => vec![word(random), word(random)],
                "ZADD" => vec![score(random).into_bytes(), word(random)],
                "XADD" => {
                    vec![format!("{}-{}", index + 1, random.below(3) + 1).into_bytes(), word(random), word(random)]
                }
                other => panic!("{other}"),
            };
            request(words)
        })
        .collect()
}

#[test]
fn values_go_to_redis_and_back() {
    let seed = number_from_env("SLOTCORE_DUMP_SEED", 11);
    let mut random = Random::new(seed);
    let (ours, theirs) = (Server::slotcore(&[]), Server::redis(&[]));
    let (ours, theirs) = (&mut ours.connect(), &mut theirs.connect());
    for round in 0..60 {
        if round % 10 == 0 {
            // With and without compression, with limits that are met.
            for client in [&mut *ours, &mut *theirs] {
                let compressed = if round % 20 == 0 { "yes" } else { "no" };
                client.must(&format!("CONFIG SET rdbcompression {compressed}"));
                let entries = [512, 8, 128, 2, 16, 512][round / 10];
                client.must(&format!("CONFIG SET hash-max-listpack-entries {entries}"));
                client.must(&format!("CONFIG SET zset-max-listpack-entries {entries}"));
                client.must(&format!("CONFIG SET set-max-intset-entries {}", entries.max(128)));
                client.must(&format!("CONFIG SET list-max-listpack-size {}", [-2, 4, 128, -1, 16, -5][round / 10]));
            }
        }
        for (kind, most) in [("SET", 1), ("RPUSH", 300), ("SADD", 300), ("HSET", 200), ("ZADD", 200), ("XADD", 250)] {
            for ours_first in [true, false] {
                let (home, abroad) = if ours_first { (&mut *ours, &mut *theirs) } else { (&mut *theirs, &mut *ours) };
                let count = 1 + random.below(most);
                let bytes = [3, 20, 70, 500][random.index(4)];
                home.must("DEL k");
                for request in value_of(&mut random, kind, "k", count, bytes) {
                    home.cmd(&request);
                }
                there_and_back(home, abroad, "k");
            }
        }
    }
}

#[test]
fn groups_of_streams_go_to_redis_and_back() {
    let (ours, theirs) = (Server::slotcore(&[]), Server::redis(&[]));
    let (ours, theirs) = (&mut ours.connect(), &mut theirs.connect());
    for ours_first in [true, false] {
        let (home, abroad) = if ours_first { (&mut *ours, &mut *theirs) } else { (&mut *theirs, &mut *ours) };
        for line in
            ["DEL k", "XGROUP CREATE k g $ MKSTREAM", "XGROUP CREATE k empty 0", "XGROUP CREATECONSUMER k g idle"]
        {
            home.must(line);
        }
        there_and_back(home, abroad, "k");
        for number in 1..=250 {
            home.must(&format!("XADD k {number}-7 f{} v{number} g w", number % 3));
        }
        for line in [
            "XREADGROUP GROUP g a COUNT 20 STREAMS k >",
            "XREADGROUP GROUP g b COUNT 20 STREAMS k >",
            "XREADGROUP GROUP empty c COUNT 3 STREAMS k >",
            "XACK k g 1-7 25-7",
            "XCLAIM k g b 0 2-7 3-7",
            "XCLAIM k g b 0 4-7 IDLE 5000 RETRYCOUNT 9",
            "XDEL k 5-7 100-7 250-7",
            "XTRIM k MINID 3",
            "XSETID k 300-0 ENTRIESADDED 400 MAXDELETEDID 280-0",
        ] {
            home.must(line);
        }
        there_and_back(home, abroad, "k");
        home.must("XTRIM k MAXLEN 0");
        there_and_back(home, abroad, "k");
    }
}

#[test]
fn large_values_go_to_redis_and_back() {
    let (ours, theirs) = (Server::slotcore(&[]), Server::redis(&[]));
    let (ours, theirs) = (&mut ours.connect(), &mut theirs.connect());
    let mut random = Random::new(5);
    let noise = random.bytes(300_000);
    let zeros = vec![b'0'; 1_000_000];
    for ours_first in [true, false] {
        let (home, abroad) = if ours_first { (&mut *ours, &mut *theirs) } else { (&mut *theirs, &mut *ours) };
        for value in [&noise, &zeros] {
            home.cmd(&[&b"SET"[..], b"k", value]);
            there_and_back(home, abroad, "k");
            home.must("DEL k");
            home.cmd(&[&b"RPUSH"[..], b"k", b"small", value, b"5", value, b"end"]);
            there_and_back(home, abroad, "k");
            home.must("DEL k");
            home.cmd(&[&b"HSET"[..], b"k", b"f", value, b"g", b"w"]);
            there_and_back(home, abroad, "k");
            home.must("DEL k");
        }
        for (kind, count) in [("SADD", 20_000), ("ZADD", 20_000), ("HSET", 20_000)] {
            let mut batch = Vec::new();
            for request in value_of(&mut random, kind, "k", count, 12) {
                batch.extend_from_slice(&crate::support::client::encode(&request));
            }
            home.send(&batch);
            for _ in 0..count {
                home.read();
            }
            there_and_back(home, abroad, "k");
            home.must("DEL k");
        }
    }
}

#[test]
fn expiries_and_access_survive_a_restore() {
    let ours = Server::slotcore(&["--maxmemory-policy", "allkeys-lfu"]);
    check_with_x(
        &mut ours.connect(),
        &[
            ("RESTORE k 0 @ FREQ 77", "+OK"),
            ("OBJECT FREQ k", ":77"),
            ("RESTORE k 0 @ REPLACE IDLETIME 9", "+OK"),
            ("OBJECT FREQ k", ":5"),
        ],
    );
}

// ---- damage ---------------------------------------------------------------------------------------------------------

/// Everything that may be asked of what came out of a damaged payload, so that a value that is not sound shows it.
const EXERCISES: &[(&str, &[&str])] = &[
    ("+string", &["GET k", "APPEND k x", "GETRANGE k 0 -1"]),
    (
        "+list",
        &[
            "LRANGE k 0 -1",
            "LPOS k a",
            "LINSERT k BEFORE a b",
            "LREM k 0 a",
            "RPUSH k z",
            "LSET k 0 y",
            "LPOP k",
            "LTRIM k 1 -2",
        ],
    ),
    ("+set", &["SMEMBERS k", "SISMEMBER k a", "SADD k 5", "SRANDMEMBER k 9", "SADD k zz", "SREM k a", "SPOP k"]),
    ("+hash", &["HGETALL k", "HSET k a 5", "HINCRBY k a 1", "HRANDFIELD k 5 WITHVALUES", "HDEL k a", "HSET k long 7"]),
    (
        "+zset",
        &[
            "ZRANGE k 0 -1 WITHSCORES",
            "ZADD k 5 a",
            "ZRANK k a",
            "ZINCRBY k 1 b",
            "ZRANGEBYSCORE k -inf +inf",
            "ZPOPMIN k",
            "ZREM k a",
        ],
    ),
    (
        "+stream",
        &[
            "XRANGE k - +",
            "XREVRANGE k + -",
            "XINFO STREAM k FULL",
            "XADD k * f v",
            "XREADGROUP GROUP g c STREAMS k >",
            "XPENDING k g - + 9",
            "XACK k g 1-1",
            "XDEL k 2-2",
            "XTRIM k MAXLEN 1",
            "XAUTOCLAIM k g c 0 0",
        ],
    ),
];

#[test]
fn damaged_payloads_are_refused_or_make_sound_values() {
    let seed = number_from_env("SLOTCORE_DUMP_SEED", 17);
    let rounds = number_from_env("SLOTCORE_DUMP_ROUNDS", 3000);
    let server = Server::slotcore(&["--enable-debug-command", "yes"]);
    let client = &mut server.connect();
    let mut random = Random::new(seed);
    let payloads = seeds(client, &mut random);
    client.must("DEBUG SET-SKIP-CHECKSUM-VALIDATION 1");
    let (mut taken, mut refused) = (0, 0);
    for round in 0..rounds {
        let mut payload = payloads[random.index(payloads.len())].clone();
        for _ in 0..1 + random.below(3) {
            let at = random.index(payload.len() - 10);
            payload[at] = match random.below(4) {
                0 => payload[at] ^ 1 << random.below(8),
                1 => payload[at].wrapping_add(1),
                2 => [0, 0x7f, 0x80, 0xff, 0xfe][random.index(5)],
                _ => random.next() as u8,
            };
        }
        let reply = restore(client, "k", &payload);
        if reply.is_error() {
            assert_eq!(reply.to_string(), BAD, "round {round} of seed {seed}");
            refused += 1;
            continue;
        }
        taken += 1;
        let kind = client.must("TYPE k").to_string();
        let (_, lines) = EXERCISES.iter().find(|(name, _)| *name == kind).expect("a kind");
        for line in *lines {
            client.line(line);
        }
        client.line("DUMP k");
        client.must("DEL k");
    }
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
    client.must("PING");
}

/// Payloads of all encodings.
fn seeds(client: &mut Client, random: &mut Random) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    for compression in ["no", "yes"] {
        client.must(&format!("CONFIG SET rdbcompression {compression}"));
        for (kind, counts) in [
            ("SET", &[1][..]),
            ("RPUSH", &[3, 40]),
            ("SADD", &[3, 300]),
            ("HSET", &[3, 40]),
            ("ZADD", &[3, 40]),
            ("XADD", &[3, 130]),
        ] {
            for count in counts {
                for request in value_of(random, kind, "seed", *count, 30) {
                    client.cmd(&request);
                }
                if kind == "XADD" {
                    for line in [
                        "XGROUP CREATE seed g 0",
                        "XREADGROUP GROUP g c COUNT 5 STREAMS seed >",
                        "XREADGROUP GROUP g d COUNT 5 STREAMS seed >",
                    ] {
                        client.must(line);
                    }
                }
                payloads.push(dump(client, "seed"));
                client.must("DEL seed");
            }
        }
        client.must("SADD seed 1 2 300 70000");
        payloads.push(dump(client, "seed"));
        client.must("DEL seed");
    }
    for (payload, ..) in ENCODINGS {
        let line = format!("\"{payload}\\x09\\x0012345678\"");
        payloads.extend(crate::support::client::split_line(&line));
    }
    payloads
}
