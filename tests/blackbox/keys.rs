//! Commands on keys of any type and on whole databases.

use std::collections::BTreeSet;

use crate::support::{Client, check, on_both};

fn table(rows: &[(&str, &str)]) {
    on_both(|server| check(&mut server.connect(), rows));
}

#[test]
fn del_exists_touch_and_unlink_count_keys() {
    table(&[
        ("MSET a 1 b 2 c 3", "+OK"),
        ("EXISTS a b a missing", ":3"),
        ("TOUCH a b missing", ":2"),
        ("DEL a a missing", ":1"),
        ("UNLINK b missing c", ":2"),
        ("DBSIZE", ":0"),
        ("DEL", "-ERR wrong number of arguments for 'del' command"),
        ("TYPE missing", "+none"),
        ("SET a 1", "+OK"),
        ("TYPE a", "+string"),
    ]);
}

#[test]
fn rename_carries_value_and_expire_time() {
    table(&[
        ("RENAME missing b", "-ERR no such key"),
        ("SET a 1 PXAT 33177117420000", "+OK"),
        ("SET b 2", "+OK"),
        ("RENAMENX a b", ":0"),
        ("RENAME a b", "+OK"),
        ("PEXPIRETIME b", ":33177117420000"),
        ("EXISTS a", ":0"),
        ("RENAMENX b c", ":1"),
        ("PEXPIRETIME c", ":33177117420000"),
        ("RENAME c c", "+OK"),
        ("RENAMENX c c", ":0"),
        ("SET d 1", "+OK"),
        ("RENAME d c", "+OK"),
        ("TTL c", ":-1"),
    ]);
}

#[test]
fn copy_and_move_work_across_databases() {
    table(&[
        ("SET a 1 PXAT 33177117420000", "+OK"),
        ("COPY a b", ":1"),
        ("COPY a b", ":0"),
        ("PEXPIRETIME b", ":33177117420000"),
        ("SET a 2", "+OK"),
        ("COPY a b REPLACE", ":1"),
        ("GET b", "'2'"),
        ("TTL b", ":-1"),
        ("COPY a a", "-ERR source and destination objects are the same"),
        ("COPY a a DB 3", ":1"),
        ("COPY missing b", ":0"),
        ("COPY a b DB 16", "-ERR DB index is out of range"),
        ("COPY a b DB x", "-ERR value is not an integer or out of range"),
        ("COPY a b BOGUS", "-ERR syntax error"),
        ("SELECT 3", "+OK"),
        ("GET a", "'2'"),
        ("MOVE a 0", ":0"),
        ("MOVE a 4", ":1"),
        ("DBSIZE", ":0"),
        ("MOVE missing 2", ":0"),
        ("MOVE a 99", "-ERR DB index is out of range"),
        ("MOVE a x", "-ERR value is not an integer or out of range"),
        ("SELECT 4", "+OK"),
        ("GET a", "'2'"),
        ("MOVE a 4", "-ERR source and destination objects are the same"),
    ]);
}

#[test]
fn swapdb_changes_what_connections_see() {
    table(&[
        ("SET a zero", "+OK"),
        ("SWAPDB 0 1", "+OK"),
        ("EXISTS a", ":0"),
        ("SELECT 1", "+OK"),
        ("GET a", "'zero'"),
        ("SWAPDB 1 1", "+OK"),
        ("SWAPDB 0 16", "-ERR DB index is out of range"),
        ("SWAPDB x 1", "-ERR invalid first DB index"),
        ("SWAPDB 1 x", "-ERR invalid second DB index"),
    ]);
}

#[test]
fn databases_are_apart_and_flushed_apart() {
    table(&[
        ("SET a 0", "+OK"),
        ("SELECT 15", "+OK"),
        ("SET b 15", "+OK"),
        ("SET c 15", "+OK"),
        ("DBSIZE", ":2"),
        ("FLUSHDB ASYNC", "+OK"),
        ("DBSIZE", ":0"),
        ("SELECT 0", "+OK"),
        ("DBSIZE", ":1"),
        ("FLUSHALL", "+OK"),
        ("DBSIZE", ":0"),
        ("FLUSHALL SYNC", "+OK"),
        ("FLUSHALL BOGUS", "-ERR syntax error"),
        ("FLUSHDB SYNC ASYNC", "-ERR syntax error"),
        ("RANDOMKEY", "nil"),
        ("SET only 1", "+OK"),
        ("RANDOMKEY", "'only'"),
    ]);
}

fn scan_all(client: &mut Client, options: &str) -> BTreeSet<String> {
    let mut cursor = "0".to_owned();
    let mut keys = BTreeSet::new();
    for _ in 0..100_000 {
        let reply = client.line(&format!("SCAN {cursor} {options}"));
        let [next, found] = reply.items() else { panic!("SCAN answers two items, got {reply}") };
        keys.extend(found.items().iter().map(|key| key.text()));
        cursor = next.text();
        if cursor == "0" {
            return keys;
        }
    }
    panic!("SCAN {options} does not come to an end");
}

