//! SORT and SORT_RO, as tables.

use crate::cluster_one_node::own_all_slots;
use crate::support::{check, on_both, on_both_with};

fn table(rows: &[(&str, &str)]) {
    on_both(|server| check(&mut server.connect(), rows));
}

const NOT_AN_INTEGER: &str = "-ERR value is not an integer or out of range";
const NO_NUMBER: &str = "-ERR One or more scores can't be converted into double";
const SYNTAX: &str = "-ERR syntax error";
const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

#[test]
fn lists_sets_and_sorted_sets_are_sorted_by_number_and_by_text() {
    table(&[
        ("RPUSH l 3 10 2 1.5 -7 0x10", ":6"),
        ("SORT l", "['-7', '1.5', '2', '3', '10', '0x10']"),
        ("SORT l DESC", "['0x10', '10', '3', '2', '1.5', '-7']"),
        ("SORT l desc ASC", "['-7', '1.5', '2', '3', '10', '0x10']"),
        ("SORT l ALPHA", "['-7', '0x10', '1.5', '10', '2', '3']"),
        ("SORT_RO l ALPHA DESC", "['3', '2', '10', '1.5', '0x10', '-7']"),
        ("SADD s b c a 10 9", ":5"),
        ("SORT s", NO_NUMBER),
        ("SORT s ALPHA", "['10', '9', 'a', 'b', 'c']"),
        ("SADD n 5 30 1", ":3"),
        ("SORT n DESC", "['30', '5', '1']"),
        ("ZADD z 3 10 2 20 1 30", ":3"),
        ("OBJECT ENCODING z", "'listpack'"),
        ("SORT z", "['10', '20', '30']"),
        // Sorting makes it large for good.
        ("OBJECT ENCODING z", "'skiplist'"),
        ("SORT missing", "[]"),
        ("SET string v", "+OK"),
        ("HSET hash f v", ":1"),
        ("SORT string", WRONG_TYPE),
        ("SORT_RO hash", WRONG_TYPE),
        ("SORT string BOGUS", SYNTAX),
        ("SORT", "-ERR wrong number of arguments for 'sort' command"),
    ]);
}

#[test]
fn equal_numbers_stand_in_the_order_of_their_texts() {
    table(&[
        ("RPUSH l 1.0 1 01 1e0 +1 -0 0", ":7"),
        ("SORT l", "['-0', '0', '+1', '01', '1', '1.0', '1e0']"),
        ("SORT l DESC", "['1e0', '1.0', '1', '01', '+1', '0', '-0']"),
        ("SORT l DESC LIMIT 1 3", "['1.0', '1', '01']"),
    ]);
}

