//! What one sees of replication: INFO, ROLE, CLIENT LIST, messages, expired keys, and what a replica refuses.

use std::time::Duration;

use super::compare::{Sameness, assert_same};
use super::nodes::{
    ALL_PAIRS, Info, SYNC_LIMIT, fill, follow, follow_nobody, granted, node, pair, settle, wait_for_replicas,
    wait_until_down, wait_until_up,
};
use crate::support::{Client, Kind, Server, check, holds_within, on_both};

const KINDS: [Kind; 2] = [Kind::Redis, Kind::Slotcore];

/// The fields of INFO replication in their order; those with values that are the same everywhere, with these.
fn fields(server: &Server) -> Vec<String> {
    const SAME_VALUES: &[&str] = &[
        "role",
        "connected_slaves",
        "master_host",
        "master_link_status",
        "master_sync_in_progress",
        "master_failover_state",
        "slave_priority",
        "slave_read_only",
        "replica_announced",
        "repl_backlog_active",
        "repl_backlog_size",
    ];
    const NO_HISTORY: &str = "0000000000000000000000000000000000000000";
    let info = Info::of(server);
    let lines = info.replication().lines().skip(1).map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (name, value) = line.split_once(':').expect("a name and a value");
            if SAME_VALUES.contains(&name) || value == NO_HISTORY || value == "-1" {
                format!("{name}:{value}")
            } else {
                name.to_owned()
            }
        })
        .collect()
}

/// One situation after the other on nodes of each kind: what is said must be the same.
#[test]
fn info_and_role_say_the_same_as_redis_server() {
    let said = KINDS.map(|kind| {
        let mut said = Vec::new();
        let mut say = |what: &str, servers: &[&Server]| {
            for server in servers {
                let role = role_of(server);
                said.push(format!("{what}: {}\n{role}", fields(server).join("\n")));
            }
        };
        let (primary, replica) = (node(kind, &[]), node(kind, &[]));
        say("alone", &[&primary]);
        // Nothing listens on port 1.
        follow(&replica, 1);
        say("a primary that is not there", &[&replica]);
        follow(&replica, primary.port);
        settle(&primary, &replica);
        wait_for_replicas(&primary, 1);
        say("joined", &[&primary, &replica]);
        let chained =
            node(kind, &["--replica-priority", "7", "--replica-announced", "no", "--replica-read-only", "no"]);
        follow(&chained, replica.port);
        settle(&replica, &chained);
        wait_for_replicas(&replica, 1);
        say("a chain", &[&primary, &replica, &chained]);
        primary.connect().must("CONFIG SET min-replicas-to-write 1");
        say("replicas are needed", &[&primary]);
        primary.connect().must("CONFIG SET min-replicas-to-write 0");
        follow_nobody(&replica);
        // The chained one loses its link and comes back.
        settle(&replica, &chained);
        wait_for_replicas(&replica, 1);
        say("promoted", &[&replica]);
        said
    });
    for (their, our) in said[0].iter().zip(&said[1]) {
        assert_eq!(our, their, "slotcore, then redis-server");
    }
    assert_eq!(said[0].len(), said[1].len());
}

/// ROLE with ports and offsets left out. Whether it just tries to connect or is about to is a matter of the moment.
fn role_of(server: &Server) -> String {
    let role = server.connect().line("ROLE").to_string().replace("'connecting'", "'connect'");
    let digits = |text: &str| text.chars().any(|character| character.is_ascii_digit());
    role.split(", ").map(|part| if digits(part) { "N" } else { part }).collect::<Vec<_>>().join(", ")
}

