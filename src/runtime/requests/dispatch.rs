//! One request: the gate's verdict, and on to wherever it runs.

use super::{Publishing, Requests};
use crate::base::core_id::CoreId;
use crate::command::blocking;
use crate::command::client::{Caller, ReplyMode};
use crate::command::core::{Effect, Publication};
use crate::command::execute::{self, Call};
use crate::command::gate::{self, Place, Verdict};
use crate::command::monitor;
use crate::command::spec::{Flags, Group, Run};
use crate::resp::{Args, ArgsBuf, Reply, ReplyBuffer, RespVersion};
use crate::runtime::batch::ReplyTarget;
use crate::runtime::connection::Connection;
use crate::runtime::mesh::Message;

impl Requests {
    #[inline]
    pub(super) fn request(&mut self, index: u32, connection: &mut Connection, args: &Args<'_>) {
        if connection.is_held() {
            connection.postponed.push(ArgsBuf::from(args)); // behind the one that waits
            return;
        }
        let is_migration = self.core.clients[index as usize].migration.is_some();
        let verdict = match is_migration {
            false => gate::check(&mut self.core, index, args),
            true => self.judge_migration(index, args),
        };
        if let Verdict::Paused = verdict {
            connection.postponed.push(ArgsBuf::from(args));
            self.postponed.push(index);
            self.core.clients[index as usize].postponed = true;
            return;
        }
        let wanted = self.step_reply_mode(index);
        match verdict {
            Verdict::Run { command, place, slot, is_slot_open } => {
                let client = &mut self.core.clients[index as usize];
                // What confirms a subscription is a message, not a reply.
                let wanted = wanted || command.spec().is_subscription();
                let caller = client.caller(self.core.id);
                let must_not_wait = is_migration || caller.must_not_wait;
                let caller =
                    Caller { wants_reply: wanted, is_slot_open, is_import: is_migration, must_not_wait, ..caller };
                client.last_command = Some(command.spec());
                client.asking = false;
                client.has_written |= command.spec().flags.has(Flags::WRITE);
                if client.tracking.is_some() {
                    client.end_caching(command.spec());
                }
                let call = Call { command, caller, slot, args: *args };
                if !self.core.monitors.is_empty() && place != Place::Transaction {
                    monitor::feed_script(&mut self.core, &call);
                }
                self.dispatch(connection, &call, place, wanted);
                // A transaction is fed by whoever runs it: its commands first, then EXEC.
                if !self.core.monitors.is_empty() && place != Place::Transaction {
                    monitor::feed(&mut self.core, &call);
                }
            }
            Verdict::Refused { error, command } => {
                let core = &mut self.core;
                if wanted {
                    connection.reply_here(|out| execute::refuse(core, command, &error, out));
                } else {
                    execute::refuse(core, command, &error, &mut ReplyBuffer::new());
                }
            }
            Verdict::Queued if wanted => connection.reply_here(|out| Reply::new(out, RespVersion::V2).simple("QUEUED")),
            Verdict::Queued => {}
            Verdict::Paused => unreachable!("answered above"),
        }
        if !self.core.effects.is_empty() || self.core.blocked.has_ready() {
            self.serve_own_effects(index, connection);
            self.carry_out_effects();
        }
    }

    /// Carries out the effects that concern the very client whose request was run: its connection is at hand here and
    /// nowhere else.
    #[cold]
    pub(super) fn serve_own_effects(&mut self, index: u32, connection: &mut Connection) {
        let client = &self.core.clients[index as usize];
        let (own, is_monitor, version) = (client.caller(self.core.id).client, client.monitor, client.resp);
        for effect in std::mem::take(&mut self.core.effects) {
            match effect {
                Effect::Push { to, bytes } if to == own => connection.push(&bytes),
                Effect::Deliver { mut to, delivery } if to.contains(&own) && !delivery.is_about_copies() => {
                    connection.push(&delivery.encoded(version));
                    to.retain(|client| *client != own);
                    self.core.effects.push(Effect::Deliver { to, delivery });
                }
                Effect::MonitorLine { to, line } if to == own && is_monitor => connection.push(&line),
                Effect::Sync { client, request } => self.client_asks_to_sync(client, request, connection),
                other => self.core.effects.push(other),
            }
        }
    }

    /// CLIENT REPLY: is the reply to the next command wanted?
    #[inline]
    pub(super) fn step_reply_mode(&mut self, index: u32) -> bool {
        let mode = &mut self.core.clients[index as usize].reply_mode;
        match *mode {
            ReplyMode::On => true,
            ReplyMode::SkipNext => {
                *mode = ReplyMode::Skip;
                false
            }
            ReplyMode::Skip => {
                *mode = ReplyMode::On;
                true
            }
            ReplyMode::Off => false,
        }
    }

