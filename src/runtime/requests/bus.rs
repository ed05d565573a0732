//! The cluster bus as requests meet it (core 0): what comes over links becomes steps of the state machine, and what that decides is
//! carried out.
//!
//! ```text
//! a link is readable   `bus_readable`: its messages, as many as one read has, are one step; nodes.conf is saved by then if it must be
//! 100 ms have passed   `bus_tick`
//! a client publishes   `broadcast`, on core 0: with all others of this turn, one step in `attend_bus`
//! a client orders      `command::cluster` makes the step itself and leaves its actions as `Effect::Cluster`
//!                      -> `take_step`: the view for every core, then `act_for_cluster`, the actions in their order
//! ```
//!
//! Before each step the machine hears how far this node's data are. Links that break while actions are carried out are reported in
//! a step of their own, at the end of the turn. The bus opens when the node has its data: one that loads them is not believed alive
//! before it can serve, and until then the kernel keeps those who connect.

use std::time::Duration;

use bytes::Bytes;

use super::Requests;
use crate::base::core_id::CoreId;
use crate::base::slot::SlotSet;
use crate::cluster::machine::{Action, Ends, LinkId, Machine, Now, standstill_ms};
use crate::cluster::message::{Damage, Message};
use crate::command::core::Publication;
use crate::command::{flush, pubsub};
use crate::runtime::bus::{Bus, Flow, RingOrder};
use crate::runtime::mesh::Message as ToCore;

/// The cluster's periodic work is done so often, whatever `hz` is.
const TICK_MS: u64 = 100;
/// A link that was lost sooner than this after it was opened is reported with the next tick: somebody who lets this node in and throws
/// it out at once would otherwise keep it busy with connecting.
const STABLE_MS: u64 = 100;
/// So many connections that others have opened are kept beside two for each known node.
const STRANGERS_MAX: usize = 128;

/// Core 0's part of the bus.
pub struct OnBus {
    bus: Bus,
    /// Other nodes are let in, and the clock ticks.
    is_open: bool,
    /// What clients have published in this turn: channel, message, whether it is sharded.
    published: Vec<(Bytes, Bytes, bool)>,
    /// Links that are broken and have not been reported; the second with the next tick.
    lost: Vec<LinkId>,
    lost_at_once: Vec<LinkId>,
    /// Reused by every read.
    messages: Vec<Result<Message, Damage>>,
}

impl OnBus {
    pub fn new(bus: Bus) -> OnBus {
        let (published, lost, lost_at_once, messages) = Default::default();
        OnBus { bus, is_open: false, published, lost, lost_at_once, messages }
    }
}

impl Requests {
    /// What the ring is to do for the bus.
    pub fn bus_orders(&mut self) -> Vec<RingOrder> {
        self.on_bus.as_mut().map_or(Vec::new(), |on_bus| std::mem::take(&mut on_bus.bus.orders))
    }

    /// How many connections the bus has.
    pub fn bus_links_count(&self) -> u32 {
        self.on_bus.as_ref().map_or(0, |on_bus| on_bus.bus.links_count())
    }

    /// Lets the state machine take note of an event, and does what it decides.
    pub(super) fn cluster_step<T>(&mut self, event: impl FnOnce(&mut Machine, Now) -> T) -> Option<T> {
        let clock = self.core.clock;
        self.tell_cluster_of_data();
        let cluster = self.core.node.as_mut()?.cluster.as_deref_mut()?;
        let (outcome, step) = cluster.step(&clock, event);
        self.take_step(step);
        Some(outcome)
    }

    /// The beginning of a turn: a core that stood still (SIGSTOP, a machine without CPUs for it) for longer than the node timeout has
    /// requests before it that were sent in the meantime, for slots that may be another node's by now.
    #[inline]
    pub fn look_for_standstill(&mut self) {
        let core = &self.core;
        if !core.cluster.enabled || self.ticked_ms == 0 {
            return;
        }
        let between_ms = 1000 / u64::from(core.config.hz.clamp(1, 500));
        let late_ms = (core.clock.monotonic_us() / 1000).saturating_sub(self.ticked_ms);
        if late_ms > standstill_ms(core.config.cluster_node_timeout).max(between_ms * 2) {
            self.stood_still();
        }
    }