/// A replica refuses writes of clients, in transactions too, and takes them when it may.
#[test]
fn a_replica_is_read_only_unless_told_otherwise() {
    for (primary, replica) in ALL_PAIRS {
        let (primary, replica) = pair(*primary, *replica, &[]);
        primary.connect().must("SET k v");
        settle(&primary, &replica);
        let refused = "-READONLY You can't write against a read only replica.";
        let mut client = replica.connect();
        check(
            &mut client,
            &[
                ("SET k w", refused),
                ("FLUSHALL", refused),
                ("DEL none", refused),
                ("GETEX k EX 10", refused),
                ("BLPOP l 1", refused),
                ("PFCOUNT none", ":0"),
                ("MULTI", "+OK"),
                ("GET k", "+QUEUED"),
                ("SET k w", refused),
                ("EXEC", "-EXECABORT..."),
                ("GET k", "'v'"),
                ("PUBLISH c m", ":0"),
                ("CONFIG SET replica-read-only no", "+OK"),
                ("SET own w", "+OK"),
                ("EXPIRE own 1000", ":1"),
                ("GET own", "'w'"),
                ("CONFIG SET slave-read-only yes", "+OK"),
                ("SET own x", refused),
            ],
        );
        // What it wrote by itself is nobody's but its own, and counts no bytes.
        settle(&primary, &replica);
        check(&mut primary.connect(), &[("GET own", "nil"), ("SET own primary's", "+OK")]);
        settle(&primary, &replica);
        check(&mut client, &[("GET own", "'primary\\'s'")]);
    }
}

/// With the link down a replica answers from what it has, or not, as configured.
#[test]
fn old_data_are_served_or_not_as_configured() {
    for (primary, replica) in ALL_PAIRS {
        let (primary, replica) = pair(*primary, *replica, &[]);
        primary.connect().must("SET k v");
        settle(&primary, &replica);
        let port = primary.port;
        drop(primary);
        wait_until_down(&replica);
        let refused = "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
        check(
            &mut replica.connect(),
            &[
                ("GET k", "'v'"),
                ("CONFIG SET replica-serve-stale-data no", "+OK"),
                ("GET k", refused),
                ("SET k w", "-READONLY..."),
                ("DBSIZE", refused),
                ("MULTI", "+OK"),
                ("GET k", refused),
                ("EXEC", "-EXECABORT..."),
                ("ROLE", "?"),
                ("CONFIG GET port", "?"),
                ("SUBSCRIBE c", "?"),
            ],
        );
        let mut client = replica.connect();
        assert!(Info::ask(&mut client).is("master_port", &port.to_string()));
        check(&mut client, &[("REPLICAOF NO ONE", "+OK"), ("GET k", "'v'")]);
    }
}

/// A key whose time has come is gone for readers of the replica at once, and is taken away when the primary says so.
#[test]
fn a_replica_hides_expired_keys_until_its_primary_deletes_them() {
    for (primary, replica) in ALL_PAIRS {
        let (primary, replica) = pair(*primary, *replica, &[]);
        let (mut ours, mut theirs) = (primary.connect(), replica.connect());
        ours.must("DEBUG SET-ACTIVE-EXPIRE 0");
        ours.must("SET k v PX 50");
        ours.must("RPUSH l a");
        ours.must("PEXPIRE l 50");
        ours.must("SET stays v");
        settle(&primary, &replica);
        let is_hidden = || theirs.line("GET k").is_nil() && theirs.line("EXISTS l").integer() == 0;
        assert!(holds_within(SYNC_LIMIT, is_hidden));
        check(
            &mut theirs,
            &[
                ("DBSIZE", ":3"),
                ("TYPE k", "+none"),
                ("TTL k", ":-2"),
                ("LRANGE l 0 -1", "[]"),
                ("MGET k stays", "[nil, 'v']"),
                ("SCAN 0", "['0', ['stays']]"),
                ("KEYS *", "['stays']"),
                ("DBSIZE", ":3"),
            ],
        );
        ours.must("GET k");
        settle(&primary, &replica);
        check(&mut theirs, &[("DBSIZE", ":2")]);
        ours.must("DEBUG SET-ACTIVE-EXPIRE 1");
        assert!(holds_within(SYNC_LIMIT, || theirs.line("DBSIZE").integer() == 1), "what expires is told");
        settle(&primary, &replica);
        // A promoted one takes away by itself.
        ours.must("SET short v PX 300");
        settle(&primary, &replica);
        theirs.must("REPLICAOF NO ONE");
        assert!(holds_within(SYNC_LIMIT, || theirs.line("DBSIZE").integer() == 1));
    }
}

