//! Who has to wait while a key is on its way, and what comes between. The target answers when the test says so.

use std::time::Duration;

use super::target::{LIMIT, Link, Target};
use crate::support::client::{encode, split_line};
use crate::support::{Client, Server, holds_within};

/// Long enough for a node to answer what it is going to answer.
const MOMENT: Duration = Duration::from_millis(150);

fn send(client: &mut Client, lines: &[&str]) {
    let bytes: Vec<u8> = lines.iter().flat_map(|line| encode(&split_line(line))).collect();
    client.send(&bytes);
}

/// Whether no reply comes for a moment.
fn is_silent(client: &mut Client) -> bool {
    std::thread::sleep(MOMENT);
    client.read_what_is_there().is_none()
}

/// A node with some keys, of which `k` is on its way to a target that has not answered yet.
struct Moving {
    server: Server,
    mover: Client,
    target: Target,
    link: Link,
}

impl Moving {
    fn begin(args: &[&str]) -> Moving {
        Moving::begin_with(args, "k 0 20000")
    }

    fn begin_with(args: &[&str], words: &str) -> Moving {
        let server = Server::slotcore(args);
        let target = Target::start();
        let mut mover = server.connect();
        mover.must("MSET k old other 1");
        mover.must("RPUSH list a");
        send(&mut mover, &[&format!("MIGRATE 127.0.0.1 {} {words}", target.port)]);
        let mut link = target.accept();
        link.must_get(&["SELECT", "0"]);
        link.must_get(&["RESTORE"]);
        link.send("+OK\r\n");
        Moving { server, mover, target, link }
    }

    fn end(&mut self, answer: &str) -> String {
        self.link.send(answer);
        self.mover.read().to_string()
    }
}

#[test]
fn reads_go_on_and_writes_wait_in_their_order() {
    let mut moving = Moving::begin(&[]);
    let mut reader = moving.server.connect();
    assert_eq!(reader.must("GET k").text(), "old");
    assert_eq!(reader.must("EXISTS k other").integer(), 2);
    // Of many clients, so that some are on every core.
    let mut writers: Vec<Client> = (0..8).map(|_| moving.server.connect()).collect();
    for (number, writer) in writers.iter_mut().enumerate() {
        send(writer, &[&format!("APPEND k {number}"), "GET k", &format!("SET other:{number} x"), "DBSIZE"]);
    }
    for writer in &mut writers {
        assert!(is_silent(writer));
    }
    assert_eq!(reader.must("EXISTS other:0 other:7").integer(), 0);
    assert_eq!(reader.must("INCR other").integer(), 2);
    assert_eq!(moving.end("+OK\r\n"), "+OK");
    // Each has its own write behind it, and what it asked next comes after.
    let mut lengths = Vec::new();
    for (number, writer) in writers.iter_mut().enumerate() {
        let length = writer.read().value.integer() as usize;
        let value = writer.read().value.text();
        assert!(value.len() >= length && value.contains(&number.to_string()), "{number}: {value}");
        assert_eq!(writer.read().to_string(), "+OK");
        assert!(writer.read().value.integer() >= 3);
        lengths.push(length);
    }
    lengths.sort_unstable();
    assert_eq!(lengths, (1..=8).collect::<Vec<_>>());
    assert_eq!(reader.must("STRLEN k").integer(), 8);
}

#[test]
fn what_waits_runs_on_the_old_value_when_the_target_refuses() {
    let mut moving = Moving::begin(&[]);
    let mut writer = moving.server.connect();
    send(&mut writer, &["APPEND k +"]);
    assert!(is_silent(&mut writer));
    assert!(moving.end("-ERR no\r\n").ends_with("ERR no"));
    assert_eq!(writer.read().value.integer(), 4);
    assert_eq!(writer.must("GET k").text(), "old+");
}