    #[cold]
    fn stood_still(&mut self) {
        self.ticked_ms = self.core.clock.monotonic_us() / 1000;
        if self.core.id == CoreId::FIRST {
            self.cluster_step(Machine::notice_standstill);
        } else if !self.core.cluster.is_alone() {
            // Core 0 has judged by now, or will when it wakes, and says what holds.
            self.core.cluster.ok = false;
            self.mesh.send(CoreId::FIRST, ToCore::StoodStill);
        }
    }

    /// Gives every core the view once more.
    pub(super) fn publish_cluster(&mut self) {
        let Some(cluster) = self.core.node.as_mut().and_then(|node| node.cluster.as_deref_mut()) else { return };
        let view = cluster.publish();
        self.publish(vec![Publication::Cluster(Box::new(view))], None);
    }

    /// The end of a turn: what has gathered becomes a step. True when there was anything.
    pub fn attend_bus(&mut self) -> bool {
        let Some(on_bus) = &mut self.on_bus else { return false };
        if !on_bus.is_open {
            return self.open_bus_if_loaded();
        }
        let (published, lost) = (std::mem::take(&mut on_bus.published), std::mem::take(&mut on_bus.lost));
        let is_replica = self.core.node().replication.upstream.is_some();
        let is_reached = is_replica && self.tell_cluster_of_data();
        if published.is_empty() && lost.is_empty() && !is_reached {
            return false;
        }
        lost.iter().for_each(|link| self.close_link(*link));
        // With no event at all the step still goes on with a failover that has waited for the offset.
        self.cluster_step(|machine, now| {
            lost.into_iter().for_each(|link| machine.link_down(now, link));
            for (channel, message, is_sharded) in published {
                machine.publish(channel, message, is_sharded);
            }
        });
        self.carry_out_effects();
        true
    }

    fn open_bus_if_loaded(&mut self) -> bool {
        if self.core.disk.loading || self.underway.is_some() {
            return false;
        }
        let Some(on_bus) = &mut self.on_bus else { return false };
        on_bus.is_open = true;
        on_bus.bus.accept_from_now_on();
        self.bus_tick();
        true
    }

    pub fn has_bus_work(&self) -> bool {
        self.on_bus.as_ref().is_some_and(|bus| bus.is_open && (!bus.published.is_empty() || !bus.lost.is_empty()))
    }

    /// The cluster's periodic work.
    pub fn bus_tick(&mut self) {
        let Some(on_bus) = &mut self.on_bus else { return };
        on_bus.bus.orders.push(RingOrder::Tick(Duration::from_millis(TICK_MS)));
        if self.core.paused_tick {
            return;
        }
        on_bus.bus.retry_accepts();
        on_bus.lost.append(&mut on_bus.lost_at_once);
        self.close_overrun_links();
        self.release_writes_if_late();
        self.tell_cluster_of_data();
        let clock = self.core.clock;
        self.core.tell_cluster_of_core_ports();
        if let Some(step) = self.core.node().tick(&clock) {
            self.take_step(step);
        }
        self.carry_out_effects();
    }

    /// cluster-link-sendbuf-limit.
    fn close_overrun_links(&mut self) {
        let limit_bytes = self.core.config.cluster_link_sendbuf_limit;
        let Some(on_bus) = &self.on_bus else { return };
        if limit_bytes == 0 {
            return;
        }
        let links = on_bus.bus.longer_than(limit_bytes);
        if links.is_empty() {
            return;
        }
        self.cluster_step(|machine, _| {
            for (id, bytes) in links {
                let link = machine.link(id);
                let node = link.and_then(|link| link.node).map(|node| machine.state().node(node).id.to_string());
                tracing::warn!(
                    "Freeing outbound cluster link to node {} since its send buffer of {bytes} bytes exceeds the limit of \
                     {limit_bytes} bytes",
                    node.unwrap_or_default()
                );
                machine.link_overran(id);
            }
        });
    }

    // ---- links -----------------------------------------------------------------------------------------------------

