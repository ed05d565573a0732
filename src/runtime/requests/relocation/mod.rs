//! Slots that change their core: a *relocation*, which takes the same time whatever is in them.
//!
//! Core 0 has the orders ([`Requests::hand_over`]) and sees to one relocation at a time: some slots of one core, the *giver*, to another, the
//! *taker*. Everything crosses the mesh, whose order from one core to another is what the rest stands on:
//!
//! ```text
//! core 0   Prepare     to the giver: a walk of a snapshot under way goes through the slots first, while they are served as ever
//! giver    Ready       the walk has been through them
//! core 0   Hold        to all: the gate holds back what concerns the slots, and what every core does its share of
//! each     Mark        to giver and taker: nothing that I send you from now on is about the slots; to core 0 as well, which marks
//!                      last, since what others have sent it before their marks makes it send more
//! giver    Tables      to core 0, when all have marked: the slots with all that belongs to them, behind what it has recorded
//!          Behind      to all: what I have sent you before is all that I had to say of them
//! core 0   Install     to the taker, which puts them in when all have marked
//! taker    Installed   to core 0; each says Passed when it has heard Behind
//! core 0   Release     to all: the slots are the taker's, what was held back goes there
//! ```
//!
//! Why it is this way:
//! - *Requests stay in their order, each runs once.* What a core has sent the giver stands before its mark; what it sends the taker, behind
//!   Release. A client whose request is held back is not read from.
//! - *Commands of every core* (SCAN, FLUSHALL, DBSIZE) meet the slots on exactly one core: each core has done its share before the slots
//!   leave the giver and come to the taker, or does it behind Release.
//! - *The log of replicas*: tables go through core 0 behind the giver's last bytes for the log, and before the taker's first.
//! - *Messages to clients* (keyspace events, invalidations): the giver's last stand before Behind, and no request runs at the taker before all
//!   have heard that.
//! - *Append-only files* are read one after another. The taker goes on in a new file, which stands behind the one that the giver's changes are
//!   in, and which it does not get before these are safe there (as safe as `appendfsync` asks for): so what it changes is never
//!   there without what the giver had changed. With `always` the answers to its writes wait for that.
//! - *Snapshots*: no cut begins while the slots are held back (`begin_save` waits), so that all cores have begun the same ones. A walk under way
//!   has been through the slots before they go: no core's walk has to see them again (`keyspace::moved`).
//! - *Slots that are lost to another node meanwhile* are dropped by the taker when it has them.
//! - *A client that goes meanwhile* may have been forgotten by the taker before the slots came: its core says so once more at Release.
//!
//! What delays a relocation ([`Requests::obstacle`] on core 0, `obstacle_here` on the giver, `may_mark` on each core): a snapshot that
//! begins, data that are loaded, a migration of the slots to another node, keys that MIGRATE or RESTORE has locked, a script that takes
//! too long, a transaction that waits to hear of its watches. Where one turns up when requests are held back already, they are let go and
//! it is tried again; an order that has waited for [`PATIENCE_MS`] is given up. A replica does not relocate at all: it deals its primary's
//! stream out by a table that stays.

mod balance;
mod orders;
mod outstanding;

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::Requests;
use crate::base::core_id::CoreId;
use crate::base::slot::SlotSet;
use crate::command::client::ClientRef;
use crate::command::journal::JournalReader;
use crate::command::relocation::{self, Moved, Relocation};
use crate::command::tracking;
use crate::runtime::batch::ReplyTarget;
use crate::runtime::mesh::Message;
use crate::runtime::persistence::append_only::{Order, SwitchKind};
use balance::{Balance, CoreLoad};
use outstanding::Outstanding;

/// An order that could not be carried out for so long is given up.
const PATIENCE_MS: u64 = 10_000;
/// Requests are held back for no longer than this while some core cannot mark.
const HOLD_MS_MAX: u64 = 100;
/// After something was in the way it is tried again so much later; each time that requests were held back for nothing, after twice as
/// long, up to so many times that.
const RETRY_AFTER_MS: u64 = 5;
const RETRY_DOUBLINGS_MAX: u32 = 8;

