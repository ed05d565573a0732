//! The journal of one core: what it has changed, as commands that bring about the same change when they are run again.
//!
//! The way of a change: a handler changes keys; when it is done `execute` records its request, or what the handler said in
//! place of it (`Context::journal_as`; EXPIRE becomes PEXPIREAT, SPOP becomes SREM: what depends on the time, on chance or on
//! who waits is written as what it came to). Keys that expire or are evicted are recorded as DEL or UNLINK, before the command
//! that met them. All that one request or one transaction has recorded is a *unit*, which is applied whole or not at
//! all: several commands stand between MULTI and EXEC. Keys that go in the background, or that a walk over all keys meets, are a
//! unit each. At the end of a turn the runtime takes the bytes: for the append-only file of this core, and for the
//! log that replicas read. Either reader may be there without the other; both are given the same.
//!
//! The bytes are requests as a client would send them (RESP arrays), with a SELECT where the database changes: the format of
//! Redis's append-only file and of its replication stream.
//!
//! A *position* counts the bytes that this core has ever recorded. A reply that must not leave before its change is safe waits
//! for the position that the journal had when its unit was closed.
//!
//! While nobody reads the journal, nothing is recorded.
//!
//! *Taps* are a third reader: what is recorded of keys of some slots is also written to a buffer of theirs, for the node that these slots
//! are on their way to. There it is seen all at once, in the end: no transactions, and no database but the one of a cluster.

use super::followed::Followed;
use super::gate;
use super::spec::Keys;
use super::table::table;
use crate::base::hex::HexId;
use crate::base::slot::{Slot, SlotSet, key_slot};
use crate::resp::{ArgsBuf, write_request};

/// Bytes of a buffer that is kept when what it held was taken.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Who reads a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalReader {
    /// The writer of this core's append-only file.
    File,
    /// Core 0, for the log of replicas.
    Log,
}

/// What one core has changed and nobody has taken yet.
#[derive(Default)]
pub struct Journal {
    for_file: bool,
    for_log: bool,
    /// Data are being loaded, which is no change.
    is_suspended: bool,
    bytes: Vec<u8>,
    /// Of `bytes`: those that the log has been given.
    fed_bytes: usize,
    /// The position of the end of `bytes`.
    position: u64,
    /// The database that readers have selected at the end of `bytes`.
    db: Option<u16>,
    /// Where in `bytes` the unit under way begins, and how many commands it has.
    unit_begin: usize,
    unit_commands: usize,
    /// A transaction runs: what its commands record is one unit.
    held: bool,
    /// The handler that runs has said what stands in place of its request.
    replaced: bool,
    taps: Vec<Tap>,
    /// What runs asks that nothing of it be recorded (`redis.set_repl`); it goes to the taps all the same, with its slot.
    muted: bool,
}

/// What goes to another node with some slots.
pub struct Tap {
    /// The migration that it belongs to.
    pub job: HexId,
    /// What changes in these slots is written to `bytes`. Others may be written there by whoever owns the tap.
    pub slots: Box<SlotSet>,
    pub bytes: Vec<u8>,
    /// Keys of slots that are still walked through, some of whose elements are sent already.
    pub followed: Followed,
}

impl Journal {
    /// Whether changes are to be recorded.
    #[inline]
    pub fn is_on(&self) -> bool {
        (self.for_file | self.for_log | !self.taps.is_empty()) & !self.is_suspended
    }

    /// Whether changes are recorded for anybody but a node that slots are on their way to.
    pub fn is_kept(&self) -> bool {
        (self.for_file | self.for_log) & !self.is_suspended
    }

    /// Whether changes are recorded for this reader.
    #[inline]
    pub fn is_for(&self, reader: JournalReader) -> bool {
        let wanted = match reader {
            JournalReader::File => self.for_file,
            JournalReader::Log => self.for_log,
        };
        wanted & !self.is_suspended
    }

    /// Whether changes are recorded for the file, now or when loading has ended.
    pub fn has_file(&self) -> bool {
        self.for_file
    }

    /// Whether changes are recorded for the log, now or when loading has ended.
    pub fn is_fed(&self) -> bool {
        self.for_log
    }

    /// Begins or ends recording for a reader, through `Core::set_journal`. What follows begins with a SELECT.
    pub(super) fn set(&mut self, reader: JournalReader, on: bool) {
        assert!(self.unit_commands == 0, "recording begins and ends between units");
        match reader {
            JournalReader::File => self.for_file = on,
            JournalReader::Log => {
                // What was recorded before is not for it.
                (self.for_log, self.fed_bytes) = (on, self.bytes.len());
            }
        }
        self.restart();
    }