#[test]
fn numbers_are_what_strtod_takes() {
    table(&[
        (r#"RPUSH l "" " 12" "\t-1" inf -inf 0x10 "3\x00x""#, ":7"),
        ("SORT l", r"['-inf', '\t-1', '', '3\x00x', ' 12', '0x10', 'inf']"),
        ("RPUSH bad '1 '", ":1"),
        ("SORT bad", NO_NUMBER),
        ("SORT bad LIMIT 0 0", NO_NUMBER),
        ("SORT bad STORE other", NO_NUMBER),
        ("SORT bad BY nosort", "['1 ']"),
        ("RPUSH nan nan", ":1"),
        ("SORT nan", NO_NUMBER),
    ]);
}

#[test]
fn limits_are_cut_to_what_is_there() {
    table(&[
        ("RPUSH l 5 4 3 2 1", ":5"),
        ("SORT l LIMIT 1 2", "['2', '3']"),
        ("SORT l LIMIT 3 100", "['4', '5']"),
        ("SORT l LIMIT 5 1", "[]"),
        ("SORT l LIMIT -2 2", "['1', '2']"),
        ("SORT l LIMIT 2 -1", "['3', '4', '5']"),
        ("SORT l LIMIT 2 0", "[]"),
        ("SORT l BY nosort LIMIT 1 2", "['4', '3']"),
        ("SORT l BY nosort DESC LIMIT 1 2", "['2', '3']"),
        ("SORT l BY nosort LIMIT 9 9", "[]"),
        ("SORT l LIMIT 9223372036854775807 9223372036854775807", "[]"),
        ("SORT l LIMIT 0", SYNTAX),
        ("SORT l LIMIT x 1", NOT_AN_INTEGER),
        ("SORT l LIMIT 0 1.5", NOT_AN_INTEGER),
        ("ZADD z 1 a 2 b 3 c 4 d", ":4"),
        ("SORT z BY nosort", "['a', 'b', 'c', 'd']"),
        ("SORT z BY nosort DESC", "['d', 'c', 'b', 'a']"),
        ("SORT z BY nosort LIMIT 1 2", "['b', 'c']"),
        ("SORT z BY nosort DESC LIMIT 1 2", "['c', 'b']"),
        ("SORT z BY nosort DESC LIMIT 3 9", "['a']"),
    ]);
}

#[test]
fn by_sorts_by_what_other_keys_hold() {
    table(&[
        ("RPUSH l a b c d", ":4"),
        ("MSET w_a 3 w_b 1 w_c 2", "+OK"),
        ("HSET h_a f 1 g x", ":2"),
        ("HSET h_b f 3 g z", ":2"),
        ("HSET h_c f 2 g y", ":2"),
        // What has no weight weighs 0.
        ("SORT l BY w_*", "['d', 'b', 'c', 'a']"),
        ("SORT l BY w_* DESC", "['a', 'c', 'b', 'd']"),
        ("SORT l BY w_* LIMIT 1 2", "['b', 'c']"),
        ("SORT l BY h_*->f", "['d', 'a', 'c', 'b']"),
        ("SORT l BY h_*->g ALPHA", "['d', 'a', 'c', 'b']"),
        ("SORT l BY h_*->g ALPHA DESC", "['b', 'c', 'a', 'd']"),
        ("SORT l BY h_*->g", NO_NUMBER),
        ("SORT l BY h_*->missing", "['a', 'b', 'c', 'd']"),
        // Of another kind is as if it were not there.
        ("SORT l BY h_* DESC", "['d', 'c', 'b', 'a']"),
        ("SORT l BY w_*->f", "['a', 'b', 'c', 'd']"),
        ("SORT l BY nosort DESC", "['d', 'c', 'b', 'a']"),
        ("SORT l BY nosort BY w_*", "['a', 'b', 'c', 'd']"),
        ("SORT l BY", SYNTAX),
    ]);
}

#[test]
fn get_returns_what_other_keys_hold() {
    table(&[
        ("RPUSH l 2 1 3", ":3"),
        ("MSET v_1 one v_2 22 o_1 first", "+OK"),
        ("HSET h_1 f x", ":1"),
        ("HSET h_3-> f y", ":1"),
        ("SORT l GET v_*", "['one', '22', nil]"),
        ("SORT l GET # GET v_*", "['1', 'one', '2', '22', '3', nil]"),
        ("SORT l GET h_*->f GET h_*", "['x', nil, nil, nil, nil, nil]"),
        ("SORT l GET h_*->", "[nil, nil, nil]"),
        ("SORT l GET constant", "[nil, nil, nil]"),
        ("SORT l LIMIT 0 1 GET o_* GET #", "['first', '1']"),
        ("SORT l BY nosort GET #", "['2', '1', '3']"),
        ("SORT l GET", SYNTAX),
        ("HELLO 3", "{..."),
        ("SORT l GET v_*", "['one', '22', null]"),
        ("SORT_RO l GET v_*", "['one', '22', null]"),
    ]);
}

#[test]
fn store_puts_a_list_in_place_of_what_is_there() {
    table(&[
        ("RPUSH l 2 1 3", ":3"),
        ("SET d v EX 100", "+OK"),
        ("SORT l STORE d", ":3"),
        ("LRANGE d 0 -1", "['1', '2', '3']"),
        ("TTL d", ":-1"),
        ("SORT l DESC LIMIT 0 2 STORE l", ":2"),
        ("LRANGE l 0 -1", "['3', '2']"),
        ("MSET v_2 two", "+OK"),
        ("SORT l GET v_* GET # STORE d", ":4"),
        ("LRANGE d 0 -1", "['two', '2', '', '3']"),
        ("SADD s c a b", ":3"),
        // The order of a set is nobody's: what is stored is sorted by text.
        ("SORT s BY nosort STORE d", ":3"),
        ("LRANGE d 0 -1", "['a', 'b', 'c']"),
        ("SORT s BY nosort DESC STORE d", ":3"),
        ("LRANGE d 0 -1", "['c', 'b', 'a']"),
        ("SORT missing STORE d", ":0"),
        ("EXISTS d", ":0"),
        ("SORT missing STORE d", ":0"),
        ("SORT_RO l STORE d", SYNTAX),
        ("SORT l STORE", SYNTAX),
    ]);
}

#[test]
fn a_stored_list_is_small_when_it_fits() {
    on_both_with(&["--list-max-listpack-size", "3"], |server| {
        if server.is_72() {
            check(
                &mut server.connect(),
                &[
                    ("RPUSH l 4 3 2 1", ":4"),
                    ("SORT l LIMIT 0 3 STORE d", ":3"),
                    ("OBJECT ENCODING d", "'listpack'"),
                    ("SORT l STORE d", ":4"),
                    ("OBJECT ENCODING d", "'quicklist'"),
                ],
            );
        }
    });
}

#[test]
fn a_cluster_refuses_patterns() {
    on_both_with(&["--cluster-enabled", "yes"], |server| {
        let client = &mut server.connect();
        own_all_slots(client);
        const BY: &str = "-ERR BY option of SORT denied in Cluster mode.";
        const GET: &str = "-ERR GET option of SORT denied in Cluster mode.";
        check(
            client,
            &[
                ("RPUSH {t}l 2 1", ":2"),
                ("SORT {t}l", "['1', '2']"),
                ("SORT {t}l BY {t}w_*", BY),
                ("SORT {t}l BY nosort", "['2', '1']"),
                ("SORT {t}l GET #", GET),
                ("SORT_RO {t}l GET {t}v_*", GET),
                ("SORT {t}l STORE {t}d", ":2"),
                ("SORT {t}l STORE other", "-CROSSSLOT Keys in request don't hash to the same slot"),
                ("SORT {t}l BY STORE other", "-ERR syntax error"),
            ],
        );
    });
}

#[test]
fn the_keys_of_sort_are_the_sorted_and_the_stored_one() {
    table(&[
        ("COMMAND GETKEYS SORT k BY w_* STORE a LIMIT 0 1 STORE b", "['k', 'b']"),
        ("COMMAND GETKEYS SORT k STORE", "['k']"),
        ("COMMAND GETKEYS SORT_RO k STORE b", "['k']"),
        ("COMMAND GETKEYSANDFLAGS SORT k STORE b", "[['k', [+RO, +access]], ['b', [+OW, +update]]]"),
    ]);
}

#[test]
fn a_long_list_is_sorted_in_part_and_whole() {
    on_both(|server| {
        let client = &mut server.connect();
        let numbers: Vec<i64> = (0..20_000).map(|number| number * 7919 % 20_011).collect();
        for chunk in numbers.chunks(500) {
            let mut args = vec!["RPUSH".to_owned(), "l".to_owned()];
            args.extend(chunk.iter().map(i64::to_string));
            client.cmd(&args);
        }
        let mut sorted = numbers;
        sorted.sort_unstable();
        let texts =
            |reply: crate::support::Reply| -> Vec<String> { reply.items().iter().map(|item| item.text()).collect() };
        let expected: Vec<String> = sorted.iter().map(i64::to_string).collect();
        assert!(texts(client.line("SORT l")) == expected);
        assert_eq!(texts(client.line("SORT l LIMIT 100 20")), expected[100..120]);
        assert_eq!(texts(client.line("SORT l DESC LIMIT 0 2")), [expected[19_999].clone(), expected[19_998].clone()]);
        assert_eq!(client.line("SORT l STORE d").integer(), 20_000);
        assert_eq!(client.line("LINDEX d 12345").text(), expected[12_345]);
    });
}
