//! What pings tell of other nodes, and what this node makes of what it is told.

use super::super::message::{Extensions, Gossip, GossipNode, Header};
use super::super::node::{ClusterNode, NodeAddress, NodeFlags, NodeIndex};
use super::{Machine, Now};
use crate::base::hex::HexId;

/// A ping names a tenth of the nodes, so many at least: a node that one finds silent is named often enough for a majority to have
/// heard of it within the time that such reports count.
const NAMED_SHARE: usize = 10;
const NAMED_MIN: usize = 3;
/// Draws per node that is to be named: most are, however many are not fit to be.
const DRAWS_PER_NAME: usize = 3;
/// More bans than this in one ping would make it long; the others were told of the rest by whoever was ordered.
const BANS_TOLD_MAX: usize = 1024;
/// A pong's time that somebody gossips may be this far ahead of this node's clock.
const CLOCKS_DIFFER_MAX_MS: i64 = 500;

impl Machine {
    /// What a ping to this node says besides its header.
    pub(super) fn gossip_for(&mut self, to: NodeIndex) -> Gossip {
        let extensions = self.extensions_for(to);
        Gossip { nodes: self.gossip_nodes(Some(to)), extensions }
    }

    /// The answer to somebody of whom nothing is known.
    pub(super) fn gossip_for_stranger(&mut self) -> Gossip {
        let hostname = self.state.myself().hostname.clone();
        let extensions = Extensions { are_known: !hostname.is_empty(), hostname, ..Extensions::default() };
        Gossip { nodes: self.gossip_nodes(None), extensions }
    }

    /// Some nodes at random, and every one that does not answer this node.
    fn gossip_nodes(&mut self, to: Option<NodeIndex>) -> Vec<GossipNode> {
        self.pings += 1;
        let count = self.state.nodes().len();
        let others = count.saturating_sub(2);
        let wanted = (count / NAMED_SHARE).max(NAMED_MIN).min(others);
        let mut named = Vec::with_capacity(wanted);
        for _ in 0..wanted * DRAWS_PER_NAME {
            if named.len() == wanted {
                break;
            }
            let index = NodeIndex(self.random.below(count as u64) as u16);
            let node = self.state.node_mut(index);
            let is_passed_over = index == NodeIndex::MYSELF
                || Some(index) == to
                || node.contact.gossiped_in == self.pings
                || node.flags.has_any(NodeFlags::PFAIL.and(NodeFlags::HANDSHAKE).and(NodeFlags::NO_ADDRESS))
                || node.contact.link.is_none() && node.slots_count() == 0;
            if !is_passed_over {
                node.contact.gossiped_in = self.pings;
                named.push(index);
            }
        }
        let is_suspected = |index: &NodeIndex| {
            let flags = self.state.node(*index).flags;
            flags.has(NodeFlags::PFAIL) && !flags.has_any(NodeFlags::HANDSHAKE.and(NodeFlags::NO_ADDRESS))
        };
        let suspected: Vec<NodeIndex> = self.state.indexes().skip(1).filter(is_suspected).collect();
        // The bus counts them in 16 bits, as this node counts nodes.
        named.into_iter().chain(suspected).map(|index| self.gossip_about(self.state.node(index))).collect()
    }

    fn gossip_about(&self, node: &ClusterNode) -> GossipNode {
        let seconds = |at: crate::base::clock::UnixMillis| u32::try_from(at.seconds()).unwrap_or(0);
        let address = &node.address;
        let (mut port, mut other_port) = (address.port, address.tls_port);
        if self.state.settings.tls_cluster {
            std::mem::swap(&mut port, &mut other_port);
        }
        GossipNode {
            id: node.id,
            ping_sent_s: seconds(node.ping_sent),
            pong_received_s: seconds(node.pong_received),
            ip: address.ip.clone(),
            port,
            other_port,
            bus_port: address.bus_port,
            flags: node.flags,
        }
    }

    /// What a peer of an older version does not know it logs for each packet, so it is not sent that.
    fn extensions_for(&self, to: NodeIndex) -> Extensions {
        let myself = self.state.myself();
        let contact = &self.state.node(to).contact;
        let hostname = myself.hostname.clone();
        if !contact.takes_extensions {
            return Extensions { are_known: !hostname.is_empty(), hostname, ..Extensions::default() };
        }
        let left_s = |until_ms: u64| until_ms.saturating_sub(self.ticked_ms).div_ceil(1000);
        Extensions {
            are_known: true,
            hostname,
            human_name: myself.human_name.clone(),
            forgotten: self.banned.iter().take(BANS_TOLD_MAX).map(|(id, until_ms)| (*id, left_s(*until_ms))).collect(),
            shard: Some(myself.shard),
            core_ports: myself.core_ports.clone().filter(|_| contact.is_kin),
        }
    }

    /// Takes note of what a ping tells of other nodes. `sender` is `None` for a node that introduces itself: it may tell of nodes
    /// that are known, but not bring new ones.
    pub(super) fn hear_gossip(&mut self, now: Now, sender: Option<NodeIndex>, nodes: &[GossipNode]) {
        for told in nodes {
            match self.state.find(&told.id) {
                Some(index) => self.hear_of_known(now, sender, index, told),
                None => self.hear_of_new(now, sender, told),
            }
        }
    }

