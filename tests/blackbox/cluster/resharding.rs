//! `reshard`, `rebalance` and `fix`, redis-cli's and slotcore's, between nodes of both kinds, while clients write. And what is left when one
//! side ends in the middle.

use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use super::load::{Load, Routed};
use super::nodes::{LIMIT, id_of, join, lines, node, wait_until_agreed, wait_until_loaded};
use crate::admin::{Ended, cluster, ended, program};
use crate::support::{Kind, Server, holds_within};

const SEED: u64 = 20261128;

fn redis_cli(words: &[&str]) -> Ended {
    ended(Command::new("redis-cli").arg("--cluster").args(words), "")
}

/// How many slots each of them serves, by the account of the first.
pub fn shares(nodes: &[&Server]) -> Vec<usize> {
    let known = lines(&mut nodes[0].connect());
    let count = |slots: &str| -> usize {
        let ranges = slots.split(' ').filter(|range| !range.is_empty() && !range.starts_with('['));
        let number = |text: &str| text.parse::<usize>().expect("a slot");
        ranges.map(|range| range.split_once('-').map_or(1, |(first, last)| number(last) - number(first) + 1)).sum()
    };
    let share = |node: &&Server| {
        let id = id_of(node);
        known.iter().find(|line| line.id == id).map_or(0, |line| count(&line.slots))
    };
    nodes.iter().map(share).collect()
}

pub fn fill(nodes: &[&Server], count: usize) {
    let mut client = Routed::new(&nodes.iter().map(|node| node.port).collect::<Vec<_>>());
    for number in 0..count {
        let key = format!("key:{number}");
        let reply = client.cmd(&key, &["SET", &key, &format!("value:{number}")]);
        assert!(!reply.is_error(), "{reply}");
    }
}

pub fn check_filled(nodes: &[&Server], count: usize) {
    let mut client = Routed::new(&nodes.iter().map(|node| node.port).collect::<Vec<_>>());
    for number in 0..count {
        let key = format!("key:{number}");
        assert_eq!(client.cmd(&key, &["GET", &key]).text(), format!("value:{number}"));
    }
}

/// Slots go round: from slotcore to redis-server, from there to another slotcore, and back.
#[test]
fn slots_move_in_both_directions_while_clients_write() {
    let nodes = [node(Kind::Slotcore, &[]), node(Kind::Redis, &[]), node(Kind::Slotcore, &[])];
    let all: Vec<&Server> = nodes.iter().collect();
    join(&all);
    fill(&all, 600);
    let ports: Vec<u16> = nodes.iter().map(|node| node.port).collect();
    let load = Load::start(&ports, 3, SEED);
    let ids: Vec<String> = nodes.iter().map(id_of).collect();
    let entry = nodes[0].address();
    let words = |from: usize, to: usize, slots: &str| -> Vec<String> {
        let words =
            ["reshard", &entry, "--cluster-from", &ids[from], "--cluster-to", &ids[to], "--cluster-slots", slots];
        [&words[..], &["--cluster-yes"]].concat().iter().map(|word| (*word).to_owned()).collect()
    };
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let before = load.done();
        let with_ours = words(from, to, "150");
        let with_ours: Vec<&str> = with_ours.iter().map(String::as_str).collect();
        let way = if (from, to) == (2, 0) { "each slot at one moment" } else { "key by key" };
        cluster(&with_ours).must(0, &["[OK] 150 slots", "Given", way]);
        assert!(holds_within(LIMIT, || load.done() > before));
        wait_until_agreed(&all, |lines| lines.len() == 3);
        let with_theirs = words(from, to, "40");
        let with_theirs: Vec<&str> = with_theirs.iter().map(String::as_str).collect();
        redis_cli(&with_theirs).must(0, &[]);
        wait_until_agreed(&all, |lines| lines.len() == 3);
        redis_cli(&["check", &entry]).must(0, &["All 16384 slots covered"]);
    }
    let even = shares(&all);
    assert_eq!(even.iter().sum::<usize>(), 16384);
    load.end(&all, 600);
    check_filled(&all, 600);
}

