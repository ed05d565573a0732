//! Clusters of several nodes, of slotcore and of redis-server together.

mod bus;
mod failover;
mod nodes;
mod slots;
