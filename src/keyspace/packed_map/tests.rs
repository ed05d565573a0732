//! The map beside a `HashMap` of the standard library, and what a walk may rely on.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

impl PackedMap {
    /// Asserts everything that must hold between calls.
    fn check(&self) {
        let buckets: Vec<&Bucket> = self.segments.iter().flatten().collect();
        assert_eq!(buckets.len(), self.buckets_count);
        assert!(self.segments.iter().rev().skip(1).all(|segment| segment.len() == SEGMENT_BUCKETS));
        assert!(self.segments.iter().all(|segment| !segment.is_empty()));
        let (mut len, mut large) = (0, LargeFigures::default());
        for (index, bucket) in buckets.iter().enumerate() {
            bucket.check();
            assert!(bucket.len() <= self.fullest);
            assert!(bucket.iter().all(|(key, _)| self.bucket_of(self.hash(key)) == index));
            len += bucket.len();
            let figures = bucket.large_figures();
            large = LargeFigures { count: large.count + figures.count, bytes: large.bytes + figures.bytes };
        }
        assert_eq!((len, large), (self.len, self.large));
        assert!(self.len <= self.buckets_count * LOAD_MAX);
        let clumped = self.fullest > BUCKET_MAX_ENTRIES / 2;
        assert!(clumped || self.buckets_count <= 1 || self.len + 1 >= self.buckets_count * LOAD_MIN);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    /// Many at once, so that the map grows and shrinks by far.
    InsertMany(u16, usize),
    RemoveMany(u16, usize),
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0u16..300).prop_map(|number| number.to_string().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
        1 => (100usize..140, 0u8..3).prop_map(|(length, byte)| vec![byte; length]),
        1 => (250usize..260, 0u8..3).prop_map(|(length, byte)| vec![byte; length]),
    ]
}

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(any::<u8>(), 0..40),
        (110usize..140, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        (250usize..300, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any_key(), any_value()).prop_map(|(key, value)| Step::Insert(key, value)),
        4 => any_key().prop_map(Step::Remove),
        1 => (0u16..300, 0usize..100).prop_map(|(first, count)| Step::InsertMany(first, count)),
        1 => (0u16..300, 0usize..100).prop_map(|(first, count)| Step::RemoveMany(first, count)),
    ]
}

