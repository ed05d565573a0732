//! Snapshots as requests meet them: the cut through all cores, the walk between turns, and core 0's work on the file.
//!
//! ```text
//! core 0   opens the file, begins the cut, and sends every core an envelope, which says so
//! each     at the first envelope that does, from whatever core: begins its cut, holds its output, answers `CutBegun`
//! core 0   when all have begun: writes the header, and has all let their output go (`ReleaseOutput`)
//! each     walks in slices, sends `SnapshotChunk`s, and stops while too much of them is unwritten (`ChunkWritten`)
//! core 0   writes them as they come, but lets none in between those of another core's entry (`Chunk::is_open`)
//! core 0   when all have sent their last chunk and the file is in its place: answers who waits
//! ```
//!
//! Output is held so that nobody can learn of what happened after one core's cut and then do something before another's.
//! For SHUTDOWN it is held to the end: what is not in the file is not acknowledged.

use std::collections::VecDeque;

use super::Requests;
use crate::base::core_id::CoreId;
use crate::cluster::migration::{End, Job};
use crate::command::core::{Effect, Publication};
use crate::command::error::CommandError;
use crate::command::journal::JournalReader;
use crate::command::persistence::saving::SaveFor;
use crate::persist::rdb::Encoder;
use crate::persist::rdb::file::{self, FileFacts, ReplicationFacts};
use crate::resp::{Reply, ReplyBuffer, RespVersion};
use crate::runtime::batch::ReplyTarget;
use crate::runtime::mesh::Message;
use crate::runtime::persistence::append_only::SwitchKind;
use crate::runtime::persistence::snapshot::{AtCut, Chunk, Cut, CutPlan};
use crate::runtime::persistence::snapshot_file::{FileSettings, SnapshotFile, Written};
use crate::runtime::persistence::snapshot_target::SnapshotTarget;

/// A reply that waits, and for whom.
pub(super) type Waiting = (ReplyTarget, Box<ReplyBuffer>);

/// How a snapshot ended, or will once all cores have cleared it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Saved,
    Failed,
    GivenUp,
}

/// A snapshot on its way into a file; core 0's.
pub(super) struct Save {
    purpose: SaveFor,
    number: u64,
    /// None once it failed or was given up.
    file: Option<SnapshotTarget>,
    outcome: Option<Outcome>,
    /// Cores that have not begun, and those that have more to send.
    to_begin: usize,
    to_finish: usize,
    at_cut: AtCut,
    /// Chunks that have to wait: until all have begun, since the header stands before them, or until the entry is complete
    /// that another core's ends in.
    held: VecDeque<(CoreId, Chunk)>,
    /// The core whose entry the file ends in.
    open: Option<CoreId>,
    waiting: Option<Waiting>,
}

impl Save {
    /// Hands over to the file what may follow what is there, and its end after the last chunk.
    fn write_held(&mut self) {
        let Some(file) = &self.file else { return };
        let may_follow = |open: Option<CoreId>, from| open.is_none_or(|core| core == from);
        while let Some(at) = self.held.iter().position(|(from, _)| may_follow(self.open, *from)) {
            let Some((from, chunk)) = self.held.remove(at) else { return };
            self.open = chunk.is_open.then_some(from);
            if !chunk.bytes.is_empty() {
                file.write(from, chunk.bytes);
            }
        }
        if self.to_finish == 0 {
            assert!(self.held.is_empty(), "every entry has come to its end");
            file.finish();
        }
    }
}

impl Effect {
    /// Whether the reply of the command that leaves it behind waits for a file.
    fn holds_reply(&self) -> bool {
        matches!(self, Effect::Save(SaveFor::Foreground | SaveFor::Reload) | Effect::Shutdown(_))
    }
}

impl Requests {
    /// A reply of core 0 whose command wants something that takes time: it goes out when that is done. Gives it back
    /// if the command wants nothing of the kind.
    pub(super) fn hold_for_save(&mut self, target: ReplyTarget, reply: Box<ReplyBuffer>) -> Option<Waiting> {
        let Some(at) = self.core.effects.iter().position(Effect::holds_reply) else { return Some((target, reply)) };
        let held = self.core.effects.remove(at);
        // BGSAVE came before in the same batch, and is in the books.
        if let Some(earlier) = self.core.effects.iter().position(|effect| matches!(effect, Effect::Save(_))) {
            let earlier = self.core.effects.remove(earlier);
            self.carry_out(earlier);
        }
        match held {
            Effect::Save(purpose) => self.begin_save(purpose, Some((target, reply))),
            Effect::Shutdown(options) => self.shut_down(options, Some((target, reply))),
            _ => unreachable!("it holds no reply"),
        }
        None
    }

