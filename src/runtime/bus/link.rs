//! One connection of the bus: what has come and is no whole packet yet, and what has still to leave.

use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use bytes::Bytes;

use super::super::send_queue::SendQueue;
use crate::cluster::machine::LinkId;
use crate::cluster::message::{Damage, Message, decode, packet_len};
use crate::command::node::LinkBuffers;

/// The longest packet of somebody who is not known: more than the longest introduction, which is a ping with gossip of 1000 nodes.
pub const STRANGERS_PACKET_MAX: usize = 1 << 20;
/// An input buffer that has much more room than this and than it needs is made smaller.
const KEPT_BYTES: usize = 64 << 10;

/// What became of bytes that have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    All,
    /// A long packet begins, of somebody who was not known before the messages in front of it: these are to be judged first.
    Judge,
    /// Nothing more can be read on this link: the last message says why.
    Lost,
}

/// A socket with its buffers.
pub struct Link {
    pub id: LinkId,
    stream: TcpStream,
    /// It is connected.
    pub is_open: bool,
    /// It is in the list of those with something to send.
    pub is_dirty: bool,
    /// The ring is to say when there is room.
    pub awaits_room: bool,
    /// Nothing more can be sent.
    pub is_broken: bool,
    /// The beginning of a packet.
    input: Vec<u8>,
    queue: SendQueue,
}

