//! Slots that change their core within this node: what every core knows of them meanwhile, and what goes with their tables.
//!
//! `runtime/requests/relocation` has the way of it. While a relocation is under way the gate holds back whatever concerns its slots
//! ([`is_held`]). What the core that gives them up has of them is taken out in one piece ([`take`]) and put in on the other
//! ([`put`]): the tables with expiries and access words, and those who care about keys in them: who waits for one (BLPOP), watches one
//! (WATCH), keeps a copy of one (CLIENT TRACKING).
//!
//! Not here, because every core has all of it: subscriptions, also to shard channels; prefixes of tracking in broadcasting mode; scripts.
//! Not here, because nothing is lost by leaving it: the candidates for eviction, which are looked up again before one goes.
//! What cannot go along at all, such as keys that are on their way to another node, delays the relocation.

use super::blocking::{self, MovedWaiters};
use super::client::Client;
use super::core::Core;
use super::slot_usage::SlotCost;
use super::spec::{CommandSpec, Group, Run};
use super::tracking::MovedReaders;
use super::watch::MovedWatches;
use crate::base::core_id::CoreId;
use crate::base::slot::{Slot, SlotSet};
use crate::keyspace::MovedTables;

/// A relocation under way, as every core knows it while it holds requests back.
#[derive(Clone, Debug)]
pub struct Relocation {
    /// Each has one of its own, and they only grow.
    pub number: u64,
    pub slots: Box<SlotSet>,
    pub from: CoreId,
    pub to: CoreId,
}

/// Slots with all that belongs to them, on their way from one core to another.
pub struct Moved {
    tables: MovedTables,
    waiters: MovedWaiters,
    watches: MovedWatches,
    readers: MovedReaders,
    /// What each of the slots has cost, where that is measured.
    costs: Vec<(Slot, SlotCost)>,
}

/// Whether a request has to wait for the end of a relocation. Those of one slot do if it is on its way. Those that every core does its
/// share of do in any case: they would meet its keys on two cores, or on none. And so does what asks a core about keys that are
/// watched, which may be on another by then.
#[cold]
pub fn is_held(core: &Core, client: &Client, spec: &CommandSpec, slot: Option<Slot>) -> bool {
    let Some(relocation) = &core.relocation else { return false };
    let concerns = |spec: &CommandSpec, slot: Option<Slot>| match spec.run {
        _ if spec.group == Group::PubSub => false,
        Run::OnEveryCore { .. } | Run::OnFirstCoreAfterAll { .. } => true,
        _ => slot.is_some_and(|slot| relocation.slots.contains(slot)),
    };
    let watches_there = client.watch_cores.contains(&relocation.from);
    match &client.transaction {
        _ if watches_there && matches!(spec.name, "exec" | "discard" | "unwatch" | "reset" | "watch") => true,
        Some(transaction) if spec.name == "exec" => {
            transaction.queue.iter().any(|queued| concerns(queued.command.spec(), queued.slot))
        }
        Some(_) => false,
        None => concerns(spec, slot),
    }
}

/// Whether a key of these slots is on its way to another node, or made of a large payload: it is locked by name on this core.
pub fn has_locked_keys(core: &Core, slots: &SlotSet) -> bool {
    core.migrations.locks_in(slots)
}

/// Takes slots out of this core, which does not own them from then on.
///
/// # Panics
/// When this core does not own them, or the walk of a snapshot has still to go through one.
pub fn take(core: &mut Core, slots: &SlotSet, to: CoreId) -> Moved {
    assert!(slots.iter().all(|slot| core.owners.owner(slot) == core.id), "a core gives what it has");
    let moved = Moved {
        tables: core.keyspace.take_slots(slots),
        waiters: core.blocked.take_slots(&mut core.keyspace, slots),
        watches: core.watches.take_slots(&mut core.keyspace, slots),
        readers: core.tracking.take_slots(&mut core.keyspace, slots),
        costs: slots.iter().map(|slot| (slot, core.slot_usage.take(slot))).collect(),
    };
    core.owners.assign(slots, to);
    moved
}

/// Puts slots of another core in: this one owns them from now on. Who waits for their keys, and must not any more as things are by now,
/// is told so.
pub fn put(core: &mut Core, slots: &SlotSet, moved: Moved) {
    core.owners.assign(slots, core.id);
    core.keyspace.put_slots(moved.tables);
    core.watches.put_slots(&mut core.keyspace, moved.watches);
    core.tracking.put_slots(&mut core.keyspace, moved.readers);
    moved.costs.into_iter().for_each(|(slot, cost)| core.slot_usage.add(slot, cost));
    let waits = !moved.waiters.is_empty();
    core.blocked.put_slots(&mut core.keyspace, moved.waiters);
    if waits {
        blocking::redirect(core);
        if core.replication.role.is_replica() {
            blocking::role_changed(core);
        }
    }
}

/// It is over on this core: whom it has held back asks again. `has_moved`: the slots have changed their core.
pub fn end(core: &mut Core, has_moved: bool) {
    let Some(relocation) = core.relocation.take() else { return };
    if !has_moved {
        return;
    }
    core.owners.assign(&relocation.slots, relocation.to);
    for (_, client) in &mut core.clients {
        // What was watched there may be here now: both are asked.
        if client.watch_cores.contains(&relocation.from) && !client.watch_cores.contains(&relocation.to) {
            client.watch_cores.push(relocation.to);
        }
    }
}
