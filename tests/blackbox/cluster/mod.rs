//! Clusters of several nodes, of slotcore and of redis-server together.

mod bus;
mod commands;
mod fabric;
mod failover;
mod faults;
mod known;
mod load;
mod migrate;
mod nodes;
mod partitions;
mod replacement;
mod resharding;
mod routing;
mod slots;
mod walkthrough;
