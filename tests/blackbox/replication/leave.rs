//! The end of a primary that has replicas: it waits until they have everything that it has acknowledged.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::nodes::{ALL_PAIRS, Info, SYNC_LIMIT, follow, node, pair, settle, wait_for_replicas};
use crate::cluster_one_node::own_all_slots;
use crate::support::client::encode;
use crate::support::{Client, Kind, holds_within};

/// Clients that write, each its own key: those of some are on other cores than the log.
const WRITERS: usize = 8;
/// They are all at work when each has come so far.
const AT_WORK: u64 = 50;

/// Counts up under a key until the node ends; the last number that it acknowledged.
fn write_until_closed(mut client: Client, key: usize) -> u64 {
    for number in 1.. {
        let is_sent = client.try_send(format!("SET counter:{key} {number}\r\n").as_bytes()).is_ok();
        match client.try_read() {
            Ok(reply) if is_sent => assert_eq!(reply.to_string(), "+OK"),
            _ => return number - 1,
        }
    }
    unreachable!("the node ends before the numbers do")
}

/// What a writer's key says.
fn counter(client: &mut Client, key: usize) -> u64 {
    client.line(&format!("GET counter:{key}")).to_string().trim_matches('\'').parse().unwrap_or(0)
}

#[test]
fn a_primary_that_ends_leaves_its_replica_all_that_it_has_acknowledged() {
    for (primary, replica) in ALL_PAIRS {
        for how in ["SHUTDOWN NOSAVE", "SIGTERM"] {
            let (mut primary, replica) = pair(*primary, *replica, &[]);
            wait_for_replicas(&primary, 1);
            let clients: Vec<Client> = (0..WRITERS).map(|_| primary.connect()).collect();
            let acknowledged: Vec<u64> = std::thread::scope(|scope| {
                let writers: Vec<_> = clients
                    .into_iter()
                    .enumerate()
                    .map(|(key, client)| scope.spawn(move || write_until_closed(client, key)))
                    .collect();
                let mut client = primary.connect();
                let mut are_at_work = || (0..WRITERS).all(|key| counter(&mut client, key) >= AT_WORK);
                assert!(holds_within(SYNC_LIMIT, &mut are_at_work));
                match how {
                    "SIGTERM" => primary.signal(Signal::SIGTERM),
                    _ => client.send(format!("{how}\r\n").as_bytes()),
                }
                assert!(primary.wait_for_exit().success());
                writers.into_iter().map(|writer| writer.join().expect("the writer")).collect()
            });
            let what = format!("{:?} -> {:?}, {how}", primary.kind, replica.kind);
            let has_noticed = || Info::of(&replica).is("master_link_status", "down");
            assert!(holds_within(SYNC_LIMIT, has_noticed), "{}", Info::of(&replica).replication());
            let mut client = replica.connect();
            for (key, number) in acknowledged.into_iter().enumerate() {
                // What was written and not answered any more may be there.
                let found = counter(&mut client, key);
                assert!(found >= number, "{what}: {number} was acknowledged to writer {key}, {found} is there");
            }
        }
    }
}

/// What replicas are to have has an end then, which a script that has been running since before would write behind.
#[test]
fn a_script_that_takes_long_does_not_write_while_the_node_waits_to_end() {
    /// Writes so much later.
    const SLOW: &str = "local function now() local time = redis.call('TIME') return time[1] * 1000 + time[2] / 1000 end \
                        local till = now() + 1500 repeat until now() >= till return redis.call('SET', KEYS[1], 'late')";
    const LONGER: Duration = Duration::from_millis(2500);
    const TRIES: usize = 10;
    let args = ["--cluster-enabled", "yes", "--cores", "2", "--busy-reply-threshold", "10", "--shutdown-timeout", "60"];
    let (primary, replica) = (node(Kind::Slotcore, &args), node(Kind::Slotcore, &[]));
    own_all_slots(&mut primary.connect());
    follow(&replica, primary.port);
    settle(&primary, &replica);
    wait_for_replicas(&primary, 1);
    let waits = || primary.log().matches("Waiting for replicas before shutting down.").count();
    let is_tried = (1..=TRIES).any(|number| {
        let (mut client, mut runner, mut ender) = (primary.connect(), primary.connect(), primary.connect());
        replica.signal(Signal::SIGSTOP);
        client.must(&format!("SET lag {number}"));
        runner.send(&encode(&["EVAL", SLOW, "1", "key"]));
        assert!(holds_within(SYNC_LIMIT, || client.line("GET key").to_string().starts_with("-BUSY")));
        let before = waits();
        ender.send(b"SHUTDOWN NOSAVE\r\n");
        assert!(holds_within(SYNC_LIMIT, || waits() > before));
        // On a machine that is busy with other things the script may have been through before.
        let is_early = runner.read_what_is_there().is_some();
        if !is_early {
            assert!(!holds_within(LONGER, || runner.read_what_is_there().is_some()), "it has written");
        }
        client.must("SHUTDOWN ABORT");
        assert_eq!(ender.read().to_string(), "-ERR Errors trying to SHUTDOWN. Check logs.");
        if !is_early {
            assert_eq!(runner.read().to_string(), "+OK");
        }
        replica.signal(Signal::SIGCONT);
        settle(&primary, &replica);
        !is_early
    });
    assert!(is_tried, "the script was done each time before the node was asked to end");
    assert_eq!(replica.connect().line("GET key").to_string(), "'late'");
}

/// INFO says how long it may still take; append-only files that are asked for meanwhile must be there first.
#[test]
fn a_node_that_waits_to_end_says_so_and_does_not_end_without_its_files() {
    for kind in [Kind::Redis, Kind::Slotcore] {
        let (primary, replica) = pair(kind, Kind::Slotcore, &["--shutdown-timeout", "60"]);
        wait_for_replicas(&primary, 1);
        let (mut client, mut ender) = (primary.connect(), primary.connect());
        replica.signal(Signal::SIGSTOP);
        client.must("SET lag 1");
        assert_eq!(client.info("shutdown_in_milliseconds"), None);
        ender.send(b"SHUTDOWN\r\n");
        let waits_ms = |client: &mut Client| client.info("shutdown_in_milliseconds").map(|ms| ms.parse::<u64>());
        assert!(holds_within(SYNC_LIMIT, || waits_ms(&mut client).is_some()), "{kind:?}");
        assert!(matches!(waits_ms(&mut client), Some(Ok(1..=60_000))), "{kind:?}: {:?}", waits_ms(&mut client));
        assert_eq!(client.info("blocked_clients").as_deref(), Some("1"), "{kind:?}");
        client.must("CONFIG SET rdb-key-save-delay 90000000");
        client.must("CONFIG SET appendonly yes");
        replica.signal(Signal::SIGCONT);
        assert_eq!(ender.read().to_string(), "-ERR Errors trying to SHUTDOWN. Check logs.", "{kind:?}");
        assert_eq!(client.info("blocked_clients").as_deref(), Some("0"), "{kind:?}");
        assert!(primary.log().contains("1 of 1 replicas are in sync when shutting down."), "{}", primary.log());
        assert!(primary.log().contains("Errors trying to shut down the server."), "{}", primary.log());
        assert_eq!(client.info("shutdown_in_milliseconds"), None);
        client.must("SET lag 2");
    }
}
