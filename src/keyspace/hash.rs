//! Hashes: fields with a value each. A listpack of pairs while small, a `PackedMap` from then on; never back.
//!
//! Called by the hash commands, by SORT and by whatever writes values out. The limits of the small form come with every call
//! that adds: the keyspace knows no configuration.

use super::listpack::{self, At, Element, Listpack, Needle};
use super::packed_map::{self, PackedMap};
use crate::base::random::Random;

/// A listpack does not grow beyond this, whatever the settings say.
pub(super) const LISTPACK_MAX_BYTES: usize = 1 << 30;

/// When a hash leaves its small form.
#[derive(Clone, Copy, Debug)]
pub struct HashLimits {
    /// `hash-max-listpack-entries`: fields.
    pub entries: u64,
    /// `hash-max-listpack-value`: bytes of a field or value.
    pub value_bytes: u64,
}

/// A hash.
#[derive(Clone, Debug, Default)]
pub struct Hash {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// Field, value, field, value ... in the order in which the fields came.
    Small(Listpack),
    Large(Box<PackedMap>),
}

const _: () = assert!(size_of::<Hash>() == 24);

impl Default for Form {
    fn default() -> Self {
        Form::Small(Listpack::new())
    }
}

impl Hash {
    /// A hash of the pairs in a listpack, `None` when their number is odd. That no field stands twice is the caller's to check.
    pub fn from_listpack(listpack: Listpack) -> Option<Hash> {
        listpack.len().is_multiple_of(2).then_some(Hash { form: Form::Small(listpack) })
    }

