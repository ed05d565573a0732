//! The same random requests to slotcore and to redis-server, replies compared byte for byte.
//!
//! `SLOTCORE_DIFF_COMMANDS` requests (default 40000, half of them to standalone nodes and half to one-node clusters) from
//! seed `SLOTCORE_DIFF_SEED`, or from a fresh one that the run prints. A difference prints the seed, the index, the
//! requests that touched the key before it and both replies; the same seed repeats the run.

mod bits;
mod generate;
mod geo;
mod hashes;
mod lists;
pub mod requests;
mod sets;
mod streams;
mod transactions;
mod waits;
mod zsets;

use std::collections::{BTreeSet, VecDeque};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use generate::{Compare, Generator, Request};
use transactions::Queue;

use crate::cluster_one_node::own_all_slots;
use crate::support::client::encode;
use crate::support::{Client, Reply, Server, Value, number_from_env};

const CONNECTIONS: usize = 4;
const PIPELINE_MAX: u64 = 40;
const TRANSACTIONS_PERCENT: u64 = 50;
/// Requests between two comparisons of the whole keyspace; phases with relative times alternate with those without.
const PHASE_REQUESTS: u64 = 2000;
/// Different kinds of differences that are collected before the run gives up.
const DIFFERENCES_MAX: usize = 30;
const HISTORY: usize = 20_000;

/// Where Redis 7.0, which the test runs, and Redis 7.2, the contract, answer differently.
struct Known {
    command: &'static str,
    redis_70: &'static str,
    redis_72: &'static str,
    reason: &'static str,
}

const KNOWN: &[Known] = &[
    Known {
        command: "COPY",
        redis_70: "-ERR Copying to another database is not allowed in cluster mode",
        redis_72: "-ERR DB index is out of range",
        reason: "7.2 checks the index first, and a cluster node has one database",
    },
    Known {
        command: "COPY",
        redis_70: "-ERR value is not an integer or out of range",
        redis_72: "-ERR DB index is out of range",
        reason: "7.2 checks each index as it reads it, 7.0 only the last one",
    },
    Known {
        command: "EXPIRETIME",
        redis_70: ":9223372036854776",
        redis_72: ":",
        reason: "rounding the last representable millisecond overflows, and what comes out depends on the compiler",
    },
    Known {
        command: "COMMAND",
        redis_70: "-ERR wrong number of arguments for 'command|getkeysandflags' command",
        redis_72: "-ERR Invalid ",
        reason: "7.0 wants one argument more than there must be",
    },
    Known {
        command: "COMMAND",
        redis_70: "-ERR wrong number of arguments for 'command|getkeys' command",
        redis_72: "-ERR ",
        reason: "since 7.2 a command without arguments may be asked about, and the answer depends on it",
    },
    Known {
        command: "LPOS",
        redis_70: "nil",
        redis_72: "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        reason: "7.2 refuses the rank that has no opposite",
    },
    Known {
        command: "OBJECT",
        redis_70: "'quicklist'",
        redis_72: "'listpack'",
        reason: "7.2 keeps small lists in one listpack",
    },
    Known {
        command: "OBJECT",
        redis_70: "'hashtable'",
        redis_72: "'listpack'",
        reason: "7.2 keeps small sets of any strings in one listpack",
    },
    Known {
        command: "OBJECT",
        redis_70: "'listpack'",
        redis_72: "'hashtable'",
        reason: "7.2 looks at how many fields are set at once before it chooses",
    },
    Known {
        command: "OBJECT",
        redis_70: "'intset'",
        redis_72: "'listpack'",
        reason: "7.2 looks at how many members are added at once before it chooses",
    },
    Known {
        command: "OBJECT",
        redis_70: "'intset'",
        redis_72: "'hashtable'",
        reason: "7.2 looks at how many members are added at once before it chooses",
    },
    Known {
        command: "OBJECT",
        redis_70: "'hashtable'",
        redis_72: "'intset'",
        reason: "7.2 makes an intset of the integers that SINTERSTORE finds",
    },
    Known {
        command: "CONFIG",
        redis_70: "-ERR Unknown option or number of arguments for CONFIG SET - 'set-max-listpack",
        redis_72: "+OK",
        reason: "7.0 has no sets in listpacks",
    },
    Known {
        command: "OBJECT",
        redis_70: "'listpack'",
        redis_72: "'skiplist'",
        reason: "7.2 looks at how many members are added at once before it chooses",
    },
    Known {
        command: "ZRANK",
        redis_70: "-ERR wrong number of arguments for 'zrank' command",
        redis_72: "",
        reason: "WITHSCORE is new in 7.2",
    },
    Known {
        command: "ZREVRANK",
        redis_70: "-ERR wrong number of arguments for 'zrevrank' command",
        redis_72: "",
        reason: "WITHSCORE is new in 7.2",
    },
    Known {
        command: "XADD",
        redis_70: "-ERR Elements are too large to be stored",
        redis_72: "-ERR The ID specified in XADD is equal or smaller than the target stream top item",
        reason: "7.0 has another error's text where a sequence number would run over",
    },
    Known {
        command: "XREAD",
        redis_70: "-ERR Unbalanced XREAD list of streams",
        redis_72: "-ERR Unbalanced 'xread' list of streams",
        reason: "7.2 names the command as it was called",
    },
    Known {
        command: "XSETID",
        redis_70: "-ERR The ID specified in XSETID is smaller than the target stream top item",
        redis_72: "-ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        reason: "7.2 looks at the greatest deleted id first",
    },
];

