//! What an operator, or a client that publishes, wants of this node.

use std::net::IpAddr;

use bytes::Bytes;

use super::super::core_ports::CorePorts;
use super::super::message::{Body, HEADER_BYTES, Message, PACKET_BYTES_MAX};
use super::super::node::{ClusterNode, Epoch, NodeAddress, NodeFlags, NodeIndex};
use super::super::settings::ClusterSettings;
use super::super::state::{EpochRefusal, Reset, SlotOrder};
use super::manual_failover::FailoverKind;
use super::{Action, Machine, Now};
use crate::base::hex::HexId;
use crate::base::slot::{Slot, SlotSet};

/// A node that was forgotten does not come back for so long.
pub(super) const BAN_MS: u64 = 60_000;

/// Why CLUSTER MEET is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeetRefusal {
    /// Not an IP address, or not a port.
    Address,
    /// No more nodes fit.
    Full,
}

/// Why CLUSTER FORGET is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForgetRefusal {
    Unknown,
    Myself,
    MyPrimary,
}

/// Why CLUSTER REPLICATE is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicateRefusal {
    Unknown,
    Myself,
    Replica,
    /// This node is a primary with slots or keys.
    NotEmpty,
}

/// Why CLUSTER FAILOVER is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverRefusal {
    Primary,
    PrimaryUnknown,
    PrimaryDown,
}

/// CLUSTER SETSLOT's forms, with the other node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetSlot {
    Migrating(HexId),
    Importing(HexId),
    Stable,
    Node(HexId),
}

/// Why CLUSTER SETSLOT is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetSlotRefusal {
    Replica,
    NotOwner,
    AlreadyOwner,
    Unknown(HexId),
    TargetIsReplica,
    HasKeys,
    HandingOver,
}

impl Machine {
    /// What is ordered is done once it is on disk, or not at all.
    pub fn begin_order(&mut self) {
        self.keep_copy();
    }

    /// Takes over changed settings.
    pub fn follow_settings(&mut self, settings: &ClusterSettings) {
        if self.state.follow(settings) {
            self.changed();
        }
    }

    /// Takes note of where this node's cores are reached, and which slots they have.
    pub fn note_core_ports(&mut self, ports: Option<CorePorts>) {
        let myself = self.state.myself_mut();
        if myself.core_ports != ports {
            myself.core_ports = ports;
            self.is_unpublished = true;
        }
    }

    /// CLUSTER MEET: asks whoever is at this address to be a member, or to take this node in.
    ///
    /// # Errors
    /// When the address cannot be one.
    pub fn meet(&mut self, now: Now, ip: &str, port: i64, bus_port: i64) -> Result<(), MeetRefusal> {
        let ip: IpAddr = ip.parse().map_err(|_| MeetRefusal::Address)?;
        let is_port = |number: i64| u16::try_from(number).ok().filter(|port| *port != 0).ok_or(MeetRefusal::Address);
        let (port, bus_port) = (is_port(port)?, is_port(bus_port)?);
        let (port, tls_port) = if self.state.settings.tls_cluster { (0, port) } else { (port, 0) };
        let address = NodeAddress { ip: ip.to_string(), port, tls_port, bus_port };
        if self.is_shaking_hands_with(&address) {
            return Ok(());
        }
        let id = HexId::random(&mut self.random);
        let flags = NodeFlags::HANDSHAKE.and(NodeFlags::MEET);
        let mut node = ClusterNode::new(id, HexId::random(&mut self.random), flags);
        node.address = address;
        node.contact.begin(now.ms);
        let index = self.state.add(node).ok_or(MeetRefusal::Full)?;
        self.connect_new(now, index);
        Ok(())
    }

    pub(super) fn is_shaking_hands_with(&self, address: &NodeAddress) -> bool {
        self.state.nodes().iter().any(|node| node.is_in_handshake() && node.address == *address)
    }

