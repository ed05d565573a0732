//! FAILOVER: the primary hands its role to a replica that has everything, and both say so.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::compare::{Sameness, assert_same};
use super::load::Load;
use super::nodes::{
    ALL_PAIRS, Info, SYNC_LIMIT, fill, follow, follow_nobody, granted, node, pair, settle, wait_for_replicas,
};
use super::seed;
use crate::support::{Kind, Server, check, holds_within, on_both};

fn state_is(primary: &Server, state: &str) {
    let is_so = || Info::of(primary).is("master_failover_state", state);
    assert!(holds_within(SYNC_LIMIT, is_so), "not {state}:\n{}", Info::of(primary).replication());
}

/// Waits until the two have changed places.
fn wait_for_change(old: &Server, new: &Server) {
    let changed = || Info::of(new).is("role", "master") && Info::of(old).is("role", "slave");
    assert!(holds_within(SYNC_LIMIT, changed), "{}\n{}", Info::of(old).replication(), Info::of(new).replication());
    settle(new, old);
}

#[test]
fn failover_says_what_is_wrong() {
    on_both(|server| {
        let mut client = server.connect();
        check(
            &mut client,
            &[
                ("FAILOVER", "-ERR FAILOVER requires connected replicas."),
                ("FAILOVER ABORT", "-ERR No failover in progress."),
                ("FAILOVER TO 127.0.0.1 1", "-ERR FAILOVER requires connected replicas."),
                ("FAILOVER TO 127.0.0.1", "-ERR syntax error"),
                ("FAILOVER TO 127.0.0.1 x", "-ERR value is not an integer or out of range"),
                ("FAILOVER TIMEOUT 0", "-ERR FAILOVER timeout must be greater than 0"),
                ("FAILOVER TIMEOUT -1", "-ERR FAILOVER timeout must be greater than 0"),
                ("FAILOVER TIMEOUT x", "-ERR value is not an integer or out of range"),
                ("FAILOVER FORCE", "-ERR FAILOVER requires connected replicas."),
                ("FAILOVER nonsense", "-ERR syntax error"),
                ("FAILOVER ABORT now", "-ERR syntax error"),
            ],
        );
        let replica = node(server.kind, &[]);
        follow(&replica, server.port);
        settle(server, &replica);
        wait_for_replicas(server, 1);
        let to = format!("FAILOVER TO 127.0.0.1 {} FORCE", replica.port);
        check(
            &mut client,
            &[
                ("FAILOVER TO 127.0.0.1 1", "-ERR FAILOVER target HOST and PORT is not a replica."),
                ("FAILOVER FORCE", "-ERR FAILOVER with force option requires both a timeout and target HOST and IP."),
                (&to, "-ERR FAILOVER with force option requires both a timeout and target HOST and IP."),
            ],
        );
        check(&mut replica.connect(), &[("FAILOVER", "-ERR FAILOVER is not valid when server is a replica.")]);
    });
}

/// Under load, to a replica that is named and then to any: nothing acknowledged is lost, and nobody needs everything.
#[test]
fn failover_changes_places_and_loses_nothing() {
    for (primary, replica) in ALL_PAIRS {
        let (old, new) = pair(*primary, *replica, &[]);
        let sibling = node(*replica, &[]);
        follow(&sibling, old.port);
        settle(&old, &sibling);
        wait_for_replicas(&old, 2);
        let load = Load::start(&old, seed("failover"));
        load.last(Duration::from_millis(300));
        load.finish();
        let digest = |server: &Server| server.connect().must("DEBUG DIGEST").text();
        let written = std::thread::scope(|scope| {
            let writer = scope.spawn(|| write_until_refused(&old));
            old.connect().must(&format!("FAILOVER TO 127.0.0.1 {} TIMEOUT 20000", new.port));
            wait_for_change(&old, &new);
            writer.join().expect("the writer")
        });
        let found = new.connect().line("GET counter").to_string();
        assert!(written == 0 || found == format!("'{written}'"), "{written} was acknowledged, {found} is there");
        assert_eq!(granted(&new), (0, 1), "{:?} -> {:?}", primary, replica);
        state_is(&old, "no-failover");
        follow(&sibling, new.port);
        settle(&new, &sibling);
        assert_same(&new, &[&old, &sibling], Sameness::All);
        assert_eq!(digest(&new), digest(&old));

        follow_nobody(&sibling);
        assert!(holds_within(SYNC_LIMIT, || Info::of(&new).is("connected_slaves", "1")));
        wait_for_replicas(&new, 1);
        new.connect().must("FAILOVER");
        wait_for_change(&new, &old);
        assert_same(&old, &[&new], Sameness::All);
    }
}

