//! Slots that move while nodes are killed and links are cut, under a load that knows what must be there.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::migrate_slots::{Proxied, begin_move, is_over, last_job, moves, proxied};
use super::moving::{Load, Stop, tags};
use super::nodes::{LIMIT, id_of, join, lines, wait_until_all_agree, wait_until_loaded};
use crate::support::random::Random;
use crate::support::{Server, holds_within, number_from_env};

/// What is acknowledged is on the disk, and comes back with the node.
const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
const LAST: u16 = 199;

/// In the order in which they are said.
pub const WORDS: [&str; 7] =
    ["ESTABLISH", "ACK", "SNAPSHOT-EOF", "REQUEST-PAUSE", "PAUSED", "REQUEST-FAILOVER", "FAILOVER-GRANTED"];

fn three() -> [Proxied; 3] {
    let nodes = [(); 3].map(|()| proxied(DURABLE));
    join(&nodes.each_ref().map(|node| &node.server));
    nodes
}

fn servers(nodes: &[Proxied; 3]) -> [&Server; 3] {
    nodes.each_ref().map(|node| &node.server)
}

/// Which of the nodes serves the slots, when all agree.
fn owner(nodes: &[Proxied; 3]) -> usize {
    let lines = wait_until_all_agree(&servers(nodes));
    let holds = |slots: &str| slots.split(' ').any(|range| range.split('-').next() == Some("0"));
    let id = lines.iter().find(|line| holds(&line.slots)).map(|line| line.id.clone()).expect("somebody has slot 0");
    servers(nodes).iter().position(|server| id_of(server) == id).expect("one of ours")
}

fn kill_and_restart(server: &mut Server) {
    server.signal(Signal::SIGKILL);
    server.wait_for_exit();
    server.restart();
    wait_until_loaded(server);
}

/// Nobody but the owner has keys of the slots, and no job goes on.
fn check_settled(nodes: &[Proxied; 3]) {
    for server in servers(nodes) {
        let job = || last_job(server, "state");
        assert!(holds_within(LIMIT, || job().is_empty() || is_over(&job())), "{}", job());
    }
    let owner = owner(nodes);
    for (place, server) in servers(nodes).into_iter().enumerate() {
        if place != owner {
            let empty = holds_within(LIMIT, || {
                let client = &mut server.connect();
                let lines: Vec<String> = (0..=LAST).map(|slot| format!("CLUSTER COUNTKEYSINSLOT {slot}")).collect();
                client.pipeline(&lines).iter().all(|reply| reply.value.integer() == 0)
            });
            assert!(empty, "node {place} has keys of slots that node {owner} serves");
        }
    }
}

fn goes_wrong_at(word: &str, stop: Stop, nodes: &[Proxied; 3], seed: u64) {
    let from = owner(nodes);
    let to = (from + 1) % 3;
    println!("{word} {stop:?} from {from} to {to}");
    let load = Load::begin(&servers(nodes), &tags(0, LAST, 6), seed);
    std::thread::sleep(Duration::from_millis(50));
    nodes[to].proxy.stop_at(word, stop);
    begin_move(servers(nodes)[from], servers(nodes)[to], 0, LAST);
    assert!(holds_within(LIMIT, || nodes[to].proxy.has_struck()), "{word} is not said");
    let ended = holds_within(LIMIT, || is_over(&last_job(servers(nodes)[from], "state")));
    assert!(ended, "the source does not come to an end: {}", last_job(servers(nodes)[from], "state"));
    std::thread::sleep(Duration::from_millis(50));
    check_settled(nodes);
    load.end();
}

#[test]
fn a_link_that_is_cut_at_any_word_loses_and_doubles_nothing() {
    let nodes = three();
    for (seed, word) in WORDS.into_iter().enumerate() {
        goes_wrong_at(word, Stop::CutBefore, &nodes, seed as u64);
        goes_wrong_at(word, Stop::CutBehind, &nodes, seed as u64 + 100);
    }
}

/// Kills one end while a word is on its way to the other, and starts it again.
fn an_end_is_killed_at(word: &str, kills_source: bool, nodes: &mut [Proxied; 3], seed: u64) {
    let from = owner(nodes);
    let to = (from + 1) % 3;
    println!("{word} kills_source: {kills_source} from {from} to {to}");
    let load = Load::begin(&servers(nodes), &tags(0, LAST, 6), seed);
    std::thread::sleep(Duration::from_millis(50));
    nodes[to].proxy.stop_at(word, Stop::HoldBefore);
    begin_move(servers(nodes)[from], servers(nodes)[to], 0, LAST);
    assert!(holds_within(LIMIT, || nodes[to].proxy.has_struck()), "{word} is not said");
    let victim = if kills_source { from } else { to };
    nodes[victim].server.signal(Signal::SIGKILL);
    nodes[victim].server.wait_for_exit();
    // What was under way to the other end arrives.
    nodes[to].proxy.release();
    nodes[victim].server.restart();
    wait_until_loaded(&nodes[victim].server);
    check_settled(nodes);
    std::thread::sleep(Duration::from_millis(50));
    assert!(load.goes_on());
    load.end();
}

