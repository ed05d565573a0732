//! One node of the cluster as this node knows it: identity, addresses, role, epoch.
//!
//! Plain data inside `ClusterState`, which alone decides what may change.

use std::fmt;

use super::core_ports::CorePorts;
use super::machine::{LinkId, Now};
use crate::base::clock::UnixMillis;
use crate::base::hex::HexId;
use crate::base::slot::{Slot, SlotSet};

/// A logical time of the cluster (cluster specification, "Cluster current epoch" and "Configuration epoch").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The next epoch; stops at the end of the range, which no cluster reaches.
    pub const fn next(self) -> Epoch {
        Epoch(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

/// What is said of a node in CLUSTER NODES, nodes.conf and on the bus; the values are the bus's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeFlags(pub u16);

impl NodeFlags {
    pub const NONE: NodeFlags = NodeFlags(0);
    pub const PRIMARY: NodeFlags = NodeFlags(1);
    pub const REPLICA: NodeFlags = NodeFlags(2);
    /// Not reached for the node timeout, from here.
    pub const PFAIL: NodeFlags = NodeFlags(4);
    /// A majority says so.
    pub const FAIL: NodeFlags = NodeFlags(8);
    pub const MYSELF: NodeFlags = NodeFlags(16);
    pub const HANDSHAKE: NodeFlags = NodeFlags(32);
    pub const NO_ADDRESS: NodeFlags = NodeFlags(64);
    /// It is to be sent a MEET, not a ping, first.
    pub const MEET: NodeFlags = NodeFlags(128);
    /// A primary that has had replicas, or took over from one that had: others may migrate to it.
    pub const MIGRATE_TO: NodeFlags = NodeFlags(256);
    pub const NO_FAILOVER: NodeFlags = NodeFlags(512);

    /// Names in the order in which they are written.
    const NAMES: [(NodeFlags, &'static str); 8] = [
        (NodeFlags::MYSELF, "myself"),
        (NodeFlags::PRIMARY, "master"),
        (NodeFlags::REPLICA, "slave"),
        (NodeFlags::PFAIL, "fail?"),
        (NodeFlags::FAIL, "fail"),
        (NodeFlags::HANDSHAKE, "handshake"),
        (NodeFlags::NO_ADDRESS, "noaddr"),
        (NodeFlags::NO_FAILOVER, "nofailover"),
    ];

    /// Whether all of `other` are set.
    pub const fn has(self, other: NodeFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether one of `other` is set.
    pub const fn has_any(self, other: NodeFlags) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn and(self, other: NodeFlags) -> NodeFlags {
        NodeFlags(self.0 | other.0)
    }

    pub const fn without(self, other: NodeFlags) -> NodeFlags {
        NodeFlags(self.0 & !other.0)
    }

    /// The flags that a comma-separated list names; `None` for an unknown name.
    pub fn parse(list: &[u8]) -> Option<NodeFlags> {
        let mut flags = NodeFlags::NONE;
        for word in list.split(|byte| *byte == b',') {
            if word.eq_ignore_ascii_case(b"noflags") {
                continue;
            }
            let known = NodeFlags::NAMES.iter().find(|(_, name)| name.as_bytes().eq_ignore_ascii_case(word));
            flags = flags.and(known?.0);
        }
        Some(flags)
    }
}

impl fmt::Display for NodeFlags {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = NodeFlags::NAMES.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| *name);
        out.write_str(names.next().unwrap_or("noflags"))?;
        names.try_for_each(|name| write!(out, ",{name}"))
    }
}

/// Where a node is reached. An unknown address is empty, an unknown port 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeAddress {
    pub ip: String,
    pub port: u16,
    pub tls_port: u16,
    pub bus_port: u16,
}

/// A node's place in `ClusterState`'s list; this node is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u16);

impl NodeIndex {
    pub const MYSELF: NodeIndex = NodeIndex(0);
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNode {
    pub id: HexId,
    /// The same for a primary and its replicas.
    pub shard: HexId,
    pub address: NodeAddress,
    /// Where its cores are reached, if each has a port of its own. Not kept in nodes.conf.
    pub core_ports: Option<CorePorts>,
    /// cluster-announce-hostname of that node; empty when it has none.
    pub hostname: String,
    /// cluster-announce-human-nodename of that node; empty when it has none.
    pub human_name: String,
    /// Fields of nodes.conf (`name=value`) that this version does not know; kept for whoever does.
    pub unknown_fields: Vec<String>,
    pub flags: NodeFlags,
    /// The primary of a replica.
    pub primary: Option<NodeIndex>,
    /// When the ping was sent that is still without an answer; 0 for none.
    pub ping_sent: UnixMillis,
    /// When it last answered; 0 for never.
    pub pong_received: UnixMillis,
    /// Of a primary; a replica shows its primary's.
    pub config_epoch: Epoch,
    /// The link to its bus is up.
    pub is_connected: bool,
    /// The slots that it serves; `None` for none. `ClusterState` keeps them in step with its table of owners.
    pub(super) slots: Option<Box<SlotSet>>,
    pub(super) slots_count: usize,
    pub contact: Contact,
}

/// What this node has of another besides what is kept in nodes.conf: links, and when it was last heard. Moments are monotonic
/// milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// When it became known.
    pub created_ms: u64,
    /// The connection that this node has opened to it, and the one that it has opened to this node.
    pub link: Option<LinkId>,
    pub inbound: Option<LinkId>,
    /// When the ping was sent that is still without an answer.
    pub ping_sent_ms: Option<u64>,
    /// When the last ping was sent, whether or not one was awaited already.
    pub pinged_ms: u64,
    /// Of the last ping that it has answered: when that was sent.
    pub answered_ms: u64,
    /// When it last answered, as far as this node knows.
    pub pong_ms: u64,
    /// When anything last came from it.
    pub data_ms: u64,
    /// When it was found failing.
    pub failed_ms: u64,
    /// When this node last voted for one of its replicas.
    pub voted_ms: Option<u64>,
    /// How far its data are, as it says; 0 when it never did.
    pub offset: u64,
    /// Since when it, a primary with slots, has had no replica that works.
    pub orphaned_ms: Option<u64>,
    /// Primaries that say that it does not answer, each with the moment of its last word.
    pub reports: Vec<(HexId, u64)>,
    /// The number of the last ping whose gossip named it.
    pub gossiped_in: u64,
    /// It is a slotcore node.
    pub is_kin: bool,
    /// It understands extensions of pings.
    pub takes_extensions: bool,
}

impl Contact {
    /// From now on it is given the time to answer that others are.
    pub fn begin(&mut self, now_ms: u64) {
        (self.created_ms, self.pong_ms, self.data_ms) = (now_ms, now_ms, now_ms);
    }
}

impl ClusterNode {
    /// The port that clients are told for a slot of this node, or of its primary.
    pub fn port_for(&self, slot: Slot) -> u16 {
        self.core_ports.as_ref().map_or(self.address.port, |ports| ports.port(slot))
    }

    /// A node of which nothing is known but its id.
    pub fn new(id: HexId, shard: HexId, flags: NodeFlags) -> ClusterNode {
        ClusterNode {
            id,
            shard,
            address: NodeAddress::default(),
            core_ports: None,
            hostname: String::new(),
            human_name: String::new(),
            unknown_fields: Vec::new(),
            flags,
            primary: None,
            ping_sent: UnixMillis(0),
            pong_received: UnixMillis(0),
            config_epoch: Epoch(0),
            is_connected: false,
            slots: None,
            slots_count: 0,
            contact: Contact::default(),
        }
    }

    pub fn slots_count(&self) -> usize {
        self.slots_count
    }

    /// The slots that it serves; `None` for none.
    pub fn slots(&self) -> Option<&SlotSet> {
        self.slots.as_deref()
    }

    /// A ping has been sent, or something that would have been one; the time of an earlier one without an answer stays.
    pub(super) fn note_ping(&mut self, now: Now) {
        self.contact.pinged_ms = now.ms;
        if self.contact.ping_sent_ms.is_none() {
            self.contact.ping_sent_ms = Some(now.ms);
            self.ping_sent = now.unix;
        }
    }

    pub fn is_myself(&self) -> bool {
        self.flags.has(NodeFlags::MYSELF)
    }

    /// It is not known yet who it is.
    pub fn is_in_handshake(&self) -> bool {
        self.flags.has(NodeFlags::HANDSHAKE)
    }

    /// It does not answer this node, or a majority.
    pub fn is_unreachable(&self) -> bool {
        self.flags.has_any(NodeFlags::FAIL.and(NodeFlags::PFAIL))
    }

    /// How many primaries have said within `validity_ms` that it does not answer.
    pub fn reports_count(&self, now_ms: u64, validity_ms: u64) -> usize {
        self.contact.reports.iter().filter(|(_, at_ms)| now_ms.saturating_sub(*at_ms) <= validity_ms).count()
    }

    pub fn is_primary(&self) -> bool {
        self.flags.has(NodeFlags::PRIMARY)
    }

    pub fn is_replica(&self) -> bool {
        self.flags.has(NodeFlags::REPLICA)
    }

    pub fn has_failed(&self) -> bool {
        self.flags.has(NodeFlags::FAIL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_back_as_written() {
        for bits in 0..1024u16 {
            let written = NodeFlags(bits).to_string();
            let known = NodeFlags(bits & 0b10_0111_1111);
            assert_eq!(NodeFlags::parse(written.as_bytes()), Some(known), "{written}");
        }
        assert_eq!(NodeFlags::NONE.to_string(), "noflags");
        assert_eq!(NodeFlags::PRIMARY.and(NodeFlags::MYSELF).to_string(), "myself,master");
        assert_eq!(NodeFlags::parse(b"master,boss"), None);
        assert_eq!(NodeFlags::parse(b""), None);
    }
}