#[test]
fn standalone_replies_are_those_of_redis() {
    run(false);
}

#[test]
fn one_node_cluster_replies_are_those_of_redis() {
    run(true);
}

/// One server under comparison with its connections.
struct Side {
    server: Server,
    clients: Vec<Client>,
    /// The ids of the clients, where the test needs them.
    ids: Vec<i64>,
}

impl Side {
    fn new(server: Server, cluster: bool, connections: usize) -> Self {
        let mut clients: Vec<Client> = (0..connections).map(|_| server.connect()).collect();
        if cluster {
            own_all_slots(&mut clients[0]);
        }
        Self { server, clients, ids: Vec::new() }
    }

    fn exchange(&mut self, connection: usize, batch: &[Request]) -> Vec<Reply> {
        let bytes: Vec<u8> = batch.iter().flat_map(|request| encode(&request.args)).collect();
        let client = &mut self.clients[connection];
        client.send(&bytes);
        batch
            .iter()
            .map(|request| {
                client.try_read().unwrap_or_else(|error| {
                    let lines: Vec<String> = batch.iter().map(|request| shown(&request.args)).collect();
                    panic!(
                        "{:?}: no reply to {}: {error}; the batch:\n{}",
                        self.server.kind,
                        shown(&request.args),
                        lines.join("\n")
                    )
                })
            })
            .collect()
    }
}

struct Run {
    seed: u64,
    cluster: bool,
    ours: Side,
    theirs: Side,
    history: VecDeque<(u64, usize, Vec<Vec<u8>>)>,
    differences: Vec<(String, String)>,
    /// What each connection has queued.
    queues: Vec<Queue>,
}

