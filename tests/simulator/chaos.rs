//! A cluster is made, suffers for a while, is left in peace, and must agree again.

use std::collections::BTreeSet;

use slotcore::base::hex::HexId;
use slotcore::base::slot::{Slot, SlotSet};
use slotcore::cluster::machine::FailoverKind;
use slotcore::cluster::node::Epoch;
use slotcore::cluster::state::{Health, SlotOrder};

use crate::world::{FAIR, Order, Weather, World};

/// A cluster that was just made knows itself after so long.
const MEETING_LIMIT_MS: u64 = 60_000;

/// How big the cluster is, and how long it suffers.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub primaries: usize,
    pub replicas_each: usize,
    pub node_timeout_ms: u64,
    pub suffers_ms: u64,
}

impl Plan {
    pub fn nodes_count(&self) -> usize {
        self.primaries * (1 + self.replicas_each)
    }

    /// Small clusters mostly, and sometimes large ones.
    pub fn drawn(seed: u64) -> Plan {
        let mut random = slotcore::base::random::Random::new(seed ^ 0x5eed);
        let primaries = match random.below(10) {
            0 => 5 + random.below(20) as usize,
            1..4 => 5 + random.below(3) as usize,
            _ => 3,
        };
        Plan {
            primaries,
            replicas_each: random.below(4) as usize,
            node_timeout_ms: [1000, 2000, 5000, 15_000][random.below(4) as usize],
            suffers_ms: 20_000 + random.below(100_000),
        }
    }
}

/// Makes a cluster as an operator would: epochs, slots, MEET, REPLICATE; returns when all is well.
pub fn found(world: &mut World, plan: &Plan) {
    let count = plan.nodes_count();
    for node in 0..count {
        let share = |primary: usize| (primary * 16384 / plan.primaries) as u16;
        let slots: SlotSet = match node < plan.primaries {
            true => (share(node)..share(node + 1)).map(Slot::new).collect(),
            false => SlotSet::new(),
        };
        world.step(node, |machine, _| {
            machine.begin_order();
            let _ = machine.set_config_epoch(Epoch(node as u64 + 1));
            machine.order_slots(SlotOrder::Assign, &slots);
        });
    }
    for node in 1..count {
        world.order(node, Order::Meet { target: 0 });
    }
    let all_known = |world: &World| {
        world.up().all(|node| {
            let state = world.state(node);
            state.nodes().len() == count && state.nodes().iter().all(|node| !node.is_in_handshake())
        })
    };
    world.run_until(MEETING_LIMIT_MS, all_known).expect("all nodes know one another");
    for replica in plan.primaries..count {
        let primary = world.id(replica % plan.primaries);
        world.order(replica, Order::Replicate { primary });
    }
    world
        .run_until(MEETING_LIMIT_MS, agrees)
        .unwrap_or_else(|| panic!("no agreement at first: {}", disagreement(world)));
}

/// Whether all nodes that are up have the same view, and it is a good one.
pub fn agrees(world: &World) -> bool {
    disagreement(world).is_empty()
}

/// What is missing for agreement; empty for nothing.
pub fn disagreement(world: &World) -> String {
    let mut nodes = world.up();
    let Some(first) = nodes.next() else { return "no node is up".to_owned() };
    let owners = |node: usize| -> Vec<(Option<HexId>, u16, u16)> {
        let state = world.state(node);
        let ranges = state.owned_ranges().into_iter();
        ranges.map(|(owner, first, last)| (Some(state.node(owner).id), first.get(), last.get())).collect()
    };
    let agreed = owners(first);
    let covered: usize = agreed.iter().map(|(_, first, last)| usize::from(last - first) + 1).sum();
    if covered != 16384 {
        return format!("{covered} slots are covered");
    }
    let known = world.state(first).nodes().len();
    let epochs: BTreeSet<u64> = agreed
        .iter()
        .filter_map(|(id, ..)| world.state(first).find(&(*id)?))
        .map(|at| world.state(first).node(at).config_epoch.0)
        .collect();
    let serving = agreed.iter().map(|(id, ..)| *id).collect::<BTreeSet<_>>().len();
    if epochs.len() != serving {
        return format!("{serving} primaries have {} epochs", epochs.len());
    }
    for node in world.up() {
        let state = world.state(node);
        if owners(node) != agreed {
            return format!("nodes {first} and {node} differ in the owners of slots");
        }
        if state.health() != Health::Ok {
            return format!("node {node} is not well");
        }
        if state.nodes().len() != known {
            return format!("node {node} knows {} nodes, {first} {known}", state.nodes().len());
        }
        for peer in state.nodes() {
            if peer.is_unreachable() && world.index_of(&peer.id).is_some() {
                return format!("node {node} does not reach {}", peer.id);
            }
            let Some(index) = world.index_of(&peer.id) else { continue };
            let truth = world.state(index);
            let told = peer.primary.map(|at| state.node(at).id);
            let real = truth.myself().primary.map(|at| truth.node(at).id);
            if told != real || peer.is_primary() != truth.myself().is_primary() {
                return format!("node {node} has {} as replica of {told:?}, it is of {real:?}", peer.id);
            }
        }
        let myself = state.myself();
        if myself.is_replica() && !myself.primary.is_some_and(|at| state.node(at).is_primary()) {
            return format!("node {node} is no primary's replica");
        }
    }
    String::new()
}

