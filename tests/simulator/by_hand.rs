//! Slots that move by SETSLOT, one after the other as a tool moves them, while a replica of either side takes over by order.
//!
//! The keys of a slot are modelled as the shard that has them: they go when MIGRATE may run, and writes that are held keep it from
//! running, so that whoever takes over has what its primary had. It has heard, too, what the stream said before that.

use std::collections::BTreeMap;
use std::panic::{catch_unwind, resume_unwind};

use slotcore::base::slot::Slot;
use slotcore::cluster::machine::{FailoverKind, SetSlot};
use slotcore::cluster::node::NodeIndex;

use crate::chaos::{self, Plan};
use crate::world::{Order, Weather, World};

/// The first of each shard is its primary in the beginning; the second is behind all primaries.
const PLAN: Plan = Plan { primaries: 3, replicas_each: 1, node_timeout_ms: 5000, suffers_ms: 0 };
const SOURCE: usize = 0;
const TARGET: usize = 1;
const ONLOOKER: usize = 2;
/// So many slots of the source move, from the first on.
const SLOTS: u16 = 20;
/// Within which somebody takes over; all slots take about as long.
const SPAN_MS: u64 = 150;

/// What a primary's stream says to its replica.
struct Told {
    at_ms: u64,
    primary: usize,
    slot: Slot,
    form: SetSlot,
}

struct Move {
    world: World,
    /// In the order in which it is said.
    told: Vec<Told>,
    /// Which shard has the keys of a slot.
    keys: BTreeMap<Slot, usize>,
    /// When a replica takes over, and which.
    failover: Option<(u64, usize)>,
}

fn shard_of(node: usize) -> usize {
    node % PLAN.primaries
}

impl Move {
    fn new(seed: u64) -> Move {
        let mut world = World::new(seed, PLAN.nodes_count(), PLAN.node_timeout_ms);
        chaos::found(&mut world, &PLAN);
        world.run(3_000);
        let delay_max_ms = 1 + world.random.below(10);
        world.weather = Weather { delay_max_ms, ..world.weather };
        let failover_ms = world.now_ms + world.random.below(SPAN_MS);
        let replica = PLAN.primaries + [SOURCE, TARGET][world.random.below(2) as usize];
        let keys = (0..SLOTS).map(|slot| (Slot::new(slot), SOURCE)).collect();
        Move { world, told: Vec::new(), keys, failover: Some((failover_ms, replica)) }
    }

    /// Lets a few milliseconds go by.
    fn wait(&mut self) {
        for _ in 0..self.world.random.below(3) {
            self.pass_a_millisecond();
        }
    }

    fn pass_a_millisecond(&mut self) {
        let now_ms = self.world.now_ms;
        let failover = self.failover.take_if(|(at_ms, _)| *at_ms <= now_ms);
        // All comes before writes are held; what is said meanwhile may come too late for whoever takes over.
        let is_due = |told: &mut Told| told.at_ms <= now_ms || failover.is_some();
        for Told { primary, slot, form, .. } in self.told.extract_if(.., is_due).collect::<Vec<_>>() {
            self.world.step(primary + PLAN.primaries, |machine, _| machine.follow_set_slot(slot, form));
        }
        if let Some((_, replica)) = failover {
            self.world.order(replica, Order::FailOver(FailoverKind::Ordered));
        }
        self.world.run(1);
        for (node, slots) in std::mem::take(&mut self.world.dropped) {
            // Whoever has taken over from it has them.
            let has_heir = |other: usize| other != node && self.world.state(other).myself().is_primary();
            if [shard_of(node), shard_of(node) + PLAN.primaries].into_iter().any(has_heir) {
                continue;
            }
            let lost = slots.iter().find(|slot| self.keys.get(slot) == Some(&shard_of(node)));
            assert!(lost.is_none(), "node {node} drops the keys of slot {lost:?}, which nobody else has");
        }
    }

