//! Nodes that stand still, and disks that are full.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::nodes::{
    LIMIT, id_of, is_primary, join, lines, meet, node, replicate, state, wait_until_agreed, wait_until_all_agree,
};
use crate::support::{Kind, Server, holds_within, small_disk};

/// Of slot 0.
const KEY: &str = "{06S}";

/// Three primaries, and a replica of the first, which has slot 0.
fn cluster(node_timeout_ms: &str) -> Vec<Server> {
    let args = ["--cluster-node-timeout", node_timeout_ms];
    let mut nodes: Vec<Server> = (0..3).map(|_| node(Kind::Slotcore, &args)).collect();
    join(&nodes.iter().collect::<Vec<_>>());
    let replica = node(Kind::Slotcore, &args);
    meet(&nodes[0], &[&replica]);
    nodes.push(replica);
    replicate(&nodes.iter().collect::<Vec<_>>(), &nodes[3], &nodes[0]);
    nodes
}

#[test]
fn a_primary_that_stands_still_for_a_moment_stays_what_it_is() {
    // Much longer than it stands still, on a busy machine too.
    let nodes = cluster("15000");
    let all: Vec<&Server> = nodes.iter().collect();
    let before = wait_until_all_agree(&all);
    nodes[0].signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_millis(700));
    nodes[0].signal(Signal::SIGCONT);
    let mut client = nodes[0].connect();
    assert!(holds_within(LIMIT, || !client.line(&format!("SET {KEY} 1")).is_error()));
    assert_eq!(wait_until_all_agree(&all), before);
}

#[test]
fn a_primary_that_stood_still_for_long_acknowledges_nothing_that_is_lost() {
    let nodes = cluster("2000");
    let mut clients: Vec<_> = (0..8).map(|_| nodes[0].connect()).collect();
    clients[0].must(&format!("SET {KEY} before"));
    clients[0].must("WAIT 1 10000");
    nodes[0].signal(Signal::SIGSTOP);
    assert!(holds_within(LIMIT, || is_primary(&nodes[3])), "the replica takes over");
    assert!(holds_within(LIMIT, || !nodes[3].connect().line(&format!("SET {KEY} after")).is_error()));
    // They wait in the sockets when it goes on.
    for client in &mut clients {
        client.send(format!("*3\r\n$3\r\nSET\r\n${}\r\n{KEY}\r\n$5\r\nstale\r\n", KEY.len()).as_bytes());
    }
    nodes[0].signal(Signal::SIGCONT);
    for client in &mut clients {
        let reply = client.read().to_string();
        assert!(reply.contains("MOVED") || reply.contains("CLUSTERDOWN"), "{reply}");
    }
    let all: Vec<&Server> = nodes.iter().collect();
    let id = id_of(&nodes[0]);
    wait_until_agreed(&all, |lines| lines.iter().any(|line| line.id == id && line.flags == "slave"));
    assert_eq!(nodes[3].connect().must(&format!("GET {KEY}")).text(), "after");
}

#[test]
fn a_full_disk_under_nodes_conf_refuses_orders_and_ends_nobody() {
    if !small_disk::can_be_mounted("a_full_disk_under_nodes_conf_refuses_orders_and_ends_nobody") {
        return;
    }
    const DISK_BYTES: u64 = 1 << 20;
    let args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let small = Server::start_on_small_disk(Kind::Slotcore, DISK_BYTES, &args);
    let others = [node(Kind::Slotcore, &[]), node(Kind::Slotcore, &[])];
    let all = [&small, &others[0], &others[1]];
    join(&all);
    let dir = small_disk::seen_by(small.pid(), &small.dir);
    let filler = dir.join("filler");
    // As much as there is room for: the end of it fails.
    let _ = fs::write(&filler, vec![0u8; DISK_BYTES as usize]);
    let mut client = small.connect();
    let refused = client.line("CLUSTER BUMPEPOCH").to_string();
    assert!(refused.contains("error saving the cluster node config"), "{refused}");
    let before = lines(&mut client);
    assert_eq!(state(&mut client), "ok");
    client.must(&format!("SET {KEY} served"));
    // What the others change it hears all the same.
    others[0].connect().must("CLUSTER BUMPEPOCH");
    assert!(holds_within(LIMIT, || client.must("CLUSTER INFO").text().contains("cluster_current_epoch:4")));
    assert_eq!(lines(&mut client).len(), before.len());
    fs::remove_file(&filler).expect("there is space again");
    assert!(holds_within(LIMIT, || !client.line("CLUSTER BUMPEPOCH").is_error()));
    wait_until_all_agree(&all);
}
