//! What is in a slot goes with it: keys of all kinds, their times to live, files and replicas.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::super::moving::slot_of;
use super::super::nodes::{LIMIT, meet, node, replicate, wait_until_linked};
use super::{alone, core_of, has_several_cores, hop, start_again};
use crate::support::{Client, Kind, Server, check, holds_within, server};

/// Keys of every kind, small and large, some with a time to live.
fn fill(client: &mut Client, tag: &str) {
    let lines = [
        format!("SET {tag}string value"),
        format!("SET {tag}number 7 PX 100000000"),
        format!("RPUSH {tag}list a b c"),
        format!("HSET {tag}hash f 1 g 2"),
        format!("SADD {tag}ints 1 2 3"),
        format!("SADD {tag}set a b c"),
        format!("ZADD {tag}zset 1 a 2.5 b"),
        format!("XADD {tag}stream 1-1 f v"),
        format!("XGROUP CREATE {tag}stream group 0"),
        format!("XREADGROUP GROUP group me STREAMS {tag}stream >"),
        format!("SETRANGE {tag}long 100000 x"),
        format!("EXPIRE {tag}hash 10000"),
    ];
    client.pipeline(&lines).iter().for_each(|reply| assert!(!reply.is_error(), "{reply}"));
    let many: Vec<String> = (0..2000)
        .flat_map(|n| [format!("ZADD {tag}large-zset {n} member:{n}"), format!("SET {tag}many:{n} {n}")])
        .collect();
    client.pipeline(&many);
}

fn digest(client: &mut Client) -> String {
    client.must("DEBUG DIGEST").text()
}

#[test]
fn a_slot_is_given_to_another_core_with_all_its_keys() {
    if !has_several_cores() {
        return;
    }
    let server = alone(&[]);
    let (client, slot) = (&mut server.connect(), slot_of("tag"));
    fill(client, "{tag}");
    client.must("SET elsewhere 1");
    let (before, size) = (digest(client), client.must("DBSIZE").integer());
    for _ in 0..2 * server::cores() + 1 {
        hop(client, slot);
        assert_eq!(digest(client), before);
        assert_eq!(client.must("DBSIZE").integer(), size);
        assert_eq!(client.must(&format!("CLUSTER COUNTKEYSINSLOT {slot}")).integer(), size - 1);
        let mut seen = 0;
        let mut cursor = "0".to_owned();
        loop {
            let reply = client.must(&format!("SCAN {cursor} COUNT 500"));
            seen += reply.items()[1].items().len() as i64;
            cursor = reply.items()[0].text();
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen, size);
        check(client, &[("INCR {tag}number", ":8"), ("DECR {tag}number", ":7"), ("TYPE {tag}stream", "+stream")]);
    }
    check(client, &[("FLUSHALL", "+OK"), ("DBSIZE", ":0")]);
    hop(client, slot);
    check(client, &[("SET {tag}string v", "+OK"), ("DBSIZE", ":1")]);
}

#[test]
fn what_is_no_order_is_refused() {
    let server = alone(&[]);
    let client = &mut server.connect();
    let cores = server::cores();
    check(
        client,
        &[
            ("DEBUG SLOT-CORE 0", ":0"),
            ("DEBUG SLOT-CORE 0 0", "+OK"),
            (&format!("DEBUG SLOT-CORE 0 {cores}"), "-ERR Invalid or out of range core"),
            ("DEBUG SLOT-CORE 0 -1", "-ERR Invalid or out of range core"),
            ("DEBUG SLOT-CORE 16384", "-ERR Invalid or out of range slot"),
            ("DEBUG SLOT-CORE 16384 0", "-ERR Invalid or out of range slot"),
            ("CLUSTER DELSLOTS 64", "+OK"),
            ("DEBUG SLOT-CORE 64 0", "-ERR The slot is not served by this node"),
            ("CONFIG GET slots-rebalance", "['slots-rebalance', 'no']"),
        ],
    );
    let server = Server::slotcore(&["--enable-debug-command", "yes"]);
    check(&mut server.connect(), &[("DEBUG SLOT-CORE 0 0", "-ERR This instance has cluster support disabled")]);
}

#[test]
fn an_order_in_a_transaction_is_carried_out() {
    if !has_several_cores() {
        return;
    }
    let server = alone(&[]);
    let client = &mut server.connect();
    check(
        client,
        &[
            ("SET {tag}a 1", "+OK"),
            ("MULTI", "+OK"),
            (&format!("DEBUG SLOT-CORE {} 1", slot_of("tag")), "+QUEUED"),
            (&format!("DEBUG SLOT-CORE {} 0", slot_of("tag")), "+QUEUED"),
            ("EXEC", "[+OK, +OK]"),
            ("GET {tag}a", "'1'"),
        ],
    );
}