    /// Other nodes want to be let in.
    pub fn bus_accepts(&mut self, listener: u32) {
        let Some(on_bus) = &mut self.on_bus else { return };
        let accepted = on_bus.bus.accept(listener as usize, &self.core.config);
        for stream in accepted {
            // One that has no addresses any more is gone.
            let Ok(ends) = Bus::ends(&stream) else { continue };
            self.make_room_for_link();
            let Some(id) = self.cluster_step(|machine, now| machine.accepted(now, ends)) else { return };
            if let Some(on_bus) = &mut self.on_bus {
                on_bus.bus.adopt(id, stream);
            }
            self.note_link(id);
        }
    }

    /// Whoever is known has its place; of those who have not said who they are, the one that came first goes for a new one.
    fn make_room_for_link(&mut self) {
        let Some(cluster) = self.core.node.as_ref().and_then(|node| node.cluster.as_deref()) else { return };
        let machine = cluster.machine();
        let inbound = || machine.links().filter(|(_, link)| link.is_inbound);
        if inbound().count() < 2 * machine.state().nodes().len() + STRANGERS_MAX {
            return;
        }
        let oldest = inbound().filter(|(_, link)| link.node.is_none()).map(|(id, _)| id).min();
        if let Some(id) = oldest {
            self.close_link(id);
            self.cluster_step(|machine, now| machine.link_down(now, id));
        }
    }

    /// A link can be read from, or is broken.
    pub fn bus_readable(&mut self, number: u32) {
        let Some((id, is_known)) = self.find_link(number) else { return };
        let Some(on_bus) = &mut self.on_bus else { return };
        let mut messages = std::mem::take(&mut on_bus.messages);
        let flow = on_bus.bus.receive(id, is_known, &mut messages);
        if !messages.is_empty() {
            self.cluster_step(|machine, now| messages.drain(..).for_each(|message| hear(machine, now, id, message)));
        }
        if let Some(on_bus) = &mut self.on_bus {
            on_bus.messages = messages;
        }
        match flow {
            Flow::GoesOn => self.note_link(id),
            Flow::Ended => self.link_is_lost(id),
        }
        self.carry_out_effects();
    }

    /// A link can be written to, or has come to be, or not.
    pub fn bus_writable(&mut self, number: u32) {
        let Some((id, _)) = self.find_link(number) else { return };
        let Some(on_bus) = &mut self.on_bus else { return };
        match on_bus.bus.writable(id) {
            None => {}
            Some(Ok(ends)) => _ = self.cluster_step(|machine, now| machine.link_up(now, id, ends)),
            Some(Err(error)) => {
                tracing::debug!("Connecting to a node's cluster bus: {error}");
                self.link_is_lost(id);
            }
        }
    }

    /// The link that has this number in the ring, and whether somebody known is at its other end.
    fn find_link(&self, number: u32) -> Option<(LinkId, bool)> {
        let id = self.on_bus.as_ref()?.bus.find(number)?;
        let machine = self.core.node.as_ref()?.cluster.as_deref()?.machine();
        machine.link(id).map(|link| (id, link.node.is_some()))
    }

    /// A connection is broken: it is reported at the end of the turn, or with the next tick.
    fn link_is_lost(&mut self, id: LinkId) {
        let now_ms = self.core.clock.monotonic_us() / 1000;
        let Some(cluster) = self.core.node.as_ref().and_then(|node| node.cluster.as_deref()) else { return };
        let Some(link) = cluster.machine().link(id) else { return };
        let is_young = link.is_up && !link.is_inbound && now_ms.saturating_sub(link.created_ms) < STABLE_MS;
        let Some(on_bus) = &mut self.on_bus else { return };
        on_bus.bus.mark_broken(id);
        if is_young { on_bus.lost_at_once.push(id) } else { on_bus.lost.push(id) }
    }

    fn close_link(&mut self, id: LinkId) {
        if let Some(on_bus) = &mut self.on_bus {
            on_bus.bus.close(id);
        }
        self.core.node().links.remove(&id);
    }

    /// Brings what INFO tells up to date.
    fn note_link(&mut self, id: LinkId) {
        let Some(buffers) = self.on_bus.as_ref().and_then(|on_bus| on_bus.bus.buffers(id)) else { return };
        self.core.node().links.insert(id, buffers);
    }