/// Counts up until the node takes no more; the last number that it acknowledged. While a failover is under way clients wait.
fn write_until_refused(primary: &Server) -> u64 {
    let mut client = primary.connect();
    for number in 1.. {
        match client.line(&format!("SET counter {number}")).to_string() {
            reply if reply == "+OK" => {}
            reply => {
                assert!(reply.starts_with("-READONLY"), "{reply}");
                return number - 1;
            }
        }
    }
    unreachable!("the node changes its role before the numbers end")
}

/// A target that stands still: the failover waits, writes wait with it, and ABORT or its time ends both.
#[test]
fn a_failover_that_cannot_end_is_given_up() {
    for (primary, replica) in ALL_PAIRS {
        let (primary, replica) = pair(*primary, *replica, &[]);
        wait_for_replicas(&primary, 1);
        let (mut client, mut writer) = (primary.connect(), primary.connect());
        for gives_up in ["ABORT", "TIMEOUT"] {
            replica.signal(Signal::SIGSTOP);
            fill(&primary, 10, 10);
            client.must(if gives_up == "ABORT" { "FAILOVER" } else { "FAILOVER TIMEOUT 500" });
            state_is(&primary, "waiting-for-sync");
            check(&mut client, &[("FAILOVER", "-ERR FAILOVER already in progress.")]);
            writer.send(b"SET waits here\r\n");
            if gives_up == "ABORT" {
                assert!(writer.read_what_is_there().is_none(), "writes wait");
                client.must("FAILOVER ABORT");
            }
            assert_eq!(writer.read().to_string(), "+OK");
            state_is(&primary, "no-failover");
            assert!(Info::of(&primary).is("role", "master"));
            replica.signal(Signal::SIGCONT);
            settle(&primary, &replica);
        }
        assert_same(&primary, &[&replica], Sameness::All);
    }
}

/// With FORCE the role goes when the time is over, whether the target has everything or not.
#[test]
fn a_forced_failover_does_not_wait_for_ever() {
    for (primary, replica) in ALL_PAIRS {
        let (old, new) = pair(*primary, *replica, &[]);
        old.connect().must("SET before all");
        settle(&old, &new);
        wait_for_replicas(&old, 1);
        new.signal(Signal::SIGSTOP);
        fill(&old, 10, 10);
        old.connect().must(&format!("FAILOVER TO 127.0.0.1 {} FORCE TIMEOUT 200", new.port));
        state_is(&old, "failover-in-progress");
        new.signal(Signal::SIGCONT);
        wait_for_change(&old, &new);
        state_is(&old, "no-failover");
        assert_same(&new, &[&old], Sameness::All);
    }
}

/// The other side of a failover: who is asked by PSYNC with FAILOVER becomes the primary if the history is its own.
#[test]
fn a_replica_is_promoted_by_psync_with_failover() {
    for kind in [Kind::Redis, Kind::Slotcore] {
        let (primary, replica) = pair(kind, kind, &[]);
        fill(&primary, 5, 5);
        settle(&primary, &replica);
        let info = Info::of(&replica);
        let (id, next) = (info.field("master_replid").expect("an id").to_owned(), info.number("slave_repl_offset") + 1);
        let mut link = super::fake::Link::to(&replica);
        link.send(format!("PSYNC {} {next} FAILOVER\r\n", "f".repeat(40)).as_bytes());
        let refused = link.line();
        assert!(refused.starts_with("-ERR PSYNC FAILOVER replid must match my replid."), "{kind:?}: {refused}");
        let mut link = super::fake::Link::to(&replica);
        link.send(b"REPLCONF capa eof capa psync2\r\n");
        assert_eq!(link.line(), "+OK");
        link.send(format!("PSYNC {id} {next} FAILOVER\r\n").as_bytes());
        let granted = link.line();
        let new = Info::of(&replica);
        assert!(new.is("role", "master"), "{kind:?}: {}", new.replication());
        assert_eq!(granted, format!("+CONTINUE {}", new.field("master_replid").expect("an id")));
        let mut link = super::fake::Link::to(&replica);
        link.send(format!("PSYNC {id} {next} FAILOVER\r\n").as_bytes());
        let refused = link.line();
        assert!(refused.starts_with("-ERR PSYNC FAILOVER can't be sent to a master."), "{kind:?}: {refused}");
    }
}
