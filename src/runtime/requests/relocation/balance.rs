//! `slots-rebalance yes`: once a second all cores say how busy they were and what their slots have cost, and slots change their core so that
//! all have about as much to do.
//!
//! ```text
//! core 0   AskLoad   to all, a second after the last time
//! each     Load      to core 0: what its thread and its slots have taken up to now, counted from wherever
//! core 0             when all have answered: the differences to the last time go to `core_balance`, whose moves are orders as
//!                    any other
//! ```
//!
//! A slot's count goes with it to its next core (`command::relocation`), so that differences are right whoever counted.

use super::{RelocationMessage, Requests};
use crate::base::clock::thread_cpu_ns;
use crate::base::core_id::CoreId;
use crate::base::slot::{SLOTS_COUNT, Slot, SlotSet};
use crate::command::core_balance::{Balancer, Move, SlotLoad};

/// Between two looks.
const PERIOD_MS: u64 = 1000;
/// A period that took longer than so many of its kind says nothing of how things are now.
const STALE_AFTER: u64 = 3;

/// What a core and its slots have taken up to a moment.
pub struct CoreLoad {
    pub core: CoreId,
    at_ns: u64,
    busy_ns: u64,
    /// Slots that this core owns and that have cost anything, with nanoseconds in handlers.
    costs: Vec<(Slot, u64)>,
}

/// Core 0's books.
#[derive(Default)]
pub(super) struct Balance {
    asked_ms: u64,
    /// By core; empty while nobody was asked.
    answers: Vec<Option<CoreLoad>>,
    last: Option<Reading>,
    balancer: Balancer,
}

/// What had been taken when the last period ended.
struct Reading {
    /// By core: when, and how busy it had been.
    cores: Vec<(u64, u64)>,
    /// By slot.
    costs: Box<[u64]>,
}

/// One period.
struct Period {
    /// By core: the share of it in which there was work.
    busy: Vec<f64>,
    slots: Vec<SlotLoad>,
}

impl Requests {
    /// Asks all cores, if it is time (core 0, each tick).
    pub(in crate::runtime::requests) fn tick_rebalancing(&mut self) {
        let (now_ms, cores_count) = (self.now_ms(), self.core.facts.cores_count);
        let config = &self.core.config;
        let is_wanted = config.slots_rebalance && config.cluster_enabled && cores_count > 1;
        let is_wanted = is_wanted && !self.core.replication.role.is_replica();
        let balance = &mut self.relocating.balance;
        if !is_wanted {
            if balance.last.is_some() || !balance.answers.is_empty() {
                *balance = Balance::default();
            }
            return;
        }
        // Who answers late is not asked again meanwhile.
        if balance.answers.is_empty() && now_ms - balance.asked_ms >= PERIOD_MS {
            balance.asked_ms = now_ms;
            balance.answers.resize_with(cores_count, || None);
            self.tell_every_core(|| RelocationMessage::AskLoad);
        }
    }

    /// Each core.
    pub(super) fn say_load(&mut self) {
        let core = &self.core;
        let own = (0..SLOTS_COUNT as u16).map(Slot::new).filter(|slot| core.owners.owner(*slot) == core.id);
        let costs = own.map(|slot| (slot, core.slot_usage.of(slot).cpu_ns)).filter(|(_, cost)| *cost > 0).collect();
        let load = CoreLoad { core: core.id, at_ns: core.nanos.now_ns(), busy_ns: thread_cpu_ns(), costs };
        self.tell(CoreId::FIRST, RelocationMessage::Load(Box::new(load)));
    }

    pub(super) fn load_came(&mut self, load: CoreLoad) {
        let balance = &mut self.relocating.balance;
        let Some(answer) = balance.answers.get_mut(load.core.index()) else { return }; // switched off meanwhile
        *answer = Some(load);
        if balance.answers.iter().any(Option::is_none) {
            return;
        }
        let loads: Vec<CoreLoad> = std::mem::take(&mut balance.answers).into_iter().flatten().collect();
        let (reading, period) = Reading::next(balance.last.take(), &loads);
        balance.last = Some(reading);
        // Orders of the last period that still wait would be counted twice.
        if let Some(period) = period.filter(|_| !self.has_hand_overs()) {
            let moves = self.relocating.balance.balancer.decide(&period.busy, &period.slots);
            self.order_moves(&moves);
        }
    }

