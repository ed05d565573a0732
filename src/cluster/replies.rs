//! The answers of CLUSTER SLOTS, SHARDS and NODES, which clients ask for again and again: kept as bytes, made anew when the topology
//! has changed.
//!
//! What changes without that - offsets, times of pings, states of links - is left out of what is kept and put in with each answer. Core
//! 0's, called by the handlers.

use std::collections::BTreeMap;

use super::describe;
use super::node::{ClusterNode, NodeIndex};
use super::state::ClusterState;
use crate::base::hex::HexId;
use crate::base::slot::{Slot, SlotSet};
use crate::config::EndpointType;
use crate::resp::{Reply, ReplyBuffer, RespVersion};

/// Which topology an answer is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edition {
    /// Raised with every change of what is published.
    generation: u64,
    /// Says which nodes there are, in which states: some changes are nobody's business but a client's who asks.
    nodes_mark: u64,
}

/// The cluster as an answer shows it.
#[derive(Clone, Copy)]
pub struct Shown<'s> {
    pub state: &'s ClusterState,
    /// How far this node's own data are; the others' they say themselves.
    pub own_offset: u64,
    /// `None` while changes are not published yet: nothing is kept then.
    pub generation: Option<u64>,
}

impl Shown<'_> {
    fn offset(&self, node: &ClusterNode) -> u64 {
        if node.is_myself() { self.own_offset } else { node.contact.offset }
    }

    fn edition(&self) -> Option<Edition> {
        const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
        let generation = self.generation?;
        let nodes_mark = self.state.nodes().iter().fold(0, |mark: u64, node| {
            let (head, _) = node.id.as_bytes().as_chunks::<8>();
            let state = u64::from(node.flags.0) << 1 | u64::from(self.offset(node) != 0);
            ((mark ^ u64::from_le_bytes(head[0])).wrapping_mul(MIX).rotate_left(29) ^ state).wrapping_mul(MIX)
        });
        Some(Edition { generation, nodes_mark })
    }
}

/// Bytes with holes, each of which tells something of one node.
#[derive(Default)]
struct Template {
    bytes: Vec<u8>,
    /// Where the holes are, in ascending order. Nodes that are known by their places: those of one edition have the same.
    holes: Vec<(usize, NodeIndex)>,
}

impl Template {
    /// The bytes to `put`, and between them the nodes whose holes are to be filled.
    fn render(&self, state: &ClusterState, mut put: impl FnMut(&[u8], Option<&ClusterNode>)) {
        let mut begun = 0;
        for (end, index) in &self.holes {
            put(&self.bytes[begun..*end], state.nodes().get(usize::from(index.0)));
            begun = *end;
        }
        put(&self.bytes[begun..], None);
    }
}

struct Kept<T> {
    of: Edition,
    answer: T,
}

/// What is kept; of what differs between the versions of the protocol, one of each.
#[derive(Default)]
pub struct Replies {
    slots: [Option<Kept<Vec<u8>>>; 2],
    shards: [Option<Kept<Template>>; 2],
    nodes: Option<Kept<Template>>,
}

/// Calls `answer` with what is kept if it is of this topology, else with what `make` makes.
fn with<T, R>(
    kept: &mut Option<Kept<T>>,
    shown: &Shown<'_>,
    make: impl FnOnce() -> T,
    answer: impl FnOnce(&T) -> R,
) -> R {
    let Some(edition) = shown.edition() else { return answer(&make()) };
    match kept {
        Some(kept) if kept.of == edition => answer(&kept.answer),
        _ => answer(&kept.insert(Kept { of: edition, answer: make() }).answer),
    }
}

fn place(version: RespVersion) -> usize {
    usize::from(version == RespVersion::V3)
}

impl Replies {
    /// CLUSTER SLOTS: `[first, last, primary, replica ...]` for each run of slots with one owner.
    pub fn slots(&mut self, shown: &Shown<'_>, reply: &mut Reply<'_>) {
        let version = reply.version();
        with(&mut self.slots[place(version)], shown, || slots(shown, version), |bytes| reply.raw(bytes));
    }

