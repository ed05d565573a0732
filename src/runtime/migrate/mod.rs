//! Connections of one core to the targets of MIGRATE: how they are made, what has still to leave over them, which lines come back. And those
//! that are kept for a while, since the next MIGRATE mostly goes to the same node.
//!
//! Nothing here waits. The ring is asked whether a socket is ready, as for the bus; what it is to do is left in `orders`. Names of hosts are
//! looked up by a thread for each (`name`), for the resolver has no other way. Called by `requests::migrate` only, which knows what the
//! bytes mean.

mod link;
mod name;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use bytes::Bytes;
use hashbrown::HashMap;

use super::bus::RingOrder;
use super::ring::Operation;
use link::Link;
pub use name::{Found, Search};

/// A connection that nobody has used for longer is closed, as in Redis.
const KEPT_MS: u64 = 10_000;
/// So many connections a core has at most, as in Redis.
pub const LINKS_MAX: usize = 64;
/// So many of them to one target.
pub const LINKS_PER_TARGET_MAX: usize = 4;
/// Bytes of one read: replies are short lines.
const READ_BYTES: usize = 16 << 10;

/// What to connect with, as clients name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub host: Vec<u8>,
    pub port: Vec<u8>,
}

/// What a socket that has become ready comes to.
#[derive(Debug)]
pub enum Event {
    /// The connection has come about.
    Open,
    /// Lines of replies, without their ends.
    Lines(Vec<Vec<u8>>),
    /// More can be sent.
    Room,
    /// The connection is broken, or the target has closed it. What came before the end of it.
    Lost(Vec<Vec<u8>>),
}

/// The connections of one core.
pub struct Links {
    links: HashMap<u32, Link>,
    next_number: u32,
    /// What the ring is to do, in this order.
    pub orders: Vec<RingOrder>,
    scratch: Box<[u8]>,
}

impl Default for Links {
    fn default() -> Links {
        let scratch = Vec::new().into_boxed_slice();
        Links { links: HashMap::new(), next_number: 0, orders: Vec::new(), scratch }
    }
}

impl Links {
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// How many connections there are to a target.
    pub fn count_to(&self, target: &Target) -> usize {
        self.links.values().filter(|link| link.target == *target).count()
    }

    /// A connection to this target that nobody uses, taken into use.
    pub fn take_kept(&mut self, target: &Target) -> Option<u32> {
        let kept = self.links.iter_mut().find(|(_, link)| link.is_kept() && link.target == *target);
        let (number, link) = kept?;
        link.idle_since_ms = None;
        Some(*number)
    }

    /// Makes room for one more by closing one that nobody uses. False when all are in use.
    pub fn make_room(&mut self) -> bool {
        if self.links.len() < LINKS_MAX {
            return true;
        }
        let kept = self.links.iter().find(|(_, link)| link.is_kept()).map(|(number, _)| *number);
        kept.inspect(|number| self.close(*number)).is_some()
    }

    /// Begins to connect; [`Event::Open`] or [`Event::Lost`] tells the outcome.
    ///
    /// # Errors
    /// When that is known at once: it cannot be reached.
    pub fn connect(&mut self, target: Target, address: SocketAddr, keepalive_s: u32) -> io::Result<u32> {
        let stream = super::bus::socket::connect(&address.ip().to_string(), address.port(), "", keepalive_s)?;
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        let link = Link::new(target, stream);
        self.orders.push(RingOrder::AwaitRoom(Operation::MoveWrite(number), link.descriptor()));
        self.links.insert(number, link);
        Ok(number)
    }

    pub fn close(&mut self, number: u32) {
        let Some(link) = self.links.remove(&number) else { return };
        // A poll under way holds the socket open: the target is told now.
        link.shut_down();
        let polls = [Operation::MoveRead(number), Operation::MoveWrite(number)];
        self.orders.extend(polls.map(RingOrder::Cancel));
    }

    /// Nobody uses the connection for now.
    pub fn keep(&mut self, number: u32, selected_db: Option<i64>, now_ms: u64) {
        if let Some(link) = self.links.get_mut(&number) {
            (link.selected_db, link.idle_since_ms) = (selected_db, Some(now_ms));
        }
    }

    /// Closes connections that nobody has used for too long.
    pub fn close_unused(&mut self, now_ms: u64) {
        let is_old = |link: &Link| link.idle_since_ms.is_some_and(|since| now_ms.saturating_sub(since) > KEPT_MS);
        let old: Vec<u32> = self.links.iter().filter(|(_, link)| is_old(link)).map(|(number, _)| *number).collect();
        old.into_iter().for_each(|number| self.close(number));
    }

    /// The database that is selected on a connection.
    pub fn selected_db(&self, number: u32) -> Option<i64> {
        self.links.get(&number)?.selected_db
    }

    /// Bytes that have still to leave.
    pub fn queued_bytes(&self, number: u32) -> usize {
        self.links.get(&number).map_or(0, |link| link.queue.queued_bytes())
    }

    /// Puts bytes behind those that have still to leave.
    pub fn push(&mut self, number: u32, bytes: Bytes) {
        if let Some(link) = self.links.get_mut(&number) {
            link.queue.push(bytes);
        }
    }

    /// Sends what the socket takes; how many bytes that were.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn flush(&mut self, number: u32) -> io::Result<usize> {
        let Some(link) = self.links.get_mut(&number).filter(|link| link.is_open && !link.awaits_room) else {
            return Ok(0);
        };
        let sent = link.queue.flush(&mut link.stream)?;
        if !link.queue.is_empty() {
            link.awaits_room = true;
            self.orders.push(RingOrder::AwaitRoom(Operation::MoveWrite(number), link.descriptor()));
        }
        Ok(sent)
    }

    /// The ring says that a connection can be written to, or has come about, or not. `None`: it is one no more.
    pub fn writable(&mut self, number: u32) -> Option<Event> {
        let link = self.links.get_mut(&number)?;
        link.awaits_room = false;
        if link.is_open {
            return Some(Event::Room);
        }
        if link.take_error().is_err() {
            return Some(Event::Lost(Vec::new()));
        }
        link.is_open = true;
        self.orders.push(RingOrder::AwaitInput(Operation::MoveRead(number), link.descriptor()));
        Some(Event::Open)
    }

    /// The ring says that a connection can be read from. `None`: it is one no more, or nothing is complete.
    pub fn readable(&mut self, number: u32) -> Option<Event> {
        if self.scratch.is_empty() {
            self.scratch = vec![0; READ_BYTES].into_boxed_slice();
        }
        let link = self.links.get_mut(&number)?;
        let mut lines = Vec::new();
        loop {
            match link.read(&mut self.scratch) {
                Ok(0) => return Some(Event::Lost(lines)),
                Ok(count) if link.take(&self.scratch[..count], &mut lines) => {
                    if count < self.scratch.len() {
                        break;
                    }
                }
                Ok(_) => return Some(Event::Lost(lines)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Some(Event::Lost(lines)),
            }
        }
        self.orders.push(RingOrder::AwaitInput(Operation::MoveRead(number), link.descriptor()));
        (!lines.is_empty()).then_some(Event::Lines(lines))
    }
}