    /// All slots that go to one core are one order.
    fn order_moves(&mut self, moves: &[Move]) {
        for core in 0..self.core.facts.cores_count {
            let to = CoreId::new(core);
            let slots: SlotSet = moves.iter().filter(|one| one.to == to).map(|one| one.slot).collect();
            if !slots.is_empty() {
                tracing::debug!("{} slots are to go to core {core}, which has less to do", slots.count());
                self.hand_over(Box::new(slots), to);
            }
        }
    }
}

impl Reading {
    /// What cores and slots have taken by now, and what since the last reading; that only if it was not long ago.
    fn next(last: Option<Reading>, loads: &[CoreLoad]) -> (Reading, Option<Period>) {
        let cores = loads.iter().map(|load| (load.at_ns, load.busy_ns)).collect();
        let mut costs = vec![0; SLOTS_COUNT].into_boxed_slice();
        let counted = loads.iter().flat_map(|load| load.costs.iter().map(|(slot, cost)| (load.core, *slot, *cost)));
        counted.clone().for_each(|(_, slot, cost)| costs[slot.index()] = cost);
        let period = last.and_then(|last| {
            let mut busy = Vec::with_capacity(loads.len());
            for (load, (at_ns, busy_ns)) in loads.iter().zip(&last.cores) {
                let elapsed_ns = load.at_ns.saturating_sub(*at_ns);
                if !(1..=PERIOD_MS * STALE_AFTER * 1_000_000).contains(&elapsed_ns) {
                    return None;
                }
                busy.push((load.busy_ns.saturating_sub(*busy_ns) as f64 / elapsed_ns as f64).min(1.0));
            }
            let slots = counted.map(|(core, slot, cost)| {
                let before = last.costs[slot.index()];
                // Less than before: the counters were reset, or the slot has come from another node.
                SlotLoad { slot, core, cost: if cost >= before { cost - before } else { cost } }
            });
            Some(Period { busy, slots: slots.collect() })
        });
        (Reading { cores, costs }, period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn load(core: usize, at_s: u64, busy_ns: u64, costs: &[(u16, u64)]) -> CoreLoad {
        let costs = costs.iter().map(|(slot, cost)| (Slot::new(*slot), *cost)).collect();
        CoreLoad { core: CoreId::new(core), at_ns: at_s * SECOND_NS, busy_ns, costs }
    }

    #[test]
    fn a_period_is_what_was_taken_since_the_last_reading_whoever_counted() {
        let loads = [load(0, 10, 5 * SECOND_NS, &[(1, 100), (2, 50)]), load(1, 10, 0, &[(64, 7)])];
        let (reading, period) = Reading::next(None, &loads);
        assert!(period.is_none());
        // Slot 2 has gone to core 1, slot 64 counts anew, slot 9 is new.
        let loads = [
            load(0, 11, 5 * SECOND_NS + SECOND_NS / 4, &[(1, 130), (9, 1)]),
            load(1, 11, SECOND_NS * 2, &[(2, 60), (64, 3)]),
        ];
        let (reading, period) = Reading::next(Some(reading), &loads);
        let period = period.expect("a second has passed");
        assert_eq!(period.busy, [0.25, 1.0]);
        let slots: Vec<_> = period.slots.iter().map(|one| (one.slot.get(), one.core.index(), one.cost)).collect();
        assert_eq!(slots, [(1, 0, 30), (9, 0, 1), (2, 1, 10), (64, 1, 3)]);
        let late = [load(0, 60, 6 * SECOND_NS, &[]), load(1, 60, 3 * SECOND_NS, &[])];
        assert!(Reading::next(Some(reading), &late).1.is_none(), "a minute ago says nothing of now");
    }
}
