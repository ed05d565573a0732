//! Values of every type, small and large, between servers of both kinds.

use std::time::Duration;

use crate::support::client::{encode, split_line};
use crate::support::{Client, Kind, Server, holds_within};

const LIMIT: Duration = Duration::from_secs(60);

/// A key of each type, with so many elements.
fn fill(client: &mut Client, prefix: &str, elements: usize) -> Vec<String> {
    let mut lines = vec![format!("SET {prefix}:string {}", "v".repeat(elements * 10)), format!("SET {prefix}:int 12")];
    for first in (0..elements).step_by(500) {
        let numbers = || first..(first + 500).min(elements);
        let words = |word: &dyn Fn(usize) -> String| numbers().map(word).collect::<Vec<_>>().join(" ");
        lines.push(format!("RPUSH {prefix}:list {}", words(&|n| format!("item:{n}"))));
        lines.push(format!("SADD {prefix}:set {}", words(&|n| format!("member:{n}"))));
        lines.push(format!("HSET {prefix}:hash {}", words(&|n| format!("field:{n} value:{n}"))));
        lines.push(format!("ZADD {prefix}:zset {}", words(&|n| format!("{}.5 member:{n}", n % 97))));
        lines.push(format!("SADD {prefix}:ints {}", words(&|n| n.to_string())));
        lines.extend(numbers().step_by(10).map(|n| format!("XADD {prefix}:stream {}-1 f {n}", n + 1)));
    }
    lines.push(format!("XGROUP CREATE {prefix}:stream g 0"));
    lines.push(format!("XREADGROUP GROUP g c COUNT 3 STREAMS {prefix}:stream >"));
    client.pipeline(&lines).iter().for_each(|reply| assert!(!reply.is_error(), "{reply}"));
    let types = ["string", "int", "list", "set", "hash", "zset", "ints", "stream"];
    types.map(|kind| format!("{prefix}:{kind}")).to_vec()
}

fn digests(client: &mut Client, keys: &[String]) -> Vec<String> {
    keys.iter().map(|key| client.must(&format!("DEBUG DIGEST-VALUE {key}")).to_string()).collect()
}

#[test]
fn every_type_arrives_as_it_was() {
    let args = ["--enable-debug-command", "yes"];
    for (from, to) in [(Kind::Slotcore, Kind::Redis), (Kind::Redis, Kind::Slotcore), (Kind::Slotcore, Kind::Slotcore)] {
        let (source, target) = (Server::start(from, &args), Server::start(to, &args));
        let (mut here, mut there) = (source.connect(), target.connect());
        let mut keys = fill(&mut here, "small", 20);
        keys.extend(fill(&mut here, "large", 6000));
        let before = digests(&mut here, &keys);
        here.must(&format!("MIGRATE 127.0.0.1 {} \"\" 0 20000 KEYS {}", target.port, keys.join(" ")));
        assert_eq!(here.must("DBSIZE").integer(), 0);
        assert_eq!(digests(&mut there, &keys), before, "{from:?} to {to:?}");
        let group = there.must("XPENDING large:stream g").to_string();
        assert!(group.starts_with("[:3,"), "{group}");
    }
}

/// A key of 100k elements goes while others are served.
#[test]
fn a_large_key_does_not_keep_others_waiting() {
    const ELEMENTS: usize = 100_000;
    let args = ["--enable-debug-command", "yes", "--appendonly", "yes"];
    let (source, target) = (Server::slotcore(&args), Server::slotcore(&args));
    let (mut here, mut there, mut other) = (source.connect(), target.connect(), source.connect());
    let keys = fill(&mut here, "k", ELEMENTS);
    let before = digests(&mut here, &keys);
    here.set_read_timeout(LIMIT);
    let line = format!("MIGRATE 127.0.0.1 {} \"\" 0 60000 KEYS {}", target.port, keys.join(" "));
    here.send(&encode(&split_line(&line)));
    let (mut served, mut answer) = (0u64, None);
    let ended = holds_within(LIMIT, || {
        // Hundreds between two looks, and a key on its way can be read.
        for _ in 0..100 {
            assert!(other.must("EXISTS k:hash").integer() <= 1);
        }
        served += 100;
        answer = here.read_what_is_there();
        answer.is_some()
    });
    assert!(ended && served > 100, "{served} requests served meanwhile");
    assert_eq!(answer.expect("an answer").to_string(), "+OK");
    assert_eq!(here.must("DBSIZE").integer(), 0);
    there.set_read_timeout(LIMIT);
    assert_eq!(digests(&mut there, &keys), before);
    // Nothing of them comes back.
    let mut source = source;
    source.restart();
    assert!(holds_within(LIMIT, || source.connect().info_number("loading") == 0));
    assert_eq!(source.connect().must("DBSIZE").integer(), 0);
}

