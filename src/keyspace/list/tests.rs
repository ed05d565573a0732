//! Lists beside a vector of strings, and the encodings that Redis 7.2 would show.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const EIGHT_KIB: i32 = -2;

fn push(list: &mut List, end: End, bytes: &[u8], setting: i32) {
    list.grow_for(1, bytes.len(), setting);
    list.push(end, Incoming::copied(bytes));
}

fn of(texts: &[&str], setting: i32) -> List {
    let mut list = List::default();
    texts.iter().for_each(|text| push(&mut list, End::Back, text.as_bytes(), setting));
    list
}

fn texts(list: &List) -> Vec<Vec<u8>> {
    list.iter().map(Item::to_vec).collect()
}

fn nodes_len(list: &List) -> usize {
    match &list.form {
        Form::Small(_) => 0,
        Form::Large(quicklist) => quicklist.nodes_len(),
    }
}

fn check(list: &List, model: &VecDeque<Vec<u8>>) {
    if let Form::Large(quicklist) = &list.form {
        quicklist.check();
    }
    assert_eq!(list.len(), model.len());
    assert_eq!(list.is_empty(), model.is_empty());
    assert!(list.iter().map(Item::to_vec).eq(model.iter().cloned()), "forwards");
    assert!(list.iter().rev().map(Item::to_vec).eq(model.iter().rev().cloned()), "backwards");
}

#[test]
fn a_list_grows_large_past_the_limit_and_small_again_at_half_of_it() {
    let mut list = of(&["a", "b", "c", "d"], 4);
    assert_eq!(list.encoding_name(), "listpack");
    push(&mut list, End::Front, b"e", 4);
    assert_eq!((list.encoding_name(), nodes_len(&list)), ("quicklist", 2));
    for (len, encoding) in [(4, "quicklist"), (3, "quicklist"), (2, "listpack"), (1, "listpack")] {
        list.remove_end(End::Front, 1);
        list.shrunk(4);
        assert_eq!((list.len(), list.encoding_name()), (len, encoding));
    }
}

#[test]
fn only_a_single_node_becomes_small() {
    let mut list = of(&["a", "b", "c", "d", "e", "f"], 3);
    assert_eq!(nodes_len(&list), 2);
    // One element of each node stays.
    list.remove_range(1, 4);
    list.shrunk(3);
    assert_eq!((list.encoding_name(), texts(&list)), ("quicklist", vec![b"a".to_vec(), b"f".to_vec()]));
    list.remove_end(End::Back, 1);
    list.shrunk(3);
    assert_eq!(list.encoding_name(), "listpack");
}

#[test]
fn a_limit_of_one_element_never_makes_a_large_list_small() {
    let mut list = of(&["a", "b"], 1);
    list.remove_end(End::Front, 1);
    list.shrunk(1);
    assert_eq!(list.encoding_name(), "quicklist");
    list.built(1);
    assert_eq!(list.encoding_name(), "listpack");
}

#[test]
fn an_element_over_the_limit_has_a_node_of_its_own() {
    for len in [9000, 70_000, 2 << 20] {
        let big = vec![b'x'; len];
        let mut list = of(&["a", "b"], EIGHT_KIB);
        push(&mut list, End::Back, &big, EIGHT_KIB);
        push(&mut list, End::Back, b"c", EIGHT_KIB);
        assert_eq!((list.encoding_name(), nodes_len(&list)), ("quicklist", 3), "{len}");
        assert_eq!(texts(&list), [b"a".to_vec(), b"b".to_vec(), big.clone(), b"c".to_vec()]);
        assert_eq!(list.get(2).map(Item::to_vec), Some(big.clone()));
        assert_eq!(list.get(-2).map(Item::to_vec), Some(big.clone()));
        assert_eq!(list.remove_matching(&big, End::Back, 5), 1);
        assert_eq!(list.get(-1).map(Item::to_vec), Some(b"c".to_vec()));
    }
}

