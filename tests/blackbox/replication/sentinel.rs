//! Three real sentinels watch a primary and two replicas: a killed primary is failed over, and comes back as a replica.
//!
//! `SLOTCORE_SENTINEL_ROUNDS` (default 1) is the number of kills per group. A sentinel is `redis-server --sentinel`, which
//! is all that the program redis-sentinel is. tests/clients/sentinel.py is the client that goes on through it all.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::compare::{Sameness, assert_same};
use super::nodes::{Info, SYNC_LIMIT, fill, follow, node_with_file, settle, wait_for_replicas};
use crate::support::server::fresh_dir;
use crate::support::{Kind, Server, Value, holds_within, number_from_env};

const NAME: &str = "group";
const QUORUM: usize = 2;
const SENTINELS: usize = 3;
/// What a sentinel waits before it takes a node for down. On a busy machine a node may be late by as much as a second.
const DOWN_AFTER_MS: u64 = 2000;
/// Down, agreed upon, elected, promoted, told to all: seconds, unless two sentinels run against each other.
const FAILOVER_LIMIT: Duration = Duration::from_secs(90);

struct Group {
    nodes: Vec<Server>,
    sentinels: Vec<Server>,
}

impl Group {
    /// The first node is the primary of the others; sentinels know each other and all nodes when this returns.
    fn start(kinds: [Kind; 3]) -> Group {
        let nodes: Vec<Server> =
            kinds.into_iter().map(|kind| node_with_file(kind, &["--repl-timeout", "10"])).collect();
        fill(&nodes[0], 50, 10);
        for replica in &nodes[1..] {
            follow(replica, nodes[0].port);
            settle(&nodes[0], replica);
        }
        wait_for_replicas(&nodes[0], 2);
        let sentinels = (0..SENTINELS).map(|_| sentinel(nodes[0].port)).collect();
        let group = Group { nodes, sentinels };
        group.wait_until_known();
        group
    }

    /// Until every sentinel sees a primary with two replicas that are fine and two other sentinels.
    fn wait_until_known(&self) {
        for sentinel in &self.sentinels {
            let knows = || {
                let primary = ask(sentinel, "MASTER").value;
                let number = |name| primary.field(name).map(Value::text).unwrap_or_default();
                let replicas = ask(sentinel, "REPLICAS").value;
                let fine = |replica: &&Value| {
                    let text = |name| replica.field(name).map(Value::text).unwrap_or_default();
                    text("flags") == "slave" && text("master-link-status") == "ok"
                };
                number("flags") == "master"
                    && number("num-other-sentinels") == (SENTINELS - 1).to_string()
                    && replicas.items().iter().filter(fine).count() == 2
            };
            assert!(
                holds_within(FAILOVER_LIMIT, knows),
                "a sentinel does not see all well:\n{}\n{}",
                ask(sentinel, "MASTER"),
                ask(sentinel, "REPLICAS")
            );
        }
    }

    /// The port of the primary that all sentinels name, if they agree.
    fn named(&self) -> Option<u16> {
        let mut ports = self.sentinels.iter().map(|sentinel| {
            let address = ask(sentinel, "GET-MASTER-ADDR-BY-NAME").value;
            address.items()[1].text().parse::<u16>().expect("a port")
        });
        let first = ports.next()?;
        ports.all(|port| port == first).then_some(first)
    }

    fn index_of(&self, port: u16) -> usize {
        self.nodes.iter().position(|node| node.port == port).expect("one of the group")
    }

    /// Kills the primary, waits for another one, starts the old one again and waits until it follows.
    fn fail_over(&mut self, round: u64) {
        let old = self.index_of(self.named().expect("sentinels agree"));
        let old_port = self.nodes[old].port;
        self.nodes[old].signal(Signal::SIGKILL);
        self.nodes[old].wait_for_exit();
        let changed = || self.named().is_some_and(|port| port != old_port);
        assert!(holds_within(FAILOVER_LIMIT, changed), "round {round}: no other primary\n{}", self.sentinels[0].log());
        let new = self.index_of(self.named().expect("sentinels agree"));
        let is_primary = || Info::of(&self.nodes[new]).is("role", "master");
        assert!(holds_within(FAILOVER_LIMIT, is_primary), "round {round}");
        self.nodes[old].restart();
        let new = &self.nodes[new];
        for node in self.nodes.iter().filter(|node| node.port != new.port) {
            let follows = || {
                let info = Info::of(node);
                info.is("role", "slave") && info.is("master_port", &new.port.to_string())
            };
            assert!(
                holds_within(FAILOVER_LIMIT, follows),
                "round {round}: {:?} does not follow:\n{}\n{}",
                node.kind,
                Info::of(node).replication(),
                self.sentinels[0].log()
            );
        }
        self.wait_until_known();
    }

