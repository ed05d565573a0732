//! Replies that must not leave before what they acknowledge is on the disk.
//!
//! With `appendfsync always` (and with `everysec` while the disk does not keep up) the answer to a call that has recorded
//! something waits on the core that ran it, by the journal's position, until the append-only file is durable up to there.
//! Answers to reads, and what other cores run, never wait, except behind an earlier answer of the same connection. Nothing is
//! looked at while the journal is off.
//!
//! Whatever `appendfsync` is: where all was removed and the file for what follows has not come, answers wait for it. Until then no
//! manifest leads to what is recorded, and a node that ends, or a process that dies, would have lost it.

use std::collections::VecDeque;

use hashbrown::HashMap;
use slab::Slab;

use super::Requests;
use crate::base::core_id::CoreId;
use crate::command::blocking;
use crate::command::client::{Caller, ClientRef};
use crate::command::execute::Share;
use crate::command::journal::JournalReader;
use crate::config::AppendFsync;
use crate::resp::ReplyBuffer;
use crate::runtime::batch::ReplyTarget;
use crate::runtime::mesh::Message;
use crate::runtime::persistence::append_only::{AppendFile, Order, SwitchKind};

/// From here on numbers of clients stand for targets of migrations that want to know.
pub(super) const MIGRATIONS: u64 = 1 << 62;
/// Stands for a client's number where the primary is who wants to know; those of clients begin with 1.
pub(super) const PRIMARY: u64 = 0;

/// What waits for the disk.
enum Held {
    Reply {
        target: ReplyTarget,
        reply: Box<ReplyBuffer>,
    },
    /// This core's part of a command of every core, gathered by that core.
    Share {
        to: CoreId,
        gather: u32,
        share: Share,
    },
}

/// The answers that wait on one core.
#[derive(Default)]
pub struct Durability {
    /// With the positions that they wait for, which only grow.
    held: VecDeque<(u64, Held)>,
    /// How often this core has gone on to another file, and how many of those files have come.
    switches: u64,
    files_came: u64,
    /// The call that has just run has removed everything: its file must come before it is answered.
    pub(super) flushed_slot: Option<u64>,
    held_for_files: Vec<(u64, Held)>,
    /// The last of the switches because all was removed.
    last_flush: u64,
    /// What core 0 was last told of the size of this core's file.
    pub(super) told_bytes: (u64, u64),
    /// The disk does not keep up.
    is_late: bool,
    /// Up to here an fsync has covered the journal.
    durable_position: u64,
    /// Who wants to be told when an fsync has covered the journal up to a position: a core, with its ticket.
    curious: VecDeque<(u64, CoreId, u32)>,
    /// On core 0: who is to be told once there is a base.
    curious_of_base: Vec<(CoreId, u32)>,
    /// Clients of this core that wait for all cores, and how many of those have not answered.
    awaiting: Slab<(u64, usize)>,
    /// What this core has to say to its own clients among them.
    own_durable: Vec<(u32, bool)>,
    /// The last ticket of each of them: a client may have given up and wait anew.
    tickets: HashMap<u64, u32>,
    /// For the core's writer, at the end of the turn.
    pub orders: Vec<Order>,
}

impl Durability {
    /// Whether all was removed, and the file for what follows has not come.
    #[inline]
    fn awaits_flushed_file(&self) -> bool {
        self.last_flush > self.files_came
    }
}

impl Requests {
    /// Whether answers to calls that record something have to wait.
    #[inline]
    pub(super) fn holds_replies(&self) -> bool {
        self.core.journal.is_for(JournalReader::File) && (self.awaits_fsync() || self.durability.awaits_flushed_file())
    }

    #[inline]
    fn awaits_fsync(&self) -> bool {
        self.core.config.appendfsync == AppendFsync::Always || self.durability.is_late
    }

    /// Where the journal is before a call runs, to be compared with where it is afterwards. Of a slot that is on its way it counts as further
    /// back when not all is durable: the reply may send the client after a key that has just gone to another node, and if this node came
    /// back from a crash with that key, it would hide what was written, and acknowledged, there.
    #[inline]
    pub(super) fn before_call(&self, caller: &Caller) -> u64 {
        let position = self.core.journal.position();
        let waits = caller.is_slot_open && self.holds_replies();
        if waits { position.min(self.durability.durable_position) } else { position }
    }

    /// Answers a call before which the journal was at `before`: at once, or when what the call has recorded is durable.
    pub(super) fn answer_durably(&mut self, before: u64, target: ReplyTarget, reply: Box<ReplyBuffer>) {
        let position = self.core.journal.position();
        if position != before && self.holds_replies() {
            self.hold(position, Held::Reply { target, reply });
        } else {
            self.answer(target, reply);
        }
    }

