//! The append-only files at their edges: before the first base is there, while the node ends, when a manifest was damaged or
//! edited, and when the disk takes nothing any more.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::append_only::{LONG, check_aof, expect, manifest, read_by_redis, refused, rewrites, send, server, waits};
use crate::cluster_one_node::own_all_slots;
use crate::support::server::fresh_dir;
use crate::support::{Client, Kind, Server, check, holds_within};

const NO_END: &str = "-ERR Errors trying to SHUTDOWN. Check logs.";
/// No key comes out of a snapshot until this is taken back.
const STALLED: [&str; 2] = ["--rdb-key-save-delay", "60000000"];

#[test]
fn the_node_does_not_end_before_its_first_files_are_there() {
    for more in [&[][..], &["--cluster-enabled", "yes", "--cores", "2"]] {
        let mut server = Server::slotcore(&[&STALLED[..], more].concat());
        let mut client = server.connect();
        if !more.is_empty() {
            own_all_slots(&mut client);
        }
        client.must("SET a 1");
        client.must("CONFIG SET appendonly yes");
        check(&mut client, &[("SHUTDOWN", NO_END), ("SHUTDOWN NOSAVE", NO_END), ("SHUTDOWN SAVE NOW", NO_END)]);
        assert!(holds_within(LONG, || server.log().contains("Background append only file rewriting started")));
        check(&mut client, &[("SHUTDOWN", NO_END), ("SET b 2", "+OK")]);
        let before = server.log().matches("Writing initial AOF, can't exit.").count();
        server.signal(Signal::SIGTERM);
        let refusals = || server.log().matches("Writing initial AOF, can't exit.").count();
        assert!(holds_within(LONG, || refusals() > before), "{}", server.log());
        check(&mut client, &[("MGET {x}a {x}b", "[nil, nil]"), ("GET b", "'2'")]);
        client.must("CONFIG SET rdb-key-save-delay 0");
        assert!(holds_within(LONG, || server.dir.join("appendonlydir/appendonly.aof.manifest").exists()));
        assert!(rewrites(&mut client));
        server.stop();
        check_aof(&server);
        check(&mut read_by_redis(&server).connect(), &[("MGET a b", "['1', '2']")]);
    }
}

#[test]
fn with_force_or_without_files_the_node_ends_in_the_middle_of_the_first_rewrite() {
    let mut server = Server::slotcore(&STALLED);
    let mut client = server.connect();
    client.must("SET a 1");
    client.must("CONFIG SET appendonly yes");
    send(&mut client, "SHUTDOWN FORCE");
    assert!(server.wait_for_exit().success());
    assert!(server.log().contains("Writing initial AOF. Exit anyway."), "{}", server.log());
    let mut server = Server::slotcore(&STALLED);
    let mut client = server.connect();
    client.must("SET a 1");
    client.must("CONFIG SET appendonly yes");
    check(&mut client, &[("SHUTDOWN", NO_END), ("CONFIG SET appendonly no", "+OK")]);
    send(&mut client, "SHUTDOWN");
    assert!(server.wait_for_exit().success());
}

#[test]
fn waitaof_waits_for_the_first_base() {
    for more in [&[][..], &["--cluster-enabled", "yes", "--cores", "2"]] {
        let server = Server::slotcore(&[&STALLED[..], more].concat());
        let (mut client, mut other) = (server.connect(), server.connect());
        if !more.is_empty() {
            own_all_slots(&mut client);
        }
        client.must("SET a 1");
        other.must("CONFIG SET appendonly yes");
        check(&mut client, &[("WAITAOF 1 0 50", "[:0, :0]"), ("SET b 1", "+OK")]);
        assert!(holds_within(LONG, || server.log().contains("Background append only file rewriting started")));
        check(&mut client, &[("SET c 1", "+OK"), ("WAITAOF 1 0 50", "[:0, :0]")]);
        send(&mut client, "WAITAOF 1 0 0");
        assert!(waits(&mut client), "what is on the disk is in no manifest");
        other.must("CONFIG SET rdb-key-save-delay 0");
        expect(&mut client, "[:1, :0]");
        assert!(manifest(&server).contains("appendonly.aof.1.base.rdb"));
        check(&mut client, &[("SET d 1", "+OK"), ("WAITAOF 1 0 0", "[:1, :0]")]);
    }
}

