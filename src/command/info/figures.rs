//! What INFO and MEMORY know: each core's share, and the figures of the whole node once the shares are merged.

use crate::base::slot::Slot;
use crate::command::blocking::WaitFigures;
use crate::command::context::Context;
use crate::command::core::Core;
use crate::command::machine::{CpuTimes, ProcessMemory};
use crate::command::persistence::append_only::{AppendFigures, RewriteFigures};
use crate::command::persistence::loading::Loading;
use crate::command::persistence::saving::SavingFigures;
use crate::command::replication::figures::ReplicationFigures;
use crate::command::scripting::ScriptFigures;
use crate::command::spec::Part;
use crate::command::stats::CoreStats;
use crate::config::Config;
use crate::keyspace::KeyspaceStats;

/// A key's share of its table, on average: pointer, tag and free places of a bucket, a place in the directory.
const TABLE_BYTES_PER_KEY: u64 = 16;
/// The tables of a database in use, before their first key: one for each slot and the counts.
const DATABASE_BYTES: u64 = 16384 * 32 + 256 * 32;

/// Nanoseconds of work in a second that are one percent of it.
const BUSY_NS_PER_PERCENT: f64 = 1e7;

/// How much of a core's statistics is asked for: histograms are large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub commands: bool,
    pub latencies: bool,
    /// The exact size of the tables: visits every bucket.
    pub tables: bool,
}

/// One core's share.
pub struct Share {
    stats: CoreStats,
    keyspace: KeyspaceStats,
    lazyfree_pending: u64,
    allocated_bytes: i64,
    startup_bytes: i64,
    clients: ClientFigures,
    waits: WaitFigures,
    tracked_keys: usize,
    tracked_items: usize,
    own_expiries: usize,
    migrate_sockets: usize,
    append: AppendFigures,
    scripts: ScriptFigures,
    databases: Vec<DatabaseFigures>,
    node: Option<NodeShare>,
}

/// What only core 0 knows.
struct NodeShare {
    memory: ProcessMemory,
    cpu: CpuTimes,
    replication: ReplicationFigures,
    loading: Loading,
    rewrite: RewriteFigures,
    saving: SavingFigures,
    bus: BusFigures,
}

/// The connections of the cluster bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusFigures {
    pub links_count: usize,
    pub links_bytes: u64,
}

/// One core beside the others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CoreFigures {
    pub keys: u64,
    pub allocated_bytes: i64,
    pub commands: u64,
    /// Requests of other cores' clients that were run here.
    pub hops_in: u64,
    /// Requests of this core's clients that were sent to other cores.
    pub hops_out: u64,
    /// Share of the last seconds in which the thread had work.
    pub busy_percent: f64,
}

/// All clients together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientFigures {
    pub count: u64,
    /// Those whose next request waits.
    pub blocked_count: u64,
    /// Those that are told of changes of what they have read.
    pub tracking_count: u64,
    pub memory_bytes: u64,
    /// Memory of replicas, which are not counted among the clients.
    pub replicas_memory_bytes: u64,
    pub largest_input_bytes: u64,
    pub largest_output_bytes: u64,
}

/// One database of one core, or of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatabaseFigures {
    pub keys: u64,
    pub volatile_keys: u64,
    /// Milliseconds that volatile keys have left, on average.
    pub average_ttl_ms: i64,
    /// Bytes of tables, if asked for.
    pub table_bytes: u64,
}

/// The whole node.
pub struct Figures<'a> {
    /// The core that answers: its clock, its snapshot of the settings, the facts that are the same everywhere.
    pub core: &'a Core,
    pub stats: CoreStats,
    pub keyspace: KeyspaceStats,
    pub lazyfree_pending: u64,
    pub clients: ClientFigures,
    pub waits: WaitFigures,
    /// Keys of which clients keep copies, and pairs of such a key and a client.
    pub tracked_keys: usize,
    pub tracked_items: usize,
    /// Keys of a replica that expire without its primary.
    pub own_expiries: usize,
    pub migrate_sockets: usize,
    /// The append-only files of all cores.
    pub append: AppendFigures,
    /// The scripts of all cores.
    pub scripts: ScriptFigures,
    pub rewrite: RewriteFigures,
    /// By the number of the database.
    pub databases: Vec<DatabaseFigures>,
    pub memory: ProcessMemory,
    pub cpu: CpuTimes,
    pub replication: ReplicationFigures,
    pub loading: Loading,
    pub saving: SavingFigures,
    pub bus: BusFigures,
    /// By the core's number.
    pub cores: Vec<CoreFigures>,
    allocated_bytes: i64,
    startup_bytes: i64,
}

