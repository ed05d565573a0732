//! Snapshots: SAVE, BGSAVE, save points, SHUTDOWN SAVE; what is in the files, which redis-check-rdb and redis-server judge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::random::Random;
use crate::support::server::fresh_dir;
use crate::support::{Client, Kind, Server, check, holds_within, on_both, on_both_with};

const LIMIT: Duration = Duration::from_secs(20);
const DEBUG: [&str; 2] = ["--enable-debug-command", "yes"];
const CLUSTER: [&str; 2] = ["--cluster-enabled", "yes"];

fn file_of(server: &Server) -> PathBuf {
    server.dir.join("dump.rdb")
}

/// Asserts that redis-check-rdb finds nothing wrong.
fn check_file(path: &Path) {
    let output = Command::new("redis-check-rdb").arg(path).output().expect("redis-check-rdb runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("RDB looks OK"), "{text}");
}

/// A redis-server that has loaded the file.
fn loaded_by_redis(path: &Path) -> Server {
    check_file(path);
    let source = fresh_dir();
    fs::copy(path, source.join("dump.rdb")).expect("the file can be copied");
    let dir = source.to_str().expect("a path in UTF-8").to_owned();
    let args = ["--dir", &dir, "--dbfilename", "dump.rdb", DEBUG[0], DEBUG[1]];
    let server = Server::redis(&args);
    let loaded = holds_within(LIMIT, || server.connect().info("loading").as_deref() == Some("0"));
    assert!(loaded, "redis-server has loaded the file");
    fs::remove_dir_all(&source).expect("the folder can be removed");
    server
}

fn digest(client: &mut Client) -> String {
    client.must("DEBUG DIGEST").text()
}

fn wait_for_save(client: &mut Client) {
    assert!(holds_within(LIMIT, || client.info_number("rdb_bgsave_in_progress") == 0), "the save ends");
}

/// Data of all types and sizes in one database.
fn fill(client: &mut Client, random: &mut Random, keys: u64) {
    let mut lines = Vec::new();
    for number in 0..keys {
        let big = if random.below(40) == 0 { 600 } else { 1 + random.below(12) };
        let value = |number: u64| match number % 4 {
            0 => (number * 7919).to_string(),
            1 => format!("value-{number}"),
            2 => "long ".repeat(1 + number as usize % 60).replace(' ', "_"),
            _ => format!("-{}", number << 30),
        };
        let many = |command: &str, item: &dyn Fn(u64) -> String| {
            let items: Vec<String> = (0..big).map(item).collect();
            format!("{command} {} {}", number, items.join(" "))
        };
        lines.push(match random.below(7) {
            0 => many("RPUSH", &value),
            1 => many("SADD", &value),
            2 => many("SADD", &|number| (number * 3).to_string()),
            3 => many("HSET", &|number| format!("f{number} {}", value(number))),
            4 => many("ZADD", &|number| format!("{}.25 {}", number * 3, value(number))),
            5 => format!("XADD {number} 5-{} field {} other {}", 1 + big, value(big), value(number)),
            _ => format!("SET {number} {}", value(number)),
        });
        if random.below(3) == 0 {
            lines.push(format!("PEXPIREAT {number} {}", 4_000_000_000_000 + number));
        }
    }
    lines.push("XGROUP CREATE group s 0 MKSTREAM".to_owned());
    for reply in client.pipeline(&lines) {
        assert!(!reply.is_error(), "{reply}");
    }
}

#[test]
fn a_file_is_what_the_node_has_and_redis_server_loads_it() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    for cores in ["1", "2", "4"] {
        for extra in [&["--rdbcompression", "no"][..], &["--rdbchecksum", "no"], &["--maxmemory-policy", "allkeys-lfu"]]
        {
            let mut args = vec!["--cores", cores];
            args.extend(DEBUG.iter().chain(extra));
            let server = Server::slotcore(&args);
            let mut client = server.connect();
            let mut random = Random::new(17);
            for db in [0, 3, 15] {
                client.must(&format!("SELECT {db}"));
                fill(&mut client, &mut random, 300);
            }
            client.must("SAVE");
            let peer = loaded_by_redis(&file_of(&server));
            let mut other = peer.connect();
            assert_eq!(digest(&mut client), digest(&mut other), "{cores} cores, {extra:?}");
            other.must("SELECT 15");
            let texts = [&mut client, &mut other].map(|client| {
                (0..300).map(|key| client.must(&format!("PEXPIRETIME {key}")).to_string()).collect::<Vec<_>>()
            });
            assert_eq!(texts[0], texts[1]);
        }
    }
}

