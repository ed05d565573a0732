//! The large form of a list: nodes with their counts, in a deque.
//!
//! Which node an element goes into, when nodes are split and when they are merged follows Redis 7.2, because the number of nodes
//! decides when the list becomes small again. Beyond that, lists of very many nodes are kept from staying in pieces.

use std::collections::VecDeque;

use super::super::listpack::{Listpack, Needle};
use super::fill::Fill;
use super::iter::{Iter, NodeIter};
use super::node::Node;
use super::{End, Incoming, Item, Part, Side};
use crate::keyspace::object::extrapolate;

/// Only above so many nodes are neighbours merged where Redis would leave them apart: it must not show in the encoding of a
/// list that is about to become small.
const MERGED_MIN_NODES: usize = 64;

/// No node is empty.
#[derive(Clone, Debug)]
pub(super) struct Quicklist {
    nodes: VecDeque<Node>,
    len: usize,
    /// The limit when the list became large; it keeps it.
    fill: Fill,
}

impl Quicklist {
    /// Frees nodes from the last, one for each of `budget`, which it takes them off; true when none is left. The list is of no
    /// other use after.
    pub fn dismantle(&mut self, budget: &mut usize) -> bool {
        let kept = self.nodes.len().saturating_sub(*budget);
        *budget -= self.nodes.len() - kept;
        self.nodes.truncate(kept);
        kept == 0
    }

    /// The elements of a listpack as they are, whatever the limit.
    pub fn new(fill: Fill, listpack: Listpack) -> Quicklist {
        let mut list = Quicklist { nodes: VecDeque::new(), len: 0, fill: fill.for_nodes() };
        list.append(listpack);
        list
    }

    /// Adds the elements of a listpack at the end, in a node of their own.
    pub fn append(&mut self, mut listpack: Listpack) {
        if !listpack.is_empty() {
            listpack.shrink_to_fit();
            let node = Node::packed(listpack);
            self.len += node.len();
            self.nodes.push_back(node);
        }
    }

    /// Adds an element at the end, in a node of its own.
    pub fn append_apart(&mut self, new: Incoming<'_>) {
        self.nodes.push_back(Node::of(new));
        self.len += 1;
    }

    /// Elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn nodes_len(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes allocated; see `Object::memory_bytes`.
    pub fn memory_bytes(&self, samples: usize) -> usize {
        let nodes = self.nodes.iter().map(|node| (node.len(), node.memory_bytes()));
        extrapolate(nodes, self.len(), samples) + self.nodes.capacity() * size_of::<Node>()
    }

    /// The elements as one listpack, if there is one node and it is within the limit. The list is empty then.
    pub fn take_single(&mut self, fill: Fill) -> Option<Listpack> {
        if self.nodes.len() != 1 {
            return None;
        }
        let listpack = self.nodes.front_mut()?.take_listpack(fill)?;
        self.nodes.clear();
        self.len = 0;
        Some(listpack)
    }

    // ---- reading ------------------------------------------------------------------------------------------------------

