//! Lists: one listpack while small (OBJECT ENCODING "listpack"), then a deque of listpacks ("quicklist").
//!
//! Called by the handlers of lists, SORT and whoever walks over values; knows no keys, replies or events. The caller tells each
//! change what `list-max-listpack-size` says now, and when to look at the encoding: [`List::grow_for`] before something is
//! added, [`List::shrunk`] after something was removed, [`List::built`] when all is there. Both ways and with the same sizes
//! as Redis 7.2, so that the encodings agree.
//!
//! `quicklist` owns the large form, `node` one part of it, `iter` the walk over both forms, `fill` the limits.
//!
//! `list-compress-depth` is accepted and without effect: nothing is ever compressed.

mod fill;
mod iter;
mod node;
mod quicklist;

#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::listpack::{Digits, Element, Listpack, Needle};
use fill::Fill;
use quicklist::Quicklist;

pub use iter::Iter;

/// The default of `list-max-listpack-size`: 8 KiB.
pub const DEFAULT_SETTING: i32 = -2;

/// A list.
#[derive(Clone, Debug, Default)]
pub struct List {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Small(Listpack),
    Large(Box<Quicklist>),
}

impl Default for Form {
    fn default() -> Self {
        Form::Small(Listpack::new())
    }
}

/// An end of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Left, the head: index 0.
    Front,
    /// Right, the tail: index -1.
    Back,
}

/// On which side of a pivot an element is inserted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Before,
    After,
}

/// An element on its way in.
#[derive(Clone, Debug)]
pub struct Incoming<'a> {
    pub bytes: &'a [u8],
    /// The same bytes in a buffer that may be kept, where there is one.
    pub shared: Option<Bytes>,
}

impl<'a> Incoming<'a> {
    /// Bytes that are to be copied.
    pub fn copied(bytes: &'a [u8]) -> Incoming<'a> {
        Incoming { bytes, shared: None }
    }
}

/// A part of a list where it lies.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// Elements.
    Packed(&'a Listpack),
    /// One large element.
    Plain(&'a Bytes),
}

/// An element where it lies.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// In a listpack with others.
    Packed(Element<'a>),
    /// A large one, in a buffer that replies may share.
    Plain(&'a Bytes),
}

impl<'a> Item<'a> {
    /// The element as one of a listpack, wherever it lies.
    #[inline]
    pub fn element(self) -> Element<'a> {
        match self {
            Item::Packed(element) => element,
            Item::Plain(bytes) => Element::Bytes(bytes),
        }
    }

    /// The element's bytes; an integer is written into `digits` first.
    #[inline]
    pub fn as_bytes<'b>(self, digits: &'b mut Digits) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Item::Packed(Element::Integer(integer)) => digits.format(integer).as_bytes(),
            Item::Packed(Element::Bytes(bytes)) => bytes,
            Item::Plain(bytes) => bytes,
        }
    }

    /// The element's bytes in a vector of their own.
    pub fn to_vec(self) -> Vec<u8> {
        self.as_bytes(&mut Digits::new()).to_vec()
    }
}

