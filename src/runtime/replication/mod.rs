//! The side of replication that waits: threads of their own, so that no core does.
//!
//! - `link`: makes the link to a primary and receives its data into a file

pub mod link;
