//! What there is once per node, owned by core 0: handlers that say `OnFirstCore` reach it.

use super::machine::Machine;
use crate::base::hex::HexId;
use crate::config::Config;

/// The node's state. The configuration here is the authority; every core has a snapshot of it.
pub struct Node {
    pub config: Config,
    /// Names the history of this node's data to replicas.
    pub replication_id: HexId,
    pub machine: Box<dyn Machine>,
}