    /// From now on this core records what it changes, in this file.
    pub fn append_to(&mut self, file: Box<AppendFile>) {
        self.feed_log();
        self.core.journal.discard();
        self.core.set_journal(JournalReader::File, true);
        let position = self.core.journal.position();
        self.durability.orders.push(Order::Open { file, position });
    }

    /// On core 0: gives each core its file, in their order.
    pub fn begin_append_only(&mut self, files: Vec<AppendFile>) {
        for (index, file) in files.into_iter().enumerate() {
            match CoreId::new(index) {
                core if core == self.core.id => self.append_to(Box::new(file)),
                core => self.mesh.send(core, Message::AppendTo(Box::new(file))),
            }
        }
    }

    /// Answers when the journal's bytes up to `position` are durable.
    pub(super) fn hold_reply(&mut self, position: u64, target: ReplyTarget, reply: Box<ReplyBuffer>) {
        self.hold(position, Held::Reply { target, reply });
    }

    /// Whether this core's share of a call before which the journal was at `before` has to wait.
    pub(super) fn must_hold_share(&self, before: u64) -> bool {
        let has_recorded = self.core.journal.position() != before;
        (has_recorded || self.durability.flushed_slot.is_some()) && self.holds_replies()
    }

    /// As `answer_durably`, for a share that another core, or this one, gathers.
    pub(super) fn hold_share(&mut self, to: CoreId, gather: u32, share: Share) {
        if let Some(slot) = self.durability.flushed_slot.take() {
            self.durability.held_for_files.push((slot, Held::Share { to, gather, share }));
            return;
        }
        let position = self.core.journal.position();
        self.hold(position, Held::Share { to, gather, share });
    }

    /// This core goes on to another file, from where the journal is now.
    pub(super) fn switch_file(&mut self, kind: SwitchKind) {
        self.feed_log();
        if !self.core.journal.is_for(JournalReader::File) {
            self.core.journal.discard();
            self.core.set_journal(JournalReader::File, true);
        }
        let mut last = Vec::new();
        self.core.journal.take_into(&mut last);
        self.core.journal.restart();
        let position = self.core.journal.position();
        self.durability.orders.push(Order::Switch { last, position });
        self.durability.switches += 1;
        if kind == SwitchKind::Flush {
            self.durability.flushed_slot = Some(self.durability.switches);
            self.durability.last_flush = self.durability.switches;
        }
        if self.core.id == CoreId::FIRST {
            self.core_switched(CoreId::FIRST, kind);
        } else {
            self.mesh.send(CoreId::FIRST, Message::AppendSwitched(kind));
        }
    }

    /// The next of the files that bytes wait for has come.
    pub fn file_came(&mut self) {
        self.durability.files_came += 1;
        let came = self.durability.files_came;
        let held = std::mem::take(&mut self.durability.held_for_files);
        let (now, later): (Vec<_>, Vec<_>) = held.into_iter().partition(|(slot, _)| *slot <= came);
        self.durability.held_for_files = later;
        now.into_iter().for_each(|(_, held)| self.let_go(held));
        self.carry_out_effects();
    }

    /// There are no append-only files any more: nobody waits for one.
    pub fn files_are_gone(&mut self) {
        self.tell_what_is_safe(u64::MAX);
        self.durability.files_came = self.durability.switches;
        let held = std::mem::take(&mut self.durability.held_for_files);
        held.into_iter().for_each(|(_, held)| self.let_go(held));
        for (_, who, ticket) in std::mem::take(&mut self.durability.curious) {
            self.tell_durable(who, ticket, false);
        }
        for (who, ticket) in std::mem::take(&mut self.durability.curious_of_base) {
            self.tell_durable(who, ticket, false);
        }
        if self.core.id == CoreId::FIRST {
            self.close_folder();
        }
        self.carry_out_effects();
    }

    fn let_go(&mut self, held: Held) {
        match held {
            Held::Reply { target, reply } => self.answer(target, reply),
            Held::Share { to, gather, share } if to == self.core.id => self.share_arrived(gather, to, share),
            Held::Share { to, gather, share } => self.mesh.send(to, Message::Share { gather, share }),
        }
    }

    fn hold(&mut self, position: u64, held: Held) {
        if !self.awaits_fsync() && self.durability.awaits_flushed_file() {
            return self.durability.held_for_files.push((self.durability.last_flush, held));
        }
        assert!(self.durability.held.back().is_none_or(|(last, _)| *last <= position), "positions only grow");
        self.durability.held.push_back((position, held));
    }

