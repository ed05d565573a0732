//! Replication between nodes of either kind: slotcore and redis-server as primary, as replica and in between.
//!
//! The tests know nothing of how a node does it: they write to one, wait until the other says in INFO that it has everything,
//! and compare what both have. Each is shown with redis-server on both sides first, so that what it expects is a fact.
//!
//! `SLOTCORE_REPLICATION_SECONDS` (default 3) is how long each load of `pairs` lasts, `SLOTCORE_REPLICATION_CUTS` (default
//! 15) how often `cuts` cuts a link, `SLOTCORE_SENTINEL_ROUNDS` (default 1) how often `sentinel` kills a primary, and
//! `SLOTCORE_REPLICATION_SEED` repeats a run with the seed that it printed.

mod compare;
mod cores;
mod cuts;
mod damage;
mod dialogue;
mod failover;
mod fake;
mod full_sync;
mod leave;
mod load;
mod nodes;
mod observed;
mod pairs;
mod promotion;
mod proxy;
mod requests;
mod sentinel;
mod waits;

use crate::support::number_from_env;

/// Whether the loads are shown with redis-server on both sides, too (`SLOTCORE_REPLICATION_PROOF=1`): that says something about the
/// tests, and nothing about a change of slotcore.
fn proves_itself() -> bool {
    number_from_env("SLOTCORE_REPLICATION_PROOF", 0) > 0
}

/// The seed of a run, which it prints.
fn seed(test: &str) -> u64 {
    let seed = number_from_env("SLOTCORE_REPLICATION_SEED", fresh_seed());
    println!("{test}: SLOTCORE_REPLICATION_SEED={seed}");
    seed
}

fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    u64::from(now.subsec_nanos()) << 20 ^ u64::from(std::process::id())
}
