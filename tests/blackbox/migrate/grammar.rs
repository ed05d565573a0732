//! The words of MIGRATE and what is answered, by both kinds.

use super::target::Target;
use crate::support::{Kind, Server, on_both};

/// What both answer to these lines, one after the other. `HOST` stands for the address of another redis-server.
fn check(server: &Server, target: &Server, lines: &[(&str, &str)]) {
    let mut client = server.connect();
    let place = format!("127.0.0.1 {}", target.port);
    for (line, expected) in lines {
        let line = line.replace("HOST", &place);
        let reply = client.line(&line).to_string();
        assert_eq!(reply, *expected, "{:?}: {line}", server.kind);
    }
}

const SYNTAX: &str = "-ERR syntax error";
const NO_NUMBER: &str = "-ERR value is not an integer or out of range";

#[test]
fn words_are_read_as_redis_reads_them() {
    let target = Server::redis(&[]);
    on_both(|server| {
        check(
            server,
            &target,
            &[
                ("MIGRATE", "-ERR wrong number of arguments for 'migrate' command"),
                ("MIGRATE HOST k 0", "-ERR wrong number of arguments for 'migrate' command"),
                ("MIGRATE HOST k 0 1000", "+NOKEY"),
                ("MIGRATE HOST k x 1000", NO_NUMBER),
                ("MIGRATE HOST k 0 x", NO_NUMBER),
                ("MIGRATE HOST k x x NONSENSE", SYNTAX),
                ("MIGRATE HOST k 0 1000 AUTH", SYNTAX),
                ("MIGRATE HOST k 0 1000 AUTH2 u", SYNTAX),
                ("MIGRATE HOST k 0 1000 copy Replace", "+NOKEY"),
                (
                    "MIGRATE HOST k 0 1000 KEYS a",
                    "-ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                ),
                ("MIGRATE HOST \"\" 0 1000 KEYS", "+NOKEY"),
                ("MIGRATE HOST \"\" 0 1000 KEYS a b COPY", "+NOKEY"),
                ("MIGRATE HOST \"\" 0 1000", "+NOKEY"),
                ("MIGRATE nonsense x k 0 1000", "+NOKEY"),
                ("COMMAND GETKEYS MIGRATE h 1 k 0 9", "['k']"),
                ("COMMAND GETKEYS MIGRATE h 1 \"\" 0 9 AUTH keys KEYS a b", "['a', 'b']"),
            ],
        );
    });
}

#[test]
fn keys_go_and_stay_as_in_redis() {
    let target = Server::redis(&["--databases", "4"]);
    on_both(|server| {
        target.connect().must("FLUSHALL");
        let busy = "-ERR Target instance replied with error: BUSYKEY Target key name already exists.";
        check(
            server,
            &target,
            &[
                ("MSET a 1 b 2 c 3 d 4", "+OK"),
                ("MIGRATE HOST a 0 1000", "+OK"),
                ("EXISTS a", ":0"),
                ("SET a 5", "+OK"),
                ("MIGRATE HOST a 0 1000", busy),
                ("GET a", "'5'"),
                ("MIGRATE HOST a 0 1000 REPLACE", "+OK"),
                ("EXISTS a", ":0"),
                ("MIGRATE HOST b 0 -5 COPY", "+OK"),
                ("EXISTS b", ":1"),
                // One of them is there already: the others go all the same.
                ("MIGRATE HOST \"\" 0 1000 KEYS b c missing d", busy),
                ("EXISTS b c d", ":1"),
                ("MIGRATE HOST b 99 1000", "-ERR Target instance replied with error: ERR DB index is out of range"),
                ("MIGRATE HOST b 3 1000", "+OK"),
                ("SET b 9", "+OK"),
                ("MIGRATE HOST b 0 1000 REPLACE COPY", "+OK"),
                ("MIGRATE HOST \"\" 0 1000 REPLACE KEYS b b", "+OK"),
                ("DBSIZE", ":0"),
                // Options behind KEYS are keys.
                ("MSET x 1 COPY 2", "+OK"),
                ("MIGRATE HOST \"\" 0 1000 KEYS x COPY", "+OK"),
                ("DBSIZE", ":0"),
                ("SET e 1 PX 100000", "+OK"),
                ("MIGRATE HOST e 0 1000", "+OK"),
            ],
        );
        let mut there = target.connect();
        let values = there.must("MGET a b c d x COPY").to_string();
        assert_eq!(values, "['5', '9', '3', '4', '1', '2']");
        assert!((90_000..=100_000).contains(&there.must("PTTL e").integer()));
        there.must("SELECT 3");
        assert_eq!(there.must("GET b").text(), "2");
    });
}

#[test]
fn targets_that_do_not_answer_or_refuse_are_told_of_in_redis_words() {
    let guarded = Server::redis(&["--requirepass", "secret"]);
    let full = Server::redis(&["--maxmemory", "1"]);
    on_both(|server| {
        let mut client = server.connect();
        client.must("SET k v");
        let mut says = |words: &str| client.line(&format!("MIGRATE {words}")).to_string();
        let refused = "-ERR Target instance replied with error: ";
        // Nobody listens on port 1 of the loopback address. Redis finds out when it writes.
        assert_eq!(says("127.0.0.1 1 k 0 1000"), "-IOERR error or timeout writing to target instance");
        let place = format!("127.0.0.1 {} k 0 5000", guarded.port);
        assert_eq!(says(&place), format!("{refused}NOAUTH Authentication required."));
        let wrong = format!("{refused}WRONGPASS invalid username-password pair or user is disabled.");
        assert_eq!(says(&format!("{place} AUTH wrong")), wrong);
        assert_eq!(says(&format!("{place} AUTH2 nobody secret")), wrong);
        assert_eq!(says(&format!("{place} COPY REPLACE AUTH secret")), "+OK");
        assert_eq!(says(&format!("{place} COPY REPLACE AUTH2 default secret")), "+OK");
        let full = format!("127.0.0.1 {} k 0 5000", full.port);
        assert!(says(&full).starts_with(&format!("{refused}OOM command not allowed")));
        assert_eq!(client.must("GET k").text(), "v");
        assert_eq!(client.info("migrate_cached_sockets").as_deref(), Some("2"));
    });
}

#[test]
fn names_of_hosts_are_looked_up() {
    let target = Server::redis(&["--bind", "127.0.0.1"]);
    on_both(|server| {
        let mut client = server.connect();
        client.must("SET k v");
        client.must(&format!("MIGRATE localhost {} k 0 5000 REPLACE", target.port));
        client.must("SET k v");
        let unknown = client.line(&format!("MIGRATE no-such-host.invalid {} k 0 5000", target.port)).to_string();
        assert_eq!(unknown, "-IOERR error or timeout connecting to the client");
    });
}

/// What a target gets, request by request, with the answers that it gives.
#[test]
fn connections_are_kept_and_made_anew_as_in_redis() {
    for kind in [Kind::Slotcore, Kind::Redis] {
        let server = Server::start(kind, &[]);
        let target = Target::start();
        let mut client = server.connect();
        client.must("MSET a 1 b 2 c 3");
        let migrate = |client: &mut crate::support::Client, words: &str| {
            let line = format!("MIGRATE 127.0.0.1 {} {words}", target.port);
            client.send(&crate::support::client::encode(&crate::support::client::split_line(&line)));
        };
        migrate(&mut client, "a 0 5000 AUTH p");
        let mut link = target.accept();
        link.must_get(&["AUTH", "p"]);
        link.must_get(&["SELECT", "0"]);
        link.must_get(&["RESTORE", "a", "0"]);
        link.send("+OK\r\n+OK\r\n+OK\r\n");
        assert_eq!(client.read().to_string(), "+OK");
        // The same connection, on which the database is selected.
        migrate(&mut client, "\"\" 0 5000 KEYS b");
        link.must_get(&["RESTORE", "b", "0"]);
        link.send("-ERR no\r\n");
        assert_eq!(client.read().to_string(), "-ERR Target instance replied with error: ERR no");
        // After an error it is selected anew.
        migrate(&mut client, "b 0 5000 REPLACE");
        link.must_get(&["SELECT", "0"]);
        let request = link.request();
        assert_eq!((request.len(), request[0].as_str(), request[4].as_str()), (5, "RESTORE", "REPLACE"));
        link.send("+OK\r\n+OK\r\n");
        assert_eq!(client.read().to_string(), "+OK");
        // Closed meanwhile: once more, on another.
        drop(link);
        migrate(&mut client, "c 0 5000");
        let mut link = target.accept();
        link.must_get(&["SELECT", "0"]);
        link.must_get(&["RESTORE", "c"]);
        drop(link);
        // That broke, too, and is the second: a kept one that was gone is not the first any more where that was noticed.
        let mut replies = Vec::new();
        let answered = crate::support::holds_within(super::target::LIMIT, || {
            replies.extend(client.read_what_is_there());
            target.has_another();
            !replies.is_empty()
        });
        assert!(answered, "no answer");
        assert_eq!(replies[0].to_string(), "-IOERR error or timeout reading to target instance");
        assert_eq!(client.must("EXISTS c").integer(), 1);
    }
}

#[test]
fn what_was_acknowledged_is_gone_though_the_rest_failed() {
    for kind in [Kind::Slotcore, Kind::Redis] {
        let server = Server::start(kind, &[]);
        let target = Target::start();
        let mut client = server.connect();
        client.must("MSET a 1 b 2 c 3");
        let line = format!("MIGRATE 127.0.0.1 {} \"\" 0 300 KEYS a b c", target.port);
        client.send(&crate::support::client::encode(&crate::support::client::split_line(&line)));
        let mut link = target.accept();
        link.must_get(&["SELECT", "0"]);
        (0..3).for_each(|_| link.must_get(&["RESTORE"]));
        link.send("+OK\r\n+OK\r\n-ERR full\r\n");
        // No third answer comes: the time limit is over, and the target's own words count.
        assert_eq!(client.read().to_string(), "-ERR Target instance replied with error: ERR full");
        assert_eq!(client.must("EXISTS a b c").integer(), 2);
        assert!(link.is_closed());
        assert!(!target.has_another(), "{kind:?}");

        client.send(&crate::support::client::encode(&crate::support::client::split_line(&line)));
        let mut link = target.accept();
        link.must_get(&["SELECT", "0"]);
        link.send("+OK\r\n");
        // A time limit is no reason to try again.
        assert_eq!(client.read().to_string(), "-IOERR error or timeout reading to target instance");
        assert_eq!(client.must("EXISTS a b c").integer(), 2);
        assert!(!target.has_another(), "{kind:?}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let target = Server::redis(&[]);
    on_both(|server| {
        let mut client = server.connect();
        let mut monitor = server.connect();
        monitor.must("MONITOR");
        client.line(&format!("MIGRATE 127.0.0.1 {} k 0 1000 AUTH2 user secret", target.port));
        let shown = monitor.read().to_string();
        assert!(shown.contains("AUTH2") && !shown.contains("secret"), "{shown}");
    });
}
