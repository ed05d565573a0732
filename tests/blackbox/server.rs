//! Commands about the server: INFO, COMMAND, CONFIG, SLOWLOG, LATENCY, MONITOR, MEMORY, SHUTDOWN.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{Client, Kind, Server, Value, check, holds_within, on_both, on_both_with};

fn table(rows: &[(&str, &str)]) {
    on_both(|server| check(&mut server.connect(), rows));
}

/// Fields of Redis 7.0's INFO that a monitor reads, section by section. Fields of what later issues bring (replication,
/// persistence) are there from the start, with the values of a server that does not use them.
const INFO_FIELDS: &[(&str, &[&str])] = &[
    (
        "Server",
        &[
            "redis_version",
            "redis_git_sha1",
            "redis_git_dirty",
            "redis_build_id",
            "redis_mode",
            "os",
            "arch_bits",
            "multiplexing_api",
            "gcc_version",
            "process_id",
            "run_id",
            "tcp_port",
            "server_time_usec",
            "uptime_in_seconds",
            "uptime_in_days",
            "hz",
            "configured_hz",
            "lru_clock",
            "executable",
            "config_file",
        ],
    ),
    (
        "Clients",
        &[
            "connected_clients",
            "cluster_connections",
            "maxclients",
            "client_recent_max_input_buffer",
            "client_recent_max_output_buffer",
            "blocked_clients",
            "tracking_clients",
            "clients_in_timeout_table",
        ],
    ),
    (
        "Memory",
        &[
            "used_memory",
            "used_memory_human",
            "used_memory_rss",
            "used_memory_rss_human",
            "used_memory_peak",
            "used_memory_peak_human",
            "used_memory_overhead",
            "used_memory_startup",
            "used_memory_dataset",
            "total_system_memory",
            "maxmemory",
            "maxmemory_human",
            "maxmemory_policy",
            "mem_fragmentation_ratio",
            "mem_clients_normal",
            "mem_allocator",
            "lazyfree_pending_objects",
            "lazyfreed_objects",
        ],
    ),
    (
        "Persistence",
        &[
            "loading",
            "async_loading",
            "rdb_changes_since_last_save",
            "rdb_bgsave_in_progress",
            "rdb_last_save_time",
            "rdb_last_bgsave_status",
            "aof_enabled",
            "aof_rewrite_in_progress",
            "aof_last_bgrewrite_status",
            "aof_last_write_status",
        ],
    ),
    (
        "Stats",
        &[
            "total_connections_received",
            "total_commands_processed",
            "instantaneous_ops_per_sec",
            "total_net_input_bytes",
            "total_net_output_bytes",
            "rejected_connections",
            "expired_keys",
            "evicted_keys",
            "keyspace_hits",
            "keyspace_misses",
            "pubsub_channels",
            "total_error_replies",
            "unexpected_error_replies",
        ],
    ),
    (
        "Replication",
        &[
            "role",
            "connected_slaves",
            "master_failover_state",
            "master_replid",
            "master_replid2",
            "master_repl_offset",
            "second_repl_offset",
            "repl_backlog_active",
            "repl_backlog_size",
        ],
    ),
    ("CPU", &["used_cpu_sys", "used_cpu_user", "used_cpu_sys_children", "used_cpu_user_children"]),
    ("Modules", &[]),
    ("Errorstats", &[]),
    ("Cluster", &["cluster_enabled"]),
    ("Keyspace", &[]),
];

#[test]
fn info_has_the_sections_and_fields_of_redis() {
    on_both(|server| {
        let client = &mut server.connect();
        let text = client.must("INFO").text();
        let mut rest = text.as_str();
        for (section, fields) in INFO_FIELDS {
            let title = format!("# {section}\r\n");
            let at = rest.find(&title).unwrap_or_else(|| panic!("{title:?} is missing or out of order in {text}"));
            let body = &rest[at + title.len()..];
            let end = body.find("\r\n\r\n").unwrap_or(body.len());
            for field in *fields {
                assert!(
                    body[..end].lines().any(|line| line.starts_with(&format!("{field}:"))),
                    "{field} is not in section {section}"
                );
            }
            rest = if fields.is_empty() { body } else { &body[end..] };
            let alone = client.must(&format!("INFO {}", section.to_lowercase())).text();
            assert!(alone.starts_with(&title), "{alone}");
            assert_eq!(alone.matches("\r\n# ").count(), 0, "INFO {section} has one section");
        }
        assert!(!text.contains("# Commandstats"), "only on demand");
        assert!(client.must("INFO everything").text().contains("# Commandstats"));
        assert!(client.must("INFO all").text().contains("# Commandstats"));
        assert_eq!(client.must("INFO nosuchsection").text(), "");
        let two = client.must("INFO cpu server").text();
        assert!(two.contains("# CPU") && two.contains("# Server") && !two.contains("# Memory"));
        assert_eq!(client.info("tcp_port"), Some(server.port.to_string()));
        assert_eq!(client.info("process_id"), Some(server.pid().to_string()));
        assert_eq!(client.info("redis_mode").as_deref(), Some("standalone"));
    });
}

