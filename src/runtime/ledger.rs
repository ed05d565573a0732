//! What the cores share about memory: the sum of what they have allocated, what each could evict and is asked to free.
//!
//! One per node, with a handle for each core ([`CoreLedger`]), through which `command::memory_limit` reads and writes it. A core
//! enters its own changes in steps, so that the sum's cache line is not fought over.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::base::core_id::CoreId;
use crate::command::memory_limit::Ledger;

/// Changes smaller than this are not told to the others at once.
const STEP_BYTES: i64 = 1024;

/// The node's counters.
pub struct NodeLedger {
    allocated_bytes: AtomicI64,
    allocated_peak_bytes: AtomicI64,
    clients_bytes: AtomicI64,
    spared_bytes: AtomicI64,
    cores: Vec<CoreLine>,
}

/// One core's counters, on cache lines of their own.
#[derive(Default)]
#[repr(align(128))]
struct CoreLine {
    /// Keys that it could evict.
    offered: AtomicU64,
    /// Bytes that it is asked to free.
    asked_bytes: AtomicI64,
    /// The largest of its clients that may be closed.
    largest_client_bytes: AtomicU64,
    /// Changes since its start.
    changes: AtomicU64,
}

impl NodeLedger {
    pub fn new(cores_count: usize) -> NodeLedger {
        NodeLedger {
            allocated_bytes: AtomicI64::new(0),
            allocated_peak_bytes: AtomicI64::new(0),
            clients_bytes: AtomicI64::new(0),
            spared_bytes: AtomicI64::new(0),
            cores: (0..cores_count).map(|_| CoreLine::default()).collect(),
        }
    }

    /// Most bytes that all cores together had allocated at a tick.
    pub fn allocated_peak_bytes(&self) -> u64 {
        self.allocated_peak_bytes.load(Ordering::Relaxed).max(0).unsigned_abs()
    }
}

/// One core's handle.
pub struct CoreLedger {
    node: Arc<NodeLedger>,
    id: CoreId,
    /// What this core has entered in the sums.
    entered_bytes: i64,
    entered_clients_bytes: i64,
    entered_spared_bytes: i64,
}

impl CoreLedger {
    pub fn new(node: Arc<NodeLedger>, id: CoreId) -> CoreLedger {
        CoreLedger { node, id, entered_bytes: 0, entered_clients_bytes: 0, entered_spared_bytes: 0 }
    }

    fn line(&self, core: CoreId) -> &CoreLine {
        &self.node.cores[core.index()]
    }
}

impl Ledger for CoreLedger {
    #[inline]
    fn settle(&mut self, own_bytes: i64) -> i64 {
        let change = own_bytes - self.entered_bytes;
        if change.abs() < STEP_BYTES {
            return self.node.allocated_bytes.load(Ordering::Relaxed) + change;
        }
        self.entered_bytes = own_bytes;
        self.node.allocated_bytes.fetch_add(change, Ordering::Relaxed) + change
    }

    fn note_peak(&mut self, own_bytes: i64) {
        let allocated_bytes = self.settle(own_bytes);
        self.node.allocated_peak_bytes.fetch_max(allocated_bytes, Ordering::Relaxed);
    }

    fn spare(&mut self, own_bytes: i64) {
        let change = own_bytes - self.entered_spared_bytes;
        if change != 0 {
            self.entered_spared_bytes = own_bytes;
            self.node.spared_bytes.fetch_add(change, Ordering::Relaxed);
        }
    }

    #[inline]
    fn spared_bytes(&self) -> i64 {
        self.node.spared_bytes.load(Ordering::Relaxed)
    }

    fn offer(&self, keys: u64) {
        self.line(self.id).offered.store(keys, Ordering::Relaxed);
    }

    fn offered(&self, core: CoreId) -> u64 {
        self.line(core).offered.load(Ordering::Relaxed)
    }

