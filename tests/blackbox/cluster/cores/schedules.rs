//! Random schedules: slots hop from core to core under load, while snapshots and rewrites are made and a replica follows, until the node is
//! stopped or killed. `SLOTCORE_CORES_SEED` repeats one, `SLOTCORE_CORES_ROUNDS` is how many there are, `SLOTCORE_CORES_MS` how long each.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::super::moving::{slot_of, tags};
use super::super::nodes::{LIMIT, meet, node, replicate, wait_until_linked};
use super::load::Writer;
use super::{alone, has_several_cores, start_again};
use crate::support::random::Random;
use crate::support::{Client, Kind, Server, Value, holds_within, number_from_env, server};

const WRITERS: usize = 4;
/// Keys that nobody changes, in the slots that hop.
const STEADY: usize = 300;

/// What one schedule has beside the load.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// `appendfsync`; none without append-only files.
    policy: Option<&'static str>,
    has_replica: bool,
    saves: bool,
    kills: bool,
}

impl Plan {
    fn draw(random: &mut Random) -> Plan {
        let policy = *random.pick(&[&None, &Some("always"), &Some("everysec")]);
        Plan { policy, has_replica: random.chance(40), saves: random.chance(70), kills: policy == Some("always") }
    }
}

#[test]
fn nothing_is_lost_or_doubled_while_slots_hop() {
    if !has_several_cores() {
        return;
    }
    let first = number_from_env("SLOTCORE_CORES_SEED", u64::from(std::process::id()));
    for seed in first..first + number_from_env("SLOTCORE_CORES_ROUNDS", 4) {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random);
        println!("SLOTCORE_CORES_SEED={seed}: {plan:?}");
        schedule(seed, &mut random, plan);
    }
}

