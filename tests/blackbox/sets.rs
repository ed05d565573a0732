//! The set commands, as tables.

use crate::support::events::{ALL_EVENTS, check_published};
use crate::support::{Server, check, on_both, on_both_with};

fn table(rows: &[(&str, &str)]) {
    on_both(|server| check(&mut server.connect(), rows));
}

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_AN_INTEGER: &str = "-ERR value is not an integer or out of range";
const SYNTAX: &str = "-ERR syntax error";

#[test]
fn members_are_added_asked_for_and_removed() {
    table(&[
        ("SADD s 3 1 2 1", ":3"),
        ("SADD s 1", ":0"),
        ("SMEMBERS s", "['1', '2', '3']"),
        ("SCARD s", ":3"),
        ("SISMEMBER s 2", ":1"),
        ("SISMEMBER s 02", ":0"),
        ("SMISMEMBER s 1 x 3", "[:1, :0, :1]"),
        ("SMISMEMBER missing 1 x", "[:0, :0]"),
        ("SADD s -5 9223372036854775807", ":2"),
        ("SMEMBERS s", "['-5', '1', '2', '3', '9223372036854775807']"),
        ("SREM s 1 1 nothing 2", ":2"),
        ("SCARD s", ":3"),
        ("SREM s 3 -5 9223372036854775807 x", ":3"),
        ("EXISTS s", ":0"),
        ("SREM s 1", ":0"),
        ("SMEMBERS s", "[]"),
        ("SCARD s", ":0"),
        ("SISMEMBER s 1", ":0"),
    ]);
}

#[test]
fn a_member_moves_between_sets() {
    table(&[
        ("SADD a 1 x", ":2"),
        ("SADD b 2", ":1"),
        ("SMOVE a b 1", ":1"),
        ("SMOVE a b 1", ":0"),
        ("SMOVE a a x", ":1"),
        ("SMOVE a a y", ":0"),
        ("SMEMBERS b", "['1', '2']"),
        ("SMOVE a c x", ":1"),
        ("EXISTS a", ":0"),
        ("SMEMBERS c", "['x']"),
        ("SMOVE missing b 1", ":0"),
        ("SET text v", "+OK"),
        ("SMOVE missing text 1", ":0"),
        ("SMOVE b text 1", WRONG_TYPE),
        ("SMOVE b text nothing", WRONG_TYPE),
        ("SMOVE text b 1", WRONG_TYPE),
        ("SMEMBERS b", "['1', '2']"),
    ]);
}

#[test]
fn sets_are_combined() {
    table(&[
        ("SADD a 1 2 3 4", ":4"),
        ("SADD b 2 3 5", ":3"),
        ("SADD c 3", ":1"),
        ("SINTER a b", "['2', '3']"),
        ("SINTER a b c", "['3']"),
        ("SINTER a a", "['1', '2', '3', '4']"),
        ("SINTER a missing", "[]"),
        ("SUNION a b c", "['1', '2', '3', '4', '5']"),
        ("SUNION missing", "[]"),
        ("SDIFF a b", "['1', '4']"),
        ("SDIFF a b a", "[]"),
        ("SDIFF missing a", "[]"),
        ("SDIFF a missing", "['1', '2', '3', '4']"),
        ("SINTERCARD 2 a b", ":2"),
        ("SINTERCARD 2 a b LIMIT 1", ":1"),
        ("SINTERCARD 2 a b LIMIT 0", ":2"),
        ("SINTERCARD 2 a missing", ":0"),
        ("SINTERCARD 0 a", "-ERR numkeys should be greater than 0"),
        ("SINTERCARD x a", "-ERR numkeys should be greater than 0"),
        ("SINTERCARD 3 a b", "-ERR Number of keys can't be greater than number of args"),
        ("SINTERCARD 2 a b LIMIT -1", "-ERR LIMIT can't be negative"),
        ("SINTERCARD 2 a b LIMIT x", "-ERR LIMIT can't be negative"),
        ("SINTERCARD 2 a b LIMIT", SYNTAX),
        ("SINTERCARD 2 a b c", SYNTAX),
    ]);
}

