//! The sockets of the cluster bus, and the bytes in them (core 0).
//!
//! ```text
//! in    ring: readable -> `receive`: read(2) into one buffer that serves all links -> whole packets, decoded where they lie
//!       -> `requests::bus`: a step of the state machine, whose actions come back here
//! out   Action::Send -> `send`: into the link's queue -> end of the turn, `flush`: writev(2); what the socket does not take
//!       goes on when the ring says that it can be written to
//! ```
//!
//! The ring is asked whether a socket is ready, not to move its bytes: most links are silent most of the time, and none keeps a
//! buffer while it is. What the ring is to do is left in `orders`, which the turn loop hands over. Knows no node and judges no message:
//! that is `cluster::machine`'s, which also gives each link its number. Called by `requests::bus` only.

mod link;
pub mod socket;

use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;

use super::listen::Listener;
use super::ring::{ClientRing, Operation};
use crate::cluster::machine::{Ends, LinkId};
use crate::cluster::message::{Damage, Message};
use crate::command::node::LinkBuffers;
use crate::config::Config;
use link::{Link, Taken};

/// Bytes of one read: two dozen pings of a large cluster.
const READ_BYTES: usize = 64 << 10;
/// Reads from one link before others have their turn.
const READS_MAX: usize = 4;
/// Connections accepted from one listener before other work has its turn.
const ACCEPTS_MAX: usize = 64;

/// What the ring is to do for the bus.
pub enum RingOrder {
    /// Say once when this can be read from.
    AwaitInput(Operation, RawFd),
    /// Say once when this can be written to.
    AwaitRoom(Operation, RawFd),
    /// What was asked for under this name is of no use any more.
    Cancel(Operation),
    /// Say when so much time has passed.
    Tick(Duration),
}

impl RingOrder {
    pub fn give_to(self, ring: &mut ClientRing) {
        match self {
            RingOrder::AwaitInput(operation, descriptor) => ring.await_input(operation, descriptor),
            RingOrder::AwaitRoom(operation, descriptor) => ring.await_room(operation, descriptor),
            RingOrder::Cancel(operation) => ring.cancel(operation),
            RingOrder::Tick(delay) => ring.bus_tick_after(delay),
        }
    }
}

/// What a read has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    GoesOn,
    /// The other side has closed, or the connection is broken.
    Ended,
}

/// All sockets of the bus.
pub struct Bus {
    listeners: Vec<TcpListener>,
    /// By their numbers in the ring.
    links: HashMap<u32, Link>,
    /// In their order.
    pub orders: Vec<RingOrder>,
    /// Links with something to send.
    dirty: Vec<LinkId>,
    /// Listeners that could not accept, for want of descriptors or memory.
    stuck: Vec<usize>,
    scratch: Box<[u8]>,
}

impl Bus {
    /// Around sockets that listen. Nobody is accepted before [`Bus::accept_from_now_on`].
    pub fn new(listeners: Vec<Listener>) -> Bus {
        Bus {
            listeners: listeners.into_iter().map(|listener| TcpListener::from(listener.descriptor)).collect(),
            links: HashMap::new(),
            orders: Vec::new(),
            dirty: Vec::new(),
            stuck: Vec::new(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
        }
    }

    /// Lets other nodes in.
    pub fn accept_from_now_on(&mut self) {
        (0..self.listeners.len()).for_each(|index| self.await_connections(index));
    }

    fn await_connections(&mut self, index: usize) {
        let Some(listener) = self.listeners.get(index) else { return };
        self.orders.push(RingOrder::AwaitInput(Operation::BusAccept(index as u32), listener.as_raw_fd()));
    }

    /// Tries again what failed for want of descriptors: once in a while, not each turn.
    pub fn retry_accepts(&mut self) {
        for index in std::mem::take(&mut self.stuck) {
            self.await_connections(index);
        }
    }

    /// The connections that wait at a listener, ready for use.
    pub fn accept(&mut self, index: usize, config: &Config) -> Vec<TcpStream> {
        let mut accepted = Vec::new();
        while accepted.len() < ACCEPTS_MAX {
            let Some(listener) = self.listeners.get(index) else { return accepted };
            match listener.accept() {
                Ok((stream, _)) => {
                    if socket::prepare(&stream, config.tcp_keepalive).is_ok() {
                        accepted.push(stream);
                    }
                }
                Err(error) if is_transient(&error) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    tracing::warn!("Error accepting cluster node: {error}");
                    self.stuck.push(index);
                    return accepted;
                }
            }
        }
        self.await_connections(index);
        accepted
    }

    /// The addresses of a connection's ends.
    pub fn ends(stream: &TcpStream) -> io::Result<Ends> {
        let (peer, own) = (stream.peer_addr()?, stream.local_addr()?);
        Ok(Ends { peer_ip: peer.ip().to_string(), own_ip: own.ip().to_string() })
    }

    /// Takes an open connection up under its number.
    pub fn adopt(&mut self, id: LinkId, stream: TcpStream) {
        let mut link = Link::new(id, stream);
        link.is_open = true;
        self.orders.push(RingOrder::AwaitInput(read_of(id), link.descriptor()));
        self.links.insert(number_of(id), link);
    }

