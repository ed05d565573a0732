//! The sorted set commands, as tables.

use crate::support::{Server, check, check_published, on_both, on_both_with};

fn table(rows: &[(&str, &str)]) {
    on_both(|server| check(&mut server.connect(), rows));
}

/// Each table once with the compact form and once with the large one: replies do not depend on it.
fn both_forms(rows: &[(&str, &str)]) {
    for entries in ["128", "0"] {
        on_both_with(&["--zset-max-listpack-entries", entries], |server| check(&mut server.connect(), rows));
    }
}

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_AN_INTEGER: &str = "-ERR value is not an integer or out of range";
const NOT_A_FLOAT: &str = "-ERR value is not a valid float";
const NOT_A_SCORE_RANGE: &str = "-ERR min or max is not a float";
const NOT_A_LEX_RANGE: &str = "-ERR min or max not valid string range item";
const SYNTAX: &str = "-ERR syntax error";

#[test]
fn members_are_added_in_the_order_of_score_and_bytes() {
    both_forms(&[
        ("ZADD z 2 b 1 a 2 aa 1 a", ":3"),
        ("ZRANGE z 0 -1 WITHSCORES", "['a', '1', 'aa', '2', 'b', '2']"),
        ("ZADD z 3 a", ":0"),
        ("ZADD z CH 3 a 4 b 5 c", ":2"),
        ("ZRANGE z 0 -1", "['aa', 'a', 'b', 'c']"),
        ("ZADD z inf top -inf bottom 1.5 half", ":3"),
        (
            "ZRANGE z 0 -1 WITHSCORES",
            "['bottom', '-inf', 'half', '1.5', 'aa', '2', 'a', '3', 'b', '4', 'c', '5', 'top', 'inf']",
        ),
        ("ZCARD z", ":7"),
        ("ZSCORE z half", "'1.5'"),
        ("ZSCORE z nothing", "nil"),
        ("ZMSCORE z a nothing top", "['3', nil, 'inf']"),
        ("ZMSCORE missing a b", "[nil, nil]"),
        ("ZCARD missing", ":0"),
        ("ZSCORE missing a", "nil"),
    ]);
}

#[test]
fn conditions_decide_what_zadd_does() {
    both_forms(&[
        ("ZADD z XX 1 a", ":0"),
        ("EXISTS z", ":0"),
        ("ZADD z NX 1 a", ":1"),
        ("ZADD z NX CH 2 a 2 b", ":1"),
        ("ZADD z XX CH 3 a 3 c", ":1"),
        ("ZRANGE z 0 -1 WITHSCORES", "['b', '2', 'a', '3']"),
        ("ZADD z GT CH 2 a 4 b 1 c", ":2"),
        ("ZADD z LT CH 5 a 1 b", ":1"),
        ("ZADD z XX GT CH 10 a 10 d", ":1"),
        ("ZRANGE z 0 -1 WITHSCORES", "['b', '1', 'c', '1', 'a', '10']"),
        ("ZADD z INCR 2.5 a", "'12.5'"),
        ("ZADD z NX INCR 1 a", "nil"),
        ("ZADD z XX INCR 1 new", "nil"),
        ("ZADD z GT INCR -1 a", "nil"),
        ("ZADD missing XX INCR 1 a", "nil"),
        ("ZINCRBY z 1 c", "'2'"),
        ("ZINCRBY z 3 fresh", "'3'"),
        ("ZINCRBY z inf a", "'inf'"),
        ("ZINCRBY z -inf a", "-ERR resulting score is not a number (NaN)"),
        ("ZSCORE z a", "'inf'"),
        ("ZADD z NX XX 1 a", "-ERR XX and NX options at the same time are not compatible"),
        ("ZADD z NX GT 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible"),
        ("ZADD z GT LT 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible"),
        ("ZADD z INCR 1 a 2 b", "-ERR INCR option supports a single increment-element pair"),
        ("ZADD z 1 a 2", SYNTAX),
        ("ZADD z NX CH", SYNTAX),
        ("ZADD z 1 a x b", NOT_A_FLOAT),
        ("ZADD z nan a", NOT_A_FLOAT),
        ("ZSCORE z b", "'1'"),
        ("ZADD z 1", "-ERR wrong number of arguments for 'zadd' command"),
        ("ZINCRBY z x a", NOT_A_FLOAT),
    ]);
}