    /// Sends what links have gathered in this turn, once nodes.conf has what was ordered in it. Replies leave later: with the ring's next
    /// enter, and with the mesh.
    #[inline]
    pub fn flush_bus(&mut self) {
        let Some(on_bus) = &mut self.on_bus else { return };
        if let Some(cluster) = self.core.node.as_mut().and_then(|node| node.cluster.as_deref_mut()) {
            cluster.write_noted(&self.core.clock);
        }
        if on_bus.bus.has_output() {
            let Some(node) = &mut self.core.node else { return };
            let broken = on_bus.bus.flush(|id, buffers| _ = node.links.insert(id, buffers));
            broken.into_iter().for_each(|id| self.link_is_lost(id));
        }
    }

    // ---- actions ---------------------------------------------------------------------------------------------------

    /// Carries out what the state machine has decided.
    pub(super) fn act_for_cluster(&mut self, actions: Vec<Action>) {
        let mut dropped = None;
        for action in actions {
            match action {
                Action::Connect { link, ip, port } => self.connect_link(link, &ip, port),
                Action::Close(link) => self.close_link(link),
                Action::Send { link, packet } => {
                    if let Some(on_bus) = &mut self.on_bus {
                        on_bus.bus.send(link, packet);
                    }
                }
                Action::Follow { ip, port } => self.follow_in_cluster(ip, port),
                Action::Lead => self.lead_in_cluster(),
                Action::HoldWrites { for_ms } => self.hold_writes_for_cluster(for_ms),
                Action::ReleaseWrites => self.release_writes_for_cluster(),
                Action::DropKeys(slots) => dropped = Some(slots),
                Action::TellOpenSlots => self.tell_open_slots(),
                Action::Publish { channel, message, is_sharded: false } => {
                    pubsub::publish(&mut self.core, &channel, &message);
                }
                Action::Publish { channel, message, is_sharded: true } => {
                    pubsub::publish_in_shard(&mut self.core, &channel, &message);
                }
            }
        }
        // In the role that the node has by then: a primary tells its replicas.
        if let Some(slots) = dropped {
            let others: Vec<_> = self.mesh.others().collect();
            others.into_iter().for_each(|core| self.mesh.send(core, ToCore::DropSlots(slots.clone())));
            self.drop_slots(&slots);
        }
    }

    fn connect_link(&mut self, id: LinkId, ip: &str, port: u16) {
        let Some(on_bus) = &mut self.on_bus else { return };
        if let Err(error) = on_bus.bus.connect(id, ip, port, &self.core.config) {
            tracing::debug!("Unable to connect to Cluster Node [{ip}]:{port} -> {error}");
            on_bus.lost.push(id);
        }
    }

    /// This core's keys of slots that have gone to another node.
    pub(super) fn drop_slots(&mut self, slots: &SlotSet) {
        self.drop_on_arrival(slots);
        flush::drop_slots(&mut self.core, slots);
        self.carry_out_effects();
    }

    /// A client of any core has published (core 0).
    pub(super) fn broadcast(&mut self, channel: Bytes, message: Bytes, is_sharded: bool) {
        let cluster = self.core.node.as_ref().and_then(|node| node.cluster.as_deref());
        let has_others = cluster.is_some_and(|cluster| cluster.state().nodes().len() > 1);
        if let Some(on_bus) = self.on_bus.as_mut().filter(|on_bus| has_others && on_bus.is_open) {
            on_bus.published.push((channel, message, is_sharded));
        }
    }
}

/// A message has come over a link, or something that is none.
fn hear(machine: &mut Machine, now: Now, id: LinkId, message: Result<Message, Damage>) {
    match message {
        Ok(message) => machine.received(now, id, message),
        Err(damage) => {
            let is_lost = matches!(damage, Damage::Signature | Damage::Length);
            let ends = machine.link(id).map_or_else(Ends::default, |link| link.ends.clone());
            tracing::debug!("A packet on the cluster bus from {} is damaged: {damage}", ends.peer_ip);
            machine.link_damaged(id, is_lost);
        }
    }
}
