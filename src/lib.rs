//! slotcore: one Linux process that is one node of a Redis Cluster.
//!
//! The map, in the direction of imports (`main -> {runtime, admin}`, `runtime -> command -> {cluster, replication, persist} ->
//! keyspace -> {resp, config} -> base`, `admin -> {resp, config} -> base`):
//!
//! - `admin`: `slotcore cluster`, a client that forms and administers clusters
//! - `runtime`: threads, rings, sockets, signals; the turn loop that drives everything else
//! - `command`: the table of commands, the gate, the handlers
//! - `script`: Lua as scripts see it
//! - `cluster`: who serves which slot
//! - `replication`: what replicas read and how histories are named
//! - `persist`: the formats of snapshots and append-only files
//! - `keyspace`: per-slot tables, entries, expiry, scanning
//! - `config`: the table of directives
//! - `resp`: requests in, replies out
//! - `base`: slots, clocks, numbers, globs, randomness

pub mod admin;
pub mod base;
pub mod cluster;
pub mod command;
pub mod config;
pub mod keyspace;
pub mod persist;
pub mod replication;
pub mod resp;
pub mod runtime;
pub mod script;
