//! A core's part of a snapshot: its cut, the walk through its keyspace, and the chunks that go to core 0.
//!
//! `requests::snapshots` drives it: it begins the cut, gives the walk a slice after each turn and sends off what comes out.
//! [`Recorder`] is the keyspace's sink: it encodes what it is handed at once, so that nothing is held but bytes of the file.

use std::cell::RefCell;
use std::rc::Rc;

use super::pace::Pace;
use crate::command::core::Core;
use crate::config::{Config, MaxmemoryPolicy};
use crate::keyspace::{SnapshotEntry, SnapshotSink, StoredAccess, Value};
use crate::persist::rdb::{Encoder, Parts, file};

/// Encoded bytes that are sent off together.
const CHUNK_BYTES: usize = 256 << 10;
/// Larger buffers are not kept for the next chunk.
const SPARE_BYTES_MAX: usize = 2 * CHUNK_BYTES;
/// Encoded bytes of one core that wait to be written. The walk stops there; what writes hand out cannot.
const WINDOW_BYTES: usize = 2 << 20;
/// Encoded bytes between two looks at the clock.
const STEP_BYTES: usize = 8 << 10;
/// How long the walk goes on at the end of a turn. Requests that come meanwhile wait for it.
const SLICE_NS: u64 = 100_000;

/// A cut through all cores. It goes with every envelope of the mesh: who hears of a number that is new to it begins it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Of the first one 1.
    pub number: u64,
    pub plan: CutPlan,
}

/// What every core does at a cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutPlan {
    /// `rdbcompression`.
    pub compress: bool,
    /// What of the access word is kept.
    pub access: KeptAccess,
    /// What follows goes to other append-only files.
    pub switches_files: bool,
    /// What follows goes to the log of replicas, from a SELECT on.
    pub feeds: bool,
    /// Somebody waits for the end of the snapshot: it takes the time of others.
    pub is_hurried: bool,
}

impl CutPlan {
    pub fn of(config: &Config) -> CutPlan {
        CutPlan {
            compress: config.rdbcompression,
            access: KeptAccess::of(config.maxmemory_policy),
            switches_files: false,
            feeds: false,
            is_hurried: false,
        }
    }
}

/// What a file tells of a key's use, which is what the eviction policy goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeptAccess {
    #[default]
    Nothing,
    Idle,
    Frequency,
}

impl KeptAccess {
    fn of(policy: MaxmemoryPolicy) -> KeptAccess {
        match policy {
            MaxmemoryPolicy::VolatileLru | MaxmemoryPolicy::AllkeysLru => KeptAccess::Idle,
            MaxmemoryPolicy::VolatileLfu | MaxmemoryPolicy::AllkeysLfu => KeptAccess::Frequency,
            _ => KeptAccess::Nothing,
        }
    }
}

/// What one core had at the cut.
#[derive(Clone, Debug, Default)]
pub struct AtCut {
    /// Keys, and those with an expiry, by the number of the database.
    pub sizes: Vec<(u64, u64)>,
    /// Changes since the start of the core.
    pub changes: u64,
}

impl AtCut {
    fn of(core: &Core) -> AtCut {
        let keyspace = &core.keyspace;
        let sizes = (0..keyspace.databases()).map(|db| (keyspace.len(db), keyspace.volatile_len(db))).collect();
        AtCut { sizes, changes: keyspace.stats.dirty }
    }

    /// Adds another core's.
    pub fn add(&mut self, other: &AtCut) {
        self.sizes.resize(self.sizes.len().max(other.sizes.len()), (0, 0));
        for (sum, more) in self.sizes.iter_mut().zip(&other.sizes) {
            *sum = (sum.0 + more.0, sum.1 + more.1);
        }
        self.changes += other.changes;
    }
}

