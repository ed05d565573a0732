//! Requests and replies that cross between cores: batches, commands of every core, what core 0 publishes.

use super::{Gather, PREFETCH_MIN, Requests};
use crate::base::core_id::CoreId;
use crate::command::blocking;
use crate::command::client::Caller;
use crate::command::core::Effect;
use crate::command::debug;
use crate::command::error::CommandError;
use crate::command::execute::{self, Call, Share};
use crate::command::routing;
use crate::command::spec::{Flags, Group};
use crate::command::transactions;
use crate::resp::{LOOKAHEAD_MAX, ReplyBuffer};
use crate::runtime::batch::{OwnedCall, ReplyTarget, RequestBatch};
use crate::runtime::connection::Connection;
use crate::runtime::mesh::{Envelope, Message};
use crate::runtime::persistence::append_only::Order;

impl Requests {
    pub(super) fn gather(&mut self, connection: &mut Connection, call: &Call<'_>, wanted: bool) {
        if call.command.spec().name == "debug" && debug::loads_again(&call.args) {
            return self.ask_to_reload(connection, call, wanted);
        }
        if call.command.spec().name == "debug" && debug::relocates(&call.args) {
            return self.ask_to_relocate(connection, call, wanted);
        }
        let before = self.core.journal.position();
        let own = self.run_part(call);
        let is_alone = call.is_for_own_core() || self.mesh.others().next().is_none();
        if is_alone {
            if self.core.journal.position() != before && self.holds_replies() {
                let target = ReplyTarget { client: call.caller.client, sequence: connection.await_reply(wanted) };
                let mut reply = Box::new(ReplyBuffer::new());
                execute::merge(&mut self.core, call, vec![own], &mut reply);
                return self.hold_reply(self.core.journal.position(), target, reply);
            }
            let core = &mut self.core;
            let mut unwanted = ReplyBuffer::new();
            if wanted {
                connection.reply_here(|out| execute::merge(core, call, vec![own], out));
            } else {
                execute::merge(core, call, vec![own], &mut unwanted);
            }
            return;
        }
        let target = ReplyTarget { client: call.caller.client, sequence: connection.await_reply(wanted) };
        self.gather_shares(call, target, own, before);
    }

    /// Asks the other cores for their shares. The journal was at `before` when this core had not done its own.
    pub(super) fn gather_shares(&mut self, call: &Call<'_>, target: ReplyTarget, own: Share, before: u64) {
        let others: Vec<CoreId> = self.mesh.others().collect();
        let mut shares: Vec<Option<Share>> = (0..=others.len()).map(|_| None).collect();
        let owned = Box::new(OwnedCall::new(call));
        let is_held = self.must_hold_share(before);
        let own = if is_held {
            Some(own)
        } else {
            shares[self.core.id.index()] = Some(own);
            None
        };
        let missing = others.len() + usize::from(is_held);
        let gather = self.gathers.insert(Gather { call: owned.clone(), target, shares, missing }) as u32;
        if let Some(own) = own {
            self.hold_share(self.core.id, gather, own);
        }
        for core in others {
            self.mesh.send(core, Message::Part { gather, call: owned.clone() });
        }
    }

    /// This core's share. What CLIENT LIST and INFO show of connections is brought up to date first.
    pub(super) fn run_part(&mut self, call: &Call<'_>) -> Share {
        if matches!(call.command.spec().group, Group::Connection | Group::Server) {
            for (index, client) in &mut self.core.clients {
                if let Some(Some(connection)) = self.connections.get(index) {
                    crate::runtime::tick::report(client, connection);
                }
            }
        }
        self.durability.flushed_slot = None;
        let share = execute::run_part(&mut self.core, call);
        // Before anything else is recorded.
        if let Some(at) = self.core.effects.iter().position(|effect| matches!(effect, Effect::Flushed)) {
            self.core.effects.remove(at);
            self.core_flushed();
        }
        share
    }

