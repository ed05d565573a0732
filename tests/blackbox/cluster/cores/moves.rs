//! Slots that change their core while they, or others, or their keys move to other nodes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::super::migrate_slots::{last_job, moves};
use super::super::moving::{Load, slot_of, tags};
use super::super::nodes::{id_of, join, node};
use super::{has_several_cores, hop};
use crate::support::random::Random;
use crate::support::{Client, Kind, Server, check, number_from_env, server};

/// Hops until it is told to stop. Slots that are another node's, or on their way there, stay.
fn hop_about(server: &Server, last: u16, mut random: Random, stop: &AtomicBool, hops: &AtomicU64) {
    let client = &mut server.connect();
    while !stop.load(Ordering::Relaxed) {
        let (slot, to) = (random.below(u64::from(last) + 1), random.below(server::cores()));
        let reply = client.line(&format!("DEBUG SLOT-CORE {slot} {to}")).to_string();
        match reply.as_str() {
            "+OK" => _ = hops.fetch_add(1, Ordering::Relaxed),
            "-ERR The slot is not served by this node" => {}
            "-ERR The slot stays on its core: it is not served by this node" => {}
            other => panic!("{other}"),
        }
    }
}

#[test]
fn slots_hop_while_they_move_to_another_node() {
    if !has_several_cores() {
        return;
    }
    let nodes = [(); 2].map(|()| node(Kind::Slotcore, &[]));
    join(&nodes.each_ref());
    let seed = number_from_env("SLOTCORE_CORES_SEED", u64::from(std::process::id()));
    println!("seed {seed}");
    let tags = tags(0, 99, 6);
    let load = Load::begin(&nodes.each_ref(), &tags, seed);
    let (stop, hops) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for (number, server) in nodes.iter().enumerate() {
            let (stop, hops) = (&stop, &hops);
            scope.spawn(move || hop_about(server, 99, Random::new(seed + number as u64), stop, hops));
        }
        for round in 0..4 {
            let (from, to) = (round % 2, (round + 1) % 2);
            let state = moves(&nodes[from], &nodes[to], 0, 99);
            assert_eq!(state, "success", "round {round}: {}", last_job(&nodes[from], "message"));
            assert!(load.goes_on());
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("{} writes, {} hops", load.end(), hops.load(Ordering::Relaxed));
    assert!(hops.load(Ordering::Relaxed) > 0);
}

#[test]
fn keys_on_their_way_keep_their_slot_where_it_is() {
    if !has_several_cores() {
        return;
    }
    let nodes = [(); 2].map(|()| node(Kind::Slotcore, &[]));
    join(&nodes.each_ref());
    let client = &mut nodes[0].connect();
    let tag = tags(0, 99, 1).remove(0);
    let slot = slot_of(tag.trim_matches(['{', '}']));
    let ids = nodes.each_ref().map(id_of);
    nodes[1].connect().must(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", ids[0]));
    client.must(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", ids[1]));
    let keys: Vec<String> = (0..400).map(|n| format!("{tag}{n}")).collect();
    client.must(&format!("CLUSTER SETSLOT {slot} STABLE"));
    let lines: Vec<String> = keys.iter().map(|key| format!("SET {key} {}", "v".repeat(2000))).collect();
    client.pipeline(&lines);
    client.must(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", ids[1]));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let client = &mut nodes[0].connect();
            while !stop.load(Ordering::Relaxed) {
                hop(client, slot);
            }
        });
        for chunk in keys.chunks(40) {
            let line = format!("MIGRATE 127.0.0.1 {} \"\" 0 5000 KEYS {}", nodes[1].port, chunk.join(" "));
            check(client, &[(&line, "+OK")]);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(client.must(&format!("CLUSTER COUNTKEYSINSLOT {slot}")).integer(), 0);
    let target: &mut Client = &mut nodes[1].connect();
    assert_eq!(target.must(&format!("CLUSTER COUNTKEYSINSLOT {slot}")).integer(), 400);
}
