//! The primary's stream on its way to the data.
//!
//! Core 0 receives it, has `command::replication::stream` find the units in it, runs what is for its own keys at once, and sends each
//! other core what is for that core's: one batch for what came in one piece. Cores apply their batches in order, a transaction without
//! anything between, and report how far they are. What the primary is told that this node has is what all cores have applied.
//!
//! A transaction over keys of several cores, which only a primary without slots can send, is split: each core applies its part as one.

use bytes::Bytes;

use crate::base::core_id::CoreId;
use crate::command::client::{Caller, ClientRef, CloseReason};
use crate::command::execute::{self, Call};
use crate::command::monitor;
use crate::command::persistence::replay::{Destination, Routes};
use crate::command::replication::stream::{Action, Data, Group, Item, Stream};
use crate::command::spec::{Flags, Run};
use crate::command::table::table;
use crate::config::PropagationErrorBehavior;
use crate::resp::{Args, ReplyBuffer, RespVersion, write_request};
use crate::runtime::batch::RequestBatch;
use crate::runtime::mesh::Message;
use crate::runtime::requests::Requests;
use crate::runtime::requests::durable::PRIMARY;

/// Bytes of the stream that cores have been sent and not applied: from here on no more is received, and below half of it again.
const UNAPPLIED_BYTES_MAX: u64 = 16 << 20;
/// The primary hears at least so often how far this node is.
const ACKNOWLEDGE_AFTER_MS: u64 = 1000;
/// Errors that are named in the log within one second.
const COMPLAINTS_MAX: u32 = 10;
/// That what is applied cannot be kept is said so often.
const UNKEPT_EVERY_S: i64 = 10;

/// What one core is to apply of a piece of the stream.
#[derive(Default)]
pub struct ApplyBatch {
    calls: RequestBatch,
    marks: Vec<Mark>,
    /// Up to here the core has everything then.
    place: u64,
    /// Bytes of the stream that it is about.
    bytes: u64,
}

/// Where a call stands in its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Alone,
    Within,
    Last,
}

/// Core 0's books of what is on its way.
#[derive(Default)]
pub(super) struct Applying {
    stream: Stream,
    routes: Option<Routes>,
    cores: Vec<Progress>,
    /// What is being gathered for each core.
    batches: Vec<ApplyBatch>,
    /// The primary wants to know when all up to here is applied.
    wanted: Option<u64>,
    acknowledged_ms: u64,
    /// Up to where the append-only files have it on the disk, if there are any; and up to where that is asked.
    durable: Option<u64>,
    asked: Option<u64>,
    /// What came while this node's own files are loaded: it is applied behind them.
    put_aside: Vec<u8>,
    /// No more is received until the cores have caught up.
    is_paused: bool,
    /// Errors in this second, and which second that is.
    complaints: (i64, u32),
    /// When it was last said that what is applied cannot be kept.
    unkept_s: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    applied_place: u64,
    unapplied_bytes: u64,
}

impl Applying {
    /// A stream begins, or goes on, at a place up to which the cores have everything or will have.
    pub fn begin(&mut self, stream: Stream, routes: Routes, cores_count: usize, place: u64) {
        (self.stream, self.routes) = (stream, Some(routes));
        self.cores.resize(cores_count, Progress::default());
        for core in &mut self.cores {
            if core.unapplied_bytes == 0 {
                core.applied_place = place;
            }
        }
        self.batches.resize_with(cores_count, ApplyBatch::default);
        (self.wanted, self.durable, self.asked, self.is_paused) = (None, None, None, false);
    }

    /// The stream has ended somewhere: what is not complete comes again.
    pub fn cut_off(&mut self) {
        self.stream = Stream::new(self.stream.db());
        self.put_aside = Vec::new();
    }

    /// Up to where all cores have applied it; `end` is the place up to which all was handed to them.
    fn place(&self, end: u64) -> u64 {
        let behind = self.cores.iter().filter(|core| core.unapplied_bytes > 0);
        behind.map(|core| core.applied_place).min().unwrap_or(end)
    }

    /// Whether something waits for the end of loading.
    pub fn has_put_aside(&self) -> bool {
        !self.put_aside.is_empty()
    }

