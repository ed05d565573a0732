//! Migrations of slots as requests meet them: what the jobs of `cluster::migration` have decided, carried out.
//!
//! ```text
//! source, core 0   `link` connects and has the job accepted; the socket becomes a connection of this core
//! each core        `export` walks through its slots, and writes commands to the job's tap (`command::journal`), where what changes in
//!                  slots that are through follows; at the end of a turn that goes to core 0, which puts it into the connection
//! each core        when writes are held: tells every other core so (`Mark`), behind all that it has sent it; who has heard it of all
//!                  sends the rest, closes its tap, and says so (`Quiet`)
//! target           the connection is one like a client's, on any core; `command::cluster::migration::judge` stands in for the gate.
//!                  Words come to core 0 when all cores have done what came before them (`Run::OnEveryCore`)
//! target, the end  of a job that fails: the core of the connection tells the others to drop the keys, behind what it has sent them
//! ```
//!
//! Core 0 has the jobs. All that it tells all cores at once is in the `MigrationView`.

mod export;
mod import;
mod link;
mod walk;

use bytes::Bytes;
use hashbrown::HashMap;

use super::Requests;
use crate::base::core_id::CoreId;
use crate::base::hex::HexId;
use crate::base::slot::SlotSet;
use crate::cluster::migration::{Act, End, Event, Job, Moment, Owner, State, TargetFacts, Word};
use crate::cluster::node::NodeIndex;
use crate::cluster::state::ClusterState;
use crate::command::client::{ClientRef, CloseReason};
use crate::command::cluster::migration::{MigrationView, Order};
use crate::command::core::{Effect, Publication};
use crate::command::gate::Verdict;
use crate::command::spec::Flags;
use crate::command::transactions::Queued;
use crate::resp::{Args, ArgsBuf, write_request};
use crate::runtime::mesh::Message;
use export::{Books, Exporter};
use link::Link;

/// Jobs are looked after so often.
const TICK_MS: u64 = 100;

/// What cores say to one another about migrations.
pub enum MigrationMessage {
    // To core 0.
    /// A client has said this.
    Word {
        client: ClientRef,
        words: ArgsBuf,
    },
    /// What a client that is the other end of a job has sent cannot be done.
    Broken {
        client: ClientRef,
        why: String,
    },
    /// A client that was the other end of a job has gone.
    Left(ClientRef),
    /// The next bytes for the target, and how many keys the walk has come by in them.
    Chunk {
        job: HexId,
        bytes: Vec<u8>,
        keys: u64,
    },
    /// All my slots are through.
    WalkEnds(HexId),
    /// Nothing is written to the slots any more on my side, and all that was has come before this.
    Quiet(HexId),
    /// I have no keys of the slots.
    Prepared(HexId),
    Dropped(HexId),
    // From core 0.
    /// Walk through your slots of these.
    Walk {
        job: HexId,
        slots: Box<SlotSet>,
    },
    /// So many of your bytes have been sent.
    Sent {
        job: HexId,
        bytes: usize,
    },
    /// Writes are held, as you were told just now: tell the others, and be quiet when they are.
    Quiesce(HexId),
    /// Nothing more is wanted of this job.
    Stop(HexId),
    /// Drop what you have of these slots: they are about to come.
    Prepare {
        job: HexId,
        slots: Box<SlotSet>,
    },
    /// Your client is the source of these slots from now on.
    Begin {
        client: ClientRef,
        job: HexId,
        slots: Box<SlotSet>,
    },
    /// Close your client.
    Close(ClientRef),
    /// The connection of this job was yours: have all cores drop these slots, behind what you have sent them.
    Undo {
        job: HexId,
        slots: Box<SlotSet>,
    },
    // From any core to any.
    /// Nothing that you get from me from now on writes to the slots that this job holds.
    Mark(HexId),
    /// What comes before this was the last for these slots: drop them.
    Drop {
        job: HexId,
        slots: Box<SlotSet>,
    },
}

