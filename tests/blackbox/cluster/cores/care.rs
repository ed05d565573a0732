//! Who cares about keys of a slot does so wherever it is: who waits, watches, keeps copies, subscribes.

use super::super::moving::slot_of;
use super::super::nodes::LIMIT;
use super::{alone, has_several_cores, hop};
use crate::support::{Client, Value, check, holds_within};

fn wait_until_blocked(client: &mut Client, count: i64) {
    assert!(holds_within(LIMIT, || client.info_number("blocked_clients") == count), "nobody waits");
}

#[test]
fn who_waits_is_served_in_the_order_of_arrival() {
    if !has_several_cores() {
        return;
    }
    let server = alone(&[]);
    let (client, slot) = (&mut server.connect(), slot_of("tag"));
    let mut waiting: Vec<Client> = Vec::new();
    for number in 0..6 {
        let mut waiter = server.connect();
        // Some wait for two keys.
        let line = if number % 2 == 0 { "BLPOP {tag}a 0" } else { "BLPOP {tag}b {tag}a 0" };
        waiter.send(&crate::support::client::encode(&crate::support::client::split_line(line)));
        wait_until_blocked(client, number + 1);
        waiting.push(waiter);
        if number % 2 == 1 {
            hop(client, slot);
        }
    }
    hop(client, slot);
    client.must("RPUSH {tag}a 0 1 2");
    for (number, waiter) in waiting.iter_mut().take(3).enumerate() {
        assert_eq!(waiter.read().to_string(), format!("['{{tag}}a', '{number}']"));
    }
    hop(client, slot);
    client.must("RPUSH {tag}b x");
    assert_eq!(waiting[3].read().to_string(), "['{tag}b', 'x']");
    client.must("RPUSH {tag}a 4");
    assert_eq!(waiting[4].read().to_string(), "['{tag}a', '4']");
    wait_until_blocked(client, 1);
}

#[test]
fn a_wait_ends_where_it_has_gone_to() {
    if !has_several_cores() {
        return;
    }
    let server = alone(&[]);
    let (client, slot) = (&mut server.connect(), slot_of("tag"));
    let (timed, unblocked, closed) = (&mut server.connect(), &mut server.connect(), server.connect());
    let id = unblocked.must("CLIENT ID").integer();
    for (number, waiter) in [&mut *timed, &mut *unblocked, &mut { closed }].into_iter().enumerate() {
        let line = if number == 0 { "BRPOP {tag}a 0.3" } else { "BRPOP {tag}a 0" };
        waiter.send(&crate::support::client::encode(&crate::support::client::split_line(line)));
        wait_until_blocked(client, number as i64 + 1);
    }
    // The third has closed its connection by now.
    hop(client, slot);
    wait_until_blocked(client, 2);
    client.must(&format!("CLIENT UNBLOCK {id} ERROR"));
    assert_eq!(unblocked.read().to_string(), "-UNBLOCKED client unblocked via CLIENT UNBLOCK");
    assert_eq!(timed.read().to_string(), "nil*");
    check(client, &[("RPUSH {tag}a 1", ":1"), ("LRANGE {tag}a 0 -1", "['1']")]);
}

#[test]
fn watches_go_with_the_keys() {
    if !has_several_cores() {
        return;
    }
    let server = alone(&[]);
    let (client, other) = (&mut server.connect(), &mut server.connect());
    let slot = slot_of("tag");
    client.must("SET {tag}a 1");
    let run = |client: &mut Client| {
        client.must("MULTI");
        client.must("SET {tag}r 1");
        client.line("EXEC").to_string()
    };
    type Step = fn(&mut Client, &mut Client, u16);
    let steps: [(&str, Step, &str); 7] = [
        ("nothing happens", |_, _, _| {}, "[+OK]"),
        ("it hops", |_, other, slot| _ = hop(other, slot), "[+OK]"),
        ("touched, then hops", |_, other, slot| _ = (other.must("SET {tag}a 2"), hop(other, slot)), "nil*"),
        ("hops, then touched", |_, other, slot| _ = (hop(other, slot), other.must("SET {tag}a 2")), "nil*"),
        (
            "hops twice, then another key is touched",
            |_, other, slot| _ = (hop(other, slot), hop(other, slot), other.must("SET {tag}b 2")),
            "[+OK]",
        ),
        (
            "touched between",
            |_, other, slot| _ = (hop(other, slot), other.must("DEL {tag}a"), hop(other, slot)),
            "nil*",
        ),
        (
            "forgotten where it was",
            |client, other, slot| _ = (hop(other, slot), client.must("UNWATCH"), other.must("SET {tag}a 2")),
            "[+OK]",
        ),
    ];
    for (what, step, expected) in steps {
        client.must("SET {tag}a 1");
        client.must("WATCH {tag}a");
        step(client, other, slot);
        assert_eq!(run(client), expected, "{what}");
        assert_eq!(run(client), "[+OK]", "{what}: it watches nothing any more");
    }
    // Keys of several slots: all of them count.
    for touched in ["{tag}a", "one", "two"] {
        client.must("WATCH {tag}a");
        client.must("WATCH one");
        client.must("WATCH two");
        for key in ["tag", "one", "two"] {
            hop(other, slot_of(key));
        }
        other.must(&format!("SET {touched} 3"));
        assert_eq!(run(client), "nil*", "{touched}");
        assert_eq!(run(client), "[+OK]", "{touched}");
    }
}

