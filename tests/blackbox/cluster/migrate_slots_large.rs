//! Large values that move at once while they change.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use super::load::Routed;
use super::migrate_slots::{begin_move, is_over, last_job, moves};
use super::nodes::{LIMIT, join, node};
use crate::support::random::Random;
use crate::support::{Kind, Server, Value, holds_within};

/// Elements of each value at the beginning.
const ELEMENTS: u64 = 60_000;
/// The slot of the tag.
const SLOT: u16 = 15891;

const HASH: &str = "{t}hash";
const SET: &str = "{t}set";
const ZSET: &str = "{t}zset";
const LIST: &str = "{t}list";

/// What must be there.
#[derive(Default)]
struct Model {
    hash: BTreeMap<String, String>,
    set: BTreeSet<String>,
    zset: BTreeMap<String, i64>,
    list: VecDeque<String>,
    writes: u64,
    /// Sometimes something is done that is not about single elements.
    breaks: bool,
}

impl Model {
    fn fill(node: &Server) -> Model {
        let mut model = Model::default();
        let mut client = node.connect();
        let numbers: Vec<u64> = (0..ELEMENTS).collect();
        for part in numbers.chunks(1000) {
            let words = |of: &dyn Fn(&u64) -> String| part.iter().map(of).collect::<Vec<_>>().join(" ");
            client.must(&format!("HSET {} {}", HASH, words(&|n| format!("f{n} value:{n}"))));
            client.must(&format!("SADD {} {}", SET, words(&|n| format!("m{n}"))));
            client.must(&format!("ZADD {} {}", ZSET, words(&|n| format!("{} m{n}", n / 10))));
            client.must(&format!("RPUSH {LIST} {}", words(&|n| format!("element:{n}"))));
            for n in part {
                model.list.push_back(format!("element:{n}"));
                model.hash.insert(format!("f{n}"), format!("value:{n}"));
                model.set.insert(format!("m{n}"));
                model.zset.insert(format!("m{n}"), *n as i64 / 10);
            }
        }
        model
    }

    /// One change of each, of elements that are there and of new ones.
    fn write(&mut self, client: &mut Routed, random: &mut Random) {
        self.writes += 1;
        self.write_hash(client, random);
        self.write_set(client, random);
        self.write_zset(client, random);
        self.write_list(client, random);
        if self.breaks && random.below(100) == 0 {
            client.cmd(ZSET, &["ZUNIONSTORE", ZSET, "1", ZSET]);
            client.cmd(SET, &["SUNIONSTORE", SET, SET]);
            client.cmd(LIST, &["LSET", LIST, "1", "other"]);
            self.list[1] = "other".to_owned();
            client.cmd(HASH, &["RENAME", HASH, "{t}other"]);
            client.cmd(HASH, &["RENAME", "{t}other", HASH]);
        }
    }

    fn write_hash(&mut self, client: &mut Routed, random: &mut Random) {
        let (key, field, value) = (HASH, format!("f{}", random.below(ELEMENTS * 2)), self.writes.to_string());
        match random.below(6) {
            0 | 1 => {
                client.cmd(key, &["HSET", key, &field, &value]);
                self.hash.insert(field, value);
            }
            2 => {
                client.cmd(key, &["HSETNX", key, &field, &value]);
                self.hash.entry(field).or_insert(value);
            }
            3 => {
                let field = format!("n{}", random.below(500));
                client.cmd(key, &["HINCRBY", key, &field, "3"]);
                let number = self.hash.get(&field).map_or(0, |value| value.parse::<i64>().expect("a number"));
                self.hash.insert(field, (number + 3).to_string());
            }
            4 => {
                client.cmd(key, &["PEXPIRE", key, "100000000"]);
                if random.below(2) == 0 {
                    client.cmd(key, &["PERSIST", key]);
                }
            }
            _ => {
                client.cmd(key, &["HDEL", key, &field]);
                self.hash.remove(&field);
            }
        }
    }

    fn write_set(&mut self, client: &mut Routed, random: &mut Random) {
        let (key, member) = (SET, format!("m{}", random.below(ELEMENTS * 2)));
        match random.below(4) {
            0 => {
                client.cmd(key, &["SADD", key, &member]);
                self.set.insert(member);
            }
            1 => {
                client.cmd(key, &["SREM", key, &member]);
                self.set.remove(&member);
            }
            2 => {
                client.cmd(key, &["SMOVE", key, "{t}others", &member]);
                self.set.remove(&member);
            }
            _ => {
                let popped = client.cmd(key, &["SPOP", key]).text();
                assert!(self.set.remove(&popped), "{popped} was not there");
            }
        }
    }

    fn write_zset(&mut self, client: &mut Routed, random: &mut Random) {
        let (key, member) = (ZSET, format!("m{}", random.below(ELEMENTS * 2)));
        let score = random.below(ELEMENTS / 10) as i64;
        // Looking for a score takes the model its time.
        match random.below(100) {
            0..33 => {
                client.cmd(key, &["ZADD", key, &score.to_string(), &member]);
                self.zset.insert(member, score);
            }
            33..50 => {
                client.cmd(key, &["ZADD", key, "XX", "GT", &score.to_string(), &member]);
                self.zset.entry(member).and_modify(|old| *old = score.max(*old));
            }
            50..65 => {
                client.cmd(key, &["ZINCRBY", key, "-7", &member]);
                *self.zset.entry(member).or_default() -= 7;
            }
            65..68 => {
                let score = score.to_string();
                client.cmd(key, &["ZREMRANGEBYSCORE", key, &score, &score]);
                let score: i64 = score.parse().expect("a number");
                self.zset.retain(|_, there| *there != score);
            }
            68..84 => {
                let popped = client.cmd(key, &["ZPOPMIN", key]).value.items()[0].text();
                assert!(self.zset.remove(&popped).is_some(), "{popped} was not there");
            }
            _ => {
                client.cmd(key, &["ZREM", key, &member]);
                self.zset.remove(&member);
            }
        }
    }

