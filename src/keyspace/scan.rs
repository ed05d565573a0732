//! SCAN: a cursor that outlives splits and merges, and a walk over one table from a position in it.
//!
//! Keys come in order of (slot, region of the hash space, group of tags). A region is a prefix of the hash, the
//! prefix of the bucket where the walk stopped. When it goes on, the table may have changed:
//! - the region is one bucket, as before: go on at the tag;
//! - its bucket split: go on at the tag in all the buckets of the region side by side;
//! - its bucket merged with the sibling: of the merged bucket visit the keys that the walk has not passed, which
//!   their hashes tell.
//!
//! So a key that is there throughout is visited, once as a rule.

use super::bucket::Bucket;
use super::entry::EntryRef;
use super::table::{KeyHash, MAX_DEPTH, SlotTable, tag_of};

/// Tags are grouped by their top bits: a walk stops between groups only.
const GROUP_BITS: u32 = 10;
const PREFIX_BITS: u32 = 29;
const SLOT_BITS: u32 = 14;
const GROUP_SHIFT: u32 = u16::BITS - GROUP_BITS;
/// Clients keep cursors in doubles, too: they stay exact there.
const _: () = assert!(GROUP_BITS + PREFIX_BITS + SLOT_BITS == 53);
const _: () = assert!((MAX_DEPTH as u32) < PREFIX_BITS);

/// Where a scan stands, 0 at the beginning and at the end. Positions in different slots compare as their slots do,
/// so that the results of cores, which own disjoint slots, can be cut at a common position.
///
/// 53 bits: slot (14), prefix of the region followed by a one and zeros (29; all zero before the first key of a slot), group
/// of tags (10). Cursors of one scan only grow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct ScanCursor(u64);

impl ScanCursor {
    /// Both the beginning and the end.
    pub const START: ScanCursor = ScanCursor(0);

    /// Any number that a client sent. One that no scan returned stands for some position.
    pub fn new(cursor: u64) -> Self {
        ScanCursor(cursor & ((1 << (GROUP_BITS + PREFIX_BITS + SLOT_BITS)) - 1))
    }

    /// What the client is told.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Before the first key of a slot (`slot` below 16384).
    pub(super) fn at_slot(slot: usize) -> Self {
        ScanCursor((slot as u64) << (PREFIX_BITS + GROUP_BITS))
    }

    pub(super) fn at(slot: usize, position: Position) -> Self {
        let Position { prefix, depth, group } = position;
        let marked = (prefix << 1 | 1) << (PREFIX_BITS - 1 - u32::from(depth));
        ScanCursor(((slot as u64) << PREFIX_BITS | marked) << GROUP_BITS | u64::from(group))
    }

    /// The slot where the scan goes on.
    pub fn slot_index(self) -> usize {
        (self.0 >> (PREFIX_BITS + GROUP_BITS)) as usize
    }

    pub(super) fn position(self) -> Position {
        let marked = (self.0 >> GROUP_BITS) & ((1 << PREFIX_BITS) - 1);
        let zeros = marked.trailing_zeros();
        let depth = PREFIX_BITS.saturating_sub(1 + zeros) as u8;
        if marked == 0 || depth > MAX_DEPTH {
            return Position::START;
        }
        Position { prefix: marked >> (zeros + 1), depth, group: (self.0 & ((1 << GROUP_BITS) - 1)) as u16 }
    }
}

/// A position in the table of one slot: before `group` in the region of the hashes that begin with the `depth` bits
/// `prefix`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Position {
    prefix: u64,
    depth: u8,
    group: u16,
}

impl Position {
    pub const START: Position = Position { prefix: 0, depth: 0, group: 0 };

    /// The lowest hash of the region.
    fn first_hash(self) -> u64 {
        self.prefix.checked_shl(64 - u32::from(self.depth)).unwrap_or(0)
    }

    /// The region that begins at `first_hash` and has `depth` bits.
    fn region(first_hash: u64, depth: u8) -> Self {
        let prefix = first_hash.checked_shr(64 - u32::from(depth)).unwrap_or(0);
        Position { prefix, depth, group: 0 }
    }

    /// The region behind the one of `depth` bits that holds `hash`.
    fn after(hash: u64, depth: u8) -> Option<Self> {
        let next = Position::region(hash, depth).prefix + 1;
        (next >> depth == 0).then_some(Position { prefix: next, depth, group: 0 })
    }

    fn at_group(self, group: usize) -> Self {
        Position { group: group as u16, ..self }
    }
}

fn group_of(tag: u16) -> usize {
    usize::from(tag >> GROUP_SHIFT)
}

/// Visits entries from `from` on until at least `count` were visited or the table ends. Returns where to go on, `None`
/// at the end. Visits at most a bucket more than `count`.
pub(super) fn scan_table(
    table: &SlotTable,
    from: Position,
    count: usize,
    hasher: &impl KeyHash,
    visit: &mut dyn FnMut(EntryRef<'_>),
) -> Option<Position> {
    let mut position = from;
    let mut left = count;
    loop {
        // A region not begun is walked bucket by bucket.
        let depth = table.bucket_at(position.first_hash()).depth();
        if position.group == 0 && depth > position.depth {
            position = Position::region(position.first_hash(), depth);
        }
        let mut counted = |entry: EntryRef<'_>| {
            left = left.saturating_sub(1);
            visit(entry);
            left > 0
        };
        let stopped = scan_region(table, position, hasher, &mut counted);
        position = match stopped {
            Some(stopped) => return Some(stopped),
            None => Position::after(position.first_hash(), position.depth.min(depth))?,
        };
        if left == 0 {
            return Some(position);
        }
    }
}

/// Visits the rest of one region; `visit` answers whether to go on. Returns the position within the region where it
/// stopped, `None` when the region (or the larger bucket that holds it now) is done.
fn scan_region(
    table: &SlotTable,
    position: Position,
    hasher: &impl KeyHash,
    visit: &mut dyn FnMut(EntryRef<'_>) -> bool,
) -> Option<Position> {
    let bucket = table.bucket_at(position.first_hash());
    if bucket.depth() < position.depth {
        let passed = |hash: u64| {
            (hash < position.first_hash())
                || (Position::region(hash, position.depth).prefix == position.prefix
                    && group_of(tag_of(hash)) < usize::from(position.group))
        };
        for entry in bucket.entries().filter(|entry| !passed(hasher.hash(entry.key()))) {
            visit(entry);
        }
        return None;
    }
    let mut heads = region_heads(table, position);
    let mut go_on = true;
    loop {
        let group = heads.iter().filter_map(Head::group).min()?;
        if !go_on {
            return Some(position.at_group(group));
        }
        for head in &mut heads {
            while head.group() == Some(group) {
                go_on &= visit(head.bucket.entry(head.index));
                head.index += 1;
            }
        }
    }
}

/// The next entry to visit in one of the buckets of a region.
struct Head<'a> {
    bucket: &'a Bucket,
    index: usize,
}

impl Head<'_> {
    fn group(&self) -> Option<usize> {
        (self.index < self.bucket.len()).then(|| group_of(self.bucket.tag(self.index)))
    }
}

fn region_heads(table: &SlotTable, position: Position) -> Vec<Head<'_>> {
    let first_tag = position.group << GROUP_SHIFT;
    table
        .buckets_with_prefix(position.prefix, position.depth)
        .iter()
        .filter(|bucket| bucket.len() > 0)
        .map(|bucket| Head { bucket, index: bucket.lower_bound(first_tag) })
        .collect()
}