fn run(cluster: bool) {
    let seed = seed();
    let commands = number_from_env("SLOTCORE_DIFF_COMMANDS", 40_000) / 2;
    println!("SLOTCORE_DIFF_SEED={seed} SLOTCORE_DIFF_COMMANDS={}, cluster: {cluster}", commands * 2);
    // Small nodes, so that streams soon have several of them.
    let args: &[&str] = if cluster {
        &["--cluster-enabled", "yes", "--stream-node-max-bytes", "150"]
    } else {
        &["--stream-node-max-entries", "4"]
    };
    let mut generator = Generator::new(seed, cluster);
    let mut run = Run {
        seed,
        cluster,
        ours: Side::new(Server::slotcore(args), cluster, CONNECTIONS),
        theirs: Side::new(Server::redis(args), cluster, CONNECTIONS),
        history: VecDeque::new(),
        differences: Vec::new(),
        queues: (0..CONNECTIONS).map(|_| Queue::default()).collect(),
    };
    let mut index = 0;
    let mut phase_end = 0;
    let mut is_same = true;
    while index < commands && run.differences.len() < DIFFERENCES_MAX {
        if index >= phase_end {
            if is_same {
                run.compare_keyspaces(index, generator.relative);
            }
            is_same = true;
            generator.relative = !generator.relative;
            generator.others = run.fresh_keyspaces();
            phase_end = index + PHASE_REQUESTS;
        }
        let connection = generator.random().index(CONNECTIONS);
        let steps = if generator.random().chance(TRANSACTIONS_PERCENT) {
            transactions::steps(&mut generator, CONNECTIONS)
        } else {
            let len = 1 + generator.random().below(PIPELINE_MAX);
            vec![(connection, (0..len).flat_map(|_| generator.next()).collect())]
        };
        for (connection, batch) in steps {
            let mut parts = batch.chunk_by(|one, next| !has_to_be_alone(one) && !has_to_be_alone(next));
            is_same = parts.all(|part| {
                index += part.len() as u64;
                run.batch(index - part.len() as u64, connection, part)
            });
            if !is_same {
                // What follows a difference would differ too: both start again from nothing.
                phase_end = index;
                break;
            }
        }
        if is_same && generator.random().chance(10) {
            let options = generator.random().pick(&[
                "",
                "COUNT 3",
                "MATCH k* COUNT 5",
                "TYPE string",
                "MATCH *1* COUNT 100",
                "TYPE list",
            ]);
            run.compare_scans(index, connection, options);
        }
    }
    if is_same {
        run.compare_keyspaces(index, generator.relative);
    }
    let found: Vec<&str> = run.differences.iter().map(|(_, text)| text.as_str()).collect();
    assert!(
        found.is_empty(),
        "{} kinds of differences in {index} requests, seed {seed}, cluster: {cluster}\n\n{}",
        found.len(),
        found.join("\n\n")
    );
}

/// The number that repeats a run; when none is given, another one each time.
fn seed() -> u64 {
    static FRESH: OnceLock<u64> = OnceLock::new();
    let fresh = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis() as u64);
    match number_from_env("SLOTCORE_DIFF_SEED", u64::MAX) {
        u64::MAX => *FRESH.get_or_init(fresh),
        given => given,
    }
}

/// 7.2 leaves out the reply to a failed AUTH as long as replies before it have not been sent; and here a setting holds on
/// all cores once its reply is there, not earlier.
fn has_to_be_alone(request: &Request) -> bool {
    let words: [&[u8]; 2] = [b"AUTH", b"CONFIG"];
    request.args.iter().any(|arg| words.iter().any(|word| arg.eq_ignore_ascii_case(word)))
}

impl Run {
    /// Both servers empty, all connections as new, and a key of each other type that both can make.
    fn fresh_keyspaces(&mut self) -> Vec<String> {
        for side in [&mut self.ours, &mut self.theirs] {
            for client in &mut side.clients {
                client.must("RESET");
            }
            side.clients[0].must("FLUSHALL");
        }
        self.queues.iter_mut().for_each(|queue| *queue = Queue::default());
        let mut others = Vec::new();
        for (key, make) in [
            ("{t1}list", "RPUSH {t1}list a b"),
            ("{t1}hash", "HSET {t1}hash a b"),
            ("{t1}set", "SADD {t1}set a b"),
            ("{t1}zset", "ZADD {t1}zset 1 a"),
            ("{t1}stream", "XADD {t1}stream 1-1 a b"),
        ] {
            let (ours, theirs) = (self.ours.clients[0].line(make), self.theirs.clients[0].line(make));
            if ours.is_error() || theirs.is_error() {
                self.ours.clients[0].line(&format!("DEL {key}"));
                self.theirs.clients[0].line(&format!("DEL {key}"));
            } else {
                others.push(key.to_owned());
            }
        }
        others
    }

