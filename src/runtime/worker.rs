//! One core at work: the turn loop.
//!
//! A turn: reap what the client ring has completed, parse and run or forward the requests that came, take in what other
//! cores have sent, send the replies and the envelopes, and enter the ring once, which submits everything
//! and, when there is nothing left to do, waits for the next event.
//!
//! The core sleeps nowhere but in that enter. What wakes it is in the ring: the sockets, the bell, the tick `hz` times a second, and,
//! where something is to be gone on with in a moment, the nap. One timer for many waits: a timeout with every wait cost some
//! 3 % of the core's time in small turns.
//!
//! The path of a request: `Worker::completed` (bytes are here) -> `requests::Requests::input` (parse) -> `gate::check`
//! -> `execute::run` here, or `mesh` to the owning core and the reply back through `Connection::arrived` ->
//! `Worker::flush_connections` -> the ring.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;

use super::census::Census;
use super::connection::Outgoing;
use super::listen::{Accepted, Listener};
use super::mesh::Mesh;
use super::persistence::append_only::writer::News;
use super::persistence::append_only::{Order, Writer};
use super::requests::Requests;
use super::ring::{ClientRing, Completion, Operation, Patience};
use super::share::{Shares, Verdict};
use crate::base::clock::TurnClock;
use crate::command::client::CloseReason;
use crate::command::core::{Core, ShutdownOptions};
use crate::command::journal::JournalReader;
use crate::command::shutdown;

/// How long a core sleeps at most that has something to go on with: the walk of a snapshot, whose share of the time is used
/// up, an append-only file that is written to once in a millisecond, or a send that found its socket full.
const NAP: Duration = Duration::from_millis(1);
/// Longest that an ending core waits for room in another's queue.
const GOODBYE_MAX: Duration = Duration::from_secs(5);
/// Answers to a connection that is behind with its requests are sent when there are so many.
const GATHERED_BYTES: usize = 16 * 1024;
/// Keys or large values freed in one turn while the core is otherwise busy.
const FREED_PER_TURN: usize = 256;
/// Keys of slots that have left, in one turn: about 0.2 ms of recording their removal.
const TOLD_PER_TURN: usize = 512;

/// What only core 0 has: the doors. Shared with `machine`, which changes them for CONFIG SET.
pub struct Doors {
    /// By the index that accepts carry; one that was closed leaves its place empty.
    pub listeners: Vec<Option<Listener>>,
    /// Those that take connections from the next turn on.
    pub unarmed: Vec<usize>,
    pub signals: SignalFd,
}

impl Doors {
    pub fn new(listeners: Vec<Listener>, signals: SignalFd) -> Doors {
        let unarmed = (0..listeners.len()).collect();
        Doors { listeners: listeners.into_iter().map(Some).collect(), unarmed, signals }
    }
}

/// One core with everything that drives it.
pub struct Worker {
    ring: ClientRing,
    pub requests: Requests,
    census: Arc<Census>,
    doors: Option<Rc<RefCell<Doors>>>,
    completions: Vec<Completion>,
    /// Bytes that wait for the next turn, in order.
    deferred: Vec<Completion>,
    shares: Shares,
    /// Listeners whose accept has failed.
    accepts_to_arm: Vec<usize>,
    /// Sends submitted in this turn, each of which completes when it is submitted.
    sends_submitted: usize,
    /// One of them is not the last of its output: there is more to send as soon as it has completed.
    sends_more: bool,
    turn_clock: TurnClock,
    /// The timer of a nap is in the ring.
    naps: bool,
    /// This core's append-only file.
    writer: Writer,
    /// The earliest deadline of a waiting client for which a timer is in the ring, in monotonic milliseconds.
    deadline_ms: Option<u64>,
}

