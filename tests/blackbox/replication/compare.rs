//! What two nodes have, compared key by key.
//!
//! For each key of each database: its type, its expiry, DEBUG DIGEST-VALUE, what its groups have read, and what DUMP gives.
//! A payload is written differently by other encodings and other orders of a hash table: those that differ are restored into
//! a node of their own and compared as values.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::nodes::{Info, settle};
use crate::support::client::encode;
use crate::support::{Client, Server, Value, holds_within};

const DATABASES: usize = 16;
const BATCH: usize = 200;
/// Keys that live shorter than this go before the comparison: they could expire in the middle of it.
const SHORT_LIVED_MS: i64 = 600_000;
const SHOWN_MAX: usize = 20;

/// A key with its database.
type Place = (usize, Vec<u8>);

struct Entry {
    /// Everything but the payload, as one line.
    facts: String,
    payload: Vec<u8>,
}

/// What of the data is the same on two nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sameness {
    /// Everything, and the digest of the whole.
    All,
    /// The data of any requests: with scores that are not exact 7.0 and 7.2 give different digests, and how often a consumer
    /// has read its own pending entries again is told to no replica.
    Values,
}

/// Waits until the replicas are in step, then compares all keys.
pub fn assert_same(primary: &Server, replicas: &[&Server], sameness: Sameness) {
    expire_all(primary);
    for replica in replicas {
        settle(primary, replica);
    }
    let ours = entries(primary, sameness);
    for replica in replicas {
        let theirs = entries(replica, sameness);
        report(primary, replica, &ours, &theirs);
        compare_payloads(&ours, &theirs, sameness);
        if sameness == Sameness::All {
            let digest = |server: &Server| server.connect().must("DEBUG DIGEST").text();
            assert_eq!(digest(primary), digest(replica), "DEBUG DIGEST of {} keys that are the same", ours.len());
        }
    }
    assert!(!ours.is_empty(), "a comparison of nothing");
}

/// Takes away what lives short, and waits until the primary has found all whose time has come: it then sends no more
/// by itself but its pings.
pub fn expire_all(primary: &Server) {
    let mut client = primary.connect();
    for database in 0..DATABASES {
        client.must(&format!("SELECT {database}"));
        let keys: Vec<Vec<u8>> = scan(&mut client).into_iter().collect();
        let left = ask(&mut client, &keys, |key| vec![b"PTTL".to_vec(), key.to_vec()]);
        for (key, left) in keys.iter().zip(left) {
            if (0..SHORT_LIVED_MS).contains(&left.integer()) {
                client.cmd(&[b"DEL", key.as_slice()]);
            }
        }
        let found = holds_within(Duration::from_secs(20), || {
            let alive = i64::try_from(scan(&mut client).len()).expect("a count");
            client.must("DBSIZE").integer() == alive
        });
        assert!(found, "keys of database {database} that have expired are still counted");
    }
}

fn scan(client: &mut Client) -> BTreeSet<Vec<u8>> {
    let mut keys = BTreeSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let reply = client.must(&format!("SCAN {cursor} COUNT 1000"));
        keys.extend(reply.items()[1].items().iter().map(|key| key.bytes().to_vec()));
        cursor = reply.items()[0].text();
        if cursor == "0" {
            return keys;
        }
    }
}

/// One request for each key, sent in batches.
fn ask(client: &mut Client, keys: &[Vec<u8>], request: impl Fn(&[u8]) -> Vec<Vec<u8>>) -> Vec<Value> {
    let mut replies = Vec::new();
    for batch in keys.chunks(BATCH) {
        client.send(&batch.iter().flat_map(|key| encode(&request(key))).collect::<Vec<u8>>());
        replies.extend(batch.iter().map(|_| client.read().value));
    }
    replies
}

fn entries(server: &Server, sameness: Sameness) -> BTreeMap<Place, Entry> {
    let mut client = server.connect();
    let mut all = BTreeMap::new();
    for database in 0..DATABASES {
        client.must(&format!("SELECT {database}"));
        let keys: Vec<Vec<u8>> = scan(&mut client).into_iter().collect();
        let words = |word: &'static [u8]| move |key: &[u8]| vec![word.to_vec(), key.to_vec()];
        let kinds = ask(&mut client, &keys, words(b"TYPE"));
        let expiries = ask(&mut client, &keys, words(b"PEXPIRETIME"));
        let payloads = ask(&mut client, &keys, words(b"DUMP"));
        for (((key, kind), expiry), payload) in keys.into_iter().zip(kinds).zip(expiries).zip(payloads) {
            let contents = contents(&mut client, &key, &kind.text(), sameness);
            let facts = format!("{} expires {} {contents}", kind.text(), expiry.integer());
            let payload = if payload.is_nil() { Vec::new() } else { payload.bytes().to_vec() };
            all.insert((database, key), Entry { facts, payload });
        }
    }
    all
}

