//! The socket side of a client: bytes in, bytes out, and the order of replies.
//!
//! Replies leave in the order of the requests. While everything runs on the connection's own core they are written straight
//! into `output`. Once a request has gone to another core, its place is kept in `pending`, and what is answered
//! here behind it waits in `held`.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::resp::{ArgsBuf, ReplyBuffer, RequestParser};

/// Pieces of one vectored send (the kernel's UIO_MAXIOV).
const PIECES_MAX: usize = 1024;
/// Bytes of one send: what others wait for while the kernel copies them. A long reply goes out turn by turn.
const SEND_MAX_BYTES: usize = 256 * 1024;
/// Bytes from which on they are shared, not copied.
const SHARED_MIN_BYTES: usize = 16 * 1024;
/// An input buffer of this size is kept whatever is sent.
const INPUT_KEPT_BYTES: usize = 32 * 1024;

/// A client with more requests than this that wait for answers is not read from before all are answered.
const UNANSWERED_MAX: usize = 32 * 1024;
/// As `UNANSWERED_MAX`, for the bytes that have come since all was answered last, and for those of answers behind one that waits.
const UNANSWERED_BYTES_MAX: usize = 4 << 20;

/// A reply that cannot leave yet.
enum Pending {
    /// The request runs elsewhere.
    Awaited,
    /// As `Awaited`, and nobody wants the reply (CLIENT REPLY OFF).
    Unwanted,
    /// Answered here: this many bytes of `held`.
    Held(usize),
    /// Came back before an earlier one.
    Arrived(Box<ReplyBuffer>),
}

/// What one connection owns beside its `Client`.
pub struct Connection {
    descriptor: OwnedFd,
    pub parser: RequestParser,
    /// Bytes of a request that is not complete, or that must wait.
    pub input: Vec<u8>,
    /// Most bytes that `input` has held since the last tick.
    pub input_used: usize,
    /// No request is run before the one with this sequence number is answered: it blocks, or changes the client elsewhere.
    awaited: Option<u32>,
    /// Messages that came while the reply to EXEC was in the making: nothing may stand between its parts.
    late: ReplyBuffer,
    defers_pushes: bool,
    /// Requests that CLIENT PAUSE holds: the first, and those read ahead behind it. Nothing behind them is parsed.
    pub postponed: Vec<ArgsBuf>,
    pub output: ReplyBuffer,
    held: ReplyBuffer,
    pending: VecDeque<Pending>,
    /// Sequence number of the first of `pending`.
    first_sequence: u32,
    /// Bytes received since all was answered last.
    unanswered_bytes: usize,
    /// Nothing is received until all is answered.
    pub is_paused: bool,
    /// Bytes that are on their way, and those that go with a later send before any of `output`.
    sending: ReplyBuffer,
    /// Bytes of the send under way.
    send_bytes: usize,
    pieces: Vec<libc::iovec>,
    message: Option<Box<libc::msghdr>>,
    /// A receive is armed.
    pub receiving: bool,
    /// A send is under way.
    pub is_sending: bool,
    /// The socket was full: the next send waits for room.
    pub is_stalled: bool,
    /// It stands in the list of connections to flush.
    pub is_dirty: bool,
    /// The socket has been shut down: it goes once its operations have completed.
    pub is_shut: bool,
}

/// A connection between two cores.
pub struct ConnectionParts {
    descriptor: OwnedFd,
    parser: RequestParser,
    input: Vec<u8>,
    postponed: Vec<ArgsBuf>,
}

impl ConnectionParts {
    /// The connection, on its new core.
    pub fn assemble(self) -> Connection {
        let ConnectionParts { descriptor, parser, input, postponed } = self;
        Connection { parser, input, postponed, ..Connection::new(descriptor) }
    }
}

