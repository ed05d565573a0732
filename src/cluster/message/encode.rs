//! A message as the bytes of its packet; `layout` shows them.

use bytes::{BufMut, Bytes, BytesMut};

use super::layout::{
    EXTENSION_ALIGNMENT, EXTENSION_BYTES_MAX, EXTENSION_CORE_PORTS, EXTENSION_FORGOTTEN, EXTENSION_HEADER_BYTES,
    EXTENSION_HOSTNAME, EXTENSION_HUMAN_NAME, EXTENSION_SHARD, HAS_EXTENSIONS, KIN_MARK, MODULE_BYTES, ORDERED, PAUSED,
    PREFIX_BYTES, RESERVED_BYTES, SIGNATURE, STATE_FAIL, STATE_OK, TOTAL_AT, VERSION,
};
use super::{Body, Extensions, GOSSIP_BYTES, Gossip, GossipNode, HEADER_BYTES, Header, IP_BYTES, Kind, Message};
use crate::base::hex::HEX_ID_LEN;
use crate::base::slot::SLOT_BITMAP_BYTES;
use crate::cluster::core_ports::{CorePorts, MOVED_TOLD_MAX};

impl Message {
    /// The packet. Texts that are too long for their place are cut.
    ///
    /// # Panics
    /// When a count does not fit 16 bits or the packet 32, or when a kind that is known is given as unknown.
    pub fn encode(&self) -> Bytes {
        let frame = Frame::of(&self.body);
        let mut packet = BytesMut::with_capacity(HEADER_BYTES + frame.body_bytes);
        write_header(&self.header, &frame, &mut packet);
        assert_eq!(packet.len(), HEADER_BYTES);
        write_body(&self.body, &frame, &mut packet);
        assert_eq!(packet.len(), HEADER_BYTES + frame.body_bytes);
        packet.freeze()
    }
}

/// What the header says of the rest of the packet.
struct Frame {
    kind: u16,
    nodes_count: u16,
    has_extensions: bool,
    /// What each has behind its header, without the zero bytes that fill it up, and its kind.
    extensions: Vec<(u16, Vec<u8>)>,
    body_bytes: usize,
}

impl Frame {
    fn of(body: &Body) -> Frame {
        let kind = match body {
            Body::Unknown(number) => {
                assert!(usize::from(*number) >= Kind::ALL.len(), "kind {number} is known");
                *number
            }
            known => known.kind().map(|kind| kind as u16).expect("only the kind above is unknown"),
        };
        let gossip = match body {
            Body::Ping(gossip) | Body::Pong(gossip) | Body::Meet(gossip) => Some(gossip),
            _ => None,
        };
        let known_extensions = gossip.map(|gossip| &gossip.extensions).filter(|extensions| extensions.are_known);
        let extensions = known_extensions.map(extension_bodies).unwrap_or_default();
        Frame {
            kind,
            nodes_count: count(gossip.map_or(0, |gossip| gossip.nodes.len())),
            has_extensions: known_extensions.is_some(),
            body_bytes: body_bytes(body) + extensions.iter().map(|(_, body)| extension_bytes(body)).sum::<usize>(),
            extensions,
        }
    }

    fn total_bytes(&self) -> u32 {
        u32::try_from(HEADER_BYTES + self.body_bytes).expect("a packet is shorter than 4 GiB")
    }
}

/// Bytes behind the header, but for extensions.
fn body_bytes(body: &Body) -> usize {
    match body {
        Body::Ping(gossip) | Body::Pong(gossip) | Body::Meet(gossip) => gossip.nodes.len() * GOSSIP_BYTES,
        Body::Fail(_) => HEX_ID_LEN,
        Body::Publish { channel, message } | Body::PublishShard { channel, message } => {
            2 * 4 + channel.len() + message.len()
        }
        Body::Update { .. } => 8 + HEX_ID_LEN + SLOT_BITMAP_BYTES,
        Body::Module => MODULE_BYTES,
        Body::VoteRequest | Body::Vote | Body::ManualFailoverStart | Body::Unknown(_) => 0,
    }
}

/// In the order in which Redis sends them.
fn extension_bodies(of: &Extensions) -> Vec<(u16, Vec<u8>)> {
    let text_bytes = EXTENSION_BYTES_MAX - EXTENSION_HEADER_BYTES;
    let text = |text: &str| [cut(text, text_bytes).as_bytes(), b"\0"].concat();
    let hostname = (EXTENSION_HOSTNAME, &of.hostname);
    let human_name = (EXTENSION_HUMAN_NAME, &of.human_name);
    let names = [hostname, human_name].into_iter().filter(|(_, name)| !name.is_empty());
    let forgotten = of.forgotten.iter().map(|(id, left_s)| [&id.as_bytes()[..], &left_s.to_be_bytes()].concat());
    let mut bodies: Vec<(u16, Vec<u8>)> = names.map(|(kind, name)| (kind, text(name))).collect();
    bodies.extend(forgotten.map(|body| (EXTENSION_FORGOTTEN, body)));
    bodies.extend(of.shard.map(|id| (EXTENSION_SHARD, id.as_bytes().to_vec())));
    bodies.extend(of.core_ports.as_ref().map(|ports| (EXTENSION_CORE_PORTS, core_ports(ports))));
    bodies
}

