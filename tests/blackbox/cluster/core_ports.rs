//! A port for each core: what clients are told, what they find behind a port, and that others are not disturbed by it. Of slotcore
//! alone: Redis has no cores.

use std::collections::BTreeSet;
use std::process::Command;

use super::cores::{has_several_cores, hop, start_again};
use super::migrate_slots::{begin_move, is_over, last_job, proxied};
use super::moving::{Stop, slot_of, tags};
use super::nodes::{CLUSTER, LIMIT, id_of, join, node, replicate, wait_until_linked};
use super::slot_stats::of_cores;
use crate::clients::python;
use crate::cluster_one_node::own_all_slots;
use crate::support::server::cores;
use crate::support::{Client, Kind, Server, Value, holds_within};
use crate::tracking::invalidated;

const CORE_PORTS: &[&str] = &["--core-ports", "yes"];
const STRIPE_SLOTS: i64 = 64;

/// The port of the core of `server` that has a slot by default; core ports begin 100 above the port for clients.
fn core_port(server: &Server, slot: i64) -> i64 {
    i64::from(server.port) + 100 + slot / STRIPE_SLOTS % cores() as i64
}

/// Whether this server listens on a port: another test's may by chance.
fn listens_on(server: &Server, port: u16) -> bool {
    let id = |client: &mut Client| {
        client.must("INFO server").text().lines().find(|l| l.starts_with("run_id:")).map(str::to_owned)
    };
    let found = Client::connect(&format!("127.0.0.1:{port}")).ok().and_then(|mut client| id(&mut client));
    found.is_some() && found == id(&mut server.connect())
}

fn connect(port: i64) -> Client {
    Client::connect(&format!("127.0.0.1:{port}")).expect("the core listens")
}

fn ports_of(server: &Server) -> Vec<i64> {
    (0..cores() as i64).map(|core| i64::from(server.port) + 100 + core).collect()
}

fn with_core_ports(args: &[&str]) -> Server {
    node(Kind::Slotcore, &[CORE_PORTS, args].concat())
}

/// Slots, primary's port and its id, of each range that CLUSTER SLOTS names.
fn ranges(client: &mut Client) -> Vec<(i64, i64, i64, String)> {
    let reply = client.must("CLUSTER SLOTS");
    let range = |value: &Value| {
        let (fields, primary) = (value.items(), value.items()[2].items());
        (fields[0].integer(), fields[1].integer(), primary[1].integer(), primary[2].text())
    };
    reply.items().iter().map(range).collect()
}

/// Whether every slot is named with the port of its core, on the node that has it.
fn names_core_ports(client: &mut Client, nodes: &[&Server]) -> bool {
    let ids: Vec<String> = nodes.iter().map(|node| id_of(node)).collect();
    let ranges = ranges(client);
    let fits = |(first, last, port, id): &(i64, i64, i64, String)| {
        let at = ids.iter().position(|known| known == id).expect("a known node");
        (*first..=*last).all(|slot| core_port(nodes[at], slot) == *port)
    };
    ranges.iter().map(|(first, last, ..)| last - first + 1).sum::<i64>() == 16384 && ranges.iter().all(fits)
}

/// Waits until all nodes, which all have core ports, know those of all.
fn wait_until_known(nodes: &[&Server]) {
    for node in nodes {
        let known = holds_within(LIMIT, || names_core_ports(&mut node.connect(), nodes));
        assert!(known, "port {}: {:?}", node.port, ranges(&mut node.connect()));
    }
}

fn pair(args: &[&str]) -> (Server, Server) {
    let (one, other) = (with_core_ports(args), with_core_ports(args));
    join(&[&one, &other]);
    wait_until_known(&[&one, &other]);
    (one, other)
}

