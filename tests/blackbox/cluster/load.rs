//! Clients that write to a cluster while it changes, follow its redirections, and keep what was acknowledged; at the end all of it must
//! be there, once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::nodes::LIMIT;
use crate::support::client::encode;
use crate::support::random::Random;
use crate::support::{Client, Reply, Server};

/// Keys of each writer.
const KEYS: u64 = 150;
const PAUSE: Duration = Duration::from_millis(10);
/// Between two writes of a writer.
const BETWEEN: Duration = Duration::from_millis(1);

/// What is said by nodes that may do it in a moment, or know nobody who does.
const WAITS: &[&str] = &["-TRYAGAIN", "-CLUSTERDOWN", "-LOADING", "-MASTERDOWN", "-READONLY", "-OOM"];

/// A client of the whole cluster.
pub struct Routed {
    seeds: Vec<u16>,
    clients: HashMap<u16, Client>,
    /// Where keys were last.
    places: HashMap<String, u16>,
}

impl Routed {
    pub fn new(seeds: &[u16]) -> Routed {
        Routed { seeds: seeds.to_vec(), clients: HashMap::new(), places: HashMap::new() }
    }

    fn client(&mut self, port: u16) -> Option<&mut Client> {
        match self.clients.entry(port) {
            Entry::Occupied(entry) => Some(entry.into_mut()),
            Entry::Vacant(entry) => Some(entry.insert(Client::connect(&format!("127.0.0.1:{port}")).ok()?)),
        }
    }

    /// One try at one node; nothing when that is gone.
    fn ask(&mut self, port: u16, asking: bool, words: &[&str]) -> Option<Reply> {
        let mut bytes = if asking { encode(&["ASKING"]) } else { Vec::new() };
        bytes.extend(encode(words));
        let client = self.client(port)?;
        let mut reply = client.try_send(&bytes).and_then(|()| client.try_read());
        if asking && reply.is_ok() {
            reply = client.try_read();
        }
        if reply.is_err() {
            self.clients.remove(&port);
        }
        reply.ok()
    }

    /// Sends a request about the key to whoever serves it, until there is an answer that is none about the cluster. Only what may be
    /// done twice.
    pub fn cmd(&mut self, key: &str, words: &[&str]) -> Reply {
        let begun = Instant::now();
        let (mut turn, mut asking) = (0usize, false);
        let mut port = self.places.get(key).copied().unwrap_or(self.seeds[0]);
        let mut last = String::new();
        while begun.elapsed() < LIMIT {
            let reply = self.ask(port, std::mem::take(&mut asking), words);
            let text = reply.as_ref().map(Reply::to_string).unwrap_or_default();
            let to = || text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).expect("a port");
            if text.starts_with("-MOVED ") {
                port = to();
                self.places.insert(key.to_owned(), port);
            } else if text.starts_with("-ASK ") {
                (port, asking) = (to(), true);
            } else if let Some(reply) = reply.filter(|_| !WAITS.iter().any(|begin| text.starts_with(begin))) {
                return reply;
            } else {
                std::thread::sleep(PAUSE);
                turn += 1;
                port = self.seeds[turn % self.seeds.len()];
            }
            last = text;
        }
        panic!("no answer to {words:?}: {last}");
    }
}

/// What writers do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writes {
    All,
    /// No key goes, by a command or by its time.
    Keeping,
}

/// Writers at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    writers: Vec<JoinHandle<HashMap<String, Option<String>>>>,
}

impl Load {
    /// Starts writers that know these nodes.
    pub fn start(seeds: &[u16], writers: usize, seed: u64) -> Load {
        Load::of(seeds, writers, seed, Writes::All)
    }

    /// As `start`, of writers that remove nothing: what they have written once is there from then on.
    pub fn start_keeping(seeds: &[u16], writers: usize, seed: u64) -> Load {
        Load::of(seeds, writers, seed, Writes::Keeping)
    }