#[test]
fn info_of_slotcore_says_what_it_is() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    let server = Server::slotcore(&[]);
    let client = &mut server.connect();
    assert_eq!(client.info("redis_version").as_deref(), Some("7.2.4"));
    assert_eq!(client.info("server_name").as_deref(), Some("slotcore"));
    assert!(client.info("slotcore_version").is_some());
}

#[test]
fn counters_of_info_count_and_resetstat_clears_them() {
    on_both(|server| {
        let client = &mut server.connect();
        check(client, &[("CONFIG RESETSTAT", "+OK"), ("SET k v", "+OK"), ("GET k", "'v'"), ("GET missing", "nil")]);
        check(client, &[("INCR k", "-ERR value..."), ("NOSUCH", "-ERR unknown..."), ("GET", "-ERR wrong...")]);
        assert_eq!(client.info_number("keyspace_hits"), 1);
        assert_eq!(client.info_number("keyspace_misses"), 1);
        assert_eq!(client.info_number("total_error_replies"), 3);
        let stats = client.info("cmdstat_get").expect("cmdstat_get");
        assert!(stats.starts_with("calls=2,usec="), "{stats}");
        assert!(stats.ends_with(",rejected_calls=1,failed_calls=0"), "{stats}");
        let stats = client.info("cmdstat_incr").expect("cmdstat_incr");
        assert!(stats.ends_with(",rejected_calls=0,failed_calls=1"), "{stats}");
        let errors = client.info("errorstat_ERR").expect("errorstat_ERR");
        assert_eq!(errors, "count=3");
        client.must("CONFIG RESETSTAT");
        assert_eq!(client.info_number("keyspace_hits"), 0);
        assert_eq!(client.info("cmdstat_get"), None);
        assert_eq!(client.info("errorstat_ERR"), None);
    });
}

#[test]
fn command_describes_every_command_it_lists() {
    on_both(|server| {
        let client = &mut server.connect();
        let count = client.must("COMMAND COUNT").integer();
        let all = client.must("COMMAND");
        assert_eq!(i64::try_from(all.items().len()).expect("a count"), count);
        assert!(count >= 70, "{count} commands");
        for command in all.items() {
            assert_eq!(command.items().len(), 10, "{command}");
        }
        let listed = client.must("COMMAND LIST");
        let names: BTreeSet<String> = listed.items().iter().map(Value::text).collect();
        assert!(
            all.items().iter().all(|command| names.contains(&command.items()[0].text())),
            "COMMAND LIST lacks some"
        );
        check(
            client,
            &[
                ("COMMAND INFO nosuch", "[nil..."),
                ("COMMAND GETKEYS MSET a 1 b 2", "['a', 'b']"),
                ("COMMAND GETKEYS GET k", "['k']"),
                ("COMMAND GETKEYS PING x", "-ERR The command has no key arguments"),
                ("COMMAND GETKEYS NOSUCH x", "-ERR Invalid command specified"),
                ("COMMAND GETKEYS MSET x", "-ERR Invalid number of arguments specified for command"),
                ("COMMAND NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try COMMAND HELP."),
                ("COMMAND LIST FILTERBY PATTERN mset*", "?"),
                ("COMMAND LIST FILTERBY BOGUS x", "-ERR syntax error"),
            ],
        );
        let docs = client.must("COMMAND DOCS get");
        let get = docs.field("get").expect("docs of get");
        for field in ["summary", "since", "group", "complexity", "arguments"] {
            assert!(get.field(field).is_some(), "{field} is not in {get}");
        }
        assert_eq!(get.field("group").expect("a group").text(), "string");
    });
}

