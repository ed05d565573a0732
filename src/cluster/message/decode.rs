//! The message in the bytes of a packet, which anybody may have sent; `layout` shows them.
//!
//! Whatever does not add up is refused, and what would damage nodes.conf if it were taken over. No count or length is
//! believed before as many bytes were seen, so a message costs memory in proportion to its packet.

use std::fmt;

use bytes::Bytes;

use super::layout::{
    EXTENSION_ALIGNMENT, EXTENSION_BYTES_MAX, EXTENSION_CORE_PORTS, EXTENSION_FORGOTTEN, EXTENSION_HEADER_BYTES,
    EXTENSION_HOSTNAME, EXTENSION_HUMAN_NAME, EXTENSION_SHARD, HAS_EXTENSIONS, KIN_MARK, ORDERED, PACKET_BYTES_MAX,
    PAUSED, PREFIX_BYTES, RESERVED_BYTES, SIGNATURE, STATE_OK, TOTAL_AT, VERSION,
};
use super::{Body, Extensions, GOSSIP_BYTES, Gossip, GossipNode, HEADER_BYTES, Header, IP_BYTES, Kind, Message};
use crate::base::hex::{HEX_ID_LEN, HexId};
use crate::base::slot::{SLOT_BITMAP_BYTES, Slot, SlotSet};
use crate::base::words::is_bare;
use crate::cluster::core_ports::{CorePorts, MOVED_TOLD_MAX};
use crate::cluster::node::{Epoch, NodeFlags};

/// Why bytes are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Something else speaks on this link.
    Signature,
    /// The length is less than a header's or more than any packet's: where the next one begins is not known.
    Length,
    Version,
    /// The length is not what the parts add up to.
    Size,
    /// The sender's id or its primary's is none.
    Sender,
    /// Another node's id is none.
    Id,
    /// An address is no printable text.
    Address,
    /// A host name or human name without an end.
    Name,
    /// The length of an extension is wrong, or there are some although the flags say that there are none.
    Extension,
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Damage::Signature => "the signature is not that of the cluster bus",
            Damage::Length => "no packet has this length",
            Damage::Version => "the protocol version is unknown",
            Damage::Size => "the length is not that of its parts",
            Damage::Sender => "the sender or its primary has no valid id",
            Damage::Id => "a node has no valid id",
            Damage::Address => "an address is no printable text",
            Damage::Name => "a node name has characters that it must not have",
            Damage::Extension => "the extensions have no valid length or number",
        })
    }
}

impl std::error::Error for Damage {}

/// How many bytes the packet has that begins with `head`; `None` when there are fewer than 8 to tell it by.
///
/// # Errors
/// [`Damage::Signature`] and [`Damage::Length`]: nothing that follows on the link can be read.
pub fn packet_len(head: &[u8]) -> Result<Option<usize>, Damage> {
    if !SIGNATURE.iter().zip(head).all(|(expected, byte)| expected == byte) {
        return Err(Damage::Signature);
    }
    let Some(total) = head.get(TOTAL_AT..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
    match usize::try_from(u32::from_be_bytes(*total)) {
        Ok(bytes) if (HEADER_BYTES..=PACKET_BYTES_MAX).contains(&bytes) => Ok(Some(bytes)),
        _ => Err(Damage::Length),
    }
}

/// The message of a whole packet and no more, as [`packet_len`] measures it. Unknown kinds and unknown extensions of
/// later versions are passed over.
///
/// # Errors
/// The first thing that is wrong. The packet's end is known all the same, unless it is one of `packet_len`'s.
pub fn decode(packet: &[u8]) -> Result<Message, Damage> {
    if packet_len(packet)? != Some(packet.len()) {
        return Err(Damage::Size);
    }
    let mut fields = Fields(packet);
    let (header, frame) = header(&mut fields)?;
    let body = match Kind::ALL.get(usize::from(frame.kind)) {
        // What it has behind the header, only later versions know.
        None => return Ok(Message { header, body: Body::Unknown(frame.kind) }),
        Some(kind) => body(*kind, &frame, &mut fields)?,
    };
    if fields.0.is_empty() { Ok(Message { header, body }) } else { Err(Damage::Size) }
}

/// What the header says of the rest of the packet.
struct Frame {
    kind: u16,
    nodes_count: u16,
    has_extensions: bool,
    extensions_count: u16,
}

fn header(fields: &mut Fields<'_>) -> Result<(Header, Frame), Damage> {
    fields.bytes(PREFIX_BYTES)?;
    if fields.u16()? != VERSION {
        return Err(Damage::Version);
    }
    let port = fields.u16()?;
    let kind = fields.u16()?;
    let nodes_count = fields.u16()?;
    let current_epoch = Epoch(fields.u64()?);
    let config_epoch = Epoch(fields.u64()?);
    let offset = fields.u64()?;
    let sender = HexId::parse(fields.bytes(HEX_ID_LEN)?).ok_or(Damage::Sender)?;
    let slots = fields.slots()?;
    let primary = primary(fields.bytes(HEX_ID_LEN)?)?;
    let ip = fields.ip()?;
    let extensions_count = fields.u16()?;
    let is_kin = fields.bytes(RESERVED_BYTES)?.starts_with(KIN_MARK);
    let other_port = fields.u16()?;
    let bus_port = fields.u16()?;
    let node_flags = NodeFlags(fields.u16()?);
    let [state, flags, _, _] = *fields.array()?;
    let header = Header {
        sender,
        port,
        other_port,
        bus_port,
        ip,
        flags: node_flags,
        current_epoch,
        config_epoch,
        slots,
        primary,
        offset,
        is_ok: state == STATE_OK,
        is_paused: flags & PAUSED != 0,
        is_ordered: flags & ORDERED != 0,
        is_kin,
    };
    Ok((header, Frame { kind, nodes_count, has_extensions: flags & HAS_EXTENSIONS != 0, extensions_count }))
}

fn primary(bytes: &[u8]) -> Result<Option<HexId>, Damage> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    HexId::parse(bytes).map(Some).ok_or(Damage::Sender)
}

