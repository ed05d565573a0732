//! A primary whose keys lie on several cores, each of which adds to the one log: a cluster node, and a redis-server outside of any
//! cluster that copies it.

use super::nodes::{Info, SYNC_LIMIT, follow, node, settle, wait_for_replicas};
use super::seed;
use crate::support::random::Random;
use crate::support::server::cores;
use crate::support::{Client, Kind, Server, holds_within};

const CONNECTIONS: usize = 6;
const ROUNDS: usize = 120;
const BATCH: usize = 40;

/// A cluster node of its own with all slots, and at least two cores.
fn primary() -> Server {
    let cores = cores().max(2).to_string();
    let server = node(Kind::Slotcore, &["--cluster-enabled", "yes", "--cores", &cores]);
    let mut client = server.connect();
    client.must("CLUSTER ADDSLOTSRANGE 0 16383");
    let ok = || client.must("CLUSTER INFO").text().contains("cluster_state:ok");
    assert!(holds_within(SYNC_LIMIT, ok), "the node serves its slots");
    server
}

/// Requests of one key each, of keys on all cores.
fn request(random: &mut Random) -> String {
    let key = format!("key:{}", random.below(400));
    match random.below(12) {
        0..4 => format!("SET {key} {}", random.next()),
        4 => format!("INCR counter:{}", random.below(20)),
        5 => format!("DEL {key}"),
        6 => format!("RPUSH list:{} {}", random.below(30), random.next()),
        7 => format!("LPOP list:{}", random.below(30)),
        8 => format!("SADD set:{} {}", random.below(10), random.below(1000)),
        9 => format!("SPOP set:{}", random.below(10)),
        10 => format!("SET {key} x PX {}", 1 + random.below(200)),
        _ => format!("APPEND {key} +"),
    }
}

fn write(client: &mut Client, random: &mut Random) {
    if random.chance(3) {
        client.must(if random.chance(50) { "FLUSHALL" } else { "FLUSHDB ASYNC" });
    }
    if random.chance(10) {
        let tag = random.below(1000);
        client.must("MULTI");
        for number in 0..1 + random.below(3) {
            client.must(&format!("SET {{{tag}}}:{number} {}", random.next()));
        }
        client.must("EXEC");
    }
    let lines: Vec<String> = (0..BATCH).map(|_| request(random)).collect();
    // Some meet a value of another type.
    client.pipeline(&lines);
}

/// Waits until both have the same keys, none of which is about to expire.
fn assert_same(primary: &Server, replica: &Server) {
    let (mut ours, mut theirs) = (primary.connect(), replica.connect());
    let volatile = |client: &mut Client| client.info("db0").is_some_and(|line| !line.contains("expires=0"));
    assert!(holds_within(SYNC_LIMIT, || !volatile(&mut ours)), "keys expire");
    settle(primary, replica);
    let digests = [&mut ours, &mut theirs].map(|client| client.must("DEBUG DIGEST").text());
    let sizes = [&mut ours, &mut theirs].map(|client| client.must("DBSIZE").integer());
    assert_eq!(digests[0], digests[1], "{sizes:?} keys");
}

#[test]
fn what_all_cores_write_and_flush_comes_to_a_replica_in_order() {
    let seed = seed("cores");
    let (primary, replica) = (primary(), node(Kind::Redis, &[]));
    let late = node(Kind::Redis, &[]);
    follow(&replica, primary.port);
    let writers = (0..CONNECTIONS as u64).map(|number| {
        let mut client = primary.connect();
        std::thread::spawn(move || {
            let mut random = Random::new(seed ^ number << 32);
            (0..ROUNDS).for_each(|_| write(&mut client, &mut random));
        })
    });
    let writers: Vec<_> = writers.collect();
    follow(&late, primary.port);
    writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
    assert_same(&primary, &replica);
    assert_same(&primary, &late);
}

/// A connection of any core may become a replica's: it goes to the core that has the log.
#[test]
fn replicas_come_to_whatever_core_took_their_connection() {
    let primary = primary();
    // Connections are dealt out to the cores.
    let idle: Vec<Client> = (0..3).map(|_| primary.connect()).collect();
    let replicas: Vec<Server> = (0..4).map(|_| node(Kind::Redis, &[])).collect();
    replicas.iter().for_each(|replica| follow(replica, primary.port));
    wait_for_replicas(&primary, replicas.len());
    let mut client = primary.connect();
    client.must("SET a 1");
    assert_eq!(client.must("WAIT 4 20000").integer(), 4);
    replicas.iter().for_each(|replica| assert_same(&primary, replica));
    assert_eq!(Info::of(&primary).number("connected_slaves"), 4);
    drop(idle);
}

/// WAIT covers what a connection has written on any core.
#[test]
fn wait_covers_the_writes_of_all_cores() {
    let (primary, replica) = (primary(), node(Kind::Redis, &[]));
    follow(&replica, primary.port);
    settle(&primary, &replica);
    let (mut ours, mut theirs) = (primary.connect(), replica.connect());
    for number in 0..200 {
        let lines: Vec<String> = (0..8).map(|part| format!("SET {number}:{part} {number}")).collect();
        ours.pipeline(&lines);
        assert_eq!(ours.must("WAIT 1 20000").integer(), 1);
        for part in 0..8 {
            assert_eq!(theirs.must(&format!("GET {number}:{part}")).text(), number.to_string());
        }
    }
}
