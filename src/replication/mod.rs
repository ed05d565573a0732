//! The formats and the bookkeeping of replication, without I/O.
//!
//! - `history`: the names of what a node has written, by which a replica is recognised
//! - `intake`: what several cores record, in one order
//! - `log`: the last bytes of it, from which replicas read on
//! - `handshake`, `payload`: what a replica says to its primary, and the data that it gets

pub mod handshake;
pub mod history;
pub mod intake;
pub mod log;
pub mod payload;
