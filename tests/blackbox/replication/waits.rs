//! Writes that wait for replicas, and writes that are refused without them: WAIT, WAITAOF, min-replicas-to-write.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::nodes::{ALL_PAIRS, Info, SYNC_LIMIT, follow, follow_nobody, node, pair, settle, wait_for_replicas};
use crate::support::{Kind, check, holds_within};

/// A write is there when WAIT says so.
#[test]
fn wait_counts_the_replicas_that_have_it() {
    for (primary, replica) in ALL_PAIRS {
        let (primary, replica) = pair(*primary, *replica, &[]);
        wait_for_replicas(&primary, 1);
        let (mut client, mut other) = (primary.connect(), replica.connect());
        for number in 0..50 {
            client.must(&format!("SET k {number}"));
            assert_eq!(client.must("WAIT 1 0").integer(), 1);
            assert_eq!(
                other.line("GET k").to_string(),
                format!("'{number}'"),
                "{:?} -> {:?}",
                primary.kind,
                replica.kind
            );
        }
        assert_eq!(client.must("WAIT 0 0").integer(), 1, "more than asked for");
        // In a transaction it does not wait.
        client.must("MULTI");
        client.must("SET k in");
        client.must("WAIT 5 0");
        let inside = client.must("EXEC").items()[1].integer();
        assert!((0..=1).contains(&inside), "{inside}");
        check(
            &mut client,
            &[
                ("WAIT x 0", "-ERR value is not an integer or out of range"),
                ("WAIT 1 -1", "-ERR timeout is negative"),
                ("WAIT 1 x", "-ERR timeout is not an integer or out of range"),
                ("WAIT 1", "-ERR wrong number of arguments for 'wait' command"),
            ],
        );
        let refused = other.line("WAIT 1 0").to_string();
        assert!(refused.starts_with("-ERR WAIT cannot be used with replica instances."), "{refused}");
    }
}

#[test]
fn wait_ends_when_its_time_is_over() {
    for (primary, replica) in ALL_PAIRS {
        let (primary, replica) = pair(*primary, *replica, &[]);
        wait_for_replicas(&primary, 1);
        let mut client = primary.connect();
        client.must("SET k v");
        let since = Instant::now();
        assert_eq!(client.must("WAIT 2 1500").integer(), 1, "one of two");
        assert!(since.elapsed() >= Duration::from_millis(1490), "{:?}", since.elapsed());

        replica.signal(Signal::SIGSTOP);
        client.must("SET k stopped");
        assert_eq!(client.must("WAIT 1 200").integer(), 0, "a replica that stands still has nothing");
        // Who wrote nothing since waits for nothing.
        assert_eq!(primary.connect().must("WAIT 1 200").integer(), 1);
        client.send(b"WAIT 1 0\r\n");
        let is_blocked = || Info::of(&primary).is("blocked_clients", "1");
        assert!(holds_within(SYNC_LIMIT, is_blocked));
        assert!(client.read_what_is_there().is_none(), "nobody has it yet");
        replica.signal(Signal::SIGCONT);
        assert_eq!(client.read().integer(), 1);
        assert!(holds_within(SYNC_LIMIT, || Info::of(&primary).is("blocked_clients", "0")));
    }
}

#[test]
fn wait_is_unblocked_by_another_client_and_by_a_change_of_role() {
    for kind in [Kind::Redis, Kind::Slotcore] {
        let (primary, stray) = (node(kind, &[]), node(kind, &[]));
        let mut client = primary.connect();
        let id = client.must("CLIENT ID").integer();
        let is_blocked = |count: &str| holds_within(SYNC_LIMIT, || Info::of(&primary).is("blocked_clients", count));
        client.must("SET k v");
        client.send(b"WAIT 1 0\r\n");
        assert!(is_blocked("1"));
        assert_eq!(primary.connect().must(&format!("CLIENT UNBLOCK {id}")).integer(), 1);
        assert_eq!(client.read().to_string(), ":0");

        let mut popping = primary.connect();
        client.send(b"WAIT 1 0\r\n");
        popping.send(b"BLPOP none 0\r\n");
        assert!(is_blocked("2"));
        follow(&primary, stray.port);
        for waiting in [&mut client, &mut popping] {
            let reply = waiting.read().to_string();
            assert!(reply.starts_with("-UNBLOCKED ") || reply.starts_with("-READONLY "), "{kind:?}: {reply}");
        }
    }
}

