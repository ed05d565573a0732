//! Client-side caching: who is told of which changes, in which form.

use crate::support::{Client, Server, Value, check, holds_within, on_both, on_both_with};

/// The next push; it must be an invalidation. Keys in order of their names, as a batch may come in any.
pub fn invalidated(client: &mut Client) -> Option<Vec<String>> {
    let reply = client.read();
    let Value::Push(items) = &reply.value else { panic!("no push: {reply}") };
    assert_eq!(items[0].text(), "invalidate");
    match &items[1] {
        Value::Array(keys) => {
            let mut keys: Vec<String> = keys.iter().map(Value::text).collect();
            keys.sort_unstable();
            Some(keys)
        }
        nothing => {
            assert!(nothing.is_nil());
            None
        }
    }
}

/// Nothing waits: a push would come before the reply to a request on the same connection that is sent later.
fn quiet(client: &mut Client, other: &mut Client) {
    other.must("PING");
    check(client, &[("ECHO quiet", "'quiet'")]);
}

#[test]
fn a_reader_is_told_once_when_a_key_changes() {
    on_both(|server| {
        let (one, two) = (&mut server.connect(), &mut server.connect());
        check(
            one,
            &[
                ("HELLO 3", "..."),
                ("CLIENT TRACKING ON", "+OK"),
                ("SET a 1", "+OK"),
                ("GET a", "'1'"),
                ("GET missing", "null"),
            ],
        );
        for change in ["SET a 2", "APPEND a x", "EXPIRE a 100", "DEL a"] {
            check(one, &[("EXISTS a", ":1")]);
            two.must(change);
            assert_eq!(invalidated(one), Some(vec!["a".into()]), "{change}");
            two.must("SET a 3");
            quiet(one, two);
        }
        two.must("SET missing 1");
        assert_eq!(invalidated(one), Some(vec!["missing".into()]));
        check(one, &[("MGET a missing", "['3', '1']")]);
        two.must("FLUSHALL");
        assert_eq!(invalidated(one), None);
        check(one, &[("CLIENT TRACKING OFF", "+OK"), ("GET a", "null")]);
        two.must("SET a 3");
        quiet(one, two);
    });
}

#[test]
fn expiry_invalidates_too() {
    on_both(|server| {
        let (one, two) = (&mut server.connect(), &mut server.connect());
        check(one, &[("HELLO 3", "..."), ("CLIENT TRACKING ON", "+OK"), ("SET a 1 PX 30", "+OK"), ("GET a", "...")]);
        assert!(holds_within(std::time::Duration::from_secs(10), || two.must("EXISTS a").integer() == 0));
        assert_eq!(invalidated(one), Some(vec!["a".into()]));
    });
}

#[test]
fn own_changes_count_unless_noloop() {
    on_both(|server| {
        let client = &mut server.connect();
        check(client, &[("HELLO 3", "..."), ("CLIENT TRACKING ON", "+OK"), ("GET a", "null"), ("SET a 1", "+OK")]);
        assert_eq!(invalidated(client), Some(vec!["a".into()]));
        check(
            client,
            &[
                ("CLIENT TRACKING OFF", "+OK"),
                ("CLIENT TRACKING ON NOLOOP", "+OK"),
                ("GET a", "'1'"),
                ("SET a 2", "+OK"),
            ],
        );
        check(client, &[("ECHO quiet", "'quiet'")]);
    });
}

#[test]
fn optin_and_optout_go_by_the_next_command() {
    on_both(|server| {
        let (one, two) = (&mut server.connect(), &mut server.connect());
        check(
            one,
            &[
                ("HELLO 3", "..."),
                ("MSET a 1 b 1 c 1", "+OK"),
                (
                    "CLIENT CACHING YES",
                    "-ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
                ),
                ("CLIENT TRACKING ON OPTIN", "+OK"),
                ("CLIENT CACHING NO", "-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."),
                ("GET a", "'1'"),
                ("CLIENT CACHING YES", "+OK"),
                ("GET b", "'1'"),
                ("GET c", "'1'"),
            ],
        );
        check(two, &[("MSET a 2 c 2", "+OK")]);
        quiet(one, two);
        two.must("SET b 2");
        assert_eq!(invalidated(one), Some(vec!["b".into()]));
        check(
            one,
            &[
                ("CLIENT CACHING YES", "+OK"),
                ("MULTI", "+OK"),
                ("GET a", "+QUEUED"),
                ("GET b", "+QUEUED"),
                ("EXEC", "['2', '2']"),
                ("CLIENT TRACKING OFF", "+OK"),
                ("CLIENT TRACKING ON OPTOUT", "+OK"),
                ("CLIENT CACHING NO", "+OK"),
                ("GET a", "'2'"),
                ("GET c", "'2'"),
            ],
        );
        two.must("SET c 3");
        assert_eq!(invalidated(one), Some(vec!["c".into()]));
    });
}

