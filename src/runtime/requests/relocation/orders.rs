//! Core 0's side: the orders, one relocation after the other, and what keeps one from beginning.

use super::{
    Current, HOLD_MS_MAX, Outstanding, PATIENCE_MS, RETRY_AFTER_MS, RETRY_DOUBLINGS_MAX, RelocationMessage, Stage,
    Wanted,
};
use crate::base::core_id::CoreId;
use crate::base::slot::{Slot, SlotSet};
use crate::cluster::migration::End;
use crate::cluster::view::Serving;
use crate::command::core::Effect;
use crate::command::error::CommandError;
use crate::command::execute::{self, Call};
use crate::command::relocation::{Moved, Relocation};
use crate::resp::{Reply, ReplyBuffer, RespVersion};
use crate::runtime::batch::ReplyTarget;
use crate::runtime::connection::Connection;
use crate::runtime::requests::Requests;

impl Requests {
    /// Has these slots of this node change to a core, those of each other core together (core 0). What cannot be done for a while is
    /// given up, which the log tells at level debug.
    pub fn hand_over(&mut self, slots: Box<SlotSet>, to: CoreId) {
        self.want(slots, to, None);
    }

    /// Whether slots are changing their core, or are about to (core 0).
    pub fn has_hand_overs(&self) -> bool {
        self.relocating.current.is_some() || !self.relocating.wanted.is_empty()
    }

    pub(super) fn want(&mut self, slots: Box<SlotSet>, to: CoreId, target: Option<ReplyTarget>) {
        assert!(self.core.id == CoreId::FIRST, "core 0 has the orders");
        let deadline_ms = self.now_ms() + PATIENCE_MS;
        self.relocating.wanted.push_back(Wanted { slots, to, target, deadline_ms });
        self.begin_relocation();
    }

    /// DEBUG SLOT-CORE: nothing behind it is run before the slot is there.
    #[cold]
    pub(in crate::runtime::requests) fn ask_to_relocate(
        &mut self,
        connection: &mut Connection,
        call: &Call<'_>,
        wanted: bool,
    ) {
        let sequence = connection.await_reply(wanted);
        let mut reply = ReplyBuffer::new();
        let shares = vec![self.run_part(call)];
        execute::merge(&mut self.core, call, shares, &mut reply);
        let Some(at) = self.core.effects.iter().position(|effect| matches!(effect, Effect::Relocate { .. })) else {
            return connection.arrived(sequence, reply.len_bytes(), &mut reply);
        };
        let Effect::Relocate { slots, to } = self.core.effects.remove(at) else { unreachable!("just found") };
        connection.hold_until(sequence);
        let client = &mut self.core.clients[call.caller.client.index as usize];
        (client.blocked, client.has_footprint) = (true, true);
        let target = ReplyTarget { client: call.caller.client, sequence };
        match self.core.id {
            // Its connection is in use here: it is looked at when the turn ends.
            CoreId::FIRST => {
                let deadline_ms = self.now_ms() + PATIENCE_MS;
                self.relocating.wanted.push_back(Wanted { slots, to, target: Some(target), deadline_ms });
            }
            _ => self.tell(CoreId::FIRST, RelocationMessage::Ask { slots, to, target }),
        }
    }