    /// WAITAOF: asks all cores.
    pub(super) fn await_durable(&mut self, client: ClientRef) {
        let others: Vec<CoreId> = self.mesh.others().collect();
        let ticket = self.durability.awaiting.insert((client.id, others.len() + 1)) as u32;
        self.durability.tickets.insert(client.id, ticket);
        others.into_iter().for_each(|core| self.mesh.send(core, Message::AwaitDurable { ticket }));
        self.tell_when_durable(self.core.id, ticket);
    }

    pub(super) fn tell_when_durable(&mut self, who: CoreId, ticket: u32) {
        if self.core.id == CoreId::FIRST && self.awaits_base() {
            // What is in the files already is of no use yet.
            return self.durability.curious_of_base.push((who, ticket));
        }
        let position = self.core.journal.position();
        if !self.core.journal.is_for(JournalReader::File) || position <= self.durability.durable_position {
            // Core 0 has a file whenever there are any.
            let has_file = self.core.journal.is_for(JournalReader::File) || self.core.id != CoreId::FIRST;
            self.tell_durable(who, ticket, has_file);
        } else {
            self.durability.curious.push_back((position, who, ticket));
        }
    }

    /// On core 0: there is a base now, or there is to be none any more.
    pub(super) fn tell_of_base(&mut self) {
        for (who, ticket) in std::mem::take(&mut self.durability.curious_of_base) {
            self.tell_when_durable(who, ticket);
        }
    }

    fn tell_durable(&mut self, who: CoreId, ticket: u32, has_file: bool) {
        if who == self.core.id {
            // At the beginning of the next turn: the connection of the client that asks may be in use now.
            self.durability.own_durable.push((ticket, has_file));
        } else {
            self.mesh.send(who, Message::Durable { ticket, has_file });
        }
    }

    /// Whether this core has something to say to its own clients that wait for the disk.
    pub(super) fn has_own_durable(&self) -> bool {
        !self.durability.own_durable.is_empty()
    }

    pub(super) fn tell_own_durable(&mut self) {
        for (ticket, has_file) in std::mem::take(&mut self.durability.own_durable) {
            self.core_is_durable(ticket, has_file);
        }
        self.carry_out_effects();
    }

    pub(super) fn core_is_durable(&mut self, ticket: u32, has_file: bool) {
        let Some((client_id, missing)) = self.durability.awaiting.get_mut(ticket as usize) else {
            unreachable!("a ticket is kept until all cores have answered")
        };
        *missing -= 1;
        let (client_id, is_last) = (*client_id, *missing == 0);
        if is_last {
            self.durability.awaiting.remove(ticket as usize);
        }
        let is_current = self.durability.tickets.get(&client_id) == Some(&ticket);
        if is_current && (is_last || !has_file) {
            self.durability.tickets.remove(&client_id);
            match client_id {
                PRIMARY => self.stream_is_durable(has_file),
                id if id >= MIGRATIONS => self.import_is_durable(id),
                _ => blocking::is_safe(&mut self.core, client_id, has_file),
            }
        }
    }

    /// The writer has got so far, on the disk and for those who wait: lets go what waited for it.
    pub fn released(&mut self, durable_position: u64, position: u64, is_late: bool) {
        self.tell_what_is_safe(position);
        self.durability.is_late = is_late;
        self.durability.durable_position = durable_position;
        while let Some((_, who, ticket)) =
            self.durability.curious.pop_front_if(|(wanted, ..)| *wanted <= durable_position)
        {
            self.tell_durable(who, ticket, true);
        }
        while self.durability.held.front().is_some_and(|(wanted, _)| *wanted <= position) {
            let Some((_, held)) = self.durability.held.pop_front() else { break };
            self.let_go(held);
        }
        self.carry_out_effects();
    }

    /// This core's file cannot be written, for this reason, or can be again.
    pub fn append_failure(&mut self, failure: Option<String>) {
        if self.core.id == CoreId::FIRST {
            self.append_failed_on(CoreId::FIRST, failure);
        } else {
            self.mesh.send(CoreId::FIRST, Message::AppendFailure(failure));
        }
    }

    /// On core 0: tells every core whether commands that write are to be refused.
    pub(super) fn append_failed_on(&mut self, core: CoreId, failure: Option<String>) {
        let Some(node) = self.core.node.as_mut() else { return };
        node.persistence.append_only.core_reports(core, failure);
        self.publish_disk_view();
    }

    /// Whether the core's writer has anything to do.
    #[inline]
    pub fn appends(&self) -> bool {
        self.core.journal.is_for(JournalReader::File)
            || self.core.append_figures.is_open
            || !self.durability.orders.is_empty()
    }
}
