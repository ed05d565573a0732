//! Publish and subscribe, and the keyspace events that use it.

use crate::cluster_one_node::own_all_slots;
use crate::support::{Client, Server, check, holds_within, on_both, on_both_with};

fn expect(client: &mut Client, messages: &[&str]) {
    for expected in messages {
        assert_eq!(client.read().to_string(), *expected);
    }
}

#[test]
fn messages_reach_channels_and_patterns() {
    on_both(|server| {
        let (one, two) = (&mut server.connect(), &mut server.connect());
        check(one, &[("SUBSCRIBE a b", "['subscribe', 'a', :1]")]);
        expect(one, &["['subscribe', 'b', :2]"]);
        check(one, &[("PSUBSCRIBE a*", "['psubscribe', 'a*', :3]"), ("SUBSCRIBE a", "['subscribe', 'a', :3]")]);
        check(
            two,
            &[("PUBLISH a hello", ":2"), ("PUBLISH b x", ":1"), ("PUBLISH none x", ":0"), ("PUBLISH axe y", ":1")],
        );
        expect(
            one,
            &[
                "['message', 'a', 'hello']",
                "['pmessage', 'a*', 'a', 'hello']",
                "['message', 'b', 'x']",
                "['pmessage', 'a*', 'axe', 'y']",
            ],
        );
        check(
            two,
            &[
                ("PUBSUB NUMPAT", ":1"),
                ("PUBSUB NUMSUB a none", "['a', :1, 'none', :0]"),
                ("PUBSUB CHANNELS a*", "['a']"),
            ],
        );
        check(
            one,
            &[("UNSUBSCRIBE a", "['unsubscribe', 'a', :2]"), ("UNSUBSCRIBE nothing", "['unsubscribe', 'nothing', :2]")],
        );
        check(one, &[("UNSUBSCRIBE", "['unsubscribe', 'b', :1]"), ("PUNSUBSCRIBE", "['punsubscribe', 'a*', :0]")]);
        check(one, &[("UNSUBSCRIBE", "['unsubscribe', nil, :0]"), ("PING", "+PONG"), ("GET a", "nil")]);
        check(two, &[("PUBLISH a hello", ":0"), ("PUBSUB CHANNELS", "[]")]);
    });
}

