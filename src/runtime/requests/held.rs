//! Requests that wait for keys on their way to other nodes (`migrate`).
//!
//! A request that must wait is held as it came: with its place among its client's replies. A client of this core is not read from
//! meanwhile; of a client of another core all that comes to this one waits behind it. When a job has ended, what need not wait any more
//! runs in the order in which it came, judged anew: meanwhile the slot may have gone, or this node may have become a replica.

use std::collections::VecDeque;

use super::Requests;
use crate::base::core_id::CoreId;
use crate::base::slot::{Slot, SlotSet};
use crate::command::blocking;
use crate::command::client::{Caller, ClientRef};
use crate::command::execute::{self, Call, Share};
use crate::command::routing;
use crate::command::spec::Flags;
use crate::command::transactions::{self, Exec};
use crate::resp::ReplyBuffer;
use crate::runtime::batch::{OwnedCall, ReplyTarget};
use crate::runtime::connection::Connection;
use crate::runtime::mesh::Message;

/// What waits for keys on their way.
enum Held {
    Call {
        call: Box<OwnedCall>,
        sequence: u32,
    },
    Exec {
        target: ReplyTarget,
        exec: Box<Exec>,
    },
    /// This core's share of a command of all cores.
    Part {
        from: CoreId,
        gather: u32,
        call: Box<OwnedCall>,
    },
    /// The end of watches on this core, before a transaction on another.
    EndWatches {
        from: CoreId,
        ticket: u32,
        client_id: u64,
    },
}

impl Held {
    fn client_id(&self) -> u64 {
        match self {
            Held::Call { call, .. } | Held::Part { call, .. } => call.caller.client.id,
            Held::Exec { exec, .. } => exec.caller.client.id,
            Held::EndWatches { client_id, .. } => *client_id,
        }
    }
}

/// One core's.
#[derive(Default)]
pub(super) struct HeldRequests(VecDeque<Held>);

impl Requests {
    /// A request of a client of this core has to wait for keys on their way.
    #[cold]
    pub(super) fn hold_back(&mut self, connection: &mut Connection, call: &Call<'_>, wanted: bool) {
        let sequence = connection.await_reply(wanted);
        connection.hold_until(sequence);
        self.core.clients[call.caller.client.index as usize].has_footprint = true;
        self.hold_call(call, sequence);
    }

    #[cold]
    pub(super) fn hold_call(&mut self, call: &Call<'_>, sequence: u32) {
        self.hold_until_moved(Held::Call { call: Box::new(OwnedCall::new(call)), sequence });
    }

    #[cold]
    pub(super) fn hold_exec(&mut self, target: ReplyTarget, exec: Box<Exec>) {
        self.hold_until_moved(Held::Exec { target, exec });
    }

    /// This core's share of a command of all cores, of a client that waits here. It comes back when it need not wait.
    pub(super) fn hold_part(&mut self, from: CoreId, gather: u32, call: Box<OwnedCall>) -> Option<Box<OwnedCall>> {
        if !self.core.migrations.is_active() || !self.core.migrations.holds_client(call.caller.client.id) {
            return Some(call);
        }
        self.hold_until_moved(Held::Part { from, gather, call });
        None
    }

    /// The same for the end of a client's watches. True when it waits.
    pub(super) fn hold_end_of_watches(&mut self, from: CoreId, ticket: u32, client_id: u64) -> bool {
        let waits = self.core.migrations.is_active() && self.core.migrations.holds_client(client_id);
        if waits {
            self.hold_until_moved(Held::EndWatches { from, ticket, client_id });
        }
        waits
    }

    /// Whether shares of commands of all cores wait here.
    pub(super) fn holds_shares(&self) -> bool {
        self.held_requests.0.iter().any(|held| matches!(held, Held::Part { .. } | Held::EndWatches { .. }))
    }

    /// Whether requests for these slots wait here.
    pub(super) fn holds_requests_for(&self, slots: &SlotSet) -> bool {
        let is_among = |slot: Option<Slot>| slot.is_some_and(|slot| slots.contains(slot));
        self.held_requests.0.iter().any(|held| match held {
            Held::Call { call, .. } => is_among(call.slot),
            Held::Exec { exec, .. } => exec.queue.iter().any(|queued| is_among(queued.slot)),
            Held::Part { .. } | Held::EndWatches { .. } => true,
        })
    }

