//! Slots that change hands as a whole: the target of a migration takes them, or the source takes them back for good
//! (`cluster::migration`). Neither asks anybody; both are on disk before anybody hears of it.

use super::super::node::{Epoch, NodeFlags, NodeIndex};
use super::{Machine, Now};
use crate::base::hex::HexId;
use crate::base::slot::SlotSet;

/// How far beyond the latest epoch that it knows of a source goes that takes slots back: a target that has claimed them, unheard,
/// has used the next one after the latest that *it* knew of.
const RECLAIM_BEYOND: u64 = 16;

/// Why slots cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimRefusal {
    /// This node is a replica.
    Replica,
    /// They are not all the source's any more.
    NotTheSources,
}

impl Machine {
    /// Takes these slots, which are the source's, with a new epoch. Everybody is told.
    ///
    /// # Errors
    /// When this node may not.
    pub fn claim_slots(&mut self, slots: &SlotSet, source: &HexId) -> Result<(), ClaimRefusal> {
        if self.state.myself().is_replica() {
            return Err(ClaimRefusal::Replica);
        }
        let source = self.state.find(source);
        if source.is_none() || slots.iter().any(|slot| self.state.owner(slot) != source) {
            return Err(ClaimRefusal::NotTheSources);
        }
        self.keep_copy();
        self.take_next_epoch();
        for slot in slots.iter() {
            self.state.importing_from.remove(&slot);
            self.give_to(slot, NodeIndex::MYSELF);
        }
        self.has_news = true;
        self.changed();
        Ok(())
    }

    /// Takes an epoch beyond any that another node can have claimed slots of this one with: what this node writes from now on counts.
    pub fn reclaim_slots(&mut self) {
        if self.state.myself().is_replica() {
            return;
        }
        self.keep_copy();
        self.state.current_epoch = Epoch(self.state.current_epoch.0.saturating_add(RECLAIM_BEYOND - 1));
        self.take_next_epoch();
        self.has_news = true;
    }

    /// Of the last ping that a node has answered: when it was sent, in monotonic milliseconds. And whether it has failed, or is no member.
    pub fn last_answer(&self, id: &HexId) -> (u64, bool) {
        match self.state.find(id).map(|index| self.state.node(index)) {
            Some(node) => (node.contact.answered_ms, node.flags.has(NodeFlags::FAIL) || node.is_replica()),
            None => (0, true),
        }
    }

    /// Asks a node how it is, unless it has been asked since.
    pub fn ask(&mut self, now: Now, id: &HexId, since_ms: u64) {
        if let Some(index) = self.state.find(id)
            && self.state.node(index).contact.pinged_ms < since_ms
        {
            self.ping(now, index);
        }
    }

    /// Says whether another node has been granted slots of this one, and may be about to take them: until that is over no replica is
    /// helped to take over, whose claim might be older or younger than the other's.
    pub fn note_grant(&mut self, has_granted: bool) {
        self.has_granted = has_granted;
    }

    /// Whether a manual failover of this node, a primary, is under way: whoever takes over has to have all that it has.
    pub fn is_handing_over(&self) -> bool {
        self.manual.is_some()
    }
}
