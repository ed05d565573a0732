//! Where clients are sent: a node's address as they are told it, and the view by which every core routes.

use hashbrown::HashMap;

use super::node::{ClusterNode, NodeIndex};
use super::state::{ClusterState, Health};
use super::view::{ClusterView, ViewNode};
use crate::base::slot::{Slot, SlotSet};
use crate::config::EndpointType;

impl ClusterState {
    /// What clients are told as a node's address: its IP, its host name, or nothing (the one they came by).
    pub fn preferred_endpoint<'n>(&self, node: &'n ClusterNode) -> &'n str {
        match self.settings.endpoint_type {
            EndpointType::Ip => &node.address.ip,
            EndpointType::Hostname if node.hostname.is_empty() => "?",
            EndpointType::Hostname => &node.hostname,
            EndpointType::UnknownEndpoint => "",
        }
    }

    /// The snapshot by which every core routes.
    pub fn view(&self) -> ClusterView {
        let address = |node: &ClusterNode, port: u16| format!("{}:{port}", self.preferred_endpoint(node));
        let mut view = ClusterView::unassigned(address(self.myself(), self.myself().address.port));
        view.ok = self.health() == Health::Ok;
        let mut known: HashMap<(NodeIndex, u16), ViewNode> = HashMap::new();
        let primary = self.myself().primary;
        // A node is as many entries as it has ports.
        let mut number = |view: &mut ClusterView, index: NodeIndex, slot: Slot| {
            if index == NodeIndex::MYSELF {
                return ViewNode::MYSELF;
            }
            let node = self.node(index);
            let port = node.port_for(slot);
            *known.entry((index, port)).or_insert_with(|| {
                let entry = view.add_node(address(node, port));
                if Some(index) == primary {
                    view.add_primary(entry);
                }
                entry
            })
        };
        // All slots at once, by a table: this is done for each slot that moves.
        let first = |index: NodeIndex| self.node(index).slots().and_then(|slots| slots.iter().next());
        let names: Vec<Option<ViewNode>> =
            self.indexes().map(|index| first(index).map(|slot| number(&mut view, index, slot))).collect();
        view.assign_all(&self.owners, &names);
        for index in self.indexes().filter(|index| self.node(*index).core_ports.is_some()) {
            for slot in self.node(index).slots().into_iter().flat_map(SlotSet::iter) {
                let core = number(&mut view, index, slot);
                view.assign(slot, core);
            }
        }
        // A replica only remembers them, for when it takes over.
        if !self.myself().is_primary() {
            return view;
        }
        for (slot, to) in &self.migrating_to {
            let to = number(&mut view, *to, *slot);
            view.open_to(*slot, to);
        }
        self.importing_from.keys().for_each(|slot| view.open_from_elsewhere(*slot));
        view
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hex::HexId;
    use crate::base::random::Random;
    use crate::cluster::core_ports::CorePorts;
    use crate::cluster::node::NodeFlags;
    use crate::cluster::settings::ClusterSettings;
    use crate::cluster::view::{Open, Serving};
    use crate::config::Config;

    fn state() -> ClusterState {
        let mut random = Random::new(1);
        let settings = ClusterSettings::of(&Config { port: 7000, ..Config::default() });
        ClusterState::new(HexId::random(&mut random), HexId::random(&mut random), settings)
    }

    #[test]
    fn clients_are_sent_to_the_preferred_endpoint() {
        let mut state = state();
        let mut peer = ClusterNode::new(HexId::ZEROS, HexId::ZEROS, NodeFlags::PRIMARY);
        peer.address.ip = "10.0.0.9".into();
        peer.address.port = 7001;
        state.add(peer);
        state.set_owner(Slot::new(3), Some(NodeIndex(1)));
        let mut settings = state.settings.clone();
        for (endpoint_type, hostname, expected) in [
            (EndpointType::Ip, "", "10.0.0.9:7001"),
            (EndpointType::Hostname, "", "?:7001"),
            (EndpointType::Hostname, "nine", "nine:7001"),
            (EndpointType::UnknownEndpoint, "nine", ":7001"),
        ] {
            settings.endpoint_type = endpoint_type;
            state.follow(&settings);
            state.nodes[1].hostname = hostname.into();
            let expected = Serving::Elsewhere { address: expected, is_primary: false };
            assert_eq!(state.view().serving(Slot::new(3)), expected);
        }
    }

    #[test]
    fn clients_are_sent_to_the_core_that_has_the_slot() {
        let mut state = state();
        let mut peer = ClusterNode::new(HexId::ZEROS, HexId::ZEROS, NodeFlags::PRIMARY);
        (peer.address.ip, peer.address.port) = ("10.0.0.9".into(), 7001);
        let mut ports = CorePorts::checked(7101, 2).unwrap();
        assert!(ports.note_moved(Slot::new(65), 0));
        peer.core_ports = Some(ports);
        state.add(peer);
        for (slot, owner) in [(3, 1), (64, 1), (65, 1), (66, 0)] {
            state.set_owner(Slot::new(slot), Some(NodeIndex(owner)));
        }
        state.migrating_to.insert(Slot::new(66), NodeIndex(1));
        let myself = state.myself_mut();
        myself.core_ports = CorePorts::checked(7200, 2);
        let elsewhere = |address, is_primary| Serving::Elsewhere { address, is_primary };
        let view = state.view();
        assert_eq!(view.serving(Slot::new(3)), elsewhere("10.0.0.9:7101", false));
        assert_eq!(view.serving(Slot::new(64)), elsewhere("10.0.0.9:7102", false));
        assert_eq!(view.serving(Slot::new(65)), elsewhere("10.0.0.9:7101", false));
        assert_eq!(view.serving(Slot::new(66)), Serving::Here);
        assert_eq!(view.open(Slot::new(66)), Some(Open::MigratingTo("10.0.0.9:7102")));
        let myself = state.myself_mut();
        myself.flags = NodeFlags::MYSELF.and(NodeFlags::REPLICA);
        myself.primary = Some(NodeIndex(1));
        let view = state.view();
        assert_eq!(view.serving(Slot::new(3)), elsewhere("10.0.0.9:7101", true));
        assert_eq!(view.serving(Slot::new(64)), elsewhere("10.0.0.9:7102", true));
    }

    #[test]
    fn a_replica_knows_what_its_primary_serves() {
        let mut state = state();
        let mut random = Random::new(2);
        for port in [7001, 7002] {
            let mut node = ClusterNode::new(HexId::random(&mut random), HexId::ZEROS, NodeFlags::PRIMARY);
            (node.address.ip, node.address.port) = ("10.0.0.9".into(), port);
            state.add(node);
        }
        state.set_owner(Slot::new(1), Some(NodeIndex(1)));
        state.set_owner(Slot::new(2), Some(NodeIndex(2)));
        let myself = state.myself_mut();
        myself.flags = NodeFlags::MYSELF.and(NodeFlags::REPLICA);
        myself.primary = Some(NodeIndex(2));
        let view = state.view();
        assert_eq!(view.serving(Slot::new(1)), Serving::Elsewhere { address: "10.0.0.9:7001", is_primary: false });
        assert_eq!(view.serving(Slot::new(2)), Serving::Elsewhere { address: "10.0.0.9:7002", is_primary: true });
    }

    #[test]
    fn slots_on_their_way_are_open_in_the_view() {
        let mut state = state();
        let mut node = ClusterNode::new(HexId::ZEROS, HexId::ZEROS, NodeFlags::PRIMARY);
        (node.address.ip, node.address.port) = ("10.0.0.9".into(), 7001);
        state.add(node);
        state.set_owner(Slot::new(1), Some(NodeIndex::MYSELF));
        state.set_owner(Slot::new(2), Some(NodeIndex(1)));
        state.migrating_to.insert(Slot::new(1), NodeIndex(1));
        state.importing_from.insert(Slot::new(2), NodeIndex(1));
        let view = state.view();
        assert_eq!(view.open(Slot::new(1)), Some(Open::MigratingTo("10.0.0.9:7001")));
        assert_eq!(view.open(Slot::new(2)), Some(Open::Importing));
        assert_eq!(view.open(Slot::new(3)), None);
    }
}