#[test]
fn the_cores_of_a_cluster_node_write_one_file() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    for cores in ["1", "2", "4"] {
        let server = Server::slotcore(&["--cores", cores, CLUSTER[0], CLUSTER[1], DEBUG[0], DEBUG[1]]);
        let mut client = server.connect();
        client.must("CLUSTER ADDSLOTSRANGE 0 16383");
        assert!(holds_within(LIMIT, || client.line("SET x 1").to_string() == "+OK"));
        fill(&mut client, &mut Random::new(5), 2000);
        client.must("SAVE");
        let peer = loaded_by_redis(&file_of(&server));
        let mut other = peer.connect();
        assert_eq!(client.must("DBSIZE").integer(), other.must("DBSIZE").integer());
        assert_eq!(digest(&mut client), digest(&mut other), "{cores} cores");
    }
}

#[test]
fn a_snapshot_is_what_was_there_when_it_began_whatever_comes_after() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    let server = Server::slotcore(&DEBUG);
    let mut client = server.connect();
    let mut random = Random::new(23);
    for db in [0, 1] {
        client.must(&format!("SELECT {db}"));
        fill(&mut client, &mut random, 1500);
    }
    client.must("SELECT 0");
    for ending in ["SWAPDB 0 1", "FLUSHDB", "FLUSHALL ASYNC"] {
        let before = digest(&mut client);
        // Slow enough for all that follows to come before the walk is through.
        client.must("CONFIG SET rdb-key-save-delay 3000");
        client.must("BGSAVE");
        let mut lines = Vec::new();
        for _ in 0..800 {
            let key = random.below(1500);
            lines.push(match random.below(7) {
                0 => format!("DEL {key}"),
                1 => format!("SET {key} changed"),
                2 => format!("RPUSH {key} more"),
                3 => format!("PEXPIRE {key} 1"),
                4 => format!("RENAME {key} renamed-{key}"),
                5 => format!("SADD {key} more"),
                _ => format!("HSET {key} f0 changed more more"),
            });
        }
        client.pipeline(&lines);
        client.must(ending);
        client.must("SET new-key new");
        assert_eq!(client.info_number("rdb_bgsave_in_progress"), 1, "all this came while it was under way");
        client.must("CONFIG SET rdb-key-save-delay 0");
        wait_for_save(&mut client);
        assert_eq!(client.info("rdb_last_bgsave_status").as_deref(), Some("ok"));
        let peer = loaded_by_redis(&file_of(&server));
        assert_eq!(digest(&mut peer.connect()), before, "{ending}");
    }
}

