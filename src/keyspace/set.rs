//! Sets: an intset while all members are integers, a listpack while small, a `PackedMap` without values from then on.
//!
//! Called by the set commands, by SORT, and by the sorted sets that are made from sets. The limits of the small forms come
//! with every call that adds: the keyspace knows no configuration. A set never changes its form by itself to a smaller one.

use super::hash::LISTPACK_MAX_BYTES;
use super::intset::{INTSET_MAX_LEN, IntSet};
use super::listpack::{self, Digits, Element, Listpack, Needle};
use super::packed_map::{self, PackedMap};
use crate::base::number::parse_i64;
use crate::base::random::Random;

/// When a set leaves its small forms.
#[derive(Clone, Copy, Debug)]
pub struct SetLimits {
    /// `set-max-intset-entries`.
    pub intset_entries: u64,
    /// `set-max-listpack-entries`.
    pub listpack_entries: u64,
    /// `set-max-listpack-value`: bytes of a member.
    pub listpack_value_bytes: u64,
}

impl SetLimits {
    fn intset_max(self) -> u64 {
        self.intset_entries.min(INTSET_MAX_LEN as u64)
    }
}

/// A set.
#[derive(Clone, Debug, Default)]
pub struct Set {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Integers(IntSet),
    /// In the order in which the members came.
    Small(Listpack),
    /// Members with empty values.
    Large(Box<PackedMap>),
}

const _: () = assert!(size_of::<Set>() == 24);

impl Default for Form {
    fn default() -> Self {
        Form::Integers(IntSet::new())
    }
}