/// What a replica's own clients have written expires there, since its primary knows nothing of it.
#[test]
fn what_clients_of_a_replica_write_expires_by_itself() {
    for (primary, replica) in ALL_PAIRS {
        let (primary, replica) = pair(*primary, *replica, &["--replica-read-only", "no"]);
        primary.connect().must("SET theirs v PX 100000");
        settle(&primary, &replica);
        let mut client = replica.connect();
        for number in 0..50 {
            client.must(&format!("SET own:{number} v PX 100"));
        }
        client.must("SET stays v PX 100");
        client.must("PERSIST stays");
        client.must("SET later v EX 1000");
        let kind = replica.kind;
        assert!(client.info_number("slave_expires_tracked_keys") >= 51, "{kind:?}");
        let are_gone = || client.must("DBSIZE").integer() == 3 && client.info_number("slave_expires_tracked_keys") == 1;
        assert!(holds_within(SYNC_LIMIT, are_gone), "{kind:?}: {}", client.must("DBSIZE").integer());
        check(&mut client, &[("GET theirs", "'v'"), ("GET stays", "'v'"), ("GET later", "'v'"), ("TTL stays", ":-1")]);
    }
}

#[test]
fn messages_reach_subscribers_of_replicas() {
    for (primary, replica) in ALL_PAIRS {
        let (primary, replica) = pair(*primary, *replica, &["--notify-keyspace-events", "KEA"]);
        let chained = node(primary.kind, &[]);
        follow(&chained, replica.port);
        settle(&replica, &chained);
        let subscriber = |server: &Server| {
            let mut client = server.connect();
            client.must("SUBSCRIBE news");
            client.must("PSUBSCRIBE __keyevent*");
            client
        };
        let (mut above, mut here, mut below) = (subscriber(&primary), subscriber(&replica), subscriber(&chained));
        assert_eq!(replica.connect().must("PUBLISH news local").integer(), 1);
        assert_eq!(primary.connect().must("PUBLISH news all").integer(), 1);
        let message = |client: &mut Client| client.read().to_string();
        // Of two publishers on different cores the later one may be heard first.
        let mut heard = [message(&mut here), message(&mut here)];
        heard.sort();
        assert_eq!(heard, ["['message', 'news', 'all']", "['message', 'news', 'local']"]);
        for client in [&mut above, &mut below] {
            assert_eq!(message(client), "['message', 'news', 'all']");
        }
        primary.connect().must("SET k v");
        for client in [&mut above, &mut here] {
            assert_eq!(message(client), "['pmessage', '__keyevent*', '__keyevent@0__:set', 'k']");
        }
    }
}

#[test]
fn monitor_shows_on_a_replica_what_its_primary_sends() {
    for (primary, replica) in ALL_PAIRS {
        let (primary, replica) = pair(*primary, *replica, &[]);
        let mut monitor = replica.connect();
        monitor.must("MONITOR");
        let mut client = primary.connect();
        client.must("SELECT 4");
        client.must("SET k v");
        client.must("EXPIRE k 1000");
        let mut next = || loop {
            let line = monitor.read().to_string();
            if !line.contains("\"PING\"") && !line.contains("\"ping\"") && !line.contains("\"INFO\"") {
                return line;
            }
        };
        for (address, command) in
            [("[", "\"SELECT\" \"4\""), ("[4 ", "\"SET\" \"k\" \"v\""), ("[4 ", "\"PEXPIREAT\" \"k\" \"")]
        {
            let line = next();
            assert!(
                line.contains(address) && line.contains(command),
                "{:?} -> {:?}: {line}",
                primary.kind,
                replica.kind
            );
        }
    }
}