#[test]
fn config_get_takes_globs_and_several_names() {
    table(&[
        ("CONFIG GET maxmemory", "['maxmemory', '0']"),
        ("CONFIG GET nosuch", "[]"),
        ("CONFIG GET MaxMemory-P*", "['maxmemory-policy', 'noeviction']"),
        ("CONFIG GET", "-ERR wrong number of arguments for 'config|get' command"),
        ("CONFIG SET maxmemory 100mb", "+OK"),
        ("CONFIG GET maxmemory", "['maxmemory', '104857600']"),
        ("CONFIG SET maxmemory 1k", "+OK"),
        ("CONFIG GET maxmemory", "['maxmemory', '1000']"),
        ("CONFIG SET maxmemory 0", "+OK"),
        ("HELLO 3", "{..."),
        ("CONFIG GET maxmemory", "{'maxmemory': '0'}"),
    ]);
}

#[test]
fn config_set_is_all_or_nothing() {
    table(&[
        ("CONFIG SET timeout 100 maxmemory-policy allkeys-lru", "+OK"),
        ("CONFIG GET timeout", "['timeout', '100']"),
        (
            "CONFIG SET timeout 200 maxmemory-policy bogus",
            "-ERR CONFIG SET failed (possibly related to argument 'maxmemory-policy') - argument(s) must be one of the following: volatile-lru, ...",
        ),
        ("CONFIG GET timeout", "['timeout', '100']"),
        ("CONFIG SET nosuch 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'"),
        ("CONFIG SET timeout", "-ERR wrong number of arguments for 'config|set' command"),
        ("CONFIG SET timeout 1 maxmemory", "-ERR syntax error"),
        (
            "CONFIG SET timeout -1",
            "-ERR CONFIG SET failed (possibly related to argument 'timeout') - argument must be between 0 and 2147483647 inclusive",
        ),
        (
            "CONFIG SET timeout abc",
            "-ERR CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be parsed into an integer",
        ),
        (
            "CONFIG SET appendonly maybe",
            "-ERR CONFIG SET failed (possibly related to argument 'appendonly') - argument must be 'yes' or 'no'",
        ),
        (
            "CONFIG SET timeout 1 timeout 2",
            "-ERR CONFIG SET failed (possibly related to argument 'timeout') - duplicate parameter",
        ),
        ("CONFIG SET port abc", "-ERR CONFIG SET failed..."),
        (
            "CONFIG SET databases 4",
            "-ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config",
        ),
    ]);
}

#[test]
fn config_rewrite_keeps_the_file_and_adds_what_changed() {
    for kind in [Kind::Slotcore, Kind::Redis] {
        let dir = crate::support::server::fresh_dir();
        let file = dir.join("node.conf");
        fs::write(&file, "# a comment of ours\ntimeout 17\n\nmaxmemory 1mb\n").expect("a file");
        let mut server = Server::start_with_file(kind, &file, &[]);
        let client = &mut server.connect();
        check(
            client,
            &[
                ("CONFIG GET timeout", "['timeout', '17']"),
                ("CONFIG SET maxmemory 2097152 hz 50", "+OK"),
                ("CONFIG REWRITE", "+OK"),
            ],
        );
        let text = fs::read_to_string(&file).expect("the file");
        assert!(text.contains("# a comment of ours"), "{text}");
        assert!(text.lines().any(|line| line == "timeout 17"), "{text}");
        assert!(text.lines().any(|line| line == "maxmemory 2mb"), "{text}");
        assert!(text.lines().any(|line| line == "hz 50"), "{text}");
        server.restart();
        let client = &mut server.connect();
        check(client, &[("CONFIG GET hz", "['hz', '50']"), ("CONFIG GET maxmemory", "['maxmemory', '2097152']")]);
        drop(server);
        fs::remove_dir_all(&dir).expect("the folder can be removed");
    }
    table(&[("CONFIG REWRITE", "-ERR The server is running without a config file")]);
}

