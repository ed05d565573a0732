//! What a stream does, beside a plain list that does the same; and that bytes from outside do no harm.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::node::Node;
use super::*;
use crate::keyspace::listpack::{Listpack, Needle};

const UNLIMITED: NodeLimits = NodeLimits { bytes: 0, entries: 0 };

fn id(ms: u64, seq: u64) -> StreamId {
    StreamId::new(ms, seq)
}

fn append(log: &mut Log, id: StreamId, words: &[&str], limits: NodeLimits) {
    log.append(id, words.iter().map(|word| word.as_bytes()), limits);
}

/// A log with one field each at `1-0`, `2-0` ... `count-0`, three entries to a node.
fn counting(count: u64) -> Log {
    let mut log = Log::default();
    for ms in 1..=count {
        append(&mut log, id(ms, 0), &["f", &ms.to_string()], NodeLimits { bytes: 0, entries: 3 });
    }
    log
}

fn shown(entry: Entry<'_>) -> (StreamId, Vec<Vec<u8>>) {
    (entry.id(), entry.fields().flat_map(|(name, value)| [name.to_vec(), value.to_vec()]).collect())
}

fn ids(entries: impl Iterator<Item = StreamId>) -> Vec<u64> {
    entries.map(|id| id.ms).collect()
}

fn all_ids(log: &Log) -> Vec<u64> {
    ids(log.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id()))
}

#[test]
fn a_node_has_the_bytes_that_redis_dumps() {
    let mut log = Log::default();
    append(&mut log, id(1000, 5), &["f", "1"], UNLIMITED);
    append(&mut log, id(1000, 6), &["f", "hello"], UNLIMITED);
    append(&mut log, id(1001, 0), &["g", "200", "h", "x"], UNLIMITED);
    append(&mut log, id(9999999, 0), &["f", "-3"], UNLIMITED);
    assert_eq!(log.delete([id(1000, 6)].into_iter()), 1);
    #[rustfmt::skip]
    let expected = [
        82, 0, 0, 0, 29, 0,
        3, 1, 1, 1, 1, 1, 0x81, b'f', 2, 0, 1,
        2, 1, 0, 1, 0, 1, 1, 1, 4, 1,
        3, 1, 0, 1, 1, 1, 0x85, b'h', b'e', b'l', b'l', b'o', 6, 4, 1,
        0, 1, 1, 1, 0xdf, 0xfb, 2, 2, 1, 0x81, b'g', 2, 0xc0, 200, 2, 0x81, b'h', 2, 0x81, b'x', 2, 8, 1,
        2, 1, 0xf3, 151, 146, 152, 0, 5, 0xdf, 0xfb, 2, 0xdf, 0xfd, 2, 4, 1,
        0xff,
    ];
    let nodes: Vec<_> = log.nodes().collect();
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0].0, id(1000, 5));
    assert_eq!(nodes[0].1.as_bytes(), expected);
    assert!(Node::from_listpack(nodes[0].1.clone()).is_ok());
}

#[test]
fn entries_come_out_in_either_direction_within_their_range() {
    let log = counting(10);
    assert_eq!(log.nodes_count(), 4);
    let range = |start, end| ids(log.range(id(start, 0), id(end, 0)).map(|entry| entry.id()));
    let back = |start, end| ids(log.range_back(id(start, 0), id(end, 0)).map(|entry| entry.id()));
    assert_eq!(range(3, 7), [3, 4, 5, 6, 7]);
    assert_eq!(back(3, 7), [7, 6, 5, 4, 3]);
    assert_eq!(range(0, 99).len(), 10);
    assert_eq!(back(11, 99), []);
    assert_eq!(range(7, 3), []);
    assert_eq!(back(7, 3), []);
    assert_eq!(log.get(id(4, 0)).map(shown), Some((id(4, 0), vec![b"f".to_vec(), b"4".to_vec()])));
    assert!(log.get(id(4, 1)).is_none());
}