#[test]
fn who_waits_for_the_first_base_is_told_that_there_will_be_none() {
    let server = Server::slotcore(&STALLED);
    let (mut client, mut other) = (server.connect(), server.connect());
    client.must("SET a 1");
    other.must("CONFIG SET appendonly yes");
    send(&mut client, "WAITAOF 1 0 0");
    assert!(holds_within(LONG, || other.info_number("blocked_clients") == 1));
    other.must("CONFIG SET appendonly no");
    expect(&mut client, "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
}

/// A cluster node of three cores whose folder is away, so that no file can be made.
fn without_folder(fsync: &str) -> (Server, Client) {
    let server = server(fsync, &["--cluster-enabled", "yes", "--cores", "3"]);
    let mut client = server.connect();
    own_all_slots(&mut client);
    let lines: Vec<String> = (0..100).map(|n| format!("SET key:{n} before")).collect();
    client.pipeline(&lines);
    fs::rename(server.dir.join("appendonlydir"), server.dir.join("away")).expect("the folder can be moved");
    (server, client)
}

#[test]
fn what_comes_after_a_flush_is_acknowledged_when_there_is_a_file_for_it() {
    for fsync in ["everysec", "no", "always"] {
        let (mut server, mut client) = without_folder(fsync);
        let lines: Vec<String> = (0..20).map(|n| format!("SET later:{n} 1")).collect();
        let mut bytes = b"*1\r\n$8\r\nFLUSHALL\r\n".to_vec();
        lines.iter().for_each(|line| bytes.extend(format!("{line}\r\n").bytes()));
        client.send(&bytes);
        assert!(waits(&mut client), "{fsync}: acknowledged, and in no file");
        let mut other = server.connect();
        assert!(holds_within(LONG, || other.must("DBSIZE").integer() == 20));
        fs::rename(server.dir.join("away"), server.dir.join("appendonlydir")).expect("the folder can be moved");
        (0..=lines.len()).for_each(|_| expect(&mut client, "+OK"));
        server.stop();
        check_aof(&server);
        check(&mut read_by_redis(&server).connect(), &[("DBSIZE", ":20")]);
    }
}

#[test]
fn a_node_that_ends_without_a_file_for_what_came_after_a_flush_has_acknowledged_none_of_it() {
    let (mut server, mut client) = without_folder("everysec");
    client.send(b"FLUSHALL\r\nSET later:1 1\r\nSET later:2 1\r\n");
    let mut other = server.connect();
    assert!(holds_within(LONG, || other.must("DBSIZE").integer() == 2));
    server.stop();
    assert_eq!(client.read_until_closed(), b"");
    fs::rename(server.dir.join("away"), server.dir.join("appendonlydir")).expect("the folder can be moved");
    check_aof(&server);
    check(&mut read_by_redis(&server).connect(), &[("DBSIZE", ":100")]);
}

#[test]
fn the_node_ends_with_what_was_acknowledged_behind_a_flush() {
    for round in 0..5 {
        let mut server = server("everysec", &["--cluster-enabled", "yes", "--cores", "3"]);
        let (mut client, mut other) = (server.connect(), server.connect());
        own_all_slots(&mut client);
        let lines: Vec<String> = (0..100).map(|n| format!("SET key:{n} before")).collect();
        client.pipeline(&lines);
        send(&mut client, "FLUSHALL");
        // Those that come before it on their core are gone, all others were told of.
        let later: Vec<String> = (0..60).map(|n| format!("SET later:{n} {round}")).collect();
        assert!(other.pipeline(&later).iter().all(|reply| reply.to_string() == "+OK"));
        expect(&mut client, "+OK");
        let has: Vec<String> = (0..60).map(|n| other.line(&format!("GET later:{n}")).to_string()).collect();
        server.stop();
        check_aof(&server);
        let redis = read_by_redis(&server);
        let theirs = &mut redis.connect();
        for (number, value) in has.iter().enumerate().filter(|(_, value)| *value != "nil") {
            assert_eq!(&theirs.line(&format!("GET later:{number}")).to_string(), value, "round {round}");
        }
    }
}

/// What `slotcore check-aof` says, and whether it is content.
fn our_check(dir: &Path, args: &[&str]) -> (bool, String) {
    let line = Kind::Slotcore.command_line();
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).arg("check-aof").args(args).current_dir(dir).stdin(Stdio::null());
    let output = command.output().expect("the program runs");
    let said = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
    (output.status.success(), said)
}

