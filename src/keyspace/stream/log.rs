//! The entries of a stream in the order of their ids, and what is known about those that were there before.
//!
//! Nodes stand in the order of their own ids, those of their first entries (`nodes`). Consumer groups live beside the log (`groups`)
//! and ask it what they need; the log knows nothing of them.

use super::id::StreamId;
use super::node::{Backward, Fields, Forward, Head, Node};
use super::nodes::{Nodes, Place};
use crate::keyspace::listpack::{Damaged, Listpack};
use crate::keyspace::object::extrapolate;

/// The most bytes of a node, and of an entry's names and values together, whatever the configuration allows
/// (Redis: STREAM_LISTPACK_MAX_SIZE).
pub const NODE_BYTES_MAX: u64 = 1 << 30;

/// When an entry begins a node of its own: `stream-node-max-bytes` and `stream-node-max-entries`, 0 for no limit.
#[derive(Clone, Copy, Debug)]
pub struct NodeLimits {
    pub bytes: u64,
    pub entries: u64,
}

/// What to cut off the front of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    pub to: Threshold,
    /// Only nodes of which no entry is to stay (`~`).
    pub whole_nodes: bool,
    /// No more entries than that; 0 for no limit.
    pub limit: u64,
}

/// How far a stream is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// So many entries stay.
    Length(u64),
    /// Entries from this id on stay.
    Id(StreamId),
}

/// The entries of a stream.
#[derive(Clone, Debug, Default)]
pub struct Log {
    nodes: Nodes,
    /// Entries that are not deleted.
    length: u64,
    first_id: StreamId,
    last_id: StreamId,
    max_deleted_id: StreamId,
    entries_added: u64,
}

/// An entry where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    node: &'a Node,
    head: Head,
}

impl<'a> Entry<'a> {
    pub fn id(&self) -> StreamId {
        self.head.id
    }

    /// Names and values, in the order in which they were added.
    pub fn fields(&self) -> Fields<'a> {
        self.node.fields(&self.head)
    }
}

impl Log {
    /// Entries that are not deleted.
    pub fn len(&self) -> u64 {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The id of the first entry, zero when there is none.
    pub fn first_id(&self) -> StreamId {
        self.first_id
    }

    /// The greatest id ever given, be its entry there or not.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// The greatest id ever deleted by name, zero when none was.
    pub fn max_deleted_id(&self) -> StreamId {
        self.max_deleted_id
    }

    /// Entries ever added.
    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }

    /// Nodes with their ids, in order: what a dump writes.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (StreamId, &Listpack)> {
        self.nodes.iter().map(|(id, node)| (id, node.listpack()))
    }

    /// The n-th node, from 0, with its id.
    pub fn nth_node(&self, n: usize) -> Option<(StreamId, &Listpack)> {
        self.nodes.nth(n).map(|(id, node)| (id, node.listpack()))
    }

    /// Takes over nodes from outside, each under its own id; last id and counters are the caller's to set (`set_ids`).
    ///
    /// # Errors
    /// `Damaged`: a listpack is no node, or two have the same id.
    pub fn from_nodes(nodes: impl IntoIterator<Item = (StreamId, Listpack)>) -> Result<Log, Damaged> {
        let mut log = Log::default();
        for (id, listpack) in nodes {
            log.take_node(id, listpack)?;
        }
        log.nodes_taken();
        Ok(log)
    }

    /// As `from_nodes`, one node at a time. `nodes_taken` follows the last.
    ///
    /// # Errors
    /// `Damaged`: the listpack is no node, or there is one of this id.
    pub fn take_node(&mut self, id: StreamId, listpack: Listpack) -> Result<(), Damaged> {
        let node = Node::from_listpack(listpack)?;
        self.length = self.length.checked_add(node.live()).ok_or(Damaged)?;
        if self.nodes.insert(id, node) { Ok(()) } else { Err(Damaged) }
    }

    /// All nodes have come.
    pub fn nodes_taken(&mut self) {
        self.find_first();
    }

    /// The id that an entry gets whose client names none: of the time `now_ms`, unless that is not behind the last one.
    /// `None` when the last possible id is taken.
    pub fn next_id(&self, now_ms: u64) -> Option<StreamId> {
        if now_ms > self.last_id.ms { Some(StreamId::new(now_ms, 0)) } else { self.last_id.next() }
    }

    /// Adds an entry; `words` are names and values in turn, at most [`NODE_BYTES_MAX`] bytes of them.
    ///
    /// # Panics
    /// When `id` is not behind the last one: the caller checks that.
    pub fn append<'a>(
        &mut self,
        id: StreamId,
        words: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
        limits: NodeLimits,
    ) {
        assert!(id > self.last_id, "ids only grow");
        let added_bytes: u64 = words.clone().map(|word| word.len() as u64).sum();
        match self.nodes.last_mut() {
            Some((base, last)) if has_room(last, added_bytes, limits) => last.append(base, id, words),
            last => {
                if let Some((_, full)) = last {
                    full.shrink_to_fit();
                }
                let mut node = Node::new(words.clone());
                node.append(id, id, words);
                self.nodes.insert(id, node);
            }
        }
        self.length += 1;
        self.entries_added = self.entries_added.wrapping_add(1);
        self.last_id = id;
        if self.length == 1 {
            self.first_id = id;
        }
    }

    /// Deletes entries by name; how many were there.
    pub fn delete(&mut self, ids: impl Iterator<Item = StreamId>) -> u64 {
        let (mut deleted, mut lost_first) = (0, false);
        for id in ids {
            if self.delete_one(id) {
                deleted += 1;
                lost_first |= id == self.first_id;
                self.max_deleted_id = self.max_deleted_id.max(id);
            }
        }
        if lost_first {
            self.find_first();
        }
        deleted
    }

    /// A node without entries that are left goes.
    fn delete_one(&mut self, id: StreamId) -> bool {
        let Some(place) = self.nodes.at_or_before(id) else { return false };
        let Some((base, node)) = self.nodes.get_mut(place) else { return false };
        let Some(head) = find(node, base, id) else { return false };
        if node.live() <= 1 {
            self.nodes.remove(place);
        } else {
            node.delete(&head);
        }
        self.length = self.length.saturating_sub(1);
        true
    }

    /// Cuts off the front; how many entries went.
    pub fn trim(&mut self, trim: &Trim) -> u64 {
        let mut removed = 0u64;
        while let Some((base, first)) = self.nodes.first_mut() {
            let live = first.live();
            if matches!(trim.to, Threshold::Length(keep) if self.length <= keep) {
                break;
            }
            if trim.limit != 0 && removed.saturating_add(live) > trim.limit {
                break;
            }
            let goes_whole = match trim.to {
                Threshold::Length(keep) => self.length.saturating_sub(live) >= keep,
                Threshold::Id(keep) => first.last_id(base).unwrap_or_default() < keep,
            };
            if goes_whole {
                self.nodes.remove_first();
                self.length = self.length.saturating_sub(live);
                removed += live;
                continue;
            }
            if !trim.whole_nodes {
                let length = self.length;
                let cut = first.delete_front(base, |id, cut| match trim.to {
                    Threshold::Length(keep) => length.saturating_sub(cut) > keep,
                    Threshold::Id(keep) => id < keep,
                });
                self.length = self.length.saturating_sub(cut);
                removed += cut;
            }
            break;
        }
        if removed > 0 || self.length == 0 {
            self.find_first();
        }
        removed
    }

    fn find_first(&mut self) {
        let first = self.range(StreamId::MIN, StreamId::MAX).next();
        self.first_id = first.map_or(StreamId::MIN, |entry| entry.id());
    }

    /// Entries from `start` to `end`, both included.
    pub fn range(&self, start: StreamId, end: StreamId) -> Range<'_> {
        let first = if start > end { None } else { self.nodes.at_or_before(start).or(self.nodes.first()) };
        Range { nodes: &self.nodes, place: first, entries: None, start, end }
    }

    /// Entries from `end` back to `start`, both included.
    pub fn range_back(&self, start: StreamId, end: StreamId) -> RangeBack<'_> {
        let last = if start > end { None } else { self.nodes.at_or_before(end) };
        RangeBack { nodes: &self.nodes, place: last, entries: None, start, end }
    }

    /// The entry of an id, unless it is deleted.
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        let (base, node) = self.nodes.get(self.nodes.at_or_before(id)?)?;
        find(node, base, id).map(|head| Entry { node, head })
    }

    /// The id of the last entry that is there.
    pub fn last_live_id(&self) -> Option<StreamId> {
        self.range_back(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id())
    }

    /// Sets what XSETID does; `None` leaves as it is.
    pub fn set_ids(&mut self, last_id: StreamId, entries_added: Option<u64>, max_deleted_id: Option<StreamId>) {
        self.last_id = last_id;
        self.entries_added = entries_added.unwrap_or(self.entries_added);
        self.max_deleted_id = max_deleted_id.unwrap_or(self.max_deleted_id);
    }

    /// Was an entry from `start` on deleted by name, as far as is known? Then entries behind `start` cannot be counted by
    /// subtraction.
    pub fn has_gaps_from(&self, start: StreamId) -> bool {
        let any = self.length > 0 && !self.max_deleted_id.is_zero();
        any && self.first_id <= self.max_deleted_id && start <= self.max_deleted_id
    }

    /// How many entries were added up to `id`, where that follows from the counters: at either end of the stream, and
    /// nowhere when entries were deleted from its middle.
    pub fn entries_added_up_to(&self, id: StreamId) -> Option<i64> {
        let added = self.entries_added.cast_signed();
        if added == 0 {
            return Some(0);
        }
        if (self.length == 0 && id <= self.last_id) || id == self.last_id {
            return Some(added);
        }
        if id > self.last_id {
            return None;
        }
        if self.max_deleted_id.is_zero() || self.max_deleted_id < self.first_id {
            let before_first = added.wrapping_sub(self.length.cast_signed());
            if id < self.first_id {
                return Some(before_first);
            }
            if id == self.first_id {
                return Some(before_first.wrapping_add(1));
            }
        }
        None
    }

    /// Bytes allocated; see `Object::memory_bytes`. Nodes count here, as in Redis, not entries.
    pub fn memory_bytes(&self, samples: usize) -> usize {
        let listpacks = self.nodes.iter().map(|(_, node)| (1, node.listpack().memory_bytes()));
        extrapolate(listpacks, self.nodes_count(), samples) + self.nodes.memory_bytes()
    }

    /// Frees nodes, for `Object::dismantle`.
    pub(super) fn dismantle(&mut self, budget: &mut usize) -> bool {
        while *budget > 0 && self.nodes.pop_last() {
            *budget -= 1;
        }
        self.nodes.is_empty()
    }

    /// How many nodes there are.
    pub fn nodes_count(&self) -> usize {
        self.nodes.len()
    }
}