    fn unapplied_bytes(&self) -> u64 {
        self.cores.iter().map(|core| core.unapplied_bytes).sum()
    }
}

impl Requests {
    /// Bytes of the primary's stream have come.
    pub(in crate::runtime::requests) fn upstream_input(&mut self, index: u32, chunk: &[u8]) {
        let is_current = self.following.client.is_some_and(|client| client.index == index);
        let applying = &mut self.following.applying;
        if is_current && self.core.disk.loading {
            applying.put_aside.extend_from_slice(chunk);
            if !std::mem::replace(&mut applying.is_paused, true) {
                self.held.push(index);
            }
            return;
        }
        let Some(routes) = self.following.applying.routes.take_if(|_| is_current) else { return };
        let mut stream = std::mem::take(&mut self.following.applying.stream);
        let joined = stream.joined(chunk);
        let data = joined.as_deref().unwrap_or(chunk);
        let outcome = loop {
            match stream.read(data, &routes) {
                Ok(group) => {
                    self.apply_group(&stream, data, group);
                    stream.pass();
                    if group.is_last {
                        break Ok(());
                    }
                }
                Err(reason) => break Err(reason),
            }
        };
        self.send_batches();
        if let Err(reason) = outcome {
            tracing::warn!("Protocol error from the master ({reason}): the link is given up");
            self.distrust_history();
            self.close(index, CloseReason::Killed);
        } else {
            stream.keep(match joined {
                Some(data) => Data::Joined(data),
                None => Data::Chunk(chunk),
            });
        }
        let limit = self.core.config.client_query_buffer_limit;
        if stream.pending_bytes() as u64 > limit {
            tracing::warn!("The master sends more than client-query-buffer-limit without an end: the link is given up");
            self.distrust_history();
            self.close(index, CloseReason::QueryBufferLimit);
        }
        (self.following.applying.stream, self.following.applying.routes) = (stream, Some(routes));
        self.pause_if_behind(index);
        self.note_applied();
        self.carry_out_effects();
    }

    /// This node's own files are loaded: what came meanwhile is applied.
    pub(super) fn apply_put_aside(&mut self) {
        let bytes = std::mem::take(&mut self.following.applying.put_aside);
        let Some(client) = self.following.client else { return };
        self.upstream_input(client.index, &bytes);
        self.resume_if_caught_up();
    }

    fn apply_group(&mut self, stream: &Stream, data: &[u8], group: Group) {
        let Some(raw) = data.get(group.begin..group.end).filter(|raw| !raw.is_empty()) else { return };
        let begin = self.place_of_all();
        self.stream_came(raw);
        self.core.node().replication.stream_db = stream.db();
        let Some(client) = self.following.client else { return };
        let own = self.core.id;
        let runs_here =
            |item: &Item| matches!(item.action, Action::Data(Destination::Core { core, .. }) if core == own);
        if let Some((first, _)) = stream.items(data).find(|(item, _)| runs_here(item)) {
            let db = usize::from(first.db);
            let here = stream.items(data).filter(|(item, _)| runs_here(item) && usize::from(item.db) == db);
            self.core.prefetch(db, here.map(|(_, args)| args));
        }
        let mut scratch = ReplyBuffer::new();
        let mut is_open = false;
        for (item, args) in stream.items(data) {
            if item.in_transaction && !is_open {
                is_open = true;
                self.core.journal.begin_transaction();
            }
            if item.action == Action::Acknowledge {
                // As in Redis, what is acknowledged ends where the question begins.
                self.following.applying.wanted = Some(begin + (item.start - group.begin) as u64);
            }
            self.apply_item(client, item, &args, raw.len() as u64, &mut scratch);
            if item.ends_transaction {
                is_open = false; // a group has whole units
                self.core.journal.end_transaction();
                self.end_transactions();
            }
            if !is_open && self.core.blocked.has_ready() {
                self.carry_out_effects();
            }
        }
    }