impl Share {
    /// What the core of this context has to say.
    pub fn of(cx: &mut Context<'_>, wanted: Wanted) -> Share {
        let core = &mut *cx.core;
        let node = core.node.as_ref().map(|node| NodeShare {
            memory: node.machine.memory(),
            cpu: node.machine.cpu_times(),
            replication: ReplicationFigures::of(&node.replication, &node.config, core.clock.unix()),
            loading: node.persistence.loading,
            rewrite: node.persistence.append_only.figures(&core.clock),
            saving: node.persistence.saving.figures(),
            bus: BusFigures {
                links_count: node.cluster.as_ref().map_or(0, |cluster| cluster.machine().links().count()),
                links_bytes: node.links_bytes(),
            },
        });
        Share {
            stats: core.stats.copy(wanted.commands || wanted.latencies, wanted.latencies),
            keyspace: core.keyspace.stats,
            lazyfree_pending: core.keyspace.lazyfree_pending(),
            allocated_bytes: (core.memory)().allocated_bytes,
            startup_bytes: core.startup_bytes,
            clients: ClientFigures::of(core),
            waits: core.blocked.figures(),
            tracked_keys: core.tracking.keys_count(),
            tracked_items: core.tracking.items_count(),
            own_expiries: core.own_expiries.len(),
            migrate_sockets: core.migrations.sockets_count,
            append: core.append_figures,
            scripts: core.scripting.figures(),
            databases: (0..core.keyspace.databases()).map(|db| DatabaseFigures::of(core, db, wanted.tables)).collect(),
            node,
        }
    }

    fn core_figures(&self) -> CoreFigures {
        CoreFigures {
            keys: self.databases.iter().map(|database| database.keys).sum(),
            allocated_bytes: self.allocated_bytes.max(0),
            commands: self.stats.commands_processed,
            hops_in: self.stats.requests_for_others,
            hops_out: self.stats.requests_forwarded,
            busy_percent: self.stats.rates().busy_ns as f64 / BUSY_NS_PER_PERCENT,
        }
    }

    /// The share as a part of a command of every core.
    pub fn part(self) -> Part {
        Part::new(self)
    }
}

impl ClientFigures {
    fn of(core: &Core) -> ClientFigures {
        let mut figures = ClientFigures::default();
        for (_, client) in &core.clients {
            let traffic = &client.traffic;
            if client.is_replica {
                figures.replicas_memory_bytes += client.memory_bytes() as u64;
                continue;
            }
            figures.add(ClientFigures {
                count: 1,
                replicas_memory_bytes: 0,
                blocked_count: u64::from(client.postponed || client.blocked),
                tracking_count: u64::from(client.tracking.is_some()),
                memory_bytes: client.memory_bytes() as u64,
                largest_input_bytes: traffic.largest_query_buffer_bytes as u64,
                largest_output_bytes: traffic.largest_output_bytes as u64,
            });
        }
        figures
    }

    fn add(&mut self, other: ClientFigures) {
        self.count += other.count;
        self.blocked_count += other.blocked_count;
        self.tracking_count += other.tracking_count;
        self.memory_bytes += other.memory_bytes;
        self.replicas_memory_bytes += other.replicas_memory_bytes;
        self.largest_input_bytes = self.largest_input_bytes.max(other.largest_input_bytes);
        self.largest_output_bytes = self.largest_output_bytes.max(other.largest_output_bytes);
    }
}

impl DatabaseFigures {
    fn of(core: &Core, db: usize, tables: bool) -> DatabaseFigures {
        let keys = core.keyspace.len(db);
        let volatile_keys = core.keyspace.volatile_len(db);
        DatabaseFigures {
            keys,
            volatile_keys,
            average_ttl_ms: if volatile_keys > 0 { core.keyspace.average_ttl_ms(db) } else { 0 },
            table_bytes: if tables && keys > 0 { core.keyspace.overhead_bytes(db) as u64 } else { 0 },
        }
    }

