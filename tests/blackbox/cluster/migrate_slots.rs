//! Slots that move as a whole (CLUSTER MIGRATESLOTS): what is said about it, and that everything arrives.

use std::time::Duration;

use super::moving::{Load, Stop, WordProxy, slot_of, tags};
use super::nodes::{
    LIMIT, id_of, join, meet, node, replicate, wait_until_agreed, wait_until_all_agree, wait_until_linked,
};
use crate::support::{Client, Kind, Server, Value, holds_within, number_from_env};

/// A node whose clients, and other nodes that send it slots, come through a proxy.
pub struct Proxied {
    pub server: Server,
    pub proxy: WordProxy,
}

pub fn proxied(args: &[&str]) -> Proxied {
    let target = std::sync::Arc::new(std::sync::Mutex::new(0));
    let proxy = WordProxy::new(target.clone());
    let port = proxy.port.to_string();
    let server = node(Kind::Slotcore, &[args, &["--cluster-announce-port", &port]].concat());
    *target.lock().expect("nobody panics with it") = server.port;
    Proxied { server, proxy }
}

/// The field of the job that a node began or heard of last.
pub fn last_job(server: &Server, field: &str) -> String {
    let Ok(mut client) = server.try_connect() else { return String::new() };
    let reply = client.line("CLUSTER GETSLOTMIGRATIONS");
    let Value::Array(jobs) = &reply.value else { return String::new() };
    jobs.first().and_then(|job| job.field(field).map(Value::text)).unwrap_or_default()
}

pub fn is_over(state: &str) -> bool {
    matches!(state, "success" | "failed" | "cancelled")
}