    /// The nodes' contents.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.nodes.iter().map(Node::part)
    }

    /// The element at `index`.
    pub fn get(&self, index: usize) -> Option<Item<'_>> {
        let (node, offset) = self.locate(index)?;
        self.nodes[node].get(offset)
    }

    /// Up to `count` elements from `start` on.
    pub fn range(&self, start: usize, count: usize) -> Iter<'_> {
        let count = count.min(self.len.saturating_sub(start));
        let last = start.saturating_add(count).saturating_sub(1);
        let (Some(first), Some(last), 1..) = (self.locate(start), self.locate(last), count) else {
            return Iter::of_nodes(NodeIter::Empty, self.nodes.range(0..0), NodeIter::Empty, 0);
        };
        if first.0 == last.0 {
            let front = NodeIter::part_of(&self.nodes[first.0], first.1, count);
            return Iter::of_nodes(front, self.nodes.range(0..0), NodeIter::Empty, count);
        }
        let front = NodeIter::part_of(&self.nodes[first.0], first.1, self.nodes[first.0].len() - first.1);
        let back = NodeIter::part_of(&self.nodes[last.0], 0, last.1 + 1);
        Iter::of_nodes(front, self.nodes.range(first.0 + 1..last.0), back, count)
    }

    /// The node of an element and its offset there. Counts nodes from the nearer end.
    fn locate(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        let last = self.nodes.len() - 1;
        if let Some(offset) = index.checked_sub(self.len - self.nodes[last].len()) {
            return Some((last, offset));
        }
        if index <= self.len / 2 {
            let mut before = 0;
            for (node, count) in self.nodes.iter().map(Node::len).enumerate() {
                if index < before + count {
                    return Some((node, index - before));
                }
                before += count;
            }
        } else {
            let mut begin = self.len;
            for (node, count) in self.nodes.iter().map(Node::len).enumerate().rev() {
                begin -= count;
                if index >= begin {
                    return Some((node, index - begin));
                }
            }
        }
        unreachable!("the counts of the nodes add up to the length")
    }

    // ---- changing -----------------------------------------------------------------------------------------------------

    /// Adds an element at an end.
    #[inline]
    pub fn push(&mut self, end: End, new: Incoming<'_>) {
        let node = match end {
            End::Front => self.nodes.front_mut(),
            End::Back => self.nodes.back_mut(),
        };
        self.len += 1;
        match node {
            Some(node) if node.admits(self.fill, new.bytes.len()) => return node.push(end, new.bytes),
            Some(node) => node.close(),
            None => {}
        }
        match end {
            End::Front => self.nodes.push_front(Node::of(new)),
            End::Back => self.nodes.push_back(Node::of(new)),
        }
    }

    /// Puts an element in place of the one at `index`, which is there.
    pub fn set(&mut self, index: usize, new: Incoming<'_>) {
        let Some((node, offset)) = self.locate(index) else { return };
        match self.nodes[node].replace(offset, new) {
            None => {
                if self.nodes.len() > MERGED_MIN_NODES {
                    self.merge_around(node);
                }
            }
            Some(new) => self.replace_apart(node, offset, new),
        }
    }

    /// Puts an element that gets a node of its own in place of one that has others beside it.
    fn replace_apart(&mut self, node: usize, offset: usize, new: Incoming<'_>) {
        let own = Node::of(new);
        let old = &mut self.nodes[node];
        let behind = if offset + 1 < old.len() { Some(old.split_off(offset + 1)) } else { None };
        old.remove_range(offset, 1);
        let mut at = node;
        if old.len() == 0 {
            *old = own;
        } else {
            at += 1;
            self.nodes.insert(at, own);
        }
        if let Some(behind) = behind {
            self.nodes.insert(at + 1, behind);
        }
        self.merge_around(at);
    }

    /// Inserts an element beside the first one that is `pivot`; false when there is none.
    pub fn insert(&mut self, pivot: Needle<'_>, side: Side, new: Incoming<'_>) -> bool {
        let mut found = self.nodes.iter().enumerate().map(|(index, node)| (index, node.find(pivot)));
        let Some((node, offset)) = found.find_map(|(index, offset)| Some((index, offset?))) else { return false };
        let offset = match side {
            Side::Before => offset,
            Side::After => offset + 1,
        };
        self.insert_at(node, offset, side, new);
        self.len += 1;
        true
    }

    /// Inserts an element in front of the one at `offset` of a node, or behind its last one. A full node gives way to a neighbour
    /// that has room, or else is split; `side` is where the pivot is not, which decides what stays.
    fn insert_at(&mut self, node: usize, offset: usize, side: Side, new: Incoming<'_>) {
        let (bytes, fill) = (new.bytes.len(), self.fill);
        if self.nodes[node].admits(fill, bytes) {
            return self.nodes[node].insert(offset, new.bytes);
        }
        let at_end = match side {
            Side::Before => offset == 0,
            Side::After => offset == self.nodes[node].len(),
        };
        let (neighbour, its_end) = match side {
            Side::Before => (node.checked_sub(1), End::Back),
            Side::After => (Some(node + 1), End::Front),
        };
        if at_end {
            match neighbour.and_then(|index| self.nodes.get_mut(index)) {
                Some(neighbour) if neighbour.admits(fill, bytes) => neighbour.push(its_end, new.bytes),
                _ => self.nodes.insert(if side == Side::Before { node } else { node + 1 }, Node::of(new)),
            }
            return;
        }
        self.split_for(node, offset, side, new);
    }

    /// Splits a full node at `offset` and puts the element between the halves: into the half without the pivot.
    fn split_for(&mut self, node: usize, offset: usize, side: Side, new: Incoming<'_>) {
        let mut tail = self.nodes[node].split_off(offset);
        let (half, its_end) = match side {
            Side::Before => (&mut self.nodes[node], End::Back),
            Side::After => (&mut tail, End::Front),
        };
        let apart = if half.can_join(new.bytes.len()) {
            half.push(its_end, new.bytes);
            None
        } else {
            Some(Node::of(new))
        };
        let mut at = node + 1;
        if let Some(own) = apart {
            self.nodes.insert(at, own);
            at += 1;
        }
        self.nodes.insert(at, tail);
        self.merge_around(if side == Side::Before { at } else { node });
    }

    /// Removes up to `count` elements at an end.
    #[inline]
    pub fn remove_end(&mut self, end: End, count: usize) {
        let node = match end {
            End::Front => self.nodes.front_mut(),
            End::Back => self.nodes.back_mut(),
        };
        match node {
            Some(node) if count < node.len() => {
                node.remove_end(end, count);
                self.len -= count;
            }
            _ => {
                let start = if end == End::Front { 0 } else { self.len.saturating_sub(count) };
                self.remove_range(start, count);
            }
        }
    }

    /// Removes up to `count` elements from `start` on.
    pub fn remove_range(&mut self, start: usize, count: usize) {
        let count = count.min(self.len.saturating_sub(start));
        let (Some((mut node, offset)), 1..) = (self.locate(start), count) else { return };
        let mut left = count;
        if offset > 0 {
            let here = left.min(self.nodes[node].len() - offset);
            self.nodes[node].remove_range(offset, here);
            left -= here;
            node += 1;
        }
        let first = node;
        while left > 0 && self.nodes[node].len() <= left {
            left -= self.nodes[node].len();
            node += 1;
        }
        if left > 0 {
            self.nodes[node].remove_range(0, left);
        }
        self.nodes.drain(first..node);
        self.len -= count;
        self.trim();
    }

    /// Removes up to `max` elements that are the needle, those nearest to an end; returns how many it removed.
    pub fn remove_matching(&mut self, needle: Needle<'_>, nearest: End, max: usize) -> usize {
        let mut removed = 0;
        let mut visit = |node: &mut Node| {
            removed += node.remove_matching(needle, nearest, max - removed);
            removed < max
        };
        // Stops where enough are removed.
        match nearest {
            End::Front => self.nodes.iter_mut().all(&mut visit),
            End::Back => self.nodes.iter_mut().rev().all(&mut visit),
        };
        if removed > 0 {
            self.len -= removed;
            self.nodes.retain(|node| node.len() > 0);
            self.defragment();
            self.trim();
        }
        removed
    }

    // ---- merging ------------------------------------------------------------------------------------------------------

    /// Merges what may be merged of a node with two neighbours on either side, in the order in which Redis does.
    fn merge_around(&mut self, node: usize) {
        let mut center = node;
        if center >= 2 && self.merge_with_next(center - 2) {
            center -= 1;
        }
        self.merge_with_next(center + 1);
        if center >= 1 && self.merge_with_next(center - 1) {
            center -= 1;
        }
        self.merge_with_next(center);
    }

    /// Makes a node and the one behind it one, if both are there and may merge; whether it did.
    fn merge_with_next(&mut self, node: usize) -> bool {
        let (Some(left), Some(right)) = (self.nodes.get(node), self.nodes.get(node + 1)) else { return false };
        if !left.may_merge(right, self.fill) {
            return false;
        }
        if let Some(right) = self.nodes.remove(node + 1) {
            self.nodes[node].append(&right);
        }
        true
    }

    /// Merges all neighbours that may merge, in one pass, as long as very many nodes are left.
    fn defragment(&mut self) {
        let mut surplus = self.nodes.len().saturating_sub(MERGED_MIN_NODES);
        if surplus == 0 {
            return;
        }
        let old = std::mem::take(&mut self.nodes);
        for node in old {
            match self.nodes.back_mut() {
                Some(last) if surplus > 0 && last.may_merge(&node, self.fill) => {
                    last.append(&node);
                    surplus -= 1;
                }
                _ => self.nodes.push_back(node),
            }
        }
    }

    /// Gives back the room of nodes that are gone.
    fn trim(&mut self) {
        let (len, capacity) = (self.nodes.len(), self.nodes.capacity());
        if capacity > 4 * len + 16 {
            self.nodes.shrink_to(2 * len);
        }
    }

    /// Panics where an invariant is broken.
    #[cfg(test)]
    pub fn check(&self) {
        let total: usize = self.nodes.iter().map(Node::len).sum();
        assert_eq!(total, self.len, "the counts add up to the length");
        for node in &self.nodes {
            assert!(node.len() > 0, "no node is empty");
            if let Part::Packed(listpack) = node.part() {
                assert_eq!(listpack.len(), node.len(), "a node's count is its listpack's");
            }
        }
    }
}
