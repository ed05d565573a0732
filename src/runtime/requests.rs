//! Requests on their way through one core: from a connection's bytes to a handler here or on another core, and the
//! replies back into the connection in order.
//!
//! Owns the core's data and the connections; called by the turn loop of `worker`, which moves the bytes. Never
//! waits and never touches the ring.

use std::os::fd::RawFd;
use std::sync::Arc;

use bytes::Bytes;
use slab::Slab;

use super::batch::{OwnedCall, ReplyTarget, RequestBatch};
use super::connection::Connection;
use super::listen::Accepted;
use super::mesh::{Envelope, Mesh, Message};
use super::worker::Census;
use crate::base::core_id::CoreId;
use crate::command::client::{Client, ClientRef, CloseReason, ReplyMode};
use crate::command::core::{Core, Effect, Publication, ShutdownOptions};
use crate::command::execute::{self, Call, Share};
use crate::command::gate::{self, Place, Verdict};
use crate::command::monitor;
use crate::command::slowlog::SlowEntry;
use crate::command::spec::{Flags, Group, Run};
use crate::resp::{
    Args, ArgsBuf, LOOKAHEAD_MAX, Lookahead, Parse, ProtocolError, Reply, ReplyBuffer, RequestLimits, RespVersion, Stopped,
};

/// A held client's input may grow to this before its socket is no longer read.
const HELD_INPUT_MAX: usize = 1024 * 1024;

/// Fewer requests than this are not worth a look ahead at their keys.
const PREFETCH_MIN: usize = 4;

/// A command that waits for every core's share.
struct Gather {
    call: Box<OwnedCall>,
    target: ReplyTarget,
    shares: Vec<Option<Share>>,
    missing: usize,
}

/// Something that core 0 has published, until every core has taken it over.
struct Publishing {
    /// The reply that waits for it; none when no client asked.
    answer: Option<(ReplyTarget, Box<ReplyBuffer>)>,
    missing: usize,
}

/// The requests of one core.
pub struct Requests {
    pub core: Core,
    pub mesh: Mesh,
    census: Arc<Census>,
    /// By the index of the client in `core.clients`; None while its input is being run.
    connections: Vec<Option<Box<Connection>>>,
    gathers: Slab<Gather>,
    publishing: Slab<Publishing>,
    /// Connections with something to send.
    pub dirty: Vec<u32>,
    /// Connections that have just come, with their descriptors.
    pub adopted: Vec<(u32, RawFd)>,
    /// Connections to receive from again, or no more for now.
    pub resumed: Vec<u32>,
    pub held: Vec<u32>,
    /// Clients whose `closing` is set.
    closing: Vec<u32>,
    /// Some of them were added since the last look.
    closing_news: bool,
    /// Clients that CLIENT PAUSE holds.
    postponed: Vec<u32>,
    /// The pause has changed: those are to ask the gate again.
    pause_changed: bool,
    /// Set when the node is to end.
    pub stopped: Option<Option<ShutdownOptions>>,
    expiring: bool,
    /// Reused by every connection.
    ahead: Lookahead,
}

impl Requests {
    pub fn new(mut core: Core, mesh: Mesh, census: Arc<Census>) -> Requests {
        core.startup_bytes = (core.memory)().allocated_bytes;
        Requests {
            core,
            mesh,
            census,
            connections: Vec::new(),
            gathers: Slab::new(),
            publishing: Slab::new(),
            dirty: Vec::new(),
            adopted: Vec::new(),
            resumed: Vec::new(),
            held: Vec::new(),
            closing: Vec::new(),
            closing_news: false,
            postponed: Vec::new(),
            pause_changed: false,
            stopped: None,
            expiring: false,
            ahead: Lookahead::default(),
        }
    }

    pub fn connection(&mut self, index: u32) -> Option<&mut Connection> {
        self.connections.get_mut(index as usize)?.as_deref_mut()
    }

    // ---- connections come and go -------------------------------------------------------------------------------

    /// Gives an accepted connection to the core that serves it.
    pub fn assign(&mut self, core: CoreId, accepted: Accepted) {
        if core == self.core.id {
            self.adopt(accepted);
        } else {
            self.mesh.send(core, Message::Connection(Box::new(accepted)));
        }
    }