    /// Begins a snapshot, which `command::persistence` has in its books already.
    pub(super) fn begin_save(&mut self, purpose: SaveFor, waiting: Option<Waiting>) {
        if self.must_catch_up() || self.is_relocating() {
            self.postponed_save = Some((purpose, waiting));
            return;
        }
        assert!(self.save.is_none() && self.core.id == CoreId::FIRST, "core 0 has one snapshot at a time");
        let config = &self.core.config;
        let settings = match (purpose, &self.files.rewrite) {
            (SaveFor::Rewrite, Some(rewrite)) => FileSettings {
                folder: rewrite.folder.clone(),
                name: String::from_utf8_lossy(&rewrite.base.name).into_owned(),
                checksum: config.rdbchecksum,
                incremental_fsync: config.aof_rewrite_incremental_fsync,
            },
            _ => FileSettings {
                folder: config.dir.clone().into(),
                name: config.dbfilename.clone(),
                checksum: config.rdbchecksum,
                incremental_fsync: config.rdb_save_incremental_fsync,
            },
        };
        let switches_files = self.files.rewrite.as_ref().is_some_and(|rewrite| !rewrite.stands_alone);
        let switches_files = switches_files && purpose == SaveFor::Rewrite;
        // Whoever has a log has all cores in it, from this cut on at the latest.
        let feeds = self.core.node.as_ref().is_some_and(|node| node.replication.feeds_log());
        let is_patient =
            matches!(purpose, SaveFor::Background | SaveFor::Rewrite | SaveFor::Replicas | SaveFor::ReplicasFile);
        let plan = CutPlan { switches_files, feeds, is_hurried: !is_patient, ..CutPlan::of(config) };
        let cut = Cut { number: self.mesh.cut().number + 1, plan };
        let begun = match purpose {
            SaveFor::Replicas => self.open_stream().map(SnapshotTarget::Replicas),
            _ => SnapshotFile::begin(settings, self.mesh.bell_pull()).map(SnapshotTarget::File),
        };
        if purpose == SaveFor::Background {
            tracing::info!("Background saving started by pid {}", self.core.facts.process_id);
        }
        let (file, outcome) = match begun {
            Ok(file) => (Some(file), None),
            Err(line) => {
                tracing::warn!("{line}");
                (None, Some(Outcome::Failed))
            }
        };
        let cores_count = if outcome.is_none() { self.core.facts.cores_count } else { 0 };
        self.save = Some(Box::new(Save {
            purpose,
            number: cut.number,
            file,
            outcome,
            to_begin: cores_count,
            to_finish: cores_count,
            at_cut: AtCut::default(),
            held: VecDeque::new(),
            open: None,
            waiting,
        }));
        if outcome.is_none() {
            self.core.node().replication.intake.begin_cut();
            self.begin_cut(cut);
            self.send_to_others(|| Message::Cut);
        }
    }

    pub(super) fn send_to_others(&mut self, message: impl Fn() -> Message) {
        let others: Vec<CoreId> = self.mesh.others().collect();
        others.into_iter().for_each(|core| self.mesh.send(core, message()));
    }

    /// This core's cut: whatever it runs from now on comes after.
    pub(super) fn begin_cut(&mut self, cut: Cut) {
        self.feed_log();
        self.mesh.begin_cut(cut);
        if cut.plan.feeds {
            if !self.core.journal.is_fed() {
                self.core.set_journal(JournalReader::Log, true);
            }
            self.core.replication.feeds = true;
            // Who begins with this snapshot has selected no database.
            self.core.journal.restart();
        }
        let at_cut = self.walk.begin(&mut self.core, cut);
        self.output_held = true;
        if cut.plan.switches_files && self.has_keys() {
            self.switch_file(SwitchKind::Cut);
        }
        if self.core.id == CoreId::FIRST {
            self.cut_begun(CoreId::FIRST, cut.number, &at_cut);
        } else {
            self.mesh.send(CoreId::FIRST, Message::CutBegun { number: cut.number, at_cut });
        }
    }

