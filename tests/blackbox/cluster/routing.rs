//! Who answers: redirections of primaries and replicas, slots on their way, clients that wait at a node that is no longer the right one.
//!
//! `foo` is in slot 12182, `bar` in 5061.

use std::time::Duration;

use super::known::{self, HALF, Known, OTHER, THIRD};
use crate::support::client::encode;
use crate::support::{Client, Kind, Server, check, holds_within, server};

const MOVED_FOO: &str = "-MOVED 12182 127.0.0.1:7";
const ASK_BAR: &str = "-ASK 5061 127.0.0.1:7";
const TRYAGAIN: &str = "-TRYAGAIN Multiple keys request during rehashing of slot";
const AS_REPLICA: Known =
    Known { myself: "myself,slave 2222222222222222222222222222222222222222 0 0 2 connected", other_slots: "0-9999" };
const MIGRATING: Known = Known {
    myself: "myself,master - 0 0 1 connected 0-9999 [5061->-2222222222222222222222222222222222222222]",
    other_slots: "10000-16383",
};
const IMPORTING: Known = Known {
    myself: "myself,master - 0 0 1 connected 0-9999 [12182-<-2222222222222222222222222222222222222222]",
    other_slots: "10000-16383",
};
const LENIENT: &[&str] = &["--cluster-require-full-coverage", "no"];

#[test]
fn slots_of_others_are_redirected_to() {
    known::on_both(HALF, &[], &[], |server| {
        check(
            &mut server.connect(),
            &[
                ("SET bar v", "+OK"),
                ("SET foo v", MOVED_FOO),
                ("READONLY", "+OK"),
                ("GET foo", MOVED_FOO),
                ("ASKING", "+OK"),
                ("GET foo", MOVED_FOO),
                ("MGET foo bar", "-CROSSSLOT Keys in request don't hash to the same slot"),
                ("MULTI", "+OK"),
                ("GET foo", MOVED_FOO),
                ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
                ("SSUBSCRIBE foo", MOVED_FOO),
                ("SPUBLISH foo m", MOVED_FOO),
            ],
        );
    });
}

#[test]
fn a_replica_answers_reads_of_those_who_agree() {
    const MOVED_BAR: &str = "-MOVED 5061 127.0.0.1:7";
    known::on_both(AS_REPLICA, LENIENT, &["SET bar v", "RPUSH {bar}list a"], |server| {
        let client = &mut server.connect();
        check(
            client,
            &[
                ("GET bar", MOVED_BAR),
                ("SET bar w", MOVED_BAR),
                ("READONLY", "+OK"),
                ("GET bar", "'v'"),
                ("MGET bar {bar}2", "['v', nil]"),
                ("SET bar w", MOVED_BAR),
                ("BLPOP {bar}list 0", MOVED_BAR),
                ("GET foo", "-CLUSTERDOWN Hash slot not served"),
                // Slot 3999 is the primary's too.
                ("LRANGE {bar}list 0 -1", "['a']"),
                ("MULTI", "+OK"),
                ("GET bar", "+QUEUED"),
                ("EXEC", "['v']"),
                ("MULTI", "+OK"),
                ("GET bar", "+QUEUED"),
                ("SET bar w", MOVED_BAR),
                ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
                ("WATCH bar", "+OK"),
                ("READWRITE", "+OK"),
                ("GET bar", MOVED_BAR),
                // Shard channels are a replica's, too, without READONLY.
                ("SPUBLISH bar m", ":0"),
                ("SSUBSCRIBE bar", "['ssubscribe', 'bar', :1]"),
            ],
        );
    });
}

#[test]
fn readonly_is_taken_back_between_queueing_and_exec() {
    known::on_both(AS_REPLICA, LENIENT, &["SET bar v"], |server| {
        let client = &mut server.connect();
        check(
            client,
            &[
                ("READONLY", "+OK"),
                ("MULTI", "+OK"),
                ("GET bar", "+QUEUED"),
                ("READWRITE", "+QUEUED"),
                ("EXEC", "['v', +OK]"),
                ("GET bar", "-MOVED 5061 127.0.0.1:7"),
            ],
        );
    });
}

#[test]
fn what_has_left_a_migrating_slot_is_asked_for_elsewhere() {
    known::on_both(MIGRATING, &[], &["SET bar v", "SET {bar}2 w", "RPUSH {bar}list a"], |server| {
        check(
            &mut server.connect(),
            &[
                ("GET bar", "'v'"),
                ("SET bar w", "+OK"),
                ("GET {bar}gone", ASK_BAR),
                ("SET {bar}new v", ASK_BAR),
                ("MGET bar {bar}2", "['w', 'w']"),
                ("MGET bar {bar}gone", TRYAGAIN),
                ("MGET {bar}gone {bar}away", ASK_BAR),
                ("DEL {bar}gone bar", TRYAGAIN),
                ("RENAME bar {bar}gone", TRYAGAIN),
                ("BLPOP {bar}gone 0", ASK_BAR),
                ("BLPOP {bar}list 0", "['{bar}list', 'a']"),
                ("WATCH {bar}gone", ASK_BAR),
                ("SSUBSCRIBE bar", "['ssubscribe', 'bar', :1]"),
            ],
        );
        check(
            &mut server.connect(),
            &[
                ("MULTI", "+OK"),
                ("GET bar", "+QUEUED"),
                ("SET bar x", "+QUEUED"),
                ("EXEC", "['w', +OK]"),
                ("DEL bar", ":1"),
                ("GET bar", ASK_BAR),
                ("CLUSTER SETSLOT 5061 STABLE", "+OK"),
                ("GET bar", "nil"),
                ("SET {bar}new v", "+OK"),
            ],
        );
    });
}