    fn adopt(&mut self, accepted: Accepted) {
        let connection = Box::new(Connection::new(accepted.descriptor));
        let descriptor = connection.descriptor();
        let entry = self.core.clients.vacant_entry();
        let index = entry.key() as u32;
        let now = self.core.clock.unix();
        let mut client = Client::new(accepted.id, index, descriptor, accepted.peer, accepted.local, now);
        client.authenticated = self.core.config.requirepass.is_empty();
        entry.insert(client);
        if self.connections.len() <= index as usize {
            self.connections.resize_with(index as usize + 1, || None);
        }
        self.connections[index as usize] = Some(connection);
        self.core.stats.connections_received += 1;
        self.adopted.push((index, descriptor));
        if let Some(connection) = self.connection(index) {
            connection.receiving = true;
        }
    }

    /// Marks a client to be closed at the end of the turn.
    pub fn close(&mut self, index: u32, reason: CloseReason) {
        let Some(client) = self.core.clients.get_mut(index as usize) else { return };
        // A second reason counts only when the first let replies out that can no longer go.
        if client.closing.is_none() || client.closing == Some(CloseReason::AfterReply) {
            client.closing = Some(reason);
            self.closing.push(index);
            self.closing_news = true;
        }
    }

    /// The clients whose sockets are to be shut now. Those that wait for their last reply stay in the list.
    pub fn take_closable(&mut self) -> Vec<u32> {
        if self.closing.is_empty() {
            return Vec::new();
        }
        self.closing_news = false;
        let closing = std::mem::take(&mut self.closing);
        let (now, later): (Vec<u32>, Vec<u32>) = closing.into_iter().partition(|index| self.is_closable(*index));
        self.closing = later;
        now
    }

    fn is_closable(&mut self, index: u32) -> bool {
        let reason = self.core.clients.get(index as usize).and_then(|client| client.closing);
        match reason {
            Some(CloseReason::AfterReply) => self.connection(index).is_none_or(|c| c.is_drained() || c.is_shut),
            _ => true,
        }
    }

    /// Removes a connection whose socket is shut and whose operations have completed. True when it did.
    pub fn forget_if_finished(&mut self, index: u32) -> bool {
        let finished = self.connection(index).is_some_and(|c| c.is_shut && !c.receiving && !c.is_sending);
        if finished {
            self.connections[index as usize] = None;
            let client = self.core.clients.remove(index as usize);
            if client.monitor {
                self.monitor_left(client.caller(self.core.id).client);
            }
            self.postponed.retain(|postponed| *postponed != index);
        }
        finished
    }

    // ---- bytes in ----------------------------------------------------------------------------------------------

    /// Takes bytes that were received and runs the requests that are complete in them.
    pub fn input(&mut self, index: u32, chunk: &[u8]) {
        let Some(mut connection) = self.connections.get_mut(index as usize).and_then(Option::take) else { return };
        self.core.stats.received_bytes += chunk.len() as u64;
        self.core.stats.reads_processed += 1;
        let now = self.core.clock.unix();
        let client = &mut self.core.clients[index as usize];
        client.last_interaction = now;
        client.traffic.received_bytes += chunk.len() as u64;
        if client.closing.is_none() {
            self.consume(index, &mut connection, chunk);
        }
        self.put_back(index, connection);
    }

    /// Runs what a client has sent while it was held.
    fn resume(&mut self, index: u32) {
        let Some(mut connection) = self.connections.get_mut(index as usize).and_then(Option::take) else { return };
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

    fn put_back(&mut self, index: u32, mut connection: Box<Connection>) {
        self.check_input(index, &connection);
        if !connection.output.is_empty() && !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(index);
        }
        self.connections[index as usize] = Some(connection);
        self.carry_out_effects();
    }

