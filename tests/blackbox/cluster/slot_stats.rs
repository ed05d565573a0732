//! What a node tells of its cores and its slots: INFO cores, which nobody else has, and CLUSTER SLOT-STATS, which Valkey has: where
//! this machine has one, it must pass the same checks.

use std::time::Duration;

use super::super::cluster_one_node::own_all_slots;
use super::nodes::{join, node};
use crate::support::server::cores;
use crate::support::{Client, Kind, Server, Value, check, holds_within};

fn one_node(args: &[&str]) -> Server {
    one_node_of(Kind::Slotcore, args)
}

fn one_node_of(kind: Kind, args: &[&str]) -> Server {
    let server = node(kind, args);
    own_all_slots(&mut server.connect());
    server
}

/// A field of each core's line.
pub fn of_cores(client: &mut Client, name: &str) -> Vec<f64> {
    let text = client.must("INFO cores").text();
    let lines = text.lines().filter(|line| line.starts_with("core"));
    let figure = |line: &str| {
        let fields = line.split_once(':').expect("a name").1.split(',');
        let value = fields.filter_map(|field| field.split_once('=')).find(|(field, _)| *field == name);
        value.unwrap_or_else(|| panic!("{name} is not in {line}")).1.parse().expect("a number")
    };
    lines.map(figure).collect()
}

#[test]
fn info_shows_what_each_core_has() {
    let server = one_node(&[]);
    let client = &mut server.connect();
    for number in 0..500 {
        client.must(&format!("SET key{number} v"));
    }
    let slots = of_cores(client, "slots");
    assert_eq!((slots.len() as u64, slots.iter().sum::<f64>()), (cores(), 16384.0));
    assert_eq!(of_cores(client, "keys").iter().sum::<f64>(), 500.0);
    assert!(of_cores(client, "memory").iter().all(|bytes| *bytes > 0.0));
    assert!(of_cores(client, "commands").iter().sum::<f64>() >= 500.0);
    let (hops_in, hops_out) = (of_cores(client, "hops_in"), of_cores(client, "hops_out"));
    // One connection: what it asks of the other cores leaves its own. Commands of core 0 may be among that.
    assert_eq!(hops_in.iter().sum::<f64>(), hops_out.iter().sum::<f64>());
    assert_eq!(hops_in.iter().sum::<f64>() > 0.0, cores() > 1, "{hops_in:?}");
    assert!(client.must("INFO everything").text().contains("# Cores\r\ncore0:"));
    assert!(!client.must("INFO").text().contains("# Cores"));
}

#[test]
fn a_core_that_works_is_busy_and_one_that_rests_is_not() {
    let server = one_node(&[]);
    let mut client = server.connect();
    let lines = vec!["EVAL 'for i = 1, 20000 do redis.call(\"GET\", KEYS[1]) end' 1 {a}"; 2];
    let busy = holds_within(Duration::from_secs(20), || {
        client.pipeline(&lines);
        of_cores(&mut client, "busy").iter().any(|busy| *busy > 20.0)
    });
    assert!(busy, "{:?}", of_cores(&mut client, "busy"));
    assert!(of_cores(&mut client, "busy").iter().all(|busy| *busy <= 101.0));
    let rests = || of_cores(&mut client, "busy").iter().all(|busy| *busy < 10.0);
    assert!(holds_within(Duration::from_secs(20), rests));
}

#[test]
fn slot_stats_takes_the_arguments_that_valkey_takes() {
    check_arguments(Kind::Slotcore);
}

