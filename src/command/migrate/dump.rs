//! Keys as the requests that make them elsewhere, in slices between which the core serves others.
//!
//! A small key is a request in one piece. The payload of a large one is made part by part and kept until it is complete: only then
//! is its length known, which stands in front of it. Its bytes are pieces of some size each, so that nothing is copied to make room,
//! and a large string is shared with the key.
//!
//! Called by the runtime with the core that has the keys. Between two slices keys may go, but none of them is changed
//! (`Migrations`).

use bytes::Bytes;

use super::super::core::Core;
use super::job::Job;
use crate::base::clock::UnixMillis;
use crate::keyspace::Key;
use crate::persist::rdb::Encoder;
use crate::persist::rdb::payload::{self, Partial};

/// Pieces of small requests are gathered to this size.
const PIECE_BYTES: usize = 64 << 10;

/// Where the keys of a job stand that are being dumped.
pub struct Dumper {
    encoder: Encoder,
    command: &'static [u8],
    next: usize,
    open: Option<Partial>,
    /// A small payload.
    scratch: Vec<u8>,
    /// Requests that are complete.
    pieces: Vec<Bytes>,
    tail: Vec<u8>,
    /// Keys whose requests were completed since somebody asked, by their places.
    complete: Vec<usize>,
}

impl Dumper {
    pub fn new(core: &Core) -> Dumper {
        Dumper {
            encoder: Encoder::new(core.config.rdbcompression),
            command: if core.config.cluster_enabled { b"RESTORE-ASKING" } else { b"RESTORE" },
            next: 0,
            open: None,
            scratch: Vec::new(),
            pieces: Vec::new(),
            tail: Vec::new(),
            complete: Vec::new(),
        }
    }

    /// Begins anew with the first key.
    pub fn restart(&mut self) {
        self.next = 0;
        self.open = None;
        self.pieces.clear();
        self.tail.clear();
        self.complete.clear();
    }

    /// Whether all keys are dumped.
    pub fn is_done(&self, job: &Job) -> bool {
        self.next >= job.keys.len()
    }

    /// The requests that are complete, and the places of their keys.
    pub fn take(&mut self) -> (Vec<Bytes>, Vec<usize>) {
        self.close_tail();
        (std::mem::take(&mut self.pieces), std::mem::take(&mut self.complete))
    }

    /// Makes about so many bytes more of the job with this number. Returns how many it made.
    pub fn go_on(&mut self, core: &mut Core, number: usize, budget: usize) -> usize {
        let mut made = 0;
        while made < budget {
            let job = core.migrations.job(number);
            let (db, replaces) = (job.db, job.order.replaces);
            let Some(bytes) = job.keys.get(self.next).cloned() else { break };
            made += bytes.len() + self.key(core, db, &bytes, replaces, budget - made);
        }
        made
    }

    /// Goes on with the next key; how many bytes that made.
    fn key(&mut self, core: &mut Core, db: usize, key: &[u8], replaces: bool, budget: usize) -> usize {
        let now = core.keyspace.now();
        // One that has gone is passed over.
        let Some(info) = core.keyspace.peek_info(db, Key::new(key)) else {
            self.open = None;
            self.next += 1;
            return 0;
        };
        let ttl_ms = info.expiry.map_or(0, |expiry| ttl_ms(expiry, now));
        let mut open = match self.open.take().filter(|open| open.fits(info.value)) {
            Some(open) => open,
            None => match Partial::begin(info.value, &mut self.encoder) {
                Some(open) => open,
                None => {
                    self.scratch.clear();
                    payload::write(info.value, &mut self.encoder, &mut self.scratch);
                    let made = self.scratch.len();
                    self.small(key, ttl_ms, replaces);
                    return made;
                }
            },
        };
        let (made, more) = open.go_on(info.value, &mut self.encoder, budget);
        if more {
            self.open = Some(open);
        } else {
            self.large(key, ttl_ms, replaces, open);
        }
        made
    }

    /// A request with what is in `scratch`.
    fn small(&mut self, key: &[u8], ttl_ms: i64, replaces: bool) {
        let scratch = std::mem::take(&mut self.scratch);
        self.head(key, ttl_ms, replaces, scratch.len());
        self.tail.extend_from_slice(&scratch);
        self.scratch = scratch;
        self.end(replaces);
        if self.tail.len() >= PIECE_BYTES {
            self.close_tail();
        }
    }

    fn large(&mut self, key: &[u8], ttl_ms: i64, replaces: bool, open: Partial) {
        let (length, pieces) = open.finish();
        self.head(key, ttl_ms, replaces, length);
        self.close_tail();
        self.pieces.extend(pieces);
        self.end(replaces);
    }

    /// What stands before a payload of this length.
    fn head(&mut self, key: &[u8], ttl_ms: i64, replaces: bool, length: usize) {
        let out = &mut self.tail;
        out.extend_from_slice(if replaces { b"*5\r\n" } else { b"*4\r\n" });
        word(self.command, out);
        word(key, out);
        word(itoa::Buffer::new().format(ttl_ms).as_bytes(), out);
        word_length(length, out);
    }

    fn end(&mut self, replaces: bool) {
        self.tail.extend_from_slice(b"\r\n");
        if replaces {
            word(b"REPLACE", &mut self.tail);
        }
        self.complete.push(self.next);
        self.next += 1;
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(Bytes::from(std::mem::take(&mut self.tail)));
        }
    }
}

/// What is left to live, 1 at least.
fn ttl_ms(expiry: UnixMillis, now: UnixMillis) -> i64 {
    expiry.get().saturating_sub(now.get()).max(1)
}

fn word_length(length: usize, out: &mut Vec<u8>) {
    out.push(b'$');
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn word(bytes: &[u8], out: &mut Vec<u8>) {
    word_length(bytes.len(), out);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}