#[test]
fn ranges_by_rank_go_either_way() {
    both_forms(&[
        ("ZADD z 1 a 2 b 3 c 4 d", ":4"),
        ("ZRANGE z 1 2", "['b', 'c']"),
        ("ZRANGE z -2 -1", "['c', 'd']"),
        ("ZRANGE z -100 100", "['a', 'b', 'c', 'd']"),
        ("ZRANGE z 3 1", "[]"),
        ("ZRANGE z 4 9", "[]"),
        ("ZRANGE missing 0 -1", "[]"),
        ("ZREVRANGE z 0 1 WITHSCORES", "['d', '4', 'c', '3']"),
        ("ZRANGE z 0 1 REV", "['d', 'c']"),
        ("ZRANGE z -1 -1 REV WITHSCORES", "['a', '1']"),
        (
            "ZRANGE z 0 1 LIMIT 0 1",
            "-ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        ),
        ("ZRANGE z 0 1 LIMIT 5 -1", "['a', 'b']"),
        ("ZRANGE z 0 1 REV REV", SYNTAX),
        ("ZRANGE z a 1", NOT_AN_INTEGER),
        ("ZREVRANGE z 0 1 REV", SYNTAX),
        ("ZREVRANGE z 0 1 BYSCORE", SYNTAX),
        ("ZRANK z a", ":0"),
        ("ZREVRANK z a", ":3"),
        ("ZRANK z x", "nil"),
        ("ZREVRANK missing x", "nil"),
    ]);
}

#[test]
fn ranges_by_score_have_open_ends_and_limits() {
    both_forms(&[
        ("ZADD z 1 a 2 b 2.5 c 4 d inf e", ":5"),
        ("ZRANGEBYSCORE z 2 4", "['b', 'c', 'd']"),
        ("ZRANGEBYSCORE z (2 (4", "['c']"),
        ("ZRANGEBYSCORE z -inf +inf WITHSCORES LIMIT 1 2", "['b', '2', 'c', '2.5']"),
        ("ZRANGEBYSCORE z -inf (inf LIMIT 2 -1", "['c', 'd']"),
        ("ZRANGEBYSCORE z -inf inf LIMIT -1 2", "[]"),
        ("ZRANGEBYSCORE z -inf inf LIMIT 9 2", "[]"),
        ("ZREVRANGEBYSCORE z 4 2", "['d', 'c', 'b']"),
        ("ZREVRANGEBYSCORE z inf -inf LIMIT 1 2", "['d', 'c']"),
        ("ZRANGE z (1 4 BYSCORE LIMIT 0 2", "['b', 'c']"),
        ("ZRANGE z 4 (1 BYSCORE REV LIMIT 0 2 WITHSCORES", "['d', '4', 'c', '2.5']"),
        ("ZRANGEBYSCORE z 5 1", "[]"),
        ("ZRANGEBYSCORE z (2 (2", "[]"),
        ("ZCOUNT z 2 4", ":3"),
        ("ZCOUNT z (2 +inf", ":3"),
        ("ZCOUNT missing 0 1", ":0"),
        ("ZCOUNT z x 1", NOT_A_SCORE_RANGE),
        ("ZRANGEBYSCORE z 1 nan", NOT_A_SCORE_RANGE),
        ("ZRANGEBYSCORE z 1 2 LIMIT 1", SYNTAX),
        ("ZRANGEBYSCORE z 1 2 LIMIT x 1", NOT_AN_INTEGER),
        (r#"ZCOUNT z "" 1"#, ":1"),
        ("ZREMRANGEBYSCORE z (1 2.5", ":2"),
        ("ZREMRANGEBYSCORE z 100 200", ":0"),
        ("ZREMRANGEBYSCORE z 1 (1", ":0"),
        ("ZREMRANGEBYRANK z -1 -1", ":1"),
        ("ZREMRANGEBYRANK z 5 9", ":0"),
        ("ZRANGE z 0 -1", "['a', 'd']"),
        ("ZREMRANGEBYRANK z 0 -1", ":2"),
        ("EXISTS z", ":0"),
        ("ZREMRANGEBYRANK z x 1", NOT_AN_INTEGER),
        ("ZREMRANGEBYSCORE z x 1", NOT_A_SCORE_RANGE),
    ]);
}

#[test]
fn ranges_by_member_have_ends_of_their_own() {
    both_forms(&[
        ("ZADD z 0 a 0 b 0 c 0 d 0 1 0 22", ":6"),
        ("ZRANGEBYLEX z - +", "['1', '22', 'a', 'b', 'c', 'd']"),
        ("ZRANGEBYLEX z [b (d", "['b', 'c']"),
        ("ZRANGEBYLEX z (1 [a", "['22', 'a']"),
        ("ZRANGEBYLEX z - + LIMIT 1 2", "['22', 'a']"),
        ("ZRANGEBYLEX z - + LIMIT -1 2", "[]"),
        ("ZREVRANGEBYLEX z + [b LIMIT 0 2", "['d', 'c']"),
        ("ZREVRANGEBYLEX z + -", "['d', 'c', 'b', 'a', '22', '1']"),
        ("ZRANGE z [d (a BYLEX REV", "['d', 'c', 'b']"),
        ("ZRANGE z - + BYLEX WITHSCORES", "-ERR syntax error, WITHSCORES not supported in combination with BYLEX"),
        ("ZRANGEBYLEX z + -", "[]"),
        ("ZRANGEBYLEX z b [c", NOT_A_LEX_RANGE),
        ("ZRANGEBYLEX z [b -x", NOT_A_LEX_RANGE),
        ("ZLEXCOUNT z - +", ":6"),
        ("ZLEXCOUNT z (a [c", ":2"),
        ("ZLEXCOUNT missing - +", ":0"),
        ("ZLEXCOUNT z a b", NOT_A_LEX_RANGE),
        ("ZREMRANGEBYLEX z [b (d", ":2"),
        ("ZREMRANGEBYLEX z [x +", ":0"),
        ("ZRANGE z 0 -1", "['1', '22', 'a', 'd']"),
    ]);
}

#[test]
fn a_range_is_stored_under_another_key() {
    both_forms(&[
        ("ZADD z 1 a 2 b 3 c", ":3"),
        ("SET dst x", "+OK"),
        ("ZRANGESTORE dst z 0 1", ":2"),
        ("ZRANGE dst 0 -1 WITHSCORES", "['a', '1', 'b', '2']"),
        ("EXPIRE dst 100", ":1"),
        ("ZRANGESTORE dst z 3 2 BYSCORE REV LIMIT 0 1", ":1"),
        ("ZRANGE dst 0 -1 WITHSCORES", "['c', '3']"),
        ("TTL dst", ":-1"),
        ("ZRANGESTORE z z 1 2", ":2"),
        ("ZRANGESTORE dst missing 0 -1", ":0"),
        ("EXISTS dst", ":0"),
        ("ZRANGESTORE dst z 0 -1 WITHSCORES", SYNTAX),
        ("ZRANGESTORE dst z (a [b BYLEX LIMIT 0 1", ":1"),
    ]);
}

#[test]
fn unions_intersections_and_differences_weigh_and_aggregate() {
    both_forms(&[
        ("ZADD a 1 x 2 y 3 z", ":3"),
        ("ZADD b 10 y 20 z 30 w", ":3"),
        ("SADD s x w 7", ":3"),
        ("ZUNION 2 a b WITHSCORES", "['x', '1', 'y', '12', 'z', '23', 'w', '30']"),
        ("ZUNION 2 a s WITHSCORES", "['7', '1', 'w', '1', 'x', '2', 'y', '2', 'z', '3']"),
        ("ZINTER 2 a b WITHSCORES", "['y', '12', 'z', '23']"),
        ("ZINTER 2 a b WEIGHTS 2 0.5 WITHSCORES", "['y', '9', 'z', '16']"),
        ("ZINTER 2 a b AGGREGATE MIN WITHSCORES", "['y', '2', 'z', '3']"),
        ("ZINTER 2 a b WITHSCORES AGGREGATE max", "['y', '10', 'z', '20']"),
        ("ZINTER 2 a missing", "[]"),
        ("ZDIFF 2 a b WITHSCORES", "['x', '1']"),
        ("ZDIFF 3 a b s", "[]"),
        ("ZDIFF 1 b", "['y', 'z', 'w']"),
        ("ZINTERCARD 2 a b", ":2"),
        ("ZINTERCARD 2 a b LIMIT 1", ":1"),
        ("ZINTERCARD 2 a b LIMIT 0", ":2"),
        ("ZINTERCARD 2 a b LIMIT -1", "-ERR LIMIT can't be negative"),
        ("ZUNIONSTORE d 2 a b WEIGHTS 1 -1", ":4"),
        ("ZRANGE d 0 -1 WITHSCORES", "['w', '-30', 'z', '-17', 'y', '-8', 'x', '1']"),
        ("ZUNIONSTORE d 2 a b AGGREGATE MAX", ":4"),
        ("ZINTERSTORE d 2 a b", ":2"),
        ("ZDIFFSTORE d 2 a b", ":1"),
        ("ZINTERSTORE d 2 a missing", ":0"),
        ("EXISTS d", ":0"),
        ("ZADD p inf m", ":1"),
        ("ZADD n -inf m", ":1"),
        ("ZUNION 2 p n WITHSCORES", "['m', '0']"),
        ("ZUNION 1 p WEIGHTS 0 WITHSCORES", "['m', '0']"),
        ("ZUNION 0 a", "-ERR at least 1 input key is needed for 'zunion' command"),
        ("ZUNIONSTORE d 0 a", "-ERR at least 1 input key is needed for 'zunionstore' command"),
        ("ZUNION x a", NOT_AN_INTEGER),
        ("ZUNION 3 a b", SYNTAX),
        ("ZUNION 2 a b WEIGHTS 1", SYNTAX),
        ("ZUNION 2 a b WEIGHTS 1 x", "-ERR weight value is not a float"),
        ("ZUNION 2 a b AGGREGATE avg", SYNTAX),
        ("ZUNIONSTORE d 2 a b WITHSCORES", SYNTAX),
        ("ZDIFF 2 a b WEIGHTS 1 2", SYNTAX),
        ("ZINTERCARD 2 a b WITHSCORES", SYNTAX),
        ("SET str x", "+OK"),
        ("ZUNION 2 a str", WRONG_TYPE),
    ]);
}

#[test]
fn members_are_taken_from_either_end() {
    both_forms(&[
        ("ZADD z 1 a 2 b 3 c 4 d 5 e 6 f", ":6"),
        ("ZPOPMIN z", "['a', '1']"),
        ("ZPOPMAX z 2", "['f', '6', 'e', '5']"),
        ("ZPOPMIN z 0", "[]"),
        ("ZPOPMIN missing", "[]"),
        ("ZPOPMIN missing 5", "[]"),
        ("ZPOPMIN z -1", "-ERR value is out of range, must be positive"),
        ("ZPOPMIN z x", "-ERR value is out of range, must be positive"),
        ("ZPOPMIN z 1 2", SYNTAX),
        ("ZMPOP 2 missing z MIN", "['z', [['b', '2']]]"),
        ("ZMPOP 1 z MAX COUNT 5", "['z', [['d', '4'], ['c', '3']]]"),
        ("EXISTS z", ":0"),
        ("ZMPOP 1 z MAX", "nil*"),
        ("ZMPOP 0 z MAX", "-ERR numkeys should be greater than 0"),
        ("ZMPOP x z MAX", "-ERR numkeys should be greater than 0"),
        ("ZMPOP 1 z MAX COUNT 0", "-ERR count should be greater than 0"),
        ("ZMPOP 1 z MAX COUNT 1 COUNT 1", SYNTAX),
        ("ZMPOP 1 z MID", SYNTAX),
        ("ZMPOP 2 z MIN", SYNTAX),
        ("ZMPOP 9223372036854775807 z MIN", SYNTAX),
        ("ZADD z 1 a 2 b 3 c", ":3"),
        ("BZPOPMIN missing z 0", "['z', 'a', '1']"),
        ("BZPOPMAX z 0.5", "['z', 'c', '3']"),
        ("BZMPOP 0 2 missing z MIN COUNT 3", "['z', [['b', '2']]]"),
        ("BZPOPMIN z x", "-ERR timeout is not a float or out of range"),
        ("BZPOPMIN z -1", "-ERR timeout is negative"),
        ("BZMPOP x 0 z MIN", "-ERR numkeys should be greater than 0"),
        ("BZMPOP x 1 z MIN", "-ERR timeout is not a float or out of range"),
    ]);
}

#[test]
fn random_members_are_members() {
    both_forms(&[
        ("ZRANDMEMBER missing", "nil"),
        ("ZRANDMEMBER missing 5", "[]"),
        ("ZADD z 1 a", ":1"),
        ("ZRANDMEMBER z", "'a'"),
        ("ZRANDMEMBER z 5 WITHSCORES", "['a', '1']"),
        ("ZRANDMEMBER z -3", "['a', 'a', 'a']"),
        ("ZRANDMEMBER z -2 WITHSCORES", "['a', '1', 'a', '1']"),
        ("ZRANDMEMBER z 0", "[]"),
        ("ZRANDMEMBER z x", NOT_AN_INTEGER),
        ("ZRANDMEMBER z 1 SCORES", SYNTAX),
        ("ZRANDMEMBER z 1 WITHSCORES x", SYNTAX),
        ("ZRANDMEMBER z -9223372036854770000 WITHSCORES", "-ERR value is out of range"),
        (
            "ZRANDMEMBER z -9223372036854775808",
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ),
    ]);
}

#[test]
fn random_members_are_different_ones_when_the_count_is_positive() {
    for entries in ["128", "0"] {
        on_both_with(&["--zset-max-listpack-entries", entries], |server| {
            let mut client = server.connect();
            let members: String = (0..100).map(|number| format!(" {number} m{number}")).collect();
            client.must(&format!("ZADD z{members}"));
            for (count, expected) in [(3, 3), (30, 30), (70, 70), (99, 99), (100, 100), (500, 100)] {
                let reply = client.must(&format!("ZRANDMEMBER z {count}"));
                let drawn: std::collections::BTreeSet<String> = reply.items().iter().map(|item| item.text()).collect();
                assert_eq!((reply.items().len(), drawn.len()), (expected, expected));
            }
        });
    }
}

#[test]
fn a_scan_walks_over_every_member() {
    for entries in ["1000", "0"] {
        on_both_with(&["--zset-max-listpack-entries", entries], |server| {
            let mut client = server.connect();
            let members: String = (0..300).map(|number| format!(" {number}.5 m{number}")).collect();
            client.must(&format!("ZADD z{members}"));
            let (mut cursor, mut seen) = ("0".to_owned(), std::collections::BTreeMap::new());
            loop {
                let reply = client.must(&format!("ZSCAN z {cursor} COUNT 20 MATCH m*"));
                let found: Vec<String> = reply.items()[1].items().iter().map(|item| item.text()).collect();
                seen.extend(found.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())));
                cursor = reply.items()[0].text();
                if cursor == "0" {
                    break;
                }
            }
            assert_eq!(seen.len(), 300);
            assert_eq!(seen["m7"], "7.5");
            check(
                &mut client,
                &[
                    ("ZSCAN z x", "-ERR invalid cursor"),
                    ("ZSCAN z 0 COUNT 0", SYNTAX),
                    ("ZSCAN z 0 COUNT x", NOT_AN_INTEGER),
                    ("ZSCAN z 0 TYPE zset", SYNTAX),
                    ("ZSCAN missing 5 NONSENSE", "['0', []]"),
                ],
            );
        });
    }
}

