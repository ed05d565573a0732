//! The cluster: who serves which slot.
//!
//! Core 0 owns the state; every core routes by a `ClusterView`, a value that is replaced whole when the topology changes.

pub mod view;