#[test]
fn rebalance_evens_out_by_weight() {
    let nodes = [node(Kind::Slotcore, &[]), node(Kind::Slotcore, &[]), node(Kind::Redis, &[])];
    let all: Vec<&Server> = nodes.iter().collect();
    join(&all);
    let entry = nodes[1].address();
    cluster(&["rebalance", &entry]).must(0, &["No rebalancing needed"]);
    let ids: Vec<String> = nodes.iter().map(id_of).collect();
    let weights = [format!("{}=1", &ids[0]), format!("{}=1.1", &ids[1][..12]), format!("{}=0.95", &ids[2])];
    let words = ["rebalance", &entry, "--cluster-weight", &weights[0], &weights[1], &weights[2]];
    cluster(&[&words[..], &["--cluster-simulate"]].concat()).must(0, &["Nothing was changed", "From"]);
    assert_eq!(shares(&all), [5461, 5461, 5462]);
    let load = Load::start(&[nodes[0].port], 2, SEED + 1);
    cluster(&words).must(0, &["[OK]", "Taken"]);
    wait_until_agreed(&all, |lines| lines.len() == 3);
    let by_weight = shares(&all);
    for (share, expected) in by_weight.iter().zip([5371, 5909, 5103]) {
        assert!(share.abs_diff(expected) <= 2, "{by_weight:?}");
    }
    // And back, with redis-cli.
    redis_cli(&["rebalance", &entry, "--cluster-threshold", "1"]).must(0, &[]);
    wait_until_agreed(&all, |lines| lines.len() == 3);
    assert!(shares(&all).iter().all(|share| share.abs_diff(5461) <= 2), "{:?}", shares(&all));
    load.end(&all, 0);
}

#[test]
fn reshard_says_what_is_wrong_and_asks_for_what_is_missing() {
    let nodes = [node(Kind::Slotcore, &[]), node(Kind::Slotcore, &[]), node(Kind::Slotcore, &[])];
    join(&nodes.iter().collect::<Vec<_>>());
    let entry = nodes[0].address();
    let ids: Vec<String> = nodes.iter().map(id_of).collect();
    let reshard = |words: &[&str], input: &str| {
        ended(
            Command::new(program()).args(["cluster", "reshard", &entry]).args(words).env_remove("REDISCLI_AUTH"),
            input,
        )
    };
    reshard(&["--to", &ids[0], "--from", &ids[0], "--slots", "1", "--yes"], "")
        .must(1, &["cannot be source and target"]);
    reshard(&["--to", "0123456789", "--from", "all", "--slots", "1", "--yes"], "")
        .must(1, &["no node of this cluster"]);
    reshard(&["--to", &ids[0], "--from", "all", "--slots", "5"], "no\n")
        .must(1, &["Move 5 slots to", "nothing was changed"]);
    reshard(&[], "").must(1, &["How many slots", "no answer"]);
    let answers = format!("7\n{}\nall\nyes\n", ids[0]);
    reshard(&[], &answers).must(0, &["To which primary", "From which primaries", "[OK] 7 slots"]);
    nodes[0].connect().must(&format!("CLUSTER SETSLOT 1 MIGRATING {}", ids[1]));
    reshard(&["--to", &ids[0], "--from", "all", "--slots", "5", "--yes"], "").must(1, &["has slot 1 migrating"]);
    cluster(&["fix", &entry]).must(0, &["[OK] slot 1 is in order.", "[OK] All 16384 slots covered."]);
    cluster(&["fix", &entry]).must(0, &["[OK] Nothing to fix."]);
}

/// From two sources to two targets, all they have: the one is empty then, the other becomes a replica, and nothing is lost.
#[test]
fn slots_move_as_a_whole_where_both_nodes_can() {
    let stays_primary = ["--cluster-allow-replica-migration", "no"];
    let options: [&[&str]; 4] = [&stays_primary, &[], &[], &[]];
    let nodes: Vec<Server> = options.iter().map(|options| node(Kind::Slotcore, options)).collect();
    let all: Vec<&Server> = nodes.iter().collect();
    super::nodes::join_with(&all, &[700, 600, 7542, 7542]);
    fill(&all, 3000);
    let load = Load::start(&nodes.iter().map(|node| node.port).collect::<Vec<_>>(), 2, SEED + 4);
    let ids: Vec<String> = nodes.iter().map(id_of).collect();
    let entry = nodes[3].address();
    let weights = [format!("{}=0", ids[0]), format!("{}=0", ids[1])];
    cluster(&["rebalance", &entry, "--cluster-weight", &weights[0], &weights[1]])
        .must(0, &["each slot at one moment", "[OK] 1300 slots"]);
    wait_until_agreed(&all, |lines| lines.len() == 4);
    assert_eq!(shares(&all), [0, 0, 8192, 8192]);
    assert!(holds_within(LIMIT, || nodes[0].connect().must("DBSIZE").integer() == 0));
    let is_replica = |line: &super::nodes::Line| line.id == ids[1] && line.flags.contains("slave");
    wait_until_agreed(&all, |lines| lines.iter().any(is_replica));
    let words = ["reshard", &entry, "--from", &ids[2], "--to", &ids[0], "--slots", "3", "--yes"];
    cluster(&[&words[..], &["--cluster-key-by-key"]].concat()).must(0, &["key by key", "[OK] 3 slots"]);
    cluster(&[&words[..], &["--cluster-use-atomic-slot-migration"]].concat())
        .must(0, &["at one moment", "[OK] 3 slots"]);
    let primaries = [all[0], all[2], all[3]];
    load.end(&primaries, 3000);
    check_filled(&primaries, 3000);
}

