//! What is on disk when a node starts: files of redis-server are loaded as they were, damaged ones are refused with the place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::cluster_one_node::own_all_slots;
use crate::support::random::Random;
use crate::support::server::{free_port, fresh_dir};
use crate::support::{Client, Kind, Server, check, holds_within, number_from_env};

const LIMIT: Duration = Duration::from_secs(30);
const MANIFEST: &str = "appendonlydir/appendonly.aof.manifest";
const BASE: &str = "appendonlydir/appendonly.aof.1.base.rdb";
const INCREMENT: &str = "appendonlydir/appendonly.aof.1.incr.aof";

/// A folder that goes when the test ends.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        Dir(fresh_dir())
    }

    fn copy_of(other: &Path) -> Dir {
        let dir = Dir::new();
        copy_into(other, &dir.0);
        dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).expect("a folder");
            copy_into(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Starts a server in a folder that has files, and waits until they are loaded.
fn start_in(kind: Kind, dir: &Dir, args: &[&str]) -> Server {
    let server = Server::start(kind, &all_args(dir, args));
    wait_until_loaded(&server);
    server
}

fn wait_until_loaded(server: &Server) {
    let mut client = server.connect();
    let loaded = holds_within(LIMIT, || client.info_number("loading") == 0);
    assert!(loaded, "still loading");
}

fn all_args<'a>(dir: &'a Dir, args: &[&'a str]) -> Vec<&'a str> {
    let path: &str = dir.0.to_str().expect("a path of text");
    let mut all = vec!["--dir", path, "--enable-debug-command", "yes"];
    all.extend(args);
    all
}

/// Starts a server that must end by itself; what it said.
fn refused(kind: Kind, dir: &Dir, args: &[&str]) -> String {
    let mut all: Vec<String> = vec!["--save".to_owned(), String::new()];
    if kind.is_slotcore() {
        all.extend(["--cores".to_owned(), crate::support::server::cores().to_string()]);
    }
    all.extend(args.iter().map(|arg| (*arg).to_owned()));
    let mut command = Server::command(kind, None, free_port(), &dir.0, &all);
    let output = ended(&mut command);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{kind:?}: {said}");
    assert!(!said.contains("panicked") && !said.contains("=== BUG"), "{said}");
    said
}

/// The output of a command that ends by itself.
fn ended(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let ended = holds_within(LIMIT, || child.try_wait().expect("a status").is_some());
    if !ended {
        child.kill().expect("the program can be ended");
    }
    let output = child.wait_with_output().expect("the program's output");
    assert!(ended, "{command:?} runs on: {}", said(&output));
    output
}

fn said(output: &Output) -> String {
    [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat()
}

fn digest(client: &mut Client) -> String {
    client.must("DEBUG DIGEST").text()
}

/// Values of all types, in all encodings that Redis 7.0 writes.
fn fill(client: &mut Client, dbs: &[u16]) {
    let long = "x".repeat(300);
    for db in dbs {
        let mut lines = vec![format!("SELECT {db}")];
        for number in [0, -1, 127, 128, -129, 70_000, -5_000_000, 5_000_000_000_i64] {
            lines.push(format!("SET int:{number} {number}"));
        }
        lines.push("SET short hello".to_owned());
        lines.push(format!("SET long {long}{long}"));
        lines.push("SET expires later EX 100000".to_owned());
        lines.push("SETRANGE zeros 20000 x".to_owned());
        lines.push("PFADD hll a b c d e".to_owned());
        lines.push("SADD intset 1 2 3 70000 5000000000".to_owned());
        lines.push("SADD small a b c".to_owned());
        lines.push(format!("RPUSH largelist {long} {long}{long}"));
        lines.push("XADD stream 5-1 a b c d".to_owned());
        lines.push("XADD stream 5-2 a b c e".to_owned());
        lines.push("XADD stream 6-1 other fields".to_owned());
        lines.push("XDEL stream 5-2".to_owned());
        lines.push("XGROUP CREATE stream group 0".to_owned());
        lines.push("XREADGROUP GROUP group one COUNT 1 STREAMS stream >".to_owned());
        lines.push("XADD emptied 1-1 a b".to_owned());
        lines.push("XTRIM emptied MAXLEN 0".to_owned());
        for number in 0..300 {
            for key in ["smallish", "large"] {
                if key == "large" || number < 20 {
                    lines.push(format!("HSET hash:{key} field:{number} {number}"));
                    lines.push(format!("RPUSH list:{key} element:{number} {number}"));
                    lines.push(format!("SADD set:{key} member:{number}"));
                    lines.push(format!("ZADD zset:{key} {number}.25 member:{number}"));
                }
            }
            lines.push(format!("SET many:{number} value:{number}"));
        }
        lines.push("ZADD zset:small -inf a +inf b 0.5 c".to_owned());
        for reply in client.pipeline(&lines) {
            assert!(!reply.is_error(), "{reply}");
        }
    }
}

/// Whether two servers have the same keys with the same values.
fn assert_same(expected: &mut Client, found: &mut Client, dbs: &[u16]) {
    for db in dbs {
        for client in [&mut *expected, &mut *found] {
            client.must(&format!("SELECT {db}"));
        }
        let mut keys: Vec<String> = expected.must("KEYS *").items().iter().map(|key| key.text()).collect();
        keys.sort();
        let mut theirs: Vec<String> = found.must("KEYS *").items().iter().map(|key| key.text()).collect();
        theirs.sort();
        assert_eq!(theirs, keys, "keys of database {db}");
        for key in keys {
            let line = format!("DEBUG DIGEST-VALUE {key}");
            assert_eq!(found.must(&line).to_string(), expected.must(&line).to_string(), "{key} in {db}");
            let line = format!("PEXPIRETIME {key}");
            assert_eq!(found.must(&line).to_string(), expected.must(&line).to_string(), "{key} in {db}");
        }
    }
    assert_eq!(digest(found), digest(expected));
}

#[test]
fn a_snapshot_of_redis_is_loaded_with_any_number_of_cores() {
    let dir = Dir::new();
    let redis = Server::redis(&all_args(&dir, &[]));
    let mut expected = redis.connect();
    fill(&mut expected, &[0, 3]);
    expected.must("SELECT 0");
    expected.must("SET gone soon PX 1");
    expected.must("DEBUG SET-ACTIVE-EXPIRE 0");
    expected.must("SET goes too PX 1");
    expected.must("SAVE");
    for compression in ["yes", "no"] {
        expected.must(&format!("CONFIG SET rdbcompression {compression}"));
        expected.must("SAVE");
        expected.must("DEBUG SET-ACTIVE-EXPIRE 1");
        for cores in ["1", "2", "4"] {
            let server = start_in(Kind::Slotcore, &dir, &["--cores", cores]);
            let mut found = server.connect();
            assert!(holds_within(LIMIT, || expected.must("EXISTS gone goes").integer() == 0));
            assert_same(&mut expected, &mut found, &[0, 3]);
            let keys = found.must("DBSIZE").integer() + {
                found.must("SELECT 0");
                found.must("DBSIZE").integer()
            };
            assert_eq!(found.info_number("rdb_last_load_keys_loaded"), keys);
            let log = server.log();
            for line in
                ["Loading RDB produced by version 7.0", "Done loading RDB, keys loaded: ", "DB loaded from disk: "]
            {
                assert!(log.contains(line), "no '{line}' in {log}");
            }
            let ready = log.find("Ready to accept connections").expect("ready");
            assert!(log.find("DB loaded from disk").is_some_and(|loaded| loaded < ready));
        }
    }
}

#[test]
fn keys_whose_time_has_come_are_left_out_and_counted() {
    let dir = Dir::new();
    {
        let mut redis = Server::redis(&all_args(&dir, &[]));
        let mut client = redis.connect();
        client.must("DEBUG SET-ACTIVE-EXPIRE 0");
        client.must("SET stays 1");
        client.must("SET goes 1 PX 5");
        client.must("SAVE");
        redis.stop();
    }
    std::thread::sleep(Duration::from_millis(10)); // the key's time to live
    for kind in [Kind::Slotcore, Kind::Redis] {
        let server = start_in(kind, &dir, &[]);
        let mut client = server.connect();
        assert_eq!(client.info_number("rdb_last_load_keys_loaded"), 1, "{kind:?}");
        assert_eq!(client.info_number("rdb_last_load_keys_expired"), 1, "{kind:?}");
        assert_eq!(client.info_number("expired_keys"), 0, "{kind:?}");
        assert_eq!(client.must("DBSIZE").integer(), 1, "{kind:?}");
    }
}

#[test]
fn libraries_of_functions_are_kept_and_written_again() {
    let dir = Dir::new();
    let library = "#!lua name=mylib\nredis.register_function('one', function(keys, args) return 1 end)";
    {
        let mut redis = start_in(Kind::Redis, &dir, &[]);
        let mut client = redis.connect();
        client.cmd(&["FUNCTION", "LOAD", library]);
        client.must("SET a 1");
        client.must("SAVE");
        redis.stop();
    }
    {
        let mut server = start_in(Kind::Slotcore, &dir, &[]);
        let mut client = server.connect();
        client.must("SET b 2");
        client.must("SAVE");
        client.must("DEBUG RELOAD");
        client.must("SAVE");
        server.stop();
    }
    let redis = start_in(Kind::Redis, &dir, &[]);
    let mut client = redis.connect();
    assert_eq!(client.must("FCALL one 0").integer(), 1);
    assert_eq!(client.must("MGET a b").to_string(), "['1', '2']");
}

#[test]
fn a_cluster_node_takes_slots_over_whose_keys_it_has() {
    let dir = Dir::new();
    let redis = Server::redis(&all_args(&dir, &[]));
    let mut expected = redis.connect();
    fill(&mut expected, &[0]);
    expected.must("SAVE");
    for cores in ["1", "2", "4"] {
        let copy = Dir::copy_of(&dir.0);
        let args = ["--cores", cores, "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"];
        let server = start_in(Kind::Slotcore, &copy, &args);
        let mut found = server.connect();
        assert_eq!(digest(&mut found), digest(&mut expected), "{cores} cores");
        let keys = expected.must("KEYS *");
        let mut slots: Vec<i64> =
            keys.items().iter().map(|key| found.must(&format!("CLUSTER KEYSLOT {}", key.text())).integer()).collect();
        slots.sort_unstable();
        slots.dedup();
        let assigned = format!("cluster_slots_assigned:{}\r\n", slots.len());
        assert!(found.must("CLUSTER INFO").text().contains(&assigned), "{}", found.must("CLUSTER INFO").text());
        assert!(server.log().contains("I have keys for unassigned slot"));
        assert!(holds_within(LIMIT, || found.line("GET short").to_string() == "'hello'"));
    }
}

#[test]
fn a_database_that_this_node_has_not_ends_the_start() {
    let dir = Dir::new();
    {
        let redis = Server::redis(&all_args(&dir, &["--appendonly", "yes"]));
        let mut client = redis.connect();
        client.must("SELECT 9");
        client.must("SET a b");
        client.must("SAVE");
    }
    let text = "FATAL: Data file was created with a Redis server configured to handle more than 4 databases. Exiting";
    for kind in [Kind::Slotcore, Kind::Redis] {
        let said = refused(kind, &dir, &["--databases", "4"]);
        assert!(said.contains(text), "{kind:?}: {said}");
    }
    assert!(refused(Kind::Slotcore, &dir, &["--databases", "4", "--appendonly", "yes"]).contains(text));
    let said = refused(Kind::Slotcore, &dir, &["--cluster-enabled", "yes"]);
    assert!(said.contains("You can't have keys in a DB different than DB 0 when in Cluster mode. Exiting."), "{said}");
}

/// A folder of append-only files as redis-server leaves it: a base, and commands after it; and that server, started again.
fn append_only_of_redis(preamble: &str) -> (Dir, String) {
    let dir = Dir::new();
    let mut redis = Server::redis(&all_args(&dir, &["--appendonly", "yes", "--aof-use-rdb-preamble", preamble]));
    let mut client = redis.connect();
    fill(&mut client, &[0, 3]);
    client.must("BGREWRITEAOF");
    assert!(holds_within(LIMIT, || client.info_number("aof_rewrite_in_progress") == 0));
    client.must("SELECT 3");
    let lines = ["MULTI", "SET tx 1", "INCR tx", "SELECT 5", "RPUSH tx a b", "EXEC", "SELECT 0", "DEL short"];
    client.pipeline(&lines);
    for line in ["SPOP set:large", "EXPIRE long 50000", "SWAPDB 6 5", "LPOP list:large", "SET after rewrite"] {
        client.must(line);
    }
    let digest = digest(&mut client);
    redis.stop();
    (dir, digest)
}

#[test]
fn append_only_files_of_redis_are_loaded_and_continued() {
    for preamble in ["yes", "no"] {
        let (dir, expected) = append_only_of_redis(preamble);
        for cores in ["1", "2", "4"] {
            let copy = Dir::copy_of(&dir.0);
            let mut server = start_in(Kind::Slotcore, &copy, &["--appendonly", "yes", "--cores", cores]);
            let mut client = server.connect();
            assert_eq!(digest(&mut client), expected, "{cores} cores");
            let log = server.log();
            for line in [
                "DB loaded from base file appendonly.aof.2.base",
                "DB loaded from incr file",
                "DB loaded from append only file: ",
            ] {
                assert!(log.contains(line), "no '{line}' in {log}");
            }
            client.must("SET more data");
            let expected = digest(&mut client);
            server.stop();
            // And once more, by both.
            for kind in [Kind::Slotcore, Kind::Redis] {
                let mut server = start_in(kind, &copy, &["--appendonly", "yes"]);
                assert_eq!(digest(&mut server.connect()), expected, "{kind:?}");
                server.stop();
            }
        }
    }
}

#[test]
fn a_single_writer_goes_on_in_the_file_of_a_stock_server() {
    let dir = few_commands(&["SET a 1"]);
    let before = fs::read(dir.path(INCREMENT)).expect("a file");
    let mut server = start_in(Kind::Slotcore, &dir, &["--appendonly", "yes"]);
    server.connect().must("SET b 2");
    server.stop();
    let after = fs::read(dir.path(INCREMENT)).expect("a file");
    assert!(after.len() > before.len() && after.starts_with(&before));
    assert!(!dir.path("appendonlydir/appendonly.aof.2.incr.aof").exists());
    for kind in [Kind::Redis, Kind::Slotcore] {
        let mut server = start_in(kind, &dir, &["--appendonly", "yes"]);
        assert_eq!(server.connect().must("MGET a b").to_string(), "['1', '2']", "{kind:?}");
        server.stop();
    }
}

/// Whoever watches a start waits for the first of these lines, and looks for the reason in the last.
#[test]
fn a_start_that_fails_says_why_in_the_last_line_of_its_log() {
    let dir = few_commands(&["SET a 1"]);
    let whole = fs::read(dir.path(INCREMENT)).expect("a file");
    let manifest = "appendonlydir/appendonly.aof.manifest";
    for (file, tail, reason) in [
        (INCREMENT, "*2\r\n$3\r\nGET\r\n", "Unexpected end of file reading the append only file"),
        (INCREMENT, "!!!\r\n", "Bad file format reading the append only file"),
        (INCREMENT, "*2\r\n$3\r\nbla\r\n$1\r\na\r\n", "Unknown command 'bla' reading the append only file"),
        (manifest, "nonsense\n", "Invalid AOF manifest file format"),
    ] {
        let copy = Dir::copy_of(&dir.0);
        let good = fs::read(copy.path(file)).expect("a file");
        fs::write(copy.path(file), [&good, tail.as_bytes()].concat()).expect("a file");
        for kind in [Kind::Slotcore, Kind::Redis] {
            let args = ["--appendonly", "yes", "--aof-load-truncated", "no"].map(str::to_owned);
            let output = ended(&mut Server::command(kind, None, free_port(), &copy.0, &args));
            let log = String::from_utf8_lossy(&output.stdout).into_owned();
            let initialized = log.find("Server initialized").unwrap_or_else(|| panic!("{kind:?}: {log}"));
            let last = log.trim_end().rfind('\n').expect("several lines");
            let said = log.rfind(reason).unwrap_or_else(|| panic!("{kind:?} does not say {reason}: {log}"));
            assert!(initialized < said, "{kind:?}: {log}");
            assert!(file == manifest || last < said, "{kind:?} says something else at last: {log}");
        }
        assert_eq!(fs::read(dir.path(INCREMENT)).expect("a file"), whole);
    }
}

#[test]
fn a_single_append_only_file_of_old_versions_is_taken_over() {
    for preamble in ["yes", "no"] {
        let (dir, expected) = append_only_of_redis(preamble);
        let kind = if preamble == "yes" { "rdb" } else { "aof" };
        let base = fs::read(dir.path(&format!("appendonlydir/appendonly.aof.2.base.{kind}"))).expect("a base");
        let increment = fs::read(dir.path("appendonlydir/appendonly.aof.2.incr.aof")).expect("an increment");
        for cores in ["1", "2"] {
            let old = Dir::new();
            fs::write(old.path("appendonly.aof"), [&base[..], &increment].concat()).expect("a file");
            let mut server = start_in(Kind::Slotcore, &old, &["--appendonly", "yes", "--cores", cores]);
            assert_eq!(digest(&mut server.connect()), expected, "{cores} cores, preamble {preamble}");
            assert!(server.log().contains("Successfully migrated an old-style AOF configuration"), "{}", server.log());
            assert!(!old.path("appendonly.aof").exists() && old.path("appendonlydir/appendonly.aof").exists());
            server.stop();
            let redis = start_in(Kind::Redis, &old, &["--appendonly", "yes"]);
            assert_eq!(digest(&mut redis.connect()), expected);
        }
    }
}

#[test]
fn what_each_core_wrote_is_loaded_by_another_number_of_cores() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    let dir = Dir::new();
    let cluster = ["--appendonly", "yes", "--cluster-enabled", "yes", "--cores"];
    let mut server = Server::slotcore(&all_args(&dir, &[&cluster[..], &["4"]].concat()));
    let mut client = server.connect();
    client.must("CLUSTER ADDSLOTSRANGE 0 16383");
    assert!(holds_within(LIMIT, || client.line("GET short").to_string() == "nil"));
    fill(&mut client, &[0]);
    client.pipeline(&["MULTI", "SET {tx}a 1", "INCR {tx}a", "EXEC"]);
    let mut expected = digest(&mut client);
    server.stop();
    for cores in ["2", "1", "4", "4"] {
        let mut server = start_in(Kind::Slotcore, &dir, &[&cluster[..], &[cores]].concat());
        let mut client = server.connect();
        assert_eq!(digest(&mut client), expected, "{cores} cores");
        // A node that has just started waits before it calls its cluster ok.
        let line = format!("SET cores:{cores} were");
        assert!(holds_within(LIMIT, || client.line(&line).to_string() == "+OK"));
        expected = digest(&mut client);
        server.stop();
    }
    // A stock server reads the files one after the other.
    let redis = start_in(Kind::Redis, &dir, &["--appendonly", "yes"]);
    assert_eq!(digest(&mut redis.connect()), expected);
}

/// A folder with a base without keys and a few commands.
fn few_commands(lines: &[&str]) -> Dir {
    let dir = Dir::new();
    let mut redis = Server::redis(&all_args(&dir, &["--appendonly", "yes"]));
    redis.connect().pipeline(lines);
    redis.stop();
    dir
}

#[test]
fn a_file_cut_anywhere_in_its_last_command_is_used_up_to_there() {
    let dir = few_commands(&["SET a 1", "SET b 2"]);
    let whole = fs::read(dir.path(INCREMENT)).expect("a file");
    let last = "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n2\r\n".len();
    for cut in whole.len() - last + 1..whole.len() {
        let copy = Dir::copy_of(&dir.0);
        fs::write(copy.path(INCREMENT), &whole[..cut]).expect("a cut file");
        let said = refused(Kind::Slotcore, &copy, &["--appendonly", "yes", "--aof-load-truncated", "no"]);
        assert!(
            said.contains("Unexpected end of file reading the append only file appendonly.aof.1.incr.aof. You can: 1)"),
            "{said}"
        );
        assert_eq!(fs::read(copy.path(INCREMENT)).expect("a file").len(), cut, "refused and yet changed");
        let server = start_in(Kind::Slotcore, &copy, &["--appendonly", "yes"]);
        let mut client = server.connect();
        assert_eq!(client.must("KEYS *").to_string(), "['a']", "cut at {cut}");
        let log = server.log();
        for line in [
            "!!! Warning: short read while loading the AOF file appendonly.aof.1.incr.aof!!!",
            "AOF appendonly.aof.1.incr.aof loaded anyway because aof-load-truncated is enabled",
        ] {
            assert!(log.contains(line), "no '{line}' in {log}");
        }
        let trimmed = fs::read(copy.path(INCREMENT)).expect("a file");
        assert_eq!(trimmed, whole[..whole.len() - last], "cut at {cut}");
    }
}

#[test]
fn a_transaction_cut_short_is_left_out_whole() {
    let dir = few_commands(&["SET a 1", "MULTI", "SET b 2", "SET c 3", "EXEC"]);
    let whole = fs::read(dir.path(INCREMENT)).expect("a file");
    let exec = "*1\r\n$4\r\nEXEC\r\n".len();
    for cut in [whole.len() - 1, whole.len() - exec, whole.len() - exec - 5] {
        for kind in [Kind::Slotcore, Kind::Redis] {
            let copy = Dir::copy_of(&dir.0);
            fs::write(copy.path(INCREMENT), &whole[..cut]).expect("a cut file");
            let server = start_in(kind, &copy, &["--appendonly", "yes"]);
            assert_eq!(server.connect().must("KEYS *").to_string(), "['a']", "{kind:?}, cut at {cut}");
        }
    }
}

#[test]
fn only_files_that_were_written_to_may_be_cut() {
    let (dir, _) = append_only_of_redis("yes");
    let [base, increment] = ["appendonlydir/appendonly.aof.2.base.rdb", "appendonlydir/appendonly.aof.2.incr.aof"];
    let copy = Dir::copy_of(&dir.0);
    let bytes = fs::read(copy.path(base)).expect("a base");
    fs::write(copy.path(base), &bytes[..bytes.len() - 20]).expect("a cut file");
    let said = refused(Kind::Slotcore, &copy, &["--appendonly", "yes"]);
    assert!(said.contains("appendonly.aof.2.base.rdb") && said.contains("offset"), "{said}");
    // A file of commands in the middle.
    let copy = Dir::copy_of(&dir.0);
    let bytes = fs::read(copy.path(increment)).expect("an increment");
    fs::write(copy.path("appendonlydir/appendonly.aof.3.incr.aof"), "*1\r\n$4\r\nPING\r\n").expect("a file");
    fs::write(copy.path(increment), &bytes[..bytes.len() - 3]).expect("a cut file");
    let manifest = fs::read_to_string(copy.path(MANIFEST)).expect("a manifest");
    let longer = format!("{manifest}file appendonly.aof.3.incr.aof seq 3 type i\n");
    fs::write(copy.path(MANIFEST), &longer).expect("a manifest");
    let said = refused(Kind::Slotcore, &copy, &["--appendonly", "yes"]);
    assert!(said.contains("Fatal error: the truncated file is not the last file"), "{said}");
    // Two cores wrote to one each: either may be cut.
    let copy = of_two_cores_with_one_key_each();
    for number in [1, 2] {
        let path = copy.path(&format!("appendonlydir/appendonly.aof.{number}.incr.aof"));
        let bytes = fs::read(&path).expect("an increment");
        fs::write(&path, [&bytes[..], b"*2\r\n$3\r\nDEL\r\n"].concat()).expect("a cut file");
    }
    let server = start_in(Kind::Slotcore, &copy, &["--appendonly", "yes", "--cluster-enabled", "yes", "--cores", "3"]);
    assert_eq!(server.connect().must("DBSIZE").integer(), 2);
    drop(server);
    // The base itself, when nothing came after it.
    let copy = Dir::new();
    fs::write(copy.path("appendonly.aof"), "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*3\r\n$3\r\nSET\r\n")
        .expect("a file");
    let server = start_in(Kind::Slotcore, &copy, &["--appendonly", "yes"]);
    assert_eq!(server.connect().must("KEYS *").to_string(), "['a']");
}

/// What a cluster node of two cores has written, each of them a key.
fn of_two_cores_with_one_key_each() -> Dir {
    let dir = Dir::new();
    let args = ["--appendonly", "yes", "--cluster-enabled", "yes", "--cores", "2"];
    let mut server = Server::slotcore(&all_args(&dir, &args));
    let mut client = server.connect();
    own_all_slots(&mut client);
    // Slots 0 and 64, of the first core and of the second.
    for (slot, key) in [(0, "3560"), (64, "11423")] {
        assert_eq!(client.must(&format!("CLUSTER KEYSLOT {key}")).integer(), slot);
        client.must(&format!("SET {key} x"));
    }
    server.stop();
    dir
}

#[test]
fn one_flipped_bit_of_the_base_or_the_manifest_is_refused() {
    let seed = number_from_env("SLOTCORE_FLIP_SEED", 20_261);
    eprintln!("SLOTCORE_FLIP_SEED={seed}");
    let mut random = Random::new(seed);
    let (of_redis, _) = append_only_of_redis("yes");
    // From then on the manifest is the node's own. That of redis-server has no checksum.
    start_in(Kind::Slotcore, &of_redis, &["--appendonly", "yes"]).stop();
    let empty = Dir::new();
    start_in(Kind::Slotcore, &empty, &["--appendonly", "yes"]).stop();
    let base = "appendonlydir/appendonly.aof.2.base.rdb";
    for (dir, name, rounds) in
        [(&of_redis, base, 20), (&of_redis, MANIFEST, 20), (&empty, BASE, 10), (&empty, MANIFEST, 10)]
    {
        for _ in 0..rounds {
            let copy = Dir::copy_of(&dir.0);
            let mut bytes = fs::read(copy.path(name)).expect("a file");
            let (at, bit) = (random.index(bytes.len()), random.below(8));
            bytes[at] ^= 1 << bit;
            fs::write(copy.path(name), &bytes).expect("a damaged file");
            let what = format!("{name}, byte {at}, bit {bit}");
            let said = refused(Kind::Slotcore, &copy, &["--appendonly", "yes"]);
            let file = name.split_once('/').expect("a folder").1;
            let place = if name == MANIFEST { "line" } else { "offset" };
            assert!(said.contains(file) && said.contains(place), "{what}: {said}");
        }
    }
}

/// What concerns the keys of all cores stands in a file as in a stream, and is no change while it is loaded.
#[test]
fn a_flush_in_a_file_is_carried_out_by_all_cores() {
    let dir = Dir::new();
    let set = |key: &str| crate::support::client::encode(&["SET", key, "x"]);
    // Slots of the first core and of the second.
    let text = [set("3560"), set("11423"), crate::support::client::encode(&["FLUSHALL"]), set("11423")].concat();
    fs::write(dir.path("appendonly.aof"), text).expect("a file");
    let args = ["--appendonly", "yes", "--cluster-enabled", "yes", "--cores", "2"];
    let server = start_in(Kind::Slotcore, &dir, &args);
    let mut client = server.connect();
    assert!(holds_within(LIMIT, || client.line("DBSIZE").to_string() == ":1"), "{}", server.log());
    check(&mut client, &[("FLUSHALL", "+OK"), ("DBSIZE", ":0")]);
}

#[test]
fn a_manifest_of_redis_is_read_to_the_letter() {
    let (dir, _) = append_only_of_redis("yes");
    let text = fs::read(dir.path(MANIFEST)).expect("a manifest");
    for (at, byte) in text.iter().enumerate().filter(|(_, byte)| byte.is_ascii_alphabetic()) {
        let copy = Dir::copy_of(&dir.0);
        let mut damaged = text.clone();
        damaged[at] = byte ^ 0x20;
        fs::write(copy.path(MANIFEST), &damaged).expect("a manifest");
        let said = refused(Kind::Slotcore, &copy, &["--appendonly", "yes"]);
        assert!(said.contains("AOF"), "byte {at}: {said}");
    }
}

#[test]
fn a_takeover_of_old_files_that_was_interrupted_is_finished() {
    let old = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n";
    let other = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n2\r\n";
    let named = "file appendonly.aof seq 1 type b\n";
    let inner = "appendonlydir/appendonly.aof";
    // What there is: the old file beside the folder, that in the folder, the manifest.
    for (beside, within, manifest, expected) in [
        (Some(old), None, None, "'1'"),
        (Some(old), None, Some("# nothing yet\n"), "'1'"),
        (Some(old), None, Some(named), "'1'"),
        (None, Some(old), Some(named), "'1'"),
        // Taken over already: what stands beside the folder is no concern of ours.
        (Some(other), Some(old), Some(named), "'1'"),
    ] {
        for kind in [Kind::Slotcore, Kind::Redis] {
            let dir = Dir::new();
            fs::create_dir_all(dir.path("appendonlydir")).expect("a folder");
            for (name, text) in [("appendonly.aof", beside), (inner, within), (MANIFEST, manifest)] {
                text.iter().for_each(|text| fs::write(dir.path(name), text).expect("a file"));
            }
            for _ in 0..2 {
                let mut server = start_in(kind, &dir, &["--appendonly", "yes"]);
                assert_eq!(
                    server.connect().must("GET a").to_string(),
                    expected,
                    "{kind:?} {beside:?} {within:?} {manifest:?}"
                );
                server.stop();
                let is_left = dir.path("appendonly.aof").exists();
                assert!(dir.path(inner).exists() && is_left == (beside.is_some() && within.is_some()), "{kind:?}");
            }
        }
    }
    // The files that followed say that it was once finished.
    let dir = Dir::new();
    fs::create_dir_all(dir.path("appendonlydir")).expect("a folder");
    fs::write(dir.path("appendonly.aof"), old).expect("a file");
    fs::write(dir.path(INCREMENT), "").expect("a file");
    fs::write(dir.path(MANIFEST), format!("{named}file appendonly.aof.1.incr.aof seq 1 type i\n")).expect("a manifest");
    for kind in [Kind::Slotcore, Kind::Redis] {
        let said = refused(kind, &dir, &["--appendonly", "yes"]);
        assert!(said.contains("appendonly.aof"), "{said}");
    }
}

#[test]
fn a_damaged_snapshot_is_refused_with_its_place() {
    let dir = Dir::new();
    {
        let redis = Server::redis(&all_args(&dir, &[]));
        let mut client = redis.connect();
        fill(&mut client, &[0]);
        client.must("SAVE");
    }
    let whole = fs::read(dir.path("dump.rdb")).expect("a file");
    for (bytes, what) in [
        (whole[..whole.len() - 9].to_vec(), "cut"),
        (whole[..5].to_vec(), "cut at the start"),
        (Vec::new(), "empty"),
        ([&whole[..whole.len() / 2], b"?", &whole[whole.len() / 2 + 1..]].concat(), "changed"),
        ([b"REDIS9999", &whole[9..]].concat(), "of the future"),
        (b"nonsense and more of it".to_vec(), "nonsense"),
    ] {
        fs::write(dir.path("dump.rdb"), bytes).expect("a damaged file");
        let said = refused(Kind::Slotcore, &dir, &[]);
        assert!(said.contains("dump.rdb") && said.contains("offset"), "{what}: {said}");
    }
    // Without a checksum.
    let mut bytes = whole.clone();
    let length = bytes.len();
    bytes[length - 8..].fill(0);
    fs::write(dir.path("dump.rdb"), bytes).expect("a file");
    start_in(Kind::Slotcore, &dir, &[]);
}

#[test]
fn a_file_that_the_manifest_names_and_that_is_not_there_ends_the_start() {
    let dir = few_commands(&["SET a 1"]);
    for name in [BASE, INCREMENT] {
        let copy = Dir::copy_of(&dir.0);
        fs::remove_file(copy.path(name)).expect("a file");
        for kind in [Kind::Slotcore, Kind::Redis] {
            let said = refused(kind, &copy, &["--appendonly", "yes"]);
            let file = name.rsplit('/').next().expect("a name");
            assert!(said.contains(&format!("Unable to obtain the AOF file {file} length")), "{kind:?}: {said}");
        }
    }
}

#[test]
fn what_is_no_command_is_refused_with_its_place() {
    let dir = few_commands(&["SET a 1"]);
    let whole = fs::read(dir.path(INCREMENT)).expect("a file");
    for (tail, expected) in [
        (&b"\0\0\0\0"[..], "Bad file format reading the append only file appendonly.aof.1.incr.aof"),
        (b"*1\r\n$3\r\nPINGS\r\n", "Bad file format reading the append only file"),
        (b"*2\r\n$6\r\nNOSUCH\r\n$1\r\na\r\n", "Unknown command 'NOSUCH' reading the append only file"),
        (b"*2\r\n$3\r\nSET\r\n$1\r\na\r\n", "wrong number of arguments for 'SET'"),
    ] {
        fs::write(dir.path(INCREMENT), [&whole, tail].concat()).expect("a file");
        let said = refused(Kind::Slotcore, &dir, &["--appendonly", "yes"]);
        assert!(said.contains(expected) && said.contains("offset"), "{said}");
    }
    let tail = b"#TS:1628217470\r\n*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n2\r\n";
    fs::write(dir.path(INCREMENT), [&whole, &tail[..]].concat()).expect("a file");
    let server = start_in(Kind::Slotcore, &dir, &["--appendonly", "yes"]);
    assert_eq!(server.connect().must("MGET a b").to_string(), "['1', '2']");
}

#[test]
fn while_data_are_loaded_clients_are_told_so() {
    let dir = Dir::new();
    {
        let redis = Server::redis(&all_args(&dir, &[]));
        let mut client = redis.connect();
        client.must("DEBUG POPULATE 20000");
        client.must("SAVE");
    }
    for kind in [Kind::Slotcore, Kind::Redis] {
        let delayed_by = |us| ["--loading-process-events-interval-bytes", "1024", "--key-load-delay", us];
        let mut server = Server::start(kind, &all_args(&dir, &delayed_by("500")));
        let mut client = server.connect();
        let loading = "-LOADING Redis is loading the dataset in memory";
        for line in ["PING", "GET key:1", "SET a b", "FLUSHALL"] {
            assert_eq!(client.line(line).to_string(), loading, "{kind:?}: {line}");
        }
        let refused = client.line("CONFIG SET appendonly yes").to_string();
        assert!(refused.starts_with("-LOADING"), "{kind:?}: {refused}");
        assert_eq!(client.info_number("loading"), 1);
        for field in ["loading_start_time", "loading_total_bytes", "loading_loaded_bytes", "loading_eta_seconds"] {
            assert!(client.info_number(field) >= 0, "{kind:?}: {field}");
        }
        assert!(client.info_number("loading_total_bytes") > 100_000);
        assert!(client.info("loading_loaded_perc").is_some_and(|percent| percent.contains('.')));
        assert!(!server.log().contains("Ready to accept connections"));
        client.must("CONFIG SET key-load-delay 0");
        wait_until_loaded(&server);
        assert_eq!(client.must("DBSIZE").integer(), 20_000);
        assert_eq!(client.line("PING").to_string(), "+PONG");
        assert_eq!(client.info("loading_total_bytes"), None);
        drop(client);
        server.stop();
        // A signal ends it at once.
        let mut server = Server::start(kind, &all_args(&dir, &delayed_by("5000")));
        assert_eq!(server.connect().line("PING").to_string(), loading);
        assert_eq!(server.stop().code(), Some(0), "{kind:?}");
        let mut server = Server::start(kind, &all_args(&dir, &delayed_by("5000")));
        server.signal(Signal::SIGINT);
        assert!(server.wait_for_exit().code().is_some());
    }
}

#[test]
fn data_are_loaded_again_on_demand() {
    let dir = Dir::new();
    for (kind, cores) in [(Kind::Slotcore, "1"), (Kind::Slotcore, "2"), (Kind::Slotcore, "4"), (Kind::Redis, "")] {
        let copy = Dir::copy_of(&dir.0);
        let mut args = vec!["--appendonly", "yes"];
        if !cores.is_empty() {
            args.extend(["--cores", cores]);
        }
        let server = Server::start(kind, &all_args(&copy, &args));
        let mut client = server.connect();
        fill(&mut client, &[0, 3]);
        let before = digest(&mut client);
        client.must("SELECT 0");
        for line in ["DEBUG RELOAD", "DEBUG LOADAOF", "DEBUG RELOAD"] {
            let replies = client.pipeline(&[line, "GET short", "SELECT 0"]);
            let shown: Vec<String> = replies.iter().map(|reply| reply.to_string()).collect();
            assert_eq!(shown, ["+OK", "'hello'", "+OK"], "{kind:?} {cores}: {line}");
            assert_eq!(digest(&mut client), before, "{kind:?} {cores}: {line}");
        }
        for (line, expected) in [
            ("SET short other", "+OK"),
            ("SET new key", "+OK"),
            ("DEBUG RELOAD NOSAVE NOFLUSH MERGE", "+OK"),
            ("MGET short new", "['hello', 'key']"),
            ("DEBUG RELOAD NOSAVE", "+OK"),
            ("EXISTS new", ":0"),
            ("DEBUG RELOAD NONSENSE", "-ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."),
        ] {
            assert_eq!(client.line(line).to_string(), expected, "{kind:?} {cores}: {line}");
        }
        // The append-only files still have what the reload has dropped.
        client.must("DEBUG LOADAOF");
        assert_eq!(client.must("MGET short new").to_string(), "['other', 'key']", "{kind:?} {cores}");
        client.must("SET written after");
        client.must("DEBUG LOADAOF");
        assert_eq!(client.must("GET written").to_string(), "'after'", "{kind:?} {cores}");
    }
}

#[test]
fn check_aof_says_what_is_whole_and_trims_what_is_not() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    let dir = few_commands(&["SET a 1", "SET b 2"]);
    let check = |args: &[&str]| {
        let line = Kind::Slotcore.command_line();
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).arg("check-aof").args(args).current_dir(&dir.0).stdin(Stdio::null());
        let output = ended(&mut command);
        (output.status.code(), said(&output))
    };
    let (code, text) = check(&[MANIFEST]);
    assert!(code == Some(0) && text.contains("All AOF files and manifest are valid"), "{text}");
    let whole = fs::read(dir.path(INCREMENT)).expect("a file");
    for (bytes, kept) in [
        (whole[..whole.len() - 1].to_vec(), whole.len() - 27),
        ([&whole[..], b"*2\r\n$3\r\nDEL"].concat(), whole.len()),
        ([&whole[..], b"nonsense"].concat(), whole.len()),
        ([&whole[..], b"*1\r\n$5\r\nMULTI\r\n*2\r\n$3\r\nDEL\r\n$1\r\na\r\n"].concat(), whole.len()),
    ] {
        for name in [MANIFEST, INCREMENT] {
            fs::write(dir.path(INCREMENT), &bytes).expect("a file");
            let (code, text) = check(&[name]);
            assert!(code == Some(1) && text.contains("Use the --fix option"), "{text}");
            assert_eq!(fs::read(dir.path(INCREMENT)).expect("a file"), bytes);
            let (code, text) = check(&["--fix", name]);
            assert!(code == Some(0) && text.contains("Successfully truncated AOF"), "{text}");
            assert_eq!(fs::read(dir.path(INCREMENT)).expect("a file"), whole[..kept]);
        }
    }
    let redis = Command::new("redis-check-aof").arg(dir.path(MANIFEST)).output().expect("redis-check-aof");
    assert!(redis.status.success(), "{}", said(&redis));
}
