//! What moves of slots are tested with: a load that knows what every key must be, and a proxy that stops a move at a word.
//!
//! The load writes to keys of all kinds, follows MOVED as clients do, and remembers each acknowledged write. A write whose connection broke
//! may have happened or not; all others have happened exactly once, in order, which every reply and the last look are held to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::random::Random;
use crate::support::{Client, Server, Value, holds_within};

/// Hash tags whose slots lie in a range, so many of them.
pub fn tags(first: u16, last: u16, count: usize) -> Vec<String> {
    let is_inside = |number: &u32| (first..=last).contains(&slot_of(&format!("t{number}")));
    (0..).filter(is_inside).map(|number| format!("{{t{number}}}")).take(count).collect()
}

pub fn slot_of(tag: &str) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(tag.as_bytes()) % 16384
}

/// Longest that a command may go unanswered or refused.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client of a cluster.
struct ClusterClient {
    ports: Vec<u16>,
    at: usize,
    clients: HashMap<u16, Client>,
}

impl ClusterClient {
    fn new(ports: &[u16]) -> ClusterClient {
        ClusterClient { ports: ports.to_vec(), at: 0, clients: HashMap::new() }
    }

    /// Runs the lines on whoever serves them; the replies, or none when it is not known whether they have run.
    fn run(&mut self, lines: &[String]) -> Option<Vec<Value>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "{lines:?} is not served");
            let port = self.ports[self.at];
            let Ok(mut client) = self.connected(port) else {
                self.turn();
                continue;
            };
            let mut bytes = Vec::new();
            for line in lines {
                bytes.extend(crate::support::client::encode(&crate::support::client::split_line(line)));
            }
            let read = client.try_send(&bytes).and_then(|()| lines.iter().map(|_| client.try_read()).collect());
            let Ok(replies): Result<Vec<_>, _> = read else {
                self.turn();
                return None;
            };
            self.clients.insert(port, client);
            let refused = replies.iter().find(|reply| reply.is_error()).map(ToString::to_string);
            let is_aborted = lines.len() > 1 && replies.last().is_some_and(|last| last.value.is_nil());
            match refused {
                None if is_aborted => continue,
                None => return Some(replies.into_iter().map(|reply| reply.value).collect()),
                Some(error) => self.refused(&error, lines),
            }
        }
    }

    /// The connection to a node, to be put back while it is sound.
    fn connected(&mut self, port: u16) -> std::io::Result<Client> {
        match self.clients.remove(&port) {
            Some(client) => Ok(client),
            None => Client::connect(&format!("127.0.0.1:{port}")),
        }
    }

    fn refused(&mut self, error: &str, lines: &[String]) {
        let known =
            ["-MOVED", "-CLUSTERDOWN", "-LOADING", "-TRYAGAIN", "-READONLY", "-UNBLOCKED", "-EXECABORT", "-MASTERDOWN"];
        assert!(known.iter().any(|known| error.starts_with(known)), "{lines:?}: {error}");
        if let Some(port) = error.strip_prefix("-MOVED").and_then(|rest| rest.trim().rsplit(':').next()) {
            let port: u16 = port.parse().expect("MOVED names a port");
            self.at = self.ports.iter().position(|other| *other == port).unwrap_or_else(|| {
                self.ports.push(port);
                self.ports.len() - 1
            });
        } else {
            self.turn();
        }
    }

    /// Tries another node, and leaves the servers some time.
    fn turn(&mut self) {
        self.at = (self.at + 1) % self.ports.len();
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What is known of a number that only grows.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    least: i64,
    /// Increments that may have happened.
    unknown: i64,
}

impl Counter {
    fn added(&mut self, reply: Option<i64>, what: &str) {
        match reply {
            Some(value) => {
                let range = self.least + 1..=self.least + 1 + self.unknown;
                assert!(range.contains(&value), "{what} is {value} after a write, not in {range:?}");
                (self.least, self.unknown) = (value, self.least + 1 + self.unknown - value);
            }
            None => self.unknown += 1,
        }
    }

    fn check(&self, value: i64, what: &str) {
        let range = self.least..=self.least + self.unknown;
        assert!(range.contains(&value), "{what} is {value}, not in {range:?}");
    }
}

/// What one writer's keys must be; all have one tag.
#[derive(Default)]
struct Expected {
    tag: String,
    counter: Counter,
    pair: Counter,
    field: Counter,
    score: Counter,
    /// Numbers that were appended, and whether that is known.
    list: Vec<(u64, bool)>,
    stream: Vec<(u64, bool)>,
    /// Members, and whether they are there; none when that is not known.
    set: BTreeMap<u64, Option<bool>>,
    /// The values that a key that is set and deleted may have.
    toggled: BTreeSet<Option<u64>>,
    short_lived: u64,
    writes: u64,
}

impl Expected {
    fn new(tag: String) -> Expected {
        Expected { tag, toggled: [None].into(), ..Expected::default() }
    }