/// Keys that lie in the way, and what may be done about them.
#[test]
fn keys_that_are_at_the_target_already_are_compared() {
    let nodes = [node(Kind::Slotcore, &[]), node(Kind::Slotcore, &[]), node(Kind::Redis, &[])];
    let all: Vec<&Server> = nodes.iter().collect();
    join(&all);
    let (mut here, mut there) = (nodes[0].connect(), nodes[1].connect());
    here.must("SET {06S}same v");
    here.must("SET {06S}other source");
    let ids: Vec<String> = nodes.iter().map(id_of).collect();
    there.must(&format!("CLUSTER SETSLOT 0 IMPORTING {}", ids[0]));
    for line in ["SET {06S}same v", "SET {06S}other target"] {
        there.must("ASKING");
        there.must(line);
    }
    there.must("CLUSTER SETSLOT 0 STABLE");
    let entry = nodes[2].address();
    let words = ["reshard", &entry, "--from", &ids[0], "--to", &ids[1], "--slots", "1", "--yes", "--key-by-key"];
    let refused = cluster(&words).must(1, &["'{06S}other'", "half moved: 0"]);
    assert!(!refused.all().contains("{06S}same'"), "{}", refused.all());
    // The slot is open now, and whoever cannot say which value is right must be told.
    cluster(&["fix", &entry]).must(1, &["'{06S}other'"]);
    cluster(&["fix", &entry, "--cluster-replace"]).must(0, &["[OK] slot 0 is in order."]);
    wait_until_agreed(&all, |lines| lines.len() == 3);
    assert_eq!(there.must("MGET {06S}same {06S}other").to_string(), "['v', 'source']");
}

