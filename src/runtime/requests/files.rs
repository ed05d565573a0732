//! The append-only files of the node, on core 0: which there are, and when they change.
//!
//! Each core goes on to another file by itself, at the cut of a rewrite or when all its keys are removed, and says so
//! (`AppendSwitched`); what it records then waits in its memory until its file has come. Core 0 has the files made and the manifest
//! written, by a thread that has the [`Folder`] meanwhile, and hands them out.
//!
//! - A rewrite: at the cut of a snapshot all cores switch. Their new files stand behind the old ones in the manifest until the
//!   snapshot is in place as the base, which then replaces all that was before. A failure leaves a valid folder at any time.
//! - FLUSHALL where several cores have keys: when all have switched, a base without keys and the new files replace everything. A
//!   rewrite under way is given up.
//! - Slots change their core: the one that has them from now on switches. It has its file when what the other had recorded is safe
//!   (`relocation`); files are read in the order of their numbers, so that its changes come behind the other's. No rewrite begins while a
//!   core waits for such a file: what it records was recorded before the rewrite's cut.
//! - `appendonly yes` while the node runs is a rewrite whose files are in no manifest before the base is.
//! - A rewrite with `appendonly no` writes a base that stands alone. The folder is open, and locked, only meanwhile.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

use hashbrown::HashSet;

use super::Requests;
use super::snapshots::Outcome;
use crate::base::core_id::CoreId;
use crate::command::core::ShutdownOptions;
use crate::command::journal::JournalReader;
use crate::command::persistence::saving::SaveFor;
use crate::command::shutdown;
use crate::persist::aof::FileEntry;
use crate::runtime::mesh::Message;
use crate::runtime::persistence::append_only::{AppendFile, Folder, FolderJob, Order, SwitchKind};

/// After a failure the folder is worked on again so much later.
const RETRY_AFTER_MS: u64 = 1000;

/// A rewrite under way.
pub(super) struct Rewrite {
    /// Where the base will be.
    pub folder: PathBuf,
    pub base: FileEntry,
    /// The number of the first incremental file behind the base.
    first: u64,
    /// The base is in its place, and the manifest does not name it yet.
    is_written: bool,
    /// It is of no use any more.
    is_given_up: bool,
    /// There were no append-only files before: no manifest names the new ones without the base.
    begins: bool,
    /// `appendonly no`: no core records what follows, so that there is nothing to switch.
    pub stands_alone: bool,
}

/// What a thread is doing with the folder.
struct Work {
    job: FolderJob,
    done: Receiver<(Folder, Result<Vec<AppendFile>, String>)>,
}

/// Core 0's books on the files.
#[derive(Default)]
pub(super) struct Files {
    work: Option<Work>,
    /// For each core: why it has gone on to a file that is not made yet, the first time first.
    switched: Vec<VecDeque<SwitchKind>>,
    pub(super) rewrite: Option<Rewrite>,
    /// Relocations whose giver's changes are safe, and whose taker has not got its file.
    pub(super) givers_are_safe: HashSet<u64>,
    /// Monotonic milliseconds.
    retry_ms: u64,
    /// The node ends when nobody waits for a file any more.
    pub(super) ends: Option<ShutdownOptions>,
    /// A signal has come while the first base was being named.
    signalled: Option<(&'static str, ShutdownOptions)>,
}

impl Files {
    /// Whether a core that has taken slots over waits for its file.
    pub(super) fn has_hand_over(&self) -> bool {
        self.switched.iter().flatten().any(|kind| matches!(kind, SwitchKind::HandOver(_)))
    }
}

impl Requests {
    /// Whether this core has keys, and so a file.
    pub(super) fn has_keys(&self) -> bool {
        self.core.config.cluster_enabled || self.core.id == CoreId::FIRST
    }

    fn writers_count(&self) -> usize {
        if self.core.config.cluster_enabled { self.core.facts.cores_count } else { 1 }
    }

    /// A core has gone on to a file that is not made yet.
    pub(super) fn core_switched(&mut self, core: CoreId, kind: SwitchKind) {
        if matches!(kind, SwitchKind::HandOver(_)) && !self.core.records_in_files() {
            // `appendonly no` is on its way to that core.
            return;
        }
        let count = self.writers_count();
        self.files.switched.resize_with(count, VecDeque::new);
        self.files.switched[core.index()].push_back(kind);
        if kind == SwitchKind::Flush && self.files.rewrite.is_some() {
            // Its base has what is to be forgotten.
            self.give_up_rewrite();
        }
        self.advance_files();
    }

    /// Whether a file is being made, or to be made.
    pub(super) fn are_files_pending(&self) -> bool {
        self.files.work.is_some() || self.files.switched.iter().any(|kinds| !kinds.is_empty())
    }

