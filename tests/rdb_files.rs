//! RDB files between this program and Redis: what redis-server saves is read, what is written redis-check-rdb accepts and
//! redis-server loads, and the data are the same at the end.

#[allow(dead_code, unused_imports, reason = "the black-box tests use all of it")]
#[path = "blackbox/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use slotcore::base::clock::UnixMillis;
use slotcore::config::Config;
use slotcore::keyspace::{AccessPolicy, Key, Keyspace, KeyspaceOptions, StoredAccess};
use slotcore::persist::rdb::file::{self, FileFacts, ReplicationFacts};
use slotcore::persist::rdb::{
    Checksum, ChecksumVerdict, Encoder, LoadLimits, ReaderOptions, Record, RecordReader, decode_value,
};
use support::random::Random;
use support::{Client, Server, Value};

const DATABASES: usize = 16;

/// Values of every encoding that Redis 7.0 has, in two databases.
fn fill(client: &mut Client, random: &mut Random) {
    for line in [
        "SET int8 -128",
        "SET int16 32767",
        "SET int32 -2147483648",
        "SET int64 9223372036854775807",
        "SET short hello",
        "SET \"\" empty-key",
        "SET empty \"\"",
        "SET volatile x PXAT 4102444800123",
        "SETRANGE padded 500 x",
        "RPUSH list a b 5 -70000 c",
        "SADD intset16 1 2 3",
        "SADD intset32 1 70000",
        "SADD intset64 1 -9223372036854775808",
        "SADD words a b c 5",
        "HSET hash f v 7 8 long yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
        "HSET hashtable f v",
        "ZADD zset 1.5 a -inf b inf c 3 7 1e19 x",
        "XGROUP CREATE stream g $ MKSTREAM",
        "SELECT 9",
        "SET int8 in-another-database EX 100000",
        "PFADD hll a b c d",
        "SELECT 0",
    ] {
        client.must(line);
    }
    for number in 0..700 {
        client.must(&format!("RPUSH quicklist element-{number} {number}"));
        client.must(&format!("SADD hashtable-set member-{number}"));
        client.must(&format!("HSET hashtable field-{number} {number}"));
        client.must(&format!("ZADD skiplist {}.25 member-{number}", number % 50));
        client.must(&format!("XADD stream {}-1 name v{number} other {number}", number + 1));
        client.must(&format!("SADD intset-large {}", number * 1000));
    }
    for line in [
        "XREADGROUP GROUP g ann COUNT 30 STREAMS stream >",
        "XREADGROUP GROUP g bob COUNT 30 STREAMS stream >",
        "XGROUP CREATECONSUMER stream g idle",
        "XACK stream g 3-1 40-1",
        "XDEL stream 5-1 700-1",
    ] {
        client.must(line);
    }
    let (noise, large) = (random.bytes(5000), vec![b'z'; 200_000]);
    client.cmd(&[&b"SET"[..], b"noise", &noise]);
    client.cmd(&[&b"SET"[..], b"compressible", &large]);
    client.cmd(&[&b"RPUSH"[..], b"large-elements", b"a", &large, &noise, b"b"]);
    client.cmd(&[&b"HSET"[..], b"hash-of-large", &noise, &large]);
}

/// Everything that a file says.
struct Contents {
    keyspace: Keyspace,
    keys: Vec<(usize, Vec<u8>)>,
    facts: Vec<(String, String)>,
}

fn read(path: &Path, window: usize) -> Contents {
    let bytes = fs::read(path).expect("a file");
    let limits = LoadLimits::of(&Config::default());
    let mut contents = Contents {
        keyspace: Keyspace::new(KeyspaceOptions {
            databases: DATABASES,
            hash_seeds: [1, 2, 3, 4],
            access: AccessPolicy::Lru,
        }),
        keys: Vec::new(),
        facts: Vec::new(),
    };
    contents.keyspace.set_clock(UnixMillis(1_700_000_000_000), false);
    let mut reader = RecordReader::new(ReaderOptions { checksum: true, total_bytes: Some(bytes.len() as u64) });
    let (mut start, mut size) = (0, window);
    while !reader.is_finished() {
        let end = bytes.len().min(start + size);
        let mut batch = reader.batch(&bytes[start..end]);
        while let Some(record) = batch.next_record().expect("a sound file") {
            take(record, &limits, &mut contents);
        }
        let progress = batch.end();
        start += progress.consumed;
        size = window.max(usize::try_from(progress.wanted).expect("a size"));
    }
    assert_eq!(start, bytes.len());
    contents
}

fn take(record: Record<'_>, limits: &LoadLimits, contents: &mut Contents) {
    match record {
        Record::Key(record) => {
            let value = decode_value(record.kind, record.value, limits).expect("a sound value").expect("elements");
            let db = usize::try_from(record.db).expect("a database");
            let is_new = contents.keyspace.load(db, Key::new(&record.key), value, record.expiry, record.access);
            assert!(is_new, "{} is there twice", record.key.escape_ascii());
            contents.keys.push((db, record.key.into_owned()));
        }
        Record::Aux { name, value } => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            contents.facts.push((text(&name), text(&value)));
        }
        Record::End(verdict) => assert_ne!(verdict_is_wrong(verdict), Some(true)),
        _ => {}
    }
}

fn verdict_is_wrong(verdict: ChecksumVerdict) -> Option<bool> {
    match verdict {
        ChecksumVerdict::Unchecked => None,
        ChecksumVerdict::Matches => Some(false),
        ChecksumVerdict::Differs { .. } => Some(true),
    }
}

