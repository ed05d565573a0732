//! Who serves which slots and who replicates whom, for nodes that are about to become a cluster. Pure.
//!
//! Nodes of different hosts take turns in becoming primaries, so that these are spread evenly; replicas are placed away from
//! their primary, and away from each other. The ranges of slots and the first placement are redis-cli's. Where that
//! placement can be bettered, replicas change places until no exchange of two betters it, and then at random, with a fixed
//! seed: the same nodes always get the same plan.

use std::net::IpAddr;

use crate::base::random::Random;
use crate::base::slot::{SLOTS_COUNT, Slot};

/// Fewer cannot agree on a failure when one of them is gone.
pub const PRIMARIES_MIN: usize = 3;

/// What a replica beside its primary weighs against two replicas beside each other.
const WITH_PRIMARY: i64 = 10_000;
/// Random exchanges for each node, when exchanges that better the placement have come to an end.
const RANDOM_EXCHANGES_PER_NODE: usize = 500;
/// One in so many exchanges is made although it is for the worse.
const WORSE_ONE_IN: u64 = 16;
/// After so many exchanges the way begins again at the best placement so far.
const STEPS_FROM_BEST: usize = 64;
const SEED: u64 = 1;

/// Indexes are those of the hosts that `plan` was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub primaries: Vec<PlannedPrimary>,
    pub replicas: Vec<PlannedReplica>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedPrimary {
    pub node: usize,
    pub first: Slot,
    pub last: Slot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedReplica {
    pub node: usize,
    /// The node that it replicates.
    pub primary: usize,
}

/// How well a plan survives the loss of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// No primary shares a host with a replica of its own, nor two replicas of one primary.
    Perfect,
    /// Two replicas of one primary share a host.
    ReplicasTogether,
    /// A replica is on its primary's host.
    WithPrimary,
}

/// A plan for nodes on these hosts with at least `replicas` replicas for each primary. What the division leaves over
/// become further replicas, so with `replicas` 0 every node is a primary.
///
/// # Panics
/// With fewer nodes than one primary and its replicas, or more primaries than slots.
pub fn plan(hosts: &[IpAddr], replicas: usize) -> Plan {
    let count = hosts.len() / (replicas + 1);
    assert!((1..=SLOTS_COUNT).contains(&count), "{count} primaries");
    let order = interleave(hosts);
    let (primaries, others) = order.split_at(count);
    let ranges = slot_ranges(count);
    let planned = primaries.iter().zip(ranges).map(|(&node, (first, last))| PlannedPrimary { node, first, last });
    Plan { primaries: planned.collect(), replicas: place_replicas(hosts, primaries, others, replicas) }
}

impl Plan {
    /// How well the plan survives the loss of one of these hosts.
    pub fn affinity(&self, hosts: &[IpAddr]) -> Affinity {
        match Placement::new(hosts, &self.replicas).score() {
            0 => Affinity::Perfect,
            score if score < WITH_PRIMARY => Affinity::ReplicasTogether,
            _ => Affinity::WithPrimary,
        }
    }
}

/// Divides all slots among so many primaries: with floats of 32 bits and rounding as redis-cli does it, so that a cluster
/// made by either has the same ranges.
fn slot_ranges(count: usize) -> Vec<(Slot, Slot)> {
    let per_primary = SLOTS_COUNT as f32 / count as f32;
    let (mut first, mut cursor) = (0, 0f32);
    let mut ranges = Vec::with_capacity(count);
    for number in 0..count {
        // Every primary behind this one is left a slot, whatever the sum of rounded numbers has come to.
        let latest = SLOTS_COUNT - (count - number);
        let last = match (cursor + per_primary - 1.0).round() {
            _ if number + 1 == count => latest,
            rounded => (rounded as usize).clamp(first, latest),
        };
        ranges.push((slot(first), slot(last)));
        first = last + 1;
        cursor += per_primary;
    }
    ranges
}

fn slot(index: usize) -> Slot {
    Slot::checked(index as i64).expect("ranges end with the last slot")
}