    fn primary(&self) -> &Server {
        &self.nodes[self.index_of(self.named().expect("sentinels agree"))]
    }
}

fn sentinel(primary: u16) -> Server {
    let file = fresh_dir().join("sentinel.conf");
    let config = format!(
        "sentinel monitor {NAME} 127.0.0.1 {primary} {QUORUM}\n\
         sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}\n\
         sentinel failover-timeout {NAME} 10000\n\
         sentinel parallel-syncs {NAME} 2\n"
    );
    std::fs::write(&file, config).expect("a configuration");
    Server::start_with_file(Kind::Redis, &file, &["--sentinel"])
}

fn ask(sentinel: &Server, what: &str) -> crate::support::Reply {
    sentinel.connect().line(&format!("SENTINEL {what} {NAME}"))
}

/// A redis-py client that writes and reads through the sentinels all the time.
struct Writer {
    child: Child,
    input: ChildStdin,
}

impl Writer {
    fn start(group: &Group) -> Writer {
        let python = crate::clients::python();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/sentinel.py");
        let ports = group.sentinels.iter().map(|sentinel| sentinel.port.to_string());
        let mut command = Command::new(python);
        command.arg(script).arg(NAME).args(ports).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python");
        let input = child.stdin.take().expect("a pipe");
        Writer { child, input }
    }

    /// Asks for a word: how many writes it has had acknowledged since the last time.
    fn tell(&mut self, output: &mut impl BufRead, word: &str) -> String {
        writeln!(self.input, "{word}").expect("the client listens");
        let mut line = String::new();
        output.read_line(&mut line).expect("the client answers");
        line.trim().to_owned()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn watch(kinds: [Kind; 3]) {
    let rounds = number_from_env("SLOTCORE_SENTINEL_ROUNDS", 1);
    println!("{kinds:?}: SLOTCORE_SENTINEL_ROUNDS={rounds}");
    let mut group = Group::start(kinds);
    let mut writer = Writer::start(&group);
    let mut output = BufReader::new(writer.child.stdout.take().expect("a pipe"));
    assert_eq!(writer.tell(&mut output, "progress"), "ok", "the client writes before the first kill");
    for round in 0..rounds {
        group.fail_over(round);
        assert_eq!(writer.tell(&mut output, "progress"), "ok", "round {round}: the client goes on");
    }
    assert_eq!(writer.tell(&mut output, "end"), "ok");
    drop(writer);
    let primary = group.primary();
    assert_eq!(primary.connect().must("EXISTS fill:0 fill:49").integer(), 2, "data from before the first kill");
    let replicas: Vec<&Server> = group.nodes.iter().filter(|node| node.port != primary.port).collect();
    assert_same(primary, &replicas, Sameness::All);
}

#[test]
fn sentinels_fail_over_redis_servers() {
    watch([Kind::Redis; 3]);
}

#[test]
fn sentinels_fail_over_slotcores() {
    watch([Kind::Slotcore; 3]);
}

#[test]
fn sentinels_fail_over_a_group_of_both_kinds() {
    watch([Kind::Slotcore, Kind::Slotcore, Kind::Redis]);
}

/// SENTINEL FAILOVER: nobody is down, and the old primary follows at once.
#[test]
fn sentinels_change_the_primary_on_demand() {
    for kinds in [[Kind::Redis; 3], [Kind::Slotcore; 3], [Kind::Redis, Kind::Slotcore, Kind::Slotcore]] {
        let group = Group::start(kinds);
        let old = group.named().expect("sentinels agree");
        let forced = || !ask(&group.sentinels[0], "FAILOVER").is_error();
        assert!(holds_within(SYNC_LIMIT, forced), "{}", ask(&group.sentinels[0], "FAILOVER"));
        let changed = || group.named().is_some_and(|port| port != old);
        assert!(holds_within(FAILOVER_LIMIT, changed), "{kinds:?}\n{}", group.sentinels[0].log());
        group.wait_until_known();
        let primary = group.primary();
        let replicas: Vec<&Server> = group.nodes.iter().filter(|node| node.port != primary.port).collect();
        assert_same(primary, &replicas, Sameness::All);
        // Who was told to follow has written it down.
        for replica in replicas {
            let config = config_of(replica);
            let port = primary.port.to_string();
            assert!(config.contains("replicaof 127.0.0.1 ") && config.contains(&port), "{:?}: {config}", replica.kind);
        }
    }
}

fn config_of(server: &Server) -> String {
    let reply = server.connect().must("INFO server").text();
    let path = reply.lines().find_map(|line| line.strip_prefix("config_file:")).expect("a configuration file");
    std::fs::read_to_string(path.trim()).expect("the configuration file")
}
