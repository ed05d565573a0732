//! What one core owns: its keyspace, its clients, its share of every statistic, and its copies of the node's settings.
//!
//! A `Core` is plain data: no sockets, no clock, no other core. The runtime drives it: it sets the clock, runs
//! requests through the gate and `execute`, and carries out the `Effect`s that handlers leave behind.

use std::rc::Rc;

use bytes::Bytes;
use slab::Slab;

use super::blocking::{Blocked, Wait};
use super::client::{Client, ClientRef, CloseReason};
use super::cluster::migration::{MigrationView, Order};
use super::journal::{Journal, JournalReader};
use super::latency::LatencyEvents;
use super::memory_limit::{self, Ledger};
use super::migrate::Migrations;
use super::node::Node;
use super::pause::Pause;
use super::persistence::DiskView;
use super::persistence::append_only::{AppendFigures, DiskFault};
use super::persistence::loading::Reload;
use super::persistence::saving::SaveFor;
use super::pubsub::{Delivery, Subscriptions};
use super::relocation::Relocation;
use super::replication::ReplicationView;
use super::replication::own_expiries::OwnExpiries;
use super::replication::peers::{ReplicaQuestion, SyncRequest};
use super::replication::upstream::FollowOrder;
use super::scripting::{Libraries, Scripting};
use super::slot_usage::{self, SlotUsage};
use super::slowlog::{SlowEntry, SlowLog};
use super::stats::CoreStats;
use super::tracking::TrackingTable;
use super::watch::Watches;
use crate::base::clock::{Clock, NanoClock};
use crate::base::core_id::CoreId;
use crate::base::hex::HexId;
use crate::base::random::Random;
use crate::base::slot::{Slot, SlotSet};
use crate::cluster::core_ports::CorePorts;
use crate::cluster::machine::Action;
use crate::cluster::membership::Step;
use crate::cluster::view::{ClusterView, SlotOwners};
use crate::config::Config;
use crate::keyspace::{Disposal, Key, Keyspace, LazyFree};
use crate::resp::{Args, LOOKAHEAD_MAX, ReplyBuffer};

/// Facts that hold from start to end of the process, the same on every core.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    pub run_id: HexId,
    pub cores_count: usize,
    pub started_unix_s: i64,
    pub process_id: u32,
    pub executable: String,
    /// Absolute path of the configuration file; empty when there is none.
    pub config_file: String,
    /// Kernel name, release and machine, as INFO's `os`.
    pub operating_system: String,
}

/// Allocator figures of the calling core's thread, or of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryFigures {
    /// Bytes allocated and not freed by this core (may be negative: it may free what another core made).
    pub allocated_bytes: i64,
}