#[test]
fn a_manifest_that_was_edited_is_refused_until_its_checksum_goes() {
    let mut server = server("always", &["--cores", "1"]);
    server.connect().must("SET a 1");
    server.stop();
    let path = server.dir.join("appendonlydir/appendonly.aof.manifest");
    let written = manifest(&server);
    let edited = written.replace("appendonly.aof.1.incr.aof seq 1 type i", "appendonly.aof.7.incr.aof seq 7 type i");
    fs::write(&path, &edited).expect("a manifest");
    let folder = server.dir.join("appendonlydir");
    let moved = fs::rename(folder.join("appendonly.aof.1.incr.aof"), folder.join("appendonly.aof.7.incr.aof"));
    moved.expect("the file can be moved");
    let said = refused(&server.dir, None);
    let place = format!("AOF manifest {}, line 1 '# slotcore writers 1 crc64 ", path.display());
    assert!(said.contains(&place) && said.contains("remove this line, or run 'slotcore check-aof --fix'"), "{said}");
    let (is_content, said) = our_check(&server.dir, &["appendonlydir/appendonly.aof.manifest"]);
    assert!(!is_content && said.contains("checksum"), "{said}");
    // Either way leads on.
    fs::write(&path, edited.split_once('\n').expect("lines").1).expect("a manifest");
    server.restart();
    assert!(holds_within(LONG, || server.connect().line("GET a").to_string() == "'1'"));
    server.stop();
    fs::write(&path, manifest(&server) + "# for the records\n").expect("a manifest");
    for place in [server.dir.as_path(), &server.dir.join("appendonlydir")] {
        let name = path.strip_prefix(place).expect("below").display().to_string();
        let (is_content, said) = our_check(place, &["--fix", &name]);
        assert!(is_content && said.contains("All AOF files and manifest are valid"), "{said}");
    }
    assert!(manifest(&server).contains("# slotcore writers 0 crc64 "), "{}", manifest(&server));
    check_aof(&server);
    server.restart();
    assert!(holds_within(LONG, || server.connect().line("GET a").to_string() == "'1'"));
}

#[test]
fn a_manifest_that_a_stock_server_has_written_anew_is_taken() {
    let mut server = server("always", &[]);
    server.connect().must("SET a 1");
    server.stop();
    let mut redis = read_by_redis(&server);
    let mut theirs = redis.connect();
    theirs.must("SET b 2");
    theirs.must("BGREWRITEAOF");
    let place = theirs.line("CONFIG GET dir").to_string();
    let dir = place.split('\'').nth(3).expect("a folder").to_owned();
    let manifest = || fs::read_to_string(Path::new(&dir).join("appendonlydir/appendonly.aof.manifest")).expect("text");
    assert!(holds_within(LONG, || manifest().contains("2.base.rdb")));
    assert!(!manifest().contains('#'), "{}", manifest());
    theirs.must("SET c 3");
    redis.stop();
    let back = Server::slotcore(&["--appendonly", "yes", "--dir", &dir]);
    assert!(holds_within(LONG, || back.connect().info_number("loading") == 0));
    check(&mut back.connect(), &[("MGET a b c", "['1', '2', '3']")]);
}