fn body(kind: Kind, frame: &Frame, fields: &mut Fields<'_>) -> Result<Body, Damage> {
    Ok(match kind {
        Kind::Ping => Body::Ping(gossip(frame, fields)?),
        Kind::Pong => Body::Pong(gossip(frame, fields)?),
        Kind::Meet => Body::Meet(gossip(frame, fields)?),
        Kind::Fail => Body::Fail(fields.id()?),
        Kind::Publish => {
            let (channel, message) = publication(fields)?;
            Body::Publish { channel, message }
        }
        Kind::PublishShard => {
            let (channel, message) = publication(fields)?;
            Body::PublishShard { channel, message }
        }
        Kind::VoteRequest => Body::VoteRequest,
        Kind::Vote => Body::Vote,
        Kind::Update => {
            let config_epoch = Epoch(fields.u64()?);
            Body::Update { config_epoch, node: fields.id()?, slots: fields.slots()? }
        }
        Kind::ManualFailoverStart => Body::ManualFailoverStart,
        Kind::Module => {
            let _module = fields.u64()?;
            let data_bytes = fields.length()?;
            let [_type] = fields.array()?;
            fields.bytes(data_bytes)?;
            Body::Module
        }
    })
}

fn publication(fields: &mut Fields<'_>) -> Result<(Bytes, Bytes), Damage> {
    let (channel_bytes, message_bytes) = (fields.length()?, fields.length()?);
    let channel = fields.bytes(channel_bytes)?;
    Ok((Bytes::copy_from_slice(channel), Bytes::copy_from_slice(fields.bytes(message_bytes)?)))
}

fn gossip(frame: &Frame, fields: &mut Fields<'_>) -> Result<Gossip, Damage> {
    let mut section = Fields(fields.bytes(usize::from(frame.nodes_count) * GOSSIP_BYTES)?);
    let nodes = (0..frame.nodes_count).map(|_| node(&mut section)).collect::<Result<_, _>>()?;
    Ok(Gossip { nodes, extensions: extensions(frame, fields)? })
}

fn node(fields: &mut Fields<'_>) -> Result<GossipNode, Damage> {
    let id = fields.id()?;
    let ping_sent_s = fields.u32()?;
    let pong_received_s = fields.u32()?;
    let ip = fields.ip()?;
    let port = fields.u16()?;
    let bus_port = fields.u16()?;
    let flags = NodeFlags(fields.u16()?);
    let other_port = fields.u16()?;
    let _unused = fields.u16()?;
    Ok(GossipNode { id, ping_sent_s, pong_received_s, ip, port, other_port, bus_port, flags })
}