    /// CLUSTER SHARDS: `{slots, nodes}` for each shard.
    pub fn shards(&mut self, shown: &Shown<'_>, reply: &mut Reply<'_>) {
        let version = reply.version();
        with(
            &mut self.shards[place(version)],
            shown,
            || shards(shown, version),
            |template| {
                template.render(shown.state, |bytes, node| {
                    reply.raw(bytes);
                    node.into_iter().for_each(|node| standing(shown, node, reply));
                });
            },
        );
    }

    /// CLUSTER NODES: a line for each node.
    pub fn nodes(&mut self, shown: &Shown<'_>) -> String {
        with(
            &mut self.nodes,
            shown,
            || nodes(shown.state),
            |template| {
                let mut text = String::with_capacity(template.bytes.len() + 64 * template.holes.len());
                template.render(shown.state, |bytes, node| {
                    text.push_str(std::str::from_utf8(bytes).expect("lines are text"));
                    node.into_iter().for_each(|node| describe::contact(shown.state, node, &mut text));
                });
                text
            },
        )
    }
}

// ---- SLOTS -----------------------------------------------------------------------------------------------------------

fn slots(shown: &Shown<'_>, version: RespVersion) -> Vec<u8> {
    let state = shown.state;
    let mut replicas: BTreeMap<NodeIndex, Vec<&ClusterNode>> = BTreeMap::new();
    for node in state.nodes().iter().filter(|node| node.is_replica() && is_readable(shown, node)) {
        if let Some(primary) = node.primary {
            replicas.entry(primary).or_default().push(node);
        }
    }
    // Nodes learn of one another in different orders, and clients compare their answers.
    replicas.values_mut().for_each(|of_one| of_one.sort_unstable_by_key(|replica| replica.id));
    let mut buffer = ReplyBuffer::new();
    let mut reply = Reply::new(&mut buffer, version);
    let ranges = state.owned_ranges().into_iter().flat_map(|(owner, first, last)| {
        let mut nodes = vec![state.node(owner)];
        nodes.extend(replicas.get(&owner).into_iter().flatten());
        parts(&nodes, first, last).into_iter().map(move |part| (nodes.clone(), part))
    });
    let ranges: Vec<_> = ranges.collect();
    reply.array(ranges.len());
    for (nodes, part) in ranges {
        reply.array(2 + nodes.len());
        reply.integer(i64::from(part.first.get()));
        reply.integer(i64::from(part.last.get()));
        nodes.iter().zip(part.ports).for_each(|(node, port)| address(&mut reply, state, node, port));
    }
    buffer.to_vec()
}

/// Slots that are reached at the same ports of the nodes that have them.
struct PortRange {
    first: Slot,
    last: Slot,
    /// In the order of the nodes.
    ports: Vec<u16>,
}

/// Cuts a range of slots where a core of one of the nodes ends. Without core ports it stays whole.
fn parts(nodes: &[&ClusterNode], first: Slot, last: Slot) -> Vec<PortRange> {
    let ports = |slot: Slot| nodes.iter().map(|node| node.port_for(slot)).collect();
    if nodes.iter().all(|node| node.core_ports.is_none()) {
        return vec![PortRange { first, last, ports: ports(first) }];
    }
    let mut parts: Vec<PortRange> = Vec::new();
    for slot in (first.get()..=last.get()).map(Slot::new) {
        let ports = ports(slot);
        match parts.last_mut() {
            Some(part) if part.ports == ports => part.last = slot,
            _ => parts.push(PortRange { first: slot, last: slot, ports }),
        }
    }
    parts
}

/// A replica is shown once it has data, and as long as it works.
fn is_readable(shown: &Shown<'_>, replica: &ClusterNode) -> bool {
    !replica.has_failed() && shown.offset(replica) != 0
}