/// The form of a set, for those that store it.
pub enum SetForm<'a> {
    Integers(&'a IntSet),
    Small(&'a Listpack),
    Large(&'a PackedMap),
}

impl Set {
    /// An empty set in the form of a listpack, which its first integers do not make an intset.
    pub fn small() -> Set {
        Set { form: Form::Small(Listpack::new()) }
    }

    /// An empty set in the form that suits `first` and about `count` members more at once.
    pub fn for_first(first: &[u8], count: usize, limits: SetLimits) -> Set {
        let count = count as u64;
        if count <= limits.intset_entries && parse_i64(first).is_some() {
            Set::default()
        } else if count <= limits.listpack_entries {
            Set::small()
        } else {
            Set::large()
        }
    }

    /// A set in the form in which it was stored. That a listpack has no member twice is the caller's to check.
    pub fn from_intset(integers: IntSet) -> Set {
        Set { form: Form::Integers(integers) }
    }

    /// See [`Set::from_intset`].
    pub fn from_listpack(listpack: Listpack) -> Set {
        Set { form: Form::Small(listpack) }
    }

    /// A set of members that were stored one by one, in the form that Redis chooses for them when it loads them. `None`
    /// when one is there twice.
    pub fn from_members<'a>(
        members: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
        limits: SetLimits,
    ) -> Option<Set> {
        let count = members.len();
        if count as u64 <= limits.intset_max() {
            if let Some(integers) = members.clone().map(parse_i64).collect::<Option<Vec<i64>>>() {
                let integers = IntSet::from_integers(integers);
                return (integers.len() == count).then_some(Set::from_intset(integers));
            }
            let total: usize = members.clone().map(<[u8]>::len).sum();
            let fits = count as u64 <= limits.listpack_entries
                && members.clone().all(|member| member.len() as u64 <= limits.listpack_value_bytes)
                && total <= LISTPACK_MAX_BYTES;
            if fits {
                let mut listpack = Listpack::new();
                listpack.push_back_all(members.map(Needle::new));
                listpack.check_unique(1).ok()?;
                return Some(Set::from_listpack(listpack));
            }
        }
        let mut set = Set::large();
        members.map(Element::Bytes).all(|member| set.add(member, limits)).then_some(set)
    }

    /// An empty set in the large form, for many members.
    pub fn large() -> Set {
        Set { form: Form::Large(Box::new(PackedMap::new())) }
    }

    pub fn form(&self) -> SetForm<'_> {
        match &self.form {
            Form::Integers(integers) => SetForm::Integers(integers),
            Form::Small(listpack) => SetForm::Small(listpack),
            Form::Large(map) => SetForm::Large(map),
        }
    }

    /// What OBJECT ENCODING answers.
    pub fn encoding_name(&self) -> &'static str {
        match &self.form {
            Form::Integers(_) => "intset",
            Form::Small(_) => "listpack",
            Form::Large(_) => "hashtable",
        }
    }

    /// Members.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Integers(integers) => integers.len(),
            Form::Small(listpack) => listpack.len(),
            Form::Large(map) => map.len(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        match &self.form {
            Form::Integers(integers) => integers.is_empty(),
            Form::Small(listpack) => listpack.is_empty(),
            Form::Large(map) => map.is_empty(),
        }
    }

    /// Whether it has the large form, and so many members that no other would hold them.
    pub fn is_beyond_small_forms(&self, limits: SetLimits) -> bool {
        let small_max = limits.intset_max().max(limits.listpack_entries);
        matches!(self.form, Form::Large(_)) && self.len() as u64 > small_max
    }

    /// Bytes allocated; see `Object::memory_bytes`.
    pub fn memory_bytes(&self, samples: usize) -> usize {
        match &self.form {
            Form::Integers(integers) => integers.memory_bytes(),
            Form::Small(listpack) => listpack.memory_bytes(),
            Form::Large(map) => size_of::<PackedMap>() + map.memory_bytes(samples),
        }
    }

    /// Allocations, about.
    pub fn free_effort(&self) -> usize {
        match &self.form {
            Form::Integers(_) | Form::Small(_) => 1,
            Form::Large(map) => map.free_effort(),
        }
    }

    /// Frees parts, for `Object::dismantle`.
    pub(super) fn dismantle(&mut self, budget: &mut usize) -> bool {
        if let Form::Large(map) = &mut self.form { map.dismantle(budget) } else { true }
    }

    #[inline]
    pub fn contains(&self, member: Element<'_>) -> bool {
        match &self.form {
            Form::Integers(integers) => member.integer().is_some_and(|integer| integers.contains(integer)),
            Form::Small(listpack) => {
                let needle = Needle::from(member);
                listpack.first().is_some_and(|first| listpack.find(first, needle, 0).is_some())
            }
            Form::Large(map) => map.contains(member.as_bytes(&mut Digits::new())),
        }
    }

    /// Changes the form for about `count` members that are about to be added at once: a small form that would not hold
    /// them, were they all there is, becomes the large one now.
    pub fn make_room(&mut self, count: usize, limits: SetLimits) {
        let too_many = match &self.form {
            Form::Integers(_) => count as u64 > limits.intset_entries,
            Form::Small(_) => count as u64 > limits.listpack_entries,
            Form::Large(_) => false,
        };
        if too_many {
            self.make_large();
        }
    }

    /// Adds a member; whether it is new.
    pub fn add(&mut self, member: Element<'_>, limits: SetLimits) -> bool {
        match &mut self.form {
            Form::Integers(integers) => match member.integer() {
                Some(integer) => {
                    let added = integers.add(integer);
                    if integers.len() as u64 > limits.intset_max() {
                        self.make_large();
                    }
                    added
                }
                None => {
                    let bytes = member.as_bytes(&mut Digits::new()).len();
                    if fits_listpack(integers, bytes, limits) {
                        self.make_small();
                    } else {
                        self.make_large();
                    }
                    self.push(member);
                    true
                }
            },
            Form::Small(listpack) => {
                let found = listpack.first().and_then(|first| listpack.find(first, Needle::from(member), 0));
                if found.is_some() {
                    return false;
                }
                let bytes = member.as_bytes(&mut Digits::new()).len();
                let fits = (listpack.len() as u64) < limits.listpack_entries
                    && bytes as u64 <= limits.listpack_value_bytes
                    && listpack.total_bytes().saturating_add(bytes) <= LISTPACK_MAX_BYTES;
                if !fits {
                    self.make_large();
                }
                self.push(member);
                true
            }
            Form::Large(map) => map.insert(member.as_bytes(&mut Digits::new()), b""),
        }
    }

    /// Removes a member; whether it was there.
    pub fn remove(&mut self, member: Element<'_>) -> bool {
        match &mut self.form {
            Form::Integers(integers) => member.integer().is_some_and(|integer| integers.remove(integer)),
            Form::Small(listpack) => {
                let found = listpack.first().and_then(|first| listpack.find(first, Needle::from(member), 0));
                if let Some(at) = found {
                    listpack.remove(at);
                }
                found.is_some()
            }
            Form::Large(map) => map.remove(member.as_bytes(&mut Digits::new())),
        }
    }

    /// Every member once: integers ascending, those of a listpack in the order in which they came, others in none.
    pub fn iter(&self) -> SetIter<'_> {
        match &self.form {
            Form::Integers(integers) => SetIter::Integers { integers, next: 0 },
            Form::Small(listpack) => SetIter::Small(listpack.iter()),
            Form::Large(map) => SetIter::Large(map.iter()),
        }
    }

    /// Any member, each as likely as the others.
    pub fn random(&self, random: &mut Random) -> Option<Element<'_>> {
        let mut nth = || random.below(self.len() as u64);
        match &self.form {
            Form::Integers(integers) => integers.get(nth() as usize).map(Element::Integer),
            Form::Small(listpack) => listpack.seek(nth() as i64).map(|at| listpack.get(at)),
            Form::Large(map) => map.random(random).map(|(member, _)| Element::Bytes(member)),
        }
    }

    /// Visits about `count` members from `cursor` on, all of them while the set is small; returns where to go on, 0 at the
    /// end. A member that is there throughout the walk is visited at least once.
    pub fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(Element<'_>)) -> u64 {
        match &self.form {
            Form::Large(map) => map.scan(cursor, count, &mut |member, _| visit(Element::Bytes(member))),
            Form::Integers(_) | Form::Small(_) => {
                self.iter().for_each(visit);
                0
            }
        }
    }

    /// Makes an intset of a set whose members are all integers, if it is not too long for one.
    pub fn make_integers(&mut self, limits: SetLimits) {
        if matches!(self.form, Form::Integers(_)) || self.len() as u64 > limits.intset_max() {
            return;
        }
        if let Some(integers) = self.iter().map(|member| member.integer()).collect() {
            self.form = Form::Integers(IntSet::from_integers(integers));
        }
    }

    fn make_small(&mut self) {
        let mut listpack = Listpack::new();
        for member in self.iter() {
            match member {
                Element::Integer(integer) => listpack.push_back_integer(integer),
                Element::Bytes(bytes) => listpack.push_back(bytes),
            };
        }
        self.form = Form::Small(listpack);
    }

    fn make_large(&mut self) {
        let mut map = PackedMap::new();
        for member in self.iter() {
            map.insert(member.as_bytes(&mut Digits::new()), b"");
        }
        self.form = Form::Large(Box::new(map));
    }

    /// Puts in a member that is not there, whatever the limits say. Not for intsets.
    fn push(&mut self, member: Element<'_>) {
        match (&mut self.form, member) {
            (Form::Small(listpack), Element::Integer(integer)) => {
                listpack.push_back_integer(integer);
            }
            (Form::Small(listpack), Element::Bytes(bytes)) => {
                listpack.push_back(bytes);
            }
            (Form::Large(map), member) => {
                map.insert(member.as_bytes(&mut Digits::new()), b"");
            }
            (Form::Integers(_), _) => unreachable!("an intset changes its form first"),
        }
    }
}

