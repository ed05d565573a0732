//! Slots that move key by key while nodes are killed, cut off, fail over or have no memory left, under a load that knows what must be there.
//!
//! What cannot be asked of this way of moving is that a key stays away that is removed while it is on both sides, which a MIGRATE that was
//! interrupted leaves (`a_key_that_was_left_on_both_sides_comes_back_when_it_is_removed`), and that a replica which takes over from a killed node
//! knows what that one had just sent away. So the load here removes nothing, and replicas take over by order.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::fabric::Fabric;
use super::load::{Load, Routed};
use super::nodes::{
    LIMIT, id_of, is_primary, join, lines, node, replicate, state, wait_until_linked, wait_until_loaded,
};
use super::resharding::{begin, check_filled, end_of, fill};
use crate::admin::cluster;
use crate::support::client::encode;
use crate::support::random::Random;
use crate::support::{Kind, Server, holds_within, number_from_env};

const KEYS: usize = 1500;
const SLOTS: &str = "400";
/// What is acknowledged is on the disk, and nobody takes over from a node that is started again.
const DURABLE: &[&str] = &[
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--cluster-node-timeout",
    "30000",
    "--maxmemory-policy",
    "noeviction",
];

/// Three primaries, and a replica of each of the first two, behind a network that can be held up and cut.
struct Group {
    nodes: Vec<Server>,
    fabric: Fabric,
}

