//! A primary's stream: from bytes, however they are cut, to what is to be done for each command in them.
//!
//! A *unit* is a command, or all from MULTI to EXEC: it is applied whole or not at all, and the replica's place in the history only
//! counts whole units. [`Stream`] keeps the bytes of a unit that is not complete; what is complete it gives out as a [`Group`] of
//! items, and as the raw bytes that they came in, which this node's own replicas are sent unchanged.
//!
//! Owned by core 0, whose runtime hands in what was received and runs the items. No I/O, no core's data.

use crate::base::slot::Slot;
use crate::command::arguments::is_word;
use crate::command::persistence::replay::{Destination, Routes};
use crate::command::table::{CommandId, table};
use crate::persist::aof::{CommandReader, Step};
use crate::resp::{Args, Span};

/// Items of one group, if its last unit is not longer.
const GROUP_ITEMS: usize = 16;
/// Room that is kept while nothing waits.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// What is to be done for a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It changes the data: where it runs. Or it selects a database, which is done by then.
    Data(Destination),
    /// It is for this node as a whole, and runs on core 0: a message to subscribers.
    Node(CommandId),
    /// CLUSTER SETSLOT: which of the primary's slots are open, for when this node takes over.
    SlotState,
    /// REPLCONF GETACK: the primary wants to know how far the replica is.
    Acknowledge,
    /// It cannot be run, for this reason. The primary has run it all the same.
    Wrong(String),
}

/// A command of a group.
#[derive(Clone, Debug)]
pub struct Item {
    pub action: Action,
    pub db: u16,
    /// It belongs to a transaction, and is the last of it.
    pub in_transaction: bool,
    pub ends_transaction: bool,
    /// Where it begins in the data.
    pub start: usize,
    /// Where its words end in the stream's list of them.
    spans_end: usize,
}

/// Units that are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Where their bytes lie in the data.
    pub begin: usize,
    pub end: usize,
    /// Nothing more can be had of these data.
    pub is_last: bool,
}

/// Where the replica stands in its primary's stream.
#[derive(Default)]
pub struct Stream {
    reader: CommandReader,
    /// Bytes from the start of the first unit that is not complete.
    pending: Vec<u8>,
    /// From there, or in the data being read: where that unit begins, and the next command.
    unit_at: usize,
    at: usize,
    /// The database that the next command is for, and the one at the start of the unit.
    next_db: u16,
    unit_db: u16,
    is_open: bool,
    items: Vec<Item>,
    spans: Vec<Span>,
    /// How many of those belong to complete units.
    whole_items: usize,
}

impl Stream {
    /// A stream that goes on with this database selected.
    pub fn new(db: u16) -> Stream {
        Stream { next_db: db, unit_db: db, ..Stream::default() }
    }

    /// The database that was selected at the end of the last complete unit.
    pub fn db(&self) -> u16 {
        self.unit_db
    }

    /// Bytes of a unit that is not complete.
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Memory of those.
    pub fn memory_bytes(&self) -> usize {
        self.pending.capacity() + self.spans.capacity() * size_of::<Span>() + self.items.capacity() * size_of::<Item>()
    }

    /// The data to read when `chunk` has come: what was pending with the chunk behind it, to be given back by
    /// [`Stream::keep`]. None when nothing was: then the chunk itself is to be read.
    pub fn joined(&mut self, chunk: &[u8]) -> Option<Vec<u8>> {
        if self.pending.is_empty() {
            return None;
        }
        let mut data = std::mem::take(&mut self.pending);
        data.extend_from_slice(chunk);
        Some(data)
    }

    /// Reads complete units of `data` until there are enough for a group.
    ///
    /// # Errors
    /// What is no command, for the log; nothing can be read any more.
    pub fn read(&mut self, data: &[u8], routes: &Routes) -> Result<Group, String> {
        let begin = self.unit_at;
        while self.whole_items < GROUP_ITEMS {
            let rest = data.get(self.at..).unwrap_or_default();
            match self.reader.next(rest) {
                Ok(Step::Command { bytes }) => {
                    self.command(rest, bytes, routes);
                    self.reader.pass();
                }
                Ok(Step::Incomplete) => return Ok(Group { begin, end: self.unit_at, is_last: true }),
                Ok(Step::Annotation { .. }) => return Err("a line that is no command".to_owned()),
                Err(damage) => return Err(damage.reason.to_owned()),
            }
        }
        Ok(Group { begin, end: self.unit_at, is_last: false })
    }