/// Redis looks at the keys when it queues; here EXEC does, for the keys may be another core's.
#[test]
fn exec_judges_the_keys_of_a_migrating_slot() {
    let server = known::start(Kind::Slotcore, MIGRATING, &[], &["SET bar v", "SET {bar}2 w"]);
    let client = &mut server.connect();
    check(
        client,
        &[
            ("MULTI", "+OK"),
            ("GET {bar}gone", "+QUEUED"),
            ("SET {bar}gone v", "+QUEUED"),
            ("EXEC", ASK_BAR),
            ("EXEC", "-ERR EXEC without MULTI"),
            ("MULTI", "+OK"),
            ("GET bar", "+QUEUED"),
            ("GET {bar}gone", "+QUEUED"),
            ("EXEC", TRYAGAIN),
            ("WATCH bar", "+OK"),
            ("MULTI", "+OK"),
            ("GET bar", "+QUEUED"),
            ("GET {bar}2", "+QUEUED"),
            ("DBSIZE", "+QUEUED"),
            ("EXEC", "['v', 'w', :2]"),
            ("MULTI", "+OK"),
            ("GET {bar}gone", "+QUEUED"),
            ("DBSIZE", "+QUEUED"),
            ("EXEC", "..."),
        ],
    );
}

#[test]
fn an_importing_slot_is_served_to_those_who_ask() {
    known::on_both(IMPORTING, &[], &["SET foo v"], |server| {
        let client = &mut server.connect();
        check(
            client,
            &[
                ("GET foo", MOVED_FOO),
                ("ASKING", "+OK"),
                ("GET foo", "'v'"),
                ("GET foo", MOVED_FOO),
                ("ASKING", "+OK"),
                ("SET {foo}2 w", "+OK"),
                ("ASKING", "+OK"),
                ("MGET foo {foo}2", "['v', 'w']"),
                ("ASKING", "+OK"),
                ("MGET foo {foo}gone", TRYAGAIN),
                ("MGET foo {foo}2", MOVED_FOO),
                ("ASKING", "+OK"),
                ("MGET {foo}gone {foo}gone", "[nil, nil]"),
                ("ASKING", "+OK"),
                ("SSUBSCRIBE", "-ERR wrong number of arguments for 'ssubscribe' command"),
                ("GET foo", MOVED_FOO),
                // One for a whole transaction, when it is said before it.
                ("ASKING", "+OK"),
                ("MULTI", "+OK"),
                ("GET foo", "+QUEUED"),
                ("SET foo x", "+QUEUED"),
                ("EXEC", "['v', +OK]"),
                ("GET foo", MOVED_FOO),
                ("MULTI", "+OK"),
                ("GET foo", MOVED_FOO),
                ("DISCARD", "+OK"),
            ],
        );
        let payload = client.line("ASKING").to_string();
        assert_eq!(payload, "+OK");
        let dump = client.cmd(&["DUMP", "foo"]);
        assert_eq!(client.cmd(&[b"RESTORE-ASKING".as_slice(), b"{foo}3", b"0", dump.bytes()]).to_string(), "+OK");
        check(
            client,
            &[
                ("ASKING", "+OK"),
                ("GET {foo}3", "'x'"),
                ("CLUSTER SETSLOT 12182 NODE 1111111111111111111111111111111111111111", "+OK"),
                ("GET {foo}3", "'x'"),
                ("GET {foo}gone", "nil"),
            ],
        );
    });
}

#[test]
fn clients_that_wait_for_keys_of_a_slot_that_leaves_are_told() {
    known::on_both(HALF, &[], &[], |server| {
        let [mut list, mut set, mut stream, mut other] = [(); 4].map(|()| server.connect());
        list.send(b"BLPOP bar 0\r\n");
        set.send(b"BZPOPMIN {bar}set 0\r\n");
        stream.send(b"XREAD BLOCK 0 STREAMS {bar}stream $\r\n");
        other.send(b"BLPOP key:1 0\r\n");
        wait_for_blocked(server, 4);
        check(&mut server.connect(), &[(&format!("CLUSTER SETSLOT 5061 NODE {THIRD}"), "+OK")]);
        for client in [&mut list, &mut set, &mut stream] {
            assert_eq!(client.read().to_string(), "-MOVED 5061 127.0.0.1:9");
        }
        wait_for_blocked(server, 1);
        // Somebody has to have every slot.
        check(&mut server.connect(), &[("CLUSTER DELSLOTS 1", "+OK")]);
        assert_eq!(other.read().to_string(), "-CLUSTERDOWN The cluster is down");
        check(&mut other, &[("PING", "+PONG")]);
    });
    known::on_both(HALF, LENIENT, &[], |server| {
        let mut client = server.connect();
        client.send(b"BLPOP bar 0\r\n");
        wait_for_blocked(server, 1);
        check(&mut server.connect(), &[("CLUSTER DELSLOTS 5061", "+OK")]);
        assert_eq!(client.read().to_string(), "-CLUSTERDOWN Hash slot not served");
    });
}