#[test]
fn transactions_and_blocking_commands_wait() {
    let mut moving = Moving::begin_with(&[], "\"\" 0 20000 KEYS k list");
    moving.link.must_get(&["RESTORE", "list"]);
    let (mut one, mut two, mut three, mut four) =
        (moving.server.connect(), moving.server.connect(), moving.server.connect(), moving.server.connect());
    send(&mut one, &["MULTI", "INCR other", "SET k new", "GET k", "EXEC", "PING"]);
    for expected in ["+OK", "+QUEUED", "+QUEUED", "+QUEUED"] {
        assert_eq!(one.read().to_string(), expected);
    }
    assert!(is_silent(&mut one));
    // Nothing of it has run.
    assert_eq!(two.must("GET other").text(), "1");
    // One that only reads need not wait.
    send(&mut two, &["MULTI", "GET k", "EXEC"]);
    assert_eq!([two.read(), two.read(), two.read()].map(|reply| reply.to_string()), ["+OK", "+QUEUED", "['old']"]);
    // It would be served at once if the list were not on its way.
    send(&mut two, &["BLPOP list 0"]);
    // This one waits for what is not there, and to write what is on its way.
    send(&mut three, &["BLMOVE source list LEFT RIGHT 0"]);
    send(&mut four, &["RPUSH source x"]);
    assert_eq!(four.read().to_string(), ":1");
    assert!(is_silent(&mut two) && is_silent(&mut three));
    assert_eq!(four.must("LLEN source").integer(), 1);
    let mut mover = moving.server.connect();
    assert_eq!(mover.line("MULTI").to_string(), "+OK");
    let refused = mover.line(&format!("MIGRATE 127.0.0.1 {} k 0 100", moving.target.port)).to_string();
    assert_eq!(refused, "-ERR Command not allowed inside a transaction");
    assert_eq!(moving.end("+OK\r\n+OK\r\n"), "+OK");
    assert_eq!(one.read().to_string(), "[:2, +OK, 'new']");
    assert_eq!(one.read().to_string(), "+PONG");
    // Both lists are empty now but for what BLMOVE has brought, for which the other has waited.
    assert_eq!(three.read().to_string(), "'x'");
    assert_eq!(two.read().to_string(), "['list', 'x']");
}

#[test]
fn a_second_migrate_of_the_key_finds_nothing() {
    let mut moving = Moving::begin(&[]);
    let mut second = moving.server.connect();
    send(&mut second, &[&format!("MIGRATE 127.0.0.1 {} k 0 20000", moving.target.port)]);
    // Another key goes meanwhile, on a connection of its own.
    let mut third = moving.server.connect();
    send(&mut third, &[&format!("MIGRATE 127.0.0.1 {} other 0 20000", moving.target.port)]);
    let mut link = moving.target.accept();
    link.must_get(&["SELECT", "0"]);
    link.must_get(&["RESTORE", "other"]);
    link.send("+OK\r\n+OK\r\n");
    assert_eq!(third.read().to_string(), "+OK");
    assert!(is_silent(&mut second));
    assert_eq!(moving.end("+OK\r\n"), "+OK");
    assert_eq!(second.read().to_string(), "+NOKEY");
}

#[test]
fn keys_that_expire_or_are_flushed_meanwhile_do_not_come_back() {
    let mut moving = Moving::begin(&[]);
    let mut client = moving.server.connect();
    client.must("FLUSHALL");
    send(&mut client, &["SET k new NX"]);
    assert!(is_silent(&mut client));
    assert_eq!(moving.end("+OK\r\n"), "+OK");
    assert_eq!(client.read().to_string(), "+OK");
    assert_eq!(client.must("GET k").text(), "new");

    client.must("SET k brief PX 100");
    send(&mut moving.mover, &[&format!("MIGRATE 127.0.0.1 {} k 0 20000", moving.target.port)]);
    let request = moving.link.request();
    let ttl: i64 = request[2].parse().expect("a number");
    assert!((1..=100).contains(&ttl), "{request:?}");
    assert!(holds_within(LIMIT, || client.must("EXISTS k").integer() == 0));
    send(&mut client, &["SET k after"]);
    assert!(is_silent(&mut client));
    assert_eq!(moving.end("+OK\r\n"), "+OK");
    assert_eq!(client.read().to_string(), "+OK");
    assert_eq!(client.must("GET k").text(), "after");
}

#[test]
fn a_client_that_goes_leaves_the_move_to_itself() {
    let mut moving = Moving::begin(&[]);
    let mut client = moving.server.connect();
    // One that waits and goes: its write is made all the same, as in Redis, where it had been received.
    let mut gone = moving.server.connect();
    send(&mut gone, &["SET k by-the-dead"]);
    assert!(is_silent(&mut gone));
    drop(gone);
    drop(std::mem::replace(&mut moving.mover, moving.server.connect()));
    std::thread::sleep(MOMENT);
    assert_eq!(client.must("GET k").text(), "old");
    moving.link.send("+OK\r\n");
    assert!(holds_within(LIMIT, || client.must("GET k").to_string() == "'by-the-dead'"));
}