#[test]
fn slots_shards_and_redirections_name_core_ports() {
    let (one, other) = pair(&[]);
    let mut client = one.connect();
    // foo is of slot 12182, which the second node has.
    let moved = format!("-MOVED 12182 127.0.0.1:{}", core_port(&other, 12182));
    assert_eq!(client.line("GET foo").to_string(), moved);
    assert_eq!(connect(core_port(&one, 64)).line("GET foo").to_string(), moved);
    client.must(&format!("CLUSTER SETSLOT 5061 MIGRATING {}", id_of(&other)));
    let ask = format!("-ASK 5061 127.0.0.1:{}", core_port(&other, 5061));
    assert_eq!(client.line("GET bar").to_string(), ask);
    let nodes = client.must("CLUSTER NODES").text();
    for server in [&one, &other] {
        assert!(nodes.contains(&format!("127.0.0.1:{}@", server.port)), "{nodes}");
    }
    assert!(!nodes.contains(&format!(":{}@", one.port + 100)), "{nodes}");
    let shards = client.must("CLUSTER SHARDS");
    let mut slots_count = 0;
    for shard in shards.items() {
        let slots = shard.field("slots").expect("slots").items().to_vec();
        let node = &shard.field("nodes").expect("nodes").items()[0];
        let port = node.field("port").expect("a port").integer();
        let server = if port < i64::from(one.port) + 100 + cores() as i64 && port >= i64::from(one.port) {
            &one
        } else {
            &other
        };
        for range in slots.chunks(2) {
            for slot in range[0].integer()..=range[1].integer() {
                assert_eq!(core_port(server, slot), port, "slot {slot}");
                slots_count += 1;
            }
        }
    }
    assert_eq!((shards.items().len() as u64, slots_count), (2 * cores(), 16384));
}

#[test]
fn without_core_ports_nothing_is_named() {
    let (one, other) = (node(Kind::Slotcore, &[]), with_core_ports(&[]));
    join(&[&one, &other]);
    let mut client = one.connect();
    let first = i64::from(one.port);
    let known = |client: &mut Client| {
        let ranges = ranges(client);
        ranges.iter().any(|(_, _, port, _)| *port == core_port(&other, 8192))
            && ranges
                .iter()
                .all(|(low, high, port, _)| *port == if *low < 8192 { first } else { core_port(&other, *high) })
    };
    assert!(holds_within(LIMIT, || known(&mut client)), "{:?}", ranges(&mut client));
    assert!(listens_on(&other, other.port + 100) && !listens_on(&one, one.port + 100));
    // A node that is alone by itself has no use for them.
    let alone = Server::slotcore(CORE_PORTS);
    assert!(!listens_on(&alone, alone.port + 100));
}

#[test]
fn who_asks_the_right_core_makes_no_hops() {
    let server = with_core_ports(&[]);
    own_all_slots(&mut server.connect());
    let mut clients: Vec<Client> = ports_of(&server).into_iter().map(connect).collect();
    let before = of_cores(&mut server.connect(), "hops_out");
    for number in 0..1000 {
        let key = format!("key{number}");
        let slot = clients[0].must(&format!("CLUSTER KEYSLOT {key}")).integer();
        let core = (slot / STRIPE_SLOTS % cores() as i64) as usize;
        clients[core].must(&format!("SET {key} {number}"));
        assert_eq!(clients[core].must(&format!("GET {key}")).text(), number.to_string());
    }
    assert_eq!(of_cores(&mut server.connect(), "hops_out"), before);
    // Every port serves all keys.
    for number in 0..100 {
        assert_eq!(clients[0].must(&format!("GET key{number}")).text(), number.to_string());
    }
    let hops: f64 = of_cores(&mut server.connect(), "hops_out").iter().sum();
    assert_eq!(hops > before.iter().sum(), cores() > 1);
}

fn fill(client: &mut Client, count: usize) {
    let lines: Vec<String> = (0..count).map(|number| format!("SET key:{number} v")).collect();
    assert!(client.pipeline(&lines).iter().all(|reply| !reply.is_error()));
}

