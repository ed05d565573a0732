//! The other nodes: connections to them, pings, and what becomes of those that do not answer.

use super::super::message::{Body, Header, Message};
use super::super::node::{NodeFlags, NodeIndex};
use super::super::state::Health;
use super::{Action, Ends, Link, LinkId, Machine, Now};

/// A node whose identity is not known yet is given the node timeout to say it, this long at least.
const HANDSHAKE_MIN_MS: u64 = 1000;
/// One of so many nodes, drawn at random, is pinged each second: the one that was heard longest ago.
const PING_DRAWS: usize = 5;
/// A tick that is late by less is late, whatever the node timeout.
const STANDSTILL_MIN_MS: u64 = 500;
/// `tick` is called ten times a second.
const TICKS_PER_SECOND: u64 = 10;

/// Who stood still for so long may have been replaced. That takes the node timeout from a ping that was sent just before; the rest
/// is for what this node's own clock has missed.
pub const fn standstill_ms(node_timeout_ms: u64) -> u64 {
    let part_ms = node_timeout_ms / 4 * 3;
    if part_ms > STANDSTILL_MIN_MS { part_ms } else { STANDSTILL_MIN_MS }
}

impl Machine {
    /// What is due ten times a second.
    pub fn tick(&mut self, now: Now) {
        self.notice_standstill(now);
        self.ticked_ms = now.ms;
        self.ticks += 1;
        self.banned.retain(|_, until_ms| *until_ms > now.ms);
        self.forget_taken(now);
        self.end_handshakes(now);
        self.find_partners();
        self.state.indexes().skip(1).for_each(|node| self.connect_if_needed(now, node));
        if self.ticks.is_multiple_of(TICKS_PER_SECOND) {
            self.ping_a_quiet_one(now);
        }
        self.state.indexes().skip(1).for_each(|node| self.watch(now, node));
        self.tend_manual_failover(now);
        self.consider_migration(now);
        self.is_unjudged |= self.state.health() == Health::Fail;
    }

    pub(super) fn timeout_ms(&self) -> u64 {
        self.state.settings.node_timeout_ms
    }

    /// Looks whether this process stood still for longer than the others wait. They did not fail, as far as anybody here knows; but they
    /// may well have found this node failing, and what it serves may be another's by now: it waits until it has heard. To be called
    /// before what clients have sent meanwhile is looked at.
    pub fn notice_standstill(&mut self, now: Now) {
        let slept_ms = now.ms.saturating_sub(self.ticked_ms);
        if self.ticks > 0 && slept_ms > standstill_ms(self.timeout_ms()) {
            self.ticked_ms = now.ms;
            self.wake_up(now, slept_ms);
        }
    }

    fn wake_up(&mut self, now: Now, slept_ms: u64) {
        tracing::warn!("The node stood still for {slept_ms} ms, longer than the node timeout");
        for node in self.state.nodes.iter_mut().skip(1) {
            let contact = &mut node.contact;
            contact.ping_sent_ms = contact.ping_sent_ms.map(|_| now.ms);
            (contact.pong_ms, contact.data_ms) = (now.ms, now.ms);
        }
        if self.state.size() > 1 && self.state.doubt(now.ms) {
            self.is_unpublished = true;
        }
    }

    /// Nodes that did not say who they are.
    fn end_handshakes(&mut self, now: Now) {
        let patience_ms = self.timeout_ms().max(HANDSHAKE_MIN_MS);
        let is_over = |machine: &Machine, index: NodeIndex| {
            let node = machine.state.node(index);
            node.is_in_handshake() && now.ms.saturating_sub(node.contact.created_ms) > patience_ms
        };
        // From the end on, since the last takes the place of one that goes.
        for index in self.state.indexes().rev() {
            if is_over(self, index) {
                self.remove_node(index);
            }
        }
    }

    /// Opens the first connection to a node that has just become known.
    pub(super) fn connect_new(&mut self, now: Now, index: NodeIndex) {
        self.connect_if_needed(now, index);
    }

    /// Opens the connection to a node that has an address and no connection.
    fn connect_if_needed(&mut self, now: Now, index: NodeIndex) {
        let node = self.state.node(index);
        let address = &node.address;
        let is_known = !node.flags.has(NodeFlags::NO_ADDRESS) && !address.ip.is_empty() && address.bus_port != 0;
        if !is_known || node.contact.link.is_some() {
            return;
        }
        let link = self.next_link(now, Some(index), Ends::default());
        let node = self.state.node_mut(index);
        node.contact.link = Some(link);
        // A node that cannot be connected does not answer: its time runs from here.
        node.note_ping(now);
        let (ip, port) = (node.address.ip.clone(), node.address.bus_port);
        self.actions.push(Action::Connect { link, ip, port });
    }

    fn next_link(&mut self, now: Now, node: Option<NodeIndex>, ends: Ends) -> LinkId {
        self.last_link += 1;
        let id = LinkId(self.last_link);
        let is_inbound = node.is_none();
        let link = Link { node, is_inbound, is_up: is_inbound, created_ms: now.ms, created: now.unix, ends };
        self.links.insert(id, link);
        id
    }

