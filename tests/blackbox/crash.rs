//! kill -9 at random moments under load: what was acknowledged is there after the restart, and no transaction is there by
//! half.
//!
//! `SLOTCORE_CRASH_ROUNDS` is the number of rounds for each policy of `appendfsync`: a few where it is not set, 200 take about
//! ten minutes, most of them with `everysec`, whose rounds are the longest.
//! A killed process leaves to the kernel what it has written, so that these rounds show what is written when, and
//! what a restart makes of files that end anywhere. That replies wait for the fsync itself is shown in `append_only`.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::client::encode;
use crate::support::random::Random;
use crate::support::{Client, Kind, Server, Value, holds_within, number_from_env};

/// Clients that write at the same time, each to slots of its own.
const WRITERS: usize = 4;
/// What `everysec` may lose: a second, and the fsync that is under way.
const EVERY_SECOND_LOSES: Duration = Duration::from_millis(1500);

/// What one writer knows of its keys: `set:{tag}` counts up by SET, `a:{tag}` and `b:{tag}` by one transaction, `list:{tag}`
/// grows by its own length.
#[derive(Clone, Default)]
struct Known {
    /// The last number sent, for each of the three.
    sent: [u64; 3],
    /// Numbers acknowledged, and when.
    acknowledged: [Vec<(Instant, u64)>; 3],
}

impl Known {
    /// The least number that must be there when the server was killed at `killed` and may have lost so much.
    fn least(&self, what: usize, killed: Instant, loses: Duration) -> u64 {
        let old_enough = |(at, _): &&(Instant, u64)| killed.saturating_duration_since(*at) >= loses;
        self.acknowledged[what].iter().filter(old_enough).map(|(_, number)| *number).max().unwrap_or(0)
    }

    /// What was found after the restart is where the next round goes on.
    fn goes_on_from(found: [u64; 3], at: Instant) -> Known {
        Known { sent: found, acknowledged: found.map(|number| vec![(at, number)]) }
    }
}

/// Writes until the server is gone.
fn write(mut client: Client, tag: &str, mut known: Known, mut random: Random) -> Known {
    let requests = |what: usize, number: u64| match what {
        0 => vec![vec!["SET".to_owned(), format!("set:{{{tag}}}"), number.to_string()]],
        1 => vec![
            vec!["MULTI".to_owned()],
            vec!["SET".to_owned(), format!("a:{{{tag}}}"), number.to_string()],
            vec!["SET".to_owned(), format!("b:{{{tag}}}"), number.to_string()],
            vec!["EXEC".to_owned()],
        ],
        _ => vec![vec!["RPUSH".to_owned(), format!("list:{{{tag}}}"), number.to_string()]],
    };
    loop {
        let what = random.index(3);
        let burst = 1 + random.below(8);
        let (mut bytes, mut replies) = (Vec::new(), 0);
        for number in known.sent[what] + 1..=known.sent[what] + burst {
            let requests = requests(what, number);
            replies = requests.len();
            requests.iter().for_each(|request| bytes.extend(encode(request)));
        }
        let first = known.sent[what] + 1;
        known.sent[what] += burst;
        if client.try_send(&bytes).is_err() {
            return known;
        }
        for number in first..first + burst {
            for _ in 0..replies {
                match client.try_read() {
                    Ok(reply) => assert!(!reply.is_error(), "{reply}"),
                    Err(_) => return known,
                }
            }
            known.acknowledged[what].push((Instant::now(), number));
        }
    }
}

