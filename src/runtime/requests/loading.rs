//! Loading as the turn loop sees it: each core's slices, and core 0's books (see `persistence::loading`).

use std::path::Path;
use std::sync::atomic::Ordering;

use super::Requests;
use crate::base::core_id::CoreId;
use crate::base::slot::{SLOTS_COUNT, Slot, SlotSet};
use crate::cluster::machine::{Machine, SetSlot};
use crate::cluster::node::NodeIndex;
use crate::cluster::state::SlotOrder;
use crate::command::core::{Core, Effect, Publication};
use crate::command::error::CommandError;
use crate::command::execute::{self, Call};
use crate::command::persistence::DiskView;
use crate::command::persistence::loading::Reload;
use crate::command::persistence::saving::SaveFor;
use crate::command::scripting::functions;
use crate::command::tracking;
use crate::keyspace::Disposal;
use crate::resp::{Reply, ReplyBuffer, RespVersion};
use crate::runtime::batch::ReplyTarget;
use crate::runtime::connection::Connection;
use crate::runtime::log;
use crate::runtime::mesh::Message;
use crate::runtime::persistence::append_only::Folder;
use crate::runtime::persistence::loading::{Ends, LoadOrder, Part, Plan, Prepared, Slice, Source, Underway};

impl Requests {
    /// Loads a slice, while there is something to load. True when there was.
    pub fn load_slice(&mut self) -> bool {
        let Some(mut part) = self.loading.take() else { return false };
        let dirty = self.core.keyspace.stats.dirty;
        let came_to = part.slice(&mut self.core);
        // What was loaded is no change.
        self.core.keyspace.stats.dirty = dirty;
        self.note_progress();
        match came_to {
            Slice::Ended => self.part_ended(),
            Slice::Idle | Slice::Worked => self.loading = Some(part),
        }
        self.core.settle();
        self.carry_out_effects();
        came_to != Slice::Idle
    }

    /// Whether this core has something to load at once.
    pub fn has_more_to_load(&self) -> bool {
        self.loading.as_ref().is_some_and(|part| part.has_more())
    }

    /// Brings what INFO tells up to date, and what CONFIG SET has changed.
    pub(super) fn note_progress(&mut self) {
        let Some(underway) = &self.underway else { return };
        underway.shared.key_delay_us.store(self.core.config.key_load_delay, Ordering::Relaxed);
        let now = self.core.clock.unix();
        let loading = &mut self.core.node().persistence.loading;
        let started = loading.progress.map_or(now, |progress| progress.started);
        loading.progress = Some(underway.progress(started));
    }

    /// This core is done.
    fn part_ended(&mut self) {
        self.core.suspend_journal(false);
        let slots = self.core.cluster.enabled.then(|| Box::new(slots_with_keys(&self.core)));
        match self.core.id {
            CoreId::FIRST => self.part_loaded(slots),
            _ => self.mesh.send(CoreId::FIRST, Message::Loaded { slots }),
        }
    }

    /// A core is done (core 0 only).
    pub(super) fn part_loaded(&mut self, slots: Option<Box<SlotSet>>) {
        let Some(underway) = &mut self.underway else { return };
        underway.missing -= 1;
        if let Some(slots) = slots {
            slots.iter().for_each(|slot| {
                underway.slots.insert(slot);
            });
        }
        if underway.missing == 0 {
            self.finish_loading();
        }
    }

