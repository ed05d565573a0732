//! Commands about the connection itself.

use crate::support::{Client, Value, check, on_both, on_both_with};

fn table(rows: &[(&str, &str)]) {
    on_both(|server| check(&mut server.connect(), rows));
}

#[test]
fn ping_echo_and_select() {
    table(&[
        ("PING", "+PONG"),
        ("ping hello", "'hello'"),
        ("PING a b", "-ERR wrong number of arguments for 'ping' command"),
        (r#"ECHO "\x00a""#, r"'\x00a'"),
        ("ECHO", "-ERR wrong number of arguments for 'echo' command"),
        ("SELECT 15", "+OK"),
        ("SELECT 16", "-ERR DB index is out of range"),
        ("SELECT -1", "-ERR DB index is out of range"),
        ("SELECT x", "-ERR value is not an integer or out of range"),
        ("SELECT 99999999999999999999", "-ERR value is not an integer or out of range"),
        ("QUIT", "+OK"),
    ]);
}

#[test]
fn unknown_commands_are_named_with_their_arguments() {
    table(&[
        ("NOSUCH", "-ERR unknown command 'NOSUCH', with args beginning with: "),
        ("NOSUCH a b", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' "),
        (r#""NO\nSUCH" "a\rb""#, "-ERR unknown command 'NO SUCH', with args beginning with: 'a b' "),
        (r#""" a"#, "-ERR unknown command '', with args beginning with: 'a' "),
        ("CLIENT NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP."),
        ("CONFIG NOSUCH x", "-ERR unknown subcommand 'NOSUCH'. Try CONFIG HELP."),
        ("CLIENT", "-ERR wrong number of arguments for 'client' command"),
        ("CLIENT SETNAME", "-ERR wrong number of arguments for 'client|setname' command"),
    ]);
    on_both(|server| {
        let client = &mut server.connect();
        let long = "x".repeat(200);
        for request in [vec![long.as_str()], vec!["NOSUCH", &long], vec!["NOSUCH", &long[..100], &long[..100], "b"]] {
            let reply = client.cmd(&request).to_string();
            assert!(reply.starts_with("-ERR unknown command '"), "{reply}");
            assert!(reply.len() < 330, "{reply}");
        }
    });
}

#[test]
fn hello_switches_the_protocol_and_says_who_answers() {
    on_both(|server| {
        let client = &mut server.connect();
        check(
            client,
            &[
                ("HELLO 1", "-NOPROTO unsupported protocol version"),
                ("HELLO 4", "-NOPROTO unsupported protocol version"),
                ("HELLO x", "-ERR Protocol version is not an integer or out of range"),
                ("HELLO 3 BOGUS", "-ERR Syntax error in HELLO option 'BOGUS'"),
                ("HELLO 3 SETNAME 'a b'", "-ERR Client names cannot contain spaces, newlines or special characters."),
                ("GET missing", "nil"),
                ("HELLO 3 SETNAME me", "{..."),
                ("CLIENT GETNAME", "'me'"),
                ("GET missing", "null"),
            ],
        );
        for version in ["2", "3"] {
            let hello = client.must(&format!("HELLO {version}"));
            assert_eq!(matches!(hello, Value::Map(_)), version == "3");
            assert_eq!(hello.field("server").expect("server").text(), "redis");
            assert_eq!(hello.field("proto").expect("proto").to_string(), format!(":{version}"));
            assert_eq!(hello.field("mode").expect("mode").text(), "standalone");
            assert_eq!(hello.field("role").expect("role").text(), "master");
            assert!(hello.field("id").expect("id").integer() > 0);
            assert!(hello.field("modules").expect("modules").items().is_empty());
            assert!(hello.field("version").expect("version").text().starts_with('7'));
        }
        assert!(matches!(client.must("HELLO"), Value::Map(_)), "HELLO without a version keeps the protocol");
    });
}

#[test]
fn requirepass_gates_everything_but_auth_hello_quit_and_reset() {
    on_both_with(&["--requirepass", "secret"], |server| {
        let client = &mut server.connect();
        // 7.2 names the protocol in the option it proposes.
        let option =
            if server.is_72_with("secret") { "HELLO <proto> AUTH <user> <pass>" } else { "HELLO AUTH <user> <pass>" };
        let hello_refused = format!(
            "-NOAUTH HELLO must be called with the client already authenticated, otherwise the {option} option can be \
             used to authenticate the client and select the RESP protocol version at the same time"
        );
        let hello_refused = hello_refused.as_str();
        check(
            client,
            &[
                ("GET k", "-NOAUTH Authentication required."),
                ("PING", "-NOAUTH Authentication required."),
                ("NOSUCH", "-ERR unknown command 'NOSUCH', with args beginning with: "),
                ("GET", "-ERR wrong number of arguments for 'get' command"),
                ("AUTH wrong", "-WRONGPASS invalid username-password pair or user is disabled."),
                ("AUTH default wrong", "-WRONGPASS invalid username-password pair or user is disabled."),
                ("AUTH nobody secret", "-WRONGPASS invalid username-password pair or user is disabled."),
                ("AUTH", "-ERR wrong number of arguments for 'auth' command"),
                ("AUTH a b c", "-ERR syntax error"),
                ("HELLO 3", hello_refused),
                ("HELLO 3 AUTH default wrong", "-WRONGPASS invalid username-password pair or user is disabled."),
                ("HELLO 3 AUTH default secret", "{..."),
                ("GET k", "null"),
                ("RESET", "+RESET"),
                ("GET k", "-NOAUTH Authentication required."),
                ("AUTH secret", "+OK"),
                ("GET k", "nil"),
                ("CONFIG GET requirepass", "['requirepass', 'secret']"),
                ("CONFIG SET requirepass ''", "+OK"),
                (
                    "AUTH secret",
                    "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
                ),
            ],
        );
        check(&mut server.connect(), &[("GET k", "nil"), ("AUTH default anything", "+OK")]);
    });
}

#[test]
fn client_names_are_kept_listed_and_reset() {
    on_both(|server| {
        let client = &mut server.connect();
        check(
            client,
            &[
                ("CLIENT GETNAME", "nil"),
                ("CLIENT SETNAME worker-1", "+OK"),
                ("CLIENT GETNAME", "'worker-1'"),
                ("CLIENT SETNAME 'a b'", "-ERR Client names cannot contain spaces, newlines or special characters."),
                ("CLIENT GETNAME", "'worker-1'"),
            ],
        );
        let list = client.must("CLIENT LIST").text();
        assert!(list.contains(" name=worker-1 "), "{list}");
        check(client, &[("SELECT 3", "+OK"), ("RESET", "+RESET"), ("CLIENT GETNAME", "nil")]);
        assert!(client.must("CLIENT INFO").text().contains(" db=0 "));
    });
}

#[test]
fn client_list_has_the_fields_of_redis() {
    on_both(|server| {
        let client = &mut server.connect();
        let id = client.must("CLIENT ID").integer();
        let mut other = server.connect();
        other.must("PING");
        assert!(other.must("CLIENT ID").integer() > id, "ids grow");
        let info = client.must("CLIENT INFO").text();
        let list = client.must("CLIENT LIST").text();
        assert_eq!(list.lines().count(), 2, "{list}");
        for field in [
            "id=",
            "addr=127.0.0.1:",
            "laddr=127.0.0.1:",
            "fd=",
            "name=",
            "age=",
            "idle=",
            "flags=N",
            "db=0",
            "sub=0",
            "psub=0",
            "ssub=0",
            "multi=-1",
            "qbuf=",
            "qbuf-free=",
            "argv-mem=",
            "multi-mem=0",
            "rbs=",
            "rbp=",
            "obl=",
            "oll=",
            "omem=",
            "tot-mem=",
            "events=",
            "cmd=client|info",
            "user=default",
            "redir=-1",
            "resp=2",
        ] {
            assert!(info.split(' ').any(|word| word.starts_with(field)), "{field} is not in {info}");
        }
        let one = client.must(&format!("CLIENT LIST ID {id}")).text();
        assert!(one.starts_with(&format!("id={id} ")), "{one}");
        assert_eq!(one.lines().count(), 1);
        assert_eq!(client.must("CLIENT LIST TYPE normal").text().lines().count(), 2);
        assert_eq!(client.must("CLIENT LIST TYPE pubsub").text().lines().count(), 0);
        check(
            client,
            &[
                ("CLIENT LIST TYPE bogus", "-ERR Unknown client type 'bogus'"),
                ("CLIENT LIST ID x", "-ERR Invalid client ID"),
                ("CLIENT LIST BOGUS", "-ERR syntax error"),
            ],
        );
    });
}

#[test]
fn client_kill_ends_the_connections_it_names() {
    on_both(|server| {
        let client = &mut server.connect();
        let mut victims: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        let ids: Vec<i64> = victims.iter_mut().map(|victim| victim.must("CLIENT ID").integer()).collect();
        assert_eq!(client.line(&format!("CLIENT KILL ID {}", ids[0])).to_string(), ":1");
        assert!(victims[0].is_closed());
        let list = client.must("CLIENT LIST").text();
        let prefix = format!("id={} ", ids[1]);
        let line = list.lines().find(|line| line.starts_with(&prefix)).expect("the second victim");
        let address = line.split(' ').find_map(|word| word.strip_prefix("addr=")).expect("an address");
        assert_eq!(client.line(&format!("CLIENT KILL {address}")).to_string(), "+OK");
        assert!(victims[1].is_closed());
        assert_eq!(client.line("CLIENT KILL TYPE normal SKIPME yes").to_string(), ":2");
        assert!(victims[2].is_closed() && victims[3].is_closed());
        check(
            client,
            &[
                ("CLIENT KILL 1.2.3.4:5", "-ERR No such client"),
                ("CLIENT KILL ID 999999", ":0"),
                ("CLIENT KILL ID 0", "-ERR client-id should be greater than 0"),
                ("CLIENT KILL ID x", "-ERR client-id should be greater than 0"),
                ("CLIENT KILL TYPE bogus", "-ERR Unknown client type 'bogus'"),
                ("CLIENT KILL BOGUS x", "-ERR syntax error"),
            ],
        );
        let own = client.must("CLIENT ID").integer();
        assert_eq!(client.line(&format!("CLIENT KILL ID {own} SKIPME no")).to_string(), ":1");
        assert!(client.is_closed(), "a client that kills itself still gets its reply");
    });
}

#[test]
fn client_reply_off_on_and_skip() {
    on_both(|server| {
        let client = &mut server.connect();
        let mut bytes = Vec::new();
        for line in ["CLIENT REPLY OFF", "SET a 1", "GET a", "CLIENT REPLY ON", "GET a"] {
            bytes.extend(crate::support::client::encode(&crate::support::client::split_line(line)));
        }
        client.send(&bytes);
        assert_eq!(client.read().to_string(), "+OK");
        assert_eq!(client.read().to_string(), "'1'");
        bytes.clear();
        for line in ["CLIENT REPLY SKIP", "GET a", "STRLEN a"] {
            bytes.extend(crate::support::client::encode(&crate::support::client::split_line(line)));
        }
        client.send(&bytes);
        assert_eq!(client.read().to_string(), ":1");
        check(client, &[("CLIENT REPLY BOGUS", "-ERR syntax error"), ("PING", "+PONG")]);
    });
}

#[test]
fn client_pause_holds_writes_and_lets_reads_through() {
    on_both(|server| {
        let client = &mut server.connect();
        let mut other = server.connect();
        other.must("SET k before");
        client.must("CLIENT PAUSE 60000 WRITE");
        assert_eq!(other.line("GET k").to_string(), "'before'");
        other.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nafter\r\n");
        other.set_read_timeout(std::time::Duration::from_millis(200));
        assert!(other.try_read().is_err(), "a write is held");
        assert_eq!(client.info_number("blocked_clients"), 1);
        assert_eq!(client.line("GET k").to_string(), "'before'");
        client.must("CLIENT UNPAUSE");
        other.set_read_timeout(crate::support::client::READ_TIMEOUT);
        assert_eq!(other.read().to_string(), "+OK");
        client.must("CLIENT PAUSE 100");
        let start = std::time::Instant::now();
        assert_eq!(other.line("GET k").to_string(), "'after'");
        assert!(start.elapsed() >= std::time::Duration::from_millis(60), "PAUSE ALL holds reads");
        check(
            client,
            &[
                ("CLIENT PAUSE x", "-ERR timeout is not an integer or out of range"),
                ("CLIENT PAUSE -1", "-ERR timeout is negative"),
                ("CLIENT PAUSE 1 BOGUS", "-ERR CLIENT PAUSE mode must be WRITE or ALL"),
                ("CLIENT NO-EVICT ON", "+OK"),
                ("CLIENT NO-EVICT bogus", "-ERR syntax error"),
                ("CLIENT NO-EVICT OFF", "+OK"),
            ],
        );
    });
}

#[test]
fn client_setinfo_and_no_touch_of_redis_7_2() {
    on_both(|server| {
        if !server.is_72() {
            return;
        }
        let client = &mut server.connect();
        check(
            client,
            &[
                ("CLIENT SETINFO lib-name redis-py", "+OK"),
                ("CLIENT SETINFO LIB-VER 1.2.3", "+OK"),
                (
                    "CLIENT SETINFO lib-name 'a b'",
                    "-ERR lib-name cannot contain spaces, newlines or special characters.",
                ),
                ("CLIENT SETINFO bogus x", "-ERR Unrecognized option 'bogus'"),
                ("SET k v", "+OK"),
                ("CLIENT NO-TOUCH ON", "+OK"),
                ("CLIENT NO-TOUCH bogus", "-ERR syntax error"),
            ],
        );
        let info = client.must("CLIENT INFO").text();
        assert!(info.contains(" lib-name=redis-py lib-ver=1.2.3"), "{info}");
        std::thread::sleep(std::time::Duration::from_millis(2100));
        client.must("GET k");
        assert!(client.must("OBJECT IDLETIME k").integer() >= 1, "a read with NO-TOUCH leaves the idle time");
        client.must("CLIENT NO-TOUCH OFF");
        client.must("GET k");
        assert_eq!(client.must("OBJECT IDLETIME k").integer(), 0);
    });
}

#[test]
fn quit_answers_what_came_before_it_and_closes() {
    on_both(|server| {
        let mut client = server.connect();
        client.send(b"PING\r\nQUIT\r\nPING\r\n");
        assert_eq!(client.read_until_closed(), b"+PONG\r\n+OK\r\n");
    });
}

#[test]
fn errors_quote_what_was_given_byte_for_byte_up_to_a_nul() {
    on_both(|server| {
        let client = &mut server.connect();
        for (line, expected) in [
            (r#"CLIENT LIST TYPE "a\xff\x00b""#, &b"-ERR Unknown client type 'a\xff'\r\n"[..]),
            (r#"CLIENT KILL USER "x\xff""#, b"-ERR No such user 'x\xff'\r\n"),
            (r#"HELLO 3 "o\xfe""#, b"-ERR Syntax error in HELLO option 'o\xfe'\r\n"),
        ] {
            let reply = client.line(line);
            assert_eq!(reply.raw.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{line}");
        }
    });
}