/// What cores say to one another about relocations; numbers are those of `Relocation`.
pub enum RelocationMessage {
    // To core 0.
    /// A client of mine wants this, and is answered late.
    Ask {
        slots: Box<SlotSet>,
        to: CoreId,
        target: ReplyTarget,
    },
    Ready(u64),
    Marked(u64),
    /// Something is in the way, on the giver.
    Refused {
        number: u64,
        why: &'static str,
    },
    Tables {
        number: u64,
        moved: Box<Moved>,
    },
    Installed(u64),
    Passed(u64),
    /// What I had recorded when I gave the slots away is safe.
    Safe(u64),
    /// How busy I am, and with what.
    Load(Box<CoreLoad>),
    // From core 0.
    AskLoad,
    Prepare {
        number: u64,
        slots: Box<SlotSet>,
    },
    Hold(Box<Relocation>),
    /// If you have not given the slots away, do not.
    CallOff(u64),
    Install {
        number: u64,
        moved: Box<Moved>,
    },
    Release {
        number: u64,
        has_moved: bool,
    },
    // From any core to any.
    Mark(u64),
    Behind(u64),
}

/// An order that waits for its turn.
struct Wanted {
    slots: Box<SlotSet>,
    to: CoreId,
    target: Option<ReplyTarget>,
    deadline_ms: u64,
}

/// How far the relocation has come.
enum Stage {
    /// Something was in the way; in monotonic milliseconds.
    Retries {
        at_ms: u64,
    },
    Prepares,
    Holds {
        since_ms: u64,
        is_called_off: bool,
    },
    /// The giver has given.
    Moves,
}

/// The relocation under way.
struct Current {
    relocation: Relocation,
    stage: Stage,
    held_ns: u64,
    outstanding: Outstanding,
    /// What was last in the way, and how often requests were held back for nothing.
    why: &'static str,
    failures: u32,
}

/// One core's part, and core 0's books.
#[derive(Default)]
pub(super) struct Relocating {
    /// The giver: slots that a walk is to go through.
    preparing: Option<(u64, Box<SlotSet>)>,
    has_marked: bool,
    /// The giver: it has given, or will not.
    has_given: bool,
    /// Cores that have marked, by number: a mark may come before Hold.
    marks: HashMap<u64, usize>,
    /// The taker: it waits for marks.
    arrived: Option<Box<Moved>>,
    /// The taker: slots that this node has lost meanwhile.
    dropped: SlotSet,
    /// Own clients that have gone meanwhile.
    left: Vec<ClientRef>,
    /// The last that is over.
    last: u64,
    /// The giver: positions of the journal up to which it must be safe.
    given: VecDeque<(u64, u64)>,
    // Core 0.
    wanted: VecDeque<Wanted>,
    current: Option<Box<Current>>,
    numbers: u64,
    balance: Balance,
}

impl Requests {
    // ---- messages ---------------------------------------------------------------------------------------------------

    fn tell(&mut self, core: CoreId, message: RelocationMessage) {
        match core == self.core.id {
            true => self.relocation_message(message),
            false => self.mesh.send(core, Message::Relocation(Box::new(message))),
        }
    }

    /// To all other cores, then here.
    fn tell_every_core(&mut self, message: impl Fn() -> RelocationMessage) {
        let others: Vec<CoreId> = self.mesh.others().collect();
        others.into_iter().for_each(|core| self.tell(core, message()));
        self.tell(self.core.id, message());
    }

    pub(super) fn relocation_message(&mut self, message: RelocationMessage) {
        use RelocationMessage as Said;
        match message {
            Said::Ask { slots, to, target } => self.want(slots, to, Some(target)),
            Said::Ready(number) => self.giver_is_ready(number),
            Said::Marked(number) => self.core_has_marked(number),
            Said::Refused { number, why } => self.giver_refuses(number, why),
            Said::Tables { number, moved } => self.tables_came(number, moved),
            Said::Installed(number) => self.note_progress_of(number, |outstanding| outstanding.installed()),
            Said::Passed(number) => self.note_progress_of(number, |outstanding| outstanding.passed()),
            Said::Safe(number) => self.giver_is_safe(number),
            Said::AskLoad => self.say_load(),
            Said::Load(load) => self.load_came(*load),
            Said::Prepare { number, slots } => {
                self.relocating.preparing = Some((number, slots));
                self.go_on_preparing();
            }
            Said::Hold(relocation) => self.hold_for(relocation),
            Said::CallOff(number) => self.call_off(number),
            Said::Install { number, moved } => {
                let is_this = self.core.relocation.as_ref().is_some_and(|relocation| relocation.number == number);
                assert!(is_this, "slots come while requests for them are held back");
                self.relocating.arrived = Some(moved);
                self.install_if_marked();
            }
            Said::Release { number, has_moved } => self.release(number, has_moved),
            Said::Mark(number) => self.marked_by_core(number),
            Said::Behind(number) => self.tell(CoreId::FIRST, Said::Passed(number)),
        }
    }