    pub(super) fn share_arrived(&mut self, gather: u32, from: CoreId, share: Share) {
        let waiting = &mut self.gathers[gather as usize];
        waiting.shares[from.index()] = Some(share);
        waiting.missing -= 1;
        if waiting.missing > 0 {
            return;
        }
        let Gather { call, target, shares, .. } = self.gathers.remove(gather as usize);
        let shares: Vec<Share> = shares.into_iter().flatten().collect();
        let before = self.core.journal.position();
        let mut reply = Box::new(ReplyBuffer::new());
        if call.command.spec().run.is_for_first_core() {
            execute::merge(&mut self.core, &call.as_call(), shares, &mut reply);
            return self.answer_from_first(target, reply, None, before);
        }
        // The client may have gone; its books are kept all the same.
        if self.core.own_client(call.caller.client).is_some() {
            execute::merge(&mut self.core, &call.as_call(), shares, &mut reply);
        }
        self.deliver(target, &mut reply);
        self.carry_out_effects();
    }

    /// Takes in what other cores have sent. True when there was anything.
    pub fn take_messages(&mut self) -> bool {
        let mut worked = false;
        while let Some((from, envelope)) = self.mesh.receive() {
            worked = true;
            self.open(from, envelope);
        }
        worked
    }

    pub(super) fn open(&mut self, from: CoreId, mut envelope: Envelope) {
        // What is in it may come after the sender's cut.
        if envelope.cut.number > self.mesh.cut().number {
            self.begin_cut(envelope.cut);
        }
        envelope.replies.drain(|index, id, sequence, length, buffer| {
            self.reply_arrived(index, id, sequence, length, buffer);
        });
        for message in envelope.messages {
            match message {
                Message::Requests(batch) => self.run_batch(from, &batch),
                Message::Part { gather, call } => {
                    if let Some(call) = self.hold_part(from, gather, call) {
                        self.run_part_for(from, gather, &call);
                    }
                }
                Message::Share { gather, share } => self.share_arrived(gather, from, share),
                Message::Publish { ticket, publication } => {
                    self.core.apply(publication);
                    self.mesh.send(from, Message::Published { ticket });
                }
                Message::Published { ticket } => self.published(ticket),
                Message::Reply { target, mut reply } => self.deliver(target, &mut reply),
                Message::Push { to, bytes } => self.push(to, &bytes),
                Message::MonitorLine { to, line } => self.monitor_line(to, &line),
                Message::Overran(client) => self.overran(client),
                Message::Script { digest, code } => self.core.scripting.learn(digest, code),
                Message::MonitorLeft(client) => self.core.monitors.retain(|monitor| *monitor != client),
                Message::Deliver { to, delivery } => self.deliver_here(&to, &delivery),
                Message::Exec { target, exec } => {
                    self.core.stats.requests_for_others += 1;
                    match self.core.migrations.is_active() {
                        true => self.run_or_hold_exec(target, exec),
                        false => self.run_exec(target, exec),
                    }
                }
                Message::ClientChanged(client) => self.client_changed(*client),
                Message::EndWatches { ticket, client_id } => {
                    if !self.hold_end_of_watches(from, ticket, client_id) {
                        self.end_watches_for(from, ticket, client_id);
                    }
                }
                Message::WatchesEnded { ticket, intact } => self.watches_ended(ticket, intact),
                Message::Unwatch { client_id } => {
                    transactions::end_watches(&mut self.core, client_id);
                }
                Message::Untrack { client, prefixes } => self.core.untrack(client, &prefixes),
                Message::ClientLeft(client) => {
                    self.forget_held(client);
                    self.core.client_left(client);
                }
                Message::Slow { client, entry } => self.slow(client, *entry),
                Message::AppendTo(file) => self.append_to(file),
                Message::AppendFile(file) => self.durability.orders.push(Order::File(file)),
                Message::AppendSwitched(kind) => self.core_switched(from, kind),
                Message::AppendRebased => self.durability.orders.push(Order::Rebased { base_bytes: 0 }),
                Message::AppendSize { size_bytes, base_bytes } => self.append_size(from, size_bytes, base_bytes),
                Message::AwaitDurable { ticket } => self.tell_when_durable(from, ticket),
                Message::Durable { ticket, has_file } => self.core_is_durable(ticket, has_file),
                Message::AppendFailure(failure) => self.append_failed_on(from, failure),
                Message::Reload { target, order } => self.reloads.push((target, order)),
                Message::WriteJournal => self.awaits_journal = true,
                Message::JournalWritten => self.journal_written(),
                Message::Load(order) => self.take_order(*order),
                Message::Loaded { slots } => self.part_loaded(slots),
                Message::Apply(batch) => self.apply_batch(from, &batch),
                Message::Applied { place, bytes } => self.core_applied(from, place, bytes),
                Message::Empty => self.empty(),
                Message::Broadcast { channel, message, is_sharded } => self.broadcast(channel, message, is_sharded),
                Message::StoodStill => self.publish_cluster(),
                Message::DropSlots(slots) => self.drop_slots(&slots),
                Message::Migration(message) => self.migration_message(from, *message),
                Message::Relocation(message) => self.relocation_message(*message),
                Message::FreeMemory | Message::Cut => {}
                Message::Feed(bytes) => self.fed(from, &bytes),
                Message::FlushPassed => self.flush_passed(from),
                Message::MarkLog(mark) => self.mark_log(mark),
                Message::LogMarked(mark) => self.marked(mark),
                Message::StopWrites(number) => self.stop_writes(number),
                Message::WritesStopped(number) => self.writes_stopped_on_a_core(number),
                Message::StandsStill(number) => self.core_stands_still(number),
                Message::ReplicasHave { client_id, count } => blocking::replicas_have(&mut self.core, client_id, count),
                Message::ReplicaArrives(arrival) => self.arrive(*arrival),
                Message::CutBegun { number, at_cut } => self.cut_begun(from, number, &at_cut),
                Message::ReleaseOutput { number } => self.output_released(number),
                Message::SnapshotChunk(chunk) => self.chunk_arrived(from, *chunk),
                Message::ChunkWritten { number, buffer } => self.chunk_written(number, buffer),
                Message::AbandonSnapshot { number } => self.abandon_snapshot(number),
                Message::Connection(accepted) => self.adopt(*accepted),
                Message::Stop => self.stopped = Some(None),
            }
        }
        self.carry_out_effects();
    }

