//! The map under large hashes and sets, beside a hashbrown map of boxed slices.
//!
//! `cargo bench --bench collections`. With `-- --memory` it prints bytes per entry instead, by the allocator's own count.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use hashbrown::HashMap;
use mimalloc::MiMalloc;
use slotcore::base::random::Random;
use slotcore::keyspace::packed_map::PackedMap;

/// mimalloc, counting the bytes of the blocks that it gives.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

fn block_bytes(pointer: *mut u8) -> usize {
    // SAFETY: the pointer is one that mimalloc gave and still holds.
    unsafe { libmimalloc_sys::mi_usable_size(pointer.cast()) }
}

fn note(given: usize, taken: usize) {
    ALLOCATED.with(|allocated| allocated.set((allocated.get() + given).wrapping_sub(taken)));
}

// SAFETY: every call is passed on to mimalloc unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let pointer = unsafe { MiMalloc.alloc(layout) };
        note(block_bytes(pointer), 0);
        pointer
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(0, block_bytes(pointer));
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let taken = block_bytes(pointer);
        let pointer = unsafe { MiMalloc.realloc(pointer, layout, size) };
        note(block_bytes(pointer), taken);
        pointer
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

const SIZES: [usize; 2] = [1_000, 1_000_000];
const VALUE: &[u8] = b"valuevaluevalue.";

type Boxed = HashMap<Box<[u8]>, Box<[u8]>, ahash::RandomState>;

/// 16 bytes.
fn key(number: usize) -> [u8; 16] {
    let mut key = *b"member0000000000";
    let mut rest = number;
    for digit in key.iter_mut().rev().take(10) {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

fn packed(count: usize, value: &[u8]) -> PackedMap {
    let mut map = PackedMap::new();
    (0..count).for_each(|number| {
        map.insert(&key(number), value);
    });
    map
}

fn boxed(count: usize, value: &[u8]) -> Boxed {
    (0..count).map(|number| (key(number).into(), value.into())).collect()
}

fn benches(criterion: &mut Criterion) {
    for count in SIZES {
        let mut group = criterion.benchmark_group(format!("{count} entries"));
        let (map, table) = (packed(count, VALUE), boxed(count, VALUE));
        let mut random = Random::new(1);
        let mut any = move || key(random.below(count as u64) as usize);
        group.bench_function("get, packed", |bencher| bencher.iter(|| map.get(black_box(&any())).map(<[u8]>::len)));
        group
            .bench_function("get, boxed", |bencher| bencher.iter(|| table.get(&black_box(any())[..]).map(|v| v.len())));
        let mut random = Random::new(2);
        group.bench_function("random, packed", |bencher| {
            bencher.iter(|| map.random(&mut random).map(|(key, _)| key.len()))
        });
        let (mut map, mut table) = (map, table);
        group.bench_function("replace, packed", |bencher| bencher.iter(|| map.insert(&any(), VALUE)));
        group.bench_function("remove and insert, packed", |bencher| {
            bencher.iter(|| {
                let key = any();
                map.remove(&key) && map.insert(&key, VALUE)
            })
        });
        group.bench_function("remove and insert, boxed", |bencher| {
            bencher.iter(|| {
                let key = any();
                table.remove(&key[..]);
                table.insert(key.into(), VALUE.into())
            })
        });
        group.finish();
    }
    let mut group = criterion.benchmark_group("1000 inserts into nothing");
    group.bench_function("packed", |bencher| {
        bencher.iter_batched(|| (), |()| packed(1000, VALUE), BatchSize::SmallInput)
    });
    group
        .bench_function("boxed", |bencher| bencher.iter_batched(|| (), |()| boxed(1000, VALUE), BatchSize::SmallInput));
}

fn print_memory() {
    let kinds = [
        ("member of 16 bytes", &b""[..]),
        ("field of 16 bytes and value of 16", VALUE),
        ("field of 16 bytes and value of 100", &[b'v'; 100]),
        ("field of 16 bytes and value of 200", &[b'v'; 200]),
    ];
    for (what, value) in kinds {
        for count in [200, 1_000, 10_000, 100_000, 700_000, 1_000_000] {
            let before = ALLOCATED.with(Cell::get);
            let map = packed(count, value);
            let bytes = ALLOCATED.with(Cell::get) - before;
            let (each, reckoned) = (bytes as f64 / count as f64, map.memory_bytes(usize::MAX) as f64 / count as f64);
            println!("{count:>8} x {what}: {each:.1} bytes each, {reckoned:.1} by its own reckoning");
        }
    }
}

fn main() {
    if std::env::args().any(|argument| argument == "--memory") {
        print_memory();
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    benches(&mut criterion);
    criterion.final_summary();
}