    /// SETSLOT. False when it is refused.
    fn set_slot(&mut self, node: usize, slot: Slot, form: SetSlot) -> bool {
        let has_keys = self.keys[&slot] == shard_of(node);
        let mut is_done = false;
        self.world.step(node, |machine, now| {
            machine.begin_order();
            is_done = machine.set_slot(now, slot, form, has_keys).is_ok();
        });
        if is_done {
            let last_ms = self.told.iter().filter(|told| told.primary == node).map(|told| told.at_ms).max();
            let may_be_late = self.failover.is_some() || self.world.nodes[node].holds_writes;
            let delay_ms = if may_be_late { self.world.random.below(4) } else { 0 };
            let at_ms = (self.world.now_ms + delay_ms).max(last_ms.unwrap_or(0));
            self.told.push(Told { at_ms, primary: node, slot, form });
        }
        self.wait();
        is_done
    }

    /// MIGRATE of all keys of a slot. False when it is refused, or waits until it is.
    fn migrate(&mut self, slot: Slot) -> bool {
        let world = &self.world;
        let writes = |node: usize| !world.nodes[node].holds_writes && world.state(node).myself().is_primary();
        let may = writes(SOURCE) && writes(TARGET) && world.state(SOURCE).owner(slot) == Some(NodeIndex::MYSELF);
        if may {
            self.keys.insert(slot, TARGET);
        }
        self.wait();
        may
    }

    /// What a tool does for one slot, which knows of no new primary. False when it gives up.
    fn move_slot(&mut self, slot: Slot) -> bool {
        let [source, target] = [SOURCE, TARGET].map(|node| self.world.id(node));
        self.set_slot(TARGET, slot, SetSlot::Importing(source))
            && self.set_slot(SOURCE, slot, SetSlot::Migrating(target))
            && self.migrate(slot)
            && self.set_slot(TARGET, slot, SetSlot::Node(target))
            && [SOURCE, ONLOOKER].into_iter().all(|node| {
                let is_done = self.set_slot(node, slot, SetSlot::Node(target));
                // A replica by now is passed over.
                is_done || self.world.state(node).myself().is_replica()
            })
    }

    /// All agree who serves which slot, and that is whoever has its keys; or the slot is open there, for `fix`.
    fn check(&mut self) {
        while self.failover.is_some() || !self.told.is_empty() {
            self.pass_a_millisecond();
        }
        for _ in 0..10_000 {
            self.pass_a_millisecond();
        }
        assert!(chaos::agrees(&self.world), "{}", chaos::disagreement(&self.world));
        for node in 0..PLAN.nodes_count() {
            let state = self.world.state(node);
            let leader = state.leader_of(NodeIndex::MYSELF);
            let open = self.world.open_slots(node);
            let stray = open.iter().find(|(slot, form)| {
                let is_own = state.owner(*slot) == leader;
                is_own == matches!(form, SetSlot::Importing(_))
            });
            assert!(stray.is_none(), "node {node} has {stray:?} open");
            if state.myself().is_replica() {
                continue;
            }
            for (slot, _) in self.keys.iter().filter(|(_, shard)| **shard == shard_of(node)) {
                let is_open = open.iter().any(|(open, _)| open == slot);
                assert!(is_open || state.owner(*slot) == leader, "node {node} has the keys of slot {slot} alone");
            }
        }
    }
}

#[test]
fn slots_that_move_by_hand_are_not_lost_when_a_replica_takes_over() {
    for seed in crate::seeds(200) {
        let live = || {
            let mut under_way = Move::new(seed);
            let _ = (0..SLOTS).all(|slot| under_way.move_slot(Slot::new(slot)));
            under_way.check();
        };
        if let Err(panic) = catch_unwind(live) {
            println!("SLOTCORE_SIM_SEED={seed} cargo test --release --test simulator by_hand");
            resume_unwind(panic);
        }
    }
}