fn check_arguments(kind: Kind) {
    const METRIC: &str = "-ERR Unrecognized sort metric for ORDERBY.";
    const LIMIT: &str = "-ERR Limit has to lie in between 1 and 16384 (maximum number of slots).";
    const REPEATED: &str = "-ERR Multiple filters of the same type are disallowed.";
    const UNKNOWN: &str = "-ERR unknown subcommand or wrong number of arguments for 'SLOT-STATS'. Try CLUSTER HELP.";
    let server = one_node_of(kind, &[]);
    let client = &mut server.connect();
    client.must("SET foo v");
    client.must("SET {foo}2 v");
    client.must("SET bar v");
    check(
        client,
        &[
            ("CLUSTER SLOT-STATS", "-ERR wrong number of arguments for 'cluster|slot-stats' command"),
            ("CLUSTER SLOT-STATS x y", UNKNOWN),
            ("CLUSTER SLOT-STATS SLOTSRANGE 1", UNKNOWN),
            ("CLUSTER SLOT-STATS SLOTSRANGE 1 x", "-ERR Invalid or out of range slot"),
            ("CLUSTER SLOT-STATS SLOTSRANGE -1 1", "-ERR Invalid or out of range slot"),
            ("CLUSTER SLOT-STATS SLOTSRANGE 2 1", "-ERR Start slot number 2 is greater than end slot number 1"),
            ("CLUSTER SLOT-STATS slotsrange 1 2", "[[:1, ['key-count', :0]], [:2, ['key-count', :0]]]"),
            ("CLUSTER SLOT-STATS SLOTSRANGE 12182 12182", "[[:12182, ['key-count', :2]]]"),
            ("CLUSTER SLOT-STATS ORDERBY nothing", METRIC),
            ("CLUSTER SLOT-STATS ORDERBY cpu-usec", METRIC),
            ("CLUSTER SLOT-STATS ORDERBY key-count LIMIT", "-ERR syntax error"),
            ("CLUSTER SLOT-STATS ORDERBY key-count UP", "-ERR syntax error"),
            ("CLUSTER SLOT-STATS ORDERBY key-count LIMIT 0", LIMIT),
            ("CLUSTER SLOT-STATS ORDERBY key-count LIMIT 16385", LIMIT),
            ("CLUSTER SLOT-STATS ORDERBY key-count LIMIT x", LIMIT),
            ("CLUSTER SLOT-STATS ORDERBY key-count LIMIT 1 LIMIT 2", REPEATED),
            ("CLUSTER SLOT-STATS ORDERBY key-count ASC DESC", REPEATED),
            (
                "CLUSTER SLOT-STATS ORDERBY key-count LIMIT 3",
                "[[:12182, ['key-count', :2]], [:5061, ['key-count', :1]], [:0, ['key-count', :0]]]",
            ),
            ("CLUSTER SLOT-STATS ORDERBY key-count ASC LIMIT 1", "[[:0, ['key-count', :0]]]"),
        ],
    );
    assert_eq!(client.must("CLUSTER SLOT-STATS ORDERBY key-count").items().len(), 16384);
}

#[test]
fn slot_stats_needs_a_cluster() {
    let server = Server::slotcore(&[]);
    check(
        &mut server.connect(),
        &[("CLUSTER SLOT-STATS SLOTSRANGE 1 2", "-ERR This instance has cluster support disabled")],
    );
}

/// Keys, microseconds, bytes in and out of one slot.
fn stats_of(client: &mut Client, slot: u16) -> Option<[i64; 4]> {
    let reply = client.must(&format!("CLUSTER SLOT-STATS SLOTSRANGE {slot} {slot}"));
    let figures: Vec<i64> = reply.items().first()?.items()[1].items().chunks(2).map(|pair| pair[1].integer()).collect();
    Some(figures.try_into().expect("four figures"))
}

#[test]
fn traffic_and_time_are_counted_for_the_slot_that_is_asked() {
    check_counting(Kind::Slotcore);
}

fn check_counting(kind: Kind) {
    let server = one_node_of(kind, &["--cluster-slot-stats-enabled", "yes"]);
    let client = &mut server.connect();
    client.must("SET foo bar");
    // *3 $3 SET $3 foo $3 bar, and +OK.
    let [keys, _, received, sent] = stats_of(client, 12182).expect("the slot is here");
    assert_eq!([keys, received, sent], [1, 31, 5]);
    client.must("GET foo");
    let [_, _, received, sent] = stats_of(client, 12182).expect("the slot is here");
    assert_eq!([received, sent], [31 + 22, 5 + 9]);
    assert_eq!(stats_of(client, 5061), Some([0; 4]));
    client.must("SETBIT bar 80000000 1");
    (0..5).for_each(|_| _ = client.must("BITCOUNT bar"));
    let [_, microseconds, ..] = stats_of(client, 5061).expect("the slot is here");
    assert!(microseconds > 1000, "{microseconds} us for 50 MB");
    let by_time = client.must("CLUSTER SLOT-STATS ORDERBY cpu-usec LIMIT 1");
    assert_eq!(by_time.items()[0].items()[0], Value::Integer(5061));
    client.must("CONFIG RESETSTAT");
    assert_eq!(stats_of(client, 12182), Some([1, 0, 0, 0]));
    client.must("CONFIG SET cluster-slot-stats-enabled no");
    assert_eq!(client.line("CLUSTER SLOT-STATS SLOTSRANGE 5061 5061").to_string(), "[[:5061, ['key-count', :1]]]");
}