    fn ask(&self, core: CoreId, bytes: i64) -> i64 {
        self.line(core).asked_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    #[inline]
    fn asked(&self, core: CoreId) -> i64 {
        self.line(core).asked_bytes.load(Ordering::Relaxed)
    }

    fn answer(&self, bytes: i64) {
        if bytes != 0 {
            self.line(self.id).asked_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn offer_client(&self, largest_bytes: u64) {
        self.line(self.id).largest_client_bytes.store(largest_bytes, Ordering::Relaxed);
    }

    fn offer_changes(&self, changes: u64) {
        self.line(self.id).changes.store(changes, Ordering::Relaxed);
    }

    fn changes(&self) -> u64 {
        self.node.cores.iter().map(|line| line.changes.load(Ordering::Relaxed)).sum()
    }

    fn settle_clients(&mut self, own_bytes: i64) -> i64 {
        let change = own_bytes - self.entered_clients_bytes;
        self.entered_clients_bytes = own_bytes;
        self.node.clients_bytes.fetch_add(change, Ordering::Relaxed) + change
    }

    fn clients_bytes(&self) -> i64 {
        self.node.clients_bytes.load(Ordering::Relaxed)
    }

    fn largest_client(&self) -> u64 {
        let largest = self.node.cores.iter().map(|line| line.largest_client_bytes.load(Ordering::Relaxed));
        largest.max().unwrap_or(0)
    }

    fn largest_client_elsewhere(&self) -> (u64, CoreId) {
        let others = self.node.cores.iter().enumerate().filter(|(core, _)| *core != self.id.index());
        let largest = others.map(|(core, line)| (line.largest_client_bytes.load(Ordering::Relaxed), core));
        largest.max().map_or((0, self.id), |(bytes, core)| (bytes, CoreId::new(core)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handles(count: usize) -> Vec<CoreLedger> {
        let node = Arc::new(NodeLedger::new(count));
        (0..count).map(|core| CoreLedger::new(node.clone(), CoreId::new(core))).collect()
    }

    #[test]
    fn the_sum_has_every_core_s_steps_and_one_s_own_bytes() {
        let mut cores = handles(2);
        assert_eq!(cores[0].settle(10_000), 10_000);
        assert_eq!(cores[1].settle(5_000), 15_000);
        assert_eq!(cores[1].settle(5_100), 15_100);
        assert_eq!(cores[0].settle(10_000), 15_000);
        assert_eq!(cores[1].settle(-20_000), -10_000);
        assert_eq!(cores[0].settle(0), -20_000);
        cores[0].note_peak(50_000);
        cores[0].note_peak(0);
        assert_eq!(cores[1].node.allocated_peak_bytes(), 30_000);
    }

    #[test]
    fn what_is_spared_is_what_every_core_entered_last() {
        let mut cores = handles(2);
        cores[0].spare(1000);
        cores[1].spare(50);
        cores[0].spare(400);
        assert_eq!((cores[0].spared_bytes(), cores[1].spared_bytes()), (450, 450));
    }

    #[test]
    fn what_a_core_is_asked_for_adds_up_until_it_answers() {
        let cores = handles(2);
        cores[1].offer(7);
        assert_eq!((cores[0].offered(CoreId::new(1)), cores[0].offered(CoreId::FIRST)), (7, 0));
        assert_eq!(cores[0].ask(CoreId::new(1), 100), 100);
        assert_eq!(cores[1].ask(CoreId::new(1), 50), 150);
        cores[1].answer(120);
        assert_eq!((cores[0].asked(CoreId::new(1)), cores[0].asked(CoreId::FIRST)), (30, 0));
    }

    #[test]
    fn the_largest_client_is_another_core_s() {
        let mut cores = handles(3);
        assert_eq!(cores[0].settle_clients(1000), 1000);
        assert_eq!(cores[1].settle_clients(500), 1500);
        cores[0].offer_client(900);
        cores[1].offer_client(400);
        assert_eq!(cores[0].largest_client_elsewhere(), (400, CoreId::new(1)));
        assert_eq!(cores[2].largest_client_elsewhere(), (900, CoreId::FIRST));
        assert_eq!((cores[2].largest_client(), cores[2].clients_bytes()), (900, 1500));
        assert_eq!(cores[0].settle_clients(0), 500);
    }
}
