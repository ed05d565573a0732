//! The order tree: scored members in order, with counts, so that places are found by rank as fast as by value.
//!
//! A B+-tree whose inner nodes know how many entries lie below each child, and a bound that parts it from the child
//! before. Insertion, removal, rank and selection take O(log n) steps and touch one leaf; nothing ever walks the
//! whole tree but iteration. Used by `large`, which keeps each member once; the tree itself would hold one entry
//! twice.

use super::leaf::{LEAF_MAX, Leaf, order};

/// Children that an inner node has at most.
const INNER_MAX: usize = 32;

/// Scored members in order.
#[derive(Clone, Debug, Default)]
pub struct OrderTree {
    root: Node,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Box<Leaf>),
    Inner(Box<Inner>),
}

#[derive(Clone, Debug, Default)]
struct Inner {
    children: Vec<Child>,
}

#[derive(Clone, Debug)]
struct Child {
    /// Entries below.
    count: usize,
    /// Not above any entry below, and above all entries of the child before. Nobody looks at the first child's.
    bound: Bound,
    node: Node,
}

/// A score and the first bytes of a member: no more of them than it takes.
#[derive(Clone, Debug, Default)]
struct Bound {
    score: f64,
    member: Box<[u8]>,
}

impl Bound {
    /// The shortest one that parts two entries.
    fn between(left: (f64, &[u8]), right: (f64, &[u8])) -> Bound {
        let (score, member) = right;
        if left.0 < score {
            return Bound { score, member: Box::default() };
        }
        let same = left.1.iter().zip(member).take_while(|(one, other)| one == other).count();
        Bound { score, member: member[..member.len().min(same + 1)].into() }
    }

    fn as_entry(&self) -> (f64, &[u8]) {
        (self.score, &self.member)
    }
}

/// The upper part of a node that was full.
struct Split {
    bound: Bound,
    count: usize,
    node: Node,
}

/// Whether a node lies at an end of the tree: whoever adds in order fills nodes there, and half of each is not left
/// empty.
#[derive(Clone, Copy)]
struct Edge {
    first: bool,
    last: bool,
}

impl Default for Node {
    fn default() -> Self {
        Node::Leaf(Box::default())
    }
}

impl Node {
    /// Entries of a leaf, children of an inner node.
    fn size(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len(),
            Node::Inner(inner) => inner.children.len(),
        }
    }

    fn insert(&mut self, entry: (f64, &[u8]), edge: Edge) -> Option<Split> {
        match self {
            Node::Leaf(leaf) => insert_into_leaf(leaf, entry, edge),
            Node::Inner(inner) => inner.insert(entry, edge),
        }
    }

    fn remove(&mut self, entry: (f64, &[u8])) -> bool {
        match self {
            Node::Leaf(leaf) => {
                let found = leaf.find(entry.0, entry.1);
                if let Ok(at) = found {
                    leaf.remove(at..at + 1);
                }
                found.is_ok()
            }
            Node::Inner(inner) => {
                let at = inner.child_of(entry);
                let removed = inner.children[at].node.remove(entry);
                if removed {
                    inner.shrunk(at, 1);
                }
                removed
            }
        }
    }

    /// Removes up to `count` entries of one leaf from the rank on; how many.
    fn remove_run(&mut self, rank: usize, count: usize, visit: &mut impl FnMut(f64, &[u8])) -> usize {
        match self {
            Node::Leaf(leaf) => {
                let run = rank..(rank + count).min(leaf.len());
                run.clone().map(|index| leaf.get(index)).for_each(|(score, member)| visit(score, member));
                leaf.remove(run.clone());
                run.len()
            }
            Node::Inner(inner) => {
                let (at, rank) = inner.child_at(rank);
                let removed = inner.children[at].node.remove_run(rank, count, visit);
                inner.shrunk(at, removed);
                removed
            }
        }
    }

    /// Takes over the entries of the node behind it, which `bound` parts from this one.
    fn append(&mut self, other: Node, bound: Bound) {
        match (self, other) {
            (Node::Leaf(leaf), Node::Leaf(other)) => leaf.append(*other),
            (Node::Inner(inner), Node::Inner(mut other)) => {
                if let Some(first) = other.children.first_mut() {
                    first.bound = bound;
                }
                inner.children.append(&mut other.children);
            }
            _ => unreachable!("siblings are of one height"),
        }
    }

    #[cfg(test)]
    fn for_each_leaf(&self, visit: &mut impl FnMut(&Leaf)) {
        match self {
            Node::Leaf(leaf) => visit(leaf),
            Node::Inner(inner) => inner.children.iter().for_each(|child| child.node.for_each_leaf(visit)),
        }
    }

    /// Adds up the bytes of nodes and bounds until `samples` entries have been seen. An inner node is spread over the children
    /// that it has: those that are not visited bring their own part.
    fn sample_bytes(&self, samples: usize, seen: &mut usize) -> usize {
        match self {
            Node::Leaf(leaf) => {
                *seen += leaf.len();
                size_of::<Leaf>() + leaf.memory_bytes()
            }
            Node::Inner(inner) => {
                let (mut visited, mut bytes) = (0, 0);
                for child in &inner.children {
                    if *seen >= samples {
                        break;
                    }
                    bytes += child.bound.member.len() + child.node.sample_bytes(samples, seen);
                    visited += 1;
                }
                let own = size_of::<Inner>() + inner.children.capacity() * size_of::<Child>();
                bytes + own * visited / inner.children.len()
            }
        }
    }

    /// Frees leaves from the last; true when this node may be dropped. Goes as deep as the tree is high.
    fn dismantle(&mut self, budget: &mut usize) -> bool {
        if *budget == 0 {
            return false;
        }
        match self {
            Node::Leaf(leaf) => *budget = budget.saturating_sub(1 + leaf.long_count()),
            Node::Inner(inner) => {
                while let Some(last) = inner.children.last_mut() {
                    if !last.node.dismantle(budget) {
                        return false;
                    }
                    inner.children.pop();
                }
            }
        }
        true
    }
}