#[test]
fn results_are_stored_in_place_of_anything() {
    table(&[
        ("SADD a 1 2 3 4", ":4"),
        ("SADD b 2 3 5", ":3"),
        ("SET d text EX 100", "+OK"),
        ("SINTERSTORE d a b", ":2"),
        ("SMEMBERS d", "['2', '3']"),
        ("TTL d", ":-1"),
        ("SUNIONSTORE a a b", ":5"),
        ("SMEMBERS a", "['1', '2', '3', '4', '5']"),
        ("SDIFFSTORE d a b", ":2"),
        ("SMEMBERS d", "['1', '4']"),
        ("SDIFFSTORE d a a", ":0"),
        ("EXISTS d", ":0"),
        ("SINTERSTORE a a missing", ":0"),
        ("EXISTS a", ":0"),
        ("SET text v", "+OK"),
        ("SUNIONSTORE text missing", ":0"),
        ("EXISTS text", ":0"),
    ]);
}

#[test]
fn arguments_and_types_are_checked() {
    table(&[
        ("SET t v", "+OK"),
        ("SADD s 1", ":1"),
        ("SADD t 1", WRONG_TYPE),
        ("SREM t 1", WRONG_TYPE),
        ("SISMEMBER t 1", WRONG_TYPE),
        ("SMISMEMBER t 1", WRONG_TYPE),
        ("SCARD t", WRONG_TYPE),
        ("SMEMBERS t", WRONG_TYPE),
        ("SPOP t", WRONG_TYPE),
        ("SPOP t 1", WRONG_TYPE),
        ("SPOP t -1", "-ERR value is out of range, must be positive"),
        ("SPOP t x", "-ERR value is out of range, must be positive"),
        ("SRANDMEMBER t x", NOT_AN_INTEGER),
        ("SPOP t 1 x", SYNTAX),
        ("SRANDMEMBER t", WRONG_TYPE),
        ("SRANDMEMBER t 1", WRONG_TYPE),
        ("SRANDMEMBER t 1 x", SYNTAX),
        (
            "SRANDMEMBER t -9223372036854775808",
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ),
        ("SINTER missing t", WRONG_TYPE),
        ("SUNION s t", WRONG_TYPE),
        ("SDIFF s t", WRONG_TYPE),
        ("SINTERSTORE d missing t", WRONG_TYPE),
        ("SUNIONSTORE s s t", WRONG_TYPE),
        ("SINTERCARD 2 missing t", WRONG_TYPE),
        ("SSCAN t 0", WRONG_TYPE),
        ("SSCAN t x", "-ERR invalid cursor"),
        ("SSCAN missing 0 nonsense", "['0', []]"),
        ("SADD s", "-ERR wrong number of arguments for 'sadd' command"),
        ("SMEMBERS s", "['1']"),
    ]);
}