/// Everything one core owns.
pub struct Core {
    pub id: CoreId,
    pub facts: Rc<NodeFacts>,
    pub keyspace: Keyspace,
    pub clients: Slab<Client>,
    /// This core's snapshot of the settings; replaced whole.
    pub config: Box<Config>,
    pub owners: SlotOwners,
    pub cluster: ClusterView,
    /// What this core must know of slots on their way.
    pub migration: MigrationView,
    /// Slots that change their core just now.
    pub relocation: Option<Box<Relocation>>,
    /// What this core must know of who copies whom.
    pub replication: ReplicationView,
    /// On a replica: keys that its own clients have given a time to live.
    pub own_expiries: OwnExpiries,
    /// What this core must know of the node's files.
    pub disk: DiskView,
    /// What the runtime tells of this core's append-only file.
    pub append_figures: AppendFigures,
    /// What this core has changed, for the append-only file and for replicas.
    pub journal: Journal,
    pub clock: Clock,
    /// Times calls, back to back with one reading each.
    pub nanos: NanoClock,
    pub random: Random,
    pub stats: CoreStats,
    /// What this core's slots have cost, while that is measured.
    pub slot_usage: SlotUsage,
    pub slowlog: SlowLog,
    pub latency: LatencyEvents,
    /// The client of a transaction that has come from another core, while it runs.
    pub guest: Option<Box<Client>>,
    /// What the handler that has just run waits for (see `blocking`).
    pub wait: Option<Wait>,
    pub blocked: Blocked,
    /// Keys that are on their way to other nodes.
    pub migrations: Migrations,
    pub watches: Watches,
    pub scripting: Scripting,
    /// What runs was called by a script.
    pub in_script: bool,
    /// DEBUG SET-DISABLE-DENY-SCRIPTS: scripts may call what they may not. Only in tests.
    pub allows_all_in_scripts: bool,
    /// Who keeps copies of what.
    pub tracking: TrackingTable,
    /// The client whose command runs; 0 in background work.
    pub running_client: u64,
    /// Who listens to which channels, of all cores.
    pub subscriptions: Subscriptions,
    /// Clients in MONITOR mode, of any core.
    pub monitors: Vec<ClientRef>,
    pub pause: Pause,
    /// DEBUG SET-ACTIVE-EXPIRE: off only in tests.
    pub active_expire: bool,
    /// Calls that take this long are looked at: the lower of the slow log's and the latency monitor's thresholds.
    pub slow_threshold_ns: u64,
    /// What handlers ask of the runtime; emptied after every request.
    pub effects: Vec<Effect>,
    /// What there is once per node; on core 0 only.
    pub node: Option<Box<Node>>,
    /// Bytes that were allocated here before the first client came.
    pub startup_bytes: i64,
    /// DEBUG PAUSE-CRON: the tick does nothing. Only in tests.
    pub paused_tick: bool,
    /// DEBUG SET-SKIP-CHECKSUM-VALIDATION: payloads and files are read whatever their checksums. Only in tests.
    pub skips_checksums: bool,
    /// Reads the allocator's counters of this thread.
    pub memory: fn() -> MemoryFigures,
    /// Bytes of clients that are being closed to make room: they are as good as free.
    pub departing_bytes: i64,
    /// What all cores know of the node's memory.
    pub ledger: Box<dyn Ledger>,
}

/// What a handler wants done that reaches beyond its core's data.
pub enum Effect {
    /// Bytes for a client of any core: push messages.
    Push {
        to: ClientRef,
        bytes: Bytes,
    },
    /// A line for a monitor of any core; dropped when it is none any more.
    MonitorLine {
        to: ClientRef,
        line: Bytes,
    },
    /// A client of this core has left MONITOR: no core has lines for it from now on.
    MonitorLeft(ClientRef),
    /// Close a client of this core.
    Close {
        index: u32,
        reason: CloseReason,
    },
    /// The reply to a client of any core was cut off, since it alone is more than may wait for that client: close it.
    Overran(ClientRef),
    /// A message for clients of any core.
    Deliver {
        to: Vec<ClientRef>,
        delivery: Delivery,
    },
    /// The late reply to a request that had to wait, and whether that has recorded something.
    Answer {
        to: ClientRef,
        sequence: u32,
        reply: Box<ReplyBuffer>,
        recorded: bool,
    },
    /// A client of this core watches nothing any more: these cores forget it.
    Unwatch {
        client: ClientRef,
        cores: Vec<CoreId>,
    },
    /// A client of this core does not listen to these key prefixes after all.
    Untrack {
        client: ClientRef,
        prefixes: Vec<Vec<u8>>,
    },
    /// A client of this core has given up what other cores know of it.
    Left(ClientRef),
    /// Hand a new snapshot to every core before the reply leaves (core 0 only).
    Publish(Publication),
    /// A slow call's entry, to be completed where its client is connected.
    Slow {
        client: ClientRef,
        entry: Box<SlowEntry>,
    },
    /// The pause has changed: look again at the clients that wait.
    PauseChanged,
    /// End the process, once the data are saved if they are to be (core 0 only).
    Shutdown(ShutdownOptions),
    /// DEBUG RELOAD or LOADAOF: the reply comes when all is loaded.
    Reload(Reload),
    /// Do not end it after all (core 0 only).
    CallShutdownOff,
    /// Begin a snapshot, which `saving` has in its books (core 0 only).
    Save(SaveFor),
    /// Another core has been asked to free memory: wake it.
    FreeMemory(CoreId),
    /// All keys of this core were removed, of several that have keys, which is not recorded: its append-only file is to be replaced by
    /// an empty one, and core 0 records it for the log when all have done so.
    Flushed,
    /// Rewrite the append-only files, which `append_only` has in its books (core 0 only).
    Rewrite,
    /// A client of this core wants to be a replica.
    Sync {
        client: ClientRef,
        request: SyncRequest,
    },
    /// A replica has said what it has; `has_snapshot`: it has been waiting for that before it reads on (core 0 only).
    ReplicaAcked {
        client: ClientRef,
        has_snapshot: bool,
    },
    /// A client of this core waits (WAIT, WAITAOF) for replicas to have what it has written.
    AskReplicas(ReplicaQuestion),
    /// FAILOVER: hand over to a replica, which `failover` has in its books; or do not after all (core 0 only).
    HandOver,
    CallFailoverOff,
    /// Bytes for replicas that are in no file.
    ForReplicas(Vec<u8>),
    /// There is another primary to follow, or none any more (core 0 only).
    Follow(FollowOrder),
    /// What the cluster's state machine has decided (core 0 only).
    Cluster(Vec<Action>),
    /// Slots are on their way to another node, or from one.
    Migration(Order),
    /// These slots are to be this core's.
    Relocate {
        slots: Box<SlotSet>,
        to: CoreId,
    },
    /// A client has published: the other nodes' subscribers are to hear it.
    Broadcast {
        channel: Bytes,
        message: Bytes,
        is_sharded: bool,
    },
    /// A client of this core waits (WAITAOF) until all that cores have recorded so far is on the disk.
    AwaitDurable(ClientRef),
    /// This core has learnt a script, which the others are to know as well.
    Script {
        digest: String,
        code: Bytes,
    },
    /// From now on this core's disk has a fault.
    DiskFault(DiskFault),
    /// Return free memory to the system on this core's thread.
    PurgeMemory,
}

