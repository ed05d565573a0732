//! The table of directives: one row each, from which the fields of [`Config`], their defaults, reading, showing and
//! rewriting follow.
//!
//! A row is
//! `field: type = default; "name" | "alias", kind, [flags], where it applies;`
//! and to add a directive is to add a row. The names, defaults, ranges and flags are those of Redis 7.2; the rows of
//! our own stand last. Called by the rest of this module; others read the fields. Nothing here applies a value.
//!
//! The file is longer than others because the table is one table: split, it would have to be joined again to be
//! swept, and a reader would search in two places.

use super::choice::*;
use super::discovery;
use super::notify::{NotifyFlags, NotifyKind};
use super::value::*;
use super::words::*;
use super::{Applies, Directive, FileRow, Flags};
use crate::base::words::is_bare;
use Applies::{Later, Never, Now};

const INT: i128 = i32::MAX as i128;
const LONG: i128 = i64::MAX as i128;

/// What a group of directives waits for.
const ACL: Applies = Later("ACL users");
const TLS: Applies = Later("TLS");
const CRASH: Applies = Later("crash reports");
const TITLE: Applies = Later("the process title");
const DEFRAG: Applies = Never("the allocator has no defragmentation");
const CHILD: Applies = Never("there is no thread or process of that kind");

/// Makes the struct, its defaults and the rows out of the table.
macro_rules! directives {
    ($(
        $(#[doc = $about:literal])*
        $field:ident : $type:ty = $default:expr; $name:literal $(| $alias:literal)*, $kind:expr, [$($flag:ident),*], $applies:expr;
    )+) => {
        /// Every setting of the node: one snapshot, plain data, a clone for each core.
        ///
        /// Made by [`super::load`], replaced whole by CONFIG SET. Seconds, bytes and counts as the name of the
        /// directive has them in Redis; where a field is empty or 0 the setting is off, unless it says otherwise.
        #[derive(Clone, PartialEq)]
        pub struct Config {
            $(
                #[doc = concat!("`", $name, "`.")]
                $(#[doc = $about])*
                pub $field: $type,
            )+
            /// The lines that a file may have but CONFIG GET never shows: `rename-command`, `user`, `loadmodule`
            /// and settings of modules, in the order of the file.
            pub file_rows: Vec<FileRow>,
        }

        impl Default for Config {
            /// Redis's defaults; `dir` is the working directory of the process.
            fn default() -> Config {
                Config { $($field: $default,)+ file_rows: Vec::new() }
            }
        }

        /// Every directive, in the order of CONFIG GET and CONFIG REWRITE.
        pub static DIRECTIVES: &[Directive] = &[$(
            Directive {
                name: $name,
                aliases: &[$($alias),*],
                flags: Flags::NONE$(.and(Flags::$flag))*,
                applies: $applies,
                parse: |config, words, origin| {
                    let new: $type = $kind.parse(words, &config.$field, origin)?;
                    let changed = new != config.$field;
                    config.$field = new;
                    Ok(changed)
                },
                format: |config| $kind.format(&config.$field),
                rewrite: |config, name, default| $kind.rewrite(name, &config.$field, &default.$field),
                differs: |config, other| config.$field != other.$field,
            },
        )+];
    };
}

directives! {
    // Network.
    bind: Vec<String> = vec!["*".to_owned(), "-::*".to_owned()]; "bind", BindKind, [MULTI], Now;
    /// 0 is none.
    port: u16 = 6379; "port", integer(0, 65535), [], Now;
    tcp_backlog: u32 = 511; "tcp-backlog", integer(0, INT), [IMMUTABLE], Now;
    unixsocket: String = String::new(); "unixsocket", text_or_unset(), [IMMUTABLE], Now;
    /// Permission bits; 0 leaves what the umask gives.
    unixsocketperm: u32 = 0; "unixsocketperm", octal(0, 0o777), [IMMUTABLE], Now;
    /// Seconds.
    timeout: u32 = 0; "timeout", integer(0, INT), [], Now;
    /// Seconds.
    tcp_keepalive: u32 = 300; "tcp-keepalive", integer(0, INT), [], Now;
    protected_mode: bool = true; "protected-mode", YesNo, [], Now;
    maxclients: u32 = 10000; "maxclients", integer(1, u32::MAX as i128), [], Now;
    socket_mark_id: u32 = 0; "socket-mark-id", integer(0, u32::MAX as i128), [IMMUTABLE], Later("marked sockets");
    bind_source_addr: String = String::new(); "bind-source-addr", text_or_unset(), [], Now;
    proto_max_bulk_len: u64 = 512 << 20; "proto-max-bulk-len", memory(1 << 20, LONG), [DEBUG], Now;
    client_query_buffer_limit: u64 = 1 << 30; "client-query-buffer-limit", memory(1 << 20, LONG), [DEBUG], Now;
    client_output_buffer_limit: OutputLimits = OutputLimits::DEFAULT; "client-output-buffer-limit", OutputLimitsKind, [MULTI], Now;
    maxmemory_clients: BytesOrPercent = BytesOrPercent::Bytes(0); "maxmemory-clients", MemoryOrPercent, [], Now;
    tracking_table_max_keys: u64 = 1_000_000; "tracking-table-max-keys", integer(0, LONG), [], Now;

    // Process.
    daemonize: bool = false; "daemonize", YesNo, [IMMUTABLE], Later("running in the background");
    supervised: Supervised = Supervised::No; "supervised", choice(), [IMMUTABLE], Later("notifying systemd or upstart");
    pidfile: String = String::new(); "pidfile", text_or_unset(), [IMMUTABLE], Now;
    loglevel: LogLevel = LogLevel::Notice; "loglevel", choice(), [], Now;
    /// Empty is standard output.
    logfile: String = String::new(); "logfile", text_or_empty(), [IMMUTABLE], Now;
    syslog_enabled: bool = false; "syslog-enabled", YesNo, [IMMUTABLE], Later("syslog");
    syslog_ident: String = "redis".to_owned(); "syslog-ident", text_or_empty(), [IMMUTABLE], Later("syslog");
    syslog_facility: SyslogFacility = SyslogFacility::Local0; "syslog-facility", choice(), [IMMUTABLE], Later("syslog");
    databases: u32 = 16; "databases", integer(1, INT), [IMMUTABLE], Now;
    always_show_logo: bool = false; "always-show-logo", YesNo, [IMMUTABLE], Never("there is no logo");
    set_proc_title: bool = true; "set-proc-title", YesNo, [IMMUTABLE], TITLE;
    proc_title_template: String = "{title} {listen-addr} {server-mode}".to_owned();
        "proc-title-template", text_or_empty().checked(title_template), [], TITLE;
    locale_collate: String = String::new(); "locale-collate", text_or_empty(), [], Later("SORT with ALPHA");
    crash_log_enabled: bool = true; "crash-log-enabled", YesNo, [], CRASH;
    crash_memcheck_enabled: bool = true; "crash-memcheck-enabled", YesNo, [], CRASH;
    use_exit_on_panic: bool = false; "use-exit-on-panic", YesNo, [HIDDEN], CRASH;
    watchdog_period: u32 = 0; "watchdog-period", integer(0, INT), [HIDDEN], Later("the watchdog");
    ignore_warnings: String = String::new(); "ignore-warnings", text_or_empty(), [], Never("no warning stops the start");
    oom_score_adj: OomScoreAdj = OomScoreAdj::No; "oom-score-adj", choice(), [], Later("the score of the OOM killer");
    oom_score_adj_values: [i32; 3] = [0, 200, 800]; "oom-score-adj-values", OomScoreAdjValuesKind, [MULTI], Later("the score of the OOM killer");
    disable_thp: bool = true; "disable-thp", YesNo, [IMMUTABLE], Now;
    shutdown_on_sigint: ShutdownOptions = ShutdownOptions::default(); "shutdown-on-sigint", ShutdownKind, [MULTI], Now;
    shutdown_on_sigterm: ShutdownOptions = ShutdownOptions::default(); "shutdown-on-sigterm", ShutdownKind, [MULTI], Now;
    /// Seconds.
    shutdown_timeout: u32 = 10; "shutdown-timeout", integer(0, INT), [], Now;
    /// Turns of the background work in a second; values outside 1..=500 are taken as the nearest of these.
    hz: u32 = 10; "hz", integer(0, INT), [], Now;
    dynamic_hz: bool = true; "dynamic-hz", YesNo, [], Never("hz does not follow the number of clients");
    io_threads: u32 = 1; "io-threads", integer(1, 128), [DEBUG, IMMUTABLE], Never("cores is the number of threads");
    io_threads_do_reads: bool = false; "io-threads-do-reads", YesNo, [DEBUG, IMMUTABLE], Never("cores is the number of threads");
    /// CPUs as in `0-3,8`; empty pins nothing.
    server_cpulist: String = String::new(); "server_cpulist" | "server-cpulist", text_or_unset(), [IMMUTABLE], Now;
    bio_cpulist: String = String::new(); "bio_cpulist", text_or_unset(), [IMMUTABLE], CHILD;
    aof_rewrite_cpulist: String = String::new(); "aof_rewrite_cpulist", text_or_unset(), [IMMUTABLE], CHILD;
    bgsave_cpulist: String = String::new(); "bgsave_cpulist", text_or_unset(), [IMMUTABLE], CHILD;

    // Who may do what.
    requirepass: Vec<u8> = Vec::new(); "requirepass", Secret, [SENSITIVE], Now;
    aclfile: String = String::new(); "aclfile", text_or_empty(), [IMMUTABLE], ACL;
    acl_pubsub_default: AclPubsubDefault = AclPubsubDefault::ResetChannels; "acl-pubsub-default", choice(), [], ACL;
    acllog_max_len: u64 = 128; "acllog-max-len", integer(0, LONG), [], ACL;
    enable_protected_configs: ProtectedAction = ProtectedAction::No; "enable-protected-configs", choice(), [IMMUTABLE], Now;
    enable_debug_command: ProtectedAction = ProtectedAction::No; "enable-debug-command", choice(), [IMMUTABLE], Now;
    enable_module_command: ProtectedAction = ProtectedAction::No; "enable-module-command", choice(), [IMMUTABLE], Never("there are no modules");
    sanitize_dump_payload: SanitizeDumpPayload = SanitizeDumpPayload::No; "sanitize-dump-payload", choice(), [DEBUG], Never("everything read is checked in full");

    // Memory.
    /// Bytes; 0 is no limit.
    maxmemory: u64 = 0; "maxmemory", memory(0, u64::MAX as i128), [], Now;
    maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::NoEviction; "maxmemory-policy", choice(), [], Now;
    maxmemory_samples: u32 = 5; "maxmemory-samples", integer(1, INT), [], Now;
    maxmemory_eviction_tenacity: u32 = 10; "maxmemory-eviction-tenacity", integer(0, 100), [], Now;
    lfu_log_factor: u32 = 10; "lfu-log-factor", integer(0, INT), [], Now;
    /// Minutes.
    lfu_decay_time: u32 = 1; "lfu-decay-time", integer(0, INT), [], Now;
    /// 1 to 10.
    active_expire_effort: u32 = 1; "active-expire-effort", integer(1, 10), [], Now;
    lazyfree_lazy_eviction: bool = false; "lazyfree-lazy-eviction", YesNo, [DEBUG], Now;
    lazyfree_lazy_expire: bool = false; "lazyfree-lazy-expire", YesNo, [DEBUG], Now;
    lazyfree_lazy_server_del: bool = false; "lazyfree-lazy-server-del", YesNo, [DEBUG], Now;
    lazyfree_lazy_user_del: bool = false; "lazyfree-lazy-user-del", YesNo, [DEBUG], Now;
    lazyfree_lazy_user_flush: bool = false; "lazyfree-lazy-user-flush", YesNo, [DEBUG], Now;
    activerehashing: bool = true; "activerehashing", YesNo, [], Never("each slot has a small table of its own");
    jemalloc_bg_thread: bool = true; "jemalloc-bg-thread", YesNo, [], Never("the allocator is not jemalloc");
    activedefrag: bool = false; "activedefrag", NoOnly(NO_DEFRAG), [DEBUG], DEFRAG;
    active_defrag_ignore_bytes: u64 = 100 << 20; "active-defrag-ignore-bytes", memory(1, LONG), [], DEFRAG;
    active_defrag_threshold_lower: u32 = 10; "active-defrag-threshold-lower", integer(0, 1000), [], DEFRAG;
    active_defrag_threshold_upper: u32 = 100; "active-defrag-threshold-upper", integer(0, 1000), [], DEFRAG;
    active_defrag_cycle_min: u32 = 1; "active-defrag-cycle-min", integer(1, 99), [], DEFRAG;
    active_defrag_cycle_max: u32 = 25; "active-defrag-cycle-max", integer(1, 99), [], DEFRAG;
    active_defrag_max_scan_fields: u64 = 1000; "active-defrag-max-scan-fields", integer(1, LONG), [], DEFRAG;

    // Encodings of values.
    /// Entries of a node, or from -1 to -5 its size: 4, 8, 16, 32, 64 kb.
    list_max_listpack_size: i32 = -2; "list-max-listpack-size" | "list-max-ziplist-size", integer(i32::MIN as i128, INT), [], Now;
    list_compress_depth: u32 = 0; "list-compress-depth", integer(0, INT), [DEBUG], Never("nodes of lists are not compressed");
    hash_max_listpack_entries: u64 = 512; "hash-max-listpack-entries" | "hash-max-ziplist-entries", integer(0, LONG), [], Now;
    hash_max_listpack_value: u64 = 64; "hash-max-listpack-value" | "hash-max-ziplist-value", memory(0, LONG), [], Now;
    set_max_intset_entries: u64 = 512; "set-max-intset-entries", integer(0, LONG), [], Now;
    set_max_listpack_entries: u64 = 128; "set-max-listpack-entries", integer(0, LONG), [], Now;
    set_max_listpack_value: u64 = 64; "set-max-listpack-value", integer(0, LONG), [], Now;
    zset_max_listpack_entries: u64 = 128; "zset-max-listpack-entries" | "zset-max-ziplist-entries", integer(0, LONG), [], Now;
    zset_max_listpack_value: u64 = 64; "zset-max-listpack-value" | "zset-max-ziplist-value", memory(0, LONG), [], Now;
    hll_sparse_max_bytes: u64 = 3000; "hll-sparse-max-bytes", memory(0, LONG), [], Now;
    stream_node_max_bytes: u64 = 4096; "stream-node-max-bytes", memory(0, LONG), [], Now;
    stream_node_max_entries: u64 = 100; "stream-node-max-entries", integer(0, LONG), [], Now;

    // What is measured and told.
    /// Microseconds; 0 logs everything, -1 nothing.
    slowlog_log_slower_than: i64 = 10000; "slowlog-log-slower-than", integer(-1, LONG), [], Now;
    slowlog_max_len: u64 = 128; "slowlog-max-len", integer(0, LONG), [], Now;
    /// Milliseconds.
    latency_monitor_threshold: u64 = 0; "latency-monitor-threshold", integer(0, LONG), [], Now;
    latency_tracking: bool = true; "latency-tracking", YesNo, [], Now;
    latency_tracking_info_percentiles: Vec<f64> = vec![50.0, 99.0, 99.9]; "latency-tracking-info-percentiles", PercentilesKind, [MULTI], Now;
    notify_keyspace_events: NotifyFlags = NotifyFlags(0); "notify-keyspace-events", NotifyKind, [], Now;
    /// Milliseconds.
    busy_reply_threshold: u64 = 5000; "busy-reply-threshold" | "lua-time-limit", integer(0, LONG), [], Now;

    // Snapshots and the AOF.
    /// Absolute; the runtime enters it.
    dir: String = working_directory(); "dir", DirKind, [PROTECTED, DENY_LOADING], Now;
    save: Vec<SavePoint> = vec![
        SavePoint { seconds: 3600, changes: 1 },
        SavePoint { seconds: 300, changes: 100 },
        SavePoint { seconds: 60, changes: 10000 },
    ]; "save", SaveKind, [MULTI], Now;
    dbfilename: String = "dump.rdb".to_owned(); "dbfilename", text_or_empty().checked(rdb_file_name), [PROTECTED], Now;
    rdbcompression: bool = true; "rdbcompression", YesNo, [], Now;
    rdbchecksum: bool = true; "rdbchecksum", YesNo, [IMMUTABLE], Now;
    rdb_del_sync_files: bool = false; "rdb-del-sync-files", YesNo, [], Now;
    rdb_save_incremental_fsync: bool = true; "rdb-save-incremental-fsync", YesNo, [], Now;
    /// Microseconds for each key, for tests.
    rdb_key_save_delay: i32 = 0; "rdb-key-save-delay", integer(i32::MIN as i128, INT), [HIDDEN], Now;
    /// Microseconds for each key, for tests.
    key_load_delay: i32 = 0; "key-load-delay", integer(i32::MIN as i128, INT), [HIDDEN], Now;
    loading_process_events_interval_bytes: u32 = 2 << 20; "loading-process-events-interval-bytes", integer(1024, INT), [HIDDEN], Now;
    stop_writes_on_bgsave_error: bool = true; "stop-writes-on-bgsave-error", YesNo, [], Now;
    appendonly: bool = false; "appendonly", YesNo, [DENY_LOADING], Now;
    appendfilename: String = "appendonly.aof".to_owned(); "appendfilename", text_or_empty().checked(aof_file_name), [IMMUTABLE], Now;
    appenddirname: String = "appendonlydir".to_owned(); "appenddirname", text_or_empty().checked(aof_dir_name), [IMMUTABLE], Now;
    appendfsync: AppendFsync = AppendFsync::EverySecond; "appendfsync", choice(), [], Now;
    no_appendfsync_on_rewrite: bool = false; "no-appendfsync-on-rewrite", YesNo, [], Now;
    auto_aof_rewrite_percentage: u32 = 100; "auto-aof-rewrite-percentage", integer(0, INT), [], Now;
    auto_aof_rewrite_min_size: u64 = 64 << 20; "auto-aof-rewrite-min-size", memory(0, LONG), [], Now;
    aof_load_truncated: bool = true; "aof-load-truncated", YesNo, [], Now;
    aof_use_rdb_preamble: bool = true; "aof-use-rdb-preamble", YesNo, [], Never("the base that a rewrite makes is always an RDB file");
    aof_timestamp_enabled: bool = false; "aof-timestamp-enabled", YesNo, [], Now;
    aof_rewrite_incremental_fsync: bool = true; "aof-rewrite-incremental-fsync", YesNo, [], Now;
    aof_disable_auto_gc: bool = false; "aof-disable-auto-gc", YesNo, [HIDDEN], Later("keeping append-only files that were replaced");

    // Replication.
    replicaof: Option<Primary> = None; "replicaof" | "slaveof", ReplicaOfKind, [IMMUTABLE, MULTI], Now;
    masteruser: Vec<u8> = Vec::new(); "masteruser", Secret, [SENSITIVE], Now;
    masterauth: Vec<u8> = Vec::new(); "masterauth", Secret, [SENSITIVE], Now;
    replica_serve_stale_data: bool = true; "replica-serve-stale-data" | "slave-serve-stale-data", YesNo, [], Now;
    replica_read_only: bool = true; "replica-read-only" | "slave-read-only", YesNo, [DEBUG], Now;
    replica_lazy_flush: bool = false; "replica-lazy-flush" | "slave-lazy-flush", YesNo, [], Now;
    replica_ignore_maxmemory: bool = true; "replica-ignore-maxmemory" | "slave-ignore-maxmemory", YesNo, [], Now;
    replica_ignore_disk_write_errors: bool = false; "replica-ignore-disk-write-errors", YesNo, [], Now;
    replica_priority: u32 = 100; "replica-priority" | "slave-priority", integer(0, INT), [], Now;
    replica_announced: bool = true; "replica-announced", YesNo, [], Now;
    replica_announce_ip: String = String::new(); "replica-announce-ip" | "slave-announce-ip", text_or_unset(), [], Now;
    replica_announce_port: u16 = 0; "replica-announce-port" | "slave-announce-port", integer(0, 65535), [], Now;
    min_replicas_to_write: u32 = 0; "min-replicas-to-write" | "min-slaves-to-write", integer(0, INT), [], Now;
    /// Seconds.
    min_replicas_max_lag: u32 = 10; "min-replicas-max-lag" | "min-slaves-max-lag", integer(0, INT), [], Now;
    /// Seconds.
    repl_timeout: u32 = 60; "repl-timeout", integer(1, INT), [], Now;
    /// Seconds.
    repl_ping_replica_period: u32 = 10; "repl-ping-replica-period" | "repl-ping-slave-period", integer(1, INT), [], Now;
    repl_backlog_size: u64 = 1 << 20; "repl-backlog-size", memory(1, LONG), [], Now;
    /// Seconds.
    repl_backlog_ttl: u64 = 3600; "repl-backlog-ttl", integer(0, LONG), [], Now;
    repl_disable_tcp_nodelay: bool = false; "repl-disable-tcp-nodelay", YesNo, [], Now;
    repl_diskless_sync: bool = true; "repl-diskless-sync", YesNo, [DEBUG], Now;
    /// Seconds.
    repl_diskless_sync_delay: u32 = 5; "repl-diskless-sync-delay", integer(0, INT), [], Now;
    repl_diskless_sync_max_replicas: u32 = 0; "repl-diskless-sync-max-replicas", integer(0, INT), [], Now;
    repl_diskless_load: DisklessLoad = DisklessLoad::Disabled; "repl-diskless-load", choice(), [DEBUG, DENY_LOADING], Now;
    propagation_error_behavior: PropagationErrorBehavior = PropagationErrorBehavior::Ignore; "propagation-error-behavior", choice(), [], Now;

    // Cluster.
    cluster_enabled: bool = false; "cluster-enabled", YesNo, [IMMUTABLE], Now;
    cluster_config_file: String = "nodes.conf".to_owned(); "cluster-config-file", text_or_empty(), [IMMUTABLE], Now;
    /// 0 is `port` + 10000.
    cluster_port: u16 = 0; "cluster-port", integer(0, 65535), [IMMUTABLE], Now;
    /// Milliseconds.
    cluster_node_timeout: u64 = 15000; "cluster-node-timeout", integer(0, LONG), [], Now;
    /// Milliseconds.
    cluster_ping_interval: u64 = 0; "cluster-ping-interval", integer(0, LONG), [HIDDEN], Now;
    cluster_migration_barrier: u32 = 1; "cluster-migration-barrier", integer(0, INT), [], Now;
    cluster_allow_replica_migration: bool = true; "cluster-allow-replica-migration", YesNo, [], Now;
    cluster_replica_validity_factor: u32 = 10; "cluster-replica-validity-factor" | "cluster-slave-validity-factor", integer(0, INT), [], Now;
    cluster_replica_no_failover: bool = false; "cluster-replica-no-failover" | "cluster-slave-no-failover", YesNo, [], Now;
    cluster_require_full_coverage: bool = true; "cluster-require-full-coverage", YesNo, [], Now;
    cluster_allow_reads_when_down: bool = false; "cluster-allow-reads-when-down", YesNo, [], Now;
    cluster_allow_pubsubshard_when_down: bool = true; "cluster-allow-pubsubshard-when-down", YesNo, [], Now;
    /// Of Valkey 9: bytes that may wait for the target when writes are held; -1 for any number.
    slot_migration_max_failover_repl_bytes: i64 = 0; "slot-migration-max-failover-repl-bytes", integer(-1, LONG), [], Now;
    /// Of Valkey 9: jobs that CLUSTER GETSLOTMIGRATIONS shows, those that are not over apart.
    cluster_slot_migration_log_max_len: u64 = 1000; "cluster-slot-migration-log-max-len", integer(0, LONG), [], Now;
    /// Ours: whether slots change their core by themselves, so that all cores are busy alike.
    slots_rebalance: bool = false; "slots-rebalance", YesNo, [], Now;
    /// Of Valkey 8: CLUSTER SLOT-STATS tells more than the number of keys.
    cluster_slot_stats_enabled: bool = false; "cluster-slot-stats-enabled", YesNo, [], Now;
    cluster_link_sendbuf_limit: u64 = 0; "cluster-link-sendbuf-limit", memory(0, u64::MAX as i128), [], Now;
    cluster_announce_ip: String = String::new(); "cluster-announce-ip", text_or_unset(), [], Now;
    cluster_announce_port: u16 = 0; "cluster-announce-port", integer(0, 65535), [], Now;
    cluster_announce_tls_port: u16 = 0; "cluster-announce-tls-port", integer(0, 65535), [], TLS;
    cluster_announce_bus_port: u16 = 0; "cluster-announce-bus-port", integer(0, 65535), [], Now;
    cluster_announce_hostname: String = String::new(); "cluster-announce-hostname", text_or_unset().checked(host_name), [], Now;
    cluster_announce_human_nodename: String = String::new(); "cluster-announce-human-nodename", text_or_unset().checked(node_name), [], Now;
    cluster_preferred_endpoint_type: EndpointType = EndpointType::Ip; "cluster-preferred-endpoint-type", choice(), [], Now;

    // TLS.
    tls_port: u16 = 0; "tls-port", integer(0, 65535), [], TLS;
    tls_cluster: bool = false; "tls-cluster", YesNo, [], TLS;
    tls_replication: bool = false; "tls-replication", YesNo, [], TLS;
    tls_auth_clients: TlsAuthClients = TlsAuthClients::Yes; "tls-auth-clients", choice(), [], TLS;
    tls_cert_file: String = String::new(); "tls-cert-file", text_or_unset(), [VOLATILE], TLS;
    tls_key_file: String = String::new(); "tls-key-file", text_or_unset(), [VOLATILE], TLS;
    tls_key_file_pass: String = String::new(); "tls-key-file-pass", text_or_unset(), [], TLS;
    tls_client_cert_file: String = String::new(); "tls-client-cert-file", text_or_unset(), [VOLATILE], TLS;
    tls_client_key_file: String = String::new(); "tls-client-key-file", text_or_unset(), [VOLATILE], TLS;
    tls_client_key_file_pass: String = String::new(); "tls-client-key-file-pass", text_or_unset(), [], TLS;
    tls_dh_params_file: String = String::new(); "tls-dh-params-file", text_or_unset(), [VOLATILE], TLS;
    tls_ca_cert_file: String = String::new(); "tls-ca-cert-file", text_or_unset(), [VOLATILE], TLS;
    tls_ca_cert_dir: String = String::new(); "tls-ca-cert-dir", text_or_unset(), [VOLATILE], TLS;
    tls_protocols: String = String::new(); "tls-protocols", text_or_unset(), [], TLS;
    tls_ciphers: String = String::new(); "tls-ciphers", text_or_unset(), [], TLS;
    tls_ciphersuites: String = String::new(); "tls-ciphersuites", text_or_unset(), [], TLS;
    tls_prefer_server_ciphers: bool = false; "tls-prefer-server-ciphers", YesNo, [], TLS;
    tls_session_caching: bool = true; "tls-session-caching", YesNo, [], TLS;
    tls_session_cache_size: u32 = 20 << 10; "tls-session-cache-size", integer(0, INT), [], TLS;
    /// Seconds.
    tls_session_cache_timeout: u32 = 300; "tls-session-cache-timeout", integer(0, INT), [], TLS;

    // Ours.
    cores: Cores = Cores::Auto; "cores", CoresKind, [IMMUTABLE], Now;
    core_ports: bool = false; "core-ports", YesNo, [IMMUTABLE], Now;
    /// The first core's port; 0 is `port` + 100.
    core_port_base: u16 = 0; "core-port-base", integer(0, 65535), [IMMUTABLE], Now;
    /// `dns:NAME[:PORT]` or `hosts:HOST:PORT,...`; read by [`super::Discovery::parse`].
    cluster_discovery: String = String::new(); "cluster-discovery", text_or_empty().checked(discovery::check), [IMMUTABLE], Now;
    cluster_discovery_replicas: u32 = 1; "cluster-discovery-replicas", integer(0, 100), [IMMUTABLE], Now;
}

/// Redis's reason where its allocator cannot move memory either.
const NO_DEFRAG: &str = "Active defragmentation cannot be enabled: it requires a Redis server compiled with a modified Jemalloc like the one shipped by default with the Redis source distribution";

fn is_path(name: &str) -> bool {
    name.contains(['/', '\\'])
}

fn rdb_file_name(name: &str) -> Result<(), &'static str> {
    if is_path(name) { Err("dbfilename can't be a path, just a filename") } else { Ok(()) }
}

fn aof_file_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("appendfilename can't be empty"),
        name if is_path(name) => Err("appendfilename can't be a path, just a filename"),
        _ => Ok(()),
    }
}