/// Alone: Redis 7.0 keeps no sets in listpacks.
#[test]
fn encodings_change_at_the_limits_of_7_2() {
    let limits = ["--set-max-intset-entries", "4", "--set-max-listpack-entries", "3", "--set-max-listpack-value", "8"];
    let server = Server::slotcore(&limits);
    check(
        &mut server.connect(),
        &[
            ("SADD i 1 2 3", ":3"),
            ("OBJECT ENCODING i", "'intset'"),
            ("SADD i 4", ":1"),
            ("OBJECT ENCODING i", "'intset'"),
            ("SADD i 5", ":1"),
            ("OBJECT ENCODING i", "'hashtable'"),
            ("SADD l 2 1", ":2"),
            ("SADD l x", ":1"),
            ("OBJECT ENCODING l", "'listpack'"),
            ("SMEMBERS l", "['1', '2', 'x']"),
            ("SADD l y", ":1"),
            ("OBJECT ENCODING l", "'hashtable'"),
            ("SREM l 1 2 x", ":3"),
            ("OBJECT ENCODING l", "'hashtable'"),
            ("SADD three 1 2 3", ":3"),
            ("SADD three x", ":1"),
            ("OBJECT ENCODING three", "'hashtable'"),
            ("SADD long 123456789", ":1"),
            ("OBJECT ENCODING long", "'intset'"),
            ("SADD long x", ":1"),
            ("OBJECT ENCODING long", "'hashtable'"),
            ("SADD word 123456789x", ":1"),
            ("OBJECT ENCODING word", "'hashtable'"),
            ("SADD many 1 1 1 1 1", ":1"),
            ("OBJECT ENCODING many", "'hashtable'"),
            ("SADD few a a a a", ":1"),
            ("OBJECT ENCODING few", "'hashtable'"),
            ("SADD odd x 7", ":2"),
            ("SREM odd x", ":1"),
            ("OBJECT ENCODING odd", "'listpack'"),
            ("SINTERSTORE stored odd", ":1"),
            ("OBJECT ENCODING stored", "'intset'"),
            ("SUNIONSTORE stored odd", ":1"),
            ("OBJECT ENCODING stored", "'intset'"),
            ("SADD big 1 2 3 4 5 6 7 8", ":8"),
            ("OBJECT ENCODING big", "'hashtable'"),
            ("SPOP big 7", "?"),
            ("OBJECT ENCODING big", "'listpack'"),
        ],
    );
}

#[test]
fn popped_members_are_gone() {
    on_both(|server| {
        let mut client = server.connect();
        for total in [60, 400, 1500] {
            for prefix in ["", "m"] {
                for count in [1, 3, total / 2, total - 5, total, total + 5] {
                    let members: Vec<String> = (0..total).map(|number| format!("{prefix}{number}")).collect();
                    for members in members.chunks(60) {
                        client.must(&format!("SADD s {}", members.join(" ")));
                    }
                    let mut members: Vec<String> =
                        client.must(&format!("SPOP s {count}")).items().iter().map(|member| member.text()).collect();
                    assert_eq!(members.len(), count.min(total));
                    members.extend(client.must("SMEMBERS s").items().iter().map(|member| member.text()));
                    members.sort();
                    members.dedup();
                    assert_eq!(members.len(), total, "none twice, none lost");
                    client.must("DEL s");
                }
            }
        }
    });
}

#[test]
fn drawn_members_are_different_ones() {
    on_both(|server| {
        let mut client = server.connect();
        for number in 0..1000 {
            client.must(&format!("SADD s m{number}"));
        }
        for count in [1, 2, 300, 900, 1000, 5000] {
            let reply = client.must(&format!("SRANDMEMBER s {count}"));
            let mut members: Vec<String> = reply.items().iter().map(|member| member.text()).collect();
            members.sort();
            members.dedup();
            assert_eq!(members.len(), count.min(1000));
        }
        assert_eq!(client.must("SRANDMEMBER s -1500").items().len(), 1500);
        check(
            &mut client,
            &[
                ("SADD one x", ":1"),
                ("SRANDMEMBER one", "'x'"),
                ("SRANDMEMBER one -3", "['x', 'x', 'x']"),
                ("SRANDMEMBER one 0", "[]"),
                ("SRANDMEMBER missing", "nil"),
                ("SRANDMEMBER missing 2", "[]"),
                ("SPOP missing", "nil"),
                ("SPOP missing 2", "[]"),
                ("SPOP one 0", "[]"),
                ("SPOP one", "'x'"),
                ("EXISTS one", ":0"),
            ],
        );
    });
}