/// Every node's CLUSTER NODES, for whoever looks for the cause.
pub fn portrait(world: &World) -> String {
    let of = |node: usize| {
        let state = world.state(node);
        let (epoch, vote) = (state.current_epoch(), state.last_vote_epoch());
        let text = slotcore::cluster::describe::nodes_text(state, slotcore::cluster::describe::Form::Client);
        format!("node {node}, epoch {epoch}, voted in {vote}, offset {}:\n{text}", world.nodes[node].offset)
    };
    world.up().map(of).collect::<Vec<_>>().join("\n")
}

/// Faults at random, for as long as the plan says.
pub fn suffer(world: &mut World, plan: &Plan) {
    let until_ms = world.now_ms + plan.suffers_ms;
    while world.now_ms < until_ms {
        fault(world, plan);
        let pause_ms = world.random.below(plan.node_timeout_ms * 3);
        world.run(pause_ms);
    }
}

fn fault(world: &mut World, plan: &Plan) {
    let count = world.nodes.len();
    let node = world.random.below(count as u64) as usize;
    match world.random.below(16) {
        0 | 1 if world.is_up(node) => world.kill(node),
        2 => restart_all(world),
        3 if world.is_up(node) => {
            let for_ms = world.random.below(plan.node_timeout_ms * 4);
            world.nodes[node].stopped_until_ms = world.now_ms + for_ms;
        }
        4 => partition(world),
        5 => {
            let other = world.random.below(count as u64) as usize;
            world.cut.insert((node, other));
        }
        6 | 7 => world.cut.clear(),
        8 => world.weather = bad_weather(world),
        9 => world.weather = FAIR,
        10 => world.nodes[node].unix_ahead_ms += world.random.below(7_200_000) as i64 - 3_600_000,
        11 => world.nodes[node].disk_fails ^= true,
        12 if world.is_up(node) => {
            let kinds = [FailoverKind::Ordered, FailoverKind::Force, FailoverKind::Takeover];
            let drawn = world.random.below(8) as usize;
            world.order(node, Order::FailOver(kinds.get(drawn).copied().unwrap_or(FailoverKind::Ordered)));
        }
        13 if !world.is_up(node) => world.start(node),
        14 if world.is_up(node) => {
            let other = world.random.below(count as u64) as usize;
            if other != node && world.is_up(other) {
                let from = world.id(other);
                world.order(node, Order::Claim { from });
            }
        }
        15 if world.is_up(node) && world.random.below(4) == 0 => world.order(node, Order::Reclaim),
        _ => {}
    }
}

fn bad_weather(world: &mut World) -> Weather {
    Weather {
        delay_min_ms: 0,
        delay_max_ms: 1 + world.random.below(200),
        lost: world.random.below(200),
        doubled: world.random.below(100),
        is_ordered: world.random.below(2) == 0,
    }
}

/// Cuts the nodes in two, in one direction or both.
fn partition(world: &mut World) {
    let count = world.nodes.len();
    let sides: Vec<bool> = (0..count).map(|_| world.random.below(2) == 0).collect();
    let is_one_way = world.random.below(3) == 0;
    for (from, from_side) in sides.iter().enumerate() {
        for (to, to_side) in sides.iter().enumerate() {
            if from_side != to_side && (!is_one_way || *from_side) {
                world.cut.insert((from, to));
            }
        }
    }
}

fn restart_all(world: &mut World) {
    let down: Vec<usize> = (0..world.nodes.len()).filter(|node| !world.is_up(*node)).collect();
    down.into_iter().for_each(|node| world.start(node));
}

/// Ends all faults; a replica may have lost its disk and is taken in again.
pub fn heal(world: &mut World) {
    world.cut.clear();
    world.weather = FAIR;
    for node in &mut world.nodes {
        node.disk_fails = false;
        node.stopped_until_ms = 0;
    }
    restart_all(world);
}

/// How long agreement may take once all is in peace: failed primaries are found, elections that went wrong are repeated, orphans
/// get replicas.
pub fn bound_ms(plan: &Plan) -> u64 {
    plan.node_timeout_ms * 20 + 30_000
}

/// A replica comes back without its disk, as a stranger, and is taken in again by the operator.
pub fn lose_a_disk(world: &mut World) {
    let Some(node) = world.up().find(|node| world.state(*node).myself().is_replica()) else { return };
    let (old, primary) = (world.id(node), world.state(node).myself().primary.map(|at| world.state(node).node(at).id));
    world.kill(node);
    world.wipe(node);
    world.start(node);
    let others: Vec<usize> = world.up().filter(|other| *other != node).collect();
    others.iter().for_each(|other| world.order(*other, Order::Forget(old)));
    world.order(node, Order::Meet { target: others[0] });
    let count = world.nodes.len();
    let is_known = |world: &World| world.up().all(|node| world.state(node).nodes().len() == count);
    world.run_until(MEETING_LIMIT_MS, is_known).expect("the stranger becomes known");
    if let Some(primary) = primary {
        world.order(node, Order::Replicate { primary });
    }
    world.run(1_000);
}
