//! Writing and reading RDB: a file of small strings, and one of small hashes, per key.
//!
//! `cargo bench --bench rdb`. A file is made in memory from a keyspace, cut into records, decoded and loaded; the checksum is
//! part of writing and of cutting.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use mimalloc::MiMalloc;
use slotcore::base::clock::UnixMillis;
use slotcore::config::Config;
use slotcore::keyspace::hash::Hash;
use slotcore::keyspace::{AccessPolicy, Key, Keyspace, KeyspaceOptions, StoredAccess};
use slotcore::persist::rdb::file::{self, FileFacts};
use slotcore::persist::rdb::{Checksum, Encoder, LoadLimits, ReaderOptions, Record, RecordReader, decode_value};

#[global_allocator]
static GLOBAL: MiMalloc = MiMalloc;

const KEYS: usize = 500_000;
const WINDOW_BYTES: usize = 256 << 10;

fn empty() -> Keyspace {
    let mut keyspace =
        Keyspace::new(KeyspaceOptions { databases: 1, hash_seeds: [1, 2, 3, 4], access: AccessPolicy::Lru });
    keyspace.set_clock(UnixMillis(1_750_000_000_000), false);
    keyspace
}

fn name(number: usize) -> Vec<u8> {
    format!("key:{number:012}").into_bytes()
}

fn strings() -> Keyspace {
    let mut keyspace = empty();
    (0..KEYS).for_each(|number| keyspace.write(0, Key::new(&name(number))).set_string(b"valuevaluevalue."));
    keyspace
}

fn hashes() -> Keyspace {
    let mut keyspace = empty();
    let limits = LoadLimits::of(&Config::default()).hash;
    for number in 0..KEYS {
        let name = name(number);
        let mut entry = keyspace.write(0, Key::new(&name));
        if let Ok(hash) = entry.collection_or_new::<Hash>() {
            for field in ["name", "age", "town", "street", "number"] {
                hash.set(field.as_bytes(), number.to_string().as_bytes(), limits);
            }
        }
        entry.commit(1);
    }
    keyspace
}

fn written(keyspace: &mut Keyspace, names: &[Vec<u8>]) -> Vec<u8> {
    let facts = FileFacts {
        server_version: "7.2.4",
        created_s: 0,
        used_memory: 0,
        replication: None,
        aof_base: false,
        slot_imports: Vec::new(),
    };
    let mut out = Vec::new();
    let mut encoder = Encoder::new(true);
    let mut checksum = Checksum::new();
    file::header(&facts, &mut out);
    file::select_database(0, &mut out);
    let mut summed = 0;
    for name in names {
        if let Some(value) = keyspace.peek(0, Key::new(name)) {
            encoder.entry(name, value, None, StoredAccess::Unknown, &mut out);
        }
        if out.len() - summed > WINDOW_BYTES {
            checksum.update(&out[summed..]);
            summed = out.len();
        }
    }
    checksum.update(&out[summed..]);
    file::footer(Some(checksum), &mut out);
    out
}

/// Cuts the file and hands every key to `visit`.
fn read(bytes: &[u8], mut visit: impl FnMut(&Record<'_>)) {
    let mut reader = RecordReader::new(ReaderOptions { checksum: true, total_bytes: Some(bytes.len() as u64) });
    let (mut start, mut size) = (0, WINDOW_BYTES);
    while !reader.is_finished() {
        let mut batch = reader.batch(&bytes[start..bytes.len().min(start + size)]);
        while let Some(record) = batch.next_record().expect("a sound file") {
            visit(&record);
        }
        let progress = batch.end();
        start += progress.consumed;
        size = WINDOW_BYTES.max(progress.wanted as usize);
    }
}

fn load(bytes: &[u8]) -> Keyspace {
    let (mut keyspace, limits) = (empty(), LoadLimits::of(&Config::default()));
    read(bytes, |record| {
        if let Record::Key(record) = record {
            let value = decode_value(record.kind, record.value, &limits).expect("a sound value").expect("elements");
            assert!(keyspace.load(0, Key::new(&record.key), value, record.expiry, record.access));
        }
    });
    keyspace
}

fn timed<T>(rounds: u64, mut run: impl FnMut() -> T) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..rounds {
        let start = Instant::now();
        let result = run();
        total += start.elapsed();
        drop(black_box(result));
    }
    total
}

fn main() {
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let names: Vec<Vec<u8>> = (0..KEYS).map(name).collect();
    for (kind, mut keyspace) in [("strings", strings()), ("hashes of 5 fields", hashes())] {
        let bytes = written(&mut keyspace, &names);
        let mut group = criterion.benchmark_group(format!("rdb, {KEYS} {kind}"));
        group.throughput(Throughput::Elements(KEYS as u64));
        group.bench_function("look up and write", |bencher| {
            bencher.iter_custom(|rounds| timed(rounds, || written(&mut keyspace, &names)));
        });
        group.bench_function("cut", |bencher| {
            bencher.iter_custom(|rounds| timed(rounds, || read(&bytes, |record| drop(black_box(record.clone())))));
        });
        group.bench_function("cut, decode and load", |bencher| {
            bencher.iter_custom(|rounds| timed(rounds, || load(&bytes)));
        });
        group.finish();
    }
}
