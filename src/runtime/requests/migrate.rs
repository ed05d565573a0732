//! Keys of this core on their way to other nodes, and the requests that wait for them (see `command::migrate`).
//!
//! ```text
//! a job is new      `attend_migrations`, at the end of each turn: a connection that is kept, or another, or a place in the line
//! it is connected   AUTH and SELECT where they are needed, then the keys: slices of `Dumper`, for a share of the core's time, as long as
//!                   not too much waits to leave
//! replies come      `target_readable`, a line each
//! all is answered   or something went wrong: `end`, the answer, and who has waited runs
//! ```
//!
//! A request that must wait is held here as it came: with its place among its client's replies. A client of this core is not read from
//! meanwhile; of a client of another core all that comes to this one waits behind it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;

use super::Requests;
use crate::base::core_id::CoreId;
use crate::base::slot::{Slot, SlotSet};
use crate::command::blocking;
use crate::command::client::{Caller, ClientRef};
use crate::command::execute::{self, Call};
use crate::command::migrate::{self, Dialogue, Dumper, Outcome};
use crate::command::routing;
use crate::command::spec::Flags;
use crate::command::transactions::{self, Exec};
use crate::resp::ReplyBuffer;
use crate::runtime::batch::{OwnedCall, ReplyTarget};
use crate::runtime::bus::RingOrder;
use crate::runtime::connection::Connection;
use crate::runtime::mesh::Message;
use crate::runtime::migrate::{Event, Found, LINKS_PER_TARGET_MAX, Links, Search, Target};
use crate::runtime::persistence::pace::Pace;

/// While so many bytes wait to leave, no more are made.
const WINDOW_BYTES: usize = 1 << 20;
/// Bytes between two looks at the clock.
const STEP_BYTES: usize = 8 << 10;
/// Keys are dumped for so long before others have their turn.
const SLICE_NS: u64 = 200_000;

/// What waits for keys on their way.
enum Held {
    Call {
        call: Box<OwnedCall>,
        sequence: u32,
    },
    Exec {
        target: ReplyTarget,
        exec: Box<Exec>,
    },
    /// This core's share of a command of all cores.
    Part {
        from: CoreId,
        gather: u32,
        call: Box<OwnedCall>,
    },
    /// The end of watches on this core, before a transaction on another.
    EndWatches {
        from: CoreId,
        ticket: u32,
        client_id: u64,
    },
}

impl Held {
    fn client_id(&self) -> u64 {
        match self {
            Held::Call { call, .. } | Held::Part { call, .. } => call.caller.client.id,
            Held::Exec { exec, .. } => exec.caller.client.id,
            Held::EndWatches { client_id, .. } => *client_id,
        }
    }
}

/// Where a job stands.
enum Stage {
    /// Where the target is has still to be found.
    Searching(Search),
    /// All connections that there may be are in use.
    InLine(Vec<SocketAddr>),
    Connecting {
        link: u32,
        /// Tried if this one fails.
        others: Vec<SocketAddr>,
    },
    Talking {
        link: u32,
    },
    Ended {
        moved: Vec<usize>,
        outcome: Outcome,
    },
}

/// A job under way.
struct Active {
    number: usize,
    target: Target,
    stage: Stage,
    dumper: Dumper,
    dialogue: Dialogue,
    /// When something moved last, in monotonic milliseconds.
    moved_ms: u64,
    timeout_ms: u64,
    has_retried: bool,
}

impl Active {
    fn link(&self) -> Option<u32> {
        match self.stage {
            Stage::Connecting { link, .. } | Stage::Talking { link } => Some(link),
            _ => None,
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended { .. })
    }

    fn deadline_ms(&self) -> u64 {
        self.moved_ms.saturating_add(self.timeout_ms)
    }

    /// It is over: what was acknowledged has moved, and `failure`, if any, is what the client hears.
    fn end(&mut self, failure: Option<Outcome>) {
        let (moved, outcome) = std::mem::take(&mut self.dialogue).into_outcome(failure);
        self.stage = Stage::Ended { moved, outcome };
    }
}

/// One core's part.
#[derive(Default)]
pub(super) struct Migrating {
    links: Links,
    active: Vec<Active>,
    held: VecDeque<Held>,
    pace: Option<Pace>,
}

