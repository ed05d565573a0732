//! A cluster of one node: slots are assigned, keys hash to them, the node keeps its file.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{Client, Kind, Server, check, holds_within, on_both_with};

const CLUSTER: &[&str] = &["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];

fn state_becomes(client: &mut Client, state: &str) {
    let expected = format!("cluster_state:{state}");
    let came = holds_within(std::time::Duration::from_secs(10), || {
        client.must("CLUSTER INFO").text().lines().any(|line| line == expected)
    });
    assert!(came, "the state does not become {state}: {}", client.must("CLUSTER INFO").text());
}

/// All slots on this node, and the state that follows.
pub fn own_all_slots(client: &mut Client) {
    client.must("CLUSTER ADDSLOTSRANGE 0 16383");
    state_becomes(client, "ok");
}

fn on_cluster(rows: &[(&str, &str)]) {
    on_both_with(CLUSTER, |server| {
        let client = &mut server.connect();
        own_all_slots(client);
        check(client, rows);
    });
}

#[test]
fn keyslot_hashes_the_tag_alone() {
    on_cluster(&[
        ("CLUSTER KEYSLOT foo", ":12182"),
        ("CLUSTER KEYSLOT bar", ":5061"),
        ("CLUSTER KEYSLOT {foo}bar", ":12182"),
        ("CLUSTER KEYSLOT bar{foo}{bar}", ":12182"),
        ("CLUSTER KEYSLOT {}foo", ":9500"),
        ("CLUSTER KEYSLOT {foo", ":13308"),
        ("CLUSTER KEYSLOT 123456789", ":12739"),
        ("CLUSTER KEYSLOT ''", ":0"),
        ("CLUSTER KEYSLOT", "-ERR wrong number of arguments for 'cluster|keyslot' command"),
    ]);
}

#[test]
fn keys_of_several_slots_do_not_meet_in_one_command() {
    const CROSSSLOT: &str = "-CROSSSLOT Keys in request don't hash to the same slot";
    on_cluster(&[
        ("MSET foo 1 bar 2", CROSSSLOT),
        ("MSET {t}foo 1 {t}bar 2", "+OK"),
        ("MGET {t}bar {t}foo {t}baz", "['2', '1', nil]"),
        ("MGET foo bar", CROSSSLOT),
        ("DEL foo bar", CROSSSLOT),
        ("RENAME foo bar", CROSSSLOT),
        ("COPY foo bar", CROSSSLOT),
        ("COPY {t}foo {t}new", ":1"),
        ("LCS foo bar", CROSSSLOT),
        ("LCS {t}foo {t}bar", "''"),
        ("RENAME {t}foo {t}moved", "+OK"),
        ("EXISTS {t}foo {t}bar {t}new {t}moved", ":3"),
        ("UNLINK {t}bar {t}new {t}moved", ":3"),
    ]);
}

#[test]
fn a_cluster_node_has_one_database() {
    on_cluster(&[
        ("SELECT 0", "+OK"),
        ("SELECT 1", "-ERR SELECT is not allowed in cluster mode"),
        ("SWAPDB 0 1", "-ERR SWAPDB is not allowed in cluster mode"),
        ("SET k v", "+OK"),
        ("MOVE k 1", "-ERR MOVE is not allowed in cluster mode"),
        // 7.0: "Copying to another database is not allowed in cluster mode"; 7.2 has no other database to name.
        ("COPY k {k}2 DB 1", "-ERR..."),
        ("COPY k {k}2 DB 0", ":1"),
        ("READONLY", "+OK"),
        ("GET k", "'v'"),
        ("READWRITE", "+OK"),
        ("ASKING", "+OK"),
        ("GET k", "'v'"),
    ]);
}

#[test]
fn slots_nobody_serves_answer_clusterdown() {
    on_both_with(CLUSTER, |server| {
        let client = &mut server.connect();
        check(
            client,
            &[
                ("GET foo", "-CLUSTERDOWN Hash slot not served"),
                ("SET foo v", "-CLUSTERDOWN Hash slot not served"),
                ("PING", "+PONG"),
                ("DBSIZE", ":0"),
                ("CLUSTER ADDSLOTS 12182", "+OK"),
            ],
        );
        state_becomes(client, "fail");
        check(
            client,
            &[("GET foo", "-CLUSTERDOWN The cluster is down"), ("GET bar", "-CLUSTERDOWN Hash slot not served")],
        );
        check(client, &[("CONFIG SET cluster-require-full-coverage no", "+OK")]);
        state_becomes(client, "ok");
        check(client, &[("SET foo v", "+OK"), ("GET foo", "'v'"), ("GET bar", "-CLUSTERDOWN Hash slot not served")]);
    });
}

#[test]
fn slots_are_added_deleted_and_flushed() {
    on_both_with(CLUSTER, |server| {
        let client = &mut server.connect();
        check(
            client,
            &[
                ("CLUSTER ADDSLOTS 0 1 2", "+OK"),
                ("CLUSTER ADDSLOTS 3 2", "-ERR Slot 2 is already busy"),
                ("CLUSTER ADDSLOTS 3 3", "-ERR Slot 3 specified multiple times"),
                ("CLUSTER ADDSLOTS 16384", "-ERR Invalid or out of range slot"),
                ("CLUSTER ADDSLOTS x", "-ERR Invalid or out of range slot"),
                ("CLUSTER ADDSLOTSRANGE 10 20 30 40", "+OK"),
                ("CLUSTER ADDSLOTSRANGE 60 50", "-ERR start slot number 60 is greater than end slot number 50"),
                ("CLUSTER ADDSLOTSRANGE 50", "-ERR wrong number of arguments for 'cluster|addslotsrange' command"),
                (
                    "CLUSTER ADDSLOTSRANGE 50 60 70",
                    "-ERR wrong number of arguments for 'cluster|addslotsrange' command",
                ),
                ("CLUSTER DELSLOTS 1", "+OK"),
                ("CLUSTER DELSLOTS 1", "-ERR Slot 1 is already unassigned"),
                ("CLUSTER DELSLOTSRANGE 12 14", "+OK"),
            ],
        );
        let nodes = client.must("CLUSTER NODES").text();
        assert!(nodes.trim_end().ends_with(" connected 0 2 10-11 15-20 30-40"), "{nodes}");
        client.must("CLUSTER FLUSHSLOTS");
        let nodes = client.must("CLUSTER NODES").text();
        assert!(nodes.trim_end().ends_with(" connected"), "{nodes}");
        own_all_slots(client);
        client.must("SET k v");
        check(client, &[("CLUSTER FLUSHSLOTS", "-ERR DB must be empty to perform CLUSTER FLUSHSLOTS.")]);
    });
}

#[test]
fn info_nodes_slots_and_shards_describe_the_node() {
    on_both_with(CLUSTER, |server| {
        let client = &mut server.connect();
        own_all_slots(client);
        let id = client.must("CLUSTER MYID").text();
        assert!(id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        let port = server.port;
        let nodes = client.must("CLUSTER NODES").text();
        let words: Vec<&str> = nodes.trim_end().split(' ').collect();
        assert_eq!(words[0], id);
        assert!(words[1].starts_with(&format!(":{port}@{}", port + 10_000)), "{nodes}");
        assert_eq!(&words[2..4], ["myself,master", "-"]);
        assert_eq!(&words[7..], ["connected", "0-16383"]);
        let slots = client.must("CLUSTER SLOTS").to_string();
        assert!(slots.starts_with(&format!("[[:0, :16383, ['', :{port}, '{id}'")), "{slots}");
        let shards = client.must("CLUSTER SHARDS");
        let shard = &shards.items()[0];
        assert_eq!(shard.field("slots").expect("slots").to_string(), "[:0, :16383]");
        let node = &shard.field("nodes").expect("nodes").items()[0];
        assert_eq!(node.field("id").expect("id").text(), id);
        assert_eq!(node.field("port").expect("port").integer(), i64::from(port));
        assert_eq!(node.field("role").expect("role").text(), "master");
        assert_eq!(node.field("health").expect("health").text(), "online");
        let info = client.must("CLUSTER INFO").text();
        for line in [
            "cluster_state:ok",
            "cluster_slots_assigned:16384",
            "cluster_slots_ok:16384",
            "cluster_slots_pfail:0",
            "cluster_slots_fail:0",
            "cluster_known_nodes:1",
            "cluster_size:1",
            "cluster_current_epoch:0",
            "cluster_my_epoch:0",
        ] {
            assert!(info.lines().any(|got| got == line), "{line} is not in {info}");
        }
        assert_eq!(client.info("redis_mode").as_deref(), Some("cluster"));
        assert_eq!(client.info("cluster_enabled").as_deref(), Some("1"));
        if server.is_72() {
            assert_eq!(client.must("CLUSTER MYSHARDID").text().len(), 40);
        }
    });
}

#[test]
fn keys_are_counted_and_listed_by_slot() {
    on_both_with(CLUSTER, |server| {
        let client = &mut server.connect();
        own_all_slots(client);
        let lines: Vec<String> = (0..100).map(|n| format!("SET {{foo}}{n} {n}")).collect();
        client.pipeline(&lines);
        check(
            client,
            &[
                ("SET bar 1", "+OK"),
                ("CLUSTER COUNTKEYSINSLOT 12182", ":100"),
                ("CLUSTER COUNTKEYSINSLOT 5061", ":1"),
                ("CLUSTER COUNTKEYSINSLOT 0", ":0"),
                ("CLUSTER COUNTKEYSINSLOT 16384", "-ERR Invalid slot"),
                ("CLUSTER GETKEYSINSLOT 5061 10", "['bar']"),
                ("CLUSTER GETKEYSINSLOT 0 10", "[]"),
                ("CLUSTER GETKEYSINSLOT 0 -1", "-ERR Invalid slot or number of keys"),
                ("CLUSTER GETKEYSINSLOT 16384 1", "-ERR Invalid slot or number of keys"),
                ("DBSIZE", ":101"),
            ],
        );
        assert_eq!(client.must("CLUSTER GETKEYSINSLOT 12182 10").items().len(), 10);
        let listed = client.must("CLUSTER GETKEYSINSLOT 12182 1000");
        let keys: BTreeSet<String> = listed.items().iter().map(|key| key.text()).collect();
        assert_eq!(keys.len(), 100);
        check(client, &[("DEL {foo}1", ":1"), ("CLUSTER COUNTKEYSINSLOT 12182", ":99")]);
        check(client, &[("FLUSHALL", "+OK"), ("CLUSTER COUNTKEYSINSLOT 12182", ":0"), ("DBSIZE", ":0")]);
    });
}

#[test]
fn keys_in_every_slot_are_scanned_counted_and_read_over_any_connection() {
    on_both_with(CLUSTER, |server| {
        let client = &mut server.connect();
        own_all_slots(client);
        let lines: Vec<String> = (0..20_000).map(|n| format!("SET key:{n} {n}")).collect();
        for chunk in lines.chunks(2000) {
            server.connect().pipeline(chunk);
        }
        assert_eq!(client.must("DBSIZE").integer(), 20_000);
        let mut cursor = "0".to_owned();
        let mut seen = BTreeSet::new();
        let mut calls = 0;
        loop {
            let reply = client.must(&format!("SCAN {cursor} COUNT 1000"));
            seen.extend(reply.items()[1].items().iter().map(|key| key.text()));
            cursor = reply.items()[0].text();
            calls += 1;
            assert!(calls < 100_000, "SCAN does not end");
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 20_000);
        assert_eq!(client.must("KEYS *").items().len(), 20_000);
        assert_eq!(client.must("KEYS key:1999?").items().len(), 10);
        for n in (0..20_000).step_by(37) {
            assert_eq!(client.line(&format!("GET key:{n}")).text(), n.to_string());
        }
        client.must("FLUSHDB");
        assert_eq!(client.must("DBSIZE").integer(), 0);
    });
}

#[test]
fn what_concerns_every_key_keeps_its_place_in_a_pipeline() {
    on_both_with(CLUSTER, |server| {
        own_all_slots(&mut server.connect());
        for connection in 0..8 {
            let client = &mut server.connect();
            for round in 0..20 {
                let flush = ["FLUSHALL SYNC", "FLUSHALL ASYNC", "FLUSHDB"][round % 3].to_owned();
                let sets = (0..50).map(|n| format!("SET key:{connection}:{n} {round}"));
                let counts = ["DBSIZE", "KEYS *", "FLUSHDB", "DBSIZE", "RANDOMKEY"].map(str::to_owned);
                let lines: Vec<String> = std::iter::once(flush).chain(sets).chain(counts).collect();
                let replies = client.pipeline(&lines);
                let [.., size, keys, _, empty, nothing] = replies.as_slice() else { panic!("a reply for each line") };
                assert_eq!((size.integer(), keys.items().len(), empty.integer()), (50, 50, 0), "round {round}");
                assert!(nothing.is_nil());
            }
        }
    });
}

#[test]
fn nodes_conf_carries_identity_and_slots_over_a_restart() {
    for kind in [Kind::Slotcore, Kind::Redis] {
        let mut server = Server::start(kind, CLUSTER);
        let client = &mut server.connect();
        client.must("CLUSTER ADDSLOTSRANGE 0 5 7 16383");
        let id = client.must("CLUSTER MYID").text();
        let text = fs::read_to_string(server.dir.join("nodes.conf")).expect("nodes.conf");
        assert!(text.contains(&format!("{id} ")), "{text}");
        assert!(text.contains("myself,master - 0 0 0 connected 0-5 7-16383"), "{text}");
        assert!(text.trim_end().ends_with("vars currentEpoch 0 lastVoteEpoch 0"), "{text}");
        server.restart();
        let client = &mut server.connect();
        assert_eq!(client.must("CLUSTER MYID").text(), id);
        assert!(client.must("CLUSTER NODES").text().trim_end().ends_with(" 0-5 7-16383"));
        client.must("CLUSTER ADDSLOTS 6");
        server.signal(nix::sys::signal::Signal::SIGKILL);
        server.wait_for_exit();
        server.restart();
        let client = &mut server.connect();
        assert!(client.must("CLUSTER NODES").text().trim_end().ends_with(" 0-16383"), "{kind:?} lost a slot");
        state_becomes(client, "ok");
        check(client, &[("SET foo v", "+OK")]);
    }
}

#[test]
fn a_nodes_conf_of_redis_is_taken_over() {
    let mut old = Server::redis(CLUSTER);
    let client = &mut old.connect();
    client.must("CLUSTER ADDSLOTSRANGE 0 16383");
    let id = client.must("CLUSTER MYID").text();
    old.stop();
    let mut new = Server::slotcore(CLUSTER);
    new.stop();
    fs::copy(old.dir.join("nodes.conf"), new.dir.join("nodes.conf")).expect("a copy");
    new.restart();
    let client = &mut new.connect();
    assert_eq!(client.must("CLUSTER MYID").text(), id);
    state_becomes(client, "ok");
}

#[test]
fn cluster_reset_needs_an_empty_node_and_forgets_slots() {
    on_both_with(CLUSTER, |server| {
        let client = &mut server.connect();
        own_all_slots(client);
        let id = client.must("CLUSTER MYID").text();
        check(
            client,
            &[
                ("SET k v", "+OK"),
                ("CLUSTER RESET", "-ERR CLUSTER RESET can't be called with master nodes containing keys"),
                ("CLUSTER RESET BOGUS", "-ERR..."),
                ("FLUSHALL", "+OK"),
                ("CLUSTER RESET SOFT", "+OK"),
            ],
        );
        assert_eq!(client.must("CLUSTER MYID").text(), id);
        assert!(client.must("CLUSTER NODES").text().trim_end().ends_with(" connected"));
        client.must("CLUSTER RESET HARD");
        assert_ne!(client.must("CLUSTER MYID").text(), id);
    });
}

#[test]
fn cluster_commands_need_cluster_mode() {
    on_both_with(&[], |server| {
        check(
            &mut server.connect(),
            &[
                ("CLUSTER INFO", "-ERR This instance has cluster support disabled"),
                ("CLUSTER KEYSLOT foo", "-ERR This instance has cluster support disabled"),
                ("READONLY", "-ERR This instance has cluster support disabled"),
                ("READWRITE", "-ERR This instance has cluster support disabled"),
                ("ASKING", "-ERR This instance has cluster support disabled"),
                ("CLUSTER NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try CLUSTER HELP."),
            ],
        );
    });
}