    pub(super) fn run_batch(&mut self, from: CoreId, batch: &RequestBatch) {
        self.core.stats.requests_for_others += batch.len() as u64;
        for (place, (call, sequence)) in batch.calls_from(0).enumerate() {
            if place % LOOKAHEAD_MAX == 0 && batch.len() - place >= PREFETCH_MIN {
                let next = batch.calls_from(place).take(LOOKAHEAD_MAX).map(|(call, _)| call.args);
                self.core.prefetch(call.caller.db as usize, next);
            }
            self.run_for(from, &call, sequence);
            if self.core.blocked.has_ready() {
                blocking::serve(&mut self.core);
            }
        }
    }

    /// Runs a request of another core's client.
    #[inline]
    fn run_for(&mut self, from: CoreId, call: &Call<'_>, sequence: u32) {
        let target = ReplyTarget { client: call.caller.client, sequence };
        let flags = call.command.spec().flags;
        let may_be_refused = self.core.is_busy() || flags.has(Flags::WRITE) && self.core.replication.role.is_replica();
        if may_be_refused && self.refuse_for(from, call, target) {
            return;
        }
        if call.command.spec().run.is_for_first_core() {
            return self.run_on_first(call, sequence, None);
        }
        if self.core.migrations.is_active() && self.core.migrations.holds(call) {
            return self.hold_call(call, sequence);
        }
        if self.has_left_since(call) {
            let caller = Caller { is_slot_open: true, ..call.caller };
            return self.run_owned(from, &Call { caller, ..*call }, sequence);
        }
        self.run_owned(from, call, sequence);
    }

    /// Refuses what must not run here although it has passed the gate of its client's core. False when it may run.
    #[cold]
    fn refuse_for(&mut self, from: CoreId, call: &Call<'_>, target: ReplyTarget) -> bool {
        let flags = call.command.spec().flags;
        let verdict = match self.core.is_busy() && !flags.has(Flags::ALLOW_BUSY) {
            true => Err(self.core.busy_error()),
            false if flags.has(Flags::WRITE) && self.core.replication.role.is_replica() => self.judge_write_again(call),
            false => Ok(()),
        };
        let Err(error) = verdict else { return false };
        let core = &mut self.core;
        self.mesh.replies_to(from).push(target, |out| execute::refuse(core, Some(call.command), &error, out));
        true
    }

