//! The cluster in words: the lines of CLUSTER NODES, which nodes.conf shares, and the fields of CLUSTER INFO.
//!
//! Called by `nodes_conf` and by the handlers of CLUSTER. Formats are Redis 7.2's to the byte.

use std::fmt::Write as _;

use super::machine::BusStats;
use super::message::Kind;
use super::node::{ClusterNode, NodeFlags, NodeIndex};
use super::state::{ClusterState, Health};
use crate::base::slot::{Slot, SlotSet};

/// Who reads the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// CLUSTER NODES.
    Client,
    /// nodes.conf: with the fields that clients are not shown, without nodes that are not known to be real.
    File,
}

/// One line per node, each with its line end:
/// `id ip:port@bus-port[,hostname[,name=value ...]] flags primary ping-sent pong-received epoch link slots...`.
pub fn nodes_text(state: &ClusterState, form: Form) -> String {
    let mut text = String::new();
    for node in state.nodes() {
        if form == Form::File && node.flags.has(NodeFlags::HANDSHAKE) {
            continue;
        }
        describe_node(state, node, form, &mut text);
        text.push('\n');
    }
    text
}

/// A node's line as clients are shown it, without its end.
pub fn node_line(state: &ClusterState, node: &ClusterNode) -> String {
    let mut text = String::new();
    describe_node(state, node, Form::Client, &mut text);
    text
}

fn describe_node(state: &ClusterState, node: &ClusterNode, form: Form, text: &mut String) {
    identity(state, node, form, text);
    contact(state, node, text);
    slots(state, node, text);
}

/// The beginning of a node's line: who it is, where, in which state, and whose replica.
pub(super) fn identity(state: &ClusterState, node: &ClusterNode, form: Form, text: &mut String) {
    let address = &node.address;
    // Writing to a string does not fail.
    let _ = write!(text, "{} {}:{}@{}", node.id, address.ip, address.port, address.bus_port);
    match form {
        Form::Client if node.hostname.is_empty() => {}
        Form::Client => _ = write!(text, ",{}", node.hostname),
        Form::File => describe_fields(node, text),
    }
    let primary = node.primary.map_or("-", |primary| state.node(primary).id.as_str());
    let _ = write!(text, " {} {primary}", node.flags);
}

/// The middle of the line: how this node and the other are in touch.
pub(super) fn contact(state: &ClusterState, node: &ClusterNode, text: &mut String) {
    let link = if node.is_connected || node.is_myself() { "connected" } else { "disconnected" };
    let (ping, pong, epoch) = (node.ping_sent.get(), node.pong_received.get(), state.shown_epoch(node));
    let mut number = |digits: &str| {
        text.push(' ');
        text.push_str(digits);
    };
    let mut digits = itoa::Buffer::new();
    number(digits.format(ping));
    number(digits.format(pong));
    number(digits.format(epoch.0));
    number(link);
}

/// The end of the line: the slots.
pub(super) fn slots(state: &ClusterState, node: &ClusterNode, text: &mut String) {
    for (first, last) in node.slots().into_iter().flat_map(SlotSet::ranges) {
        let _ = if first == last { write!(text, " {first}") } else { write!(text, " {first}-{last}") };
    }
    if node.is_myself() {
        describe_open_slots(state, text);
    }
}

/// What nodes.conf has behind the address: the host name, then fields with names.
fn describe_fields(node: &ClusterNode, text: &mut String) {
    let _ = write!(text, ",{},tls-port={}", node.hostname, node.address.tls_port);
    if !node.human_name.is_empty() {
        let _ = write!(text, ",nodename={}", node.human_name);
    }
    let _ = write!(text, ",shard-id={}", node.shard);
    for field in &node.unknown_fields {
        let _ = write!(text, ",{field}");
    }
}

fn describe_open_slots(state: &ClusterState, text: &mut String) {
    let id = |index: &NodeIndex| state.node(*index).id;
    let migrating = state.migrating_to.iter().map(|(slot, to)| (*slot, format!(" [{slot}->-{}]", id(to))));
    let importing = state.importing_from.iter().filter(|(slot, _)| !state.migrating_to.contains_key(slot));
    let importing = importing.map(|(slot, from)| (*slot, format!(" [{slot}-<-{}]", id(from))));
    let mut open: Vec<(Slot, String)> = migrating.chain(importing).collect();
    open.sort_by_key(|(slot, _)| *slot);
    open.iter().for_each(|(_, words)| text.push_str(words));
}