#[test]
fn readers_are_told_of_changes_on_whichever_core() {
    if !has_several_cores() {
        return;
    }
    let server = alone(&[]);
    let (reader, writer) = (&mut server.connect(), &mut server.connect());
    let slot = slot_of("tag");
    writer.pipeline(&["SET {tag}a 1", "SET {tag}b 1", "SET other 1"]);
    reader.must("HELLO 3");
    reader.must("CLIENT TRACKING ON");
    reader.pipeline(&["GET {tag}a", "GET {tag}b", "GET other"]);
    hop(writer, slot);
    assert_eq!(writer.info_number("tracking_total_keys"), 3);
    for key in ["{tag}a", "other", "{tag}b"] {
        writer.must(&format!("SET {key} 2"));
        let told = reader.read();
        let Value::Push(items) = &told.value else { panic!("no push: {told}") };
        assert_eq!(items[1].items()[0].text(), key);
        hop(writer, slot);
    }
    writer.pipeline(&["SET {tag}a 3", "SET {tag}b 3"]);
    check(reader, &[("ECHO quiet", "'quiet'")]);
    assert_eq!(writer.info_number("tracking_total_keys"), 0);
}

#[test]
fn shard_channels_and_scripts_are_where_the_slot_is() {
    if !has_several_cores() {
        return;
    }
    let server = alone(&[]);
    let (listener, client) = (&mut server.connect(), &mut server.connect());
    listener.must("SSUBSCRIBE {tag}channel");
    let digest = client.must("SCRIPT LOAD \"return redis.call('incr', KEYS[1])\"").text();
    for number in 1..5 {
        hop(client, slot_of("tag"));
        assert_eq!(client.must(&format!("SPUBLISH {{tag}}channel {number}")).integer(), 1);
        assert_eq!(listener.read().to_string(), format!("['smessage', '{{tag}}channel', '{number}']"));
        assert_eq!(client.must(&format!("EVALSHA {digest} 1 {{tag}}c")).integer(), number);
    }
}

/// Keys in one slot are read and written by clients on every core while the slot hops: replies in order, none lost.
#[test]
fn replies_come_in_the_order_of_requests_while_slots_hop() {
    if !has_several_cores() {
        return;
    }
    let server = alone(&[]);
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    let admin = &mut server.connect();
    let mut total = 0;
    for round in 0..60 {
        for client in &mut clients {
            let mut bytes = Vec::new();
            for number in 0..20 {
                for line in [format!("ECHO {number}"), "INCR {tag}c".to_owned(), format!("SET k{number} v")] {
                    bytes.extend(crate::support::client::encode(&crate::support::client::split_line(&line)));
                }
            }
            client.send(&bytes);
        }
        hop(admin, slot_of(if round % 2 == 0 { "tag" } else { "k3" }));
        for client in &mut clients {
            let mut last = 0;
            for number in 0..20 {
                assert_eq!(client.read().to_string(), format!("'{number}'"));
                let value = client.read().value.integer();
                assert!(value > last);
                last = value;
                assert_eq!(client.read().to_string(), "+OK");
            }
            total += 20;
        }
        assert_eq!(admin.must("GET {tag}c").text(), total.to_string());
    }
}