/// Carries a step out on both, and compares what they say.
fn apply(step: Step, map: &mut PackedMap, model: &mut HashMap<Vec<u8>, Vec<u8>>) {
    let numbers = |first: u16, count: usize| (usize::from(first)..usize::from(first) + count).map(|n| n.to_string());
    match step {
        Step::Insert(key, value) => {
            assert_eq!(map.insert(&key, &value), model.insert(key, value).is_none());
        }
        Step::Remove(key) => assert_eq!(map.remove(&key), model.remove(&key).is_some()),
        Step::InsertMany(first, count) => numbers(first, count).for_each(|key| {
            let value = key.repeat(count % 5);
            assert_eq!(
                map.insert(key.as_bytes(), value.as_bytes()),
                model.insert(key.into_bytes(), value.into_bytes()).is_none()
            );
        }),
        Step::RemoveMany(first, count) => numbers(first, count).for_each(|key| {
            assert_eq!(map.remove(key.as_bytes()), model.remove(key.as_bytes()).is_some());
        }),
    }
    map.check();
    assert_eq!(map.len(), model.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn does_what_a_hash_map_does(steps in proptest::collection::vec(any_step(), 1..120)) {
        let (mut map, mut model) = (PackedMap::new(), HashMap::new());
        for step in steps {
            apply(step, &mut map, &mut model);
        }
        for (key, value) in &model {
            prop_assert_eq!(map.get(key), Some(&value[..]));
        }
        prop_assert!(!map.contains(b"never there"));
        let entries: Vec<(Vec<u8>, Vec<u8>)> = map.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        prop_assert_eq!(entries.len(), model.len());
        prop_assert_eq!(&entries.into_iter().collect::<HashMap<_, _>>(), &model);
        let copy = map.clone();
        for key in model.keys() {
            prop_assert!(map.remove(key));
            map.check();
        }
        prop_assert!(map.is_empty() && map.random(&mut Random::new(1)).is_none());
        prop_assert_eq!(copy.len(), model.len());
        copy.check();
    }

    #[test]
    fn a_scan_meets_all_that_stays_while_the_map_changes(
        before in proptest::collection::vec(any_step(), 1..40),
        between in proptest::collection::vec(any_step(), 1..40),
        counts in proptest::collection::vec(1usize..30, 1..10),
    ) {
        let (mut map, mut model) = (PackedMap::new(), HashMap::new());
        for step in before {
            apply(step, &mut map, &mut model);
        }
        let mut stayed: HashSet<Vec<u8>> = model.keys().cloned().collect();
        let (mut seen, mut cursor) = (HashSet::new(), 0);
        let (mut between, mut counts) = (between.into_iter(), counts.into_iter().cycle());
        loop {
            cursor = map.scan(cursor, counts.next().unwrap_or(1), &mut |key, value| {
                assert_eq!(model.get(key).map(Vec::as_slice), Some(value));
                seen.insert(key.to_vec());
            });
            prop_assert!(cursor < 1 << 53);
            if cursor == 0 {
                break;
            }
            if let Some(step) = between.next() {
                apply(step, &mut map, &mut model);
                stayed.retain(|key| model.contains_key(key));
            }
        }
        let missed: Vec<&Vec<u8>> = stayed.iter().filter(|key| !seen.contains(*key)).collect();
        prop_assert!(missed.is_empty(), "{missed:?}");
    }

    #[test]
    fn any_cursor_of_a_client_comes_to_an_end(cursor: u64, len in 0usize..200) {
        let mut map = PackedMap::new();
        (0..len).for_each(|number| { map.insert(number.to_string().as_bytes(), b""); });
        let (mut cursor, mut calls) = (cursor, 0);
        loop {
            cursor = map.scan(cursor, 1, &mut |_, _| {});
            calls += 1;
            prop_assert!(calls <= map.buckets_count + 1);
            if cursor == 0 {
                break;
            }
        }
    }
}

#[test]
fn a_scan_of_a_map_that_does_not_change_meets_each_entry_once() {
    let mut map = PackedMap::new();
    for number in 0..1000 {
        map.insert(format!("key {number}").as_bytes(), b"value");
    }
    let (mut seen, mut cursor, mut calls) = (Vec::new(), 0, 0);
    loop {
        let before = seen.len();
        cursor = map.scan(cursor, 10, &mut |key, _| seen.push(key.to_vec()));
        assert!(seen.len() - before < 10 + map.fullest, "at most a bucket more than was asked for");
        calls += 1;
        if cursor == 0 {
            break;
        }
    }
    assert!(calls > 40);
    assert_eq!(seen.len(), 1000);
    assert_eq!(seen.into_iter().collect::<HashSet<_>>().len(), 1000);
}

#[test]
fn random_entries_are_equally_likely() {
    let (mut map, mut random) = (PackedMap::new(), Random::new(5));
    for number in 0..50u8 {
        map.insert(&[number], &[number]);
    }
    let mut times = [0u32; 50];
    for _ in 0..50_000 {
        let (key, value) = map.random(&mut random).expect("the map has entries");
        assert_eq!(key, value);
        times[usize::from(key[0])] += 1;
    }
    assert!(times.iter().all(|times| (850..1150).contains(times)), "{times:?}");
}

#[test]
fn a_value_of_the_same_length_allocates_nothing() {
    let mut map = PackedMap::new();
    map.insert(b"key", b"value");
    map.insert(b"large", &[1; 1000]);
    let places =
        |map: &PackedMap| [&b"key"[..], b"large"].map(|key| map.get(key).map(|value| std::ptr::from_ref(value).addr()));
    let before = places(&map);
    assert!(!map.insert(b"key", b"other"));
    assert!(!map.insert(b"large", &[2; 1000]));
    assert_eq!(places(&map), before);
    assert_eq!((map.get(b"key"), map.get(b"large")), (Some(&b"other"[..]), Some(&[2; 1000][..])));
}

#[test]
fn a_bucket_takes_more_than_it_was_made_for() {
    let (mut bucket, mut figures) = (Bucket::default(), LargeFigures::default());
    let key = |number: u32| number.to_le_bytes();
    for number in 0..3000 {
        bucket.push(number as u8, &key(number), &vec![7; number as usize % 160], &mut figures);
    }
    bucket.check();
    for number in 0..3000 {
        let place = bucket.find(number as u8, &key(number)).expect("it was pushed");
        assert_eq!(bucket.value(place, 4), vec![7; number as usize % 160]);
        if number % 3 > 0 {
            bucket.remove(place, &mut figures);
        }
    }
    bucket.check();
    assert_eq!((bucket.len(), bucket.large_figures()), (1000, figures));
}

#[test]
fn keys_chosen_by_their_hashes_make_the_map_grow_early() {
    let mut map = PackedMap::new();
    let chosen = (0u32..).map(u32::to_le_bytes).filter(|key| map.hash(key).trailing_zeros() >= 6);
    let chosen: Vec<[u8; 4]> = chosen.take(300).collect();
    for key in &chosen {
        map.insert(key, key);
        map.check();
        assert!(map.fullest <= BUCKET_MAX_ENTRIES);
    }
    assert!(map.buckets_count > chosen.len());
    assert!(chosen.iter().all(|key| map.get(key) == Some(key)));
    let mut random = Random::new(1);
    for key in &chosen {
        assert!(map.random(&mut random).is_some_and(|(key, _)| map.contains(key)));
        assert!(map.remove(key));
        map.check();
    }
}

#[test]
fn removing_gives_memory_back() {
    let mut map = PackedMap::new();
    let key = |number: usize| format!("{number:032}").into_bytes();
    (0..10_000).for_each(|number| {
        map.insert(&key(number), &vec![0; number % 200]);
    });
    assert!(map.memory_bytes(usize::MAX) > 1_000_000);
    (10..10_000).for_each(|number| {
        map.remove(&key(number));
    });
    assert!(map.memory_bytes(usize::MAX) < 4_000, "{}", map.memory_bytes(usize::MAX));
}

#[test]
fn retaining_removes_what_looking_up_would() {
    let mut random = Random::new(11);
    for round in 0..40 {
        let (mut map, mut model) = (PackedMap::new(), HashMap::new());
        for number in 0..random.below(900) {
            // Short and long keys and values: some entries are large.
            let key = number.to_string().repeat(if number % 7 == 0 { 60 } else { 1 }).into_bytes();
            let value = vec![b'v'; if round % 3 == 0 { 0 } else { number as usize * 13 % 170 }];
            map.insert(&key, &value);
            model.insert(key, value);
        }
        let part = random.below(5);
        let keeps = |key: &[u8]| key.iter().map(|byte| u64::from(*byte)).sum::<u64>() % 4 < part;
        map.retain(|key, value| {
            assert_eq!(model.get(key).map(Vec::as_slice), Some(value));
            keeps(key)
        });
        model.retain(|key, _| keeps(key));
        map.check();
        assert_eq!(map.len(), model.len());
        assert!(model.iter().all(|(key, value)| map.get(key) == Some(value)));
        // It is as good as any other map.
        for number in 0..200u32 {
            map.insert(&number.to_le_bytes(), b"later");
        }
        map.check();
    }
}