impl Worker {
    /// Sets the core's ring up on the calling thread and arms everything that can wake it.
    ///
    /// # Errors
    /// When the ring or its descriptors cannot be had.
    pub fn new(core: Core, mesh: Mesh, census: Arc<Census>, doors: Option<Rc<RefCell<Doors>>>) -> io::Result<Worker> {
        let mut ring = ClientRing::new()?;
        ring.watch(Operation::Bell, mesh.bell_descriptor());
        if let Some(doors) = &doors {
            ring.watch(Operation::Signal, doors.borrow().signals.as_raw_fd());
        }
        let mut worker = Worker {
            ring,
            requests: Requests::new(core, mesh, census.clone()),
            census,
            doors,
            completions: Vec::with_capacity(1024),
            deferred: Vec::new(),
            shares: Shares::default(),
            accepts_to_arm: Vec::new(),
            sends_submitted: 0,
            sends_more: false,
            turn_clock: TurnClock::read(),
            naps: false,
            writer: Writer::new(),
            deadline_ms: None,
        };
        worker.arm_tick();
        Ok(worker)
    }

    /// Works until the node stops.
    ///
    /// # Errors
    /// When the ring itself fails; nothing can be served any more.
    pub fn run(mut self) -> io::Result<Option<ShutdownOptions>> {
        loop {
            let busy = self.turn();
            if let Some(stopped) = self.requests.stopped.take() {
                self.say_goodbye();
                return Ok(stopped);
            }
            self.enter(busy)?;
            self.ring.reap(&mut self.completions);
            // The replies of the turn are on their way.
            self.requests.walk(self.is_asked());
        }
    }

    /// The work of one turn. True when there is more to do at once.
    fn turn(&mut self) -> bool {
        self.set_clock();
        self.requests.look_for_standstill();
        let mut worked = self.take_completions();
        worked |= self.requests.take_messages();
        worked |= self.requests.load_slice();
        worked |= self.requests.attend_script();
        worked |= self.requests.attend_save();
        worked |= self.requests.attend_files();
        worked |= self.requests.attend_sync();
        worked |= self.requests.attend_upstream();
        worked |= self.requests.attend_bus();
        worked |= self.requests.attend_migrations();
        worked |= self.requests.attend_key_moves();
        worked |= self.requests.attend_relocations();
        self.requests.settle();
        worked |= self.requests.tell_dropped(TOLD_PER_TURN);
        worked |= self.requests.free_slice(FREED_PER_TURN);
        if worked || self.requests.is_easing() {
            worked = true;
            self.requests.keep_limits();
        }
        self.requests.feed_log();
        self.requests.feed_exports();
        if self.requests.appends() {
            self.append();
        } else {
            self.requests.core.journal.discard();
        }
        self.requests.feed_replicas();
        self.requests.enter_spared();
        self.open_doors();
        self.adopt_connections();
        self.close_connections();
        self.flush_connections();
        self.flush_bus();
        if worked {
            self.requests.core.stats.turn_ends();
        }
        let held_back = self.requests.mesh.flush();
        held_back
            || !self.completions.is_empty()
            || self.requests.has_more_to_do()
            || worked && self.requests.is_expiring()
    }

    /// Whether something has come for the next turn.
    fn is_asked(&self) -> bool {
        self.completions.iter().any(|completion| !matches!(completion.operation, Operation::Nap))
    }

    fn set_clock(&mut self) {
        let core = &mut self.requests.core;
        let now_ns = core.nanos.now_ns();
        core.set_clock(self.turn_clock.at(now_ns));
        core.stats.turn_begins(now_ns);
    }

    /// Enters the ring: submits, and waits when the core has nothing else to do.
    fn enter(&mut self, busy: bool) -> io::Result<()> {
        self.arm_deadline();
        let sends = std::mem::take(&mut self.sends_submitted);
        if !self.naps
            && (sends > 0
                || self.requests.is_walking()
                || self.requests.is_dumping()
                || self.requests.awaits_relocation()
                || self.writer.writes_soon())
        {
            self.naps = true;
            self.ring.nap_after(NAP);
        }
        // Each send of this turn completes within the call: wait for one event more. Where a socket was full the next event may be
        // the end of the nap.
        let want = sends + usize::from(!std::mem::take(&mut self.sends_more));
        if busy || !self.requests.begin_wait() {
            return self.ring.enter(0);
        }
        let result = self.ring.enter(want);
        self.requests.mesh.end_wait();
        result
    }

