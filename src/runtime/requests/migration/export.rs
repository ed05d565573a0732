//! The source's side: each core's walk through the slots that are to go, and core 0's books of what is on its way. The walk
//! through one slot is in `walk`.

use std::collections::VecDeque;

use super::walk::{Means, SlotWalk};
use super::{MigrationMessage, Requests};
use crate::base::core_id::CoreId;
use crate::base::hex::HexId;
use crate::base::slot::{Slot, SlotSet};
use crate::cluster::migration::{End, Event, State};
use crate::command::core::Core;
use crate::persist::aof::ValueWriter;
use crate::runtime::persistence::pace::Pace;

/// Bytes of one core that are not sent. The walk stops there; what is recorded does not.
const WINDOW_BYTES: usize = 2 << 20;
/// How long the walk goes on at the end of a turn.
const SLICE_NS: u64 = 100_000;
/// What core 0 lets wait in the connection before a core gets its window back.
const QUEUED_BYTES_MAX: usize = 1 << 20;

/// What is on its way to a target (core 0).
pub(super) struct Books {
    /// Cores that have still to come to the end of their walk, and to be quiet.
    to_walk: usize,
    to_be_quiet: usize,
    /// Bytes put into the connection, by core, that have not been sent; all bytes that were put there, and those of them that are known
    /// to be sent.
    unsent: VecDeque<(CoreId, usize)>,
    put_bytes: u64,
    sent_bytes: u64,
}

/// One core's part in a job.
pub(super) struct Exporter {
    job: HexId,
    /// Slots that have still to be walked through.
    slots: VecDeque<Slot>,
    walk: Option<SlotWalk>,
    writer: ValueWriter,
    /// Keys that are among the bytes for the target, since core 0 was last told.
    keys: u64,
    unsent_bytes: usize,
    /// The end of the walk was told.
    has_told: bool,
    /// It waits for the marks of other cores.
    is_quieting: bool,
}

impl Exporter {
    fn has_work(&self) -> bool {
        (self.walk.is_some() || !self.slots.is_empty()) && self.unsent_bytes < WINDOW_BYTES
    }

    /// Walks a little.
    fn step(&mut self, core: &mut Core) {
        let Some(tap) = core.journal.tap_of(&self.job) else {
            self.slots.clear();
            self.walk = None;
            return;
        };
        let (mut out, mut followed) = (std::mem::take(&mut tap.bytes), std::mem::take(&mut tap.followed));
        if self.walk.is_none() {
            self.walk = self.slots.pop_front().map(SlotWalk::new);
            core.keyspace.note_touched_of(self.walk.as_ref().map(|walk| walk.slot));
        }
        let mut through = None;
        if let Some(walk) = &mut self.walk {
            let (writer, out) = (&mut self.writer, &mut out);
            let goes_on = walk.step(&mut Means { keyspace: &mut core.keyspace, followed: &mut followed, writer, out });
            self.keys += std::mem::take(&mut walk.keys);
            if !goes_on {
                through = Some(walk.slot);
                self.walk = None;
                core.keyspace.note_touched_of(None);
            }
        }
        if let Some(tap) = core.journal.tap_of(&self.job) {
            (tap.bytes, tap.followed) = (out, followed);
            through.into_iter().for_each(|slot| _ = tap.slots.insert(slot));
        }
    }
}

impl Requests {
    // ---- each core ------------------------------------------------------------------------------------------------

    pub(super) fn begin_export(&mut self, job: HexId, slots: &SlotSet) {
        let own = slots.iter().filter(|slot| self.core.owners.owner(*slot) == self.core.id).collect();
        self.core.set_tap(job, true);
        if self.migrating.exports.is_empty() {
            let share = Pace::share(false, self.core.facts.cores_count);
            self.migrating.pace = Pace::new(share, self.core.nanos.now_ns(), self.core.stats.commands_processed);
        }
        self.migrating.exports.push(Exporter {
            job,
            slots: own,
            walk: None,
            writer: ValueWriter::default(),
            keys: 0,
            unsent_bytes: 0,
            has_told: false,
            is_quieting: false,
        });
    }