#[test]
fn large_values_are_saved_as_they_were_while_they_change() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    const LARGE: u64 = 40;
    const STREAM: &str = "for id = 1, 6000 do redis.call('XADD', KEYS[1], id, 'field', 'value-' .. id) end \
                          redis.call('XGROUP', 'CREATE', KEYS[1], 'group', 0)";
    for cores in ["1", "4"] {
        let server = Server::slotcore(&["--cores", cores, CLUSTER[0], CLUSTER[1], DEBUG[0], DEBUG[1]]);
        let mut client = server.connect();
        client.must("CLUSTER ADDSLOTSRANGE 0 16383");
        assert!(holds_within(LIMIT, || client.line("SET x 1").to_string() == "+OK"));
        let mut lines: Vec<String> = (0..2000).map(|number| format!("SET small:{number} {number}")).collect();
        for number in 0..LARGE {
            let elements = |item: &dyn Fn(u64) -> String| (0..6000).map(item).collect::<Vec<_>>().join(" ");
            lines.push(match number % 5 {
                0 => format!(
                    "HSET large:{number} {}",
                    elements(&|at| format!("field-{at} a-value-of-{at}-that-is-long"))
                ),
                1 => format!("SADD large:{number} {}", elements(&|at| format!("member-{at}"))),
                2 => format!("ZADD large:{number} {}", elements(&|at| format!("{}.5 member-{at}", at % 100))),
                3 => format!("RPUSH large:{number} {}", elements(&|at| format!("element-{at}-that-takes-some-room"))),
                _ => format!("EVAL {STREAM:?} 1 large:{number}"),
            });
        }
        client.pipeline(&lines);
        for round in 0..3 {
            let before = digest(&mut client);
            // Slow enough for all that follows to come before the walk is through.
            client.must("CONFIG SET rdb-key-save-delay 2000");
            client.must("BGSAVE");
            for step in 0..LARGE {
                let number = (step * 7 + round) % LARGE;
                client.pipeline(&[
                    match number % 5 {
                        0 => format!("HSET large:{number} field-7 changed-{round}"),
                        1 => format!("SADD large:{number} more-{round}"),
                        2 => format!("ZADD large:{number} 7 member-{round}"),
                        3 => format!("LSET large:{number} 7 changed-{round}"),
                        _ => format!("XREADGROUP GROUP group reader COUNT 5 STREAMS large:{number} >"),
                    },
                    format!("SET small:{} changed-{round}", step * 50),
                    format!("COPY large:{number} {{large:{number}}}:{round}"),
                    format!("DEL {{large:{}}}:{}", (number + 1) % LARGE, (round + 2) % 3),
                ]);
            }
            assert_eq!(client.info_number("rdb_bgsave_in_progress"), 1, "all this came while it was under way");
            client.must("CONFIG SET rdb-key-save-delay 0");
            wait_for_save(&mut client);
            assert_eq!(client.info("rdb_last_bgsave_status").as_deref(), Some("ok"));
            let peer = loaded_by_redis(&file_of(&server));
            assert_eq!(digest(&mut peer.connect()), before, "{cores} cores, round {round}");
        }
    }
}

/// Two keys whose slots belong to different cores, with two cores and with four.
const PAIRS: [(&str, &str); 3] = [("{1}a", "{2}b"), ("{3}a", "{4}b"), ("{7}a", "{5}b")];

/// Stops the writers also where an assertion fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_snapshot_under_load_is_one_moment_of_all_cores() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    let server = Server::slotcore(&["--cores", "4", CLUSTER[0], CLUSTER[1]]);
    let mut client = server.connect();
    client.must("CLUSTER ADDSLOTSRANGE 0 16383");
    assert!(holds_within(LIMIT, || client.line("SET x 1").to_string() == "+OK"));
    let lines: Vec<String> = (0..20_000).map(|number| format!("SET filler:{number} {number}")).collect();
    client.pipeline(&lines);
    for (first, second) in PAIRS {
        client.pipeline(&[format!("SET {first} 0"), format!("SET {second} 0")]);
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        for (first, second) in PAIRS {
            let (server, stop) = (&server, &stop);
            scope.spawn(move || {
                // What one client has been told, another acts upon.
                let (mut one, mut other) = (server.connect(), server.connect());
                for number in 1u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    one.must(&format!("SET {first} {number}"));
                    other.must(&format!("SET {second} {number}"));
                }
            });
        }
        for _ in 0..8 {
            client.must("SAVE");
            let peer = loaded_by_redis(&file_of(&server));
            let mut reader = peer.connect();
            for (first, second) in PAIRS {
                let number = |client: &mut Client, key: &str| {
                    client.line(&format!("GET {key}")).value.text().parse::<u64>().expect("a number")
                };
                let (ahead, behind) = (number(&mut reader, first), number(&mut reader, second));
                assert!(ahead == behind || ahead == behind + 1, "{first} {ahead}, {second} {behind}");
            }
        }
    });
}

