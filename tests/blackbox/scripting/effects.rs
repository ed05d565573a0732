//! What scripts leave behind: in append-only files, in the streams of replicas, and in what others are told.

use std::time::Duration;

use crate::support::{Server, aof, holds_within};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn files_get_the_effects_of_a_script_as_one_transaction() {
    let server = Server::slotcore(&["--appendonly", "yes"]);
    let client = &mut server.connect();
    client.must("SADD {s} a");
    client.cmd(&["EVAL", "redis.call('set', KEYS[1], 1) redis.call('expire', KEYS[1], 1000) redis.call('spop', '{s}') return redis.call('get', KEYS[1])", "1", "{s}k"]);
    client.cmd(&["EVAL", "return redis.call('get', KEYS[1])", "1", "{s}k"]);
    client.cmd(&[
        "EVAL",
        "redis.set_repl(redis.REPL_NONE) redis.call('set', KEYS[1], 'silent') redis.set_repl(redis.REPL_ALL)",
        "1",
        "{s}k",
    ]);
    client.cmd(&["EVAL", "redis.call('set', KEYS[1], 2) redis.call('nosuch')", "1", "{s}k"]);
    client.must("SET {s}end 1");
    let commands = aof::commands_up_to(&server, &["SET", "{s}end", "1"]);
    let shown: Vec<String> = commands.iter().map(|words| aof::shown(words)).collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).filter(|line| !line.starts_with("SELECT")).collect();
    assert_eq!(shown[0], "SADD {s} a");
    assert_eq!(shown[1..3], ["MULTI", "set {s}k 1"], "{shown:?}");
    assert!(shown[3].to_lowercase().starts_with("pexpireat {s}k "), "{shown:?}");
    let rest: Vec<String> = shown[4..].iter().map(|line| line.to_lowercase()).collect();
    assert_eq!(rest, ["srem {s} a", "exec", "set {s}k 2", "set {s}end 1"], "{shown:?}");
}

#[test]
fn a_script_touches_what_is_watched_and_wakes_who_waits() {
    let server = Server::slotcore(&[]);
    let (mut watcher, mut waiter, mut client) = (server.connect(), server.connect(), server.connect());
    watcher.must("WATCH {k}a");
    waiter.send(b"*3\r\n$5\r\nBLPOP\r\n$4\r\n{k}l\r\n$1\r\n0\r\n");
    assert!(holds_within(LIMIT, || client.info_number("blocked_clients") == 1));
    client.cmd(&[
        "EVAL",
        "redis.call('set', KEYS[1], 1) redis.call('rpush', KEYS[2], 'x') return 1",
        "2",
        "{k}a",
        "{k}l",
    ]);
    assert_eq!(waiter.read().to_string(), "['{k}l', 'x']");
    watcher.must("MULTI");
    watcher.must("PING");
    assert!(watcher.must("EXEC").is_nil());
}

#[test]
fn monitors_see_the_script_and_what_it_calls() {
    let server = Server::slotcore(&[]);
    let (mut monitor, mut client) = (server.connect(), server.connect());
    assert_eq!(monitor.line("MONITOR").to_string(), "+OK");
    client.cmd(&["EVAL", "return redis.call('set', KEYS[1], 'v')", "1", "key"]);
    let lines = [monitor.read().to_string(), monitor.read().to_string()];
    assert!(lines[0].contains("\"EVAL\"") && lines[0].contains("127.0.0.1:"), "{lines:?}");
    assert!(lines[1].contains("lua] \"set\" \"key\" \"v\""), "{lines:?}");
}

#[test]
fn a_replica_runs_scripts_that_only_read() {
    let primary = Server::slotcore(&[]);
    let replica = Server::slotcore(&["--replicaof", &format!("127.0.0.1 {}", primary.port)]);
    primary.connect().must("SET key value");
    let client = &mut replica.connect();
    assert!(holds_within(LIMIT, || client.line("GET key").to_string() == "'value'"));
    assert_eq!(client.cmd(&["EVAL", "return redis.call('get', KEYS[1])", "1", "key"]).to_string(), "'value'");
    let refused = client.cmd(&["EVAL", "return redis.call('set', KEYS[1], 1)", "1", "key"]).to_string();
    assert!(refused.starts_with("-READONLY You can't write against a read only replica."), "{refused}");
    let refused = client.cmd(&["EVAL", "#!lua\nreturn 1", "1", "key"]).to_string();
    assert_eq!(refused, "-READONLY You can't write against a read only replica.");
}

#[test]
fn a_full_node_runs_what_takes_no_memory() {
    let server = Server::slotcore(&["--maxmemory", "1"]);
    let client = &mut server.connect();
    assert_eq!(client.cmd(&["EVAL", "return redis.call('get', KEYS[1])", "1", "key"]).to_string(), "nil");
    let refused = client.cmd(&["EVAL", "return redis.call('set', KEYS[1], 1)", "1", "key"]).to_string();
    assert!(refused.starts_with("-OOM command not allowed when used memory > 'maxmemory'."), "{refused}");
    let refused = client.cmd(&["EVAL", "#!lua\nreturn 1", "1", "key"]).to_string();
    assert!(refused.starts_with("-OOM command not allowed"), "{refused}");
    let said = client.cmd(&["EVAL", "#!lua flags=allow-oom\nreturn redis.call('set', KEYS[1], 1)", "1", "key"]);
    assert_eq!(said.to_string(), "+OK");
}
