//! HyperLogLogs: replies as tables, and strings that go to a redis-server and back.

use std::time::Duration;

use crate::support::random::Random;
use crate::support::{Client, Server, check, on_both, on_both_with};

fn table(rows: &[(&str, &str)]) {
    on_both(|server| check(&mut server.connect(), rows));
}

const NOT_ONE: &str = "-WRONGTYPE Key is not a valid HyperLogLog string value.";
const DAMAGED: &str = "-INVALIDOBJ Corrupted HLL object detected";
const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

#[test]
fn pfadd_says_whether_a_register_changed() {
    table(&[
        ("PFADD h", ":1"),
        ("PFADD h", ":0"),
        ("PFCOUNT h", ":0"),
        ("PFADD h a b c", ":1"),
        ("PFADD h a b c", ":0"),
        ("PFADD h d a", ":1"),
        ("PFCOUNT h", ":4"),
        ("PFCOUNT h", ":4"),
        ("PFCOUNT missing", ":0"),
        ("PFCOUNT missing h nothing", ":4"),
        ("TYPE h", "+string"),
        ("OBJECT ENCODING h", "'raw'"),
        ("PFADD one a", ":1"),
        ("GET one", r"'HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80q\xa6\x84NW'"),
        ("PFCOUNT one", ":1"),
        ("GET one", r"'HYLL\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00q\xa6\x84NW'"),
        ("EXPIRE h 1000", ":1"),
        ("PFADD h e", ":1"),
        ("TTL h", ":1000"),
        ("PFADD", "-ERR wrong number of arguments for 'pfadd' command"),
        ("PFCOUNT", "-ERR wrong number of arguments for 'pfcount' command"),
    ]);
}

#[test]
fn pfmerge_adds_the_sources_to_the_destination() {
    table(&[
        ("PFADD a 1 2 3", ":1"),
        ("PFADD b 3 4 5", ":1"),
        ("PFMERGE d a b missing", "+OK"),
        ("PFCOUNT d", ":5"),
        ("PFADD d 9", ":1"),
        ("PFMERGE d a", "+OK"),
        ("PFCOUNT d", ":6"),
        ("PFCOUNT a b d", ":6"),
        ("PFMERGE empty", "+OK"),
        ("PFCOUNT empty", ":0"),
        ("PFDEBUG ENCODING d", "+sparse"),
        ("PFDEBUG TODENSE a", ":1"),
        ("PFDEBUG TODENSE a", ":0"),
        ("PFMERGE d a", "+OK"),
        ("PFDEBUG ENCODING d", "+dense"),
        ("PFCOUNT d", ":6"),
        ("SET s x", "+OK"),
        ("PFMERGE d s", NOT_ONE),
        ("PFMERGE s d", NOT_ONE),
        ("PFMERGE", "-ERR wrong number of arguments for 'pfmerge' command"),
    ]);
}