    /// Sends the batch to both; false when a reply differs.
    fn batch(&mut self, index: u64, connection: usize, batch: &[Request]) -> bool {
        let ours = self.ours.exchange(connection, batch);
        let theirs = self.theirs.exchange(connection, batch);
        for (offset, request) in batch.iter().enumerate() {
            let at = index + offset as u64;
            self.history.push_back((at, connection, request.args.clone()));
            if self.history.len() > HISTORY {
                self.history.pop_front();
            }
            let (our, their) = (&ours[offset], &theirs[offset]);
            let executed = self.queues[connection].follow(request, their);
            if let (Value::Array(ours), Value::Array(theirs)) = (&our.value, &their.value)
                && ours.len() == theirs.len()
                && executed.len() == ours.len()
            {
                if !self.is_executed_alike(at, connection, &executed, ours, theirs) {
                    return false;
                }
                continue;
            }
            if our.raw != their.raw && !same(our, their, request.compare) && !is_known(&request.args, our, their) {
                self.report(at, connection, &request.args, our, their);
                return false;
            }
        }
        true
    }

    /// Compares what EXEC answers for each request that was queued.
    fn is_executed_alike(
        &mut self,
        at: u64,
        connection: usize,
        executed: &[Request],
        ours: &[Value],
        theirs: &[Value],
    ) -> bool {
        for (queued, (our, their)) in executed.iter().zip(ours.iter().zip(theirs)) {
            if our != their && !same(our, their, queued.compare) && !is_known(&queued.args, our, their) {
                let lines: Vec<String> = executed.iter().map(|request| shown(&request.args)).collect();
                eprintln!("in a transaction of\n  {}", lines.join("\n  "));
                self.report(at, connection, &queued.args, our, their);
                return false;
            }
        }
        true
    }

    fn report(&mut self, at: u64, connection: usize, args: &[Vec<u8>], our: &Value, their: &Value) {
        let kind = |value: &Value| match value {
            Value::Error(text) => text.split(' ').take(3).collect::<Vec<_>>().join(" "),
            other => other.to_string().chars().take(1).collect(),
        };
        let name = String::from_utf8_lossy(&args[0]).to_uppercase();
        let class = format!("{name} {} {}", kind(our), kind(their));
        if self.differences.iter().any(|(seen, _)| *seen == class) {
            return;
        }
        let keys: Vec<&Vec<u8>> = args[1..].iter().filter(|arg| self.looks_like_key(arg)).collect();
        let touches = |words: &[Vec<u8>]| {
            let keyspace_wide = ["FLUSHALL", "FLUSHDB", "SWAPDB", "SELECT", "RESET", "HELLO"];
            keys.is_empty()
                || words[1..].iter().any(|word| keys.contains(&word))
                || keyspace_wide.iter().any(|name| words[0].eq_ignore_ascii_case(name.as_bytes()))
        };
        let before: Vec<String> = self
            .history
            .iter()
            .rev()
            .filter(|(_, _, words)| touches(words))
            .take(if keys.is_empty() { 60 } else { 20 })
            .map(|(index, connection, words)| format!("  {index} [{connection}] {}", shown(words)))
            .collect();
        let lines: Vec<String> = before.into_iter().rev().collect();
        let text = format!(
            "seed {}, cluster: {}, request {at} [{connection}]: {}\n  slotcore: {}\n  redis:    {}\nbefore it:\n{}",
            self.seed,
            self.cluster,
            shown(args),
            cut(&our.to_string()),
            cut(&their.to_string()),
            lines.join("\n")
        );
        eprintln!("{text}\n");
        self.differences.push((class, text));
    }

    fn looks_like_key(&self, arg: &[u8]) -> bool {
        arg.starts_with(b"{t") || arg.starts_with(b"k") || arg.starts_with(b"\x00\r") || arg.is_empty()
    }

    /// A full SCAN on both: each key that is there is found, and no other.
    fn compare_scans(&mut self, at: u64, connection: usize, options: &str) {
        let ours = scan(&mut self.ours.clients[connection], options);
        let theirs = scan(&mut self.theirs.clients[connection], options);
        if ours != theirs {
            let line = [b"SCAN".to_vec(), b"(full iteration)".to_vec(), options.as_bytes().to_vec()];
            let as_value = |keys: BTreeSet<Vec<u8>>| Value::Array(keys.into_iter().map(Value::Bulk).collect());
            self.report(at, connection, &line, &as_value(ours), &as_value(theirs));
        }
    }