    /// All is there.
    fn finish_loading(&mut self) {
        let Some(underway) = self.underway.take() else { return };
        let failure = underway.shared.failure();
        self.take_imports_up(&underway);
        let loading = &mut self.core.node().persistence.loading;
        loading.progress = None;
        loading.last_keys_loaded = underway.shared.keys_loaded.load(Ordering::Relaxed);
        loading.last_keys_expired = underway.shared.keys_expired.load(Ordering::Relaxed);
        // Without the primary's data the files stay as they are, and nothing is added to them.
        let replaces_files = matches!(underway.ends, Ends::Primary) && failure.is_some();
        let view = DiskView { loading: false, replaces_files, ..self.core.disk.clone() };
        let mut publications = vec![Publication::Disk(view)];
        match underway.ends {
            Ends::Start => {
                self.take_history_up(underway.shared.history());
                if let Some((folder, files)) = underway.shared.take_folder() {
                    self.folder = Some(folder);
                    self.begin_append_only(files);
                }
                publications.extend(self.claim_slots(&underway.slots));
                self.publish_now(publications, None);
                self.end_imports_of_before();
                tracing::info!("Ready to accept connections tcp");
            }
            Ends::Primary => {
                self.publish_now(publications, None);
                self.primary_is_loaded(&underway);
            }
            Ends::Command(target) => {
                let mut reply = Box::new(ReplyBuffer::new());
                let mut written = Reply::new(&mut reply, RespVersion::V2);
                match (failure, underway.source) {
                    (None, _) => written.ok(),
                    (Some(_), Source::Snapshot) => written.error(could_not_load().line()),
                    // Half of the append-only files is no data to go on with.
                    (Some(line), Source::AppendOnly) => {
                        log::complain(&line);
                        std::process::exit(1);
                    }
                }
                match underway.source {
                    Source::Snapshot => tracing::warn!("DB reloaded by DEBUG RELOAD"),
                    Source::AppendOnly => {
                        tracing::warn!("Append Only File loaded by DEBUG LOADAOF");
                        let changes = self.core.ledger.changes();
                        self.core.node().persistence.saving.forget_changes(changes);
                    }
                }
                self.publish_now(publications, Some((target, reply)));
            }
        }
    }

    /// Slots that were on their way when what was loaded was written: on a replica they still are, on a primary their keys go.
    fn take_imports_up(&mut self, underway: &Underway) {
        let now = self.moment();
        let log_max = usize::try_from(self.core.config.cluster_slot_migration_log_max_len).unwrap_or(usize::MAX);
        let jobs = &mut self.core.node().migrations;
        if matches!(underway.ends, Ends::Primary) {
            jobs.forget_known();
        }
        underway.shared.take_imports().iter().for_each(|fact| jobs.note_fact(now, fact));
        // The files of a long time may tell of many.
        jobs.trim(log_max);
        self.publish_migrations();
    }

    /// Publishes, with the answer behind it, whether there are other cores or not.
    fn publish_now(&mut self, publications: Vec<Publication>, answer: Option<(ReplyTarget, Box<ReplyBuffer>)>) {
        if self.mesh.others().next().is_some() {
            return self
                .publish(publications, answer.map(|(target, reply)| (self.core.journal.position(), target, reply)));
        }
        publications.into_iter().for_each(|publication| self.core.apply(publication));
        if let Some((target, reply)) = answer {
            self.answer(target, reply);
        }
    }

    /// Keys of slots that nobody owns make this node responsible for them, and those of another node's slots are being imported, as
    /// in Redis. What a replica has is its primary's affair.
    fn claim_slots(&mut self, with_keys: &SlotSet) -> Option<Publication> {
        let clock = self.core.clock;
        // Those that were on their way as a whole go.
        let coming = self.core.node().migrations.hidden_slots();
        let cluster = self.core.node().cluster.as_deref_mut()?;
        let state = cluster.state();
        if state.myself().is_replica() {
            return None;
        }
        let (mut claimed, mut imported) = (SlotSet::new(), Vec::new());
        for slot in with_keys.iter().filter(|slot| !coming.contains(*slot)) {
            match state.owner(slot) {
                None => {
                    tracing::info!("I have keys for unassigned slot {slot}. Taking responsibility for it.");
                    claimed.insert(slot);
                }
                Some(owner) if owner != NodeIndex::MYSELF && !state.is_importing(slot) => {
                    tracing::info!(
                        "I have keys for slot {slot}, but the slot is assigned to another node. Setting it to importing state."
                    );
                    imported.push((slot, state.node(owner).id));
                }
                Some(_) => {}
            }
        }
        if claimed.is_empty() && imported.is_empty() {
            return None;
        }
        let order = |machine: &mut Machine, now| {
            machine.order_slots(SlotOrder::Assign, &claimed);
            for (slot, owner) in imported {
                if let Err(refusal) = machine.set_slot(now, slot, SetSlot::Importing(owner), true) {
                    tracing::warn!("Slot {slot} is not being imported: {refusal:?}");
                }
            }
        };
        match cluster.order(&clock, order) {
            // Nobody is told yet: the bus is not open before the data are loaded.
            Ok(((), step)) => step.view.map(|view| Publication::Cluster(Box::new(view))),
            Err(error) => {
                let line = format!("Fatal: can't update cluster config file: {error}");
                tracing::error!("{line}");
                log::complain(&line);
                std::process::exit(1);
            }
        }
    }