#[test]
fn version_3_shows_scores_as_doubles_in_pairs() {
    both_forms(&[
        ("HELLO 3", "?"),
        ("ZADD z 1 a 2.5 b 3 c inf d", ":4"),
        ("ZRANGE z 0 1 WITHSCORES", "[['a', ,1], ['b', ,2.5]]"),
        ("ZRANGEBYSCORE z 3 inf WITHSCORES", "[['c', ,3], ['d', ,inf]]"),
        ("ZSCORE z b", ",2.5"),
        ("ZMSCORE z a x", "[,1, null]"),
        ("ZINCRBY z 1 a", ",2"),
        ("ZADD z NX INCR 1 a", "null"),
        ("ZUNION 1 z WITHSCORES", "[['a', ,2], ['b', ,2.5], ['c', ,3], ['d', ,inf]]"),
        ("ZRANDMEMBER z 9 WITHSCORES", "?"),
        ("ZPOPMIN z", "['a', ,2]"),
        ("ZPOPMIN z 1", "[['b', ,2.5]]"),
        ("BZPOPMAX z 0", "['z', 'd', ,inf]"),
        ("ZMPOP 1 z MIN", "['z', [['c', ,3]]]"),
        ("ZMPOP 1 z MIN", "null"),
        ("ZRANK z a", "null"),
        ("ZSCAN z 0", "['0', []]"),
    ]);
}