/// The nodes in turns: one of each host, in the order in which the hosts come up.
fn interleave(hosts: &[IpAddr]) -> Vec<usize> {
    let mut groups: Vec<(IpAddr, Vec<usize>)> = Vec::new();
    for (node, host) in hosts.iter().enumerate() {
        match groups.iter_mut().find(|(known, _)| known == host) {
            Some((_, nodes)) => nodes.push(node),
            None => groups.push((*host, vec![node])),
        }
    }
    let rounds = groups.iter().map(|(_, nodes)| nodes.len()).max().unwrap_or(0);
    (0..rounds).flat_map(|round| groups.iter().filter_map(move |(_, nodes)| nodes.get(round).copied())).collect()
}

/// A first placement that takes for each primary the next node of another host, then exchanges.
fn place_replicas(hosts: &[IpAddr], primaries: &[usize], others: &[usize], replicas: usize) -> Vec<PlannedReplica> {
    let mut free = others.to_vec();
    // Nodes follow the primaries host by host; moved on by one, the first choice is more often right.
    if !free.is_empty() {
        free.rotate_left(1);
    }
    let mut placed = Vec::with_capacity(free.len());
    let mut place = |primary: usize, free: &mut Vec<usize>| {
        if !free.is_empty() {
            let elsewhere = free.iter().position(|&node| hosts[node] != hosts[primary]);
            placed.push(PlannedReplica { node: free.remove(elsewhere.unwrap_or(0)), primary });
        }
    };
    for &primary in primaries {
        (0..replicas).for_each(|_| place(primary, &mut free));
    }
    primaries.iter().cycle().take(free.len()).for_each(|&primary| place(primary, &mut free));
    let mut placement = Placement::new(hosts, &placed);
    placement.better();
    placement.replicas
}

/// Replicas in their places, with what tells at once how an exchange would change the score.
#[derive(Clone)]
struct Placement {
    /// A number for each node's host.
    hosts: Vec<usize>,
    replicas: Vec<PlannedReplica>,
    hosts_count: usize,
    /// How many replicas of a primary are on a host, at `primary * hosts_count + host`.
    counts: Vec<u32>,
}

impl Placement {
    fn new(hosts: &[IpAddr], replicas: &[PlannedReplica]) -> Placement {
        let mut names: Vec<IpAddr> = hosts.to_vec();
        names.sort_unstable();
        names.dedup();
        let number = |host: &IpAddr| names.binary_search(host).expect("every host is among the names");
        let hosts: Vec<usize> = hosts.iter().map(number).collect();
        let mut counts = vec![0; hosts.len() * names.len()];
        for replica in replicas {
            counts[replica.primary * names.len() + hosts[replica.node]] += 1;
        }
        Placement { hosts, replicas: replicas.to_vec(), hosts_count: names.len(), counts }
    }

    /// 0 is perfect; the sum of what is wrong on each host with the replicas of each primary.
    fn score(&self) -> i64 {
        let cells = self.counts.iter().enumerate();
        cells.map(|(cell, count)| self.cost(cell / self.hosts_count, cell % self.hosts_count, *count)).sum()
    }

    fn cost(&self, primary: usize, host: usize, count: u32) -> i64 {
        match count {
            0 => 0,
            count if self.hosts[primary] == host => WITH_PRIMARY * i64::from(count),
            1 => 0,
            count => i64::from(count),
        }
    }

    /// What it costs that the replica is where it is.
    fn cost_of(&self, replica: &PlannedReplica) -> i64 {
        let host = self.hosts[replica.node];
        self.cost(replica.primary, host, self.counts[replica.primary * self.hosts_count + host])
    }

    fn exchange(&mut self, one: usize, other: usize) {
        let (first, second) = (self.replicas[one], self.replicas[other]);
        for (replica, primary) in [(first, second.primary), (second, first.primary)] {
            let host = self.hosts[replica.node];
            self.counts[replica.primary * self.hosts_count + host] -= 1;
            self.counts[primary * self.hosts_count + host] += 1;
        }
        self.replicas[one].primary = second.primary;
        self.replicas[other].primary = first.primary;
    }

    /// By how much the score would change; negative is better.
    fn change(&mut self, one: usize, other: usize) -> i64 {
        let (first, second) = (self.replicas[one], self.replicas[other]);
        let (here, there) = (self.hosts[first.node], self.hosts[second.node]);
        if first.primary == second.primary || here == there {
            return 0;
        }
        let cells = [(first.primary, here), (first.primary, there), (second.primary, here), (second.primary, there)];
        let sum = |placement: &Placement| -> i64 {
            let count = |(primary, host)| placement.counts[primary * placement.hosts_count + host];
            cells.iter().map(|&(primary, host)| placement.cost(primary, host, count((primary, host)))).sum()
        };
        let before = sum(self);
        self.exchange(one, other);
        let after = sum(self);
        self.exchange(one, other);
        after - before
    }

