//! The commands of lists, as tables.

use crate::support::events::{ALL_EVENTS, check_published};
use crate::support::{Client, Server, check, on_both, on_both_with};

fn table(rows: &[(&str, &str)]) {
    on_both(|server| check(&mut server.connect(), rows));
}

/// Runs a table whose replies are Redis 7.2's: 7.0 knows no listpack lists.
fn table_72(args: &[&str], rows: &[(&str, &str)]) {
    on_both_with(args, |server: &Server| {
        if server.is_72() {
            check(&mut server.connect(), rows);
        }
    });
}

const NOT_AN_INTEGER: &str = "-ERR value is not an integer or out of range";
const NOT_POSITIVE: &str = "-ERR value is out of range, must be positive";
const SYNTAX: &str = "-ERR syntax error";
const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

#[test]
fn pushes_answer_the_length_and_keep_the_order() {
    table(&[
        ("RPUSH k a b c", ":3"),
        ("LPUSH k x y", ":5"),
        ("LRANGE k 0 -1", "['y', 'x', 'a', 'b', 'c']"),
        ("TYPE k", "+list"),
        ("LLEN k", ":5"),
        ("LLEN missing", ":0"),
        ("RPUSHX missing a", ":0"),
        ("LPUSHX missing a b", ":0"),
        ("EXISTS missing", ":0"),
        ("RPUSHX k d e", ":7"),
        ("LPUSHX k 1 2", ":9"),
        ("LRANGE k 0 -1", "['2', '1', 'y', 'x', 'a', 'b', 'c', 'd', 'e']"),
        (r#"RPUSH bytes "" "\x00\r\n\xff" -0 007 9223372036854775807 9223372036854775808"#, ":6"),
        ("LRANGE bytes 0 -1", r"['', '\x00\r\n\xff', '-0', '007', '9223372036854775807', '9223372036854775808']"),
        ("RPUSH k", "-ERR wrong number of arguments for 'rpush' command"),
        ("LPUSHX k", "-ERR wrong number of arguments for 'lpushx' command"),
        ("LLEN", "-ERR wrong number of arguments for 'llen' command"),
    ]);
}

#[test]
fn every_command_refuses_other_types() {
    table(&[
        ("SET s v", "+OK"),
        ("RPUSH l a b", ":2"),
        ("LPUSH s a", WRONG_TYPE),
        ("RPUSHX s a", WRONG_TYPE),
        ("LPOP s", WRONG_TYPE),
        ("RPOP s 0", WRONG_TYPE),
        ("LLEN s", WRONG_TYPE),
        ("LRANGE s 0 -1", WRONG_TYPE),
        ("LINDEX s x", WRONG_TYPE),
        ("LSET s x v", WRONG_TYPE),
        ("LINSERT s BEFORE a b", WRONG_TYPE),
        ("LREM s 0 a", WRONG_TYPE),
        ("LTRIM s 0 -1", WRONG_TYPE),
        ("LPOS s a", WRONG_TYPE),
        ("LMOVE s l LEFT LEFT", WRONG_TYPE),
        ("LMOVE l s LEFT LEFT", WRONG_TYPE),
        ("LMOVE missing s LEFT LEFT", "nil"),
        ("RPOPLPUSH s s", WRONG_TYPE),
        ("LMPOP 2 missing s LEFT", WRONG_TYPE),
        ("BLPOP missing s l 0", WRONG_TYPE),
        ("BLMPOP 0 1 s LEFT", WRONG_TYPE),
        ("BLMOVE s l LEFT LEFT 0", WRONG_TYPE),
        ("BRPOPLPUSH l s 0", WRONG_TYPE),
        ("LRANGE l 0 -1", "['a', 'b']"),
        ("GET l", WRONG_TYPE),
        ("SET l v", "+OK"),
        ("TYPE l", "+string"),
    ]);
}

#[test]
fn ranges_and_indexes_count_from_both_ends() {
    table(&[
        ("RPUSH k a b c d e", ":5"),
        ("LRANGE k 1 3", "['b', 'c', 'd']"),
        ("LRANGE k -2 -1", "['d', 'e']"),
        ("LRANGE k -100 1", "['a', 'b']"),
        ("LRANGE k 3 100", "['d', 'e']"),
        ("LRANGE k 3 2", "[]"),
        ("LRANGE k 5 6", "[]"),
        ("LRANGE k 0 -6", "[]"),
        ("LRANGE k -9223372036854775808 9223372036854775807", "['a', 'b', 'c', 'd', 'e']"),
        ("LRANGE missing 0 -1", "[]"),
        ("LRANGE missing x -1", NOT_AN_INTEGER),
        ("LRANGE k 0 1.0", NOT_AN_INTEGER),
        ("LINDEX k 0", "'a'"),
        ("LINDEX k -1", "'e'"),
        ("LINDEX k 4", "'e'"),
        ("LINDEX k 5", "nil"),
        ("LINDEX k -6", "nil"),
        ("LINDEX k -9223372036854775808", "nil"),
        ("LINDEX k x", NOT_AN_INTEGER),
        ("LINDEX missing x", "nil"),
    ]);
}

#[test]
fn lset_replaces_and_names_its_errors_in_order() {
    table(&[
        ("LSET missing x v", "-ERR no such key"),
        ("RPUSH k a b c", ":3"),
        ("LSET k 1 B", "+OK"),
        ("LSET k -1 12345", "+OK"),
        ("LSET k 0 ''", "+OK"),
        ("LRANGE k 0 -1", "['', 'B', '12345']"),
        ("LSET k 3 v", "-ERR index out of range"),
        ("LSET k -4 v", "-ERR index out of range"),
        ("LSET k x v", NOT_AN_INTEGER),
        ("LSET k 0", "-ERR wrong number of arguments for 'lset' command"),
    ]);
}

#[test]
fn linsert_stands_beside_the_first_pivot() {
    table(&[
        ("LINSERT missing BEFORE a b", ":0"),
        ("RPUSH k a b a", ":3"),
        ("LINSERT k after a 1", ":4"),
        ("LINSERT k BEFORE a 0", ":5"),
        ("LINSERT k BEFORE b x", ":6"),
        ("LINSERT k AFTER q x", ":-1"),
        ("LINSERT k BEYOND a x", SYNTAX),
        ("LINSERT missing BEYOND a x", SYNTAX),
        ("LINSERT k AFTER 1 2", ":7"),
        ("LRANGE k 0 -1", "['0', 'a', '1', '2', 'x', 'b', 'a']"),
    ]);
}

#[test]
fn lrem_and_ltrim_remove_the_key_with_the_last_element() {
    table(&[
        ("RPUSH k a b a 1 a b 1", ":7"),
        ("LREM k -1 a", ":1"),
        ("LREM k 1 b", ":1"),
        ("LRANGE k 0 -1", "['a', 'a', '1', 'b', '1']"),
        ("LREM k 0 1", ":2"),
        ("LREM k -9223372036854775807 b", ":1"),
        ("LREM k 5 missing", ":0"),
        ("LREM k 2 a", ":2"),
        ("EXISTS k", ":0"),
        ("LREM k x a", NOT_AN_INTEGER),
        ("LREM k 0 a", ":0"),
        ("RPUSH k a b c d e", ":5"),
        ("LTRIM k 1 -2", "+OK"),
        ("LRANGE k 0 -1", "['b', 'c', 'd']"),
        ("LTRIM k 0 -1", "+OK"),
        ("LTRIM k -2 100", "+OK"),
        ("LRANGE k 0 -1", "['c', 'd']"),
        ("LTRIM k 5 6", "+OK"),
        ("EXISTS k", ":0"),
        ("LTRIM missing 0 1", "+OK"),
        ("LTRIM missing 0 x", NOT_AN_INTEGER),
    ]);
}

#[test]
fn pops_answer_one_element_or_an_array() {
    table(&[
        ("LPOP missing", "nil"),
        ("LPOP missing 3", "nil*"),
        ("RPUSH k a b c d e f g", ":7"),
        ("LPOP k", "'a'"),
        ("RPOP k", "'g'"),
        ("LPOP k 2", "['b', 'c']"),
        ("RPOP k 2", "['f', 'e']"),
        ("LPOP k 0", "[]"),
        ("LPOP k -1", NOT_POSITIVE),
        ("LPOP k x", NOT_POSITIVE),
        ("RPOP missing x", NOT_POSITIVE),
        ("LPOP k 1 2", "-ERR wrong number of arguments for 'lpop' command"),
        ("RPOP k 1 2", "-ERR wrong number of arguments for 'rpop' command"),
        ("RPOP k 9223372036854775807", "['d']"),
        ("EXISTS k", ":0"),
        ("HELLO 3", "{..."),
        ("LPOP missing", "null"),
        ("LPOP missing 3", "null"),
        ("LMPOP 1 missing LEFT", "null"),
        ("LPOS missing a", "null"),
    ]);
}

#[test]
fn lmpop_takes_from_the_first_list_that_is_there() {
    table(&[
        ("LMPOP 2 {t}a {t}b LEFT", "nil*"),
        ("RPUSH {t}b 1 2 3 4 5", ":5"),
        ("LMPOP 2 {t}a {t}b LEFT", "['{t}b', ['1']]"),
        ("LMPOP 2 {t}a {t}b right COUNT 2", "['{t}b', ['5', '4']]"),
        ("LMPOP 2 {t}b {t}b LEFT count 9", "['{t}b', ['2', '3']]"),
        ("EXISTS {t}b", ":0"),
        ("LMPOP 0 {t}b LEFT", "-ERR numkeys should be greater than 0"),
        ("LMPOP x {t}b LEFT", "-ERR numkeys should be greater than 0"),
        ("LMPOP 2 {t}b LEFT", SYNTAX),
        ("LMPOP 1 {t}b MIDDLE", SYNTAX),
        ("LMPOP 1 {t}b LEFT COUNT", SYNTAX),
        ("LMPOP 1 {t}b LEFT COUNT 0", "-ERR count should be greater than 0"),
        ("LMPOP 1 {t}b LEFT COUNT x", "-ERR count should be greater than 0"),
        ("LMPOP 1 {t}b LEFT COUNT 1 COUNT 2", SYNTAX),
        ("LMPOP 1 {t}b LEFT BOGUS", SYNTAX),
        ("LMPOP 9223372036854775806 {t}b LEFT", SYNTAX),
    ]);
}

#[test]
fn lmove_moves_between_ends_also_within_one_list() {
    table(&[
        ("RPUSH {t}a 1 2 3", ":3"),
        ("LMOVE {t}a {t}b LEFT RIGHT", "'1'"),
        ("LMOVE {t}a {t}b right left", "'3'"),
        ("LRANGE {t}b 0 -1", "['3', '1']"),
        ("RPOPLPUSH {t}a {t}b", "'2'"),
        ("EXISTS {t}a", ":0"),
        ("LMOVE {t}a {t}b LEFT LEFT", "nil"),
        ("RPOPLPUSH {t}a {t}b", "nil"),
        ("RPOPLPUSH {t}b {t}b", "'1'"),
        ("LMOVE {t}b {t}b LEFT RIGHT", "'1'"),
        ("LRANGE {t}b 0 -1", "['2', '3', '1']"),
        ("RPUSH {t}c only", ":1"),
        ("RPOPLPUSH {t}c {t}c", "'only'"),
        ("LRANGE {t}c 0 -1", "['only']"),
        ("LMOVE {t}b {t}c UP RIGHT", SYNTAX),
        ("LMOVE {t}b {t}c LEFT", "-ERR wrong number of arguments for 'lmove' command"),
    ]);
}

#[test]
fn lpos_knows_rank_count_and_maxlen() {
    table(&[
        ("RPUSH k a b c 1 2 3 c c", ":8"),
        ("LPOS k c", ":2"),
        ("LPOS k c RANK 2", ":6"),
        ("LPOS k c RANK -1", ":7"),
        ("LPOS k c RANK 4", "nil"),
        ("LPOS k 2", ":4"),
        ("LPOS k c COUNT 0", "[:2, :6, :7]"),
        ("LPOS k c COUNT 2", "[:2, :6]"),
        ("LPOS k c COUNT 0 RANK -2", "[:6, :2]"),
        ("LPOS k c COUNT 0 MAXLEN 7 RANK -1", "[:7, :6, :2]"),
        ("LPOS k c MAXLEN 2", "nil"),
        ("LPOS k x COUNT 1", "[]"),
        ("LPOS missing x COUNT 1", "[]"),
        ("LPOS missing x", "nil"),
        ("LPOS k c RANK x", NOT_AN_INTEGER),
        ("LPOS k c COUNT -1", "-ERR COUNT can't be negative"),
        ("LPOS k c COUNT x", "-ERR COUNT can't be negative"),
        ("LPOS k c MAXLEN -1", "-ERR MAXLEN can't be negative"),
        ("LPOS k c COUNT", SYNTAX),
        ("LPOS k c BOGUS 1", SYNTAX),
        (
            "LPOS k c RANK 0",
            "-ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to \
             start from the end of the list",
        ),
    ]);
    table_72(
        &[],
        &[(
            "LPOS k c RANK -9223372036854775808",
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )],
    );
}

#[test]
fn blocking_commands_take_at_once_what_is_there() {
    table(&[
        ("RPUSH {t}b 1 2 3 4 5 6 7 8", ":8"),
        ("BLPOP {t}a {t}b 0", "['{t}b', '1']"),
        ("BRPOP {t}b {t}a 0.5", "['{t}b', '8']"),
        ("BLMPOP 0 2 {t}a {t}b LEFT COUNT 2", "['{t}b', ['2', '3']]"),
        ("BLMOVE {t}b {t}c LEFT RIGHT 0", "'4'"),
        ("BRPOPLPUSH {t}b {t}c 0", "'7'"),
        ("LRANGE {t}c 0 -1", "['7', '4']"),
        ("BLPOP {t}b x", "-ERR timeout is not a float or out of range"),
        ("BLPOP {t}b -1", "-ERR timeout is negative"),
        ("BLMPOP -1 1 {t}b LEFT", "-ERR timeout is negative"),
        ("BLMPOP x 0 {t}b LEFT", "-ERR numkeys should be greater than 0"),
        ("BLMPOP 0 1 {t}b LEFT COUNT 0", "-ERR count should be greater than 0"),
        ("BLMOVE {t}b {t}c LEFT UP x", SYNTAX),
        ("BLMOVE {t}b {t}c LEFT RIGHT x", "-ERR timeout is not a float or out of range"),
        ("BRPOPLPUSH {t}b {t}c -1", "-ERR timeout is negative"),
        ("LLEN {t}b", ":2"),
        ("BLPOP {t}b", "-ERR wrong number of arguments for 'blpop' command"),
    ]);
}

#[test]
fn encodings_change_at_the_limit_and_at_half_of_it() {
    table_72(
        &["--list-max-listpack-size", "4"],
        &[
            ("RPUSH k 1 2 3 4", ":4"),
            ("OBJECT ENCODING k", "'listpack'"),
            ("RPUSH k 5", ":5"),
            ("OBJECT ENCODING k", "'quicklist'"),
            ("LPOP k 2", "['1', '2']"),
            ("OBJECT ENCODING k", "'quicklist'"),
            ("RPOP k", "'5'"),
            ("OBJECT ENCODING k", "'listpack'"),
            ("RPUSH k 5 6 7", ":5"),
            ("LTRIM k 0 1", "+OK"),
            ("OBJECT ENCODING k", "'listpack'"),
            ("RPUSH k 5 5 5", ":5"),
            ("LREM k 0 5", ":3"),
            ("OBJECT ENCODING k", "'listpack'"),
            ("RPUSH k 5 5", ":4"),
            // The pivot is not there, and yet there was to be a fifth element.
            ("LINSERT k BEFORE missing x", ":-1"),
            ("OBJECT ENCODING k", "'quicklist'"),
            ("COPY k copy", ":1"),
            ("OBJECT ENCODING copy", "'quicklist'"),
        ],
    );
}

#[test]
fn encodings_change_with_large_elements() {
    on_both_with(&[], |server| {
        if !server.is_72() {
            return;
        }
        let client = &mut server.connect();
        for len in [8192, 70_000, 1_000_000] {
            let big = "x".repeat(len);
            check(client, &[("DEL k", "?"), ("RPUSH k a b c", ":3"), ("OBJECT ENCODING k", "'listpack'")]);
            assert_eq!(client.cmd(&["LSET", "k", "0", &big]).to_string(), "+OK");
            check(client, &[("OBJECT ENCODING k", "'quicklist'")]);
            assert_eq!(client.line("LINDEX k 0").text(), big);
            check(client, &[("LSET k 0 a", "+OK"), ("LRANGE k 0 -1", "['a', 'b', 'c']")]);
            // What LSET put into a listpack of others leaves it again.
            check(client, &[("OBJECT ENCODING k", "'listpack'")]);
            assert_eq!(client.cmd(&["RPUSH", "k", &big]).integer(), 4);
            check(client, &[("OBJECT ENCODING k", "'quicklist'")]);
            assert_eq!(client.line("RPOP k").text(), big);
            check(client, &[("OBJECT ENCODING k", "'listpack'")]);
        }
    });
}

/// Elements `e<n>`, each padded to `len` bytes.
fn fill(client: &mut Client, key: &str, count: usize, len: usize) -> Vec<String> {
    let elements: Vec<String> = (0..count).map(|number| format!("{:x<len$}", format!("e{number}:"))).collect();
    for chunk in elements.chunks(1000) {
        let mut args = vec!["RPUSH", key];
        args.extend(chunk.iter().map(String::as_str));
        client.cmd(&args);
    }
    elements
}

#[test]
fn long_lists_are_read_and_changed_in_the_middle() {
    on_both(|server| {
        let client = &mut server.connect();
        for len in [8, 900, 10_000] {
            client.line("DEL k copy");
            let mut model = fill(client, "k", 3000, len);
            for index in [0usize, 1, 777, 1500, 2222, 2999] {
                assert_eq!(client.line(&format!("LINDEX k {index}")).text(), model[index]);
                assert_eq!(client.line(&format!("LINDEX k -{}", model.len() - index)).text(), model[index]);
                assert_eq!(client.cmd(&["LPOS", "k", &model[index]]).integer(), index as i64);
                client.cmd(&["LINSERT", "k", "BEFORE", &model[index], "new"]);
                model.insert(index, "new".to_owned());
            }
            client.line("LSET k 1000 other");
            model[1000] = "other".to_owned();
            let all: Vec<String> = client.line("LRANGE k 0 -1").items().iter().map(|item| item.text()).collect();
            assert!(all == model, "length {len}");
            assert_eq!(client.line("LREM k -2 new").integer(), 2);
            assert_eq!(client.line("LREM k 0 new").integer(), 4);
            assert_eq!(client.line("COPY k copy").integer(), 1);
            check(client, &[("LTRIM k 997 1996", "+OK"), ("LLEN k", ":1000"), ("LINDEX k 0", "'other'")]);
            check(client, &[("LLEN copy", ":3000"), ("DEL k", ":1"), ("LINDEX copy 997", "'other'")]);
        }
    });
}

#[test]
fn digests_are_those_of_redis() {
    on_both_with(&["--enable-debug-command", "yes"], |server| {
        let client = &mut server.connect();
        fill(client, "long", 500, 40);
        check(
            client,
            &[
                ("RPUSH short a 1 -5 007", ":4"),
                ("DEBUG DIGEST-VALUE short", "[+54f1d503f30eb016b5d5f919a1298820e1b1c7c0]"),
                ("DEBUG DIGEST-VALUE long", "[+6286599856f7cd07339b91b6ae9ae239f52e2a2e]"),
            ],
        );
    });
}

/// Each request with the events that it publishes, and how many changes it counts as.
const PUBLISHED: &[(&str, &str, i64)] = &[
    ("RPUSH {t}a 1 2 3", "new:{t}a rpush:{t}a", 3),
    ("LPUSH {t}a 4", "lpush:{t}a", 1),
    ("LPUSHX {t}a 5 6", "lpush:{t}a", 2),
    ("RPUSHX {t}none 5 6", "", 0),
    ("LINSERT {t}a BEFORE 1 x", "linsert:{t}a", 1),
    ("LINSERT {t}a BEFORE none x", "", 0),
    ("LSET {t}a 0 y", "lset:{t}a", 1),
    ("LSET {t}a 99 y", "", 0),
    ("LREM {t}a 0 none", "", 0),
    ("LREM {t}a 0 x", "lrem:{t}a", 1),
    ("LTRIM {t}a 0 -1", "ltrim:{t}a", 0),
    ("LTRIM {t}a 1 -2", "ltrim:{t}a", 2),
    ("LRANGE {t}a 0 -1", "", 0),
    ("LMOVE {t}a {t}b LEFT RIGHT", "new:{t}b rpush:{t}b lpop:{t}a", 1),
    ("RPOPLPUSH {t}a {t}a", "lpush:{t}a rpop:{t}a", 1),
    ("LMOVE {t}b {t}a LEFT LEFT", "lpush:{t}a lpop:{t}b del:{t}b", 1),
    ("LPOP {t}a 0", "", 0),
    ("RPOP {t}a", "rpop:{t}a", 1),
    ("LPOP {t}a 3", "lpop:{t}a del:{t}a", 3),
    ("RPUSH {t}a 1 2 3 4 5", "new:{t}a rpush:{t}a", 5),
    ("LMPOP 1 {t}a RIGHT COUNT 2", "rpop:{t}a", 2),
    ("BLPOP {t}a 0", "lpop:{t}a", 1),
    ("BLMOVE {t}a {t}b RIGHT LEFT 0", "new:{t}b lpush:{t}b rpop:{t}a", 1),
    ("SORT {t}a STORE {t}b", "sortstore:{t}b", 1),
    ("LREM {t}a 0 2", "lrem:{t}a del:{t}a", 1),
    ("SORT {t}a STORE {t}b", "del:{t}b", 1),
    ("SORT {t}a STORE {t}b", "", 0),
    ("RPUSH {t}a 2 3 1", "new:{t}a rpush:{t}a", 3),
    ("SORT {t}a STORE {t}b", "new:{t}b sortstore:{t}b", 3),
    ("LTRIM {t}a 5 9", "ltrim:{t}a del:{t}a", 3),
];

#[test]
fn changes_are_published_and_counted() {
    on_both_with(ALL_EVENTS, |server| check_published(server, PUBLISHED));
}

#[test]
fn watching_clients_are_told_of_both_keys_of_a_move() {
    on_both(|server| {
        let (watcher, other) = (&mut server.connect(), &mut server.connect());
        for (key, line, told) in [
            ("{t}a", "LMOVE {t}a {t}b LEFT LEFT", true),
            ("{t}b", "LMOVE {t}a {t}b LEFT LEFT", true),
            ("{t}a", "LTRIM {t}a 0 -1", true),
            ("{t}a", "LREM {t}a 0 none", false),
            ("{t}a", "LINSERT {t}a AFTER none x", false),
            ("{t}a", "SORT {t}a", false),
            ("{t}b", "SORT {t}a STORE {t}b", true),
        ] {
            other.must("DEL {t}a {t}b");
            other.must("RPUSH {t}a 1 2 3");
            other.must("RPUSH {t}b 1 2 3");
            watcher.must(&format!("WATCH {key}"));
            other.line(line);
            watcher.must("MULTI");
            watcher.must("PING");
            let reply = watcher.line("EXEC").to_string();
            assert_eq!(reply, if told { "nil*" } else { "[+PONG]" }, "{key} {line}");
        }
    });
}