    fn hear_of_known(&mut self, now: Now, sender: Option<NodeIndex>, index: NodeIndex, told: &GossipNode) {
        if index == NodeIndex::MYSELF {
            return;
        }
        let is_bad = told.flags.has_any(NodeFlags::FAIL.and(NodeFlags::PFAIL));
        if let Some(sender) = sender.filter(|sender| self.state.node(*sender).is_primary()) {
            self.note_report(now, index, sender, is_bad);
        }
        let validity_ms = self.report_validity_ms();
        let node = self.state.node_mut(index);
        if !is_bad && node.contact.ping_sent_ms.is_none() && node.reports_count(now.ms, validity_ms) == 0 {
            // Another has heard it more lately than this node has, which need not ask so soon then.
            let heard_unix = i64::from(told.pong_received_s) * 1000;
            let ago_ms = now.unix.get() - heard_unix;
            if heard_unix > node.pong_received.get() && ago_ms >= -CLOCKS_DIFFER_MAX_MS {
                node.pong_received.0 = heard_unix;
                node.contact.pong_ms = node.contact.pong_ms.max(now.ms.saturating_sub(ago_ms.max(0) as u64));
            }
        }
        let address = self.address_told(told);
        let node = self.state.node(index);
        if node.is_unreachable() && !is_bad && !told.flags.has(NodeFlags::NO_ADDRESS) && node.address != address {
            // The sender reaches it, elsewhere.
            if let Some(link) = node.contact.link {
                self.close(link);
            }
            let node = self.state.node_mut(index);
            node.address = address;
            node.flags = node.flags.without(NodeFlags::NO_ADDRESS);
            self.changed();
        }
    }

    /// A node that a member tells of is a member, unless this node was told to forget it.
    fn hear_of_new(&mut self, now: Now, sender: Option<NodeIndex>, told: &GossipNode) {
        let is_usable = !told.flags.has_any(NodeFlags::NO_ADDRESS.and(NodeFlags::HANDSHAKE)) && !told.ip.is_empty();
        if sender.is_none() || !is_usable || self.banned.contains_key(&told.id) {
            return;
        }
        let role = NodeFlags(told.flags.0 & NodeFlags::PRIMARY.and(NodeFlags::REPLICA).0);
        // What else it is this node finds out by itself. Its shard it will say itself, if it knows shards.
        let mut node = ClusterNode::new(told.id, HexId::random(&mut self.random), role);
        node.address = self.address_told(told);
        node.contact.begin(now.ms);
        if self.state.add(node).is_some() {
            self.changed();
        }
    }

    fn address_told(&self, told: &GossipNode) -> NodeAddress {
        let (mut port, mut tls_port) = (told.port, told.other_port);
        if self.state.settings.tls_cluster {
            std::mem::swap(&mut port, &mut tls_port);
        }
        NodeAddress { ip: told.ip.clone(), port, tls_port, bus_port: told.bus_port }
    }

    /// Where the sender of a packet is to be reached: where it says, or where the packet came from.
    pub(super) fn address_of(&self, header: &Header, peer_ip: &str) -> NodeAddress {
        let (mut port, mut tls_port) = (header.port, header.other_port);
        if self.state.settings.tls_cluster {
            std::mem::swap(&mut port, &mut tls_port);
        }
        let ip = if header.ip.is_empty() { peer_ip } else { &header.ip };
        NodeAddress { ip: ip.to_owned(), port, tls_port, bus_port: header.bus_port }
    }

    /// What the sender says of itself beyond the header, and whom it was told to forget.
    pub(super) fn hear_extensions(&mut self, now: Now, sender: NodeIndex, extensions: &Extensions) {
        // A replica that has just come may not have heard yet in which shard its primary is, and made one up.
        let leader = self.state.leader_of(sender).filter(|leader| *leader != sender);
        let shard = leader.map(|leader| self.state.node(leader).shard).or(extensions.shard);
        let node = self.state.node_mut(sender);
        node.contact.takes_extensions = node.contact.is_kin || extensions.shard.is_some();
        let is_new = node.hostname != extensions.hostname || node.human_name != extensions.human_name;
        if is_new {
            node.hostname.clone_from(&extensions.hostname);
            node.human_name.clone_from(&extensions.human_name);
            self.changed();
        }
        let node = self.state.node_mut(sender);
        // Who does not know yet that this node is of its kind, as after a start, says neither that it has core ports nor that it has
        // none: its shard it tells along with them.
        let says_all = !node.contact.is_kin || extensions.shard.is_some();
        if says_all && node.core_ports != extensions.core_ports {
            node.core_ports.clone_from(&extensions.core_ports);
            self.is_unpublished = true;
        }
        if let Some(shard) = shard {
            self.set_shard(sender, shard);
        }
        for (id, seconds) in &extensions.forgotten {
            let Some(index) = self.state.find(id) else { continue };
            let is_needed = index == NodeIndex::MYSELF || self.state.myself().primary == Some(index);
            if !is_needed {
                let ban_ms = seconds.saturating_mul(1000).min(super::orders::BAN_MS);
                self.banned.insert(*id, now.ms + ban_ms);
                self.remove_node(index);
            }
        }
    }

    /// Says in which shard a node is. A primary's replicas are where it is.
    pub(super) fn set_shard(&mut self, index: NodeIndex, shard: HexId) {
        if self.state.node(index).shard == shard {
            return;
        }
        self.state.node_mut(index).shard = shard;
        let replicas: Vec<_> = self.state.replicas_of(index).collect();
        replicas.into_iter().for_each(|replica| self.state.node_mut(replica).shard = shard);
        self.changed();
    }
}
