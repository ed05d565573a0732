//! `slots-rebalance yes`: slots that have much to do change their core by themselves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::super::moving::{slot_of, tags};
use super::load::Writer;
use super::{alone, core_of, has_several_cores};
use crate::support::random::Random;
use crate::support::{Client, Server, holds_within};

/// A period is a second; more may pass on a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(60);
const HOT: usize = 6;

/// Ends the load, also when an assertion fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn slot_of_tag(tag: &str) -> u16 {
    slot_of(tag.trim_matches(['{', '}']))
}

fn relocated(client: &mut Client) -> i64 {
    client.info_number("slots_relocated")
}

/// Tags whose slots are all on core 0.
fn tags_of_one_core(client: &mut Client) -> Vec<String> {
    let all = tags(0, 16383, 40 * HOT);
    let mut on_first = all.into_iter().filter(|tag| core_of(client, slot_of_tag(tag)) == 0);
    let found: Vec<String> = on_first.by_ref().take(HOT).collect();
    assert_eq!(found.len(), HOT);
    found
}

/// Keeps the owners of these tags busy, and nobody else much.
fn heat(server: &Server, tags: &[String], stop: &AtomicBool) {
    let mut client = server.connect();
    let lines: Vec<String> = tags.iter().cycle().take(10 * HOT).map(|tag| format!("BITCOUNT {tag}bits")).collect();
    while !stop.load(Ordering::Relaxed) {
        client.pipeline(&lines);
    }
}

#[test]
fn hot_slots_of_one_core_spread_by_themselves_and_nothing_is_lost() {
    if !has_several_cores() {
        return;
    }
    let server = alone(&["--appendonly", "yes"]);
    let client = &mut server.connect();
    let tags = tags_of_one_core(client);
    tags.iter().for_each(|tag| _ = client.must(&format!("SETBIT {tag}bits 4000000 1")));
    let mut writers: Vec<Writer> = tags.iter().cloned().map(Writer::new).collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let ends = Ends(&stop);
        for (number, writer) in writers.iter_mut().enumerate() {
            let (mut client, stop) = (server.connect(), &stop);
            scope.spawn(move || writer.run(&mut client, &mut Random::new(number as u64), stop));
        }
        scope.spawn(|| heat(&server, &tags, &stop));
        // Off by default: nothing moves, however long it is.
        let commands = |client: &mut Client| client.info_number("total_commands_processed");
        let before = commands(client);
        assert!(holds_within(SOON, || commands(client) > before + 5000));
        assert_eq!(relocated(client), 0);
        client.must("CONFIG SET slots-rebalance yes");
        let mut cores_of_tags = || {
            let cores = tags.iter().map(|tag| core_of(client, slot_of_tag(tag)));
            cores.collect::<Vec<_>>()
        };
        let spread = holds_within(SOON, || cores_of_tags().iter().any(|core| *core != 0));
        drop(ends);
        assert!(spread, "all stay on core 0");
        assert!(relocated(client) > 0);
        client.must("CONFIG SET slots-rebalance no");
    });
    writers.iter().for_each(|writer| writer.check(client));
}

#[test]
fn a_slot_that_is_hot_alone_stays_and_quiet_ones_are_not_moved() {
    if !has_several_cores() {
        return;
    }
    let server = alone(&["--slots-rebalance", "yes"]);
    let client = &mut server.connect();
    let tag = tags_of_one_core(client).remove(0);
    client.must(&format!("SETBIT {tag}bits 4000000 1"));
    let stop = AtomicBool::new(false);
    let hot = std::slice::from_ref(&tag);
    thread::scope(|scope| {
        let _ends = Ends(&stop);
        scope.spawn(|| heat(&server, hot, &stop));
        // What moves cores between two looks is seen in how long core 0 has been at it: several periods.
        let busy_s = |client: &mut Client| {
            client.info("used_cpu_user_main_thread").and_then(|text| text.parse::<f64>().ok()).expect("seconds")
        };
        let before = busy_s(client);
        let worked = holds_within(SOON, || busy_s(client) > before + 4.0);
        assert!(worked, "core 0 is not kept busy");
    });
    assert_eq!(core_of(client, slot_of_tag(&tag)), 0);
    assert_eq!(relocated(client), 0);
}