/// `[endpoint, port, id, {what else is known of the address}]`.
fn address(reply: &mut Reply<'_>, state: &ClusterState, node: &ClusterNode, port: u16) {
    let endpoint_type = state.endpoint_type();
    reply.array(4);
    match endpoint_type {
        EndpointType::UnknownEndpoint => reply.null(),
        _ => reply.bulk(state.preferred_endpoint(node).as_bytes()),
    }
    reply.integer(i64::from(port));
    reply.bulk(node.id.as_bytes());
    let ip = (endpoint_type != EndpointType::Ip).then_some(("ip", node.address.ip.as_str()));
    let host = endpoint_type != EndpointType::Hostname && !node.hostname.is_empty();
    let host = host.then_some(("hostname", node.hostname.as_str()));
    let more: Vec<(&str, &str)> = ip.into_iter().chain(host).collect();
    reply.map(more.len());
    for (name, value) in more {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
}

// ---- SHARDS ----------------------------------------------------------------------------------------------------------

fn shards(shown: &Shown<'_>, version: RespVersion) -> Template {
    let state = shown.state;
    let mut shards: BTreeMap<HexId, Vec<NodeIndex>> = BTreeMap::new();
    for index in state.indexes().filter(|index| !state.node(*index).is_in_handshake()) {
        shards.entry(state.node(index).shard).or_default().push(index);
    }
    let mut buffer = ReplyBuffer::new();
    let mut holes = Vec::new();
    let shards: Vec<_> = shards.values().flat_map(|members| by_ports(state, members)).collect();
    Reply::new(&mut buffer, version).array(shards.len());
    for (members, ports, ranges) in shards {
        let mut reply = Reply::new(&mut buffer, version);
        reply.map(2);
        reply.bulk(b"slots");
        reply.array(2 * ranges.len());
        ranges.iter().flat_map(|(first, last)| [first, last]).for_each(|slot| reply.integer(i64::from(slot.get())));
        reply.bulk(b"nodes");
        reply.array(members.len());
        for (index, port) in members.iter().zip(ports) {
            let node = state.node(*index);
            details(&mut Reply::new(&mut buffer, version), state, node, port);
            holes.push((buffer.len_bytes(), *index));
        }
    }
    Template { bytes: buffer.to_vec(), holes }
}

/// The nodes of a shard with the ports at which they are reached, and the slots for which that holds.
type ShardPart<'m> = (&'m [NodeIndex], Vec<u16>, Vec<(Slot, Slot)>);

/// A shard as it is shown: in one piece, or where cores have ports, in one for each core, as if that were a shard.
fn by_ports<'m>(state: &ClusterState, members: &'m [NodeIndex]) -> Vec<ShardPart<'m>> {
    let nodes: Vec<&ClusterNode> = members.iter().map(|index| state.node(*index)).collect();
    let leader = members.first().and_then(|first| state.leader_of(*first));
    let slots = leader.and_then(|leader| state.node(leader).slots());
    let mut pieces: BTreeMap<Vec<u16>, Vec<(Slot, Slot)>> = BTreeMap::new();
    for (first, last) in slots.into_iter().flat_map(SlotSet::ranges) {
        for part in parts(&nodes, first, last) {
            pieces.entry(part.ports).or_default().push((part.first, part.last));
        }
    }
    if pieces.is_empty() {
        pieces.insert(nodes.iter().map(|node| node.address.port).collect(), Vec::new());
    }
    pieces.into_iter().map(|(ports, ranges)| (members, ports, ranges)).collect()
}

/// One node of a shard, as a map, but for what `standing` adds.
fn details(reply: &mut Reply<'_>, state: &ClusterState, node: &ClusterNode, port: u16) {
    let ports = [("port", port), ("tls-port", node.address.tls_port)];
    let hostname = (!node.hostname.is_empty()).then_some(("hostname", node.hostname.as_str()));
    let ports = ports.into_iter().filter(|(_, port)| *port != 0);
    reply.map(6 + ports.clone().count() + usize::from(hostname.is_some()));
    let text = |reply: &mut Reply<'_>, name: &str, value: &str| {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    };
    text(reply, "id", node.id.as_str());
    for (name, port) in ports {
        reply.bulk(name.as_bytes());
        reply.integer(i64::from(port));
    }
    text(reply, "ip", &node.address.ip);
    text(reply, "endpoint", state.preferred_endpoint(node));
    hostname.into_iter().for_each(|(name, value)| text(reply, name, value));
    text(reply, "role", if node.is_replica() { "replica" } else { "master" });
    reply.bulk(b"replication-offset");
}