    /// Runs a request of another core's client whose keys are of this core.
    #[inline]
    fn run_owned(&mut self, from: CoreId, call: &Call<'_>, sequence: u32) {
        let target = ReplyTarget { client: call.caller.client, sequence };
        let flags = call.command.spec().flags;
        if call.command.spec().runs_script() {
            if let Some((before, reply)) = self.run_script(call, target) {
                self.answer_durably(before, target, reply);
            }
            return;
        }
        let holds = (flags.has(Flags::WRITE) || call.caller.is_slot_open) && self.holds_replies();
        let before = self.before_call(&call.caller);
        let core = &mut self.core;
        if call.may_wait() {
            let mut reply = Box::new(ReplyBuffer::new());
            if blocking::run(core, call, sequence, &mut reply) {
                self.answer_durably(before, target, reply);
            }
        } else if holds {
            let mut reply = Box::new(ReplyBuffer::new());
            execute::run(core, call, &mut reply);
            self.answer_durably(before, target, reply);
        } else {
            self.mesh.replies_to(from).push(target, |out| execute::run(core, call, out));
        }
    }

    /// Whether a write, or a script, passed the gate of its client's core while the slot was this node's for good, which it is not any
    /// more: it must not leave a key behind in a slot that whoever moves it has seen empty.
    #[inline]
    fn has_left_since(&self, call: &Call<'_>) -> bool {
        let spec = call.command.spec();
        let is_gone = |slot| !self.core.cluster.is_settled_here(slot);
        (spec.flags.has(Flags::WRITE) || spec.runs_script())
            && call.slot.is_some_and(is_gone)
            && !call.caller.is_slot_open
            && !call.caller.is_import
            && spec.name != "migrate"
    }

    /// Of a write that was under way between cores: this node may be a replica by now, whose data are its primary's, or about to load
    /// others.
    #[cold]
    pub(super) fn judge_write_again(&self, call: &Call<'_>) -> Result<(), CommandError> {
        match call.caller.is_import {
            true => Ok(()),
            false => routing::judge_late(&self.core, call).map(|_| ()),
        }
    }

    pub(super) fn published(&mut self, ticket: u32) {
        let waiting = &mut self.publishing[ticket as usize];
        waiting.missing -= 1;
        if waiting.missing == 0
            && let Some((before, target, reply)) = self.publishing.remove(ticket as usize).answer
        {
            self.answer_durably(before, target, reply);
        }
    }

    /// Sends a finished reply to wherever its client is.
    pub(super) fn answer(&mut self, target: ReplyTarget, mut reply: Box<ReplyBuffer>) {
        if target.client.core == self.core.id {
            self.deliver(target, &mut reply);
        } else {
            self.mesh.send(target.client.core, Message::Reply { target, reply });
        }
    }

    pub(super) fn deliver(&mut self, target: ReplyTarget, reply: &mut ReplyBuffer) {
        let length = reply.len_bytes();
        self.reply_arrived(target.client.index, target.client.id, target.sequence, length, reply);
    }

    #[inline]
    pub(super) fn reply_arrived(
        &mut self,
        index: u32,
        id: u64,
        sequence: u32,
        length: usize,
        buffer: &mut ReplyBuffer,
    ) {
        let known = self.core.clients.get(index as usize).is_some_and(|client| client.id == id);
        let connection = self.connections.get_mut(index as usize).and_then(Option::as_deref_mut);
        match connection.filter(|_| known) {
            Some(connection) => {
                connection.arrived(sequence, length, buffer);
                if connection.end_await(sequence) {
                    self.core.clients[index as usize].blocked = false;
                    self.released.push(index);
                }
                if connection.ends_pause() {
                    self.resumed.push(index);
                }
                if !connection.is_dirty && !connection.output.is_empty() {
                    connection.is_dirty = true;
                    self.dirty.push(index);
                }
            }
            None => buffer.advance(length), // the client has gone
        }
    }
}