fn scan(client: &mut Client) -> Vec<String> {
    let (mut keys, mut cursor) = (Vec::new(), "0".to_owned());
    loop {
        let reply = client.must(&format!("SCAN {cursor} COUNT 100"));
        keys.extend(reply.items()[1].items().iter().map(Value::text));
        cursor = reply.items()[0].text();
        if cursor == "0" {
            return keys;
        }
    }
}

#[test]
fn commands_about_all_keys_are_about_one_core_there() {
    let server = with_core_ports(&[]);
    let mut client = server.connect();
    own_all_slots(&mut client);
    fill(&mut client, 1000);
    let (mut total, mut all) = (0, BTreeSet::new());
    for port in ports_of(&server) {
        let mut own = connect(port);
        let size = own.must("DBSIZE").integer();
        let keys: BTreeSet<String> = own.must("KEYS *").items().iter().map(Value::text).collect();
        assert_eq!(keys.len() as i64, size);
        let scanned = scan(&mut own);
        assert_eq!((scanned.len(), scanned.into_iter().collect::<BTreeSet<_>>()), (keys.len(), keys.clone()));
        assert!((0..50).all(|_| keys.contains(&own.must("RANDOMKEY").text())));
        own.must("MULTI");
        own.must("DBSIZE");
        assert_eq!(own.must("EXEC").items()[0].integer(), size);
        total += size;
        all.extend(keys);
    }
    assert_eq!((total, all.len()), (1000, 1000));
    assert_eq!(client.must("DBSIZE").integer(), 1000);
    assert_eq!(scan(&mut client).len(), 1000);
}

#[test]
fn a_flush_on_a_core_port_is_of_that_core_in_files_and_on_replicas_too() {
    let mut server = with_core_ports(&["--appendonly", "yes"]);
    let replica = with_core_ports(&[]);
    let mut client = server.connect();
    own_all_slots(&mut client);
    join_two(&server, &replica);
    replicate(&[&server, &replica], &replica, &server);
    fill(&mut client, 1000);
    let (port, mut watcher) = (core_port(&server, 64), server.connect());
    let mut own = connect(port);
    let (here, kept) = (own.must("DBSIZE").integer(), own.must("KEYS *").items()[0].text());
    watcher.must(&format!("WATCH {kept}"));
    assert_eq!(own.line("FLUSHDB NOW").to_string(), "-ERR syntax error");
    own.must("FLUSHALL");
    assert_eq!(own.must("DBSIZE").integer(), 0);
    let left = 1000 - here;
    assert_eq!(client.must("DBSIZE").integer(), left);
    watcher.must("MULTI");
    assert!(watcher.must("EXEC").is_nil());
    assert!(holds_within(LIMIT, || replica.connect().must("DBSIZE").integer() == left));
    start_again(&mut server);
    assert_eq!(server.connect().must("DBSIZE").integer(), left);
    wait_until_linked(&replica);
    fill(&mut server.connect(), 100);
    ports_of(&server).into_iter().for_each(|port| _ = connect(port).must("FLUSHDB ASYNC"));
    assert_eq!(server.connect().must("DBSIZE").integer(), 0);
    assert!(holds_within(LIMIT, || replica.connect().must("DBSIZE").integer() == 0));
}

#[test]
fn a_flush_on_a_core_port_is_heard_by_whoever_has_copies_of_its_keys() {
    if !has_several_cores() {
        return;
    }
    let server = with_core_ports(&[]);
    let mut client = server.connect();
    own_all_slots(&mut client);
    // Readers on every core, in both modes; keys of slot 64, which the second core has, and of slot 0.
    let tags = [tags(64, 64, 1).remove(0), tags(0, 0, 1).remove(0)];
    for mode in ["", " BCAST"] {
        let mut readers: Vec<Client> = ports_of(&server).into_iter().map(connect).collect();
        tags.iter().for_each(|tag| _ = client.must(&format!("SET {tag} v")));
        for reader in &mut readers {
            reader.must("HELLO 3");
            reader.must(&format!("CLIENT TRACKING ON{mode}"));
            tags.iter().for_each(|tag| assert_eq!(reader.must(&format!("GET {tag}")).text(), "v"));
        }
        connect(core_port(&server, 64)).must("FLUSHALL");
        for reader in &mut readers {
            assert_eq!(invalidated(reader), Some(vec![tags[0].clone()]), "{mode}");
        }
        assert!(client.must(&format!("GET {}", tags[0])).is_nil());
        assert_eq!(client.must(&format!("GET {}", tags[1])).text(), "v");
    }
}