    /// The items of the group that was just read, with their words.
    pub fn items<'a>(&'a self, data: &'a [u8]) -> impl Iterator<Item = (&'a Item, Args<'a>)> {
        let mut spans_begin = 0;
        self.items.iter().take(self.whole_items).map(move |item| {
            let spans = self.spans.get(spans_begin..item.spans_end).unwrap_or_default();
            spans_begin = item.spans_end;
            (item, Args::from_parts(data.get(item.start..).unwrap_or_default(), spans, &[]))
        })
    }

    /// The group's items are done.
    pub fn pass(&mut self) {
        let spans_end =
            self.whole_items.checked_sub(1).and_then(|last| self.items.get(last)).map_or(0, |i| i.spans_end);
        self.items.drain(..self.whole_items);
        self.spans.drain(..spans_end);
        self.items.iter_mut().for_each(|item| item.spans_end -= spans_end);
        self.whole_items = 0;
    }

    /// All groups of `data` are done: keeps what belongs to a unit that is not complete. `owned`: whether `data` is what
    /// [`Stream::joined`] gave, whose room is used again.
    pub fn keep(&mut self, data: Data<'_>) {
        let begin = self.unit_at;
        self.pending = match data {
            Data::Chunk(chunk) => chunk.get(begin..).unwrap_or_default().to_vec(),
            Data::Joined(mut data) => {
                data.drain(..begin);
                if data.is_empty() && data.capacity() > KEPT_BYTES_MAX { Vec::new() } else { data }
            }
        };
        self.at -= begin;
        self.unit_at = 0;
        self.items.iter_mut().for_each(|item| item.start -= begin);
    }

    fn command(&mut self, rest: &[u8], bytes: usize, routes: &Routes) {
        let args = self.reader.args(rest);
        let name = args.get(0).unwrap_or_default();
        let start = self.at;
        self.at += bytes;
        if !self.is_open && is_word(name, "MULTI") {
            self.is_open = true;
            return;
        }
        if self.is_open && is_word(name, "EXEC") {
            self.is_open = false;
            if let Some(last) = self.items.last_mut().filter(|item| item.in_transaction) {
                last.ends_transaction = true;
            }
            return self.unit_ends();
        }
        if let Some(action) = action(&args, routes) {
            let selected = if let Action::Data(Destination::Select(db)) = action { Some(db) } else { None };
            self.spans.extend_from_slice(self.reader.spans());
            self.items.push(Item {
                action,
                db: self.next_db,
                in_transaction: self.is_open,
                ends_transaction: false,
                start,
                spans_end: self.spans.len(),
            });
            self.next_db = selected.unwrap_or(self.next_db);
        }
        if !self.is_open {
            self.unit_ends();
        }
    }

    fn unit_ends(&mut self) {
        (self.unit_at, self.unit_db, self.whole_items) = (self.at, self.next_db, self.items.len());
    }
}

/// Data that were read.
pub enum Data<'a> {
    Chunk(&'a [u8]),
    Joined(Vec<u8>),
}

/// What a command asks for; nothing for one that changes nothing.
fn action(args: &Args<'_>, routes: &Routes) -> Option<Action> {
    let name = args.get(0).unwrap_or_default();
    if is_word(name, "REPLCONF") {
        return args.get(1).is_some_and(|word| is_word(word, "GETACK")).then_some(Action::Acknowledge);
    }
    if (is_word(name, "PUBLISH") || is_word(name, "SPUBLISH"))
        && args.len() == 3
        && let Some(command) = table().find(name)
    {
        return Some(Action::Node(command));
    }
    if is_word(name, "CLUSTER") && args.get(1).is_some_and(|word| is_word(word, "SETSLOT")) {
        return Some(Action::SlotState);
    }
    match routes.destination(args) {
        Ok(Destination::Nowhere) => None,
        Ok(destination) => Some(Action::Data(destination)),
        Err(reason) => Some(Action::Wrong(reason)),
    }
}