#[test]
fn commands_answer_as_in_redis() {
    on_both_with(&["--enable-debug-command", "yes"], |server| {
        let mut client = server.connect();
        let started = client.must("LASTSAVE").integer();
        assert_eq!(client.info_number("rdb_last_save_time"), started);
        for (line, expected) in [
            ("SET a 1", "+OK"),
            ("SET b 1", "+OK"),
            ("SAVE x", "-ERR wrong number of arguments for 'save' command"),
            ("BGSAVE x", "-ERR syntax error"),
            ("BGSAVE SCHEDULE x", "-ERR syntax error"),
            ("LASTSAVE x", "-ERR wrong number of arguments for 'lastsave' command"),
        ] {
            assert_eq!(client.line(line).to_string(), expected, "{line}");
        }
        assert_eq!(client.info_number("rdb_changes_since_last_save"), 2);
        check(
            &mut client,
            &[("SAVE", "+OK"), ("MULTI", "+OK"), ("SAVE", "-ERR Command not allowed inside a transaction")],
        );
        check(&mut client, &[("EXEC", "-EXECABORT Transaction discarded because of previous errors.")]);
        assert_eq!(client.info_number("rdb_changes_since_last_save"), 0);
        check(&mut client, &[("MULTI", "+OK"), ("BGSAVE", "+QUEUED"), ("EXEC", "[+Background saving scheduled]")]);
        let saves = client.info_number("rdb_saves");
        assert!(
            holds_within(LIMIT, || client.info_number("rdb_last_bgsave_time_sec") >= 0),
            "what was scheduled comes"
        );
        assert!(client.info_number("rdb_saves") > saves || saves == 2);
        wait_for_save(&mut client);
        client.must("CONFIG SET rdb-key-save-delay 10000000");
        check(
            &mut client,
            &[
                ("BGSAVE", "+Background saving started"),
                ("BGSAVE", "-ERR Background save already in progress"),
                ("BGSAVE SCHEDULE", "-ERR Background save already in progress"),
                ("SAVE", "-ERR Background save already in progress"),
            ],
        );
        assert_eq!(client.info_number("rdb_bgsave_in_progress"), 1);
        assert!(client.info_number("rdb_current_bgsave_time_sec") >= 0);
    });
}