    fn write(&mut self, client: &mut ClusterClient, random: &mut Random) {
        let (tag, number) = (self.tag.clone(), self.writes);
        self.writes += 1;
        let one = |client: &mut ClusterClient, line: String| client.run(&[line]).map(|mut replies| replies.remove(0));
        match random.below(12) {
            0 | 1 => {
                let reply = one(client, format!("INCR {tag}c"));
                self.counter.added(reply.map(|value| value.integer()), &format!("{tag}c"));
            }
            2 => {
                let reply = one(client, format!("RPUSH {tag}l {number}"));
                self.list.push((number, reply.is_some()));
            }
            3 => {
                let reply = one(client, format!("HINCRBY {tag}h f 1"));
                self.field.added(reply.map(|value| value.integer()), &format!("{tag}h"));
            }
            4 => {
                let reply = one(client, format!("ZINCRBY {tag}z 1 m"));
                self.score.added(reply.map(|value| value.text().parse().expect("a score")), &format!("{tag}z"));
            }
            5 => {
                let member = random.below(50);
                let is_added = random.below(2) == 0;
                let name = if is_added { "SADD" } else { "SREM" };
                let reply = one(client, format!("{name} {tag}s {member}"));
                let known = reply.map(|_| is_added);
                self.set.insert(member, known);
            }
            6 => {
                let lines = ["MULTI".to_owned(), format!("INCR {tag}a"), format!("INCR {tag}b"), "EXEC".to_owned()];
                let reply = client.run(&lines).map(|replies| match &replies[3] {
                    Value::Array(values) => {
                        let numbers: Vec<i64> = values.iter().map(Value::integer).collect();
                        assert_eq!(numbers[0], numbers[1], "{tag}a and {tag}b");
                        numbers[0]
                    }
                    other => panic!("EXEC: {other:?}"),
                });
                self.pair.added(reply, &format!("{tag}a"));
            }
            7 => {
                let value = (random.below(3) > 0).then_some(number);
                let line = value.map_or(format!("DEL {tag}d"), |value| format!("SET {tag}d {value}"));
                if one(client, line).is_some() {
                    self.toggled.clear();
                }
                self.toggled.insert(value);
            }
            8 => {
                self.short_lived = (self.short_lived + 1) % 20;
                let key = self.short_lived;
                let _ = one(client, format!("SET {tag}e{key} {number} PX {}", 1 + random.below(60)));
            }
            9 => {
                let reply = one(client, format!("XADD {tag}x * f {number}"));
                self.stream.push((number, reply.is_some()));
            }
            10 => {
                if let Some(value) = one(client, format!("GET {tag}c")) {
                    let value = if value.is_nil() { 0 } else { value.text().parse().expect("a number") };
                    self.counter.check(value, &format!("{tag}c as read"));
                }
            }
            _ => {
                let _ = one(client, format!("SET {tag}long {number} PX 100000000"));
            }
        }
    }

    fn check(&self, client: &mut ClusterClient) {
        let tag = &self.tag;
        let mut ask = |line: String| loop {
            if let Some(mut replies) = client.run(std::slice::from_ref(&line)) {
                return replies.remove(0);
            }
        };
        let number = |value: Value| if value.is_nil() { 0 } else { value.text().parse().expect("a number") };
        self.counter.check(number(ask(format!("GET {tag}c"))), &format!("{tag}c"));
        let (a, b) = (number(ask(format!("GET {tag}a"))), number(ask(format!("GET {tag}b"))));
        self.pair.check(a, &format!("{tag}a"));
        assert_eq!(a, b, "{tag}a and {tag}b");
        self.field.check(number(ask(format!("HGET {tag}h f"))), &format!("{tag}h"));
        self.score.check(number(ask(format!("ZSCORE {tag}z m"))), &format!("{tag}z"));
        let list: Vec<u64> =
            ask(format!("LRANGE {tag}l 0 -1")).items().iter().map(|item| item.text().parse().expect("ours")).collect();
        check_order(&self.list, &list, &format!("{tag}l"));
        let stream = ask(format!("XRANGE {tag}x - +"));
        let stream: Vec<u64> =
            stream.items().iter().map(|entry| entry.items()[1].items()[1].text().parse().expect("ours")).collect();
        check_order(&self.stream, &stream, &format!("{tag}x"));
        let members: BTreeSet<u64> =
            ask(format!("SMEMBERS {tag}s")).items().iter().map(|item| item.text().parse().expect("ours")).collect();
        for (member, known) in &self.set {
            assert!(known.is_none_or(|known| members.contains(member) == known), "{member} of {tag}s: {known:?}");
        }
        assert!(members.iter().all(|member| self.set.contains_key(member)), "{tag}s has {members:?}");
        let toggled = ask(format!("GET {tag}d"));
        let toggled = (!toggled.is_nil()).then(|| toggled.text().parse().expect("a number"));
        assert!(self.toggled.contains(&toggled), "{tag}d is {toggled:?}, not one of {:?}", self.toggled);
        for key in 0..20 {
            let gone = holds_within(PATIENCE, || ask(format!("EXISTS {tag}e{key}")).integer() == 0);
            assert!(gone, "{tag}e{key} does not expire");
        }
    }
}

