//! A disk that is really full: a tmpfs of a few MiB takes all that the server writes, and something else fills it.
//!
//! Writes are refused with MISCONF, reads go on, and all is well again when there is space, without a restart. How each
//! single step of the writer fails is shown in `append_only`, behind the disk seam.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster_one_node::own_all_slots;
use crate::support::client::encode;
use crate::support::random::Random;
use crate::support::server::fresh_dir;
use crate::support::{Client, Kind, Server, check, holds_within, small_disk};

const LIMIT: Duration = Duration::from_secs(20);
const DISK_BYTES: u64 = 8 << 20;
const VALUE_BYTES: usize = 64 << 10;

/// A server with a disk that is nearly full.
struct Cramped {
    server: Server,
    /// The server's folder, from outside of its mount namespace.
    dir: PathBuf,
}

impl Cramped {
    fn start(kind: Kind, args: &[&str]) -> Self {
        let server = Server::start_on_small_disk(kind, DISK_BYTES, args);
        let dir = small_disk::seen_by(server.pid(), &server.dir);
        assert!(!dir.join("output.log").exists(), "{} is no file system of the server's own", dir.display());
        Self { server, dir }
    }

    /// Leaves about so many bytes free.
    fn fill_up_to(&self, free: u64) {
        let used: u64 = files_under(&self.dir).iter().map(|file| file.metadata().expect("a file").len()).sum();
        let filler = usize::try_from(DISK_BYTES - free - used).expect("space to fill");
        fs::write(self.dir.join("filler"), vec![1; filler]).expect("the filler fits");
    }

    fn free(&self) {
        fs::remove_file(self.dir.join("filler")).expect("the filler");
    }
}

fn files_under(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] }).collect()
}

/// Nothing that LZF can make smaller.
fn value(random: &mut Random) -> String {
    (0..VALUE_BYTES / 16).map(|_| format!("{:016x}", random.next())).collect()
}

/// A redis-server that has loaded what `files` names under `from`.
fn loaded_by_redis(from: &Path, args: &[&str]) -> Server {
    let dir = fresh_dir();
    for file in files_under(from) {
        let to = dir.join(file.strip_prefix(from).expect("a file in the folder"));
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(file, to).expect("a copy");
    }
    let dir_name = dir.display().to_string();
    let redis = Server::redis(&[args, &["--dir", &dir_name, "--enable-debug-command", "yes"]].concat());
    let mut client = redis.connect();
    assert!(holds_within(LIMIT, || client.info_number("loading") == 0), "{}", redis.log());
    fs::remove_dir_all(&dir).expect("the folder can be removed");
    redis
}

/// On one connection until the first refusal: how many were acknowledged before. Where a core's file is full the others hear of it
/// from core 0; on a busy machine they take some more until then, which is kept until there is space.
fn write_until_refused(client: &mut Client, random: &mut Random) -> (u64, String) {
    for number in 0.. {
        let reply = client.cmd(&["SET", &format!("key:{number}"), &value(random)]);
        if reply.is_error() {
            return (number, reply.to_string());
        }
        assert!(number < 20 * DISK_BYTES / VALUE_BYTES as u64, "a full disk takes everything");
    }
    unreachable!("the loop returns")
}

#[test]
fn a_snapshot_that_does_not_fit_refuses_writes_until_one_fits() {
    if !small_disk::can_be_mounted("a_snapshot_that_does_not_fit_refuses_writes_until_one_fits") {
        return;
    }
    for kind in [Kind::Slotcore, Kind::Redis] {
        let debug = ["--enable-debug-command", "yes"];
        let cramped = Cramped::start(kind, &[&["--save", "3600 1000000"], &debug[..]].concat());
        let (mut client, mut random) = (cramped.server.connect(), Random::new(31));
        check(&mut client, &[("SET small 1", "+OK"), ("SAVE", "+OK")]);
        let before = fs::read(cramped.dir.join("dump.rdb")).expect("the first file");
        for number in 0..32 {
            assert!(!client.cmd(&["SET", &format!("key:{number}"), &value(&mut random)]).is_error());
        }
        cramped.fill_up_to(1 << 20);
        check(&mut client, &[("SAVE", "-ERR"), ("SET small 2", "+OK"), ("BGSAVE", "+Background saving started")]);
        let refused = holds_within(LIMIT, || client.line("SET probe 1").to_string().starts_with("-MISCONF Redis is"));
        assert!(refused, "{}", cramped.server.log());
        assert_eq!(client.info("rdb_last_bgsave_status").as_deref(), Some("err"));
        check(&mut client, &[("GET small", "'2'"), ("STRLEN key:31", ":65536"), ("DEL small", "-MISCONF...")]);
        let log = cramped.server.log();
        assert!(log.contains("No space left on device"), "the log does not say why: {log}");
        // What was there is whole, and what did not fit is gone.
        assert_eq!(fs::read(cramped.dir.join("dump.rdb")).expect("the first file"), before);
        let names = files_under(&cramped.dir);
        assert!(names.iter().all(|name| name.ends_with("filler") || name.ends_with("dump.rdb")), "{names:?}");

        cramped.free();
        check(&mut client, &[("BGSAVE", "+Background saving started")]);
        assert!(holds_within(LIMIT, || client.line("SET small 4").to_string() == "+OK"), "{}", cramped.server.log());
        assert_eq!(client.info("rdb_last_bgsave_status").as_deref(), Some("ok"));
        check(&mut client, &[("SAVE", "+OK")]);
        let redis = loaded_by_redis(&cramped.dir, &[]);
        assert_eq!(redis.connect().must("DEBUG DIGEST"), client.must("DEBUG DIGEST"));
    }
}