    /// Another node has opened a connection.
    pub fn accepted(&mut self, now: Now, ends: Ends) -> LinkId {
        self.next_link(now, None, ends)
    }

    /// A connection that was asked for is open. The first packet is a ping, or what introduces this node.
    pub fn link_up(&mut self, now: Now, id: LinkId, ends: Ends) {
        let Some(link) = self.links.get_mut(&id) else { return };
        (link.is_up, link.ends, link.created_ms, link.created) = (true, ends, now.ms, now.unix);
        let Some(index) = link.node else { return };
        let node = self.state.node_mut(index);
        node.is_connected = true;
        let introduces = node.flags.has(NodeFlags::MEET);
        node.flags = node.flags.without(NodeFlags::MEET);
        let gossip = self.gossip_for(index);
        self.send_to(index, if introduces { Body::Meet(gossip) } else { Body::Ping(gossip) });
    }

    /// A connection was lost, or could not be opened.
    pub fn link_down(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.links.remove(&id) else { return };
        self.unlink(&link, id);
        if let Some(index) = link.node
            && !link.is_inbound
        {
            self.state.node_mut(index).note_ping(now);
            if link.is_up {
                // A process that has ended refuses at once; one whose connection broke is there again at once.
                self.connect_if_needed(now, index);
            }
        }
    }

    /// Takes a connection out of its node's entry.
    fn unlink(&mut self, link: &Link, id: LinkId) {
        let Some(index) = link.node else { return };
        let node = self.state.node_mut(index);
        if node.contact.inbound == Some(id) {
            node.contact.inbound = None;
        }
        if node.contact.link == Some(id) {
            (node.contact.link, node.is_connected) = (None, false);
        }
    }

    /// Closes a connection; to whom this node had opened it, it opens another with the next tick.
    pub(super) fn close(&mut self, id: LinkId) {
        let Some(link) = self.links.remove(&id) else { return };
        self.unlink(&link, id);
        self.actions.push(Action::Close(id));
    }

    /// More waits in a connection than cluster-link-sendbuf-limit allows.
    pub fn link_overran(&mut self, id: LinkId) {
        self.stats.overrun += 1;
        self.close(id);
    }

    /// A packet could not be read; a connection on which nothing more can be read is closed.
    pub fn link_damaged(&mut self, id: LinkId, is_lost: bool) {
        self.stats.damaged += 1;
        if is_lost {
            self.close(id);
        }
    }

    /// Forgets a node with all its connections.
    pub(super) fn remove_node(&mut self, index: NodeIndex) {
        let contact = &self.state.node(index).contact;
        let links: Vec<LinkId> = contact.link.into_iter().chain(contact.inbound).collect();
        links.into_iter().for_each(|link| self.close(link));
        let last = NodeIndex(self.state.nodes().len() as u16 - 1);
        let was_real = !self.state.node(index).is_in_handshake();
        self.state.remove(index);
        for link in self.links.values_mut() {
            link.node = match link.node {
                Some(node) if node == index => None,
                Some(node) if node == last => Some(index),
                node => node,
            };
        }
        if was_real {
            self.changed();
        }
    }

    /// After the nodes have been put back as they were: which connection belongs to whom.
    pub(super) fn relink(&mut self) {
        self.links.values_mut().for_each(|link| link.node = None);
        for (place, node) in self.state.nodes.iter_mut().enumerate() {
            let index = NodeIndex(place as u16);
            for slot in [&mut node.contact.link, &mut node.contact.inbound] {
                match slot.and_then(|id| self.links.get_mut(&id)) {
                    Some(link) => link.node = Some(index),
                    None => *slot = None,
                }
            }
            node.is_connected = node.contact.link.is_some_and(|id| self.links[&id].is_up);
        }
        let lost: Vec<LinkId> =
            self.links.iter().filter(|(_, link)| link.node.is_none() && !link.is_inbound).map(|(id, _)| *id).collect();
        lost.into_iter().for_each(|id| self.close(id));
    }

    /// Pings one of a few nodes drawn at random.
    fn ping_a_quiet_one(&mut self, now: Now) {
        let count = self.state.nodes().len() as u64;
        let drawn = (0..PING_DRAWS).map(|_| NodeIndex(self.random.below(count) as u16));
        let quietest = drawn
            .filter(|index| {
                let node = self.state.node(*index);
                node.is_connected && node.contact.ping_sent_ms.is_none() && !node.is_in_handshake()
            })
            .min_by_key(|index| self.state.node(*index).contact.pong_ms);
        if let Some(index) = quietest {
            self.ping(now, index);
        }
    }

    pub(super) fn ping(&mut self, now: Now, index: NodeIndex) {
        if !self.state.node(index).is_connected {
            return;
        }
        self.state.node_mut(index).note_ping(now);
        let gossip = self.gossip_for(index);
        self.send_to(index, Body::Ping(gossip));
    }

