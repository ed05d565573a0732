//! Streams: `log` has the entries, `groups` who reads them together; `node` is the byte format of Redis for entries that lie
//! together, `id` what they are ordered by.
//!
//! Called by the stream commands through [`Stream`], whose two halves may be borrowed apart: a group is changed while entries
//! are read. Nothing here reads a clock; times come in with each call.

mod groups;
mod id;
mod log;
mod node;
mod nodes;

#[cfg(test)]
mod tests;

pub use groups::{Consumer, ConsumerId, Group, Groups, Pending};
pub use id::{IdText, StreamId};
pub use log::{Entry, Log, NODE_BYTES_MAX, NodeLimits, Threshold, Trim};
pub use node::Fields;

/// A stream. It stays a value when it has no entries: its last id and its groups still count.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    pub log: Box<Log>,
    pub groups: Groups,
}

impl Stream {
    /// Bytes allocated; see `Object::memory_bytes`.
    pub fn memory_bytes(&self, samples: usize) -> usize {
        size_of::<Log>() + self.log.memory_bytes(samples) + self.groups.memory_bytes()
    }

    /// Allocations, about, without a look at all of them: the first group stands for the others.
    pub fn free_effort(&self) -> usize {
        let groups = self.groups.iter().next().map_or(0, |(_, first)| self.groups.len() * (1 + first.pending().len()));
        self.log.nodes_count() + 1 + groups
    }

    /// Frees parts, for `Object::dismantle`.
    pub(in crate::keyspace) fn dismantle(&mut self, budget: &mut usize) -> bool {
        self.groups.dismantle(budget) && self.log.dismantle(budget)
    }
}
