//! The journal: slotcore writes to its append-only file what redis-server writes for the same requests, command by command.
//!
//! Cases are in `cases`, by family. Each runs on a redis-server and on slotcore with one core, which both append to their
//! files, and what stands there afterwards is compared. `replay` shows that a journal of random requests makes the same
//! data again.

mod cases;
mod replay;

use std::time::Duration;

use crate::support::aof::{self, Words};
use crate::support::{Client, Server, holds_within};

/// Requests and what they leave in the journal.
pub struct Case {
    pub name: &'static str,
    /// Requests, with `;` between them. `DEBUG` and the like are requests as others. `@1 request` goes over another connection, which
    /// waits for the reply only where `@1` stands alone. `?` waits until active expiry has left one key, that of the test.
    pub steps: &'static str,
    /// What is right where the redis-server of the test, 7.0, does otherwise, and why.
    pub unlike: Option<(&'static str, &'static str)>,
    /// What stands in SREM and DEL is drawn at random, or in an order of the server's own: only how many words they have is
    /// compared.
    pub draws: bool,
}

pub const fn case(name: &'static str, steps: &'static str) -> Case {
    Case { name, steps, unlike: None, draws: false }
}

/// A case in which the redis-server of the test is no model.
pub const fn unlike(name: &'static str, steps: &'static str, journal: &'static str, reason: &'static str) -> Case {
    Case { name, steps, unlike: Some((journal, reason)), draws: false }
}

/// A case in which members are drawn.
pub const fn draws(name: &'static str, steps: &'static str) -> Case {
    Case { name, steps, unlike: None, draws: true }
}

/// What both servers are started with.
pub const APPENDING: &[&str] = &[
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--auto-aof-rewrite-percentage",
    "0",
    "--enable-debug-command",
    "yes",
    "--stream-node-max-entries",
    "4",
];

const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// A slotcore that records, with one core: one file has all.
pub fn one_core(args: &[&str]) -> Server {
    Server::slotcore(&[APPENDING, &["--cores", "1"], args].concat())
}

/// What cases change, as it was.
const RESET: &[&str] = &[
    "CONFIG SET maxmemory 0 lazyfree-lazy-expire no lazyfree-lazy-server-del no lazyfree-lazy-eviction no",
    "DEBUG SET-ACTIVE-EXPIRE 0",
];

/// Runs the cases on both servers and compares what they wrote.
fn compare(cases: &[Case]) {
    let (ours, theirs) = (one_core(&[]), Server::redis(APPENDING));
    if !ours.kind.is_slotcore() {
        return; // a redis-server in slotcore's place knows no cores and was compared with itself
    }
    let (our_streams, their_streams) = (streams(&ours, cases), streams(&theirs, cases));
    let mut differences = Vec::new();
    for ((case, our), their) in cases.iter().zip(our_streams).zip(their_streams) {
        let (expected, reason) = match case.unlike {
            Some((journal, reason)) => (lines(journal), reason),
            None => (their, "redis-server"),
        };
        if !same(&our, &expected, case.draws) {
            let (our, expected) = (all_shown(&our), all_shown(&expected));
            differences.push(format!("--- {}\nslotcore:\n{our}\nexpected ({reason}):\n{expected}", case.name));
        }
    }
    assert!(differences.is_empty(), "{} cases differ\n{}", differences.len(), differences.join("\n"));
}

/// Runs the cases one after the other; what each has appended.
fn streams(server: &Server, cases: &[Case]) -> Vec<Vec<Words>> {
    let mut client = server.connect();
    client.must("DEBUG SET-ACTIVE-EXPIRE 0");
    client.must("SET case begin");
    for case in cases {
        run(server, case);
        client.must("SET case end");
        client.must("FLUSHALL");
        for line in RESET {
            client.must(line);
        }
        client.must("SET case begin");
    }
    client.must("SET all done");
    let commands = aof::commands_up_to(server, &["SET", "all", "done"]);
    let (begin, end) = (lines("SET case begin"), lines("SET case end"));
    let parts: Vec<&[Words]> = commands.split(|command| *command == begin[0]).skip(1).collect();
    let streams = parts.iter().take(cases.len()).map(|part| {
        let part = part.split(|command| *command == end[0]).next().unwrap_or_default();
        part.to_vec()
    });
    streams.collect()
}

