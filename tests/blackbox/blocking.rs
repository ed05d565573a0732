//! Commands that wait: lists, sorted sets, streams.

use std::time::{Duration, Instant};

use crate::cluster_one_node::own_all_slots;
use crate::support::client::{encode, split_line};
use crate::support::{Client, Server, check, holds_within, on_both, on_both_with};

const LONG: Duration = Duration::from_secs(10);

/// Sends a request that will have to wait, and sees to it that it does.
fn begin(client: &mut Client, other: &mut Client, line: &str) {
    let before = other.info_number("blocked_clients");
    client.send(&encode(&split_line(line)));
    assert!(holds_within(LONG, || other.info_number("blocked_clients") == before + 1), "{line} does not wait");
}

fn expect(client: &mut Client, reply: &str) {
    assert_eq!(client.read().to_string(), reply);
}

#[test]
fn those_who_wait_are_served_in_the_order_of_arrival() {
    on_both(|server| {
        let mut other = server.connect();
        let mut waiting: Vec<Client> = (0..5).map(|_| server.connect()).collect();
        for client in &mut waiting {
            begin(client, &mut other, "BLPOP q other 0");
        }
        check(&mut other, &[("RPUSH q a b", ":2"), ("RPUSH q c", ":1"), ("LLEN q", ":0"), ("RPUSH other d e f", ":3")]);
        for (client, (key, element)) in
            waiting.iter_mut().zip([("q", "a"), ("q", "b"), ("q", "c"), ("other", "d"), ("other", "e")])
        {
            expect(client, &format!("['{key}', '{element}']"));
        }
        check(&mut other, &[("LRANGE other 0 -1", "['f']"), ("EXISTS q", ":0")]);
        assert_eq!(other.info_number("blocked_clients"), 0);
    });
}

#[test]
fn each_family_waits_and_is_served() {
    on_both(|server| {
        let cases = [
            ("BLPOP a b 0", "RPUSH b 1 2", ":2", "['b', '1']"),
            ("BRPOP a b 0", "RPUSH b 1 2", ":2", "['b', '2']"),
            ("BLMOVE a b LEFT RIGHT 0", "RPUSH a 1", ":1", "'1'"),
            ("BRPOPLPUSH a b 0", "RPUSH a 1", ":1", "'1'"),
            ("BLMPOP 0 2 a b LEFT COUNT 2", "RPUSH b 1 2 3", ":3", "['b', ['1', '2']]"),
            ("BZPOPMIN a b 0", "ZADD b 1 x 2 y", ":2", "['b', 'x', '1']"),
            ("BZPOPMAX a b 0", "ZADD b 1 x 2 y", ":2", "['b', 'y', '2']"),
            ("BZMPOP 0 2 a b MIN COUNT 2", "ZADD b 1 x 2 y", ":2", "['b', [['x', '1'], ['y', '2']]]"),
            ("XREAD BLOCK 0 STREAMS a b $ $", "XADD b 1-1 f v", "'1-1'", "[['b', [['1-1', ['f', 'v']]]]]"),
        ];
        let (mut one, mut two) = (server.connect(), server.connect());
        for (wait, push, pushed, reply) in cases {
            two.must("FLUSHALL");
            begin(&mut one, &mut two, wait);
            check(&mut two, &[(push, pushed)]);
            expect(&mut one, reply);
        }
        two.must("FLUSHALL");
        two.must("XGROUP CREATE s g $ MKSTREAM");
        begin(&mut one, &mut two, "XREADGROUP GROUP g c BLOCK 0 STREAMS s >");
        two.must("XADD s 5-1 f v");
        expect(&mut one, "[['s', [['5-1', ['f', 'v']]]]]");
        check(&mut one, &[("XACK s g 5-1", ":1")]);
    });
}