#[test]
fn a_node_goes_with_its_last_entry_and_keeps_its_name_without_its_first() {
    let mut log = counting(6);
    assert_eq!(log.delete([id(1, 0), id(1, 0), id(9, 0)].into_iter()), 1);
    assert_eq!((log.len(), log.first_id(), log.nodes_count()), (5, id(2, 0), 2));
    assert_eq!(log.nodes().map(|(id, _)| id.ms).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(log.delete([id(3, 0), id(2, 0)].into_iter()), 2);
    assert_eq!((log.first_id(), log.nodes_count(), log.max_deleted_id()), (id(4, 0), 1, id(3, 0)));
    assert_eq!(log.delete([4, 5, 6].into_iter().map(|ms| id(ms, 0))), 3);
    assert!(log.is_empty());
    assert_eq!(
        (log.first_id(), log.last_id(), log.entries_added(), log.nodes_count()),
        (StreamId::MIN, id(6, 0), 6, 0)
    );
}

#[test]
fn a_tilde_leaves_nodes_whole_and_a_limit_is_not_passed() {
    let to = Threshold::Length(4);
    let trim = |trim: Trim| {
        let mut log = counting(10);
        (log.trim(&trim), all_ids(&log).first().copied())
    };
    assert_eq!(trim(Trim { to, whole_nodes: false, limit: 0 }), (6, Some(7)));
    assert_eq!(trim(Trim { to: Threshold::Length(5), whole_nodes: false, limit: 0 }), (5, Some(6)));
    assert_eq!(trim(Trim { to: Threshold::Length(5), whole_nodes: true, limit: 0 }), (3, Some(4)));
    assert_eq!(trim(Trim { to, whole_nodes: true, limit: 5 }), (3, Some(4)));
    assert_eq!(trim(Trim { to, whole_nodes: true, limit: 2 }), (0, Some(1)));
    assert_eq!(trim(Trim { to: Threshold::Length(0), whole_nodes: false, limit: 0 }), (10, None));
    assert_eq!(trim(Trim { to: Threshold::Id(id(5, 1)), whole_nodes: false, limit: 0 }), (5, Some(6)));
    assert_eq!(trim(Trim { to: Threshold::Id(id(6, 1)), whole_nodes: true, limit: 0 }), (6, Some(7)));
    assert_eq!(trim(Trim { to: Threshold::Id(id(6, 0)), whole_nodes: true, limit: 0 }), (3, Some(4)));
}

#[test]
fn a_node_is_full_by_bytes_or_by_entries_deleted_ones_too() {
    let mut log = counting(3);
    log.delete([id(2, 0)].into_iter());
    append(&mut log, id(4, 0), &["f", "4"], NodeLimits { bytes: 0, entries: 3 });
    assert_eq!(log.nodes_count(), 2);
    let bytes = log.nodes().last().map(|(_, node)| node.total_bytes() as u64).unwrap();
    append(&mut log, id(5, 0), &["f", "5"], NodeLimits { bytes: bytes + 3, entries: 0 });
    assert_eq!(log.nodes_count(), 2);
    let bytes = log.nodes().last().map(|(_, node)| node.total_bytes() as u64).unwrap();
    append(&mut log, id(6, 0), &["f", "6"], NodeLimits { bytes: bytes + 2, entries: 0 });
    assert_eq!(log.nodes_count(), 3);
}

#[test]
fn reads_are_counted_until_a_deletion_ahead_makes_that_impossible() {
    let mut log = counting(5);
    let mut group = Group::new(StreamId::MIN, None);
    assert_eq!(group.lag(&log), Some(5));
    group.advance(&log, id(1, 0));
    assert_eq!((group.entries_read, group.lag(&log)), (Some(1), Some(4)));
    log.delete([id(4, 0)].into_iter());
    assert_eq!(group.lag(&log), None);
    group.advance(&log, id(2, 0));
    assert_eq!(group.entries_read, None);
    group.advance(&log, id(5, 0));
    assert_eq!((group.entries_read, group.lag(&log)), (Some(5), Some(0)));
    group.advance(&log, id(3, 0));
    assert_eq!(group.last_id, id(5, 0));
}

#[test]
fn a_pending_entry_has_one_consumer_and_goes_with_it() {
    let mut group = Group::new(StreamId::MIN, None);
    let (ann, created) = group.consumer_or_new(b"ann", 10);
    assert!(created && !group.consumer_or_new(b"ann", 11).1);
    let (bob, _) = group.consumer_or_new(b"bob", 10);
    (1..=4).for_each(|ms| group.deliver(id(ms, 0), ann, 20));
    group.deliver(id(2, 0), bob, 30);
    group.redeliver(id(3, 0), 40);
    assert!(group.acknowledge(id(4, 0)) && !group.acknowledge(id(4, 0)));
    let pending = |group: &Group, consumer| ids(group.consumer(consumer).pending().iter().copied());
    assert_eq!((pending(&group, ann), pending(&group, bob)), (vec![1, 3], vec![2]));
    assert_eq!(group.pending()[&id(3, 0)], Pending { delivered_ms: 40, deliveries: 2, consumer: ann });
    assert_eq!(group.pending()[&id(2, 0)], Pending { delivered_ms: 30, deliveries: 1, consumer: bob });
    assert_eq!(group.remove_consumer(b"ann"), Some(2));
    assert_eq!(group.remove_consumer(b"ann"), None);
    assert_eq!(ids(group.pending().keys().copied()), [2]);
    assert_eq!(group.consumers().map(|consumer| consumer.name().to_vec()).collect::<Vec<_>>(), [b"bob"]);
}

#[test]
fn a_listpack_that_is_no_node_is_refused() {
    let node = |numbers: &[i64]| {
        let mut listpack = Listpack::new();
        listpack.push_back_all(numbers.iter().map(|number| Needle::from_integer(*number)));
        Node::from_listpack(listpack)
    };
    assert!(node(&[1, 0, 1, 7, 0, 2, 0, 0, 9, 4]).is_ok());
    assert!(node(&[0, 1, 1, 7, 0, 3, 0, 0, 9, 4]).is_ok());
    let wrong: &[&[i64]] = &[
        &[],
        &[0],
        &[1, 0, 1, 7, 0],
        &[0, 0, -1, 0],
        &[0, 0, i64::MAX, 0],
        &[0, 0, 1, 7, 1],
        &[2, 0, 1, 7, 0, 2, 0, 0, 9, 4],
        &[0, 1, 1, 7, 0, 2, 0, 0, 9, 4],
        &[1, 0, 1, 7, 0, 2, 0, 0, 9, 5],
        &[1, 0, 1, 7, 0, 2, 0, 0, 9],
        &[1, 0, 1, 7, 0, 0, 0, 0, i64::MAX, 8, 9, 6],
        &[1, 0, 1, 7, 0, 0, 0, 0, -1, 8, 9, 6],
        &[i64::MAX, i64::MAX, 1, 7, 0],
    ];
    for numbers in wrong {
        assert!(node(numbers).is_err(), "{numbers:?}");
    }
}

/// Everything that a node can be asked, and everything that changes it.
fn exercise(listpack: Listpack) {
    let Ok(mut log) = Log::from_nodes([(id(7, 7), listpack.clone())]) else { return };
    assert!(Log::from_nodes([(id(7, 7), listpack.clone()), (id(7, 7), listpack)]).is_err());
    let forward: Vec<_> = log.range(StreamId::MIN, StreamId::MAX).map(shown).collect();
    let mut backward: Vec<_> = log.range_back(StreamId::MIN, StreamId::MAX).map(shown).collect();
    backward.reverse();
    assert_eq!(forward, backward);
    assert_eq!(forward.len() as u64, log.len());
    log.set_ids(StreamId::new(u64::MAX, 0), None, None);
    append(&mut log, StreamId::MAX, &["f", "v"], UNLIMITED);
    for (count, to) in [(1, Threshold::Length(3)), (2, Threshold::Id(id(7, 8))), (0, Threshold::Length(0))] {
        log.delete(forward.iter().take(count).map(|(id, _)| *id));
        log.trim(&Trim { to, whole_nodes: false, limit: 0 });
    }
    assert!(log.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Append { ms: u64, seq: u64, fields: Vec<(u8, Vec<u8>)>, limits: (u64, u64) },
    Delete(Vec<usize>),
    Trim { id: bool, at: usize, whole_nodes: bool, limit: u64 },
}

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (-70_000i64..70_000).prop_map(|number| number.to_string().into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..70),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let fields = proptest::collection::vec((0u8..3, any_value()), 1..4);
    prop_oneof![
        8 => (0u64..3, 0u64..200, fields, (prop_oneof![Just(0u64), 1u64..400], 0u64..6)).prop_map(
            |(ms, seq, fields, limits)| Step::Append { ms, seq, fields, limits }
        ),
        2 => proptest::collection::vec(any::<usize>(), 1..4).prop_map(Step::Delete),
        1 => (any::<bool>(), any::<usize>(), any::<bool>(), 0u64..20).prop_map(|(id, at, whole_nodes, limit)| {
            Step::Trim { id, at, whole_nodes, limit: if whole_nodes { limit } else { 0 } }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn does_what_a_list_of_entries_does(steps in proptest::collection::vec(any_step(), 1..80)) {
        let mut log = Log::default();
        let mut model: Vec<(StreamId, Vec<Vec<u8>>)> = Vec::new();
        for step in steps {
            match step {
                Step::Append { ms, seq, fields, limits: (bytes, entries) } => {
                    let last = log.last_id();
                    let id = id(last.ms + ms, if ms == 0 { last.seq + 1 + seq } else { seq });
                    let words: Vec<Vec<u8>> = fields.iter().flat_map(|(name, value)| [vec![*name], value.clone()]).collect();
                    log.append(id, words.iter().map(Vec::as_slice), NodeLimits { bytes, entries });
                    model.push((id, words));
                }
                Step::Delete(places) => {
                    let ids: BTreeSet<StreamId> =
                        places.iter().filter_map(|at| model.get(at % model.len().max(1))).map(|(id, _)| *id).collect();
                    prop_assert_eq!(log.delete(ids.iter().copied()), ids.len() as u64);
                    model.retain(|(id, _)| !ids.contains(id));
                }
                Step::Trim { id, at, whole_nodes, limit } => {
                    let at = at % (model.len() + 1);
                    let to = if id {
                        Threshold::Id(model.get(at).map_or(StreamId::MAX, |(id, _)| *id))
                    } else {
                        Threshold::Length((model.len() - at) as u64)
                    };
                    let removed = log.trim(&Trim { to, whole_nodes, limit }) as usize;
                    let is_right = removed == at || (whole_nodes && removed < at);
                    prop_assert!(is_right, "{} of {}", removed, at);
                    prop_assert!(limit == 0 || removed as u64 <= limit);
                    model.drain(..removed);
                }
            }
            prop_assert_eq!(log.len(), model.len() as u64);
            prop_assert_eq!(log.first_id(), model.first().map_or(StreamId::MIN, |(id, _)| *id));
            prop_assert_eq!(log.last_live_id(), model.last().map(|(id, _)| *id));
        }
        let entries: Vec<_> = log.range(StreamId::MIN, StreamId::MAX).map(shown).collect();
        prop_assert_eq!(&entries, &model);
        for (index, (id, words)) in model.iter().enumerate() {
            prop_assert_eq!(log.get(*id).map(shown), Some((*id, words.clone())));
            let rest: Vec<_> = log.range(*id, StreamId::MAX).map(|entry| entry.id()).collect();
            prop_assert_eq!(rest.len(), model.len() - index);
            prop_assert_eq!(log.range_back(StreamId::MIN, *id).count(), index + 1);
        }
        for (_, listpack) in log.nodes() {
            prop_assert!(Node::from_listpack(listpack.clone()).is_ok());
        }
    }

    #[test]
    fn damaged_nodes_are_refused_or_read_without_harm(
        words in proptest::collection::vec(any_value(), 1..6),
        flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
    ) {
        let mut log = Log::default();
        let pairs: Vec<&[u8]> = words.iter().flat_map(|word| [word.as_slice(), b"v"]).collect();
        for ms in 1..5 {
            // Every other entry has the node's names.
            let words: Vec<&[u8]> = pairs.iter().copied().skip(2 * (ms as usize % 2)).chain([&b"a"[..], b"b"]).collect();
            log.append(id(ms, 0), words.into_iter(), UNLIMITED);
        }
        log.delete([id(3, 0)].into_iter());
        let mut bytes = log.nodes().next().map(|(_, node)| node.as_bytes().to_vec()).unwrap();
        for (at, mask) in flips {
            let at = 6 + at % (bytes.len() - 6);
            bytes[at] ^= mask;
        }
        if let Ok(listpack) = Listpack::from_bytes(bytes) {
            exercise(listpack);
        }
    }

    #[test]
    fn any_numbers_are_refused_or_read_without_harm(
        numbers in proptest::collection::vec(prop_oneof![0i64..8, any::<i64>()], 0..24),
    ) {
        let mut listpack = Listpack::new();
        listpack.push_back_all(numbers.iter().map(|number| Needle::from_integer(*number)));
        exercise(listpack);
    }
}