#[test]
fn a_large_element_that_replaces_another_returns_to_a_listpack_when_replaced() {
    for len in [9000, 70_000, 2 << 20] {
        let mut list = of(&["a", "b", "c"], EIGHT_KIB);
        let big = vec![b'x'; len];
        list.grow_for(1, len, EIGHT_KIB);
        assert!(list.set(1, Incoming::copied(&big)));
        list.shrunk(EIGHT_KIB);
        assert_eq!((list.encoding_name(), list.len()), ("quicklist", 3), "{len}");
        assert!(list.set(-2, Incoming::copied(b"B")));
        list.shrunk(EIGHT_KIB);
        assert_eq!(texts(&list), [b"a", b"B", b"c"]);
        if len < 1 << 20 {
            assert_eq!(list.encoding_name(), "listpack", "{len}");
        }
    }
}

#[test]
fn a_list_is_put_together_again_from_its_parts() {
    let big = "x".repeat(70_000);
    for (elements, setting) in [(&["a", "b"][..], 4), (&["a", "b", "c", "d", "e", &big, "f"], 4), (&["a", &big], -2)] {
        let list = of(elements, setting);
        let mut again = List::large(setting);
        for part in list.parts() {
            match part {
                Part::Packed(listpack) => again.append_part(listpack.clone()),
                Part::Plain(bytes) => again.push(End::Back, Incoming { bytes, shared: Some(bytes.clone()) }),
            }
        }
        again.built(setting);
        assert_eq!(texts(&again), texts(&list));
        assert_eq!((again.encoding_name(), nodes_len(&again)), (list.encoding_name(), nodes_len(&list)));
    }
}

#[test]
fn inserting_into_a_full_node_splits_it() {
    let mut list = of(&["a", "b", "c", "d", "e"], 4);
    assert_eq!(nodes_len(&list), 2);
    assert!(list.insert(b"b", Side::After, Incoming::copied(b"x")));
    assert_eq!(texts(&list).concat(), b"abxcde");
    assert!(list.insert(b"a", Side::Before, Incoming::copied(b"y")));
    assert!(list.insert(b"e", Side::After, Incoming::copied(b"z")));
    assert_eq!(texts(&list).concat(), b"yabxcdez");
    assert!(!list.insert(b"q", Side::After, Incoming::copied(b"z")));
}

#[test]
fn a_list_that_lost_most_elements_is_not_left_in_pieces() {
    let mut list = List::default();
    for number in 0..40_000 {
        let text = if number % 50 == 0 { format!("keep{number}") } else { "gone".to_owned() };
        push(&mut list, End::Back, text.as_bytes(), 100);
    }
    assert_eq!(nodes_len(&list), 400);
    assert_eq!(list.remove_matching(b"gone", End::Front, usize::MAX), 40_000 - 800);
    assert!(nodes_len(&list) <= 70, "{}", nodes_len(&list));
    assert_eq!(list.get(17).map(Item::to_vec), Some(b"keep850".to_vec()));
    for index in 0..800 {
        assert_eq!(list.get(index).map(Item::to_vec), Some(format!("keep{}", index * 50).into_bytes()));
    }
}

#[test]
fn nodes_that_are_full_keep_no_slack() {
    let mut list = List::default();
    for number in 0..100_000 {
        push(&mut list, End::Back, format!("element:{number:08}").as_bytes(), EIGHT_KIB);
    }
    let data = 100_000 * (16 + 2);
    let memory = list.memory_bytes(usize::MAX);
    assert!(memory < data + data / 50, "{memory} bytes for {data}");
    list.remove_range(10, 99_900);
    assert!(list.memory_bytes(usize::MAX) < 40_000, "{}", list.memory_bytes(usize::MAX));
}

