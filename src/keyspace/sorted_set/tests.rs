//! Both forms of sorted sets against a plain list.

use proptest::prelude::*;

use super::*;
use crate::base::random::Random;

const SMALL: Limits = Limits { entries: 8, value_bytes: 10 };
const NEVER: Limits = Limits { entries: 0, value_bytes: 0 };
const ALWAYS: Limits = Limits { entries: u64::MAX, value_bytes: u64::MAX };

fn entries(set: &SortedSet) -> Vec<(f64, Vec<u8>)> {
    set.iter().map(|(member, score)| (score, member.to_vec())).collect()
}

fn add(set: &mut SortedSet, score: f64, member: &str, limits: Limits) -> Added {
    set.add(score, member.as_bytes(), AddRules::default(), limits).unwrap()
}

#[test]
fn rules_decide_whether_a_score_is_set() {
    for limits in [ALWAYS, NEVER] {
        let mut set = SortedSet::default();
        add(&mut set, 5.0, "a", limits);
        let mut with = |change: fn(&mut AddRules), score: f64, member: &str| {
            let mut rules = AddRules::default();
            change(&mut rules);
            set.add(score, member.as_bytes(), rules, limits)
        };
        assert_eq!(with(|r| r.nx = true, 1.0, "a"), Ok(Added::Skipped));
        assert_eq!(with(|r| r.xx = true, 1.0, "b"), Ok(Added::Skipped));
        assert_eq!(with(|r| r.gt = true, 5.0, "a"), Ok(Added::Skipped));
        assert_eq!(with(|r| r.gt = true, 6.0, "a"), Ok(Added::Updated(6.0)));
        assert_eq!(with(|r| r.lt = true, 7.0, "a"), Ok(Added::Skipped));
        assert_eq!(with(|r| r.lt = true, 7.0, "b"), Ok(Added::New(7.0)));
        assert_eq!(with(|r| r.incr = true, 1.5, "a"), Ok(Added::Updated(7.5)));
        assert_eq!(with(|r| r.incr = true, 0.0, "a"), Ok(Added::Same(7.5)));
        assert_eq!(with(|r| r.incr = true, f64::INFINITY, "a"), Ok(Added::Updated(f64::INFINITY)));
        assert_eq!(with(|r| r.incr = true, f64::NEG_INFINITY, "a"), Err(NotANumber));
        assert_eq!(set.score(b"a"), Some(f64::INFINITY));
    }
}

#[test]
fn a_set_becomes_large_by_number_or_length_and_stays_so() {
    let encoding_after = |change: &dyn Fn(&mut SortedSet)| {
        let mut set = SortedSet::default();
        (0..8).for_each(|number| assert!(add(&mut set, 1.0, &number.to_string(), SMALL) == Added::New(1.0)));
        assert_eq!(set.encoding_name(), "listpack");
        change(&mut set);
        let names: Vec<Vec<u8>> = entries(&set).into_iter().map(|(_, member)| member).take(8).collect();
        assert_eq!(names.len(), 8);
        set.encoding_name()
    };
    assert_eq!(encoding_after(&|set| assert!(add(set, 2.0, "0", SMALL) == Added::Updated(2.0))), "listpack");
    assert_eq!(encoding_after(&|set| assert!(add(set, 2.0, "9", SMALL) == Added::New(2.0))), "skiplist");
    let long = |set: &mut SortedSet| {
        set.remove(b"0");
        add(set, 2.0, "eleven long", SMALL);
    };
    assert_eq!(encoding_after(&long), "skiplist");
    assert_eq!(encoding_after(&|set| set.expect(9, 0, SMALL)), "skiplist");
    assert_eq!(encoding_after(&|set| set.expect(8, 100, SMALL)), "listpack");
    let mut fresh = SortedSet::default();
    fresh.expect(1, 11, SMALL);
    assert_eq!(fresh.encoding_name(), "skiplist");
    assert_eq!(SortedSet::from_entries(vec![(1.0, "x"); 1], SMALL).encoding_name(), "listpack");
    assert_eq!(SortedSet::from_entries(vec![(1.0, "eleven long")], SMALL).encoding_name(), "skiplist");
}

#[test]
fn large_sets_give_ranges_of_equal_scores_by_member() {
    let names: Vec<String> = (0..1000).map(|number| format!("m{number:04}")).collect();
    let set = SortedSet::from_entries(names.iter().map(|name| (0.0, name)).collect(), SMALL);
    let range = LexRange { min: LexBound::Inclusive(b"m0100"), max: LexBound::Exclusive(b"m0200") };
    assert_eq!(set.ranks_by_member(&range, 0, false), 100..200);
    assert_eq!(set.ranks_by_member(&range, 30, false), 130..200);
    assert_eq!(set.ranks_by_member(&range, 30, true), 100..170);
    assert!(set.ranks_by_member(&range, 300, true).is_empty());
    assert_eq!(set.ranks_by_member(&LexRange { min: LexBound::Lowest, max: LexBound::Highest }, 0, false), 0..1000);
}