    pub(super) fn stop_export(&mut self, job: HexId) {
        let Some(at) = self.migrating.exports.iter().position(|export| export.job == job) else { return };
        let export = self.migrating.exports.remove(at);
        if export.walk.is_some() {
            self.core.keyspace.note_touched_of(None);
        }
        self.core.set_tap(job, false);
        self.migrating.marks.remove(&job);
    }

    /// The export that walks: one after the other, since the keyspace notes what changes in one slot at a time.
    fn walking_export(&self) -> Option<usize> {
        self.migrating.exports.iter().position(|export| export.walk.is_some() || !export.slots.is_empty())
    }

    /// Whether a walk would get on, now or when there is time for it.
    pub(in crate::runtime::requests) fn exports_have_work(&self) -> bool {
        self.walking_export().is_some_and(|at| self.migrating.exports[at].has_work())
    }

    /// Whether there is time for it now.
    pub(in crate::runtime::requests) fn is_export_due(&self) -> bool {
        self.exports_have_work() && self.migrating.pace.has_time()
    }

    /// Goes on with the walk for a slice, as the walk of a snapshot does.
    pub(in crate::runtime::requests) fn walk_exports(&mut self, is_asked: bool) {
        if !self.exports_have_work() {
            return;
        }
        let begun_ns = self.core.nanos.now_ns();
        let pace = &mut self.migrating.pace;
        pace.earn(begun_ns, self.core.stats.commands_processed);
        if !pace.has_time() || is_asked && !pace.is_behind() {
            return;
        }
        while let Some(at) = self.walking_export()
            && self.core.nanos.now_ns().saturating_sub(begun_ns) < SLICE_NS
        {
            let export = &mut self.migrating.exports[at];
            let unfed = self.core.journal.tap_of(&export.job).map_or(0, |tap| tap.bytes.len());
            if export.unsent_bytes + unfed >= WINDOW_BYTES {
                break;
            }
            export.step(&mut self.core);
        }
        self.migrating.pace.spend(self.core.nanos.now_ns().saturating_sub(begun_ns));
    }

    /// The end of a turn: what is for targets goes to core 0.
    #[inline]
    pub fn feed_exports(&mut self) {
        if !self.migrating.exports.is_empty() {
            self.feed_exports_now();
        }
    }

    fn feed_exports_now(&mut self) {
        let mut told = Vec::new();
        for export in &mut self.migrating.exports {
            let job = export.job;
            let Some(tap) = self.core.journal.tap_of(&job) else { continue };
            if !tap.bytes.is_empty() {
                let bytes = std::mem::take(&mut tap.bytes);
                export.unsent_bytes += bytes.len();
                told.push(MigrationMessage::Chunk { job, bytes, keys: std::mem::take(&mut export.keys) });
            }
            if export.walk.is_none() && export.slots.is_empty() && !std::mem::replace(&mut export.has_told, true) {
                told.push(MigrationMessage::WalkEnds(job));
            }
        }
        told.into_iter().for_each(|message| self.tell_first(message));
    }

    pub(super) fn export_sent(&mut self, job: HexId, bytes: usize) {
        if let Some(export) = self.migrating.exports.iter_mut().find(|export| export.job == job) {
            export.unsent_bytes = export.unsent_bytes.saturating_sub(bytes);
        }
    }

    /// Writes are held by this core's gate. What it has sent to others before may still be on its way to them.
    pub(super) fn quiesce(&mut self, job: HexId) {
        if let Some(export) = self.migrating.exports.iter_mut().find(|export| export.job == job) {
            export.is_quieting = true;
        }
        self.tell_all(|| MigrationMessage::Mark(job));
    }