    /// A core has begun its cut (core 0).
    pub(super) fn cut_begun(&mut self, from: CoreId, number: u64, at_cut: &AtCut) {
        if self.save.as_ref().is_some_and(|save| save.number == number) {
            self.core.node().replication.intake.pass_cut(from.index());
        }
        let Some(save) = self.save.as_mut().filter(|save| save.number == number) else { return };
        save.at_cut.add(at_cut);
        save.to_begin -= 1;
        if save.to_begin > 0 {
            return;
        }
        let keys = save.at_cut.sizes.iter().map(|(keys, _)| keys).sum();
        let (changes, holds, purpose) =
            (save.at_cut.changes, matches!(save.purpose, SaveFor::Shutdown(_)), save.purpose);
        self.advance_files();
        let replication = &mut self.core.node().replication;
        let place = replication.intake.end_cut(&mut replication.log);
        let header = self.header(place);
        if matches!(purpose, SaveFor::Replicas | SaveFor::ReplicasFile) {
            self.cut_for_replicas(purpose, place);
        }
        let preface = (purpose == SaveFor::Replicas).then(|| self.stream_preface(place));
        if let Some(SnapshotTarget::Replicas(stream)) = self.save.as_ref().and_then(|save| save.file.as_ref()) {
            preface.into_iter().for_each(|preface| stream.preface(preface));
        }
        if let Some(save) = &mut self.save
            && let Some(file) = &save.file
        {
            file.write(CoreId::FIRST, header);
            save.write_held();
        }
        self.core.node().persistence.saving.cut(keys, changes);
        if !holds {
            self.release_output();
        }
    }

    /// What stands before the entries.
    fn header(&mut self, place: u64) -> Vec<u8> {
        let is_base = self.save.as_ref().is_some_and(|save| save.purpose == SaveFor::Rewrite);
        let replication = &self.core.node().replication;
        let history = replication.history.id;
        // What follows the base of append-only files is no longer at its place.
        let has_place = !is_base && (replication.log.is_kept() || replication.upstream.is_some());
        let offset = i64::try_from(place).unwrap_or(0);
        let facts = ReplicationFacts { stream_db: i64::from(replication.stream_db), id: history.as_str(), offset };
        let own_bytes = self.core.allocated_bytes();
        let facts = FileFacts {
            server_version: REDIS_VERSION,
            created_s: self.core.clock.unix().seconds(),
            used_memory: u64::try_from(self.core.ledger.settle(own_bytes)).unwrap_or(0),
            replication: has_place.then_some(facts),
            aof_base: is_base,
            slot_imports: self.core.node().migrations.open(End::Import).map(Job::fact).collect(),
        };
        let mut header = Vec::new();
        file::header(&facts, &mut header);
        let mut encoder = Encoder::new(self.core.config.rdbcompression);
        for library in self.core.scripting.libraries().values() {
            file::function(&library.code, &mut encoder, &mut header);
        }
        let sizes = self.save.iter().flat_map(|save| save.at_cut.sizes.iter().enumerate());
        for (db, (keys, volatile)) in sizes.filter(|(_, (keys, _))| *keys > 0) {
            file::select_database(db, &mut header);
            file::resize_database(*keys, *volatile, &mut header);
        }
        header
    }

    /// All cores have begun, or nothing is to be kept back any more (core 0).
    pub(super) fn release_output(&mut self) {
        if std::mem::take(&mut self.output_held) {
            let number = self.mesh.cut().number;
            self.send_to_others(|| Message::ReleaseOutput { number });
        }
    }

    pub(super) fn output_released(&mut self, number: u64) {
        if number == self.mesh.cut().number {
            self.output_held = false;
        }
    }

    /// Whether this core takes part in a snapshot.
    pub fn is_in_snapshot(&self) -> bool {
        self.walk.is_under_way()
    }

    /// Whether the walk would get on: the core sleeps a moment at most then.
    pub fn is_walking(&self) -> bool {
        self.walk.has_work() || self.exports_have_work()
    }

    /// Whether the walk has time to get on: the core does not wait then.
    pub fn is_walk_due(&self) -> bool {
        self.walk.is_due()
    }

    /// Goes on with the walk for a slice. Called after the replies of the turn have left; `is_asked` when more has come.
    pub fn walk(&mut self, is_asked: bool) {
        if self.walk.has_work()
            && let Some(chunk) = self.walk.turn(&mut self.core, is_asked)
        {
            self.send_chunk(chunk);
        }
        self.walk_exports(is_asked);
    }

