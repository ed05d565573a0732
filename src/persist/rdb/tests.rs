//! Values of every type there and back, through single payloads and through files.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::file::{self, FileFacts};
use super::*;
use crate::base::clock::UnixMillis;
use crate::keyspace::hash::{Hash, HashLimits};
use crate::keyspace::list::{End, Incoming, List};
use crate::keyspace::listpack::{Element, Needle};
use crate::keyspace::set::{Set, SetLimits};
use crate::keyspace::sorted_set::{AddRules, Limits as SortedSetLimits, SortedSet};
use crate::keyspace::stream::{Group, NodeLimits, Stream, StreamId};
use crate::keyspace::{
    AccessPolicy, Collection, Key, Keyspace, KeyspaceOptions, LoadedValue, Object, StoredAccess, StringValue, Value,
};

const LIMITS: LoadLimits = LoadLimits {
    hash: HashLimits { entries: 5, value_bytes: 20 },
    set: SetLimits { intset_entries: 6, listpack_entries: 4, listpack_value_bytes: 20 },
    sorted_set: SortedSetLimits { entries: 4, value_bytes: 20 },
    list_setting: 4,
};

/// An owned value for tests.
#[derive(Clone, Debug)]
enum Owned {
    Integer(i64),
    Bytes(Vec<u8>),
    Object(Object),
}

impl Owned {
    fn value(&self) -> Value<'_> {
        match self {
            Owned::Integer(integer) => Value::String(StringValue::Integer(*integer)),
            Owned::Bytes(bytes) => Value::String(StringValue::Bytes(bytes)),
            Owned::Object(object) => Value::Object(object),
        }
    }

    fn loaded(&self) -> LoadedValue<'static> {
        match self.clone() {
            Owned::Integer(integer) => LoadedValue::Integer(integer),
            Owned::Bytes(bytes) => LoadedValue::Bytes(Cow::Owned(bytes)),
            Owned::Object(object) => LoadedValue::Object(Box::new(object)),
        }
    }
}

/// What a value holds, whatever form it has and in which order a table gives it out.
fn content(value: Value<'_>) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = match value {
        Value::String(string) => vec![string.to_vec()],
        Value::Object(Object::List(list)) => list.iter().map(|item| item.to_vec()).collect(),
        Value::Object(Object::Set(set)) => set.iter().map(|member| member.to_vec()).collect(),
        Value::Object(Object::SortedSet(set)) => {
            set.iter().map(|(member, score)| [&score.to_bits().to_be_bytes()[..], &member.to_vec()].concat()).collect()
        }
        Value::Object(Object::Hash(hash)) => {
            hash.iter().map(|(field, value)| [field.to_vec(), b"\0".to_vec(), value.to_vec()].concat()).collect()
        }
        Value::Object(Object::Stream(_)) => {
            let mut bytes = Vec::new();
            Encoder::new(false).value(value, &mut bytes);
            vec![bytes]
        }
    };
    if matches!(value, Value::Object(Object::Set(_) | Object::Hash(_))) {
        parts.sort();
    }
    parts
}

fn any_word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => proptest::collection::vec(97u8..100, 0..4),
        2 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        2 => (-300i64..300).prop_map(|number| number.to_string().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 15..90),
        1 => (any::<u8>(), 20usize..3000).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

fn any_score() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-9i32..9).prop_map(f64::from),
        any::<f64>().prop_filter("scores are numbers", |score| !score.is_nan()),
        Just(f64::INFINITY),
        Just(1e19),
    ]
}

fn list_of(words: Vec<Vec<u8>>) -> List {
    let mut list = List::default();
    for word in words {
        list.grow_for(1, word.len(), LIMITS.list_setting);
        list.push(End::Back, Incoming::copied(&word));
    }
    list
}

