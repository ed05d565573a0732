//! Deterministic simulation of clusters: the state machine of `cluster::machine`, many times over, under faults.
//!
//! ```text
//! cargo test --release --test simulator                                  a few hundred seeds, new ones each time
//! SLOTCORE_SIM_SEEDS=5000 cargo test --release --test simulator          more of them
//! SLOTCORE_SIM_SEED=17 cargo test --release --test simulator faults      one again, as it was
//! cargo test --release --test simulator a_thousand -- --ignored --nocapture
//! ```

mod by_hand;
mod chaos;
mod checks;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use chaos::Plan;
use slotcore::cluster::machine::FailoverKind;
use world::{Order, World};

const SEEDS_DEFAULT: u64 = 120;

fn number_from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// One life of a cluster; what is wrong with it panics.
fn live(seed: u64) -> (Plan, u64) {
    let plan = Plan::drawn(seed);
    let mut world = World::new(seed, plan.nodes_count(), plan.node_timeout_ms);
    chaos::found(&mut world, &plan);
    chaos::suffer(&mut world, &plan);
    chaos::heal(&mut world);
    let took_ms = world.run_until(chaos::bound_ms(&plan), chaos::agrees).unwrap_or_else(|| {
        let (bound_ms, why) = (chaos::bound_ms(&plan), chaos::disagreement(&world));
        panic!("no agreement after {bound_ms} ms: {why}\n{}", chaos::portrait(&world))
    });
    world.checks.check_outcome(world.state(0));
    if plan.replicas_each > 0 {
        chaos::lose_a_disk(&mut world);
        world
            .run_until(chaos::bound_ms(&plan), chaos::agrees)
            .unwrap_or_else(|| panic!("no agreement with a new node: {}", chaos::disagreement(&world)));
    }
    (plan, took_ms)
}