/// The links in CLIENT LIST, and what CLIENT KILL does to them: the replica comes back for the rest.
#[test]
fn links_are_clients_that_can_be_killed() {
    for (primary, replica) in ALL_PAIRS {
        let (primary, replica) = pair(*primary, *replica, &[]);
        wait_for_replicas(&primary, 1);
        let list = |server: &Server, kind: &str| server.connect().line(&format!("CLIENT LIST TYPE {kind}")).text();
        let (ours, theirs) = (list(&primary, "replica"), list(&replica, "master"));
        assert!(ours.contains(" flags=S ") && ours.lines().count() == 1, "{ours}");
        assert!(theirs.contains(" flags=M ") && theirs.lines().count() == 1, "{theirs}");
        assert!(list(&primary, "normal").lines().all(|line| !line.contains(" flags=S ")));
        let links = [(&primary, "replica"), (&primary, "slave"), (&replica, "master")];
        for (partial, (server, kind)) in (1..).zip(links) {
            let killed = server.connect().must(&format!("CLIENT KILL TYPE {kind}")).integer();
            assert_eq!(killed, 1, "{kind}");
            let is_back = || granted(&primary) == (1, partial);
            assert!(holds_within(SYNC_LIMIT, is_back), "{kind}: {:?}", granted(&primary));
            settle(&primary, &replica);
            wait_for_replicas(&primary, 1);
        }
        fill(&primary, 10, 10);
        assert_same(&primary, &[&replica], Sameness::All);
    }
}

/// A replica behind another address says so, and is shown by it.
#[test]
fn a_replica_is_shown_by_the_address_that_it_announces() {
    for (primary, replica) in ALL_PAIRS {
        let primary = node(*primary, &[]);
        let args = ["--replica-announce-ip", "10.0.0.9", "--replica-announce-port", "7777", "--replica-priority", "42"];
        let replica = node(*replica, &args);
        follow(&replica, primary.port);
        settle(&primary, &replica);
        wait_for_replicas(&primary, 1);
        let line = Info::of(&primary).field("slave0").expect("a replica").to_owned();
        assert!(line.starts_with("ip=10.0.0.9,port=7777,state=online,offset="), "{line}");
        let role = primary.connect().line("ROLE").to_string();
        assert!(role.contains("['10.0.0.9', '7777', '"), "{role}");
        assert!(Info::of(&replica).is("slave_priority", "42"));
        primary.connect().must("FAILOVER TO 10.0.0.9 7777 TIMEOUT 300");
        // Nobody is at that address: the role stays, or comes back.
        let is_over = || {
            let info = Info::of(&primary);
            info.is("master_failover_state", "no-failover") || info.is("role", "slave")
        };
        assert!(holds_within(SYNC_LIMIT, is_over));
    }
}

/// The age of the link and of the last word, in seconds, on both sides.
#[test]
fn info_says_how_long_ago_the_other_was_heard_of() {
    for (primary, replica) in ALL_PAIRS {
        let (primary, replica) = pair(*primary, *replica, &[]);
        wait_for_replicas(&primary, 1);
        let lag = || super::nodes::part_of(&Info::of(&primary), 0, "lag").and_then(|lag| lag.parse::<u64>().ok());
        assert!(lag().is_some_and(|lag| lag <= 2), "{:?}", lag());
        assert!(Info::of(&replica).number("master_last_io_seconds_ago") <= 2);
        replica.signal(nix::sys::signal::Signal::SIGSTOP);
        let grows = holds_within(Duration::from_secs(20), || lag().is_some_and(|lag| lag >= 3));
        replica.signal(nix::sys::signal::Signal::SIGCONT);
        assert!(grows, "{:?}", lag());
        wait_until_up(&replica);
        drop(primary);
        wait_until_down(&replica);
        let counts = || Info::of(&replica).number("master_link_down_since_seconds") >= 1;
        assert!(holds_within(SYNC_LIMIT, counts));
    }
}

/// Directives of replication: their names, old names, ranges, and that they can be set at run time.
/// Bytes of snapshots and of the stream, on both sides.
#[test]
fn what_replication_sends_and_receives_is_counted() {
    const HALF: i64 = 1_000_000;
    for (primary, replica) in ALL_PAIRS {
        let primary = node(*primary, &["--rdbcompression", "no"]);
        let replica = node(*replica, &[]);
        fill(&primary, 1000, 1000);
        follow(&replica, primary.port);
        settle(&primary, &replica);
        fill(&primary, 1000, 1000);
        settle(&primary, &replica);
        for (server, ours, all, rate) in [
            (&primary, "total_net_repl_output_bytes", "total_net_output_bytes", "instantaneous_output_repl_kbps"),
            (&replica, "total_net_repl_input_bytes", "total_net_input_bytes", "instantaneous_input_repl_kbps"),
        ] {
            let counted = || {
                let info = Info::of(server);
                let is_counted = (2 * HALF..3 * HALF).contains(&info.number(ours));
                let has_rate = info.field(rate).and_then(|rate| rate.parse().ok()).is_some_and(|rate: f64| rate > 0.0);
                is_counted && info.number(all) >= info.number(ours) && has_rate
            };
            let shown = || [ours, all, rate].map(|name| format!("{name}: {:?}", Info::of(server).field(name)));
            assert!(holds_within(SYNC_LIMIT, counted), "{:?}: {:?}", server.kind, shown());
        }
    }
}

