//! What CLUSTER NODES and CLUSTER INFO say, as values. Pure: bytes in, values out.
//!
//! Every version's form is read: addresses without a bus port (Redis 3), with a host name (7.0) and with further fields
//! (7.2). What a later version adds is passed over.

use crate::base::hex::HexId;
use crate::base::number::{parse_i64, parse_u64};
use crate::base::slot::Slot;

/// The bus listens this much above the port unless a node says otherwise.
const BUS_PORT_OFFSET: u16 = 10_000;

/// Slots from the first to the last, both included.
pub type SlotRange = (Slot, Slot);

/// A line of CLUSTER NODES: one node as another (or itself) knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownNode {
    pub id: HexId,
    /// Empty where it is not known, as a node's own is before it has met another.
    pub ip: String,
    pub port: u16,
    pub bus_port: u16,
    pub is_myself: bool,
    pub is_replica: bool,
    /// FAIL: a majority says so.
    pub has_failed: bool,
    /// PFAIL: not reached by the node that answers.
    pub may_have_failed: bool,
    pub is_in_handshake: bool,
    pub has_no_address: bool,
    /// The primary of a replica.
    pub primary: Option<HexId>,
    pub is_connected: bool,
    /// Ascending.
    pub slots: Vec<SlotRange>,
    /// Slots that move away, each with the node they go to.
    pub migrating: Vec<(Slot, String)>,
    /// Slots that come, each with the node they come from.
    pub importing: Vec<(Slot, String)>,
}

impl KnownNode {
    /// How many slots the node serves.
    pub fn slots_count(&self) -> usize {
        self.slots.iter().map(|(first, last)| last.index() - first.index() + 1).sum()
    }

    /// Whether the bus is where MEET looks for it by itself.
    pub fn has_usual_bus_port(&self) -> bool {
        self.bus_port == 0 || self.port.checked_add(BUS_PORT_OFFSET) == Some(self.bus_port)
    }
}

/// All nodes that one node knows, itself included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    nodes: Vec<KnownNode>,
    myself: usize,
}

impl View {
    /// Reads the reply of CLUSTER NODES.
    ///
    /// # Errors
    /// The line that makes no sense, or that no line is the node's own.
    pub fn parse(text: &[u8]) -> Result<View, String> {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        let nodes = lines
            .map(|line| parse_node(line).ok_or_else(|| format!("not understood: {}", String::from_utf8_lossy(line))))
            .collect::<Result<Vec<_>, _>>()?;
        let myself =
            nodes.iter().position(|node| node.is_myself).ok_or("no view of a node: no line is marked 'myself'")?;
        Ok(View { nodes, myself })
    }

    /// Every node, in the order of the reply.
    pub fn nodes(&self) -> &[KnownNode] {
        &self.nodes
    }

    /// The node that answered.
    pub fn myself(&self) -> &KnownNode {
        &self.nodes[self.myself]
    }

    /// The nodes that are part of the cluster: a node in handshake has no id of its own yet.
    pub fn settled(&self) -> impl Iterator<Item = &KnownNode> {
        self.nodes.iter().filter(|node| !node.is_in_handshake)
    }

    /// The node with this id.
    pub fn get(&self, id: HexId) -> Option<&KnownNode> {
        self.settled().find(|node| node.id == id)
    }

    /// Who serves what: the nodes that have slots, by id.
    pub fn slot_map(&self) -> Vec<(HexId, &[SlotRange])> {
        let with_slots = self.settled().filter(|node| !node.slots.is_empty());
        let mut map: Vec<_> = with_slots.map(|node| (node.id, node.slots.as_slice())).collect();
        map.sort_unstable();
        map
    }
}

/// `id ip:port@bus[,host] flags primary ping pong epoch link slots...`
fn parse_node(line: &[u8]) -> Option<KnownNode> {
    let words: Vec<&str> = std::str::from_utf8(line).ok()?.split_ascii_whitespace().collect();
    let [id, address, flags, primary, _ping, _pong, _epoch, link, slots @ ..] = words.as_slice() else {
        return None;
    };
    let (ip, port, bus_port) = parse_address(address)?;
    let has = |name: &str| flags.split(',').any(|flag| flag == name);
    let mut node = KnownNode {
        id: HexId::parse(id.as_bytes())?,
        ip: ip.to_owned(),
        port,
        bus_port,
        is_myself: has("myself"),
        is_replica: has("slave"),
        has_failed: has("fail"),
        may_have_failed: has("fail?"),
        is_in_handshake: has("handshake"),
        has_no_address: has("noaddr"),
        primary: HexId::parse(primary.as_bytes()),
        is_connected: *link == "connected",
        slots: Vec::new(),
        migrating: Vec::new(),
        importing: Vec::new(),
    };
    for word in slots {
        parse_slots(word, &mut node)?;
    }
    node.slots.sort_unstable();
    Some(node)
}

/// `ip:port[@bus-port][,host name[,name=value...]]`; the IP may have colons.
fn parse_address(word: &str) -> Option<(&str, u16, u16)> {
    let number = |digits: &str| parse_u64(digits.as_bytes()).and_then(|number| u16::try_from(number).ok());
    let address = word.split(',').next()?;
    let (ip, ports) = address.rsplit_once(':')?;
    Some(match ports.split_once('@') {
        Some((port, bus_port)) => (ip, number(port)?, number(bus_port)?),
        None => (ip, number(ports)?, 0),
    })
}

