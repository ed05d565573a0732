//! A node that knows others that do not run: its nodes.conf is written by hand before it starts.

use std::fs;

use crate::support::{Client, Kind, Server, holds_within};

pub const ME: &str = "1111111111111111111111111111111111111111";
pub const OTHER: &str = "2222222222222222222222222222222222222222";
pub const REPLICA: &str = "3333333333333333333333333333333333333333";
pub const THIRD: &str = "4444444444444444444444444444444444444444";

/// Nobody is found failing while a test runs.
const ARGS: &[&str] = &["--cluster-enabled", "yes", "--cluster-node-timeout", "60000"];

/// What the node has and does not have: its own words of nodes.conf from the flags on, and the slots of `OTHER` at `127.0.0.1:7`.
#[derive(Clone, Copy)]
pub struct Known {
    /// `myself,master - 0 0 1 connected 0-9999`, say.
    pub myself: &'static str,
    pub other_slots: &'static str,
}

/// This node has slots up to 9999, the other those behind them.
pub const HALF: Known = Known { myself: "myself,master - 0 0 1 connected 0-9999", other_slots: "10000-16383" };

/// A node that first runs `lines` while all slots are its own, and then is started with what it knows.
pub fn start(kind: Kind, known: Known, more: &[&str], lines: &[&str]) -> Server {
    let mut server = Server::start(kind, &[ARGS, more].concat());
    let client = &mut server.connect();
    if !lines.is_empty() {
        client.must("CLUSTER ADDSLOTSRANGE 0 16383");
        becomes_ok(client);
        lines.iter().for_each(|line| drop(client.must(line)));
        client.must("SAVE");
    }
    server.stop();
    let (port, bus_port) = (server.port, server.port + 10_000);
    let Known { myself, other_slots } = known;
    let text = format!(
        "{ME} 127.0.0.1:{port}@{bus_port} {myself}\n\
         {OTHER} 127.0.0.1:7@10007 master - 0 0 2 connected {other_slots}\n\
         {REPLICA} 127.0.0.1:8@10008 slave {OTHER} 0 0 2 connected\n\
         {THIRD} 127.0.0.1:9@10009 master - 0 0 3 connected\n\
         vars currentEpoch 3 lastVoteEpoch 0\n"
    );
    fs::write(server.dir.join("nodes.conf"), text).expect("nodes.conf");
    server.restart();
    becomes_ok(&mut server.connect());
    server
}

/// Slotcore, and redis-server after it.
pub fn on_both(known: Known, more: &[&str], lines: &[&str], test: impl Fn(&Server)) {
    for kind in [Kind::Slotcore, Kind::Redis] {
        test(&start(kind, known, more, lines));
    }
}

pub fn becomes_ok(client: &mut Client) {
    let came = holds_within(std::time::Duration::from_secs(10), || {
        // While data are loaded it answers with an error.
        client.line("CLUSTER INFO").to_string().contains("cluster_state:ok")
    });
    assert!(came, "{}", client.must("CLUSTER INFO").text());
}
