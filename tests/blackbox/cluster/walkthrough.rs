//! What people do first with a cluster: six nodes from six files, `redis-cli --cluster create`, a key through another node, a primary
//! killed, read again, and restarted. With redis-cli, and with the cluster client of redis-py.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::nodes::{LIMIT, is_primary, wait_until_agreed};
use crate::clients::python;
use crate::support::server::fresh_dir;
use crate::support::{Kind, Server, holds_within};

const NODES: usize = 6;
const PRIMARIES: usize = 3;

/// Six nodes with a file each, as walk-throughs have it, and the cluster that redis-cli makes of them.
struct Cluster {
    nodes: Vec<Server>,
    files: PathBuf,
}

impl Cluster {
    fn new(kind: impl Fn(usize) -> Kind) -> Cluster {
        let files = fresh_dir();
        let nodes: Vec<Server> = (0..NODES).map(|number| start(kind(number), number, &files)).collect();
        let addresses: Vec<String> = nodes.iter().map(Server::address).collect();
        let mut words = vec!["--cluster", "create"];
        words.extend(addresses.iter().map(String::as_str));
        words.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        let said = redis_cli(&words);
        assert!(said.contains("[OK] All 16384 slots covered"), "{said}");
        let cluster = Cluster { nodes, files };
        cluster.wait_until_well();
        cluster
    }

    /// All nodes agree, and every primary has its replica.
    fn wait_until_well(&self) {
        wait_until_agreed(&self.nodes.iter().collect::<Vec<_>>(), |lines| {
            let primaries = lines.iter().filter(|line| line.flags == "master" && !line.slots.is_empty()).count();
            let replicas = lines.iter().filter(|line| line.flags == "slave").count();
            (primaries, replicas) == (PRIMARIES, NODES - PRIMARIES)
        });
        let is_linked =
            |node: &Server| is_primary(node) || node.connect().info("master_link_status").as_deref() == Some("up");
        assert!(holds_within(LIMIT, || self.nodes.iter().all(is_linked)), "a replica has no link");
        // Clients are told of replicas that have data, which each of the others hears with its next ping.
        let shows_replicas = |node: &Server| {
            let ranges = node.connect().must("CLUSTER SLOTS");
            ranges.items().iter().all(|range| range.items().len() == 4)
        };
        assert!(holds_within(LIMIT, || self.nodes.iter().all(shows_replicas)), "a replica is not shown");
    }

    /// As `redis-cli -c -p PORT WORDS`.
    fn cli(&self, node: usize, words: &[&str]) -> String {
        let port = self.nodes[node].port.to_string();
        redis_cli(&[&["-c", "-p", &port], words].concat()).trim_end().to_owned()
    }

    /// The primary that has this key.
    fn owner(&self, key: &str) -> usize {
        let serves =
            |node: &Server| !node.connect().cmd(&[b"GET", key.as_bytes()]).value.is_error() && is_primary(node);
        (0..NODES).find(|number| serves(&self.nodes[*number])).expect("a primary has the key")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.files);
    }
}

/// The directives of the walk-through; names of files differ from node to node there, too.
fn start(kind: Kind, number: usize, files: &Path) -> Server {
    let file = files.join(format!("{number}.conf"));
    let text = format!(
        "cluster-enabled yes\ncluster-config-file cluster-node-{number}.conf\ncluster-node-timeout 2000\nappendonly yes\n\
         appendfilename node-{number}.aof\ndbfilename dump-{number}.rdb\n"
    );
    fs::write(&file, text).expect("a file of directives");
    Server::start_with_file(kind, &file, &[])
}

