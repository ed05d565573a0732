//! Slots that move at once between shards of a primary and a replica each, which are killed or change places meanwhile.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::migrate_slots::{Proxied, begin_move, is_over, last_job, moves, proxied};
use super::migrate_slots_faults::WORDS;
use super::moving::{Load, Stop, tags};
use super::nodes::{
    LIMIT, id_of, is_primary, join, meet, replicate, wait_until_all_agree, wait_until_linked, wait_until_loaded,
};
use crate::support::random::Random;
use crate::support::{Server, holds_within, number_from_env};

/// What is acknowledged is on the disk, and nobody takes over from a node that is started again.
const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always", "--cluster-node-timeout", "30000"];
const LAST: u16 = 199;

/// Three primaries, and a replica of each of the first two. Slots go from one of these shards to the other.
struct Group(Vec<Proxied>);

impl Group {
    fn new() -> Group {
        let nodes: Vec<Proxied> = (0..5).map(|_| proxied(DURABLE)).collect();
        let all: Vec<&Server> = nodes.iter().map(|node| &node.server).collect();
        join(&all[..3]);
        meet(all[0], &all[3..]);
        [(3, 0), (4, 1)].into_iter().for_each(|(replica, primary)| replicate(&all, all[replica], all[primary]));
        Group(nodes)
    }

    fn servers(&self) -> Vec<&Server> {
        self.0.iter().map(|node| &node.server).collect()
    }

    /// The primary of one of the two shards, and the replica.
    fn shard(&self, place: usize) -> (usize, usize) {
        if is_primary(&self.0[place].server) { (place, place + 3) } else { (place + 3, place) }
    }

    /// The shard that serves the slots that are moved about.
    fn owner(&self) -> usize {
        let lines = wait_until_all_agree(&self.servers());
        let holds = |slots: &str| slots.split(' ').any(|range| range.split('-').next() == Some("0"));
        let id = lines.iter().find(|line| holds(&line.slots)).map(|line| line.id.clone()).expect("somebody has slot 0");
        (0..2).find(|shard| id_of(&self.0[self.shard(*shard).0].server) == id).expect("one of two")
    }

    fn kill_and_restart(&mut self, place: usize) {
        let server = &mut self.0[place].server;
        server.signal(Signal::SIGKILL);
        server.wait_for_exit();
        server.restart();
        wait_until_loaded(server);
    }

    /// The replica of a shard takes over, and has. A primary whose slots change hands at this moment does not help it, and the order is
    /// given up after five seconds.
    fn fail_over(&self, shard: usize) {
        let replica = &self.0[self.shard(shard).1].server;
        let takes_over = |_| {
            let ordered = || !replica.connect().line("CLUSTER FAILOVER").is_error();
            assert!(holds_within(LIMIT, ordered));
            holds_within(Duration::from_secs(7), || is_primary(replica))
        };
        assert!((0..4).any(takes_over), "the replica of shard {shard} does not take over");
    }

    /// No job goes on, and each slot's keys are with its owner and the replica of that, and the same there.
    fn check_settled(&self) {
        for server in self.servers() {
            let job = || last_job(server, "state");
            assert!(holds_within(LIMIT, || job().is_empty() || is_over(&job())), "{}", job());
        }
        let owner = self.owner();
        [0, 1].into_iter().for_each(|shard| wait_until_linked(&self.0[self.shard(shard).1].server));
        let counts = |place: usize| -> Vec<i64> {
            let lines: Vec<String> = (0..=LAST).map(|slot| format!("CLUSTER COUNTKEYSINSLOT {slot}")).collect();
            self.0[place].server.connect().pipeline(&lines).iter().map(|reply| reply.value.integer()).collect()
        };
        let strangers: Vec<usize> = (0..5).filter(|place| place % 3 != owner).collect();
        let are_alone = || strangers.iter().all(|place| counts(*place).iter().all(|count| *count == 0));
        assert!(holds_within(LIMIT, are_alone), "others than shard {owner} have keys of the slots");
    }

    /// Nothing is written any more: replicas come to have what their primaries have.
    fn check_replicas(&self) {
        for shard in [0, 1] {
            let (primary, replica) = self.shard(shard);
            let size = |place: usize| self.0[place].server.connect().must("DBSIZE").integer();
            assert!(holds_within(LIMIT, || size(primary) == size(replica)), "{} {}", size(primary), size(replica));
        }
    }
}

fn fails_over_in_the_middle(shard: usize) {
    let group = Group::new();
    let all = group.servers();
    let load = Load::begin(&all, &tags(0, LAST, 6), shard as u64);
    std::thread::sleep(Duration::from_millis(50));
    group.0[1].proxy.stop_at("SNAPSHOT-EOF", Stop::HoldBefore);
    begin_move(all[0], all[1], 0, LAST);
    assert!(holds_within(LIMIT, || group.0[1].proxy.has_struck()));
    group.fail_over(shard);
    group.0[1].proxy.release();
    group.check_settled();
    assert!(load.goes_on());
    load.end();
    // The new primary goes on, with the slots or without.
    let (from, to) = (all[group.shard(0).0], all[group.shard(1).0]);
    assert_eq!(moves(from, to, 0, LAST), "success", "{}", last_job(from, "message"));
}

#[test]
fn a_source_that_hands_over_to_its_replica_ends_the_move() {
    fails_over_in_the_middle(0);
}

#[test]
fn a_target_that_hands_over_to_its_replica_ends_the_move() {
    fails_over_in_the_middle(1);
}

/// Moves in which one of the nodes goes or changes places, at a word that the seed decides.
#[test]
fn random_schedules_with_replicas_lose_and_double_nothing() {
    let count = number_from_env("SLOTCORE_TEST_SCHEDULES", 5);
    let first = number_from_env("SLOTCORE_TEST_SEED", 1);
    let mut group = Group::new();
    for seed in first..first + count {
        let mut random = Random::new(seed);
        let from = group.owner();
        let to = 1 - from;
        let word = *random.pick(&WORDS.each_ref());
        let what = (seed as usize * 3 + random.index(3)) % 7;
        println!("seed {seed}: {word} from shard {from} to {to}, then {what}");
        let load = Load::begin(&group.servers(), &tags(0, LAST, 6), seed);
        std::thread::sleep(Duration::from_millis(random.below(60)));
        let target = group.shard(to).0;
        group.0[target].proxy.stop_at(word, Stop::HoldBefore);
        begin_move(group.servers()[group.shard(from).0], group.servers()[target], 0, LAST);
        assert!(holds_within(LIMIT, || group.0[target].proxy.has_struck()), "{word} is not said");
        std::thread::sleep(Duration::from_millis(random.below(30)));
        match what {
            0 => group.kill_and_restart(group.shard(from).0),
            1 => group.kill_and_restart(group.shard(to).0),
            2 => group.kill_and_restart(group.shard(from).1),
            3 => group.kill_and_restart(group.shard(to).1),
            4 => group.fail_over(from),
            5 => group.fail_over(to),
            // Both at a time.
            _ => {
                group.kill_and_restart(group.shard(from).1);
                group.fail_over(to);
            }
        }
        group.0[target].proxy.release();
        group.check_settled();
        assert!(load.goes_on());
        let writes = load.end();
        group.check_replicas();
        println!("seed {seed}: {writes} writes, shard {} has the slots", group.owner());
    }
}