/// Writes are refused while too few replicas keep up, and only then.
#[test]
fn writes_need_as_many_replicas_as_configured() {
    for (primary, replica) in ALL_PAIRS {
        let primary = node(*primary, &["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"]);
        let mut client = primary.connect();
        let refused = "-NOREPLICAS Not enough good replicas to write.";
        check(&mut client, &[("SET k v", refused), ("GET k", "nil"), ("DEL k", refused), ("PUBLISH c m", ":0")]);
        assert!(Info::of(&primary).is("min_slaves_good_slaves", "0"));
        check(&mut client, &[("MULTI", "+OK"), ("SET k v", refused), ("EXEC", "-EXECABORT...")]);

        let replica = node(*replica, &[]);
        follow(&replica, primary.port);
        settle(&primary, &replica);
        let is_taken = |client: &mut crate::support::Client| !client.line("SET k v").is_error();
        assert!(holds_within(SYNC_LIMIT, || is_taken(&mut client)), "{}", Info::of(&primary).replication());
        assert!(Info::of(&primary).is("min_slaves_good_slaves", "1"));

        replica.signal(Signal::SIGSTOP);
        assert!(holds_within(SYNC_LIMIT, || !is_taken(&mut client)), "a replica that stands still is no good one");
        check(&mut client, &[("SET k v", refused)]);
        replica.signal(Signal::SIGCONT);
        assert!(holds_within(SYNC_LIMIT, || is_taken(&mut client)));

        client.must("CONFIG SET min-replicas-to-write 2");
        check(&mut client, &[("SET k v", refused), ("CONFIG SET min-replicas-to-write 0", "+OK"), ("SET k v", "+OK")]);
        settle(&primary, &replica);
    }
}

/// WAITAOF is new in 7.2, so that redis-server 7.0 is only the replica that never says what it has on disk.
#[test]
fn waitaof_counts_replicas_that_have_it_on_disk() {
    if !Kind::Slotcore.is_slotcore() {
        return; // no other server of the test has WAITAOF
    }
    let appending = ["--appendonly", "yes", "--appendfsync", "everysec"];
    let primary = node(Kind::Slotcore, &appending);
    let replica = node(Kind::Slotcore, &appending);
    follow(&replica, primary.port);
    settle(&primary, &replica);
    wait_for_replicas(&primary, 1);
    let mut client = primary.connect();
    for number in 0..3 {
        client.must(&format!("SET k {number}"));
        assert_eq!(client.must("WAITAOF 1 1 0").to_string(), "[:1, :1]");
        assert_eq!(client.must("WAITAOF 0 1 0").items()[1].integer(), 1);
    }
    replica.signal(Signal::SIGSTOP);
    client.must("SET k stopped");
    assert_eq!(client.must("WAITAOF 1 0 0").to_string(), "[:1, :0]");
    assert_eq!(client.must("WAITAOF 1 1 300").to_string(), "[:1, :0]");
    replica.signal(Signal::SIGCONT);
    assert_eq!(client.must("WAITAOF 0 1 0").items()[1].integer(), 1);
    // A replica without files has nothing on disk, and neither has one that does not speak of it.
    for other in [node(Kind::Slotcore, &[]), node(Kind::Redis, &appending)] {
        follow_nobody(&replica);
        follow(&other, primary.port);
        settle(&primary, &other);
        client.must("SET k again");
        assert_eq!(client.must("WAIT 1 0").integer(), 1);
        assert_eq!(client.must("WAITAOF 1 1 1500").to_string(), "[:1, :0]", "{:?}", other.kind);
    }
    let refused = replica_refuses_waitaof(&primary);
    assert!(refused.starts_with("-ERR WAITAOF cannot be used with replica instances."), "{refused}");
}

fn replica_refuses_waitaof(primary: &crate::support::Server) -> String {
    let replica = node(Kind::Slotcore, &[]);
    follow(&replica, primary.port);
    settle(primary, &replica);
    replica.connect().line("WAITAOF 0 0 0").to_string()
}