impl Requests {
    // ---- requests that wait ------------------------------------------------------------------------------------------

    /// A request of a client of this core has to wait for keys on their way.
    #[cold]
    pub(super) fn hold_back(&mut self, connection: &mut Connection, call: &Call<'_>, wanted: bool) {
        let sequence = connection.await_reply(wanted);
        connection.hold_until(sequence);
        self.core.clients[call.caller.client.index as usize].has_footprint = true;
        self.hold_call(call, sequence);
    }

    #[cold]
    pub(super) fn hold_call(&mut self, call: &Call<'_>, sequence: u32) {
        self.hold_until_moved(Held::Call { call: Box::new(OwnedCall::new(call)), sequence });
    }

    #[cold]
    pub(super) fn hold_exec(&mut self, target: ReplyTarget, exec: Box<Exec>) {
        self.hold_until_moved(Held::Exec { target, exec });
    }

    /// This core's share of a command of all cores, of a client that waits here. It comes back when it need not wait.
    pub(super) fn hold_part(&mut self, from: CoreId, gather: u32, call: Box<OwnedCall>) -> Option<Box<OwnedCall>> {
        if !self.core.migrations.is_active() || !self.core.migrations.holds_client(call.caller.client.id) {
            return Some(call);
        }
        self.hold_until_moved(Held::Part { from, gather, call });
        None
    }

    /// The same for the end of a client's watches. True when it waits.
    pub(super) fn hold_end_of_watches(&mut self, from: CoreId, ticket: u32, client_id: u64) -> bool {
        let waits = self.core.migrations.is_active() && self.core.migrations.holds_client(client_id);
        if waits {
            self.hold_until_moved(Held::EndWatches { from, ticket, client_id });
        }
        waits
    }

    /// Whether shares of commands of all cores wait here.
    pub(super) fn holds_shares(&self) -> bool {
        self.key_moves.held.iter().any(|held| matches!(held, Held::Part { .. } | Held::EndWatches { .. }))
    }

    /// Whether requests for these slots wait here.
    pub(super) fn holds_requests_for(&self, slots: &SlotSet) -> bool {
        let is_among = |slot: Option<Slot>| slot.is_some_and(|slot| slots.contains(slot));
        self.key_moves.held.iter().any(|held| match held {
            Held::Call { call, .. } => is_among(call.slot),
            Held::Exec { exec, .. } => exec.queue.iter().any(|queued| is_among(queued.slot)),
            Held::Part { .. } | Held::EndWatches { .. } => true,
        })
    }

    fn hold_until_moved(&mut self, held: Held) {
        self.core.migrations.note_waiting(held.client_id());
        self.key_moves.held.push_back(held);
    }

    /// A client has gone: what it has asked to be written is, and nobody hears the rest.
    pub(super) fn forget_held(&mut self, client: ClientRef) {
        let migrations = &mut self.core.migrations;
        self.key_moves.held.retain(|held| {
            let is_kept = match held {
                Held::Call { call, .. } if call.caller.client.id == client.id => {
                    let spec = call.command.spec();
                    spec.flags.has(Flags::WRITE) && !spec.flags.has(Flags::BLOCKING)
                }
                _ => true,
            };
            if !is_kept {
                migrations.note_released(client.id);
            }
            is_kept
        });
    }

    /// Runs what need not wait any more, in the order in which it came.
    fn run_held(&mut self) {
        let held = std::mem::take(&mut self.key_moves.held);
        held.iter().for_each(|held| self.core.migrations.note_released(held.client_id()));
        for held in held {
            let migrations = &self.core.migrations;
            let waits_on = migrations.is_active()
                && match &held {
                    Held::Call { call, .. } => migrations.holds(&call.as_call()),
                    Held::Exec { exec, .. } => migrations.holds_transaction(exec),
                    Held::Part { .. } | Held::EndWatches { .. } => migrations.holds_client(held.client_id()),
                };
            if waits_on {
                self.hold_until_moved(held);
            } else {
                self.core.stats.last_instant_ns = self.core.nanos.now_ns();
                self.run_late(held);
            }
        }
        self.carry_out_effects();
    }