    fn add(&mut self, other: DatabaseFigures) {
        let volatile = i128::from(self.volatile_keys) + i128::from(other.volatile_keys);
        if volatile > 0 {
            let ours = i128::from(self.average_ttl_ms) * i128::from(self.volatile_keys);
            let theirs = i128::from(other.average_ttl_ms) * i128::from(other.volatile_keys);
            self.average_ttl_ms = i64::try_from((ours + theirs) / volatile).unwrap_or(i64::MAX);
        }
        self.keys += other.keys;
        self.volatile_keys += other.volatile_keys;
        self.table_bytes += other.table_bytes;
    }
}

impl<'a> Figures<'a> {
    /// Merges the cores' shares on the core that answers.
    pub fn merge(core: &'a Core, parts: Vec<Part>) -> Figures<'a> {
        let mut figures = Figures {
            core,
            stats: CoreStats::new(core.stats.commands.len()),
            keyspace: KeyspaceStats::default(),
            lazyfree_pending: 0,
            clients: ClientFigures::default(),
            waits: WaitFigures::default(),
            tracked_keys: 0,
            tracked_items: 0,
            own_expiries: 0,
            migrate_sockets: 0,
            append: AppendFigures::default(),
            scripts: ScriptFigures::default(),
            rewrite: RewriteFigures::default(),
            databases: vec![DatabaseFigures::default(); core.keyspace.databases()],
            memory: ProcessMemory::default(),
            cpu: CpuTimes::default(),
            replication: ReplicationFigures::default(),
            loading: Loading::default(),
            saving: SavingFigures::default(),
            bus: BusFigures::default(),
            cores: Vec::with_capacity(parts.len()),
            allocated_bytes: 0,
            startup_bytes: 0,
        };
        parts.into_iter().for_each(|part| figures.add(part.take()));
        figures
    }

    fn add(&mut self, share: Share) {
        self.cores.push(share.core_figures());
        self.stats.merge(&share.stats);
        let (ours, theirs) = (&mut self.keyspace, share.keyspace);
        ours.hits += theirs.hits;
        ours.misses += theirs.misses;
        ours.expired_keys += theirs.expired_keys;
        ours.dirty += theirs.dirty;
        ours.lazyfreed_objects += theirs.lazyfreed_objects;
        ours.evicted_keys += theirs.evicted_keys;
        self.lazyfree_pending += share.lazyfree_pending;
        self.clients.add(share.clients);
        self.waits.add(share.waits);
        self.tracked_keys += share.tracked_keys;
        self.tracked_items += share.tracked_items;
        self.own_expiries += share.own_expiries;
        self.migrate_sockets += share.migrate_sockets;
        self.append.add(share.append);
        self.scripts.add(share.scripts);
        for (ours, theirs) in self.databases.iter_mut().zip(share.databases) {
            ours.add(theirs);
        }
        self.allocated_bytes += share.allocated_bytes;
        self.startup_bytes += share.startup_bytes;
        if let Some(node) = share.node {
            self.memory = node.memory;
            self.cpu = node.cpu;
            self.replication = node.replication;
            self.loading = node.loading;
            self.rewrite = node.rewrite;
            self.saving = node.saving;
            self.bus = node.bus;
        }
    }

    /// The settings as this core has them.
    pub fn config(&self) -> &Config {
        &self.core.config
    }

    /// Slots of this node, or of the primary that it copies, by the core that owns them.
    pub fn slots_by_core(&self) -> Vec<u32> {
        let mut counts = vec![0; self.cores.len()];
        for slot in Slot::all() {
            if self.core.cluster.is_of_own_shard(slot)
                && let Some(count) = counts.get_mut(self.core.owners.owner(slot).index())
            {
                *count += 1;
            }
        }
        counts
    }

    /// Bytes of the code of scripts and of libraries.
    pub fn scripts_bytes(&self) -> u64 {
        self.scripts.scripts_bytes + self.core.scripting.libraries_bytes()
    }

    /// Changes since the last snapshot.
    pub fn unsaved_changes(&self) -> u64 {
        self.keyspace.dirty.saturating_sub(self.saving.saved_changes)
    }

    /// How far the snapshot under way is, in percent of the keys.
    pub fn save_percent(&self) -> f64 {
        percent(self.saving.keys_processed, self.saving.keys_total)
    }

    /// Seconds since the snapshot under way was begun.
    pub fn save_age_s(&self) -> Option<i64> {
        self.saving.begun_s.map(|begun_s| (self.core.clock.unix().seconds() - begun_s).max(0))
    }

    pub fn uptime_s(&self) -> i64 {
        (self.core.clock.unix().seconds() - self.core.facts.started_unix_s).max(0)
    }

    // ---- memory ------------------------------------------------------------------------------------------------

    /// Bytes allocated and not freed, of all cores.
    pub fn used_bytes(&self) -> u64 {
        self.allocated_bytes.max(0).unsigned_abs()
    }

    /// Microseconds that the node has been above maxmemory, if it is.
    pub fn eviction_exceeded_us(&self) -> u64 {
        match self.stats.eviction_exceeded_since_us {
            0 => 0,
            since_us => self.core.clock.monotonic_us().saturating_sub(since_us),
        }
    }

    /// Bytes that were allocated before the first client came.
    pub fn startup_bytes(&self) -> u64 {
        self.startup_bytes.max(0).unsigned_abs()
    }

    pub fn peak_bytes(&self) -> u64 {
        self.memory.peak_allocated_bytes.max(self.used_bytes())
    }

    pub fn keys(&self) -> u64 {
        self.databases.iter().map(|database| database.keys).sum()
    }

    /// Bytes that hold no data: what was there at the start, clients, tables. Tables are counted where they were
    /// asked for, else estimated from the number of keys.
    pub fn overhead_bytes(&self) -> u64 {
        let tables: u64 = self.databases.iter().map(DatabaseFigures::tables_bytes).sum();
        self.startup_bytes() + self.clients.memory_bytes + tables
    }

    pub fn dataset_bytes(&self) -> u64 {
        self.used_bytes().saturating_sub(self.overhead_bytes())
    }

    /// The data set's share of what came after the start, in percent.
    pub fn dataset_percent(&self) -> f64 {
        percent(self.dataset_bytes(), self.net_bytes())
    }

    pub fn peak_percent(&self) -> f64 {
        percent(self.used_bytes(), self.peak_bytes())
    }

    /// Bytes beyond those of the start; at least 1.
    pub fn net_bytes(&self) -> u64 {
        self.used_bytes().saturating_sub(self.startup_bytes()).max(1)
    }

    /// What the process occupies for each byte that it has allocated.
    pub fn fragmentation_ratio(&self) -> f64 {
        ratio(self.memory.resident_bytes, self.used_bytes())
    }

    pub fn fragmentation_bytes(&self) -> i64 {
        self.memory.resident_bytes.cast_signed() - self.used_bytes().cast_signed()
    }
}

impl DatabaseFigures {
    /// Bytes of tables, counted or estimated.
    pub fn tables_bytes(&self) -> u64 {
        match (self.keys, self.table_bytes) {
            (0, _) => 0,
            (keys, 0) => DATABASE_BYTES + keys * TABLE_BYTES_PER_KEY,
            (_, counted) => counted,
        }
    }
}

/// 0 of nothing is 0.
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn percent(part: u64, whole: u64) -> f64 {
    ratio(part, whole) * 100.0
}

/// A number of bytes as INFO shows it to people: `1.50K`.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    let power = (bytes.max(1).ilog2() / 10) as usize;
    match power {
        1..=5 => format!("{:.2}{}", bytes as f64 / (1u64 << (10 * power)) as f64, UNITS[power - 1]),
        _ => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_with_the_unit_below_them() {
        let cases = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (1536, "1.50K"),
            (1 << 20, "1.00M"),
            (5 << 30, "5.00G"),
            (1 << 50, "1.00P"),
            (1 << 60, "1152921504606846976B"),
        ];
        for (bytes, text) in cases {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn average_ttl_weighs_cores_by_their_volatile_keys() {
        let mut sum = DatabaseFigures { keys: 5, volatile_keys: 1, average_ttl_ms: 1000, table_bytes: 0 };
        sum.add(DatabaseFigures { keys: 4, volatile_keys: 3, average_ttl_ms: 2000, table_bytes: 7 });
        assert_eq!(sum, DatabaseFigures { keys: 9, volatile_keys: 4, average_ttl_ms: 1750, table_bytes: 7 });
        sum.add(DatabaseFigures::default());
        assert_eq!(sum.average_ttl_ms, 1750);
    }
}
