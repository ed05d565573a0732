//! The target's side: a source that comes, slots that become this node's, and keys that go again when they do not.

use super::{MigrationMessage, Requests, drop_here};
use crate::base::core_id::CoreId;
use crate::base::hex::HexId;
use crate::base::slot::SlotSet;
use crate::cluster::machine::ClaimRefusal;
use crate::cluster::migration::{End, Event, State, Word};
use crate::command::client::{ClientRef, MigrationEnd, ReplyMode};
use crate::command::cluster::migration as words;
use crate::config::AppendFsync;
use crate::resp::Args;
use crate::runtime::requests::durable::MIGRATIONS;

impl Requests {
    // ---- core 0 ---------------------------------------------------------------------------------------------------

    /// A source wants to send slots.
    pub(super) fn establish(&mut self, client: ClientRef, args: &Args<'_>) {
        let (job, slots) = match words::establish(&mut self.core, args) {
            Ok(accepted) => accepted,
            Err(error) => {
                let line = format!("-{}\r\n", String::from_utf8_lossy(&error.line()));
                return self.answer_word(client, &line);
            }
        };
        self.migrating.ends.push((job, client));
        self.migrating.came_by.insert(job, client.core);
        // Before anything of the slots is.
        self.record(&args.iter().collect::<Vec<_>>());
        self.publish_migrations();
        self.migrating.preparing.insert(job, self.core.facts.cores_count);
        self.tell_all(|| MigrationMessage::Prepare { job, slots: slots.clone() });
    }

    pub(super) fn import_prepared(&mut self, job: HexId) {
        let Some(missing) = self.migrating.preparing.get_mut(&job) else { return };
        *missing -= 1;
        if *missing > 0 {
            return;
        }
        self.migrating.preparing.remove(&job);
        let waits = self.job(&job).filter(|job| job.state == State::WaitingForAck).map(|job| job.slots.clone());
        if let (Some(slots), Some(client)) = (waits, self.end_of(&job)) {
            self.tell_core(client.core, MigrationMessage::Begin { client, job, slots });
        }
    }

    /// Whether what has come must be on the disk before this node takes it over: its clients are promised that of every write.
    pub(super) fn must_be_durable(&self) -> bool {
        self.core.records_in_files() && self.core.config.appendfsync == AppendFsync::Always
    }

    /// The node has its data, and these may be some of slots that were on their way when it ended. What its primary has is the primary's
    /// affair.
    pub(in crate::runtime::requests) fn end_imports_of_before(&mut self) {
        let node = self.core.node();
        let is_replica = node.cluster.as_deref().is_none_or(|cluster| cluster.state().myself().is_replica());
        let known = node.migrations.open(End::Import).map(|job| job.name);
        let known: Vec<HexId> = known.filter(|_| !is_replica).collect();
        known.into_iter().for_each(|job| self.job_event(job, Event::Broken("Process restarted".to_owned())));
    }

    /// The source has said PAUSED: it is heard when all that came before is on the disk.
    pub(super) fn await_durable_import(&mut self, job: HexId) {
        let migrating = &mut self.migrating;
        migrating.durable_last = migrating.durable_last.max(MIGRATIONS) + 1;
        let id = migrating.durable_last;
        migrating.durable.push((id, job));
        self.await_durable(ClientRef { core: self.core.id, index: 0, id });
    }

    pub(in crate::runtime::requests) fn import_is_durable(&mut self, id: u64) {
        let Some(at) = self.migrating.durable.iter().position(|(number, _)| *number == id) else { return };
        let (_, job) = self.migrating.durable.swap_remove(at);
        self.job_event(job, Event::Heard(Word::Paused));
    }