    fn apply_item(&mut self, client: ClientRef, item: &Item, args: &Args<'_>, raw: u64, scratch: &mut ReplyBuffer) {
        let caller = caller_of(client, item.db);
        if self.core.disk.refusal.is_some() {
            self.applies_unkept(&item.action);
        }
        let mark = if item.in_transaction { Mark::Within } else { Mark::Alone };
        if let Some(client) = self.core.own_client(client) {
            client.db = item.db;
        }
        let call = |command| Call { command, caller, slot: item.slot(), args: *args };
        match &item.action {
            Action::Data(Destination::Core { command, core, .. }) if *core != self.core.id => {
                self.gather_for(*core, &call(*command), mark, raw);
            }
            Action::Data(Destination::Core { command, .. }) | Action::Node(command) => {
                self.apply_here(&call(*command), scratch);
            }
            Action::Data(Destination::EveryCore(command)) => {
                let others: Vec<CoreId> = self.mesh.others().collect();
                others.into_iter().for_each(|core| self.gather_for(core, &call(*command), mark, raw));
                self.apply_here(&call(*command), scratch);
            }
            Action::Data(Destination::Select(_)) => {
                // Monitors see it.
                if let Some(command) = table().find(b"select").filter(|_| !self.core.monitors.is_empty()) {
                    monitor::feed(&mut self.core, &call(command));
                }
            }
            Action::SlotState => self.follow_set_slot(args),
            Action::Data(Destination::Nowhere) | Action::Acknowledge => {}
            Action::Wrong(reason) => {
                let reason = format!("ERR {reason}");
                self.complain(reason.as_bytes(), args.get(0).unwrap_or_default());
            }
        }
    }

    fn gather_for(&mut self, core: CoreId, call: &Call<'_>, mark: Mark, raw: u64) {
        let batch = &mut self.following.applying.batches[core.index()];
        batch.calls.push(call, 0);
        batch.marks.push(mark);
        if batch.bytes == 0 {
            batch.bytes = raw.max(1);
        } else {
            batch.bytes += call.args.total_bytes() as u64;
        }
        if !batch.calls.has_room() && mark == Mark::Alone {
            self.send_batches();
        }
    }

    /// A transaction is over on all cores that have part in it.
    fn end_transactions(&mut self) {
        for batch in &mut self.following.applying.batches {
            if let Some(last) = batch.marks.last_mut().filter(|mark| **mark == Mark::Within) {
                *last = Mark::Last;
            }
        }
    }

    /// Sends the cores what was gathered for them.
    fn send_batches(&mut self) {
        let place = self.place_of_all();
        for index in 0..self.following.applying.batches.len() {
            let applying = &mut self.following.applying;
            if applying.batches[index].marks.is_empty() {
                continue;
            }
            let mut batch = std::mem::take(&mut applying.batches[index]);
            batch.place = place;
            applying.cores[index].unapplied_bytes += batch.bytes;
            self.mesh.send(CoreId::new(index), Message::Apply(Box::new(batch)));
        }
    }

    /// Applies what core 0 has sent of the primary's stream.
    pub(in crate::runtime::requests) fn apply_batch(&mut self, from: CoreId, batch: &ApplyBatch) {
        let mut scratch = ReplyBuffer::new();
        let mut is_open = false;
        for ((call, _), mark) in batch.calls.calls_from(0).zip(&batch.marks) {
            if *mark == Mark::Within && !is_open {
                is_open = true;
                self.core.journal.begin_transaction();
            }
            self.apply_here(&call, &mut scratch);
            if *mark == Mark::Last {
                is_open = false;
                self.core.journal.end_transaction();
            }
            if !is_open && self.core.blocked.has_ready() {
                self.carry_out_effects();
            }
        }
        self.mesh.send(from, Message::Applied { place: batch.place, bytes: batch.bytes });
    }

    /// Runs a command of the primary, or this core's share of one. Keys that have expired are there for it: the primary says itself
    /// what has gone.
    fn apply_here(&mut self, call: &Call<'_>, scratch: &mut ReplyBuffer) {
        self.core.keyspace.expires_nothing = true;
        let failed = match call.command.spec().run {
            Run::OnEveryCore { .. } | Run::OnFirstCoreAfterAll { .. } => {
                let share = self.run_part(call);
                let failed = share.part.err().map(|error| error.line().into_owned());
                if self.core.id == CoreId::FIRST {
                    self.core.stats.called(call.command, share.duration_ns, failed.is_some(), false);
                }
                failed
            }
            _ => {
                let mark = scratch.mark();
                execute::run(&mut self.core, call, scratch);
                let line = scratch.slices(1).next().and_then(|reply| reply.strip_prefix(b"-")).map(<[u8]>::to_vec);
                scratch.truncate_to(mark);
                line
            }
        };
        self.core.keyspace.expires_nothing = self.core.disk.loading;
        if let Some(line) = failed {
            self.complain(line.trim_ascii_end(), call.command.spec().name.as_bytes());
        }
        if !self.core.monitors.is_empty() && self.core.id == CoreId::FIRST {
            monitor::feed(&mut self.core, call);
        }
    }