    fn run_late(&mut self, held: Held) {
        match held {
            Held::Call { call, sequence } => self.run_call_late(&call.as_call(), sequence),
            Held::Exec { target, mut exec } => match routing::judge_transaction_late(&self.core, &exec) {
                Ok(is_slot_open) => {
                    exec.caller.is_slot_open = is_slot_open;
                    self.run_exec(target, exec);
                }
                Err(error) => {
                    let mut reply = Box::new(ReplyBuffer::new());
                    transactions::refuse_late(&mut self.core, &exec, &error, &mut reply);
                    self.answer(target, reply);
                }
            },
            Held::Part { from, gather, call } => self.run_part_for(from, gather, &call),
            Held::EndWatches { from, ticket, client_id } => self.end_watches_for(from, ticket, client_id),
        }
    }

    fn run_call_late(&mut self, call: &Call<'_>, sequence: u32) {
        let target = ReplyTarget { client: call.caller.client, sequence };
        let mut reply = Box::new(ReplyBuffer::new());
        // Whatever the slot is by now.
        let before = self.before_call(&Caller { is_slot_open: true, ..call.caller });
        let mut call = Call { command: call.command, caller: call.caller, slot: call.slot, args: call.args };
        match routing::judge_late(&self.core, &call) {
            Err(error) => execute::refuse(&mut self.core, Some(call.command), &error, &mut reply),
            Ok(is_slot_open) => {
                call.caller.is_slot_open = is_slot_open;
                if !call.may_wait() {
                    execute::run(&mut self.core, &call, &mut reply);
                } else if !blocking::run(&mut self.core, &call, sequence, &mut reply) {
                    return;
                }
            }
        }
        self.answer_durably(before, target, reply);
    }

    // ---- jobs --------------------------------------------------------------------------------------------------------

    /// The end of a turn: takes up new jobs, goes on with those under way. True when there was anything to do.
    pub fn attend_key_moves(&mut self) -> bool {
        let has_restored = self.makes_values() && self.restore_slices();
        if !self.core.migrations.has_fresh() && self.key_moves.active.is_empty() {
            if has_restored {
                self.carry_out_effects();
                self.run_held();
            }
            return has_restored;
        }
        for number in self.core.migrations.take_fresh() {
            self.take_up(number);
        }
        if self.are_moves_called_off() {
            self.call_off_migrations();
        }
        for place in 0..self.key_moves.active.len() {
            self.advance(place);
        }
        self.dump_slices();
        for place in 0..self.key_moves.active.len() {
            self.send_on(place);
        }
        let has_ended = self.end_migrations();
        self.core.migrations.sockets_count = self.key_moves.links.len();
        if has_ended || has_restored {
            self.carry_out_effects();
            self.run_held();
            // Their connections are free: others have waited for one.
            self.key_moves.active.iter().any(|active| matches!(active.stage, Stage::InLine(_)))
        } else {
            false
        }
    }

    /// Whether values are in the making, and may become keys.
    fn makes_values(&self) -> bool {
        self.core.migrations.has_restores() && (self.are_moves_called_off() || !self.core.holds_late_writes())
    }

    /// Whether this node has another role, or other data.
    fn are_moves_called_off(&self) -> bool {
        self.core.replication.role.is_replica() || self.core.disk.loading
    }

    /// Whether there is something to do at once.
    pub(super) fn has_key_moves_work(&self) -> bool {
        self.core.migrations.has_fresh()
            || self.is_dumping() && self.key_moves.pace.is_none_or(|pace| pace.has_time())
            || !self.key_moves.links.orders.is_empty()
    }

    /// Whether keys are to be dumped or made, now or when there is time for it.
    pub fn is_dumping(&self) -> bool {
        self.makes_values() || self.key_moves.active.iter().any(|active| self.wants_slice(active))
    }

    fn wants_slice(&self, active: &Active) -> bool {
        match active.stage {
            Stage::Talking { link } => {
                !active.dumper.is_done(self.core.migrations.job(active.number))
                    && self.key_moves.links.queued_bytes(link) < WINDOW_BYTES
            }
            _ => false,
        }
    }