/// What is there after the restart, checked against what must and may be there.
fn check(client: &mut Client, tag: &str, known: &Known, killed: Instant, loses: Duration) -> [u64; 3] {
    let mut number = |line: String| -> u64 {
        let reply = client.line(&line);
        match &reply.value {
            Value::Integer(number) => u64::try_from(*number).expect("a length"),
            _ if reply.is_nil() => 0,
            _ => reply.text().parse().unwrap_or_else(|_| panic!("{line}: {reply}")),
        }
    };
    let set = number(format!("GET set:{{{tag}}}"));
    let (a, b) = (number(format!("GET a:{{{tag}}}")), number(format!("GET b:{{{tag}}}")));
    let length = number(format!("LLEN list:{{{tag}}}"));
    let last = number(format!("LINDEX list:{{{tag}}} -1"));
    assert_eq!(a, b, "{tag}: a transaction is there by half");
    assert_eq!(length, last, "{tag}: a list has lost an element in the middle, or has one twice");
    let found = [set, a, length];
    for (what, found) in found.iter().enumerate() {
        let least = known.least(what, killed, loses);
        assert!(*found >= least, "{tag}: of the {what}. kind {found} is there, {least} was acknowledged");
        assert!(
            *found <= known.sent[what],
            "{tag}: of the {what}. kind {found} is there, {} was sent",
            known.sent[what]
        );
    }
    found
}

fn rounds(policy: &str, loses: Duration, round_ms: std::ops::Range<u64>, count: u64) {
    let seed = number_from_env("SLOTCORE_CRASH_SEED", u64::from(std::process::id()));
    println!("{policy}: SLOTCORE_CRASH_SEED={seed} SLOTCORE_CRASH_ROUNDS={count}");
    let mut random = Random::new(seed);
    let args = ["--appendonly", "yes", "--appendfsync", policy, "--cluster-enabled", "yes"];
    for kind in [Kind::Slotcore, Kind::Redis] {
        // A few against redis-server, so that what is checked is right.
        let count = if kind.is_slotcore() { count } else { count.min(3) };
        let mut server = Server::start(kind, &args);
        let mut client = server.connect();
        client.must("CLUSTER ADDSLOTSRANGE 0 16383");
        wait_for_slots(&mut client);
        let tags: Vec<String> = (0..WRITERS).map(|writer| format!("writer-{writer}")).collect();
        let mut known = vec![Known::default(); WRITERS];
        for round in 0..count {
            if round % 3 == 2 {
                // A rewrite may be under way when the end comes.
                let _ = client.line("BGREWRITEAOF");
            }
            let killed;
            (known, killed) = thread::scope(|scope| {
                let writers: Vec<_> = tags
                    .iter()
                    .zip(&known)
                    .map(|(tag, known)| {
                        let (client, random) = (server.connect(), Random::new(random.next()));
                        let known = known.clone();
                        scope.spawn(move || write(client, tag, known, random))
                    })
                    .collect();
                thread::sleep(Duration::from_millis(round_ms.start + random.below(round_ms.end - round_ms.start)));
                let killed = Instant::now();
                server.signal(Signal::SIGKILL);
                let known = writers.into_iter().map(|writer| writer.join().expect("a writer")).collect();
                (known, killed)
            });
            server.wait_for_exit();
            server.restart();
            client = server.connect();
            wait_until_loaded(&mut client);
            wait_for_slots(&mut client);
            let found = tags.iter().zip(&known).map(|(tag, known)| check(&mut client, tag, known, killed, loses));
            known = found.map(|found| Known::goes_on_from(found, killed)).collect();
        }
    }
}

fn wait_for_slots(client: &mut Client) {
    let ok = || client.line("CLUSTER INFO").text().contains("cluster_state:ok");
    assert!(holds_within(Duration::from_secs(20), ok), "the cluster does not come up");
}

fn wait_until_loaded(client: &mut Client) {
    let loaded = || client.info_number("loading") == 0;
    assert!(holds_within(Duration::from_secs(20), loaded), "the data are not loaded");
}

/// Rounds of one policy: as many as are asked for, or so few.
fn rounds_wanted(default: u64) -> u64 {
    number_from_env("SLOTCORE_CRASH_ROUNDS", default)
}

#[test]
fn with_always_everything_acknowledged_survives_a_kill() {
    rounds("always", Duration::ZERO, 10..250, rounds_wanted(10));
}

#[test]
fn with_everysec_what_a_kill_takes_is_younger_than_a_second() {
    rounds("everysec", EVERY_SECOND_LOSES, 10..2500, rounds_wanted(3));
}

#[test]
fn without_fsync_a_kill_leaves_whole_transactions() {
    rounds("no", EVERY_SECOND_LOSES, 10..250, rounds_wanted(10));
}
