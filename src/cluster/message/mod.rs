//! What nodes say to each other on the bus: Redis's binary protocol, version 1 (`cluster.h` of Redis 7.2).
//!
//! A packet is a header of 2256 bytes, the same for every kind, then what its kind has. `decode` makes a `Message` of bytes that
//! anybody may have sent, and refuses what does not add up; `encode` is its inverse. Nothing here knows a node or a socket.
//!
//! Numbers are big-endian, ids are 40 characters without an end mark, texts end with the first zero byte.

mod decode;
mod encode;
mod layout;

pub use decode::{Damage, decode, packet_len};
pub use layout::PACKET_BYTES_MAX;

use bytes::Bytes;

use super::core_ports::CorePorts;
use super::node::{Epoch, NodeFlags};
use crate::base::hex::HexId;
use crate::base::slot::SlotSet;

/// Bytes of the header, which every packet has.
pub const HEADER_BYTES: usize = 2256;
/// Bytes of one node in a gossip section.
pub const GOSSIP_BYTES: usize = 104;
/// Bytes that an address has on the bus, its end mark among them (Redis's NET_IP_STR_LEN).
pub const IP_BYTES: usize = 46;
/// How many kinds of packets are counted in CLUSTER INFO.
pub const KINDS_COUNT: usize = 11;

/// The kinds of packets, with their numbers on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    Ping = 0,
    Pong = 1,
    Meet = 2,
    Fail = 3,
    Publish = 4,
    VoteRequest = 5,
    Vote = 6,
    Update = 7,
    ManualFailoverStart = 8,
    Module = 9,
    PublishShard = 10,
}

impl Kind {
    pub const ALL: [Kind; KINDS_COUNT] = [
        Kind::Ping,
        Kind::Pong,
        Kind::Meet,
        Kind::Fail,
        Kind::Publish,
        Kind::VoteRequest,
        Kind::Vote,
        Kind::Update,
        Kind::ManualFailoverStart,
        Kind::Module,
        Kind::PublishShard,
    ];

    /// As in `cluster_stats_messages_<name>_sent` of CLUSTER INFO.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Ping => "ping",
            Kind::Pong => "pong",
            Kind::Meet => "meet",
            Kind::Fail => "fail",
            Kind::Publish => "publish",
            Kind::VoteRequest => "auth-req",
            Kind::Vote => "auth-ack",
            Kind::Update => "update",
            Kind::ManualFailoverStart => "mfstart",
            Kind::Module => "module",
            Kind::PublishShard => "publishshard",
        }
    }
}

/// What every packet says of its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub sender: HexId,
    /// The port for clients: that for TLS where the bus speaks TLS, and `other_port` is then the plain one.
    pub port: u16,
    pub other_port: u16,
    pub bus_port: u16,
    /// cluster-announce-ip; empty when the receiver is to take the address that it sees.
    pub ip: String,
    pub flags: NodeFlags,
    pub current_epoch: Epoch,
    /// The sender's own, or its primary's where it is a replica. So are the slots.
    pub config_epoch: Epoch,
    pub slots: Box<SlotSet>,
    /// Whose replica it is.
    pub primary: Option<HexId>,
    /// How far the sender's data are, in bytes of its shard's replication stream.
    pub offset: u64,
    /// `cluster_state:ok`, in the sender's eyes.
    pub is_ok: bool,
    /// It holds writes back for a manual failover, so its offset stands still.
    pub is_paused: bool,
    /// With a request for votes: vote although the primary is well, for this was ordered.
    pub is_ordered: bool,
    /// The sender is a slotcore node (design, decision 4): told in the header's reserved bytes, which others ignore.
    pub is_kin: bool,
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub header: Header,
    pub body: Body,
}

/// What a packet has besides its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Ping(Gossip),
    Pong(Gossip),
    /// A ping that also says: know me.
    Meet(Gossip),
    /// A majority finds this node failing.
    Fail(HexId),
    Publish {
        channel: Bytes,
        message: Bytes,
    },
    PublishShard {
        channel: Bytes,
        message: Bytes,
    },
    VoteRequest,
    Vote,
    /// Somebody has these slots under this epoch; the receiver did not seem to know.
    Update {
        node: HexId,
        config_epoch: Epoch,
        slots: Box<SlotSet>,
    },
    /// From a replica to its primary: hold writes back, I am to take over.
    ManualFailoverStart,
    /// Of Redis's modules; nothing here has a use for it.
    Module,
    /// A kind of a later version, passed over.
    Unknown(u16),
}

impl Body {
    /// The kind, unless it is unknown.
    pub fn kind(&self) -> Option<Kind> {
        Some(match self {
            Body::Ping(_) => Kind::Ping,
            Body::Pong(_) => Kind::Pong,
            Body::Meet(_) => Kind::Meet,
            Body::Fail(_) => Kind::Fail,
            Body::Publish { .. } => Kind::Publish,
            Body::PublishShard { .. } => Kind::PublishShard,
            Body::VoteRequest => Kind::VoteRequest,
            Body::Vote => Kind::Vote,
            Body::Update { .. } => Kind::Update,
            Body::ManualFailoverStart => Kind::ManualFailoverStart,
            Body::Module => Kind::Module,
            Body::Unknown(_) => return None,
        })
    }
}

/// What a ping tells of other nodes, and of its sender beyond the header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gossip {
    pub nodes: Vec<GossipNode>,
    pub extensions: Extensions,
}

/// What the sender knows of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GossipNode {
    pub id: HexId,
    /// Unix seconds; 0 for none under way, or none ever.
    pub ping_sent_s: u32,
    pub pong_received_s: u32,
    /// Empty when it is not known.
    pub ip: String,
    pub port: u16,
    pub other_port: u16,
    pub bus_port: u16,
    pub flags: NodeFlags,
}

/// What a ping may have behind its gossip section; unknown ones of later versions are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// The sender knows of extensions at all: Redis 7.2 says so in every ping, 7.0 only when it has a host name to tell.
    pub are_known: bool,
    /// cluster-announce-hostname; empty for none.
    pub hostname: String,
    /// cluster-announce-human-nodename; empty for none.
    pub human_name: String,
    /// Nodes that CLUSTER FORGET bans, each for so many seconds.
    pub forgotten: Vec<(HexId, u64)>,
    /// The sender's shard: Redis 7.2 on.
    pub shard: Option<HexId>,
    /// Where the sender's cores are reached: from one slotcore node to another.
    pub core_ports: Option<CorePorts>,
}

#[cfg(test)]
mod tests;