    /// The primary has run a command that this node cannot run: from here on they may differ.
    #[cold]
    fn complain(&mut self, error: &[u8], command: &[u8]) {
        self.core.stats.unexpected_error_replies += 1;
        let now_s = self.core.clock.unix().seconds();
        let complaints = &mut self.following.applying.complaints;
        *complaints = if complaints.0 == now_s { (now_s, complaints.1 + 1) } else { (now_s, 1) };
        if complaints.1 <= COMPLAINTS_MAX {
            tracing::warn!(
                "== CRITICAL == This replica is sending an error to its master: '{}' after processing the command '{}'",
                String::from_utf8_lossy(error),
                String::from_utf8_lossy(command.get(..128).unwrap_or(command))
            );
        }
        let config = &self.core.config;
        if config.replica_read_only && config.propagation_error_behavior != PropagationErrorBehavior::Ignore {
            let command = String::from_utf8_lossy(command);
            give_up(&format!(
                "This replica panicked sending an error to its master after processing the command '{command}'"
            ));
        }
    }

    /// The primary writes, and this node's disk does not take it: `replica-ignore-disk-write-errors`.
    #[cold]
    fn applies_unkept(&mut self, action: &Action) {
        let command = match action {
            Action::Data(Destination::Core { command, .. } | Destination::EveryCore(command)) => *command,
            _ => return,
        };
        if !command.spec().flags.has(Flags::WRITE) {
            return;
        }
        if !self.core.config.replica_ignore_disk_write_errors {
            give_up("Replica was unable to write command to disk.");
        }
        let (now_s, said_s) = (self.core.clock.unix().seconds(), &mut self.following.applying.unkept_s);
        if now_s > *said_s + UNKEPT_EVERY_S {
            *said_s = now_s;
            tracing::warn!("Replica is applying a command it is unable to write to disk.");
        }
    }

    // ---- how far it is ----------------------------------------------------------------------------------------

    /// A core has applied a batch (core 0).
    pub(in crate::runtime::requests) fn core_applied(&mut self, core: CoreId, place: u64, bytes: u64) {
        let Some(progress) = self.following.applying.cores.get_mut(core.index()) else { return };
        progress.applied_place = place;
        progress.unapplied_bytes = progress.unapplied_bytes.saturating_sub(bytes);
        self.resume_if_caught_up();
        self.note_applied();
    }

    fn resume_if_caught_up(&mut self) {
        let applying = &mut self.following.applying;
        let is_held = self.postponed_save.is_some() || self.core.disk.loading;
        if applying.is_paused && !is_held && applying.unapplied_bytes() < UNAPPLIED_BYTES_MAX / 2 {
            applying.is_paused = false;
            if let Some(client) = self.following.client {
                self.resumed.push(client.index);
            }
        }
    }

    /// Whether cores have still to apply what they were sent. A cut, which cores may hear of from one another, waits for that; no
    /// more is received meanwhile.
    pub(in crate::runtime::requests) fn must_catch_up(&mut self) -> bool {
        let applying = &mut self.following.applying;
        let is_behind = applying.unapplied_bytes() > 0;
        if let Some(client) = self.following.client.filter(|_| is_behind && !applying.is_paused) {
            applying.is_paused = true;
            self.held.push(client.index);
        }
        is_behind
    }

    /// Whether all that was sent is applied.
    pub(in crate::runtime::requests) fn has_caught_up(&self) -> bool {
        self.following.applying.unapplied_bytes() == 0
    }

    /// The cut that was waited for has begun: more is received.
    pub(in crate::runtime::requests) fn go_on_receiving(&mut self) {
        let applying = &mut self.following.applying;
        if std::mem::take(&mut applying.is_paused)
            && let Some(client) = self.following.client
        {
            self.resumed.push(client.index);
        }
    }