    fn take_up(&mut self, number: usize) {
        let order = &self.core.migrations.job(number).order;
        let target = Target { host: order.host.clone(), port: order.port.clone() };
        let (moved_ms, timeout_ms) = (self.now_ms(), order.timeout_ms);
        let (dumper, dialogue) = (Dumper::new(&self.core), Dialogue::default());
        let stage = Stage::InLine(Vec::new());
        let mut active = Active { number, target, stage, dumper, dialogue, moved_ms, timeout_ms, has_retried: false };
        self.begin(&mut active);
        self.key_moves.active.push(active);
    }

    /// Begins, once more: on a connection that is kept, or by finding out where the target is.
    fn begin(&mut self, active: &mut Active) {
        active.moved_ms = self.now_ms();
        if let Some(link) = self.key_moves.links.take_kept(&active.target) {
            return self.talk(active, link);
        }
        if let Some(address) = active.target.address() {
            return self.connect(active, vec![address]);
        }
        active.stage = match active.target.search(self.mesh.bell_pull()) {
            Some(search) => Stage::Searching(search),
            None => Stage::Ended { moved: Vec::new(), outcome: Outcome::Unreachable },
        };
    }

    /// Connects to the first of these that can be connected to, when there may be one more connection.
    fn connect(&mut self, active: &mut Active, mut addresses: Vec<SocketAddr>) {
        let links = &mut self.key_moves.links;
        if links.count_to(&active.target) >= LINKS_PER_TARGET_MAX || !links.make_room() {
            active.stage = Stage::InLine(addresses);
            return;
        }
        while !addresses.is_empty() {
            let address = addresses.remove(0);
            if let Ok(link) = links.connect(active.target.clone(), address, self.core.config.tcp_keepalive) {
                active.stage = Stage::Connecting { link, others: addresses };
                return;
            }
        }
        active.end(Some(Outcome::Unreachable));
    }

    fn talk(&mut self, active: &mut Active, link: u32) {
        let order = &self.core.migrations.job(active.number).order;
        let mut bytes = Vec::new();
        active.dialogue = Dialogue::begin(order, self.key_moves.links.selected_db(link), &mut bytes);
        active.dumper.restart();
        active.moved_ms = self.core.clock.monotonic_us() / 1000;
        if !bytes.is_empty() {
            self.key_moves.links.push(link, Bytes::from(bytes));
        }
        active.stage = Stage::Talking { link };
    }

    /// This core's account of what it dumps and makes, as of now.
    fn pace(&mut self) -> (Pace, u64) {
        let now_ns = self.core.nanos.now_ns();
        let requests = self.core.stats.commands_processed;
        let share = Pace::share(false, self.core.facts.cores_count);
        let mut pace = *self.key_moves.pace.get_or_insert_with(|| Pace::new(share, now_ns, requests));
        pace.earn(now_ns, requests);
        (pace, now_ns)
    }

    /// Lets `work` have a job and everything else at the same time.
    fn with_active(&mut self, place: usize, work: impl FnOnce(&mut Requests, &mut Active)) {
        let mut active = self.key_moves.active.swap_remove(place);
        work(self, &mut active);
        self.key_moves.active.push(active);
        let last = self.key_moves.active.len() - 1;
        self.key_moves.active.swap(place, last);
    }

    /// Goes on with a job that waits to be connected.
    fn advance(&mut self, place: usize) {
        self.with_active(place, |requests, active| match &mut active.stage {
            Stage::Searching(search) => {
                if let Found::Addresses(addresses) = search.found() {
                    requests.connect(active, addresses);
                }
            }
            Stage::InLine(addresses) => {
                let addresses = std::mem::take(addresses);
                match requests.key_moves.links.take_kept(&active.target) {
                    Some(link) => requests.talk(active, link),
                    None => requests.connect(active, addresses),
                }
            }
            _ => {}
        });
    }

    /// Dumps keys of all jobs that have room for it, for a share of the core's time.
    fn dump_slices(&mut self) {
        if !self.key_moves.active.iter().any(|active| self.wants_slice(active)) {
            return;
        }
        let (mut pace, begun_ns) = self.pace();
        let mut now_ns = begun_ns;
        for place in 0..self.key_moves.active.len() {
            let has_time = |now_ns: u64| now_ns.saturating_sub(begun_ns) < SLICE_NS;
            if !pace.has_time() || !has_time(now_ns) {
                break;
            }
            self.with_active(place, |requests, active| {
                while has_time(now_ns) && requests.wants_slice(active) {
                    requests.dump_step(active);
                    now_ns = requests.core.nanos.now_ns();
                }
            });
        }
        pace.spend(now_ns.saturating_sub(begun_ns));
        self.key_moves.pace = Some(pace);
        // Keys may have been found to have expired.
        self.core.settle();
        self.core.journal.close_unit();
    }

