//! Writes at a standstill: a replica takes over, or the node ends, and what replicas must have is to come to an end.
//!
//! ```text
//! core 0      publishes that writes are held, and asks every core behind it to stop (`StopWrites`)
//! each core   holds writes at its gate by now: it tells every other that no more come from it (`WritesStopped`)
//! each core   has heard that of all, and so has run what they had sent before: it sends what it has recorded, and that it stands
//!             still (`StandsStill`)
//! core 0      has heard that of all: the end of the log covers whatever was acknowledged
//! ```
//!
//! What passed the gate before and still waits on a core does not write as long as writes are held: a transaction that hears of its
//! watches is taken for touched (`exec`), a script that takes long stands still (`dispatch`), and neither values in the making nor
//! requests behind keys on their way are gone on with (`migrate`).

use hashbrown::HashMap;

use crate::base::core_id::CoreId;
use crate::cluster::machine::Machine;
use crate::command::replication::Hold;
use crate::runtime::mesh::Message;
use crate::runtime::requests::Requests;

/// One core's part, and core 0's books.
#[derive(Default)]
pub(super) struct Standstill {
    /// How many cores send this one no more writes, by the number of the hold.
    stopped: HashMap<u64, usize>,
    /// Core 0: how many cores stand still, by the number of the hold.
    still: HashMap<u64, usize>,
    /// Core 0: counts the holds.
    last: u64,
    /// Core 0: the number of the latest hold of each kind, until all cores stand still or it is over.
    awaited: [Option<u64>; Hold::ALL.len()],
}

impl Requests {
    /// Lets writes wait from now on. [`Requests::writes_have_stopped`] follows, unless they go on before (core 0).
    pub(super) fn hold_writes(&mut self, hold: Hold) {
        self.core.node().replication.hold_writes(hold, true);
        self.publish_role();
        let standstill = &mut self.replicating.standstill;
        standstill.last += 1;
        let number = standstill.last;
        standstill.awaited[hold as usize] = Some(number);
        let others: Vec<CoreId> = self.mesh.others().collect();
        others.into_iter().for_each(|core| self.mesh.send(core, Message::StopWrites(number)));
        self.stop_writes(number);
    }

    /// Lets writes go on, unless something else holds them (core 0).
    pub(super) fn release_writes(&mut self, hold: Hold) {
        self.replicating.standstill.awaited[hold as usize] = None;
        self.core.node().replication.hold_writes(hold, false);
        self.publish_role();
    }

    /// This core sends no more writes to others: the hold was published to it before.
    pub(in crate::runtime::requests) fn stop_writes(&mut self, number: u64) {
        let others: Vec<CoreId> = self.mesh.others().collect();
        others.into_iter().for_each(|core| self.mesh.send(core, Message::WritesStopped(number)));
        self.writes_stopped_on_a_core(number);
    }

    /// A core sends no more writes to this one.
    pub(in crate::runtime::requests) fn writes_stopped_on_a_core(&mut self, number: u64) {
        if !is_last(&mut self.replicating.standstill.stopped, number, self.core.facts.cores_count) {
            return;
        }
        self.feed_log();
        match self.core.id {
            CoreId::FIRST => self.core_stands_still(number),
            _ => self.mesh.send(CoreId::FIRST, Message::StandsStill(number)),
        }
    }

    /// A core has sent all that it had recorded, and records no more (core 0).
    pub(in crate::runtime::requests) fn core_stands_still(&mut self, number: u64) {
        let standstill = &mut self.replicating.standstill;
        if !is_last(&mut standstill.still, number, self.core.facts.cores_count) {
            return;
        }
        let hold = Hold::ALL.into_iter().find(|hold| standstill.awaited[*hold as usize] == Some(number));
        if let Some(hold) = hold {
            standstill.awaited[hold as usize] = None;
            self.writes_have_stopped(hold);
        }
    }

    /// Nothing is written any more, and the log has what was.
    fn writes_have_stopped(&mut self, hold: Hold) {
        match hold {
            Hold::HandOver => self.hand_over_when_replicas_follow(),
            Hold::Cluster => _ = self.cluster_step(Machine::writes_are_held),
            Hold::Leaving => self.leave_when_replicas_follow(),
        }
    }
}

/// Counts one more core. True when it was the last of them.
fn is_last(counts: &mut HashMap<u64, usize>, number: u64, cores_count: usize) -> bool {
    let count = counts.entry(number).or_insert(0);
    *count += 1;
    let is_last = *count == cores_count;
    if is_last {
        counts.remove(&number);
    }
    is_last
}