#[test]
fn a_failed_snapshot_leaves_the_old_file_and_refuses_writes_until_one_succeeds() {
    on_both_with(&["--save", "3600 1000000", "--stop-writes-on-bgsave-error", "yes"], |server| {
        let mut client = server.connect();
        client.must("SET a 1");
        client.must("SAVE");
        // The name of the file is a folder's: the old file stays what it is under its other name.
        let (file, aside) = (file_of(server), server.dir.join("aside.rdb"));
        fs::rename(&file, &aside).expect("the file can be moved");
        let before = fs::read(&aside).expect("a file");
        fs::create_dir(&file).expect("a folder can be made");
        let status = client.line("SAVE").to_string();
        assert_eq!(status, "-ERR");
        check(&mut client, &[("SET a 2", "+OK"), ("BGSAVE", "+Background saving started")]);
        wait_for_save(&mut client);
        assert_eq!(client.info("rdb_last_bgsave_status").as_deref(), Some("err"));
        let refused = holds_within(LIMIT, || client.line("SET a 3").is_error());
        assert!(refused);
        check(
            &mut client,
            &[
                ("SET a 3", "-MISCONF Redis is configured to save RDB snapshots..."),
                ("PING", "-MISCONF..."),
                ("GET a", "'2'"),
            ],
        );
        client.must("CONFIG SET stop-writes-on-bgsave-error no");
        assert!(holds_within(LIMIT, || client.line("SET a 4").to_string() == "+OK"));
        client.must("CONFIG SET stop-writes-on-bgsave-error yes");
        assert!(holds_within(LIMIT, || client.line("SET a 5").is_error()));
        assert_eq!(fs::read(&aside).expect("a file"), before);
        fs::remove_dir(&file).expect("the folder can be removed");
        client.must("BGSAVE");
        wait_for_save(&mut client);
        assert!(holds_within(LIMIT, || client.line("SET a 6").to_string() == "+OK"));
        check_file(&file);
        let left: Vec<String> = fs::read_dir(&server.dir)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with("temp-"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn a_file_that_cannot_be_opened_fails_the_save() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    let server = Server::slotcore(&["--save", "3600 1000000"]);
    let mut client = server.connect();
    for number in [1, 2] {
        let temporary = server.dir.join(format!("temp-{}-{number}.rdb", server.pid()));
        fs::create_dir(temporary).expect("a folder can be made");
    }
    check(
        &mut client,
        &[("SET a 1", "+OK"), ("SAVE", "-ERR"), ("SET a 2", "+OK"), ("BGSAVE", "+Background saving started")],
    );
    assert!(holds_within(LIMIT, || client.line("SET a 3").to_string().starts_with("-MISCONF")));
    assert!(server.log().contains("Failed opening the temp RDB file"));
    check(&mut client, &[("SAVE", "+OK")]);
    assert!(holds_within(LIMIT, || client.line("SET a 3").to_string() == "+OK"));
}

#[test]
fn a_save_point_saves_by_itself() {
    on_both_with(&["--save", "1 5"], |server| {
        let mut client = server.connect();
        let saved_before = client.must("LASTSAVE").integer();
        let lines: Vec<String> = (0..5).map(|number| format!("SET key:{number} {number}")).collect();
        client.pipeline(&lines);
        assert!(holds_within(LIMIT, || client.must("LASTSAVE").integer() > saved_before));
        assert_eq!(client.info_number("rdb_changes_since_last_save"), 0);
        assert!(server.log().contains("5 changes in 1 seconds. Saving..."));
        assert_eq!(loaded_by_redis(&file_of(server)).connect().must("DBSIZE").integer(), 5);
    });
}

#[test]
fn a_flush_of_everything_is_saved_where_there_are_save_points() {
    on_both_with(&["--save", "3600 1000000"], |server| {
        let mut client = server.connect();
        client.must("SET a 1");
        client.must("SAVE");
        client.must("FLUSHALL");
        let is_empty = || loaded_by_redis(&file_of(server)).connect().must("DBSIZE").integer() == 0;
        assert!(holds_within(LIMIT, is_empty));
    });
}

#[test]
fn shutdown_and_signals_save_first() {
    for (args, line) in [
        (&["--save", ""][..], Some("SHUTDOWN SAVE")),
        (&["--save", "3600 1"], Some("SHUTDOWN")),
        (&["--save", "3600 1"], None),
    ] {
        let mut server = Server::start(Kind::Slotcore, args);
        let mut client = server.connect();
        client.pipeline(&["SET a 1", "SET b 2"]);
        match line {
            Some(line) => {
                client.send(format!("{line}\r\n").as_bytes());
                assert!(client.is_closed());
            }
            None => server.signal(nix::sys::signal::Signal::SIGTERM),
        }
        assert!(server.wait_for_exit().success());
        assert_eq!(loaded_by_redis(&file_of(&server)).connect().must("DBSIZE").integer(), 2);
    }
}

#[test]
fn shutdown_waits_for_no_save_it_does_not_want() {
    let mut server = Server::start(Kind::Slotcore, &["--rdb-key-save-delay", "10000000", "--save", "3600 1"]);
    let mut client = server.connect();
    client.pipeline(&["SET a 1", "SET b 2", "BGSAVE"]);
    client.send(b"SHUTDOWN NOSAVE\r\n");
    assert!(client.is_closed());
    assert!(server.wait_for_exit().success());
    assert!(!file_of(&server).exists());
    if Kind::Slotcore.is_slotcore() {
        let left = fs::read_dir(&server.dir).expect("a folder");
        let left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("temp-")), "{left:?}");
    }
}

#[test]
fn a_node_that_cannot_save_does_not_end_unless_it_is_forced() {
    on_both_with(&["--save", "3600 1"], |server| {
        let mut client = server.connect();
        fs::create_dir(file_of(server)).expect("a folder can be made");
        client.must("SET a 1");
        assert_eq!(client.line("SHUTDOWN").to_string(), "-ERR Errors trying to SHUTDOWN. Check logs.");
        // It goes on as if nothing had been.
        let mut other = server.connect();
        check(&mut other, &[("SET a 2", "+OK"), ("GET a", "'2'")]);
        client.send(b"SHUTDOWN FORCE\r\n");
        assert!(client.is_closed());
    });
}

#[test]
fn what_shutdown_does_not_save_is_not_acknowledged() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    let mut server = Server::slotcore(&["--save", "3600 1", "--cores", "2", CLUSTER[0], CLUSTER[1]]);
    let mut client = server.connect();
    client.must("CLUSTER ADDSLOTSRANGE 0 16383");
    assert!(holds_within(LIMIT, || client.line("SET x 1").to_string() == "+OK"));
    let stopped_at = std::thread::scope(|scope| {
        let writers: Vec<_> = PAIRS
            .iter()
            .map(|(key, _)| {
                let mut client = server.connect();
                scope.spawn(move || {
                    let mut acknowledged = 0u64;
                    loop {
                        let bytes = format!("SET {key} {}\r\n", acknowledged + 1);
                        if client.try_send(bytes.as_bytes()).is_err() || client.try_read().is_err() {
                            return (*key, acknowledged);
                        }
                        acknowledged += 1;
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(100));
        server.signal(nix::sys::signal::Signal::SIGTERM);
        writers.into_iter().map(|writer| writer.join().expect("a writer")).collect::<Vec<_>>()
    });
    assert!(server.wait_for_exit().success());
    let peer = loaded_by_redis(&file_of(&server));
    let mut reader = peer.connect();
    for (key, acknowledged) in stopped_at {
        let saved: u64 = reader.line(&format!("GET {key}")).value.text().parse().expect("a number");
        assert!(
            acknowledged > 0 && (saved == acknowledged || saved == acknowledged + 1),
            "{key} {saved} {acknowledged}"
        );
    }
}

#[test]
fn a_shutdown_that_saves_can_be_called_off() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    let server = Server::slotcore(&["--save", "3600 1", "--rdb-key-save-delay", "10000000"]);
    let (mut client, mut other) = (server.connect(), server.connect());
    client.pipeline(&["SET a 1", "SET b 2", "BGSAVE"]);
    client.send(b"SHUTDOWN\r\n");
    assert!(holds_within(LIMIT, || server.log().contains("Saving the final RDB snapshot before exiting.")));
    check(&mut other, &[("SHUTDOWN ABORT", "+OK"), ("SHUTDOWN ABORT", "-ERR No shutdown in progress.")]);
    assert_eq!(client.read().to_string(), "-ERR Errors trying to SHUTDOWN. Check logs.");
    client.must("CONFIG SET rdb-key-save-delay 0");
    // The one that was given up is cleared away first.
    assert!(holds_within(LIMIT, || client.line("SAVE").to_string() == "+OK"));
    check(&mut client, &[("SET a 3", "+OK"), ("GET a", "'3'")]);
    check_file(&file_of(&server));
}

#[test]
fn saves_and_shutdowns_may_come_in_one_batch() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    let mut server = Server::slotcore(&["--save", "3600 1", "--cores", "4"]);
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    clients[0].must("SET a 1");
    // On whichever core they are: most of these requests cross to core 0 together.
    for client in &mut clients {
        client.send(b"BGSAVE\r\nSAVE\r\nBGSAVE\r\nSHUTDOWN\r\nSHUTDOWN SAVE\r\n");
    }
    assert!(server.wait_for_exit().success(), "{}", server.log());
    let peer = loaded_by_redis(&file_of(&server));
    assert_eq!(peer.connect().must("DBSIZE").integer(), 1);
}

#[test]
fn the_bytes_of_a_file_do_not_stay_in_the_books() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    let server = Server::slotcore(&DEBUG);
    let mut client = server.connect();
    client.must("DEBUG POPULATE 20000 key 300");
    client.must("SAVE");
    let used_before = client.info_number("used_memory");
    (0..5).for_each(|_| _ = client.must("SAVE"));
    // A writer's books are taken over by the next tick.
    let is_back = || client.info_number("used_memory") - used_before < 200_000;
    assert!(holds_within(LIMIT, is_back), "of {} bytes", fs::metadata(file_of(&server)).expect("a file").len());
}

#[test]
fn an_expired_key_that_nobody_met_is_in_the_file_as_in_redis() {
    on_both(|server| {
        let mut client = server.connect();
        client.must("SET a 1 PX 1");
        client.must("SET b 1");
        client.must("SAVE");
        check_file(&file_of(server));
        assert_eq!(loaded_by_redis(&file_of(server)).connect().must("DBSIZE").integer(), 1);
    });
}
