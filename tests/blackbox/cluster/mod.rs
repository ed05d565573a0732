//! Clusters of several nodes, of slotcore and of redis-server together.

mod bus;
mod commands;
mod fabric;
mod failover;
mod faults;
mod known;
mod nodes;
mod partitions;
mod routing;
mod slots;
mod walkthrough;
