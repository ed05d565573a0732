//! slotcore: one Linux process that is one node of a Redis Cluster.
pub mod base;
pub mod config;
pub mod keyspace;
pub mod resp;
