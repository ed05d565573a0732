//! Listpacks against vectors of strings, and their bytes against the format.

use proptest::prelude::*;

use super::*;

fn texts(listpack: &Listpack) -> Vec<Vec<u8>> {
    listpack.iter().map(|element| element.to_vec()).collect()
}

fn checked(listpack: &Listpack) {
    assert_eq!(Listpack::from_bytes(listpack.as_bytes().to_vec()).as_ref(), Ok(listpack));
}

#[test]
fn bytes_are_those_of_the_format() {
    let mut listpack = Listpack::new();
    for text in ["1024", "400", "-5", "hello", "0", "32768", "-8388608", "4294967296"] {
        listpack.push_back(text.as_bytes());
    }
    #[rustfmt::skip]
    let expected = [
        45, 0, 0, 0, 8, 0,
        0xc4, 0x00, 2,
        0xc1, 0x90, 2,
        0xdf, 0xfb, 2,
        0x85, b'h', b'e', b'l', b'l', b'o', 6,
        0, 1,
        0xf2, 0x00, 0x80, 0x00, 4,
        0xf2, 0x00, 0x00, 0x80, 4,
        0xf4, 0, 0, 0, 0, 1, 0, 0, 0, 9,
        0xff,
    ];
    assert_eq!(listpack.as_bytes()[..], expected[..]);
    checked(&listpack);
}

#[test]
fn integers_are_kept_as_such_only_in_canonical_form() {
    let mut listpack = Listpack::new();
    for text in ["007", "-0", "+1", "9223372036854775807", "9223372036854775808", "-9223372036854775808", ""] {
        listpack.push_back(text.as_bytes());
    }
    let integers: Vec<bool> = listpack.iter().map(|element| matches!(element, Element::Integer(_))).collect();
    assert_eq!(integers, [false, false, false, true, false, true, false]);
    checked(&listpack);
}

#[test]
fn more_elements_than_the_header_counts_are_counted() {
    let mut listpack = Listpack::new();
    for number in 0..70_000 {
        listpack.push_back_integer(number % 100);
    }
    assert_eq!(listpack.len(), 70_000);
    let at = listpack.seek(10_000).unwrap();
    listpack.remove_range(at, 50_000);
    assert_eq!(listpack.len(), 20_000);
    checked(&listpack);
}

#[test]
fn several_elements_are_appended_as_one_after_another() {
    let words: [&[u8]; 5] = [b"", b"12", b"-70000", &[b'x'; 70], &[b'y'; 5000]];
    let (mut at_once, mut singly) = (Listpack::new(), Listpack::new());
    for _ in 0..3 {
        at_once.push_back_all(words.into_iter().map(Needle::new).chain([Needle::from_integer(7)]));
        for word in words {
            singly.push_back(word);
        }
        singly.push_back_integer(7);
    }
    assert_eq!(at_once, singly);
    at_once.push_back_all((0..70_000).map(|number| Needle::from_integer(number % 100)));
    at_once.push_back_all([Needle::new(b"last")].into_iter());
    assert_eq!(at_once.len(), 70_019);
    checked(&at_once);
}

#[test]
fn an_overwritten_integer_is_a_replaced_one() {
    let numbers = [0, 127, 128, -1, 4095, -4096, 4096, 40_000, -8_388_608, i64::from(i32::MAX), i64::MIN];
    for (old, new) in numbers.iter().flat_map(|old| numbers.map(|new| (*old, new))) {
        let mut overwritten = Listpack::new();
        overwritten.push_back_all([Needle::from_integer(old), Needle::new(b"behind")].into_iter());
        let mut replaced = overwritten.clone();
        let at = replaced.first().unwrap();
        overwritten.overwrite_integer(at, new);
        replaced.replace_integer(at, new);
        assert_eq!(overwritten, replaced, "{old} {new}");
    }
}