/// One core's part in migrations, and core 0's books of their connections.
#[derive(Default)]
pub(super) struct Migrating {
    exports: Vec<Exporter>,
    pace: crate::runtime::persistence::pace::Pace,
    /// Cores that have said `Mark`, by job.
    marks: HashMap<HexId, usize>,
    /// Jobs whose keys have gone here, while their removals are still being told: core 0 hears of it behind these.
    dropped: Vec<HexId>,
    // Core 0.
    /// Attempts to connect.
    links: Vec<(HexId, Link)>,
    /// The other ends.
    ends: Vec<(HexId, ClientRef)>,
    /// What is on its way to targets.
    books: HashMap<HexId, Books>,
    /// Jobs whose walk waits for slots to have changed their core.
    waiting_walks: Vec<HexId>,
    /// The cores over whose connections slots come, or came.
    came_by: HashMap<HexId, CoreId>,
    /// Cores that have still to answer `Prepare` or `Undo`.
    /// Jobs that wait for the disk, each with the number by which it is asked.
    durable: Vec<(u64, HexId)>,
    durable_last: u64,
    preparing: HashMap<HexId, usize>,
    dropping: HashMap<HexId, usize>,
    ticked_ms: u64,
    /// The view of the cluster by which jobs were last looked at.
    generation: u64,
}

impl Requests {
    pub(super) fn moment(&self) -> Moment {
        Moment { ms: self.core.clock.monotonic_us() / 1000, unix_s: self.core.clock.unix().seconds() }
    }

    fn tell_first(&mut self, message: MigrationMessage) {
        match self.core.id {
            CoreId::FIRST => self.migration_message(CoreId::FIRST, message),
            _ => self.mesh.send(CoreId::FIRST, Message::Migration(Box::new(message))),
        }
    }

    fn tell_core(&mut self, core: CoreId, message: MigrationMessage) {
        match core == self.core.id {
            true => self.migration_message(core, message),
            false => self.mesh.send(core, Message::Migration(Box::new(message))),
        }
    }

    /// To all other cores, then here.
    fn tell_all(&mut self, message: impl Fn() -> MigrationMessage) {
        let others: Vec<CoreId> = self.mesh.others().collect();
        others.into_iter().for_each(|core| self.tell_core(core, message()));
        self.tell_core(self.core.id, message());
    }

    pub(super) fn migration_message(&mut self, from: CoreId, message: MigrationMessage) {
        use MigrationMessage as Said;
        match message {
            Said::Word { client, words } => self.hear_word(client, &words),
            Said::Broken { client, why } => {
                if let Some(job) = self.job_of(client) {
                    self.job_event(job, Event::Broken(why));
                }
            }
            Said::Left(client) => self.end_has_left(client),
            Said::Chunk { job, bytes, keys } => self.export_chunk(from, job, bytes, keys),
            Said::WalkEnds(job) => self.export_walk_ends(job),
            Said::Quiet(job) => self.export_is_quiet(job),
            Said::Prepared(job) => self.import_prepared(job),
            Said::Dropped(job) => self.import_dropped(job),
            Said::Walk { job, slots } => self.begin_export(job, &slots),
            Said::Sent { job, bytes } => self.export_sent(job, bytes),
            Said::Quiesce(job) => self.quiesce(job),
            Said::Stop(job) => self.stop_export(job),
            Said::Prepare { job, slots } => self.prepare_import(job, &slots),
            Said::Begin { client, job, slots } => self.begin_import(client, job, slots),
            Said::Close(client) => {
                if self.core.own_client(client).is_some() {
                    self.close(client.index, CloseReason::Killed);
                }
            }
            Said::Undo { job, slots } => self.tell_all(|| Said::Drop { job, slots: slots.clone() }),
            Said::Mark(job) => self.marked_for(job),
            Said::Drop { job, slots } => self.drop_import(job, &slots),
        }
    }