impl Group {
    fn new() -> Group {
        let mut fabric = Fabric::new();
        let nodes: Vec<Server> = (0..5).map(|_| fabric.node(Kind::Slotcore, DURABLE)).collect();
        for (place, (first, last)) in [(0, 5460), (5461, 10922), (10923, 16383)].into_iter().enumerate() {
            let mut client = nodes[place].connect();
            client.must(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
            client.must(&format!("CLUSTER SET-CONFIG-EPOCH {}", place + 1));
        }
        (1..5).for_each(|place| fabric.meet(&nodes[0], place));
        let all: Vec<&Server> = nodes.iter().collect();
        [(3, 0), (4, 1)].into_iter().for_each(|(replica, primary)| replicate(&all, all[replica], all[primary]));
        Group { nodes, fabric }
    }

    /// The two nodes of a shard, the primary first; the third primary is alone.
    fn shard(&self, place: usize) -> (usize, usize) {
        if is_primary(&self.nodes[place]) { (place, place + 3) } else { (place + 3, place) }
    }

    fn kill_and_restart(&mut self, place: usize) {
        self.nodes[place].signal(Signal::SIGKILL);
        self.nodes[place].wait_for_exit();
        self.nodes[place].restart();
        wait_until_loaded(&self.nodes[place]);
    }

    /// The replica of a shard takes over, and has.
    fn fail_over(&self, shard: usize) {
        let (_, replica) = self.shard(shard);
        let ordered = || !self.nodes[replica].connect().line("CLUSTER FAILOVER").is_error();
        assert!(holds_within(LIMIT, ordered));
        assert!(holds_within(LIMIT, || is_primary(&self.nodes[replica])), "node {replica} does not take over");
    }

    /// All are up and well, know each other's role, and agree on who serves which slot; slots may be open.
    fn settle(&self) {
        let known = |node: &Server| {
            let plain = |line: super::nodes::Line| {
                let slots: Vec<&str> = line.slots.split(' ').filter(|slots| !slots.starts_with('[')).collect();
                (line.id, line.flags, line.primary, slots.join(" "), line.is_connected)
            };
            lines(&mut node.connect()).into_iter().map(plain).collect::<Vec<_>>()
        };
        let agree = || {
            let first = known(&self.nodes[0]);
            first.len() == 5
                && first.iter().all(|(.., is_connected)| *is_connected)
                && self.nodes.iter().all(|node| known(node) == first && state(&mut node.connect()) == "ok")
        };
        assert!(holds_within(LIMIT, agree), "{:#?}", self.nodes.iter().map(known).collect::<Vec<_>>());
        [0, 1].into_iter().for_each(|shard| wait_until_linked(&self.nodes[self.shard(shard).1]));
    }
}

/// What goes wrong, in the middle of a reshard.
const FAULTS: usize = 9;

fn strike(group: &mut Group, fault: usize, random: &mut Random, from: usize, to: usize) {
    match fault {
        0 => group.kill_and_restart(group.shard(from).0),
        1 => group.kill_and_restart(group.shard(to).0),
        2 => group.kill_and_restart(group.shard([from, to][random.index(2)]).1),
        3 => group.fail_over(from),
        4 => {
            group.fabric.hold(group.shard(to).0);
            std::thread::sleep(Duration::from_millis(500 + random.below(1500)));
            group.fabric.heal();
        }
        5 => {
            let mut target = group.nodes[group.shard(to).0].connect();
            target.must("CONFIG SET maxmemory 1");
            std::thread::sleep(Duration::from_millis(random.below(500)));
            target.must("CONFIG SET maxmemory 0");
        }
        // The connections of keys on their way, of the replicas, of the bus, and of clients that were redirected.
        6 => {
            let both = [group.shard(from).0, group.shard(to).0];
            for _ in 0..3 {
                group.fabric.sever(&both);
                std::thread::sleep(Duration::from_millis(random.below(100)));
            }
        }
        7 => group.fail_over(to),
        // Another reshard at the same time, to the same target; with slots that are open it does not begin.
        _ => {
            let ids: Vec<String> = [2, group.shard(to).0].iter().map(|place| id_of(&group.nodes[*place])).collect();
            let entry = group.nodes[2].address();
            let words =
                ["reshard", &entry, "--from", &ids[0], "--to", &ids[1], "--slots", "20", "--yes", "--key-by-key"];
            let _ = end_of(begin(&words));
        }
    }
}

/// Reshards that go wrong in ways that the seed decides, and `fix` until all is in order, while clients write.
#[test]
fn random_schedules_of_moves_key_by_key_lose_and_double_nothing() {
    let count = number_from_env("SLOTCORE_TEST_SCHEDULES", 5);
    let first = number_from_env("SLOTCORE_TEST_SEED", 1);
    let mut group = Group::new();
    fill(&group.nodes.iter().collect::<Vec<_>>(), KEYS);
    for seed in first..first + count {
        let mut random = Random::new(seed);
        // There and back, so that all faults meet both shards.
        let (from, to) = if seed % 2 == 0 { (0, 1) } else { (1, 0) };
        let fault = (seed as usize * 2 + random.index(2)) % FAULTS;
        println!("seed {seed}: from shard {from} to {to}, fault {fault}");
        let ids: Vec<String> = [from, to].iter().map(|shard| id_of(&group.nodes[group.shard(*shard).0])).collect();
        let entry = group.nodes[2].address();
        let ports: Vec<u16> = group.nodes.iter().map(|node| node.port).collect();
        let load = Load::start_keeping(&ports, 3, seed << 8);
        let mut target = group.nodes[group.shard(to).0].connect();
        let before = target.must("DBSIZE").integer();
        let words = ["reshard", &entry, "--from", &ids[0], "--to", &ids[1], "--slots", SLOTS, "--key-by-key"];
        let child = begin(&[&words[..], &["--pipeline", "3", "--timeout", "1000", "--yes"]].concat());
        let arrived = 5 + random.below(60) as i64;
        assert!(holds_within(LIMIT, || target.must("DBSIZE").integer() > before + arrived));
        strike(&mut group, fault, &mut random, from, to);
        let (code, said) = end_of(child);
        group.settle();
        let mut fixed = cluster(&["fix", &entry, "--cluster-replace", "--cluster-yes"]);
        // A node that has just come back may be found failing by the tool for a moment.
        assert!(
            holds_within(LIMIT, || {
                fixed.code == 0 || {
                    fixed = cluster(&["fix", &entry, "--cluster-replace", "--cluster-yes"]);
                    fixed.code == 0
                }
            }),
            "seed {seed}, reshard {code} {said}: {}",
            fixed.all()
        );
        group.settle();
        let writes = load.done();
        let written = load.stop();
        let primaries: Vec<&Server> =
            [group.shard(0).0, group.shard(1).0, 2].iter().map(|place| &group.nodes[*place]).collect();
        println!("seed {seed}: reshard {code}, {writes} writes");
        let keys = written.keys();
        written.check(&primaries, KEYS as i64);
        check_filled(&primaries, KEYS);
        let mut client = Routed::new(&ports);
        keys.iter().for_each(|key| assert_eq!(client.cmd(key, &["DEL", key]).to_string(), ":1"));
    }
}

/// Which MIGRATE leaves when one side ends before the source has removed the key: here made by COPY.
#[test]
fn a_key_that_was_left_on_both_sides_comes_back_when_it_is_removed() {
    for kind in [Kind::Redis, Kind::Slotcore] {
        let (here, there) = (node(kind, &[]), node(kind, &[]));
        join(&[&here, &there]);
        let mut client = here.connect();
        client.must("SET {06S}key old");
        there.connect().must(&format!("CLUSTER SETSLOT 0 IMPORTING {}", id_of(&here)));
        client.must(&format!("CLUSTER SETSLOT 0 MIGRATING {}", id_of(&there)));
        client.must(&format!("MIGRATE 127.0.0.1 {} {{06S}}key 0 5000 COPY", there.port));
        // The source has it, and is right about it; whoever writes there changes that one.
        client.must("SET {06S}key new");
        assert_eq!(client.must("DEL {06S}key").integer(), 1);
        // What the source lacks is looked for at the target.
        let mut routed = Routed::new(&[here.port, there.port]);
        assert_eq!(routed.cmd("{06S}key", &["GET", "{06S}key"]).text(), "old", "{kind:?}");
    }
}

/// A second reshard of slots that are under way does not begin, and the first is not disturbed.
#[test]
fn slots_that_are_under_way_are_not_given_away_twice() {
    let nodes = [node(Kind::Slotcore, &[]), node(Kind::Slotcore, &[]), node(Kind::Slotcore, &[])];
    let all: Vec<&Server> = nodes.iter().collect();
    join(&all);
    fill(&all, KEYS);
    let ids: Vec<String> = nodes.iter().map(id_of).collect();
    let entry = nodes[2].address();
    let reshard = |to: usize| {
        let words = [
            "reshard",
            &entry,
            "--from",
            &ids[0],
            "--to",
            &ids[to],
            "--slots",
            "5000",
            "--pipeline",
            "1",
            "--key-by-key",
        ];
        begin(&[&words[..], &["--yes"]].concat())
    };
    let load = Load::start(&nodes.each_ref().map(|node| node.port), 2, 9);
    let child = reshard(1);
    let mut source = nodes[0].connect();
    assert!(holds_within(LIMIT, || source.must("CLUSTER NODES").text().contains("->-")));
    for to in [1, 2] {
        let (code, said) = end_of(reshard(to));
        // Which of them it sees first depends on the moment.
        let is_refused = ["migrating", "importing", "do not agree", "the owner of hash slot"]
            .iter()
            .any(|reason| said.contains(reason));
        assert!(code == 1 && is_refused, "{code} {said}");
    }
    let (code, said) = end_of(child);
    assert_eq!(code, 0, "{said}");
    super::nodes::wait_until_all_agree(&all);
    load.end(&all, KEYS as i64);
    check_filled(&all, KEYS);
}

/// Who waits for a key, listens, or has queued commands when the slot is opened and given away.
#[test]
fn clients_of_a_slot_that_is_given_away_are_told() {
    for kind in [Kind::Redis, Kind::Slotcore] {
        let (here, there) = (node(kind, &[]), node(kind, &[]));
        join(&[&here, &there]);
        let (mut waits, mut listens, mut queues, mut orders) =
            (here.connect(), here.connect(), here.connect(), here.connect());
        orders.must("MSET {06S}a 1 {06S}b 1");
        waits.send(b"BLPOP {06S}list 0\r\n");
        listens.must("SSUBSCRIBE {06S}channel");
        queues.must("MULTI");
        queues.must("INCR {06S}a");
        queues.must("INCR {06S}b");
        assert!(holds_within(LIMIT, || orders.info_number("blocked_clients") == 1));
        there.connect().must(&format!("CLUSTER SETSLOT 0 IMPORTING {}", id_of(&here)));
        orders.must(&format!("CLUSTER SETSLOT 0 MIGRATING {}", id_of(&there)));
        // Of several keys some are here: neither side can do it now.
        orders.must(&format!("MIGRATE 127.0.0.1 {} {{06S}}a 0 5000", there.port));
        let refused = queues.line("EXEC").to_string();
        assert!(refused.starts_with("-TRYAGAIN") || refused.starts_with("-EXECABORT"), "{kind:?}: {refused}");
        assert_eq!(orders.must("GET {06S}b").text(), "1");
        // Who waits here and who listens does so until the slot has gone.
        assert_eq!(orders.info_number("blocked_clients"), 1);
        orders.must("SPUBLISH {06S}channel still");
        assert_eq!(listens.read().items()[2].text(), "still");
        orders.must(&format!("MIGRATE 127.0.0.1 {} {{06S}}b 0 5000", there.port));
        for node in [&there, &here] {
            node.connect().must(&format!("CLUSTER SETSLOT 0 NODE {}", id_of(&there)));
        }
        let moved = format!("-MOVED 0 127.0.0.1:{}", there.port);
        assert_eq!(waits.read().to_string(), moved, "{kind:?}");
        assert_eq!(listens.read().items()[0].text(), "sunsubscribe", "{kind:?}");
        assert_eq!(there.connect().must("MGET {06S}a {06S}b").to_string(), "['1', '1']");
    }
}

/// What was sent away does not come back with its node when somebody has been told that it is gone.
#[test]
fn nobody_is_sent_after_a_key_whose_removal_is_not_on_the_disk() {
    let (mut here, there) = (node(Kind::Slotcore, DURABLE), node(Kind::Slotcore, &[]));
    join(&[&here, &there]);
    let (mut client, mut other) = (here.connect(), here.connect());
    client.must("MSET {06S}key old {06S}stays 1");
    there.connect().must(&format!("CLUSTER SETSLOT 0 IMPORTING {}", id_of(&here)));
    client.must(&format!("CLUSTER SETSLOT 0 MIGRATING {}", id_of(&there)));
    client.must("DEBUG DISK-FAULT FSYNC HOLD");
    client.send(&encode(&["MIGRATE", "127.0.0.1", &there.port.to_string(), "{06S}key", "0", "5000"]));
    let mut target = there.connect();
    assert!(holds_within(LIMIT, || target.must("CLUSTER COUNTKEYSINSLOT 0").integer() == 1));
    assert!(holds_within(LIMIT, || other.must("CLUSTER COUNTKEYSINSLOT 0").integer() == 1));
    // Of the key, and of a transaction that names it.
    let mut queues = here.connect();
    queues.must("MULTI");
    queues.must("GET {06S}key");
    queues.send(&encode(&["EXEC"]));
    let mut reads = here.connect();
    reads.send(&encode(&["GET", "{06S}key"]));
    // Who asks about another slot is answered.
    assert_eq!(other.line("GET {b}here").to_string(), "nil");
    let mut is_told = || reads.read_what_is_there().or_else(|| queues.read_what_is_there()).is_some();
    assert!(!holds_within(Duration::from_millis(200), &mut is_told), "somebody is sent there");
    other.must("DEBUG DISK-FAULT FSYNC NONE");
    let ask = format!("-ASK 0 127.0.0.1:{}", there.port);
    assert_eq!(reads.read().to_string(), ask);
    assert!(queues.read().to_string().contains("ASK"));
    here.signal(Signal::SIGKILL);
    here.wait_for_exit();
    here.restart();
    wait_until_loaded(&here);
    assert_eq!(here.connect().must("CLUSTER COUNTKEYSINSLOT 0").integer(), 1);
}

/// What SETSLOT has answered is in nodes.conf, one by one and many at once.
#[test]
fn a_node_that_is_killed_knows_which_slots_it_has_opened() {
    let (mut here, there) = (node(Kind::Slotcore, &[]), node(Kind::Slotcore, &[]));
    join(&[&here, &there]);
    let (mut client, id) = (here.connect(), id_of(&there));
    client.must(&format!("CLUSTER SETSLOT 300 MIGRATING {id}"));
    let lines: Vec<String> = (0..200).map(|slot| format!("CLUSTER SETSLOT {slot} MIGRATING {id}")).collect();
    assert!(client.pipeline(&lines).iter().all(|reply| !reply.is_error()));
    here.signal(Signal::SIGKILL);
    here.wait_for_exit();
    here.restart();
    wait_until_loaded(&here);
    let known = here.connect().must("CLUSTER NODES").text();
    assert!((0..200).chain([300]).all(|slot| known.contains(&format!("[{slot}->-{id}]"))), "{known}");
}