/// `7`, `0-5460`, `[93->-id]` (migrating) or `[77-<-id]` (importing).
fn parse_slots(word: &str, node: &mut KnownNode) -> Option<()> {
    let slot = |digits: &str| Slot::checked(parse_i64(digits.as_bytes())?);
    if let Some(open) = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')) {
        if let Some((number, to)) = open.split_once("->-") {
            node.migrating.push((slot(number)?, to.to_owned()));
        } else if let Some((number, from)) = open.split_once("-<-") {
            node.importing.push((slot(number)?, from.to_owned()));
        }
        return Some(());
    }
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let range = (slot(first)?, slot(last)?);
    (range.0 <= range.1).then(|| node.slots.push(range))
}

/// The fields of CLUSTER INFO that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterInfo {
    /// cluster_state is ok.
    pub is_ok: bool,
    /// The config epoch of the node, of a replica that of its primary; 0 for none yet.
    pub my_epoch: u64,
}

impl ClusterInfo {
    /// Reads the reply of CLUSTER INFO; fields that are missing are 0.
    pub fn parse(text: &[u8]) -> ClusterInfo {
        let mut info = ClusterInfo::default();
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            let number = |name: &[u8]| line.strip_prefix(name).and_then(parse_u64);
            info.is_ok |= line == b"cluster_state:ok";
            info.my_epoch = number(b"cluster_my_epoch:").unwrap_or(info.my_epoch);
        }
        info
    }
}

/// Ranges as text: `0-5460,5462`; `-` for none.
pub fn show_ranges(ranges: impl IntoIterator<Item = SlotRange>) -> String {
    let mut text = String::new();
    for (first, last) in ranges {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&first.to_string());
        if first != last {
            text.push_str(&format!("-{last}"));
        }
    }
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NODES: &str = "\
07c37dfeb235213a872192d90877d0cd55635b91 127.0.0.1:30004@31004,hostname4 slave e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 0 1426238317239 4 connected
67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1 127.0.0.1:30002@40002 master,fail? - 0 1426238316232 2 disconnected 5461-10922 3
292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f ::1:30003@0 handshake,noaddr - 0 0 0 disconnected
e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca :30001@31001,,shard-id=1 myself,master - 0 0 1 connected 0-2 [93->-292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f] [77-<-07c37dfeb235213a872192d90877d0cd55635b91]
";

    #[test]
    fn nodes_are_read_with_roles_slots_and_open_slots() {
        let view = View::parse(NODES.as_bytes()).unwrap();
        let [replica, primary, stranger, myself] = view.nodes() else { panic!() };
        assert!(replica.is_replica && replica.primary == Some(myself.id) && replica.slots_count() == 0);
        assert!(!replica.has_usual_bus_port() && primary.has_usual_bus_port());
        assert!(primary.may_have_failed && !primary.has_failed && !primary.is_connected);
        assert_eq!(show_ranges(primary.slots.iter().copied()), "3,5461-10922");
        assert_eq!((stranger.ip.as_str(), stranger.port, stranger.is_in_handshake), ("::1", 30003, true));
        assert!(std::ptr::eq(view.myself(), myself) && myself.ip.is_empty() && myself.slots_count() == 3);
        assert_eq!(myself.migrating, [(Slot::new(93), stranger.id.to_string())]);
        assert_eq!(myself.importing, [(Slot::new(77), replica.id.to_string())]);
        assert_eq!((view.settled().count(), view.get(stranger.id)), (3, None));
        let owners: Vec<HexId> = view.slot_map().into_iter().map(|(id, _)| id).collect();
        assert_eq!(owners, [primary.id, myself.id]);
    }

    #[test]
    fn lines_that_make_no_sense_are_named() {
        let good = NODES.lines().last().unwrap();
        let bad = [
            good.replace("myself,", ""),
            good.replace(":30001@31001", "30001"),
            good.replace(":30001@31001", ":30001@x"),
            good.replace("0-2", "2-0"),
            good.replace("0-2", "0-16384"),
            good.replace("[93", "[-1"),
            good.replace("e7d1", "E7"),
            good.split(" 0 0").next().unwrap().to_owned(),
        ];
        assert!(View::parse(good.as_bytes()).is_ok());
        for text in bad {
            assert!(View::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn info_is_read_where_it_has_fields() {
        let text = b"cluster_state:ok\r\ncluster_slots_assigned:0\r\ncluster_known_nodes:6\r\ncluster_my_epoch:3\r\n";
        assert_eq!(ClusterInfo::parse(text), ClusterInfo { is_ok: true, my_epoch: 3 });
        assert_eq!(ClusterInfo::parse(b"cluster_state:fail\r\n"), ClusterInfo::default());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..800, at in 0usize..800) {
            let _ = View::parse(&bytes);
            let mut damaged = NODES.as_bytes().to_vec();
            let at = at % damaged.len();
            damaged.splice(at..(at + cut % 40).min(damaged.len() - 1), bytes);
            let _ = View::parse(&damaged);
            let _ = ClusterInfo::parse(&damaged);
        }
    }
}