/// How far a node's data are, and whether they are of use.
fn standing(shown: &Shown<'_>, node: &ClusterNode, reply: &mut Reply<'_>) {
    let offset = shown.offset(node);
    reply.integer(offset.cast_signed());
    reply.raw(match () {
        () if node.has_failed() => b"$6\r\nhealth\r\n$4\r\nfail\r\n",
        () if node.is_replica() && offset == 0 => b"$6\r\nhealth\r\n$7\r\nloading\r\n",
        () => b"$6\r\nhealth\r\n$6\r\nonline\r\n",
    });
}

// ---- NODES -----------------------------------------------------------------------------------------------------------

fn nodes(state: &ClusterState) -> Template {
    let (mut text, mut holes) = (String::new(), Vec::new());
    for index in state.indexes() {
        let node = state.node(index);
        describe::identity(state, node, describe::Form::Client, &mut text);
        holes.push((text.len(), index));
        describe::slots(state, node, &mut text);
        text.push('\n');
    }
    Template { bytes: text.into_bytes(), holes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::cluster::core_ports::CorePorts;
    use crate::cluster::node::NodeFlags;
    use crate::cluster::settings::ClusterSettings;
    use crate::config::Config;

    /// This node, another primary, and its replica.
    fn state() -> ClusterState {
        let mut random = Random::new(1);
        let settings = ClusterSettings::of(&Config { port: 7000, ..Config::default() });
        let mut state = ClusterState::new(HexId::random(&mut random), HexId::random(&mut random), settings);
        let shard = HexId::random(&mut random);
        for flags in [NodeFlags::PRIMARY, NodeFlags::REPLICA] {
            let mut node = ClusterNode::new(HexId::random(&mut random), shard, flags);
            (node.address.ip, node.address.port) = ("10.0.0.9".into(), 7001);
            node.primary = flags.has(NodeFlags::REPLICA).then_some(NodeIndex(1));
            state.add(node);
        }
        for (slot, owner) in [(1, 0), (2, 0), (3, 1), (9, 0)] {
            state.set_owner(Slot::new(slot), Some(NodeIndex(owner)));
        }
        state
    }

    fn shown(state: &ClusterState) -> Shown<'_> {
        Shown { state, own_offset: 5, generation: Some(1) }
    }

    fn text(version: RespVersion, write: impl FnOnce(&mut Reply<'_>)) -> String {
        let mut buffer = ReplyBuffer::new();
        write(&mut Reply::new(&mut buffer, version));
        String::from_utf8(buffer.to_vec()).unwrap()
    }

    fn answers(replies: &mut Replies, shown: &Shown<'_>) -> [String; 5] {
        [
            text(RespVersion::V2, |reply| replies.slots(shown, reply)),
            text(RespVersion::V3, |reply| replies.slots(shown, reply)),
            text(RespVersion::V2, |reply| replies.shards(shown, reply)),
            text(RespVersion::V3, |reply| replies.shards(shown, reply)),
            replies.nodes(shown),
        ]
    }

    /// Those that are kept are those that would be made now.
    fn check(replies: &mut Replies, shown: &Shown<'_>) {
        let anew = answers(&mut Replies::default(), &Shown { generation: None, ..*shown });
        assert_eq!(answers(replies, shown), anew);
        assert_eq!(answers(replies, shown), anew);
        assert_eq!(anew[4], describe::nodes_text(shown.state, describe::Form::Client));
    }

    #[test]
    fn what_is_kept_is_what_would_be_made_anew() {
        let (mut state, mut replies) = (state(), Replies::default());
        check(&mut replies, &shown(&state));
        // Pings, links and offsets change without anybody being told.
        let node = state.node_mut(NodeIndex(1));
        (node.ping_sent.0, node.pong_received.0, node.is_connected, node.contact.offset) = (7, 8, true, 9);
        check(&mut replies, &shown(&state));
        state.node_mut(NodeIndex(2)).contact.offset = 9;
        check(&mut replies, &shown(&state));
        state.node_mut(NodeIndex(2)).flags = NodeFlags::REPLICA.and(NodeFlags::FAIL);
        check(&mut replies, &shown(&state));
        let mut random = Random::new(3);
        state.add(ClusterNode::new(HexId::random(&mut random), HexId::ZEROS, NodeFlags::HANDSHAKE));
        check(&mut replies, &shown(&state));
        state.remove(NodeIndex(1));
        check(&mut replies, &Shown { generation: Some(2), ..shown(&state) });
        state.set_owner(Slot::new(1), None);
        check(&mut replies, &Shown { generation: Some(3), ..shown(&state) });
    }

    #[test]
    fn ranges_are_cut_where_cores_end() {
        let mut state = state();
        (60..70).for_each(|slot| state.set_owner(Slot::new(slot), Some(NodeIndex(1))));
        state.node_mut(NodeIndex(2)).contact.offset = 9;
        state.node_mut(NodeIndex(1)).core_ports = CorePorts::checked(7100, 2);
        let slots = text(RespVersion::V2, |reply| Replies::default().slots(&shown(&state), reply));
        assert!(slots.contains(":60\r\n:63\r\n*4\r\n$8\r\n10.0.0.9\r\n:7100\r\n"), "{slots}");
        assert!(slots.contains(":64\r\n:69\r\n*4\r\n$8\r\n10.0.0.9\r\n:7101\r\n"), "{slots}");
        // The replica's cores have no ports.
        assert_eq!(slots.matches(":7001\r\n").count(), 3, "{slots}");
        let shards = text(RespVersion::V2, |reply| Replies::default().shards(&shown(&state), reply));
        assert!(shards.starts_with("*3\r\n"), "{shards}");
        assert!(shards.contains("*4\r\n:3\r\n:3\r\n:60\r\n:63\r\n"), "{shards}");
        assert!(shards.contains("*2\r\n:64\r\n:69\r\n"), "{shards}");
        assert_eq!(shards.matches("$4\r\nport\r\n:7001\r\n").count(), 2, "{shards}");
        check(&mut Replies::default(), &shown(&state));
    }

    #[test]
    fn an_answer_is_made_once_for_each_topology() {
        let (state, mut replies) = (state(), Replies::default());
        let made = |replies: &mut Replies, generation| {
            let mut is_made = false;
            let shown = Shown { generation, ..shown(&state) };
            with(
                &mut replies.slots[0],
                &shown,
                || {
                    is_made = true;
                    Vec::new()
                },
                |_| (),
            );
            is_made
        };
        assert!(made(&mut replies, None) && made(&mut replies, None));
        assert!(made(&mut replies, Some(1)) && !made(&mut replies, Some(1)));
        assert!(made(&mut replies, Some(2)) && !made(&mut replies, Some(2)));
    }

    #[test]
    fn replicas_are_listed_once_they_have_data_and_while_they_work() {
        let (mut state, mut replies) = (state(), Replies::default());
        let lists = |state: &ClusterState, replies: &mut Replies| {
            let id = state.node(NodeIndex(2)).id;
            text(RespVersion::V2, |reply| replies.slots(&shown(state), reply)).contains(id.as_str())
        };
        assert!(!lists(&state, &mut replies));
        state.node_mut(NodeIndex(2)).contact.offset = 1;
        assert!(lists(&state, &mut replies));
        state.node_mut(NodeIndex(2)).flags = NodeFlags::REPLICA.and(NodeFlags::FAIL);
        assert!(!lists(&state, &mut replies));
    }

    #[test]
    fn shards_say_how_their_nodes_are() {
        let (mut state, mut replies) = (state(), Replies::default());
        let health = |state: &ClusterState, replies: &mut Replies| {
            let text = text(RespVersion::V2, |reply| replies.shards(&shown(state), reply));
            let words = ["online", "loading", "fail"];
            words.map(|word| text.matches(&format!("health\r\n${}\r\n{word}\r\n", word.len())).count())
        };
        assert_eq!(health(&state, &mut replies), [2, 1, 0]);
        state.node_mut(NodeIndex(2)).contact.offset = 1;
        assert_eq!(health(&state, &mut replies), [3, 0, 0]);
        state.node_mut(NodeIndex(1)).flags = NodeFlags::PRIMARY.and(NodeFlags::FAIL);
        assert_eq!(health(&state, &mut replies), [2, 0, 1]);
    }
}