    #[inline]
    pub(super) fn dispatch(&mut self, connection: &mut Connection, call: &Call<'_>, place: Place, wanted: bool) {
        let is_here = matches!(place, Place::Core(core) if core == self.core.id);
        if is_here && self.core.migrations.is_active() && self.core.migrations.holds(call) {
            return self.hold_back(connection, call, wanted);
        }
        if call.may_wait() {
            return self.dispatch_blocking(connection, call, place, wanted);
        }
        match place {
            Place::Transaction => self.begin_exec(connection, call, wanted),
            Place::Every => self.gather(connection, call, wanted),
            Place::Core(core) if core != self.core.id => {
                let sequence = connection.await_reply(wanted);
                self.core.stats.requests_forwarded += 1;
                self.mesh.requests_to(core).push(call, sequence);
            }
            Place::Core(_) | Place::Connection => self.run_here(connection, call, wanted),
        }
    }

    /// A command that may wait: nothing behind it is run before it is answered.
    #[cold]
    fn dispatch_blocking(&mut self, connection: &mut Connection, call: &Call<'_>, place: Place, wanted: bool) {
        let sequence = connection.await_reply(wanted);
        let spec = call.command.spec();
        match place {
            Place::Core(core) if core != self.core.id => {
                self.core.stats.requests_forwarded += 1;
                self.mesh.requests_to(core).push(call, sequence);
            }
            _ if spec.run.is_for_first_core() => {
                self.run_on_first(call, sequence, Some(connection));
                if connection.has_arrived(sequence) {
                    return;
                }
            }
            _ => {
                let before = self.before_call(&call.caller);
                let mut reply = Box::new(ReplyBuffer::new());
                if blocking::run(&mut self.core, call, sequence, &mut reply) {
                    let target = ReplyTarget { client: call.caller.client, sequence };
                    return self.answer_here(before, target, reply, connection);
                }
            }
        }
        connection.hold_until(sequence);
        let client = &mut self.core.clients[call.caller.client.index as usize];
        // Who waits in SHUTDOWN is counted as blocked; MIGRATE is something that Redis does not do beside others.
        (client.blocked, client.has_footprint) =
            (spec.flags.has(Flags::BLOCKING) || spec.run.is_for_first_core(), true);
    }

    #[inline]
    pub(super) fn run_here(&mut self, connection: &mut Connection, call: &Call<'_>, wanted: bool) {
        if call.command.spec().run.is_for_first_core() {
            let sequence = connection.await_reply(wanted);
            return self.run_on_first(call, sequence, Some(connection));
        }
        let spec = call.command.spec();
        if spec.group == Group::Connection && !spec.flags.has(Flags::FAST) {
            crate::runtime::tick::report(&mut self.core.clients[call.caller.client.index as usize], connection);
        }
        if spec.runs_script() {
            return self.run_script_here(connection, call, wanted);
        }
        if (spec.flags.has(Flags::WRITE) || call.caller.is_slot_open) && self.holds_replies() {
            return self.run_write_here(connection, call, wanted);
        }
        let core = &mut self.core;
        if wanted {
            connection.reply_here(|out| execute::run(core, call, out));
        } else {
            let mut scratch = ReplyBuffer::new();
            execute::run(core, call, &mut scratch);
            // CLIENT REPLY ON answers although replies were off.
            if self.core.clients.get(call.caller.client.index as usize).is_some_and(|c| c.reply_mode == ReplyMode::On) {
                let length = scratch.len_bytes();
                connection.reply_here(|out| scratch.drain_into(out, length));
            }
        }
    }

    /// Runs a script. One that takes too long is parked and answered when it is done; nothing behind it is run before.
    fn run_script_here(&mut self, connection: &mut Connection, call: &Call<'_>, wanted: bool) {
        let sequence = connection.await_reply(wanted);
        let target = ReplyTarget { client: call.caller.client, sequence };
        if let Some((before, reply)) = self.run_script(call, target) {
            return self.answer_here(before, target, reply, connection);
        }
        connection.hold_until(sequence);
        let client = &mut self.core.clients[call.caller.client.index as usize];
        (client.blocked, client.has_footprint) = (true, true);
    }

    /// Runs a script: its reply, and where the journal was before. `None`: it is parked.
    pub(super) fn run_script(&mut self, call: &Call<'_>, target: ReplyTarget) -> Option<(u64, Box<ReplyBuffer>)> {
        let before = self.before_call(&call.caller);
        let mut reply = Box::new(ReplyBuffer::new());
        self.core.scripting.may_park = true;
        execute::run(&mut self.core, call, &mut reply);
        self.core.scripting.may_park = false;
        if self.core.is_busy() {
            self.core.answer_parked_as(target.sequence);
            return None;
        }
        Some((before, reply))
    }

