//! Loading: files become data, at the start and for DEBUG RELOAD and DEBUG LOADAOF.
//!
//! `plan` says which files there are; `reader` is the thread that reads them, through a `window` that moves over each; `parcel`
//! is how records and commands come to the cores, and `part` what a core does with them between its turns. Core 0 keeps the
//! books ([`Underway`]) and tells everyone when all is there. Until then, clients are told `-LOADING`.
//!
//! At the start damage ends the process, with the file, the place and the reason; later it is the answer to the command.

mod parcel;
mod part;
mod plan;
mod reader;
mod window;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use parcel::{Inbox, Shared};
pub use part::{KeyRules, Part, Slice};
pub use plan::{Plan, Source};

use super::super::log;
use super::super::mesh::{Bells, Message};
use super::super::requests::Requests;
use crate::base::clock::UnixMillis;
use crate::base::core_id::CoreId;
use crate::base::slot::{SLOTS_COUNT, Slot, SlotSet};
use crate::cluster::state::SlotOrder;
use crate::cluster::view::SlotOwners;
use crate::command::core::{Core, Publication};
use crate::command::error::CommandError;
use crate::command::persistence::DiskView;
use crate::command::persistence::loading::Progress;
use crate::command::persistence::replay::Routes;
use crate::config::Config;
use crate::keyspace::Disposal;
use crate::resp::{Reply, ReplyBuffer, RespVersion};
use crate::runtime::batch::ReplyTarget;
use crate::runtime::persistence::append_only::{Folder, Loaded};
use reader::{Failure, Reader, ReaderSettings};

/// Stack of the thread that reads.
const STACK_BYTES: usize = 1 << 20;

/// Loading that has been planned and not begun.
pub struct Prepared {
    pub inboxes: Vec<Inbox>,
    pub shared: Arc<Shared>,
    pub rules: KeyRules,
    source: Source,
    reader: Reader,
}

impl Prepared {
    /// Lays the queues out.
    pub fn new(
        plan: Plan,
        folder: Option<(Folder, usize)>,
        config: &Config,
        owners: SlotOwners,
        bells: Bells,
        cores_count: usize,
    ) -> Prepared {
        let shared = Arc::new(Shared::new(plan.total_bytes, config.key_load_delay));
        let (dealer, inboxes) = parcel::connect(cores_count, &shared, bells);
        let routes = Routes {
            owners,
            in_cluster: config.cluster_enabled,
            databases: u64::try_from(config.databases).unwrap_or(0),
        };
        let settings =
            ReaderSettings { checksum: config.rdbchecksum, takes_truncated: config.aof_load_truncated };
        let source = plan.source;
        let rules = KeyRules { drops_expired: source == Source::Snapshot, replaces: false };
        let found = Loaded { may_continue: true, ..Loaded::default() };
        let reader = Reader { plan, routes, settings, dealer, folder, items_count: 0, found };
        Prepared { inboxes, shared, rules, source, reader }
    }

    /// What each core begins with, in their order.
    pub fn parts(&mut self) -> Vec<(Inbox, KeyRules)> {
        std::mem::take(&mut self.inboxes).into_iter().map(|inbox| (inbox, self.rules)).collect()
    }

    /// Starts the thread that reads. At the start of the node it ends the process when something is wrong.
    ///
    /// # Errors
    /// When the thread cannot be had.
    pub fn begin(self, at_start: bool) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name("loading".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(move || read(self.reader, at_start)).map(|_| ())
    }

    /// Core 0's books.
    pub fn underway(&self, cores_count: usize, ends: Ends) -> Underway {
        Underway {
            shared: self.shared.clone(),
            source: self.source,
            missing: cores_count,
            slots: SlotSet::new(),
            ends,
        }
    }
}

/// The thread.
fn read(mut reader: Reader, at_start: bool) {
    match reader.load() {
        Ok(()) => {}
        Err(Failure::Ended) => return,
        Err(Failure::Fatal(line)) if at_start => {
            tracing::error!("{line}");
            tracing::error!("Fatal error loading the DB, check server logs. Exiting.");
            log::complain(&line);
            std::process::exit(1);
        }
        Err(Failure::Fatal(line)) => {
            tracing::error!("{line}");
            reader.dealer.shared.fail(line);
        }
    }
    // When the node ends, nobody is left to be told.
    let _ = reader.dealer.end();
}

/// What is done when all is loaded.
pub enum Ends {
    /// The node is ready.
    Start,
    /// DEBUG RELOAD or LOADAOF: this client waits for the answer.
    Command(ReplyTarget),
}

/// Loading under way: core 0's books.
pub struct Underway {
    pub shared: Arc<Shared>,
    source: Source,
    /// Cores that are not done.
    missing: usize,
    /// Slots that have keys.
    slots: SlotSet,
    ends: Ends,
}

impl Underway {
    /// How far it is.
    pub fn progress(&self, started: UnixMillis) -> Progress {
        Progress {
            started,
            total_bytes: self.shared.total_bytes,
            loaded_bytes: self.shared.handed_bytes.load(Ordering::Relaxed),
            written_with_bytes: self.shared.written_with_bytes.load(Ordering::Relaxed),
        }
    }
}

/// What core 0 tells a core to load.
pub struct LoadOrder {
    pub inbox: Inbox,
    pub rules: KeyRules,
    /// Its keys go first.
    pub empties: bool,
}

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
    pub(in crate::runtime) fn part_loaded(&mut self, slots: Option<Box<SlotSet>>) {
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
            return self.publish(publications, answer);
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
    pub(in crate::runtime) fn take_order(&mut self, order: LoadOrder) {
        if order.empties {
            let dirty = self.core.keyspace.stats.dirty;
            crate::command::tracking::flushed(&mut self.core);
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