    /// CLUSTER FORGET: for a minute nobody brings it back.
    ///
    /// # Errors
    /// When it is not a node that can be forgotten. One that was forgotten already is no error.
    pub fn forget(&mut self, now: Now, id: &HexId) -> Result<(), ForgetRefusal> {
        let Some(index) = self.state.find(id) else {
            return if self.banned.contains_key(id) { Ok(()) } else { Err(ForgetRefusal::Unknown) };
        };
        if index == NodeIndex::MYSELF {
            return Err(ForgetRefusal::Myself);
        }
        if self.state.myself().primary == Some(index) {
            return Err(ForgetRefusal::MyPrimary);
        }
        self.banned.insert(*id, now.ms + BAN_MS);
        self.remove_node(index);
        Ok(())
    }

    /// CLUSTER REPLICATE. `has_keys`: whether this node has any.
    ///
    /// # Errors
    /// When it is no primary, or this node is one that is used.
    pub fn replicate(&mut self, now: Now, id: &HexId, has_keys: bool) -> Result<(), ReplicateRefusal> {
        let index = self.state.find(id).ok_or(ReplicateRefusal::Unknown)?;
        if index == NodeIndex::MYSELF {
            return Err(ReplicateRefusal::Myself);
        }
        if self.state.node(index).is_replica() {
            return Err(ReplicateRefusal::Replica);
        }
        let myself = self.state.myself();
        if myself.is_primary() && (myself.slots_count() > 0 || has_keys) {
            return Err(ReplicateRefusal::NotEmpty);
        }
        self.become_replica_of(now, index);
        Ok(())
    }

    /// CLUSTER FAILOVER.
    ///
    /// # Errors
    /// When this node cannot take over.
    pub fn fail_over(&mut self, now: Now, kind: FailoverKind) -> Result<(), FailoverRefusal> {
        let myself = self.state.myself();
        if myself.is_primary() {
            return Err(FailoverRefusal::Primary);
        }
        let primary = myself.primary.ok_or(FailoverRefusal::PrimaryUnknown)?;
        let leader = self.state.node(primary);
        if kind == FailoverKind::Ordered && (leader.has_failed() || !leader.is_connected) {
            return Err(FailoverRefusal::PrimaryDown);
        }
        self.begin_manual_failover(now, kind);
        Ok(())
    }

    /// CLUSTER ADDSLOTS and DELSLOTS: carries out what `ClusterState::pick` let pass.
    pub fn order_slots(&mut self, order: SlotOrder, picked: &SlotSet) {
        self.state.order(order, picked);
        picked.iter().for_each(|slot| _ = self.unclaimed.remove(slot));
        self.changed();
    }

    /// CLUSTER FLUSHSLOTS.
    pub fn release_own_slots(&mut self) {
        self.state.release_own_slots();
        self.changed();
    }

    /// CLUSTER SETSLOT. `has_keys`: whether this node has keys of the slot.
    ///
    /// # Errors
    /// When it does not fit who has the slot.
    pub fn set_slot(&mut self, now: Now, slot: Slot, form: SetSlot, has_keys: bool) -> Result<(), SetSlotRefusal> {
        if self.state.myself().is_replica() {
            return Err(SetSlotRefusal::Replica);
        }
        let is_mine = self.state.owner(slot) == Some(NodeIndex::MYSELF);
        match form {
            SetSlot::Migrating(_) if !is_mine => return Err(SetSlotRefusal::NotOwner),
            SetSlot::Importing(_) if is_mine => return Err(SetSlotRefusal::AlreadyOwner),
            SetSlot::Migrating(id) | SetSlot::Importing(id) => {
                let partner = self.slot_target(id)?;
                self.open_slot(slot, form, partner);
            }
            SetSlot::Stable => {
                self.state.migrating_to.remove(&slot);
                self.state.importing_from.remove(&slot);
            }
            SetSlot::Node(id) => {
                let target = self.slot_target(id)?;
                if target == NodeIndex::MYSELF
                    && self.state.importing_from.contains_key(&slot)
                    && self.is_handing_over()
                {
                    return Err(SetSlotRefusal::HandingOver);
                }
                if is_mine && target != NodeIndex::MYSELF && has_keys {
                    return Err(SetSlotRefusal::HasKeys);
                }
                self.give_slot(now, slot, target, has_keys);
            }
        }
        self.changed();
        Ok(())
    }

