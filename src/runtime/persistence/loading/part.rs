//! A core's part in loading: it takes parcels between its turns, a slice at a time.

use super::parcel::{Inbox, KeyItem, Parcel};
use crate::command::client::{Caller, ClientRef};
use crate::command::core::Core;
use crate::command::execute::{self, Call};
use crate::command::scripting::functions;
use crate::keyspace::{Disposal, Key};
use crate::persist::rdb::{LoadLimits, decode_value, form_name};
use crate::resp::{Args, ReplyBuffer, RespVersion};
use std::sync::atomic::Ordering;

/// Longest that a core loads before it serves its clients again.
const SLICE_NS: u64 = 1_000_000;
/// Items whose memory is fetched at once.
const GROUP_ITEMS: usize = 16;
/// Empty keys that are named in the log.
const EMPTY_NAMED_MAX: u64 = 10;

/// What became of the keys of an RDB file.
#[derive(Clone, Copy, Debug)]
pub struct KeyRules {
    /// Keys whose time has come are left out: a primary's snapshot, and not the base of append-only files, whose commands count
    /// on what was there.
    pub drops_expired: bool,
    /// A key that is there is replaced (DEBUG RELOAD MERGE).
    pub replaces: bool,
}

/// What a slice came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// There was nothing to do.
    Idle,
    Worked,
    /// All is loaded.
    Ended,
}

pub struct Part {
    inbox: Inbox,
    rules: KeyRules,
    limits: LoadLimits,
    current: Option<Current>,
    scratch: ReplyBuffer,
}

/// The parcel that is being worked on.
struct Current {
    parcel: Parcel,
    /// The next key or command.
    next: usize,
    /// Where its words begin.
    spans_begin: usize,
}

impl Part {
    pub fn new(inbox: Inbox, rules: KeyRules, core: &Core) -> Part {
        Part { inbox, rules, limits: LoadLimits::of(&core.config), current: None, scratch: ReplyBuffer::new() }
    }

    /// Whether there is something to do at once.
    pub fn has_more(&self) -> bool {
        self.current.is_some() || !self.inbox.is_empty()
    }

    /// Works for a millisecond at most, or until `loading-process-events-interval-bytes` are done.
    pub fn slice(&mut self, core: &mut Core) -> Slice {
        let (begun_ns, mut bytes_left) =
            (core.nanos.now_ns(), u64::from(core.config.loading_process_events_interval_bytes));
        let mut came_to = Slice::Idle;
        loop {
            let mut current = match self.current.take() {
                Some(current) => current,
                None => match self.inbox.receive() {
                    None => return came_to,
                    Some(parcel) if parcel.is_end => {
                        self.inbox.give_back(parcel);
                        return Slice::Ended;
                    }
                    Some(parcel) => Current { parcel, next: 0, spans_begin: 0 },
                },
            };
            came_to = Slice::Worked;
            let done_bytes = self.group(core, &mut current);
            match current.next < current.parcel.keys.len().max(current.parcel.commands.len()) {
                true => self.current = Some(current),
                false => self.inbox.give_back(current.parcel),
            }
            bytes_left = bytes_left.saturating_sub(done_bytes);
            if bytes_left == 0 || core.nanos.now_ns().saturating_sub(begun_ns) >= SLICE_NS {
                return came_to;
            }
        }
    }

    /// The next items of a parcel; returns how many bytes they had.
    fn group(&mut self, core: &mut Core, current: &mut Current) -> u64 {
        if self.inbox.shared.has_failed.load(Ordering::Relaxed) {
            // What is given up is given back.
            current.next = usize::MAX;
            return 0;
        }
        for code in std::mem::take(&mut current.parcel.libraries) {
            if let Err(text) = functions::load_from_file(core, &code) {
                let line = format!("Failed creating the library: {}", String::from_utf8_lossy(&text));
                self.failed(line);
                return 0;
            }
        }
        let items = current.parcel.keys.len().max(current.parcel.commands.len());
        if current.next >= items {
            return 0;
        }
        if current.parcel.keys.is_empty() { self.commands(core, current) } else { self.keys(core, current) }
    }