#[test]
fn what_is_no_hyperloglog_is_refused() {
    table(&[
        ("SET s foo", "+OK"),
        ("PFADD s a", NOT_ONE),
        ("PFCOUNT s", NOT_ONE),
        ("PFCOUNT s missing", NOT_ONE),
        ("SET n 12345678901234567", "+OK"),
        ("PFADD n a", NOT_ONE),
        (r#"SET s "HYLL\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x7f\xff""#, "+OK"),
        ("PFCOUNT s", NOT_ONE),
        (r#"SET s "HYLL\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x7f\xff""#, "+OK"),
        ("PFCOUNT s", NOT_ONE),
        (r#"SET s "HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x7f\xff""#, "+OK"),
        ("OBJECT ENCODING s", "'embstr'"),
        ("PFCOUNT s", ":0"),
        ("OBJECT ENCODING s", "'raw'"),
        ("APPEND s hello", ":23"),
        // The kept count is looked at first.
        ("PFCOUNT s", ":0"),
        ("SETRANGE s 15 \"\\x80\"", ":23"),
        ("PFCOUNT s", DAMAGED),
        ("PFCOUNT s missing", DAMAGED),
        ("PFMERGE d s", DAMAGED),
        ("EXISTS d", ":0"),
        ("PFDEBUG TODENSE s", DAMAGED),
        ("PFDEBUG GETREG s", DAMAGED),
        ("PFADD s a", ":1"),
        (r#"SET s "HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00""#, "+OK"),
        ("PFADD s a", DAMAGED),
        ("GET s", r"'HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00'"),
    ]);
}

/// Alone: Redis keeps the elements before the one it stumbles over, though it answers with an error.
#[test]
fn a_refused_pfadd_changes_nothing() {
    let server = Server::slotcore(&[]);
    let client = &mut server.connect();
    // Covers 12000 registers: that of "hello", which is 9216, and not that of "a", which is 12711.
    let runs = r#"SET s "HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x6e\xdf""#;
    check(client, &[(runs, "+OK"), ("PFADD s hello a", DAMAGED)]);
    check(client, &[("PFDEBUG DECODE s", "'Z:12000'"), ("PFADD s hello", ":1")]);
}

#[test]
fn pfdebug_looks_inside() {
    table(&[
        ("PFADD h a b c", ":1"),
        ("PFDEBUG DECODE h", "'Z:8436 v:1,1 Z:4274 v:2,1 Z:3068 v:1,1 Z:603'"),
        ("PFDEBUG ENCODING h", "+sparse"),
        ("pfdebug encoding h", "+sparse"),
        ("PFDEBUG bogus h", "-ERR Unknown PFDEBUG subcommand 'bogus'"),
        ("PFDEBUG bogus missing", "-ERR The specified key does not exist"),
        ("SET s x", "+OK"),
        ("PFDEBUG bogus s", NOT_ONE),
        ("PFDEBUG TODENSE h", ":1"),
        ("PFDEBUG DECODE h", "-ERR HLL encoding is not sparse"),
        ("STRLEN h", ":12304"),
        ("PFDEBUG ENCODING", "-ERR wrong number of arguments for 'pfdebug' command"),
    ]);
    on_both(|server| {
        let client = &mut server.connect();
        client.must("PFADD h hello");
        let registers = client.must("PFDEBUG GETREG h");
        assert_eq!(registers.items().len(), 16384);
        let set: Vec<(usize, i64)> = registers
            .items()
            .iter()
            .map(|value| value.integer())
            .enumerate()
            .filter(|(_, value)| *value != 0)
            .collect();
        assert_eq!(set, [(9216, 1)]);
        check(client, &[("PFDEBUG ENCODING h", "+dense")]);
    });
}

#[test]
fn the_sparse_form_ends_where_the_directive_says() {
    on_both_with(&["--hll-sparse-max-bytes", "30"], |server| {
        let client = &mut server.connect();
        check(
            client,
            &[
                ("PFADD h a b c d", ":1"),
                ("STRLEN h", ":30"),
                ("PFDEBUG ENCODING h", "+sparse"),
                ("PFADD h e", ":1"),
                ("PFDEBUG ENCODING h", "+dense"),
                ("CONFIG SET hll-sparse-max-bytes 0", "+OK"),
                ("PFADD other a", ":1"),
                ("PFDEBUG ENCODING other", "+dense"),
                ("PFCOUNT h other", ":5"),
            ],
        );
    });
}

#[test]
fn pfselftest_passes() {
    let server = Server::slotcore(&[]);
    let client = &mut server.connect();
    client.set_read_timeout(Duration::from_secs(120));
    check(client, &[("PFSELFTEST", "+OK")]);
}

#[test]
fn pf_commands_refuse_other_types() {
    on_both(|server| {
        let client = &mut server.connect();
        if client.line("RPUSH list a").is_error() {
            return;
        }
        for line in ["PFADD list a", "PFCOUNT list", "PFCOUNT h list", "PFMERGE h list", "PFDEBUG ENCODING list"] {
            check(client, &[(line, WRONG_TYPE)]);
        }
    });
}

fn get(client: &mut Client, key: &str) -> Vec<u8> {
    client.must(&format!("GET {key}")).bytes().to_vec()
}

/// The other server counts the string as the one that made it does.
fn count_abroad(home: &mut Client, abroad: &mut Client) {
    let value = get(home, "h");
    abroad.cmd(&[b"SET".as_slice(), b"foreign", &value]);
    assert_eq!(abroad.must("PFCOUNT foreign").integer(), home.must("PFCOUNT h").integer());
}

/// The same elements give the same bytes, and each server counts what the other has made.
#[test]
fn strings_go_to_redis_and_back() {
    let (ours, theirs) = (Server::slotcore(&[]), Server::redis(&[]));
    let (ours, theirs) = (&mut ours.connect(), &mut theirs.connect());
    let mut random = Random::new(7);
    let mut added = 0;
    for total in [1, 5, 50, 500, 1500, 3000, 20_000] {
        while added < total {
            let count = random.below(100).min(total - added) + 1;
            let elements: Vec<String> = (0..count).map(|_| format!("element:{}", random.next())).collect();
            let line = format!("PFADD h {}", elements.join(" "));
            assert_eq!(ours.must(&line).to_string(), theirs.must(&line).to_string(), "{line}");
            added += count;
        }
        assert!(get(ours, "h") == get(theirs, "h"), "{added} elements make other bytes");
        count_abroad(ours, theirs);
        count_abroad(theirs, ours);
        assert!(get(ours, "h") == get(theirs, "h"), "the counts are kept otherwise after {added} elements");
        for client in [&mut *ours, &mut *theirs] {
            client.must("PFMERGE merged h");
        }
        assert!(get(ours, "merged") == get(theirs, "merged"), "{added} elements merge to other bytes");
    }
}

#[test]
fn a_run_that_has_no_room_is_refused_and_nothing_is_merged() {
    // As in every Redis since what CVE-2025-32023 tells of was mended, Debian's 7.0.15 among them; earlier ones merge what stands
    // before the run.
    let server = Server::slotcore(&[]);
    let client = &mut server.connect();
    check(client, &[("PFADD x a", ":1"), ("PFADD y b", ":1")]);
    client.cmd(&[&b"APPEND"[..], b"x", b"\xaa"]);
    let before = client.cmd(&[&b"GET"[..], b"y"]).bytes().to_vec();
    check(client, &[("PFCOUNT y x", DAMAGED), ("PFCOUNT x", DAMAGED), ("PFMERGE y x", DAMAGED)]);
    assert_eq!(client.cmd(&[&b"GET"[..], b"y"]).bytes(), before);
}