#[test]
fn slowlog_keeps_what_took_long() {
    on_both_with(&["--slowlog-log-slower-than", "0", "--slowlog-max-len", "5"], |server| {
        let client = &mut server.connect();
        client.must("CLIENT SETNAME me");
        client.must("SLOWLOG RESET");
        assert_eq!(client.line("SET k v").to_string(), "+OK");
        let log = client.must("SLOWLOG GET 1");
        let entry = log.items()[0].items();
        assert_eq!(entry.len(), 6);
        assert_eq!(entry[3].to_string(), "['SET', 'k', 'v']");
        assert!(entry[4].text().starts_with("127.0.0.1:"));
        assert_eq!(entry[5].text(), "me");
        for _ in 0..10 {
            client.must("PING");
        }
        assert_eq!(client.must("SLOWLOG LEN").integer(), 5);
        assert_eq!(client.must("SLOWLOG GET -1").items().len(), 5);
        let many = "x ".repeat(60);
        client.must(&format!("DEL {many}"));
        let log = client.must("SLOWLOG GET 1");
        let args = log.items()[0].items()[3].items().to_vec();
        assert_eq!(args.len(), 32);
        assert_eq!(args[31].text(), "... (30 more arguments)");
        client.cmd(&["ECHO", &"y".repeat(200)]);
        let log = client.must("SLOWLOG GET 1");
        let long = log.items()[0].items()[3].items()[1].text();
        assert_eq!(long, format!("{}... (72 more bytes)", "y".repeat(128)));
        check(
            client,
            &[
                ("CONFIG SET slowlog-log-slower-than -1", "+OK"),
                ("SLOWLOG RESET", "+OK"),
                ("PING", "+PONG"),
                ("SLOWLOG LEN", ":0"),
                ("SLOWLOG GET x", "-ERR count should be greater than or equal to -1"),
                ("SLOWLOG GET -2", "-ERR count should be greater than or equal to -1"),
            ],
        );
    });
}

#[test]
fn latency_records_commands_over_the_threshold() {
    on_both_with(&["--enable-debug-command", "yes", "--latency-monitor-threshold", "50"], |server| {
        let client = &mut server.connect();
        check(
            client,
            &[
                ("LATENCY RESET", ":0"),
                ("LATENCY LATEST", "[]"),
                ("DEBUG SLEEP 0.1", "+OK"),
                ("LATENCY HISTORY nosuch", "[]"),
            ],
        );
        let latest = client.must("LATENCY LATEST");
        let event = latest.items()[0].items();
        assert_eq!(event[0].text(), "command");
        assert!((100..1000).contains(&event[2].integer()), "{latest}");
        assert_eq!(client.must("LATENCY HISTORY command").items().len(), 1);
        assert_eq!(client.line("LATENCY RESET command").to_string(), ":1");
        assert_eq!(client.line("LATENCY LATEST").to_string(), "[]");
        client.must("SET k v");
        let histogram = client.must("LATENCY HISTOGRAM set");
        assert!(histogram.field("set").expect("set").field("calls").expect("calls").integer() >= 1);
    });
}

fn monitored(monitor: &mut Client) -> String {
    monitor.read().text()
}

#[test]
fn a_monitor_sees_its_own_requests_behind_their_replies() {
    on_both(|server| {
        let mut monitor = server.connect();
        // Asking again changes nothing and is not answered.
        monitor.send(b"MONITOR\r\nMONITOR\r\nPING\r\nECHO a\r\nDBSIZE\r\nECHO b\r\n");
        assert_eq!(monitor.read().to_string(), "+OK");
        assert_eq!(monitor.read().to_string(), "+PONG");
        assert!(monitored(&mut monitor).ends_with("\"PING\""));
        assert_eq!(monitor.read().to_string(), "'a'");
        assert!(monitored(&mut monitor).ends_with("\"ECHO\" \"a\""));
    });
}

#[test]
fn passwords_show_neither_in_monitor_nor_in_the_slow_log() {
    on_both_with(&["--slowlog-log-slower-than", "0"], |server| {
        let client = &mut server.connect();
        let mut monitor = server.connect();
        monitor.must("MONITOR");
        client.line("AUTH name secret");
        client.must("CONFIG SET masterauth secret");
        client.line("HELLO 2 AUTH name secret SETNAME x");
        client.must("ECHO end");
        for expected in
            ["\"AUTH\" \"(redacted)\" \"(redacted)\"", "\"AUTH\" \"(redacted)\" \"(redacted)\" \"SETNAME\" \"x\""]
        {
            let line = monitored(&mut monitor);
            assert!(line.ends_with(expected), "{line}");
        }
        let log = client.must("SLOWLOG GET 10").to_string();
        assert!(log.contains("'masterauth', '(redacted)'") && !log.contains("secret"), "{log}");
    });
}