    pub(super) fn send_chunk(&mut self, chunk: Chunk) {
        if self.core.id == CoreId::FIRST {
            self.chunk_arrived(CoreId::FIRST, chunk);
        } else {
            self.mesh.send(CoreId::FIRST, Message::SnapshotChunk(Box::new(chunk)));
        }
    }

    /// A core's next piece of the file (core 0).
    pub(super) fn chunk_arrived(&mut self, from: CoreId, chunk: Chunk) {
        let Some(save) = self.save.as_mut().filter(|save| save.number == chunk.number) else { return };
        let keys = chunk.keys;
        save.to_finish -= usize::from(chunk.is_last);
        if save.file.is_some() {
            save.held.push_back((from, chunk));
        }
        if save.to_begin == 0 {
            save.write_held();
        }
        self.core.node().persistence.saving.progressed(keys);
    }

    pub(super) fn chunk_written(&mut self, number: u64, buffer: Vec<u8>) {
        self.walk.written(number, buffer);
    }

    /// Takes in what the file's writer reports (core 0). True when there was anything.
    pub fn attend_save(&mut self) -> bool {
        let mut worked = false;
        while let Some(report) = self.save.as_ref().and_then(|save| save.file.as_ref()?.report()) {
            worked = true;
            self.reported(report);
        }
        let is_over = self.is_save_over();
        if is_over {
            self.conclude_save();
        }
        worked || is_over
    }

    fn reported(&mut self, report: Written) {
        let Some(save) = &mut self.save else { return };
        match report {
            Written::Bytes(CoreId::FIRST, buffer) => self.walk.written(save.number, buffer),
            Written::Bytes(core, buffer) => {
                let number = save.number;
                self.mesh.send(core, Message::ChunkWritten { number, buffer });
            }
            Written::Gone(client_id) => self.replica_is_gone(client_id),
            Written::End(Ok(())) => {
                if !matches!(save.purpose, SaveFor::Rewrite | SaveFor::Replicas) {
                    tracing::info!("DB saved on disk");
                }
                save.outcome = Some(Outcome::Saved);
                self.retired_writers.extend(save.file.take().map(SnapshotTarget::retire));
            }
            Written::End(Err(line)) => {
                tracing::warn!("{line}");
                self.give_up_save(Outcome::Failed);
            }
        }
    }

    /// Has all cores clear the snapshot away. It is over when they have.
    pub(super) fn give_up_save(&mut self, outcome: Outcome) {
        let Some(save) = self.save.as_mut().filter(|save| save.outcome.is_none()) else { return };
        save.outcome = Some(outcome);
        self.retired_writers.extend(save.file.take().map(SnapshotTarget::retire));
        save.held.clear();
        let number = save.number;
        self.walk.abandon(&mut self.core, number);
        self.send_to_others(|| Message::AbandonSnapshot { number });
    }

    pub(super) fn abandon_snapshot(&mut self, number: u64) {
        self.walk.abandon(&mut self.core, number);
    }

    /// Whether a snapshot for this is under way.
    pub(super) fn is_saving_for(&self, purpose: SaveFor) -> bool {
        self.save.as_ref().is_some_and(|save| save.purpose == purpose)
    }

    /// Whether some core has still to begin its cut.
    pub(super) fn is_cut_beginning(&self) -> bool {
        self.save.as_ref().is_some_and(|save| save.to_begin > 0)
    }

    /// Whether the snapshot has come to its end, and all cores are ready for another.
    pub(super) fn is_save_over(&self) -> bool {
        self.save.as_ref().is_some_and(|save| save.outcome.is_some() && save.to_begin == 0 && save.to_finish == 0)
    }

    fn conclude_save(&mut self) {
        let Some(save) = self.save.take() else { return };
        let Save { purpose, outcome: Some(outcome), waiting, .. } = *save else { return };
        let now_s = self.core.clock.unix().seconds();
        let told = match outcome {
            Outcome::Saved => Some(true),
            Outcome::Failed => Some(false),
            Outcome::GivenUp => None,
        };
        self.core.node().persistence.saving.end(told, now_s);
        let is_saved = outcome == Outcome::Saved;
        match purpose {
            SaveFor::Background if is_saved => tracing::info!("Background saving terminated with success"),
            SaveFor::Background if outcome == Outcome::Failed => tracing::warn!("Background saving error"),
            SaveFor::Background => tracing::warn!("Background saving was given up"),
            SaveFor::Reload => return self.saved_to_reload(is_saved),
            SaveFor::Rewrite => self.base_is_written(told),
            SaveFor::Replicas | SaveFor::ReplicasFile => self.saved_for_replicas(purpose, is_saved),
            SaveFor::Foreground => {}
            SaveFor::Shutdown(options) => return self.saved_for_shutdown(options, outcome),
        }
        self.advance_files();
        self.publish_disk_view();
        if let Some((target, reply)) = waiting {
            self.answer_saved(is_saved, target, reply);
        }
        if let Some(options) = self.ending.as_ref().map(|ending| ending.options) {
            self.begin_last_save(options);
        }
    }