fn aof_dir_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("appenddirname can't be empty"),
        name if is_path(name) => Err("appenddirname can't be a path, just a dirname"),
        _ => Ok(()),
    }
}

fn host_name(name: &str) -> Result<(), &'static str> {
    if name.len() >= 256 {
        return Err("Hostnames must be less than 256 characters");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
        return Err("Hostnames may only contain alphanumeric characters, hyphens or dots");
    }
    Ok(())
}

/// These characters have a meaning in nodes.conf or are kept for one.
fn node_name(name: &str) -> Result<(), &'static str> {
    // Redis lets blanks, quotes and commas pass as well, and cannot read the nodes.conf that it then writes.
    let is_written_bare = name.is_empty() || is_bare(name.as_bytes()) && !name.contains(',');
    if !is_written_bare || name.contains(|c| "!#$%&()*+:;<>?@[]^{|}~".contains(c)) {
        return Err("Announced human node name contained invalid character");
    }
    Ok(())
}

/// A title must have only known variables, `{{` for a brace, and something to show besides `{title}`.
fn title_template(template: &str) -> Result<(), &'static str> {
    const WRONG: Result<(), &str> = Err("template format is invalid or contains unknown variables");
    let mut shows = false;
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        shows |= !before.trim_matches(' ').is_empty();
        if let Some(after) = after.strip_prefix('{') {
            shows = true;
            rest = after;
            continue;
        }
        let Some((variable, after)) = after.split_once('}') else {
            return WRONG;
        };
        match variable {
            "title" => {}
            "listen-addr" | "server-mode" | "config-file" | "port" | "tls-port" | "unixsocket" => shows = true,
            _ => return WRONG,
        }
        rest = after;
    }
    shows |= !rest.trim_matches(' ').is_empty();
    if shows { Ok(()) } else { WRONG }
}