    /// What was said to this replica's primary about a slot. It counts when this node takes over.
    pub fn follow_set_slot(&mut self, slot: Slot, form: SetSlot) {
        if self.state.myself().is_primary() {
            return;
        }
        self.unknown_partners.remove(&slot);
        match form {
            SetSlot::Migrating(id) | SetSlot::Importing(id) => match self.state.find(&id) {
                // Whoever was to get it has claimed it by now: that comes by the bus, and may be faster than the stream.
                Some(partner) if matches!(form, SetSlot::Migrating(_)) && self.state.owner(slot) == Some(partner) => {}
                Some(partner) => self.open_slot(slot, form, partner),
                None => _ = self.unknown_partners.insert(slot, form),
            },
            SetSlot::Stable | SetSlot::Node(_) => {
                self.state.migrating_to.remove(&slot);
                self.state.importing_from.remove(&slot);
            }
        }
        // Whoever was meant may be a replica by now: this comes by the stream, what others claim by the bus.
        if let SetSlot::Node(id) = form
            && let Some(owner) = self.state.find(&id).and_then(|owner| self.state.leader_of(owner))
        {
            self.give_to(slot, owner);
        }
        self.changed();
    }

    /// A replica that has come late may hear of open slots before it has heard of who is at their other end.
    pub(super) fn find_partners(&mut self) {
        let state = &self.state;
        let is_known = |_: &Slot, form: &mut SetSlot| match form {
            SetSlot::Migrating(id) | SetSlot::Importing(id) => state.find(id).is_some(),
            SetSlot::Stable | SetSlot::Node(_) => true,
        };
        let found: Vec<_> = self.unknown_partners.extract_if(.., is_known).collect();
        found.into_iter().for_each(|(slot, form)| self.follow_set_slot(slot, form));
    }

    fn open_slot(&mut self, slot: Slot, form: SetSlot, partner: NodeIndex) {
        let list = match form {
            SetSlot::Importing(_) => &mut self.state.importing_from,
            _ => &mut self.state.migrating_to,
        };
        list.insert(slot, partner);
    }

    /// This replica will hear anew which of its primary's slots are open.
    pub fn forget_followed_slots(&mut self) {
        if !self.state.myself().is_primary() {
            self.unknown_partners.clear();
            self.state.migrating_to.clear();
            self.state.importing_from.clear();
            self.changed();
        }
    }

    /// The node that this one should copy, if it is a replica.
    pub fn primary_id(&self) -> Option<HexId> {
        self.state.myself().primary.map(|primary| self.state.node(primary).id)
    }

    /// The slots that are open here, as they were ordered to be.
    pub fn open_slots(&self) -> Vec<(Slot, SetSlot)> {
        let id = |index: &NodeIndex| self.state.node(*index).id;
        let migrating = self.state.migrating_to.iter().map(|(slot, to)| (*slot, SetSlot::Migrating(id(to))));
        let importing = self.state.importing_from.iter().map(|(slot, from)| (*slot, SetSlot::Importing(id(from))));
        migrating.chain(importing).collect()
    }

    fn slot_target(&self, id: HexId) -> Result<NodeIndex, SetSlotRefusal> {
        let index = self.state.find(&id).ok_or(SetSlotRefusal::Unknown(id))?;
        if self.state.node(index).is_replica() { Err(SetSlotRefusal::TargetIsReplica) } else { Ok(index) }
    }