#[test]
fn append_only_files_that_fill_the_disk_refuse_writes_until_there_is_space() {
    if !small_disk::can_be_mounted("append_only_files_that_fill_the_disk_refuse_writes_until_there_is_space") {
        return;
    }
    for fsync in ["everysec", "no"] {
        for (kind, more) in
            [(Kind::Slotcore, &[][..]), (Kind::Slotcore, &["--cluster-enabled", "yes"]), (Kind::Redis, &[])]
        {
            let args = ["--appendonly", "yes", "--appendfsync", fsync, "--enable-debug-command", "yes"];
            let cramped = Cramped::start(kind, &[&args, more].concat());
            let (mut client, mut random) = (cramped.server.connect(), Random::new(37));
            if !more.is_empty() {
                own_all_slots(&mut client);
            }
            client.must("SET small 1");
            cramped.fill_up_to(1 << 20);
            let (acknowledged, refusal) = write_until_refused(&mut client, &mut random);
            assert_eq!(refusal, "-MISCONF Errors writing to the AOF file: No space left on device", "{kind:?} {fsync}");
            assert!(acknowledged >= 8, "only {acknowledged} were taken");
            let mut other = cramped.server.connect();
            assert_eq!(other.info("aof_last_write_status").as_deref(), Some("err"));
            check(&mut other, &[("GET small", "'1'"), ("STRLEN key:7", ":65536"), ("DEL small", "-MISCONF...")]);

            cramped.free();
            assert!(holds_within(LIMIT, || other.line("SET small 2").to_string() == "+OK"), "{kind:?} {fsync}");
            assert_eq!(other.info("aof_last_write_status").as_deref(), Some("ok"));
            assert_eq!(other.must("DBSIZE").integer(), i64::try_from(acknowledged).expect("a count") + 1);
            assert_nothing_lost(&cramped, &mut other);
        }
    }
}

#[test]
fn with_always_a_full_disk_acknowledges_nothing() {
    if !small_disk::can_be_mounted("with_always_a_full_disk_acknowledges_nothing") {
        return;
    }
    // redis-server ends when an fsync of `always` cannot be had.
    let args = ["--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "yes"];
    let cramped = Cramped::start(Kind::Slotcore, &args);
    let (mut client, mut other) = (cramped.server.connect(), cramped.server.connect());
    let mut random = Random::new(41);
    client.must("SET small 1");
    cramped.fill_up_to(1 << 20);
    // All at once: what fits is acknowledged, the one that meets the end of the disk waits.
    let count = 2 * (1 << 20) / VALUE_BYTES;
    for number in 0..count {
        client.send(&encode(&["SET".to_owned(), format!("key:{number}"), value(&mut random)]));
    }
    assert!(holds_within(LIMIT, || other.info("aof_last_write_status").as_deref() == Some("err")));
    let refusal = "-MISCONF Errors writing to the AOF file: No space left on device";
    assert!(holds_within(LIMIT, || other.line("SET small 2").to_string() == refusal), "{}", cramped.server.log());
    check(&mut other, &[("GET small", "'1'"), ("DEL small", "-MISCONF...")]);
    let on_disk = bytes_of(&cramped.dir.join("appendonlydir/appendonly.aof.1.incr.aof"));
    let mut acknowledged = 0;
    while client.read_what_is_there().is_some_and(|reply| reply.to_string() == "+OK") {
        acknowledged += 1;
    }
    assert!(acknowledged * VALUE_BYTES <= on_disk, "{acknowledged} acknowledged, {on_disk} bytes on the disk");
    assert!(acknowledged < count);

    cramped.free();
    assert!(holds_within(LIMIT, || other.line("SET small 2").to_string() == "+OK"));
    let replies: Vec<String> = (acknowledged..count).map(|_| client.read().to_string()).collect();
    let taken = replies.iter().take_while(|reply| *reply == "+OK").count();
    assert!(taken > 0, "what waited for the disk is not answered with OK: {}", replies[0]);
    let kept = i64::try_from(acknowledged + replies.iter().filter(|reply| *reply == "+OK").count()).expect("a count");
    assert_eq!(other.must("DBSIZE").integer(), kept + 1);
    assert_nothing_lost(&cramped, &mut other);
}

fn bytes_of(file: &Path) -> usize {
    usize::try_from(file.metadata().expect("a file").len()).expect("a small file")
}

/// Asserts that a redis-server which loads the files has what the node has.
fn assert_nothing_lost(cramped: &Cramped, client: &mut Client) {
    // What was acknowledged has been handed to the kernel, whatever the fsync policy.
    assert!(holds_within(LIMIT, || client.info_number("aof_buffer_length") == 0));
    let redis = loaded_by_redis(&cramped.dir, &["--appendonly", "yes"]);
    assert_eq!(redis.connect().must("DEBUG DIGEST"), client.must("DEBUG DIGEST"));
}