    /// Goes on with values in the making, for a share of the core's time. True when one was made and has been answered for.
    fn restore_slices(&mut self) -> bool {
        let (mut pace, begun_ns) = self.pace();
        let (mut now_ns, mut made) = (begun_ns, Vec::new());
        while pace.has_time() && now_ns.saturating_sub(begun_ns) < SLICE_NS {
            let Some(restore) = migrate::Restore::go_on(&mut self.core) else { break };
            made.extend(restore);
            now_ns = self.core.nanos.now_ns();
        }
        pace.spend(now_ns.saturating_sub(begun_ns));
        self.key_moves.pace = Some(pace);
        let has_made = !made.is_empty();
        for restore in made {
            let sequence = restore.sequence;
            self.core.stats.last_instant_ns = self.core.nanos.now_ns();
            let call = restore.prepare(&mut self.core);
            self.run_call_late(&call.as_call(), sequence);
            migrate::Restore::done(&mut self.core);
        }
        has_made
    }

    fn dump_step(&mut self, active: &mut Active) {
        let Stage::Talking { link } = active.stage else { return };
        active.dumper.go_on(&mut self.core, active.number, STEP_BYTES);
        let (pieces, complete) = active.dumper.take();
        pieces.into_iter().for_each(|piece| self.key_moves.links.push(link, piece));
        complete.into_iter().for_each(|place| active.dialogue.expect_key(place));
        active.moved_ms = self.core.clock.monotonic_us() / 1000;
    }

    /// Sends what the socket takes, and looks whether all is said and answered.
    fn send_on(&mut self, place: usize) {
        self.with_active(place, |requests, active| {
            let Stage::Talking { link } = active.stage else { return };
            match requests.key_moves.links.flush(link) {
                Ok(0) => {}
                Ok(_) => active.moved_ms = requests.now_ms(),
                Err(_) => return requests.lost(active, false),
            }
            let job = requests.core.migrations.job(active.number);
            let is_sent = active.dumper.is_done(job) && requests.key_moves.links.queued_bytes(link) == 0;
            if is_sent && active.dialogue.is_answered() {
                let selected_db = active.dialogue.has_selected().then_some(job.order.db);
                let now_ms = requests.now_ms();
                requests.key_moves.links.keep(link, selected_db, now_ms);
                active.end(None);
            }
        });
    }

    /// The connection is of no use any more. Before a key was spoken of it is tried once more, unless time is over.
    fn lost(&mut self, active: &mut Active, is_late: bool) {
        match std::mem::replace(&mut active.stage, Stage::InLine(Vec::new())) {
            Stage::Connecting { link, others } => {
                self.key_moves.links.close(link);
                if is_late {
                    active.end(Some(Outcome::Unreachable));
                } else if !others.is_empty() {
                    self.connect(active, others);
                } else {
                    // Redis finds out when it writes, and tries once more.
                    self.try_again(active, Outcome::Broken { while_writing: true });
                }
            }
            Stage::Talking { link } => {
                let is_dumped = active.dumper.is_done(self.core.migrations.job(active.number));
                let while_writing = !is_dumped || self.key_moves.links.queued_bytes(link) > 0;
                self.key_moves.links.close(link);
                let broken = Outcome::Broken { while_writing };
                if is_late || active.dialogue.has_heard_of_keys() {
                    active.end(Some(broken));
                } else {
                    self.try_again(active, broken);
                }
            }
            Stage::Searching(_) | Stage::InLine(_) => active.end(Some(Outcome::Unreachable)),
            ended @ Stage::Ended { .. } => active.stage = ended,
        }
    }

    /// Begins anew, if that has not been done before.
    fn try_again(&mut self, active: &mut Active, failure: Outcome) {
        if active.has_retried {
            return active.end(Some(failure));
        }
        active.has_retried = true;
        self.begin(active);
    }