    /// What keeps slots from being relocated now; and whether that may pass.
    fn obstacle(&mut self, slots: &SlotSet) -> Option<(&'static str, bool)> {
        let is_loading =
            self.core.disk.loading || self.underway.is_some() || self.next_reload.is_some() || !self.reloads.is_empty();
        let begins_snapshot = self.postponed_save.is_some() || self.is_cut_beginning();
        let (ends, has_save) = (self.ending.is_some() || self.files.ends.is_some(), self.save.is_some());
        let lacks_base = self.awaits_base();
        let is_behind = !self.has_caught_up();
        // What a taker records waits in its memory meanwhile: one after the other.
        let waits_for_file = self.files.has_hand_over();
        let node = self.core.node();
        let jobs = &node.migrations;
        let moves_away = jobs.open(End::Export).chain(jobs.open(End::Import)).any(|job| job.slots.overlaps(slots));
        let rewrites = node.persistence.append_only.is_scheduled() && !has_save;
        let is_replica = node.replication.upstream.is_some() || self.core.replication.role.is_replica();
        let is_served = |slot: Slot| self.core.cluster.serving(slot) == Serving::Here;
        match () {
            () if is_replica => Some(("the node is a replica", false)),
            () if !slots.iter().all(is_served) => Some(("it is not served by this node", false)),
            () if ends => Some(("the node is about to end", true)),
            () if is_behind => Some(("what has come from the primary is applied", true)),
            () if is_loading => Some(("data are loaded", true)),
            () if begins_snapshot => Some(("a snapshot begins", true)),
            () if lacks_base || rewrites => Some(("a rewrite of the append-only files begins", true)),
            () if waits_for_file => Some(("the file of the last one is made", true)),
            () if moves_away => Some(("it is on its way to another node", true)),
            () => None,
        }
    }

    pub(super) fn attend_orders(&mut self) -> bool {
        let now_ms = self.now_ms();
        let is_over = self.relocating.wanted.front().is_some_and(|wanted| wanted.deadline_ms <= now_ms);
        let Some(current) = &mut self.relocating.current else {
            self.begin_relocation();
            return true;
        };
        match &mut current.stage {
            Stage::Retries { .. } | Stage::Prepares if is_over => self.give_order_up(),
            Stage::Retries { at_ms } if *at_ms <= now_ms => self.prepare(),
            Stage::Holds { since_ms, is_called_off: is_called_off @ false } if now_ms - *since_ms > HOLD_MS_MAX => {
                *is_called_off = true;
                let (giver, number) = (current.relocation.from, current.relocation.number);
                self.tell(giver, RelocationMessage::CallOff(number));
            }
            _ => return false,
        }
        true
    }

    /// Begins with the next order, or with the next giver of the one at hand.
    fn begin_relocation(&mut self) {
        while self.relocating.current.is_none()
            && let Some(wanted) = self.relocating.wanted.front_mut()
        {
            let (owners, to) = (&self.core.owners, wanted.to);
            let rest: SlotSet = wanted.slots.iter().filter(|slot| owners.owner(*slot) != to).collect();
            let Some(giver) = rest.iter().next().map(|slot| owners.owner(slot)) else {
                let target = self.relocating.wanted.pop_front().and_then(|wanted| wanted.target);
                self.answer_order(target, None);
                continue;
            };
            let slots = Box::new(rest.iter().filter(|slot| owners.owner(*slot) == giver).collect());
            *wanted.slots = rest;
            self.relocating.current = Some(Box::new(Current {
                relocation: Relocation { number: 0, slots, from: giver, to },
                stage: Stage::Prepares,
                held_ns: 0,
                outstanding: Outstanding::default(),
                why: "",
                failures: 0,
            }));
            self.prepare();
        }
    }

    fn prepare(&mut self) {
        let Some(current) = &self.relocating.current else { return };
        let slots = current.relocation.slots.clone();
        if let Some((why, passes)) = self.obstacle(&slots) {
            return self.is_in_the_way(why, passes);
        }
        self.relocating.numbers += 1;
        let number = self.relocating.numbers;
        let Some(current) = &mut self.relocating.current else { return };
        (current.relocation.number, current.stage) = (number, Stage::Prepares);
        let giver = current.relocation.from;
        self.tell(giver, RelocationMessage::Prepare { number, slots });
    }

    fn is_in_the_way(&mut self, why: &'static str, passes: bool) {
        let now_ms = self.now_ms();
        let Some(current) = &mut self.relocating.current else { return };
        current.failures += u32::from(matches!(current.stage, Stage::Holds { .. }));
        let at_ms = now_ms + (RETRY_AFTER_MS << current.failures.min(RETRY_DOUBLINGS_MAX));
        (current.stage, current.why) = (Stage::Retries { at_ms }, why);
        if !passes {
            self.give_order_up();
        }
    }

