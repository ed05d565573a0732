//! Look-ups and writes in a keyspace of a million keys, beside a hashbrown table of the same entries.
//!
//! `cargo bench --bench keyspace`. With `-- --memory` it prints bytes per key instead; with `-- --rounds` the best of many
//! short alternating rounds, which tells ratios on a machine that has other work to do.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::hash::{BuildHasher, Hasher};
use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use hashbrown::HashTable;
use mimalloc::MiMalloc;
use slotcore::base::clock::UnixMillis;
use slotcore::base::random::Random;
use slotcore::keyspace::{AccessPolicy, Disposal, Key, Keyspace, KeyspaceOptions};

/// mimalloc, counting the bytes that are asked for, rounded to its classes.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    ALLOCATED.with(|allocated| allocated.set(allocated.get() + bytes));
}

// SAFETY: every call is passed on to mimalloc unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().next_multiple_of(16) as isize);
        unsafe { MiMalloc.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size().next_multiple_of(16) as isize));
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.next_multiple_of(16) as isize - layout.size().next_multiple_of(16) as isize);
        unsafe { MiMalloc.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

const KEYS: usize = 1_000_000;
const VALUE: [u8; 16] = *b"valuevaluevalue.";

/// 16 bytes, in a slot of its own or, with the hash tag, in one slot with all others.
fn key_name(number: usize, one_slot: bool) -> Vec<u8> {
    if one_slot { format!("{{s}}:{number:012}") } else { format!("key:{number:012}") }.into_bytes()
}

fn empty() -> Keyspace {
    let mut keyspace =
        Keyspace::new(KeyspaceOptions { databases: 1, hash_seeds: [1, 2, 3, 4], access: AccessPolicy::Lru });
    keyspace.set_clock(UnixMillis(1_750_000_000_000), false);
    keyspace
}

fn filled(keys: usize, one_slot: bool) -> Keyspace {
    let mut keyspace = empty();
    for number in 0..keys {
        keyspace.write(0, Key::new(&key_name(number, one_slot))).set_string(&VALUE);
    }
    keyspace
}

/// Names of present keys in random order, so that the processor guesses neither entry nor slot.
fn shuffled(keys: usize, one_slot: bool) -> Vec<Vec<u8>> {
    let mut random = Random::new(5);
    (0..1 << 18).map(|_| key_name(random.below(keys as u64) as usize, one_slot)).collect()
}

/// The rival: one table of boxed entries of the same layout, 48 bytes each.
struct Rival {
    table: HashTable<Box<[u8; 40]>>,
    hasher: ahash::RandomState,
}

impl Rival {
    fn filled(keys: usize) -> Self {
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let mut rival = Rival { table: HashTable::new(), hasher };
        for number in 0..keys {
            rival.set(&key_name(number, false));
        }
        rival
    }

    fn hash(hasher: &ahash::RandomState, key: &[u8]) -> u64 {
        let mut hasher = hasher.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let hash = Rival::hash(&self.hasher, key);
        self.table.find(hash, |entry| &entry[8..24] == key).map(|entry| &entry[24..])
    }

    fn set(&mut self, key: &[u8]) {
        let hasher = &self.hasher;
        let hash = Rival::hash(hasher, key);
        let mut entry = Box::new([0; 40]);
        entry[8..24].copy_from_slice(key);
        entry[24..].copy_from_slice(&VALUE);
        self.table.insert_unique(hash, entry, |entry| Rival::hash(hasher, &entry[8..24]));
    }
}

fn look_ups(criterion: &mut Criterion) {
    let cases = [("16384 slots", KEYS, false), ("1 slot", KEYS, true), ("1 slot, in cache", 4000, true)];
    for (name, count, one_slot) in cases {
        let mut keyspace = filled(count, one_slot);
        let names = shuffled(count, one_slot);
        let keys: Vec<Key<'_>> = names.iter().map(|name| Key::new(name)).collect();
        let mut group = criterion.benchmark_group(name);
        let mut next = (0..keys.len()).cycle();
        group.bench_function("get hit", |bencher| {
            bencher.iter(|| {
                let key = keys[next.next().unwrap()];
                keyspace.read(0, key).map(|value| value.string().map_or(0, |string| string.len()))
            })
        });
        group.bench_function("get hit, key slot computed", |bencher| {
            bencher.iter(|| {
                let key = Key::new(&names[next.next().unwrap()]);
                keyspace.read(0, key).map(|value| value.string().map_or(0, |string| string.len()))
            })
        });
        let absent: Vec<Vec<u8>> = (0..1 << 18).map(|number| key_name(KEYS + number * 7, one_slot)).collect();
        let absent: Vec<Key<'_>> = absent.iter().map(|name| Key::new(name)).collect();
        group.bench_function("get miss", |bencher| {
            bencher.iter(|| {
                let key = absent[next.next().unwrap()];
                keyspace.read(0, key).is_some()
            })
        });
        group.bench_function("set overwrite", |bencher| {
            bencher.iter(|| keyspace.write(0, keys[next.next().unwrap()]).set_string(black_box(&VALUE)))
        });
        group.bench_function("remove and insert", |bencher| {
            bencher.iter(|| {
                let key = keys[next.next().unwrap()];
                keyspace.remove(0, key, Disposal::Now);
                keyspace.write(0, key).set_string(black_box(&VALUE));
            })
        });
        drop(keyspace);
        if count < KEYS {
            continue;
        }
        group.sample_size(10);
        let fresh: Vec<Vec<u8>> = (0..KEYS).map(|number| key_name(number, one_slot)).collect();
        group.bench_function("insert a million", |bencher| {
            bencher.iter_batched(
                empty,
                |mut keyspace| {
                    for name in &fresh {
                        keyspace.write(0, Key::new(name)).set_string(&VALUE);
                    }
                    keyspace
                },
                BatchSize::PerIteration,
            )
        });
        group.finish();
    }
}

fn rival(criterion: &mut Criterion) {
    let mut rival = Rival::filled(KEYS);
    let names = shuffled(KEYS, false);
    let mut next = (0..names.len()).cycle();
    let mut group = criterion.benchmark_group("hashbrown");
    group
        .bench_function("get hit", |bencher| bencher.iter(|| rival.get(&names[next.next().unwrap()]).map(<[u8]>::len)));
    let absent: Vec<Vec<u8>> = (0..1 << 18).map(|number| key_name(KEYS + number * 7, false)).collect();
    group.bench_function("get miss", |bencher| bencher.iter(|| rival.get(&absent[next.next().unwrap()]).is_some()));
    group.bench_function("remove and insert", |bencher| {
        bencher.iter(|| {
            let name = &names[next.next().unwrap()];
            let hash = Rival::hash(&rival.hasher, name);
            if let Ok(entry) = rival.table.find_entry(hash, |entry| entry[8..24] == name[..]) {
                drop(entry.remove());
            }
            rival.set(name);
        })
    });
    drop(rival);
    group.sample_size(10);
    group.bench_function("insert a million", |bencher| {
        bencher.iter_batched(|| (), |()| Rival::filled(KEYS), BatchSize::PerIteration)
    });
    group.finish();
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}

fn measure<T>(name: &str, keys: usize, fill: impl FnOnce() -> T) {
    let (allocated, resident) = (ALLOCATED.get(), resident_bytes());
    let kept = fill();
    println!(
        "{name}: {:.1} B/key asked for, {:.1} B/key resident",
        (ALLOCATED.get() - allocated) as f64 / keys as f64,
        (resident_bytes() - resident) as f64 / keys as f64,
    );
    // Kept, so that the next row does not reuse its pages.
    std::mem::forget(kept);
}

fn memory() {
    measure("16384 slots", KEYS, || filled(KEYS, false));
    measure("1 slot", KEYS, || filled(KEYS, true));
    measure("hashbrown", KEYS, || Rival::filled(KEYS));
    measure("16384 slots, 10 million keys", 10 * KEYS, || filled(10 * KEYS, false));
    measure("16384 slots, 100 thousand keys", KEYS / 10, || filled(KEYS / 10, false));
    measure("16384 slots, after half was removed", KEYS / 2, || {
        let mut keyspace = filled(KEYS, false);
        for number in (0..KEYS).step_by(2) {
            keyspace.remove(0, Key::new(&key_name(number, false)), Disposal::Now);
        }
        keyspace
    });
}

/// Looks up and overwrites in turn, in round after round, and keeps the best time of each.
fn rounds() {
    const ROUNDS: usize = 25;
    const OPERATIONS: usize = 50_000;
    type Case<'a> = (String, Box<dyn FnMut(usize) -> usize + 'a>);
    let cases = [("16384 slots", KEYS, false), ("1 slot", KEYS, true), ("1 slot, in cache", 4000, true)];
    let mut names: Vec<_> = cases.iter().map(|(_, count, one_slot)| shuffled(*count, *one_slot)).collect();
    names.push(shuffled(KEYS, false));
    let mut keyspaces: Vec<_> = cases.iter().map(|(_, count, one_slot)| filled(*count, *one_slot)).collect();
    let mut rival = Rival::filled(KEYS);
    let absent: Vec<Vec<u8>> = names.iter().flatten().map(|name| [&name[..15], b"x"].concat()).collect();
    let rival = std::cell::RefCell::new(&mut rival);
    let keyspaces: Vec<_> = keyspaces.iter_mut().map(std::cell::RefCell::new).collect();
    let mut all: Vec<Case<'_>> = Vec::new();
    for (number, (name, ..)) in cases.iter().enumerate() {
        let (keyspace, names) = (&keyspaces[number], &names[number]);
        let absent = &absent[number << 18..(number + 1) << 18];
        let keys: Vec<Key<'_>> = names.iter().map(|name| Key::new(name)).collect();
        all.push((
            format!("{name}: get hit"),
            Box::new(move |i| {
                keyspace
                    .borrow_mut()
                    .read(0, keys[i])
                    .map_or(0, |value| value.string().map_or(0, |string| string.len()))
            }),
        ));
        all.push((
            format!("{name}: get hit, slot computed"),
            Box::new(move |i| {
                keyspace
                    .borrow_mut()
                    .read(0, Key::new(&names[i]))
                    .map_or(0, |value| value.string().map_or(0, |string| string.len()))
            }),
        ));
        all.push((
            format!("{name}: get miss, slot computed"),
            Box::new(move |i| {
                keyspace
                    .borrow_mut()
                    .read(0, Key::new(&absent[i]))
                    .map_or(0, |value| value.string().map_or(0, |string| string.len()))
            }),
        ));
        all.push((
            format!("{name}: set, slot computed"),
            Box::new(move |i| {
                keyspace.borrow_mut().write(0, Key::new(&names[i])).set_string(&VALUE);
                i
            }),
        ));
    }
    let (keyspace, names) = (&keyspaces[0], &names);
    for batch in [4, 16, 32] {
        all.push((
            format!("16384 slots: get hit, {batch} keys prefetched"),
            Box::new(move |i| {
                let mut keyspace = keyspace.borrow_mut();
                let first = i * batch % ((1 << 18) - batch);
                let mut keys = [Key::new(b""); 32];
                for (key, name) in keys.iter_mut().zip(&names[0][first..first + batch]) {
                    *key = Key::new(name);
                }
                keyspace.prefetch(0, &keys[..batch]);
                keys[..batch]
                    .iter()
                    .map(|key| {
                        keyspace.read(0, *key).map_or(0, |value| value.string().map_or(0, |string| string.len()))
                    })
                    .sum()
            }),
        ));
    }
    let rival_names = &names[3];
    let rival_absent = &absent[3 << 18..];
    all.push(("hashbrown: get hit".into(), Box::new(|i| rival.borrow().get(&rival_names[i]).map_or(0, <[u8]>::len))));
    all.push(("hashbrown: get miss".into(), Box::new(|i| rival.borrow().get(&rival_absent[i]).map_or(0, <[u8]>::len))));
    let mut best = vec![f64::INFINITY; all.len()];
    for round in 0..ROUNDS {
        for ((_, run), best) in all.iter_mut().zip(&mut best) {
            let start = std::time::Instant::now();
            for i in 0..OPERATIONS {
                // As between two requests: the processor does not run ahead into the next look-up.
                #[cfg(target_arch = "x86_64")]
                // SAFETY: SSE2 is part of x86-64.
                unsafe {
                    std::arch::x86_64::_mm_lfence()
                };
                black_box(run((round * OPERATIONS + i) & ((1 << 18) - 1)));
            }
            *best = best.min(start.elapsed().as_nanos() as f64 / OPERATIONS as f64);
        }
    }
    for ((name, _), best) in all.iter().zip(best) {
        println!("{name}: {best:.0} ns");
    }
}

fn main() {
    if std::env::args().any(|argument| argument == "--rounds") {
        return rounds();
    }
    if std::env::args().any(|argument| argument == "--memory") {
        return memory();
    }
    let mut criterion = Criterion::default().configure_from_args();
    look_ups(&mut criterion);
    rival(&mut criterion);
    criterion.final_summary();
}