/// A piece of the file: entries, behind the numbers of their databases.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Of the cut.
    pub number: u64,
    pub bytes: Vec<u8>,
    pub keys: u64,
    /// It ends within an entry: the core's next piece follows before those of others.
    pub is_open: bool,
    /// The core has no more.
    pub is_last: bool,
}

/// What the keyspace hands out, encoded.
struct Recorder {
    output: Rc<RefCell<Output>>,
    encoder: Encoder,
    access: KeptAccess,
    /// Of the entry that `Output::is_open` speaks of.
    parts: Option<Parts>,
}

#[derive(Default)]
struct Output {
    piece: Piece,
    /// The piece ends within an entry.
    is_open: bool,
    /// What was handed out since that entry began: it follows it.
    aside: Piece,
}

#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    /// The database that is selected at the end of `bytes`.
    db: Option<usize>,
    keys: u64,
}

impl Piece {
    fn select(&mut self, db: usize) {
        if self.db != Some(db) {
            self.db = Some(db);
            file::select_database(db, &mut self.bytes);
        }
    }
}

impl Output {
    /// The entry that was open has come to its end.
    fn close(&mut self) {
        self.is_open = false;
        let aside = std::mem::take(&mut self.aside);
        self.piece.bytes.extend_from_slice(&aside.bytes);
        self.piece.db = aside.db.or(self.piece.db);
        self.piece.keys += aside.keys;
    }
}

impl Recorder {
    fn access(&self, entry: &SnapshotEntry<'_>) -> StoredAccess {
        match self.access {
            KeptAccess::Nothing => StoredAccess::Unknown,
            KeptAccess::Idle => StoredAccess::Idle { seconds: entry.idle_seconds },
            KeptAccess::Frequency => StoredAccess::Frequency(entry.frequency),
        }
    }
}

impl SnapshotSink for Recorder {
    fn entry(&mut self, entry: &SnapshotEntry<'_>) -> usize {
        let access = self.access(entry);
        let output = &mut *self.output.borrow_mut();
        let piece = if output.is_open { &mut output.aside } else { &mut output.piece };
        let before = piece.bytes.len();
        piece.select(entry.db);
        self.encoder.entry(entry.key, entry.value, entry.expiry, access, &mut piece.bytes);
        piece.keys += 1;
        piece.bytes.len() - before
    }

    fn begin(&mut self, entry: &SnapshotEntry<'_>) -> bool {
        if !Encoder::is_large(entry.value) {
            return false;
        }
        let access = self.access(entry);
        let output = &mut *self.output.borrow_mut();
        output.piece.select(entry.db);
        self.parts = self.encoder.begin(entry.key, entry.value, entry.expiry, access, &mut output.piece.bytes);
        output.is_open = true;
        output.piece.keys += 1;
        true
    }

    fn part(&mut self, value: Value<'_>, budget: Option<usize>) -> (usize, bool) {
        let output = &mut *self.output.borrow_mut();
        let Some(parts) = &mut self.parts else { unreachable!("it has begun with an entry") };
        let before = output.piece.bytes.len();
        let more = self.encoder.go_on(value, parts, budget.unwrap_or(usize::MAX), &mut output.piece.bytes);
        let made = output.piece.bytes.len() - before;
        if !more {
            self.parts = None;
            output.close();
        }
        (made, more)
    }
}

/// Where one core stands in a snapshot.
#[derive(Default)]
pub struct CoreWalk {
    number: u64,
    is_under_way: bool,
    output: Rc<RefCell<Output>>,
    pace: Pace,
    /// Sent off and not yet written.
    unwritten_bytes: usize,
    /// Buffers that have come back.
    spare: Vec<Vec<u8>>,
    /// With `rdb-key-save-delay`: when the walk began, and how many keys have come out since.
    begun_us: u64,
    keys: u64,
    /// The delay leaves nothing to do before the next tick.
    is_delayed: bool,
    /// What is left is to clear it away, without any delay.
    is_abandoned: bool,
}

