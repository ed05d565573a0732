//! Replicas in a cluster: what they copy, and how they take over.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::nodes::{
    LIMIT, id_of, is_primary, join, lines, meet, node, replicate, wait_until_agreed, wait_until_all_agree,
    wait_until_linked,
};
use crate::support::server::fresh_dir;
use crate::support::{Client, Kind, Server, holds_within};

/// Keys of slots that the node has.
fn fill(primary: &Server, count: usize) {
    let mut client = primary.connect();
    let mut written = 0;
    for number in 0.. {
        if written == count {
            return;
        }
        written += usize::from(!client.line(&format!("SET key:{number} {number}")).is_error());
    }
}

fn keys_count(server: &Server) -> i64 {
    server.connect().must("DBSIZE").integer()
}

fn wait_for_keys(server: &Server, count: i64) {
    assert!(holds_within(LIMIT, || keys_count(server) == count), "{} of {count} keys", keys_count(server));
}

/// Three primaries of the kinds, and a replica of the first; all agree.
fn with_replica(kinds: [Kind; 3], replica: Kind) -> (Vec<Server>, Server) {
    let primaries: Vec<Server> = kinds.iter().map(|kind| node(*kind, &[])).collect();
    join(&primaries.iter().collect::<Vec<_>>());
    let replica = node(replica, &[]);
    meet(&primaries[0], &[&replica]);
    let all: Vec<&Server> = primaries.iter().chain([&replica]).collect();
    replicate(&all, &replica, &primaries[0]);
    (primaries, replica)
}

/// As when a container is made anew at the address of one that was removed. Redis's replica empties itself then.
#[test]
fn a_replica_keeps_its_data_while_another_node_has_its_primarys_address() {
    let (mut primaries, replica) = with_replica([Kind::Slotcore; 3], Kind::Slotcore);
    fill(&primaries[0], 100);
    wait_for_keys(&replica, 100);
    // It may take over otherwise before it meets the other node.
    replica.connect().must("CONFIG SET cluster-replica-no-failover yes");
    let gone = id_of(&primaries[0]);
    primaries[0].stop();
    for entry in fs::read_dir(&primaries[0].dir).expect("its folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("it is removed");
    }
    primaries[0].restart();
    let other = id_of(&primaries[0]);
    assert_ne!(gone, other);
    let line = format!("Not synchronizing: at the master's address is {other}, not {gone}");
    assert!(holds_within(LIMIT, || replica.log().contains(&line)), "{}", replica.log());
    assert_eq!(keys_count(&replica), 100);
    assert_eq!(keys_count(&primaries[0]), 0);
    assert_eq!(replica.connect().info("master_link_status").as_deref(), Some("down"));
}

#[test]
fn a_replica_by_nodes_conf_copies_its_primary() {
    let primaries = [node(Kind::Redis, &[]), node(Kind::Redis, &[])];
    join(&[&primaries[0], &primaries[1]]);
    fill(&primaries[0], 100);
    let (id, port) = (id_of(&primaries[0]), primaries[0].port);
    let dir = fresh_dir();
    let file = dir.join("nodes.conf");
    let own = "0123456789".repeat(4);
    let text = format!(
        "{own} 127.0.0.1:1@10001 myself,slave {id} 0 0 0 connected\n\
         {id} 127.0.0.1:{port}@{} master - 0 0 1 connected 0-8191\n\
         vars currentEpoch 2 lastVoteEpoch 0\n",
        port + 10_000
    );
    fs::write(&file, text).expect("nodes.conf is written");
    let ours = node(Kind::Slotcore, &["--cluster-config-file", file.to_str().expect("a name in UTF-8")]);
    wait_until_linked(&ours);
    wait_for_keys(&ours, 100);
    meet(&primaries[1], &[&ours]);
    let is_known = |lines: &[super::nodes::Line]| lines.iter().any(|line| line.id == own && line.primary == id);
    wait_until_agreed(&[&ours, &primaries[0], &primaries[1]], is_known);
    fill(&primaries[0], 120);
    wait_for_keys(&ours, 120);
    drop(ours);
    let _ = fs::remove_dir_all(dir);
}

#[test]
fn a_restarted_replica_goes_on_with_its_primarys_stream() {
    let (primaries, mut replica) = with_replica([Kind::Slotcore; 3], Kind::Slotcore);
    fill(&primaries[0], 50);
    wait_for_keys(&replica, 50);
    replica.restart();
    wait_until_linked(&replica);
    wait_for_keys(&replica, 50);
    assert!(!is_primary(&replica));
    let all: Vec<&Server> = primaries.iter().chain([&replica]).collect();
    wait_until_agreed(&all, |lines| lines.len() == 4);
}

fn takes_over_when_its_primary_is_gone(kinds: [Kind; 3], replica: Kind) {
    let (mut primaries, replica) = with_replica(kinds, replica);
    fill(&primaries[0], 100);
    wait_for_keys(&replica, 100);
    let lost = primaries.remove(0);
    let lost_id = id_of(&lost);
    drop(lost); // killed
    let id = id_of(&replica);
    let all: Vec<&Server> = primaries.iter().chain([&replica]).collect();
    wait_until_agreed(&all, |lines| {
        let took_over = |line: &super::nodes::Line| line.id == id && line.flags == "master" && line.slots == "0-5460";
        lines.iter().any(took_over) && lines.iter().any(|line| line.id == lost_id && line.flags.contains("fail"))
    });
    assert_eq!(keys_count(&replica), 100);
    fill(&replica, 110);
    assert!(is_primary(&replica));
}

