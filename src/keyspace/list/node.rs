//! One part of a large list: a listpack of some elements, or a single large element as it came.
//!
//! Used by `quicklist` only, which decides what goes into which node.

use bytes::Bytes;

use super::super::listpack::{At, Listpack, Needle};
use super::fill::Fill;
use super::{End, Incoming, Item, Part};

/// An element of so many bytes that has a node of its own is kept as it came: coming and going, it is not copied.
pub(super) const PLAIN_MIN_BYTES: usize = 64 << 10;
/// The most bytes of a listpack that an element joins in the middle of a list (LSET, LINSERT): a larger one gets a node of its
/// own, so that changes beside it move no more than that.
const JOINED_MAX_BYTES: usize = 1 << 20;
/// From here on Redis keeps an element out of listpacks (packed_threshold), which shows in the encoding.
const HUGE_MIN_BYTES: usize = 1 << 30;
/// What Redis reckons that an element takes besides its text (SIZE_ESTIMATE_OVERHEAD).
const OVERHEAD_BYTES: usize = 8;
/// Header and end of a listpack, which one of two listpacks loses when they become one.
const FRAME_BYTES: usize = 7;

/// One or more elements. Only between two steps of a change it may be empty.
#[derive(Clone, Debug)]
pub(super) struct Node {
    body: Body,
    count: u32,
}

#[derive(Clone, Debug)]
enum Body {
    Packed(Listpack),
    Plain(Box<Bytes>),
}

/// Nodes stand side by side in a deque that is moved when it grows.
const _: () = assert!(size_of::<Node>() <= 32);

impl Node {
    /// A node of one element.
    pub fn of(new: Incoming<'_>) -> Node {
        if new.bytes.len() < PLAIN_MIN_BYTES {
            let mut listpack = Listpack::new();
            listpack.push_back(new.bytes);
            return Node { body: Body::Packed(listpack), count: 1 };
        }
        let bytes = new.shared.unwrap_or_else(|| Bytes::copy_from_slice(new.bytes));
        Node { body: Body::Plain(Box::new(bytes)), count: 1 }
    }

    /// A node of the elements of a listpack.
    pub fn packed(listpack: Listpack) -> Node {
        let count = count_of(listpack.len());
        Node { body: Body::Packed(listpack), count }
    }

    /// Elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Bytes as a listpack.
    #[inline]
    fn packed_bytes(&self) -> usize {
        match &self.body {
            Body::Packed(listpack) => listpack.total_bytes(),
            Body::Plain(bytes) => bytes.len() + OVERHEAD_BYTES + FRAME_BYTES,
        }
    }

    /// Bytes allocated.
    pub fn memory_bytes(&self) -> usize {
        match &self.body {
            Body::Packed(listpack) => listpack.memory_bytes(),
            Body::Plain(bytes) => size_of::<Bytes>() + bytes.len(),
        }
    }

    // ---- limits -------------------------------------------------------------------------------------------------------

    /// Whether an element of so many bytes may join.
    #[inline]
    pub fn admits(&self, fill: Fill, bytes: usize) -> bool {
        let together = self.packed_bytes().saturating_add(bytes).saturating_add(OVERHEAD_BYTES);
        matches!(self.body, Body::Packed(_)) && !fill.is_exceeded(together, self.len() + 1)
    }

    /// Whether an element of so many bytes may join where Redis would let it join whatever the limit is.
    pub fn can_join(&self, bytes: usize) -> bool {
        let together = self.packed_bytes().saturating_add(bytes);
        matches!(self.body, Body::Packed(_)) && together <= JOINED_MAX_BYTES
    }

    /// Whether two nodes side by side may become one.
    pub fn may_merge(&self, other: &Node, fill: Fill) -> bool {
        let together = (self.packed_bytes() - FRAME_BYTES).saturating_add(other.packed_bytes());
        let packed = matches!((&self.body, &other.body), (Body::Packed(_), Body::Packed(_)));
        packed && !fill.is_exceeded(together, self.len() + other.len())
    }

    /// The elements as one listpack, if it is within the limit; the node is empty then.
    pub fn take_listpack(&mut self, fill: Fill) -> Option<Listpack> {
        if !fill.holds(self.packed_bytes(), self.len()) {
            return None;
        }
        let listpack = match &mut self.body {
            Body::Packed(listpack) => std::mem::take(listpack),
            Body::Plain(bytes) if bytes.len() >= HUGE_MIN_BYTES => return None,
            Body::Plain(bytes) => {
                let mut listpack = Listpack::new();
                listpack.push_back(bytes);
                listpack
            }
        };
        self.count = 0;
        Some(listpack)
    }

    // ---- reading ------------------------------------------------------------------------------------------------------

