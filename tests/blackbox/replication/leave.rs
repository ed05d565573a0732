//! The end of a primary that has replicas: it waits until they have everything that it has acknowledged.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::nodes::{ALL_PAIRS, Info, SYNC_LIMIT, follow, node, pair, settle, wait_for_replicas};
use crate::cluster_one_node::own_all_slots;
use crate::support::client::encode;
use crate::support::{Client, Kind, Server, holds_within};

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

/// A primary with several cores and a replica in step, to be stopped in the middle of something.
fn leaving_pair(cores: u64, args: &[&str]) -> (Server, Server) {
    let cores = cores.to_string();
    let common = ["--cluster-enabled", "yes", "--cores", &cores, "--shutdown-timeout", "60"];
    let (primary, replica) = (node(Kind::Slotcore, &[&common, args].concat()), node(Kind::Slotcore, &[]));
    own_all_slots(&mut primary.connect());
    follow(&replica, primary.port);
    settle(&primary, &replica);
    wait_for_replicas(&primary, 1);
    (primary, replica)
}

/// Lets the replica stand still, without something that its primary has.
fn hold_back(replica: &Server, client: &mut Client) {
    replica.signal(Signal::SIGSTOP);
    client.must("SET lag 1");
}

/// Asks the node to end while its replica stands still. Gives back who waits for the end, once writes are held.
fn begin_to_end(primary: &Server) -> Client {
    let waits = || primary.log().matches("Waiting for replicas before shutting down.").count();
    let (mut ender, before) = (primary.connect(), waits());
    ender.send(b"SHUTDOWN NOSAVE\r\n");
    assert!(holds_within(SYNC_LIMIT, || waits() > before));
    ender
}

fn call_end_off(client: &mut Client, mut ender: Client, replica: &Server) {
    client.must("SHUTDOWN ABORT");
    assert_eq!(ender.read().to_string(), "-ERR Errors trying to SHUTDOWN. Check logs.");
    replica.signal(Signal::SIGCONT);
}

/// What replicas are to have has an end then, which what has been going on since before would be written behind: a script that has
/// not written yet, a large value in the making.
#[test]
fn what_takes_long_does_not_write_while_the_node_waits_to_end() {
    /// Writes so much later.
    const SLOW: &str = "local function now() local time = redis.call('TIME') return time[1] * 1000 + time[2] / 1000 end \
                        local till = now() + 1500 repeat until now() >= till return redis.call('SET', KEYS[1], 'late')";
    const LONGER: Duration = Duration::from_millis(2500);
    const TRIES: usize = 10;
    const ELEMENTS: usize = 300_000;
    let (primary, replica) = leaving_pair(2, &["--busy-reply-threshold", "10"]);
    let mut client = primary.connect();
    for first in (0..ELEMENTS).step_by(1000) {
        let pairs: Vec<String> = (first..first + 1000).map(|n| format!("field:{n} value:{n}")).collect();
        client.must(&format!("HSET {{key}}big {}", pairs.join(" ")));
    }
    let payload = client.must("DUMP {key}big").bytes().to_vec();
    let script = encode(&["EVAL", SLOW, "1", "key"]);
    let restore = encode(&[b"RESTORE".as_slice(), b"key", b"0", payload.as_slice(), b"REPLACE"]);
    let is_script_on = |client: &mut Client| client.line("GET key").to_string().starts_with("-BUSY");
    let is_value_on = |client: &mut Client| client.must("CLIENT LIST").text().contains(" cmd=restore ");
    type IsOn<'a> = &'a dyn Fn(&mut Client) -> bool;
    let cases: [(&[u8], IsOn<'_>, &str, &str); 2] =
        [(&script, &is_script_on, "SET", "'late'"), (&restore, &is_value_on, "RESTORE", "-WRONGTYPE")];
    for (request, is_on, what, value) in cases {
        let is_tried = (1..=TRIES).any(|_| {
            let mut runner = primary.connect();
            client.must("DEL key");
            settle(&primary, &replica);
            hold_back(&replica, &mut client);
            runner.send(request);
            assert!(holds_within(SYNC_LIMIT, || is_on(&mut client)), "{what}");
            let ender = begin_to_end(&primary);
            // On a machine that is busy with other things it may have been through before.
            let is_early = runner.read_what_is_there().is_some();
            if !is_early {
                let has_written = holds_within(LONGER, || runner.read_what_is_there().is_some());
                assert!(!has_written, "{what} has written");
            }
            call_end_off(&mut client, ender, &replica);
            if !is_early {
                assert_eq!(runner.read().to_string(), "+OK", "{what}");
            }
            settle(&primary, &replica);
            !is_early
        });
        assert!(is_tried, "{what} was done each time before the node was asked to end");
        let found = replica.connect().line("GET key").to_string();
        assert!(found.starts_with(value), "{what}: {found}");
    }
}

/// A script keeps the core of the watched key busy: EXEC waits there when the node is asked to end, and is answered when all cores have
/// said that they write no more.
#[test]
fn a_transaction_that_waits_for_its_watches_does_not_run_while_the_node_waits_to_end() {
    const SLOW: &str = "for _ = 1, 30000000 do end return 'done'";
    const MOMENT: Duration = Duration::from_millis(300);
    let args =
        ["--enable-debug-command", "yes", "--busy-reply-threshold", "100000", "--repl-ping-replica-period", "1000"];
    let (primary, replica) = leaving_pair(4, &args);
    let mut client = primary.connect();
    // `bar` is in slot 5061, `b` in 3300.
    client.must("DEBUG SLOT-CORE 5061 0");
    client.must("DEBUG SLOT-CORE 3300 1");
    let mut waiting: Vec<Client> = (0..12).map(|_| primary.connect()).collect();
    for waiter in &mut waiting {
        for line in ["WATCH b", "MULTI", "SET bar v"] {
            waiter.must(line);
        }
    }
    hold_back(&replica, &mut client);
    let mut runner = primary.connect();
    runner.send(&encode(&["EVAL", SLOW, "1", "b"]));
    for waiter in &mut waiting {
        waiter.send(b"EXEC\r\n");
    }
    let ender = begin_to_end(&primary);
    let place = client.info("master_repl_offset");
    assert!(!holds_within(MOMENT, || client.info("master_repl_offset") != place), "it has written");
    call_end_off(&mut client, ender, &replica);
    assert_eq!(runner.read().to_string(), "'done'");
    for waiter in &mut waiting {
        // Aborted, where it was under way; where not, it has waited, or was there before.
        let reply = waiter.read().to_string();
        assert!(reply == "nil*" || reply == "[+OK]", "{reply}");
    }
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