    /// A hash of fields and values that were stored one by one, in the form that Redis chooses for them when it loads
    /// them. `None` when a field is there twice.
    pub fn from_pairs<'a>(
        pairs: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone,
        limits: HashLimits,
    ) -> Option<Hash> {
        let parts = pairs.clone().flat_map(|(field, value)| [field, value]);
        let total: usize = parts.clone().map(<[u8]>::len).sum();
        let fits = pairs.len() as u64 <= limits.entries
            && parts.clone().all(|part| part.len() as u64 <= limits.value_bytes)
            && total <= LISTPACK_MAX_BYTES;
        if fits {
            let mut listpack = Listpack::new();
            listpack.push_back_all(parts.map(Needle::new));
            listpack.check_unique(2).ok()?;
            return Hash::from_listpack(listpack);
        }
        let mut hash = Hash::large();
        pairs.into_iter().all(|(field, value)| hash.set(field, value, limits)).then_some(hash)
    }

    /// An empty hash in the large form, for many fields.
    pub fn large() -> Hash {
        Hash { form: Form::Large(Box::new(PackedMap::new())) }
    }

    /// The pairs as a listpack, while the hash is small.
    pub fn listpack(&self) -> Option<&Listpack> {
        if let Form::Small(listpack) = &self.form { Some(listpack) } else { None }
    }

    /// What OBJECT ENCODING answers.
    pub fn encoding_name(&self) -> &'static str {
        match &self.form {
            Form::Small(_) => "listpack",
            Form::Large(_) => "hashtable",
        }
    }

    /// Fields.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Small(listpack) => listpack.len() / 2,
            Form::Large(map) => map.len(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        match &self.form {
            Form::Small(listpack) => listpack.is_empty(),
            Form::Large(map) => map.is_empty(),
        }
    }

    /// Bytes allocated; see `Object::memory_bytes`.
    pub fn memory_bytes(&self, samples: usize) -> usize {
        match &self.form {
            Form::Small(listpack) => listpack.memory_bytes(),
            Form::Large(map) => size_of::<PackedMap>() + map.memory_bytes(samples),
        }
    }

    /// Allocations, about.
    pub fn free_effort(&self) -> usize {
        match &self.form {
            Form::Small(_) => 1,
            Form::Large(map) => map.free_effort(),
        }
    }

    /// Frees parts, for `Object::dismantle`.
    pub(super) fn dismantle(&mut self, budget: &mut usize) -> bool {
        if let Form::Large(map) = &mut self.form { map.dismantle(budget) } else { true }
    }

    /// The value of a field.
    #[inline]
    pub fn get(&self, field: &[u8]) -> Option<Element<'_>> {
        match &self.form {
            Form::Small(listpack) => {
                let at = find_field(listpack, field)?;
                Some(listpack.get(listpack.next(at)?))
            }
            Form::Large(map) => map.get(field).map(Element::Bytes),
        }
    }

    pub fn contains(&self, field: &[u8]) -> bool {
        match &self.form {
            Form::Small(listpack) => find_field(listpack, field).is_some(),
            Form::Large(map) => map.contains(field),
        }
    }

    /// Chooses the form for what is about to be set all at once, fields and values: a listpack that would have to
    /// change its form in between changes it now. Counts fields that are there already, as Redis does.
    pub fn make_room<'a>(&mut self, parts: impl ExactSizeIterator<Item = &'a [u8]>, limits: HashLimits) {
        let Form::Small(listpack) = &self.form else { return };
        let fits = parts.len() as u64 / 2 <= limits.entries && {
            let mut total_bytes = listpack.total_bytes();
            let each_fits = parts.into_iter().all(|part| {
                total_bytes = total_bytes.saturating_add(part.len());
                part.len() as u64 <= limits.value_bytes
            });
            each_fits && total_bytes <= LISTPACK_MAX_BYTES
        };
        if !fits {
            self.make_large();
        }
    }

    /// Sets the value of a field; true when the field is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: HashLimits) -> bool {
        let longest = field.len().max(value.len()) as u64;
        if longest > limits.value_bytes && matches!(self.form, Form::Small(_)) {
            self.make_large();
        }
        match &mut self.form {
            Form::Large(map) => map.insert(field, value),
            Form::Small(listpack) => {
                let found = find_field(listpack, field).and_then(|at| listpack.next(at));
                match found {
                    Some(at) => {
                        listpack.replace(at, value);
                    }
                    None => {
                        listpack.push_back(field);
                        listpack.push_back(value);
                    }
                }
                if listpack.len() as u64 / 2 > limits.entries {
                    self.make_large();
                }
                found.is_none()
            }
        }
    }

    /// Removes a field; whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.form {
            Form::Large(map) => map.remove(field),
            Form::Small(listpack) => {
                let found = find_field(listpack, field);
                if let Some(at) = found {
                    listpack.remove_range(at, 2);
                }
                found.is_some()
            }
        }
    }

    /// Every field with its value: in the order in which they came while the hash is small, in none after.
    pub fn iter(&self) -> HashIter<'_> {
        match &self.form {
            Form::Small(listpack) => HashIter::Small(listpack.iter()),
            Form::Large(map) => HashIter::Large(map.iter()),
        }
    }

    /// Any field with its value, each as likely as the others.
    pub fn random(&self, random: &mut Random) -> Option<(Element<'_>, Element<'_>)> {
        match &self.form {
            Form::Large(map) => map.random(random).map(|(field, value)| (Element::Bytes(field), Element::Bytes(value))),
            Form::Small(listpack) => {
                let nth = random.below(listpack.len() as u64 / 2);
                let at = listpack.seek(nth as i64 * 2)?;
                Some((listpack.get(at), listpack.get(listpack.next(at)?)))
            }
        }
    }

    /// Visits about `count` fields from `cursor` on, all of them while the hash is small; returns where to go on, 0 at
    /// the end. A field that is there throughout the walk is visited at least once.
    pub fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(Element<'_>, Element<'_>)) -> u64 {
        match &self.form {
            Form::Large(map) => map.scan(cursor, count, &mut |field, value| {
                visit(Element::Bytes(field), Element::Bytes(value));
            }),
            Form::Small(_) => {
                self.iter().for_each(|(field, value)| visit(field, value));
                0
            }
        }
    }

    fn make_large(&mut self) {
        let mut map = PackedMap::new();
        for (field, value) in self.iter() {
            map.insert(field.as_bytes(&mut Default::default()), value.as_bytes(&mut Default::default()));
        }
        self.form = Form::Large(Box::new(map));
    }
}