    /// What the node consists of.
    pub fn part(&self) -> Part<'_> {
        match &self.body {
            Body::Packed(listpack) => Part::Packed(listpack),
            Body::Plain(bytes) => Part::Plain(bytes),
        }
    }

    /// The element at `offset`.
    pub fn get(&self, offset: usize) -> Option<Item<'_>> {
        match &self.body {
            Body::Packed(listpack) => listpack.seek(offset as i64).map(|at| Item::Packed(listpack.get(at))),
            Body::Plain(bytes) => (offset == 0).then_some(Item::Plain(bytes)),
        }
    }

    /// The offset of the first element that is the needle.
    pub fn find(&self, needle: Needle<'_>) -> Option<usize> {
        match &self.body {
            Body::Packed(listpack) => listpack.iter().position(|element| needle.is(element)),
            Body::Plain(bytes) => needle.is(super::Element::Bytes(bytes)).then_some(0),
        }
    }

    // ---- changing -----------------------------------------------------------------------------------------------------

    /// Adds an element that the node admits, or that can join.
    #[inline]
    pub fn push(&mut self, end: End, bytes: &[u8]) {
        let listpack = self.listpack_mut();
        match end {
            End::Front => listpack.push_front(bytes),
            End::Back => listpack.push_back(bytes),
        };
        self.count += 1;
    }

    /// Inserts an element that the node admits in front of the one at `offset`; at the end when there is none.
    pub fn insert(&mut self, offset: usize, bytes: &[u8]) {
        let listpack = self.listpack_mut();
        match listpack.seek(offset as i64) {
            Some(at) => listpack.insert_before(at, bytes),
            None => listpack.push_back(bytes),
        };
        self.count += 1;
    }

    /// Puts an element in place of the one at `offset`, whatever the limit is; gives it back when that cannot be done here.
    pub fn replace<'a>(&mut self, offset: usize, new: Incoming<'a>) -> Option<Incoming<'a>> {
        if self.count == 1 {
            *self = Node::of(new);
            return None;
        }
        if !self.can_join(new.bytes.len()) {
            return Some(new);
        }
        let listpack = self.listpack_mut();
        if let Some(at) = listpack.seek(offset as i64) {
            listpack.replace(at, new.bytes);
            listpack.trim();
        }
        None
    }

    /// Removes up to `count` elements from `offset` on.
    pub fn remove_range(&mut self, offset: usize, count: usize) {
        let removed = count.min(self.len().saturating_sub(offset));
        if removed < self.len() {
            let listpack = self.listpack_mut();
            if let Some(at) = listpack.seek(offset as i64) {
                listpack.remove_range(at, removed);
                listpack.trim();
            }
        }
        self.count -= count_of(removed);
    }

    /// Removes elements at an end, fewer than there are.
    #[inline]
    pub fn remove_end(&mut self, end: End, count: usize) {
        let listpack = self.listpack_mut();
        let first = match end {
            End::Front => listpack.first(),
            End::Back if count == 1 => listpack.last(),
            End::Back => i64::try_from(count).ok().and_then(|count| listpack.seek(-count)),
        };
        if let Some(at) = first {
            listpack.remove_range(at, count);
            listpack.trim();
            self.count -= count_of(count);
        }
    }

    /// Removes up to `max` elements that are the needle, those nearest to an end; returns how many it removed.
    pub fn remove_matching(&mut self, needle: Needle<'_>, nearest: End, max: usize) -> usize {
        let removed = match &mut self.body {
            Body::Packed(listpack) => remove_from_listpack(listpack, needle, nearest, max),
            Body::Plain(bytes) => usize::from(max > 0 && needle.is(super::Element::Bytes(bytes))),
        };
        self.count -= count_of(removed);
        if removed > 0
            && let Body::Packed(listpack) = &mut self.body
        {
            listpack.trim();
        }
        removed
    }

    /// Cuts off the elements from `offset` on, which is neither the first nor behind the last.
    pub fn split_off(&mut self, offset: usize) -> Node {
        let listpack = self.listpack_mut();
        let at: At = listpack.seek(offset as i64).expect("a node is split between two elements");
        let mut tail = listpack.split_off(at);
        tail.shrink_to_fit();
        listpack.trim();
        let tail = Node::packed(tail);
        self.count -= tail.count;
        tail
    }

    /// Appends the elements of a node with which it may merge.
    pub fn append(&mut self, other: &Node) {
        let count = self.count + other.count;
        if let Part::Packed(more) = other.part() {
            let listpack = self.listpack_mut();
            listpack.append(more);
            listpack.shrink_to_fit();
            self.count = count;
        }
    }

    /// Gives back what growing has left over, of a node to which nothing more will be pushed.
    pub fn close(&mut self) {
        if let Body::Packed(listpack) = &mut self.body {
            listpack.shrink_to_fit();
        }
    }

    fn listpack_mut(&mut self) -> &mut Listpack {
        match &mut self.body {
            Body::Packed(listpack) => listpack,
            Body::Plain(_) => unreachable!("a plain element is alone: whoever asks has checked"),
        }
    }
}

/// Removes up to `max` elements that are the needle, those nearest to an end; returns how many it removed.
pub(super) fn remove_from_listpack(listpack: &mut Listpack, needle: Needle<'_>, nearest: End, max: usize) -> usize {
    let skip = match nearest {
        End::Front => 0,
        End::Back if max == usize::MAX => 0,
        End::Back => listpack.iter().filter(|element| needle.is(*element)).count().saturating_sub(max),
    };
    listpack.remove_matching(needle, skip, max)
}

/// Elements of one node; a listpack of 4 GiB could not hold more.
fn count_of(len: usize) -> u32 {
    u32::try_from(len).expect("a node has fewer than 2^32 elements")
}
