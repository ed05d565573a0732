//! The nodes of a stream in the order of their ids: a deque of short runs.
//!
//! Streams grow at one end and are trimmed at the other, so runs fill up and stay full, which an ordered map's nodes do not; what
//! is removed in between moves no more than a run. Used by `log` alone.

use std::collections::VecDeque;

use super::id::StreamId;
use super::node::Node;

/// Nodes that stand together.
const RUN_MAX: usize = if cfg!(test) { 4 } else { 64 };

/// Nodes by their ids. No run is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes {
    runs: VecDeque<Vec<(StreamId, Node)>>,
    count: usize,
}

/// Where a node stands: its run, and its index there. Valid until a node comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    run: usize,
    index: usize,
}

impl Nodes {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Every node, from the first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (StreamId, &Node)> {
        Iter { nodes: self.runs.iter().flatten(), left: self.count }
    }

    /// The n-th node, from 0.
    pub fn nth(&self, n: usize) -> Option<(StreamId, &Node)> {
        let mut left = n;
        for run in &self.runs {
            match left.checked_sub(run.len()) {
                Some(behind) => left = behind,
                None => return run.get(left).map(|(id, node)| (*id, node)),
            }
        }
        None
    }

    pub fn first_mut(&mut self) -> Option<(StreamId, &mut Node)> {
        self.runs.front_mut()?.first_mut().map(|(id, node)| (*id, node))
    }

    #[inline]
    pub fn last_mut(&mut self) -> Option<(StreamId, &mut Node)> {
        self.runs.back_mut()?.last_mut().map(|(id, node)| (*id, node))
    }

    /// The last place whose id is not above this one.
    pub fn at_or_before(&self, id: StreamId) -> Option<Place> {
        let run = self.runs.partition_point(|run| run.first().is_some_and(|(first, _)| *first <= id)).checked_sub(1)?;
        let index = self.runs.get(run)?.partition_point(|(its_id, _)| *its_id <= id).checked_sub(1)?;
        Some(Place { run, index })
    }

    pub fn get(&self, place: Place) -> Option<(StreamId, &Node)> {
        self.runs.get(place.run)?.get(place.index).map(|(id, node)| (*id, node))
    }

    pub fn get_mut(&mut self, place: Place) -> Option<(StreamId, &mut Node)> {
        self.runs.get_mut(place.run)?.get_mut(place.index).map(|(id, node)| (*id, node))
    }

    pub fn first(&self) -> Option<Place> {
        (self.count > 0).then_some(Place { run: 0, index: 0 })
    }

    pub fn next(&self, place: Place) -> Option<Place> {
        if place.index + 1 < self.runs.get(place.run)?.len() {
            return Some(Place { index: place.index + 1, ..place });
        }
        (place.run + 1 < self.runs.len()).then_some(Place { run: place.run + 1, index: 0 })
    }

    pub fn previous(&self, place: Place) -> Option<Place> {
        if let Some(index) = place.index.checked_sub(1) {
            return Some(Place { index, ..place });
        }
        let run = place.run.checked_sub(1)?;
        Some(Place { run, index: self.runs.get(run)?.len() - 1 })
    }

    /// Adds a node; false, and nothing is changed, when there is one of this id.
    pub fn insert(&mut self, id: StreamId, node: Node) -> bool {
        let (run, index) = match self.at_or_before(id) {
            Some(place) if self.get(place).is_some_and(|(its_id, _)| its_id == id) => return false,
            Some(place) => (place.run, place.index + 1),
            None => (0, 0),
        };
        self.count += 1;
        let Some(nodes) = self.runs.get_mut(run) else {
            self.runs.push_back(vec![(id, node)]);
            return true;
        };
        if nodes.len() < RUN_MAX {
            nodes.insert(index, (id, node));
        } else if index == nodes.len() {
            self.runs.insert(run + 1, vec![(id, node)]);
        } else {
            let mut upper = nodes.split_off(RUN_MAX / 2);
            match index.checked_sub(RUN_MAX / 2) {
                Some(index) => upper.insert(index, (id, node)),
                None => nodes.insert(index, (id, node)),
            }
            self.runs.insert(run + 1, upper);
        }
        true
    }