/// A snapshot that core 0 hands to every core.
#[derive(Clone)]
pub enum Publication {
    Config { config: Box<Config>, changed: Vec<&'static str> },
    Cluster(Box<ClusterView>),
    Disk(DiskView),
    Replication(ReplicationView),
    Migration(MigrationView),
    Libraries(Libraries),
}

/// SHUTDOWN's options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownOptions {
    pub now: bool,
    pub force: bool,
    /// Some(true) for SAVE, Some(false) for NOSAVE.
    pub save: Option<bool>,
}

impl Core {
    /// Sets the time of what runs from now on.
    #[inline]
    pub fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
        // A replica leaves it to its primary to say what has expired.
        let keeps_expired = self.replication.role.is_replica() || self.pause.until(clock.unix()).is_some();
        self.keyspace.set_clock(clock.unix(), keeps_expired);
        self.keyspace.expires_nothing = self.disk.loading;
    }

    /// Sees to it that what the cluster's state machine has decided is done, and its view published (core 0).
    pub fn take_step(&mut self, step: Step) {
        if let Some(view) = step.view {
            self.effects.push(Effect::Publish(Publication::Cluster(Box::new(view))));
        }
        if !step.actions.is_empty() {
            self.effects.push(Effect::Cluster(step.actions));
        }
    }

    /// Says where the cores are reached, and which slots each has now (core 0).
    pub fn tell_cluster_of_core_ports(&mut self) {
        let ports = CorePorts::of(&self.config, self.facts.cores_count, &self.owners);
        if let Some(cluster) = self.node().cluster.as_deref_mut() {
            cluster.note_core_ports(ports);
        }
    }

    /// Whether what passed the gate before must not write any more, where it would: writes are paused, or held for slots that are being
    /// handed over.
    pub fn holds_late_writes(&self) -> bool {
        self.pause.holds(true, self.clock.unix()) || self.migration.held.is_some()
    }

    /// Takes over what core 0 published.
    pub fn apply(&mut self, publication: Publication) {
        match publication {
            Publication::Config { config, changed } => {
                self.config = config;
                self.settings_changed(&changed);
            }
            Publication::Cluster(view) => super::routing::follow(self, *view),
            Publication::Disk(view) => self.disk = view,
            Publication::Replication(view) => self.follow_role(view),
            Publication::Migration(view) => super::cluster::migration::follow(self, view),
            Publication::Libraries(libraries) => self.scripting.set_libraries(libraries),
        }
    }

    /// Takes over who copies whom.
    fn follow_role(&mut self, view: ReplicationView) {
        let becomes_replica = view.role.is_replica() && !self.replication.role.is_replica();
        self.replication = view;
        if self.pause.hold_writes(view.holds_writes) {
            self.effects.push(Effect::PauseChanged);
        }
        if becomes_replica {
            super::blocking::role_changed(self);
        }
        if view.feeds != self.journal.is_fed() {
            self.set_journal(JournalReader::Log, view.feeds);
        }
    }

    /// Hands settings to the parts that keep a copy. An empty list means all of them.
    pub fn settings_changed(&mut self, changed: &[&'static str]) {
        let any = |names: &[&str]| changed.is_empty() || changed.iter().any(|name| names.contains(name));
        if any(&["maxmemory-policy", "lfu-log-factor", "lfu-decay-time"]) {
            self.keyspace.set_access_policy(super::server::access_policy(&self.config));
        }
        if any(&["lazyfree-lazy-expire", "lazyfree-lazy-server-del"]) {
            self.keyspace.lazy_free = lazy_free(&self.config);
        }
        if any(&["maxmemory", "maxmemory-policy"]) {
            memory_limit::settings_changed(self);
        }
        self.slow_threshold_ns = slow_threshold_ns(&self.config);
        if any(&["notify-keyspace-events"]) {
            super::attention::settings_changed(self);
        }
        if any(&["tracking-table-max-keys"]) {
            super::tracking::limit(self);
        }
        if any(&["cluster-slot-stats-enabled", "slots-rebalance"]) {
            self.slot_usage.measure(slot_usage::is_wanted(&self.config));
        }
        if any(&["slowlog-max-len"]) {
            self.slowlog.set_length_max(self.config.slowlog_max_len as usize);
        }
        if changed.contains(&"appendonly") && self.id == CoreId::FIRST {
            self.append_only_changed();
        }
        if any(&["latency-tracking"]) && !self.config.latency_tracking {
            self.stats.forget_latencies();
        }
    }

    /// Whether what changes belongs into append-only files.
    pub fn records_in_files(&self) -> bool {
        self.config.appendonly && !self.disk.replaces_files
    }

    /// Whether a time to live that has passed already removes the key at once: not where another node says what has expired.
    #[inline]
    pub fn removes_expired(&self) -> bool {
        !self.disk.loading && !self.replication.role.is_replica() && !self.obeys()
    }

    /// Whether what runs was run by another node before, or by this one: it is loaded, or comes from the primary. It is not
    /// questioned.
    #[inline]
    pub fn obeys(&self) -> bool {
        self.keyspace.expires_nothing
    }

    /// `appendonly` was set; the runtime sees to the files at its next tick. While data are loaded nothing is recorded in any case.
    fn append_only_changed(&mut self) {
        let begins = self.config.appendonly && !self.journal.is_for(JournalReader::File) && !self.disk.loading;
        let persistence = &mut self.node().persistence;
        match begins {
            true => persistence.append_only.turned_on(persistence.saving.is_under_way()),
            false => persistence.append_only.does_not_begin(),
        }
    }

    /// Fetches the keys of requests that are about to run into the cache. It guesses that the first argument is the key, which
    /// is right for nearly all that are pipelined, and harmless where it is wrong.
    pub fn prefetch<'k>(&self, db: usize, requests: impl Iterator<Item = Args<'k>>) {
        let mut keys = [Key { bytes: &[], slot: Slot::new(0) }; LOOKAHEAD_MAX];
        let mut count = 0;
        for bytes in requests.filter_map(|args| args.get(1)).take(LOOKAHEAD_MAX) {
            keys[count] = Key::new(bytes);
            count += 1;
        }
        self.keyspace.prefetch(db, &keys[..count]);
    }

    /// This node's clients may also be on other cores: is this one of ours, and still the same?
    pub fn own_client(&mut self, client: ClientRef) -> Option<&mut Client> {
        if let Some(guest) = &mut self.guest
            && guest.id == client.id
        {
            return Some(guest);
        }
        if client.core != self.id {
            return None;
        }
        self.clients.get_mut(client.index as usize).filter(|c| c.id == client.id)
    }

    /// Gives an event to the latency monitor, if it took as long as latency-monitor-threshold.
    pub fn note_latency(&mut self, event: &str, duration_ns: u64) {
        let (threshold_ms, duration_ms) = (self.config.latency_monitor_threshold, duration_ns / 1_000_000);
        if threshold_ms > 0 && duration_ms >= threshold_ms {
            self.latency.add(event, self.clock.unix().seconds(), duration_ms);
        }
    }

    /// Publishes a keyspace event, if its class is switched on.
    #[inline]
    pub fn notify(&mut self, class: u16, event: &str, db: u16, key: &[u8]) {
        if self.keyspace.has_notes() {
            super::attention::settle(self);
        }
        self.publish_event(class, event, db, key);
    }

    /// As `notify`, when what happened before has been published.
    #[inline]
    pub(super) fn publish_event(&mut self, class: u16, event: &str, db: u16, key: &[u8]) {
        if self.config.notify_keyspace_events.has(class) {
            super::events::publish(self, event, db, key);
        }
    }

    /// Bytes that this core has allocated, as the limits count them.
    #[inline]
    pub fn allocated_bytes(&self) -> i64 {
        (self.memory)().allocated_bytes - self.departing_bytes
    }

    /// Takes up what background work has done to keys.
    pub fn settle(&mut self) {
        self.running_client = 0;
        if self.keyspace.has_notes() {
            super::attention::settle_apart(self);
        }
    }

    /// Begins or ends recording what changes for a reader: between requests.
    pub fn set_journal(&mut self, reader: JournalReader, on: bool) {
        self.journal.set(reader, on);
        super::attention::settings_changed(self);
    }

    /// Begins or ends keeping what changes for a migration: between requests.
    pub fn set_tap(&mut self, job: HexId, on: bool) {
        self.journal.tap(job, on);
        super::attention::settings_changed(self);
    }

    /// While data are loaded nothing is recorded.
    pub fn suspend_journal(&mut self, suspended: bool) {
        self.journal.suspend(suspended);
        super::attention::settings_changed(self);
    }

    /// A client, of whatever core, has gone: forgets what this core knew of it.
    pub fn client_left(&mut self, client: ClientRef) {
        super::blocking::forget(self, client.id);
        self.watches.end(&mut self.keyspace, client.id);
        self.subscriptions.remove_client(client.id);
        self.tracking.remove_client(client.id);
        super::tracking::prefixes_changed(self);
    }

    /// A client, of whatever core, does not listen to these key prefixes.
    pub fn untrack(&mut self, client: ClientRef, prefixes: &[Vec<u8>]) {
        prefixes.iter().for_each(|prefix| self.tracking.remove_prefix(prefix, client.id));
        super::tracking::prefixes_changed(self);
    }

    /// What there is once per node.
    ///
    /// # Panics
    /// On any core but the first: the row of the command says `OnFirstCore`.
    pub fn node(&mut self) -> &mut Node {
        self.node.as_mut().expect("only core 0 owns the node's state")
    }
}

/// How what expires and what is replaced is freed.
fn lazy_free(config: &Config) -> LazyFree {
    let disposal = |lazy| if lazy { Disposal::Background } else { Disposal::Now };
    LazyFree { expired: disposal(config.lazyfree_lazy_expire), replaced: disposal(config.lazyfree_lazy_server_del) }
}

/// u64::MAX when neither the slow log nor the latency monitor wants anything.
fn slow_threshold_ns(config: &Config) -> u64 {
    let slow = u64::try_from(config.slowlog_log_slower_than).map_or(u64::MAX, |us| us.saturating_mul(1000));
    match config.latency_monitor_threshold {
        0 => slow,
        ms => slow.min(ms.saturating_mul(1_000_000)),
    }
}