    fn take_completions(&mut self) -> bool {
        let mut completions = std::mem::take(&mut self.completions);
        let mut worked = false;
        self.shares.turn_begins();
        for completion in completions.drain(..) {
            if let Operation::Nap = completion.operation {
                self.naps = false;
            } else {
                worked = true;
                self.completed(completion);
            }
        }
        completions.append(&mut self.deferred);
        self.completions = completions;
        worked
    }

    fn completed(&mut self, completion: Completion) {
        match completion.operation {
            Operation::Receive(index) => {
                match self.shares.judge(index, completion.result.max(0) as u32, !completion.more) {
                    Verdict::Take => return self.received(index, completion),
                    Verdict::Defer => {}
                    Verdict::DeferAndStop => self.ring.cancel(Operation::Receive(index)),
                }
                self.deferred.push(completion);
            }
            Operation::Send(index) => self.sent(index, completion.result),
            Operation::Accept(listener) => self.accepted(listener, completion),
            Operation::Bell => {
                if !completion.more {
                    self.ring.watch(Operation::Bell, self.requests.mesh.bell_descriptor());
                }
            }
            Operation::Tick => {
                self.arm_tick();
                self.retry_accepts();
                self.requests.tick();
            }
            Operation::Deadline => {
                self.deadline_ms = None;
                self.requests.time_out();
            }
            Operation::Signal => self.signalled(),
            Operation::DiskWrite => {
                let now_ms = self.now_ms();
                let news = self.writer.wrote(&mut self.ring, completion.result, now_ms);
                self.appended(news);
            }
            Operation::DiskSync => {
                let now_ms = self.now_ms();
                let news = self.writer.synced(&mut self.ring, completion.result, now_ms);
                self.appended(news);
            }
            Operation::BusAccept(listener) => self.requests.bus_accepts(listener),
            Operation::BusRead(link) if completion.result != -libc::ECANCELED => self.requests.bus_readable(link),
            Operation::BusWrite(link) if completion.result != -libc::ECANCELED => self.requests.bus_writable(link),
            Operation::BusTick => self.requests.bus_tick(),
            Operation::MoveRead(link) if completion.result != -libc::ECANCELED => self.requests.target_readable(link),
            Operation::MoveWrite(link) if completion.result != -libc::ECANCELED => self.requests.target_writable(link),
            Operation::Nap
            | Operation::Cancel
            | Operation::BusRead(_)
            | Operation::BusWrite(_)
            | Operation::MoveRead(_)
            | Operation::MoveWrite(_) => {}
        }
    }

    fn now_ms(&self) -> u64 {
        self.requests.core.clock.monotonic_us() / 1000
    }

    /// The end of a turn of a core with an append-only file: what was recorded goes on its way to the disk.
    fn append(&mut self) {
        if !self.requests.core.journal.is_for(JournalReader::File) {
            self.requests.core.journal.discard();
        }
        for order in std::mem::take(&mut self.requests.durability.orders) {
            match order {
                Order::Open { file, position } => self.writer.open(*file, position),
                Order::File(file) => {
                    self.writer.take_file(*file);
                    self.requests.file_came();
                }
                Order::Switch { last, position } => self.writer.switch(&last, position),
                Order::SyncUntil(position) => self.writer.sync_until(position),
                Order::Rebased { base_bytes } => self.writer.rebased(base_bytes),
                Order::Fault(fault) => self.writer.inject(&mut self.ring, fault),
            }
        }
        let spares_disk = self.requests.core.config.no_appendfsync_on_rewrite && self.requests.is_in_snapshot();
        let core = &mut self.requests.core;
        let news = self.writer.turn_ends(&mut self.ring, &mut core.journal, &core.clock, &core.config, spares_disk);
        self.appended(news);
        if !self.requests.core.records_in_files() {
            self.end_recording();
        }
    }

