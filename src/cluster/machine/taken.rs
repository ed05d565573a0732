//! Slots that have come by SETSLOT a short while ago.
//!
//! The target of a slot that moves key by key takes it by its own word, and everybody hears of that afterwards. The shard that had the
//! slot may claim all its slots with a newer epoch before it has heard: a replica takes over, or another slot has come to it. The keys
//! are here alone by then, and whoever loses a slot drops its keys. So this node keeps the slot, and takes an epoch beyond that claim.

use hashbrown::HashMap;

use super::super::node::{Epoch, NodeIndex};
use super::{Machine, Now};
use crate::base::hex::HexId;
use crate::base::slot::Slot;

/// Claims that are out of date come for so many node timeouts at most: by then whoever makes them has heard.
const TIMEOUTS_MAX: u64 = 2;

/// Where they came from, and when.
#[derive(Debug, Default)]
pub(super) struct TakenSlots(HashMap<Slot, Taken>);

#[derive(Debug)]
struct Taken {
    from_shard: HexId,
    at_ms: u64,
}

impl TakenSlots {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Machine {
    /// A slot of another node has come by hand.
    pub(super) fn note_taken(&mut self, now: Now, slot: Slot, source: NodeIndex) {
        let from_shard = self.state.node(source).shard;
        self.taken.0.insert(slot, Taken { from_shard, at_ms: now.ms });
    }

    /// Periodic work.
    pub(super) fn forget_taken(&mut self, now: Now) {
        let since_ms = now.ms.saturating_sub(self.timeout_ms() * TIMEOUTS_MAX);
        self.taken.0.retain(|_, taken| taken.at_ms >= since_ms);
    }

    /// Whether another node's claim of a slot of this one is made in ignorance: it came from there just now, and does not go back.
    pub(super) fn is_just_taken_from(&self, slot: Slot, claimant: NodeIndex) -> bool {
        let goes_back = || self.has_granted || self.state.migrating_to.contains_key(&slot);
        let is_from = |taken: &Taken| taken.from_shard == self.state.node(claimant).shard;
        self.taken.0.get(&slot).is_some_and(is_from) && !goes_back()
    }

    /// Has everybody know that this node's claims are newer than those of `epoch`.
    pub(super) fn claim_beyond(&mut self, epoch: Epoch) {
        self.keep_copy();
        self.state.current_epoch = self.state.current_epoch.max(epoch);
        self.take_next_epoch();
        self.has_news = true;
    }
}