    /// A core sends no more writes for the slots of a job. When none does, this one has all that there will be.
    pub(super) fn marked_for(&mut self, job: HexId) {
        let marks = self.migrating.marks.entry(job).or_default();
        *marks += 1;
        if *marks < self.core.facts.cores_count {
            return;
        }
        self.migrating.marks.remove(&job);
        let Some(export) = self.migrating.exports.iter().find(|export| export.job == job) else { return };
        assert!(export.is_quieting, "a core marks itself when it has been told");
        self.feed_exports_now();
        if let Some(tap) = self.core.journal.tap_of(&job) {
            // What expires from now on expires at the target as well.
            tap.slots.clear();
        }
        self.tell_first(MigrationMessage::Quiet(job));
    }

    // ---- core 0 ---------------------------------------------------------------------------------------------------

    /// Slots that change their core are on neither of two for a moment: a walk begins when they are there.
    pub(in crate::runtime::requests) fn begin_walks_that_waited(&mut self) {
        for job in std::mem::take(&mut self.migrating.waiting_walks) {
            if self.job(&job).is_some_and(|job| job.state == State::Snapshotting) {
                self.begin_walk(job);
            }
        }
    }

    pub(super) fn begin_walk(&mut self, job: HexId) {
        if self.is_relocating() {
            return self.migrating.waiting_walks.push(job);
        }
        let Some(slots) = self.job(&job).map(|job| job.slots.clone()) else { return };
        let cores_count = self.core.facts.cores_count;
        let (unsent, put_bytes, sent_bytes) = Default::default();
        let books = Books { to_walk: cores_count, to_be_quiet: cores_count, unsent, put_bytes, sent_bytes };
        self.migrating.books.insert(job, books);
        self.tell_all(|| MigrationMessage::Walk { job, slots: slots.clone() });
    }

    pub(super) fn export_chunk(&mut self, from: CoreId, job: HexId, bytes: Vec<u8>, keys: u64) {
        self.core.node().migrations.note_sent(&job, keys, bytes.len() as u64);
        let Some(books) = self.migrating.books.get_mut(&job) else { return };
        books.unsent.push_back((from, bytes.len()));
        books.put_bytes += bytes.len() as u64;
        if let Some(end) = self.end_of(&job) {
            self.push(end, &bytes::Bytes::from(bytes));
        }
    }

    pub(super) fn export_walk_ends(&mut self, job: HexId) {
        let Some(books) = self.migrating.books.get_mut(&job) else { return };
        books.to_walk -= 1;
        if books.to_walk == 0 {
            self.job_event(job, Event::SnapshotSent);
        }
    }

    pub(super) fn export_is_quiet(&mut self, job: HexId) {
        let Some(books) = self.migrating.books.get_mut(&job) else { return };
        books.to_be_quiet -= 1;
        if books.to_be_quiet == 0 {
            self.job_event(job, Event::Quiet);
        }
    }

    /// Gives cores their windows back, and looks whether little enough waits for writes to be held.
    pub(super) fn attend_exports(&mut self) -> bool {
        let jobs: Vec<(HexId, State)> =
            self.core.node().migrations.open(End::Export).map(|job| (job.name, job.state)).collect();
        let mut worked = false;
        for (job, state) in jobs {
            let Some(end) = self.end_of(&job) else { continue };
            let Some(queued) = self.connection(end.index).map(|connection| connection.output_bytes()) else { continue };
            let Some(books) = self.migrating.books.get_mut(&job) else { continue };
            let gone = books.put_bytes.saturating_sub(queued.saturating_sub(QUEUED_BYTES_MAX) as u64);
            let mut sent = Vec::new();
            while let Some((core, bytes)) = books.unsent.front().copied()
                && books.sent_bytes + bytes as u64 <= gone
            {
                books.unsent.pop_front();
                books.sent_bytes += bytes as u64;
                sent.push((core, bytes));
            }
            self.core.node().migrations.note_queued(&job, queued as u64);
            worked |= !sent.is_empty();
            sent.into_iter().for_each(|(core, bytes)| self.tell_core(core, MigrationMessage::Sent { job, bytes }));
            if state == State::WaitingToPause {
                self.job_event(job, Event::Queued { bytes: queued as u64 });
            }
        }
        worked
    }
}