fn stream_of(entries: Vec<(u64, u64, Vec<Vec<u8>>)>, acts: Vec<(u8, u8)>) -> Stream {
    let mut stream = Stream::default();
    let limits = NodeLimits { bytes: 0, entries: 3 };
    let mut ids = Vec::new();
    for (ms, seq, words) in entries {
        let last = stream.log.last_id();
        let id = StreamId::new(last.ms.saturating_add(ms), seq);
        if id > last && words.len().is_multiple_of(2) && !words.is_empty() {
            stream.log.append(id, words.iter().map(Vec::as_slice), limits);
            ids.push(id);
        }
    }
    for (act, which) in acts {
        let Some(id) = ids.get(usize::from(which) % ids.len().max(1)).copied() else { break };
        let name = [b'g', act % 3];
        if act >= 200 {
            stream.log.delete([id].into_iter());
            continue;
        }
        let read = (act % 2 == 0).then_some(i64::from(which));
        stream.groups.create(&name, Group::new(id, read));
        let Some(group) = stream.groups.get_mut(&name) else { break };
        let (consumer, _) = group.consumer_or_new(&[b'c', act % 5], i64::from(act) * 1000);
        group.deliver(id, consumer, i64::from(act) * 1000);
        if act % 7 == 0 {
            group.redeliver(id, i64::from(act) * 5000);
        }
        if act % 11 == 0 {
            group.acknowledge(id);
        }
    }
    stream
}

fn any_value() -> impl Strategy<Value = Owned> {
    fn object<T: Collection>(collection: T) -> Owned {
        Owned::Object(collection.into_object())
    }
    let words = || proptest::collection::vec(any_word(), 1..14);
    prop_oneof![
        any::<i64>().prop_map(Owned::Integer),
        any_word()
            .prop_filter("an integer is kept as one", |word| Needle::new(word).element() == Element::Bytes(word))
            .prop_map(Owned::Bytes),
        words().prop_map(|words| object(list_of(words))),
        words().prop_map(|words| {
            let mut set = Set::default();
            for word in words {
                set.add(Needle::new(&word).element(), LIMITS.set);
            }
            object(set)
        }),
        proptest::collection::vec(-40_000i64..40_000, 1..9).prop_map(|integers| {
            let mut set = Set::default();
            for integer in integers {
                set.add(Element::Integer(integer), LIMITS.set);
            }
            object(set)
        }),
        // No field twice: a long value that a short one replaces leaves a large form that loads as a small one.
        proptest::collection::btree_map(any_word(), any_word(), 1..9).prop_map(|pairs| {
            let mut hash = Hash::default();
            for (field, value) in pairs {
                hash.set(&field, &value, LIMITS.hash);
            }
            object(hash)
        }),
        proptest::collection::vec((any_score(), any_word()), 1..9).prop_map(|entries| {
            let mut set = SortedSet::default();
            for (score, member) in entries {
                let added = set.add(score, &member, AddRules::default(), LIMITS.sorted_set);
                assert!(added.is_ok());
            }
            object(set)
        }),
        (
            proptest::collection::vec((0u64..3, 0u64..4, proptest::collection::vec(any_word(), 0..5)), 0..12),
            proptest::collection::vec((any::<u8>(), any::<u8>()), 0..20),
        )
            .prop_map(|(entries, acts)| object(stream_of(entries, acts))),
    ]
}

fn same(loaded: &LoadedValue<'_>, original: &Owned) {
    let (value, encoding): (Value<'_>, _) = match loaded {
        LoadedValue::Integer(integer) => (Value::String(StringValue::Integer(*integer)), None),
        LoadedValue::Bytes(bytes) => (Value::String(StringValue::Bytes(bytes)), None),
        LoadedValue::Object(object) => (Value::Object(object), Some(object.encoding_name())),
    };
    assert_eq!(content(value), content(original.value()));
    if let Owned::Object(object) = original {
        assert_eq!(encoding, Some(object.encoding_name()));
    }
}

fn keyspace() -> Keyspace {
    Keyspace::new(KeyspaceOptions { databases: 16, hash_seeds: [1, 2, 3, 4], access: AccessPolicy::Lru })
}