/// Does another entry go into the node?
fn has_room(node: &Node, added_bytes: u64, limits: NodeLimits) -> bool {
    let bytes_max = if limits.bytes == 0 { NODE_BYTES_MAX } else { limits.bytes.min(NODE_BYTES_MAX) };
    let bytes = (node.listpack().total_bytes() as u64).saturating_add(added_bytes);
    bytes < bytes_max && (limits.entries == 0 || node.all() < limits.entries)
}

/// The entry of an id in the node, unless it is deleted.
fn find(node: &Node, base: StreamId, id: StreamId) -> Option<Head> {
    node.forward(base).find(|head| head.is_live() && head.id >= id).filter(|head| head.id == id)
}

/// Entries from the front; see [`Log::range`].
#[derive(Clone)]
pub struct Range<'a> {
    nodes: &'a Nodes,
    /// The next node.
    place: Option<Place>,
    entries: Option<(&'a Node, Forward<'a>)>,
    start: StreamId,
    end: StreamId,
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            if let Some((node, entries)) = &mut self.entries {
                let start = self.start;
                if let Some(head) = entries.find(|head| head.is_live() && head.id >= start) {
                    return (head.id <= self.end).then_some(Entry { node, head });
                }
            }
            let place = self.place?;
            let (base, node) = self.nodes.get(place).filter(|(base, _)| *base <= self.end)?;
            self.place = self.nodes.next(place);
            self.entries = Some((node, node.forward(base)));
        }
    }
}

/// Entries from the end; see [`Log::range_back`].
#[derive(Clone)]
pub struct RangeBack<'a> {
    nodes: &'a Nodes,
    /// The next node.
    place: Option<Place>,
    entries: Option<(&'a Node, Backward<'a>)>,
    start: StreamId,
    end: StreamId,
}

impl<'a> Iterator for RangeBack<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            if let Some((node, entries)) = &mut self.entries {
                let end = self.end;
                if let Some(head) = entries.find(|head| head.is_live() && head.id <= end) {
                    return (head.id >= self.start).then_some(Entry { node, head });
                }
            }
            let place = self.place?;
            let (base, node) = self.nodes.get(place)?;
            // What stands before a node that begins at or before the start is before the start, too.
            self.place = if base <= self.start { None } else { self.nodes.previous(place) };
            self.entries = Some((node, node.backward(base)));
        }
    }
}
