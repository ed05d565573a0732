//! What every core knows of the cluster: enough to route a request, nothing that changes between topologies.

use std::collections::BTreeMap;

use crate::base::core_id::CoreId;
use crate::base::slot::{SLOTS_COUNT, Slot, SlotSet};

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

    /// These slots are this core's from now on.
    pub fn assign(&mut self, slots: &SlotSet, core: CoreId) {
        slots.iter().for_each(|slot| self.owner[slot.index()] = core);
    }
}

/// Whose a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving<'a> {
    Here,
    /// `ip:port` of the node to redirect to, and whether this node is its replica.
    Elsewhere {
        address: &'a str,
        is_primary: bool,
    },
    Nobody,
}

/// A slot on its way from one node to another, one of which is this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open<'a> {
    /// What is not here any more is there: `ip:port`.
    MigratingTo(&'a str),
    Importing,
}

/// A node in the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewNode(u16);

impl ViewNode {
    pub const MYSELF: ViewNode = ViewNode(0);
    const NOBODY: ViewNode = ViewNode(u16::MAX);
    /// Says of a slot: look among the open ones.
    const OPEN: ViewNode = ViewNode(u16::MAX - 1);
}

#[derive(Clone, Copy)]
struct OpenSlot {
    owner: ViewNode,
    migrating_to: Option<ViewNode>,
    is_importing: bool,
}

/// The routing part of the cluster state, replaced whole by core 0.
#[derive(Clone)]
pub struct ClusterView {
    pub enabled: bool,
    /// `cluster_state:ok`: slots are covered as cluster-require-full-coverage asks.
    pub ok: bool,
    /// The owner of each slot; `OPEN` for the few that are on their way, so that one look tells whether all is plain.
    nodes: Box<[ViewNode; SLOTS_COUNT]>,
    open: BTreeMap<Slot, OpenSlot>,
    /// `ip:port` of each node in the view, and of each core with a port of its own; this node is entry 0.
    addresses: Vec<String>,
    /// Of a replica: its primary, which is several entries where its cores have ports.
    primary: Vec<ViewNode>,
}

impl ClusterView {
    /// `cluster-enabled no`.
    pub fn disabled() -> ClusterView {
        let mut view = ClusterView::unassigned(String::new());
        (view.enabled, view.ok) = (false, true);
        view.nodes.fill(ViewNode::MYSELF);
        view
    }

    /// A view in which nobody serves anything yet.
    pub fn unassigned(address: String) -> ClusterView {
        ClusterView {
            enabled: true,
            ok: false,
            nodes: Box::new([ViewNode::NOBODY; SLOTS_COUNT]),
            open: BTreeMap::new(),
            addresses: vec![address],
            primary: Vec::new(),
        }
    }

    /// Another node, reachable at `address`. At most as many as there are slots, twice.
    pub fn add_node(&mut self, address: String) -> ViewNode {
        let number = u16::try_from(self.addresses.len()).expect("a view has few nodes");
        assert!(number < ViewNode::OPEN.0, "the last numbers have another meaning");
        self.addresses.push(address);
        ViewNode(number)
    }

    /// Says whose a slot is.
    pub fn assign(&mut self, slot: Slot, owner: ViewNode) {
        assert!(!self.open.contains_key(&slot), "slots are assigned before they are opened");
        self.nodes[slot.index()] = owner;
    }

    /// Says whose each slot is: `names[owners[slot]]`, nobody where that names none.
    pub fn assign_all(&mut self, owners: &[u16; SLOTS_COUNT], names: &[Option<ViewNode>]) {
        assert!(self.open.is_empty(), "slots are assigned before they are opened");
        for (node, owner) in self.nodes.iter_mut().zip(owners) {
            *node = names.get(usize::from(*owner)).copied().flatten().unwrap_or(ViewNode::NOBODY);
        }
    }

    /// Says whose replica this node is: who serves its slots at this address is its primary.
    pub fn add_primary(&mut self, primary: ViewNode) {
        self.primary.push(primary);
    }

    /// Says that a slot moves to another node key by key.
    pub fn open_to(&mut self, slot: Slot, to: ViewNode) {
        self.opened(slot).migrating_to = Some(to);
    }

    /// Says that a slot comes here key by key.
    pub fn open_from_elsewhere(&mut self, slot: Slot) {
        self.opened(slot).is_importing = true;
    }

    fn opened(&mut self, slot: Slot) -> &mut OpenSlot {
        let owner = std::mem::replace(&mut self.nodes[slot.index()], ViewNode::OPEN);
        self.open.entry(slot).or_insert(OpenSlot { owner, migrating_to: None, is_importing: false })
    }

