//! EXEC on its way: the cores on which its client watches keys are asked first, then the transaction goes to the core that
//! runs it, and comes back as one reply (see `command::transactions`).

use super::Requests;
use crate::base::core_id::CoreId;
use crate::command::client::{Caller, Client};
use crate::command::error::CommandError;
use crate::command::execute::{self, Call};
use crate::command::gate::{self, Place};
use crate::command::memory_limit;
use crate::command::relocation::Relocation;
use crate::command::routing;
use crate::command::spec::{Flags, Run};
use crate::command::transactions::{self, Exec, Plan, Queued};
use crate::resp::{Reply, ReplyBuffer};
use crate::runtime::batch::ReplyTarget;
use crate::runtime::connection::Connection;
use crate::runtime::mesh::Message;

/// A transaction that waits to hear whether keys on other cores were touched.
pub(super) struct WatchedExec {
    exec: Box<Exec>,
    plan: Plan,
    target: ReplyTarget,
    missing: usize,
    intact: bool,
}

impl WatchedExec {
    /// Whether what it sends in the end may be about slots of a relocation, or about watches that go with them. `me`: the client's core.
    pub(super) fn concerns(&self, relocation: &Relocation, me: CoreId) -> bool {
        let runs_on = match self.plan {
            Plan::Core(core) => core,
            Plan::Pieces => return true,
        };
        let is_among = |slot| relocation.slots.contains(slot);
        let asks_core = runs_on == relocation.from && (self.exec.watches || runs_on == me);
        asks_core || self.exec.queue.iter().any(|queued| queued.slot.is_some_and(is_among))
    }
}

