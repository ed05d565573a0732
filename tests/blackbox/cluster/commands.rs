//! What CLUSTER's commands about nodes refuse, and what they tell, beside redis-server.

use super::known::{self, HALF, Known, ME, OTHER, REPLICA, THIRD};
use crate::support::{Client, Kind, Server, check};

/// `{ME}` and so on stand for the ids.
fn check_ids(client: &mut Client, rows: &[(&str, &str)]) {
    let filled = |text: &str| {
        let ids = [("{ME}", ME), ("{OTHER}", OTHER), ("{REPLICA}", REPLICA), ("{THIRD}", THIRD)];
        ids.iter().fold(text.to_owned(), |text, (name, id)| text.replace(name, id))
    };
    for (line, expected) in rows {
        check(client, &[(&filled(line), &filled(expected))]);
    }
}

const UNKNOWN: &str = "5555555555555555555555555555555555555555";
const AS_REPLICA: Known =
    Known { myself: "myself,slave 2222222222222222222222222222222222222222 0 0 2 connected", other_slots: "0-16383" };

#[test]
fn meet_takes_addresses_and_ports() {
    known::on_both(HALF, &[], &[], |server| {
        let client = &mut server.connect();
        check(
            client,
            &[
                ("CLUSTER MEET somewhere 1", "-ERR Invalid node address specified: somewhere:1"),
                ("CLUSTER MEET 127.0.0.1 0", "-ERR Invalid node address specified: 127.0.0.1:0"),
                ("CLUSTER MEET 127.0.0.1 -1", "-ERR Invalid node address specified: 127.0.0.1:-1"),
                ("CLUSTER MEET 127.0.0.1 60000", "-ERR Invalid node address specified: 127.0.0.1:60000"),
                ("CLUSTER MEET 127.0.0.1 70000 1", "-ERR Invalid node address specified: 127.0.0.1:70000"),
                ("CLUSTER MEET 127.0.0.1 6000 0", "-ERR Invalid node address specified: 127.0.0.1:6000"),
                ("CLUSTER MEET 127.0.0.1", "-ERR wrong number of arguments for 'cluster|meet' command"),
                (
                    "CLUSTER MEET 127.0.0.1 1 2 3",
                    "-ERR unknown subcommand or wrong number of arguments for 'MEET'. Try CLUSTER HELP.",
                ),
                ("CLUSTER MEET 127.0.0.1 6 10006", "+OK"),
                ("CLUSTER MEET 127.0.0.1 6 10006", "+OK"),
                ("CLUSTER MEET ::1 6", "+OK"),
            ],
        );
        // 7.0 says "TCP base port" and "TCP bus port".
        if server.is_72() {
            check(
                client,
                &[
                    ("CLUSTER MEET 127.0.0.1 x", "-ERR Invalid base port specified: x"),
                    ("CLUSTER MEET 127.0.0.1 1 x", "-ERR Invalid bus port specified: x"),
                ],
            );
        }
        let nodes = client.must("CLUSTER NODES").text();
        assert!(nodes.lines().any(|line| line.contains(" 127.0.0.1:6@10006 handshake - ")), "{nodes}");
        assert!(nodes.lines().any(|line| line.contains(" ::1:6@10006 handshake - ")), "{nodes}");
    });
}

#[test]
fn nodes_are_forgotten_and_stay_so() {
    known::on_both(HALF, &[], &[], |server| {
        let client = &mut server.connect();
        check_ids(
            client,
            &[
                ("CLUSTER FORGET {ME}", "-ERR I tried hard but I can't forget myself..."),
                (&format!("CLUSTER FORGET {UNKNOWN}"), &format!("-ERR Unknown node {UNKNOWN}")),
                ("CLUSTER FORGET {THIRD}", "+OK"),
            ],
        );
        // 7.0 does not say that it was forgotten before.
        if server.is_72() {
            check_ids(client, &[("CLUSTER FORGET {THIRD}", "+OK")]);
        }
        check_ids(
            client,
            &[("CLUSTER FORGET {OTHER}", "+OK"), ("CLUSTER REPLICAS {OTHER}", "-ERR Unknown node {OTHER}")],
        );
        let nodes = client.must("CLUSTER NODES").text();
        assert!(
            nodes.lines().count() == 2 && nodes.contains(&format!("{REPLICA} 127.0.0.1:8@10008 slave - ")),
            "{nodes}"
        );
    });
    known::on_both(AS_REPLICA, &[], &[], |server| {
        check_ids(&mut server.connect(), &[("CLUSTER FORGET {OTHER}", "-ERR Can't forget my master!")]);
    });
}