    pub fn remove(&mut self, place: Place) {
        let Some(nodes) = self.runs.get_mut(place.run) else { return };
        if place.index < nodes.len() {
            nodes.remove(place.index);
            self.count -= 1;
            if nodes.is_empty() {
                self.runs.remove(place.run);
                if self.runs.capacity() > 4 * self.runs.len() + 16 {
                    self.runs.shrink_to(2 * self.runs.len());
                }
            }
        }
    }

    pub fn remove_first(&mut self) {
        if let Some(place) = self.first() {
            self.remove(place);
        }
    }

    /// Drops the last node; whether there was one.
    pub fn pop_last(&mut self) -> bool {
        let Some(nodes) = self.runs.back_mut() else { return false };
        self.count -= usize::from(nodes.pop().is_some());
        if nodes.is_empty() {
            self.runs.pop_back();
        }
        true
    }

    /// Bytes allocated for the index itself.
    pub fn memory_bytes(&self) -> usize {
        let runs: usize = self.runs.iter().map(Vec::capacity).sum();
        runs * size_of::<(StreamId, Node)>() + self.runs.capacity() * size_of::<Vec<(StreamId, Node)>>()
    }
}

/// Nodes in order, which know how many they are.
struct Iter<I> {
    nodes: I,
    left: usize,
}

impl<'a, I: Iterator<Item = &'a (StreamId, Node)>> Iterator for Iter<I> {
    type Item = (StreamId, &'a Node);

    fn next(&mut self) -> Option<Self::Item> {
        let (id, node) = self.nodes.next()?;
        self.left -= 1;
        Some((*id, node))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a, I: Iterator<Item = &'a (StreamId, Node)>> ExactSizeIterator for Iter<I> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn node() -> Node {
        Node::new(std::iter::empty::<&[u8]>().collect::<Vec<_>>().into_iter())
    }

    fn ids(nodes: &Nodes) -> Vec<u64> {
        nodes.iter().map(|(id, _)| id.ms).collect()
    }

    proptest! {
        #[test]
        fn does_what_an_ordered_set_does(steps in proptest::collection::vec((0u64..60, 0u8..5), 0..200)) {
            let (mut nodes, mut model) = (Nodes::default(), BTreeSet::new());
            for (ms, step) in steps {
                let place = nodes.at_or_before(StreamId::new(ms, 0));
                let found = place.and_then(|place| nodes.get(place)).map(|(id, _)| id.ms);
                prop_assert_eq!(found, model.range(..=ms).next_back().copied());
                match step {
                    0 if found.is_some() => {
                        nodes.remove(place.unwrap());
                        model.remove(&found.unwrap());
                    }
                    1 => prop_assert_eq!(nodes.pop_last(), model.pop_last().is_some()),
                    _ => prop_assert_eq!(nodes.insert(StreamId::new(ms, 0), node()), model.insert(ms)),
                }
                prop_assert_eq!(ids(&nodes), model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!((nodes.len(), nodes.is_empty()), (model.len(), model.is_empty()));
                prop_assert!(nodes.runs.iter().all(|run| !run.is_empty() && run.len() <= RUN_MAX));
                prop_assert_eq!(nodes.first_mut().map(|(id, _)| id.ms), model.first().copied());
                prop_assert_eq!(nodes.last_mut().map(|(id, _)| id.ms), model.last().copied());
                let mut place = nodes.first();
                let mut before = None;
                while let Some(here) = place {
                    prop_assert_eq!(nodes.previous(here), before);
                    (before, place) = (Some(here), nodes.next(here));
                }
            }
        }
    }

    #[test]
    fn runs_stay_full_when_nodes_come_in_order() {
        let mut nodes = Nodes::default();
        (0..40).for_each(|ms| assert!(nodes.insert(StreamId::new(ms, 0), node())));
        assert!(nodes.runs.iter().all(|run| run.len() == RUN_MAX));
    }
}