    /// `appendonly no`, or the files are to be begun anew: what is recorded is written, nothing more is recorded, and the file goes.
    fn end_recording(&mut self) {
        if self.requests.core.journal.has_file() {
            self.requests.core.set_journal(JournalReader::File, false);
            self.writer.begin_end();
            let core = &mut self.requests.core;
            let news = self.writer.turn_ends(&mut self.ring, &mut core.journal, &core.clock, &core.config, false);
            self.appended(news);
            self.requests.files_are_gone();
        }
        self.writer.close_when_done();
        self.requests.core.append_figures = self.writer.figures();
    }

    /// The writer has done something: replies may leave, or writes have to be refused.
    fn appended(&mut self, news: News) {
        if let Some((event, duration_ns)) = news.latency {
            self.requests.core.note_latency(event, duration_ns);
            if event.starts_with("aof-write-") {
                self.requests.core.note_latency("aof-write", duration_ns);
            }
        }
        if news.failure_changed {
            self.requests.append_failure(self.writer.failure().map(str::to_owned));
        }
        let writer = &self.writer;
        self.requests.released(writer.durable_position(), writer.released_position(), writer.is_late());
        if !self.requests.core.records_in_files() {
            self.writer.close_when_done();
        }
        self.requests.core.append_figures = self.writer.figures();
    }

    /// Brings all that was recorded to the disk, and lets the replies out that waited for it.
    fn end_append_only(&mut self) {
        self.writer.begin_end();
        self.append();
        while self.writer.has_more_to_do() {
            if self.ring.enter(1).is_err() {
                break;
            }
            self.ring.reap(&mut self.completions);
            for completion in std::mem::take(&mut self.completions) {
                // Nothing new is begun: only what is under way ends.
                if matches!(completion.operation, Operation::DiskWrite | Operation::DiskSync | Operation::Send(_)) {
                    self.completed(completion);
                }
            }
        }
        if let Some(reason) = self.writer.failure() {
            tracing::error!("Fail to fsync the AOF file: {reason}. The last writes may be lost.");
        }
    }

    /// Sees to it that the ring wakes the core when the next blocked client has waited long enough.
    fn arm_deadline(&mut self) {
        let core = &self.requests.core;
        let next = core.blocked.next_deadline_ms().into_iter().chain(self.requests.next_target_deadline_ms()).min();
        let Some(next_ms) = next else { return };
        if self.deadline_ms.is_none_or(|armed_ms| next_ms < armed_ms) {
            let delay_ms = next_ms.saturating_sub(core.clock.monotonic_us() / 1000);
            self.deadline_ms = Some(next_ms);
            self.ring.deadline_after(Duration::from_millis(delay_ms));
        }
    }

    fn arm_tick(&mut self) {
        let hz = self.requests.core.config.hz.clamp(1, 500);
        self.ring.tick_after(Duration::from_millis(1000 / u64::from(hz)));
    }

    fn received(&mut self, index: u32, completion: Completion) {
        if let Some(buffer) = completion.buffer {
            let length = completion.result.max(0) as usize;
            self.requests.input(index, self.ring.received(buffer, length));
            self.ring.recycle(buffer);
        }
        if completion.more {
            return;
        }
        let Some(connection) = self.requests.connection(index) else { return };
        connection.receiving = false;
        match -completion.result {
            // All receive buffers were taken in one enter, or the receive was cancelled while the client is held.
            libc::ENOBUFS => self.resume_receiving(index),
            libc::ECANCELED => self.resume_receiving(index),
            // The peer has said all it had to say; it may still read the answers, unless it waits for what may never come.
            0 if self.requests.is_blocked(index) => self.requests.close(index, CloseReason::Peer),
            0 => self.requests.close(index, CloseReason::AfterReply),
            _ if completion.result > 0 => self.resume_receiving(index),
            _ => self.requests.close(index, CloseReason::Peer),
        }
        self.finish_if_shut(index);
    }