#[test]
fn monitor_shows_requests_with_time_database_and_address() {
    on_both(|server| {
        let mut monitor = server.connect();
        monitor.must("MONITOR");
        let client = &mut server.connect();
        client.must("SELECT 2");
        client.must(r#"SET k "a\"b\x00""#);
        client.line("AUTH secret");
        client.line("GET k");
        let line = monitored(&mut monitor);
        assert!(line.contains(r#"] "SELECT" "2""#), "{line}");
        let line = monitored(&mut monitor);
        let (time, rest) = line.split_once(' ').expect("a time");
        assert_eq!(time.split_once('.').map(|(_, micros)| micros.len()), Some(6), "{line}");
        assert!(rest.starts_with("[2 127.0.0.1:"), "{line}");
        assert!(rest.ends_with(r#"] "SET" "k" "a\"b\x00""#), "{line}");
        let line = monitored(&mut monitor);
        assert!(line.ends_with(r#"] "AUTH" "(redacted)""#), "{line}");
        let line = monitored(&mut monitor);
        assert!(line.ends_with(r#"] "GET" "k""#), "{line}");
        assert_eq!(monitor.line("RESET").to_string(), "+RESET");
        assert_eq!(monitor.line("PING").to_string(), "+PONG");
    });
}

#[test]
fn memory_usage_looks_at_as_many_elements_as_it_is_told() {
    on_both(|server| {
        let mut client = server.connect();
        let long = "x".repeat(1000);
        for number in 0..400 {
            // In lists and streams what came first is small.
            let value = if number < 200 { "s" } else { &long };
            client.must(&format!("RPUSH list {value}"));
            client.must(&format!("XADD stream {}-1 f {value}", number + 1));
            client.must(&format!("HSET hash {number} {value}"));
            client.must(&format!("SADD set {number}{value}"));
            client.must(&format!("ZADD zset {number} {number}{value}"));
        }
        let mut usage = |key: &str, samples: &str| client.must(&format!("MEMORY USAGE {key}{samples}")).integer();
        for key in ["list", "stream", "hash", "set", "zset"] {
            let all = usage(key, " SAMPLES 0");
            assert!((200_000..600_000).contains(&all), "{key}: {all}");
            assert_eq!(usage(key, " SAMPLES 100000"), all, "{key}");
            assert_eq!(usage(key, ""), usage(key, " SAMPLES 5"), "{key}");
            assert_eq!(usage(key, " SAMPLES 0 SAMPLES 5"), usage(key, ""), "{key}: the last one counts");
        }
        // Redis counts the nodes of a list, not the elements in them.
        let by_elements = usage("list", " SAMPLES 1") < usage("list", " SAMPLES 0") / 2;
        assert!(by_elements || !server.kind.is_slotcore());
        assert!(usage("stream", " SAMPLES 1") < usage("stream", " SAMPLES 0") / 2);
    });
}

#[test]
fn time_role_memory_and_debug_answer() {
    on_both_with(&["--enable-debug-command", "yes"], |server| {
        let client = &mut server.connect();
        let time = client.must("TIME");
        let seconds: u64 = time.items()[0].text().parse().expect("seconds");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        assert!(now.abs_diff(seconds) <= 2);
        check(
            client,
            &[
                ("ROLE", "['master', :0, []]"),
                ("SET k v", "+OK"),
                ("MEMORY USAGE missing", "nil"),
                ("MEMORY USAGE k SAMPLES -1", "-ERR syntax error"),
                ("MEMORY PURGE", "+OK"),
                ("MEMORY NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try MEMORY HELP."),
                ("DEBUG SLEEP 0", "+OK"),
                ("DEBUG SET-ACTIVE-EXPIRE 0", "+OK"),
                ("DEBUG SET-ACTIVE-EXPIRE 1", "+OK"),
            ],
        );
        let usage = client.must("MEMORY USAGE k").integer();
        assert!((16..200).contains(&usage), "{usage} bytes");
        let big = "x".repeat(10_000);
        client.cmd(&["SET", "big", &big]);
        assert!(client.must("MEMORY USAGE big").integer() >= 10_000);
        assert!(client.must("MEMORY STATS").field("total.allocated").expect("total.allocated").integer() > 10_000);
        assert!(!client.must("MEMORY DOCTOR").text().is_empty());
        assert!(client.must("LOLWUT").text().contains("Redis ver"));
    });
    table(&[(
        "DEBUG SLEEP 0",
        "-ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.",
    )]);
}

/// Fills a server with strings of many slots and two databases' worth of expiries, and asks for the digest.
fn digest(server: &Server) -> String {
    let client = &mut server.connect();
    for line in ["DEBUG POPULATE 500 key 40", "SET count 5", "SET mortal x EX 1000", "SET raw 0123456789"] {
        client.must(line);
    }
    client.must("DEBUG DIGEST").text()
}

#[test]
fn digest_of_the_same_data_is_the_same_on_any_server() {
    let debug = ["--enable-debug-command", "yes"];
    let redis = digest(&Server::redis(&debug));
    assert_eq!(digest(&Server::slotcore(&debug)), redis);
    // In cluster mode the keys are spread over the cores.
    let cluster = Server::slotcore(&[&debug[..], &["--cluster-enabled", "yes", "--cores", "2"]].concat());
    crate::cluster_one_node::own_all_slots(&mut cluster.connect());
    assert_eq!(digest(&cluster), redis);
    let keys = cluster.connect().info("db0").expect("keys in database 0");
    assert!(keys.starts_with("keys=503,expires=1,"), "{keys}");
}

#[test]
fn config_set_moves_the_port_and_stays_where_it_is_when_it_cannot() {
    on_both(|server| {
        let client = &mut server.connect();
        let port = crate::support::server::free_port();
        client.must(&format!("CONFIG SET port {port}"));
        let mut moved = Client::connect(&format!("127.0.0.1:{port}")).expect("the new port listens");
        assert!(server.try_connect().is_err(), "the old port is closed");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken = taken.local_addr().map(|address| (address.port(), taken)).expect("its number");
        let refused = moved.line(&format!("CONFIG SET port {} maxmemory 5mb", taken.0)).to_string();
        assert!(
            refused.starts_with("-ERR CONFIG SET failed (possibly related to argument 'port') - Unable"),
            "{refused}"
        );
        check(&mut moved, &[("CONFIG GET maxmemory", "['maxmemory', '0']")]);
        assert!(Client::connect(&format!("127.0.0.1:{port}")).is_ok(), "it still listens");
        client.must(&format!("CONFIG SET port {}", server.port));
        assert_eq!(server.connect().line("PING").to_string(), "+PONG");
    });
}

#[test]
fn help_is_an_array_that_begins_with_the_command() {
    on_both(|server| {
        let client = &mut server.connect();
        for name in ["CLIENT", "CONFIG", "OBJECT", "MEMORY", "SLOWLOG", "LATENCY", "COMMAND"] {
            let help = client.must(&format!("{name} HELP"));
            let first = help.items()[0].text();
            assert_eq!(first, format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
        }
    });
}

#[test]
fn used_memory_follows_the_data() {
    on_both(|server| {
        let client = &mut server.connect();
        let before = client.info_number("used_memory");
        let value = "x".repeat(1000);
        let lines: Vec<String> = (0..5000).map(|n| format!("SET key:{n} {value}")).collect();
        client.pipeline(&lines);
        let full = client.info_number("used_memory");
        assert!(full - before > 5_000_000, "5 MB of values, {} of growth", full - before);
        assert!(full - before < 15_000_000, "5 MB of values, {} of growth", full - before);
        client.must("FLUSHALL");
        let back = holds_within(Duration::from_secs(5), || client.info_number("used_memory") - before < 1_500_000);
        assert!(back, "{} of growth stay after FLUSHALL", client.info_number("used_memory") - before);
    });
}

#[test]
fn signals_and_shutdown_end_with_status_zero() {
    for kind in [Kind::Slotcore, Kind::Redis] {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let mut server = Server::start(kind, &[]);
            let mut client = server.connect();
            client.must("SET k v");
            server.signal(signal);
            let status = server.wait_for_exit();
            assert_eq!(status.code(), Some(0), "{kind:?} after {signal}");
            assert!(client.is_closed());
        }
        for line in ["SHUTDOWN", "SHUTDOWN NOSAVE", "SHUTDOWN NOSAVE NOW FORCE"] {
            let mut server = Server::start(kind, &[]);
            let mut client = server.connect();
            check(
                &mut client,
                &[
                    ("SHUTDOWN BOGUS", "-ERR syntax error"),
                    ("SHUTDOWN SAVE NOSAVE", "-ERR syntax error"),
                    ("SHUTDOWN ABORT", "-ERR No shutdown in progress."),
                ],
            );
            client.send(format!("{line}\r\n").as_bytes());
            assert!(client.is_closed(), "{line} answers nothing");
            assert_eq!(server.wait_for_exit().code(), Some(0), "{kind:?} after {line}");
        }
    }
}
