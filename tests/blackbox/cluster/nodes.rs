//! Nodes of a cluster: how they are started, made to meet, and waited for.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::{Client, Kind, Server, holds_within};

/// Longer than a node that ended needs to be found failing and replaced, on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// What every node gets.
pub const CLUSTER: &[&str] = &[
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "2000",
    "--enable-debug-command",
    "yes",
    "--repl-diskless-sync-delay",
    "0",
    "--repl-ping-replica-period",
    "1",
];

pub fn node(kind: Kind, args: &[&str]) -> Server {
    Server::start(kind, &[CLUSTER, args].concat())
}

pub fn id_of(node: &Server) -> String {
    node.connect().must("CLUSTER MYID").text()
}

/// A node as CLUSTER NODES of any node shows it, without what changes all the time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub id: String,
    pub address: String,
    /// Without `myself`.
    pub flags: String,
    pub primary: String,
    pub slots: String,
    pub is_connected: bool,
}

/// What a node knows of all; nothing while it is loading.
pub fn lines(client: &mut Client) -> Vec<Line> {
    let reply = client.line("CLUSTER NODES");
    let text = if reply.is_error() { String::new() } else { reply.text() };
    let mut lines: Vec<Line> = text.lines().map(line).collect();
    lines.sort();
    lines
}

fn line(text: &str) -> Line {
    let fields: Vec<&str> = text.split(' ').collect();
    let flags: Vec<&str> = fields[2].split(',').filter(|flag| *flag != "myself").collect();
    Line {
        id: fields[0].to_owned(),
        address: fields[1].split(',').next().unwrap_or_default().to_owned(),
        flags: flags.join(","),
        primary: fields[3].to_owned(),
        slots: fields[8..].join(" "),
        is_connected: fields[7] == "connected",
    }
}

/// `cluster_state` of a node; nothing while it is loading.
pub fn state(client: &mut Client) -> String {
    let reply = client.line("CLUSTER INFO");
    let info = if reply.is_error() { String::new() } else { reply.text() };
    info.lines().find_map(|line| line.strip_prefix("cluster_state:")).unwrap_or_default().to_owned()
}

/// Waits until all of them know the same nodes, all connected, with the same roles and slots, and find the cluster well.
pub fn wait_until_all_agree(nodes: &[&Server]) -> Vec<Line> {
    wait_until_agreed(nodes, |lines| lines.len() == nodes.len())
}

/// As `wait_until_all_agree`, with what they are to agree on.
pub fn wait_until_agreed(nodes: &[&Server], is_wanted: impl Fn(&[Line]) -> bool) -> Vec<Line> {
    let mut clients: Vec<Client> = nodes.iter().map(|node| node.connect()).collect();
    let mut seen = Vec::new();
    let agreed = holds_within(LIMIT, || {
        seen = clients.iter_mut().map(lines).collect::<Vec<_>>();
        let is_settled =
            |line: &Line| line.is_connected && !line.flags.contains("handshake") || line.flags.contains("fail");
        let first = &seen[0];
        is_wanted(first)
            && first.iter().all(is_settled)
            && seen.iter().all(|other| other == first)
            && clients.iter_mut().all(|client| state(client) == "ok")
    });
    assert!(agreed, "the nodes do not agree: {seen:#?}");
    seen.swap_remove(0)
}

/// Has a node introduce itself to others.
pub fn meet(from: &Server, others: &[&Server]) {
    let mut client = from.connect();
    for other in others {
        client.must(&format!("CLUSTER MEET 127.0.0.1 {}", other.port));
    }
}

/// A cluster of these, each with an equal share of the slots.
pub fn join(nodes: &[&Server]) {
    let count = nodes.len();
    let shares: Vec<usize> = (0..count).map(|place| (place + 1) * 16384 / count - place * 16384 / count).collect();
    join_with(nodes, &shares);
}

/// A cluster of these, each with so many slots, in their order.
pub fn join_with(nodes: &[&Server], shares: &[usize]) {
    let mut first = 0;
    for (place, (node, share)) in nodes.iter().zip(shares).enumerate() {
        let client = &mut node.connect();
        client.must(&format!("CLUSTER ADDSLOTSRANGE {first} {}", first + share - 1));
        first += share;
        // They need not find out by collisions which one has which epoch.
        client.must(&format!("CLUSTER SET-CONFIG-EPOCH {}", place + 1));
    }
    meet(nodes[0], &nodes[1..]);
    wait_until_all_agree(nodes);
}

/// Makes a member that has no slots a replica of another member, and waits until it has its data.
pub fn replicate(all: &[&Server], replica: &Server, primary: &Server) {
    let known: BTreeSet<String> = wait_until_all_agree(all).into_iter().map(|line| line.id).collect();
    assert!(known.contains(&id_of(primary)));
    replica.connect().must(&format!("CLUSTER REPLICATE {}", id_of(primary)));
    wait_until_linked(replica);
    let id = id_of(replica);
    wait_until_agreed(all, |lines| lines.iter().any(|line| line.id == id && line.flags.starts_with("slave")));
}

pub fn wait_until_linked(replica: &Server) {
    let linked =
        holds_within(LIMIT, || replica.connect().info("master_link_status").is_some_and(|status| status == "up"));
    assert!(linked, "the replica is not linked: {}", replica.connect().must("INFO replication").text());
}

/// Waits until a node that was started again has its data.
pub fn wait_until_loaded(node: &Server) {
    assert!(holds_within(LIMIT, || node.connect().info_number("loading") == 0), "it loads and loads");
}

/// Whether the node's clients are told that it is a primary.
pub fn is_primary(node: &Server) -> bool {
    node.connect().info("role").is_some_and(|role| role == "master")
}