    pub(super) fn carry_migration_out(&mut self, order: Order) {
        match order {
            Order::Do { job, acts } => self.act_for_job(job, acts),
            Order::Word { client, words } => self.tell_first(MigrationMessage::Word { client, words }),
            Order::Broken { client, why } => self.tell_first(MigrationMessage::Broken { client, why }),
            Order::Known => self.publish_migrations(),
        }
    }

    // ---- what the other end sends ---------------------------------------------------------------------------------

    /// The gate of a connection to the other end. What it refuses ends the job.
    #[cold]
    pub(super) fn judge_migration(&mut self, index: u32, args: &Args<'_>) -> Verdict {
        let verdict = crate::command::cluster::migration::judge(&mut self.core, index, args);
        if let Verdict::Refused { error, .. } = &verdict {
            let client = self.core.clients[index as usize].caller(self.core.id).client;
            let name = args.get(0).unwrap_or_default();
            let name = String::from_utf8_lossy(name.get(..64).unwrap_or(name)).into_owned();
            tracing::warn!("Slot migration: '{name}' from the other node is refused: {}", error.text());
            let why = match error {
                crate::command::error::CommandError::OutOfMemory => "Ran out of memory (OOM) during slot import",
                _ => "Failed to process command during slot migration. Check logs for more information",
            };
            self.close(index, CloseReason::Killed);
            let order = Order::Broken { client, why: why.to_owned() };
            self.core.effects.push(Effect::Migration(order));
        }
        verdict
    }

    /// The job at whose other end a client is (core 0).
    fn job_of(&self, client: ClientRef) -> Option<HexId> {
        self.migrating.ends.iter().find(|(_, end)| *end == client).map(|(job, _)| *job)
    }

    fn end_of(&self, job: &HexId) -> Option<ClientRef> {
        self.migrating.ends.iter().find(|(name, _)| name == job).map(|(_, end)| *end)
    }

    /// A client has said CLUSTER SYNCSLOTS (core 0).
    fn hear_word(&mut self, client: ClientRef, words: &ArgsBuf) {
        let args = words.as_args();
        let said = args.get(2).unwrap_or_default();
        let job = self.job_of(client);
        let refusal = match (job, Word::parse(said)) {
            (Some(job), Some(Word::Paused)) if self.must_be_durable() => return self.await_durable_import(job),
            (Some(job), Some(Word::RequestFailover)) if self.is_handing_over() => {
                return self.job_event(job, Event::Broken("A failover of the source is under way".to_owned()));
            }
            (Some(job), Some(word)) => return self.job_event(job, Event::Heard(word)),
            (None, Some(word)) => {
                format!("ERR CLUSTER SYNCSLOTS {} should only be used by slot migration clients", word.text())
            }
            (None, None) if said.eq_ignore_ascii_case(b"ESTABLISH") => return self.establish(client, &args),
            (None, None) if said.eq_ignore_ascii_case(b"FINISH") => {
                let refusal = crate::command::cluster::migration::finish_refusal(&mut self.core, &args);
                String::from_utf8_lossy(&refusal.line()).into_owned()
            }
            // Nothing that it might name is there yet.
            (_, None) if said.eq_ignore_ascii_case(b"CAPA") => return,
            (Some(job), None) => {
                return self.job_event(job, Event::Broken("Unknown SYNCSLOTS subcommand used".to_owned()));
            }
            (None, None) => "ERR syntax error".to_owned(),
        };
        self.answer_word(client, &format!("-{refusal}\r\n"));
    }

    fn answer_word(&mut self, to: ClientRef, line: &str) {
        self.carry_out(Effect::Push { to, bytes: Bytes::copy_from_slice(line.as_bytes()) });
    }

    /// A connection to the other end is gone (on its core).
    pub(super) fn migration_end_left(&mut self, client: ClientRef) {
        self.tell_first(MigrationMessage::Left(client));
    }

    fn end_has_left(&mut self, client: ClientRef) {
        let Some(job) = self.job_of(client) else { return };
        self.migrating.ends.retain(|(_, end)| *end != client);
        self.job_event(job, Event::Lost);
    }

    // ---- jobs -----------------------------------------------------------------------------------------------------