    pub(super) fn answer_saved(&mut self, is_saved: bool, target: ReplyTarget, mut reply: Box<ReplyBuffer>) {
        if !is_saved {
            reply = error_reply(&CommandError::text_static("ERR"));
        }
        self.answer(target, reply);
    }

    /// Every core must know whether commands that write are refused.
    pub(super) fn publish_disk_view(&mut self) {
        let old = self.core.disk.clone();
        let node = self.core.node();
        let view = node.persistence.view(&node.config, &old);
        if view != old {
            self.publish(vec![Publication::Disk(view)], None);
        }
    }

    /// Core 0's look at what is due, at each tick.
    pub(super) fn tick_saving(&mut self) {
        for ended in self.retired_writers.extract_if(.., |writer| writer.has_ended()) {
            ended.join();
        }
        if self.core.disk.loading {
            return;
        }
        let (now_s, changes) = (self.core.clock.unix().seconds(), self.core.ledger.changes());
        let node = self.core.node();
        let is_busy = node.persistence.is_rewriting();
        if node.persistence.saving.is_due(&node.config, now_s, changes, is_busy) {
            node.persistence.saving.begin(SaveFor::Background, now_s);
            self.begin_save(SaveFor::Background, None);
        }
        self.tick_files();
        self.tick_replicas();
        self.publish_disk_view();
    }

    /// Nothing more comes of the snapshot: a file that is not complete goes.
    pub(super) fn remove_unfinished_file(&mut self) {
        if let Some(file) = self.save.take().and_then(|save| save.file) {
            file.remove();
        }
    }

    /// Whether the snapshot that the node is to end with is under way.
    pub(super) fn is_last_save_under_way(&self) -> bool {
        self.save.as_ref().is_some_and(|save| matches!(save.purpose, SaveFor::Shutdown(_)) && save.outcome.is_none())
    }
}

/// `redis-ver` in a file: whose formats these are, as in INFO.
const REDIS_VERSION: &str = "7.2.4";

pub(super) fn error_reply(error: &CommandError) -> Box<ReplyBuffer> {
    let mut reply = Box::new(ReplyBuffer::new());
    Reply::new(&mut reply, RespVersion::V2).error(error.line());
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::mesh::Mesh;

    #[test]
    fn no_core_s_chunk_comes_between_the_parts_of_another_s_entry() {
        let folder = std::env::temp_dir().join(format!("slotcore-held-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let name = "dump.rdb".to_owned();
        let settings = FileSettings { folder: folder.clone(), name, checksum: false, incremental_fsync: false };
        let bell = Mesh::build(1).unwrap().remove(0).bell_pull();
        let mut save = Save {
            purpose: SaveFor::Background,
            number: 1,
            file: Some(SnapshotTarget::File(SnapshotFile::begin(settings, bell).unwrap())),
            outcome: None,
            to_begin: 0,
            to_finish: 3,
            at_cut: AtCut::default(),
            held: VecDeque::new(),
            open: None,
            waiting: None,
        };
        let chunks =
            [(0, "a", false), (1, "b", true), (0, "c", true), (2, "d", false), (1, "e", true), (2, "f", false)];
        let more = [(1, "", false), (2, "g", false), (0, "h", false)];
        for (core, bytes, is_open) in chunks.into_iter().chain(more) {
            let bytes = bytes.as_bytes().to_vec();
            save.to_finish -= usize::from(bytes == b"h") * 3;
            save.held.push_back((CoreId::new(core), Chunk { number: 1, bytes, keys: 0, is_open, is_last: false }));
            save.write_held();
        }
        let file = save.file.take().unwrap();
        while !matches!(file.report(), Some(Written::End(Ok(())))) {
            std::thread::yield_now();
        }
        // What waits goes on in the order in which it came, but for what its core's entry needs.
        let written = std::fs::read(folder.join("dump.rdb")).unwrap();
        assert_eq!(written[..8].escape_ascii().to_string(), "abechdfg");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