/// CLUSTER INFO. Of kinds of messages those are listed that there have been.
pub fn info_text(state: &ClusterState, stats: &BusStats) -> String {
    let (mut assigned, mut possibly_failing, mut failing) = (0, 0, 0);
    for (node, count) in state.nodes().iter().zip(state.slot_counts()) {
        assigned += count;
        if node.has_failed() {
            failing += count;
        } else if node.flags.has(NodeFlags::PFAIL) {
            possibly_failing += count;
        }
    }
    let fields = [
        ("cluster_state", if state.health() == Health::Ok { "ok".to_owned() } else { "fail".to_owned() }),
        ("cluster_slots_assigned", assigned.to_string()),
        ("cluster_slots_ok", (assigned - possibly_failing - failing).to_string()),
        ("cluster_slots_pfail", possibly_failing.to_string()),
        ("cluster_slots_fail", failing.to_string()),
        ("cluster_known_nodes", state.nodes().len().to_string()),
        ("cluster_size", state.size().to_string()),
        ("cluster_current_epoch", state.current_epoch().to_string()),
        ("cluster_my_epoch", state.shown_epoch(state.myself()).to_string()),
    ];
    let mut text: String = fields.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
    for (counts, direction) in [(&stats.sent, "sent"), (&stats.received, "received")] {
        for (kind, count) in Kind::ALL.iter().zip(counts).filter(|(_, count)| **count != 0) {
            let _ = write!(text, "cluster_stats_messages_{}_{direction}:{count}\r\n", kind.name());
        }
        let _ = write!(text, "cluster_stats_messages_{direction}:{}\r\n", counts.iter().sum::<u64>());
    }
    let _ = write!(text, "total_cluster_links_buffer_limit_exceeded:{}\r\n", stats.overrun);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hex::HexId;
    use crate::base::slot::SlotSet;
    use crate::cluster::settings::ClusterSettings;
    use crate::cluster::state::SlotOrder;
    use crate::config::Config;

    fn state() -> ClusterState {
        let id = HexId::parse(b"0123456789abcdef0123456789abcdef01234567").unwrap();
        let shard = HexId::parse(b"76543210fedcba9876543210fedcba9876543210").unwrap();
        let mut state = ClusterState::new(id, shard, ClusterSettings::of(&Config { port: 7000, ..Config::default() }));
        let picked: SlotSet = [0, 1, 2, 9].map(Slot::new).into_iter().collect();
        state.order(SlotOrder::Assign, &picked);
        state
    }

    #[test]
    fn a_line_has_the_address_the_flags_and_the_slots() {
        let mut state = state();
        assert_eq!(
            nodes_text(&state, Form::Client),
            "0123456789abcdef0123456789abcdef01234567 :7000@17000 myself,master - 0 0 0 connected 0-2 9\n"
        );
        let config = Config { port: 7000, cluster_announce_hostname: "host".into(), ..Config::default() };
        state.follow(&ClusterSettings::of(&config));
        assert!(nodes_text(&state, Form::Client).contains(" :7000@17000,host myself,master "));
    }

    #[test]
    fn the_file_has_the_fields_that_clients_do_not_see() {
        assert_eq!(
            nodes_text(&state(), Form::File),
            "0123456789abcdef0123456789abcdef01234567 \
             :7000@17000,,tls-port=0,shard-id=76543210fedcba9876543210fedcba9876543210 \
             myself,master - 0 0 0 connected 0-2 9\n"
        );
    }

    #[test]
    fn info_counts_slots_nodes_and_messages() {
        let mut stats = BusStats::default();
        let text = info_text(&state(), &stats);
        assert!(text.starts_with("cluster_state:fail\r\ncluster_slots_assigned:4\r\ncluster_slots_ok:4\r\n"), "{text}");
        assert!(text.ends_with("\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n"));
        assert_eq!(text.lines().count(), 12);
        stats.sent[Kind::Ping as usize] = 3;
        stats.sent[Kind::VoteRequest as usize] = 4;
        stats.received[Kind::Pong as usize] = 5;
        stats.overrun = 6;
        let text = info_text(&state(), &stats);
        let messages: Vec<&str> = text.lines().skip(9).collect();
        assert_eq!(
            messages,
            [
                "cluster_stats_messages_ping_sent:3",
                "cluster_stats_messages_auth-req_sent:4",
                "cluster_stats_messages_sent:7",
                "cluster_stats_messages_pong_received:5",
                "cluster_stats_messages_received:5",
                "total_cluster_links_buffer_limit_exceeded:6",
            ]
        );
    }
}