    fn resume_receiving(&mut self, index: u32) {
        if let Some(connection) = self.requests.connection(index)
            && !connection.is_shut
            && !connection.receiving
            && !connection.is_paused
            && connection.postponed.is_empty()
            && !self.requests.is_departing(index)
            && !self.requests.is_upstream_paused(index)
        {
            let Some(connection) = self.requests.connection(index) else { return };
            connection.receiving = true;
            let descriptor = connection.descriptor();
            self.ring.receive(index, descriptor);
        }
    }

    fn sent(&mut self, index: u32, result: i32) {
        match usize::try_from(result) {
            Ok(count) => self.requests.sent(index, count),
            Err(_) if result == -libc::EAGAIN => self.requests.send_stalled(index),
            Err(_) => self.requests.send_failed(index),
        }
        self.finish_if_shut(index);
    }

    fn accepted(&mut self, listener_index: u32, completion: Completion) {
        let Some(doors) = self.doors.clone() else { return };
        let doors = doors.borrow();
        // A listener that CONFIG SET has closed gives its last sign.
        let Some(Some(listener)) = doors.listeners.get(listener_index as usize) else {
            let _ = nix::unistd::close(completion.result);
            return;
        };
        if completion.result < 0 {
            if completion.result != -libc::EINVAL {
                tracing::warn!("Accepting client connection: {}", io::Error::from_raw_os_error(-completion.result));
            }
            if !completion.more {
                // Out of descriptors or memory: the next tick tries again, not the next turn.
                self.accepts_to_arm.push(listener_index as usize);
            }
            return;
        }
        if !completion.more {
            self.ring.accept(listener_index, listener.descriptor.as_raw_fd());
        }
        // Descriptors are reckoned by `maxclients`, and other nodes need some too.
        let connections_count = self.census.clients_count() + self.requests.bus_links_count();
        let config = &self.requests.core.config;
        let accepted = Accepted::new(completion.result, listener, self.census.next_id(), config.tcp_keepalive);
        let Ok(accepted) = accepted else { return };
        if let Some(refusal) = super::admission::refusal(config, &accepted, connections_count) {
            self.requests.core.stats.connections_rejected += 1;
            super::admission::refuse(&accepted, refusal);
            return;
        }
        let core = self.census.place(listener.core);
        self.requests.assign(core, accepted);
    }

    fn retry_accepts(&mut self) {
        if let Some(doors) = &self.doors {
            doors.borrow_mut().unarmed.append(&mut self.accepts_to_arm);
        }
    }

    /// Arms the accepts of listeners that are new.
    fn open_doors(&mut self) {
        let Some(doors) = &self.doors else { return };
        let mut doors = doors.borrow_mut();
        while let Some(index) = doors.unarmed.pop() {
            if let Some(Some(listener)) = doors.listeners.get(index) {
                self.ring.accept(index as u32, listener.descriptor.as_raw_fd());
            }
        }
    }

    /// Arms the receives of connections that have just come to this core.
    fn adopt_connections(&mut self) {
        while let Some((index, descriptor)) = self.requests.adopted.pop() {
            self.ring.receive(index, descriptor);
        }
        while let Some(index) = self.requests.resumed.pop() {
            self.resume_receiving(index);
        }
        while let Some(index) = self.requests.held.pop() {
            if self.requests.connection(index).is_some_and(|c| c.receiving) {
                self.ring.cancel(Operation::Receive(index));
            }
        }
    }

