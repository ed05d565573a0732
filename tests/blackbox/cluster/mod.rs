//! Clusters of several nodes, of slotcore and of redis-server together.

mod bus;
mod commands;
mod failover;
mod faults;
mod known;
mod migrate_slots;
mod migrate_slots_faults;
mod moving;
mod nodes;
mod routing;
mod slots;
mod walkthrough;