#[test]
fn replicate_needs_an_empty_node_and_a_primary() {
    const EMPTY: Known = Known { myself: "myself,master - 0 0 1 connected", other_slots: "0-16383" };
    known::on_both(EMPTY, &[], &[], |server| {
        let client = &mut server.connect();
        check_ids(
            client,
            &[
                ("CLUSTER REPLICATE {ME}", "-ERR Can't replicate myself"),
                ("CLUSTER REPLICATE {REPLICA}", "-ERR I can only replicate a master, not a replica."),
                ("CLUSTER REPLICATE nobody", "-ERR Unknown node nobody"),
                ("CLUSTER REPLICATE {OTHER}", "+OK"),
                ("CLUSTER REPLICATE {THIRD}", "+OK"),
                ("CLUSTER REPLICATE {OTHER}", "+OK"),
            ],
        );
        let nodes = client.must("CLUSTER NODES").text();
        assert!(nodes.contains(&format!(" myself,slave {OTHER} ")), "{nodes}");
        let replicas = client.must(&format!("CLUSTER REPLICAS {OTHER}"));
        assert_eq!(replicas.items().len(), 2);
        assert_eq!(client.must(&format!("CLUSTER SLAVES {OTHER}")).items().len(), 2);
        check(client, &[("GET foo", "-MOVED 12182 127.0.0.1:7")]);
    });
    const REFUSED: &str = "-ERR To set a master the node must be empty and without assigned slots.";
    known::on_both(HALF, &[], &[], |server| {
        check_ids(&mut server.connect(), &[("CLUSTER REPLICATE {OTHER}", REFUSED)]);
    });
    known::on_both(EMPTY, &[], &["SET foo v"], |server| {
        check_ids(&mut server.connect(), &[("CLUSTER REPLICATE {OTHER}", REFUSED)]);
    });
}

#[test]
fn replicas_are_those_of_a_primary() {
    known::on_both(HALF, &[], &[], |server| {
        let client = &mut server.connect();
        check_ids(
            client,
            &[
                ("CLUSTER REPLICAS {ME}", "[]"),
                ("CLUSTER REPLICAS {REPLICA}", "-ERR The specified node is not a master"),
                ("CLUSTER SLAVES {REPLICA}", "-ERR The specified node is not a master"),
                ("CLUSTER REPLICAS nobody", "-ERR Unknown node nobody"),
                ("CLUSTER COUNT-FAILURE-REPORTS {OTHER}", ":0"),
                ("CLUSTER COUNT-FAILURE-REPORTS nobody", "-ERR Unknown node nobody"),
            ],
        );
        let replicas = client.must(&format!("CLUSTER REPLICAS {OTHER}"));
        let line = replicas.items()[0].text();
        assert!(line.starts_with(&format!("{REPLICA} 127.0.0.1:8@10008 slave {OTHER} ")), "{line}");
        assert!(line.ends_with(" 2 disconnected") || line.ends_with(" 2 connected"), "{line}");
    });
}

#[test]
fn failover_is_for_replicas() {
    known::on_both(HALF, &[], &[], |server| {
        check(
            &mut server.connect(),
            &[
                ("CLUSTER FAILOVER", "-ERR You should send CLUSTER FAILOVER to a replica"),
                ("CLUSTER FAILOVER FORCE", "-ERR You should send CLUSTER FAILOVER to a replica"),
                ("CLUSTER FAILOVER NOW", "-ERR syntax error"),
                (
                    "CLUSTER FAILOVER FORCE TAKEOVER",
                    "-ERR unknown subcommand or wrong number of arguments for 'FAILOVER'. Try CLUSTER HELP.",
                ),
            ],
        );
    });
    // Redis looks whether there is a connection, which at moments there is, though it will be refused.
    let server = known::start(Kind::Slotcore, AS_REPLICA, &[], &[]);
    check(
        &mut server.connect(),
        &[("CLUSTER FAILOVER", "-ERR Master is down or failed, please use CLUSTER FAILOVER FORCE")],
    );
    known::on_both(AS_REPLICA, &[], &[], |server| {
        let client = &mut server.connect();
        check(client, &[("CLUSTER FAILOVER TAKEOVER", "+OK")]);
        let nodes = client.must("CLUSTER NODES").text();
        let own = nodes.lines().find(|line| line.contains("myself")).expect("a line");
        assert!(own.contains(" myself,master - ") && own.ends_with(" 4 connected 0-16383"), "{nodes}");
    });
}

