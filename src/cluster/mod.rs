//! The cluster: who belongs to it and who serves which slot.
//!
//! Core 0 owns the one `Membership`: the `ClusterState`, which is plain data that only its own methods change, and the file
//! that it is kept in. Every core routes by a `ClusterView`, a value that is replaced whole when the topology changes.
//! Called by the handlers of CLUSTER and by core 0's tick. Nothing here opens a socket or reads a clock, and only
//! `file` touches the disk: what the bus brings later becomes further methods of `ClusterState`.

pub mod describe;
pub mod file;
pub mod membership;
pub mod message;
pub mod node;
pub mod nodes_conf;
pub mod settings;
pub mod state;
pub mod view;