/// What waits for a slow replica is no reason to evict keys: each would have the replica told, and more would wait.
#[test]
fn what_waits_for_a_replica_evicts_no_keys() {
    const ROOM: i64 = 8 << 20;
    for (primary, replica) in ALL_PAIRS {
        let args = ["--client-output-buffer-limit", "replica 0 0 0", "--maxmemory-policy", "allkeys-lru"];
        let primary = node(*primary, &[&args[..], &["--repl-backlog-size", "1mb"]].concat());
        let replica = node(*replica, &[]);
        let proxy = super::proxy::Proxy::start(primary.port);
        follow(&replica, proxy.port);
        settle(&primary, &replica);
        fill(&primary, 20, 10_000);
        settle(&primary, &replica);
        proxy.hold(super::proxy::Way::ToReplica, true);
        let mut client = primary.connect();
        let limit = client.info_number("used_memory") + ROOM;
        client.must(&format!("CONFIG SET maxmemory {limit}"));
        // The same keys again and again: 30 MB for the replica, of which sockets and the proxy take some.
        for _ in 0..150 {
            fill(&primary, 20, 10_000);
        }
        let info = Info::of(&primary);
        let spared = info.number("mem_not_counted_for_evict");
        assert!(spared > ROOM, "{:?}: only {spared} bytes wait", primary.kind);
        assert_eq!(info.number("evicted_keys"), 0, "{:?}", primary.kind);
        assert_eq!(client.must("DBSIZE").integer(), 20);
        proxy.hold(super::proxy::Way::ToReplica, false);
        settle(&primary, &replica);
        let returned = || Info::of(&primary).number("mem_not_counted_for_evict") < ROOM / 2;
        assert!(holds_within(SYNC_LIMIT, returned), "{:?}", primary.kind);
    }
}

#[test]
fn directives_of_replication_are_known() {
    on_both(|server| {
        let mut client = server.connect();
        for (name, value) in [
            ("replica-serve-stale-data", "no"),
            ("slave-serve-stale-data", "yes"),
            ("replica-read-only", "no"),
            ("repl-diskless-sync", "no"),
            ("repl-diskless-sync-delay", "3"),
            ("repl-diskless-sync-max-replicas", "2"),
            ("repl-diskless-load", "swapdb"),
            ("repl-ping-replica-period", "7"),
            ("repl-ping-slave-period", "8"),
            ("repl-timeout", "33"),
            ("repl-disable-tcp-nodelay", "yes"),
            ("repl-backlog-size", "1048576"),
            ("repl-backlog-ttl", "77"),
            ("replica-priority", "3"),
            ("slave-priority", "4"),
            ("replica-announced", "no"),
            ("replica-announce-ip", "10.0.0.1"),
            ("replica-announce-port", "1234"),
            ("replica-ignore-maxmemory", "no"),
            ("min-replicas-to-write", "0"),
            ("min-slaves-max-lag", "9"),
            ("masteruser", "someone"),
            ("masterauth", "secret"),
            ("propagation-error-behavior", "ignore"),
        ] {
            check(&mut client, &[(&format!("CONFIG SET {name} {value}"), "+OK")]);
            check(&mut client, &[(&format!("CONFIG GET {name}"), &format!("['{name}', '{value}']"))]);
        }
        for line in
            ["repl-timeout 0", "repl-ping-replica-period 0", "repl-diskless-load sometimes", "replica-read-only 2"]
        {
            let reply = client.line(&format!("CONFIG SET {line}")).to_string();
            assert!(reply.starts_with("-ERR CONFIG SET failed"), "{line}: {reply}");
        }
    });
}