impl Connection {
    pub fn new(descriptor: OwnedFd) -> Connection {
        Connection {
            descriptor,
            parser: RequestParser::new(),
            input: Vec::new(),
            input_used: 0,
            awaited: None,
            late: ReplyBuffer::new(),
            defers_pushes: false,
            postponed: Vec::new(),
            output: ReplyBuffer::new(),
            held: ReplyBuffer::new(),
            pending: VecDeque::new(),
            first_sequence: 0,
            unanswered_bytes: 0,
            is_paused: false,
            sending: ReplyBuffer::new(),
            send_bytes: 0,
            pieces: Vec::new(),
            message: None,
            receiving: false,
            is_sending: false,
            is_stalled: false,
            is_dirty: false,
            is_shut: false,
        }
    }

    pub fn descriptor(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    /// Takes the connection to pieces that can go to another core. Nothing is under way: neither operations nor answers, but to the
    /// request that brings it there.
    pub fn take_apart(self) -> ConnectionParts {
        debug_assert!(!self.receiving && !self.is_sending && !self.has_output() && self.pending.len() <= 1);
        let Connection { descriptor, parser, input, postponed, .. } = self;
        ConnectionParts { descriptor, parser, input, postponed }
    }

    /// Whether small sends leave at once. Without effect on what is no TCP socket.
    pub fn set_nodelay(&self, nodelay: bool) {
        let _ = nix::sys::socket::setsockopt(&self.descriptor, nix::sys::socket::sockopt::TcpNoDelay, &nodelay);
    }

    /// Another descriptor of the same socket.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn clone_socket(&self) -> std::io::Result<OwnedFd> {
        self.descriptor.try_clone()
    }

    /// Requests whose replies have not come back.
    pub fn elsewhere_count(&self) -> usize {
        self.pending.len()
    }

    /// Notes that so many bytes have come and that what is complete in them has run.
    #[inline]
    pub fn received(&mut self, count: usize) {
        self.unanswered_bytes = if self.pending.is_empty() { 0 } else { self.unanswered_bytes + count };
    }

    /// Whether so much waits for answers that nothing more should be received: what a client can pile up before a disk that stalls
    /// has a limit.
    #[inline]
    pub fn is_overdue(&self) -> bool {
        self.pending.len() > UNANSWERED_MAX
            || self.unanswered_bytes > UNANSWERED_BYTES_MAX
            || self.held.len_bytes() > UNANSWERED_BYTES_MAX
    }

    /// Whether the client was paused and need not be any more.
    #[inline]
    pub fn ends_pause(&mut self) -> bool {
        let ends = self.is_paused && self.pending.is_empty();
        if ends {
            (self.is_paused, self.unanswered_bytes) = (false, 0);
        }
        ends
    }

    /// Keeps a place for a reply that comes later; returns its sequence number.
    pub fn await_reply(&mut self, wanted: bool) -> u32 {
        let sequence = self.first_sequence.wrapping_add(self.pending.len() as u32);
        self.pending.push_back(if wanted { Pending::Awaited } else { Pending::Unwanted });
        sequence
    }

    /// Lets `write` append the reply of a request that runs here, now.
    #[inline]
    pub fn reply_here<R>(&mut self, write: impl FnOnce(&mut ReplyBuffer) -> R) -> R {
        if self.pending.is_empty() {
            return write(&mut self.output);
        }
        let before = self.held.len_bytes();
        let result = write(&mut self.held);
        self.pending.push_back(Pending::Held(self.held.len_bytes() - before));
        result
    }