impl List {
    /// What OBJECT ENCODING answers.
    pub fn encoding_name(&self) -> &'static str {
        match self.form {
            Form::Small(_) => "listpack",
            Form::Large(_) => "quicklist",
        }
    }

    pub fn is_empty(&self) -> bool {
        match &self.form {
            Form::Small(listpack) => listpack.is_empty(),
            Form::Large(quicklist) => quicklist.len() == 0,
        }
    }

    /// Elements.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Small(listpack) => listpack.len(),
            Form::Large(quicklist) => quicklist.len(),
        }
    }

    /// Bytes allocated; see `Object::memory_bytes`.
    pub fn memory_bytes(&self, samples: usize) -> usize {
        match &self.form {
            Form::Small(listpack) => listpack.memory_bytes(),
            Form::Large(quicklist) => size_of::<Quicklist>() + quicklist.memory_bytes(samples),
        }
    }

    /// Allocations, about.
    pub fn free_effort(&self) -> usize {
        match &self.form {
            Form::Small(_) => 1,
            Form::Large(quicklist) => quicklist.nodes_len(),
        }
    }

    /// Frees parts, for `Object::dismantle`.
    pub(in crate::keyspace) fn dismantle(&mut self, budget: &mut usize) -> bool {
        if let Form::Large(quicklist) = &mut self.form { quicklist.dismantle(budget) } else { true }
    }

    // ---- encodings ----------------------------------------------------------------------------------------------------

    /// Makes the list large if it is not to stay small with so many elements and bytes more. `setting` is
    /// `list-max-listpack-size` here and below. Of what is added only the text counts, as in Redis.
    pub fn grow_for(&mut self, added_count: usize, added_bytes: usize, setting: i32) {
        let Form::Small(listpack) = &mut self.form else { return };
        let fill = Fill::new(setting);
        let bytes = listpack.total_bytes().saturating_add(added_bytes);
        if fill.is_exceeded(bytes, listpack.len().saturating_add(added_count)) {
            let listpack = std::mem::take(listpack);
            self.form = Form::Large(Box::new(Quicklist::new(fill, listpack)));
        }
    }

    /// Makes the list small again once it is down to half of the limit: it does not change forth and back at once.
    pub fn shrunk(&mut self, setting: i32) {
        self.become_small(Fill::new(setting).half());
    }

    /// An empty list in the large form, for elements of which nobody knows yet how many they are; [`List::built`] follows.
    pub fn large(setting: i32) -> List {
        List { form: Form::Large(Box::new(Quicklist::new(Fill::new(setting), Listpack::new()))) }
    }

    /// Adds the elements of a listpack at the end of a list in the large form, as they are: a node that was stored.
    ///
    /// # Panics
    /// When the list is small: our own mistake.
    pub fn append_part(&mut self, part: Listpack) {
        match &mut self.form {
            Form::Large(quicklist) => quicklist.append(part),
            Form::Small(_) => panic!("parts are appended to a large list"),
        }
    }

    /// Adds one element in a part of its own at the end of a list in the large form: a plain node that was stored.
    ///
    /// # Panics
    /// When the list is small: our own mistake.
    pub fn append_apart(&mut self, new: Incoming<'_>) {
        match &mut self.form {
            Form::Large(quicklist) => quicklist.append_apart(new),
            Form::Small(_) => panic!("parts are appended to a large list"),
        }
    }

    /// Chooses the encoding of a list whose elements are all there.
    pub fn built(&mut self, setting: i32) {
        self.grow_for(0, 0, setting);
        self.become_small(Fill::new(setting));
    }

    fn become_small(&mut self, fill: Fill) {
        if let Form::Large(quicklist) = &mut self.form
            && let Some(listpack) = quicklist.take_single(fill)
        {
            self.form = Form::Small(listpack);
        }
    }

    // ---- reading ------------------------------------------------------------------------------------------------------

    /// The listpacks and large elements that the list consists of, in order, for those that store it.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let (small, large) = match &self.form {
            Form::Small(listpack) => (Some(Part::Packed(listpack)), None),
            Form::Large(quicklist) => (None, Some(quicklist.parts())),
        };
        small.into_iter().chain(large.into_iter().flatten())
    }

    /// The element at `index`, from the end when negative (-1 is the last).
    pub fn get(&self, index: i64) -> Option<Item<'_>> {
        match &self.form {
            Form::Small(listpack) => listpack.seek(index).map(|at| Item::Packed(listpack.get(at))),
            Form::Large(quicklist) => quicklist.get(position(index, quicklist.len())?),
        }
    }

    /// Elements in order, from either end.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0, self.len())
    }

    /// Up to `count` elements from index `start` on, in order, from either end.
    pub fn range(&self, start: usize, count: usize) -> Iter<'_> {
        match &self.form {
            Form::Small(listpack) => Iter::of_listpack(listpack, start, count),
            Form::Large(quicklist) => quicklist.range(start, count),
        }
    }

    // ---- changing -----------------------------------------------------------------------------------------------------

    /// Adds an element at an end. [`List::grow_for`] comes before it.
    #[inline]
    pub fn push(&mut self, end: End, new: Incoming<'_>) {
        match &mut self.form {
            Form::Small(listpack) => {
                match end {
                    End::Front => listpack.push_front(new.bytes),
                    End::Back => listpack.push_back(new.bytes),
                };
            }
            Form::Large(quicklist) => quicklist.push(end, new),
        }
    }

    /// Puts an element in place of the one at `index` (negative: from the end); false when there is none.
    pub fn set(&mut self, index: i64, new: Incoming<'_>) -> bool {
        match &mut self.form {
            Form::Small(listpack) => match listpack.seek(index) {
                Some(at) => {
                    listpack.replace(at, new.bytes);
                    listpack.trim();
                    true
                }
                None => false,
            },
            Form::Large(quicklist) => match position(index, quicklist.len()) {
                Some(index) => {
                    quicklist.set(index, new);
                    true
                }
                None => false,
            },
        }
    }

    /// Inserts an element beside the first one that is `pivot`; false when there is none.
    pub fn insert(&mut self, pivot: &[u8], side: Side, new: Incoming<'_>) -> bool {
        let pivot = Needle::new(pivot);
        match &mut self.form {
            Form::Small(listpack) => {
                let Some(at) = listpack.first().and_then(|first| listpack.find(first, pivot, 0)) else { return false };
                match side {
                    Side::Before => listpack.insert_before(at, new.bytes),
                    Side::After => listpack.insert_after(at, new.bytes),
                };
                true
            }
            Form::Large(quicklist) => quicklist.insert(pivot, side, new),
        }
    }

    /// Removes up to `count` elements from index `start` on.
    pub fn remove_range(&mut self, start: usize, count: usize) {
        match &mut self.form {
            Form::Small(listpack) => {
                if let Some(at) = i64::try_from(start).ok().and_then(|start| listpack.seek(start)) {
                    listpack.remove_range(at, count);
                    listpack.trim();
                }
            }
            Form::Large(quicklist) => quicklist.remove_range(start, count),
        }
    }

    /// Removes up to `count` elements at an end.
    pub fn remove_end(&mut self, end: End, count: usize) {
        if let Form::Large(quicklist) = &mut self.form {
            return quicklist.remove_end(end, count);
        }
        let start = match end {
            End::Front => 0,
            End::Back => self.len().saturating_sub(count),
        };
        self.remove_range(start, count);
    }

    /// Removes up to `max` elements that are `element`, those nearest to an end; returns how many it removed.
    pub fn remove_matching(&mut self, element: &[u8], nearest: End, max: usize) -> usize {
        let needle = Needle::new(element);
        match &mut self.form {
            Form::Small(listpack) => {
                let removed = node::remove_from_listpack(listpack, needle, nearest, max);
                listpack.trim();
                removed
            }
            Form::Large(quicklist) => quicklist.remove_matching(needle, nearest, max),
        }
    }
}

/// The index from the front of an index that counts from the end when negative, if it is one of `len` elements.
fn position(index: i64, len: usize) -> Option<usize> {
    let distance = usize::try_from(index.unsigned_abs()).ok()?;
    let position = if index < 0 { len.checked_sub(distance)? } else { distance };
    (position < len).then_some(position)
}
