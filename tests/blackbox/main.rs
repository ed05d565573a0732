//! Black-box tests: a server is started as its users start it and spoken to over sockets.
//!
//! One crate, so that it links once. Most tests run against redis-server too (`on_both`), which makes their
//! expectations facts about Redis; a test of slotcore alone says why it is alone.

mod support;

mod clients;
mod cluster_one_node;
mod connection;
mod differential;
mod eviction;
mod expiry;
mod keys;
mod leaks;
mod limits;
mod protocol;
mod server;
mod start;
mod strings;
mod wake;