impl CoreWalk {
    /// The cut of this core: what is in the keyspace now is what the snapshot has.
    pub fn begin(&mut self, core: &mut Core, cut: Cut) -> AtCut {
        assert!(!self.is_under_way, "one snapshot at a time");
        let output = Rc::<RefCell<Output>>::default();
        let begun_us = core.clock.monotonic_us();
        let share = Pace::share(cut.plan.is_hurried, core.facts.cores_count);
        let pace = Pace::new(share, core.nanos.now_ns(), core.stats.commands_processed);
        *self = CoreWalk { number: cut.number, is_under_way: true, output, pace, begun_us, ..CoreWalk::default() };
        core.keyspace.begin_snapshot(Box::new(Recorder {
            output: self.output.clone(),
            encoder: Encoder::new(cut.plan.compress),
            access: cut.plan.access,
            parts: None,
        }));
        AtCut::of(core)
    }

    pub fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// Whether a slice would get on, now or when there is time for it.
    #[inline]
    pub fn has_work(&self) -> bool {
        self.is_under_way && !self.is_delayed && self.unwritten_bytes < WINDOW_BYTES
    }

    /// Whether there is time for a slice now.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.has_work() && self.pace.has_time()
    }

    /// The snapshot is given up: what is left to do is to clear it away, which takes slices too.
    pub fn abandon(&mut self, core: &mut Core, number: u64) {
        if self.is_under_way && self.number == number {
            core.keyspace.abandon_snapshot();
            *self.output.borrow_mut() = Output::default();
            (self.unwritten_bytes, self.is_delayed, self.is_abandoned) = (0, false, true);
            self.pace.hurry();
            self.spare = Vec::new();
        }
    }

    /// What was sent off in this buffer is on its way to the disk.
    pub fn written(&mut self, number: u64, mut buffer: Vec<u8>) {
        if self.number == number {
            self.unwritten_bytes = self.unwritten_bytes.saturating_sub(buffer.len());
            if self.is_under_way && buffer.capacity() <= SPARE_BYTES_MAX {
                buffer.clear();
                self.spare.push(buffer);
            }
        }
    }

    /// A tick: keys that `rdb-key-save-delay` has held back may come now, and what has come is shown.
    pub fn tick(&mut self) -> Option<Chunk> {
        self.is_delayed = false;
        (self.is_under_way && !self.output.borrow().piece.bytes.is_empty()).then(|| self.take_chunk(false))
    }

    /// Walks for a slice, if there is time; what there is to send off. Requests that wait (`is_asked`) go first, as long as the
    /// walk does not fall behind.
    pub fn turn(&mut self, core: &mut Core, is_asked: bool) -> Option<Chunk> {
        let begun_ns = core.nanos.now_ns();
        self.pace.earn(begun_ns, core.stats.commands_processed);
        if !self.pace.has_time() || is_asked && !self.pace.is_behind() {
            return None;
        }
        let chunk = self.slice(core, begun_ns);
        self.pace.spend(core.nanos.now_ns().saturating_sub(begun_ns));
        chunk
    }

    fn slice(&mut self, core: &mut Core, begun_ns: u64) -> Option<Chunk> {
        let delay_us = if self.is_abandoned { 0 } else { i64::from(core.config.rdb_key_save_delay) };
        loop {
            if delay_us != 0 && self.keys_due(core, delay_us) == 0 {
                self.is_delayed = true;
                return None;
            }
            let step_bytes = if delay_us != 0 { 1 } else { STEP_BYTES };
            let more = core.keyspace.snapshot_slice(step_bytes);
            if !more {
                self.is_under_way = false;
                return Some(self.take_chunk(true));
            }
            if self.output.borrow().piece.bytes.len() >= CHUNK_BYTES {
                return Some(self.take_chunk(false));
            }
            if core.nanos.now_ns().saturating_sub(begun_ns) >= SLICE_NS {
                return None;
            }
        }
    }

    /// How many more keys a delay of so many microseconds for each allows; of a negative one, so many keys for each
    /// microsecond.
    fn keys_due(&self, core: &Core, delay_us: i64) -> u64 {
        let elapsed_us = core.clock.monotonic_us().saturating_sub(self.begun_us);
        let factor = delay_us.unsigned_abs();
        let due = if delay_us > 0 { elapsed_us / factor } else { elapsed_us.saturating_mul(factor) };
        due.saturating_sub(self.keys + self.output.borrow().piece.keys)
    }

    fn take_chunk(&mut self, is_last: bool) -> Chunk {
        let bytes = if is_last { Vec::new() } else { self.spare.pop().unwrap_or_default() };
        let output = &mut *self.output.borrow_mut();
        let is_open = output.is_open;
        // Between entries the pieces of other cores may come, and select other databases.
        let db = output.piece.db.filter(|_| is_open);
        let Piece { bytes, keys, .. } = std::mem::replace(&mut output.piece, Piece { bytes, db, keys: 0 });
        assert!(!(is_open && is_last), "the last entry is complete");
        if is_last {
            self.spare = Vec::new();
        }
        self.unwritten_bytes += bytes.len();
        self.keys += keys;
        Chunk { number: self.number, bytes, keys, is_open, is_last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::slot::key_slot;
    use crate::keyspace::listpack::Element;
    use crate::keyspace::set::{Set, SetLimits};
    use crate::keyspace::{Object, StringValue};

    fn entry<'a>(db: usize, key: &'a [u8], value: Value<'a>) -> SnapshotEntry<'a> {
        SnapshotEntry { db, slot: key_slot(key), key, value, expiry: None, idle_seconds: 0, frequency: 0 }
    }

    #[test]
    fn what_changes_while_a_large_entry_is_under_way_stands_behind_it() {
        let mut set = Set::large();
        let limits = SetLimits { intset_entries: 0, listpack_entries: 0, listpack_value_bytes: 0 };
        (0..5000).for_each(|number: u32| _ = set.add(Element::Bytes(number.to_string().as_bytes()), limits));
        let (object, small) = (Object::Set(set), Value::String(StringValue::Integer(7)));
        let large = Value::Object(&object);

        let mut walk = CoreWalk::default();
        let (output, access) = (walk.output.clone(), KeptAccess::Nothing);
        let mut recorder = Recorder { output, encoder: Encoder::new(true), access, parts: None };
        assert!(!recorder.begin(&entry(0, b"small", small)));
        recorder.entry(&entry(0, b"small", small));
        assert!(recorder.begin(&entry(0, b"large", large)));
        assert!(recorder.part(large, Some(100)).1);
        recorder.entry(&entry(3, b"other", small));
        let first = walk.take_chunk(false);
        assert!(recorder.part(large, Some(100)).1);
        let second = walk.take_chunk(false);
        assert!(!recorder.part(large, None).1);
        recorder.entry(&entry(3, b"more", small));
        let third = walk.take_chunk(true);

        let (mut expected, mut encoder, unknown) = (Vec::new(), Encoder::new(true), StoredAccess::Unknown);
        file::select_database(0, &mut expected);
        encoder.entry(b"small", small, None, unknown, &mut expected);
        let mut parts = encoder.begin(b"large", large, None, unknown, &mut expected).unwrap();
        assert!(!encoder.go_on(large, &mut parts, usize::MAX, &mut expected));
        file::select_database(3, &mut expected);
        encoder.entry(b"other", small, None, unknown, &mut expected);
        encoder.entry(b"more", small, None, unknown, &mut expected);
        let chunks = [first, second, third];
        assert_eq!(chunks.each_ref().map(|chunk| chunk.is_open), [true, true, false]);
        assert_eq!(chunks.each_ref().map(|chunk| chunk.keys), [2, 0, 2]);
        assert!(chunks.map(|chunk| chunk.bytes).concat() == expected);
    }
}