fn redis_cli(words: &[&str]) -> String {
    let output = Command::new("redis-cli").args(words).output().expect("redis-cli runs; tools/test installs it");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "redis-cli {words:?}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn walk_through(kind: impl Fn(usize) -> Kind) {
    let mut cluster = Cluster::new(kind);
    assert_eq!(cluster.cli(0, &["SET", "prophecy", "thearyanahmed"]), "OK");
    for node in 0..NODES {
        assert_eq!(cluster.cli(node, &["GET", "prophecy"]), "thearyanahmed", "through node {node}");
    }
    // Its replica has it, too, before the primary is killed: WAIT is about what its own client has written.
    let owner = cluster.owner("prophecy");
    let mut client = cluster.nodes[owner].connect();
    client.must("SET {prophecy}behind it");
    assert!(client.must("WAIT 1 30000").integer() >= 1);
    let mut lost = cluster.nodes.remove(owner);
    lost.signal(nix::sys::signal::Signal::SIGKILL);
    lost.wait_for_exit();
    let alive = &cluster.nodes;
    let reads = |node: &Server| {
        let output = Command::new("redis-cli").args(["-c", "-p", &node.port.to_string(), "GET", "prophecy"]).output();
        output.is_ok_and(|output| output.stdout.starts_with(b"thearyanahmed"))
    };
    assert!(holds_within(LIMIT, || alive.iter().all(reads)), "the key is read through every node that is left");
    lost.restart();
    cluster.nodes.insert(owner, lost);
    assert!(holds_within(LIMIT, || !is_primary(&cluster.nodes[owner])), "the old primary is a replica");
    cluster.wait_until_well();
    assert_eq!(cluster.cli(owner, &["GET", "prophecy"]), "thearyanahmed");
}

#[test]
fn a_key_outlives_its_primary() {
    walk_through(|_| Kind::Slotcore);
}

#[test]
fn a_key_outlives_its_primary_among_nodes_of_both_kinds() {
    walk_through(|number| if number % 2 == 0 { Kind::Slotcore } else { Kind::Redis });
}

/// Nodes are added and taken away with redis-cli, and asked about.
#[test]
fn redis_cli_adds_and_removes_nodes() {
    let cluster = Cluster::new(|_| Kind::Slotcore);
    let first = cluster.nodes[0].address();
    let info = redis_cli(&["--cluster", "info", &first]);
    assert!(info.contains("[OK] 0 keys in 3 masters."), "{info}");
    let called = redis_cli(&["--cluster", "call", &first, "PING"]);
    assert_eq!(called.matches("PONG").count(), NODES, "{called}");
    let (primary, replica) = (start(Kind::Slotcore, 6, &cluster.files), start(Kind::Slotcore, 7, &cluster.files));
    redis_cli(&["--cluster", "add-node", &primary.address(), &first]);
    let seven: Vec<&Server> = cluster.nodes.iter().chain([&primary]).collect();
    wait_until_agreed(&seven, |lines| lines.len() == NODES + 1);
    let id = primary.connect().must("CLUSTER MYID").text();
    redis_cli(&["--cluster", "add-node", &replica.address(), &first, "--cluster-slave", "--cluster-master-id", &id]);
    let all: Vec<&Server> = cluster.nodes.iter().chain([&primary, &replica]).collect();
    wait_until_agreed(&all, |lines| lines.iter().any(|line| line.primary == id) && lines.len() == NODES + 2);
    let check = redis_cli(&["--cluster", "check", &replica.address()]);
    assert!(check.contains("[OK] All nodes agree about slots configuration."), "{check}");
    let gone = replica.connect().must("CLUSTER MYID").text();
    redis_cli(&["--cluster", "del-node", &first, &gone]);
    wait_until_agreed(&all[..NODES + 1], |lines| lines.len() == NODES + 1);
}

#[test]
fn redis_benchmark_and_redis_py_find_their_way() {
    let cluster = Cluster::new(|_| Kind::Slotcore);
    let port = cluster.nodes[4].port.to_string();
    let args = ["--cluster", "-p", &port, "-t", "set,get", "-n", "3000", "-c", "6", "-r", "1000", "-P", "4", "--csv"];
    let output = Command::new("redis-benchmark").args(args).output().expect("redis-benchmark runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("\"SET\",") && text.contains("\"GET\","), "{text}");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/redis_py.py");
    let output = Command::new(python()).arg(script).args(["nodes", &port]).output().expect("python runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.trim_end().ends_with("all passed"), "{text}\n{errors}");
}
