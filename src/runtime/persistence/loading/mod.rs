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

pub use parcel::{HistoryFacts, Inbox, Shared};
pub use part::{KeyRules, Part, Slice};
pub use plan::{Plan, Source};

use crate::base::clock::UnixMillis;
use crate::base::slot::SlotSet;
use crate::cluster::view::SlotOwners;
use crate::command::persistence::loading::Progress;
use crate::command::persistence::replay::Routes;
use crate::config::Config;
use crate::runtime::batch::ReplyTarget;
use crate::runtime::log;
use crate::runtime::mesh::Bells;
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
        let routes = Routes { owners, in_cluster: config.cluster_enabled, databases: u64::from(config.databases) };
        let settings = ReaderSettings { checksum: config.rdbchecksum, takes_truncated: config.aof_load_truncated };
        let source = plan.source;
        // A replica leaves it to its primary to say what has expired.
        let drops_expired = source == Source::Snapshot && config.replicaof.is_none();
        let rules = KeyRules { drops_expired, replaces: false };
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
        Underway { shared: self.shared.clone(), source: self.source, missing: cores_count, slots: SlotSet::new(), ends }
    }
}

/// The thread.
fn read(mut reader: Reader, at_start: bool) {
    match reader.load() {
        Ok(()) => {}
        Err(Failure::Ended) => return,
        Err(Failure::Fatal(line)) if at_start => {
            tracing::error!("{line}");
            if reader.is_of_snapshot() {
                tracing::error!("Fatal error loading the DB, check server logs. Exiting.");
            }
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
    /// The stream of the primary, whose data they are, is to be applied.
    Primary,
}

/// Loading under way: core 0's books.
pub struct Underway {
    pub shared: Arc<Shared>,
    pub source: Source,
    /// Cores that are not done.
    pub missing: usize,
    /// Slots that have keys.
    pub slots: SlotSet,
    pub ends: Ends,
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
    /// They are the data of a primary.
    pub is_primarys: bool,
}
