//! Keys of slots that have been given to another node: they go at once, and what follows from it, for files and replicas, in parts.

use super::migrate_slots::moves;
use super::moving::slot_of;
use super::nodes::{LIMIT, id_of, join, meet, node, replicate, wait_until_linked, wait_until_loaded};
use crate::support::{Client, Kind, Server, check, holds_within};

const KEYS: i64 = 50_000;
/// So many that what follows from them is far from over when the slot comes back.
const MANY: i64 = 250_000;

/// Two nodes, the first with files, a replica and many keys in the slot of `{06S}`, which is 0.
fn nodes_with_a_full_slot(keys: i64) -> [Server; 3] {
    let source = node(Kind::Slotcore, &["--appendonly", "yes", "--notify-keyspace-events", "Eg"]);
    let (target, replica) = (node(Kind::Slotcore, &[]), node(Kind::Slotcore, &[]));
    join(&[&source, &target]);
    meet(&source, &[&replica]);
    replicate(&[&source, &target, &replica], &replica, &source);
    wait_until_linked(&replica);
    assert_eq!(slot_of("06S"), 0);
    let client = &mut source.connect();
    client.must("SET bar v");
    for first in (0..keys).step_by(5000) {
        let lines: Vec<String> = (first..first + 5000).map(|number| format!("SET {{06S}}{number} old")).collect();
        client.pipeline(&lines);
    }
    assert_eq!(client.must("DBSIZE").integer(), keys + 1);
    [source, target, replica]
}

fn subscriber(server: &Server) -> Client {
    let mut subscriber = server.connect();
    subscriber.must("SUBSCRIBE __keyevent@0__:del");
    subscriber
}

#[test]
fn keys_of_a_slot_that_was_given_away_are_gone_everywhere() {
    let [mut source, target, replica] = nodes_with_a_full_slot(KEYS);
    let mut subscriber = subscriber(&source);
    assert_eq!(moves(&source, &target, 0, 0), "success");
    // All at once here; the replica hears of each.
    assert!(holds_within(LIMIT, || source.connect().must("DBSIZE").integer() <= 1));
    assert_eq!(source.connect().must("DBSIZE").integer(), 1);
    assert!(holds_within(LIMIT, || replica.connect().must("DBSIZE").integer() == 1));
    let names: std::collections::HashSet<String> = (0..KEYS).map(|_| subscriber.read().items()[2].text()).collect();
    assert_eq!(names.len() as i64, KEYS, "each is told once");
    assert_eq!(target.connect().must("DBSIZE").integer(), KEYS);
    source.restart();
    wait_until_loaded(&source);
    let client = &mut source.connect();
    assert_eq!(client.must("DBSIZE").integer(), 1, "the files have keys that have gone");
    assert!(!client.must("CLUSTER NODES").text().contains("[0-"), "it thinks that the slot is on its way");
}

/// A slot that comes back at once gets keys of the same names: they are not taken for those that left.
#[test]
fn keys_of_a_slot_that_comes_back_at_once_stay() {
    let [source, target, replica] = nodes_with_a_full_slot(MANY);
    assert_eq!(moves(&source, &target, 0, 0), "success");
    let client = &mut source.connect();
    client.must(&format!("CLUSTER SETSLOT 0 IMPORTING {}", id_of(&target)));
    for number in 0..100 {
        client.must("ASKING");
        client.must(&format!("APPEND {{06S}}{number} new"));
    }
    client.must("WAIT 1 10000");
    client.must("DEBUG LOADAOF");
    for server in [&source, &replica] {
        assert!(holds_within(LIMIT, || server.connect().must("DBSIZE").integer() == 101));
    }
    client.must("ASKING");
    check(client, &[("GET {06S}7", "'new'")]);
    let digest = |server: &Server| server.connect().must("DEBUG DIGEST").text();
    assert_eq!(digest(&source), digest(&replica));
}

#[test]
fn a_flush_behind_slots_that_left_ends_it() {
    let [source, target, replica] = nodes_with_a_full_slot(KEYS);
    assert_eq!(moves(&source, &target, 0, 0), "success");
    let client = &mut source.connect();
    check(client, &[("FLUSHALL", "+OK"), ("SET bar again", "+OK")]);
    client.must("DEBUG LOADAOF");
    check(client, &[("DBSIZE", ":1"), ("GET bar", "'again'")]);
    assert!(holds_within(LIMIT, || replica.connect().must("DBSIZE").integer() == 1));
}