    /// Sends what connections have gathered in this turn. Short answers to a connection that is behind go with the next turn's: each
    /// send wakes the client.
    fn flush_connections(&mut self) {
        if self.requests.output_held {
            return;
        }
        let mut dirty = std::mem::take(&mut self.requests.dirty);
        dirty.retain(|&index| {
            if !self.requests.check_output(index) {
                return false;
            }
            let waits = self.shares.is_behind(index)
                && self.requests.connection(index).is_some_and(|connection| connection.output_bytes() < GATHERED_BYTES);
            if !waits {
                self.flush_connection(index);
            }
            waits
        });
        self.requests.dirty = dirty;
        // Limits that were overrun just now close their connections in the next turn.
    }

    fn flush_connection(&mut self, index: u32) {
        let Some(connection) = self.requests.connection(index) else { return };
        connection.is_dirty = false;
        if connection.is_shut {
            return;
        }
        let descriptor = connection.descriptor();
        let patience = if connection.is_stalled { Patience::Waits } else { Patience::None };
        match connection.prepare_send() {
            None => return,
            Some(Outgoing::One(bytes)) => self.ring.send(index, descriptor, bytes, patience),
            Some(Outgoing::Many(message)) => self.ring.send_vectored(index, descriptor, message, patience),
        }
        if patience == Patience::None {
            self.sends_submitted += 1;
            self.sends_more |= connection.has_more_than_is_sent();
        }
    }

    /// Sends what the cluster bus has gathered in this turn, and asks the ring for what it waits for.
    fn flush_bus(&mut self) {
        self.requests.flush_bus();
        self.requests.bus_orders().into_iter().for_each(|order| order.give_to(&mut self.ring));
        self.requests.target_orders().into_iter().for_each(|order| order.give_to(&mut self.ring));
    }

    /// Shuts the sockets of clients that are to go; they are forgotten once their operations have completed.
    fn close_connections(&mut self) {
        for index in self.requests.take_closable() {
            let Some(connection) = self.requests.connection(index) else { continue };
            shut_down(connection.descriptor());
            connection.is_shut = true;
            if connection.receiving {
                self.ring.cancel(Operation::Receive(index));
            }
            if connection.is_sending {
                self.ring.cancel(Operation::Send(index));
            }
            self.finish_if_shut(index);
        }
    }

    /// Forgets a connection whose socket is shut and whose operations have completed.
    fn finish_if_shut(&mut self, index: u32) {
        if self.requests.forget_if_finished(index) {
            self.census.leave(self.requests.core.id);
        }
    }

    fn signalled(&mut self) {
        let Some(doors) = self.doors.clone() else { return };
        let doors = doors.borrow();
        while let Ok(Some(signal)) = doors.signals.read_signal() {
            if self.requests.underway.is_some() {
                // Nothing has changed that is not on the disk.
                tracing::warn!("Received shutdown signal during loading, exiting now.");
                std::process::exit(0);
            }
            let config = &self.requests.core.config;
            let (name, options) = match signal.ssi_signo == libc::SIGINT as u32 {
                true => ("SIGINT", shutdown::by_signal(config.shutdown_on_sigint)),
                false => ("SIGTERM", shutdown::by_signal(config.shutdown_on_sigterm)),
            };
            tracing::warn!("Received {name} scheduling shutdown...");
            self.requests.end_by_signal(name, options);
        }
    }

    /// The last replies go out with what the sockets take at once.
    fn say_goodbye(&mut self) {
        if self.requests.appends() {
            self.end_append_only();
        }
        self.requests.abandon_link();
        self.requests.on_bus = None;
        // Other cores may still write: the lock on their folder holds until the process has ended.
        std::mem::forget(self.requests.folder.take());
        // Nobody's answers wait for more of them.
        self.shares.turn_begins();
        self.flush_connections();
        let _ = self.ring.enter(0);
        // A core that is behind must still learn that the node ends.
        let begun = Instant::now();
        while self.requests.mesh.flush() && begun.elapsed() < GOODBYE_MAX {
            std::thread::yield_now();
        }
    }
}

fn shut_down(descriptor: RawFd) {
    let _ = nix::sys::socket::shutdown(descriptor, nix::sys::socket::Shutdown::Both);
}