    /// Begins the next piece of work on the folder, if there is one.
    pub(super) fn advance_files(&mut self) {
        if self.files.work.is_some() || self.folder.is_none() || self.now_ms() < self.files.retry_ms {
            return;
        }
        if let Some(job) = self.next_job() {
            self.begin_work(job);
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.core.clock.monotonic_us() / 1000
    }

    fn next_job(&mut self) -> Option<FolderJob> {
        let fronts: Vec<Option<SwitchKind>> = self.files.switched.iter().map(|kinds| kinds.front().copied()).collect();
        let has = |kind| move |front: &Option<SwitchKind>| *front == Some(kind);
        // The others are about to say the same.
        let is_collecting = self.is_cut_beginning();
        let cores = |kind| {
            let cores = fronts.iter().enumerate().filter(move |(_, front)| **front == Some(kind));
            cores.map(|(index, _)| CoreId::new(index)).collect::<Vec<_>>()
        };
        let count = fronts.len();
        let is_safe = |front: &Option<SwitchKind>| match front {
            // A node that ends brings all to the disk before it is gone, or cannot.
            Some(SwitchKind::HandOver(number)) => {
                self.files.ends.is_some() || self.files.givers_are_safe.contains(number)
            }
            _ => false,
        };
        if let Some(index) = fronts.iter().position(is_safe) {
            let commits = !self.files.rewrite.as_ref().is_some_and(|rewrite| rewrite.begins);
            let cores = vec![CoreId::new(index)];
            return Some(FolderJob::Add { is_for_all: count == 1, cores, replaces: false, commits });
        }
        if !is_collecting && fronts.iter().any(has(SwitchKind::Cut)) {
            let cores = cores(SwitchKind::Cut);
            let commits = !self.files.rewrite.as_ref().is_some_and(|rewrite| rewrite.begins);
            return Some(FolderJob::Add { is_for_all: cores.len() == count, cores, replaces: false, commits });
        }
        if count > 0 && fronts.iter().all(has(SwitchKind::Flush)) {
            let cores = cores(SwitchKind::Flush);
            return Some(FolderJob::Add { cores, is_for_all: true, replaces: true, commits: true });
        }
        let rewrite = self.files.rewrite.as_ref().filter(|rewrite| rewrite.is_written && !rewrite.is_given_up);
        if let Some(rewrite) = rewrite {
            return Some(FolderJob::Rebase { base: rewrite.base.clone(), first: rewrite.first });
        }
        let keeps = self.core.config.aof_disable_auto_gc;
        (self.folder.as_ref()?.keeps_history() != keeps).then_some(FolderJob::KeepHistory(keeps))
    }

    fn begin_work(&mut self, job: FolderJob) {
        let Some(mut folder) = self.folder.take() else { return };
        let (report, done) = channel();
        let bell = self.mesh.bell_pull();
        let for_thread = job.clone();
        // A thread can be had, or the process has worse to complain of: then the folder is lost with the closure, and the node stops.
        let thread = std::thread::Builder::new().name("append-only".to_owned());
        let started = thread.spawn(move || {
            let result = folder.work(&for_thread);
            let _ = report.send((folder, result));
            bell.ring();
        });
        match started {
            Ok(_) => self.files.work = Some(Work { job, done }),
            Err(error) => panic!("a thread for the append-only folder cannot be started: {error}"),
        }
    }

    /// Takes in what the thread has done with the folder. True when it has done something.
    pub fn attend_files(&mut self) -> bool {
        let has_done = self.take_work_in();
        if has_done && let Some((name, options)) = self.files.signalled.take() {
            self.end_by_signal(name, options);
        }
        has_done
    }

    fn take_work_in(&mut self) -> bool {
        let Some((folder, result)) = self.files.work.as_ref().and_then(|work| work.done.try_recv().ok()) else {
            return false;
        };
        let Some(Work { job, .. }) = self.files.work.take() else { return false };
        let stands_alone = self.files.rewrite.as_ref().is_some_and(|rewrite| rewrite.stands_alone);
        if !self.core.config.appendonly && !stands_alone {
            if matches!(job, FolderJob::Rebase { .. }) {
                // The manifest names the base by now: it is not to be given up, and deleted, with the folder.
                self.end_rewrite(Some(result.is_ok()));
            }
            self.close_folder();
            return true;
        }
        self.folder = Some(folder);
        match result {
            Ok(files) => {
                self.core.node().persistence.append_only.folder_reports(None);
                self.work_is_done(job, files);
            }
            Err(line) => {
                tracing::warn!("{line}");
                self.files.retry_ms = self.now_ms() + RETRY_AFTER_MS;
                if self.files.ends.is_some() {
                    self.files.switched.clear();
                }
                match job {
                    FolderJob::Add { .. } => self.core.node().persistence.append_only.folder_reports(Some(line)),
                    FolderJob::Rebase { .. } => self.end_rewrite(Some(false)),
                    FolderJob::KeepHistory(_) => {}
                }
            }
        }
        self.publish_disk_view();
        self.advance_files();
        if !self.are_files_pending()
            && let Some(options) = self.files.ends.take()
        {
            self.end_node(options);
        }
        true
    }

    /// A signal has come that is to end the node. It does not before it has its first files: a signal that comes while a thread names
    /// the base waits for that, since the manifest may be there already for all to see.
    pub fn end_by_signal(&mut self, name: &'static str, options: ShutdownOptions) {
        let job = self.files.work.as_ref().map(|work| &work.job);
        let is_naming = matches!(job, Some(FolderJob::Rebase { .. } | FolderJob::Add { commits: true, .. }));
        if is_naming && !options.force && self.awaits_base() {
            self.files.signalled = Some((name, options));
        } else if shutdown::may_end(&mut self.core, options) {
            self.shut_down(options, None);
        } else {
            tracing::warn!(
                "{name} received but errors trying to shut down the server, check the logs for more information"
            );
        }
    }

    fn work_is_done(&mut self, job: FolderJob, files: Vec<AppendFile>) {
        match job {
            FolderJob::Add { cores, replaces, commits, .. } => {
                if commits {
                    self.base_is_named();
                }
                for (core, file) in cores.into_iter().zip(files) {
                    if let Some(SwitchKind::HandOver(number)) = self.files.switched[core.index()].pop_front() {
                        self.files.givers_are_safe.remove(&number);
                    }
                    self.hand_out(core, file, replaces);
                }
            }
            FolderJob::Rebase { .. } if self.files.rewrite.as_ref().is_some_and(|rewrite| rewrite.stands_alone) => {
                self.end_rewrite(Some(true));
            }
            FolderJob::Rebase { base, .. } => {
                self.base_is_named();
                let path = self.folder.as_ref().map(|folder| folder.path_of(&base));
                let base_bytes = path.and_then(|path| std::fs::metadata(path).ok()).map_or(0, |file| file.len());
                self.durability.orders.push(Order::Rebased { base_bytes });
                let others: Vec<CoreId> = self.mesh.others().collect();
                others.into_iter().for_each(|core| self.mesh.send(core, Message::AppendRebased));
                self.end_rewrite(Some(true));
            }
            FolderJob::KeepHistory(_) => {}
        }
    }

    fn base_is_named(&mut self) {
        self.core.node().persistence.append_only.base_is_named();
        self.tell_of_base();
    }

    /// On core 0: whether what the append-only files are to have is in none of them yet.
    pub(super) fn awaits_base(&mut self) -> bool {
        self.core.config.appendonly && self.core.node().persistence.append_only.awaits_base()
    }

    fn hand_out(&mut self, core: CoreId, file: AppendFile, replaces: bool) {
        if core == self.core.id {
            self.durability.orders.push(Order::File(Box::new(file)));
            if replaces {
                self.durability.orders.push(Order::Rebased { base_bytes: 0 });
            }
        } else {
            self.mesh.send(core, Message::AppendFile(Box::new(file)));
            if replaces {
                self.mesh.send(core, Message::AppendRebased);
            }
        }
    }

    /// Begins a rewrite, which `command::persistence` has in its books already.
    pub(super) fn begin_rewrite(&mut self) {
        let now_s = self.core.clock.unix().seconds();
        let stands_alone = !self.core.config.appendonly;
        if stands_alone && self.folder.is_none() && self.files.work.is_none() {
            match Folder::open(&self.core.config) {
                Ok(folder) => self.folder = Some(folder),
                Err(line) => {
                    tracing::warn!("{line}");
                    return self.core.node().persistence.append_only.end_rewrite(Some(false), now_s);
                }
            }
        }
        let Some(folder) = self
            .folder
            .as_ref()
            .filter(|_| !self.are_files_pending() && self.save.is_none() && self.postponed_save.is_none())
            .filter(|_| !self.is_relocating())
        else {
            // In a moment.
            let files = &mut self.core.node().persistence.append_only;
            files.end_rewrite(None, now_s);
            return files.schedule();
        };
        let begins = !stands_alone && (!self.core.journal.is_for(JournalReader::File) || folder.is_beginning());
        let (base, first, path) = (folder.next_base(), folder.next_increment(), folder.path().to_owned());
        tracing::info!("Background append only file rewriting started by pid {}", self.core.facts.process_id);
        self.files.rewrite =
            Some(Rewrite { folder: path, base, first, is_written: false, is_given_up: false, begins, stands_alone });
        self.begin_save(SaveFor::Rewrite, None);
    }

    /// The snapshot for the base has ended; `outcome` is `None` when it was given up.
    pub(super) fn base_is_written(&mut self, outcome: Option<bool>) {
        match (&mut self.files.rewrite, outcome) {
            (Some(rewrite), Some(true)) if !rewrite.is_given_up => rewrite.is_written = true,
            (Some(rewrite), _) if rewrite.is_given_up => self.end_rewrite(None),
            (Some(_), _) => self.end_rewrite(outcome),
            (None, _) => {}
        }
    }

    fn end_rewrite(&mut self, outcome: Option<bool>) {
        let now_s = self.core.clock.unix().seconds();
        let Some(rewrite) = self.files.rewrite.take() else { return };
        match outcome {
            Some(true) => tracing::info!("Background AOF rewrite finished successfully"),
            Some(false) => tracing::warn!("Background AOF rewrite terminated with error"),
            None => tracing::warn!("Background AOF rewrite was given up"),
        }
        if outcome != Some(true) {
            // No manifest names it.
            let _ = std::fs::remove_file(rewrite.folder.join(String::from_utf8_lossy(&rewrite.base.name).as_ref()));
        }
        let are_wanted = self.core.config.appendonly;
        let files = &mut self.core.node().persistence.append_only;
        files.end_rewrite(outcome, now_s);
        if outcome != Some(true) && rewrite.begins && are_wanted {
            files.schedule();
        }
        if rewrite.stands_alone && !are_wanted {
            self.folder = None;
        }
    }

    /// Gives the rewrite under way up, unless its base is already being named.
    pub(super) fn give_up_rewrite(&mut self) {
        let is_naming = matches!(self.files.work, Some(Work { job: FolderJob::Rebase { .. }, .. }));
        let Some(rewrite) = self.files.rewrite.as_mut().filter(|_| !is_naming) else { return };
        rewrite.is_given_up = true;
        if self.is_saving_for(SaveFor::Rewrite) {
            // It ends when all cores have cleared it away.
            self.give_up_save(Outcome::GivenUp);
        } else {
            self.end_rewrite(None);
        }
    }

    /// Core 0's look at what is due, at each tick.
    pub(super) fn tick_files(&mut self) {
        let figures = self.core.append_figures;
        self.append_size(CoreId::FIRST, figures.size_bytes, figures.base_bytes);
        let has_none = !self.core.journal.is_for(JournalReader::File) && self.files.rewrite.is_none();
        if self.core.records_in_files() && has_none {
            self.begin_files();
        }
        if !self.awaits_base() {
            self.tell_of_base();
        }
        self.advance_files();
        let now_s = self.core.clock.unix().seconds();
        let is_busy = self.save.is_some() || self.ending.is_some() || self.are_files_pending();
        let is_busy = is_busy || (self.core.config.appendonly && self.folder.is_none());
        let node = self.core.node();
        if node.persistence.append_only.is_rewrite_due(&node.config, now_s, is_busy) {
            node.persistence.append_only.begin_rewrite(now_s);
            self.begin_rewrite();
        }
    }

    /// `appendonly yes` while the node runs: the first rewrite makes the files.
    fn begin_files(&mut self) {
        if self.folder.is_none() && self.files.work.is_none() && self.now_ms() >= self.files.retry_ms {
            match Folder::open(&self.core.config) {
                Ok(folder) => self.folder = Some(folder),
                Err(line) => {
                    tracing::warn!("{line}");
                    self.files.retry_ms = self.now_ms() + RETRY_AFTER_MS;
                    self.core.node().persistence.append_only.does_not_begin();
                }
            }
        }
        if self.folder.is_some() {
            self.core.node().persistence.append_only.begins_files();
        }
    }

    /// `appendonly no`.
    pub(super) fn close_folder(&mut self) {
        self.give_up_rewrite();
        self.folder = None;
        self.files.switched.clear();
        self.files.givers_are_safe.clear();
        self.core.node().persistence.append_only.forget_files();
        self.publish_disk_view();
    }

    /// A core tells how large its file is (core 0).
    pub(super) fn append_size(&mut self, core: CoreId, size_bytes: u64, base_bytes: u64) {
        self.core.node().persistence.append_only.core_size(core, size_bytes, base_bytes);
    }

    /// At each tick of another core: tells core 0 how large this one's file is.
    pub(super) fn tell_append_size(&mut self) {
        let figures = self.core.append_figures;
        if figures.is_open && self.durability.told_bytes != (figures.size_bytes, figures.base_bytes) {
            let (size_bytes, base_bytes) = (figures.size_bytes, figures.base_bytes);
            self.durability.told_bytes = (size_bytes, base_bytes);
            self.mesh.send(CoreId::FIRST, Message::AppendSize { size_bytes, base_bytes });
        }
    }
}
