//! The end of each step: what follows from what was just learned.

use super::{Action, Following, Machine, Now};
use crate::cluster::node::NodeIndex;

impl Machine {
    /// Draws the conclusions of a step. To be called after every event, before the actions are taken.
    pub fn settle(&mut self, now: Now) {
        self.tend_manual_failover(now);
        self.tend_election(now);
        self.drop_lost_slots();
        self.follow_primary();
        if std::mem::take(&mut self.is_unjudged) && self.state.evaluate(now.ms) {
            self.is_unpublished = true;
        }
        if std::mem::take(&mut self.has_news) {
            self.broadcast_pong(|_, _| true);
        }
    }

    /// Keys of slots that now are another's. Where this node has become a replica, all its data are replaced anyway.
    fn drop_lost_slots(&mut self) {
        let Some(mut slots) = self.lost_slots.take() else { return };
        let is_back = |slot: &crate::base::slot::Slot| self.state.owner(*slot) == Some(NodeIndex::MYSELF);
        let back: Vec<crate::base::slot::Slot> = slots.iter().filter(is_back).collect();
        back.into_iter().for_each(|slot| _ = slots.remove(slot));
        if self.state.myself().is_primary() && !slots.is_empty() {
            self.actions.push(Action::DropKeys(slots));
        }
    }

    /// Copies whom this node should, or nobody.
    fn follow_primary(&mut self) {
        let myself = self.state.myself();
        let wanted = match myself.primary.map(|primary| self.state.node(primary)) {
            Some(primary) if primary.address.ip.is_empty() || primary.address.port == 0 => return,
            Some(primary) => {
                Some(Following { id: primary.id, ip: primary.address.ip.clone(), port: primary.address.port })
            }
            None if myself.is_replica() => return,
            None => None,
        };
        if wanted == self.following {
            return;
        }
        self.actions.push(match &wanted {
            Some(Following { ip, port, .. }) => Action::Follow { ip: ip.clone(), port: *port },
            None => Action::Lead,
        });
        self.following = wanted;
    }
}