#[test]
fn a_slotcore_replica_takes_over_with_the_votes_of_redis() {
    takes_over_when_its_primary_is_gone([Kind::Redis; 3], Kind::Slotcore);
}

#[test]
fn a_redis_replica_takes_over_with_the_votes_of_slotcore() {
    takes_over_when_its_primary_is_gone([Kind::Slotcore; 3], Kind::Redis);
}

#[test]
fn slotcore_replaces_slotcore() {
    takes_over_when_its_primary_is_gone([Kind::Slotcore; 3], Kind::Slotcore);
}

/// Writes numbers to one key after another until told to stop, at whichever of the two nodes has the slots; how many were
/// acknowledged.
fn write_until(stop: &AtomicBool, nodes: [&Server; 2]) -> Vec<u64> {
    let mut clients: Vec<Client> = nodes.iter().map(|node| node.connect()).collect();
    let (mut acknowledged, mut at) = (Vec::new(), 0);
    for number in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let said = clients[at].line(&format!("SET {{key:0}}:{number} {number}")).to_string();
        match said.as_str() {
            "+OK" => acknowledged.push(number),
            moved if moved.starts_with("-MOVED") => at = usize::from(moved.ends_with(&nodes[1].port.to_string())),
            _ => {}
        }
    }
    acknowledged
}

fn hands_over_without_losing_a_write(primary: Kind, replica: Kind) {
    let (primaries, replica) = with_replica([primary, Kind::Redis, Kind::Redis], replica);
    // Of a slot that the first one has.
    assert!(primaries[0].connect().must("CLUSTER KEYSLOT {key:0}").integer() <= 5460);
    let stop = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(&stop, [&primaries[0], &replica]));
        fill(&primaries[0], 100);
        replica.connect().must("CLUSTER FAILOVER");
        let done = holds_within(LIMIT, || is_primary(&replica) && !is_primary(&primaries[0]));
        let id = id_of(&replica);
        let all: Vec<&Server> = primaries.iter().chain([&replica]).collect();
        if done {
            wait_until_agreed(&all, |lines| lines.iter().any(|line| line.id == id && line.flags == "master"));
        }
        stop.store(true, Ordering::Relaxed);
        let acknowledged = writer.join().expect("the writer ends");
        assert!(done, "{}", replica.connect().must("CLUSTER NODES").text());
        acknowledged
    });
    let mut client = replica.connect();
    let lost: Vec<&u64> = acknowledged
        .iter()
        .filter(|number| client.line(&format!("GET {{key:0}}:{number}")).to_string() != format!("'{number}'"))
        .collect();
    assert!(!acknowledged.is_empty() && lost.is_empty(), "of {} writes are lost: {lost:?}", acknowledged.len());
    // The old primary follows with what it had.
    wait_until_linked(&primaries[0]);
    wait_for_keys(&primaries[0], keys_count(&replica));
    assert_eq!(primaries[0].connect().info("master_port"), Some(replica.port.to_string()));
}

#[test]
fn a_slotcore_primary_hands_over_to_redis_without_losing_a_write() {
    hands_over_without_losing_a_write(Kind::Slotcore, Kind::Redis);
}

#[test]
fn a_redis_primary_hands_over_to_slotcore_without_losing_a_write() {
    hands_over_without_losing_a_write(Kind::Redis, Kind::Slotcore);
}

#[test]
fn a_slotcore_primary_hands_over_to_slotcore_without_losing_a_write() {
    hands_over_without_losing_a_write(Kind::Slotcore, Kind::Slotcore);
}

#[test]
fn replicaof_and_failover_stay_refused() {
    let ours = node(Kind::Slotcore, &[]);
    let mut client = ours.connect();
    assert_eq!(client.line("REPLICAOF NO ONE").to_string(), "-ERR REPLICAOF not allowed in cluster mode.");
    assert!(client.line("FAILOVER").to_string().starts_with("-ERR FAILOVER not allowed in cluster mode."));
}

#[test]
fn a_replica_does_not_take_over_before_it_has_loaded_what_it_is_sent() {
    let mut primaries: Vec<Server> = (0..3).map(|_| node(Kind::Redis, &[])).collect();
    join(&primaries.iter().collect::<Vec<_>>());
    fill(&primaries[0], 100);
    let slow = ["--key-load-delay", "1000000", "--cluster-replica-validity-factor", "0"];
    let replica = node(Kind::Slotcore, &slow);
    meet(&primaries[0], &[&replica]);
    wait_until_all_agree(&primaries.iter().chain([&replica]).collect::<Vec<_>>());
    let mut client = replica.connect();
    client.must(&format!("CLUSTER REPLICATE {}", id_of(&primaries[0])));
    let id = id_of(&replica);
    let role_of_it = |lines: &[super::nodes::Line]| {
        lines.iter().find(|line| line.id == id).map(|line| line.flags.clone()).unwrap_or_default()
    };
    let other = &mut primaries[1].connect();
    let loads = holds_within(LIMIT, || client.info_number("loading") == 1 && role_of_it(&lines(other)) == "slave");
    assert!(loads, "{}", client.must("INFO replication").text());
    drop(primaries.remove(0)); // killed
    assert!(holds_within(LIMIT, || lines(other).iter().any(|line| line.flags == "master,fail")));
    assert!(!holds_within(Duration::from_secs(2), || role_of_it(&lines(other)) == "master"), "half of the data lead");
    client.must("CONFIG SET key-load-delay 0");
    assert!(holds_within(LIMIT, || role_of_it(&lines(other)) == "master"), "{:#?}", lines(other));
    assert_eq!(keys_count(&replica), 100);
}
