//! Requests and replies as they cross between cores: laid out in a few shared buffers, one batch per destination
//! and turn, so that a request costs a copy of its bytes and no allocation.

use bytes::Bytes;

use crate::base::slot::Slot;
use crate::command::client::{Caller, ClientRef};
use crate::command::execute::Call;
use crate::command::table::CommandId;
use crate::resp::{Args, ArgsBuf, ReplyBuffer, Span};

/// Where a reply belongs: a client and the place of the request among its requests.
#[derive(Clone, Copy, Debug)]
pub struct ReplyTarget {
    pub client: ClientRef,
    pub sequence: u32,
}

struct RequestHead {
    command: CommandId,
    caller: Caller,
    slot: Option<Slot>,
    sequence: u32,
    spans_end: u32,
    large_end: u32,
}

/// Small arguments that one batch gathers before the next begins.
const DATA_BYTES_MAX: usize = 1 << 30;

/// Requests of one core's clients that another core runs.
#[derive(Default)]
pub struct RequestBatch {
    heads: Vec<RequestHead>,
    spans: Vec<Span>,
    data: Vec<u8>,
    large: Vec<Bytes>,
}

impl RequestBatch {
    /// Appends a request: small arguments are copied, large ones shared.
    pub fn push(&mut self, call: &Call<'_>, sequence: u32) {
        let large_before = self.large.len();
        call.args.copy_into(&mut self.data, &mut self.spans, &mut self.large, large_before);
        self.heads.push(RequestHead {
            command: call.command,
            caller: call.caller,
            slot: call.slot,
            sequence,
            spans_end: self.spans.len() as u32,
            large_end: self.large.len() as u32,
        });
    }

    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether one more request may be appended: places in the data are numbered with 32 bits, and a request is bounded by
    /// client-query-buffer-limit. What a core does not take for long goes on in another batch.
    pub fn has_room(&self) -> bool {
        self.data.len() < DATA_BYTES_MAX
    }

    /// The requests in the order in which they were pushed, without the first `place`.
    pub fn calls_from(&self, place: usize) -> impl Iterator<Item = (Call<'_>, u32)> {
        let before = place.checked_sub(1).and_then(|last| self.heads.get(last));
        let (mut spans_begin, mut large_begin) =
            before.map_or((0, 0), |h| (h.spans_end as usize, h.large_end as usize));
        self.heads.iter().skip(place).map(move |head| {
            let spans = &self.spans[spans_begin..head.spans_end as usize];
            let large = &self.large[large_begin..head.large_end as usize];
            (spans_begin, large_begin) = (head.spans_end as usize, head.large_end as usize);
            let args = Args::from_parts(&self.data, spans, large);
            (Call { command: head.command, caller: head.caller, slot: head.slot, args }, head.sequence)
        })
    }
}

struct ReplyHead {
    client_index: u32,
    sequence: u32,
    client_id: u64,
    length: usize,
}

/// Replies to requests of another core's clients, one after the other in one buffer.
#[derive(Default)]
pub struct ReplyBatch {
    heads: Vec<ReplyHead>,
    buffer: ReplyBuffer,
}

impl ReplyBatch {
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Lets `write` append one reply.
    pub fn push(&mut self, target: ReplyTarget, write: impl FnOnce(&mut ReplyBuffer)) {
        let before = self.buffer.len_bytes();
        write(&mut self.buffer);
        self.heads.push(ReplyHead {
            client_index: target.client.index,
            sequence: target.sequence,
            client_id: target.client.id,
            length: self.buffer.len_bytes() - before,
        });
    }

    /// Hands each reply to `deliver`, which must take exactly `length` bytes out of the buffer, to wherever.
    pub fn drain(&mut self, mut deliver: impl FnMut(u32, u64, u32, usize, &mut ReplyBuffer)) {
        for head in self.heads.drain(..) {
            let left = self.buffer.len_bytes() - head.length;
            deliver(head.client_index, head.client_id, head.sequence, head.length, &mut self.buffer);
            assert_eq!(self.buffer.len_bytes(), left, "a reply is taken whole");
        }
    }
}

/// A request that travels alone, with its arguments.
#[derive(Clone)]
pub struct OwnedCall {
    pub command: CommandId,
    pub caller: Caller,
    pub slot: Option<Slot>,
    pub args: ArgsBuf,
}

impl OwnedCall {
    pub fn new(call: &Call<'_>) -> OwnedCall {
        OwnedCall { command: call.command, caller: call.caller, slot: call.slot, args: ArgsBuf::from(&call.args) }
    }

    pub fn as_call(&self) -> Call<'_> {
        Call { command: self.command, caller: self.caller, slot: self.slot, args: self.args.as_args() }
    }
}
