//! Where everything stands in a packet, and the fixed values in it. `encode` writes the fields in this order and `decode`
//! reads them in this order.
//!
//! ```text
//! header, 2256 bytes
//!    0     4  "RCmb"
//!    4     4  bytes of the whole packet
//!    8     2  version: 1
//!   10     2  port for clients
//!   12     2  kind
//!   14     2  how many nodes the gossip section has
//!   16     8  current epoch
//!   24     8  config epoch
//!   32     8  replication offset
//!   40    40  id of the sender
//!   80  2048  its slots, a bit each
//! 2128    40  id of its primary; zero bytes when it has none
//! 2168    46  its address: a text, then zero bytes
//! 2214     2  how many extensions there are
//! 2216    30  reserved: "slotcore" from a node of this kind; else zero bytes
//! 2246     2  the other port for clients
//! 2248     2  port of the bus
//! 2250     2  flags of the sender
//! 2252     1  state of the cluster: 0 ok, 1 fail
//! 2253     3  flags of the packet: 1 paused, 2 the vote is ordered, 4 there may be extensions; two zero bytes
//!
//! ping, pong, meet: each node of the gossip section, 104 bytes
//!    0    40  id
//!   40     4  when a ping was sent, in Unix seconds
//!   44     4  when a pong was received
//!   48    46  address
//!   94     2  port for clients
//!   96     2  port of the bus
//!   98     2  flags
//!  100     2  the other port for clients
//!  102     2  zero bytes
//! then each extension
//!    0     4  bytes of the extension with this header, a multiple of 8
//!    4     2  kind
//!    6     2  zero bytes
//!    8     *  0 host name: a text   1 human name: a text   2 forgotten node: 40 id, 8 seconds   3 shard: 40 id
//!             0x5343 core ports, between slotcore nodes alone: 2 port of the first core, 2 how many cores, 2 how many slots
//!             are not where the default table of cores has them, for each of them 2 slot, 2 core
//!             and zero bytes up to the end; a text has at least one
//!
//! fail                    40 id
//! publish, publishshard   4 bytes of the channel, 4 bytes of the message, channel, message
//! update                  8 config epoch, 40 id, 2048 slots
//! module                  8 id of the module, 4 bytes of the data, 1 type, data
//! all others              nothing
//! ```

use super::{GOSSIP_BYTES, HEADER_BYTES, IP_BYTES};
use crate::base::hex::HEX_ID_LEN;
use crate::base::slot::SLOT_BITMAP_BYTES;

pub(super) const SIGNATURE: &[u8; 4] = b"RCmb";
/// Where the packet's length stands.
pub(super) const TOTAL_AT: usize = 4;
/// Bytes up to the end of the packet's length.
pub(super) const PREFIX_BYTES: usize = 8;
/// No packet is longer. One with a message of 512 MiB fits, the longest that clients can publish by default.
pub const PACKET_BYTES_MAX: usize = 1 << 30;
pub(super) const VERSION: u16 = 1;

pub(super) const RESERVED_BYTES: usize = 30;
/// What a slotcore node has at the start of the reserved bytes.
pub(super) const KIN_MARK: &[u8; 8] = b"slotcore";

pub(super) const STATE_OK: u8 = 0;
pub(super) const STATE_FAIL: u8 = 1;

pub(super) const PAUSED: u8 = 1;
pub(super) const ORDERED: u8 = 2;
pub(super) const HAS_EXTENSIONS: u8 = 4;

pub(super) const EXTENSION_HOSTNAME: u16 = 0;
pub(super) const EXTENSION_HUMAN_NAME: u16 = 1;
pub(super) const EXTENSION_FORGOTTEN: u16 = 2;
pub(super) const EXTENSION_SHARD: u16 = 3;

/// Only between slotcore nodes; far from the numbers that Redis and Valkey give out one after the other.
pub(super) const EXTENSION_CORE_PORTS: u16 = 0x5343;

pub(super) const EXTENSION_HEADER_BYTES: usize = 8;
pub(super) const EXTENSION_ALIGNMENT: usize = 8;
/// Redis reads the length of an extension into 16 bits when it adds the lengths up.
pub(super) const EXTENSION_BYTES_MAX: usize = u16::MAX as usize / EXTENSION_ALIGNMENT * EXTENSION_ALIGNMENT;

/// Bytes of a module's message without its data.
pub(super) const MODULE_BYTES: usize = 8 + 4 + 1;

const _: () = {
    let before_slots = SIGNATURE.len() + 4 + 4 * 2 + 3 * 8 + HEX_ID_LEN;
    let behind_slots = HEX_ID_LEN + IP_BYTES + 2 + RESERVED_BYTES + 3 * 2 + 1 + 3;
    assert!(before_slots == 80 && before_slots + SLOT_BITMAP_BYTES + behind_slots == HEADER_BYTES);
    assert!(GOSSIP_BYTES == HEX_ID_LEN + 2 * 4 + IP_BYTES + 5 * 2);
    assert!(TOTAL_AT + 4 == PREFIX_BYTES && KIN_MARK.len() <= RESERVED_BYTES);
    assert!(HEADER_BYTES.is_multiple_of(EXTENSION_ALIGNMENT) && GOSSIP_BYTES.is_multiple_of(EXTENSION_ALIGNMENT));
};