impl Requests {
    /// EXEC of a client whose transaction may run.
    #[cold]
    pub(super) fn begin_exec(&mut self, connection: &mut Connection, call: &Call<'_>, wanted: bool) {
        let client = &mut self.core.clients[call.caller.client.index as usize];
        let Some(mut transaction) = client.transaction.take() else { unreachable!("the gate has looked") };
        let watch_cores = std::mem::take(&mut client.watch_cores);
        client.watched_count = 0;
        client.has_written |= transaction.queue.iter().any(|queued| queued.command.spec().flags.has(Flags::WRITE));
        let plan = match memory_limit::refuses_transaction(&mut self.core, &transaction) {
            true => Err(transactions::out_of_memory()),
            false => transactions::plan(&self.core, &call.caller, &mut transaction),
        };
        let sequence = connection.await_reply(wanted);
        let target = ReplyTarget { client: call.caller.client, sequence };
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => {
                self.unwatch(call.caller.client.id, &watch_cores);
                let mut reply = ReplyBuffer::new();
                execute::refuse(&mut self.core, Some(call.command), &error, &mut reply);
                return connection.arrived(sequence, reply.len_bytes(), &mut reply);
            }
        };
        // In pieces its own core's watches are looked at here, too.
        let runs_on = if let Plan::Core(core) = plan { core } else { self.core.id };
        // Monitors are shown where a command came from.
        let is_seen = Exec::needs_client(&transaction.queue) || !self.core.monitors.is_empty();
        let guest = is_seen && runs_on != self.core.id;
        let exec = Box::new(Exec {
            caller: Caller { is_slot_open: transaction.is_slot_open, ..call.caller },
            command: call.command,
            queue: transaction.queue,
            guest: guest.then(|| Box::new(self.core.clients[call.caller.client.index as usize].clone())),
            watches: watch_cores.contains(&runs_on),
        });
        self.core.stats.called(call.command, 0, false, false);
        let mut asked: Vec<CoreId> = watch_cores.into_iter().filter(|core| *core != runs_on).collect();
        if asked.is_empty() {
            _ = self.launch(connection, exec, &plan, target);
            return;
        }
        connection.begin_exec(sequence);
        let client_id = exec.caller.client.id;
        let missing = asked.len();
        let watches_here = asked.contains(&self.core.id);
        asked.retain(|core| *core != self.core.id);
        let waiting = WatchedExec { exec, plan, target, missing, intact: true };
        let ticket = self.execs.insert(waiting) as u32;
        for core in asked {
            self.mesh.send(core, Message::EndWatches { ticket, client_id });
        }
        if watches_here {
            // Answered at once as by any other core, but through the mailbox: the connection is in use here.
            let intact = transactions::end_watches(&mut self.core, client_id);
            self.own_watches_ended.push((ticket, intact));
        }
    }

    /// A core says whether what the client watched there is untouched.
    pub(super) fn watches_ended(&mut self, ticket: u32, intact: bool) {
        let waiting = &mut self.execs[ticket as usize];
        waiting.intact &= intact;
        waiting.missing -= 1;
        if waiting.missing > 0 {
            return;
        }
        let WatchedExec { mut exec, plan, target, intact, .. } = self.execs.remove(ticket as usize);
        let index = target.client.index as usize;
        if self.core.own_client(target.client).is_none() {
            return; // the client has gone, and with it what it watched
        }
        let Some(mut connection) = self.connections.get_mut(index).and_then(Option::take) else { return };
        let mut is_held = false;
        let mut reply = ReplyBuffer::new();
        // What is to be written to slots that have been held since is taken for touched.
        if !intact || self.is_exec_held(&exec.queue) {
            transactions::write_aborted(&exec.caller, &mut reply);
        } else if let Err(error) = self.judge_exec_again(&mut exec) {
            execute::refuse(&mut self.core, Some(exec.command), &error, &mut reply);
        }
        if reply.is_empty() {
            is_held = self.launch(&mut connection, exec, &plan, target);
        } else {
            let runs_on = if let Plan::Core(core) = plan { core } else { self.core.id };
            self.unwatch(target.client.id, &[runs_on]);
            connection.arrived(target.sequence, reply.len_bytes(), &mut reply);
        }
        if !is_held && connection.end_await(target.sequence) {
            self.released.push(target.client.index);
        }
        self.put_back(target.client.index, connection);
    }

    /// Runs the transaction here, sends it to its core, or takes it to pieces. True when it has to wait here for keys on their way.
    fn launch(&mut self, connection: &mut Connection, mut exec: Box<Exec>, plan: &Plan, target: ReplyTarget) -> bool {
        match *plan {
            Plan::Core(core)
                if core == self.core.id
                    && self.core.migrations.is_active()
                    && self.core.migrations.holds_transaction(&exec) =>
            {
                connection.hold_until(target.sequence);
                self.core.clients[target.client.index as usize].has_footprint = true;
                self.hold_exec(target, exec);
                return true;
            }
            Plan::Core(core) if core == self.core.id => {
                let before = self.before_call(&exec.caller);
                let mut reply = Box::new(ReplyBuffer::new());
                transactions::run(&mut self.core, &mut exec, &mut reply);
                self.answer_from_first(target, reply, Some(connection), before);
            }
            Plan::Core(core) => {
                if exec.guest.is_some() {
                    connection.hold_until(target.sequence);
                }
                self.core.stats.requests_forwarded += 1;
                self.mesh.send(core, Message::Exec { target, exec });
            }
            Plan::Pieces => self.run_in_pieces(connection, &exec, target),
        }
        false
    }

    fn run_in_pieces(&mut self, connection: &mut Connection, exec: &Exec, target: ReplyTarget) {
        let mut header = ReplyBuffer::new();
        let intact = !exec.watches || transactions::end_watches(&mut self.core, exec.caller.client.id);
        if !intact {
            transactions::write_aborted(&exec.caller, &mut header);
            return connection.arrived(target.sequence, header.len_bytes(), &mut header);
        }
        Reply::new(&mut header, exec.caller.resp).array(exec.queue.len());
        connection.arrived(target.sequence, header.len_bytes(), &mut header);
        for queued in &exec.queue {
            let client = &self.core.clients[target.client.index as usize];
            let caller =
                Caller { must_not_wait: true, is_slot_open: exec.caller.is_slot_open, ..client.caller(self.core.id) };
            let args = queued.args.as_args();
            let call = Call { command: queued.command, caller, slot: queued.slot, args };
            let place = match (call.command.spec().run, queued.slot) {
                (Run::OnOwner(_), Some(slot)) => Place::Core(self.core.owners.owner(slot)),
                (run, _) => gate::place_without_keys(run),
            };
            self.dispatch(connection, &call, place, true);
        }
    }

    /// As `run_exec`, while keys of this core are on their way to other nodes.
    pub(super) fn run_or_hold_exec(&mut self, target: ReplyTarget, exec: Box<Exec>) {
        match self.core.migrations.holds_transaction(&exec) {
            true => self.hold_exec(target, exec),
            false => self.run_exec(target, exec),
        }
    }

    /// Of a transaction that was under way, as `judge_write_again`.
    fn judge_exec_again(&self, exec: &mut Exec) -> Result<(), CommandError> {
        let is_elsewhere = |slot| !self.core.cluster.is_settled_here(slot);
        let is_late = |queued: &Queued| {
            let (spec, is_gone) = (queued.command.spec(), queued.slot.is_some_and(is_elsewhere));
            let may_write = spec.flags.has(Flags::WRITE) || spec.runs_script();
            may_write && (is_gone || self.core.replication.role.is_replica())
        };
        if !exec.caller.is_import && exec.queue.iter().any(is_late) {
            exec.caller.is_slot_open |= routing::judge_transaction_late(&self.core, exec)?;
        }
        Ok(())
    }

    /// A transaction of another core's client, or one that has waited.
    pub(super) fn run_exec(&mut self, target: ReplyTarget, mut exec: Box<Exec>) {
        let verdict = match self.core.is_busy() {
            true => Err(self.core.busy_error()),
            false => self.judge_exec_again(&mut exec),
        };
        let before = self.before_call(&exec.caller);
        let mut reply = Box::new(ReplyBuffer::new());
        match verdict {
            Err(error) => transactions::refuse_late(&mut self.core, &exec, &error, &mut reply),
            Ok(()) => transactions::run(&mut self.core, &mut exec, &mut reply),
        }
        if let Some(guest) = exec.guest.take() {
            self.mesh.send(target.client.core, Message::ClientChanged(guest));
        }
        self.answer_from_first(target, reply, None, before);
    }

    /// What a transaction that ran elsewhere has set on a client of this core.
    pub(super) fn client_changed(&mut self, copy: Client) {
        let client = self.core.clients.get_mut(copy.index as usize).filter(|client| client.id == copy.id);
        if let Some(client) = client {
            client.take_over(copy);
        }
    }

    /// Ends a client's watches on these cores, whatever became of the keys.
    pub(super) fn unwatch(&mut self, client_id: u64, cores: &[CoreId]) {
        for core in cores {
            if *core == self.core.id {
                transactions::end_watches(&mut self.core, client_id);
            } else {
                self.mesh.send(*core, Message::Unwatch { client_id });
            }
        }
    }
}