/// Makes a node without slots known to one that has all.
fn join_two(server: &Server, other: &Server) {
    server.connect().must(&format!("CLUSTER MEET 127.0.0.1 {}", other.port));
    let known = |node: &Server| node.connect().must("CLUSTER NODES").text().matches(" connected").count() == 2;
    assert!(holds_within(LIMIT, || known(server) && known(other)));
}

#[test]
fn a_replica_names_its_own_cores_and_sends_writers_to_its_primarys() {
    let (server, replica) = (with_core_ports(&[]), with_core_ports(&[]));
    let mut client = server.connect();
    own_all_slots(&mut client);
    join_two(&server, &replica);
    replicate(&[&server, &replica], &replica, &server);
    client.must("SET foo bar");
    let mut reader = replica.connect();
    let moved = format!("-MOVED 12182 127.0.0.1:{}", core_port(&server, 12182));
    assert!(holds_within(LIMIT, || reader.line("GET foo").to_string() == moved));
    reader.must("READONLY");
    let reads = || reader.line("GET foo").to_string() == "'bar'";
    assert!(holds_within(LIMIT, reads));
    assert_eq!(reader.line("SET foo x").to_string(), moved);
    let names = |client: &mut Client| {
        client.must("CLUSTER SLOTS").items().iter().all(|range| {
            let fields = range.items();
            let slot = fields[0].integer();
            fields.len() == 4
                && fields[2].items()[1].integer() == core_port(&server, slot)
                && fields[3].items()[1].integer() == core_port(&replica, slot)
        })
    };
    assert!(holds_within(LIMIT, || names(&mut server.connect())), "{}", server.connect().must("CLUSTER SLOTS"));
    assert!(holds_within(LIMIT, || names(&mut replica.connect())));
}

#[test]
fn a_redis_server_in_the_same_cluster_hears_nothing_of_it() {
    let (one, other) = (with_core_ports(&[]), with_core_ports(&[]));
    let stock = node(Kind::Redis, &["--loglevel", "debug"]);
    join(&[&one, &other, &stock]);
    let named = |client: &mut Client| {
        ranges(client).iter().all(|(first, _, port, _)| match first {
            ..5461 => *port == core_port(&one, *first),
            5461..10922 => *port == core_port(&other, *first),
            _ => *port == i64::from(stock.port),
        })
    };
    for node in [&one, &other] {
        assert!(holds_within(LIMIT, || named(&mut node.connect())), "{:?}", ranges(&mut node.connect()));
    }
    let plain: Vec<i64> = ranges(&mut stock.connect()).iter().map(|(_, _, port, _)| *port).collect();
    assert_eq!(plain, [one.port, other.port, stock.port].map(i64::from));
    let moved = stock.connect().line("GET bar").to_string();
    assert_eq!(moved, format!("-MOVED 5061 127.0.0.1:{}", one.port));
    // Some pings have gone to and fro by now, all of them with what a stock node understands.
    let log = stock.log().to_lowercase();
    assert!(!log.contains("extension"), "{log}");
}

