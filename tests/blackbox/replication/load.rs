//! Writers that keep a node busy until they are told to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::requests;
use crate::support::client::encode;
use crate::support::random::Random;
use crate::support::{Client, Server};

/// Connections that write.
const WRITERS: u64 = 3;
const BATCH_MAX: u64 = 25;
/// Requests that wait are served by the writers, mostly; this is how long they wait otherwise.
const WAITS: &[&str] = &[
    "BLPOP <l> <l> <l> 0.1",
    "BLMOVE <l> <l> LEFT RIGHT 0.1",
    "BLMPOP 0.1 3 <l> <l> <l> LEFT COUNT 3",
    "BZPOPMIN <z> <z> 0.1",
    "BZMPOP 0.1 2 <z> <z> MAX COUNT 2",
    "XREADGROUP GROUP g1 c2 BLOCK 100 STREAMS <x> >",
    "BRPOP wait:l 0.1",
    "BLMOVE wait:l wait:m RIGHT LEFT 0.1",
];
/// No load lasts longer, whatever becomes of the test that started it.
const LOAD_LIMIT: Duration = Duration::from_secs(3600);

/// Requests behind all others: none of them takes a whole database away.
const LAST_REQUESTS: usize = 200;

/// A load in progress; dropped, it ends.
pub struct Load {
    ends: Arc<AtomicBool>,
    writers: Vec<JoinHandle<u64>>,
    /// Who writes when the writers have ended.
    last: (Client, Random),
}

impl Load {
    /// Starts writers, and one connection that waits for what they bring.
    pub fn start(server: &Server, seed: u64) -> Load {
        let ends = Arc::new(AtomicBool::new(false));
        let mut random = Random::new(seed);
        let writers = (0..=WRITERS)
            .map(|number| {
                let (client, random, ends) = (server.connect(), Random::new(random.next()), ends.clone());
                std::thread::spawn(move || match number {
                    0 => wait(client, random, &ends),
                    _ => write(client, random, &ends),
                })
            })
            .collect();
        Load { ends, writers, last: (server.connect(), random) }
    }

    /// Lets it go on for so long.
    pub fn last(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Ends the load, whose last request may have been FLUSHALL, with keys to compare; the number of requests that were
    /// answered.
    pub fn finish(mut self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        let count = self.writers.drain(..).map(|writer| writer.join().expect("a writer")).sum();
        assert!(count > 100, "{count} requests are no load");
        let (client, random) = &mut self.last;
        let requests: Vec<_> = (0..LAST_REQUESTS).map(|_| requests::next_that_leaves_the_rest(random)).collect();
        pass(client, &requests);
        count
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for writer in self.writers.drain(..) {
            let _ = writer.join();
        }
    }
}

fn goes_on(ends: &AtomicBool, since: Instant) -> bool {
    !ends.load(Ordering::Relaxed) && since.elapsed() < LOAD_LIMIT
}

fn write(mut client: Client, mut random: Random, ends: &AtomicBool) -> u64 {
    let (since, mut count) = (Instant::now(), 0);
    while goes_on(ends, since) {
        if random.below(40) == 0 {
            restore(&mut client, &mut random);
        }
        let mut batch: Vec<Vec<Vec<u8>>> =
            (0..1 + random.below(BATCH_MAX)).map(|_| requests::next(&mut random)).collect();
        if random.chance(25) {
            batch.insert(0, vec![b"MULTI".to_vec()]);
            batch.push(vec![if random.chance(95) { b"EXEC".to_vec() } else { b"DISCARD".to_vec() }]);
        }
        if random.chance(20) {
            batch.push(vec![b"RPUSH".to_vec(), b"wait:l".to_vec(), b"served".to_vec()]);
        }
        pass(&mut client, &batch);
        count += batch.len() as u64;
    }
    count
}

/// Sends the requests in one piece and looks at the replies.
fn pass(client: &mut Client, requests: &[Vec<Vec<u8>>]) {
    client.send(&requests.iter().flat_map(|request| encode(request)).collect::<Vec<u8>>());
    for request in requests {
        let reply = client.read();
        assert!(!is_unexpected(&reply.to_string()), "{}: {reply}", crate::support::aof::shown(request));
    }
}

/// A load may meet keys of another type and the like, but no request is wrong, and no primary refuses writes.
fn is_unexpected(reply: &str) -> bool {
    ["-ERR unknown", "-ERR syntax", "-ERR wrong number", "-READONLY", "-MISCONF", "-LOADING", "-OOM", "-MASTERDOWN"]
        .iter()
        .any(|start| reply.starts_with(start))
}

/// A key made from the payload of another, with an expiry or without.
fn restore(client: &mut Client, random: &mut Random) {
    let from = requests::fill(random, "DUMP <any>");
    let payload = client.cmd(&from);
    if payload.is_nil() || payload.is_error() {
        return;
    }
    let mut words = requests::fill(random, "RESTORE <any> {0|<rel_ms>|<far_rel>} payload REPLACE");
    words[3] = payload.bytes().to_vec();
    client.cmd(&words);
}

fn wait(mut client: Client, mut random: Random, ends: &AtomicBool) -> u64 {
    let (since, mut count) = (Instant::now(), 0);
    while goes_on(ends, since) {
        let template = random.pick(WAITS);
        client.cmd(&requests::fill(&mut random, template));
        count += 1;
    }
    count
}