    /// Begins or ends what goes to another node, through `Core::set_tap`.
    pub(super) fn tap(&mut self, job: HexId, on: bool) {
        assert!(self.unit_commands == 0, "recording begins and ends between units");
        self.taps.retain(|tap| tap.job != job);
        if on {
            self.taps.push(Tap { job, slots: Box::default(), bytes: Vec::new(), followed: Followed::default() });
        }
    }

    /// The tap of a migration.
    pub fn tap_of(&mut self, job: &HexId) -> Option<&mut Tap> {
        self.taps.iter_mut().find(|tap| tap.job == *job)
    }

    /// Nothing is recorded until the next call with `false`, through `Core::suspend_journal`.
    pub(super) fn suspend(&mut self, suspended: bool) {
        assert!(self.unit_commands == 0, "recording begins and ends between units");
        self.is_suspended = suspended;
        self.restart();
    }

    /// What follows is for a reader that has not read what came before (a new file).
    pub fn restart(&mut self) {
        self.db = None;
    }

    /// Bytes recorded since the start of the node.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Adds a command, its name first, to the unit under way.
    pub fn record<'a>(&mut self, db: u16, words: impl ExactSizeIterator<Item = &'a [u8]>) {
        if self.muted {
            return self.tap_words(words);
        }
        if self.db != Some(db) {
            self.db = Some(db);
            let number = db.to_string();
            write_request(&mut self.bytes, [&b"SELECT"[..], number.as_bytes()].into_iter());
        }
        self.unit_commands += 1;
        if self.taps.is_empty() {
            return write_request(&mut self.bytes, words);
        }
        let words: Vec<&[u8]> = words.collect();
        write_request(&mut self.bytes, words.iter().copied());
        self.tap_words(words.into_iter());
    }

    /// Gives a command to the taps of its slot.
    fn tap_words<'a>(&mut self, words: impl Iterator<Item = &'a [u8]>) {
        if self.taps.is_empty() {
            return;
        }
        let words: Vec<&[u8]> = words.collect();
        for tap in self.taps.iter_mut().filter(|tap| !tap.followed.is_empty()) {
            tap.followed.note(&words);
        }
        if let Some(slot) = slot_of(&words) {
            for tap in self.taps.iter_mut().filter(|tap| tap.slots.contains(slot)) {
                write_request(&mut tap.bytes, words.iter().copied());
            }
        }
    }

    /// Whether large values are followed, so that who changes elements that its command does not name says which ([`Journal::tell_elements`]).
    #[inline]
    pub fn follows_values(&self) -> bool {
        self.taps.iter().any(|tap| !tap.followed.is_empty())
    }

    /// The command that is about to be recorded has changed these elements of a key.
    pub fn tell_elements(&mut self, key: &[u8], elements: Vec<Box<[u8]>>) {
        if !elements.is_empty() {
            self.taps.iter_mut().for_each(|tap| tap.followed.add_elements(key, &elements));
        }
    }

    /// Adds the removal of a key that nobody asked for: it has expired, or was evicted.
    pub fn record_removal(&mut self, db: u16, key: &[u8], in_background: bool) {
        self.record(db, [removal(in_background), key].into_iter());
    }

    /// Lets what the handler that runs has recorded, or nothing, stand in place of its request.
    #[inline]
    pub(super) fn replace_request(&mut self) {
        self.replaced = true;
    }

    /// Ends a request, which is recorded with `words` if it has `changed` something and nothing stands in place of it.
    pub(super) fn end_request<'a>(&mut self, changed: bool, db: u16, words: impl ExactSizeIterator<Item = &'a [u8]>) {
        if !std::mem::take(&mut self.replaced) && changed {
            self.record(db, words);
        }
        self.close_unit();
    }

    /// From here on nothing is recorded, or everything again.
    pub(super) fn mute(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// As [`Journal::begin_transaction`], within one perhaps: whether it is, so that whoever began it ends it.
    pub(super) fn hold(&mut self) -> bool {
        std::mem::replace(&mut self.held, true)
    }

    /// Makes one unit of all that is recorded until [`Journal::end_transaction`].
    pub fn begin_transaction(&mut self) {
        self.held = true;
    }

    pub fn end_transaction(&mut self) {
        self.held = false;
        self.close_unit();
    }

    /// Ends the unit under way, if there is one and no transaction goes on.
    #[inline]
    pub fn close_unit(&mut self) {
        if self.unit_commands > 0 && !self.held {
            self.close();
        }
    }

    fn close(&mut self) {
        if self.unit_commands > 1 {
            // Rare: most units are one command. SELECT stands behind MULTI, as in Redis.
            let mut multi = Vec::new();
            write_request(&mut multi, [&b"MULTI"[..]].into_iter());
            self.bytes.splice(self.unit_begin..self.unit_begin, multi);
            write_request(&mut self.bytes, [&b"EXEC"[..]].into_iter());
        }
        self.position += (self.bytes.len() - self.unit_begin) as u64;
        self.unit_begin = self.bytes.len();
        self.unit_commands = 0;
    }

    /// Whether there is something to take.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.unit_begin == 0
    }

    /// What was recorded and not given to the log; it is now.
    ///
    /// # Panics
    /// Within a unit: it is given whole.
    pub fn feed(&mut self) -> &[u8] {
        assert!(self.unit_commands == 0, "a unit is given whole");
        let fed = std::mem::replace(&mut self.fed_bytes, self.bytes.len());
        if self.for_log { self.bytes.get(fed..).unwrap_or_default() } else { &[] }
    }

    /// Whether there is something for the log.
    #[inline]
    pub fn has_unfed(&self) -> bool {
        self.for_log && self.fed_bytes < self.unit_begin
    }

    /// Forgets what there is to take: no file wants it.
    pub fn discard(&mut self) {
        assert!(self.unit_commands == 0 && !self.has_unfed(), "a unit is taken whole, and by the log first");
        self.bytes.clear();
        self.let_go();
    }

    /// Appends what was recorded since the last time to `into`.
    ///
    /// # Panics
    /// Within a unit, which is taken whole; and when the log has still to be given some of it.
    pub fn take_into(&mut self, into: &mut Vec<u8>) {
        assert!(self.unit_commands == 0 && !self.has_unfed(), "a unit is taken whole, and by the log first");
        if into.is_empty() {
            std::mem::swap(into, &mut self.bytes);
        } else {
            into.extend_from_slice(&self.bytes);
        }
        self.bytes.clear();
        self.let_go();
    }

    fn let_go(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        }
        (self.unit_begin, self.fed_bytes) = (0, 0);
    }
}