    /// No job goes on.
    fn call_off_migrations(&mut self) {
        for place in 0..self.key_moves.active.len() {
            self.with_active(place, |requests, active| {
                if let Some(link) = active.link() {
                    requests.key_moves.links.close(link);
                }
                active.stage = Stage::Ended { moved: Vec::new(), outcome: Outcome::Broken { while_writing: false } };
            });
        }
    }

    /// Answers those that have ended, unless writes are held. True when there were any.
    fn end_migrations(&mut self) -> bool {
        let is_held = self.core.holds_late_writes() && !self.are_moves_called_off();
        if is_held || !self.key_moves.active.iter().any(Active::has_ended) {
            return false;
        }
        let active = std::mem::take(&mut self.key_moves.active);
        for active in active {
            let Stage::Ended { moved, outcome } = active.stage else {
                self.key_moves.active.push(active);
                continue;
            };
            let before = self.core.journal.position();
            let answer = migrate::end(&mut self.core, active.number, &moved, outcome);
            let target = ReplyTarget { client: answer.client, sequence: answer.sequence };
            self.answer_durably(before, target, answer.reply);
        }
        true
    }

    // ---- what the ring says ------------------------------------------------------------------------------------------

    /// What the ring is to do for connections to targets.
    pub fn target_orders(&mut self) -> Vec<RingOrder> {
        std::mem::take(&mut self.key_moves.links.orders)
    }

    pub fn target_readable(&mut self, link: u32) {
        let event = self.key_moves.links.readable(link);
        self.target_event(link, event);
    }

    pub fn target_writable(&mut self, link: u32) {
        let event = self.key_moves.links.writable(link);
        self.target_event(link, event);
    }

    fn target_event(&mut self, link: u32, event: Option<Event>) {
        let Some(event) = event else { return };
        let Some(place) = self.key_moves.active.iter().position(|active| active.link() == Some(link)) else {
            // Nobody has asked for anything: it is of no use any more.
            return self.key_moves.links.close(link);
        };
        self.with_active(place, |requests, active| {
            active.moved_ms = requests.now_ms();
            match event {
                Event::Open => requests.talk(active, link),
                Event::Room => {}
                Event::Lines(lines) => {
                    if !lines.iter().all(|line| active.dialogue.heard(line)) {
                        requests.lost(active, false);
                    }
                }
                Event::Lost(lines) => {
                    lines.iter().for_each(|line| _ = active.dialogue.heard(line));
                    requests.lost(active, false);
                }
            }
        });
    }

    /// When the first of the jobs has waited long enough, in monotonic milliseconds.
    pub fn next_target_deadline_ms(&self) -> Option<u64> {
        self.key_moves.active.iter().filter(|active| !active.has_ended()).map(Active::deadline_ms).min()
    }

    /// Ends jobs in which nothing has moved for too long.
    pub(super) fn time_out_targets(&mut self) {
        let now_ms = self.now_ms();
        for place in 0..self.key_moves.active.len() {
            self.with_active(place, |requests, active| {
                if active.has_ended() || active.deadline_ms() > now_ms {
                    return;
                }
                // What this core has not got to is not the target's fault.
                match requests.wants_slice(active) {
                    true => active.moved_ms = now_ms,
                    false => requests.lost(active, true),
                }
            });
        }
    }

    /// Periodic work: connections that nobody has used for a while go.
    pub(super) fn tick_key_moves(&mut self) {
        let now_ms = self.now_ms();
        self.key_moves.links.close_unused(now_ms);
        self.core.migrations.sockets_count = self.key_moves.links.len();
    }

    // ---- what other cores have sent ----------------------------------------------------------------------------------

    /// This core's share of a command of every core.
    pub(super) fn run_part_for(&mut self, from: CoreId, gather: u32, call: &OwnedCall) {
        let before = self.core.journal.position();
        let share = self.run_part(&call.as_call());
        if self.must_hold_share(before) {
            self.hold_share(from, gather, share);
        } else {
            self.mesh.send(from, Message::Share { gather, share });
        }
    }

    pub(super) fn end_watches_for(&mut self, from: CoreId, ticket: u32, client_id: u64) {
        let intact = transactions::end_watches(&mut self.core, client_id);
        self.mesh.send(from, Message::WatchesEnded { ticket, intact });
    }
}