fn names(server: &Server) -> Vec<String> {
    let files = fs::read_dir(server.dir.join("appendonlydir")).expect("the folder");
    files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn aof_disable_auto_gc_keeps_files_that_are_no_longer_needed() {
    let mut server = server("always", &["--aof-disable-auto-gc", "yes", "--cores", "1"]);
    let mut client = server.connect();
    client.must("SET a 1");
    for _ in 0..2 {
        client.must("BGREWRITEAOF");
        assert!(rewrites(&mut client));
    }
    let history = "file appendonly.aof.1.base.rdb seq 1 type h\nfile appendonly.aof.1.incr.aof seq 1 type h\n\
                   file appendonly.aof.2.base.rdb seq 2 type h\nfile appendonly.aof.2.incr.aof seq 2 type h\n";
    assert!(manifest(&server).contains(history), "{}", manifest(&server));
    assert_eq!(names(&server).len(), 7);
    check_aof(&server);
    // The next start keeps them as well.
    server.restart();
    assert!(manifest(&server).contains(history) && names(&server).len() == 7, "{}", manifest(&server));
    let mut client = server.connect();
    client.must("CONFIG SET aof-disable-auto-gc no");
    assert!(holds_within(LONG, || !manifest(&server).contains("type h") && names(&server).len() == 3));
    client.must("CONFIG SET aof-disable-auto-gc yes");
    client.must("SET b 2");
    client.must("BGREWRITEAOF");
    assert!(rewrites(&mut client));
    assert_eq!((manifest(&server).matches("type h").count(), names(&server).len()), (2, 5));
    server.stop();
    check(&mut read_by_redis(&server).connect(), &[("MGET a b", "['1', '2']")]);
}

/// Sends the request again and again, until the server takes no more for a while, or `bytes_max` bytes; how many requests it has
/// taken, and the bytes of the last that it has not.
fn write_until_full(client: &Client, request: &[u8], bytes_max: usize) -> (usize, Vec<u8>) {
    let mut writer = client.writer();
    writer.set_write_timeout(Some(Duration::from_millis(500))).expect("a time limit");
    let many = request.repeat((64 << 10) / request.len() + 1);
    let mut sent = 0;
    let full = |error: &std::io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    while sent < bytes_max {
        match writer.write(&many[sent % request.len()..]) {
            Ok(count) => sent += count,
            Err(error) if full(&error) => break,
            Err(error) => panic!("the server does not take the bytes: {error}"),
        }
    }
    writer.set_write_timeout(None).expect("no time limit");
    (sent.div_ceil(request.len()), request[sent % request.len()..].to_vec())
}

#[test]
fn who_writes_on_while_the_disk_stalls_is_not_read_from_any_more() {
    const MOST_BYTES: usize = 64 << 20;
    let value = "x".repeat(50_000);
    let large = format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$50000\r\n{value}\r\n");
    for request in [large.as_str(), "INCR b\r\n", "*2\r\n$4\r\nINCR\r\n$1\r\nc\r\n"] {
        for more in [&[][..], &["--cluster-enabled", "yes"]] {
            let server = server("always", more);
            let (mut client, mut other) = (server.connect(), server.connect());
            if !more.is_empty() {
                own_all_slots(&mut client);
            }
            let before = other.info_number("used_memory");
            other.must("DEBUG DISK-FAULT FSYNC HOLD");
            let (count, mut rest) = write_until_full(&client, request.as_bytes(), MOST_BYTES);
            let taken = count * request.len();
            assert!(taken < MOST_BYTES / 2, "{taken} bytes were taken");
            let grown = other.info_number("used_memory") - before;
            assert!(grown < 40 << 20, "{grown} bytes more in memory");
            other.must("DEBUG DISK-FAULT FSYNC NONE");
            // All that was taken is answered, and the client is heard again.
            if rest.len() == request.len() {
                rest.clear();
            }
            client.send(&[&rest, &b"PING\r\n"[..]].concat());
            let replies: Vec<_> = (0..count).map(|_| client.read()).collect();
            assert!(replies.iter().all(|reply| !reply.is_error()), "{}", server.log());
            expect(&mut client, "+PONG");
        }
    }
}

#[test]
fn a_folder_of_a_start_that_was_interrupted_is_no_hindrance() {
    let dir = fresh_dir();
    fs::create_dir_all(dir.join("appendonlydir")).expect("a folder");
    fs::write(dir.join("appendonlydir/temp-appendonly.aof.manifest"), "file a").expect("half a manifest");
    let path = dir.display().to_string();
    let mut server = Server::slotcore(&["--appendonly", "yes", "--dir", &path]);
    server.connect().must("SET a 1");
    server.stop();
    assert!(!dir.join("appendonlydir/temp-appendonly.aof.manifest").exists());
    fs::remove_dir_all(&dir).expect("the folder can be removed");
}