#[test]
fn prefixes_are_broadcast_to_whoever_asked() {
    on_both(|server| {
        let (one, two) = (&mut server.connect(), &mut server.connect());
        check(
            one,
            &[
                ("HELLO 3", "..."),
                ("CLIENT TRACKING ON PREFIX a", "-ERR PREFIX option requires BCAST mode to be enabled"),
                ("CLIENT TRACKING ON BCAST PREFIX user: PREFIX item:", "+OK"),
                (
                    "CLIENT TRACKING ON BCAST PREFIX user:1",
                    "-ERR Prefix 'user:1' overlaps with an existing prefix 'user:'. Prefixes for a single client must not overlap.",
                ),
                (
                    "CLIENT TRACKING ON BCAST PREFIX x PREFIX xy",
                    "-ERR Prefix 'x' overlaps with another provided prefix 'xy'. Prefixes for a single client must not overlap.",
                ),
                (
                    "CLIENT TRACKING ON",
                    "-ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.",
                ),
                ("CLIENT TRACKING ON BCAST OPTIN", "-ERR OPTIN and OPTOUT are not compatible with BCAST"),
            ],
        );
        two.must("MSET user:1 a user:2 b other c x1 d");
        assert_eq!(invalidated(one), Some(vec!["user:1".into(), "user:2".into()]));
        two.must("DEL other x1");
        quiet(one, two);
        two.must("INCR item:1");
        assert_eq!(invalidated(one), Some(vec!["item:1".into()]));
        check(one, &[("CLIENT TRACKING OFF", "+OK"), ("CLIENT TRACKING ON BCAST NOLOOP", "+OK"), ("SET own 1", "+OK")]);
        two.must("SET theirs 1");
        assert_eq!(invalidated(one), Some(vec!["theirs".into()]));
    });
}

#[test]
fn invalidations_can_be_redirected() {
    on_both(|server| {
        let (one, two) = (&mut server.connect(), &mut server.connect());
        let mut listener = server.connect();
        let id = listener.must("CLIENT ID").integer();
        check(&mut listener, &[("SUBSCRIBE __redis__:invalidate", "['subscribe', '__redis__:invalidate', :1]")]);
        let on = format!("CLIENT TRACKING ON REDIRECT {id}");
        check(
            one,
            &[
                ("CLIENT TRACKING ON REDIRECT 99999", "-ERR The client ID you want redirect to does not exist"),
                ("CLIENT GETREDIR", ":-1"),
                (&on, "+OK"),
                ("CLIENT GETREDIR", &format!(":{id}")),
                ("GET a", "nil"),
            ],
        );
        two.must("SET a 1");
        assert_eq!(listener.read().to_string(), "['message', '__redis__:invalidate', ['a']]");
        two.must("FLUSHALL");
        assert_eq!(listener.read().to_string(), "['message', '__redis__:invalidate', nil]");
        check(one, &[("HELLO 3", "..."), ("GET a", "null")]);
        drop(listener);
        assert!(holds_within(std::time::Duration::from_secs(10), || two.must("PUBSUB CHANNELS").items().is_empty()));
        two.must("SET a 2");
        assert_eq!(one.read().to_string(), format!(">['tracking-redir-broken', :{id}]"));
        check(
            one,
            &[(
                "CLIENT TRACKINGINFO",
                &format!("{{'flags': ~['on', 'broken_redirect'], 'redirect': :{id}, 'prefixes': []}}"),
            )],
        );
    });
}

#[test]
fn trackinginfo_tells_what_was_set() {
    on_both(|server| {
        let client = &mut server.connect();
        check(
            client,
            &[
                ("HELLO 3", "..."),
                ("CLIENT TRACKINGINFO", "{'flags': ~['off'], 'redirect': :-1, 'prefixes': []}"),
                ("CLIENT TRACKING ON OPTIN NOLOOP", "+OK"),
                ("CLIENT CACHING YES", "+OK"),
                (
                    "CLIENT TRACKINGINFO",
                    "{'flags': ~['on', 'optin', 'caching-yes', 'noloop'], 'redirect': :0, 'prefixes': []}",
                ),
                ("CLIENT TRACKING OFF", "+OK"),
                ("CLIENT TRACKING ON BCAST PREFIX b PREFIX a", "+OK"),
                ("CLIENT TRACKINGINFO", "{'flags': ~['on', 'bcast'], 'redirect': :0, 'prefixes': ['a', 'b']}"),
                ("RESET", "+RESET"),
                ("CLIENT GETREDIR", ":-1"),
                ("CLIENT TRACKING MAYBE", "-ERR syntax error"),
            ],
        );
    });
}

#[test]
fn the_table_is_bounded() {
    on_both_with(&["--tracking-table-max-keys", "20"], |server| {
        let client = &mut server.connect();
        let other = &mut server.connect();
        check(client, &[("HELLO 3", "..."), ("CLIENT TRACKING ON", "+OK")]);
        for number in 0..200 {
            client.send(format!("GET k{number}\r\n").as_bytes());
        }
        let bounded =
            holds_within(std::time::Duration::from_secs(10), || other.info_number("tracking_total_keys") <= 20);
        assert!(bounded, "{} keys", other.info_number("tracking_total_keys"));
        let (mut replies, mut told) = (0, 0);
        while replies < 200 || told < 180 {
            match client.read().value {
                Value::Push(_) => told += 1,
                _ => replies += 1,
            }
        }
    });
}

#[test]
fn readers_on_any_core_are_told() {
    let server = Server::slotcore(&["--cluster-enabled", "yes"]);
    let mut writer = server.connect();
    crate::cluster_one_node::own_all_slots(&mut writer);
    let mut readers: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    for reader in &mut readers {
        check(reader, &[("HELLO 3", "..."), ("CLIENT TRACKING ON", "+OK")]);
        for number in 0..10 {
            reader.line(&format!("GET k{number}"));
        }
    }
    for number in 0..10 {
        writer.must(&format!("SET k{number} x"));
    }
    for reader in &mut readers {
        let mut keys: Vec<String> = (0..10).flat_map(|_| invalidated(reader).expect("a key")).collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..10).map(|number| format!("k{number}")).collect::<Vec<_>>());
    }
}