fn find_field(listpack: &Listpack, field: &[u8]) -> Option<At> {
    listpack.find(listpack.first()?, Needle::new(field), 1)
}

/// Fields with their values.
#[derive(Clone)]
pub enum HashIter<'a> {
    Small(listpack::Iter<'a>),
    Large(packed_map::Iter<'a>),
}

impl<'a> Iterator for HashIter<'a> {
    type Item = (Element<'a>, Element<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            HashIter::Small(elements) => Some((elements.next()?, elements.next()?)),
            HashIter::Large(pairs) => pairs.next().map(|(field, value)| (Element::Bytes(field), Element::Bytes(value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: HashLimits = HashLimits { entries: 3, value_bytes: 5 };

    fn pairs(hash: &Hash) -> Vec<(Vec<u8>, Vec<u8>)> {
        hash.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect()
    }

    #[test]
    fn a_small_hash_keeps_the_order_in_which_fields_came() {
        let mut hash = Hash::default();
        for (field, value) in [("b", "1"), ("a", "2"), ("b", "3"), ("10", "x")] {
            hash.set(field.as_bytes(), value.as_bytes(), LIMITS);
        }
        let expected =
            [("b", "3"), ("a", "2"), ("10", "x")].map(|(f, v)| (f.as_bytes().to_vec(), v.as_bytes().to_vec()));
        assert_eq!((hash.encoding_name(), pairs(&hash)), ("listpack", expected.to_vec()));
        assert!(hash.set(b"c", b"", LIMITS));
        assert_eq!((hash.encoding_name(), hash.len()), ("hashtable", 4));
    }

    #[test]
    fn room_is_made_before_too_much_is_set() {
        let encoding_after = |parts: &[&'static str]| {
            let mut hash = Hash::default();
            hash.make_room(parts.iter().map(|part| part.as_bytes()), LIMITS);
            hash.encoding_name()
        };
        assert_eq!(encoding_after(&["a", "1", "b", "2", "c", "12345"]), "listpack");
        assert_eq!(encoding_after(&["a", "1", "a", "1", "a", "1", "a", "1"]), "hashtable");
        assert_eq!(encoding_after(&["a", "123456"]), "hashtable");
        assert_eq!(encoding_after(&["abcdef", ""]), "hashtable");
    }

    fn any_text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (-5i64..5).prop_map(|number| number.to_string().into_bytes()),
            "[a-c]{0,2}".prop_map(String::into_bytes),
            "[0-9]{4,7}".prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #[test]
        fn does_what_a_map_does_in_either_form(
            steps in proptest::collection::vec((0u8..3, any_text(), any_text()), 0..60),
        ) {
            let (mut hash, mut model) = (Hash::default(), BTreeMap::new());
            for (kind, field, value) in steps {
                if kind > 0 {
                    let new = model.insert(field.clone(), value.clone()).is_none();
                    prop_assert_eq!(hash.set(&field, &value, LIMITS), new);
                } else {
                    prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some());
                }
                prop_assert_eq!(hash.get(&field).map(|value| value.to_vec()), model.get(&field).cloned());
                prop_assert_eq!(hash.contains(&field), model.contains_key(&field));
                prop_assert_eq!((hash.len(), hash.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!(pairs(&hash).into_iter().collect::<BTreeMap<_, _>>(), model.clone());
                let drawn = hash.random(&mut Random::new(model.len() as u64));
                let is_there = drawn.map(|(field, value)| model.get(&field.to_vec()) == Some(&value.to_vec()));
                prop_assert_eq!(is_there, (!model.is_empty()).then_some(true));
            }
        }
    }
}
