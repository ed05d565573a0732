//! A packet has come: what its header says of the sender, then what its kind is about.
//!
//! Only members are believed. Whoever is no member may introduce itself (MEET) and is asked who it is over a connection of our own;
//! all else of strangers is answered, if it is a ping, and forgotten.

use super::super::message::{Body, Gossip, Header, Message};
use super::super::node::{ClusterNode, NodeFlags, NodeIndex};
use super::{Action, LinkId, Machine, Now};
use crate::base::hex::HexId;

/// Introductions that wait to be looked at. Each is gone after the node timeout.
const HANDSHAKES_MAX: usize = 1024;

/// The three kinds of pings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contact {
    Ping,
    Pong,
    Meet,
}

impl Machine {
    /// A packet has come over a connection.
    pub fn received(&mut self, now: Now, link: LinkId, message: Message) {
        if let Some(kind) = message.body.kind() {
            self.stats.received[kind as usize] += 1;
        }
        if !self.links.contains_key(&link) || self.ignores(&message.body) {
            return;
        }
        let Message { header, body } = message;
        let sender = self.state.find(&header.sender).filter(|sender| *sender != NodeIndex::MYSELF);
        if let Some(sender) = sender {
            self.know_inbound(link, sender);
            self.hear_header(now, sender, &header);
        }
        match (body, sender) {
            (Body::Ping(gossip), _) => self.hear_ping(now, link, Contact::Ping, &header, &gossip),
            (Body::Pong(gossip), _) => self.hear_ping(now, link, Contact::Pong, &header, &gossip),
            (Body::Meet(gossip), _) => self.hear_ping(now, link, Contact::Meet, &header, &gossip),
            (_, None) => {}
            (Body::Fail(id), Some(sender)) => {
                if let Some(failing) = self.state.find(&id) {
                    self.hear_failure(now, sender, failing);
                }
            }
            (Body::Publish { channel, message }, _) => {
                self.actions.push(Action::Publish { channel, message, is_sharded: false });
            }
            (Body::PublishShard { channel, message }, _) => {
                self.actions.push(Action::Publish { channel, message, is_sharded: true });
            }
            (Body::VoteRequest, Some(sender)) => self.consider_vote(now, sender, &header),
            (Body::Vote, Some(sender)) => self.count_vote(sender, &header),
            (Body::Update { node, config_epoch, slots }, Some(_)) => self.hear_update(now, node, config_epoch, &slots),
            (Body::ManualFailoverStart, Some(sender)) => self.begin_handing_over(now, sender),
            (Body::Module | Body::Unknown(_), _) => {}
        }
    }

