//! The append-only files: what stands in them, when replies leave, and what becomes of a disk that fails.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::cluster_one_node::own_all_slots;
use crate::support::client::{encode, split_line};
use crate::support::server::{free_port, fresh_dir};
use crate::support::{Client, Kind, Server, check, holds_within};

pub const LONG: Duration = Duration::from_secs(10);
/// Long enough for a reply that does not wait, short enough for a test.
const A_WHILE: Duration = Duration::from_millis(150);

pub fn server(fsync: &str, more: &[&str]) -> Server {
    let args = ["--appendonly", "yes", "--appendfsync", fsync, "--enable-debug-command", "yes"];
    Server::slotcore(&[&args, more].concat())
}

pub fn send(client: &mut Client, line: &str) {
    client.send(&encode(&split_line(line)));
}

pub fn expect(client: &mut Client, reply: &str) {
    assert_eq!(client.read().to_string(), reply);
}

/// Whether no reply comes for a while.
pub fn waits(client: &mut Client) -> bool {
    std::thread::sleep(A_WHILE);
    client.read_what_is_there().is_none()
}

pub fn manifest(server: &Server) -> String {
    fs::read_to_string(server.dir.join("appendonlydir/appendonly.aof.manifest")).expect("a manifest")
}

/// What redis-check-aof says of the folder; it must be content.
pub fn check_aof(server: &Server) {
    let path = server.dir.join("appendonlydir/appendonly.aof.manifest");
    let output = Command::new("redis-check-aof").arg(path).output().expect("redis-check-aof runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("All AOF files and manifest are valid"), "{said}");
}

/// A redis-server that has loaded a copy of the node's files.
pub fn read_by_redis(server: &Server) -> Server {
    let dir = fresh_dir();
    fs::create_dir_all(dir.join("appendonlydir")).expect("a folder");
    for file in fs::read_dir(server.dir.join("appendonlydir")).expect("the node's folder") {
        let file = file.expect("a file");
        fs::copy(file.path(), dir.join("appendonlydir").join(file.file_name())).expect("a copy");
    }
    let dir_name = dir.display().to_string();
    let redis = Server::redis(&["--appendonly", "yes", "--dir", &dir_name]);
    let mut client = redis.connect();
    assert!(holds_within(LONG, || client.info_number("loading") == 0), "{}", redis.log());
    redis
}

#[test]
fn redis_reads_what_each_core_has_written() {
    for more in [&[][..], &["--cluster-enabled", "yes"], &["--aof-timestamp-enabled", "yes"]] {
        let mut server = server("always", more);
        let client = &mut server.connect();
        if more.contains(&"--cluster-enabled") {
            own_all_slots(client);
        }
        let lines: Vec<String> = (0..500).map(|n| format!("SET key:{n} value:{n}")).collect();
        assert!(client.pipeline(&lines).iter().all(|reply| reply.to_string() == "+OK"));
        let deletions: Vec<String> = (0..100).map(|n| format!("DEL key:{n}")).collect();
        client.pipeline(&deletions);
        check(client, &[("RPUSH {a}list a b c", ":3"), ("MULTI", "+OK"), ("LPOP {a}list", "+QUEUED")]);
        check(client, &[("SADD {a}set x", "+QUEUED"), ("EXEC", "['a', :1]"), ("INCRBY counter 7", ":7")]);
        let size = client.must("DBSIZE");
        server.stop();
        check_aof(&server);
        let redis = read_by_redis(&server);
        let theirs = &mut redis.connect();
        assert_eq!(theirs.must("DBSIZE"), size);
        assert_eq!(theirs.must("GET key:499").text(), "value:499");
        check(theirs, &[("LRANGE {a}list 0 -1", "['b', 'c']"), ("GET counter", "'7'")]);
    }
}

#[test]
fn a_core_that_owns_slots_has_a_file_of_its_own() {
    let alone = server("everysec", &[]);
    let text = manifest(&alone);
    let (seal, files) = text.split_once('\n').expect("lines");
    assert!(seal.starts_with("# slotcore writers 1 crc64 "), "{text}");
    assert_eq!(files, "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n");
    let cluster = server("everysec", &["--cluster-enabled", "yes", "--cores", "3"]);
    let text = manifest(&cluster);
    assert_eq!(text.matches(" type i").count(), 3, "{text}");
    assert!(text.starts_with("# slotcore writers 3 crc64 "), "{text}");
}

#[test]
fn with_always_a_write_waits_for_its_fsync_and_a_read_does_not() {
    let server = server("always", &[]);
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    let mut other = server.connect();
    other.must("SET here before");
    other.must("DEBUG DISK-FAULT FSYNC HOLD");
    for (number, client) in clients.iter_mut().enumerate() {
        send(client, &format!("SET key:{number} x"));
        send(client, "GET here");
    }
    // It has run, and others see it.
    assert!(holds_within(LONG, || other.must("EXISTS key:0 key:1 key:2 key:3").integer() == 4));
    check(&mut other, &[("GET here", "'before'"), ("SET here later NX", "nil"), ("PING", "+PONG")]);
    assert!(clients.iter_mut().all(waits), "a reply leaves before its fsync");
    other.must("DEBUG DISK-FAULT FSYNC NONE");
    for client in &mut clients {
        expect(client, "+OK");
        expect(client, "'before'");
    }
}

#[test]
fn with_always_every_way_of_writing_waits() {
    let server = server("always", &[]);
    let (mut client, mut other) = (server.connect(), server.connect());
    let mut blocked = server.connect();
    for (prepare, line, reply) in [
        ("DEL q", "RPUSH q a", ":1"),
        ("SET k v", "DEL k", ":1"),
        ("RPUSH p a", "BLPOP p 0", "['p', 'a']"),
        ("SET n 1", "EVAL_AS_TRANSACTION", "[+OK, :5, '5']"),
        ("SET k v", "FLUSHALL", "+OK"),
        ("DEL k", "SETEX k 100 v", "+OK"),
    ] {
        other.must(prepare);
        other.must("DEBUG DISK-FAULT FSYNC HOLD");
        if line == "EVAL_AS_TRANSACTION" {
            for line in ["MULTI", "SET n 4", "INCR n", "GET n", "EXEC"] {
                send(&mut client, line);
            }
            expect(&mut client, "+OK");
            for _ in 0..3 {
                expect(&mut client, "+QUEUED");
            }
        } else {
            send(&mut client, line);
        }
        assert!(waits(&mut client), "{line} does not wait");
        other.must("DEBUG DISK-FAULT FSYNC NONE");
        expect(&mut client, reply);
    }
    // A client that is served: its element is gone, so its reply waits, too.
    send(&mut blocked, "BLPOP served 0");
    assert!(holds_within(LONG, || other.info_number("blocked_clients") == 1));
    other.must("DEBUG DISK-FAULT FSYNC HOLD");
    send(&mut client, "RPUSH served a");
    assert!(waits(&mut client) && waits(&mut blocked));
    other.must("DEBUG DISK-FAULT FSYNC NONE");
    expect(&mut client, ":1");
    expect(&mut blocked, "['served', 'a']");
}

#[test]
fn with_everysec_and_no_nobody_waits() {
    for fsync in ["everysec", "no"] {
        let server = server(fsync, &[]);
        let mut client = server.connect();
        client.must("DEBUG DISK-FAULT FSYNC HOLD");
        check(&mut client, &[("SET a 1", "+OK"), ("INCR a", ":2")]);
        client.must("DEBUG DISK-FAULT FSYNC NONE");
    }
}

#[test]
fn with_everysec_replies_wait_while_the_disk_does_not_keep_up() {
    let server = server("everysec", &[]);
    let (mut client, mut other) = (server.connect(), server.connect());
    client.must("DEBUG DISK-FAULT FSYNC HOLD");
    client.must("SET a 1");
    let delayed = |other: &mut Client| other.info_number("aof_delayed_fsync") > 0;
    assert!(holds_within(LONG, || delayed(&mut other)), "never late");
    send(&mut client, "INCR a");
    assert!(waits(&mut client));
    check(&mut other, &[("GET a", "'2'")]);
    assert!(server.log().contains("Asynchronous AOF fsync is taking too long (disk is busy?)"), "{}", server.log());
    other.must("DEBUG DISK-FAULT FSYNC NONE");
    expect(&mut client, ":2");
    check(&mut client, &[("INCR a", ":3")]);
}

#[test]
fn config_set_appendfsync_takes_effect_at_once() {
    let server = server("everysec", &[]);
    let (mut client, mut other) = (server.connect(), server.connect());
    other.must("CONFIG SET appendfsync always");
    other.must("DEBUG DISK-FAULT FSYNC HOLD");
    send(&mut client, "SET a 1");
    assert!(waits(&mut client));
    other.must("CONFIG SET appendfsync no");
    // What is written is enough now.
    expect(&mut client, "+OK");
    check(&mut client, &[("SET a 2", "+OK")]);
}

#[test]
fn a_disk_that_fails_refuses_writes_and_takes_them_again_when_it_works() {
    for (fsync, fault, reason) in [
        ("everysec", "WRITE 28", "No space left on device"),
        ("no", "WRITE 5", "Input/output error"),
        ("always", "WRITE 28", "No space left on device"),
        ("everysec", "FSYNC 5", "Input/output error"),
    ] {
        for more in [&[][..], &["--cluster-enabled", "yes"]] {
            let mut server = server(fsync, more);
            let (mut client, mut other) = (server.connect(), server.connect());
            if !more.is_empty() {
                own_all_slots(&mut client);
            }
            client.must("SET before 1");
            other.must(&format!("DEBUG DISK-FAULT {fault}"));
            send(&mut client, "SET last 1");
            assert!(holds_within(LONG, || other.info("aof_last_write_status").as_deref() == Some("err")));
            let refused = format!("-MISCONF Errors writing to the AOF file: {reason}");
            assert!(holds_within(LONG, || other.line("SET refused 1").to_string() == refused), "{fsync} {fault}");
            check(&mut other, &[("GET before", "'1'"), ("GET refused", "nil"), ("PING", &refused)]);
            assert!(server.log().contains(&format!(" AOF file: {reason}")), "{}", server.log());
            other.must(&format!("DEBUG DISK-FAULT {} NONE", fault.split(' ').next().unwrap()));
            assert!(holds_within(LONG, || other.line("SET again 1").to_string() == "+OK"));
            expect(&mut client, "+OK");
            assert_eq!(other.info("aof_last_write_status").as_deref(), Some("ok"));
            server.stop();
            check_aof(&server);
            let redis = read_by_redis(&server);
            check(&mut redis.connect(), &[("MGET before last again refused", "['1', '1', '1', nil]")]);
        }
    }
}

#[test]
fn an_fsync_that_fails_acknowledges_nothing() {
    let server = server("always", &[]);
    let (mut client, mut other) = (server.connect(), server.connect());
    other.must("DEBUG DISK-FAULT FSYNC 5");
    send(&mut client, "SET a 1");
    assert!(holds_within(LONG, || other.info("aof_last_write_status").as_deref() == Some("err")));
    assert!(waits(&mut client), "acknowledged, and not on the disk");
    // What a failed fsync should have covered is written again, in its place.
    let path = server.dir.join("appendonlydir/appendonly.aof.1.incr.aof");
    let before = fs::read(&path).expect("the file");
    fs::write(&path, vec![0; before.len()]).expect("pages that the kernel has dropped");
    other.must("DEBUG DISK-FAULT FSYNC NONE");
    expect(&mut client, "+OK");
    assert_eq!(fs::read(&path).expect("the file"), before);
}

#[test]
fn a_write_that_did_half_goes_on_where_it_stopped() {
    let mut server = server("always", &[]);
    let mut client = server.connect();
    client.must("DEBUG DISK-FAULT WRITE SHORT 3");
    let value = "x".repeat(10_000);
    client.must(&format!("SET a {value}"));
    client.must("SET b 1");
    server.stop();
    check_aof(&server);
    let redis = read_by_redis(&server);
    check(&mut redis.connect(), &[("STRLEN a", ":10000"), ("GET b", "'1'")]);
}

#[test]
fn the_node_ends_with_everything_on_the_disk() {
    for (fsync, how) in [("everysec", "SHUTDOWN"), ("no", "SIGTERM"), ("always", "SHUTDOWN NOSAVE")] {
        let mut server = server(fsync, &[]);
        let mut client = server.connect();
        let lines: Vec<String> = (0..1000).map(|n| format!("RPUSH list {n}")).collect();
        client.pipeline(&lines);
        match how {
            "SIGTERM" => {
                server.stop();
            }
            line => {
                send(&mut client, line);
                assert!(server.wait_for_exit().success());
            }
        }
        check_aof(&server);
        let redis = read_by_redis(&server);
        check(&mut redis.connect(), &[("LLEN list", ":1000"), ("LINDEX list -1", "'999'")]);
    }
}

/// Starts a server that must not start; what it says.
pub fn refused(dir: &Path, uid: Option<u32>) -> String {
    use std::os::unix::process::CommandExt;
    let args = ["--appendonly", "yes", "--cores", "1"].map(str::to_owned);
    let mut command = Server::command(Kind::Slotcore, None, free_port(), dir, &args);
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    let output = command.stdin(Stdio::null()).output().expect("the program runs");
    assert!(!output.status.success());
    [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat()
}

#[test]
fn a_folder_that_another_process_uses_ends_the_start() {
    let server = server("everysec", &[]);
    let said = refused(&server.dir, None);
    assert!(said.contains("Sorry, the append-only dir appendonlydir is already used by a different process"), "{said}");
    server.connect().must("SET a 1");
}

#[test]
fn a_folder_that_cannot_be_had_ends_the_start() {
    let dir = fresh_dir();
    symlink("/proc/nowhere", dir.join("appendonlydir")).expect("a link");
    let said = refused(&dir, None);
    assert!(said.contains("Can't open or create append-only dir appendonlydir: No such file or directory"), "{said}");
    fs::remove_dir_all(&dir).expect("the folder can be removed");
    let dir = fresh_dir();
    fs::create_dir_all(dir.join("appendonlydir")).expect("a folder");
    fs::write(dir.join("appendonlydir/appendonly.aof.manifest"), "nonsense\n").expect("a manifest");
    let said = refused(&dir, None);
    assert!(said.contains("line 1 'nonsense': Invalid AOF manifest file format"), "{said}");
    fs::remove_dir_all(&dir).expect("the folder can be removed");
}

#[test]
fn waitaof_answers_when_the_disk_has_it() {
    let server = server("everysec", &[]);
    let (mut client, mut other) = (server.connect(), server.connect());
    check(&mut client, &[("SET a 1", "+OK"), ("WAITAOF 1 0 0", "[:1, :0]"), ("WAITAOF 1 0 0", "[:1, :0]")]);
    other.must("DEBUG DISK-FAULT FSYNC HOLD");
    check(&mut client, &[("SET a 2", "+OK"), ("WAITAOF 1 0 50", "[:0, :0]"), ("GET a", "'2'")]);
    send(&mut client, "WAITAOF 1 0 0");
    send(&mut client, "GET a");
    assert!(waits(&mut client));
    other.must("DEBUG DISK-FAULT FSYNC NONE");
    expect(&mut client, "[:1, :0]");
    expect(&mut client, "'2'");
    // There are no replicas to wait for. Whoever asks for nothing is told what is known at once.
    check(&mut client, &[("WAITAOF 1 1 50", "[:1, :0]"), ("WAITAOF 0 0 0", "?")]);
    check(&mut client, &[("MULTI", "+OK"), ("WAITAOF 1 1 0", "+QUEUED"), ("WAIT 1 0", "+QUEUED")]);
    check(&mut client, &[("EXEC", "[[:0, :0], :0]")]);
    other.must("CONFIG SET appendfsync no");
    check(&mut client, &[("SET a 3", "+OK"), ("WAITAOF 1 0 50", "[:0, :0]")]);
}

#[test]
fn wait_and_waitaof_refuse_what_redis_refuses() {
    let server = Server::slotcore(&[]);
    check(
        &mut server.connect(),
        &[
            ("WAIT x 0", "-ERR value is not an integer or out of range"),
            ("WAIT 0 -1", "-ERR timeout is negative"),
            ("WAIT 1 x", "-ERR timeout is not an integer or out of range"),
            ("WAIT 0 0", ":0"),
            ("WAIT 1 30", ":0"),
            ("WAITAOF x 0 0", "-ERR value is not an integer or out of range"),
            ("WAITAOF 2 0 0", "-ERR value is out of range, value must between 0 and 1"),
            ("WAITAOF 1 -1 0", "-ERR value is out of range, must be positive"),
            ("WAITAOF 1 x 0", "-ERR value is out of range, must be positive"),
            ("WAITAOF 1 0 -1", "-ERR timeout is negative"),
            ("WAITAOF 1 0 0", "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."),
            ("WAITAOF 0 0 0", "[:0, :0]"),
            ("WAITAOF 0 1 30", "[:0, :0]"),
        ],
    );
}

#[test]
fn info_tells_of_the_files() {
    let server = server("everysec", &[]);
    let mut client = server.connect();
    let base = client.info_number("aof_base_size");
    assert_eq!(client.info_number("aof_enabled"), 1);
    assert_eq!(client.info_number("aof_current_size"), base);
    client.must("SET a 1");
    client.must("WAITAOF 1 0 0");
    let files = fs::read_dir(server.dir.join("appendonlydir")).expect("the folder");
    let bytes: u64 = files
        .map(|file| file.expect("a file"))
        .filter(|file| !file.file_name().to_string_lossy().ends_with("manifest"))
        .map(|file| file.metadata().expect("a file").len())
        .sum();
    assert_eq!(client.info_number("aof_current_size"), i64::try_from(bytes).expect("a size"));
    for field in ["aof_buffer_length", "aof_pending_bio_fsync", "aof_delayed_fsync", "aof_pending_rewrite"] {
        assert_eq!(client.info_number(field), 0, "{field}");
    }
    let without = Server::slotcore(&[]);
    let mut client = without.connect();
    assert_eq!((client.info_number("aof_enabled"), client.info("aof_current_size")), (0, None));
}

pub fn rewrites(client: &mut Client) -> bool {
    holds_within(LONG, || {
        client.info_number("aof_rewrite_in_progress") == 0 && client.info_number("aof_rewrite_scheduled") == 0
    })
}

#[test]
fn a_rewrite_puts_the_data_into_a_new_base_and_goes_on_behind_it() {
    for more in [&[][..], &["--cluster-enabled", "yes", "--cores", "2"]] {
        let mut server = server("always", more);
        let mut client = server.connect();
        let is_cluster = !more.is_empty();
        if is_cluster {
            own_all_slots(&mut client);
        }
        let lines: Vec<String> = (0..2000).map(|n| format!("SET key:{n} value:{n}")).collect();
        client.pipeline(&lines);
        for round in 2..5 {
            let size = client.info_number("aof_current_size");
            assert_eq!(client.must("BGREWRITEAOF").text(), "Background append only file rewriting started");
            let lines: Vec<String> = (0..500).map(|n| format!("INCR counter:{}", n % 50)).collect();
            client.pipeline(&lines);
            assert!(rewrites(&mut client));
            assert_eq!(client.info("aof_last_bgrewrite_status").as_deref(), Some("ok"));
            let files: Vec<String> = fs::read_dir(server.dir.join("appendonlydir"))
                .expect("the folder")
                .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
                .collect();
            assert_eq!(files.len(), if is_cluster { 4 } else { 3 }, "{files:?}");
            assert!(manifest(&server).contains(&format!("appendonly.aof.{round}.base.rdb seq {round} type b")));
            assert!(round > 2 || client.info_number("aof_current_size") < size + 20_000);
        }
        let size = client.must("DBSIZE");
        server.stop();
        check_aof(&server);
        let redis = read_by_redis(&server);
        let theirs = &mut redis.connect();
        assert_eq!(theirs.must("DBSIZE"), size);
        check(theirs, &[("GET counter:7", "'30'"), ("GET key:1999", "'value:1999'")]);
    }
}

#[test]
fn a_rewrite_begins_by_itself_when_the_files_have_grown() {
    let args = ["--auto-aof-rewrite-min-size", "10000", "--auto-aof-rewrite-percentage", "100"];
    let server = server("everysec", &args);
    let mut client = server.connect();
    for _ in 0..50 {
        client.must(&format!("SET a {}", "x".repeat(1000)));
    }
    assert!(holds_within(LONG, || client.info_number("aof_rewrites") > 0 && manifest(&server).contains("2.base.rdb")));
    assert!(server.log().contains("Starting automatic rewriting of AOF on "), "{}", server.log());
}

#[test]
fn a_rewrite_that_fails_leaves_the_files_as_they_are() {
    let mut server = server("always", &[]);
    let mut client = server.connect();
    client.must("SET a 1");
    // Where the temporary file would be.
    let dir = server.dir.join("appendonlydir");
    let in_the_way = dir.join(format!("temp-{}-1.rdb", server.pid()));
    fs::create_dir(&in_the_way).expect("a folder");
    client.must("BGREWRITEAOF");
    assert!(holds_within(LONG, || client.info("aof_last_bgrewrite_status").as_deref() == Some("err")));
    assert_eq!(client.info_number("aof_rewrites_consecutive_failures"), 1);
    client.must("SET b 2");
    fs::remove_dir(&in_the_way).expect("the folder can be removed");
    client.must("BGREWRITEAOF");
    assert!(rewrites(&mut client));
    assert_eq!(client.info("aof_last_bgrewrite_status").as_deref(), Some("ok"));
    client.must("SET c 3");
    server.stop();
    check_aof(&server);
    check(&mut read_by_redis(&server).connect(), &[("MGET a b c", "['1', '2', '3']")]);
}

#[test]
fn a_flush_of_several_cores_begins_with_an_empty_base() {
    for fsync in ["always", "everysec"] {
        let mut server = server(fsync, &["--cluster-enabled", "yes", "--cores", "3"]);
        let (mut client, mut other) = (server.connect(), server.connect());
        own_all_slots(&mut client);
        for round in 0..5 {
            let lines: Vec<String> = (0..200).map(|n| format!("SET key:{n} before")).collect();
            client.pipeline(&lines);
            let lines: Vec<String> = (0..100)
                .map(|n| match n {
                    50 if round % 2 == 0 => "FLUSHALL".to_owned(),
                    50 => "FLUSHDB ASYNC".to_owned(),
                    n => format!("SET later:{n} {round}"),
                })
                .collect();
            send(&mut other, "FLUSHALL");
            assert!(client.pipeline(&lines).iter().all(|reply| reply.to_string() == "+OK"));
            expect(&mut other, "+OK");
        }
        client.must("SET last 1");
        let size = client.must("DBSIZE");
        let has: Vec<String> = (0..100).map(|n| client.line(&format!("GET later:{n}")).to_string()).collect();
        server.stop();
        check_aof(&server);
        assert!(!manifest(&server).contains("appendonly.aof.1.base.rdb"), "{}", manifest(&server));
        let redis = read_by_redis(&server);
        let theirs = &mut redis.connect();
        assert_eq!(theirs.must("DBSIZE"), size);
        for (number, value) in has.iter().enumerate() {
            assert_eq!(&theirs.line(&format!("GET later:{number}")).to_string(), value);
        }
    }
}

#[test]
fn a_rewrite_without_append_only_files_writes_a_base_that_stands_alone() {
    for more in [&[][..], &["--cluster-enabled", "yes", "--cores", "2"]] {
        let args = [&["--enable-debug-command", "yes", "--appendfsync", "always"], more].concat();
        let mut server = Server::slotcore(&args);
        let mut client = server.connect();
        if !more.is_empty() {
            own_all_slots(&mut client);
        }
        let lines: Vec<String> = (0..300).map(|n| format!("SET key:{n} x")).collect();
        client.pipeline(&lines);
        for round in 1..3 {
            assert_eq!(client.must("BGREWRITEAOF").text(), "Background append only file rewriting started");
            assert!(rewrites(&mut client));
            assert_eq!(client.info("aof_last_bgrewrite_status").as_deref(), Some("ok"));
            let files = format!("file appendonly.aof.{round}.base.rdb seq {round} type b\n");
            assert_eq!(manifest(&server).split_once('\n').expect("lines").1, files);
            check(&mut read_by_redis(&server).connect(), &[("DBSIZE", ":300")]);
        }
        check(
            &mut client,
            &[("SET after 1", "+OK"), ("DEBUG LOADAOF", "+OK"), ("DBSIZE", ":300"), ("GET after", "nil")],
        );
        // One that has to wait is not forgotten.
        client.must("MULTI");
        client.must("BGREWRITEAOF");
        assert_eq!(client.line("EXEC").to_string(), "[+Background append only file rewriting scheduled]");
        assert!(holds_within(LONG, || manifest(&server).contains("3.base.rdb")), "{}", server.log());
        client.must("CONFIG SET appendonly yes");
        assert!(holds_within(LONG, || manifest(&server).contains("4.base.rdb")), "{}", server.log());
        client.must("SET later 1");
        server.stop();
        check_aof(&server);
        check(&mut read_by_redis(&server).connect(), &[("DBSIZE", ":301"), ("GET later", "'1'")]);
    }
}

#[test]
fn appendonly_no_ends_a_rewrite_however_slow_it_is() {
    let server = server("always", &["--rdb-key-save-delay", "60000000"]);
    let mut client = server.connect();
    client.must("SET a 1");
    client.must("BGREWRITEAOF");
    assert_eq!(client.info_number("aof_rewrite_in_progress"), 1);
    client.must("CONFIG SET appendonly no");
    assert!(rewrites(&mut client), "{}", server.log());
}

#[test]
fn a_flush_ends_a_rewrite_that_has_the_old_data() {
    let mut server = server("always", &["--cluster-enabled", "yes", "--cores", "2", "--rdb-key-save-delay", "10000"]);
    let mut client = server.connect();
    own_all_slots(&mut client);
    let lines: Vec<String> = (0..200).map(|n| format!("SET key:{n} x")).collect();
    client.pipeline(&lines);
    client.must("BGREWRITEAOF");
    assert_eq!(client.info_number("aof_rewrite_in_progress"), 1);
    client.must("FLUSHALL");
    client.must("SET after 1");
    assert!(rewrites(&mut client));
    // The next work of the kind may begin.
    client.must("CONFIG SET rdb-key-save-delay 0");
    client.must("BGREWRITEAOF");
    assert!(rewrites(&mut client));
    server.stop();
    check_aof(&server);
    check(&mut read_by_redis(&server).connect(), &[("DBSIZE", ":1"), ("GET after", "'1'")]);
}

#[test]
fn appendonly_is_turned_on_and_off_while_the_node_runs() {
    for more in [&[][..], &["--cluster-enabled", "yes", "--cores", "2"]] {
        let args = [&["--enable-debug-command", "yes", "--appendfsync", "always"], more].concat();
        let mut server = Server::slotcore(&args);
        let mut client = server.connect();
        if !more.is_empty() {
            own_all_slots(&mut client);
        }
        let path = server.dir.join("appendonlydir/appendonly.aof.manifest");
        let lines: Vec<String> = (0..300).map(|n| format!("SET key:{n} x")).collect();
        client.pipeline(&lines);
        assert!(!path.exists());
        client.must("CONFIG SET appendonly yes");
        // Who waits for the rewrite to end can rely on its having begun.
        let running = client.info_number("aof_rewrite_in_progress") == 1;
        assert!(running || path.exists(), "{}", server.log());
        assert_eq!(client.info_number("aof_enabled"), 1);
        client.must("SET during 1");
        assert!(holds_within(LONG, || path.exists()));
        check(&mut client, &[("SET after 1", "+OK"), ("WAITAOF 1 0 0", "[:1, :0]")]);
        client.must("CONFIG SET appendonly no");
        check(&mut client, &[("SET without 1", "+OK"), ("GET without", "'1'")]);
        check_aof(&server);
        let redis = read_by_redis(&server);
        check(&mut redis.connect(), &[("DBSIZE", ":302"), ("MGET during after without", "['1', '1', nil]")]);
        // And again: what was written meanwhile is in the new base.
        client.must("CONFIG SET appendonly yes");
        assert!(holds_within(LONG, || manifest(&server).contains("2.base.rdb")), "{}", server.log());
        client.must("SET again 1");
        server.stop();
        check_aof(&server);
        let redis = read_by_redis(&server);
        check(&mut redis.connect(), &[("DBSIZE", ":304"), ("MGET without again", "['1', '1']")]);
    }
}

#[test]
fn a_node_that_began_with_files_makes_them_anew_after_a_pause() {
    let mut server = server("everysec", &[]);
    let mut client = server.connect();
    client.must("SET a 1");
    client.must("CONFIG SET appendonly no");
    client.must("SET b 2");
    fs::remove_dir_all(server.dir.join("appendonlydir")).expect("the folder can be removed");
    client.must("CONFIG SET appendonly yes");
    let path = server.dir.join("appendonlydir/appendonly.aof.manifest");
    assert!(holds_within(LONG, || path.exists()), "{}", server.log());
    client.must("SET c 3");
    server.stop();
    check_aof(&server);
    check(&mut read_by_redis(&server).connect(), &[("MGET a b c", "['1', '2', '3']")]);
}

#[test]
fn who_waits_for_the_disk_is_told_when_there_are_no_files_any_more() {
    let server = server("everysec", &[]);
    let (mut client, mut other) = (server.connect(), server.connect());
    other.must("DEBUG DISK-FAULT FSYNC HOLD");
    client.must("SET a 1");
    send(&mut client, "WAITAOF 1 0 0");
    assert!(holds_within(LONG, || other.info_number("blocked_clients") == 1));
    other.must("CONFIG SET appendonly no");
    expect(&mut client, "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
}
