//! A running Redis Cluster replaced by slotcore, node by node and without a pause: the way in that README.md describes.

use std::process::Command;
use std::time::Duration;

use super::load::Load;
use super::nodes::{LIMIT, id_of, join_with, lines, node, wait_until_agreed};
use crate::admin::{cluster, ended_within, program};
use crate::support::{Kind, Server, holds_within};

/// For a third of all slots, each with a dozen orders to nodes, on a busy machine.
const MOVE_LIMIT: Duration = Duration::from_secs(240);

#[test]
fn three_redis_servers_are_replaced_by_three_slotcore_nodes_while_clients_write() {
    // The first serves less: redis-cli goes slot by slot.
    const SHARES: [usize; 3] = [984, 7700, 7700];
    // Nobody fails here, however long a busy machine lets a node wait.
    const PATIENT: &[&str] = &["--cluster-node-timeout", "15000"];
    let old: Vec<Server> = (0..3).map(|_| node(Kind::Redis, PATIENT)).collect();
    join_with(&old.iter().collect::<Vec<_>>(), &SHARES);
    let new: Vec<Server> = (0..3).map(|_| node(Kind::Slotcore, PATIENT)).collect();
    let ports: Vec<u16> = old.iter().chain(&new).map(|node| node.port).collect();
    let load = Load::start(&ports, 3, 7);
    let entry = old[0].address();
    // Empty nodes join.
    for server in &new {
        cluster(&["add-node", &server.address(), &entry]).must(0, &["[OK]"]);
    }
    // Each takes all slots of one, with redis-cli or with slotcore's own tool.
    for (number, (from, to)) in old.iter().zip(&new).enumerate() {
        let slots = lines(&mut new[0].connect());
        let before = load.done();
        let share = SHARES[number].to_string();
        assert!(slots.iter().any(|line| line.id == id_of(from)));
        let words = ["reshard", &entry, "--cluster-from", &id_of(from), "--cluster-to", &id_of(to)];
        let words = [&words[..], &["--cluster-slots", &share, "--cluster-yes"]].concat();
        match number {
            0 => ended_within(MOVE_LIMIT, Command::new("redis-cli").arg("--cluster").args(&words), "").must(0, &[]),
            _ => ended_within(MOVE_LIMIT, Command::new(program()).arg("cluster").args(&words), "").must(0, &["[OK]"]),
        };
        assert!(holds_within(LIMIT, || load.done() > before));
        let id = id_of(from);
        let is_empty = |line: &super::nodes::Line| line.id == id && line.slots.is_empty();
        wait_until_agreed(&old.iter().chain(&new).collect::<Vec<_>>(), |lines| lines.iter().any(is_empty));
    }
    // They serve nothing any more, and go.
    for server in &old {
        cluster(&["del-node", &new[0].address(), &id_of(server)]).must(0, &["no longer part of the cluster"]);
    }
    let rest: Vec<&Server> = new.iter().collect();
    wait_until_agreed(&rest, |lines| lines.len() == 3);
    cluster(&["check", &new[0].address()]).must(0, &["[OK] All nodes agree", "[OK] All 16384 slots covered."]);
    load.end(&rest, 0);
}
