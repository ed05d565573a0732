//! Black-box tests: a server is started as its users start it and spoken to over sockets.
//!
//! One crate, so that it links once. Most tests run against redis-server too (`on_both`), which makes their
//! expectations facts about Redis; a test of slotcore alone says why it is alone.

mod support;

mod admin;
mod append_only;
mod append_only_edges;
mod big_replies;
mod bitmaps;
mod blocking;
mod clients;
mod cluster;
mod cluster_one_node;
mod command_sweep;
mod connection;
mod containers_config;
mod crash;
mod differential;
mod discovery;
mod dump;
mod eviction;
mod expiry;
mod full_disk;
mod geo;
mod hashes;
mod hyperloglog;
mod journal;
mod keys;
mod leaks;
mod limits;
mod lists;
mod loading;
mod migrate;
mod protocol;
mod pubsub;
mod replica_of;
mod replication;
mod scripting;
mod server;
mod sets;
mod snapshot;
mod sort;
mod sorted_sets;
mod start;
mod stream_waits;
mod streams;
mod strings;
mod tracking;
mod transactions;
mod wake;