fn extensions(frame: &Frame, fields: &mut Fields<'_>) -> Result<Extensions, Damage> {
    let mut found = Extensions { are_known: frame.has_extensions, ..Extensions::default() };
    if !frame.has_extensions && frame.extensions_count != 0 {
        return Err(Damage::Extension);
    }
    for _ in 0..frame.extensions_count {
        let bytes = fields.length()?;
        let kind = fields.u16()?;
        let _unused = fields.u16()?;
        if !bytes.is_multiple_of(EXTENSION_ALIGNMENT) || bytes > EXTENSION_BYTES_MAX {
            return Err(Damage::Extension);
        }
        let body_bytes = bytes.checked_sub(EXTENSION_HEADER_BYTES).ok_or(Damage::Extension)?;
        let mut body = Fields(fields.bytes(body_bytes)?);
        match kind {
            EXTENSION_HOSTNAME => found.hostname = name(body.0)?,
            EXTENSION_HUMAN_NAME => found.human_name = name(body.0)?,
            EXTENSION_FORGOTTEN => found.forgotten.push((body.id()?, body.u64()?)),
            EXTENSION_SHARD => found.shard = Some(body.id()?),
            EXTENSION_CORE_PORTS => found.core_ports = Some(core_ports(&mut body)?),
            _ => {}
        }
    }
    Ok(found)
}

fn core_ports(body: &mut Fields<'_>) -> Result<CorePorts, Damage> {
    let (base, cores_count, moved_count) = (body.u16()?, body.u16()?, body.u16()?);
    let mut ports = CorePorts::checked(base, usize::from(cores_count)).ok_or(Damage::Extension)?;
    if usize::from(moved_count) > MOVED_TOLD_MAX {
        return Err(Damage::Extension);
    }
    for _ in 0..moved_count {
        let slot = Slot::checked(i64::from(body.u16()?)).ok_or(Damage::Extension)?;
        if !ports.note_moved(slot, usize::from(body.u16()?)) {
            return Err(Damage::Extension);
        }
    }
    Ok(ports)
}

/// A name goes into nodes.conf as it is, between commas. One that cannot, which Redis allows, is as good as none: to refuse its
/// node's pings would make that fail.
fn name(bytes: &[u8]) -> Result<String, Damage> {
    let name = std::str::from_utf8(text(bytes).ok_or(Damage::Name)?).unwrap_or_default();
    let fits = is_part_of_a_word(name.as_bytes()) && !name.contains(|c: char| c.is_control() || c.is_whitespace());
    Ok(if fits { name.to_owned() } else { String::new() })
}

/// What stands in front of the end mark; `None` without one.
fn text(bytes: &[u8]) -> Option<&[u8]> {
    memchr::memchr(0, bytes).and_then(|end| bytes.get(..end))
}

/// Whether it may stand between the commas of nodes.conf, where nothing is quoted.
fn is_part_of_a_word(text: &[u8]) -> bool {
    text.is_empty() || is_bare(text) && !text.contains(&b',')
}

/// What is left of a packet. Whatever is asked for beyond its end is [`Damage::Size`].
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Damage> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Damage::Size)?;
        self.0 = rest;
        Ok(array)
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Damage::Size)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn u16(&mut self) -> Result<u16, Damage> {
        self.array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    fn u32(&mut self) -> Result<u32, Damage> {
        self.array().map(|bytes| u32::from_be_bytes(*bytes))
    }

    fn u64(&mut self) -> Result<u64, Damage> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// A count of bytes.
    fn length(&mut self) -> Result<usize, Damage> {
        self.u32().and_then(|length| usize::try_from(length).map_err(|_| Damage::Size))
    }

    fn id(&mut self) -> Result<HexId, Damage> {
        HexId::parse(self.bytes(HEX_ID_LEN)?).ok_or(Damage::Id)
    }

    fn slots(&mut self) -> Result<Box<SlotSet>, Damage> {
        self.array::<SLOT_BITMAP_BYTES>().map(|bitmap| Box::new(SlotSet::from_bytes(bitmap)))
    }

    /// An address goes into nodes.conf as it is.
    fn ip(&mut self) -> Result<String, Damage> {
        let ip = text(self.bytes(IP_BYTES)?).filter(|ip| is_part_of_a_word(ip) && ip.is_ascii());
        ip.and_then(|ip| std::str::from_utf8(ip).ok()).map(str::to_owned).ok_or(Damage::Address)
    }
}
