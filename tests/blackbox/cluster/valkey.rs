//! One cluster of slotcore and Valkey nodes: slots move between them as a whole, in both directions, with Valkey 9's own dialogue.
//!
//! Where this machine has no valkey-server of version 9 the tests say so and are left out.

use super::load::Load;
use super::migrate_slots::{check_refusals, moves};
use super::nodes::{id_of, join, node, wait_until_agreed};
use super::resharding::{check_filled, fill};
use crate::admin::cluster;
use crate::support::{Client, Kind, Server};

const SEED: u64 = 20261129;
const KEYS: usize = 2000;
/// Values of every type, of which some are large, in the slot 0.
const TYPES: [&str; 6] = ["string", "list", "hash", "set", "zset", "stream"];

#[test]
fn valkey_refuses_in_the_same_words() {
    if Kind::Valkey.is_there("valkey_refuses_in_the_same_words") {
        check_refusals(Kind::Valkey);
    }
}

#[test]
fn slots_move_as_a_whole_to_and_from_valkey_while_clients_write() {
    if !Kind::Valkey.is_there("slots_move_as_a_whole_to_and_from_valkey_while_clients_write") {
        return;
    }
    let nodes = [node(Kind::Slotcore, &[]), node(Kind::Valkey, &[]), node(Kind::Slotcore, &[])];
    let all: Vec<&Server> = nodes.iter().collect();
    join(&all);
    fill(&all, KEYS);
    let before = write_every_type(&mut nodes[0].connect());
    let ports: Vec<u16> = nodes.iter().map(|node| node.port).collect();
    let load = Load::start(&ports, 3, SEED);
    // The first slots go to Valkey and come back; some of Valkey's go to the third and come back.
    for (from, to, first, last) in [(0, 1, 0, 999), (1, 0, 0, 999), (1, 2, 6000, 6999), (2, 1, 6000, 6999)] {
        let done = load.done();
        assert_eq!(moves(&nodes[from], &nodes[to], first, last), "success", "{first}-{last}, {from} to {to}");
        assert!(crate::support::holds_within(super::nodes::LIMIT, || load.done() > done));
        wait_until_agreed(&all, |lines| lines.len() == 3);
        if first == 0 {
            assert_eq!(read_every_type(&mut nodes[to].connect()), before);
        }
    }
    // And with the tool, which finds out that both can.
    let entry = nodes[2].address();
    for (from, to) in [(0, 1), (1, 2)] {
        let (from, to) = (id_of(&nodes[from]), id_of(&nodes[to]));
        cluster(&["reshard", &entry, "--from", &from, "--to", &to, "--slots", "300", "--yes"])
            .must(0, &["each slot at one moment", "[OK] 300 slots"]);
        wait_until_agreed(&all, |lines| lines.len() == 3);
    }
    load.end(&all, (KEYS + TYPES.len()) as i64);
    check_filled(&all, KEYS);
}

fn write_every_type(client: &mut Client) -> Vec<String> {
    client.must(&format!("SET {{06S}}string {}", "x".repeat(100_000)));
    for first in (0..3000).step_by(500) {
        let numbers = || first..first + 500;
        let words: Vec<String> = numbers().map(|number| format!("element:{number}")).collect();
        let pairs: Vec<String> = numbers().map(|number| format!("{number} element:{number}")).collect();
        client.must(&format!("RPUSH {{06S}}list {}", words.join(" ")));
        client.must(&format!("SADD {{06S}}set {}", words.join(" ")));
        client.must(&format!("HSET {{06S}}hash {}", pairs.join(" ")));
        client.must(&format!("ZADD {{06S}}zset {}", pairs.join(" ")));
        for number in numbers().step_by(10) {
            client.must(&format!("XADD {{06S}}stream {}-1 field {number}", number + 1));
        }
    }
    client.must("XGROUP CREATE {06S}stream group 0");
    client.must("XREADGROUP GROUP group reader COUNT 5 STREAMS {06S}stream >");
    client.must("PEXPIREAT {06S}hash 4102444800000");
    read_every_type(client)
}

/// What is in them, in an order that does not depend on who keeps them.
fn read_every_type(client: &mut Client) -> Vec<String> {
    let mut texts: Vec<String> = [
        "GET {06S}string",
        "LRANGE {06S}list 0 -1",
        "ZRANGE {06S}zset 0 -1 WITHSCORES",
        "XRANGE {06S}stream - +",
        "XPENDING {06S}stream group",
        "PEXPIRETIME {06S}hash",
        "PEXPIRETIME {06S}set",
    ]
    .map(|line| client.must(line).to_string())
    .to_vec();
    for line in ["HGETALL {06S}hash", "SMEMBERS {06S}set"] {
        let mut words: Vec<String> = client.must(line).items().iter().map(ToString::to_string).collect();
        words.sort();
        texts.push(words.join(" "));
    }
    texts
}
