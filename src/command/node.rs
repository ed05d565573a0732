//! What there is once per node, owned by core 0: handlers that say `OnFirstCore` reach it.

use crate::config::Config;

/// The node's state. The configuration here is the authority; every core has a snapshot of it.
pub struct Node {
    pub config: Config,
}