#[test]
fn keys_expire_on_the_core_that_they_have_come_to() {
    if !has_several_cores() {
        return;
    }
    let server = alone(&[]);
    let client = &mut server.connect();
    let lines: Vec<String> = (0..300).map(|n| format!("SET {{tag}}{n} v PX {}", 50 + n % 100)).collect();
    client.pipeline(&lines);
    hop(client, slot_of("tag"));
    // Nobody names them.
    let gone = holds_within(LIMIT, || client.must("DBSIZE").integer() == 0);
    assert!(gone, "{:?} keys are left", client.must("DBSIZE"));
    assert_eq!(client.info_number("expired_keys"), 300);
}

#[test]
fn append_only_files_have_changes_of_all_cores_in_their_order() {
    if !has_several_cores() {
        return;
    }
    for policy in ["always", "everysec"] {
        let mut server = alone(&["--appendonly", "yes", "--appendfsync", policy]);
        let client = &mut server.connect();
        let slot = slot_of("tag");
        let mut at = core_of(client, slot);
        for number in 0..10 {
            client.must(&format!("APPEND {{tag}}a {number}"));
            for line in ["INCR {tag}c", "RPUSH {tag}l y", "APPEND other z"] {
                client.must(line);
            }
            if number == 3 {
                client.must("BGREWRITEAOF");
            }
            if number < 9 {
                at = hop(client, slot);
            }
        }
        let before = digest(client);
        if policy == "everysec" {
            client.must("WAITAOF 1 0 0");
        }
        server.signal(Signal::SIGKILL);
        server.wait_for_exit();
        let redis = crate::append_only::read_by_redis(&server);
        check(
            &mut redis.connect(),
            &[
                ("GET {tag}a", "'0123456789'"),
                ("GET {tag}c", "'10'"),
                ("LLEN {tag}l", ":10"),
                ("GET other", "'zzzzzzzzzz'"),
            ],
        );
        let client = &mut start_again(&mut server);
        assert_eq!(digest(client), before, "{policy}: the slot was last on core {at}");
        check(
            client,
            &[
                ("GET {tag}a", "'0123456789'"),
                ("GET {tag}c", "'10'"),
                ("LLEN {tag}l", ":10"),
                ("GET other", "'zzzzzzzzzz'"),
            ],
        );
        // By the table that it has now, it can do it again.
        hop(client, slot);
        client.must("INCR {tag}c");
        let before = digest(client);
        client.must("DEBUG LOADAOF");
        assert_eq!(digest(client), before, "{policy}");
    }
}

