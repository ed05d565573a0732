//! Slots that change hands, and their keys.

use std::fs;

use super::nodes::{LIMIT, id_of, join, lines, node, wait_until_agreed, wait_until_loaded};
use crate::support::{Kind, Server, holds_within};

/// Gives a slot of one node to another, which claims it under a higher epoch.
fn take_slot(taker: &Server, slot: u16) {
    let id = id_of(taker);
    let mut client = taker.connect();
    client.must(&format!("CLUSTER SETSLOT {slot} NODE {id}"));
    client.must("CLUSTER BUMPEPOCH");
}

#[test]
fn keys_of_a_slot_that_is_lost_are_deleted_and_everybody_hears_of_it() {
    let ours = node(Kind::Slotcore, &["--appendonly", "yes", "--notify-keyspace-events", "EA"]);
    let peer = node(Kind::Redis, &[]);
    join(&[&ours, &peer]);
    let mut client = ours.connect();
    // Of slots 5061 and 3300.
    (0..3).for_each(|number| _ = client.must(&format!("SET {{bar}}{number} v")));
    client.must("SET {b}stays v");
    let mut watcher = ours.connect();
    watcher.must("WATCH {bar}1");
    let mut listener = ours.connect();
    listener.must("SUBSCRIBE __keyevent@0__:del");
    let slot = client.must("CLUSTER KEYSLOT {bar}").integer();
    take_slot(&peer, slot as u16);
    let mut deleted: Vec<String> = (0..3).map(|_| listener.read().items()[2].text()).collect();
    deleted.sort();
    assert_eq!(deleted, ["{bar}0", "{bar}1", "{bar}2"]);
    assert_eq!(client.must("DBSIZE").integer(), 1);
    assert!(client.line("GET {bar}0").to_string().starts_with("-MOVED"));
    watcher.must("MULTI");
    watcher.must("PING");
    assert!(watcher.must("EXEC").is_nil());
    wait_until_agreed(&[&ours, &peer], |lines| lines.len() == 2);
    let mut ours = ours;
    ours.restart();
    wait_until_loaded(&ours);
    assert_eq!(ours.connect().must("DBSIZE").integer(), 1);
    assert!(!ours.connect().must("CLUSTER NODES").text().contains("-<-"));
}

#[test]
fn keys_found_at_the_start_of_another_nodes_slot_are_being_imported() {
    let mut ours = node(Kind::Slotcore, &["--appendonly", "yes"]);
    let peer = node(Kind::Redis, &[]);
    join(&[&ours, &peer]);
    let mut client = ours.connect();
    client.must("SET {bar} v");
    let slot = client.must("CLUSTER KEYSLOT {bar}").integer();
    ours.stop();
    // As if it had missed how it lost the slot.
    let file = ours.dir.join("nodes.conf");
    let text = fs::read_to_string(&file).expect("nodes.conf");
    let given = text
        .lines()
        .map(|line| match line.contains("myself") {
            true => line.replace(" 0-8191", &format!(" 0-{} {}-8191", slot - 1, slot + 1)),
            false => line.replace(" 8192-16383", &format!(" {slot} 8192-16383")),
        })
        .collect::<Vec<_>>()
        .join("\n");
    assert_ne!(given, text.trim_end());
    fs::write(&file, given + "\n").expect("nodes.conf can be changed");
    ours.restart();
    wait_until_loaded(&ours);
    let shown = format!("[{slot}-<-{}]", id_of(&peer));
    let nodes = ours.connect().must("CLUSTER NODES").text();
    assert!(nodes.contains(&shown), "{nodes}");
}

#[test]
fn a_replica_that_is_reset_has_no_keys() {
    let (ours, peer) = (node(Kind::Slotcore, &["--appendonly", "yes"]), node(Kind::Slotcore, &[]));
    let third = node(Kind::Redis, &[]);
    join(&[&peer, &third]);
    super::nodes::meet(&peer, &[&ours]);
    super::nodes::replicate(&[&ours, &peer, &third], &ours, &peer);
    peer.connect().must("SET {bar} v");
    let mut client = ours.connect();
    assert!(holds_within(LIMIT, || client.must("DBSIZE").integer() == 1));
    client.must("CLUSTER RESET SOFT");
    assert!(holds_within(LIMIT, || client.must("DBSIZE").integer() == 0));
    assert!(super::nodes::is_primary(&ours));
    assert_eq!(lines(&mut client)[0].flags, "master");
}

/// What is on its way between nodes stays so when one of them is started again, and when its replica takes over.
#[test]
fn open_slots_survive_restart_and_failover() {
    let mut source = node(Kind::Slotcore, &["--appendonly", "yes"]);
    let target = node(Kind::Slotcore, &[]);
    let third = node(Kind::Redis, &[]);
    join(&[&source, &target, &third]);
    let replica = node(Kind::Slotcore, &[]);
    super::nodes::meet(&target, &[&replica]);
    super::nodes::replicate(&[&source, &target, &third, &replica], &replica, &source);
    let late = node(Kind::Slotcore, &[]);
    super::nodes::meet(&target, &[&late]);
    let (source_id, target_id) = (id_of(&source), id_of(&target));
    target.connect().must(&format!("CLUSTER SETSLOT 0 IMPORTING {source_id}"));
    source.connect().must(&format!("CLUSTER SETSLOT 0 MIGRATING {target_id}"));
    let migrating = format!("[0->-{target_id}]");
    let importing = format!("[0-<-{source_id}]");
    let shows = |node: &Server, words: &str| node.connect().must("CLUSTER NODES").text().contains(words);
    // A replica knows, and one that comes later as well; it answers as before.
    assert!(holds_within(LIMIT, || shows(&replica, &migrating)));
    // Each shows its own open slots, so that they do not all say the same.
    let order = format!("CLUSTER REPLICATE {target_id}");
    assert!(holds_within(LIMIT, || !late.connect().line(&order).is_error()));
    super::nodes::wait_until_linked(&late);
    assert!(holds_within(LIMIT, || shows(&late, &importing)));
    assert!(replica.connect().line("GET {06S}k").to_string().starts_with("-MOVED 0 "));
    source.restart();
    wait_until_loaded(&source);
    assert!(shows(&source, &migrating));
    super::nodes::wait_until_linked(&replica);
    // Who takes over from the other end stands in its place.
    let from_replica = format!("[0-<-{}]", id_of(&replica));
    for (replica, open) in [(&replica, &migrating), (&late, &from_replica)] {
        assert!(holds_within(LIMIT, || shows(replica, open)), "{}", replica.connect().must("CLUSTER NODES").text());
        assert!(holds_within(LIMIT, || !replica.connect().line("CLUSTER FAILOVER").is_error()));
        assert!(holds_within(LIMIT, || super::nodes::is_primary(replica)));
        assert!(shows(replica, open), "{}", replica.connect().must("CLUSTER NODES").text());
    }
    let ask = format!("-ASK 0 127.0.0.1:{}", late.port);
    assert!(holds_within(LIMIT, || replica.connect().line("GET {06S}k").to_string() == ask));
    let mut client = late.connect();
    client.must("ASKING");
    assert!(client.must("GET {06S}k").is_nil());
    // Closed on the new primaries, it is closed for those who copy them.
    for node in [&replica, &late] {
        node.connect().must("CLUSTER SETSLOT 0 STABLE");
    }
    let is_closed = |node: &Server| !node.connect().must("CLUSTER NODES").text().contains("[0-");
    assert!(holds_within(LIMIT, || [&replica, &late, &source, &target].iter().all(|node| is_closed(node))));
}
