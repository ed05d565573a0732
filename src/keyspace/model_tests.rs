//! The keyspace against a model: a plain map with expiries, under random operations.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::base::number::parse_i64;

pub(super) const START_MS: i64 = 1_750_000_000_000;

pub(super) fn keyspace(databases: usize) -> Keyspace {
    let mut keyspace =
        Keyspace::new(KeyspaceOptions { databases, hash_seeds: [1, 2, 3, 4], access: AccessPolicy::Lru });
    keyspace.set_clock(UnixMillis(START_MS), false);
    keyspace
}

pub(super) fn check(keyspace: &Keyspace) {
    for database in &keyspace.databases {
        database.check(&keyspace.hasher);
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct ModelValue {
    bytes: Vec<u8>,
    encoding: &'static str,
    expiry: Option<i64>,
}

/// What the keyspace must answer.
#[derive(Default)]
pub(super) struct Model {
    pub keys: HashMap<(usize, Vec<u8>), ModelValue>,
    pub now: i64,
}

impl Model {
    fn expire(&mut self) {
        let now = self.now;
        self.keys.retain(|_, value| value.expiry.is_none_or(|expiry| expiry >= now));
    }

    fn set(&mut self, db: usize, key: &[u8], bytes: &[u8], encoding: &'static str) {
        let value =
            self.keys.entry((db, key.to_vec())).or_insert(ModelValue { bytes: Vec::new(), encoding: "", expiry: None });
        value.bytes = bytes.to_vec();
        value.encoding = encoding;
    }

    fn get(&self, db: usize, key: &[u8]) -> Option<&ModelValue> {
        self.keys.get(&(db, key.to_vec()))
    }
}

fn string_encoding(bytes: &[u8]) -> &'static str {
    match bytes {
        bytes if parse_i64(bytes).is_some() => "int",
        bytes if bytes.len() > 44 => "raw",
        _ => "embstr",
    }
}

#[derive(Clone, Debug)]
pub(super) enum Operation {
    Set(Vec<u8>),
    SetShared(Vec<u8>),
    SetPlain(Vec<u8>),
    SetInteger(i64),
    Append(Vec<u8>),
    Overwrite(usize, Vec<u8>),
    Expire(Option<i64>),
    Read,
    Inspect,
    Remove,
    RemoveThroughDoor,
    MoveTo(usize, u16),
    CopyTo(usize, u16),
    Advance(i64),
    ExpireCycle(usize),
    MoveSlot,
    FlushSlot,
    FlushDatabase,
    Swap,
    Scan(usize),
    RandomKey,
}

pub(super) fn text(value: Value<'_>) -> Vec<u8> {
    value.string().expect("only strings are made here").to_vec()
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_map(|integer| integer.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..60),
        (0usize..600).prop_map(|len| vec![b'x'; len]),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    prop_oneof![
        8 => bytes().prop_map(Set),
        2 => bytes().prop_map(SetShared),
        1 => bytes().prop_map(SetPlain),
        2 => any::<i64>().prop_map(SetInteger),
        3 => bytes().prop_map(Append),
        2 => (0usize..300, bytes()).prop_map(|(offset, bytes)| Overwrite(offset, bytes)),
        4 => prop::option::of(-2000i64..100_000).prop_map(Expire),
        4 => Just(Read),
        3 => Just(Inspect),
        3 => Just(Remove),
        1 => Just(RemoveThroughDoor),
        2 => (0usize..2, 0u16..300).prop_map(|(db, key)| MoveTo(db, key)),
        2 => (0usize..2, 0u16..300).prop_map(|(db, key)| CopyTo(db, key)),
        2 => (0i64..5000).prop_map(Advance),
        2 => (0usize..400).prop_map(ExpireCycle),
        1 => Just(MoveSlot),
        1 => Just(Scan(7)),
        1 => Just(RandomKey),
    ]
}

pub(super) fn rare_operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        60 => operation(),
        1 => Just(Operation::FlushSlot),
        1 => Just(Operation::FlushDatabase),
        1 => Just(Operation::Swap),
    ]
}

pub(super) fn key_name(number: u16) -> Vec<u8> {
    match number % 3 {
        0 => format!("{{tag}}{number}").into_bytes(),
        1 => format!("key:{number}").into_bytes(),
        _ => format!("{{tag}}{number}{}", "k".repeat(usize::from(number))).into_bytes(),
    }
}