#[test]
fn a_listening_client_may_do_little_else_in_version_2() {
    on_both(|server| {
        let client = &mut server.connect();
        check(
            client,
            &[
                ("SUBSCRIBE a", "['subscribe', 'a', :1]"),
                ("PING", "['pong', '']"),
                ("PING hi", "['pong', 'hi']"),
                (
                    "GET a",
                    "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                ),
                (
                    "PUBLISH a x",
                    "-ERR Can't execute 'publish': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                ),
                ("RESET", "+RESET"),
                ("GET a", "nil"),
                ("PUBLISH a x", ":0"),
            ],
        );
    });
}

#[test]
fn version_3_mixes_pushes_with_replies() {
    on_both(|server| {
        let (one, two) = (&mut server.connect(), &mut server.connect());
        check(one, &[("HELLO 3", "..."), ("SUBSCRIBE a", ">['subscribe', 'a', :1]"), ("SET a 1", "+OK")]);
        check(two, &[("PUBLISH a x", ":1")]);
        expect(one, &[">['message', 'a', 'x']"]);
        check(one, &[("GET a", "'1'"), ("PING", "+PONG"), ("UNSUBSCRIBE", ">['unsubscribe', 'a', :0]")]);
        check(one, &[("UNSUBSCRIBE", ">['unsubscribe', null, :0]")]);
    });
}

#[test]
fn shard_channels_have_slots() {
    on_both_with(&["--cluster-enabled", "yes"], |server| {
        let (one, two) = (&mut server.connect(), &mut server.connect());
        own_all_slots(one);
        check(
            one,
            &[
                ("SSUBSCRIBE {x}a {y}b", "-CROSSSLOT Keys in request don't hash to the same slot"),
                ("SSUBSCRIBE {x}a", "['ssubscribe', '{x}a', :1]"),
                ("SSUBSCRIBE {y}b", "['ssubscribe', '{y}b', :2]"),
            ],
        );
        check(
            two,
            &[
                ("SPUBLISH {x}a hi", ":1"),
                ("PUBLISH {x}a hi", ":0"),
                ("PUBSUB SHARDNUMSUB {x}a", "['{x}a', :1]"),
                ("PUBSUB SHARDCHANNELS {x}*", "['{x}a']"),
            ],
        );
        expect(one, &["['smessage', '{x}a', 'hi']"]);
        check(
            one,
            &[("SUNSUBSCRIBE {x}a", "['sunsubscribe', '{x}a', :1]"), ("SUNSUBSCRIBE", "['sunsubscribe', '{y}b', :0]")],
        );
    });
}

#[test]
fn every_subscriber_on_any_core_gets_every_message_in_order() {
    let server = Server::slotcore(&[]);
    let mut listeners: Vec<Client> = (0..12).map(|_| server.connect()).collect();
    for listener in &mut listeners {
        check(listener, &[("SUBSCRIBE news", "['subscribe', 'news', :1]")]);
    }
    let mut publishers: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for number in 0..200 {
        let count = publishers[number % 4].must(&format!("PUBLISH news {number}")).integer();
        assert_eq!(count, 12);
    }
    for listener in &mut listeners {
        let mut last_of = [None; 4];
        for _ in 0..200 {
            let number: usize = listener.read().items()[2].text().parse().expect("a number");
            assert!(last_of[number % 4].is_none_or(|last| last < number), "messages of one publisher keep their order");
            last_of[number % 4] = Some(number);
        }
    }
    drop(listeners);
    let gone = holds_within(std::time::Duration::from_secs(10), || publishers[0].must("PUBLISH news x").integer() == 0);
    assert!(gone, "clients that left still count");
}

#[test]
fn a_subscription_in_a_transaction_and_a_publication() {
    on_both(|server| {
        let (one, two) = (&mut server.connect(), &mut server.connect());
        check(two, &[("SUBSCRIBE a", "['subscribe', 'a', :1]")]);
        check(one, &[("MULTI", "+OK"), ("SET k 1", "+QUEUED"), ("PUBLISH a x", "+QUEUED"), ("EXEC", "[+OK, :1]")]);
        expect(two, &["['message', 'a', 'x']"]);
    });
}

/// A client that listens to all events of keys.
fn listener(server: &Server) -> Client {
    let mut client = server.connect();
    check(&mut client, &[("PSUBSCRIBE __key*", "['psubscribe', '__key*', :1]")]);
    client
}

/// The events that come, as `event key`, until the mark.
fn events(listener: &mut Client, server: &Server) -> Vec<String> {
    server.connect().must("PUBLISH __key_mark x");
    let mut events = Vec::new();
    loop {
        let reply = listener.read();
        let (channel, payload) = (reply.items()[2].text(), reply.items()[3].text());
        if channel == "__key_mark" {
            return events;
        }
        if let Some(event) = channel.strip_prefix("__keyevent@") {
            events.push(format!("{event} {payload}"));
        } else {
            assert!(channel.starts_with("__keyspace@"), "{channel}");
        }
    }
}

#[test]
fn changes_of_strings_and_keys_are_events() {
    on_both_with(&["--notify-keyspace-events", "KEA"], |server| {
        let mut listener = listener(server);
        let client = &mut server.connect();
        let cases: &[(&str, &[&str])] = &[
            ("SET a 1", &["set a"]),
            ("SET a 1 EX 100", &["set a", "expire a"]),
            ("SETEX a 100 1", &["set a", "expire a"]),
            ("SET a 2 NX", &[]),
            ("SETNX b 1", &["set b"]),
            ("SETNX b 1", &[]),
            ("MSET a 1 b 2", &["set a", "set b"]),
            ("MSETNX c 1 d 2", &["set c", "set d"]),
            ("APPEND a x", &["append a"]),
            ("SETRANGE a 1 yy", &["setrange a"]),
            ("SETRANGE a 1 \"\"", &[]),
            ("INCR b", &["incrby b"]),
            ("DECRBY b 3", &["incrby b"]),
            ("INCRBYFLOAT b 1.5", &["incrbyfloat b"]),
            ("GETSET b 1", &["set b"]),
            ("GETDEL b", &["del b"]),
            ("GETDEL b", &[]),
            ("EXPIRE a 100", &["expire a"]),
            ("PERSIST a", &["persist a"]),
            ("PERSIST a", &[]),
            ("GETEX a EX 100", &["expire a"]),
            ("GETEX a PERSIST", &["persist a"]),
            ("GETEX a", &[]),
            ("PEXPIREAT a 1", &["del a"]),
            ("RENAME c e", &["rename_from c", "rename_to e"]),
            ("COPY e f", &["copy_to f"]),
            ("DEL e f missing", &["del e", "del f"]),
            ("UNLINK d", &["del d"]),
        ];
        for (line, expected) in cases {
            client.line(line);
            let found: Vec<String> = events(&mut listener, server);
            let expected: Vec<String> = expected.iter().map(|event| format!("0__:{event}")).collect();
            assert_eq!(found, expected, "{:?}: {line}", server.kind);
        }
        client.must("SET m 1");
        client.must("MOVE m 4");
        let found = events(&mut listener, server);
        assert_eq!(found, ["0__:set m", "0__:move_from m", "4__:move_to m"]);
    });
}

#[test]
fn expiry_misses_and_new_keys_are_events_when_asked_for() {
    on_both_with(&["--notify-keyspace-events", "Exmn", "--enable-debug-command", "yes"], |server| {
        let mut listener = listener(server);
        let client = &mut server.connect();
        client.must("DEBUG SET-ACTIVE-EXPIRE 0");
        client.must("SET a 1 PX 1");
        assert_eq!(events(&mut listener, server), ["0__:new a"]);
        assert!(holds_within(std::time::Duration::from_secs(10), || client.must("EXISTS a").integer() == 0));
        let found = events(&mut listener, server);
        assert_eq!(found[0], "0__:expired a");
        client.line("GET nothing");
        assert_eq!(events(&mut listener, server), ["0__:keymiss nothing"]);
        client.must("CONFIG SET notify-keyspace-events \"\"");
        client.must("SET b 1");
        assert!(events(&mut listener, server).is_empty());
    });
}