#[test]
fn the_form_follows_number_and_length_of_members() {
    on_both_with(&["--zset-max-listpack-entries", "3", "--zset-max-listpack-value", "5"], |server| {
        check(
            &mut server.connect(),
            &[
                ("ZADD z 1 a 2 b 3 c", ":3"),
                ("OBJECT ENCODING z", "'listpack'"),
                ("ZADD z 9 a", ":0"),
                ("OBJECT ENCODING z", "'listpack'"),
                ("ZADD z 4 d", ":1"),
                ("OBJECT ENCODING z", "'skiplist'"),
                ("ZREM z d c b", ":3"),
                ("OBJECT ENCODING z", "'skiplist'"),
                ("ZADD long 1 sixsix", ":1"),
                ("OBJECT ENCODING long", "'skiplist'"),
                ("ZADD grows 1 five5", ":1"),
                ("OBJECT ENCODING grows", "'listpack'"),
                ("ZADD grows 1 sixsix", ":1"),
                ("OBJECT ENCODING grows", "'skiplist'"),
                ("ZUNIONSTORE d 1 z", ":1"),
                ("OBJECT ENCODING d", "'listpack'"),
                ("ZUNIONSTORE d 2 z long", ":2"),
                ("OBJECT ENCODING d", "'skiplist'"),
                ("ZADD four 1 a 2 b 3 c 4 d", ":4"),
                ("OBJECT ENCODING four", "'skiplist'"),
                ("ZRANGESTORE d four 0 2", ":3"),
                ("OBJECT ENCODING d", "'listpack'"),
                ("ZRANGESTORE d four 0 3", ":4"),
                ("OBJECT ENCODING d", "'skiplist'"),
            ],
        );
    });
}

