//! What a listpack from outside must satisfy beyond its format before a collection takes it over: numbers kept as numbers, so
//! that searching finds them, and no member twice.
//!
//! Called by whatever reads stored collections.

use hashbrown::HashSet;

use super::{Damaged, Element, INTEGER_TEXT_MAX, Listpack, Needle};
use crate::base::number::parse_i64;

/// Up to so many elements are compared each with each: sooner done than hashing them.
const COMPARED_MAX: usize = 16;

impl Listpack {
    /// The same elements as this program writes them. Stored by others they nearly always are that already.
    pub fn into_canonical(self) -> Listpack {
        let is_odd = |element: Element<'_>| matches!(element, Element::Bytes(bytes) if bytes.len() <= INTEGER_TEXT_MAX && parse_i64(bytes).is_some());
        if !self.iter().any(is_odd) {
            return self;
        }
        let mut canonical = Listpack::new();
        canonical.push_back_all(self.iter().map(Needle::from));
        canonical
    }

    /// Checks that every `stride`-th element, from the first on, is there once. The listpack is canonical.
    ///
    /// # Errors
    /// `Damaged`: one is there twice, or the elements are not whole groups of `stride`.
    pub fn check_unique(&self, stride: usize) -> Result<(), Damaged> {
        let count = self.len();
        if !count.is_multiple_of(stride) {
            return Err(Damaged);
        }
        let mut members = self.iter().step_by(stride);
        let unique = if count / stride <= COMPARED_MAX {
            let mut met = [Element::Integer(0); COMPARED_MAX];
            members.enumerate().all(|(index, member)| {
                let is_new = !met[..index].contains(&member);
                met[index] = member;
                is_new
            })
        } else {
            let mut met = HashSet::with_capacity(count / stride);
            members.all(|member| met.insert(member))
        };
        if unique { Ok(()) } else { Err(Damaged) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listpack(words: &[&str]) -> Listpack {
        let mut listpack = Listpack::new();
        words.iter().for_each(|word| {
            listpack.push_back(word.as_bytes());
        });
        listpack
    }

    #[test]
    fn a_number_stored_as_text_becomes_one() {
        let odd = [11, 0, 0, 0, 1, 0, 0x81, b'5', 2, 0xff];
        let mut odd = odd.to_vec();
        odd[0] = odd.len() as u8;
        let odd = Listpack::from_bytes(odd).unwrap();
        assert_eq!(odd.iter().next(), Some(Element::Bytes(b"5")));
        assert_eq!(odd.into_canonical(), listpack(&["5"]));
        let good = listpack(&["5", "a", "05"]);
        assert_eq!(good.clone().into_canonical(), good);
    }

    #[test]
    fn members_that_are_there_twice_are_found_in_few_and_in_many() {
        assert_eq!(listpack(&["a", "1", "b", "1"]).check_unique(2), Ok(()));
        assert_eq!(listpack(&["a", "1", "b", "1"]).check_unique(1), Err(Damaged));
        assert_eq!(listpack(&["a", "1", "b"]).check_unique(2), Err(Damaged));
        assert_eq!(listpack(&[]).check_unique(2), Ok(()));
        let words: Vec<String> = (0..40).map(|number| number.to_string()).collect();
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(listpack(&words).check_unique(1), Ok(()));
        words[39] = "3";
        assert_eq!(listpack(&words).check_unique(1), Err(Damaged));
    }
}