/// Whether the integers and one more member of `bytes` would make a listpack. Takes every integer to be as long as the longest.
fn fits_listpack(integers: &IntSet, bytes: usize, limits: SetLimits) -> bool {
    let ends = [integers.min(), integers.max()];
    let digits = |end: &Option<i64>| end.map_or(0, |integer| Digits::new().format(integer).len());
    let longest = ends.iter().map(digits).max().unwrap_or(0);
    (integers.len() as u64) < limits.listpack_entries
        && bytes.max(longest) as u64 <= limits.listpack_value_bytes
        && integers.len().saturating_mul(longest).saturating_add(bytes) <= LISTPACK_MAX_BYTES
}

/// Members of a set.
#[derive(Clone)]
pub enum SetIter<'a> {
    Integers { integers: &'a IntSet, next: usize },
    Small(listpack::Iter<'a>),
    Large(packed_map::Iter<'a>),
}

impl<'a> Iterator for SetIter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        match self {
            SetIter::Integers { integers, next } => {
                let integer = integers.get(*next)?;
                *next += 1;
                Some(Element::Integer(integer))
            }
            SetIter::Small(elements) => elements.next(),
            SetIter::Large(members) => members.next().map(|(member, _)| Element::Bytes(member)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: SetLimits = SetLimits { intset_entries: 6, listpack_entries: 4, listpack_value_bytes: 5 };

    fn texts(set: &Set) -> Vec<Vec<u8>> {
        set.iter().map(|member| member.to_vec()).collect()
    }

    fn of(members: &[&str]) -> Set {
        let mut set = Set::default();
        for member in members {
            assert!(set.add(Element::Bytes(member.as_bytes()), LIMITS));
        }
        set
    }

    #[test]
    fn the_form_follows_from_what_was_added() {
        for (members, form) in [
            (&["1", "2", "3", "4", "5", "6"][..], "intset"),
            (&["1", "2", "3", "4", "5", "6", "7"], "hashtable"),
            (&["1", "2", "x"], "listpack"),
            (&["1", "2", "3", "x"], "listpack"),
            (&["1", "2", "3", "4", "x"], "hashtable"),
            (&["x", "y", "z", "1", "2"], "hashtable"),
            (&["x", "12345"], "listpack"),
            (&["x", "123456"], "hashtable"),
            (&["123456", "x"], "hashtable"),
            (&["-12345"], "intset"),
            (&["-12345", "x"], "hashtable"),
            (&["01"], "listpack"),
        ] {
            assert_eq!(of(members).encoding_name(), form, "{members:?}");
        }
        let form = |first: &str, count| Set::for_first(first.as_bytes(), count, LIMITS).encoding_name();
        assert_eq!(
            [form("1", 6), form("1", 7), form("x", 4), form("x", 5)],
            ["intset", "hashtable", "listpack", "hashtable"]
        );
    }

    #[test]
    fn removing_changes_no_form() {
        let mut set = of(&["x", "1", "2"]);
        assert!(set.remove(Element::Bytes(b"x")));
        assert_eq!((set.encoding_name(), texts(&set)), ("listpack", vec![b"1".to_vec(), b"2".to_vec()]));
        set.make_integers(LIMITS);
        assert_eq!(set.encoding_name(), "intset");
    }

    fn any_member() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (-5i64..5).prop_map(|number| number.to_string().into_bytes()),
            any::<i64>().prop_map(|number| number.to_string().into_bytes()),
            "[a-c]{0,2}".prop_map(String::into_bytes),
            "0[0-9]|[a-c]{5,7}".prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #[test]
        fn does_what_a_set_does_in_every_form(
            steps in proptest::collection::vec((0u8..3, any_member()), 0..60),
            mut left in 0usize..30,
        ) {
            let (mut set, mut model) = (Set::default(), BTreeSet::new());
            for (kind, member) in steps {
                let element = Needle::new(&member).element();
                if kind > 0 {
                    prop_assert_eq!(set.add(element, LIMITS), model.insert(member.clone()));
                } else {
                    prop_assert_eq!(set.remove(Element::Bytes(&member)), model.remove(&member));
                }
                prop_assert_eq!(set.contains(element), model.contains(&member));
                prop_assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
                let mut members = texts(&set);
                members.sort();
                prop_assert!(members.iter().eq(&model));
                let mut scanned = Vec::new();
                prop_assert_eq!(set.scan(0, usize::MAX, &mut |member| scanned.push(member.to_vec())), 0);
                prop_assert_eq!(scanned.len(), model.len());
            }
            let mut random = Random::new(left as u64);
            while let Some(member) = set.random(&mut random).map(|member| member.to_vec()) && left > 0 {
                prop_assert!(model.remove(&member) && set.remove(Element::Bytes(&member)));
                left -= 1;
            }
        }
    }
}
