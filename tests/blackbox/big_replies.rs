//! Replies of many megabytes: whole and right, no more memory than they need, and others are served meanwhile.
//!
//! `SLOTCORE_BIG_ELEMENTS` (default 100,000) is the number of elements of each value.

use std::time::{Duration, Instant};

use crate::support::client::encode;
use crate::support::{Client, Reply, Server, Value, holds_within, number_from_env, on_both, on_both_with};

/// Memory that may stay: buffers that the server keeps, and what its counters lag behind.
const LEFT_BYTES: i64 = 2 << 20;
/// What a reply may hold, in halves of its length: a buffer that doubles has at most twice that, the rest is for the client.
const HALVES_PER_REPLY_MAX: i64 = 5;
const PATIENCE: Duration = Duration::from_secs(60);

fn elements() -> usize {
    usize::try_from(number_from_env("SLOTCORE_BIG_ELEMENTS", 100_000)).expect("a count")
}

fn element(number: usize) -> String {
    format!("e{number:015}")
}

/// Adds elements in requests of 1000; `words` gives what one element is in the request.
fn fill(client: &mut Client, command: &str, key: &str, words: impl Fn(usize) -> Vec<String>) {
    for first in (0..elements()).step_by(1000) {
        let mut request = vec![command.to_owned(), key.to_owned()];
        (first..elements().min(first + 1000)).for_each(|number| request.extend(words(number)));
        let reply = client.cmd(&request);
        assert!(!reply.is_error(), "{command}: {reply}");
    }
}

fn filled(server: &Server) -> Client {
    let mut client = server.connect();
    client.set_read_timeout(PATIENCE);
    fill(&mut client, "HSET", "hash", |number| vec![element(number), format!("v{number:015}")]);
    fill(&mut client, "SADD", "set", |number| vec![element(number)]);
    fill(&mut client, "SADD", "half", |number| vec![element(number * 2)]);
    fill(&mut client, "RPUSH", "list", |number| vec![element(number)]);
    fill(&mut client, "ZADD", "zset", |number| vec![number.to_string(), element(number)]);
    client.must("SET other value");
    client
}

/// The elements of a reply; with `sorted` in order, for replies that come in any.
fn texts(reply: &Reply, sorted: bool) -> Vec<String> {
    let mut texts: Vec<String> = reply.items().iter().map(Value::text).collect();
    if sorted {
        texts.sort_unstable();
    }
    texts
}

fn patient(server: &Server) -> Client {
    let client = server.connect();
    client.set_read_timeout(PATIENCE);
    client
}

/// Asks without reading, until the reply has been made: it fills the socket, and more of it waits in the server.
fn ask(client: &mut Client, control: &mut Client, line: &[&str], asked: i64) {
    client.send(&encode(line));
    let count = |control: &mut Client| {
        let text = control.info(&format!("cmdstat_{}", line[0].to_lowercase())).unwrap_or_default();
        let calls = text.strip_prefix("calls=").and_then(|rest| rest.split(',').next()?.parse::<i64>().ok());
        calls.unwrap_or(0)
    };
    assert!(holds_within(PATIENCE, || count(control) >= asked), "{line:?} does not run");
}

#[test]
fn big_replies_are_whole_while_others_are_served() {
    on_both(|server| {
        let mut other = filled(server);
        let members: Vec<String> = (0..elements()).map(element).collect();
        let mut reader = patient(server);
        for (line, sorted) in [
            (&["SMEMBERS", "set"][..], true),
            (&["LRANGE", "list", "0", "-1"], false),
            (&["ZRANGE", "zset", "0", "-1"], false),
            (&["HKEYS", "hash"], true),
            (&["SUNION", "set", "set"], true),
            (&["SORT", "list", "BY", "nosort"], false),
        ] {
            reader.send(&encode(line));
            for _ in 0..5 {
                assert_eq!(other.line("GET other").to_string(), "'value'");
            }
            assert!(texts(&reader.read(), sorted) == members, "{line:?}: not the members");
        }
        reader.send(&encode(&["HGETALL", "hash"]));
        assert_eq!(other.line("PING").to_string(), "+PONG");
        let pairs = texts(&reader.read(), false);
        let mut numbers: Vec<usize> = Vec::new();
        for pair in pairs.chunks(2) {
            assert_eq!(pair[0][1..], pair[1][1..], "a value of another field");
            numbers.push(pair[0][1..].parse().expect("the number of a field"));
        }
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(0..elements()));
        let union = (elements() + elements().div_ceil(2)) as i64;
        reader.send(&encode(&["SUNIONSTORE", "out", "set", "half"]));
        assert_eq!(other.line("PING").to_string(), "+PONG");
        assert_eq!(reader.read().integer(), union);
        assert_eq!(other.line("SCARD out").integer(), union);
    });
}