/// FLUSHALL is done by each core in its own time: it must meet a slot on one of them, and what the files and a replica are told of
/// it must fit in.
#[test]
fn a_flush_takes_slots_that_hop_as_well() {
    if !has_several_cores() {
        return;
    }
    let primary = alone(&["--appendonly", "yes", "--appendfsync", "no"]);
    let replica = node(Kind::Slotcore, &[]);
    meet(&primary, &[&replica]);
    replicate(&[&primary, &replica], &replica, &primary);
    wait_until_linked(&replica);
    let (client, stop) = (&mut primary.connect(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let hopping = &mut primary.connect();
            while !stop.load(Ordering::Relaxed) {
                hop(hopping, slot_of("tag"));
            }
        });
        for round in 0..60 {
            client.pipeline(&["SET {tag}a 1", "RPUSH {tag}b 1", "SET elsewhere 1"]);
            check(client, &[("FLUSHALL", "+OK"), ("DBSIZE", ":0"), ("EXISTS {tag}a {tag}b", ":0")]);
            client.must(&format!("SET {{tag}}last {round}"));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(client.must("WAIT 1 10000").integer(), 1);
    let before = digest(client);
    assert_eq!(digest(&mut replica.connect()), before);
    client.must("DEBUG LOADAOF");
    assert_eq!(digest(client), before);
    check(client, &[("GET {tag}last", "'59'"), ("DBSIZE", ":1")]);
}

#[test]
fn a_slot_waits_for_keys_that_are_on_their_way() {
    if !has_several_cores() {
        return;
    }
    let server = alone(&[]);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = silent.local_addr().expect("an address").port();
    let (client, mover) = (&mut server.connect(), &mut server.connect());
    client.must("SET {tag}a 1");
    let line = format!("MIGRATE 127.0.0.1 {port} {{tag}}a 0 500");
    mover.send(&crate::support::client::encode(&crate::support::client::split_line(&line)));
    let reader = &mut server.connect();
    assert!(holds_within(LIMIT, || reader.info_number("migrate_cached_sockets") == 1));
    let begun = Instant::now();
    hop(client, slot_of("tag"));
    assert!(begun.elapsed() > Duration::from_millis(300), "{:?}", begun.elapsed());
    assert!(mover.read().to_string().starts_with("-IOERR"));
    check(client, &[("GET {tag}a", "'1'"), ("SET {tag}a 2", "+OK")]);
    drop(silent);
}

#[test]
fn a_snapshot_under_way_has_every_key_once() {
    if !has_several_cores() {
        return;
    }
    let mut server = alone(&["--rdb-key-save-delay", "100"]);
    let client = &mut server.connect();
    let tags = ["{a}", "{b}"];
    tags.iter().for_each(|tag| fill(client, tag));
    client.must("DEBUG POPULATE 40000");
    let before = digest(client);
    client.must("BGSAVE");
    for round in 0..3 {
        for tag in tags {
            hop(client, slot_of(tag.trim_matches(['{', '}'])));
            client.pipeline(&[format!("APPEND {tag}string x"), format!("SET {tag}after{round} x")]);
            client.pipeline(&[format!("DEL {tag}many:{round}"), format!("ZADD {tag}large-zset 7 member:{round}")]);
        }
    }
    assert_eq!(client.info("rdb_bgsave_in_progress").as_deref(), Some("1"), "the test shows nothing");
    client.must("CONFIG SET rdb-key-save-delay 0");
    let saved = holds_within(LIMIT, || client.info("rdb_bgsave_in_progress").as_deref() == Some("0"));
    assert!(saved && client.info("rdb_last_bgsave_status").as_deref() == Some("ok"));
    server.signal(Signal::SIGKILL);
    server.wait_for_exit();
    assert_eq!(digest(&mut start_again(&mut server)), before);
}

#[test]
fn a_replica_has_what_the_cores_have() {
    if !has_several_cores() {
        return;
    }
    let primary = alone(&[]);
    let replica = node(Kind::Slotcore, &[]);
    meet(&primary, &[&replica]);
    replicate(&[&primary, &replica], &replica, &primary);
    wait_until_linked(&replica);
    let client = &mut primary.connect();
    let slot = slot_of("tag");
    fill(client, "{tag}");
    for _ in 0..20 {
        client.pipeline(&["APPEND {tag}a x", "INCR {tag}c", "RPUSH {tag}l y", "LPOP {tag}l", "APPEND {tag}a y"]);
        hop(client, slot);
    }
    assert_eq!(client.must("WAIT 1 10000").integer(), 1);
    assert_eq!(digest(&mut replica.connect()), digest(client));
    check(
        &mut replica.connect(),
        &[(&format!("DEBUG SLOT-CORE {slot} 1"), "-ERR The slot is not served by this node")],
    );
}

/// What the README says of it. With `SLOTCORE_HAND_OVER_KEYS` a slot of so many keys.
#[test]
fn the_time_without_service_does_not_depend_on_what_is_in_a_slot() {
    if !has_several_cores() {
        return;
    }
    let keys = crate::support::number_from_env("SLOTCORE_HAND_OVER_KEYS", 100_000);
    let server = alone(&["--loglevel", "debug"]);
    let client = &mut server.connect();
    client.must(&format!("DEBUG POPULATE {keys} {{large}}"));
    client.must("SET {small} 1");
    for tag in ["small", "large"] {
        let slot = slot_of(tag);
        let mut longest = Duration::ZERO;
        for _ in 0..30 {
            let begun = Instant::now();
            hop(client, slot);
            longest = longest.max(begun.elapsed());
        }
        println!("{tag}: an order and two looks at most {longest:?}");
    }
    let log = server.log();
    let mut held: Vec<u64> = log
        .lines()
        .filter_map(|line| line.split("were held back for ").nth(1)?.strip_suffix(" us")?.parse().ok())
        .collect();
    assert_eq!(held.len(), 60, "{log}");
    let large = &mut held[30..];
    large.sort_unstable();
    println!("{keys} keys: requests were held back for {} us in the median, {} us at most", large[15], large[29]);
    // Generous: other tests have the same processors.
    assert!(large[15] < 20_000, "{large:?}");
    assert_eq!(client.must(&format!("CLUSTER COUNTKEYSINSLOT {}", slot_of("large"))).integer(), keys as i64);
}
