//! FAILOVER at work (core 0): writes stop on all cores, a replica gets everything, and this node becomes its replica.

use crate::command::replication::Hold;
use crate::command::replication::failover::{Failover, Stage};
use crate::command::replication::upstream;
use crate::config::Primary;
use crate::runtime::requests::Requests;

impl Requests {
    /// FAILOVER has been accepted.
    pub(in crate::runtime::requests) fn begin_hand_over(&mut self) {
        self.hold_writes(Hold::HandOver);
    }

    /// All cores have stopped writing, and the log has what they have written.
    pub(super) fn hand_over_when_replicas_follow(&mut self) {
        let replication = &mut self.core.node().replication;
        let place = replication.place_of_data();
        if let Some(failover) = replication.failover.as_mut().filter(|failover| failover.stage == Stage::Stopping) {
            failover.stage = Stage::Waiting { place };
            // The question comes behind all that they must have: who answers it has it itself by then, and stands where this log ends.
            self.replicating.asks_acks = true;
        }
    }

    /// Hands over when a replica has everything, or the time is over.
    pub(super) fn hand_over_if_possible(&mut self) {
        let now_ms = self.core.clock.monotonic_us() / 1000;
        let replication = &self.core.node().replication;
        let Some(failover) = replication.failover.clone() else { return };
        if failover.stage == Stage::HandingOver {
            return;
        }
        let place = if let Stage::Waiting { place } = failover.stage { place } else { replication.place_of_data() };
        let is_wanted = |replica: &Primary| failover.target.as_ref().is_none_or(|target| target == replica);
        let ready = replication
            .replicas
            .list
            .iter()
            .filter(|replica| replica.state.is_online() && replica.acked >= place)
            .map(|replica| Primary { host: replica.host.clone(), port: replica.facts.port })
            .find(|replica| is_wanted(replica));
        let is_late = failover.deadline_ms.is_some_and(|deadline_ms| now_ms >= deadline_ms);
        match (ready, failover) {
            (Some(replica), Failover { stage: Stage::Waiting { .. }, .. }) => self.hand_over_to(&replica),
            (_, Failover { force: true, target: Some(target), .. }) if is_late => {
                tracing::warn!("Failover to {}:{} time out exceeded, failing over.", target.host, target.port);
                self.hand_over_to(&target);
            }
            (None, _) if is_late => self.call_hand_over_off("Replica never caught up before timeout"),
            _ => {}
        }
    }

    fn hand_over_to(&mut self, replica: &Primary) {
        tracing::info!("Failover target is {}:{}, failing over.", replica.host, replica.port);
        if let Some(failover) = &mut self.core.node().replication.failover {
            failover.stage = Stage::HandingOver;
        }
        upstream::follow(&mut self.core, replica);
        if let Some(upstream) = &mut self.core.node().replication.upstream {
            upstream.takes_over = true;
        }
        self.publish_effects();
    }

    /// The replica has taken over: this node is an ordinary replica now.
    pub(super) fn handed_over(&mut self) {
        if self.core.node().replication.failover.take().is_none() {
            return;
        }
        tracing::info!("Failover target has taken over.");
        self.let_writes_go();
    }

    /// FAILOVER ABORT, or what it waits for does not come about.
    pub(in crate::runtime::requests) fn call_hand_over_off(&mut self, why: &str) {
        let Some(failover) = self.core.node().replication.failover.take() else { return };
        tracing::info!("Aborting failover: {why}");
        if failover.stage == Stage::HandingOver {
            upstream::lead(&mut self.core);
            self.publish_effects();
        }
        self.let_writes_go();
    }

    /// As `call_hand_over_off`, if it is at this stage.
    pub(super) fn call_hand_over_off_at(&mut self, stage: Stage, why: &str) {
        if self.core.node().replication.failover.as_ref().is_some_and(|failover| failover.stage == stage) {
            self.call_hand_over_off(why);
        }
    }

    fn let_writes_go(&mut self) {
        if let Some(upstream) = &mut self.core.node().replication.upstream {
            upstream.takes_over = false;
        }
        self.release_writes(Hold::HandOver);
    }

    /// Hands every core what a change of the role has left behind.
    pub(super) fn publish_effects(&mut self) {
        let publications = self.take_publications();
        self.publish(publications, None);
        self.carry_out_effects();
    }
}