#[test]
fn redis_cli_follows_to_core_ports() {
    let (one, _other) = pair(&[]);
    let mut input = String::new();
    (0..100).for_each(|number| input += &format!("SET key:{number} {number}\nGET key:{number}\n"));
    let mut child = Command::new("redis-cli");
    child.args(["-c", "-p", &one.port.to_string()]);
    let file = one.dir.join("input");
    std::fs::write(&file, input).expect("a file");
    let output = child.stdin(std::fs::File::open(file).expect("the file")).output().expect("redis-cli runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (told, replies): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("-> Redirected"));
    assert!(!told.is_empty());
    let text: String = replies.into_iter().map(|line| format!("{line}\n")).collect();
    let expected: String = (0..100).map(|number| format!("OK\n{number}\n")).collect();
    assert_eq!(text, expected);
    let words = ["--cluster", "check", &one.address()];
    let check = Command::new("redis-cli").args(words).output().expect("redis-cli runs");
    let check = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.contains("[OK] All 16384 slots covered."), "{check}");
}

/// Runs one way of tests/clients/redis_py.py, and expects it to pass.
fn run_redis_py(mode: &str, server: &Server) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/redis_py.py");
    let output = Command::new(python()).args([script, mode, &server.port.to_string()]).output();
    let output = output.expect("redis-py is there; tools/test installs it");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.trim_end().ends_with("all passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn redis_py_goes_on_while_slots_change_their_cores() {
    let (one, _other) = pair(&[]);
    if has_several_cores() {
        run_redis_py("core-moves", &one);
    }
}

#[test]
fn a_slot_that_changes_its_core_is_named_there() {
    let (one, other) = pair(&[]);
    if !has_several_cores() {
        return;
    }
    // bar is of slot 5061, which the first node has.
    let mut client = one.connect();
    client.must("SET bar foo");
    let before = core_port(&one, 5061);
    for _ in 0..cores() {
        let port = i64::from(one.port) + 100 + hop(&mut client, 5061) as i64;
        let named = |node: &Server| {
            let of_slot = |(first, last, ..): &(i64, i64, i64, String)| (*first..=*last).contains(&5061);
            ranges(&mut node.connect()).into_iter().find(of_slot).map(|(_, _, port, _)| port)
        };
        for node in [&one, &other] {
            assert!(holds_within(LIMIT, || named(node) == Some(port)), "{:?}, not {port}", named(node));
        }
        let moved = other.connect().line("GET bar").to_string();
        assert_eq!(moved, format!("-MOVED 5061 127.0.0.1:{port}"));
        // Whoever has heard something else, or heard it some time ago, is answered too.
        assert_eq!(connect(before).line("GET bar").to_string(), "'foo'");
        assert_eq!(connect(port).line("GET bar").to_string(), "'foo'");
    }
}

#[test]
fn a_peer_that_starts_again_with_other_ports_is_named_by_those() {
    let one = with_core_ports(&[]);
    let file = one.dir.join("other.conf");
    let write = |lines: &str| std::fs::write(&file, lines).expect("a file");
    write("core-ports yes\n");
    let mut other = Server::start_with_file(Kind::Slotcore, &file, CLUSTER);
    join(&[&one, &other]);
    // foo is of slot 12182, which the second node has.
    let moved_to = |port: i64| {
        let expected = format!("-MOVED 12182 127.0.0.1:{port}");
        let said = holds_within(LIMIT, || one.connect().line("GET foo").to_string() == expected);
        assert!(said, "{} instead of {expected}", one.connect().line("GET foo"));
        let ports: BTreeSet<i64> = ranges(&mut one.connect()).into_iter().map(|(_, _, port, _)| port).collect();
        assert!(ports.contains(&port), "{ports:?}");
        ports.len() as u64
    };
    assert_eq!(moved_to(core_port(&other, 12182)), 2 * cores());
    write("core-ports no\n");
    start_again(&mut other);
    assert_eq!(moved_to(i64::from(other.port)), cores() + 1);
    assert!(!listens_on(&other, other.port + 100));
    write(&format!("core-ports yes\ncore-port-base {}\n", other.port + 300));
    start_again(&mut other);
    assert_eq!(moved_to(core_port(&other, 12182) + 200), 2 * cores());
    assert_eq!(connect(core_port(&other, 12182) + 200).line("SET foo bar").to_string(), "+OK");
}

