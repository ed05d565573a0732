//! Who has failed: suspicion of this node's own, reports of others, and what a majority finds.
//!
//! ```text
//! no answer within the node timeout -> PFAIL here -> told to others -> a majority of the primaries with slots tells of it -> FAIL
//! FAIL -> told to everybody at once -> replicas of a failed primary begin an election
//! ```
//!
//! Redis gossips suspicions with the next pings, which takes up to half the node timeout. Here whoever suspects a primary tells its
//! replicas at once: they count the reports themselves, and they are the ones who act on it.

use super::super::message::{Body, Message};
use super::super::node::{NodeFlags, NodeIndex};
use super::{Machine, Now};

/// Reports count for so many node timeouts.
const REPORT_VALIDITY: u64 = 2;
/// A primary that failed, is back, and whose slots nobody has taken for so many node timeouts, is well again.
const UNDO_AFTER: u64 = 2;

impl Machine {
    pub(super) fn report_validity_ms(&self) -> u64 {
        self.timeout_ms() * REPORT_VALIDITY
    }

    /// A primary says that it reaches a node, or that it does not.
    pub(super) fn note_report(&mut self, now: Now, index: NodeIndex, sender: NodeIndex, is_bad: bool) {
        let reporter = self.state.node(sender).id;
        let reports = &mut self.state.node_mut(index).contact.reports;
        let known = reports.iter().position(|(id, _)| *id == reporter);
        match (known, is_bad) {
            (Some(at), true) => reports[at].1 = now.ms,
            (None, true) => {
                reports.push((reporter, now.ms));
                self.log_report(index, sender, "as not reachable");
            }
            (Some(at), false) => {
                reports.swap_remove(at);
                self.log_report(index, sender, "is back online");
            }
            (None, false) => {}
        }
        if is_bad {
            self.fail_if_agreed(now, index);
        }
    }

    fn log_report(&self, index: NodeIndex, sender: NodeIndex, what: &str) {
        let (by, node) = (self.state.node(sender), self.state.node(index));
        tracing::debug!("Node {} ({}) reported node {} ({}) {what}.", by.id, by.human_name, node.id, node.human_name);
    }

    /// How many nodes have said lately that this one does not answer.
    pub fn reports_count(&mut self, now: Now, index: NodeIndex) -> usize {
        let validity_ms = self.report_validity_ms();
        let reports = &mut self.state.node_mut(index).contact.reports;
        reports.retain(|(_, at_ms)| now.ms.saturating_sub(*at_ms) <= validity_ms);
        reports.len()
    }

    /// A node has not answered for the node timeout.
    pub(super) fn suspect(&mut self, now: Now, index: NodeIndex) {
        let node = self.state.node_mut(index);
        node.flags = node.flags.and(NodeFlags::PFAIL);
        tracing::debug!("*** NODE {} possibly failing", node.id);
        let serves = node.is_primary() && node.slots_count() > 0;
        self.changed();
        if serves && self.votes() {
            self.broadcast_pong(|machine, other| {
                let node = machine.state.node(other);
                node.is_replica() && node.primary == Some(index)
            });
        }
        self.fail_if_agreed(now, index);
    }

    /// Whether this node is one of those whose majority decides.
    pub(super) fn votes(&self) -> bool {
        let myself = self.state.myself();
        myself.is_primary() && myself.slots_count() > 0
    }

    /// Declares a node failing that this one and a majority do not reach.
    fn fail_if_agreed(&mut self, now: Now, index: NodeIndex) {
        let node = self.state.node(index);
        if !node.flags.has(NodeFlags::PFAIL) || node.has_failed() {
            return;
        }
        let validity_ms = self.report_validity_ms();
        let counts = |(id, at_ms): &&(crate::base::hex::HexId, u64)| {
            let is_fresh = now.ms.saturating_sub(*at_ms) <= validity_ms;
            let reporter = self.state.find(id).map(|index| self.state.node(index));
            is_fresh && reporter.is_some_and(|node| node.is_primary() && node.slots_count() > 0)
        };
        let failures = node.contact.reports.iter().filter(counts).count() + usize::from(self.votes());
        if failures < self.state.quorum() {
            return;
        }
        let id = node.id;
        tracing::info!("Marking node {id} ({}) as failing (quorum reached).", node.human_name);
        self.set_failed(now, index);
        let message = Message { header: self.header(), body: Body::Fail(id) };
        self.broadcast(&message, |_, _| true);
    }

    fn set_failed(&mut self, now: Now, index: NodeIndex) {
        let node = self.state.node_mut(index);
        node.flags = node.flags.without(NodeFlags::PFAIL).and(NodeFlags::FAIL);
        node.contact.failed_ms = now.ms;
        self.changed();
    }

    /// A member says that a majority finds this node failing.
    pub(super) fn hear_failure(&mut self, now: Now, sender: NodeIndex, failing: NodeIndex) {
        let node = self.state.node(failing);
        if failing == NodeIndex::MYSELF || node.has_failed() {
            return;
        }
        let by = self.state.node(sender);
        tracing::info!(
            "FAIL message received from {} ({}) about {} ({})",
            by.id,
            by.human_name,
            node.id,
            node.human_name
        );
        self.set_failed(now, failing);
    }

    /// A node has answered.
    pub(super) fn note_pong(&mut self, now: Now, index: NodeIndex) {
        let node = self.state.node_mut(index);
        (node.contact.pong_ms, node.pong_received) = (now.ms, now.unix);
        if let Some(sent_ms) = node.contact.ping_sent_ms.take() {
            node.contact.answered_ms = sent_ms;
        }
        node.ping_sent.0 = 0;
        if node.flags.has(NodeFlags::PFAIL) {
            node.flags = node.flags.without(NodeFlags::PFAIL);
            self.changed();
        } else if node.has_failed() {
            self.undo_failure_if_due(now, index);
        }
    }

    /// A node that failed answers again. A primary with slots may be about to be replaced: it stays failed until that is unlikely.
    fn undo_failure_if_due(&mut self, now: Now, index: NodeIndex) {
        let undo_ms = self.timeout_ms() * UNDO_AFTER;
        let node = self.state.node_mut(index);
        let is_missed = node.is_primary() && node.slots_count() > 0;
        if is_missed && now.ms.saturating_sub(node.contact.failed_ms) <= undo_ms {
            return;
        }
        let why = match (is_missed, node.is_replica()) {
            (true, _) => "is reachable again and nobody is serving its slots after some time",
            (false, true) => "replica is reachable again",
            (false, false) => "master without slots is reachable again",
        };
        tracing::info!("Clear FAIL state for node {} ({}): {why}.", node.id, node.human_name);
        node.flags = node.flags.without(NodeFlags::FAIL);
        self.changed();
    }
}
