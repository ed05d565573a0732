//! From a connection's bytes to requests: parsing in place, reading ahead, and what holds a client back.

use super::{PREFETCH_MIN, Requests};
use crate::command::client::CloseReason;
use crate::resp::{LOOKAHEAD_MAX, Lookahead, Parse, ProtocolError, Reply, RequestLimits, RespVersion, Stopped};
use crate::runtime::connection::Connection;

/// A held client's input may grow to this before its socket is no longer read.
const HELD_INPUT_MAX: usize = 1024 * 1024;

impl Requests {
    /// Takes bytes that were received and runs the requests that are complete in them.
    pub fn input(&mut self, index: u32, chunk: &[u8]) {
        if self.core.clients.get(index as usize).is_some_and(|client| client.is_upstream) {
            return self.stream_input(index, chunk);
        }
        let Some(mut connection) = self.connections.get_mut(index as usize).and_then(Option::take) else { return };
        self.core.stats.received_bytes += chunk.len() as u64;
        self.core.stats.reads_processed += 1;
        let now = self.core.clock.unix();
        let client = &mut self.core.clients[index as usize];
        client.last_interaction = now;
        client.traffic.received_bytes += chunk.len() as u64;
        if client.closing.is_none() {
            self.consume(index, &mut connection, chunk);
            connection.received(chunk.len());
        }
        self.put_back(index, connection);
    }

    /// Takes bytes of the primary's stream.
    #[cold]
    fn stream_input(&mut self, index: u32, chunk: &[u8]) {
        let (bytes, now) = (chunk.len() as u64, self.core.clock.unix());
        self.core.stats.received_bytes += bytes;
        self.core.stats.replication_received_bytes += bytes;
        self.core.stats.reads_processed += 1;
        let client = &mut self.core.clients[index as usize];
        client.last_interaction = now;
        client.traffic.received_bytes += bytes;
        if client.closing.is_none() {
            self.upstream_input(index, chunk);
        }
    }

    /// Runs what a client has sent while it was held.
    pub(super) fn resume(&mut self, index: u32) {
        let Some(mut connection) = self.connections.get_mut(index as usize).and_then(Option::take) else { return };
        if connection.awaits_answer() {
            return self.put_back(index, connection);
        }
        self.core.clients[index as usize].postponed = false;
        for request in std::mem::take(&mut connection.postponed) {
            if self.core.clients[index as usize].closing.is_some() {
                break;
            }
            self.request(index, &mut connection, &request.as_args());
        }
        self.consume(index, &mut connection, &[]);
        self.resumed.push(index);
        self.put_back(index, connection);
    }

    pub(super) fn put_back(&mut self, index: u32, mut connection: Box<Connection>) {
        for (to, bytes) in std::mem::take(&mut self.late_pushes) {
            assert!(to == index, "one connection's input is run at a time");
            connection.push(&bytes);
        }
        self.check_input(index, &mut connection);
        if !connection.output.is_empty() && !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(index);
        }
        self.connections[index as usize] = Some(connection);
        self.account(index);
        self.carry_out_effects();
    }

    /// Parses in the chunk itself when nothing is left over from before.
    fn consume(&mut self, index: u32, connection: &mut Connection, chunk: &[u8]) {
        if connection.is_held() {
            connection.input.extend_from_slice(chunk);
            return;
        }
        let taken = connection.parser.feed_large(chunk);
        let chunk = &chunk[taken..];
        if connection.input.is_empty() && taken == 0 {
            let used = self.run_requests(index, connection, chunk);
            connection.input.extend_from_slice(&chunk[used.consumed..used.kept]);
            return;
        }
        let mut input = std::mem::take(&mut connection.input);
        input.extend_from_slice(chunk);
        connection.input_used = connection.input_used.max(input.len());
        let used = self.run_requests(index, connection, &input);
        input.truncate(used.kept);
        input.drain(..used.consumed);
        connection.input = input;
    }

    /// Runs every complete request of `data`, until the client is held or closed. Requests are read ahead a few at a time,
    /// so that their keys come into the cache together.
    fn run_requests(&mut self, index: u32, connection: &mut Connection, data: &[u8]) -> Used {
        let mut at = 0;
        let mut parser = std::mem::take(&mut connection.parser);
        let mut ahead = std::mem::take(&mut self.ahead);
        let kept = loop {
            let client = &self.core.clients[index as usize];
            if client.closing.is_some() {
                break at; // nothing behind QUIT or a fatal error is read
            }
            if connection.is_held() {
                break data.len();
            }
            // What a client may send depends on AUTH: before it, one at a time.
            let count = if client.authenticated { LOOKAHEAD_MAX } else { 1 };
            let limits = RequestLimits {
                bulk_bytes_max: self.core.config.proto_max_bulk_len,
                authenticated: client.authenticated,
            };
            let stopped = ahead.fill(&mut parser, data, &mut at, &limits, count);
            self.run_ahead(index, connection, &ahead, data);
            match stopped {
                Stopped::Full => {}
                Stopped::Single { bytes } => {
                    let args = parser.args(&data[at..]);
                    if !args.is_empty() && self.core.clients[index as usize].closing.is_none() {
                        self.request(index, connection, &args);
                    }
                    parser.next();
                    at += bytes;
                }
                Stopped::Other(Parse::Incomplete { keep }) => break at + keep,
                Stopped::Other(Parse::Request { .. }) => unreachable!("kept aside or single"),
                Stopped::Other(Parse::Error(error)) => {
                    self.protocol_error(index, connection, error);
                    break at;
                }
            }
        };
        connection.parser = parser;
        self.ahead = ahead;
        Used { consumed: at.min(kept), kept }
    }

    fn run_ahead(&mut self, index: u32, connection: &mut Connection, ahead: &Lookahead, data: &[u8]) {
        if ahead.len() >= PREFETCH_MIN {
            let db = self.core.clients[index as usize].db as usize;
            self.core.prefetch(db, ahead.requests(data));
        }
        for args in ahead.requests(data) {
            if self.core.clients[index as usize].closing.is_some() {
                return;
            }
            self.request(index, connection, &args);
        }
    }

    fn protocol_error(&mut self, index: u32, connection: &mut Connection, error: ProtocolError) {
        if self.core.clients[index as usize].closing.is_some() {
            return;
        }
        let text = error.text();
        self.core.stats.error(&text);
        connection.reply_here(|out| Reply::new(out, RespVersion::V2).error(&text));
        self.close(index, CloseReason::AfterReply);
    }

    /// client-query-buffer-limit, and the sockets of clients that are held or wait for too many answers.
    fn check_input(&mut self, index: u32, connection: &mut Connection) {
        if connection.ends_pause() {
            self.resumed.push(index);
        } else if !connection.is_paused && connection.is_overdue() {
            connection.is_paused = true;
            self.held.push(index);
        }
        let bytes = connection.input_bytes();
        if bytes == 0 {
            return;
        }
        if bytes as u64 > self.core.config.client_query_buffer_limit {
            self.core.stats.client_query_buffer_limit_disconnections += 1;
            self.close(index, CloseReason::QueryBufferLimit);
        } else if connection.is_held() && bytes > HELD_INPUT_MAX {
            self.held.push(index);
        }
    }
}

/// What became of the bytes given to the parser.
struct Used {
    /// Belong to requests that have run.
    consumed: usize,
    /// From there to here they must be kept for the next time.
    kept: usize,
}
