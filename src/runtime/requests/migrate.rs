//! Keys of this core on their way to other nodes (see `command::migrate`); the requests that wait for them are in `held`.
//!
//! ```text
//! a job is new      `attend_migrations`, at the end of each turn: a connection that is kept, or another, or a place in the line
//! it is connected   AUTH and SELECT where they are needed, then the keys: slices of `Dumper`, for a share of the core's time, as long as
//!                   not too much waits to leave
//! replies come      `target_readable`, a line each
//! all is answered   or something went wrong: `end`, the answer, and who has waited runs
//! ```

use std::net::SocketAddr;

use bytes::Bytes;

use super::Requests;
use crate::command::migrate::{self, Dialogue, Dumper, Outcome};
use crate::runtime::batch::ReplyTarget;
use crate::runtime::bus::RingOrder;
use crate::runtime::migrate::{Event, Found, LINKS_PER_TARGET_MAX, Links, Search, Target};
use crate::runtime::persistence::pace::Pace;

/// While so many bytes wait to leave, no more are made.
const WINDOW_BYTES: usize = 1 << 20;
/// Bytes between two looks at the clock.
const STEP_BYTES: usize = 8 << 10;
/// Keys are dumped for so long before others have their turn.
const SLICE_NS: u64 = 200_000;

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
    pace: Option<Pace>,
}

impl Requests {
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
}