    /// Core 0 has files for this core to load.
    pub(super) fn take_order(&mut self, order: LoadOrder) {
        let dirty = self.core.keyspace.stats.dirty;
        if order.empties {
            tracking::flushed(&mut self.core);
            if self.core.id == CoreId::FIRST {
                functions::forget_all(&mut self.core);
            }
            let in_background = order.is_primarys && self.core.config.replica_lazy_flush;
            self.core.keyspace.flush(None, if in_background { Disposal::Background } else { Disposal::Now });
        }
        self.core.settle();
        // What is loaded is in a file.
        self.feed_log();
        self.core.suspend_journal(true);
        self.core.keyspace.stats.dirty = dirty;
        self.loading = Some(Box::new(Part::new(order.inbox, order.rules, &self.core)));
    }
}

/// A reload that has been accepted; core 0's.
pub(super) struct NextReload {
    target: ReplyTarget,
    order: Reload,
    /// Cores whose journal is yet to be written.
    missing: usize,
}

impl Requests {
    /// DEBUG RELOAD or LOADAOF: nothing behind it is run before all is loaded.
    #[cold]
    pub(super) fn ask_to_reload(&mut self, connection: &mut Connection, call: &Call<'_>, wanted: bool) {
        let sequence = connection.await_reply(wanted);
        let mut reply = ReplyBuffer::new();
        let shares = vec![self.run_part(call)];
        execute::merge(&mut self.core, call, shares, &mut reply);
        let Some(order) = self.take_reload() else {
            return connection.arrived(sequence, reply.len_bytes(), &mut reply);
        };
        connection.hold_until(sequence);
        let client = &mut self.core.clients[call.caller.client.index as usize];
        (client.blocked, client.has_footprint) = (true, true);
        let target = ReplyTarget { client: call.caller.client, sequence };
        match self.core.id {
            CoreId::FIRST => self.reloads.push((target, order)),
            _ => self.mesh.send(CoreId::FIRST, Message::Reload { target, order }),
        }
    }

    fn take_reload(&mut self) -> Option<Reload> {
        let at = self.core.effects.iter().position(|effect| matches!(effect, Effect::Reload(_)))?;
        match self.core.effects.remove(at) {
            Effect::Reload(order) => Some(order),
            _ => None,
        }
    }

    /// What is due of it at the end of a turn's work.
    #[inline]
    pub(super) fn settle_loading(&mut self) {
        // The folder is with a thread while a file is made.
        if !self.reloads.is_empty() && !self.is_relocating() && !self.are_files_pending() {
            for (target, order) in std::mem::take(&mut self.reloads) {
                self.begin_reload(target, order);
            }
        }
        if self.awaits_journal && self.core.journal.is_empty() && self.core.append_figures.buffer_bytes == 0 {
            self.awaits_journal = false;
            match self.core.id {
                CoreId::FIRST => self.journal_written(),
                _ => self.mesh.send(CoreId::FIRST, Message::JournalWritten),
            }
        }
    }