/// Reads a file in windows of about `step` bytes into a keyspace; returns it with the names of the other records.
fn load(bytes: &[u8], step: usize) -> (Keyspace, Vec<String>) {
    let mut keyspace = keyspace();
    let mut reader = RecordReader::new(ReaderOptions { checksum: true, total_bytes: None });
    let (mut start, mut end, mut others) = (0, step.min(bytes.len()), Vec::new());
    while !reader.is_finished() {
        let mut batch = reader.batch(&bytes[start..end]);
        while let Some(record) = batch.next_record().unwrap() {
            match record {
                Record::Key(record) => {
                    let value = decode_value(record.kind, record.value, &LIMITS).unwrap().unwrap();
                    let key = Key::new(&record.key);
                    let db = usize::try_from(record.db).unwrap();
                    assert!(keyspace.load(db, key, value, record.expiry, record.access));
                }
                other => others.push(format!("{other:?}")),
            }
        }
        start += batch.end().consumed;
        end = (end + step).min(bytes.len());
    }
    assert_eq!(start, bytes.len());
    (keyspace, others)
}

proptest! {
    #[test]
    fn values_of_all_types_come_back_from_payloads(value in any_value(), compress: bool) {
        let mut payload = b"before".to_vec();
        payload::write(value.value(), &mut Encoder::new(compress), &mut payload);
        let payload = &payload[6..];
        let loaded = payload::open(payload, false).unwrap().value(&LIMITS).unwrap();
        same(&loaded, &value);
    }

    #[test]
    fn a_damaged_payload_is_refused_or_read_and_never_panics(
        value in any_value(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut payload = Vec::new();
        payload::write(value.value(), &mut Encoder::new(false), &mut payload);
        for (at, byte) in damage {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        if let Ok(sealed) = payload::open(&payload, true)
            && let Ok(LoadedValue::Object(object)) = sealed.value(&LIMITS)
        {
            // What was read can be written and read again.
            let mut again = Vec::new();
            payload::write(Value::Object(&object), &mut Encoder::new(true), &mut again);
            let loaded = payload::open(&again, false).unwrap().value(&LIMITS).unwrap();
            let LoadedValue::Object(second) = &loaded else { panic!("another type") };
            prop_assert_eq!(content(Value::Object(second)), content(Value::Object(&object)));
        }
    }

    #[test]
    fn files_of_all_types_come_back_however_they_are_cut(
        entries in proptest::collection::btree_map(any_word(), (any_value(), any::<Option<u32>>(), 0u64..1000), 0..6),
        step in 1usize..600,
        compress: bool,
    ) {
        let facts = FileFacts { server_version: "7.2.4", created_s: 1, used_memory: 2, replication: None, aof_base: false, slot_imports: Vec::new() };
        let mut encoder = Encoder::new(compress);
        let mut bytes = Vec::new();
        file::header(&facts, &mut bytes);
        file::function(b"#!lua name=x", &mut encoder, &mut bytes);
        for (index, (key, (value, expiry, idle))) in entries.iter().enumerate() {
            file::select_database(index % 3, &mut bytes);
            file::resize_database(1, 0, &mut bytes);
            let expiry = expiry.map(|ms| UnixMillis(ms.into()));
            encoder.entry(key, value.value(), expiry, StoredAccess::Idle { seconds: *idle }, &mut bytes);
        }
        let mut checksum = Checksum::new();
        checksum.update(&bytes);
        file::footer(Some(checksum), &mut bytes);
        let (mut keyspace, others) = load(&bytes, step);
        prop_assert_eq!(others.last().map(String::as_str), Some("End(Matches)"));
        prop_assert_eq!(others.len(), 1 + 5 + 1 + 2 * entries.len() + 1);
        for (index, (key, (value, expiry, _))) in entries.iter().enumerate() {
            let info = keyspace.peek_info(index % 3, Key::new(key)).unwrap();
            prop_assert_eq!(info.expiry, expiry.map(|ms| UnixMillis(ms.into())));
            prop_assert_eq!(content(info.value), content(value.value()));
        }
    }

    #[test]
    fn any_bytes_behind_a_magic_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [b"REDIS0011", &bytes[..]].concat();
        let mut reader = RecordReader::new(ReaderOptions { checksum: true, total_bytes: Some(bytes.len() as u64) });
        let mut batch = reader.batch(&bytes);
        while let Ok(Some(record)) = batch.next_record() {
            if let Record::Key(record) = record {
                let _ = decode_value(record.kind, record.value, &LIMITS);
            }
        }
    }
}

// ---- encodings that only others write -------------------------------------------------------------------------------

/// Encoding and content, none for a collection without elements, or why not.
type Found = Result<Option<(String, Vec<Vec<u8>>)>, String>;

fn decode(kind: u8, bytes: &[u8]) -> Found {
    let loaded = decode_value(kind, bytes, &LIMITS).map_err(|error| error.to_string())?;
    Ok(loaded.map(|loaded| match &loaded {
        LoadedValue::Object(object) => (object.encoding_name().to_owned(), content(Value::Object(object))),
        other => panic!("{other:?}"),
    }))
}

fn texts(found: &Found) -> (String, Vec<String>) {
    let (encoding, parts) = found.clone().unwrap().unwrap();
    (encoding, parts.iter().map(|part| String::from_utf8_lossy(part).replace('\0', "=")).collect())
}

#[test]
fn old_and_new_encodings_of_others_are_read() {
    use super::types::*;
    let found = |kind, bytes: &[u8]| texts(&decode(kind, bytes));
    let is = |(encoding, parts): (String, Vec<String>), expected: &str, elements: &[&str]| {
        assert_eq!((encoding.as_str(), parts), (expected, elements.iter().map(|part| (*part).to_owned()).collect()));
    };
    is(found(LIST, b"\x03\x01a\xc0\x07\x01b"), "listpack", &["a", "7", "b"]);
    is(found(LIST, b"\x05\x01a\x01a\x01a\x01a\x01a"), "quicklist", &["a"; 5]);
    is(found(SET, b"\x02\xc0\x05\xc0\x03"), "intset", &["3", "5"]);
    is(found(SET, b"\x02\xc0\x05\x01x"), "listpack", &["5", "x"]);
    is(found(SET, b"\x05\x01a\x01b\x01c\x01d\x01e"), "hashtable", &["a", "b", "c", "d", "e"]);
    is(found(HASH, b"\x01\x01f\x01v"), "listpack", &["f=v"]);
    is(found(HASH_WITH_EXPIRIES, b"\x01\x01f\x01v\xff\xff\xff\xff\xff\xff\xff\xff"), "listpack", &["f=v"]);
    is(found(HASH_ZIPMAP, b"\x0c\x02\x01f\x01\x00v\x01g\x01\x00w\xff"), "listpack", &["f=v", "g=w"]);
    let ziplist = b"\x0f\x0f\0\0\0\x0c\0\0\0\x02\0\0\xf3\x02\xf6\xff";
    is(found(LIST_ZIPLIST, ziplist), "quicklist", &["2", "5"]);
    is(found(HASH_ZIPLIST, ziplist), "listpack", &["2=5"]);
    let sorted = decode(SORTED_SET_ZIPLIST, ziplist).unwrap().unwrap();
    assert_eq!(sorted, ("listpack".to_owned(), vec![[&5f64.to_bits().to_be_bytes()[..], b"2"].concat()]));
    is(found(LIST_QUICKLIST, &[b"\x01", &ziplist[..]].concat()), "listpack", &["2", "5"]);
    is(found(LIST_QUICKLIST, &[b"\x02", &ziplist[..], ziplist].concat()), "quicklist", &["2", "5", "2", "5"]);
    is(found(LIST_QUICKLIST_2, b"\x02\x01\x03abc\x02\x0a\x0a\0\0\0\x01\0\x81x\x02\xff"), "quicklist", &["abc", "x"]);
    is(found(SET_LISTPACK, b"\x0a\x0a\0\0\0\x01\0\x81x\x02\xff"), "listpack", &["x"]);
    let scores = decode(SORTED_SET, b"\x03\x01a\x031.5\x01b\xfe\x01c\xff").unwrap().unwrap().1;
    let expected = [(f64::NEG_INFINITY, b"c"), (1.5, b"a"), (f64::INFINITY, b"b")];
    let expected: Vec<_> =
        expected.iter().map(|(score, member)| [&score.to_bits().to_be_bytes()[..], *member].concat()).collect();
    assert_eq!(scores, expected);
}

#[test]
fn what_is_wrong_is_named() {
    use super::types::*;
    for (kind, bytes, reason) in [
        (SET, &b"\x02\x01a\x01a"[..], "offset 0: a member stands twice in a set"),
        (SET, b"\x07\x01a\x01b\x01c\x01d\x01e\x01f\x01a", "offset 0: a member stands twice in a set"),
        (HASH, b"\x02\x01a\x01b\x01a\x01c", "offset 0: a field stands twice in a hash"),
        (SORTED_SET_2, b"\x01\x01a\0\0\0\0\0\0\xf8\x7f", "offset 3: a score is not a number"),
        (SORTED_SET, b"\x01\x01a\xfd", "offset 3: a score is not a number"),
        (SORTED_SET, b"\x01\x01a\x01x", "offset 3: a score is not a number"),
        (STRING, b"\x01ab", "offset 2: bytes are left behind the value"),
        (SET, b"\x05\x01a", "offset 0: more elements are announced than there are bytes for"),
        (
            HASH_LISTPACK,
            b"\x0a\x0a\0\0\0\x01\0\x81x\x02\xff",
            "offset 11: a packed hash has a field twice, or one without a value",
        ),
        (SET_LISTPACK, b"\x0a\x0a\0\0\0\x02\0\x81x\x02\xff", "offset 0: a listpack is damaged"),
        (SET_INTSET, b"\x08\x02\0\0\0\0\0\0\0", "offset 0: an intset is damaged"),
        (LIST_ZIPLIST, b"\x03abc", "offset 0: a ziplist is damaged"),
        (HASH_ZIPMAP, b"\x03abc", "offset 0: a zipmap is damaged"),
        (LIST_QUICKLIST_2, b"\x01\x03\x01a", "offset 1: a node of a list is neither packed nor plain"),
        (LIST_QUICKLIST_2, b"\x01\x01\x00", "offset 1: a node of a list has no bytes"),
        (
            HASH_WITH_EXPIRIES,
            b"\x01\x01f\x01v\xff\xff\xff\xff\xff\xff\xff\x7f",
            "offset 5: a field of a hash has an expiry of its own, which is not supported",
        ),
        (99, b"", "offset 0: the type of the value is not known"),
    ] {
        let error = decode_value(kind, bytes, &LIMITS).unwrap_err().to_string();
        assert_eq!(error, reason, "{kind} {}", bytes.escape_ascii());
    }
}

#[test]
fn collections_without_elements_are_none() {
    use super::types::*;
    let empty_listpack = b"\x07\x07\0\0\0\0\0\xff";
    for (kind, bytes) in [
        (LIST, &b"\0"[..]),
        (SET, b"\0"),
        (HASH, b"\0"),
        (SORTED_SET_2, b"\0"),
        (LIST_QUICKLIST_2, b"\0"),
        (LIST_QUICKLIST_2, b"\x01\x02\x07\x07\0\0\0\0\0\xff"),
        (HASH_LISTPACK, empty_listpack),
        (SORTED_SET_LISTPACK, empty_listpack),
        (SET_LISTPACK, empty_listpack),
        (HASH_ZIPMAP, b"\x02\0\xff"),
    ] {
        assert_eq!(decode(kind, bytes), Ok(None), "{kind}");
    }
}

#[test]
fn a_packed_sorted_set_out_of_order_is_put_in_order() {
    use super::types::SORTED_SET_LISTPACK;
    let mut listpack = crate::keyspace::listpack::Listpack::new();
    for word in ["b", "2", "a", "1"] {
        listpack.push_back(word.as_bytes());
    }
    let mut bytes = Vec::new();
    Encoder::new(false).string(listpack.as_bytes(), &mut bytes);
    let (encoding, parts) = decode(SORTED_SET_LISTPACK, &bytes).unwrap().unwrap();
    assert_eq!(encoding, "listpack");
    let members: Vec<u8> = parts.iter().map(|part| part[8]).collect();
    assert_eq!(members, b"ab");
}

#[test]
fn packed_collections_follow_the_limits_of_today() {
    use super::types::{HASH_LISTPACK, SET_INTSET, SET_LISTPACK, SORTED_SET_LISTPACK};
    let packed = |count: usize| {
        let mut listpack = crate::keyspace::listpack::Listpack::new();
        (0..count).for_each(|number| {
            listpack.push_back_integer(number as i64 / 2 * 1000 + number as i64 % 2);
        });
        let mut bytes = Vec::new();
        Encoder::new(false).string(listpack.as_bytes(), &mut bytes);
        bytes
    };
    let form = |kind, bytes: &[u8]| decode(kind, bytes).unwrap().unwrap().0;
    assert_eq!([form(HASH_LISTPACK, &packed(10)), form(HASH_LISTPACK, &packed(12))], ["listpack", "hashtable"]);
    let sorted = [form(SORTED_SET_LISTPACK, &packed(8)), form(SORTED_SET_LISTPACK, &packed(10))];
    assert_eq!(sorted, ["listpack", "skiplist"]);
    assert_eq!([form(SET_LISTPACK, &packed(4)), form(SET_LISTPACK, &packed(5))], ["listpack", "hashtable"]);
    let intset = |count: i64| {
        let integers = crate::keyspace::intset::IntSet::from_integers((0..count).collect());
        let mut bytes = Vec::new();
        Encoder::new(false).string(integers.as_bytes(), &mut bytes);
        bytes
    };
    assert_eq!([form(SET_INTSET, &intset(6)), form(SET_INTSET, &intset(7))], ["intset", "hashtable"]);
}

#[test]
fn a_large_element_of_a_list_goes_and_comes_in_a_node_of_its_own() {
    let large = vec![b'x'; 100_000];
    let list = list_of(vec![b"a".to_vec(), large.clone(), b"b".to_vec()]);
    let value = Owned::Object(list.into_object());
    let mut payload = Vec::new();
    payload::write(value.value(), &mut Encoder::new(true), &mut payload);
    assert!(payload.len() < 3000, "it is compressed");
    same(&payload::open(&payload, false).unwrap().value(&LIMITS).unwrap(), &value);
}

#[test]
fn payloads_are_accepted_by_version_and_checksum() {
    let value = Value::String(StringValue::Integer(5));
    let mut payload = Vec::new();
    payload::write(value, &mut Encoder::new(true), &mut payload);
    assert_eq!(payload, b"\x00\xc0\x05\x0a\x00c/_f\x83/\xb3Q");
    let sealed = |version: u16| {
        let mut bytes = b"\x16\x01\x01f\x01v\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
        bytes.extend_from_slice(&version.to_le_bytes());
        let sum = Checksum::of(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        payload::open(&bytes, false).map(|sealed| sealed.value(&LIMITS).is_ok())
    };
    assert_eq!(sealed(80), Ok(true), "a hash of Valkey 9");
    assert_eq!(sealed(12), Ok(false), "the number means something else");
    assert_eq!([sealed(13), sealed(79), sealed(81)], [const { Err(payload::PayloadError::Footer) }; 3]);
    for at in 3..payload.len() {
        let mut bad = payload.clone();
        bad[at] ^= 1;
        assert_eq!(payload::open(&bad, false).err(), Some(payload::PayloadError::Footer));
    }
    for cut in 0..payload.len() {
        assert!(payload::open(&payload[..cut], false).is_err());
    }
}

#[test]
fn a_key_that_is_there_already_is_told() {
    let mut keyspace = keyspace();
    let value = Owned::Bytes(b"x".to_vec());
    let mut seen = BTreeMap::new();
    for key in ["a", "b", "a"] {
        let is_new = keyspace.load(3, Key::new(key.as_bytes()), value.loaded(), None, StoredAccess::Unknown);
        *seen.entry(key).or_insert(0) += i32::from(is_new);
    }
    assert_eq!(seen.into_values().collect::<Vec<_>>(), [1, 1]);
}
