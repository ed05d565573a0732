//! What there is once per node, owned by core 0: handlers that say `OnFirstCore` reach it.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use super::error::CommandError;
use super::machine::Machine;
use super::persistence::Persistence;
use super::replication::Replication;
use crate::base::clock::Clock;
use crate::base::slot::Slot;
use crate::cluster::machine::LinkId;
use crate::cluster::membership::{Membership, Step};
use crate::cluster::migration::{Jobs, Limits};
use crate::config::Config;

/// The node's state. The configuration here is the authority; every core has a snapshot of it.
pub struct Node {
    pub config: Config,
    pub replication: Replication,
    pub machine: Box<dyn Machine>,
    /// With `cluster-enabled yes`.
    pub cluster: Option<Box<Membership>>,
    /// Slots whose keys are being counted, because they are to be another node's.
    pub closing_slots: BTreeSet<Slot>,
    /// Slots that move to other nodes, or from them.
    pub migrations: Jobs,
    pub persistence: Persistence,
    /// What the connections of the cluster bus keep; the runtime says it.
    pub links: HashMap<LinkId, LinkBuffers>,
}

/// The buffers of a connection of the cluster bus, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkBuffers {
    /// For the beginning of a packet that has not come whole.
    pub received_bytes: u64,
    /// Packets that have still to leave, and the room that is taken for them.
    pub queued_bytes: u64,
    pub allocated_bytes: u64,
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

    /// What follows for the cluster from changed settings.
    pub fn follow_settings(&mut self, clock: &Clock) -> Option<Step> {
        let cluster = self.cluster.as_deref_mut()?;
        cluster.follow(&self.config);
        Some(cluster.step(clock, |_, _| ()).1)
    }

    /// What limits migrations of slots.
    pub fn migration_limits(&self) -> Limits {
        Limits {
            silence_ms: u64::from(self.config.repl_timeout) * 1000,
            pause_below_bytes: u64::try_from(self.config.slot_migration_max_failover_repl_bytes).ok(),
        }
    }

    /// Bytes that all connections of the cluster bus keep.
    pub fn links_bytes(&self) -> u64 {
        self.links.values().map(|link| link.received_bytes + link.allocated_bytes).sum()
    }
}