    /// Remembers who is at the other end of a connection that was opened from there.
    fn know_inbound(&mut self, id: LinkId, sender: NodeIndex) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_inbound && link.node != Some(sender)) else {
            return;
        };
        let before = link.node.replace(sender);
        if let Some(before) = before
            && self.state.node(before).contact.inbound == Some(id)
        {
            self.state.node_mut(before).contact.inbound = None;
        }
        // A node opens one connection: with a new one the old one is of no use.
        let old = self.state.node_mut(sender).contact.inbound.replace(id);
        if let Some(old) = old.filter(|old| *old != id) {
            self.links.remove(&old);
            self.actions.push(Action::Close(old));
        }
    }

    /// What every packet of a member says.
    fn hear_header(&mut self, now: Now, sender: NodeIndex, header: &Header) {
        self.state.current_epoch = self.state.current_epoch.max(header.current_epoch);
        let node = self.state.node_mut(sender);
        node.contact.data_ms = now.ms;
        node.contact.is_kin = header.is_kin;
        let had_data = node.contact.offset != 0;
        node.contact.offset = header.offset;
        // A replica is shown to clients once it has data.
        let shows = had_data != (header.offset != 0);
        if header.config_epoch > node.config_epoch {
            node.config_epoch = header.config_epoch;
            self.changed();
        }
        self.is_unpublished |= shows;
        if header.is_paused {
            self.note_paused_offset(sender, header.offset);
        }
    }

    fn hear_ping(&mut self, now: Now, link: LinkId, kind: Contact, header: &Header, gossip: &Gossip) {
        let mut sender = self.state.find(&header.sender);
        if kind != Contact::Pong {
            self.learn_own_address(link, kind);
            if sender.is_none() && kind == Contact::Meet {
                self.hear_introduction(now, link, header);
                self.hear_gossip(now, None, &gossip.nodes);
            }
            self.answer(link, sender);
        }
        // What was just told of a node may have closed the connection to it.
        let Some(is_inbound) = self.links.get(&link).map(|link| link.is_inbound) else { return };
        if !is_inbound {
            match self.identify(now, link, header) {
                Some(known) => sender = Some(known),
                None => return,
            }
            if kind == Contact::Pong
                && let Some(index) = sender
            {
                self.note_pong(now, index);
            }
        }
        let Some(sender) = sender.filter(|sender| *sender != NodeIndex::MYSELF) else { return };
        self.note_flags(sender, header);
        if kind == Contact::Ping {
            self.update_address(link, sender, header);
        }
        self.note_role(now, sender, header);
        self.note_claims(now, sender, header);
        self.hear_gossip(now, Some(sender), &gossip.nodes);
        self.hear_extensions(now, sender, &gossip.extensions);
    }

    /// Others know this node's address by the connections that they open to it, so this node learns it from these, too.
    fn learn_own_address(&mut self, link: LinkId, kind: Contact) {
        let own_ip = &self.links[&link].ends.own_ip;
        let is_asked = kind == Contact::Meet || self.state.myself().address.ip.is_empty();
        if !is_asked || !self.state.settings.announce_ip.is_empty() || own_ip.is_empty() {
            return;
        }
        if self.state.myself().address.ip != *own_ip {
            tracing::info!("IP address for this node updated to {own_ip}");
            let own_ip = own_ip.clone();
            self.state.myself_mut().address.ip = own_ip;
            self.changed();
        }
    }

    /// A stranger wants to be known: it is asked who it is, over a connection to where it says it is.
    fn hear_introduction(&mut self, now: Now, link: LinkId, header: &Header) {
        let address = self.address_of(header, &self.links[&link].ends.peer_ip);
        let handshakes = self.state.nodes().iter().filter(|node| node.is_in_handshake()).count();
        if address.ip.is_empty() || self.is_shaking_hands_with(&address) || handshakes >= HANDSHAKES_MAX {
            return;
        }
        let id = HexId::random(&mut self.random);
        let mut node = ClusterNode::new(id, HexId::random(&mut self.random), NodeFlags::HANDSHAKE);
        node.address = address;
        node.contact.begin(now.ms);
        if let Some(index) = self.state.add(node) {
            self.connect_new(now, index);
        }
    }

    fn answer(&mut self, link: LinkId, sender: Option<NodeIndex>) {
        let gossip = match sender {
            Some(sender) if sender != NodeIndex::MYSELF => self.gossip_for(sender),
            _ => self.gossip_for_stranger(),
        };
        self.send(link, Body::Pong(gossip));
    }

    /// Who is at the other end of a connection that this node has opened. `None`: it is not who it was taken for, and the connection
    /// is gone.
    fn identify(&mut self, now: Now, link: LinkId, header: &Header) -> Option<NodeIndex> {
        let index = self.links[&link].node?;
        let known = self.state.find(&header.sender);
        if self.state.node(index).is_in_handshake() {
            if let Some(known) = known {
                // It is a member already, or this node itself.
                if known != NodeIndex::MYSELF {
                    self.update_address(link, known, header);
                }
                self.remove_node(index);
                return None;
            }
            self.state.rename(index, header.sender);
            let node = self.state.node_mut(index);
            let role = NodeFlags(header.flags.0 & NodeFlags::PRIMARY.and(NodeFlags::REPLICA).0);
            node.flags = node.flags.without(NodeFlags::HANDSHAKE).and(role);
            tracing::debug!("Handshake with node {} completed.", header.sender);
            self.changed();
            self.hear_header(now, index, header);
            return Some(index);
        }
        if known == Some(index) {
            return Some(index);
        }
        // Another node has that address now. Where the one that was meant is, others may know.
        let node = self.state.node_mut(index);
        tracing::debug!("PONG contains mismatching sender ID. About node {}, having flags {}", node.id, node.flags);
        node.flags = node.flags.and(NodeFlags::NO_ADDRESS);
        node.address = Default::default();
        self.close(link);
        self.changed();
        None
    }

    /// Whether a replica may take over is its own to say, at any time.
    fn note_flags(&mut self, sender: NodeIndex, header: &Header) {
        let node = self.state.node_mut(sender);
        let said = NodeFlags(header.flags.0 & NodeFlags::NO_FAILOVER.0);
        let flags = node.flags.without(NodeFlags::NO_FAILOVER).and(said);
        if flags != node.flags {
            node.flags = flags;
            self.changed();
        }
    }

    /// A node that has moved says so over a connection that it has opened itself.
    fn update_address(&mut self, link: LinkId, sender: NodeIndex, header: &Header) {
        if self.state.node(sender).contact.link == Some(link) {
            return;
        }
        let address = self.address_of(header, &self.links[&link].ends.peer_ip);
        let node = self.state.node(sender);
        if node.address == address || address.ip.is_empty() {
            return;
        }
        if let Some(link) = node.contact.link {
            self.close(link);
        }
        let node = self.state.node_mut(sender);
        tracing::info!(
            "Address updated for node {} ({}), now {}:{}",
            node.id,
            node.human_name,
            address.ip,
            address.port
        );
        node.address = address;
        node.flags = node.flags.without(NodeFlags::NO_ADDRESS);
        self.changed();
    }

    /// Primary or replica, and whose.
    fn note_role(&mut self, now: Now, sender: NodeIndex, header: &Header) {
        let Some(primary) = header.primary else {
            self.set_as_primary(sender);
            return;
        };
        if self.state.node(sender).is_primary() {
            self.state.release_slots_of(sender);
            let node = self.state.node_mut(sender);
            node.flags = node.flags.without(NodeFlags::PRIMARY.and(NodeFlags::MIGRATE_TO)).and(NodeFlags::REPLICA);
            self.changed();
        }
        let primary = self.state.find(&primary).filter(|primary| *primary != sender);
        if let Some(primary) = primary
            && self.state.node(sender).primary != Some(primary)
        {
            self.state.node_mut(sender).primary = Some(primary);
            if self.is_one_shard(sender, primary) {
                self.replace_partner(sender, primary);
            }
            self.note_replica_of(primary);
            let shard = self.state.node(primary).shard;
            self.set_shard(sender, shard);
            self.changed();
            self.leave_sub_replica(now);
        }
    }
}