    /// Every key of every database: type, encoding, value, expire time.
    fn compare_keyspaces(&mut self, at: u64, relative: bool) {
        let expiry = if relative { Compare::Close(3000) } else { Compare::Exact };
        for database in 0..if self.cluster { 1 } else { 16 } {
            let select = format!("SELECT {database}");
            self.ours.clients[0].must(&select);
            self.theirs.clients[0].must(&select);
            let keys = scan(&mut self.theirs.clients[0], "COUNT 1000");
            let mut requests = vec![Request { args: vec![b"DBSIZE".to_vec()], compare: Compare::Exact }];
            for key in &keys {
                for (name, compare) in [("TYPE", Compare::Exact), ("GET", Compare::Exact), ("PEXPIRETIME", expiry)] {
                    requests.push(Request { args: vec![name.as_bytes().to_vec(), key.clone()], compare });
                }
                for (name, rest) in [("LRANGE", &["0", "-1"][..]), ("ZRANGE", &["0", "-1", "WITHSCORES"][..])] {
                    let words = [name].into_iter().map(|word| word.as_bytes().to_vec());
                    let rest = rest.iter().map(|word| word.as_bytes().to_vec());
                    let args = words.chain([key.clone()]).chain(rest).collect();
                    requests.push(Request { args, compare: Compare::Exact });
                }
                for name in ["HGETALL", "SMEMBERS"] {
                    requests.push(Request {
                        args: vec![name.as_bytes().to_vec(), key.clone()],
                        compare: Compare::AnyOrder,
                    });
                }
                requests.push(Request {
                    args: [b"XINFO", &b"STREAM"[..], key, b"FULL", b"COUNT", b"0"].map(<[u8]>::to_vec).to_vec(),
                    compare: Compare::StreamTimes,
                });
                requests.push(Request {
                    args: vec![b"OBJECT".to_vec(), b"ENCODING".to_vec(), key.clone()],
                    compare: Compare::Exact,
                });
            }
            self.batch(at, 0, &requests);
        }
        let back: &[&str] = if self.cluster { &[] } else { &["SELECT 0"] };
        for line in back {
            self.ours.clients[0].must(line);
            self.theirs.clients[0].must(line);
        }
    }
}

fn scan(client: &mut Client, options: &str) -> BTreeSet<Vec<u8>> {
    let mut keys = BTreeSet::new();
    let mut cursor = "0".to_owned();
    for _ in 0..100_000 {
        let reply = client.must(&format!("SCAN {cursor} {options}"));
        keys.extend(reply.items()[1].items().iter().map(|key| key.bytes().to_vec()));
        cursor = reply.items()[0].text();
        if cursor == "0" {
            return keys;
        }
    }
    panic!("SCAN {options} does not come to an end");
}

/// Whether two values that are not equal are so far alike as the comparison asks for.
fn same(ours: &Value, theirs: &Value, compare: Compare) -> bool {
    if ours.is_error() || theirs.is_error() {
        return false;
    }
    match compare {
        Compare::Exact => false,
        Compare::Close(margin) => match (ours, theirs) {
            (Value::Integer(our), Value::Integer(their)) => {
                *our >= 0 && *their >= 0 && our.abs_diff(*their) <= margin.unsigned_abs()
            }
            _ => false,
        },
        Compare::AnyOrder => {
            std::mem::discriminant(ours) == std::mem::discriminant(theirs) && sorted(ours) == sorted(theirs)
        }
        Compare::SameType => std::mem::discriminant(ours) == std::mem::discriminant(theirs),
        Compare::StreamTimes => streams::without_times(ours) == streams::without_times(theirs),
        Compare::Hello => without_identity(ours) == without_identity(theirs),
    }
}

/// A text in which the order of elements, on any level, does not show.
fn sorted(value: &Value) -> String {
    let mut texts: Vec<String> = match value {
        Value::Array(items) | Value::Set(items) => items.iter().map(sorted).collect(),
        Value::Map(pairs) => pairs.iter().map(|(key, value)| sorted(key) + &sorted(value)).collect(),
        other => return other.to_string(),
    };
    texts.sort();
    format!("[{}]", texts.join(","))
}

