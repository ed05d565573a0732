//! Walking over the elements of a list, from either end.

use std::collections::vec_deque;

use bytes::Bytes;

use super::super::listpack::{self, Listpack};
use super::Item;
use super::node::Node;

/// Elements of a part of a list.
#[derive(Clone)]
pub struct Iter<'a> {
    /// What is left of the node where the front stands, of those in between, and of the node where the back stands. When front
    /// and back stand in the same node, it is the front's.
    front: NodeIter<'a>,
    middle: vec_deque::Iter<'a, Node>,
    back: NodeIter<'a>,
    left: usize,
}

impl<'a> Iter<'a> {
    /// Up to `count` elements of a listpack from `start` on.
    pub(super) fn of_listpack(listpack: &'a Listpack, start: usize, count: usize) -> Iter<'a> {
        let count = count.min(listpack.len().saturating_sub(start));
        Iter {
            front: NodeIter::of_listpack(listpack, start, count),
            middle: vec_deque::Iter::default(),
            back: NodeIter::Empty,
            left: count,
        }
    }

    /// `count` elements, which stand in these parts one after the other.
    pub(super) fn of_nodes(
        front: NodeIter<'a>,
        middle: vec_deque::Iter<'a, Node>,
        back: NodeIter<'a>,
        count: usize,
    ) -> Iter<'a> {
        Iter { front, middle, back, left: count }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            if let Some(item) = self.front.next() {
                self.left -= 1;
                return Some(item);
            }
            match self.middle.next() {
                Some(node) => self.front = NodeIter::of(node),
                None => {
                    let item = self.back.next()?;
                    self.left -= 1;
                    return Some(item);
                }
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<Item<'a>> {
        loop {
            if let Some(item) = self.back.next_back() {
                self.left -= 1;
                return Some(item);
            }
            match self.middle.next_back() {
                Some(node) => self.back = NodeIter::of(node),
                None => {
                    let item = self.front.next_back()?;
                    self.left -= 1;
                    return Some(item);
                }
            }
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// Elements of a part of one node.
#[derive(Clone)]
pub(super) enum NodeIter<'a> {
    Empty,
    Packed(listpack::Iter<'a>),
    Plain(&'a Bytes),
}

impl<'a> NodeIter<'a> {
    /// All elements of a node.
    pub fn of(node: &'a Node) -> NodeIter<'a> {
        match (node.listpack(), node.plain()) {
            (Some(listpack), _) => NodeIter::Packed(listpack.iter()),
            (None, Some(bytes)) => NodeIter::Plain(bytes),
            (None, None) => NodeIter::Empty,
        }
    }

    /// `count` elements of a node from `start` on.
    pub fn part_of(node: &'a Node, start: usize, count: usize) -> NodeIter<'a> {
        match node.listpack() {
            Some(listpack) => NodeIter::of_listpack(listpack, start, count),
            None if start == 0 && count > 0 => NodeIter::of(node),
            None => NodeIter::Empty,
        }
    }

    fn of_listpack(listpack: &'a Listpack, start: usize, count: usize) -> NodeIter<'a> {
        let Some(from) = listpack.seek(start as i64) else { return NodeIter::Empty };
        let until = start.checked_add(count).and_then(|end| listpack.seek(end as i64));
        NodeIter::Packed(listpack.iter_between(from, until))
    }

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        match self {
            NodeIter::Packed(iter) => iter.next().map(Item::Packed),
            NodeIter::Plain(bytes) => {
                let item = Item::Plain(bytes);
                *self = NodeIter::Empty;
                Some(item)
            }
            NodeIter::Empty => None,
        }
    }

    #[inline]
    fn next_back(&mut self) -> Option<Item<'a>> {
        match self {
            NodeIter::Packed(iter) => iter.next_back().map(Item::Packed),
            _ => self.next(),
        }
    }
}