    // ---- each core --------------------------------------------------------------------------------------------------

    /// Whether slots are held back, so that neither a cut nor anything else may begin that is done by all cores in their own time.
    #[inline]
    pub(super) fn is_relocating(&self) -> bool {
        self.core.relocation.is_some()
    }

    /// Whether something is to be looked at again in a moment.
    #[inline]
    pub fn awaits_relocation(&self) -> bool {
        self.is_relocating() || self.relocating.preparing.is_some() || self.has_hand_overs()
    }

    /// Goes on with what waits for something, each turn. True when there was something to do.
    pub fn attend_relocations(&mut self) -> bool {
        let mut worked = false;
        if self.relocating.preparing.is_some() {
            worked |= self.go_on_preparing();
        }
        if self.is_relocating() && !self.relocating.has_marked {
            worked |= self.mark_if_possible();
        }
        if self.core.id == CoreId::FIRST && self.has_hand_overs() {
            worked |= self.attend_orders();
        }
        worked
    }

    fn go_on_preparing(&mut self) -> bool {
        let Some((number, slots)) = self.relocating.preparing.take() else { return false };
        if !self.core.keyspace.walk_first(&slots) {
            self.relocating.preparing = Some((number, slots));
            return false;
        }
        self.tell(CoreId::FIRST, RelocationMessage::Ready(number));
        true
    }

    fn hold_for(&mut self, relocation: Box<Relocation>) {
        assert!(self.core.relocation.is_none(), "one relocation at a time");
        let relocating = &mut self.relocating;
        (relocating.has_marked, relocating.has_given) = (false, false);
        relocating.dropped.clear();
        self.core.relocation = Some(relocation);
        self.mark_if_possible();
    }

    /// Whether nothing that is under way here will yet send something about the slots to giver or taker.
    fn may_mark(&self) -> bool {
        let Some(relocation) = &self.core.relocation else { return false };
        let has_keys_of_them = self.core.id == relocation.from || self.core.id == relocation.to;
        if has_keys_of_them && (self.core.is_busy() || self.holds_shares()) {
            return false;
        }
        let waits_for_others = self.core.id == CoreId::FIRST
            && self.relocating.current.as_ref().is_some_and(|current| !current.outstanding.only_one_mark_is_missing());
        !waits_for_others && !self.execs.iter().any(|(_, exec)| exec.concerns(relocation, self.core.id))
    }

    fn mark_if_possible(&mut self) -> bool {
        if self.relocating.has_marked || !self.may_mark() {
            return false;
        }
        let Some(relocation) = &self.core.relocation else { return false };
        let (number, from, to) = (relocation.number, relocation.from, relocation.to);
        self.relocating.has_marked = true;
        self.tell(from, RelocationMessage::Mark(number));
        self.tell(to, RelocationMessage::Mark(number));
        self.tell(CoreId::FIRST, RelocationMessage::Marked(number));
        true
    }

    fn marked_by_core(&mut self, number: u64) {
        // Behind the end of one that was called off.
        if number > self.relocating.last {
            *self.relocating.marks.entry(number).or_default() += 1;
            self.give_if_marked();
            self.install_if_marked();
        }
    }

    fn have_all_marked(&self, number: u64) -> bool {
        self.relocating.marks.get(&number).is_some_and(|marks| *marks == self.core.facts.cores_count)
    }