    /// Lowers the score as far as exchanges of two replicas find the way.
    fn better(&mut self) {
        while let Some((one, other)) = self.best_exchange() {
            self.exchange(one, other);
        }
        if self.hosts_count > 1 {
            self.wander();
        }
    }

    /// Exchanges replicas at random and keeps the best that was seen: a better placement may lie behind several that are
    /// no better, or worse.
    fn wander(&mut self) {
        let mut score = self.score();
        let (mut best, mut best_score) = (self.clone(), score);
        let mut random = Random::new(SEED);
        for step in 0..RANDOM_EXCHANGES_PER_NODE * self.hosts.len() {
            let all = 0..self.replicas.len();
            let wrong: Vec<usize> = all.filter(|&index| self.cost_of(&self.replicas[index]) > 0).collect();
            if wrong.is_empty() {
                break;
            }
            let one = wrong[random.below(wrong.len() as u64) as usize];
            let other = random.below(self.replicas.len() as u64) as usize;
            let change = self.change(one, other);
            if change <= 0 || random.below(WORSE_ONE_IN) == 0 {
                self.exchange(one, other);
                score += change;
            }
            if score < best_score {
                (best, best_score) = (self.clone(), score);
            } else if step % STEPS_FROM_BEST == STEPS_FROM_BEST - 1 {
                (*self, score) = (best.clone(), best_score);
            }
        }
        assert!(score == self.score() && best_score == best.score(), "changes of the score add up");
        *self = best;
    }