#[test]
fn version_3_has_sets() {
    table(&[
        ("HELLO 3", "?"),
        ("SADD s 1", ":1"),
        ("SMEMBERS s", "~['1']"),
        ("SMEMBERS missing", "~[]"),
        ("SINTER s s", "~['1']"),
        ("SUNION s missing", "~['1']"),
        ("SDIFF s missing", "~['1']"),
        ("SMISMEMBER s 1 2", "[:1, :0]"),
        ("SRANDMEMBER s 3", "['1']"),
        ("SRANDMEMBER missing", "null"),
        ("SPOP missing", "null"),
        ("SPOP missing 1", "~[]"),
        ("SPOP s 1", "~['1']"),
    ]);
}

#[test]
fn a_scan_finds_every_member() {
    on_both(|server| {
        let mut client = server.connect();
        for number in 0..1500 {
            client.must(&format!("SADD s m{number}"));
        }
        let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
        loop {
            let reply = client.must(&format!("SSCAN s {cursor} COUNT 20"));
            found.extend(reply.items()[1].items().iter().map(|member| member.text()));
            cursor = reply.items()[0].text();
            if cursor == "0" {
                break;
            }
        }
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 1500);
        check(
            &mut client,
            &[
                ("SSCAN s 0 MATCH m1499 COUNT 100000", "['0', ['m1499']]"),
                ("SADD i 1 2", ":2"),
                ("SSCAN i 5 COUNT 1", "['0', ['1', '2']]"),
                ("SSCAN i 0 MATCH 2", "['0', ['2']]"),
            ],
        );
    });
}

/// Alone: what redis-server takes is its own affair (41 bytes).
#[test]
fn a_member_of_16_bytes_takes_less_than_25() {
    const MEMBERS: usize = 100_000;
    let server = Server::slotcore(&[]);
    let mut client = server.connect();
    for first in (0..MEMBERS).step_by(1000) {
        let members: Vec<String> = (first..first + 1000).map(|number| format!("member{number:010}")).collect();
        client.must(&format!("SADD s {}", members.join(" ")));
        // A set does not need its greatest buffers when it has just grown: look at every size on the way.
        let members_count = first + 1000;
        let bytes = client.must("MEMORY USAGE s SAMPLES 0").integer();
        assert!(members_count < 2000 || bytes < 25 * members_count as i64, "{bytes} for {members_count}");
    }
    println!("{} bytes for {MEMBERS} members", client.must("MEMORY USAGE s SAMPLES 0"));
}

