//! Slots that move to another node as a whole: the jobs of a node, and what each does next (CLUSTER MIGRATESLOTS).
//!
//! Pure: what was heard, lost or found out goes in with the time, as an [`Event`]; what is to be done comes out as [`Act`]s.
//! `runtime::requests::migration` carries them out. The words between the nodes, the names of the states and the texts are Valkey 9's
//! (CLUSTER SYNCSLOTS), so that slots also move between a slotcore node and a Valkey node.
//!
//! The way of a migration. The source connects to the target's client port; all that follows goes over that connection, as requests
//! in both directions.
//!
//! ```text
//! source                                              target
//! connecting .. reading-establish-response
//!    AUTH, ESTABLISH SOURCE id NAME job SLOTSRANGE .. ->   hides the slots, tells its replicas and files: +OK, waiting-for-ack
//! waiting-to-snapshot: ACK                           ->   receiving-snapshot
//! snapshotting: each core walks through the slots one after the other and sends the keys as commands; a slot that is
//!    through is followed by what changes in it       ->   applies them on the cores that own the slots
//! replicating: SNAPSHOT-EOF                          ->   waiting-for-paused
//! waiting-to-pause                                   <-   REQUEST-PAUSE
//!    when little enough waits in the connection, writes to the slots are held on all cores
//! failover-paused: PAUSED, and nothing behind it     ->   has applied all that came before: failover-requested
//! failover-granted                                   <-   REQUEST-FAILOVER
//!    FAILOVER-GRANTED                                ->   failover-granted: a new epoch, the slots are its own, on disk; success
//! hears of it on the bus: success; MOVED for those who were held, and the keys go
//! ```
//!
//! Who owns the slots is decided in one place and at one moment: the target's nodes.conf with the claim. Until then nothing has
//! happened but that the target has keys that nobody sees; they are dropped whenever its job ends otherwise. So before the grant either
//! side gives up by itself, whatever went wrong: the connection is closed, the other side sees it, and the source has lost
//! nothing.
//!
//! What is granted cannot be taken back by closing a connection. The target takes the slots within [`CLAIM_WITHIN_MS`] of its request
//! or never (it counts from before it asked); the source, which counts from when it granted, holds the writes for [`GRANT_MS`], which is
//! longer, and then until it *knows*:
//!
//! | what the source learns                                         | what it does                                             |
//! |----------------------------------------------------------------|----------------------------------------------------------|
//! | the target, or its successor, claims the slots                  | success: MOVED, the keys are dropped                     |
//! | the target answers a ping that was sent after the time was over, and does not claim them | failed: the writes go on here    |
//! | a majority has found the target failing (FAIL), or it is forgotten | takes the slots for itself with an epoch beyond any that the target can have claimed them with, on disk; failed, the writes go on |
//! | this node is a replica by now, or the slots are a third node's  | failed: they are somebody else's affair                  |
//!
//! A target that comes back with its claim has the smaller epoch then, gives the slots up and drops the keys. A source that is killed
//! after the grant comes back, hears of the claim before it serves (a node is silent for two seconds after its start), and gives up
//! the slots; its replica is not voted for by those who have heard of the claim, and learns of it.
//!
//! A target's job is known to its replicas and files by the same words (ESTABLISH, FINISH), as `occurring-on-primary`: a replica hides the
//! slots too, and when it is promoted, or a node starts and its files have no FINISH, the keys are dropped.

mod export;
mod import;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::base::hex::HexId;
use crate::base::slot::{Slot, SlotSet};

/// The target claims within so many milliseconds of its request for the grant, or not at all.
pub const CLAIM_WITHIN_MS: u64 = 1000;
/// The source holds writes so long from the grant on at least, whatever it hears. As Valkey's CLUSTER_OPERATION_TIMEOUT.
pub const GRANT_MS: u64 = 2000;
/// Writes are held so long at most before the target has asked for the grant. As Valkey's: twice the time of a manual failover.
pub const PAUSE_MS: u64 = 10_000;
/// Either side says so often that it is there.
const ACK_EVERY_MS: u64 = 1000;

