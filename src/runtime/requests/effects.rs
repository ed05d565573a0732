//! What handlers leave behind to be done beyond their core's data.

use bytes::Bytes;

use super::Requests;
use crate::base::core_id::CoreId;
use crate::command::blocking;
use crate::command::client::ClientRef;
use crate::command::core::Effect;
use crate::command::pubsub::Delivery;
use crate::command::slowlog::SlowEntry;
use crate::command::tracking::{self, Told};
use crate::resp::RespVersion;
use crate::runtime::batch::ReplyTarget;
use crate::runtime::mesh::Message;
use crate::runtime::persistence::append_only::Order;

impl Requests {
    /// Carries out what handlers have asked for.
    pub(super) fn carry_out_effects(&mut self) {
        while !self.core.effects.is_empty() || self.core.blocked.has_ready() {
            if self.core.blocked.has_ready() {
                blocking::serve(&mut self.core);
            }
            for effect in std::mem::take(&mut self.core.effects) {
                self.carry_out(effect);
            }
        }
    }

    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Push { to, bytes } if to.core == self.core.id => self.push(to, &bytes),
            Effect::Push { to, bytes } => self.mesh.send(to.core, Message::Push { to, bytes }),
            Effect::Overran(client) if client.core == self.core.id => self.overran(client),
            Effect::Overran(client) => self.mesh.send(client.core, Message::Overran(client)),
            Effect::Deliver { to, delivery } => self.deliver_to_all(&to, &delivery),
            Effect::Answer { to, sequence, reply, recorded } => {
                let target = ReplyTarget { client: to, sequence };
                if recorded && self.holds_replies() {
                    self.hold_reply(self.core.journal.position(), target, reply);
                } else {
                    self.answer(target, reply);
                }
            }
            Effect::Unwatch { client, cores } => self.unwatch(client.id, &cores),
            Effect::Untrack { client, prefixes } => {
                self.core.untrack(client, &prefixes);
                let others: Vec<CoreId> = self.mesh.others().collect();
                for core in others {
                    self.mesh.send(core, Message::Untrack { client, prefixes: prefixes.clone() });
                }
            }
            Effect::Left(client) => self.client_left(client),
            Effect::MonitorLine { to, line } if to.core == self.core.id => self.monitor_line(to, &line),
            Effect::MonitorLine { to, line } => self.mesh.send(to.core, Message::MonitorLine { to, line }),
            Effect::MonitorLeft(client) => self.monitor_left(client),
            Effect::Script { digest, code } => {
                self.send_to_others(|| Message::Script { digest: digest.clone(), code: code.clone() });
            }
            Effect::Close { index, reason } => self.close(index, reason),
            Effect::Slow { client, entry } if client.core == self.core.id => self.slow(client, *entry),
            Effect::Slow { client, entry } => self.mesh.send(client.core, Message::Slow { client, entry }),
            Effect::PauseChanged => self.pause_changed = true, // looked at when the turn settles
            Effect::Shutdown(options) => self.shut_down(options, None),
            Effect::CallShutdownOff => {
                tracing::info!("Shutdown manually aborted.");
                self.call_shutdown_off();
            }
            Effect::Save(purpose) => self.begin_save(purpose, None),
            Effect::Reload(_) => unreachable!("taken up where its reply is held back"),
            Effect::FreeMemory(core) => self.mesh.send(core, Message::FreeMemory),
            Effect::Flushed => self.core_flushed(),
            Effect::Rewrite => self.begin_rewrite(),
            Effect::Sync { .. } => unreachable!("taken up where the client's connection is at hand"),
            Effect::ReplicaAcked { client, has_snapshot } => self.replica_acked(client, has_snapshot),
            Effect::AskReplicas(question) => self.ask_replicas(question),
            Effect::HandOver => self.begin_hand_over(),
            Effect::CallFailoverOff => self.call_hand_over_off("Failover manually aborted"),
            Effect::ForReplicas(bytes) => self.feed_beside(bytes),
            Effect::AwaitDurable(client) => self.await_durable(client),
            Effect::DiskFault(fault) => self.durability.orders.push(Order::Fault(fault)),
            Effect::PurgeMemory => crate::runtime::allocator::purge(),
            Effect::Follow(order) => self.follow(order),
            Effect::Cluster(actions) => self.act_for_cluster(actions),
            Effect::Migration(order) => self.carry_migration_out(order),
            Effect::Relocate { slots, to } => self.hand_over(slots, to),
            Effect::Broadcast { channel, message, is_sharded } if self.core.id == CoreId::FIRST => {
                self.broadcast(channel, message, is_sharded);
            }
            Effect::Broadcast { channel, message, is_sharded } => {
                self.mesh.send(CoreId::FIRST, Message::Broadcast { channel, message, is_sharded });
            }
            Effect::Publish(publication) => self.publish(vec![publication], None),
        }
    }

    pub(super) fn push(&mut self, to: ClientRef, bytes: &Bytes) {
        if self.core.own_client(to).is_none_or(|client| client.closing.is_some()) {
            return;
        }
        let Some(connection) = self.connection(to.index) else {
            // Its input is being run: it gets them once that is done.
            self.late_pushes.push((to.index, bytes.clone()));
            return;
        };
        connection.push_shared(bytes);
        if !connection.is_dirty && !connection.output.is_empty() {
            connection.is_dirty = true;
            self.dirty.push(to.index);
        }
    }

    /// A message for clients of this core and of others.
    fn deliver_to_all(&mut self, to: &[ClientRef], delivery: &Delivery) {
        let others: Vec<CoreId> = self.mesh.others().collect();
        for core in others {
            let theirs: Vec<ClientRef> = to.iter().filter(|client| client.core == core).copied().collect();
            if !theirs.is_empty() {
                self.mesh.send(core, Message::Deliver { to: theirs, delivery: delivery.clone() });
            }
        }
        self.deliver_here(to, delivery);
    }

    /// A message for those of the clients that are on this core. It is written once for each version of the protocol.
    pub(super) fn deliver_here(&mut self, to: &[ClientRef], delivery: &Delivery) {
        let (mut old, mut new) = (None, None);
        let me = self.core.id;
        for client in to.iter().filter(|client| client.core == me) {
            if delivery.is_about_copies() {
                self.tell_of_change(*client, delivery);
                continue;
            }
            let Some(version) = self.core.own_client(*client).map(|client| client.resp) else { continue };
            let encoded = if version == RespVersion::V2 { &mut old } else { &mut new };
            let bytes = encoded.get_or_insert_with(|| delivery.encoded(version)).clone();
            self.push(*client, &bytes);
        }
    }

    /// What clients with copies are told depends on what each has set.
    fn tell_of_change(&mut self, to: ClientRef, delivery: &Delivery) {
        let client = self.core.own_client(to).filter(|client| client.closing.is_none());
        let told = match (client, delivery) {
            (Some(client), Delivery::Redirected { .. }) => tracking::redirected(client, delivery),
            (None, Delivery::Redirected { from, .. }) => {
                Told::Redirected(*from, Delivery::RedirectBroken { to: to.id })
            }
            (Some(client), Delivery::RedirectBroken { .. }) => tracking::redirect_broken(client, delivery),
            (Some(client), _) => tracking::receive(client, to, delivery),
            (None, _) => Told::Nothing,
        };
        match told {
            Told::Nothing => {}
            Told::Here(bytes) => self.push(to, &bytes),
            Told::Redirected(to, delivery) => self.deliver_to_all(&[to], &delivery),
        }
    }

    /// Every core forgets a client.
    pub(super) fn client_left(&mut self, client: ClientRef) {
        self.tell_again_that_it_left(client);
        self.forget_held(client);
        self.core.client_left(client);
        let others: Vec<CoreId> = self.mesh.others().collect();
        others.into_iter().for_each(|core| self.mesh.send(core, Message::ClientLeft(client)));
    }

    /// A line for a client that still is a monitor.
    pub(super) fn monitor_line(&mut self, to: ClientRef, line: &Bytes) {
        if self.core.own_client(to).is_some_and(|client| client.monitor) {
            self.push(to, line);
        }
    }

    /// Tells every core that a client of this one is no monitor any more.
    pub(super) fn monitor_left(&mut self, client: ClientRef) {
        self.core.monitors.retain(|monitor| *monitor != client);
        let others: Vec<CoreId> = self.mesh.others().collect();
        others.into_iter().for_each(|core| self.mesh.send(core, Message::MonitorLeft(client)));
    }

    pub(super) fn slow(&mut self, client: ClientRef, mut entry: SlowEntry) {
        if let Some(client) = self.core.own_client(client) {
            entry.client_address = client.peer.to_string();
            entry.client_name = client.name.clone();
        }
        let (core, cores_count) = (self.core.id.index(), self.core.facts.cores_count);
        self.core.slowlog.add(entry, core, cores_count);
    }
}