    /// Tells a job of an event, and does what follows (core 0).
    fn job_event(&mut self, job: HexId, event: Event) {
        let now = self.moment();
        let node = self.core.node();
        let limits = node.migration_limits();
        let acts = node.migrations.handle(now, &limits, &job, event);
        self.act_for_job(job, acts);
    }

    fn act_for_job(&mut self, job: HexId, acts: Vec<Act>) {
        if acts.is_empty() {
            return;
        }
        for act in acts {
            match act {
                Act::Connect => self.connect_to_target(job),
                Act::Say(word) => self.say_word(job, word),
                Act::Walk => self.begin_walk(job),
                Act::Hold => {
                    self.publish_migrations();
                    self.tell_all(|| MigrationMessage::Quiesce(job));
                }
                Act::Release => {
                    self.publish_migrations();
                    self.note_grants();
                }
                Act::Close => self.close_end(job),
                Act::Claim => self.claim(job),
                Act::Reclaim => {
                    self.cluster_step(|machine, _| machine.reclaim_slots());
                }
                Act::Drop => self.undo_import(job),
                Act::TellEnd => self.tell_end(job),
            }
        }
        let log_max = usize::try_from(self.core.config.cluster_slot_migration_log_max_len).unwrap_or(usize::MAX);
        self.core.node().migrations.trim(log_max);
        self.publish_migrations();
        self.carry_out_effects();
    }

    fn job(&self, job: &HexId) -> Option<&Job> {
        self.core.node.as_ref()?.migrations.get(job)
    }

    fn say_word(&mut self, job: HexId, word: Word) {
        if word == Word::FailoverGranted {
            self.note_grants();
        }
        let Some(to) = self.end_of(&job) else { return };
        let mut bytes = Vec::new();
        write_request(&mut bytes, [&b"CLUSTER"[..], b"SYNCSLOTS", word.text().as_bytes()].into_iter());
        self.carry_out(Effect::Push { to, bytes: Bytes::from(bytes) });
    }

    /// Whether this node's replica is taking over, with its help.
    fn is_handing_over(&self) -> bool {
        let cluster = self.core.node.as_ref().and_then(|node| node.cluster.as_deref());
        cluster.is_some_and(|cluster| cluster.machine().is_handing_over())
    }

    /// While a target may be about to take slots, no replica of this node is helped to take over.
    fn note_grants(&mut self) {
        let jobs = &self.core.node().migrations;
        let has_granted = jobs.open(End::Export).any(|job| job.state == State::FailoverGranted);
        self.cluster_step(|machine, _| machine.note_grant(has_granted));
    }

    /// Ends whatever leads to the other node.
    fn close_end(&mut self, job: HexId) {
        if let Some(at) = self.migrating.links.iter().position(|(name, _)| *name == job) {
            let (_, link) = self.migrating.links.remove(at);
            self.retired_writers.push(link.cancel());
        }
        if self.migrating.books.remove(&job).is_some() {
            self.tell_all(|| MigrationMessage::Stop(job));
        }
        if let Some(client) = self.end_of(&job) {
            self.migrating.ends.retain(|(name, _)| *name != job);
            self.tell_core(client.core, MigrationMessage::Close(client));
        }
    }

    /// Hands every core what it must know of migrations, if that has changed (core 0).
    pub(super) fn publish_migrations(&mut self) {
        let jobs = &self.core.node().migrations;
        let some = |slots: SlotSet| (!slots.is_empty()).then(|| Box::new(slots));
        let view = MigrationView { held: some(jobs.held_slots()), hidden: some(jobs.hidden_slots()) };
        if view != self.core.migration {
            self.publish(vec![Publication::Migration(view)], None);
        }
    }