/// A tool at work, whose output nobody reads.
pub fn begin(words: &[&str]) -> Child {
    let mut command = Command::new(program());
    command.arg("cluster").args(words).env_remove("REDISCLI_AUTH");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

pub fn end_of(child: Child) -> (i32, String) {
    let output = child.wait_with_output().expect("it ends");
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// One side is killed in the middle, comes back with its data, and `fix` finishes what was begun.
#[test]
fn fix_finishes_what_a_killed_node_has_left() {
    const KEYS: usize = 6000;
    let durable = ["--appendonly", "yes", "--appendfsync", "always", "--cluster-node-timeout", "30000"];
    for (victim, with_ours) in [(0, true), (1, false), (1, true)] {
        let mut nodes =
            [node(Kind::Slotcore, &durable), node(Kind::Slotcore, &durable), node(Kind::Slotcore, &durable)];
        {
            let all: Vec<&Server> = nodes.iter().collect();
            join(&all);
            fill(&all, KEYS);
        }
        let ids: Vec<String> = nodes.iter().map(id_of).collect();
        let entry = nodes[2].address();
        let load = Load::start(&nodes.iter().map(|node| node.port).collect::<Vec<_>>(), 2, SEED + 2);
        let words = ["reshard", &entry, "--from", &ids[0], "--to", &ids[1], "--slots", "5000", "--yes"];
        let child = begin(&[&words[..], &["--key-by-key", "--pipeline", "3"]].concat());
        let mut target = nodes[1].connect();
        let before = target.must("DBSIZE").integer();
        assert!(holds_within(LIMIT, || target.must("DBSIZE").integer() > before + 100));
        nodes[victim].signal(Signal::SIGKILL);
        let (code, said) = end_of(child);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("half moved"), "{said}");
        nodes[victim].wait_for_exit();
        nodes[victim].restart();
        wait_until_loaded(&nodes[victim]);
        let all: Vec<&Server> = nodes.iter().collect();
        let is_up = |node: &&Server| super::nodes::state(&mut node.connect()) == "ok";
        assert!(holds_within(LIMIT, || all.iter().all(is_up)));
        // Neither `fix` is for slots of which keys are removed: of a key on both sides the copy at the target comes back then, with
        // redis-server as here (`resharding_faults`, which has a load that only adds).
        let written = load.stop();
        let fixed = match with_ours {
            true => cluster(&["fix", &entry, "--cluster-yes"]),
            false => redis_cli(&["fix", &entry, "--cluster-yes"]),
        };
        fixed.must(0, &["slots covered"]);
        wait_until_agreed(&all, |lines| lines.len() == 3);
        redis_cli(&["check", &entry]).must(0, &["All 16384 slots covered"]);
        written.check(&all, KEYS as i64);
        check_filled(&all, KEYS);
    }
}

#[test]
fn a_target_without_memory_stops_the_move_and_loses_nothing() {
    let nodes = [node(Kind::Slotcore, &[]), node(Kind::Slotcore, &[]), node(Kind::Redis, &[])];
    let all: Vec<&Server> = nodes.iter().collect();
    join(&all);
    fill(&all, 500);
    let ids: Vec<String> = nodes.iter().map(id_of).collect();
    nodes[1].connect().must("CONFIG SET maxmemory 1");
    let entry = nodes[0].address();
    let words = ["reshard", &entry, "--from", &ids[0], "--to", &ids[1], "--slots", "500", "--yes"];
    // As a whole nothing is left behind; key by key there is something to mend.
    cluster(&words).must(1, &["could not give the slots 0-255", "Ran out of memory", "no slot is half moved"]);
    cluster(&["check", &entry]).must(0, &["[OK] All 16384 slots covered."]);
    cluster(&[&words[..], &["--key-by-key"]].concat()).must(1, &["OOM command not allowed", "half moved"]);
    cluster(&["check", &entry]).must(1, &["migrating to"]);
    nodes[1].connect().must("CONFIG SET maxmemory 0");
    cluster(&["fix", &entry]).must(0, &["[OK] All 16384 slots covered."]);
    wait_until_agreed(&all, |lines| lines.len() == 3);
    check_filled(&all, 500);
}

/// Values of 100k elements on the way, with their slots.
#[test]
fn large_keys_move_with_their_slots() {
    const ELEMENTS: usize = 100_000;
    const STREAM: &str = "for id = 1, 20000 do redis.call('XADD', KEYS[1], id, 'field', 'value-' .. id) end \
                          redis.call('XGROUP', 'CREATE', KEYS[1], 'group', 0)";
    let nodes = [node(Kind::Slotcore, &[]), node(Kind::Slotcore, &[]), node(Kind::Redis, &[])];
    let all: Vec<&Server> = nodes.iter().collect();
    join(&all);
    let mut client = nodes[0].connect();
    for (name, command) in [("hash", "HSET"), ("zset", "ZADD")] {
        for first in (0..ELEMENTS).step_by(1000) {
            let pairs: Vec<String> = (first..first + 1000).map(|n| format!("{n} element:{n}")).collect();
            client.must(&format!("{command} {{06S}}{name} {}", pairs.join(" ")));
        }
    }
    client.must(&format!("EVAL {STREAM:?} 1 {{06S}}stream"));
    client.must("XREADGROUP GROUP group reader COUNT 1000 STREAMS {06S}stream >");
    let digests = |client: &mut crate::support::Client| {
        let names = ["hash", "zset", "stream"];
        let digests = names.map(|name| client.must(&format!("DEBUG DIGEST-VALUE {{06S}}{name}")).to_string());
        (digests, client.must("XPENDING {06S}stream group").to_string())
    };
    let before = digests(&mut client);
    let ids: Vec<String> = nodes.iter().map(id_of).collect();
    let entry = nodes[0].address();
    let load = Load::start(&[nodes[0].port, nodes[1].port], 2, SEED + 3);
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        // Their slot is the first that goes.
        let (from, to) = (&ids[from], &ids[to]);
        cluster(&["reshard", &entry, "--from", from, "--to", to, "--slots", "1", "--yes"]).must(0, &["[OK] 1 slot"]);
        wait_until_agreed(&all, |lines| lines.len() == 3);
    }
    assert_eq!(digests(&mut client), before);
    load.end(&all, 3);
}