fn core_ports(ports: &CorePorts) -> Vec<u8> {
    let moved = ports.moved().iter().take(MOVED_TOLD_MAX);
    let head = [ports.base(), count(ports.cores_count()), count(moved.len())];
    let slots = moved.flat_map(|(slot, core)| [slot.get(), count(core.index())]);
    head.into_iter().chain(slots).flat_map(u16::to_be_bytes).collect()
}

fn extension_bytes(body: &[u8]) -> usize {
    EXTENSION_HEADER_BYTES + body.len().next_multiple_of(EXTENSION_ALIGNMENT)
}

fn write_header(header: &Header, frame: &Frame, out: &mut BytesMut) {
    out.put_slice(SIGNATURE);
    assert_eq!(out.len(), TOTAL_AT);
    out.put_u32(frame.total_bytes());
    assert_eq!(out.len(), PREFIX_BYTES);
    out.put_u16(VERSION);
    out.put_u16(header.port);
    out.put_u16(frame.kind);
    out.put_u16(frame.nodes_count);
    out.put_u64(header.current_epoch.0);
    out.put_u64(header.config_epoch.0);
    out.put_u64(header.offset);
    out.put_slice(header.sender.as_bytes());
    out.put_slice(&header.slots.to_bytes());
    match &header.primary {
        Some(id) => out.put_slice(id.as_bytes()),
        None => out.put_bytes(0, HEX_ID_LEN),
    }
    write_ip(&header.ip, out);
    out.put_u16(count(frame.extensions.len()));
    let mark: &[u8] = if header.is_kin { KIN_MARK } else { b"" };
    out.put_slice(mark);
    out.put_bytes(0, RESERVED_BYTES - mark.len());
    out.put_u16(header.other_port);
    out.put_u16(header.bus_port);
    out.put_u16(header.flags.0);
    out.put_u8(if header.is_ok { STATE_OK } else { STATE_FAIL });
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let flags =
        flag(header.is_paused, PAUSED) | flag(header.is_ordered, ORDERED) | flag(frame.has_extensions, HAS_EXTENSIONS);
    out.put_slice(&[flags, 0, 0]);
}

fn write_body(body: &Body, frame: &Frame, out: &mut BytesMut) {
    match body {
        Body::Ping(gossip) | Body::Pong(gossip) | Body::Meet(gossip) => write_gossip(gossip, frame, out),
        Body::Fail(id) => out.put_slice(id.as_bytes()),
        Body::Publish { channel, message } | Body::PublishShard { channel, message } => {
            // The frame made sure that both fit.
            out.put_u32(channel.len() as u32);
            out.put_u32(message.len() as u32);
            out.put_slice(channel);
            out.put_slice(message);
        }
        Body::Update { node, config_epoch, slots } => {
            out.put_u64(config_epoch.0);
            out.put_slice(node.as_bytes());
            out.put_slice(&slots.to_bytes());
        }
        // From no module, of no type, without data.
        Body::Module => out.put_bytes(0, MODULE_BYTES),
        Body::VoteRequest | Body::Vote | Body::ManualFailoverStart | Body::Unknown(_) => {}
    }
}

fn write_gossip(gossip: &Gossip, frame: &Frame, out: &mut BytesMut) {
    for node in &gossip.nodes {
        write_node(node, out);
    }
    for (kind, body) in &frame.extensions {
        let bytes = extension_bytes(body);
        // Texts were cut to fit, all else has a fixed size.
        out.put_u32(bytes as u32);
        out.put_u16(*kind);
        out.put_u16(0);
        out.put_slice(body);
        out.put_bytes(0, bytes - EXTENSION_HEADER_BYTES - body.len());
    }
}

fn write_node(node: &GossipNode, out: &mut BytesMut) {
    out.put_slice(node.id.as_bytes());
    out.put_u32(node.ping_sent_s);
    out.put_u32(node.pong_received_s);
    write_ip(&node.ip, out);
    out.put_u16(node.port);
    out.put_u16(node.bus_port);
    out.put_u16(node.flags.0);
    out.put_u16(node.other_port);
    out.put_u16(0);
}

fn write_ip(ip: &str, out: &mut BytesMut) {
    let ip = cut(ip, IP_BYTES);
    out.put_slice(ip.as_bytes());
    out.put_bytes(0, IP_BYTES - ip.len());
}

/// The beginning of a text that leaves room for its end mark in so many bytes.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes - 1)]
}

fn count(of: usize) -> u16 {
    u16::try_from(of).expect("a packet has fewer than 65536 nodes and extensions")
}