fn schedule(seed: u64, random: &mut Random, plan: Plan) {
    let mut args = vec!["--notify-keyspace-events", "E$"];
    if let Some(policy) = plan.policy {
        args.extend(["--appendonly", "yes", "--appendfsync", policy]);
    }
    let mut server = alone(&args);
    let mut replica = None;
    if plan.has_replica {
        let follower = node(Kind::Slotcore, &[]);
        meet(&server, &[&follower]);
        replicate(&[&server, &follower], &follower, &server);
        wait_until_linked(&follower);
        replica = Some(follower);
    }
    let tags = tags(0, 16383, WRITERS + 1);
    let steady: Vec<String> = (0..STEADY).map(|n| format!("SET {}steady:{n} {n}", tags[n % tags.len()])).collect();
    server.connect().pipeline(&steady);
    let mut writers: Vec<Writer> = tags[..WRITERS].iter().cloned().map(Writer::new).collect();
    let stop = AtomicBool::new(false);
    let hops = AtomicU64::new(0);
    let listener = listener(&server);
    thread::scope(|scope| {
        for writer in &mut writers {
            let (mut client, mut random, stop) = (server.connect(), Random::new(random.next()), &stop);
            scope.spawn(move || writer.run(&mut client, &mut random, stop));
        }
        let (mut taker, mut giver, tag) = (server.connect(), server.connect(), &tags[WRITERS]);
        let (stop, hops) = (&stop, &hops);
        scope.spawn(move || queue_gives(&mut giver, tag, stop));
        scope.spawn(move || queue_takes(&mut taker, tag));
        scope.spawn(move || events_come_in_order(listener, stop));
        let looker = server.connect();
        scope.spawn(move || steady_keys_are_there(looker, stop));
        let (mut client, mut hopping) = (server.connect(), Random::new(random.next()));
        let slots: Vec<u16> = tags.iter().map(|tag| slot_of(tag.trim_matches(['{', '}']))).collect();
        scope.spawn(move || hop_about(&mut client, &slots, &mut hopping, stop, hops));
        disturb(&server, random, plan);
        if plan.kills {
            server.signal(Signal::SIGKILL);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let units: usize = writers.iter().map(Writer::units).sum();
    println!("  {units} units, {} hops", hops.load(Ordering::Relaxed));
    assert!(hops.load(Ordering::Relaxed) > 0, "seed {seed}: nothing has moved");
    if plan.kills {
        server.wait_for_exit();
        drop(start_again(&mut server));
    }
    let client = &mut server.connect();
    writers.iter().for_each(|writer| writer.check(client));
    let gone = holds_within(LIMIT, || count(client, "*x:*") == 0);
    assert!(gone, "seed {seed}: keys do not expire");
    if let Some(replica) = replica.filter(|_| !plan.kills) {
        client.must("SET last 1");
        assert_eq!(client.must("WAIT 1 20000").integer(), 1);
        let digest = |client: &mut Client| client.must("DEBUG DIGEST").text();
        let same = holds_within(LIMIT, || digest(&mut replica.connect()) == digest(client));
        assert!(same, "seed {seed}: the replica has something else");
    }
    if plan.policy.is_some() && !plan.kills {
        let before = client.must("DEBUG DIGEST").text();
        client.must("DEBUG LOADAOF");
        assert_eq!(client.must("DEBUG DIGEST").text(), before, "seed {seed}: the files have something else");
    }
}

fn count(client: &mut Client, pattern: &str) -> usize {
    client.must(&format!("KEYS {pattern}")).items().len()
}

/// Snapshots and rewrites, for as long as a schedule lasts.
fn disturb(server: &Server, random: &mut Random, plan: Plan) {
    let ends = Instant::now() + Duration::from_millis(number_from_env("SLOTCORE_CORES_MS", 1500));
    let client = &mut server.connect();
    while Instant::now() < ends {
        if plan.saves {
            // One of another kind may be under way.
            client.line(random.pick(&["BGSAVE", "BGREWRITEAOF", "INFO persistence"]));
        }
        thread::sleep(Duration::from_millis(20 + random.below(100)));
    }
}

fn hop_about(client: &mut Client, slots: &[u16], random: &mut Random, stop: &AtomicBool, hops: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let (slot, to) = (slots[random.index(slots.len())], random.below(server::cores()));
        let line = format!("DEBUG SLOT-CORE {slot} {to}");
        if client.try_send(&crate::support::client::encode(&crate::support::client::split_line(&line))).is_err() {
            return;
        }
        let Ok(reply) = client.try_read() else { return };
        assert_eq!(reply.to_string(), "+OK", "{line}");
        hops.fetch_add(1, Ordering::Relaxed);
        if random.chance(30) {
            thread::sleep(Duration::from_millis(random.below(4)));
        }
    }
}

/// Numbers go into a list in order; the last one is 0.
fn queue_gives(client: &mut Client, tag: &str, stop: &AtomicBool) {
    let mut number = 0u64;
    loop {
        number = if stop.load(Ordering::Relaxed) { 0 } else { number + 1 };
        let line = format!("RPUSH {tag}queue {number}");
        let bytes = crate::support::client::encode(&crate::support::client::split_line(&line));
        if client.try_send(&bytes).is_err() || client.try_read().is_err() || number == 0 {
            return;
        }
    }
}

/// They come out in the same order, whoever has waited where.
fn queue_takes(client: &mut Client, tag: &str) {
    let line = format!("BLPOP {tag}queue 0");
    let bytes = crate::support::client::encode(&crate::support::client::split_line(&line));
    let mut last = 0;
    while client.try_send(&bytes).is_ok()
        && let Ok(reply) = client.try_read()
    {
        let number: u64 = reply.value.items()[1].text().parse().expect("a number");
        if number == 0 {
            return;
        }
        assert_eq!(number, last + 1, "the queue of {tag}");
        last = number;
    }
}

fn listener(server: &Server) -> Client {
    let mut client = server.connect();
    client.set_read_timeout(Duration::from_millis(200));
    client.must("SUBSCRIBE __keyevent@0__:set");
    client
}

/// The keys `{tag}x:1`, `{tag}x:2` and so on are set in their order: so must the events come.
fn events_come_in_order(mut client: Client, stop: &AtomicBool) {
    let mut last: std::collections::HashMap<String, u64> = Default::default();
    loop {
        let reply = match client.try_read() {
            Ok(reply) => reply,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                continue;
            }
            Err(_) => return,
        };
        let Value::Array(items) = &reply.value else { continue };
        let key = items[2].text();
        let Some((tag, number)) = key.split_once("x:") else { continue };
        let number: u64 = number.parse().expect("a number");
        let before = last.insert(tag.to_owned(), number).unwrap_or(0);
        assert_eq!(number, before + 1, "events of {tag}");
    }
}

/// Keys that nobody changes are found by every walk over all keys, once by KEYS.
fn steady_keys_are_there(mut client: Client, stop: &AtomicBool) {
    let ask = |client: &mut Client, line: &str| {
        client.try_send(&crate::support::client::encode(&crate::support::client::split_line(line))).ok()?;
        client.try_read().ok()
    };
    while !stop.load(Ordering::Relaxed) {
        let Some(reply) = ask(&mut client, "KEYS *steady:*") else { return };
        assert_eq!(reply.value.items().len(), STEADY, "KEYS");
        let (mut seen, mut cursor) = (std::collections::BTreeSet::new(), "0".to_owned());
        loop {
            let Some(reply) = ask(&mut client, &format!("SCAN {cursor} MATCH *steady:* COUNT 50")) else { return };
            seen.extend(reply.value.items()[1].items().iter().map(Value::text));
            cursor = reply.value.items()[0].text();
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), STEADY, "SCAN");
    }
}