    fn hold_until_moved(&mut self, held: Held) {
        self.core.migrations.note_waiting(held.client_id());
        self.held_requests.0.push_back(held);
    }

    /// A client has gone: what it has asked to be written is, and nobody hears the rest.
    pub(super) fn forget_held(&mut self, client: ClientRef) {
        let migrations = &mut self.core.migrations;
        self.held_requests.0.retain(|held| {
            let is_kept = match held {
                Held::Call { call, .. } if call.caller.client.id == client.id => {
                    let spec = call.command.spec();
                    spec.flags.has(Flags::WRITE) && !spec.flags.has(Flags::BLOCKING)
                }
                _ => true,
            };
            if !is_kept {
                migrations.note_released(client.id);
            }
            is_kept
        });
    }

    /// Runs what need not wait any more, in the order in which it came.
    pub(super) fn run_held(&mut self) {
        let held = std::mem::take(&mut self.held_requests.0);
        held.iter().for_each(|held| self.core.migrations.note_released(held.client_id()));
        for held in held {
            let migrations = &self.core.migrations;
            let waits_on = migrations.is_active()
                && match &held {
                    Held::Call { call, .. } => migrations.holds(&call.as_call()),
                    Held::Exec { exec, .. } => migrations.holds_transaction(exec),
                    Held::Part { .. } | Held::EndWatches { .. } => migrations.holds_client(held.client_id()),
                };
            if waits_on {
                self.hold_until_moved(held);
            } else {
                self.core.stats.last_instant_ns = self.core.nanos.now_ns();
                self.run_late(held);
            }
        }
        self.carry_out_effects();
    }

    fn run_late(&mut self, held: Held) {
        match held {
            Held::Call { call, sequence } => self.run_call_late(&call.as_call(), sequence),
            Held::Exec { target, mut exec } => match routing::judge_transaction_late(&self.core, &exec) {
                Ok(is_slot_open) => {
                    exec.caller.is_slot_open = is_slot_open;
                    self.run_exec(target, exec);
                }
                Err(error) => {
                    let mut reply = Box::new(ReplyBuffer::new());
                    transactions::refuse_late(&mut self.core, &exec, &error, &mut reply);
                    self.answer(target, reply);
                }
            },
            Held::Part { from, gather, call } => self.run_part_for(from, gather, &call),
            Held::EndWatches { from, ticket, client_id } => self.end_watches_for(from, ticket, client_id),
        }
    }

    pub(super) fn run_call_late(&mut self, call: &Call<'_>, sequence: u32) {
        let target = ReplyTarget { client: call.caller.client, sequence };
        let mut reply = Box::new(ReplyBuffer::new());
        // Whatever the slot is by now.
        let before = self.before_call(&Caller { is_slot_open: true, ..call.caller });
        let mut call = Call { command: call.command, caller: call.caller, slot: call.slot, args: call.args };
        match routing::judge_late(&self.core, &call) {
            Err(error) => execute::refuse(&mut self.core, Some(call.command), &error, &mut reply),
            Ok(is_slot_open) => {
                call.caller.is_slot_open = is_slot_open;
                if !call.may_wait() {
                    execute::run(&mut self.core, &call, &mut reply);
                } else if !blocking::run(&mut self.core, &call, sequence, &mut reply) {
                    return;
                }
            }
        }
        self.answer_durably(before, target, reply);
    }

    /// This core's share of a command of every core. What this node was when the gate let it pass it need not be any more.
    pub(super) fn run_part_for(&mut self, from: CoreId, gather: u32, call: &OwnedCall) {
        let (before, call) = (self.core.journal.position(), call.as_call());
        let verdict = match call.command.spec().flags.has(Flags::WRITE) {
            true => self.judge_write_again(&call),
            false => Ok(()),
        };
        let share = match verdict {
            Ok(()) => self.run_part(&call),
            Err(error) => Share { part: Err(error), duration_ns: 0 },
        };
        if self.must_hold_share(before) {
            self.hold_share(from, gather, share);
        } else {
            self.mesh.send(from, Message::Share { gather, share });
        }
    }

    pub(super) fn end_watches_for(&mut self, from: CoreId, ticket: u32, client_id: u64) {
        let intact = transactions::end_watches(&mut self.core, client_id);
        self.mesh.send(from, Message::WatchesEnded { ticket, intact });
    }
}
