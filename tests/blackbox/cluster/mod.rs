//! Clusters of several nodes, of slotcore and of redis-server together.

mod bus;
mod commands;
mod core_ports;
mod cores;
mod fabric;
mod failover;
mod faults;
mod given_away;
mod known;
mod load;
mod migrate;
mod migrate_slots;
mod migrate_slots_faults;
mod migrate_slots_large;
mod migrate_slots_replicas;
mod moving;
mod nodes;
mod partitions;
mod replacement;
mod resharding;
mod resharding_faults;
mod routing;
mod slot_stats;
mod slots;
mod valkey;
mod walkthrough;