#[test]
fn scan_sees_every_key_that_stays_through_growth_and_shrinking() {
    on_both(|server| {
        let client = &mut server.connect();
        let lines: Vec<String> = (0..5000).map(|n| format!("SET key:{n} {n}")).collect();
        client.pipeline(&lines);
        let all: BTreeSet<String> = (0..5000).map(|n| format!("key:{n}")).collect();
        assert_eq!(scan_all(client, ""), all);
        assert_eq!(scan_all(client, "COUNT 1000"), all);
        assert_eq!(scan_all(client, "COUNT 100000"), all);
        assert_eq!(scan_all(client, "TYPE string COUNT 500"), all);
        assert!(scan_all(client, "TYPE list COUNT 500").is_empty());
        let nines: BTreeSet<String> = all.iter().filter(|key| key.ends_with("99")).cloned().collect();
        assert_eq!(scan_all(client, "MATCH *99 COUNT 100"), nines);
        assert_eq!(scan_all(client, "MATCH key:[0-4] COUNT 100").len(), 5);

        // Keys deleted and added between the calls: those that stay must be seen.
        let mut cursor = "0".to_owned();
        let mut seen = BTreeSet::new();
        let mut round = 0;
        loop {
            let reply = client.line(&format!("SCAN {cursor} COUNT 50"));
            seen.extend(reply.items()[1].items().iter().map(|key| key.text()));
            cursor = reply.items()[0].text();
            let lines: Vec<String> = (0..100)
                .flat_map(|n| {
                    [format!("DEL key:{}", 1000 + (round * 100 + n) % 4000), format!("SET new:{round}:{n} x")]
                })
                .collect();
            client.pipeline(&lines);
            round += 1;
            if cursor == "0" || round > 10_000 {
                break;
            }
        }
        assert!((0..1000).all(|n| seen.contains(&format!("key:{n}"))), "a key that stayed was not seen");
    });
}

#[test]
fn scan_and_keys_refuse_bad_arguments_and_match_globs() {
    on_both(|server| {
        let client = &mut server.connect();
        check(
            client,
            &[
                ("SCAN 0", "['0', []]"),
                ("SCAN abc", "-ERR invalid cursor"),
                ("SCAN -1", "?"),
                ("SCAN 0 COUNT 0", "-ERR syntax error"),
                ("SCAN 0 COUNT x", "-ERR value is not an integer or out of range"),
                ("SCAN 0 MATCH", "-ERR syntax error"),
                ("SCAN 0 BOGUS x", "-ERR syntax error"),
                ("SCAN 0 TYPE string MATCH * COUNT 10", "['0', []]"),
                ("MSET hello 1 hallo 2 hxllo 3 h*llo 4 heello 5", "+OK"),
            ],
        );
        let mut keys = |pattern: &str| {
            let reply = client.line(&format!("KEYS {pattern}"));
            let mut keys: Vec<String> = reply.items().iter().map(|key| key.text()).collect();
            keys.sort();
            keys.join(" ")
        };
        assert_eq!(keys("h?llo"), "h*llo hallo hello hxllo");
        assert_eq!(keys("h[ae]llo"), "hallo hello");
        assert_eq!(keys("h[^e]llo"), "h*llo hallo hxllo");
        assert_eq!(keys("h[a-f]llo"), "hallo hello");
        assert_eq!(keys(r"h\*llo"), "h*llo");
        assert_eq!(keys("h*llo"), "h*llo hallo heello hello hxllo");
        assert_eq!(keys("nothing*"), "");
        assert_eq!(keys("*"), "h*llo hallo heello hello hxllo");
    });
}

#[test]
fn object_subcommands_answer_as_redis() {
    table(&[
        ("SET k v", "+OK"),
        ("OBJECT REFCOUNT k", ":1"),
        ("OBJECT IDLETIME k", ":0"),
        (
            "OBJECT FREQ k",
            "-ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
             switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ),
        ("OBJECT REFCOUNT missing", "nil"),
        ("OBJECT IDLETIME missing", "nil"),
        ("OBJECT BOGUS k", "-ERR unknown subcommand 'BOGUS'. Try OBJECT HELP."),
        ("OBJECT", "-ERR wrong number of arguments for 'object' command"),
        ("OBJECT ENCODING", "-ERR wrong number of arguments for 'object|encoding' command"),
        ("CONFIG SET maxmemory-policy allkeys-lfu", "+OK"),
        ("SET f v", "+OK"),
        ("OBJECT FREQ f", ":?"),
        (
            "OBJECT IDLETIME f",
            "-ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between \
             policies at runtime LRU and LFU data will take some time to adjust.",
        ),
    ]);
}

#[test]
fn a_key_idle_for_a_second_says_so() {
    on_both(|server| {
        let client = &mut server.connect();
        client.must("SET k v");
        std::thread::sleep(std::time::Duration::from_millis(2100));
        let idle = client.must("OBJECT IDLETIME k").integer();
        assert!((1..=3).contains(&idle), "idle for {idle} s");
        client.must("TOUCH k");
        assert_eq!(client.must("OBJECT IDLETIME k").integer(), 0);
    });
}