/// The slot of the keys of a recorded command: in a cluster they have one.
fn slot_of(words: &[&[u8]]) -> Option<Slot> {
    let mut command = table().find(words.first()?)?;
    if command.spec().run.is_container() {
        command = table().find_sub(command, words.get(1)?)?;
    }
    let at = match command.spec().keys {
        Keys::None | Keys::SlotNumber(_) => return None,
        Keys::At(at, _) | Keys::Pair(at, ..) | Keys::Into(at, _) => at,
        Keys::Range { first, .. } => first,
        _ => {
            let mut args = ArgsBuf::default();
            words.iter().for_each(|word| args.push(word));
            *gate::key_indexes(command.spec(), &args.as_args()).ok()?.first()?
        }
    };
    words.get(at).map(|key| key_slot(key))
}

/// The command that removes a key, at once or with its value freed later.
pub(super) fn removal(in_background: bool) -> &'static [u8] {
    if in_background { b"UNLINK" } else { b"DEL" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(journal: &mut Journal, db: u16, line: &str) {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        journal.record(db, words.into_iter());
    }

    /// The recorded commands, one a line.
    fn taken(journal: &mut Journal) -> Vec<String> {
        let mut bytes = Vec::new();
        journal.take_into(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let commands = text.split('*').skip(1);
        commands.map(|command| command.split("\r\n").skip(2).step_by(2).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn a_unit_of_several_commands_is_a_transaction() {
        let mut journal = Journal::default();
        journal.set(JournalReader::File, true);
        record(&mut journal, 0, "SET a 1");
        journal.close_unit();
        record(&mut journal, 0, "DEL a");
        record(&mut journal, 3, "SET b 2");
        journal.close_unit();
        journal.close_unit();
        assert_eq!(taken(&mut journal), ["SELECT 0", "SET a 1", "MULTI", "DEL a", "SELECT 3", "SET b 2", "EXEC"]);
        assert!(journal.is_empty());
    }

    #[test]
    fn a_transaction_is_one_unit_and_only_its_last_command_ends_it() {
        let mut journal = Journal::default();
        journal.set(JournalReader::File, true);
        journal.begin_transaction();
        for line in ["SET a 1", "SET b 2"] {
            journal.end_request(true, 0, line.split(' ').map(str::as_bytes).collect::<Vec<_>>().into_iter());
            assert!(journal.is_empty());
        }
        journal.end_transaction();
        assert_eq!(taken(&mut journal), ["MULTI", "SELECT 0", "SET a 1", "SET b 2", "EXEC"]);
    }

    #[test]
    fn what_a_handler_said_stands_in_place_of_one_request() {
        let mut journal = Journal::default();
        journal.set(JournalReader::File, true);
        journal.replace_request();
        record(&mut journal, 0, "SREM s a");
        journal.end_request(true, 0, [&b"SPOP"[..]].into_iter());
        journal.end_request(false, 0, [&b"GET"[..]].into_iter());
        journal.replace_request();
        journal.end_request(true, 0, [&b"XREADGROUP"[..]].into_iter());
        journal.end_request(true, 0, [&b"INCR"[..]].into_iter());
        assert_eq!(taken(&mut journal), ["SELECT 0", "SREM s a", "INCR"]);
    }

    #[test]
    fn positions_count_every_byte_once() {
        let mut journal = Journal::default();
        journal.set(JournalReader::File, true);
        let mut all = Vec::new();
        for number in 0..10 {
            record(&mut journal, 0, "SET a 1");
            journal.close_unit();
            if number % 3 == 0 {
                journal.take_into(&mut all);
            }
        }
        journal.take_into(&mut all);
        assert_eq!(journal.position(), all.len() as u64);
    }

    #[test]
    fn the_log_is_given_what_a_file_is_and_each_byte_once() {
        let mut journal = Journal::default();
        journal.set(JournalReader::File, true);
        record(&mut journal, 0, "SET a 0");
        journal.close_unit();
        journal.set(JournalReader::Log, true);
        let (mut file, mut log) = (Vec::new(), Vec::new());
        for number in 1..20 {
            record(&mut journal, 0, &format!("SET a {number}"));
            journal.close_unit();
            if number % 2 == 0 {
                log.extend_from_slice(journal.feed());
            }
            if number % 6 == 0 {
                journal.take_into(&mut file);
            }
        }
        log.extend_from_slice(journal.feed());
        assert!(!journal.has_unfed());
        journal.take_into(&mut file);
        // All but what was recorded before the log wanted it.
        assert!(file.ends_with(&log) && file.len() > log.len());
        journal.set(JournalReader::File, false);
        record(&mut journal, 0, "SET a b");
        journal.close_unit();
        assert!(journal.has_unfed() && !journal.feed().is_empty());
        journal.discard();
        assert!(journal.is_empty());
    }

    #[test]
    fn nothing_is_recorded_while_suspended() {
        let mut journal = Journal::default();
        journal.set(JournalReader::Log, true);
        journal.suspend(true);
        assert!(!journal.is_on() && !journal.is_for(JournalReader::Log));
        journal.suspend(false);
        assert!(journal.is_for(JournalReader::Log) && !journal.is_for(JournalReader::File));
    }

    #[test]
    fn a_tap_has_what_concerns_its_slots_and_nothing_around_it() {
        let mut journal = Journal::default();
        let job = HexId::ZEROS;
        assert!(!journal.is_on());
        journal.tap(job, true);
        assert!(journal.is_on() && !journal.is_for(JournalReader::File) && !journal.is_for(JournalReader::Log));
        record(&mut journal, 0, "SET {a} 0");
        journal.close_unit();
        journal.tap_of(&job).unwrap().slots.insert(key_slot(b"a"));
        for line in ["SET {a} 1", "DEL {b}", "BITOP AND {a}x {a}y {a}z", "FLUSHALL", "XGROUP CREATE {a}s g 0"] {
            record(&mut journal, 0, line);
        }
        journal.close_unit();
        let tap = String::from_utf8(std::mem::take(&mut journal.tap_of(&job).unwrap().bytes)).unwrap();
        let commands: Vec<&str> = tap.split("\r\n").filter(|word| !word.starts_with(['*', '$'])).collect();
        assert_eq!(commands.join(" "), "SET {a} 1 BITOP AND {a}x {a}y {a}z XGROUP CREATE {a}s g 0 ");
        journal.tap(job, false);
        assert!(!journal.is_on() && journal.tap_of(&job).is_none());
    }

    #[test]
    fn a_new_file_begins_with_select() {
        let mut journal = Journal::default();
        journal.set(JournalReader::File, true);
        for _ in 0..2 {
            record(&mut journal, 5, "SET a 1");
            journal.close_unit();
            assert_eq!(taken(&mut journal), ["SELECT 5", "SET a 1"]);
            journal.restart();
        }
    }
}