#[test]
fn the_end_waits_for_a_pause_of_writes() {
    let mut moving = Moving::begin(&[]);
    let mut client = moving.server.connect();
    client.must("CLIENT PAUSE 100000 WRITE");
    moving.link.send("+OK\r\n");
    assert!(is_silent(&mut moving.mover));
    assert_eq!(client.must("EXISTS k").integer(), 1);
    client.must("CLIENT UNPAUSE");
    assert_eq!(moving.mover.read().to_string(), "+OK");
    assert_eq!(client.must("EXISTS k").integer(), 0);
}

#[test]
fn a_node_that_becomes_a_replica_gives_up() {
    let mut moving = Moving::begin(&[]);
    let primary = Server::slotcore(&[]);
    let (mut client, mut writer) = (moving.server.connect(), moving.server.connect());
    send(&mut writer, &["SET k new"]);
    assert!(is_silent(&mut writer));
    client.must(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    assert_eq!(moving.mover.read().to_string(), "-IOERR error or timeout reading to target instance");
    assert_eq!(writer.read().to_string(), "-READONLY You can't write against a read only replica.");
    assert!(moving.link.is_closed());
}

/// Of clients on every core, so that with some the shares of FLUSHALL wait behind their write on the core of the key.
#[test]
fn a_flush_that_waits_does_not_empty_a_node_that_becomes_a_replica() {
    let mut moving = Moving::begin(&[]);
    let mut client = moving.server.connect();
    let mut writers: Vec<Client> = (0..8).map(|_| moving.server.connect()).collect();
    for writer in &mut writers {
        send(writer, &["SET k new", "FLUSHALL"]);
        assert!(is_silent(writer));
    }
    // Its primary says nothing: the data stay what they are.
    let primary = Target::start();
    client.must(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    assert_eq!(moving.mover.read().to_string(), "-IOERR error or timeout reading to target instance");
    for writer in &mut writers {
        for _ in ["SET", "FLUSHALL"] {
            assert_eq!(writer.read().to_string(), "-READONLY You can't write against a read only replica.");
        }
    }
    assert_eq!(client.must("GET k").text(), "old");
}

#[test]
fn swapped_databases_take_their_keys_along() {
    let mut moving = Moving::begin(&[]);
    let mut client = moving.server.connect();
    client.must("SWAPDB 0 1");
    assert_eq!(client.must("EXISTS k").integer(), 0);
    // Whatever the database.
    send(&mut client, &["SET k in-zero"]);
    assert!(is_silent(&mut client));
    assert_eq!(moving.end("+OK\r\n"), "+OK");
    assert_eq!(client.read().to_string(), "+OK");
    assert_eq!(client.must("GET k").text(), "in-zero");
    client.must("SELECT 1");
    assert_eq!(client.must("EXISTS k other").integer(), 1);
}

#[test]
fn a_reload_ends_the_move() {
    let mut moving = Moving::begin(&["--enable-debug-command", "yes"]);
    let (mut client, mut writer) = (moving.server.connect(), moving.server.connect());
    send(&mut writer, &["APPEND k +"]);
    assert!(is_silent(&mut writer));
    client.must("DEBUG RELOAD");
    assert_eq!(moving.mover.read().to_string(), "-IOERR error or timeout reading to target instance");
    let answer = writer.read().to_string();
    assert!(answer == ":4" || answer.starts_with("-LOADING"), "{answer}");
    assert!(client.must("GET k").text().starts_with("old"));
}

#[test]
fn many_moves_to_one_target_take_turns() {
    let (source, target) = (Server::slotcore(&[]), Server::redis(&[]));
    let mut movers: Vec<Client> = (0..40).map(|_| source.connect()).collect();
    let mut client = source.connect();
    for number in 0..40 {
        client.must(&format!("SET k:{number} v"));
    }
    for (number, mover) in movers.iter_mut().enumerate() {
        send(mover, &[&format!("MIGRATE 127.0.0.1 {} k:{number} 0 20000", target.port)]);
    }
    movers.iter_mut().for_each(|mover| assert_eq!(mover.read().to_string(), "+OK"));
    assert_eq!(target.connect().must("DBSIZE").integer(), 40);
    assert_eq!(client.must("DBSIZE").integer(), 0);
    assert!(client.info_number("migrate_cached_sockets") <= 4);
    // Nobody uses them any more.
    assert!(holds_within(LIMIT, || client.info_number("migrate_cached_sockets") == 0));
}