#[test]
fn a_negative_zero_shows_in_the_large_form_only() {
    table(&[("ZADD z -0 a", ":1"), ("ZSCORE z a", "'0'")]);
    on_both_with(&["--zset-max-listpack-entries", "0"], |server| {
        check(&mut server.connect(), &[("ZADD z -0 a", ":1"), ("ZSCORE z a", "'-0'"), ("ZADD z CH 0 a", ":0")]);
    });
    // A stored range is compact until it cannot be.
    on_both_with(&["--zset-max-listpack-value", "3"], |server| {
        check(
            &mut server.connect(),
            &[
                ("ZADD z 1 long -0 a", ":2"),
                ("ZSCORE z a", "'-0'"),
                ("ZRANGESTORE d z -1 2 BYSCORE", ":2"),
                ("ZSCORE d a", "'0'"),
                ("ZRANGESTORE d z 2 -1 BYSCORE REV", ":2"),
                ("ZSCORE d a", "'-0'"),
            ],
        );
    });
}

#[test]
fn digests_are_those_of_redis() {
    let args = &["--enable-debug-command", "yes"];
    let digest = |server: &Server, entries: &str| {
        let mut client = server.connect();
        client.must(&format!("CONFIG SET zset-max-listpack-entries {entries}"));
        client.must("ZADD z 1 a -2.5 b inf c 1e10 d 1e17 e 123456789 12345");
        client.must("DEBUG DIGEST-VALUE z").to_string()
    };
    let slotcore = [digest(&Server::slotcore(args), "128"), digest(&Server::slotcore(args), "0")];
    assert_eq!(slotcore[0], slotcore[1]);
    assert_eq!(slotcore[0], "[+aa3ceca0e528ea94dfb564256819999ff4a7019a]");
}

