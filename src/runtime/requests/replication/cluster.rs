//! What the cluster decides of this node's replication (core 0): whom it copies, or nobody, and that writes are held back while a
//! replica takes over.
//!
//! Writes are held as for FAILOVER, which is refused in cluster mode (see `standstill`).

use crate::cluster::machine::DataFacts;
use crate::command::cluster::{set_slot_of, set_slot_words};
use crate::command::replication::Hold;
use crate::command::replication::upstream;
use crate::config::Primary;
use crate::resp::Args;
use crate::runtime::requests::Requests;

impl Requests {
    /// Tells the cluster's state machine what this node's data are like. True when a manual failover has waited for them.
    pub(in crate::runtime::requests) fn tell_cluster_of_data(&mut self) -> bool {
        if self.core.node.as_ref().is_none_or(|node| node.cluster.is_none()) {
            return false;
        }
        let data = self.data_facts();
        // From when the primary's data are loaded until they are there.
        let lacks_data = self.core.disk.replaces_files;
        self.core.node().cluster.as_deref_mut().is_some_and(|cluster| cluster.note_data(data, lacks_data))
    }

    /// The primary's stream says that one of its slots was opened or closed.
    pub(super) fn follow_set_slot(&mut self, args: &Args<'_>) {
        if let Some((slot, form)) = set_slot_of(args) {
            self.cluster_step(|machine, _| machine.follow_set_slot(slot, form));
        }
    }

    /// A replica reads the log from now on, or slots are open to another node than they were: all are told which are open.
    pub(in crate::runtime::requests) fn tell_open_slots(&mut self) {
        let node = self.core.node();
        let Some(cluster) = node.cluster.as_deref() else { return };
        let open = cluster.machine().open_slots();
        if open.is_empty() || !node.replication.replicas.know_slot_states() {
            return;
        }
        let mut bytes = Vec::new();
        open.into_iter().for_each(|(slot, form)| set_slot_words(slot, form, &mut bytes));
        self.feed_beside(bytes);
    }

    fn data_facts(&mut self) -> DataFacts {
        let now = self.core.clock.unix();
        let place = self.place_of_all();
        let Some(upstream) = &self.core.node().replication.upstream else {
            return DataFacts { offset: place, age_ms: None };
        };
        let heard = if upstream.is_linked() { Some(upstream.last_io) } else { upstream.down_since };
        DataFacts {
            // While all data are to come anew, this node has none to offer.
            offset: if upstream.resumes { upstream.applied } else { 0 },
            age_ms: heard.map(|heard| now.since(heard).max(0).unsigned_abs()),
        }
    }

    /// This node copies whoever is at that address.
    pub(in crate::runtime::requests) fn follow_in_cluster(&mut self, ip: String, port: u16) {
        let now = self.core.clock.unix();
        let old = &self.core.node().replication.upstream;
        if old.as_ref().is_some_and(|upstream| upstream.is(&ip, port)) {
            return; // as nodes.conf had it at the start
        }
        // With another address of the same shard the data stay as old as they are.
        let down_since = old.as_ref().and_then(|old| if old.is_linked() { Some(now) } else { old.down_since });
        tracing::info!("Following the master at {ip}:{port}");
        upstream::follow(&mut self.core, &Primary { host: ip, port });
        if let Some(upstream) = &mut self.core.node().replication.upstream {
            upstream.down_since = down_since;
        }
        self.publish_effects();
    }

    /// This node is a primary from now on, with the data that it has.
    pub(in crate::runtime::requests) fn lead_in_cluster(&mut self) {
        if self.core.node().replication.upstream.is_some() {
            upstream::lead(&mut self.core);
            self.publish_effects();
        }
    }

    /// Clients' writes wait from now on, for so long at most.
    pub(in crate::runtime::requests) fn hold_writes_for_cluster(&mut self, for_ms: u64) {
        let now_ms = self.core.clock.monotonic_us() / 1000;
        self.replicating.hold_until_ms = Some(now_ms.saturating_add(for_ms));
        self.hold_writes(Hold::Cluster);
    }

    /// Clients' writes go on: here, or where the slots are now.
    pub(in crate::runtime::requests) fn release_writes_for_cluster(&mut self) {
        self.replicating.hold_until_ms = None;
        self.release_writes(Hold::Cluster);
    }

    /// Nobody has said in time that writes go on.
    pub(in crate::runtime::requests) fn release_writes_if_late(&mut self) {
        let now_ms = self.core.clock.monotonic_us() / 1000;
        if self.replicating.hold_until_ms.is_some_and(|until_ms| now_ms >= until_ms) {
            tracing::warn!("Writes were held back for a failover that did not come about: they go on");
            self.release_writes_for_cluster();
        }
    }
}