pub(super) fn apply(keyspace: &mut Keyspace, model: &mut Model, db: usize, name: &[u8], operation: Operation) {
    use Operation::*;
    let key = Key::new(name);
    model.expire();
    match operation {
        Set(bytes) => {
            keyspace.write(db, key).set_string(&bytes);
            model.set(db, name, &bytes, string_encoding(&bytes));
        }
        SetShared(bytes) => {
            keyspace.write(db, key).set_shared(Bytes::from(bytes.clone()));
            model.set(db, name, &bytes, string_encoding(&bytes));
        }
        SetPlain(bytes) => {
            keyspace.write(db, key).set_plain(&bytes);
            model.set(db, name, &bytes, if bytes.len() > 44 { "raw" } else { "embstr" });
        }
        SetInteger(integer) => {
            keyspace.write(db, key).set_integer(integer);
            model.set(db, name, integer.to_string().as_bytes(), "int");
        }
        Append(bytes) => {
            let len = keyspace.write(db, key).append(&bytes);
            match model.get(db, name).map(|value| value.bytes.clone()) {
                None => model.set(db, name, &bytes, string_encoding(&bytes)),
                Some(mut value) => {
                    value.extend_from_slice(&bytes);
                    model.set(db, name, &value, "raw");
                }
            }
            assert_eq!(len, model.get(db, name).unwrap().bytes.len());
        }
        Overwrite(offset, bytes) => {
            keyspace.write(db, key).overwrite(offset, &bytes);
            let mut value = model.get(db, name).map(|value| value.bytes.clone()).unwrap_or_default();
            value.resize(value.len().max(offset + bytes.len()), 0);
            value[offset..offset + bytes.len()].copy_from_slice(&bytes);
            model.set(db, name, &value, "raw");
        }
        Expire(after) => {
            let expiry = after.map(|after| model.now + after);
            keyspace.write(db, key).set_expiry(expiry.map(UnixMillis));
            if let Some(value) = model.keys.get_mut(&(db, name.to_vec())) {
                value.expiry = expiry;
            }
        }
        Read => {
            let (hits, misses) = (keyspace.stats.hits, keyspace.stats.misses);
            let value = keyspace.read(db, key).map(text);
            assert_eq!(value.as_ref(), model.get(db, name).map(|value| &value.bytes));
            let hit = u64::from(value.is_some());
            assert_eq!((keyspace.stats.hits, keyspace.stats.misses), (hits + hit, misses + 1 - hit));
        }
        Inspect => {
            let info = keyspace.inspect(db, key).map(|info| ModelValue {
                bytes: text(info.value),
                encoding: info.encoding_name,
                expiry: info.expiry.map(UnixMillis::get),
            });
            assert_eq!(info.as_ref(), model.get(db, name));
            assert_eq!(keyspace.memory_usage(db, key, 5).is_some(), info.is_some());
        }
        Remove => {
            let there = keyspace.remove(db, key, Disposal::Background);
            assert_eq!(there, model.keys.remove(&(db, name.to_vec())).is_some());
        }
        RemoveThroughDoor => {
            let mut entry = keyspace.write(db, key);
            let there = entry.remove();
            entry.set_string(b"again");
            assert_eq!(there, model.keys.remove(&(db, name.to_vec())).is_some());
            model.set(db, name, b"again", "embstr");
        }
        MoveTo(to, number) => {
            let target = key_name(number);
            if let Some(owned) = keyspace.take(db, key) {
                keyspace.put(to, Key::new(&target), owned);
            }
            if let Some(value) = model.keys.remove(&(db, name.to_vec())) {
                model.keys.insert((to, target), value);
            }
        }
        CopyTo(to, number) => {
            let target = key_name(number);
            if let Some(owned) = keyspace.copy(db, key) {
                keyspace.put(to, Key::new(&target), owned.clone());
            }
            if let Some(value) = model.get(db, name).cloned() {
                model.keys.insert((to, target), value);
            }
        }
        Advance(ms) => {
            model.now += ms;
            keyspace.set_clock(UnixMillis(model.now), false);
        }
        ExpireCycle(budget) => {
            let now = model.now;
            let outcome = keyspace.expire_cycle(budget, &mut |_, slot, key| assert_eq!(slot, key_slot(key)));
            if !outcome.more {
                for db in 0..2 {
                    let len = model.keys.keys().filter(|(of, _)| *of == db).count();
                    assert_eq!(keyspace.len(db), len as u64, "at {now}");
                }
            }
        }
        MoveSlot => {
            let table = keyspace.take_slot(db, key.slot);
            assert_eq!(keyspace.slot_len(db, key.slot), 0);
            check(keyspace);
            keyspace.put_slot(db, key.slot, table);
        }
        FlushSlot => {
            keyspace.flush_slot(db, key.slot, Disposal::Background);
            model.keys.retain(|(of, name), _| *of != db || key_slot(name) != key.slot);
        }
        FlushDatabase => {
            let removed = keyspace.flush(Some(db), Disposal::Background);
            // A snapshot has them first.
            assert!(keyspace.is_in_snapshot() || keyspace.lazyfree_pending() >= removed);
            while keyspace.free_slice(10) {}
            model.keys.retain(|(of, _), _| *of != db);
        }
        Swap => {
            keyspace.swap_databases(0, 1);
            let keys = std::mem::take(&mut model.keys);
            model.keys = keys.into_iter().map(|((db, name), value)| ((1 - db, name), value)).collect();
        }
        Scan(count) => {
            let mut seen = BTreeMap::new();
            let mut cursor = ScanCursor::START;
            loop {
                let next = keyspace.scan(db, cursor, count, &mut |slot, key, value| {
                    assert_eq!(slot, key_slot(key));
                    assert!(seen.insert(key.to_vec(), text(*value)).is_none(), "nothing changed: once");
                });
                assert!(next == ScanCursor::START || next > cursor);
                cursor = next;
                if cursor == ScanCursor::START {
                    break;
                }
            }
            let expected: BTreeMap<_, _> = model
                .keys
                .iter()
                .filter(|((of, _), _)| *of == db)
                .map(|((_, name), value)| (name.clone(), value.bytes.clone()))
                .collect();
            assert_eq!(seen, expected);
            let mut walked = 0;
            keyspace.for_each(db, &mut |_, _, _| walked += 1);
            assert_eq!(walked, expected.len());
        }
        RandomKey => {
            let mut random = Random::new(model.now as u64);
            match keyspace.random_key(db, &mut random) {
                Some(name) => assert!(model.get(db, &name).is_some()),
                None => assert!(!model.keys.keys().any(|(of, _)| *of == db)),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 60 }, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn keyspace_agrees_with_the_model(
        operations in prop::collection::vec(
            (0usize..2, 0u16..300, rare_operation()), 1..if cfg!(miri) { 120 } else { 1500 })
    ) {
        let mut keyspace = keyspace(2);
        let mut model = Model { now: START_MS, ..Model::default() };
        for (number, (db, key, operation)) in operations.into_iter().enumerate() {
            apply(&mut keyspace, &mut model, db, &key_name(key), operation);
            if number % 64 == 0 {
                check(&keyspace);
            }
        }
        check(&keyspace);
        model.expire();
        for ((db, name), value) in &model.keys {
            let found = keyspace.peek(*db, Key::new(name)).map(text);
            prop_assert_eq!(found.as_ref(), Some(&value.bytes));
        }
        let outcome = keyspace.expire_cycle(usize::MAX, &mut |_, _, _| {});
        prop_assert!(!outcome.more);
        prop_assert_eq!(keyspace.len(0) + keyspace.len(1), model.keys.len() as u64);
    }
}

/// Keys of one slot: many more than fit in the buckets of the greatest depth that tests allow, so that these grow.
pub(super) const MANY: usize = if cfg!(miri) { 500 } else { 60_000 };

pub(super) fn tagged(number: usize) -> Vec<u8> {
    format!("{{slot}}:{number}").into_bytes()
}

fn scan_all(keyspace: &mut Keyspace, count: usize, mut between: impl FnMut(&mut Keyspace)) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    let mut cursor = ScanCursor::START;
    loop {
        let before = seen.len();
        cursor = keyspace.scan(0, ScanCursor::new(cursor.get()), count, &mut |_, key, _| seen.push(key.to_vec()));
        assert!(seen.len() - before <= count + 1024, "bounded");
        if cursor == ScanCursor::START {
            return seen;
        }
        between(keyspace);
    }
}

#[test]
fn one_slot_takes_tens_of_thousands_of_keys_and_gives_them_back() {
    let mut keyspace = keyspace(1);
    for number in 0..MANY {
        keyspace.write(0, Key::new(&tagged(number))).set_integer(number as i64);
        if number % (MANY / 10) == 0 {
            check(&keyspace);
        }
    }
    check(&keyspace);
    assert_eq!(keyspace.slot_len(0, key_slot(b"slot")), MANY as u64);
    for number in 0..MANY {
        let value = keyspace.read(0, Key::new(&tagged(number))).map(|value| value.string());
        assert_eq!(value, Some(Ok(StringValue::Integer(number as i64))));
    }
    assert!(keyspace.read(0, Key::new(&tagged(MANY))).is_none());
    for number in 0..MANY {
        assert!(keyspace.remove(0, Key::new(&tagged(number)), Disposal::Now));
        if number % (MANY / 10) == 0 {
            check(&keyspace);
        }
    }
    check(&keyspace);
    assert!(keyspace.is_empty(0));
    assert_eq!(keyspace.databases[0].overhead_bytes(), {
        let mut fresh = super::model_tests::keyspace(1);
        fresh.write(0, Key::new(b"x")).set_integer(1);
        fresh.remove(0, Key::new(b"x"), Disposal::Now);
        fresh.overhead_bytes(0)
    });
}

#[test]
fn scan_finds_what_stays_while_buckets_split() {
    let mut keyspace = keyspace(1);
    let stay = MANY / 40;
    (0..stay).for_each(|number| keyspace.write(0, Key::new(&tagged(number))).set_integer(0));
    let mut added = stay;
    let seen = scan_all(&mut keyspace, 10, |keyspace| {
        for _ in 0..if added < MANY { 100 } else { 0 } {
            keyspace.write(0, Key::new(&tagged(added))).set_integer(0);
            added += 1;
        }
    });
    assert!(added > stay * 2, "splits happened");
    let unique: BTreeSet<_> = seen.into_iter().collect();
    assert!((0..stay).all(|number| unique.contains(&tagged(number))));
}

#[test]
fn scan_finds_what_stays_while_buckets_merge_and_split() {
    let mut keyspace = keyspace(1);
    let many = MANY / 4;
    (0..many).for_each(|number| keyspace.write(0, Key::new(&tagged(number))).set_integer(0));
    let stays = |number: usize| number.is_multiple_of(23);
    let mut random = Random::new(7);
    let mut removed = 0;
    let mut calls = 0;
    let seen = scan_all(&mut keyspace, 20, |keyspace| {
        calls += 1;
        // Waves: most keys go, then come back.
        for _ in 0..many / 8 {
            let number = random.below(many as u64) as usize;
            if stays(number) || calls > 3000 {
                continue;
            }
            if calls % 40 < 20 {
                removed += u64::from(keyspace.remove(0, Key::new(&tagged(number)), Disposal::Now));
            } else {
                keyspace.write(0, Key::new(&tagged(number))).set_integer(0);
            }
        }
        if calls % 40 == 0 {
            check(keyspace);
        }
    });
    assert!(cfg!(miri) || removed as usize > many / 2, "buckets merged");
    let unique: BTreeSet<_> = seen.into_iter().collect();
    for number in (0..many).filter(|number| stays(*number)) {
        assert!(unique.contains(&tagged(number)), "{number}");
    }
}

#[test]
fn scan_removes_what_has_expired_and_passes_over_nothing_else() {
    let mut keyspace = keyspace(1);
    let many = MANY / 30;
    for number in 0..many {
        let name = tagged(number);
        let mut entry = keyspace.write(0, Key::new(&name));
        entry.set_integer(0);
        entry.set_expiry((number % 4 != 0).then_some(UnixMillis(START_MS)));
    }
    keyspace.set_clock(UnixMillis(START_MS + 1), false);
    let (mut cursor, mut seen) = (ScanCursor::START, BTreeSet::new());
    loop {
        cursor = keyspace.scan(0, cursor, 7, &mut |_, key, _| {
            seen.insert(key.to_vec());
        });
        if cursor == ScanCursor::START {
            break;
        }
    }
    assert_eq!(seen, (0..many).step_by(4).map(tagged).collect());
    assert_eq!((keyspace.len(0), keyspace.volatile_len(0)), (seen.len() as u64, 0));
    check(&keyspace);
}

#[test]
fn scan_takes_any_cursor() {
    let mut keyspace = keyspace(1);
    (0..MANY / 30).for_each(|number| keyspace.write(0, Key::new(&tagged(number))).set_integer(0));
    let mut random = Random::new(1);
    for _ in 0..if cfg!(miri) { 20 } else { 20_000 } {
        let cursor = random.next_u64() >> random.below(64);
        keyspace.scan(0, ScanCursor::new(cursor), 10, &mut |_, _, _| {});
    }
    keyspace.scan(0, ScanCursor::new(u64::MAX), 10, &mut |_, _, _| {});
}

#[test]
fn cursors_fit_in_a_double() {
    let mut keyspace = keyspace(1);
    (0..MANY / 20).for_each(|number| keyspace.write(0, Key::new(format!("k{number}").as_bytes())).set_integer(0));
    let mut cursor = ScanCursor::START;
    loop {
        cursor = keyspace.scan(0, cursor, 1, &mut |_, _, _| {});
        assert!(cursor.get() < 1 << 53);
        if cursor == ScanCursor::START {
            break;
        }
    }
}

#[test]
fn active_expiry_removes_what_is_due_and_nothing_else() {
    let mut keyspace = keyspace(1);
    let many = MANY / 10;
    for number in 0..many {
        let name = tagged(number);
        let mut entry = keyspace.write(0, Key::new(&name));
        entry.set_integer(0);
        entry.set_expiry((number % 3 != 0).then_some(UnixMillis(START_MS + number as i64 * 1000)));
    }
    let middle = START_MS + many as i64 * 500;
    keyspace.set_clock(UnixMillis(middle), false);
    let mut removed = 0;
    while keyspace.expire_cycle(100, &mut |_, _, _| removed += 1).more {}
    let due = |number: usize| !number.is_multiple_of(3) && START_MS + number as i64 * 1000 < middle;
    assert_eq!(removed, (0..many).filter(|number| due(*number)).count());
    check(&keyspace);
    for number in 0..many {
        assert_eq!(keyspace.peek(0, Key::new(&tagged(number))).is_some(), !due(number), "{number}");
    }
    // Nothing more is due: each bucket costs one unit of the budget.
    let outcome = keyspace.expire_cycle(1000, &mut |_, _, _| unreachable!());
    assert_eq!(outcome, ExpireOutcome { expired: 0, more: false });
    assert_eq!(keyspace.stats.expired_keys, removed as u64);
}

#[test]
fn while_nothing_expires_keys_stay_and_are_there() {
    let mut keyspace = keyspace(1);
    let key = Key::new(b"k");
    let mut entry = keyspace.write(0, key);
    entry.set_string(b"v");
    entry.set_expiry(Some(UnixMillis(START_MS + 5)));
    keyspace.set_clock(UnixMillis(START_MS + 6), false);
    keyspace.expires_nothing = true;
    assert!(keyspace.read(0, key).is_some() && keyspace.write(0, key).exists());
    assert_eq!(keyspace.expire_cycle(1000, &mut |_, _, _| unreachable!()).expired, 0);
    keyspace.expires_nothing = false;
    // A glance finds nothing and leaves the key for others to meet.
    assert!(keyspace.glance(0, key).is_none());
    assert_eq!((keyspace.len(0), keyspace.stats.expired_keys), (1, 0));
    assert!(keyspace.peek(0, key).is_none());
    assert_eq!((keyspace.len(0), keyspace.stats.expired_keys), (0, 1));
}

#[test]
fn a_door_counts_one_change() {
    let mut keyspace = keyspace(1);
    let key = Key::new(b"k");
    let mut entry = keyspace.write(0, key);
    entry.set_string(b"v");
    entry.set_expiry(Some(UnixMillis(START_MS + 5)));
    assert!(!entry.set_expiry(Some(UnixMillis(START_MS + 5))));
    assert_eq!(keyspace.stats.dirty, 1);
    keyspace.write(0, key);
    assert_eq!(keyspace.stats.dirty, 1);
    keyspace.set_clock(UnixMillis(START_MS + 6), false);
    assert!(!keyspace.write(0, key).exists());
    assert_eq!((keyspace.stats.dirty, keyspace.stats.expired_keys), (1, 1));
}

#[test]
fn appending_to_a_big_value_moves_it_rarely_and_never_under_a_reply() {
    let mut keyspace = keyspace(1);
    let key = Key::new(b"k");
    keyspace.write(0, key).set_shared(Bytes::from(vec![b'a'; 1000]));
    let mut moves = 0;
    let mut last = std::ptr::null();
    for _ in 0..if cfg!(miri) { 50 } else { 5000 } {
        keyspace.write(0, key).append(b"0123456789");
        let Some(Value::String(StringValue::Shared(bytes))) = keyspace.peek(0, key) else { panic!("a heap value") };
        moves += u32::from(bytes.as_ptr() != last);
        last = bytes.as_ptr();
    }
    assert!(moves < 12, "{moves}");
    let Some(Value::String(StringValue::Shared(reply))) = keyspace.read(0, key) else { panic!("a heap value") };
    let reply = reply.clone();
    keyspace.write(0, key).overwrite(0, b"changed");
    assert!(reply.starts_with(b"aaaa"));
    assert!(text(keyspace.read(0, key).unwrap()).starts_with(b"changed"));
}

#[test]
fn access_is_dated_by_reads_and_writes_only() {
    let mut keyspace = keyspace(1);
    let key = Key::new(b"k");
    keyspace.write(0, key).set_string(b"v");
    keyspace.set_clock(UnixMillis(START_MS + 10_000), false);
    keyspace.peek(0, key);
    assert_eq!(keyspace.inspect(0, key).unwrap().idle_seconds, 10);
    keyspace.no_touch = true;
    keyspace.read(0, key);
    keyspace.write(0, key);
    assert_eq!(keyspace.inspect(0, key).unwrap().idle_seconds, 10);
    keyspace.no_touch = false;
    keyspace.read(0, key);
    assert_eq!(keyspace.inspect(0, key).unwrap().idle_seconds, 0);
    keyspace.write(0, key).set_access(StoredAccess::Idle { seconds: 77 });
    assert_eq!(keyspace.inspect(0, key).unwrap().idle_seconds, 77);
    keyspace.set_access_policy(AccessPolicy::Lfu { log_factor: 10, decay_minutes: 1 });
    keyspace.write(0, Key::new(b"new")).set_string(b"v");
    assert_eq!(keyspace.inspect(0, Key::new(b"new")).unwrap().frequency, 5);
    keyspace.read(0, Key::new(b"new"));
    assert_eq!(keyspace.inspect(0, Key::new(b"new")).unwrap().frequency, 6);
}

#[test]
fn random_keys_come_from_all_slots_about_evenly() {
    let mut keyspace = keyspace(1);
    // A large slot and many small ones.
    (0..MANY.min(500)).for_each(|number| keyspace.write(0, Key::new(&tagged(number))).set_integer(0));
    (0..MANY.min(500)).for_each(|number| keyspace.write(0, Key::new(format!("k{number}").as_bytes())).set_integer(0));
    let mut random = Random::new(3);
    let mut seen = BTreeMap::<Vec<u8>, u32>::new();
    let draws = if cfg!(miri) { 200 } else { 50_000 };
    for _ in 0..draws {
        *seen.entry(keyspace.random_key(0, &mut random).unwrap()).or_default() += 1;
    }
    let tagged = seen.iter().filter(|(key, _)| key.starts_with(b"{")).map(|(_, times)| times).sum::<u32>();
    assert!((draws * 2 / 5..draws * 3 / 5).contains(&tagged), "{tagged}");
    if !cfg!(miri) {
        assert_eq!(seen.len(), 1000);
    }
}

#[test]
fn average_ttl_is_near_the_mean() {
    let mut keyspace = keyspace(1);
    assert_eq!(keyspace.average_ttl_ms(0), 0);
    for number in 0..1000 {
        let name = format!("k{number}");
        let mut entry = keyspace.write(0, Key::new(name.as_bytes()));
        entry.set_integer(0);
        entry.set_expiry(Some(UnixMillis(START_MS + 50_000)));
    }
    assert_eq!(keyspace.average_ttl_ms(0), 50_000);
}