#[test]
fn other_types_are_refused() {
    let lines = [
        "ZADD s 1 a",
        "ZADD s XX 1 a",
        "ZINCRBY s 1 a",
        "ZREM s a",
        "ZREMRANGEBYRANK s 0 1",
        "ZREMRANGEBYSCORE s 0 1",
        "ZREMRANGEBYLEX s - +",
        "ZCARD s",
        "ZCOUNT s 0 1",
        "ZLEXCOUNT s - +",
        "ZSCORE s a",
        "ZMSCORE s a",
        "ZRANK s a",
        "ZREVRANK s a",
        "ZRANGE s 0 1",
        "ZRANGEBYSCORE s 0 1",
        "ZREVRANGEBYLEX s + -",
        "ZRANGESTORE d s 0 1",
        "ZUNION 1 s",
        "ZINTERSTORE d 1 s",
        "ZDIFF 1 s",
        "ZINTERCARD 1 s",
        "ZPOPMIN s",
        "ZPOPMAX s 0",
        "ZMPOP 1 s MIN",
        "ZRANDMEMBER s",
        "ZRANDMEMBER s 1",
        "ZSCAN s 0",
        "BZPOPMIN s 0",
        "BZMPOP 0 1 s MAX",
    ];
    let rows: Vec<(&str, &str)> = lines.iter().map(|line| (*line, WRONG_TYPE)).collect();
    on_both(|server| {
        let mut client = server.connect();
        client.must("SET s x");
        check(&mut client, &rows);
        check(&mut client, &[("ZADD z 1 a", ":1"), ("GET z", WRONG_TYPE), ("TYPE z", "+zset")]);
    });
}