/// Which end of a migration a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The slots are this node's, and are to go.
    Export,
    /// They are to come.
    Import,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    // Of the target.
    WaitingForAck,
    ReceivingSnapshot,
    WaitingForPaused,
    FailoverRequested,
    /// Of the source: it has granted. Of the target: it claims.
    FailoverGranted,
    CleaningUp,
    OccurringOnPrimary,
    // Of the source.
    Connecting,
    ReadingEstablishResponse,
    WaitingToSnapshot,
    Snapshotting,
    Replicating,
    WaitingToPause,
    FailoverPaused,
    // The end.
    Success,
    Cancelled,
    Failed,
}

impl State {
    /// As CLUSTER GETSLOTMIGRATIONS names it.
    pub fn name(self) -> &'static str {
        match self {
            State::WaitingForAck => "waiting-for-ack",
            State::ReceivingSnapshot => "receiving-snapshot",
            State::WaitingForPaused => "waiting-for-paused",
            State::FailoverRequested => "failover-requested",
            State::FailoverGranted => "failover-granted",
            State::CleaningUp => "cleaning-up",
            State::OccurringOnPrimary => "occurring-on-primary",
            State::Connecting => "connecting",
            State::ReadingEstablishResponse => "reading-establish-response",
            State::WaitingToSnapshot => "waiting-to-snapshot",
            State::Snapshotting => "snapshotting",
            State::Replicating => "replicating",
            State::WaitingToPause => "waiting-to-pause",
            State::FailoverPaused => "failover-paused",
            State::Success => "success",
            State::Cancelled => "cancelled",
            State::Failed => "failed",
        }
    }

    /// Nothing more is to be done; the job is there to be looked at.
    pub fn is_over(self) -> bool {
        matches!(self, State::Success | State::Cancelled | State::Failed)
    }

    /// It may still succeed.
    pub fn is_under_way(self) -> bool {
        !self.is_over() && self != State::CleaningUp
    }
}

/// A word of one end to the other: CLUSTER SYNCSLOTS and this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Ack,
    SnapshotEof,
    RequestPause,
    Paused,
    RequestFailover,
    FailoverGranted,
}

impl Word {
    const ALL: [Word; 6] =
        [Word::Ack, Word::SnapshotEof, Word::RequestPause, Word::Paused, Word::RequestFailover, Word::FailoverGranted];

    pub fn text(self) -> &'static str {
        match self {
            Word::Ack => "ACK",
            Word::SnapshotEof => "SNAPSHOT-EOF",
            Word::RequestPause => "REQUEST-PAUSE",
            Word::Paused => "PAUSED",
            Word::RequestFailover => "REQUEST-FAILOVER",
            Word::FailoverGranted => "FAILOVER-GRANTED",
        }
    }

    pub fn parse(text: &[u8]) -> Option<Word> {
        Word::ALL.into_iter().find(|word| word.text().as_bytes().eq_ignore_ascii_case(text))
    }
}

/// Whose the slots of a job are, as this node has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Source,
    Target,
    /// Another node, several, or nobody.
    Other,
}

/// What the source knows of a target that it has granted the slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetFacts {
    /// Of the last ping that it has answered: when that was sent, in monotonic milliseconds.
    pub answered_ms: u64,
    /// A majority cannot reach it, or it is no member any more.
    pub has_failed: bool,
}