#[test]
fn setslot_needs_an_owner_and_known_primaries() {
    known::on_both(HALF, &[], &["SET bar v"], |server| {
        let client = &mut server.connect();
        check_ids(
            client,
            &[
                ("CLUSTER SETSLOT 16384 STABLE", "-ERR Invalid or out of range slot"),
                ("CLUSTER SETSLOT x STABLE", "-ERR Invalid or out of range slot"),
                (
                    "CLUSTER SETSLOT 1 AWAY",
                    "-ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
                ),
                (
                    "CLUSTER SETSLOT 1 STABLE {ME}",
                    "-ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
                ),
                ("CLUSTER SETSLOT 10000 MIGRATING {OTHER}", "-ERR I'm not the owner of hash slot 10000"),
                ("CLUSTER SETSLOT 10000 MIGRATING nobody", "-ERR I'm not the owner of hash slot 10000"),
                ("CLUSTER SETSLOT 1 MIGRATING nobody", "-ERR I don't know about node nobody"),
                ("CLUSTER SETSLOT 1 IMPORTING {OTHER}", "-ERR I'm already the owner of hash slot 1"),
                ("CLUSTER SETSLOT 10000 IMPORTING nobody", "-ERR I don't know about node nobody"),
                ("CLUSTER SETSLOT 1 NODE nobody", "-ERR Unknown node nobody"),
                ("CLUSTER SETSLOT 1 MIGRATING {REPLICA}", "-ERR Target node is not a master"),
                ("CLUSTER SETSLOT 10000 IMPORTING {REPLICA}", "-ERR Target node is not a master"),
                ("CLUSTER SETSLOT 1 NODE {REPLICA}", "-ERR Target node is not a master"),
                (
                    "CLUSTER SETSLOT 5061 NODE {OTHER}",
                    "-ERR Can't assign hashslot 5061 to a different node while I still hold keys for this hash slot.",
                ),
                ("CLUSTER SETSLOT 1 MIGRATING {OTHER}", "+OK"),
                ("CLUSTER SETSLOT 10000 IMPORTING {OTHER}", "+OK"),
            ],
        );
        let own = |client: &mut Client| {
            let nodes = client.must("CLUSTER NODES").text();
            nodes.lines().find(|line| line.contains("myself")).expect("a line").to_owned()
        };
        let open = format!(" connected 0-9999 [1->-{OTHER}] [10000-<-{OTHER}]");
        assert!(own(client).ends_with(&open), "{}", own(client));
        check_ids(client, &[("CLUSTER SETSLOT 1 NODE {OTHER}", "+OK"), ("CLUSTER SETSLOT 10000 NODE {ME}", "+OK")]);
        assert!(own(client).ends_with(" 4 connected 0 2-10000"), "{}", own(client));
        check_ids(
            client,
            &[
                ("CLUSTER SETSLOT 2 MIGRATING {THIRD}", "+OK"),
                ("CLUSTER SETSLOT 2 STABLE", "+OK"),
                ("CLUSTER SETSLOT 1 IMPORTING {OTHER}", "+OK"),
                ("CLUSTER SETSLOT 1 STABLE", "+OK"),
            ],
        );
        assert!(own(client).ends_with(" 4 connected 0 2-10000"), "{}", own(client));
    });
    known::on_both(AS_REPLICA, &[], &[], |server| {
        check(&mut server.connect(), &[("CLUSTER SETSLOT x STABLE", "-ERR Please use SETSLOT only with masters.")]);
    });
}

#[test]
fn a_primary_left_without_slots_becomes_a_replica() {
    const ONE: Known = Known { myself: "myself,master - 0 0 1 connected 5", other_slots: "0-4 6-16383" };
    known::on_both(ONE, &[], &[], |server| {
        let client = &mut server.connect();
        check_ids(client, &[("CLUSTER SETSLOT 5 NODE {OTHER}", "+OK")]);
        let nodes = client.must("CLUSTER NODES").text();
        assert!(nodes.contains(&format!(" myself,slave {OTHER} ")), "{nodes}");
    });
    known::on_both(ONE, &["--cluster-allow-replica-migration", "no"], &[], |server| {
        let client = &mut server.connect();
        check_ids(client, &[("CLUSTER SETSLOT 5 NODE {OTHER}", "+OK")]);
        let nodes = client.must("CLUSTER NODES").text();
        assert!(nodes.contains(" myself,master - "), "{nodes}");
    });
}

