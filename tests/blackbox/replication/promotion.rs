//! Roles that change: a replica becomes the primary, its siblings and the old primary go on from where they were; restarts.

use super::compare::{Sameness, assert_same, expire_all};
use super::load::Load;
use super::nodes::{
    ALL_PAIRS, Info, PAIRS, SYNC_LIMIT, fill, follow, follow_nobody, granted, node, node_with_file, settle,
    wait_for_replicas, wait_until_up,
};
use super::seed;
use crate::support::{Kind, Server, check, holds_within, on_both};

/// A ping that one replica has got and the one that is promoted has not would be a history of its own.
const NO_PINGS: &[&str] = &["--repl-ping-replica-period", "3600"];

/// A primary and two replicas that have caught up with some load.
fn group(primary: Kind, replicas: [Kind; 2]) -> (Server, [Server; 2]) {
    let primary = node(primary, NO_PINGS);
    let replicas = replicas.map(|kind| node(kind, NO_PINGS));
    for replica in &replicas {
        follow(replica, primary.port);
        settle(&primary, replica);
    }
    let load = Load::start(&primary, seed("promotion"));
    load.last(std::time::Duration::from_millis(500));
    load.finish();
    expire_all(&primary);
    replicas.iter().for_each(|replica| settle(&primary, replica));
    (primary, replicas)
}

const GROUPS: &[(Kind, [Kind; 2])] = &[
    (Kind::Redis, [Kind::Redis, Kind::Redis]),
    (Kind::Slotcore, [Kind::Slotcore, Kind::Slotcore]),
    (Kind::Redis, [Kind::Slotcore, Kind::Redis]),
    (Kind::Slotcore, [Kind::Redis, Kind::Slotcore]),
    (Kind::Redis, [Kind::Slotcore, Kind::Slotcore]),
];

/// The history goes on under a new name: siblings and the old primary, written to by nobody since, need only the rest.
#[test]
fn siblings_and_the_old_primary_resynchronise_partially_after_a_promotion() {
    for (primary, replicas) in GROUPS {
        let (old, [promoted, sibling]) = group(*primary, *replicas);
        let before = Info::of(&promoted);
        follow_nobody(&promoted);
        let after = Info::of(&promoted);
        assert!(after.is("role", "master"), "{}", after.replication());
        assert_ne!(after.field("master_replid"), before.field("master_replid"));
        assert_eq!(after.field("master_replid2"), before.field("master_replid"));
        assert_eq!(after.number("second_repl_offset"), after.number("master_repl_offset") + 1);
        promoted.connect().must("SET promoted yes");
        for replica in [&sibling, &old] {
            follow(replica, promoted.port);
            wait_until_up(replica);
        }
        fill(&promoted, 100, 10);
        assert_same(&promoted, &[&sibling, &old], Sameness::All);
        assert_eq!(granted(&promoted), (0, 2), "{primary:?} {replicas:?}\n{}", Info::of(&promoted).replication());
    }
}

/// What the old primary wrote after the others had left is not in the history that goes on: it gets everything.
#[test]
fn a_primary_that_wrote_on_by_itself_is_synchronised_from_the_beginning() {
    for (primary, replica) in ALL_PAIRS {
        let (old, promoted) = super::nodes::pair(*primary, *replica, NO_PINGS);
        fill(&old, 100, 10);
        settle(&old, &promoted);
        follow_nobody(&promoted);
        wait_until_alone(&old);
        old.connect().must("SET lost write");
        promoted.connect().must("SET kept write");
        follow(&old, promoted.port);
        settle(&promoted, &old);
        assert!(old.connect().line("GET lost").is_nil(), "{primary:?} {replica:?}");
        assert_eq!(granted(&promoted), (1, 0));
        assert_same(&promoted, &[&old], Sameness::All);
    }
}

fn wait_until_alone(primary: &Server) {
    assert!(holds_within(SYNC_LIMIT, || Info::of(primary).is("connected_slaves", "0")));
}

/// Promoted under load, twice, with the others following: nobody ever needs everything again.
#[test]
fn promotions_one_after_the_other_stay_partial() {
    for (primary, replicas) in GROUPS {
        let (first, [second, third]) = group(*primary, *replicas);
        let mut nodes = [first, second, third];
        for _ in 0..3 {
            nodes.rotate_left(1);
            let [new, others @ ..] = &nodes;
            follow_nobody(new);
            for other in others {
                follow(other, new.port);
                settle(new, other);
            }
            let load = Load::start(new, seed("again"));
            load.last(std::time::Duration::from_millis(200));
            load.finish();
            expire_all(new);
            others.iter().for_each(|other| settle(new, other));
            let all: i64 = nodes.iter().map(|node| granted(node).0).sum();
            assert_eq!(all, 2, "{primary:?} {replicas:?}: more than the first two were full");
        }
        let [new, others @ ..] = &nodes;
        assert_same(new, &others.iter().collect::<Vec<_>>(), Sameness::All);
    }
}

/// The file that a replica leaves says where it was: started again, it asks for the rest.
#[test]
fn a_replica_that_was_shut_down_resynchronises_partially() {
    for (primary, replica) in ALL_PAIRS {
        let primary = node(*primary, &[]);
        let port = primary.port.to_string();
        let mut replica = node(*replica, &["--replicaof", "127.0.0.1", &port]);
        settle(&primary, &replica);
        fill(&primary, 200, 20);
        primary.connect().must("SELECT 5");
        settle(&primary, &replica);
        replica.connect().send(b"SHUTDOWN SAVE\r\n");
        replica.wait_for_exit();
        let mut client = primary.connect();
        client.must("SELECT 5");
        client.must("SET meanwhile written");
        client.must("SELECT 0");
        client.must("DEL fill:1");
        replica.restart();
        settle(&primary, &replica);
        assert_same(&primary, &[&replica], Sameness::All);
        assert_eq!(granted(&primary), (1, 1), "{:?} -> {:?}", primary.kind, replica.kind);
    }
}