fn wait_for_blocked(server: &Server, count: i64) {
    let client = &mut server.connect();
    let came = crate::support::holds_within(std::time::Duration::from_secs(10), || {
        client.info_number("blocked_clients") == count
    });
    assert!(came, "{count} clients do not wait");
}

#[test]
fn a_transaction_is_judged_again_when_it_runs() {
    known::on_both(HALF, &[], &[], |server| {
        let (client, operator) = (&mut server.connect(), &mut server.connect());
        check(client, &[("WATCH bar", "+OK"), ("MULTI", "+OK"), ("SET bar v", "+QUEUED")]);
        check(operator, &[(&format!("CLUSTER SETSLOT 5061 NODE {OTHER}"), "+OK")]);
        check(
            client,
            &[
                ("EXEC", "-MOVED 5061 127.0.0.1:7"),
                ("EXEC", "-ERR EXEC without MULTI"),
                ("MULTI", "+OK"),
                ("EXEC", "[]"),
            ],
        );
    });
}

/// A script keeps the core of the watched key busy, so that EXEC waits there when the slot goes. Some clients are on the other core.
#[test]
fn a_transaction_that_waits_for_its_watches_is_judged_again() {
    const SLOW: &str = "for _ = 1, 30000000 do end return 'done'";
    if server::cores() < 2 {
        return;
    }
    let server =
        known::start(Kind::Slotcore, HALF, &["--enable-debug-command", "yes", "--busy-reply-threshold", "100000"], &[]);
    let (client, runner) = (&mut server.connect(), &mut server.connect());
    check(client, &[("DEBUG SLOT-CORE 5061 0", "+OK"), ("DEBUG SLOT-CORE 3300 1", "+OK")]);
    let mut waiting: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    for (number, client) in waiting.iter_mut().enumerate() {
        let write =
            if number % 2 == 0 { "SET bar v" } else { "EVAL return{ok=redis.call('SET',KEYS[1],'v').ok} 1 bar" };
        check(client, &[("WATCH b", "+OK"), ("MULTI", "+OK"), (write, "+QUEUED")]);
    }
    runner.send(&encode(&["EVAL", SLOW, "1", "b"]));
    // Who orders is on a core that is not busy.
    let mut operator = server.connect();
    let is_prompt = |client: &mut Client| {
        client.send(b"PING\r\n");
        holds_within(Duration::from_millis(20), || client.read_what_is_there().is_some())
    };
    while !is_prompt(&mut operator) {
        operator = server.connect();
    }
    operator.send(&encode(&["CLUSTER", "SETSLOT", "5061", "NODE", OTHER]));
    for client in &mut waiting {
        client.send(b"EXEC\r\n");
    }
    // It is refused where a transaction has come first.
    let has_left = operator.read().to_string() == "+OK";
    for client in &mut waiting {
        let reply = client.read().to_string();
        let is_sent_on = reply.starts_with("-MOVED 5061 ") || reply == ASK_BAR;
        assert!(is_sent_on || !has_left && reply == "[+OK]", "{has_left}: {reply}");
    }
    assert_eq!(runner.read().to_string(), "'done'");
    if has_left {
        assert_eq!(operator.must("CLUSTER COUNTKEYSINSLOT 5061").integer(), 0);
    }
}

#[test]
fn subscribers_of_shard_channels_learn_that_the_slot_has_left() {
    known::on_both(HALF, &[], &[], |server| {
        let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
        for client in &mut clients {
            check(client, &[("SSUBSCRIBE bar {bar}2", "['ssubscribe', 'bar', :1]")]);
            assert_eq!(client.read().to_string(), "['ssubscribe', '{bar}2', :2]");
            check(client, &[("SSUBSCRIBE key:1", "['ssubscribe', 'key:1', :3]")]);
        }
        check(&mut server.connect(), &[(&format!("CLUSTER SETSLOT 5061 NODE {OTHER}"), "+OK")]);
        for client in &mut clients {
            let mut told = [client.read().to_string(), client.read().to_string()];
            assert!(told[0].ends_with(":2]") && told[1].ends_with(":1]"), "{told:?}");
            told.sort();
            assert!(told[0].starts_with("['sunsubscribe', 'bar', "), "{told:?}");
            assert!(told[1].starts_with("['sunsubscribe', '{bar}2', "), "{told:?}");
        }
        let operator = &mut server.connect();
        check(operator, &[("PUBSUB SHARDCHANNELS", "['key:1']"), ("SPUBLISH key:1 m", ":4")]);
        assert_eq!(clients[0].read().to_string(), "['smessage', 'key:1', 'm']");
    });
}
