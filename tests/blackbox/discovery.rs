//! Nodes with `cluster-discovery`: they form a cluster, take a newcomer in, and forget who is gone. Redis has no such thing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::server::{free_port, fresh_dir};
use crate::support::{Client, Kind, Server, holds_within};

/// Three looks, and what nodes tell each other; on a loaded machine.
const FORM_LIMIT: Duration = Duration::from_secs(60);
/// The node timeout, the time for which a node must have been gone, and the same again.
const REPLACE_LIMIT: Duration = Duration::from_secs(90);

/// A node at a port that others were told of before it started; dropped, it is killed and its folder removed.
struct Node {
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl Node {
    fn start(port: u16, hosts: &str) -> Node {
        let dir = fresh_dir();
        let words = [
            ["--cluster-enabled", "yes"],
            ["--cluster-node-timeout", "3000"],
            ["--cluster-discovery", hosts],
            ["--requirepass", "secret"],
            ["--masterauth", "secret"],
            ["--repl-diskless-sync-delay", "0"],
            ["--cores", "1"],
            ["--save", ""],
        ];
        let words: Vec<String> = words.concat().into_iter().map(str::to_owned).collect();
        let mut command = Server::command(Kind::Slotcore, None, port, &dir, &words);
        let log = std::fs::File::create(dir.join("output.log")).expect("a log file");
        let child = command.stdout(log).stderr(Stdio::null()).spawn().expect("the node starts");
        Node { child, port, dir }
    }

    fn ask(&self, line: &str) -> Option<String> {
        let mut client = Client::connect(&format!("127.0.0.1:{}", self.port)).ok()?;
        client.cmd(&["AUTH", "secret"]);
        Some(client.line(line).text())
    }

    fn kill(&mut self) {
        self.child.kill().expect("the node can be killed");
        self.child.wait().expect("the node has ended");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.join("output.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- node {} ---\n{}\n---", self.port, lines[lines.len().saturating_sub(25)..].join("\n"));
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What is wrong; `None` when all nodes say that the cluster is ok and has just them, and every primary with slots has one replica.
fn disorder(nodes: &[&Node]) -> Option<String> {
    for node in nodes {
        let (Some(info), Some(lines)) = (node.ask("CLUSTER INFO"), node.ask("CLUSTER NODES")) else {
            return Some(format!("{} does not answer", node.port));
        };
        if !info.contains("cluster_state:ok") {
            return Some(format!("{}: {info}", node.port));
        }
        let mut replicas: BTreeMap<&str, usize> = BTreeMap::new();
        let mut known = 0;
        for line in lines.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            known += 1;
            if ["fail", "handshake", "noaddr"].iter().any(|flag| words[2].contains(flag)) || words[7] != "connected" {
                return Some(format!("{}: {line}", node.port));
            }
            match (words[2].contains("slave"), words.len() > 8) {
                (true, _) => *replicas.entry(words[3]).or_default() += 1,
                (false, true) => drop(replicas.entry(words[0]).or_default()),
                (false, false) => return Some(format!("{}: {line} is idle", node.port)),
            }
        }
        if known != nodes.len() || replicas.len() != 3 || replicas.values().any(|count| *count != 1) {
            return Some(format!("{}: {known} nodes, replicas {replicas:?}", node.port));
        }
    }
    None
}

fn must_be_in_order(nodes: &[&Node], limit: Duration, what: &str) {
    let mut last = None;
    let ok = holds_within(limit, || {
        std::thread::sleep(Duration::from_millis(200));
        last = disorder(nodes);
        last.is_none()
    });
    assert!(ok, "{what}: {last:?}");
}

#[test]
fn nodes_form_a_cluster_take_a_newcomer_in_and_forget_who_is_gone() {
    if !Kind::Slotcore.is_slotcore() {
        return;
    }
    let ports: Vec<u16> = (0..7).map(|_| free_port()).collect();
    let hosts = |ports: &[u16]| {
        let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("hosts:{}", hosts.join(","))
    };
    let mut nodes: Vec<Node> = ports[..6].iter().map(|port| Node::start(*port, &hosts(&ports[..6]))).collect();
    must_be_in_order(&nodes.iter().collect::<Vec<_>>(), FORM_LIMIT, "no cluster of six");
    // Not before now, so that the six do not wait for it; it knows more hosts than they do, and comes by itself.
    let newcomer = Node::start(ports[6], &hosts(&ports));
    let all_know_it = || {
        let knows = |node: &Node| node.ask("CLUSTER NODES").is_some_and(|nodes| nodes.lines().count() == 7);
        nodes.iter().chain([&newcomer]).all(knows)
    };
    assert!(holds_within(FORM_LIMIT, all_know_it), "{:?}", newcomer.ask("CLUSTER NODES"));
    // A primary that is lost: its replica takes over, and the newcomer becomes the replica that then lacks.
    let is_primary = |node: &Node| node.ask("CLUSTER NODES").is_some_and(|nodes| nodes.contains("myself,master"));
    let lost = nodes.iter().position(is_primary).expect("a primary");
    let mut lost = nodes.remove(lost);
    lost.kill();
    let left: Vec<&Node> = nodes.iter().chain([&newcomer]).collect();
    must_be_in_order(&left, REPLACE_LIMIT, "the lost node was not replaced");

    // A primary that is lost, and another node at its address before anyone has missed it: nobody would look for the lost one.
    let lost = nodes.iter().position(is_primary).expect("a primary");
    let mut lost = nodes.remove(lost);
    lost.kill();
    let replacement = Node::start(lost.port, &hosts(&ports));
    let left: Vec<&Node> = nodes.iter().chain([&newcomer, &replacement]).collect();
    must_be_in_order(&left, REPLACE_LIMIT, "the node that lost its address was not replaced");
}