    /// Appends bytes that answer no request, behind the replies to the requests that came before them.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.defers_pushes {
            return self.late.extend(bytes);
        }
        self.reply_here(|out| out.extend(bytes));
    }

    /// As `push`, of bytes that need not be copied if they are many.
    pub fn push_shared(&mut self, bytes: &bytes::Bytes) {
        if bytes.len() < SHARED_MIN_BYTES || self.defers_pushes {
            return self.push(bytes);
        }
        self.reply_here(|out| out.push_shared(bytes.clone()));
    }

    /// Holds the requests that follow until this one is answered.
    pub fn hold_until(&mut self, sequence: u32) {
        self.awaited = Some(sequence);
    }

    /// As `hold_until`, for an EXEC whose reply may come in parts: messages wait for its end, too.
    pub fn begin_exec(&mut self, sequence: u32) {
        self.hold_until(sequence);
        self.defers_pushes = true;
    }

    /// Ends the hold if it was for this request. True when it was: what was held can run.
    pub fn end_await(&mut self, sequence: u32) -> bool {
        if self.awaited != Some(sequence) {
            return false;
        }
        self.awaited = None;
        if std::mem::take(&mut self.defers_pushes) && !self.late.is_empty() {
            let mut late = std::mem::take(&mut self.late);
            let length = late.len_bytes();
            self.reply_here(|out| late.drain_into(out, length));
        }
        true
    }

    /// Whether requests have to wait: for the end of a pause, or for the answer to one before them.
    #[inline]
    pub fn is_held(&self) -> bool {
        !self.postponed.is_empty() || self.awaited.is_some()
    }

    /// Whether a request before those that wait has to be answered first.
    pub fn awaits_answer(&self) -> bool {
        self.awaited.is_some()
    }

    /// Takes a reply that was awaited: `length` bytes from the front of `from`.
    ///
    /// # Panics
    /// When nobody awaits it: cores answer each request once.
    pub fn arrived(&mut self, sequence: u32, length: usize, from: &mut ReplyBuffer) {
        let place = sequence.wrapping_sub(self.first_sequence) as usize;
        let unwanted = match self.pending.get(place) {
            Some(Pending::Awaited) => false,
            Some(Pending::Unwanted) => true,
            _ => panic!("a reply that nobody awaits"),
        };
        let kept = if unwanted { 0 } else { length };
        if place == 0 {
            from.drain_into(&mut self.output, kept);
            self.pop_pending();
        } else {
            let mut reply = Box::new(ReplyBuffer::new());
            from.drain_into(&mut reply, kept);
            self.pending[place] = Pending::Arrived(reply);
        }
        from.advance(length - kept);
        self.release_held();
    }

    /// Whether a reply for which [`Connection::await_reply`] kept a place has come.
    pub fn has_arrived(&self, sequence: u32) -> bool {
        let place = sequence.wrapping_sub(self.first_sequence) as usize;
        !matches!(self.pending.get(place), Some(Pending::Awaited | Pending::Unwanted))
    }

    fn pop_pending(&mut self) {
        self.pending.pop_front();
        self.first_sequence = self.first_sequence.wrapping_add(1);
    }

    /// Lets go what waited only for those before it.
    fn release_held(&mut self) {
        loop {
            match self.pending.front_mut() {
                Some(Pending::Held(length)) => {
                    let length = *length;
                    self.held.drain_into(&mut self.output, length);
                }
                Some(Pending::Arrived(reply)) => {
                    let length = reply.len_bytes();
                    reply.drain_into(&mut self.output, length);
                }
                Some(Pending::Awaited | Pending::Unwanted) | None => return,
            }
            self.pop_pending();
        }
    }

    /// Is everything answered and sent?
    pub fn is_drained(&self) -> bool {
        self.pending.is_empty() && !self.has_output() && !self.is_sending
    }

    /// Do bytes wait for a send?
    pub fn has_output(&self) -> bool {
        !self.output.is_empty() || !self.sending.is_empty()
    }

    /// Makes what waits ready to send, or the beginning of it. None when a send is under way or nothing waits.
    pub fn prepare_send(&mut self) -> Option<Outgoing<'_>> {
        if self.is_sending || !self.has_output() {
            return None;
        }
        if self.sending.is_empty() {
            std::mem::swap(&mut self.output, &mut self.sending);
        }
        self.is_sending = true;
        self.send_bytes = self.sending.len_bytes().min(SEND_MAX_BYTES);
        let mut left = self.send_bytes;
        let cut = self.sending.slices(PIECES_MAX).map_while(|piece| {
            let piece = &piece[..piece.len().min(left)];
            left -= piece.len();
            (!piece.is_empty()).then_some(piece)
        });
        self.pieces.clear();
        self.pieces.extend(cut.map(|piece| libc::iovec { iov_base: piece.as_ptr() as *mut _, iov_len: piece.len() }));
        self.send_bytes -= left;
        if self.pieces.len() == 1 {
            let bytes = self.send_bytes;
            return self.sending.slices(1).next().map(|piece| Outgoing::One(&piece[..bytes]));
        }
        // SAFETY: all-zero is a valid msghdr: no name, no control data, no pieces.
        let message = self.message.get_or_insert_with(|| Box::new(unsafe { std::mem::zeroed() }));
        message.msg_iov = self.pieces.as_mut_ptr();
        message.msg_iovlen = self.pieces.len() as _;
        Some(Outgoing::Many(&**message))
    }

    /// Whether there is output behind the send under way.
    pub fn has_more_than_is_sent(&self) -> bool {
        self.send_bytes < self.sending.len_bytes() || !self.output.is_empty()
    }

    /// A send has moved `count` bytes. Fewer than it should have: the socket is full.
    pub fn sent(&mut self, count: usize) {
        self.is_sending = false;
        self.is_stalled = count < self.send_bytes;
        self.sending.advance(count);
    }

    /// A send found the socket full.
    pub fn send_stalled(&mut self) {
        self.is_sending = false;
        self.is_stalled = true;
    }

    /// Gives up what was on its way: the peer is gone.
    pub fn send_failed(&mut self) {
        self.is_sending = false;
        self.sending.clear();
    }

    /// Bytes that wait for the client, under way or not.
    pub fn output_bytes(&self) -> usize {
        self.output.len_bytes() + self.sending.len_bytes() + self.held.len_bytes()
    }

    /// Memory of those.
    pub fn output_memory_bytes(&self) -> usize {
        self.output.memory_bytes() + self.sending.memory_bytes() + self.held.memory_bytes()
    }

    /// Bytes received and not run, the collected part of a large argument included.
    pub fn input_bytes(&self) -> usize {
        self.input.len() + self.parser.memory_bytes()
    }

    /// As `input_bytes`, as Redis counts it: of a request whose large argument is being collected, the arguments alone.
    pub fn query_buffer_bytes(&self) -> usize {
        match self.parser.collected_bytes() {
            0 => self.input.len(),
            collected => collected,
        }
    }

    /// Memory of what was received and not run.
    pub fn input_memory_bytes(&self) -> usize {
        self.input.capacity() + self.parser.memory_bytes()
    }

    /// Gives back the room of one large request, which a client that goes on with small ones does not need.
    pub fn shrink_input(&mut self) {
        let used = std::mem::take(&mut self.input_used);
        if self.input.is_empty() && self.input.capacity() > INPUT_KEPT_BYTES && used < self.input.capacity() / 2 {
            self.input = Vec::new();
        }
    }

    /// Gives back what a quiet connection does not need.
    pub fn shrink(&mut self) {
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        if self.is_drained() && self.sending.is_empty() {
            self.output.release();
            self.sending.release();
            self.pieces = Vec::new();
            self.message = None;
        }
    }
}