#[test]
fn keys_are_found_among_the_arguments() {
    table(&[
        ("COMMAND GETKEYS ZUNIONSTORE d 2 a b WEIGHTS 1 2", "['d', 'a', 'b']"),
        ("COMMAND GETKEYS ZUNIONSTORE d 5 a b", "-ERR Invalid arguments specified for command"),
        ("COMMAND GETKEYS ZDIFF 2 a b WITHSCORES", "['a', 'b']"),
        ("COMMAND GETKEYS ZRANGESTORE d a 0 1", "['d', 'a']"),
        ("COMMAND GETKEYS BZPOPMIN a b 0", "['a', 'b']"),
        ("COMMAND GETKEYS BZMPOP 0 2 a b MIN", "['a', 'b']"),
        ("COMMAND GETKEYS GEORADIUS a 1 2 3 km STORE d", "['a', 'd']"),
        ("COMMAND GETKEYS GEORADIUS a 1 2 3 km", "['a']"),
        ("COMMAND GETKEYS GEORADIUSBYMEMBER a m 3 km WITHDIST STOREDIST d", "['a', 'd']"),
        ("COMMAND GETKEYS GEOSEARCHSTORE d a FROMMEMBER m BYRADIUS 1 m", "['d', 'a']"),
        ("COMMAND GETKEYSANDFLAGS ZUNIONSTORE d 1 a", "[['d', [+OW, +update]], ['a', [+RO, +access]]]"),
    ]);
}

/// Redis 7.0 does not know it.
#[test]
fn ranks_come_with_scores() {
    for entries in ["128", "0"] {
        let server = Server::slotcore(&["--zset-max-listpack-entries", entries]);
        check(
            &mut server.connect(),
            &[
                ("ZADD z 1 a 2.5 b", ":2"),
                ("ZRANK z b WITHSCORE", "[:1, '2.5']"),
                ("ZREVRANK z b WITHSCORE", "[:0, '2.5']"),
                ("ZRANK z x WITHSCORE", "nil*"),
                ("ZRANK missing x WITHSCORE", "nil*"),
                ("ZRANK z b WITHSCORES", SYNTAX),
                ("ZRANK z b WITHSCORE x", "-ERR wrong number of arguments for 'zrank' command"),
            ],
        );
    }
}

#[test]
fn changes_are_published_and_counted() {
    for entries in ["128", "0"] {
        on_both_with(&["--notify-keyspace-events", "EAn", "--zset-max-listpack-entries", entries], |server| {
            check_published(server, PUBLISHED);
        });
    }
}