    fn keys(&mut self, core: &mut Core, current: &mut Current) -> u64 {
        let Current { parcel, next, .. } = current;
        let items = &parcel.keys[*next..];
        let items = &items[..items.len().min(GROUP_ITEMS)];
        *next += items.len();
        let key_of = |item: &KeyItem| -> &[u8] {
            item.key.of(if item.is_unpacked { &parcel.unpacked } else { &parcel.chunk.bytes })
        };
        let db = items.first().map_or(0, |item| usize::from(item.db));
        let mut keys = [Key { bytes: &[], slot: items[0].slot }; GROUP_ITEMS];
        for (key, item) in keys.iter_mut().zip(items) {
            *key = Key { bytes: key_of(item), slot: item.slot };
        }
        core.keyspace.prefetch(db, &keys[..items.len()]);
        let (mut loaded, mut expired, mut bytes) = (0, 0, 0);
        for (item, key) in items.iter().zip(keys) {
            bytes += (key.bytes.len() + item.value.length) as u64;
            match self.key(core, parcel, item, key) {
                Fate::Loaded => loaded += 1,
                Fate::Expired => expired += 1,
                Fate::LeftOut => {}
            }
        }
        let shared = &self.inbox.shared;
        shared.keys_loaded.fetch_add(loaded, Ordering::Relaxed);
        if expired > 0 {
            shared.keys_expired.fetch_add(expired, Ordering::Relaxed);
        }
        bytes
    }

    #[inline]
    fn key(&self, core: &mut Core, parcel: &Parcel, item: &KeyItem, key: Key<'_>) -> Fate {
        let (bytes, db) = (item.value.of(&parcel.chunk.bytes), usize::from(item.db));
        let value = match decode_value(item.kind, bytes, &self.limits) {
            Ok(Some(value)) => value,
            Ok(None) => return self.empty(key),
            Err(error) => {
                let offset = parcel.chunk.offset + item.value.start as u64;
                let error = error.shifted(offset);
                let line = format!(
                    "Internal error in RDB reading offset {} of {}: {} integrity check failed: {}",
                    error.offset,
                    parcel.chunk.file,
                    form_name(item.kind),
                    error.reason
                );
                return self.failed(line);
            }
        };
        if self.rules.drops_expired && item.expiry.is_some_and(|expiry| expiry < core.keyspace.now()) {
            return Fate::Expired;
        }
        if self.rules.replaces {
            core.keyspace.remove(db, key, Disposal::Now);
        }
        if !core.keyspace.load(db, key, value, item.expiry, item.access) {
            let shown = key.bytes.escape_ascii();
            return self.failed(format!("RDB has duplicated key '{shown}' in DB {db}: {}", parcel.chunk.file));
        }
        Fate::Loaded
    }

    #[cold]
    fn failed(&self, line: String) -> Fate {
        self.inbox.shared.fail(line);
        Fate::LeftOut
    }

    #[cold]
    fn empty(&self, key: Key<'_>) -> Fate {
        if self.inbox.shared.keys_empty.fetch_add(1, Ordering::Relaxed) < EMPTY_NAMED_MAX {
            tracing::info!("rdbLoadObject skipping empty key: {}", String::from_utf8_lossy(key.bytes));
        }
        Fate::LeftOut
    }

    fn commands(&mut self, core: &mut Core, current: &mut Current) -> u64 {
        let Current { parcel, next, spans_begin } = current;
        let items = &parcel.commands[*next..];
        let items = &items[..items.len().min(GROUP_ITEMS)];
        *next += items.len();
        let mut begin = *spans_begin;
        let args = |item: &super::parcel::CommandItem| {
            let spans = &parcel.spans[begin..item.spans_end];
            begin = item.spans_end;
            Args::from_parts(item.place.of(&parcel.chunk.bytes), spans, &[])
        };
        let all: Vec<Args<'_>> = items.iter().map(args).collect();
        core.prefetch(items.first().map_or(0, |item| usize::from(item.db)), all.iter().copied());
        *spans_begin = begin;
        let mut bytes = 0;
        for (item, args) in items.iter().zip(all) {
            bytes += item.place.length as u64;
            let call = Call { command: item.command, caller: nobody(item.db), slot: item.slot, args };
            execute::replay(core, &call, &mut self.scratch);
        }
        bytes
    }
}

/// What became of a key.
enum Fate {
    Loaded,
    Expired,
    LeftOut,
}

/// Who runs the commands of a file.
fn nobody(db: u16) -> Caller {
    Caller {
        client: ClientRef::default(),
        db,
        resp: RespVersion::V2,
        no_touch: false,
        asking: false,
        readonly: false,
        is_slot_open: false,
        local: true,
        tracks: false,
        must_not_wait: true,
        wants_reply: false,
        is_import: false,
        is_on_core_port: false,
    }
}