#[test]
fn damaged_bytes_are_refused() {
    let mut listpack = Listpack::new();
    listpack.push_back(b"abc");
    listpack.push_back(b"100000");
    let good = listpack.as_bytes();
    for index in 0..good.len() {
        for flip in [1u8, 0x40, 0x80, 0xff] {
            let mut bad = good.to_vec();
            bad[index] ^= flip;
            if let Ok(other) = Listpack::from_bytes(bad) {
                texts(&other);
            }
        }
        assert_eq!(Listpack::from_bytes(good[..index].to_vec()), Err(Damaged));
    }
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        (-70_000i64..70_000).prop_map(|number| number.to_string().into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..80),
        (60usize..5000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        (16370usize..16390, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    PushBack(Vec<u8>),
    PushFront(Vec<u8>),
    Insert(usize, Vec<u8>, bool),
    Replace(usize, Vec<u8>),
    Remove(usize, usize),
    SplitAndJoin(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any_bytes().prop_map(Step::PushBack),
        any_bytes().prop_map(Step::PushFront),
        (any::<usize>(), any_bytes(), any::<bool>()).prop_map(|(i, b, after)| Step::Insert(i, b, after)),
        (any::<usize>(), any_bytes()).prop_map(|(i, b)| Step::Replace(i, b)),
        (any::<usize>(), 1usize..4).prop_map(|(i, n)| Step::Remove(i, n)),
        any::<usize>().prop_map(Step::SplitAndJoin),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn does_what_a_vector_of_strings_does(steps in proptest::collection::vec(any_step(), 1..60)) {
        let mut listpack = Listpack::new();
        let mut model: Vec<Vec<u8>> = Vec::new();
        for step in steps {
            let place = |index: usize| index % model.len().max(1);
            match step {
                Step::PushBack(bytes) => {
                    listpack.push_back(&bytes);
                    model.push(bytes);
                }
                Step::PushFront(bytes) => {
                    listpack.push_front(&bytes);
                    model.insert(0, bytes);
                }
                Step::Insert(index, bytes, after) if !model.is_empty() => {
                    let index = place(index);
                    let at = listpack.seek(index as i64).unwrap();
                    let new = if after { listpack.insert_after(at, &bytes) } else { listpack.insert_before(at, &bytes) };
                    prop_assert!(listpack.get(new).is(&bytes));
                    model.insert(index + usize::from(after), bytes);
                }
                Step::Replace(index, bytes) if !model.is_empty() => {
                    let index = place(index);
                    let at = listpack.seek(index as i64 - model.len() as i64).unwrap();
                    listpack.replace(at, &bytes);
                    model[index] = bytes;
                }
                Step::Remove(index, count) if !model.is_empty() => {
                    let index = place(index);
                    let at = listpack.seek(index as i64).unwrap();
                    let next = listpack.remove_range(at, count);
                    model.drain(index..(index + count).min(model.len()));
                    prop_assert_eq!(next.map(|at| listpack.get(at).to_vec()), model.get(index).cloned());
                }
                Step::SplitAndJoin(index) if !model.is_empty() => {
                    let at = listpack.seek(place(index) as i64).unwrap();
                    let tail = listpack.split_off(at);
                    checked(&tail);
                    checked(&listpack);
                    listpack.append(&tail);
                }
                _ => {}
            }
            checked(&listpack);
            prop_assert_eq!(listpack.len(), model.len());
        }
        prop_assert_eq!(texts(&listpack), model.clone());
        let backwards: Vec<Vec<u8>> = listpack.iter().rev().map(|element| element.to_vec()).collect();
        prop_assert_eq!(backwards, model.iter().rev().cloned().collect::<Vec<_>>());
        for (index, bytes) in model.iter().enumerate() {
            let found = listpack.first().and_then(|first| listpack.find(first, Needle::new(bytes), 0)).unwrap();
            let expected = model.iter().position(|other| other == bytes).unwrap();
            prop_assert_eq!(Some(found), listpack.seek(expected as i64));
            prop_assert!(expected <= index);
            prop_assert_eq!(compare(listpack.get(found), bytes), Ordering::Equal);
        }
    }
}