#[test]
fn a_flush_on_a_core_port_goes_along_with_slots_on_their_way() {
    // The one core of a node flushes for all of it, which ends what is on its way.
    if !has_several_cores() {
        return;
    }
    for flushed in [0, 1] {
        let nodes = [proxied(CORE_PORTS), proxied(CORE_PORTS), proxied(CORE_PORTS)];
        let servers: Vec<&Server> = nodes.iter().map(|node| &node.server).collect();
        join(&servers);
        let tag = tags(0, 63, 1).remove(0);
        servers[0].connect().must(&format!("SET {tag} 1"));
        nodes[1].proxy.stop_at("SNAPSHOT-EOF", Stop::HoldBefore);
        begin_move(servers[0], servers[1], 0, 63);
        assert!(holds_within(LIMIT, || nodes[1].proxy.has_struck()));
        ports_of(servers[flushed]).into_iter().for_each(|port| _ = connect(port).must("FLUSHALL"));
        nodes[1].proxy.release();
        let ended = holds_within(LIMIT, || servers.iter().take(2).all(|node| is_over(&last_job(node, "state"))));
        assert!(ended, "{} and {}", last_job(servers[0], "state"), last_job(servers[1], "state"));
        assert_eq!(last_job(servers[0], "state"), "success", "{}", last_job(servers[0], "message"));
        // The source's keys are gone with the flush; what was to come to the other one is not its own yet.
        let left = servers[1].connect().must("DBSIZE").integer();
        assert_eq!((servers[0].connect().must("DBSIZE").integer(), left), (0, flushed as i64));
    }
}

#[test]
fn redis_benchmark_goes_on_by_base_ports() {
    let (one, other) = pair(&[]);
    // It asks for CLUSTER NODES.
    let words = format!("--cluster -p {} -c 8 -n 4000 -r 1000 -q -t set,get", one.port);
    let output = Command::new("redis-benchmark").args(words.split(' ')).output().expect("redis-benchmark runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for server in [&one, &other] {
        let commands: f64 = of_cores(&mut server.connect(), "commands").into_iter().sum();
        assert!(commands > 3000.0, "{commands} commands");
    }
}

#[test]
fn redis_benchmark_at_core_ports_makes_no_hops() {
    let server = with_core_ports(&[]);
    own_all_slots(&mut server.connect());
    let mut client = server.connect();
    let before: f64 = of_cores(&mut client, "hops_out").into_iter().sum();
    for port in ports_of(&server) {
        let is_there = |number: &u32| core_port(&server, i64::from(slot_of(&number.to_string()))) == port;
        let tag = format!("{{{}}}", (0..).find(is_there).expect("some slot is on each core"));
        let words = format!("-p {port} -c 8 -n 5000 -P 4 -r 1000 -q SET {tag}:__rand_int__ v");
        let output = Command::new("redis-benchmark").args(words.split(' ')).output().expect("redis-benchmark runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let hops: f64 = of_cores(&mut client, "hops_out").into_iter().sum();
    let commands: f64 = of_cores(&mut client, "commands").into_iter().sum();
    assert!(commands >= 5000.0 * cores() as f64, "{commands} commands");
    // What this test itself asks counts too.
    assert!((hops - before) * 1000.0 <= commands, "{hops} hops of {commands} commands");
}

#[test]
fn redis_py_asks_the_right_cores() {
    let (one, other) = pair(&[]);
    let sums = |server: &Server| {
        ["hops_out", "commands"].map(|field| of_cores(&mut server.connect(), field).into_iter().sum::<f64>())
    };
    // Waiting for the cluster has made hops: CLUSTER SLOTS is core 0's.
    let before = [&one, &other].map(sums);
    run_redis_py("core-ports", &one);
    for (server, [hops_before, commands_before]) in [&one, &other].into_iter().zip(before) {
        let [hops, commands] = sums(server);
        let (hops, commands) = (hops - hops_before, commands - commands_before);
        assert!(commands > 9000.0, "{commands} commands");
        assert!(hops * 1000.0 <= commands, "{hops} hops of {commands} commands");
    }
}