/// What has come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The other end has said something.
    Heard(Word),
    /// The source is connected to the target.
    Connected,
    /// The target has accepted the job.
    Established,
    /// The connection could not be made, or the target has refused: why.
    Refused(String),
    /// The connection is gone.
    Lost,
    /// All keys of the slots are on their way.
    SnapshotSent,
    /// So many bytes wait in the connection; looked at each turn while it matters.
    Queued { bytes: u64 },
    /// Nothing is written to the slots any more, and all that was is on its way.
    Quiet,
    /// Whose the slots are.
    Owned(Owner),
    /// What is known of the target.
    Target(TargetFacts),
    /// The claim is on disk, or is not: why.
    Claimed(Result<(), String>),
    /// No key of the slots is left here.
    Dropped,
    /// This node is a replica from now on.
    Demoted,
    /// This node, which was a replica, is a primary from now on.
    Promoted,
    /// CLUSTER CANCELSLOTMIGRATIONS.
    Cancelled,
    /// All keys of this node were removed.
    Flushed,
    /// Something that the other end sent could not be done, or the job cannot go on: why.
    Broken(String),
    /// The primary, or the file, says how it ended.
    Finished { succeeded: bool, message: String },
    /// Time passes.
    Tick,
}

/// What is to be done for a job, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Connect to the target, and have it accept the job; `Connected`, `Established` or `Refused` follow.
    Connect,
    /// Say this to the other end.
    Say(Word),
    /// Let the cores walk; `SnapshotSent` follows.
    Walk,
    /// Hold writes to the slots; `Quiet` follows when all cores do.
    Hold,
    /// Let them go.
    Release,
    /// Give nothing more to the connection, and close it.
    Close,
    /// Take the slots: an epoch, on disk. `Claimed` follows.
    Claim,
    /// The other side may have claimed the slots and is gone: claim them for this node with an epoch beyond that.
    Reclaim,
    /// Drop the keys of the slots that are not this node's; `Dropped` follows.
    Drop,
    /// Replicas and files are to know that the job is over, and how.
    TellEnd,
}

/// What limits a job, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `repl-timeout`.
    pub silence_ms: u64,
    /// `slot-migration-max-failover-repl-bytes`; none for no limit.
    pub pause_below_bytes: Option<u64>,
}

/// The moment of an event.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Monotonic milliseconds.
    pub ms: u64,
    pub unix_s: i64,
}

/// One migration, as one of its ends has it.
#[derive(Clone, Debug)]
pub struct Job {
    pub name: HexId,
    pub end: End,
    /// As they were asked for.
    pub ranges: Vec<(Slot, Slot)>,
    pub slots: Box<SlotSet>,
    /// Not known where another node has them to itself.
    pub source: Option<HexId>,
    pub target: Option<HexId>,
    pub state: State,
    /// Why it ended.
    pub message: String,
    pub created_s: i64,
    pub updated_s: i64,
    pub acked_s: i64,
    /// Of a source: keys that the walk has given to the connection, and all bytes.
    pub sent_keys: u64,
    pub sent_bytes: u64,
    /// Of a source: bytes that waited in the connection when it was last looked at.
    queued_bytes: u64,
    /// When the other end was last heard, and when it was last told that this one is here.
    heard_ms: u64,
    told_ms: u64,
    /// Of a source: writes are held, until then if nothing comes of it; and when the grant is over.
    holds: bool,
    holds_until_ms: u64,
    /// Of a target: when it has asked for the grant.
    asked_ms: u64,
    /// The connection is there, as far as the job knows.
    is_linked: bool,
    /// Of a source that has granted: CLUSTER CANCELSLOTMIGRATIONS came too late, but counts if nothing comes of it.
    is_cancelled: bool,
}

impl Job {
    fn new(name: HexId, end: End, ranges: Vec<(Slot, Slot)>, state: State, now: Moment) -> Job {
        let slots = ranges.iter().flat_map(|(first, last)| (first.get()..=last.get()).map(Slot::new)).collect();
        Job {
            name,
            end,
            ranges,
            slots: Box::new(slots),
            source: None,
            target: None,
            state,
            message: String::new(),
            created_s: now.unix_s,
            updated_s: now.unix_s,
            acked_s: now.unix_s,
            sent_keys: 0,
            sent_bytes: 0,
            queued_bytes: 0,
            heard_ms: now.ms,
            told_ms: now.ms,
            holds: false,
            holds_until_ms: 0,
            asked_ms: 0,
            is_linked: false,
            is_cancelled: false,
        }
    }