#[test]
fn digests_are_those_of_redis_in_every_form() {
    on_both_with(&["--enable-debug-command", "yes"], |server| {
        let mut client = server.connect();
        let members: Vec<String> = (0..300).map(|number| format!("m{number}")).collect();
        client.must(&format!("SADD big {}", members.join(" ")));
        check(
            &mut client,
            &[
                ("SADD i 3 1 -70000", ":3"),
                ("DEBUG DIGEST-VALUE i", "[+e5623cced2a67a95906919b9f8f8e5375ab7cc1c]"),
                (r#"SADD l x 1 """#, ":3"),
                ("DEBUG DIGEST-VALUE l", "[+4c1cdeb29cf4574bcdc3176cf5d5d10d49b2e636]"),
                ("DEBUG DIGEST-VALUE big", "[+d13aaa731d622ad768ec25a6f062fea0c039fe97]"),
            ],
        );
    });
}

#[test]
fn changes_are_published_and_counted() {
    on_both_with(ALL_EVENTS, |server| {
        check_published(
            server,
            &[
                ("SADD a 1 2 1", "new:a sadd:a", 2),
                ("SADD a 1", "", 0),
                ("SADD a x y z 3 4 5", "sadd:a", 6),
                ("SREM a none", "", 0),
                ("SREM a x none", "srem:a", 1),
                ("SMOVE a b 1", "srem:a new:b sadd:b", 2),
                ("SMOVE a b 1", "", 0),
                ("SADD b 2", "sadd:b", 1),
                ("SMOVE a b 2", "srem:a", 1),
                ("SMOVE b b 2", "", 0),
                ("SINTERSTORE c a b", "", 0),
                ("SUNIONSTORE c a b", "new:c sunionstore:c", 1),
                ("SINTERSTORE c c a", "sinterstore:c", 1),
                ("SDIFFSTORE d c b", "new:d sdiffstore:d", 1),
                ("SDIFFSTORE d c c", "del:d", 1),
                ("SDIFFSTORE d c c", "", 0),
                ("SPOP b 0", "", 0),
                ("SPOP b", "spop:b", 1),
                ("SPOP b", "spop:b del:b", 1),
                ("SPOP b", "", 0),
                ("SPOP c 2", "spop:c", 2),
                ("SPOP c 10", "spop:c del:c", 3),
                ("SADD e x", "new:e sadd:e", 1),
                ("SMOVE e f x", "srem:e del:e new:f sadd:f", 2),
                ("SREM f x", "srem:f del:f", 1),
            ],
        );
    });
}

#[test]
fn watching_clients_are_told_of_every_set_that_changed() {
    on_both(|server| {
        let (watcher, other) = (&mut server.connect(), &mut server.connect());
        for (key, line, told) in [
            ("{t}a", "SMOVE {t}a {t}b 1", true),
            ("{t}b", "SMOVE {t}a {t}b 1", true),
            ("{t}b", "SMOVE {t}a {t}b 2", false),
            ("{t}a", "SMOVE {t}a {t}b none", false),
            ("{t}a", "SADD {t}a 1", false),
            ("{t}a", "SPOP {t}a 0", false),
            ("{t}a", "SPOP {t}a 1", true),
            ("{t}a", "SUNIONSTORE {t}b {t}a", false),
            ("{t}b", "SUNIONSTORE {t}b {t}a", true),
            ("{t}b", "SDIFFSTORE {t}b {t}a {t}a", true),
            ("{t}c", "SDIFFSTORE {t}c {t}a {t}a", false),
        ] {
            other.must("DEL {t}a {t}b");
            other.must("SADD {t}a 1 2 3");
            other.must("SADD {t}b 2 x");
            watcher.must(&format!("WATCH {key}"));
            other.line(line);
            watcher.must("MULTI");
            watcher.must("PING");
            let reply = watcher.line("EXEC").to_string();
            assert_eq!(reply, if told { "nil*" } else { "[+PONG]" }, "{key} {line}");
        }
    });
}

/// A big set is copied whole and not member by member; the form of the result does not show it.
#[test]
fn unions_with_a_big_set_have_the_form_that_adding_each_member_gives() {
    on_both(|server| {
        let client = &mut server.connect();
        let numbers: Vec<String> = (0..700).map(|number| number.to_string()).collect();
        client.must(&format!("SADD big {}", numbers.join(" ")));
        client.must("SADD numbers 5 699 700 -1");
        client.must("SADD words 699 a b");
        for (line, encoding, count) in [
            ("SUNIONSTORE to big", "hashtable", 700),
            ("SUNIONSTORE to numbers big", "hashtable", 702),
            ("SUNIONSTORE to words big numbers big", "hashtable", 704),
            ("SUNIONSTORE big big words", "hashtable", 702),
            ("SUNIONSTORE to numbers missing", "intset", 4),
        ] {
            assert_eq!(client.must(line).integer(), count, "{line}");
            let to = line.split(' ').nth(1).unwrap();
            assert_eq!(client.must(&format!("OBJECT ENCODING {to}")).text(), encoding, "{line}");
            assert_eq!(client.must(&format!("SCARD {to}")).integer(), count, "{line}");
        }
        check(client, &[("SMISMEMBER big 0 699 a b c", "[:1, :1, :1, :1, :0]"), ("SREM big a b", ":2")]);
        // What was too big for an intset is not any more.
        client.must("CONFIG SET set-max-intset-entries 1000");
        check(client, &[("SUNIONSTORE to big numbers", ":702"), ("OBJECT ENCODING to", "'intset'")]);
    });
}