/// The one of `SLOTCORE_SIM_SEED`, or so many, new ones each time.
fn seeds(count: u64) -> std::ops::Range<u64> {
    if let Some(seed) = number_from_env("SLOTCORE_SIM_SEED") {
        return seed..seed + 1;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let first = number_from_env("SLOTCORE_SIM_FIRST");
    let first = first.unwrap_or_else(|| now.map_or(1, |since| since.as_millis() as u64));
    first..first + number_from_env("SLOTCORE_SIM_SEEDS").unwrap_or(count)
}

#[test]
fn faults_never_break_the_rules_and_peace_brings_agreement() {
    let seeds = seeds(SEEDS_DEFAULT);
    let mut failed = Vec::new();
    let mut longest_ms = 0;
    for seed in seeds.clone() {
        match catch_unwind(AssertUnwindSafe(|| live(seed))) {
            Ok((_, took_ms)) => longest_ms = longest_ms.max(took_ms),
            Err(_) => {
                println!("SLOTCORE_SIM_SEED={seed} cargo test --release --test simulator faults");
                failed.push(seed);
            }
        }
    }
    println!("seeds {seeds:?}: the longest agreement took {longest_ms} ms");
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
}

/// What a cluster of this plan has after its first primary is killed: how long until another serves its slots.
fn failover_ms(seed: u64, plan: &Plan) -> u64 {
    let mut world = World::new(seed, plan.nodes_count(), plan.node_timeout_ms);
    chaos::found(&mut world, plan);
    let wait_ms = plan.node_timeout_ms + world.random.below(plan.node_timeout_ms);
    world.run(wait_ms);
    world.kill(0);
    let is_served = |world: &World| {
        world.up().any(|node| {
            let state = world.state(node);
            state.myself().is_primary()
                && state.health() == slotcore::cluster::state::Health::Ok
                && state.owner(slotcore::base::slot::Slot::new(0)) == Some(slotcore::cluster::node::NodeIndex::MYSELF)
        })
    };
    world.run_until(60_000, is_served).expect("a replica takes over")
}

#[test]
fn a_killed_primary_is_replaced_soon_after_the_node_timeout() {
    for (primaries, replicas_each) in [(3, 1), (3, 2), (5, 3), (20, 1)] {
        let plan = Plan { primaries, replicas_each, node_timeout_ms: 1000, suffers_ms: 0 };
        let mut times: Vec<u64> = (0..20).map(|seed| failover_ms(seed, &plan)).collect();
        times.sort_unstable();
        println!("{primaries} primaries with {replicas_each} replicas each: {times:?} ms");
        assert!(times.iter().all(|took_ms| (1000..=1700).contains(took_ms)), "{times:?}");
    }
}

#[test]
fn an_ordered_failover_loses_nothing_and_takes_little() {
    let plan = Plan { primaries: 3, replicas_each: 2, node_timeout_ms: 5000, suffers_ms: 0 };
    for seed in 0..20 {
        let mut world = World::new(seed, plan.nodes_count(), plan.node_timeout_ms);
        chaos::found(&mut world, &plan);
        world.run(3_000);
        let replica = plan.primaries;
        world.order(replica, Order::FailOver(FailoverKind::Ordered));
        let leads = |world: &World| world.state(replica).myself().is_primary();
        let took_ms = world.run_until(5_000, leads).expect("the replica leads");
        assert!(took_ms <= 1_000, "{took_ms} ms");
        assert!(world.nodes[replica].offset >= world.nodes[0].offset, "what the primary had written is lost");
        world.run_until(5_000, chaos::agrees).unwrap_or_else(|| panic!("{}", chaos::disagreement(&world)));
        assert!(world.state(0).myself().is_replica());
    }
}

/// Votes are refused to who claims slots that have just gone to another, and for an epoch that is no longer the last: the one that was
/// ordered asks anew.
#[test]
fn an_ordered_failover_gets_its_votes_while_slots_move() {
    let plan = Plan { primaries: 3, replicas_each: 1, node_timeout_ms: 5000, suffers_ms: 0 };
    for seed in 0..40 {
        let mut world = World::new(seed, plan.nodes_count(), plan.node_timeout_ms);
        chaos::found(&mut world, &plan);
        world.run(3_000);
        let replica = plan.primaries;
        let ids = [world.id(0), world.id(1), world.id(2)];
        world.order(replica, Order::FailOver(FailoverKind::Ordered));
        world.order(1, Order::Claim { from: ids[0] });
        let leads = |world: &World| world.state(replica).myself().is_primary();
        let (mut took_ms, mut turn) = (0, 0);
        while !leads(&world) {
            assert!(took_ms < 3_000, "seed {seed}: no failover after {took_ms} ms");
            let wait_ms = world.random.below(25);
            world.run(wait_ms);
            took_ms += wait_ms;
            // Others' slots go to and fro for half a second.
            if took_ms < 500 {
                turn = 1 - turn;
                world.order(1 + turn, Order::Claim { from: ids[2 - turn] });
            }
        }
        world.run_until(10_000, chaos::agrees).unwrap_or_else(|| panic!("{}", chaos::disagreement(&world)));
    }
}

/// What a thousand nodes say to each other, and how soon they agree on a failure.
#[test]
#[ignore = "some minutes; reports figures"]
fn a_thousand_nodes() {
    let plan = Plan { primaries: 500, replicas_each: 1, node_timeout_ms: 15_000, suffers_ms: 0 };
    let count = plan.nodes_count() as f64;
    let mut world = World::new(1, plan.nodes_count(), plan.node_timeout_ms);
    let begun = std::time::Instant::now();
    chaos::found(&mut world, &plan);
    println!("agreement of {count} nodes after {} ms ({:.0?} of work)", world.now_ms, begun.elapsed());
    let before = world.traffic;
    const QUIET_MS: u64 = 30_000;
    world.run(QUIET_MS);
    let seconds = QUIET_MS as f64 / 1000.0;
    println!(
        "per node and second: {:.1} packets, {:.0} bytes",
        (world.traffic.packets - before.packets) as f64 / count / seconds,
        (world.traffic.bytes - before.bytes) as f64 / count / seconds
    );
    world.kill(0);
    let knows = |world: &World| {
        world.up().all(|node| {
            let state = world.state(node);
            let owner = state.owner(slotcore::base::slot::Slot::new(0)).map(|owner| state.node(owner).id);
            owner.is_some_and(|owner| world.index_of(&owner).is_some())
        })
    };
    let took_ms =
        world.run_until(120_000, knows).expect("all nodes know who serves the slots of the one that was killed");
    println!(
        "all nodes agree on the new primary {took_ms} ms after the old one was killed ({:.0?} of work)",
        begun.elapsed()
    );
}