/// Each request with the events that it publishes, and how many changes it counts as.
const PUBLISHED: &[(&str, &str, i64)] = &[
    ("ZADD {t}a 1 a 2 b 3 c", "new:{t}a zadd:{t}a", 3),
    ("ZADD {t}a 1 a", "", 0),
    ("ZADD {t}a XX 5 none", "", 0),
    ("ZADD {t}none XX 5 none", "", 0),
    ("ZADD {t}a 9 a 4 d", "zadd:{t}a", 2),
    ("ZADD {t}a INCR 1 a", "zincr:{t}a", 1),
    ("ZINCRBY {t}a 1 e", "zincr:{t}a", 1),
    ("ZINCRBY {t}a 0 e", "", 0),
    ("ZREM {t}a none", "", 0),
    ("ZREM {t}a a b none", "zrem:{t}a", 2),
    ("ZREMRANGEBYRANK {t}a 0 0", "zremrangebyrank:{t}a", 1),
    ("ZREMRANGEBYSCORE {t}a 50 60", "", 0),
    ("ZREMRANGEBYSCORE {t}a 3 3", "zremrangebyscore:{t}a", 1),
    ("ZREMRANGEBYLEX {t}a [d [d", "zremrangebylex:{t}a del:{t}a", 1),
    ("ZADD {t}a 1 a 2 b 3 c 4 d 5 e 6 f", "new:{t}a zadd:{t}a", 6),
    ("ZPOPMIN {t}a 2", "zpopmin:{t}a", 2),
    ("ZPOPMAX {t}a 0", "", 0),
    ("ZPOPMAX {t}a", "zpopmax:{t}a", 1),
    ("ZMPOP 2 {t}none {t}a MAX COUNT 2", "zpopmax:{t}a", 2),
    ("BZPOPMIN {t}a 0", "zpopmin:{t}a del:{t}a", 1),
    ("ZADD {t}a 1 a 2 b 3 c", "new:{t}a zadd:{t}a", 3),
    ("ZUNIONSTORE {t}b 1 {t}a", "new:{t}b zunionstore:{t}b", 1),
    ("ZINTERSTORE {t}b 2 {t}a {t}b", "zinterstore:{t}b", 1),
    ("ZDIFFSTORE {t}b 2 {t}b {t}a", "del:{t}b", 1),
    ("ZDIFFSTORE {t}b 2 {t}a {t}a", "", 0),
    ("ZRANGESTORE {t}b {t}a 0 1", "new:{t}b zrangestore:{t}b", 1),
    ("ZRANGESTORE {t}b {t}a 9 10", "del:{t}b", 1),
    ("BZMPOP 0 1 {t}a MIN COUNT 9", "zpopmin:{t}a del:{t}a", 3),
    ("GEOADD {t}g 1 2 a 3 4 b", "new:{t}g zadd:{t}g", 2),
    ("GEOADD {t}g CH 1 2 a 3 5 b", "zadd:{t}g", 1),
    ("GEOSEARCHSTORE {t}b {t}g FROMMEMBER a BYRADIUS 9000 km", "new:{t}b geosearchstore:{t}b", 2),
    ("GEORADIUS {t}g 1 2 9000 km STOREDIST {t}b", "georadiusstore:{t}b", 2),
    ("GEORADIUS {t}g 100 2 1 km STORE {t}b", "del:{t}b", 1),
    ("GEORADIUS {t}g 100 2 1 km STORE {t}b", "", 0),
];

#[test]
fn watching_clients_are_told_of_what_has_changed() {
    on_both(|server| {
        let (watcher, other) = (&mut server.connect(), &mut server.connect());
        for (key, line, told) in [
            ("{t}a", "ZADD {t}a 1 a", false),
            ("{t}a", "ZADD {t}a 2 a", true),
            ("{t}a", "ZADD {t}a XX 1 none", false),
            ("{t}a", "ZREM {t}a none", false),
            ("{t}a", "ZREM {t}a a", true),
            ("{t}a", "ZPOPMIN {t}a 0", false),
            ("{t}a", "ZRANGE {t}a 0 -1", false),
            ("{t}a", "ZUNIONSTORE {t}b 1 {t}a", false),
            ("{t}b", "ZUNIONSTORE {t}b 1 {t}a", true),
            ("{t}b", "ZINTERSTORE {t}b 1 {t}none", true),
        ] {
            other.must("DEL {t}a {t}b");
            other.must("ZADD {t}a 1 a 2 b");
            other.must("ZADD {t}b 1 a 2 b");
            watcher.must(&format!("WATCH {key}"));
            other.line(line);
            watcher.must("MULTI");
            watcher.must("PING");
            let reply = watcher.line("EXEC").to_string();
            assert_eq!(reply, if told { "nil*" } else { "[+PONG]" }, "{key} {line}");
        }
    });
}
