//! Who waits for what replicas have: WAIT and WAITAOF.
//!
//! The client's core asks all cores to send core 0 what they have recorded, and behind it a mark. When core 0 has all marks, the
//! end of the log covers whatever the client has written; replicas that say they have that much are counted, and each
//! change of the count goes to the client's core, where the request waits (`command::blocking`).

use hashbrown::HashMap;

use super::LogMark;
use crate::base::core_id::CoreId;
use crate::command::blocking;
use crate::command::client::ClientRef;
use crate::command::replication::peers::ReplicaQuestion;
use crate::command::replication::replicas::ReplicaWait;
use crate::runtime::mesh::Message;
use crate::runtime::requests::Requests;

/// Marks that have come, by the client that waits: core 0's.
#[derive(Default)]
pub(super) struct Marks(HashMap<u64, usize>);

impl Requests {
    /// A client of this core waits for replicas.
    pub(in crate::runtime::requests) fn ask_replicas(&mut self, question: ReplicaQuestion) {
        let mark = LogMark { question };
        if question.of_nothing {
            return self.send_mark(mark);
        }
        let others: Vec<CoreId> = self.mesh.others().collect();
        others.into_iter().for_each(|core| self.mesh.send(core, Message::MarkLog(mark)));
        self.mark_log(mark);
    }

    /// Sends what this core has recorded, and the mark behind it.
    pub(in crate::runtime::requests) fn mark_log(&mut self, mark: LogMark) {
        self.feed_log();
        self.send_mark(mark);
    }

    fn send_mark(&mut self, mark: LogMark) {
        match self.core.id {
            CoreId::FIRST => self.marked(mark),
            _ => self.mesh.send(CoreId::FIRST, Message::LogMarked(mark)),
        }
    }

    /// A core's mark has come (core 0).
    pub(in crate::runtime::requests) fn marked(&mut self, mark: LogMark) {
        let ReplicaQuestion { client, having, wanted, of_nothing } = mark.question;
        let mut place = 0;
        if !of_nothing {
            let marks = self.replicating.marks.0.entry(client.id).or_insert(0);
            *marks += 1;
            if *marks < self.core.facts.cores_count {
                return;
            }
            self.replicating.marks.0.remove(&client.id);
            place = self.core.node().replication.place_of_data();
        }
        let replicas = &mut self.core.node().replication.replicas;
        replicas.wait(ReplicaWait::new(client, having, wanted, place));
        self.replicating.asks_acks = !of_nothing;
        self.tell_counts();
    }

    /// Tells those who wait how many replicas have what they have written (core 0).
    pub(super) fn tell_counts(&mut self) {
        for (client, count) in self.core.node().replication.replicas.news() {
            self.tell_count(client, count);
        }
    }

    fn tell_count(&mut self, client: ClientRef, count: usize) {
        if client.core == self.core.id {
            // Between requests: the connection of the client may be in use now.
            self.replicating.own_counts.push((client, count));
        } else {
            self.mesh.send(client.core, Message::ReplicasHave { client_id: client.id, count });
        }
    }

    /// Tells clients of this core what has come for them.
    pub(in crate::runtime::requests) fn settle_counts(&mut self) {
        for (client, count) in std::mem::take(&mut self.replicating.own_counts) {
            blocking::replicas_have(&mut self.core, client.id, count);
        }
        self.carry_out_effects();
    }

    pub(in crate::runtime::requests) fn has_own_counts(&self) -> bool {
        !self.replicating.own_counts.is_empty()
    }

    /// Asks replicas what they have, once a turn while somebody waits (core 0).
    pub(super) fn ask_for_acks(&mut self) {
        let is_wanted = std::mem::take(&mut self.replicating.asks_acks);
        let is_leaving = self.replicating.leaving.is_some();
        let replication = &self.core.node().replication;
        if is_wanted && (is_leaving || replication.failover.is_some() || replication.replicas.is_awaited()) {
            self.say_to_replicas(&[b"REPLCONF", b"GETACK", b"*"]);
        }
    }
}
