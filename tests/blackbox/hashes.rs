//! The hash commands, as tables.

use crate::support::events::{ALL_EVENTS, check_published};
use crate::support::{Server, check, on_both, on_both_with};

fn table(rows: &[(&str, &str)]) {
    on_both(|server| check(&mut server.connect(), rows));
}

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_AN_INTEGER: &str = "-ERR value is not an integer or out of range";
const SYNTAX: &str = "-ERR syntax error";

#[test]
fn fields_are_set_and_read() {
    table(&[
        ("HSET h a 1 b two", ":2"),
        ("HSET h a 2 c 3", ":1"),
        ("HGET h a", "'2'"),
        ("HGET h nothing", "nil"),
        ("HGET missing a", "nil"),
        ("HMGET h a nothing c", "['2', nil, '3']"),
        ("HMGET missing a b", "[nil, nil]"),
        ("HMSET h d 4", "+OK"),
        ("HGETALL h", "['a', '2', 'b', 'two', 'c', '3', 'd', '4']"),
        ("HKEYS h", "['a', 'b', 'c', 'd']"),
        ("HVALS h", "['2', 'two', '3', '4']"),
        ("HGETALL missing", "[]"),
        ("HKEYS missing", "[]"),
        ("HLEN h", ":4"),
        ("HLEN missing", ":0"),
        ("HSTRLEN h b", ":3"),
        ("HSTRLEN h a", ":1"),
        ("HSTRLEN h nothing", ":0"),
        ("HEXISTS h a", ":1"),
        ("HEXISTS h nothing", ":0"),
        ("HSETNX h a 9", ":0"),
        ("HSETNX h e 9", ":1"),
        ("HGET h e", "'9'"),
        (r#"HSET h "" """#, ":1"),
        (r#"HGET h """#, "''"),
    ]);
}

#[test]
fn the_last_field_takes_the_key_with_it() {
    table(&[
        ("HSET h a 1 b 2 c 3", ":3"),
        ("HDEL h a nothing a", ":1"),
        ("HDEL h b c d", ":2"),
        ("EXISTS h", ":0"),
        ("HDEL h a", ":0"),
        ("TYPE h", "+none"),
    ]);
}

#[test]
fn numbers_in_fields_are_added_to() {
    table(&[
        ("HINCRBY h n 5", ":5"),
        ("HINCRBY h n -7", ":-2"),
        ("HINCRBY h n x", NOT_AN_INTEGER),
        ("HSET h text abc big 9223372036854775807", ":2"),
        ("HINCRBY h text 1", "-ERR hash value is not an integer"),
        ("HINCRBY h big 1", "-ERR increment or decrement would overflow"),
        ("HINCRBYFLOAT h n 0.5", "'-1.5'"),
        ("HINCRBYFLOAT h f 3.0e3", "'3000'"),
        ("HINCRBYFLOAT h f x", "-ERR value is not a valid float"),
        ("HINCRBYFLOAT h text 1", "-ERR hash value is not a float"),
        ("HINCRBYFLOAT h f inf", "-ERR value is NaN or Infinity"),
        ("HINCRBYFLOAT missing f nan", "-ERR value is not a valid float"),
        ("EXISTS missing", ":0"),
    ]);
}

#[test]
fn arguments_and_types_are_checked() {
    table(&[
        ("SET s v", "+OK"),
        ("HSET h a 1 b", "-ERR wrong number of arguments for 'hset' command"),
        ("HMSET h a 1 b", "-ERR wrong number of arguments for 'hmset' command"),
        ("HSET h a", "-ERR wrong number of arguments for 'hset' command"),
        ("EXISTS h", ":0"),
        ("HSET s a 1", WRONG_TYPE),
        ("HSETNX s a 1", WRONG_TYPE),
        ("HGET s a", WRONG_TYPE),
        ("HMGET s a", WRONG_TYPE),
        ("HGETALL s", WRONG_TYPE),
        ("HKEYS s", WRONG_TYPE),
        ("HVALS s", WRONG_TYPE),
        ("HLEN s", WRONG_TYPE),
        ("HSTRLEN s a", WRONG_TYPE),
        ("HEXISTS s a", WRONG_TYPE),
        ("HDEL s a", WRONG_TYPE),
        ("HINCRBY s a 1", WRONG_TYPE),
        ("HINCRBY s a x", NOT_AN_INTEGER),
        ("HINCRBYFLOAT s a 1", WRONG_TYPE),
        ("HSCAN s 0", WRONG_TYPE),
        ("HSCAN s x", "-ERR invalid cursor"),
        ("HSCAN missing 0 nonsense", "['0', []]"),
        ("HRANDFIELD s", WRONG_TYPE),
        ("HRANDFIELD s 1", WRONG_TYPE),
        ("HRANDFIELD s x", NOT_AN_INTEGER),
        ("HRANDFIELD s 1 x", SYNTAX),
        ("HRANDFIELD s 1 WITHVALUES x", SYNTAX),
        ("HRANDFIELD s 9223372036854775807 WITHVALUES", "-ERR value is out of range"),
        (
            "HRANDFIELD s -9223372036854775808",
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ),
        ("GET s", "'v'"),
    ]);
}

#[test]
fn encodings_change_at_the_limits_and_never_back() {
    on_both_with(&["--hash-max-listpack-entries", "3", "--hash-max-listpack-value", "8"], |server| {
        check(
            &mut server.connect(),
            &[
                ("HSET h a 1 b 2 c 3", ":3"),
                ("OBJECT ENCODING h", "'listpack'"),
                ("HSET h a 1 b 2 c 3", ":0"),
                ("OBJECT ENCODING h", "'listpack'"),
                ("HSET h d 4", ":1"),
                ("OBJECT ENCODING h", "'hashtable'"),
                ("HDEL h d c b", ":3"),
                ("OBJECT ENCODING h", "'hashtable'"),
                ("HGETALL h", "['a', '1']"),
                ("HSET long a 123456789", ":1"),
                ("OBJECT ENCODING long", "'hashtable'"),
                ("HINCRBY number a 12345678", ":12345678"),
                ("OBJECT ENCODING number", "'listpack'"),
                ("HINCRBY number a 1234567890", ":1246913568"),
                ("OBJECT ENCODING number", "'hashtable'"),
            ],
        );
    });
}

/// Alone: Redis 7.0 does not look at how many fields are set at once.
#[test]
fn many_fields_at_once_are_taken_to_be_different() {
    let server = Server::slotcore(&["--hash-max-listpack-entries", "3"]);
    check(
        &mut server.connect(),
        &[
            ("HSET h a 1 a 2 a 3 a 4", ":1"),
            ("OBJECT ENCODING h", "'hashtable'"),
            ("HSET three a 1 b 2 a 3", ":2"),
            ("OBJECT ENCODING three", "'listpack'"),
        ],
    );
}

#[test]
fn version_3_has_maps_and_pairs() {
    table(&[
        ("HELLO 3", "?"),
        ("HSET h a 1", ":1"),
        ("HGETALL h", "{'a': '1'}"),
        ("HGETALL missing", "{}"),
        ("HKEYS h", "['a']"),
        ("HGET h nothing", "null"),
        ("HRANDFIELD h", "'a'"),
        ("HRANDFIELD missing", "null"),
        ("HRANDFIELD h 5 WITHVALUES", "[['a', '1']]"),
        ("HRANDFIELD h -2 WITHVALUES", "[['a', '1'], ['a', '1']]"),
        ("HELLO 2", "?"),
        ("HRANDFIELD h 5 WITHVALUES", "['a', '1']"),
        ("HRANDFIELD h -2 WITHVALUES", "['a', '1', 'a', '1']"),
        ("HRANDFIELD h 0", "[]"),
        ("HRANDFIELD missing 3", "[]"),
    ]);
}

#[test]
fn a_scan_finds_every_field() {
    on_both(|server| {
        let mut client = server.connect();
        for number in 0..1500 {
            client.must(&format!("HSET h f{number} {number}"));
        }
        let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
        for calls in 0.. {
            let reply = client.must(&format!("HSCAN h {cursor} COUNT 20"));
            let items = reply.items()[1].items();
            assert!(items.len().is_multiple_of(2));
            found.extend(items.chunks(2).map(|pair| (pair[0].text(), pair[1].text())));
            cursor = reply.items()[0].text();
            if cursor == "0" {
                assert!(calls > 10, "some with each call");
                break;
            }
        }
        found.sort();
        found.dedup();
        let mut expected: Vec<(String, String)> = (0..1500).map(|n| (format!("f{n}"), n.to_string())).collect();
        expected.sort();
        assert_eq!(found, expected);
        check(
            &mut client,
            &[
                ("HSCAN h 0 MATCH f1499 COUNT 100000", "['0', ['f1499', '1499']]"),
                ("HSCAN h 0 COUNT 0", SYNTAX),
                ("HSCAN h 0 COUNT x", NOT_AN_INTEGER),
                ("HSCAN h 0 COUNT", SYNTAX),
                ("HSCAN h 0 TYPE hash", SYNTAX),
            ],
        );
    });
}

#[test]
fn drawn_fields_are_different_ones() {
    on_both(|server| {
        let mut client = server.connect();
        for number in 0..1000 {
            client.must(&format!("HSET h f{number} {number}"));
        }
        for count in [2, 300, 900, 1000, 5000] {
            let reply = client.must(&format!("HRANDFIELD h {count} WITHVALUES"));
            let mut fields: Vec<String> = Vec::new();
            for pair in reply.items().chunks(2) {
                assert_eq!(pair[0].text(), format!("f{}", pair[1].text()));
                fields.push(pair[0].text());
            }
            fields.sort();
            fields.dedup();
            assert_eq!(fields.len(), count.min(1000));
        }
        assert_eq!(client.must("HRANDFIELD h -1500").items().len(), 1500);
    });
}

/// Alone: what redis-server takes is its own affair (85 bytes).
#[test]
fn a_field_of_16_bytes_and_a_value_of_16_take_less_than_45() {
    const FIELDS: usize = 100_000;
    let server = Server::slotcore(&[]);
    let mut client = server.connect();
    for first in (0..FIELDS).step_by(1000) {
        let pairs: Vec<String> =
            (first..first + 1000).map(|number| format!("field-{number:010} value-{number:010}")).collect();
        client.must(&format!("HSET h {}", pairs.join(" ")));
        let fields_count = first + 1000;
        let bytes = client.must("MEMORY USAGE h SAMPLES 0").integer();
        assert!(fields_count < 2000 || bytes < 45 * fields_count as i64, "{bytes} for {fields_count}");
    }
    println!("{} bytes for {FIELDS} fields", client.must("MEMORY USAGE h SAMPLES 0"));
}

#[test]
fn digests_are_those_of_redis_in_either_form() {
    on_both_with(&["--enable-debug-command", "yes"], |server| {
        let mut client = server.connect();
        let pairs: Vec<String> = (0..600).map(|number| format!("f{number} {number}")).collect();
        client.must(&format!("HSET big {}", pairs.join(" ")));
        check(
            &mut client,
            &[
                ("HSET h a 1 b two", ":2"),
                ("DEBUG DIGEST-VALUE h", "[+aaec2dd6dd5d0e6fbdce75b84b029b773e920b00]"),
                ("EXPIRE h 1000", ":1"),
                ("DEBUG DIGEST-VALUE h", "[+4c69d3290164e43b7cd89e400e6854ec243c4a83]"),
                ("DEBUG DIGEST-VALUE big", "[+1905108a639d28e90e7c8476c6dd6dcdf7a15271]"),
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
                ("HSET h a 1 b 2", "new:h hset:h", 2),
                ("HSET h a 1", "hset:h", 1),
                ("HMSET h a 1 c 3", "hset:h", 2),
                ("HSET h a", "", 0),
                ("HSETNX h a 1", "", 0),
                ("HSETNX h d 1", "hset:h", 1),
                ("HSETNX fresh a 1", "new:fresh hset:fresh", 1),
                ("HINCRBY h a 1", "hincrby:h", 1),
                ("HINCRBY h a x", "", 0),
                ("HINCRBY other a 1", "new:other hincrby:other", 1),
                ("HINCRBYFLOAT h a 1.5", "hincrbyfloat:h", 1),
                ("HDEL h none", "", 0),
                ("HDEL h a none b", "hdel:h", 2),
                ("HDEL h c d none", "hdel:h del:h", 2),
                ("HDEL h c", "", 0),
                ("HGETALL fresh", "", 0),
                ("HRANDFIELD fresh", "", 0),
            ],
        );
    });
}