/// HELLO's reply with the two values left out that belong to one server and one connection.
fn without_identity(reply: &Value) -> Value {
    let own = |name: &Value| matches!(name, Value::Bulk(name) if name == b"version" || name == b"id");
    match reply {
        Value::Map(pairs) => Value::Map(
            pairs
                .iter()
                .map(|(name, value)| (name.clone(), if own(name) { Value::Null } else { value.clone() }))
                .collect(),
        ),
        Value::Array(items) => {
            let mut items = items.clone();
            for at in 1..items.len() {
                if own(&items[at - 1]) {
                    items[at] = Value::NullBulk;
                }
            }
            Value::Array(items)
        }
        other => other.clone(),
    }
}

fn is_known(args: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
    let name = args[0].to_ascii_uppercase();
    if (name.starts_with(b"Z") || name.starts_with(b"GEO")) && same_numbers(ours, theirs) {
        return true;
    }
    // A set, which may be of another encoding, in the order in which it is kept.
    let sorted = |items: &[Value]| {
        let mut items: Vec<String> = items.iter().map(Value::to_string).collect();
        items.sort();
        items
    };
    if let (b"SORT" | b"SORT_RO", Value::Array(ours), Value::Array(theirs)) = (name.as_slice(), ours, theirs)
        && args.iter().any(|arg| arg.eq_ignore_ascii_case(b"nosort"))
        && sorted(ours) == sorted(theirs)
    {
        return true;
    }
    // In any order, and with scores written otherwise.
    if name == b"ZRANDMEMBER" && same_numbers(&by_member(ours), &by_member(theirs)) {
        return true;
    }
    // What comes after a watched key was touched is not queued, so that its slots do not count. Here that is known to the
    // core of the watched key alone: the transaction does not run either.
    let has_not_run = theirs.is_nil() || matches!(theirs, Value::Error(text) if text.starts_with("EXECABORT "));
    if name == b"EXEC" && has_not_run && matches!(ours, Value::Error(text) if text.starts_with("CROSSSLOT ")) {
        return true;
    }
    // Redis looks at C's errno, in which an earlier number may have left its mark.
    let all_numbers = |items: &[Value]| items.iter().all(|item| item.text().parse::<f64>().is_ok());
    if let (b"SORT", Value::Array(items), Value::Error(text)) = (name.as_slice(), ours, theirs)
        && text.starts_with("ERR One or more scores can't be converted into double")
        && all_numbers(items)
    {
        return true;
    }
    let (ours, theirs) = (ours.to_string(), theirs.to_string());
    let known = KNOWN.iter().find(|known| {
        args[0].eq_ignore_ascii_case(known.command.as_bytes())
            && ours.starts_with(known.redis_72)
            && theirs.starts_with(known.redis_70)
    });
    known.is_some_and(|known| !known.reason.is_empty())
}

/// Members with their scores, in the order of the members; anything else as it is.
fn by_member(reply: &Value) -> Value {
    let Value::Array(items) = reply else { return reply.clone() };
    let mut pairs: Vec<Vec<Value>> = items.chunks(2).map(<[Value]>::to_vec).collect();
    if items.iter().all(|item| matches!(item, Value::Array(_))) {
        pairs = items.chunks(1).map(<[Value]>::to_vec).collect();
    }
    pairs.sort_by_key(|pair| pair.first().map(Value::to_string));
    Value::Array(pairs.concat())
}

/// Whether replies differ only in how doubles are written: 7.2 writes the shortest form, 7.0 up to 17 digits.
fn same_numbers(ours: &Value, theirs: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Double(text) => text.parse::<f64>().ok(),
        Value::Bulk(bytes) => str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    };
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(our, their)| same_numbers(our, their))
        }
        _ => ours == theirs || (number(ours).is_some() && number(ours) == number(theirs)),
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= 400 { text.to_owned() } else { text.chars().take(400).chain("...".chars()).collect() }
}

fn shown(args: &[Vec<u8>]) -> String {
    args.iter().map(|arg| cut(&Value::Bulk(arg.clone()).to_string())).collect::<Vec<_>>().join(" ")
}