/// The value as text that is the same for the same value on every node.
fn contents(client: &mut Client, key: &[u8], kind: &str, sameness: Sameness) -> String {
    let mut ask = |words: &[&[u8]]| client.cmd(words).value;
    match kind {
        "zset" => scored(&ask(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"])),
        "stream" => {
            let digest = ask(&[b"DEBUG", b"DIGEST-VALUE", key]).items()[0].text();
            let stream = ask(&[b"XINFO", b"STREAM", key]);
            let fields = ["length", "last-generated-id", "max-deleted-entry-id", "entries-added"];
            let fields: String = fields.iter().map(|name| format!(" {name} {:?}", stream.field(name))).collect();
            let groups = ask(&[b"XINFO", b"GROUPS", key]);
            let groups: Vec<String> =
                groups.items().iter().map(|group| group_of(client, key, group, sameness)).collect();
            format!("{digest}{fields} {}", groups.join(" "))
        }
        "string" => {
            let digest = ask(&[b"DEBUG", b"DIGEST-VALUE", key]).items()[0].text();
            // What a failing test shows of it.
            format!("{digest} {}", ask(&[b"GETRANGE", key, b"0", b"40"]))
        }
        _ => ask(&[b"DEBUG", b"DIGEST-VALUE", key]).items()[0].text(),
    }
}

/// Members and scores. 7.0 and 7.2 write the same score differently, in digests too, and keep the sign of a zero or not.
fn scored(reply: &Value) -> String {
    let score =
        |text: &Value| text.text().parse::<f64>().map_or_else(|_| text.text(), |score| (score + 0.0).to_string());
    let mut pairs: Vec<String> =
        reply.items().chunks(2).map(|pair| format!("{} {}", pair[0], score(&pair[1]))).collect();
    // Where only the sign tells two zeros apart, it tells their order.
    pairs.sort();
    pairs.join(" ")
}

/// A group: where it is, and which consumer has which entry for how many times. Consumers without entries are not told of.
fn group_of(client: &mut Client, key: &[u8], group: &Value, sameness: Sameness) -> String {
    let name = group.field("name").expect("a group has a name").bytes().to_vec();
    let place = group.field("last-delivered-id").expect("a group has a place").text();
    let pending = client.cmd(&[b"XPENDING", key, &name, b"-", b"+", b"100000"]).value;
    let pending: Vec<String> = pending
        .items()
        .iter()
        .map(|entry| {
            let times = if sameness == Sameness::All { entry.items()[3].to_string() } else { String::new() };
            format!("{}:{}:{times}", entry.items()[0], entry.items()[1])
        })
        .collect();
    format!("({} at {place}: {})", name.escape_ascii(), pending.join(" "))
}

fn report(primary: &Server, replica: &Server, ours: &BTreeMap<Place, Entry>, theirs: &BTreeMap<Place, Entry>) {
    let places: BTreeSet<&Place> = ours.keys().chain(theirs.keys()).collect();
    let shown = |entry: Option<&Entry>| entry.map_or("nothing", |entry| entry.facts.as_str()).to_owned();
    let differing: Vec<String> = places
        .into_iter()
        .filter(|place| ours.get(*place).map(|entry| &entry.facts) != theirs.get(*place).map(|entry| &entry.facts))
        .map(|place| {
            let name = format!("{} {}", place.0, place.1.escape_ascii());
            format!("{name}\n  primary: {}\n  replica: {}", shown(ours.get(place)), shown(theirs.get(place)))
        })
        .collect();
    assert!(
        differing.is_empty(),
        "{:?} -> {:?}: {} of {} and {} keys differ\n{}\nprimary:\n{}\nreplica:\n{}",
        primary.kind,
        replica.kind,
        differing.len(),
        ours.len(),
        theirs.len(),
        differing.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join("\n"),
        Info::of(primary).replication(),
        Info::of(replica).replication()
    );
}

/// Payloads that are not the same bytes make the same value.
fn compare_payloads(ours: &BTreeMap<Place, Entry>, theirs: &BTreeMap<Place, Entry>, sameness: Sameness) {
    let apart: Vec<(&Place, &Entry, &Entry)> = ours
        .iter()
        .filter_map(|(place, our)| Some((place, our, theirs.get(place)?)))
        .filter(|(_, our, their)| our.payload != their.payload)
        .collect();
    if apart.is_empty() {
        return;
    }
    let scratch = super::nodes::node(crate::support::Kind::Redis, &[]);
    let mut client = scratch.connect();
    for (place, our, their) in apart {
        let mut made = |name: &[u8], payload: &[u8]| {
            let reply = client.cmd(&[b"RESTORE", name, b"0", payload, b"REPLACE"]);
            assert!(!reply.is_error(), "the payload of {} {}: {reply}", place.0, place.1.escape_ascii());
            let kind = client.cmd(&[b"TYPE", name]).text();
            contents(&mut client, name, &kind, sameness)
        };
        let (our, their) = (made(b"ours", &our.payload), made(b"theirs", &their.payload));
        assert_eq!(our, their, "the payloads of {} {}", place.0, place.1.escape_ascii());
    }
}