    fn give_slot(&mut self, now: Now, slot: Slot, target: NodeIndex, has_keys: bool) {
        let was_mine = self.state.owner(slot) == Some(NodeIndex::MYSELF);
        if !has_keys {
            self.state.migrating_to.remove(&slot);
        }
        self.give_to(slot, target);
        let has_none_left = self.state.myself().slots_count() == 0;
        if was_mine && target != NodeIndex::MYSELF && has_none_left && self.state.settings.allow_replica_migration {
            let node = self.state.node(target);
            tracing::info!(
                "Configuration change detected. Reconfiguring myself as a replica of {} ({})",
                node.id,
                node.human_name
            );
            self.become_replica_of(now, target);
        }
        if target == NodeIndex::MYSELF
            && let Some(source) = self.state.importing_from.remove(&slot)
        {
            self.note_taken(now, slot, source);
            // The slot has come by hand: a new epoch makes this node's claim the right one. Whoever has its vote may claim with that epoch.
            let has_voted = self.state.last_vote_epoch >= self.state.myself().config_epoch;
            if has_voted {
                self.claim_beyond(Epoch(0));
            } else if self.bump_epoch() {
                tracing::info!("configEpoch updated after importing slot {slot}");
            }
            self.has_news = true;
        }
    }

    /// CLUSTER BUMPEPOCH. True when this node has a new epoch.
    pub fn bump_epoch(&mut self) -> bool {
        self.keep_copy();
        let bumped = self.state.bump_epoch();
        if bumped {
            self.changed();
        }
        bumped
    }

    /// CLUSTER SET-CONFIG-EPOCH.
    ///
    /// # Errors
    /// When this node is not new.
    pub fn set_config_epoch(&mut self, epoch: Epoch) -> Result<(), EpochRefusal> {
        self.state.set_config_epoch(epoch)?;
        self.changed();
        Ok(())
    }

    /// CLUSTER RESET: forgets all; what a replica had copied goes, too.
    pub fn reset(&mut self, now: Now, reset: Reset) {
        let was_replica = self.state.myself().is_replica();
        for index in self.state.indexes().skip(1).rev() {
            self.remove_node(index);
        }
        let inbound: Vec<super::LinkId> = self.links.keys().copied().collect();
        inbound.into_iter().for_each(|link| self.close(link));
        self.end_manual_failover();
        self.forget_election(now);
        self.banned.clear();
        self.unclaimed.clear();
        self.lost_slots = None;
        self.taken.clear();
        self.state.reset(reset);
        if was_replica {
            self.actions.push(Action::DropKeys(Box::new(SlotSet::full())));
        }
        self.changed();
    }

    /// DEBUG CLUSTERLINK KILL: closes the connection that this node has opened to another, the one that it has opened to this node, or
    /// both. False for a node that is not known.
    pub fn kill_links(&mut self, id: &HexId, to: bool, from: bool) -> bool {
        let Some(index) = self.state.find(id) else { return false };
        let contact = &self.state.node(index).contact;
        let links = [contact.link.filter(|_| to), contact.inbound.filter(|_| from)];
        links.into_iter().flatten().for_each(|link| self.close(link));
        true
    }

    /// DEBUG DROP-CLUSTER-PACKET-FILTER: packets of this kind are passed over from now on.
    pub fn ignore_kind(&mut self, kind: Option<u16>) {
        self.ignored_kind = kind;
    }

    pub(super) fn ignores(&self, body: &Body) -> bool {
        self.ignored_kind.is_some() && body.kind().map(|kind| kind as u16) == self.ignored_kind
    }

    /// A client has published: the other nodes' subscribers are to hear it; of a sharded message, those of this shard.
    pub fn publish(&mut self, channel: Bytes, message: Bytes, is_sharded: bool) {
        if HEADER_BYTES + channel.len() + message.len() > PACKET_BYTES_MAX {
            tracing::warn!("A message of {} bytes is too long for the cluster bus", message.len());
            return;
        }
        let header = self.header();
        let shard = self.state.myself().shard;
        match is_sharded {
            false => self.broadcast(&Message { header, body: Body::Publish { channel, message } }, |_, _| true),
            true => self
                .broadcast(&Message { header, body: Body::PublishShard { channel, message } }, |machine, index| {
                    machine.state.node(index).shard == shard
                }),
        }
    }
}
