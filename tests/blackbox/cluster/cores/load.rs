//! A load whose every reply is known beforehand, and what must be there after any part of it.
//!
//! A writer has a tag, and so a slot, of its own, and sends pipelines of units: one command or one transaction each. It knows the state
//! behind each unit. What is found at the end must be the state behind some unit, not before the last that was acknowledged and not behind the
//! last that was sent: what is lost, doubled or put in another order is no such state.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::client::{encode, split_line};
use crate::support::random::Random;
use crate::support::{Client, Value};

/// What a tag's keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    counter: i64,
    appended: i64,
    list: i64,
    field: i64,
    pair: i64,
    watched: i64,
    scripted: i64,
    toggled: Option<i64>,
}

pub struct Writer {
    pub tag: String,
    /// The state behind each unit, that before the first one first.
    states: Vec<State>,
    acknowledged: usize,
    short_lived: u64,
}

/// Requests and the replies that they must get.
struct Unit {
    requests: Vec<(String, String)>,
    next: State,
}

impl Writer {
    pub fn new(tag: String) -> Writer {
        Writer { tag, states: vec![State::default()], acknowledged: 0, short_lived: 0 }
    }

    pub fn units(&self) -> usize {
        self.acknowledged
    }

    fn unit(&mut self, random: &mut Random) -> Unit {
        let (tag, mut next) = (&self.tag, self.states.last().expect("the first one").clone());
        let one = |line: String, reply: String| vec![(line, reply)];
        let requests = match random.below(12) {
            0 | 1 => {
                next.counter += 1;
                one(format!("INCR {tag}c"), format!(":{}", next.counter))
            }
            2 => {
                next.appended += 1;
                one(format!("APPEND {tag}a x"), format!(":{}", next.appended))
            }
            3 => {
                next.list += 1;
                one(format!("RPUSH {tag}l {}", next.list), format!(":{}", next.list))
            }
            4 => {
                next.field += 1;
                one(format!("HINCRBY {tag}h f 1"), format!(":{}", next.field))
            }
            5 => {
                next.pair += 1;
                vec![
                    ("MULTI".into(), "+OK".into()),
                    (format!("INCR {tag}p"), "+QUEUED".into()),
                    (format!("INCR {tag}q"), "+QUEUED".into()),
                    ("EXEC".into(), format!("[:{0}, :{0}]", next.pair)),
                ]
            }
            6 => {
                let read = if next.watched == 0 { "nil".to_owned() } else { format!("'{}'", next.watched) };
                next.watched += 1;
                vec![
                    (format!("WATCH {tag}w"), "+OK".into()),
                    (format!("GET {tag}w"), read),
                    ("MULTI".into(), "+OK".into()),
                    (format!("INCR {tag}w"), "+QUEUED".into()),
                    ("EXEC".into(), format!("[:{}]", next.watched)),
                ]
            }
            7 => {
                next.scripted += 1;
                let script = "EVAL \"return redis.call('incr', KEYS[1])\"";
                one(format!("{script} 1 {tag}e"), format!(":{}", next.scripted))
            }
            8 => {
                next.toggled = Some(next.counter);
                one(format!("SET {tag}t {}", next.counter), "+OK".into())
            }
            9 => {
                let was_there = i64::from(next.toggled.take().is_some());
                one(format!("DEL {tag}t"), format!(":{was_there}"))
            }
            10 => {
                self.short_lived += 1;
                one(format!("SET {tag}x:{} v PX {}", self.short_lived, 1 + random.below(30)), "+OK".into())
            }
            _ => one(format!("LLEN {tag}l"), format!(":{}", next.list)),
        };
        Unit { requests, next }
    }

    /// Writes until it is told to stop, or the connection breaks.
    ///
    /// # Panics
    /// When a reply is not what it must be.
    pub fn run(&mut self, client: &mut Client, random: &mut Random, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let mut units = Vec::new();
            let mut bytes = Vec::new();
            for _ in 0..1 + random.below(16) {
                let unit = self.unit(random);
                unit.requests.iter().for_each(|(line, _)| bytes.extend(encode(&split_line(line))));
                self.states.push(unit.next.clone());
                units.push(unit);
            }
            if client.try_send(&bytes).is_err() || self.read(client, &units).is_err() {
                return;
            }
        }
    }

    fn read(&mut self, client: &mut Client, units: &[Unit]) -> io::Result<()> {
        for unit in units {
            for (line, expected) in &unit.requests {
                let reply = client.try_read()?.to_string();
                assert_eq!(reply, *expected, "{line}, behind {:?}", self.states[self.acknowledged]);
            }
            self.acknowledged += 1;
        }
        Ok(())
    }

    /// Looks at what is there.
    ///
    /// # Panics
    /// When that is not what a part of the load leaves behind.
    pub fn check(&self, client: &mut Client) {
        let tag = &self.tag;
        let mut number = |line: String| -> Option<i64> {
            let reply = client.line(&line);
            match &reply.value {
                _ if reply.is_nil() => None,
                Value::Integer(number) => Some(*number),
                _ => Some(reply.text().parse().unwrap_or_else(|_| panic!("{line}: {reply}"))),
            }
        };
        let pair = number(format!("GET {tag}p")).unwrap_or(0);
        assert_eq!(number(format!("GET {tag}q")).unwrap_or(0), pair, "{tag}: half of a transaction");
        let found = State {
            counter: number(format!("GET {tag}c")).unwrap_or(0),
            appended: number(format!("STRLEN {tag}a")).unwrap_or(0),
            list: number(format!("LLEN {tag}l")).unwrap_or(0),
            field: number(format!("HGET {tag}h f")).unwrap_or(0),
            pair,
            watched: number(format!("GET {tag}w")).unwrap_or(0),
            scripted: number(format!("GET {tag}e")).unwrap_or(0),
            toggled: number(format!("GET {tag}t")),
        };
        let possible = &self.states[self.acknowledged..];
        assert!(
            possible.contains(&found),
            "{tag}: {found:?} is there; {} units were acknowledged, up to {:?}, {} more were sent, up to {:?}",
            self.acknowledged,
            possible.first(),
            possible.len() - 1,
            possible.last()
        );
        let list = client.must(&format!("LRANGE {tag}l 0 -1"));
        let numbers = list.items().iter().map(|item| item.text().parse::<i64>().expect("ours"));
        assert!(numbers.eq(1..=found.list), "{tag}l has its elements once, in order");
    }
}
