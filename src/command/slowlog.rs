//! The slow log: calls that took longer than slowlog-log-slower-than, newest first.
//!
//! An entry lies on the core that holds its client, since only that core knows the client's address and name; the
//! core that ran the call sends it there.

use std::collections::VecDeque;

use crate::resp::Args;

/// Longest argument kept, and how many of them (Redis's SLOWLOG_ENTRY_MAX_STRING and _ARGC).
const ARGUMENT_BYTES_MAX: usize = 128;
const ARGUMENTS_MAX: usize = 32;

/// One slow call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowEntry {
    /// Grows with each entry of a core; cores interleave.
    pub id: u64,
    /// When the turn began in which the call ran.
    pub unix_us: i64,
    pub duration_us: u64,
    /// Shortened as Redis shortens them.
    pub arguments: Vec<Vec<u8>>,
    pub client_address: String,
    pub client_name: Vec<u8>,
}

impl SlowEntry {
    /// An entry whose client is filled in by the client's core.
    pub fn new(unix_us: i64, duration_us: u64, args: &Args<'_>) -> SlowEntry {
        let arguments = shortened_arguments(args);
        SlowEntry { id: 0, unix_us, duration_us, arguments, client_address: String::new(), client_name: Vec::new() }
    }
}

fn shortened_arguments(args: &Args<'_>) -> Vec<Vec<u8>> {
    let kept = if args.len() > ARGUMENTS_MAX { ARGUMENTS_MAX - 1 } else { args.len() };
    let mut shortened: Vec<Vec<u8>> = args.iter().take(kept).map(shortened_argument).collect();
    if args.len() > kept {
        shortened.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    shortened
}

fn shortened_argument(argument: &[u8]) -> Vec<u8> {
    let mut kept = argument[..argument.len().min(ARGUMENT_BYTES_MAX)].to_vec();
    if argument.len() > ARGUMENT_BYTES_MAX {
        kept.extend_from_slice(format!("... ({} more bytes)", argument.len() - ARGUMENT_BYTES_MAX).as_bytes());
    }
    kept
}

/// The slow calls of one core's clients.
#[derive(Default)]
pub struct SlowLog {
    entries: VecDeque<SlowEntry>,
    length_max: usize,
    added_count: u64,
}

impl SlowLog {
    pub fn new(length_max: usize) -> SlowLog {
        SlowLog { entries: VecDeque::new(), length_max, added_count: 0 }
    }

    pub fn set_length_max(&mut self, length_max: usize) {
        self.length_max = length_max;
        self.entries.truncate(length_max);
    }

    /// Adds an entry, which gets the number `added * cores_count + core`, unique on the node.
    pub fn add(&mut self, mut entry: SlowEntry, core: usize, cores_count: usize) {
        entry.id = self.added_count * cores_count as u64 + core as u64;
        self.added_count += 1;
        self.entries.push_front(entry);
        self.entries.truncate(self.length_max);
    }

    /// Newest first.
    pub fn entries(&self) -> impl Iterator<Item = &SlowEntry> {
        self.entries.iter()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }
}
