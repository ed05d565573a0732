//! Networks that part the nodes of a cluster: who goes on serving, who stops, and what they agree on afterwards.

use std::time::Duration;

use super::fabric::Fabric;
use super::nodes::{
    LIMIT, Line, id_of, is_primary, lines, replicate, state, wait_until_agreed, wait_until_all_agree, wait_until_linked,
};
use crate::support::{Kind, Server, holds_within};

const PRIMARIES: usize = 3;
/// A key of slot 0, which the first node has.
const KEY: &str = "{06S}";
/// A place of a primary and that of its replica.
const PRIMARY: usize = 0;
const REPLICA: usize = PRIMARIES;
/// The others.
const REST: &[usize] = &[1, 2, 4, 5];

/// Three primaries and a replica of each, on a network that can be cut.
struct Parted {
    nodes: Vec<Server>,
    ids: Vec<String>,
    fabric: Fabric,
}

impl Parted {
    /// Each shard has a primary of the first kind and a replica of the second.
    fn new(primary: Kind, replica: Kind) -> Parted {
        let mut fabric = Fabric::new();
        let mut nodes: Vec<Server> = (0..PRIMARIES).map(|_| fabric.node(primary, &[])).collect();
        nodes.extend((0..PRIMARIES).map(|_| fabric.node(replica, &[])));
        for (place, node) in nodes.iter().enumerate().take(PRIMARIES) {
            let (first, last) = (place * 16384 / PRIMARIES, (place + 1) * 16384 / PRIMARIES - 1);
            let mut client = node.connect();
            client.must(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
            client.must(&format!("CLUSTER SET-CONFIG-EPOCH {}", place + 1));
        }
        for place in 1..nodes.len() {
            fabric.meet(&nodes[0], place);
        }
        let all: Vec<&Server> = nodes.iter().collect();
        for place in 0..PRIMARIES {
            replicate(&all, &nodes[PRIMARIES + place], &nodes[place]);
        }
        let ids = nodes.iter().map(id_of).collect();
        Parted { nodes, ids, fabric }
    }

    fn all(&self) -> Vec<&Server> {
        self.nodes.iter().collect()
    }

    /// Holds up everything between these and the rest, both ways.
    fn part(&self, some: &[usize]) {
        let others: Vec<usize> = (0..self.nodes.len()).filter(|place| !some.contains(place)).collect();
        self.fabric.cut(some, &others);
        self.fabric.cut(&others, some);
    }

    /// Waits until all agree that a node follows the one that has taken its slots, and has its data.
    fn wait_until_replaced(&self, old: usize, new: usize) {
        let (old_id, new_id) = (&self.ids[old], &self.ids[new]);
        let follows = |line: &Line| line.id == *old_id && line.flags == "slave" && line.primary == *new_id;
        wait_until_agreed(&self.all(), |lines| lines.iter().any(follows));
        wait_until_linked(&self.nodes[old]);
    }

    fn set(&self, place: usize, value: &str) -> String {
        self.nodes[place].connect().line(&format!("SET {KEY} {value}")).to_string()
    }

    /// Both nodes of the parted shard have the same data.
    fn assert_same_data(&self) {
        let digest = |place: usize| self.nodes[place].connect().must("DEBUG DIGEST").text();
        assert!(holds_within(LIMIT, || digest(PRIMARY) == digest(REPLICA)), "{} {}", digest(PRIMARY), digest(REPLICA));
    }

    fn state_of(&self, place: usize) -> String {
        state(&mut self.nodes[place].connect())
    }
}

fn a_primary_on_its_own_is_replaced(primary: Kind, replica: Kind) {
    let parted = Parted::new(primary, replica);
    let mut writer = parted.nodes[PRIMARY].connect();
    writer.must(&format!("SET {KEY}:kept before"));
    assert_eq!(writer.must("WAIT 1 20000").integer(), 1);
    parted.part(&[PRIMARY]);
    parted.fabric.hold(PRIMARY);
    // It takes writes until it holds the majority for lost, and none that come later.
    assert!(holds_within(LIMIT, || parted.set(PRIMARY, "lost").starts_with("-CLUSTERDOWN")));
    assert!(holds_within(LIMIT, || is_primary(&parted.nodes[REPLICA])));
    assert!(holds_within(LIMIT, || parted.set(REPLICA, "after") == "+OK"));
    assert!(is_primary(&parted.nodes[PRIMARY]) && parted.set(PRIMARY, "lost").starts_with("-CLUSTERDOWN"));
    parted.fabric.heal();
    // What it hears first when it is back must not make it serve what it no longer has.
    let replies = || parted.set(PRIMARY, "lost");
    assert!(holds_within(LIMIT, || replies().starts_with("-MOVED")));
    parted.wait_until_replaced(PRIMARY, REPLICA);
    parted.assert_same_data();
    let mut client = parted.nodes[REPLICA].connect();
    assert_eq!(client.must(&format!("GET {KEY}")).text(), "after");
    assert_eq!(client.must(&format!("GET {KEY}:kept")).text(), "before");
}

#[test]
fn a_slotcore_primary_on_its_own_is_replaced_by_its_replica() {
    a_primary_on_its_own_is_replaced(Kind::Slotcore, Kind::Slotcore);
}

#[test]
fn a_redis_primary_on_its_own_is_replaced_by_a_slotcore_replica() {
    a_primary_on_its_own_is_replaced(Kind::Redis, Kind::Slotcore);
}

#[test]
fn a_primary_that_nobody_hears_is_replaced_and_follows() {
    let parted = Parted::new(Kind::Slotcore, Kind::Slotcore);
    parted.fabric.cut(&[PRIMARY], &[REST, &[REPLICA]].concat());
    parted.fabric.hold(PRIMARY);
    assert!(holds_within(LIMIT, || is_primary(&parted.nodes[REPLICA])));
    // It hears who has its slots now, though it cannot say a word.
    assert!(holds_within(LIMIT, || !is_primary(&parted.nodes[PRIMARY])));
    assert!(parted.set(PRIMARY, "lost").starts_with("-MOVED"));
    assert_eq!(parted.set(REPLICA, "after"), "+OK");
    parted.fabric.heal();
    parted.wait_until_replaced(PRIMARY, REPLICA);
    parted.assert_same_data();
}

#[test]
fn a_shard_on_its_own_serves_nothing_and_loses_nothing() {
    let parted = Parted::new(Kind::Slotcore, Kind::Slotcore);
    parted.part(&[PRIMARY, REPLICA]);
    assert!(holds_within(LIMIT, || parted.set(PRIMARY, "written").starts_with("-CLUSTERDOWN")));
    assert!(holds_within(LIMIT, || REST.iter().all(|place| parted.state_of(*place) == "fail")));
    let read = parted.nodes[PRIMARY].connect().line(&format!("GET {KEY}")).to_string();
    assert!(read.starts_with("-CLUSTERDOWN"), "{read}");
    assert!(!is_primary(&parted.nodes[REPLICA]), "two nodes of six are no majority");
    parted.fabric.heal();
    // The majority holds the primary for failed, so the replica may take over before that is taken back: it has all the data.
    wait_until_agreed(&parted.all(), |lines| {
        let has_slots = |line: &&Line| !line.slots.is_empty();
        lines.iter().filter(has_slots).count() == PRIMARIES && !lines.iter().any(|line| line.flags.contains("fail"))
    });
    let leader = if is_primary(&parted.nodes[PRIMARY]) { PRIMARY } else { REPLICA };
    let follower = PRIMARY + REPLICA - leader;
    assert_eq!(parted.nodes[leader].connect().must(&format!("GET {KEY}")).text(), "written");
    assert_eq!(parted.set(leader, "again"), "+OK");
    wait_until_linked(&parted.nodes[follower]);
    parted.assert_same_data();
}

#[test]
fn replicas_on_their_own_change_nothing() {
    let parted = Parted::new(Kind::Slotcore, Kind::Slotcore);
    let before = wait_until_all_agree(&parted.all());
    parted.part(&[3, 4, 5]);
    (PRIMARIES..6).for_each(|place| parted.fabric.hold(place));
    (0..PRIMARIES).for_each(|place| parted.fabric.hold(place));
    let id = &parted.ids[REPLICA];
    let mut client = parted.nodes[PRIMARY].connect();
    let is_missed = |lines: &[Line]| lines.iter().any(|line| line.id == *id && line.flags.contains("fail"));
    assert!(holds_within(LIMIT, || is_missed(&lines(&mut client))));
    assert_eq!(parted.set(PRIMARY, "served"), "+OK");
    // They have no votes.
    let took_over = || (PRIMARIES..6).any(|place| is_primary(&parted.nodes[place]));
    assert!(!holds_within(Duration::from_secs(3), took_over));
    parted.fabric.heal();
    assert_eq!(wait_until_all_agree(&parted.all()), before);
    parted.assert_same_data();
}
