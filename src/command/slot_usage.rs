//! What requests to each slot have cost, on the core that owns the slot: for CLUSTER SLOT-STATS, and for whoever decides which core
//! a slot is best on.
//!
//! `execute` adds to it after each call; kept only while `is_wanted`, so that otherwise a call costs one look more. Counted is what
//! clients ask: what replicas are sent is not.

use crate::base::slot::{SLOTS_COUNT, Slot};
use crate::config::Config;

/// One slot's share, since the counters were reset, or since the slot came to this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotCost {
    /// Time in handlers.
    pub cpu_ns: u64,
    /// Of requests, as the protocol has them.
    pub received_bytes: u64,
    /// Of replies.
    pub sent_bytes: u64,
}

/// The costs of one core's slots; nothing while they are not measured.
#[derive(Default)]
pub struct SlotUsage {
    /// By the number of the slot.
    costs: Option<Box<[SlotCost]>>,
}

/// Whether costs are measured: the one place that says for what.
pub fn is_wanted(config: &Config) -> bool {
    config.cluster_enabled && (config.cluster_slot_stats_enabled || config.slots_rebalance)
}

impl SlotUsage {
    /// Begins or ends measuring; what was measured is forgotten at the end.
    pub fn measure(&mut self, on: bool) {
        match on {
            true if self.costs.is_none() => self.costs = Some(vec![SlotCost::default(); SLOTS_COUNT].into()),
            true => {}
            false => self.costs = None,
        }
    }

    #[inline]
    pub fn is_measured(&self) -> bool {
        self.costs.is_some()
    }

    /// Adds what a request has cost.
    pub fn add(&mut self, slot: Slot, cost: SlotCost) {
        if let Some(costs) = &mut self.costs {
            let sum = &mut costs[slot.index()];
            sum.cpu_ns += cost.cpu_ns;
            sum.received_bytes += cost.received_bytes;
            sum.sent_bytes += cost.sent_bytes;
        }
    }

    /// What a slot has cost; nothing while it is not measured.
    pub fn of(&self, slot: Slot) -> SlotCost {
        self.costs.as_ref().map_or_else(SlotCost::default, |costs| costs[slot.index()])
    }

    /// Takes a slot's figures out, to be added where the slot is going.
    pub fn take(&mut self, slot: Slot) -> SlotCost {
        self.costs.as_mut().map_or_else(SlotCost::default, |costs| std::mem::take(&mut costs[slot.index()]))
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&mut self) {
        self.costs.iter_mut().for_each(|costs| costs.fill(SlotCost::default()));
    }

    /// Forgets the slots that are not kept.
    pub fn retain(&mut self, is_kept: impl Fn(Slot) -> bool) {
        let costs = self.costs.iter_mut().flat_map(|costs| costs.iter_mut().enumerate());
        costs.filter(|(slot, _)| !is_kept(Slot::new(*slot as u16))).for_each(|(_, cost)| *cost = SlotCost::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: SlotCost = SlotCost { cpu_ns: 3, received_bytes: 20, sent_bytes: 5 };

    #[test]
    fn nothing_is_kept_while_nothing_is_measured() {
        let mut usage = SlotUsage::default();
        usage.add(Slot::new(7), COST);
        assert_eq!(usage.of(Slot::new(7)), SlotCost::default());
        usage.measure(true);
        usage.add(Slot::new(7), COST);
        usage.measure(true);
        assert_eq!(usage.of(Slot::new(7)), COST);
        usage.measure(false);
        assert_eq!(usage.of(Slot::new(7)), SlotCost::default());
    }

    #[test]
    fn a_slot_takes_its_figures_along() {
        let (mut here, mut there) = (SlotUsage::default(), SlotUsage::default());
        here.measure(true);
        there.measure(true);
        here.add(Slot::new(16383), COST);
        there.add(Slot::new(16383), here.take(Slot::new(16383)));
        assert_eq!((here.of(Slot::new(16383)), there.of(Slot::new(16383))), (SlotCost::default(), COST));
    }

    #[test]
    fn slots_that_have_left_are_forgotten() {
        let mut usage = SlotUsage::default();
        usage.measure(true);
        [1, 2].into_iter().for_each(|slot| usage.add(Slot::new(slot), COST));
        usage.retain(|slot| slot == Slot::new(2));
        assert_eq!((usage.of(Slot::new(1)), usage.of(Slot::new(2))), (SlotCost::default(), COST));
        usage.reset();
        assert_eq!(usage.of(Slot::new(2)), SlotCost::default());
    }
}