/// A primary that is shut down lets its replicas catch up, and knows after its start what it was.
#[test]
fn replicas_resynchronise_partially_with_a_primary_that_was_shut_down() {
    for (primary, replica) in ALL_PAIRS {
        let mut primary = node(*primary, &[]);
        let replica = node(*replica, &[]);
        follow(&replica, primary.port);
        settle(&primary, &replica);
        fill(&primary, 200, 20);
        primary.connect().send(b"SHUTDOWN SAVE\r\n");
        primary.wait_for_exit();
        assert_eq!(replica.connect().must("DBSIZE").integer(), 200, "who is shut down lets its replicas catch up");
        primary.restart();
        settle(&primary, &replica);
        assert_eq!(granted(&primary), (0, 1), "{:?} -> {:?}", primary.kind, replica.kind);
        primary.connect().must("SET new life");
        assert_same(&primary, &[&replica], Sameness::All);
    }
}

/// CONFIG REWRITE keeps the role in the node's file.
#[test]
fn the_role_is_written_to_the_configuration() {
    for (primary, replica) in ALL_PAIRS {
        let primary = node(*primary, &[]);
        let mut replica = node_with_file(*replica, &[]);
        follow(&replica, primary.port);
        settle(&primary, &replica);
        replica.connect().must("CONFIG REWRITE");
        replica.restart();
        wait_until_up(&replica);
        settle(&primary, &replica);
        let shown = replica.connect().line("CONFIG GET replicaof").to_string();
        assert_eq!(shown, format!("['replicaof', '127.0.0.1 {}']", primary.port));
        follow_nobody(&replica);
        replica.connect().must("CONFIG REWRITE");
        replica.restart();
        assert!(Info::of(&replica).is("role", "master"), "{:?}", replica.kind);
    }
}

/// The words of REPLICAOF and its replies.
#[test]
fn replicaof_says_what_is_wrong() {
    on_both(|server| {
        let mut client = server.connect();
        check(
            &mut client,
            &[
                ("REPLICAOF NO ONE", "+OK"),
                ("replicaof no one", "+OK"),
                ("SLAVEOF NO ONE", "+OK"),
                ("REPLICAOF 127.0.0.1 x", "-ERR Invalid master port"),
                ("REPLICAOF 127.0.0.1 -1", "-ERR Invalid master port"),
                ("REPLICAOF 127.0.0.1 65536", "-ERR Invalid master port"),
                ("REPLICAOF 127.0.0.1", "-ERR wrong number of arguments for 'replicaof' command"),
                ("REPLICAOF NO TWO", "-ERR Invalid master port"),
                (
                    "CONFIG SET replicaof x",
                    "-ERR CONFIG SET failed (possibly related to argument 'replicaof') - can't set immutable config",
                ),
                ("CONFIG GET replicaof", "['replicaof', '']"),
                // Nothing listens on port 1.
                ("REPLICAOF 127.0.0.1 1", "+OK"),
                ("REPLICAOF 127.0.0.1 1", "+OK Already connected to specified master"),
                ("SLAVEOF 127.0.0.1 1", "+OK Already connected to specified master"),
                ("CONFIG GET slaveof", "['slaveof', '127.0.0.1 1']"),
                ("MULTI", "+OK"),
                ("REPLICAOF NO ONE", "+QUEUED"),
                ("SET k v", "-READONLY You can't write against a read only replica."),
                ("DISCARD", "+OK"),
                ("MULTI", "+OK"),
                ("REPLICAOF NO ONE", "+QUEUED"),
                ("CLIENT KILL TYPE pubsub", "+QUEUED"),
                ("EXEC", "[+OK, :0]"),
                ("ROLE", "['master', :0, []]"),
                ("SET k v", "+OK"),
            ],
        );
    });
}

#[test]
fn a_cluster_node_takes_no_replicaof() {
    crate::support::on_both_with(&["--cluster-enabled", "yes"], |server| {
        check(
            &mut server.connect(),
            &[
                ("REPLICAOF 127.0.0.1 1", "-ERR REPLICAOF not allowed in cluster mode."),
                ("REPLICAOF NO ONE", "-ERR REPLICAOF not allowed in cluster mode."),
            ],
        );
    });
}

/// Clients of a node that changes its role stay connected, and its data are there all the time.
#[test]
fn a_change_of_role_keeps_clients_and_data() {
    for (primary, replica) in PAIRS {
        let (primary, replica) = super::nodes::pair(*primary, *replica, &[]);
        fill(&primary, 100, 10);
        settle(&primary, &replica);
        let mut client = replica.connect();
        check(&mut client, &[("SET k v", "-READONLY..."), ("DBSIZE", ":100")]);
        follow_nobody(&replica);
        check(&mut client, &[("SET k v", "+OK"), ("DBSIZE", ":101")]);
        follow(&replica, primary.port);
        settle(&primary, &replica);
        wait_for_replicas(&primary, 1);
        check(&mut client, &[("GET k", "nil"), ("DBSIZE", ":100")]);
    }
}