fn insert_into_leaf(leaf: &mut Leaf, entry: (f64, &[u8]), edge: Edge) -> Option<Split> {
    let (Ok(at) | Err(at)) = leaf.find(entry.0, entry.1);
    if leaf.len() < LEAF_MAX {
        leaf.insert(at, entry.0, entry.1);
        return None;
    }
    let mut upper = if edge.last && at == leaf.len() {
        leaf.shrink_to_fit();
        Leaf::default()
    } else if edge.first && at == 0 {
        std::mem::take(leaf)
    } else {
        leaf.split_off(LEAF_MAX / 2)
    };
    if at > leaf.len() || leaf.len() == LEAF_MAX {
        upper.insert(at - leaf.len(), entry.0, entry.1);
    } else {
        leaf.insert(at, entry.0, entry.1);
    }
    let bound = Bound::between(leaf.get(leaf.len() - 1), upper.get(0));
    Some(Split { bound, count: upper.len(), node: Node::Leaf(Box::new(upper)) })
}

impl Inner {
    /// The child that has the entry, or would have it.
    fn child_of(&self, entry: (f64, &[u8])) -> usize {
        let behind = &self.children[1..];
        behind.partition_point(|child| order(child.bound.as_entry(), entry).is_le())
    }

    /// The child with the entry of that rank, and its rank there; the last child for a rank behind all.
    fn child_at(&self, mut rank: usize) -> (usize, usize) {
        let last = self.children.len() - 1;
        for (index, child) in self.children[..last].iter().enumerate() {
            if rank < child.count {
                return (index, rank);
            }
            rank -= child.count;
        }
        (last, rank)
    }

    fn insert(&mut self, entry: (f64, &[u8]), edge: Edge) -> Option<Split> {
        let at = self.child_of(entry);
        let is_last = at + 1 == self.children.len();
        let edge = Edge { first: edge.first && at == 0, last: edge.last && is_last };
        let child = &mut self.children[at];
        child.count += 1;
        let Split { bound, count, node } = child.node.insert(entry, edge)?;
        child.count -= count;
        self.children.insert(at + 1, Child { count, bound, node });
        if self.children.len() <= INNER_MAX {
            return None;
        }
        let cut = if edge.last { INNER_MAX } else { self.children.len() / 2 };
        let mut upper = self.children.split_off(cut);
        let bound = std::mem::take(&mut upper[0].bound);
        let count = upper.iter().map(|child| child.count).sum();
        Some(Split { bound, count, node: Node::Inner(Box::new(Inner { children: upper })) })
    }