impl Link {
    pub fn new(id: LinkId, stream: TcpStream) -> Link {
        Link {
            id,
            stream,
            is_open: false,
            is_dirty: false,
            awaits_room: false,
            is_broken: false,
            input: Vec::new(),
            queue: SendQueue::default(),
        }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn descriptor(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// What the connection has failed of, if it has.
    pub fn take_error(&self) -> io::Result<()> {
        self.stream.take_error()?.map_or(Ok(()), Err)
    }

    pub fn shut_down(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.read(into)
    }

    /// Takes whole packets out of what has come, together with what had come before. The rest is kept.
    pub fn take(&mut self, bytes: &[u8], is_known: bool, into: &mut Vec<Result<Message, Damage>>) -> Taken {
        if self.input.is_empty() {
            let (used, taken) = split(bytes, is_known, into);
            self.input.extend_from_slice(&bytes[used..]);
            return taken;
        }
        self.input.extend_from_slice(bytes);
        let (used, taken) = split(&self.input, is_known, into);
        if used == self.input.len() {
            self.input = Vec::new();
        } else if used > 0 {
            self.input.drain(..used);
            if self.input.capacity() > KEPT_BYTES {
                self.input.shrink_to(KEPT_BYTES);
            }
        }
        taken
    }

    /// Puts a packet at the end of the queue.
    pub fn push(&mut self, packet: Bytes) {
        self.queue.push(packet);
    }

    /// Sends what the socket takes; whether that was all.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn flush(&mut self) -> io::Result<bool> {
        self.queue.flush(&mut self.stream)?;
        Ok(self.queue.is_empty())
    }

    pub fn buffers(&self) -> LinkBuffers {
        LinkBuffers {
            received_bytes: self.input.capacity() as u64,
            queued_bytes: self.queue.queued_bytes() as u64,
            allocated_bytes: self.queue.allocated_bytes() as u64,
        }
    }
}

/// Decodes the packets at the beginning of `bytes`; how many bytes they had.
fn split(bytes: &[u8], is_known: bool, into: &mut Vec<Result<Message, Damage>>) -> (usize, Taken) {
    let mut used = 0;
    let begun = into.len();
    loop {
        let rest = &bytes[used..];
        let length = match packet_len(rest) {
            Ok(Some(length)) => length,
            Ok(None) => return (used, Taken::All),
            Err(damage) => {
                into.push(Err(damage));
                return (used, Taken::Lost);
            }
        };
        if !is_known && length > STRANGERS_PACKET_MAX {
            if into.len() > begun {
                return (used, Taken::Judge);
            }
            into.push(Err(Damage::Length));
            return (used, Taken::Lost);
        }
        let Some(packet) = rest.get(..length) else { return (used, Taken::All) };
        into.push(decode(packet));
        used += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hex::HexId;
    use crate::base::slot::SlotSet;
    use crate::cluster::message::{Body, Header};
    use crate::cluster::node::{Epoch, NodeFlags};

    fn packet(message: &'static [u8]) -> Vec<u8> {
        let header = Header {
            sender: HexId::parse(&[b'a'; 40]).unwrap(),
            port: 1,
            other_port: 0,
            bus_port: 2,
            ip: String::new(),
            flags: NodeFlags::PRIMARY,
            current_epoch: Epoch(1),
            config_epoch: Epoch(1),
            slots: Box::new(SlotSet::new()),
            primary: None,
            offset: 0,
            is_ok: true,
            is_paused: false,
            is_ordered: false,
            is_kin: true,
        };
        let body = Body::Publish { channel: Bytes::from_static(b"c"), message: Bytes::from_static(message) };
        Message { header, body }.encode().to_vec()
    }

    fn link() -> (Link, TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        (Link::new(LinkId(1), stream), peer)
    }

    fn bodies(messages: &[Result<Message, Damage>]) -> Vec<Bytes> {
        let body = |message: &Result<Message, Damage>| match message {
            Ok(Message { body: Body::Publish { message, .. }, .. }) => message.clone(),
            other => panic!("{other:?}"),
        };
        messages.iter().map(body).collect()
    }

    #[test]
    fn packets_are_found_however_they_are_cut() {
        let all = [packet(b"one"), packet(b"two"), packet(b"three")].concat();
        for step in [1, 7, 8, 2256, 2300, 4600, all.len()] {
            let (mut link, _peer) = link();
            let mut messages = Vec::new();
            for piece in all.chunks(step) {
                assert_eq!(link.take(piece, true, &mut messages), Taken::All);
            }
            assert_eq!(bodies(&messages), [&b"one"[..], b"two", b"three"], "in steps of {step}");
            assert_eq!(link.buffers(), LinkBuffers::default());
        }
    }

    #[test]
    fn what_is_no_packet_ends_the_link_and_a_damaged_one_is_passed_over() {
        let (mut link, _peer) = link();
        let mut messages = Vec::new();
        let mut damaged = packet(b"one");
        damaged[9] = 7;
        let bytes = [damaged, packet(b"two"), b"RCmb\0\0\0\x01".to_vec()].concat();
        assert_eq!(link.take(&bytes, true, &mut messages), Taken::Lost);
        assert_eq!(messages[0], Err(Damage::Version));
        assert_eq!(bodies(&messages[1..2]), [&b"two"[..]]);
        assert_eq!(messages[2], Err(Damage::Length));
        assert_eq!(link.take(b"GET / HTTP", true, &mut messages), Taken::Lost);
    }

    #[test]
    fn a_strangers_long_packet_is_refused_unless_what_stands_before_it_introduces_him() {
        let mut long = packet(b"one");
        long[4..8].copy_from_slice(&(STRANGERS_PACKET_MAX as u32 + 1).to_be_bytes());
        let mut messages = Vec::new();
        let (mut first, _peer) = link();
        assert_eq!(first.take(&long, false, &mut messages), Taken::Lost);
        assert_eq!(messages.pop(), Some(Err(Damage::Length)));
        let (mut second, _peer) = link();
        let bytes = [packet(b"hello"), long.clone()].concat();
        assert_eq!(second.take(&bytes, false, &mut messages), Taken::Judge);
        assert_eq!(bodies(&messages), [&b"hello"[..]]);
        assert_eq!(second.take(b"more", true, &mut messages), Taken::All);
        assert_eq!(second.take(b"more", false, &mut Vec::new()), Taken::Lost);
        let (mut third, _peer) = link();
        assert_eq!(third.take(&long, true, &mut messages), Taken::All);
    }

    #[test]
    fn a_queue_leaves_in_order_and_its_bytes_are_counted() {
        let (mut link, mut peer) = link();
        let mut sent = Vec::new();
        for number in 0..200u32 {
            let packet = vec![number as u8; 40_000];
            sent.extend_from_slice(&packet);
            link.push(Bytes::from(packet));
        }
        assert_eq!(link.buffers().queued_bytes, 8_000_000);
        assert!(!link.flush().unwrap(), "a socket takes no 8 MB");
        assert!(link.buffers().queued_bytes < 8_000_000);
        let reader = std::thread::spawn(move || {
            let mut received = vec![0; 8_000_000];
            peer.read_exact(&mut received).unwrap();
            received
        });
        while !link.flush().unwrap() {
            std::thread::yield_now();
        }
        assert_eq!(reader.join().unwrap(), sent);
        assert_eq!(link.buffers(), LinkBuffers::default());
    }
}