    /// Whether the slot is this node's and stays so: nothing more is to be asked then.
    #[inline]
    pub fn is_settled_here(&self, slot: Slot) -> bool {
        self.nodes[slot.index()] == ViewNode::MYSELF
    }

    /// Whose the slot is, on its way or not.
    /// No other node serves slots, as far as this one knows.
    pub fn is_alone(&self) -> bool {
        self.addresses.len() <= 1
    }

    pub fn serving(&self, slot: Slot) -> Serving<'_> {
        let owner = match self.nodes[slot.index()] {
            ViewNode::OPEN => self.open[&slot].owner,
            owner => owner,
        };
        match owner {
            ViewNode::MYSELF => Serving::Here,
            ViewNode::NOBODY => Serving::Nobody,
            owner => Serving::Elsewhere { address: self.address(owner), is_primary: self.primary.contains(&owner) },
        }
    }

    /// Whether this node serves the slot, or its primary does.
    pub fn is_of_own_shard(&self, slot: Slot) -> bool {
        matches!(self.serving(slot), Serving::Here | Serving::Elsewhere { is_primary: true, .. })
    }

    /// Whether the slot is on its way. Only its owner sends it away.
    pub fn open(&self, slot: Slot) -> Option<Open<'_>> {
        if self.nodes[slot.index()] != ViewNode::OPEN {
            return None;
        }
        let open = &self.open[&slot];
        match open.migrating_to {
            Some(to) if open.owner == ViewNode::MYSELF => Some(Open::MigratingTo(self.address(to))),
            _ => open.is_importing.then_some(Open::Importing),
        }
    }

    fn address(&self, node: ViewNode) -> &str {
        &self.addresses[usize::from(node.0)]
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
        let [primary, other] = ["a:1", "a:2"].map(|address| view.add_node(address.into()));
        view.assign(Slot::new(1), ViewNode::MYSELF);
        view.assign(Slot::new(2), primary);
        view.assign(Slot::new(3), other);
        view.add_primary(primary);
        assert_eq!(view.serving(Slot::new(0)), Serving::Nobody);
        assert_eq!(view.serving(Slot::new(1)), Serving::Here);
        assert_eq!(view.serving(Slot::new(2)), Serving::Elsewhere { address: "a:1", is_primary: true });
        assert_eq!(view.serving(Slot::new(3)), Serving::Elsewhere { address: "a:2", is_primary: false });
        assert!(view.is_settled_here(Slot::new(1)) && !view.is_settled_here(Slot::new(2)));
    }

    #[test]
    fn nodes_with_one_address_are_told_apart() {
        let mut view = ClusterView::unassigned(":7000".into());
        let [primary, other] = [":7000", ":7000"].map(|address| view.add_node(address.into()));
        view.assign(Slot::new(1), other);
        view.add_primary(primary);
        assert_eq!(view.serving(Slot::new(1)), Serving::Elsewhere { address: ":7000", is_primary: false });
    }

    #[test]
    fn a_slot_on_its_way_keeps_its_owner_and_is_not_settled() {
        let mut view = ClusterView::unassigned(String::new());
        let other = view.add_node("a:1".into());
        (0..4).for_each(|slot| view.assign(Slot::new(slot), if slot < 2 { ViewNode::MYSELF } else { other }));
        view.open_to(Slot::new(1), other);
        view.open_from_elsewhere(Slot::new(2));
        assert_eq!(view.serving(Slot::new(1)), Serving::Here);
        assert_eq!(view.open(Slot::new(1)), Some(Open::MigratingTo("a:1")));
        assert_eq!(view.serving(Slot::new(2)), Serving::Elsewhere { address: "a:1", is_primary: false });
        assert_eq!(view.open(Slot::new(2)), Some(Open::Importing));
        assert!(!view.is_settled_here(Slot::new(1)) && view.is_settled_here(Slot::new(0)));
        assert_eq!((view.open(Slot::new(0)), view.open(Slot::new(3))), (None, None));
        // Sent away by somebody who does not have it: that does not count.
        view.open_to(Slot::new(3), other);
        assert_eq!(view.open(Slot::new(3)), None);
        // Both ways at once: away goes first, while this node is the owner.
        view.open_from_elsewhere(Slot::new(1));
        assert_eq!(view.open(Slot::new(1)), Some(Open::MigratingTo("a:1")));
        view.open_from_elsewhere(Slot::new(3));
        assert_eq!(view.open(Slot::new(3)), Some(Open::Importing));
    }
}