/// What was appended, but for what is not known, once each and in order.
fn check_order(appended: &[(u64, bool)], found: &[u64], what: &str) {
    let mut found = found.iter().peekable();
    for (number, is_known) in appended {
        match found.next_if(|next| *next == number) {
            Some(_) => {}
            None => assert!(!is_known, "{what} lacks {number}, which was acknowledged; next is {:?}", found.peek()),
        }
    }
    assert!(found.next().is_none(), "{what} has more than was appended");
}

static LOADS: AtomicU32 = AtomicU32::new(0);

/// Writers that go on until they are stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Vec<Expected>>>,
    ports: Vec<u16>,
}

impl Load {
    /// A writer for every few tags.
    pub fn begin(nodes: &[&Server], tags: &[String], seed: u64) -> Load {
        let ports: Vec<u16> = nodes.iter().map(|node| node.port).collect();
        // Each load has keys of its own.
        let number = LOADS.fetch_add(1, Ordering::Relaxed);
        let stop = Arc::new(AtomicBool::new(false));
        let writers = tags.chunks(tags.len().div_ceil(3)).enumerate().map(|(place, tags)| {
            let mut keys: Vec<Expected> = tags.iter().map(|tag| Expected::new(format!("{tag}{number}:"))).collect();
            let (stop, mut client) = (stop.clone(), ClusterClient::new(&ports));
            let mut random = Random::new(seed ^ (place as u64) << 32);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let at = random.below(keys.len() as u64) as usize;
                    keys[at].write(&mut client, &mut random);
                }
                keys
            })
        });
        Load { stop: stop.clone(), writers: writers.collect(), ports }
    }

    /// Whether all writers are well.
    pub fn goes_on(&self) -> bool {
        self.writers.iter().all(|writer| !writer.is_finished())
    }

    /// Stops, and looks at every key; how many writes there were.
    pub fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut client = ClusterClient::new(&self.ports);
        let mut writes = 0;
        for writer in self.writers {
            let keys = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            for expected in &keys {
                expected.check(&mut client);
                writes += expected.writes;
            }
        }
        writes
    }
}

// ---- the proxy ----------------------------------------------------------------------------------------------------

/// What becomes of a move at a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The word does not arrive, and the connection is cut.
    CutBefore,
    /// It arrives, and then the connection is cut.
    CutBehind,
    /// Neither it nor anything behind it arrives until the proxy is let go.
    HoldBefore,
}

#[derive(Default)]
struct Rule {
    stop: Option<(String, Stop)>,
    has_struck: bool,
    is_released: bool,
}

/// Stands before a node's client port. What is no migration passes.
pub struct WordProxy {
    pub port: u16,
    rule: Arc<Mutex<Rule>>,
}

impl WordProxy {
    /// For a node that will listen on that port.
    pub fn new(to: Arc<Mutex<u16>>) -> WordProxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let rule = Arc::<Mutex<Rule>>::default();
        let shared = rule.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let port = *to.lock().expect("nobody panics with it");
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let rule = shared.clone();
                    std::thread::spawn(move || forward(from, to, &rule));
                }
            }
        });
        WordProxy { port, rule }
    }

    /// From now on, once.
    pub fn stop_at(&self, word: &str, stop: Stop) {
        let rule = Rule { stop: Some((word.to_owned(), stop)), has_struck: false, is_released: false };
        *self.rule.lock().expect("nobody panics with it") = rule;
    }

    pub fn has_struck(&self) -> bool {
        self.rule.lock().expect("nobody panics with it").has_struck
    }

    /// What is held goes on, or is cut.
    pub fn release(&self) {
        self.rule.lock().expect("nobody panics with it").is_released = true;
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, rule: &Mutex<Rule>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 {
            break;
        }
        let bytes = &buffer[..count];
        let struck = {
            let mut rule = rule.lock().expect("nobody panics with it");
            let is_hit = |word: &str| {
                let word = format!("\r\n{word}\r\n");
                let is_migration = bytes.windows(9).any(|window| window == b"SYNCSLOTS");
                is_migration && bytes.windows(word.len()).any(|window| window == word.as_bytes())
            };
            let hit = rule.stop.take_if(|(word, _)| is_hit(word)).map(|(_, stop)| stop);
            rule.has_struck |= hit.is_some();
            hit
        };
        match struck {
            Some(Stop::CutBefore) => break,
            Some(Stop::CutBehind) => {
                let _ = to.write_all(bytes);
                break;
            }
            Some(Stop::HoldBefore) => {
                holds_within(PATIENCE, || rule.lock().expect("nobody panics with it").is_released);
            }
            None => {}
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