    /// Notes that a child has lost entries: it goes when it has none, and is merged with a neighbour when both are
    /// small.
    fn shrunk(&mut self, at: usize, removed: usize) {
        self.children[at].count -= removed;
        if self.children[at].count == 0 && self.children.len() > 1 {
            self.children.remove(at);
            return;
        }
        let max = match self.children[at].node {
            Node::Leaf(_) => LEAF_MAX,
            Node::Inner(_) => INNER_MAX,
        };
        // Merged nodes are three quarters full at most, so that they neither split nor merge again soon.
        let size = self.children[at].node.size();
        if size > max * 3 / 8 {
            return;
        }
        let fits = |other: Option<&Child>| other.is_some_and(|other| other.node.size() + size <= max * 3 / 4);
        if fits(self.children.get(at + 1)) {
            self.merge(at);
        } else if at > 0 && fits(self.children.get(at - 1)) {
            self.merge(at - 1);
        }
    }

    /// Merges the child behind `at` into the one at `at`.
    fn merge(&mut self, at: usize) {
        let Child { count, bound, node } = self.children.remove(at + 1);
        let child = &mut self.children[at];
        child.count += count;
        child.node.append(node, bound);
    }
}

impl OrderTree {
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds an entry that is not there.
    pub fn insert(&mut self, score: f64, member: &[u8]) {
        if let Some(Split { bound, count, node }) = self.root.insert((score, member), Edge { first: true, last: true })
        {
            let first =
                Child { count: self.len + 1 - count, bound: Bound::default(), node: std::mem::take(&mut self.root) };
            let mut children = Vec::with_capacity(4);
            children.extend([first, Child { count, bound, node }]);
            self.root = Node::Inner(Box::new(Inner { children }));
        }
        self.len += 1;
    }

    /// Removes an entry; whether it was there.
    pub fn remove(&mut self, score: f64, member: &[u8]) -> bool {
        let removed = self.root.remove((score, member));
        self.shrunk(usize::from(removed));
        removed
    }

    /// Removes `count` entries from a rank on, as many as there are, and shows each.
    pub fn remove_range(&mut self, rank: usize, count: usize, mut visit: impl FnMut(f64, &[u8])) {
        let mut left = count.min(self.len.saturating_sub(rank));
        while left > 0 {
            let removed = self.root.remove_run(rank, left, &mut visit);
            self.shrunk(removed);
            left -= removed;
        }
    }

    fn shrunk(&mut self, removed: usize) {
        self.len -= removed;
        while let Node::Inner(inner) = &mut self.root
            && inner.children.len() == 1
        {
            let only = inner.children.pop().expect("it has one child");
            self.root = only.node;
        }
    }