    /// The giver: gives, once nothing more about the slots can come.
    fn give_if_marked(&mut self) {
        let Some(relocation) = &self.core.relocation else { return };
        let (number, to) = (relocation.number, relocation.to);
        if relocation.from != self.core.id || self.relocating.has_given || !self.have_all_marked(number) {
            return;
        }
        let slots = relocation.slots.clone();
        self.relocating.has_given = true;
        if let Some(why) = self.obstacle_here(&slots) {
            return self.tell(CoreId::FIRST, RelocationMessage::Refused { number, why });
        }
        self.core.settle();
        if self.core.tracking.has_news() {
            tracking::broadcast(&mut self.core);
        }
        self.carry_out_effects();
        self.feed_log();
        let moved = Box::new(relocation::take(&mut self.core, &slots, to));
        let others: Vec<CoreId> = self.mesh.others().collect();
        others.into_iter().for_each(|core| self.tell(core, RelocationMessage::Behind(number)));
        self.tell(CoreId::FIRST, RelocationMessage::Tables { number, moved });
        match self.core.journal.is_for(JournalReader::File) {
            true => {
                let position = self.core.journal.position();
                self.relocating.given.push_back((position, number));
                self.durability.orders.push(Order::SyncUntil(position));
            }
            false => self.tell(CoreId::FIRST, RelocationMessage::Safe(number)),
        }
    }

    /// What keeps the slots on this core.
    fn obstacle_here(&self, slots: &SlotSet) -> Option<&'static str> {
        match () {
            () if !self.core.keyspace.has_walked(slots) => Some("a snapshot has not been through it"),
            () if self.core.is_busy() => Some("a script runs"),
            () if relocation::has_locked_keys(&self.core, slots) => Some("keys of it are on their way"),
            () if self.holds_requests_for(slots) => Some("requests wait for keys that are on their way"),
            () => None,
        }
    }

    /// The giver has not given yet: it does not any more.
    fn call_off(&mut self, number: u64) {
        let is_this = self.core.relocation.as_ref().is_some_and(|relocation| relocation.number == number);
        if is_this && !std::mem::replace(&mut self.relocating.has_given, true) {
            let why = "a core does not come to it";
            self.tell(CoreId::FIRST, RelocationMessage::Refused { number, why });
        }
    }

    /// The taker: puts in what has come, once nothing from before can come.
    fn install_if_marked(&mut self) {
        let Some(relocation) = &self.core.relocation else { return };
        let number = relocation.number;
        if relocation.to != self.core.id || !self.have_all_marked(number) {
            return;
        }
        let Some(moved) = self.relocating.arrived.take() else { return };
        let slots = relocation.slots.clone();
        if self.core.journal.is_for(JournalReader::File) {
            self.switch_file(SwitchKind::HandOver(number));
        }
        relocation::put(&mut self.core, &slots, *moved);
        let dropped = std::mem::take(&mut self.relocating.dropped);
        if !dropped.is_empty() {
            self.drop_slots(&dropped);
        }
        self.carry_out_effects();
        self.tell(CoreId::FIRST, RelocationMessage::Installed(number));
    }

    /// Slots are dropped: those that are on their way to this core are when they have come.
    pub(super) fn drop_on_arrival(&mut self, slots: &SlotSet) {
        let Some(relocation) = &self.core.relocation else { return };
        if relocation.to == self.core.id && relocation.slots.overlaps(slots) {
            self.relocating.dropped.extend(slots.iter().filter(|slot| relocation.slots.contains(*slot)));
        }
    }

    /// A client of this core has gone, and all cores are told: the taker may be told too early.
    pub(super) fn tell_again_that_it_left(&mut self, client: ClientRef) {
        if self.is_relocating() {
            self.relocating.left.push(client);
        }
    }

    fn release(&mut self, number: u64, has_moved: bool) {
        let Some(relocation) = self.core.relocation.as_ref().filter(|relocation| relocation.number == number) else {
            return;
        };
        let (to, count) = (relocation.to, relocation.slots.count());
        if has_moved && to == self.core.id {
            self.core.stats.slots_relocated += count as u64;
        }
        relocation::end(&mut self.core, has_moved);
        for client in std::mem::take(&mut self.relocating.left) {
            match to == self.core.id {
                true => self.core.client_left(client),
                false => self.mesh.send(to, Message::ClientLeft(client)),
            }
        }
        assert!(self.relocating.arrived.is_none(), "what has come is put in before the end");
        self.relocating.marks.remove(&number);
        self.relocating.last = number;
        self.pause_changed = true;
    }

    /// The append-only file of this core is safe up to a position: so may be what it had recorded when it gave slots away.
    #[inline]
    pub(super) fn tell_what_is_safe(&mut self, position: u64) {
        while let Some((_, number)) = self.relocating.given.pop_front_if(|(wanted, _)| *wanted <= position) {
            self.tell(CoreId::FIRST, RelocationMessage::Safe(number));
        }
    }
}
