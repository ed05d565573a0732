//! The table of INFO's fields: section, name, and how the value is computed, in the order in which they are shown.
//!
//! Names and sections are those of Redis 7.2, with a few of our own behind `redis_version`. A field whose subject
//! does not exist yet shows Redis's neutral value and says here what will bring the real one.

use super::figures::{DatabaseFigures, Figures, human, ratio};
use crate::base::clock::lru_clock;
use crate::command::machine::CpuTime;
use crate::command::pubsub::Kind;
use crate::command::replication::upstream::{Link, UpstreamFigures};
use crate::command::table::table;

/// A section, as `# Name` and as an argument in any case of letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Server,
    Clients,
    Memory,
    Persistence,
    Stats,
    Replication,
    Cpu,
    Modules,
    Commandstats,
    Errorstats,
    Latencystats,
    Cluster,
    Keyspace,
    Cores,
    Debug,
}

impl Section {
    /// In the order of the reply.
    pub const ALL: [Section; 15] = [
        Section::Server,
        Section::Clients,
        Section::Memory,
        Section::Persistence,
        Section::Stats,
        Section::Replication,
        Section::Cpu,
        Section::Modules,
        Section::Commandstats,
        Section::Errorstats,
        Section::Latencystats,
        Section::Cluster,
        Section::Keyspace,
        Section::Cores,
        Section::Debug,
    ];

    pub const fn title(self) -> &'static str {
        match self {
            Section::Server => "Server",
            Section::Clients => "Clients",
            Section::Memory => "Memory",
            Section::Persistence => "Persistence",
            Section::Stats => "Stats",
            Section::Replication => "Replication",
            Section::Cpu => "CPU",
            Section::Modules => "Modules",
            Section::Commandstats => "Commandstats",
            Section::Errorstats => "Errorstats",
            Section::Latencystats => "Latencystats",
            Section::Cluster => "Cluster",
            Section::Keyspace => "Keyspace",
            Section::Cores => "Cores",
            Section::Debug => "Debug",
        }
    }

    /// Shown by INFO without arguments: what Redis shows then, and nothing else.
    pub const fn is_default(self) -> bool {
        !matches!(self, Section::Commandstats | Section::Latencystats | Section::Cores | Section::Debug)
    }

    /// Shown by `all` and `everything`.
    pub const fn is_in_all(self) -> bool {
        !matches!(self, Section::Debug)
    }

    /// Does the argument name this section?
    pub fn is_named(self, argument: &[u8]) -> bool {
        argument.eq_ignore_ascii_case(self.title().as_bytes())
            || self == Section::Modules && argument.eq_ignore_ascii_case(b"module_list")
    }
}