/// A slot that all keys of an item have, for its call.
impl Item {
    pub fn slot(&self) -> Option<Slot> {
        match self.action {
            Action::Data(Destination::Core { slot, .. }) => slot,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::cluster::view::SlotOwners;
    use crate::resp::write_request;

    fn routes() -> Routes {
        Routes { owners: SlotOwners::all_first(), in_cluster: false, databases: 16 }
    }

    fn bytes_of(lines: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in lines {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            write_request(&mut bytes, words.into_iter());
        }
        bytes
    }

    /// Hands `bytes` in by chunks; returns the items as text and how many bytes were complete.
    fn read(bytes: &[u8], mut cut: impl FnMut(usize) -> usize) -> (Vec<String>, usize, Stream) {
        let (mut stream, routes) = (Stream::new(0), routes());
        let (mut said, mut whole, mut at) = (Vec::new(), Vec::new(), 0);
        while at < bytes.len() {
            let end = at + cut(bytes.len() - at);
            let chunk = &bytes[at..end];
            let joined = stream.joined(chunk);
            let data = joined.as_deref().unwrap_or(chunk);
            loop {
                let group = stream.read(data, &routes).unwrap();
                whole.extend_from_slice(&data[group.begin..group.end]);
                let is_seen = |item: &Item| !matches!(item.action, Action::Data(Destination::Select(_)));
                for (item, args) in stream.items(data).filter(|(item, _)| is_seen(item)) {
                    let words: Vec<_> = args.iter().map(String::from_utf8_lossy).collect();
                    let mark = match (item.in_transaction, item.ends_transaction) {
                        (false, _) => "",
                        (true, false) => "+",
                        (true, true) => "=",
                    };
                    said.push(format!("{mark}{}:{}", item.db, words.join(" ")));
                }
                stream.pass();
                if group.is_last {
                    break;
                }
            }
            stream.keep(match joined {
                Some(data) => Data::Joined(data),
                None => Data::Chunk(chunk),
            });
            at = end;
        }
        assert_eq!(whole, bytes[..whole.len()]);
        (said, whole.len(), stream)
    }

    const LINES: [&str; 14] = [
        "PING",
        "SELECT 3",
        "SET a 1",
        "MULTI",
        "SET b 2",
        "SELECT 4",
        "DEL c",
        "EXEC",
        "SET d 1",
        "REPLCONF GETACK *",
        "PUBLISH channel message",
        "MULTI",
        "INCR x",
        "EXEC",
    ];

    const ITEMS: [&str; 7] = [
        "3:SET a 1",
        "+3:SET b 2",
        "=4:DEL c",
        "4:SET d 1",
        "4:REPLCONF GETACK *",
        "4:PUBLISH channel message",
        "=4:INCR x",
    ];

    #[test]
    fn commands_are_the_same_however_the_bytes_are_cut() {
        let bytes = bytes_of(&LINES.repeat(9));
        let all: Vec<&str> = ITEMS.repeat(9);
        let mut random = Random::new(2);
        for most in [1, 2, 7, 60, 400, 100_000] {
            let (said, whole, stream) = read(&bytes, |left| left.min(1 + random.below(most) as usize));
            // The first round begins in database 0, but selects before it changes anything.
            assert_eq!(said, all, "chunks of up to {most}");
            assert_eq!((whole, stream.db(), stream.pending_bytes()), (bytes.len(), 4, 0));
        }
    }

    #[test]
    fn the_place_counts_whole_units_only() {
        let bytes = bytes_of(&["SELECT 1", "SET a 1", "MULTI", "SELECT 2", "SET b 1"]);
        let (said, whole, stream) = read(&bytes, |left| left.min(10));
        assert_eq!((said, whole), (vec!["1:SET a 1".to_owned()], bytes_of(&["SELECT 1", "SET a 1"]).len()));
        assert_eq!((stream.db(), stream.pending_bytes()), (1, bytes.len() - whole));
    }

    #[test]
    fn a_large_transaction_is_one_group() {
        let mut lines = vec!["MULTI"];
        lines.extend(["SET a 1"; 100]);
        lines.push("EXEC");
        let bytes = bytes_of(&lines);
        let (mut stream, routes) = (Stream::new(0), routes());
        let group = stream.read(&bytes, &routes).unwrap();
        assert_eq!((group.begin, group.end, stream.items(&bytes).count()), (0, bytes.len(), 100));
    }

    #[test]
    fn what_cannot_be_run_is_said_and_what_is_no_command_ends_it() {
        let bytes = bytes_of(&["NOSUCH a", "SET a", "SELECT 99"]);
        let (mut stream, routes) = (Stream::new(0), routes());
        stream.read(&bytes, &routes).unwrap();
        let wrong = |item: &Item| matches!(item.action, Action::Wrong(_));
        assert!(stream.items(&bytes).all(|(item, _)| wrong(item)) && stream.items(&bytes).count() == 3);
        for damaged in [&b"#TS:1\r\n"[..], b"PING\r\n", b"*1\r\n$-1\r\n", b"*1\r\n:1\r\n"] {
            assert!(Stream::new(0).read(damaged, &routes).is_err(), "{}", damaged.escape_ascii());
        }
    }
}