    fn write_list(&mut self, client: &mut Routed, random: &mut Random) {
        let (new, other) = (format!("new:{}", self.writes), format!("newer:{}", self.writes));
        match random.below(7) {
            0 => {
                client.cmd(LIST, &["RPUSH", LIST, &new, &other]);
                self.list.extend([new, other]);
            }
            1 => {
                client.cmd(LIST, &["LPUSH", LIST, &new, &other]);
                [new, other].into_iter().for_each(|element| self.list.push_front(element));
            }
            2 => {
                assert_eq!(Some(client.cmd(LIST, &["LPOP", LIST]).text()), self.list.pop_front());
            }
            3 => {
                client.cmd(LIST, &["RPOP", LIST, "20"]);
                self.list.truncate(self.list.len() - 20);
            }
            4 => {
                client.cmd(LIST, &["LTRIM", LIST, "2", "-3"]);
                self.list.drain(..2);
                self.list.truncate(self.list.len() - 2);
            }
            5 => {
                client.cmd(LIST, &["LMPOP", "1", LIST, "LEFT", "COUNT", "3"]);
                self.list.drain(..3);
            }
            _ => {
                let popped = client.cmd(LIST, &["BLPOP", LIST, "1"]).value.items()[1].text();
                assert_eq!(Some(popped), self.list.pop_front());
            }
        }
    }

    fn check(&self, node: &Server) {
        let mut client = node.connect();
        let pairs = |value: Value| -> Vec<(String, String)> {
            value.items().chunks(2).map(|pair| (pair[0].text(), pair[1].text())).collect()
        };
        let hash: BTreeMap<String, String> = pairs(client.must(&format!("HGETALL {}", HASH))).into_iter().collect();
        assert!(hash == self.hash, "{} fields and {}", hash.len(), self.hash.len());
        let set: BTreeSet<String> = client.must(&format!("SMEMBERS {}", SET)).items().iter().map(Value::text).collect();
        assert!(set == self.set, "{} members and {}", set.len(), self.set.len());
        let mut ordered: Vec<(i64, String)> =
            self.zset.iter().map(|(member, score)| (*score, member.clone())).collect();
        ordered.sort();
        let zset: Vec<(i64, String)> = pairs(client.must(&format!("ZRANGE {} 0 -1 WITHSCORES", ZSET)))
            .into_iter()
            .map(|(member, score)| (score.parse().expect("a whole number"), member))
            .collect();
        let list: VecDeque<String> =
            client.must(&format!("LRANGE {LIST} 0 -1")).items().iter().map(Value::text).collect();
        assert!(list == self.list, "{} elements and {}", list.len(), self.list.len());
        assert!(zset == ordered, "{} members and {}", zset.len(), ordered.len());
    }
}

/// Of the last job of a source.
fn sent_bytes(node: &Server) -> u64 {
    let jobs = node.connect().must("CLUSTER GETSLOTMIGRATIONS");
    jobs.items()[0].field("sent_bytes").map_or(0, Value::integer) as u64
}

/// Moves the slot while a client writes; the model as it is then.
fn move_under_writes(from: &Server, to: &Server, mut model: Model, seed: u64) -> Model {
    let stop = AtomicBool::new(false);
    let mut client = Routed::new(&[from.port, to.port]);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut random = Random::new(seed);
            while !stop.load(Ordering::Relaxed) {
                model.write(&mut client, &mut random);
            }
        });
        begin_move(from, to, SLOT, SLOT);
        let ended = holds_within(LIMIT, || is_over(&last_job(from, "state")));
        stop.store(true, Ordering::Relaxed);
        writing.join().expect("the writer is well");
        assert!(ended && last_job(from, "state") == "success", "{}", last_job(from, "message"));
    });
    model
}

/// They are neither held up nor sent again and again: what changes is sent besides.
#[test]
fn large_values_that_change_all_the_time_are_sent_once() {
    let nodes = [node(Kind::Slotcore, &[]), node(Kind::Slotcore, &[])];
    join(&[&nodes[0], &nodes[1]]);
    let [stranger, owner] = &nodes;
    let model = move_under_writes(owner, stranger, Model::fill(owner), 7);
    model.check(stranger);
    assert!(model.writes > 10, "{} writes while it moved", model.writes);
    let under_writes = sent_bytes(owner);
    assert_eq!(moves(stranger, owner, SLOT, SLOT), "success");
    model.check(owner);
    let quiet = sent_bytes(stranger);
    // The changes, each of which is some words.
    let changes = model.writes * 4 * 100;
    println!("{under_writes} bytes, and {quiet} without {} writes", model.writes);
    assert!(under_writes < quiet * 3 / 2 + changes);
}

#[test]
fn large_values_that_are_changed_in_other_ways_are_sent_anew() {
    let nodes = [node(Kind::Slotcore, &[]), node(Kind::Slotcore, &[])];
    join(&[&nodes[0], &nodes[1]]);
    let [stranger, owner] = &nodes;
    let mut model = Model::fill(owner);
    model.breaks = true;
    let model = move_under_writes(owner, stranger, model, 8);
    model.check(stranger);
}