    /// Is a node heard often enough, and does it answer?
    fn watch(&mut self, now: Now, index: NodeIndex) {
        let timeout_ms = self.timeout_ms();
        let node = self.state.node(index);
        if node.flags.has_any(NodeFlags::NO_ADDRESS.and(NodeFlags::HANDSHAKE)) {
            return;
        }
        let contact = &node.contact;
        let waited_ms = contact.ping_sent_ms.map(|sent_ms| now.ms.saturating_sub(sent_ms));
        let silent_ms = now.ms.saturating_sub(contact.data_ms);
        if let Some(link) = contact.link
            && now.ms.saturating_sub(self.links[&link].created_ms) > timeout_ms
            && waited_ms.is_some_and(|waited_ms| waited_ms > timeout_ms / 2)
            && silent_ms > timeout_ms / 2
        {
            // It may be the connection, not the node.
            self.close(link);
        }
        let node = self.state.node(index);
        let interval_ms = match self.state.settings.ping_interval_ms {
            0 => timeout_ms / 2,
            interval_ms => interval_ms,
        };
        let is_quiet = now.ms.saturating_sub(node.contact.pong_ms) > interval_ms;
        // A ping that came to nothing although the node is heard is repeated: the answer may have been lost with a connection.
        let is_overdue = waited_ms.is_some() && now.ms.saturating_sub(node.contact.pinged_ms) > timeout_ms;
        let is_due = waited_ms.is_none() && is_quiet || is_overdue;
        if node.is_connected && (is_due || self.is_handing_over_to(&node.id)) {
            self.ping(now, index);
        }
        // Whatever it sends shows that it lives: under much traffic a pong may be late.
        let is_silent = waited_ms.is_some_and(|waited_ms| waited_ms.min(silent_ms) > timeout_ms);
        if is_silent && !self.state.node(index).is_unreachable() {
            self.suspect(now, index);
        }
    }

    // ---- sending ---------------------------------------------------------------------------------------------------

    /// What every packet of this node says of it.
    pub(super) fn header(&self) -> Header {
        let myself = self.state.myself();
        let leader = myself.primary.map_or(myself, |primary| self.state.node(primary));
        let settings = &self.state.settings;
        let (mut port, mut other_port) = (myself.address.port, myself.address.tls_port);
        if settings.tls_cluster {
            std::mem::swap(&mut port, &mut other_port);
        }
        Header {
            sender: myself.id,
            port,
            other_port,
            bus_port: myself.address.bus_port,
            ip: settings.announce_ip.clone(),
            flags: myself.flags,
            current_epoch: self.state.current_epoch,
            config_epoch: leader.config_epoch,
            slots: leader.slots.clone().unwrap_or_default(),
            primary: myself.primary.map(|primary| self.state.node(primary).id),
            offset: self.data.offset,
            is_ok: self.state.health() == Health::Ok,
            is_paused: myself.is_primary() && self.has_paused(),
            is_ordered: false,
            is_kin: true,
        }
    }

    /// Sends to a node that this one is connected to, else not at all.
    pub(super) fn send_to(&mut self, index: NodeIndex, body: Body) {
        if let Some(link) = self.state.node(index).contact.link {
            self.send(link, body);
        }
    }

    pub(super) fn send(&mut self, link: LinkId, body: Body) {
        self.send_message(link, &Message { header: self.header(), body });
    }

    fn send_message(&mut self, link: LinkId, message: &Message) {
        if !self.links.get(&link).is_some_and(|link| link.is_up) {
            return;
        }
        if let Some(kind) = message.body.kind() {
            self.stats.sent[kind as usize] += 1;
        }
        self.actions.push(Action::Send { link, packet: message.encode() });
    }

    /// Sends the same to all nodes that `is_meant` and that this one is connected to.
    pub(super) fn broadcast(&mut self, message: &Message, is_meant: impl Fn(&Machine, NodeIndex) -> bool) {
        let mut packet = None;
        for index in self.state.indexes().skip(1) {
            let node = self.state.node(index);
            let Some(link) = node.contact.link.filter(|_| node.is_connected && !node.is_in_handshake()) else {
                continue;
            };
            if !is_meant(self, index) {
                continue;
            }
            if let Some(kind) = message.body.kind() {
                self.stats.sent[kind as usize] += 1;
            }
            let packet = packet.get_or_insert_with(|| message.encode()).clone();
            self.actions.push(Action::Send { link, packet });
        }
    }

    /// Tells nodes, without being asked, how things stand here.
    pub(super) fn broadcast_pong(&mut self, is_meant: impl Fn(&Machine, NodeIndex) -> bool) {
        for index in self.state.indexes().skip(1) {
            let node = self.state.node(index);
            if node.is_connected && !node.is_in_handshake() && is_meant(self, index) {
                let gossip = self.gossip_for(index);
                self.send_to(index, Body::Pong(gossip));
            }
        }
    }
}