#[derive(Clone, Debug)]
enum Step {
    Push(End, Vec<u8>),
    Remove(usize, usize),
    RemoveEnd(End, usize),
    Set(usize, bool, Vec<u8>),
    Insert(usize, Side, Vec<u8>),
    RemoveMatching(usize, End, usize),
    Range(usize, usize),
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0u8..6).prop_map(|letter| vec![b'a' + letter]),
        3 => (-5000i64..5000).prop_map(|number| number.to_string().into_bytes()),
        2 => (0usize..300, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        1 => (4000usize..9000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        1 => (60_000usize..70_000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

fn any_end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Front), Just(End::Back)]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any_end(), any_bytes()).prop_map(|(end, bytes)| Step::Push(end, bytes)),
        1 => (any::<usize>(), 1usize..20).prop_map(|(start, count)| Step::Remove(start, count)),
        2 => (any_end(), 1usize..4).prop_map(|(end, count)| Step::RemoveEnd(end, count)),
        2 => (any::<usize>(), any::<bool>(), any_bytes()).prop_map(|(index, back, bytes)| Step::Set(index, back, bytes)),
        4 => (any::<usize>(), prop_oneof![Just(Side::Before), Just(Side::After)], any_bytes())
            .prop_map(|(index, side, bytes)| Step::Insert(index, side, bytes)),
        1 => (any::<usize>(), any_end(), 1usize..4).prop_map(|(index, end, max)| Step::RemoveMatching(index, end, max)),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(start, count)| Step::Range(start, count)),
    ]
}

fn take(list: &mut List, model: &mut VecDeque<Vec<u8>>, step: Step, setting: i32) {
    let place = |index: usize| index % model.len().max(1);
    match step {
        Step::Push(end, bytes) => {
            push(list, end, &bytes, setting);
            match end {
                End::Front => model.push_front(bytes),
                End::Back => model.push_back(bytes),
            }
        }
        Step::Remove(start, count) => {
            let start = place(start);
            list.remove_range(start, count);
            model.drain(start..(start + count).min(model.len()));
        }
        Step::RemoveEnd(end, count) => {
            list.remove_end(end, count);
            for _ in 0..count {
                match end {
                    End::Front => model.pop_front(),
                    End::Back => model.pop_back(),
                };
            }
        }
        Step::Set(index, back, bytes) if !model.is_empty() => {
            let index = place(index);
            list.grow_for(1, bytes.len(), setting);
            let asked = if back { index as i64 - model.len() as i64 } else { index as i64 };
            assert!(list.set(asked, Incoming::copied(&bytes)));
            model[index] = bytes;
        }
        Step::Insert(index, side, bytes) if !model.is_empty() => {
            let pivot = model[place(index)].clone();
            let first = model.iter().position(|other| *other == pivot).unwrap();
            list.grow_for(1, bytes.len(), setting);
            assert!(list.insert(&pivot, side, Incoming::copied(&bytes)));
            model.insert(first + usize::from(side == Side::After), bytes);
        }
        Step::RemoveMatching(index, end, max) if !model.is_empty() => {
            let element = model[place(index)].clone();
            let mut matching: Vec<usize> = (0..model.len()).filter(|index| model[*index] == element).collect();
            if end == End::Back {
                matching.reverse();
            }
            matching.truncate(max);
            assert_eq!(list.remove_matching(&element, end, max), matching.len());
            matching.sort_unstable();
            matching.into_iter().rev().for_each(|index| drop(model.remove(index)));
        }
        Step::Range(start, count) => {
            let start = place(start);
            let count = count % 40;
            let expected: Vec<Vec<u8>> = model.iter().skip(start).take(count).cloned().collect();
            assert!(list.range(start, count).map(Item::to_vec).eq(expected.iter().cloned()));
            assert!(list.range(start, count).rev().map(Item::to_vec).eq(expected.iter().rev().cloned()));
            assert_eq!(list.range(start, count).len(), expected.len());
            assert_eq!(list.get(start as i64).map(Item::to_vec), model.get(start).cloned());
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn does_what_a_vector_of_strings_does(
        steps in proptest::collection::vec(any_step(), 1..80),
        setting in prop_oneof![Just(-2), Just(-1), Just(-5), Just(0), Just(2), Just(3), Just(5), Just(128)],
    ) {
        let mut list = List::default();
        let mut model = VecDeque::new();
        for step in steps {
            take(&mut list, &mut model, step, setting);
            list.shrunk(setting);
            check(&list, &model);
        }
        list.built(setting);
        check(&list, &model);
        check(&list.clone(), &model);
    }
}