    /// Parses in the chunk itself when nothing is left over from before.
    fn consume(&mut self, index: u32, connection: &mut Connection, chunk: &[u8]) {
        if !connection.postponed.is_empty() {
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
            if !connection.postponed.is_empty() {
                break data.len();
            }
            // What a client may send depends on AUTH: before it, one at a time.
            let count = if client.authenticated { LOOKAHEAD_MAX } else { 1 };
            let limits =
                RequestLimits { bulk_bytes_max: self.core.config.proto_max_bulk_len, authenticated: client.authenticated };
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

    /// client-query-buffer-limit, and the held client's socket.
    fn check_input(&mut self, index: u32, connection: &Connection) {
        let bytes = connection.input_bytes();
        if bytes == 0 {
            return;
        }
        if bytes as u64 > self.core.config.client_query_buffer_limit {
            self.core.stats.client_query_buffer_limit_disconnections += 1;
            self.close(index, CloseReason::QueryBufferLimit);
        } else if !connection.postponed.is_empty() && bytes > HELD_INPUT_MAX {
            self.held.push(index);
        }
    }

    // ---- one request -------------------------------------------------------------------------------------------

    #[inline]
    fn request(&mut self, index: u32, connection: &mut Connection, args: &Args<'_>) {
        if !connection.postponed.is_empty() {
            connection.postponed.push(ArgsBuf::from(args)); // behind the one that waits
            return;
        }
        let verdict = gate::check(&mut self.core, index, args);
        if let Verdict::Paused = verdict {
            connection.postponed.push(ArgsBuf::from(args));
            self.postponed.push(index);
            self.core.clients[index as usize].postponed = true;
            return;
        }
        let wanted = self.step_reply_mode(index);
        match verdict {
            Verdict::Run { command, place, slot } => {
                let client = &mut self.core.clients[index as usize];
                let caller = client.caller(self.core.id);
                client.last_command = Some(command.spec());
                client.asking = false;
                let call = Call { command, caller, slot, args: *args };
                self.dispatch(connection, &call, place, wanted);
                if !self.core.monitors.is_empty() {
                    monitor::feed(&mut self.core, &call);
                }
            }
            Verdict::Refused { error, command } => {
                let core = &mut self.core;
                if wanted {
                    connection.reply_here(|out| execute::refuse(core, command, &error, out));
                } else {
                    execute::refuse(core, command, &error, &mut ReplyBuffer::new());
                }
            }
            Verdict::Paused => unreachable!("answered above"),
        }
        if !self.core.effects.is_empty() {
            self.serve_own_effects(index, connection);
            self.carry_out_effects();
        }
    }

    /// Carries out the effects that concern the very client whose request was run: its connection is at hand here and
    /// nowhere else.
    #[cold]
    fn serve_own_effects(&mut self, index: u32, connection: &mut Connection) {
        let client = &self.core.clients[index as usize];
        let (own, is_monitor) = (client.caller(self.core.id).client, client.monitor);
        for effect in std::mem::take(&mut self.core.effects) {
            match effect {
                Effect::Push { to, bytes } if to == own => connection.push(&bytes),
                Effect::MonitorLine { to, line } if to == own && is_monitor => connection.push(&line),
                other => self.core.effects.push(other),
            }
        }
    }

    /// CLIENT REPLY: is the reply to the next command wanted?
    #[inline]
    fn step_reply_mode(&mut self, index: u32) -> bool {
        let mode = &mut self.core.clients[index as usize].reply_mode;
        match *mode {
            ReplyMode::On => true,
            ReplyMode::SkipNext => {
                *mode = ReplyMode::Skip;
                false
            }
            ReplyMode::Skip => {
                *mode = ReplyMode::On;
                true
            }
            ReplyMode::Off => false,
        }
    }

    #[inline]
    fn dispatch(&mut self, connection: &mut Connection, call: &Call<'_>, place: Place, wanted: bool) {
        match place {
            Place::Every => self.gather(connection, call, wanted),
            Place::Core(core) if core != self.core.id => {
                let sequence = connection.await_reply(wanted);
                self.core.stats.requests_forwarded += 1;
                self.mesh.requests_to(core).push(call, sequence);
            }
            Place::Core(_) | Place::Connection => self.run_here(connection, call, wanted),
        }
    }

    #[inline]
    fn run_here(&mut self, connection: &mut Connection, call: &Call<'_>, wanted: bool) {
        if call.command.spec().run.is_for_first_core() {
            let sequence = connection.await_reply(wanted);
            return self.run_on_first(call, sequence, Some(connection));
        }
        let spec = call.command.spec();
        if spec.group == Group::Connection && !spec.flags.has(Flags::FAST) {
            super::tick::report(&mut self.core.clients[call.caller.client.index as usize], connection);
        }
        let core = &mut self.core;
        if wanted {
            connection.reply_here(|out| execute::run(core, call, out));
        } else {
            let mut scratch = ReplyBuffer::new();
            execute::run(core, call, &mut scratch);
            // CLIENT REPLY ON answers although replies were off.
            if self.core.clients.get(call.caller.client.index as usize).is_some_and(|c| c.reply_mode == ReplyMode::On) {
                let length = scratch.len_bytes();
                connection.reply_here(|out| scratch.drain_into(out, length));
            }
        }
    }

    /// Runs a command of core 0, or lets every core do its share first.
    fn run_on_first(&mut self, call: &Call<'_>, sequence: u32, connection: Option<&mut Connection>) {
        let target = ReplyTarget { client: call.caller.client, sequence };
        let mut reply = Box::new(ReplyBuffer::new());
        if matches!(call.command.spec().run, Run::OnFirstCoreAfterAll { .. }) {
            let own = execute::run_part(&mut self.core, call);
            if self.mesh.others().next().is_some() {
                return self.gather_shares(call, target, own);
            }
            execute::merge(&mut self.core, call, vec![own], &mut reply);
        } else {
            execute::run(&mut self.core, call, &mut reply);
        }
        self.answer_from_first(target, reply, connection);
    }

    /// When the command has published something, the reply waits until every core has it.
    fn answer_from_first(&mut self, target: ReplyTarget, mut reply: Box<ReplyBuffer>, connection: Option<&mut Connection>) {
        let publications: Vec<Publication> = self.take_publications();
        if !publications.is_empty() && self.mesh.others().next().is_some() {
            return self.publish(publications, Some((target, reply)));
        }
        publications.into_iter().for_each(|publication| self.core.apply(publication));
        match connection {
            Some(connection) => {
                let length = reply.len_bytes();
                connection.arrived(target.sequence, length, &mut reply);
            }
            None => self.answer(target, reply),
        }
    }

    /// Hands publications to every core, and the answer to its client once they have them.
    fn publish(&mut self, publications: Vec<Publication>, answer: Option<(ReplyTarget, Box<ReplyBuffer>)>) {
        let others: Vec<CoreId> = self.mesh.others().collect();
        let missing = publications.len() * others.len();
        let ticket = (missing > 0).then(|| self.publishing.insert(Publishing { answer, missing }) as u32);
        for publication in publications {
            for (core, ticket) in others.iter().zip(std::iter::repeat(ticket)) {
                let ticket = ticket.expect("there are others");
                self.mesh.send(*core, Message::Publish { ticket, publication: publication.clone() });
            }
            self.core.apply(publication);
        }
    }

    fn take_publications(&mut self) -> Vec<Publication> {
        let mut publications = Vec::new();
        let effects = std::mem::take(&mut self.core.effects);
        for effect in effects {
            match effect {
                Effect::Publish(publication) => publications.push(publication),
                other => self.core.effects.push(other),
            }
        }
        publications
    }

    // ---- commands of every core ---------------------------------------------------------------------------------

    fn gather(&mut self, connection: &mut Connection, call: &Call<'_>, wanted: bool) {
        let others: Vec<CoreId> = self.mesh.others().collect();
        let own = self.run_part(call);
        if others.is_empty() {
            let core = &mut self.core;
            let mut unwanted = ReplyBuffer::new();
            if wanted {
                connection.reply_here(|out| execute::merge(core, call, vec![own], out));
            } else {
                execute::merge(core, call, vec![own], &mut unwanted);
            }
            return;
        }
        let target = ReplyTarget { client: call.caller.client, sequence: connection.await_reply(wanted) };
        self.gather_shares(call, target, own);
    }

    /// Asks the other cores for their shares.
    fn gather_shares(&mut self, call: &Call<'_>, target: ReplyTarget, own: Share) {
        let others: Vec<CoreId> = self.mesh.others().collect();
        let mut shares: Vec<Option<Share>> = (0..=others.len()).map(|_| None).collect();
        shares[self.core.id.index()] = Some(own);
        let owned = Box::new(OwnedCall::new(call));
        let gather = Gather { call: owned.clone(), target, shares, missing: others.len() };
        let gather = self.gathers.insert(gather) as u32;
        for core in others {
            self.mesh.send(core, Message::Part { gather, call: owned.clone() });
        }
    }

    /// This core's share. What CLIENT LIST and INFO show of connections is brought up to date first.
    fn run_part(&mut self, call: &Call<'_>) -> Share {
        if matches!(call.command.spec().group, Group::Connection | Group::Server) {
            for (index, client) in &mut self.core.clients {
                if let Some(Some(connection)) = self.connections.get(index) {
                    super::tick::report(client, connection);
                }
            }
        }
        execute::run_part(&mut self.core, call)
    }

    fn share_arrived(&mut self, gather: u32, from: CoreId, share: Share) {
        let waiting = &mut self.gathers[gather as usize];
        waiting.shares[from.index()] = Some(share);
        waiting.missing -= 1;
        if waiting.missing > 0 {
            return;
        }
        let Gather { call, target, shares, .. } = self.gathers.remove(gather as usize);
        let shares: Vec<Share> = shares.into_iter().flatten().collect();
        let mut reply = Box::new(ReplyBuffer::new());
        if call.command.spec().run.is_for_first_core() {
            execute::merge(&mut self.core, &call.as_call(), shares, &mut reply);
            return self.answer_from_first(target, reply, None);
        }
        // The client may have gone; its books are kept all the same.
        if self.core.own_client(call.caller.client).is_some() {
            execute::merge(&mut self.core, &call.as_call(), shares, &mut reply);
        }
        self.deliver(target, &mut reply);
        self.carry_out_effects();
    }

    // ---- from other cores ---------------------------------------------------------------------------------------

    /// Takes in what other cores have sent. True when there was anything.
    pub fn take_messages(&mut self) -> bool {
        let mut worked = false;
        while let Some((from, envelope)) = self.mesh.receive() {
            worked = true;
            self.open(from, envelope);
        }
        worked
    }

    fn open(&mut self, from: CoreId, mut envelope: Envelope) {
        envelope.replies.drain(|index, id, sequence, length, buffer| {
            self.reply_arrived(index, id, sequence, length, buffer);
        });
        for message in envelope.messages {
            match message {
                Message::Requests(batch) => self.run_batch(from, &batch),
                Message::Part { gather, call } => {
                    let share = self.run_part(&call.as_call());
                    self.mesh.send(from, Message::Share { gather, share });
                }
                Message::Share { gather, share } => self.share_arrived(gather, from, share),
                Message::Publish { ticket, publication } => {
                    self.core.apply(publication);
                    self.mesh.send(from, Message::Published { ticket });
                }
                Message::Published { ticket } => self.published(ticket),
                Message::Reply { target, mut reply } => self.deliver(target, &mut reply),
                Message::Push { to, bytes } => self.push(to, &bytes),
                Message::MonitorLine { to, line } => self.monitor_line(to, &line),
                Message::MonitorLeft(client) => self.core.monitors.retain(|monitor| *monitor != client),
                Message::Slow { client, entry } => self.slow(client, *entry),
                Message::Connection(accepted) => self.adopt(*accepted),
                Message::Stop => self.stopped = Some(None),
            }
        }
        self.carry_out_effects();
    }

    fn run_batch(&mut self, from: CoreId, batch: &RequestBatch) {
        self.core.stats.requests_for_others += batch.len() as u64;
        for (place, (call, sequence)) in batch.calls_from(0).enumerate() {
            if place % LOOKAHEAD_MAX == 0 && batch.len() - place >= PREFETCH_MIN {
                let next = batch.calls_from(place).take(LOOKAHEAD_MAX).map(|(call, _)| call.args);
                self.core.prefetch(call.caller.db as usize, next);
            }
            if call.command.spec().run.is_for_first_core() {
                self.run_on_first(&call, sequence, None);
                continue;
            }
            let target = ReplyTarget { client: call.caller.client, sequence };
            let core = &mut self.core;
            self.mesh.replies_to(from).push(target, |out| execute::run(core, &call, out));
        }
    }

    fn published(&mut self, ticket: u32) {
        let waiting = &mut self.publishing[ticket as usize];
        waiting.missing -= 1;
        if waiting.missing == 0
            && let Some((target, reply)) = self.publishing.remove(ticket as usize).answer
        {
            self.answer(target, reply);
        }
    }

    /// Sends a finished reply to wherever its client is.
    fn answer(&mut self, target: ReplyTarget, mut reply: Box<ReplyBuffer>) {
        if target.client.core == self.core.id {
            self.deliver(target, &mut reply);
        } else {
            self.mesh.send(target.client.core, Message::Reply { target, reply });
        }
    }

    fn deliver(&mut self, target: ReplyTarget, reply: &mut ReplyBuffer) {
        let length = reply.len_bytes();
        self.reply_arrived(target.client.index, target.client.id, target.sequence, length, reply);
    }

    #[inline]
    fn reply_arrived(&mut self, index: u32, id: u64, sequence: u32, length: usize, buffer: &mut ReplyBuffer) {
        let known = self.core.clients.get(index as usize).is_some_and(|client| client.id == id);
        let connection = self.connections.get_mut(index as usize).and_then(Option::as_deref_mut);
        match connection.filter(|_| known) {
            Some(connection) => {
                connection.arrived(sequence, length, buffer);
                if !connection.is_dirty && !connection.output.is_empty() {
                    connection.is_dirty = true;
                    self.dirty.push(index);
                }
            }
            None => buffer.advance(length), // the client has gone
        }
    }

    // ---- effects ------------------------------------------------------------------------------------------------

    /// Carries out what handlers have asked for.
    fn carry_out_effects(&mut self) {
        while !self.core.effects.is_empty() {
            for effect in std::mem::take(&mut self.core.effects) {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Push { to, bytes } if to.core == self.core.id => self.push(to, &bytes),
            Effect::Push { to, bytes } => self.mesh.send(to.core, Message::Push { to, bytes }),
            Effect::MonitorLine { to, line } if to.core == self.core.id => self.monitor_line(to, &line),
            Effect::MonitorLine { to, line } => self.mesh.send(to.core, Message::MonitorLine { to, line }),
            Effect::MonitorLeft(client) => self.monitor_left(client),
            Effect::Close { index, reason } => self.close(index, reason),
            Effect::Slow { client, entry } if client.core == self.core.id => self.slow(client, *entry),
            Effect::Slow { client, entry } => self.mesh.send(client.core, Message::Slow { client, entry }),
            Effect::PauseChanged => self.pause_changed = true, // looked at when the turn settles
            Effect::Shutdown(options) => self.shut_down(options),
            Effect::PurgeMemory => super::allocator::purge(),
            Effect::Publish(publication) => self.core.apply(publication),
        }
    }

    fn push(&mut self, to: ClientRef, bytes: &Bytes) {
        if self.core.own_client(to).is_none_or(|client| client.closing.is_some()) {
            return;
        }
        let Some(connection) = self.connection(to.index) else { return };
        connection.push(bytes);
        if !connection.is_dirty && !connection.output.is_empty() {
            connection.is_dirty = true;
            self.dirty.push(to.index);
        }
    }

    /// A line for a client that still is a monitor.
    fn monitor_line(&mut self, to: ClientRef, line: &Bytes) {
        if self.core.own_client(to).is_some_and(|client| client.monitor) {
            self.push(to, line);
        }
    }

    /// Tells every core that a client of this one is no monitor any more.
    fn monitor_left(&mut self, client: ClientRef) {
        self.core.monitors.retain(|monitor| *monitor != client);
        let others: Vec<CoreId> = self.mesh.others().collect();
        others.into_iter().for_each(|core| self.mesh.send(core, Message::MonitorLeft(client)));
    }

    fn slow(&mut self, client: ClientRef, mut entry: SlowEntry) {
        if let Some(client) = self.core.own_client(client) {
            entry.client_address = client.peer.to_string();
            entry.client_name = client.name.clone();
        }
        let (core, cores_count) = (self.core.id.index(), self.core.facts.cores_count);
        self.core.slowlog.add(entry, core, cores_count);
    }

    /// Ends the node: every core stops after its turn.
    pub fn shut_down(&mut self, options: ShutdownOptions) {
        assert!(self.core.id == CoreId::FIRST, "core 0 ends the node");
        let others: Vec<CoreId> = self.mesh.others().collect();
        others.into_iter().for_each(|core| self.mesh.send(core, Message::Stop));
        self.stopped = Some(Some(options));
    }

    // ---- the turn and the tick ------------------------------------------------------------------------------------

    /// What is due at the end of a turn's work: clients whose pause has ended.
    pub fn settle(&mut self) {
        if self.postponed.is_empty() {
            return;
        }
        // Whom the pause still holds lines up again, in the same order.
        if std::mem::take(&mut self.pause_changed) || self.core.pause.until(self.core.clock.unix()).is_none() {
            let postponed = std::mem::take(&mut self.postponed);
            postponed.into_iter().for_each(|index| self.resume(index));
        }
    }

    /// Frees a slice of what UNLINK and FLUSHALL ASYNC have put aside. True when it did anything.
    pub fn free_slice(&mut self, budget: usize) -> bool {
        self.core.keyspace.lazyfree_pending() > 0 && self.core.keyspace.free_slice(budget)
    }

    pub fn has_more_to_do(&self) -> bool {
        self.closing_news || !self.dirty.is_empty() || !self.resumed.is_empty() || !self.adopted.is_empty() || self.core.keyspace.lazyfree_pending() > 0
    }

    pub fn is_expiring(&self) -> bool {
        self.expiring
    }

    /// Periodic work, `hz` times a second.
    pub fn tick(&mut self) {
        self.census.note_allocated(self.core.id, (self.core.memory)().allocated_bytes);
        if self.core.paused_tick {
            return;
        }
        let begun_ns = self.core.nanos.now_ns();
        self.expiring = super::tick::expire(&mut self.core);
        let now = self.core.clock.unix();
        let timeout_ms = i64::from(self.core.config.timeout) * 1000;
        let mut idle = Vec::new();
        for (index, client) in &mut self.core.clients {
            let Some(Some(connection)) = self.connections.get_mut(index) else { continue };
            super::tick::observe(client, connection, now);
            if !connection.is_dirty && traffic_waits(client) {
                // A slow reader's time above the soft limit runs on while nothing new is written.
                connection.is_dirty = true;
                self.dirty.push(index as u32);
            }
            if timeout_ms > 0 && now.since(client.last_interaction) > timeout_ms && super::tick::may_time_out(client, connection) {
                idle.push(index as u32);
            }
        }
        idle.into_iter().for_each(|index| self.close(index, CloseReason::Timeout));
        self.core.stats.sample(self.core.clock.monotonic_us());
        let clock = self.core.clock;
        if let Some(publication) = self.core.node.as_mut().and_then(|node| node.tick(&clock)) {
            self.publish(vec![publication], None);
        }
        if self.core.id == CoreId::FIRST {
            self.core.stats.clients_peak = self.core.stats.clients_peak.max(u64::from(self.census.clients_count()));
        }
        self.core.stats.ticks_ns += self.core.nanos.now_ns().saturating_sub(begun_ns);
    }

    // ---- bytes out ------------------------------------------------------------------------------------------------

    /// A send has completed.
    pub fn sent(&mut self, index: u32, count: usize) {
        self.core.stats.sent_bytes += count as u64;
        self.core.stats.writes_processed += 1;
        if let Some(client) = self.core.clients.get_mut(index as usize) {
            client.traffic.sent_bytes += count as u64;
        }
        let Some(connection) = self.connection(index) else { return };
        connection.sent(count);
        if !connection.output.is_empty() && !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(index);
        }
    }

    pub fn send_failed(&mut self, index: u32) {
        if let Some(connection) = self.connection(index) {
            connection.send_failed();
        }
        self.close(index, CloseReason::Peer);
    }

    /// client-output-buffer-limit: true when the output may go out, false when it has overrun and the client goes.
    pub fn check_output(&mut self, index: u32) -> bool {
        let Some(Some(connection)) = self.connections.get_mut(index as usize) else { return false };
        let Some(client) = self.core.clients.get_mut(index as usize) else { return false };
        let waiting = connection.output_bytes() as u64;
        let limit = &self.core.config.client_output_buffer_limit.normal;
        let now = self.core.clock.unix();
        let above_soft = limit.soft_bytes > 0 && waiting > limit.soft_bytes;
        let since = *client.output_soft_since.get_or_insert(now);
        if !above_soft {
            client.output_soft_since = None;
        }
        let overrun = limit.hard_bytes > 0 && waiting > limit.hard_bytes
            || above_soft && now.since(since) > i64::try_from(limit.soft_seconds).unwrap_or(i64::MAX).saturating_mul(1000);
        if !overrun || client.closing.is_some() {
            return true;
        }
        tracing::warn!("Client id={} addr={} closed for overcoming of output buffer limits.", client.id, client.peer);
        self.core.stats.client_output_limit_disconnections += 1;
        connection.is_dirty = false;
        self.close(index, CloseReason::OutputLimit);
        false
    }
}

fn traffic_waits(client: &Client) -> bool {
    client.traffic.output_bytes > 0
}

/// What became of the bytes given to the parser.
struct Used {
    /// Belong to requests that have run.
    consumed: usize,
    /// From there to here they must be kept for the next time.
    kept: usize,
}