/// valkey-server 9.1.2 counts no time of scripts; the commands that one calls count for nobody, here as there.
#[test]
fn a_script_counts_for_the_slot_of_its_keys() {
    let server = one_node(&["--cluster-slot-stats-enabled", "yes"]);
    let client = &mut server.connect();
    client.must("EVAL 'for i = 1, 20000 do redis.call(\"GET\", KEYS[1]) end' 1 bar");
    let [_, microseconds, received, _] = stats_of(client, 5061).expect("the slot is here");
    assert!(microseconds > 1000, "{microseconds} us for 20000 calls");
    assert!(received < 200, "what a script calls is not received: {received}");
}

#[test]
fn what_blocked_counts_for_its_slot_too() {
    check_waiting(Kind::Slotcore);
}

fn check_waiting(kind: Kind) {
    let server = one_node_of(kind, &["--cluster-slot-stats-enabled", "yes"]);
    let (client, waiter) = (&mut server.connect(), &mut server.connect());
    waiter.send(b"*3\r\n$5\r\nBLPOP\r\n$3\r\nfoo\r\n$1\r\n0\r\n");
    assert!(holds_within(Duration::from_secs(10), || client.info_number("blocked_clients") == 1));
    client.must("RPUSH foo x");
    waiter.read();
    let pushed = [31, 4];
    let popped = [31, 4 + 9 + 7];
    let [_, _, received, sent] = stats_of(client, 12182).expect("the slot is here");
    assert_eq!([received, sent], [pushed[0] + popped[0], pushed[1] + popped[1]]);
}

/// Valkey counts MULTI and EXEC for the slot as well.
#[test]
fn the_commands_of_a_transaction_count_for_their_slot() {
    let server = one_node(&["--cluster-slot-stats-enabled", "yes"]);
    let client = &mut server.connect();
    for line in ["MULTI", "SET foo bar", "GET foo", "EXEC"] {
        client.must(line);
    }
    let [_, _, received, sent] = stats_of(client, 12182).expect("the slot is here");
    assert_eq!([received, sent], [31 + 22, 5 + 9]);
}

#[test]
fn slots_of_other_nodes_are_not_shown_and_those_that_left_are_forgotten() {
    check_ownership(Kind::Slotcore);
}

fn check_ownership(kind: Kind) {
    let args: &[&str] = &["--cluster-slot-stats-enabled", "yes"];
    let (ours, peer) = (node(kind, args), node(kind, args));
    join(&[&ours, &peer]);
    let (client, other) = (&mut ours.connect(), &mut peer.connect());
    client.must("SET bar v");
    client.must("DEL bar");
    assert!(stats_of(client, 5061).expect("the slot is here")[2] > 0);
    assert_eq!(stats_of(other, 5061), None);
    let id = other.must("CLUSTER MYID").text();
    other.must(&format!("CLUSTER SETSLOT 5061 NODE {id}"));
    other.must("CLUSTER BUMPEPOCH");
    assert!(holds_within(Duration::from_secs(20), || stats_of(client, 5061).is_none()));
    assert_eq!(stats_of(other, 5061), Some([0; 4]));
    let id = client.must("CLUSTER MYID").text();
    client.must(&format!("CLUSTER SETSLOT 5061 NODE {id}"));
    assert_eq!(stats_of(client, 5061), Some([0; 4]));
}

#[test]
fn valkey_tells_the_same_of_its_slots() {
    if Kind::Valkey.is_there("valkey_tells_the_same_of_its_slots") {
        check_arguments(Kind::Valkey);
        check_counting(Kind::Valkey);
        check_waiting(Kind::Valkey);
        check_ownership(Kind::Valkey);
    }
}
