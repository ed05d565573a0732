//! The cluster: who belongs to it and who serves which slot.
//!
//! Core 0 owns the one `Membership`: the `ClusterState`, which is plain data that only its own methods change, and the file
//! that it is kept in. Every core routes by a `ClusterView`, a value that is replaced whole when the topology changes.
//! Called by the handlers of CLUSTER, by core 0's tick and for every packet of the bus. What happens is decided by `machine`, which is
//! pure: nothing here opens a socket or reads a clock, and only `file` touches the disk. `message` is what packets say.

pub mod core_ports;
pub mod describe;
pub mod file;
pub mod machine;
pub mod membership;
pub mod message;
pub mod migration;
pub mod node;
pub mod nodes_conf;
pub mod replies;
mod routes;
pub mod settings;
pub mod state;
pub mod view;