    /// It goes on elsewhere: this node only knows of it.
    pub fn is_only_known(&self) -> bool {
        self.source.is_none()
    }

    /// The slots as they are shown: `0-5 9-9`.
    pub fn ranges_text(&self) -> String {
        let texts: Vec<String> = self.ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        texts.join(" ")
    }

    /// As a snapshot has it: the name, and the ranges.
    pub fn fact(&self) -> String {
        format!("{} {}", self.name, self.ranges_text())
    }

    /// Bytes that the target has still to be sent, of those that are on their way; none once it is over.
    pub fn waiting_bytes(&self) -> u64 {
        if self.state.is_over() { 0 } else { self.queued_bytes }
    }

    /// Writes to its slots are held.
    pub fn holds_writes(&self) -> bool {
        self.holds
    }

    /// Whether its keys are here and must not be seen.
    pub fn hides_slots(&self) -> bool {
        self.end == End::Import && !self.state.is_over()
    }

    /// For the log.
    fn description(&self) -> String {
        let (operation, other, id) = match self.end {
            End::Export => ("export", "target_node_id", self.target),
            End::Import => ("import", "source_node_id", self.source),
        };
        let id = id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
        format!("{{name: {}, operation: {operation}, {other}: {id}, slots: {}}}", self.name, self.ranges_text())
    }

    fn go_to(&mut self, now: Moment, state: State) {
        tracing::info!(
            "Slot migration {} state transition: {} -> {}",
            self.description(),
            self.state.name(),
            state.name()
        );
        (self.state, self.updated_s) = (state, now.unix_s);
    }

    /// It is over.
    fn end_as(&mut self, now: Moment, state: State) {
        self.go_to(now, state);
        let message = if self.message.is_empty() { "none" } else { &self.message };
        let line =
            format!("Slot migration {} finished. State: {}, Message: {message}", self.description(), state.name());
        if state == State::Failed { tracing::warn!("{line}") } else { tracing::info!("{line}") }
    }

    /// Closes the connection if there is one.
    fn close(&mut self, acts: &mut Vec<Act>) {
        if std::mem::take(&mut self.is_linked)
            || matches!(self.state, State::Connecting | State::ReadingEstablishResponse)
        {
            acts.push(Act::Close);
        }
    }

    /// Says at times that this end is there.
    fn keep_in_touch(&mut self, now: Moment, acts: &mut Vec<Act>) {
        if now.ms.saturating_sub(self.told_ms) >= ACK_EVERY_MS {
            self.told_ms = now.ms;
            acts.push(Act::Say(Word::Ack));
        }
    }

    fn is_silent(&self, now: Moment, limits: &Limits) -> bool {
        now.ms.saturating_sub(self.heard_ms) > limits.silence_ms
    }
}

const SILENT: &str = "Timed out after too long with no interaction";
const OUT_OF_TURN: &str = "Unexpected state machine transition";

/// All jobs of a node, the latest first.
#[derive(Debug, Default)]
pub struct Jobs {
    list: VecDeque<Job>,
}