    fn of(seeds: &[u16], writers: usize, seed: u64, writes: Writes) -> Load {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let writers = (0..writers).map(|number| {
            let (stop, done, seeds) = (stop.clone(), done.clone(), seeds.to_vec());
            std::thread::spawn(move || write(number, &seeds, seed, writes, &stop, &done))
        });
        let writers = writers.collect();
        Load { stop, done, writers }
    }

    /// How many writes were acknowledged.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Stops writing; everything that was acknowledged is there, on one of the nodes.
    pub fn end(self, primaries: &[&Server], other_keys: i64) {
        self.stop().check(primaries, other_keys);
    }

    /// Stops writing; what must be there can be looked for later.
    pub fn stop(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        let mut expected: HashMap<String, Option<String>> = HashMap::new();
        for writer in self.writers {
            expected.extend(writer.join().expect("a writer at work"));
        }
        assert!(!expected.is_empty());
        Written { expected }
    }
}

/// What writers have left, by key; nothing for keys that are to be gone.
pub struct Written {
    expected: HashMap<String, Option<String>>,
}

impl Written {
    /// The keys that were written to.
    pub fn keys(&self) -> Vec<String> {
        self.expected.keys().cloned().collect()
    }

    /// Everything is there, once, on one of the nodes, beside so many other keys.
    pub fn check(self, primaries: &[&Server], other_keys: i64) {
        let expected = self.expected;
        // Those with a short life are gone, or about to go.
        std::thread::sleep(Duration::from_millis(300));
        let seeds: Vec<u16> = primaries.iter().map(|node| node.port).collect();
        let mut reader = Routed::new(&seeds);
        for (key, value) in &expected {
            let found = reader.cmd(key, &["GET", key]);
            let found = (!found.is_nil()).then(|| found.text());
            assert_eq!(found, *value, "{key}");
        }
        let present = expected.values().flatten().count() as i64 + other_keys;
        let counts: Vec<i64> = primaries.iter().map(|node| node.connect().must("DBSIZE").integer()).collect();
        assert_eq!(counts.iter().sum::<i64>(), present, "each key once: {counts:?}");
    }
}

/// Sets, deletes and sets anew; returns what is there in the end.
fn write(
    number: usize,
    seeds: &[u16],
    seed: u64,
    writes: Writes,
    stop: &AtomicBool,
    done: &AtomicU64,
) -> HashMap<String, Option<String>> {
    let (mut random, mut client) = (Random::new(seed ^ number as u64), Routed::new(seeds));
    let mut expected = HashMap::new();
    let mut step = 0u64;
    while !stop.load(Ordering::Relaxed) {
        // Others need the machine, too.
        std::thread::sleep(BETWEEN);
        step += 1;
        let key = format!("load:{number}:{}", random.below(KEYS));
        let value = format!("{step}:{}", "x".repeat(random.index(80)));
        let (words, left): (Vec<&str>, _) = match random.below(10) {
            0 | 1 if writes == Writes::Keeping => (vec!["SET", &key, &value], Some(value.clone())),
            0 => (vec!["DEL", &key], None),
            1 => (vec!["SET", &key, &value, "PX", "100"], None),
            2 => (vec!["SET", &key, &value, "PX", "1000000"], Some(value.clone())),
            _ => (vec!["SET", &key, &value], Some(value.clone())),
        };
        let reply = client.cmd(&key, &words);
        assert!(!reply.is_error(), "{words:?}: {reply}");
        expected.insert(key, left);
        done.fetch_add(1, Ordering::Relaxed);
        // One that was read a moment ago is read as it was written.
        if random.chance(20) {
            let key = format!("load:{number}:{}", random.below(KEYS));
            let found = client.cmd(&key, &["GET", &key]);
            if let Some(Some(value)) = expected.get(&key) {
                assert_eq!(found.text(), *value, "{key} in the middle");
            }
        }
    }
    expected
}