    fn give_order_up(&mut self) {
        let Some(current) = self.relocating.current.take() else { return };
        let Current { relocation: Relocation { slots, from, to, .. }, why, .. } = *current;
        let (count, from, to) = (slots.count(), from.index(), to.index());
        tracing::debug!("{count} slots stay on core {from} and do not go to core {to}: {why}");
        let target = self.relocating.wanted.pop_front().and_then(|wanted| wanted.target);
        self.answer_order(target, Some(why));
        // The next one in the next turn: this may have been called from anywhere.
    }

    fn answer_order(&mut self, target: Option<ReplyTarget>, why: Option<&str>) {
        let Some(target) = target else { return };
        let mut reply = Box::new(ReplyBuffer::new());
        let mut written = Reply::new(&mut reply, RespVersion::V2);
        match why {
            None => written.ok(),
            Some(why) => {
                written.error(CommandError::formatted(format!("ERR The slot stays on its core: {why}")).line());
            }
        }
        self.answer(target, reply);
    }

    fn current(&mut self, number: u64) -> Option<&mut Current> {
        self.relocating.current.as_deref_mut().filter(|current| current.relocation.number == number)
    }

    pub(super) fn giver_is_ready(&mut self, number: u64) {
        let Some(Current { relocation, stage: Stage::Prepares, .. }) = self.current(number) else { return };
        let relocation = relocation.clone();
        if let Some((why, passes)) = self.obstacle(&relocation.slots) {
            return self.is_in_the_way(why, passes);
        }
        let (since_ms, held_ns, count) = (self.now_ms(), self.core.nanos.now_ns(), self.core.facts.cores_count);
        let Some(current) = self.current(number) else { return };
        current.stage = Stage::Holds { since_ms, is_called_off: false };
        (current.held_ns, current.outstanding) = (held_ns, Outstanding::of(count));
        self.tell_every_core(|| RelocationMessage::Hold(Box::new(relocation.clone())));
    }

    pub(super) fn core_has_marked(&mut self, number: u64) {
        let Some(current) = self.current(number) else { return };
        current.outstanding.marked();
        self.mark_if_possible();
    }

    pub(super) fn giver_refuses(&mut self, number: u64, why: &'static str) {
        if self.current(number).is_some() {
            self.tell_every_core(|| RelocationMessage::Release { number, has_moved: false });
            self.is_in_the_way(why, true);
            self.begin_what_waited();
        }
    }

    pub(super) fn tables_came(&mut self, number: u64, moved: Box<Moved>) {
        let current = self.current(number).expect("a giver gives what it was asked for");
        current.stage = Stage::Moves;
        let taker = current.relocation.to;
        self.tell(taker, RelocationMessage::Install { number, moved });
    }

    pub(super) fn note_progress_of(&mut self, number: u64, note: impl FnOnce(&mut Outstanding)) {
        let Some(current) = self.current(number) else { return };
        note(&mut current.outstanding);
        if current.outstanding.is_through() {
            self.end_relocation();
        }
    }

    fn end_relocation(&mut self) {
        let Some(current) = self.relocating.current.take() else { return };
        let Current { relocation: Relocation { number, slots, from, to }, held_ns, .. } = *current;
        self.tell_every_core(|| RelocationMessage::Release { number, has_moved: true });
        let us = self.core.nanos.now_ns().saturating_sub(held_ns) / 1000;
        let (count, from, to) = (slots.count(), from.index(), to.index());
        tracing::debug!("{count} slots have gone from core {from} to core {to}, and were held back for {us} us");
        self.begin_what_waited();
        self.begin_relocation();
    }

    /// What must not begin while slots change their core, and has been asked for.
    fn begin_what_waited(&mut self) {
        self.begin_walks_that_waited();
    }

    /// The giver's changes are safe: the taker may have its file.
    pub(super) fn giver_is_safe(&mut self, number: u64) {
        self.files.givers_are_safe.insert(number);
        self.advance_files();
    }
}