#[test]
fn readers_that_do_not_read_hold_one_reply_each() {
    on_both(|server| {
        let mut control = filled(server);
        let mut warm = patient(server);
        let reply_bytes = warm.cmd(&["HGETALL", "hash"]).raw.len() as i64;
        drop(warm);
        assert!(holds_within(PATIENCE, || control.info_number("connected_clients") == 1));
        let before = control.info_number("used_memory");
        let mut readers: Vec<Client> = (0..4).map(|_| patient(server)).collect();
        for (index, reader) in readers.iter_mut().enumerate() {
            ask(reader, &mut control, &["HGETALL", "hash"], index as i64 + 2);
            let held = control.info_number("used_memory") - before;
            let allowed = (index as i64 + 1) * reply_bytes * HALVES_PER_REPLY_MAX / 2 + LEFT_BYTES;
            assert!(held <= allowed, "{} replies of {reply_bytes} bytes hold {held} bytes", index + 1);
            assert_eq!(control.line("GET other").to_string(), "'value'");
        }
        for reader in &mut readers {
            assert_eq!(reader.read().raw.len() as i64, reply_bytes);
            assert_eq!(reader.line("PING").to_string(), "+PONG");
        }
        let returned = holds_within(PATIENCE, || control.info_number("used_memory") - before < LEFT_BYTES);
        assert!(returned, "{} bytes stay", control.info_number("used_memory") - before);
    });
}

#[test]
fn a_big_reply_goes_out_as_fast_as_it_is_read() {
    // Were the rest of a reply to wait for the next tick, this would take a second for every time that the socket fills.
    on_both_with(&["--hz", "1"], |server| {
        let reply_bytes = filled(server).line("HGETALL hash").raw.len();
        let mut reader = patient(server);
        let begun = Instant::now();
        reader.send(&[encode(&["HGETALL", "hash"]).repeat(30), encode(&["QUIT"])].concat());
        assert_eq!(reader.read_until_closed().len(), 30 * reply_bytes + b"+OK\r\n".len());
        assert!(begun.elapsed() < Duration::from_secs(30), "the replies took {:?}", begun.elapsed());
    });
}

#[test]
fn a_client_that_quits_gets_its_big_replies_first() {
    on_both(|server| {
        let mut control = filled(server);
        let reply_bytes = control.line("HGETALL hash").raw.len();
        let mut reader = patient(server);
        ask(&mut reader, &mut control, &["HGETALL", "hash"], 2);
        reader.send(&encode(&["QUIT"]));
        let bytes = reader.read_until_closed();
        assert!(bytes.ends_with(b"+OK\r\n"), "the last reply is missing");
        assert_eq!(bytes.len(), reply_bytes + b"+OK\r\n".len());
    });
}

#[test]
fn a_big_reply_over_the_output_limit_closes_its_reader_alone() {
    on_both_with(&["--client-output-buffer-limit", "normal 1mb 0 0"], |server| {
        let mut control = filled(server);
        let before = control.info_number("used_memory");
        let (mut reader, mut bystander) = (patient(server), patient(server));
        reader.send(&encode(&["HGETALL", "hash"]));
        assert!(reader.read_until_closed().len() < elements() * 46, "the reply came whole");
        assert_eq!(bystander.line("GET other").to_string(), "'value'");
        let returned = holds_within(PATIENCE, || control.info_number("used_memory") - before < LEFT_BYTES);
        assert!(returned, "{} bytes stay", control.info_number("used_memory") - before);
    });
}

#[test]
fn unlinked_big_values_are_freed_in_the_background() {
    on_both(|server| {
        let mut client = server.connect();
        client.set_read_timeout(PATIENCE);
        let before = client.info_number("used_memory");
        let mut client = filled(server);
        for first in (0..elements()).step_by(1000) {
            let lines: Vec<String> = (first..elements().min(first + 1000))
                .map(|number| format!("XADD stream {}-1 f v", number + 1))
                .collect();
            client.pipeline(&lines);
        }
        client.must("XGROUP CREATE stream group 0");
        client.must("XREADGROUP GROUP group consumer STREAMS stream >");
        let freed = client.info_number("lazyfreed_objects");
        assert_eq!(client.line("UNLINK hash set half list zset stream").integer(), 6);
        assert!(holds_within(PATIENCE, || client.info_number("lazyfree_pending_objects") == 0));
        assert_eq!(client.info_number("lazyfreed_objects") - freed, 6);
        // The reader's own buffers may still be there for a moment.
        let returned = holds_within(PATIENCE, || client.info_number("used_memory") - before < LEFT_BYTES);
        assert!(returned, "{} bytes stay", client.info_number("used_memory") - before);
    });
}
