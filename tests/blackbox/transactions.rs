//! MULTI, EXEC, DISCARD, WATCH.

use crate::cluster_one_node::own_all_slots;
use crate::support::{Server, check, holds_within, on_both, on_both_with};

fn table(rows: &[(&str, &str)]) {
    on_both(|server| check(&mut server.connect(), rows));
}

#[test]
fn queued_commands_run_together_and_answer_together() {
    table(&[
        ("MULTI", "+OK"),
        ("SET a 1", "+QUEUED"),
        ("INCR a", "+QUEUED"),
        ("GET missing", "+QUEUED"),
        ("MGET a a", "+QUEUED"),
        ("EXEC", "[+OK, :2, nil, ['2', '2']]"),
        ("GET a", "'2'"),
        ("MULTI", "+OK"),
        ("EXEC", "[]"),
        ("EXEC", "-ERR EXEC without MULTI"),
    ]);
}

#[test]
fn a_refused_command_aborts_the_transaction_and_a_failing_one_does_not() {
    table(&[
        ("SET text x", "+OK"),
        ("MULTI", "+OK"),
        ("SET a 1", "+QUEUED"),
        ("NOSUCH a", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' "),
        ("SET a 2", "+QUEUED"),
        ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
        ("EXISTS a", ":0"),
        ("MULTI", "+OK"),
        ("GET", "-ERR wrong number of arguments for 'get' command"),
        ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
        ("MULTI", "+OK"),
        ("INCR text", "+QUEUED"),
        ("SET a 1", "+QUEUED"),
        ("EXEC", "[-ERR value is not an integer or out of range, +OK]"),
        ("GET a", "'1'"),
    ]);
}

#[test]
fn discard_forgets_what_was_queued() {
    table(&[
        ("DISCARD", "-ERR DISCARD without MULTI"),
        ("MULTI", "+OK"),
        ("MULTI", "-ERR MULTI calls can not be nested"),
        ("WATCH a", "-ERR WATCH inside MULTI is not allowed"),
        ("SET a 1", "+QUEUED"),
        ("DISCARD", "+OK"),
        ("EXISTS a", ":0"),
        ("MULTI", "+OK"),
        ("RESET", "+RESET"),
        ("EXEC", "-ERR EXEC without MULTI"),
    ]);
}

#[test]
fn an_exec_that_is_refused_ends_the_transaction() {
    on_both(|server| {
        let (one, two) = (&mut server.connect(), &mut server.connect());
        let refused = "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command";
        check(one, &[("EXEC x", refused), ("WATCH k", "+OK"), ("MULTI", "+OK"), ("SET a 1", "+QUEUED")]);
        two.must("SET k 1");
        check(
            one,
            &[
                ("EXEC x", refused),
                ("EXEC", "-ERR EXEC without MULTI"),
                ("EXISTS a", ":0"),
                ("MULTI", "+OK"),
                ("SET a 1", "+QUEUED"),
                ("EXEC", "[+OK]"),
            ],
        );
    });
}

/// What has changed since the commands were queued counts for EXEC.
#[test]
fn writes_that_lack_replicas_by_the_time_of_exec_are_refused() {
    on_both(|server| {
        let (mut client, mut other) = (server.connect(), server.connect());
        let no_replicas = "-EXECABORT Transaction discarded because of: NOREPLICAS Not enough good replicas to write.";
        check(&mut client, &[("MULTI", "+OK"), ("SET k v", "+QUEUED")]);
        other.must("CONFIG SET min-replicas-to-write 1");
        check(&mut client, &[("EXEC", no_replicas), ("GET k", "nil")]);
        check(&mut client, &[("MULTI", "+OK"), ("GET k", "+QUEUED"), ("EXEC", "[nil]")]);
    });
}

#[test]
fn commands_about_the_connection_keep_what_they_set() {
    table(&[
        ("MULTI", "+OK"),
        ("CLIENT SETNAME bob", "+QUEUED"),
        ("SELECT 3", "+QUEUED"),
        ("SET a 1", "+QUEUED"),
        ("DBSIZE", "+QUEUED"),
        ("PING", "+QUEUED"),
        ("ECHO hi", "+QUEUED"),
        ("EXEC", "[+OK, +OK, +OK, :1, +PONG, 'hi']"),
        ("CLIENT GETNAME", "'bob'"),
        ("GET a", "'1'"),
        ("SELECT 0", "+OK"),
        ("EXISTS a", ":0"),
        ("MULTI", "+OK"),
        ("SET b 1", "+QUEUED"),
        ("FLUSHALL", "+QUEUED"),
        ("DBSIZE", "+QUEUED"),
        ("KEYS *", "+QUEUED"),
        ("CONFIG SET maxclients 5000", "+QUEUED"),
        ("EXEC", "[+OK, +OK, :0, [], +OK]"),
        ("CONFIG GET maxclients", "['maxclients', '5000']"),
    ]);
}

#[test]
fn exec_runs_only_if_watched_keys_are_untouched() {
    on_both(|server| {
        let (one, two) = (&mut server.connect(), &mut server.connect());
        for touch in
            ["SET k 2", "DEL k", "APPEND k x", "EXPIRE k 100", "RENAME k j", "FLUSHDB", "FLUSHALL", "SWAPDB 0 9"]
        {
            two.must("FLUSHALL");
            two.must("SET k 1");
            check(one, &[("WATCH k other", "+OK"), ("GET k", "'1'")]);
            two.must(touch);
            check(one, &[("MULTI", "+OK"), ("SET mine 1", "+QUEUED"), ("EXEC", "nil*"), ("EXISTS mine", ":0")]);
        }
        for harmless in ["SET unrelated 2", "GET k", "DEL missing", "PERSIST k", "EXPIRE missing 100", "SWAPDB 0 0"] {
            two.must("SET k 1");
            check(one, &[("WATCH k k missing", "+OK")]);
            two.must(harmless);
            check(one, &[("MULTI", "+OK"), ("PING", "+QUEUED"), ("EXEC", "[+PONG]")]);
        }
        check(one, &[("WATCH k", "+OK"), ("SET k 3", "+OK"), ("MULTI", "+OK"), ("PING", "+QUEUED"), ("EXEC", "nil*")]);
        check(one, &[("WATCH k", "+OK"), ("SET k 3", "+OK"), ("UNWATCH", "+OK"), ("MULTI", "+OK"), ("EXEC", "[]")]);
        check(one, &[("WATCH k", "+OK"), ("SET k 3", "+OK"), ("MULTI", "+OK"), ("DISCARD", "+OK")]);
        check(one, &[("MULTI", "+OK"), ("EXEC", "[]")]);
        check(one, &[("HELLO 3", "..."), ("WATCH k", "+OK"), ("SET k 4", "+OK"), ("MULTI", "+OK"), ("EXEC", "null")]);
    });
}

#[test]
fn what_the_groups_of_a_stream_know_is_not_watched() {
    on_both(|server| {
        let (one, two) = (&mut server.connect(), &mut server.connect());
        check(
            two,
            &[("XGROUP CREATE s g 0 MKSTREAM", "+OK"), ("XADD s 1-1 f v", "'1-1'"), ("XADD s 2-1 f v", "'2-1'")],
        );
        for harmless in [
            "XGROUP CREATE s h 0",
            "XREADGROUP GROUP g c STREAMS s >",
            "XCLAIM s g d 0 1-1",
            "XAUTOCLAIM s g e 0 0",
            "XACK s g 1-1",
            "XGROUP SETID s g 0",
            "XGROUP CREATECONSUMER s g f",
            "XGROUP DELCONSUMER s g f",
            "XGROUP DESTROY s h",
            "XSETID s 5-1",
        ] {
            check(one, &[("WATCH s", "+OK")]);
            two.must(harmless);
            check(one, &[("MULTI", "+OK"), ("PING", "+QUEUED"), ("EXEC", "[+PONG]")]);
        }
        for touching in ["XADD s 6-1 f v", "XTRIM s MAXLEN 1", "XDEL s 6-1", "DEL s", "XGROUP CREATE s g 0 MKSTREAM"] {
            check(one, &[("WATCH s", "+OK")]);
            two.must(touching);
            check(one, &[("MULTI", "+OK"), ("PING", "+QUEUED"), ("EXEC", "nil*")]);
        }
    });
}

#[test]
fn reset_ends_watches_each_time() {
    on_both(|server| {
        let (one, two) = (&mut server.connect(), &mut server.connect());
        two.must("SET k 1");
        check(one, &[("WATCH k", "+OK"), ("RESET", "+RESET"), ("WATCH k", "+OK"), ("RESET", "+RESET")]);
        two.must("SET k 2");
        check(one, &[("MULTI", "+OK"), ("PING", "+QUEUED"), ("EXEC", "[+PONG]")]);
    });
}

#[test]
fn a_flush_touches_only_watched_keys_that_are_there() {
    on_both(|server| {
        let (one, two) = (&mut server.connect(), &mut server.connect());
        two.must("SET other 1");
        check(one, &[("WATCH missing", "+OK")]);
        two.must("FLUSHALL");
        check(one, &[("MULTI", "+OK"), ("PING", "+QUEUED"), ("EXEC", "[+PONG]")]);
    });
}

#[test]
fn a_watched_key_that_expires_is_touched() {
    on_both_with(&["--enable-debug-command", "yes"], |server| {
        let client = &mut server.connect();
        check(client, &[("SET k 1 PX 20", "+OK"), ("WATCH k", "+OK")]);
        let two = &mut server.connect();
        assert!(holds_within(std::time::Duration::from_secs(10), || two.must("PTTL k").integer() == -2));
        check(client, &[("MULTI", "+OK"), ("PING", "+QUEUED"), ("EXEC", "nil*")]);
        // One that had expired before it was watched was not there at all.
        two.must("DEBUG SET-ACTIVE-EXPIRE 0");
        two.must("SET gone 1 PX 1");
        assert!(holds_within(std::time::Duration::from_secs(10), || two.must("PTTL gone").integer() == -2));
        check(client, &[("WATCH gone", "+OK"), ("MULTI", "+OK"), ("PING", "+QUEUED"), ("EXEC", "[+PONG]")]);
    });
}

#[test]
fn a_pipelined_transaction_answers_in_order() {
    on_both(|server| {
        let client = &mut server.connect();
        let lines = ["MULTI", "SET a 1", "SELECT 1", "SET b 2", "EXEC", "GET b", "SELECT 0", "GET a", "GET b"];
        let replies: Vec<String> = client.pipeline(&lines).iter().map(ToString::to_string).collect();
        let expected = ["+OK", "+QUEUED", "+QUEUED", "+QUEUED", "[+OK, +OK, +OK]", "'2'", "+OK", "'1'", "nil"];
        assert_eq!(replies, expected);
    });
}

#[test]
fn in_a_cluster_all_keys_of_a_transaction_share_a_slot() {
    on_both_with(&["--cluster-enabled", "yes"], |server| {
        let client = &mut server.connect();
        own_all_slots(client);
        check(
            client,
            &[
                ("MULTI", "+OK"),
                ("SET {x}a 1", "+QUEUED"),
                ("INCR {x}a", "+QUEUED"),
                ("CLIENT SETNAME bob", "+QUEUED"),
                ("GET {x}a", "+QUEUED"),
                ("EXEC", "[+OK, :2, +OK, '2']"),
                ("CLIENT GETNAME", "'bob'"),
                ("MULTI", "+OK"),
                ("SET {x}a 1", "+QUEUED"),
                ("SET {y}a 1", "+QUEUED"),
                ("EXEC", "-CROSSSLOT Keys in request don't hash to the same slot"),
                ("GET {y}a", "nil"),
                ("MULTI", "+OK"),
                ("SET {x}a 1", "+QUEUED"),
                ("SET {y}a 1", "+QUEUED"),
                ("GET", "-ERR wrong number of arguments for 'get' command"),
                ("EXEC", "-CROSSSLOT Keys in request don't hash to the same slot"),
                ("MULTI", "+OK"),
                ("SET {x}a 1", "+QUEUED"),
                ("GET", "-ERR wrong number of arguments for 'get' command"),
                ("SET {y}a 1", "+QUEUED"),
                ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
                ("MULTI", "+OK"),
                ("SET {z}a 1", "+QUEUED"),
                ("DBSIZE", "+QUEUED"),
                ("GET {z}a", "+QUEUED"),
                ("EXEC", "[+OK, :2, '1']"),
            ],
        );
    });
}

#[test]
fn commands_without_keys_or_about_other_slots_do_not_lead_a_transaction_astray() {
    on_both_with(&["--cluster-enabled", "yes"], |server| {
        let client = &mut server.connect();
        own_all_slots(client);
        // Slots of both halves, so that on a node with several cores some are of other cores than the connection.
        for (key, other_slot) in [("{t0}a", 16383), ("{t1}a", 16383), ("{t2}a", 0), ("{t3}a", 0), ("{t4}a", 0)] {
            let (set, get) = (format!("SET {key} 1"), format!("GET {key}"));
            let count = format!("CLUSTER COUNTKEYSINSLOT {other_slot}");
            let no_keys = format!("ZUNION x {key}");
            check(
                client,
                &[
                    (&set, "+OK"),
                    ("MULTI", "+OK"),
                    (&get, "+QUEUED"),
                    (&no_keys, "+QUEUED"),
                    (&get, "+QUEUED"),
                    ("EXEC", "['1', -ERR value is not an integer or out of range, '1']"),
                    ("MULTI", "+OK"),
                    (&get, "+QUEUED"),
                    (&count, "+QUEUED"),
                    (&get, "+QUEUED"),
                    ("EXEC", "['1', :0, '1']"),
                ],
            );
        }
    });
}

#[test]
fn watched_keys_may_be_of_other_slots_than_the_transaction() {
    on_both_with(&["--cluster-enabled", "yes"], |server| {
        let (one, two) = (&mut server.connect(), &mut server.connect());
        own_all_slots(one);
        for number in 0..40 {
            let watches: Vec<String> = (0..3).map(|other| format!("WATCH {{w{number}}}{other}")).collect();
            for watch in &watches {
                one.must(watch);
            }
            one.must("WATCH {far}1");
            if number % 2 == 0 {
                two.must("SET {far}1 x");
            }
            let (set, reply) = (format!("SET {{t{number}}} 1"), if number % 2 == 0 { "nil*" } else { "[+OK]" });
            check(one, &[("MULTI", "+OK"), (&set, "+QUEUED"), ("EXEC", reply)]);
        }
    });
}

#[test]
fn transactions_of_many_clients_never_see_each_other_half_done() {
    let server = Server::slotcore(&[]);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let mut client = server.connect();
            std::thread::spawn(move || {
                for round in 0..300 {
                    let value = format!("{writer}-{round}");
                    let lines = ["MULTI".into(), format!("SET a {value}"), format!("SET b {value}"), "EXEC".into()];
                    let replies = client.pipeline(&lines);
                    assert_eq!(replies[3].to_string(), "[+OK, +OK]");
                }
            })
        })
        .collect();
    let mut reader = server.connect();
    reader.must("MSET a 0 b 0");
    while writers.iter().any(|writer| !writer.is_finished()) {
        let reply = reader.must("MGET a b");
        assert_eq!(reply.items()[0], reply.items()[1]);
    }
    writers.into_iter().for_each(|writer| writer.join().expect("the writer has not failed"));
}