    /// How many entries from the first on satisfy `before`, which holds for none behind one that it does not hold for.
    pub fn count_while(&self, before: impl Fn(f64, &[u8]) -> bool) -> usize {
        let (mut node, mut count) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(leaf) => return count + leaf.count_while(&before),
                Node::Inner(inner) => {
                    let at = inner.children[1..].partition_point(|child| {
                        let (score, member) = child.bound.as_entry();
                        before(score, member)
                    });
                    count += inner.children[..at].iter().map(|child| child.count).sum::<usize>();
                    node = &inner.children[at].node;
                }
            }
        }
    }

    /// The rank of an entry, or the one that it would have.
    pub fn rank(&self, score: f64, member: &[u8]) -> usize {
        self.count_while(|s, m| order((s, m), (score, member)).is_lt())
    }

    /// The leaf with the entry of a rank, and its index there.
    fn locate(&self, mut rank: usize) -> (&Leaf, usize) {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return (leaf, rank),
                Node::Inner(inner) => {
                    let (at, below) = inner.child_at(rank);
                    rank = below;
                    node = &inner.children[at].node;
                }
            }
        }
    }

    /// The entry of a rank.
    #[cfg(test)]
    pub fn get(&self, rank: usize) -> Option<(f64, &[u8])> {
        let (leaf, index) = (rank < self.len).then(|| self.locate(rank))?;
        Some(leaf.get(index))
    }

    /// Up to `count` entries from a rank on, downwards when `reverse`.
    pub fn walk(&self, rank: usize, count: usize, reverse: bool) -> Walk<'_> {
        let reachable = match rank < self.len {
            false => 0,
            true if reverse => rank + 1,
            true => self.len - rank,
        };
        let (leaf, index) = self.locate(rank.min(self.len.saturating_sub(1)));
        Walk { tree: self, leaf, index, rank, left: count.min(reachable), reverse }
    }

    /// Bytes allocated; see `Object::memory_bytes`.
    pub fn memory_bytes(&self, samples: usize) -> usize {
        let mut seen = 0;
        let bytes = self.root.sample_bytes(samples.max(1), &mut seen);
        if seen == 0 { bytes } else { (bytes as u128 * self.len as u128 / seen as u128) as usize }
    }

    /// Allocations, about: those of a leaf of usual size, and the long members.
    pub fn free_effort(&self) -> usize {
        let long = match &self.root {
            Node::Leaf(leaf) => leaf.long_count(),
            // A look at one leaf stands for all.
            Node::Inner(_) => self.locate(self.len / 2).0.long_count() * (self.len / LEAF_MAX),
        };
        self.len / 8 + long
    }

    /// Frees parts, for `Object::dismantle`.
    pub fn dismantle(&mut self, budget: &mut usize) -> bool {
        self.root.dismantle(budget)
    }

    #[cfg(test)]
    pub fn check(&self) {
        let mut total = 0;
        self.root.for_each_leaf(&mut |leaf| total += leaf.len());
        assert_eq!(total, self.len);
        check_node(&self.root, None, None, true);
    }

    /// Leaves, for tests about how full they are.
    #[cfg(test)]
    pub fn leaf_count(&self) -> usize {
        let mut leaves = 0;
        self.root.for_each_leaf(&mut |_| leaves += 1);
        leaves
    }
}

/// Entries in order, from a place on.
#[derive(Clone)]
pub struct Walk<'a> {
    tree: &'a OrderTree,
    leaf: &'a Leaf,
    /// The next entry's index in its leaf; behind the end when it lies in another one.
    index: usize,
    rank: usize,
    left: usize,
    reverse: bool,
}

