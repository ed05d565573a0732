//! A journal of random requests, loaded by a redis-server, makes the data that slotcore has.
//!
//! `SLOTCORE_REPLAY_COMMANDS` requests (default 20000) from seed `SLOTCORE_DIFF_SEED`, or from a fresh one, which is printed.

use std::fs;
use std::path::Path;

use super::{APPENDING, one_core};
use crate::differential::requests::Mixed;
use crate::support::aof;
use crate::support::client::encode;
use crate::support::{Client, Server, Value, number_from_env};

const CONNECTIONS: usize = 3;
/// Keys that live shorter than this go before the comparison: they could expire in the middle of it.
const SHORT_LIVED_MS: i64 = 600_000;
const DATABASES: usize = 16;

#[test]
fn a_journal_makes_the_same_data_again() {
    let commands = number_from_env("SLOTCORE_REPLAY_COMMANDS", 20_000);
    let mut mixed = Mixed::new(CONNECTIONS);
    println!("SLOTCORE_DIFF_SEED={} SLOTCORE_REPLAY_COMMANDS={commands}", mixed.seed());
    let live = one_core(&[]);
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| live.connect()).collect();
    let mut sent = 0;
    while sent < commands {
        let (connection, mut batch) = mixed.next();
        // 7.2 merges some damaged HyperLogLogs that 7.0 refuses. What PFMERGE records otherwise is among the cases.
        batch.retain(|args| !args.first().is_some_and(|name| name.eq_ignore_ascii_case(b"PFMERGE")));
        let client = &mut clients[connection];
        let bytes: Vec<u8> = batch.iter().flat_map(|args| encode(args)).collect();
        client.send(&bytes);
        batch.iter().for_each(|_| drop(client.read()));
        sent += batch.len() as u64;
    }
    let mut client = live.connect();
    drop_short_lived(&mut client);
    client.must("SELECT 0");
    client.must("SET all done");
    aof::commands_up_to(&live, &["SET", "all", "done"]);

    let replayed = Server::redis(APPENDING);
    let mut loaded = load(replayed, &aof::bytes(&live));
    let (ours, theirs) = (data(&mut client), data(&mut loaded.1));
    let differing: Vec<String> = ours
        .iter()
        .zip(&theirs)
        .filter(|(our, their)| our != their)
        .map(|(our, their)| format!("live:     {our}\nreplayed: {their}"))
        .collect();
    assert!(
        differing.is_empty() && ours.len() == theirs.len(),
        "seed {}: {} and {} keys\n{}",
        mixed.seed(),
        ours.len(),
        theirs.len(),
        differing.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n")
    );
    assert!(ours.len() > 20, "a comparison of next to nothing");
}

/// Starts the server again with these bytes as its only append-only file.
fn load(mut server: Server, bytes: &[u8]) -> (Server, Client) {
    server.stop();
    let folder = server.dir.join("appendonlydir");
    fs::remove_dir_all(&folder).expect("the folder of the files");
    fs::create_dir(&folder).expect("the same folder, empty");
    write(&folder, "appendonly.aof.1.incr.aof", bytes);
    write(&folder, "appendonly.aof.manifest", b"file appendonly.aof.1.incr.aof seq 1 type i\n");
    server.restart();
    let mut client = server.connect();
    // One that answers may still be loading.
    assert!(crate::support::holds_within(std::time::Duration::from_secs(60), || !client.line("DBSIZE").is_error()));
    (server, client)
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    fs::write(folder.join(name), bytes).expect("a file is written");
}

fn drop_short_lived(client: &mut Client) {
    for database in 0..DATABASES {
        client.must(&format!("SELECT {database}"));
        for key in keys(client) {
            let left = client.cmd(&[b"PTTL", key.as_slice()]).value.integer();
            if (0..SHORT_LIVED_MS).contains(&left) {
                client.cmd(&[b"DEL", key.as_slice()]);
            }
        }
    }
}

fn keys(client: &mut Client) -> Vec<Vec<u8>> {
    let reply = client.must("KEYS *");
    let mut keys: Vec<Vec<u8>> = reply.items().iter().map(|key| key.bytes().to_vec()).collect();
    keys.sort();
    keys
}

/// One line for each key: its database, name, expiry, digest, and what its groups have read.
fn data(client: &mut Client) -> Vec<String> {
    let mut lines = Vec::new();
    for database in 0..DATABASES {
        client.must(&format!("SELECT {database}"));
        for key in keys(client) {
            let mut ask = |words: &[&[u8]]| client.cmd(words).value;
            let expiry = ask(&[b"PEXPIRETIME", &key]).integer();
            let kind = ask(&[b"TYPE", &key]).text();
            let digest = match kind.as_str() {
                "zset" => scored(&ask(&[b"ZRANGE", &key, b"0", b"-1", b"WITHSCORES"])),
                _ => ask(&[b"DEBUG", b"DIGEST-VALUE", &key]).items()[0].text(),
            };
            let groups = if kind == "stream" { groups(&ask(&[b"XINFO", b"GROUPS", &key])) } else { String::new() };
            lines.push(format!("{database} {} {kind} {expiry} {digest} {groups}", key.escape_ascii()));
        }
    }
    lines
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

/// Names, pending entries and places of groups. Consumers that got nothing are not told of, as in Redis.
fn groups(reply: &Value) -> String {
    let known = |group: &Value| {
        let field = |name| group.field(name).cloned().unwrap_or(Value::Null);
        format!("{:?} {:?} {:?};", field("name"), field("pending"), field("last-delivered-id"))
    };
    reply.items().iter().map(known).collect()
}