    /// Begins to connect; [`Bus::connected`] tells the outcome once the ring has said that there is one.
    ///
    /// # Errors
    /// When that is known already: it cannot be reached.
    pub fn connect(&mut self, id: LinkId, ip: &str, port: u16, config: &Config) -> io::Result<()> {
        let stream = socket::connect(ip, port, &config.bind_source_addr, config.tcp_keepalive)?;
        let link = Link::new(id, stream);
        self.orders.push(RingOrder::AwaitRoom(write_of(id), link.descriptor()));
        self.links.insert(number_of(id), link);
        Ok(())
    }

    /// The socket can be written to: of one that was connecting, what that has come to; else what waits is sent on.
    pub fn writable(&mut self, id: LinkId) -> Option<io::Result<Ends>> {
        let link = self.links.get_mut(&number_of(id))?;
        link.awaits_room = false;
        if link.is_open {
            self.mark_dirty(id);
            return None;
        }
        let outcome = link.take_error().and_then(|()| Bus::ends(link.stream()));
        if outcome.is_ok() {
            link.is_open = true;
            self.orders.push(RingOrder::AwaitInput(read_of(id), link.descriptor()));
        }
        Some(outcome)
    }

    /// Closes a connection and forgets it.
    pub fn close(&mut self, id: LinkId) {
        let Some(link) = self.links.remove(&number_of(id)) else { return };
        // A poll under way holds the socket open: the other side is told now.
        link.shut_down();
        self.orders.extend([RingOrder::Cancel(read_of(id)), RingOrder::Cancel(write_of(id))]);
    }

    /// Puts a packet behind those that are on their way.
    pub fn send(&mut self, id: LinkId, packet: Bytes) {
        let Some(link) = self.links.get_mut(&number_of(id)) else { return };
        link.push(packet);
        self.mark_dirty(id);
    }

    fn mark_dirty(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&number_of(id))
            && !link.is_dirty
        {
            link.is_dirty = true;
            self.dirty.push(id);
        }
    }

    /// Whether there is something to send.
    #[inline]
    pub fn has_output(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Sends what has gathered, as far as the sockets take it. Tells whose books have changed; the links that are broken.
    pub fn flush(&mut self, mut tell: impl FnMut(LinkId, LinkBuffers)) -> Vec<LinkId> {
        let mut broken = Vec::new();
        for id in self.dirty.drain(..) {
            let Some(link) = self.links.get_mut(&number_of(id)) else { continue };
            link.is_dirty = false;
            if !link.is_open || link.is_broken || link.awaits_room {
                tell(id, link.buffers());
                continue;
            }
            match link.flush() {
                Ok(true) => {}
                Ok(false) => {
                    link.awaits_room = true;
                    self.orders.push(RingOrder::AwaitRoom(write_of(id), link.descriptor()));
                }
                Err(_) => broken.push(id),
            }
            tell(id, link.buffers());
        }
        broken
    }

    /// Reads what has come over a link, and puts the messages into `into`, those that cannot be read among them. A stranger, who is
    /// not `is_known`, may not send packets of any length. After a [`Damage`] of which `is_lost` is true nothing more is read.
    pub fn receive(&mut self, id: LinkId, is_known: bool, into: &mut Vec<Result<Message, Damage>>) -> Flow {
        let Some(link) = self.links.get_mut(&number_of(id)) else { return Flow::GoesOn };
        for _ in 0..READS_MAX {
            let count = match link.read(&mut self.scratch) {
                Ok(0) => return Flow::Ended,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Flow::Ended,
            };
            match link.take(&self.scratch[..count], is_known, into) {
                // The caller closes it.
                Taken::Lost => return Flow::GoesOn,
                // Who the sender is may be told by what has just come.
                Taken::Judge => break,
                Taken::All if count < self.scratch.len() => break,
                Taken::All => {}
            }
        }
        self.orders.push(RingOrder::AwaitInput(read_of(id), link.descriptor()));
        Flow::GoesOn
    }

    /// How many links there are.
    pub fn links_count(&self) -> u32 {
        self.links.len() as u32
    }

    /// What a link keeps.
    pub fn buffers(&self, id: LinkId) -> Option<LinkBuffers> {
        self.links.get(&number_of(id)).map(Link::buffers)
    }

    /// The link that the ring speaks of, if it is still there.
    pub fn find(&self, number: u32) -> Option<LinkId> {
        self.links.get(&number).map(|link| link.id)
    }

    /// Nothing more is sent over it; it will be closed.
    pub fn mark_broken(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&number_of(id)) {
            link.is_broken = true;
        }
    }

    /// Links in which more waits than this.
    pub fn longer_than(&self, limit_bytes: u64) -> Vec<(LinkId, u64)> {
        let waiting = self.links.values().map(|link| (link.id, link.buffers().queued_bytes));
        waiting.filter(|(_, bytes)| *bytes > limit_bytes).collect()
    }
}

/// The number of a link in the ring: they begin anew after 2^32 links, and by then the first ones are long gone.
fn number_of(id: LinkId) -> u32 {
    id.0 as u32
}

fn read_of(id: LinkId) -> Operation {
    Operation::BusRead(number_of(id))
}

fn write_of(id: LinkId) -> Operation {
    Operation::BusWrite(number_of(id))
}

/// The one that was to be accepted has gone already.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted)
}
