//! The string commands, as tables.

use crate::support::{check, on_both};

fn table(rows: &[(&str, &str)]) {
    on_both(|server| check(&mut server.connect(), rows));
}

const NOT_AN_INTEGER: &str = "-ERR value is not an integer or out of range";
const NOT_A_FLOAT: &str = "-ERR value is not a valid float";
const SYNTAX: &str = "-ERR syntax error";

#[test]
fn get_and_set_keep_any_bytes() {
    table(&[
        ("GET missing", "nil"),
        ("SET k v", "+OK"),
        ("GET k", "'v'"),
        (r#"SET "\x00\r\n\xff" "\x00\x01""#, "+OK"),
        (r#"GET "\x00\r\n\xff""#, r"'\x00\x01'"),
        (r#"SET "" empty-key"#, "+OK"),
        (r#"GET """#, "'empty-key'"),
        (r#"SET k """#, "+OK"),
        ("GET k", "''"),
        ("EXISTS k", ":1"),
        ("sEt K2 v", "+OK"),
        ("gEt K2", "'v'"),
    ]);
}

#[test]
fn set_options_decide_whether_and_what_it_answers() {
    table(&[
        ("SET k v NX", "+OK"),
        ("SET k w NX", "nil"),
        ("SET k w XX", "+OK"),
        ("SET other w XX", "nil"),
        ("SET k x GET", "'w'"),
        ("SET missing x GET", "nil"),
        ("GET missing", "'x'"),
        ("SET fresh x NX GET", "nil"),
        ("SET fresh y NX GET", "'x'"),
        ("GET fresh", "'x'"),
        ("SET fresh y XX GET", "'x'"),
        ("SET k v NX XX", SYNTAX),
        ("SET k v EX", SYNTAX),
        ("SET k v EX 10 PX 10", SYNTAX),
        ("SET k v EX 10 KEEPTTL", SYNTAX),
        ("SET k v KEEPTTL EX 10", SYNTAX),
        ("SET k v BOGUS", SYNTAX),
        ("SET k v EX ten", NOT_AN_INTEGER),
        ("SET k v EX 0", "-ERR invalid expire time in 'set' command"),
        ("SET k v PX -1", "-ERR invalid expire time in 'set' command"),
        ("SET k v EX 9223372036854775807", "-ERR invalid expire time in 'set' command"),
        ("SET k v EXAT 0", "-ERR invalid expire time in 'set' command"),
        ("SET k", "-ERR wrong number of arguments for 'set' command"),
        ("SET", "-ERR wrong number of arguments for 'set' command"),
        ("GET", "-ERR wrong number of arguments for 'get' command"),
        ("GET a b", "-ERR wrong number of arguments for 'get' command"),
    ]);
}

#[test]
fn set_expiry_options_set_keep_and_drop_the_expire_time() {
    table(&[
        ("SET k v EX 1000", "+OK"),
        ("TTL k", ":1000"),
        ("SET k v", "+OK"),
        ("TTL k", ":-1"),
        ("SET k v PXAT 33177117420000", "+OK"),
        ("PEXPIRETIME k", ":33177117420000"),
        ("SET k w KEEPTTL", "+OK"),
        ("PEXPIRETIME k", ":33177117420000"),
        ("SET k w EXAT 33177117420 GET", "'w'"),
        ("EXPIRETIME k", ":33177117420"),
        ("set k w ex 100 nx", "nil"),
        ("EXPIRETIME k", ":33177117420"),
        ("SET gone v PXAT 1", "+OK"),
        ("GET gone", "nil"),
    ]);
}

#[test]
fn getex_changes_only_what_it_is_told() {
    table(&[
        ("SET k v", "+OK"),
        ("GETEX k", "'v'"),
        ("TTL k", ":-1"),
        ("GETEX k PXAT 33177117420000", "'v'"),
        ("PEXPIRETIME k", ":33177117420000"),
        ("GETEX k", "'v'"),
        ("PEXPIRETIME k", ":33177117420000"),
        ("GETEX k PERSIST", "'v'"),
        ("TTL k", ":-1"),
        ("GETEX k EX 100 PERSIST", SYNTAX),
        ("GETEX k KEEPTTL", SYNTAX),
        ("GETEX k EX", SYNTAX),
        ("GETEX k EX 0", "-ERR invalid expire time in 'getex' command"),
        ("GETEX missing EX 10", "nil"),
        ("EXISTS missing", ":0"),
        ("GETEX k PXAT 1", "'v'"),
        ("EXISTS k", ":0"),
    ]);
}

#[test]
fn getdel_getset_setnx_setex_answer_as_redis() {
    table(&[
        ("GETDEL k", "nil"),
        ("SET k v", "+OK"),
        ("GETDEL k", "'v'"),
        ("EXISTS k", ":0"),
        ("GETSET k a", "nil"),
        ("EXPIRE k 100", ":1"),
        ("GETSET k b", "'a'"),
        ("TTL k", ":-1"),
        ("SETNX k c", ":0"),
        ("SETNX new c", ":1"),
        ("SETEX k 100 d", "+OK"),
        ("TTL k", ":100"),
        ("PSETEX k 100000 e", "+OK"),
        ("GET k", "'e'"),
        ("SETEX k 0 d", "-ERR invalid expire time in 'setex' command"),
        ("PSETEX k -1 d", "-ERR invalid expire time in 'psetex' command"),
        ("SETEX k x d", NOT_AN_INTEGER),
        ("SETEX k 100", "-ERR wrong number of arguments for 'setex' command"),
    ]);
}

#[test]
fn mget_mset_and_msetnx_take_many_keys() {
    table(&[
        ("MSET a 1 b 2 a 3", "+OK"),
        ("MGET a b c a", "['3', '2', nil, '3']"),
        ("MSETNX c 1 a 9", ":0"),
        ("EXISTS c", ":0"),
        ("MSETNX c 1 d 2 d 3", ":1"),
        ("MGET c d", "['1', '3']"),
        ("MSET a", "-ERR wrong number of arguments for 'mset' command"),
        ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command"),
        ("MSETNX a 1 b", "-ERR wrong number of arguments for 'msetnx' command"),
        ("MGET", "-ERR wrong number of arguments for 'mget' command"),
    ]);
}

#[test]
fn append_and_ranges_follow_redis_offsets() {
    table(&[
        ("APPEND k Hello", ":5"),
        ("APPEND k ' World'", ":11"),
        ("STRLEN k", ":11"),
        ("STRLEN missing", ":0"),
        ("GETRANGE k 0 4", "'Hello'"),
        ("GETRANGE k -5 -1", "'World'"),
        ("GETRANGE k 0 -1", "'Hello World'"),
        ("GETRANGE k 5 3", "''"),
        ("GETRANGE k -100 1", "'He'"),
        ("GETRANGE k 10 9223372036854775807", "'d'"),
        ("GETRANGE k -1 -5", "''"),
        ("GETRANGE missing 0 -1", "''"),
        ("SUBSTR k 0 1", "'He'"),
        ("GETRANGE k a 1", NOT_AN_INTEGER),
        ("SETRANGE k 6 Redis", ":11"),
        ("GET k", "'Hello Redis'"),
        ("SETRANGE k 13 !", ":14"),
        ("GET k", r"'Hello Redis\x00\x00!'"),
        (r#"SETRANGE missing 10 """#, ":0"),
        ("EXISTS missing", ":0"),
        (r#"SETRANGE k 100 """#, ":14"),
        ("SETRANGE k -1 x", "-ERR offset is out of range"),
        ("SETRANGE k 536870912 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
        ("SETRANGE k 9223372036854775807 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
        ("SET number 12", "+OK"),
        ("APPEND number 3", ":3"),
        ("INCR number", ":124"),
        ("GETRANGE number 1 1", "'2'"),
    ]);
}

#[test]
fn counters_stop_at_the_limits_of_64_bits() {
    const OVERFLOW: &str = "-ERR increment or decrement would overflow";
    table(&[
        ("INCR n", ":1"),
        ("INCRBY n 41", ":42"),
        ("DECR n", ":41"),
        ("DECRBY n 41", ":0"),
        ("DECRBY n -5", ":5"),
        ("SET n 9223372036854775806", "+OK"),
        ("INCR n", ":9223372036854775807"),
        ("INCR n", OVERFLOW),
        ("GET n", "'9223372036854775807'"),
        ("SET n -9223372036854775808", "+OK"),
        ("DECR n", OVERFLOW),
        ("DECRBY n 9223372036854775807", OVERFLOW),
        ("DECRBY n -9223372036854775808", "-ERR decrement would overflow"),
        ("INCRBY n 9223372036854775808", NOT_AN_INTEGER),
        ("INCRBY n 1.5", NOT_AN_INTEGER),
        ("INCRBY n ' 1'", NOT_AN_INTEGER),
        ("INCRBY n +1", NOT_AN_INTEGER),
        ("INCRBY n 01", NOT_AN_INTEGER),
        ("INCRBY n -0", NOT_AN_INTEGER),
        ("SET n '11 '", "+OK"),
        ("INCR n", NOT_AN_INTEGER),
        ("SET n ''", "+OK"),
        ("INCR n", NOT_AN_INTEGER),
        ("SET n 9223372036854775808", "+OK"),
        ("INCR n", NOT_AN_INTEGER),
        ("INCRBY n", "-ERR wrong number of arguments for 'incrby' command"),
    ]);
}

#[test]
fn incrbyfloat_prints_seventeen_digits_without_an_exponent() {
    table(&[
        ("INCRBYFLOAT f 10.5", "'10.5'"),
        ("INCRBYFLOAT f 0.1", "'10.6'"),
        ("INCRBYFLOAT f -5", "'5.6'"),
        ("INCRBYFLOAT f 5.0e3", "'5005.60000000000000009'"),
        ("SET f 3.0", "+OK"),
        ("INCRBYFLOAT f 1", "'4'"),
        ("SET f 0.1", "+OK"),
        ("INCRBYFLOAT f 0.2", "'0.3'"),
        ("SET f 1e20", "+OK"),
        ("INCRBYFLOAT f 1", "'100000000000000000000'"),
        ("SET f 1", "+OK"),
        ("INCRBYFLOAT f 1e-17", "'1.00000000000000001'"),
        ("INCRBYFLOAT f 1e-18", "'1.00000000000000001'"),
        ("INCRBYFLOAT f inf", "-ERR increment would produce NaN or Infinity"),
        ("INCRBYFLOAT f nan", NOT_A_FLOAT),
        ("INCRBYFLOAT f abc", NOT_A_FLOAT),
        ("INCRBYFLOAT f ' 1'", NOT_A_FLOAT),
        ("SET f abc", "+OK"),
        ("INCRBYFLOAT f 1", NOT_A_FLOAT),
        ("SET f 5", "+OK"),
        ("INCRBYFLOAT f 0x10", "'21'"),
        ("SET f 5", "+OK"),
        ("EXPIRE f 100", ":1"),
        ("INCRBYFLOAT f 1", "'6'"),
        ("TTL f", ":100"),
    ]);
}

#[test]
fn lcs_answers_text_length_and_matches() {
    table(&[
        ("MSET a ohmytext b mynewtext", "+OK"),
        ("LCS a b", "'mytext'"),
        ("LCS a b LEN", ":6"),
        ("LCS a missing", "''"),
        ("LCS a b IDX", "['matches', [[[:4, :7], [:5, :8]], [[:2, :3], [:0, :1]]], 'len', :6]"),
        ("LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN", "['matches', [[[:4, :7], [:5, :8], :4]], 'len', :6]"),
        ("LCS a b IDX MINMATCHLEN -3", "['matches', [[[:4, :7], [:5, :8]], [[:2, :3], [:0, :1]]], 'len', :6]"),
        ("LCS a b LEN IDX", "-ERR If you want both the length and indexes, please just use IDX."),
        ("LCS a b BOGUS", SYNTAX),
        ("LCS a b MINMATCHLEN", SYNTAX),
        ("LCS a", "-ERR wrong number of arguments for 'lcs' command"),
        ("HELLO 3", "{..."),
        ("LCS a b IDX", "{'matches': [[[:4, :7], [:5, :8]], [[:2, :3], [:0, :1]]], 'len': :6}"),
    ]);
}

#[test]
fn object_encoding_names_the_three_forms_of_strings() {
    table(&[
        ("SET k 123", "+OK"),
        ("OBJECT ENCODING k", "'int'"),
        ("SET k 9223372036854775807", "+OK"),
        ("OBJECT ENCODING k", "'int'"),
        ("SET k 9223372036854775808", "+OK"),
        ("OBJECT ENCODING k", "'embstr'"),
        ("SET k 0123", "+OK"),
        ("OBJECT ENCODING k", "'embstr'"),
        ("SET k 12345678901234567890123456789012345678901234", "+OK"),
        ("OBJECT ENCODING k", "'embstr'"),
        ("SET k 123456789012345678901234567890123456789012345", "+OK"),
        ("OBJECT ENCODING k", "'raw'"),
        ("SET k ab", "+OK"),
        ("APPEND k c", ":3"),
        ("OBJECT ENCODING k", "'raw'"),
        ("SET k ab", "+OK"),
        ("SETRANGE k 0 x", ":2"),
        ("OBJECT ENCODING k", "'raw'"),
        ("INCRBYFLOAT f 1.5", "'1.5'"),
        ("OBJECT ENCODING f", "'embstr'"),
        ("INCR n", ":1"),
        ("OBJECT ENCODING n", "'int'"),
        ("OBJECT ENCODING missing", "nil"),
    ]);
}

#[test]
fn nulls_follow_the_protocol_of_the_connection() {
    table(&[
        ("MGET missing", "[nil]"),
        ("HELLO 3", "{..."),
        ("GET missing", "null"),
        ("MGET missing", "[null]"),
        ("SET k v GET", "null"),
        ("SET k v NX", "null"),
        ("HELLO 2", "[..."),
        ("GET missing", "nil"),
    ]);
}

#[test]
fn replies_on_their_way_keep_the_big_value_that_was_read() {
    on_both(|server| {
        let client = &mut server.connect();
        let big = "x".repeat(300_000);
        client.cmd(&["SET", "k", &big]);
        let replies = client.pipeline(&[
            "GET k",
            "APPEND k tail",
            "GETRANGE k 299990 -1",
            "SETRANGE k 0 head",
            "COPY k copy",
            "SETRANGE copy 100000 middle",
            "GET k",
            "GETDEL copy",
            "STRLEN k",
        ]);
        assert_eq!(replies[0].text(), big);
        assert_eq!(replies[1].integer(), 300_004);
        assert_eq!(replies[2].text(), format!("{}tail", "x".repeat(10)));
        let after = format!("head{}tail", "x".repeat(299_996));
        assert_eq!(replies[6].text(), after);
        assert_eq!(replies[7].text(), [&after[..100_000], "middle", &after[100_006..]].concat());
        assert_eq!(replies[8].integer(), 300_004);
    });
}
