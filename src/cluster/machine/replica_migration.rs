//! Replica migration: a primary that has lost its last replica gets one of a shard that has several.
//!
//! Every replica decides for itself; the one with the smallest id, of the primaries with the most replicas, goes.

use super::super::node::{NodeFlags, NodeIndex};
use super::super::state::Health;
use super::{Machine, Now};

/// So long a primary must have been without a replica, so that those of a failed shard have time to find their new primary.
const ORPHANED_MIN_MS: u64 = 5000;

impl Machine {
    /// Whether this node, a replica, is to go to a primary that has none.
    pub(super) fn consider_migration(&mut self, now: Now) {
        let myself = self.state.myself();
        let Some(own) = myself.primary.filter(|_| myself.is_replica()) else { return };
        if !self.state.settings.allow_replica_migration {
            return;
        }
        let mut most = 0;
        let mut target = None;
        for index in self.state.indexes() {
            let node = self.state.node(index);
            let is_working_primary = node.is_primary() && !node.is_in_handshake() && !node.has_failed();
            let replicas = if is_working_primary { self.state.working_replicas(index) } else { 0 };
            most = most.max(replicas);
            let is_orphaned = is_working_primary
                && replicas == 0
                && node.slots_count() > 0
                && node.flags.has(NodeFlags::MIGRATE_TO)
                && index != NodeIndex::MYSELF;
            let orphaned_ms = &mut self.state.node_mut(index).contact.orphaned_ms;
            match is_orphaned {
                true => _ = orphaned_ms.get_or_insert(now.ms),
                false => *orphaned_ms = None,
            }
            if is_orphaned && target.is_none() {
                target = Some(index);
            }
        }
        let Some(target) = target else { return };
        let working = self.state.working_replicas(own);
        let spares_one = working > self.state.settings.migration_barrier && most >= 2 && working == most;
        let since_ms = self.state.node(target).contact.orphaned_ms.unwrap_or(now.ms);
        let is_due = now.ms.saturating_sub(since_ms) > ORPHANED_MIN_MS;
        if self.state.health() != Health::Ok || !spares_one || !is_due || !self.has_smallest_id(most) {
            return;
        }
        tracing::info!("Migrating to orphaned master {}", self.state.node(target).id);
        self.become_replica_of(now, target);
    }

    /// Among the replicas of the primaries with this many.
    fn has_smallest_id(&self, most: usize) -> bool {
        let own = self.state.myself().id;
        let richest = self.state.indexes().filter(|index| {
            let node = self.state.node(*index);
            node.is_primary() && !node.has_failed() && self.state.working_replicas(*index) == most
        });
        richest.flat_map(|primary| self.state.replicas_of(primary)).all(|replica| {
            let node = self.state.node(replica);
            replica == NodeIndex::MYSELF || node.is_unreachable() || node.id > own
        })
    }
}