    fn begin_reload(&mut self, target: ReplyTarget, order: Reload) {
        if self.core.disk.loading || self.next_reload.is_some() {
            return self.refuse_reload(target, &CommandError::Loading);
        }
        if order.saves && self.core.node().persistence.saving.is_under_way() {
            return self.refuse_reload(target, &CommandError::text_static("ERR Background save already in progress"));
        }
        // From here on nobody changes data; what was changed goes to the disk first.
        self.publish_now(vec![Publication::Disk(DiskView { loading: true, ..self.core.disk.clone() })], None);
        self.next_reload = Some(NextReload { target, order, missing: self.core.facts.cores_count });
        self.awaits_journal = true;
        let others: Vec<CoreId> = self.mesh.others().collect();
        others.into_iter().for_each(|core| self.mesh.send(core, Message::WriteJournal));
    }

    /// A core's journal is written (core 0 only).
    pub(super) fn journal_written(&mut self) {
        let Some(next) = &mut self.next_reload else { return };
        next.missing -= 1;
        if next.missing > 0 {
            return;
        }
        if next.order.saves {
            let now_s = self.core.clock.unix().seconds();
            self.core.node().persistence.saving.begin(SaveFor::Reload, now_s);
            return self.begin_save(SaveFor::Reload, None);
        }
        self.go_on_to_load();
    }

    /// The file that is to be loaded again has been written, or could not be.
    pub(super) fn saved_to_reload(&mut self, is_saved: bool) {
        if is_saved {
            return self.go_on_to_load();
        }
        if let Some(NextReload { target, .. }) = self.next_reload.take() {
            self.give_reload_up(target, &CommandError::text_static("ERR"));
        }
    }

    fn give_reload_up(&mut self, target: ReplyTarget, error: &CommandError) {
        self.publish_now(vec![Publication::Disk(DiskView { loading: false, ..self.core.disk.clone() })], None);
        self.refuse_reload(target, error);
    }

    fn go_on_to_load(&mut self) {
        let Some(NextReload { target, order, .. }) = self.next_reload.take() else { return };
        if let Err(line) = self.begin_loading(target, order) {
            tracing::error!("{line}");
            self.give_reload_up(target, &could_not_load());
        }
    }

    fn begin_loading(&mut self, target: ReplyTarget, order: Reload) -> Result<(), String> {
        let config = self.core.config.clone();
        let plan = match (order.append_only, &self.folder) {
            (false, _) => Plan::snapshot(&config)?,
            (true, Some(folder)) => Plan::append_only(folder)?,
            (true, None) if !Path::new(&config.appenddirname).is_dir() => None,
            (true, None) => Plan::append_only(&Folder::open(&config)?)?,
        };
        let plan = plan.ok_or("There is no file to load")?;
        let cores_count = self.core.facts.cores_count;
        let owners = self.core.owners.clone();
        let mut prepared = Prepared::new(plan, None, &config, owners, self.mesh.bells(), cores_count);
        prepared.rules.replaces = order.replaces;
        self.underway = Some(Box::new(prepared.underway(cores_count, Ends::Command(target))));
        for (index, (inbox, rules)) in prepared.parts().into_iter().enumerate() {
            let part = LoadOrder { inbox, rules, empties: order.empties, is_primarys: false };
            match CoreId::new(index) {
                core if core == self.core.id => self.take_order(part),
                core => self.mesh.send(core, Message::Load(Box::new(part))),
            }
        }
        self.note_progress();
        prepared.begin(false).map_err(|error| {
            // The cores have begun and nobody reads: there is no way on.
            log::complain(&format!("Can't start a thread: {error}"));
            std::process::exit(1)
        })
    }

    pub(super) fn refuse_reload(&mut self, target: ReplyTarget, error: &CommandError) {
        let mut reply = Box::new(ReplyBuffer::new());
        Reply::new(&mut reply, RespVersion::V2).error(error.line());
        self.answer(target, reply);
    }
}

fn could_not_load() -> CommandError {
    CommandError::text_static("ERR Error trying to load the RDB dump, check server logs.")
}

fn slots_with_keys(core: &Core) -> SlotSet {
    let mut slots = SlotSet::new();
    for slot in (0..SLOTS_COUNT as u16).map(Slot::new) {
        if core.keyspace.slot_len(0, slot) > 0 {
            slots.insert(slot);
        }
    }
    slots
}