/// How a field comes to its value.
#[derive(Clone, Copy)]
pub enum Show {
    /// The value.
    Is(fn(&Figures<'_>) -> String),
    /// The value, when there is anything to say.
    Maybe(fn(&Figures<'_>) -> Option<String>),
    /// This, until that part of the node exists.
    Until(&'static str, Coming),
    /// This, always: nothing here corresponds, for this reason.
    Always(&'static str, &'static str),
    /// Whole lines, `name:value` each.
    Lines(fn(&Figures<'_>) -> Vec<String>),
    /// The value, of a replica, when there is anything to say of its primary.
    OfPrimary(fn(&Figures<'_>, &UpstreamFigures) -> Option<String>),
}

/// Which part of the node will bring the real value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coming {
    Persistence,
    Acl,
}

/// One row.
pub struct Field {
    pub section: Section,
    pub name: &'static str,
    pub show: Show,
}

const fn is(section: Section, name: &'static str, value: fn(&Figures<'_>) -> String) -> Field {
    Field { section, name, show: Show::Is(value) }
}

const fn maybe(section: Section, name: &'static str, value: fn(&Figures<'_>) -> Option<String>) -> Field {
    Field { section, name, show: Show::Maybe(value) }
}

const fn until(section: Section, name: &'static str, value: &'static str, coming: Coming) -> Field {
    Field { section, name, show: Show::Until(value, coming) }
}

const fn always(section: Section, name: &'static str, value: &'static str, why: &'static str) -> Field {
    Field { section, name, show: Show::Always(value, why) }
}

const fn of_primary(name: &'static str, value: fn(&Figures<'_>, &UpstreamFigures) -> Option<String>) -> Field {
    Field { section: Section::Replication, name, show: Show::OfPrimary(value) }
}

const fn lines(section: Section, name: &'static str, value: fn(&Figures<'_>) -> Vec<String>) -> Field {
    Field { section, name, show: Show::Lines(value) }
}

use Coming::{Acl, Persistence};
use Section::{
    Clients, Cluster, Commandstats, Cores, Cpu, Debug as Debugging, Errorstats, Keyspace, Latencystats, Memory,
    Modules, Persistence as Saved, Replication as Replicas, Server, Stats,
};

const NO_FORK: &str = "no process is forked";
const NO_DEFRAG: &str = "the allocator has no defragmentation";
const NO_IO_THREADS: &str = "cores are not I/O threads";
const NO_MODULES: &str = "there are no modules";
const NO_SHARED_BUFFER: &str = "reply buffers have no fixed part that could shrink or expand";

/// All fields.
pub const FIELDS: &[Field] = &[
    always(Server, "redis_version", "7.2.4", "the version whose commands and replies this node has"),
    always(Server, "server_name", "slotcore", "ours"),
    always(Server, "slotcore_version", env!("CARGO_PKG_VERSION"), "ours"),
    always(Server, "redis_git_sha1", "00000000", "not a build of Redis"),
    always(Server, "redis_git_dirty", "0", "not a build of Redis"),
    always(Server, "redis_build_id", "0", "not a build of Redis"),
    is(Server, "redis_mode", |f| if f.config().cluster_enabled { "cluster" } else { "standalone" }.to_owned()),
    is(Server, "os", |f| f.core.facts.operating_system.clone()),
    always(Server, "arch_bits", "64", "the only kind supported"),
    always(Server, "monotonic_clock", "POSIX clock_gettime", "the only kind used"),
    always(Server, "multiplexing_api", "io_uring", "the only kind used"),
    always(Server, "atomicvar_api", "none", "cores share no variables"),
    always(Server, "gcc_version", "0.0.0", "not compiled by GCC"),
    is(Server, "process_id", |f| f.core.facts.process_id.to_string()),
    always(Server, "process_supervised", "no", "supervisors are not told anything yet"),
    is(Server, "run_id", |f| f.core.facts.run_id.to_string()),
    is(Server, "tcp_port", |f| f.config().port.to_string()),
    is(Server, "server_time_usec", |f| f.core.clock.unix_us().to_string()),
    is(Server, "uptime_in_seconds", |f| f.uptime_s().to_string()),
    is(Server, "uptime_in_days", |f| (f.uptime_s() / 86_400).to_string()),
    is(Server, "hz", |f| f.config().hz.to_string()),
    is(Server, "configured_hz", |f| f.config().hz.to_string()),
    is(Server, "lru_clock", |f| lru_clock(f.core.clock.unix()).to_string()),
    is(Server, "executable", |f| f.core.facts.executable.clone()),
    is(Server, "config_file", |f| f.core.facts.config_file.clone()),
    always(Server, "io_threads_active", "0", NO_IO_THREADS),
    is(Server, "cores", |f| f.core.facts.cores_count.to_string()),
    maybe(Server, "shutdown_in_milliseconds", |f| f.replication.leaves_in_ms.map(|ms| ms.to_string())),
    lines(Server, "listener", listeners),
    //
    is(Clients, "connected_clients", |f| f.clients.count.to_string()),
    is(Clients, "cluster_connections", |f| f.bus.links_count.to_string()),
    is(Clients, "maxclients", |f| f.config().maxclients.to_string()),
    is(Clients, "client_recent_max_input_buffer", |f| f.clients.largest_input_bytes.to_string()),
    is(Clients, "client_recent_max_output_buffer", |f| f.clients.largest_output_bytes.to_string()),
    is(Clients, "blocked_clients", |f| f.clients.blocked_count.to_string()),
    is(Clients, "tracking_clients", |f| f.clients.tracking_count.to_string()),
    is(Clients, "clients_in_timeout_table", |f| f.waits.with_deadline.to_string()),
    is(Clients, "total_blocking_keys", |f| f.waits.keys.to_string()),
    is(Clients, "total_blocking_keys_on_nokey", |f| f.waits.keys_or_removed.to_string()),
    //
    is(Memory, "used_memory", |f| f.used_bytes().to_string()),
    is(Memory, "used_memory_human", |f| human(f.used_bytes())),
    is(Memory, "used_memory_rss", |f| f.memory.resident_bytes.to_string()),
    is(Memory, "used_memory_rss_human", |f| human(f.memory.resident_bytes)),
    is(Memory, "used_memory_peak", |f| f.peak_bytes().to_string()),
    is(Memory, "used_memory_peak_human", |f| human(f.peak_bytes())),
    is(Memory, "used_memory_peak_perc", |f| format!("{:.2}%", f.peak_percent())),
    is(Memory, "used_memory_overhead", |f| f.overhead_bytes().to_string()),
    is(Memory, "used_memory_startup", |f| f.startup_bytes().to_string()),
    is(Memory, "used_memory_dataset", |f| f.dataset_bytes().to_string()),
    is(Memory, "used_memory_dataset_perc", |f| format!("{:.2}%", f.dataset_percent())),
    is(Memory, "allocator_allocated", |f| f.used_bytes().to_string()),
    // The allocator does not tell what it holds: as Redis does with such allocators, the process's memory stands for it.
    is(Memory, "allocator_active", |f| f.memory.resident_bytes.to_string()),
    is(Memory, "allocator_resident", |f| f.memory.resident_bytes.to_string()),
    is(Memory, "total_system_memory", |f| f.memory.system_bytes.to_string()),
    is(Memory, "total_system_memory_human", |f| human(f.memory.system_bytes)),
    is(Memory, "used_memory_lua", |f| f.scripts.machine_bytes.to_string()),
    is(Memory, "used_memory_vm_eval", |f| f.scripts.machine_bytes.to_string()),
    is(Memory, "used_memory_lua_human", |f| human(f.scripts.machine_bytes)),
    is(Memory, "used_memory_scripts_eval", |f| f.scripts.scripts_bytes.to_string()),
    is(Memory, "number_of_cached_scripts", |f| f.scripts.scripts_count.to_string()),
    is(Memory, "number_of_functions", |f| f.core.scripting.functions_count().to_string()),
    is(Memory, "number_of_libraries", |f| f.core.scripting.libraries().len().to_string()),
    always(Memory, "used_memory_vm_functions", "0", "functions run in the machine of scripts"),
    is(Memory, "used_memory_vm_total", |f| f.scripts.machine_bytes.to_string()),
    is(Memory, "used_memory_vm_total_human", |f| human(f.scripts.machine_bytes)),
    is(Memory, "used_memory_functions", |f| f.core.scripting.libraries_bytes().to_string()),
    is(Memory, "used_memory_scripts", |f| f.scripts_bytes().to_string()),
    is(Memory, "used_memory_scripts_human", |f| human(f.scripts_bytes())),
    is(Memory, "maxmemory", |f| f.config().maxmemory.to_string()),
    is(Memory, "maxmemory_human", |f| human(f.config().maxmemory)),
    is(Memory, "maxmemory_policy", maxmemory_policy),
    is(Memory, "allocator_frag_ratio", |f| format!("{:.2}", f.fragmentation_ratio())),
    is(Memory, "allocator_frag_bytes", |f| f.fragmentation_bytes().to_string()),
    always(Memory, "allocator_rss_ratio", "1.00", "see allocator_active"),
    always(Memory, "allocator_rss_bytes", "0", "see allocator_active"),
    always(Memory, "rss_overhead_ratio", "1.00", "see allocator_resident"),
    always(Memory, "rss_overhead_bytes", "0", "see allocator_resident"),
    is(Memory, "mem_fragmentation_ratio", |f| format!("{:.2}", f.fragmentation_ratio())),
    is(Memory, "mem_fragmentation_bytes", |f| f.fragmentation_bytes().to_string()),
    is(Memory, "mem_not_counted_for_evict", |f| f.core.ledger.spared_bytes().max(0).to_string()),
    is(Memory, "mem_replication_backlog", |f| f.replication.log_memory_bytes.to_string()),
    is(Memory, "mem_total_replication_buffers", |f| f.replication.log_memory_bytes.to_string()),
    is(Memory, "mem_clients_slaves", |f| f.clients.replicas_memory_bytes.to_string()),
    is(Memory, "mem_clients_normal", |f| f.clients.memory_bytes.to_string()),
    is(Memory, "mem_cluster_links", |f| f.bus.links_bytes.to_string()),
    is(Memory, "mem_aof_buffer", |f| f.append.buffer_bytes.to_string()),
    always(Memory, "mem_allocator", "mimalloc", "the only one built in"),
    always(Memory, "active_defrag_running", "0", NO_DEFRAG),
    is(Memory, "lazyfree_pending_objects", |f| f.lazyfree_pending.to_string()),
    is(Memory, "lazyfreed_objects", |f| f.keyspace.lazyfreed_objects.to_string()),
    //
    is(Saved, "loading", |f| u8::from(f.loading.progress.is_some()).to_string()),
    always(Saved, "async_loading", "0", "a primary's data are received whole before the old ones go"),
    always(Saved, "current_cow_peak", "0", NO_FORK),
    always(Saved, "current_cow_size", "0", NO_FORK),
    always(Saved, "current_cow_size_age", "0", NO_FORK),
    is(Saved, "current_fork_perc", |f| format!("{:.2}", f.save_percent())),
    is(Saved, "current_save_keys_processed", |f| f.saving.keys_processed.to_string()),
    is(Saved, "current_save_keys_total", |f| f.saving.keys_total.to_string()),
    is(Saved, "rdb_changes_since_last_save", |f| f.unsaved_changes().to_string()),
    is(Saved, "rdb_bgsave_in_progress", |f| u8::from(f.saving.in_progress).to_string()),
    is(Saved, "rdb_last_save_time", |f| f.saving.last_save_s.to_string()),
    is(Saved, "rdb_last_bgsave_status", |f| if f.saving.failed { "err" } else { "ok" }.to_owned()),
    is(Saved, "rdb_last_bgsave_time_sec", |f| f.saving.last_duration_s.unwrap_or(-1).to_string()),
    is(Saved, "rdb_current_bgsave_time_sec", |f| f.save_age_s().unwrap_or(-1).to_string()),
    is(Saved, "rdb_saves", |f| f.saving.saves.to_string()),
    always(Saved, "rdb_last_cow_size", "0", NO_FORK),
    is(Saved, "rdb_last_load_keys_expired", |f| f.loading.last_keys_expired.to_string()),
    is(Saved, "rdb_last_load_keys_loaded", |f| f.loading.last_keys_loaded.to_string()),
    is(Saved, "aof_enabled", |f| u8::from(f.config().appendonly).to_string()),
    is(Saved, "aof_rewrite_in_progress", |f| u8::from(f.rewrite.in_progress).to_string()),
    is(Saved, "aof_rewrite_scheduled", |f| u8::from(f.rewrite.scheduled).to_string()),
    is(Saved, "aof_last_rewrite_time_sec", |f| f.rewrite.last_duration_s.to_string()),
    is(Saved, "aof_current_rewrite_time_sec", |f| f.rewrite.current_duration_s.to_string()),
    is(Saved, "aof_last_bgrewrite_status", |f| status(!f.rewrite.has_failed)),
    is(Saved, "aof_rewrites", |f| f.rewrite.count.to_string()),
    is(Saved, "aof_rewrites_consecutive_failures", |f| f.rewrite.failures_in_a_row.to_string()),
    is(Saved, "aof_last_write_status", |f| status(!f.append.is_failing)),
    always(Saved, "aof_last_cow_size", "0", NO_FORK),
    always(Saved, "module_fork_in_progress", "0", NO_MODULES),
    always(Saved, "module_fork_last_cow_size", "0", NO_MODULES),
    maybe(Saved, "aof_current_size", |f| appended(f, f.append.size_bytes)),
    maybe(Saved, "aof_base_size", |f| appended(f, f.append.base_bytes)),
    maybe(Saved, "aof_pending_rewrite", |f| appended(f, 0)),
    maybe(Saved, "aof_buffer_length", |f| appended(f, f.append.buffer_bytes)),
    maybe(Saved, "aof_pending_bio_fsync", |f| appended(f, f.append.syncs_pending)),
    maybe(Saved, "aof_delayed_fsync", |f| appended(f, f.append.syncs_delayed)),
    maybe(Saved, "loading_start_time", |f| f.loading.progress.map(|progress| progress.started.seconds().to_string())),
    maybe(Saved, "loading_total_bytes", |f| f.loading.progress.map(|progress| progress.total_bytes.to_string())),
    maybe(Saved, "loading_rdb_used_mem", |f| {
        f.loading.progress.map(|progress| progress.written_with_bytes.to_string())
    }),
    maybe(Saved, "loading_loaded_bytes", |f| f.loading.progress.map(|progress| progress.loaded_bytes.to_string())),
    maybe(Saved, "loading_loaded_perc", |f| f.loading.progress.map(|progress| format!("{:.2}", progress.percent()))),
    maybe(Saved, "loading_eta_seconds", |f| {
        f.loading.progress.map(|progress| progress.eta_s(f.core.clock.unix()).to_string())
    }),
    //
    is(Stats, "total_connections_received", |f| f.stats.connections_received.to_string()),
    is(Stats, "total_commands_processed", |f| f.stats.commands_processed.to_string()),
    is(Stats, "instantaneous_ops_per_sec", |f| f.stats.rates().commands.to_string()),
    is(Stats, "total_net_input_bytes", |f| f.stats.received_bytes.to_string()),
    is(Stats, "total_net_output_bytes", |f| f.stats.sent_bytes.to_string()),
    is(Stats, "total_net_repl_input_bytes", |f| f.stats.replication_received_bytes.to_string()),
    is(Stats, "total_net_repl_output_bytes", |f| f.stats.replication_sent_bytes.to_string()),
    is(Stats, "instantaneous_input_kbps", |f| format!("{:.2}", ratio(f.stats.rates().received_bytes, 1024))),
    is(Stats, "instantaneous_output_kbps", |f| format!("{:.2}", ratio(f.stats.rates().sent_bytes, 1024))),
    is(Stats, "instantaneous_input_repl_kbps", |f| {
        format!("{:.2}", ratio(f.stats.rates().replication_received_bytes, 1024))
    }),
    is(Stats, "instantaneous_output_repl_kbps", |f| {
        format!("{:.2}", ratio(f.stats.rates().replication_sent_bytes, 1024))
    }),
    is(Stats, "rejected_connections", |f| f.stats.connections_rejected.to_string()),
    is(Stats, "sync_full", |f| f.replication.syncs_full.to_string()),
    is(Stats, "sync_partial_ok", |f| f.replication.syncs_partial.to_string()),
    is(Stats, "sync_partial_err", |f| f.replication.syncs_partial_refused.to_string()),
    is(Stats, "expired_keys", |f| f.keyspace.expired_keys.to_string()),
    always(Stats, "expired_stale_perc", "0.00", "expiry finds what is due without sampling"),
    is(Stats, "expired_time_cap_reached_count", |f| f.stats.expire_budget_reached.to_string()),
    is(Stats, "expire_cycle_cpu_milliseconds", |f| (f.stats.expire_cycle_ns / 1_000_000).to_string()),
    is(Stats, "evicted_keys", |f| f.keyspace.evicted_keys.to_string()),
    is(Stats, "evicted_clients", |f| f.stats.evicted_clients.to_string()),
    is(Stats, "total_eviction_exceeded_time", |f| {
        ((f.stats.eviction_exceeded_us + f.eviction_exceeded_us()) / 1000).to_string()
    }),
    is(Stats, "current_eviction_exceeded_time", |f| (f.eviction_exceeded_us() / 1000).to_string()),
    is(Stats, "keyspace_hits", |f| f.keyspace.hits.to_string()),
    is(Stats, "keyspace_misses", |f| f.keyspace.misses.to_string()),
    is(Stats, "pubsub_channels", |f| f.core.subscriptions.names(Kind::Channel).len().to_string()),
    is(Stats, "pubsub_patterns", |f| f.core.subscriptions.names(Kind::Pattern).len().to_string()),
    is(Stats, "pubsubshard_channels", |f| f.core.subscriptions.names(Kind::Shard).len().to_string()),
    always(Stats, "latest_fork_usec", "0", NO_FORK),
    always(Stats, "total_forks", "0", NO_FORK),
    is(Stats, "migrate_cached_sockets", |f| f.migrate_sockets.to_string()),
    is(Stats, "slave_expires_tracked_keys", |f| f.own_expiries.to_string()),
    always(Stats, "active_defrag_hits", "0", NO_DEFRAG),
    always(Stats, "active_defrag_misses", "0", NO_DEFRAG),
    always(Stats, "active_defrag_key_hits", "0", NO_DEFRAG),
    always(Stats, "active_defrag_key_misses", "0", NO_DEFRAG),
    always(Stats, "total_active_defrag_time", "0", NO_DEFRAG),
    always(Stats, "current_active_defrag_time", "0", NO_DEFRAG),
    is(Stats, "tracking_total_keys", |f| f.tracked_keys.to_string()),
    is(Stats, "tracking_total_items", |f| f.tracked_items.to_string()),
    is(Stats, "tracking_total_prefixes", |f| f.core.tracking.prefixes_count().to_string()),
    is(Stats, "unexpected_error_replies", |f| f.stats.unexpected_error_replies.to_string()),
    is(Stats, "total_error_replies", |f| f.stats.error_replies.to_string()),
    always(
        Stats,
        "dump_payload_sanitizations",
        "0",
        "every payload is looked through once, by whoever makes its value",
    ),
    is(Stats, "total_reads_processed", |f| f.stats.reads_processed.to_string()),
    is(Stats, "total_writes_processed", |f| f.stats.writes_processed.to_string()),
    always(Stats, "io_threaded_reads_processed", "0", NO_IO_THREADS),
    always(Stats, "io_threaded_writes_processed", "0", NO_IO_THREADS),
    always(Stats, "reply_buffer_shrinks", "0", NO_SHARED_BUFFER),
    always(Stats, "reply_buffer_expands", "0", NO_SHARED_BUFFER),
    is(Stats, "eventloop_cycles", |f| f.stats.turns.to_string()),
    is(Stats, "eventloop_duration_sum", |f| (f.stats.turns_ns / 1000).to_string()),
    is(Stats, "eventloop_duration_cmd_sum", |f| (f.stats.commands_ns / 1000).to_string()),
    is(Stats, "instantaneous_eventloop_cycles_per_sec", |f| f.stats.rates().turns.to_string()),
    is(Stats, "instantaneous_eventloop_duration_usec", |f| f.stats.rates().turn_us.to_string()),
    until(Stats, "acl_access_denied_auth", "0", Acl),
    until(Stats, "acl_access_denied_cmd", "0", Acl),
    until(Stats, "acl_access_denied_key", "0", Acl),
    until(Stats, "acl_access_denied_channel", "0", Acl),
    // Requests that came in on one core and ran on another.
    is(Stats, "requests_forwarded", |f| f.stats.requests_forwarded.to_string()),
    //
    is(Replicas, "role", |f| if f.replication.upstream.is_some() { "slave" } else { "master" }.to_owned()),
    of_primary("master_host", |_, primary| Some(primary.host.clone())),
    of_primary("master_port", |_, primary| Some(primary.port.to_string())),
    of_primary("master_link_status", |_, primary| Some(primary.link_status().to_owned())),
    of_primary("master_last_io_seconds_ago", |_, primary| Some(primary.silence_s().to_string())),
    of_primary("master_sync_in_progress", |_, primary| Some(u8::from(primary.is_syncing()).to_string())),
    of_primary("slave_read_repl_offset", |_, primary| Some(primary.received.to_string())),
    of_primary("slave_repl_offset", |_, primary| Some(primary.applied.to_string())),
    of_primary("master_sync_total_bytes", |_, primary| {
        primary.is_syncing().then(|| primary.transfer.total_bytes.to_string())
    }),
    of_primary("master_sync_read_bytes", |_, primary| {
        primary.is_syncing().then(|| primary.transfer.read_bytes.to_string())
    }),
    of_primary("master_sync_left_bytes", |_, primary| {
        primary.is_syncing().then(|| primary.transfer.left_bytes().to_string())
    }),
    of_primary("master_sync_perc", |_, primary| {
        primary.is_syncing().then(|| format!("{:.2}", primary.transfer.percent()))
    }),
    of_primary("master_sync_last_io_seconds_ago", |_, primary| {
        primary.is_syncing().then(|| primary.transfer_silence_s().to_string())
    }),
    of_primary("master_link_down_since_seconds", |_, primary| {
        (primary.link != Link::Up).then(|| primary.down_s().to_string())
    }),
    of_primary("slave_priority", |f, _| Some(f.config().replica_priority.to_string())),
    of_primary("slave_read_only", |f, _| Some(u8::from(f.config().replica_read_only).to_string())),
    of_primary("replica_announced", |f, _| Some(u8::from(f.config().replica_announced).to_string())),
    is(Replicas, "connected_slaves", |f| f.replication.replicas.len().to_string()),
    maybe(Replicas, "min_slaves_good_slaves", |f| {
        let is_wanted = f.config().min_replicas_to_write > 0 && f.config().min_replicas_max_lag > 0;
        is_wanted.then(|| f.replication.good_replicas.to_string())
    }),
    lines(Replicas, "slave", |f| {
        let replicas = f.replication.replicas.iter().enumerate();
        replicas.map(|(number, line)| format!("slave{number}:{line}")).collect()
    }),
    is(Replicas, "master_failover_state", |f| f.replication.failover_state.to_owned()),
    is(Replicas, "master_replid", |f| f.replication.id.to_string()),
    is(Replicas, "master_replid2", |f| f.replication.second.0.to_string()),
    is(Replicas, "master_repl_offset", |f| f.replication.place.to_string()),
    is(Replicas, "second_repl_offset", |f| f.replication.second.1.to_string()),
    is(Replicas, "repl_backlog_active", |f| u8::from(f.replication.log_is_kept).to_string()),
    is(Replicas, "repl_backlog_size", |f| f.config().repl_backlog_size.to_string()),
    is(Replicas, "repl_backlog_first_byte_offset", |f| f.replication.first_byte().to_string()),
    is(Replicas, "repl_backlog_histlen", |f| f.replication.log_bytes.to_string()),
    //
    is(Cpu, "used_cpu_sys", |f| seconds(f.cpu.process, |time| time.system_us)),
    is(Cpu, "used_cpu_user", |f| seconds(f.cpu.process, |time| time.user_us)),
    is(Cpu, "used_cpu_sys_children", |f| seconds(f.cpu.children, |time| time.system_us)),
    is(Cpu, "used_cpu_user_children", |f| seconds(f.cpu.children, |time| time.user_us)),
    is(Cpu, "used_cpu_sys_main_thread", |f| seconds(f.cpu.first_core, |time| time.system_us)),
    is(Cpu, "used_cpu_user_main_thread", |f| seconds(f.cpu.first_core, |time| time.user_us)),
    //
    lines(Modules, "module", |_| Vec::new()),
    //
    lines(Commandstats, "cmdstat", command_stats),
    lines(Errorstats, "errorstat", error_stats),
    lines(Latencystats, "latency_percentiles_usec", latency_stats),
    //
    is(Cluster, "cluster_enabled", |f| u8::from(f.config().cluster_enabled).to_string()),
    //
    lines(Keyspace, "db", databases),
    //
    lines(Cores, "core", cores),
    is(Cores, "slots_relocated", |f| f.stats.slots_relocated.to_string()),
    //
    until(Debugging, "eventloop_duration_aof_sum", "0", Persistence),
    is(Debugging, "eventloop_duration_cron_sum", |f| (f.stats.ticks_ns / 1000).to_string()),
    is(Debugging, "eventloop_duration_max", |f| (f.stats.turn_max_ns / 1000).to_string()),
    is(Debugging, "eventloop_cmd_per_cycle_max", |f| f.stats.turn_commands_max.to_string()),
];

fn listeners(f: &Figures<'_>) -> Vec<String> {
    let config = f.config();
    let mut lines = Vec::new();
    if config.port != 0 {
        let addresses: String = config.bind.iter().map(|address| format!(",bind={address}")).collect();
        lines.push(format!("listener0:name=tcp{addresses},port={}", config.port));
    }
    if !config.unixsocket.is_empty() {
        lines.push(format!("listener1:name=unix,bind={}", config.unixsocket));
    }
    lines
}

/// A figure that is shown only with append-only files.
fn appended(f: &Figures<'_>, value: u64) -> Option<String> {
    f.config().appendonly.then(|| value.to_string())
}

fn status(is_well: bool) -> String {
    if is_well { "ok" } else { "err" }.to_owned()
}

fn maxmemory_policy(f: &Figures<'_>) -> String {
    let shown = f.config().get(&[b"maxmemory-policy"]);
    shown.into_iter().next().map_or_else(String::new, |(_, value)| String::from_utf8_lossy(&value).into_owned())
}

/// Seconds with six decimals.
fn seconds(time: CpuTime, part: fn(CpuTime) -> u64) -> String {
    let us = part(time);
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// Bytes that would break a line of INFO are underscores.
fn safe(name: &str) -> String {
    name.replace(['#', ':', '\n', '\r'], "_")
}

fn command_stats(f: &Figures<'_>) -> Vec<String> {
    let called = table().rows().filter_map(|(id, row)| {
        let stats = f.stats.commands.get(id.index())?;
        (stats.calls + stats.rejected + stats.failed > 0).then(|| {
            let us = stats.duration_ns / 1000;
            format!(
                "cmdstat_{}:calls={},usec={us},usec_per_call={:.2},rejected_calls={},failed_calls={}",
                row.name,
                stats.calls,
                ratio(us, stats.calls),
                stats.rejected,
                stats.failed
            )
        })
    });
    called.collect()
}

fn error_stats(f: &Figures<'_>) -> Vec<String> {
    f.stats.errors().into_iter().map(|(code, count)| format!("errorstat_{}:count={count}", safe(code))).collect()
}

fn latency_stats(f: &Figures<'_>) -> Vec<String> {
    if !f.config().latency_tracking {
        return Vec::new();
    }
    let percentiles = &f.config().latency_tracking_info_percentiles;
    let tracked = table().rows().filter_map(|(id, row)| {
        let latency = f.stats.commands.get(id.index())?.latency.as_ref()?;
        let values: Vec<String> = percentiles
            .iter()
            .map(|percentile| {
                format!("p{}={:.3}", trimmed(*percentile), latency.value_at_percentile(*percentile) as f64 / 1000.0)
            })
            .collect();
        Some(format!("latency_percentiles_usec_{}:{}", row.name, values.join(",")))
    });
    tracked.collect()
}

/// Six decimals, without the zeros at the end.
fn trimmed(number: f64) -> String {
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A line for each core, shaped as those of databases.
fn cores(f: &Figures<'_>) -> Vec<String> {
    let lines = f.cores.iter().zip(f.slots_by_core()).enumerate().map(|(number, (core, slots))| {
        format!(
            "core{number}:slots={slots},keys={},memory={},commands={},hops_in={},hops_out={},busy={:.2}",
            core.keys, core.allocated_bytes, core.commands, core.hops_in, core.hops_out, core.busy_percent
        )
    });
    lines.collect()
}

fn databases(f: &Figures<'_>) -> Vec<String> {
    let used = f.databases.iter().enumerate().filter(|(_, database)| database.keys > 0);
    used.map(|(db, DatabaseFigures { keys, volatile_keys, average_ttl_ms, .. })| {
        format!("db{db}:keys={keys},expires={volatile_keys},avg_ttl={average_ttl_ms}")
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_stand_with_their_section() {
        let mut seen = Vec::new();
        let mut sections = Vec::new();
        for field in FIELDS {
            assert!(!seen.contains(&field.name), "{} stands twice", field.name);
            seen.push(field.name);
            if sections.last() != Some(&field.section) {
                assert!(!sections.contains(&field.section), "{:?} is torn apart", field.section);
                sections.push(field.section);
            }
        }
        assert_eq!(sections, Section::ALL);
    }

    #[test]
    fn sections_are_named_in_any_case() {
        assert!(Section::Commandstats.is_named(b"commandSTATS"));
        assert!(Section::Modules.is_named(b"module_list"));
        assert!(!Section::Cpu.is_named(b"cp"));
    }

    #[test]
    fn values_keep_their_notation() {
        assert_eq!((trimmed(50.0), trimmed(99.9), trimmed(0.0)), ("50".to_owned(), "99.9".to_owned(), "0".to_owned()));
        let time = CpuTime { user_us: 1_000_007, system_us: 5 };
        assert_eq!(
            (seconds(time, |t| t.user_us), seconds(time, |t| t.system_us)),
            ("1.000007".to_owned(), "0.000005".to_owned())
        );
        assert_eq!(safe("A:B#\n"), "A_B__");
    }
}
