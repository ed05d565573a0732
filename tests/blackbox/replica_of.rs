//! Slotcore as a replica of redis-server: what clients of a replica see, and how it comes to its primary's data.
//!
//! Pairings under load, cuts and damage are in `replication`. Most tests here have redis-server in slotcore's place, too.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{Client, Kind, Server, holds_within};

const LIMIT: Duration = Duration::from_secs(60);

const PROMPT: &[&str] =
    &["--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];

fn node(kind: Kind, args: &[&str]) -> Server {
    Server::start(kind, &[PROMPT, args].concat())
}

fn follow(replica: &mut Client, primary: &Server) {
    replica.must(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
}

fn wait_for(client: &mut Client, field: &str, value: &str) {
    let holds = holds_within(LIMIT, || client.info(field).as_deref() == Some(value));
    assert!(holds, "{field} is not {value}:\n{}", client.cmd(&["INFO", "replication"]).text());
}

/// Waits until the replica has applied all that the primary has written.
fn settle(primary: &mut Client, replica: &mut Client) {
    wait_for(replica, "master_link_status", "up");
    let place = |client: &mut Client, field| client.info(field).and_then(|text| text.parse::<i64>().ok());
    let settled = holds_within(LIMIT, || place(primary, "master_repl_offset") == place(replica, "slave_repl_offset"));
    assert!(settled, "not in step:\n{}", replica.cmd(&["INFO", "replication"]).text());
}

fn digest(client: &mut Client) -> String {
    client.cmd(&["DEBUG", "DIGEST"]).text()
}

/// A primary of redis-server and a replica of each kind, in step.
fn on_each(args: &[&str], test: impl Fn(&Server, &Server, &mut Client, &mut Client)) {
    for kind in [Kind::Redis, Kind::Slotcore] {
        let (primary, replica) = (node(Kind::Redis, args), node(kind, args));
        let (mut at_primary, mut at_replica) = (primary.connect(), replica.connect());
        follow(&mut at_replica, &primary);
        settle(&mut at_primary, &mut at_replica);
        test(&primary, &replica, &mut at_primary, &mut at_replica);
    }
}

#[test]
fn a_stream_with_databases_and_transactions_is_applied() {
    on_each(&[], |_, _, primary, replica| {
        for line in [
            "SET a 1",
            "SELECT 3",
            "RPUSH l 1 2 3",
            "MULTI",
            "SADD s x y",
            "SELECT 5",
            "HSET h f v",
            "EXEC",
            "ZADD z 1 a 2 b",
            "XADD x 1-1 f v",
            "SELECT 0",
            "SPOP nothing",
            "INCRBY n 5",
            "SWAPDB 0 3",
            "SETEX t 100 v",
            "MOVE n 7",
        ] {
            primary.must(line);
        }
        settle(primary, replica);
        assert_eq!(digest(primary), digest(replica));
        primary.must("FLUSHALL");
        primary.must("SET b 2");
        settle(primary, replica);
        assert_eq!((digest(primary), replica.line("DBSIZE").to_string()), (digest(replica), ":1".to_owned()));
    });
}

#[test]
fn large_values_come_whole() {
    on_each(&[], |_, _, primary, replica| {
        let large = vec![b'x'; 64 << 20];
        assert_eq!(primary.cmd(&[b"SET", &b"large"[..], &large]).to_string(), "+OK");
        primary.must("SET small 1");
        settle(primary, replica);
        assert_eq!(replica.cmd(&["STRLEN", "large"]).to_string(), format!(":{}", 64 << 20));
        assert_eq!(digest(primary), digest(replica));
    });
}

#[test]
fn clients_of_a_replica_only_read() {
    on_each(&[], |_, _, primary, replica| {
        primary.must("SET a 1");
        settle(primary, replica);
        let refused = "-READONLY You can't write against a read only replica.";
        assert_eq!(replica.line("SET a 2").to_string(), refused);
        assert_eq!(replica.line("BLPOP l 0").to_string(), refused);
        assert_eq!(replica.line("GET a").to_string(), "'1'");
        replica.must("MULTI");
        assert_eq!(replica.line("SET a 2").to_string(), refused);
        assert!(replica.line("EXEC").to_string().starts_with("-EXECABORT"));
        replica.must("CONFIG SET replica-read-only no");
        replica.must("SET own 2");
        assert_eq!(replica.info("slave_read_only").as_deref(), Some("0"));
        assert!(replica.cmd(&["CLIENT", "LIST", "TYPE", "master"]).text().contains(" flags=M "));
        assert_eq!(replica.must("ROLE").to_string().matches("connected").count(), 1);
    });
}

#[test]
fn a_replica_keeps_what_has_expired_until_its_primary_says_so() {
    on_each(&["--hz", "500"], |_, _, primary, replica| {
        primary.must("DEBUG SET-ACTIVE-EXPIRE 0");
        primary.must("SET e v PX 1");
        primary.must("SET k v");
        settle(primary, replica);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(replica.line("GET e").to_string(), "nil");
        assert_eq!(replica.line("DBSIZE").to_string(), ":2");
        assert_eq!(primary.line("GET e").to_string(), "nil");
        settle(primary, replica);
        assert_eq!(replica.line("DBSIZE").to_string(), ":1");
    });
}

#[test]
fn a_cut_link_goes_on_where_it_was() {
    on_each(&[], |_, _, primary, replica| {
        for round in 1..=5 {
            primary.must("MULTI");
            primary.must("SELECT 2");
            primary.must("INCR n");
            primary.must("EXEC");
            assert_eq!(primary.line("CLIENT KILL TYPE replica").to_string(), ":1");
            primary.must("INCR n");
            let resumed = holds_within(LIMIT, || primary.info_number("sync_partial_ok") == round);
            assert!(resumed, "{} partial", primary.info_number("sync_partial_ok"));
        }
        // The primary has counted the last one before the replica has heard of it.
        wait_for(replica, "master_link_status", "up");
        assert_eq!(replica.must("CLIENT KILL TYPE master").integer(), 1);
        assert!(holds_within(LIMIT, || primary.info_number("sync_partial_ok") == 6));
        settle(primary, replica);
        assert_eq!((primary.info_number("sync_full"), digest(primary)), (1, digest(replica)));
    });
}

#[test]
fn without_its_primary_a_replica_is_stale() {
    on_each(&["--repl-timeout", "5"], |_, _, primary, replica| {
        primary.must("SET a 1");
        settle(primary, replica);
        primary.send(b"*3\r\n$8\r\nSHUTDOWN\r\n$6\r\nNOSAVE\r\n$3\r\nNOW\r\n");
        wait_for(replica, "master_link_status", "down");
        assert_eq!(replica.line("GET a").to_string(), "'1'");
        replica.must("CONFIG SET replica-serve-stale-data no");
        let refused = "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
        assert_eq!(replica.line("GET a").to_string(), refused);
        assert_eq!(replica.line("PING").to_string(), refused);
        replica.must("INFO");
        assert_eq!(replica.info_number("master_last_io_seconds_ago"), -1);
        assert!(replica.info_number("master_link_down_since_seconds") >= 0);
        replica.must("REPLICAOF NO ONE");
        assert_eq!(replica.line("GET a").to_string(), "'1'");
    });
}

#[test]
fn a_primary_that_was_killed_is_followed_again() {
    for kind in [Kind::Redis, Kind::Slotcore] {
        let (mut primary, replica) = (node(Kind::Redis, &[]), node(kind, &[]));
        let mut at_replica = replica.connect();
        primary.connect().must("SET old 1");
        follow(&mut at_replica, &primary);
        settle(&mut primary.connect(), &mut at_replica);
        primary.signal(Signal::SIGKILL);
        primary.wait_for_exit();
        wait_for(&mut at_replica, "master_link_status", "down");
        primary.restart();
        primary.connect().must("SET new 1");
        settle(&mut primary.connect(), &mut at_replica);
        assert_eq!(at_replica.line("EXISTS old").to_string(), ":0");
        assert_eq!(digest(&mut primary.connect()), digest(&mut at_replica));
    }
}

#[test]
fn a_wrong_password_is_tried_again_until_it_is_right() {
    for kind in [Kind::Redis, Kind::Slotcore] {
        let primary = node(Kind::Redis, &["--requirepass", "secret"]);
        let replica = node(kind, &["--masterauth", "wrong"]);
        let mut at_replica = replica.connect();
        follow(&mut at_replica, &primary);
        assert!(holds_within(LIMIT, || replica.log().contains("Unable to AUTH to MASTER: -WRONGPASS")));
        assert_eq!(at_replica.info("master_link_status").as_deref(), Some("down"));
        at_replica.must("CONFIG SET masterauth secret");
        wait_for(&mut at_replica, "master_link_status", "up");
    }
}

#[test]
fn replicaof_answers_as_redis_does() {
    for kind in [Kind::Redis, Kind::Slotcore] {
        let (primary, replica) = (node(Kind::Redis, &[]), node(kind, &[]));
        let mut client = replica.connect();
        assert_eq!(client.line("REPLICAOF NO ONE").to_string(), "+OK");
        assert_eq!(client.line("REPLICAOF 127.0.0.1 70000").to_string(), "-ERR Invalid master port");
        client.must("MULTI");
        client.must(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
        client.must("EXEC");
        let already = client.line(&format!("SLAVEOF 127.0.0.1 {}", primary.port)).to_string();
        assert_eq!(already, "+OK Already connected to specified master");
        wait_for(&mut client, "master_link_status", "up");
        assert_eq!(client.info("role").as_deref(), Some("slave"));
        let shown = client.cmd(&["CONFIG", "GET", "replicaof"]).to_string();
        assert!(shown.contains(&format!("127.0.0.1 {}", primary.port)), "{shown}");
        assert!(client.line("WAIT 1 0").to_string().starts_with("-ERR WAIT cannot be used with replica instances"));
        client.must("REPLICAOF NO ONE");
        assert_eq!(client.info("role").as_deref(), Some("master"));
        client.must("SET a 1");
    }
}

#[test]
fn clients_that_wait_are_sent_away_when_the_node_becomes_a_replica() {
    for kind in [Kind::Redis, Kind::Slotcore] {
        let (primary, replica) = (node(Kind::Redis, &[]), node(kind, &[]));
        let (mut waiting, mut client) = (replica.connect(), replica.connect());
        waiting.send(b"*3\r\n$5\r\nBLPOP\r\n$1\r\nl\r\n$1\r\n0\r\n");
        wait_for(&mut client, "blocked_clients", "1");
        follow(&mut client, &primary);
        let told = "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n";
        assert_eq!(String::from_utf8_lossy(&waiting.read_until_closed()), told);
    }
}

#[test]
fn messages_reach_subscribers_of_the_replica() {
    on_each(&[], |_, server, primary, _| {
        let mut listener = server.connect();
        listener.must("SUBSCRIBE c");
        primary.must("PUBLISH c hello");
        assert!(listener.read().to_string().contains("hello"));
    });
}

#[test]
fn a_restarted_replica_goes_on_where_its_snapshot_is() {
    for kind in [Kind::Redis, Kind::Slotcore] {
        let primary = node(Kind::Redis, &[]);
        let mut at_primary = primary.connect();
        let mut replica = node(kind, &["--replicaof", &format!("127.0.0.1 {}", primary.port)]);
        settle(&mut at_primary, &mut replica.connect());
        at_primary.must("SELECT 4");
        at_primary.must("SET a 1");
        settle(&mut at_primary, &mut replica.connect());
        replica.connect().send(b"*2\r\n$8\r\nSHUTDOWN\r\n$4\r\nSAVE\r\n");
        replica.wait_for_exit();
        at_primary.must("SET b 2");
        replica.restart();
        settle(&mut at_primary, &mut replica.connect());
        assert_eq!(digest(&mut at_primary), digest(&mut replica.connect()));
        assert_eq!((at_primary.info_number("sync_full"), at_primary.info_number("sync_partial_ok")), (1, 1));
    }
}

#[test]
fn append_only_files_of_a_replica_have_its_primarys_data() {
    for kind in [Kind::Redis, Kind::Slotcore] {
        let (primary, mut replica) = (node(Kind::Redis, &[]), node(kind, &["--appendonly", "yes"]));
        let (mut at_primary, mut at_replica) = (primary.connect(), replica.connect());
        at_replica.must("SET own 1");
        at_primary.must("SET theirs 1");
        let before = at_replica.info_number("aof_rewrites");
        follow(&mut at_replica, &primary);
        settle(&mut at_primary, &mut at_replica);
        at_primary.must("SET later 1");
        settle(&mut at_primary, &mut at_replica);
        // Until they have their own base, the files of before are the ones that count.
        let is_begun = |client: &mut Client| {
            client.info_number("aof_rewrites") > before
                && client.info("aof_rewrite_in_progress").as_deref() == Some("0")
        };
        assert!(holds_within(LIMIT, || is_begun(&mut at_replica)));
        at_primary.must("SET last 1");
        settle(&mut at_primary, &mut at_replica);
        let expected = digest(&mut at_primary);
        replica.stop();
        replica.restart();
        let mut at_replica = replica.connect();
        wait_for(&mut at_replica, "loading", "0");
        assert_eq!((digest(&mut at_replica), at_replica.info("role").as_deref()), (expected, Some("master")));
    }
}