#[test]
fn a_scan_visits_every_member() {
    for limits in [ALWAYS, NEVER] {
        let set = SortedSet::from_entries((0..500).map(|n| (f64::from(n), n.to_string())).collect(), limits);
        let (mut seen, mut cursor) = (std::collections::BTreeSet::new(), 0);
        loop {
            cursor = set.scan(cursor, 10, &mut |member, score| {
                assert_eq!(member.integer().map(|number| number as f64), Some(score));
                seen.insert(member.to_vec());
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen.len(), 500);
    }
}

/// Redis takes 104 bytes for such a member: a node of the skiplist, a string, an entry of the dictionary.
#[test]
fn a_large_set_takes_little_memory_for_a_member() {
    let bytes_per_member = |score: fn(u64) -> f64| {
        let mut set = SortedSet::default();
        for number in 0..50_000u64 {
            add(&mut set, score(number), &format!("member:{number:09}"), NEVER);
        }
        set.memory_bytes(usize::MAX) / 50_000
    };
    let in_order = bytes_per_member(|number| number as f64);
    let anyhow = bytes_per_member(|number| (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) as f64);
    assert!(in_order < 72 && anyhow < 76, "{in_order} {anyhow}");
}

#[derive(Clone, Debug)]
enum Step {
    Add(u8, i8),
    Remove(u8),
    RemoveRanks(u8, u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<u8>(), -3i8..4).prop_map(|(member, score)| Step::Add(member, score)),
        2 => any::<u8>().prop_map(Step::Remove),
        1 => (any::<u8>(), 0u8..5).prop_map(|(rank, count)| Step::RemoveRanks(rank, count)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn does_what_a_sorted_list_does(steps in proptest::collection::vec(any_step(), 1..200), which in 0usize..3) {
        let limits = [SMALL, NEVER, ALWAYS][which];
        let (mut set, mut model) = (SortedSet::default(), Vec::<(f64, Vec<u8>)>::new());
        for step in steps {
            match step {
                Step::Add(member, score) => {
                    let (score, member) = (f64::from(score) / 2.0, member.to_string().into_bytes());
                    set.add(score, &member, AddRules::default(), limits).unwrap();
                    model.retain(|entry| entry.1 != member);
                    model.push((score, member));
                    model.sort_by(|one, other| leaf::order((one.0, &one.1), (other.0, &other.1)));
                }
                Step::Remove(member) => {
                    let member = member.to_string().into_bytes();
                    let at = model.iter().position(|entry| entry.1 == member);
                    prop_assert_eq!(set.remove(&member), at.map(|at| model.remove(at).0));
                }
                Step::RemoveRanks(rank, count) => {
                    let start = usize::from(rank).min(model.len());
                    let end = (start + usize::from(count)).min(model.len());
                    prop_assert_eq!(set.remove_ranks(start..end), end - start);
                    model.drain(start..end);
                }
            }
            if let Form::Large(large) = &set.form {
                large.check();
            }
            prop_assert_eq!(set.len(), model.len());
        }
        prop_assert_eq!(entries(&set), model.clone());
        for (rank, (score, member)) in model.iter().enumerate() {
            prop_assert_eq!(set.rank(member), Some((rank, *score)));
        }
        for (min, max, open) in [(-1.0, 1.0, false), (-1.0, 1.0, true), (0.5, 0.5, false), (2.0, 1.0, false)] {
            let range = ScoreRange { min, max, min_exclusive: open, max_exclusive: open };
            let inside = |score: f64| range.is_above_min(score) && range.is_below_max(score);
            let ranks = set.ranks_by_score(&range);
            let found: Vec<_> = set.walk(ranks.clone(), true).map(|(member, score)| (score, member.to_vec())).collect();
            let expected: Vec<_> = model.iter().filter(|entry| inside(entry.0)).rev().cloned().collect();
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn large_parts_of_a_large_set_are_removed_at_once() {
    let mut random = Random::new(19);
    let filled = || {
        let mut set = SortedSet::default();
        for number in 0..2000 {
            let member = format!("{}{}", number, "-".repeat(if number % 9 == 0 { 150 } else { 0 }));
            add(&mut set, f64::from(number % 90), &member, SMALL);
        }
        set
    };
    for _ in 0..40 {
        let (mut set, mut model) = (filled(), entries(&filled()));
        while !model.is_empty() {
            let start = random.below(model.len() as u64) as usize;
            let end = start + random.below(1 + (model.len() - start) as u64) as usize;
            assert_eq!(set.remove_ranks(start..end), end - start);
            model.drain(start..end);
            assert_eq!(entries(&set), model);
            assert!(model.iter().all(|(score, member)| set.score(member) == Some(*score)));
            if model.len() < 40 {
                break;
            }
        }
    }
}
