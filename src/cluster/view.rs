//! What every core knows of the cluster: enough to route a request, nothing that changes between topologies.

use crate::base::core_id::CoreId;
use crate::base::slot::{SLOTS_COUNT, Slot};

/// Slots per stripe of the default table: any contiguous range that a cluster assigns is balanced over the cores,
/// and a slot map that names cores stays small (256 ranges).
pub const STRIPE_SLOTS: usize = 64;

/// `slot -> core`: which core of this node owns a slot's keys. Data, not a formula, so that slots can move.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotOwners {
    owner: Box<[CoreId; SLOTS_COUNT]>,
}

impl SlotOwners {
    /// Stripes dealt round-robin over the cores.
    pub fn striped(cores_count: usize) -> SlotOwners {
        let mut owner = Box::new([CoreId::FIRST; SLOTS_COUNT]);
        for (slot, core) in owner.iter_mut().enumerate() {
            *core = CoreId::new(slot / STRIPE_SLOTS % cores_count);
        }
        SlotOwners { owner }
    }

    /// Every slot belongs to core 0: standalone mode, where one command may name keys of any slots.
    pub fn all_first() -> SlotOwners {
        SlotOwners { owner: Box::new([CoreId::FIRST; SLOTS_COUNT]) }
    }

    pub fn owner(&self, slot: Slot) -> CoreId {
        self.owner[slot.index()]
    }
}

/// Who answers for a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serving<'a> {
    Here,
    /// `ip:port` of the node to redirect to.
    Elsewhere(&'a str),
    Nobody,
}

const UNBOUND: u16 = u16::MAX;
const MYSELF: u16 = 0;

/// The routing part of the cluster state, replaced whole by core 0.
#[derive(Clone)]
pub struct ClusterView {
    pub enabled: bool,
    /// `cluster_state:ok`: slots are covered as cluster-require-full-coverage asks.
    pub ok: bool,
    /// Index into `addresses` for each slot.
    nodes: Box<[u16; SLOTS_COUNT]>,
    /// `ip:port` of each known node that serves slots; this node is entry 0.
    addresses: Vec<String>,
}

impl ClusterView {
    /// `cluster-enabled no`.
    pub fn disabled() -> ClusterView {
        ClusterView { enabled: false, ok: true, nodes: Box::new([MYSELF; SLOTS_COUNT]), addresses: vec![String::new()] }
    }

    /// A view in which nobody serves anything yet.
    pub fn unassigned(address: String) -> ClusterView {
        ClusterView { enabled: true, ok: false, nodes: Box::new([UNBOUND; SLOTS_COUNT]), addresses: vec![address] }
    }

    /// Says that this node serves the slot.
    pub fn assign_here(&mut self, slot: Slot) {
        self.nodes[slot.index()] = MYSELF;
    }

    /// Says that another node, reachable at `address`, serves the slot.
    pub fn assign_elsewhere(&mut self, slot: Slot, address: &str) {
        let known = self.addresses.iter().skip(1).position(|a| a == address);
        let index = known.map_or_else(
            || {
                self.addresses.push(address.to_owned());
                self.addresses.len() - 1
            },
            |position| position + 1,
        );
        self.nodes[slot.index()] = u16::try_from(index).unwrap_or(UNBOUND);
    }

    pub fn serving(&self, slot: Slot) -> Serving<'_> {
        match self.nodes[slot.index()] {
            MYSELF => Serving::Here,
            UNBOUND => Serving::Nobody,
            node => Serving::Elsewhere(&self.addresses[node as usize]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripes_balance_any_third_of_the_slots() {
        let owners = SlotOwners::striped(4);
        let mut counts = [0usize; 4];
        for number in 5461..10922 {
            counts[owners.owner(Slot::new(number)).index()] += 1;
        }
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= STRIPE_SLOTS, "{counts:?}");
    }

    #[test]
    fn a_slot_is_served_by_whom_it_was_assigned_to() {
        let mut view = ClusterView::unassigned("127.0.0.1:7000".into());
        view.assign_here(Slot::new(1));
        view.assign_elsewhere(Slot::new(2), "127.0.0.1:7001");
        view.assign_elsewhere(Slot::new(3), "127.0.0.1:7001");
        assert_eq!(view.serving(Slot::new(0)), Serving::Nobody);
        assert_eq!(view.serving(Slot::new(1)), Serving::Here);
        assert_eq!(view.serving(Slot::new(2)), Serving::Elsewhere("127.0.0.1:7001"));
        assert_eq!(view.serving(Slot::new(3)), Serving::Elsewhere("127.0.0.1:7001"));
    }
}