    /// The exchange that lowers the score most.
    fn best_exchange(&mut self) -> Option<(usize, usize)> {
        let mut best = (0, None);
        for one in 0..self.replicas.len() {
            if self.cost_of(&self.replicas[one]) == 0 {
                continue;
            }
            for other in 0..self.replicas.len() {
                let change = self.change(one, other);
                if change < best.0 {
                    best = (change, Some((one, other)));
                }
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    /// What the last slots of so many primaries add up to as digits of base 31, from a build of redis-cli's lines.
    const DIGESTS: &[(usize, u64)] =
        &[(100, 17266755938443165376), (333, 13290806274252328440), (1000, 17804241933911355649)];

    /// One node for each letter, on the host with that letter.
    fn hosts(letters: &str) -> Vec<IpAddr> {
        letters.bytes().map(|letter| IpAddr::V4(Ipv4Addr::new(10, 0, 0, letter))).collect()
    }

    /// `0<4 1<5`: who replicates whom.
    fn shown(plan: &Plan) -> String {
        let pairs: Vec<String> = plan.replicas.iter().map(|r| format!("{}<{}", r.primary, r.node)).collect();
        pairs.join(" ")
    }

    #[test]
    fn ranges_are_those_of_redis_cli() {
        // From a build of its lines too.
        let cases: &[&[(u16, u16)]] = &[
            &[(0, 16383)],
            &[(0, 5460), (5461, 10922), (10923, 16383)],
            &[(0, 3276), (3277, 6553), (6554, 9829), (9830, 13106), (13107, 16383)],
            &[(0, 2340), (2341, 4680), (4681, 7021), (7022, 9361), (9362, 11702), (11703, 14042), (14043, 16383)],
        ];
        for expected in cases {
            let ranges = slot_ranges(expected.len());
            let ranges: Vec<(u16, u16)> = ranges.into_iter().map(|(first, last)| (first.get(), last.get())).collect();
            assert_eq!(ranges, *expected);
        }
        for (count, digest) in DIGESTS {
            let ranges = slot_ranges(*count);
            let sum =
                ranges.iter().fold(0u64, |sum, (_, last)| sum.wrapping_mul(31).wrapping_add(u64::from(last.get())));
            assert_eq!(sum, *digest, "{count}");
        }
    }

    #[test]
    fn one_host_gets_the_placement_that_redis_cli_begins_with() {
        let hosts = hosts("aaaaaa");
        let plan = plan(&hosts, 1);
        assert_eq!(plan.primaries.iter().map(|primary| primary.node).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(shown(&plan), "0<4 1<5 2<3");
        assert_eq!(plan.affinity(&hosts), Affinity::WithPrimary);
    }

    #[test]
    fn hosts_take_turns_and_replicas_keep_away_from_their_primary() {
        for (letters, replicas, affinity) in [
            ("abcabc", 1, Affinity::Perfect),
            ("aabbcc", 1, Affinity::Perfect),
            ("ababab", 1, Affinity::Perfect),
            ("aaabbbccc", 2, Affinity::Perfect),
            ("aaabbb", 1, Affinity::Perfect),
            ("ababababa", 2, Affinity::WithPrimary),
            ("aaaaaabbbccc", 3, Affinity::ReplicasTogether),
            ("abcd", 0, Affinity::Perfect),
        ] {
            let hosts = hosts(letters);
            let plan = plan(&hosts, replicas);
            assert_eq!(plan.affinity(&hosts), affinity, "{letters}: {}", shown(&plan));
        }
        let spread = plan(&hosts("aaabbbccc"), 2);
        assert_eq!(spread.primaries.iter().map(|primary| primary.node).collect::<Vec<_>>(), [0, 3, 6]);
    }

    #[test]
    fn what_the_division_leaves_over_become_replicas() {
        let plan = plan(&hosts("aaaaaaaa"), 1);
        assert_eq!((plan.primaries.len(), plan.replicas.len()), (4, 4));
        let plan = super::plan(&hosts("aaaaaaaaaaa"), 2);
        let of = |node| plan.replicas.iter().filter(|replica| replica.primary == node).count();
        assert_eq!([of(0), of(1), of(2)], [3, 3, 2]);
    }

    /// The lowest score that any placement of these replicas has, with as many for each primary.
    fn lowest(placement: &mut Placement, from: usize) -> i64 {
        let mut best = placement.score();
        for other in from + 1..placement.replicas.len() {
            placement.exchange(from, other);
            best = best.min(lowest(placement, from + 1));
            placement.exchange(from, other);
        }
        if from + 1 < placement.replicas.len() { best.min(lowest(placement, from + 1)) } else { best }
    }

    #[test]
    fn a_better_placement_is_found_behind_a_worse_one() {
        let hosts = hosts("babbaaacc");
        let mut placement = Placement::new(&hosts, &plan(&hosts, 2).replicas);
        assert_eq!((placement.score(), lowest(&mut placement, 0)), (2, 2));
    }

    proptest! {
        #[test]
        fn every_slot_has_one_primary_and_every_node_one_role(count in 1usize..2000) {
            let ranges = slot_ranges(count);
            prop_assert_eq!(ranges.len(), count);
            prop_assert_eq!((ranges[0].0.get(), ranges[count - 1].1.get()), (0, 16383));
            prop_assert!(ranges.iter().all(|(first, last)| first <= last));
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1.get() + 1 == pair[1].0.get()));
        }

        #[test]
        fn every_node_has_one_role(letters in "[a-e]{3,60}", replicas in 0usize..4) {
            let hosts = hosts(&letters);
            prop_assume!(hosts.len() > replicas);
            let plan = plan(&hosts, replicas);
            let primaries: Vec<usize> = plan.primaries.iter().map(|primary| primary.node).collect();
            let mut nodes: Vec<usize> = primaries.iter().copied().chain(plan.replicas.iter().map(|replica| replica.node)).collect();
            nodes.sort_unstable();
            prop_assert!(nodes.into_iter().eq(0..hosts.len()));
            for &primary in &primaries {
                prop_assert!(plan.replicas.iter().filter(|replica| replica.primary == primary).count() >= replicas);
            }
            prop_assert!(plan.replicas.iter().all(|replica| primaries.contains(&replica.primary)));
        }

        #[test]
        fn no_other_placement_of_few_nodes_is_better(letters in "[a-c]{6,10}", replicas in 1usize..3) {
            let hosts = hosts(&letters);
            let plan = plan(&hosts, replicas);
            let mut placement = Placement::new(&hosts, &plan.replicas);
            let score = placement.score();
            prop_assert_eq!(score, lowest(&mut placement, 0), "{}: {}", letters, shown(&plan));
        }
    }
}