#[test]
fn a_source_that_is_killed_at_any_word_comes_back_with_its_slots_or_without() {
    let mut nodes = three();
    for (seed, word) in WORDS.into_iter().enumerate() {
        an_end_is_killed_at(word, true, &mut nodes, seed as u64);
    }
}

#[test]
fn a_target_that_is_killed_at_any_word_comes_back_with_the_slots_or_without_their_keys() {
    let mut nodes = three();
    for (seed, word) in WORDS.into_iter().enumerate() {
        an_end_is_killed_at(word, false, &mut nodes, seed as u64);
    }
}

#[test]
fn a_target_that_never_comes_back_is_not_waited_for_longer_than_for_a_failed_node() {
    let mut nodes = three();
    let load = Load::begin(&[&nodes[0].server], &tags(0, LAST, 3), 1);
    nodes[1].proxy.stop_at("FAILOVER-GRANTED", Stop::CutBefore);
    let id = id_of(&nodes[1].server);
    let require = "CONFIG SET cluster-require-full-coverage no";
    nodes.iter().for_each(|node| _ = node.server.connect().must(require));
    begin_move(&nodes[0].server, &nodes[1].server, 0, LAST);
    assert!(holds_within(LIMIT, || nodes[1].proxy.has_struck()));
    nodes[1].server.signal(Signal::SIGKILL);
    nodes[1].server.wait_for_exit();
    assert!(holds_within(LIMIT, || last_job(&nodes[0].server, "state") == "failed"));
    let fails =
        || lines(&mut nodes[0].server.connect()).iter().any(|line| line.id == id && line.flags.contains("fail"));
    assert!(fails() || last_job(&nodes[0].server, "message").contains("in time"));
    std::thread::sleep(Duration::from_millis(50));
    assert!(load.goes_on() && load.end() > 0);
    nodes[1].server.restart();
    check_settled(&nodes);
    assert_eq!(owner(&nodes), 0);
}

#[test]
fn a_target_that_restarts_with_a_snapshot_drops_what_had_come() {
    let mut nodes = [(); 3].map(|()| proxied(&["--save", "3600 1"]));
    join(&servers(&nodes));
    let tags = tags(0, LAST, 10);
    for tag in &tags {
        nodes[0].server.connect().must(&format!("SET {tag} 1"));
    }
    nodes[1].proxy.stop_at("SNAPSHOT-EOF", Stop::HoldBefore);
    begin_move(&nodes[0].server, &nodes[1].server, 0, LAST);
    assert!(holds_within(LIMIT, || nodes[1].proxy.has_struck()));
    nodes[1].server.stop(); // saves
    nodes[1].proxy.release();
    nodes[1].server.restart();
    wait_until_loaded(&nodes[1].server);
    check_settled(&nodes);
    assert!(!nodes[1].server.connect().must("CLUSTER NODES").text().contains("-<-"));
    assert_eq!(moves(&nodes[0].server, &nodes[1].server, 0, LAST), "success");
    assert_eq!(nodes[1].server.connect().must("DBSIZE").integer(), 10);
}

/// Moves that go wrong in ways that the seed decides.
#[test]
fn random_schedules_lose_and_double_nothing() {
    let count = number_from_env("SLOTCORE_TEST_SCHEDULES", 6);
    let first = number_from_env("SLOTCORE_TEST_SEED", 1);
    let mut nodes = three();
    for seed in first..first + count {
        let mut random = Random::new(seed);
        let from = owner(&nodes);
        let to = (from + 1 + random.index(2)) % 3;
        let word = *random.pick(&WORDS.each_ref());
        let stop = [Stop::CutBefore, Stop::CutBehind, Stop::HoldBefore, Stop::HoldBefore][random.index(4)];
        let what = random.below(7);
        println!("seed {seed}: {word} {stop:?} from {from} to {to}, then {what}");
        let load = Load::begin(&servers(&nodes), &tags(0, LAST, 6), seed);
        std::thread::sleep(Duration::from_millis(random.below(60)));
        nodes[to].proxy.stop_at(word, stop);
        begin_move(&nodes[from].server, &nodes[to].server, 0, LAST);
        assert!(holds_within(LIMIT, || nodes[to].proxy.has_struck()), "{word} is not said");
        std::thread::sleep(Duration::from_millis(random.below(30)));
        match what {
            0 => kill_and_restart(&mut nodes[from].server),
            1 => kill_and_restart(&mut nodes[to].server),
            2 => kill_and_restart(&mut nodes[3 - from - to].server),
            3 => drop(nodes[from].server.connect().line("CLUSTER CANCELSLOTMIGRATIONS")),
            4 => {
                let victim = &nodes[[from, to][random.index(2)]].server;
                victim.signal(Signal::SIGSTOP);
                std::thread::sleep(Duration::from_millis(random.below(2500)));
                victim.signal(Signal::SIGCONT);
            }
            5 => std::thread::sleep(Duration::from_millis(random.below(1500))),
            _ => {}
        }
        nodes[to].proxy.release();
        check_settled(&nodes);
        assert!(load.goes_on());
        let writes = load.end();
        println!("seed {seed}: {writes} writes, node {} has the slots", owner(&nodes));
    }
}
