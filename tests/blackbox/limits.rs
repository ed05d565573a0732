//! Limits that protect the server: connections, idle time, buffers, where it listens.

use std::time::{Duration, Instant};

use crate::support::client::{encode, split_line};
use crate::support::server::cores;
use crate::support::{Client, Kind, Server, check, holds_within, on_both, on_both_with};

#[test]
fn connections_over_maxclients_are_told_and_closed() {
    on_both_with(&["--maxclients", "10"], |server| {
        // The connection that saw the server start may still count for a moment.
        let mut first = server.connect();
        assert!(holds_within(Duration::from_secs(5), || first.info_number("connected_clients") == 1));
        let mut others: Vec<Client> = (1..10).map(|_| server.connect()).collect();
        for client in &mut others {
            assert_eq!(client.line("PING").to_string(), "+PONG");
        }
        let mut refused = server.connect();
        assert_eq!(refused.read_until_closed(), b"-ERR max number of clients reached\r\n");
        assert_eq!(first.info_number("rejected_connections"), 1);
        drop(others.pop());
        assert!(holds_within(Duration::from_secs(5), || first.info_number("connected_clients") == 9));
        assert_eq!(server.connect().line("PING").to_string(), "+PONG");
        check(&mut first, &[("CONFIG SET maxclients 20", "+OK"), ("CONFIG GET maxclients", "['maxclients', '20']")]);
        let more: Vec<Client> = (0..8).map(|_| server.connect()).collect();
        for mut client in more {
            assert_eq!(client.line("PING").to_string(), "+PONG");
        }
    });
}

#[test]
fn idle_connections_are_closed_after_timeout() {
    on_both_with(&["--timeout", "1"], |server| {
        let mut idle = server.connect();
        let mut busy = server.connect();
        idle.must("PING");
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(3500) {
            busy.must("PING");
            std::thread::sleep(Duration::from_millis(100));
        }
        idle.set_read_timeout(Duration::from_secs(5));
        assert!(idle.is_closed());
        check(&mut busy, &[("CONFIG SET timeout 0", "+OK")]);
        std::thread::sleep(Duration::from_millis(2500));
        assert_eq!(busy.line("PING").to_string(), "+PONG");
    });
}

/// Requests replies and never reads them; true when the server ended the connection.
fn asks_and_never_reads(server: &Server, value_len: usize, requests: usize) -> bool {
    let mut control = server.connect();
    control.cmd(&[b"SET".as_slice(), b"big", &vec![b'x'; value_len]]);
    let mut reader = server.connect();
    let id = reader.must("CLIENT ID").integer();
    let request = encode(&["GET", "big"]);
    for _ in 0..requests {
        if reader.try_send(&request).is_err() {
            break;
        }
    }
    holds_within(Duration::from_secs(15), || control.must(&format!("CLIENT LIST ID {id}")).text().is_empty())
}

#[test]
fn a_slow_reader_over_the_hard_output_limit_is_closed() {
    on_both_with(&["--client-output-buffer-limit", "normal 4mb 0 0"], |server| {
        assert!(asks_and_never_reads(server, 1 << 20, 40));
        assert_eq!(server.connect().line("PING").to_string(), "+PONG");
    });
}

#[test]
fn draws_without_end_are_cut_off_at_the_output_limit() {
    on_both_with(&["--client-output-buffer-limit", "normal 4mb 0 0"], |server| {
        let mut control = server.connect();
        control.must("HSET small f v");
        control.must("SADD set-small a");
        control.must("ZADD zset-small 1 a");
        let fields: Vec<String> = (0..2000).map(|number| format!("{number}")).collect();
        let scored: Vec<String> = fields.iter().map(|field| format!("{field} {field}")).collect();
        control.must(&format!("HSET large {}", scored.join(" ")));
        control.must(&format!("SADD set-large x {}", fields.join(" ")));
        control.must(&format!("ZADD zset-large {}", scored.join(" ")));
        let lines = [
            "HRANDFIELD small -4000000000000000000 WITHVALUES",
            "HRANDFIELD large -4000000000000000000",
            "SRANDMEMBER set-small -9000000000000000000",
            "SRANDMEMBER set-large -9000000000000000000",
            "ZRANDMEMBER zset-small -4000000000000000000",
            "ZRANDMEMBER zset-large -4000000000000000000 WITHSCORES",
        ];
        for line in lines {
            let mut reader = server.connect();
            // What stands behind it in the same bytes is not run, unless it is on another core by then.
            let after = format!("INCR after:{}", line.split(' ').next().unwrap());
            reader.send(&[encode(&split_line(line)), encode(&split_line(&after))].concat());
            reader.read_until_closed();
            assert_eq!(control.line("PING").to_string(), "+PONG");
        }
        let run_on = control.must("EXISTS after:HRANDFIELD after:SRANDMEMBER after:ZRANDMEMBER").integer();
        assert!(run_on == 0 || server.kind.is_slotcore() && cores() > 1, "{run_on} were run");
        assert_eq!(server.log().matches("overcoming of output buffer limits").count(), lines.len());
    });
}