    /// The slots become this node's, if that can be written down.
    pub(super) fn claim(&mut self, job: HexId) {
        let Some((slots, Some(source))) = self.job(&job).map(|job| (job.slots.clone(), job.source)) else { return };
        let clock = self.core.clock;
        self.tell_cluster_of_data();
        if self.is_handing_over() {
            // Whoever takes over has been told up to where there is something to have.
            return self.job_event(job, Event::Claimed(Err("A failover of the target is under way".to_owned())));
        }
        let Some(cluster) = self.core.node().cluster.as_deref_mut() else { return };
        let claimed = match cluster.order(&clock, |machine, _| machine.claim_slots(&slots, &source)) {
            Ok((outcome, step)) => {
                self.take_step(step);
                outcome.map_err(|refusal| match refusal {
                    ClaimRefusal::Replica => "A failover occurred during slot import".to_owned(),
                    ClaimRefusal::NotTheSources => "Slots are no longer owned by source node".to_owned(),
                })
            }
            Err(error) => Err(format!("The cluster config file cannot be written: {error}")),
        };
        self.job_event(job, Event::Claimed(claimed));
    }

    /// Has all cores drop the keys that have come, but those of slots that are this node's by now.
    pub(super) fn undo_import(&mut self, job: HexId) {
        let Some(mut slots) = self.job(&job).map(|job| job.slots.clone()) else { return };
        if let Some(cluster) = self.core.node().cluster.as_deref() {
            let own = cluster.state().myself().slots();
            own.into_iter().flat_map(|own| own.iter()).for_each(|slot| _ = slots.remove(slot));
        }
        self.migrating.preparing.remove(&job);
        self.migrating.dropping.insert(job, self.core.facts.cores_count);
        let by = self.migrating.came_by.get(&job).copied().unwrap_or(CoreId::FIRST);
        self.tell_core(by, MigrationMessage::Undo { job, slots });
    }

    pub(super) fn import_dropped(&mut self, job: HexId) {
        let Some(missing) = self.migrating.dropping.get_mut(&job) else { return };
        *missing -= 1;
        if *missing == 0 {
            self.migrating.dropping.remove(&job);
            self.job_event(job, Event::Dropped);
        }
    }

    /// Replicas and files hear how it ended.
    pub(super) fn tell_end(&mut self, job: HexId) {
        self.migrating.came_by.remove(&job);
        let Some(ended) = self.job(&job) else { return };
        let succeeded = matches!(ended.state, State::Success);
        let (name, message) = (ended.name, ended.message.clone());
        let state = if succeeded { "SUCCESS" } else { "FAILED" };
        let mut words: Vec<&[u8]> =
            vec![b"CLUSTER", b"SYNCSLOTS", b"FINISH", b"STATE", state.as_bytes(), b"NAME", name.as_bytes()];
        if !message.is_empty() {
            words.extend([&b"MESSAGE"[..], message.as_bytes()]);
        }
        self.record(&words);
    }

    /// Records what concerns no key.
    fn record(&mut self, words: &[&[u8]]) {
        if self.core.journal.is_on() {
            self.core.journal.record(0, words.iter().copied());
            self.core.journal.close_unit();
        }
    }

    // ---- each core ------------------------------------------------------------------------------------------------

    /// Slots are about to come: what an earlier time may have left of them is in nobody's way.
    pub(super) fn prepare_import(&mut self, job: HexId, slots: &SlotSet) {
        drop_here(self, slots);
        self.tell_first(MigrationMessage::Prepared(job));
    }

    /// A client of this core is the source of slots from now on.
    pub(super) fn begin_import(&mut self, client: ClientRef, job: HexId, slots: Box<SlotSet>) {
        match self.core.own_client(client).filter(|client| client.closing.is_none()) {
            Some(source) => {
                source.migration = Some(Box::new(MigrationEnd::Import { job, slots }));
                source.reply_mode = ReplyMode::Off;
                self.answer_word(client, "+OK\r\n");
            }
            None => self.tell_first(MigrationMessage::Left(client)),
        }
    }

    pub(super) fn drop_import(&mut self, job: HexId, slots: &SlotSet) {
        drop_here(self, slots);
        self.migrating.dropped.push(job);
        self.report_dropped();
    }

    /// Keys that had come are gone, and their removals are told. True when a job was waiting for that.
    pub(in crate::runtime::requests) fn report_dropped(&mut self) -> bool {
        if self.migrating.dropped.is_empty() || self.core.keyspace.leaving_slots().next().is_some() {
            return false;
        }
        let jobs = std::mem::take(&mut self.migrating.dropped);
        jobs.into_iter().for_each(|job| self.tell_first(MigrationMessage::Dropped(job)));
        true
    }
}