/// The file of a keyspace, databases mixed as they come: sections of several cores may stand one behind the other.
fn write(contents: &mut Contents, compress: bool, checksum: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let id = "0123456789abcdef0123456789abcdef01234567";
    let facts = FileFacts {
        server_version: "7.2.4",
        created_s: 1_700_000_000,
        used_memory: 1_000_000,
        replication: Some(ReplicationFacts { stream_db: 0, id, offset: 1234 }),
        aof_base: false,
        slot_imports: Vec::new(),
    };
    file::header(&facts, &mut out);
    let mut encoder = Encoder::new(compress);
    for db in [0, 9] {
        file::select_database(db, &mut out);
        file::resize_database(contents.keyspace.len(db), contents.keyspace.volatile_len(db), &mut out);
    }
    for (db, key) in &contents.keys {
        file::select_database(*db, &mut out);
        let info = contents.keyspace.peek_info(*db, Key::new(key)).expect("a key");
        let access = StoredAccess::Idle { seconds: info.idle_seconds };
        encoder.entry(key, info.value, info.expiry, access, &mut out);
    }
    let sum = checksum.then(|| {
        let mut sum = Checksum::new();
        out.chunks(10_000).for_each(|chunk| sum.update(chunk));
        sum
    });
    file::footer(sum, &mut out);
    out
}

fn accepted_by_redis_check(path: &Path) {
    let output = Command::new("redis-check-rdb").arg(path).output().expect("redis-check-rdb runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("RDB looks OK"), "{text}");
}

/// Encodings, expiries and groups of all keys of database 0, which the digest does not cover.
fn aspects(client: &mut Client) -> Vec<String> {
    let mut keys: Vec<Vec<u8>> = client.must("KEYS *").items().iter().map(|key| key.bytes().to_vec()).collect();
    keys.sort();
    let mut aspects = Vec::new();
    for key in keys {
        let encoding = client.cmd(&[&b"OBJECT"[..], b"ENCODING", &key]).to_string();
        let expiry = client.cmd(&[&b"PEXPIRETIME"[..], &key]).to_string();
        aspects.push(format!("{} {encoding} {expiry}", key.escape_ascii()));
    }
    let full = client.must("XINFO STREAM stream FULL COUNT 0");
    let names = ["length", "last-generated-id", "max-deleted-entry-id", "entries-added", "groups"];
    aspects.extend(names.iter().filter_map(|name| full.field(name)).map(Value::to_string));
    aspects
}

#[test]
fn the_same_data_go_through_files_from_redis_to_redis() {
    let mut random = Random::new(3);
    for (saved_compressed, window, compress, checksum) in
        [("yes", 1 << 20, true, true), ("no", 64, false, true), ("yes", 4096, false, false)]
    {
        let first = Server::redis(&["--rdbcompression", saved_compressed, "--enable-debug-command", "yes"]);
        let client = &mut first.connect();
        fill(client, &mut random);
        client.must("SAVE");
        let mut contents = read(&first.dir.join("dump.rdb"), window);
        assert_eq!(contents.keys.len() as i64, client.must("DBSIZE").integer() + 2);
        let names: Vec<&str> = contents.facts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["redis-ver", "redis-bits", "ctime", "used-mem", "aof-base"]);

        let bytes = write(&mut contents, compress, checksum);
        let mut second = Server::redis(&["--enable-debug-command", "yes"]);
        second.stop();
        let path = second.dir.join("dump.rdb");
        fs::write(&path, &bytes).expect("the file can be written");
        accepted_by_redis_check(&path);
        second.restart();
        let again = &mut second.connect();
        assert_eq!(aspects(again), aspects(client));
        assert_eq!(again.must("DEBUG DIGEST").to_string(), client.must("DEBUG DIGEST").to_string());

        // What redis-server makes of the file is read as the same again.
        again.must("SAVE");
        let mut third = read(&path, 1 << 16);
        third.keys.sort();
        contents.keys.sort();
        assert_eq!(third.keys, contents.keys);
        for (db, key) in &third.keys {
            let (one, other) =
                (contents.keyspace.peek_info(*db, Key::new(key)), third.keyspace.peek_info(*db, Key::new(key)));
            let (one, other) = (one.expect("a key"), other.expect("a key"));
            assert_eq!((one.encoding_name, one.expiry), (other.encoding_name, other.expiry), "{}", key.escape_ascii());
        }
    }
}

#[test]
fn access_times_go_with_the_keys() {
    for (policy, line) in [("allkeys-lru", "OBJECT IDLETIME k"), ("allkeys-lfu", "OBJECT FREQ k")] {
        let first = Server::redis(&["--maxmemory-policy", policy]);
        let client = &mut first.connect();
        client.must("SET k x");
        let payload = client.must("DUMP k").bytes().to_vec();
        let option: [&[u8]; 2] = if policy == "allkeys-lru" { [b"IDLETIME", b"1234"] } else { [b"FREQ", b"77"] };
        let restore = [&b"RESTORE"[..], b"k", b"0", &payload, b"REPLACE", option[0], option[1]];
        assert_eq!(client.cmd(&restore).to_string(), "+OK");
        client.must("SAVE");
        let bytes = fs::read(first.dir.join("dump.rdb")).expect("a file");
        let mut reader = RecordReader::new(ReaderOptions { checksum: true, total_bytes: None });
        let mut batch = reader.batch(&bytes);
        let mut access = None;
        while let Some(record) = batch.next_record().expect("a sound file") {
            if let Record::Key(record) = record {
                access = Some(record.access);
            }
        }
        let _ = batch.end();
        match access.expect("a key") {
            StoredAccess::Idle { seconds } => assert!((1234..1300).contains(&seconds), "{seconds} {line}"),
            StoredAccess::Frequency(counter) => assert_eq!(counter, 77),
            StoredAccess::Unknown => panic!("redis-server writes what {line} tells"),
        }
    }
}