#[test]
fn a_long_reply_that_is_not_wanted_closes_nobody() {
    on_both_with(&["--client-output-buffer-limit", "normal 1mb 0 0"], |server| {
        let mut control = server.connect();
        let fields: Vec<String> = (0..40).map(|number| format!("{number} {}", "x".repeat(100_000))).collect();
        control.must(&format!("HSET big {}", fields.join(" ")));
        // On any core.
        for _ in 0..4 {
            let mut client = server.connect();
            client.send(&encode(&split_line("CLIENT REPLY OFF")));
            client.send(&encode(&split_line("HGETALL big")));
            client.send(&encode(&split_line("MULTI")));
            client.send(&encode(&split_line("HGETALL big")));
            client.send(&encode(&split_line("EXEC")));
            assert_eq!(client.line("CLIENT REPLY ON").to_string(), "+OK");
            assert_eq!(client.line("HLEN big").to_string(), ":40");
        }
    });
}

#[test]
fn a_slow_reader_over_the_soft_output_limit_is_closed_after_its_seconds() {
    on_both_with(&["--client-output-buffer-limit", "normal 0 2mb 1"], |server| {
        assert!(asks_and_never_reads(server, 1 << 20, 40));
    });
}

#[test]
fn a_slow_reader_within_its_limit_gets_everything() {
    on_both(|server| {
        let mut client = server.connect();
        client.cmd(&[b"SET".as_slice(), b"big", &vec![b'x'; 1 << 20]]);
        let request = encode(&["GET", "big"]).repeat(40);
        client.send(&request);
        std::thread::sleep(Duration::from_millis(300));
        for _ in 0..40 {
            assert_eq!(client.read().bytes().len(), 1 << 20);
        }
    });
}

#[test]
fn a_request_over_client_query_buffer_limit_closes() {
    on_both_with(&["--client-query-buffer-limit", "1mb"], |server| {
        let mut client = server.connect();
        let big = encode(&[b"SET".as_slice(), b"k", &vec![b'x'; 8 << 20]]);
        let sent = client.try_send(&big);
        let ended = sent.is_err() || client.try_read().is_err();
        assert!(ended, "a request of 8 MB passes a limit of 1 MB");
        assert_eq!(server.connect().line("EXISTS k").to_string(), ":0");
    });
}

#[test]
fn a_unix_socket_serves_like_tcp() {
    on_both_with(&["--unixsocket", "slotcore.sock", "--unixsocketperm", "700"], |server| {
        use std::os::unix::fs::PermissionsExt;
        let path = server.dir.join("slotcore.sock");
        let mode = std::fs::metadata(&path).expect("the socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let mut client = Client::connect_unix(&path).expect("a connection over the socket");
        check(&mut client, &[("SET k v", "+OK"), ("GET k", "'v'")]);
        assert_eq!(server.connect().line("GET k").to_string(), "'v'");
        let info = client.must("CLIENT INFO").text();
        assert!(info.contains("flags=U "), "{info}");
        let big = vec![b'x'; 4 << 20];
        assert_eq!(client.cmd(&[b"SET".as_slice(), b"big", &big]).to_string(), "+OK");
        assert!(client.line("GET big").bytes() == big);
    });
}

#[test]
fn the_unix_socket_file_is_gone_after_a_clean_stop() {
    for kind in [Kind::Slotcore, Kind::Redis] {
        let mut server = Server::start(kind, &["--unixsocket", "slotcore.sock"]);
        let path = server.dir.join("slotcore.sock");
        assert!(path.exists());
        let status = server.stop();
        assert!(status.success() && !path.exists(), "{status}: {}", server.log());
        server.restart();
        assert!(path.exists());
    }
}

#[test]
fn several_bind_addresses_ipv6_among_them_are_served() {
    on_both_with(&["--bind", "127.0.0.1", "::1", "127.0.0.2"], |server| {
        for host in ["127.0.0.1", "[::1]", "127.0.0.2"] {
            let mut client = Client::connect(&format!("{host}:{}", server.port)).expect("a connection");
            assert_eq!(client.line("PING").to_string(), "+PONG");
            let info = client.must("CLIENT INFO").text();
            assert!(info.contains(&format!("laddr={host}:{} ", server.port)), "{info}");
        }
        assert!(Client::connect(&format!("127.0.0.3:{}", server.port)).is_err());
    });
}

#[test]
fn five_hundred_connections_at_once_are_served() {
    on_both(|server| {
        let mut clients: Vec<Client> = (0..500).map(|_| server.connect()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&encode(&["SET", &format!("key:{number}"), &number.to_string()]));
        }
        for client in &mut clients {
            assert_eq!(client.read().to_string(), "+OK");
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let key = format!("key:{}", (number + 250) % 500);
            assert_eq!(client.cmd(&["GET", &key]).text(), ((number + 250) % 500).to_string());
        }
    });
}

#[test]
fn sockets_that_fill_up_in_the_same_turn_stop_nobody() {
    on_both(|server| {
        let publisher = &mut server.connect();
        let mut deaf: Vec<Client> = (0..20).map(|_| server.connect()).collect();
        deaf.iter_mut().for_each(|client| drop(client.must("SUBSCRIBE channel")));
        let message = encode(&[b"PUBLISH".as_slice(), b"channel", &vec![b'x'; 100_000]]);
        publisher.set_read_timeout(Duration::from_secs(20));
        for _ in 0..100 {
            publisher.send(&message);
            assert_eq!(publisher.read().to_string(), ":20");
        }
    });
}
