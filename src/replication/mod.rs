//! The formats and the bookkeeping of replication, without I/O.
//!
//! - `history`: the names of what a node has written, by which a replica is recognised
//! - `log`: the last bytes of it, from which replicas read on

pub mod history;
pub mod log;
