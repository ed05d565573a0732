//! What there is once per node, owned by core 0: handlers that say `OnFirstCore` reach it.

use hashbrown::HashMap;

use super::error::CommandError;
use super::machine::Machine;
use super::persistence::Persistence;
use super::replication::Replication;
use crate::base::clock::Clock;
use crate::cluster::machine::LinkId;
use crate::cluster::membership::{Membership, Step};
use crate::config::Config;

/// The node's state. The configuration here is the authority; every core has a snapshot of it.
pub struct Node {
    pub config: Config,
    pub replication: Replication,
    pub machine: Box<dyn Machine>,
    /// With `cluster-enabled yes`.
    pub cluster: Option<Box<Membership>>,
    pub persistence: Persistence,
    /// Bytes that wait to be sent over connections of the bus, of those where any do; the runtime says so.
    pub link_queue_bytes: HashMap<LinkId, usize>,
}

impl Node {
    /// The cluster, up to date with the configuration.
    ///
    /// # Errors
    /// `ClusterDisabled` in standalone mode.
    pub fn cluster(&mut self) -> Result<&mut Membership, CommandError> {
        let cluster = self.cluster.as_deref_mut().ok_or(CommandError::ClusterDisabled)?;
        cluster.follow(&self.config);
        Ok(cluster)
    }

    /// What the cluster has to do ten times a second.
    pub fn tick(&mut self, clock: &Clock) -> Option<Step> {
        Some(self.cluster.as_deref_mut()?.tick(clock, &self.config))
    }
}