    /// Goes on with a script that takes too long. True when there is one.
    pub fn attend_script(&mut self) -> bool {
        if !self.core.has_script_to_go_on_with() {
            return false;
        }
        self.core.go_on_with_script();
        self.carry_out_effects();
        true
    }

    /// Runs a command whose reply waits for the disk if it changes anything, or if its slot is on its way.
    fn run_write_here(&mut self, connection: &mut Connection, call: &Call<'_>, wanted: bool) {
        let before = self.before_call(&call.caller);
        let mut reply = Box::new(ReplyBuffer::new());
        execute::run(&mut self.core, call, &mut reply);
        if !wanted {
            return;
        }
        let position = self.core.journal.position();
        if position == before {
            let length = reply.len_bytes();
            return connection.reply_here(|out| reply.drain_into(out, length));
        }
        let target = ReplyTarget { client: call.caller.client, sequence: connection.await_reply(true) };
        self.hold_reply(position, target, reply);
    }

    /// As `answer_durably`, where the client's connection is at hand.
    pub(super) fn answer_here(
        &mut self,
        before: u64,
        target: ReplyTarget,
        mut reply: Box<ReplyBuffer>,
        connection: &mut Connection,
    ) {
        let position = self.core.journal.position();
        if position != before && self.holds_replies() {
            return self.hold_reply(position, target, reply);
        }
        connection.arrived(target.sequence, reply.len_bytes(), &mut reply);
    }

    /// Runs a command of core 0, or lets every core do its share first.
    pub(super) fn run_on_first(&mut self, call: &Call<'_>, sequence: u32, connection: Option<&mut Connection>) {
        let target = ReplyTarget { client: call.caller.client, sequence };
        let before = self.core.journal.position();
        let mut reply = Box::new(ReplyBuffer::new());
        if let Run::OnFirstCoreAfterAll { prepare, .. } = call.command.spec().run {
            let has_others = self.mesh.others().next().is_some();
            if has_others {
                prepare(&mut self.core, &call.args);
                let publications = self.take_publications();
                self.publish(publications, None);
            }
            let own = self.run_part(call);
            if has_others {
                return self.gather_shares(call, target, own, before);
            }
            execute::merge(&mut self.core, call, vec![own], &mut reply);
        } else {
            execute::run(&mut self.core, call, &mut reply);
        }
        self.answer_from_first(target, reply, connection, before);
    }

    /// When the command has published something, the reply waits until every core has it. The journal was at `before` when it
    /// had not run.
    pub(super) fn answer_from_first(
        &mut self,
        target: ReplyTarget,
        reply: Box<ReplyBuffer>,
        connection: Option<&mut Connection>,
        before: u64,
    ) {
        let publications: Vec<Publication> = self.take_publications();
        let Some((target, reply)) = self.hold_for_save(target, reply) else {
            return self.publish(publications, None);
        };
        if !publications.is_empty() && self.mesh.others().next().is_some() {
            // What it has recorded beside (in a transaction) must be durable, too.
            return self.publish(publications, Some((before, target, reply)));
        }
        publications.into_iter().for_each(|publication| self.core.apply(publication));
        match connection {
            Some(connection) => self.answer_here(before, target, reply, connection),
            None => self.answer_durably(before, target, reply),
        }
    }

    /// Hands publications to every core, and the answer to its client once they have them.
    pub(super) fn publish(
        &mut self,
        publications: Vec<Publication>,
        answer: Option<(u64, ReplyTarget, Box<ReplyBuffer>)>,
    ) {
        let others: Vec<CoreId> = self.mesh.others().collect();
        let missing = publications.len() * others.len();
        let ticket = (missing > 0).then(|| self.publishing.insert(Publishing { answer, missing }) as u32);
        for publication in publications {
            for (core, ticket) in others.iter().zip(std::iter::repeat(ticket)) {
                let ticket = ticket.expect("there are others");
                self.mesh.send(*core, Message::Publish { ticket, publication: publication.clone() });
            }
            self.core.apply(publication);
        }
    }

    pub(super) fn take_publications(&mut self) -> Vec<Publication> {
        let mut publications = Vec::new();
        let effects = std::mem::take(&mut self.core.effects);
        for effect in effects {
            match effect {
                Effect::Publish(publication) => publications.push(publication),
                other => self.core.effects.push(other),
            }
        }
        publications
    }
}