/// Connections begin in database 0, which is selected when a case begins.
fn run(server: &Server, case: &Case) {
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    let mut waiting = 0;
    for step in case.steps.split(';').map(str::trim).filter(|step| !step.is_empty()) {
        if step == "?" {
            let left = || server.connect().must("DBSIZE").integer();
            assert!(holds_within(WAIT_LIMIT, || left() == 1), "{}: {} keys are there", case.name, left());
            continue;
        }
        let Some(other) = step.strip_prefix('@') else {
            clients[0].line(step);
            continue;
        };
        let (number, request) = other.split_once(' ').unwrap_or((other, ""));
        let client = &mut clients[number.parse::<usize>().expect("the number of a connection")];
        if request.is_empty() {
            client.read();
            waiting -= 1;
            continue;
        }
        client.send(&crate::support::client::encode(&crate::support::client::split_line(request)));
        waiting += 1;
        let is_blocked = || server.connect().info_number("blocked_clients") == waiting;
        assert!(holds_within(WAIT_LIMIT, is_blocked), "{}: {step} does not wait", case.name);
    }
}

fn lines(text: &str) -> Vec<Words> {
    text.split(';').map(str::trim).filter(|line| !line.is_empty()).map(crate::support::client::split_line).collect()
}

fn all_shown(commands: &[Words]) -> String {
    commands.iter().map(|words| format!("    {}", aof::shown(words))).collect::<Vec<_>>().join("\n")
}

fn same(ours: &[Words], theirs: &[Words], draws: bool) -> bool {
    let same_words = |(our, their): (&Words, &Words)| {
        let drawn_from = match their.first().map(Vec::as_slice) {
            Some(b"SREM") if draws => 2,
            Some(b"DEL") if draws => 1,
            _ => usize::MAX,
        };
        let same_words = our.iter().zip(their).take(drawn_from).all(|(our, their)| same_word(our, their));
        our.len() == their.len() && same_words
    };
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(same_words)
}

/// The same bytes, or two times, as milliseconds or stream ids, that are not far apart.
fn same_word(our: &[u8], their: &[u8]) -> bool {
    const APART_MS: u64 = 5000;
    const EARLIEST_MS: u64 = 1_000_000_000_000;
    let time = |word: &[u8]| {
        let text = std::str::from_utf8(word).ok()?;
        let (ms, rest) = text.split_once('-').unwrap_or((text, ""));
        let ms = ms.parse::<u64>().ok().filter(|ms| *ms > EARLIEST_MS)?;
        Some((ms, rest.to_owned()))
    };
    let are_close = match (time(our), time(their)) {
        (Some((our, our_rest)), Some((their, their_rest))) => our.abs_diff(their) < APART_MS && our_rest == their_rest,
        _ => false,
    };
    our == their || are_close
}

#[test]
fn strings_and_times() {
    compare(cases::STRINGS);
}

/// Payloads of one server, so that both record the same bytes.
#[test]
fn restored_values() {
    let (ours, theirs) = (one_core(&[]), Server::redis(APPENDING));
    let mut peer = theirs.connect();
    peer.must("SET k v");
    let payload = peer.cmd(&["DUMP", "k"]).value.bytes().to_vec();
    peer.must("FLUSHALL");
    let streams = [&ours, &theirs].map(|server| {
        let mut client = server.connect();
        client.must("SET case begin");
        let mut restore = |line: &str| {
            let words = crate::support::client::split_line(line);
            let words: Words =
                words.into_iter().map(|word| if word == b"P" { payload.clone() } else { word }).collect();
            drop(client.cmd(&words));
        };
        for line in [
            "RESTORE a 0 P",
            "RESTORE a 0 P",
            "restore b 100000 P",
            "RESTORE b 100000 P REPLACE IDLETIME 5",
            "RESTORE c 33177117420000 P ABSTTL",
            "RESTORE none 1 P ABSTTL",
            "RESTORE c 1 P REPLACE ABSTTL",
            "RESTORE c 0 broken",
            "RESTORE a 1 P ABSTTL REPLACE",
            "SET all done",
        ] {
            restore(line);
        }
        let commands = aof::commands_up_to(server, &["SET", "all", "done"]);
        let begin = lines("SET case begin");
        commands.rsplit(|command| *command == begin[0]).next().unwrap_or_default().to_vec()
    });
    let [our, their] = streams;
    assert!(same(&our, &their, false), "slotcore:\n{}\nredis-server:\n{}", all_shown(&our), all_shown(&their));
    assert!(our.len() > 5, "{}", all_shown(&our));
}

#[test]
fn keys_and_databases() {
    compare(cases::KEYS);
}

#[test]
fn keys_that_expire_or_are_evicted() {
    compare(cases::GOING);
}

#[test]
fn lists_and_those_who_wait_for_them() {
    compare(cases::LISTS);
}

#[test]
fn hashes_sets_and_sorted_sets() {
    compare(cases::COLLECTIONS);
}

#[test]
fn streams_and_their_groups() {
    compare(cases::STREAMS);
}

#[test]
fn transactions() {
    compare(cases::TRANSACTIONS);
}