impl<'a> Iterator for Walk<'a> {
    type Item = (f64, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<(f64, &'a [u8])> {
        if self.left == 0 {
            return None;
        }
        if self.index >= self.leaf.len() {
            (self.leaf, self.index) = self.tree.locate(self.rank);
        }
        let entry = self.leaf.get(self.index);
        self.left -= 1;
        if self.reverse {
            (self.index, self.rank) = (self.index.wrapping_sub(1), self.rank.wrapping_sub(1));
        } else {
            (self.index, self.rank) = (self.index + 1, self.rank + 1);
        }
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

#[cfg(test)]
fn check_node(node: &Node, low: Option<(f64, &[u8])>, high: Option<(f64, &[u8])>, is_root: bool) -> usize {
    let within = |entry: (f64, &[u8])| {
        assert!(low.is_none_or(|low| order(low, entry).is_le()) && high.is_none_or(|high| order(entry, high).is_lt()));
    };
    match node {
        Node::Leaf(leaf) => {
            assert!(is_root || leaf.len() > 0);
            (0..leaf.len()).for_each(|index| within(leaf.get(index)));
            assert!((1..leaf.len()).all(|index| order(leaf.get(index - 1), leaf.get(index)).is_lt()));
            leaf.len()
        }
        Node::Inner(inner) => {
            assert!(!inner.children.is_empty() && inner.children.len() <= INNER_MAX);
            let mut total = 0;
            for (index, child) in inner.children.iter().enumerate() {
                let low = if index == 0 { low } else { Some(child.bound.as_entry()) };
                let high = inner.children.get(index + 1).map_or(high, |next| Some(next.bound.as_entry()));
                assert_eq!(check_node(&child.node, low, high, false), child.count);
                total += child.count;
            }
            total
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    fn all(tree: &OrderTree) -> Vec<(f64, Vec<u8>)> {
        tree.walk(0, usize::MAX, false).map(|(score, member)| (score, member.to_vec())).collect()
    }

    fn sort(model: &mut [(f64, Vec<u8>)]) {
        model.sort_by(|one, other| order((one.0, &one.1), (other.0, &other.1)));
    }

    /// Members that share long beginnings, with few scores: bounds are members then.
    fn entry(random: &mut Random) -> (f64, Vec<u8>) {
        let score = random.below(5) as f64 - 2.0;
        let mut member = vec![b'p'; random.below(3) as usize * 50];
        member.extend_from_slice(random.below(100_000).to_string().as_bytes());
        (score, member)
    }

    #[test]
    fn a_tree_does_what_a_sorted_list_does() {
        let mut random = Random::new(7);
        let (mut tree, mut model) = (OrderTree::default(), Vec::new());
        for step in 0..30_000 {
            // It grows, then shrinks, then grows again.
            let grows = [true, false, true][step / 10_000];
            if random.below(10) < if grows { 7 } else { 2 } || model.is_empty() {
                let (score, member) = entry(&mut random);
                if !model.contains(&(score, member.clone())) {
                    tree.insert(score, &member);
                    let at = tree.rank(score, &member);
                    model.insert(at, (score, member));
                }
            } else {
                let (score, member) = model.remove(random.below(model.len() as u64) as usize);
                assert!(tree.remove(score, &member));
                assert!(!tree.remove(score, &member));
            }
            if step % 1000 == 0 {
                tree.check();
                let mut sorted = model.clone();
                sort(&mut sorted);
                assert_eq!(sorted, model);
                assert_eq!(all(&tree), model);
            }
        }
        for (rank, (score, member)) in model.iter().enumerate() {
            assert_eq!(tree.get(rank), Some((*score, &**member)));
            assert_eq!(tree.rank(*score, member), rank);
        }
        assert_eq!(tree.get(model.len()), None);
        let backwards: Vec<_> = tree.walk(model.len() - 1, usize::MAX, true).map(|(_, m)| m.to_vec()).collect();
        assert_eq!(backwards, model.iter().rev().map(|(_, m)| m.clone()).collect::<Vec<_>>());
        assert_eq!(all(&tree.clone()), model);
    }

    #[test]
    fn ranges_are_removed_across_leaves() {
        let mut random = Random::new(3);
        let mut tree = OrderTree::default();
        let mut model: Vec<(f64, Vec<u8>)> = Vec::new();
        (0..5000).for_each(|number| tree.insert(f64::from(number % 700), number.to_string().as_bytes()));
        model.extend(all(&tree));
        while !model.is_empty() {
            let rank = random.below(model.len() as u64) as usize;
            let count = random.below(900) as usize;
            let mut removed = Vec::new();
            tree.remove_range(rank, count, |score, member| removed.push((score, member.to_vec())));
            let end = (rank + count).min(model.len());
            assert_eq!(removed, model.drain(rank..end).collect::<Vec<_>>());
            tree.check();
            assert_eq!(all(&tree), model);
        }
        tree.remove_range(0, 5, |_, _| panic!("nothing is left"));
        assert_eq!((tree.len(), tree.get(0)), (0, None));
    }

    #[test]
    fn adding_in_order_fills_leaves() {
        let (mut up, mut down) = (OrderTree::default(), OrderTree::default());
        for number in 0..64_000 {
            up.insert(f64::from(number), b"m");
            down.insert(f64::from(-number), b"m");
        }
        assert_eq!((up.leaf_count(), down.leaf_count()), (1000, 1000));
        up.check();
        down.check();
        (0..63_900).for_each(|number| assert!(up.remove(f64::from(number), b"m")));
        up.check();
        assert!(up.leaf_count() <= 4, "{}", up.leaf_count());
    }

    #[test]
    fn walks_begin_anywhere_and_end_where_told() {
        let mut tree = OrderTree::default();
        assert_eq!(tree.walk(0, 5, false).count() + tree.walk(0, 5, true).count(), 0);
        (0..1000).for_each(|number| tree.insert(f64::from(number), b""));
        let scores = |rank, count, reverse| -> Vec<f64> { tree.walk(rank, count, reverse).map(|(s, _)| s).collect() };
        assert_eq!(scores(998, 5, false), [998.0, 999.0]);
        assert_eq!(scores(1, 5, true), [1.0, 0.0]);
        assert_eq!(scores(64, 3, true), [64.0, 63.0, 62.0]);
        assert!(scores(1000, 5, false).is_empty() && scores(1000, 5, true).is_empty());
    }
}