#[test]
fn replicas_and_files_are_told_that_keys_have_gone() {
    let primary = Server::slotcore(&["--appendonly", "yes", "--notify-keyspace-events", "KEA"]);
    let replica = Server::redis(&["--replicaof", &format!("127.0.0.1 {}", primary.port)]);
    let target = Server::redis(&[]);
    let mut client = primary.connect();
    client.must("MSET a 1 b 2 c 3 stays 4");
    client.must("SELECT 2");
    client.must("SET d 5");
    let mut copy = replica.connect();
    assert!(holds_within(LIMIT, || replica.connect().info("master_link_status").as_deref() == Some("up")));
    copy.must("SELECT 2");
    assert!(holds_within(LIMIT, || copy.must("DBSIZE").integer() == 1));
    let mut events = primary.connect();
    events.must("PSUBSCRIBE __keyevent@*__:del");
    client.must(&format!("MIGRATE 127.0.0.1 {} d 0 5000", target.port));
    assert!(holds_within(LIMIT, || copy.must("DBSIZE").integer() == 0));
    client.must("SELECT 0");
    copy.must("SELECT 0");
    let mut watcher = primary.connect();
    watcher.must("WATCH b");
    client.must(&format!("MIGRATE 127.0.0.1 {} \"\" 1 5000 KEYS a b c", target.port));
    assert!(holds_within(LIMIT, || copy.must("DBSIZE").integer() == 1));
    let heard: Vec<String> = (0..4).map(|_| events.read().value.items()[3].text()).collect();
    assert_eq!(heard, ["d", "a", "b", "c"]);
    watcher.must("MULTI");
    watcher.must("PING");
    assert!(watcher.must("EXEC").is_nil());
    let mut primary = primary;
    primary.restart();
    assert!(holds_within(LIMIT, || primary.connect().info_number("loading") == 0));
    assert_eq!(primary.connect().must("DBSIZE").integer(), 1);
}

/// A payload that has come whole is made into a value in slices: others are served meanwhile, and nobody sees a part of it.
#[test]
fn a_large_value_is_restored_while_others_are_served() {
    const ELEMENTS: usize = 200_000;
    let args = ["--enable-debug-command", "yes", "--appendonly", "yes"];
    let (server, peer) = (Server::slotcore(&args), Server::redis(&["--enable-debug-command", "yes"]));
    let mut there = peer.connect();
    for first in (0..ELEMENTS).step_by(1000) {
        let pairs: Vec<String> = (first..first + 1000).map(|n| format!("field:{n} value:{n}")).collect();
        there.must(&format!("HSET k {}", pairs.join(" ")));
    }
    let digest = there.must("DEBUG DIGEST-VALUE k").to_string();
    let payload = there.must("DUMP k").bytes().to_vec();
    let request = |name: &str, options: &[&str]| {
        let mut words: Vec<&[u8]> = vec![b"RESTORE", name.as_bytes(), b"0", &payload];
        words.extend(options.iter().map(|word| word.as_bytes()));
        encode(&words)
    };
    let (mut client, mut other, mut writer) = (server.connect(), server.connect(), server.connect());
    client.must("SET k old");
    client.send(&request("k", &["REPLACE"]));
    // Whatever it was asked behind it comes behind it.
    client.send(&encode(&["HLEN", "k"]));
    let (mut served, mut has_written, mut answer) = (0, false, None);
    let ended = holds_within(LIMIT, || {
        // All of it has come, and what is written now comes behind it.
        let is_there = other.must("CLIENT LIST").text().contains(" cmd=restore ");
        for _ in 0..50 {
            let kind = other.must("TYPE k").text();
            assert!(kind == "string" || kind == "hash", "{kind}");
            if kind == "string" && !has_written && is_there {
                has_written = true;
                writer.send(&encode(&["HSET", "k", "more", "x"]));
            }
        }
        served += 50;
        answer = client.read_what_is_there();
        answer.is_some()
    });
    assert!(ended && served > 50, "{served} requests served meanwhile");
    assert_eq!(answer.expect("an answer").to_string(), "+OK");
    let length = client.read().value.integer() as usize;
    assert!(length == ELEMENTS || length == ELEMENTS + 1, "{length}");
    if has_written {
        assert_eq!(writer.read().value.integer(), 1);
        client.must("HDEL k more");
    }
    assert_eq!(client.must("DEBUG DIGEST-VALUE k").to_string(), digest);
    client.send(&request("k", &[]));
    assert_eq!(client.read().to_string(), "-BUSYKEY Target key name already exists.");
    // In a transaction it is made at once.
    client.must("MULTI");
    client.send(&request("t", &[]));
    assert_eq!(client.read().to_string(), "+QUEUED");
    assert_eq!(client.must("EXEC").to_string(), "[+OK]");
    // Damage in the middle is found, and leaves nothing.
    let mut damaged = payload.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x55;
    client.must("DEBUG SET-SKIP-CHECKSUM-VALIDATION 1");
    let reply = client.cmd(&[b"RESTORE".as_slice(), b"damaged", b"0", &damaged]).to_string();
    assert!(reply == "-ERR Bad data format" || reply == "+OK", "{reply}");
    client.must("DEBUG SET-SKIP-CHECKSUM-VALIDATION 0");
    client.must("DEL damaged");
    let mut server = server;
    server.restart();
    assert!(holds_within(LIMIT, || server.connect().info_number("loading") == 0));
    let mut client = server.connect();
    for key in ["k", "t"] {
        assert_eq!(client.must(&format!("DEBUG DIGEST-VALUE {key}")).to_string(), digest);
    }
}
