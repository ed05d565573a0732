//! Loading as the turn loop sees it: each core's slices, and core 0's books (see `persistence::loading`).

use std::sync::atomic::Ordering;

use super::Requests;
use crate::base::core_id::CoreId;
use crate::base::slot::{SLOTS_COUNT, Slot, SlotSet};
use crate::cluster::state::SlotOrder;
use crate::command::core::{Core, Publication};
use crate::command::error::CommandError;
use crate::command::persistence::DiskView;
use crate::command::tracking;
use crate::keyspace::Disposal;
use crate::resp::{Reply, ReplyBuffer, RespVersion};
use crate::runtime::batch::ReplyTarget;
use crate::runtime::log;
use crate::runtime::mesh::Message;
use crate::runtime::persistence::loading::{Ends, LoadOrder, Part, Slice, Source};

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
    fn note_progress(&mut self) {
        let Some(underway) = &self.underway else { return };
        underway.shared.key_delay_us.store(self.core.config.key_load_delay, Ordering::Relaxed);
        let now = self.core.clock.unix();
        let loading = &mut self.core.node().persistence.loading;
        let started = loading.progress.map_or(now, |progress| progress.started);
        loading.progress = Some(underway.progress(started));
    }

    /// This core is done.
    fn part_ended(&mut self) {
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
        let loading = &mut self.core.node().persistence.loading;
        loading.progress = None;
        loading.last_keys_loaded = underway.shared.keys_loaded.load(Ordering::Relaxed);
        loading.last_keys_expired = underway.shared.keys_expired.load(Ordering::Relaxed);
        let mut publications = vec![Publication::Disk(DiskView { loading: false, ..self.core.disk.clone() })];
        match underway.ends {
            Ends::Start => {
                if let Some((folder, files)) = underway.shared.take_folder() {
                    self.folder = Some(folder);
                    self.begin_append_only(files);
                }
                publications.extend(self.claim_slots(&underway.slots));
                self.publish_now(publications, None);
                tracing::info!("Ready to accept connections tcp");
            }
            Ends::Command(target) => {
                let mut reply = Box::new(ReplyBuffer::new());
                let mut written = Reply::new(&mut reply, RespVersion::V2);
                match (failure, underway.source) {
                    (None, _) => written.ok(),
                    (Some(_), Source::Snapshot) => {
                        let error = "ERR Error trying to load the RDB dump, check server logs.";
                        written.error(&CommandError::text_static(error).line());
                    }
                    // Half of the append-only files is no data to go on with.
                    (Some(line), Source::AppendOnly) => {
                        log::complain(&line);
                        std::process::exit(1);
                    }
                }
                match underway.source {
                    Source::Snapshot => tracing::warn!("DB reloaded by DEBUG RELOAD"),
                    Source::AppendOnly => tracing::warn!("Append Only File loaded by DEBUG LOADAOF"),
                }
                self.publish_now(publications, Some((target, reply)));
            }
        }
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

    /// Keys of slots that nobody owns make this node responsible for them, as in Redis.
    fn claim_slots(&mut self, with_keys: &SlotSet) -> Option<Publication> {
        let clock = self.core.clock;
        let cluster = self.core.node().cluster.as_deref_mut()?;
        let mut claimed = SlotSet::new();
        for slot in with_keys.iter().filter(|slot| cluster.state().owner(*slot).is_none()) {
            tracing::info!("I have keys for unassigned slot {slot}. Taking responsibility for it.");
            claimed.insert(slot);
        }
        if claimed.is_empty() {
            return None;
        }
        match cluster.change(&clock, |state| state.order(SlotOrder::Assign, &claimed)) {
            Ok(view) => Some(Publication::Cluster(Box::new(view))),
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
        if order.empties {
            let dirty = self.core.keyspace.stats.dirty;
            tracking::flushed(&mut self.core);
            self.core.keyspace.flush(None, Disposal::Now);
            self.core.keyspace.stats.dirty = dirty;
        }
        self.loading = Some(Box::new(Part::new(order.inbox, order.rules, &self.core)));
    }
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