impl Jobs {
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.list.iter()
    }

    /// Counts what a source has given to its connection.
    pub fn note_sent(&mut self, name: &HexId, keys: u64, bytes: u64) {
        if let Some(job) = self.list.iter_mut().find(|job| job.name == *name) {
            job.sent_keys += keys;
            job.sent_bytes += bytes;
        }
    }

    /// Takes note of how much of a source waits in its connection.
    pub fn note_queued(&mut self, name: &HexId, bytes: u64) {
        if let Some(job) = self.list.iter_mut().find(|job| job.name == *name) {
            job.queued_bytes = bytes;
        }
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn get(&self, name: &HexId) -> Option<&Job> {
        self.list.iter().find(|job| job.name == *name)
    }

    /// A job of this node as the source. `Act::Connect` is to be done.
    pub fn begin_export(&mut self, now: Moment, name: HexId, ranges: Vec<(Slot, Slot)>, source: HexId, target: HexId) {
        let mut job = Job::new(name, End::Export, ranges, State::Connecting, now);
        (job.source, job.target) = (Some(source), Some(target));
        self.list.push_front(job);
    }

    /// A job that another node has begun, with this one as the target, and whose connection has come.
    pub fn begin_import(&mut self, now: Moment, name: HexId, ranges: Vec<(Slot, Slot)>, source: HexId, target: HexId) {
        let mut job = Job::new(name, End::Import, ranges, State::WaitingForAck, now);
        (job.source, job.target, job.is_linked) = (Some(source), Some(target), true);
        tracing::info!("New slot import job created: {}.", job.description());
        self.list.push_front(job);
    }

    /// A job of this node's primary, or one that a file tells of.
    pub fn note_import(&mut self, now: Moment, name: HexId, ranges: Vec<(Slot, Slot)>) {
        if self.get(&name).is_none() {
            let job = Job::new(name, End::Import, ranges, State::OccurringOnPrimary, now);
            tracing::info!("New slot import job created: {}.", job.description());
            self.list.push_front(job);
        }
    }

    /// As `note_import`, from [`Job::fact`]. What is none says nothing.
    pub fn note_fact(&mut self, now: Moment, fact: &str) {
        let mut words = fact.split(' ');
        let Some(name) = words.next().and_then(|name| HexId::parse(name.as_bytes())) else { return };
        let slot = |digits: &str| digits.parse::<i64>().ok().and_then(Slot::checked);
        let range = |text: &str| {
            let (first, last) = text.split_once('-')?;
            slot(first).zip(slot(last))
        };
        self.note_import(now, name, words.filter_map(range).collect());
    }

    /// A job is over that began before anything that this node has read: it is not to be taken for open by what is read later.
    pub fn note_end(&mut self, now: Moment, limits: &Limits, name: &HexId, succeeded: bool, message: String) {
        if self.get(name).is_none() {
            self.note_import(now, *name, Vec::new());
        }
        // It asks for nothing.
        let _ = self.handle(now, limits, name, Event::Finished { succeeded, message });
    }

    /// Forgets all jobs that are only known: other data come in place of those that they were about.
    pub fn forget_known(&mut self) {
        self.list.retain(|job| !job.is_only_known());
    }

    /// Takes note of an event of one job.
    pub fn handle(&mut self, now: Moment, limits: &Limits, name: &HexId, event: Event) -> Vec<Act> {
        let mut acts = Vec::new();
        if let Some(job) = self.list.iter_mut().find(|job| job.name == *name) {
            match job.end {
                End::Export => job.export_event(now, limits, event, &mut acts),
                End::Import => job.import_event(now, limits, event, &mut acts),
            }
        }
        acts
    }

    /// Lets go of the oldest that are over, beyond so many in all (`cluster-slot-migration-log-max-len`).
    pub fn trim(&mut self, count_max: usize) {
        while self.list.len() > count_max {
            let Some(oldest) = self.list.iter().rposition(|job| job.state.is_over()) else { return };
            self.list.remove(oldest);
        }
    }

    /// Jobs of one kind that are not over.
    pub fn open(&self, end: End) -> impl Iterator<Item = &Job> {
        self.list.iter().filter(move |job| job.end == end && !job.state.is_over())
    }

    /// Jobs that may still succeed.
    pub fn under_way(&self) -> impl Iterator<Item = &Job> {
        self.list.iter().filter(|job| job.state.is_under_way())
    }

    /// The slots of which writes are held.
    pub fn held_slots(&self) -> SlotSet {
        self.list.iter().filter(|job| job.holds).flat_map(|job| job.slots.iter()).collect()
    }

    /// The slots whose keys nobody may see.
    pub fn hidden_slots(&self) -> SlotSet {
        self.list.iter().filter(|job| job.hides_slots()).flat_map(|job| job.slots.iter()).collect()
    }
}