pub fn begin_move(from: &Server, to: &Server, first: u16, last: u16) {
    from.connect().must(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE {first} {last} NODE {}", id_of(to)));
}

/// Moves slots, and waits for the end; the state that it ends in.
pub fn moves(from: &Server, to: &Server, first: u16, last: u16) -> String {
    begin_move(from, to, first, last);
    let ended = holds_within(LIMIT, || is_over(&last_job(from, "state")) && is_over(&last_job(to, "state")));
    assert!(ended, "the move does not end: {} and {}", last_job(from, "state"), last_job(to, "state"));
    last_job(from, "state")
}

fn three(kind: Kind) -> [Server; 3] {
    let nodes = [(); 3].map(|()| node(kind, &[]));
    join(&nodes.each_ref());
    nodes
}

#[test]
fn what_cannot_be_meant_is_refused_in_valkeys_words() {
    check_refusals(Kind::Slotcore);
}

/// That a cluster of this kind refuses what cannot be meant, in the words of Valkey 9.
pub fn check_refusals(kind: Kind) {
    let nodes = three(kind);
    let ids: Vec<String> = nodes.iter().map(id_of).collect();
    let replica = node(kind, &[]);
    meet(&nodes[0], &[&replica]);
    let all: Vec<&Server> = nodes.iter().chain([&replica]).collect();
    replicate(&all, &replica, &nodes[2]);
    let client = &mut nodes[0].connect();
    let (mine, other) = (&ids[0], &ids[1]);
    let nobody = "0123456789".repeat(4);
    for (line, error) in [
        ("CLUSTER MIGRATESLOTS".to_owned(), "ERR wrong number of arguments for 'cluster|migrateslots' command"),
        ("CLUSTER MIGRATESLOTS a b".to_owned(), "ERR syntax error"),
        ("CLUSTER MIGRATESLOTS SLOTSRANGE NODE x".to_owned(), "ERR No slot ranges specified"),
        ("CLUSTER MIGRATESLOTS SLOTSRANGE 1".to_owned(), "ERR No end slot for final slot range"),
        ("CLUSTER MIGRATESLOTS SLOTSRANGE 1 16384 NODE x".to_owned(), "ERR Invalid or out of range slot"),
        ("CLUSTER MIGRATESLOTS SLOTSRANGE 1 x NODE x".to_owned(), "ERR Invalid or out of range slot"),
        (
            "CLUSTER MIGRATESLOTS SLOTSRANGE 2 1 NODE x".to_owned(),
            "ERR Start slot number 2 is greater than end slot number 1.",
        ),
        ("CLUSTER MIGRATESLOTS SLOTSRANGE 0 16383 NODE x".to_owned(), "ERR Requested slots span multiple shards"),
        ("CLUSTER MIGRATESLOTS SLOTSRANGE 16000 16001 NODE x".to_owned(), "ERR Slots are not served by this node."),
        (
            format!("CLUSTER MIGRATESLOTS SLOTSRANGE 1 3 2 2 NODE {other}"),
            "ERR Slot range 2-2 overlaps with previous range 1-3.",
        ),
        ("CLUSTER MIGRATESLOTS SLOTSRANGE 1 3".to_owned(), "ERR syntax error"),
        ("CLUSTER MIGRATESLOTS SLOTSRANGE 1 3 NODE".to_owned(), "ERR syntax error"),
        ("CLUSTER MIGRATESLOTS SLOTSRANGE 1 3 NODE x".to_owned(), "ERR Invalid node name: x"),
        (
            format!("CLUSTER MIGRATESLOTS SLOTSRANGE 1 3 NODE {nobody}"),
            "ERR Unknown node name: 0123456789012345678901234567890123456789",
        ),
        (format!("CLUSTER MIGRATESLOTS SLOTSRANGE 1 3 NODE {mine}"), "ERR Target node can not be this node."),
        (format!("CLUSTER MIGRATESLOTS SLOTSRANGE 1 3 NODE {other} x"), "ERR syntax error"),
        (
            format!("CLUSTER MIGRATESLOTS SLOTSRANGE 1 3 NODE {other} SLOTSRANGE 3 4 NODE {other}"),
            "ERR Slot ranges in migrations overlap",
        ),
        ("CLUSTER CANCELSLOTMIGRATIONS".to_owned(), "ERR No migrations ongoing"),
        (
            "CLUSTER CANCELSLOTMIGRATIONS x".to_owned(),
            "ERR wrong number of arguments for 'cluster|cancelslotmigrations' command",
        ),
        (
            "CLUSTER GETSLOTMIGRATIONS x".to_owned(),
            "ERR wrong number of arguments for 'cluster|getslotmigrations' command",
        ),
        ("CLUSTER SYNCSLOTS ACK".to_owned(), "ERR CLUSTER SYNCSLOTS ACK should only be used by slot migration clients"),
        (
            "CLUSTER SYNCSLOTS PAUSED".to_owned(),
            "ERR CLUSTER SYNCSLOTS PAUSED should only be used by slot migration clients",
        ),
        ("CLUSTER SYNCSLOTS x".to_owned(), "ERR syntax error"),
        (format!("CLUSTER SYNCSLOTS FINISH STATE SUCCESS NAME {nobody}"), "ERR No such slot migration job"),
        (
            format!("CLUSTER SYNCSLOTS ESTABLISH SOURCE {nobody} NAME {nobody} SLOTSRANGE 16000 16000"),
            "ERR Target node does not know the source node",
        ),
        (
            format!("CLUSTER SYNCSLOTS ESTABLISH SOURCE {mine} NAME {nobody} SLOTSRANGE 1 1"),
            "ERR Source node is target node itself",
        ),
        (
            format!("CLUSTER SYNCSLOTS ESTABLISH SOURCE {other} NAME {nobody} SLOTSRANGE 16000 16000"),
            "ERR Target node does not agree about current slot ownership",
        ),
        (format!("CLUSTER SYNCSLOTS ESTABLISH SOURCE {other} NAME x SLOTSRANGE 16000 16000"), "ERR syntax error"),
    ] {
        assert_eq!(client.line(&line).to_string(), format!("-{error}"), "{line}");
    }
    assert_eq!(client.must("CLUSTER GETSLOTMIGRATIONS"), Value::Array(Vec::new()));
    let at_replica = replica.connect().line(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE 16000 16000 NODE {mine}"));
    assert_eq!(at_replica.to_string(), "-ERR Slot migration can only be used on primary nodes.");
    // A target that is a replica says so itself.
    client.must(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE 1 3 NODE {}", id_of(&replica)));
    assert!(holds_within(LIMIT, || last_job(&nodes[0], "state") == "failed"));
    let message = last_job(&nodes[0], "message");
    let message = message.trim_end();
    assert_eq!(
        message,
        "Received error during handshake to target: -ERR Slot migration can only be used on primary nodes."
    );
    client.must(&format!("CLUSTER SETSLOT 5 MIGRATING {other}"));
    let refused = client.line(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE 1 3 NODE {other}"));
    assert_eq!(refused.to_string(), "-ERR Slots are being manually migrated");
    client.must("CLUSTER SETSLOT 5 STABLE");
    client.must(&format!("CLUSTER SETSLOT 16000 IMPORTING {other}"));
    let refused = client.line(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE 1 3 NODE {other}"));
    assert_eq!(refused.to_string(), "-ERR Slots are being manually imported");
}

#[test]
fn a_nodes_jobs_are_listed_as_valkey_lists_them() {
    let nodes = three(Kind::Slotcore);
    let ids: Vec<String> = nodes.iter().map(id_of).collect();
    let client = &mut nodes[0].connect();
    client.must(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE 1 3 7 7 NODE {} SLOTSRANGE 10 19 NODE {}", ids[1], ids[2]));
    let jobs = |server: &Server| server.connect().must("CLUSTER GETSLOTMIGRATIONS").items().to_vec();
    let all_done = || {
        let jobs = jobs(&nodes[0]);
        jobs.len() == 2 && jobs.iter().all(|job| job.field("state").is_some_and(|state| state.text() == "success"))
    };
    assert!(holds_within(LIMIT, all_done), "{:?}", jobs(&nodes[0]));
    let own = jobs(&nodes[0]);
    let text = |job: &Value, name: &str| job.field(name).map(Value::text).unwrap_or_default();
    assert_eq!(text(&own[0], "slot_ranges"), "10-19");
    let names: Vec<String> = own[1].items().iter().step_by(2).map(Value::text).collect();
    let expected = [
        "name",
        "operation",
        "slot_ranges",
        "target_node",
        "source_node",
        "create_time",
        "last_update_time",
        "last_ack_time",
        "state",
        "message",
        "cow_size",
        "remaining_repl_size",
        "sent_keys",
        "sent_bytes",
    ];
    assert_eq!(names, expected);
    let theirs = jobs(&nodes[1]);
    for (job, operation) in [(&own[1], "EXPORT"), (&theirs[0], "IMPORT")] {
        assert_eq!(text(job, "operation"), operation);
        assert_eq!(text(job, "slot_ranges"), "1-3 7-7");
        assert_eq!((text(job, "source_node"), text(job, "target_node")), (ids[0].clone(), ids[1].clone()));
        assert_eq!(text(job, "name"), text(&own[1], "name"));
    }
    wait_until_agreed(&nodes.each_ref(), |lines| {
        let slots = |id: &String| lines.iter().find(|line| line.id == *id).map(|line| line.slots.clone());
        slots(&ids[0]).is_some_and(|slots| slots == "0 4-6 8-9 20-5460")
            && slots(&ids[1]).is_some_and(|slots| slots.starts_with("1-3 7 5461-"))
    });
    client.must("CONFIG SET cluster-slot-migration-log-max-len 1");
    begin_move(&nodes[0], &nodes[1], 8, 8);
    assert!(holds_within(LIMIT, || jobs(&nodes[0]).len() == 1), "{:?}", jobs(&nodes[0]));
}

/// Keys of all kinds, small and large, all with one tag; how many.
fn fill_with_all_kinds(client: &mut Client, tag: &str) -> i64 {
    let mut lines = vec![
        format!("SET {tag}string value"),
        format!("SET {tag}number 12345678"),
        format!("SET {tag}binary \"\\x00\\xff\\r\\n\" PX 100000000"),
        format!("SETRANGE {tag}large 300000 end"),
        format!("SETBIT {tag}bits 1000 1"),
        format!("PFADD {tag}hll a b c d e"),
        format!("RPUSH {tag}list a 1 -77 {}", "x".repeat(200)),
        format!("HSET {tag}hash f v n 12"),
        format!("SADD {tag}intset 1 2 3 1000000"),
        format!("SADD {tag}set a b 3"),
        format!("ZADD {tag}zset 1 a 2.5 b -inf c +inf d 1e-7 e"),
        format!("GEOADD {tag}geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania"),
        format!("XADD {tag}stream 5-1 f v g w"),
        format!("XADD {tag}stream 5-2 f v"),
        format!("XDEL {tag}stream 5-1"),
        format!("XGROUP CREATE {tag}stream group 0 ENTRIESREAD 1"),
        format!("XREADGROUP GROUP group me COUNT 1 STREAMS {tag}stream >"),
        format!("HSET {tag}volatile f v"),
        format!("PEXPIRE {tag}volatile 100000000"),
    ];
    for number in 0..6000 {
        let score = f64::from(number % 700) / 7.0;
        lines.push(format!("HSET {tag}bighash field:{number} {number}"));
        lines.push(format!("SADD {tag}bigset member:{number}"));
        lines.push(format!("ZADD {tag}bigzset {score} member:{number}"));
        lines.push(format!("RPUSH {tag}biglist item:{number}:{}", "y".repeat(number as usize % 90)));
    }
    lines.push(format!("PEXPIRE {tag}bighash 100000000"));
    for chunk in lines.chunks(500) {
        client.pipeline(chunk).iter().for_each(|reply| assert!(!reply.is_error(), "{reply}"));
    }
    18
}

/// The names of a node's keys with their values' digests and times to live, to the second or so.
fn content(client: &mut Client, tag: &str) -> Vec<(String, String, i64)> {
    let mut keys: Vec<String> =
        client.must(&format!("KEYS *{}*", tag.trim_matches(['{', '}']))).items().iter().map(Value::text).collect();
    keys.sort();
    let mut content = Vec::new();
    for key in keys {
        let digest = client.must(&format!("DEBUG DIGEST-VALUE {key}")).items()[0].text();
        let ttl = client.must(&format!("PTTL {key}")).integer();
        content.push((key, digest, if ttl > 0 { ttl / 600_000 } else { ttl }));
    }
    content
}

#[test]
fn values_of_all_kinds_arrive_as_they_were() {
    let nodes = three(Kind::Slotcore);
    let tag = tags(0, 99, 1).remove(0);
    let count = fill_with_all_kinds(&mut nodes[0].connect(), &tag);
    let before = content(&mut nodes[0].connect(), &tag);
    assert_eq!(before.len() as i64, count);
    assert_eq!(moves(&nodes[0], &nodes[1], 0, 99), "success");
    wait_until_all_agree(&nodes.each_ref());
    assert_eq!(content(&mut nodes[1].connect(), &tag), before);
    assert!(holds_within(LIMIT, || nodes[0].connect().must("DBSIZE").integer() == 0));
    let moved = nodes[0].connect().line(&format!("GET {tag}string")).to_string();
    assert_eq!(moved, format!("-MOVED {} 127.0.0.1:{}", slot_of(tag.trim_matches(['{', '}'])), nodes[1].port));
    // And back, to a node that has had them before.
    assert_eq!(moves(&nodes[1], &nodes[0], 0, 99), "success");
    wait_until_all_agree(&nodes.each_ref());
    assert_eq!(content(&mut nodes[0].connect(), &tag), before);
}

#[test]
fn writes_go_on_while_slots_move_and_none_is_lost() {
    let nodes = three(Kind::Slotcore);
    let seed = number_from_env("SLOTCORE_TEST_SEED", 1);
    println!("seed {seed}");
    let tags = tags(0, 199, 9);
    fill_with_all_kinds(&mut nodes[0].connect(), &tags[0].replace('}', "big}"));
    let load = Load::begin(&nodes.each_ref(), &tags, seed);
    let mut at = 0;
    for round in 0..6 {
        std::thread::sleep(Duration::from_millis(100));
        let to = (at + 1 + round % 2) % 3;
        assert_eq!(
            moves(&nodes[at], &nodes[to], 0, 199),
            "success",
            "round {round}: {}",
            last_job(&nodes[at], "message")
        );
        at = to;
        assert!(load.goes_on());
    }
    let writes = load.end();
    assert!(writes > 1000, "{writes}");
}

#[test]
fn what_is_on_its_way_is_seen_by_nobody_and_goes_when_it_is_called_off() {
    let nodes = [proxied(&[]), proxied(&[]), proxied(&[])];
    let servers: Vec<&Server> = nodes.iter().map(|node| &node.server).collect();
    join(&servers);
    let replica = node(Kind::Slotcore, &[]);
    meet(servers[0], &[&replica]);
    let all: Vec<&Server> = servers.iter().copied().chain([&replica]).collect();
    replicate(&all, &replica, servers[1]);
    let tags = tags(0, 99, 20);
    let source = &mut servers[0].connect();
    for tag in &tags {
        source.must(&format!("SET {tag} 1 PX 100000000"));
    }
    let slot = slot_of(tags[0].trim_matches(['{', '}']));
    let held = |server: &Server| server.connect().must(&format!("CLUSTER COUNTKEYSINSLOT {slot}")).integer();
    nodes[1].proxy.stop_at("SNAPSHOT-EOF", Stop::HoldBefore);
    begin_move(servers[0], servers[1], 0, 99);
    assert!(holds_within(LIMIT, || nodes[1].proxy.has_struck()));
    // The word may have been held with keys before it in the same bytes.
    source.must(&format!("SET {}again 1", tags[0]));
    for server in [servers[1], &replica] {
        let client = &mut server.connect();
        assert_eq!(client.must("DBSIZE").integer(), 0);
        assert_eq!(client.must("KEYS *").items().len(), 0);
        assert_eq!(client.must("SCAN 0 COUNT 1000").items()[1].items().len(), 0);
        assert!(client.must("RANDOMKEY").is_nil());
        assert!(client.line(&format!("GET {}", tags[0])).to_string().starts_with("-MOVED"));
    }
    // The first word may have been held with it.
    assert!(["waiting-for-ack", "receiving-snapshot"].contains(&last_job(servers[1], "state").as_str()));
    assert!(holds_within(LIMIT, || last_job(&replica, "state") == "occurring-on-primary"));
    let twice =
        servers[0].connect().line(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE 99 100 NODE {}", id_of(servers[2])));
    assert_eq!(twice.to_string(), "-ERR I am already migrating slot 99.");
    servers[0].connect().must("CLUSTER CANCELSLOTMIGRATIONS");
    assert_eq!(last_job(servers[0], "state"), "cancelled");
    nodes[1].proxy.release();
    assert!(holds_within(LIMIT, || last_job(servers[1], "state") == "failed"));
    assert!(holds_within(LIMIT, || last_job(&replica, "state") == "failed"));
    assert_eq!((held(servers[1]), held(&replica)), (0, 0));
    assert_eq!(servers[0].connect().must("DBSIZE").integer(), 21);
    // Nothing of it is in the way of the next time.
    assert_eq!(moves(servers[0], servers[1], 0, 99), "success");
    assert!(holds_within(LIMIT, || last_job(&replica, "state") == "success"));
    assert_eq!(servers[1].connect().must("DBSIZE").integer(), 21);
    wait_until_linked(&replica);
    assert!(holds_within(LIMIT, || replica.connect().must("DBSIZE").integer() == 21));
}

#[test]
fn who_waits_at_a_slot_that_goes_is_sent_after_it() {
    let nodes = three(Kind::Slotcore);
    let tag = tags(0, 99, 1).remove(0);
    let (mut waits, mut listens, mut watches) = (nodes[0].connect(), nodes[0].connect(), nodes[0].connect());
    waits.send(&crate::support::client::encode(&["BLPOP", &format!("{tag}list"), "0"]));
    listens.must(&format!("SSUBSCRIBE {tag}channel"));
    watches.must(&format!("WATCH {tag}w"));
    watches.must("MULTI");
    assert_eq!(watches.must(&format!("SET {tag}w 1")).text(), "QUEUED");
    let blocked = || nodes[0].connect().info_number("blocked_clients") == 1;
    assert!(holds_within(LIMIT, blocked));
    assert_eq!(moves(&nodes[0], &nodes[1], 0, 99), "success");
    assert!(waits.read().to_string().starts_with("-MOVED"));
    let gone = listens.read();
    assert_eq!(gone.value.items()[0].text(), "sunsubscribe");
    let exec = watches.line("EXEC").to_string();
    assert!(exec.starts_with("-EXECABORT") || exec.starts_with("-MOVED"), "{exec}");
}

#[test]
fn a_target_without_memory_gives_up_and_nothing_is_lost() {
    let nodes = three(Kind::Slotcore);
    let tags = tags(0, 99, 4);
    let client = &mut nodes[0].connect();
    for number in 0..200 {
        client.must(&format!("SET {}{number} {}", tags[number % 4], "x".repeat(20_000)));
    }
    let used = nodes[1].connect().info_number("used_memory");
    nodes[1].connect().must(&format!("CONFIG SET maxmemory {}", used + 1_500_000));
    assert_eq!(moves(&nodes[0], &nodes[1], 0, 99), "failed");
    assert_eq!(last_job(&nodes[1], "message"), "Ran out of memory (OOM) during slot import");
    assert_eq!(client.must("DBSIZE").integer(), 200);
    let held: i64 = tags
        .iter()
        .map(|tag| {
            let slot = slot_of(tag.trim_matches(['{', '}']));
            nodes[1].connect().must(&format!("CLUSTER COUNTKEYSINSLOT {slot}")).integer()
        })
        .sum();
    assert_eq!(held, 0);
    nodes[1].connect().must("CONFIG SET maxmemory 0");
    assert_eq!(moves(&nodes[0], &nodes[1], 0, 99), "success");
    assert_eq!(nodes[1].connect().must("DBSIZE").integer(), 200);
}

#[test]
fn a_flush_ends_a_move_at_either_end() {
    for flushed in [0, 1] {
        let nodes = [proxied(&[]), proxied(&[]), proxied(&[])];
        let servers: Vec<&Server> = nodes.iter().map(|node| &node.server).collect();
        join(&servers);
        let tag = tags(0, 99, 1).remove(0);
        servers[0].connect().must(&format!("SET {tag} 1"));
        nodes[1].proxy.stop_at("SNAPSHOT-EOF", Stop::HoldBefore);
        begin_move(servers[0], servers[1], 0, 99);
        assert!(holds_within(LIMIT, || nodes[1].proxy.has_struck()));
        servers[flushed].connect().must("FLUSHALL");
        assert!(holds_within(LIMIT, || last_job(servers[flushed], "state") == "failed"));
        assert_eq!(last_job(servers[flushed], "message"), "Data was flushed");
        nodes[1].proxy.release();
        assert!(holds_within(LIMIT, || is_over(&last_job(servers[1 - flushed], "state"))));
        let left = servers[0].connect().must("DBSIZE").integer();
        assert_eq!((left, servers[1].connect().must("DBSIZE").integer()), (flushed as i64, 0));
    }
}