/// What to hand to the kernel; lives in the connection until the send has completed.
pub enum Outgoing<'a> {
    One(&'a [u8]),
    Many(*const libc::msghdr),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection::new(std::fs::File::open("/dev/null").unwrap().into())
    }

    fn reply(text: &str) -> ReplyBuffer {
        let mut buffer = ReplyBuffer::new();
        buffer.extend(text.as_bytes());
        buffer
    }

    #[test]
    fn replies_leave_in_the_order_of_their_requests() {
        let mut connection = connection();
        connection.reply_here(|out| out.extend(b"1"));
        let second = connection.await_reply(true);
        connection.reply_here(|out| out.extend(b"3"));
        let fourth = connection.await_reply(true);
        let unwanted = connection.await_reply(false);
        connection.reply_here(|out| out.extend(b"5"));
        assert_eq!(connection.output.to_vec(), b"1");
        connection.arrived(fourth, 1, &mut reply("4"));
        connection.arrived(unwanted, 1, &mut reply("x"));
        assert_eq!(connection.output.to_vec(), b"1");
        connection.arrived(second, 1, &mut reply("2"));
        assert_eq!(connection.output.to_vec(), b"12345");
        assert_eq!(connection.elsewhere_count(), 0);
        connection.reply_here(|out| out.extend(b"6"));
        assert_eq!(connection.output.to_vec(), b"123456");
    }

    #[test]
    fn a_push_stands_behind_the_replies_to_what_was_asked_before() {
        let mut connection = connection();
        let first = connection.await_reply(true);
        connection.push(b"line");
        let second = connection.await_reply(true);
        connection.arrived(second, 1, &mut reply("2"));
        assert!(connection.output.is_empty());
        connection.arrived(first, 1, &mut reply("1"));
        assert_eq!(connection.output.to_vec(), b"1line2");
    }

    fn to_send(connection: &mut Connection) -> Option<usize> {
        connection.prepare_send().map(|outgoing| match outgoing {
            Outgoing::One(bytes) => bytes.len(),
            // SAFETY: the message and the pieces that it names stand in the connection.
            Outgoing::Many(message) => unsafe {
                let message = &*message;
                std::slice::from_raw_parts(message.msg_iov, message.msg_iovlen).iter().map(|piece| piece.iov_len).sum()
            },
        })
    }

    #[test]
    fn a_long_reply_leaves_in_bounded_sends_and_is_not_done_before_the_last() {
        for shared in [false, true] {
            let mut connection = connection();
            let long = vec![b'x'; SEND_MAX_BYTES + SEND_MAX_BYTES / 2];
            connection.reply_here(|out| out.extend(b"+OK\r\n"));
            if shared {
                connection.reply_here(|out| out.push_shared(long.clone().into()));
            } else {
                connection.reply_here(|out| out.extend(&long));
            }
            assert_eq!(to_send(&mut connection), Some(SEND_MAX_BYTES));
            assert_eq!(to_send(&mut connection), None, "one send at a time");
            connection.sent(SEND_MAX_BYTES - 1);
            assert!(connection.is_stalled && connection.has_output() && !connection.is_drained());
            let rest = 5 + long.len() - (SEND_MAX_BYTES - 1);
            assert_eq!(to_send(&mut connection), Some(rest));
            connection.sent(rest);
            assert!(!connection.is_stalled && !connection.has_output() && connection.is_drained());
        }
    }

    #[test]
    fn too_much_that_is_unanswered_is_overdue_and_the_last_answer_ends_the_pause() {
        // Many requests, many bytes of requests, many bytes of answers behind one that waits.
        for (requests, bytes, behind) in
            [(UNANSWERED_MAX + 1, 0, 0), (1, UNANSWERED_BYTES_MAX + 1, 0), (1, 0, UNANSWERED_BYTES_MAX + 1)]
        {
            let mut connection = connection();
            connection.received(UNANSWERED_BYTES_MAX + 1);
            assert!(!connection.is_overdue(), "all of it is answered");
            let sequences: Vec<u32> = (0..requests).map(|_| connection.await_reply(true)).collect();
            connection.received(bytes);
            connection.reply_here(|out| out.extend(&vec![b'x'; behind]));
            assert!(connection.is_overdue() && !connection.ends_pause());
            connection.is_paused = true;
            for sequence in sequences {
                assert!(!connection.ends_pause(), "answers are missing");
                connection.arrived(sequence, 1, &mut reply("1"));
            }
            assert!(connection.ends_pause() && !connection.ends_pause() && !connection.is_overdue());
        }
    }

    #[test]
    #[should_panic(expected = "nobody awaits")]
    fn a_second_answer_to_one_request_is_our_mistake() {
        let mut connection = connection();
        let first = connection.await_reply(true);
        connection.await_reply(true);
        connection.arrived(first, 1, &mut reply("1"));
        connection.arrived(first, 1, &mut reply("1"));
    }
}