#[test]
fn a_wait_ends_with_its_time() {
    on_both(|server| {
        let client = &mut server.connect();
        let cases = [
            ("BLPOP a 0.05", "nil*"),
            ("BRPOPLPUSH a b 0.05", "nil*"),
            ("BLMOVE a b LEFT LEFT 0.05", "nil*"),
            ("BLMPOP 0.05 1 a LEFT", "nil*"),
            ("BZPOPMIN a 0.05", "nil*"),
            ("XREAD BLOCK 50 STREAMS a $", "nil*"),
        ];
        for (line, reply) in cases {
            let begun = Instant::now();
            check(client, &[(line, reply)]);
            let waited = begun.elapsed();
            assert!(waited >= Duration::from_millis(49), "{line} waited only {waited:?}");
        }
        check(
            client,
            &[
                ("BLPOP a -1", "-ERR timeout is negative"),
                ("BLPOP a x", "-ERR timeout is not a float or out of range"),
                ("XREAD BLOCK -1 STREAMS a $", "-ERR timeout is negative"),
                ("XREAD BLOCK x STREAMS a $", "-ERR timeout is not an integer or out of range"),
                ("SET a 1", "+OK"),
                ("BLPOP a 0", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ],
        );
    });
}

#[test]
fn what_a_waiting_client_has_sent_runs_afterwards() {
    on_both(|server| {
        let (mut one, mut two) = (server.connect(), server.connect());
        begin(&mut one, &mut two, "BLPOP q 0");
        for line in ["SET mine 1", "BLPOP q 0", "GET mine"] {
            one.send(&encode(&split_line(line)));
        }
        check(&mut two, &[("EXISTS mine", ":0"), ("RPUSH q a", ":1")]);
        expect(&mut one, "['q', 'a']");
        expect(&mut one, "+OK");
        check(&mut two, &[("RPUSH q b", ":1")]);
        expect(&mut one, "['q', 'b']");
        expect(&mut one, "'1'");
    });
}

#[test]
fn a_transaction_is_over_before_anyone_is_served() {
    on_both(|server| {
        let (mut one, mut two) = (server.connect(), server.connect());
        begin(&mut one, &mut two, "BLPOP q 0");
        check(
            &mut two,
            &[
                ("MULTI", "+OK"),
                ("RPUSH q a", "+QUEUED"),
                ("DEL q", "+QUEUED"),
                ("RPUSH q b", "+QUEUED"),
                ("EXEC", "[:1, :1, :1]"),
            ],
        );
        expect(&mut one, "['q', 'b']");
        check(
            &mut two,
            &[
                ("MULTI", "+OK"),
                ("BLPOP q 0", "+QUEUED"),
                ("BLMOVE q r LEFT LEFT 0", "+QUEUED"),
                ("EXEC", "[nil*, nil]"),
            ],
        );
    });
}

#[test]
fn a_move_serves_who_waits_for_its_destination() {
    on_both(|server| {
        let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
        let mut other = server.connect();
        begin(&mut clients[0], &mut other, "BLMOVE a b LEFT RIGHT 0");
        begin(&mut clients[1], &mut other, "BLMOVE b c LEFT RIGHT 0");
        begin(&mut clients[2], &mut other, "BLPOP c 0");
        check(&mut other, &[("RPUSH a x", ":1")]);
        expect(&mut clients[0], "'x'");
        expect(&mut clients[1], "'x'");
        expect(&mut clients[2], "['c', 'x']");
        check(&mut other, &[("EXISTS a b c", ":0")]);
    });
}

#[test]
fn keys_that_come_by_other_ways_serve_too() {
    on_both(|server| {
        let (mut one, mut two) = (server.connect(), server.connect());
        for (prepare, bring) in
            [("RPUSH j a", "RENAME j q"), ("RPUSH j a", "COPY j q"), ("RPUSH j a b", "SORT j ALPHA STORE q")]
        {
            two.must("FLUSHALL");
            two.must(prepare);
            begin(&mut one, &mut two, "BLPOP q 0");
            two.must(bring);
            expect(&mut one, "['q', 'a']");
        }
        // A key of another type does not serve; once a list comes, it does.
        begin(&mut one, &mut two, "BLPOP w 0");
        check(&mut two, &[("SET w 1", "+OK"), ("APPEND w 2", ":2"), ("DEL w", ":1"), ("RPUSH w a", ":1")]);
        expect(&mut one, "['w', 'a']");
    });
}

#[test]
fn client_unblock_ends_a_wait() {
    on_both(|server| {
        let (mut one, mut two) = (server.connect(), server.connect());
        let id = one.must("CLIENT ID").integer();
        let (timeout, error) = (format!("CLIENT UNBLOCK {id}"), format!("CLIENT UNBLOCK {id} ERROR"));
        check(&mut two, &[(&timeout, ":0")]);
        begin(&mut one, &mut two, "BLPOP q 0");
        check(&mut two, &[(&timeout, ":1")]);
        expect(&mut one, "nil*");
        begin(&mut one, &mut two, "BLPOP q 0");
        check(&mut two, &[(&error, ":1"), (&error, ":0")]);
        expect(&mut one, "-UNBLOCKED client unblocked via CLIENT UNBLOCK");
        check(&mut one, &[("PING", "+PONG")]);
        let reason = format!("CLIENT UNBLOCK {id} WHY");
        check(
            &mut two,
            &[
                ("CLIENT UNBLOCK x", "-ERR value is not an integer or out of range"),
                (&reason, "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
            ],
        );
    });
}

#[test]
fn a_client_that_left_takes_nothing() {
    on_both(|server| {
        let (mut one, mut two) = (server.connect(), server.connect());
        begin(&mut one, &mut two, "BLPOP q 0");
        drop(one);
        assert!(holds_within(LONG, || two.info_number("blocked_clients") == 0));
        check(&mut two, &[("RPUSH q a", ":1"), ("LRANGE q 0 -1", "['a']")]);
    });
}

#[test]
fn a_group_that_goes_ends_the_wait_for_it() {
    let server = Server::slotcore(&[]);
    let (mut one, mut two) = (server.connect(), server.connect());
    for destroy in ["XGROUP DESTROY s g", "DEL s", "SET s 1"] {
        two.must("DEL s");
        two.must("XGROUP CREATE s g $ MKSTREAM");
        begin(&mut one, &mut two, "XREADGROUP GROUP g c BLOCK 0 STREAMS s >");
        two.must(destroy);
        let reply = one.read().to_string();
        let expected = if destroy.starts_with("SET") { "-WRONGTYPE" } else { "-NOGROUP" };
        assert!(reply.starts_with(expected), "{destroy}: {reply}");
    }
}

#[test]
fn waiting_crosses_cores_in_a_cluster() {
    on_both_with(&["--cluster-enabled", "yes"], |server| {
        let mut other = server.connect();
        own_all_slots(&mut other);
        let mut waiting: Vec<Client> = (0..16).map(|_| server.connect()).collect();
        for (number, client) in waiting.iter_mut().enumerate() {
            begin(client, &mut other, &format!("BLPOP q{number} 0"));
        }
        for number in 0..16 {
            other.must(&format!("RPUSH q{number} v{number}"));
        }
        for (number, client) in waiting.iter_mut().enumerate() {
            expect(client, &format!("['q{number}', 'v{number}']"));
        }
        check(&mut waiting[0], &[("BLPOP {a}x {b}x 0", "-CROSSSLOT Keys in request don't hash to the same slot")]);
    });
}

#[test]
fn many_producers_and_consumers_lose_and_double_nothing() {
    let server = Server::slotcore(&[]);
    let consumers: Vec<_> = (0..4)
        .map(|_| {
            let mut client = server.connect();
            std::thread::spawn(move || {
                let mut taken = Vec::new();
                loop {
                    let element = client.must("BLPOP q 0").items()[1].text();
                    if element == "end" {
                        return taken;
                    }
                    taken.push(element);
                }
            })
        })
        .collect();
    let producers: Vec<_> = (0..2)
        .map(|producer| {
            let mut client = server.connect();
            std::thread::spawn(move || (0..500).for_each(|n| drop(client.must(&format!("RPUSH q {producer}:{n}")))))
        })
        .collect();
    producers.into_iter().for_each(|producer| producer.join().expect("the producer has not failed"));
    server.connect().must("RPUSH q end end end end");
    let mut all: Vec<String> =
        consumers.into_iter().flat_map(|consumer| consumer.join().expect("it has not failed")).collect();
    all.sort_unstable();
    let mut expected: Vec<String> = (0..2).flat_map(|p| (0..500).map(move |n| format!("{p}:{n}"))).collect();
    expected.sort_unstable();
    assert_eq!(all, expected);
}
