//! Who has how many clients: counted by all cores together, so that new ones go to where there are fewest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::ledger::NodeLedger;
use crate::base::core_id::CoreId;

/// Counters that cores share: who has how many clients, and the next client's number. And what they share about memory.
pub struct Census {
    pub ledger: Arc<NodeLedger>,
    connected: Vec<AtomicU32>,
    next_client_id: AtomicU64,
}

impl Census {
    pub fn new(cores_count: usize) -> Arc<Census> {
        Arc::new(Census {
            connected: (0..cores_count).map(|_| AtomicU32::new(0)).collect(),
            ledger: Arc::new(NodeLedger::new(cores_count)),
            next_client_id: AtomicU64::new(1),
        })
    }

    /// Clients of the whole node.
    pub fn clients_count(&self) -> u32 {
        self.connected.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub fn cores_count(&self) -> usize {
        self.connected.len()
    }

    /// Counts a client in on this core, or on the one that has the fewest; returns the core.
    pub fn place(&self, core: Option<CoreId>) -> CoreId {
        let counts = self.connected.iter().map(|count| count.load(Ordering::Relaxed));
        let fewest = || counts.enumerate().min_by_key(|(_, count)| *count).map_or(0, |(index, _)| index);
        let index = core.map_or_else(fewest, CoreId::index);
        self.connected[index].fetch_add(1, Ordering::Relaxed);
        CoreId::new(index)
    }

    /// Counts a client in on a core that has it already; returns its number.
    pub fn enter(&self, core: CoreId) -> u64 {
        self.connected[core.index()].fetch_add(1, Ordering::Relaxed);
        self.next_id()
    }

    /// A client has moved to core 0.
    pub fn move_to_first(&self, from: CoreId) {
        self.connected[0].fetch_add(1, Ordering::Relaxed);
        self.leave(from);
    }

    pub fn leave(&self, core: CoreId) {
        self.connected[core.index()].fetch_sub(1, Ordering::Relaxed);
    }

    pub fn next_id(&self) -> u64 {
        self.next_client_id.fetch_add(1, Ordering::Relaxed)
    }
}