    /// Whether a transaction that has waited is to write while writes are paused, or to slots that are being handed over.
    pub(super) fn is_exec_held(&self, queue: &[Queued]) -> bool {
        let is_paused = self.core.pause.holds(true, self.core.clock.unix());
        let held = self.core.migration.held.as_deref();
        if !is_paused && held.is_none() {
            return false;
        }
        let is_held = |slot| is_paused || held.is_some_and(|held| held.contains(slot));
        let writes = |queued: &Queued| {
            let spec = queued.command.spec();
            spec.flags.has(Flags::WRITE) || spec.flags.has(Flags::MAY_REPLICATE) || spec.runs_script()
        };
        queue.iter().any(|queued| writes(queued) && queued.slot.is_none_or(is_held))
    }

    /// Core 0's look at its jobs, each turn. True when something was done.
    pub fn attend_migrations(&mut self) -> bool {
        if self.core.node.as_ref().is_none_or(|node| node.migrations.is_empty()) || self.core.disk.loading {
            return false;
        }
        let mut worked = self.attend_links();
        worked |= self.attend_exports();
        let now_ms = self.core.clock.monotonic_us() / 1000;
        let is_due = now_ms.saturating_sub(self.migrating.ticked_ms) >= TICK_MS;
        let generation = self.core.node().cluster.as_deref().map_or(0, |cluster| cluster.generation());
        if is_due || generation != self.migrating.generation {
            self.migrating.generation = generation;
            self.review_jobs();
        }
        if is_due && !self.core.paused_tick {
            self.migrating.ticked_ms = now_ms;
            self.tick_jobs();
        }
        worked
    }

    /// Whose slots are, and what this node is, may have changed.
    fn review_jobs(&mut self) {
        let Some(node) = self.core.node.as_deref() else { return };
        let Some(cluster) = node.cluster.as_deref() else { return };
        let state = cluster.state();
        let is_replica = state.myself().is_replica();
        let mut events = Vec::new();
        for job in node.migrations.iter().filter(|job| !job.state.is_over()) {
            match (job.is_only_known(), is_replica) {
                (true, true) => {}
                (true, false) => events.push((job.name, Event::Promoted)),
                // A source that has given all its slots away may be its target's replica by now.
                (false, true) if job.end == End::Export && owner(state, job) == Owner::Target => {
                    events.push((job.name, Event::Owned(Owner::Target)));
                }
                (false, true) => events.push((job.name, Event::Demoted)),
                (false, false) => events.push((job.name, Event::Owned(owner(state, job)))),
            }
        }
        events.into_iter().for_each(|(job, event)| self.job_event(job, event));
    }

    fn tick_jobs(&mut self) {
        let jobs: Vec<(HexId, State, Option<HexId>)> =
            self.core.node().migrations.under_way().map(|job| (job.name, job.state, job.target)).collect();
        for (job, state, target) in jobs {
            self.job_event(job, Event::Tick);
            let Some(target) = target.filter(|_| state == State::FailoverGranted) else { continue };
            let now_ms = self.core.clock.monotonic_us() / 1000;
            let facts = self.cluster_step(|machine, now| {
                // Whatever else it has to say: it is asked again until something is known.
                machine.ask(now, &target, now_ms.saturating_sub(TICK_MS));
                let (answered_ms, has_failed) = machine.last_answer(&target);
                TargetFacts { answered_ms, has_failed }
            });
            if let Some(facts) = facts {
                self.job_event(job, Event::Target(facts));
            }
        }
    }
}

/// Whose the slots of a job are.
fn owner(state: &ClusterState, job: &Job) -> Owner {
    let mut owners = job.slots.iter().map(|slot| state.owner(slot));
    let Some(first) = owners.next().flatten() else { return Owner::Other };
    if owners.any(|owner| owner != Some(first)) {
        return Owner::Other;
    }
    let id = match first {
        NodeIndex::MYSELF => state.myself().id,
        other => state.node(other).id,
    };
    match Some(id) {
        id if id == job.source => Owner::Source,
        id if id == job.target => Owner::Target,
        _ => Owner::Other,
    }
}

/// Used by `import` to run a flush of slots.
fn drop_here(requests: &mut Requests, slots: &SlotSet) {
    crate::command::flush::drop_slots(&mut requests.core, slots);
    requests.carry_out_effects();
}