    fn pause_if_behind(&mut self, index: u32) {
        let applying = &mut self.following.applying;
        if !applying.is_paused && applying.unapplied_bytes() > UNAPPLIED_BYTES_MAX {
            applying.is_paused = true;
            self.held.push(index);
        }
    }

    /// Whether the connection is not to be received from for now: it is the primary's, and cores are behind.
    pub fn is_upstream_paused(&self, index: u32) -> bool {
        self.following.applying.is_paused && self.following.client.is_some_and(|client| client.index == index)
    }

    /// Brings what INFO tells up to date.
    pub(super) fn note_applied(&mut self) {
        let place = self.applied_place();
        if let Some(upstream) = self.core.node().replication.upstream.as_mut() {
            upstream.applied = place;
        }
    }

    /// Up to where all cores have everything.
    fn applied_place(&mut self) -> u64 {
        let end = self.place_of_all();
        self.following.applying.place(end)
    }

    pub(super) fn acknowledge_if_wanted(&mut self) {
        if let Some(wanted) = self.following.applying.wanted
            && self.applied_place() >= wanted
        {
            self.following.applying.wanted = None;
            self.say_what_there_is(wanted);
            self.ask_what_is_durable();
        }
    }

    pub(super) fn acknowledge_each_second(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.following.applying.acknowledged_ms) >= ACKNOWLEDGE_AFTER_MS {
            self.acknowledge();
        }
    }

    /// A link begins: the primary hears within a second what this node has, or at once where it waits for that.
    pub(super) fn introduce(&mut self, at_once: bool) {
        self.following.applying.acknowledged_ms = self.core.clock.monotonic_us() / 1000;
        if at_once {
            self.acknowledge();
        }
    }

    /// Tells the primary what this node has, and what it has on its disk.
    pub(super) fn acknowledge(&mut self) {
        if self.following.client.is_none() {
            return;
        }
        self.say_what_there_is(u64::MAX);
        self.ask_what_is_durable();
    }

    /// Acknowledges what there is up to a place.
    fn say_what_there_is(&mut self, up_to: u64) {
        let Some(client) = self.following.client else { return };
        self.following.applying.acknowledged_ms = self.core.clock.monotonic_us() / 1000;
        let place = self.applied_place().min(up_to);
        let durable = self.following.applying.durable.map(|durable| durable.min(place).to_string());
        let place = place.to_string();
        let mut words: Vec<&[u8]> = vec![b"REPLCONF", b"ACK", place.as_bytes()];
        if let Some(durable) = &durable {
            words.extend([&b"FACK"[..], durable.as_bytes()]);
        }
        let mut bytes = Vec::new();
        write_request(&mut bytes, words.into_iter());
        self.push(client, &Bytes::from(bytes));
    }

    /// Asks all cores to say when what they have applied by now is on the disk.
    fn ask_what_is_durable(&mut self) {
        let place = self.applied_place();
        let applying = &mut self.following.applying;
        if !self.core.records_in_files() || applying.asked.is_some() || applying.durable == Some(place) {
            return;
        }
        applying.asked = Some(place);
        self.await_durable(ClientRef { core: self.core.id, index: 0, id: PRIMARY });
    }

    /// What was asked about is on the disk, or there are no files.
    pub(in crate::runtime::requests) fn stream_is_durable(&mut self, has_files: bool) {
        let Some(asked) = self.following.applying.asked.take() else { return };
        self.following.applying.durable = has_files.then_some(asked);
        if has_files {
            // The primary may have somebody waiting for it.
            self.say_what_there_is(u64::MAX);
        }
    }
}

/// Ends the process where the settings say that a replica had better not go on.
fn give_up(line: &str) -> ! {
    tracing::error!("{line}");
    std::process::abort()
}

/// Who runs the commands of the primary.
fn caller_of(client: ClientRef, db: u16) -> Caller {
    Caller {
        client,
        db,
        resp: RespVersion::V2,
        no_touch: false,
        asking: false,
        readonly: false,
        is_slot_open: false,
        local: false,
        tracks: false,
        wants_reply: false,
        is_import: false,
        is_on_core_port: false,
        must_not_wait: true,
    }
}
