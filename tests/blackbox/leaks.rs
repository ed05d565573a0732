//! What connections leave behind: nothing.

use std::time::Duration;

use crate::support::client::encode;
use crate::support::random::Random;
use crate::support::{Client, holds_within, number_from_env, on_both};

/// Memory that may stay: buffers that the server keeps for the next connections.
const LEFT_BYTES: i64 = 2 << 20;

#[test]
fn ten_thousand_connections_dropped_mid_command_leave_nothing() {
    let rounds = number_from_env("SLOTCORE_LEAK_CONNECTIONS", 10_000);
    on_both(|server| {
        let mut control = server.connect();
        control.must("SET k v");
        let request = [
            encode(&["GET", "k"]),
            encode(&["SET", "k", &"v".repeat(3000)]),
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10000000\r\n".to_vec(),
            b"half of a value".to_vec(),
        ]
        .concat();
        let mut random = Random::new(10_000);
        let mut open: Vec<Client> = Vec::new();
        let drop_some = |open: &mut Vec<Client>, keep: usize, random: &mut Random| {
            while open.len() > keep {
                open.swap_remove(random.index(open.len()));
            }
        };
        let before = {
            // One round first, so that what is allocated once is there already.
            for _ in 0..200 {
                let mut client = server.connect();
                client.send(&request);
                open.push(client);
            }
            drop_some(&mut open, 0, &mut random);
            assert!(holds_within(Duration::from_secs(20), || control.info_number("connected_clients") == 1));
            control.info_number("used_memory")
        };
        for _ in 0..rounds {
            let mut client = server.connect();
            let cut = random.index(request.len() + 1);
            // A server that has closed already is not what this test looks for; the counters below are.
            let _ = client.try_send(&request[..cut]);
            open.push(client);
            if open.len() > 100 {
                drop_some(&mut open, 50, &mut random);
            }
        }
        drop_some(&mut open, 0, &mut random);
        let closed = holds_within(Duration::from_secs(20), || control.info_number("connected_clients") == 1);
        assert!(closed, "{} connections stay", control.info_number("connected_clients"));
        let returned =
            holds_within(Duration::from_secs(20), || control.info_number("used_memory") - before < LEFT_BYTES);
        assert!(returned, "{} bytes stay", control.info_number("used_memory") - before);
        assert_eq!(control.line("PING").to_string(), "+PONG");
    });
}

#[test]
fn replies_nobody_reads_are_freed_with_their_connection() {
    on_both(|server| {
        let mut control = server.connect();
        control.cmd(&["SET", "big", &"x".repeat(100_000)]);
        let before = control.info_number("used_memory");
        for _ in 0..20 {
            let mut client = server.connect();
            for _ in 0..50 {
                client.send(&encode(&["GET", "big"]));
            }
        }
        assert!(holds_within(Duration::from_secs(20), || control.info_number("connected_clients") == 1));
        let returned =
            holds_within(Duration::from_secs(20), || control.info_number("used_memory") - before < LEFT_BYTES);
        assert!(returned, "{} bytes stay", control.info_number("used_memory") - before);
    });
}

#[test]
fn the_table_of_a_command_of_very_many_arguments_is_given_back() {
    on_both(|server| {
        let mut client = server.connect();
        let before = client.info_number("used_memory");
        let members: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
        let request: Vec<&str> = ["SADD", "set"].into_iter().chain(members.iter().map(String::as_str)).collect();
        assert_eq!(client.cmd(&request).integer(), 100_000);
        client.must("UNLINK set");
        let returned = holds_within(Duration::from_secs(10), || client.info_number("used_memory") - before < 1 << 20);
        assert!(returned, "{} bytes stay", client.info_number("used_memory") - before);
    });
}