#[test]
fn a_replica_is_reset_with_its_data() {
    known::on_both(AS_REPLICA, &[], &["SET foo v"], |server| {
        let client = &mut server.connect();
        check(client, &[("DBSIZE", ":1"), ("CLUSTER RESET", "+OK")]);
        let nodes = client.must("CLUSTER NODES").text();
        assert!(nodes.lines().count() == 1 && nodes.contains("myself,master - "), "{nodes}");
    });
}

#[test]
fn topology_is_described_with_replicas() {
    known::on_both(HALF, &[], &[], |server| {
        let client = &mut server.connect();
        let port = server.port;
        let slots = client.must("CLUSTER SLOTS").to_string();
        // Nobody has heard that the replica has data.
        assert_eq!(
            slots,
            format!(
                "[[:0, :9999, ['127.0.0.1', :{port}, '{ME}', []]], [:10000, :16383, ['127.0.0.1', :7, '{OTHER}', []]]]"
            )
        );
        let shards = client.must("CLUSTER SHARDS");
        let node = |id: &str| {
            let nodes = shards.items().iter().flat_map(|shard| shard.field("nodes").expect("nodes").items());
            nodes.clone().find(|node| node.field("id").expect("id").text() == id).expect("a node").clone()
        };
        let field = |id: &str, name: &str| node(id).field(name).map_or_else(String::new, ToString::to_string);
        assert_eq!((field(REPLICA, "role"), field(REPLICA, "health")), ("'replica'".into(), "'loading'".into()));
        assert_eq!((field(OTHER, "role"), field(OTHER, "health")), ("'master'".into(), "'online'".into()));
        assert_eq!((field(OTHER, "port"), field(OTHER, "ip")), (":7".into(), "'127.0.0.1'".into()));
        assert_eq!(
            (field(REPLICA, "replication-offset"), field(OTHER, "endpoint")),
            (":0".into(), "'127.0.0.1'".into())
        );
        check_ids(client, &[("CLUSTER SETSLOT 9999 NODE {OTHER}", "+OK")]);
        let slots = client.must("CLUSTER SLOTS").to_string();
        assert!(slots.starts_with("[[:0, :9998, ") && slots.contains("[:9999, :16383, "), "{slots}");
        check(client, &[("CONFIG SET cluster-preferred-endpoint-type unknown-endpoint", "+OK")]);
        let slots = client.must("CLUSTER SLOTS").to_string();
        assert!(slots.contains(&format!("[nil, :7, '{OTHER}', ['ip', '127.0.0.1']]")), "{slots}");
        check(client, &[("CONFIG SET cluster-preferred-endpoint-type hostname", "+OK")]);
        let slots = client.must("CLUSTER SLOTS").to_string();
        assert!(slots.contains(&format!("['?', :7, '{OTHER}', ['ip', '127.0.0.1']]")), "{slots}");
        check(client, &[("CONFIG SET cluster-announce-hostname here", "+OK")]);
        let slots = client.must("CLUSTER SLOTS").to_string();
        assert!(slots.contains(&format!("['here', :{port}, '{ME}', ['ip', '127.0.0.1']]")), "{slots}");
    });
}

#[test]
fn links_and_debug_name_their_node() {
    let rows = [
        ("DEBUG CLUSTERLINK KILL ALL nobody", "-ERR Unknown node nobody"),
        ("DEBUG CLUSTERLINK KILL ALL {OTHER}", "+OK"),
        ("DEBUG CLUSTERLINK KILL TO {OTHER}", "+OK"),
        ("DEBUG DROP-CLUSTER-PACKET-FILTER 4", "+OK"),
        ("DEBUG DROP-CLUSTER-PACKET-FILTER -1", "+OK"),
        ("DEBUG DROP-CLUSTER-PACKET-FILTER x", "-ERR value is not an integer or out of range"),
    ];
    let test = |server: &Server| {
        let client = &mut server.connect();
        for link in client.must("CLUSTER LINKS").items() {
            for name in ["direction", "node", "create-time", "events", "send-buffer-allocated", "send-buffer-used"] {
                assert!(link.field(name).is_some(), "{link}");
            }
            assert_eq!(link.field("direction").expect("direction").text(), "to");
        }
        // 7.0 has the filter, and CLUSTERLINK came with 7.2.
        check_ids(client, if server.is_72() { &rows } else { &rows[3..] });
    };
    known::on_both(HALF, &["--enable-debug-command", "yes"], &[], test);
}
